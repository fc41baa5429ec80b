"""Many at once over HTTP: one artwork has one buyer, one wallet one payout, and no cent is orphaned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import httpx
import pytest

from stack.services import Services
from tests.harness.market import (
    Simulator,
    assert_books,
    buy,
    drain,
    order,
    pass_time,
    publish_artwork,
    publish_product,
    run_job,
    start,
)
from tests.harness.people import Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database
from tests.harness.waiting import until

BUYERS = 50
T = TypeVar("T")


@pytest.fixture(scope="module")
def crowd(services: Services, database: Database) -> list[Member]:
    return enroll(services, database, BUYERS)


@pytest.fixture(scope="module")
def artist(sign_up: SignUp) -> Person:
    return sign_up(username="artist")


def at_once(people: Iterable[T], act: Callable[[T], Any]) -> list[Any]:
    """Everybody does it at the same time: all threads are started before the first may go."""
    people = list(people)
    gate = Barrier(len(people))

    def go(person: T) -> Any:
        gate.wait(30)
        return act(person)

    with ThreadPoolExecutor(len(people)) as pool:
        return list(pool.map(go, people))


def checkout(item: str, provider: str = "stripe") -> Callable[[Member], httpx.Response]:
    return lambda buyer: buyer.api.rpc("checkout", items=[{"item_id": item}], provider=provider)


def test_fifty_buyers_of_one_artwork(
    artist: Person, crowd: list[Member], simulator: Simulator, database: Database
) -> None:
    artwork = publish_artwork(artist, 5000)

    def buy_it(buyer: Member) -> str:
        """As an impatient application does: check out, start, pay; what came of it."""
        answer = checkout(artwork)(buyer)
        if not answer.is_success:
            return str(code_of(answer))
        simulator.confirm(start(buyer, answer.json())["client_secret"])
        return "paid"

    outcomes = Counter(at_once(crowd, buy_it))
    assert outcomes["paid"] == 1
    assert set(outcomes) <= {"paid", "item_reserved", "item_sold"}
    drain(database, simulator)
    assert database.value("select count(*) from public.purchases where item_id = %s", artwork) == 1
    assert database.value("select count(*) from public.transactions where related_id = %s", artwork) == 1
    assert database.value("select status::text from public.artworks where id = %s", artwork) == "sold"
    # From now on the answer is definite.
    answers = at_once(crowd, lambda buyer: code_of(checkout(artwork)(buyer)))
    assert Counter(answers) == {"item_sold": BUYERS - 1, "already_owned": 1}
    assert_books(database, simulator)


def test_payments_for_one_artwork_that_all_arrive_late(
    artist: Person, crowd: list[Member], simulator: Simulator, database: Database
) -> None:
    """The worst case: everybody's attempt was started, each reservation ran out in turn, and then all of them pay."""
    artwork = publish_artwork(artist, 5000)
    attempts = []
    buyers = crowd[:12]
    for buyer in buyers:
        ordered = order(buyer, artwork)
        attempts.append((ordered, start(buyer, ordered)))
        # Given up at the provider, as far as we can know: the next one may have it.
        database.run("select private.payment_cancelled(%s)", ordered["payment_id"])
    at_once(attempts, lambda attempt: simulator.confirm(attempt[1]["client_secret"]))
    drain(database, simulator)

    def statuses() -> Counter[str]:
        return Counter(buyer.api.one("payments", order_id=f"eq.{attempt[0]['order_id']}")["status"]
                       for buyer, attempt in zip(buyers, attempts, strict=True))  # fmt: skip

    until(lambda: statuses() == {"succeeded": 1, "refunded": len(buyers) - 1}, "one sale and eleven refunds", 60)
    print(
        database.run(
            "select type,last_error,attempts from private.webhook_events where last_error is not null or attempts>0"
        )
    )
    drain(database, simulator)
    assert database.value("select count(*) from public.purchases where item_id = %s", artwork) == 1
    assert database.value("select count(*) from public.transactions where related_id = %s", artwork) == 1
    told = Counter(
        (order_["status"], order_["status_reason"])
        for buyer, attempt in zip(buyers, attempts, strict=True)
        for order_ in buyer.api.select("orders", id=f"eq.{attempt[0]['order_id']}")
    )
    assert told == {("completed", None): 1, ("cancelled", "item_not_available"): len(buyers) - 1}
    assert_books(database, simulator)


def test_fifty_wallets_for_one_artwork(
    artist: Person, crowd: list[Member], admin: Person, simulator: Simulator, database: Database
) -> None:
    artwork = publish_artwork(artist, 5000)
    for buyer in crowd:
        gift = {"user_id": buyer.id, "amount_cents": 5000, "reason": "race", "idempotency_key": f"race-{buyer.id}"}
        assert admin.api.rpc("adjust_wallet", **gift).status_code == 200
    outcomes = Counter(code_of(answer) for answer in at_once(crowd, checkout(artwork, "wallet")))
    assert outcomes[None] == 1
    assert set(outcomes) <= {None, "item_reserved", "item_sold"}
    ids = [buyer.id for buyer in crowd]
    left = database.run(
        "select balance_available_cents as left, count(*) from public.wallets "
        "where user_id = any(%s::uuid[]) group by 1",
        ids,
    )
    assert {row["left"]: row["count"] for row in left} == {0: 1, 5000: BUYERS - 1}
    assert_books(database, simulator)


