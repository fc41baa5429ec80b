"""The parts around a database: one origin, clear failures, no leftovers."""

from __future__ import annotations

import re
import socket
import sys
import time
import uuid
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pytest

from stack import services as services_module
from stack.cluster import Cluster, StackError, free_port
from stack.services import PARTS, Part, Services
from tests.harness.waiting import until
from workers.settings import Settings

ORIGIN = {"origin": "https://shop.example"}


def test_a_browser_gets_exactly_one_cors_answer(hosted: Services) -> None:
    asked = {**ORIGIN, "access-control-request-method": "PATCH", "access-control-request-headers": "apikey,prefer"}
    for path in (
        "/rest/v1/anything",
        "/auth/v1/token",
        "/storage/v1/object/x/y",
        "/functions/v1/x",
        "/webhooks/stripe",
    ):
        preflight = httpx.options(hosted.url + path, headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-headers"] == "apikey,prefer"
        assert "PATCH" in preflight.headers["access-control-allow-methods"]
        answer = httpx.get(hosted.url + path, headers=ORIGIN)
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
        assert "Content-Range" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/webhooks/stripe", 1_100_000, 413),
        ("/webhooks/stripe", 2_000_000, 413),
        ("/functions/v1/x", 2_200_000, 413),
        ("/storage/v1/object/none/x", 2_200_000, 400),
        ("/storage/v1/object/none/x", 53_000_000, 413),
    ],
)
def test_bodies_are_limited_where_they_enter(hosted: Services, path: str, size: int, status: int) -> None:
    token = {"authorization": f"Bearer {hosted.service_role_key}"}
    answer = httpx.post(hosted.url + path, content=b"x" * size, headers=token)
    assert answer.status_code == status
    assert answer.json()["message"]


def test_a_filter_of_two_hundred_ids_passes(hosted: Services) -> None:
    with hosted.cluster.connect("hosted", "postgres") as owner:
        owner.execute("create table if not exists public.filtered (id uuid primary key, n int)")
        owner.execute("notify pgrst, 'reload schema'")
    ids = ",".join(str(uuid.uuid4()) for _ in range(200))
    service = {"authorization": f"Bearer {hosted.service_role_key}"}
    for method in ("GET", "PATCH", "DELETE"):
        answer = until(
            lambda method=method: (
                found
                if (
                    found := httpx.request(
                        method,
                        f"{hosted.url}/rest/v1/filtered",
                        params={"id": f"in.({ids})"},
                        headers={**service, "prefer": "return=representation", "content-type": "application/json"},
                        content='{"n": 1}' if method == "PATCH" else None,
                    )
                ).status_code
                != 404
                else None
            ),
            "the Data API to know the table",
        )
        assert (answer.status_code, answer.json()) == (200, []), method


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("", True),
        ("?select=id", True),
        ("?select=id,n&order=id.asc", True),
        ("?columns=n", True),
        ("?id=eq.00000000-0000-4000-8000-000000000000", False),
        ("?select=id&id=is.null", False),
        ("?or=(n.eq.1,n.eq.2)", False),
    ],
)
def test_a_change_of_all_rows_is_refused_as_on_a_hosted_project(hosted: Services, query: str, refused: bool) -> None:
    with hosted.cluster.connect("hosted", "postgres") as owner:
        owner.execute("create table if not exists public.filtered (id uuid primary key, n int)")
        owner.execute("notify pgrst, 'reload schema'")
    headers = {"authorization": f"Bearer {hosted.service_role_key}", "content-type": "application/json"}
    url = f"{hosted.url}/rest/v1/filtered{query}"
    for method, verb in (("PATCH", "UPDATE"), ("DELETE", "DELETE")):
        body = '{"n": 1}' if method == "PATCH" else None
        send = partial(httpx.request, method, url, headers=headers, content=body)
        answer = until(lambda send=send: a if (a := send()).status_code != 404 else None, "the table to be known")
        if refused:
            assert (answer.status_code, answer.json()["code"]) == (400, "21000")
            assert answer.json()["message"] == f"{verb} requires a WHERE clause"
        else:
            assert answer.status_code in (200, 204), answer.text
    # Functions and inserts have no filter and need none.
    for path in ("filtered", "rpc/nothing"):
        sent = httpx.post(f"{hosted.url}/rest/v1/{path}", json=[], headers=headers)
        assert "WHERE" not in sent.text


