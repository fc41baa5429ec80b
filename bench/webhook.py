"""[webhook]: signed deliveries stored, against the same server answering after the signature check alone.

Run as a program (`python -m bench.webhook`) it is that alternative: the workers' own HTTP side whose inbox forgets.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import uuid
from urllib.parse import urlsplit

import httpx

from bench.core import Request, Result, alternate, http_rate
from stack.cluster import REPO, free_port
from stack.services import Services


def _request(url: str, secret: str) -> Request:
    """Deliveries like Stripe's, about 1.5 kB, each event once; signed when they are sent."""
    run = uuid.uuid4().hex[:8]
    host = urlsplit(url).netloc
    intent = {
        "id": "pi_bench",
        "object": "payment_intent",
        "amount": 2000,
        "currency": "usd",
        "metadata": {},
        "description": "x" * 1000,
    }

    def make(number: int) -> bytes:
        event = {
            "id": f"evt_{run}_{number}",
            "object": "event",
            "type": "payment_intent.created",
            "created": int(time.time()),
            "data": {"object": intent},
        }
        body = json.dumps(event).encode()
        at = str(int(time.time()))
        signature = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return (
            f"POST /webhooks/stripe HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Stripe-Signature: t={at},v1={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    return make


def measure(services: Services) -> Result:
    """Both servers run at once and are asked in turn; what differs is the inbox's commit and the job it queues."""
    port = free_port()
    env = {**os.environ, **services.env, "AVENUE_HTTP_PORT": str(port)}
    with subprocess.Popen([sys.executable, "-m", "bench.webhook"], cwd=REPO, env=env) as floor:
        try:
            floor_url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 20
            while True:
                try:
                    httpx.get(f"{floor_url}/healthz")
                    break
                except httpx.ConnectError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            sent = {services.http_url: 0, floor_url: 0}
            makers = {url: _request(url, services.webhook_secret) for url in sent}

            def rate(url: str) -> float:
                # A million numbers a round, so that no event is sent twice.
                sent[url] += 1_000_000
                return http_rate(url, makers[url], first=sent[url])

            value, ratio = alternate(lambda: rate(services.http_url), lambda: rate(floor_url))
        finally:
            floor.terminate()
    return Result("webhook", value, "requests/s", ratio, "the same server after the signature check alone", ">= 0.5")


def _serve_floor() -> None:
    from workers.http.app import serve
    from workers.http.inbox import Inbox
    from workers.providers import Event
    from workers.settings import Settings

    async def forget(self: Inbox, event: Event) -> None:
        return

    Inbox.store = forget  # type: ignore[method-assign]
    serve(Settings())


if __name__ == "__main__":
    _serve_floor()
