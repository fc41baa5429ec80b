"""pytest's fixtures, and what a failed test prints of the logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stack.cluster import Cluster
from stack.services import Services
from tests.harness import people
from tests.harness import server as test_server
from tests.harness.market import Simulator
from tests.harness.people import Api, Person, SignUp
from tests.harness.server import Database

_SERVER = pytest.StashKey["Server"]()
_LOGS = pytest.StashKey[dict[Path, int]]()
LOG_LINES = 30


class Server:
    """This process's PostgreSQL server, made when first asked for."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._databases: set[str] = set()

    @property
    def started(self) -> bool:
        """Whether it was ever asked for."""
        return self._cluster is not None

    @property
    def cluster(self) -> Cluster:
        """The running server."""
        if self._cluster is None:
            self._cluster, self._reaper = test_server.start()
        return self._cluster

    @property
    def template(self) -> str:
        """Name of the migrated template database."""
        if test_server.TEMPLATE not in self._databases:
            test_server.build_template(self.cluster)
            self._databases.add(test_server.TEMPLATE)
        return test_server.TEMPLATE

    def ensure_database(self, name: str) -> Database:
        """The clone called `name`, made if it is not there."""
        if name not in self._databases:
            self.cluster.create_database(name, self.template)
            self._databases.add(name)
        return Database(self.cluster, name)

    def drop_database(self, name: str) -> None:
        """Forget a clone."""
        self._databases.discard(name)
        self.cluster.drop_database(name)

    def close(self) -> None:
        """Throw everything away."""
        if self._cluster is not None:
            test_server.remove(self._cluster)
            self._cluster = None
            assert self._reaper.stdin
            self._reaper.stdin.close()
            self._reaper.wait(30)


def server_of(config: pytest.Config) -> Server:
    """The server of this pytest process."""
    return config.stash.setdefault(_SERVER, Server())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind, however the session ended."""
    server_of(config).close()


@contextmanager
def running(database: Database, **environment: str) -> Iterator[Services]:
    """The whole stack on a database, with further environment for the workers; stopped when the block ends."""
    root = test_server.STATE / str(os.getpid()) / "services" / database.name
    services = Services(database.cluster, database.name, root, env=environment)
    try:
        services.start()
        yield services
    finally:
        services.stop()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Cluster:
    """This process's PostgreSQL server."""
    return server_of(pytestconfig).cluster


@pytest.fixture(scope="session")
def template(pytestconfig: pytest.Config) -> str:
    """Name of the database that has everything a deployed one has; clone it, never connect to it."""
    return server_of(pytestconfig).template


@pytest.fixture(scope="module")
def database(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A fresh clone of the template for this test file."""
    server = server_of(pytestconfig)
    name = re.sub(r"\W", "_", request.node.name.removesuffix(".py").rsplit("/", 1)[-1])[:40]
    database = server.ensure_database(name)
    yield database
    server.drop_database(name)


@pytest.fixture(scope="module")
def services(database: Database) -> Iterator[Services]:
    """The whole stack on `database`: gateway, Data API, Auth, Storage, workers and provider."""
    with running(database) as services:
        yield services


@pytest.fixture(scope="module")
def simulator(services: Services) -> Simulator:
    """The payment provider of `services`."""
    return Simulator(services)


@pytest.fixture(scope="module")
def sign_up(services: Services) -> SignUp:
    """sign_up(email=None, **metadata): somebody new, signed up through Auth with supabase-py."""
    return lambda email=None, **metadata: people.sign_up(services, email, **metadata)


@pytest.fixture(scope="module")
def admin(sign_up: SignUp, database: Database) -> Person:
    """An admin, appointed as an operator would."""
    person = sign_up(username="the-admin")
    database.run("select private.grant_role(%s, 'admin')", person.id)
    return person


@pytest.fixture(scope="module")
def anon(services: Services) -> Api:
    """Nobody: only the public key."""
    return Api(services)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember where the logs end, so that a failure shows only what was logged since."""
    item.stash[_LOGS] = {log: log.stat().st_size for log in _logs(item.config)}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the tails of the logs to a failure."""
    report: Any = yield
    if report.failed and {"services", "database", "cluster"} & set(getattr(item, "fixturenames", ())):
        for log in _logs(item.config):
            fresh = log.read_bytes()[item.stash.get(_LOGS, {}).get(log, 0) :].decode(errors="replace").splitlines()
            if fresh:
                report.sections.append((f"log of {log.stem}", "\n".join(fresh[-LOG_LINES:])))
    return report


def _logs(config: pytest.Config) -> list[Path]:
    server = server_of(config)
    directory = test_server.STATE / str(os.getpid())
    found = sorted(directory.glob("services/*/logs/*.log"))
    return [*found, *([server.cluster.log] if server.started and server.cluster.log.exists() else [])]
