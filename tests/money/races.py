"""Many connections at once: what races need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg

from stack.cluster import SUPERUSER
from tests.harness.server import Database
from tests.money.market import Market, code_of

Job = Callable[[Market], Any]
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"


@contextmanager
def committing(database: Database) -> Iterator[Market]:
    """A market that commits. Whatever raced, the books must be right and PostgreSQL must not have broken a deadlock."""
    before = database.value(DEADLOCKS)
    with database.connect(SUPERUSER) as connection:
        market = Market(connection)
        yield market
        market.check()
    assert database.value(DEADLOCKS) == before


def together(database: Database, jobs: Sequence[Job]) -> list[Any]:
    """Runs each job on a connection of its own, all starting at the same instant. Its result may be an error's code."""
    start = threading.Barrier(len(jobs))

    def run(job: Job) -> Any:
        with database.connect(SUPERUSER) as connection:
            market = Market(connection)
            start.wait(timeout=60)
            try:
                return job(market)
            except psycopg.Error as error:
                return code_of(error)

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(run, jobs))


def wait_for_lock(connection: psycopg.Connection[Any], pid: int) -> None:
    """Returns once that backend waits for a lock; asks the server, at most 1,000,000 times."""
    for _ in range(1_000_000):
        if connection.execute("select cardinality(pg_blocking_pids(%s)) > 0", (pid,)).fetchone() == (True,):
            return
    raise AssertionError("never waited")


def crowd(database: Database, jobs: Sequence[Job], at_once: int = 16) -> list[Any]:
    """Runs the jobs on so many connections, each taking the next one; results in the order of the jobs."""
    waiting = iter(enumerate(jobs))
    turn = threading.Lock()
    results: list[Any] = [None] * len(jobs)

    def work() -> None:
        with database.connect(SUPERUSER) as connection:
            market = Market(connection)
            while True:
                with turn:
                    no, job = next(waiting, (-1, None))
                if job is None:
                    return
                try:
                    results[no] = job(market)
                except psycopg.Error as error:
                    results[no] = code_of(error)

    with ThreadPoolExecutor(at_once) as threads:
        for ended in [threads.submit(work) for _ in range(at_once)]:
            ended.result()
    return results


class Background:
    """One call on a connection of its own that is expected to wait for a lock."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connect(SUPERUSER)
        self._pool = ThreadPoolExecutor(1)
        self._result: Any = None

    def begin(self, watcher: psycopg.Connection[Any], job: Job) -> None:
        """Starts it and returns when it waits."""

        def run() -> Any:
            try:
                return job(Market(self._connection))
            except psycopg.Error as error:
                return code_of(error)

        self._result = self._pool.submit(run)
        wait_for_lock(watcher, self._connection.info.backend_pid)

    def end(self) -> Any:
        """Its result."""
        return self._result.result(timeout=60)

    def close(self) -> None:
        """Forget it."""
        self._pool.shutdown()
        self._connection.close()


@contextmanager
def background(database: Database, count: int) -> Iterator[list[Background]]:
    """Connections for calls that wait."""
    calls = [Background(database) for _ in range(count)]
    try:
        yield calls
    finally:
        for call in calls:
            call.close()


@contextmanager
def held_wallet(database: Database, user: str) -> Iterator[psycopg.Connection[Any]]:
    """Whoever needs this wallet waits until the block ends."""
    with database.connect(SUPERUSER) as blocker, blocker.transaction():
        blocker.execute("select from public.wallets where user_id = %s for update", (user,))
        yield blocker
