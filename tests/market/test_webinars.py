"""Webinars: the cases of seats, queues, money and calendars, one test each."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.market.test_coupons import checkout, code, coupon
from tests.market.webinars import (
    DAYS,
    begin_in,
    cancel,
    cost,
    leave,
    pass_deadline,
    pay_offer,
    register,
    seat,
    states,
    sweep,
    taken,
    utc_now,
    wait,
    webinar,
)
from tests.money.market import Market, refused


def entry(market: Market, user: str, item: str) -> dict[str, object]:
    """Somebody's calendar entry."""
    return market.row(
        "select e.* from private.calendar_entries as e join public.webinar_registrations as r "
        "on r.id = e.registration_id where r.webinar_id = %s and r.user_id = %s",
        item,
        user,
    )


def notices(market: Market, user: str) -> list[str]:
    """What somebody was told, in order."""
    rows = market.rows("select type from public.notifications where user_id = %s order by created_at, type", user)
    return [row["type"] for row in rows]


# -- 14 ---------------------------------------------------------------------------------------------------------------


def test_market_14_last_seat_free_paid_and_offered_alike(market: Market) -> None:
    host, (a, b, c, d) = market.sign_up(), [market.sign_up() for _ in range(4)]
    free = webinar(market, host, seats=2)
    register(market, a, free)
    register(market, b, free)
    with refused("webinar_full"):
        register(market, c, free)
    assert (taken(market, free), states(market, free)) == (2, {"confirmed": 2})

    paid = webinar(market, host, 2000, seats=2)
    market.buy(a, paid)
    order = market.checkout(b, paid)
    assert seat(market, b, paid)["status"] == "held"
    with refused("webinar_full"):
        market.checkout(c, paid)
    # Held counts as taken; what was offered too.
    wait(market, c, paid)
    market.rpc(b, "cancel_order", order_id=order["order_id"])
    assert seat(market, b, paid)["status"] == "expired"
    assert seat(market, c, paid)["status"] == "offered"
    with refused("webinar_full"):
        market.checkout(d, paid)
    pay_offer(market, c, paid)
    assert (taken(market, paid), states(market, paid)) == (2, {"confirmed": 2, "expired": 1})
    with refused("webinar_full"):
        market.checkout(d, paid)


def test_market_14_one_seat_for_a_person(market: Market) -> None:
    host, guest = market.sign_up(), market.sign_up()
    paid = webinar(market, host, 2000, seats=5)
    with refused("quantity_not_allowed"):
        market.checkout(guest, {"item_id": paid, "quantity": 2})
    market.buy(guest, paid)
    with refused("already_owned", "already_registered"):
        market.checkout(guest, paid)
    free = webinar(market, host, seats=5)
    register(market, guest, free)
    with refused("already_registered"):
        register(market, guest, free)
    with refused("registration_is_free"):
        market.checkout(market.sign_up(), free)
    with refused("payment_required"):
        register(market, market.sign_up(), paid)
    with refused("own_item"):
        register(market, host, free)


# -- 15 ---------------------------------------------------------------------------------------------------------------


def test_market_15_hold_ended_then_the_payment_succeeds(market: Market) -> None:
    host, (a, b, late) = market.sign_up(), [market.sign_up() for _ in range(3)]
    paid = webinar(market, host, 2000, seats=2)
    market.buy(a, paid)
    order = market.checkout(late, paid)
    market.start(late, order["payment_id"])
    wait(market, b, paid)
    market.worker("select private.payment_cancelled(%s)", order["payment_id"])
    assert seat(market, b, paid)["status"] == "offered"
    assert market.succeed(order["payment_id"]) == "processed"
    refund = market.row("select * from public.refunds where payment_id = %s", order["payment_id"])
    assert (refund["amount_cents"], refund["reason"]) == (2000, "item_not_available")
    assert seat(market, late, paid)["status"] == "expired"
    assert seat(market, b, paid)["status"] == "offered"


def test_market_15_an_offer_with_an_open_payment_does_not_expire(market: Market) -> None:
    host, (a, b, c, d) = market.sign_up(), [market.sign_up() for _ in range(4)]
    paid = webinar(market, host, 2000, seats=2)
    market.buy(a, paid)
    order = market.buy(b, paid)
    wait(market, c, paid)
    wait(market, d, paid)
    market.refund(host, market.line(order["order_id"]))
    attempt = market.pay_agreed(c, seat(market, c, paid)["payable_id"])
    market.start(c, attempt["payment_id"])
    pass_deadline(market, c, paid)
    sweep(market)
    assert seat(market, c, paid)["status"] == "offered"
    assert market.succeed(attempt["payment_id"]) == "processed"
    assert seat(market, c, paid)["status"] == "confirmed"
    assert seat(market, d, paid)["status"] == "waiting"


def test_market_15_an_offer_that_ended_and_is_paid_late_goes_back(market: Market) -> None:
    host, (a, b, c, d) = market.sign_up(), [market.sign_up() for _ in range(4)]
    paid = webinar(market, host, 2000, seats=2)
    market.buy(a, paid)
    order = market.buy(b, paid)
    wait(market, c, paid)
    wait(market, d, paid)
    market.refund(host, market.line(order["order_id"]))
    attempt = market.pay_agreed(c, seat(market, c, paid)["payable_id"])
    market.start(c, attempt["payment_id"])
    market.worker("select private.payment_cancelled(%s)", attempt["payment_id"])
    pass_deadline(market, c, paid)
    sweep(market)
    assert (seat(market, c, paid)["status"], seat(market, d, paid)["status"]) == ("expired", "offered")
    assert market.succeed(attempt["payment_id"]) == "processed"
    assert market.one("select amount_cents from public.refunds where payment_id = %s", attempt["payment_id"]) == 2000
    assert taken(market, paid) == 2


