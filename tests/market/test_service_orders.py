"""Service orders: cases 1 to 12 of the market, each named after its own, and what holds beside them."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.market.order_market import (
    Sold,
    by_offer,
    by_service,
    extra,
    offer,
    pay,
    sold_of,
    upload,
)
from tests.market.service_market import busy, line, mentor, service, session, slots
from tests.money.market import Market, code_of, refused


def hours_between(sold: Sold, later: str, earlier: str) -> float:
    """Between two instants of an order."""
    return float(
        sold.market.one(
            f"select extract(epoch from {later} - {earlier}) / 3600 from public.service_orders where id = %s", sold.id
        )
    )


def advance(market: Market) -> int:
    """The job, until nothing is left."""
    total = 0
    while done := market.worker("select private.advance_service_orders(100)"):
        total += done
    return total


def rate(market: Market, service_id: str) -> object:
    """A service's completion rate, after the job."""
    market.worker("select private.rate_services(100)")
    assert market.worker("select private.rate_services(100)") == 0
    return market.one("select completion_rate from public.services where id = %s", service_id)


def test_market_01_a_redelivery_restarts_silence(market: Market) -> None:
    """Silence counts from the last delivery; the reminder is the delivery's."""
    sold = by_offer(market)
    sold.deliver()
    assert hours_between(sold, "auto_approve_at", "delivered_at") == 72
    sold.pass_time(71)
    assert market.worker("select private.remind_service_buyers(10)") == 1
    assert market.worker("select private.remind_service_buyers(10)") == 0
    sold.revise()
    sold.pass_time(10)
    assert sold.status == "revision_requested"
    sold.deliver("Louder.")
    # Not approved on arrival, though the first delivery is 81 hours old.
    assert sold.status == "delivered"
    assert advance(market) == 0
    sold.pass_time(71)
    assert market.worker("select private.remind_service_buyers(10)") == 1
    sold.pass_time(1.01)
    assert sold.status == "completed"
    assert advance(market) == 1
    row = sold.row()
    assert (row["status"], row["buyer_approved"]) == ("completed", False)
    assert market.one("select count(*) from public.service_deliveries where service_order_id = %s", sold.id) == 2


def test_market_02_no_state_is_entered_whose_end_has_passed(market: Market) -> None:
    """A revision gets a day of its own; beyond the limit it opens a dispute, and no money moves by itself."""
    sold = by_offer(market)
    sold.pass_time(24 * 64.5)
    sold.deliver()
    sold.revise()
    row = sold.row()
    assert (row["status"], row["disputing_side"], row["due_at"]) == ("disputed", "buyer", None)
    assert sold.refunds() == []
    sold = by_offer(market)
    sold.pass_time(24 * 63)
    sold.deliver()
    sold.revise()
    assert sold.status == "revision_requested"
    assert market.one(
        "select due_at > clock_timestamp() + interval '23 hours' from public.service_orders where id=%s", sold.id
    )


def test_market_03_a_deadline_that_has_passed_is_true_for_every_act(market: Market) -> None:
    """Without any job: the buyer's revision, the seller's cancellation and everything else find it completed."""
    sold = by_offer(market)
    added = extra(sold)
    sold.deliver()
    proposed = sold.propose("seller", 1)
    sold.pass_time(72)
    # The proposal's own time is not over; what is offered on top can be paid as long as the order can be answered.
    market.rows("update public.resolution_requests set answer_by = now() + interval '1 hour' where id = %s", proposed)
    market.rows("update public.payables set pay_by = pay_by - interval '72 hours' where id = %s", added["payable_id"])
    assert sold.row()["status"] == "delivered"
    assert sold.status == "completed"
    # What was proposed or offered on top ended with it, for every reader.
    state = "select effective_status(r) from public.resolution_requests as r where id = %s"
    for side in ("buyer", "seller"):
        assert [row["effective_status"] for row in market.member(sold.side(side), state, proposed)] == ["expired"]
    for act in (
        lambda: market.rpc(sold.buyer, "answer_resolution", request_id=proposed, accept=True),
        lambda: market.rpc(sold.seller, "withdraw_resolution", request_id=proposed),
        lambda: market.rpc(sold.buyer, "decline_order_extra", extra_id=added["id"]),
        sold.revise,
        sold.approve,
        lambda: sold.cancel("seller"),
        sold.dispute,
        lambda: sold.propose("buyer", 1),
    ):
        with refused("state_changed"):
            act()
    with refused("payable_not_open"):
        market.pay_agreed(sold.buyer, added["payable_id"])
    assert advance(market) == 1
    sale = sold.sale()
    # As if it had been done in time: the hold counts from the deadline.
    assert sale["completed_at"] <= sold.row()["completed_at"] or sale["completed_at"] == sale["settled_at"]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Australia/Lord_Howe"])
