"""[ledger_post], [settle], [settle_one], [edition_race], [checkout]: ours against pgbench's built-in TPC-B (scale 10).

[settle_memory]: what a large batch costs one backend.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from bench.core import Result, alternate, pgbench
from stack.cluster import REPO, free_port
from stack.services import Services

SELLERS = 1000
BUYERS = 1000
WARM_UP = 3  # Seconds in which each of the connections plans what it does in a settlement.
EVENTS, GROUP, WORKERS = 2400, 16, 2  # Of a round of settle: as many events, delivered in such groups, to such many.
SHOPPERS = 4000  # Each checks out once in a round of edition_race or checkout.
COPIES = 10_000
MEMORY_BATCH, MEMORY_WARM_UP = 100, 20

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
    events jsonb := '[]';
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
        events := events || jsonb_build_object(
            'id', 'evt_bench_' || i, 'type', 'payment_intent.succeeded', 'created', extract(epoch from now()),
            'live', false, 'payload', jsonb_build_object('data', jsonb_build_object(
                'object', jsonb_build_object(
                    'object', 'payment_intent', 'id', intent, 'amount_received', 2000, 'currency', 'usd',
                    'latest_charge', 'ch_bench_' || i,
                    'metadata', jsonb_build_object('payment_id', answer ->> 'payment_id')
                )
            ))
        );
        if jsonb_array_length(events) = {group} or i = {last} then
            perform private.store_webhook_events('stripe', events);
            events := '[]';
        end if;
    end loop;
end
$$
"""

# Those who only check out, an edition, and a work of one of a kind for each of them: works of sellers with a published
# product each, as above.
GALLERY = """
insert into auth.users (id, email, email_confirmed_at)
select gen_random_uuid(), 'shopper' || n || '@example.com', now() from generate_series(1, %(shoppers)s) as n;
create table bench.shoppers as
select row_number() over () as n, u.id from auth.users as u where u.email like 'shopper%%';
create unique index on bench.shoppers (n);
insert into public.artworks (seller_id, title, price_cents, category, image_url, status, edition_size)
select s.id, 'Bench edition', 2000, 'photography', 'https://example.com/a.jpg', 'published', %(copies)s
from bench.sellers as s where s.n = 1;
insert into public.artworks (seller_id, title, price_cents, category, image_url, status)
select s.id, 'Bench work ' || w.n, 2000, 'painting', 'https://example.com/a.jpg', 'published'
from generate_series(1, %(shoppers)s) as w (n)
inner join bench.sellers as s on s.n = 1 + w.n %% %(sellers)s;
create table bench.works as
select row_number() over () as n, a.id from public.artworks as a where a.title like 'Bench work %%';
create unique index on bench.works (n);
create sequence bench.next_shopper;
create table bench.carts as
select
    s.n, jsonb_build_object('sub', s.id, 'role', 'authenticated')::text as claims,
    (select a.id from public.artworks as a where a.title = 'Bench edition') as edition, w.id as work
from bench.shoppers as s
inner join bench.works as w on w.n = s.n;
create unique index on bench.carts (n);
"""

# As PostgREST does: claims and role are set in the transaction, then comes the call. Each is another shopper, so that
# none takes the place of an earlier attempt.
CHECKOUT = """
begin;
select
    c.{goods} as item, set_config('request.jwt.claims', c.claims, true) as claims,
    set_config('role', 'authenticated', true) as role
from bench.carts as c
where c.n = (select nextval('bench.next_shopper')) \\gset
select public.checkout('[{{"item_id": ":item"}}]');
commit;
"""

# All that a round held is free again, and nobody has to pause.
GIVE_UP = """
do $$
begin
    perform private.lock_stock(array(select p.order_id from public.payments as p where p.is_open));
    perform private.stop_payment(p.id, 'expired') from public.payments as p where p.is_open;
    delete from private.hold_periods;
end
$$
"""

# From the first claim until nothing waits any more; an event says when its transaction began.
TAKEN = """
select extract(epoch from clock_timestamp() - min(e.processed_at))
from private.webhook_events as e
where e.processed_at > %s
having not exists (select from private.webhook_events as w where w.status = 'pending')
"""


