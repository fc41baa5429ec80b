"""What a payment provider must be able to do, in our words.

The three kinds of failure matter more than the calls: refused (it did not and will not happen), unknown (it may or may
not have happened: ask, never guess) and conflict (it happened differently from what we asked: a person must look).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


class ProviderError(Exception):
    """Base of all failures; `code` is the provider's own word for it."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class ProviderRefused(ProviderError):
    """A definitive no: the thing did not happen, and asking again changes nothing."""


class RefusedForNow(ProviderRefused):
    """A definitive no whose reason is ours and passes, such as a balance that is too low: ask again under a new key."""


class NotFound(ProviderRefused):
    """The provider does not know this object (or does not let us see it)."""


class ProviderUnknown(ProviderError):
    """No answer, or one that does not say: it may have happened. Also rate limits and a wrong API key: try later."""


class ProviderConflict(ProviderError):
    """The provider holds something else than what we asked for. Change nothing, alert."""


class DeliveryInvalid(Exception):
    """A delivery that is not from the provider, is too old, was changed on the way, or is no event at all."""


@dataclass(frozen=True, slots=True)
class Event:
    """A verified delivery; `payload` is the whole event as JSON text. `live`: whether our key is, None when unknown."""

    provider: str
    id: str
    type: str
    created: int
    payload: str
    live: bool | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """An attempt to take money. `state` is open, processing, succeeded or cancelled; `raw` is the provider's object.

    Paid in the application with a `client_secret`, or on a page of the provider's at `url`, which is there while open;
    `paid_by` is then what the provider takes the money with, once it knows.
    """

    ref: str
    state: str
    amount_cents: int
    currency: str
    client_secret: str | None
    raw: dict[str, Any]
    url: str | None = None
    paid_by: str | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """Money going back to a buyer; `status` in the provider's words."""

    ref: str
    status: str
    amount_cents: int
    failure_reason: str | None
    metadata: dict[str, str]
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money sent to a seller's account."""

    ref: str
    amount_cents: int
    currency: str
    destination: str


@dataclass(frozen=True, slots=True)
class Account:
    """A seller's account at the provider; `status` is enabled, pending or disabled."""

    ref: str
    status: str


@dataclass(frozen=True, slots=True)
class AccountLink:
    """A one-time URL on which a seller completes the account."""

    url: str
    expires_at: int


class PaymentProvider(Protocol):
    """One provider. Every creating call carries an idempotency key; repeating it creates nothing new."""

    name: str

    def verify_delivery(self, body: bytes, signature: str | None) -> Event:
        """The event in this webhook delivery. Raises DeliveryInvalid."""

    async def create_payment(self, request: dict[str, Any]) -> Payment:
        """Create the attempt that start_payment() described; the idempotency key is the payment id and the way."""

    async def retrieve_payment(self, ref: str) -> Payment:
        """The attempt as it is now."""

    async def cancel_payment(self, ref: str) -> Payment:
        """Cancel if still possible; the answer's state says what it came to."""

    def payment_event(self, payment: Payment) -> Event | None:
        """What the provider would have sent when the attempt reached its state; None while nothing happened to it."""

    async def payment_fee(self, ref: str) -> tuple[str, int] | None:
        """(charge, fee in cents) of a succeeded attempt; None while the provider has not booked it."""

    def events(self, since: datetime) -> AsyncIterator[Event]:
        """The provider's own list of what it told us since then, newest first, of the types that move money."""

    async def find_refund(self, payment_ref: str, refund_id: UUID) -> Refund | None:
        """The refund that carries our refund id, if it was ever created."""

    async def create_refund(self, request: dict[str, Any]) -> Refund:
        """Create the refund that claim_refund() described; the refund id is the idempotency key."""

    async def list_refunds(self, payment_ref: str) -> list[Refund]:
        """All refunds of an attempt, whoever made them."""

    def refund_event(self, refund: Refund) -> Event:
        """What the provider would have sent when the refund reached its status."""

    async def find_transfer(self, request: dict[str, Any]) -> Transfer | None:
        """The transfer of this payout, if it was ever created. Raises ProviderConflict when it is a different one."""

    async def create_transfer(self, request: dict[str, Any]) -> Transfer:
        """Create the transfer that claim_payout() described; the payout id is the idempotency key."""

    async def create_account(self, user_id: UUID, email: str | None, idempotency_key: str) -> str:
        """A new, empty seller account; returns its id."""

    async def account_link(self, account_id: str, *, return_url: str, refresh_url: str) -> AccountLink:
        """A link on which the seller completes the account."""

    async def retrieve_account(self, account_id: str) -> Account:
        """Whether the account can be paid."""

    async def balance_cents(self, currency: str) -> int:
        """What we hold at the provider, available and pending together."""

    async def close(self) -> None:
        """Close connections."""
