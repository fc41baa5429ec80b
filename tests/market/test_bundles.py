"""Bundles: several items at one price, of one seller or of several, from the terms to the last refund."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.market.test_coupons import buy, checkout, code, coupon, pay, platforms, preview
from tests.money.market import Json, Market, number, refused


def bundle(market: Market, seller: str, price: int, *parts: str | Json, **more: Json) -> str:
    """A bundle with terms, set active; its id. On sale once its sellers agreed."""
    (row,) = market.member(seller, "insert into public.bundles (title) values (%s) returning id", f"Bundle {number()}")
    terms(market, seller, row["id"], price, *parts, **more)
    market.member(seller, "update public.bundles set status = 'active' where id = %s", row["id"])
    return str(row["id"])


def terms(market: Market, seller: str, bundle: str, price: int, *parts: str | Json, **more: Json) -> Json:
    """set_bundle_terms()."""
    wanted = [{"item_id": part} if isinstance(part, str) else part for part in parts]
    return market.rpc(seller, "set_bundle_terms", bundle_id=bundle, price_cents=price, parts=wanted, **more)


def version(market: Market, bundle: str) -> int:
    return int(market.one("select terms_version from public.bundles where id = %s", bundle))


def agree(market: Market, seller: str, bundle: str) -> Json:
    """To the terms as they are."""
    return market.rpc(seller, "agree_to_bundle", bundle_id=bundle, terms_version=version(market, bundle))


def shared(market: Market, price: int = 3000, **more: Json) -> tuple[str, str, str, list[str]]:
    """A bundle on sale of two sellers: who sells it, whose the other part is, it, and its parts of 30.00 and 10.00."""
    owner, other = market.sign_up("standard"), market.sign_up("premium")
    parts = [market.product(owner, 3000), market.product(other, 1000)]
    it = bundle(market, owner, price, *parts, **more)
    agree(market, other, it)
    return owner, other, it, parts


def owned(market: Market, who: str, *items: str) -> list[bool]:
    return [market.owns(who, item) for item in items]


def followed(market: Market, bundle: str) -> bool:
    """Whether it is in the shop once the job has run."""
    while market.worker("select private.follow_bundles()"):
        pass
    return market.listed(bundle)


def problem(market: Market, seller: str, bundle: str) -> Json:
    return market.rpc(seller, "bundle_problem", bundle_id=bundle)


def told(market: Market, who: str) -> list[str]:
    rows = market.rows(
        "delete from public.notifications where user_id = %s and type like 'bundle%%' returning type, related_id", who
    )
    return sorted(row["type"] for row in rows)


# -- bought -----------------------------------------------------------------------------------------------------------


def test_one_line_grants_all_parts_as_if_bought_alone(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    plain, keyed = market.product(seller, 1000), market.product(seller, 2000)
    market.member(seller, "update public.products set license_seats = 2 where id = %s", keyed)
    commercial = market.license(seller, plain, 3000, "commercial")
    it = bundle(market, seller, 3500, {"item_id": plain, "option_id": commercial}, keyed)
    row = market.row("select parts_cents, saved_cents, is_complete from public.bundles where id = %s", it)
    assert row == {"parts_cents": 5000, "saved_cents": 1500, "is_complete": True}
    order = market.buy(buyer, it)
    assert order["total_cents"] == 3500
    assert market.split(order["order_id"]) == (132, 1050, 2318)
    assert owned(market, buyer, it, plain, keyed) == [True] * 3
    grants = market.rows(
        "select item_id, option_id, kind, price_cents from public.purchases order by price_cents desc, option_id"
    )
    assert [tuple(grant.values()) for grant in grants] == [
        (it, None, "bundle", 3500),
        (plain, commercial, "product", 0),
        (keyed, None, "product", 0),
    ]
    # The kinds of the parts heard of it.
    key = market.row("select product_id, owner_id, seats, is_valid from public.license_keys")
    assert key == {"product_id": keyed, "owner_id": buyer, "seats": 2, "is_valid": True}
    assert len(market.member(buyer, "select id from public.product_files")) == 2
    parts = market.one("select details -> 'parts' from public.order_items where order_id = %s", order["order_id"])
    assert [part["license_type"] for part in parts] == ["commercial", "personal"]
    counts = market.rows(
        "select purchases_count as n, paid_purchases_count as paid from public.catalog_items where seller_id = %s",
        seller,
    )
    assert sorted((count["n"], count["paid"]) for count in counts) == [(1, 0), (1, 0), (1, 1)]
    for item in (it, keyed, {"item_id": plain, "option_id": commercial}):
        with refused("already_owned"):
            checkout(market, buyer, [item])
    # Another licence of it is another thing.
    market.buy(buyer, {"item_id": plain})
    refund = market.refund(seller, market.line(order["order_id"]))
    assert owned(market, buyer, it, plain, keyed) == [False, True, False]
    assert not market.one("select is_valid from public.license_keys")
    market.refund_arrives(refund["id"], "failed")
    assert owned(market, buyer, it, plain, keyed) == [True] * 3
    assert market.one("select is_valid from public.license_keys")


@pytest.mark.parametrize(
    ("price", "shares", "bps", "parts"),
    [
        # 30.00 and 10.00 alone: 7500 and 2500 bps at 30 % and 20 %, so 27.5 %.
        (2996, None, 2750, (1541, 514)),
        (2999, None, 2750, (1543, 514)),
        (3001, 3333, 2667, (1389, 695)),
        (3000, 10000, 2000, (0, 2283)),
        (3000, 0, 3000, (1983, 0)),
    ],
)
def test_the_price_is_shared_as_agreed_to_the_cent(
    market: Market, price: int, shares: int | None, bps: int, parts: tuple[int, int]
) -> None:
    owner, other = market.sign_up("standard"), market.sign_up("premium")
    items = [market.product(owner, 3000), market.product(other, 1000)]
    more = {} if shares is None else {"shares": {other: shares}}
    it = bundle(market, owner, price, *items, **more)
    agree(market, other, it)
    order = market.buy(market.sign_up(), it)
    (sale,) = market.sales(order["order_id"])
    assert sale["commission_bps"] == bps
    assert sale["amount_commission_cents"] == (price * bps + 5000) // 10000
    payees = market.payees(order["order_id"])
    assert tuple(payees.get(who, (0,))[0] for who in (owner, other)) == parts
    assert sum(parts) == sale["amount_seller_cents"]
    # Half of it back, then the rest: nobody has a cent too many.
    line = market.line(order["order_id"])
    admin = market.sign_up(role="admin")
    market.refund(admin, line, price // 2)
    assert owned(market, sale["buyer_id"], it, *items) == [True] * 3
    market.check()
    market.refund(admin, line)
    assert owned(market, sale["buyer_id"], it, *items) == [False] * 3
    fee = sale["amount_fees_cents"]
    assert sum(market.wallet(who)[2] for who in (owner, other)) == fee
    assert all(market.wallet(who)[:2] == (0, 0) for who in (owner, other))


def test_equal_remainders_are_shared_by_a_hash_not_by_place(market: Market) -> None:
    """Whoever is named first is not the luckier one: over many lines the odd cent goes to each."""
    owner, other = market.sign_up("standard"), market.sign_up("standard")
    items = [market.product(owner, 3000), market.product(other, 3000)]
    it = bundle(market, owner, 5000, *items, shares={other: 5000})
    agree(market, other, it)
    lucky = set()
    for _ in range(12):
        order = market.buy(market.sign_up(), it)
        payees = market.payees(order["order_id"])
        assert abs(payees[owner][0] - payees[other][0]) == 1
        lucky.add(max(payees, key=lambda who: payees[who][0]))
    assert lucky == {owner, other}


def test_a_charge_taken_back_takes_it_from_all(market: Market) -> None:
    owner, other, it, parts = shared(market)
    buyer = market.sign_up()
    order = market.buy(buyer, it)
    assert market.decline(order["payment_id"], charge=order["charge"]) == "processed"
    assert owned(market, buyer, it, *parts) == [False] * 3
    assert market.wallet(owner) == market.wallet(other) == (0, 0, 0)


def test_from_a_wallet(market: Market) -> None:
    owner, other, it, parts = shared(market)
    buyer = market.sign_up()
    market.fund(buyer, 3000)
    order = checkout(market, buyer, [it], provider="wallet")
    assert order["status"] == "completed"
    assert market.split(order["order_id"]) == (0, 825, 2175)
    assert [market.wallet(who)[1] for who in (owner, other)] == [1631, 544]
    market.request_refund(owner, market.line(order["order_id"]))
    assert market.wallet(buyer) == (3000, 0, 0)
    assert owned(market, buyer, it, *parts) == [False] * 3


def test_what_is_earned_is_each_ones_own(market: Market) -> None:
    owner, other, it, _ = shared(market)
    market.buy(market.sign_up(), it)
    market.mature()
    assert market.release() == 1
    available = market.wallet(owner)[0], market.wallet(other)[0]
    # 2058 by 3:1 is a tie, which the line's hash breaks.
    assert available in ((1543, 515), (1544, 514))
    rows = market.member(other, "select cents from public.transaction_payees")
    assert [row["cents"] for row in rows] == [available[1]], "their own only"


# -- what the buyer has already ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["part", "bundle"])
def test_a_part_that_is_owned_stays_whichever_goes_back(market: Market, first: str) -> None:
    owner, _, it, parts = shared(market)
    buyer = market.sign_up()
    alone = market.buy(buyer, parts[0])
    assert preview(market, buyer, [it])["lines"][0]["owned"] == [parts[0]]
    assert preview(market, market.sign_up(), [it])["lines"][0]["owned"] == []
    order = market.buy(buyer, it)
    assert order["total_cents"] == 3000, "the price is what it is"
    orders = [alone, order] if first == "part" else [order, alone]
    refund = market.refund(owner, market.line(orders[0]["order_id"]))
    left = [True, True, True] if first == "part" else [False, True, False]
    assert owned(market, buyer, it, *parts) == left
    market.refund_arrives(refund["id"], "failed")
    assert owned(market, buyer, it, *parts) == [True] * 3
    market.refund(owner, market.line(orders[1]["order_id"]))
    market.check()
    assert owned(market, buyer, it, *parts) == ([False, True, False] if first == "part" else [True] * 3)


def test_bought_alone_after_the_bundle_went_back(market: Market) -> None:
    """The refund fails: the bundle's is handed over when what was bought since goes back."""
    owner, _, it, parts = shared(market)
    buyer = market.sign_up()
    order = market.buy(buyer, it)
    refund = market.refund(owner, market.line(order["order_id"]))
    alone = market.buy(buyer, parts[0])
    market.refund_arrives(refund["id"], "failed")
    assert owned(market, buyer, it, *parts) == [True] * 3
    market.refund(owner, market.line(alone["order_id"]))
    assert owned(market, buyer, it, *parts) == [True] * 3


