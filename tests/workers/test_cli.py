"""The operator's command line, run as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from stack.cluster import REPO
from stack.services import Services
from tests.harness.market import Simulator, buy, drain, pass_time, publish_product
from tests.harness.people import Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until
from workers.check import project_of


@pytest.fixture(scope="module")
def seller(sign_up: SignUp, simulator: Simulator, database: Database) -> Person:
    """Somebody who sold something."""
    seller = sign_up(username="ada")
    buy(simulator, sign_up(), publish_product(seller, 90000))
    drain(database, simulator)
    return seller


def avenue(services: Services | None, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(services.env if services else {}), **changes}
    return subprocess.run(
        [sys.executable, "-m", "workers.cli", *arguments],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def as_json(services: Services, *arguments: str) -> Any:
    done = avenue(services, *arguments, "--json")
    return json.loads(done.stdout)


def test_audit_of_right_books(services: Services, seller: Person) -> None:
    done = avenue(services, "audit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The books are right" in done.stdout
    assert "equal" in done.stdout
    answer = as_json(services, "audit")
    assert answer["clean"] is True
    assert sum(row["balance_cents"] for row in answer["balances"]) == 0
    assert answer["positions"][0]["books_cents"] == answer["positions"][0]["provider_cents"] > 0


def test_audit_finds_what_the_provider_lacks(services: Services, seller: Person, simulator: Simulator) -> None:
    simulator.add_balance(-100)
    try:
        done = avenue(services, "audit")
        assert done.returncode == 1
        assert "different" in done.stdout
        assert as_json(services, "audit")["clean"] is False
    finally:
        simulator.add_balance(100)


def test_audit_finds_what_is_wrong_in_the_books(services: Services, seller: Person, database: Database) -> None:
    spoil = "update public.wallets set balance_available_cents = balance_available_cents + %s where user_id = %s"
    database.run(spoil, 1, seller.id)
    try:
        done = avenue(services, "audit")
        assert done.returncode == 1
        assert "wallets equal their entries" in done.stdout
        assert as_json(services, "audit")["findings"]
    finally:
        database.run(spoil, -1, seller.id)


def test_audit_without_the_provider(services: Services, seller: Person) -> None:
    """Not knowing is not a difference; the books are judged all the same."""
    done = avenue(services, "audit", AVENUE_STRIPE_API_BASE="http://127.0.0.1:1")
    assert done.returncode == 0
    assert "unknown" in done.stdout


def test_a_dead_event_is_seen_and_replayed(services: Services, database: Database) -> None:
    database.run(
        "insert into private.webhook_events (provider, event_id, type, payload, last_error) values "
        "('stripe', 'evt_dead', 'customer.created', '{\"data\": {\"object\": {\"name\": \"Zoë\"}}}', 'no reason')"
    )
    database.run("update private.webhook_events set status = 'dead' where event_id = 'evt_dead'")
    row = next(row for row in as_json(services, "events", "list", "--status", "dead") if row["event_id"] == "evt_dead")
    assert row["last_error"] == "no reason"
    assert "evt_dead" in avenue(services, "events", "list").stdout
    assert "Zoë" in avenue(services, "events", "show", str(row["id"])).stdout
    replayed = avenue(services, "events", "replay", str(row["id"]))
    assert replayed.returncode == 0, replayed.stderr
    assert "ignored" in replayed.stdout
    unknown = avenue(services, "events", "replay", "999999999")
    assert unknown.returncode == 1
    assert avenue(services, "events", "show", "999999999").returncode == 1


def test_events_that_never_arrived_are_fetched(
    services: Services, seller: Person, simulator: Simulator, database: Database
) -> None:
    simulator.config(drop_rate=1)
    try:
        charge = simulator.all("charges")[0]
        simulator.post("refunds", payment_intent=charge["payment_intent"], amount=100)
    finally:
        simulator.config(drop_rate=0)
    refunded = "select refunded_cents from public.payments where provider_ref = %s"
    assert database.value(refunded, charge["payment_intent"]) == 0
    fetched = avenue(services, "events", "fetch")
    assert fetched.returncode == 0, fetched.stderr
    until(lambda: database.value(refunded, charge["payment_intent"]) == 100, "the refund to be booked")
    again = avenue(services, "events", "fetch", "--days", "30")
    assert again.stdout.split()[-3] == "0", again.stdout


def test_a_payout_above_the_limit_is_approved(
    services: Services, seller: Person, simulator: Simulator, database: Database
) -> None:
    database.run("update private.settings set payout_approval_above_cents = 10000")
    pass_time(database)
    released = avenue(services, "jobs", "run", "release_earnings")
    assert released.returncode == 0, released.stderr
    assert "release_earnings has run" in released.stdout
    urls = {"return_url": "https://shop.example/a", "refresh_url": "https://shop.example/b"}
    account = seller.api.function("POST", "payouts/onboard", urls).json()["account_id"]
    simulator.complete_account(account)
    drain(database, simulator)
    payout = seller.api.rpc("request_payout", amount_cents=20000).json()

    waiting = as_json(services, "payouts", "list", "--status", "requested")
    assert [(row["id"], row["username"], row["amount_cents"]) for row in waiting] == [(payout["id"], "ada", 20000)]
    assert "200.00" in avenue(services, "payouts", "list").stdout
    approved = avenue(services, "payouts", "approve", payout["id"], "--by", "grace")
    assert approved.returncode == 0, approved.stderr
    until(lambda: seller.api.one("payouts", id=f"eq.{payout['id']}")["status"] == "completed", "the payout")
    assert "grace" in str(database.run("select * from public.audit_log"))

    again = avenue(services, "payouts", "approve", payout["id"], "--by", "grace")
    assert again.returncode == 1
    assert "payout_not_open" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    "arguments",
    [("events", "list"), ("payouts", "list"), ("audit",), ("jobs", "install"), ("jobs", "run", "release_earnings")],
    ids=" ".join,
)
def test_without_a_database_one_line_says_so(arguments: tuple[str, ...]) -> None:
    url = "postgresql://avenue_worker:hush-hush@127.0.0.1:1/none"
    done = avenue(None, *arguments, AVENUE_DATABASE_URL=url, AVENUE_ADMIN_DATABASE_URL=url)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush-hush" not in done.stderr


def test_what_is_not_configured_is_named() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AVENUE_")}
    done = subprocess.run(
        [sys.executable, "-m", "workers.cli", "serve"],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "AVENUE_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_task_is_answered_with_the_known_ones(services: Services) -> None:
    done = avenue(services, "jobs", "run", "nonsense")
    assert done.returncode == 1
    assert "release_earnings" in done.stderr


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_process_that_lacks_a_setting_stops_with_one_line(command: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AVENUE_")}
    done = subprocess.run(
        [sys.executable, "-m", "workers.cli", command],
        cwd=REPO,
        env={**kept, "AVENUE_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    needed = "AVENUE_SUPABASE_URL, AVENUE_SECRET_KEY, AVENUE_WORKERS_URL, AVENUE_STRIPE_SECRET_KEY"
    more = ", AVENUE_JWKS_URL (or AVENUE_JWT_SECRET), AVENUE_STRIPE_WEBHOOK_SECRETS" if command == "serve" else ""
    assert done.stderr == f"Not set: {needed}{more} (docs/deploy.md).\n"


def test_check_says_what_was_reached_and_what_is_missing(services: Services, database: Database) -> None:
    done = avenue(services, "check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert rows["database"]["where"].startswith("avenue_worker at 127.0.0.1:")
    assert {row["verdict"] for row in rows.values()} == {"ok"}
    assert set(rows) == {"database", "storage", "rest", "signing keys", "workers"}
    changes = {"AVENUE_SECRET_KEY": "sb_secret_wrong", "AVENUE_WORKERS_URL": "http://127.0.0.1:9"}
    wrong = avenue(services, "check", "--json", **changes)
    assert wrong.returncode == 1
    verdicts = {row["what"]: row["verdict"] for row in json.loads(wrong.stdout)}
    assert "Invalid API key" in verdicts["storage"]
    assert "ConnectError" in verdicts["workers"]
    other = avenue(services, "check", "--json", AVENUE_WORKERS_URL="http://127.0.0.1:9")
    assert services.url in {row["what"]: row["verdict"] for row in json.loads(other.stdout)}["rest"]


@pytest.mark.parametrize(
    ("url", "project"),
    [
        ("postgresql://avenue_worker:x@db.abcdefghijklmnopqrst.supabase.co:5432/postgres", "abcdefghijklmnopqrst"),
        ("postgresql://avenue_worker.abcdefghijklmnopqrst:x@pooler.example:5432/postgres", "abcdefghijklmnopqrst"),
        ("https://abcdefghijklmnopqrst.supabase.co", "abcdefghijklmnopqrst"),
        ("postgresql://avenue_worker@127.0.0.1:5432/postgres", None),
        ("https://api.example.com", None),
    ],
)
def test_the_project_of_an_address(url: str, project: str | None) -> None:
    assert project_of(url) == project
