"""The simulator's memory: one SQLite file, one transaction per request, so that answered requests survive kill -9."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stack.simulator.data import Json

# Fields that lists filter by; copied out of the body so that SQLite can index them.
FILTERS = ("payment_intent", "charge", "customer", "transfer_group", "destination", "transfer", "source", "type")

_INDEXES = "".join(
    f"create index if not exists objects_{name}_idx on objects ({name}) where {name} is not null;\n" for name in FILTERS
)
_SCHEMA = f"""
create table if not exists objects (
    seq integer primary key, id text not null unique, object text not null, created integer not null,
    body text not null, net integer, currency text, available_on integer,
    {", ".join(f"{name} text" for name in FILTERS)}
);
create index if not exists objects_object_seq_idx on objects (object, seq);
create index if not exists objects_balance_idx on objects (currency, available_on, net) where net is not null;
{_INDEXES}
create table if not exists deliveries (
    id integer primary key, event text not null, state text not null, attempts integer not null default 0,
    due real not null, responses text not null default '[]'
);
create index if not exists deliveries_open_idx on deliveries (state) where state in ('queued', 'held');
create index if not exists deliveries_event_idx on deliveries (event);
create table if not exists keys (
    key text primary key, path text not null, fingerprint text not null, used real not null,
    status integer not null, body text not null, request text not null
);
create table if not exists meta (name text primary key, value text not null);
"""
_TABLES = ("objects", "deliveries", "keys", "meta")


def public(item: Json) -> Json:
    """An object as the API shows it: without the simulator's own notes, a balance transaction's status as of now."""
    shown = {key: value for key, value in item.items() if not key.startswith("_")}
    if item["object"] == "balance_transaction":
        shown["status"] = "available" if item["available_on"] <= time.time() else "pending"
    if item["object"] == "account_link":
        del shown["id"]
    return shown


class Store:
    """All state. Raises sqlite3.OperationalError when another simulator holds the file."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        self._db.row_factory = sqlite3.Row
        # WAL with NORMAL writes to the file at every commit but lets the kernel flush: a killed process loses nothing.
        for pragma in ("locking_mode = exclusive", "journal_mode = wal", "synchronous = normal"):
            self._db.execute(f"pragma {pragma}")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside, or nothing."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def clear(self) -> None:
        """Forget everything."""
        with self.transaction():
            for table in _TABLES:
                self._db.execute(f"delete from {table}")  # noqa: S608

    # Objects

    def save(self, item: Json) -> None:
        """Insert or replace an object."""
        columns: Json = {"id": item["id"], "object": item["object"], "created": item["created"]}
        columns["body"] = json.dumps(item, separators=(",", ":"))
        columns |= {name: item[name] for name in FILTERS if isinstance(item.get(name), str)}
        if item["object"] == "balance_transaction":
            columns |= {name: item[name] for name in ("net", "currency", "available_on")}
        names = ", ".join(columns)
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
        self._db.execute(
            f"insert into objects ({names}) values ({', '.join('?' * len(columns))}) "  # noqa: S608
            f"on conflict (id) do update set {updates}",
            tuple(columns.values()),
        )

    def find(self, object_id: str) -> Json | None:
        """Any object by id."""
        row = self._db.execute("select body from objects where id = ?", (object_id,)).fetchone()
        return json.loads(row["body"]) if row else None

    def forget(self, object_id: str) -> bool:
        """Delete an object, not what it moved; False when there is none."""
        return self._db.execute("delete from objects where id = ?", (object_id,)).rowcount > 0

    def page(
        self,
        kind: str,
        filters: Mapping[str, str | list[str]] | None = None,
        *,
        limit: int = 10,
        after: str | None = None,
        before: str | None = None,
        created: Mapping[str, str] | None = None,
    ) -> tuple[list[Json], bool]:
        """Objects newest first, between two ids, and whether there are more. `created` is {"gte": "…", …}."""
        where, values = ["object = ?"], [kind]
        for name, wanted in (filters or {}).items():
            options = wanted if isinstance(wanted, list) else [wanted]
            where.append(f"{name} in ({', '.join('?' * len(options))})")
            values += options
        older, newer = (f"seq {sign} (select seq from objects where id = ?)" for sign in "<>")  # noqa: S608
        for clause, object_id in ((older, after), (newer, before)):
            if object_id:
                where.append(clause)
                values.append(object_id)
        for name, sign in (("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")):
            if created and name in created:
                where.append(f"created {sign} cast(? as integer)")
                values.append(created[name])
        rows = self._db.execute(
            f"select body from objects where {' and '.join(where)} "  # noqa: S608
            f"order by seq {'asc' if before else 'desc'} limit {limit + 1}",
            values,
        ).fetchall()
        found = [json.loads(row["body"]) for row in rows[:limit]]
        return (found[::-1] if before else found), len(rows) > limit

    def counts(self) -> dict[str, int]:
        """How many objects of each kind."""
        return {
            row[0]: row[1] for row in self._db.execute("select object, count(*) from objects group by 1 order by 1")
        }

    def balance(self) -> dict[str, tuple[int, int]]:
        """(available, pending) cents per currency."""
        rows = self._db.execute(
            "select currency, sum(iif(available_on <= ?1, net, 0)), sum(iif(available_on > ?1, net, 0)) "
            "from objects where net is not null group by currency",
            (time.time(),),
        )
        return {"usd": (0, 0)} | {row[0]: (row[1], row[2]) for row in rows}

    # Deliveries

    def add_delivery(self, event: str, state: str, due: float) -> int:
        """A delivery to make, to hold, or already lost; `due` in epoch seconds."""
        cursor = self._db.execute("insert into deliveries (event, state, due) values (?, ?, ?)", (event, state, due))
        return int(cursor.lastrowid or 0)

    def deliveries(self, *, state: str | None = None, event: str | None = None, limit: int = -1) -> list[Json]:
        """Deliveries, oldest first, the last `limit` of them."""
        rows = self._db.execute(
            "select d.*, o.type from deliveries d left join objects o on o.id = d.event "
            "where (?1 is null or d.state = ?1) and (?2 is null or d.event = ?2) order by d.id desc limit ?3",
            (state, event, limit),
        )
        return [{**dict(row), "responses": json.loads(row["responses"])} for row in rows][::-1]

    def delivery(self, delivery_id: int) -> Json | None:
        """One delivery; None after a reset."""
        row = self._db.execute("select * from deliveries where id = ?", (delivery_id,)).fetchone()
        return dict(row) if row else None

    def move_delivery(self, delivery_id: int, state: str, due: float, response: Json | None = None) -> None:
        """Note an attempt's response (when there was one) and what comes next."""
        self._db.execute(
            "update deliveries set state = ?, due = ?, attempts = attempts + ?, "
            "responses = iif(? is null, responses, json_insert(responses, '$[#]', json(?))) where id = ?",
            (state, due, response is not None, *[response and json.dumps(response)] * 2, delivery_id),
        )

    def pending_webhooks(self, event: str) -> int:
        """1 while the one endpoint has not answered this event with 2xx, else 0."""
        row = self._db.execute(
            "select max(state = 'delivered') as done from deliveries where event = ?", (event,)
        ).fetchone()
        return 0 if row["done"] else 1

    # Idempotency keys and settings

    def key(self, key: str, lifetime: float) -> sqlite3.Row | None:
        """The answer remembered for an Idempotency-Key no older than `lifetime` seconds."""
        sql = "select * from keys where key = ? and used > ?"
        row: sqlite3.Row | None = self._db.execute(sql, (key, time.time() - lifetime)).fetchone()
        return row

    def save_key(self, key: str, path: str, fingerprint: str, status: int, body: str, request: str) -> None:
        """Remember the first answer."""
        values = (key, path, fingerprint, time.time(), status, body, request)
        self._db.execute("insert or replace into keys values (?, ?, ?, ?, ?, ?, ?)", values)

    def meta(self, name: str) -> Any:
        """A stored setting, or None."""
        row = self._db.execute("select value from meta where name = ?", (name,)).fetchone()
        return json.loads(row["value"]) if row else None

    def set_meta(self, name: str, value: Any) -> None:
        """Store a setting."""
        self._db.execute("insert or replace into meta values (?, ?)", (name, json.dumps(value)))
