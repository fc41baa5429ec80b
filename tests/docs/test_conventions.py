"""The templates of docs/conventions.md: applied as printed they break no rule, and do what they say."""

from __future__ import annotations

import re

import psycopg
import pytest

from stack.cluster import REPO, SUPERUSER
from stack.schema import check
from tests.harness.server import Database
from tests.money.market import Market, refused

PAGE = (REPO / "docs" / "conventions.md").read_text()


def test_the_templates_keep_every_rule_and_work(database: Database) -> None:
    blocks = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(blocks) == 7
    with database.connect() as owner:
        for block in blocks:
            owner.execute(block.encode())
    with database.connect(SUPERUSER) as connection:
        assert check.rules(connection, unused=False) == []
        market = Market(connection)
        member, other = market.sign_up(), market.sign_up()
        market.rpc(member, "wish_for", title="  A  quiet place ")
        for caller in (member, other):
            assert market.member(caller, "select title from public.wishes") == [{"title": "A quiet place"}]
        market.member(other, "insert into public.wish_likes (wish_id) select id from public.wishes returning wish_id")
        fields = "select likes_count, w.liked_by_me from public.wishes as w"
        assert market.member(member, fields) == [{"likes_count": 1, "liked_by_me": False}]
        assert market.member(other, fields) == [{"likes_count": 1, "liked_by_me": True}]
        market.member(member, "insert into public.user_blocks (blocked_id) values (%s) returning blocked_id", other)
        assert market.member(other, "select title from public.wishes") == []
        market.rows("update public.wishes set state = 'granted'")
        with refused("move_not_allowed"):
            market.rows("update public.wishes set state = 'open'")
        for column, bad, code in (("price_cents", 49, "invalid_price"), ("slug", "A wish", "invalid_slug")):
            with pytest.raises(psycopg.errors.CheckViolation) as refusal, connection.transaction():
                market.rows(f"update public.wishes set {column} = %s", bad)
            assert (
                market.one(
                    "select code from public.error_catalog() where name = %s", refusal.value.diag.constraint_name
                )
                == code
            )
        market.rows("update private.settings set wishes_per_member = 1")
        with refused("too_many_wishes"):
            market.rpc(member, "wish_for", title="Another one")
        market.rows("delete from auth.users where id = %s", member)
        assert market.one("select count(*) from public.wishes") == 0
