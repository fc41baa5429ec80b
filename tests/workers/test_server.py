"""The HTTP process by itself, spoken to over raw sockets and with its database taken away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.cluster import REPO, Cluster, free_port
from tests.harness.market import stripe_signature
from tests.harness.server import Database
from tests.harness.waiting import until

SECRET = "whsec_test"
MEBIBYTE = 1024 * 1024


class Server:
    """`avenue serve` on a port of its own."""

    def __init__(self, database_url: str, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._client = httpx.Client(timeout=30, limits=httpx.Limits(max_connections=64))
        environment = {
            **os.environ,
            "AVENUE_DATABASE_URL": database_url,
            "AVENUE_DATABASE_TIMEOUT_SECONDS": "1",
            "AVENUE_HTTP_PORT": str(self.port),
            "AVENUE_SUPABASE_URL": "http://127.0.0.1:9",
            "AVENUE_SECRET_KEY": "sb_secret_test",
            "AVENUE_STRIPE_SECRET_KEY": "sk_test_1",
            "AVENUE_WORKERS_URL": f"{self.url}/",
            "AVENUE_SITE_URL": "https://shop.example/home",
            "AVENUE_JWT_SECRET": "x" * 32,
            "AVENUE_STRIPE_WEBHOOK_SECRETS": f" whsec_other ,{SECRET}\n",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "serve"], cwd=REPO, env=environment, stderr=log.open("wb")
        )
        until(lambda: self.answers("/healthz") == 200, "the server to start")

    def answers(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=10).status_code
        except httpx.TransportError:
            return 0

    def deliver(self, body: bytes, signature: str | None = None) -> httpx.Response:
        headers = {"stripe-signature": signature or stripe_signature(body, SECRET)}
        return self._client.post(f"{self.url}/webhooks/stripe", content=body, headers=headers)

    def stop(self) -> None:
        """Ask it to stop; it must do so in time and of its own accord."""
        self._client.close()
        self.process.send_signal(signal.SIGTERM)
        # uvicorn finishes, then lets the signal have its way.
        assert self.process.wait(30) in (0, -signal.SIGTERM)


@pytest.fixture(scope="module")
def server(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(database.url("avenue_worker"), tmp_path_factory.mktemp("server") / "log")
    yield server
    server.stop()


def event(size: int = 0, **changes: Any) -> bytes:
    body = {"id": f"evt_{uuid.uuid4().hex}", "object": "event", "type": "test.event", "created": int(time.time())}
    return json.dumps({**body, "data": {"object": {"padding": "x" * size}}, **changes}).encode()


def stored(database: Database, body: bytes | None = None) -> int:
    if body is None:
        return int(database.value("select count(*) from private.webhook_events"))
    return int(
        database.value("select count(*) from private.webhook_events where event_id = %s", json.loads(body)["id"])
    )


def raw(server: Server, request: bytes, wait: float = 5) -> bytes:
    """Send bytes as they are; everything that comes back until the server closes or falls silent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        answer = b""
        # That it hangs up on us in the middle is the point.
        with contextlib.suppress(OSError):
            connection.sendall(request)
        with contextlib.suppress(OSError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def head(length: str, signature: str = "t=1,v1=0") -> bytes:
    lines = ["POST /webhooks/stripe HTTP/1.1", "Host: x", f"Stripe-Signature: {signature}", length, "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


# -- what is accepted -------------------------------------------------------------------------------------------------


def test_a_signed_event_is_stored_with_its_job(server: Server, database: Database) -> None:
    body = event(note='Zoë ☕ \\ " </script>', amount=12345678901234567890)
    answer = server.deliver(body)
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    row = database.run("select * from private.webhook_events where event_id = %s", json.loads(body)["id"])[0]
    assert row["payload"] == json.loads(body)
    assert (row["provider"], row["type"], row["status"]) == ("stripe", "test.event", "pending")
    jobs = database.run("select args from jobs.procrastinate_jobs where task_name = 'process_events'")
    assert [row["id"] in job["args"]["ids"] for job in jobs].count(True) == 1


def test_the_same_event_is_stored_once(server: Server, database: Database) -> None:
    body = event()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: server.deliver(body).status_code, range(20)))
    assert answers == [200] * 20
    assert stored(database, body) == 1


