"""Provider events: apply the stored ones, and put what was read at a provider into the same inbox."""

import contextlib
from typing import Any

from procrastinate.exceptions import AlreadyEnqueued

from workers import logs
from workers.db import DatabaseUnavailable
from workers.jobs.queue import queue, task
from workers.services import Services

log = logs.get(__name__)


@task("process_events")
async def process_events(services: Services, ids: list[int]) -> None:
    """Apply stored events, each in its own transaction; one that fails does not keep the others back."""
    failure: Exception | None = None
    applied = False
    for event_id in ids:
        try:
            outcome = await services.db.call("process_webhook_event", event_id)
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


async def store_event(services: Services, provider: str, event: dict[str, Any]) -> None:
    """Put an event made from a provider's object into the inbox; the same object in the same state only once."""
    await services.db.call(
        "store_webhook_events",
        provider,
        [{"id": event["id"], "type": event["type"], "created": event["created"], "payload": event}],
    )
