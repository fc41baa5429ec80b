"""docs/access-matrix.md: who may do what, from the live catalog and checked in, so that no privilege changes unseen."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator

import psycopg

from stack.cluster import REPO
from stack.schema import snapshot

PATH = REPO / "docs" / "access-matrix.md"
SCHEMAS = ("public", "private", "ledger")
ROLES = ("anon", "authenticated", "service_role", "avenue_worker", "avenue_estimates", "PUBLIC")
INTRODUCTION = """\
# Access matrix

Generated from the live catalog by `make docs`; a test fails while this page and the database differ. A change here is a
change of who may do what: review it as one.

| role | who |
|---|---|
| anon | a visitor with the public key, not signed in |
| authenticated | a signed-in user; the policies below say which rows |
| service_role | an operator's or server's key; policies do not apply to it |
| avenue_worker | the Python workers: no tables of ours, only the functions listed |
| avenue_estimates | whoever asks for `count=planned` or `count=estimated`: answered where it may `select` a relation |
| PUBLIC | everybody; must stay empty |

`update (bio, name)` means these columns only. A relation with row level security and no policy for a role shows that
role no rows, whatever is granted. The owner, `postgres`, is left out.
"""


def page(connection: psycopg.Connection) -> str:
    """The whole page for the database behind the connection."""
    facts = snapshot.take(connection)
    return "\n".join([INTRODUCTION, *_sections(facts)])


def _sections(facts: snapshot.Snapshot) -> Iterator[str]:
    grants = _grants(facts["grants"])
    yield "## Schemas\n\n" + table(
        ["schema", *ROLES], ([schema, *_cells(grants, schema)] for schema in (*SCHEMAS, "jobs", "extensions"))
    )
    secured = {
        row["object"]: "on" if "no rls" not in row["properties"].split(", ") else "OFF"
        for row in facts["relations"].dicts()
    }
    for schema in SCHEMAS:
        relations = [name for name in secured if name.startswith(f"{schema}.")]
        yield f"## Relations in {schema}\n\n" + table(
            ["relation", "RLS", *ROLES], ([name, secured[name], *_cells(grants, name)] for name in relations)
        )
    yield "## Policies\n\n" + table(
        ["relation", "policy", "command", "roles", "rows seen", "rows accepted"],
        (
            [
                relation,
                name + (" (restrictive)" if row["kind"] == "restrictive" else ""),
                row["command"],
                row["roles"],
                code(row["using_check"]),
                code(row["with_check"]),
            ]
            for row in facts["policies"].dicts()
            for relation, name in [row["object"].rsplit(".", 1)]
        ),
    )
    for schema in SCHEMAS:
        functions = [row for row in facts["functions"].dicts() if row["object"].startswith(f"{schema}.")]
        yield f"## Functions in {schema}\n\n" + table(
            ["function", "runs as", *ROLES],
            (
                [
                    row["object"].replace(",", ", "),
                    "owner" if "SECURITY DEFINER" in row["definition"] else "caller",
                    *_cells(grants, row["object"]),
                ]
                for row in functions
            ),
        )
    yield "## What new objects start with\n\n" + table(
        ["made by", "kind", "grantee", "privileges"],
        (
            [row["object"], row["kind"], row["grantee"], row["verbs"]]
            for row in facts["default_privileges"].dicts()
            if row["object"].startswith("postgres ")
        ),
    )
    yield "## Roles\n\n" + table(
        ["role", "attributes", "member of"],
        (
            [row["object"], row["attributes"], row["member_of"]]
            for row in facts["roles"].dicts()
            if row["object"] in (*ROLES, "authenticator")
        ),
    )
    buckets = [
        json.loads(row["row"]) for row in facts[snapshot.DATA].dicts() if row["object"].startswith("storage.buckets ")
    ]
    yield "## Storage buckets\n\n" + table(
        ["bucket", "public", "bytes a file", "types"],
        (
            [
                bucket["id"],
                "yes" if bucket["public"] else "no",
                str(bucket["file_size_limit"] or "unlimited"),
                ", ".join(bucket["allowed_mime_types"] or ["any"]),
            ]
            for bucket in buckets
        ),
    )
    yield "## Realtime\n\n" + table(
        ["publication", "relation", "columns", "filter", "publishes"],
        (
            [
                row["object"],
                row["relation"] or "(nothing)",
                row["columns"] or "all",
                code(row["filter"]),
                row["publishes"],
            ]
            for row in facts["publications"].dicts()
        ),
    )


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    lines = [
        head,
        ["---"] * len(head),
        *([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """SQL as inline code on one line; empty stays empty."""
    return f"`{' '.join(text.split())}`" if text else ""


def _grants(kind: snapshot.Kind) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in kind.dicts():
        words = row["verb"] + (f" ({row['columns']})" if row["columns"] else "") + ("*" if row["grantable"] else "")
        found[row["object"], row["grantee"]].append(words)
    return found


def _cells(grants: dict[tuple[str, str], list[str]], thing: str) -> list[str]:
    return [", ".join(sorted(grants.get((thing, role), ()), key=lambda words: words != "select")) for role in ROLES]
