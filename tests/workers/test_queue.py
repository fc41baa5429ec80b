"""The job queue: installed, upgraded, used by the worker's own role, worked on through crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import httpx
import psycopg
import pytest
from procrastinate.schema import SchemaManager

from stack.services import Services
from tests.harness.fixtures import running
from tests.harness.market import run_job
from tests.harness.server import Database as Clone
from tests.harness.waiting import until
from workers.db import Database
from workers.jobs.install import NotMigrated, install
from workers.jobs.queue import QUEUES
from workers.jobs.schedule import crons
from workers.settings import Settings

# Everything that matters of the queue's schema, comparable between two ways of getting there.
SHAPE = """
    select 'column ' || table_name || '.' || column_name || ' ' || udt_name || ' ' || coalesce(column_default, '')
    from information_schema.columns where table_schema = 'jobs'
    union all
    select 'index ' || indexname from pg_indexes where schemaname = 'jobs'
    union all
    select 'trigger ' || tgname from pg_trigger as t inner join pg_class as c on c.oid = t.tgrelid
    where c.relnamespace = 'jobs'::regnamespace and not tgisinternal
    union all
    select 'function ' || p.oid::regprocedure || ' ' || coalesce(array_to_string(p.proconfig, ','), '') || ' '
    || has_function_privilege('avenue_worker', p.oid, 'execute')
    from pg_proc as p where p.pronamespace = 'jobs'::regnamespace
    union all
    select 'value ' || enumlabel from pg_enum as e inner join pg_type as t on t.oid = e.enumtypid
    where t.typnamespace = 'jobs'::regnamespace
"""


def shape(database: Clone) -> set[str]:
    return {str(next(iter(row.values()))) for row in database.run(SHAPE)}


def remove(database: Clone) -> None:
    database.run("drop schema jobs cascade")
    database.run("create schema jobs")


@pytest.fixture(autouse=True)
def installed(database: Clone) -> Iterator[None]:
    """Each test leaves the queue as it found it."""
    yield
    install(database.url())


def test_installing_again_changes_nothing(database: Clone) -> None:
    before = shape(database)
    assert install(database.url()) == f"procrastinate {version('procrastinate')} is installed"
    assert shape(database) == before


def test_many_installers_at_once(database: Clone) -> None:
    expected = shape(database)
    remove(database)
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: install(database.url()), range(6)))
    assert sorted(text.split()[0] for text in done) == ["installed", *["procrastinate"] * 5]
    assert shape(database) == expected


@pytest.mark.parametrize("old", ["02.00.03", "02.14.01", "03.00.00_01", "03.02.00_01", "03.03.00"])
def test_upgrading(database: Clone, old: str) -> None:
    """An older queue, built from the library's own migrations up to then, becomes what a new one is."""
    expected = shape(database)
    remove(database)
    steps = [step for step in sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql")) if step.stem < old + "~"]
    with database.connect() as connection:
        connection.execute("set search_path = jobs")
        for step in steps:
            connection.execute(step.read_bytes())
        connection.execute("insert into procrastinate_jobs (queue_name, task_name) values ('default', 'waiting')")
        connection.execute(f"comment on table procrastinate_jobs is '(schema {steps[-1].stem})'")
    assert install(database.url()).startswith(f"upgraded to procrastinate {version('procrastinate')}")
    # The library keeps superseded functions for a while; everything a new queue has must be there.
    assert expected - shape(database) == set()
    assert database.value("select count(*) from jobs.procrastinate_jobs where task_name = 'waiting'") == 1


def test_a_queue_we_do_not_know_is_left_alone(database: Clone) -> None:
    note = database.value("select obj_description('jobs.procrastinate_jobs'::regclass)")
    try:
        for strange in ("(schema 99.00.00_01_unheard_of)", "somebody else made this"):
            database.run(f"comment on table jobs.procrastinate_jobs is '{strange}'")
            with pytest.raises(NotMigrated):
                install(database.url())
    finally:
        database.run(f"comment on table jobs.procrastinate_jobs is '{note}'")


def test_migrations_come_first(database: Clone) -> None:
    database.cluster.create_database("unmigrated")
    try:
        with pytest.raises(NotMigrated):
            install(database.cluster.url("unmigrated"))
    finally:
        database.cluster.drop_database("unmigrated")


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_clients_see_nothing_of_it(database: Clone, role: str) -> None:
    for query in (
        "select * from jobs.procrastinate_jobs",
        "select jobs.procrastinate_register_worker_v1()",
        "insert into jobs.procrastinate_jobs (queue_name, task_name) values ('default', 'send_payout')",
    ):
        with database.connect() as connection:
            connection.execute(f"set role {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(query)


def test_the_worker_has_functions_but_no_tables(database: Clone) -> None:
    readable = database.run(
        "select c.oid::regclass::text as name from pg_class as c "
        "where c.relkind in ('r', 'p', 'v', 'm') "
        "and c.relnamespace::regnamespace::text in ('public', 'private', 'ledger') "
        "and (has_table_privilege('avenue_worker', c.oid, 'select, insert, update, delete') "
        "or has_any_column_privilege('avenue_worker', c.oid, 'select, insert, update, references'))"
    )
    assert readable == []


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1, "* * * * * */1"), (10, "* * * * * */5"), (120, "* * * * *"), (3600, "* * * * *")]
)
def test_sweepers_look_twice_in_their_time(monkeypatch: pytest.MonkeyPatch, seconds: int, expected: str) -> None:
    monkeypatch.setenv("AVENUE_DATABASE_URL", "postgresql://x")
    monkeypatch.setenv("AVENUE_PAYOUT_RESUME_SECONDS", str(seconds))
    assert crons(Settings.load())["resume_payouts"] == expected


