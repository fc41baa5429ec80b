"""Money for what is sent: money.md's sharp cases 25, 26, 27 and 29. Who may do what is in supabase/tests."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.money.market import Json, Market, number, refused

SHIPPED = "select * from public.shipments where order_item_id = %s order by tracking_number"
SALE = "select * from public.transactions where order_item_id = %s"


class Sale(NamedTuple):
    seller: str
    buyer: str
    item: str
    line: str
    order: Json


def piece(market: Market, seller: str, price: int = 2000) -> str:
    """Something that is sent, on sale."""
    (row,) = market.member(
        seller,
        "insert into public.artworks (title, price_cents, category, image_url, status, is_physical) "
        "values (%s, %s, 'sculpture', 'https://example.com/a.jpg', 'published', true) returning id",
        f"Vase {number()}",
        price,
    )
    return str(row["id"])


def rate(market: Market, seller: str, cents: int, *countries: str, free_above: int | None = None) -> None:
    market.member(
        seller,
        "insert into public.shipping_rates (name, countries, price_cents, free_above_cents) values (%s, %s, %s, %s)",
        f"Rate {number()}",
        list(countries),
        cents,
        free_above,
    )


def order(market: Market, buyer: str, *items: str, country: str = "US", provider: str = "stripe") -> Json:
    lines = [{"item_id": item} for item in items]
    return market.rpc(buyer, "checkout", items=lines, provider=provider, shipping_address={"country": country})


def pay(market: Market, buyer: str, ordered: Json) -> None:
    market.start(buyer, ordered["payment_id"])
    assert market.succeed(ordered["payment_id"]) == "processed"


@pytest.fixture
def sale(market: Market) -> Sale:
    """A vase of $20.00 sent for $7.00, paid by card."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    rate(market, seller, 700)
    item = piece(market, seller)
    ordered = order(market, buyer, item)
    pay(market, buyer, ordered)
    return Sale(seller, buyer, item, market.line(ordered["order_id"]), ordered)


def ship(market: Market, sale: Sale, carrier: str | None = None, tracking: str | None = None) -> Json:
    return market.rpc(sale.seller, "ship_line", order_item_id=sale.line, carrier=carrier, tracking_number=tracking)


def report(market: Market, parcel: Json, status: str, hours: int = 0) -> None:
    market.worker("select private.record_shipment(%s, %s, now() + %s * interval '1 hour')", parcel["id"], status, hours)


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_shipping_is_the_sellers_without_commission(market: Market, sale: Sale) -> None:
    """Of 2700: fee 108 (2.9% and 30), commission 30% of 2000."""
    row = market.row(SALE, sale.line)
    assert (row["amount_total_cents"], row["amount_fees_cents"], row["amount_commission_cents"]) == (2700, 108, 600)
    assert market.wallet(sale.seller) == (0, 1992, 0)


def test_each_line_of_each_seller_is_sent_by_their_rates(market: Market) -> None:
    (ann, ben), buyer = (market.sign_up(), market.sign_up()), market.sign_up()
    rate(market, ann, 700, "DE", "US", free_above=5000)
    rate(market, ann, 1500)
    rate(market, ben, 300, "US")
    of_ann, of_ben = [piece(market, ann), piece(market, ann, 2999)], piece(market, ben)
    both = order(market, buyer, *of_ann, of_ben)
    assert market.rows(
        "select shipping_cents from public.order_items where order_id = %s order by line_no", both["order_id"]
    ) == [{"shipping_cents": 700}, {"shipping_cents": 700}, {"shipping_cents": 300}]
    assert both["total_cents"] == 2000 + 2999 + 2000 + 1700
    assert order(market, buyer, *of_ann, country="FR")["total_cents"] == 4999 + 3000
    # From 50.00 of one seller on it is free; what others sell does not count.
    assert order(market, buyer, *of_ann, of_ben)["total_cents"] == 6999 + 1700
    assert order(market, buyer, *of_ann, piece(market, ann, 50), of_ben)["total_cents"] == 7049 + 300
    assert order(market, buyer, *of_ann, piece(market, ann, 50), country="FR")["total_cents"] == 5049 + 4500
    with refused("shipping_not_available"):
        order(market, buyer, of_ben, country="FR")
    for country in ("", "USA", "x"):
        with refused("address_required"):
            order(market, buyer, of_ben, country=country)


