"""Messaging over HTTP: conversations that start at the same moment, what newcomers and strangers get, exact counts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import pytest

from stack.services import Services
from tests.harness.market import run_job
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll, follow_accounts
from tests.harness.server import Database
from tests.harness.waiting import until

T = TypeVar("T")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
RETURN = {"prefer": "return=representation"}


def acquaint(database: Database, members: list[Member]) -> list[Member]:
    """Everybody follows everybody: what they write each other is no request."""
    database.run(
        "insert into public.follows (follower_id, following_id) select a.id, b.id from unnest(%s::uuid[]) as a (id) "
        "cross join unnest(%s::uuid[]) as b (id) where a.id <> b.id on conflict do nothing",
        [member.id for member in members],
        [member.id for member in members],
    )
    return members


@pytest.fixture(scope="module")
def crowd(services: Services, database: Database) -> list[Member]:
    return acquaint(database, enroll(services, database, 24))


@pytest.fixture
def people(services: Services, database: Database) -> list[Member]:
    """Four who know each other."""
    return acquaint(database, enroll(services, database, 4))


def at_once(people: Iterable[T], act: Callable[[T], Any]) -> list[Any]:
    """Everybody does it at the same time: all threads are started before the first may go."""
    people = list(people)
    gate = Barrier(len(people))

    def go(person: T) -> Any:
        gate.wait(30)
        return act(person)

    with ThreadPoolExecutor(len(people)) as pool:
        return list(pool.map(go, people))


def start(starter: Member, *others: Member, **group: str) -> str:
    answer = starter.api.rpc("start_conversation", user_ids=[other.id for other in others], **group)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def post(sender: Member, conversation: str, content: str | None = "Hello", **more: Any) -> httpx.Response:
    row = {"conversation_id": conversation, "content": content, **more}
    return sender.api.http.post("/rest/v1/messages", json=row, headers=RETURN)


def send(sender: Member, conversation: str, content: str | None = "Hello", **more: Any) -> dict[str, Any]:
    answer = post(sender, conversation, content, **more)
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()[0]
    return row


def read(reader: Member, conversation: str) -> list[str | None]:
    rows = reader.api.select("messages", conversation_id=f"eq.{conversation}", order="number")
    return [row["content"] for row in rows]


def entry(owner: Member, conversation: str) -> dict[str, Any]:
    """The owner's line of the conversation list; empty when it is not on it."""
    rows = owner.api.rpc("inbox").json()
    return next((row for row in rows if row["conversation_id"] == conversation), {})


def unread(owner: Member) -> int:
    answer = owner.api.rpc("unread_messages_count")
    assert answer.status_code == 200, answer.text
    return int(answer.json())


def assert_exact(database: Database) -> None:
    """Every count equals a recount."""
    assert database.run("select * from private.recount()") == []


# --- starting


def test_two_who_start_at_the_same_moment_get_one_conversation(crowd: list[Member], database: Database) -> None:
    pairs = list(itertools.islice(itertools.combinations(crowd[:8], 2), 20))
    for one, two in pairs:
        # Three of each, so that also one's own double click is among them.
        found = at_once([(one, two), (two, one)] * 3, lambda pair: start(*pair))
        assert len(set(found)) == 1
    assert database.value("select count(*) from conversations where not is_group") == len(pairs)
    assert database.value("select count(*) from conversation_participants") == 2 * len(pairs)
    assert database.value("select count(*) from inbox_entries") == 2 * len(pairs)


def test_whom_one_cannot_see_does_not_exist(people: list[Member], database: Database) -> None:
    me, hidden, banned, blocker = people
    database.run("update profiles set profile_visibility = 'private' where id = %s", hidden.id)
    database.run("insert into bans (user_id, reason) values (%s, 'x')", banned.id)
    assert blocker.api.http.post("/rest/v1/user_blocks", json={"blocked_id": me.id}).status_code == 201
    for unseen in (hidden.id, banned.id, blocker.id, str(uuid4())):
        answer = me.api.rpc("start_conversation", user_ids=[unseen])
        assert (answer.status_code, code_of(answer)) == (404, "user_not_found")
        # Nothing in the answer tells one from another but the id that was asked for.
        assert answer.json()["details"] == unseen
    assert code_of(blocker.api.rpc("start_conversation", user_ids=[me.id])) == "user_not_found"


