"""Service orders over HTTP: the whole story as an application would do it, and every move that is not allowed, tried by
everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.market import Simulator, assert_books, buy, drain, pass_time, run_job, start, wait_for_order
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database

Json = Any
WAV = b"RIFF" + bytes(60)
SOUND: Any = {"content-type": "audio/wav"}


def rpc(person: Person, function: str, **arguments: Json) -> Json:
    """What supabase-py answers."""
    return person.client.rpc(function, arguments).execute().data


def inserted(person: Person, relation: str, row: dict[str, Json]) -> str:
    """The id of a new row."""
    made: Json = person.client.table(relation).insert(row).execute().data
    return str(made[0]["id"])


def publish_service(seller: Person, cents: int = 10000, **fields: Json) -> tuple[str, str]:
    """A service with one package on sale: its id and the package's."""
    service = inserted(seller, "services", {"title": "Mixing", "service_type": "mixing", **fields})
    details = {"delivery_days": 5, "revisions": 1, "features": []}
    package = inserted(
        seller, "catalog_options", {"item_id": service, "title": "Small", "price_cents": cents, "details": details}
    )
    seller.client.table("services").update({"status": "active"}).eq("id", service).execute()
    return service, package


def orders_of(person: Person, order_id: str) -> list[str]:
    """Ids of the service orders of an order, by line."""
    lines = person.api.select("order_items", order_id=f"eq.{order_id}", order="line_no")
    return [person.api.one("service_orders", order_item_id=f"eq.{line['id']}")["id"] for line in lines]


def shift(database: Database, service_order: str, hours: int) -> None:
    """So many hours pass for an order."""
    database.run(
        "update public.service_orders set due_at = due_at - %s * interval '1 hour', "
        "auto_approve_at = auto_approve_at - %s * interval '1 hour', "
        "cancel_after = cancel_after - %s * interval '1 hour' "
        "where id = %s",
        hours,
        hours,
        hours,
        service_order,
    )


def test_the_whole_story(sign_up: SignUp, simulator: Simulator, database: Database, services: Services) -> None:
    """Bought, told what is needed, delivered, changed, approved; files are for the two alone."""
    seller, buyer, stranger = sign_up(), sign_up(), sign_up()
    service, package = publish_service(seller, buyer_requirements="Your stems, please.")
    bought = buy(simulator, buyer, {"item_id": service, "option_id": package})
    (mine,) = orders_of(buyer, bought["id"])
    row = buyer.api.one("service_orders", id=f"eq.{mine}")
    assert (row["status"], row["requirements_asked"], row["due_at"]) == (
        "awaiting_requirements",
        "Your stems, please.",
        None,
    )
    stems = f"{buyer.id}/{mine}/stems.wav"
    buyer.client.storage.from_("deliveries").upload(stems, WAV, SOUND)
    rpc(buyer, "send_requirements", service_order_id=mine, requirements="Warm.", files=[stems])
    assert seller.client.storage.from_("deliveries").download(stems) == WAV
    mix = f"{seller.id}/{mine}/mix.wav"
    seller.client.storage.from_("deliveries").upload(mix, WAV, SOUND)
    with pytest.raises(Exception, match=r"not_found|not found"):
        buyer.client.storage.from_("deliveries").download(mix)
    rpc(seller, "deliver_service_order", service_order_id=mine, notes="Here.", files=[mix])
    assert buyer.client.storage.from_("deliveries").download(mix) == WAV
    # What was delivered neither changes nor goes.
    seller.client.storage.from_("deliveries").remove([mix])
    assert buyer.client.storage.from_("deliveries").download(mix) == WAV
    for outsider in (stranger,):
        with pytest.raises(Exception, match=r"not_found|not found"):
            outsider.client.storage.from_("deliveries").download(mix)
        path = f"{outsider.id}/{mine}/mine.wav"
        with pytest.raises(Exception, match=r"row-level security|Unauthorized"):
            outsider.client.storage.from_("deliveries").upload(path, WAV, SOUND)
        assert outsider.api.select("service_orders", id=f"eq.{mine}") == []

    # Whatever zone a client asks for, no instant moves.
    zoned = buyer.api.http.post(
        "/rest/v1/rpc/request_revision",
        json={"service_order_id": mine, "note": "Louder, please."},
        headers={"prefer": "timezone=America/Los_Angeles"},
    )
    assert zoned.status_code == 200, zoned.text
    again = seller.api.http.post(
        "/rest/v1/rpc/deliver_service_order",
        json={"service_order_id": mine, "notes": "Louder."},
        headers={"prefer": "timezone=Australia/Lord_Howe"},
    )
    assert again.status_code == 200, again.text
    assert database.value(
        "select auto_approve_at - delivered_at = interval '72 hours' from public.service_orders where id = %s", mine
    )
    talk = rpc(buyer, "service_order_conversation", service_order_id=mine)["id"]
    seller.client.table("user_blocks").insert({"blocked_id": buyer.id}).execute()
    buyer.client.table("messages").insert({"conversation_id": talk, "content": "Lovely."}).execute()
    assert [row["content"] for row in seller.api.select("messages", conversation_id=f"eq.{talk}")] == ["Lovely."]

    approved = rpc(buyer, "approve_service_order", service_order_id=mine)
    assert (approved["status"], approved["buyer_approved"]) == ("completed", True)
    history = seller.api.select("service_order_events", service_order_id=f"eq.{mine}", order="id")
    assert [event["act"] for event in history] == [
        "order",
        "send_requirements",
        "deliver",
        "request_revision",
        "deliver",
        "approve",
    ]
    run_job(database, "advance_service_orders")
    assert seller.api.one("services", id=f"eq.{service}")["completion_rate"] == 100
    drain(database, simulator)
    assert seller.api.one("wallets")["balance_available_cents"] == 0
    pass_time(database)
    run_job(database, "release_earnings")
    assert seller.api.one("wallets")["balance_available_cents"] > 0
    assert_books(database, simulator)


