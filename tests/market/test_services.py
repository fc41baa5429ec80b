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
