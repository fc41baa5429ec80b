"""kill -9, at every step: after a restart a payout was paid exactly once, and what was sold was settled exactly once.

Nothing here depends on timing: a trap holds the process at the step in question (a fault of the provider, or a lock in
PostgreSQL), the test waits until the trap is sprung, and kills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from supabase import AuthError

from stack.services import Services
from tests.harness import people
from tests.harness.fixtures import running
from tests.harness.market import (
    Simulator,
    assert_books,
    buy,
    drain,
    order,
    publish_artwork,
    publish_product,
    run_job,
    start,
    wait_for_order,
)
from tests.harness.people import Member, Person, SignUp, enroll
from tests.harness.processes import process
from tests.harness.server import Database
from tests.harness.waiting import until

AMOUNT = 5000


@pytest.fixture(scope="module")
def services(database: Database) -> Iterator[Services]:
    """A stack on a server that writes to the disk for good, with workers that soon notice what was left undone."""
    with database.connect("supabase_admin") as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"alter system set {setting} = on".encode())
        connection.execute("select pg_reload_conf()")
    database.run("update private.settings set payout_approval_above_cents = 1")
    with running(database, AVENUE_PAYOUT_RESUME_SECONDS="1", AVENUE_STALLED_SECONDS="3") as services:
        yield services
    with database.connect("supabase_admin") as connection:
        connection.execute("alter system reset all")
        connection.execute("select pg_reload_conf()")


@pytest.fixture(scope="module", autouse=True)
def money_at_the_provider(sign_up: SignUp, simulator: Simulator, database: Database) -> None:
    """One large sale, whose money all the payouts here are paid from."""
    buy(simulator, sign_up(), publish_artwork(sign_up(), 900_000))
    drain(database, simulator)


@pytest.fixture(autouse=True)
def everything_runs(services: Services, simulator: Simulator) -> Iterator[None]:
    """Whatever a test killed runs again for the next one."""
    yield
    if not services.cluster.pid:
        come_back(services)
    services.start()
    simulator.clear_faults()
    simulator.config(idempotency_seconds=86400)
    simulator.release()


def payable(services: Services, database: Database, admin: Person, simulator: Simulator) -> Member:
    """A seller with an enabled account and $60.00 available."""
    (seller,) = enroll(services, database, 1)
    urls = {"return_url": "https://shop.example/a", "refresh_url": "https://shop.example/b"}
    simulator.onboard(seller.api.function("POST", "payouts/onboard", urls).json()["url"])
    until(lambda: seller.api.one("wallets")["payouts_enabled"], "the account to be enabled")
    gift = {"user_id": seller.id, "amount_cents": 6000, "reason": "test", "idempotency_key": seller.id}
    assert admin.api.rpc("adjust_wallet", **gift).status_code == 200
    return seller


@pytest.fixture
def seller(services: Services, database: Database, admin: Person, simulator: Simulator) -> Member:
    return payable(services, database, admin, simulator)


# -- traps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trap:
    """`sprung` says whether the worker is held at the step; `let_go` makes the step impossible or lets it through."""

    sprung: Callable[[], bool]
    let_go: Callable[[], None] = lambda: None


def blocked_in(database: Database, function: str) -> list[int]:
    """Process ids of the workers' server processes that wait for a lock inside a call of such a function (a|b)."""
    rows = database.run(
        "select pid from pg_stat_activity where usename = 'avenue_worker' and datname = current_database() "
        "and wait_event_type = 'Lock' and query ~ %s",
        function,
    )
    return [row["pid"] for row in rows]


@contextmanager
def locked(database: Database, function: str, statement: str, *values: object, undone: bool) -> Iterator[Trap]:
    """Hold what `function` needs. On the worker's death its call is undone, or carried out by a server that does not
    know yet that nobody listens.
    """
    with database.connect() as connection:
        connection.execute("begin")
        connection.execute(statement.encode(), values or None)

        def let_go() -> None:
            if undone:
                for pid in blocked_in(database, function):
                    database.run("select pg_terminate_backend(%s, 5000)", pid)
            connection.execute("rollback")

        yield Trap(lambda: bool(blocked_in(database, function)), let_go)