def test_who_owns_all_of_it_is_not_sold_it(market: Market) -> None:
    _, _, it, parts = shared(market)
    buyer = market.sign_up()
    order = checkout(market, buyer, [it])
    market.start(buyer, order["payment_id"])
    for part in parts:
        market.buy(buyer, part)
    with refused("already_owned"):
        checkout(market, buyer, [it])
    assert preview(market, buyer, [it])["lines"][0]["problem"] == "already_owned"
    # Nor by money that comes now.
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.status("orders", order["order_id"]) == "cancelled"
    assert market.one("select amount_cents from public.refunds") == 3000
    assert not market.owns(buyer, it)


@pytest.mark.parametrize("reverse", [False, True])
def test_two_lines_that_bring_the_same(market: Market, reverse: bool) -> None:
    owner, _, it, parts = shared(market)
    second = bundle(market, owner, 3500, parts[0], market.product(owner, 1000))
    buyer = market.sign_up()
    order = buy(market, buyer, [it, second, parts[0]][:: -1 if reverse else 1])
    assert market.one("select count(*) from public.purchases where item_id = %s", parts[0]) == 3
    assert market.one("select count(*) from public.purchases where item_id = %s and is_owned_once", parts[0]) == 1
    lines = [market.line(order["order_id"], no) for no in (1, 2, 3)]
    for no, line in enumerate(lines):
        assert market.owns(buyer, parts[0])
        market.refund(market.sign_up(role="admin"), line)
        market.check()
        assert market.owns(buyer, parts[0]) == (no < 2)


