"""Two who change the same thing at the same instant, the unlucky order each time made certain: somebody holds what the
others need until both wait, then lets go.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.harness.server import Database
from tests.harness.waiting import until

BLOCK = "insert into public.user_blocks (blocked_id) values (%s)"
INVITE = "select public.invite_to_group(%s, %s)"
LIKE = "insert into public.post_likes (post_id) values (%s)"
SEND = "insert into public.messages (conversation_id, content) values (%s, 'hello')"


@pytest.fixture
def people(database: Database) -> list[str]:
    rows = database.run(
        "insert into auth.users (id, email) select gen_random_uuid(), gen_random_uuid() || '@example.com' "
        "from generate_series(1, 4) returning id::text"
    )
    return [row["id"] for row in rows]


@contextlib.contextmanager
def acting(database: Database, who: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of somebody's, as a request has one."""
    claims = json.dumps({"sub": who, "role": "authenticated"})
    with database.connect() as connection, connection.transaction():
        connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        connection.execute("set local role authenticated")
        yield connection


def act(database: Database, who: str, statement: str, *values: object) -> list[Any]:
    """One statement of somebody's; its rows."""
    with acting(database, who) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


class Meeting:
    """Statements that are under way, each on a connection of its own."""

    def __init__(self, database: Database, pool: ThreadPoolExecutor) -> None:
        self.database, self.pool = database, pool
        self.under_way: list[Future[list[Any]]] = []

    def begin(self, who: str, statement: str, *values: object) -> None:
        """Start a statement; returns when it waits for somebody, or is done."""
        self.under_way.append(self.pool.submit(act, self.database, who, statement, *values))
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        until(
            lambda: self.database.value(waiting) >= sum(not call.done() for call in self.under_way),
            "everybody waits or is done",
        )

    def end(self) -> None:
        """Wait for all; fails if one of them did."""
        for call in self.under_way:
            call.result(30)


@pytest.fixture
def meeting(database: Database) -> Iterator[Meeting]:
    with ThreadPoolExecutor(4) as pool:
        yield Meeting(database, pool)


def told(database: Database, who: str) -> list[str]:
    """What somebody was told of."""
    return [row["type"] for row in database.run("select type from public.notifications where user_id = %s", who)]


def test_two_follow_each_other(database: Database, people: list[str], meeting: Meeting) -> None:
    """The second sees that they are connected, though the first was not done when it began."""
    ana, ben, *_ = people
    follow = "insert into public.follows (following_id) values (%s)"
    with acting(database, ana) as first:
        first.execute(follow, [ben])
        meeting.begin(ben, follow, ana)
    meeting.end()
    assert (told(database, ben), told(database, ana)) == (["follow"], ["connected"])


def test_who_likes_first_is_not_always_told_of_first(database: Database, people: list[str]) -> None:
    """Somebody whose request began earlier, but ended later than the one that was told of, is one of the likers."""
    author, ana, ben, _ = people
    [(post,)] = act(database, author, "insert into public.posts (content) values ('Hello') returning id")
    with acting(database, ana) as early:
        act(database, ben, LIKE, post)
        early.execute(LIKE, [post])
    assert act(database, author, "select n.type, n.actors_count from public.notifications as n") == [("like", 2)]


@pytest.mark.parametrize("banned", ["invited", "inviting"])
def test_no_invitation_survives_a_ban(database: Database, people: list[str], meeting: Meeting, banned: str) -> None:
    """A moderator invites while the owner bans who is invited, or the moderator."""
    owner, moderator, guest, _ = people
    group = "insert into public.groups (name, visibility) values ('Cave', 'secret') returning id"
    [(cave,)] = act(database, owner, group)
    act(database, owner, INVITE, cave, moderator)
    act(database, moderator, "select public.join_group(%s)", cave)
    act(database, owner, "select public.set_member_role(%s, %s, 'moderator')", cave, moderator)
    with acting(database, moderator) as inviting:
        inviting.execute(INVITE, [cave, guest])
        meeting.begin(owner, "select public.ban_member(%s, %s)", cave, guest if banned == "invited" else moderator)
    meeting.end()
    assert act(database, guest, "select id from public.groups where id = %s", cave) == []
    assert database.run("select * from public.group_invitations where group_id = %s", cave) == []


def chat(database: Database, *people: str) -> str:
    """A group chat of theirs."""
    [(talk,)] = act(database, people[0], "select id from public.start_conversation(%s::uuid[])", list(people[1:]))
    return str(talk)


