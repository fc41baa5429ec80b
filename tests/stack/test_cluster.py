"""A server of our own: any directory, any user, any crash."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from stack.cluster import Cluster, StackError
from tests.harness.waiting import until
from tests.stack.conftest import THROWAWAY

PG15 = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server to be maltreated; each test leaves it running."""
    cluster = Cluster(tmp_path_factory.mktemp("own"), options=THROWAWAY)
    cluster.init()
    yield cluster
    cluster.destroy()


def test_committed_rows_survive_a_killed_server_on_the_same_port(own: Cluster) -> None:
    port = own.port
    with own.connect("postgres") as admin:
        admin.execute("create table kept (id int); insert into kept values (1)")
    own.kill()
    assert own.pid is None
    own.start()
    assert own.port == port
    with own.connect("postgres") as admin:
        assert admin.execute("select id from kept").fetchone() == (1,)


def test_a_server_killed_under_a_computing_child_starts_at_once(own: Cluster) -> None:
    """The child does not notice, and PostgreSQL refuses to start beside it."""
    own.init()
    busy = own.connect("postgres")
    child = psutil.Process(busy.info.backend_pid)
    computing = threading.Thread(target=_compute, args=(busy,))
    computing.start()
    until(lambda: child.cpu_times().user > 0.1, "the child to compute")
    postmaster = own.pid
    assert postmaster
    port = own.port
    os.kill(postmaster, signal.SIGKILL)
    own.start()
    assert own.port == port
    own.connect("postgres").close()
    computing.join(10)
    assert not child.is_running()


def test_a_server_told_to_stop_is_not_waited_for_while_somebody_is_connected(own: Cluster) -> None:
    """`kill` alone lets clients finish: it refuses new ones and lives on."""
    own.init()
    port, postmaster = own.port, own.pid
    assert postmaster
    with own.connect("postgres") as client:
        os.kill(postmaster, signal.SIGTERM)
        with pytest.raises(psycopg.OperationalError, match="shutting down"):
            until(lambda: own.connect("postgres").close(), "the server to refuse")
        assert client.execute("select 1").fetchone() == (1,)
        own.start()
    assert own.port == port
    assert own.pid not in (None, postmaster)
    own.connect("postgres").close()


def _compute(connection: psycopg.Connection) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.execute("do $$ begin loop end loop; end $$")


def test_a_new_server_takes_the_port_of_the_one_before(own: Cluster) -> None:
    own.init()
    port = own.port
    own.destroy(keep_port=True)
    own.init()
    assert own.port == port


def test_a_stale_pid_file_with_a_strangers_number_is_neither_stopped_nor_in_the_way(
    own: Cluster, server: Cluster
) -> None:
    port = own.port
    own.stop()
    # PostgreSQL minds processes of its own user only. The socket has such a file too.
    stranger = server.pid
    for file in (own.data / "postmaster.pid", own.socket_dir / f".s.PGSQL.{port}.lock"):
        file.write_text(f"{stranger}\n{own.data}\n0\n{port}\n{own.socket_dir}\n")
    assert own.pid is None
    own.stop()
    own.start()
    assert own.pid not in (None, stranger)
    assert server.pid == stranger
    assert own.port == port


def test_another_server_on_its_port_makes_it_move(own: Cluster, server: Cluster) -> None:
    own.stop()
    (own.home / "port").write_text(str(server.port))
    own.start()
    assert own.port != server.port


def test_a_server_that_cannot_start_is_named_with_its_log(state: Path) -> None:
    cluster = Cluster(state, options={"shared_buffers": "nonsense"})
    try:
        with pytest.raises(StackError, match=r"PostgreSQL did not start: .*shared_buffers.*\(log: .*postgres\.log\)"):
            cluster.init()
    finally:
        cluster.destroy()


def test_destroy_leaves_no_file_and_no_process(state: Path) -> None:
    cluster = Cluster(state, options=THROWAWAY)
    cluster.init()
    assert cluster.pid
    cluster.destroy()
    assert cluster.pid is None
    assert not any(path.exists() for path in (cluster.home, cluster.root, cluster.socket_dir))


def test_settings_of_a_copied_database_and_its_owner(server: Cluster) -> None:
    server.create_database("model")
    with server.connect("model", "postgres") as owner:
        owner.execute("create table thing (id int)")
    server.create_database("copy", template="model")
    with server.connect("copy", "postgres") as owner:
        assert owner.execute("select count(*) from thing").fetchone() == (0,)
        assert owner.execute("select datdba::regrole::text from pg_database where datname = 'copy'").fetchone() == (
            "postgres",
        )
    server.drop_database("copy")


@pytest.mark.parametrize("control", [True, False], ids=["as extension", "as plain SQL"])
def test_pgtap(server: Cluster, control: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"tap_{control}".lower()
    server.create_database(name)
    hidden = server.home / "server/share/postgresql/extension/pgtap.control"
    if not control:
        if server.bin != server.home / "server/bin":
            pytest.skip("cannot hide the extension of a foreign server")
        hidden.rename(hidden.with_suffix(".hidden"))
    try:
        server.install_pgtap(name)
        server.install_pgtap(name)
    finally:
        if not control:
            hidden.with_suffix(".hidden").rename(hidden)
    with server.connect(name, "postgres") as tester:
        tester.execute("select plan(1)")
        query = "select throws_ok('select 1 / 0', '22012')"
        assert tester.execute(query).fetchone() == ("ok 1 - threw 22012",)


@pytest.mark.skipif(not PG15.exists(), reason="no PostgreSQL 15 here")
def test_another_server_version(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVENUE_PG_BIN", str(PG15))
    cluster = Cluster(state, options=THROWAWAY)
    try:
        cluster.init()
        assert cluster.major == 15
        cluster.create_database("app")
        cluster.install_pgtap("app")
        with cluster.connect("app", "postgres") as owner:
            assert owner.execute("select auth.uid()").fetchone() == (None,)
    finally:
        cluster.destroy()


def test_postgres_is_no_superuser_and_owns_nothing_of_auth_and_storage(server: Cluster) -> None:
    server.create_database("roles")
    with server.connect("roles", "postgres") as owner:
        assert owner.execute("select rolsuper, rolbypassrls from pg_roles where rolname = current_user").fetchone() == (
            False,
            True,
        )
        query = """
            select distinct relowner::regrole::text from pg_class
            where relnamespace in ('auth'::regnamespace, 'storage'::regnamespace) and relkind = 'r' order by 1
        """
        assert [row[0] for row in owner.execute(query)] == ["supabase_auth_admin", "supabase_storage_admin"]
        owner.execute("create function public.noted() returns trigger language plpgsql as 'begin return new; end'")
        owner.execute("create trigger noted after insert on auth.users for each row execute function public.noted()")
        owner.execute("create policy mine on storage.objects for select to authenticated using (true)")
        for refused in (
            "create table auth.mine (id int)",
            "create table storage.mine (id int)",
            "alter table auth.users add mine int",
            "create or replace function auth.uid() returns uuid language sql as 'select null::uuid'",
            "drop table auth.sessions",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(refused)


def test_new_objects_get_hosted_default_privileges(server: Cluster) -> None:
    server.create_database("defaults")
    with server.connect("defaults", "postgres") as owner:
        owner.execute("create table public.open (id int)")
        for role in ("anon", "authenticated", "service_role"):
            query = "select has_table_privilege(%s, 'public.open', 'insert')"
            assert owner.execute(query, [role]).fetchone() == (True,)
