"""kill -9 at every step of making a picture: it is made once, and nothing is left over, neither copies nor the upload.

A trap holds the worker, or Storage on its behalf, at the step; the test waits until it is sprung, and kills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
from PIL import Image

from stack.services import Services
from tests.e2e.test_media import PUBLIC_SIZES, create, done, opened, photo, upload
from tests.harness.fixtures import running
from tests.harness.market import run_job
from tests.harness.people import Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until
from tests.media import pictures

LOCK = 4711
# Takes the child a moment.
LARGE = pictures.saved(Image.effect_noise((4000, 4000), 40).convert("RGB"), "PNG", compress_level=1)
Held = Callable[[], bool]
Trap = Callable[[Database, Services], AbstractContextManager[Held]]


@pytest.fixture(scope="module")
def services(database: Database) -> Iterator[Services]:
    """A stack whose workers soon notice what was left undone."""
    with running(database, AVENUE_STALLED_SECONDS="3") as services:
        yield services


@pytest.fixture(autouse=True)
def everything_runs(services: Services) -> Iterator[None]:
    yield
    services.start()


@pytest.fixture(scope="module")
def person(sign_up: SignUp) -> Person:
    return sign_up()


def waits(database: Database) -> bool:
    """Whether a server process waits for a lock while it works for the workers or for Storage."""
    return bool(
        database.value(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' "
            "and usename in ('avenue_worker', 'supabase_storage_admin')"
        )
    )


@contextmanager
def locked(database: Database, _: Services, *, statement: str) -> Iterator[Held]:
    """The worker waits for what a statement of ours holds; once it is dead its call is undone."""
    with database.connect() as connection:
        connection.execute("begin")
        connection.execute(statement.encode())
        yield lambda: waits(database)
        database.run(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and wait_event_type = 'Lock' and usename = 'avenue_worker'"
        )
        connection.execute("rollback")


@contextmanager
def stored(database: Database, _: Services, *, event: str, condition: str) -> Iterator[Held]:
    """Storage waits before it writes such a row of storage.objects."""
    with database.connect("supabase_admin") as connection:
        connection.execute(
            f"create function public.trap() returns trigger language plpgsql as $$ begin "
            f"perform pg_advisory_xact_lock({LOCK}); return coalesce(new, old); end $$; "
            f"create trigger zz_trap before {event} on storage.objects for each row when ({condition}) "
            f"execute function public.trap()".encode()
        )
        connection.execute(b"select pg_advisory_lock(%d)" % LOCK)
        try:
            yield lambda: waits(database)
        finally:
            connection.execute(b"select pg_advisory_unlock(%d)" % LOCK)
            connection.execute(b"drop trigger zz_trap on storage.objects; drop function public.trap()")


@contextmanager
def decoding(_: Database, services: Services) -> Iterator[Held]:
    """A child of the worker has begun."""

    def begun() -> bool:
        record = services.record("jobs")
        return any(
            "workers.media.child" in process.cmdline() and process.cpu_times().user > 0.3
            for process in (record.processes() if record else [])
        )

    yield begun


STEPS: dict[str, Trap] = {
    "asking what to do": partial(locked, statement="lock table private.media_sources in access exclusive mode"),
    "decoding": decoding,
    "storing copies": partial(stored, event="insert", condition="new.name like '%small.webp'"),
    "saying that it is ready": partial(
        locked, statement="select from public.media where status = 'pending' for update"
    ),
    "deleting the original": partial(stored, event="delete", condition="old.bucket_id = 'uploads'"),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_while(services: Services, person: Person, database: Database, step: str) -> None:
    services.kill("jobs")
    path = upload(person, LARGE if step == "decoding" else photo(40), "application/octet-stream")
    media = create(person, path)["id"]
    with STEPS[step](database, services) as held:
        services.start(["jobs"])
        until(held, f"the worker to be {step}", 60)
        services.kill("jobs")
    services.start(["jobs"])
    made = done(person, media)
    assert made["status"] == "ready"
    assert opened(made["derivatives"]["small"]["url"])
    counts = [copy["path"] for copy in made["derivatives"].values()]
    assert len(counts) == len(PUBLIC_SIZES)
    folder = "select name from storage.objects where bucket_id = 'pictures' and name like %s"
    left = lambda: {row["name"] for row in database.run(folder, f"{media}/%")}  # noqa: E731
    until(lambda: left() == set(counts), "copies of the dead worker to go", 60)
    # Whoever died after the picture was ready left the upload to the sweep.
    run_job(database, "erase_uploads")
    uploads = "select count(*) from storage.objects where bucket_id = 'uploads' and name = %s"
    until(lambda: database.value(uploads, path) == 0, "the original to go")


def test_a_picture_whose_job_was_lost_is_made_all_the_same(
    services: Services, person: Person, database: Database
) -> None:
    services.kill("jobs")
    media = create(person, upload(person, photo(41)))["id"]
    database.run("delete from jobs.procrastinate_jobs where task_name = 'process_media'")
    database.run("update public.media set created_at = now() - interval '11 minutes' where id = %s", media)
    services.start(["jobs"])
    run_job(database, "resume_media")
    assert done(person, media)["status"] == "ready"


def test_copies_that_no_picture_names_and_uploads_that_nobody_used_are_swept(
    services: Services, person: Person, database: Database
) -> None:
    path, kept = upload(person, photo(42)), upload(person, photo(43))
    made = done(person, create(person, upload(person, photo(44)))["id"])
    mine = {copy["path"] for copy in made["derivatives"].values()}
    database.run(
        "insert into storage.objects (bucket_id, name, created_at) "
        "select b, n, now() - a::interval from (values ('pictures', %s, '2 hours'), "
        "('studio', 'x/y/z.webp', '2 hours'), ('pictures', 'young/x.webp', '1 minute')) as v (b, n, a)",
        f"{made['id']}/older/small.webp",
    )
    database.run("update storage.objects set created_at = now() - interval '2 hours' where name = any (%s)", list(mine))
    database.run("update storage.objects set created_at = now() - interval '31 days' where name = %s", path)
    run_job(database, "erase_stray_copies")
    run_job(database, "erase_uploads")
    names = {
        row["name"]
        for row in database.run(
            "select name from storage.objects where bucket_id = 'uploads' and name like %s "
            "or bucket_id in ('pictures', 'studio') and name !~ '^[0-9a-f]{8}-' or name like %s",
            f"{person.id}/%",
            f"{made['id']}/%",
        )
    }
    assert names == mine | {kept, "young/x.webp"}