# -- 25: the number ---------------------------------------------------------------------------------------------------


def test_a_seller_has_so_many_rates(market: Market, sale: Sale) -> None:
    """What a checkout looks at for each line has an end."""
    for _ in range(99):
        rate(market, sale.seller, 900, "FR")
    with refused("too_many_shipping_rates"):
        rate(market, sale.seller, 900, "FR")


def test_a_line_is_sent_in_so_many_parcels(market: Market, sale: Sale) -> None:
    """The buyer is told of each."""
    for parcel in range(20):
        ship(market, sale, "UPS", f"NO{parcel:04}")
    with refused("too_many_parcels"):
        ship(market, sale, "UPS", "NO0020")
    assert ship(market, sale, "UPS", "NO0019")["status"] == "shipped"
    market.rpc(sale.buyer, "confirm_delivery", order_item_id=sale.line)
    assert market.row(SALE, sale.line)["completed_at"] is not None


def test_25_a_tracking_number_is_the_sellers_word(market: Market, sale: Sale) -> None:
    """Stored without what people put around it; a wrong check digit warns, and no number is refused for it."""
    right = ship(market, sale, "fedex", "9865 7878-8855")
    assert (right["carrier"], right["tracking_number"], right["is_suspicious"]) == ("FEDEX", "986578788855", False)
    assert ship(market, sale, "FedEx", "986578788856")["is_suspicious"]
    # The same digits are no FedEx number, and nobody knows what DHL's look like.
    assert not ship(market, sale, "DHL", "986578788856")["is_suspicious"]
    coded = ship(market, sale, "USPS", "420 94043 9400 1112 0108 0805 4830 16")
    assert (coded["tracking_number"], coded["is_suspicious"]) == ("9400111201080805483016", False)
    assert ship(market, sale)["tracking_number"] is None


def test_25_one_parcel_carries_several_sales(market: Market, sale: Sale) -> None:
    item = piece(market, sale.seller)
    ordered = order(market, sale.buyer, item)
    pay(market, sale.buyer, ordered)
    other = sale._replace(item=item, line=market.line(ordered["order_id"]))
    parcels = {ship(market, each, "UPS", "1Z5R89390357567127")["id"] for each in (sale, other)}
    assert len(parcels) == 2


# -- 26: reports ------------------------------------------------------------------------------------------------------


def test_26_a_late_report_takes_nothing_back(market: Market, sale: Sale) -> None:
    parcel = ship(market, sale, "DHL", "AAAA")
    for status in ("in_transit", "delivered", "out_for_delivery", "in_transit", "lost", "delivered"):
        report(market, parcel, status)
    (row,) = market.rows(SHIPPED, sale.line)
    assert (row["status"], row["delivered_at"] is not None) == ("delivered", True)
    done = market.row(SALE, sale.line)["completed_at"]
    report(market, parcel, "delivered", hours=5)
    assert market.row(SALE, sale.line)["completed_at"] == done
    report(market, parcel, "returned", hours=6)
    report(market, parcel, "delivered", hours=7)
    assert [row["status"] for row in market.rows(SHIPPED, sale.line)] == ["returned"]


def test_26_each_parcel_of_a_line_is_its_own(market: Market, sale: Sale) -> None:
    first, second = ship(market, sale, "DHL", "AAAA"), ship(market, sale, "DHL", "BBBB")
    report(market, first, "delivered")
    assert [row["status"] for row in market.rows(SHIPPED, sale.line)] == ["delivered", "shipped"]
    assert market.row(SALE, sale.line)["completed_at"] is None
    report(market, second, "delivered", hours=-3)
    assert market.row(SALE, sale.line)["completed_at"] is not None


def test_26_what_was_lost_turns_up_by_what_is_heard_later(market: Market, sale: Sale) -> None:
    parcel = ship(market, sale, "DHL", "AAAA")
    report(market, parcel, "lost", hours=2)
    report(market, parcel, "in_transit", hours=1)
    assert market.rows(SHIPPED, sale.line)[0]["status"] == "lost"
    report(market, parcel, "in_transit", hours=3)
    assert market.rows(SHIPPED, sale.line)[0]["status"] == "in_transit"


