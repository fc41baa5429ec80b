"""Gifts: owner and payer are two people, from checkout to refund."""

from __future__ import annotations

import pytest

from tests.market.test_coupons import buy, checkout, code, coupon, pay
from tests.money.market import Json, Market, refused


def gift_of(market: Market, order: Json, line: int = 1) -> Json:
    """The gift that a line is."""
    return market.row(
        "select g.* from public.gifts as g join public.order_items as i on i.gift_id = g.id "
        "where i.order_id = %s and i.line_no = %s",
        order["order_id"],
        line,
    )


def mailed(market: Market) -> Json:
    """What the workers mail next."""
    return market.worker("select private.claim_gift_mail(300)")


def to(item: str, **whom: str) -> Json:
    """A line that is a gift."""
    return {"item_id": item, **whom}


def files(market: Market, who: str, item: str) -> int:
    """How many of an item's files somebody may read."""
    return len(market.member(who, "select id from public.product_files where item_id = %s", item))


def notes(market: Market, who: str) -> list[str]:
    """What somebody is told of gifts."""
    return [
        row["type"]
        for row in market.rows(
            "select type from public.notifications where user_id = %s and type like 'gift%%' order by created_at", who
        )
    ]


# -- to a member ------------------------------------------------------------------------------------------------------


def test_a_gift_is_its_receivers_and_its_payer_reads_nothing_of_it(market: Market) -> None:
    seller, payer, receiver = market.sign_up("standard"), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    order = buy(market, payer, [to(item, gift_to=receiver)])
    assert (market.owns(payer, item), market.owns(receiver, item)) == (False, True)
    market.rpc(receiver, "open_gift", gift_id=gift_of(market, order)["id"])
    assert (files(market, payer, item), files(market, receiver, item)) == (0, 1)
    assert gift_of(market, order)["status"] == "given"
    assert (notes(market, payer), notes(market, receiver)) == ([], ["gift"])
    assert market.wallet(seller)[1] == 1312
    row = market.row("select * from public.purchases")
    assert (row["owner_id"], row["payer_id"]) == (receiver, payer)
    # Both know of it, nobody else does.
    seen = [len(market.member(who, "select id from public.gifts")) for who in (payer, receiver, seller)]
    assert seen == [1, 1, 0]


def test_who_gave_something_can_still_buy_it_and_give_it_again(market: Market) -> None:
    seller, payer, first, second = (market.sign_up() for _ in range(4))
    item = market.product(seller, 2000)
    mine = checkout(market, payer, [item])
    for receiver in (first, second):
        buy(market, payer, [to(item, gift_to=receiver)])
    pay(market, payer, mine)  # No gift took its place.
    assert all(market.owns(who, item) for who in (payer, first, second))
    assert market.one("select count(*) from public.purchases where revoked_at is null") == 3


def test_one_order_for_oneself_and_for_others(market: Market) -> None:
    seller, payer, receiver = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    off = coupon(market, seller, percent_bps=5000)
    order = buy(
        market, payer, [item, to(item, gift_to=receiver), to(item, gift_email="a@example.com")], code(market, off)
    )
    assert order["total_cents"] == 3000
    assert market.owns(payer, item)
    assert market.owns(receiver, item)
    with refused("duplicate_item"):
        checkout(market, payer, [to(item, gift_to=market.sign_up())] * 2)


def test_who_cannot_be_given_to(market: Market) -> None:
    """One answer for all of it: what they have and whom they blocked is their own affair."""
    seller, payer, receiver, blocker = (market.sign_up() for _ in range(4))
    item = market.product(seller, 2000)
    market.buy(receiver, item)
    market.member(blocker, "insert into public.user_blocks (blocked_id) values (%s)", payer)
    banned = market.sign_up()
    market.ban(banned)
    for who in (receiver, blocker, banned, seller, "00000000-0000-4000-8000-000000000000"):
        with refused("gift_not_possible"):
            checkout(market, payer, [to(item, gift_to=who)])
    market.member(payer, "insert into public.user_blocks (blocked_id) values (%s)", (other := market.sign_up()))
    with refused("gift_not_possible"):
        checkout(market, payer, [to(item, gift_to=other)])
    work = market.artwork(seller, 2000, is_physical=True)
    with refused("gift_not_possible", "address_required"):
        checkout(market, payer, [to(work, gift_email="a@example.com")])
    with refused("already_owned"):
        market.checkout(receiver, item)


