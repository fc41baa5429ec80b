"""Checkout Sessions, through the SDK."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
import stripe

from tests.simulator.conftest import Receiver, Simulator

TOLD = ("checkout.session.", "payment_intent.")


def session(simulator: Simulator, **changes: Any) -> stripe.checkout.Session:
    """A session of two lines, 49.00 together."""
    lines: Any = [
        {
            "quantity": quantity,
            "price_data": {"currency": "usd", "unit_amount": cents, "product_data": {"name": "A line"}},
        }
        for cents, quantity in ((2000, 2), (900, 1))
    ]
    return simulator.client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": lines,
            "success_url": "https://shop.example/paid?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.example/cart",
            "metadata": {"payment_id": "p1"},
            "payment_intent_data": {"description": "Order", "metadata": {"payment_id": "p1"}},
            **changes,
        }
    )


def told(simulator: Simulator, receiver: Receiver) -> list[str]:
    assert simulator.control.idle()
    return sorted(name for name in receiver.types() if name.startswith(TOLD) and name != "payment_intent.created")


def test_a_session_is_paid_on_its_page(simulator: Simulator, receiver: Receiver) -> None:
    made = session(simulator)
    assert (made.status, made.payment_status, made.amount_total) == ("open", "unpaid", 4900)
    assert made.payment_intent is None, "nobody tried to pay it yet"
    assert made.url
    page = httpx.get(made.url, trust_env=False)
    assert page.status_code == 200
    assert "49.00 USD" in page.text
    declined = httpx.post(made.url, data={"payment_method": "pm_card_chargeDeclined"}, trust_env=False)
    assert declined.status_code == 402
    paid = httpx.post(made.url, data={"payment_method": "pm_card_visa"}, trust_env=False)
    assert (paid.status_code, paid.headers["location"]) == (303, f"https://shop.example/paid?session={made.id}")
    done = simulator.client.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]})
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    intent = done.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert (intent.status, intent.amount_received, intent.metadata["payment_id"]) == ("succeeded", 4900, "p1")
    assert httpx.get(made.url, trust_env=False).status_code == 404
    assert told(simulator, receiver) == [
        "checkout.session.completed",
        "payment_intent.payment_failed",
        "payment_intent.succeeded",
    ]


@pytest.mark.parametrize(
    ("end", "status", "event"),
    [
        ("succeeded", "paid", "checkout.session.async_payment_succeeded"),
        ("failed", "unpaid", "checkout.session.async_payment_failed"),
    ],
)
def test_a_bank_debit_is_complete_before_it_is_paid(
    simulator: Simulator, receiver: Receiver, end: Any, status: str, event: str
) -> None:
    made = session(simulator)
    pending = simulator.control.pay_session(made.id, "pm_usBankAccount_processing")
    assert (pending["status"], pending["payment_status"]) == ("complete", "unpaid")
    assert event not in told(simulator, receiver)
    simulator.control.finish_payment(pending["payment_intent"], end)
    done = simulator.client.v1.checkout.sessions.retrieve(made.id)
    assert (done.status, done.payment_status) == ("complete", status)
    assert event in told(simulator, receiver)


def test_only_an_open_session_expires_and_its_intent_with_it(simulator: Simulator, receiver: Receiver) -> None:
    made = session(simulator)
    intent = simulator.control.pay_session(made.id, "pm_card_chargeDeclined")["payment_intent"]
    with pytest.raises(stripe.InvalidRequestError, match="You cannot cancel the PaymentIntent for a Checkout Session"):
        simulator.client.v1.payment_intents.cancel(intent)
    ended = simulator.client.v1.checkout.sessions.expire(made.id)
    assert (ended.status, ended.url) == ("expired", None)
    assert simulator.client.v1.payment_intents.retrieve(intent).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="has a status of `expired`"):
        simulator.client.v1.checkout.sessions.expire(made.id)
    with pytest.raises(RuntimeError, match="nobody can pay it"):
        simulator.control.pay_session(made.id)
    assert told(simulator, receiver) == [
        "checkout.session.expired",
        "payment_intent.canceled",
        "payment_intent.payment_failed",
    ]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"mode": "subscription"}, "mode"),
        ({"expires_at": int(time.time()) + 1700}, "expires_at"),
        ({"expires_at": int(time.time()) + 200_000}, "expires_at"),
        ({"success_url": "shop"}, "success_url"),
        ({"locale": "de"}, "locale"),
    ],
)
def test_what_a_session_may_not_be(simulator: Simulator, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        session(simulator, **changes)
    assert refused.value.param == param
