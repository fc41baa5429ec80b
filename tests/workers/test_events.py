"""Stored events as the worker applies them: plain settlements together, whatever else there is each by itself."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from stack.services import Services
from tests.harness.market import order, publish_product, start
from tests.harness.people import Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until


@pytest.fixture(scope="module")
def product(sign_up: SignUp) -> str:
    return publish_product(sign_up())


@pytest.fixture
def paid(product: str, sign_up: SignUp, database: Database) -> list[dict[str, Any]]:
    """Five attempts under way at the provider, of five people."""
    people: list[Person] = [sign_up() for _ in range(5)]
    payments = []
    for person in people:
        ordered = order(person, product)
        start(person, ordered)
        payments.append(ordered["payment_id"])
    return database.run(
        "select id, provider_ref, amount_cents, status from public.payments where id = any(%s) order by id", payments
    )


def store(database: Database, payments: list[dict[str, Any]], **wrong: int) -> None:
    """One delivery in which the provider says that all of them succeeded; of the last with other amounts."""
    events = []
    for payment in payments:
        name = f"evt_{uuid.uuid4().hex}"
        intent = {
            "object": "payment_intent",
            "id": payment["provider_ref"],
            "amount_received": payment["amount_cents"],
            "currency": "usd",
            "latest_charge": f"ch_{payment['id']}",
            **(wrong if payment is payments[-1] else {}),
        }
        type_ = "payment_intent.succeeded"
        payload = {"id": name, "type": type_, "data": {"object": intent}}
        events.append({"id": name, "type": type_, "created": 1790000000, "payload": payload})
    database.run("select private.store_webhook_events('stripe', %s)", json.dumps(events))


def settled(database: Database, payments: list[dict[str, Any]]) -> dict[str, Any]:
    """How many are settled, and in how many transactions of the database that was."""
    (row,) = database.run(
        "select count(*) as payments, count(distinct j.xmin::text) as commits from public.transactions as t "
        "inner join ledger.journal as j on j.idempotency_key = 'sale:' || t.id where t.payment_id = any(%s)",
        [payment["id"] for payment in payments],
    )
    return row


def test_plain_settlements_are_one_transaction(database: Database, paid: list[dict[str, Any]]) -> None:
    store(database, paid)
    until(lambda: settled(database, paid)["payments"] == 5, "all of them to settle")
    assert settled(database, paid)["commits"] == 1


def test_one_that_fails_keeps_no_other_back(database: Database, paid: list[dict[str, Any]]) -> None:
    store(database, paid, amount_received=1)
    dead = "select last_error from private.webhook_events where payload #>> '{data,object,id}' = %s and status = 'dead'"
    until(lambda: database.value(dead, paid[-1]["provider_ref"]), "the wrong one to be dead")
    assert settled(database, paid) == {"payments": 4, "commits": 1}


def test_what_cannot_be_settled_together_is_settled_one_by_one(
    services: Services, database: Database, paid: list[dict[str, Any]]
) -> None:
    body = database.value("select pg_get_functiondef('private.settle_batch(bigint[], boolean)'::regprocedure)")
    database.run(
        "create or replace function private.settle_batch(ids bigint[], only_free boolean default false) "
        "returns bigint[] language plpgsql as $$ begin raise exception 'not today'; end $$"
    )
    try:
        store(database, paid)
        until(lambda: settled(database, paid)["payments"] == 5, "all of them to settle")
    finally:
        database.run(body)
    assert settled(database, paid)["commits"] == 5
    assert "events not settled together" in (services.logs / "jobs.log").read_text()
