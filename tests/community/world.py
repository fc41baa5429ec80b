"""A small community in which everybody has written something of every kind, each with words of their own in it, so
that a search through an answer finds whatever came from somebody who must not be seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from stack.services import Services
from tests.harness.people import Member, enroll
from tests.harness.server import Database


@dataclass
class Community:
    """People, and a way to let them act: through the policies and functions clients use, on one database connection."""

    services: Services
    database: Database
    connection: psycopg.Connection[Any]
    people: dict[str, Member] = field(default_factory=dict)
    made: dict[str, dict[str, str]] = field(default_factory=dict)  # who: what: id

    def enroll(self, *names: str) -> None:
        """Sign people up under their names."""
        for name, member in zip(names, enroll(self.services, self.database, len(names)), strict=True):
            self.people[name] = member
            self.made[name] = {"profile": member.id}
            username = "the-admin" if name == "admin" else name  # that name is reserved
            self.run("update public.profiles set username = %s where id = %s", username, member.id)

    def id(self, name: str) -> str:
        """Somebody's id."""
        return self.people[name].id

    def run(self, query: str, *values: object) -> list[dict[str, Any]]:
        """One statement as the owner of the schema."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query.encode(), values or None)
            return _plain(cursor.fetchall()) if cursor.description else []

    def act(self, who: str, query: str, *values: object) -> list[dict[str, Any]]:
        """One statement as somebody signed in: under row-level security, like a request."""
        claims = json.dumps({"sub": self.id(who), "role": "authenticated"})
        with self.connection.transaction(), self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute("select set_config('request.jwt.claims', %s, true)", [claims])
            cursor.execute("set local role authenticated")
            cursor.execute(query.encode(), values or None)
            return _plain(cursor.fetchall()) if cursor.description else []

    def insert(self, who: str, relation: str, **values: object) -> dict[str, Any]:
        """Insert a row as somebody; the row."""
        columns = ", ".join(values)
        marks = ", ".join(["%s"] * len(values))
        [row] = self.act(
            who, f"insert into public.{relation} ({columns}) values ({marks}) returning *", *values.values()
        )
        return row

    def call(self, who: str, function: str, **arguments: object) -> Any:
        """Call a function as somebody; its first row, or value."""
        named = ", ".join(f"{name} => %s" for name in arguments)
        rows = self.act(who, f"select * from public.{function}({named})", *arguments.values())
        if not rows:
            return None
        return next(iter(rows[0].values())) if len(rows[0]) == 1 else rows[0]

    def settle(self, who: str, word: str, friend: str, group: str) -> None:
        """Let somebody write one of everything with `word` in it, and a friend react to it.

        friend: has a post, an item, an article and a comment of their own to react to. group: both are in it.
        """
        made, friends = self.made[who], self.made[friend]
        me, other = self.id(who), self.id(friend)
        self.act(
            who,
            "update public.profiles set display_name = %s, full_name = %s, bio = %s, website_url = %s where id = %s",
            word, word, f"about {word}", f"https://site.example/{word}", me,
        )  # fmt: skip
        self.run("update public.profiles set role = 'author' where id = %s and role = 'member'", me)
        self.insert(who, "artist_profiles", artist_name=word)
        self.act(
            who, "update public.profile_settings set phone = '+4930123456', language = 'de' where user_id = %s", me
        )

        made["post"] = self.insert(who, "posts", content=f"post {word} #tag{word}")["id"]
        made["link"] = self.insert(
            who, "posts", content=word, post_type="link", link_url=f"https://link.example/{word}"
        )["id"]
        poll = self.call(who, "create_poll", content=f"poll {word}", options=[f"yes {word}", f"no {word}"])
        made["poll"] = poll["id"]
        options = self.run("select id from public.poll_options where post_id = %s order by position", poll["id"])
        made["option"] = options[0]["id"]
        made["group_post"] = self.insert(who, "posts", content=f"in the group {word}", group_id=group)["id"]
        made["article"] = self.insert(
            who, "articles", title=f"article {word}", content=f"text {word}", is_published=True
        )["id"]
        made["draft"] = self.insert(who, "articles", title=f"draft {word}", content=f"text {word}")["id"]
        made["artwork"] = self.insert(
            who, "artworks", title=f"art {word}", image_url=f"https://art.example/{word}", price_cents=500,
            category="digital", status="published",
        )["id"]  # fmt: skip
        made["sketch"] = self.insert(
            who, "artworks", title=f"sketch {word}", image_url="https://art.example/x", price_cents=500,
            category="digital",
        )["id"]  # fmt: skip

        for column, target in (("post_id", "post"), ("article_id", "article"), ("item_id", "artwork")):
            if target in friends:
                made[f"comment on {target}"] = self.insert(
                    who, "comments", content=f"comment {word}", **{column: friends[target]}
                )["id"]
        if "comment" in friends:
            made["reply"] = self.insert(
                who, "comments", content=f"reply {word}", post_id=friends["post"], parent_comment_id=friends["comment"]
            )["id"]
            self.insert(who, "comment_likes", comment_id=friends["comment"])
        made["comment"] = self.insert(who, "comments", content=f"own comment {word}", post_id=made["post"])["id"]
        if friend != who:
            self.insert(who, "post_likes", post_id=friends["post"])
            self.insert(who, "post_shares", post_id=friends["post"])
            self.insert(who, "poll_votes", post_id=friends["poll"], option_id=friends["option"])
            self.insert(who, "article_likes", article_id=friends["article"])
            self.insert(who, "favorites", item_id=friends["artwork"])
            self.insert(who, "cart_items", item_id=friends["artwork"])
            self.insert(who, "follows", following_id=other)
            made["report"] = self.call(
                who, "report_content", target_type="post", target_id=friends["post"], reason="spam",
                details=f"report {word}",
            )["id"]  # fmt: skip
            talk = self.call(who, "start_conversation", user_ids=[other])
            made["conversation"] = talk["id"] if isinstance(talk, dict) else talk
            made["message"] = self.insert(
                who, "messages", conversation_id=made["conversation"], content=f"message {word}"
            )["id"]

            self.insert(friend, "post_likes", post_id=made["post"])
            self.insert(friend, "post_shares", post_id=made["post"])
            self.insert(friend, "poll_votes", post_id=made["poll"], option_id=made["option"])
            self.insert(friend, "article_likes", article_id=made["article"])
            self.insert(friend, "comment_likes", comment_id=made["comment"])
            self.insert(friend, "favorites", item_id=made["artwork"])
            self.insert(friend, "follows", following_id=me)
            self.insert(friend, "comments", content="from a friend", post_id=made["post"])
            self.insert(friend, "comments", content="from a friend", article_id=made["article"])
            self.insert(
                friend, "comments", content="from a friend", post_id=made["post"], parent_comment_id=made["comment"]
            )
            self.insert(friend, "messages", conversation_id=made["conversation"], content="hello back")
            self.call(friend, "report_content", target_type="profile", target_id=me, reason="other", details="them")

        for relation, column, choice in (
            ("user_skills", "skill_id", "skills"),
            ("user_genres", "genre_id", "genres"),
            ("user_categories", "category_id", "categories"),
        ):
            [chosen] = self.run(f"select id from public.{choice} where is_active order by slug limit 1")
            self.insert(who, relation, **{column: chosen["id"]})
        self.call(who, "request_custom_field", field_type="skill", field_value=f"Skill {word}")
        place = {"city": f"City {word}", "country": f"Country {word}"}
        self.call(who, "set_my_location", source="manual", lat=52.5, lon=13.4, **place)

    def relations(self) -> list[str]:
        """Relations whose rows have an id."""
        return [row["name"] for row in self.run(_TABLES)]

    def ids_of(self, relation: str) -> set[str]:
        """The ids of a relation's rows."""
        return {row["id"] for row in self.run(f"select id::text from public.{relation}")}

    def closure(self, seeds: set[str], ignored: Iterable[tuple[str, str]] = ()) -> set[str]:
        """The seeds (ids, words) and the ids of all rows that mention them or, again, those rows.

        ignored: (relation, column) where a mention does not count.
        """
        rows: list[tuple[str, str]] = []
        for relation in self.relations():
            if relation != "profiles":
                rows += [
                    (row["id"], row["text"])
                    for row in self.run(
                        f"select id::text, (to_jsonb(t) - %s::text[])::text as text from public.{relation} as t",
                        [column for where, column in ignored if where == relation],
                    )
                ]
        found = set(seeds)
        while fresh := {id for id, text in rows if id not in found and any(token in text for token in found)}:
            found |= fresh
        return found


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: str(value) if isinstance(value, UUID) else value for key, value in row.items()} for row in rows]


_TABLES = """
select c.relname as name from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attname = 'id'
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.atttypid = 'uuid'::regtype
and not c.relispartition
"""
