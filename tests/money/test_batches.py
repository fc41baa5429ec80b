"""Settlement in groups, as workers do it: the same final rows for any grouping and order, and nobody waits for others.

What is left open by design: numbers of copies and the last of a stock go by event id within a group, and to whoever
comes first between groups; of these the tests compare sets and counts.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest
from procrastinate import PsycopgConnector

import workers.jobs.payments  # noqa: F401  # What process_events() queues.
from stack.cluster import SUPERUSER
from tests.harness.fixtures import server_of
from tests.harness.server import Database
from tests.harness.waiting import until
from tests.money.market import Json, Market
from tests.money.races import committing
from workers.db import DatabaseUnavailable
from workers.jobs.events import process_events
from workers.jobs.queue import queue
from workers.services import open_services
from workers.settings import Settings

EVENTS = 1000
BUYERS = 60
WORKERS = 4
KILLS = 3
PENDING = "select id from private.webhook_events where status = 'pending' order by id"


# -- workers ----------------------------------------------------------------------------------------------------------


def work(database: Database, groups: Sequence[Sequence[int]], workers: int = WORKERS) -> int:
    """Runs process_events() for each group, as so many worker processes do that run one job at a time. A job whose
    database went away is tried again, as the queue does; how many were.
    """

    async def run() -> int:
        settings = Settings(database_url=database.url("avenue_worker"))  # type: ignore[arg-type]
        waiting = [list(group) for group in groups][::-1]
        lost = 0

        async def worker() -> None:
            nonlocal lost
            async with open_services(settings, "avenue-jobs", connections=2, wait=True) as services:
                while waiting:
                    group = waiting.pop()
                    try:
                        await process_events(services, group)
                    except DatabaseUnavailable:
                        lost += 1
                        waiting.append(group)

        async with open_services(settings, "avenue-jobs", connections=2, wait=True) as services:
            with queue.replace_connector(PsycopgConnector()):
                await queue.open_async(services.db.pool)
                await asyncio.gather(*(worker() for _ in range(workers)))
        return lost

    return asyncio.run(run())


def finish(market: Market) -> None:
    """What is to be tried again is, until nothing waits."""
    while waiting := market.rows(PENDING):
        for event in waiting:
            market.process(event["id"])


# -- a crowd of orders ------------------------------------------------------------------------------------------------

# Settling one of these orders fails, whoever does it.
POISON = """
create table public.poisoned (id uuid primary key);
create function public.poison() returns trigger language plpgsql security definer as $$
begin
    if new.status = 'completed' and exists (select from public.poisoned as p where p.id = new.id) then
        raise exception 'poisoned';
    end if;
    return new;
