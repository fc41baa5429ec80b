"""Search and facets: what is found, what is first, what is counted, and for whom. Case 39."""

from __future__ import annotations

import base64
import json

import pytest

from tests.money.market import Json, Market, refused

# Rows of the registry alone: a search reads nothing else.
BULK = """
insert into public.catalog_items (
    id, kind, seller_id, title, slug, price_cents, currency, category, tags, is_repeatable, is_browsable,
    requires_shipping, is_featured, is_published, is_for_sale, seller_is_active, search, published_at
)
select
    i.id, 'artwork', %s, i.title, i.id::text, 100 + i.n, 'USD', 'digital', '{bulk}', false, true, false, false, true,
    true, true, private.search_vector(i.title, '{bulk}', null), now() - i.n * interval '1 hour'
from (
    select n, gen_random_uuid() as id, %s || case when n = 0 then '' else ' ' || n end as title
    from generate_series(%s::integer, %s::integer) as n
) as i
"""


def artwork(market: Market, seller: str, title: str, price_cents: int = 1000, **more: Json) -> str:
    columns = {"title": title, "price_cents": price_cents, "category": "painting", **more}
    (row,) = market.member(
        seller,
        f"insert into public.artworks (image_url, status, {', '.join(columns)}) "
        f"values ('https://images.example/1.png', 'published', {', '.join(['%s'] * len(columns))}) returning id",
        *columns.values(),
    )
    return str(row["id"])


def found(market: Market, query: str | None = None, viewer: str | None = None, **filters: Json) -> list[Json]:
    given = "".join(f", {name} => %s" for name in filters)
    statement = f"select * from public.search_catalog(%s{given})"
    if viewer:
        return market.member(viewer, statement, query, *filters.values())
    return market._as("anon", {"role": "anon"}, statement, (query, *filters.values()))


def titles(market: Market, query: str | None = None, viewer: str | None = None, **filters: Json) -> list[str]:
    return [row["title"] for row in found(market, query, viewer, **filters)]


def facets(market: Market, query: str | None = None, viewer: str | None = None, **filters: Json) -> Json:
    given = "".join(f", {name} => %s" for name in filters)
    statement = f"select * from public.catalog_facets(%s{given})"
    values = (query, *filters.values())
    rows = market.member(viewer, statement, *values) if viewer else market._as("anon", {}, statement, values)
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row["facet"], {})[row["value"]] = row["items_count"]
    return counts


def test_market_39_the_title_typed_exactly_is_first(market: Market) -> None:
    market.has_made_up_counts = True
    seller = market.sign_up()
    market.rows(BULK, seller, "Harbour", 1, 1500)
    artwork(market, seller, "Blue harbour harbour", tags=["harbour"])
    exact = artwork(market, seller, "Harbour")
    market.rows("update public.catalog_items set published_at = '2001-01-01' where id = %s", exact)
    # The oldest of many, never sold, and first all the same; however it is typed.
    for query in ("Harbour", "HARBOUR", "hárbour", "  harbour "):
        assert found(market, query)[0]["id"] == exact, query


def test_market_39_the_best_of_many_is_not_lost_to_where_rows_lie(market: Market) -> None:
    market.has_made_up_counts = True
    seller = market.sign_up()
    first = artwork(market, seller, "Gallery wall", tags=["lamp"])
    market.rows(BULK, seller, "Lamp", 1, 1500)
    sold = artwork(market, seller, "Lamp of brass")
    market.rows("update public.catalog_items set paid_purchases_count = 300 where id = %s", sold)
    market.rows("update public.catalog_items set published_at = '2001-01-01' where id in (%s, %s)", sold, first)
    page = found(market, "lamp")
    assert page[0]["id"] == sold
    # Titles come before what only says so in its tags, and candidates are capped.
    seen, cursor = [row["id"] for row in page], page[-1]["cursor"]
    while page := found(market, "lamp", cursor=cursor, max_rows=100):
        seen, cursor = seen + [row["id"] for row in page], page[-1]["cursor"]
    assert len(seen) == len(set(seen)) <= 1000
    assert first not in seen[:200]


@pytest.mark.parametrize(
    "query", ["Café Sessions", "cafe", "CAFÉ", "cafe ses", "session", "sesions", "cafee sessions", "essio", "cfae"]
)
def test_market_39_accents_case_beginnings_and_a_typing_error(market: Market, query: str) -> None:
    seller = market.sign_up()
    artwork(market, seller, "Something else")
    artwork(market, seller, "Café Sessions")
    assert titles(market, query) == ["Café Sessions"]


