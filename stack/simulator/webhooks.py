"""Signed deliveries of events, in the background: delayed, repeated, reordered, lost or held as configured."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections.abc import Sequence

import httpx

from stack.simulator.data import API_VERSION, Json
from stack.simulator.engine import Config
from stack.simulator.store import Store

_LONGEST_WAIT_SECONDS = 30
_REORDER_SECONDS = 0.3


def sign(body: bytes, secrets: Sequence[str], timestamp: int) -> str:
    """The Stripe-Signature header: one v1 per secret, HMAC-SHA256 of "timestamp.body"."""
    signed = str(timestamp).encode() + b"." + body
    marks = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={mark}" for mark in marks)])


class Webhooks:
    """The outbox. A delivery row is written with its event; after the commit a task carries it out."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store, self._config = store, config
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Start, with what an earlier process left undone."""
        # Proxies of the environment are not for a local endpoint.
        self._client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=100))
        self.configured()
        self.start([row["id"] for row in self._store.deliveries(state="queued")])

    async def close(self) -> None:
        """Stop; queued deliveries stay in the store."""
        self.cancel()
        await self._client.aclose()

    def configured(self) -> None:
        """Take over a changed configuration."""
        self.random = random.Random(self._config.seed)
        self._slots = asyncio.Semaphore(self._config.concurrency)

    def cancel(self) -> None:
        """Forget all deliveries under way."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def queue(self, event_id: str) -> list[int]:
        """Write an event's delivery rows (inside the event's transaction); gives those to start after the commit."""
        config, started = self._config, []
        least, most = config.delay_seconds
        for _ in range(config.copies):
            due = time.time() + self.random.uniform(least, max(most, _REORDER_SECONDS if config.reorder else 0))
            lost = self.random.random() < config.drop_rate
            state = "dropped" if lost else "held" if config.hold or not config.webhook_url else "queued"
            delivery = self._store.add_delivery(event_id, state, due)
            started += [delivery] if state == "queued" else []
        return started

    def start(self, deliveries: Sequence[int]) -> None:
        """Carry out queued deliveries in the background."""
        for delivery in deliveries:
            task = asyncio.create_task(self._carry_out(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def release(self) -> int:
        """Queue everything held; gives how many deliveries."""
        held = self._store.deliveries(state="held")
        with self._store.transaction():
            for row in held:
                self._store.move_delivery(row["id"], "queued", time.time())
        self.start([row["id"] for row in held])
        return len(held)

    async def idle(self, timeout_seconds: float) -> bool:
        """Wait until no delivery is queued or in flight; False when that took too long. Held ones do not count."""
        deadline = time.monotonic() + timeout_seconds
        while self._tasks:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            await asyncio.wait(self._tasks, timeout=left)
            await asyncio.sleep(0)
        return True

    async def _carry_out(self, delivery: int) -> None:
        while row := self._store.delivery(delivery):
            await asyncio.sleep(max(0.0, row["due"] - time.time()))
            async with self._slots:
                if self._config.hold:
                    self._store.move_delivery(delivery, "held", time.time())
                    return
                response = await self.post(row["event"])
            wait = min(self._config.retry_seconds * 2 ** row["attempts"], _LONGEST_WAIT_SECONDS)
            given_up = row["attempts"] + 1 >= self._config.retry_limit
            state = "delivered" if _accepted(response) else "failed" if given_up else "queued"
            self._store.move_delivery(delivery, state, time.time() + wait, response)
            if state != "queued":
                return

    async def deliver_now(
        self, event_ids: Sequence[str], secrets: Sequence[str] | None, age_seconds: int
    ) -> list[Json]:
        """Deliver these events one after another, whatever the configuration says; gives the responses."""
        responses = []
        for event_id in event_ids:
            response = await self.post(event_id, secrets, age_seconds)
            responses.append({"event": event_id, **response})
            if _accepted(response):
                for row in self._store.deliveries(event=event_id, state="held"):
                    self._store.move_delivery(row["id"], "delivered", time.time(), response)
        return responses

    async def post(self, event_id: str, secrets: Sequence[str] | None = None, age_seconds: int = 0) -> Json:
        """One delivery: {"status", "body" (shortened), "seconds"}, or {"status": None, "error"} without an answer."""
        event = self._store.find(event_id)
        if event is None or not self._config.webhook_url:
            return {"status": None, "error": "no such event" if event is None else "no webhook_url"}
        body = json.dumps(event, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Version": API_VERSION,
            "Stripe-Signature": sign(body, secrets or self._config.webhook_secrets, int(time.time()) - age_seconds),
        }
        begun = time.monotonic()
        try:
            answer = await self._client.post(
                self._config.webhook_url, content=body, headers=headers, timeout=self._config.timeout_seconds
            )
            response: Json = {"status": answer.status_code, "body": answer.text[:200]}
        except httpx.HTTPError as error:
            response = {"status": None, "error": str(error) or type(error).__name__}
        return response | {"seconds": round(time.monotonic() - begun, 4)}


def _accepted(response: Json) -> bool:
    return response["status"] is not None and 200 <= response["status"] < 300