end
$$;
create trigger zz_poison before update on public.orders for each row execute function public.poison();
"""


@dataclass
class World:
    """Who sells what to whom; event ids in the order in which they arrived."""

    market: Market
    rng: random.Random
    orders: list[Json] = field(default_factory=list)
    # Orders of which some get something and others their money back, whoever comes first.
    contested: list[str] = field(default_factory=list)

    def sellers(self, count: int) -> list[str]:
        """Sellers of all tiers."""
        return [self.market.sign_up(("basic", "standard")[no % 2]) for no in range(count)]

    def started(self, buyer: str, order: Json) -> Json:
        """The buyer is at the provider's form."""
        self.market.start(buyer, order["payment_id"])
        self.orders.append(order)
        return order

    def build(self) -> None:
        """Every kind of sale; each buyer buys each thing that is owned once only once."""
        market = self.market
        sellers = self.sellers(8)
        buyers = [market.sign_up() for _ in range(BUYERS)]
        products = [market.product(sellers[no % 8], 500 + 97 * no) for no in range(36)]
        licensed = [market.product(sellers[no % 8], 900 + no) for no in range(8)]
        tiers = {
            item: market.license(sellers[no % 8], item, 2500 + no, "commercial") for no, item in enumerate(licensed)
        }
        editions = [market.edition(sellers[no], 3000 + no, 300, GOLD=200) for no in range(3)]
        goods = [market.good(sellers[no % 8], 1200 + 31 * no) for no in range(16)]
        tasks = [
            market.good(
                sellers[no % 8], 700 + 13 * no, "task", is_repeatable=True, stock=5000,
                payees=[[sellers[no % 8], 6000], [sellers[(no + 3) % 8], 4000]],
            )
            for no in range(8)
        ]  # fmt: skip
        # Of what nobody buys by itself: first come, first served then.
        bundles = [
            market.good(sellers[no % 8], 2000, extras=[goods[8 + no], goods[8 + (no + 1) % 8]]) for no in range(8)
        ]
        packs = [market.good(market.platform(), 1000 + no, "pack") for no in range(8)]
        for no in range(EVENTS - 60):
            lap, place = divmod(no, BUYERS)
            buyer, half = buyers[place], lap // 10
            item, which = products[(place * 5 + lap) % 36], (place + 4 * half) % 8
            match (place + lap) % 10:
                case 0:
                    order = market.checkout(buyer, market.artwork(sellers[place % 8], 4000 + no), item)
                case 1:
                    edition, series = editions[place % 3]
                    lines: list[Json] = [{"item_id": edition}, {"item_id": edition, "option_id": series["GOLD"]}]
                    order = market.checkout(buyer, lines[half % 2])
                case 2:
                    licence = licensed[which]
                    order = market.checkout(buyer, {"item_id": licence, "option_id": tiers[licence]}, item)
                case 3:
                    details = {"discount_cents": 100 + place}
                    order = market.checkout(buyer, {"item_id": goods[which], "details": details}, item)
                case 4:
                    order = market.rpc(buyer, "send_tip", recipient_id=sellers[which], amount_cents=100 + no)
                case 5:
                    order = market.checkout(buyer, packs[which], item)
                case 6:
                    order = market.pay_agreed(buyer, market.agree(sellers[which], buyer, 1500 + no))
                case 7:
                    order = market.checkout(buyer, bundles[which])
                case 8:
                    order = market.checkout(buyer, {"item_id": tasks[which], "quantity": 1 + place % 3}, item)
                case _:
                    market.member(buyer, "insert into public.cart_items (item_id) values (%s)", item)
                    order = market.checkout(buyer, item, products[(place * 5 + lap + 18) % 36])
            self.started(buyer, order)
        self.build_contested(sellers[0])

    def build_contested(self, seller: str) -> None:
        """Three paid too late for the two last copies."""
        market = self.market
        edition, _ = market.edition(seller, 5000, 2)
        for _ in range(3):
            buyer = market.sign_up()
            order = self.started(buyer, market.checkout(buyer, edition))
            market.cancel(order["payment_id"])
            self.contested.append(order["order_id"])

    def poison(self) -> None:
        """Five in a hundred are not what they seem; a few are told twice."""
        market, rng = self.market, self.rng
        plain = [order for order in self.orders if order["order_id"] not in self.contested]
        wrong = rng.sample(plain, 40)
        market.connection.execute(POISON.encode())
        intents = {order["payment_id"]: market.intent(order["payment_id"]) for order in self.orders}
        accounts: dict[str, str] = {}
        for no, order in enumerate(wrong):
            payment = order["payment_id"]
            match no // 10:
                case 0:
                    intents[payment]["amount_received"] -= 1
                case 1:
                    accounts[payment] = "acct_of_somebody_else"
                case 2:
                    market.cancel(payment)
                case 3 if no < 38:
                    market.rows("insert into public.poisoned (id) values (%s)", order["order_id"])
                case _:
                    pass
        # Of people who go while their money is on its way.
        seller = market.sign_up()
        item = market.product(seller, 1111)
        for no in range(10):
            buyer = market.sign_up()
            order = self.started(buyer, market.checkout(buyer, item))
            intents[order["payment_id"]] = market.intent(order["payment_id"])
            if no % 2:
                market.ban(buyer)
            else:
                market.rpc(buyer, "delete_my_account")
                market.worker("select private.advance_account(%s)", buyer)
        told = [*intents, *rng.sample(list(intents), EVENTS - len(intents))]
        rng.shuffle(told)
        events = []
        for no, payment in enumerate(told):
            name = f"evt_batch_{no}"
            payload = {"id": name, "data": {"object": intents[payment]}}
            if payment in accounts:
                payload["account"] = accounts[payment]
            events.append(
                {"id": name, "type": "payment_intent.succeeded", "created": 1790000000 + no, "payload": payload}
            )
        # They come in this order.
        for event in events:
            market.worker("select private.store_webhook_events('stripe', %s)", psycopg.types.json.Jsonb([event]))


