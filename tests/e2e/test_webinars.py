"""Webinars as clients meet them: announced, registered for, paid, entered, moved, cancelled; and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from stack.services import Services
from tests.harness.market import Simulator, assert_books, buy, drain, order, run_job, start, wait_for_order
from tests.harness.people import Api, Json, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until
from tests.market.test_webinar_times import CHANGES, ZONES


@pytest.fixture(autouse=True)
def books_are_right(database: Database, simulator: Simulator) -> Any:
    """After every test: the audit is clean and the provider holds what the books say."""
    yield
    drain(database, simulator)
    assert_books(database, simulator)


def called(person: Person, function: str, **arguments: Json) -> Any:
    """What a function answers that does not refuse."""
    answer = person.api.rpc(function, **arguments)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def announce(host: Person, **more: Json) -> str:
    """A webinar of a host's, in an hour of its own; its id."""
    announce.count += 1  # type: ignore[attr-defined]
    at = datetime(2031, 3, 1, 10) + timedelta(hours=3 * announce.count)  # type: ignore[attr-defined]
    row = {"title": "Mixing vocals", "starts_local": at.isoformat(), "time_zone": "Europe/Berlin", **more}
    (made,) = host.client.table("webinars").insert(row).execute().data
    assert isinstance(made, dict)
    return str(made["id"])


announce.count = 0  # type: ignore[attr-defined]


def begin(database: Database, item: str, minutes: int) -> None:
    """The clock runs until it begins so many minutes from now."""
    with database.connect("supabase_admin") as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(
            "update public.webinars set starts_at = now() + %(m)s * interval '1 minute', "
            "ends_at = now() + (%(m)s + duration_minutes) * interval '1 minute' where id = %(id)s",
            {"m": minutes, "id": item},
        )


def status_of(person: Person, item: str, user: str) -> str:
    return str(person.api.one("webinar_registrations", webinar_id=f"eq.{item}", user_id=f"eq.{user}")["status"])


def test_from_announcement_to_recording(
    sign_up: SignUp, simulator: Simulator, database: Database, services: Services
) -> None:
    host, guest, late = sign_up(), sign_up(), sign_up()
    item = announce(host, price_cents=2000, max_attendees=2, duration_minutes=90)
    seen = Api(services).one("webinars", id=f"eq.{item}", select="starts_at,ends_at,time_zone,status_now,price_cents")
    assert seen["status_now"] == "upcoming"
    length = datetime.fromisoformat(seen["ends_at"]) - datetime.fromisoformat(seen["starts_at"])
    assert length == timedelta(minutes=90)

    buy(simulator, guest, item)
    buy(simulator, sign_up(), item)
    until(lambda: status_of(guest, item, guest.id) == "confirmed", "the seat")
    assert code_of(late.api.rpc("checkout", items=[{"item_id": item}])) == "webinar_full"
    called(late, "join_waiting_list", webinar_id=item)
    called(guest, "cancel_registration", webinar_id=item)
    assert status_of(late, item, late.id) == "offered"
    payable = late.api.one("webinar_registrations", webinar_id=f"eq.{item}")["payable_id"]
    ordered = called(late, "checkout_payable", payable_id=payable)
    simulator.confirm(start(late, ordered)["client_secret"])
    wait_for_order(late, ordered["order_id"])
    assert status_of(late, item, late.id) == "confirmed"

    called(host, "set_webinar_room", webinar_id=item, link="https://rooms.example/secret")
    assert code_of(late.api.rpc("join_webinar", webinar_id=item)) == "webinar_not_begun"
    begin(database, item, 10)
    entry = called(late, "join_webinar", webinar_id=item)
    assert "secret" not in str(entry)
    entered = httpx.get(entry["url"], follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "https://rooms.example/secret")
    assert entered.headers["cache-control"] == "no-store"
    assert httpx.get(entry["url"][:-4] + "0000", follow_redirects=False).status_code == 404
    assert code_of(guest.api.rpc("join_webinar", webinar_id=item)) == "webinar_not_found"

    begin(database, item, -5)
    assert called(host, "mark_attendance", webinar_id=item, user_ids=[late.id]) == 1
    begin(database, item, -100)
    assert httpx.get(entry["url"], follow_redirects=False).status_code == 409
    run_job(database, "sweep_webinars")
    assert host.api.one("webinars", id=f"eq.{item}")["status"] == "ended"
    sale = late.api.one("transactions", related_id=f"eq.{item}")
    assert sale["completed_at"] is not None
    product = called(host, "convert_recording", webinar_id=item, price_cents=900)
    assert late.api.one("purchases", item_id=f"eq.{product['id']}")["price_cents"] == 0
    assert guest.api.select("purchases", item_id=f"eq.{product['id']}") == []


