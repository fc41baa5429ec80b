"""What `make docs` draws: docs/schema/diagrams.md, one entity-relationship diagram for what hangs together in each
domain, and docs/schema/states.md, one state diagram for each status column.
"""

from __future__ import annotations

from collections import defaultdict

import psycopg

# In most tables somebody is named: as lines these would hide all others, so only the domain of profiles draws them.
HUB = "public.profiles"

INTRODUCTION = f"""\
Boxes hold a table's keys: `PK` names the row, `FK` another one. A line is a foreign key, written with its column: the
end with the foot is the table that refers; a circle at the other end means that it may refer to none. Tables of
another domain are boxes without keys. References to `{HUB.removeprefix("public.")}` are drawn in its own domain only:
elsewhere an `FK` without a line is one. Everything else about a table is on its domain's page. References without a
foreign key are not drawn: the column's comment says why there is none.
"""

_KEYS = """
    select
        i.identity, a.attname, a.atttypid::regtype::text, coalesce(a.attnum = any(p.conkey), false),
        exists (
            select from pg_constraint as f
            where f.conrelid = c.oid and f.contype = 'f' and a.attnum = any(f.conkey)
        )
    from pg_class as c
    cross join pg_identify_object('pg_class'::regclass, c.oid, 0) as i
    left join pg_constraint as p on p.conrelid = c.oid and p.contype = 'p'
    inner join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relkind in ('r', 'p') order by i.identity, a.attnum
"""
# Of one table's references to another each is a line: a sender and a recipient are two things.
_REFERENCES = """
    select
        t.identity, r.identity,
        (
            select string_agg(a.attname, ', ' order by k.position)
            from unnest(f.conkey) with ordinality as k (number, position)
            inner join pg_attribute as a on a.attrelid = f.conrelid and a.attnum = k.number
        ),
        exists (
            select from pg_attribute as a
            where a.attrelid = f.conrelid and a.attnum = any(f.conkey) and not a.attnotnull
        ),
        exists (
            select from pg_index as u
            where u.indrelid = f.conrelid and u.indisunique and u.indpred is null
                and u.indkey::smallint[] <@ f.conkey
        )
    from pg_constraint as f
    cross join pg_identify_object('pg_class'::regclass, f.conrelid, 0) as t
    cross join pg_identify_object('pg_class'::regclass, f.confrelid, 0) as r
    where f.contype = 'f' order by t.identity, f.conname
"""
STATES_INTRODUCTION = """\
One diagram for each status column: an arrow is a row of `private.state_moves`, with what has happened then. An arrow
from the dot enters a state in which rows are made; one to the ringed dot says that nothing leaves a state. Whatever is
not drawn is refused with `move_not_allowed`; a function's own refusals come first. A status that only repeats a
provider's word has no diagram: `stack/schema/rules/allowed.toml` names it.
"""
_MACHINES = """
    select m.relation, m.state_column, obj_description(t.oid, 'pg_type'),
        array(select e.enumlabel::text from pg_enum as e where e.enumtypid = t.oid order by e.enumsortorder),
        array_agg(array[m.from_state, m.to_state, m.meaning])
    from private.state_moves as m
    inner join pg_attribute as a on a.attrelid = m.relation::regclass and a.attname = m.state_column
    inner join pg_type as t on t.oid = a.atttypid
    group by m.relation, m.state_column, t.oid order by m.relation, m.state_column
"""


def page(connection: psycopg.Connection, domains: dict[str, list[str]]) -> str:
    """The diagrams of each domain's tables, as Markdown."""
    keys: dict[str, list[tuple[str, str, bool, bool]]] = defaultdict(list)
    for table, *column in connection.execute(_KEYS).fetchall():
        keys[table].append((column[0], column[1], column[2], column[3]))
    references = connection.execute(_REFERENCES).fetchall()
    sections = []
    for domain, tables in domains.items():
        if not tables:
            continue
        drawn = [
            reference for reference in references if reference[0] in tables and (reference[1] != HUB or HUB in tables)
        ]
        sections.append(f"## {domain.capitalize()}\n\n[{domain}.md]({domain}.md)\n")
        for group in _together(tables, [(table, other) for table, other, *_ in drawn]):
            lines = ["```mermaid", "erDiagram"]
            for table in group:
                lines += [f'    "{_short(table)}" {{', *(_key(*column) for column in keys[table] if any(column[2:]))]
                lines.append("    }")
            for table, other, columns, is_optional, is_single in drawn:
                if table in group:
                    many, one = "|o" if is_single else "}o", "o|" if is_optional else "||"
                    lines.append(f'    "{_short(table)}" {many}--{one} "{_short(other)}" : "{columns}"')
            sections.append("\n".join([*lines, "```\n"]))
        alone = [table for table in tables if not any(table in pair[:2] for pair in drawn)]
        if alone:
            sections.append(f"Without a line: {', '.join(f'`{_short(table)}`' for table in alone)}.\n")
    return "\n".join(sections)


def states(connection: psycopg.Connection, domains: dict[str, list[str]]) -> str:
    """The diagrams of each domain's status columns, as Markdown. A column's heading is its name."""
    machines = connection.execute(_MACHINES).fetchall()
    sections = []
    for domain, tables in domains.items():
        drawn = [machine for machine in machines if machine[0] in tables]
        if drawn:
            sections.append(f"## {domain.capitalize()}\n\n[{domain}.md]({domain}.md)\n")
        for table, column, meaning, labels, moves in drawn:
            order = {label: position for position, label in enumerate([None, *labels])}
            arrows = sorted(moves, key=lambda move: (order[move[0]], order[move[1]]))
            left, entered = {before for before, *_ in arrows}, {after for _, after, _ in arrows}
            lines = ["```mermaid", "stateDiagram-v2"]
            lines += [f"    {before or '[*]'} --> {after} : {event}" for before, after, event in arrows]
            lines += [f"    {label} --> [*]" for label in labels if label in entered - left]
            unused = [f"`{label}`" for label in labels if label not in entered]
            text = f"### {table}.{column}\n\n{meaning or ''}\n\n" + "\n".join([*lines, "```\n"])
            sections.append(text + (f"\nNot in use yet: {', '.join(unused)}.\n" if unused else ""))
    return "\n".join(sections)


def _together(tables: list[str], references: list[tuple[str, str]]) -> list[list[str]]:
    """Tables that lines connect, also over tables of another domain; greatest group first, lone tables left out."""
    groups: list[set[str]] = []
    for pair in references:
        joined = set(pair).union(*(group for group in groups if group & set(pair)))
        groups = [group for group in groups if not group & joined] + [joined]
    return sorted((sorted(group & set(tables)) for group in groups), key=lambda group: (-len(group), group))


def _short(table: str) -> str:
    return table.removeprefix("public.")


def _key(column: str, kind: str, is_primary: bool, is_foreign: bool) -> str:
    kinds = ", ".join(name for name, is_it in (("PK", is_primary), ("FK", is_foreign)) if is_it)
    return f"        {kind.rpartition('.')[2].replace(' ', '_')} {column} {kinds}"
