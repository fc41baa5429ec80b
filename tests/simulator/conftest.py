"""A real simulator process, a real endpoint that receives its webhooks, the real stripe SDK between them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe

from stack.simulator.control import SimulatorControl

REPO = Path(__file__).resolve().parents[2]
SECRET = "whsec_simulator_tests"
API_KEY = "sk_test_simulator_tests"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Receiver:
    """A webhook endpoint: keeps every delivery, answers what `status` says."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[bytes, str]] = []
        self.status: Callable[[dict[str, Any]], int] = lambda event: 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.status(json.loads(body))
                receiver.deliveries.append((body, self.headers["Stripe-Signature"]))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/webhooks/stripe"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self, secret: str = SECRET) -> list[stripe.Event]:
        """Everything received, each verified by the SDK."""
        return [stripe.Webhook.construct_event(body, mark, secret) for body, mark in self.deliveries]

    def types(self) -> list[str]:
        """Event types in order of arrival."""
        return [event.type for event in self.events()]


class Simulator:
    """One simulator process that can be killed and started again on the same state."""

    def __init__(self, directory: Path, webhook_url: str, *options: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.state = directory / "simulator.sqlite"
        self._command = [
            *(sys.executable, "-m", "stack.simulator", "--port", self.url.rpartition(":")[2]),
            *("--state", str(self.state), "--api-key", API_KEY),
            *("--webhook-url", webhook_url, "--webhook-secret", SECRET, *options),
        ]
        self.control = SimulatorControl(self.url)
        self.client = stripe.StripeClient(
            API_KEY, base_addresses={"api": self.url}, http_client=stripe.RequestsClient(timeout=10)
        )
        self.start()

    def start(self) -> None:
        """Start and wait for the first answer."""
        self._process = subprocess.Popen(self._command, cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)})
        self.control.wait_ready()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process."""
        self._process.send_signal(how)
        self._process.wait(10)

    def paid(self, amount: int = 2000, method: str = "pm_card_visa", description: str = "") -> stripe.PaymentIntent:
        """A payment by card, as the buyer's browser makes it."""
        intent = self.client.v1.payment_intents.create(
            {"amount": amount, "currency": "usd", "description": description}
        )
        self.control.confirm(intent.client_secret or "", method)
        return self.client.v1.payment_intents.retrieve(
            intent.id, {"expand": ["latest_charge", "latest_charge.balance_transaction"]}
        )

    def seller(self) -> str:
        """A connected account that can receive transfers."""
        account = self.client.v1.accounts.create(
            {"type": "express", "capabilities": {"transfers": {"requested": True}}}
        )
        self.control.complete_account(account.id)
        return account.id

    def available(self) -> int:
        """The platform's balance in cents."""
        return self.client.v1.balance.retrieve().available[0].amount


@contextmanager
def running(directory: Path, webhook_url: str, *options: str) -> Iterator[Simulator]:
    """A simulator for the time of the block."""
    simulator = Simulator(directory, webhook_url, *options)
    try:
        yield simulator
    finally:
        simulator.stop(signal.SIGKILL)
        simulator.control.close()


@pytest.fixture(scope="session")
def _receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()


@pytest.fixture(scope="session")
def _simulator(tmp_path_factory: pytest.TempPathFactory, _receiver: Receiver) -> Iterator[Simulator]:
    with running(tmp_path_factory.mktemp("simulator"), _receiver.url) as simulator:
        yield simulator


@pytest.fixture
def simulator(_simulator: Simulator) -> Simulator:
    """A simulator without memories of earlier tests, none of whose deliveries is still on its way."""
    _simulator.control.idle(1)
    _simulator.control.reset()
    _simulator.control.config(retry_seconds=0.05)
    return _simulator


@pytest.fixture
def receiver(_receiver: Receiver, simulator: Simulator) -> Receiver:
    """The endpoint its events arrive at, empty."""
    _receiver.deliveries.clear()
    _receiver.status = lambda event: 200
    return _receiver