# -- 16 ---------------------------------------------------------------------------------------------------------------


def test_market_16_a_freed_seat_belongs_to_the_queue(market: Market) -> None:
    host, people = market.sign_up(), [market.sign_up() for _ in range(6)]
    free = webinar(market, host, seats=2)
    register(market, people[0], free)
    register(market, people[1], free)
    with refused("seats_available"):
        wait(market, people[2], webinar(market, host, seats=2))
    wait(market, people[2], free)
    wait(market, people[3], free)
    with refused("already_registered"):
        wait(market, people[2], free)
    leave(market, people[0], free)
    # First in line is confirmed at once; everybody else is still told that it is full.
    assert seat(market, people[2], free)["status"] == "confirmed"
    assert "webinar_seat" in notices(market, people[2])
    with refused("webinar_full"):
        register(market, people[0], free)
    # Rejoining goes to the end.
    wait(market, people[0], free)
    leave(market, people[3], free)
    wait(market, people[3], free)
    leave(market, people[1], free)
    assert seat(market, people[0], free)["status"] == "confirmed"
    assert seat(market, people[3], free)["status"] == "waiting"


def test_market_16_who_declined_is_not_offered_again(market: Market) -> None:
    host, (a, b, c, d) = market.sign_up(), [market.sign_up() for _ in range(4)]
    paid = webinar(market, host, 2000, seats=2)
    market.buy(a, paid)
    order = market.buy(b, paid)
    wait(market, c, paid)
    wait(market, d, paid)
    market.refund(host, market.line(order["order_id"]))
    offer = seat(market, c, paid)
    assert offer["offer_expires_at"] - utc_now() <= timedelta(hours=24)
    leave(market, c, paid)
    assert (seat(market, c, paid)["status"], seat(market, d, paid)["status"]) == ("cancelled", "offered")
    with refused("payable_not_open"):
        market.pay_agreed(c, offer["payable_id"])
    leave(market, d, paid)
    # Nobody waits: c is not asked again, the seat is for sale.
    assert seat(market, c, paid)["status"] == "cancelled"
    market.buy(c, paid)
    assert seat(market, c, paid)["payment_status"] == "paid"


def test_market_16_an_offer_ends_with_the_start_and_is_true_before_it_is_swept(market: Market) -> None:
    host, (a, b, c, d) = market.sign_up(), [market.sign_up() for _ in range(4)]
    paid = webinar(market, host, 2000, seats=2)
    market.buy(a, paid)
    order = market.buy(b, paid)
    wait(market, c, paid)
    begin_in(market, paid, timedelta(hours=2))
    market.refund(host, market.line(order["order_id"]))
    starts = market.one("select starts_at from public.webinars where id = %s", paid)
    assert seat(market, c, paid)["offer_expires_at"] == starts
    # Passed and not swept: true for its reader, for whoever pays, and for the next who comes.
    pass_deadline(market, c, paid)
    (seen,) = market.member(
        c,
        "select public.status_now(r) as now from public.webinar_registrations as r where webinar_id = %s",
        paid,
    )
    assert seen["now"] == "expired"
    with refused("payable_not_open"):
        market.pay_agreed(c, seat(market, c, paid)["payable_id"])
    market.buy(d, paid)
    assert (seat(market, c, paid)["status"], seat(market, d, paid)["status"]) == ("expired", "confirmed")


# -- 17 ---------------------------------------------------------------------------------------------------------------


def test_market_17_expiry_cancel_and_refund_event_free_one_seat(market: Market) -> None:
    host, (a, b) = market.sign_up(), [market.sign_up() for _ in range(2)]
    paid = webinar(market, host, 2000, seats=3)
    market.buy(a, paid)
    order = market.checkout(b, paid)
    market.start(b, order["payment_id"])
    assert taken(market, paid) == 2
    market.worker("select private.payment_cancelled(%s)", order["payment_id"])
    market.cancel(order["payment_id"])
    assert taken(market, paid) == 1
    assert market.succeed(order["payment_id"]) == "processed"
    # There was a seat: the late success takes one again.
    assert (taken(market, paid), seat(market, b, paid)["status"]) == (2, "confirmed")
    row = leave(market, b, paid)
    assert row["status"] == "cancelled"
    refund = market.row("select * from public.refunds where payment_id = %s", order["payment_id"])
    assert taken(market, paid) == 1
    market.refund_arrives(refund["id"])
    market.provider_refund(order["payment_id"], 2000, f"re_{refund['id']}", ours=refund["id"])
    assert taken(market, paid) == 1


def test_market_17_capacity_below_what_is_taken(market: Market) -> None:
    host, people = market.sign_up(), [market.sign_up() for _ in range(4)]
    free = webinar(market, host, seats=4)
    for person in people[:3]:
        register(market, person, free)
    with refused("capacity_below_registrations"):
        market.member(host, "update public.webinars set max_attendees = 2 where id = %s", free)
    market.member(host, "update public.webinars set max_attendees = 3 where id = %s", free)
    wait(market, people[3], free)
    market.member(host, "update public.webinars set max_attendees = null where id = %s", free)
    assert seat(market, people[3], free)["status"] == "confirmed"
    market.member(host, "update public.webinars set max_attendees = 4 where id = %s", free)
    assert taken(market, free) == 4


