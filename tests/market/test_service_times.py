"""Sessions: when they are offered, who has them, and what becomes of them."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from tests.market.service_market import busy, details, line, mentor, service, session, slots
from tests.money.market import Market, refused

HOUR = dt.timedelta(hours=1)


def booked(
    market: Market, zone: str = "America/New_York", minutes: int = 60, count: int = 1
) -> tuple[str, list[tuple[str, str]]]:
    """A mentor and their booked services, each with its package."""
    seller = market.sign_up("standard")
    mentor(market, seller, zone)
    made = []
    for _ in range(count):
        item, (small,) = service(market, seller, 2000, session_minutes=minutes, is_mentoring=True)
        made.append((item, small))
    return seller, made


def test_market_13_one_mentor_two_services_same_hour(market: Market) -> None:
    """Held, also unpaid, by one service: taken for the other, and not shown for either."""
    seller, ((first, package), (second, other)) = booked(market, count=2)
    buyer, rival = market.sign_up(), market.sign_up()
    slot = slots(market, rival, second)[4]
    order = market.checkout(buyer, line(first, package, session=session(slot)))
    assert slot["starts_at"] not in [free["starts_at"] for free in slots(market, rival, second)]
    with refused("slot_taken"):
        market.checkout(rival, line(second, other, session=session(slot)))
    # Half an hour later overlaps, an hour later does not: the end is not included.
    with refused("slot_taken"):
        market.checkout(rival, line(second, other, session={"starts_at": (slot["starts_at"] + HOUR / 2).isoformat()}))
    later = {"starts_at": slot["ends_at"].isoformat()}
    market.checkout(rival, line(second, other, session=later))
    # The buyer's time as well: nobody is in two sessions.
    _, ((elsewhere, third),) = booked(market)
    with refused("slot_taken"):
        market.checkout(buyer, line(elsewhere, third, session=session(slot)))
    market.start(buyer, order["payment_id"])
    assert market.succeed(order["payment_id"]) == "processed"
    kept = details(market, order["order_id"])["session"]
    assert dt.datetime.fromisoformat(kept["starts_at"]) == slot["starts_at"]
    assert kept["time_zone"] == "America/New_York"
    assert (busy(market, seller), busy(market, buyer)) == (2, 1)


def test_what_webinars_take_is_not_sold_as_a_session(market: Market) -> None:
    """Whatever takes the mentor's time, of whichever kind, has it."""
    seller, ((item, package),) = booked(market)
    buyer = market.sign_up()
    slot = slots(market, buyer, item)[4]
    market.rows(
        "select private.take_time('product', gen_random_uuid(), array[%s]::uuid[], %s, %s)",
        seller,
        slot["starts_at"] + HOUR / 4,
        slot["ends_at"],
    )
    with refused("slot_taken"):
        market.checkout(buyer, line(item, package, session=session(slot)))


def test_a_session_is_free_again_when_its_order_ends_unpaid(market: Market) -> None:
    """Cancelled by the buyer, or run out."""
    seller, ((item, package),) = booked(market)
    buyer, rival = market.sign_up(), market.sign_up()
    slot = slots(market, rival, item)[0]
    order = market.checkout(buyer, line(item, package, session=session(slot)))
    market.rpc(buyer, "cancel_order", order_id=order["order_id"])
    assert busy(market, seller) == busy(market, buyer) == 0
    order = market.checkout(rival, line(item, package, session=session(slot)))
    market.rows("update public.payments set expires_at = now() where id = %s", order["payment_id"])
    assert market.worker("select private.expire_unstarted_payments(10)") == 1
    assert busy(market, seller) == 0
    market.buy(buyer, line(item, package, session=session(slot)))
    assert busy(market, seller) == 1


@pytest.mark.parametrize("is_taken", [False, True], ids=["still free", "somebody else's"])
def test_money_that_comes_late_gets_the_session_or_goes_back(market: Market, is_taken: bool) -> None:
    """After the order was given up: delivered while the hour is free, else refunded in full, and no event is dead."""
    seller, ((item, package),) = booked(market)
    buyer, rival = market.sign_up(), market.sign_up()
    slot = slots(market, rival, item)[0]
    order = market.checkout(buyer, line(item, package, session=session(slot)))
    market.start(buyer, order["payment_id"])
    market.worker("select private.payment_cancelled(%s)", order["payment_id"])
    assert market.status("orders", order["order_id"]) == "cancelled"
    if is_taken:
        market.buy(rival, line(item, package, session=session(slot)))
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.status("orders", order["order_id"]) == ("cancelled" if is_taken else "completed")
    assert busy(market, seller) == 1
    assert busy(market, buyer) == (0 if is_taken else 1)
    refunds = market.rows("select amount_cents from public.refunds where payment_id = %s", order["payment_id"])
    assert [refund["amount_cents"] for refund in refunds] == ([2000] if is_taken else [])


