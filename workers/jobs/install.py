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
    """The migrations, which create schema jobs and the role avenue_worker, come first."""


def install(admin_url: str) -> str:
    """Install or upgrade the queue as the role in `admin_url`; returns what was done. Safe to repeat and to race.

    Raises NotMigrated, and psycopg.Error when the database cannot be reached or refuses.
    """
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=10, options="-c search_path=jobs") as connection:
        # Held until the connection closes: of two installers one waits, then finds everything done.
        connection.execute("select pg_advisory_lock(%s)", [LOCK])
        ready = connection.execute(
            "select to_regrole('avenue_worker') is not null and to_regnamespace('private') is not null"
        ).fetchone()
        if not ready or not ready[0]:
            raise NotMigrated("apply the migrations first (`supabase db push`)")
        with connection.transaction():
            done = _bring_up(connection)
            _grant(connection)
        return done


def _bring_up(connection: psycopg.Connection) -> str:
    wanted = version("procrastinate")
    row = connection.execute(
        "select obj_description(to_regclass('jobs.procrastinate_jobs'), 'pg_class'), "
        "to_regclass('jobs.procrastinate_jobs') is not null"
    ).fetchone()
    comment, exists = row if row else (None, False)
    found = re.search(r"procrastinate (\d+(?:\.\d+)*)", comment or "")
    if not exists:
        connection.execute("create schema if not exists jobs")
        connection.execute(SchemaManager.get_schema())
        done = f"installed procrastinate {wanted}"
    elif found and _key(found[1]) < _key(wanted):
        files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
        due = [file for file in files if _key(found[1]) < _key(file.name.split("_")[0]) <= _key(wanted)]
        for file in due:
            # The library's own files; nothing of ours or of a user's gets into them.
            connection.execute(file.read_text(encoding="utf-8"))
        done = f"upgraded procrastinate {found[1]} to {wanted} ({len(due)} migrations)"
    elif found and _key(found[1]) > _key(wanted):
        raise NotMigrated(f"the database has procrastinate {found[1]}, this installation {wanted}: upgrade it")
    else:
        done = f"procrastinate {wanted} is installed"
    connection.execute(
        sql.SQL("comment on table jobs.procrastinate_jobs is {}").format(
            f"Jobs for the Python workers (procrastinate {wanted}); kept by `avenue jobs install`."
        )
    )
    return done


def _grant(connection: psycopg.Connection) -> None:
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


def _key(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
