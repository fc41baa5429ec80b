"""An attempt to take money, found or made at the provider, and what of it the database notes."""

from typing import Any
from uuid import UUID

from workers.providers import Payment, PaymentProvider
from workers.services import Services


async def open_attempt(services: Services, provider: PaymentProvider, request: dict[str, Any]) -> tuple[Payment, str]:
    """What start_payment() described, made or, however often, found again; and the payment's status by then.

    A creation whose answer was lost is repeated under the same key. `cancelled`: it was given up meanwhile, and is to
    be cancelled at the provider.
    """
    attempt = await provider.create_payment(request)
    return attempt, await services.db.call("attach_payment_ref", request["payment_id"], attempt.ref)


async def read_attempt(services: Services, provider: PaymentProvider, payment_id: UUID | str, ref: str) -> Payment:
    """The attempt as it is now. Notes what a session is paid by: only it says so with authority."""
    attempt = await provider.retrieve_payment(ref)
    if attempt.paid_by is not None:
        await services.db.call("attach_payment_intent", payment_id, attempt.paid_by)
    return attempt
