"""Services on the money market: what their sellers and buyers do."""

from __future__ import annotations

import json

from tests.money.market import Json, Market, number


def service(market: Market, seller: str, *prices: int, is_on_sale: bool = True, **more: Json) -> tuple[str, list[str]]:
    """A service of these packages (cents), on sale: its id and the packages'."""
    columns = {"title": f"Service {number()}", "service_type": "mixing", **more}
    (row,) = market.member(
        seller,
        f"insert into public.services ({', '.join(columns)}) values ({', '.join(['%s'] * len(columns))}) returning id",
        *columns.values(),
    )
    packages = [package(market, seller, row["id"], price) for price in prices]
    if is_on_sale:
        market.member(seller, "update public.services set status = 'active' where id = %s", row["id"])
    return str(row["id"]), packages


def package(market: Market, seller: str, service_id: str, cents: int, **details: Json) -> str:
    """One more package; its id."""
    return market.option(
        seller, service_id, cents, details={"delivery_days": 7, "revisions": 2, "features": ["Stems"], **details}
    )


def line(service_id: str, package_id: str, **details: Json) -> dict[str, Json]:
    """A line of checkout()."""
    return {"item_id": service_id, "option_id": package_id, **({"details": details} if details else {})}


def details(market: Market, order: str, line_no: int = 1) -> Json:
    """What an order's line keeps."""
    return market.one("select details from public.order_items where order_id = %s and line_no = %s", order, line_no)


def as_json(value: Json) -> str:
    """For columns of jsonb."""
    return json.dumps(value)


def mentor(market: Market, seller: str, zone: str = "America/New_York", **rules: Json) -> None:
    """Whoever can be booked every day from 9 to 17 of their clock, at short notice."""
    columns = {"time_zone": zone, "notice_minutes": 0, **rules}
    market.member(
        seller,
        f"insert into public.availability ({', '.join(columns)}) values ({', '.join(['%s'] * len(columns))})",
        *columns.values(),
    )
    for weekday in range(1, 8):
        market.member(
            seller,
            "insert into public.availability_hours (weekday, from_time, until_time) values (%s, '09:00', '17:00')",
            weekday,
        )


def slots(market: Market, who: str, service_id: str, days: int = 7, zone: str | None = None) -> list[dict[str, Json]]:
    """available_slots() of the coming days."""
    return market.member(
        who,
        "select * from public.available_slots(%s, now(), now() + %s * interval '24 hours', %s)",
        service_id,
        days,
        zone,
    )


def session(slot: dict[str, Json]) -> dict[str, str]:
    """What a buyer sends for a slot."""
    return {"starts_at": slot["starts_at"].isoformat()}


def busy(market: Market, person: str) -> int:
    """How many things take somebody's time."""
    return int(market.one("select count(*) from private.busy_times where person_id = %s", person))
