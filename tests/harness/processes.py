"""Further processes a test needs beside the stack; each ends with its block."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from stack.cluster import REPO, free_port
from stack.services import Services
from tests.harness.waiting import until


@contextmanager
def process(services: Services, name: str, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module run as a process of its own session; its output goes to logs/<name>.log of the stack."""
    # Two processes of the workers do not share a port.
    ports = {"AVENUE_METRICS_PORT": str(free_port())}
    with services.log(name).open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=REPO,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **services.env, **ports, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait(10)


@contextmanager
def http_workers(services: Services, **environment: str) -> Iterator[str]:
    """Another HTTP process of the workers, with settings of its own; its base URL."""
    port = free_port()
    with process(services, f"http-{port}", "workers.cli", "serve", AVENUE_HTTP_PORT=str(port), **environment):
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(f"{url}/readyz"), "the second HTTP process to be ready")
        yield url


@contextmanager
def localstripe(services: Services) -> Iterator[str]:
    """The independent Stripe double; its base URL."""
    port = free_port()
    with process(services, "localstripe", "localstripe", "--port", str(port), "--from-scratch"):
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(url, any_status=True), "localstripe to listen")
        yield url


def _answers(url: str, any_status: bool = False) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success or any_status
    except httpx.HTTPError:
        return False
