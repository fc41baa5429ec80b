"""Refunds: make the ones asked for, read the ones made elsewhere."""

from uuid import UUID

from workers import logs
from workers.db import BusinessError
from workers.jobs.events import store_event
from workers.jobs.queue import task
from workers.providers import ProviderError, ProviderRefused
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
        made = await provider.find_refund(claim["provider_ref"], refund)
        if made is None:
            try:
                made = await provider.create_refund(claim)
            except ProviderRefused as error:
                log.error("refund refused", refund_id=refund_id, code=error.code, error=error.message)
                await services.db.call("record_refund", refund, None, "failed", error.code or error.message)
                return
        await services.db.call("record_refund", refund, made.ref, made.status, made.failure_reason)


@task("sync_refunds")
async def sync_refunds(services: Services, payment_id: str) -> None:
    """Read all refunds of a payment, also those made in the provider's dashboard, into the inbox."""
    attempt = await services.db.call("payment_attempt", UUID(payment_id))
    if attempt is None or not attempt["provider_ref"]:
        return
    provider = services.providers[attempt["provider"]]
    for refund in await provider.list_refunds(attempt["provider_ref"]):
        await store_event(services, provider.name, provider.refund_event(refund))


@task("resume_refunds", retry=False)
async def resume_refunds(services: Services) -> None:
    """Safety net: refunds whose job was lost are sent, overdue ones are asked about."""
    for row in await services.db.rows("refunds_to_resume", BATCH):
        try:
            if row["sent"]:
                await sync_refunds(services, str(row["payment_id"]))
            else:
                await send_refund(services, str(row["refund_id"]))
        except (ProviderError, BusinessError) as error:
            log.error("refund not resumed", refund_id=str(row["refund_id"]), error=str(error))
