"""Stripe: PaymentIntents, Checkout Sessions, refunds, and Connect (accounts, transfers), through the official SDK."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import stripe

from workers.providers.protocol import (
    Account,
    AccountLink,
    DeliveryInvalid,
    Event,
    NotFound,
    Payment,
    ProviderConflict,
    ProviderRefused,
    ProviderUnknown,
    Refund,
    RefusedForNow,
    Transfer,
)
from workers.providers.storable import storable

TOLERANCE_SECONDS = 300
# Connecting either works quickly or not at all; answers may take Stripe several seconds.
TIMEOUT = httpx.Timeout(15, connect=5)
NETWORK_RETRIES = 2

_PAYMENT_STATES = {"succeeded": "succeeded", "canceled": "cancelled", "processing": "processing"}
# 400s that say nothing about the request itself: another one with the same key is running, or locks are contended.
_PASSING_CODES = {"lock_timeout", "idempotency_key_in_use", "rate_limit"}
_NOT_FOUND_CODES = {"resource_missing", "account_invalid"}
# Our balance is too low: it will not be, once charges have settled or somebody tops it up.
_SHORT_CODES = {"balance_insufficient", "insufficient_funds"}
# Why a seller cannot be paid. Any other refusal of a transfer is about us, and no reason to fail a payout.
_SELLERS_CODES = {
    *_NOT_FOUND_CODES,
    *("account_closed", "account_country_invalid_address", "account_number_invalid", "bank_account_unusable"),
    *("insufficient_capabilities_for_transfer", "no_account", "payouts_not_allowed", "transfers_not_allowed"),
}
MAX_ID_LENGTH = 255
LATEST_TIME = 2**33
# The types that private.apply_stripe_event() acts on.
_EVENT_TYPES = (
    *("payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.processing"),
    *("payment_intent.canceled", "refund.created", "refund.updated", "refund.failed", "charge.refunded"),
    *("transfer.created", "transfer.reversed", "account.updated", "charge.dispute.created"),
    *("checkout.session.completed", "checkout.session.async_payment_succeeded"),
    *("checkout.session.async_payment_failed", "checkout.session.expired"),
)


@contextmanager
def _classified() -> Iterator[None]:
    """Turn the SDK's errors into refused, unknown or conflict."""
    try:
        yield
    except stripe.IdempotencyError as error:
        # The same key was used for a request that looked different: what exists is not what we want now.
        raise ProviderConflict(error.user_message or str(error), error.code) from error
    except stripe.StripeError as error:
        message = error.user_message or str(error)
        if error.http_status == 404 or error.code in _NOT_FOUND_CODES:
            raise NotFound(message, error.code) from error
        if error.http_status in (400, 402) and error.code in _SHORT_CODES:
            raise RefusedForNow(message, error.code) from error
        if error.http_status in (400, 402) and error.code not in _PASSING_CODES:
            raise ProviderRefused(message, error.code) from error
        # No answer, 5xx, 429, 409; and 401/403, which are about our key, so no reason to fail anybody's payout.
        raise ProviderUnknown(message, error.code) from error


