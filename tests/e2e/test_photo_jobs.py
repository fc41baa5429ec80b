"""The photo studio as a client meets it: a pack bought, photos worked on by the built-in provider, who sees what.

What a verdict does to credits is tested in SQL (supabase/tests/studio), a provider that misbehaves in
test_photo_faults.
"""

from __future__ import annotations

import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from stack.services import Services
from tests.e2e.test_media import picture, refusal
from tests.harness.market import Simulator, assert_books, buy, drain, order, run_job, start, wait_for_order
from tests.harness.people import Api, Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until
from tests.media import pictures

Row = dict[str, Any]
PACK = "a7e0e000-0000-4000-8000-000000002000"
PRICE = 500


@pytest.fixture(scope="module")
def customer(sign_up: SignUp, simulator: Simulator) -> Person:
    """Somebody with a pack of 2,000 and its bonus of 400."""
    person = sign_up(username="studio-customer")
    buy(simulator, person, PACK)
    return person


@pytest.fixture(scope="module")
def stranger(sign_up: SignUp) -> Person:
    return sign_up(username="studio-stranger")


def photos(who: Person, count: int) -> list[str]:
    """Pictures that were uploaded and looked at; their ids."""
    made = [picture(who, pictures.saved(pictures.photo(seed), "JPEG"), "photo_input") for seed in range(count)]
    assert {row["status"] for row in made} == {"ready"}
    return [str(row["id"]) for row in made]