def test_market_17_a_full_webinar_does_not_block_other_lines(market: Market) -> None:
    host, (a, b, c) = market.sign_up(), [market.sign_up() for _ in range(3)]
    full, product = webinar(market, host, 2000, seats=2), market.product(host, 900)
    market.buy(a, full)
    market.buy(b, full)
    # Said before anybody tries: the cart shows which line it is.
    shown = market.rpc(c, "preview_checkout", items=[{"item_id": full}, {"item_id": product}])
    assert [line["problem"] for line in shown["lines"]] == ["webinar_full", None]
    with refused("webinar_full"):
        market.checkout(c, full, product)
    market.buy(c, product)
    assert market.owns(c, product)


# -- 18 ---------------------------------------------------------------------------------------------------------------


def test_market_18_cancel_with_paid_seats(market: Market) -> None:
    host, guests = market.sign_up("standard"), [market.sign_up() for _ in range(6)]
    paid = webinar(market, host, 2000, seats=5)
    orders = [market.buy(guest, paid) for guest in guests[:4]]
    held = market.checkout(guests[4], paid)
    wait(market, guests[5], paid)
    # 5.00 were given back already.
    market.refund(host, market.line(orders[0]["order_id"]), 500)
    announced = cost(market, host, paid)
    assert (announced["refunds_count"], announced["refund_cents"]) == (4, 3 * 2000 + 1500)
    # 88 a seat; of the first one 20.00 less 5.00: what it brought is 1,312 - 350.
    assert announced["host_cost_cents"] == 4 * 88
    with refused("cost_changed"):
        market.rpc(host, "cancel_webinar", webinar_id=paid, reason="ill", agreed_cost_cents=1)
    cancel(market, host, paid)
    # Gone at once, before any money moved.
    assert states(market, paid) == {"cancelled": 6}
    assert not market.owns(guests[0], paid)
    assert taken(market, paid) == 0
    assert market.status("orders", held["order_id"]) == "cancelled"
    refunds = market.rows("select * from public.refunds where reason = 'webinar_cancelled' order by amount_cents")
    assert [refund["amount_cents"] for refund in refunds] == [1500, 2000, 2000, 2000]
    with refused("state_changed"):
        market.rpc(host, "cancel_webinar", webinar_id=paid, reason="ill", agreed_cost_cents=0)
    for refund in refunds:
        market.refund_arrives(refund["id"])
    assert market.wallet(host) == (0, 0, 4 * 88)
    assert all("webinar_cancelled" in notices(market, guest) for guest in guests)
    with refused("webinar_not_found", "webinar_not_open"):
        register(market, market.sign_up(), paid)


def test_market_18_a_seat_of_a_larger_order_gives_back_what_is_left_of_the_seat(market: Market) -> None:
    """Of what else was paid with it nothing goes back, though the payment has enough."""
    host, guest = market.sign_up("standard"), market.sign_up()
    paid, product = webinar(market, host, 2000), market.product(host, 5000)
    order = market.buy(guest, paid, product)
    line = market.one("select id from public.order_items where order_id = %s and item_id = %s", order["order_id"], paid)
    market.refund(host, line, 500)
    # Another 3.00 are on their way.
    market.request_refund(host, line, 300)
    assert cost(market, host, paid)["refund_cents"] == 1200
    cancel(market, host, paid)
    rows = market.rows("select amount_cents, order_item_id from public.refunds where reason = 'webinar_cancelled'")
    assert [(row["amount_cents"], row["order_item_id"]) for row in rows] == [(1200, line)]
    assert market.owns(guest, product)


def test_market_18_cancelled_seats_paid_from_wallets(market: Market) -> None:
    host, guests = market.sign_up("standard"), [market.sign_up() for _ in range(3)]
    paid = webinar(market, host, 2000, seats=5)
    for guest in guests:
        market.fund(guest, 2000)
        market.checkout(guest, paid, provider="wallet")
    assert cost(market, host, paid)["host_cost_cents"] == 0
    cancel(market, host, paid)
    assert all(market.wallet(guest)[0] == 2000 for guest in guests)
    assert market.wallet(host) == (0, 0, 0)


# -- 19, 20 -----------------------------------------------------------------------------------------------------------


def test_market_19_earned_at_its_end_which_moves(market: Market) -> None:
    host, guest = market.sign_up("standard"), market.sign_up()
    paid = webinar(market, host, 2000)
    order = market.buy(guest, paid)
    (sale,) = market.sales(order["order_id"])
    assert (sale["completed_at"], sale["release_at"]) == (None, None)
    starts = (utc_now() + 60 * DAYS).replace(tzinfo=None, microsecond=0)
    market.rpc(host, "reschedule_webinar", webinar_id=paid, starts_local=starts)
    market.mature()
    assert market.release() == 0
    begin_in(market, paid, timedelta(minutes=-90))
    sweep(market)
    (sale,) = market.sales(order["order_id"])
    ends = market.one("select ends_at from public.webinars where id = %s", paid)
    hold = market.one("select earnings_hold from private.settings")
    # Never before it was paid: in this transaction the clock stands still since then.
    assert sale["completed_at"] == max(ends, sale["settled_at"])
    assert sale["release_at"] == sale["completed_at"] + hold
    assert market.one("select status from public.webinars where id = %s", paid) == "ended"
    assert market.wallet(host)[1] == 1312


