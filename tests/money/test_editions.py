"""Many buyers of few things, on connections of their own: no copy twice, no orphan money, nobody waits in a circle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from stack.cluster import SUPERUSER
from tests.harness.server import Database
from tests.money.market import Json, Market, number
from tests.money.races import Job, background, committing, crowd, held_wallet, together

REFUSED = {"item_reserved", "item_sold"}


@pytest.fixture(scope="module", autouse=True)
def kinds(database: Database) -> None:
    """Kinds of goods that can do everything."""
    with database.connect(SUPERUSER) as connection:
        Market(connection).make_kinds()


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits."""
    with committing(database) as market:
        yield market


@contextmanager
def held(database: Database, table: str, id_: str) -> Iterator[psycopg.Connection[Any]]:
    """Whoever changes this row waits until the block ends."""
    with database.connect(SUPERUSER) as blocker, blocker.transaction():
        blocker.execute(f"select from {table} where id = %s for no key update".encode(), (id_,))
        yield blocker


def no_orphans(market: Market, item: str) -> None:
    """Every payment of it that arrived was for a copy that is somebody's, or is on its way back in full."""
    payments = market.rows(
        "select p.*, o.status::text as order_status from public.payments as p "
        "join public.orders as o on o.id = p.order_id "
        "where exists (select from public.order_items as i where i.order_id = o.id and i.item_id = %s)",
        item,
    )
    for payment in payments:
        rights = market.one(
            "select count(*) from public.purchases as p join public.order_items as i on i.id = p.order_item_id "
            "where i.order_id = %s and p.revoked_at is null",
            payment["order_id"],
        )
        refunds = market.one(
            "select coalesce(sum(amount_cents), 0)::integer from public.refunds where payment_id = %s", payment["id"]
        )
        if payment["succeeded_at"] is None:
            assert (rights, refunds) == (0, 0)
        else:
            assert (rights, refunds) in ((1, 0), (0, payment["amount_cents"])), payment
    assert market.one("select count(*) from private.webhook_events where status <> 'processed'") == 0


# -- 200 buyers of 50 copies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["stripe", "wallet"])
def test_two_hundred_buyers_of_fifty_copies(database: Database, market: Market, provider: str) -> None:
    seller, buyers = market.sign_up("standard"), [market.sign_up() for _ in range(200)]
    item, _ = market.edition(seller, 2000, 50)
    if provider == "wallet":
        for buyer in buyers:
            market.rows(
                "select ledger.post('adjustment', gen_random_uuid()::text, array[ledger.leg(%s, 'available', 2000), "
                "ledger.leg(null, 'promotions', -2000)], null, 'USD', 'goodwill')",
                buyer,
            )

    def attempt(buyer: str) -> Job:
        def job(market: Market) -> str:
            order = market.checkout(buyer, item, provider=provider)
            if provider == "stripe":
                market.start(buyer, order["payment_id"])
                assert market.succeed(order["payment_id"]) == "processed"
            return "bought"

        return job

    results = Counter(crowd(database, [attempt(buyer) for buyer in buyers]))
    assert results.keys() <= REFUSED | {"bought"}
    assert results["bought"] == 50
    assert market.numbers(item) == list(range(1, 51))
    assert sum(market.owns(buyer, item) for buyer in buyers) == 50
    assert market.wallet(seller) == (0, 50 * (1312 if provider == "stripe" else 1400), 0)
    assert not market.listed(item)
    no_orphans(market, item)