def test_market_04_no_time_zone_moves_a_deadline(market: Market, zone: str) -> None:
    """72 hours and days of 24 hours, over the change of the clocks too, whatever zone the session has."""
    market.rows(f"set local timezone = '{zone}'")
    sold = by_offer(market)
    assert (hours_between(sold, "due_at", "created_at"), hours_between(sold, "cancel_after", "due_at")) == (120, 24)
    sold.deliver()
    assert hours_between(sold, "auto_approve_at", "delivered_at") == 72
    # In one of the hemispheres the clocks change within half a year, and once only.
    sold = by_offer(market, delivery_days=182)
    assert hours_between(sold, "due_at", "created_at") == 182 * 24
    for pause in (
        lambda: (sold.deliver(), sold.revise()),
        lambda: (sold.dispute(), sold.by("buyer", "withdraw_dispute")),
        lambda: [
            market.rows(f"select private.{act}_sale(%s, 'chargeback')", sold.sale()["id"]) for act in ("freeze", "thaw")
        ],
    ):
        pause()
        left = market.one(
            "select extract(epoch from due_at - clock_timestamp()) / 3600 from public.service_orders where id = %s",
            sold.id,
        )
        assert 182 * 24 - 0.1 < left <= 182 * 24
    market.rows("set local timezone = 'UTC'")


@pytest.mark.parametrize(
    ("zone", "done"), [("America/New_York", "2027-03-10 12:00+00"), ("Australia/Lord_Howe", "2027-04-01 12:00+00")]
)
def test_market_04_earnings_are_held_for_as_many_hours(market: Market, zone: str, done: str) -> None:
    """The buyer's client approves, in a zone whose clocks change within the hold."""
    sold = by_offer(market)
    market.rows(f"set local timezone = '{zone}'")
    sale = sold.sale()
    market.rows("select private.complete_lines(array[%s]::uuid[], %s)", sale["order_item_id"], done)
    held = "select extract(epoch from release_at - completed_at) / 3600 from public.transactions where id = %s"
    assert market.one(held, sale["id"]) == 168
    # Whatever becomes a deadline in a member's own session has no days, which a zone could make longer or shorter.
    periods = market.row(
        "select earnings_hold, refund_answer_period, gift_refusal_period, ship_within, delivery_assumed_after, "
        "service_approval_period, service_requirements_period, service_late_period, service_answer_period, "
        "service_revision_limit, review_blind_period, offer_period from private.settings"
    )
    for name in periods:
        assert market.one(f"select extract(day from {name}) from private.settings") == 0, name
    market.rows("set local timezone = 'UTC'")


