"""Notifications over HTTP: who is told of what, what becomes of it, and many at the same instant."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.market import Simulator, buy, drain, publish_artwork
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database
from tests.harness.waiting import until

CLIENTS = 16
EMBED = "type,link_url,actors_count,related_id,actor:profiles!actor_id(username)"


@pytest.fixture
def people(services: Services, database: Database) -> list[Member]:
    return enroll(services, database, 4)


def insert(who: Member, table: str, **row: Any) -> httpx.Response:
    answer = who.api.http.post(f"/rest/v1/{table}", json=row)
    assert answer.status_code == 201, answer.text
    return answer


def post(author: Member, content: str = "Hello", **row: Any) -> str:
    answer = author.api.http.post(
        "/rest/v1/posts", json={"content": content, **row}, headers={"prefer": "return=representation"}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()[0]["id"])


def told(who: Member, **query: str) -> list[str]:
    """Types of somebody's notifications, sorted."""
    return sorted(row["type"] for row in who.api.select("notifications", select="type", **query))


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[int]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result().status_code for future in [pool.submit(call) for call in calls]]


def test_an_application_shows_its_list(people: list[Member], database: Database, anon: Api) -> None:
    ana, ben, cleo, _ = people
    written = post(ana)
    insert(ben, "post_likes", post_id=written)
    insert(cleo, "post_likes", post_id=written)
    insert(cleo, "comments", post_id=written, content="Nice")
    insert(ben, "follows", following_id=ana.id)
    names = {row["id"]: row["username"] for row in database.run("select id::text, username::text from public.profiles")}
    order = "created_at.desc,id.desc"
    rows = ana.api.select("notifications", select=f"id,created_at,{EMBED}", order=order, limit="2")
    last = rows[-1]
    older = f"(created_at.lt.{last['created_at']},and(created_at.eq.{last['created_at']},id.lt.{last['id']}))"
    rows += ana.api.select("notifications", select=f"id,created_at,{EMBED}", order=order, limit="2", **{"or": older})
    assert [(row["type"], row["actor"]["username"], row["actors_count"]) for row in rows] == [
        ("follow", names[ben.id], 1),
        ("comment", names[cleo.id], 1),
        ("like", names[ben.id], 2),
    ]
    assert rows[0]["link_url"] == f"/profiles/{ben.id}"
    assert rows[2]["link_url"] == f"/posts/{written}"
    assert ana.api.rpc("unread_counts").json() == {"notifications": 3, "messages": 0}
    assert ana.api.rpc("mark_notification_read", ids=[rows[0]["id"]]).json() == 1
    assert ben.api.rpc("mark_notification_read", ids=[rows[1]["id"]]).json() == 0, "not somebody else's"
    assert ana.api.rpc("mark_all_notifications_read", up_to=rows[1]["created_at"]).json() == 2
    assert ana.api.rpc("unread_counts").json()["notifications"] == 0
    assert ben.api.select("notifications", select="id", user_id=f"eq.{ana.id}") == []
    assert anon.http.get("/rest/v1/notifications").status_code == 401


def test_many_like_at_once_and_one_notification_tells_it(services: Services, database: Database) -> None:
    author, *crowd = enroll(services, database, 1 + CLIENTS * 3)
    written = post(author)
    for begin in range(0, len(crowd), CLIENTS):
        batch = crowd[begin : begin + CLIENTS]
        likes = [lambda who=who: insert(who, "post_likes", post_id=written) for who in batch]  # type: ignore[misc]
        assert at_once(likes) == [201] * CLIENTS
    (row,) = author.api.select("notifications", select="type,actors_count")
    assert row == {"type": "like", "actors_count": CLIENTS * 3}


def test_messages_at_once_are_one_unread_notification(people: list[Member], database: Database) -> None:
    ana, *others = people
    answer = ana.api.rpc("start_conversation", user_ids=[who.id for who in others])
    assert answer.status_code == 200, answer.text
    chat = answer.json()["id"] if isinstance(answer.json(), dict) else answer.json()
    sends = [
        lambda who=who: insert(who, "messages", conversation_id=chat, content="Hi")  # type: ignore[misc]
        for who in others * 5
    ]
    assert at_once(sends) == [201] * 15
    assert told(ana) == ["message"]
    counts = ana.api.rpc("unread_counts").json()
    assert counts == {"notifications": 1, "messages": 15}