def test_money_that_comes_after_the_session_began_goes_back(market: Market) -> None:
    """Nobody pays for an hour that is over."""
    seller, ((item, package),) = booked(market)
    buyer = market.sign_up()
    slot = slots(market, buyer, item)[0]
    order = market.checkout(buyer, line(item, package, session=session(slot)))
    market.start(buyer, order["payment_id"])
    market.worker("select private.payment_cancelled(%s)", order["payment_id"])
    market.rows(
        "update public.order_items set details = jsonb_set(details, '{session,starts_at}', '\"2026-01-01T00:00:00Z\"') "
        "where order_id = %s",
        order["order_id"],
    )
    assert market.succeed(order["payment_id"]) == "processed"
    assert busy(market, seller) == 0
    assert market.one("select count(*) from public.refunds where payment_id = %s", order["payment_id"]) == 1


def test_a_buyer_who_tries_again_keeps_the_session_or_moves_it(market: Market) -> None:
    """One unpaid attempt at a service's sessions each: nobody holds a mentor's whole week; money for both settles."""
    seller, ((item, package),) = booked(market)
    buyer = market.sign_up()
    one, other = slots(market, buyer, item)[:2]
    first = market.checkout(buyer, line(item, package, session=session(one)))
    market.start(buyer, first["payment_id"])
    second = market.checkout(buyer, line(item, package, session=session(one)))
    third = market.checkout(buyer, line(item, package, session=session(other)))
    assert [market.status("orders", order["order_id"]) for order in (first, second, third)] == [
        "pending",
        "cancelled",
        "pending",
    ]
    assert busy(market, seller) == 1
    market.start(buyer, third["payment_id"])
    assert market.succeed(third["payment_id"]) == "processed"
    # The first overlaps nothing or the half of it: `one` and `other` are half an hour apart.
    assert market.succeed(first["payment_id"]) == "processed"
    assert market.one("select count(*) from public.refunds where payment_id = %s", first["payment_id"]) == 1
    assert busy(market, seller) == 1


@pytest.mark.parametrize("price", [0, 2000])
def test_what_is_paid_at_once_has_its_session_at_once(market: Market, price: int) -> None:
    """From the wallet, or free."""
    seller = market.sign_up("standard")
    mentor(market, seller)
    item, (package,) = service(market, seller, price, session_minutes=60)
    buyer, rival = market.sign_up(), market.sign_up()
    for who in (buyer, rival):
        market.fund(who, 5000)
    slot = slots(market, buyer, item)[0]
    order = market.checkout(buyer, line(item, package, session=session(slot)), provider="wallet")
    assert order["status"] == "completed"
    with refused("slot_taken"):
        market.checkout(rival, line(item, package, session=session(slot)), provider="wallet")
    assert market.wallet(rival)[0] == 5000


def test_a_session_given_back_is_free_and_comes_back_with_a_failed_refund(market: Market) -> None:
    """What the hooks revoke and restore call."""
    seller, ((item, package),) = booked(market)
    buyer, rival = market.sign_up(), market.sign_up()
    slot = slots(market, buyer, item)[0]
    bought = market.line(market.buy(buyer, line(item, package, session=session(slot)))["order_id"])
    market.rows("select private.free_service_time(array[%s]::uuid[])", bought)
    assert busy(market, seller) == busy(market, buyer) == 0
    market.rows("select private.restore_service_time(array[%s]::uuid[])", bought)
    assert busy(market, seller) == busy(market, buyer) == 1
    market.rows("select private.free_service_time(array[%s]::uuid[])", bought)
    market.buy(rival, line(item, package, session=session(slot)))
    market.rows("select private.restore_service_time(array[%s]::uuid[])", bought)
    assert busy(market, buyer) == 0
    assert market.one("select count(*) from public.audit_log where action = 'refund_failed_after_rebooking'") == 1