@contextmanager
def provider(simulator: Simulator, request: str, mode: str, seconds: float = 60) -> Iterator[Trap]:
    """Let a request to the provider hang, or its answer."""
    simulator.fault(request, mode, seconds=seconds)
    try:
        yield Trap(lambda: not simulator.faults())
    finally:
        simulator.clear_faults()


Set = Callable[[Database, Simulator, str], AbstractContextManager[Trap]]
CLAIM = "select from public.wallets where user_id = (select user_id from public.payouts where id = %s) for update"
BOOKING = (
    "insert into ledger.journal (kind, idempotency_key, source_id) "
    "values ('payout_completed', 'payout_completed:' || %s, gen_random_uuid())"
)
# At each step: the trap, and what is true when the worker is dead: the payout's status and the transfers made.
STEPS: dict[str, tuple[Set, str, int]] = {
    "before the claim": (
        lambda db, sim, payout: locked(db, "claim_payout", CLAIM, payout, undone=True),
        "approved",
        0,
    ),
    "claimed, but nobody there to hear it": (
        lambda db, sim, payout: locked(db, "claim_payout", CLAIM, payout, undone=False),
        "processing",
        0,
    ),
    "claimed, before the provider was asked": (
        lambda db, sim, payout: provider(sim, "GET /v1/transfers", "hang"),
        "processing",
        0,
    ),
    "told to pay, but it never arrived": (
        lambda db, sim, payout: provider(sim, "POST /v1/transfers", "hang"),
        "processing",
        0,
    ),
    "paid, but the answer was lost": (
        lambda db, sim, payout: provider(sim, "POST /v1/transfers", "delay_after"),
        "processing",
        1,
    ),
    "answered, but not written": (
        lambda db, sim, payout: locked(db, "complete_payout", BOOKING, payout, undone=True),
        "processing",
        1,
    ),
    "written, but nobody there to hear it": (
        lambda db, sim, payout: locked(db, "complete_payout", BOOKING, payout, undone=False),
        "completed",
        1,
    ),
}


def ask(seller: Member) -> str:
    """Request a payout; it waits for an admin (see `services`)."""
    answer = seller.api.rpc("request_payout", amount_cents=AMOUNT)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "requested"
    return str(answer.json()["id"])


def approve(admin: Person, payout: str) -> None:
    """From now on a worker may send it."""
    assert admin.api.rpc("approve_payout", payout_id=payout).status_code == 200


def status(database: Database, payout: str) -> str:
    return str(database.value("select status::text from public.payouts where id = %s", payout))


def transfers(seller: Member, simulator: Simulator) -> list[dict[str, Any]]:
    return simulator.all("transfers", destination=seller.api.one("wallets")["stripe_account_id"])


def assert_paid_once(seller: Member, payout: str, database: Database, simulator: Simulator) -> None:
    """Completed, one transfer, nothing lost, and looking again changes nothing."""
    until(lambda: status(database, payout) == "completed", "the payout to be completed", 60)
    simulator.release()
    drain(database, simulator)
    run_job(database, "resume_payouts")
    run_job(database, "send_payout", payout_id=payout)
    drain(database, simulator)
    made = transfers(seller, simulator)
    assert [(each["amount"], each["metadata"]["payout_id"]) for each in made] == [(AMOUNT, payout)]
    assert database.value("select provider_ref from public.payouts where id = %s", payout) == made[0]["id"]
    wallet = seller.api.one("wallets")
    assert (wallet["balance_available_cents"], wallet["total_withdrawn_cents"]) == (6000 - AMOUNT, AMOUNT)
    assert_books(database, simulator)