def test_silence_is_true_before_the_job(sign_up: SignUp, simulator: Simulator, database: Database) -> None:
    """Every reader and every act finds it approved; the job writes it down."""
    seller, buyer = sign_up(), sign_up()
    service, package = publish_service(seller)
    bought = buy(simulator, buyer, {"item_id": service, "option_id": package})
    (mine,) = orders_of(buyer, bought["id"])
    rpc(seller, "deliver_service_order", service_order_id=mine, notes="Here.")
    # Between two runs of the job, which comes every minute.
    with database.connect() as connection, connection.transaction():
        connection.execute("select from public.payments where order_id = %s for no key update", (bought["id"],))
        shift(database, mine, 73)
        for reader in (seller, buyer):
            (row,) = reader.api.select("service_orders", id=f"eq.{mine}", select="status,effective_status")
            assert row == {"status": "delivered", "effective_status": "completed"}
    answer = buyer.api.rpc("request_revision", service_order_id=mine, note="Too late.")
    assert (answer.status_code, code_of(answer)) == (409, "state_changed")
    run_job(database, "advance_service_orders")
    assert seller.api.one("service_orders", id=f"eq.{mine}")["status"] == "completed"


def test_an_offer_is_made_accepted_and_paid(sign_up: SignUp, simulator: Simulator, database: Database) -> None:
    """In a conversation; the version that was seen is what is paid."""
    seller, buyer = sign_up(), sign_up()
    talk = rpc(buyer, "start_conversation", user_ids=[seller.id])["id"]
    buyer.client.table("messages").insert({"conversation_id": talk, "content": "Would you mix two songs?"}).execute()
    until = database.value("select (now() + interval '2 days')::text")
    terms = {
        "title": "Two songs",
        "terms": "Mixed within five days.",
        "price_cents": 8000,
        "delivery_days": 5,
        "revisions": 1,
        "valid_until": until,
    }
    made = rpc(seller, "send_offer", conversation_id=talk, **terms)
    rpc(seller, "revise_offer", offer_id=made["id"], **{**terms, "price_cents": 9000})
    stale = buyer.api.rpc("accept_offer", offer_id=made["id"], version=1)
    assert (stale.status_code, code_of(stale)) == (409, "offer_changed")
    agreed = rpc(buyer, "accept_offer", offer_id=made["id"], version=2)
    attempt = rpc(buyer, "checkout_payable", payable_id=agreed["payable_id"])
    assert attempt["total_cents"] == 9000
    simulator.confirm(start(buyer, attempt)["client_secret"])
    wait_for_order(buyer, attempt["order_id"])
    (mine,) = orders_of(buyer, attempt["order_id"])
    assert seller.api.one("service_orders", id=f"eq.{mine}")["offer_id"] == made["id"]


