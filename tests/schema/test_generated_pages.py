"""The generated pages are those of the database, and the access matrix sees every change of who may do what."""

from __future__ import annotations

import difflib

import psycopg
import pytest

from stack.schema import docs, matrix, scratch


def test_generated_pages_are_current(built: scratch.Database) -> None:
    assert docs.stale(docs.pages(built)) == [], "run `make docs` and review what changed"


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
