"""What members could do to each other and to the platform with services, sessions, gifts and versions."""

from __future__ import annotations

import pytest

from tests.market.order_market import Sold, by_offer, by_service, extra, offer, pay, sold_of, upload
from tests.market.service_market import busy, line, mentor, service, session, slots
from tests.market.test_coupons import buy, checkout
from tests.market.test_gifts import files, gift_of, mailed, to
from tests.market.test_licenses import activate, key_of, licensed, release
from tests.money.market import Market, refused


def mentored(market: Market) -> Sold:
    """A paid session days from now."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    mentor(market, seller)
    item, (package,) = service(market, seller, 2000, session_minutes=60, is_mentoring=True)
    slot = slots(market, buyer, item)[-1]
    return sold_of(market, market.buy(buyer, line(item, package, session=session(slot))))


def hours_left(sold: Sold, column: str) -> float:
    """How many hours from now until one of an order's clocks."""
    return float(
        sold.market.one(
            f"select extract(epoch from {column} - clock_timestamp()) / 3600 from public.service_orders where id = %s",
            sold.id,
        )
    )


# -- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", ["dispute", "freeze", "refund"])
def test_a_pause_while_delivered_takes_nothing_of_the_sellers_time(market: Market, pause: str) -> None:
    """A revision goes on with what was left of the work, not of the silence."""
    sold = by_offer(market, delivery_days=30)
    sold.deliver()
    sold.pass_time(71)
    match pause:
        case "dispute":
            sold.dispute()
            sold.by("buyer", "withdraw_dispute")
        case "freeze":
            market.rows("select private.freeze_sale(%s, 'chargeback')", sold.sale()["id"])
            market.rows("select private.thaw_sale(%s, 'chargeback')", sold.sale()["id"])
        case _:
            refund = market.refund(sold.seller, sold.row()["order_item_id"])
            market.refund_arrives(refund["id"], "failed")
    assert sold.status == "delivered"
    sold.revise()
    assert hours_left(sold, "due_at") == pytest.approx(30 * 24, abs=1)


def test_whoever_withdraws_a_dispute_gains_no_time(market: Market) -> None:
    """A late seller stays late; a buyer puts no silence off."""
    sold = by_offer(market)
    sold.pass_time(5 * 24 + 23)
    sold.dispute("seller")
    sold.by("seller", "withdraw_dispute")
    assert hours_left(sold, "cancel_after") == pytest.approx(1, abs=0.1)
    sold = by_offer(market)
    sold.deliver()
    sold.pass_time(71)
    sold.dispute("buyer")
    sold.by("buyer", "withdraw_dispute")
    assert hours_left(sold, "auto_approve_at") == pytest.approx(1, abs=0.1)


def test_a_freeze_that_ends_after_a_refund_leaves_the_order_free(market: Market) -> None:
    """The refund fails later: the order goes on, and can be worked on."""
    sold = by_offer(market)
    market.rows("select private.freeze_sale(%s, 'chargeback')", sold.sale()["id"])
    refund = market.refund(sold.seller, sold.row()["order_item_id"])
    assert sold.status == "refunded"
    market.rows("select private.thaw_sale(%s, 'chargeback')", sold.sale()["id"])
    market.refund_arrives(refund["id"], "failed")
    assert sold.status == "in_progress"
    sold.deliver()


def test_a_refund_that_fails_during_a_freeze_starts_no_clock(market: Market) -> None:
    """A bank is still looking."""
    sold = by_offer(market)
    sold.deliver()
    refund = market.refund(sold.seller, sold.row()["order_item_id"])
    market.rows("select private.freeze_sale(%s, 'chargeback')", sold.sale()["id"])
    market.refund_arrives(refund["id"], "failed")
    assert (sold.row()["status"], sold.row()["auto_approve_at"]) == ("delivered", None)
    with refused("order_frozen"):
        sold.approve()
    market.rows("select private.thaw_sale(%s, 'chargeback')", sold.sale()["id"])
    sold.approve()


# -- money ------------------------------------------------------------------------------------------------------------


def test_an_extra_of_an_unfinished_order_that_was_refunded_goes_back_too(market: Market) -> None:
    """Else its seller gives a cheap order back and keeps a dear extra of it, without having delivered anything."""
    sold = by_offer(market)
    pay(market, sold.buyer, extra(sold, 50000, 0)["payable_id"])
    market.refund(sold.seller, sold.row()["order_item_id"])
    assert sold.status == "refunded"
    while market.worker("select private.complete_late_extras(100)"):
        pass
    assert sorted(refund["amount_cents"] for refund in sold.refunds()) == [10000, 50000]
    sold.refunds_arrive()
    market.mature()
    assert market.release() == 0