def test_buffers_notice_window_and_days_of_their_own(market: Market) -> None:
    """What the seller says is what is offered; a buffer is the seller's alone."""
    seller, ((item, package),) = booked(market)
    buyer = market.sign_up()
    zone = ZoneInfo("America/New_York")
    free = slots(market, buyer, item, days=30)
    noon = next(
        slot
        for slot in free
        if slot["starts_at"].astimezone(zone).hour == 12 and slot["starts_at"] > free[40]["starts_at"]
    )
    assert {(slot["starts_at"].astimezone(zone).hour, slot["starts_at"].minute) for slot in free[40:200]} == {
        (hour, minute) for hour in range(9, 17) for minute in (0, 30) if (hour, minute) != (16, 30)
    }
    market.member(seller, "update public.availability set buffer_before_minutes = 30, buffer_after_minutes = 15")
    market.buy(buyer, line(item, package, session=session(noon)))

    def that_day() -> set[str]:
        day = noon["starts_at"].astimezone(zone).date()
        return {
            slot["starts_at"].astimezone(zone).strftime("%H:%M")
            for slot in slots(market, buyer, item, days=30)
            if slot["starts_at"].astimezone(zone).date() == day
        }

    # Busy from 11:30 to 13:15, and each session needs its own half hour before and quarter after: 10:15 … 13:45.
    assert that_day() == {"09:00", "09:30", "10:00", "14:00", "14:30", "15:00", "15:30", "16:00"}
    day = noon["starts_at"].astimezone(zone).date()
    market.member(
        seller,
        "insert into public.availability_overrides (day, from_time, until_time) values (%s, '19:00', '20:30')",
        day,
    )
    assert that_day() == {"19:00", "19:30"}
    market.member(seller, "update public.availability_overrides set from_time = null, until_time = null")
    assert that_day() == set()
    market.member(seller, "update public.availability set notice_minutes = 2880, window_days = 3")
    left = slots(market, buyer, item, days=30)
    now = market.one("select clock_timestamp()")
    assert all(now + 47 * HOUR < slot["starts_at"] < now + 73 * HOUR for slot in left)
    with refused("slot_not_available"):
        market.checkout(buyer, line(item, package, session=session(noon)))


def test_what_a_buyer_sends_of_a_session(market: Market) -> None:
    """An instant with its offset, or a clock's time with its zone; nothing else, and not for what is not booked."""
    _, ((item, package),) = booked(market)
    buyer = market.sign_up()
    plain, (small,) = service(market, market.sign_up(), 2000)
    slot = slots(market, buyer, item, zone="Europe/Berlin")[0]
    with refused("session_required"):
        market.checkout(buyer, line(item, package))
    with refused("line_not_valid"):
        market.checkout(buyer, line(plain, small, session=session(slot)))
    for malformed in (
        {},
        {"starts_at": slot["starts_at"].strftime("%Y-%m-%dT%H:%M")},
        {"starts_at": "2026-02-30T10:00:00Z"},
        {"starts_local": slot["starts_local"].isoformat()},
        {**session(slot), "starts_local": slot["starts_local"].isoformat(), "time_zone": "Europe/Berlin"},
        {**session(slot), "minutes": 30},
        "tomorrow",
    ):
        with refused("line_not_valid"):
            market.checkout(buyer, line(item, package, session=malformed))
    for zone in ("Mars/Olympus", "EST", "Foo/Bar+5", "CET-1CEST", "+02:00"):
        with refused("time_zone_not_known"):
            market.checkout(buyer, line(item, package, session={**session(slot), "time_zone": zone}))
    local = {"starts_local": slot["starts_local"].isoformat(), "time_zone": "Europe/Berlin"}
    order = market.checkout(buyer, line(item, package, session=local))
    kept = details(market, order["order_id"])["session"]
    assert dt.datetime.fromisoformat(kept["starts_at"]) == slot["starts_at"]
    assert kept["time_zone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    ("zone", "gap", "twice"),
    [
        ("America/New_York", "2027-03-14 02:30", "2027-11-07 01:30"),
        ("Europe/Berlin", "2027-03-28 02:30", "2027-10-31 02:30"),
        ("Australia/Lord_Howe", "2027-10-03 02:15", "2027-04-04 01:45"),
        ("Africa/Cairo", "2027-04-30 00:30", "2027-10-28 23:30"),
    ],
)
def test_market_23_local_times_that_do_not_exist_or_come_twice(market: Market, zone: str, gap: str, twice: str) -> None:
    """Gap: time_does_not_exist. Repeated: time_is_ambiguous unless it is said which; the two are apart as clocks go."""
    for code, local in (("time_does_not_exist", gap), ("time_is_ambiguous", twice)):
        with refused(code), market.connection.transaction():
            market.rows("select private.instant_of(%s::timestamp, %s)", local, zone)
    for fold, which in enumerate(("earlier", "later")):
        said = market.one("select private.instant_of(%s::timestamp, %s, %s)", twice, zone, which)
        # Python calls times that come twice in different zones never equal.
        meant = dt.datetime.fromisoformat(twice).replace(tzinfo=ZoneInfo(zone), fold=fold)
        assert said == meant.astimezone(dt.UTC)
    # The session's own words give the same answers.
    _, ((item, package),) = booked(market, zone)
    buyer = market.sign_up()
    for code, local in (("time_does_not_exist", gap), ("time_is_ambiguous", twice)):
        with refused(code):
            market.checkout(
                buyer, line(item, package, session={"starts_local": local.replace(" ", "T"), "time_zone": zone})
            )


