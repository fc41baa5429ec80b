"""Stores verified deliveries; those that arrive while a commit is under way share the next one.

A delivery is answered only after the commit that holds it. Nothing waits on a timer for a batch to fill: it holds what
has arrived by the time the previous commit is done.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg

from workers import logs
from workers.db import BusinessError, Database, DatabaseUnavailable
from workers.metrics import WEBHOOK_BATCH
from workers.providers import Event
from workers.providers.storable import storable

log = logs.get(__name__)

MAX_BATCH = 100
MAX_WAITING = 2000
WRITE_TIMEOUT_SECONDS = 10
# Turns of the event loop before a batch is closed. Requests that are already in the sockets get read in these
# microseconds: twice the events in a commit, and about a third less work for each.
TURNS = 3


class NotStorable(Exception):
    """PostgreSQL refuses this event even without what it cannot hold."""


class Inbox:
    """The queue in front of private.store_webhook_events() for one provider."""

    def __init__(self, provider: str, write: Callable[[str, str], Awaitable[Any]]) -> None:
        """`write(provider, events as JSON text)` commits, or raises having stored nothing."""
        self._provider = provider
        self._write = write
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def for_database(cls, provider: str, db: Database) -> "Inbox":
        """An inbox that writes to the database."""
        return cls(provider, lambda name, events: db.call("store_webhook_events", name, events))

    def start(self) -> None:
        """Begin writing."""
        self._task = asyncio.create_task(self._run(), name=f"inbox {self._provider}")

    async def stop(self) -> None:
        """Stop writing; to be called when no request is open any more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def store(self, event: Event) -> None:
        """Returns once the event is committed. Raises DatabaseUnavailable (come back later) or NotStorable."""
        if len(self._waiting) >= MAX_WAITING:
            raise DatabaseUnavailable("too many deliveries are waiting")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, done))
        self._arrived.set()
        await done

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting:
                self._arrived.clear()
            await self._store_batch(batch)

    async def _store_batch(self, batch: list[tuple[Event, asyncio.Future[None]]]) -> None:
        failure: Exception | None = None
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                await self._write(self._provider, as_json(event for event, _ in batch))
        except (psycopg.Error, BusinessError) as error:
            # Whatever the database has against it, one of them is the culprit; the others must not suffer.
            middle = len(batch) // 2
            if middle and not _is_about_schema(error):
                await self._store_batch(batch[:middle])
                await self._store_batch(batch[middle:])
                return
            event, done = batch[0]
            held = replace(event, id=_text(event.id), type=_text(event.type), payload=storable(event.payload))
            if _is_about_data(error) and held != event:
                log.warning("event stored with replacements", event_id=held.id, error=str(error))
                await self._store_batch([(held, done)])
                return
            failure = NotStorable(str(error)) if _is_about_data(error) else error
        except TimeoutError:
            failure = DatabaseUnavailable("storing took too long")
        except asyncio.CancelledError:
            for _, done in batch:
                done.cancel()
            raise
        except Exception as error:
            failure = error
        WEBHOOK_BATCH.observe(len(batch))
        for _, done in batch:
            # A client that hung up has cancelled its future; its event is stored all the same.
            if done.cancelled():
                continue
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)


def _is_about_schema(error: Exception) -> bool:
    # Class 42: a function or a right is missing. No event can be stored until it is mended, and none is to blame.
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("42")


def _is_about_data(error: Exception) -> bool:
    # Classes 22 and 23: values and constraints; 54: limits, such as depth.
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(("22", "23", "54"))


def as_json(events: Iterable[Event]) -> str:
    """What private.store_webhook_events() takes."""
    # The payload is spliced in as it came (it was parsed once, to verify it), never decoded and encoded again.
    return "[" + ",".join(_entry(event) for event in events) + "]"


def _entry(event: Event) -> str:
    live = "" if event.live is None else f'"live":{json.dumps(event.live)},'
    return (
        f'{{"id":{json.dumps(event.id)},"type":{json.dumps(event.type)},"created":{event.created},{live}'
        f'"payload":{event.payload}}}'
    )


def _text(value: str) -> str:
    return str(json.loads(storable(json.dumps(value))))
