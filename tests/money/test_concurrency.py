"""Many connections at once on the same rows: one winner, no lost cent, and nobody waits in a circle."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from stack.cluster import SUPERUSER
from tests.harness.server import Database
from tests.money.market import Json, Market, code_of
from tests.money.races import Job, background, committing, held_wallet, together, wait_for_lock


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits."""
    with committing(database) as market:
        yield market


# -- one piece, many buyers -------------------------------------------------------------------------------------------


def test_fifty_buyers_of_one_artwork_by_card(database: Database, market: Market) -> None:
    seller, buyers = market.sign_up("standard"), [market.sign_up() for _ in range(50)]
    item = market.artwork(seller, 500000)

    def attempt(buyer: str) -> Job:
        def job(market: Market) -> str:
            order = market.checkout(buyer, item)
            market.start(buyer, order["payment_id"])
            return market.succeed(order["payment_id"])

        return job

    results = Counter(together(database, [attempt(buyer) for buyer in buyers]))
    assert results["processed"] == 1
    assert results.keys() <= {"processed", "item_reserved", "item_sold"}
    assert sum(market.owns(buyer, item) for buyer in buyers) == 1
    assert market.one("select count(*) from public.payments where amount_cents = 500000") == 1
    assert market.wallet(seller)[1] == 335470


def test_fifty_wallets_and_one_artwork(database: Database, market: Market) -> None:
    seller, buyers = market.sign_up("standard"), [market.sign_up() for _ in range(50)]
    item = market.artwork(seller, 2000)
    for buyer in buyers:
        market.fund(buyer, 2000)

    def attempt(buyer: str) -> Job:
        return lambda market: market.checkout(buyer, item, provider="wallet")["status"]

    results = Counter(together(database, [attempt(buyer) for buyer in buyers]))
    assert results["completed"] == 1
    assert results.keys() <= {"completed", "item_reserved", "item_sold"}
    assert sum(market.wallet(buyer)[0] for buyer in buyers) == 49 * 2000
    assert market.wallet(seller) == (0, 1400, 0)


def test_all_pay_for_attempts_that_were_cancelled(database: Database, market: Market) -> None:
    """Sixteen late successes of one piece: one delivery, fifteen refunds, no orphan money."""
    seller = market.sign_up("standard")
    item = market.artwork(seller, 2000)
    late = []
    for _ in range(16):
        buyer = market.sign_up()
        order = market.checkout(buyer, item)
        market.start(buyer, order["payment_id"])
        market.cancel(order["payment_id"])
        late.append((buyer, order["payment_id"]))

    def attempt(payment: str) -> Job:
        return lambda market: market.succeed(payment)

    assert set(together(database, [attempt(payment) for _, payment in late])) == {"processed"}
    assert sum(market.owns(buyer, item) for buyer, _ in late) == 1
    refunds = market.rows(
        "select amount_cents from public.refunds where payment_id = any (%s::uuid[])", [payment for _, payment in late]
    )
    assert [row["amount_cents"] for row in refunds] == [2000] * 15
    assert market.wallet(seller) == (0, 1312, 0)


def test_two_carts_with_the_same_pieces_in_opposite_order(database: Database, market: Market) -> None:
    seller = market.sign_up()
    for round_ in range(5):
        buyers = [market.sign_up() for _ in range(8)]
        items = [market.artwork(seller, 1000) for _ in range(5)]  # as many as one may hold

        def attempt(buyer: str, lines: list[str]) -> Job:
            return lambda market: market.checkout(buyer, *lines)["status"]

        jobs = [attempt(buyer, items if no % 2 else items[::-1]) for no, buyer in enumerate(buyers)]
        results = Counter(together(database, jobs))
        assert results == {"pending": 1, "item_reserved": 7}, round_


def test_a_double_click_is_one_order(database: Database, market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 2000)

    def click(market: Market) -> str:
        return str(market.checkout(buyer, item, key="one click")["order_id"])

    assert len(set(together(database, [click] * 16))) == 1
    assert market.one("select count(*) from public.orders where user_id = %s", buyer) == 1


