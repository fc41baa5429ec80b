"""Paying on Stripe's page: one session an attempt, granted once by whichever of event and confirm call comes first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.market import (
    Simulator,
    assert_books,
    drain,
    order,
    publish_artwork,
    publish_product,
    run_job,
    start,
    stripe_signature,
    wait_for_order,
)
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database
from tests.harness.together import together
from tests.harness.waiting import until

PAGES = {"success_url": "https://shop.example/paid", "cancel_url": "https://shop.example/cart"}
BANK = "pm_usBankAccount_processing"
DECLINED = "pm_card_chargeDeclined"


@pytest.fixture(autouse=True)
def books_are_right(database: Database, simulator: Simulator) -> Iterator[None]:
    """After every test the audit is clean, the provider holds what the books say, and no event puzzles anybody."""
    yield
    simulator.clear_faults()
    simulator.release()
    drain(database, simulator)
    run_job(database, "read_missing_fees")
    assert_books(database, simulator)
    assert database.run("select type, last_error from private.webhook_events where status = 'dead'") == []


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture
def buyer(services: Services, database: Database) -> Member:
    return enroll(services, database, 1)[0]


@pytest.fixture(scope="module")
def product(seller: Person) -> str:
    return publish_product(seller)


@pytest.fixture
def artwork(seller: Person) -> str:
    return publish_artwork(seller, 5000)


def ask(buyer: Member, ordered: dict[str, Any], **pages: str) -> httpx.Response:
    return buyer.api.function("POST", f"payments/{ordered['payment_id']}/session", PAGES | pages)


def opened(buyer: Member, ordered: dict[str, Any]) -> dict[str, Any]:
    answer = ask(buyer, ordered)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def confirm(buyer: Member, ordered: dict[str, Any]) -> dict[str, Any]:
    answer = buyer.api.function("POST", f"payments/{ordered['payment_id']}/confirm")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()  # type: ignore[no-any-return]


def sessions(simulator: Simulator, ordered: dict[str, Any]) -> list[dict[str, Any]]:
    found = simulator.all("checkout/sessions")
    return [each for each in found if each["metadata"].get("payment_id") == ordered["payment_id"]]


def intents(simulator: Simulator, ordered: dict[str, Any]) -> list[dict[str, Any]]:
    found = simulator.all("payment_intents")
    return [each for each in found if each["metadata"].get("payment_id") == ordered["payment_id"]]


def attempt(database: Database, ordered: dict[str, Any]) -> dict[str, Any]:
    return database.run("select * from public.payments where id = %s", ordered["payment_id"])[0]


def grants(database: Database, ordered: dict[str, Any]) -> tuple[int, int]:
    """How often it was granted, and booked as a sale."""
    row = database.run(
        """select
            (select count(*) from public.purchases as p
                where p.order_item_id = i.id and p.revoked_at is null) as granted,
            (select count(*) from public.transactions as t where t.order_item_id = i.id) as sales
        from public.order_items as i where i.order_id = %s""",
        ordered["order_id"],
    )[0]
    return row["granted"], row["sales"]


def run_out(database: Database, ordered: dict[str, Any]) -> None:
    database.run("update public.payments set expires_at = now() where id = %s", ordered["payment_id"])


def held(simulator: Simulator, ordered: dict[str, Any]) -> dict[str, str]:
    """The events of an attempt that wait at the provider, by type: payment intent's and session's."""
    found = {}
    for row in simulator.deliveries(state="held"):
        told = simulator.get(f"events/{row['event']}")
        names = told["data"]["object"].get("metadata", {}).get("payment_id") == ordered["payment_id"]
        if names and row["type"].startswith(("payment_intent.", "checkout.session.")):
            found[row["type"]] = row["event"]
    found.pop("payment_intent.created", None)
    return found


def applied(database: Database, simulator: Simulator, event: str, times: int = 1) -> None:
    """Deliver an event and wait until something has become of it."""
    simulator.deliver([event], times=times)
    status = "select status::text from private.webhook_events where event_id = %s"
    until(lambda: database.value(status, event) != "pending", f"event {event} to be applied")


# -- one open purchase of a buyer and key ------------------------------------------------------------------------------


def test_one_purchase_a_retry_after_a_slow_success_opens_no_second_session(
    buyer: Member, product: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product, idempotency_key="cart-1")
    first = opened(buyer, ordered)
    assert (first["status"], first["payment_id"]) == ("open", ordered["payment_id"])
    # The same page again, or another one that was reloaded: the key is in its storage.
    assert order(buyer, product, idempotency_key="cart-1") == ordered
    assert opened(buyer, ordered) == first
    simulator.hold()
    simulator.pay_session(first["session_id"])
    # Paid, and nobody here knows.
    again = order(buyer, product, idempotency_key="cart-1")
    assert (again["payment_id"], again["status"]) == (ordered["payment_id"], "pending")
    late = opened(buyer, again)
    assert (late["session_id"], late["status"], late["url"]) == (first["session_id"], "succeeded", None)
    assert confirm(buyer, again)["order_status"] == "completed"
    simulator.release()
    drain(database, simulator)
    # The key answers what it bought, for good; there is nothing more to pay.
    done = order(buyer, product, idempotency_key="cart-1")
    assert (done["order_id"], done["status"]) == (ordered["order_id"], "completed")
    assert code_of(ask(buyer, done)) == "payment_not_open"
    assert len(sessions(simulator, ordered)) == 1
    assert [each["status"] for each in intents(simulator, ordered)] == ["succeeded"]
    assert grants(database, ordered) == (1, 1)


def test_one_purchase_twenty_retries_at_once_open_one_session(
    buyer: Member, product: str, simulator: Simulator
) -> None:
    def retry() -> dict[str, Any]:
        return opened(buyer, order(buyer, product, idempotency_key="cart-1"))

    answers = together([retry] * 20)
    assert len({answer["session_id"] for answer in answers}) == 1
    assert len(sessions(simulator, answers[0])) == 1


def test_one_purchase_the_key_rotates_only_after_a_definite_end(
    buyer: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, artwork, idempotency_key="cart-1")
    opened(buyer, ordered)
    answer = buyer.api.rpc("cancel_order", order_id=ordered["order_id"])
    # Given up, but the page is open elsewhere: not the end yet.
    assert answer.json()["status"] == "pending"
    assert code_of(ask(buyer, ordered)) == "payment_not_open"
    run_job(database, "cancel_expired_payments")
    assert [each["status"] for each in sessions(simulator, ordered)] == ["expired"]
    ended = order(buyer, artwork, idempotency_key="cart-1")
    assert (ended["order_id"], ended["status"]) == (ordered["order_id"], "cancelled")
    assert code_of(ask(buyer, ended)) == "payment_not_open"
    assert confirm(buyer, ended)["order_status"] == "cancelled"
    fresh = order(buyer, artwork, idempotency_key="cart-2")
    simulator.pay_session(opened(buyer, fresh)["session_id"])
    assert wait_for_order(buyer, fresh["order_id"])["status"] == "completed"


def test_one_purchase_a_session_that_is_complete_but_unpaid_grants_nothing(
    buyer: Member, product: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product)
    done = simulator.pay_session(opened(buyer, ordered)["session_id"], BANK)
    assert (done["status"], done["payment_status"]) == ("complete", "unpaid")
    drain(database, simulator)
    state = confirm(buyer, ordered)
    assert (state["order_status"], state["payment_status"]) == ("pending", "processing")
    assert grants(database, ordered) == (0, 0)
    simulator.finish_payment(done["payment_intent"])
    drain(database, simulator)
    state = confirm(buyer, ordered)
    assert (state["order_status"], state["payment_status"]) == ("completed", "succeeded")
    assert grants(database, ordered) == (1, 1)


def test_one_purchase_money_that_does_not_come_after_all_ends_the_attempt(
    buyer: Member, artwork: str, services: Services, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, artwork)
    done = simulator.pay_session(opened(buyer, ordered)["session_id"], BANK)
    drain(database, simulator)
    simulator.finish_payment(done["payment_intent"], "failed")
    drain(database, simulator)
    state = confirm(buyer, ordered)
    assert (state["order_status"], state["payment_status"]) == ("cancelled", "cancelled")
    assert buyer.api.one("orders", id=f"eq.{ordered['order_id']}")["status_reason"] == "payment_failed"
    assert grants(database, ordered) == (0, 0)
    # It is free again at once.
    other = enroll(services, database, 1)[0]
    assert order(other, artwork)["status"] == "pending"


ENDS = [
    ("pm_card_visa", None, {"payment_intent.succeeded", "checkout.session.completed"}, "completed"),
    (
        BANK,
        "succeeded",
        {
            *("payment_intent.processing", "checkout.session.completed"),
            *("payment_intent.succeeded", "checkout.session.async_payment_succeeded"),
        },
        "completed",
    ),
    (
        BANK,
        "failed",
        {
            *("payment_intent.processing", "checkout.session.completed"),
            *("payment_intent.payment_failed", "checkout.session.async_payment_failed"),
        },
        "cancelled",
    ),
]


@pytest.mark.parametrize(("method", "end", "types", "status"), ENDS, ids=["card", "bank", "bank-failed"])
def test_one_purchase_events_in_every_order_and_repeated(
    seller: Person,
    services: Services,
    simulator: Simulator,
    database: Database,
    method: str,
    end: Any,
    types: set[str],
    status: str,
) -> None:
    product = publish_product(seller)
    orders = list(permutations(sorted(types)))
    # And each of them alone: the others are lost.
    orders += [(name,) for name in sorted(types) if len(types) == 2]
    simulator.hold()
    for buyer, kinds in zip(enroll(services, database, len(orders)), orders, strict=True):
        ordered = order(buyer, product)
        paid = simulator.pay_session(opened(buyer, ordered)["session_id"], method)
        if end:
            simulator.finish_payment(paid["payment_intent"], end)
        events = held(simulator, ordered)
        assert set(events) == types
        for kind in kinds:
            applied(database, simulator, events[kind], times=2)
        assert wait_for_order(buyer, ordered["order_id"])["status"] == status, kinds
        assert grants(database, ordered) == ((1, 1) if status == "completed" else (0, 0)), kinds
        assert attempt(database, ordered)["provider_ref"] == paid["payment_intent"], kinds


# -- granted once -----------------------------------------------------------------------------------------------------


def test_one_grant_twenty_confirms_and_the_events_at_once_grant_once(
    buyer: Member, product: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product)
    session = opened(buyer, ordered)["session_id"]
    simulator.hold()
    paid = simulator.pay_session(session)
    calls: list[Callable[[], Any]] = [lambda: confirm(buyer, ordered)] * 20
    answers = together([*calls, simulator.release])[:20]
    assert {answer["order_status"] for answer in answers} == {"completed"}
    assert {answer["payment_status"] for answer in answers} == {"succeeded"}
    drain(database, simulator)
    assert confirm(buyer, ordered) == answers[0]
    assert grants(database, ordered) == (1, 1)
    assert len(simulator.all("charges", payment_intent=paid["payment_intent"])) == 1


@pytest.mark.parametrize("first", ["confirm", "event"])
def test_one_grant_whichever_comes_first_the_second_gets_the_same_answer(
    buyer: Member, product: str, simulator: Simulator, database: Database, first: str
) -> None:
    ordered = order(buyer, product)
    session = opened(buyer, ordered)["session_id"]
    assert confirm(buyer, ordered)["order_status"] == "pending", "nobody paid yet"
    simulator.hold()
    simulator.pay_session(session)
    if first == "event":
        simulator.release()
        wait_for_order(buyer, ordered["order_id"])
    answer = confirm(buyer, ordered)
    assert (answer["order_status"], answer["payment_status"], answer["total_cents"]) == ("completed", "succeeded", 2000)
    simulator.release()
    drain(database, simulator)
    assert confirm(buyer, ordered) == answer
    assert grants(database, ordered) == (1, 1)
    noted = attempt(database, ordered)
    (intent,) = intents(simulator, ordered)
    assert (noted["provider_ref"], noted["charge_id"]) == (intent["id"], intent["latest_charge"])
    assert noted["stripe_session_id"] == session


def test_one_grant_confirm_settles_a_bare_intent_too(
    buyer: Member, product: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product)
    assert confirm(buyer, ordered)["order_status"] == "pending", "not even started"
    simulator.hold()
    simulator.confirm(start(buyer, ordered)["client_secret"])
    assert confirm(buyer, ordered)["order_status"] == "completed"
    assert grants(database, ordered) == (1, 1)


@pytest.mark.parametrize("kind", ["payment_intent.succeeded", "checkout.session.completed"])
def test_one_grant_whoever_notes_the_ids_meanwhile(
    buyer: Member, product: str, simulator: Simulator, database: Database, kind: str
) -> None:
    """What an event is about was not known when it looked, and is by the time it has the row."""
    ordered = order(buyer, product)
    session = opened(buyer, ordered)["session_id"]
    simulator.hold()
    intent = simulator.pay_session(session)["payment_intent"]
    event = held(simulator, ordered)[kind]
    database.run("update public.payments set stripe_session_id = null where id = %s", ordered["payment_id"])
    waiting = (
        "select count(*) from pg_stat_activity where usename = 'avenue_worker' and wait_event_type = 'Lock' "
        "and datname = current_database() and query like '%process_webhook_event%'"
    )
    with database.connect() as other:
        other.execute("begin")
        other.execute("select private.attach_payment_ref(%s, %s)", [ordered["payment_id"], session])
        other.execute("select private.attach_payment_intent(%s, %s)", [ordered["payment_id"], intent])
        simulator.deliver([event])
        until(lambda: database.value(waiting) > 0, "the event to wait for the payment")
        other.execute("commit")
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    assert grants(database, ordered) == (1, 1)


def test_one_grant_the_worker_dies_while_it_confirms(
    buyer: Member, product: str, services: Services, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product)
    session = opened(buyer, ordered)["session_id"]
    simulator.hold()
    simulator.pay_session(session)
    with database.connect() as trap, ThreadPoolExecutor(1) as pool:
        # Stored, and about to be applied.
        trap.execute("begin")
        trap.execute("select from public.orders where id = %s for update", [ordered["order_id"]])
        call = pool.submit(buyer.api.function, "POST", f"payments/{ordered['payment_id']}/confirm")
        stored = (
            "select count(*) from private.webhook_events where payload #>> '{data,object,metadata,payment_id}' = %s"
        )
        until(lambda: database.value(stored, ordered["payment_id"]) > 0, "the event to be stored")
        services.kill("http")
        trap.execute("rollback")
        assert call.exception() or call.result().status_code in (502, 503)
    services.start(["http"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed", "its job goes on without it"
    assert confirm(buyer, ordered)["order_status"] == "completed"
    assert grants(database, ordered) == (1, 1)


# -- one of the two ---------------------------------------------------------------------------------------------------


def test_an_attempt_is_an_intent_or_a_session(buyer: Member, product: str, artwork: str, simulator: Simulator) -> None:
    bare, hosted = order(buyer, product), order(buyer, artwork)
    start(buyer, bare)
    opened(buyer, hosted)
    refused = ask(buyer, bare)
    assert (refused.status_code, code_of(refused), refused.json()["detail"]) == (
        *(409, "payment_started_otherwise", "payment_intent"),
    )
    refused = buyer.api.http.post(hosted["start_url"])
    assert (refused.status_code, code_of(refused), refused.json()["detail"]) == (
        *(409, "payment_started_otherwise", "session"),
    )
    assert (len(intents(simulator, bare)), len(sessions(simulator, bare))) == (1, 0)
    assert (len(intents(simulator, hosted)), len(sessions(simulator, hosted))) == (0, 1)


def test_asked_for_both_at_once_there_is_one(buyer: Member, product: str, simulator: Simulator) -> None:
    ordered = order(buyer, product)
    calls: list[Callable[[], httpx.Response]] = [
        lambda: ask(buyer, ordered),
        lambda: buyer.api.http.post(ordered["start_url"]),
    ]
    answers = together(calls * 4)
    assert {code_of(answer) for answer in answers} == {None, "payment_started_otherwise"}
    assert len(intents(simulator, ordered)) + len(sessions(simulator, ordered)) == 1


def test_a_lost_answer_finds_the_same_session(buyer: Member, product: str, simulator: Simulator) -> None:
    ordered = order(buyer, product)
    simulator.fault("POST /v1/checkout/sessions", "drop_after", times=3)
    assert ask(buyer, ordered).status_code == 503
    # Asked for with other pages: it is the one session, with those it has.
    answer = ask(buyer, ordered, success_url="https://shop.example/thanks")
    assert answer.status_code == 200, answer.text
    (made,) = sessions(simulator, ordered)
    assert (made["id"], made["success_url"]) == (answer.json()["session_id"], PAGES["success_url"])


def test_the_worker_dies_before_it_notes_the_session(
    buyer: Member, product: str, services: Services, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product)
    simulator.fault("POST /v1/checkout/sessions", "delay_after", seconds=60)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(ask, buyer, ordered)
        until(lambda: sessions(simulator, ordered), "the session to be made")
        services.kill("http")
        assert call.exception() or call.result().status_code in (502, 503)
    services.start(["http"])
    assert attempt(database, ordered)["stripe_session_id"] is None
    (made,) = sessions(simulator, ordered)
    assert opened(buyer, ordered)["session_id"] == made["id"]
    assert len(sessions(simulator, ordered)) == 1
    assert database.value("select count(*) from private.session_requests") == 0


# -- ends -------------------------------------------------------------------------------------------------------------


def test_the_session_outlives_our_end_and_is_ended_by_us_first(
    buyer: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, artwork)
    answer = opened(buyer, ordered)
    ours = attempt(database, ordered)["expires_at"].timestamp()
    (made,) = sessions(simulator, ordered)
    # Stripe takes no less than 30 minutes, a piece is held for 15.
    assert ours - time.time() < 1000
    assert made["expires_at"] - made["created"] >= 1800
    assert answer["expires_at"].startswith(attempt(database, ordered)["expires_at"].strftime("%Y-%m-%dT%H:%M"))
    run_out(database, ordered)
    simulator.fault("POST /v1/checkout/sessions/*/expire", "error", times=1000)
    run_job(database, "cancel_expired_payments")
    # While the provider has not said so, the buyer may still pay: the item stays reserved.
    assert attempt(database, ordered)["status"] == "requires_payment"
    assert database.value("select count(*) from private.holds where item_id = %s", artwork) == 1
    simulator.clear_faults()
    run_job(database, "cancel_expired_payments")
    assert attempt(database, ordered)["status"] == "cancelled"
    assert [each["status"] for each in sessions(simulator, ordered)] == ["expired"]
    assert database.value("select count(*) from private.holds where item_id = %s", artwork) == 0


def test_a_session_whose_id_was_lost_is_found_and_ended(
    buyer: Member, product: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product)
    simulator.fault("POST /v1/checkout/sessions", "drop_after", times=3)
    assert ask(buyer, ordered).status_code == 503
    run_out(database, ordered)
    run_job(database, "cancel_expired_payments")
    assert [each["status"] for each in sessions(simulator, ordered)] == ["expired"]
    assert attempt(database, ordered)["status"] == "cancelled"


def test_cancelled_too_late(buyer: Member, product: str, simulator: Simulator, database: Database) -> None:
    """The buyer paid, the events are lost, the time ran out: ending it learns of the success and settles it."""
    ordered = order(buyer, product)
    simulator.hold()
    simulator.pay_session(opened(buyer, ordered)["session_id"])
    run_out(database, ordered)
    run_job(database, "cancel_expired_payments")
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"


def test_a_lost_success_is_found_by_asking(
    buyer: Member, product: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product)
    simulator.hold()
    simulator.pay_session(opened(buyer, ordered)["session_id"])
    database.run(
        "update public.payments set started_at = now() - interval '2 hours' where id = %s", ordered["payment_id"]
    )
    run_job(database, "reconcile_payments")
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"


def test_a_declined_card_leaves_the_page_open(
    buyer: Member, product: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, product)
    session = opened(buyer, ordered)["session_id"]
    simulator.pay_session(session, DECLINED)
    drain(database, simulator)
    state = confirm(buyer, ordered)
    assert (state["order_status"], state["payment_status"]) == ("pending", "failed")
    assert opened(buyer, ordered)["session_id"] == session
    simulator.pay_session(session)
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    drain(database, simulator)
    assert grants(database, ordered) == (1, 1)


def test_a_declined_card_and_then_nothing(
    buyer: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, artwork)
    session = opened(buyer, ordered)["session_id"]
    simulator.hold()
    simulator.pay_session(session, DECLINED)
    # At Stripe it ends by itself, or in the dashboard.
    simulator.post(f"checkout/sessions/{session}/expire")
    simulator.release()
    drain(database, simulator)
    assert confirm(buyer, ordered)["order_status"] == "cancelled"
    assert database.value("select count(*) from private.holds where item_id = %s", artwork) == 0


@pytest.mark.parametrize("sold", [False, True], ids=["deliverable", "sold"])
def test_paid_after_our_end(
    buyer: Member, artwork: str, services: Services, simulator: Simulator, database: Database, sold: bool
) -> None:
    """We were told it is over, and it was not: late money is delivered if it can be, and else goes back in full."""
    ordered = order(buyer, artwork)
    session = opened(buyer, ordered)["session_id"]
    database.run("select private.payment_unknown(%s)", ordered["payment_id"])
    if sold:
        other = enroll(services, database, 1)[0]
        fast = order(other, artwork)
        simulator.pay_session(opened(other, fast)["session_id"])
        assert wait_for_order(other, fast["order_id"])["status"] == "completed"
    simulator.pay_session(session)
    drain(database, simulator)
    (intent,) = intents(simulator, ordered)
    back = [refund["amount"] for refund in simulator.all("refunds", payment_intent=intent["id"])]
    if sold:
        until(lambda: simulator.all("refunds", payment_intent=intent["id"]), "the refund")
        back = [refund["amount"] for refund in simulator.all("refunds", payment_intent=intent["id"])]
        assert (confirm(buyer, ordered)["order_status"], back) == ("cancelled", [5000])
        assert grants(database, ordered) == (0, 0)
    else:
        assert (confirm(buyer, ordered)["order_status"], back) == ("completed", [])
        assert grants(database, ordered) == (1, 1)


def test_a_newer_order_ends_the_session_of_the_older(
    buyer: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    older = order(buyer, artwork)
    opened(buyer, older)
    newer = order(buyer, artwork)
    assert code_of(ask(buyer, older)) == "payment_not_open"
    run_job(database, "cancel_expired_payments")
    assert [each["status"] for each in sessions(simulator, older)] == ["expired"]
    simulator.pay_session(opened(buyer, newer)["session_id"])
    assert wait_for_order(buyer, newer["order_id"])["status"] == "completed"


# -- afterwards -------------------------------------------------------------------------------------------------------


def test_refunds_fees_and_late_declines_go_on_working(
    buyer: Member, seller: Person, product: str, artwork: str, simulator: Simulator, database: Database
) -> None:
    ordered, lost = order(buyer, product), order(buyer, artwork)
    for each in (ordered, lost):
        simulator.pay_session(opened(buyer, each)["session_id"])
        assert wait_for_order(buyer, each["order_id"])["status"] == "completed"
    drain(database, simulator)
    until(lambda: attempt(database, ordered)["provider_fee_cents"] == 88, "the fee to be read")
    line = seller.api.one("order_items", order_id=f"eq.{ordered['order_id']}")["id"]
    assert seller.api.rpc("refund_order_item", order_item_id=line, amount_cents=500).status_code == 200
    (intent,) = intents(simulator, ordered)
    until(lambda: simulator.all("refunds", payment_intent=intent["id"]), "the refund to be made")
    drain(database, simulator)
    assert attempt(database, ordered)["refunded_cents"] == 500
    (gone,) = intents(simulator, lost)
    simulator.late_decline(gone["id"])
    drain(database, simulator)
    assert attempt(database, lost)["charge_reversed_at"]
    # Nobody can pay it again: its page does not open any more.
    run_job(database, "cancel_expired_payments")
    assert database.value("select count(*) from private.payment_closings") == 0


# -- who and where to -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("https://evil.example/paid", "https://shop.example.evil.example/", "https://shop.example@evil.example/"),
        *(
            "http://shop.example/paid",
            "https://shop.example:8443/paid",
            "//evil.example",
            "javascript:alert(1)",
            "/paid",
        ),
        *("https:evil.example", "https://evil.example\\@shop.example/", "https://shop.example/" + "x" * 2048, ""),
    ],
)
@pytest.mark.parametrize("page", PAGES)
def test_buyers_return_to_the_application_only(
    buyer: Member, product: str, simulator: Simulator, url: str, page: str
) -> None:
    ordered = order(buyer, product)
    refused = ask(buyer, ordered, **{page: url})
    assert refused.status_code == 422
    assert code_of(refused) in ("url_not_allowed", "invalid_request")
    assert sessions(simulator, ordered) == []


def test_a_strangers_payment_is_not_there(
    buyer: Member, product: str, services: Services, anon: Api, database: Database, simulator: Simulator
) -> None:
    ordered = order(buyer, product)
    session = opened(buyer, ordered)["session_id"]
    stranger = enroll(services, database, 1)[0]
    for call in ("session", "confirm"):
        path, body = f"payments/{ordered['payment_id']}/{call}", PAGES if call == "session" else None
        refused = stranger.api.function("POST", path, body)
        assert (refused.status_code, code_of(refused)) == (404, "payment_not_found")
        assert anon.function("POST", path, body).status_code == 401
        assert buyer.api.function("POST", path.replace(ordered["payment_id"], "x"), body).status_code == 422
    assert buyer.api.one("payments", id=f"eq.{ordered['payment_id']}")["stripe_session_id"] == session
    assert stranger.api.select("payments", id=f"eq.{ordered['payment_id']}") == []


# -- events that are not what we asked for ----------------------------------------------------------------------------


def deliver(services: Services, obj: dict[str, Any], kind: str, **of_event: Any) -> str:
    name = f"evt_{time.time_ns()}"
    body = json.dumps(
        {"id": name, "object": "event", "type": kind, "created": int(time.time()), "livemode": False}
        | {"data": {"object": obj}}
        | of_event
    ).encode()
    signature = stripe_signature(body, services.webhook_secret)
    answer = httpx.post(f"{services.url}/webhooks/stripe", content=body, headers={"stripe-signature": signature})
    assert answer.status_code == 200
    return name


@pytest.mark.parametrize(
    ("of_object", "of_event", "status"),
    [
        ({"amount_total": 1999}, {}, "dead"),
        ({"currency": "eur"}, {}, "dead"),
        ({"mode": "setup"}, {}, "dead"),
        ({"payment_status": "no_payment_required"}, {}, "dead"),
        ({"id": "cs_test_another"}, {}, "dead"),
        ({"metadata": {"payment_id": "00000000-0000-4000-8000-000000000000"}}, {}, "dead"),
        ({"id": "cs_test_another", "metadata": {}}, {}, "ignored"),
        ({}, {"account": "acct_somebody"}, "ignored"),
        ({}, {"livemode": True}, "ignored"),
    ],
)
def test_what_was_not_asked_for_grants_nothing(
    buyer: Member,
    product: str,
    services: Services,
    simulator: Simulator,
    database: Database,
    of_object: dict[str, Any],
    of_event: dict[str, Any],
    status: str,
) -> None:
    ordered = order(buyer, product)
    made = simulator.get(f"checkout/sessions/{opened(buyer, ordered)['session_id']}")
    said = made | {"status": "complete", "payment_status": "paid", "payment_intent": "pi_forged"} | of_object
    name = deliver(services, said, "checkout.session.completed", **of_event)
    found = "select status::text from private.webhook_events where event_id = %s"
    until(lambda: database.value(found, name) not in (None, "pending"), "the event to be looked at")
    assert database.value(found, name) == status
    noted = attempt(database, ordered)
    assert (noted["status"], noted["provider_ref"]) == ("requires_payment", None)
    assert grants(database, ordered) == (0, 0)
    if status == "dead":
        database.run("delete from private.webhook_events where event_id = %s", name)


def test_an_event_that_says_paid_is_not_believed(
    buyer: Member, product: str, services: Services, simulator: Simulator, database: Database
) -> None:
    """Signed as it is: what settles is read at the provider."""
    ordered = order(buyer, product)
    made = simulator.get(f"checkout/sessions/{opened(buyer, ordered)['session_id']}")
    deliver(services, made | {"status": "complete", "payment_status": "paid"}, "checkout.session.completed")
    drain(database, simulator)
    assert confirm(buyer, ordered)["order_status"] == "pending"
    assert grants(database, ordered) == (0, 0)