def test_a_stranger_asks_before_anything_rings(services: Services, database: Database) -> None:
    stranger, asked, other = enroll(services, database, 3)
    talk = start(stranger, asked)
    for content in ("Hi", "Are you there?", "Hello?"):
        send(stranger, talk, content)
    refusal = post(stranger, talk, "Hello!")
    assert (refusal.status_code, code_of(refusal)) == (409, "request_pending")
    assert unread(asked) == 0
    assert asked.api.rpc("unread_counts").json() == {"notifications": 0, "messages": 0}
    assert entry(asked, talk) == {}
    (request,) = asked.api.rpc("inbox", requests=True).json()
    assert (request["conversation_id"], request["unread_count"]) == (talk, 3)
    assert asked.api.rpc("mark_conversation_read", conversation_id=talk).json() == 3
    assert not any(row["is_read"] for row in stranger.api.select("messages", conversation_id=f"eq.{talk}"))
    assert asked.api.rpc("accept_message_request", conversation_id=talk).status_code == 204
    assert unread(asked) == 3
    send(stranger, talk, "Thank you")
    assert asked.api.rpc("unread_counts").json() == {"notifications": 1, "messages": 4}

    advert = start(other, asked)
    send(other, advert, "Buy this")
    assert asked.api.rpc("decline_message_request", conversation_id=advert).status_code == 204
    send(other, advert, "And this")
    assert asked.api.rpc("inbox", requests=True).json() == []
    assert unread(asked) == 4
    assert read(other, advert) == ["Buy this", "And this"], "who was declined learns nothing"
    for function in ("accept_message_request", "decline_message_request"):
        assert code_of(other.api.rpc(function, conversation_id=talk)) == "conversation_not_found"
    assert_exact(database)


def test_strangers_are_approached_a_few_a_day(services: Services, database: Database) -> None:
    stranger, admin, *others = enroll(services, database, 24)
    database.run("update profiles set role = 'admin' where id = %s", admin.id)
    answers = [stranger.api.rpc("start_conversation", user_ids=[other.id]) for other in others]
    most = database.value("select fresh from private.activity_limits where kind = 'contact'")
    assert [answer.status_code for answer in answers] == [200] * most + [429] * (len(others) - most)
    refusal = answers[-1].json()
    assert refusal["hint"] == "too_many_actions"
    assert timedelta(hours=23) < datetime.fromisoformat(refusal["details"]) - datetime.now(UTC) < timedelta(hours=25)
    limits = {limit["kind"]: limit for limit in stranger.api.rpc("my_limits").json()}
    assert (limits["contact"]["most"], limits["contact"]["used"]) == (most, most)
    assert code_of(stranger.api.rpc("lift_limits", user_id=stranger.id)) == "admin_only"
    assert admin.api.rpc("lift_limits", user_id=stranger.id).status_code == 204
    assert stranger.api.rpc("start_conversation", user_ids=[others[-1].id]).status_code == 200


# --- strangers


