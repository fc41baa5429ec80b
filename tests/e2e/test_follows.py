"""Follows and blocks over HTTP: who follows whom, who sees it, and counters that stay exact whoever acts at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll, follow_accounts
from tests.harness.server import Database
from tests.harness.together import together


def follow(member: Member, other: str, **headers: str) -> httpx.Response:
    return member.api.http.post("/rest/v1/follows", json={"following_id": other}, headers=headers)


def unfollow(member: Member, other: str) -> httpx.Response:
    return member.api.http.delete(
        "/rest/v1/follows", params={"follower_id": f"eq.{member.id}", "following_id": f"eq.{other}"}
    )


def block(member: Member, other: str) -> httpx.Response:
    return member.api.http.post("/rest/v1/user_blocks", json={"blocked_id": other})


def unblock(member: Member, other: str) -> httpx.Response:
    return member.api.http.delete("/rest/v1/user_blocks", params={"blocked_id": f"eq.{other}"})


def hide(member: Member, visibility: str = "private") -> None:
    answer = member.api.rpc("set_profile_visibility", visibility=visibility)
    assert answer.is_success, answer.text


def assert_counted(database: Database) -> None:
    """Every counter equals its recount, and nothing waits to be added."""
    assert database.run("select * from private.recount()") == []
    assert database.run("select * from private.pending_counts") == []


@pytest.fixture(scope="module")
def crowd(services: Services, database: Database) -> list[Member]:
    return enroll(services, database, 16)


def test_following_with_supabase_py(sign_up: SignUp, anon: Api) -> None:
    ana, ben = sign_up(username="ana-follows"), sign_up(username="ben-follows")
    follows = ana.client.table("follows")
    made = follows.insert({"following_id": ben.id}).execute().data
    assert [(row["follower_id"], row["following_id"]) for row in made] == [(ana.id, ben.id)]
    again = ana.client.table("follows").upsert({"following_id": ben.id}, ignore_duplicates=True).execute().data
    assert again == []
    assert ana.api.one("profiles", id=f"eq.{ana.id}", select="followers_count,following_count") == {
        "followers_count": 0,
        "following_count": 1,
    }
    fields = "username,is_followed,follows_me,connected,followers_count"
    assert ana.api.one("profiles", id=f"eq.{ben.id}", select=fields) == {
        "username": "ben-follows",
        "is_followed": True,
        "follows_me": False,
        "connected": False,
        "followers_count": 1,
    }
    follow(ben, ana.id)
    assert ana.api.one("profiles", id=f"eq.{ben.id}", select=fields)["connected"] is True
    mine = ana.client.rpc("connections", {}).execute().data
    assert [row["username"] for row in mine] == ["ben-follows"]
    # Public, as in the references.
    assert anon.one("follows", follower_id=f"eq.{ana.id}", select="following:profiles!following_id(username)") == {
        "following": {"username": "ben-follows"}
    }
    ana.client.table("follows").delete().eq("following_id", ben.id).eq("follower_id", ana.id).execute()
    assert ana.api.one("profiles", id=f"eq.{ben.id}", select=fields)["connected"] is False
    assert ana.api.select("follows", follower_id=f"eq.{ana.id}") == []
    for _ in range(2):
        ana.client.table("user_blocks").upsert({"blocked_id": ben.id}).execute()


def test_lists_are_read_page_by_page(services: Services, database: Database) -> None:
    star, *fans = enroll(services, database, 8)
    for fan in fans:
        assert follow(fan, star.id).status_code == 201
    # Two of the same instant, to be told apart by their id.
    database.run(
        "update public.follows set created_at = '2026-01-01' where follower_id in (%s, %s)", fans[0].id, fans[1].id
    )
    query = {
        "following_id": f"eq.{star.id}",
        "select": "created_at,follower_id,follower:profiles!follower_id(username)",
        "order": "created_at.desc,follower_id.desc",
        "limit": "3",
    }
    seen: list[str] = []
    page = star.api.select("follows", **query)
    while page:
        seen += [row["follower_id"] for row in page]
        at, last = page[-1]["created_at"], page[-1]["follower_id"]
        after = f"(created_at.lt.{at},and(created_at.eq.{at},follower_id.lt.{last}))"
        page = star.api.select("follows", **query, **{"or": after})
    assert sorted(seen) == sorted(fan.id for fan in fans)


def test_hidden_people_are_not_followed_nor_listed(sign_up: SignUp, services: Services, database: Database) -> None:
    ana, ben, hidden, stranger = enroll(services, database, 4)
    for other in (ben, hidden):
        follow(ana, other.id)
        follow(other, ana.id)
    hide(hidden)
    nobody = "00000000-0000-4000-8000-000000000000"

    def refusal(call: Callable[[str], httpx.Response], other: str) -> tuple[int, dict[str, Any]]:
        answer = call(other)
        return answer.status_code, {key: str(value).replace(other, "…") for key, value in answer.json().items()}

    calls: list[Callable[[str], httpx.Response]] = [
        lambda other: follow(stranger, other),
        lambda other: block(stranger, other),
        lambda other: stranger.api.rpc("connections", user_id=other),
    ]
    for call in calls:
        assert refusal(call, hidden.id) == refusal(call, nobody)

    def visible(api: Api) -> set[str]:
        rows = api.select("follows", **{"or": f"(follower_id.eq.{ana.id},following_id.eq.{ana.id})"})
        assert rows == [] or hidden.id not in str(rows)
        count = api.http.head(
            "/rest/v1/follows", params={"following_id": f"eq.{ana.id}"}, headers={"prefer": "count=exact"}
        )
        assert count.headers["content-range"].endswith("/1"), count.headers
        embedded = api.one("profiles", id=f"eq.{ana.id}", select="followers:follows!following_id(follower_id)")
        assert hidden.id not in str(embedded)
        return {row["follower_id"] for row in rows} | {row["following_id"] for row in rows}

    assert visible(stranger.api) == visible(Api(services)) == visible(ana.api) == {ana.id, ben.id}
    assert [row["id"] for row in ana.api.rpc("connections").json()] == [ben.id]
    assert [row["id"] for row in ben.api.rpc("connections", user_id=ana.id).json()] == [ben.id]
    hide(hidden, "public")
    # Between two who block each other there is nothing either, for others there is.
    assert block(ben, stranger.id).is_success
    assert follow(stranger, ben.id).json()["hint"] == "user_not_found"
    rows = stranger.api.select("follows", following_id=f"eq.{ana.id}")
    assert [row["follower_id"] for row in rows] == [hidden.id]
    assert len(Api(services).select("follows", following_id=f"eq.{ana.id}")) == 2


def test_banned_people_neither_follow_nor_block(admin: Person, services: Services, database: Database) -> None:
    rude, ana = enroll(services, database, 2)
    assert admin.api.rpc("ban_user", user_id=rude.id, reason="spam").is_success
    assert code_of(follow(rude, ana.id)) == "banned"
    assert block(rude, ana.id).status_code == 403
    assert code_of(rude.api.rpc("connections")) == "banned"
    assert code_of(follow(ana, rude.id)) == "user_not_found"


def test_a_crowd_follows_one_at_once(crowd: list[Member], services: Services, database: Database) -> None:
    (star,) = enroll(services, database, 1)
    answers = together([lambda fan=fan: follow(fan, star.id) for fan in crowd])
    assert {answer.status_code for answer in answers} == {201}
    assert star.api.one("profiles", id=f"eq.{star.id}")["followers_count"] == len(crowd)
    assert_counted(database)
    # A double click, while others leave.
    half = len(crowd) // 2
    answers = together(
        [lambda fan=fan: follow(fan, star.id) for fan in crowd[:half]]
        + [lambda fan=fan: unfollow(fan, star.id) for fan in crowd[half:]]
    )
    assert [answer.status_code for answer in answers] == [409] * half + [204] * (len(crowd) - half)
    assert star.api.one("profiles", id=f"eq.{star.id}")["followers_count"] == half
    assert_counted(database)


def test_everybody_follows_everybody_at_once(crowd: list[Member], database: Database) -> None:
    """Each statement changes two profiles: nobody may wait in a circle."""
    people = crowd[:6]
    database.run("delete from public.follows")
    answers = together([lambda a=a, b=b: follow(a, b.id) for a in people for b in people if a is not b])
    assert {answer.status_code for answer in answers} == {201}, [a.text for a in answers if a.status_code != 201]
    counts = database.run(
        "select followers_count as n, following_count as m from public.profiles where id = any(%s::uuid[])",
        [person.id for person in people],
    )
    assert {(row["n"], row["m"]) for row in counts} == {(5, 5)}
    assert_counted(database)


def test_a_block_wins_over_a_follow_at_the_same_instant(services: Services, database: Database) -> None:
    def race(ana: Member, ben: Member, eve: Member) -> list[httpx.Response]:
        follow(ana, ben.id)
        return together(
            [
                lambda: follow(ben, ana.id),
                lambda: block(ana, ben.id),
                lambda: follow(ben, eve.id),
                lambda: unfollow(ana, ben.id),
            ]
        )

    for _ in range(10):
        ana, ben, eve = enroll(services, database, 3)
        answers = race(ana, ben, eve)
        assert answers[0].status_code == 201 or code_of(answers[0]) == "user_not_found"
        assert [answer.status_code for answer in answers[1:]] == [201, 201, 204]
        between = "select * from public.follows where follower_id in (%s, %s) and following_id in (%s, %s)"
        assert database.run(between, ana.id, ben.id, ana.id, ben.id) == []
    assert_counted(database)


def test_an_account_ends_while_others_follow_it(services: Services, database: Database) -> None:
    def race(star: Member, fans: list[Member]) -> list[httpx.Response]:
        return together(
            [lambda fan=fan: unfollow(fan, star.id) for fan in fans[:6]]
            + [lambda: star.api.rpc("delete_my_account")]
            + [lambda fan=fan: follow(fan, star.id) for fan in fans[8:]]
            + [lambda fan=fan: follow(star, fan.id) for fan in fans[:2]]
        )

    for _ in range(3):
        star, *fans = enroll(services, database, 13)
        for fan in fans[:8]:
            follow(fan, star.id)
        for fan in fans[4:12]:
            follow(star, fan.id)
        answers = race(star, fans)
        failed = [answer.text for answer in answers if answer.status_code not in (201, 204, 401, 404)]
        assert failed == []
        assert answers[6].status_code == 204
        follow_accounts(database)
        assert database.run("select * from public.follows where %s in (follower_id, following_id)", star.id) == []
        assert_counted(database)


def test_counters_after_anything_at_random(services: Services, database: Database) -> None:
    people = enroll(services, database, 12)
    # Accounts that stay in the books are only emptied.
    for person in people[:5]:
        database.run(
            "insert into public.orders (user_id, order_number, subtotal_cents, total_cents) values (%s, %s, 0, 0)",
            person.id,
            person.id[:13],
        )

    def live(number: int) -> list[str]:
        me, dice, wrong = people[number], random.Random(number), []
        for _ in range(12):
            other = dice.choice([person.id for person in people if person is not me])
            act = dice.choice([follow, follow, follow, unfollow, unfollow, block, unblock])
            answer = act(me, other)
            if answer.status_code not in (200, 201, 204, 401, 403, 404, 409):
                wrong.append(f"{act.__name__}: {answer.status_code} {answer.text}")
        if number % 4 == 0:
            answer = me.api.rpc("delete_my_account")
            if answer.status_code != 204:
                wrong.append(answer.text)
        return wrong

    lives = together([lambda number=number: live(number) for number in range(len(people))])
    assert [wrong for life in lives for wrong in life] == []
    assert_counted(database)
    assert (
        database.value(
            "select count(*) from public.follows as f inner join public.user_blocks as b "
            "on (f.follower_id, f.following_id) in ((b.blocker_id, b.blocked_id), (b.blocked_id, b.blocker_id))"
        )
        == 0
    )
