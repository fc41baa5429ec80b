"""Two who change the same thing at the same instant, the unlucky order each time made certain: somebody holds what the
others need until both wait, then lets go.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.harness.people import follow_accounts
from tests.harness.server import Database
from tests.harness.slow import slow_request
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
        self.start(act, self.database, who, statement, *values)

    def start(self, do: Callable[..., list[Any]], *values: object) -> None:
        """Any other call, likewise."""
        self.under_way.append(self.pool.submit(do, *values))
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


def test_a_block_on_somebody_who_leaves_is_taken_back(database: Database, people: list[str], meeting: Meeting) -> None:
    """Some messages are not erased yet, and somebody holds the chat: what can be read again is counted all the same."""
    ana, ben, cleo, _ = people
    [(chat,)] = act(database, ana, "select id from public.start_conversation(%s::uuid[])", [ben, cleo])
    # More than one step of the erasure takes.
    database.run(
        "insert into public.messages (conversation_id, sender_id, content) "
        "select %s::uuid, %s::uuid, 'hello' from generate_series(1, 510)",
        chat,
        ben,
    )
    act(database, ana, BLOCK, ben)
    act(database, ben, "select public.delete_my_account()")
    with acting(database, cleo) as writing:
        writing.execute(SEND, [chat])
        meeting.begin(ana, "delete from public.user_blocks where blocked_id = %s", ben)
    meeting.end()
    assert database.value("select count(*) from public.messages where sender_id = %s", ben) > 0
    assert database.run("select * from private.recount()") == []
    follow_accounts(database)
    assert database.run("select * from private.recount()") == []


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


def hurried(database: Database, who: str, statement: str, *values: object) -> None:
    """As the Data API does it, which waits two seconds for a lock."""
    with acting(database, who) as connection:
        connection.execute("set local lock_timeout = '2s'")
        connection.execute(statement.encode(), values)


def by_admin(database: Database, admin: str, statement: str, *values: object) -> list[Any]:
    database.run("update public.profiles set role = 'admin' where id = %s", admin)
    return act(database, admin, statement, *values)


def test_nobody_is_banned_late_because_of_a_slow_filter(database: Database, people: list[str]) -> None:
    """A request that goes through its own posts slowly, with one of them in hand, holds nobody up; nor is any shown."""
    ana, ben, admin, _ = people
    write = "insert into public.posts (content) values (%s) returning id"
    posts = [act(database, ana, write, words)[0][0] for words in ("first", "second")]
    edit = (
        "update public.posts set content = 'Ho' "
        "where user_id = %s and case when content = 'first' then true else pg_sleep(30) is not null end"
    )
    with slow_request(database, ana, edit, ana) as slow:
        by_admin(database, admin, "select public.ban_user(%s, 'spam')", ana)
        act(database, ben, "insert into public.posts (content) values ('Meanwhile') returning id")
        act(database, ben, "select public.set_profile_visibility('private')")
        assert not slow.done()
        for reader in (ben, admin):
            seen = act(database, reader, "select id from public.posts where id = any(%s)", posts)
            assert len(seen) == (len(posts) if reader == admin else 0)
    follow_accounts(database)
    assert database.run("select distinct audience::text from public.posts where id = any(%s)", posts) == [
        {"audience": "owner"}
    ]


def test_who_holds_the_own_row_is_banned_all_the_same(database: Database, people: list[str]) -> None:
    ana, _, admin, _ = people
    hold = "update public.profiles set bio = 'I stay' where id = %s returning pg_sleep(30)"
    with slow_request(database, ana, hold, ana) as slow:
        by_admin(database, admin, "select public.ban_user(%s, 'spam')", ana)
        assert isinstance(slow.exception(10), psycopg.errors.QueryCanceled)
    assert database.value("select is_banned from public.profiles where id = %s", ana) is True


def test_who_holds_the_own_row_in_several_ways_is_banned_all_the_same(database: Database, people: list[str]) -> None:
    ana, ben, admin, _ = people
    write = "select pg_sleep(30) from public.start_conversation(array[%s]::uuid[])"
    hold = "update public.profiles set bio = 'I stay' where id = %s returning pg_sleep(30)"
    with slow_request(database, ana, write, ben), slow_request(database, ana, hold, ana) as slow:
        by_admin(database, admin, "select public.ban_user(%s, 'spam')", ana)
        assert isinstance(slow.exception(10), psycopg.errors.QueryCanceled)
    assert database.value("select is_banned from public.profiles where id = %s", ana) is True


def test_who_holds_the_own_row_as_an_admin_is_dismissed_all_the_same(database: Database, people: list[str]) -> None:
    ana, boss, *_ = people
    database.run("update public.profiles set role = 'super_admin' where id = %s", boss)
    database.run("update public.profiles set role = 'admin' where id = %s", ana)
    hold = "update public.profiles set bio = 'I stay' where id = %s returning pg_sleep(30)"
    with slow_request(database, ana, hold, ana):
        hurried(database, boss, "select public.set_role(%s, 'member')", ana)
    assert database.value("select role::text from public.profiles where id = %s", ana) == "member"


def test_what_its_author_holds_is_taken_down_all_the_same(database: Database, people: list[str]) -> None:
    ana, _, admin, _ = people
    hold = "update public.posts set content = 'Ho' where user_id = %s returning pg_sleep(30)"
    [(post,)] = act(database, ana, "insert into public.posts (content) values ('Spam') returning id")
    database.run("update public.profiles set role = 'admin' where id = %s", admin)
    with slow_request(database, ana, hold, ana):
        hurried(database, admin, "select public.hide_content('post', %s, 'spam')", post)
    assert database.value("select is_hidden from public.posts where id = %s", post) is True


@pytest.mark.parametrize(
    "hold",
    [
        "select pg_sleep(30) from public.start_conversation(array[%s]::uuid[])",
        "select pg_sleep(30) from public.report_content('profile', %s, 'spam')",
    ],
)
def test_nobody_keeps_somebody_from_leaving(database: Database, people: list[str], hold: str) -> None:
    ana, ben, *_ = people
    with slow_request(database, ben, hold, ana):
        hurried(database, ana, "select public.delete_my_account()")
    assert database.run("select * from auth.users where id = %s", ana) == []


def test_asking_twice_does_not_keep_somebody_from_leaving(database: Database, people: list[str]) -> None:
    ana, *_ = people
    leave = "select public.delete_my_account()"
    with slow_request(database, ana, f"with left_ as materialized ({leave}) select pg_sleep(30) from left_") as slow:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            hurried(database, ana, leave)
        assert not slow.done()


@pytest.mark.parametrize(
    "hold",
    [
        "with w as (insert into public.follows (following_id) values (%s) returning 1) select pg_sleep(30) from w",
        "with w as (delete from public.follows where following_id = %s returning 1) select pg_sleep(30) from w",
        "with w as (insert into public.messages (conversation_id, content) select c.id, 'Hey' "
        "from public.conversations as c where %s in (c.low_id, c.high_id) returning 1) select pg_sleep(30) from w",
    ],
    ids=["follow", "unfollow", "message"],
)
def test_nobody_keeps_somebody_from_blocking_them(database: Database, people: list[str], hold: str) -> None:
    ana, ben, *_ = people
    act(database, ben, "select public.start_conversation(array[%s]::uuid[])", ana)
    if "delete" in hold:
        act(database, ben, "insert into public.follows (following_id) values (%s)", ana)
    with slow_request(database, ben, hold, ana):
        hurried(database, ana, BLOCK, ben)
    assert database.value("select count(*) from public.user_blocks where blocker_id = %s", ana) == 1
    assert database.value("select count(*) from public.follows where follower_id = %s", ben) == 0


@pytest.mark.parametrize(
    ("relation", "column", "meanwhile", "seen"),
    [
        ("follows", "following_id", BLOCK, "select count(*) from public.user_blocks where blocked_id = %s"),
        (
            "user_blocks",
            "blocked_id",
            "insert into public.follows (following_id) values (%s)",
            "select count(*) from public.follows where following_id = %s",
        ),
    ],
)
def test_nobody_holds_the_gates_of_others(
    database: Database, people: list[str], relation: str, column: str, meanwhile: str, seen: str
) -> None:
    """One request about many people, slowly, is at all gates at once."""
    ana, ben, cleo, _ = people
    many = database.run(
        "insert into auth.users (id, email, email_confirmed_at) "
        "select gen_random_uuid(), gen_random_uuid() || '@example.com', now() from generate_series(1, 400) "
        "returning id::text"
    )
    database.run("insert into private.lifted_limits (user_id) values (%s)", ana)
    hold = (
        f"with w as (insert into public.{relation} ({column}) select u.id from unnest(%s::uuid[]) as u (id) "
        "returning 1) select pg_sleep(30) from (select count(*) from w) as n"
    )
    with slow_request(database, ana, hold, [row["id"] for row in many]):
        hurried(database, ben, meanwhile, cleo)
    assert database.value(seen, cleo) == 1


def test_many_blocks_end_in_portions(database: Database, people: list[str]) -> None:
    """Each concerns somebody's messages, which is a lock, and there are not so many locks."""
    ana, *_ = people
    database.run(
        "with u as (insert into auth.users (id, email, email_confirmed_at) "
        "select gen_random_uuid(), gen_random_uuid() || '@example.com', now() from generate_series(1, 501) "
        "returning id) insert into public.user_blocks (blocker_id, blocked_id) select %s, u.id from u",
        ana,
    )
    with pytest.raises(psycopg.Error, match="Too many of these"):
        act(database, ana, "delete from public.user_blocks where blocker_id = %s", ana)
    few = "select blocked_id from public.user_blocks order by blocked_id limit 250"
    act(database, ana, f"delete from public.user_blocks where blocked_id in ({few})")
    database.run("delete from auth.users where id = %s", ana)
    follow_accounts(database)
    assert database.run("select * from public.user_blocks where blocker_id = %s", ana) == []


