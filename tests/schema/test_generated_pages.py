"""The generated pages are those of the database, and the access matrix sees every change of who may do what."""

from __future__ import annotations

import difflib

import psycopg
import pytest

from stack.schema import client_types, diagrams, docs, matrix, scratch


def test_generated_pages_are_current(built: scratch.Database) -> None:
    assert docs.stale(docs.pages(built)) == [], "run `make docs` and review what changed"


def test_types_go_stale(built: scratch.Database) -> None:
    changed = scratch.database(built.cluster, "changed", template=built.name)
    try:
        with changed.connect() as connection:
            connection.execute("alter table public.groups add nickname text")
        assert set(client_types.PATHS.values()) <= set(docs.stale(client_types.files(changed.url)))
    finally:
        built.cluster.drop_database("changed")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(
            "grant execute on function public.adjust_wallet to anon",
            "+| public.adjust_wallet(uuid, bigint, text, text) | owner | execute | execute |",
            id="an RPC is opened to visitors",
        ),
        pytest.param(
            "alter table public.wallets disable row level security",
            "+| public.wallets | OFF |",
            id="row level security is switched off",
        ),
        pytest.param(
            "grant update (balance_available_cents) on public.wallets to authenticated",
            "select, update (balance_available_cents) |",
            id="a column becomes writable",
        ),
        pytest.param("grant delete on public.orders to service_role", "select, delete |", id="a verb is granted"),
        pytest.param(
            "grant execute on function private.grant_role to public", "| execute |", id="a function is everybody's"
        ),
        pytest.param(
            "alter policy orders_select on public.orders using (true)", "| `true` |", id="a policy lets everybody see"
        ),
        pytest.param(
            "alter policy orders_select on public.orders to anon", "| select | anon |", id="a policy names another role"
        ),
        pytest.param(
            "create policy more on storage.objects for delete to authenticated using (true)",
            "+| storage.objects | more | delete | authenticated | `true` |",
            id="stored files can be deleted",
        ),
        pytest.param(
            "alter function public.wallet_statement security invoker", "| caller |", id="a function runs as its caller"
        ),
        pytest.param("grant usage on schema ledger to authenticated", "| usage |", id="the books are reachable"),
        pytest.param(
            "alter default privileges in schema public grant select on tables to anon",
            "+| postgres in public | tables | anon | select |",
            id="new tables start open",
        ),
        pytest.param(
            "update storage.buckets set public = true where id = 'product-files'",
            "+| product-files | yes |",
            id="a bucket becomes public",
        ),
        pytest.param(
            "alter publication supabase_realtime add table public.payments",
            "+| supabase_realtime | public.payments |",
            id="a table is published",
        ),
        pytest.param(
            "drop policy orders_select on public.orders", "-| public.orders | orders_select |", id="no policy"
        ),
        pytest.param(
            "grant service_role to avenue_worker",
            "+| avenue_worker | login | service_role |",
            id="a role becomes another's member",
        ),
    ],
)
def test_matrix_shows(schema: psycopg.Connection, change: str, line: str) -> None:
    before = matrix.page(schema)
    schema.execute(change.encode())
    lines = difflib.unified_diff(before.splitlines(), matrix.page(schema).splitlines(), lineterm="", n=0)
    assert line in "\n".join(lines)


def test_diagrams_show(schema: psycopg.Connection) -> None:
    """Keys, lines with their ends, boxes of other domains, and no line to profiles but from their own."""
    schema.execute("""
        create table public.parcels (
            id uuid primary key, order_id uuid not null unique references public.orders,
            packed_by uuid references public.profiles, next_id uuid references public.parcels, note text
        )
    """)
    schema.execute("set search_path = ''")
    page = diagrams.page(schema, {"post": ["public.parcels"], "people": ["public.profiles", "private.settings"]})
    assert page.replace("\n", "|").partition("## People")[0] == (
        "## Post||[post.md](post.md)||```mermaid|erDiagram|"
        '    "parcels" {|        uuid id PK|        uuid order_id FK|        uuid packed_by FK|'
        "        uuid next_id FK|    }|"
        '    "parcels" }o--o| "parcels" : "next_id"|    "parcels" |o--|| "orders" : "order_id"|```||'
    )
    assert "Without a line: `private.settings`." in page


def test_state_diagrams_show(schema: psycopg.Connection) -> None:
    """Arrows in the order of the states, births first, ends last; states nothing enters; one heading per column."""
    schema.execute("""
        create type public.parcel_state as enum ('packed', 'sent', 'lost', 'back');
        comment on type public.parcel_state is 'Where it is.';
        create table public.parcels (id uuid primary key, state public.parcel_state not null default 'packed');
        insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
        ('public.parcels', 'state', 'sent', 'back', 'nobody was there'),
        ('public.parcels', 'state', null, 'packed', 'made'), ('public.parcels', 'state', 'packed', 'sent', 'picked up')
    """)
    schema.execute("set search_path = ''")
    page = diagrams.states(schema, {"post": ["public.parcels"], "people": ["public.profiles"]})
    assert page.replace("\n", "|") == (
        "## Post||[post.md](post.md)||### public.parcels.state||Where it is.||```mermaid|stateDiagram-v2|"
        "    [*] --> packed : made|    packed --> sent : picked up|    sent --> back : nobody was there|"
        "    back --> [*]|```||Not in use yet: `lost`.|"
    )