def test_a_cancelled_webinar_is_paid_back_by_the_workers(
    sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    host, guests = sign_up(), [sign_up() for _ in range(3)]
    item = announce(host, price_cents=2000)
    for guest in guests:
        buy(simulator, guest, item)
    until(lambda: len(host.api.select("webinar_registrations", webinar_id=f"eq.{item}")) == 3, "the seats")
    cost = called(host, "webinar_cancellation_cost", webinar_id=item)
    assert (cost["refunds_count"], cost["refund_cents"]) == (3, 6000)
    called(host, "cancel_webinar", webinar_id=item, reason="ill", agreed_cost_cents=cost["host_cost_cents"])
    assert status_of(guests[0], item, guests[0].id) == "cancelled"

    def refunded() -> bool:
        return all(row["status"] == "refunded" for guest in guests for row in guest.api.select("payments"))

    until(refunded, "the money", 60)
    # As announced, by what the provider really kept.
    assert host.api.one("wallets")["debt_cents"] == cost["host_cost_cents"]


def test_deadlines_stand_whatever_zone_a_client_prefers(sign_up: SignUp, database: Database) -> None:
    host = sign_up()
    ends: set[str] = set()
    for zone in ("UTC", "America/New_York", "Pacific/Auckland"):
        item = announce(host, time_zone="America/New_York", starts_local=f"2031-03-09T0{3 + 2 * len(ends)}:30")
        row = host.api.http.get(
            "/rest/v1/webinars", params={"id": f"eq.{item}"}, headers={"prefer": f"timezone={zone}"}
        ).json()[0]
        starts = datetime.fromisoformat(row["starts_at"]).astimezone(UTC)
        assert starts == datetime(2031, 3, 9, 7 + 2 * len(ends), 30, tzinfo=UTC)
        ends.add(row["ends_at"])
        moved = host.api.http.post(
            "/rest/v1/rpc/reschedule_webinar",
            json={"webinar_id": item, "starts_local": row["starts_local"], "duration_minutes": 30},
            headers={"prefer": f"timezone={zone}"},
        )
        assert moved.status_code == 200, moved.text
        assert datetime.fromisoformat(moved.json()["starts_at"]).astimezone(UTC) == starts
    answer = host.api.http.post(
        "/rest/v1/webinars",
        json={"title": "Gap", "starts_local": "2031-03-09T02:30", "time_zone": "America/New_York"},
        headers={"prefer": "timezone=Asia/Tokyo"},
    )
    assert (answer.status_code, code_of(answer)) == (400, "time_does_not_exist")


@pytest.mark.parametrize("zone", ZONES)
def test_market_23_entered_by_a_host_and_read_by_a_guest_elsewhere(sign_up: SignUp, zone: str) -> None:
    """Each change of clocks to come, through clients that prefer zones of their own."""
    host, guest = sign_up(), sign_up()
    coming = [(at, by) for where, at, by in CHANGES if where == zone and at > datetime.now(UTC)]
    assert coming

    def enter(local: datetime, **more: Json) -> httpx.Response:
        row = {"title": "Night", "starts_local": local.isoformat(), "time_zone": zone, "duration_minutes": 90, **more}
        return host.api.http.post(
            "/rest/v1/webinars",
            json=row,
            headers={"prefer": "return=representation, timezone=Pacific/Auckland"},
        )

    for at, by in coming:
        # The middle of what is left out, or comes twice, as a clock there shows it.
        shown = (at - timedelta(seconds=1)).astimezone(ZoneInfo(zone)).replace(tzinfo=None) + timedelta(seconds=1)
        local = shown + by / 2
        refused = enter(local)
        assert refused.status_code == 400, refused.text
        if by > timedelta(0):
            assert code_of(refused) == "time_does_not_exist"
            local, starts = shown + by, at
            made = enter(local)
        else:
            assert code_of(refused) == "time_is_ambiguous"
            either = [datetime.fromisoformat(said) for said in refused.json()["details"].split(" or ")]
            assert either == [at + by / 2, at - by / 2]
            starts = at - by / 2
            made = enter(local, is_second_hour=True)
        assert made.status_code == 201, made.text
        for reader, elsewhere in ((guest, "America/Los_Angeles"), (guest, "Asia/Kathmandu"), (host, zone)):
            (row,) = reader.api.http.get(
                "/rest/v1/webinars",
                params={"id": f"eq.{made.json()[0]['id']}"},
                headers={"prefer": f"timezone={elsewhere}"},
            ).json()
            assert datetime.fromisoformat(row["starts_at"]) == starts
            assert datetime.fromisoformat(row["ends_at"]) == starts + timedelta(minutes=90)
            assert (row["starts_local"], row["time_zone"]) == (local.isoformat(), zone)


# -- every forbidden move by every role -------------------------------------------------------------------------------

# What each role tries in each state; what is right for it is not in here.
ACTS: dict[str, dict[str, Json]] = {
    "cancel_webinar": {"reason": "x", "agreed_cost_cents": 0},
    "reschedule_webinar": {"starts_local": "2032-01-01T10:00"},
    "register_for_webinar": {},
    "join_waiting_list": {},
    "cancel_registration": {},
    "convert_recording": {},
    "mark_attendance": {"user_ids": []},
    "join_webinar": {},
    "answer_co_hosting": {"accept": True},
}
# state → role → what is allowed there.
ALLOWED = {
    "upcoming": {"host": {"cancel_webinar", "reschedule_webinar"}, "guest": {"cancel_registration"},
                 "stranger": {"register_for_webinar"}, "admin": {"cancel_webinar", "register_for_webinar"},
                 "co_host": {"answer_co_hosting"}},
    "live": {"host": {"mark_attendance", "join_webinar"}, "co_host": {"mark_attendance", "join_webinar"},
             "guest": {"join_webinar"}},
    "ended": {"host": {"convert_recording", "mark_attendance"}, "co_host": {"mark_attendance"}},
    "cancelled": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def cast(sign_up: SignUp, admin: Person) -> dict[str, Person]:
    names = ("host", "co_host", "guest", "stranger")
    return {name: sign_up() for name in names} | {"admin": admin}


@pytest.mark.parametrize("state", ["upcoming", "live", "ended", "cancelled"])
@pytest.mark.parametrize("swept", [True, False])
def test_forbidden_acts(
    cast: dict[str, Person], database: Database, services: Services, state: str, swept: bool
) -> None:
    """Everything not allowed in a state is refused and changes nothing, whether or not the state was noted yet."""
    host, guest, co_host = cast["host"], cast["guest"], cast["co_host"]
    item = announce(host)
    database.run(
        "insert into public.webinar_co_hosts (webinar_id, user_id, accepted_at) values (%s, %s, now())",
        *(item, co_host.id),
    )
    called(host, "set_webinar_room", webinar_id=item, link="https://rooms.example/x")
    called(guest, "register_for_webinar", webinar_id=item)
    if state == "cancelled":
        called(host, "cancel_webinar", webinar_id=item, reason="ill", agreed_cost_cents=0)
    elif state != "upcoming":
        begin(database, item, -10 if state == "live" else -100)
    if swept:
        run_job(database, "sweep_webinars")

    def snapshot() -> list[dict[str, Json]]:
        return database.run(
            "select w.status, w.starts_at, r.user_id, r.status as seat, r.attended_at, c.taken "
            "from public.webinars as w join public.catalog_items as c on c.id = w.id "
            "left join public.webinar_registrations as r on r.webinar_id = w.id where w.id = %s order by r.user_id",
            item,
        )

    before = snapshot()
    for act, arguments in ACTS.items():
        assert Api(services).rpc(act, webinar_id=item, **arguments).status_code in (401, 403)
        for role, person in cast.items():
            if act in ALLOWED[state].get(role, set()):
                continue
            answer = person.api.rpc(act, webinar_id=item, **arguments)
            assert answer.status_code in (404, 409), f"{state} {act} by {role}: {answer.status_code} {answer.text}"
    assert snapshot() == before
    # A way that is allowed is open, else the refusals would say nothing.
    for role, acts in ALLOWED[state].items():
        for act in sorted(acts - {"cancel_webinar", "cancel_registration", "register_for_webinar"}):
            answer = cast[role].api.rpc(act, webinar_id=item, **ACTS[act])
            assert answer.status_code == 200, f"{state} {act} by {role}: {answer.text}"
    if state == "upcoming":
        called(host, "cancel_webinar", webinar_id=item, reason="over", agreed_cost_cents=0)


def test_no_state_is_written_by_clients(cast: dict[str, Person], database: Database) -> None:
    """Each move of the machines, and each that is none, as a plain write by everybody."""
    item = announce(cast["host"])
    called(cast["guest"], "register_for_webinar", webinar_id=item)
    for relation, where in (("webinars", f"id=eq.{item}"), ("webinar_registrations", f"webinar_id=eq.{item}")):
        states = database.run(
            "select distinct to_state from private.state_moves where relation = %s", f"public.{relation}"
        )
        assert len(states) > 3
        for person in cast.values():
            for row in states:
                answer = person.api.http.patch(f"/rest/v1/{relation}?{where}", json={"status": row["to_state"]})
                assert answer.status_code in (401, 403), answer.text
    called(cast["host"], "cancel_webinar", webinar_id=item, reason="over", agreed_cost_cents=0)


def test_seats_without_a_right_to_them(cast: dict[str, Person], simulator: Simulator, database: Database) -> None:
    host, guest, stranger, co_host = (cast[name] for name in ("host", "guest", "stranger", "co_host"))
    item = announce(host, price_cents=2000, max_attendees=2)
    ordered = order(guest, item)
    # Held: theirs to pay or to give up, nobody else's.
    for person, act, more, code in (
        (guest, "cancel_registration", {}, "state_changed"),
        (guest, "join_waiting_list", {}, "seats_available"),
        (host, "remove_registration", {"user_id": guest.id, "reason": "x"}, "state_changed"),
        (stranger, "cancel_registration", {}, "registration_not_found"),
        (stranger, "remove_registration", {"user_id": guest.id, "reason": "x"}, "webinar_not_found"),
        (co_host, "webinar_cancellation_cost", {}, "webinar_not_found"),
        (host, "register_for_webinar", {}, "own_item"),
        (stranger, "register_for_webinar", {}, "payment_required"),
        (host, "invite_co_host", {"user_id": co_host.id}, "plan_required"),
    ):
        answer = person.api.rpc(act, webinar_id=item, **more)
        assert code_of(answer) == code, f"{act}: {answer.text}"
    called(guest, "cancel_order", order_id=ordered["order_id"])
    assert status_of(guest, item, guest.id) == "expired"
    # Guests do not see each other.
    buy(simulator, guest, item)
    buy(simulator, stranger, item)
    assert len(host.api.select("webinar_registrations", webinar_id=f"eq.{item}")) == 2
    assert len(guest.api.select("webinar_registrations", webinar_id=f"eq.{item}")) == 1
    assert co_host.api.select("webinar_registrations", webinar_id=f"eq.{item}") == []
