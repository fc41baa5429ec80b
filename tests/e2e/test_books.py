"""Debts, keys, refund requests, deliveries and corrections, as clients meet them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.market import (
    Simulator,
    assert_books,
    buy,
    drain,
    order,
    pass_time,
    publish_product,
    run_job,
    start,
    wait_for_order,
)
from tests.harness.people import Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until


@pytest.fixture(autouse=True)
def books_are_right(database: Database, simulator: Simulator) -> Any:
    yield
    drain(database, simulator)
    assert_books(database, simulator)


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture
def buyer(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture(scope="module")
def other_admin(sign_up: SignUp, database: Database) -> Person:
    person = sign_up()
    database.run("select private.grant_role(%s, 'admin')", person.id)
    return person


def adjust(admin: Person, user: Person, cents: int, key: str, reason: str = "why") -> Any:
    return admin.api.rpc("adjust_wallet", user_id=user.id, amount_cents=cents, reason=reason, idempotency_key=key)


def line_of(person: Person, item: str) -> str:
    return str(person.api.one("transactions", related_id=f"eq.{item}")["order_item_id"])


def balances(person: Person) -> tuple[int, int]:
    wallet = person.api.one("wallets")
    return wallet["balance_available_cents"], wallet["debt_cents"]


def test_credits_repay_debt_and_who_owes_cannot_spend(buyer: Person, seller: Person, admin: Person) -> None:
    assert adjust(admin, buyer, 3000, "a").status_code == 200
    product = publish_product(seller, 3000)
    answer = buyer.api.rpc("checkout", items=[{"item_id": product}], provider="wallet")
    assert answer.json()["status"] == "completed"
    # A chargeback on money that is not there, as the runbook says.
    assert adjust(admin, buyer, -5000, "b").status_code == 200
    assert balances(buyer) == (0, 5000)
    refund = admin.api.rpc("refund_order_item", order_item_id=line_of(buyer, product), reason="sorry")
    assert refund.status_code == 200
    assert balances(buyer) == (0, 2000)
    assert adjust(admin, buyer, 1000, "c").status_code == 200
    again = buyer.api.rpc("checkout", items=[{"item_id": publish_product(seller, 500)}], provider="wallet")
    assert code_of(again) == "insufficient_funds"
    statement = buyer.api.rpc("wallet_statement")
    assert {row["memo"] for row in statement.json()} >= {"why"}
    for text in (statement.text, buyer.api.rpc("export_my_data").text, str(buyer.api.select("refunds"))):
        assert admin.id not in text, "who decided is not named"


def test_keys_are_of_one_request(
    buyer: Person, seller: Person, admin: Person, other_admin: Person, simulator: Simulator
) -> None:
    items = [publish_product(seller, 2000), publish_product(seller, 3000)]
    buy(simulator, buyer, *items)
    lines = [line_of(buyer, item) for item in items]

    def refund(line: str, cents: int) -> Any:
        return seller.api.rpc(
            "refund_order_item", order_item_id=line, amount_cents=cents, reason="x", idempotency_key="one"
        )

    first = refund(lines[0], 500)
    assert first.status_code == 200
    assert refund(lines[0], 500).json()["id"] == first.json()["id"]
    for answer in (refund(lines[1], 500), refund(lines[0], 501)):
        assert (answer.status_code, code_of(answer)) == (409, "idempotency_key_reused")
    assert adjust(admin, buyer, 100, "one").status_code == 200
    assert code_of(adjust(admin, seller, 100, "one")) == "idempotency_key_reused"
    assert adjust(other_admin, seller, 100, "one").status_code == 200


def test_a_buyer_asks_and_the_seller_answers(buyer: Person, seller: Person, simulator: Simulator) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    line = line_of(buyer, product)
    asked = buyer.api.rpc("request_refund", order_item_id=line, reason="it hums")
    assert (asked.status_code, asked.json()["status"]) == (200, "open")
    assert code_of(buyer.api.rpc("request_refund", order_item_id=line, reason="again")) == "refund_request_open"
    seen = seller.api.one("refund_requests", order_item_id=f"eq.{line}")
    assert (seen["reason"], seen["seller_id"]) == ("it hums", seller.id)
    own = buyer.api.rpc("answer_refund_request", request_id=seen["id"], accept=True)
    assert code_of(own) == "refund_request_closed"
    answered = seller.api.rpc("answer_refund_request", request_id=seen["id"], accept=True, note="pardon")
    assert answered.json()["status"] == "accepted"
    refund = answered.json()["refund_id"]
    until(lambda: buyer.api.one("refunds", id=f"eq.{refund}")["status"] == "succeeded", "the refund")
    kinds = {row["type"] for row in buyer.api.select("notifications")}
    assert {"refund_request_answered", "refund"} <= kinds
    assert "refund_request" in {row["type"] for row in seller.api.select("notifications")}


def test_a_request_nobody_answers_expires(
    buyer: Person, seller: Person, simulator: Simulator, database: Database
) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    request = buyer.api.rpc("request_refund", order_item_id=line_of(buyer, product), reason="x").json()["id"]
    database.run("update public.refund_requests set answer_by = now() where id = %s", request)
    assert code_of(seller.api.rpc("answer_refund_request", request_id=request, accept=True)) == "refund_request_closed"
    run_job(database, "expire_refund_requests")
    until(lambda: buyer.api.one("refund_requests", id=f"eq.{request}")["status"] == "expired", "the request to expire")


def test_a_seller_reads_where_to_deliver_paid_lines(
    buyer: Person, seller: Person, sign_up: SignUp, simulator: Simulator
) -> None:
    other, stranger = sign_up(), sign_up()
    mine, theirs = publish_product(seller, 2000), publish_product(other, 1000)
    address = {"name": "Ana", "city": "Porto"}
    ordered = order(buyer, mine, theirs, shipping_address=address, notes="ring twice")
    fields = "select=item_id,order_number,delivery"

    def lines(person: Person) -> list[dict[str, Any]]:
        return list(person.api.http.get(f"/rest/v1/order_items?order_id=eq.{ordered['order_id']}&{fields}").json())

    number = ordered["order_number"]
    assert lines(seller) == [{"item_id": mine, "order_number": number, "delivery": None}], "not paid yet"
    simulator.confirm(start(buyer, ordered)["client_secret"])
    wait_for_order(buyer, ordered["order_id"])
    delivery = {"shipping_address": address, "notes": "ring twice"}
    assert lines(seller) == [{"item_id": mine, "order_number": number, "delivery": delivery}]
    assert lines(other) == [{"item_id": theirs, "order_number": number, "delivery": delivery}]
    assert lines(stranger) == []
    assert seller.api.select("orders") == []
    refund = seller.api.rpc("refund_order_item", order_item_id=line_of(seller, mine)).json()["id"]
    until(lambda: seller.api.one("refunds", id=f"eq.{refund}")["status"] == "succeeded", "the refund")
    assert lines(seller)[0]["delivery"] is None, "nothing to deliver any more"
    assert buyer.api.rpc("delete_my_account").is_success
    until(
        lambda: lines(other) and (lines(other)[0]["delivery"] or {}).get("shipping_address") is None,
        "the address to go with the account",
    )


def test_a_large_first_sale_waits_for_an_admin(
    sign_up: SignUp, buyer: Person, admin: Person, simulator: Simulator, database: Database
) -> None:
    seller = sign_up()
    product = publish_product(seller, 200000)
    buy(simulator, buyer, product)
    pass_time(database)
    run_job(database, "release_earnings")
    drain(database, simulator)
    assert balances(seller) == (0, 0)
    held = seller.api.one("sale_reviews", seller_id=f"eq.{seller.id}")
    assert held["released_at"] is None
    assert code_of(seller.api.rpc("refund_order_item", order_item_id=line_of(seller, product))) is None
    waiting = {row["transaction_id"] for row in admin.api.select("sale_reviews", released_at="is.null")}
    assert held["transaction_id"] in waiting
    done = admin.api.rpc("release_sale_review", transaction_id=held["transaction_id"], note="called them")
    assert done.status_code == 200


def test_fees_cannot_be_burnt(sign_up: SignUp, buyer: Person, simulator: Simulator) -> None:
    seller = sign_up()
    product = publish_product(seller, 99999999)
    buy(simulator, buyer, product)
    refused = seller.api.rpc("refund_order_item", order_item_id=line_of(seller, product))
    assert (refused.status_code, code_of(refused)) == (402, "insufficient_funds")


def test_the_books_are_corrected_by_two(
    seller: Person, admin: Person, other_admin: Person, simulator: Simulator, database: Database
) -> None:
    """Money arrives at the provider that no event explains."""
    simulator.add_balance(700)
    proposed = admin.api.rpc(
        "propose_correction", provider="stripe", change_cents=700, account="bank", reason="top-up of March"
    ).json()
    assert code_of(admin.api.rpc("decide_correction", correction_id=proposed["id"], approve=True)) == "own_correction"
    assert code_of(seller.api.rpc("decide_correction", correction_id=proposed["id"], approve=True)) == "admin_only"
    done = other_admin.api.rpc("decide_correction", correction_id=proposed["id"], approve=True)
    assert done.json()["status"] == "approved"
    assert seller.api.select("book_corrections") == []
    actions = [line["action"] for line in admin.api.select("audit_log", target_id=f"eq.{proposed['id']}")]
    assert sorted(actions) == ["approve_correction", "propose_correction"]
