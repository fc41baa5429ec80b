"""Seats of webinars over HTTP: in each state of a registration everybody tries every act; what is not allowed there is
refused and changes nothing, also where a deadline has passed that nobody has noted yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stack.services import Services
from tests.e2e.test_webinars import announce, begin, called
from tests.harness.market import Simulator, assert_books, buy, drain, order
from tests.harness.people import Api, Json, Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database


@dataclass(frozen=True)
class Seat:
    """Somebody's registration in one state."""

    item: str
    owner: Member
    payable: str | None = None


# state → role → acts that are open there. Whoever is not named can do nothing.
REMOVERS = {"host": {"remove"}, "admin": {"remove"}}
ALLOWED: dict[str, dict[str, set[str]]] = {
    "waiting": {"owner": {"leave"}, **REMOVERS},
    "offered": {"owner": {"leave", "pay"}, **REMOVERS},
    # The same wanted again is the order that is there.
    "held": {"owner": {"buy"}},
    "confirmed": {"owner": {"leave"}, **REMOVERS},
    "cancelled": {"owner": {"buy"}},
    "refunded": {"owner": {"buy"}},
    "expired": {"owner": {"buy"}},
    "removed": {},
    "offer over": {"owner": {"buy"}},
    "queue over": {},
    "begun": REMOVERS,
    "called off": {},
}  # fmt: skip


def acts(seat: Seat) -> dict[str, tuple[str, dict[str, Json]]]:
    """What can be tried on a registration: the function and its arguments."""
    webinar = {"webinar_id": seat.item}
    return {
        "register": ("register_for_webinar", webinar),
        "wait": ("join_waiting_list", webinar),
        "leave": ("cancel_registration", webinar),
        "enter": ("join_webinar", webinar),
        "remove": ("remove_registration", {**webinar, "user_id": seat.owner.id, "reason": "rude"}),
        "attend": ("mark_attendance", {**webinar, "user_ids": [seat.owner.id]}),
        "buy": ("checkout", {"items": [{"item_id": seat.item}]}),
        **({"pay": ("checkout_payable", {"payable_id": seat.payable})} if seat.payable else {}),
    }


# Of the webinar itself, not of somebody's registration: strangers and admins may come, hosts see who is there.
OPEN = {"stranger": {"register", "wait", "buy"}, "admin": {"register", "wait", "buy"}, "host": {"enter", "attend"},
        "co_host": {"enter", "attend"}}  # fmt: skip


@pytest.fixture(scope="module")
def cast(sign_up: SignUp, admin: Person) -> dict[str, Person]:
    return {"host": sign_up(), "co_host": sign_up(), "stranger": sign_up(), "admin": admin}


@pytest.fixture(scope="module")
def make(
    cast: dict[str, Person], services: Services, simulator: Simulator, database: Database
) -> Callable[[str], Seat]:
    """Somebody's registration in a state, come to by the acts that lead there."""
    host = cast["host"]

    def people(count: int) -> list[Member]:
        return enroll(services, database, count)

    def announced(**more: Json) -> str:
        item = announce(host, **more)
        database.run(
            "insert into public.webinar_co_hosts (webinar_id, user_id, accepted_at) values (%s, %s, now())",
            *(item, cast["co_host"].id),
        )
        return item

    def of(item: str, owner: Member) -> dict[str, Json]:
        return owner.api.one("webinar_registrations", webinar_id=f"eq.{item}")

    def free(state: str) -> Seat:
        (owner, *others), item = people(3), announced(max_attendees=2)
        if state in ("waiting", "queue over"):
            for other in others:
                assert other.api.rpc("register_for_webinar", webinar_id=item).is_success
            assert owner.api.rpc("join_waiting_list", webinar_id=item).is_success
            if state == "queue over":
                begin(database, item, -10)
            return Seat(item, owner)
        assert owner.api.rpc("register_for_webinar", webinar_id=item).is_success
        if state == "begun":
            begin(database, item, -10)
        elif state == "removed":
            called(host, "remove_registration", webinar_id=item, user_id=owner.id, reason="rude")
        else:
            called(host, "cancel_webinar", webinar_id=item, reason="ill", agreed_cost_cents=0)
        return Seat(item, owner)

    def paid(state: str) -> Seat:
        (owner, *others), item = people(3), announced(price_cents=2000, max_attendees=2)
        if state in ("offered", "offer over"):
            for other in others:
                buy(simulator, other, item)
            assert owner.api.rpc("join_waiting_list", webinar_id=item).is_success
            assert others[0].api.rpc("cancel_registration", webinar_id=item).is_success
            payable = of(item, owner)["payable_id"]
            if state == "offer over":
                for change in (
                    "webinar_registrations set offer_expires_at = now() - interval '1 second' where payable_id",
                    "payables set pay_by = now() - interval '1 second' where id",
                ):
                    database.run(f"update public.{change} = %s", payable)
            return Seat(item, owner, payable)
        if state in ("held", "expired"):
            ordered = order(owner, item)
            if state == "expired":
                assert owner.api.rpc("cancel_order", order_id=ordered["order_id"]).is_success
            return Seat(item, owner)
        bought = buy(simulator, owner, item)
        line = owner.api.one("order_items", order_id=f"eq.{bought['id']}")["id"]
        if state == "cancelled":
            assert owner.api.rpc("cancel_registration", webinar_id=item).is_success
        elif state == "refunded":
            assert cast["admin"].api.rpc("refund_order_item", order_item_id=line, reason="asked").is_success
        drain(database, simulator)
        return Seat(item, owner)

    return lambda state: (free if state in ("waiting", "queue over", "begun", "removed", "called off") else paid)(state)


