"""[search], [search_growth], [search_peer]: the catalog's search on a million items of five kinds.

[search] is the 95th percentile of a page with its facets, over rare, common and mistyped words and mere filters,
against the same ranked queries without guesses and facets. [search_growth] compares it with a tenth of the items.
[search_peer] is what is usually done, a stored vector with GIN and `order by ts_rank limit 20`, on the same rows, for
words in 1 % of them and more: how many times as long it takes, where it is least.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from bench.core import Result

ITEMS = 1_000_000
KINDS = ("product", "artwork", "service", "webinar", "commission")
# Planted words, by how many of a thousand items have them; a quarter of those in the title.
COMMON = {"amber": 10, "basalt": 30, "cobalt": 100, "drift": 300}
ROUNDS = 5

# Ids and chance are made from numbers: the same scale gives the same rows.
TOOLS = """
create schema bench;
create function bench.u(n bigint, salt bigint) returns double precision language sql immutable parallel safe as
$$ select ((hashint8extended(n, salt) & 1073741823) + 1) / 1073741825.0 $$;
-- Words as languages have them: the n-th is met one n-th as often.
create function bench.word(n bigint, salt bigint) returns text language sql immutable parallel safe as
$$ select translate(floor(exp(bench.u(n, salt) * 10.5))::text, '0123456789', 'bakelotrin') || 'u' $$;
create unlogged table bench.bodies as
select n, setweight(to_tsvector('simple', string_agg(bench.word(n * 100 + k, 1), ' ')), 'C') as search
from generate_series(0, 19999) as n cross join generate_series(1, 30) as k group by n;
create unlogged table bench.titles as
select t.n, t.title, setweight(to_tsvector('simple', t.title), 'A') as search
from (
    select n, concat_ws(' ', bench.word(n, 11), bench.word(n, 12), bench.word(n, 13)) as title
    from generate_series(0, 99999) as n
) as t;
create unlogged table bench.planted as
select
    t.n, t.title,
    setweight(to_tsvector('simple', t.title), 'A') || setweight(to_tsvector('simple', t.body), 'C') as search
from (
    select
        n,
        coalesce((select string_agg(w.word, ' ') from %(words)s as w (word, often, no)
        where bench.u(n, 20 + w.no) < w.often / 4000.0), '') as title,
        coalesce((select string_agg(w.word, ' ') from %(words)s as w (word, often, no)
        where bench.u(n, 20 + w.no) between w.often / 4000.0 and w.often / 1000.0), '') as body
    from generate_series(0, 19999) as n
) as t;
insert into public.profiles (id, username, display_name, is_confirmed)
select md5('seller' || n)::uuid, 'seller' || n, 'Seller ' || n, true from generate_series(0, 4999) as n;
analyze bench.bodies, bench.titles, bench.planted
"""
WRITE = """
insert into public.catalog_items (
    id, kind, seller_id, title, slug, price_cents, currency, category, tags, is_repeatable, is_browsable,
    requires_shipping, is_featured, is_published, is_for_sale, seller_is_active, paid_purchases_count, purchases_count,
    rating_average, search, published_at
)
select
    md5('item' || i.n)::uuid, (%(kinds)s::text[])[1 + i.n %% 5], md5('seller' || i.n %% 5000)::uuid,
    btrim(t.title || ' ' || p.title), 'i' || i.n, 50 + floor(20000 * bench.u(i.n, 2)), 'USD', 'category-' || i.n %% 40,
    array['tag-' || i.n %% 500, 'tag-' || i.n %% 37], false, true, false, false, true, true, true, s.sold, s.sold,
    case when bench.u(i.n, 3) < 0.3 then round((1 + 4 * bench.u(i.n, 4))::numeric, 1) else 0 end,
    t.search || p.search || b.search, now() - bench.u(i.n, 5) * interval '1000 days'
from generate_series(%(first)s::bigint, %(last)s::bigint) as i (n)
inner join bench.titles as t on t.n = floor(100000 * bench.u(i.n, 31))
inner join bench.planted as p on p.n = floor(20000 * bench.u(i.n, 32))
inner join bench.bodies as b on b.n = floor(20000 * bench.u(i.n, 33))
-- One in five was ever sold, a few very often.
cross join lateral (
    select case when bench.u(i.n, 6) < 0.2 then floor(least(1 / bench.u(i.n, 7), 20000)) else 0 end::integer as sold
) as s
"""
INDEXES = """
select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) from pg_index as i
where i.indrelid = 'public.catalog_items'::regclass and not i.indisunique
"""
WORDS_OF_TITLES = """
insert into private.title_words (word, added_at)
select distinct w.word, now() - interval '1 day'
from public.catalog_items as c cross join unnest(tsvector_to_array(ts_filter(c.search, '{a}'))) as w (word)
"""
# What search_catalog() does without guesses.
PLAIN = """
create function bench.plain(query text, kinds text[], category text) returns setof uuid language plpgsql stable as $$
declare
    wanted private.catalog_filter := private.wanted_items(kinds, category, null, null, null, null, clock_timestamp());
    done private.search := private.search_items(query, wanted, query is not null, false);
begin
    if query is null then
        return query select unnest(private.sorted_items(done, wanted, 'newest', null, 20));
        return;
    end if;
    return query
    select c.id from public.catalog_items as c
    where c.id = any (done.ids)
    order by ts_rank(c.search, done.words) desc, c.id desc
    limit 20;
