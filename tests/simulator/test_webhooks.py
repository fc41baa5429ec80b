"""Deliveries: signatures, retries, repeats, order, holding."""

from __future__ import annotations

import itertools

import pytest
import stripe

from tests.simulator.conftest import SECRET, Receiver, Simulator


def test_signatures(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.config(webhook_secrets=[SECRET, "whsec_next"])
    simulator.paid()
    assert simulator.control.idle()
    assert len(receiver.events()) == len(receiver.events("whsec_next")) == 4
    body, mark = receiver.deliveries[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", mark, SECRET)
    with pytest.raises(stripe.SignatureVerificationError):
        receiver.events("whsec_other")


def test_retry_until_accepted(simulator: Simulator, receiver: Receiver) -> None:
    answers = itertools.chain([500, 404], itertools.repeat(204))
    receiver.status = lambda event: next(answers)
    simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    assert simulator.control.idle()
    [delivery] = simulator.control.deliveries()
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 3)
    assert [response["status"] for response in delivery["responses"]] == [500, 404, 204]
    assert len({event.id for event in receiver.events()}) == 1


def test_retries_are_bounded(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.config(retry_limit=3, retry_seconds=0.01)
    receiver.status = lambda event: 503
    intent = simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    assert simulator.control.idle()
    [delivery] = simulator.control.deliveries(state="failed")
    assert (delivery["attempts"], len(receiver.deliveries)) == (3, 3)
    event = simulator.client.v1.events.list({"type": "payment_intent.created"}).data[0]
    assert event.pending_webhooks == 1
    assert event.data.object["id"] == intent.id


def test_nobody_listens(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.config(webhook_url="http://127.0.0.1:9/", retry_limit=1)
    simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    assert simulator.control.idle()
    [delivery] = simulator.control.deliveries()
    assert delivery["responses"][0]["status"] is None


def test_copies_and_reorder(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.config(copies=3, reorder=True, seed=7)
    for _ in range(4):
        simulator.paid()
    assert simulator.control.idle()
    arrived = [event.id for event in receiver.events()]
    created = [event.id for event in simulator.client.v1.events.list({"limit": 100}).data][::-1]
    assert sorted(arrived) == sorted(created * 3)
    assert list(dict.fromkeys(arrived)) != created


def test_order_is_kept_one_at_a_time(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.config(concurrency=1)
    for _ in range(4):
        simulator.paid()
    assert simulator.control.idle()
    created = [event.id for event in simulator.client.v1.events.list({"limit": 100}).data][::-1]
    assert [event.id for event in receiver.events()] == created


def test_delay_and_idle(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.config(delay_seconds=[0.4, 0.5])
    simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    assert not simulator.control.idle(0.05)
    assert receiver.deliveries == []
    assert simulator.control.idle()
    assert len(receiver.deliveries) == 1


def test_lost_deliveries(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.config(drop_rate=0.5, seed=1)
    for _ in range(10):
        simulator.paid()
    assert simulator.control.idle()
    lost = simulator.control.deliveries(state="dropped")
    assert 0 < len(lost) < 40
    assert len(receiver.deliveries) == 40 - len(lost)


def test_hold_and_deliver(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.hold()
    simulator.paid()
    simulator.paid()
    assert simulator.control.idle(0.2), "held deliveries are not awaited"
    assert receiver.deliveries == []
    held = [row["event"] for row in simulator.control.deliveries(state="held")]
    assert len(held) == 8

    receiver.status = lambda event: 200 if event["type"] == "payment_intent.succeeded" else 500
    responses = simulator.control.deliver(held[::-1])
    assert [response["event"] for response in responses] == held[::-1] == [event.id for event in receiver.events()]
    assert sorted(response["status"] for response in responses) == [200] * 2 + [500] * 6
    assert len(simulator.control.deliveries(state="held")) == 6

    receiver.deliveries.clear()
    receiver.status = lambda event: 200
    simulator.control.config(seed=3)
    assert len(simulator.control.deliver(order="random", times=3)) == 18
    arrived = [event.id for event in receiver.events()]
    assert sorted(arrived) == sorted(set(arrived)) * 1 or len(arrived) == 18
    assert arrived[:6] != arrived[6:12]

    receiver.deliveries.clear()
    simulator.paid()
    assert simulator.control.release() == 4
    assert simulator.control.idle()
    assert len(receiver.events()) == 4
    simulator.paid()
    assert simulator.control.idle()
    assert len(receiver.events()) == 8, "deliveries flow again"


def test_forgery(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.hold()
    simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    simulator.control.deliver(secrets=["whsec_forged"])
    simulator.control.deliver([event.id for event in simulator.client.v1.events.list().data], age_seconds=400)
    forged, old = receiver.deliveries
    with pytest.raises(stripe.SignatureVerificationError, match="No signatures found"):
        stripe.Webhook.construct_event(*forged, SECRET)
    with pytest.raises(stripe.SignatureVerificationError, match="outside the tolerance"):
        stripe.Webhook.construct_event(*old, SECRET)
    assert stripe.Webhook.construct_event(*old, SECRET, tolerance=600)


def test_events_api(simulator: Simulator, receiver: Receiver) -> None:
    simulator.paid()
    listed = simulator.client.v1.events.list({"types": ["charge.succeeded", "charge.updated"]})
    assert {event.type for event in listed.data} == {"charge.succeeded", "charge.updated"}
    event = simulator.client.v1.events.retrieve(listed.data[0].id)
    assert (event.object, event.livemode) == ("event", False)