def test_nobody_delays_a_block_by_following(database: Database, people: list[str]) -> None:
    ana, ben, cleo, dan = people
    with acting(database, cleo) as following:
        following.execute("insert into public.follows (following_id) values (%s)", [ana])
        following.execute("set local statement_timeout = '20s'")
        with acting(database, ana) as blocking:
            blocking.execute("set local lock_timeout = '1s'")
            blocking.execute(BLOCK, [ben])
            blocking.execute(BLOCK, [dan])


def test_a_block_and_a_follow_of_the_same_two_take_turns(
    database: Database, people: list[str], meeting: Meeting
) -> None:
    ana, ben, *_ = people
    with acting(database, ben) as following:
        following.execute("insert into public.follows (following_id) values (%s)", [ana])
        meeting.begin(ana, BLOCK, ben)
    meeting.end()
    assert database.run("select * from public.follows where follower_id = %s", ben) == []


def test_an_account_ends_while_its_rows_are_held(database: Database, people: list[str]) -> None:
    """It is out at once; what somebody holds follows when they let go."""
    ana, ben, *_ = people
    [(post,)] = act(database, ben, "insert into public.posts (content) values ('Hello') returning id")
    act(database, ana, LIKE, post)
    act(database, ana, "insert into public.posts (content) values ('Mine')")
    with acting(database, ben) as holding:
        holding.execute("update public.posts set content = 'Edited' where id = %s", [post])
        holding.execute("delete from public.posts where id = %s", [post])
        act(database, ana, "select public.delete_my_account()")
        assert database.run("select * from auth.users where id = %s", ana) == []
        assert act(database, ben, "select id from public.posts where user_id = %s", ana) == []
    follow_accounts(database)
    assert database.run("select * from public.profiles where id = %s", ana) == []
    assert database.run("select * from private.recount()") == []