def test_market_20_rescheduled_seat_and_payment_stay(market: Market) -> None:
    host, (guest, waiting, other, late) = market.sign_up("standard"), [market.sign_up() for _ in range(4)]
    paid = webinar(market, host, 2000, seats=2)
    order = market.buy(guest, paid)
    market.buy(other, paid)
    wait(market, waiting, paid)
    before = entry(market, guest, paid)
    starts = (utc_now() + timedelta(hours=5)).replace(tzinfo=None, microsecond=0)
    market.rpc(host, "reschedule_webinar", webinar_id=paid, starts_local=starts)
    assert seat(market, guest, paid)["status"] == "confirmed"
    assert market.one("select count(*) from public.payments where order_id = %s", order["order_id"]) == 1
    assert all("webinar_moved" in notices(market, person) for person in (guest, waiting, other))
    assert entry(market, guest, paid)["sequence"] == int(str(before["sequence"])) + 1
    # Within the host's 24 hours, but it was moved: all money back, at the host's cost.
    leave(market, guest, paid)
    refund = market.row("select * from public.refunds where payment_id = %s", order["payment_id"])
    assert (refund["amount_cents"], refund["fee_bearer"]) == (2000, "seller")
    # Who came after it was moved agreed to this time.
    assert seat(market, waiting, paid)["status"] == "offered"
    pay_offer(market, waiting, paid)
    with refused("cannot_cancel"):
        leave(market, waiting, paid)
    cancel(market, host, paid)
    with refused("state_changed"):
        market.rpc(host, "reschedule_webinar", webinar_id=paid, starts_local=starts + DAYS)
    with refused("webinar_not_found"):
        market.rpc(late, "reschedule_webinar", webinar_id=paid, starts_local=starts)


def test_market_20_who_was_paying_when_it_was_moved_may_leave(market: Market) -> None:
    host, (guest, offered, other) = market.sign_up("standard"), [market.sign_up() for _ in range(3)]
    paid = webinar(market, host, 2000, seats=2)
    order = market.checkout(guest, paid)
    market.buy(other, paid)
    wait(market, offered, paid)
    leave(market, other, paid)
    late = market.pay_agreed(offered, seat(market, offered, paid)["payable_id"])
    for person, begun in ((guest, order), (offered, late)):
        market.start(person, begun["payment_id"])
    market.rpc(
        host, "reschedule_webinar", webinar_id=paid, starts_local=(utc_now() + timedelta(hours=10)).replace(tzinfo=None)
    )
    for person, begun in ((guest, order), (offered, late)):
        assert market.succeed(begun["payment_id"]) == "processed"
        # They agreed to another time, and were told they can leave.
        leave(market, person, paid)
        refund = market.row("select * from public.refunds where payment_id = %s", begun["payment_id"])
        assert (refund["amount_cents"], refund["fee_bearer"]) == (2000, "seller")
    # Who comes again now agrees to this time.
    market.buy(other, paid)
    with refused("cannot_cancel"):
        leave(market, other, paid)


def test_market_20_brought_forward_so_that_people_can_leave(market: Market) -> None:
    host, guest = market.sign_up("standard"), market.sign_up()
    paid = webinar(market, host, 2000)
    market.buy(guest, paid)
    with refused("time_too_soon"):
        market.rpc(
            host,
            "reschedule_webinar",
            webinar_id=paid,
            starts_local=(utc_now() + timedelta(minutes=2)).replace(tzinfo=None),
        )
    # Later is never too soon.
    begin_in(market, paid, timedelta(minutes=5))
    later = (utc_now() + timedelta(minutes=30)).replace(tzinfo=None)
    market.rpc(host, "reschedule_webinar", webinar_id=paid, starts_local=later)


def test_market_20_moving_is_no_way_to_write_to_people(market: Market) -> None:
    host, guest = market.sign_up(), market.sign_up()
    free = webinar(market, host)
    register(market, guest, free)
    starts = utc_now().replace(tzinfo=None, microsecond=0) + 60 * DAYS
    for day in range(5):
        market.rpc(host, "reschedule_webinar", webinar_id=free, starts_local=starts + day * DAYS)
    with refused("too_many_actions"):
        market.rpc(host, "reschedule_webinar", webinar_id=free, starts_local=starts + 9 * DAYS)
    assert notices(market, guest).count("webinar_moved") == 5


def test_market_20_reminders_know_their_start(market: Market) -> None:
    host, guest = market.sign_up(), market.sign_up()
    free = webinar(market, host)
    register(market, guest, free)
    old = market.one("select starts_at from public.webinars where id = %s", free)
    moved = market.rpc(host, "reschedule_webinar", webinar_id=free, starts_local=(old + DAYS).replace(tzinfo=None))
    remind = "select private.remind_webinar(%s, %s, 60)"
    assert market.worker(remind, free, old) == 0
    assert market.worker(remind, free, moved["starts_at"]) == 2
    assert market.worker(remind, free, moved["starts_at"]) == 0
    assert notices(market, guest).count("webinar_reminder") == 1
    cancel(market, host, free)
    assert market.worker("select private.remind_webinar(%s, %s, 1440)", free, moved["starts_at"]) == 0


def test_market_20_the_limit_of_the_host(market: Market) -> None:
    host, guest = market.sign_up("standard"), market.sign_up()
    paid = webinar(market, host, 2000, cancel_before_hours=48)
    order = market.buy(guest, paid)
    begin_in(market, paid, timedelta(hours=47))
    with refused("cannot_cancel"):
        leave(market, guest, paid)
    begin_in(market, paid, timedelta(hours=49))
    leave(market, guest, paid)
    refund = market.row("select * from public.refunds where payment_id = %s", order["payment_id"])
    # A right to step back: the platform bears what the provider keeps.
    assert (refund["amount_cents"], refund["fee_bearer"]) == (2000, "platform")
    market.refund_arrives(refund["id"])
    assert market.wallet(host) == (0, 0, 0)


