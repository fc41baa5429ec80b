"""Pages of a search while others publish: nothing is skipped, nothing comes twice."""

from __future__ import annotations

import threading

import pytest

from stack.cluster import SUPERUSER
from tests.harness.server import Database
from tests.market.test_search import BULK, found
from tests.money.market import Market

NOW = BULK.replace("now() - i.n * interval '1 hour'", "clock_timestamp()")


@pytest.mark.parametrize("sort", ["relevance", "newest", "price_up", "price_down", "popular", "rated"])
@pytest.mark.parametrize("items", [60, 1500])
def test_pages_while_items_are_published(market: Market, sort: str, items: int) -> None:
    seller = market.sign_up()
    market.rows(BULK, seller, "Comet", 1, items)
    all_at_once = []
    page = found(market, "comet", sort=sort, max_rows=100)
    while page:
        all_at_once += [row["id"] for row in page]
        page = found(market, "comet", sort=sort, max_rows=100, cursor=page[-1]["cursor"])
    assert len(set(all_at_once)) == len(all_at_once)
    if items == 60 or sort != "relevance":
        assert len(all_at_once) == items

    paged: list[str] = []
    page = found(market, "comet", sort=sort, max_rows=50)
    n = 0
    while page:
        paged += [row["id"] for row in page]
        # As many as on a page, cheap and dear, and published now.
        market.rows(NOW, seller, f"Comet comet{n}", n * 20, n * 20 + 3)
        n += 1
        page = found(market, "comet", sort=sort, max_rows=50, cursor=page[-1]["cursor"])
    assert paged == all_at_once


def test_a_filter_alone_is_paged_the_same(market: Market) -> None:
    seller = market.sign_up()
    market.rows(BULK, seller, "Plain", 1, 130)
    seen: list[str] = []
    page = found(market, None, category="digital", max_rows=50)
    while page:
        seen += [row["id"] for row in page]
        market.rows(NOW, seller, f"Later {len(seen)}", 0, 3)
        page = found(market, None, category="digital", max_rows=50, cursor=page[-1]["cursor"])
    assert len(seen) == len(set(seen)) == 130


def test_others_publish_in_transactions_of_their_own(database: Database) -> None:
    with database.connect(SUPERUSER) as one, database.connect(SUPERUSER) as other:
        reader, writer = Market(one), Market(other)
        seller = writer.sign_up()
        writer.rows(BULK, seller, "Meteor", 1, 200)
        known = {row["id"] for row in writer.rows("select id from public.catalog_items where title like 'Meteor%%'")}
        done = threading.Event()

        def publish() -> None:
            n = 1000
            # As many as are ranked, and no more.
            while not done.is_set() and n < 1700:
                writer.rows(NOW, seller, "Meteor", n, n)
                n += 1

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for sort in ("relevance", "newest", "price_up"):
                seen: list[str] = []
                page = found(reader, "meteor", sort=sort, max_rows=10)
                while page:
                    seen += [row["id"] for row in page]
                    page = found(reader, "meteor", sort=sort, max_rows=10, cursor=page[-1]["cursor"])
                assert len(seen) == len(set(seen)), sort
                assert known <= set(seen), sort
        finally:
            done.set()
            thread.join()
            writer.rows("delete from public.catalog_items where seller_id = %s", seller)
