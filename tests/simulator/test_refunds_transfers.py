"""Refunds, connected accounts and transfers."""

from __future__ import annotations

import httpx
import pytest
import stripe

from tests.simulator.conftest import Receiver, Simulator


def test_partial_then_full_refund(simulator: Simulator, receiver: Receiver) -> None:
    paid = simulator.paid()
    first = simulator.client.v1.refunds.create(
        {"payment_intent": paid.id, "amount": 500, "metadata": {"refund_id": "r1"}, "reason": "requested_by_customer"}
    )
    assert (first.status, first.amount, first.payment_intent) == ("succeeded", 500, paid.id)
    assert simulator.available() == 1912 - 500, "the fee is not given back"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        simulator.client.v1.refunds.create({"payment_intent": paid.id, "amount": 1501})
    assert caught.value.param == "amount"
    assert caught.value.user_message == ("Refund amount ($15.01) is greater than unrefunded amount on charge ($15.00)")
    rest = simulator.client.v1.refunds.create({"charge": str(first.charge)})
    assert rest.amount == 1500
    with pytest.raises(stripe.InvalidRequestError) as caught:
        simulator.client.v1.refunds.create({"payment_intent": paid.id, "amount": 1})
    assert caught.value.code == "charge_already_refunded"
    listed = simulator.client.v1.refunds.list({"payment_intent": paid.id})
    assert [refund.id for refund in listed.data] == [rest.id, first.id]
    assert simulator.control.idle()
    refunded = [event.data.object for event in receiver.events() if event.type == "charge.refunded"]
    assert {(charge["amount_refunded"], charge["refunded"]) for charge in refunded} == {(500, False), (2000, True)}
    assert receiver.types().count("refund.created") == 2


@pytest.mark.parametrize("amount", [0, -1])
def test_refund_of_nothing(simulator: Simulator, amount: int) -> None:
    paid = simulator.paid()
    with pytest.raises(stripe.InvalidRequestError):
        simulator.client.v1.refunds.create({"payment_intent": paid.id, "amount": amount})