# -- 27: earned when it arrives ---------------------------------------------------------------------------------------


def years_pass(market: Market) -> None:
    """For everything that has a date."""
    market.rows("update public.transactions set release_at = release_at - interval '2 years'")
    market.rows("update public.transactions set ship_by = ship_by - interval '2 years'")
    market.rows("update public.shipments set status_at = status_at - interval '2 years'")


def test_27_what_is_not_sent_is_never_paid_out(market: Market, sale: Sale) -> None:
    years_pass(market)
    market.worker("select private.assume_deliveries(100)")
    assert market.release() == 0
    assert market.wallet(sale.seller) == (0, 1992, 0)


def test_27_the_hold_counts_from_delivery(market: Market, sale: Sale) -> None:
    ship(market, sale)
    assert market.row(SALE, sale.line)["release_at"] is None
    market.rpc(sale.buyer, "confirm_delivery", order_item_id=sale.line)
    held = market.one(
        "select release_at - completed_at = interval '7 days' and completed_at = now() "
        "from public.transactions where order_item_id = %s",
        sale.line,
    )
    assert held
    assert market.release() == 0
    market.mature()
    assert market.release() == 1
    assert market.wallet(sale.seller) == (1992, 0, 0)


@pytest.mark.parametrize("tracking", ["AAAA", None])
def test_27_a_tracked_parcel_without_news_counts_as_delivered(market: Market, sale: Sale, tracking: str | None) -> None:
    """One without a number proves nothing: it waits for its buyer, or an admin."""
    ship(market, sale, "DHL", tracking)
    assert market.worker("select private.assume_deliveries(100)") == 0
    market.rows("update public.shipments set status_at = status_at - interval '14 days'")
    assert market.worker("select private.assume_deliveries(100)") == (1 if tracking else 0)
    assert (market.row(SALE, sale.line)["release_at"] is not None) is (tracking is not None)


def test_27_not_sent_in_time_its_buyer_steps_back(market: Market, sale: Sale) -> None:
    with refused("cannot_cancel"):
        market.rpc(sale.buyer, "cancel_line", order_item_id=sale.line)
    market.rows("update public.transactions set ship_by = now() - interval '1 second'")
    for stranger in (sale.seller, market.sign_up()):
        with refused("sale_not_found"):
            market.rpc(stranger, "cancel_line", order_item_id=sale.line)
    asked = market.rpc(sale.buyer, "cancel_line", order_item_id=sale.line, idempotency_key="k")
    again = market.rpc(sale.buyer, "cancel_line", order_item_id=sale.line, idempotency_key="k")
    assert (asked["id"], asked["amount_cents"]) == (again["id"], 2700)
    with refused("line_refunded"):
        ship(market, sale)
    assert market.claim_refund(asked["id"])["amount_cents"] == 2700
    market.worker("select private.record_refund(%s, 're_1', 'succeeded')", asked["id"])
    assert market.status("orders", sale.order["order_id"]) == "refunded"
    # The seller let it come to this, and bears the fee that the provider keeps.
    assert market.wallet(sale.seller) == (0, 0, 108)
    assert market.listed(sale.item)


def test_27_what_is_on_its_way_is_not_cancelled(market: Market, sale: Sale) -> None:
    ship(market, sale)
    market.rows("update public.transactions set ship_by = now() - interval '1 second'")
    with refused("cannot_cancel"):
        market.rpc(sale.buyer, "cancel_line", order_item_id=sale.line)