def test_what_becomes_invisible_is_no_longer_told(people: list[Member], database: Database, admin: Person) -> None:
    ana, ben, cleo, dora = people
    written = post(ana)
    name = database.value("select username::text from public.profiles where id = %s", dora.id)

    def act() -> None:
        insert(ben, "comments", post_id=written, content=f"Look, @{name}")
        assert told(ana, actor_id=f"eq.{ben.id}") == ["comment"]
        assert told(dora, actor_id=f"eq.{ben.id}") == ["mention"]

    act()
    insert(ana, "user_blocks", blocked_id=ben.id)
    assert told(ana) == []
    assert told(dora) == ["mention"], "others see both"
    ana.api.http.delete("/rest/v1/user_blocks", params={"blocked_id": f"eq.{ben.id}"})
    database.run("delete from public.notifications")

    act()
    answer = ben.api.rpc("set_profile_visibility", visibility="private")
    assert answer.is_success
    assert (told(ana), told(dora)) == ([], [])
    insert(ben, "post_likes", post_id=written)
    assert told(ana) == [], "nor of what they do meanwhile"
    ben.api.rpc("set_profile_visibility", visibility="public")

    act()
    assert admin.api.rpc("ban_user", user_id=ben.id, reason="spam").is_success
    assert (told(ana), told(dora)) == ([], [])
    assert code_of(ben.api.rpc("unread_counts")) == "banned"
    assert admin.api.rpc("unban_user", user_id=ben.id).is_success
    assert told(ben) == ["account_restored"] or told(ben) == ["account_banned", "account_restored"]

    act()
    assert admin.api.rpc("hide_content", target_type="post", target_id=written, reason="spam").is_success
    assert told(dora) == []
    assert told(ana) == ["comment", "content_hidden"]
    assert admin.api.rpc("restore_content", target_type="post", target_id=written).is_success
    insert(cleo, "comments", post_id=written, content="Back")
    assert ana.api.http.delete("/rest/v1/posts", params={"id": f"eq.{written}"}).is_success
    assert told(ana) == ["content_hidden", "content_restored"]


def test_a_group_post_is_told_to_who_can_read_it(people: list[Member], database: Database) -> None:
    ana, ben, cleo, _ = people
    answer = ana.api.http.post(
        "/rest/v1/groups",
        json={"name": "Secret", "visibility": "secret"},
        headers={"prefer": "return=representation"},
    )
    assert answer.status_code == 201, answer.text
    group = answer.json()[0]["id"]
    assert ana.api.rpc("invite_to_group", group_id=group, user_id=ben.id).is_success
    assert told(ben) == ["group_invitation"]
    assert ben.api.rpc("join_group", group_id=group).is_success
    assert told(ben) == []
    names = " ".join(
        f"@{row['username']}"
        for row in database.run(
            "select username::text from public.profiles where id = any(%s::uuid[])", [who.id for who in people]
        )
    )
    written = post(ana, f"For {names}", group_id=group)
    assert (told(ben), told(cleo)) == (["mention"], [])
    insert(ben, "comments", post_id=written, content=f"Hear, {names}")
    assert (told(ana), told(cleo)) == (["comment"], [])


def test_preferences(people: list[Member]) -> None:
    ana, ben, *_ = people
    preferences = {"like": {"in_app": False}, "content_hidden": {"in_app": False}, "follow": {"email": False}}
    answer = ana.api.http.patch(
        "/rest/v1/profile_settings",
        params={"user_id": f"eq.{ana.id}"},
        json={"notification_preferences": preferences},
    )
    assert answer.is_success, answer.text
    insert(ben, "post_likes", post_id=post(ana))
    insert(ben, "follows", following_id=ana.id)
    assert told(ana) == ["follow"]


def test_a_sale_is_told_once_to_both(
    sign_up: SignUp, simulator: Simulator, database: Database, people: list[Member]
) -> None:
    seller, buyer = sign_up(), sign_up()
    item = publish_artwork(seller)
    insert(people[0], "favorites", item_id=item)
    buy(simulator, buyer, item)
    drain(database, simulator)
    assert told(buyer) == ["order"]
    (favorite, sale) = sorted(
        seller.api.select("notifications", select="type,actor_id,related_type"), key=lambda row: row["type"]
    )
    assert favorite == {"type": "favorite", "actor_id": None, "related_type": "artwork"}
    assert sale == {"type": "purchase", "actor_id": None, "related_type": "order_item"}


def test_three_ask_for_the_same_skill_and_three_are_told(people: list[Member]) -> None:
    spellings = ("Tamburica", " tamburica ", "TAMBURICA")
    calls = [
        lambda who=who, value=value: who.api.rpc(  # type: ignore[misc]
            "request_custom_field", field_type="skill", field_value=value
        )
        for who, value in zip(people[:3], spellings, strict=True)
    ]
    assert at_once(calls) == [200] * 3
    assert [told(who) for who in people] == [["field_approved"]] * 3 + [[]]


def test_leaving_while_others_like(services: Services, database: Database) -> None:
    """Whoever deletes their account while others react to them is not held up by what they would be told."""
    author, *crowd = enroll(services, database, 13)
    posts = [post(author, f"Post {n}") for n in range(12)]
    calls = [
        lambda who=who, written=written: who.api.http.post("/rest/v1/post_likes", json={"post_id": written})  # type: ignore[misc]
        for who, written in zip(crowd, posts, strict=True)
    ]
    calls.insert(6, lambda: author.api.rpc("delete_my_account"))
    answers = at_once(calls)
    assert answers[6] == 204
    # Gone in time, or gone before.
    assert set(answers[:6] + answers[7:]) <= {201, 401, 403, 404, 409}, answers
    assert database.value("select count(*) from public.notifications where user_id = %s", author.id) == 0
    until(
        lambda: database.value("select count(*) from public.profiles where id = %s", author.id) == 0,
        "the account to go",
    )
