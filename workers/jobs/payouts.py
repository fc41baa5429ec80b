"""Payouts: sellers are paid exactly once, whatever is killed in between."""

from uuid import UUID

from workers import logs
from workers.db import BusinessError
from workers.jobs.queue import task
from workers.providers import ProviderError, ProviderRefused, RefusedForNow
from workers.services import Services

log = logs.get(__name__)

BATCH = 100


@task("send_payout")
async def send_payout(services: Services, payout_id: str) -> None:
    """Claim, look, pay, record. Killed between any two of these, the next run finds out where it was.

    The claim commits the intent before the provider is called. Looking first, under a lock, resolves every unknown
    outcome; the idempotency key covers what looking cannot see, a transfer still under way.
    """
    payout = UUID(payout_id)
    async with services.db.exclusive(f"payout:{payout}") as mine:
        if not mine:
            return
        claim = await services.db.call("claim_payout", payout)
        if claim is None:
            return
        provider = services.providers[claim.get("provider", "stripe")]
        transfer = await provider.find_transfer(claim)
        if transfer is None:
            try:
                transfer = await provider.create_transfer(claim)
            except RefusedForNow as error:
                until = await services.db.call("delay_provider_call", payout, "payout", error.code or error.message)
                log.error("payout delayed", payout_id=payout_id, code=error.code, error=error.message, until=str(until))
                return
            except ProviderRefused as error:
                log.error("payout refused", payout_id=payout_id, code=error.code, error=error.message)
                await services.db.call("fail_payout", payout, error.code or error.message)
                return
        await services.db.call("complete_payout", payout, transfer.ref, transfer.amount_cents)
        log.info("payout sent", payout_id=payout_id, transfer=transfer.ref, amount_cents=transfer.amount_cents)


@task("resume_payouts", retry=False)
async def resume_payouts(services: Services) -> None:
    """Safety net: payouts approved but unsent, or in processing for too long."""
    for row in await services.db.rows("payouts_to_resume", services.settings.payout_resume_seconds, BATCH):
        try:
            await send_payout(services, str(row["payout_id"]))
        except (ProviderError, BusinessError) as error:
            # The next run looks again; meanwhile this one must not keep the others waiting.
            log.error("payout not resumed", payout_id=str(row["payout_id"]), error=str(error))


@task("sync_account")
async def sync_account(services: Services, account_id: str) -> None:
    """Read a seller's account and record whether it can be paid."""
    account = await services.stripe.retrieve_account(account_id)
    await services.db.call("record_account_status", account.ref, account.status)


@task("check_accounts", retry=False)
async def check_accounts(services: Services) -> None:
    """Read sellers' accounts again: the event that told of a change may have been lost."""
    for row in await services.db.rows("accounts_to_check", BATCH):
        try:
            await sync_account(services, row["account_id"])
        except ProviderError as error:
            log.error("account not read", account_id=row["account_id"], error=str(error))
