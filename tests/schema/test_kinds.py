"""A new kind of thing is one page: no other hand-written file knows of it.

tests/schema/toy.sql is that page, for a kind that is sold and one that is not. What they get for nothing, or by one
call for each shape, is tried as their owner, a member and an admin would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from stack.schema import check

PAGE = Path(__file__).with_name("toy.sql")
SELLER, FAN, ADMIN = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))


class Toyshop:
    """The schema with toys in it, undone after the test."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        connection.execute(PAGE.read_bytes())
        for person in (SELLER, FAN, ADMIN):
            account = "insert into auth.users (id, email, email_confirmed_at) values (%s, %s, now())"
            self.run(account, person, f"{person}@example.com")
        self.run("update public.profiles set role = 'admin' where id = %s", ADMIN)
        self.run("update public.profiles set role = 'author' where id = %s", SELLER)
        self.run("delete from public.notifications")

    def run(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def caller(self, person: str | None) -> Iterator[None]:
        """Statements in the block are this person's, or a visitor's, with the rights the API gives them."""
        role = "authenticated" if person else "anon"
        claims = json.dumps({"sub": person, "role": role}) if person else "{}"
        self.run("select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)", claims, role)
        yield
        self.run("select set_config('role', 'none', true), set_config('request.jwt.claims', '', true)")

    def told(self, person: str) -> list[dict[str, Any]]:
        notices = "select type::text, related_type, link_url from public.notifications where user_id = %s order by type"
        return self.run(notices, person)

    def toy(self) -> str:
        """A published toy of the seller."""
        with self.caller(SELLER):
            row = self.run(
                "insert into public.toys (title, price_cents, is_published) values ('Red ball', 500, true) returning id"
            )
        return str(row[0]["id"])

    def tale(self, toy: str, content: str = "It #rolls") -> str:
        """A tale of the fan about a toy."""
        with self.caller(FAN):
            row = self.run("insert into public.tales (toy_id, content) values (%s, %s) returning id", toy, content)
        return str(row[0]["id"])


@pytest.fixture
def shop(schema: psycopg.Connection) -> Toyshop:
    return Toyshop(schema)


def test_the_page_breaks_no_rule(shop: Toyshop) -> None:
    assert [(finding.rule, finding.text) for finding in check.rules(shop.connection, check.RULES)] == []


def test_registered_listed_and_counted(shop: Toyshop) -> None:
    toy = shop.toy()
    with shop.caller(None):
        assert shop.run("select kind, title, slug, is_listed from public.catalog_items where id = %s", toy) == [
            {"kind": "toy", "title": "Red ball", "slug": "red-ball", "is_listed": True}
        ]
        found = shop.run("select id::text from public.search_catalog('ball', kind => 'toy')")
        assert found == [{"id": toy}]
        count = "select published_count from public.profile_counts where user_id = %s and kind = 'toy'"
        assert shop.run(count, SELLER) == [{"published_count": 1}]
    with shop.caller(SELLER):
        shop.run("update public.toys set is_published = false where id = %s", toy)
    assert shop.run(count, SELLER) == [{"published_count": 0}]


def test_favored_commented_and_told(shop: Toyshop) -> None:
    toy = shop.toy()
    with shop.caller(FAN):
        shop.run("insert into public.favorites (item_id) values (%s)", toy)
        shop.run("insert into public.comments (item_id, content) values (%s, 'How does it bounce?')", toy)
    [item] = shop.run("select favorites_count, comments_count from public.catalog_items where id = %s", toy)
    assert item == {"favorites_count": 1, "comments_count": 1}
    told = {row["type"]: row for row in shop.told(SELLER)}
    assert set(told) == {"favorite", "comment"}
    assert (told["favorite"]["related_type"], told["favorite"]["link_url"]) == ("toy", f"/toys/{toy}")


@pytest.mark.parametrize(("kind", "owner", "liker"), [("toy", SELLER, FAN), ("tale", FAN, SELLER)])
def test_liked_counted_and_told(shop: Toyshop, kind: str, owner: str, liker: str) -> None:
    toy = shop.toy()
    thing = toy if kind == "toy" else shop.tale(toy)
    shop.run("delete from public.notifications")
    mine = f"select likes_count, t.liked_by_me from public.{kind}s as t where id = %s"
    with shop.caller(liker):
        shop.run(f"insert into public.{kind}_likes ({kind}_id) values (%s)", thing)
        assert shop.run(mine, thing) == [{"likes_count": 1, "liked_by_me": True}]
    with shop.caller(None):
        assert shop.run(mine, thing) == [{"likes_count": 1, "liked_by_me": False}]
        assert shop.run(f"select user_id::text from public.{kind}_likes") == [{"user_id": liker}]
    assert shop.told(owner) == [{"type": "like", "related_type": kind, "link_url": f"/{kind}s/{thing}"}]
    with shop.caller(liker):
        [export] = shop.run("select public.export_my_data() as data")
        assert [row[f"{kind}_id"] for row in export["data"][f"{kind}_likes"]] == [thing]
        shop.run(f"delete from public.{kind}_likes where true")
        assert shop.run(mine, thing) == [{"likes_count": 0, "liked_by_me": False}]
    assert shop.told(owner) == []
    shop.run(f"update public.{kind}s set likes_count = 7 where id = %s", thing)
    drift = shop.run("select counter, target::text, counted, truth from private.recount()")
    assert drift == [{"counter": f"{kind}s.likes_count", "target": thing, "counted": 7, "truth": 0}]


def test_follows_its_author_and_is_tagged(shop: Toyshop) -> None:
    toy = shop.toy()
    tale = shop.tale(toy)
    tags = "select name, usage_count from public.tags"
    count = "select tales_count from public.toys where id = %s"
    shop.run("set constraints private.count_tags immediate")
    for person, statement, seen in (
        (FAN, "select", True),
        (ADMIN, "select public.hide_content('tale', %(tale)s, 'Not true')", False),
        (ADMIN, "select public.restore_content('tale', %(tale)s)", True),
        (FAN, "select public.set_profile_visibility('private')", False),
        (FAN, "select public.set_profile_visibility('public')", True),
        (ADMIN, "select public.ban_user(%(fan)s, 'spam')", False),
        (ADMIN, "select public.unban_user(%(fan)s)", True),
        (FAN, "delete from public.tales where id = %(tale)s", False),
    ):
        with shop.caller(person):
            shop.connection.execute(statement.encode(), {"tale": tale, "fan": FAN})
        assert shop.run(count, toy) == [{"tales_count": int(seen)}], statement
        assert shop.run(tags) == ([{"name": "rolls", "usage_count": 1}] if seen else []), statement
        assert shop.run("select * from private.recount()") == [], statement


def test_forgotten_when_hidden_or_deleted(shop: Toyshop) -> None:
    """Others are no longer told of it, nor of what was said there; its owner is."""
    toy = shop.toy()
    with shop.caller(FAN):
        [first] = shop.run("insert into public.comments (item_id, content) values (%s, 'Mine') returning id", toy)
    with shop.caller(ADMIN):
        reply = "insert into public.comments (item_id, parent_comment_id, content) values (%s, %s, 'Fine')"
        shop.run(reply, toy, first["id"])
    assert [row["type"] for row in shop.told(FAN)] == ["reply"]
    assert {row["type"] for row in shop.told(SELLER)} == {"comment"}
    shop.run("update public.toys set is_hidden = true where id = %s", toy)
    assert shop.told(FAN) == []
    assert {row["type"] for row in shop.told(SELLER)} == {"comment"}
    tale = shop.tale(toy)
    with shop.caller(SELLER):
        shop.run("insert into public.tale_likes (tale_id) values (%s)", tale)
    assert [row["type"] for row in shop.told(FAN)] == ["like"]
    shop.run("delete from public.tales where id = %s", tale)
    assert shop.told(FAN) == []


def test_reported_and_hidden(shop: Toyshop) -> None:
    toy = shop.toy()
    with shop.caller(FAN):
        shop.run("select public.report_content('toy', %s, 'fraud')", toy)
    [evidence] = shop.run("select author_id::text, content ->> 'title' as title from public.report_evidence")
    assert evidence == {"author_id": SELLER, "title": "Red ball"}
    with shop.caller(ADMIN):
        shop.run("select public.hide_content('toy', %s, 'Not a toy')", toy)
        [waiting] = shop.run("select target_type, is_hidden from public.moderation_queue()")
        assert waiting == {"target_type": "toy", "is_hidden": True}
    with shop.caller(FAN):
        assert shop.run("select from public.toys where id = %s", toy) == []
    with shop.caller(SELLER):
        assert shop.run("select hidden_reason from public.toys where id = %s", toy) == [{"hidden_reason": "Not a toy"}]
    assert [row["type"] for row in shop.told(SELLER)] == ["content_hidden"]
    assert shop.run("select published_count from public.profile_counts where user_id = %s", SELLER) == [
        {"published_count": 0}
    ]
    audited = shop.run("select action, target_type from public.audit_log where target_id = %s", toy)
    assert audited == [{"action": "hide_content", "target_type": "toy"}]
    with shop.caller(ADMIN):
        shop.run("select public.restore_content('toy', %s)", toy)
    with shop.caller(None):
        assert shop.run("select is_listed from public.catalog_items where id = %s", toy) == [{"is_listed": True}]


def test_several_at_once_are_the_same_code(shop: Toyshop) -> None:
    toys = [shop.toy() for _ in range(3)]
    shop.run("select private.dispatch_hide('toy', %s::uuid[], 'All of them')", toys)
    [hidden] = shop.run(
        "select count(*) filter (where is_hidden) as n from private.dispatch_lock('toy', %s::uuid[])", toys
    )
    assert hidden == {"n": 3}
    [seen] = shop.run("select count(*) as n from private.dispatch_evidence('toy', %s::uuid[], null)", toys)
    assert seen == {"n": 3}


def test_exported_and_erased(shop: Toyshop) -> None:
    toy = shop.toy()
    tale = shop.tale(toy)
    with shop.caller(SELLER):
        [export] = shop.run("select public.export_my_data() as data")
    assert [row["id"] for row in export["data"]["toys"]] == [toy]
    shop.run("delete from auth.users where id = %s", SELLER)
    for relation in ("toys", "catalog_items", "profiles", "tales"):
        assert shop.run(f"select from public.{relation} where id in (%s, %s, %s)", toy, SELLER, tale) == []


def test_who_leaves_takes_their_likes_along(shop: Toyshop) -> None:
    toy = shop.toy()
    with shop.caller(FAN):
        shop.run("insert into public.toy_likes (toy_id) values (%s)", toy)
    shop.run("delete from auth.users where id = %s", FAN)
    assert shop.run("select likes_count from public.toys") == [{"likes_count": 0}]
    assert shop.run("select from public.toy_likes") == []
    assert shop.told(SELLER) == []


@pytest.mark.parametrize("kind", ["toy car", "order", None])
def test_no_such_kind(shop: Toyshop, kind: str | None) -> None:
    with shop.caller(FAN), pytest.raises(psycopg.Error) as refused, shop.connection.transaction():
        shop.run("select public.report_content(%s, %s, 'spam')", kind, SELLER)
    assert refused.value.diag.message_hint == "cannot_be_reported"
