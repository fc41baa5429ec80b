"""A request whose answer takes long, by a slow filter or embed: what it has locked stays locked meanwhile."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tests.harness.server import Database
from tests.harness.waiting import until


@contextlib.contextmanager
def slow_request(database: Database, who: str, statement: str, *values: object) -> Iterator[Future[object]]:
    """A statement of somebody's that takes half a minute, on a connection of the Data API; how it ended."""
    with database.cluster.connect(database.name, "authenticator") as connection, ThreadPoolExecutor(1) as pool:
        claims = json.dumps({"sub": who, "role": "authenticated"})
        connection.execute("begin")
        connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        connection.execute("set local role authenticated")
        running = pool.submit(connection.execute, statement.encode(), values)
        sleeping = "select count(*) from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"
        until(lambda: database.value(sleeping, connection.info.backend_pid), "the slow statement to be under way")
        try:
            yield running
        finally:
            database.run("select pg_cancel_backend(%s)", connection.info.backend_pid)
            running.exception(30)