def test_two_bundles_and_a_part_settled_together(market: Market) -> None:
    """What would be owned twice is settled apart; money for what is owned by then goes back."""
    owner, _, it, parts = shared(market)
    second = bundle(market, owner, 3500, parts[0], market.product(owner, 1000))
    buyer, stranger = market.sign_up(), market.sign_up()
    orders = [checkout(market, who, [item]) for who, item in ((buyer, it), (buyer, second), (buyer, parts[0]))]
    orders.append(checkout(market, stranger, [it]))
    events = []
    for order in orders:
        market.start(
            market.one("select user_id from public.orders where id = %s", order["order_id"]), order["payment_id"]
        )
        events.append(market.store("payment_intent.succeeded", market.intent(order["payment_id"])))
    with pytest.raises(psycopg.errors.UniqueViolation):
        market.worker("select private.settle_batch(%s::bigint[])", events)
    assert sorted(market.worker("select private.settle_batch(%s::bigint[])", [events[0], events[3]])) == sorted(
        [events[0], events[3]]
    )
    assert [market.process(event) for event in events[1:3]] == ["processed"] * 2
    states = [market.status("orders", order["order_id"]) for order in orders]
    assert states == ["completed", "completed", "cancelled", "completed"]
    assert owned(market, buyer, it, second, *parts) == [True] * 4
    assert market.one("select amount_cents from public.refunds") == 3000


def test_who_sells_a_part_does_not_buy_it(market: Market) -> None:
    owner, other, it, _ = shared(market)
    for who in (owner, other):
        with refused("own_item"):
            checkout(market, who, [it])


# -- agreed -----------------------------------------------------------------------------------------------------------


def test_nothing_is_sold_on_terms_somebody_did_not_agree_to(market: Market) -> None:
    owner, other, stranger, buyer = (market.sign_up() for _ in range(4))
    parts = [market.product(owner, 3000), market.product(other, 1000)]
    it = bundle(market, owner, 3000, *parts)
    assert (told(market, other), told(market, owner)) == (["bundle_asked"], [])
    assert problem(market, owner, it) == "not_agreed"
    assert not market.listed(it)
    assert market.member(buyer, "select id from public.bundles") == []
    assert market.member(buyer, "select item_id from public.bundle_parts") == []
    with refused("item_not_available"):
        checkout(market, buyer, [it])
    # Who is asked sees what they are asked, and their own share.
    (seen,) = market.member(other, "select price_cents, terms_version, takes_coupons from public.bundles")
    assert seen == {"price_cents": 3000, "terms_version": 2, "takes_coupons": False}
    (row,) = market.member(other, "select share_bps, status::text from public.bundle_sellers")
    assert row == {"share_bps": 2500, "status": "asked"}
    for who in (stranger, buyer):
        assert market.member(who, "select * from public.bundle_sellers") == []
        with refused("bundle_not_found"):
            agree(market, who, it)
        with refused("bundle_not_found"):
            market.rpc(who, "decline_bundle", bundle_id=it)
        with refused("bundle_not_found"):
            problem(market, who, it)
    with refused("bundle_not_found"):
        agree(market, owner, it)
    with refused("bundle_not_found"):
        terms(market, other, it, 3000, *parts)
    with refused("bundle_terms_changed"):
        market.rpc(other, "agree_to_bundle", bundle_id=it, terms_version=1)
    agree(market, other, it)
    assert told(market, owner) == ["bundle_agreed"]
    assert market.listed(it)
    agree(market, other, it)
    assert told(market, owner) == [], "once"
    market.buy(buyer, it)


@pytest.mark.parametrize("change", ["price", "shares", "parts", "coupons"])
def test_a_change_asks_them_again(market: Market, change: str) -> None:
    owner, other, it, parts = shared(market)
    buyer = market.sign_up()
    order = checkout(market, buyer, [it])
    assert told(market, other) == ["bundle_asked"]
    changes: dict[str, tuple[int, list[str], dict[str, Json]]] = {
        "price": (2900, parts, {}),
        "shares": (3000, parts, {"shares": {other: 2499}}),
        "parts": (3000, [*parts, market.product(owner, 500)], {"shares": {other: 2500}}),
        "coupons": (3000, parts, {"takes_coupons": True}),
    }
    # The same again is no change.
    before = version(market, it)
    terms(market, owner, it, 3000, *parts)
    assert (version(market, it), told(market, other), market.listed(it)) == (before, [], True)
    price, wanted, more = changes[change]
    terms(market, owner, it, price, *wanted, **more)
    assert (version(market, it), told(market, other), market.listed(it)) == (before + 1, ["bundle_asked"], False)
    with refused("item_not_available"):
        checkout(market, market.sign_up(), [it])
    with refused("bundle_terms_changed"):
        market.rpc(other, "agree_to_bundle", bundle_id=it, terms_version=before)
    # Who was promised the old terms pays and shares by them.
    pay(market, buyer, order)
    assert owned(market, buyer, it, *parts) == [True] * 3
    assert market.payees(order["order_id"])[other][0] in (514, 515)
    agree(market, other, it)
    assert market.listed(it)


