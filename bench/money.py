"""[ledger_post] and [settle]: our transactions against pgbench's built-in TPC-B (scale 10) on the same server."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg

from bench.core import Result, alternate, pgbench

SELLERS = 1000
BUYERS = 1000

LEDGER_POST = """
\\set n random(1, {sellers})
select ledger.post(
    'sale', gen_random_uuid()::text,
    array[
        row(null, 'clearing:stripe', -2000)::ledger.leg, row(null, 'fees:stripe', 88)::ledger.leg,
        row(null, 'revenue', 600)::ledger.leg,
        row((select s.id from bench.sellers as s where s.n = :n), 'pending', 1312)::ledger.leg
    ],
    gen_random_uuid()
);
"""

SETTLE = "select private.process_webhook_event(nextval('bench.next_event'));\n"

# People and goods as the product makes them: sign-up's trigger, a published product each.
PEOPLE = """
create schema if not exists bench;
-- Checkout answers with the workers' address.
update public.app_settings set workers_url = 'http://127.0.0.1';
insert into auth.users (id, email, email_confirmed_at)
select gen_random_uuid(), 'bench' || n || '@example.com', now() from generate_series(1, %(people)s) as n;
create table bench.sellers as
select row_number() over () as n, u.id from auth.users as u where u.email like 'bench%%' limit %(sellers)s;
create unique index on bench.sellers (n);
create table bench.buyers as
select row_number() over () as n, u.id from auth.users as u
where u.email like 'bench%%' and u.id not in (select s.id from bench.sellers as s);
create unique index on bench.buyers (n);
insert into public.products (seller_id, title, price_cents)
select s.id, 'Bench product ' || s.n, 2000 from bench.sellers as s;
insert into storage.objects (bucket_id, name, owner_id, metadata)
select 'product-files', s.id || '/bench.wav', s.id::text, '{"size": 1, "mimetype": "audio/wav"}'
from bench.sellers as s;
insert into public.product_files (product_id, path, name, size_bytes, content_type)
select p.id, p.seller_id || '/bench.wav', 'bench.wav', 1, 'audio/wav' from public.products as p
where p.title like 'Bench product %%';
update public.products set status = 'active' where title like 'Bench product %%';
create table bench.items as
select row_number() over () as n, c.id from public.catalog_items as c where c.title like 'Bench product %%';
create unique index on bench.items (n);
create sequence bench.next_event;
"""

# Each order goes through checkout, start and the inbox like a customer's; only then the measured part begins.
ORDERS = """
do $$
declare
    buyer uuid;
    answer jsonb;
    intent text;
begin
    for i in {first}..{last} loop
        buyer := (select b.id from bench.buyers as b where b.n = 1 + i %% {buyers});
        perform set_config(
            'request.jwt.claims', jsonb_build_object('sub', buyer, 'role', 'authenticated')::text, true
        );
        answer := public.checkout(jsonb_build_array(jsonb_build_object(
            'item_id', (
                select t.id from bench.items as t where t.n = 1 + (i %% {buyers} * 7 + i / {buyers}) %% {sellers}
            )
        )));
        intent := 'pi_bench_' || i;
        perform private.start_payment((answer ->> 'payment_id')::uuid, buyer);
        perform private.attach_payment_ref((answer ->> 'payment_id')::uuid, intent);
        insert into private.webhook_events (provider, event_id, type, payload)
        values ('stripe', 'evt_bench_' || i, 'payment_intent.succeeded', jsonb_build_object('data', jsonb_build_object(
            'object', jsonb_build_object(
                'object', 'payment_intent', 'id', intent, 'amount_received', 2000, 'currency', 'usd',
                'latest_charge', 'ch_bench_' || i,
                'metadata', jsonb_build_object('payment_id', answer ->> 'payment_id')
            )
        )));
    end loop;
end
$$
"""


class Money:
    """Both measurements on one database; `url` is the superuser's because pgbench also makes its own tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.orders = 0
        pgbench(url, "-i", "-q", "-s", "10")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in PEOPLE.split(";\n"):
                if statement.strip():
                    connection.execute(
                        statement, {"people": SELLERS + BUYERS, "sellers": SELLERS} if "%(" in statement else None
                    )
            connection.execute("vacuum analyze")
        self.scripts = Path(tempfile.mkdtemp())
        (self.scripts / "post.sql").write_text(LEDGER_POST.format(sellers=SELLERS))
        (self.scripts / "settle.sql").write_text(SETTLE)

    def tpcb(self) -> float:
        return pgbench(self.url)

    def ledger_post(self) -> Result:
        """A 4-leg sale over 1,000 sellers, all touching the same platform accounts."""
        value, ratio = alternate(lambda: pgbench(self.url, "-f", self.scripts / "post.sql"), self.tpcb)
        return Result("ledger_post", value, "journals/s", ratio, "pgbench TPC-B, scale 10", ">= 0.9")

    def settle(self) -> Result:
        """Event row → order completed, transaction, ledger, entitlement."""
        value, ratio = alternate(self._settle_round, self.tpcb)
        return Result("settle", value, "payments/s", ratio, "pgbench TPC-B, scale 10", ">= 0.35")

    def _settle_round(self, seconds: float = 4, most_per_second: int = 1000) -> float:
        first = self.orders
        self.orders += int(seconds * most_per_second)
        with psycopg.connect(self.url, autocommit=True) as connection:
            for start in range(first, self.orders, 500):
                connection.execute(
                    ORDERS.replace("%%", "%").format(first=start, last=start + 499, buyers=BUYERS, sellers=SELLERS)
                )
            connection.execute(
                "select setval('bench.next_event', min(id), false) from private.webhook_events where status = 'pending'"
            )
            connection.execute("vacuum analyze")
            done = "select count(*) from private.webhook_events where status = 'processed'"
            before = connection.execute(done).fetchone()[0]  # type: ignore[index]
            rate = pgbench(self.url, "-f", self.scripts / "settle.sql", seconds=seconds)
            settled = connection.execute(done).fetchone()[0] - before  # type: ignore[index]
            left = connection.execute(
                "select count(*) from private.webhook_events where status = 'pending'"
            ).fetchone()[0]  # type: ignore[index]
            connection.execute("update private.webhook_events set status = 'ignored' where status = 'pending'")
        # A round that ran out of events, or in which events failed, measured something else.
        if left == 0 or settled < rate * seconds * 0.95:
            raise SystemExit(f"settle: {settled} events settled of {rate * seconds:.0f} calls, {left} left")
        return settled / seconds
