"""Bundles on connections of their own: terms, answers, payments and refunds at once, without a deadlock and to the
cent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness.server import Database
from tests.market.test_bundles import agree, bundle, terms
from tests.money.market import Json, Market
from tests.money.races import Job, committing, crowd, together


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits."""
    with committing(database) as market:
        yield market


def buying(buyer: str, item: str | Json, provider: str = "stripe") -> Job:
    """Somebody who buys and pays at once."""

    def job(market: Market) -> str:
        order = market.checkout(buyer, item, provider=provider)
        if provider == "stripe":
            market.start(buyer, order["payment_id"])
            assert market.succeed(order["payment_id"]) == "processed"
        return market.status("orders", order["order_id"])

    return job


# Of all bundles that were ordered: state, whether it is owned whole, what was paid and given back.
ORDERED = """
select
    o.status::text, o.total_cents, (l.details ->> 'terms_version')::integer as version,
    (select count(*) from private.line_parts as x where x.order_item_id = l.id) as parts,
    (select count(*) from public.purchases as p where p.order_item_id = l.id and p.revoked_at is null) as rights,
    (select count(*) from private.line_shares as s where s.order_item_id = l.id) as payees,
    (select sum(s.share_bps) from private.line_shares as s where s.order_item_id = l.id) as bps,
    coalesce((
        select sum(r.amount_cents) from public.refunds as r join public.payments as p on p.id = r.payment_id
        where p.order_id = o.id
    ), 0) as refunded
from public.orders as o
join public.order_items as l on l.order_id = o.id
where l.item_id = %s
"""


def check(market: Market, item: str) -> list[dict[str, Json]]:
    """Each was sold whole or not at all."""
    rows = market.rows(ORDERED, item)
    for row in rows:
        assert row["bps"] == 10000
        assert row["rights"] == (row["parts"] + 1 if row["status"] == "completed" else 0), row
        if row["status"] == "cancelled" and row["refunded"]:
            assert row["refunded"] == row["total_cents"]
    return rows