def test_a_session_that_has_begun_is_not_cancelled_for_want_of_requirements(market: Market) -> None:
    """Nobody talks to a mentor and has the money back for not having written beforehand."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    mentor(market, seller)
    item, (package,) = service(
        market, seller, 2000, session_minutes=60, is_mentoring=True, buyer_requirements="Your questions"
    )
    slot = slots(market, buyer, item)[3]
    sold = sold_of(market, market.buy(buyer, line(item, package, session=session(slot))))
    assert sold.status == "awaiting_requirements"
    with refused("state_changed"):
        sold.deliver()
    market.rows(
        "update public.service_orders set session_starts_at = now() - interval '2 hours', "
        "session_ends_at = now() - interval '1 hour' where id = %s",
        sold.id,
    )
    assert sold.status == "in_progress"
    with refused("not_late_yet"):
        sold.cancel("buyer")
    sold.deliver("We talked.")
    sold.approve()
    assert sold.events() == ["order", "session", "deliver", "approve"]


def test_a_session_is_not_delivered_before_it_was_held(market: Market) -> None:
    """Else silence pays for an hour to come."""
    sold = mentored(market)
    with refused("session_not_over"):
        sold.deliver("See you in three weeks.")
    market.rows("update public.service_orders set session_ends_at = now() where id = %s", sold.id)
    sold.deliver("We talked.")
    assert sold.status == "delivered"


def test_a_session_is_cancelled_in_time_at_no_cost(market: Market) -> None:
    """Until the mentor's limit, as it was when it was booked; the platform bears what the provider keeps."""
    sold = mentored(market)
    market.member(sold.seller, "update public.availability set cancel_before_hours = 720")
    sold.cancel("buyer")
    assert (sold.status, sold.refunds()[0]["amount_cents"]) == ("cancelled", 2000)
    assert busy(market, sold.seller) == 0
    late = mentored(market)
    market.rows("update public.service_orders set free_until = now() where id = %s", late.id)
    with refused("not_late_yet"):
        late.cancel("buyer")


def test_a_session_is_not_cancelled_late_for_want_of_requirements(market: Market) -> None:
    """Its hour was kept for them; whoever sends nothing is not freer than whoever did."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    mentor(market, seller)
    item, (package,) = service(
        market, seller, 2000, session_minutes=60, is_mentoring=True, buyer_requirements="Your questions"
    )

    def booked() -> Sold:
        slot = slots(market, buyer, item)[-1]
        return sold_of(market, market.buy(buyer, line(item, package, session=session(slot))))

    early, late = booked(), booked()
    early.cancel("buyer")
    assert early.status == "cancelled"
    # Nor when it is long ago that it was booked.
    market.rows("update public.service_orders set free_until = now(), cancel_after = now() where id = %s", late.id)
    with refused("not_late_yet"):
        late.cancel("buyer")
    late.cancel("seller")
    assert late.status == "cancelled"


def test_a_session_is_taken_again_when_the_refund_fails(market: Market) -> None:
    """Else its hour is sold twice."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    mentor(market, seller)
    item, (package,) = service(market, seller, 2000, session_minutes=60, is_mentoring=True)
    slot = slots(market, buyer, item)[3]
    sold = sold_of(market, market.buy(buyer, line(item, package, session=session(slot))))
    refund = market.refund(seller, sold.row()["order_item_id"])
    assert (busy(market, seller), busy(market, buyer)) == (0, 0)
    market.refund_arrives(refund["id"], "failed")
    assert sold.status == "in_progress"
    assert (busy(market, seller), busy(market, buyer)) == (1, 1)


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_session_is_taken_again_by_a_charge_after_a_declined_one(market: Market, is_taken: bool) -> None:
    """Or, sold meanwhile, the money goes back."""
    seller, buyer, rival = market.sign_up("standard"), market.sign_up(), market.sign_up()
    mentor(market, seller)
    item, (package,) = service(market, seller, 2000, session_minutes=60, is_mentoring=True)
    wanted = line(item, package, session=session(slots(market, buyer, item)[3]))
    order = market.buy(buyer, wanted)
    market.decline(order["payment_id"], charge=order["charge"])
    assert busy(market, seller) == 0
    if is_taken:
        market.buy(rival, wanted)
    assert market.succeed(order["payment_id"], charge="ch_again") == "processed"
    assert (busy(market, seller), busy(market, buyer)) == (1, 0 if is_taken else 1)
    assert market.one("select count(*) from public.refunds where status = 'requested'") == int(is_taken)