def test_who_declines_ends_it_for_new_buyers_only(market: Market) -> None:
    owner, other, it, parts = shared(market)
    before, paying = market.sign_up(), market.sign_up()
    market.buy(before, it)
    order = checkout(market, paying, [it])
    market.rpc(other, "decline_bundle", bundle_id=it)
    assert told(market, owner)[-1] == "bundle_declined"
    assert (market.listed(it), problem(market, owner, it)) == (False, "not_agreed")
    with refused("item_not_available"):
        checkout(market, market.sign_up(), [it])
    assert owned(market, before, it, *parts) == [True] * 3
    assert len(market.member(before, "select id from public.product_files")) == 2
    pay(market, paying, order)
    assert owned(market, paying, it, *parts) == [True] * 3
    assert [row["id"] for row in market.member(before, "select id from public.bundles")] == [it]
    # Whoever said no is not asked again, and sees no draft of it; they may say yes.
    told(market, other)
    with refused("state_changed"):
        market.rpc(other, "decline_bundle", bundle_id=it)
    terms(market, owner, it, 2500, *parts)
    terms(market, owner, it, 2500, parts[0], market.product(owner, 1000))
    with refused("bundle_not_found"):
        agree(market, other, it)
    with refused("bundle_not_found"):
        market.rpc(other, "decline_bundle", bundle_id=it)
    terms(market, owner, it, 2400, *parts)
    assert told(market, other) == []
    assert market.member(other, "select id from public.bundles") == []
    assert not market.listed(it)
    agree(market, other, it)
    assert market.listed(it)


def test_a_block_ends_it(market: Market) -> None:
    owner, other, it, parts = shared(market)
    buyer = market.sign_up()
    market.buy(buyer, it)
    market.member(owner, "insert into public.user_blocks (blocked_id) values (%s)", other)
    with refused("item_not_available"):
        checkout(market, market.sign_up(), [it])
    assert not followed(market, it)
    assert owned(market, buyer, it, *parts) == [True] * 3
    for who in (other, owner):
        with refused("bundle_not_found"):
            agree(market, who, it)
    with refused("item_not_available"):
        terms(market, owner, it, 2000, *parts)
    # Friends again, it is not on sale by itself.
    market.member(owner, "delete from public.user_blocks where blocked_id = %s", other)
    assert not followed(market, it)
    agree(market, other, it)
    assert market.listed(it)


def test_who_blocked_a_seller_of_a_part_is_not_sold_it(market: Market) -> None:
    _, other, it, parts = shared(market)
    buyer = market.sign_up()
    market.member(other, "insert into public.user_blocks (blocked_id) values (%s)", buyer)
    with refused("item_not_available"):
        checkout(market, buyer, [it])
    seen = market.member(
        buyer,
        "select c.title from public.bundle_parts as p left join public.catalog_items as c on c.id = p.item_id "
        "where p.bundle_id = %s order by p.position",
        it,
    )
    assert [row["title"] is not None for row in seen] == [True, False]
    assert parts[0] != parts[1]


# -- complete ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", ["paused", "deleted", "hidden", "banned", "private", "cheaper", "exclusive option", "no option"]
)
def test_a_part_that_cannot_be_had_takes_it_off_sale(market: Market, what: str) -> None:
    owner, other, buyer, paying = (market.sign_up() for _ in range(4))
    admin = market.sign_up(role="admin")
    parts = [market.product(owner, 3000), market.product(other, 1000)]
    tier = market.license(other, parts[1], 1500, "commercial")
    wanted = [parts[0], {"item_id": parts[1], "option_id": tier} if what == "no option" else parts[1]]
    it = bundle(market, owner, 3000, *wanted)
    agree(market, other, it)
    market.buy(buyer, it)
    order = checkout(market, paying, [it])
    part = parts[1]
    match what:
        case "paused" | "deleted":
            market.member(other, "update public.products set status = %s where id = %s", what, part)
        case "hidden":
            market.rpc(admin, "hide_content", target_type="product", target_id=part, reason="Taken down")
        case "banned":
            market.ban(other)
            market.worker("select private.advance_account(%s)", other)
        case "private":
            market.rows("update public.profiles set profile_visibility = 'private' where id = %s", other)
            market.worker("select private.advance_account(%s)", other)
        case "cheaper":
            market.member(owner, "update public.products set price_cents = 1000 where id = %s", parts[0])
        case "exclusive option":
            market.license(other, part, 50000, "exclusive")
        case "no option":
            market.member(other, "update public.catalog_options set is_active = false where id = %s", tier)
    with refused("item_not_available"):
        checkout(market, market.sign_up(), [it])
    assert not followed(market, it)
    assert problem(market, owner, it) == ("saves_nothing" if what == "cheaper" else "part_not_available")
    # What was sold stays sold, and who was promised it gets it.
    assert owned(market, buyer, it, *parts) == [True] * 3
    pay(market, paying, order)
    assert owned(market, paying, it, *parts) == [True] * 3
    if what == "paused":
        market.member(other, "update public.products set status = 'active' where id = %s", part)
        assert followed(market, it), "and back"


