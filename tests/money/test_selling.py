"""Selling to the cent: stock, options, agreements, payees, what the platform sells and bears, what is done late."""

from __future__ import annotations

from itertools import permutations

import psycopg
import pytest

from tests.money.market import Json, Market, number, refused


@pytest.fixture
def market(market: Market) -> Market:
    """With kinds of goods that can do everything."""
    market.make_kinds()
    return market


def buyer_with(market: Market, cents: int) -> str:
    buyer = market.sign_up()
    market.fund(buyer, cents)
    return buyer


def pay(market: Market, buyer: str, order: Json) -> None:
    market.start(buyer, order["payment_id"])
    assert market.succeed(order["payment_id"]) == "processed"


def gone(market: Market, order: Json) -> Json:
    """The money arrived and nothing was left: the refund that gives it back."""
    assert market.status("orders", order["order_id"]) == "cancelled"
    assert market.sales(order["order_id"]) == []
    refund = market.row("select * from public.refunds where payment_id = %s", order["payment_id"])
    assert (refund["amount_cents"], refund["reason"]) == (order["total_cents"], "item_not_available")
    assert market.one("select count(*) from private.webhook_events where status <> 'processed'") == 0
    return refund


# -- copies -----------------------------------------------------------------------------------------------------------


def test_copies_are_numbered_each_series_by_itself(market: Market) -> None:
    seller = market.sign_up()
    item, series = market.edition(seller, 2000, 3, AP=2, HC=1)
    for option in (None, series["AP"], None, series["AP"], series["HC"], None):
        market.buy(market.sign_up(), {"item_id": item, "option_id": option})
    assert market.numbers(item) == [1, 2, 3]
    assert market.numbers(item, series["AP"]) == [1, 2]
    assert market.numbers(item, series["HC"]) == [1]
    assert market.status("artworks", item) == "sold"
    with refused("item_sold"):
        market.checkout(market.sign_up(), item)


def test_what_is_set_aside_is_sold_by_its_option_only(market: Market) -> None:
    """Two copies and one proof: the third buyer of a copy hears that it is sold, though the proof is still there."""
    item, series = market.edition(market.sign_up(), 2000, 2, AP=1)
    market.buy(market.sign_up(), {"item_id": item, "quantity": 2})
    with refused("item_sold"):
        market.checkout(market.sign_up(), item)
    assert market.listed(item)
    proof = {"item_id": item, "option_id": series["AP"]}
    held = market.checkout(market.sign_up(), proof)
    with refused("item_reserved"):
        market.checkout(market.sign_up(), proof)
    with refused("item_sold"):
        market.checkout(market.sign_up(), item)
    market.rpc(
        market.one("select user_id::text from public.orders where id = %s", held["order_id"]),
        "cancel_order",
        order_id=held["order_id"],
    )
    market.buy(market.sign_up(), proof)
    assert not market.listed(item)


def test_29_numbers_follow_the_order_of_the_events(market: Market) -> None:
    """In a group as one by one, and within a line as its units."""
    item, _ = market.edition(market.sign_up(), 2000, 20)
    buyers = [market.sign_up() for _ in range(5)]
    orders = [market.checkout(buyer, {"item_id": item, "quantity": 4}) for buyer in buyers]
    for buyer, order in zip(buyers, orders, strict=True):
        market.start(buyer, order["payment_id"])
    paid = list(zip(buyers, orders, strict=True))[::-1]
    events = [
        market.store("payment_intent.succeeded", market.intent(order["payment_id"], latest_charge=f"ch_{number()}"))
        for _, order in paid
    ]
    assert sorted(market.worker("select private.settle_batch(%s::bigint[])", events)) == sorted(events)
    copies = market.rows("select owner_id, unit, number from public.purchases where item_id = %s order by number", item)
    assert [(row["owner_id"], row["unit"], row["number"]) for row in copies] == [
        (buyer, unit, 4 * no + unit) for no, (buyer, _) in enumerate(paid) for unit in range(1, 5)
    ]


def test_29_an_edition_shrinks_to_what_is_sold_and_never_grows(market: Market) -> None:
    """Numbers go with it: none above the edition's size, none twice."""
    seller, buyers = market.sign_up(), [market.sign_up() for _ in range(3)]
    item, _ = market.edition(seller, 2000, 5)
    lines = [market.line(market.buy(buyer, item)["order_id"]) for buyer in buyers]
    resize = "update public.artworks set edition_size = %s where id = %s"
    market.refund(seller, lines[1])
    for size in (6, 2, None):
        with refused("edition_fixed"):
            market.member(seller, resize, size, item)
    held = market.checkout(market.sign_up(), {"item_id": item, "quantity": 2})
    with refused("edition_fixed"):
        market.member(seller, resize, 3, item)
    market.rpc(
        market.one("select user_id from public.orders where id = %s", held["order_id"]),
        "cancel_order",
        order_id=held["order_id"],
    )
    market.member(seller, resize, 3, item)
    market.buy(buyers[0], item)
    assert market.numbers(item) == [1, 2, 3]
    with refused("item_sold"):
        market.checkout(buyers[1], item)
    with refused("edition_fixed", "artwork_sold"):
        market.member(seller, resize, 4, item)


def test_a_refunded_copy_is_sold_again_under_its_number(market: Market) -> None:
    seller = market.sign_up()
    item, _ = market.edition(seller, 2000, 3)
    orders = [market.buy(market.sign_up(), item) for _ in range(3)]
    assert market.status("artworks", item) == "sold"
    market.refund(seller, market.line(orders[1]["order_id"]))
    assert (market.numbers(item), market.status("artworks", item)) == ([1, 3], "published")
    market.buy(market.sign_up(), item)
    assert (market.numbers(item), market.status("artworks", item)) == ([1, 2, 3], "sold")


def test_a_copy_whose_refund_fails_after_it_was_sold_again_is_for_people(market: Market) -> None:
    """And whoever paid for it gets the next one that comes free, before the shop."""
    seller = market.sign_up()
    item, _ = market.edition(seller, 2000, 2)
    first, second = market.sign_up(), market.sign_up()
    order = market.buy(first, item)
    market.buy(second, item)
    refund = market.refund(seller, market.line(order["order_id"]))
    third = market.buy(market.sign_up(), item)
    market.provider_refund(order["payment_id"], 2000, ref=f"re_{refund['id']}", status="failed", ours=refund["id"])
    assert not market.owns(first, item)
    assert market.one("select count(*) from public.audit_log where action = 'refund_failed_after_resale'") == 1
    market.refund(seller, market.line(third["order_id"]))
    assert market.owns(first, item), "who paid comes first"
    assert market.numbers(item) == [1, 2]
    assert not market.listed(item)


def test_copies_of_one_line_come_back_as_far_as_there_are_any(market: Market) -> None:
    """Three copies were refunded, one of them was sold again, and then the refund fails."""
    seller = market.sign_up()
    item, _ = market.edition(seller, 2000, 3)
    buyer, other = market.sign_up(), market.sign_up()
    order = market.buy(buyer, {"item_id": item, "quantity": 3})
    refund = market.refund(seller, market.line(order["order_id"]))
    market.buy(other, item)
    market.provider_refund(order["payment_id"], 6000, ref=f"re_{refund['id']}", status="failed", ours=refund["id"])
    held = "select count(*) from public.purchases where owner_id = %s and revoked_at is null"
    assert (market.one(held, buyer), market.one(held, other)) == (2, 1)
    assert market.numbers(item) == [1, 2, 3]
    assert market.one("select count(*) from public.audit_log where action = 'refund_failed_after_resale'") == 1