# -- what is not allowed ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """Orders in each state, and everybody."""

    people: dict[str, Api]
    seller: Person
    buyer: Person
    orders: dict[str, str]
    extra: dict[str, str]
    requests: dict[str, str]
    offers: dict[str, str]


STATES = (
    "awaiting_requirements",
    "in_progress",
    "delivered",
    "revision_requested",
    "disputed",
    "completed",
    "cancelled",
    "refunded",
)


@pytest.fixture(scope="module")
def stage(sign_up: SignUp, admin: Person, simulator: Simulator, database: Database, services: Services) -> Stage:
    seller, buyer, stranger = sign_up(), sign_up(), sign_up()
    service, package = publish_service(seller)
    asking, asked = publish_service(seller, buyer_requirements="Stems")
    plain = {"item_id": service, "option_id": package}
    bought = buy(simulator, buyer, {"item_id": asking, "option_id": asked}, *[plain] * 8)
    *orders, spare = orders_of(buyer, bought["id"])
    by_state = dict(zip(STATES, orders, strict=True))

    def seller_does(function: str, state: str, **more: Json) -> Json:
        return rpc(seller, function, service_order_id=by_state[state], **more)

    def buyer_does(function: str, state: str, **more: Json) -> Json:
        return rpc(buyer, function, service_order_id=by_state[state], **more)

    for state in ("delivered", "revision_requested", "disputed", "completed"):
        seller_does("deliver_service_order", state, notes="Here.")
    buyer_does("request_revision", "revision_requested", note="Louder.")
    buyer_does("open_dispute", "disputed", reason="No.")
    buyer_does("approve_service_order", "completed")
    seller_does("cancel_service_order", "cancelled", reason="No time.")
    line = buyer.api.one("service_orders", id=f"eq.{by_state['refunded']}")["order_item_id"]
    # A sale of somebody new makes a debt of the provider's fee: an admin refunds.
    assert admin.api.rpc("refund_order_item", order_item_id=line, reason="asked").is_success
    drain(database, simulator)
    found = {state: buyer.api.one("service_orders", id=f"eq.{id_}")["status"] for state, id_ in by_state.items()}
    assert found == {state: state for state in STATES}

    # Proposals and extras in each of their states, on an order of their own.
    def propose() -> str:
        return str(rpc(seller, "propose_extension", service_order_id=spare, days=1, reason="More")["id"])

    requests = {"declined": propose()}
    rpc(buyer, "answer_resolution", request_id=requests["declined"], accept=False)
    requests["withdrawn"] = propose()
    rpc(seller, "withdraw_resolution", request_id=requests["withdrawn"])
    requests["accepted"] = propose()
    rpc(buyer, "answer_resolution", request_id=requests["accepted"], accept=True)
    requests["expired"] = propose()
    database.run(
        "update public.resolution_requests set answer_by = now() - interval '1 hour' where id = %s", requests["expired"]
    )
    requests["open"] = propose()
    extra = {}
    for state in ("offered", "declined", "withdrawn", "paid", "returned"):
        made = rpc(seller, "offer_order_extra", service_order_id=spare, title="More", price_cents=500, delivery_days=1)
        extra[state] = made["id"]
        if state in ("paid", "returned"):
            attempt = rpc(buyer, "checkout_payable", payable_id=made["payable_id"])
            simulator.confirm(start(buyer, attempt)["client_secret"])
            wait_for_order(buyer, attempt["order_id"])
    rpc(buyer, "decline_order_extra", extra_id=extra["declined"])
    rpc(seller, "withdraw_order_extra", extra_id=extra["withdrawn"])
    line = buyer.api.one("service_order_extras", id=f"eq.{extra['returned']}")["order_item_id"]
    assert admin.api.rpc("refund_order_item", order_item_id=line, reason="asked").is_success
    drain(database, simulator)
    assert buyer.api.one("service_order_extras", id=f"eq.{extra['returned']}")["status"] == "returned"

    talk = rpc(buyer, "service_order_conversation", service_order_id=spare)["id"]
    valid = database.value("select (now() + interval '2 days')::text")
    offers = {}
    for state in ("sent", "accepted", "declined", "withdrawn", "expired"):
        offers[state] = rpc(seller, "send_offer", conversation_id=talk, **{**TERMS, "valid_until": valid})["id"]
    attempt = rpc(
        buyer,
        "checkout_payable",
        payable_id=rpc(buyer, "accept_offer", offer_id=offers["accepted"], version=1)["payable_id"],
    )
    simulator.confirm(start(buyer, attempt)["client_secret"])
    wait_for_order(buyer, attempt["order_id"])
    rpc(buyer, "decline_offer", offer_id=offers["declined"])
    rpc(seller, "withdraw_offer", offer_id=offers["withdrawn"])
    database.run("update public.offers set valid_until = now() - interval '1 hour' where id = %s", offers["expired"])
    people = {
        "anon": Api(services),
        "stranger": stranger.api,
        "buyer": buyer.api,
        "seller": seller.api,
        "admin": admin.api,
    }
    return Stage(people, seller, buyer, by_state, extra, requests, offers)


