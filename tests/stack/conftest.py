"""Servers for the stack's own tests: made here, because it is their making that is tested."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.cluster import Cluster
from stack.services import Services

THROWAWAY = {"fsync": "off", "shared_buffers": "32MB"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running server of the default version with nothing in it but the roles."""
    cluster = Cluster(tmp_path_factory.mktemp("server"), options=THROWAWAY)
    cluster.init()
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="module")
def hosted(server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Auth, Storage, Data API and gateway on a database as new as a hosted project's."""
    server.create_database("hosted")
    services = Services(server, "hosted", tmp_path_factory.mktemp("hosted"))
    services.start(["auth", "rest", "gateway"])
    yield services
    services.stop()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A directory for a cluster of the test's own."""
    return tmp_path / "cluster"
