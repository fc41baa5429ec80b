"""Scratch databases and small projects of their own for the tests of the schema pipeline."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from stack.cluster import REPO
from stack.schema import scratch

Page = Callable[[str, str], None]
# Those of the platform's pages that stand by themselves.
PLATFORM = (
    "10_schemas", "15_personal_data", "20_errors", "25_kinds", "27_states", "30_helpers", "32_values", "40_counters",
)  # fmt: skip


@pytest.fixture(scope="package")
def built() -> Iterator[scratch.Database]:
    """The schema as the pages of sql/ say; not to be changed."""
    with scratch.built_from_pages() as database:
        yield database


@pytest.fixture
def schema(built: scratch.Database) -> Iterator[psycopg.Connection]:
    """A connection as postgres to spoil the schema with: whatever it does is undone, roles included."""
    with built.connect() as connection, connection.transaction(force_rollback=True):
        yield connection


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose only pages are some of the platform's."""
    (tmp_path / "sql/00_platform").mkdir(parents=True)
    for name in PLATFORM:
        shutil.copy(REPO / f"sql/00_platform/{name}.sql", tmp_path / "sql/00_platform")
    (tmp_path / "supabase/migrations").mkdir(parents=True)
    shutil.copy(REPO / "supabase/config.toml", tmp_path / "supabase")
    return tmp_path


@pytest.fixture
def page(project: Path) -> Page:
    """page(path, text): write a page of the project."""

    def write(path: str, text: str) -> None:
        file = project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write
