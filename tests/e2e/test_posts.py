"""Posts, likes, shares and polls over HTTP: five types, exact counters, and nothing for whom it is not meant."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import postgrest
import pytest

from stack.services import Services
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll, follow_accounts
from tests.harness.server import Database

CLIENTS = 20
RETURN = {"prefer": "return=representation"}


@pytest.fixture(scope="module")
def author(sign_up: SignUp) -> Person:
    return sign_up(username="post-author", display_name="Author")


@pytest.fixture(scope="module")
def reader(sign_up: SignUp) -> Person:
    return sign_up(username="post-reader")


@pytest.fixture(scope="module")
def crowd(services: Services, database: Database) -> list[Member]:
    return enroll(services, database, CLIENTS)


def write(person: Member, **post: Any) -> dict[str, Any]:
    """A post by this person; its row."""
    answer = person.api.http.post("/rest/v1/posts", json=post or {"content": "Hello"}, headers=RETURN)
    assert answer.status_code == 201, answer.text
    return answer.json()[0]  # type: ignore[no-any-return]


def like(person: Member, post: str) -> httpx.Response:
    return person.api.http.post("/rest/v1/post_likes", json={"post_id": post})


def unlike(person: Member, post: str) -> httpx.Response:
    return person.api.http.delete(f"/rest/v1/post_likes?post_id=eq.{post}&user_id=eq.{person.id}")


def found_group(owner: Member, **group: Any) -> str:
    answer = owner.api.http.post("/rest/v1/groups", json={"name": "Group", **group}, headers=RETURN)
    assert answer.status_code == 201, answer.text
    return answer.json()[0]["id"]  # type: ignore[no-any-return]


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """Send all at the same instant."""
    start = threading.Barrier(len(calls))

    def send(call: Callable[[], httpx.Response]) -> httpx.Response:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(send, calls))


@pytest.mark.parametrize(
    "post",
    [
        {"content": "Just words #Hello"},
        {"post_type": "image", "media_urls": ["https://e.com/1.png", "https://e.com/2.png"]},
        {"post_type": "video", "content": "Watch", "media_urls": ["https://e.com/1.mp4"]},
        {
            "post_type": "link",
            "link_url": "https://e.com/a?b=c",
            "link_preview": {"title": "A", "image": "https://e.com/i"},
        },
    ],
    ids=["text", "image", "video", "link"],
)
def test_a_post_of_each_type_comes_back_as_it_was_written(author: Person, anon: Api, post: dict[str, Any]) -> None:
    row = author.client.table("posts").insert(post).execute().data[0]
    assert {key: row[key] for key in post} == post
    assert row["user_id"] == author.id
    assert row["post_type"] == post.get("post_type", "text")
    shown = anon.one("posts", id=f"eq.{row['id']}", select="*,author:profiles!user_id(username,display_name)")
    assert shown["author"] == {"username": "post-author", "display_name": "Author"}


def test_a_poll_is_made_whole(author: Person, reader: Person, anon: Api) -> None:
    options = ["Drums", "Bass", "Keys"]
    poll = author.client.rpc("create_poll", {"content": "What first?", "options": options}).execute().data
    assert poll["post_type"] == "poll"
    select = "content,my_vote,options:poll_options(id,option,votes_count)"
    query = {"id": f"eq.{poll['id']}", "select": select, "options.order": "position"}
    shown = reader.api.one("posts", **query)
    assert [(o["option"], o["votes_count"]) for o in shown["options"]] == [(o, 0) for o in options]
    assert shown["my_vote"] is None
    vote = {"post_id": poll["id"], "option_id": shown["options"][1]["id"]}
    reader.client.table("poll_votes").insert(vote).execute()
    again = reader.api.one("posts", **query)
    assert [o["votes_count"] for o in again["options"]] == [0, 1, 0]
    assert again["my_vote"] == vote["option_id"]
    # Changed by upsert, as a frontend would.
    changed = {**vote, "option_id": shown["options"][0]["id"]}
    reader.client.table("poll_votes").upsert(changed).execute()
    assert [o["votes_count"] for o in anon.one("posts", **query)["options"]] == [1, 0, 0]
    assert author.api.select("poll_votes") == []
    with pytest.raises(postgrest.APIError) as error:
        author.client.table("posts").insert({"post_type": "poll", "content": "Without options?"}).execute()
    assert error.value.code == "42501"


def test_editing_and_deleting_ones_own(author: Person, reader: Person) -> None:
    post = write(author, content="Frist #one")
    answer = author.api.http.patch(f"/rest/v1/posts?id=eq.{post['id']}", json={"content": "First #two"}, headers=RETURN)
    assert answer.json()[0]["tags"] == ["two"]
    assert answer.json()[0]["updated_at"] > post["updated_at"]
    for refused in ({"post_type": "link"}, {"group_id": str(uuid.uuid4())}, {"likes_count": 5}, {"is_hidden": False}):
        assert author.api.http.patch(f"/rest/v1/posts?id=eq.{post['id']}", json=refused).status_code == 403
    assert reader.api.http.delete(f"/rest/v1/posts?id=eq.{post['id']}", headers=RETURN).json() == []
    assert author.api.http.delete(f"/rest/v1/posts?id=eq.{post['id']}").status_code == 204
    assert author.api.select("posts", id=f"eq.{post['id']}") == []


def test_twenty_people_like_and_unlike_one_post_at_the_same_instant(
    author: Person, anon: Api, crowd: list[Member], database: Database
) -> None:
    post = write(author)["id"]

    def likes() -> int:
        return anon.one("posts", id=f"eq.{post}")["likes_count"]  # type: ignore[no-any-return]

    answers = at_once([lambda p=p: like(p, post) for p in crowd])
    assert {a.status_code for a in answers} == {201}
    assert likes() == CLIENTS
    half = crowd[: CLIENTS // 2]
    answers = at_once(
        [lambda p=p: unlike(p, post) for p in half] + [lambda p=p: like(p, post) for p in crowd[CLIENTS // 2 :]]
    )
    assert [a.status_code for a in answers] == [204] * len(half) + [409] * (CLIENTS - len(half))
    assert likes() == CLIENTS - len(half)
    # Ignoring repeats is what a frontend does.
    ignore = {"prefer": "resolution=ignore-duplicates"}
    answers = at_once(
        [lambda p=p: p.api.http.post("/rest/v1/post_likes", json={"post_id": post}, headers=ignore) for p in crowd]
    )
    assert all(a.is_success for a in answers), [a.text for a in answers]
    assert likes() == CLIENTS == len(anon.select("post_likes", post_id=f"eq.{post}"))
    assert database.run("select * from private.recount()") == []


def test_random_likes_shares_votes_edits_and_ends_leave_every_count_exact(
    services: Services, database: Database, author: Person
) -> None:
    people = enroll(services, database, 14)
    group = found_group(author)
    for person in people:
        assert person.api.rpc("join_group", group_id=group).is_success
    polls = [author.api.rpc("create_poll", content=f"Poll {n}", options=["a", "b", "c"]).json()["id"] for n in range(2)]
    options = {poll: [o["id"] for o in author.api.select("poll_options", post_id=f"eq.{poll}")] for poll in polls}
    posts = [
        write(person, content="x", group_id=None if n % 2 else group)["id"] for n, person in enumerate(people)
    ] + polls
    trouble: list[str] = []

    def act(person: Member, seed: int) -> None:
        dice = random.Random(seed)
        http = person.api.http
        upsert = {"prefer": "resolution=merge-duplicates"}
        for _ in range(25):
            post = dice.choice(posts)
            poll = dice.choice(polls)
            option = dice.choice(options[poll])
            mine = f"post_id=eq.{post}&user_id=eq.{person.id}"
            action: Callable[[], httpx.Response] = dice.choice(
                [
                    lambda post=post: like(person, post),
                    lambda post=post: unlike(person, post),
                    lambda post=post: http.post("/rest/v1/post_shares", json={"post_id": post}),
                    lambda mine=mine: http.delete(f"/rest/v1/post_shares?{mine}"),
                    lambda poll=poll, option=option: http.post(
                        "/rest/v1/poll_votes", json={"post_id": poll, "option_id": option}, headers=upsert
                    ),
                    lambda poll=poll: http.delete(f"/rest/v1/poll_votes?post_id=eq.{poll}&user_id=eq.{person.id}"),
                    lambda: http.post(
                        "/rest/v1/posts", json={"content": "new", "group_id": dice.choice([None, group])}
                    ),
                    lambda: http.patch(f"/rest/v1/posts?user_id=eq.{person.id}", json={"content": f"{dice.random()}"}),
                ]
            )
            answer = action()
            if answer.status_code >= 500 or "40P01" in answer.text:
                trouble.append(answer.text)
        if seed % 4 == 0:
            answer = person.api.rpc("delete_my_account")
        elif seed % 4 == 1:
            answer = http.delete(f"/rest/v1/posts?user_id=eq.{person.id}")
        elif seed % 4 == 2:
            answer = person.api.rpc("set_profile_visibility", visibility="private")
        if not answer.is_success and seed % 4 != 3:
            trouble.append(answer.text)

    def moderate() -> None:
        for post in posts:
            database.run("update public.posts set is_hidden = not is_hidden where id = %s", post)

    with ThreadPoolExecutor(len(people) + 1) as pool:
        done = [pool.submit(act, person, seed) for seed, person in enumerate(people)]
        moderating = pool.submit(moderate)
        for each in [*done, moderating]:
            each.result()
    assert trouble == []
    assert database.run("select * from private.recount()") == []
    assert database.value("select count(*) from private.pending_counts") == 0


def test_a_result_stays_when_voters_leave(author: Person, anon: Api, services: Services, database: Database) -> None:
    """An ended poll keeps the votes of those who delete their accounts afterwards; one that goes on does not."""
    voter, other = enroll(services, database, 2)
    polls = [author.api.rpc("create_poll", content=f"Poll {n}?", options=["Yes", "No"]).json()["id"] for n in range(2)]
    for poll in polls:
        first, _ = anon.select("poll_options", post_id=f"eq.{poll}", order="position")
        for person in (voter, other):
            body = {"post_id": poll, "option_id": first["id"]}
            assert person.api.http.post("/rest/v1/poll_votes", json=body).status_code == 201
    database.run("update public.posts set poll_ends_at = now() where id = %s", polls[0])
    assert voter.api.rpc("delete_my_account").status_code == 204
    follow_accounts(database)
    options = [anon.select("poll_options", post_id=f"eq.{poll}", order="position") for poll in polls]
    assert [[option["votes_count"] for option in both] for both in options] == [[2, 0], [1, 0]]
    assert database.run("select * from private.recount()") == []


def test_a_vote_is_counted_before_the_end_and_refused_after_it(
    author: Person, anon: Api, crowd: list[Member], database: Database
) -> None:
    poll = author.api.rpc("create_poll", content="Quick?", options=["Yes", "No"]).json()["id"]
    options = [o["id"] for o in anon.select("poll_options", post_id=f"eq.{poll}", order="position")]
    closing = threading.Barrier(len(crowd) + 1)
    outcomes: dict[str, list[httpx.Response]] = {}

    def vote(person: Member) -> None:
        answers = outcomes[person.id] = []
        body = {"post_id": poll, "option_id": options[len(answers) % 2]}
        closing.wait()
        while True:
            answers.append(person.api.http.post("/rest/v1/poll_votes", json=body))
            if answers[-1].status_code != 201:
                return
            # Taken back and given again, until the poll says no.
            back = person.api.http.delete(f"/rest/v1/poll_votes?post_id=eq.{poll}", headers=RETURN)
            if not back.json():
                return

    with ThreadPoolExecutor(len(crowd) + 1) as pool:
        voting = [pool.submit(vote, person) for person in crowd]
        closing.wait()
        database.run(
            "update public.posts set poll_ends_at = clock_timestamp() + interval '300 milliseconds' where id = %s", poll
        )
        for each in voting:
            each.result()
    refused = [answers[-1] for answers in outcomes.values() if answers[-1].status_code != 201]
    assert {(a.status_code, code_of(a)) for a in refused} <= {(409, "poll_closed")}
    counted = sum(o["votes_count"] for o in anon.select("poll_options", post_id=f"eq.{poll}"))
    assert (
        counted
        == CLIENTS - len(refused)
        == database.value("select count(*) from public.poll_votes where post_id = %s", poll)
    )
    late = crowd[0].api.http.post("/rest/v1/poll_votes", json={"post_id": poll, "option_id": options[0]})
    assert late.status_code == 409
    assert database.run("select * from private.recount()") == []


@pytest.fixture(scope="module")
def unseen(
    sign_up: SignUp, author: Person, reader: Person, database: Database
) -> dict[str, tuple[dict[str, Any], Person]]:
    """Posts the reader may not know of, each with its author, by why."""
    private, banned, blocker, founder = (sign_up(username=f"unseen-{n}") for n in range(4))
    posts = {
        "hidden": (write(author, content="unseen hidden"), author),
        "private": (write(private, content="unseen private"), private),
        "banned": (write(banned, content="unseen banned"), banned),
        "blocker": (write(blocker, content="unseen blocker"), blocker),
        "secret": (
            write(founder, content="unseen secret", group_id=found_group(founder, visibility="secret")),
            founder,
        ),
    }
    group = found_group(author, post_approval_required=True)
    for person in (reader, founder):
        assert person.api.rpc("join_group", group_id=group).is_success
    posts["unapproved"] = (write(founder, content="unseen unapproved", group_id=group), founder)
    followed = [{"following_id": person.id} for person in (author, private, banned, blocker, founder)]
    assert reader.api.http.post("/rest/v1/follows", json=followed).is_success
    for post, _ in posts.values():
        # Somebody's like and a poll's options would give it away as well.
        database.run("insert into public.post_likes (post_id, user_id) values (%s, %s)", post["id"], author.id)
        database.run("insert into public.post_shares (post_id, user_id) values (%s, %s)", post["id"], author.id)
        database.run("insert into public.poll_options (post_id, position, option) values (%s, 1, 'x')", post["id"])
    database.run("update public.posts set is_hidden = true where id = %s", posts["hidden"][0]["id"])
    private.api.rpc("set_profile_visibility", visibility="private")
    database.run("insert into public.bans (user_id, reason) values (%s, 'spam')", banned.id)
    blocker.client.table("user_blocks").insert({"blocked_id": reader.id}).execute()
    return posts


@pytest.mark.parametrize("why", ["hidden", "private", "banned", "blocker", "secret", "unapproved"])
def test_what_is_not_for_the_reader_does_not_exist_for_them(
    unseen: dict[str, tuple[dict[str, Any], Person]], reader: Person, anon: Api, why: str
) -> None:
    post, author = unseen[why]
    nothing = str(uuid.uuid4())
    option = {"option_id": nothing}
    assert reader.api.select("posts", id=f"eq.{post['id']}") == []
    assert reader.api.select("posts", content="eq.unseen " + why) == []
    for relation in ("post_likes", "post_shares", "poll_options"):
        assert reader.api.select(relation, post_id=f"eq.{post['id']}") == []
    embedded = reader.api.select("profiles", id=f"eq.{author.id}", select="id,posts!user_id(id)")
    assert post["id"] not in str(embedded)
    count = reader.api.http.head(f"/rest/v1/posts?id=eq.{post['id']}", headers={"prefer": "count=exact"})
    assert count.headers["content-range"] == "*/0"
    assert post["id"] not in str(reader.api.rpc("feed", max_rows=100).json())
    found = reader.api.rpc("search_posts", query="unseen", max_rows=100)
    assert found.status_code == 200
    assert post["id"] not in found.text
    if post["group_id"]:
        assert reader.api.rpc("pending_posts", group_id=post["group_id"]).json() == []
        assert reader.api.select("posts", group_id=f"eq.{post['group_id']}") == []
    # Whatever is tried, the answer is that of a post that never was.
    for tried in (
        lambda target: like(reader, target),
        lambda target: unlike(reader, target),
        lambda target: reader.api.http.post("/rest/v1/post_shares", json={"post_id": target}),
        lambda target: reader.api.http.post("/rest/v1/poll_votes", json={"post_id": target, **option}),
        lambda target: reader.api.http.patch(f"/rest/v1/posts?id=eq.{target}", json={"content": "x"}, headers=RETURN),
        lambda target: reader.api.http.delete(f"/rest/v1/posts?id=eq.{target}", headers=RETURN),
        lambda target: reader.api.rpc("pin_post", post_id=target),
        lambda target: reader.api.rpc("approve_post", post_id=target),
        lambda target: reader.api.rpc("reject_post", post_id=target, reason="x"),
    ):
        ours, nobodys = tried(post["id"]), tried(nothing)
        assert ours.status_code == nobodys.status_code
        assert ours.text.replace(post["id"], nothing) == nobodys.text
    if why != "blocker":
        assert anon.select("posts", id=f"eq.{post['id']}") == []
    if why != "banned":
        assert author.api.one("posts", id=f"eq.{post['id']}")["content"] == f"unseen {why}"


def test_what_was_hidden_or_banned_comes_back(
    unseen: dict[str, tuple[dict[str, Any], Person]], reader: Person, database: Database
) -> None:
    hidden, _ = unseen["hidden"]
    banned, outcast = unseen["banned"]
    assert outcast.api.select("posts", id=f"eq.{banned['id']}") == []
    assert outcast.api.http.post("/rest/v1/posts", json={"content": "still here"}).status_code == 403
    database.run("update public.posts set is_hidden = false where id = %s", hidden["id"])
    database.run("delete from public.bans where user_id = %s", outcast.id)
    for post in (hidden, banned):
        assert reader.api.one("posts", id=f"eq.{post['id']}")["likes_count"] == 1
        assert post["id"] in reader.api.rpc("search_posts", query="unseen").text
    database.run("update public.posts set is_hidden = true where id = %s", hidden["id"])
    database.run("insert into public.bans (user_id, reason) values (%s, 'spam')", outcast.id)


def test_posts_in_a_group_wait_for_its_moderators(author: Person, reader: Person, sign_up: SignUp) -> None:
    moderator = sign_up(username="post-moderator")
    group = found_group(author, post_approval_required=True)
    assert (
        code_of(reader.api.http.post("/rest/v1/posts", json={"content": "x", "group_id": group}))
        == "group_members_only"
    )
    for person in (reader, moderator):
        assert person.api.rpc("join_group", group_id=group).is_success
    answer = author.api.rpc("set_member_role", group_id=group, user_id=moderator.id, role="moderator")
    assert answer.is_success, answer.text

    def posts_count() -> int:
        return author.api.one("groups", id=f"eq.{group}")["posts_count"]  # type: ignore[no-any-return]

    assert write(author, content="by the owner", group_id=group)["is_approved"]
    waiting = write(reader, content="by a member", group_id=group)
    assert (waiting["is_approved"], waiting["audience"], posts_count()) == (False, "owner", 1)
    poll = reader.api.rpc("create_poll", content="Poll?", options=["a", "b"], group_id=group).json()
    assert not poll["is_approved"]
    listed = moderator.api.http.get(
        "/rest/v1/rpc/pending_posts", params={"group_id": group, "select": "id,author:profiles!user_id(username)"}
    )
    assert listed.json() == [
        {"id": waiting["id"], "author": {"username": "post-reader"}},
        {"id": poll["id"], "author": {"username": "post-reader"}},
    ]
    assert moderator.api.rpc("approve_post", post_id=waiting["id"]).status_code == 204
    assert moderator.api.rpc("reject_post", post_id=poll["id"], reason="No polls").status_code == 204
    assert moderator.api.rpc("pending_posts", group_id=group).json() == []
    assert reader.api.one("posts", id=f"eq.{poll['id']}")["hidden_reason"] == "No polls"
    assert posts_count() == 2
    assert [p["content"] for p in moderator.api.select("posts", group_id=f"eq.{group}", order="created_at")] == [
        "by the owner",
        "by a member",
    ]
    assert moderator.api.rpc("pin_post", post_id=waiting["id"]).status_code == 204
    assert reader.api.one("posts", group_id=f"eq.{group}", is_pinned="eq.true")["id"] == waiting["id"]
    assert code_of(reader.api.rpc("unpin_post", post_id=waiting["id"])) == "post_not_found"
    assert author.api.rpc("ban_member", group_id=group, user_id=reader.id).is_success
    assert (
        code_of(reader.api.http.post("/rest/v1/posts", json={"content": "x", "group_id": group}))
        == "group_members_only"
    )
    assert [p["id"] for p in reader.api.select("posts", group_id=f"eq.{group}", order="created_at")] == [
        waiting["id"],
        poll["id"],
    ]
    assert code_of(like(reader, author.api.one("posts", content="eq.by the owner")["id"])) == "42501"