def test_27_sending_it_ends_the_free_window(market: Market) -> None:
    """Who may step back at the platform's cost does so before anything is sent."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    lines = []
    for _ in range(2):
        agreed = market.agree(
            seller, buyer, 2000, kind="artwork", item_id=piece(market, seller), free_until="2999-01-01T00:00:00Z"
        )
        ordered = market.pay_agreed(buyer, agreed, country="US")
        pay(market, buyer, ordered)
        lines.append(market.line(ordered["order_id"]))
    market.rpc(seller, "ship_line", order_item_id=lines[0])
    with refused("cannot_cancel"):
        market.cancel_line(buyer, lines[0])
    assert market.cancel_line(buyer, lines[1])["fee_bearer"] == "platform"


def test_27_a_charge_taken_back_after_it_was_sent_sells_nothing_again(market: Market, sale: Sale) -> None:
    ship(market, sale)
    market.decline(sale.order["payment_id"])
    assert market.wallet(sale.seller) == (0, 0, 0)
    assert not market.owns(sale.buyer, sale.item)
    assert market.status("artworks", sale.item) == "sold"
    market.rpc(sale.seller, "confirm_return", order_item_id=sale.line)
    assert market.status("artworks", sale.item) == "archived"


def test_27_what_never_arrived_and_is_back_is_cancelled(market: Market, sale: Sale) -> None:
    """A seller who says that it came back keeps nobody's money."""
    ship(market, sale)
    market.rpc(sale.seller, "confirm_return", order_item_id=sale.line)
    with refused("cannot_cancel"):
        market.cancel_line(sale.buyer, sale.line)
    market.rows("update public.transactions set ship_by = now() where order_item_id = %s", sale.line)
    again = ship(market, sale, "UPS", "SENTAGAIN")
    with refused("cannot_cancel"):
        market.cancel_line(sale.buyer, sale.line)
    report(market, again, "returned")
    market.refund_arrives(market.cancel_line(sale.buyer, sale.line)["id"])
    assert market.row(SALE, sale.line)["refunded_cents"] == 2700
    assert market.listed(sale.item)


def test_27_what_comes_back_before_it_is_refunded_is_for_sale_again(market: Market, sale: Sale) -> None:
    ship(market, sale)
    market.rpc(sale.buyer, "confirm_delivery", order_item_id=sale.line)
    market.rpc(sale.seller, "confirm_return", order_item_id=sale.line)
    market.refund(sale.seller, sale.line)
    assert market.listed(sale.item)


def test_27_what_is_refunded_before_it_is_back_is_not(market: Market, sale: Sale) -> None:
    ship(market, sale)
    market.refund(sale.seller, sale.line)
    # Nobody has paid for it any more, but it is with somebody.
    assert market.status("artworks", sale.item) == "sold"
    market.rpc(sale.seller, "confirm_return", order_item_id=sale.line)
    assert market.status("artworks", sale.item) == "archived"
    market.member(sale.seller, "update public.artworks set status = 'published' where id = %s", sale.item)
    assert market.listed(sale.item)


def test_27_a_wallet_pays_for_what_is_sent_as_well(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    market.fund(buyer, 5000)
    rate(market, seller, 700)
    ordered = order(market, buyer, piece(market, seller), provider="wallet")
    assert (ordered["status"], market.wallet(buyer)) == ("completed", (2300, 0, 0))
    assert market.wallet(seller) == (0, 2100, 0)
    years_pass(market)
    assert market.release() == 0


# -- 29: copies that are sent ------------------------------------------------------------------------------------------


def test_29_what_was_lost_keeps_its_number_what_is_back_frees_it(market: Market) -> None:
    seller = market.sign_up("standard")
    rate(market, seller, 700)
    (row,) = market.member(
        seller,
        "insert into public.artworks (title, price_cents, category, image_url, status, is_physical, edition_size) "
        "values ('Print', 2000, 'photography', 'https://example.com/a.jpg', 'published', true, 4) returning id",
    )
    item, lines = str(row["id"]), []
    for _ in range(3):
        buyer = market.sign_up()
        ordered = order(market, buyer, item)
        pay(market, buyer, ordered)
        lines.append(market.line(ordered["order_id"]))
    # The first is lost on its way and the second sent back; both are paid back.
    for line, status in zip(lines, ("lost", "returned"), strict=False):
        parcel = market.rpc(seller, "ship_line", order_item_id=line, carrier="DHL", tracking_number="AAAA")
        report(market, parcel, status)
        market.refund(seller, line)
    assert market.numbers(item) == [3]
    for _ in range(2):
        pay(market, buyer, order(market, buyer, item))
        buyer = market.sign_up()
    assert market.numbers(item) == [2, 3, 4]
    with refused("item_sold"):
        order(market, buyer, item)
    assert market.status("artworks", item) == "sold"