def create_job(who: Person, media: list[str], prompt: str = "brighter, on white", **more: Any) -> Row:
    answer = who.api.rpc("create_photo_job", prompt=prompt, media_ids=media, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def finished(who: Person, job_id: str) -> Row:
    def row() -> Row | None:
        found = who.api.one("photo_jobs", id=f"eq.{job_id}", select="*,photo_job_items(*)")
        return found if found["finished_at"] else None

    return until(row, f"job {job_id}", 90)


def balance(who: Person) -> tuple[int, int, int]:
    found = who.api.rpc("credit_balance").json()
    return found["available_cents"], found["held_cents"], found["debt_cents"]


def archive(who: Person, job_id: str) -> httpx.Response:
    return who.api.http.get(f"/functions/v1/photo-jobs/{job_id}/archive")


def downloaded(who: Person, job_id: str) -> zipfile.ZipFile:
    link = until(lambda: (found := archive(who, job_id)).status_code == 200 and found.json(), "the archive", 60)
    answer = httpx.get(link["url"])
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == link["size_bytes"]
    return zipfile.ZipFile(BytesIO(answer.content))


def erase(services: Services, bucket: str, path: str) -> None:
    """As an operator would: the object is gone, its row stays."""
    headers = {"apikey": services.secret_key}
    answer = httpx.request(
        "DELETE", f"{services.url}/storage/v1/object/{bucket}", json={"prefixes": [path]}, headers=headers
    )
    assert answer.status_code == 200, answer.text


def test_a_pack_a_job_and_its_file(
    customer: Person, stranger: Person, anon: Api, database: Database, simulator: Simulator, services: Services
) -> None:
    media = photos(customer, 3)
    assert balance(customer) == (2400, 0, 0)
    job = create_job(customer, media, group_name="Flat 3", client_key="first")
    assert (job["photo_count"], job["cost_cents"], job["status"]) == (3, 3 * PRICE, "pending")
    ended = finished(customer, job["id"])
    assert (ended["status"], ended["succeeded_count"], ended["captured_cents"]) == ("completed", 3, 3 * PRICE)
    assert balance(customer) == (2400 - 3 * PRICE, 0, 0)

    # Each result is a picture of the customer's own, in a private bucket.
    items = sorted(ended["photo_job_items"], key=lambda item: item["position"])
    assert [item["input_media_id"] for item in items] == media
    result = customer.api.one("media", id=f"eq.{items[0]['result_media_id']}")
    assert (result["purpose"], result["status"], result["bucket"]) == ("photo_result", "ready", "studio")
    link = customer.api.http.get(f"/functions/v1/media/{result['id']}/full").json()
    made = Image.open(BytesIO(httpx.get(link["url"]).content))
    assert made.format == "WEBP"

    # 76: one file, its names unique and harmless whatever the uploads were called.
    with downloaded(customer, job["id"]) as file:
        assert file.testzip() is None
        names = file.namelist()
        assert len(names) == 3
        assert [name[:3] for name in names] == ["01_", "02_", "03_"]
        assert {Image.open(BytesIO(file.read(name))).format for name in names} == {"WEBP"}

    # A stranger, and a visitor, have no way to any of it.
    for nosy in (stranger.api, anon):
        for table in ("photo_jobs", "photo_job_items", "credit_lots"):
            answer = nosy.http.get(f"/rest/v1/{table}")
            assert answer.status_code in (401, 403) or answer.json() == [], (table, answer.text)
        for row in (result, *({"id": one, "bucket": "studio", "derivatives": {}} for one in media)):
            assert (
                nosy.http.get("/rest/v1/media", params={"id": f"eq.{row['id']}"}).json() in ([], None) or nosy is anon
            )
            assert nosy.http.get(f"/functions/v1/media/{row['id']}/full").status_code in (401, 404)
        for copy in result["derivatives"].values():
            for kind in ("", "authenticated/", "public/"):
                answer = nosy.http.get(f"/storage/v1/object/{kind}studio/{copy['path']}")
                assert answer.status_code >= 400, (kind, copy)
            assert (
                nosy.http.post(f"/storage/v1/object/sign/studio/{copy['path']}", json={"expiresIn": 60}).status_code
                >= 400
            )
    path = database.value("select archive_path from public.photo_jobs where id = %s", job["id"])
    for nosy in (stranger.api, anon, customer.api):
        assert nosy.http.get(f"/storage/v1/object/archives/{path}").status_code >= 400
        listed = nosy.http.post("/storage/v1/object/list/archives", json={"prefix": ""})
        assert listed.status_code >= 400 or listed.json() == []
    assert (archive(stranger, job["id"]).status_code, archive(stranger, job["id"]).json()["code"]) == (
        404,
        "photo_job_not_found",
    )
    assert anon.http.get(f"/functions/v1/photo-jobs/{job['id']}/archive").status_code == 401
    for name in ("cancel_photo_job", "retry_photo_job", "photo_queue_position", "photo_job_statement"):
        assert refusal(stranger.api.rpc(name, job_id=job["id"])) == (404, "photo_job_not_found")
    drain(database, simulator)
    assert_books(database, simulator)


def test_studio_59_twenty_tabs_make_one_job_and_one_charge(
    sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    person = sign_up()
    buy(simulator, person, PACK)
    media = photos(person, 2)
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda _: person.api.rpc("create_photo_job", prompt="warmer", media_ids=media, client_key="one"),
                range(20),
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    # Without a key each is a job of its own, for as long as there are credits.
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda _: person.api.rpc("create_photo_job", prompt="warmer", media_ids=media[:1]), range(20))
        )
    made = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    assert len(made) == 2
    assert {refusal(answer) for answer in answers if answer.status_code != 200} == {(402, "insufficient_credits")}
    for job in made:
        finished(person, job)
    until(lambda: balance(person) == (400, 0, 0), "all of them to be spent", 60)
    drain(database, simulator)
    assert_books(database, simulator)


def test_studio_61_an_input_that_is_gone_fails_alone_and_costs_nothing(
    customer: Person, database: Database, services: Services, simulator: Simulator
) -> None:
    before = balance(customer)
    media = photos(customer, 2)
    services.kill("jobs")
    try:
        job = create_job(customer, media[:1])
        path = database.value("select derivatives -> 'full' ->> 'path' from public.media where id = %s", media[0])
        (services.root / "files").joinpath("studio").exists()
        erase(services, "studio", path)
    finally:
        services.start(["jobs"])
    ended = finished(customer, job["id"])
    (item,) = ended["photo_job_items"]
    assert (ended["status"], item["status"], item["failure"]) == ("failed", "failed", "input_gone")
    assert balance(customer) == before
    # The other picture is not touched by it.
    assert finished(customer, create_job(customer, media[1:])["id"])["status"] == "completed"
    drain(database, simulator)
    assert_books(database, simulator)


