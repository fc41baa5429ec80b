"""A new kind of thing in the shop is one page: no other hand-written file knows of it.

tests/schema/toy.sql is that page. What it gets for nothing is tried as its seller, a member and an admin would.
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
    with shop.caller(SELLER):
        [export] = shop.run("select public.export_my_data() as data")
    assert [row["id"] for row in export["data"]["toys"]] == [toy]
    shop.run("delete from auth.users where id = %s", SELLER)
    for relation in ("toys", "catalog_items", "profiles"):
        assert shop.run(f"select from public.{relation} where id in (%s, %s)", toy, SELLER) == []


@pytest.mark.parametrize("kind", ["toy car", "order", None])
def test_no_such_kind(shop: Toyshop, kind: str | None) -> None:
    with shop.caller(FAN), pytest.raises(psycopg.Error) as refused, shop.connection.transaction():
        shop.run("select public.report_content(%s, %s, 'spam')", kind, SELLER)
    assert refused.value.diag.message_hint == "cannot_be_reported"