def _memory_of_batch(connection: psycopg.Connection, events: list[int]) -> int:
    """The most anonymous memory, kB, of this backend while it settles these events, and after."""
    smaps = Path(f"/proc/{connection.info.backend_pid}/smaps_rollup")
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(int(re.search(r"Anonymous:\s+(\d+) kB", smaps.read_text())[1]))  # type: ignore[index]

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        answer = connection.execute("select private.settle_batch(%s::bigint[])", (events,)).fetchone()
        settled = answer[0]  # type: ignore[index]
    finally:
        done.set()
        watcher.join()
    look_again = re.search(r"Anonymous:\s+(\d+) kB", smaps.read_text())
    if sorted(settled) != sorted(events):
        raise SystemExit(f"settle_memory: {len(settled)} of {len(events)} events settled together")
    return max(*seen, int(look_again[1]))  # type: ignore[index]


class Money:
    """All of them on one database; `url` is the superuser's because pgbench also makes its own tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.orders = 0
        self.has_gallery = False
        pgbench(url, "-i", "-q", "-s", "10")
        self._run(PEOPLE)
        self.scripts = Path(tempfile.mkdtemp())
        (self.scripts / "post.sql").write_text(LEDGER_POST.format(sellers=SELLERS))
        (self.scripts / "settle.sql").write_text(SETTLE)
        for goods in ("edition", "work"):
            (self.scripts / f"{goods}.sql").write_text(CHECKOUT.format(goods=goods))

    def _run(self, statements: str) -> None:
        sizes = {"people": SELLERS + BUYERS, "sellers": SELLERS, "shoppers": SHOPPERS, "copies": COPIES}
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements.split(";\n"):
                if statement.strip():
                    connection.execute(statement, sizes if "%" in statement else None)
            connection.execute("vacuum analyze")

    def tpcb(self) -> float:
        return pgbench(self.url)

    def ledger_post(self) -> Result:
        """A 4-leg sale over 1,000 sellers, all touching the same platform accounts."""
        value, ratio = alternate(lambda: pgbench(self.url, "-f", self.scripts / "post.sql"), self.tpcb)
        return Result("ledger_post", value, "journals/s", ratio, "pgbench TPC-B, scale 10", ">= 0.9")

    def settle(self, services: Services) -> Result:
        """The workers' real path: events of an inbox that is full, two worker processes, first claim to last commit."""
        value, ratio = alternate(lambda: self._worked(services), self.tpcb)
        return Result("settle", value, "payments/s", ratio, "pgbench TPC-B, scale 10", ">= 0.6")

    def settle_one(self, services: Services) -> Result:
        """Event row → order completed, transaction, ledger, entitlement: each event alone."""
        assert services
        value, ratio = alternate(self._settle_round, lambda: pgbench(self.url, seconds=3, warm_up=WARM_UP))
        return Result("settle_one", value, "payments/s", ratio, "pgbench TPC-B, scale 10", ">= 0.3")

    def edition_race(self) -> Result:
        """Sixteen buy from one edition at once: each takes a copy of the same row."""
        value, ratio = alternate(lambda: self._checkout_round("edition"), self.tpcb)
        return Result("edition_race", value, "checkouts/s", ratio, "pgbench TPC-B, scale 10", ">= 0.15")

    def checkout(self) -> Result:
        """The same where each has a work of their own in the cart, one of a kind."""
        value, ratio = alternate(lambda: self._checkout_round("work"), self.tpcb)
        return Result("checkout", value, "checkouts/s", ratio, "pgbench TPC-B, scale 10", ">= 0.25")

    def settle_memory(self) -> Result:
        """Anonymous memory of one backend at its most (smaps_rollup, read all the while): in a batch of 100 less in 1.

        Batches of one come first until their plans and caches are made, so that what is measured is the batch.
        """
        self._fill(MEMORY_WARM_UP + 1 + MEMORY_BATCH)
        with psycopg.connect(self.url, autocommit=True) as connection:
            waiting = [
                row[0]
                for row in connection.execute(
                    "select id from private.webhook_events where status = 'pending' order by id"
                )
            ]
            for event in waiting[:MEMORY_WARM_UP]:
                _memory_of_batch(connection, [event])
            one = _memory_of_batch(connection, waiting[MEMORY_WARM_UP : MEMORY_WARM_UP + 1])
            many = _memory_of_batch(connection, waiting[MEMORY_WARM_UP + 1 :])
        growth = (many - one) / 1024
        return Result("settle_memory", growth, "MB", growth, f"a batch of 1; this one is of {MEMORY_BATCH}", "<= 8")

    def _checkout_round(self, goods: str, seconds: float = 3) -> float:
        if not self.has_gallery:
            self._run(GALLERY)
            self.has_gallery = True
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("select setval('bench.next_shopper', 1, false)")
            connection.execute("vacuum analyze public.orders, public.order_items, public.payments, private.holds")
            before = connection.execute("select count(*) from private.holds").fetchone()[0]  # type: ignore[index]
            rate = pgbench(self.url, "-f", self.scripts / f"{goods}.sql", seconds=seconds)
            held = connection.execute("select count(*) from private.holds").fetchone()[0]  # type: ignore[index]
            connection.execute(GIVE_UP)
        # A refusal ends a client of pgbench: then fewer checked out than the rate says.
        if held - before < rate * seconds * 0.95:
            raise SystemExit(f"{goods}: {held - before} checkouts hold something, of {rate * seconds:.0f} calls")
        return rate

    def _fill(self, count: int) -> None:
        first = self.orders
        self.orders += count
        with psycopg.connect(self.url, autocommit=True) as connection:
            for start in range(first, self.orders, 400):
                last = min(start + 400, self.orders) - 1
                connection.execute(
                    ORDERS.replace("%%", "%").format(
                        first=start, last=last, buyers=BUYERS, sellers=SELLERS, group=GROUP
                    )
                )
            # What the provider would be asked for meanwhile is known.
            connection.execute("update public.payments set provider_fee_cents = fee_estimate_cents")
            connection.execute("vacuum analyze")

    def _worked(self, services: Services) -> float:
        self._fill(EVENTS)
        command = [sys.executable, "-m", "workers.cli", "work"]
        with psycopg.connect(self.url, autocommit=True) as connection:
            began = connection.execute("select clock_timestamp()").fetchone()[0]  # type: ignore[index]
            workers = [
                subprocess.Popen(
                    command,
                    env={**os.environ, **services.env, "AVENUE_METRICS_PORT": str(free_port())},
                    cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
                for _ in range(WORKERS)
            ]  # fmt: skip
            try:
                deadline = time.monotonic() + 120
                while not (taken := connection.execute(TAKEN, (began,)).fetchone()):
                    if time.monotonic() > deadline:
                        raise SystemExit("settle: the workers did not get through")
                    time.sleep(0.02)
            finally:
                for worker in workers:
                    worker.terminate()
                for worker in workers:
                    worker.wait(30)
            failed = connection.execute(
                "select count(*) from private.webhook_events where status not in ('processed', 'ignored')"
            ).fetchone()[0]  # type: ignore[index]
        if failed:
            raise SystemExit(f"settle: {failed} events did not settle")
        return EVENTS / float(taken[0])

    def _settle_round(self, seconds: int = 3, most_per_second: int = 1000) -> float:
        self._fill((seconds + WARM_UP) * most_per_second)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("delete from jobs.procrastinate_jobs where status = 'todo'")
            connection.execute(
                "select setval('bench.next_event', min(id), false) from private.webhook_events where status = 'pending'"
            )
            rate = pgbench(self.url, "-f", self.scripts / "settle.sql", seconds=seconds, warm_up=WARM_UP)
            left, failed = connection.execute(
                "select count(*), count(*) filter (where attempts > 0) from private.webhook_events "
                "where status = 'pending'"
            ).fetchone()  # type: ignore[misc]
            connection.execute("update private.webhook_events set status = 'ignored' where status = 'pending'")
        # A round that ran out of events, or in which events failed, measured something else.
        if left == 0 or failed:
            raise SystemExit(f"settle_one: {failed} events failed, {left} left")
        return rate
