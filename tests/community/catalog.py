"""What the Data API offers, read from the catalog: relations, columns, ways to embed, functions. Tests that walk it
cover tables and functions that are added later without being told of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from tests.harness.server import Database

_RELATIONS = """
select c.relname as name,
    array(select r from unnest(array['anon', 'authenticated']) as r
        where has_table_privilege(r, c.oid, 'select')) as readers,
    has_any_column_privilege('authenticated', c.oid, 'insert') as inserts,
    has_any_column_privilege('authenticated', c.oid, 'update') as updates,
    has_table_privilege('authenticated', c.oid, 'delete') as deletes
from pg_class as c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
order by 1
"""
_COLUMNS = """
select c.relname as relation, a.attname as name, case when t.typname in ('http_url', 'http_urls') then t.typname::text
        else format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) end as type,
    t.typtype = 'e' as is_enum, (select e.enumlabel from pg_enum as e where e.enumtypid = t.oid order by 1 limit 1)
    as label,
    (a.attnotnull or t.typnotnull) and not a.atthasdef and a.attgenerated = '' and a.attidentity = '' as required,
    has_column_privilege('authenticated', c.oid, a.attnum, 'insert') as inserted,
    has_column_privilege('authenticated', c.oid, a.attnum, 'update') as updated,
    exists (select from pg_index as i where i.indrelid = c.oid and i.indisprimary and a.attnum = any(i.indkey)) as key,
    (select f.confrelid::regclass::text from pg_constraint as f
        where f.conrelid = c.oid and f.contype = 'f' and f.conkey[1] = a.attnum
        and f.confrelid::regclass::text not like '%%.%%' order by cardinality(f.conkey) limit 1) as refers_to
from pg_class as c
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
order by c.relname, a.attnum
"""
_EMBEDS = """
select f.conname as key, c.relname as source, t.relname as target,
    array(select a.attname from pg_attribute as a where a.attrelid = c.oid and a.attnum = any(f.conkey)) as columns
