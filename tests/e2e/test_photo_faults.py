"""Photo jobs where the provider is a prediction API that loses, repeats, delays, refuses and answers late, and where
workers are killed at every step: no credit is lost, doubled or given back for a picture that was delivered.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from stack.services import Services
from stack.simulator.studio_control import StudioControl
from tests.e2e.test_photo_jobs import PRICE, balance, create_job, photos
from tests.harness.fixtures import running
from tests.harness.market import run_job
from tests.harness.people import Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until

Row = dict[str, Any]
START = 10_000


@pytest.fixture(scope="module")
def services(database: Database) -> Iterator[Services]:
    """A stack whose studio is the prediction API's simulator, and whose workers soon notice a dead one."""
    with running(database, AVENUE_STUDIO_PROVIDER="http", AVENUE_STALLED_SECONDS="3") as services:
        yield services


@pytest.fixture(scope="module")
def control(services: Services) -> StudioControl:
    return StudioControl(services.studio_url)


@pytest.fixture(autouse=True)
def everything_runs(services: Services, control: StudioControl) -> Iterator[None]:
    yield
    control.clear_faults()
    services.start()


@pytest.fixture(scope="module")
def media(sign_up: SignUp) -> tuple[Person, list[str]]:
    """Somebody, and the photos all of their jobs are made of."""
    person = sign_up(username="studio-unlucky")
    return person, photos(person, 6)


@pytest.fixture
def person(media: tuple[Person, list[str]], database: Database) -> Person:
    """The same with exactly so many credits."""
    who = media[0]
    have = balance(who)
    assert have[1:] == (0, 0), "an earlier test left something open"
    if have[0] != START:
        database.run("select private.grant_lot(%s, 'bonus', %s, null)", who.id, START - have[0])
    return who


def items(database: Database, job: Row) -> list[tuple[str, str | None]]:
    return [
        (row["status"], row["failure"])
        for row in database.run(
            "select status, failure from public.photo_job_items where job_id = %s order by position", job["id"]
        )
    ]


def statuses(database: Database, job: Row) -> list[str]:
    return [status for status, _ in items(database, job)]


def becomes(database: Database, job: Row, *wanted: str) -> None:
    until(lambda: statuses(database, job) == list(wanted), f"photos {wanted}, now {statuses(database, job)}", 60)


def check(database: Database) -> None:
    """As if a while had passed: the workers ask the provider about everything that is open."""
    database.run("update private.photo_attempts set checked_at = now() - interval '1 hour' where ended_at is null")
    run_job(database, "check_photos")


def checked(database: Database, job: Row, *wanted: str) -> None:
    """Ask until it is so: somebody else may have been at a photo."""

    def is_so() -> bool:
        check(database)
        return statuses(database, job) == list(wanted)

    until(is_so, f"photos {wanted}", 60)


def ref_of(database: Database, job: Row) -> str:
    return str(
        until(
            lambda: database.value(
                "select a.provider_ref from private.photo_attempts as a "
                "inner join public.photo_job_items as i on i.id = a.item_id where i.job_id = %s "
                "and a.provider_ref is not null",
                job["id"],
            ),
            "the provider's name for it",
            30,
        )
    )


def settled(database: Database, job: Row) -> int:
    """Journals about the ends of the job's photos."""
    return int(
        database.value(
            "select count(*) from ledger.journal as j inner join public.photo_job_items as i "
            "on j.idempotency_key = 'photo:' || i.id || ':settled' where i.job_id = %s",
            job["id"],
        )
    )


def of(control: StudioControl, database: Database, job: Row) -> list[Row]:
    """The job's predictions at the provider."""
    attempts = {
        str(row["id"])
        for row in database.run(
            "select a.id from private.photo_attempts as a inner join public.photo_job_items as i on i.id = a.item_id "
            "where i.job_id = %s",
            job["id"],
        )
    }
    return [one for one in control.predictions() if any(attempt in str(one.get("webhook")) for attempt in attempts)]


def right(database: Database) -> None:
    assert database.audit() == []