def test_a_part_sold_exclusively_while_the_bundle_is_paid(market: Market) -> None:
    """Nothing is delivered that is not all of it: the money goes back by itself."""
    _, other, it, parts = shared(market)
    before, buyer, exclusive = market.sign_up(), market.sign_up(), market.sign_up()
    market.buy(before, it)
    market.buy(market.sign_up(), parts[1])
    order = checkout(market, buyer, [it])
    market.start(buyer, order["payment_id"])
    tier = market.license(other, parts[1], 50000, "exclusive")
    sale = market.buy(exclusive, {"item_id": parts[1], "option_id": tier})
    details = market.one("select details from public.order_items where order_id = %s", sale["order_id"])
    assert details["earlier_licenses"] == {"personal": 2}, "the one in the bundle is one of them"
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.status("orders", order["order_id"]) == "cancelled"
    assert market.one("select amount_cents from public.refunds where reason = 'item_not_available'") == 3000
    assert owned(market, buyer, it, *parts) == [False] * 3
    assert owned(market, before, it, *parts) == [True] * 3
    assert not followed(market, it)
    assert market.rows("select id from private.webhook_events where status <> 'processed'") == []


def test_settled_together_with_an_exclusive_sale_it_is_as_one_by_one(market: Market) -> None:
    _, other, it, parts = shared(market)
    before, buyer, exclusive = market.sign_up(), market.sign_up(), market.sign_up()
    orders = [checkout(market, before, [it]), checkout(market, buyer, [it])]
    tier = market.license(other, parts[1], 50000, "exclusive")
    orders.insert(1, checkout(market, exclusive, [{"item_id": parts[1], "option_id": tier}]))
    events = []
    for who, order in zip((before, exclusive, buyer), orders, strict=True):
        market.start(who, order["payment_id"])
        events.append(market.store("payment_intent.succeeded", market.intent(order["payment_id"])))
    # Who came later than the exclusive buyer is left to a settlement of its own.
    assert market.worker("select private.settle_batch(%s::bigint[])", events) == events[:2]
    assert market.process(events[2]) == "processed"
    states = [market.status("orders", order["order_id"]) for order in orders]
    assert states == ["completed", "completed", "cancelled"]
    assert owned(market, before, it, *parts) == [True] * 3
    assert owned(market, buyer, it, *parts) == [False] * 3


def test_what_was_ordered_as_a_part_is_not_deleted(market: Market) -> None:
    owner, other, it, parts = shared(market)
    checkout(market, market.sign_up(), [it])
    with refused("item_has_orders"):
        market.member(other, "delete from public.products where id = %s", parts[1])
    # One that was not takes itself out, and the rest is not sold as if it were all.
    loose = market.product(other, 5000)
    second = bundle(market, owner, 3000, *parts, loose)
    agree(market, other, second)
    market.member(other, "delete from public.products where id = %s", loose)
    with refused("item_not_available"):
        checkout(market, market.sign_up(), [second])
    assert not followed(market, second)
    assert problem(market, owner, second) == "part_not_available"
    with refused("item_has_orders"):
        market.member(owner, "delete from public.bundles where id = %s", it)
    market.member(owner, "delete from public.bundles where id = %s", second)
    assert market.one("select count(*) from public.catalog_items where id = %s", second) == 0


def test_files_of_a_part_stay_for_whoever_bought_the_bundle(market: Market) -> None:
    owner, _, it, parts = shared(market)
    buyer, late = market.sign_up(), market.sign_up()
    market.buy(buyer, it)
    order = checkout(market, late, [it])
    path = f"{owner}/new.zip"
    market.rows("insert into storage.objects (bucket_id, name) values ('product-files', %s)", path)
    market.rpc(owner, "release_version", product_id=parts[0], notes="Better", files=[{"path": path}])
    pay(market, late, order)
    for who in (buyer, late):
        files = market.member(who, "select path from public.product_files where item_id = %s", parts[0])
        assert len(files) == 2, "what was promised, and what is new"
    market.rows("delete from public.notifications")
    while market.worker("select private.tell_versions()"):
        pass
    assert market.one("select count(*) from public.notifications where type = 'updated' and user_id = %s", buyer) == 1


# -- coupons ----------------------------------------------------------------------------------------------------------


def test_a_sellers_coupon_takes_nothing_from_others_who_did_not_agree(market: Market) -> None:
    owner, other, it, _ = shared(market)
    all_off = coupon(market, owner, percent_bps=10000)
    with refused("coupon_not_applicable"):
        checkout(market, market.sign_up(), [it], code(market, all_off))
    parts = [row["item_id"] for row in market.rows("select item_id from public.bundle_parts order by position")]
    terms(market, owner, it, 3000, *parts, takes_coupons=True)
    agree(market, other, it)
    half = coupon(market, owner, percent_bps=5000)
    order = buy(market, market.sign_up(), [it], code(market, half))
    assert order["total_cents"] == 1500
    assert sum(payee[0] for payee in market.payees(order["order_id"]).values()) == market.split(order["order_id"])[2]
    buyer = market.sign_up()
    free = checkout(market, buyer, [it], code(market, all_off))
    assert (free["status"], free["total_cents"]) == ("completed", 0)
    assert owned(market, buyer, it, *parts) == [True] * 3
    with refused("coupon_not_found"):
        checkout(market, market.sign_up(), [it], code(market, coupon(market, other)))


def test_ones_own_bundle_takes_ones_coupons(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    it = bundle(market, seller, 1500, market.product(seller, 1000), market.product(seller, 1000))
    part = coupon(market, seller, item_ids=[it])
    order = buy(market, buyer, [it], code(market, part))
    assert order["total_cents"] == 1125
    free = checkout(market, market.sign_up(), [it], code(market, coupon(market, seller, percent_bps=10000)))
    assert free["status"] == "completed"


def test_the_platform_pays_its_coupon_to_all_of_them(market: Market) -> None:
    owner, other, it, _ = shared(market)
    five = platforms(market, amount_cents=500)
    order = buy(market, market.sign_up(), [it], code(market, five))
    assert order["total_cents"] == 2500
    fee, commission, seller = market.split(order["order_id"])
    assert (commission, seller) == (825, 3000 - 825 - fee)
    assert sum(payee[0] for payee in market.payees(order["order_id"]).values()) == seller
    assert market.balances()["promotions"] == -500
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]))
    assert market.balances().get("promotions", 0) == 0
    assert market.wallet(owner)[2] + market.wallet(other)[2] == fee