def test_market_39_stop_words_only_find_a_title_not_everything(market: Market) -> None:
    seller = market.sign_up()
    for title in ("The The", "To be or not to be", "A red boat", "The end of the road"):
        artwork(market, seller, title)
    assert titles(market, "The The")[0] == "The The"
    assert "A red boat" not in titles(market, "the the")
    assert titles(market, "to be or not to be") == ["To be or not to be"]
    assert titles(market, "-boat") == titles(market, "...") == []


def test_market_39_a_cursor_belongs_to_its_search(market: Market) -> None:
    seller = market.sign_up()
    for n in range(4):
        artwork(market, seller, f"Kite {n}", tags=["wind"])
    cursor = found(market, "kite", max_rows=2)[1]["cursor"]
    assert len(found(market, "kite", cursor=cursor)) == 2
    assert len(found(market, "kite", cursor=cursor, max_rows=1)) == 1
    for other in ({"tags": ["wind"]}, {"kinds": ["artwork"]}, {"sort": "newest"}, {"max_price_cents": 5000}):
        with refused("cursor_mismatch"):
            found(market, "kite", cursor=cursor, **other)
    with refused("cursor_mismatch"):
        found(market, "kites", cursor=cursor)
    for broken in ("x", "", "AAAA", cursor[:-9], "W10", "bnVsbA"):
        with refused("cursor_invalid", "cursor_mismatch"):
            found(market, "kite", cursor=broken)


def test_market_39_prices_are_cents(market: Market) -> None:
    seller = market.sign_up()
    # 19.99 × 100 is less than 1999 where prices are floats.
    for cents in (1999, 2000, 1998, 115, 0):
        artwork(market, seller, f"Priced {cents}", cents)
    assert titles(market, "priced", min_price_cents=1999, max_price_cents=1999) == ["Priced 1999"]
    assert titles(market, None, min_price_cents=115, max_price_cents=115) == ["Priced 115"]
    assert titles(market, "priced", sort="price_up", max_price_cents=1999) == [
        "Priced 0", "Priced 115", "Priced 1998", "Priced 1999",
    ]  # fmt: skip


def test_market_39_facets_or_inside_and_across_own_choice_ignored(market: Market) -> None:
    market.make_kinds()
    market.rows("select private.build_dispatch()")
    seller = market.sign_up()
    artwork(market, seller, "Moon one", 500, category="painting", tags=["night"])
    artwork(market, seller, "Moon two", 5000, category="digital", tags=["night", "sea"])
    product = market.product(seller, 700)
    market.member(seller, "update public.products set title = 'Moon sound', tags = '{sea}' where id = %s", product)
    counts = facets(market, "moon")
    assert counts["kind"] == {"artwork": 2, "product": 1}
    assert counts["tag"] == {"night": 2, "sea": 2}
    assert counts["price"] == {"1": 2, "5000": 1}
    # Of the chosen facet one sees what else there is; the others count what is left.
    chosen = facets(market, "moon", kinds=["product"])
    assert chosen["kind"] == {"artwork": 2, "product": 1}
    assert chosen["tag"] == {"sea": 1}
    # Inside one facet any will do, across facets all must be.
    assert len(titles(market, "moon", tags=["night", "sea"])) == 3
    assert titles(market, "moon", tags=["night", "sea"], kinds=["product"]) == ["Moon sound"]
    assert titles(market, "moon", kinds=["artwork", "product"], category="digital") == ["Moon two"]
    both = facets(market, "moon", kinds=["product"], tags=["night"])
    assert both["kind"] == {"artwork": 2}
    assert both["tag"] == {"sea": 1}


def test_market_39_counts_are_capped(market: Market) -> None:
    seller = market.sign_up()
    market.rows(BULK, seller, "Capped", 1, 1500)
    rows = market._as("anon", {}, "select * from public.catalog_facets('capped') where facet = 'kind'", ())
    assert [row["is_capped"] for row in rows] == [True]
    assert 0 < rows[0]["items_count"] <= 1000