def test_more_copies_than_are_left(market: Market) -> None:
    item, _ = market.edition(market.sign_up(), 2000, 3)
    buyer, other = market.sign_up(), market.sign_up()
    market.checkout(buyer, {"item_id": item, "quantity": 2})
    with refused("item_reserved"):
        market.checkout(other, {"item_id": item, "quantity": 2})
    market.checkout(other, item)
    again = market.checkout(buyer, item)
    assert market.one("select taken from public.catalog_items where id = %s", item) == 2, "a smaller one gives back"
    market.checkout(buyer, {"item_id": item, "quantity": 2})
    assert market.status("orders", again["order_id"]) == "cancelled"
    assert market.one("select taken from public.catalog_items where id = %s", item) == 3
    with refused("item_reserved"):
        market.checkout(buyer, {"item_id": item, "quantity": 3})
    assert market.one("select count(*) from private.holds") == 2, "a refused one keeps what was held"


def test_a_started_attempt_gives_its_copies_to_the_next_one(market: Market) -> None:
    """The provider may still take its money: then it takes a copy if there is one, else it goes back."""
    item, _ = market.edition(market.sign_up(), 2000, 2)
    buyer = market.sign_up()
    first = market.checkout(buyer, item)
    market.start(buyer, first["payment_id"])
    second = market.checkout(buyer, {"item_id": item, "quantity": 2})
    assert market.one("select sum(quantity) from private.holds") == 2
    pay(market, buyer, second)
    assert market.succeed(first["payment_id"]) == "processed"
    gone(market, first)


@pytest.mark.parametrize("price", [0, 2000])
def test_one_of_a_kind_is_one_line(market: Market, price: int) -> None:
    """Also where it may be bought again, once it is back: two lines would grant two rights of one."""
    item = market.good(market.sign_up(), price, is_repeatable=True, stock=1)
    buyer = market.sign_up()
    with refused("duplicate_item"):
        market.checkout(buyer, item, item)
    assert market.checkout(buyer, item)["status"] == ("pending" if price else "completed")


def test_late_money_for_a_copy(market: Market) -> None:
    item, _ = market.edition(market.sign_up(), 2000, 2)
    late = []
    for _ in range(3):
        buyer = market.sign_up()
        order = market.checkout(buyer, item)
        market.start(buyer, order["payment_id"])
        market.cancel(order["payment_id"])
        late.append(order)
    for order in late:
        assert market.succeed(order["payment_id"]) == "processed"
    assert [market.status("orders", order["order_id"]) for order in late] == ["completed", "completed", "cancelled"]
    assert market.numbers(item) == [1, 2]
    gone(market, late[2])


def test_what_became_limited_after_it_was_ordered(market: Market) -> None:
    """The one piece is whoever's money arrives first."""
    item = market.good(market.sign_up(), 2000, is_repeatable=True)
    orders = []
    for _ in range(3):
        buyer = market.sign_up()
        orders.append((buyer, market.checkout(buyer, item)))
    market.rows("update public.goods set stock = 2 where id = %s", item)
    for buyer, order in orders:
        pay(market, buyer, order)
    assert [market.status("orders", order["order_id"]) for _, order in orders] == [
        "completed",
        "completed",
        "cancelled",
    ]
    gone(market, orders[2][1])
    assert not market.listed(item)


def test_an_option_that_became_limited_counts_what_it_sold(market: Market) -> None:
    seller = market.sign_up()
    item = market.good(seller, 2000, is_repeatable=True)
    option = market.option(seller, item, 1000)
    line = {"item_id": item, "option_id": option}
    market.buy(market.sign_up(), line)
    market.checkout(market.sign_up(), line)
    market.member(seller, "update public.catalog_options set stock = 2 where id = %s", option)
    market.check()
    market.buy(market.sign_up(), line)
    with refused("item_sold", "item_reserved"):
        market.checkout(market.sign_up(), line)


# -- licences ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiers(market: Market) -> dict[str, Json]:
    """A product of $10.00 with a commercial licence of $30.00 and the exclusive one of $500.00."""
    seller = market.sign_up("standard")
    item = market.product(seller, 1000)
    return {
        "seller": seller,
        "item": item,
        "personal": {"item_id": item},
        **{
            name: {"item_id": item, "option_id": market.license(seller, item, price, name)}
            for name, price in (("commercial", 3000), ("exclusive", 50000))
        },
    }


@pytest.mark.parametrize("name", ["personal", "commercial"])
def test_the_exclusive_licence_ends_the_others(market: Market, tiers: dict[str, Json], name: str) -> None:
    """Sold before stays valid, and the exclusive line names it."""
    before = market.sign_up()
    market.buy(before, tiers[name])
    order = market.buy(market.sign_up(), tiers["exclusive"])
    with refused("item_sold"):
        market.checkout(market.sign_up(), tiers[name])
    with refused("item_sold"):
        market.checkout(market.sign_up(), tiers["exclusive"])
    assert market.owns(before, tiers["item"])
    details = market.one("select details from public.order_items where order_id = %s", order["order_id"])
    assert details["earlier_licenses"] == {name: 1}
    # Given back, everything is as it was.
    market.refund(tiers["seller"], market.line(order["order_id"]))
    market.buy(market.sign_up(), tiers[name])
    market.buy(market.sign_up(), tiers["exclusive"])


@pytest.mark.parametrize(("held", "other"), list(permutations(["personal", "commercial", "exclusive"], 2)))
def test_while_a_licence_is_held(market: Market, tiers: dict[str, Json], held: str, other: str) -> None:
    """The exclusive one and the others keep each other out; personal and commercial do not."""
    first, second = market.sign_up(), market.sign_up()
    order = market.checkout(first, tiers[held])
    if "exclusive" in (held, other):
        with refused("item_reserved"):
            market.checkout(second, tiers[other])
        market.rpc(first, "cancel_order", order_id=order["order_id"])
        market.buy(second, tiers[other])
    else:
        market.buy(second, tiers[other])
        pay(market, first, order)
    assert market.owns(second, tiers["item"])


@pytest.mark.parametrize("name", ["personal", "commercial"])
def test_late_money_for_a_licence_that_was_ended(market: Market, tiers: dict[str, Json], name: str) -> None:
    late = market.sign_up()
    order = market.checkout(late, tiers[name])
    market.start(late, order["payment_id"])
    market.cancel(order["payment_id"])
    market.buy(market.sign_up(), tiers["exclusive"])
    assert market.succeed(order["payment_id"]) == "processed"
    gone(market, order)
    assert not market.owns(late, tiers["item"])