# -- gifts ------------------------------------------------------------------------------------------------------------


def test_as_a_gift_to_a_member(market: Market) -> None:
    _, other, it, parts = shared(market)
    payer, receiver = market.sign_up(), market.sign_up()
    market.buy(receiver, parts[0])
    order = buy(market, payer, [{"item_id": it, "gift_to": receiver}])
    assert owned(market, receiver, it, *parts) == [True] * 3
    assert owned(market, payer, it, *parts) == [False] * 3
    details = market.one("select details from public.order_items where order_id = %s", order["order_id"])
    assert "owned" not in details, "what the receiver has is not told"
    with refused("gift_not_possible"):
        checkout(market, payer, [{"item_id": it, "gift_to": other}])
    full = market.sign_up()
    for part in parts:
        market.buy(full, part)
    with refused("gift_not_possible"):
        checkout(market, payer, [{"item_id": it, "gift_to": full}])
    market.rpc(
        receiver, "refuse_gift", gift_id=market.one("select id from public.gifts where receiver_id = %s", receiver)
    )
    assert owned(market, receiver, it, *parts) == [False, True, False]


def test_as_a_gift_by_a_code(market: Market) -> None:
    owner, other, it, parts = shared(market)
    market.member(owner, "update public.products set license_seats = 1 where id = %s", parts[0])
    payer, receiver, full = market.sign_up(), market.sign_up(), market.sign_up()
    order = buy(market, payer, [{"item_id": it, "gift_email": "a@example.com"}])
    assert market.one("select count(*) from public.license_keys") == 0
    secret = market.worker("select private.claim_gift_mail(300)")["code"]
    for part in parts:
        market.buy(full, part)
    market.buy(receiver, parts[1])
    for who, why in ((owner, "own_item"), (other, "own_item"), (full, "already_owned")):
        with refused(why):
            market.rpc(who, "claim_gift", code=secret)
    market.rpc(receiver, "claim_gift", code=secret)
    assert owned(market, receiver, it, *parts) == [True] * 3
    assert market.one("select owner_id from public.license_keys where owner_id = %s", receiver), "the part's kind heard"
    market.refund(owner, market.line(order["order_id"]))
    assert owned(market, receiver, it, *parts) == [False, False, True]


@pytest.mark.parametrize("blocker", ["seller", "receiver"])
def test_who_blocked_a_seller_of_a_part_is_not_given_it(market: Market, blocker: str) -> None:
    _, other, it, parts = shared(market)
    payer, receiver = market.sign_up(), market.sign_up()
    buy(market, payer, [{"item_id": it, "gift_email": "a@example.com"}])
    secret = market.worker("select private.claim_gift_mail(300)")["code"]
    who, whom = (other, receiver) if blocker == "seller" else (receiver, other)
    market.member(who, "insert into public.user_blocks (blocked_id) values (%s)", whom)
    with refused("gift_not_found"):
        market.rpc(receiver, "claim_gift", code=secret)
    for item in (it, parts[1]):
        with refused("gift_not_possible"):
            checkout(market, payer, [{"item_id": item, "gift_to": receiver}])
    market.member(who, "delete from public.user_blocks where blocked_id = %s", whom)
    market.rpc(receiver, "claim_gift", code=secret)


def test_a_seller_without_a_share_claims_none_either(market: Market) -> None:
    owner, other = market.sign_up(), market.sign_up()
    it = bundle(market, owner, 3000, market.product(owner, 3000), market.product(other, 1000), shares={other: 0})
    agree(market, other, it)
    buy(market, market.sign_up(), [{"item_id": it, "gift_email": "a@example.com"}])
    secret = market.worker("select private.claim_gift_mail(300)")["code"]
    with refused("own_item"):
        market.rpc(other, "claim_gift", code=secret)


# -- around it --------------------------------------------------------------------------------------------------------


def test_parts_are_reviewed_and_the_bundle_is_not(market: Market) -> None:
    owner, other, it, parts = shared(market)
    buyer = market.sign_up()
    order = market.buy(buyer, it)
    review = market.rpc(buyer, "review_item", item_id=parts[1], rating=5)
    assert (review["seller_id"], review["is_verified_purchase"], review["status"]) == (other, True, "published")
    assert market.one("select rating_average from public.catalog_items where id = %s", parts[1]) == 5
    with refused("review_not_allowed"):
        market.rpc(buyer, "review_item", item_id=it, rating=5)
    market.rpc(other, "respond_to_review", review_id=review["id"], response="Thanks")
    with refused("review_not_found", "review_not_allowed", "42501"):
        market.rpc(owner, "respond_to_review", review_id=review["id"], response="Thanks")
    market.refund(owner, market.line(order["order_id"]))
    assert market.one("select rating_average from public.catalog_items where id = %s", parts[1]) is None


def test_it_is_found_by_its_parts_and_wished_for(market: Market) -> None:
    owner, other, it, parts = shared(market)
    market.member(other, "update public.products set title = 'Zanzibar choir' where id = %s", parts[1])
    followed(market, it)
    found = market.member(owner, "select * from public.search_catalog('zanzibar', array['bundle'])")
    assert json.dumps(found, default=str).count(it) > 0
    wisher = market.sign_up()
    (wishes,) = market.member(wisher, "insert into public.wish_lists (name) values ('Mine') returning id")
    market.member(wisher, "insert into public.wish_list_items (list_id, item_id) values (%s, %s)", wishes["id"], it)
    terms(market, owner, it, 2500, *parts)
    while market.worker("select private.tell_wishers()"):
        pass
    drops = "select count(*) from public.notifications where user_id = %s and type = 'price_drop'"
    assert market.one(drops, wisher) == 0, "not before it can be had for that"
    agree(market, other, it)
    while market.worker("select private.tell_wishers()"):
        pass
    assert market.one(drops, wisher) == 1