# -- the worker -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def services(database: Clone) -> Iterator[Services]:
    with running(database, AVENUE_STALLED_SECONDS="3") as services:
        yield services


def events(database: Clone, *statuses: str) -> int:
    return int(
        database.value("select count(*) from private.webhook_events where status::text = any(%s)", list(statuses))
    )


def store(database: Clone, count: int) -> None:
    database.run(
        "select private.store_webhook_events('stripe', jsonb_agg(jsonb_build_object("
        "'id', 'evt_' || gen_random_uuid(), 'type', 'customer.created', 'created', 1, "
        "'payload', '{\"data\": {\"object\": {}}}'::jsonb))) from generate_series(1, %s)",
        count,
    )


def test_events_are_worked_off(services: Services, database: Clone) -> None:
    store(database, 50)
    until(lambda: events(database, "ignored") == 50, "the events to be processed")


def test_jobs_of_a_killed_worker_are_done_by_the_next(services: Services, database: Clone) -> None:
    before = events(database, "ignored")
    with database.connect() as blocker, blocker.transaction():
        # Nobody gets at the events meanwhile, so the job stays at work for as long as the test needs.
        blocker.execute("lock table private.webhook_events in exclusive mode")
        database.run(
            "select jobs.procrastinate_defer_jobs_v1(array[row('default', 'process_events', 0, null, null, "
            "'{\"ids\": [1, 2, 3]}'::jsonb, null)::jobs.procrastinate_job_to_defer_v1])"
        )
        doing = "select count(*) from jobs.procrastinate_jobs where task_name = 'process_events' and status = 'doing'"
        until(lambda: database.value(doing) == 1, "the job to be at work")
        services.kill("jobs")
    services.start(["jobs"])
    until(
        lambda: database.value("select count(*) from jobs.procrastinate_jobs where task_name = 'process_events'") == 0,
        "the job to be done by the next worker",
    )
    assert events(database, "ignored") == before


def test_the_database_is_killed_under_the_worker(services: Services, database: Clone) -> None:
    before = events(database, "ignored")
    record = services.record("jobs")
    assert record is not None
    store(database, 20)
    database.cluster.kill()
    database.cluster.start()
    store(database, 20)
    until(lambda: events(database, "ignored") == before + 40, "the worker to find its database again")
    run_job(database, "release_earnings")
    assert record.alive, "the process must outlive its database"


def test_a_stopped_worker_finishes_first(services: Services, database: Clone) -> None:
    store(database, 200)
    services.restart("jobs")
    assert database.value("select count(*) from jobs.procrastinate_workers") == len(QUEUES)
    assert "worker stopped" in services.log("jobs").read_text()
    until(lambda: events(database, "pending") == 0, "the rest to be processed")


async def lacks(url: str) -> list[str]:
    database = Database(url)
    try:
        await database.open(wait=True)
        return await database.missing()
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        ("alter schema jobs rename to elsewhere", "alter schema elsewhere rename to jobs", "queue is missing: run"),
        (
            "revoke insert on jobs.procrastinate_jobs from avenue_worker",
            "grant insert on jobs.procrastinate_jobs to avenue_worker",
            "closed to this role",
        ),
        (
            "comment on table jobs.procrastinate_jobs is '(schema 02.00.00)'",
            None,
            "as this release needs: run `avenue jobs install`",
        ),
    ],
    ids=["not there", "closed", "old"],
)
def test_every_process_says_what_the_queue_lacks(
    database: Clone, services: Services, change: str, back: str | None, words: str
) -> None:
    note = database.value("select obj_description('jobs.procrastinate_jobs'::regclass)")
    pages = [f"http://127.0.0.1:{services.env[f'AVENUE_{name}_PORT']}/readyz" for name in ("HTTP", "METRICS")]
    try:
        database.run(change)
        for page in pages:
            answer = httpx.get(page)
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            assert words in answer.json()["detail"]
        assert any(words in one for one in asyncio.run(lacks(database.url("avenue_worker"))))
    finally:
        database.run(back or f"comment on table jobs.procrastinate_jobs is '{note}'")
    for page in pages:
        assert httpx.get(page).json() == {"status": "ready"}


def test_the_search_path_needs_no_startup_option(database: Clone) -> None:
    """Poolers may drop those."""

    async def look() -> tuple[str, dict[str, str]]:
        db = Database(database.url("avenue_worker"))
        try:
            await db.open(wait=True)
            async with db.pool.connection() as connection:
                row = await (await connection.execute("show search_path")).fetchone()
                assert row
                return row[0], connection.info.get_parameters()
        finally:
            await db.close()

    path, parameters = asyncio.run(look())
    assert path == "jobs"
    assert "options" not in parameters


def test_a_worker_answers_for_itself(services: Services) -> None:
    url = f"http://127.0.0.1:{services.env['AVENUE_METRICS_PORT']}"
    assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
    metrics = httpx.get(f"{url}/metrics").text
    assert "avenue_jobs" in metrics
    assert "avenue_database_up" not in metrics
    assert httpx.get(f"{url}/functions/v1/openapi.json").status_code == 404
