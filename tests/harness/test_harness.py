"""The harness itself: a red assertion is red, and nothing survives a test run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from stack.cluster import REPO, Cluster
from stack.services import PARTS
from tests.harness.pgtap import outcomes
from tests.harness.server import STATE, Database
from tests.harness.waiting import until


def failures(text: str, error: str = "") -> dict[str, str]:
    return {name: failure for name, failure in outcomes(text, error) if failure}


def test_an_assertion_is_an_item() -> None:
    assert outcomes("1..2\nok 1 - first\nok 2 - second", "") == [
        ("01 first", ""),
        ("02 second", ""),
        ("runs to its end as planned", ""),
    ]


@pytest.mark.parametrize(
    ("text", "error", "failing", "words"),
    [
        ("1..2\nok 1 - a\nnot ok 2 - b\n# Failed test 2\n# have: 1", "", "02 b", "have: 1"),
        ("1..3\nok 1 - a\nok 2 - b", "", "runs to its end as planned", "3 assertions were planned, 2 ran"),
        ("1..1\nok 1 - a\nok 2 - b", "", "runs to its end as planned", "1 assertions were planned, 2 ran"),
        ("ok 1 - a", "", "runs to its end as planned", "no plan"),
        ("", "", "runs to its end as planned", "no plan"),
        ("1..0", "", "runs to its end as planned", "asserts nothing"),
        ("1..2\nok 1 - a", "boom", "runs to its end as planned", "boom"),
    ],
)
def test_whatever_is_wrong_fails(text: str, error: str, failing: str, words: str) -> None:
    found = failures(text, error)
    assert list(found) == [failing]
    assert words in found[failing]


def test_an_id_that_a_file_selects_is_no_plan() -> None:
    """tap.py would take it for one: a 1, two characters, a digit."""
    assert failures("1..2\nok 1 - a\n1ab4c0de-0000-4000-8000-000000000001\nok 2 - b") == {}


def test_todo_and_skipped_assertions_do_not_fail() -> None:
    assert failures("1..2\nnot ok 1 - later # TODO not yet\nok 2 # SKIP not here") == {}


def pytest_run(directory: Path, *arguments: str, **more: object) -> subprocess.Popen[str]:
    """A test run of its own on files outside of the repository."""
    plugins = ["-p", "tests.harness.fixtures", "-p", "tests.harness.pgtap", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-c", str(REPO / "pyproject.toml"), *plugins, *arguments, str(directory)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.Popen(command, cwd=REPO, env=environment, text=True, stdout=subprocess.PIPE, **more)  # type: ignore[call-overload,no-any-return]


def test_pgtap_files_run_as_postgres_and_leave_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "supabase/tests"
    directory.mkdir(parents=True)
    files = {
        "1_good": """begin;
            select plan(3);
            select is(current_user::text, 'postgres', 'as postgres');
            select ok(not rolsuper, 'no superuser') from pg_roles where rolname = current_user;
            create table public.left_behind ();
            select has_table('profiles');
            select * from finish();
            rollback;""",
        "2_red": """begin; select plan(2); select ok(true, 'fine'); select is(1, 2, 'one is two'); rollback;""",
        "3_crash": """begin; select plan(2); select ok(true, 'before'); select 1 / 0; select ok(true, 'after');""",
        "4_after": """begin; select plan(1); select hasnt_table('left_behind'); rollback;""",
        "5_open": """select plan(1); create table public.left_behind (); select ok(true, 'no begin, no rollback');""",
        "6_after": """begin; select plan(1); select hasnt_table('left_behind', 'nothing was committed'); rollback;""",
    }
    for name, text in files.items():
        (directory / f"{name}.sql").write_text(text)
    run = pytest_run(directory, "-v", "--color=no")
    output, _ = run.communicate(timeout=120)
    lines = re.findall(r"(\d_\w+\.sql::.*?) (PASSED|FAILED)", output)
    verdicts = dict(lines)
    assert {name for name, verdict in verdicts.items() if verdict == "FAILED"} == {
        "2_red.sql::02 one is two",
        "3_crash.sql::runs to its end as planned",
    }
    assert len(verdicts) == 4 + 3 + 2 + 2 + 2 + 2
    assert "division by zero" in output
    assert run.returncode == 1


def test_databases_are_clones_of_their_own(database: Database, template: str) -> None:
    assert database.name != template
    assert database.value("select count(*) from public.plans") > 0
    assert database.value("select to_regclass('jobs.procrastinate_jobs') is not null") is True
    assert database.audit() == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_process(tmp_path: Path, how: signal.Signals) -> None:
    ready = tmp_path / "ready"
    (tmp_path / "test_long.py").write_text(
        "import signal\n"
        "def test_long(services):\n"
        f"    open({str(ready)!r}, 'w').write(services.database)\n"
        "    signal.pause()\n"
    )
    run = pytest_run(tmp_path)
    try:
        until(ready.exists, "the stack of the other run to be up", 60)
        directory = STATE / str(run.pid)
        postmaster = Cluster(directory).pid
        assert postmaster
        started = [psutil.Process(postmaster), *psutil.Process(run.pid).children(recursive=True)]
        assert len(started) == 2 + len(PARTS)  # and the reaper
    finally:
        run.send_signal(how)
        run.communicate(timeout=30)
    until(lambda: not any(process.is_running() for process in started), "everything to end", 60)
    until(lambda: not directory.exists(), "the directory to be removed")
