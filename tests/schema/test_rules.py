"""Each rule of stack/schema/rules finds what breaks it, and the schema breaks none."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from stack.schema import check

FUNCTION = "create function private.f() returns void language sql {} as ''; comment on function private.f() is 'f';"
TABLE = "create table public.t ({}); alter table public.t enable row level security; comment on table public.t is 't';"

# rule, what breaks it, what it must say
BROKEN = [
    (
        "rls_enabled",
        "create table private.t (id uuid primary key); comment on table private.t is 't'",
        "private.t",
    ),
    (
        "foreign_key_indexed",
        TABLE.format("id uuid primary key references public.profiles, parent uuid references public.t")
        + "comment on column public.t.parent is 'parent'",
        "public.t.t_parent_fkey FOREIGN KEY (parent)",
    ),
    (
        "search_path_fixed",
        FUNCTION.format("") + "revoke all on function private.f() from public",
        "private.f()",
    ),
    ("commented", "comment on column public.orders.order_number is null", "public.orders.order_number"),
    ("commented", "comment on function private.slugify is null", "private.slugify(pg_catalog.text)"),
    ("commented", "comment on type public.user_role is null", "public.user_role"),
    (
        "definer_closed_to_anon",
        "grant execute on function private.member_id to anon",
        "private.member_id() EXECUTE for anon",
    ),
    (
        "nothing_for_public",
        FUNCTION.format("set search_path = ''") + "grant execute on function private.f() to public",
        "private.f() EXECUTE for PUBLIC",
    ),
    ("nothing_for_public", "grant select on public.orders to public", "public.orders SELECT for PUBLIC"),
    ("table_wide_privileges", "grant truncate on public.orders to service_role", "truncate for service_role"),
    (
        "policy_names_role",
        "create policy p on public.orders for select using (false)",
        "public.orders.p",
    ),
    (
        "view_security_invoker",
        "create view public.v as select 1 as id; comment on view public.v is 'v'",
        "public.v",
    ),
    (
        "text_not_sampled",
        TABLE.format("id uuid primary key, words text")
        + "comment on column public.t.words is 'words'; grant select on public.t to authenticated",
        "public.t.words",
    ),
    ("column_types", TABLE.format("id varchar(3) primary key"), "public.t.id character varying(3)"),
    (
        "column_types",
        TABLE.format("id uuid primary key, x_cents int") + "comment on column public.t.x_cents is 'x'",
        "public.t.x_cents integer",
    ),
    ("index_names_table", "create index strange on public.orders (status)", "public.strange on public.orders"),
    (
        "error_code_registered",
        "create or replace function private.refuse_change() returns trigger language plpgsql set search_path = '' as "
        "$$ begin perform private.fail('append_only'); perform private.fail('unheard_of', 'x'); return null; end $$",
        "private.refuse_change() unheard_of",
    ),
    ("error_code_raised", "insert into private.error_codes values ('never', 'PT400', 'Never.', 'Never.')", "never"),
]


def found(schema: psycopg.Connection, folder: Path = check.RULES) -> list[tuple[str, str]]:
    return [(finding.rule, finding.text) for finding in check.rules(schema, folder)]


@pytest.mark.parametrize(("rule", "change", "text"), BROKEN, ids=[f"{rule}: {text}" for rule, _, text in BROKEN])
def test_rule_finds(schema: psycopg.Connection, rule: str, change: str, text: str) -> None:
    schema.execute(change.encode())
    ((broken, words),) = found(schema)
    assert broken == rule
    assert text in words


def test_every_rule_has_a_test() -> None:
    assert {rule for rule, _, _ in BROKEN} == {path.stem for path in check.RULES.glob("*.sql")}


def test_an_exception_is_named_and_needed(schema: psycopg.Connection, tmp_path: Path) -> None:
    rules = shutil.copytree(check.RULES, tmp_path / "rules")
    with (rules / "allowed.toml").open("a") as file:
        file.write('[rls_enabled]\n"private.t" = "for this test"\n')
    assert found(schema, rules) == [
        ("rls_enabled", "private.t needs no exception any more: remove it from allowed.toml")
    ]
    schema.execute("create table private.t (id int); comment on table private.t is 't'")
    assert found(schema, rules) == []