# -- 21, 22: what is read back from the mail is in tests/workers/test_calendar.py -----------------------------------


def test_market_21_one_uid_for_life_and_a_sequence(market: Market) -> None:
    host, guest = market.sign_up(), market.sign_up()
    free = webinar(market, host)
    row = register(market, guest, free)
    first = entry(market, guest, free)
    assert (first["registration_id"], first["sequence"], first["is_cancelled"]) == (row["id"], 0, False)
    # A typo: nothing moves, nothing is mailed.
    market.rows("update private.calendar_entries set due_at = null, sent_sequence = 0")
    market.member(host, "update public.webinars set title = 'Mixing vocals' where id = %s", free)
    assert (entry(market, guest, free)["sequence"], entry(market, guest, free)["due_at"]) == (0, None)
    leave(market, guest, free)
    gone = entry(market, guest, free)
    assert (gone["sequence"], gone["is_cancelled"]) == (1, True)
    assert gone["due_at"] is not None
    register(market, guest, free)
    again = entry(market, guest, free)
    assert (again["registration_id"], again["sequence"], again["is_cancelled"]) == (row["id"], 2, False)
    cancel(market, host, free)
    last = entry(market, guest, free)
    assert (last["sequence"], last["is_cancelled"]) == (3, True)


def test_market_22_one_recipient_and_no_join_link(market: Market) -> None:
    host, guests = market.sign_up(), [market.sign_up() for _ in range(2)]
    free = webinar(market, host)
    market.rpc(host, "set_webinar_room", webinar_id=free, link="https://rooms.example.com/secret")
    market.rows("update auth.users set email_confirmed_at = now()")
    for guest in guests:
        register(market, guest, free)
    seen = []
    while (mail := market.worker("select private.claim_invitation(60)")) is not None:
        seen.append(mail["to"])
        assert "secret" not in str(mail)
        assert sum(f"user-{guest}@example.com" in str(mail) for guest in guests) == 1
        market.worker("select private.invitation_sent(%s, %s)", mail["uid"], mail["sequence"])
    assert sorted(seen) == sorted(f"user-{guest}@example.com" for guest in guests)


# -- 23: every gap and overlap is in test_webinar_times.py ----------------------------------------------------------


def test_market_23_local_time_and_zone(market: Market) -> None:
    host = market.sign_up()
    with refused("time_does_not_exist"):
        webinar(market, host, starts_local=datetime(2027, 3, 28, 2, 30), time_zone="Europe/Berlin")
    with refused("time_is_ambiguous"):
        webinar(market, host, starts_local=datetime(2027, 10, 31, 2, 30), time_zone="Europe/Berlin")
    item = webinar(
        market,
        host,
        starts_local=datetime(2027, 10, 31, 2, 30),
        time_zone="Europe/Berlin",
        is_second_hour=True,
        duration_minutes=90,
    )
    row = market.row("select * from public.webinars where id = %s", item)
    assert row["starts_at"].timestamp() == datetime.fromisoformat("2027-10-31T01:30:00+00:00").timestamp()
    assert row["ends_at"] - row["starts_at"] == timedelta(minutes=90)
    for zone in ("CET", "UTC+2", "+02:00", "Berlin", "europe/berlin", "EST5EDT4", ""):
        with refused("time_zone_not_known", "23514", "invalid_text", "text_required"):
            webinar(market, host, starts_local=datetime(2027, 10, 1, 2, 30), time_zone=zone)


def test_market_23_new_rules_of_a_zone(market: Market) -> None:
    host, guest = market.sign_up(), market.sign_up()
    item = webinar(market, host, starts_local=datetime(2027, 7, 1, 20, 0), time_zone="Europe/Berlin")
    register(market, guest, item)
    right = market.one("select starts_at from public.webinars where id = %s", item)
    market.rows("set local session_replication_role = replica")
    market.rows("update public.webinars set starts_at = starts_at - interval '1 hour' where id = %s", item)
    market.rows("set local session_replication_role = origin")
    assert market.worker("select private.follow_time_zones(10)") == 1
    assert market.worker("select private.follow_time_zones(10)") == 0
    assert market.one("select starts_at from public.webinars where id = %s", item) == right
    assert entry(market, guest, item)["sequence"] == 1


# -- 24 ---------------------------------------------------------------------------------------------------------------


