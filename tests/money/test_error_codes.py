"""Every business error of platform, commerce, money and admin is provoked somewhere in pgTAP or in a story of money or
the market."""

from __future__ import annotations

import re

import pytest

from stack.cluster import REPO

PAGES = [
    page
    for room in ("00_platform", "50_commerce", "60_money", "90_admin")
    for page in (REPO / "sql" / room).glob("*.sql")
]
CODES = sorted(
    {code for page in PAGES for code in re.findall(r"^\('([a-z_]+)', '(?:PT|AV)\d+'", page.read_text(), re.M)}
)
TESTS = "\n".join(
    file.read_text()
    for room in ("platform", "commerce", "money", "market", "admin")
    for file in (REPO / "supabase/tests" / room).glob("*.sql")
)
PROVOKED = {
    code
    for room in ("money", "market")
    for file in (REPO / "tests" / room).glob("test_*.py")
    for codes in re.findall(r"with refused\(([^)]*)\)", file.read_text())
    for code in re.findall(r'"([a-z_]+)"', codes)
}


@pytest.mark.parametrize("code", CODES)
def test_is_provoked(code: str) -> None:
    assert f"'{code}'" in TESTS or code in PROVOKED
