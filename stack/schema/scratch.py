"""Throw-away databases with the schema in them, built from sql/ pages or from supabase/migrations.

A scratch server is a copy of a prepared, stopped server whose template database has the platform's own schemas (auth,
storage) in place. Copying a data directory takes a fraction of a second, and a server of its own means that roles,
which belong to the server and not to a database, can be compared as well, and that two runs never meet.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from stack.cluster import REPO, Cluster
from stack.database import load, migrate

STATE = REPO / ".stack" / "schema"
TEMPLATE = "template_supabase"
# Nothing here outlives the run, so nothing has to reach the disk.
THROWAWAY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": 40,
}

# What makes a page's object nameable: enough to say which page an object comes from, and whether a page is new.
# Numbers below 16384 are the server's own; naming its thousands of functions after each page takes seconds.
_OBJECTS = """
    select i.type, i.identity
    from (
        select 'pg_class'::regclass as classid, oid from pg_class where relkind in ('r', 'p', 'v', 'm', 'S', 'i', 'I')
        union all select 'pg_proc'::regclass, oid from pg_proc
        union all select 'pg_type'::regclass, oid from pg_type where typtype in ('e', 'd')
            or typtype = 'c' and exists (select from pg_class as c where c.oid = typrelid and c.relkind = 'c')
        union all select 'pg_namespace'::regclass, oid from pg_namespace where nspname !~ '^pg_'
        union all select 'pg_trigger'::regclass, oid from pg_trigger where not tgisinternal
        union all select 'pg_policy'::regclass, oid from pg_policy
    ) as o
    cross join pg_identify_object(o.classid, o.oid, 0) as i
    where o.oid >= 16384 and coalesce(i.schema, '') not in ('pg_catalog', 'information_schema', 'pg_toast')
        and not exists (
            select from pg_depend as d where d.classid = o.classid and d.objid = o.oid and d.deptype = 'e'
        )
"""


@dataclass
class Database:
    """A scratch database. `objects`: for each page, in load order, the (type, identity) of what it created."""

    cluster: Cluster
    name: str
    objects: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Connection URL as postgres, the role migrations run as."""
        return self.cluster.url(self.name)

    def connect(self, user: str = "postgres") -> psycopg.Connection:
        """An autocommit connection."""
        return self.cluster.connect(self.name, user)

    def apply(self, text: str, source: str) -> None:
        """Run SQL text as postgres in one transaction. StackError names `source` and the line."""
        with self.connect() as connection:
            load(connection, text, source)


def pages(project: Path = REPO) -> list[str]:
    """The pages of sql/ in load order, which is the order of their paths; relative to the project."""
    return sorted(str(path.relative_to(project)) for path in (project / "sql").glob("*/*.sql"))


def from_pages(database: Database, project: Path = REPO, only: Collection[str] | None = None) -> Database:
    """Apply pages (default: all) as postgres, each in a transaction, and note what each created."""
    with database.connect() as connection:
        before = objects(connection)
        for page in pages(project):
            if only is None or page in only:
                load(connection, (project / page).read_text(), page)
                after = objects(connection)
                database.objects[page] = after - before
                before = after
    return database


def from_migrations(database: Database, project: Path = REPO) -> Database:
    """Apply <project>/supabase/migrations with the real `supabase db push`, as an operator would."""
    if any((project / "supabase/migrations").glob("*.sql")):
        migrate(database.url, project=project)
    return database


@contextlib.contextmanager
def server() -> Iterator[Cluster]:
    """A running scratch server, gone when the block ends. Make databases with `database`."""
    prepared = _prepared()
    STATE.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="scratch-", dir=STATE)), options=THROWAWAY)
    try:
        _copy(prepared, cluster)
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()


def database(cluster: Cluster, name: str = "scratch", template: str = TEMPLATE) -> Database:
    """A new database on a scratch server: the platform's schemas, nothing of ours (or a copy of `template`)."""
    cluster.create_database(name, template)
    return Database(cluster, name)


@contextlib.contextmanager
def built_from_pages(project: Path = REPO, only: Collection[str] | None = None) -> Iterator[Database]:
    """A server of its own holding the schema as the pages say."""
    with server() as cluster:
        yield from_pages(database(cluster), project, only)


@contextlib.contextmanager
def built_from_migrations(project: Path = REPO) -> Iterator[Database]:
    """A server of its own holding the schema as the migrations make it."""
    with server() as cluster:
        yield from_migrations(database(cluster), project)


def _prepared() -> Cluster:
    """The stopped server that scratch servers are copies of; made once per version of what goes into it."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = STATE / f"prepared-{_ingredients()}"
        cluster = Cluster(root, options=THROWAWAY)
        if not (cluster.home / "prepared").exists():
            # An old one may still be in use by a run that began before the change; after an hour nobody does.
            for stale in (path for path in STATE.glob("*-*") if path.stat().st_mtime < time.time() - 3600):
                Cluster(stale).destroy()
            cluster.init()
            try:
                cluster.create_database(TEMPLATE)
            finally:
                cluster.stop()
            (cluster.home / "prepared").touch()
    return cluster


def _ingredients() -> str:
    """Names everything a prepared server is made from, so that a change of any makes a new one."""
    digest = hashlib.sha256(os.environ.get("AVENUE_PG_BIN", "").encode())
    made_of = [REPO / "package-lock.json", REPO / "stack/cluster.py", *(REPO / "stack/sql").iterdir()]
    for path in sorted([*made_of, *(REPO / "stack/auth").iterdir()]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _copy(prepared: Cluster, cluster: Cluster) -> None:
    """Give a new cluster the prepared one's data directory and, by link, its server programs."""
    cluster.home.mkdir(parents=True, exist_ok=True)
    # cp keeps owner and modes, and is several times faster than shutil here.
    subprocess.run(["cp", "-a", str(prepared.data), str(cluster.data)], check=True)
    if (prepared.home / "server").exists():
        (cluster.home / "server").symlink_to(prepared.home / "server")
    (cluster.home / "initialised").touch()


def objects(connection: psycopg.Connection) -> set[tuple[str, str]]:
    """(type, identity) of everything in the database that a page can be recognised by."""
    return set(connection.execute(_OBJECTS).fetchall())