def test_many_tabs_of_one_buyer_leave_one_open_attempt(database: Database, market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 2000)
    together(database, [lambda market: market.checkout(buyer, item)["order_id"]] * 16)
    states = Counter(row["status"] for row in market.rows("select status from public.orders where user_id = %s", buyer))
    assert states == {"pending": 1, "cancelled": 15}
    assert market.one("select count(*) from private.holds where item_id = %s", item) == 1


def test_all_attempts_of_one_buyer_paid_at_once(database: Database, market: Market) -> None:
    """Eight unfinished attempts at one product, all of them paid in the same instant: one sale, seven refunds."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.product(seller, 2000)
    payments = []
    for _ in range(8):
        payments.append(market.checkout(buyer, item)["payment_id"])
        market.start(buyer, payments[-1])

    def attempt(payment: str) -> Job:
        return lambda market: market.succeed(payment)

    assert set(together(database, [attempt(payment) for payment in payments])) == {"processed"}
    assert market.wallet(seller) == (0, 1312, 0)
    states = Counter(row["status"] for row in market.rows("select status from public.orders where user_id = %s", buyer))
    assert states == {"completed": 1, "cancelled": 7}


def test_fifty_buyers_of_one_product(database: Database, market: Market) -> None:
    seller = market.sign_up("standard")
    item = market.product(seller, 2000)
    payments = []
    for _ in range(50):
        buyer = market.sign_up()
        order = market.checkout(buyer, item)
        market.start(buyer, order["payment_id"])
        payments.append(order["payment_id"])

    def attempt(payment: str) -> Job:
        return lambda market: market.succeed(payment)

    assert set(together(database, [attempt(payment) for payment in payments])) == {"processed"}
    assert market.one("select purchases_count from public.catalog_items where id = %s", item) == 50
    assert market.wallet(seller) == (0, 50 * 1312, 0)


# -- one wallet, many hands -------------------------------------------------------------------------------------------


def test_thirty_payout_requests_at_once(database: Database, market: Market) -> None:
    seller = market.sign_up()
    market.fund(seller, 12000)
    market.onboard(seller)
    results = Counter(
        "ok" if result != "payout_open" else result
        for result in together(database, [lambda market: market.request_payout(seller, 5000)] * 30)
    )
    assert results == {"ok": 1, "payout_open": 29}
    assert market.wallet(seller) == (7000, 0, 0)


def test_requesting_and_cancelling_payouts_never_overdraws(database: Database, market: Market) -> None:
    seller = market.sign_up()
    market.fund(seller, 7000)
    market.onboard(seller)

    def restless(market: Market) -> list[str | None]:
        seen: list[str | None] = []
        for _ in range(10):
            try:
                payout = market.request_payout(seller, 5000)
                market.rpc(seller, "cancel_payout", payout_id=payout)
                seen.append("cancelled")
            except psycopg.Error as error:
                seen.append(code_of(error))
        return seen

    results = together(database, [restless] * 8)
    assert {code for seen in results for code in seen} <= {"cancelled", "payout_open", "insufficient_funds"}
    assert market.wallet(seller) == (7000, 0, 0)


def test_a_worker_and_the_seller_race_for_a_payout(database: Database, market: Market) -> None:
    """Claimed or cancelled, never both."""
    for _ in range(10):
        seller = market.sign_up()
        market.fund(seller, 5000)
        market.onboard(seller)
        payout = market.request_payout(seller, 5000)

        def cancel(market: Market, seller: str = seller, payout: str = payout) -> str:
            return str(market.rpc(seller, "cancel_payout", payout_id=payout)["status"])

        def claim(market: Market, payout: str = payout) -> bool:
            return market.claim(payout) is not None

        cancelled, claimed = together(database, [cancel, claim])
        assert (cancelled == "cancelled") != claimed
        assert market.status("payouts", payout) == ("processing" if claimed else "cancelled")


def test_completion_and_failure_of_one_payout_at_once(database: Database, market: Market) -> None:
    seller = market.sign_up()
    market.fund(seller, 6000)
    market.onboard(seller)
    payout = market.request_payout(seller, 5000)
    market.claim(payout)
    jobs: list[Job] = [lambda market: market.complete(payout), lambda market: market.transfer(payout)] * 4
    jobs += [lambda market: market.fail(payout)] * 2
    assert set(together(database, jobs)) <= {None, "processed", "dead", "event_rejected"}
    # Completed, then failed: returned. Failed, then completed: an alert, and the money stays with the seller.
    assert market.status("payouts", payout) in ("returned", "failed")
    assert market.wallet(seller) == (6000, 0, 0)


def test_opposite_wallet_purchases(database: Database, market: Market) -> None:
    """A buys from B while B buys from A."""
    a, b = market.sign_up("standard"), market.sign_up("standard")
    for user in (a, b):
        market.fund(user, 50000)
    goods = {user: [market.product(user, 1000) for _ in range(10)] for user in (a, b)}

    def shop(buyer: str, items: list[str]) -> Job:
        return lambda market: [market.checkout(buyer, item, provider="wallet")["status"] for item in items]

    results = together(
        database, [shop(a, goods[b][:5]), shop(a, goods[b][5:]), shop(b, goods[a][:5]), shop(b, goods[a][5:])]
    )
    assert results == [["completed"] * 5] * 4
    for user in (a, b):
        assert market.wallet(user) == (40000, 7000, 0)


def test_wallet_carts_of_each_others_goods(database: Database, market: Market) -> None:
    """Six people, everybody buys from all others in one cart, twice at a time."""
    people = [market.sign_up("standard") for _ in range(6)]
    for person in people:
        market.fund(person, 100000)
    goods = {person: [market.product(person, 1000) for _ in range(3)] for person in people}

    def shop(buyer: str, no: int) -> Job:
        items = [goods[seller][no] for seller in people if seller != buyer]
        return lambda market: market.checkout(buyer, *items[:: 1 if no % 2 else -1], provider="wallet")["status"]

    results = together(database, [shop(person, no) for no in range(3) for person in people])
    assert results == ["completed"] * 18
    for person in people:
        assert market.wallet(person) == (100000 - 15000, 15 * 700, 0)


def test_one_wallet_spending_everywhere_at_once(database: Database, market: Market) -> None:
    buyer = market.sign_up()
    market.fund(buyer, 5500)
    items = [market.product(market.sign_up(), 1000) for _ in range(16)]

    def attempt(item: str) -> Job:
        return lambda market: market.checkout(buyer, item, provider="wallet")["status"]

    results = Counter(together(database, [attempt(item) for item in items]))
    assert results == {"completed": 5, "insufficient_funds": 11}
    assert market.wallet(buyer) == (500, 0, 0)


# -- the same events, many workers ------------------------------------------------------------------------------------


def test_sixteen_workers_process_the_same_events(database: Database, market: Market) -> None:
    seller = market.sign_up("standard")
    items = [market.product(seller, 2000) for _ in range(6)]
    events, payments = [], []
    for item in items:
        buyer = market.sign_up()
        order = market.checkout(buyer, item)
        market.start(buyer, order["payment_id"])
        payments.append(order["payment_id"])
        events += [
            market.store("payment_intent.succeeded", market.intent(order["payment_id"]), event_id)
            for event_id in (f"evt_{order['payment_id']}", f"evt_again_{order['payment_id']}")
        ]

    def work(no: int) -> Job:
        order = events[no % len(events) :] + events[: no % len(events)]
        return lambda market: {market.process(event) for event in order[:: 1 if no % 2 else -1]}

    results = together(database, [work(no) for no in range(16)])
    assert set().union(*results) == {"processed"}
    assert market.one("select count(*) from public.transactions where payment_id = any (%s::uuid[])", payments) == 6
    assert market.wallet(seller) == (0, 6 * 1312, 0)


def test_success_decline_and_refund_of_one_payment_at_once(database: Database, market: Market) -> None:
    """Whatever the order, the end is the same: the charge was declined, nothing was sold."""
    for _ in range(5):
        seller, buyer = market.sign_up("standard"), market.sign_up()
        item = market.artwork(seller, 2000)
        payment = market.checkout(buyer, item)["payment_id"]
        market.start(buyer, payment)

        def succeed(market: Market, payment: str = payment) -> str:
            return market.succeed(payment, charge=f"ch_{payment}")

        def decline(market: Market, payment: str = payment) -> str:
            return market.decline(payment, f"ch_{payment}")

        assert set(together(database, [succeed, decline, succeed, decline])) == {"processed"}
        assert market.status("payments", payment) == "refunded"
        assert not market.owns(buyer, item)
        assert market.wallet(seller) == (0, 0, 0)


def test_one_refund_reported_by_all_workers(database: Database, market: Market) -> None:
    seller = market.sign_up("standard")
    order = market.buy(market.sign_up(), market.product(seller, 2000))
    refund = market.request_refund(seller, market.line(order["order_id"]), 1000)
    together(
        database,
        [lambda market: market.worker("select private.record_refund(%s, 're_x', 'succeeded')", refund["id"])] * 8
        + [lambda market: market.provider_refund(order["payment_id"], 1000, ref="re_x", ours=refund["id"])] * 8,
    )
    assert market.one("select refunded_cents from public.payments where id = %s", order["payment_id"]) == 1000
    assert market.wallet(seller) == (0, 612, 0)


def test_refunds_asked_for_at_once_never_exceed_the_sale(database: Database, market: Market) -> None:
    seller, admin = market.sign_up("standard"), market.sign_up(role="admin")
    order = market.buy(market.sign_up(), market.product(seller, 2000))
    line = market.line(order["order_id"])
    results = Counter(
        result if isinstance(result, str) else "ok"
        for result in together(database, [lambda market: market.refund(admin, line, 700)] * 8)
    )
    assert results == {"ok": 2, "refund_amount_invalid": 6}


def test_one_refund_asked_for_by_many_clicks(database: Database, market: Market) -> None:
    seller = market.sign_up("standard")
    order = market.buy(market.sign_up(), market.product(seller, 2000))
    line = market.line(order["order_id"])
    refunds = together(database, [lambda market: market.request_refund(seller, line, 500, key="k")["id"]] * 8)
    assert len(set(refunds)) == 1


def test_a_seller_promises_back_only_what_there_is(database: Database, market: Market) -> None:
    """Eight sales, released and paid out but for one of them: one refund can be had, or a payout, or nothing else.

    A seller may owe no more than the fee that the provider keeps of one sale.
    """
    seller = market.sign_up("standard")
    market.onboard(seller)
    lines = [market.line(market.buy(market.sign_up(), market.product(seller, 10000))["order_id"]) for _ in range(8)]
    market.mature()
    market.release()
    earned = market.wallet(seller)[0] // 8
    payout = market.request_payout(seller, earned * 7)
    market.claim(payout)
    market.complete(payout)

    def ask(line: str) -> Job:
        return lambda market: market.request_refund(seller, line)["status"]

    jobs = [ask(line) for line in lines] + [lambda market: market.request_payout(seller, 5000)[:0] or "requested"] * 4
    fee = market.one("select amount_fees_cents from public.transactions where seller_id = %s limit 1", seller)
    database.run("update private.settings set seller_debt_cents = %s", fee)
    try:
        results = Counter(together(database, jobs))
    finally:
        database.run("update private.settings set seller_debt_cents = default")
    assert results["requested"] == 1, results
    assert results.keys() <= {"requested", "insufficient_funds", "payout_open"}


# -- refunds, releases, fees and payouts at once ----------------------------------------------------------------------


def test_refunds_race_releases_fees_and_payouts(database: Database, market: Market) -> None:
    sellers = [market.sign_up("standard") for _ in range(4)]
    admin = market.sign_up(role="admin")
    for seller in sellers:
        market.fund(seller, 6000)
        market.onboard(seller)
    orders = []
    for _ in range(12):
        buyer = market.sign_up()
        orders.append(market.buy(buyer, *(market.product(seller, 2000) for seller in sellers)))
    market.mature()

    def release(market: Market) -> list[str]:
        for _ in range(15):
            market.worker("select private.release_matured_earnings(3)")
        return []

    def refund(part: int) -> Job:
        def job(market: Market) -> list[str]:
            return [
                market.provider_refund(order["payment_id"], 1000, ref=f"re_race_{part}_{order['payment_id']}")
                for order in orders[:: 1 if part % 2 else -1]
            ]

        return job

    def line_refund(market: Market) -> list[str | None]:
        seen: list[str | None] = []
        for no, order in enumerate(orders):
            try:
                market.refund(admin, market.line(order["order_id"], no % 4 + 1), 500)
                seen.append("processed")
            except psycopg.Error as error:
                seen.append(code_of(error))
        return seen

    def fees(market: Market) -> list[str]:
        for order in orders:
            market.fee(order["payment_id"], 300)
        return []

    def pay_out(seller: str) -> Job:
        def job(market: Market) -> list[str | None]:
            seen: list[str | None] = []
            for no in range(6):
                try:
                    payout = market.request_payout(seller, 5000)
                    if no % 2:
                        market.rpc(seller, "cancel_payout", payout_id=payout)
                    elif market.claim(payout):
                        market.fail(payout)
                    seen.append("processed")
                except psycopg.Error as error:
                    seen.append(code_of(error))
            return seen

        return job

    jobs: list[Job] = [release, release, refund(0), refund(1), refund(2), line_refund, fees]
    results = together(database, [*jobs, *(pay_out(seller) for seller in sellers)])
    seen = {code for result in results for code in result}
    assert seen <= {"processed", "payout_open", "insufficient_funds", "payout_not_open"}, seen
    market.release()
    # Every cent: 6000 goodwill each, 12 sales each, refunds of 12 × (3 × 1000 + 500) over all.
    refunded = sum(row["refunded_cents"] for order in orders for row in market.sales(order["order_id"]))
    assert refunded == 12 * 3500


def test_bans_race_sales_and_releases(database: Database, market: Market) -> None:
    seller = market.sign_up("standard")
    items = [market.product(seller, 1000) for _ in range(4)] + [market.artwork(seller, 1000) for _ in range(4)]

    def toggle(market: Market) -> list[Json]:
        for _ in range(10):
            market.ban(seller)
            market.unban(seller)
        return []

    def shop(item: str) -> Job:
        def job(market: Market) -> list[str | None]:
            buyer, seen = market.sign_up(), []
            for _ in range(5):
                try:
                    seen.append(str(market.buy(buyer, item)["status"]))
                    break
                except psycopg.Error as error:
                    seen.append(code_of(error))
            return seen

        return job

    def release(market: Market) -> list[str]:
        for _ in range(10):
            market.mature()
            market.release()
        return []

    results = together(database, [toggle, release, *(shop(item) for item in items)])
    assert {code for seen in results for code in seen} <= {"pending", "item_not_available", "item_sold"}
    market.mature()
    market.release()
    assert market.wallet(seller)[1] == 0


# -- orders of locks that once met in a circle ------------------------------------------------------------------------


def test_a_newer_checkout_and_the_settlement_of_the_older_one(database: Database, market: Market) -> None:
    """The buyer checks out again in the instant the first attempt's money arrives."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.artwork(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    event = market.store("payment_intent.succeeded", market.intent(order["payment_id"]))
    with background(database, 2) as (settling, again):
        with held_wallet(database, seller) as blocker:
            settling.begin(blocker, lambda market: market.process(event))
            again.begin(blocker, lambda market: market.checkout(buyer, item)["status"])
        assert settling.end() == "processed"
        assert again.end() in ("already_owned", "item_sold")
    assert market.owns(buyer, item)


