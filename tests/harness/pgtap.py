"""pgTAP files as pytest items, one for each assertion.

A file is run when it is collected, because only then its assertions are known: in one transaction that is rolled back,
on a clone of the migrated template, as role postgres, which is not a superuser. The items then merely report. Under
xdist the process that gets to a file first runs it; the others read what it found.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tap.line import Result
from tap.parser import Parser

from tests.harness.fixtures import server_of

Outcome = tuple[str, str]  # name of the item, why it failed ('' when it passed)
DATABASE = "pgtap"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """supabase/tests/**/*.sql"""
    if file_path.suffix == ".sql" and "supabase/tests" in file_path.as_posix():
        return TapFile.from_parent(parent, path=file_path)  # type: ignore[no-any-return]
    return None


class TapFile(pytest.File):
    """A pgTAP file."""

    def collect(self) -> Iterable[pytest.Item]:
        """Run the file, or read what another process of this run found."""
        for name, failure in _shared_outcomes(self.config, self.path):
            yield Assertion.from_parent(self, name=name, failure=failure)


class Assertion(pytest.Item):
    """One assertion, already made."""

    def __init__(self, *, failure: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.failure = failure

    def runtest(self) -> None:
        """Report."""
        if self.failure:
            raise NotOk(self.failure)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """pgTAP's own words."""
        return str(excinfo.value) if isinstance(excinfo.value, NotOk) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is."""
        return self.path, None, self.name


class NotOk(Exception):
    """The assertion did not hold."""


def _shared_outcomes(config: pytest.Config, path: Path) -> list[Outcome]:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return run_file(config, path)
    # The one directory all processes of a run share.
    directory = config._tmp_path_factory.getbasetemp().parent / "pgtap"  # type: ignore[attr-defined]
    directory.mkdir(exist_ok=True)
    found = directory / f"{hashlib.sha256(str(path).encode()).hexdigest()[:24]}.json"
    with found.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            found.write_text(json.dumps(run_file(config, path)))
    return [(name, failure) for name, failure in json.loads(found.read_text())]


def run_file(config: pytest.Config, path: Path) -> list[Outcome]:
    """Run one file; its assertions in order, and last whether it ran to the end as planned."""
    server = server_of(config)
    server.ensure_database(DATABASE)
    with server.cluster.connect(DATABASE, "postgres") as connection:
        connection.execute("begin")
        text, error = _output(connection, script(path))
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.execute("rollback")
    return outcomes(text, error)


def script(path: Path) -> str:
    """A file with the files it includes by psql's \\ir, which pg_prove's psql does itself."""
    return re.sub(r"^\\ir (\S+)$", lambda line: (path.parent / line[1]).read_text(), path.read_text(), flags=re.M)


def outcomes(text: str, error: str) -> list[Outcome]:
    """What TAP output and, if the run ended early, the error say."""
    planned = None
    results: list[list[str]] = []
    for words, line in zip(StringIO(text), Parser().parse_text(text), strict=True):
        # tap.py takes any "1", two characters and a digit for a plan: also an id that a file happened to select.
        if line.category == "plan" and words.startswith("1.."):
            planned = line.expected_tests
        elif isinstance(line, Result):
            # A todo may fail, a skipped one was not asked.
            failure = "" if line.ok or line.todo or line.skip else str(line)
            description = line.description.removeprefix("- ") or "without description"
            results.append([f"{len(results) + 1:02} {description}", failure])
        elif line.category == "diagnostic" and results and results[-1][1]:
            results[-1][1] += f"\n{line.text}"
    ending = error
    if not error and planned is None:
        ending = "the file declares no plan: select plan(n) or no_plan() with finish()"
    elif not error and planned != len(results):
        ending = f"{planned} assertions were planned, {len(results)} ran"
    elif not results:
        ending = ending or "the file asserts nothing"
    return [*((name, failure) for name, failure in results), ("runs to its end as planned", ending)]


def _output(connection: psycopg.Connection[Any], script: str) -> tuple[str, str]:
    """Run a script of any number of statements; the text of every row up to the end or the first error, and the error.

    The rows before an error matter most, and psycopg's own execute() would keep them to itself.
    """
    link = connection.pgconn
    link.send_query(script.encode())
    rows: list[str] = []
    error = ""
    while (result := link.get_result()) is not None:
        if result.status == psycopg.pq.ExecStatus.TUPLES_OK:
            rows += [
                "\t".join((result.get_value(row, column) or b"").decode() for column in range(result.nfields))
                for row in range(result.ntuples)
            ]
        elif result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            position = result.error_field(psycopg.pq.DiagnosticField.STATEMENT_POSITION)
            line = f"line {script.encode()[: int(position)].count(10) + 1}: " if position else ""
            error = f"the file ended early, {line}{result.get_error_message()}"
    return "\n".join(rows), error
