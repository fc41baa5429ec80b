"""Two hundred paid seats, one call, and a worker that is killed in the middle: everybody has their money back, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stack.services import Services
from tests.e2e.test_webinars import announce, called
from tests.harness.fixtures import running
from tests.harness.market import Simulator, assert_books, buy, drain
from tests.harness.people import SignUp, enroll
from tests.harness.server import Database
from tests.harness.waiting import until

SEATS = 200


@pytest.fixture(scope="module")
def services(database: Database) -> Iterator[Services]:
    """A stack whose workers soon notice what was left undone."""
    with running(database, AVENUE_STALLED_SECONDS="3") as services:
        yield services


def test_market_18_two_hundred_refunds_across_a_workers_death(
    services: Services, sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    host, guests = sign_up(), enroll(services, database, SEATS)
    item = announce(host, price_cents=2000, max_attendees=SEATS)
    with ThreadPoolExecutor(8) as many:
        bought = list(many.map(lambda guest: buy(simulator, guest, item)["status"], guests))
    assert bought == ["completed"] * SEATS
    drain(database, simulator)
    cost = called(host, "webinar_cancellation_cost", webinar_id=item)
    assert (cost["refunds_count"], cost["refund_cents"], cost["host_cost_cents"]) == (SEATS, SEATS * 2000, SEATS * 88)

    # Some are made, of the next ones the answer does not arrive; then the worker dies with the rest undone.
    simulator.hold()
    of_it = "select count(*) from public.refunds where reason = 'webinar_cancelled'"
    called(host, "cancel_webinar", webinar_id=item, reason="ill", agreed_cost_cents=cost["host_cost_cents"])
    assert database.value(of_it) == SEATS
    until(lambda: database.value(of_it + " and status = 'succeeded'") >= 20, "the first refunds")
    simulator.fault("POST /v1/refunds", "delay_after", seconds=60, times=3)
    until(lambda: not simulator.faults(), "refunds whose answers are kept back")
    services.kill("jobs")
    made, undone = (database.value(f"{of_it} and status = '{state}'") for state in ("succeeded", "requested"))
    assert made >= 20
    assert undone >= 3
    # Its memory of what it was asked is no help: who begins anew has to look.
    simulator.config(idempotency_seconds=0)
    services.start(["jobs"])
    until(lambda: database.value(of_it + " and status = 'succeeded'") == SEATS, "all refunds to be made", 240)
    simulator.release()
    drain(database, simulator, 240)

    intents = database.run(
        "select p.provider_ref as ref from public.payments as p join public.order_items as i "
        "on i.order_id = p.order_id where i.item_id = %s",
        item,
    )
    with ThreadPoolExecutor(8) as many:
        refunds = list(many.map(lambda row: simulator.all("refunds", payment_intent=row["ref"]), intents))
    assert Counter(tuple(each["amount"] for each in made) for made in refunds) == {(2000,): SEATS}
    assert host.api.one("wallets")["debt_cents"] == cost["host_cost_cents"]
    assert {row["status"] for row in host.api.select("webinar_registrations", webinar_id=f"eq.{item}")} == {"cancelled"}
    assert called(host, "webinar_cancellation_cost", webinar_id=item)["refunds_count"] == 0
    again = host.api.rpc("cancel_webinar", webinar_id=item, reason="ill", agreed_cost_cents=0)
    assert again.status_code == 409
    assert_books(database, simulator)