# Everything that a settlement leaves, as rows that name each other by what was there before it: ids and times aside.
# {mine}: not among the orders that compete.
DUMP = {
    "events": "select event_id, status, attempts, last_error, user_id from private.webhook_events",
    "orders": "select id, status, status_reason, completed_at is null from public.orders as o where {mine}",
    "order_items": "select to_jsonb(i) from public.order_items as i",
    "payments": "select p.id, p.status, p.charge_id, p.failure_reason, p.succeeded_at is null, p.is_open "
    "from public.payments as p join public.orders as o on o.id = p.order_id where {mine}",
    "purchases": "select i.id, to_jsonb(p) - '{{id,purchased_at,revoked_at,number}}'::text[], p.number is null "
    "from public.purchases as p join public.order_items as i on i.id = p.order_item_id "
    "join public.orders as o on o.id = i.order_id where {mine}",
    "numbers": "select p.item_id, p.option_id, p.number from public.purchases as p where p.number is not null",
    "transactions": "select to_jsonb(t) - '{{id,created_at,updated_at,settled_at,release_at,completed_at,free_until,"
    "ship_by}}'::text[], t.release_at is null, t.completed_at is null, t.free_until is null, t.ship_by is null "
    "from public.transactions as t join public.order_items as i on i.id = t.order_item_id "
    "join public.orders as o on o.id = i.order_id where {mine}",
    "transaction_payees": "select t.order_item_id, to_jsonb(p) - 'transaction_id' from public.transaction_payees as p "
    "join public.transactions as t on t.id = p.transaction_id "
    "join public.order_items as i on i.id = t.order_item_id join public.orders as o on o.id = i.order_id where {mine}",
    "ledger": "select j.kind, coalesce(t.order_item_id, j.source_id), a.owner_id, a.code, e.amount_cents, e.leg_no "
    "from ledger.entries as e join ledger.journal as j on j.id = e.journal_id "
    "join ledger.accounts as a on a.id = e.account_id left join public.transactions as t on t.id = j.source_id "
    "left join public.order_items as i on i.id = t.order_item_id left join public.payments as y on y.id = j.source_id "
    "left join public.orders as o on o.id = coalesce(i.order_id, y.order_id) where {mine}",
    "wallets": "select to_jsonb(w) - 'updated_at' from public.wallets as w",
    "items": "select to_jsonb(c) - '{{updated_at,popularity}}'::text[] from public.catalog_items as c",
    "options": "select to_jsonb(o) - 'updated_at' from public.catalog_options as o",
    "artworks": "select a.id, a.status from public.artworks as a",
    "payables": "select a.id, a.status from public.payables as a",
    "tips": "select to_jsonb(t) - '{{id,created_at}}'::text[] from public.tips as t",
    "carts": "select c.user_id, c.item_id, c.option_id from public.cart_items as c",
    "holds": "select h.item_id, h.option_id, h.quantity, h.order_id from private.holds as h",
    "refunds": "select r.payment_id, r.amount_cents, r.status, r.reason from public.refunds as r "
    "join public.payments as p on p.id = r.payment_id join public.orders as o on o.id = p.order_id where {mine}",
    "reviews": "select t.order_item_id, r.seller_id from public.sale_reviews as r "
    "join public.transactions as t on t.id = r.transaction_id",
    "notifications": "select n.user_id, n.type, n.title, n.message, n.related_type, "
    "coalesce(t.order_item_id, n.related_id) "
    "from public.notifications as n left join public.tips as t on t.id = n.related_id "
    "left join public.order_items as i on i.id = n.related_id "
    "left join public.orders as o on o.id = coalesce(i.order_id, n.related_id) where {mine}",
}