def test_a_dispute_goes_on_after_a_refund_that_fails(market: Market) -> None:
    """It is still that side's, and leads back to where it began."""
    sold = by_offer(market)
    sold.deliver()
    sold.dispute("buyer")
    refund = market.refund(sold.seller, sold.row()["order_item_id"])
    market.refund_arrives(refund["id"], "failed")
    assert sold.status == "disputed"
    with refused("not_your_part"):
        sold.by("seller", "withdraw_dispute")
    assert sold.by("buyer", "withdraw_dispute")["status"] == "delivered"


# -- what is held without paying --------------------------------------------------------------------------------------


def test_nobody_holds_a_mentors_days_without_paying(market: Market) -> None:
    """As many sessions as one-of-a-kind items."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    mentor(market, seller)
    item, (package,) = service(market, seller, 2000, session_minutes=60, is_mentoring=True)
    free = slots(market, buyer, item)[::2]
    with refused("too_many_holds"):
        market.checkout(buyer, *(line(item, package, session=session(slot)) for slot in free[:6]))
    other, (another,) = service(market, seller, 2000, session_minutes=60, is_mentoring=True)
    market.checkout(buyer, *(line(item, package, session=session(slot)) for slot in free[:5]))
    with refused("too_many_holds"):
        market.checkout(buyer, line(other, another, session=session(free[6])))
    market.fund(buyer, 2000 * 6)
    # A wallet pays at once and holds nothing.
    market.checkout(buyer, *(line(other, another, session=session(slot)) for slot in free[6:12]), provider="wallet")


# -- gifts ------------------------------------------------------------------------------------------------------------


def test_gifts_are_no_way_to_write_to_strangers(market: Market) -> None:
    """Each address of a checkout counts, also of what costs nothing."""
    payer = market.sign_up()
    item = market.product(market.sign_up(), 0)
    with refused("too_many_actions"):
        checkout(market, payer, [to(item, gift_email=f"a{n}@example.com") for n in range(11)])
    checkout(market, payer, [to(item, gift_email=f"a{n}@example.com") for n in range(10)])
    with refused("too_many_actions"):
        checkout(market, payer, [to(item, gift_to=market.sign_up())])


def test_a_new_address_is_mailed_though_the_old_one_was_just_being(market: Market) -> None:
    """The worker has claimed a mail, the payer corrects the address, then the worker says it is out."""
    payer = market.sign_up()
    order = checkout(market, payer, [to(market.product(market.sign_up(), 0), gift_email="wrong@example.com")])
    gift = gift_of(market, order)["id"]
    old = mailed(market)
    market.rpc(payer, "mail_gift", gift_id=gift, email="right@example.com")
    market.worker("select private.gift_mailed(%s, %s, null, 60)", gift, old["code"])
    assert mailed(market)["to"] == "right@example.com"


def test_a_gift_to_somebody_who_has_left_goes_back(market: Market) -> None:
    """It is nobody's, and its payer has no way to get the money back."""
    payer, receiver = market.sign_up(), market.sign_up()
    order = checkout(market, payer, [to(market.product(market.sign_up(), 2000), gift_to=receiver)])
    market.start(payer, order["payment_id"])
    market.rows("update public.profiles set deleted_at = now() where id = %s", receiver)
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.status("orders", order["order_id"]) == "cancelled"
    assert market.one("select amount_cents from public.refunds") == 2000


def test_a_refused_gift_is_not_bought_again_by_a_later_charge(market: Market) -> None:
    payer, receiver = market.sign_up(), market.sign_up()
    item = market.product(market.sign_up("standard"), 2000)
    order = buy(market, payer, [to(item, gift_to=receiver)])
    market.rpc(receiver, "refuse_gift", gift_id=gift_of(market, order)["id"])
    market.decline(order["payment_id"], charge=f"ch_{order['payment_id']}")
    assert market.succeed(order["payment_id"], charge="ch_again") == "processed"
    assert not market.owns(receiver, item)
    assert market.one("select amount_cents from public.refunds where status = 'requested'") == 2000


@pytest.mark.parametrize("is_sellers", [False, True])
def test_a_gift_is_no_way_around_a_block(market: Market, is_sellers: bool) -> None:
    """As claim_gift() refuses it, whichever of seller and receiver blocked the other."""
    seller, payer, receiver = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    blocker, blocked = (seller, receiver) if is_sellers else (receiver, seller)
    market.member(blocker, "insert into public.user_blocks (blocked_id) values (%s)", blocked)
    with refused("gift_not_possible"):
        checkout(market, payer, [to(item, gift_to=receiver)])


