"""Sessions, packages and extras on connections of their own: one hour once, no orphan money, no deadlock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness.server import Database
from tests.market.service_market import busy, line, mentor, package, service, session, slots
from tests.money.market import Json, Market
from tests.money.races import Job, background, committing, crowd, together


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits."""
    with committing(database) as market:
        yield market


def mentoring(market: Market, count: int) -> tuple[str, list[tuple[str, str]]]:
    """A mentor with so many booked services and their packages."""
    seller = market.sign_up("standard")
    mentor(market, seller)
    made = [service(market, seller, 2000, session_minutes=60, is_mentoring=True) for _ in range(count)]
    return seller, [(item, packages[0]) for item, packages in made]


def taking(buyer: str, item: str, option: str, slot: Json, provider: str = "stripe") -> Job:
    """Somebody who wants a slot and pays for it."""

    def job(market: Market) -> str:
        order = market.checkout(buyer, line(item, option, session=session(slot)), provider=provider)
        if provider == "stripe":
            market.start(buyer, order["payment_id"])
            assert market.succeed(order["payment_id"]) == "processed"
        return "booked"

    return job


@pytest.mark.parametrize("provider", ["stripe", "wallet"])
def test_market_13_twenty_at_once_for_one_hour_of_two_services(
    database: Database, market: Market, provider: str
) -> None:
    """One of them has it, the others hear slot_taken before they pay."""
    seller, made = mentoring(market, 2)
    buyers = [market.sign_up() for _ in range(20)]
    if provider == "wallet":
        for buyer in buyers:
            market.fund(buyer, 2000)
    slot = slots(market, buyers[0], made[0][0])[3]
    results = Counter(
        together(database, [taking(buyer, *made[no % 2], slot, provider) for no, buyer in enumerate(buyers)])
    )
    assert results == {"booked": 1, "slot_taken": 19}
    assert busy(market, seller) == 1
    assert sum(busy(market, buyer) for buyer in buyers) == 1


def test_mentors_who_book_each_other_at_once(database: Database, market: Market) -> None:
    """Each sells and buys in the same hours, over and over: whoever comes first, and no deadlock."""
    mentors = [mentoring(market, 1) for _ in range(6)]
    for seller, _ in mentors:
        market.fund(seller, 20000)
    free = slots(market, mentors[0][0], mentors[1][1][0][0])[::2][:4]
    jobs = [
        taking(buyer, *made[0], slot, provider)
        for no, slot in enumerate(free)
        for buyer, _ in mentors
        for seller, made in mentors
        if seller != buyer
        for provider in (("wallet", "stripe") if no % 2 else ("stripe", "wallet"))
    ]
    results = Counter(crowd(database, jobs))
    # Another attempt of the same buyer at the same service takes the place of one that was not started yet.
    assert results.keys() <= {"booked", "slot_taken", "payment_not_open"}
    assert results["booked"] > 0
    overlapping = market.one(
        "select count(*) from private.busy_times as a join private.busy_times as b "
        "on b.person_id = a.person_id and b.id > a.id and b.during && a.during"
    )
    assert overlapping == 0


def test_late_money_meets_a_new_buyer_of_the_same_hour(database: Database, market: Market) -> None:
    """Again and again: one of the two has the hour, the other's money goes back or was never taken."""
    seller, ((item, option),) = mentoring(market, 1)
    free = slots(market, seller, item, days=7)[::2][:15]
    jobs: list[Job] = []
    late: list[Json] = []
    for slot in free:
        buyer, rival = market.sign_up(), market.sign_up()
        order = market.checkout(buyer, line(item, option, session=session(slot)))
        market.start(buyer, order["payment_id"])
        market.worker("select private.payment_cancelled(%s)", order["payment_id"])
        late.append(order)

        def comes(market: Market, order: Json = order) -> str:
            assert market.succeed(order["payment_id"]) == "processed"
            return "came"

        jobs += [comes, taking(rival, item, option, slot)]
    results = crowd(database, jobs, at_once=6)
    assert set(results[::2]) == {"came"}
    for order, rival in zip(late, results[1::2], strict=True):
        won = market.status("orders", order["order_id"]) == "completed"
        assert rival == ("slot_taken" if won else "booked")
        refunds = market.one("select count(*) from public.refunds where payment_id = %s", order["payment_id"])
        assert refunds == (0 if won else 1)
    assert busy(market, seller) == len(free)
    assert market.one("select count(*) from private.webhook_events where status <> 'processed'") == 0


def test_a_hold_that_ends_gives_the_hour_to_who_waits(database: Database, market: Market) -> None:
    """Somebody who asks while a cancellation is not committed yet waits for it, and has the hour then."""
    _, ((item, option),) = mentoring(market, 1)
    buyer, rival = market.sign_up(), market.sign_up()
    slot = slots(market, buyer, item)[0]
    order = market.checkout(buyer, line(item, option, session=session(slot)))
    with background(database, 1) as (waiting,):
        with market.connection.transaction():
            market.rpc(buyer, "cancel_order", order_id=order["order_id"])
            waiting.begin(market.connection, taking(rival, item, option, slot))
        assert waiting.end() == "booked"


def test_the_last_package_and_going_on_sale_at_once(database: Database, market: Market) -> None:
    """A service is never on sale without a package, and its price is that of the cheapest, whoever was first."""
    seller = market.sign_up()
    for _ in range(10):
        item, (only,) = service(market, seller, 2000, is_on_sale=False)

        def sell(market: Market, item: str = item) -> str:
            market.member(seller, "update public.services set status = 'active' where id = %s", item)
            return "on sale"

        def remove(market: Market, only: str = only) -> str:
            market.member(seller, "delete from public.catalog_options where id = %s", only)
            return "removed"

        assert Counter(together(database, [sell, remove])).keys() <= {"on sale", "removed", "service_has_no_packages"}
        row = market.row("select is_published, price_cents from public.catalog_items where id = %s", item)
        left = market.one("select count(*) from public.catalog_options where item_id = %s", item)
        assert row["is_published"] == (left == 1)


def test_titles_and_prices_change_at_once(database: Database, market: Market) -> None:
    """Whoever writes last, the price in the shop is that of the packages."""
    seller = market.sign_up()
    item, (first,) = service(market, seller, 2000)
    package(market, seller, item, 9000)

    def rename(no: int) -> Job:
        def job(market: Market) -> str:
            market.member(seller, "update public.services set title = %s where id = %s", f"Title {no}", item)
            return "renamed"

        return job

    def reprice(no: int) -> Job:
        def job(market: Market) -> str:
            market.member(seller, "update public.catalog_options set price_cents = %s where id = %s", 1000 + no, first)
            return "repriced"

        return job

    results = Counter(crowd(database, [job for no in range(40) for job in (rename(no), reprice(no))], at_once=8))
    assert results == {"renamed": 40, "repriced": 40}
    shown = market.one("select price_cents from public.catalog_items where id = %s", item)
    assert shown == market.one("select min(price_cents) from public.catalog_options where item_id = %s", item)