def test_studio_78_demo_jobs_are_seen_by_everybody_signed_in(
    admin: Person, stranger: Person, anon: Api, database: Database
) -> None:
    answer = admin.api.rpc("create_demo_job", prompt="square", media_ids=photos(admin, 1))
    assert answer.status_code == 200, answer.text
    ended = finished(stranger, answer.json()["id"])
    assert (ended["status"], ended["cost_cents"], ended["is_demo"]) == ("completed", 0, True)
    item = ended["photo_job_items"][0]["id"]
    link = stranger.api.http.get(f"/functions/v1/demo-photos/{item}")
    assert link.status_code == 200, link.text
    assert Image.open(BytesIO(httpx.get(link.json()["url"]).content)).format == "WEBP"
    assert anon.http.get(f"/functions/v1/demo-photos/{item}").status_code == 401
    with downloaded(stranger, ended["id"]) as file:
        assert len(file.namelist()) == 1


def test_another_members_photo_is_no_demo(customer: Person, stranger: Person, database: Database) -> None:
    database.run("select private.grant_lot(%s, 'bonus', 500, null)", customer.id)
    job = finished(customer, create_job(customer, photos(customer, 1))["id"])
    item = job["photo_job_items"][0]["id"]
    for who in (customer, stranger):
        answer = who.api.http.get(f"/functions/v1/demo-photos/{item}")
        assert (answer.status_code, answer.json()["code"]) == (404, "photo_job_not_found")
    answer = stranger.api.http.get(f"/functions/v1/demo-photos/{uuid4()}")
    assert (answer.status_code, answer.json()["code"]) == (404, "photo_job_not_found")


def test_a_deleted_account_leaves_no_picture(
    sign_up: SignUp, database: Database, services: Services, simulator: Simulator
) -> None:
    person = sign_up()
    buy(simulator, person, PACK)
    job = create_job(person, photos(person, 2))
    finished(person, job["id"])
    downloaded(person, job["id"]).close()
    headers = {"apikey": services.secret_key}
    assert httpx.delete(f"{services.url}/auth/v1/admin/users/{person.id}", headers=headers).status_code == 200
    until(
        lambda: not database.value("select count(*) from public.media where owner_id = %s", person.id),
        "the pictures to be erased",
        60,
    )
    run_job(database, "expire_photo_jobs")
    until(
        lambda: (
            not database.value(
                "select count(*) from storage.objects where bucket_id in ('studio', 'archives') and ("
                "name like %s or not exists (select from public.media as m where name like m.id || '/%%') "
                "and bucket_id = 'studio')",
                f"{job['id']}/%",
            )
        ),
        "no file of them",
        60,
    )
    assert database.value("select prompt from public.photo_jobs where id = %s", job["id"]) is None
    run_job(database, "expire_credits")
    drain(database, simulator)
    assert_books(database, simulator)


def test_studio_57_58_a_pack_by_the_providers_page_is_granted_once(
    sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    person = sign_up()
    ordered = order(person, PACK, idempotency_key="pack")
    assert order(person, PACK, idempotency_key="pack")["order_id"] == ordered["order_id"]
    simulator.confirm(start(person, ordered)["client_secret"])
    wait_for_order(person, ordered["order_id"])
    simulator.deliver(order="random", times=3)
    drain(database, simulator)
    assert balance(person) == (2400, 0, 0)
    assert_books(database, simulator)


def test_trial_once(sign_up: SignUp, database: Database) -> None:
    address = f"trial-{uuid4().hex[:8]}@example.com"
    person = sign_up(address)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: person.api.rpc("claim_trial"), range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    assert balance(person) == (500, 0, 0)
    assert database.audit() == []
