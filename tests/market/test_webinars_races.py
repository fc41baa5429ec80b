"""Many people at one webinar, on connections of their own: one seat is one person's, no orphan money, one refund."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.harness.server import Database
from tests.market.webinars import (
    begin_in,
    cost,
    each,
    leave,
    pass_deadline,
    pay_offer,
    register,
    seat,
    states,
    taken,
    utc_now,
    wait,
    webinar,
)
from tests.money.market import Json, Market
from tests.money.races import committing, crowd, together


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits."""
    with committing(database) as market:
        yield market


def no_orphans(market: Market, item: str) -> None:
    """Every payment for it that arrived has a live seat, or goes back in full."""
    for payment in market.rows(
        "select p.* from public.payments as p where p.succeeded_at is not null and exists ("
        "select from public.order_items as i where i.order_id = p.order_id and i.item_id = %s)",
        item,
    ):
        rights = market.one(
            "select count(*) from public.purchases as p join public.order_items as i on i.id = p.order_item_id "
            "where i.order_id = %s and p.revoked_at is null",
            payment["order_id"],
        )
        back = market.one(
            "select coalesce(sum(amount_cents), 0)::integer from public.refunds where payment_id = %s", payment["id"]
        )
        assert (rights, back) in ((1, 0), (0, payment["amount_cents"]))


def test_market_14_fifty_at_the_last_free_seat(database: Database, market: Market) -> None:
    host, first = market.sign_up(), market.sign_up()
    people = [market.sign_up() for _ in range(50)]
    item = webinar(market, host, seats=2)
    register(market, first, item)
    results = crowd(database, each(people, lambda m, p: register(m, p, item)["status"]))
    assert Counter(results) == {"confirmed": 1, "webinar_full": 49}
    assert (taken(market, item), states(market, item)) == (2, {"confirmed": 2})


def test_market_14_fifty_at_the_last_paid_seat(database: Database, market: Market) -> None:
    host, first = market.sign_up("standard"), market.sign_up()
    people = [market.sign_up() for _ in range(50)]
    item = webinar(market, host, 2000, seats=2)
    market.buy(first, item)

    def buy(m: Market, person: str) -> str:
        order = m.checkout(person, item)
        m.start(person, order["payment_id"])
        return m.succeed(order["payment_id"])

    results = crowd(database, each(people, buy))
    assert Counter(results) == {"processed": 1, "webinar_full": 49}
    assert (taken(market, item), states(market, item)) == (2, {"confirmed": 2})
    no_orphans(market, item)


def test_market_14_payments_of_ended_holds_arrive_together(database: Database, market: Market) -> None:
    """Twenty late successes for one free seat: one gets it, all others their money."""
    host, first = market.sign_up("standard"), market.sign_up()
    people = [market.sign_up() for _ in range(12)]
    item = webinar(market, host, 2000, seats=2)
    market.buy(first, item)
    late = []
    for person in people:
        order = market.checkout(person, item)
        market.start(person, order["payment_id"])
        market.worker("select private.payment_cancelled(%s)", order["payment_id"])
        late.append(order["payment_id"])
    results = crowd(database, each(late, lambda m, p: m.succeed(p)))
    assert Counter(results) == {"processed": 12}
    assert (taken(market, item), states(market, item)) == (2, {"confirmed": 2, "expired": 11})
    no_orphans(market, item)


def test_market_16_the_queue_keeps_its_order(database: Database, market: Market) -> None:
    host = market.sign_up()
    seated, queue = [market.sign_up() for _ in range(8)], [market.sign_up() for _ in range(8)]
    item = webinar(market, host, seats=8)
    for person in seated:
        register(market, person, item)
    for person in queue:
        wait(market, person, item)
    outsiders = [market.sign_up() for _ in range(8)]
    leaving = each(seated[:5], lambda m, p: leave(m, p, item)["status"])
    pushing = each(outsiders, lambda m, p: register(m, p, item)["status"])
    results = crowd(database, [job for pair in zip(leaving, pushing, strict=False) for job in pair] + pushing[5:])
    assert Counter(results) == {"cancelled": 5, "webinar_full": 8}
    assert [seat(market, person, item)["status"] for person in queue] == ["confirmed"] * 5 + ["waiting"] * 3
    assert taken(market, item) == 8


