"""A market in one transaction that is rolled back, with its books checked at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stack.cluster import SUPERUSER
from tests.harness.server import Database
from tests.money.market import Market


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """Empty but for reference data. Whatever a test did, the books must be right at its end."""
    with database.connect(SUPERUSER) as connection, connection.transaction(force_rollback=True):
        market = Market(connection)
        yield market
        market.check()