def dump(market: Market, contested: Sequence[str]) -> dict[str, list[str]]:
    """What is there, a sorted list of rows a table."""
    mine = "(o.id is null or o.id <> all(%s::uuid[]))"
    found = {}
    for name, query in DUMP.items():
        values = [list(contested)] if "{mine}" in query else []
        rows = market.connection.execute(query.format(mine=mine).encode(), values or None).fetchall()
        found[name] = sorted(str(row) for row in rows)
    return found


def contested_facts(market: Market, contested: Sequence[str]) -> Json:
    """What is the same whoever came first."""
    mine = list(contested)
    return {
        "orders": Counter(row["s"] for row in market.rows(
            "select status || coalesce(status_reason, '') as s from public.orders where id = any(%s::uuid[])", mine)),
        "refunds": market.one(
            "select count(*) from public.refunds as r join public.payments as p on p.id = r.payment_id "
            "where p.order_id = any(%s::uuid[])", mine),
        "sales": market.one(
            "select count(*) from public.transactions as t join public.order_items as i on i.id = t.order_item_id "
            "where i.order_id = any(%s::uuid[])", mine),
    }  # fmt: skip


@contextmanager
def copy_of(config: pytest.Config, source: Database, name: str) -> Iterator[Database]:
    """The same rows with the same ids once more."""
    server = server_of(config)
    server.cluster.create_database(name, source.name)
    try:
        yield Database(source.cluster, name)
    finally:
        server.drop_database(name)


def work_and_die(database: Database, groups: Sequence[Sequence[int]]) -> int:
    """work(), with one backend killed in the middle of a group: its goods are delivered, its sales not booked."""
    with database.connect(SUPERUSER) as connection, ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("lock table ledger.entries in share mode")
            jobs = pool.submit(work, database, groups)
            until(
                lambda: connection.execute(
                    # Nobody but workers is here, and groups come first.
                    "select pg_terminate_backend(pid) from pg_locks "
                    "where not granted and relation = 'ledger.entries'::regclass limit 1"
                ).fetchone(),
                "a worker to be about to book",
                15,
            )
        return jobs.result(timeout=120)


@pytest.mark.timeout(600)
def test_any_grouping_and_order_leaves_the_same_rows(pytestconfig: pytest.Config, database: Database) -> None:
    """Hundreds of events, one by one in their order, and in groups as they come with workers that die."""
    rng = random.Random(20)
    with database.connect(SUPERUSER) as connection:
        market = Market(connection)
        market.rows("update private.settings set holds_per_account = 1000")
        market.make_kinds()
        world = World(market, rng)
        world.build()
        world.poison()
        contested = world.contested
        market.rows("analyze")
        events = [row["id"] for row in market.rows(PENDING)]
    assert len(events) == EVENTS
    with copy_of(pytestconfig, database, "one_by_one") as copy, copy.connect(SUPERUSER) as connection:
        market = Market(connection)
        for event in events:
            market.process(event)
        finish(market)
        expected, facts = dump(market, contested), contested_facts(market, contested)
    assert facts == {"orders": {"completed": 2, "cancelleditem_not_available": 1}, "refunds": 1, "sales": 2}
    rng.shuffle(events)
    groups = []
    while events:
        size = rng.choice([1, 2, 7, 16, 40, 100])
        groups.append(events[:size])
        events = events[size:]
    with committing(database) as market:
        # A big group in each part, for the kill to interrupt.
        groups.sort(key=len, reverse=True)
        parts = [groups[no :: KILLS + 1] for no in range(KILLS + 1)]
        assert [work_and_die(database, part) for part in parts[:KILLS]] == [1] * KILLS
        assert work(database, parts[KILLS]) == 0
        together = market.one(
            "select count(*) from (select count(*) as n from private.webhook_events where status = 'processed' "
            "group by processed_at having count(*) > 1) as g"
        )
        assert together > 10
        finish(market)
        assert contested_facts(market, contested) == facts
        actual = dump(market, contested)
    different = {
        table: (list(Counter(rows) - Counter(actual[table])), list(Counter(actual[table]) - Counter(rows)))
        for table, rows in expected.items()
        if rows != actual[table]
    }
    assert different == {}


