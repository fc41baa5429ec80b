"""The parts around a database: one origin, clear failures, no leftovers."""

from __future__ import annotations

import re
import socket
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from stack import services as services_module
from stack.cluster import Cluster, StackError, free_port
from stack.services import Part, Services

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
    assert len(ports) == len(set(ports)) == 7


def test_the_first_free_port_is_taken() -> None:
    first = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert first < free_port(first) < first + 20
