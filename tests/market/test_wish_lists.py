"""Wish lists: private, shared by a token, and what their owners are told. Case 40."""

from __future__ import annotations

from typing import Any

from tests.market.test_search import artwork
from tests.money.market import Json, Market, refused


def wish_list(market: Market, member: str, *items: str, name: str = "Birthday") -> str:
    (row,) = market.member(member, "insert into public.wish_lists (name) values (%s) returning id", name)
    for item in items:
        wish(market, member, str(row["id"]), item)
    return str(row["id"])


def wish(market: Market, member: str, wishes: str, item: str) -> None:
    market.member(member, "insert into public.wish_list_items (list_id, item_id) values (%s, %s)", wishes, item)


def shared(market: Market, token: str, reader: str | None = None) -> Json:
    statement = "select name, owner_name, to_jsonb(items) as items from public.shared_wish_list(%s)"
    rows = market.member(reader, statement, token) if reader else market._as("anon", {}, statement, (token,))
    return rows[0]


def priced(market: Market, seller: str, item: str, cents: int) -> None:
    market.member(seller, "update public.artworks set price_cents = %s where id = %s", cents, item)


def told(market: Market, member: str) -> list[str]:
    """Types of what somebody was told since, newest last; after the job has run."""
    while market.worker("select private.tell_wishers()"):
        pass
    rows: list[dict[str, Any]] = market.rows(
        "delete from public.notifications where user_id = %s and type in ('price_drop', 'back_in_stock') "
        "returning type, related_id, related_type",
        member,
    )
    return sorted(row["type"] for row in rows)


def test_market_40_a_wish_list_is_private(market: Market) -> None:
    owner, stranger, seller = (market.sign_up() for _ in range(3))
    item = artwork(market, seller, "Wanted")
    wishes = wish_list(market, owner, item)
    for who in (stranger, seller, market.sign_up(role="admin")):
        assert market.member(who, "select id from public.wish_lists") == []
        assert market.member(who, "select * from public.wish_list_items") == []
        with refused("wish_list_not_found"):
            wish(market, who, wishes, item)
        for act in ("share_wish_list", "unshare_wish_list"):
            with refused("wish_list_not_found"):
                market.rpc(who, act, list_id=wishes)
    assert len(market.member(owner, "select * from public.wish_list_items")) == 1
    # Not even its owner reads the hash.
    with refused("42501"):
        market.member(owner, "select token_hash from private.wish_list_tokens")


def test_market_40_shared_by_a_random_token_that_can_be_taken_back(market: Market) -> None:
    owner, reader, seller = (market.sign_up() for _ in range(3))
    market.rows("update public.profiles set display_name = 'Ana' where id = %s", owner)
    item = artwork(market, seller, "Wanted", 1500)
    wishes = wish_list(market, owner, item)
    token = market.rpc(owner, "share_wish_list", list_id=wishes)
    assert len(token) == 64
    assert token != market.rpc(owner, "share_wish_list", list_id=wish_list(market, owner))
    assert token not in str(market.rows("select token_hash::text from private.wish_list_tokens"))
    for who in (None, reader):
        seen = shared(market, token, who)
        assert (seen["name"], seen["owner_name"]) == ("Birthday", "Ana")
        assert [(w["title"], w["price_cents"], w["is_buyable"]) for w in seen["items"]] == [("Wanted", 1500, True)]
    # The list's number opens nothing.
    for wrong in (wishes, token[:-1], token.upper(), "", None):
        with refused("wish_list_not_found"):
            shared(market, wrong)  # type: ignore[arg-type]
    # Shared anew, the old link is dead; taken back, both are.
    renewed = market.rpc(owner, "share_wish_list", list_id=wishes)
    with refused("wish_list_not_found"):
        shared(market, token)
    assert shared(market, renewed)["name"] == "Birthday"
    market.rpc(owner, "unshare_wish_list", list_id=wishes)
    with refused("wish_list_not_found"):
        shared(market, renewed)


def test_market_40_a_shared_list_ends_with_its_owner(market: Market) -> None:
    owner, blocked = market.sign_up(), market.sign_up()
    token = market.rpc(owner, "share_wish_list", list_id=wish_list(market, owner))
    market.member(owner, "insert into public.user_blocks (blocked_id) values (%s)", blocked)
    with refused("wish_list_not_found"):
        shared(market, token, blocked)
    assert shared(market, token)["items"] == []
    market.ban(owner)
    with refused("wish_list_not_found"):
        shared(market, token)


def test_market_40_what_is_taken_down_shows_no_title_and_no_price(market: Market) -> None:
    owner, seller, private = (market.sign_up() for _ in range(3))
    item, theirs = artwork(market, seller, "Withdrawn"), artwork(market, private, "Hidden")
    token = market.rpc(owner, "share_wish_list", list_id=wish_list(market, owner, item, theirs))
    market.member(seller, "update public.artworks set status = 'archived' where id = %s", item)
    market.rpc(private, "set_profile_visibility", visibility="private")
    for reader in (None, market.sign_up(), seller):
        for row in shared(market, token, reader)["items"]:
            added = row.pop("added_at")
            assert added
            assert row.pop("is_buyable") is False
            assert set(row.values()) == {None}
    # Its owner keeps the row, without what they may not see.
    kept = market.member(
        owner,
        "select c.title from public.wish_list_items as i left join public.catalog_items as c on c.id = i.item_id",
    )
    assert [row["title"] for row in kept] == [None, None]