def test_deliveries_share_commits_and_none_is_lost(server: Server, database: Database) -> None:
    bodies = [event(size=2000) for _ in range(300)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda body: server.deliver(body).status_code, bodies))
    assert answers == [200] * 300
    ids = [json.loads(body)["id"] for body in bodies]
    assert database.value("select count(*) from private.webhook_events where event_id = any(%s)", ids) == 300
    # One job for each batch: fewer jobs than events shows that batching happened.
    batches = httpx.get(f"{server.url}/metrics").text
    # Whoever has not looked does not say that all is well.
    assert "avenue_audit_findings NaN" in batches
    count, total = (
        float(
            next(
                line.split()[1]
                for line in batches.splitlines()
                if line.startswith(f"avenue_webhook_batch_events_{what}")
            )
        )
        for what in ("count", "sum")
    )
    assert total / count > 1.2


def test_what_jsonb_cannot_hold_is_stored_all_the_same(server: Server, database: Database) -> None:
    """PostgreSQL's jsonb holds no NUL and no half surrogates; JSON does. The others of the batch are not hurt."""
    poison = [event(data={"object": {"name": "a\u0000b"}}), event(data={"object": {"name": "\ud800"}})]
    good = [event() for _ in range(60)]
    before = stored(database)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda body: server.deliver(body).status_code, [*good[:30], *poison, *good[30:]]))
    assert answers == [200] * 62
    assert stored(database) == before + 62


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "change"),
    [
        (lambda body: "nonsense", lambda body: body),
        (lambda body: stripe_signature(body, "whsec_wrong"), lambda body: body),
        (lambda body: stripe_signature(body, SECRET, int(time.time()) - 301), lambda body: body),
        (lambda body: stripe_signature(body, SECRET), lambda body: body[:-1]),
        (lambda body: stripe_signature(body, SECRET), lambda body: body + b" "),
        (lambda body: stripe_signature(body[:-5], SECRET), lambda body: body[:-5]),
    ],
    ids=["rubbish", "wrong secret", "too old", "truncated", "extended", "truncated before it was signed"],
)
def test_what_is_not_authentic_is_not_stored(server: Server, database: Database, signature: Any, change: Any) -> None:
    before, body = stored(database), event()
    answer = server.deliver(change(body), signature(body))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_delivery")
    assert answer.headers["content-type"] == "application/problem+json"
    assert stored(database) == before


def test_without_signature(server: Server) -> None:
    assert httpx.post(f"{server.url}/webhooks/stripe", content=event()).status_code == 400


def test_the_largest_accepted_body(server: Server, database: Database) -> None:
    body = event()
    body = body[:-1] + b" " * (MEBIBYTE - len(body)) + b"}"
    assert len(body) == MEBIBYTE
    assert server.deliver(body).status_code == 200
    assert stored(database, body) == 1
    too_large = server.deliver(body + b" ")
    assert (too_large.status_code, too_large.json()["code"]) == (413, "body_too_large")


def test_too_large_whatever_the_headers_say(server: Server, database: Database) -> None:
    before, big = stored(database), event(size=2 * MEBIBYTE)
    signature = stripe_signature(big, SECRET)
    assert server.deliver(big).status_code == 413
    # Announced as large: refused before it is sent.
    assert b" 413 " in raw(server, head(f"Content-Length: {10**12}", signature))
    # No length at all, in chunks without end.
    chunks = b"".join(b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(40))
    assert b" 413 " in raw(server, head("Transfer-Encoding: chunked", signature) + chunks)
    # A length shorter than what follows: what was signed is not what is read.
    assert b" 400 " in raw(server, head("Content-Length: 100", signature) + big)
    assert stored(database) == before


