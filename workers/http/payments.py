"""POST /functions/v1/payments/{id}/start: open an attempt at the provider."""

from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from workers import logs
from workers.http.context import MemberDep, ServicesDep, problems
from workers.problems import Problem

log = logs.get(__name__)
router = APIRouter(prefix="/functions/v1/payments", tags=["payments"])


class StartedPayment(BaseModel):
    """What a frontend needs to let the buyer pay, e.g. with Stripe Elements."""

    payment_id: UUID
    provider: str = Field(examples=["stripe"])
    provider_ref: str = Field(description="The provider's id of the attempt", examples=["pi_3Q0avenue"])
    status: str = Field(description="open, processing or succeeded", examples=["open"])
    client_secret: str | None = Field(description="Confirms the payment in the browser; never log or store it")
    publishable_key: str | None = Field(default=None, description="The provider's public key, when configured")
    amount_cents: int = Field(examples=[2000])
    currency: str = Field(examples=["USD"])
    order_number: str | None = Field(default=None, examples=["A-000042"])


@router.post(
    "/{payment_id}/start",
    summary="Start a payment",
    responses=problems(
        _401="No or no valid access token",
        _403="Anonymous session, or banned",
        _404="No such payment of the caller",
        _409="The payment is no longer open: settled, expired or cancelled",
        _422="The id is not a UUID",
        _502="The provider refused",
        _503="The provider or the database cannot answer right now; repeat the call, it creates nothing twice",
    ),
)
async def start_payment(
    payment_id: UUID, caller: MemberDep, services: ServicesDep, response: Response
) -> StartedPayment:
    """Creates the attempt at the payment provider, or finds the one already created, however often it is called.

    Nothing is granted here: the order completes when the provider confirms that the money was taken.
    """
    request = await services.db.call("start_payment", payment_id, caller.user_id)
    provider = services.providers.get(request["provider"])
    if provider is None:
        raise Problem("provider_not_supported", request["provider"])
    if request["provider_ref"]:
        attempt = await provider.retrieve_payment(request["provider_ref"])
    else:
        attempt = await provider.create_payment(request)
        if await services.db.call("attach_payment_ref", payment_id, attempt.ref) == "cancelled":
            # It was given up while we created it. Should the buyer have been faster, the provider's event settles it.
            attempt = await provider.cancel_payment(attempt.ref)
            raise Problem("payment_not_open", attempt.state)
    if attempt.state == "cancelled":
        raise Problem("payment_not_open", attempt.state)
    response.headers["cache-control"] = "no-store"
    return StartedPayment(
        payment_id=payment_id,
        provider=provider.name,
        provider_ref=attempt.ref,
        status=attempt.state,
        client_secret=attempt.client_secret,
        publishable_key=services.settings.stripe_publishable_key,
        amount_cents=request["amount_cents"],
        currency=request["currency"],
        order_number=request.get("order_number"),
    )
