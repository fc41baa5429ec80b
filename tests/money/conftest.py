"""A market in one transaction that is rolled back, with its books checked at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from stack.cluster import SUPERUSER
from tests.harness.server import Database
from tests.money.market import Market


@pytest.fixture(scope="module")
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """One connection for a file: functions keep their plans, as they do in a worker's pool."""
    with database.connect(SUPERUSER) as connection:
        yield connection


@pytest.fixture
def market(connection: psycopg.Connection[Any]) -> Iterator[Market]:
    """Empty but for reference data. Whatever a test did, the books must be right at its end."""
    with connection.transaction(force_rollback=True):
        market = Market(connection)
        yield market
        market.check()