def test_an_empty_400_is_a_database_that_went_away(hosted: Services) -> None:
    """PostgREST 12 answers so under load when PostgreSQL ends; here each time, in its place and with its words."""
    bodies = {"/gone": b'{"code":"","details":null,"hint":null,"message":""}', "/wrong": b'{"code":"42703","hint":"x"}'}

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            asked.append((path, query, self.headers["authorization"]))
            self.send_response(400)
            self.send_header("transfer-encoding", "chunked")
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(bodies[path]), bodies[path]))

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    asked: list[tuple[str, str, str]] = []
    hosted.kill("rest")
    with ThreadingHTTPServer(("127.0.0.1", httpx.URL(hosted.rest_url).port or 0), Answers) as server:
        Thread(target=server.serve_forever).start()
        try:
            headers = {"authorization": "Bearer a.b.c"}
            gone = httpx.get(f"{hosted.url}/rest/v1/gone?name=eq.a%2Bb%20%C3%A9", headers=headers)
            assert (gone.status_code, gone.json()["code"]) == (503, "PGRST001")
            assert asked == [("/gone", "name=eq.a%2Bb%20%C3%A9", "Bearer a.b.c")] * 2
            wrong = httpx.get(f"{hosted.url}/rest/v1/wrong", headers=headers)
            assert (wrong.status_code, wrong.content) == (400, bodies["/wrong"])
            # What may have happened is not done again.
            asked.clear()
            assert httpx.post(f"{hosted.url}/rest/v1/gone", json={}, headers=headers).status_code == 400
            assert len(asked) == 1
        finally:
            server.shutdown()
            server.server_close()
            hosted.start(["rest"])


def test_a_part_that_does_not_run_is_a_502_and_an_unknown_path_a_404(hosted: Services) -> None:
    assert httpx.get(f"{hosted.url}/functions/v1/x").status_code == 502
    assert httpx.get(f"{hosted.url}/somewhere").status_code == 404
    assert httpx.get(f"{hosted.url}/healthz").json() == {"status": "ok"}


def test_killed_parts_come_back_on_their_ports(hosted: Services) -> None:
    for part, path in (("rest", "/rest/v1/"), ("auth", "/auth/v1/settings")):
        port = hosted.record(part)
        hosted.kill(part)
        assert not hosted.running(part)
        assert httpx.get(hosted.url + path).status_code == 502
        hosted.start([part])
        assert httpx.get(hosted.url + path).status_code == 200
        again = hosted.record(part)
        assert port
        assert again
        assert port.port == again.port


def test_the_services_survive_a_killed_server(hosted: Services) -> None:
    hosted.cluster.kill()
    hosted.cluster.start()
    deadline = time.monotonic() + 20
    paths = ("/rest/v1/", "/auth/v1/settings")
    while (seen := [httpx.get(hosted.url + path).status_code for path in paths]) != [
        200,
        200,
    ] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert seen == [200, 200]


