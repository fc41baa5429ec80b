"""The stack of this checkout: one cluster, one database, one set of services; what they keep is in .stack/local."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from stack import database
from stack.cluster import REPO, Cluster, StackError
from stack.services import Services

STATE = Path(os.environ.get("AVENUE_STATE") or REPO / ".stack/local")
DATABASE = "postgres"
FIRST_PORT = 54321
# At a desk nobody waits five minutes for what a killed worker left behind.
QUICK = {"AVENUE_PAYOUT_RESUME_SECONDS": "5"}

Say = Callable[[str], None]


def cluster() -> Cluster:
    """This checkout's PostgreSQL server, running or not."""
    return Cluster(STATE / "postgres")


def services(server: Cluster | None = None) -> Services:
    """This checkout's services, running or not. AVENUE_PORT forces the gateway's port."""
    forced = os.environ.get("AVENUE_PORT") or None
    if forced and not (forced.isdigit() and 0 < int(forced) < 65536):
        raise StackError(f"AVENUE_PORT must be a port number, not {forced!r}")
    port = int(forced) if forced else None
    return Services(server or cluster(), DATABASE, STATE, port=port, env=QUICK, first_port=FIRST_PORT)


@contextmanager
def _alone() -> Iterator[None]:
    """Two commands in one checkout wait for each other."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(server: Cluster, name: str, log: Path | None = None) -> None:
    """Bring one database from empty or older to the state the code expects, short of the job queue and demo data."""
    with server.connect(name) as admin:
        fresh = admin.execute("select to_regclass('auth.users') is null").fetchone() == (True,)
    if fresh:
        server.bootstrap(name)
    database.migrate(server.url(name), log)


def up(say: Say = print) -> Services:
    """Start whatever does not run, apply what is new, and return the running services. Harmless when all is up."""
    with _alone():
        begun = time.monotonic()
        server = cluster()
        local = services(server)
        was_running = bool(server.pid)
        server.init()
        say(f"PostgreSQL {server.major} {'runs' if was_running else 'started'} on port {server.port}")
        if local.moved():
            local.stop()
        say("Schema: migrations")
        prepare(server, DATABASE, local.logs / "migrations.log")
        if not local.running("jobs"):
            local.install_jobs()
        if database.SEED.exists():
            say("Demo data")
            database.seed(server.url(DATABASE), local.logs / "seed.log")
        missing = [part for part in local.parts if not local.running(part)]
        if missing:
            say(f"Starting {', '.join(missing)}")
        local.start()
        say(f"Ready after {time.monotonic() - begun:.1f} s")
        return local


def down(say: Say = print) -> None:
    """Stop everything this checkout started; the data stays."""
    with _alone():
        services().stop()
        server = cluster()
        server.stop()
        say("Stopped.")


def reset(say: Say = print) -> Services:
    """Throw away the database, the files and the provider's memory, and start afresh with the same keys and ports."""
    with _alone():
        local = services()
        local.stop()
        local.cluster.destroy(keep_port=True)
        for name in ("files", "logs", "outbox", "tmp"):
            shutil.rmtree(STATE / name, ignore_errors=True)
        # With their logs of changes, which would be replayed into the next ones.
        for state in (*STATE.glob("simulator.json*"), *STATE.glob("studio.sqlite*")):
            state.unlink()
    return up(say)


def clean(say: Say = print) -> None:
    """Stop everything and remove all state, also what lives outside the checkout."""
    with _alone():
        services().stop()
        cluster().destroy()
    shutil.rmtree(STATE, ignore_errors=True)
    say("Removed.")


def database_answers(server: Cluster) -> bool:
    """Whether the server runs and lets us in."""
    if not server.pid:
        return False
    try:
        server.connect(DATABASE).close()
    except psycopg.Error:
        return False
    return True
