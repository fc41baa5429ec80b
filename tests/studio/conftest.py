"""A real studio simulator process, a real endpoint for its webhooks, a server for photos, the real provider between."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import pytest

from stack.cluster import free_port
from stack.simulator.studio_control import StudioControl
from tests.media import pictures
from workers.studio.http import Cost, HttpStudio
from workers.studio.protocol import Attempt

REPO = Path(__file__).resolve().parents[2]
TOKEN = "r8_simulator_tests"
SECRET, OTHER_SECRET = "whsec_c2ltdWxhdG9yLXRlc3RzLTE=", "whsec_c2ltdWxhdG9yLXRlc3RzLTI="
VERSION = "avenue/simulator:1"
PHOTO = pictures.saved(pictures.quarters(), "PNG")

T = TypeVar("T")


@dataclass
class Outside:
    """Our side as the provider sees it: photos to fetch, webhooks to deliver."""

    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    deliveries: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    room: str = ""

    @property
    def workers_url(self) -> str:
        """Where this test's webhooks go; what is still on its way for an earlier one goes elsewhere."""
        return f"{self.url}/{self.room}"

    def attempt(self, *, photo: bytes | None = PHOTO, prompt: str = "square", hours: float = 1) -> Attempt:
        """One try at a photo that is there."""
        attempt_id = uuid4()
        path = f"/photos/{attempt_id}?token=x"
        if photo is not None:
            self.files[path] = photo
        return Attempt(attempt_id, prompt, self.url + path, datetime.now(UTC) + timedelta(hours=hours))

    def expire(self, attempt: Attempt) -> None:
        """The photo's URL works no longer."""
        assert attempt.input_url
        del self.files[attempt.input_url.removeprefix(self.url)]


@pytest.fixture(scope="session")
def served() -> Iterator[Outside]:
    outside = Outside()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(200 if self.path in outside.files else 400, outside.files.get(self.path, b"expired"))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = outside.status
            headers = {name.lower(): value for name, value in self.headers.items()}
            if self.path.startswith(f"/{outside.room}/"):
                outside.deliveries.append((self.path, headers, body))
            self.answer(status, b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    outside.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield outside
    server.shutdown()


class StudioProcess:
    """One simulator process that can be killed and started again on the same state."""

    def __init__(self, directory: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._command = [
            *(sys.executable, "-m", "stack.simulator.studio", "--port", self.url.rpartition(":")[2]),
            *("--state", str(directory / "studio.sqlite"), "--token", TOKEN, "--webhook-secret", SECRET),
        ]
        self.control = StudioControl(self.url)
        self.start()

    def start(self) -> None:
        """Start and wait for the first answer."""
        self._process = subprocess.Popen(self._command, cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)})
        self.control.wait_ready()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process."""
        self._process.send_signal(how)
        self._process.wait(10)


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    process = StudioProcess(tmp_path_factory.mktemp("studio"))
    yield process
    process.stop()


@pytest.fixture
def outside(served: Outside) -> Outside:
    served.files.clear()
    served.room = uuid4().hex
    served.deliveries.clear()
    served.status = 200
    return served


@pytest.fixture
def simulator(process: StudioProcess, outside: Outside) -> StudioControl:
    process.control.reset()
    return process.control


@dataclass
class Desk:
    """Runs coroutines of a test with a provider of their own."""

    api_base: str
    workers_url: str
    secrets: tuple[str, ...] = (SECRET,)

    def run(self, test: Callable[[HttpStudio], Awaitable[T]], **changes: Any) -> T:
        """The result of a test that gets a provider."""

        async def run() -> T:
            options = {
                "webhook_secrets": self.secrets,
                "workers_url": self.workers_url,
                "cost": Cost(40_000, 1_000),
                "timeout": httpx.Timeout(30),
                **changes,
            }
            base, token, version = (options.pop(name, other) for name, other in (
                ("api_base", self.api_base), ("token", TOKEN), ("version", VERSION)
            ))  # fmt: skip
            studio = HttpStudio(base, token, version, **options)
            try:
                return await test(studio)
            finally:
                await studio.close()

        return asyncio.run(run())


@pytest.fixture
def desk(simulator: StudioControl, outside: Outside) -> Desk:
    return Desk(simulator.base_url, outside.workers_url)


def attempt_in(path: str) -> UUID:
    """The attempt a delivery's URL names."""
    return UUID(httpx.URL(path).params["attempt"])