# -- the worker -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_paying_out(
    services: Services, seller: Member, admin: Person, simulator: Simulator, database: Database, step: str
) -> None:
    trap, status_then, transfers_then = STEPS[step]
    # The provider's event would complete the payout by itself: it comes last here.
    simulator.hold()
    payout = ask(seller)
    with trap(database, simulator, payout) as held:
        approve(admin, payout)
        until(held.sprung, f"the worker to be {step}")
        if transfers_then:
            until(lambda: transfers(seller, simulator), "the transfer to exist")
        services.kill("jobs")
        assert not services.running("jobs")
        held.let_go()
    until(lambda: status(database, payout) == status_then, f"the payout to be {status_then}")
    assert len(transfers(seller, simulator)) == transfers_then
    assert database.audit() == []

    # The provider has forgotten the key since: what was done is found by looking, not by repeating and hoping.
    simulator.config(idempotency_seconds=0)
    services.start(["jobs"])
    assert_paid_once(seller, payout, database, simulator)


def test_killed_while_the_payment_is_on_its_way(
    services: Services, seller: Member, admin: Person, simulator: Simulator, database: Database
) -> None:
    """The new worker looks while the old one's request has not been carried out yet: the same key, one transfer."""
    payout = ask(seller)
    with provider(simulator, "POST /v1/transfers", "delay_before", seconds=6) as held:
        approve(admin, payout)
        until(held.sprung, "the request to be on its way")
        services.kill("jobs")
        assert transfers(seller, simulator) == []
        services.start(["jobs"])
        assert_paid_once(seller, payout, database, simulator)


@pytest.mark.parametrize("mode", ["drop_after", "error"])
def test_an_answer_that_says_nothing_is_asked_about(
    services: Services, seller: Member, admin: Person, simulator: Simulator, database: Database, mode: str
) -> None:
    """Connection cut after the work, or a 500: nobody knows; the worker finds out by itself, without a restart."""
    for _ in range(3):
        simulator.fault("POST /v1/transfers", mode)
    try:
        payout = ask(seller)
        approve(admin, payout)
        assert_paid_once(seller, payout, database, simulator)
    finally:
        simulator.clear_faults()


def test_two_workers_share_the_work(
    services: Services, admin: Person, simulator: Simulator, database: Database
) -> None:
    """Two workers, every payout queued five times: one transfer each."""
    sellers = [payable(services, database, admin, simulator) for _ in range(6)]
    with process(services, "jobs-2", "workers.cli", "work"):
        beating = "select count(*) >= 2 from jobs.procrastinate_workers where last_heartbeat > now() - interval '5 s'"
        until(lambda: database.value(beating), "two workers to be at work")
        payouts = [ask(seller) for seller in sellers]
        for payout in payouts:
            approve(admin, payout)
        for payout in payouts * 5:
            database.run("select private.enqueue('send_payout', jsonb_build_object('payout_id', %s::text))", payout)
        for seller, payout in zip(sellers, payouts, strict=True):
            assert_paid_once(seller, payout, database, simulator)


def test_the_other_worker_takes_over(
    services: Services, seller: Member, admin: Person, simulator: Simulator, database: Database
) -> None:
    simulator.hold()
    payout = ask(seller)
    with provider(simulator, "POST /v1/transfers", "delay_after") as held:
        approve(admin, payout)
        until(held.sprung, "the first worker to be paying")
        until(lambda: transfers(seller, simulator), "the transfer to exist")
        with process(services, "jobs-2", "workers.cli", "work"):
            services.kill("jobs")
            until(lambda: status(database, payout) == "completed", "the second worker to complete the payout", 60)
    services.start(["jobs"])
    assert_paid_once(seller, payout, database, simulator)


