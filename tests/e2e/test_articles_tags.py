"""Articles by authors, and tags: what is used in public, exactly, and what trends."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stack.services import Services
from tests.harness.market import publish_artwork
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database
from tests.harness.waiting import until

RETURNING = {"prefer": "return=representation"}


@pytest.fixture(scope="module")
def author(sign_up: SignUp, database: Database) -> Person:
    person = sign_up(username="writer")
    database.run("select private.grant_role(%s, 'author')", person.id)
    return person


@pytest.fixture(scope="module")
def reader(sign_up: SignUp) -> Person:
    return sign_up(username="reader")


def write(member: Member, **values: Any) -> dict[str, Any]:
    answer = member.api.http.post("/rest/v1/articles", json={"title": "News", **values}, headers=RETURNING)
    assert answer.status_code == 201, answer.text
    return answer.json()[0]  # type: ignore[no-any-return]


def edit(member: Member, article: str, **values: Any) -> list[dict[str, Any]]:
    answer = member.api.http.patch(f"/rest/v1/articles?id=eq.{article}", json=values, headers=RETURNING)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def sees(api: Api, article: str) -> bool:
    return len(api.select("articles", id=f"eq.{article}")) == 1


def uses(anon: Api, *names: str) -> dict[str, int]:
    wanted = ",".join(f'"{name}"' for name in names)
    return {t["name"]: t["usage_count"] for t in anon.select("tags", name=f"in.({wanted})")}


# -- articles ---------------------------------------------------------------------------------------------------------


def test_from_draft_to_published(author: Person, reader: Person, anon: Api, database: Database) -> None:
    draft = write(author, title="Field recording", content="Bring batteries.", tags=["Field"])
    assert (draft["slug"], draft["published_at"], draft["tags"]) == ("field-recording", None, ["field"])
    assert [sees(api, draft["id"]) for api in (author.api, reader.api, anon)] == [True, False, False]
    (published,) = edit(author, draft["id"], is_published=True)
    assert published["published_at"]
    newest = anon.select(
        "articles",
        is_published="eq.true",
        select="slug,author:profiles!author_id(username)",
        order="published_at.desc,id.desc",
        limit="1",
    )
    assert newest == [{"slug": "field-recording", "author": {"username": "writer"}}]
    assert [a["id"] for a in anon.rpc("search_articles", query="battery").json()] == [draft["id"]]
    assert edit(reader, draft["id"], title="Mine") == []
    refused = reader.api.http.post("/rest/v1/articles", json={"title": "Mine"})
    assert (refused.status_code, code_of(refused)) == (403, "42501")
    # Withdrawn and published again, it keeps its date; without the role it stays but does not change.
    edit(author, draft["id"], is_published=False)
    assert not sees(anon, draft["id"])
    (again,) = edit(author, draft["id"], is_published=True)
    assert again["published_at"] == published["published_at"]
    database.run("select private.grant_role(%s, 'member')", author.id)
    assert edit(author, draft["id"], title="Late") == []
    assert sees(anon, draft["id"])
    database.run("select private.grant_role(%s, 'author')", author.id)


def test_two_of_one_title_at_once(author: Person) -> None:
    with ThreadPoolExecutor(6) as pool:
        slugs = [a["slug"] for a in pool.map(lambda n: write(author, title="Same title"), range(6))]
    assert len(set(slugs)) == 6
    assert "same-title" in slugs
    taken = author.api.http.post("/rest/v1/articles", json={"title": "x", "slug": "same-title"})
    assert taken.status_code == 201
    assert write(author, title="y", slug="same-title")["slug"].startswith("same-title-")


def test_a_banned_author_is_not_read(author: Person, reader: Person, admin: Person, anon: Api) -> None:
    article = write(author, title="Opinions", content="Unpopular ones", is_published=True)["id"]
    reader.api.http.post("/rest/v1/article_likes", json={"article_id": article}).raise_for_status()
    assert anon.one("articles", id=f"eq.{article}")["likes_count"] == 1
    assert admin.api.rpc("ban_user", user_id=author.id, reason="x").status_code == 204
    assert not sees(anon, article)
    assert not sees(reader.api, article)
    assert reader.api.rpc("search_articles", query="unpopular").json() == []
    assert reader.api.select("article_likes") == []
    refused = author.api.http.post("/rest/v1/articles", json={"title": "More"})
    assert (refused.status_code, code_of(refused)) == (403, "42501")
    assert admin.api.rpc("unban_user", user_id=author.id).status_code == 204
    assert sees(anon, article)


def test_likes_by_twelve_clients(services: Services, database: Database, author: Person, anon: Api) -> None:
    article = write(author, title="Liked", is_published=True)["id"]
    problems: list[str] = []

    def live(member: Member) -> None:
        dice = random.Random(member.id)
        for _ in range(8):
            if dice.random() < 0.6:
                answer = member.api.http.post(
                    "/rest/v1/article_likes",
                    json={"article_id": article},
                    headers={"prefer": "resolution=ignore-duplicates"},
                )
            else:
                answer = member.api.http.delete(f"/rest/v1/article_likes?article_id=eq.{article}")
            if not answer.is_success:
                problems.append(answer.text)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(live, enroll(services, database, 12)))
    assert problems == []
    truth = database.value("select count(*) from public.article_likes where article_id = %s", article)
    assert anon.one("articles", id=f"eq.{article}")["likes_count"] == truth
    assert database.run("select * from private.recount()") == []


# -- tags -------------------------------------------------------------------------------------------------------------


def test_tags_of_everything_public(author: Person, reader: Person, anon: Api) -> None:
    item = publish_artwork(author, tags=["Vapor Wave", "kitsch"])
    write(author, title="On vapor wave", tags=["vapor wave"], is_published=True)
    write(author, title="Draft", tags=["vapor wave", "unborn"])
    reader.api.http.post("/rest/v1/posts", json={"content": "Such #kitsch"}).raise_for_status()
    assert uses(anon, "vapor wave", "kitsch", "unborn") == {"vapor wave": 2, "kitsch": 2}
    assert anon.one("tags", slug="eq.vapor-wave")["name"] == "vapor wave"
    assert [t["name"] for t in anon.select("tags", name="like.vap*", order="usage_count.desc")] == ["vapor wave"]
    author.api.http.patch(f"/rest/v1/artworks?id=eq.{item}", json={"status": "draft"}).raise_for_status()
    assert uses(anon, "vapor wave", "kitsch") == {"vapor wave": 1, "kitsch": 1}
    # Nobody but the triggers writes.
    assert reader.api.http.post("/rest/v1/tags", json={"name": "x", "slug": "x"}).status_code == 403
    # Hiding takes the word along: the last one of its kind leaves no trace.
    changed = reader.api.rpc("set_profile_visibility", visibility="private")
    changed.raise_for_status()
    assert uses(anon, "kitsch") == {}
    reader.api.rpc("set_profile_visibility", visibility="public")
    assert uses(anon, "kitsch") == {"kitsch": 1}


def test_a_popular_tag_used_by_everybody_at_once(services: Services, database: Database, anon: Api) -> None:
    """Twelve people write, rewrite and delete posts with the same few tags, in any order: no deadlock, exact counts."""
    names = ["techno", "house", "dub", "ambient", "new"]
    problems: list[str] = []

    def live(member: Member) -> None:
        dice = random.Random(member.id)
        http = member.api.http
        mine: list[str] = []
        for step in range(10):
            tags = dice.sample(names, dice.randint(1, len(names)))
            action = dice.choice(["write", "write", "rewrite", "delete", "hide"])
            if action == "write" or not mine:
                answer = http.post("/rest/v1/posts", json={"content": "x", "tags": tags}, headers=RETURNING)
                mine += [post["id"] for post in answer.json()] if answer.is_success else []
            elif action == "rewrite":
                answer = http.patch(f"/rest/v1/posts?id=eq.{dice.choice(mine)}", json={"tags": tags})
            elif action == "delete":
                answer = http.delete(f"/rest/v1/posts?id=eq.{mine.pop()}")
            else:
                visibility = dice.choice(["public", "members_only"])
                answer = member.api.rpc("set_profile_visibility", visibility=visibility)
            if not answer.is_success:
                problems.append(f"{action} {step}: {answer.status_code} {answer.text}")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(live, enroll(services, database, 12)))
    assert problems == []
    assert database.run("select * from private.recount()") == []
    truth = database.run(
        "select t.tag, count(*) as n from public.posts as p, unnest(p.tags) as t (tag) "
        "where p.audience = 'public' and t.tag = any(%s) group by 1",
        names,
    )
    assert uses(anon, *names) == {row["tag"]: row["n"] for row in truth}


def test_trending_counts_people_not_repetitions(
    services: Services, database: Database, reader: Person, anon: Api
) -> None:
    for _ in range(8):
        reader.api.http.post("/rest/v1/posts", json={"content": "#mytag"}).raise_for_status()
    for member in enroll(services, database, 3):
        member.api.http.post("/rest/v1/posts", json={"content": "#ourtag"}).raise_for_status()
    database.run("select private.enqueue('update_trending_tags', '{}')")
    until(lambda: float(anon.one("tags", name="eq.ourtag")["trending_score"]) > 0, "the job has run")
    top = anon.select("tags", name="in.(mytag,ourtag)", order="trending_score.desc,id")
    assert [t["name"] for t in top] == ["ourtag", "mytag"]
    assert [round(float(t["trending_score"])) for t in top] == [3, 1]
