"""The migrations, as a hosted project sees them: applied by the official CLI as a role that is no superuser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import database
from stack.cluster import REPO, Cluster, StackError
from tests.stack.conftest import THROWAWAY

PG15 = Path("/usr/lib/postgresql/15/bin")

# Everything about schemas auth and storage but the two things a project may add: triggers and policies.
PICTURE = """
    with schemas as (select oid, nspname, nspowner, nspacl from pg_namespace where nspname in ('auth', 'storage'))
    select 'schema ' || nspname, nspowner::regrole::text || coalesce(nspacl::text, '') from schemas
    union all
    select 'relation ' || c.oid::regclass, concat_ws('|', c.relkind, c.relowner::regrole, c.relacl, c.relrowsecurity,
        c.relforcerowsecurity, c.reloptions) from pg_class as c join schemas as s on s.oid = c.relnamespace
    union all
    select 'column ' || a.attrelid::regclass || '.' || a.attname, concat_ws('|', a.attnum, a.atttypid::regtype,
        a.atttypmod, a.attnotnull, a.attacl, pg_get_expr(d.adbin, d.adrelid))
    from pg_attribute as a join pg_class as c on c.oid = a.attrelid join schemas as s on s.oid = c.relnamespace
    left join pg_attrdef as d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum) where a.attnum > 0
    union all
    select 'constraint ' || k.conrelid::regclass || '.' || k.conname, pg_get_constraintdef(k.oid)
    from pg_constraint as k join schemas as s on s.oid = k.connamespace
    union all
    select 'function ' || p.oid::regprocedure, concat_ws('|', p.proowner::regrole, p.proacl, p.prosecdef, p.prosrc)
    from pg_proc as p join schemas as s on s.oid = p.pronamespace
    union all
    select 'type ' || t.oid::regtype, concat_ws('|', t.typowner::regrole, t.typacl)
    from pg_type as t join schemas as s on s.oid = t.typnamespace
"""
ADDED = """
    select 'trigger on ' || tgrelid::regclass from pg_trigger as t join pg_class as c on c.oid = t.tgrelid
    where not tgisinternal and relnamespace in ('auth'::regnamespace, 'storage'::regnamespace)
    union
    select 'policy on ' || polrelid::regclass from pg_policy as p join pg_class as c on c.oid = p.polrelid
    where relnamespace in ('auth'::regnamespace, 'storage'::regnamespace)
"""


@pytest.fixture(params=["default", "15"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A new server, so that the migrations meet no role they made earlier."""
    if request.param == "15" and not PG15.exists():
        pytest.skip("no PostgreSQL 15 here")
    cluster = Cluster(tmp_path / "cluster", pg_bin=PG15 if request.param == "15" else None, options=THROWAWAY)
    cluster.init()
    cluster.create_database("project")
    yield cluster
    cluster.destroy()


def test_db_push_changes_nothing_of_auth_and_storage_but_triggers_and_policies(cluster: Cluster) -> None:
    with cluster.connect("project") as admin:
        before = dict(admin.execute(PICTURE).fetchall())
        database.migrate(cluster.url("project"))
        after = dict(admin.execute(PICTURE).fetchall())
        # The guard against deletions by SQL is the platform's.
        added = {row[0] for row in admin.execute(ADDED)} - {"trigger on storage.buckets"}
        owners = "select distinct relowner::regrole::text from pg_class where relnamespace = 'public'::regnamespace"
        assert [row[0] for row in admin.execute(owners)] == ["postgres"]
    assert after == before
    assert added == {"trigger on auth.users", "trigger on storage.objects", "policy on storage.objects"}
    # Nothing pending: a second push is harmless.
    database.migrate(cluster.url("project"))


def test_a_migration_that_fails_is_told_with_its_reason(server: Cluster, tmp_path: Path) -> None:
    server.create_database("broken")
    (tmp_path / "supabase/migrations").mkdir(parents=True)
    shutil.copy(REPO / "supabase/config.toml", tmp_path / "supabase")
    (tmp_path / "supabase/migrations/20260101000000_wrong.sql").write_text("create schema a;\ncreate schema a;\n")
    with pytest.raises(StackError, match=r'migrations failed: .*schema "a" already exists'):
        database.migrate(server.url("broken"), project=tmp_path)
