"""What is generated under docs/: a page for each domain of the schema, the errors, the access matrix, the types."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from stack.cluster import REPO, SUPERUSER
from stack.schema import client_types, diagrams, matrix, scratch
from stack.schema.matrix import code, table
from workers.problems import CODES

DOCS = REPO / "docs"
SCHEMA = DOCS / "schema"
GENERATED = "Generated from the database by `make docs`; edit the page in `sql/` instead."

ERRORS = f"""\
# Errors

{GENERATED} Those of the functions are in `workers/problems.py`.

## Data API and RPCs

A refused call answers with the HTTP status below and a JSON body. When `code` begins with `PT`, `hint` is the stable
code a client switches on, `message` is a sentence for people, `details` says what exactly was refused (a field, an
id, a limit). With any other `code` the hint is no code: PostgREST and PostgreSQL add hints of their own.

```json
{{"code": "PT409", "message": "This item is already sold.", "hint": "item_sold", "details": "…"}}
```

What PostgreSQL itself refuses keeps its own code: `23505` a duplicate (409), `23514` a value outside its limits (400),
`42501` no privilege for this verb, column or row (401 without a session, 403 with one), `21000` a PATCH or DELETE
without a filter (400).

A request with `head: true` gets no body and so no hint: supabase-js tells only the status, and calls a 404 a success.
Ask with GET where the reason matters.

"""
CONSTRAINTS = """
## What PostgreSQL refuses by itself

Such an answer has PostgreSQL's own `code`, and its `message` names the constraint: `… violates check constraint
"products_price_cents_check"`. A `hint` there is PostgREST's or PostgreSQL's, not one of ours. `error_catalog()` gives
all of this page as rows: an application loads them once and finds a sentence for every refusal.

```js
const { data: catalog } = await supabase.rpc('error_catalog')
const entries = new Map(catalog?.map((entry) => [entry.name, entry]))
const explain = (error) => error.code?.startsWith('PT')
  ? entries.get(error.hint)
  : entries.get(error.message?.match(/constraint "(\\w+)"/)?.[1]) ?? entries.get(error.code)
