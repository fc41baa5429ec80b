"""What a subscriber of Realtime gets: read from the logical stream Realtime reads, with the policies asked as it asks
them (by primary key, as the subscriber, when the change is delivered)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from stack.services import Services
from tests.harness.market import order, publish_product
from tests.harness.people import Api, Member, SignUp, enroll
from tests.harness.server import Database

PUBLICATION = "supabase_realtime"


@dataclass(frozen=True)
class Change:
    """A row change of the stream: `old` is what identifies the row before, `new` the row after."""

    kind: str
    table: str
    old: dict[str, str | None] = field(default_factory=dict)
    new: dict[str, str | None] = field(default_factory=dict)


class Reader:
    """Takes integers and texts off the front of a message (protocol: PostgreSQL manual, "Logical Replication Message
    Formats")."""

    def __init__(self, message: bytes) -> None:
        self.rest = message

    def take(self, length: int) -> bytes:
        taken, self.rest = self.rest[:length], self.rest[length:]
        return taken

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def text(self) -> str:
        taken, self.rest = self.rest.split(b"\0", 1)
        return taken.decode()

    def row(self, columns: list[str]) -> dict[str, str | None]:
        """The columns a tuple has; a long value that did not change ('u') is not in it."""
        values: dict[str, str | None] = {}
        for name in columns[: self.number(2)]:
            match self.take(1):
                case b"n":
                    values[name] = None
                case b"t":
                    values[name] = self.take(self.number(4)).decode()
        return values


def decode(messages: list[bytes]) -> list[Change]:
    """The row changes of a pgoutput stream (version 1) in the order of commits."""
    tables: dict[int, tuple[str, list[str], set[str]]] = {}
    changes = []
    for message in messages:
        reader = Reader(message)
        kind = reader.take(1)
        if kind == b"R":
            relation, schema, name = reader.number(4), reader.text(), reader.text()
            reader.take(1)
            columns, keys = [], set()
            for _ in range(reader.number(2)):
                is_key = reader.number(1)
                columns.append(reader.text())
                keys |= {columns[-1]} if is_key else set()
                reader.take(8)
            tables[relation] = (f"{schema}.{name}", columns, keys)
        elif kind in (b"I", b"U", b"D"):
            name, columns, keys = tables[reader.number(4)]
            old, part = {}, reader.take(1)
            if part in (b"K", b"O"):
                old = reader.row(columns)
                # A key tuple carries nulls for everything that is not key.
                old = {c: v for c, v in old.items() if part == b"O" or c in keys}
                part = reader.take(1)
            new = reader.row(columns) if part == b"N" else {}
            changes.append(Change({b"I": "INSERT", b"U": "UPDATE", b"D": "DELETE"}[kind], name, old, new))
        else:
            assert kind in (b"B", b"C", b"O", b"Y"), kind
    return changes


class Stream:
    """The publication's stream from now on, and who would get what of it."""

    def __init__(self, database: Database) -> None:
        self.connection = database.connect()
        self.slot = f"realtime_{database.name}"[:60]
        self.connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [self.slot])

    def close(self) -> None:
        self.connection.execute("select pg_drop_replication_slot(%s)", [self.slot])
        self.connection.close()

    def changes(self) -> list[Change]:
        """What was committed since the last call."""
        rows = self.connection.execute(
            "select data from pg_logical_slot_get_binary_changes("
            "%s, null, null, 'proto_version', '1', 'publication_names', %s)",
            [self.slot, PUBLICATION],
        ).fetchall()
        return decode([row[0] for row in rows])

    def visible(self, subscriber: Member, change: Change) -> bool:
        """Whether Realtime would send it: a DELETE always, else if the subscriber can select the row by its key."""
        if change.kind == "DELETE":
            return True
        claims = json.dumps({"sub": subscriber.id, "role": "authenticated"})
        with self.connection.transaction():
            self.connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
            self.connection.execute("set local role authenticated")
            table = psycopg.sql.Identifier(*change.table.split("."))
            query = psycopg.sql.SQL("select 1 from {} where id = %s").format(table)
            return self.connection.execute(query, [change.new["id"]]).fetchone() is not None

    def received(self, *subscribers: Member) -> list[list[Change]]:
        """What each of them gets of what was committed since the last call."""
        changes = self.changes()
        return [[change for change in changes if self.visible(who, change)] for who in subscribers]