@pytest.mark.parametrize(
    "line",
    [
        {"gift_to": "x"},
        {"gift_email": "x"},
        {"gift_email": "a@b\nc"},
        {"gift_email": "a@b", "gift_to": "00000000-0000-4000-8000-000000000000"},
    ],
)
def test_what_is_no_gift(market: Market, line: Json) -> None:
    with refused("invalid_checkout"):
        checkout(market, market.sign_up(), [to(market.product(market.sign_up(), 2000), **line)])


def test_bought_by_its_receiver_meanwhile_the_money_goes_back(market: Market) -> None:
    seller, payer, receiver = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    order = checkout(market, payer, [to(item, gift_to=receiver)])
    market.start(payer, order["payment_id"])
    market.buy(receiver, item)
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.status("orders", order["order_id"]) == "cancelled"
    assert market.one("select amount_cents from public.refunds") == 2000
    assert notes(market, receiver) == []


def test_a_refund_takes_it_from_its_receiver_and_a_failed_one_gives_it_back(market: Market) -> None:
    seller, payer, receiver = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    order = buy(market, payer, [to(item, gift_to=receiver)])
    refund = market.refund(seller, market.line(order["order_id"]))
    assert not market.owns(receiver, item)
    market.refund_arrives(refund["id"], "failed")
    assert market.owns(receiver, item)
    assert not market.owns(payer, item)


# -- refused ----------------------------------------------------------------------------------------------------------


def test_a_refused_gift_costs_its_seller_and_its_payer_nothing(market: Market) -> None:
    seller, payer, receiver = market.sign_up("standard"), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    order = buy(market, payer, [to(item, gift_to=receiver)])
    gift = gift_of(market, order)["id"]
    for other in (payer, seller, market.sign_up()):
        with refused("gift_not_found"):
            market.rpc(other, "refuse_gift", gift_id=gift)
    assert market.rpc(receiver, "refuse_gift", gift_id=gift)["status"] == "refused"
    assert not market.owns(receiver, item)
    assert notes(market, payer) == ["gift_refused"]
    refund = market.row("select * from public.refunds")
    assert (refund["amount_cents"], refund["fee_bearer"], refund["reason"]) == (2000, "platform", "gift_refused")
    market.refund_arrives(refund["id"])
    assert market.wallet(seller) == (0, 0, 0)
    assert market.balances()["revenue"] == -88
    with refused("state_changed"):
        market.rpc(receiver, "refuse_gift", gift_id=gift)
    buy(market, payer, [to(item, gift_to=receiver)])


def test_a_free_gift_is_refused_without_money(market: Market) -> None:
    seller, payer, receiver = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 0)
    order = checkout(market, payer, [to(item, gift_to=receiver)])
    assert order["status"] == "completed"
    market.rpc(receiver, "refuse_gift", gift_id=gift_of(market, order)["id"])
    assert not market.owns(receiver, item)


def test_too_late_or_taken_back_there_is_nothing_to_refuse(market: Market) -> None:
    seller, payer, receiver = market.sign_up(), market.sign_up(), market.sign_up()
    old, back = market.product(seller, 2000), market.product(seller, 2000)
    order = buy(market, payer, [to(old, gift_to=receiver), to(back, gift_to=receiver)])
    market.rows("update public.gifts set given_at = now() - interval '14 days' where item_id = %s", old)
    market.refund(seller, market.line(order["order_id"], 2))
    for line in (1, 2):
        with refused("state_changed"):
            market.rpc(receiver, "refuse_gift", gift_id=gift_of(market, order, line)["id"])