def test_a_third_of_the_payments_fails_or_comes_late(database: Database, market: Market) -> None:
    """Whoever is refused tries again while there is hope; money for given up attempts arrives in between."""
    seller, buyers = market.sign_up("standard"), [market.sign_up() for _ in range(200)]
    item, series = market.edition(seller, 2000, 50, AP=5)
    late: list[str] = []

    def attempt(no: int, buyer: str) -> Job:
        def job(market: Market) -> str:
            option = series["AP"] if no % 20 == 7 else None
            order = market.checkout(buyer, {"item_id": item, "option_id": option})
            market.start(buyer, order["payment_id"])
            if no % 6 == 0:
                market.decline(order["payment_id"], f"ch_{number()}")
                market.cancel(order["payment_id"])
                return "failed"
            if no % 6 == 1:
                market.cancel(order["payment_id"])
                late.append(order["payment_id"])
                return "late"
            assert market.succeed(order["payment_id"]) == "processed"
            return "bought"

        return job

    def money_comes_late(market: Market) -> str:
        while late:
            try:
                assert market.succeed(late.pop()) == "processed"
            except IndexError:
                break
        return "came late"

    waiting = list(enumerate(buyers))
    seen: Counter[str] = Counter()
    for round_ in range(20):
        jobs = [attempt(no + round_, buyer) for no, buyer in waiting]
        # What is late meets what is just being bought.
        results = crowd(database, [*jobs[:40], *[money_comes_late] * 2, *jobs[40:]])
        results = results[:40] + results[40 + 2 if len(jobs) > 40 else len(jobs) + 2 :]
        seen += Counter(results)
        waiting = [who for who, result in zip(waiting, results, strict=False) if result != "bought"]
        if not market.listed(item) and not late:
            break
    assert seen.keys() <= REFUSED | {"bought", "failed", "late", "came late"}, seen
    assert seen["failed"] > 0
    assert seen["late"] > 0
    assert market.numbers(item) == list(range(1, 51))
    assert market.numbers(item, series["AP"]) == list(range(1, 6))
    assert market.one("select taken from public.catalog_items where id = %s", item) == 55
    assert market.wallet(seller) == (0, 55 * 1312, 0)
    no_orphans(market, item)


def test_copies_come_back_while_others_are_sold(database: Database, market: Market) -> None:
    """Refunds and sales of the last copies at once: what is free is sold, no number twice, nothing lost."""
    seller, admin = market.sign_up("standard"), market.sign_up(role="admin")
    item, _ = market.edition(seller, 2000, 10)
    lines = [market.line(market.buy(market.sign_up(), item)["order_id"]) for _ in range(10)]

    def give_back(line: str) -> Job:
        def job(market: Market) -> str:
            market.refund(admin, line)
            return "refunded"

        return job

    def attempt(buyer: str) -> Job:
        def job(market: Market) -> str:
            market.buy(buyer, item)
            return "bought"

        return job

    buyers = [market.sign_up() for _ in range(30)]
    jobs = [
        job for pair in zip([give_back(line) for line in lines], map(attempt, buyers[:10]), strict=True) for job in pair
    ]
    results = Counter(crowd(database, [*jobs, *map(attempt, buyers[10:])]))
    assert results["refunded"] == 10
    assert results.keys() <= REFUSED | {"bought", "refunded"}
    copies = market.numbers(item)
    assert len(copies) == results["bought"] == len(set(copies))
    assert set(copies) <= set(range(1, 11))
    for buyer in [market.sign_up() for _ in range(10 - len(copies))]:
        market.buy(buyer, item)
    assert market.numbers(item) == list(range(1, 11))


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
def test_exclusive_and_other_licences_at_once(database: Database, market: Market, late: bool) -> None:
    """One exclusive licence, or others: never an exclusive one beside one that was sold after it."""
    for _ in range(3):
        seller = market.sign_up()
        item = market.product(seller, 1000)
        options = [None, *(market.license(seller, item, 3000, name) for name in ("commercial", "exclusive"))]
        wanted = [(market.sign_up(), options[no % 3]) for no in range(15)]
        orders: list[Json] = []
        if late:
            for buyer, option in wanted:
                orders.append(market.checkout(buyer, {"item_id": item, "option_id": option}))
                market.start(buyer, orders[-1]["payment_id"])
                market.cancel(orders[-1]["payment_id"])

        def attempt(no: int, buyer: str, option: str | None, item: str = item, orders: list[Json] = orders) -> Job:
            def job(market: Market) -> str:
                if orders:
                    market.succeed(orders[no]["payment_id"])
                    return market.status("orders", orders[no]["order_id"])
                market.buy(buyer, {"item_id": item, "option_id": option})
                return "completed"

            return job

        results = together(database, [attempt(no, buyer, option) for no, (buyer, option) in enumerate(wanted)])
        assert set(results) <= REFUSED | {"completed", "cancelled"}
        sold = market.rows(
            "select option_id::text, purchased_at from public.purchases where item_id = %s "
            "and revoked_at is null order by purchased_at",
            item,
        )
        exclusive = [row for row in sold if row["option_id"] == options[2]]
        assert len(exclusive) <= 1
        assert len(sold) == results.count("completed") >= 1
        if exclusive:
            assert not market.listed(item)
            no_orphans(market, item)


