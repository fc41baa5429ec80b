"""[seat_race]: free registrations for one webinar of 10,000 seats, by sixteen clients at once, against pgbench's
built-in TPC-B (scale 10).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg

from bench.core import Result, alternate, pgbench

SEATS = 10_000
WARM_UP = 2  # Seconds in which each connection plans what it does.
SECONDS = 2

PEOPLE = """
create schema if not exists bench;
insert into auth.users (id, email, email_confirmed_at) values (gen_random_uuid(), 'host@example.com', now());
set session_replication_role = replica;
insert into public.profiles (id, username, is_confirmed)
select gen_random_uuid(), 'guest' || n, true from generate_series(1, %(seats)s) as n;
reset session_replication_role;
create table bench.guests as
select row_number() over () as n, p.id, json_build_object('sub', p.id, 'role', 'authenticated')::text as claims
from public.profiles as p where p.username like 'guest%%';
create unique index on bench.guests (n);
create table bench.webinars (no bigserial primary key, id uuid);
create sequence bench.next_guest;
"""

WEBINAR = """
with made as (
    insert into public.webinars (host_id, title, starts_local, time_zone, max_attendees)
    select u.id, 'Webinar', timestamp '2035-01-01' + (select count(*) from bench.webinars) * interval '1 day', 'UTC', %s
    from auth.users as u where u.email = 'host@example.com'
    returning id
)

insert into bench.webinars (id) select m.id from made as m returning id
"""

# As PostgREST does: claims and role are set in the transaction, then comes the call.
REGISTER = """
begin;
select
    w.id as item, set_config('request.jwt.claims', g.claims, true) as claims,
    set_config('role', 'authenticated', true) as role
from bench.guests as g, (select id from bench.webinars order by no desc limit 1) as w
where g.n = (select nextval('bench.next_guest')) \\gset
select id from public.register_for_webinar(':item');
commit;
"""


class Webinars:
    """On a database of its own; `url` is the superuser's because pgbench also makes its own tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        pgbench(url, "-i", "-q", "-s", "10")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in PEOPLE.split(";\n"):
                if statement.strip():
                    connection.execute(statement.encode(), {"seats": SEATS} if "%(" in statement else None)
            connection.execute("vacuum analyze")
        self.script = Path(tempfile.mkdtemp()) / "register.sql"
        self.script.write_text(REGISTER)

    def _race(self) -> float:
        with psycopg.connect(self.url, autocommit=True) as connection:
            (item,) = connection.execute(WEBINAR.encode(), (SEATS,)).fetchone()  # type: ignore[misc]
            connection.execute("alter sequence bench.next_guest restart")
            connection.execute("vacuum analyze")
            rate = pgbench(self.url, "-f", self.script, seconds=SECONDS, warm_up=WARM_UP)
            seats, taken, counted, held = connection.execute(
                "select (select count(*) from public.webinar_registrations as r where r.webinar_id = c.id), c.taken, "
                "w.registrations_count, (select count(*) from private.holds as h where h.item_id = c.id) "
                "from public.catalog_items as c join public.webinar_counts as w on w.webinar_id = c.id where c.id = %s",
                (item,),
            ).fetchone()  # type: ignore[misc]
            # Exact, whatever came at once.
            if not seats == taken == counted == held or seats < rate * SECONDS * 0.9:
                raise SystemExit(f"seat_race: {seats} seats, {taken} taken, {counted} counted, {held} held")
        return rate

    def seat_race(self) -> Result:
        """Seats of one webinar, one lock: free registrations."""
        value, ratio = alternate(self._race, lambda: pgbench(self.url, seconds=SECONDS, warm_up=WARM_UP))
        return Result("seat_race", value, "registrations/s", ratio, "pgbench TPC-B, scale 10", ">= 0.2")