def test_studio_60_61_each_photo_by_itself(
    person: Person, media: tuple[Person, list[str]], control: StudioControl, database: Database
) -> None:
    for plan in ({}, {"result": "flagged"}, {"result": "failed"}, {"output": "broken"}, {"output": "none"}, {}):
        control.plan(**plan)
    job = create_job(person, media[1])
    until(lambda: not {"queued", "sent", "unknown"} & set(statuses(database, job)), "all verdicts", 90)
    found = items(database, job)
    assert sorted(status for status, _ in found) == ["failed"] * 4 + ["succeeded"] * 2
    failures = sorted(str(failure) for status, failure in found if status == "failed")
    assert failures == ["output_unreadable", "provider_failed", "provider_failed", "refused"]
    assert balance(person) == (START - 2 * PRICE, 0, 0)
    assert settled(database, job) == 6
    costs = database.value(
        "select count(a.cost_micros) from private.photo_attempts as a inner join public.photo_job_items as i "
        "on i.id = a.item_id where i.job_id = %s",
        job["id"],
    )
    assert costs == 6, "what each attempt costs the platform is known"
    right(database)


def test_studio_62_a_create_call_without_an_answer_is_adopted(
    person: Person, media: tuple[Person, list[str]], control: StudioControl, database: Database
) -> None:
    # Not even its webhooks come, which would do.
    control.plan(until_told=True, webhook="lost")
    control.fault("POST /v1/predictions", "cut_after")
    job = create_job(person, media[1][:1])
    becomes(database, job, "unknown")
    assert balance(person) == (START - PRICE, PRICE, 0), "nothing is given back before it is known"
    checked(database, job, "sent")
    assert len(of(control, database, job)) == 1
    control.finish(ref_of(database, job))
    checked(database, job, "succeeded")
    assert balance(person) == (START - PRICE, 0, 0)
    right(database)


def test_studio_62_65_at_the_deadline_the_customer_wins_and_a_late_picture_is_not_charged(
    person: Person, media: tuple[Person, list[str]], control: StudioControl, database: Database
) -> None:
    control.plan(until_told=True, ignores_deadline=True)
    job = create_job(person, media[1][:1])
    becomes(database, job, "sent")
    ref = ref_of(database, job)
    database.run("update public.photo_job_items set sent_at = now() - interval '25 hours' where job_id = %s", job["id"])
    checked(database, job, "failed")
    assert items(database, job) == [("failed", "timed_out")]
    assert balance(person) == (START, 0, 0)
    assert database.value("select count(*) from public.audit_log where action = 'photo_timed_out'") >= 1
    control.finish(ref)
    until(
        lambda: database.value("select is_late from private.photo_attempts where provider_ref = %s", ref),
        "the late answer to be noted",
        60,
    )
    assert balance(person) == (START, 0, 0)
    assert database.value("select cost_micros is not null from private.photo_attempts where provider_ref = %s", ref)
    until(
        lambda: (
            run_job(database, "expire_media")
            or not database.value(
                "select count(*) from public.media as m where m.purpose = 'photo_result' and not exists ("
                "select from public.photo_job_items as i where i.result_media_id = m.id)"
            )
        ),
        "the picture nobody paid for to be gone",
        30,
    )
    right(database)


def test_studio_63_webhook_and_poller_at_once_settle_once(
    person: Person, media: tuple[Person, list[str]], control: StudioControl, database: Database
) -> None:
    control.plan(until_told=True, webhook="twice", times=3)
    job = create_job(person, media[1][:3])
    becomes(database, job, "sent", "sent", "sent")
    until(lambda: len(of(control, database, job)) == 3, "three predictions", 30)
    with ThreadPoolExecutor(8) as pool:
        ends = [pool.submit(control.finish, one["id"]) for one in of(control, database, job)]
        polls = [pool.submit(check, database) for _ in range(5)]
        for each in (*ends, *polls):
            each.result()
    becomes(database, job, "succeeded", "succeeded", "succeeded")
    assert settled(database, job) == 3
    assert balance(person) == (START - 3 * PRICE, 0, 0)
    right(database)