```

"""
PROBLEMS = """
## Functions and webhooks

What the workers serve under `/functions/v1` and `/webhooks` answers with problem details (RFC 9457,
`application/problem+json`). `code` is the stable code: one of these, or one of the above with the same status. A
visitor without a session gets `not_signed_in`, also when the client library sent the public key as a token.

`fetch` shows them as they are. `functions.invoke` (local stack, or a gateway of your own) hides them in the error:

```js
const { data, error } = await supabase.functions.invoke(`payments/${payment_id}/start`)
const problem = error?.context ? await error.context.json() : null // problem.code, problem.title
```

```json
{"type": "urn:avenue:error:token_expired", "title": "The session has expired.", "status": 401, "code": "token_expired"}
```

"""

# What a page of sql/ created, in the order a reader wants: keyed like Database.objects.
_RELATIONS = """
    select i.type, i.identity, c.oid, obj_description(c.oid, 'pg_class')
    from pg_class as c
    cross join pg_identify_object('pg_class'::regclass, c.oid, 0) as i
    where c.relkind in ('r', 'p', 'v', 'm') order by c.oid
"""
_COLUMNS = """
    select
        a.attname, format_type(a.atttypid, a.atttypmod),
        case when a.attidentity <> '' then 'identity' else pg_get_expr(d.adbin, d.adrelid) end,
        case when a.attnotnull then '' else 'yes' end, coalesce(col_description(a.attrelid, a.attnum), '')
    from pg_attribute as a
    left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = %s and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
_CONSTRAINTS = """
    select conname, pg_get_constraintdef(oid) from pg_constraint
    where conrelid = %s and contype not in ('n', 't') order by position(contype::text in 'pufcx'), conname
"""
_INDEXES = """
    select x.relname, regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX .* USING ', '\\1')
    from pg_index as i inner join pg_class as x on x.oid = i.indexrelid
    where i.indrelid = %s and not exists (select from pg_constraint as c where c.conindid = i.indexrelid
        and c.conrelid = i.indrelid)
    order by x.relname
"""
_TRIGGERS = """
    select tgname, pg_get_triggerdef(oid) from pg_trigger where tgrelid = %s and not tgisinternal order by tgname
"""
_TYPES = """
    select i.type, i.identity, coalesce(obj_description(t.oid, 'pg_type'), ''),
        case when t.typtype = 'e' then (
            select string_agg(e.enumlabel, ', ' order by e.enumsortorder) from pg_enum as e where e.enumtypid = t.oid
        ) when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) else (
            select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
            from pg_attribute as a where a.attrelid = t.typrelid
        ) end
    from pg_type as t cross join pg_identify_object('pg_type'::regclass, t.oid, 0) as i
    where t.typtype in ('e', 'd', 'c') order by t.oid
"""
_FUNCTIONS = """
    select i.type, i.identity, p.oid::regproc::text, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
        coalesce(obj_description(p.oid, 'pg_proc'), '')
    from pg_proc as p cross join pg_identify_object('pg_proc'::regclass, p.oid, 0) as i order by p.oid
"""


class _Found(NamedTuple):
    """What the whole database has, of all pages."""

    types: list[tuple[Any, ...]]
    relations: list[tuple[Any, ...]]
    functions: list[tuple[Any, ...]]


def pages(database: scratch.Database) -> dict[Path, str]:
    """Every generated file, for a database built from the pages of sql/ (it knows which page made what)."""
    with ThreadPoolExecutor() as pool, database.connect(SUPERUSER) as connection:
        types = pool.submit(client_types.files, database.url)
        written = {matrix.PATH: matrix.page(connection)}
        connection.execute("set search_path = ''")
        written[DOCS / "errors.md"] = _errors(connection)
        # Asked once: naming everything there is takes far longer than writing a page.
        found = _Found(*(connection.execute(query).fetchall() for query in (_TYPES, _RELATIONS, _FUNCTIONS)))
        domains: dict[str, list[str]] = defaultdict(list)
        tables: dict[str, list[str]] = defaultdict(list)
        for page, made in database.objects.items():
            domains[_domain(page)].append("\n".join(_section(connection, found, page, made)))
            tables[_domain(page)] += sorted(name for kind, name in made if kind == "table")
        pictures, machines = diagrams.page(connection, tables), diagrams.states(connection, tables)
        written |= types.result()
    for domain, sections in domains.items():
        head = f"# {domain.capitalize()}\n\n{GENERATED} Who may do what: [access matrix](../access-matrix.md).\n"
        written[SCHEMA / f"{domain}.md"] = "\n".join([head, *sections])
    written[SCHEMA / "diagrams.md"] = f"# Diagrams\n\n{GENERATED}\n\n{diagrams.INTRODUCTION}\n{pictures}"
    written[SCHEMA / "states.md"] = f"# States\n\n{GENERATED}\n\n{diagrams.STATES_INTRODUCTION}\n{machines}"
    contents = "".join(f"- [{domain}]({domain}.md): {', '.join(tables[domain])}\n" for domain in domains)
    written[SCHEMA / "README.md"] = (
        f"# Schema\n\n{GENERATED} Who refers to whom, drawn: [diagrams](diagrams.md); "
        f"how things move from state to state: [states](states.md). In load order:\n\n{contents}"
    )
    return written


def stale(written: dict[Path, str]) -> list[Path]:
    """Files on disk that are missing, differ, or describe a domain that is gone."""
    gone = set(SCHEMA.glob("*.md")) - written.keys()
    return sorted(gone | {path for path, text in written.items() if not path.exists() or path.read_text() != text})


def write(written: dict[Path, str]) -> list[Path]:
    """Bring the files on disk up to date; which of them changed."""
    changed = stale(written)
    for path in changed:
        if path in written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(written[path])
        else:
            path.unlink()
    return changed


def _errors(connection: psycopg.Connection) -> str:
    query = "select code, sqlstate, message, description from private.error_codes order by code"
    head = ["code", "HTTP", "message", "when, and what to do"]
    database = (
        [code(key), sqlstate[2:] if sqlstate.startswith("PT") else f"none ({sqlstate}, workers only)", message, text]
        for key, sqlstate, message, text in connection.execute(query)
    )
    refused = connection.execute("select name, code, sqlstate, message from public.error_catalog() where name <> code")
    constraints = ([code(name), code(key), sqlstate, message] for name, key, sqlstate, message in refused)
    workers = ([code(key), str(known.status), known.title, known.description] for key, known in sorted(CODES.items()))
    postgres = CONSTRAINTS + table(["name", "code", "SQLSTATE", "message"], constraints)
    return ERRORS + table(head, database) + postgres + PROBLEMS + table(head, workers)


def _section(connection: psycopg.Connection, found: _Found, page: str, made: set[tuple[str, str]]) -> Iterator[str]:
    yield f"## {_title(page)}\n\n[{page}](../../{page}): {_introduction(page)}\n"
    types = [row for row in found.types if row[:2] in made]
    if types:
        yield table(["type", "is", "meaning"], ([code(name), values, text] for _, name, text, values in types))
    for kind, name, oid, text in found.relations:
        if (kind, name) in made:
            yield f"### {name}\n\n{text or ''}\n"
            yield table(
                ["column", "type", "default", "null", "meaning"],
                (
                    [column, kind, code(default or ""), null, meaning]
                    for column, kind, default, null, meaning in connection.execute(_COLUMNS, [oid])
                ),
            )
            for title, query in (("constraint", _CONSTRAINTS), ("index", _INDEXES), ("trigger", _TRIGGERS)):
                if rows := connection.execute(query, [oid]).fetchall():
                    yield table([title, "definition"], ([key, code(definition)] for key, definition in rows))
    functions = [row for row in found.functions if row[:2] in made]
    if functions:
        yield "### Functions\n"
        for _, _, name, arguments, result, text in functions:
            yield f"`{name}({' '.join(arguments.split())})` → `{' '.join((result or '').split())}`  \n{text}\n"


def _domain(page: str) -> str:
    return re.sub(r"^\d+_", "", Path(page).parent.name)


def _title(page: str) -> str:
    return re.sub(r"^\d+_", "", Path(page).stem).replace("_", " ").capitalize()


def _introduction(page: str) -> str:
    """The comment a page begins with."""
    lines = []
    for line in (REPO / page).read_text().splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)