def test_market_16_an_offer_is_paid_expires_and_is_declined_at_once(database: Database, market: Market) -> None:
    """Whatever comes first, the seat is one person's and the queue moves by at most one."""
    host, (a, b, c, d) = market.sign_up("standard"), [market.sign_up() for _ in range(4)]
    for _ in range(5):
        item = webinar(market, host, 2000, seats=2)
        market.buy(a, item)
        order = market.buy(b, item)
        wait(market, c, item)
        wait(market, d, item)
        market.refund(host, market.line(order["order_id"]))
        market.fund(c, 2000)
        payable = seat(market, c, item)["payable_id"]
        pass_late = seat(market, c, item)["offer_expires_at"]
        assert pass_late > utc_now()

        def pay(m: Market, payable: str = payable) -> Json:
            return m.pay_agreed(c, payable, provider="wallet")["status"]

        def decline(m: Market, item: str = item) -> Json:
            return leave(m, c, item)["status"]

        def sweep(m: Market) -> Json:
            return m.worker("select private.sweep_offers(10)")

        results = together(database, [pay, decline, sweep])
        after = (seat(market, c, item)["status"], seat(market, d, item)["status"])
        assert after in (("confirmed", "waiting"), ("cancelled", "offered")), results
        assert taken(market, item) == 2
        no_orphans(market, item)
        if seat(market, d, item)["status"] == "offered":
            pass_deadline(market, d, item)
            together(database, [sweep, sweep, sweep])
            assert (taken(market, item), seat(market, d, item)["status"]) == (1, "expired")


def test_market_17_one_seat_is_freed_once(database: Database, market: Market) -> None:
    host, guest, waiting = market.sign_up("standard"), market.sign_up(), [market.sign_up() for _ in range(3)]
    item = webinar(market, host, 2000, seats=2)
    market.buy(market.sign_up(), item)
    order = market.buy(guest, item)
    for person in waiting:
        wait(market, person, item)
    line = market.line(order["order_id"])
    results = together(
        database,
        [
            lambda m: leave(m, guest, item)["status"],
            lambda m: leave(m, guest, item)["status"],
            lambda m: m.rpc(host, "remove_registration", webinar_id=item, user_id=guest, reason="rude")["status"],
            lambda m: m.request_refund(host, line)["status"],
        ],
    )
    assert taken(market, item) == 2
    offered = [seat(market, person, item)["status"] for person in waiting]
    assert offered[1:] == ["waiting", "waiting"], results
    for refund in market.rows("select id, amount_cents from public.refunds where payment_id = %s", order["payment_id"]):
        assert refund["amount_cents"] == 2000
        market.refund_arrives(refund["id"])
    assert [seat(market, person, item)["status"] for person in waiting] == ["offered", "waiting", "waiting"]
    assert taken(market, item) == 2
    no_orphans(market, item)


def test_market_18_two_hundred_seats_cancelled_by_one_call(database: Database, market: Market) -> None:
    """Once each, across a worker that dies with refunds half sent; at the cost that was announced."""
    host = market.sign_up("standard")
    guests = [market.sign_up() for _ in range(200)]
    item = webinar(market, host, 2000, seats=200)
    crowd(database, each(guests, lambda m, g: m.buy(g, item)["status"]))
    assert taken(market, item) == 200
    announced = cost(market, host, item)
    assert announced["host_cost_cents"] == 17600

    def cancel(m: Market) -> str:
        m.rpc(host, "cancel_webinar", webinar_id=item, reason="ill", agreed_cost_cents=17600)
        return "cancelled"

    results = together(database, [cancel, cancel, cancel])
    assert results.count("cancelled") == 1
    assert set(results) <= {"cancelled", "state_changed", "webinar_busy"}
    asked = "select id from public.refunds where reason = 'webinar_cancelled' and status = 'requested'"
    refunds = [row["id"] for row in market.rows(asked)]
    assert len(refunds) == 200
    # The worker sends some, is told of some of those, and dies; another begins anew with all of them.
    for refund in refunds[:80]:
        assert market.claim_refund(refund) is not None
    for refund in refunds[:40]:
        market.worker("select private.record_refund(%s, %s, 'succeeded')", refund, f"re_{refund}")

    def arrive(m: Market, refund: str) -> None:
        if m.claim_refund(refund) is not None:
            m.worker("select private.record_refund(%s, %s, 'succeeded')", refund, f"re_{refund}")

    crowd(database, each(refunds + refunds, arrive))
    of_it = "select {} from public.refunds where reason = 'webinar_cancelled' and status = 'succeeded'"
    assert market.one(of_it.format("sum(amount_cents)::integer")) == 400_000
    assert market.one(of_it.format("count(distinct payment_id)")) == 200
    assert market.wallet(host) == (0, 0, 17600)
    assert states(market, item) == {"cancelled": 200}


