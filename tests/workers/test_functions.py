"""Downloads, onboarding, erasure: functions and jobs that talk to Storage and Connect."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime

import httpx
import jwt
import pytest

from stack.services import Services
from tests.harness.market import FILE, Simulator, buy, drain, publish_product, run_job
from tests.harness.people import Api, Person, SignUp, sign_up
from tests.harness.server import Database

ONBOARD = {"return_url": "https://shop.example/done", "refresh_url": "https://shop.example/again"}


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture(scope="module")
def buyer(sign_up: SignUp) -> Person:
    return sign_up()


def token(services: Services, person: Person, **changes: object) -> str:
    now = int(time.time())
    claims = {"sub": person.id, "aud": "authenticated", "role": "authenticated", "exp": now + 600, **changes}
    return jwt.encode(claims, services.jwt_secret, "HS256")


# -- downloads --------------------------------------------------------------------------------------------------------


def test_a_buyer_downloads_under_the_name_the_seller_gave(
    seller: Person, buyer: Person, simulator: Simulator, services: Services, database: Database
) -> None:
    product = publish_product(seller, files=("kick 1.wav", "snare & hat.wav"))
    database.run("update public.product_files set name = 'kick 100% \"loud\" ü.wav' where name = 'kick 1.wav'")
    buy(simulator, buyer, product)
    answer = buyer.api.function("GET", f"downloads/{product}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    files = answer.json()["files"]
    assert [(file["name"], file["size_bytes"], file["content_type"]) for file in files] == [
        ('kick 100% "loud" ü.wav', len(FILE), "audio/wav"),
        ("snare & hat.wav", len(FILE), "audio/wav"),
    ]
    for file in files:
        assert file["url"].startswith(services.url)
        left = datetime.fromisoformat(file["expires_at"]) - datetime.now(UTC)
        assert 290 < left.total_seconds() <= 300
        # The link alone must do: it goes into an <a href> or a download manager.
        got = httpx.get(file["url"])
        assert (got.status_code, got.content) == (200, FILE)
        forged = file["url"].replace(product, str(uuid.uuid4()))
        assert httpx.get(forged).status_code >= 400


def test_strangers_do_not(seller: Person, sign_up: SignUp, anon: Api) -> None:
    product = publish_product(seller)
    stranger = sign_up().api.function("GET", f"downloads/{product}")
    assert (stranger.status_code, stranger.json()["code"]) == (403, "not_entitled")
    assert anon.function("GET", f"downloads/{product}").status_code == 401
    missing = seller.api.function("GET", f"downloads/{uuid.uuid4()}")
    assert (missing.status_code, missing.json()["code"]) == (404, "item_not_found")
    assert seller.api.function("GET", "downloads/1").json()["errors"][0]["field"] == "path.item_id"


def test_a_file_that_is_gone_is_said(seller: Person, database: Database) -> None:
    product = publish_product(seller)
    database.run("update public.product_files set path = path || '.gone' where product_id = %s", product)
    answer = seller.api.function("GET", f"downloads/{product}")
    assert (answer.status_code, answer.json()["code"]) == (404, "file_missing")


# -- onboarding -------------------------------------------------------------------------------------------------------


def test_onboarding_makes_one_account(seller: Person, simulator: Simulator, database: Database) -> None:
    first = seller.api.function("POST", "payouts/onboard", ONBOARD)
    assert first.status_code == 200, first.text
    again = seller.api.function("POST", "payouts/onboard", ONBOARD).json()
    assert again["account_id"] == first.json()["account_id"]
    assert again["url"] != first.json()["url"]
    wallet = seller.api.one("wallets", user_id=f"eq.{seller.id}")
    assert wallet["stripe_account_id"] == again["account_id"]
    assert wallet["stripe_account_status"] == "pending"

    simulator.onboard(again["url"])
    simulator.complete_account(again["account_id"])
    drain(database, simulator)
    assert seller.api.one("wallets", user_id=f"eq.{seller.id}")["stripe_account_status"] == "enabled"
    simulator.disable_account(again["account_id"])
    drain(database, simulator)
    assert seller.api.one("wallets", user_id=f"eq.{seller.id}")["stripe_account_status"] == "disabled"


def test_another_destination_needs_a_fresh_login(seller: Person, services: Services, simulator: Simulator) -> None:
    now = int(time.time())
    before = seller.api.function("POST", "payouts/onboard", ONBOARD).json()["account_id"]
    for amr in (None, [{"method": "password", "timestamp": now - 86400}]):
        stale = Api(services, token(services, seller, amr=amr))
        refused = stale.function("POST", "payouts/onboard", {**ONBOARD, "change": True})
        assert (refused.status_code, refused.json()["code"]) == (403, "fresh_login_required")
    fresh = Api(services, token(services, seller, amr=[{"method": "password", "timestamp": now - 30}]))
    changed = fresh.function("POST", "payouts/onboard", {**ONBOARD, "change": True})
    assert changed.status_code == 200, changed.text
    assert changed.json()["account_id"] != before


def test_the_local_auth_server_says_when_one_signed_in(services: Services) -> None:
    """Freshness is read from amr; without it nobody could ever change a destination."""
    person = sign_up(services)
    person.api.function("POST", "payouts/onboard", ONBOARD)
    changed = person.api.function("POST", "payouts/onboard", {**ONBOARD, "change": True})
    assert changed.status_code == 200, changed.text


def test_anonymous_people_move_no_money(seller: Person, services: Services) -> None:
    anonymous = Api(services, token(services, seller, is_anonymous=True))
    for path, body in (("payouts/onboard", ONBOARD), (f"payments/{uuid.uuid4()}/start", None)):
        refused = anonymous.function("POST", path, body)
        assert (refused.status_code, refused.json()["code"]) == (403, "account_required")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"return_url": "javascript:alert(1)", "refresh_url": "https://x.example"},
        {"return_url": "ftp://x.example", "refresh_url": "https://x.example"},
        {"return_url": "https://", "refresh_url": "https://x.example"},
        {**ONBOARD, "account_id": "acct_somebody"},
        [],
        "text",
    ],
    ids=str,
)
def test_what_is_no_request_is_refused(seller: Person, body: object) -> None:
    answer = seller.api.function("POST", "payouts/onboard", body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "invalid_request"
    assert answer.json()["errors"]


def test_the_functions_describe_themselves(services: Services, anon: Api) -> None:
    document = anon.http.get("/functions/v1/openapi.json").json()
    start = document["paths"]["/functions/v1/payments/{payment_id}/start"]["post"]
    assert {"200", "401", "403", "404", "409", "422", "502", "503"} <= set(start["responses"])
    assert "application/problem+json" in start["responses"]["409"]["content"]
    assert start["security"]
    assert document["paths"]["/webhooks/stripe"]["post"]["responses"]["413"]
    assert "ProblemDetails" in document["components"]["schemas"]
    assert httpx.get(f"{services.http_url}/docs").status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/docs", "/functions/v1/metrics", "/webhooks/metrics"])
def test_operators_pages_are_not_public(anon: Api, path: str) -> None:
    assert anon.http.get(path).status_code == 404


def test_metrics(services: Services) -> None:
    text = httpx.get(f"{services.http_url}/metrics").text
    assert "avenue_database_up 1.0" in text
    assert 'avenue_webhook_events{status="pending"}' in text
    assert "avenue_http_request_seconds_bucket" in text


# -- erasure ----------------------------------------------------------------------------------------------------------


def test_files_of_a_deleted_person_are_erased(
    sign_up: SignUp, simulator: Simulator, services: Services, database: Database
) -> None:
    person, other = sign_up(), sign_up()
    for name in ("a.wav", "deep/er/b.wav", "per 100%.wav"):
        for somebody in (person, other):
            somebody.client.storage.from_("product-files").upload(f"{somebody.id}/{name}", FILE)
    # More than one batch.
    database.run(
        "insert into storage.objects (bucket_id, name) "
        "select 'product-files', %s || '/many/' || n || '.wav' from generate_series(1, 520) as n",
        person.id,
    )
    left = "select count(*) from storage.objects where name like %s"
    run_job(database, "erase_user_files", user_id=person.id)
    assert database.value(left, f"{person.id}/%") == 523, "only what a deletion asked for is erased"
    assert person.api.rpc("delete_my_account").status_code == 204
    drain(database, simulator)
    assert database.value(left, f"{person.id}/%") == 0
    assert database.value(left, f"{other.id}/%") == 3
    assert not [path for path in (services.root / "files").rglob("*") if person.id in str(path) and path.is_file()]
    assert database.value("select completed_at from private.file_erasures where user_id = %s", person.id)


def test_buyers_keep_what_a_deleted_seller_sold(sign_up: SignUp, simulator: Simulator, database: Database) -> None:
    seller, buyer = sign_up(), sign_up()
    sold, unsold = publish_product(seller), publish_product(seller)
    buy(simulator, buyer, sold)
    asked = seller.api.rpc("delete_my_account")
    assert (asked.status_code, asked.json()["hint"]) == (409, "balance_remains")
    forfeit = json.loads(asked.json()["details"])["forfeit_cents"]
    assert seller.api.rpc("delete_my_account", forfeit_cents=forfeit).status_code == 204
    drain(database, simulator)
    kept = database.run("select name from storage.objects where name like %s", f"{seller.id}/%")
    assert [row["name"].split("/")[1] for row in kept] == [sold]
    (file,) = buyer.api.function("GET", f"downloads/{sold}").json()["files"]
    assert httpx.get(file["url"]).content == FILE
    assert buyer.api.function("GET", f"downloads/{unsold}").status_code == 404


def test_a_lost_erasure_is_taken_up_again(sign_up: SignUp, database: Database) -> None:
    person = sign_up()
    person.client.storage.from_("media").upload(f"{person.id}/a.png", FILE, {"content-type": "image/png"})
    person.api.rpc("delete_my_account")
    database.run("delete from jobs.procrastinate_jobs where task_name = 'erase_user_files' and status = 'todo'")
    run_job(database, "resume_erasures")
    assert database.value("select count(*) from storage.objects where name like %s", f"{person.id}/%") == 0