def test_nobody_adds_themselves(people: list[Member], database: Database, anon: Api) -> None:
    one, two, three, stranger = people
    direct, chat = start(one, two), start(one, two, three, group_name="Band")
    send(one, direct), send(one, chat)
    before = database.run("select * from conversation_participants order by 1, 2")

    http = stranger.api.http
    for conversation in (direct, chat):
        me = {"conversation_id": conversation, "user_id": stranger.id}
        rows = [
            ("conversation_participants", me),
            ("conversation_participants", {**me, "is_manager": True, "last_read_number": 0}),
            ("inbox_entries", {**me, "is_group": True, "first_number": 0}),
            ("conversations", {"id": conversation, "is_group": True}),
            ("conversations", {"id": conversation, "low_id": stranger.id, "high_id": one.id}),
        ]
        prefers = [
            "",
            "resolution=merge-duplicates",
            "resolution=ignore-duplicates",
            "missing=default",
            *RETURN.values(),
        ]
        for (relation, row), prefer in itertools.product(rows, prefers):
            answer = http.post(f"/rest/v1/{relation}", json=row, headers={"prefer": prefer} if prefer else {})
            assert answer.status_code == 403, (relation, prefer, answer.text)
            assert http.put(f"/rest/v1/{relation}", json=row, params={"id": f"eq.{conversation}"}).status_code >= 400
        for relation, change in [
            ("conversation_participants", {"user_id": stranger.id}),
            ("inbox_entries", {"user_id": stranger.id}),
            ("inbox_entries", {"first_number": 0}),
            ("conversations", {"low_id": stranger.id}),
            ("messages", {"conversation_id": conversation}),
        ]:
            key = "id" if relation in ("conversations", "messages") else "conversation_id"
            answer = http.patch(f"/rest/v1/{relation}", json=change, params={key: f"eq.{conversation}"})
            assert answer.status_code == 403, (relation, change, answer.text)
        # A name may be changed by managers: the request is allowed, the row is not there.
        answer = http.patch("/rest/v1/conversations", json={"group_name": "Mine"}, params={"id": f"eq.{conversation}"})
        assert answer.status_code == 204
        for function, arguments in [
            ("add_participants", {"user_ids": [stranger.id]}),
            ("remove_participant", {"user_id": one.id}),
            ("leave_conversation", {}),
            ("mark_conversation_read", {}),
        ]:
            refusals = [
                stranger.api.rpc(function, conversation_id=asked, **arguments) for asked in (conversation, str(uuid4()))
            ]
            assert [(r.status_code, code_of(r)) for r in refusals] == [(404, "conversation_not_found")] * 2, function
        assert (
            code_of(post(stranger, conversation)) == code_of(post(stranger, str(uuid4()))) == "conversation_not_found"
        )
        assert anon.rpc("add_participants", conversation_id=conversation, user_ids=[stranger.id]).status_code == 401
        # Participants who manage nothing add nobody either.
        answer = two.api.rpc("add_participants", conversation_id=conversation, user_ids=[stranger.id])
        assert code_of(answer) in ("manager_only", "not_a_group_chat")
    assert database.run("select * from conversation_participants order by 1, 2") == before
    assert database.value("select group_name from conversations where id = %s", chat) == "Band"
    assert routes(stranger, chat, "Hello") == set()
    assert routes(stranger, direct, "Hello") == set()


def routes(who: Member, conversation: str, word: str) -> set[str]:
    """By which routes somebody gets a trace of messages containing a word."""
    api, found = who.api, set()
    queries = {
        "select": ("messages", {"conversation_id": f"eq.{conversation}"}),
        "select all": ("messages", {}),
        "filter": ("messages", {"content": f"like.*{word}*", "select": "number"}),
        "embed": ("conversations", {"select": "*,messages(*)"}),
        "embed count": ("conversations", {"select": "messages(count)", "id": f"eq.{conversation}"}),
        "embed inner": ("conversations", {"select": "id,messages!inner(id)", "messages.content": f"like.*{word}*"}),
        "via profile": ("profiles", {"select": "id,messages!inner(content)"}),
        "deletions": ("message_deletions", {"select": "*,messages(*)"}),
        "participants": ("conversation_participants", {"select": "*,conversations(messages(content))"}),
        "entries": ("inbox_entries", {"select": "*,conversations(messages(content))"}),
        "conversations": ("conversations", {}),
    }
    for name, (relation, query) in queries.items():
        answer = api.http.get(f"/rest/v1/{relation}", params=query)
        if answer.status_code == 200 and (word in answer.text or (name == "filter" and answer.json())):
            found.add(name)
        if name == "embed inner" and answer.status_code == 200 and answer.json():
            found.add(name)
        if name == "embed count" and any(n["count"] for row in answer.json() for n in row["messages"]):
            found.add(name)
    for method in ("GET", "HEAD"):
        query = {"content": f"like.*{word}*"}
        answer = api.http.request(method, "/rest/v1/messages", params=query, headers={"prefer": "count=exact"})
        if not answer.headers["content-range"].endswith("/0"):
            found.add(f"count {method}")
    for function in ("inbox", "unread_messages_count", "export_my_data"):
        answer = api.rpc(function)
        assert answer.status_code == 200, (function, answer.text)
        if word in answer.text:
            found.add(function)
    return found