def test_killed_while_refunding(services: Services, sign_up: SignUp, simulator: Simulator, database: Database) -> None:
    """A refund is money too: made once although the worker died before it heard that it was made."""
    seller, (buyer,) = sign_up(), enroll(services, database, 1)
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    drain(database, simulator)
    sale = seller.api.one("transactions")
    simulator.hold()
    with provider(simulator, "POST /v1/refunds", "delay_after") as held:
        made = seller.api.rpc("refund_order_item", order_item_id=sale["order_item_id"])
        assert made.status_code == 200, made.text
        until(held.sprung, "the worker to be refunding")
        intent = sale["stripe_payment_intent_id"]
        until(lambda: simulator.all("refunds", payment_intent=intent), "the refund to exist")
        services.kill("jobs")
    simulator.config(idempotency_seconds=0)
    services.start(["jobs"])
    until(lambda: seller.api.one("transactions")["status"] == "refunded", "the refund to be booked", 60)
    simulator.release()
    drain(database, simulator)
    assert [each["amount"] for each in simulator.all("refunds", payment_intent=intent)] == [2000]
    assert_books(database, simulator)


def forget_jobs(database: Database) -> None:
    """What a queue that was thrown away and installed anew has left: nothing."""
    database.run("delete from jobs.procrastinate_jobs where status = 'todo' and task_name in "
                 "('send_payout', 'send_refund', 'process_events')")  # fmt: skip


def test_lost_jobs_lose_nothing(
    services: Services, seller: Member, sign_up: SignUp, admin: Person, simulator: Simulator, database: Database
) -> None:
    """A job is a hint, the row is the truth: payout, refund and event without a job are found by the sweepers."""
    shop, (buyer, refunded) = sign_up(), enroll(services, database, 2)
    product, artwork = publish_product(shop, 2000), publish_artwork(shop, 5000)
    buy(simulator, refunded, product)
    drain(database, simulator)
    services.kill("jobs")
    payout = ask(seller)
    approve(admin, payout)
    line = refunded.api.one("transactions")["order_item_id"]
    assert shop.api.rpc("refund_order_item", order_item_id=line).status_code == 200
    ordered = order(buyer, artwork)
    simulator.confirm(start(buyer, ordered)["client_secret"])
    assert simulator.idle()
    forget_jobs(database)
    services.start(["jobs"])
    until(lambda: status(database, payout) == "completed", "the payout to be found")
    assert buyer.api.one("orders")["status"] == "pending"
    assert refunded.api.one("transactions")["status"] == "completed"
    # The sweepers leave a minute to the job that should be there.
    database.run("update private.webhook_events set next_attempt_at = now() - interval '2 minutes'"
                 " where status = 'pending'")  # fmt: skip
    database.run("update public.refunds set created_at = now() - interval '2 minutes' where status = 'requested'")
    run_job(database, "enqueue_due_events")
    run_job(database, "resume_refunds")
    assert_sold_once(buyer, ordered, database, simulator)
    until(lambda: refunded.api.one("transactions")["status"] == "refunded", "the refund to be found")
    assert_paid_once(seller, payout, database, simulator)


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


def come_back(services: Services) -> None:
    """Start the server again, and let the Data API find out that its pooled connections are dead, as clients' retries
    would.
    """
    services.cluster.start()

    def answers(_: object) -> bool:
        headers = {"apikey": services.anon_key}
        return httpx.get(f"{services.url}/rest/v1/plans", headers=headers, timeout=30).status_code == 200

    with ThreadPoolExecutor(12) as pool:
        until(lambda: all(pool.map(answers, range(24))), "the Data API to answer again")


def assert_sold_once(buyer: Member, ordered: dict[str, Any], database: Database, simulator: Simulator) -> None:
    """Everything a sale is, once."""
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    drain(database, simulator, 60)
    run_job(database, "read_missing_fees")
    payment = ordered["payment_id"]
    assert database.value("select count(*) from public.transactions where payment_id = %s", payment) == 1
    assert len(buyer.api.select("purchases", revoked_at="is.null")) == 1
    assert (
        database.value(
            "select count(*) from ledger.journal as j join public.transactions as t on t.id = j.source_id "
            "where j.kind = 'sale' and t.payment_id = %s",
            payment,
        )
        == 1
    )
    assert_books(database, simulator)