def test_market_40_one_price_drop_notice_for_each_new_low(market: Market) -> None:
    owner, seller = market.sign_up(), market.sign_up()
    item = artwork(market, seller, "Cheaper", 1000)
    wish_list(market, owner, item)
    for cents, notices in (
        (900, ["price_drop"]), (900, []), (1000, []), (900, []), (950, []), (1200, []), (899, ["price_drop"]),
    ):  # fmt: skip
        priced(market, seller, item, cents)
        assert told(market, owner) == notices, cents
    # Down and up again before anybody looked: no news.
    priced(market, seller, item, 500)
    priced(market, seller, item, 2000)
    assert told(market, owner) == []


def test_one_member_is_told_once_whatever_lists_it_is_on(market: Market) -> None:
    owner, seller = market.sign_up(), market.sign_up()
    item = artwork(market, seller, "Twice", 1000)
    wish_list(market, owner, item)
    priced(market, seller, item, 800)
    assert told(market, owner) == ["price_drop"]
    priced(market, seller, item, 1500)
    wish_list(market, owner, item, name="Other")
    # Lower than when it was put on the second list, not lower than they know.
    priced(market, seller, item, 900)
    assert told(market, owner) == []
    priced(market, seller, item, 700)
    assert told(market, owner) == ["price_drop"]


def test_told_once_when_it_can_be_had_again(market: Market) -> None:
    market.make_kinds()
    market.rows("select private.build_dispatch()")
    owner, seller = market.sign_up(), market.sign_up()
    item = market.good(seller, 0, stock=2)
    wish_list(market, owner, item)
    for _ in range(2):
        market.checkout(market.sign_up(), item)
    assert market.one("select is_sold_out from public.catalog_items where id = %s", item)
    assert told(market, owner) == []
    market.rows("update public.goods set stock = 3 where id = %s", item)
    assert told(market, owner) == ["back_in_stock"]
    market.rows("update public.goods set is_hidden = true where id = %s", item)
    market.rows("update public.goods set is_hidden = false where id = %s", item)
    assert told(market, owner) == []


def test_not_who_switched_it_off_nor_of_whom_they_do_not_see(market: Market) -> None:
    off, blocked, glad, seller = (market.sign_up() for _ in range(4))
    item = artwork(market, seller, "Sold", 1000)
    for member in (off, blocked, glad):
        wish_list(market, member, item)
    market.member(
        off,
        'update public.profile_settings set notification_preferences = \'{"price_drop": {"in_app": false}}\' '
        "where user_id = %s",
        off,
    )
    market.member(blocked, "insert into public.user_blocks (blocked_id) values (%s)", seller)
    priced(market, seller, item, 700)
    assert [told(market, member) for member in (off, blocked, glad)] == [[], [], ["price_drop"]]


def test_a_change_nobody_waits_for_leaves_no_note(market: Market) -> None:
    seller = market.sign_up()
    item = artwork(market, seller, "Unwanted", 1000)
    priced(market, seller, item, 700)
    assert market.one("select count(*) from private.item_changes") == 0


def test_lists_and_items_have_limits(market: Market) -> None:
    owner, seller = market.sign_up(), market.sign_up()
    market.rows("update private.settings set wish_lists_per_member = 2, items_per_wish_list = 2")
    items = [artwork(market, seller, f"Many {n}") for n in range(3)]
    wishes = wish_list(market, owner, *items[:2])
    with refused("wish_list_full"):
        wish(market, owner, wishes, items[2])
    # What is on it already may be put on it again.
    market.member(
        owner,
        "insert into public.wish_list_items (list_id, item_id) values (%s, %s) on conflict (list_id, item_id) "
        "do update set item_id = excluded.item_id",
        wishes,
        items[0],
    )
    wish_list(market, owner, name="Second")
    with refused("too_many_wish_lists"):
        wish_list(market, owner, name="Third")
    with refused("item_not_found"):
        market.member(seller, "update public.artworks set status = 'archived' where id = %s", items[2])
        wish(market, owner, wishes, items[2])


def test_market_40_a_cent_less_each_minute_is_no_news(market: Market) -> None:
    seller, owner = market.sign_up(), market.sign_up()
    item, another = (artwork(market, seller, title, 1000) for title in ("Cheaper and cheaper", "Another"))
    wish_list(market, owner, item, another)
    for cents in range(990, 900, -10):
        priced(market, seller, item, cents)
        while market.worker("select private.tell_wishers()"):
            pass
    priced(market, seller, another, 500)
    assert told(market, owner) == ["price_drop"] * 4
    # The next day it is again.
    priced(market, seller, item, 100)
    assert told(market, owner) == ["price_drop"]