def test_who_enters_reads_nothing_from_before(people: list[Member], database: Database) -> None:
    one, two, three, newcomer = people
    chat = start(one, two, three)
    paths = [attach(one, chat, "early.png")]
    early = [send(one, chat, "early bird", attachments=paths), send(two, chat, "the early worm")]
    answer = one.api.rpc("add_participants", conversation_id=chat, user_ids=[newcomer.id, two.id])
    assert answer.status_code == 204, answer.text
    assert routes(newcomer, chat, "early") == set()
    assert unread(newcomer) == 0
    assert entry(newcomer, chat)["last_message_preview"] is None
    assert download(newcomer, paths[0]).status_code in (400, 404)
    for message in early:
        assert code_of(newcomer.api.rpc("delete_message", message_id=message["id"])) == "message_not_found"
        assert newcomer.api.select("messages", id=f"eq.{message['id']}") == []
    # Reading it all marks nothing of it read.
    assert newcomer.api.rpc("mark_conversation_read", conversation_id=chat).json() == 0
    assert not any(row["is_read"] for row in one.api.select("messages", conversation_id=f"eq.{chat}"))
    send(three, chat, "late owl")
    assert read(newcomer, chat) == ["late owl"]
    assert unread(newcomer) == 1
    assert read(one, chat) == ["early bird", "the early worm", "late owl"]

    # A preview that goes back goes no further back than the entry.
    newest = newcomer.api.select("messages", conversation_id=f"eq.{chat}")[0]
    assert newcomer.api.rpc("delete_message", message_id=newest["id"]).status_code == 204
    assert entry(newcomer, chat)["last_message_preview"] is None
    # Whoever left and comes back reads from then on.
    assert newcomer.api.rpc("leave_conversation", conversation_id=chat).status_code == 204
    send(one, chat, "early again")
    assert routes(newcomer, chat, "early") == routes(newcomer, chat, "owl") == set()
    again = one.api.rpc("add_participants", conversation_id=chat, user_ids=[newcomer.id])
    assert (again.status_code, code_of(again)) == (409, "left_chat"), "nobody is brought back"
    assert newcomer.api.rpc("rejoin_conversation", conversation_id=chat).status_code == 204
    assert routes(newcomer, chat, "early") == routes(newcomer, chat, "owl") == set()
    assert_exact(database)


# --- counting


def test_unread_counts_are_exact_with_ten_senders_and_readers(crowd: list[Member], database: Database) -> None:
    members = crowd[8:18]
    chat = start(members[0], *members[1:])
    sent: list[dict[str, Any]] = []

    def talk(member: Member) -> None:
        dice = random.Random(member.id)
        for _ in range(8):
            match dice.randrange(4):
                case 0:
                    member.api.rpc("mark_conversation_read", conversation_id=chat).raise_for_status()
                case 1 if sent:
                    message = dice.choice(sent)
                    own = message["sender_id"] == member.id
                    arguments = {"message_id": message["id"], "for_everyone": own}
                    member.api.rpc("delete_message", **arguments).raise_for_status()
                case _:
                    sent.append(send(member, chat, f"by {member.id}"))

    at_once(members, talk)
    assert_exact(database)
    numbers = [row["number"] for row in members[0].api.select("messages", order="number", select="number")]
    everything = database.value(
        "select array_agg(number order by number) from messages where conversation_id = %s", chat
    )
    assert everything == list(range(1, len(sent) + 1)), "numbers have no gaps"
    assert set(numbers) <= set(everything)
    times = database.run("select created_at from messages where conversation_id = %s order by number", chat)
    assert [row["created_at"] for row in times] == sorted(row["created_at"] for row in times)
    for member in members:
        rows = member.api.select("messages", conversation_id=f"eq.{chat}")
        last_read = member.api.one("conversation_participants", user_id=f"eq.{member.id}", conversation_id=f"eq.{chat}")
        expected = sum(
            row["number"] > last_read["last_read_number"] and row["sender_id"] != member.id and not row["is_deleted"]
            for row in rows
        )
        assert unread(member) == entry(member, chat)["unread_count"] == expected
        assert member.api.rpc("mark_conversation_read", conversation_id=chat).json() == 0
        assert unread(member) == 0
    assert_exact(database)


