"""What tests of webinars do with a market: host, register, wait, pay, and let time pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.money.market import Json, Market, number
from tests.money.races import Job

DAYS = timedelta(days=1)


def utc_now() -> datetime:
    """Now."""
    return datetime.now(UTC)


def webinar(market: Market, host: str, price_cents: int = 0, seats: int | None = None, **more: Json) -> str:
    """A webinar in thirty days, unless told otherwise; each of its own hour, as a host has one at a time."""
    no = number()
    starts = (utc_now() + 30 * DAYS).replace(minute=0, second=0, microsecond=0) + timedelta(hours=3 * no)
    columns = {
        "title": f"Webinar {no}",
        "starts_local": starts.replace(tzinfo=None),
        "time_zone": "UTC",
        "price_cents": price_cents,
        "max_attendees": seats,
        **more,
    }
    (row,) = market.member(
        host,
        f"insert into public.webinars ({', '.join(columns)}) values ({', '.join(['%s'] * len(columns))}) returning id",
        *columns.values(),
    )
    return str(row["id"])


def register(market: Market, user: str, item: str) -> Json:
    """A seat in a free one."""
    return market.rpc(user, "register_for_webinar", webinar_id=item)


def wait(market: Market, user: str, item: str) -> Json:
    """A place in the queue."""
    return market.rpc(user, "join_waiting_list", webinar_id=item)


def leave(market: Market, user: str, item: str) -> Json:
    """Give up the seat, the offer or the place."""
    return market.rpc(user, "cancel_registration", webinar_id=item)


def seat(market: Market, user: str, item: str) -> Json:
    """Somebody's registration as it is noted."""
    return market.row("select * from public.webinar_registrations where webinar_id = %s and user_id = %s", item, user)


def states(market: Market, item: str) -> dict[str, int]:
    """How many registrations are in which state."""
    rows = market.rows(
        "select status, count(*)::integer as n from public.webinar_registrations where webinar_id = %s group by 1", item
    )
    return {row["status"]: row["n"] for row in rows}


def taken(market: Market, item: str) -> int:
    """Seats that are taken, as counted under the lock."""
    return int(market.one("select taken from public.catalog_items where id = %s", item))


def begin_in(market: Market, item: str, delta: timedelta) -> None:
    """Time passes for one webinar: it begins so long from now, without anybody having moved it."""
    # What the host entered and told stays told: no trigger, as when the clock runs.
    market.rows("set local session_replication_role = replica")
    market.rows(
        "update public.webinars set starts_at = clock_timestamp() + %s, "
        "ends_at = clock_timestamp() + %s + duration_minutes * interval '1 minute', "
        "starts_local = (clock_timestamp() + %s) at time zone time_zone where id = %s",
        delta,
        delta,
        delta,
        item,
    )
    market.rows("set local session_replication_role = origin")


def pass_deadline(market: Market, user: str, item: str) -> None:
    """Somebody's offer has just ended, and nobody noted it yet."""
    market.rows(
        "update public.payables set pay_by = now() - interval '1 second' where id = %s",
        seat(market, user, item)["payable_id"],
    )
    market.rows(
        "update public.webinar_registrations set offer_expires_at = now() - interval '1 second' "
        "where webinar_id = %s and user_id = %s",
        item,
        user,
    )


def sweep(market: Market) -> None:
    """The jobs run."""
    while market.worker("select private.sweep_offers(100)"):
        pass
    while market.worker("select private.sweep_webinars(100)"):
        pass


def cost(market: Market, host: str, item: str) -> Json:
    """What cancelling would mean."""
    return market.rpc(host, "webinar_cancellation_cost", webinar_id=item)


def cancel(market: Market, host: str, item: str) -> Json:
    """Cancels it at the cost announced."""
    agreed = cost(market, host, item)["host_cost_cents"]
    return market.rpc(host, "cancel_webinar", webinar_id=item, reason="ill", agreed_cost_cents=agreed)


def pay_offer(market: Market, user: str, item: str) -> Json:
    """Pays an offered seat, from checkout to the settled event."""
    order = market.pay_agreed(user, seat(market, user, item)["payable_id"])
    market.start(user, order["payment_id"])
    assert market.succeed(order["payment_id"]) == "processed"
    return order


def each(people: Iterable[str], act: Callable[[Market, str], Any]) -> list[Job]:
    """The same act as a job for each of these people."""

    def of(person: str) -> Job:
        return lambda market: act(market, person)

    return [of(person) for person in people]
