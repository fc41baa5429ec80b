"""Payments, charges and the balance, through the SDK."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest
import stripe

from tests.simulator.conftest import API_KEY, Receiver, Simulator

# Fields the SDK knows but Stripe leaves out unless something uncommon is asked for.
RARE = {
    "PaymentIntent": {"allowed_payment_method_types", "hooks", "managed_payments", "payment_details", "payment_record",
                      "presentment_details"},
    "Charge": {"authorization_code", "level3", "presentment_details", "refunds", "transfer"},
    "Refund": {"customer_account", "failure_balance_transaction", "failure_reason", "instructions_email", "next_action",
               "pending_reason", "presentment_details"},
    "Account": {"company", "deleted", "groups", "individual"},
    "Customer": {"business_name", "cash_balance", "deleted", "individual_name", "invoice_credit_balance", "sources",
                 "subscriptions", "tax", "tax_ids"},
    "Event": {"account", "context"},
}  # fmt: skip


def test_card_payment_brings_charge_fee_and_balance(simulator: Simulator, receiver: Receiver) -> None:
    intent = simulator.client.v1.payment_intents.create(
        {
            "amount": 2000,
            "currency": "usd",
            "automatic_payment_methods": {"enabled": True},
            "metadata": {"payment_id": "p1", "7": "numeric keys stay keys"},
        }
    )
    assert (intent.status, intent.latest_charge, intent.livemode) == ("requires_payment_method", None, False)
    assert intent.client_secret
    assert intent.client_secret.startswith(intent.id + "_secret_")

    seen = simulator.control.confirm(intent.client_secret, "pm_card_visa")
    assert seen["status"] == "succeeded"
    assert not {"metadata", "latest_charge"} & set(seen), "a browser sees no more than it may"

    paid = simulator.client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge.balance_transaction"]})
    assert paid.metadata.to_dict() == {"payment_id": "p1", "7": "numeric keys stay keys"}
    charge = paid.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (charge.status, charge.paid, charge.amount_captured, charge.metadata["payment_id"]) == (
        *("succeeded", True, 2000, "p1"),
    )
    assert charge.payment_method_details
    assert charge.payment_method_details.card
    assert charge.payment_method_details.card.last4 == "4242"
    booked = charge.balance_transaction
    assert isinstance(booked, stripe.BalanceTransaction)
    assert (booked.amount, booked.fee, booked.net, booked.source) == (2000, 88, 1912, charge.id)
    assert [(part.type, part.amount) for part in booked.fee_details] == [("stripe_fee", 88)]
    assert simulator.available() == 1912

    assert simulator.control.idle()
    events = {event.type: event for event in receiver.events()}
    assert set(events) == {
        *("payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "charge.updated"),
    }
    assert events["payment_intent.succeeded"].data.object["latest_charge"] == charge.id
    assert events["charge.succeeded"].data.object["balance_transaction"] is None
    previous = events["charge.updated"].data.previous_attributes
    assert previous
    assert previous.to_dict() == {"balance_transaction": None}
    request = events["payment_intent.created"].request
    assert request
    assert (request.id or "").startswith("req_")
    assert simulator.client.v1.events.retrieve(events["charge.updated"].id).pending_webhooks == 0


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
    ],
)
def test_declines(simulator: Simulator, receiver: Receiver, method: str, code: str, decline_code: str | None) -> None:
    with pytest.raises(stripe.CardError) as caught:
        simulator.client.v1.payment_intents.create(
            {"amount": 2000, "currency": "usd", "payment_method": method, "confirm": True}
        )
    assert (caught.value.http_status, caught.value.code) == (402, code)
    assert caught.value.error
    intent = caught.value.error.payment_intent
    assert intent
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error
    assert intent.last_payment_error.decline_code == decline_code if decline_code else True
    charge = simulator.client.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.status, charge.paid, charge.failure_code, charge.balance_transaction) == (
        "failed",
        False,
        code,
        None,
    )
    assert simulator.available() == 0
    assert simulator.control.idle()
    assert set(receiver.types()) == {"payment_intent.created", "charge.failed", "payment_intent.payment_failed"}
    # The buyer tries another card.
    assert intent.client_secret
    assert simulator.control.confirm(intent.client_secret)["status"] == "succeeded"
    assert simulator.available() == 1912


def test_browser_is_told_of_a_decline(simulator: Simulator) -> None:
    intent = simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    declined = simulator.control.confirm(str(intent.client_secret), "pm_card_chargeDeclined")
    assert declined["last_payment_error"]["code"] == "card_declined"


def test_authentication(simulator: Simulator, receiver: Receiver) -> None:
    intent = simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    secret = str(intent.client_secret)
    waiting = simulator.control.confirm(secret, "pm_card_authenticationRequired", return_url="http://shop.test/done")
    assert waiting["status"] == "requires_action"
    page = httpx.get(waiting["next_action"]["redirect_to_url"]["url"], follow_redirects=False)
    assert page.headers["Location"].startswith(f"http://shop.test/done?payment_intent={intent.id}&")
    assert simulator.client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert simulator.control.idle()
    assert "payment_intent.requires_action" in receiver.types()

    other = simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    waiting = simulator.control.confirm(str(other.client_secret), "pm_card_authenticationRequired")
    assert waiting["next_action"]["type"] == "use_stripe_sdk"
    simulator.control.finish_payment(other.id, "failed")
    refused = simulator.client.v1.payment_intents.retrieve(other.id)
    assert (refused.status, refused.latest_charge) == ("requires_payment_method", None)


def test_asynchronous_payment(simulator: Simulator, receiver: Receiver) -> None:
    first, second = (simulator.paid(method="pm_usBankAccount_processing") for _ in range(2))
    assert first.status == "processing"
    assert simulator.available() == 0
    with pytest.raises(stripe.InvalidRequestError, match="status of processing"):
        simulator.client.v1.payment_intents.cancel(first.id)
    assert simulator.control.finish_payment(first.id)["status"] == "succeeded"
    assert simulator.control.finish_payment(second.id, "failed")["status"] == "requires_payment_method"
    charge = simulator.client.v1.charges.list({"payment_intent": first.id}).data
    assert [each.status for each in charge] == ["succeeded"]
    assert simulator.available() == 1912
    assert simulator.control.idle()
    assert {"payment_intent.processing", "charge.pending", "charge.failed"} <= set(receiver.types())


def test_late_decline_takes_everything_back(simulator: Simulator, receiver: Receiver) -> None:
    paid = simulator.paid()
    declined = simulator.control.late_decline(paid.id)
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert (declined["status"], declined["latest_charge"]) == ("requires_payment_method", paid.latest_charge.id)
    charge = simulator.client.v1.charges.retrieve(paid.latest_charge.id, {"expand": ["failure_balance_transaction"]})
    assert charge.status == "failed"
    assert isinstance(charge.failure_balance_transaction, stripe.BalanceTransaction)
    assert charge.failure_balance_transaction.net == -1912
    assert simulator.available() == 0
    assert simulator.control.idle()
    last = {event.type: event.data.object for event in receiver.events()}
    assert last["payment_intent.payment_failed"]["latest_charge"] == paid.latest_charge.id
    assert last["charge.failed"]["id"] == paid.latest_charge.id


def test_cancel(simulator: Simulator, receiver: Receiver) -> None:
    intent = simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    canceled = simulator.client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert simulator.control.idle()
    assert "payment_intent.canceled" in receiver.types()
    with pytest.raises(RuntimeError, match="status of canceled"):
        simulator.control.confirm(str(intent.client_secret))


def test_cancel_after_success_says_so(simulator: Simulator) -> None:
    paid = simulator.paid()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        simulator.client.v1.payment_intents.cancel(paid.id)
    assert (caught.value.http_status, caught.value.code) == (400, "payment_intent_unexpected_state")
    assert caught.value.user_message == (
        "You cannot cancel this PaymentIntent because it has a status of succeeded. Only a PaymentIntent with one of "
        "the following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, "
        "requires_action."
    )
    assert caught.value.error
    assert caught.value.error.payment_intent
    assert caught.value.error.payment_intent.status == "succeeded"


def test_update(simulator: Simulator) -> None:
    intent = simulator.client.v1.payment_intents.create(
        {"amount": 2000, "currency": "usd", "metadata": {"a": "1", "b": "2"}, "description": "x"}
    )
    changed = simulator.client.v1.payment_intents.update(
        intent.id, {"amount": 3000, "metadata": {"a": "", "c": "3"}, "description": ""}
    )
    assert (changed.amount, changed.metadata.to_dict(), changed.description) == (3000, {"b": "2", "c": "3"}, None)


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"currency": "usd"}, "parameter_missing", "amount"),
        ({"amount": 49, "currency": "usd"}, "amount_too_small", "amount"),
        ({"amount": -5, "currency": "usd"}, "amount_too_small", "amount"),
        ({"amount": 100_000_000, "currency": "usd"}, "amount_too_large", "amount"),
        ({"amount": "12.5", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": 2**70, "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": 2000, "currency": "doge"}, None, "currency"),
        ({"amount": 2000, "currency": "usd", "colour": "red"}, "parameter_unknown", "colour"),
        ({"amount": 2000, "currency": "usd", "customer": "cus_none"}, "resource_missing", "customer"),
        ({"amount": 2000, "currency": "usd", "metadata": {"a": "x" * 501}}, None, "metadata"),
    ],
)
def test_invalid_parameters(simulator: Simulator, params: Any, code: str | None, param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        simulator.client.v1.payment_intents.create(params)
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


def test_configured_and_deferred_fee(simulator: Simulator, receiver: Receiver) -> None:
    simulator.control.config(fee_bps=350, fee_fixed_cents=49, defer_fees=True)
    paid = simulator.paid(1999)
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert paid.latest_charge.balance_transaction is None
    simulator.control.settle_charge(paid.latest_charge.id)
    charge = simulator.client.v1.charges.retrieve(paid.latest_charge.id, {"expand": ["balance_transaction"]})
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    assert charge.balance_transaction.fee == 119, "69.965 rounded half up, and 49"
    assert simulator.control.idle()
    assert "charge.updated" in receiver.types()


def test_money_becomes_available_later(simulator: Simulator) -> None:
    simulator.control.config(available_delay_seconds=3600)
    simulator.paid()
    balance = simulator.client.v1.balance.retrieve()
    assert (balance.available[0].amount, balance.pending[0].amount) == (0, 1912)
    assert simulator.client.v1.balance_transactions.list().data[0].status == "pending"


def test_keys(simulator: Simulator) -> None:
    paid = simulator.paid()
    path = f"{simulator.url}/v1/payment_intents/{paid.id}"

    def status(headers: dict[str, str], method: str = "GET", url: str = path, **query: str) -> int:
        return httpx.request(method, url, headers=headers, params=query).status_code

    assert status({}) == 401
    assert status({"Authorization": "Bearer sk_test_other"}) == 401
    assert status({"Authorization": f"Bearer {API_KEY}", "Stripe-Version": "2020-08-27"}) == 200
    assert httpx.get(path, auth=(API_KEY, "")).status_code == 200
    public = {"Authorization": "Bearer pk_test_x"}
    assert status(public) == 400, "a publishable key needs the client secret"
    assert status(public, client_secret=str(paid.client_secret)) == 200
    assert status({}, key="pk_test_x", client_secret=str(paid.client_secret)) == 200
    assert status(public, "POST", f"{simulator.url}/v1/refunds") == 403
    assert status({"Authorization": f"Bearer {API_KEY}", "Stripe-Account": "acct_1"}) == 400
    assert status({"Authorization": f"Bearer {API_KEY}"}, url=f"{simulator.url}/v1/unheard_of") == 404


def test_module_style_and_lists(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe, "api_key", API_KEY)
    monkeypatch.setattr(stripe, "api_base", simulator.url)
    customer = stripe.Customer.create(email="fan@example.test", name="Zoë 🎨")
    made = [stripe.PaymentIntent.create(amount=100 + n, currency="usd", customer=customer.id).id for n in range(25)]
    page = stripe.PaymentIntent.list(limit=10)
    assert ([intent.id for intent in page.data], page.has_more) == (made[:14:-1], True)
    assert [intent.id for intent in page.auto_paging_iter()] == made[::-1]
    last = stripe.PaymentIntent.list(limit=10, starting_after=made[10])
    assert ([intent.id for intent in last.data], last.has_more) == (made[9::-1], False)
    newer = stripe.PaymentIntent.list(limit=3, ending_before=made[10])
    assert [intent.id for intent in newer.data] == made[13:10:-1]
    assert len(stripe.PaymentIntent.list(customer=customer.id, limit=100, created={"gte": 1}).data) == 25
    assert stripe.PaymentIntent.list(created={"lt": 1}).data == []
    assert stripe.Customer.retrieve(customer.id).name == "Zoë 🎨"
    with pytest.raises(stripe.InvalidRequestError):
        stripe.PaymentIntent.list(limit=101)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe.PaymentIntent.retrieve("pi_none")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


def test_expand(simulator: Simulator) -> None:
    paid = simulator.paid()
    listed = simulator.client.v1.payment_intents.list(
        {"expand": ["data.latest_charge.balance_transaction", "data.payment_method"]}
    )
    charge = listed.data[0].latest_charge
    assert isinstance(charge, stripe.Charge)
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    assert isinstance(listed.data[0].payment_method, stripe.PaymentMethod)
    booked = simulator.client.v1.balance_transactions.retrieve(charge.balance_transaction.id, {"expand": ["source"]})
    assert isinstance(booked.source, stripe.Charge)
    simulator.client.v1.refunds.create({"payment_intent": paid.id, "amount": 5})
    with_refunds = simulator.client.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert with_refunds.refunds
    assert [refund.amount for refund in with_refunds.refunds.data] == [5]
    for path in ("status", "latest_charge.colour", "id"):
        with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
            simulator.client.v1.payment_intents.retrieve(paid.id, {"expand": [path]})


def test_objects_have_every_field_of_the_sdk(simulator: Simulator) -> None:
    paid = simulator.paid()
    charge = paid.latest_charge
    assert isinstance(charge, stripe.Charge)
    refund = simulator.client.v1.refunds.create({"payment_intent": paid.id, "amount": 100})
    transfer = simulator.client.v1.transfers.create(
        {"amount": 100, "currency": "usd", "destination": simulator.seller()}
    )
    objects: list[stripe.StripeObject] = [
        paid, charge, refund, transfer,
        simulator.client.v1.transfers.reversals.create(transfer.id, {"amount": 5}),
        simulator.client.v1.balance_transactions.list().data[0],
        simulator.client.v1.customers.create({}),
        simulator.client.v1.accounts.create({"type": "express"}),
        simulator.client.v1.events.list().data[0],
    ]  # fmt: skip
    for item in objects:
        name = type(item).__name__
        known = set(type(item).__annotations__) - {"OBJECT_NAME"} - RARE.get(name, set())
        assert known - set(item.to_dict()) == set(), name


def test_api_version_is_the_sdks(simulator: Simulator, receiver: Receiver) -> None:
    simulator.paid()
    assert simulator.control.idle()
    assert {event.api_version for event in receiver.events()} == {stripe.api_version}


def test_status_page(simulator: Simulator) -> None:
    simulator.paid(description="<script>alert(1)</script>")
    page = httpx.get(simulator.url)
    assert page.headers["content-type"].startswith("text/html")
    assert "pi_3" in page.text
    assert "<script>" not in page.text


def test_help_names_every_option() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "stack.simulator", "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--port", "--state", "--host", "--webhook-url", "--webhook-secret", "--api-key", "--float-cents"):
        assert option in shown.stdout