def test_it_is_taken_down_like_everything(market: Market) -> None:
    _, _, it, parts = shared(market)
    admin, buyer = market.sign_up(role="admin"), market.sign_up()
    market.buy(buyer, it)
    market.rpc(market.sign_up(), "report_content", target_type="bundle", target_id=it, reason="spam")
    assert market.one("select count(*) from public.reports where target_id = %s", it) == 1
    market.rpc(admin, "hide_content", target_type="bundle", target_id=it, reason="Taken down")
    assert not market.listed(it)
    with refused("item_not_available"):
        checkout(market, market.sign_up(), [it])
    assert owned(market, buyer, it, *parts) == [True] * 3
    market.rpc(admin, "restore_content", target_type="bundle", target_id=it)
    assert market.listed(it)


# -- terms that are none ----------------------------------------------------------------------------------------------


def test_what_cannot_be_a_part(market: Market) -> None:
    market.make_kinds()
    seller = market.sign_up()
    own = market.product(seller, 1000)
    exclusive = market.product(seller, 1000)
    market.license(seller, exclusive, 50000, "exclusive")
    inner = bundle(market, seller, 1500, own, market.product(seller, 1000))
    for part in (
        market.artwork(seller, 2000),
        market.edition(seller, 2000, 5)[0],
        market.good(seller, 2000),
        exclusive,
        inner,
    ):
        with refused("part_not_allowed"):
            bundle(market, seller, 2000, own, part)
    tier = market.license(seller, own, 3000, "commercial")
    second = market.product(seller, 5000)
    paused = market.product(seller, 5000)
    market.member(seller, "update public.products set status = 'paused' where id = %s", paused)
    with refused("item_not_available"):
        bundle(market, seller, 2000, own, paused)
    with refused("option_not_available"):
        bundle(market, seller, 2000, own, {"item_id": second, "option_id": tier})
    with refused("option_not_available"):
        market.option(seller, inner, 2000)


@pytest.mark.parametrize(
    ("price", "parts", "more", "why"),
    [
        (1500, ["own"], {}, "invalid_bundle"),
        (1500, ["own", "own"], {}, "invalid_bundle"),
        (1500, ["other", "others"], {}, "invalid_bundle"),
        (1500, [{"item": "x"}, "other"], {}, "invalid_bundle"),
        (1500, [{"item_id": "x"}, "other"], {}, "invalid_bundle"),
        (1500, [1, 2], {}, "invalid_bundle"),
        (49, ["own", "other"], {}, "invalid_bundle"),
        (0, ["own", "other"], {}, "invalid_bundle"),
        (None, ["own", "other"], {}, "invalid_bundle"),
        (100000000, ["own", "other"], {}, "invalid_bundle"),
        (2000, ["own", "other"], {}, "bundle_saves_nothing"),
        (1500, ["own", "other"], {"shares": {"x": 1}}, "invalid_bundle"),
        (1500, ["own", "other"], {"shares": {}}, "invalid_bundle"),
        (1500, ["own", "other"], {"shares": {"other": 10001}}, "invalid_bundle"),
        (1500, ["own", "other"], {"shares": {"other": -1}}, "invalid_bundle"),
        (1500, ["own", "other"], {"shares": {"other": 0.5}}, "invalid_bundle"),
        (1500, ["own", "other"], {"shares": {"other": "5"}}, "invalid_bundle"),
        (1500, ["own", "other"], {"shares": {"other": 5, "owner": 5}}, "invalid_bundle"),
        (1500, ["own", "other"], {"shares": []}, "invalid_bundle"),
        (1500, ["own"] * 21, {}, "invalid_bundle"),
    ],
)
def test_what_are_no_terms(market: Market, price: int | None, parts: list[Json], more: Json, why: str) -> None:
    owner, other = market.sign_up(), market.sign_up()
    named = {
        "own": market.product(owner, 1000),
        "other": market.product(other, 1000),
        "others": market.product(other, 1000),
    }
    people = {"owner": owner, "other": other}
    (row,) = market.member(owner, "insert into public.bundles (title) values ('Bundle') returning id")
    wanted = [{"item_id": named[part]} if isinstance(part, str) else part for part in parts]
    if isinstance(more.get("shares"), dict):
        more = {"shares": {people.get(who, who): share for who, share in more["shares"].items()}}
    with refused(why):
        market.rpc(owner, "set_bundle_terms", bundle_id=row["id"], price_cents=price, parts=wanted, **more)


def test_the_price_of_what_buyers_name_is_the_least_they_pay(market: Market) -> None:
    seller = market.sign_up()
    named = market.product(seller, 5000, minimum_cents=500)
    with refused("bundle_saves_nothing"):
        bundle(market, seller, 1500, market.product(seller, 1000), named)
    it = bundle(market, seller, 1400, market.product(seller, 1000), named)
    assert market.one("select saved_cents from public.bundles where id = %s", it) == 100


def test_how_it_is_bought(market: Market) -> None:
    _, _, it, _ = shared(market)
    buyer = market.sign_up()
    with refused("quantity_not_allowed"):
        checkout(market, buyer, [{"item_id": it, "quantity": 2}])
    with refused("line_not_valid"):
        checkout(market, buyer, [{"item_id": it, "details": {"x": 1}}])
    with refused("option_not_available"):
        checkout(market, buyer, [{"item_id": it, "option_id": it}])
    with refused("price_changed"):
        checkout(market, buyer, [{"item_id": it, "offered_price_cents": 2999}])
    with refused("duplicate_item"):
        checkout(market, buyer, [it, it])