def test_a_sender_that_hangs_up(server: Server, database: Database) -> None:
    before = stored(database)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head("Content-Length: 1000") + b"half of it")
    assert server.deliver(event()).status_code == 200
    assert stored(database) == before + 1


def test_only_posts(server: Server) -> None:
    answer = httpx.get(f"{server.url}/webhooks/stripe")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


# -- without a database -----------------------------------------------------------------------------------------------


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that may be killed without disturbing other tests."""
    from tests.harness.server import OPTIONS, STATE

    cluster = Cluster(STATE / str(os.getpid()) / "mortal", options=OPTIONS)
    cluster.init()
    yield cluster
    cluster.destroy()


def test_the_database_is_killed_and_comes_back(own_cluster: Cluster, database: Database, tmp_path: Path) -> None:
    """503 while it is away, so that the provider delivers again; never 2xx for what was not stored."""
    own_cluster.create_database("inbox")
    with own_cluster.connect("inbox") as admin:
        admin.execute("create schema private; create schema jobs; create role avenue_worker login")
        admin.execute("create table private.seen (event_id text primary key)")
        admin.execute(
            "create function private.store_webhook_events(provider text, events jsonb) returns integer language sql "
            "as $$ insert into private.seen select e ->> 'id' from jsonb_array_elements(events) as e "
            "on conflict do nothing; select 1 $$"
        )
        admin.execute(
            "grant usage on schema private, jobs to avenue_worker; grant all on private.seen to avenue_worker"
        )
    server = Server(own_cluster.url("inbox", "avenue_worker"), tmp_path / "log")
    try:
        acknowledged = []

        def deliver() -> int:
            body = event()
            answer = server.deliver(body)
            if answer.status_code == 200:
                acknowledged.append(json.loads(body)["id"])
            return answer.status_code

        assert deliver() == 200
        with ThreadPoolExecutor(8) as pool:
            running = [pool.submit(deliver) for _ in range(100)]
            time.sleep(0.1)
            own_cluster.kill()
            statuses = {one.result() for one in running}
        assert statuses <= {200, 503}

        refused = server.deliver(event())
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["code"] == "temporarily_unavailable"
        assert server.answers("/healthz") == 200
        assert server.answers("/readyz") == 503
        assert server.answers("/metrics") == 200

        own_cluster.start()
        until(lambda: deliver() == 200, "the server to find its database again", 10)
        with own_cluster.connect("inbox") as admin:
            seen = {row[0] for row in admin.execute("select event_id from private.seen").fetchall()}
        assert set(acknowledged) <= seen
    finally:
        server.stop()


def test_what_a_worker_needs_is_named(database: Database, tmp_path: Path) -> None:
    cluster = database.cluster
    cluster.create_database("empty")
    server = Server(cluster.url("empty", "avenue_worker"), tmp_path / "log")
    try:
        answer = httpx.get(f"{server.url}/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert "store_webhook_events" in answer.json()["detail"]
        assert server.deliver(event()).status_code == 503
    finally:
        server.stop()
        cluster.drop_database("empty")


def test_the_log_holds_no_secret(server: Server) -> None:
    server.deliver(event(), "t=1,v1=whatever")
    assert SECRET not in server.log.read_text()


def test_the_address_is_published(server: Server, database: Database) -> None:
    until(lambda: server.answers("/readyz") == 200, "the server to be ready")
    assert database.value("select workers_url from public.app_settings") == server.url


def test_pages_of_the_site_may_call_and_read_errors_others_not(server: Server) -> None:
    url = f"{server.url}/functions/v1/payments/{uuid.uuid4()}/start"
    ours = {"origin": "https://shop.example"}
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    allowed = httpx.options(url, headers={**ours, **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert allowed.headers["access-control-allow-headers"] == "authorization,content-type"
    refused = httpx.post(url, headers=ours)
    assert (refused.status_code, refused.json()["code"]) == (401, "not_signed_in")
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    theirs = {"origin": "https://evil.example"}
    assert httpx.options(url, headers={**theirs, **asked}).status_code == 400
    assert "access-control-allow-origin" not in httpx.post(url, headers=theirs).headers