def test_market_24_the_way_in_is_ones_own_and_dies_with_the_seat(market: Market) -> None:
    host, (guest, other, stranger) = market.sign_up("standard"), [market.sign_up() for _ in range(3)]
    market.rows("select private.publish_workers('https://workers.example.com')")
    paid = webinar(market, host, 2000)
    order = market.buy(guest, paid)
    market.buy(other, paid)
    with refused("webinar_not_begun"):
        market.rpc(guest, "join_webinar", webinar_id=paid)
    begin_in(market, paid, timedelta(minutes=31))
    with refused("webinar_not_begun"):
        market.rpc(guest, "join_webinar", webinar_id=paid)
    begin_in(market, paid, timedelta(minutes=29))
    with refused("room_not_ready"):
        market.rpc(guest, "join_webinar", webinar_id=paid)
    market.rpc(host, "set_webinar_room", webinar_id=paid, link="https://rooms.example.com/secret")
    with refused("webinar_not_found"):
        market.rpc(stranger, "join_webinar", webinar_id=paid)
    passes = [market.rpc(user, "join_webinar", webinar_id=paid)["url"] for user in (host, guest, other)]
    assert len(set(passes)) == 3
    assert market.rpc(guest, "join_webinar", webinar_id=paid)["url"] == passes[1]
    assert not any("secret" in url for url in passes)

    def enter(url: str) -> dict[str, object]:
        return dict(market.worker("select private.use_pass(%s)", url.rpartition("=")[2]))

    assert enter(passes[1])["link"] == "https://rooms.example.com/secret"
    assert (enter(passes[0])["is_host"], enter(passes[1])["is_host"]) == (True, False)
    # Refunded: gone; removed: gone; cancelled: gone.
    market.refund(host, market.line(order["order_id"]))
    with refused("webinar_not_found"):
        enter(passes[1])
    market.rpc(host, "remove_registration", webinar_id=paid, user_id=other, reason="rude")
    with refused("webinar_not_found"):
        enter(passes[2])
    cancel(market, host, paid)
    with refused("webinar_over"):
        enter(passes[0])
    # Nobody reads rooms.
    with refused("42501"):
        market.member(host, "select * from private.webinar_rooms")


def test_market_24_registration_checks_the_start_itself(market: Market) -> None:
    host, guest = market.sign_up(), market.sign_up()
    free, paid = webinar(market, host), webinar(market, host, 2000)
    begin_in(market, free, timedelta(seconds=-1))
    begin_in(market, paid, timedelta(seconds=-1))
    assert market.listed(free)
    with refused("webinar_not_open"):
        register(market, guest, free)
    with refused("webinar_not_open"):
        wait(market, guest, free)
    with refused("webinar_not_open"):
        market.checkout(guest, paid)
    (seen,) = market.member(guest, "select public.status_now(w) as now from public.webinars as w where id = %s", free)
    assert seen["now"] == "live"


# -- 25 ---------------------------------------------------------------------------------------------------------------


def test_market_25_attendance_counts_once_and_is_for_the_confirmed(market: Market) -> None:
    host, (co_host, guest, other) = market.sign_up("premium"), [market.sign_up() for _ in range(3)]
    free = webinar(market, host, seats=5)
    market.rpc(host, "invite_co_host", webinar_id=free, user_id=co_host)
    with refused("webinar_not_found"):
        market.member(co_host, "select public.mark_attendance(%s, %s::uuid[])", free, [guest])
    market.rpc(co_host, "answer_co_hosting", webinar_id=free, accept=True)
    register(market, guest, free)
    with refused("state_changed"):
        market.member(host, "select public.mark_attendance(%s, %s::uuid[])", free, [guest])
    begin_in(market, free, timedelta(minutes=-5))

    def mark(who: str, *people: str) -> int:
        (row,) = market.member(who, "select public.mark_attendance(%s, %s::uuid[]) as n", free, list(people))
        return int(row["n"])

    assert mark(host, guest) == 1
    first = seat(market, guest, free)["attended_at"]
    assert mark(co_host, guest) == 0
    assert seat(market, guest, free)["attended_at"] == first
    with refused("registration_not_found"):
        mark(co_host, guest, other)
    assert market.one("select attendees_count from public.webinars where id = %s", free) == 1


def test_market_25_a_recording_is_converted_once(market: Market) -> None:
    host, (co_host, paying, refunded, late) = market.sign_up("premium"), [market.sign_up() for _ in range(4)]
    paid = webinar(market, host, 2000)
    market.rpc(host, "invite_co_host", webinar_id=paid, user_id=co_host)
    market.rpc(co_host, "answer_co_hosting", webinar_id=paid, accept=True)
    market.buy(paying, paid)
    order = market.buy(refunded, paid)
    market.refund(host, market.line(order["order_id"]))
    with refused("state_changed"):
        market.rpc(host, "convert_recording", webinar_id=paid)
    begin_in(market, paid, timedelta(minutes=-90))
    for not_theirs in ("convert_recording", "webinar_cancellation_cost"):
        with refused("webinar_not_found"):
            market.rpc(co_host, not_theirs, webinar_id=paid)
    with refused("webinar_not_found"):
        market.rpc(co_host, "remove_registration", webinar_id=paid, user_id=paying, reason="no")
    with refused("webinar_not_found"):
        market.rpc(co_host, "cancel_webinar", webinar_id=paid, reason="no", agreed_cost_cents=0)
    product = market.rpc(host, "convert_recording", webinar_id=paid, price_cents=1500)
    again = market.rpc(host, "convert_recording", webinar_id=paid, price_cents=900)
    assert (again["id"], again["price_cents"], again["product_type"]) == (product["id"], 1500, "recorded_webinar")
    assert market.owns(paying, product["id"])
    assert not market.owns(refunded, product["id"])
    assert not market.owns(late, product["id"])
    grants = "select count(*) from public.purchases where item_id = %s and price_cents = 0"
    assert market.one(grants, product["id"]) == 1
    assert market.worker("select private.grant_recordings(100)") == 0
    assert market.one(grants, product["id"]) == 1