def test_a_deleted_bundle_is_done_with(market: Market) -> None:
    owner, other, it, parts = shared(market)
    market.member(owner, "update public.bundles set status = 'deleted' where id = %s", it)
    for act in (
        lambda: terms(market, owner, it, 2000, *parts),
        lambda: agree(market, other, it),
        lambda: market.rpc(other, "decline_bundle", bundle_id=it),
        lambda: market.member(owner, "update public.bundles set status = 'active' where id = %s", it),
    ):
        with refused("bundle_deleted"):
            act()
    (empty,) = market.member(owner, "insert into public.bundles (title) values ('Empty') returning id")
    with refused("bundle_has_no_parts"):
        market.member(owner, "update public.bundles set status = 'active' where id = %s", empty["id"])
    assert problem(market, owner, empty["id"]) == "parts"


def test_who_leaves_takes_their_part_off_sale(market: Market) -> None:
    owner, other, it, parts = shared(market)
    buyer = market.sign_up()
    market.buy(buyer, it)
    market.rows("select private.erase_products(%s)", other)
    market.rows("delete from public.bundle_sellers where seller_id = %s", other)
    with refused("item_not_available"):
        checkout(market, market.sign_up(), [it])
    assert not followed(market, it)
    assert owned(market, buyer, it, *parts) == [True] * 3
    market.rows("select private.erase_bundles(%s)", owner)
    assert market.status("bundles", it) == "deleted"


def test_a_part_that_is_not_in_the_shop_tells_nothing_of_itself(market: Market) -> None:
    owner, other, it, parts = shared(market)
    buyer = market.sign_up()
    market.buy(buyer, it)
    market.member(
        other,
        "update public.products set status = 'paused', title = 'Secret', price_cents = 77700 where id = %s",
        parts[1],
    )
    assert not followed(market, it)
    for who in (owner, buyer):
        (seen,) = market.member(who, "select part_titles, parts_cents from public.bundles where id = %s", it)
        assert ("Secret" in seen["part_titles"], seen["parts_cents"]) == (False, 3000)


def test_money_for_a_part_that_is_owned_by_a_bundle_goes_back(market: Market) -> None:
    """Also where the bundle came on top of a purchase that was given back since."""
    owner, _, it, parts = shared(market)
    buyer = market.sign_up()
    late = checkout(market, buyer, [parts[0]])
    market.start(buyer, late["payment_id"])
    alone = market.buy(buyer, parts[0])
    market.buy(buyer, it)
    market.refund(owner, market.line(alone["order_id"]))
    assert market.succeed(late["payment_id"]) == "processed"
    assert market.status("orders", late["order_id"]) == "cancelled"
    assert market.one("select amount_cents from public.refunds where payment_id = %s", late["payment_id"]) == 3000
    assert owned(market, buyer, it, *parts) == [True] * 3


def test_who_earns_by_a_part_does_not_rate_it(market: Market) -> None:
    owner, other, it, parts = shared(market)
    market.buy(market.sign_up(), it)
    for who, part in ((owner, parts[1]), (other, parts[0])):
        market.buy(who, part)
        with refused("review_not_allowed"):
            market.rpc(who, "review_item", item_id=part, rating=5)


def test_an_answer_given_again_and_again_is_told_once(market: Market) -> None:
    owner, other, it, parts = shared(market)
    told(market, owner)
    told(market, other)
    for price in range(2900, 2895, -1):
        market.rpc(other, "decline_bundle", bundle_id=it)
        agree(market, other, it)
        terms(market, owner, it, price, *parts)
        agree(market, other, it)
    assert told(market, owner) == ["bundle_agreed", "bundle_declined"]
    assert told(market, other) == ["bundle_asked"]


def test_what_a_buyer_has_already_is_not_told_its_seller(market: Market) -> None:
    owner, _, it, parts = shared(market)
    buyer = market.sign_up()
    market.buy(buyer, parts[1])
    assert preview(market, buyer, [it])["lines"][0]["owned"] == [parts[1]]
    market.buy(buyer, it)
    (line,) = market.member(owner, "select details from public.order_items where item_id = %s", it)
    assert line["details"].keys() == {"terms_version", "parts", "takes_coupons"}


@pytest.mark.parametrize("then", ["terms", "declined", "nothing"])
def test_a_charge_after_a_declined_one_buys_what_was_agreed_first(market: Market, then: str) -> None:
    owner, other, it, parts = shared(market)
    buyer = market.sign_up()
    order = market.buy(buyer, it)
    assert market.decline(order["payment_id"], charge=order["charge"]) == "processed"
    if then == "terms":
        terms(market, owner, it, 2000, parts[0], market.product(owner, 1000))
    elif then == "declined":
        market.rpc(other, "decline_bundle", bundle_id=it)
    assert market.succeed(order["payment_id"], charge="ch_again") == "processed"
    assert owned(market, buyer, it, *parts) == [True] * 3
    assert (market.wallet(owner)[1], market.wallet(other)[1]) in ((1543, 515), (1544, 514))


def test_no_payment_begins_for_what_would_only_go_back(market: Market) -> None:
    _, other, it, parts = shared(market)
    buyer, late = market.sign_up(), market.sign_up()
    orders = [checkout(market, who, [it]) for who in (buyer, late)]
    for part in parts:
        market.buy(buyer, part)
    with refused("item_not_available"):
        market.start(buyer, orders[0]["payment_id"])
    tier = market.license(other, parts[1], 50000, "exclusive")
    market.buy(market.sign_up(), {"item_id": parts[1], "option_id": tier})
    with refused("item_not_available"):
        market.start(late, orders[1]["payment_id"])
