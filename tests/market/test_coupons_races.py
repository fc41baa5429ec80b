"""Many buyers of few discounts, on connections of their own: never one use too many, none lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness.server import Database
from tests.market.test_coupons import buy, checkout, code, coupon, pay, platforms, uses
from tests.money.market import Market, number
from tests.money.races import Job, committing, crowd, together


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits."""
    with committing(database) as market:
        yield market


@pytest.mark.parametrize("whose", ["seller", "platform"])
def test_three_hundred_checkouts_of_a_coupon_with_a_hundred_uses(
    database: Database, market: Market, whose: str
) -> None:
    """A third of the cards is declined, some attempts are given up and paid late: whoever is refused tries again."""
    seller, buyers = market.sign_up("standard"), [market.sign_up() for _ in range(300)]
    item = market.product(seller, 2000)
    hundred = (
        coupon(market, seller, amount_cents=500, usage_limit=100)
        if whose == "seller"
        else platforms(market, amount_cents=500, budget_cents=50_000)
    )
    text = code(market, hundred)

    def attempt(no: int, buyer: str) -> Job:
        def job(market: Market) -> str:
            order = checkout(market, buyer, [item], text)
            assert order["total_cents"] == 1500
            if no % 3 == 0:
                market.start(buyer, order["payment_id"])
                market.decline(order["payment_id"], f"ch_{number()}")
                market.cancel(order["payment_id"])
                return "declined"
            if no % 7 == 0:
                market.rpc(buyer, "cancel_order", order_id=order["order_id"])
                return "given up"
            pay(market, buyer, order)
            return "bought"

        return job

    waiting = list(enumerate(buyers))
    seen: Counter[str] = Counter()
    for round_ in range(20):
        results = crowd(database, [attempt(no + round_, buyer) for no, buyer in waiting])
        seen += Counter(results)
        waiting = [who for who, result in zip(waiting, results, strict=True) if result != "bought"]
        assert uses(market, hundred).get("redeemed", 0) <= 100
        assert uses(market, hundred).get("held", 0) == 0
        if seen["bought"] == 100:
            break
    assert seen.keys() == {"coupon_exhausted", "bought", "declined", "given up"}, seen
    # None too many, none lost.
    assert uses(market, hundred)["redeemed"] == 100
    assert sum(market.owns(buyer, item) for buyer in buyers) == 100
    assert (
        market.one("select count(*) from public.order_items where coupon_id = %s and discount_cents <> 500", hundred)
        == 0
    )


def test_one_buyer_in_many_tabs_uses_it_once(database: Database, market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    items = [market.product(seller, 2000) for _ in range(8)]
    each = coupon(market, seller, usage_limit_per_customer=1)
    text = code(market, each)

    def tab(item: str) -> Job:
        return lambda market: checkout(market, buyer, [item], text)["status"]

    results = Counter(together(database, [tab(item) for item in items]))
    assert results == {"pending": 1, "coupon_already_used": 7}
    assert uses(market, each) == {"held": 1}


def test_orders_of_several_coupons_and_one_of_a_kind_wait_in_one_order(database: Database, market: Market) -> None:
    """Lines and codes in any order, refunds and checkouts crossing each other: no deadlock, every use accounted for."""
    a, b = market.sign_up(), market.sign_up()
    buyers = [market.sign_up() for _ in range(24)]
    works = [market.artwork(seller, 3000) for seller in (a, b) for _ in range(4)]
    coupons = [
        coupon(market, a, amount_cents=300, usage_limit=20),
        coupon(market, b, amount_cents=300, usage_limit=20),
        platforms(market, amount_cents=100, usage_limit=20),
    ]
    codes = [code(market, c) for c in coupons]

    def job(no: int) -> Job:
        def run(market: Market) -> str:
            first, second = works[no % 4], works[4 + no // 4 % 4]
            lines = [first, second] if no % 2 else [second, first]
            order = checkout(market, buyers[no], list(lines), *(codes if no % 3 else codes[::-1]))
            pay(market, buyers[no], order)
            market.refund(a, market.line(order["order_id"], 1 if no % 2 else 2))
            market.refund(b, market.line(order["order_id"], 2 if no % 2 else 1))
            return "back"

        return run

    results = Counter(crowd(database, [job(no) for no in range(24)]))
    assert results.keys() <= {"back", "item_reserved", "item_sold"}, results
    assert results["back"] > 0
    for c in coupons[:2]:
        assert uses(market, c) == {"released": results["back"]}


def test_a_release_and_a_checkout_at_once(database: Database, market: Market) -> None:
    """Whichever is first: the use is one order's, or nobody's for a moment."""
    seller, first, second = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    once = coupon(market, seller, usage_limit=1)
    text = code(market, once)
    order = checkout(market, first, [item], text)
    results = together(
        database,
        [
            lambda market: market.rpc(first, "cancel_order", order_id=order["order_id"])["status"],
            lambda market: checkout(market, second, [item], text)["status"],
        ],
    )
    assert results[0] == "cancelled"
    assert results[1] in ("pending", "coupon_exhausted")
    assert uses(market, once).get("held", 0) == (results[1] == "pending")
    if results[1] == "coupon_exhausted":
        buy(market, second, [item], text)
