"""The same market as tests/money: one transaction that is rolled back, its books checked at the end."""

from __future__ import annotations

from tests.money.conftest import connection, market

__all__ = ["connection", "market"]