def test_market_25_a_recording_goes_with_the_seat(market: Market) -> None:
    host, (guest, back, buyer) = market.sign_up("standard"), [market.sign_up() for _ in range(3)]
    paid = webinar(market, host, 2000)
    orders = {person: market.buy(person, paid) for person in (guest, back, buyer)}
    begin_in(market, paid, timedelta(hours=-3))
    sweep(market)
    product = market.rpc(host, "convert_recording", webinar_id=paid, price_cents=1500)["id"]
    # Theirs by having bought it, whatever becomes of the seat.
    market.rows(
        "update public.purchases set revoked_at = now(), revoked_reason = 'removed' "
        "where owner_id = %s and item_id = %s",
        buyer,
        product,
    )
    path = f"{host}/{product}.mp4"
    market.rows("insert into storage.objects (bucket_id, name) values ('product-files', %s)", path)
    market.member(host, "insert into public.product_files (product_id, path) values (%s, %s)", product, path)
    market.member(host, "update public.products set status = 'active' where id = %s", product)
    market.buy(buyer, product)
    refunds = {person: market.refund(host, market.line(order["order_id"])) for person, order in orders.items()}
    while market.worker("select private.grant_recordings(100)"):
        pass
    assert [market.owns(person, product) for person in (guest, back, buyer)] == [False, False, True]
    # The money did not arrive: seat and recording are theirs again.
    ours = refunds[back]["id"]
    market.provider_refund(orders[back]["payment_id"], 2000, f"re_{ours}", status="failed", ours=ours)
    while market.worker("select private.grant_recordings(100)"):
        pass
    assert [market.owns(person, product) for person in (guest, back, buyer)] == [False, True, True]


# -- 26 ---------------------------------------------------------------------------------------------------------------


def test_market_26_free_seats_end_without_a_refund(market: Market) -> None:
    host, (a, b, c) = market.sign_up(), [market.sign_up() for _ in range(3)]
    free = webinar(market, host, seats=2)
    register(market, a, free)
    register(market, b, free)
    wait(market, c, free)
    leave(market, a, free)
    assert seat(market, c, free)["status"] == "confirmed"
    market.rpc(host, "remove_registration", webinar_id=free, user_id=b, reason="rude")
    assert (taken(market, free), market.one("select count(*) from public.refunds")) == (1, 0)
    with refused("webinar_not_open"):
        register(market, b, free)
    with refused("state_changed"):
        market.rpc(host, "remove_registration", webinar_id=free, user_id=b, reason="rude")


def test_market_26_what_a_discount_made_free_ends_without_a_refund(market: Market) -> None:
    host, (guest, rude, waiting) = market.sign_up("standard"), [market.sign_up() for _ in range(3)]
    paid = webinar(market, host, 2000, seats=2)
    everything = code(market, coupon(market, host, percent_bps=10000))
    for person in (guest, rude):
        checkout(market, person, [paid], everything)
        assert seat(market, person, paid)["status"] == "confirmed"
    wait(market, waiting, paid)
    # Nothing was paid, so the host's limit is of no money.
    begin_in(market, paid, timedelta(hours=2))
    leave(market, guest, paid)
    assert seat(market, waiting, paid)["status"] == "offered"
    market.rpc(host, "remove_registration", webinar_id=paid, user_id=rude, reason="rude")
    assert (taken(market, paid), market.one("select count(*) from public.refunds")) == (1, 0)
    assert not market.owns(guest, paid)
    assert not market.owns(rude, paid)


@pytest.mark.parametrize("queue", [True, False])
def test_market_26_a_refund_that_fails_gives_the_seat_back(market: Market, queue: bool) -> None:
    host, (a, b, c, d) = market.sign_up("standard"), [market.sign_up() for _ in range(4)]
    paid = webinar(market, host, 2000, seats=2)
    order = market.buy(a, paid)
    market.buy(b, paid)
    refund = market.refund(host, market.line(order["order_id"]))
    assert seat(market, a, paid)["status"] == "refunded"
    # Resold.
    market.buy(c, paid)
    if queue:
        wait(market, d, paid)
    market.provider_refund(order["payment_id"], 2000, f"re_{refund['id']}", status="failed", ours=refund["id"])
    assert seat(market, a, paid)["status"] == "confirmed"
    assert (taken(market, paid), market.owns(a, paid)) == (3, True)
    assert market.one("select count(*) from public.audit_log where action = 'overbooked_by_failed_refund'") == 1
    # The next freed seat is not filled, the one after is.
    leave(market, c, paid)
    assert taken(market, paid) == 2
    if queue:
        assert seat(market, d, paid)["status"] == "waiting"
        leave(market, b, paid)
        assert seat(market, d, paid)["status"] == "offered"
    else:
        with refused("webinar_full"):
            market.checkout(d, paid)


def test_market_26_registered_again_and_the_refund_fails(market: Market) -> None:
    host, guest = market.sign_up("standard"), market.sign_up()
    paid = webinar(market, host, 2000, seats=2)
    order = market.buy(guest, paid)
    refund = market.refund(host, market.line(order["order_id"]))
    market.buy(guest, paid)
    market.provider_refund(order["payment_id"], 2000, f"re_{refund['id']}", status="failed", ours=refund["id"])
    # One seat for a person; people settle what was paid twice.
    assert taken(market, paid) == 1
    assert market.one("select count(*) from public.audit_log where action = 'refund_failed_after_resale'") == 1


# -- time of hosts, co-hosts, and those who are gone ------------------------------------------------------------------