def test_the_heir_of_a_chat_is_nobody_banned(services: Services, database: Database) -> None:
    """When who manages a group chat leaves, somebody in good standing does, though a banned one joined earlier."""
    manager, banned, heir = acquaint(database, enroll(services, database, 3))
    chat = start(manager, banned, heir)
    for person in (banned, heir):
        send(person, chat)
    database.run(
        "update public.conversation_participants set joined_at = joined_at - interval '1 day' where user_id = %s",
        banned.id,
    )
    database.run("insert into public.bans (user_id, reason) values (%s, 'Measured')", banned.id)
    assert manager.api.rpc("leave_conversation", conversation_id=chat).is_success
    managing = heir.api.select("conversation_participants", conversation_id=f"eq.{chat}", is_manager="is.true")
    assert [row["user_id"] for row in managing] == [heir.id]


@pytest.mark.parametrize("attempt", range(3))
def test_counts_stay_exact_while_people_block_leave_and_go(
    services: Services, database: Database, attempt: int
) -> None:
    members = enroll(services, database, 8)
    chats = [start(members[0], *members[1:]), start(members[1], *members[2:])]
    directs = [start(members[0], members[1]), start(members[2], members[3])]
    allowed = {"cannot_message", "conversation_not_found", "not_signed_in", "user_not_found", "left_chat", None}
    acquaint(database, members)

    def live(member: Member) -> None:
        dice = random.Random(member.id)
        for step in range(6):
            other = dice.choice(members)
            chat = dice.choice(chats)
            answers = [post(member, chat), post(member, dice.choice(directs))]
            if member in members[:4] and step % 2 == 0 and other is not member:
                http = member.api.http
                http.post("/rest/v1/user_blocks", json={"blocked_id": other.id})
                answers.append(post(member, chat))
                http.delete("/rest/v1/user_blocks", params={"blocked_id": f"eq.{other.id}"})
            elif member in members[4:6]:
                answers.append(member.api.rpc("leave_conversation", conversation_id=chat))
                answers.append(members[0].api.rpc("add_participants", conversation_id=chat, user_ids=[member.id]))
                answers.append(member.api.rpc("rejoin_conversation", conversation_id=chat))
            elif member in members[6:] and step == 3:
                answers.append(member.api.rpc("delete_my_account"))
            codes = {code_of(answer) for answer in answers}
            assert codes <= allowed, codes

    at_once(members, live)
    assert_exact(database)
    follow_accounts(database)
    assert_exact(database)
    gone = [member.id for member in members[6:]]
    assert database.value("select count(*) from messages where sender_id = any (%s)", gone) == 0
    assert database.value("select count(*) from conversation_participants where user_id = any (%s)", gone) == 0


# --- blocks, bans, deletion


def test_a_block_ends_writing_both_ways_and_looks_like_any_other_silence(
    people: list[Member], database: Database
) -> None:
    one, two, three, _ = people
    direct, chat = start(one, two), start(three, one, two)
    send(two, direct, "said before")
    assert one.api.http.post("/rest/v1/user_blocks", json={"blocked_id": two.id}).status_code == 201
    blocked = [post(one, direct), post(two, direct)]
    send(one, chat, "from one")
    send(two, chat, "from two")
    assert read(one, chat) == ["from one"]
    assert read(two, chat) == ["from two"]
    assert read(three, chat) == ["from one", "from two"]
    assert (unread(one), unread(two), unread(three)) == (0, 0, 2)
    assert entry(one, chat)["last_message_preview"] == "from one"
    assert entry(one, direct) == {}, "who blocked is not reminded"
    all_of_it = {"id": f"eq.{direct}", "select": "*,conversation_participants(*),messages(*)"}
    seen = two.api.select("conversations", **all_of_it)
    assert [p["id"] for p in entry(two, chat)["participants"]] == [three.id]

    one.api.http.delete("/rest/v1/user_blocks", params={"blocked_id": f"eq.{two.id}"})
    assert read(one, chat) == ["from one", "from two"]
    assert (unread(one), unread(two)) == (2, 1)
    database.run("update profiles set profile_visibility = 'private' where id = %s", one.id)
    hidden = post(two, direct)
    assert (
        two.api.select("conversations", id=f"eq.{direct}", select="*,conversation_participants(*),messages(*)") == seen
    )
    assert {(a.status_code, a.text) for a in (*blocked, hidden)} == {(403, hidden.text)}
    assert code_of(hidden) == "cannot_message"
    assert_exact(database)