def test_a_late_success_and_a_wallet_checkout_of_the_same_piece(database: Database, market: Market) -> None:
    seller, late, buyer = market.sign_up("standard"), market.sign_up(), market.sign_up()
    market.fund(buyer, 2000)
    item = market.artwork(seller, 2000)
    order = market.checkout(late, item)
    market.start(late, order["payment_id"])
    market.cancel(order["payment_id"])
    event = market.store("payment_intent.succeeded", market.intent(order["payment_id"]))
    with background(database, 2) as (settling, paying):
        with held_wallet(database, seller) as blocker:
            settling.begin(blocker, lambda market: market.process(event))
            paying.begin(blocker, lambda market: market.checkout(buyer, item, provider="wallet")["status"])
        assert settling.end() == "processed"
        assert paying.end() in ("completed", "item_sold", "item_reserved")
    assert market.owns(late, item) != market.owns(buyer, item)


def test_taking_over_ones_own_pieces_while_another_wants_both(database: Database, market: Market) -> None:
    """A holds the second piece and now wants both; B is taking the first and wants both."""
    seller, a, b = market.sign_up(), market.sign_up(), market.sign_up()
    first, second = sorted(market.artwork(seller, 2000) for _ in range(2))
    market.checkout(a, second)
    with (
        database.connect(SUPERUSER) as blocker,
        background(database, 2) as (of_a, of_b),
    ):
        with blocker.transaction():
            # Whoever reserves the first piece waits for its row, in the order of arrival.
            blocker.execute("select from public.catalog_items where id = %s for update", (first,))
            of_b.begin(blocker, lambda market: market.checkout(b, first, second)["status"])
            of_a.begin(blocker, lambda market: market.checkout(a, first, second)["status"])
        ended = Counter([of_a.end(), of_b.end()])
    # Nobody waits for a piece that somebody is just taking: both may be refused, never both served. Whoever is refused
    # has lost nothing and can try again.
    assert ended in ({"pending": 1, "item_reserved": 1}, {"item_reserved": 2})
    if ended["pending"] == 0:
        assert market.checkout(a, first, second)["status"] == "pending"