def test_a_taken_port_is_named_with_who_has_it(server: Cluster, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        services = Services(server, "postgres", tmp_path, port=port)
        with pytest.raises(StackError, match=rf"^gateway: port {port} is already in use by .*process \d+\)$"):
            services.start(["gateway"])
    assert not services.running("gateway")


def test_a_part_that_dies_is_named_with_reason_and_log(server: Cluster, tmp_path: Path) -> None:
    services = Services(server, "postgres", tmp_path)
    (tmp_path / "tmp").rmdir()
    (tmp_path / "tmp").write_text("in the way")
    with pytest.raises(
        StackError, match=r"^gateway stopped while starting: .*tmp.*Not a directory.*\(log: .*gateway.log"
    ):
        services.start(["gateway"])


def test_a_part_that_never_gets_ready_is_named_and_stopped(
    server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services_module, "START_SECONDS", 6)
    services = Services(server, "there_is_no_such_database", tmp_path)
    reason = r"the database does not answer: .*does not exist"
    with pytest.raises(StackError, match=rf"^auth was not ready after 6 s: {reason} \(log: .*auth\.log\)$"):
        services.start(["auth"])
    assert not services.running("auth")


def test_stop_ends_what_a_crashed_part_left_behind_and_no_stranger(
    server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services(server, "postgres", tmp_path)
    spawn = "import subprocess, sys, time; subprocess.Popen(['sleep', '300']); time.sleep(300)"
    monkeypatch.setattr(Services, "_part_auth", lambda _: Part([sys.executable, "-c", spawn], {}, lambda: True))
    services.start(["auth"])
    record = services.record("auth")
    assert record
    deadline = time.monotonic() + 10
    while len(left := [p for p in record.processes() if p.pid != record.pid]) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    psutil.Process(record.pid).kill()
    psutil.wait_procs([psutil.Process(record.pid)], timeout=5)
    assert [process.name() for process in left] == ["sleep"]
    # Another program's Services of the same directory knows it all the same.
    Services(server, "postgres", tmp_path).stop()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)
    # A number given to somebody else meanwhile is not ours.
    stranger = services_module.Running(psutil.Process().pid, 0.0, 0)
    assert stranger.processes() == []
    assert not stranger.alive


def test_two_services_on_one_server_do_not_meet(hosted: Services, tmp_path: Path) -> None:
    hosted.cluster.create_database("second")
    second = Services(hosted.cluster, "second", tmp_path)
    try:
        second.start(["rest", "gateway"])
        with hosted.cluster.connect("second", "postgres") as owner:
            owner.execute("create table public.only_here (id int)")
            owner.execute("notify pgrst, 'reload schema'")
        deadline = time.monotonic() + 10
        while (
            answer := httpx.get(f"{second.url}/rest/v1/only_here")
        ).status_code == 404 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert answer.json() == []
        assert httpx.get(f"{hosted.url}/rest/v1/only_here").status_code == 404
        foreign = {"apikey": hosted.anon_key, "authorization": f"Bearer {hosted.anon_key}"}
        assert httpx.get(f"{second.url}/rest/v1/only_here", headers=foreign).status_code == 401
    finally:
        second.stop()


def test_keys_are_a_checkouts_own_and_private(hosted: Services, tmp_path: Path) -> None:
    other = Services(hosted.cluster, "postgres", tmp_path)
    assert other.jwt_secret != hosted.jwt_secret
    assert Services(hosted.cluster, "postgres", tmp_path).anon_key == other.anon_key
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", other.url)


class Robbed(Services):
    """Somebody takes a part's port right after it was chosen."""

    part = ""
    robber: socket.socket | None = None

    def _choose_ports(self) -> None:
        super()._choose_ports()
        if self.robber is None:
            self.robber = socket.create_server(("127.0.0.1", self._port(self.part)))


@pytest.mark.parametrize("part", ["auth", "rest"])
def test_a_port_taken_after_it_was_chosen_is_chosen_anew(hosted: Services, tmp_path: Path, part: str) -> None:
    services = Robbed(hosted.cluster, "postgres", tmp_path)
    services.part = part
    try:
        services.start([part])
        assert services.robber
        assert services.running(part)
        assert services._port(part) != services.robber.getsockname()[1]
    finally:
        services.stop()
        if services.robber:
            services.robber.close()


def test_no_two_parts_have_one_port(hosted: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(sorted([*range(31000, 31900)] * 2))
    monkeypatch.setattr("stack.cluster.random.randrange", lambda *_: next(drawn))
    services = Services(hosted.cluster, "postgres", tmp_path)
    ports = list(services._ports().values())
    assert len(ports) == len(set(ports)) == 9


def test_the_first_free_port_is_taken() -> None:
    first = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert first < free_port(first) < first + 20


def test_another_postgrest_by_setting(hosted: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = tmp_path / "used"
    other = tmp_path / "postgrest"
    other.write_text(f'#!/bin/sh\necho "$0" > {used}\nexec {services_module._binary("postgrest")}\n')
    other.chmod(0o755)
    monkeypatch.setenv("AVENUE_POSTGREST", str(other))
    services = Services(hosted.cluster, "hosted", tmp_path / "state")
    try:
        services.start(["rest"])
        assert used.read_text() == f"{other}\n"
        assert httpx.get(f"{services.rest_url}/").status_code == 200
    finally:
        services.stop()


def test_the_studio_simulator_runs_where_photos_are_edited_by_a_prediction_api(
    server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AVENUE_STUDIO_PROVIDER", raising=False)
    monkeypatch.delenv("AVENUE_STUDIO_API_BASE", raising=False)
    plain = Services(server, "postgres", tmp_path)
    assert "studio" not in plain.parts
    assert not any(name.startswith("AVENUE_STUDIO") for name in plain.env)
    services = Services(server, "postgres", tmp_path, env={"AVENUE_STUDIO_PROVIDER": "http"})
    assert services.parts == ("studio", *PARTS)
    services.start(["studio"])
    try:
        assert httpx.get(f"{services.env['AVENUE_STUDIO_API_BASE']}/v1/predictions").status_code == 401
        token = {"Authorization": f"Bearer {services.env['AVENUE_STUDIO_API_TOKEN']}"}
        assert httpx.get(f"{services.studio_url}/v1/predictions", headers=token).json()["results"] == []
        settings = {name.removeprefix("AVENUE_").lower(): value for name, value in services.env.items()}
        assert Settings(**settings).studio_webhook_secrets
    finally:
        # Whoever no longer asks for it stops it all the same.
        plain.stop()
    assert not services.running("studio")
    # After `eval "$(make -s env)"` the simulator's own address is in the environment; another one's means no simulator.
    monkeypatch.setenv("AVENUE_STUDIO_PROVIDER", "http")
    monkeypatch.setenv("AVENUE_STUDIO_API_BASE", services.studio_url)
    assert "studio" in plain.parts
    monkeypatch.setenv("AVENUE_STUDIO_API_BASE", "https://api.example.com")
    assert "studio" not in plain.parts