def test_market_18_cancelled_while_people_pay(database: Database, market: Market) -> None:
    """Whoever pays in that moment has a seat that is given back, or gets the money back: nobody has neither."""
    host = market.sign_up("standard")
    guests = [market.sign_up() for _ in range(16)]
    item = webinar(market, host, 2000, seats=50)
    orders = []
    for guest in guests:
        order = market.checkout(guest, item)
        market.start(guest, order["payment_id"])
        orders.append(order)

    def cancel(m: Market) -> str:
        for _ in range(100):
            try:
                agreed = cost(m, host, item)["host_cost_cents"]
                m.rpc(host, "cancel_webinar", webinar_id=item, reason="ill", agreed_cost_cents=agreed)
            except Exception as error:
                if "cost_changed" not in str(getattr(getattr(error, "diag", None), "message_hint", "")):
                    raise
            else:
                return "cancelled"
        return "never"

    pays = each([order["payment_id"] for order in orders], lambda m, payment: m.succeed(payment))
    results = together(database, [cancel, *pays])
    assert results[0] == "cancelled"
    # A success that met the cancellation is tried again by the inbox.
    for order in orders:
        market.succeed(order["payment_id"])
    no_orphans(market, item)
    assert (taken(market, item), states(market, item)) == (0, {"cancelled": 16})
    assert (
        market.one(
            "select sum(r.amount_cents)::integer from public.refunds as r join public.payments as p on "
            "p.id = r.payment_id join public.order_items as i on i.order_id = p.order_id "
            "where i.item_id = %s",
            item,
        )
        == 16 * 2000
    )


def test_market_25_two_clicks_convert_once(database: Database, market: Market) -> None:
    host, guests = market.sign_up(), [market.sign_up() for _ in range(5)]
    item = webinar(market, host, seats=20)
    for guest in guests:
        register(market, guest, item)
    with market.connection.transaction():
        begin_in(market, item, -timedelta(hours=2))
    results = together(database, [lambda m: m.rpc(host, "convert_recording", webinar_id=item)["id"]] * 4)
    assert len(set(results)) == 1
    assert market.one("select count(*) from public.purchases where item_id = %s", results[0]) == 5


def test_hosts_of_one_hour(database: Database, market: Market) -> None:
    host = market.sign_up()
    at = utc_now().replace(tzinfo=None, microsecond=0) + timedelta(days=90)
    results = together(
        database, each(map(str, range(8)), lambda m, n: webinar(m, host, starts_local=at + timedelta(minutes=int(n))))
    )
    assert sum(result == "slot_taken" for result in results) == 7


def test_capacity_is_cut_while_people_register(database: Database, market: Market) -> None:
    host, guests = market.sign_up(), [market.sign_up() for _ in range(10)]
    item = webinar(market, host, seats=10)

    def cut(m: Market) -> str:
        m.member(host, "update public.webinars set max_attendees = 5 where id = %s", item)
        return "cut"

    results = together(database, [cut, *each(guests, lambda m, g: register(m, g, item)["status"])])
    seats = market.one("select max_attendees from public.webinars where id = %s", item)
    assert results[0] in ("cut", "capacity_below_registrations")
    assert taken(market, item) == Counter(results)["confirmed"] <= seats


def test_paying_an_offer_counts_it_once(market: Market) -> None:
    host, (a, b, c) = market.sign_up("standard"), [market.sign_up() for _ in range(3)]
    item = webinar(market, host, 2000, seats=2)
    market.buy(a, item)
    order = market.buy(b, item)
    wait(market, c, item)
    market.refund(host, market.line(order["order_id"]))
    assert taken(market, item) == 2
    pay_offer(market, c, item)
    assert taken(market, item) == 2