def test_studio_66_a_lost_webhook_is_polled_and_a_lost_output_is_given_back(
    person: Person, media: tuple[Person, list[str]], control: StudioControl, database: Database
) -> None:
    control.plan(webhook="lost")
    job = create_job(person, media[1][:1])
    ref_of(database, job)
    checked(database, job, "succeeded")
    control.plan(webhook="lost", until_told=True)
    lost = create_job(person, media[1][:1], "warmer")
    control.finish(ref_of(database, lost))
    control.move_clock(3700)
    checked(database, lost, "failed")
    assert items(database, lost) == [("failed", "output_gone")]
    assert balance(person) == (START - PRICE, 0, 0)
    right(database)


def test_studio_67_a_webhook_before_the_answer_and_a_forged_one(
    person: Person,
    media: tuple[Person, list[str]],
    control: StudioControl,
    database: Database,
    services: Services,
) -> None:
    control.plan(early=True)
    job = create_job(person, media[1][:1])
    becomes(database, job, "succeeded")
    control.plan(webhook="forged", until_told=True)
    forged = create_job(person, media[1][:1], "cooler")
    control.finish(ref_of(database, forged))
    until(lambda: any("400" in str(one["responses"]) for one in control.deliveries()), "forged ones to be refused", 30)
    checked(database, forged, "succeeded")
    assert httpx.post(f"{services.url}/webhooks/studio", content=b"{}").status_code == 400
    assert balance(person) == (START - 2 * PRICE, 0, 0)
    right(database)


def test_studio_68_what_was_never_created_is_sent_again_and_a_busy_provider_is_waited_for(
    person: Person, media: tuple[Person, list[str]], control: StudioControl, database: Database
) -> None:
    control.fault("POST /v1/predictions", "cut")
    job = create_job(person, media[1][:1])
    becomes(database, job, "unknown")

    def is_so() -> bool:
        check(database)
        database.run("update public.photo_job_items set available_at = now() where status = 'queued'")
        return statuses(database, job) == ["succeeded"]

    until(is_so, "a second attempt", 60)
    assert len(of(control, database, job)) == 1
    assert database.value(
        "select array_agg(a.verdict order by a.no) from private.photo_attempts as a "
        "inner join public.photo_job_items as i on i.id = a.item_id where i.job_id = %s",
        job["id"],
    ) == ["not_sent", "succeeded"]
    control.fault("POST /v1/predictions", "error", status=429, headers={"retry-after": "1"})
    busy = create_job(person, media[1][:1], "sharper")

    def sent() -> bool:
        database.run("update public.photo_job_items set available_at = now() where status = 'queued'")
        return statuses(database, busy) == ["succeeded"]

    until(sent, "the provider to take it", 60)
    assert balance(person) == (START - 2 * PRICE, 0, 0)
    right(database)


@pytest.mark.parametrize(
    "fault",
    [
        {"match": "POST /v1/predictions", "mode": "hang_after"},
        {"match": "POST /v1/predictions", "mode": "hang"},
        {"match": "GET /files/*", "mode": "hang"},
        {"match": "GET /v1/predictions/*", "mode": "hang"},
    ],
    ids=["created, not answered", "not created", "while the output is read", "while it is asked"],
)
def test_kill_9_of_the_worker_loses_and_doubles_nothing(
    person: Person,
    media: tuple[Person, list[str]],
    control: StudioControl,
    database: Database,
    services: Services,
    fault: Row,
) -> None:
    control.fault(**fault)
    job = create_job(person, media[1][:2])
    if fault["match"].startswith("POST"):
        until(lambda: "sent" in statuses(database, job), "an attempt", 30)
    else:
        ref_of(database, job)
    services.kill("jobs")
    control.clear_faults()
    services.start(["jobs"])

    def over() -> bool:
        check(database)
        database.run("update public.photo_job_items set available_at = now() where status = 'queued'")
        return statuses(database, job) == ["succeeded", "succeeded"]

    until(over, "both photos", 90)
    assert settled(database, job) == 2
    assert len([one for one in of(control, database, job) if one["status"] == "succeeded"]) == 2
    assert balance(person) == (START - 2 * PRICE, 0, 0)
    right(database)