@pytest.mark.parametrize("ended_by", ["its owner", "an admin"])
def test_an_upload_that_is_just_finishing_is_erased_with_its_account(
    database: Database, people: list[str], meeting: Meeting, ended_by: str
) -> None:
    """The end of the account waits for the file's row, and so finds it."""
    ana, *_ = people
    with database.connect() as storage, storage.transaction():
        storage.execute(
            "insert into storage.objects (bucket_id, name, owner_id) values ('media', %s || '/late.png', %s)",
            [ana, ana],
        )
        if ended_by == "its owner":
            meeting.begin(ana, "select public.delete_my_account()")
        else:
            meeting.start(database.run, "delete from auth.users where id = %s", ana)
        assert not meeting.under_way[0].done()
    meeting.end()
    assert database.run("select path from private.user_files_to_erase(%s)", ana) == [{"path": f"{ana}/late.png"}]


def test_a_ban_is_kept_when_the_account_ends_at_that_moment(
    database: Database, people: list[str], meeting: Meeting
) -> None:
    ana, _, admin, _ = people
    email = database.value("select email from auth.users where id = %s", ana)
    database.run("update public.profiles set role = 'admin' where id = %s", admin)
    with acting(database, admin) as banning:
        banning.execute("select public.ban_user(%s, 'spam')", [ana])
        meeting.start(database.run, "delete from auth.users where id = %s", ana)
        assert not meeting.under_way[0].done()
    meeting.end()
    assert database.value("select private.is_banned_address(%s, null)", email) is True