class StripeProvider:
    """One Stripe account. `api_base` points elsewhere in tests and development (the simulator)."""

    name = "stripe"

    def __init__(self, api_key: str, webhook_secrets: Sequence[str], api_base: str | None = None) -> None:
        self._secrets = tuple(webhook_secrets)
        # Keys say which of Stripe's two worlds they are of: sk_live_…, rk_test_…
        mode = api_key.split("_")[1:2]
        self._live = {"live": True, "test": False}.get(mode[0]) if mode else None
        self._http = stripe.HTTPXClient(timeout=TIMEOUT)
        self._client = stripe.StripeClient(
            api_key or "sk_not_configured",
            http_client=self._http,
            max_network_retries=NETWORK_RETRIES,
            base_addresses={"api": api_base} if api_base else None,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    # Webhooks

    def verify_delivery(self, body: bytes, signature: str | None) -> Event:
        """The event in a delivery, checked against each configured secret. Raises DeliveryInvalid."""
        # The SDK trips over anything but ASCII.
        if not signature or not signature.isascii():
            raise DeliveryInvalid("no Stripe-Signature header, or not one of Stripe's")
        for secret in self._secrets:
            try:
                stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE_SECONDS)
                break
            except stripe.SignatureVerificationError as error:
                reason = error.user_message or "signature does not match"
            except UnicodeDecodeError:
                reason = "body is not UTF-8"
        else:
            raise DeliveryInvalid(reason if self._secrets else "no webhook secret is configured")
        return self._event(body.decode())

    def _event(self, text: str) -> Event:
        try:
            # NaN and Infinity are Python's own extension; PostgreSQL would refuse them with the whole batch.
            try:
                event = json.loads(text, parse_constant=_refuse_constant)
            except (RecursionError, ValueError):
                # Too deep or too large a number for this parser, or no JSON at all.
                text = storable(text)
                event = json.loads(text, parse_constant=_refuse_constant)
            event_id, event_type, created = event["id"], event["type"], event["created"]
        except (ValueError, KeyError, TypeError) as error:
            raise DeliveryInvalid("body is not an event") from error
        if not (isinstance(event_id, str) and isinstance(event_type, str) and type(created) is int):
            raise DeliveryInvalid("body is not an event")
        if not (0 < len(event_id) <= MAX_ID_LENGTH and 0 < len(event_type) <= MAX_ID_LENGTH):
            raise DeliveryInvalid(f"id and type must be of 1 to {MAX_ID_LENGTH} characters")
        if not 0 <= created < LATEST_TIME:
            raise DeliveryInvalid("created is no time")
        return Event(self.name, event_id, event_type, created, text, self._live)

    async def events(self, since: datetime) -> AsyncIterator[Event]:
        """Stripe lists its events for 30 days, with the ids they are delivered under."""
        with _classified():
            page = await self._client.v1.events.list_async(
                {"types": list(_EVENT_TYPES), "created": {"gte": int(since.timestamp())}, "limit": 100}
            )
            async for event in page.auto_paging_iter():
                yield self._event(json.dumps(event.to_dict(for_json=True)))

    # Payments

    async def create_payment(self, request: dict[str, Any]) -> Payment:
        """Create the PaymentIntent or the Checkout Session.

        Must stay a pure function of `request`, or the idempotency key conflicts.
        """
        if request["is_session"]:
            return await self._create_session(request)
        with _classified():
            intent = await self._client.v1.payment_intents.create_async(
                {
                    "amount": request["amount_cents"],
                    "currency": request["currency"].strip().lower(),
                    "automatic_payment_methods": {"enabled": True},
                    "description": request["description"],
                    "metadata": request["metadata"],
                },
                {"idempotency_key": str(request["payment_id"])},
            )
        return _payment(intent)

    async def _create_session(self, request: dict[str, Any]) -> Payment:
        asked = request["session"]
        if asked is None:
            raise ProviderRefused("nobody knows any more what session was asked for")
        with _classified():
            session = await self._client.v1.checkout.sessions.create_async(
                {
                    "mode": "payment",
                    "line_items": [
                        {
                            "quantity": 1,
                            "price_data": {
                                "currency": request["currency"].strip().lower(),
                                "unit_amount": request["amount_cents"],
                                "product_data": {"name": request["description"]},
                            },
                        }
                    ],
                    "success_url": asked["success_url"],
                    "cancel_url": asked["cancel_url"],
                    "expires_at": asked["expires_at"],
                    "client_reference_id": str(request["payment_id"]),
                    "metadata": request["metadata"],
                    "payment_intent_data": {
                        "description": request["description"],
                        "metadata": request["metadata"],
                    },
                    "expand": ["payment_intent"],
                },
                {"idempotency_key": f"{request['payment_id']}:session"},
            )
        return _session(session)

    async def retrieve_payment(self, ref: str) -> Payment:
        """The PaymentIntent or the Checkout Session as it is now."""
        with _classified():
            if _is_session(ref):
                return _session(
                    await self._client.v1.checkout.sessions.retrieve_async(ref, {"expand": ["payment_intent"]})
                )
            return _payment(await self._client.v1.payment_intents.retrieve_async(ref))

    async def cancel_payment(self, ref: str) -> Payment:
        """Cancel; when Stripe refuses (succeeded, already cancelled, processing) the state says why.

        A Checkout Session expires, and its PaymentIntent with it: Stripe does not cancel that one apart.
        """
        try:
            with _classified():
                if _is_session(ref):
                    return _session(
                        await self._client.v1.checkout.sessions.expire_async(ref, {"expand": ["payment_intent"]})
                    )
                return _payment(await self._client.v1.payment_intents.cancel_async(ref))
        except NotFound:
            raise
        except ProviderRefused:
            return await self.retrieve_payment(ref)

    def payment_event(self, payment: Payment) -> Event | None:
        """The event Stripe sends at this state; None while nothing was tried."""
        raw = payment.raw
        if _is_session(payment.ref):
            if payment.state == "cancelled":
                how = "expired" if raw["status"] == "expired" else "async_payment_failed"
                return self._read(f"checkout.session.{how}", raw)
            if not raw["payment_intent"]:
                return None
            raw = raw["payment_intent"]
        if payment.state != "open":
            return self._read(f"payment_intent.{raw['status']}", raw)
        if raw.get("last_payment_error"):
            return self._read("payment_intent.payment_failed", raw)
        return None

    def _read(self, event_type: str, raw: dict[str, Any]) -> Event:
        # The id is derived from what was read, so reading the same state twice stores it once. A second charge of one
        # intent is another state.
        state = ":".join(str(raw[name]) for name in ("status", "latest_charge") if raw.get(name))
        event = {
            "id": f"reconcile:{raw['id']}:{state}",
            "object": "event",
            "type": event_type,
            "created": int(time.time()),
            "data": {"object": raw},
        }
        return self._event(json.dumps(event))

    async def payment_fee(self, ref: str) -> tuple[str, int] | None:
        """(charge id, fee in cents) from the charge's balance transaction."""
        charge: str | stripe.Charge | None
        with _classified():
            if _is_intent(ref):
                intent = await self._client.v1.payment_intents.retrieve_async(
                    ref, {"expand": ["latest_charge.balance_transaction"]}
                )
                charge = intent.latest_charge
            else:
                charge = await self._client.v1.charges.retrieve_async(ref, {"expand": ["balance_transaction"]})
        if not isinstance(charge, stripe.Charge) or not isinstance(
            charge.balance_transaction, stripe.BalanceTransaction
        ):
            return None
        booked = charge.balance_transaction
        if booked.currency != charge.currency:
            raise ProviderConflict(f"charge {charge.id} is in {charge.currency}, its fee in {booked.currency}")
        return charge.id, booked.fee

    # Refunds

    async def find_refund(self, payment_ref: str, refund_id: UUID) -> Refund | None:
        """The refund whose metadata carries our id."""
        refunds = await self.list_refunds(payment_ref)
        return next((refund for refund in refunds if refund.metadata.get("refund_id") == str(refund_id)), None)

    async def create_refund(self, request: dict[str, Any]) -> Refund:
        """Refund an amount of a PaymentIntent, or of one charge of it."""
        ref = request["provider_ref"]
        params: stripe.params.RefundCreateParams = {
            "amount": request["amount_cents"],
            "metadata": _metadata(request, "refund_id"),
        }
        if _is_intent(ref):
            params["payment_intent"] = ref
        else:
            params["charge"] = ref
        with _classified():
            refund = await self._client.v1.refunds.create_async(params, _key(request, "refund_id"))
        return _refund(refund)

    async def list_refunds(self, payment_ref: str) -> list[Refund]:
        """Every refund of the PaymentIntent, the dashboard's too."""
        with _classified():
            page = await self._client.v1.refunds.list_async(
                {"payment_intent": payment_ref, "limit": 100}
                if _is_intent(payment_ref)
                else {"charge": payment_ref, "limit": 100}
            )
            return [_refund(refund) async for refund in page.auto_paging_iter()]

    def refund_event(self, refund: Refund) -> Event:
        """The refund.updated that Stripe sends at this status."""
        return self._read("refund.updated", refund.raw)

    # Payouts (Connect)

    async def find_transfer(self, request: dict[str, Any]) -> Transfer | None:
        """The transfer in the payout's group; the group is ours alone, so anything unexpected in it is a conflict."""
        with _classified():
            page = await self._client.v1.transfers.list_async(
                {"transfer_group": str(request["payout_id"]), "limit": 10}
            )
        found = [_transfer(transfer) for transfer in page.data]
        if not found:
            return None
        wanted = (request["amount_cents"], request["currency"].strip().lower(), request["destination"])
        transfer = found[0]
        if len(found) > 1 or (transfer.amount_cents, transfer.currency, transfer.destination) != wanted:
            raise ProviderConflict(f"payout {request['payout_id']} wants {wanted}, Stripe holds {found}")
        return transfer

    async def create_transfer(self, request: dict[str, Any]) -> Transfer:
        """Move money from our balance to the seller's connected account."""
        payout_id = str(request["payout_id"])
        try:
            with _classified():
                transfer = await self._client.v1.transfers.create_async(
                    {
                        "amount": request["amount_cents"],
                        "currency": request["currency"].strip().lower(),
                        "destination": request["destination"],
                        "transfer_group": payout_id,
                        "metadata": _metadata(request, "payout_id"),
                    },
                    _key(request, "payout_id"),
                )
        except ProviderRefused as error:
            if isinstance(error, RefusedForNow) or error.code in _SELLERS_CODES:
                raise
            raise RefusedForNow(error.message, error.code) from error
        return _transfer(transfer)

    async def create_account(self, user_id: UUID, email: str | None, idempotency_key: str) -> str:
        """An Express account that can only receive transfers; Stripe asks the seller for the rest."""
        params: stripe.params.AccountCreateParams = {
            "type": "express",
            "capabilities": {"transfers": {"requested": True}},
            "metadata": {"user_id": str(user_id)},
        }
        if email:
            params["email"] = email
        with _classified():
            account = await self._client.v1.accounts.create_async(params, {"idempotency_key": idempotency_key})
        return account.id

    async def account_link(self, account_id: str, *, return_url: str, refresh_url: str) -> AccountLink:
        """Stripe's hosted onboarding; the link works once and for some minutes."""
        with _classified():
            link = await self._client.v1.account_links.create_async(
                {
                    "account": account_id,
                    "type": "account_onboarding",
                    "return_url": return_url,
                    "refresh_url": refresh_url,
                }
            )
        return AccountLink(link.url, link.expires_at)

    async def retrieve_account(self, account_id: str) -> Account:
        """enabled: transfers and payouts work; disabled: Stripe stopped it, or it left us; else pending."""
        try:
            with _classified():
                account = await self._client.v1.accounts.retrieve_async(account_id)
        except NotFound:
            return Account(account_id, "disabled")
        if account.payouts_enabled and account.capabilities and account.capabilities.transfers == "active":
            return Account(account_id, "enabled")
        if account.requirements and account.requirements.disabled_reason:
            return Account(account_id, "disabled")
        return Account(account_id, "pending")

    async def balance_cents(self, currency: str) -> int:
        """Available plus pending in one currency."""
        with _classified():
            balance = await self._client.v1.balance.retrieve_async()
        wanted = currency.strip().lower()
        return sum(part.amount for part in balance.available if part.currency == wanted) + sum(
            part.amount for part in balance.pending if part.currency == wanted
        )


