"""Attempts to take money: cancel what ran out, ask about what is unclear, read what the provider charged."""

from uuid import UUID

from workers import logs
from workers.attempts import open_attempt, read_attempt
from workers.db import BusinessError
from workers.jobs.events import store_events
from workers.jobs.queue import task
from workers.providers import NotFound, Payment, PaymentProvider, ProviderError, ProviderRefused
from workers.services import Services

log = logs.get(__name__)

BATCH = 100


@task("cancel_expired_payments", retry=False)
async def cancel_expired_payments(services: Services) -> None:
    """Free what is reserved: end attempts the provider never heard of, cancel the others at the provider first."""
    while await services.db.call("expire_unstarted_payments", BATCH) == BATCH:
        pass
    for row in await services.db.rows("payments_to_cancel", BATCH):
        try:
            await _cancel(services, services.providers[row["provider"]], row["payment_id"], row["provider_ref"])
        except (ProviderError, BusinessError) as error:
            # One that cannot be cancelled now must not keep the others' items reserved.
            log.error("payment not cancelled", payment_id=str(row["payment_id"]), error=str(error))


async def _cancel(services: Services, provider: PaymentProvider, payment_id: UUID, ref: str | None) -> None:
    try:
        if ref is None:
            # Whether it was created is unknown. Creating under the same key finds it if it was.
            attempt, _ = await open_attempt(services, provider, await services.db.call("payment_attempt", payment_id))
            ref = attempt.ref
        payment = await provider.cancel_payment(ref)
    except ProviderRefused as error:
        await _give_up(services, payment_id, error)
        return
    if payment.state == "cancelled":
        await services.db.call("payment_cancelled", payment_id)
    else:
        # The buyer was faster: the money decides, not our clock.
        await _store(services, provider, payment)


@task("reconcile_payments", retry=False)
async def reconcile_payments(services: Services) -> None:
    """Ask the provider about attempts open for long: their event may have been lost."""
    for row in await services.db.rows("payments_to_reconcile", BATCH):
        provider = services.providers[row["provider"]]
        try:
            attempt = await read_attempt(services, provider, row["payment_id"], row["provider_ref"])
            await _store(services, provider, attempt)
        except NotFound as error:
            await _give_up(services, row["payment_id"], error)
        except (ProviderError, BusinessError) as error:
            log.error("payment not reconciled", payment_id=str(row["payment_id"]), error=str(error))


@task("read_payment")
async def read_payment(services: Services, payment_id: str) -> None:
    """Ask the provider about an attempt whose state an event told of, but not all that is needed to book it."""
    request = await services.db.call("payment_attempt", payment_id)
    if request and request["ref"]:
        provider = services.providers[request["provider"]]
        await _store(services, provider, await read_attempt(services, provider, payment_id, request["ref"]))


async def _store(services: Services, provider: PaymentProvider, payment: Payment) -> None:
    event = provider.payment_event(payment)
    if event is not None:
        await store_events(services, [event])


async def _give_up(services: Services, payment_id: UUID, error: ProviderError) -> None:
    # Asking again changes nothing, and nobody can pay what the provider does not have.
    log.error("payment ended, the provider does not have it", payment_id=str(payment_id), error=str(error))
    await services.db.call("payment_unknown", payment_id)


@task("read_missing_fees", retry=False)
async def read_missing_fees(services: Services) -> None:
    """Read what the provider really charged for settled payments, and book the difference to the estimate."""
    for row in await services.db.rows("payments_missing_fee", BATCH):
        try:
            fee = await services.providers[row["provider"]].payment_fee(row["provider_ref"])
            if fee is None:
                log.info("fee not known yet", payment_id=str(row["payment_id"]))
            else:
                await services.db.call("record_provider_fee", row["payment_id"], *fee)
        except NotFound as error:
            log.error("fee stays the estimate", payment_id=str(row["payment_id"]), error=str(error))
            await services.db.call("keep_estimated_fee", row["payment_id"])
        except (ProviderError, BusinessError) as error:
            log.warning("fee not read", payment_id=str(row["payment_id"]), error=str(error))
