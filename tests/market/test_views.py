"""Views, statistics of days and trending lists. Case 40."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.market.test_search import artwork
from tests.market.webinars import webinar
from tests.money.market import Json, Market, refused

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def view(
    market: Market, item: str, member: str | None = None, agent: str | None = FIREFOX, address: str = "203.0.113.7"
) -> Json:
    """As the Data API calls it; what it answers."""
    headers = {"user-agent": agent, "x-forwarded-for": address} if agent is not None else {"x-forwarded-for": address}
    market.rows("select set_config('request.headers', %s, true)", json.dumps(headers))
    claims = {"sub": member, "role": "authenticated"} if member else {"role": "anon"}
    rows = market._as(claims["role"], claims, "select public.record_view(%s) as n", (item,))
    return rows[0]["n"]


def fold(market: Market) -> None:
    while market.worker("select private.fold_views()"):
        pass


def count(market: Market, item: str) -> int:
    fold(market)
    return int(market.one("select views_count from public.catalog_items where id = %s", item))


def test_market_40_one_view_for_each_viewer_item_and_half_hour(market: Market) -> None:
    seller, member, other = (market.sign_up() for _ in range(3))
    item, another = artwork(market, seller, "Seen"), artwork(market, seller, "Seen, too")
    for _ in range(3):
        view(market, item, member)
        view(market, item)
    assert count(market, item) == 2
    view(market, item, other)
    view(market, item, address="203.0.113.8")
    view(market, item, agent=FIREFOX.replace("140", "141"))
    view(market, another, member)
    assert (count(market, item), count(market, another)) == (5, 1)
    # The next half hour by the clock is not half an hour later.
    earlier = "update private.item_views set viewed_at = viewed_at - %s::interval, slot = slot - 1"
    market.rows(earlier, "29 minutes")
    view(market, item, member)
    assert count(market, item) == 5
    market.rows("update private.item_views set viewed_at = viewed_at - interval '2 minutes'")
    view(market, item, member)
    assert count(market, item) == 6


def test_market_40_what_a_browser_calls_itself_makes_no_crowd(market: Market) -> None:
    seller = market.sign_up()
    item, another = artwork(market, seller, "Pushed"), artwork(market, seller, "Pushed, too")
    for n in range(50):
        view(market, item, agent=f"{FIREFOX} {n}")
    assert count(market, item) == 20
    # Others at other addresses, members, and other items are not concerned.
    view(market, item, address="203.0.113.8")
    view(market, item, market.sign_up())
    view(market, another)
    assert (count(market, item), count(market, another)) == (22, 1)


def test_market_40_not_the_co_hosts(market: Market) -> None:
    host, co_host, guest = market.sign_up("premium"), market.sign_up(), market.sign_up()
    item = webinar(market, host)
    market.rpc(host, "invite_co_host", webinar_id=item, user_id=co_host)
    market.rpc(co_host, "answer_co_hosting", webinar_id=item, accept=True)
    for viewer in (co_host, guest, host):
        view(market, item, viewer)
    assert count(market, item) == 1


def test_market_40_a_repeated_call_answers_the_stored_count(market: Market) -> None:
    seller, member = market.sign_up(), market.sign_up()
    item = artwork(market, seller, "Counted")
    assert view(market, item, member) == 0
    fold(market)
    assert view(market, item, member) == 1
    assert view(market, item, seller) == 1


def test_market_40_not_the_sellers_signed_in_or_out(market: Market) -> None:
    seller = market.sign_up()
    item = artwork(market, seller, "Mine")
    view(market, item, seller)
    # The same browser, signed out.
    view(market, item)
    assert count(market, item) == 0
    view(market, item, address="203.0.113.8")
    assert count(market, item) == 1


def test_market_40_not_admins_whoever_they_look_as(market: Market) -> None:
    seller = market.sign_up()
    item = artwork(market, seller, "Looked at")
    for role in ("admin", "super_admin"):
        view(market, item, market.sign_up(role=role))
    assert count(market, item) == 0


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1)", "curl/8.5.0", "python-requests/2.32",
        "facebookexternalhit/1.1", "Mozilla/5.0 HeadlessChrome/126.0", "", None,
    ],
)  # fmt: skip
def test_market_40_not_programs(market: Market, agent: str | None) -> None:
    item = artwork(market, market.sign_up(), "Crawled")
    view(market, item, agent=agent)
    assert count(market, item) == 0


def test_market_40_client_sends_neither_user_nor_time(market: Market) -> None:
    names = market.one("select proargnames from pg_proc where oid = 'public.record_view(uuid)'::regprocedure")
    assert names == ["item_id"]
    item = artwork(market, market.sign_up(), "Timed")
    view(market, item)
    row = market.row("select day, viewed_at from private.item_views")
    assert row["day"] == datetime.now(UTC).date()
    assert abs((datetime.now(UTC) - row["viewed_at"]).total_seconds()) < 60


def test_what_cannot_be_seen_is_not_viewed(market: Market) -> None:
    seller, blocked = market.sign_up(), market.sign_up()
    draft = artwork(market, seller, "Draft")
    shown = artwork(market, seller, "Shown")
    market.member(seller, "update public.artworks set status = 'archived' where id = %s", draft)
    market.member(seller, "insert into public.user_blocks (blocked_id) values (%s)", blocked)
    for item, member in ((draft, None), (draft, blocked), (shown, blocked)):
        with refused("item_not_found"):
            view(market, item, member)
    assert view(market, draft, seller) == 0


def test_hashes_say_nothing_once_the_day_is_over(market: Market) -> None:
    seller, member = market.sign_up(), market.sign_up()
    item = artwork(market, seller, "Forgotten")
    view(market, item, member)
    view(market, item)
    rows = market.rows("select viewer from private.item_views")
    assert all(len(row["viewer"]) == 32 for row in rows)
    assert len(rows) == 2
    market.rows("update private.item_views set day = day - 1")
    market.rows("update private.view_salts set day = day - 1")
    fold(market)
    fold(market)
    assert market.one("select count(*) from private.item_views") == 0
    assert market.one("select count(*) from private.view_salts") == 0
    assert count(market, item) == 2
    # Of another day it is another view.
    view(market, item, member)
    assert count(market, item) == 3


def test_statistics_of_a_day_for_the_seller_alone(market: Market) -> None:
    seller, fan, buyer, stranger = (market.sign_up() for _ in range(4))
    item = market.product(seller, 0)
    for member in (fan, buyer, stranger):
        view(market, item, member)
    market.member(fan, "insert into public.favorites (item_id) values (%s)", item)
    market.member(buyer, "insert into public.favorites (item_id) values (%s)", item)
    market.member(buyer, "delete from public.favorites where item_id = %s", item)
    market.member(buyer, "insert into public.cart_items (item_id) values (%s)", item)
    market.checkout(buyer, item)
    fold(market)
    (mine,) = market.member(seller, "select * from public.item_statistics")
    assert (mine["views"], mine["favorites"], mine["carts"], mine["sales"]) == (3, 1, 1, 1)
    assert float(mine["conversion"]) == 0.3333
    assert mine["day"] == datetime.now(UTC).date()
    assert market.member(stranger, "select * from public.item_statistics") == []
    assert len(market.member(market.sign_up(role="admin"), "select * from public.item_statistics")) == 1


def test_days_are_cut_in_utc_whatever_the_session_says(market: Market) -> None:
    seller, fan = market.sign_up(), market.sign_up()
    item = artwork(market, seller, "Zoned")
    market.rows("set local time zone 'Pacific/Kiritimati'")
    market.member(fan, "insert into public.favorites (item_id) values (%s)", item)
    view(market, item, fan)
    fold(market)
    market.rows("set local time zone 'Etc/GMT+12'")
    days = market.rows("select day from public.item_statistics")
    assert [row["day"] for row in days] == [datetime.now(UTC).date()]


def test_trending_is_what_many_look_at_and_buy_lately(market: Market) -> None:
    seller = market.sign_up()
    old, new, sold, none = (artwork(market, seller, f"Trend {n}") for n in range(4))
    day = (
        "insert into public.item_statistics (item_id, day, views, sales) "
        "values (%s, (now() at time zone 'UTC')::date - %s, %s, %s)"
    )
    market.rows(day, old, 10, 100, 0)
    market.rows(day, new, 0, 100, 0)
    market.rows(day, sold, 0, 10, 20)
    market.rows(day, none, 60, 100000, 0)
    assert market.worker("select private.update_trending_items()") == 3
    assert market.worker("select private.update_trending_items()") == 0
    listed = "select item_id from public.trending_items order by score desc, item_id desc"
    assert [row["item_id"] for row in market._as("anon", {}, listed, ())] == [sold, new, old]
    # What leaves the shop is not shown, and goes with the next run.
    market.member(seller, "update public.artworks set status = 'archived' where id = %s", sold)
    assert [row["item_id"] for row in market._as("anon", {}, listed, ())] == [new, old]
    assert market.worker("select private.update_trending_items()") == 1