TERMS = {"title": "Two songs", "terms": "Mixed.", "price_cents": 8000, "delivery_days": 5, "revisions": 1}
ACTS: dict[str, tuple[str, dict[str, Json]]] = {
    "send_requirements": ("send_requirements", {"requirements": "Here."}),
    "deliver": ("deliver_service_order", {"notes": "Here."}),
    "request_revision": ("request_revision", {"note": "Louder."}),
    "approve": ("approve_service_order", {}),
    "cancel": ("cancel_service_order", {"reason": "No."}),
    "open_dispute": ("open_dispute", {"reason": "No."}),
    "withdraw_dispute": ("withdraw_dispute", {}),
    "propose_extension": ("propose_extension", {"days": 1, "reason": "More."}),
    "propose_cancellation": ("propose_cancellation", {"refund_cents": 1, "reason": "No."}),
    "offer_extra": ("offer_order_extra", {"title": "More", "price_cents": 500, "delivery_days": 1}),
    "decide": ("decide_dispute", {"refund_cents": 1, "note": "So."}),
}
# By other arguments than the order's.
ANSWERED = {"settle", "extend"}
REFUSED = {"stranger": "service_order_not_found", "admin": "service_order_not_found"}


def refuse(answer: httpx.Response, role: str, *codes: str) -> None:
    """Nobody without a session gets that far; everybody else hears why."""
    if role == "anon":
        assert answer.status_code == 401, answer.text
    else:
        assert code_of(answer) in codes, f"{role}: {answer.status_code} {answer.text}"


def test_every_forbidden_move_of_an_order(stage: Stage, database: Database) -> None:
    """Each act in each state by each role: what the rows do not have is refused, and changes nothing."""
    moves = {
        (row["act"], row["actor"], row["from_state"])
        for row in database.run("select act, actor, from_state from private.service_order_moves")
    }
    acts = {
        row["act"]
        for row in database.run(
            "select distinct act from private.service_order_moves where actor in ('buyer', 'seller', 'admin')"
        )
    }
    assert acts == set(ACTS) | ANSWERED
    before = database.run("select * from public.service_orders order by id")
    tried = 0
    for act, (function, arguments) in ACTS.items():
        for state, id_ in stage.orders.items():
            for role, api in stage.people.items():
                if (act, role, state) in moves:
                    continue
                answer = api.rpc(function, service_order_id=id_, **arguments)
                if act == "decide" and role != "admin":
                    refuse(answer, role, "admin_only")
                elif role in ("stranger", "admin") and act != "decide":
                    refuse(answer, role, "service_order_not_found")
                else:
                    refuse(answer, role, "state_changed", "not_your_part")
                tried += 1
    assert tried > 300
    assert database.run("select * from public.service_orders order by id") == before


