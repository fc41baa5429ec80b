"""A host enters what a clock shows in some zone; a guest elsewhere reads an instant. Every gap and every overlap of
2026 and 2027 in six zones, as the zone data of Python has them: found by walking, none is typed in by hand.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.market.webinars import seat, wait, webinar
from tests.money.market import Market, refused

ZONES = [
    "America/New_York",
    "Europe/Berlin",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/Santiago",
]


def changes(zone: str) -> list[tuple[datetime, timedelta]]:
    """Instants of 2026 and 2027 at which a zone's clocks change, and by how much."""
    found, at = [], datetime(2026, 1, 1, tzinfo=UTC)
    clock = ZoneInfo(zone)
    while at < datetime(2028, 1, 1, tzinfo=UTC):
        later = at + timedelta(minutes=30)
        before, after = at.astimezone(clock).utcoffset(), later.astimezone(clock).utcoffset()
        assert before is not None
        assert after is not None
        if before != after:
            found.append((later, after - before))
        at = later
    return found


CHANGES = [(zone, at, by) for zone in ZONES for at, by in changes(zone)]


def instant(market: Market, zone: str, local: datetime, second: bool | None = None) -> datetime:
    """What the database makes of it, in a session whose own zone is elsewhere."""
    with market.connection.transaction():
        which = None if second is None else ("later" if second else "earlier")
        found: datetime = market.one("select private.instant_of(%s, %s, %s)", local, zone, which)
    return found.astimezone(UTC)


def test_every_zone_changes_its_clocks_four_times() -> None:
    assert {zone: len([1 for z, _, _ in CHANGES if z == zone]) for zone in ZONES} == dict.fromkeys(ZONES, 4)


@pytest.mark.parametrize(("zone", "at", "by"), CHANGES, ids=[f"{z}-{at:%Y-%m-%d}" for z, at, _ in CHANGES])
def test_market_23_each_gap_and_overlap(market: Market, zone: str, at: datetime, by: timedelta) -> None:
    clock, host = ZoneInfo(zone), market.sign_up()
    market.rows("set local time zone 'Pacific/Auckland'")
    # What clocks show as they are put on or back.
    shown = (at - timedelta(microseconds=1)).astimezone(clock).replace(tzinfo=None) + timedelta(microseconds=1)
    inside = shown + abs(by) / 2 if by > timedelta(0) else shown - abs(by) / 2
    now = datetime.now(UTC)
    if by > timedelta(0):
        for none in (shown, inside, shown + by - timedelta(seconds=1)):
            with refused("time_does_not_exist"):
                instant(market, zone, none)
        assert instant(market, zone, shown + by) == at
        assert instant(market, zone, shown - timedelta(seconds=1)) == at - timedelta(seconds=1)
        if at > now:
            with refused("time_does_not_exist"):
                webinar(market, host, starts_local=inside, time_zone=zone)
        return
    first, second = at - abs(by) / 2, at + abs(by) / 2
    with refused("time_is_ambiguous"):
        instant(market, zone, inside)
    assert (instant(market, zone, inside, False), instant(market, zone, inside, True)) == (first, second)
    # The edges: the last moment before it comes twice, and the first after.
    assert instant(market, zone, shown) == at + abs(by)
    assert instant(market, zone, shown + by - timedelta(seconds=1)) == at + by - timedelta(seconds=1)
    if at > now:
        with refused("time_is_ambiguous"):
            webinar(market, host, starts_local=inside, time_zone=zone)
        item = webinar(market, host, starts_local=inside, time_zone=zone, is_second_hour=True, duration_minutes=120)
        # Whoever reads it elsewhere reads an instant, and an end so many minutes later.
        market.rows("set local time zone 'America/Los_Angeles'")
        row = market.row("select * from public.webinars where id = %s", item)
        assert row["starts_at"].astimezone(UTC) == second
        assert row["ends_at"] - row["starts_at"] == timedelta(hours=2)
        assert row["starts_local"] == inside


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/New_York", "Australia/Lord_Howe"])
def test_market_23_a_client_that_prefers_a_zone_moves_no_deadline(market: Market, zone: str) -> None:
    """Each deadline is as many elapsed hours ahead, whatever the session's zone and whatever clocks do meanwhile."""
    host, (a, b, c) = market.sign_up(), [market.sign_up() for _ in range(3)]
    market.rows(f"set local time zone '{zone}'")
    item = webinar(market, host, 2000, seats=2)
    market.buy(a, item)
    order = market.buy(b, item)
    wait(market, c, item)
    market.refund(host, market.line(order["order_id"]))
    offered = seat(market, c, item)
    assert abs(offered["offer_expires_at"] - datetime.now(UTC) - timedelta(hours=24)) < timedelta(minutes=1)
    # Moved over a night in which clocks there change: the limit of 24 hours is 24 hours.
    market.rpc(
        host,
        "reschedule_webinar",
        webinar_id=item,
        starts_local=datetime(2027, 3, 14, 12, 0),
        time_zone="America/New_York",
    )
    row = market.row("select * from public.webinars where id = %s", item)
    assert row["starts_at"].astimezone(UTC) == datetime(2027, 3, 14, 16, 0, tzinfo=UTC)
    opens = market.one(
        "select starts_at - (select join_before from private.settings) from public.webinars where id = %s", item
    )
    assert opens.astimezone(UTC) == datetime(2027, 3, 14, 15, 30, tzinfo=UTC)