def test_market_04_what_a_client_says_its_zone_is_changes_nothing(market: Market) -> None:
    """The session's setting, which PostgREST lets every client choose, moves no slot."""
    _, ((item, _),) = booked(market)
    buyer = market.sign_up()
    seen = []
    for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles"):
        market.rows("select set_config('TimeZone', %s, true)", zone)
        seen.append([slot["starts_at"].timestamp() for slot in slots(market, buyer, item, days=10)])
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]


ZONES = (
    "America/New_York",
    "Europe/Berlin",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/Santiago",
)
MINUTE = dt.timedelta(minutes=1)


def clock(day: dt.date, zone: ZoneInfo) -> list[tuple[dt.datetime, dt.datetime]]:
    """Each minute from the evening before a day to the morning after it: the instant and what the clock shows."""
    start = dt.datetime.combine(day, dt.time(), dt.UTC) - 26 * HOUR
    minutes = [start + n * MINUTE for n in range(76 * 60)]
    return [(at, at.astimezone(zone).replace(tzinfo=None)) for at in minutes]


def expected(
    day: dt.date, zone: ZoneInfo, from_hour: float, until_hour: float, length: dt.timedelta
) -> list[dt.datetime]:
    """By looking at the clock: from the first minute within the hours, every half hour, over by their last end."""
    midnight = dt.datetime.combine(day, dt.time())
    first_local, last_local = (midnight + hours * HOUR for hours in (from_hour, until_hour))
    shown = clock(day, zone)
    exact = [at for at, local in shown if local == first_local]
    first = exact[0] if exact else next(at for at, local in shown if local >= first_local)
    exact = [at for at, local in shown if local == last_local]
    last = exact[-1] if exact else next(at for at, local in shown if local >= last_local)
    local_of = dict(shown)
    found = []
    at = first
    while at + length <= last:
        if first_local <= local_of[at] < last_local:
            found.append(at)
        at += 30 * MINUTE
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_slots_follow_the_clock_over_every_change_of_two_years(market: Market, zone: str) -> None:
    """Nights from 0:30 to 4:30 and late evenings, on the days around each change of 2026 and 2027 and some others."""
    seller = market.sign_up()
    mentor(market, seller, zone)
    market.rows("update public.availability set window_days = 365")
    market.rows("delete from public.availability_hours")
    there = ZoneInfo(zone)
    days = [dt.date(2026, 1, 1) + n * dt.timedelta(days=1) for n in range(729)]
    changes = [
        day
        for day in days
        if dt.datetime.combine(day, dt.time(), there).utcoffset()
        != dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), there).utcoffset()
    ]
    assert len(changes) == 4
    now = market.one("select clock_timestamp()")
    near = {day + n * dt.timedelta(days=1) for day in changes for n in (-1, 0, 1)} | set(days[::60])
    for day in sorted(near):
        for hours in ((0.5, 4.5), (1.5, 2.5), (22.5, 24.0), (0.0, 24.0)):
            local = market.rows(
                "select t.at from (select %s::date + %s * interval '1 hour' as f, "
                "%s::date + %s * interval '1 hour' as u) "
                "as h cross join lateral private.slots_between(h.f, h.u, %s, 60, 30) as t (at) order by 1",
                day,
                hours[0],
                day,
                hours[1],
                zone,
            )
            assert [row["at"] for row in local] == expected(day, there, *hours, HOUR), (day, hours)
    # And as buyers see them, on the changes that are ahead of us and within a year.
    item, _ = service(market, seller, 2000, session_minutes=60)
    ahead = [day for day in changes if now.date() + dt.timedelta(days=2) < day < now.date() + dt.timedelta(days=360)]
    assert ahead
    for day in ahead:
        market.member(
            seller,
            "insert into public.availability_overrides (day, from_time, until_time) values (%s, '00:00', '24:00')",
            day,
        )
        found = market.member(
            seller,
            "select starts_at from public.available_slots(%s, %s, %s)",
            item,
            dt.datetime.combine(day, dt.time(), dt.UTC) - 24 * HOUR,
            dt.datetime.combine(day, dt.time(), dt.UTC) + 48 * HOUR,
        )
        assert [row["starts_at"] for row in found] == expected(day, there, 0, 24, HOUR)
