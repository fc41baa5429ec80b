"""The test server: one per pytest process, in a directory named after it. It ends with the process: by the process
itself, by the reaper when the process was killed, by the next run when both were.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from stack.cluster import REPO, SUPERUSER, Cluster
from stack.schema import scratch
from stack.services import Services
from workers.jobs.install import install as install_queue

STATE = REPO / ".stack" / "tests"
TEMPLATE = "template_avenue"
# Safe against a killed server (what was written stays in the kernel), not against a power cut. Tests that kill the
# server switch fsync on all the same.
OPTIONS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB"}


@dataclass(frozen=True)
class Database:
    """A clone of the migrated template, to be used and thrown away."""

    cluster: Cluster
    name: str

    def url(self, user: str = "postgres") -> str:
        """Connection URL as any role of the server."""
        return self.cluster.url(self.name, user)

    def connect(self, user: str = "postgres") -> psycopg.Connection[Any]:
        """An autocommit connection."""
        return self.cluster.connect(self.name, user)

    def run(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Execute one statement as postgres, who owns the schema and is not held back by policies; its rows."""
        with self.connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *values: object) -> Any:
        """The first column of the first row, None when there is none."""
        rows = self.run(query, *values)
        return next(iter(rows[0].values())) if rows else None

    def audit(self) -> list[dict[str, Any]]:
        """Violated invariants of the books; empty when they are right."""
        return self.run("select * from ledger.audit()")


def start() -> tuple[Cluster, subprocess.Popen[bytes]]:
    """The running server of this process, and who cleans up after it (tests/harness/reaper.py)."""
    remove_stale()
    cluster = Cluster(STATE / str(os.getpid()), options=OPTIONS)
    cluster.root.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.harness.reaper", str(cluster.root)]
    reaper = subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, start_new_session=True)
    cluster.init()
    return cluster, reaper


def build_template(cluster: Cluster) -> str:
    """A database with everything a deployed one has, plus pgTAP; returns its name."""
    cluster.create_database(TEMPLATE)
    target = scratch.Database(cluster, TEMPLATE)
    # While a page is being written there is no migration yet: AVENUE_SCHEMA=pages tests what sql/ says.
    (scratch.from_pages if os.environ.get("AVENUE_SCHEMA") == "pages" else scratch.from_migrations)(target)
    # Who signs up in a test has confirmed the address and is old enough to count, unless the test says otherwise.
    with target.connect(SUPERUSER) as admin:
        admin.execute("alter table auth.users alter column email_confirmed_at set default now()")
        admin.execute("update private.settings set custom_field_account_age = '0'")
    install_queue(target.url)
    with target.connect() as owner:
        # As if a worker had been started once: without an address checkout takes no payments.
        owner.execute("select private.publish_workers('https://workers.example')")
    cluster.install_pgtap(TEMPLATE)
    return TEMPLATE


def remove_stale() -> None:
    """End and remove what test runs left behind whose process is gone."""
    for directory in STATE.glob("*"):
        if directory.name.isdigit() and not psutil.pid_exists(int(directory.name)):
            remove(Cluster(directory))


def remove(cluster: Cluster) -> None:
    """End everything that runs in a test server's directory, and remove it."""
    for record in cluster.root.glob("services/*/processes.json"):
        Services(cluster, record.parent.name, record.parent).stop()
    cluster.destroy()