def test_market_05_requirements_that_are_not_sent(market: Market) -> None:
    """No clock runs; after 14 days either side ends it, with everything back, and nobody's rate is hurt."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item, (package,) = service(market, seller, 10000, buyer_requirements="Your stems")
    sold = sold_of(market, market.buy(buyer, line(item, package)))
    row = sold.row()
    assert (row["status"], row["due_at"], row["requirements_asked"]) == ("awaiting_requirements", None, "Your stems")
    with refused("state_changed"):
        sold.deliver()
    sold.pass_time(14 * 24)
    sold.cancel("seller")
    (refund,) = sold.refunds()
    assert (refund["amount_cents"], refund["fee_bearer"]) == (10000, "platform")
    sold.refunds_arrive()
    # The platform bears what the provider kept.
    assert market.wallet(seller) == (0, 0, 0)
    assert rate(market, item) is None

    early = sold_of(market, market.buy(buyer, line(item, package)))
    early.cancel("seller")
    assert early.refunds()[0]["fee_bearer"] == "seller"
    assert rate(market, item) == 0
    done = sold_of(market, market.buy(buyer, line(item, package)))
    done.by("buyer", "send_requirements", requirements="Here.")
    done.deliver()
    done.approve()
    assert rate(market, item) == 50
    free = sold_of(market, market.buy(buyer, line(item, package)))
    free.cancel("buyer")
    assert (free.status, free.refunds()[0]["fee_bearer"]) == ("cancelled", "platform")
    assert rate(market, item) == 50


def test_market_05_an_empty_delivery_stops_no_clock(market: Market) -> None:
    """A text or a stored file; a revision goes on with what was left, and the buyer's time is nobody's delay."""
    sold = by_offer(market)
    for empty in (None, "  "):
        with refused("nothing_sent"):
            sold.by("seller", "deliver_service_order", notes=empty)
    with refused("delivery_file_not_found"):
        sold.by("seller", "deliver_service_order", files=f"{{{sold.seller}/{sold.id}/a.wav}}")
    path = upload(market, sold.seller, sold.id, "a.wav")
    sold.pass_time(24)
    sold.by("seller", "deliver_service_order", files=f"{{{path}}}")
    sold.pass_time(70)
    sold.revise()
    left = market.one(
        "select extract(epoch from due_at - clock_timestamp()) / 3600 from public.service_orders where id = %s", sold.id
    )
    assert 95.9 < left <= 96
    assert not market.one("select is_late(o) from public.service_orders as o where id = %s", sold.id)


def test_market_06_the_last_revision(market: Market) -> None:
    """A second one finds it asked for; with none left the delivery can be approved, disputed, or silence approves."""
    sold = by_offer(market, revisions=1)
    sold.deliver()
    sold.revise()
    with refused("state_changed"):
        sold.revise()
    sold.deliver()
    with refused("no_revisions_left"):
        sold.revise()
    assert sold.row()["revisions_used"] == 1
    with refused("23514"), market.connection.transaction():
        market.rows("update public.service_orders set revisions_used = 2 where id = %s", sold.id)
    sold.pass_time(72.1)
    assert sold.status == "completed"


def test_market_08_the_same_again_is_another_order(market: Market) -> None:
    """Two orders of one buyer and one service know nothing of each other."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item, (package,) = service(market, seller, 10000)
    both = market.buy(buyer, line(item, package), line(item, package))
    first, second = (sold_of(market, both, number) for number in (1, 2))
    first.deliver()
    first.approve()
    assert (first.status, second.status) == ("completed", "in_progress")
    second.cancel("seller")
    assert (first.status, second.status) == ("completed", "cancelled")
    second.refunds_arrive()
    assert [sale["status"] for sale in market.sales(both["order_id"])] == ["completed", "refunded"]