@pytest.mark.parametrize("ended", [False, True], ids=["pending", "late"])
def test_money_for_a_licence_ordered_before_there_was_an_exclusive_one(market: Market, ended: bool) -> None:
    """Nothing was held for it, and nobody is the last to buy what somebody else gets afterwards."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 1000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    if ended:
        market.cancel(order["payment_id"])
    exclusive = market.license(seller, item, 5000, "exclusive")
    market.buy(market.sign_up(), {"item_id": item, "option_id": exclusive})
    assert market.succeed(order["payment_id"]) == "processed"
    gone(market, order)
    assert not market.owns(buyer, item)


@pytest.mark.parametrize("first", [True, False], ids=["exclusive first", "exclusive last"])
def test_a_group_with_an_exclusive_licence(market: Market, first: bool) -> None:
    """Settled together or one by one, who was paid for after the exclusive one gets nothing."""
    seller, buyer, last = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 1000)
    plain = market.checkout(buyer, item)
    market.start(buyer, plain["payment_id"])
    exclusive = market.checkout(last, {"item_id": item, "option_id": market.license(seller, item, 5000, "exclusive")})
    market.start(last, exclusive["payment_id"])
    events = [
        market.store("payment_intent.succeeded", market.intent(order["payment_id"]))
        for order in ((exclusive, plain) if first else (plain, exclusive))
    ]
    settled = market.worker("select private.settle_batch(%s::bigint[])", events)
    assert settled == (events[:1] if first else events)
    for event in events[len(settled) :]:
        assert market.process(event) == "processed"
    assert market.status("orders", exclusive["order_id"]) == "completed"
    if first:
        gone(market, plain)
    assert market.owns(buyer, item) is not first


def test_late_money_for_the_exclusive_licence(market: Market, tiers: dict[str, Json]) -> None:
    """While somebody else is paying for another one it goes back; before and after, it is had."""
    late, other = market.sign_up(), market.sign_up()
    orders = []
    for buyer in (late, market.sign_up()):
        orders.append(market.checkout(buyer, tiers["exclusive"]))
        market.start(buyer, orders[-1]["payment_id"])
        market.cancel(orders[-1]["payment_id"])
    held = market.checkout(other, tiers["personal"])
    assert market.succeed(orders[0]["payment_id"]) == "processed"
    gone(market, orders[0])
    pay(market, other, held)
    assert market.succeed(orders[1]["payment_id"]) == "processed"
    assert market.status("orders", orders[1]["order_id"]) == "completed"


@pytest.mark.parametrize("beside", ["sold", "being paid", "sold before"])
def test_an_exclusive_licence_whose_refund_fails(market: Market, tiers: dict[str, Json], beside: str) -> None:
    """It comes back unless somebody bought, or is buying, another licence meanwhile: people must settle that."""
    owner, other = market.sign_up(), market.sign_up()
    if beside == "sold before":
        market.buy(other, tiers["personal"])
    order = market.buy(owner, tiers["exclusive"])
    refund = market.refund(tiers["seller"], market.line(order["order_id"]))
    if beside == "sold":
        market.buy(other, tiers["personal"])
        market.rows(
            "update public.purchases set purchased_at = purchased_at + interval '1 s' where owner_id = %s", other
        )
    elif beside == "being paid":
        market.start(other, market.checkout(other, tiers["personal"])["payment_id"])
    market.refund_arrives(refund["id"], "failed")
    assert market.owns(owner, tiers["item"]) == (beside == "sold before")
    recorded = market.one("select count(*) from public.audit_log where action = 'refund_failed_after_resale'")
    assert recorded == (0 if beside == "sold before" else 1)


@pytest.mark.parametrize("started", [False, True], ids=["left", "at the form"])
@pytest.mark.parametrize(("first", "second"), list(permutations(["personal", "exclusive"])))
def test_a_buyer_who_changes_their_mind(
    market: Market, tiers: dict[str, Json], first: str, second: str, started: bool
) -> None:
    """Nobody is kept out by what they themselves held a moment ago; others are."""
    buyer = market.sign_up()
    earlier = market.checkout(buyer, tiers[first])
    if started:
        market.start(buyer, earlier["payment_id"])
    later = market.checkout(buyer, tiers[second])
    with refused("item_reserved"):
        market.checkout(market.sign_up(), tiers["exclusive"])
    pay(market, buyer, later)
    assert market.status("orders", later["order_id"]) == "completed"
    if started:
        # The form was still open: then both are theirs.
        assert market.succeed(earlier["payment_id"]) == "processed"
        assert market.status("orders", earlier["order_id"]) == "completed"


@pytest.mark.parametrize("when", ["while it is held", "after it was sold"])
def test_an_exclusive_licence_stays_exclusive(market: Market, tiers: dict[str, Json], when: str) -> None:
    """Its seller cannot make another one of it and sell the product again."""
    seller, friend, buyer = tiers["seller"], market.sign_up(), market.sign_up()
    sold_before = market.buy(friend, tiers["commercial"])
    order = market.checkout(buyer, tiers["exclusive"])
    market.start(buyer, order["payment_id"])
    if when == "after it was sold":
        assert market.succeed(order["payment_id"]) == "processed"
    with refused("42501"):
        market.member(
            seller,
            'update public.catalog_options set is_exclusive = false, details = \'{"license_type": "commercial"}\' '
            "where id = %s",
            tiers["exclusive"]["option_id"],
        )
    if when == "while it is held":
        assert market.succeed(order["payment_id"]) == "processed"
    again = market.license(seller, tiers["item"], 50000, "exclusive")
    market.refund(seller, market.line(sold_before["order_id"]))
    for line in (tiers["personal"], {"item_id": tiers["item"], "option_id": again}):
        with refused("item_sold"):
            market.checkout(market.sign_up(), line)


def test_both_licences_are_owned_apart(market: Market, tiers: dict[str, Json]) -> None:
    buyer = market.sign_up()
    market.buy(buyer, tiers["personal"])
    order = market.buy(buyer, tiers["commercial"])
    with refused("already_owned"):
        market.checkout(buyer, tiers["commercial"])
    market.refund(tiers["seller"], market.line(order["order_id"]))
    assert market.owns(buyer, tiers["item"]), "the other licence stays"


# -- what the platform sells ------------------------------------------------------------------------------------------


def test_a_pack_of_the_platform_by_card(market: Market) -> None:
    """Everything but the provider's fee is revenue; nobody earns, nothing is released."""
    pack = market.good(market.platform(), 2000, kind="pack", is_repeatable=True)
    buyer = market.sign_up("ultimate")
    order = market.buy(buyer, {"item_id": pack, "quantity": 3})
    assert market.split(order["order_id"]) == (204, 5796, 0)
    assert market.payees(order["order_id"]) == {}
    assert market.balances() == {"clearing:stripe": -6000, "fees:stripe": 204, "revenue": 5796}
    market.mature()
    assert market.release() == 0
    market.fee(order["payment_id"], 250)
    assert market.balances() == {"clearing:stripe": -6000, "fees:stripe": 250, "revenue": 5750}
    line = market.line(order["order_id"])
    market.refund_arrives(market.refund_part(line, 1000))
    market.refund_arrives(market.refund_part(line, 2000, "platform"))
    assert market.balances() == {"clearing:stripe": -3000, "fees:stripe": 250, "revenue": 2750}
    market.refund_arrives(market.refund_part(line, None))
    assert market.balances() == {"fees:stripe": 250, "revenue": -250}
    assert not market.owns(buyer, pack)


def test_a_pack_of_the_platform_from_the_wallet(market: Market) -> None:
    pack = market.good(market.platform(), 2000, kind="pack", is_repeatable=True)
    buyer = buyer_with(market, 5000)
    order = market.checkout(buyer, pack, provider="wallet")
    assert (market.wallet(buyer), market.balances()["revenue"]) == ((3000, 0, 0), 2000)
    market.refund_part(market.line(order["order_id"]), None)
    assert market.wallet(buyer) == (5000, 0, 0)
    assert "revenue" not in market.balances()
    market.checkout(buyer, pack, provider="wallet")
    market.checkout(buyer, {"item_id": pack, "quantity": 1}, provider="wallet")
    assert market.wallet(buyer) == (1000, 0, 0)


