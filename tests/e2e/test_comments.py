"""Comments: threads on posts, items and articles, who reads them, and counts that hold while all talk at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.market import publish_artwork
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database

RETURNING = {"prefer": "return=representation"}


def create(member: Member, table: str, **values: Any) -> str:
    answer = member.api.http.post(f"/rest/v1/{table}", json=values, headers=RETURNING)
    assert answer.status_code == 201, f"{table}: {answer.status_code} {answer.text}"
    return str(answer.json()[0]["id"])


def refused(member: Member, table: str, **values: Any) -> tuple[int, str | None]:
    answer = member.api.http.post(f"/rest/v1/{table}", json=values)
    return answer.status_code, code_of(answer)


def delete(member: Member, comment: str) -> int:
    answer = member.api.http.delete(f"/rest/v1/comments?id=eq.{comment}", headers=RETURNING)
    assert answer.status_code == 200, answer.text
    return len(answer.json())


def at_once(actions: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """All of them at the same instant, each on its own connection."""
    gate = threading.Barrier(len(actions))

    def run(action: Callable[[], httpx.Response]) -> httpx.Response:
        gate.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


@pytest.fixture(scope="module")
def ana(sign_up: SignUp) -> Person:
    return sign_up(username="ana")


@pytest.fixture(scope="module")
def ben(sign_up: SignUp) -> Person:
    return sign_up(username="ben")


@pytest.fixture(scope="module")
def cleo(sign_up: SignUp) -> Person:
    return sign_up(username="cleo")


@pytest.fixture
def post(ana: Person) -> str:
    return create(ana, "posts", content="What do you think?")


def test_a_thread_with_its_authors(ana: Person, ben: Person, cleo: Person, anon: Api, post: str) -> None:
    first = ben.client.table("comments").insert({"post_id": post, "content": "Great"}).execute().data[0]["id"]
    reply = create(cleo, "comments", post_id=post, parent_comment_id=first, content="Indeed")
    create(ana, "comments", post_id=post, parent_comment_id=reply, content="Thanks")
    assert anon.one("posts", id=f"eq.{post}")["comments_count"] == 3
    thread = anon.select(
        "comments",
        post_id=f"eq.{post}",
        select="content,depth,author:profiles!user_id(username)",
        order="created_at,id",
    )
    assert [(c["content"], c["depth"], c["author"]["username"]) for c in thread] == [
        ("Great", 0, "ben"),
        ("Indeed", 1, "cleo"),
        ("Thanks", 2, "ana"),
    ]
    nested = anon.one(
        "comments",
        post_id=f"eq.{post}",
        parent_comment_id="is.null",
        select="content,replies:comments!parent_comment_id(content,author:profiles!user_id(username))",
    )
    assert nested["replies"] == [{"content": "Indeed", "author": {"username": "cleo"}}]
    (embedded,) = anon.select("posts", id=f"eq.{post}", select="comments(content)")
    assert len(embedded["comments"]) == 3
    # Replies outlive their comment.
    assert delete(cleo, reply) == 1
    assert anon.one("posts", id=f"eq.{post}")["comments_count"] == 2
    left = anon.select("comments", post_id=f"eq.{post}", select="*,author:profiles!user_id(username)", order="depth")
    assert [(c["content"], c["author"] and c["author"]["username"]) for c in left] == [
        ("Great", "ben"),
        (None, None),
        ("Thanks", "ana"),
    ]
    assert refused(ben, "comments", post_id=post, parent_comment_id=reply, content="x") == (404, "comment_not_found")
    assert reply not in str(cleo.api.rpc("export_my_data").json()["comments"])
    assert delete(ana, left[2]["id"]) == 1
    assert len(anon.select("comments", post_id=f"eq.{post}")) == 1, "the place goes with the last reply"


def test_pages_of_a_thread(ben: Person, anon: Api, post: str) -> None:
    for n in range(7):
        create(ben, "comments", post_id=post, content=f"{n}")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while page := anon.select("comments", post_id=f"eq.{post}", order="created_at,id", limit="3", **cursor):
        seen += [c["content"] for c in page]
        at, last = page[-1]["created_at"], page[-1]["id"]
        cursor = {"or": f"(created_at.gt.{at},and(created_at.eq.{at},id.gt.{last}))"}
    assert seen == [str(n) for n in range(7)]


def test_items_and_articles_are_talked_about_too(
    ana: Person, ben: Person, admin: Person, anon: Api, database: Database
) -> None:
    item = publish_artwork(ana)
    article = create(admin, "articles", title="How to listen", content="With both ears.", is_published=True)
    create(ben, "comments", item_id=item, content="Lovely")
    on_article = create(ben, "comments", article_id=article, content="I see")
    assert anon.one("catalog_items", id=f"eq.{item}")["comments_count"] == 1
    assert anon.one("articles", id=f"eq.{article}", select="comments_count,comments(content)") == {
        "comments_count": 1,
        "comments": [{"content": "I see"}],
    }
    # Their makers keep their place tidy.
    assert delete(ana, on_article) == 0
    assert delete(admin, on_article) == 1
    assert anon.one("articles", id=f"eq.{article}")["comments_count"] == 0
    # Unpublished, it cannot be talked about, and what was said is not read.
    ana.api.http.patch(f"/rest/v1/artworks?id=eq.{item}", json={"status": "draft"}).raise_for_status()
    assert refused(ben, "comments", item_id=item, content="Gone?") == (404, "comment_target_not_found")
    assert anon.select("comments", item_id=f"eq.{item}") == []


def test_what_cannot_be_read_cannot_be_commented_on(
    ana: Person, ben: Person, sign_up: SignUp, anon: Api, post: str
) -> None:
    hermit = sign_up(username="hermit")
    said = create(hermit, "comments", post_id=post, content="Here I am")
    hidden = create(hermit, "posts", content="Mine alone")
    hermit.api.rpc("set_profile_visibility", visibility="private").raise_for_status()
    nothing = "00000000-0000-4000-8000-00000000dead"
    for target in (hidden, nothing):
        assert refused(ben, "comments", post_id=target, content="x") == (404, "comment_target_not_found")
    for parent in (said, nothing):
        answer = refused(ben, "comments", post_id=post, parent_comment_id=parent, content="x")
        assert answer == (404, "comment_not_found")
        assert refused(ben, "comment_likes", comment_id=parent) == (403, "42501")
    assert ben.api.select("comments", id=f"eq.{said}") == []
    counted = ben.api.http.get(f"/rest/v1/comments?post_id=eq.{post}", headers={"prefer": "count=exact"})
    assert counted.headers["content-range"].endswith("/0")
    assert anon.one("posts", id=f"eq.{post}")["comments_count"] == 0
    # Blocks: neither reads the other, others read both.
    theirs = create(ben, "comments", post_id=post, content="Hm")
    ana.api.http.post("/rest/v1/user_blocks", json={"blocked_id": ben.id}).raise_for_status()
    assert ana.api.select("comments", id=f"eq.{theirs}") == []
    assert refused(ben, "comments", post_id=post, content="Why?") == (404, "comment_target_not_found")
    assert len(anon.select("comments", id=f"eq.{theirs}")) == 1
    ana.api.http.delete(f"/rest/v1/user_blocks?blocked_id=eq.{ben.id}").raise_for_status()


def test_nested_eight_deep(ana: Person, ben: Person, post: str) -> None:
    parent: dict[str, str] = {}
    for n in range(9):
        parent = {"parent_comment_id": create((ana, ben)[n % 2], "comments", post_id=post, content="x", **parent)}
    assert refused(ana, "comments", post_id=post, content="x", **parent) == (409, "comment_too_deep")


def test_a_ban_ends_commenting_at_once(ben: Person, sign_up: SignUp, admin: Person, anon: Api, post: str) -> None:
    loud = sign_up(username="loud")
    said = create(loud, "comments", post_id=post, content="BUY")
    likable = create(ben, "comments", post_id=post, content="No")
    assert admin.api.rpc("ban_user", user_id=loud.id, reason="spam").status_code == 204
    assert anon.one("posts", id=f"eq.{post}")["comments_count"] == 1
    assert anon.select("comments", id=f"eq.{said}") == []
    assert refused(loud, "comments", post_id=post, content="BUY MORE") == (403, "42501")
    assert refused(loud, "comment_likes", comment_id=likable) == (403, "42501")
    edit = loud.api.http.patch(f"/rest/v1/comments?id=eq.{said}", json={"content": "x"}, headers=RETURNING)
    assert edit.json() == []
    assert delete(loud, said) == 0
    assert admin.api.rpc("unban_user", user_id=loud.id).status_code == 204
    assert anon.one("posts", id=f"eq.{post}")["comments_count"] == 2


def test_hiding_and_restoring(ben: Person, cleo: Person, admin: Person, anon: Api, post: str) -> None:
    said = create(ben, "comments", post_id=post, content="Rude")
    create(cleo, "comments", post_id=post, parent_comment_id=said, content="Calm down")
    hidden = admin.api.rpc("hide_content", target_type="comment", target_id=said, reason="Be kind")
    assert hidden.status_code in (200, 204), hidden.text
    assert [c["content"] for c in anon.select("comments", post_id=f"eq.{post}")] == ["Calm down"]
    assert anon.one("posts", id=f"eq.{post}")["comments_count"] == 1
    assert ben.api.one("comments", id=f"eq.{said}")["hidden_reason"] == "Be kind"
    restored = admin.api.rpc("restore_content", target_type="comment", target_id=said)
    assert restored.status_code in (200, 204), restored.text
    assert anon.one("posts", id=f"eq.{post}")["comments_count"] == 2


def test_one_post_twelve_clients(
    services: Services, database: Database, ana: Person, admin: Person, anon: Api, post: str
) -> None:
    """Comments, replies, likes and their opposites at random, while comments are hidden and people go into hiding, are
    banned and delete their accounts: nobody waits in a circle, and every counter says what there is.
    """
    crowd = enroll(services, database, 12)
    for member in crowd:
        create(member, "comments", post_id=post, content="Me too")
    problems: list[str] = []

    def pick(member: Member, dice: random.Random) -> str | None:
        rows = member.api.select("comments", post_id=f"eq.{post}", select="id", depth="lt.8")
        return dice.choice(rows)["id"] if rows else None

    def live(n: int) -> None:
        member, dice = crowd[n], random.Random(n)
        http = member.api.http
        for step in range(10):
            target = pick(member, dice)
            action = dice.choice(["say", "reply", "like", "like", "unlike", "delete", "hide", "moderate"])
            if n < 2 and step == 9:
                action = "leave"
            if action == "leave":
                answer = member.api.rpc("delete_my_account")
            elif action == "say" or not target:
                answer = http.post("/rest/v1/comments", json={"post_id": post, "content": "x"})
            elif action == "reply":
                body = {"post_id": post, "parent_comment_id": target, "content": "x"}
                answer = http.post("/rest/v1/comments", json=body)
            elif action == "like":
                ignore = {"prefer": "resolution=ignore-duplicates"}
                answer = http.post("/rest/v1/comment_likes", json={"comment_id": target}, headers=ignore)
            elif action == "unlike":
                answer = http.delete(f"/rest/v1/comment_likes?user_id=eq.{member.id}")
            elif action == "delete":
                answer = http.delete(f"/rest/v1/comments?user_id=eq.{member.id}")
            elif action == "hide":
                visibility = dice.choice(["public", "private", "members_only"])
                answer = member.api.rpc("set_profile_visibility", visibility=visibility)
            else:
                function = dice.choice(["hide_content", "restore_content"])
                more = {"reason": "x"} if function == "hide_content" else {}
                answer = admin.api.rpc(function, target_type="comment", target_id=target, **more)
            if answer.status_code >= 500 or code_of(answer) in ("40P01", "40001"):
                problems.append(f"{action}: {answer.status_code} {answer.text}")

    with ThreadPoolExecutor(len(crowd)) as pool:
        list(pool.map(live, range(len(crowd))))
    assert problems == []
    assert database.run("select * from private.recount()") == []
    assert database.run("select * from private.pending_counts") == []
    expected = "select count(*) from public.comments where post_id = %s and audience <> 'owner'"
    assert anon.one("posts", id=f"eq.{post}")["comments_count"] == database.value(expected, post)
    left = "select count(*) from auth.users where id = any(%s::uuid[])"
    assert database.value(left, [m.id for m in crowd]) == len(crowd) - 2


def test_a_post_is_deleted_while_everybody_comments(
    services: Services, database: Database, ana: Person, ben: Person
) -> None:
    """A comment is there before its post goes, or there is nothing to comment on; nothing in between, no deadlock."""
    for _ in range(3):
        crowd = enroll(services, database, 6)
        post = create(ana, "posts", content="Soon gone")
        said = [create(member, "comments", post_id=post, content="x") for member in crowd[:3]]
        actions: list[Callable[[], httpx.Response]] = [
            lambda post=post: ana.api.http.delete(f"/rest/v1/posts?id=eq.{post}")  # type: ignore[misc]
        ]
        for member in crowd[:3]:
            url = f"/rest/v1/comments?user_id=eq.{member.id}"
            actions.append(lambda member=member, url=url: member.api.http.delete(url))  # type: ignore[misc]
        for member in crowd[3:]:
            body = {"post_id": post, "parent_comment_id": said[0], "content": "y"}
            actions.append(
                lambda member=member, body=body: member.api.http.post("/rest/v1/comments", json=body)  # type: ignore[misc]
            )
        answers = at_once(actions)
        # 23503: the post went between looking at it and writing the comment.
        known = (None, "comment_target_not_found", "comment_not_found", "23503")
        assert {code_of(a) for a in answers} <= set(known), [a.text for a in answers]
        assert database.value("select count(*) from public.comments where post_id = %s", post) == 0
    assert database.run("select * from private.recount()") == []