def test_market_09_an_extra_is_a_second_charge(market: Market) -> None:
    """Its days count once; both charges are released together, or go back each with its own refund."""
    sold = by_offer(market)
    before = hours_between(sold, "due_at", "created_at")
    more = extra(sold, 2000, 3)
    market.rpc(sold.buyer, "decline_order_extra", extra_id=more["id"])
    with refused("payable_not_open"):
        market.pay_agreed(sold.buyer, more["payable_id"])
    assert hours_between(sold, "due_at", "created_at") == before
    more = extra(sold, 2000, 3)
    charge = pay(market, sold.buyer, more["payable_id"])
    assert market.succeed(charge["payment_id"]) == "processed"
    assert hours_between(sold, "due_at", "created_at") == before + 72
    assert sold.row()["delivery_days"] == 8
    sold.deliver()
    market.mature()
    assert market.release() == 0
    sold.approve()
    market.mature()
    assert market.release() == 2

    sold = by_offer(market)
    charge = pay(market, sold.buyer, extra(sold, 2000, 3)["payable_id"])
    sold.cancel("seller")
    assert sorted(refund["amount_cents"] for refund in sold.refunds()) == [2000, 10000]
    assert len({refund["payment_id"] for refund in sold.refunds()}) == 2
    sold.refunds_arrive()
    assert market.status("payments", charge["payment_id"]) == "refunded"
    assert (
        market.one("select status from public.service_order_extras where service_order_id = %s", sold.id) == "returned"
    )


def test_market_09_an_extra_cannot_be_paid_after_silence(market: Market) -> None:
    """Though no job has written that it is over; while a revision is made it can."""
    sold = by_offer(market)
    more = extra(sold)
    sold.deliver()
    sold.revise()
    assert market.one("select pay_by from public.payables where id = %s", more["payable_id"]) is None
    sold.deliver()
    sold.pass_time(72)
    market.rows("update public.payables set pay_by = pay_by - interval '72 hours' where id = %s", more["payable_id"])
    with refused("payable_not_open"):
        market.pay_agreed(sold.buyer, more["payable_id"])
    advance(market)
    assert market.status("service_order_extras", more["id"]) == "withdrawn"


def test_market_09_an_extra_paid_after_the_end_goes_back(market: Market) -> None:
    """An attempt under way when the order ends: its money is not kept."""
    sold = by_offer(market)
    more = extra(sold)
    charge = market.pay_agreed(sold.buyer, more["payable_id"])
    market.start(sold.buyer, charge["payment_id"])
    with refused("offer_being_paid"):
        market.rpc(sold.seller, "withdraw_order_extra", extra_id=more["id"])
    sold.cancel("seller")
    assert market.succeed(charge["payment_id"]) == "processed"
    assert (
        market.one("select sum(amount_cents) from public.refunds where payment_id = %s", charge["payment_id"]) == 2000
    )


def test_market_10_agreed_settlement(market: Market) -> None:
    """$100.00, 60 % back: buyer 6,000, commission 1,800, seller 4,200; left are 320 + 1,200 + 2,480 = 4,000."""
    sold = by_offer(market)
    assert market.split(sold.order) == (320, 3000, 6680)
    request = sold.propose("buyer", 6000)
    with refused("not_your_part"):
        sold.answer("buyer", request)
    sold.answer("seller", request)
    assert sold.status == "cancelled"
    sold.refunds_arrive()
    (part,) = market.rows(
        "select l.* from public.refund_lines as l join public.refunds as r on r.id = l.refund_id "
        "where r.payment_id = %s",
        sold.payment,
    )
    assert (part["amount_cents"], part["commission_cents"], part["seller_cents"]) == (6000, 1800, 4200)
    sale = sold.sale()
    left = (
        sale["amount_fees_cents"] - sale["refunded_fee_cents"],
        sale["amount_commission_cents"] - sale["refunded_commission_cents"],
        sale["amount_seller_cents"] - sale["refunded_seller_cents"],
    )
    assert left == (320, 1200, 2480)
    assert sum(left) == 4000
    market.mature()
    assert market.release() == 1
    assert market.wallet(sold.seller) == (2480, 0, 0)
    # What was agreed is over: it counts, and the buyer's purchase stands with what they kept.
    assert (
        market.one(
            "select count(*) from public.purchases where order_item_id = %s and revoked_at is null",
            sold.row()["order_item_id"],
        )
        == 1
    )


