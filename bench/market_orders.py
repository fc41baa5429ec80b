"""[order_acts]: acts of service orders in SQL against pgbench's built-in TPC-B (scale 10), sixteen clients each.

An act is what clients call: a delivery or a request for a revision, with its locks, the passed deadline looked for, its
history and its notice.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg

from bench.core import CLIENTS, Result, alternate, pgbench

ORDERS = 25 * CLIENTS
BUYERS = 100
WARM_UP = 3  # Seconds in which each connection plans what it does.
SECONDS = 4

PEOPLE = """
create schema if not exists bench;
insert into auth.users (id, email, email_confirmed_at)
select gen_random_uuid(), 'orders' || n || '@example.com', now() from generate_series(1, %(people)s) as n;
create table bench.people as
select row_number() over () as n, u.id from auth.users as u where u.email like 'orders%%';
create unique index on bench.people (n);
select ledger.post(
    'adjustment', 'orders:' || p.id,
    array[ledger.leg(p.id, 'available', 1000000), ledger.leg(null, 'promotions', -1000000)], null, 'USD', 'goodwill'
)
from bench.people as p where p.n <= %(people)s / 2;
"""

# Agreed and paid from a wallet, one after the other, as settlement does it; revisions without end.
ORDER = """
with agreed as (
    select b.id as buyer, private.add_payable(row(
        null, 'offer', gen_random_uuid(), 1, b.id, s.id, 'A mix', null, 1000, 0, null, null, null, null, null,
        '{"package": {"name": "A mix", "delivery_days": 5, "revisions": 1000000}}'::jsonb, null, null, null
    )::public.payables) as payable
    from bench.people as b, bench.people as s
    where b.n = 1 + %(no)s %% %(half)s and s.n = %(half)s + 1 + %(no)s %% %(half)s
),

caller as (
    select
        a.payable, set_config(
            'request.jwt.claims', jsonb_build_object('sub', a.buyer, 'role', 'authenticated')::text, true
        ) as claims
    from agreed as a
)

select c.payable, c.claims from caller as c
"""

NUMBERED = """
create table bench.orders as
select
    row_number() over (order by o.id) as n, o.id,
    jsonb_build_object('sub', o.buyer_id, 'role', 'authenticated')::text as buyer,
    jsonb_build_object('sub', o.seller_id, 'role', 'authenticated')::text as seller
from public.service_orders as o;
create unique index on bench.orders (n);
"""

# As PostgREST does: claims and role are set in the transaction, then comes the call. Each client has orders of its own,
# so that none meets a state that another one has just changed.
ACT = """
\\set n 1 + :client_id + {clients} * random(0, {most})
begin;
select
    b.id as order_id, (o.status = 'delivered')::integer as is_delivered,
    set_config('request.jwt.claims', case o.status when 'delivered' then b.buyer else b.seller end, true) as claims,
    set_config('role', 'authenticated', true) as role
from bench.orders as b inner join public.service_orders as o on o.id = b.id where b.n = :n \\gset
\\if :is_delivered
select status from public.request_revision(':order_id', 'Louder, please.');
\\else
select status from public.deliver_service_order(':order_id', 'Here it is.');
\\endif
commit;
"""


class Orders:
    """All of them on one database; `url` is the superuser's because pgbench also makes its own tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        pgbench(url, "-i", "-q", "-s", "10")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in PEOPLE.split(";\n"):
                if statement.strip():
                    connection.execute(statement, {"people": 2 * BUYERS} if "%(" in statement else None)
            connection.execute("vacuum analyze")
            with connection.transaction():
                for no in range(ORDERS):
                    payable, _ = connection.execute(ORDER, {"no": no, "half": BUYERS}).fetchone()  # type: ignore[misc]
                    connection.execute("select public.checkout_payable(%s, 'wallet')", [payable])
            for statement in NUMBERED.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            made = connection.execute("select count(*) from bench.orders").fetchone()[0]  # type: ignore[index]
            if made != ORDERS:
                raise SystemExit(f"order_acts: {made} orders of {ORDERS}")
        self.script = Path(tempfile.mkdtemp()) / "act.sql"
        self.script.write_text(ACT.format(clients=CLIENTS, most=ORDERS // CLIENTS - 1))

    def _acts(self) -> float:
        with psycopg.connect(self.url, autocommit=True) as connection:
            count = "select count(*) from public.service_order_events"
            before = connection.execute(count).fetchone()[0]  # type: ignore[index]
            connection.execute("vacuum analyze public.service_orders, public.payments, public.service_deliveries")
            rate = pgbench(self.url, "-f", self.script, seconds=SECONDS, warm_up=WARM_UP)
            done = connection.execute(count).fetchone()[0] - before  # type: ignore[index]
        # Each call was an act that was written down.
        if done < rate * SECONDS * 0.9:
            raise SystemExit(f"order_acts: {done} acts written down at {rate} a second")
        return rate

    def order_acts(self) -> Result:
        """Deliveries and revisions, by sixteen clients at once."""
        value, ratio = alternate(self._acts, lambda: pgbench(self.url, seconds=SECONDS, warm_up=WARM_UP))
        return Result("order_acts", value, "acts/s", ratio, "pgbench TPC-B, scale 10", ">= 0.3")
