"""Reviews, votes and activations at the same instant, on connections of their own: nothing counts twice, and nobody
waits in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from stack.cluster import SUPERUSER
from tests.harness.server import Database
from tests.market.reviews import Reviews
from tests.money.market import Market
from tests.money.races import Job, committing, together


@pytest.fixture(scope="module", autouse=True)
def kinds(database: Database) -> None:
    """Kinds of goods that can do everything; tasks are reviewed blind."""
    with database.connect(SUPERUSER) as connection:
        Market(connection).make_kinds()
        connection.execute("update private.kinds set reviewing = 'blind' where kind = 'task'")
        connection.execute("update private.settings set review_burst = 1000")


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits; its counters are right at the end."""
    with committing(database) as market:
        yield market
        Reviews(market).check()


def reviewing(buyer: str, item: str, rating: int) -> Job:
    return lambda market: Reviews(market).write(buyer, item, rating)["status"]


def test_two_reviews_of_one_purchase_at_once(database: Database, market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 500)
    market.buy(buyer, item)
    results = together(database, [reviewing(buyer, item, rating) for rating in (1, 2, 3, 4, 5)])
    assert Counter(results) == {"published": 1, "already_reviewed": 4}
    assert Reviews(market).rating(item)[0] == 1


def test_many_buyers_review_at_once_while_some_are_paid_back_and_banned(database: Database, market: Market) -> None:
    seller, admin = market.sign_up(), market.sign_up(role="admin")
    item = market.product(seller, 500)
    buyers = [market.sign_up() for _ in range(10)]
    lines = {buyer: market.line(market.buy(buyer, item)["order_id"]) for buyer in buyers}

    def paid_back(buyer: str) -> Job:
        return lambda market: market.refund(admin, lines[buyer])["status"]

    def banned(buyer: str) -> Job:
        return lambda market: market.ban(buyer)

    jobs = [reviewing(buyer, item, 1 + no % 5) for no, buyer in enumerate(buyers)]
    results = together(database, [*jobs, *map(paid_back, buyers[:3]), *map(banned, buyers[3:5])])
    assert set(results[5:10]) == {"published"}
    assert set(results[:3]) <= {"published", "review_not_allowed"}
    assert set(results[10:13]) == {"succeeded"}
    # A ban that met somebody in the way is followed by the workers.
    for _ in range(20):
        for row in market.rows("select user_id from private.account_changes_due(100)"):
            market.worker("select private.advance_account(%s)", row["user_id"])
    assert Reviews(market).rating(item)[0] == 5


def test_two_sides_review_each_other_at_once(database: Database, market: Market) -> None:
    for _ in range(5):
        seller, buyer = market.sign_up(), market.sign_up()
        item = market.good(seller, 500, "task", is_repeatable=True)
        line = market.line(market.buy(buyer, item)["order_id"])
        market.finish(line)

        def of_the_buyer(market: Market, seller: str = seller, line: str = line) -> str:
            return str(market.rpc(seller, "review_buyer", order_item_id=line, rating=1)["status"])

        results = together(database, [reviewing(buyer, item, 5), of_the_buyer])
        assert sorted(results) == ["blind", "published"]
        both = "select count(*) from public.reviews where order_item_id = %s and status = 'published'"
        assert market.one(both, line) == 2
        assert Reviews(market).rating(item) == (1, "5.00")


def test_everybody_votes_at_once_while_it_is_edited(database: Database, market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 500)
    market.buy(buyer, item)
    review = Reviews(market).write(buyer, item, 3)["id"]
    voters = [market.sign_up() for _ in range(12)]

    def vote(voter: str) -> Job:
        def job(market: Market) -> None:
            for is_helpful in (True, False, True, None, True):
                Reviews(market).vote(voter, review, is_helpful)

        return job

    assert together(database, [vote(voter) for voter in voters]) == [None] * 12
    assert Reviews(market).row(review)["helpful_count"] == 12

    def edit(market: Market) -> int:
        return int(Reviews(market).edit(buyer, review, 4)["version"])

    assert together(database, [*[vote(voter) for voter in voters], edit])[-1] == 2
    votes = market.one("select count(*) from public.review_votes where review_id = %s", review)
    assert Reviews(market).row(review)["helpful_count"] <= votes


def test_the_last_seat_is_taken_once(database: Database, market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    product = market.product(seller, 500)
    market.rows("update public.products set license_seats = 3 where id = %s", product)
    line = market.line(market.buy(buyer, product)["order_id"])
    license_ = market.row("select * from public.license_keys where order_item_id = %s", line)["id"]
    key = market.rpc(buyer, "show_license_key", license_id=license_)

    def activate(device: str) -> Job:
        def job(market: Market) -> str:
            return str(
                market.rpc(buyer, "activate_license", product_id=product, key=key, device_id=device)["device_id"]
            )

        return job

    results = together(database, [activate(f"device {no % 6}") for no in range(12)])
    taken = [result for result in results if result != "no_seats_left"]
    assert len(set(taken)) == 3
    assert market.one("select count(*) from public.license_activations where license_key_id = %s", license_) == 3
    assert market.one("select activations_count from public.license_keys where id = %s", license_) == 3


def test_two_versions_at_once_have_two_numbers(database: Database, market: Market) -> None:
    seller = market.sign_up()
    product = market.product(seller, 500)
    paths = [f"{seller}/{product}-{no}.zip" for no in range(4)]
    for path in paths:
        market.rows("insert into storage.objects (bucket_id, name) values ('product-files', %s)", path)

    def release(path: str) -> Job:
        def job(market: Market) -> int:
            files = [{"path": path}]
            return int(market.rpc(seller, "release_version", product_id=product, notes="x", files=files)["number"])

        return job

    assert sorted(together(database, [release(path) for path in paths])) == [2, 3, 4, 5]
    left = "select count(*) from public.product_files where product_id = %s and removed_at is null"
    assert market.one(left, product) == 1
