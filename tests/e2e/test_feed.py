"""The feed and search over HTTP: pages without gap or repeat while people go on writing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from stack.services import Services
from tests.harness.people import Member, Person, SignUp, enroll, lift_limits
from tests.harness.server import Database

POSTS = 60


@pytest.fixture(scope="module")
def reader(sign_up: SignUp) -> Person:
    return sign_up(username="feed-reader")


@pytest.fixture(scope="module")
def authors(services: Services, database: Database, reader: Person) -> list[Member]:
    people = enroll(services, database, 6)
    reader.client.table("follows").insert([{"following_id": p.id} for p in people[:4]]).execute()
    return people


@pytest.fixture(scope="module")
def written(authors: list[Member], reader: Person, database: Database) -> list[str]:
    """What belongs in the reader's feed, newest first; several posts share an instant."""
    group = (
        authors[4]
        .api.http.post("/rest/v1/groups", json={"name": "Feed"}, headers={"prefer": "return=representation"})
        .json()[0]["id"]
    )
    assert reader.api.rpc("join_group", group_id=group).is_success
    database.run(
        "insert into public.posts (user_id, group_id, content, created_at) "
        "select (%s::uuid[])[1 + n %% 7], case when n %% 7 = 4 then %s::uuid end, 'needle ' || n, "
        "now() - interval '1 second' * (n / 5) from generate_series(1, %s) as n",
        [*[p.id for p in authors], reader.id],
        group,
        POSTS,
    )
    # One the reader does not follow, in no group of theirs.
    rows = database.run(
        "select id::text from public.posts where user_id <> %s order by created_at desc, id desc", authors[5].id
    )
    return [row["id"] for row in rows]


def pages(reader: Person, function: str, size: int, **arguments: Any) -> list[str]:
    """All of a list, page by page, as a frontend reads it."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = reader.client.rpc(function, {**arguments, **cursor, "max_rows": size}).execute()
        found += [row["id"] for row in answer.data]
        if len(answer.data) < size:
            return found
        cursor = {"before_created_at": answer.data[-1]["created_at"], "before_id": answer.data[-1]["id"]}


@pytest.mark.parametrize("size", [1, 7, 100])
def test_pages_of_the_feed_are_the_whole_feed(reader: Person, written: list[str], size: int) -> None:
    assert pages(reader, "feed", size) == written


def test_pages_have_no_gap_and_no_repeat_while_posts_arrive(
    reader: Person, authors: list[Member], written: list[str], database: Database
) -> None:
    lift_limits(database, authors[0].id)
    reading = threading.Event()
    fresh: list[int] = []

    def go_on() -> None:
        while not reading.is_set():
            fresh.append(authors[0].api.http.post("/rest/v1/posts", json={"content": "needle new"}).status_code)

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        for function, arguments in (("feed", {}), ("search_posts", {"query": "needle"})):
            found = pages(reader, function, 5, **arguments)
            assert len(found) == len(set(found))
            known = set(written)
            assert [post for post in found if post in known] == written
    finally:
        reading.set()
        writer.join()
    assert set(fresh) == {201}
    assert len(fresh) > 1
    database.run("delete from public.posts where content = 'needle new'")


def test_the_feed_embeds_like_posts_do(reader: Person, authors: list[Member], written: list[str]) -> None:
    select = "id,content,liked_by_me,shared_by_me,my_vote,author:profiles!user_id(id),options:poll_options(option)"
    reader.client.table("post_likes").insert({"post_id": written[3]}).execute()
    rows = reader.api.http.get("/rest/v1/rpc/feed", params={"max_rows": 10, "select": select}).json()
    assert [row["id"] for row in rows] == written[:10]
    assert [row["liked_by_me"] for row in rows] == [n == 3 for n in range(10)]
    assert {row["author"]["id"] for row in rows} <= {p.id for p in authors} | {reader.id}
    assert all(row["options"] == [] and row["my_vote"] is None and not row["shared_by_me"] for row in rows)


def test_unfollowing_leaving_and_blocking_change_the_next_page(
    reader: Person, authors: list[Member], written: list[str], database: Database
) -> None:
    def feed_authors() -> set[str]:
        return {row["user_id"] for row in reader.api.rpc("feed", max_rows=100).json()}

    assert feed_authors() == {p.id for p in authors[:5]} | {reader.id}
    assert reader.api.http.delete(f"/rest/v1/follows?following_id=eq.{authors[0].id}").is_success
    assert authors[0].id not in feed_authors()
    reader.client.table("user_blocks").insert({"blocked_id": authors[1].id}).execute()
    assert authors[1].id not in feed_authors()
    authors[2].api.rpc("set_profile_visibility", visibility="private")
    assert authors[2].id not in feed_authors()
    database.run("insert into public.bans (user_id, reason) values (%s, 'spam')", authors[3].id)
    assert authors[3].id not in feed_authors()
    assert reader.api.rpc("leave_group", group_id=reader.api.one("groups", name="eq.Feed")["id"]).is_success
    assert feed_authors() == {reader.id}


def test_search_finds_by_words_accents_and_tags(reader: Person, authors: list[Member]) -> None:
    ids = []
    for content in ("Ćevapi beats on Sunday", "Beaten track #cevapi", "Nothing of the sort"):
        answer = authors[5].api.http.post(
            "/rest/v1/posts", json={"content": content}, headers={"prefer": "return=representation"}
        )
        ids.append(answer.json()[0]["id"])
    assert pages(reader, "search_posts", 10, query="cevapi") == [ids[1], ids[0]]
    assert pages(reader, "search_posts", 10, query="ćevapi -track") == [ids[0]]
    assert pages(reader, "search_posts", 10, query='"nothing of the sort"') == [ids[2]]
    assert pages(reader, "search_posts", 10, query="cevapi or nothing") == ids[::-1]
    assert pages(reader, "search_posts", 10, query="") == []