def test_market_10_a_settlement_over_two_charges(market: Market) -> None:
    """$10.01 and 5.00: 50 % of all of it is spread by what is left of each, to the cent."""
    sold = by_offer(market, price_cents=1001)
    pay(market, sold.buyer, extra(sold, 500, 0)["payable_id"])
    sold.answer("buyer", sold.propose("seller", 751))
    assert sorted(refund["amount_cents"] for refund in sold.refunds()) == [250, 501]
    sold.refunds_arrive()
    market.mature()
    assert market.release() == 2


def test_market_11_a_chargeback_while_delivered(market: Market) -> None:
    """Approval, silence and release stop; won: at least 24 hours are left; lost: refunded, the files are gone."""
    sold = by_offer(market)
    path = upload(market, sold.seller, sold.id, "a.wav")
    sold.by("seller", "deliver_service_order", files=f"{{{path}}}")
    sold.pass_time(60)
    sale = sold.sale()["id"]
    market.rows("select private.freeze_sale(%s, 'chargeback')", sale)
    sold.pass_time(100)
    assert (sold.status, advance(market)) == ("delivered", 0)
    for act in (sold.approve, sold.revise, lambda: sold.cancel("seller"), sold.dispute):
        with refused("order_frozen"):
            act()
    market.rows("select private.thaw_sale(%s, 'chargeback')", sale)
    left = market.one(
        "select extract(epoch from auto_approve_at - clock_timestamp()) / 3600 from public.service_orders where id=%s",
        sold.id,
    )
    assert 23.9 < left <= 24
    market.rows("select private.freeze_sale(%s, 'chargeback')", sale)
    reads = "select private.may_read_delivery(%s)"
    assert market.member(sold.buyer, reads, path)[0]["may_read_delivery"]
    market.rows("select private.revoke_line(%s, 'lost')", sold.row()["order_item_id"])
    assert sold.status == "refunded"
    assert not market.member(sold.buyer, reads, path)[0]["may_read_delivery"]
    assert market.member(sold.seller, reads, path)[0]["may_read_delivery"]


def test_market_11_a_chargeback_after_completion_keeps_the_money(market: Market) -> None:
    """A row that release asks for; its end moves no date."""
    sold = by_offer(market)
    sold.deliver()
    sold.approve()
    market.mature()
    date = sold.sale()["release_at"]
    market.rows("select private.freeze_sale(%s, 'chargeback')", sold.sale()["id"])
    assert market.release() == 0
    market.rows("select private.thaw_sale(%s, 'chargeback')", sold.sale()["id"])
    assert (sold.sale()["release_at"], market.release()) == (date, 1)


def test_market_11_silence_that_had_passed_comes_before_the_freeze(market: Market) -> None:
    """It was approved, though no job had written that."""
    sold = by_offer(market)
    sold.deliver()
    sold.pass_time(73)
    market.rows("select private.freeze_sale(%s, 'chargeback')", sold.sale()["id"])
    assert sold.row()["status"] == "completed"


