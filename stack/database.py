"""Bringing a database's schema and data up to date: migrations through the official CLI, or the pages themselves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg

from stack.cluster import REPO, StackError

MIGRATIONS = REPO / "supabase/migrations"
SEED = REPO / "supabase/seed.sql"


def migrate(url: str, log: Path | None = None, project: Path = REPO) -> None:
    """Apply the pending migrations with `supabase db push`, as the role of the URL, and tell PostgREST.

    Raises StackError with the CLI's own words when one fails.
    """
    if not _pending(url, project):
        return
    _push(["--yes", f"--remote={url}"], log, project)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("notify pgrst, 'reload schema'")


def seed(url: str, log: Path | None = None) -> None:
    """Load supabase/seed.sql, if there is one, once per content (`supabase db push --include-seed`)."""
    if SEED.exists():
        _push(["--yes", "--include-seed", f"--remote={url}"], log, REPO)


def load(connection: psycopg.Connection, text: str, name: str) -> None:
    """Run the SQL text of a page in a transaction. StackError gives its name, the line and the reason."""
    try:
        with connection.transaction():
            connection.execute(text.encode())
    except psycopg.Error as error:
        at = error.diag.statement_position
        line = f":{text[: int(at)].count(chr(10)) + 1}" if at else ""
        where = f" [{context.splitlines()[0]}]" if (context := error.diag.context) else ""
        raise StackError(f"{name}{line}: {error.diag.message_primary or error}{where}") from error


def _pending(url: str, project: Path) -> bool:
    """Whether the database's history and the migrations' files differ; asking here is faster than the CLI."""
    files = {file.name.split("_")[0] for file in (project / "supabase/migrations").glob("*.sql")}
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            applied = {
                row[0] for row in connection.execute("select version from supabase_migrations.schema_migrations")
            }
    except psycopg.errors.UndefinedTable:
        applied = set()
    return files != applied


def supabase(*arguments: str, project: Path = REPO) -> subprocess.CompletedProcess[str]:
    """Run the Supabase CLI of node_modules on the project's supabase/ directory; the caller looks at the exit code."""
    cli = REPO / "node_modules/.bin/supabase"
    # Loopback has no TLS; saying so spares a warning on each call.
    env = {**os.environ, "SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1", "PGSSLMODE": "disable"}
    try:
        return subprocess.run(
            [str(cli), *arguments, "--workdir", str(project), "--agent", "no"],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise StackError(f"cannot run {cli}: {error.strerror}; run `make install`") from error


def _push(arguments: list[str], log: Path | None, project: Path = REPO) -> None:
    done = supabase("db", "push", *arguments, project=project)
    said = done.stdout + done.stderr
    if log:
        log.write_text(said)
    if done.returncode:
        words = [line.strip() for line in said.splitlines() if line.strip()]
        telling = [line for line in words if "ERROR" in line or "rror:" in line or line.startswith("At statement")]
        where = f" (log: {log})" if log else ""
        raise StackError(f"migrations failed: {' '.join(telling or words[-3:])}{where}")