def test_terms_answers_and_payments_at_once(database: Database, market: Market) -> None:
    """Whatever is sold is sold on terms that all agreed to, at their price and to their payees."""
    owner, other, third = (market.sign_up("standard") for _ in range(3))
    parts = [market.product(owner, 3000), market.product(other, 1000), market.product(third, 1000)]
    it = bundle(market, owner, 3000, *parts[:2])
    agree(market, other, it)
    market.rows("update private.activity_limits set fresh = 10000, established = 10000 where kind = 'bundle_asked'")

    def changes(no: int) -> Job:
        wanted = parts[: 2 + no % 2]
        # Of even versions two parts, of odd ones three.
        return lambda market: terms(market, owner, it, 3000 + no % 2 * 500, *wanted)["terms_version"]

    def answers(who: str, no: int) -> Job:
        def job(market: Market) -> str:
            if no % 5 == 4:
                market.rpc(who, "decline_bundle", bundle_id=it)
            else:
                agree(market, who, it)
            return "answered"

        return job

    jobs: list[Job] = []
    for no in range(60):
        buyer = market.sign_up()
        market.fund(buyer, 5000)
        jobs += [buying(buyer, it, "wallet" if no % 3 else "stripe"), answers(other, no), answers(third, no)]
        if no % 4 == 0:
            jobs.append(changes(no // 4))
        if no % 6 == 0:
            jobs.append(lambda market: market.worker("select private.follow_bundles()"))
    results = Counter(result for result in crowd(database, jobs) if isinstance(result, str))
    assert set(results) <= {
        "completed",
        "answered",
        "item_not_available",
        "price_changed",
        "bundle_terms_changed",
        "state_changed",
        "bundle_not_found",
    }, results
    for row in check(market, it):
        assert (row["total_cents"], row["parts"], row["payees"]) in ((3000, 2, 2), (3500, 3, 3)), row
    assert results["completed"] > 0


def test_one_part_alone_and_in_two_bundles_at_once(database: Database, market: Market) -> None:
    """The same buyer in three tabs: the part is theirs once, and no money is lost."""
    seller = market.sign_up("standard")
    for provider in ("stripe", "wallet"):
        for _ in range(6):
            shared, first, second = (market.product(seller, 1000) for _ in range(3))
            bundles = [bundle(market, seller, 1500, shared, one) for one in (first, second)]
            buyer = market.sign_up()
            market.fund(buyer, 10000)
            results = Counter(together(database, [buying(buyer, item, provider) for item in (*bundles, shared)]))
            assert results.keys() <= {"completed", "cancelled", "already_owned", "item_not_available"}
            assert market.owns(buyer, shared)
            live = "select count(*) from public.purchases where item_id = %s and is_owned_once and revoked_at is null"
            assert market.one(live, shared) == 1
            for item in bundles:
                check(market, item)
            assert results["completed"] >= 2, "nothing speaks against the two bundles"


def test_an_exclusive_sale_and_bundles_at_once(database: Database, market: Market) -> None:
    """Who pays later than the exclusive buyer gets the money back, all of it; nobody gets half a bundle."""
    seller = market.sign_up("standard")
    for _ in range(5):
        part, other = market.product(seller, 1000), market.product(seller, 1000)
        it = bundle(market, seller, 1500, part, other)
        buyers = [market.sign_up() for _ in range(6)]
        paying = []
        for buyer in buyers:
            order = market.checkout(buyer, it)
            market.start(buyer, order["payment_id"])
            paying.append(order["payment_id"])
        tier = market.license(seller, part, 9000, "exclusive")

        def pays(payment: str) -> Job:
            return lambda market: market.succeed(payment)

        exclusive = buying(market.sign_up(), {"item_id": part, "option_id": tier})
        results = together(database, [exclusive, *(pays(payment) for payment in paying)])
        assert results == ["completed", *["processed"] * 6]
        rows = check(market, it)
        assert all(row["status"] == "completed" or row["refunded"] == 1500 for row in rows)
        # What was granted counts before the exclusive one: its line names as many.
        late = market.one(
            "select count(*) from public.purchases as p join public.purchases as x on x.option_id = %s "
            "where p.item_id = %s and p.option_id is null and p.revoked_at is null and p.purchased_at > x.purchased_at "
            "and age(p.xmin) < age(x.xmin)",
            tier,
            part,
        )
        assert late == 0
        assert market.rows("select id from private.webhook_events where status <> 'processed'") == []


def test_refunds_and_purchases_of_what_is_in_it_at_once(database: Database, market: Market) -> None:
    """A bundle goes back while its parts are bought alone: each buyer ends with what they paid for."""
    seller = market.sign_up("standard")
    admin = market.sign_up(role="admin")
    parts = [market.product(seller, 1000) for _ in range(3)]
    it = bundle(market, seller, 2500, *parts)
    buyers = [market.sign_up() for _ in range(12)]
    lines = {}
    for buyer in buyers:
        order = market.buy(buyer, it)
        lines[buyer] = market.line(order["order_id"])

    def refunds(line: str) -> Job:
        def job(market: Market) -> str:
            market.refund(admin, line)
            return "refunded"

        return job

    jobs: list[Job] = []
    for no, buyer in enumerate(buyers):
        jobs += [refunds(lines[buyer]), buying(buyer, parts[no % 3])]
    results = Counter(crowd(database, jobs))
    assert results["refunded"] == 12
    assert results.keys() <= {"refunded", "completed", "already_owned", "cancelled"}
    for buyer in buyers:
        assert not market.owns(buyer, it)
        paid = market.rows(
            "select i.item_id from public.order_items as i join public.transactions as t on t.order_item_id = i.id "
            "where i.buyer_id = %s and t.refunded_cents < t.amount_total_cents",
            buyer,
        )
        assert [part for part in parts if market.owns(buyer, part)] == [row["item_id"] for row in paid]