@pytest.mark.parametrize("end", ["ban", "deletion"])
def test_market_12_a_seller_who_is_gone(market: Market, end: str) -> None:
    """Unfinished orders are cancelled with their refunds in that transaction; what is delivered runs on."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item, (package,) = service(market, seller, 10000)
    working, delivered = (sold_of(market, market.buy(buyer, line(item, package))) for _ in range(2))
    delivered.deliver()
    offered = offer(market, seller, buyer)
    if end == "ban":
        market.ban(seller)
    else:
        market.rows("delete from auth.users where id = %s", seller)
    assert (working.status, delivered.status) == ("cancelled", "delivered")
    (refund,) = working.refunds()
    assert (refund["amount_cents"], refund["status"]) == (10000, "requested")
    # What came to nothing goes with the account.
    found = market.rows("select status from public.offers where id = %s", offered["id"])
    assert [row["status"] for row in found] == (["withdrawn"] if end == "ban" else [])
    delivered.approve()
    working.refunds_arrive()
    assert (delivered.status, delivered.refunds()) == ("completed", [])


def test_market_12_paid_as_the_seller_is_banned(market: Market) -> None:
    """A payment under way settles, and the order goes back with the next step of what follows a ban."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    made = offer(market, seller, buyer)
    agreed = market.rpc(buyer, "accept_offer", offer_id=made["id"], version=1)
    attempt = market.pay_agreed(buyer, agreed["payable_id"])
    market.start(buyer, attempt["payment_id"])
    market.ban(seller)
    assert market.succeed(attempt["payment_id"]) == "processed"
    sold = sold_of(market, attempt)
    for account in market.rows("select user_id from private.account_changes_due(10)"):
        market.worker("select private.advance_account(%s)", account["user_id"])
    assert (sold.status, [refund["amount_cents"] for refund in sold.refunds()]) == ("cancelled", [10000])


def test_what_came_to_nothing_keeps_no_account(market: Market) -> None:
    """Somebody who only made and got offers leaves without a trace."""
    seller, buyer = market.sign_up(), market.sign_up()
    offer(market, seller, buyer)
    market.rows("delete from auth.users where id = %s", seller)
    assert market.one("select count(*) from public.profiles where id = %s", seller) == 0


def test_market_12_a_block_stops_nothing_of_an_order(market: Market) -> None:
    """Its thread, delivery and revision go on; the pair's own conversation is closed."""
    sold = by_offer(market)
    thread = sold.by("buyer", "service_order_conversation")["id"]
    assert sold.by("seller", "service_order_conversation")["id"] == thread
    market.member(sold.seller, "insert into public.user_blocks (blocked_id) values (%s)", sold.buyer)
    for side in ("buyer", "seller"):
        market.member(
            sold.side(side), "insert into public.messages (conversation_id, content) values (%s, 'Hello')", thread
        )
    private = market.one("select id from public.conversations where low_id is not null")
    with refused("cannot_message"):
        market.member(
            sold.buyer, "insert into public.messages (conversation_id, content) values (%s, 'Hello')", private
        )
    unread = market.rows("select unread_count from public.inbox_entries where conversation_id = %s", thread)
    assert [row["unread_count"] for row in unread] == [1, 1]
    assert market.rows("select * from private.recount()") == []
    sold.deliver()
    sold.revise()
    sold.deliver()
    assert sold.status == "delivered"


def test_a_late_order_is_cancelled_by_its_buyer(market: Market) -> None:
    """From 24 hours after the day of delivery; not before."""
    sold = by_offer(market)
    with refused("not_late_yet"):
        sold.cancel("buyer")
    sold.pass_time(5 * 24 + 23)
    with refused("not_late_yet"):
        sold.cancel("buyer")
    sold.pass_time(1)
    sold.cancel("buyer")
    (refund,) = sold.refunds()
    assert (sold.status, refund["amount_cents"], refund["fee_bearer"]) == ("cancelled", 10000, "seller")


def test_an_extension(market: Market) -> None:
    """Asked for by the seller, answered in time by the buyer; a passed answer_by is true before any job."""
    sold = by_offer(market)
    request = sold.by("seller", "propose_extension", days=2, reason="My machine broke.")
    with refused("resolution_open"):
        sold.by("seller", "propose_extension", days=3, reason="Again.")
    before = hours_between(sold, "due_at", "created_at")
    sold.answer("buyer", request["id"])
    assert hours_between(sold, "due_at", "created_at") == before + 48
    with refused("state_changed"):
        sold.answer("buyer", request["id"])
    late = sold.by("seller", "propose_extension", days=2, reason="Once more.")
    sold.pass_time(48)
    with refused("state_changed"):
        sold.answer("buyer", late["id"])
    # One whose time is over does not keep the next one back.
    sold.by("seller", "propose_extension", days=2, reason="Please.")
    assert market.status("resolution_requests", late["id"]) == "expired"
    with refused("extension_too_long"):
        sold.by("seller", "propose_extension", days=70, reason="Long.")