def test_a_gift_that_was_refunded_says_so_and_is_mailed_to_nobody(market: Market) -> None:
    """Neither again when its payer asks, nor for the first time."""
    seller, payer = market.sign_up(), market.sign_up()
    order = buy(market, payer, [to(market.product(seller, 2000), gift_email="a@example.com")])
    gift = gift_of(market, order)
    taken_back = "select g.is_taken_back from public.gifts as g"
    assert market.member(payer, taken_back) == [{"is_taken_back": False}]
    market.refund(seller, market.line(order["order_id"]))
    assert market.member(payer, taken_back) == [{"is_taken_back": True}]
    with refused("gift_not_found"):
        market.rpc(payer, "mail_gift", gift_id=gift["id"])
    assert market.worker("select private.claim_gift_mail(60)") is None
    assert market.one("select count(*) from private.gift_codes where mail_due_at is not null") == 0


# -- to whoever has the code ------------------------------------------------------------------------------------------


def test_a_code_is_mailed_once_it_is_paid_and_makes_its_claimer_the_owner(market: Market) -> None:
    seller, payer, claimer, other = (market.sign_up() for _ in range(4))
    item = market.product(seller, 2000)
    order = checkout(market, payer, [to(item, gift_email=" Friend@Example.com ")])
    assert mailed(market) is None
    pay(market, payer, order)
    gift = gift_of(market, order)
    assert (gift["status"], gift["receiver_id"]) == ("waiting", None)
    mail = mailed(market)
    assert (mail["gift_id"], mail["to"]) == (gift["id"], "friend@example.com")
    market.worker("select private.gift_mailed(%s, %s, null, 60)", gift["id"], mail["code"])
    assert mailed(market) is None
    assert market.one("select owner_id from public.purchases") is None
    # Nowhere kept, and nobody sees more than the payer.
    assert market.one("select count(*) from private.gift_codes as c where c::text like %s", f"%{mail['code']}%") == 0
    with refused("42501"):
        market.member(payer, "select email from private.gift_codes")
    claimed = market.rpc(claimer, "claim_gift", code=f" {mail['code'].upper()} ")
    assert (claimed["status"], claimed["receiver_id"]) == ("given", claimer)
    assert (market.owns(claimer, item), market.owns(payer, item)) == (True, False)
    assert (files(market, claimer, item), files(market, payer, item)) == (1, 0)
    assert notes(market, payer) == ["gift_claimed"]
    assert market.one("select email from private.gift_codes") is None
    with refused("gift_not_found"):
        market.rpc(other, "claim_gift", code=mail["code"])
    # Whoever took it refuses nothing.
    with refused("state_changed"):
        market.rpc(claimer, "refuse_gift", gift_id=gift["id"])


def test_who_cannot_claim(market: Market) -> None:
    seller, payer, owner, blocked = (market.sign_up() for _ in range(4))
    item = market.product(seller, 2000)
    market.buy(owner, item)
    market.member(payer, "insert into public.user_blocks (blocked_id) values (%s)", blocked)
    buy(market, payer, [to(item, gift_email="a@example.com")])
    code = mailed(market)["code"]
    for who, why in ((owner, "already_owned"), (blocked, "gift_not_found"), (seller, "own_item")):
        with refused(why):
            market.rpc(who, "claim_gift", code=code)
    for wrong in ("", "x", code[:-1]):
        with refused("gift_not_found"):
            market.rpc(market.sign_up(), "claim_gift", code=wrong)


def test_a_newer_mail_ends_the_older_code(market: Market) -> None:
    seller, payer, claimer = market.sign_up(), market.sign_up(), market.sign_up()
    order = buy(market, payer, [to(market.product(seller, 2000), gift_email="wrong@example.com")])
    gift = gift_of(market, order)["id"]
    first = mailed(market)["code"]
    market.worker("select private.gift_mailed(%s, %s, null, 60)", gift, first)
    with refused("gift_not_found"):
        market.rpc(claimer, "mail_gift", gift_id=gift)
    market.rpc(payer, "mail_gift", gift_id=gift, email="right@example.com")
    with refused("gift_not_found"):
        market.rpc(claimer, "claim_gift", code=first)
    second = mailed(market)
    assert second["to"] == "right@example.com"
    market.rpc(claimer, "claim_gift", code=second["code"])
    with refused("gift_not_found"):
        market.rpc(payer, "mail_gift", gift_id=gift)
    market.rows("update private.activity set count = 10 where user_id = %s and kind = 'gift_mail'", payer)
    with refused("too_many_actions"):
        market.rpc(payer, "mail_gift", gift_id=gift)


