"""The community's tests need the Data API and accounts, neither workers nor a provider."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stack.services import Services
from tests.harness import server
from tests.harness.server import Database


@pytest.fixture(scope="module")
def services(database: Database) -> Iterator[Services]:
    """Gateway, Data API and Auth on `database`."""
    root = server.STATE / str(os.getpid()) / "services" / database.name
    services = Services(database.cluster, database.name, root)
    try:
        services.start(["auth", "rest", "gateway"])
        yield services
    finally:
        services.stop()
