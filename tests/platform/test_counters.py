"""A counter as make_counter() builds it under collisions, failures and killed servers: nothing is lost, nothing counted
twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.harness.server import Database
from tests.harness.waiting import until

CLIENTS = 16
TARGET = "00000000-0000-4000-8000-000000000001"
SCHEMA = f"""
create table public.things (id uuid primary key, marks_count integer not null default 0);
create table public.marks (thing_id uuid not null references public.things on delete cascade, who integer not null);
insert into public.things (id) values ('{TARGET}');
select private.make_counter('public.marks', 'thing_id', 'marks_count');
create function public.mark(who integer) returns void language sql as $$
    insert into public.marks values ('{TARGET}', who)
$$;
"""


@pytest.fixture(scope="module")
def things(database: Database) -> Database:
    """A counted table of the tests' own."""
    with database.connect() as connection:
        connection.execute(SCHEMA.encode())
    return database


@pytest.fixture
def clients(things: Database) -> Iterator[list[psycopg.Connection]]:
    """Connections that are all there before anybody starts."""
    connections = [things.connect() for _ in range(CLIENTS)]
    yield connections
    for connection in connections:
        connection.close()


def drift(things: Database) -> list[dict[str, object]]:
    """What a recount finds wrong, pending shares taken into account."""
    return things.run("select * from private.recount() where counter = 'things.marks_count'")


def pending(things: Database) -> int:
    """Shares nobody has added."""
    return int(things.value("select count(*) from private.pending_counts"))


def marks(things: Database) -> int:
    """The counter's column."""
    return int(things.value("select marks_count from public.things"))


def until_one_waits(things: Database) -> None:
    """Returns when somebody waits for an advisory lock."""
    until(
        lambda: things.value("select count(*) from pg_locks where locktype = 'advisory' and not granted"),
        "the second waits for the first",
    )


def test_collisions(things: Database, clients: list[psycopg.Connection]) -> None:
    """Once nobody is under way the column is exact, whoever added whose share; what was rolled back counts nothing."""
    start = threading.Barrier(CLIENTS)

    def work(number: int) -> int:
        chance = random.Random(number)
        start.wait()
        done = 0
        for _ in range(150):
            # Rollback leaves the block silently.
            with clients[number].transaction():
                clients[number].execute("select public.mark(%s)", [number])
                if chance.random() < 0.2:
                    raise psycopg.Rollback
                done += 1
        return done

    before = things.value("select count(*) from public.marks")
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = sum(pool.map(work, range(CLIENTS)))
    assert things.value("select count(*) from public.marks") - before == done
    # Who was to add for others may have rolled back last of all; whoever counts next adds theirs.
    things.run("select public.mark(0)")
    assert pending(things) == 0
    assert marks(things) == things.value("select count(*) from public.marks")
    assert drift(things) == []


def test_exact_without_failures(things: Database, clients: list[psycopg.Connection]) -> None:
    """Without a failed transaction nothing is ever left behind: no job has to tidy up."""
    for _ in range(5):
        start = threading.Barrier(CLIENTS)

        def work(number: int, start: threading.Barrier = start) -> None:
            start.wait()
            for _ in range(40):
                clients[number].execute("select public.mark(%s)", [number])

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(work, range(CLIENTS)))
        assert pending(things) == 0
        assert marks(things) == things.value("select count(*) from public.marks")


def test_collisions_share_an_update(things: Database, clients: list[psycopg.Connection]) -> None:
    """While one holds the row, one waits and all others are done at once; the one who waits adds for all."""
    first, second, *others = clients
    counted = marks(things)
    with ThreadPoolExecutor(1) as pool:
        with first.transaction():
            first.execute("select public.mark(0)")
            waiting = pool.submit(second.execute, "select public.mark(1)")
            until_one_waits(things)
            for number, client in enumerate(others):
                client.execute("select public.mark(%s)", [number])
            assert pending(things) == len(others)
            assert drift(things) == [], "what is pending is not lost"
            assert not waiting.done()
        waiting.result(10)
    assert pending(things) == 0
    assert marks(things) == counted + CLIENTS


def test_killed_while_adding(things: Database, clients: list[psycopg.Connection]) -> None:
    """The one who was to add for others is killed: their shares stay, and the job's fold adds them, once."""
    first, second, *others = clients
    counted = marks(things)
    with ThreadPoolExecutor(1) as pool, first.transaction():
        first.execute("select public.mark(0)")
        waiting = pool.submit(second.execute, "select public.mark(1)")
        until_one_waits(things)
        for number, client in enumerate(others):
            client.execute("select public.mark(%s)", [number])
        things.run("select pg_terminate_backend(%s)", second.info.backend_pid)
        with pytest.raises(psycopg.errors.AdminShutdown):
            waiting.result(10)
    assert pending(things) == len(others)
    assert drift(things) == []
    assert things.value("select private.fold_counts()") == 1
    assert pending(things) == 0
    assert marks(things) == counted + 1 + len(others)
    assert things.value("select private.fold_counts()") == 0


def test_recount_finds_and_repairs(things: Database) -> None:
    """A counter changed behind the triggers' back is reported with both numbers, and set right on request."""
    truth = things.value("select count(*) from public.marks")
    things.run("update public.things set marks_count = marks_count + 3")
    (found,) = drift(things)
    assert (found["counter"], str(found["target"]), found["counted"], found["truth"]) == (
        "things.marks_count",
        TARGET,
        truth + 3,
        truth,
    )
    things.run("select * from private.recount(repair => true)")
    assert drift(things) == []
    assert marks(things) == truth


def test_counting_twice_in_one_transaction(things: Database, clients: list[psycopg.Connection]) -> None:
    """Whoever left a share and counts again, after others took turns meanwhile, waits for nobody who waits for them."""
    before = marks(things)
    start = threading.Barrier(CLIENTS)

    def work(number: int) -> None:
        chance = random.Random(number)
        start.wait()
        for _ in range(60):
            with clients[number].transaction():
                for _ in range(chance.randint(1, 3)):
                    clients[number].execute("select public.mark(0)")
                    if chance.random() < 0.3:
                        clients[number].execute("select pg_sleep(0.002)")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, range(CLIENTS)))
    assert drift(things) == []
    assert pending(things) == 0
    assert marks(things) >= before + CLIENTS * 60
