"""Stripe's signatures, made with the SDK's own algorithm."""

import json
import time
from typing import Any

import pytest
import stripe

from workers.providers import DeliveryInvalid
from workers.providers.stripe import StripeProvider

EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "created": 1_790_000_000,
    "data": {"object": {"id": "pi_1", "description": "Café ☕ 2 €"}},
}
BODY = json.dumps(EVENT, ensure_ascii=False, indent=2)


def signed(body: str, secret: str = "whsec_new", age: float = 0) -> str:
    return stripe.WebhookSignature.generate_signature_header(body, secret, int(time.time() - age))


@pytest.fixture
def provider() -> StripeProvider:
    return StripeProvider("sk_test_x", ["whsec_new", "whsec_old"])


@pytest.mark.parametrize("secret", ["whsec_new", "whsec_old"])
def test_any_configured_secret_will_do(provider: StripeProvider, secret: str) -> None:
    event = provider.verify_delivery(BODY.encode(), signed(BODY, secret))
    assert (event.provider, event.id, event.type, event.created) == (
        "stripe",
        "evt_1",
        "payment_intent.succeeded",
        1_790_000_000,
    )
    assert event.payload == BODY


def test_several_signatures_in_one_header(provider: StripeProvider) -> None:
    """While a secret is rotated Stripe signs with both, and test signatures (v0) come along."""
    stamp, current = signed(BODY, "whsec_old").split(",")
    header = f"{stamp},v1={'0' * 64},{current},v0={'1' * 64}"
    assert provider.verify_delivery(BODY.encode(), header).id == "evt_1"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=,v1=",
        "nonsense",
        "t={now}",
        f"v1={'0' * 64}",
        f"t={{now}},v1={'0' * 64}",
        f"t={{now}},v0={'0' * 64}",
        "t=x,v1=y",
        "t=1,v1=\u00e9",
    ],
    ids=str,
)
def test_bad_headers(provider: StripeProvider, header: str | None) -> None:
    with pytest.raises(DeliveryInvalid):
        provider.verify_delivery(BODY.encode(), header and header.replace("{now}", str(int(time.time()))))


def test_wrong_secret(provider: StripeProvider) -> None:
    with pytest.raises(DeliveryInvalid):
        provider.verify_delivery(BODY.encode(), signed(BODY, "whsec_other"))


def test_changed_body(provider: StripeProvider) -> None:
    header = signed(BODY)
    for changed in (BODY.replace("evt_1", "evt_2"), BODY[:-1], BODY + " ", json.dumps(EVENT)):
        with pytest.raises(DeliveryInvalid):
            provider.verify_delivery(changed.encode(), header)


def test_too_old(provider: StripeProvider) -> None:
    assert provider.verify_delivery(BODY.encode(), signed(BODY, age=290)).id == "evt_1"
    with pytest.raises(DeliveryInvalid):
        provider.verify_delivery(BODY.encode(), signed(BODY, age=310))


def test_timestamp_is_part_of_what_is_signed(provider: StripeProvider) -> None:
    signature = signed(BODY, age=1000).split(",")[1]
    with pytest.raises(DeliveryInvalid):
        provider.verify_delivery(BODY.encode(), f"t={int(time.time())},{signature}")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        '"evt_1"',
        "{}",
        '{"id": "evt_1"}',
        '{"id": 1, "type": "x", "created": 1}',
        '{"id": "", "type": "x", "created": 1}',
        '{"id": "e", "type": "x", "created": "1"}',
        '{"id": "e", "type": "x", "created": NaN}',
        '{"id": "e", "type": "x", "created": 1, "amount": Infinity}',
        '{"id": "e", "type": "x", "created": 1',
        "[" * 100_000,
    ],
    ids=lambda body: str(body)[:40],
)
def test_signed_but_no_event(provider: StripeProvider, body: str) -> None:
    with pytest.raises(DeliveryInvalid):
        provider.verify_delivery(body.encode(), signed(body))


def test_not_text(provider: StripeProvider) -> None:
    with pytest.raises(DeliveryInvalid):
        provider.verify_delivery(b"\xff\xfe\x00", signed(BODY))


def test_nothing_is_accepted_without_a_secret() -> None:
    provider = StripeProvider("sk_test_x", [])
    with pytest.raises(DeliveryInvalid):
        provider.verify_delivery(BODY.encode(), signed(BODY, ""))
