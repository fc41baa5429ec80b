"""Services, their packages and extras: cases of the market, each named after its own."""

from __future__ import annotations

from tests.market.service_market import details, line, service
from tests.money.market import Market, refused


def test_market_08_the_same_service_again_is_another_order(market: Market) -> None:
    """Bought twice at once and once more later: independent orders, each with its own right and its own earnings."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    mixing, (small,) = service(market, seller, 2000)
    both = market.buy(buyer, line(mixing, small), line(mixing, small))
    first, second = (market.checkout(buyer, line(mixing, small)) for _ in range(2))
    for order in (first, second):
        market.start(buyer, order["payment_id"])
        assert market.succeed(order["payment_id"]) == "processed"
    orders = [both["order_id"], first["order_id"], second["order_id"]]
    assert [market.status("orders", order) for order in orders] == ["completed"] * 3
    assert market.one("select count(*) from public.purchases where item_id = %s and revoked_at is null", mixing) == 4
    market.mature()
    # Nothing is released before it is done.
    assert market.release() == 0
    assert market.finish(market.line(both["order_id"])) == 1
    market.mature()
    assert market.release() == 1


def test_a_service_is_bought_by_its_package(market: Market) -> None:
    """The line keeps the package as it was; without one, or with two pieces, nothing is bought."""
    seller, buyer = market.sign_up(), market.sign_up()
    mixing, (small, large) = service(market, seller, 2000, 5000, buyer_requirements="Stems, please.")
    with refused("package_required"):
        market.checkout(buyer, mixing)
    with refused("quantity_not_allowed"):
        market.checkout(buyer, {**line(mixing, small), "quantity": 2})
    with refused("line_not_valid"):
        market.checkout(buyer, line(mixing, small, delivery_days=1))
    order = market.buy(buyer, line(mixing, large))
    assert order["total_cents"] == 5000
    market.member(seller, "update public.catalog_options set price_cents = 9000, title = 'New' where id = %s", large)
    kept = details(market, order["order_id"])
    assert kept["package"]["option_id"] == large
    assert kept["package"]["name"] != "New"
    assert (kept["package"]["delivery_days"], kept["package"]["revisions"]) == (7, 2)
    assert kept["requirements_asked"] == "Stems, please."


def test_the_price_in_the_shop_is_the_lowest_package(market: Market) -> None:
    """It follows every change of the packages, and of the service never loses it."""
    seller = market.sign_up()
    mixing, (small, large) = service(market, seller, 2000, 5000)

    def price() -> int:
        return int(market.one("select price_cents from public.catalog_items where id = %s", mixing))

    assert price() == 2000
    market.member(seller, "update public.catalog_options set price_cents = 3000 where id = %s", small)
    assert price() == 3000
    market.member(seller, "update public.catalog_options set is_active = false where id = %s", small)
    assert price() == 5000
    market.member(seller, "update public.services set title = 'Another' where id = %s", mixing)
    assert price() == 5000
    with refused("service_has_no_packages"):
        market.member(seller, "delete from public.catalog_options where id = %s", large)
    market.member(seller, "update public.services set status = 'paused' where id = %s", mixing)
    market.member(seller, "delete from public.catalog_options where id = %s", large)
    with refused("service_has_no_packages"):
        market.member(seller, "update public.services set status = 'active' where id = %s", mixing)


def extra(market: Market, seller: str, service_id: str, cents: int, days: int = 0) -> str:
    """An extra of a service; its id."""
    (row,) = market.member(
        seller,
        "insert into public.service_extras (service_id, title, price_cents, delivery_days) values (%s, %s, %s, %s) "
        "returning id",
        service_id,
        f"Extra {cents}",
        cents,
        days,
    )
    return str(row["id"])


def test_market_09_extras_are_priced_into_the_one_line(market: Market) -> None:
    """Package 20.00 + extras 5.00 and 9.99: one line of 34.99 keeps what each cost; fee and commission are of it."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    mixing, (small,) = service(market, seller, 2000)
    stems, rush = extra(market, seller, mixing, 500, 1), extra(market, seller, mixing, 999)
    chosen = [{"id": stems, "price_cents": 500}, {"id": rush, "price_cents": 999}]
    order = market.buy(buyer, line(mixing, small, extras=chosen))
    assert order["total_cents"] == 3499
    # 2.9 % + 30 = 131; 30 % = 1,050.
    assert market.split(order["order_id"]) == (131, 1050, 2318)
    market.member(seller, "update public.service_extras set price_cents = 5000 where id = %s", stems)
    assert details(market, order["order_id"])["extras"] == [
        {"id": stems, "title": "Extra 500", "price_cents": 500, "delivery_days": 1},
        {"id": rush, "title": "Extra 999", "price_cents": 999, "delivery_days": 0},
    ]
    # All of it goes back together.
    admin = market.sign_up(role="admin")
    assert market.refund(admin, market.line(order["order_id"]))["amount_cents"] == 3499


def test_market_09_an_extra_costs_no_more_than_was_shown(market: Market) -> None:
    """Dearer: price_changed; cheaper: charged as it is now; gone, foreign, twice or malformed: refused."""
    seller, buyer = market.sign_up(), market.sign_up()
    mixing, (small,) = service(market, seller, 2000)
    other, _ = service(market, seller, 2000)
    stems, foreign = extra(market, seller, mixing, 500), extra(market, seller, other, 500)
    market.member(seller, "update public.service_extras set price_cents = 600 where id = %s", stems)
    for code, extras in {
        "price_changed": [{"id": stems, "price_cents": 500}],
        "extra_not_available": [{"id": foreign, "price_cents": 500}],
    }.items():
        with refused(code):
            market.checkout(buyer, line(mixing, small, extras=extras))
    for malformed in (
        [{"id": stems}],
        [{"id": stems, "price_cents": -1}],
        [{"id": stems, "price_cents": 600, "days": 1}],
        [{"id": stems, "price_cents": 600}] * 2,
        [stems],
        {"id": stems},
    ):
        with refused("line_not_valid"):
            market.checkout(buyer, line(mixing, small, extras=malformed))
    assert (
        market.checkout(buyer, line(mixing, small, extras=[{"id": stems, "price_cents": 900}]))["total_cents"] == 2600
    )
    market.member(seller, "update public.service_extras set is_active = false where id = %s", stems)
    with refused("extra_not_available"):
        market.checkout(buyer, line(mixing, small, extras=[{"id": stems, "price_cents": 600}]))
