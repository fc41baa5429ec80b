"""A payout through the real worker and the provider, with the worker killed and the provider failing at each step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from stack.services import Services
from tests.harness.fixtures import running
from tests.harness.market import Simulator, assert_books, buy, drain, pass_time, publish_product, run_job
from tests.harness.people import Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until

AMOUNT = 6000
# A worker that resumes within seconds instead of minutes, so that a crash costs a test little time.
ENVIRONMENT = {"AVENUE_PAYOUT_RESUME_SECONDS": "2", "AVENUE_STALLED_SECONDS": "3"}


@pytest.fixture(scope="module")
def services(database: Database) -> Iterator[Services]:
    with running(database, **ENVIRONMENT) as services:
        yield services


@pytest.fixture(scope="module")
def seller(services: Services, database: Database, simulator: Simulator, sign_up: SignUp) -> Person:
    """A seller with earnings to pay out and an account that can be paid."""
    seller = sign_up()
    buyer = sign_up()
    for _ in range(3):
        buy(simulator, buyer, publish_product(seller, 99000))
    drain(database, simulator)
    pass_time(database)
    run_job(database, "release_earnings")
    answer = seller.api.function(
        "POST", "payouts/onboard", {"return_url": "https://shop.example/done", "refresh_url": "https://shop.example/x"}
    )
    assert answer.status_code == 200, answer.text
    simulator.complete_account(answer.json()["account_id"])
    drain(database, simulator)
    assert seller.api.one("wallets", user_id=f"eq.{seller.id}")["stripe_account_status"] == "enabled"
    return seller


def request(seller: Person) -> str:
    answer = seller.api.rpc("request_payout", amount_cents=AMOUNT)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def status(seller: Person, payout: str) -> str:
    return str(seller.api.one("payouts", id=f"eq.{payout}")["status"])


def transfers(simulator: Simulator, payout: str) -> list[dict[str, Any]]:
    return simulator.all("transfers", transfer_group=payout)


def assert_paid_once(seller: Person, simulator: Simulator, database: Database, payout: str) -> None:
    until(lambda: status(seller, payout) == "completed", "the payout to complete", 40)
    drain(database, simulator)
    assert [transfer["amount"] for transfer in transfers(simulator, payout)] == [AMOUNT]
    assert_books(database, simulator)


def test_a_payout_is_sent(seller: Person, simulator: Simulator, database: Database) -> None:
    payout = request(seller)
    assert_paid_once(seller, simulator, database, payout)


@pytest.mark.parametrize(
    ("match", "mode"),
    [
        ("GET /v1/transfers", "hang"),
        ("POST /v1/transfers", "delay_before"),
        ("POST /v1/transfers", "delay_after"),
    ],
    ids=["before the provider is asked to pay", "while the provider pays", "before the payment is recorded"],
)
def test_worker_killed(
    seller: Person, simulator: Simulator, database: Database, services: Services, match: str, mode: str
) -> None:
    simulator.fault(match, mode, seconds=3)
    # Nor may the provider's event do the work: what is killed must find its own way.
    simulator.hold()
    try:
        payout = request(seller)
        until(lambda: not simulator.faults(), "the worker to reach the provider")
        time.sleep(0.2)
        services.kill("jobs")
        assert status(seller, payout) == "processing"
        services.start(["jobs"])
        until(lambda: status(seller, payout) == "completed", "the payout to complete", 40)
    finally:
        simulator.clear_faults()
        simulator.release()
    assert_paid_once(seller, simulator, database, payout)


@pytest.mark.parametrize(
    ("mode", "details"),
    [
        ("drop_after", {"times": 1}),
        ("drop_after", {"times": 3}),
        ("error", {"status": 500, "times": 4}),
        ("error", {"status": 429, "times": 2}),
        ("error", {"status": 401, "times": 1}),
    ],
    ids=["answer lost", "all answers lost", "errors", "too many requests", "key not accepted"],
)
def test_provider_in_trouble(
    seller: Person, simulator: Simulator, database: Database, mode: str, details: dict[str, Any]
) -> None:
    simulator.fault("POST /v1/transfers", mode, **details)
    simulator.hold()
    try:
        payout = request(seller)
        until(lambda: status(seller, payout) == "completed", "the payout to complete", 40)
    finally:
        simulator.clear_faults()
        simulator.release()
    assert_paid_once(seller, simulator, database, payout)


def test_provider_refuses(seller: Person, simulator: Simulator, database: Database) -> None:
    before = seller.api.one("wallets", user_id=f"eq.{seller.id}")["balance_available_cents"]
    refusal = {"error": {"type": "invalid_request_error", "code": "account_closed", "message": "It is closed."}}
    simulator.fault("POST /v1/transfers", "error", status=400, body=refusal)
    payout = request(seller)
    until(lambda: status(seller, payout) == "failed", "the payout to fail")
    row = seller.api.one("payouts", id=f"eq.{payout}")
    assert row["failure_reason"] == "account_closed"
    assert seller.api.one("wallets", user_id=f"eq.{seller.id}")["balance_available_cents"] == before
    assert transfers(simulator, payout) == []
    assert_books(database, simulator)


def test_two_workers(seller: Person, simulator: Simulator, database: Database) -> None:
    """The same job many times at once, as after a confused restart: one transfer, no failed job."""
    simulator.hold()
    try:
        simulator.fault("POST /v1/transfers", "delay_before", seconds=1)
        payout = request(seller)
        for _ in range(8):
            database.run("select private.enqueue('send_payout', jsonb_build_object('payout_id', %s::text))", payout)
        until(lambda: status(seller, payout) == "completed", "the payout to complete", 40)
    finally:
        simulator.release()
    assert_paid_once(seller, simulator, database, payout)
    assert database.value("select count(*) from jobs.procrastinate_jobs where status = 'failed'") == 0


def test_a_foreign_transfer_in_the_group_stops_the_payout(
    seller: Person, simulator: Simulator, database: Database, services: Services
) -> None:
    """Something else than what was asked for is at the provider: nothing is sent, people are told."""
    simulator.hold()
    services.kill("jobs")
    try:
        payout = request(seller)
        destination = seller.api.one("wallets", user_id=f"eq.{seller.id}")["stripe_account_id"]
        simulator.post("transfers", amount=AMOUNT - 1, currency="usd", destination=destination, transfer_group=payout)
    finally:
        services.start(["jobs"])
    until(lambda: "ProviderConflict" in services.log("jobs").read_text(), "the alarm")
    assert status(seller, payout) == "processing"
    assert [transfer["amount"] for transfer in transfers(simulator, payout)] == [AMOUNT - 1]
