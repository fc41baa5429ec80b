"""Refunds: make the ones asked for, read the ones made elsewhere."""

from uuid import UUID

from workers import logs
from workers.db import BusinessError
from workers.jobs.events import store_events
from workers.jobs.queue import task
from workers.providers import NotFound, ProviderError, ProviderRefused, RefusedForNow
from workers.services import Services

log = logs.get(__name__)

BATCH = 100


@task("send_refund")
async def send_refund(services: Services, refund_id: str) -> None:
    """Give the money back, exactly once: look for the refund before making it."""
    refund = UUID(refund_id)
    async with services.db.exclusive(f"refund:{refund}") as mine:
        if not mine:
            return
        claim = await services.db.call("claim_refund", refund)
        if claim is None:
            return
        provider = services.providers[claim["provider"]]
        try:
            made = await provider.find_refund(claim["provider_ref"], refund) or await provider.create_refund(claim)
        except RefusedForNow as error:
            until = await services.db.call("delay_provider_call", refund, "refund", error.code or error.message)
            log.error("refund delayed", refund_id=refund_id, code=error.code, error=error.message, until=str(until))
            return
        except ProviderRefused as error:
            log.error("refund refused", refund_id=refund_id, code=error.code, error=error.message)
            await services.db.call("record_refund", refund, None, "failed", error.code or error.message)
            return
        await services.db.call("record_refund", refund, made.ref, made.status, made.failure_reason)


@task("sync_refunds")
async def sync_refunds(services: Services, payment_id: str) -> None:
    """Read all refunds of a payment, also those made in the provider's dashboard, into the inbox."""
    await _sync(services, UUID(payment_id))


async def _sync(services: Services, payment_id: UUID) -> set[str]:
    attempt = await services.db.call("payment_attempt", payment_id)
    if attempt is None or not attempt["provider_ref"]:
        return set()
    provider = services.providers[attempt["provider"]]
    try:
        refunds = await provider.list_refunds(attempt["provider_ref"])
    except NotFound:
        return set()
    await store_events(services, [provider.refund_event(refund) for refund in refunds])
    return {refund.ref for refund in refunds}


@task("resume_refunds", retry=False)
async def resume_refunds(services: Services) -> None:
    """Safety net: refunds whose job was lost are sent, overdue ones are asked about."""
    for row in await services.db.rows("refunds_to_resume", BATCH):
        try:
            if not row["sent"]:
                await send_refund(services, str(row["refund_id"]))
            elif row["provider_ref"] not in await _sync(services, row["payment_id"]):
                log.error("refund ended, the provider does not have it", refund_id=str(row["refund_id"]))
                await services.db.call(
                    "record_refund", row["refund_id"], row["provider_ref"], "failed", "unknown_to_provider"
                )
        except (ProviderError, BusinessError) as error:
            log.error("refund not resumed", refund_id=str(row["refund_id"]), error=str(error))