# Where in a settlement the server is killed: the lock that holds it there.
SETTLING = {
    "before anything": "lock table public.payments in access exclusive mode",
    "goods delivered, sale not booked": "lock table public.transactions in share mode",
    "sale booked in part": "lock table ledger.entries in share mode",
}


@pytest.mark.parametrize("worker", ["alive", "killed too"])
@pytest.mark.parametrize("point", SETTLING)
def test_postgres_killed_during_settlement(
    services: Services, sign_up: SignUp, simulator: Simulator, database: Database, point: str, worker: str
) -> None:
    (buyer,) = enroll(services, database, 1)
    ordered = order(buyer, publish_artwork(sign_up(), 5000))
    attempt = start(buyer, ordered)
    # Alone, or together with what arrived with it.
    with locked(database, "process_webhook_event|settle_batch", SETTLING[point], undone=False) as held:
        simulator.confirm(attempt["client_secret"])
        until(held.sprung, f"the settlement to be held: {point}")
        if worker == "killed too":
            services.kill("jobs")
        services.cluster.kill()
        assert services.cluster.pid is None
        with pytest.raises(Exception, match=r"(?i)closed|terminat|lost|refused|consuming"):
            held.let_go()
    come_back(services)
    if worker == "killed too":
        # Before anybody works on it again: not the smallest part of the sale is there.
        assert database.value("select status::text from public.orders where id = %s", ordered["order_id"]) == "pending"
        assert database.value("select count(*) from public.purchases where owner_id = %s", buyer.id) == 0
        assert database.value("select count(*) from public.transactions where buyer_id = %s", buyer.id) == 0
        assert database.audit() == []
        services.start(["jobs"])
    else:
        assert services.running("jobs")
    assert_sold_once(buyer, ordered, database, simulator)


def test_postgres_killed_while_an_event_is_stored(
    services: Services, sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    """The provider is not told 2xx for what was not kept, delivers again, and the sale is settled once."""
    (buyer,) = enroll(services, database, 1)
    ordered = order(buyer, publish_artwork(sign_up(), 5000))
    attempt = start(buyer, ordered)
    drain(database, simulator)
    lock = "lock table private.webhook_events in share mode"
    with locked(database, "store_webhook_events", lock, undone=False) as held:
        simulator.confirm(attempt["client_secret"])
        until(held.sprung, "the delivery to be held in the middle of being stored")
        services.cluster.kill()
        with pytest.raises(Exception, match=r"(?i)closed|terminat|lost|refused|consuming"):
            held.let_go()

    def refusals() -> list[int | None]:
        return [
            response["status"]
            for delivery in simulator.deliveries()
            if delivery["type"] == "payment_intent.succeeded"
            for response in delivery["responses"][:1]
        ][-1:]

    until(lambda: refusals() == [503], "the provider to be told 503")
    come_back(services)
    assert_sold_once(buyer, ordered, database, simulator)
    delivered = [each for each in simulator.deliveries() if each["type"] == "payment_intent.succeeded"][-1]
    assert delivered["state"] == "delivered"
    assert delivered["attempts"] >= 2


def test_without_postgres_everything_says_so(services: Services, simulator: Simulator) -> None:
    """Down is 503, never a wrong answer; and back is back, without a restart of anything."""
    services.cluster.kill()
    assert httpx.get(f"{services.http_url}/readyz", timeout=30).status_code == 503
    assert httpx.get(f"{services.http_url}/healthz", timeout=30).status_code == 200
    come_back(services)
    until(lambda: httpx.get(f"{services.http_url}/readyz", timeout=30).status_code == 200, "to be ready again")
    assert until(lambda: sign_up_again(services), "Auth to be back").api.one("wallets")


def sign_up_again(services: Services) -> Person | None:
    try:
        return people.sign_up(services)
    except AuthError:
        return None