def test_one_agreement_in_many_tabs(database: Database, market: Market) -> None:
    """Paid in all of them at once: one sale, and everything else goes back."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    payable = market.agree(seller, buyer, 2000)
    payments = []
    for _ in range(8):
        order = market.pay_agreed(buyer, payable)
        market.start(buyer, order["payment_id"])
        payments.append(order["payment_id"])
    jobs: list[Job] = [lambda market, payment=payment: market.succeed(payment) for payment in payments]
    jobs += [lambda market: market.pay_agreed(buyer, payable)["status"]] * 4
    jobs += [lambda market: market.one("select private.end_payable(%s, 'withdrawn')", payable)] * 2
    results = Counter(map(str, together(database, jobs)))
    assert results["processed"] == 8
    assert results.keys() <= {"processed", "pending", "payable_not_open", "False"}
    assert market.status("payables", payable) == "paid"
    assert market.wallet(seller) == (0, 1312, 0)
    refunds = market.one(
        "select count(*) from public.refunds where payment_id = any (%s::uuid[]) and amount_cents = 2000", payments
    )
    assert refunds == 7


def test_an_ended_agreement_and_its_late_money(database: Database, market: Market) -> None:
    """Withdrawn or paid, never both."""
    for _ in range(10):
        seller, buyer = market.sign_up(), market.sign_up()
        payable = market.agree(seller, buyer, 2000)
        payment = market.pay_agreed(buyer, payable)["payment_id"]
        market.start(buyer, payment)
        market.cancel(payment)

        def settle(market: Market, payment: str = payment) -> str:
            return market.succeed(payment)

        def withdraw(market: Market, payable: str = payable) -> bool:
            return bool(market.one("select private.end_payable(%s, 'withdrawn')", payable))

        processed, withdrawn = together(database, [settle, withdraw])
        assert processed == "processed"
        assert market.status("payables", payable) == ("withdrawn" if withdrawn else "paid")
        assert market.wallet(seller)[1] == (0 if withdrawn else 1112)


def test_late_money_waits_for_whoever_is_just_ending_the_agreement(database: Database, market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    payable = market.agree(seller, buyer, 2000)
    payment = market.pay_agreed(buyer, payable)["payment_id"]
    market.start(buyer, payment)
    market.cancel(payment)
    with background(database, 1) as (settling,):
        with database.connect(SUPERUSER) as blocker, blocker.transaction():
            blocker.execute("select private.end_payable(%s, 'withdrawn')", (payable,))
            settling.begin(market.connection, lambda market: market.succeed(payment))
        assert settling.end() == "processed"
    assert market.status("payables", payable) == "withdrawn"
    assert market.status("orders", market.one("select order_id::text from public.payments where id = %s", payment)) == (
        "cancelled"
    )


def test_one_pack_of_the_platform_paid_twice_at_once(database: Database, market: Market) -> None:
    """Nobody earns it, so no wallet of a seller makes them take turns: its buyer's does."""
    pack = market.good(market.platform(), 2000, kind="pack")
    for _ in range(5):
        buyer = market.sign_up()
        market.fund(buyer, 2000)
        payments = []
        for _ in range(4):
            payments.append(market.checkout(buyer, pack)["payment_id"])
            market.start(buyer, payments[-1])
        jobs: list[Job] = [lambda market, payment=payment: market.succeed(payment) for payment in payments]
        jobs.append(lambda market, buyer=buyer: market.checkout(buyer, pack, provider="wallet")["status"])
        *settled, paid = together(database, jobs)
        assert set(settled) == {"processed"}
        assert paid in ("completed", "already_owned", "item_not_available")
        states = Counter(
            row["status"] for row in market.rows("select status from public.orders where user_id = %s", buyer)
        )
        assert states["completed"] == 1
        assert market.one("select count(*) from public.purchases where owner_id = %s", buyer) == 1