def test_what_was_opened_is_not_refused(market: Market) -> None:
    """Nobody gives to a second account of theirs, copies, and has the money back; unopened there is nothing to copy."""
    payer, receiver = market.sign_up(), market.sign_up()
    _, item = licensed(market)
    order = buy(market, payer, [to(item, gift_to=receiver)])
    gift, bought = gift_of(market, order)["id"], market.line(order["order_id"])
    assert files(market, receiver, item) == 0
    with refused("not_entitled"):
        market.worker("select private.authorize_download(%s, %s)", item, receiver)
    with refused("gift_not_opened"):
        key_of(market, receiver, bought)
    for other in (payer, market.sign_up()):
        with refused("gift_not_found"):
            market.rpc(other, "open_gift", gift_id=gift)
    opened = market.rpc(receiver, "open_gift", gift_id=gift)
    assert market.rpc(receiver, "open_gift", gift_id=gift) == opened
    assert files(market, receiver, item) == 1
    key_of(market, receiver, bought)
    with refused("state_changed"):
        market.rpc(receiver, "refuse_gift", gift_id=gift)


def test_after_its_time_a_gift_is_open(market: Market) -> None:
    payer, receiver = market.sign_up(), market.sign_up()
    item = market.product(market.sign_up(), 2000)
    buy(market, payer, [to(item, gift_to=receiver)])
    market.rows("update public.gifts set given_at = now() - interval '14 days'")
    assert files(market, receiver, item) == 1


# -- versions ---------------------------------------------------------------------------------------------------------


def test_nobody_reads_in_a_version_who_owns_it(market: Market) -> None:
    """How far its notices have come names the last who was told."""
    seller = market.sign_up()
    product = market.product(seller, 2000)
    owners = {market.sign_up() for _ in range(3)}
    for owner in owners:
        market.buy(owner, product)
    release(market, seller, product)
    while market.worker("select private.tell_versions(2)"):
        (row,) = market.member(market.sign_up(), "select * from public.product_versions")
        assert owners.isdisjoint(row.values())


def test_versions_are_no_way_to_write_to_buyers(market: Market) -> None:
    seller = market.sign_up()
    product = market.product(seller, 2000)
    for _ in range(10):
        release(market, seller, product)
    with refused("too_many_actions"):
        release(market, seller, product)


# -- orders as a way to write -----------------------------------------------------------------------------------------


def test_proposals_and_disputes_are_no_way_to_write_without_end(market: Market) -> None:
    sold = by_offer(market)
    for _ in range(20):
        market.rpc(sold.seller, "withdraw_resolution", request_id=sold.propose("seller", 0))
        sold.dispute("buyer")
        sold.by("buyer", "withdraw_dispute")
    with refused("too_many_actions"):
        sold.propose("seller", 0)
    with refused("too_many_actions"):
        sold.dispute("buyer")


def test_offers_are_no_way_to_write_without_end(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    for _ in range(30):
        market.rpc(seller, "withdraw_offer", offer_id=offer(market, seller, buyer)["id"])
    with refused("too_many_actions"):
        offer(market, seller, buyer)


# -- what costs nothing -----------------------------------------------------------------------------------------------


def test_a_free_order_ends_with_its_paid_extra(market: Market) -> None:
    """All of the money is back, so the delivery is no longer the buyer's."""
    sold = by_service(market, 0)
    pay(market, sold.buyer, extra(sold)["payable_id"])
    path = upload(market, sold.seller, sold.id, "a.wav")
    sold.by("seller", "deliver_service_order", files=f"{{{path}}}")
    sold.cancel("seller")
    assert [refund["amount_cents"] for refund in sold.refunds()] == [2000]
    assert not market.member(sold.buyer, "select private.may_read_delivery(%s)", path)[0]["may_read_delivery"]


# -- licence keys -----------------------------------------------------------------------------------------------------


def test_a_gift_that_is_claimed_brings_its_key(market: Market) -> None:
    """Nobody owned it when it was paid."""
    payer, claimer = market.sign_up(), market.sign_up()
    seller, item = licensed(market)
    order = buy(market, payer, [to(item, gift_email="a@example.com")])
    market.rpc(claimer, "claim_gift", code=mailed(market)["code"])
    bought = market.line(order["order_id"])
    key = key_of(market, claimer, bought)
    market.refund(seller, bought)
    with refused("license_disabled"):
        activate(market, claimer, item, key, "laptop")