def test_a_name_is_given_up_while_somebody_signs_up_for_it(
    database: Database, people: list[str], meeting: Meeting
) -> None:
    """It is held for its former owner; whoever wished for it loses nothing but the name."""
    ana, *_ = people
    name = f"name{ana[:8]}"
    rename = "update public.profiles set username = %s where id = %s"
    act(database, ana, rename, name, ana)
    wish = json.dumps({"username": name, "display_name": "Wishing"})
    join = "insert into auth.users (id, raw_user_meta_data) values (gen_random_uuid(), %s) returning id"
    with acting(database, ana) as leaving:
        leaving.execute(rename, [f"{name}-new", ana])
        meeting.start(database.run, join, wish)
        assert not meeting.under_way[0].done()
    [joined] = meeting.under_way[0].result(30)
    profile = database.run("select username::text, display_name from public.profiles where id = %s", joined["id"])[0]
    assert profile["display_name"] == "Wishing"
    assert profile["username"].startswith(f"{name}-")


def test_what_is_asked_for_goes_with_the_only_one_who_asked(
    database: Database, people: list[str], meeting: Meeting
) -> None:
    """Whoever asks for the same at that moment joins what is about to go, finds it gone and asks anew."""
    ana, ben, *_ = people
    ask = "select id, request_count from public.request_custom_field('skill', %s)"
    word = f"Skill {ana[:8]}"
    [(gone, _)] = act(database, ana, ask, word)
    with database.connect() as holding, holding.transaction():
        # The erasure has locked the request and not yet deleted it.
        holding.execute("select from public.custom_field_requesters where user_id = %s for update", [ana])
        meeting.start(database.run, "select private.erase_custom_fields(%s)", ana)
        meeting.begin(ben, ask, word)
        assert not any(call.done() for call in meeting.under_way)
    meeting.end()
    [(made, count)] = meeting.under_way[1].result()
    assert made != gone
    assert count == 1
    asked = "select id, request_count from public.custom_field_requests where normal_value = private.normal_form(%s)"
    assert database.run(asked, word) == [{"id": made, "request_count": 1}]


def test_much_is_erased_in_steps(database: Database, people: list[str]) -> None:
    """No transaction takes more than some hundred rows; the account is out and hidden from the first on."""
    ana, ben, *_ = people
    database.run(
        "insert into public.posts (user_id, content) select %s, 'Post ' || n from generate_series(1, 1200) as n", ana
    )
    database.run("delete from auth.users where id = %s", ana)
    left = "select count(*) from public.posts where user_id = %s"
    assert database.value(left, ana) > 1000
    assert act(database, ben, "select id from public.posts where user_id = %s", ana) == []
    with database.connect() as connection, connection.transaction():
        connection.execute("set local role anon")
        assert connection.execute("select id from public.posts where user_id = %s", [ana]).fetchall() == []
    steps = 0
    while not database.value("select private.advance_account(%s)", ana):
        steps += 1
    assert steps > 10
    assert database.value(left, ana) == 0
    assert database.run("select * from public.profiles where id = %s", ana) == []
    assert database.run("select * from private.account_changes where user_id = %s", ana) == []


def test_a_ban_of_somebody_with_much_is_quick_and_complete(database: Database, people: list[str]) -> None:
    ana, ben, admin, _ = people
    database.run(
        "insert into public.artworks (seller_id, title, image_url, category, price_cents, status) "
        "select %s, 'Work ' || n, 'https://images.example/x.jpg', 'digital', 500, 'published' "
        "from generate_series(1, 1200) as n",
        ana,
    )
    by_admin(database, admin, "select public.ban_user(%s, 'spam')", ana)
    still = "select count(*) from public.catalog_items where seller_id = %s and seller_is_active"
    assert database.value(still, ana) == 700, "a step takes 500 rows"
    assert act(database, ben, "select id from public.catalog_items where seller_id = %s", ana) == []
    with database.connect() as connection, connection.transaction():
        connection.execute("set local role anon")
        for relation in ("catalog_items", "artworks"):
            shown = connection.execute(f"select id from public.{relation} where seller_id = %s".encode(), [ana])
            assert shown.fetchall() == [], relation
    follow_accounts(database)
    assert database.value(still, ana) == 0
    by_admin(database, admin, "select public.unban_user(%s)", ana)
    follow_accounts(database)
    assert database.value(still, ana) == 1200