def test_many_blocks_end_while_one_of_them_writes(database: Database, people: list[str], meeting: Meeting) -> None:
    """One request takes back all blocks; somebody it concerns writes where somebody else of them is, too."""
    ana, ben, cleo, dan = people
    talk = chat(database, ana, ben, cleo, dan)
    for other in (ben, cleo):
        act(database, ana, BLOCK, other)
    with acting(database, dan) as writing:
        writing.execute(SEND, [talk])
        meeting.begin(ana, "delete from public.user_blocks where blocker_id = %s", ana)
        meeting.begin(cleo, SEND, talk)
    meeting.end()
    assert database.run("select * from private.recount() where counter = 'inbox_entries.unread_count'") == []
    unread = "select unread_count from public.inbox_entries where conversation_id = %s"
    assert act(database, ana, unread, talk) == [(2,)]


def test_a_block_ends_with_the_account(database: Database, people: list[str], meeting: Meeting) -> None:
    """Somebody takes a block back while the account it is about ends."""
    ana, ben, cleo, _ = people
    talk = chat(database, ana, ben, cleo)
    act(database, ana, BLOCK, ben)
    with acting(database, cleo) as writing:
        writing.execute(SEND, [talk])
        meeting.begin(ben, "select public.delete_my_account()")
        meeting.begin(ana, "delete from public.user_blocks where blocked_id = %s", ben)
    meeting.end()
    assert database.run("select * from public.user_blocks where blocked_id = %s", ben) == []
    assert database.run("select * from private.recount() where counter = 'inbox_entries.unread_count'") == []


VOTE = (
    "insert into public.poll_votes (post_id, option_id) values (%s, %s) "
    "on conflict (post_id, user_id) do update set post_id = excluded.post_id, option_id = excluded.option_id"
)


def poll(database: Database, author: str) -> list[str]:
    """A poll of somebody's and its two options."""
    [(post,)] = act(database, author, "select id from public.create_poll('Tea?', array['yes', 'no'])")
    options = database.run("select id::text from public.poll_options where post_id = %s order by position", post)
    return [str(post), *(row["id"] for row in options)]


def test_a_vote_that_is_not_added_yet_moves(database: Database, people: list[str], meeting: Meeting) -> None:
    """Somebody takes their vote back, the second waits for that, the third leaves theirs to the second and moves it."""
    ana, ben, cleo, dan = people
    post, yes, no = poll(database, dan)
    act(database, ana, VOTE, post, yes)
    with acting(database, ana) as leaving:
        leaving.execute("delete from public.poll_votes where post_id = %s", [post])
        meeting.begin(ben, VOTE, post, yes)
        act(database, cleo, VOTE, post, yes)
        meeting.begin(cleo, VOTE, post, no)
    meeting.end()
    counts = "select votes_count from public.poll_options where post_id = %s order by position"
    assert act(database, dan, counts, post) == [(1,), (1,)]
    assert database.run("select * from private.pending_counts") == []


def test_a_vote_changes_while_the_poll_goes(database: Database, people: list[str], meeting: Meeting) -> None:
    ana, ben, _, dan = people
    post, yes, no = poll(database, dan)
    act(database, ana, VOTE, post, yes)
    with acting(database, ben) as voting:
        voting.execute(VOTE, [post, yes])
        meeting.begin(dan, "delete from public.posts where id = %s", post)
        meeting.begin(ana, VOTE, post, no)
    meeting.end()
    assert database.run("select * from public.poll_votes where post_id = %s", post) == []


def test_the_question_changes_while_somebody_votes(database: Database, people: list[str], meeting: Meeting) -> None:
    ana, *_, dan = people
    post, yes, _ = poll(database, dan)
    with acting(database, ana) as voting:
        voting.execute(VOTE, [post, yes])
        meeting.begin(dan, "update public.posts set content = 'Coffee?' where id = %s", post)
    with pytest.raises(psycopg.Error, match="voted on this question"):
        meeting.end()
    assert database.value("select content from public.posts where id = %s", post) == "Tea?"


def test_one_person_is_one_in_the_queue(database: Database, people: list[str], meeting: Meeting) -> None:
    """However often somebody changes their visibility at once, everybody else waits for one of these changes only."""
    ana, ben, *_ = people
    change = "update public.profiles set profile_visibility = 'private' where id = %s"
    with database.connect() as connection, connection.transaction():
        connection.execute("select private.take_standing_turn()")
        for who in (ana, ana, ana, ben):
            meeting.begin(who, change, who)
        queues = "select count(*) from pg_locks where locktype = 'advisory' and not granted group by classid, objid"
        assert [row["count"] for row in database.run(queues)] == [2, 2], "two in the queue, two behind the first"
    meeting.end()
