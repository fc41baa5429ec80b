"""POST /functions/v1/payments/{id}/…: open an attempt at the provider, in one of two ways; hear how it ended."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, UrlConstraints

from workers import logs
from workers.attempts import open_attempt, read_attempt
from workers.http.context import MemberDep, ServicesDep, problems
from workers.http.inbox import as_json
from workers.problems import Problem
from workers.providers import Payment
from workers.providers.storable import storable
from workers.services import Services

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
        _409="The payment is no longer open: settled, expired or cancelled; or it was started as a session "
        "(`payment_started_otherwise`)",
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
    attempt = await _open(services, request)
    response.headers["cache-control"] = "no-store"
    return StartedPayment(
        payment_id=payment_id,
        provider=request["provider"],
        provider_ref=attempt.ref,
        status=attempt.state,
        client_secret=attempt.client_secret,
        publishable_key=services.settings.stripe_publishable_key,
        amount_cents=request["amount_cents"],
        currency=request["currency"],
        order_number=request.get("order_number"),
    )


Page = Annotated[AnyHttpUrl, UrlConstraints(max_length=2048)]


class SessionPages(BaseModel):
    """Where the provider's page leads to."""

    model_config = ConfigDict(extra="forbid")

    success_url: Page = Field(
        description="When the buyer is done; a page of the application, which asks `confirm` what came of it",
        examples=["https://shop.example/paid?payment=4bd2a4c5-1c6b-4a35-8e5c-6a1f0a4c1f57"],
    )
    cancel_url: Page = Field(
        description="When the buyer turns back; a page of the application", examples=["https://shop.example/cart"]
    )


class PaymentSession(BaseModel):
    """A page of the provider's on which the buyer pays."""

    payment_id: UUID
    session_id: str = Field(examples=["cs_test_a1avenue"])
    status: str = Field(description="open, processing or succeeded", examples=["open"])
    url: str | None = Field(description="Send the buyer here; null when the buyer is done: call `confirm`")
    expires_at: datetime = Field(description="Until when the buyer should have paid; it is closed then")


@router.post(
    "/{payment_id}/session",
    summary="Start a payment on the provider's page",
    responses=problems(
        _401="No or no valid access token",
        _403="Anonymous session, or banned",
        _404="No such payment of the caller",
        _409="The payment is no longer open: settled, expired or cancelled; or it was started without a session "
        "(`payment_started_otherwise`)",
        _422="The id is not a UUID; a URL is missing, too long, not http(s), or of another site (`url_not_allowed`)",
        _502="The provider refused",
        _503="The provider or the database cannot answer right now; repeat the call, it creates nothing twice",
    ),
)
async def start_session(
    payment_id: UUID, body: SessionPages, caller: MemberDep, services: ServicesDep, response: Response
) -> PaymentSession:
    """Creates the payment's one session, or finds the one already created, which keeps its pages.

    Nothing is granted here: the order completes when the provider confirms that the money was taken.
    """
    for url in (body.success_url, body.cancel_url):
        if not services.settings.is_ours(str(url)):
            raise Problem("url_not_allowed", f"{url.scheme}://{url.host}")
    request = await services.db.call(
        "start_payment", payment_id, caller.user_id, True, str(body.success_url), str(body.cancel_url)
    )
    attempt = await _open(services, request)
    response.headers["cache-control"] = "no-store"
    return PaymentSession(
        payment_id=payment_id,
        session_id=attempt.ref,
        status=attempt.state,
        url=attempt.url,
        expires_at=request["expires_at"],
    )


class ConfirmedPayment(BaseModel):
    """What became of the order."""

    payment_id: UUID
    payment_status: str = Field(description="As in `payments.status`", examples=["succeeded"])
    order_id: UUID
    order_number: str = Field(examples=["A-000042"])
    order_status: str = Field(description="As in `orders.status`", examples=["completed"])
    total_cents: int = Field(examples=[2000])
    currency: str = Field(examples=["USD"])


@router.post(
    "/{payment_id}/confirm",
    summary="Hear what came of a payment",
    responses=problems(
        _401="No or no valid access token",
        _403="Anonymous session",
        _404="No such payment of the caller",
        _422="The id is not a UUID",
        _502="The provider refused",
        _503="The provider or the database cannot answer right now; repeat the call",
    ),
)
async def confirm_payment(
    payment_id: UUID, caller: MemberDep, services: ServicesDep, response: Response
) -> ConfirmedPayment:
    """Reads the attempt at the provider and settles what is paid there, once, whoever is first: this or its event.

    For the page that a buyer returns to; only its answer counts, not that the buyer came. May be called by anyone who
    waits, as often as they like.
    """
    state = await services.db.call("payment_state", payment_id, caller.user_id)
    provider = services.providers.get(state["provider"])
    if provider is not None and state["ref"] and not state["is_settled"]:
        event = provider.payment_event(await read_attempt(services, provider, payment_id, state["ref"]))
        if event is not None:
            # The inbox, as for a delivery: the event that arrives as well finds it settled.
            await services.db.call("store_webhook_events", event.provider, storable(as_json([event])))
            await services.db.call("apply_read_event", event.provider, event.id)
            state = await services.db.call("payment_state", payment_id, caller.user_id)
    order = state["order"]
    response.headers["cache-control"] = "no-store"
    return ConfirmedPayment(
        payment_id=payment_id,
        payment_status=order["payment_status"],
        order_id=order["order_id"],
        order_number=order["order_number"],
        order_status=order["status"],
        total_cents=order["total_cents"],
        currency=order["currency"],
    )


async def _open(services: Services, request: dict[str, Any]) -> Payment:
    provider = services.providers.get(request["provider"])
    if provider is None:
        raise Problem("provider_not_supported", request["provider"])
    if request["ref"]:
        attempt = await read_attempt(services, provider, request["payment_id"], request["ref"])
    else:
        attempt, status = await open_attempt(services, provider, request)
        if status == "cancelled":
            # It was given up while we created it. Should the buyer have been faster, the provider's event settles it.
            attempt = await provider.cancel_payment(attempt.ref)
            raise Problem("payment_not_open", attempt.state)
    if attempt.state == "cancelled":
        raise Problem("payment_not_open", attempt.state)
    return attempt