def test_a_banned_user_neither_reads_nor_writes(people: list[Member], database: Database) -> None:
    one, two, three, _ = people
    direct, chat = start(one, two), start(one, two, three)
    path = attach(one, chat, "a.png")
    message = send(one, chat, "Hello", attachments=[path])
    assert download(two, path).status_code == 200
    database.run("insert into bans (user_id, reason) values (%s, 'x')", two.id)
    for conversation in (direct, chat):
        assert code_of(post(two, conversation)) == "banned"
        assert read(two, conversation) == []
    for relation in ("conversations", "conversation_participants", "inbox_entries", "messages", "message_deletions"):
        assert two.api.select(relation) == []
    for function, arguments in [
        ("start_conversation", {"user_ids": [three.id]}),
        ("inbox", {}),
        ("unread_messages_count", {}),
        ("mark_conversation_read", {"conversation_id": chat}),
        ("delete_message", {"message_id": message["id"]}),
        ("leave_conversation", {"conversation_id": chat}),
    ]:
        assert code_of(two.api.rpc(function, **arguments)) == "banned", function
    assert download(two, path).status_code in (400, 403, 404)
    assert code_of(post(one, direct)) == "cannot_message"
    send(one, chat, "without two")


def test_admins_do_not_read_messages(people: list[Member], admin: Person, database: Database) -> None:
    one, two, three, _ = people
    chat = start(one, two, three)
    path = attach(one, chat, "a.png")
    message = send(one, chat, "a confidence", attachments=[path])
    assert routes(admin, chat, "confidence") == set()
    assert download(admin, path).status_code in (400, 403, 404)
    assert code_of(admin.api.rpc("delete_message", message_id=message["id"], for_everyone=True)) == "message_not_found"
    evidence = "select content from private.message_evidence(array[%s::uuid], %s)"
    assert database.value(evidence, message["id"], admin.id) is None
    assert database.value(evidence, message["id"], two.id)["content"] == "a confidence"


def test_deleting_for_oneself_and_for_everyone(people: list[Member]) -> None:
    one, two, three, _ = people
    chat = start(one, two, three)
    first, second = send(one, chat, "first"), send(one, chat, "second")
    assert two.api.rpc("delete_message", message_id=second["id"]).status_code == 204
    assert (read(two, chat), read(three, chat)) == (["first"], ["first", "second"])
    assert (unread(two), entry(two, chat)["last_message_preview"]) == (1, "first")
    assert one.api.select("message_deletions") == three.api.select("message_deletions") == []

    assert code_of(two.api.rpc("delete_message", message_id=first["id"], for_everyone=True)) == "not_message_sender"
    assert one.api.rpc("delete_message", message_id=first["id"], for_everyone=True).status_code == 204
    assert (read(two, chat), read(three, chat)) == ([None], [None, "second"])
    assert (unread(two), unread(three)) == (0, 1)
    assert entry(two, chat)["last_message_preview"] is None
    assert entry(three, chat)["last_message_preview"] == "second"


# --- sending


def test_a_message_that_is_sent_again_with_its_id_is_there_once(people: list[Member]) -> None:
    one, two, *_ = people
    direct, ours = start(one, two), str(uuid4())
    assert send(one, direct, id=ours)["number"] == 1
    assert post(one, direct, id=ours).status_code == 409
    again = one.api.http.post(
        "/rest/v1/messages",
        json={"conversation_id": direct, "content": "Hello", "id": ours},
        headers={"prefer": "resolution=ignore-duplicates"},
    )
    assert again.status_code in (200, 201), again.text
    answers = at_once(range(6), lambda _: post(one, direct, id="0" * 8 + ours[8:]).status_code)
    assert sorted(answers) == [201, *[409] * 5]
    assert send(one, direct)["number"] == 3
    assert unread(two) == 3
    other = start(one, people[2])
    assert post(one, other, id=ours).status_code == 409


