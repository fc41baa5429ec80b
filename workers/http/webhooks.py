"""POST /webhooks/{provider}: verify the raw body, store it, answer. Plain ASGI, because this is the busiest route."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from workers import logs
from workers.db import DatabaseUnavailable
from workers.http.inbox import NotStorable
from workers.metrics import WEBHOOKS
from workers.problems import Problem
from workers.providers import DeliveryInvalid, Event

log = logs.get(__name__)

MAX_BODY_BYTES = 1024 * 1024
BODY_TIMEOUT_SECONDS = 20

_RECEIVED = b'{"received":true}'
_RECEIVED_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_RECEIVED)).encode())]


class WebhookEndpoint:
    """The receiving end for one provider. Answers 2xx only when `store` returned, that is, has committed."""

    def __init__(
        self,
        provider: str,
        signature_header: bytes,
        verify: Callable[[bytes, str | None], Event],
        store: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._provider = provider
        self._signature_header = signature_header
        self._verify = verify
        self._store = store
        self._stored = WEBHOOKS.labels(provider, "stored")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body, signature = await self._read(scope, receive)
            if body is None:
                return
            await self._store(self._verify(body, signature))
        except Exception as error:
            await self._refuse(_problem(error), scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": _RECEIVED_HEADERS})
            await send({"type": "http.response.body", "body": _RECEIVED})
            self._stored.inc()

    async def _read(self, scope: Scope, receive: Receive) -> tuple[bytes | None, str | None]:
        signature = None
        for name, value in scope["headers"]:
            if name == self._signature_header:
                signature = value.decode("latin-1")
            elif name == b"content-length" and int(value) > MAX_BODY_BYTES:
                raise _too_large()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                return await _read_body(receive), signature
        except TimeoutError as error:
            raise Problem("body_too_slow", headers={"connection": "close"}) from error

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        WEBHOOKS.labels(self._provider, problem.code).inc()
        log.warning("webhook refused", provider=self._provider, code=problem.code, detail=problem.detail)
        await problem.response(scope["path"])(scope, receive, send)


async def _read_body(receive: Receive) -> bytes | None:
    """The body, counted as it streams in, so that a wrong or missing Content-Length does not matter."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, DeliveryInvalid):
        return Problem("invalid_delivery", str(error))
    if isinstance(error, NotStorable):
        return Problem("invalid_delivery", f"It cannot be stored: {error}")
    if not isinstance(error, DatabaseUnavailable):
        # A bug, or a schema that is not migrated yet: the provider keeps the event until it is mended.
        log.error("webhook not stored", exc_info=error)
    return Problem.unavailable()


def _too_large() -> Problem:
    # Closing tells the sender to stop; what is still in flight belongs to no request.
    return Problem("body_too_large", headers={"connection": "close"})