# -- rows that somebody holds -----------------------------------------------------------------------------------------


def sale(market: Market, buyer: str, *items: str | Json) -> Json:
    """An order at the provider's form, told to have succeeded; checkout's answer and `event`."""
    order = market.checkout(buyer, *items)
    market.start(buyer, order["payment_id"])
    order["event"] = market.store("payment_intent.succeeded", market.intent(order["payment_id"]))
    return order


def statuses(market: Market, *orders: Json) -> list[str]:
    """What became of the orders."""
    return [market.status("orders", order["order_id"]) for order in orders]


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits, with right books and without a deadlock at its end."""
    with committing(database) as market:
        market.rows("update private.settings set holds_per_account = 1000")
        yield market


HELD = {
    "payment": "select from public.payments where order_id = %(order)s for update",
    "order": "select from public.orders where id = %(order)s for update",
    "wallet": "select from public.wallets where user_id = %(seller)s for update",
    "product": "select from public.catalog_items where id = %(item)s for update",
    "copies": "select from public.catalog_items where id = %(item)s for update",
    "artwork": "select from public.artworks where id = %(item)s for update",
    "cart": "select from public.cart_items where user_id = %(buyer)s for update",
    "buyer": "select from public.profiles where id = %(buyer)s for update",
}


@pytest.mark.parametrize("what", HELD)
def test_a_row_somebody_holds_delays_its_own_event_only(database: Database, market: Market, what: str) -> None:
    sellers = [market.sign_up() for _ in range(3)]
    buyer, crowd = market.sign_up(), [market.sign_up() for _ in range(8)]
    if what == "copies":
        item = market.edition(sellers[0], 3000, 5)[0]
    else:
        item = (market.artwork if what == "artwork" else market.product)(sellers[0], 3000)
    others = [market.product(seller, 2000) for seller in sellers[1:]]
    market.member(buyer, "insert into public.cart_items (item_id) values (%s)", item)
    held = sale(market, buyer, item)
    free = [sale(market, person, others[no % 2]) for no, person in enumerate(crowd)]
    events = [order["event"] for order in (*free[:3], held, *free[3:])]
    names = {"order": held["order_id"], "seller": sellers[0], "item": item, "buyer": buyer}
    with database.connect(SUPERUSER) as blocker, blocker.transaction():
        blocker.execute(HELD[what].encode(), names)
        # Comes to its end while the row is held.
        assert work(database, [events]) == 0
        assert statuses(market, *free) == ["completed"] * len(free)
        assert statuses(market, held) == ["pending"]
    # It is not forgotten, and nothing is held against it.
    waiting = {"status": "pending", "attempts": 0}
    assert (
        market.row("select status::text, attempts from private.webhook_events where id = %s", held["event"]) == waiting
    )
    assert market.one(
        "select count(*) from jobs.procrastinate_jobs "
        "where task_name = 'process_events' and args -> 'ids' = to_jsonb(%s::bigint[])",
        [held["event"]],
    )
    work(database, [[held["event"]]])
    assert statuses(market, held) == ["completed"]


def test_what_a_group_shares_with_what_is_held_settles_too(database: Database, market: Market) -> None:
    """Those of one seller whose wallet is kept wait; a payee who is not the seller counts as well."""
    market.make_kinds()
    sellers = [market.sign_up() for _ in range(3)]
    shared = market.good(sellers[1], 1000, payees=[[sellers[1], 6000], [sellers[0], 4000]], is_repeatable=True)
    alone = market.good(sellers[1], 1000, is_repeatable=True)
    kept = [sale(market, market.sign_up(), shared) for _ in range(3)]
    free = [sale(market, market.sign_up(), alone) for _ in range(3)]
    with database.connect(SUPERUSER) as blocker, blocker.transaction():
        blocker.execute("select from public.wallets where user_id = %s for update", (sellers[0],))
        work(database, [[order["event"] for order in (*kept, *free)]])
        assert statuses(market, *free, *kept) == ["completed"] * 3 + ["pending"] * 3
    work(database, [[order["event"]] for order in kept])
    assert statuses(market, *kept) == ["completed"] * 3


# -- workers that fail ------------------------------------------------------------------------------------------------


def test_a_killed_worker_loses_and_doubles_nothing(database: Database, market: Market) -> None:
    seller = market.sign_up()
    item = market.product(seller, 1000)
    orders = [sale(market, market.sign_up(), item) for _ in range(8)]
    events = [order["event"] for order in orders]
    with database.connect(SUPERUSER) as watcher:
        with database.connect("avenue_worker") as victim, watcher.transaction():
            watcher.execute("lock table ledger.entries in share mode")
            victim.pgconn.send_query_params(
                b"select private.settle_batch($1)", [f"{{{','.join(map(str, events))}}}".encode()]
            )
            until(
                lambda: watcher.execute(
                    "select pg_terminate_backend(pid) from pg_locks where pid = %s and not granted",
                    (victim.info.backend_pid,),
                ).fetchone(),
                "the worker to be about to book",
            )
            while (result := victim.pgconn.get_result()) is not None:
                assert result.status == psycopg.pq.ExecStatus.FATAL_ERROR
        assert statuses(market, *orders) == ["pending"] * 8
        assert market.wallet(seller) == (0, 0, 0)
        assert market.one("select count(*) from public.purchases where item_id = %s", item) == 0
    # Both workers get all of them.
    assert work(database, [events, events[::-1]], workers=2) == 0
    assert statuses(market, *orders) == ["completed"] * 8
    assert market.one("select count(*) from public.purchases where item_id = %s", item) == 8
    earned = market.one("select sum(amount_seller_cents)::int from public.transactions where seller_id = %s", seller)
    assert market.wallet(seller) == (0, earned, 0)


def test_opposite_orders_with_poisoned_events_do_not_deadlock(database: Database, market: Market) -> None:
    """What failed keeps nothing while its parts are tried: two workers cross each other over the same sellers."""
    if not market.one("select to_regclass('public.poisoned') is not null"):
        market.connection.execute(POISON.encode())
    sellers = [market.sign_up() for _ in range(6)]
    items = [market.edition(seller, 3000, 200)[0] for seller in sellers]
    groups: list[list[int]] = []
    poisoned = []
    for no in range(12):
        orders = [sale(market, market.sign_up(), item) for item in (items if no % 2 else items[::-1])]
        bad = orders[no % 6]
        market.rows("insert into public.poisoned (id) values (%s)", bad["order_id"])
        poisoned.append(bad)
        groups.append([order["event"] for order in orders])
    assert work(database, groups, workers=2) == 0
    assert (
        market.one(
            "select count(*) from private.webhook_events where id = any(%s) and status = 'processed'",
            [event for group in groups for event in group],
        )
        == 12 * 5
    )
    assert statuses(market, *poisoned) == ["pending"] * 12
    market.rows("delete from public.poisoned")
    work(database, [[order["event"] for order in poisoned]])
    assert statuses(market, *poisoned) == ["completed"] * 12
