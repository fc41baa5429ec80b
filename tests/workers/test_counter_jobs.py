"""The jobs that keep counters honest, run by the real worker."""

from __future__ import annotations

from stack.services import Services
from tests.harness.people import SignUp
from tests.harness.server import Database
from tests.harness.waiting import until


def test_recount_reports_and_fold_adds(services: Services, database: Database, sign_up: SignUp) -> None:
    """A share left by a crash is added by the minute's job; a counter changed by hand is reported by the night's."""
    ana, ben = sign_up(), sign_up()
    ana.api.http.post("/rest/v1/follows", json={"following_id": ben.id}).raise_for_status()
    database.run(
        "insert into private.pending_counts (counter, target, change) values ('profiles.followers_count', %s, 5)",
        ben.id,
    )
    database.run("select private.enqueue('fold_counts', '{}')")
    until(lambda: database.value("select not exists (select from private.pending_counts)"), "the share is added")
    assert database.value("select followers_count from public.profiles where id = %s", ben.id) == 6

    database.run("select private.enqueue('recount', '{}')")
    log = services.logs / "jobs.log"
    until(lambda: "counter differs from a recount" in log.read_text(), "the difference is reported")
    assert ben.id in log.read_text()