# -- orders of locks that would meet in a circle ----------------------------------------------------------------------


@pytest.mark.parametrize("round_", range(5))
def test_a_settlement_and_a_wallet_that_buys_the_same(database: Database, market: Market, round_: int) -> None:
    """The item comes before the seller's wallet, for both."""
    seller, one, other = market.sign_up(), market.sign_up(), market.sign_up()
    market.fund(other, 2000)
    item = market.good(seller, 2000, stock=5)
    payment = market.checkout(one, item)["payment_id"]
    market.start(one, payment)
    with background(database, 2) as (settling, paying):
        with held(database, "public.catalog_items", item) if round_ else held_wallet(database, seller):
            paying.begin(market.connection, lambda market: market.checkout(other, item, provider="wallet")["status"])
            settling.begin(market.connection, lambda market: market.succeed(payment))
        assert (settling.end(), paying.end()) == ("processed", "completed")
    assert market.one("select taken from public.catalog_items where id = %s", item) == 2


@pytest.mark.parametrize("round_", range(5))
def test_a_refund_and_a_wallet_that_buys_the_same(database: Database, market: Market, round_: int) -> None:
    seller, buyer, admin = market.sign_up(), market.sign_up(), market.sign_up(role="admin")
    market.fund(buyer, 2000)
    item = market.good(seller, 2000, stock=5)
    line = market.line(market.buy(market.sign_up(), item)["order_id"])
    with background(database, 2) as (refunding, paying):
        with held(database, "public.catalog_items", item) if round_ else held_wallet(database, seller):
            paying.begin(market.connection, lambda market: market.checkout(buyer, item, provider="wallet")["status"])
            refunding.begin(market.connection, lambda market: market.refund(admin, line)["status"])
        assert (refunding.end(), paying.end()) == ("succeeded", "completed")
    assert market.one("select taken from public.catalog_items where id = %s", item) == 1