end
$$
"""
PEER = """
select c.id from public.catalog_items as c
where c.is_listed and c.search @@ websearch_to_tsquery('simple', %s)
order by ts_rank(c.search, websearch_to_tsquery('simple', %s)) desc
limit 20
"""

Query = tuple[str | None, list[str] | None, str | None]


def fill(url: str, items: int) -> None:
    """As a restore does: no trigger and no foreign key, indexes last, two hands."""
    planted = "(values " + ", ".join(f"('{w}', {often}, {no})" for no, (w, often) in enumerate(COMMON.items())) + ")"
    kinds = "'{" + ",".join(KINDS) + "}'"

    def run(statement: str, **bounds: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute("set synchronous_commit = off")
            connection.execute("set maintenance_work_mem = '256MB'")
            connection.execute("set max_parallel_maintenance_workers = 0")
            if bounds:
                statement = statement % {"words": planted, "kinds": kinds, **bounds}
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    with ThreadPoolExecutor(2) as two:
        for statement in TOOLS.split(";\n"):
            run(statement, first=0)
        indexes = run(INDEXES)
        for name, _ in indexes:
            run(f"drop index {name}")
        bounds = [items * n // 8 for n in range(9)]
        list(two.map(lambda n: run(WRITE, first=bounds[n] + 1, last=bounds[n + 1]), range(8)))
        # The longest first.
        wanted = [
            "create index peer_idx on public.catalog_items using gin (search) where is_listed",
            *sorted((definition for _, definition in indexes), key=lambda d: "USING gin" not in d),
        ]
        list(two.map(run, wanted))
    run(WORDS_OF_TITLES)
    run(PLAIN)
    run("vacuum (freeze, analyze) public.catalog_items")
    run("vacuum (analyze) private.title_words")
    run("checkpoint")


def p95(times: Sequence[float]) -> float:
    """95th percentile."""
    return statistics.quantiles(times, n=20)[-1]


class Shop:
    """One database with so many items, and how long what takes in it."""

    def __init__(self, url: str, items: int) -> None:
        fill(url, items)
        self.connection = psycopg.connect(url, autocommit=True)
        chance = random.Random(1)
        # Words as they are met in titles, from rare to common, as typed and mistyped.
        titles = [
            str(row[0])
            for row in self.connection.execute(
                "select c.title from public.catalog_items as c order by c.id limit 60"
            ).fetchall()
        ]
        words = [title.split()[chance.randrange(3)] for title in titles]
        long = [word for word in words if len(word) >= 5][:15]
        self.queries: list[Query] = [
            *((word, None, None) for word in words[:15]),
            *((" ".join(title.split()[:2]), None, None) for title in titles[:10]),
            *((word, None, None) for word in COMMON),
            *((f"{word} {other}", None, None) for word, other in zip(COMMON, words, strict=False)),
            *((word[:2] + word[3:], None, None) for word in long),
            *((word, [chance.choice(KINDS)], None) for word in (*COMMON, *words[15:20])),
            *((None, [chance.choice(KINDS)], None) for _ in range(5)),
            *((None, None, f"category-{chance.randrange(40)}") for _ in range(5)),
        ]

    def took(self, statement: str, *values: object) -> float:
        """Milliseconds."""
        started = time.perf_counter()
        self.connection.execute(statement.encode(), values, prepare=True).fetchall()
        return (time.perf_counter() - started) * 1000

    def page(self, query: Query) -> float:
        """A page and its facets."""
        word, kinds, category = query
        return self.took(
            "select * from public.search_catalog(%s::text, %s::text[], %s::text)", word, kinds, category
        ) + self.took("select * from public.catalog_facets(%s::text, %s::text[], %s::text)", word, kinds, category)

    def plain(self, query: Query) -> float:
        """The ranked query alone."""
        return self.took("select * from bench.plain(%s::text, %s::text[], %s::text)", *query)

    def peer(self, word: str) -> float:
        """What is usually done."""
        return self.took(PEER, word, word)

    def search(self, word: str) -> float:
        """A page without its facets."""
        return self.took("select * from public.search_catalog(%s::text)", word)

    def percentile(self, measured: Callable[[Query], float]) -> float:
        """95th percentile over all queries and some rounds, the first of which does not count."""
        times = [[measured(query) for query in self.queries] for _ in range(ROUNDS)]
        return p95([each for of_round in times[1:] for each in of_round])

    def scans(self) -> int:
        """How often the whole table was read."""
        row = self.connection.execute(
            "select seq_scan from pg_stat_user_tables where relid = 'public.catalog_items'::regclass"
        ).fetchone()
        assert row
        return int(row[0])


class Search:
    """A million items and a tenth of them."""

    def __init__(self, full: str, tenth: str, items: int = ITEMS) -> None:
        self.full, self.tenth = Shop(full, items), Shop(tenth, items // 10)

    def search(self) -> Result:
        """With guesses and facets against without."""
        before = self.full.scans()
        ours, plain = self.full.percentile(self.full.page), self.full.percentile(self.full.plain)
        self.full.connection.execute("select pg_stat_force_next_flush()")
        assert self.full.scans() == before, "the table was read through"
        return Result("search", 1000 / ours, "searches/s", ours / plain, "p95 without guesses and facets", "<= 3")

    def growth(self) -> Result:
        """Ten times the items."""
        ours, tenth = self.full.percentile(self.full.page), self.tenth.percentile(self.tenth.page)
        return Result("search_growth", 1000 / ours, "searches/s", ours / tenth, "p95 on a tenth of the items", "<= 1.4")

    def peer(self) -> Result:
        """The word for which it is worth least."""
        worth = []
        for word in COMMON:
            ours = statistics.median([self.full.search(word) for _ in range(10)][1:])
            worth.append((statistics.median([self.full.peer(word) for _ in range(4)][1:]) / ours, ours))
        ratio, ours = min(worth)
        return Result(
            "search_peer", 1000 / ours, "searches/s", ratio, "order by ts_rank: how many times as long", ">= 5"
        )