def test_what_costs_nothing_is_not_sent_to_any_number_of_people(market: Market) -> None:
    """Else a fresh account mails a thousand strangers; what is paid for is given as often as one likes."""
    seller, payer = market.sign_up(), market.sign_up()
    free, paid = market.product(seller, 0), market.product(seller, 500)
    coupon(market, seller, code="ALL", percent_bps=10000)
    strangers = [to(free, gift_email=f"s{n}@example.com") for n in range(11)]
    with refused("too_many_actions"):
        market.rpc(payer, "checkout", items=strangers)
    assert market.one("select count(*) from public.gifts") == 0
    market.rpc(payer, "checkout", items=strangers[:10])
    with refused("too_many_actions"):
        market.rpc(payer, "checkout", items=[to(free, gift_to=market.sign_up())])
    with refused("too_many_actions"):
        checkout(market, payer, [to(paid, gift_email="a@example.com")], "ALL")
    for n in range(12):
        buy(market, payer, [to(paid, gift_email=f"p{n}@example.com")])
    # For oneself is no gift.
    market.rpc(payer, "checkout", items=[to(free)])


def test_a_refund_ends_the_code(market: Market) -> None:
    seller, payer, claimer = market.sign_up(), market.sign_up(), market.sign_up()
    order = buy(market, payer, [to(market.product(seller, 2000), gift_email="a@example.com")])
    mail = mailed(market)
    refund = market.refund(seller, market.line(order["order_id"]))
    with refused("gift_not_found"):
        market.rpc(claimer, "claim_gift", code=mail["code"])
    market.refund_arrives(refund["id"], "failed")
    market.rpc(claimer, "claim_gift", code=mail["code"])


def test_a_mail_that_fails_is_tried_again_with_another_code(market: Market) -> None:
    seller, payer = market.sign_up(), market.sign_up()
    order = buy(market, payer, [to(market.product(seller, 2000), gift_email="a@example.com")])
    first = mailed(market)["code"]
    market.worker("select private.gift_mailed(%s, %s, 'refused', 0)", gift_of(market, order)["id"], first)
    assert mailed(market)["code"] != first


def test_a_charge_after_a_declined_one_gives_the_same_gift(market: Market) -> None:
    seller, payer, claimer = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    order = buy(market, payer, [to(item, gift_email="a@example.com")])
    market.rpc(claimer, "claim_gift", code=mailed(market)["code"])
    market.decline(order["payment_id"], charge=f"ch_{order['payment_id']}")
    assert not market.owns(claimer, item)
    assert market.succeed(order["payment_id"], charge="ch_again") == "processed"
    assert market.owns(claimer, item)


def test_who_gives_nothing_does_not_pay_for_gifts(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    market.rows("set local track_functions = 'pl'")
    order = market.buy(buyer, item)
    market.refund(seller, market.line(order["order_id"]))
    ran = "select funcname from pg_stat_xact_user_functions where funcname ~ 'gift'"
    assert market.rows(ran) == []
    buy(market, buyer, [to(item, gift_to=market.sign_up())])
    assert {row["funcname"] for row in market.rows(ran)} == {"gift_problem", "note_gifts", "give_gifts"}


def test_what_can_be_refused_is_not_reviewed(market: Market) -> None:
    """Else a second account rates it, refuses it and gets it again: ratings that cost nothing."""
    seller, payer, receiver = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    gift = gift_of(market, buy(market, payer, [to(item, gift_to=receiver)]))
    with refused("gift_not_opened"):
        market.rpc(receiver, "review_item", item_id=item, rating=5)
    market.rpc(receiver, "open_gift", gift_id=gift["id"])
    assert market.rpc(receiver, "review_item", item_id=item, rating=5)["is_verified_purchase"]
    # Whoever claimed one by its code opened it by that.
    buy(market, payer, [to(item, gift_email="a@example.com")])
    claimer = market.sign_up()
    market.rpc(claimer, "claim_gift", code=mailed(market)["code"])
    market.rpc(claimer, "review_item", item_id=item, rating=4)