def test_refund_of_an_unpaid_payment(simulator: Simulator) -> None:
    intent = simulator.client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        simulator.client.v1.refunds.create({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_intent"):
        simulator.client.v1.refunds.create({"payment_intent": "pi_none"})
    with pytest.raises(stripe.InvalidRequestError, match="should be provided"):
        simulator.client.v1.refunds.create({})


@pytest.mark.parametrize(
    ("to", "balance", "refunded"), [("succeeded", 1412, 500), ("failed", 1912, 0), ("canceled", 1912, 0)]
)
def test_pending_refund(simulator: Simulator, receiver: Receiver, to: str, balance: int, refunded: int) -> None:
    paid = simulator.paid(method="pm_card_pendingRefund")
    refund = simulator.client.v1.refunds.create({"payment_intent": paid.id, "amount": 500})
    assert (refund.status, refund.balance_transaction) == ("pending", None)
    assert simulator.available() == 1912, "a pending refund moves nothing"
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert simulator.client.v1.charges.retrieve(paid.latest_charge.id).amount_refunded == 500
    if to == "canceled":
        simulator.client.v1.refunds.cancel(refund.id)
    else:
        simulator.control.finish_refund(refund.id, to)  # type: ignore[arg-type]
    assert simulator.client.v1.refunds.retrieve(refund.id).status == to
    assert simulator.available() == balance
    assert simulator.client.v1.charges.retrieve(paid.latest_charge.id).amount_refunded == refunded
    assert simulator.control.idle()
    assert "refund.updated" in receiver.types()
    assert ("refund.failed" in receiver.types()) == (to == "failed")


def test_refund_failing_later(simulator: Simulator, receiver: Receiver) -> None:
    for paid, expected in ((simulator.paid(), "succeeded"), (simulator.paid(method="pm_card_refundFail"), "failed")):
        refund = simulator.client.v1.refunds.create({"payment_intent": paid.id})
        assert refund.status == "succeeded"
        assert simulator.client.v1.refunds.retrieve(refund.id).status == expected
        if expected == "succeeded":
            simulator.control.finish_refund(refund.id, "failed")
        failed = simulator.client.v1.refunds.retrieve(refund.id)
        assert failed.failure_reason == "lost_or_stolen_card"
        assert failed.failure_balance_transaction
        with pytest.raises(stripe.InvalidRequestError):
            simulator.client.v1.refunds.cancel(refund.id)
    assert simulator.available() == 2 * 1912
    assert simulator.control.idle()
    assert receiver.types().count("refund.failed") == 2


def test_onboarding_by_account_link(simulator: Simulator, receiver: Receiver) -> None:
    account = simulator.client.v1.accounts.create(
        {
            "type": "express",
            "email": "artist@example.test",
            "capabilities": {"transfers": {"requested": True}},
            "metadata": {"user_id": "u1"},
        }
    )
    assert account.capabilities
    assert account.requirements
    assert (account.payouts_enabled, account.details_submitted, account.capabilities.transfers) == (
        *(False, False, "inactive"),
    )
    assert account.requirements.currently_due
    link = simulator.client.v1.account_links.create(
        {
            "account": account.id,
            "type": "account_onboarding",
            "return_url": "http://shop.test/payouts?ok=1",
            "refresh_url": "http://shop.test/again",
        }
    )
    assert link.url.startswith(simulator.url)
    assert link.expires_at == link.created + 300
    assert simulator.control.onboard(link.url) == "http://shop.test/payouts?ok=1"
    assert simulator.control.onboard(link.url) == "http://shop.test/again", "a link works once"
    ready = simulator.client.v1.accounts.retrieve(account.id)
    assert ready.capabilities
    assert ready.requirements
    assert (ready.payouts_enabled, ready.capabilities.transfers, ready.requirements.disabled_reason) == (
        *(True, "active", None),
    )
    simulator.control.disable_account(account.id, "rejected.fraud")
    stopped = simulator.client.v1.accounts.retrieve(account.id)
    assert stopped.requirements
    assert (stopped.payouts_enabled, stopped.requirements.disabled_reason) == (False, "rejected.fraud")
    simulator.control.enable_account(account.id)
    assert simulator.control.idle()
    updates = [event for event in receiver.events() if event.type == "account.updated"]
    assert [event.account for event in updates] == [account.id] * 3


def test_account_errors(simulator: Simulator) -> None:
    with pytest.raises(stripe.PermissionError) as denied:
        simulator.client.v1.accounts.retrieve("acct_none")
    assert denied.value.error
    assert denied.value.error.code == "account_invalid", "the SDK fills .code only for 400, 402 and 404"
    account = simulator.client.v1.accounts.create({"controller": {"stripe_dashboard": {"type": "express"}}})
    assert (account.type, account.controller and account.controller.is_controller) == ("none", True)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        simulator.client.v1.account_links.create(
            {"account": account.id, "type": "account_onboarding", "return_url": "nowhere", "refresh_url": "http://a.b"}
        )
    assert (caught.value.code, caught.value.param) == ("url_invalid", "return_url")
    assert httpx.get(f"{simulator.url}/setup/e/{account.id}/unknown").status_code == 404


def test_transfer_and_reversal(simulator: Simulator, receiver: Receiver) -> None:
    seller = simulator.seller()
    simulator.control.add_balance(10_000)
    transfer = simulator.client.v1.transfers.create(
        {
            "amount": 6000,
            "currency": "usd",
            "destination": seller,
            "transfer_group": "payout-1",
            "metadata": {"payout_id": "payout-1"},
        }
    )
    assert (transfer.amount, transfer.destination, transfer.reversed) == (6000, seller, False)
    assert simulator.available() == 4000
    assert simulator.client.v1.transfers.retrieve(transfer.id).transfer_group == "payout-1"
    for query, count in (
        ({"transfer_group": "payout-1"}, 1),
        ({"destination": seller}, 1),
        ({"transfer_group": "x"}, 0),
    ):
        assert len(simulator.client.v1.transfers.list(query).data) == count  # type: ignore[arg-type]
    simulator.client.v1.transfers.reversals.create(transfer.id, {"amount": 1000})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unreversed"):
        simulator.client.v1.transfers.reversals.create(transfer.id, {"amount": 5001})
    simulator.client.v1.transfers.reversals.create(transfer.id)
    back = simulator.client.v1.transfers.retrieve(transfer.id)
    assert (back.reversed, back.amount_reversed, [part.amount for part in back.reversals.data]) == (
        *(True, 6000, [5000, 1000]),
    )
    assert len(simulator.client.v1.transfers.reversals.list(transfer.id).data) == 2
    with pytest.raises(stripe.InvalidRequestError, match="already fully reversed"):
        simulator.client.v1.transfers.reversals.create(transfer.id)
    assert simulator.available() == 10_000
    assert simulator.control.idle()
    assert [kind for kind in receiver.types() if kind.startswith("transfer.")] == [
        *("transfer.created", "transfer.reversed", "transfer.reversed"),
    ]


def test_transfer_refusals(simulator: Simulator) -> None:
    seller = simulator.seller()
    params = {"amount": 5000, "currency": "usd", "destination": seller}

    def refusal(**changes: object) -> tuple[int | None, str | None]:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            simulator.client.v1.transfers.create({**params, **changes})  # type: ignore[typeddict-item]
        return caught.value.http_status, caught.value.code

    assert refusal() == (400, "balance_insufficient")
    simulator.control.add_balance(5000)
    assert refusal(amount=5001) == (400, "balance_insufficient")
    assert refusal(currency="eur") == (400, "balance_insufficient")
    assert refusal(destination="acct_none") == (400, "resource_missing")
    assert refusal(amount=0) == (400, "parameter_invalid_integer")
    simulator.control.disable_account(seller)
    assert refusal() == (400, "insufficient_capabilities_for_transfer")
    simulator.control.enable_account(seller)
    assert simulator.client.v1.transfers.create(params).amount == 5000  # type: ignore[arg-type]
    assert simulator.available() == 0