def test_a_dispute_is_decided_in_cents(market: Market) -> None:
    """By an admin who is not one of the two; the clock that stood still goes on when it is withdrawn."""
    sold = by_offer(market)
    admin = market.sign_up(role="admin")
    sold.deliver()
    sold.pass_time(70)
    sold.dispute()
    sold.pass_time(100)
    assert (sold.status, advance(market)) == ("disputed", 0)
    with refused("not_your_part"):
        sold.by("seller", "withdraw_dispute")
    sold.by("buyer", "withdraw_dispute")
    assert sold.status == "delivered"
    sold.dispute("seller")
    with refused("admin_only"):
        market.rpc(sold.buyer, "decide_dispute", service_order_id=sold.id, refund_cents=0, note="Mine.")
    with refused("refund_amount_invalid"):
        market.rpc(admin, "decide_dispute", service_order_id=sold.id, refund_cents=10001, note="Too much.")
    market.rpc(admin, "decide_dispute", service_order_id=sold.id, refund_cents=2500, note="A quarter back.")
    assert sold.status == "cancelled"
    assert [refund["amount_cents"] for refund in sold.refunds()] == [2500]
    assert (
        market.one("select details ->> 'refund_cents' from public.audit_log where action = 'decide_dispute'") == "2500"
    )
    kept = by_offer(market)
    kept.deliver()
    kept.dispute()
    market.rpc(admin, "decide_dispute", service_order_id=kept.id, refund_cents=0, note="As agreed.")
    assert (kept.status, kept.refunds()) == ("completed", [])


def test_admins_read_the_thread_in_a_dispute_only(market: Market) -> None:
    """And it is written down that they did."""
    sold = by_offer(market)
    admin = market.sign_up(role="admin")
    thread = sold.by("buyer", "service_order_conversation")["id"]
    market.member(sold.buyer, "insert into public.messages (conversation_id, content) values (%s, 'When?')", thread)
    assert market.member(admin, "select * from public.messages where conversation_id = %s", thread) == []
    read = "select content from public.dispute_messages(%s)"
    with refused("state_changed"):
        market.member(admin, read, sold.id)
    sold.dispute()
    assert [row["content"] for row in market.member(admin, read, sold.id)] == ["When?"]
    assert market.one("select count(*) from public.audit_log where action = 'read_dispute'") == 1
    with refused("admin_only"):
        market.member(sold.buyer, read, sold.id)


def test_a_refund_that_fails_reopens_the_order(market: Market) -> None:
    """Where it was, with at least a day on its clock."""
    sold = by_offer(market)
    sold.deliver()
    refund = market.request_refund(sold.seller, sold.row()["order_item_id"])
    market.refund_arrives(refund["id"])
    assert sold.status == "refunded"
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], f"re_{refund['id']}")
    assert sold.status == "delivered"
    assert sold.events()[-2:] == ["refund", "refund_failed"]


@pytest.mark.parametrize("provider", ["stripe", "wallet"])
def test_the_whole_story(market: Market, provider: str) -> None:
    """Paid, delivered, revised, approved; held until then and released a week later."""
    sold = by_offer(market, provider)
    assert market.wallet(sold.seller)[:2] == (0, 10000 - 3000 - (320 if provider == "stripe" else 0))
    sold.deliver()
    sold.revise()
    sold.deliver()
    sold.approve()
    row = sold.row()
    assert (row["status"], row["buyer_approved"], row["revisions_used"]) == ("completed", True, 1)
    assert sold.events() == ["order", "deliver", "request_revision", "deliver", "approve"]
    market.mature()
    assert market.release() == 1