def test_supabase_js_style(sign_up: SignUp) -> None:
    ana, ben = sign_up(username="ana"), sign_up(username="ben")
    ben.client.table("follows").upsert({"following_id": ana.id}).execute()
    ben.client.table("follows").upsert({"following_id": ana.id}).execute()
    talk = ana.client.rpc("start_conversation", {"user_ids": [ben.id]}).execute().data
    row = ana.client.table("messages").insert({"conversation_id": talk["id"], "content": "Hi"}).execute().data[0]
    assert (row["number"], row["sender_id"], row["is_read"]) == (1, ana.id, False)
    [line] = ben.client.rpc("inbox").execute().data
    assert line["unread_count"] == 1
    assert [p["username"] for p in line["participants"]] == ["ana"]
    assert ben.client.rpc("mark_conversation_read", {"conversation_id": talk["id"]}).execute().data == 0
    row = ana.client.table("messages").select("*, sender:profiles!sender_id(username)").execute().data[0]
    assert (row["is_read"], row["sender"]) == (True, {"username": "ana"})


def test_the_list_is_paged_by_key(services: Services, database: Database) -> None:
    me, *others = enroll(services, database, 8)
    talks = [start(me, other) for other in others]
    for other, talk in zip(others, talks, strict=True):
        send(other, talk)
    pages: list[str] = []
    query: dict[str, Any] = {"max_rows": 3}
    while rows := me.api.rpc("inbox", **query).json():
        pages += [row["conversation_id"] for row in rows]
        query |= {"before": rows[-1]["last_message_at"], "before_id": rows[-1]["conversation_id"]}
    assert pages == talks[::-1]
    assert unread(me) == 7


# --- attachments


def attach(sender: Member, conversation: str, name: str) -> str:
    """Upload through Storage; the path."""
    path = f"{sender.id}/{conversation}/{name}"
    answer = upload(sender, path)
    assert answer.status_code == 200, answer.text
    return path


def upload(who: Member, path: str, kind: str = "image/png") -> httpx.Response:
    return who.api.http.post(f"/storage/v1/object/attachments/{path}", content=PNG, headers={"content-type": kind})


def download(who: Member, path: str) -> httpx.Response:
    return who.api.http.get(f"/storage/v1/object/attachments/{path}")


def remove(who: Member, path: str) -> Any:
    return who.api.http.request("DELETE", "/storage/v1/object/attachments", json={"prefixes": [path]}).json()


def test_attachments(people: list[Member], database: Database, anon: Api) -> None:
    one, two, three, stranger = people
    chat = start(one, two, three)
    for path in (f"{two.id}/{chat}/a.png", f"{one.id}/{uuid4()}/a.png", f"{one.id}/a.png"):
        assert upload(one, path).status_code in (400, 403), path
    assert upload(stranger, f"{stranger.id}/{chat}/a.png").status_code in (400, 403)
    for kind in ("text/html", "image/svg+xml"):
        assert upload(one, f"{one.id}/{chat}/page", kind).status_code in (400, 415), kind

    path = attach(one, chat, "a.png")
    assert download(one, path).content == PNG
    assert download(two, path).status_code in (400, 404), "not sent yet"
    message = send(one, chat, None, attachments=[path])
    assert entry(two, chat)["last_message_preview"] == "Attachment"
    assert download(two, path).content == PNG
    for who in (stranger.api, anon):
        assert who.http.get(f"/storage/v1/object/attachments/{path}").status_code in (400, 403, 404)
    assert anon.http.get(f"/storage/v1/object/public/attachments/{path}").status_code >= 400
    listed = two.api.http.post("/storage/v1/object/list/attachments", json={"prefix": f"{one.id}/{chat}"}).json()
    assert [file["name"] for file in listed] == ["a.png"]
    for who in (one, two, stranger):
        assert who.api.http.post(f"/storage/v1/object/sign/attachments/{path}", json={"expiresIn": 60}).is_error

    # What was sent is neither replaced nor removed.
    assert one.api.http.put(f"/storage/v1/object/attachments/{path}", content=b"other").is_error
    remove(one, path)
    assert download(two, path).content == PNG
    for who, paths in [(two, [path]), (one, [f"{one.id}/{chat}/b.png"]), (one, [path, path]), (one, [f"../{path}"])]:
        assert code_of(post(who, chat, None, attachments=paths)) == "attachment_not_found"
    assert post(one, chat, None, attachments=[path] * 11).status_code == 400

    # Who left reads it no more; deleted for everyone nobody does.
    assert three.api.rpc("leave_conversation", conversation_id=chat).status_code == 204
    assert download(three, path).status_code in (400, 404)
    assert one.api.rpc("delete_message", message_id=message["id"], for_everyone=True).status_code == 204
    assert download(two, path).status_code in (400, 404)
    assert [file["name"] for file in remove(one, path)] == [path]
    assert download(one, path).status_code in (400, 404)