@pytest.mark.parametrize("state", ALLOWED)
def test_forbidden_acts_on_a_registration(
    cast: dict[str, Person],
    make: Callable[[str], Seat],
    services: Services,
    simulator: Simulator,
    database: Database,
    state: str,
) -> None:
    seat = make(state)
    now = {"removed": "cancelled", "offer over": "expired", "queue over": "expired", "begun": "confirmed",
           "called off": "cancelled"}.get(state, state)  # fmt: skip

    def rows() -> list[dict[str, Any]]:
        # As it stands, whether or not the job came by meanwhile.
        return database.run(
            "select r.user_id, private.registration_state(r) as state, r.queue_no is not null as waits, r.purchase_id, "
            "r.attended_at, r.was_removed from public.webinar_registrations as r where r.webinar_id = %s "
            "order by r.user_id",
            seat.item,
        )

    before = rows()
    assert {row["state"] for row in before if str(row["user_id"]) == seat.owner.id} == {now}
    for reader in (seat.owner.api, cast["host"].api, cast["co_host"].api, cast["admin"].api):
        row = reader.one(
            "webinar_registrations",
            webinar_id=f"eq.{seat.item}", user_id=f"eq.{seat.owner.id}", select="status_now",
        )  # fmt: skip
        assert row == {"status_now": now}
    assert cast["stranger"].api.select("webinar_registrations", user_id=f"eq.{seat.owner.id}") == []

    roles: dict[str, Api] = {"owner": seat.owner.api, **{role: person.api for role, person in cast.items()}}
    tried = 0
    for act, (function, arguments) in acts(seat).items():
        assert Api(services).rpc(function, **arguments).status_code == 401
        for role, api in roles.items():
            if act in ALLOWED[state].get(role, set()) | OPEN.get(role, set()):
                continue
            if (state, role, act) == ("begun", "owner", "enter"):
                # They may come in, there is no room yet.
                continue
            answer = api.rpc(function, **arguments)
            assert answer.status_code in (403, 404, 409), f"{state} {act} by {role}: {answer.status_code} {answer.text}"
            assert code_of(answer), answer.text
            tried += 1
    assert tried >= 15
    assert rows() == before
    # What is open is open, else the refusals would say nothing.
    role, open_acts = next(iter(sorted(ALLOWED[state].items(), reverse=True)), ("", set()))
    for act in sorted(open_acts, reverse=True)[:1]:
        function, arguments = acts(seat)[act]
        answer = roles[role].rpc(function, **arguments)
        assert answer.is_success, f"{state} {act} by {role}: {answer.text}"
        # Who starts to pay has what they had, until they have paid.
        assert (rows() == before) == ((state, act) in (("offered", "pay"), ("held", "buy")))
    drain(database, simulator)
    assert_books(database, simulator)