def test_market_39_whom_the_viewer_does_not_see_is_neither_found_nor_counted(market: Market) -> None:
    viewer, seen, blocked, private, banned = (market.sign_up() for _ in range(5))
    for seller, title in ((seen, "Fox"), (blocked, "Fox two"), (private, "Fox three"), (banned, "Fox four")):
        artwork(market, seller, title, tags=["fur"])
    market.member(viewer, "insert into public.user_blocks (blocked_id) values (%s)", blocked)
    market.rpc(private, "set_profile_visibility", visibility="private")
    market.ban(banned)
    assert titles(market, "fox", viewer) == ["Fox"]
    assert facets(market, "fox", viewer) == {
        "kind": {"artwork": 1}, "category": {"painting": 1}, "tag": {"fur": 1}, "price": {"1000": 1},
    }  # fmt: skip
    # The blocked find nothing of who blocked them; visitors know of no blocks.
    artwork(market, viewer, "Fox of mine")
    assert sorted(titles(market, "fox", blocked)) == ["Fox", "Fox two"]
    assert sorted(titles(market, "fox")) == ["Fox", "Fox of mine", "Fox two"]
    assert facets(market, "fox")["kind"] == {"artwork": 3}
    for sort in ("newest", "price_up", "popular", "rated"):
        assert titles(market, None, viewer, sort=sort) in (["Fox", "Fox of mine"], ["Fox of mine", "Fox"])


def test_unrated_items_come_last_and_count_as_none(market: Market) -> None:
    market.has_made_up_counts = True
    seller = market.sign_up()
    good, fair, none = (artwork(market, seller, f"Rated {n}") for n in range(3))
    market.rows("update public.catalog_items set rating_average = 4.5, reviews_count = 2 where id = %s", good)
    market.rows("update public.catalog_items set rating_average = 3, reviews_count = 1 where id = %s", fair)
    assert [row["id"] for row in found(market, "rated", sort="rated")] == [good, fair, none]
    assert [row["id"] for row in found(market, "rated", sort="rated", min_rating=3)] == [good, fair]
    assert facets(market, "rated")["rating"] == {"1": 2, "2": 2, "3": 2, "4": 1}


def test_what_is_asked_is_bounded(market: Market) -> None:
    with refused("invalid_tags"):
        found(market, "x", tags=[f"tag {n}" for n in range(21)])
    with refused("invalid_search"):
        found(market, "x", kinds=[f"kind{n}" for n in range(21)])
    with refused("invalid_search"):
        found(market, "x", category="c" * 201)
    assert found(market, "x y " * 5000) == []
    assert found(market, None, max_rows=1000000) == []


def test_words_no_title_has_are_forgotten(market: Market) -> None:
    seller = market.sign_up()
    kept, gone = artwork(market, seller, "Staying"), artwork(market, seller, "Vanishing")
    market.rows("delete from public.artworks where id = %s", gone)
    market.rows("update private.title_words set added_at = now() - interval '31 days'")
    assert market.worker("select private.forget_title_words()") >= 2
    words = {row["word"] for row in market.rows("select word from private.title_words")}
    assert "staying" in words
    assert "vanishing" not in words
    assert [row["id"] for row in found(market, "stayng")] == [kept]


@pytest.mark.parametrize("until", ["9224318015999", "Infinity", "-Infinity", "NaN", "-1e9", "1e300", "x"])
def test_a_cursor_somebody_made_up(market: Market, until: str) -> None:
    """Nothing in it is secret, so anything may be in it."""
    seller = market.sign_up()
    artwork(market, seller, "Comet")
    (row,) = found(market, "comet", sort="newest", max_rows=1)
    value, item, _, filters = json.loads(base64.urlsafe_b64decode(row["cursor"] + "=="))
    cursor = base64.urlsafe_b64encode(json.dumps([value, item, until, filters]).encode()).decode()
    with refused("cursor_invalid"):
        found(market, "comet", sort="newest", max_rows=1, cursor=cursor)


def test_unwanted_words_next_to_each_other(market: Market) -> None:
    seller = market.sign_up()
    artwork(market, seller, "Red lamp")
    artwork(market, seller, "Lamp, red and blue")
    assert titles(market, 'lamp -"red lamp"') == ["Lamp, red and blue"]
    assert titles(market, '-"red lamp" lamp') == ["Lamp, red and blue"]
    assert titles(market, "lamp -red") == []


def test_kinds_in_lists_of_lists(market: Market) -> None:
    artwork(market, market.sign_up(), "Nested")
    assert titles(market, "nested", kinds=[["artwork"], ["product"]]) == ["Nested"]
    assert facets(market, "nested", kinds=[["artwork"], [None]])["kind"] == {"artwork": 1}