def test_what_the_platform_sells_with_what_others_sell(market: Market) -> None:
    """One charge, one fee, two lines; declined later, nobody earned or lost by it."""
    pack = market.good(market.platform(), 1000, kind="pack")
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, pack, market.product(seller, 3000))
    assert market.split(order["order_id"], 1) == (37, 963, 0)
    assert market.split(order["order_id"], 2) == (109, 900, 1991)
    market.fee(order["payment_id"], 400)
    market.refund_part(market.line(order["order_id"]), 300, "platform")
    market.decline(order["payment_id"], order["charge"])
    (refund,) = market.rows("select id::text from public.refunds where reason = 'asked'")
    assert market.status("refunds", refund["id"]) == "cancelled"
    assert market.balances() == {}
    assert market.wallet(seller) == (0, 0, 0)


def test_an_artwork_of_the_platform(market: Market) -> None:
    """Whatever its kind: what the platform sells is its own; its plan and its reviews are nobody's."""
    item = str(
        market.one(
            "insert into public.artworks (seller_id, title, price_cents, category, image_url, status) values "
            "(%s, 'Of the house', 600000, 'painting', 'https://example.com/a.jpg', 'published') returning id",
            market.platform(),
        )
    )
    order = market.buy(market.sign_up(), item)
    assert market.split(order["order_id"]) == (17430, 582570, 0)
    assert market.rows("select * from public.sale_reviews") == []
    assert market.status("artworks", item) == "sold"


def test_the_platform_is_no_payee(market: Market) -> None:
    with refused("wallet_not_found"):
        market.fund(market.platform(), 100)
    with refused("23514"), market.connection.transaction():
        market.rows("insert into public.wallets (user_id) values (%s)", market.platform())


# -- who bears the fee ------------------------------------------------------------------------------------------------

FEES = [88, 0, 31, 500, 1999]


@pytest.mark.parametrize("price", [50, 53, 2000])
@pytest.mark.parametrize("fee", FEES)
@pytest.mark.parametrize("when", ["never", "before", "after"])
def test_stepping_back_in_time_costs_only_the_platform(market: Market, price: int, fee: int, when: str) -> None:
    """The buyer is whole, the seller exactly where they were, the platform bears the fee: also one read later."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.good(seller, price, kind="task", is_repeatable=True)
    other = market.buy(market.sign_up(), market.product(seller, 4000))
    before = market.wallet(seller), market.balances()
    order = market.buy(buyer, item)
    fee = min(fee, price)
    if when == "before":
        market.fee(order["payment_id"], fee)
    refund = market.cancel_line(buyer, market.line(order["order_id"]))
    assert (refund["amount_cents"], refund["fee_bearer"]) == (price, "platform")
    assert not market.owns(buyer, item), "the right ends at once"
    market.refund_arrives(refund["id"])
    assert market.wallet(seller) == before[0]
    if when == "after":
        market.fee(order["payment_id"], fee)
    estimate = market.one("select fee_estimate_cents from public.payments where id = %s", order["payment_id"])
    paid = estimate if when == "never" else fee
    assert market.wallet(seller) == before[0], "exactly where they were"
    expected = dict(before[1])
    expected["fees:stripe"] += paid
    expected["revenue"] -= paid
    assert market.balances() == expected
    market.check()
    assert market.status("payments", order["payment_id"]) == "refunded"
    assert market.status("payments", other["payment_id"]) == "succeeded"
    # Were it to fail all the same, the seller has what they had earned.
    market.refund_arrives(refund["id"], "failed")
    assert market.wallet(seller)[1] - before[0][1] == market.sales(order["order_id"])[0]["amount_seller_cents"]


@pytest.mark.parametrize(
    "parts",
    [
        [(500, "platform"), (700, "seller"), (800, "platform")],
        [(1999, "seller"), (1, "platform")],
        [(1, "platform")] * 7 + [(1993, "seller")],
        [(333, "seller"), (333, "platform"), (334, "seller"), (1000, "platform")],
    ],
    ids=str,
)
@pytest.mark.parametrize("read", [0, 1, 2, 9])
@pytest.mark.parametrize("fee", [20, 300])
def test_refunds_at_both_sides_cost_mixed(market: Market, parts: list[tuple[int, str]], read: int, fee: int) -> None:
    """Of the fee the seller bears what was refunded at their cost, to the cent, whenever the fee is read."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.good(seller, 2000, kind="task"))
    line = market.line(order["order_id"])
    refunds = []
    for no, (cents, bearer) in enumerate(parts):
        if no == read:
            market.fee(order["payment_id"], fee)
        refunds.append(market.refund_part(line, cents, bearer))
        market.refund_arrives(refunds[-1])
        market.check()
    if read >= len(parts):
        market.fee(order["payment_id"], fee)
    (sale,) = market.sales(order["order_id"])
    free = sum(cents for cents, bearer in parts if bearer == "platform")
    borne = (2 * fee * free + 2000) // 4000
    assert (sale["refunded_cents"], sale["free_refunded_cents"], sale["refunded_fee_cents"]) == (2000, free, borne)
    net = sale["amount_seller_cents"] - sale["refunded_seller_cents"]
    # A fee read when nothing was left may be more than the seller gave back at their cost: that is the platform's.
    assert -(fee - borne) <= net <= 0
    if read == 0 or fee < 88:
        assert net == -(fee - borne)
    available, pending, debt = market.wallet(seller)
    assert available + pending - debt == net
    assert market.balances().get("revenue", 0) == -fee - net
    # Taken back in another order than they were made, all is as after the sale.
    for refund in refunds[::2] + refunds[1::2]:
        market.refund_arrives(refund, "failed")
        market.check()
    (sale,) = market.sales(order["order_id"])
    assert [sale[f"refunded_{part}cents"] for part in ("", "tax_", "commission_", "fee_", "seller_")] == [0] * 5
    assert sale["free_refunded_cents"] == 0


def test_a_declined_charge_after_a_refund_at_the_platforms_cost(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.good(seller, 2000, kind="task"))
    line = market.line(order["order_id"])
    market.fee(order["payment_id"], 120)
    market.refund_arrives(market.refund_part(line, 500, "platform"))
    market.refund_arrives(market.refund_part(line, 500, "seller"))
    market.decline(order["payment_id"], order["charge"])
    assert market.wallet(seller) == (0, 0, 0)
    # What the buyer had back before stays with them: the provider owes us that.
    assert market.balances() == {}


