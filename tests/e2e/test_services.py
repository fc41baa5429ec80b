"""Services and sessions as clients meet them: offered, found, booked, paid, and every status nobody may set.

What is refused of a line is tested in tests/market, who reads and writes what in test_access_over_http.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.test_media import picture
from tests.harness.market import (
    Simulator,
    assert_books,
    drain,
    open_hours,
    order,
    pass_time,
    publish_service,
    run_job,
    start,
    wait_for_order,
)
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until
from tests.media import pictures


@pytest.fixture(autouse=True)
def books_are_right(database: Database, simulator: Simulator) -> Any:
    """After every test: the audit is clean and the provider holds what the books say."""
    yield
    drain(database, simulator)
    assert_books(database, simulator)


@pytest.fixture
def mentor(sign_up: SignUp) -> Person:
    person = sign_up()
    open_hours(person)
    return person


def free(who: Api, service: str, **more: Any) -> list[dict[str, Any]]:
    answer = who.rpc("available_slots", service_id=service, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_a_session_is_found_booked_paid_and_earned(
    mentor: Person, sign_up: SignUp, anon: Api, simulator: Simulator, database: Database
) -> None:
    buyer, rival = sign_up(), sign_up()
    service, (package,) = publish_service(mentor, 6000, session_minutes=60, is_mentoring=True)
    extra = (
        mentor.client.table("service_extras")
        .insert({"service_id": service, "title": "Notes", "price_cents": 500})
        .execute()
        .data[0]["id"]
    )
    found = anon.select(
        "services",
        is_mentoring="eq.true",
        select="id,item:catalog_items!inner(price_cents)",
        **{"item.is_listed": "eq.true"},
    )
    assert {"id": service, "item": {"price_cents": 6000}} in found
    slot = free(anon, service)[0]["starts_at"]
    assert slot in [row["starts_at"] for row in free(rival.api, service, time_zone="Asia/Kolkata")]
    session = {"starts_at": slot}
    wanted = {"item_id": service, "option_id": package, "details": {"session": session}}
    more = {"session": session, "extras": [{"id": extra, "price_cents": 500}]}
    ordered = order(buyer, {**wanted, "details": more})
    assert ordered["total_cents"] == 6500
    assert slot not in [row["starts_at"] for row in free(anon, service)]
    refused = rival.api.rpc("checkout", items=[wanted])
    assert (refused.status_code, code_of(refused)) == (409, "slot_taken")
    simulator.confirm(start(buyer, ordered)["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    line = buyer.api.one("order_items", order_id=f"eq.{ordered['order_id']}")
    assert mentor.api.one("order_items", id=f"eq.{line['id']}")["details"] == line["details"]
    assert rival.api.select("order_items", id=f"eq.{line['id']}") == []
    assert (line["details"]["package"]["option_id"], len(line["details"]["extras"])) == (package, 1)
    # Nothing is earned before it is done.
    pass_time(database)
    run_job(database, "release_earnings")
    assert mentor.api.one("wallets")["balance_available_cents"] == 0


def test_a_session_that_is_given_up_is_free(mentor: Person, sign_up: SignUp, simulator: Simulator) -> None:
    buyer, rival = sign_up(), sign_up()
    service, (package,) = publish_service(mentor, 6000, session_minutes=60)
    slot = free(buyer.api, service)[3]["starts_at"]
    wanted = {"item_id": service, "option_id": package, "details": {"session": {"starts_at": slot}}}
    ordered = order(buyer, wanted)
    assert buyer.api.rpc("cancel_order", order_id=ordered["order_id"]).is_success
    ordered = order(rival, wanted)
    simulator.confirm(start(rival, ordered)["client_secret"])
    assert wait_for_order(rival, ordered["order_id"])["status"] == "completed"


def test_a_portfolio_of_pictures_and_addresses(sign_up: SignUp, anon: Api) -> None:
    seller, other = sign_up(), sign_up()
    service, _ = publish_service(seller, 2000)
    mine, foreign = (picture(who, pictures.saved(pictures.photo(1), "JPEG"), "service") for who in (seller, other))
    table = seller.client.table("portfolio_pieces")
    table.insert(
        [
            {"service_id": service, "url": "https://example.com/demo", "image_media_id": None, "position": 2},
            {"service_id": service, "url": None, "image_media_id": mine["id"], "position": 1},
        ]
    ).execute()
    refused = seller.api.http.post(
        "/rest/v1/portfolio_pieces", json={"service_id": service, "image_media_id": foreign["id"]}
    )
    assert (refused.status_code, code_of(refused)) == (404, "media_not_found")
    shown = anon.select("portfolio_pieces", service_id=f"eq.{service}", select="url,media(id)", order="position")
    assert [piece["media"] for piece in shown] == [{"id": mine["id"]}, None]
    assert shown[0]["url"] == mine["derivatives"]["large"]["url"]
    assert shown[1]["url"] == "https://example.com/demo"
    seller.client.table("services").update({"image_media_id": mine["id"]}).eq("id", service).execute()
    assert anon.one("catalog_items", id=f"eq.{service}")["image_media_id"] == mine["id"]


def test_response_times_are_computed_from_messages(sign_up: SignUp, database: Database) -> None:
    seller, buyer = sign_up(), sign_up()
    service, _ = publish_service(seller, 2000)
    chat = buyer.api.rpc("start_conversation", user_ids=[seller.id]).json()["id"]
    buyer.client.table("messages").insert({"conversation_id": chat, "content": "Do you mix jazz?"}).execute()
    seller.client.table("messages").insert({"conversation_id": chat, "content": "I do."}).execute()
    run_job(database, "update_response_times")
    assert until(lambda: buyer.api.one("services", id=f"eq.{service}")["response_time_hours"], "it to be computed") == 1


STATES = ("draft", "active", "paused", "deleted")


@pytest.mark.parametrize("before", STATES)
def test_every_status_that_is_not_allowed(
    before: str, sign_up: SignUp, admin: Person, anon: Api, database: Database
) -> None:
    """Each move of the machine by its seller and nobody else; whatever is not in it is refused, to everybody."""
    seller, stranger = sign_up(), sign_up()
    moves = {
        (row["from_state"], row["to_state"])
        for row in database.run(
            "select from_state, to_state from private.state_moves where relation = 'public.services'"
        )
    }
    for after in STATES:
        if after == before:
            continue
        service, _ = publish_service(seller, 2000)
        if before != "active":
            seller.client.table("services").update({"status": before}).eq("id", service).execute()

        def status(service: str = service) -> str:
            return str(seller.api.one("services", id=f"eq.{service}")["status"])

        address = f"/rest/v1/services?id=eq.{service}"
        for nosy in (stranger.api, admin.api, anon):
            answer = nosy.http.patch(address, json={"status": after})
            assert answer.status_code in (200, 204, 401, 403), answer.text
            assert status() == before
        answer = seller.api.http.patch(address, json={"status": after})
        if (before, after) in moves:
            assert answer.is_success, answer.text
            assert status() == after
        else:
            assert (answer.status_code, code_of(answer)) == (409, "service_deleted")
            assert status() == before