def _metadata(request: dict[str, Any], key: str) -> dict[str, str]:
    values = {**request["metadata"], key: request[key]}
    return {name: str(value) for name, value in values.items() if value is not None}


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _is_intent(ref: str) -> bool:
    return ref.startswith("pi_")


def _is_session(ref: str) -> bool:
    return ref.startswith("cs_")


def _key(request: dict[str, Any], name: str) -> stripe.RequestOptions:
    # After a definite refusal the database names another key: under the old one Stripe repeats its refusal for a day.
    return {"idempotency_key": str(request.get("idempotency_key") or request[name])}


def _payment(intent: stripe.PaymentIntent) -> Payment:
    return Payment(
        ref=intent.id,
        state=_PAYMENT_STATES.get(intent.status, "open"),
        amount_cents=intent.amount,
        currency=intent.currency,
        client_secret=intent.client_secret,
        raw=intent.to_dict(for_json=True),
    )


def _session(session: stripe.checkout.Session) -> Payment:
    intent = session.payment_intent
    if intent is not None and not isinstance(intent, stripe.PaymentIntent):
        raise ProviderConflict(f"session {session.id} came without its payment intent {intent}")
    if session.status == "expired":
        state = "cancelled"
    elif session.status == "open" or intent is None:
        state = "open"
    # Complete: the page does not open again. What failed afterwards is over, what needs a voucher to be paid is not.
    elif intent.status in ("requires_payment_method", "canceled"):
        state = "cancelled"
    else:
        state = "succeeded" if intent.status == "succeeded" else "processing"
    return Payment(
        ref=session.id,
        state=state,
        amount_cents=session.amount_total or 0,
        currency=session.currency or "",
        client_secret=None,
        raw=session.to_dict(for_json=True),
        url=session.url if session.status == "open" else None,
        paid_by=intent.id if intent else None,
    )


def _refund(refund: stripe.Refund) -> Refund:
    raw = refund.to_dict(for_json=True)
    return Refund(
        ref=refund.id,
        status=refund.status or "pending",
        amount_cents=refund.amount,
        failure_reason=raw.get("failure_reason"),
        metadata=raw.get("metadata") or {},
        raw=raw,
    )


def _transfer(transfer: stripe.Transfer) -> Transfer:
    destination = transfer.destination
    return Transfer(
        ref=transfer.id,
        amount_cents=transfer.amount,
        currency=transfer.currency,
        destination=destination if isinstance(destination, str) else getattr(destination, "id", ""),
    )