def test_a_double_click_buys_once(
    artist: Person, crowd: list[Member], simulator: Simulator, database: Database
) -> None:
    product, buyer = publish_product(artist, 2000), crowd[0]
    answers = at_once(
        range(8),
        lambda _: buyer.api.rpc("checkout", items=[{"item_id": product}], idempotency_key="double"),
    )
    assert len({answer.json()["order_id"] for answer in answers}) == 1
    ordered = answers[0].json()
    started = at_once(range(8), lambda _: buyer.api.http.post(ordered["start_url"]))
    assert {answer.status_code for answer in started} == {200}
    assert len({answer.json()["provider_ref"] for answer in started}) == 1
    simulator.confirm(started[0].json()["client_secret"])
    drain(database, simulator)
    assert database.value("select count(*) from public.transactions where related_id = %s", product) == 1
    assert_books(database, simulator)


def test_one_wallet_spent_from_many_sides(
    artist: Person, sign_up: SignUp, admin: Person, simulator: Simulator, database: Database
) -> None:
    """Ten different products of $10 at once from a wallet of $45: four of them, $5 left."""
    spender = sign_up()
    gift = {"user_id": spender.id, "amount_cents": 4500, "reason": "race", "idempotency_key": spender.id}
    assert admin.api.rpc("adjust_wallet", **gift).status_code == 200
    products = [publish_product(artist, 1000) for _ in range(10)]
    outcomes = Counter(code_of(answer) for answer in at_once(products, lambda p: checkout(p, "wallet")(spender)))
    assert outcomes == {None: 4, "insufficient_funds": 6}
    assert spender.api.one("wallets")["balance_available_cents"] == 500
    assert len(spender.api.select("purchases")) == 4
    assert_books(database, simulator)


@pytest.fixture
def earner(sign_up: SignUp, simulator: Simulator, database: Database) -> Person:
    """A seller with 11390 available and an enabled account."""
    person = sign_up()
    buy(simulator, sign_up(), publish_product(person, 20000))
    drain(database, simulator)
    pass_time(database)
    run_job(database, "release_earnings")
    urls = {"return_url": "https://shop.example/a", "refresh_url": "https://shop.example/b"}
    simulator.onboard(person.api.function("POST", "payouts/onboard", urls).json()["url"])
    until(lambda: person.api.one("wallets")["payouts_enabled"], "the account to be enabled")
    return person


def test_thirty_payout_requests_at_once(earner: Person, simulator: Simulator, database: Database) -> None:
    database.run("update private.settings set payout_approval_above_cents = 1")  # stays open
    try:
        answers = at_once(range(30), lambda _: earner.api.rpc("request_payout", amount_cents=5000))
    finally:
        database.run("update private.settings set payout_approval_above_cents = 100000")
    assert Counter(code_of(answer) for answer in answers) == {None: 1, "payout_open": 29}
    assert [payout["status"] for payout in earner.api.select("payouts")] == ["requested"]
    assert earner.api.one("wallets")["balance_available_cents"] == 6390
    assert_books(database, simulator)


def test_payouts_at_once_never_take_more_than_there_is(
    earner: Person, simulator: Simulator, database: Database
) -> None:
    """Paid out as fast as they are asked for, next to spending the same money."""
    answers = at_once(range(30), lambda _: earner.api.rpc("request_payout", amount_cents=5000))
    outcomes = Counter(code_of(answer) for answer in answers)
    assert set(outcomes) <= {None, "payout_open", "insufficient_funds"}
    assert 1 <= outcomes[None] <= 2
    drain(database, simulator)
    account = earner.api.one("wallets")["stripe_account_id"]
    assert len(simulator.all("transfers", destination=account)) == outcomes[None]
    assert earner.api.one("wallets")["balance_available_cents"] == 11390 - 5000 * outcomes[None]
    assert_books(database, simulator)


def test_refund_release_and_payout_at_once(
    earner: Person, admin: Person, simulator: Simulator, database: Database
) -> None:
    """The same money wanted by everybody at the same instant: whoever wins, the books are right."""
    line = earner.api.one("transactions")["order_item_id"]
    wanted: list[Callable[[], Any]] = [
        lambda: admin.api.rpc("refund_order_item", order_item_id=line, amount_cents=7000),
        lambda: admin.api.rpc("refund_order_item", order_item_id=line, amount_cents=13000),
        lambda: admin.api.rpc("refund_order_item", order_item_id=line, amount_cents=20000),
        lambda: earner.api.rpc("request_payout", amount_cents=11390),
        lambda: earner.api.rpc("request_payout", amount_cents=6000),
        lambda: run_job(database, "release_earnings"),
    ]
    at_once(wanted, lambda act: act())
    drain(database, simulator)
    sale = earner.api.one("transactions")
    assert sale["refunded_cents"] in (20000, 7000, 13000)
    assert_books(database, simulator)
