"""Provider events: apply the stored ones, and put what was read at a provider into the same inbox."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from procrastinate.exceptions import AlreadyEnqueued

from workers import logs
from workers.db import DatabaseUnavailable
from workers.http.inbox import as_json
from workers.jobs.queue import queue, task
from workers.providers import Event
from workers.providers.storable import storable
from workers.services import Services

log = logs.get(__name__)

BATCH = 100
FORGET_BATCH = 1000
# A provider's list may show an event a little later than its time says.
OVERLAP = timedelta(hours=1)


@task("process_events")
async def process_events(services: Services, ids: list[int]) -> None:
    """Apply stored events: plain settlements together, all others each in its own transaction.

    One that fails does not keep the others back.
    """
    failure: Exception | None = None
    settled = await services.settlement.settle(ids)
    applied = bool(settled)
    for event_id in (event_id for event_id in ids if event_id not in settled):
        try:
            outcome = await services.db.call("process_webhook_event", event_id, len(ids) == 1)
        except DatabaseUnavailable:
            raise
        except Exception as error:
            log.exception("event not processed", event_id=event_id)
            failure = error
        else:
            applied = applied or outcome == "processed"
            if outcome == "dead":
                log.error("event is dead, see `avenue events show`", event_id=event_id)
    if applied:
        # A settled payment's real fee. Settlement itself queues nothing: queueing notifies, and commits that notify do
        # not share a flush. One waiting job is enough for all of them.
        with contextlib.suppress(AlreadyEnqueued):
            await queue.tasks["read_missing_fees"].configure(queueing_lock="read_missing_fees").defer_async()
    if failure is not None:
        raise failure


@task("enqueue_due_events", retry=False)
async def enqueue_due_events(services: Services) -> None:
    """Safety net: events whose job was lost, or whose retry is due."""
    queued = await services.db.call("enqueue_due_webhook_events")
    if queued:
        log.info("events queued again", count=queued)


@task("read_provider_events", retry=False)
async def read_provider_events(services: Services) -> None:
    """Events whose delivery was lost for good are fetched from the provider's own list of them."""
    for name in services.providers:
        await fetch_events(services, name)


async def fetch_events(services: Services, provider: str, since: datetime | None = None) -> int:
    """Put the provider's events into the inbox, from `since` or from where the last run ended; how many were new.

    They come under the ids they are delivered under, so what arrived already is stored once.
    """
    started = datetime.now(UTC)
    begin = since or await services.db.call("events_read_until", provider) - OVERLAP
    new, batch = 0, list[Event]()
    async for event in services.providers[provider].events(begin):
        batch.append(event)
        if len(batch) == BATCH:
            new += await store_events(services, batch)
            batch = []
    new += await store_events(services, batch)
    # A range chosen by a person says nothing about what lies before it.
    if since is None:
        await services.db.call("events_read_until", provider, started)
    if new:
        log.warning("events whose delivery was lost", provider=provider, count=new)
    return new


async def store_events(services: Services, events: Sequence[Event]) -> int:
    """Put events read at a provider into the inbox; the same object in the same state only once. How many were new."""
    if not events:
        return 0
    text = storable(as_json(events))
    return int(await services.db.call("store_webhook_events", events[0].provider, text))


@task("forget_event_persons", retry=False)
async def forget_event_persons(services: Services) -> None:
    """Old events lose names, addresses and cards."""
    while await services.db.call("forget_old_event_persons", FORGET_BATCH):
        pass
