"""The picture of a database sees every kind of difference, names its object, and leaves out what differs by nature."""

from __future__ import annotations

import psycopg
import pytest

from stack.schema import snapshot

TABLE = "create table private.t (id uuid primary key default gen_random_uuid(), name text, n int not null default 0);"


def differences(before: snapshot.Snapshot, after: snapshot.Snapshot) -> list[str]:
    return snapshot.differences(before, after, ("before", "after"))


@pytest.mark.parametrize(
    ("before", "change", "text"),
    [
        ("", "create schema extra", "schemas: extra only in after"),
        ("", "create extension isn schema extensions", "extensions: isn only in after"),
        ("create type private.k as enum ('a')", "alter type private.k add value 'b'", "types: private.k differs"),
        ("create domain private.d as text", "alter domain private.d set default 'x'", "types: private.d differs"),
        (TABLE, "alter table private.t replica identity full", "relations: private.t differs"),
        (TABLE, "alter table private.t alter n drop not null", "columns: private.t.n differs"),
        (TABLE, "alter table private.t alter n set default 1", "columns: private.t.n differs"),
        (TABLE, "alter table private.t add check (n > 0)", "constraints: private.t.t_n_check only in after"),
        (TABLE, "create index on private.t (n)", "indexes: private.t_n_idx only in after"),
        ("create sequence private.s", "alter sequence private.s increment 2", "sequences: private.s differs"),
        ("", "alter function private.slugify security definer", "functions: private.slugify(text) differs"),
        ("", "alter function private.slugify volatile", "functions: private.slugify(text) differs"),
        (TABLE, "alter table private.t enable row level security", "relations: private.t differs"),
        (
            TABLE,
            "create trigger touch before update on private.t for each row execute function private.touch_updated_at()",
            "triggers: private.t.touch only in after",
        ),
        (
            "",
            "create trigger mine after insert on auth.users for each row execute function private.touch_updated_at()",
            "triggers: auth.users.mine only in after",
        ),
        (
            TABLE + "create policy p on private.t to anon using (true)",
            "alter policy p on private.t using (n > 0)",
            "policies: private.t.p differs",
        ),
        (TABLE, "grant select (name) on private.t to anon", "grants: private.t only in after: relation · anon"),
        (
            TABLE + "grant select on private.t to anon",
            "grant select on private.t to anon with grant option",
            "grants: private.t differs",
        ),
        ("", "grant execute on function private.slugify to anon", "grants: private.slugify(text) only in after"),
        ("", "grant usage on schema ledger to anon", "grants: ledger only in after"),
        (
            "",
            "alter default privileges in schema private grant select on tables to anon",
            "default_privileges: postgres in private only in after",
        ),
        ("", "grant service_role to avenue_worker", "roles: avenue_worker differs"),
        ("", "comment on schema private is 'other'", "comments: schema private differs"),
        (TABLE, "comment on column private.t.n is 'number'", "comments: table column private.t.n only in after"),
        (
            TABLE,
            "alter publication supabase_realtime add table private.t",
            "publications: supabase_realtime only in after: private.t",
        ),
        (
            TABLE + "alter publication supabase_realtime add table private.t",
            "alter publication supabase_realtime set table private.t (id)",
            "publications: supabase_realtime only in after: private.t",
        ),
        (TABLE, "create statistics private.st on name, n from private.t", "others: statistics object private.st only"),
        (TABLE, "insert into private.t (name) values ('a')", "reference data: private.t only in after"),
        (
            "",
            "update private.error_codes set message = 'x' where code = 'banned'",
            "reference data: private.error_codes banned differs",
        ),
        (
            "",
            "insert into storage.buckets (id, name) values ('b', 'b')",
            "reference data: storage.buckets b only in after",
        ),
    ],
)
def test_a_difference_is_seen_and_named(schema: psycopg.Connection, before: str, change: str, text: str) -> None:
    schema.execute(before.encode())
    picture = snapshot.take(schema)
    assert differences(picture, snapshot.take(schema)) == []
    schema.execute(change.encode())
    found = differences(picture, snapshot.take(schema))
    assert any(one.startswith(text) for one in found), found


def test_a_function_body_is_shown_as_a_diff(schema: psycopg.Connection) -> None:
    function = "create or replace function private.f() returns int language plpgsql as $$\n{}\n$$"
    schema.execute(function.format("begin\n    -- the answer\n    return 1;\nend").encode())
    picture = snapshot.take(schema, "functions")
    schema.execute(function.format("begin\n    -- the answer\n    return 2;\nend").encode())
    (found,) = differences(picture, snapshot.take(schema, "functions"))
    assert found.startswith("functions: private.f() differs\n")
    assert "    -    return 1;\n    +    return 2;" in found


def test_what_differs_by_nature_is_not_a_difference(schema: psycopg.Connection) -> None:
    """Fresh ids, references to them, times, and the order of columns and rows."""
    tables = """
        drop table if exists private.child, private.parent;
        create table private.parent (
            id uuid primary key default gen_random_uuid(), name text, at timestamptz default clock_timestamp()
        );
        create table private.child (
            id bigint generated always as identity primary key, parent_id uuid references private.parent, {}
        );
        insert into private.parent (name) values ('a'), ('b');
        insert into private.child (parent_id, x, y) select id, name, name from private.parent order by {};
    """
    schema.execute(tables.format("x text, y text", "name").encode())
    picture = snapshot.take(schema)
    schema.execute(tables.format("y text, x text", "name desc").encode())
    assert differences(picture, snapshot.take(schema)) == []
    schema.execute("update private.child set parent_id = (select id from private.parent where name = 'a')")
    (found,) = differences(picture, snapshot.take(schema))
    assert found.startswith("reference data: private.child differs")
