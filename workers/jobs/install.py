"""Puts the queue's tables into schema jobs and keeps them at the version of the installed library."""

import re
from importlib.metadata import version
from pathlib import Path

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import sql

# Any number that nobody else locks in this database.
LOCK = 7_306_571_934


class NotMigrated(Exception):
    """The database does not fit: our migrations come first, or its queue is newer than this installation."""


def install(admin_url: str) -> str:
    """Install or upgrade the queue as the role in `admin_url`; returns what was done. Safe to repeat and to race.

    Raises NotMigrated, and psycopg.Error when the database cannot be reached or refuses.
    """
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as connection:
        connection.execute("set search_path = jobs")
        # Held until the connection closes: of two installers one waits, then finds everything done.
        connection.execute("select pg_advisory_lock(%s)", [LOCK])
        ready = connection.execute(
            "select to_regrole('avenue_worker') is not null and to_regnamespace('private') is not null"
        ).fetchone()
        if not ready or not ready[0]:
            raise NotMigrated("apply the migrations first (`supabase db push --remote`)")
        # The library numbers the steps of its schema by file name; the last one applied is noted on the table.
        steps = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
        done = _bring_up(connection, steps)
        _grant(connection)
        return done


def _bring_up(connection: psycopg.Connection, steps: list[Path]) -> str:
    library = f"procrastinate {version('procrastinate')}"
    applied = _applied(connection)
    if applied is None:
        with connection.transaction():
            connection.execute("create schema if not exists jobs")
            connection.execute(SchemaManager.get_schema())
            _note(connection, steps[-1])
        return f"installed {library}"
    if applied > steps[-1].stem:
        raise NotMigrated(f"the queue is at {applied}, newer than {library} knows: upgrade this installation")
    due = [step for step in steps if step.stem > applied]
    for step in due:
        # One transaction each: some steps use what the one before had to commit.
        with connection.transaction():
            connection.execute(step.read_text(encoding="utf-8"))
            _note(connection, step)
    return f"upgraded to {library} ({len(due)} steps)" if due else f"{library} is installed"


def _applied(connection: psycopg.Connection) -> str | None:
    row = connection.execute(
        "select obj_description(c.oid, 'pg_class') from pg_class as c "
        "where c.relname = 'procrastinate_jobs' and c.relnamespace = to_regnamespace('jobs')"
    ).fetchone()
    if row is None:
        return None
    noted = re.search(r"\(schema (\S+)\)", row[0] or "")
    if noted is None:
        raise NotMigrated("schema jobs holds a queue that `avenue jobs install` did not make: drop it or note its step")
    return noted[1]


def _note(connection: psycopg.Connection, step: Path) -> None:
    connection.execute(
        sql.SQL("comment on table jobs.procrastinate_jobs is {}").format(
            f"Jobs for the Python workers; kept by `avenue jobs install` (schema {step.stem})."
        )
    )


def _grant(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute(
            """
            revoke all on all tables in schema jobs from public, anon, authenticated, service_role;
            revoke all on all routines in schema jobs from public, anon, authenticated, service_role;
            grant usage on schema jobs to avenue_worker;
            grant select, insert, update, delete on all tables in schema jobs to avenue_worker;
            grant usage, select on all sequences in schema jobs to avenue_worker;
            grant execute on all routines in schema jobs to avenue_worker;
            """
        )
        # The library writes its functions for a search_path that finds them; fixed, they work whoever calls.
        for (routine,) in connection.execute(
            "select oid::regprocedure::text from pg_proc where pronamespace = 'jobs'::regnamespace "
            "and not coalesce(proconfig @> array['search_path=jobs'], false)"
        ).fetchall():
            connection.execute(f"alter routine {routine} set search_path = jobs")