def test_files_no_message_needs_are_erased(people: list[Member], database: Database) -> None:
    one, two, *_ = people
    talk = start(one, two)
    sent, deleted, unsent, fresh = (attach(one, talk, f"{n}.png") for n in range(4))
    send(one, talk, None, attachments=[sent])
    message = send(one, talk, None, attachments=[deleted])
    assert one.api.rpc("delete_message", message_id=message["id"], for_everyone=True).status_code == 204
    # Yesterday's: today's may be on its way into a message.
    database.run(
        "update storage.objects set created_at = created_at - interval '25 hours' where name = any (%s)",
        [sent, deleted, unsent],
    )
    run_job(database, "erase_unsent_attachments")
    kept = "select array_agg(name order by name) from storage.objects where bucket_id = 'attachments' and name like %s"
    until(lambda: database.value(kept, f"{one.id}/%") == [sent, fresh], "the two are erased")
    assert download(two, sent).content == PNG


def test_a_deleted_account_leaves_nothing_it_wrote(people: list[Member], database: Database) -> None:
    one, two, three, _ = people
    direct, chat = start(one, two), start(one, two, three)
    path = attach(one, chat, "a.png")
    send(one, direct, "secret"), send(two, direct, "answer")
    send(one, chat, "secret", attachments=[path])
    exported = one.api.rpc("export_my_data").json()
    assert sorted(row["content"] for row in exported["messages"]) == ["secret", "secret"]
    assert len(exported["conversations"]) == len(exported["inbox"]) == 2
    assert one.api.rpc("delete_my_account").status_code == 204
    assert read(two, direct) == [None, "answer"]
    assert read(three, chat) == [None]
    assert (unread(two), unread(three)) == (0, 0)
    assert code_of(post(two, direct)) == "cannot_message"
    managers = two.api.select("conversation_participants", conversation_id=f"eq.{chat}", is_manager="is.true")
    assert [row["user_id"] for row in managers] in ([two.id], [three.id])
    until(lambda: download(two, path).is_error, "the file is out of reach")
    until(
        lambda: database.value("select count(*) from storage.objects where name like %s", f"{one.id}/%") == 0,
        "the workers erase the files",
    )
    assert two.api.rpc("delete_my_account").status_code == 204
    assert database.value("select count(*) from conversations where id = %s", direct) == 0
    assert_exact(database)


def test_the_end_of_an_account_and_a_message_to_it_do_not_wait_for_each_other(
    people: list[Member], database: Database
) -> None:
    one, two, *_ = people
    talk = start(one, two)
    send(one, talk)
    assert two.api.rpc("mark_conversation_read", conversation_id=talk).json() == 0

    with database.connect() as connection, connection.transaction():
        # Hold what the end of the account has to erase, and send meanwhile.
        connection.execute("select from notifications where user_id = %s for update", [two.id])
        assert two.api.rpc("delete_my_account").status_code == 204
        assert code_of(post(one, talk)) == "cannot_message"
    follow_accounts(database)
    assert read(one, talk) == ["Hello"]
    assert_exact(database)
