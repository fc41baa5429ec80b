"""[coupon_race]: checkouts behind one coupon with a limit, against pgbench's built-in TPC-B (scale 10)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg

from bench.core import CLIENTS, Result, alternate, pgbench

SHOPPERS = 6000  # Each checks out once in a round.
SECONDS = 3
WARM_UP = 3

PEOPLE = """
create schema if not exists bench;
update public.app_settings set workers_url = 'http://127.0.0.1';
insert into auth.users (id, email, email_confirmed_at)
select gen_random_uuid(), 'shopper' || n || '@example.com', now() from generate_series(0, %(shoppers)s) as n;
create table bench.shoppers as
select
    row_number() over (order by u.email <> 'shopper0@example.com') - 1 as n, u.id,
    jsonb_build_object('sub', u.id, 'role', 'authenticated')::text as claims
from auth.users as u where u.email like 'shopper%%';
create unique index on bench.shoppers (n);
insert into public.products (seller_id, title, price_cents)
select s.id, 'Bench', 2000 from bench.shoppers as s where s.n = 0;
insert into storage.objects (bucket_id, name, owner_id, metadata)
select 'product-files', s.id || '/bench.wav', s.id::text, '{"size": 1, "mimetype": "audio/wav"}'
from bench.shoppers as s where s.n = 0;
insert into public.product_files (product_id, path, name, size_bytes, content_type)
select p.id, p.seller_id || '/bench.wav', 'bench.wav', 1, 'audio/wav' from public.products as p where p.title = 'Bench';
update public.products set status = 'active' where title = 'Bench';
create table bench.goods as select c.id from public.catalog_items as c where c.title = 'Bench';
insert into public.coupons (seller_id, code, amount_cents, usage_limit, usage_limit_per_customer)
select s.id, 'RACE', 500, 1000000, 1 from bench.shoppers as s where s.n = 0;
create sequence bench.next_shopper;
"""

# As PostgREST does: claims and role are set in the transaction, then comes the call. Each is another shopper.
CHECKOUT = """
begin;
select
    (select g.id from bench.goods as g) as item, set_config('request.jwt.claims', s.claims, true) as claims,
    set_config('role', 'authenticated', true) as role
from bench.shoppers as s
where s.n = (select nextval('bench.next_shopper')) \\gset
select public.checkout('[{"item_id": ":item"}]', coupon_codes => '{race}');
commit;
"""

GIVE_UP = "select private.stop_payment(p.id, 'expired') from public.payments as p where p.is_open"


class Coupons:
    """On a database of its own; `url` is the superuser's because pgbench also makes its own tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        pgbench(url, "-i", "-q", "-s", "10")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in PEOPLE.split(";\n"):
                if statement.strip():
                    connection.execute(statement, {"shoppers": SHOPPERS} if "%(" in statement else None)
            connection.execute("vacuum analyze")
        self.script = Path(tempfile.mkdtemp()) / "coupon.sql"
        self.script.write_text(CHECKOUT)

    def _round(self) -> float:
        held = "select count(*) from private.coupon_uses where status = 'held'"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("select setval('bench.next_shopper', 1, false)")
            rate = pgbench(self.url, "-f", self.script, seconds=SECONDS)
            uses = connection.execute(held).fetchone()[0]  # type: ignore[index]
            connection.execute(GIVE_UP)
            left = connection.execute(held).fetchone()[0]  # type: ignore[index]
            connection.execute("vacuum analyze")
        # A refusal ends a client of pgbench: then fewer checked out than the rate says.
        if uses + CLIENTS < rate * SECONDS * 0.95 or left:
            raise SystemExit(f"coupon_race: {uses} uses of {rate * SECONDS:.0f} checkouts, {left} left")
        return rate

    def coupon_race(self) -> Result:
        """Sixteen check out with the same code at once: each takes a use of the same coupon."""
        value, ratio = alternate(self._round, lambda: pgbench(self.url, seconds=SECONDS, warm_up=WARM_UP))
        return Result("coupon_race", value, "checkouts/s", ratio, "pgbench TPC-B, scale 10", ">= 0.1")
