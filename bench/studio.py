"""[job_create], [job_create_one], [photo_settle]: the studio in SQL against pgbench's built-in TPC-B (scale 10).

[zip]: the ZIP file of a large job against plain copying of the same bytes through the same storage.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg

from bench.core import Result, alternate, pgbench

CUSTOMERS = 500
PHOTOS = 5
# Enough for every round of every measurement.
CREDITS = 90_000_000
WARM_UP = 3  # Seconds in which each connection plans what it does.
SECONDS = 3

PEOPLE = """
create schema if not exists bench;
insert into auth.users (id, email, email_confirmed_at)
select gen_random_uuid(), 'studio' || n || '@example.com', now() from generate_series(1, %(customers)s) as n;
create table bench.customers as
select row_number() over () as n, u.id from auth.users as u where u.email like 'studio%%';
create unique index on bench.customers (n);
select private.grant_lot(c.id, 'bonus', %(credits)s, null) from bench.customers as c;
create table bench.photos as
with made as (
    insert into public.media (
        owner_id, purpose, status, ready_at, bucket, content_type, width, height, color, is_animated, derivatives,
        expires_at
    )
    select
        c.id, 'photo_input', 'ready', now(), 'studio', 'image/jpeg', 8, 8, '#ffffff', false,
        '{"full": {"path": "a", "bytes": 1}}', now() + interval '30 days'
    from bench.customers as c
    cross join generate_series(1, %(photos)s)
    returning id, owner_id
)

select c.n, c.id, jsonb_build_object('sub', c.id, 'role', 'authenticated')::text as claims, array_agg(m.id) as photos
from made as m
inner join bench.customers as c on c.id = m.owner_id
group by c.n, c.id;
create unique index on bench.photos (n);
update private.settings set open_photos_per_account = 1000000000;
create sequence bench.next_attempt;
create table bench.attempts (n bigserial primary key, attempt uuid, result uuid);
"""

# As PostgREST does: claims and role are set in the transaction, then comes the call.
JOB = """
\\set n {which}
begin;
select
    p.photos::text as photos, set_config('request.jwt.claims', p.claims, true) as claims,
    set_config('role', 'authenticated', true) as role
from bench.photos as p where p.n = :n \\gset
select id from public.create_photo_job('brighter', ':photos');
commit;
"""

# Attempts that wait for their verdict, and the pictures that came of them.
SENT = """
select public.create_photo_job('brighter', p.photos)
from bench.photos as p, set_config('request.jwt.claims', p.claims, true)
where p.n = 1 + %(job)s %% %(customers)s
"""

RESULTS = """
with made as (
    insert into public.media (
        owner_id, purpose, status, ready_at, bucket, content_type, width, height, color, is_animated, derivatives
    )
    select
        a.owner_id, 'photo_result', 'ready', now(), 'studio', 'image/jpeg', 8, 8, '#ffffff', false,
        '{"full": {"path": "a", "bytes": 1}}'
    from private.claim_photos('bench', 100000) as a
    returning id
)

select count(*) from made
"""

PAIRS = """
insert into bench.attempts (attempt, result)
select a.id, m.id
from (
    select a.id, row_number() over () as n from private.photo_attempts as a where a.ended_at is null
) as a
inner join (
    select m.id, row_number() over () as n from public.media as m
    where
        m.purpose = 'photo_result'
        and not exists (select from public.photo_job_items as i where i.result_media_id = m.id)
) as m on m.n = a.n
"""

SETTLE = """
select private.settle_photo(a.attempt, 'succeeded', a.result, null, null, 1000)
from bench.attempts as a where a.n = (select nextval('bench.next_attempt'));
"""


class Studio:
    """All of them on one database; `url` is the superuser's because pgbench also makes its own tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jobs = 0
        pgbench(url, "-i", "-q", "-s", "10")
        sizes = {"customers": CUSTOMERS, "credits": CREDITS, "photos": PHOTOS}
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in PEOPLE.split(";\n"):
                if statement.strip():
                    connection.execute(statement, sizes if "%(" in statement else None)
            connection.execute("vacuum analyze")
        self.scripts = Path(tempfile.mkdtemp())
        (self.scripts / "many.sql").write_text(JOB.format(which=f"random(1, {CUSTOMERS})"))
        (self.scripts / "one.sql").write_text(JOB.format(which=1))
        (self.scripts / "settle.sql").write_text(SETTLE)

    def _tpcb(self) -> float:
        return pgbench(self.url, seconds=SECONDS, warm_up=WARM_UP)

    def _create(self, script: str) -> float:
        with psycopg.connect(self.url, autocommit=True) as connection:
            before = connection.execute("select count(*) from public.photo_jobs").fetchone()[0]  # type: ignore[index]
            connection.execute("vacuum analyze")
            rate = pgbench(self.url, "-f", self.scripts / script, seconds=SECONDS, warm_up=WARM_UP)
            made, held, asked = connection.execute(
                "select count(*), (select sum(b.held_cents) from private.credit_balances as b), sum(j.cost_cents) "
                "from public.photo_jobs as j"
            ).fetchone()  # type: ignore[misc]
            # Exact, whatever came at once: what all jobs cost is what is held.
            if made - before < rate * SECONDS * 0.9 or held != asked:
                raise SystemExit(f"{script}: {made - before} jobs, {held} cents held of {asked}")
        return rate

    def job_create(self) -> Result:
        """Credits held, a job and its five photos made, by sixteen clients at once."""
        value, ratio = alternate(lambda: self._create("many.sql"), self._tpcb)
        return Result("job_create", value, "jobs/s", ratio, "pgbench TPC-B, scale 10", ">= 0.3")

    def job_create_one(self) -> Result:
        """The same where all sixteen spend the credits of one customer."""
        value, ratio = alternate(lambda: self._create("one.sql"), self._tpcb)
        return Result("job_create_one", value, "jobs/s", ratio, "pgbench TPC-B, scale 10", ">= 0.1")

    def _settle(self, most_per_second: int = 1500) -> float:
        needed = (SECONDS + WARM_UP) * most_per_second
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("truncate bench.attempts restart identity")
            connection.execute("select setval('bench.next_attempt', 1, false)")
            waiting = connection.execute(
                "select count(*) from public.photo_job_items where status = 'queued'"
            ).fetchone()[0]  # type: ignore[index]
            with connection.transaction():
                for job in range(self.jobs, self.jobs + max(0, needed - waiting) // PHOTOS + 1):
                    connection.execute(SENT, {"job": job, "customers": CUSTOMERS})
            self.jobs += needed // PHOTOS
            connection.execute(RESULTS)
            # Without it the pairs are sought by nested loops, for minutes.
            connection.execute("vacuum analyze")
            connection.execute(PAIRS)
            connection.execute("vacuum analyze bench.attempts")
            rate = pgbench(self.url, "-f", self.scripts / "settle.sql", seconds=SECONDS, warm_up=WARM_UP)
            left = connection.execute("select count(*) from private.photo_attempts where ended_at is null").fetchone()[
                0
            ]  # type: ignore[index]
        if left == 0:
            raise SystemExit("photo_settle: ran out of photos")
        return rate

    def photo_settle(self) -> Result:
        """A verdict: photo, job, lots, books and what it cost, each photo alone."""
        value, ratio = alternate(self._settle, self._tpcb)
        return Result("photo_settle", value, "photos/s", ratio, "pgbench TPC-B, scale 10", ">= 0.4")