@pytest.mark.parametrize("copies", [None, 3], ids=["one of a kind", "edition"])
def test_a_work_that_is_edited_while_it_is_sold(database: Database, market: Market, copies: int | None) -> None:
    """Its own row comes before its registry row, for its seller and for the sale."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.edition(seller, 2000, copies)[0] if copies else market.artwork(seller, 2000)
    payment = market.checkout(buyer, {"item_id": item, "quantity": copies or 1})["payment_id"]
    market.start(buyer, payment)
    edit = "update public.artworks set title = title || '.' where id = %s"
    with background(database, 2) as (settling, editing):
        with held(database, "public.catalog_items", item):
            settling.begin(market.connection, lambda market: market.succeed(payment))
            editing.begin(market.connection, lambda market: market.rows(edit, item))
        assert (settling.end(), editing.end()) == ("processed", [])
    assert market.status("artworks", item) == "sold"
    # And when it comes back.
    line = market.one("select id::text from public.order_items where item_id = %s", item)
    with background(database, 2) as (refunding, editing):
        with held(database, "public.catalog_items", item):
            refunding.begin(market.connection, lambda market: market.refund(seller, line)["status"])
            editing.begin(market.connection, lambda market: market.rows(edit, item))
        assert (refunding.end(), editing.end()) == ("succeeded", [])
    assert market.status("artworks", item) == "published"


def test_an_older_attempt_at_an_agreement_settles_while_a_newer_one_is_made(database: Database, market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    payable = market.agree(seller, buyer, 2000)
    payment = market.pay_agreed(buyer, payable)["payment_id"]
    market.start(buyer, payment)
    with background(database, 2) as (settling, paying):
        with held(database, "public.payables", payable):
            settling.begin(market.connection, lambda market: market.succeed(payment))
            paying.begin(market.connection, lambda market: market.pay_agreed(buyer, payable)["status"])
        assert settling.end() == "processed"
        assert paying.end() in ("payable_not_open", "pending")
    assert market.status("payables", payable) == "paid"


def test_an_agreement_that_comes_back_while_late_money_for_it_arrives(database: Database, market: Market) -> None:
    seller, buyer, admin = market.sign_up(), market.sign_up(), market.sign_up(role="admin")
    payable = market.agree(seller, buyer, 2000)
    payments = []
    for _ in range(2):
        order = market.pay_agreed(buyer, payable)
        market.start(buyer, order["payment_id"])
        payments.append(order["payment_id"])
    assert market.succeed(payments[1]) == "processed"
    line = market.one("select id::text from public.order_items where order_id = %s", order["order_id"])
    with background(database, 2) as (settling, refunding):
        with held_wallet(database, seller):
            refunding.begin(market.connection, lambda market: market.refund(admin, line)["status"])
            settling.begin(market.connection, lambda market: market.succeed(payments[0]))
        assert (settling.end(), refunding.end()) == ("processed", "succeeded")
    assert market.status("payables", payable) == "returned"


def test_carts_of_several_copies_that_replace_earlier_ones(database: Database, market: Market) -> None:
    """Each gives something back and takes something else, in every order."""
    seller = market.sign_up()
    market.rows("update private.settings set holds_per_account = 100, hold_pause = '0'")
    items = [market.edition(seller, 2000, 1000)[0] for _ in range(4)]
    buyers = [market.sign_up() for _ in range(8)]

    def restless(no: int, buyer: str) -> Job:
        def job(market: Market) -> set[str]:
            seen = set()
            for step in range(12):
                wanted = items[(no + step) % 4 :] + items[: (no + step) % 4]
                lines = [{"item_id": item, "quantity": 1 + (no + step + at) % 3} for at, item in enumerate(wanted[:3])]
                order = market.checkout(buyer, *lines[:: 1 if no % 2 else -1])
                seen.add(order["status"])
                if step % 3 == 1:
                    market.rows("update public.payments set expires_at = now() where id = %s", order["payment_id"])
                    market.worker("select private.expire_unstarted_payments(5)")
            return seen

        return job

    results = together(database, [restless(no, buyer) for no, buyer in enumerate(buyers)])
    assert results == [{"pending"}] * 8
    market.rows("update private.settings set holds_per_account = default, hold_pause = default")


def test_sweeps_beside_carts_and_settlements(database: Database, market: Market) -> None:
    """Attempts that ran out end in bulk, while others buy the same copies; then everything is free again."""
    seller = market.sign_up()
    market.rows("update private.settings set holds_per_account = 100, hold_pause = '0'")
    items = [market.edition(seller, 500, 200)[0] for _ in range(6)]
    for no in range(40):
        order = market.checkout(market.sign_up(), *(items[no % 6 :] + items[: no % 6])[:3])
        market.rows("update public.payments set expires_at = now() where id = %s", order["payment_id"])

    def sweep(market: Market) -> set[str]:
        while market.worker("select private.expire_unstarted_payments(7)"):
            pass
        return set()

    def shop(no: int) -> Job:
        buyer = market.sign_up()

        def job(market: Market) -> set[str]:
            wanted = items[no:] + items[:no]
            return {str(market.buy(buyer, *wanted[:3])["status"]), str(market.buy(buyer, *wanted[3:][::-1])["status"])}

        return job

    assert set().union(*together(database, [sweep, sweep, sweep, *(shop(no) for no in range(6))])) == {"pending"}
    assert market.one("select sum(taken)::integer from public.catalog_items where id = any (%s::uuid[])", items) == 36
    market.rows("update private.settings set holds_per_account = default, hold_pause = default")


def test_everything_of_one_edition_at_once(database: Database, market: Market) -> None:
    """Cards, wallets, refunds, failed refunds, fees, releases, edits, removals: 60 hands on one edition."""
    seller, admin = market.sign_up("standard"), market.sign_up(role="admin")
    item, series = market.edition(seller, 2000, 30, AP=10)
    sold = [market.buy(market.sign_up(), item) for _ in range(12)]
    buyers = [market.sign_up() for _ in range(24)]
    for buyer in buyers[::2]:
        market.fund(buyer, 2000)

    def shop(no: int, buyer: str) -> Job:
        line = {"item_id": item, "option_id": series["AP"] if no % 4 == 3 else None}

        def job(market: Market) -> str:
            if no % 2:
                return str(market.buy(buyer, line)["status"])
            return str(market.checkout(buyer, line, provider="wallet")["status"])

        return job

    def give_back(order: Json, no: int) -> Job:
        def job(market: Market) -> str:
            refund = market.refund(admin, market.line(order["order_id"]))
            if no % 2:
                market.refund_arrives(refund["id"], "failed")
            return "refunded"

        return job

    def fee(order: Json) -> Job:
        return lambda market: market.fee(order["payment_id"], 90)

    def release(market: Market) -> None:
        for _ in range(5):
            market.mature()
            market.release()

    def edit(market: Market) -> None:
        for no in range(10):
            market.member(seller, "update public.artworks set title = %s where id = %s", f"Edition no. {no}", item)

    def remove(market: Market) -> None:
        market.rows("select private.revoke_line(%s, 'removed')", market.line(sold[11]["order_id"]))

    jobs = [shop(no, buyer) for no, buyer in enumerate(buyers)]
    jobs += [give_back(order, no) for no, order in enumerate(sold[:8])]
    jobs += [fee(order) for order in sold[4:10]]
    jobs += [release, release, edit, remove]
    results = Counter(map(str, together(database, jobs)))
    assert results.keys() <= {"pending", "completed", "refunded", "None", *REFUSED}, results
    assert results["refunded"] == 8
    numbers = market.numbers(item)
    assert len(numbers) == len(set(numbers)) <= 30


# -- sellers meanwhile ------------------------------------------------------------------------------------------------


def test_a_series_that_changes_while_it_is_sold(database: Database, market: Market) -> None:
    """Its seller takes the work before the series, as those do who buy: nobody waits in a circle."""
    seller = market.sign_up()
    item, series = market.edition(seller, 3000, 20, AP=40)

    def buy(buyer: str) -> Job:
        return lambda market: market.checkout(buyer, {"item_id": item, "option_id": series["AP"]})["status"]

    def change(stock: int) -> Job:
        query = "update public.catalog_options set stock = %s where id = %s returning stock"
        return lambda market: market.member(seller, query, stock, series["AP"])[0]["stock"]

    jobs = [job for no in range(25) for job in (buy(market.sign_up()), change(39 - no % 5))]
    results = Counter(crowd(database, jobs))
    assert results["pending"] == 25
    assert results.keys() <= {"pending", "edition_fixed", 35, 36, 37, 38, 39}
    assert market.one("select taken from public.catalog_options where id = %s", series["AP"]) == 25


def test_what_comes_back_while_its_refund_arrives(database: Database, market: Market) -> None:
    """Whoever is first: the refund is booked, and the piece is with its seller again."""

    def confirm(seller: str, line: str) -> Job:
        return lambda market: market.rpc(seller, "confirm_return", order_item_id=line)

    def arrive(refund: str) -> Job:
        return lambda market: market.refund_arrives(refund)

    for _ in range(8):
        seller, buyer = market.sign_up(), market.sign_up()
        market.member(seller, "insert into public.shipping_rates (name, price_cents) values ('Everywhere', 700)")
        item = market.artwork(seller, 2000, is_physical=True)
        order = market.checkout(buyer, item, country="US")
        market.start(buyer, order["payment_id"])
        assert market.succeed(order["payment_id"]) == "processed"
        line = market.line(order["order_id"])
        market.rpc(seller, "ship_line", order_item_id=line)
        refund = market.request_refund(seller, line)["id"]
        jobs = [confirm(seller, line), arrive(refund)]
        assert not any(together(database, jobs))
        assert market.status("artworks", item) in ("archived", "published")
        assert market.status("orders", order["order_id"]) == "refunded"