def _walk(
    stage: Stage,
    subjects: dict[str, str],
    acts: dict[str, tuple[str, dict[str, Json], str]],
    key: str,
    missing: str,
    is_allowed: Callable[[str, str, str], bool],
) -> int:
    tried = 0
    for act, (function, arguments, _) in acts.items():
        for state, id_ in subjects.items():
            for role, api in stage.people.items():
                if is_allowed(act, role, state):
                    continue
                answer = api.rpc(function, **{key: id_}, **arguments)
                refuse(
                    answer, role, *((missing,) if role in ("stranger", "admin") else ("state_changed", "not_your_part"))
                )
                tried += 1
    return tried


@pytest.mark.parametrize("machine", ["offers", "resolution_requests", "service_order_extras"])
def test_every_forbidden_move_beside_it(stage: Stage, database: Database, machine: str) -> None:
    """Offers, proposals and extras: who may what is their rows of state_moves and whose act it is."""
    moves = {
        (row["from_state"], row["to_state"])
        for row in database.run(
            "select from_state, to_state from private.state_moves where relation = %s and from_state is not null",
            f"public.{machine}",
        )
    }
    valid = database.value("select (now() + interval '2 days')::text")
    # The function, its arguments, and where it leads; by whom.
    acts: dict[str, tuple[str, dict[str, Json], str]]
    subjects, key, missing = {
        "offers": (stage.offers, "offer_id", "offer_not_found"),
        "resolution_requests": (stage.requests, "request_id", "resolution_not_found"),
        "service_order_extras": (stage.extra, "extra_id", "extra_not_found"),
    }[machine]
    if machine == "offers":
        acts = {
            "buyer:accept": ("accept_offer", {"version": 2}, "accepted"),
            "buyer:decline": ("decline_offer", {}, "declined"),
            "seller:withdraw": ("withdraw_offer", {}, "withdrawn"),
            "seller:revise": ("revise_offer", {**TERMS, "valid_until": valid}, "sent"),
        }
    elif machine == "resolution_requests":
        acts = {
            "buyer:accept": ("answer_resolution", {"accept": True}, "accepted"),
            "buyer:decline": ("answer_resolution", {"accept": False}, "declined"),
            "seller:withdraw": ("withdraw_resolution", {}, "withdrawn"),
        }
    else:
        acts = {
            "buyer:decline": ("decline_order_extra", {}, "declined"),
            "seller:withdraw": ("withdraw_order_extra", {}, "withdrawn"),
        }

    def is_allowed(act: str, role: str, state: str) -> bool:
        to_state = acts[act][2]
        # What is paid stands, whatever the offer's word.
        paid = machine == "offers" and state == "accepted"
        return role == act.split(":")[0] and not paid and ((state, to_state) in moves or state == to_state == "sent")

    before = database.run(f"select * from public.{machine} order by id")
    assert _walk(stage, subjects, acts, key, missing, is_allowed) > 30
    assert database.run(f"select * from public.{machine} order by id") == before


def test_no_status_is_written_by_a_client(stage: Stage) -> None:
    """Not even by those whose row it is."""
    for relation, id_ in (
        ("service_orders", stage.orders["delivered"]),
        ("offers", stage.offers["sent"]),
        ("resolution_requests", stage.requests["open"]),
        ("service_order_extras", stage.extra["offered"]),
    ):
        for role, api in stage.people.items():
            answer = api.http.patch(f"/rest/v1/{relation}?id=eq.{id_}", json={"status": "cancelled"})
            assert answer.status_code in (401, 403), f"{role} {relation}: {answer.text}"
