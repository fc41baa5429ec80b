"""Attempts to take money as the workers see them: opened once, cancelled at the provider, never lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stack.services import Services
from tests.harness.market import (
    Simulator,
    assert_books,
    buy,
    drain,
    order,
    publish_artwork,
    publish_product,
    run_job,
    start,
    wait_for_order,
)
from tests.harness.people import Api, Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture(scope="module")
def buyer(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture
def product(seller: Person) -> str:
    return publish_product(seller)


def intents(simulator: Simulator, ordered: dict[str, Any]) -> list[dict[str, Any]]:
    found = simulator.all("payment_intents")
    return [intent for intent in found if intent["metadata"].get("payment_id") == ordered["payment_id"]]


def payment(buyer: Person, ordered: dict[str, Any]) -> dict[str, Any]:
    return buyer.api.one("payments", id=f"eq.{ordered['payment_id']}")


def let_expire(database: Database, ordered: dict[str, Any]) -> None:
    database.run("update public.payments set expires_at = now() where id = %s", ordered["payment_id"])


# -- opening ----------------------------------------------------------------------------------------------------------


def test_start_answers_what_a_frontend_needs(buyer: Person, product: str) -> None:
    ordered = order(buyer, product)
    answer = buyer.api.http.post(ordered["start_url"])
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["provider"] == "stripe"
    assert body["status"] == "open"
    assert body["client_secret"].startswith(body["provider_ref"])
    assert (body["amount_cents"], body["currency"]) == (2000, "USD")


def test_started_however_often_there_is_one_attempt(buyer: Person, product: str, simulator: Simulator) -> None:
    ordered = order(buyer, product)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: buyer.api.http.post(ordered["start_url"]), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["client_secret"] for answer in answers}) == 1
    assert len(intents(simulator, ordered)) == 1


def test_a_lost_answer_creates_nothing_twice(buyer: Person, product: str, simulator: Simulator) -> None:
    ordered = order(buyer, product)
    simulator.fault("POST /v1/payment_intents", "drop_after", times=3)
    refused = buyer.api.http.post(ordered["start_url"])
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert "retry-after" in refused.headers
    start(buyer, ordered)
    assert len(intents(simulator, ordered)) == 1


def test_only_the_payer_may_start(buyer: Person, seller: Person, anon: Api, product: str) -> None:
    ordered = order(buyer, product)
    strange = seller.api.http.post(ordered["start_url"])
    assert (strange.status_code, strange.json()["code"]) == (404, "payment_not_found")
    nobody = anon.http.post(ordered["start_url"])
    assert (nobody.status_code, nobody.json()["code"]) == (401, "not_signed_in")


def test_what_is_paid_is_not_started_again(buyer: Person, product: str, simulator: Simulator) -> None:
    ordered = order(buyer, product)
    simulator.confirm(start(buyer, ordered)["client_secret"])
    wait_for_order(buyer, ordered["order_id"])
    again = buyer.api.http.post(ordered["start_url"])
    assert (again.status_code, again.json()["code"]) == (409, "payment_not_open")


def test_the_provider_refuses(buyer: Person, product: str, simulator: Simulator) -> None:
    ordered = order(buyer, product)
    refusal = {"error": {"type": "invalid_request_error", "code": "amount_too_small", "message": "Too small."}}
    simulator.fault("POST /v1/payment_intents", "error", status=400, body=refusal)
    answer = buyer.api.http.post(ordered["start_url"])
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (
        502,
        "provider_refused",
        "Too small.",
    )


# -- giving up --------------------------------------------------------------------------------------------------------


def test_expired_is_cancelled_at_the_provider_first(
    buyer: Person, seller: Person, simulator: Simulator, database: Database
) -> None:
    artwork = publish_artwork(seller)
    ordered = order(buyer, artwork)
    start(buyer, ordered)
    let_expire(database, ordered)
    # As often as it is asked: the worker runs this job each minute of its own accord, too.
    simulator.fault("POST /v1/payment_intents/*/cancel", "error", times=1000)
    run_job(database, "cancel_expired_payments")
    # While the provider has not said so, the buyer may still pay: the item stays reserved.
    assert payment(buyer, ordered)["status"] == "requires_payment"
    assert database.value("select count(*) from private.holds where item_id = %s", artwork) == 1
    simulator.clear_faults()
    run_job(database, "cancel_expired_payments")
    assert payment(buyer, ordered)["status"] == "cancelled"
    assert [intent["status"] for intent in intents(simulator, ordered)] == ["canceled"]
    assert database.value("select count(*) from private.holds where item_id = %s", artwork) == 0


def test_expired_before_the_provider_heard_of_it(
    buyer: Person, seller: Person, simulator: Simulator, database: Database
) -> None:
    artwork = publish_artwork(seller)
    ordered = order(buyer, artwork)
    let_expire(database, ordered)
    run_job(database, "cancel_expired_payments")
    assert payment(buyer, ordered)["status"] == "cancelled"
    assert intents(simulator, ordered) == []


def test_the_worker_died_before_it_noted_the_attempt(
    buyer: Person, product: str, simulator: Simulator, database: Database
) -> None:
    """The attempt exists at the provider and we do not know its id: found again through the idempotency key."""
    ordered = order(buyer, product)
    start(buyer, ordered)
    database.run("update public.payments set provider_ref = null where id = %s", ordered["payment_id"])
    let_expire(database, ordered)
    run_job(database, "cancel_expired_payments")
    assert [intent["status"] for intent in intents(simulator, ordered)] == ["canceled"]
    assert payment(buyer, ordered)["status"] == "cancelled"


def test_cancelled_too_late(buyer: Person, product: str, simulator: Simulator, database: Database) -> None:
    """The buyer paid, the event is lost, the time ran out: cancelling learns of the success and settles it."""
    ordered = order(buyer, product)
    simulator.hold()
    try:
        simulator.confirm(start(buyer, ordered)["client_secret"])
        let_expire(database, ordered)
        run_job(database, "cancel_expired_payments")
        assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    finally:
        simulator.release()
    drain(database, simulator)
    assert_books(database, simulator)


def test_given_up_while_it_was_created(buyer: Person, product: str, simulator: Simulator, database: Database) -> None:
    ordered = order(buyer, product)
    simulator.fault("POST /v1/payment_intents", "delay_before", seconds=1.5)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(buyer.api.http.post, ordered["start_url"])
        until(lambda: not simulator.faults(), "the attempt to be created")
        let_expire(database, ordered)
        database.run("select private.payment_cancelled(%s)", ordered["payment_id"])
        assert (answer.result().status_code, answer.result().json()["code"]) == (409, "payment_not_open")
    assert [intent["status"] for intent in intents(simulator, ordered)] == ["canceled"]


# -- losing nothing ---------------------------------------------------------------------------------------------------


def test_a_lost_event_is_found_by_asking(buyer: Person, product: str, simulator: Simulator, database: Database) -> None:
    ordered = order(buyer, product)
    simulator.hold()
    try:
        simulator.confirm(start(buyer, ordered)["client_secret"])
        database.run(
            "update public.payments set started_at = now() - interval '2 hours' where id = %s", ordered["payment_id"]
        )
        run_job(database, "reconcile_payments")
        assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    finally:
        simulator.release()
    # The event that arrives after all changes nothing.
    drain(database, simulator)
    assert_books(database, simulator)


def test_the_real_fee_is_read_as_soon_as_it_is_known(
    buyer: Person, product: str, simulator: Simulator, database: Database
) -> None:
    simulator.config(defer_fees=True, fee_fixed_cents=55)
    try:
        ordered = order(buyer, product)
        simulator.confirm(start(buyer, ordered)["client_secret"])
        wait_for_order(buyer, ordered["order_id"])
        charge = until(lambda: payment(buyer, ordered)["charge_id"], "the charge to be known")
        assert payment(buyer, ordered)["provider_fee_cents"] is None
        simulator.settle_charge(str(charge))
        run_job(database, "read_missing_fees")
        assert payment(buyer, ordered)["provider_fee_cents"] == 113
    finally:
        simulator.config(defer_fees=False, fee_fixed_cents=30)


def test_a_lost_refund_job_is_made_up_for(
    buyer: Person, seller: Person, product: str, simulator: Simulator, database: Database, services: Services
) -> None:
    ordered = buy(simulator, buyer, product)
    # The refund's job is what is lost here, not one of the sale's.
    drain(database, simulator)
    item = seller.api.one("order_items", order_id=f"eq.{ordered['id']}")["id"]
    services.kill("jobs")
    try:
        answer = seller.api.rpc("refund_order_item", order_item_id=item, amount_cents=500)
        assert answer.status_code == 200, answer.text
        refund = answer.json()["id"]
        database.run("delete from jobs.procrastinate_jobs where task_name = 'send_refund'")
        database.run("update public.refunds set created_at = now() - interval '5 minutes' where id = %s", refund)
    finally:
        services.start(["jobs"])
    simulator.fault("POST /v1/refunds", "drop_after", times=3)
    # Whichever comes first, the schedule's run or ours.
    for _ in range(2):
        run_job(database, "resume_refunds")
    until(lambda: seller.api.one("refunds", id=f"eq.{refund}")["status"] == "succeeded", "the refund to succeed")
    drain(database, simulator)
    intent = payment_ref(database, ordered)
    assert [made["amount"] for made in simulator.all("refunds", payment_intent=intent)] == [500]
    assert_books(database, simulator)


def test_a_refund_made_in_the_dashboard_whose_event_was_lost(
    buyer: Person, product: str, simulator: Simulator, database: Database
) -> None:
    ordered = buy(simulator, buyer, product)
    drain(database, simulator)
    simulator.hold()
    try:
        simulator.post("refunds", payment_intent=payment_ref(database, ordered), amount=700)
        run_job(database, "sync_refunds", payment_id=str(payment_id(database, ordered)))
        until(
            lambda: (
                database.value("select refunded_cents from public.payments where order_id = %s", ordered["id"]) == 700
            ),
            "the refund to be booked",
        )
    finally:
        simulator.release()
    drain(database, simulator)
    assert_books(database, simulator)


def payment_id(database: Database, ordered: dict[str, Any]) -> Any:
    return database.value("select id from public.payments where order_id = %s", ordered["id"])


def payment_ref(database: Database, ordered: dict[str, Any]) -> str:
    return str(database.value("select provider_ref from public.payments where order_id = %s", ordered["id"]))