def test_a_free_package_is_an_order_too(market: Market) -> None:
    """Nothing was paid, so nothing goes back."""
    sold = by_service(market, 0)
    sold.cancel("seller")
    assert (sold.status, sold.refunds()) == ("cancelled", [])
    sold = by_service(market, 0)
    sold.deliver()
    sold.approve()
    assert sold.status == "completed"


def take(sold: Sold, step: str) -> None:
    """A step on the way to a state."""
    match step:
        case "d":
            sold.deliver()
        case "r":
            sold.revise()
        case "x":
            sold.dispute()
        case "a":
            sold.approve()
        case "c":
            sold.cancel("seller")
        case _:
            sold.market.rows("select private.revoke_line(%s, 'refunded')", sold.row()["order_item_id"])


@pytest.mark.parametrize("end", ["cancel", "settle"])
def test_a_booked_session_is_due_when_it_is_over(market: Market, end: str) -> None:
    """And its hour is free again when the order ends before, whatever of the money goes back."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    mentor(market, seller)
    item, (package,) = service(market, seller, 2000, session_minutes=60, is_mentoring=True)
    slot = slots(market, buyer, item)[30]
    sold = sold_of(market, market.buy(buyer, line(item, package, session=session(slot))))
    row = sold.row()
    assert (row["session_starts_at"], row["due_at"]) == (slot["starts_at"], slot["ends_at"])
    assert (busy(market, seller), busy(market, buyer)) == (1, 1)
    if end == "cancel":
        sold.cancel("seller")
    else:
        sold.answer("seller", sold.propose("buyer", 1000))
    assert (busy(market, seller), busy(market, buyer)) == (0, 0)


def test_every_forbidden_move_is_refused(market: Market) -> None:
    """Each act in each state by each side: what the rows do not have is refused, what they have is not."""
    acts: dict[str, Callable[[Sold, str], object]] = {
        "send_requirements": lambda s, side: s.by(side, "send_requirements", requirements="Here."),
        "deliver": lambda s, side: s.by(side, "deliver_service_order", notes="Here."),
        "request_revision": lambda s, side: s.by(side, "request_revision", note="Louder."),
        "approve": lambda s, side: s.by(side, "approve_service_order"),
        "cancel": lambda s, side: s.cancel(side),
        "open_dispute": lambda s, side: s.dispute(side),
        "withdraw_dispute": lambda s, side: s.by(side, "withdraw_dispute"),
        "propose_extension": lambda s, side: s.by(side, "propose_extension", days=1, reason="More."),
        "propose_cancellation": lambda s, side: s.propose(side, 100),
        "offer_extra": lambda s, side: s.by(side, "offer_order_extra", title="More", price_cents=500, delivery_days=1),
    }
    rows = market.rows("select act, actor, from_state from private.service_order_moves")
    moves = {(row["act"], row["actor"], row["from_state"]) for row in rows}
    states = {
        "awaiting_requirements": "",
        "in_progress": "",
        "delivered": "d",
        "revision_requested": "dr",
        "disputed": "dx",
        "completed": "da",
        "cancelled": "c",
        "refunded": "f",
    }
    for state, steps in states.items():
        sold = by_offer(market, requirements_asked="Stems" if state == "awaiting_requirements" else None)
        for step in steps:
            take(sold, step)
        assert sold.status == state
        for act, call in acts.items():
            for side in ("buyer", "seller"):
                outcome = None
                try:
                    with market.connection.transaction(force_rollback=True):
                        call(sold, side)
                except psycopg.Error as error:
                    outcome = code_of(error)
                if (act, side, state) in moves:
                    assert outcome in (None, "not_late_yet", "not_your_part"), (act, side, state, outcome)
                else:
                    assert outcome in ("state_changed", "not_your_part"), (act, side, state, outcome)
