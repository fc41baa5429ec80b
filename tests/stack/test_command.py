"""`make up` and its kin, in checkouts of their own: fresh copies of this one that borrow its installed packages."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from stack.cluster import REPO
from stack.services import PARTS

SKIPPED = shutil.ignore_patterns("node_modules", ".*", "__pycache__", "*.egg-info", "bench", "tests", "docs")


class Checkout:
    """A copy of the repository, with `python -m stack` run in it, perhaps as another user."""

    def __init__(self, directory: Path, user: str | None = None) -> None:
        self.directory = directory
        shutil.copytree(REPO, directory, ignore=SKIPPED)
        (directory / "node_modules").symlink_to(REPO / "node_modules")
        self.prefix: list[str] = []
        self.python = sys.executable
        self.env = {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
        if user:
            account = pwd.getpwnam(user)
            subprocess.run(["chown", "-R", f"{account.pw_uid}:{account.pw_gid}", directory], check=True)
            self.prefix = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
            self.env["HOME"] = str(directory)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, self.python, "-m", "stack", *arguments],
            cwd=self.directory,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def must(self, *arguments: str, **env: str) -> str:
        done = self.run(*arguments, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def state(self) -> Path:
        return self.directory / ".stack/local"

    def pids(self) -> dict[str, int]:
        records = json.loads((self.state / "processes.json").read_text())
        return {part: record["pid"] for part, record in records.items()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{json.loads((self.state / 'ports.json').read_text())['gateway']}"

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started by, or works in, this checkout."""
        found = []
        for process in psutil.process_iter():
            try:
                text = " ".join(process.cmdline()) + process.cwd()
                if str(self.directory) in text and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A directory everybody may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def checkout(shared_directory: Path, tmp_path: Path) -> Iterator[Callable[..., Checkout]]:
    """checkout(name, user=None): a copy of the repository, removed with all that runs in it."""
    made: list[Checkout] = []

    def make(name: str, user: str | None = None) -> Checkout:
        made.append(Checkout((shared_directory if user else tmp_path) / name, user))
        return made[-1]

    yield make
    for each in made:
        each.run("clean")


def test_two_checkouts_up_twice_and_down(checkout: Callable[..., Checkout]) -> None:
    """Side by side below a directory only we may enter; nothing is left of either."""
    first, second = checkout("first"), checkout("second one")
    shown = first.must("up")
    second.must("up")
    assert first.url != second.url
    assert first.url in shown
    for each in (first, second):
        assert set(each.pids()) == set(PARTS)
        assert httpx.get(f"{each.url}/auth/v1/settings").status_code == 200
        assert httpx.get(f"{each.url}/rest/v1/").status_code == 200

    before = first.pids()
    first.must("up")
    assert first.pids() == before
    assert "running" in first.must("status")

    # A part that crashed is named, and the next up brings it back and leaves the others alone.
    psutil.Process(before["rest"]).kill()
    status = first.run("status")
    assert status.returncode == 1
    assert "rest died; its last words: " in status.stdout
    first.must("up")
    after = first.pids()
    assert {part for part in PARTS if before[part] != after[part]} == {"rest"}

    psutil.Process(after["http"]).kill()
    first.must("down")
    assert first.processes() == []
    first.must("down")
    assert httpx.get(f"{second.url}/auth/v1/settings").status_code == 200
    second.must("clean")
    assert second.processes() == []
    assert not second.state.exists()


def test_a_forced_port_that_is_taken_is_one_clear_line(checkout: Callable[..., Checkout], server: object) -> None:
    port = server.port  # type: ignore[attr-defined]
    fresh = checkout("taken")
    done = fresh.run("up", AVENUE_PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"avenue: gateway: port {port} is already in use by postgres")
    assert done.stderr.count("\n") == 1
    assert fresh.run("up", AVENUE_PORT="no").stderr == "avenue: AVENUE_PORT must be a port number, not 'no'\n"
    assert set(fresh.pids()) == set()


def _python_for_others() -> str | None:
    """A Python like ours that any user may run: ours, unless it is installed below somebody's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        if not candidate:
            continue
        # setpriv itself may still enter where its child may not, so the child tries.
        probe = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", candidate, "-c", probe]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def _link(source: str, target: str) -> None:
    """A hard link, or a copy where the other directory is on another file system."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may become somebody else")
def test_an_ordinary_user(checkout: Callable[..., Checkout]) -> None:
    python = _python_for_others()
    if not python:
        pytest.skip("no Python that another user may run")
    theirs = checkout("theirs", user="nobody")
    theirs.python = python
    # Links, because ours may lie below a directory that only we may enter.
    packages = theirs.directory.parent / "packages"
    shutil.copytree(next((REPO / ".venv/lib").glob("python*/site-packages")), packages, copy_function=_link)
    modules = theirs.directory / "node_modules"
    modules.unlink()
    shutil.copytree(REPO / "node_modules", modules, symlinks=True, copy_function=_link)
    theirs.env["PYTHONPATH"] += f"{os.pathsep}{packages}"
    theirs.must("up")
    assert httpx.get(f"{theirs.url}/auth/v1/settings").status_code == 200
    assert {process.username() for process in theirs.processes()} == {"nobody"}
    assert (theirs.state / "postgres/data").is_dir()
    theirs.must("down")
    assert theirs.processes() == []