@pytest.fixture(scope="module")
def stream(database: Database, services: Services) -> Iterator[Stream]:
    stream = Stream(database)
    yield stream
    stream.close()


@pytest.fixture
def people(services: Services, database: Database, stream: Stream) -> list[Member]:
    people = enroll(services, database, 6)
    ids = [person.id for person in people]
    # They know each other: nothing is a request.
    database.run(
        "insert into public.follows (follower_id, following_id) select a.id, b.id from unnest(%s::uuid[]) as a (id) "
        "cross join unnest(%s::uuid[]) as b (id) where a.id <> b.id",
        ids,
        ids,
    )
    stream.changes()
    return people


def start(starter: Member, *others: Member) -> str:
    answer = starter.api.rpc("start_conversation", user_ids=[other.id for other in others])
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def send(sender: Member, conversation: str, content: str) -> str:
    row = {"conversation_id": conversation, "content": content}
    answer = sender.api.http.post("/rest/v1/messages", json=row, headers={"prefer": "return=representation"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()[0]["id"])


def call(api: Api, function: str, **arguments: Any) -> None:
    answer = api.rpc(function, **arguments)
    assert answer.is_success, answer.text


def messages(changes: list[Change]) -> list[tuple[str, str | None]]:
    return [(c.kind, c.new.get("content")) for c in changes if c.table == "public.messages"]


def test_what_is_published_and_that_keys_say_nothing(database: Database) -> None:
    rows = database.run(
        """
        select
            t.tablename as name, c.relreplident::text as identity, c.relrowsecurity as secured,
            t.rowfilter is null and t.schemaname = 'public' as whole,
            array_agg(a.attname::text) as key, array_agg(a.atttypid::regtype::text) as type
        from pg_publication_tables as t
        inner join pg_class as c on c.oid = format('%%I.%%I', t.schemaname, t.tablename)::regclass
        inner join pg_index as i on i.indrelid = c.oid and i.indisprimary
        inner join pg_attribute as a on a.attrelid = c.oid and a.attnum = any (i.indkey)
        where t.pubname = %s
        group by 1, 2, 3, 4
        order by 1
        """,
        PUBLICATION,
    )
    published = ["messages", "notifications", "orders", "photo_job_items", "photo_jobs", "service_orders"]
    assert [row["name"] for row in rows] == published
    for row in rows:
        del row["name"]
        assert row == {"identity": "d", "key": ["id"], "type": ["uuid"], "secured": True, "whole": True}


def test_a_message_reaches_those_who_may_read_it(people: list[Member], stream: Stream, database: Database) -> None:
    one, two, three, stranger, newcomer, banned = people
    chat = start(one, two, three, banned)
    direct = start(one, two)
    call(one.api, "leave_conversation", conversation_id=start(one, three, stranger))
    assert stream.changes() == [], "who talks with whom is not published"

    database.run("insert into bans (user_id, reason) values (%s, 'x')", banned.id)
    send(one, chat, "to the band")
    send(one, direct, "to two")
    call(one.api, "add_participants", conversation_id=chat, user_ids=[newcomer.id])
    got = [messages(changes) for changes in stream.received(*people)]
    both, band = [("INSERT", "to the band"), ("INSERT", "to two")], [("INSERT", "to the band")]
    assert got == [both, both, band, [], [], []]
    send(one, chat, "welcome")
    welcome = [("INSERT", "welcome")]
    assert [messages(c) for c in stream.received(*people)] == [welcome, welcome, welcome, [], welcome, []]

    # Whoever is out when it is delivered does not get what was sent while they were in.
    send(one, chat, "three is leaving")
    call(three.api, "leave_conversation", conversation_id=chat)
    assert [bool(messages(c)) for c in stream.received(*people)] == [True, True, False, False, True, False]


def test_a_block_holds_in_the_stream_too(people: list[Member], stream: Stream) -> None:
    one, two, three, *_ = people
    chat = start(one, two, three)
    assert two.api.http.post("/rest/v1/user_blocks", json={"blocked_id": three.id}).status_code == 201
    send(two, chat, "by two")
    send(three, chat, "by three")
    got = [messages(changes) for changes in stream.received(one, two, three)]
    assert got == [
        [("INSERT", "by two"), ("INSERT", "by three")],
        [("INSERT", "by two")],
        [("INSERT", "by three")],
    ]


def test_receipts_and_deletions(people: list[Member], stream: Stream) -> None:
    one, two, three, stranger, *_ = people
    chat = start(one, two, three)
    first, second = send(one, chat, "first"), send(one, chat, "second")
    stream.changes()
    call(two.api, "mark_conversation_read", conversation_id=chat, up_to=1)
    mine, theirs, strange = stream.received(one, three, stranger)
    assert strange == []
    [receipt] = [change for change in mine if change.table == "public.messages"]
    assert (receipt.kind, receipt.new["id"], receipt.new["is_read"], receipt.old) == ("UPDATE", first, "t", {})
    assert messages(theirs) == [("UPDATE", "first")]

    # For oneself: nothing is to be seen anywhere.
    call(two.api, "delete_message", message_id=first)
    assert [c for c in stream.changes() if c.table == "public.messages"] == []
    # For everyone: the event carries neither the text nor the row before; who deleted it for themselves gets none.
    call(one.api, "delete_message", message_id=first, for_everyone=True)
    call(one.api, "delete_message", message_id=second, for_everyone=True)
    mine, twos, theirs, strange = stream.received(one, two, three, stranger)
    assert messages(mine) == messages(theirs) == [("UPDATE", None), ("UPDATE", None)]
    assert [change.new["id"] for change in twos if change.table == "public.messages"] == [second]
    assert strange == []
    for change in mine:
        assert "first" not in repr(change)
        assert "second" not in repr(change)
        assert change.old == {}


def test_what_goes_leaves_only_keys(people: list[Member], stream: Stream) -> None:
    one, two, *_ = people
    direct = start(one, two)
    message = send(one, direct, "secret")
    call(one.api, "delete_my_account")
    erased = [change for change in stream.changes() if change.kind == "UPDATE" and change.table == "public.messages"]
    assert [(c.new["content"], c.new["sender_id"], c.new["is_deleted"]) for c in erased] == [(None, None, "t")]
    call(two.api, "delete_my_account")
    deleted = [change for change in stream.changes() if change.kind == "DELETE" and change.table == "public.messages"]
    assert deleted == [Change("DELETE", "public.messages", old={"id": message})]


def test_notifications_and_orders_reach_their_owner(
    people: list[Member], stream: Stream, database: Database, sign_up: SignUp
) -> None:
    one, two, stranger, *_ = people
    database.run(
        "insert into notifications (user_id, type, title, message) values (%s, 'system', 'News', 'Of the platform')",
        one.id,
    )
    got = stream.received(one, two, stranger)
    assert [[(c.table, c.new["title"]) for c in changes] for changes in got] == [
        [("public.notifications", "News")],
        [],
        [],
    ]
    item = publish_product(sign_up(username="shop"), 0)
    stream.changes()
    ordered = order(two, item)
    got = stream.received(one, two, stranger)
    orders = [[c.new["id"] for c in changes if c.table == "public.orders"] for changes in got]
    assert orders[0] == orders[2] == []
    assert set(orders[1]) == {ordered["order_id"]}
    assert not any(c.new.get("user_id") == two.id for c in got[0] + got[2])