def test_hosts_are_busy_while_they_host(market: Market) -> None:
    host, other, co_host = market.sign_up("premium"), market.sign_up("premium"), market.sign_up()
    at = datetime(2027, 5, 1, 10, 0)
    item = webinar(market, host, starts_local=at)
    with refused("slot_taken"):
        webinar(market, host, starts_local=at + timedelta(minutes=59))
    webinar(market, host, starts_local=at + timedelta(minutes=60))
    theirs = webinar(market, other, starts_local=at)
    for owner, which in ((host, item), (other, theirs)):
        market.rpc(owner, "invite_co_host", webinar_id=which, user_id=co_host)
    # Asked, nobody's time is taken; it is with their yes.
    market.rpc(co_host, "answer_co_hosting", webinar_id=item, accept=True)
    with refused("slot_taken"):
        market.rpc(co_host, "answer_co_hosting", webinar_id=theirs, accept=True)
    cancel(market, host, item)
    market.rpc(co_host, "answer_co_hosting", webinar_id=theirs, accept=True)
    with refused("plan_required"):
        basic = market.sign_up("standard")
        market.rpc(basic, "invite_co_host", webinar_id=webinar(market, basic), user_id=co_host)


def test_webinars_of_a_host_who_is_gone_are_cancelled(market: Market) -> None:
    host, guest = market.sign_up("standard"), market.sign_up()
    paid = webinar(market, host, 2000)
    market.buy(guest, paid)
    market.ban(host)
    (due,) = market.rows("select private.webinars_without_host(10) as id")
    assert due["id"] == paid
    assert market.worker("select private.cancel_for_host(%s)", paid) is True
    assert seat(market, guest, paid)["status"] == "cancelled"
    assert market.one("select amount_cents from public.refunds") == 2000
    assert market.worker("select private.cancel_for_host(%s)", paid) is False


def test_what_is_taken_down_when_it_would_begin_is_cancelled(market: Market) -> None:
    host, guest, admin = market.sign_up("standard"), market.sign_up(), market.sign_up(role="admin")
    paid = webinar(market, host, 2000)
    market.buy(guest, paid)
    market.rpc(admin, "hide_content", target_type="webinar", target_id=paid, reason="fraud")
    # There is time to show it again.
    assert market.rows("select private.webinars_without_host(10)") == []
    begin_in(market, paid, timedelta(minutes=25))
    (due,) = market.rows("select private.webinars_without_host(10) as id")
    assert due["id"] == paid
    assert market.worker("select private.cancel_for_host(%s)", paid) is True
    told = market.row("select status, cancelled_reason from public.webinars where id = %s", paid)
    assert told == {"status": "cancelled", "cancelled_reason": "It was taken down."}
    assert market.one("select amount_cents from public.refunds") == 2000


def test_who_hosts_it_does_not_wait_for_a_seat(market: Market) -> None:
    host, (a, b, co_host, next_one) = market.sign_up("premium"), [market.sign_up() for _ in range(4)]
    free = webinar(market, host, seats=2)
    register(market, a, free)
    register(market, b, free)
    wait(market, co_host, free)
    wait(market, next_one, free)
    market.rpc(host, "invite_co_host", webinar_id=free, user_id=co_host)
    market.rpc(co_host, "answer_co_hosting", webinar_id=free, accept=True)
    leave(market, a, free)
    assert seat(market, co_host, free)["status"] == "cancelled"
    assert seat(market, next_one, free)["status"] == "confirmed"


def test_asking_again_and_again_is_told_once(market: Market) -> None:
    host, asked = market.sign_up("premium"), market.sign_up()
    free = webinar(market, host)
    for _ in range(3):
        market.rpc(host, "invite_co_host", webinar_id=free, user_id=asked)
        market.rpc(host, "remove_co_host", webinar_id=free, user_id=asked)
    assert notices(market, asked) == ["webinar_co_host"]
    for _ in range(17):
        market.rpc(host, "invite_co_host", webinar_id=free, user_id=asked)
        market.rpc(host, "remove_co_host", webinar_id=free, user_id=asked)
    with refused("too_many_actions"):
        market.rpc(host, "invite_co_host", webinar_id=free, user_id=asked)


@pytest.mark.parametrize(
    ("starts", "problem"),
    [
        ("infinity", "time_too_far"),
        ("294276-12-31T23:59", "time_too_far"),
        ("20000-01-01T10:00", "time_too_far"),
        ("-infinity", "time_has_passed"),
        ("4713-01-01 BC", "time_has_passed"),
    ],
)
def test_times_nobody_comes_at(market: Market, starts: str, problem: str) -> None:
    host = market.sign_up()
    with refused(problem):
        webinar(market, host, starts_local=starts)


def test_zones_that_are_only_rules(market: Market) -> None:
    host = market.sign_up()
    for zone in ("Etc/GMT+99", "Etc/GMT+13", "Etc/GMT-15", "Etc/GMT+012"):
        with refused("time_zone_not_known"):
            webinar(market, host, time_zone=zone)
    webinar(market, host, time_zone="Etc/GMT-14")
    webinar(market, host, time_zone="Etc/GMT+12")


def test_who_cannot_be_given_a_seat_keeps_nobody_from_it(market: Market) -> None:
    host, (a, b, banned, d, e) = market.sign_up(), [market.sign_up() for _ in range(5)]
    for price in (0, 2000):
        item = webinar(market, host, price, seats=2)
        for person in (a, b):
            if price:
                market.buy(person, item)
            else:
                register(market, person, item)
        wait(market, banned, item)
        market.ban(banned)
        leave(market, a, item)
        with refused("seats_available"):
            wait(market, d, item)
        if price:
            market.buy(d, item)
        else:
            register(market, d, item)
        assert (seat(market, d, item)["status"], seat(market, banned, item)["status"]) == ("confirmed", "waiting")
        # Their place in the queue is as it was.
        market.unban(banned)
        wait(market, e, item)
        leave(market, b, item)
        assert seat(market, e, item)["status"] == "waiting"
        assert seat(market, banned, item)["status"] in ("confirmed", "offered")