def test_what_a_buyer_cannot_step_back_from(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    task, good = market.good(seller, 2000, kind="task", is_repeatable=True), market.good(seller, 2000)
    at_once = market.line(market.buy(buyer, good)["order_id"])
    done = market.line(market.buy(buyer, task)["order_id"])
    late = market.line(market.buy(buyer, task)["order_id"])
    market.finish(done)
    market.rows("update public.transactions set free_until = now() where order_item_id = %s", late)
    for line in (at_once, done, late):
        with refused("cannot_cancel"):
            market.cancel_line(buyer, line)
    open_ = market.line(market.buy(buyer, task)["order_id"])
    for stranger in (seller, market.sign_up(role="admin")):
        with refused("sale_not_found"):
            market.cancel_line(stranger, open_)
    assert market.cancel_line(buyer, open_)["amount_cents"] == 2000
    with refused("refund_amount_invalid"):
        market.cancel_line(buyer, open_)


def test_an_agreements_own_end_of_the_free_window(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    never = market.agree(seller, buyer, 2000, kind="task", free_until="2020-01-01T00:00:00Z")
    order = market.pay_agreed(buyer, never)
    pay(market, buyer, order)
    with refused("cannot_cancel"):
        market.cancel_line(buyer, market.line(order["order_id"]))


# -- several payees ---------------------------------------------------------------------------------------------------


def band(market: Market, *shares: int) -> tuple[list[str], Json]:
    """So many who share, and what a good says about it."""
    people = [market.sign_up("standard") for _ in shares]
    return people, [[person, bps] for person, bps in zip(people, shares, strict=True)]


@pytest.mark.parametrize("shares", [(10000,), (5000, 5000), (3333, 3333, 3334), (1, 9999), (9000, 500, 250, 250)])
@pytest.mark.parametrize("price", [50, 51, 53, 2000, 2001, 99999])
def test_payees_share_to_the_cent(market: Market, shares: tuple[int, ...], price: int) -> None:
    """Largest remainder: nobody is more than a cent off, and the sum is what the sale leaves."""
    people, payees = band(market, *shares)
    order = market.buy(market.sign_up(), market.good(people[0], price, payees=payees))
    _, _, seller = market.split(order["order_id"])
    parts = market.payees(order["order_id"])
    assert sum(cents for cents, _, _ in parts.values()) == seller
    for person, bps in zip(people, shares, strict=True):
        assert abs(parts[person][0] - seller * bps / 10000) < 1
        assert market.wallet(person) == (0, parts[person][0], 0)


@pytest.mark.parametrize("shares", [(5000, 5000), (3333, 3333, 3334), (9000, 500, 250, 250)])
@pytest.mark.parametrize("released", [False, True], ids=["held", "released"])
@pytest.mark.parametrize("bearer", ["seller", "platform"])
def test_payees_give_back_by_their_shares(market: Market, shares: tuple[int, ...], released: bool, bearer: str) -> None:
    """In parts and in full; what is not there becomes the debt of each, repaid by what they earn next."""
    people, payees = band(market, *shares)
    item = market.good(people[0], 2000, payees=payees, is_repeatable=True)
    order = market.buy(market.sign_up(), item)
    line = market.line(order["order_id"])
    spent = dict.fromkeys(people, 0)
    if released:
        market.mature()
        assert market.release() == 1
        for person in people:
            spent[person] = market.wallet(person)[0]
            market.fund(person, -spent[person])
    for cents in (1, 700, 333, None):
        market.refund_arrives(market.refund_part(line, cents, bearer))
        (sale,) = market.sales(order["order_id"])
        parts = market.payees(order["order_id"])
        left = sale["amount_seller_cents"] - sale["refunded_seller_cents"]
        assert sum(part - back for part, _, back in parts.values()) == left
        for person, bps in zip(people, shares, strict=True):
            part, held, back = parts[person]
            assert abs(part - back - left * bps / 10000) < 1
            available, pending, debt = market.wallet(person)
            assert (available, pending) == (0, held)
            assert pending - debt == part - back - spent[person]
    assert left == (0 if bearer == "platform" else -88)
    owed = {person: market.wallet(person)[2] for person in people}
    market.buy(market.sign_up(), item)
    market.mature()
    market.release()
    for person in people:
        available, pending, debt = market.wallet(person)
        assert (pending, available * debt) == (0, 0)
        assert available - debt == parts[person][0] - owed[person]


def test_a_banned_payee_holds_up_nobody_else(market: Market) -> None:
    (one, other), payees = band(market, 6000, 4000)
    order = market.buy(market.sign_up(), market.good(one, 2000, payees=payees))
    parts = market.payees(order["order_id"])
    market.mature()
    market.ban(other)
    assert market.release() == 1
    assert market.release() == 0
    assert market.wallet(one) == (parts[one][0], 0, 0)
    assert market.wallet(other) == (0, parts[other][0], 0)
    # A part comes back meanwhile: of one from what they have, of the other from what is held.
    market.refund_arrives(market.refund_part(market.line(order["order_id"]), 1000))
    left = {person: part - back for person, (part, _, back) in market.payees(order["order_id"]).items()}
    assert market.wallet(one) == (left[one], 0, 0)
    assert market.wallet(other) == (0, left[other], 0)
    market.unban(other)
    assert market.release() == 1
    assert market.wallet(other) == (left[other], 0, 0)
    (sale,) = market.sales(order["order_id"])
    assert sale["release_journal_id"] is not None


def test_payees_bear_a_fee_by_their_shares(market: Market) -> None:
    (one, other), payees = band(market, 7500, 2500)
    order = market.buy(market.sign_up(), market.good(one, 2000, payees=payees))
    market.fee(order["payment_id"], 289)
    parts = market.payees(order["order_id"])
    assert market.split(order["order_id"]) == (289, 600, 1111)
    assert {parts[one][0], parts[other][0]} == {833, 278}
    market.decline(order["payment_id"], order["charge"])
    assert market.wallet(one) == market.wallet(other) == (0, 0, 0)


@pytest.mark.parametrize("price", [50, 60, 101])
def test_a_loss_is_the_platforms_however_many_share(market: Market, price: int) -> None:
    """The fee alone exceeds the price: nobody owes anything, before and after the refund at the platform's cost."""
    people, payees = band(market, 3333, 3333, 3334)
    order = market.buy(market.sign_up(), market.good(people[0], price, kind="task", payees=payees))
    market.fee(order["payment_id"], price + 40)
    assert [market.wallet(person) for person in people] == [(0, 0, 0)] * 3
    refund = market.refund_part(market.line(order["order_id"]), None, "platform")
    market.refund_arrives(refund)
    assert [market.wallet(person) for person in people] == [(0, 0, 0)] * 3
    market.refund_arrives(refund, "failed")
    assert [market.wallet(person) for person in people] == [(0, 0, 0)] * 3


def test_a_seller_puts_no_payee_into_debt(market: Market) -> None:
    """The limit of what a refund of the seller's may leave as debt counts for each who earned it."""
    (one, other), payees = band(market, 100, 9900)
    order = market.buy(market.sign_up(), market.good(one, 90000, payees=payees))
    market.mature()
    market.release()
    market.onboard(other)
    payout = market.request_payout(other, market.wallet(other)[0])
    market.claim(payout)
    market.complete(payout)
    with refused("insufficient_funds"):
        market.request_refund(one, market.line(order["order_id"]))
    market.request_refund(market.sign_up(role="admin"), market.line(order["order_id"]))


def test_payees_are_paid_from_a_wallet(market: Market) -> None:
    (one, other), payees = band(market, 5000, 5000)
    buyer = buyer_with(market, 2000)
    order = market.checkout(buyer, market.good(one, 2000, payees=payees), provider="wallet")
    assert market.wallet(one) == market.wallet(other) == (0, 700, 0)
    market.refund_part(market.line(order["order_id"]), None)
    assert (market.wallet(buyer), market.wallet(one), market.wallet(other)) == ((2000, 0, 0), (0, 0, 0), (0, 0, 0))


def test_who_earns_a_part_of_what_they_pay(market: Market) -> None:
    """From the wallet or by card: the books are right before and after, the audit has nothing to say."""
    (one, buyer), payees = band(market, 5000, 5000)
    market.fund(buyer, 2000)
    item = market.good(one, 2000, payees=payees, is_repeatable=True)
    line = market.line(market.checkout(buyer, item, provider="wallet")["order_id"])
    assert (market.wallet(one), market.wallet(buyer)) == ((0, 700, 0), (0, 700, 0))
    market.check()
    for cents in (999, None):
        market.refund_part(line, cents)
        market.check()
    assert (market.wallet(one), market.wallet(buyer)) == ((0, 0, 0), (2000, 0, 0))
    market.refund(one, market.line(market.buy(buyer, item)["order_id"]))
    assert (market.wallet(one), market.wallet(buyer)) == ((0, 0, 44), (1956, 0, 0))


# -- discounts and shipping -------------------------------------------------------------------------------------------


def test_a_discount_is_shared_by_fee_commission_and_seller(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.good(seller, 1000, is_repeatable=True)
    order = market.checkout(buyer, {"item_id": item, "quantity": 3, "details": {"discount_cents": 500}})
    assert order["total_cents"] == 2500
    pay(market, buyer, order)
    assert market.split(order["order_id"]) == (103, 750, 1647)
    market.refund(seller, market.line(order["order_id"]), 1000)
    market.refund(seller, market.line(order["order_id"]))
    assert market.wallet(seller) == (0, 0, 103)
    whole = market.row("select subtotal_cents, discount_cents from public.orders where id = %s", order["order_id"])
    assert (whole["subtotal_cents"], whole["discount_cents"]) == (3000, 500)


def test_a_discount_that_leaves_nothing_is_free(market: Market) -> None:
    buyer = market.sign_up()
    item = market.good(market.sign_up(), 1000)
    order = market.checkout(buyer, {"item_id": item, "details": {"discount_cents": 1000}})
    assert (order["status"], order["payment_id"]) == ("completed", None)
    assert market.owns(buyer, item)
    assert market.sales(order["order_id"]) == []
    # On one line only: the other one is charged, the fee is its own.
    seller = market.sign_up("standard")
    free, dear = market.good(seller, 1000), market.good(seller, 3000)
    order = market.buy(buyer, {"item_id": free, "details": {"discount_cents": 1000}}, dear)
    assert len(market.sales(order["order_id"])) == 1
    assert market.split(order["order_id"]) == (117, 900, 1983)
    assert market.owns(buyer, free)


def test_shipping_is_the_payees_without_commission(market: Market) -> None:
    """Sent for 5.00 at a discount of 4.00: commission is on what the goods cost, refunds give back pro rata."""
    (one, _), payees = band(market, 5000, 5000)
    market.member(one, "insert into public.shipping_rates (name, price_cents) values ('all', 500)")
    buyer = market.sign_up()
    item = market.good(one, 2400, is_shipped=True, payees=payees)
    line = {"item_id": item, "details": {"discount_cents": 400}}
    order = market.rpc(buyer, "checkout", items=[line], shipping_address={"country": "DE"})
    assert order["total_cents"] == 2500
    pay(market, buyer, order)
    assert market.split(order["order_id"]) == (103, 600, 1797)
    assert {part for part, _, _ in market.payees(order["order_id"]).values()} == {898, 899}
    market.mature()
    assert market.release() == 0, "earned when it is delivered"
    sold = market.line(order["order_id"])
    market.rpc(one, "ship_line", order_item_id=sold)
    market.rpc(buyer, "confirm_delivery", order_item_id=sold)
    assert market.release() == 0
    market.mature()
    assert market.release() == 1
    market.refund_arrives(market.refund_part(sold, 1250))
    (sale,) = market.sales(order["order_id"])
    assert (sale["refunded_commission_cents"], sale["refunded_seller_cents"]) == (300, 950)


# -- without money ----------------------------------------------------------------------------------------------------


def test_what_was_free_is_taken_back_without_money(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.good(seller, 0, stock=2)
    lines = [market.line(market.checkout(who, item)["order_id"]) for who in (buyer, market.sign_up())]
    with refused("item_sold"):
        market.checkout(market.sign_up(), item)
    for _ in range(2):
        market.rows("select private.revoke_line(%s, 'removed')", lines[0])
    assert not market.owns(buyer, item)
    assert market.one("select taken from public.catalog_items where id = %s", item) == 1
    with refused("sale_not_found"):
        market.cancel_line(buyer, lines[0])
    market.checkout(buyer, item)
    assert market.owns(buyer, item)
    assert market.balances() == {}


def test_what_was_paid_is_taken_back_without_money(market: Market) -> None:
    """A removal ends the right and leaves the money to people; a later refund that fails does not restore it."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.product(seller, 2000)
    order = market.buy(buyer, item)
    line = market.line(order["order_id"])
    market.rows("select private.revoke_line(%s, 'removed')", line)
    assert not market.owns(buyer, item)
    assert market.wallet(seller) == (0, 1312, 0)
    refund = market.refund(seller, line)
    market.refund_arrives(refund["id"], "failed")
    assert not market.owns(buyer, item)
    assert market.wallet(seller) == (0, 1312, 0)


def test_all_that_a_line_granted_is_one_right(market: Market) -> None:
    """A bundle: its parts come and go with it, and what was owned before stays."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    songs = [market.product(seller, 500) for _ in range(3)]
    album = market.good(seller, 1200, extras=songs)
    market.buy(buyer, songs[0])
    order = market.buy(buyer, album)
    assert all(market.owns(buyer, item) for item in (album, *songs))
    assert market.wallet(seller)[1] == market.sales(order["order_id"])[0]["amount_seller_cents"] + 305
    refund = market.refund(seller, market.line(order["order_id"]))
    assert [market.owns(buyer, item) for item in (album, *songs)] == [False, True, False, False]
    market.refund_arrives(refund["id"], "failed")
    assert all(market.owns(buyer, item) for item in (album, *songs))


@pytest.mark.parametrize("first", [True, False], ids=["bundle first", "item first"])
def test_a_bundle_together_with_what_is_in_it(market: Market, first: bool) -> None:
    """Bought in one order: the item is owned by its own line, and on top by the bundle's."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    songs = [market.product(seller, 500) for _ in range(2)]
    album = market.good(seller, 1200, extras=songs)
    order = market.buy(buyer, *([album, songs[0]] if first else [songs[0], album]))
    assert all(market.owns(buyer, item) for item in (album, *songs))
    market.refund(seller, market.line(order["order_id"], 2 if first else 1))
    assert all(market.owns(buyer, item) for item in (album, *songs)), "the bundle has it, too"
    market.refund(seller, market.line(order["order_id"], 1 if first else 2))
    assert not any(market.owns(buyer, item) for item in (album, *songs))


def test_a_bundle_and_what_is_in_it_in_two_orders_of_a_group(market: Market) -> None:
    """They settle apart, as one by one: what is in the bundle is owned then, and its money goes back."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    song = market.product(seller, 500)
    orders = [market.checkout(buyer, item) for item in (market.good(seller, 1200, extras=[song]), song)]
    events = []
    for no, order in enumerate(orders):
        market.start(buyer, order["payment_id"])
        intent = market.intent(order["payment_id"], latest_charge=f"ch_{no}")
        events.append(market.store("payment_intent.succeeded", intent))
    with pytest.raises(psycopg.errors.UniqueViolation):
        market.worker("select private.settle_batch(%s::bigint[])", events)
    assert [market.process(event) for event in events] == ["processed", "processed"]
    assert market.status("orders", orders[0]["order_id"]) == "completed"
    gone(market, orders[1])


# -- earned when it is done -------------------------------------------------------------------------------------------


def jobs_run(market: Market) -> None:
    """Everything the workers do by the clock, much later."""
    market.mature()
    market.rows("update public.transactions set created_at = created_at - interval '1 year'")
    market.release()
    market.worker("select private.assume_deliveries(100)")
    market.worker("select private.expire_unstarted_payments(100)")
    market.worker("select private.expire_refund_requests()")
    market.release()


def test_nothing_of_an_unfinished_line_is_paid_out(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.good(seller, 2000, kind="task"))
    (sale,) = market.sales(order["order_id"])
    assert (sale["completed_at"], sale["release_at"]) == (None, None)
    jobs_run(market)
    market.fee(order["payment_id"], 50)
    jobs_run(market)
    assert market.wallet(seller) == (0, 1350, 0)
    line = market.line(order["order_id"])
    assert market.finish(line) == 1
    assert market.release() == 0, "held from now on"
    (sale,) = market.sales(order["order_id"])
    market.rows("update public.transactions set release_at = release_at - interval '3 days' where id = %s", sale["id"])
    assert market.finish(line) == 0, "once"
    assert market.sales(order["order_id"])[0]["release_at"] < sale["release_at"], "a second time moves nothing"
    jobs_run(market)
    assert market.wallet(seller) == (1350, 0, 0)


def test_what_cannot_have_a_date_has_none(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.good(seller, 2000, kind="task"))
    with refused("23514"), market.connection.transaction():
        market.rows("update public.transactions set release_at = now() where payment_id = %s", order["payment_id"])
    assert market.sales(order["order_id"])[0]["release_at"] is None


def test_finished_after_a_refund(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.good(seller, 2000, kind="task"))
    line = market.line(order["order_id"])
    refund = market.cancel_line(buyer, line)
    market.finish(line)
    market.refund_arrives(refund["id"])
    jobs_run(market)
    assert market.wallet(seller) == (0, 0, 0)
    # The refund fails after all: what was earned is held, and released by the date it has.
    market.refund_arrives(refund["id"], "failed")
    available, pending, debt = market.wallet(seller)
    assert (available + pending, debt) == (1312, 0)


def test_finished_while_a_refund_is_under_way(market: Market) -> None:
    """Released or not, what is promised back cannot be spent."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.good(seller, 20000, kind="task"))
    line = market.line(order["order_id"])
    refund = market.cancel_line(buyer, line)
    market.finish(line)
    jobs_run(market)
    market.onboard(seller)
    assert market.wallet(seller)[0] == 13390
    with refused("insufficient_funds"):
        market.request_payout(seller, 5000)
    market.refund_arrives(refund["id"])
    assert market.wallet(seller) == (0, 0, 0)


def test_finished_after_a_ban(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.good(seller, 2000, kind="task"))
    market.ban(seller)
    market.finish(market.line(order["order_id"]))
    jobs_run(market)
    assert market.wallet(seller) == (0, 1312, 0), "held, not lost"
    market.unban(seller)
    jobs_run(market)
    assert market.wallet(seller) == (1312, 0, 0)


def test_done_before_it_was_paid_counts_from_the_payment(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.good(seller, 2000, kind="task"))
    market.one(
        "select private.complete_lines(array[%s]::uuid[], now() - interval '1 year')", market.line(order["order_id"])
    )
    assert market.release() == 0


def test_twice_at_once_is_two_rights(market: Market) -> None:
    """What is bought again and again: two lines of one order, and two orders; refunding one leaves the others."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.good(seller, 2000, kind="task", is_repeatable=True)
    first = market.buy(buyer, item, item)
    second = market.buy(buyer, item)
    live = "select count(*) from public.purchases where owner_id = %s and revoked_at is null"
    assert market.one(live, buyer) == 3
    market.refund(seller, market.line(first["order_id"], 2))
    assert market.one(live, buyer) == 2
    assert market.finish(market.line(first["order_id"]), market.line(second["order_id"])) == 2


# -- what was agreed --------------------------------------------------------------------------------------------------


def test_an_agreement_is_paid_as_agreed(market: Market) -> None:
    """Whatever became of plan, price, block, visibility; abandoned three times; nobody else sees or pays it."""
    seller, buyer = market.sign_up("ultimate"), market.sign_up()
    payable = market.agree(seller, buyer, 20000)
    agreed = market.row("select * from public.payables where id = %s", payable)
    market.rows("update public.subscriptions set plan_key = 'creator_basic' where user_id = %s", seller)
    market.rows("update public.profiles set profile_visibility = 'private' where id = %s", seller)
    market.member(seller, "insert into public.user_blocks (blocked_id) values (%s)", buyer)
    for stranger in (seller, market.sign_up()):
        assert market.member(stranger, "select * from public.payables") == []
        with refused("payable_not_open"):
            market.pay_agreed(stranger, payable)
    attempts = []
    for _ in range(4):
        attempts.append(market.pay_agreed(buyer, payable))
        market.start(buyer, attempts[-1]["payment_id"])
        market.decline(attempts[-1]["payment_id"], f"ch_{number()}")
    assert market.succeed(attempts[-1]["payment_id"]) == "processed"
    (sale,) = market.sales(attempts[-1]["order_id"])
    assert sale["commission_bps"] == agreed["commission_bps"]
    assert market.status("payables", payable) == "paid"
    with refused("payable_not_open"):
        market.pay_agreed(buyer, payable)
    with refused("payment_not_open", "payable_not_open"):
        market.start(buyer, attempts[0]["payment_id"])
    # The first attempt's money arrives all the same.
    assert market.succeed(attempts[0]["payment_id"]) == "processed"
    gone(market, attempts[0])
    market.refund(market.sign_up(role="admin"), market.line(attempts[-1]["order_id"]))
    assert market.status("payables", payable) == "returned"


def test_an_award_is_bought_after_the_card_form_was_left_three_times(market: Market) -> None:
    """A work of which there is one, off the shop meanwhile: each attempt left and ended, the last one paid."""
    seller, winner = market.sign_up("standard"), market.sign_up()
    work = market.artwork(seller, 5000)
    market.member(seller, "update public.artworks set is_for_sale = false where id = %s", work)
    award = market.agree(seller, winner, 3000, kind="artwork", item_id=work)
    for end in ("left", "cancelled", "ran out"):
        order = market.pay_agreed(winner, award)
        if end != "left":
            market.start(winner, order["payment_id"])
        if end == "cancelled":
            market.rpc(winner, "cancel_order", order_id=order["order_id"])
        market.rows("update public.payments set expires_at = now() where id = %s", order["payment_id"])
        if end == "left":
            assert market.worker("select private.expire_unstarted_payments(10)") == 1
        else:
            assert market.cancel(order["payment_id"]) == "processed"
        assert market.status("orders", order["order_id"]) == "cancelled"
        assert market.status("payables", award) == "open"
        with refused("item_sold"):
            market.checkout(market.sign_up(), work)
    order = market.pay_agreed(winner, award)
    pay(market, winner, order)
    assert market.owns(winner, work)
    assert (market.status("payables", award), market.status("artworks", work)) == ("paid", "sold")
    assert market.balances()["clearing:stripe"] == -3000, "paid once"


@pytest.mark.parametrize("end", ["lapsed", "withdrawn"])
def test_an_agreement_that_ended(market: Market, end: str) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    payable = market.agree(seller, buyer, 2000)
    order = market.pay_agreed(buyer, payable)
    market.start(buyer, order["payment_id"])
    over = "select private.end_payable(%s, %s::public.payable_status)"
    assert market.one(over, payable, end) is False, "money may still arrive"
    market.cancel(order["payment_id"])
    assert market.one(over, payable, end) is True
    with refused("payable_not_open"):
        market.pay_agreed(buyer, payable)
    assert market.succeed(order["payment_id"]) == "processed"
    gone(market, order)


def test_an_agreement_is_paid_from_the_wallet(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), buyer_with(market, 3000)
    payable = market.agree(seller, buyer, 2000, shipping_cents=500)
    earlier = market.pay_agreed(buyer, payable)
    assert market.pay_agreed(buyer, payable, "wallet")["status"] == "completed"
    assert market.status("orders", earlier["order_id"]) == "cancelled"
    assert market.wallet(buyer) == (500, 0, 0)
    assert market.wallet(seller) == (0, 1900, 0), "shipping carries no commission"


def test_instalments_are_done_together(market: Market) -> None:
    """Two parts of one thing, each paid by itself, earned when the whole is done."""
    seller, buyer, subject = market.sign_up("standard"), market.sign_up(), "6b0e5c3e-0000-4000-8000-000000000001"
    lines = []
    for part in (1, 2):
        order = market.pay_agreed(buyer, market.agree(seller, buyer, 2000, kind="task", subject_id=subject, part=part))
        pay(market, buyer, order)
        lines.append(market.line(order["order_id"]))
    jobs_run(market)
    assert market.wallet(seller) == (0, 2624, 0)
    assert market.finish(*lines) == 2
    jobs_run(market)
    assert market.wallet(seller) == (2624, 0, 0)


# -- gone -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stock", "elsewhere", "owned", "left", "exclusive", "edition"])
def test_what_is_gone_at_settlement_is_refunded(market: Market, how: str) -> None:
    """Never a dead event, never goods for nothing, and nothing is on sale that somebody paid for."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    option = None
    if how == "exclusive":
        item = market.product(seller, 1000)
        option = market.license(seller, item, 5000, "exclusive")
    elif how == "edition":
        item, _ = market.edition(seller, 2000, 2)
    else:
        item = market.good(seller, 2000, stock={"stock": 2, "elsewhere": 1}.get(how))
    order = market.checkout(buyer, {"item_id": item, "option_id": option})
    market.start(buyer, order["payment_id"])
    if how in ("stock", "edition"):
        market.cancel(order["payment_id"])
        market.buy(market.sign_up(), {"item_id": item, "quantity": 2})
    elif how == "exclusive":
        market.cancel(order["payment_id"])
        market.buy(market.sign_up(), {"item_id": item, "option_id": option})
    elif how == "elsewhere":
        market.rows("update public.goods set is_for_sale = false where id = %s", item)
        assert market.one("select private.end_holds(%s)", item) == 1
    elif how == "owned":
        market.cancel(order["payment_id"])
        market.buy(buyer, item)
    else:
        market.rows("update public.profiles set deleted_at = now() where id = %s", buyer)
    assert market.succeed(order["payment_id"]) == "processed"
    refund = gone(market, order)
    assert market.balances()["refunds_payable"] == order["total_cents"]
    market.refund_arrives(refund["id"])
    assert "refunds_payable" not in market.balances()
    assert market.one("select count(*) from private.holds") == 0
    if how in ("stock", "edition", "elsewhere"):
        assert not market.listed(item)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "in a group"])
def test_32_an_artwork_sold_elsewhere_while_somebody_pays(market: Market, together: bool) -> None:
    """Its buyer has all of it back, nobody else waits for that, and it is not on sale again."""
    seller, buyer, other = market.sign_up("standard"), market.sign_up(), market.sign_up()
    item, plain = market.artwork(seller, 2000), market.product(seller, 1000)
    orders = [market.checkout(buyer, item), market.checkout(other, plain)]
    market.start(buyer, orders[0]["payment_id"])
    market.start(other, orders[1]["payment_id"])
    market.member(seller, "update public.artworks set is_for_sale = false where id = %s", item)
    assert market.one("select private.end_holds(%s)", item) == 1
    events = [
        market.store("payment_intent.succeeded", market.intent(order["payment_id"], latest_charge=f"ch_{number()}"))
        for order in orders
    ]
    if together:
        assert market.worker("select private.settle_batch(%s::bigint[])", events) == [events[1]]
        assert market.process(events[0]) == "processed"
    else:
        assert [market.process(event) for event in events] == ["processed", "processed"]
    refund = gone(market, orders[0])
    assert market.owns(other, plain)
    market.refund_arrives(refund["id"])
    assert (market.status("artworks", item), market.listed(item)) == ("published", False)
    assert market.one("select count(*) from private.holds") == 0


def test_gone_for_a_wallet_takes_nothing(market: Market) -> None:
    buyer = buyer_with(market, 5000)
    item = market.good(market.sign_up(), 2000, stock=2)
    market.buy(market.sign_up(), {"item_id": item, "quantity": 2})
    with refused("item_sold"):
        market.checkout(buyer, item, provider="wallet")
    assert market.wallet(buyer) == (5000, 0, 0)


# -- the books --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (
            "update public.catalog_items set taken = taken + 1 where stock > 1",
            "5 what is sold and held is what is taken",
        ),
        ("update public.transaction_payees set cents = cents + 1", "3 payees share what the sale leaves"),
        ("update public.transaction_payees set share_bps = share_bps - 1", "3 payees share what the sale leaves"),
        (
            "update public.transactions set completed_at = settled_at - interval '1 day'",
            "3 nothing unfinished has a date",
        ),
        (
            "alter table public.transactions drop constraint transactions_release_check; "
            "update public.transactions set completed_at = null",
            "3 nothing unfinished has a date",
        ),
        ("update public.refunds set fee_bearer = 'seller'", "3 the fee of a refund is borne as it says"),
        ("update public.purchases set revoked_at = null, revoked_reason = null", "5 what is refunded whole is revoked"),
        ("delete from public.transaction_payees", "3 payees share what the sale leaves"),
    ],
)
def test_the_audit_finds(market: Market, wrong: str, found: str) -> None:
    seller = market.sign_up()
    item, _ = market.edition(seller, 2000, 5)
    market.buy(market.sign_up(), item)
    order = market.buy(market.sign_up(), market.good(seller, 2000, kind="task"))
    market.finish(market.line(order["order_id"]))
    market.refund_arrives(market.refund_part(market.line(order["order_id"]), None, "platform"))
    market.check()

    with market.connection.transaction(force_rollback=True):
        market.connection.execute(wrong.encode())
        names = [row["invariant"] for row in market.rows("select distinct invariant from ledger.audit()")]
    assert found in names


def test_nobody_but_settlement_sells(market: Market) -> None:
    """What moves rights and money is closed to clients and to the workers alike."""
    for call in (
        "select private.revoke_line(gen_random_uuid(), 'x')",
        "select private.complete_lines('{}')",
        "select private.end_holds(gen_random_uuid())",
        "select private.add_payable(null)",
        "select private.refund_line(gen_random_uuid(), 1, 'x', 'admin')",
    ):
        for role in (market.sign_up(), market.sign_up(role="admin")):
            with refused("42501"):
                market.member(role, call)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            market.worker(call)
