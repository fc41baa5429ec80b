"""Each rule of stack/schema/rules finds what breaks it, and the schema breaks none."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from stack.schema import check, lint

FUNCTION = "create function private.f() returns void language sql {} as ''; comment on function private.f() is 'f';"
TABLE = "create table public.t ({}); alter table public.t enable row level security; comment on table public.t is 't';"
STAYS = "insert into private.personal_data values ('t', 'public.t', 't.id = $1', '{id, parent}', 'for this test')"
MOVE = "insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values ({}, 'x');"

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
        + "comment on column public.t.parent is 'parent';"
        + STAYS,
        "public.t.t_parent_fkey FOREIGN KEY (parent)",
    ),
    (
        "foreign_key_indexed",
        "drop index public.purchases_option_id_idx; "
        "create index purchases_option_id_idx on public.purchases (option_id, item_id) where number is not null",
        "public.purchases.purchases_option_id_fkey FOREIGN KEY (option_id, item_id)",
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
        TABLE.format("id uuid primary key default gen_random_uuid(), words text")
        + "comment on column public.t.words is 'words'; grant select on public.t to authenticated",
        "public.t.words",
    ),
    (
        "text_tidied",
        TABLE.format("id uuid primary key default gen_random_uuid(), words text")
        + "comment on column public.t.words is 'words'; grant insert (words) on public.t to authenticated",
        "public.t.words",
    ),
    (
        "decider_unnamed",
        "alter table public.refunds add column refunded_by uuid; comment on column public.refunds.refunded_by is 'x'; "
        "update private.personal_data set stays = stays || '{refunded_by}' where relation = 'public.refunds'",
        "public.refunds.refunded_by readable by authenticated",
    ),
    ("column_types", TABLE.format("id varchar(3) primary key"), "public.t.id character varying(3)"),
    (
        "column_types",
        TABLE.format("id uuid primary key, x_cents int") + "comment on column public.t.x_cents is 'x'",
        "public.t.x_cents integer",
    ),
    (
        "jsonb_keys_checked",
        "create function public.f(x jsonb) returns void language sql set search_path = '' as ''; "
        "comment on function public.f is 'f'; revoke all on function public.f from public; "
        "grant execute on function public.f to authenticated",
        "public.f(jsonb)",
    ),
    (
        "upsertable",
        "revoke update (post_id) on public.post_likes from authenticated",
        "public.post_likes update (post_id) for authenticated",
    ),
    ("index_names_table", "create index strange on public.orders (status)", "public.strange on public.orders"),
    (
        "error_code_registered",
        "create or replace function private.refuse_change() returns trigger language plpgsql set search_path = '' as "
        "$$ begin perform private.fail('append_only'); perform private.fail('unheard_of', 'x'); return null; end $$",
        "private.refuse_change() unheard_of",
    ),
    ("webhook_state_swept", "comment on column public.payments.status is 'State.'", "public.payments.status"),
    (
        "webhook_state_swept",
        "comment on column public.refunds.status is 'State. Swept by nobody().'",
        "public.refunds.status",
    ),
    (
        "no_serialization_failure",
        "create or replace function private.refuse_change() returns trigger language plpgsql set search_path = '' as "
        "$$ begin perform private.fail('append_only'); raise exception using errcode = '40001'; return null; end $$",
        "private.refuse_change() raise exception using errcode = '40001'",
    ),
    (
        "no_serialization_failure",
        "create or replace function private.refuse_change() returns trigger language plpgsql set search_path = '' as "
        "$$ begin perform private.fail('append_only'); raise deadlock_detected; return null; end $$",
        "private.refuse_change() raise deadlock_detected",
    ),
    (
        "statement_trigger_locks",
        "create function private.f() returns trigger language plpgsql set search_path = '' as "
        "$$ begin perform private.lock_gates('account', '{}'); return null; end $$;"
        "comment on function private.f() is 'f'; revoke all on function private.f() from public;"
        "create trigger f before update on public.posts for each statement execute function private.f()",
        "public.posts.f private.f()",
    ),
    (
        "unfiltered_change",
        "create or replace function private.refuse_change() returns trigger language plpgsql set search_path = '' as "
        "$$ begin perform private.fail('append_only'); -- where\n update public.app_settings set workers_url = null;"
        " return null; end $$",
        "private.refuse_change() update public.app_settings set workers_url = null",
    ),
    (
        "constraint_explained",
        "comment on constraint products_title_check on public.products is null",
        "public.products.products_title_check",
    ),
    ("insert_needs_default", "alter table public.groups alter column slug drop default", "public.groups.slug"),
    (
        "named_result",
        "create function public.two(out a integer, out b integer) language sql set search_path = '' "
        "as $$ select 1, 2 $$; comment on function public.two() is 'two'; "
        "grant execute on function public.two() to authenticated",
        "public.two()",
    ),
    (
        "personal_data_covered",
        "alter table private.webhook_events add column note text; comment on column private.webhook_events.note is 'x'",
        "private.webhook_events.note is neither erased nor said to stay",
    ),
    (
        "personal_data_covered",
        "alter table private.webhook_events add column seen_by uuid; "
        "comment on column private.webhook_events.seen_by is 'x'",
        "private.webhook_events.seen_by is neither erased nor said to stay",
    ),
    (
        "personal_data_covered",
        "delete from private.personal_data where section = 'posts'",
        "public.posts is not exported",
    ),
    (
        "personal_data_covered",
        "update private.erasure_steps set erases = erases || '{public.posts.contents}' where step = 'posts'",
        "public.posts.contents is covered and does not exist",
    ),
    (
        "kinds_complete",
        "drop function private.product_hide(uuid[], text); "
        "update private.kinds set hooks = array_remove(hooks, 'hide') where kind = 'product'",
        "product is registered and lacks the hook hide",
    ),
    (
        "kinds_complete",
        "update private.kinds set owner_column = 'owner' where kind = 'group'; select private.build_dispatch()",
        "group hook evidence: public.groups has no column owner",
    ),
    (
        "kinds_complete",
        "insert into private.kinds (kind, relation, page) values ('letter', 'public.letters', '/')",
        "private.kinds letter there is no relation public.letters",
    ),
    (
        "kinds_complete",
        "insert into private.kinds values ('tag', 'public.tags', null, '/', '{can_read}')",
        "tag private.dispatch_can_read() does not know it: build_dispatch() was not called",
    ),
    (
        "kinds_complete",
        "update private.kinds set hooks = '{evidence}' where kind = 'message'",
        "message hook evidence needs the hook can_read",
    ),
    (
        "state_moves_known",
        "create type public.mood_state as enum ('a', 'b'); comment on type public.mood_state is 'x'; "
        "alter table public.orders add column mood public.mood_state; comment on column public.orders.mood is 'x'",
        "public.orders.mood has no moves",
    ),
    (
        "state_moves_known",
        "alter table public.orders add column payment_status text, alter payment_status set statistics 0; "
        "comment on column public.orders.payment_status is 'x'; "
        "update private.personal_data set stays = stays || '{payment_status}' where relation = 'public.orders'",
        "public.orders.payment_status has no moves",
    ),
    (
        "state_moves_known",
        MOVE.format("'public.orders', 'stage', null, 'first'"),
        "public.orders.stage has moves and does not exist",
    ),
    (
        "state_moves_known",
        "alter table public.orders alter column status drop not null",
        "public.orders.status may be null",
    ),
    (
        "state_moves_known",
        "delete from private.state_moves where relation = 'private.webhook_events' and from_state is null; "
        "select private.build_moves('private.webhook_events', 'status')",
        "private.webhook_events.status nothing may be born in its default pending",
    ),
    (
        "state_moves_known",
        MOVE.format("'public.orders', 'status', 'pending', 'done'")
        + "select private.build_moves('public.orders', 'status')",
        "public.orders.status there is no state done",
    ),
    (
        "state_moves_known",
        MOVE.format("'public.orders', 'status', 'processing', 'cancelled'")
        + "select private.build_moves('public.orders', 'status')",
        "public.orders.status never enters, and leaves, the state processing",
    ),
    (
        "state_moves_known",
        MOVE.format("'public.orders', 'status', 'cancelled', 'refunded'"),
        "public.orders.status its guard of each move knows others: build_moves() was not called",
    ),
    (
        "state_moves_known",
        "alter table public.orders disable trigger _refuse_birth_status",
        "public.orders.status its guard of each birth knows others",
    ),
    (
        "state_moves_known",
        "create trigger _refuse_move_stage after update on public.orders for each row "
        "execute function private.refuse_move('stage')",
        "public.orders._refuse_move_stage guards a column that has no moves",
    ),
    (
        "values_shared",
        TABLE.format("id uuid primary key, least_price_cents bigint check (least_price_cents >= 0)")
        + "comment on column public.t.least_price_cents is 'x'",
        "public.t.least_price_cents no constraint asks private.is_price()",
    ),
    (
        "values_shared",
        "alter table public.tags drop constraint tags_slug_check, "
        "add constraint tags_slug_check check (private.is_slug(name))",
        "public.tags.slug no constraint asks private.is_slug()",
    ),
    (
        "values_shared",
        "alter table public.order_items drop constraint order_items_unit_price_check, "
        "add constraint order_items_unit_price_check check (private.is_price(unit_price_cents)) not valid",
        "public.order_items.unit_price_cents no constraint asks private.is_price()",
    ),
    (
        "values_shared",
        "alter table public.payouts drop constraint payouts_amount_check, "
        "add constraint payouts_amount_check check (amount_cents between 1 and 99999999)",
        "public.payouts.payouts_amount_check writes private.highest_amount_cents()",
    ),
    (
        "values_shared",
        "create or replace function private.refuse_change() returns trigger language plpgsql set search_path = '' as "
        "$$ begin perform private.fail('append_only'); "
        "perform from public.refunds as r where r.status in ('requested', 'pending'); return null; end $$",
        "private.refuse_change() lists the states of public.refunds.is_open again",
    ),
    ("error_code_raised", "insert into private.error_codes values ('never', 'PT400', 'Never.', 'Never.')", "never"),
]


def found(schema: psycopg.Connection, folder: Path = check.RULES) -> list[tuple[str, str]]:
    return [(finding.rule, finding.text) for finding in check.rules(schema, folder)]


@pytest.mark.parametrize(("rule", "change", "text"), BROKEN, ids=[f"{rule}: {text}" for rule, _, text in BROKEN])
def test_rule_finds(schema: psycopg.Connection, rule: str, change: str, text: str) -> None:
    schema.execute(change.encode())
    findings = found(schema)
    assert len(findings) == 1, findings
    ((broken, words),) = findings
    assert broken == rule
    assert text in words


def test_squawk_names_the_line_that_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "20260101000000_x.sql"
    file.write_text("create table public.a (id bigint);\n\nalter table public.b add column c bigint not null;\n")
    verdict = lint.squawk([file])
    assert not verdict.ok
    assert f"{file}:3:22: adding-required-field: " in verdict.text


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