# -- a worker that dies -----------------------------------------------------------------------------------------------


def test_21_a_killed_backend_leaves_the_event_as_it_was(database: Database, market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.artwork(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    event = market.store("payment_intent.succeeded", market.intent(order["payment_id"]))
    with database.connect("avenue_worker") as victim:
        pid = victim.info.backend_pid
        with held_wallet(database, seller) as blocker:
            victim.pgconn.send_query_params(b"select private.process_webhook_event($1)", [str(event).encode()])
            wait_for_lock(blocker, pid)
            blocker.execute("select pg_terminate_backend(%s)", (pid,))
        while (result := victim.pgconn.get_result()) is not None:
            assert result.status == psycopg.pq.ExecStatus.FATAL_ERROR
    row = market.row("select status::text, attempts from private.webhook_events where id = %s", event)
    assert row == {"status": "pending", "attempts": 0}
    assert market.status("payments", order["payment_id"]) == "requires_payment"
    assert market.process(event) == "processed"
    assert market.owns(buyer, item)


# -- prices and offers that move --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "name-your-price"])
def test_a_price_that_flips_while_people_check_out(database: Database, market: Market, fixed: bool) -> None:
    """A guard of 10.00 is never passed: whoever pays pays at most that, or hears price_changed."""
    seller = market.sign_up()
    item = market.product(seller, 1000, None if fixed else 500)
    buyers = [market.sign_up() for _ in range(24)]
    for buyer in buyers:
        market.fund(buyer, 100000)
        market.member(buyer, "insert into public.cart_items (item_id) values (%s)", item)
    running = threading.Event()

    def flip(market: Market) -> str:
        while not running.is_set():
            market.member(seller, "update public.products set price_cents = %s where id = %s", 93000, item)
            market.member(seller, "update public.products set price_cents = 1000 where id = %s", item)
        return "flipped"

    left = threading.Semaphore(0)

    def attempt(buyer: str, by_cart: bool) -> Job:
        def job(market: Market) -> str:
            try:
                if by_cart:
                    return str(market.rpc(buyer, "checkout", provider="wallet")["status"])
                line = {"item_id": item, "offered_price_cents": 1000}
                return str(market.checkout(buyer, line, provider="wallet")["status"])
            except psycopg.Error as error:
                return str(code_of(error))
            finally:
                left.release()

        return job

    def end(market: Market) -> str:
        for _ in buyers:
            left.acquire(timeout=60)
        running.set()
        return "ended"

    results = together(database, [flip, end, *(attempt(buyer, bool(no % 2)) for no, buyer in enumerate(buyers))])
    assert set(results[2:]) <= {"completed", "price_changed"}
    assert market.one("select max(unit_price_cents) from public.order_items where item_id = %s", item) in (None, 1000)
    paid = [100000 - market.wallet(buyer)[0] for buyer in buyers]
    assert set(paid) <= {0, 1000}


@pytest.mark.parametrize(
    "change",
    [
        "price_cents = 93000",
        "status = 'paused'",
        "price_cents = 93000, allow_name_your_price = true, minimum_price_cents = 93000",
    ],
)
def test_a_change_that_commits_while_a_checkout_is_under_way(database: Database, market: Market, change: str) -> None:
    """The checkout has begun and waits; what it writes is still what it checked."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 1000)
    market.fund(buyer, 100000)
    market.member(buyer, "insert into public.cart_items (item_id) values (%s)", item)
    with background(database, 1) as (paying,):
        with held_wallet(database, buyer):
            paying.begin(
                market.connection, lambda market: market.rpc(buyer, "checkout", provider="wallet")["total_cents"]
            )
            market.member(seller, f"update public.products set {change} where id = %s", item)
        assert paying.end() == 1000
    assert market.wallet(buyer)[0] == 99000


def test_a_wallet_that_pays_while_its_owner_leaves(database: Database, market: Market) -> None:
    """Whoever comes first is done first; neither waits for what the other holds."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 1000)
    market.fund(buyer, 5000)
    earlier = market.checkout(buyer, item)["payment_id"]
    with background(database, 2) as (paying, leaving):
        with database.connect(SUPERUSER) as blocker, blocker.transaction():
            blocker.execute("select from public.payments where id = %s for update", (earlier,))
            paying.begin(market.connection, lambda market: market.checkout(buyer, item, provider="wallet")["status"])
            leaving.begin(market.connection, lambda market: market.rpc(buyer, "delete_my_account", forfeit_cents=4000))
        assert paying.end() == "completed"
        assert leaving.end() in (None, "")
    assert market.one("select deleted_at is not null from public.profiles where id = %s", buyer)


def test_a_wallet_that_pays_for_what_was_just_bought(database: Database, market: Market) -> None:
    """The card's success settles while the checkout from the wallet waits: nothing is taken twice."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 1000)
    market.fund(buyer, 5000)
    first = market.checkout(buyer, item)["payment_id"]
    market.start(buyer, first)
    with background(database, 2) as (settling, paying):
        with held_wallet(database, seller):
            settling.begin(market.connection, lambda market: market.succeed(first))
            paying.begin(market.connection, lambda market: market.checkout(buyer, item, provider="wallet")["status"])
        assert settling.end() == "processed"
        assert paying.end() == "item_not_available"
    assert market.wallet(buyer)[0] == 5000