from pg_constraint as f
join pg_class as c on c.oid = f.conrelid
join pg_class as t on t.oid = f.confrelid
where f.contype = 'f' and c.relnamespace = 'public'::regnamespace and t.relnamespace = 'public'::regnamespace
and f.conparentid = 0
"""
_FUNCTIONS = """
select p.proname as name, p.pronargs as count, p.pronargdefaults as defaults, p.proargnames as names,
    array(select format_type(u.t, null) from unnest(p.proargtypes) with ordinality as u (t, n) order by u.n) as types,
    array(select (select e.enumlabel from pg_enum as e where e.enumtypid = u.t order by e.enumsortorder limit 1)
        from unnest(p.proargtypes) with ordinality as u (t, n) order by u.n) as labels,
    (select c.relname from pg_type as t join pg_class as c on c.oid = t.typrelid
        where p.pronargs = 1 and t.oid = p.proargtypes[0] and c.relnamespace = 'public'::regnamespace) as computed_on,
    (select c.relname from pg_type as t join pg_class as c on c.oid = t.typrelid
        where t.oid = p.prorettype and c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v'))
        as returns,
    array(select r from unnest(array['anon', 'authenticated']) as r
        where has_function_privilege(r, p.oid, 'execute')) as callers
from pg_proc as p
where p.pronamespace = 'public'::regnamespace and p.prorettype <> 'trigger'::regtype and p.prokind = 'f'
order by 1
"""
SAMPLES: dict[str, Any] = {
    "boolean": True,
    "bytea": "\\x00",
    "date": "2026-01-01",
    "double precision": 1.5,
    "http_url": "https://site.example/x",
    "http_urls": ["https://site.example/x"],
    "inet": "192.0.2.1",
    "interval": "1 day",
    "json": {},
    "jsonb": {},
    "text": "word",
    "extensions.citext": "word",
    "time without time zone": "10:00",
    "timestamp with time zone": "2027-01-01T00:00:00Z",
    "timestamp without time zone": "2027-01-01T00:00:00",
}


@dataclass(frozen=True)
class Column:
    """A column; refers_to: the relation its foreign key leads to."""

    name: str
    type: str
    label: str | None
    required: bool
    inserted: bool
    updated: bool
    key: bool
    refers_to: str | None

    @property
    def is_uuid(self) -> bool:
        return self.type == "uuid"

    @property
    def sample(self) -> Any:
        """Something of the type; ids are nobody's."""
        return sample(self.type, self.label)


@dataclass(frozen=True)
class Relation:
    """A relation: who may read it at all, what signed-in people may do, its columns, and how to embed others."""

    name: str
    readers: list[str]
    inserts: bool
    updates: bool
    deletes: bool
    columns: list[Column] = field(default_factory=list)
    embeds: list[tuple[str, str]] = field(default_factory=list)  # (relation embedded, what to select)
    computed: list[tuple[str | None, list[str], str]] = field(default_factory=list)  # (relation, callers, select)

    def everything(self, role: str, readable: set[str]) -> str:
        """A select of all columns, computed fields and embeddings a role may ask for."""
        parts = ["*"]
        parts += [text for target, text in self.embeds if target in readable]
        parts += [
            text for target, callers, text in self.computed if role in callers and (not target or target in readable)
        ]
        return ",".join(parts)


@dataclass(frozen=True)
class Function:
    """A function clients may call: (argument, type, first label of an enum), and who may."""

    name: str
    arguments: list[tuple[str, str, str | None]]
    callers: list[str]

    def call(self, **given: Any) -> dict[str, Any]:
        """Arguments of every type, some of them given."""
        return {name: given.get(name, sample(kind, label)) for name, kind, label in self.arguments}

    def of_type(self, *types: str) -> list[str]:
        return [name for name, kind, _ in self.arguments if kind in types]


@dataclass(frozen=True)
class Catalog:
    """All of it."""

    relations: dict[str, Relation]
    functions: list[Function]

    def readable(self, role: str) -> set[str]:
        """Relations a role may select from."""
        return {relation.name for relation in self.relations.values() if role in relation.readers}


def sample(kind: str, label: str | None) -> Any:
    """A value of a type."""
    if label:
        return label
    if kind == "uuid":
        return str(uuid4())
    if kind.endswith("[]"):
        element = sample(kind[:-2], None)
        return [element]
    if kind in SAMPLES:
        return SAMPLES[kind]
    return 1 if kind.split("(")[0] in ("integer", "bigint", "smallint", "numeric", "real") else "word"


def is_uuid(value: object) -> bool:
    """Whether a text is an id."""
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


def read(database: Database) -> Catalog:
    """The catalog of a database."""
    relations = {row["name"]: Relation(**row) for row in database.run(_RELATIONS)}
    for row in database.run(_COLUMNS.replace("%%", "%")):
        enum = row.pop("is_enum")
        row["label"] = row["label"] if enum else None
        relations[row.pop("relation")].columns.append(Column(**row))
    for number, row in enumerate(database.run(_EMBEDS)):
        source, target = relations[row["source"]], relations[row["target"]]
        if source is target:
            # Of a relation with itself, a column as hint means the one it refers to.
            source.embeds.append((target.name, f"e{number}_{target.name}:{target.name}!{row['columns'][0]}(*)"))
        else:
            source.embeds.append((target.name, f"e{number}_{target.name}:{target.name}!{row['key']}(*)"))
            target.embeds.append((source.name, f"m{number}_{source.name}:{source.name}!{row['key']}(*)"))
    functions = []
    for row in database.run(_FUNCTIONS):
        if row["computed_on"]:
            shown = f"{row['name']}(*)" if row["returns"] else row["name"]
            relations[row["computed_on"]].computed.append((row["returns"], row["callers"], shown))
        else:
            names = (row["names"] or [])[: row["count"]]
            arguments = list(zip(names, row["types"], row["labels"], strict=True))
            functions.append(Function(row["name"], arguments, row["callers"]))
    return Catalog(relations, functions)
