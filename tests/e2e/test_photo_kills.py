"""kill -9 where a photo's picture is stored but not settled, while its file is stored, while the provider calls;
and what the provider may read of a photo, for how long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import httpx
import jwt
import pytest

from stack.services import Services
from stack.simulator.studio_control import StudioControl
from tests.e2e.test_media_faults import locked, stored
from tests.e2e.test_photo_faults import (
    Row,
    becomes,
    checked,
    items,
    of,
    ref_of,
    right,
    settled,
    statuses,
)
from tests.e2e.test_photo_jobs import PRICE, balance, create_job, downloaded, photos
from tests.harness.fixtures import running
from tests.harness.market import run_job
from tests.harness.people import Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until

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


@pytest.fixture
def person(sign_up: SignUp, database: Database) -> Person:
    who = sign_up()
    database.run("select private.grant_lot(%s, 'bonus', %s, null)", who.id, START)
    return who


def test_kill_9_between_the_stored_picture_and_its_verdict(
    person: Person, control: StudioControl, database: Database, services: Services
) -> None:
    control.plan(until_told=True, webhook="lost")
    job = create_job(person, photos(person, 1))
    control.finish(ref_of(database, job))
    # Whoever settles waits for the credits, when the picture is published already.
    held_by = f"select from private.credit_balances where user_id = '{person.id}' for update"
    with locked(database, services, statement=held_by) as waits:
        database.run("update private.photo_attempts set checked_at = now() - interval '1 hour' where ended_at is null")
        database.run("select private.enqueue('check_photos', '{}')")
        until(waits, "the verdict to wait", 60)
        services.kill("jobs")
    assert statuses(database, job) == ["sent"]
    services.start(["jobs"])
    checked(database, job, "succeeded")
    assert settled(database, job) == 1
    assert balance(person) == (START - PRICE, 0, 0)
    nobodys = (
        "select count(*) from public.media as m where m.owner_id = %s and m.purpose = 'photo_result' and not exists "
    )
    nobodys += "(select from public.photo_job_items as i where i.result_media_id = m.id)"
    assert database.value(nobodys + " and m.expires_at is null", person.id) == 0, "what the dead one published ends"
    database.run("update public.media set expires_at = expires_at - interval '25 hours' where owner_id = %s", person.id)
    run_job(database, "expire_media")
    until(lambda: database.value(nobodys, person.id) == 0, "what the dead one published to go")
    right(database)


def test_kill_9_while_the_file_is_stored(
    person: Person, control: StudioControl, database: Database, services: Services
) -> None:
    trap = partial(stored, event="insert", condition="new.bucket_id = 'archives'")
    with trap(database, services) as waits:
        job = create_job(person, photos(person, 2))
        checked(database, job, "succeeded", "succeeded")
        until(waits, "the file to be stored", 60)
        services.kill("jobs")
    services.start(["jobs"])
    # Nobody is at it any more: it is begun again after half an hour.
    database.run(
        "update public.photo_jobs set archive_asked_at = now() - interval '31 minutes' where id = %s", job["id"]
    )
    run_job(database, "build_archives")
    with downloaded(person, job["id"]) as file:
        assert len(file.namelist()) == 2
        assert file.testzip() is None
    run_job(database, "expire_photo_jobs")
    files = "select count(*) from storage.objects where bucket_id = 'archives' and name like %s"
    until(lambda: database.value(files, f"{job['id']}/%") == 1, "what the dead one stored to go")
    right(database)


def test_studio_66_webhooks_of_a_restart_are_made_up_by_polling(
    person: Person, control: StudioControl, database: Database, services: Services
) -> None:
    control.plan(until_told=True)
    job = create_job(person, photos(person, 1))
    ref = ref_of(database, job)
    services.kill("http")
    control.finish(ref)
    checked(database, job, "succeeded")
    services.start(["http"])
    assert settled(database, job) == 1
    assert balance(person) == (START - PRICE, 0, 0)
    right(database)


def test_studio_69_the_link_outlives_the_deadline_and_ends_with_the_object(
    person: Person, control: StudioControl, database: Database
) -> None:
    control.plan(until_told=True)
    (photo,) = photos(person, 1)
    # Signed when it is sent, not when the job is made.
    made = datetime.now(UTC)
    job = create_job(person, [photo])
    ref_of(database, job)
    (prediction,) = of(control, database, job)
    link = str(prediction["input"]["image"]).split("#")[0]
    until_when = jwt.decode(httpx.URL(link).params["token"], options={"verify_signature": False})["exp"]
    deadline: datetime = database.value(
        "select a.deadline_at from private.photo_attempts as a "
        "inner join public.photo_job_items as i on i.id = a.item_id where i.job_id = %s",
        job["id"],
    )
    assert (deadline - made).total_seconds() == pytest.approx(24 * 3600, abs=120)
    assert until_when >= deadline.timestamp() + 3000
    assert until_when <= time.time() + 26 * 3600
    assert httpx.get(link).status_code == 200
    control.finish(prediction["id"])
    becomes(database, job, "succeeded")
    database.run("update public.media set expires_at = now() where id = %s", photo)
    run_job(database, "expire_media")
    until(lambda: httpx.get(link).status_code >= 400, "the link to be dead with its object", 30)


def test_studio_68_what_each_attempt_costs_is_known_whatever_came_of_it(
    person: Person, control: StudioControl, database: Database
) -> None:
    for plan in ({}, {"result": "failed"}, {"result": "flagged"}, {"output": "broken"}):
        control.plan(**plan)
    job = create_job(person, photos(person, 4))
    until(lambda: not {"queued", "sent", "unknown"} & set(statuses(database, job)), "verdicts", 60)
    rows: list[Row] = database.run(
        "select a.provider, a.provider_ref, a.verdict, a.cost_micros from private.photo_attempts as a "
        "inner join public.photo_job_items as i on i.id = a.item_id where i.job_id = %s",
        job["id"],
    )
    assert len(rows) == 4
    assert all(row["provider"] == "http" and row["provider_ref"] and row["cost_micros"] is not None for row in rows)
    assert sum(status == "succeeded" for status, _ in items(database, job)) == 1
    right(database)


def test_an_account_deleted_while_the_provider_works_leaves_no_picture(
    person: Person, control: StudioControl, database: Database, services: Services
) -> None:
    control.plan(until_told=True)
    job = create_job(person, photos(person, 1))
    ref = ref_of(database, job)
    headers = {"apikey": services.secret_key}
    assert httpx.delete(f"{services.url}/auth/v1/admin/users/{person.id}", headers=headers).status_code == 200
    control.finish(ref)
    checked(database, job, "failed")
    assert items(database, job) == [("failed", "canceled")]
    until(lambda: not database.value("select count(*) from public.media where owner_id = %s", person.id), "none", 60)
    known = "select count(*) from storage.objects as o where o.bucket_id = 'studio' and not exists (select from "
    known += "public.media as m where starts_with(o.name, m.id::text))"
    until(lambda: not database.value(known), "no file of anybody who is gone", 60)
    run_job(database, "expire_credits")
    right(database)


def test_studio_78_what_the_provider_did_not_take_can_be_cancelled_and_its_account_deleted(
    person: Person, control: StudioControl, database: Database, services: Services
) -> None:
    control.fault("POST /v1/predictions", "error", status=429, times=50)
    media = photos(person, 2)
    job, other = create_job(person, media), create_job(person, media[:1])
    tried = "select count(*) from private.photo_attempts as a where a.verdict = 'not_sent' and exists (select from "
    tried += "public.photo_job_items as i where i.id = a.item_id and i.job_id = %s and i.status = 'queued')"
    until(lambda: database.value(tried, job["id"]) >= 2 and database.value(tried, other["id"]), "all to be tried", 60)
    services.kill("jobs")
    answer = person.api.rpc("cancel_photo_job", job_id=job["id"])
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled"), answer.text
    assert balance(person) == (START - PRICE, PRICE, 0), "at once, and what the other job holds stays"
    headers = {"apikey": services.secret_key}
    assert httpx.delete(f"{services.url}/auth/v1/admin/users/{person.id}", headers=headers).status_code == 200
    assert statuses(database, other) == ["returned"]
    control.clear_faults()
    services.start(["jobs"])
    run_job(database, "expire_credits")
    right(database)
