"""What a database is: every catalog fact we care for as rows of text, and the readable difference of two pictures."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

QUERIES = Path(__file__).parent / "catalog"
PRELUDE = (QUERIES / "_prelude.sql").read_text()
DATA = "reference data"

# Tables whose rows the pages may write. Buckets are rows in a table of the platform, and ours all the same.
_TABLES = """
    select c.oid::regclass::text, n.nspname, c.relname
    from pg_catalog.pg_class as c
    inner join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition
        and (n.nspname in ('public', 'private', 'ledger') or (n.nspname, c.relname) = ('storage', 'buckets'))
"""
# Columns that differ from one database to the next by nature: their default is a fresh id or the time.
_FRESH = """
    select a.attrelid::regclass::text, a.attname
    from pg_catalog.pg_attribute as a
    left join pg_catalog.pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attnum > 0 and not a.attisdropped and (
        a.attidentity <> '' or a.attname in ('created_at', 'updated_at')
        or pg_get_expr(d.adbin, d.adrelid) ~ '(gen_random_uuid|uuid_generate_v4|now|nextval|clock_timestamp)\\('
    )
"""
_KEYS = """
    select c.conrelid::regclass::text, a.attname
    from pg_catalog.pg_constraint as c
    inner join pg_catalog.pg_attribute as a on a.attrelid = c.conrelid and a.attnum = any(c.conkey)
    where c.contype = 'p'
    order by array_position(c.conkey, a.attnum)
"""
_REFERENCES = """
    select c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text, r.attname
    from pg_catalog.pg_constraint as c
    inner join pg_catalog.pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
    inner join pg_catalog.pg_attribute as r on r.attrelid = c.confrelid and r.attnum = c.confkey[1]
    where c.contype = 'f' and cardinality(c.conkey) = 1
"""


@dataclass(frozen=True)
class Kind:
    """One kind of fact: the names of its columns, and its rows. The first column names the object."""

    columns: tuple[str, ...]
    rows: frozenset[tuple[str, ...]]

    def dicts(self) -> list[dict[str, str]]:
        """The rows by column name, in order."""
        return [dict(zip(self.columns, row, strict=True)) for row in sorted(self.rows)]


Snapshot = dict[str, Kind]


def take(connection: psycopg.Connection, *kinds: str) -> Snapshot:
    """Picture the database behind a connection: one kind per query file, and the reference data. Nothing is changed.

    kinds: only these, for callers that need no more. Nulls become empty text.
    """
    snapshot = {}
    with connection.transaction(force_rollback=True):
        connection.execute(PRELUDE.encode())
        for path in sorted(QUERIES.glob("[!_]*.sql")):
            if not kinds or path.stem in kinds:
                snapshot[path.stem] = _query(connection, path.read_text())
        if not kinds or DATA in kinds:
            snapshot[DATA] = Kind(("object", "row"), frozenset(_data(connection)))
    return snapshot


def differences(left: Snapshot, right: Snapshot, names: tuple[str, str]) -> list[str]:
    """Every fact of one picture that the other lacks, as text to read; empty when both are the same."""
    return [text for kind in left for text in _compare(kind, left[kind], right[kind], names)]


def _compare(name: str, left: Kind, right: Kind, names: tuple[str, str]) -> Iterator[str]:
    sides: dict[str, tuple[list[tuple[str, ...]], list[tuple[str, ...]]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((left.rows - right.rows, right.rows - left.rows)):
        for row in sorted(rows):
            sides[row[0]][side].append(row)
    for thing, (ours, theirs) in sorted(sides.items()):
        if len(ours) == len(theirs) == 1:
            yield f"{name}: {thing} differs\n" + "\n".join(
                _changed(column, a, b, names)
                for column, a, b in zip(left.columns, ours[0], theirs[0], strict=True)
                if a != b
            )
            continue
        for where, found in zip(names, (ours, theirs), strict=True):
            for row in found:
                words = " · ".join(value for value in row[1:] if value)
                yield f"{name}: {thing} only in {where}" + (f": {_shorten(words)}" if words else "")


def _changed(column: str, ours: str, theirs: str, names: tuple[str, str]) -> str:
    if "\n" not in ours + theirs:
        return f"    {column} in {names[0]}: {ours or '(none)'}\n    {column} in {names[1]}: {theirs or '(none)'}"
    lines = difflib.unified_diff(ours.splitlines(), theirs.splitlines(), *names, lineterm="", n=1)
    return "\n".join(f"    {line}" for line in lines)


def _shorten(words: str) -> str:
    first, *rest = words.strip().splitlines() or [""]
    return f"{first} … ({len(rest)} more lines)" if rest else first


def _query(connection: psycopg.Connection, query: str) -> Kind:
    cursor = connection.execute(query.encode())
    columns = tuple(column.name for column in cursor.description or ())
    rows = frozenset(tuple("" if value is None else str(value) for value in row) for row in cursor.fetchall())
    return Kind(columns, rows)


def _data(connection: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """(table and key, row as JSON) without what is fresh in each database; a reference to a fresh id is its row."""
    fresh: dict[str, set[str]] = defaultdict(set)
    for table, column in connection.execute(_FRESH):
        fresh[table].add(column)
    keys: dict[str, list[str]] = defaultdict(list)
    for table, column in connection.execute(_KEYS):
        keys[table].append(column)
    references: dict[tuple[str, str], tuple[str, str]] = {
        (table, column): (target, key)
        for table, column, target, key in connection.execute(_REFERENCES)
        if key in fresh[target]
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, schema, table in connection.execute(_TABLES).fetchall():
        query = sql.SQL("select to_jsonb(whole_row) from {} as whole_row").format(sql.Identifier(schema, table))
        rows[name] = [row for (row,) in connection.execute(query)]

    def plain(table: str, row: dict[str, Any]) -> dict[str, Any]:
        return {
            column: named(*references[table, column], value) if (table, column) in references else value
            for column, value in row.items()
            if column not in fresh[table]
        }

    def named(table: str, key: str, value: Any) -> Any:
        found = next((row for row in rows.get(table, []) if row[key] == value), None)
        return plain(table, found) if found else value

    for table, content in rows.items():
        for row in content:
            stable = plain(table, row)
            name = " ".join([table, *(str(stable[key]) for key in keys[table] if key in stable)])
            yield name, json.dumps(stable, sort_keys=True, ensure_ascii=False)
