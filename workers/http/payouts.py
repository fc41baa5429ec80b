"""POST /functions/v1/payouts/onboard: the seller's account at the provider."""

from datetime import UTC, datetime

from fastapi import APIRouter, Response
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field

from workers.http.context import MemberDep, ServicesDep, problems
from workers.problems import Problem

router = APIRouter(prefix="/functions/v1/payouts", tags=["payouts"])


class Onboarding(BaseModel):
    """Where the provider sends the seller afterwards, and whether it shall be another account."""

    model_config = ConfigDict(extra="forbid")

    change: bool = Field(default=False, description="Replace the destination")
    return_url: AnyHttpUrl = Field(
        description="When done; a page of the application", examples=["https://shop.example/payouts/done"]
    )
    refresh_url: AnyHttpUrl = Field(
        description="When the link has expired; call this function again there",
        examples=["https://shop.example/payouts/again"],
    )


class OnboardingLink(BaseModel):
    """A link that works once."""

    account_id: str = Field(examples=["acct_1Q0avenue"])
    url: str = Field(description="Send the seller here", examples=["https://connect.stripe.com/setup/e/acct_1/x"])
    expires_at: datetime


@router.post(
    "/onboard",
    summary="Set up payouts",
    responses=problems(
        _401="No or no valid access token",
        _403="Anonymous session, banned, or `fresh_login_required`: sign in again to open or change the destination",
        _422="A URL is missing, not http(s), or of another site (`url_not_allowed`)",
        _502="The provider refused",
        _503="The provider or the database cannot answer right now; repeat the call",
    ),
)
async def onboard(body: Onboarding, caller: MemberDep, services: ServicesDep, response: Response) -> OnboardingLink:
    """Creates the seller's payout account once, and a link on which the provider asks for what is still missing."""
    for url in (body.return_url, body.refresh_url):
        if not services.settings.is_ours(str(url)):
            raise Problem("url_not_allowed", f"{url.scheme}://{url.host}")
    prepared = await services.db.call(
        "prepare_onboarding", caller.user_id, body.change, caller.signed_in_at, caller.method or ""
    )
    account_id = prepared["account_id"]
    if account_id is None:
        account_id = await services.stripe.create_account(
            caller.user_id, prepared.get("email"), prepared["idempotency_key"]
        )
        await services.db.call("set_payout_destination", caller.user_id, account_id, prepared["fresh"])
    link = await services.stripe.account_link(
        account_id, return_url=str(body.return_url), refresh_url=str(body.refresh_url)
    )
    response.headers["cache-control"] = "no-store"
    return OnboardingLink(account_id=account_id, url=link.url, expires_at=datetime.fromtimestamp(link.expires_at, UTC))
