"""Every linter of the repository, each with one line of verdict and its findings below."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stack.cluster import REPO, SUPERUSER
from stack.database import supabase
from stack.schema import scratch
from workers.jobs.install import install as install_queue

SCHEMAS = "public,private,ledger"
# Advice that does not apply to a database nobody has used yet, or that says the opposite of what is meant.
NOT_FINDINGS = {
    "unused_index": "a scratch database has run no query",
    "rls_enabled_no_policy": "tables without a policy are closed to clients, and the access matrix lists them",
}


@dataclass(frozen=True)
class Verdict:
    """What one linter said. ok None: it could not run here, `text` says why."""

    name: str
    ok: bool | None
    text: str


def everything() -> Iterator[Verdict]:
    """Run all linters, cheap ones first."""
    for name, *command in (
        ("ruff", "-m", "ruff", "check", "--quiet", "."),
        ("mypy", "-m", "mypy", "--no-error-summary"),
        ("sqlfluff", "-m", "sqlfluff", "lint", "--disable-progress-bar", "--nocolor", "sql", "stack/schema"),
    ):
        yield _run(name, [sys.executable, *command])
    yield squawk(sorted((REPO / "supabase/migrations").glob("*.sql")))
    with scratch.built_from_pages() as database:
        yield advisors(database)
        yield plpgsql_check(database)


def squawk(files: list[Path]) -> Verdict:
    """What applying these migrations can cost on a database in use."""
    if not files:
        return Verdict("squawk", None, "there is no migration yet")
    command = [str(Path(sys.executable).parent / "squawk"), "--reporter=json", *map(str, files)]
    done = subprocess.run(command, cwd=REPO, text=True, capture_output=True, check=False)
    if not done.returncode:
        return Verdict("squawk", True, "")
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        return Verdict("squawk", False, (done.stdout + done.stderr).strip())
    # It counts lines and columns from 0, editors from 1.
    lines = [f"{f['file']}:{f['line'] + 1}:{f['column'] + 1}: {f['rule_name']}: {f['message']}" for f in found]
    return Verdict("squawk", False, "\n".join(lines))


def advisors(database: scratch.Database) -> Verdict:
    """Supabase's own security and performance advice for a database; anything of level info or above counts."""
    done = supabase("db", "advisors", f"--remote={database.url}", "--level=info", "--output-format=json")
    if done.returncode:
        return Verdict("advisors", False, done.stderr)
    found = [one for one in json.loads(done.stdout)["results"] if one["name"] not in NOT_FINDINGS]
    return Verdict("advisors", not found, "\n".join(f"{one['name']}: {one['detail']}" for one in found))


def plpgsql_check(database: scratch.Database) -> Verdict:
    """`supabase db lint`: every PL/pgSQL function checked against the catalog, where the server has plpgsql_check."""
    with database.connect(SUPERUSER) as admin:
        query = "select exists (select from pg_available_extensions where name = 'plpgsql_check')"
        if admin.execute(query).fetchone() == (False,):
            return Verdict("plpgsql_check", None, "this server does not have the extension")
        admin.execute("create extension plpgsql_check with schema extensions")
    # private.enqueue() names the queue's types.
    install_queue(database.url)
    done = supabase("db", "lint", f"--remote={database.url}", f"--schema={SCHEMAS}", "--fail-on=warning")
    return Verdict("plpgsql_check", done.returncode == 0, done.stdout + done.stderr if done.returncode else "")


def _run(name: str, command: list[str]) -> Verdict:
    done = subprocess.run(command, cwd=REPO, text=True, capture_output=True, check=False)
    return Verdict(name, done.returncode == 0, (done.stdout + done.stderr).strip() if done.returncode else "")
