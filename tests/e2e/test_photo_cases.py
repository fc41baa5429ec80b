"""Cases of the studio that need a whole stack: what is bought once however it is confirmed, credits that end while they
are spent, one trial for a person, links and files of finished jobs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from stack.services import Services
from tests.e2e.test_media import refusal
from tests.e2e.test_photo_jobs import PACK, archive, balance, create_job, downloaded, finished, photos
from tests.harness.market import Simulator, assert_books, drain, order, run_job
from tests.harness.people import Person, SignUp
from tests.harness.server import Database
from tests.harness.together import together
from tests.harness.waiting import until
from tests.media import pictures

PAGES = {"success_url": "https://shop.example/paid", "cancel_url": "https://shop.example/cart"}


@pytest.fixture(scope="module")
def customer(sign_up: SignUp, database: Database) -> Person:
    person = sign_up(username="studio-cases")
    database.run("select private.grant_lot(%s, 'bonus', 20000, null)", person.id)
    return person


def claims(url: str) -> dict[str, Any]:
    """What a signed link says of itself."""
    token = httpx.URL(url).params["token"]
    return jwt.decode(token, options={"verify_signature": False})


def test_studio_57_58_a_pack_on_the_providers_page_is_granted_once_by_whoever_comes_first(
    sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    person = sign_up()
    ordered = order(person, PACK, idempotency_key="a pack")
    path = f"payments/{ordered['payment_id']}"
    session = person.api.function("POST", f"{path}/session", PAGES).json()
    again = order(person, PACK, idempotency_key="a pack")
    assert again["payment_id"] == ordered["payment_id"], "one open purchase of a buyer and key"
    assert person.api.function("POST", f"{path}/session", PAGES).json()["session_id"] == session["session_id"]

    done = simulator.pay_session(session["session_id"], "pm_usBankAccount_processing")
    drain(database, simulator)
    answer = person.api.function("POST", f"{path}/confirm").json()
    assert (answer["order_status"], answer["payment_status"]) == ("pending", "processing")
    assert balance(person) == (0, 0, 0), "complete but unpaid grants nothing"

    # The money comes: the event, told three times, and twenty tabs at once.
    simulator.hold()
    simulator.finish_payment(done["payment_intent"])
    confirm: Callable[[], Any] = lambda: person.api.function("POST", f"{path}/confirm").json()  # noqa: E731
    answers = together([*([confirm] * 20), simulator.release])[:20]
    assert {each["order_status"] for each in answers} == {"completed"}
    simulator.deliver(order="random", times=3)
    drain(database, simulator)
    assert balance(person) == (2400, 0, 0)
    assert [lot["amount_cents"] for lot in person.api.select("credit_lots", order="amount_cents")] == [400, 2000]
    run_job(database, "read_missing_fees")
    assert_books(database, simulator)


def test_studio_70_an_end_that_races_spending_takes_from_its_own_lot_only(sign_up: SignUp, database: Database) -> None:
    person = sign_up()
    media = photos(person, 1)
    lot = "select (private.grant_lot(%s, 'bonus', %s, now() + %s::interval)).id"
    endless = database.value(lot, person.id, 20000, None)
    for _ in range(3):
        before = person.api.one("credit_lots", id=f"eq.{endless}")
        ending = database.value(lot, person.id, 3000, "400 milliseconds")

        def spend() -> int:
            return person.api.rpc("create_photo_job", prompt="warmer", media_ids=media).status_code

        def end() -> int:
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                database.run("select private.expire_credits(100)")
            return 200

        assert set(together([*([spend] * 10), end, end])) == {200}, "there is enough without what ends"
        kept = person.api.one("credit_lots", id=f"eq.{endless}")
        ended = person.api.one("credit_lots", id=f"eq.{ending}")
        assert kept["expired_cents"] == 0, "what has no end does not"
        assert ended["remaining_cents"] == 0, "what has ended cannot be spent"
        spent = before["remaining_cents"] - kept["remaining_cents"]
        assert spent + 3000 - ended["expired_cents"] == 10 * 500, "each photo is paid for once"
        assert database.audit() == []
        for job in person.api.select("photo_jobs", finished_at="is.null"):
            finished(person, job["id"])


def test_studio_70_what_is_spent_in_the_last_moment_does_not_end(sign_up: SignUp, database: Database) -> None:
    person = sign_up()
    media = photos(person, 1)
    lot = database.value("select (private.grant_lot(%s, 'bonus', 3000, now() + interval '1 second')).id", person.id)
    # A job is being made when the lot ends, and the sweep comes before it is committed.
    with database.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute("begin")
        connection.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', 'authenticated', true)",
            [json.dumps({"sub": person.id, "role": "authenticated"})],
        )
        connection.execute("select public.create_photo_job('warmer', %s::uuid[])", [media])
        until(
            lambda: database.value("select expires_at <= now() from public.credit_lots where id = %s", lot), "its end"
        )
        sweep = pool.submit(database.value, "select private.expire_credits(100)")
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%expire_credits%'"
        until(lambda: database.value(waits + " and pid <> pg_backend_pid()"), "the sweep to wait")
        connection.execute("commit")
        assert sweep.result(30) == 1
    job = person.api.one("photo_jobs")["id"]
    assert finished(person, job)["status"] == "completed"
    ended = person.api.one("credit_lots", id=f"eq.{lot}")
    assert (ended["captured_cents"], ended["expired_cents"], ended["remaining_cents"]) == (500, 2500, 0)
    assert database.audit() == []


def test_studio_75_a_linked_identity_has_one_trial_and_no_account_is_remembered(
    sign_up: SignUp, database: Database, services: Services
) -> None:
    identity = uuid4().hex

    def linked() -> Person:
        person = sign_up()
        database.run(
            "insert into auth.identities (id, user_id, provider, provider_id, identity_data) "
            "values (gen_random_uuid(), %s, 'google', %s, '{}')",
            *(person.id, identity),
        )
        return person

    first = linked()
    assert first.api.rpc("claim_trial").status_code == 200
    headers = {"apikey": services.secret_key}
    assert httpx.delete(f"{services.url}/auth/v1/admin/users/{first.id}", headers=headers).status_code == 200
    assert refusal(linked().api.rpc("claim_trial")) == (409, "trial_used")
    remembered = database.value("select string_agg(t::text, ' ') from private.trials as t")
    assert first.id not in remembered
    assert first.email not in remembered
    assert sign_up().api.rpc("claim_trial").status_code == 200, "somebody else has theirs"


def test_studio_76_a_file_that_is_not_there_says_so(customer: Person, database: Database, services: Services) -> None:
    media = photos(customer, 1)
    services.kill("jobs")
    try:
        job = create_job(customer, media)
        waiting = archive(customer, job["id"])
    finally:
        services.start(["jobs"])
    assert (waiting.status_code, waiting.json()["code"], waiting.json()["detail"]) == (
        *(409, "archive_not_ready", "pending"),
    )
    finished(customer, job["id"])
    downloaded(customer, job["id"]).close()
    database.run("update public.photo_jobs set expires_at = now() where id = %s", job["id"])
    run_job(database, "expire_photo_jobs")
    over = archive(customer, job["id"])
    assert (over.status_code, over.json()["code"], over.json()["detail"]) == (409, "archive_not_ready", "completed")


def test_studio_76_uploads_of_one_name_are_told_apart(customer: Person) -> None:
    media = []
    for seed, name in enumerate(("Scan.jpg", "scan.JPG", f"{uuid4().hex}/Scan.jpg")):
        path = f"{customer.id}/{name}"
        data = pictures.saved(pictures.photo(seed + 60), "JPEG")
        customer.client.storage.from_("uploads").upload(path, data, {"content-type": "image/jpeg"})
        media.append(customer.api.rpc("create_media", path=path, purpose="photo_input").json()["id"])
    until(lambda: len(customer.api.select("media", id=f"in.({','.join(media)})", status="eq.ready")) == 3, "photos")
    job = create_job(customer, media)
    finished(customer, job["id"])
    with downloaded(customer, job["id"]) as file:
        assert file.namelist() == ["01_Scan.webp", "02_scan.webp", "03_Scan.webp"]
        assert file.testzip() is None
        assert len({file.read(name) for name in file.namelist()}) == 3


def test_studio_76_a_changed_picture_makes_no_file_that_does_not_open(
    customer: Person, database: Database, services: Services
) -> None:
    job = create_job(customer, photos(customer, 2))
    items = finished(customer, job["id"])["photo_job_items"]
    downloaded(customer, job["id"]).close()
    path = database.value(
        "select derivatives -> 'full' ->> 'path' from public.media where id = %s", items[0]["result_media_id"]
    )
    address = f"{services.url}/storage/v1/object/studio/{path}"
    headers = {"apikey": services.secret_key, "x-upsert": "true", "content-type": "image/webp"}
    assert httpx.put(address, content=b"somebody else's", headers=headers).status_code == 200
    database.run("update public.photo_jobs set archive_path = null, archive_asked_at = null where id = %s", job["id"])
    run_job(database, "build_archives")
    asked = "select archive_asked_at is not null and archive_path is null from public.photo_jobs where id = %s"
    assert database.value(asked, job["id"])
    assert archive(customer, job["id"]).status_code == 409


def test_studio_77_links_live_for_minutes_and_each_version_has_its_own_path(
    customer: Person, database: Database
) -> None:
    job = create_job(customer, photos(customer, 1))
    item = finished(customer, job["id"])["photo_job_items"][0]
    downloaded(customer, job["id"]).close()
    picture = customer.api.function("GET", f"media/{item['result_media_id']}/full").json()
    file = archive(customer, job["id"]).json()
    for link in (picture, file):
        found = claims(link["url"])
        assert 0 < found["exp"] - time.time() <= link["expires_in"] == 300
        assert httpx.get(link["url"].split("?")[0]).status_code >= 400, "not without its token"
    kept = "select archive_path from public.photo_jobs where id = %s"
    first = database.value(kept, job["id"])
    assert len(first.removesuffix(".zip").split("/")[1]) == 32
    database.run("update public.photo_jobs set archive_path = null, archive_asked_at = null where id = %s", job["id"])
    run_job(database, "build_archives")
    until(lambda: database.value(kept, job["id"]), "another file")
    assert database.value(kept, job["id"]) != first
    # Deleting the object is the revocation.
    run_job(database, "expire_photo_jobs")
    until(lambda: httpx.get(file["url"]).status_code >= 400, "the link to the first to be dead")
    assert downloaded(customer, job["id"]).testzip() is None


def test_studio_78_a_photo_of_somebodys_own_job_is_no_demo_photo(customer: Person, sign_up: SignUp) -> None:
    job = create_job(customer, photos(customer, 1))
    item = finished(customer, job["id"])["photo_job_items"][0]["id"]
    stranger = sign_up()
    for who, asked in ((stranger, item), (customer, item), (stranger, str(uuid4()))):
        answer = who.api.function("GET", f"demo-photos/{asked}")
        assert (answer.status_code, answer.json()["code"]) == (404, "photo_job_not_found")
