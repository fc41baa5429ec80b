"""What a provider tells, tells wrongly, or never tells: only what is about our objects counts, and nothing is lost."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.market import (
    Simulator,
    assert_books,
    buy,
    drain,
    order,
    pass_time,
    publish_artwork,
    publish_product,
    run_job,
    start,
    stripe_signature,
    wait_for_order,
)
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.processes import http_workers
from tests.harness.server import Database
from tests.harness.waiting import until

ONBOARD = {"return_url": "https://shop.example/done", "refresh_url": "https://shop.example/again"}


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture(scope="module")
def buyer(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture
def paid(simulator: Simulator) -> Any:
    """paid(attempt, **changes): pays, and gives the intent of the success; its own event is delivered afterwards."""
    simulator.hold()
    yield lambda attempt, **changes: {
        **simulator.confirm(attempt["client_secret"]),
        **intent(simulator, attempt),
        **changes,
    }
    simulator.release()


def intent(simulator: Simulator, attempt: dict[str, Any]) -> dict[str, Any]:
    return simulator.get(f"payment_intents/{attempt['provider_ref']}")


def deliver(services: Services, body: bytes, url: str | None = None) -> httpx.Response:
    signature = stripe_signature(body, services.webhook_secret)
    return httpx.post(
        f"{url or services.url}/webhooks/stripe", content=body, headers={"stripe-signature": signature}, timeout=30
    )


def event(obj: Any, event_type: str = "payment_intent.succeeded", **of_event: Any) -> bytes:
    made = {
        "id": f"evt_{time.time_ns()}",
        "object": "event",
        "type": event_type,
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": obj},
    }
    return json.dumps(made | of_event).encode()


def listed(admin: Person, body: bytes, status: str) -> dict[str, Any]:
    """An event as admins see it, once it has that status."""
    name = json.loads(body)["id"]
    rows: list[dict[str, Any]] = until(
        lambda: [
            row
            for row in admin.api.rpc("list_webhook_events", with_status=status, max_rows=500).json()
            if row["event_id"] == name
        ],
        f"event {name} to be {status}",
    )  # type: ignore[assignment]
    return rows[0]


def status_of(buyer: Person, ordered: dict[str, Any]) -> tuple[str, str]:
    row = buyer.api.one("orders", id=f"eq.{ordered['order_id']}", select="status,payments(status)")
    return row["status"], row["payments"][0]["status"]


# -- not about our objects --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_event", "of_object"),
    [
        ({"account": "acct_somebody"}, {}),
        ({"livemode": True}, {}),
        ({"livemode": True}, {"livemode": True}),
        ({}, {"livemode": True}),
    ],
    ids=str,
)
def test_of_another_account_or_mode_is_kept_and_ignored(
    services: Services,
    seller: Person,
    buyer: Person,
    admin: Person,
    paid: Any,
    of_event: dict[str, Any],
    of_object: dict[str, Any],
) -> None:
    ordered = order(buyer, publish_product(seller))
    body = event(paid(start(buyer, ordered), **of_object), **of_event)
    assert deliver(services, body).status_code == 200
    row = listed(admin, body, "ignored")
    assert row["last_error"]
    assert admin.api.rpc("replay_webhook_event", event_id=row["id"]).json() == "ignored"
    assert status_of(buyer, ordered) == ("pending", "requires_payment")


def test_a_live_key_takes_no_test_events(
    services: Services, seller: Person, buyer: Person, admin: Person, paid: Any
) -> None:
    ordered = order(buyer, publish_product(seller))
    success = paid(start(buyer, ordered))
    with http_workers(services, AVENUE_STRIPE_SECRET_KEY="sk_live_x") as url:
        body = event(success)
        assert deliver(services, body, url).status_code == 200
        listed(admin, body, "ignored")
    assert status_of(buyer, ordered)[0] == "pending"
    assert deliver(services, event(success)).status_code == 200
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"


def test_an_intent_nobody_asked_for_pays_for_nothing(
    services: Services, seller: Person, buyer: Person, admin: Person, simulator: Simulator
) -> None:
    """Made in the dashboard with our metadata, and really paid: our payment was never started."""
    ordered = order(buyer, publish_product(seller))
    made = simulator.post(
        "payment_intents",
        **{"amount": 2000, "currency": "usd", "confirm": "true", "payment_method": "pm_card_visa"},
        **{"metadata[payment_id]": ordered["payment_id"], "return_url": "https://shop.example"},
    )
    dead = until(
        lambda: [
            row
            for row in admin.api.rpc("list_webhook_events").json()
            if "never started" in row["last_error"] and made["id"] in row["last_error"]
        ],
        "its success to be dead-lettered",
    )
    assert dead[0]["type"] == "payment_intent.succeeded"
    assert status_of(buyer, ordered) == ("pending", "requires_payment")
    # The buyer pays as if nothing had happened.
    simulator.confirm(start(buyer, ordered)["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    # What somebody made for themselves is no money of ours.
    simulator.add_balance(88 - 2000)


def test_a_refund_in_another_currency_is_not_booked(
    services: Services, seller: Person, buyer: Person, admin: Person, simulator: Simulator
) -> None:
    ordered = order(buyer, publish_product(seller))
    attempt = start(buyer, ordered)
    simulator.confirm(attempt["client_secret"])
    wait_for_order(buyer, ordered["order_id"])
    refund = {"id": "re_eur", "object": "refund", "amount": 500, "currency": "eur", "status": "succeeded"}
    body = event({**refund, "payment_intent": attempt["provider_ref"]}, "refund.updated")
    assert deliver(services, body).status_code == 200
    assert "eur" in listed(admin, body, "dead")["last_error"]
    assert buyer.api.one("payments", id=f"eq.{ordered['payment_id']}")["refunded_cents"] == 0


# -- what PostgreSQL cannot hold --------------------------------------------------------------------------------------


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


ODD = {
    "a NUL": b'"a\\u0000b"',
    "half a surrogate pair": b'"\\ud83d"',
    "the other half": b'"x\\udc00\\ud83d"',
    "5,000 levels": deep(5000),
    "90,000 levels": deep(90_000),
    "a number beyond numeric": b"1e200000",
    "a number of 5,000 digits": b"7" * 5000,
    "a number of 200,000 digits": b"7" * 200_000,
}


@pytest.mark.parametrize("kind", ODD)
def test_an_authentic_event_settles_whatever_else_is_in_it(
    services: Services, seller: Person, buyer: Person, paid: Any, kind: str
) -> None:
    ordered = order(buyer, publish_product(seller))
    body = event(paid(start(buyer, ordered), description="@@")).replace(b'"@@"', ODD[kind])
    assert ODD[kind] in body
    assert deliver(services, body).status_code == 200
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "evt_" + "x" * 500_000},
        {"id": "x" * 256},
        {"type": "x" * 256},
        {"type": ""},
        {"created": True},
        {"created": -1},
        {"created": 10**18},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_event_without_measure_is_refused_alone(
    services: Services, database: Database, change: dict[str, Any]
) -> None:
    bodies = [event({"id": "cus_1"}, "customer.created", id=f"evt_{time.time_ns()}_{n}") for n in range(20)]
    with ThreadPoolExecutor(21) as pool:
        bad = pool.submit(deliver, services, event({"id": "cus_1"}, "customer.created", **change), services.http_url)
        good = list(pool.map(lambda body: deliver(services, body, services.http_url).status_code, bodies))
    answer = bad.result()
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_delivery")
    assert good == [200] * 20
    names = [json.loads(body)["id"] for body in bodies]
    assert database.value("select count(*) from private.webhook_events where event_id = any(%s)", names) == 20


# -- what never arrived -----------------------------------------------------------------------------------------------


@pytest.fixture
def deaf(simulator: Simulator) -> Any:
    """Deliveries are lost for good."""

    def lose(lost: bool) -> None:
        simulator.config(drop_rate=float(lost))

    yield lose
    lose(False)


def test_lost_for_good_is_read_at_the_provider(
    seller: Person, buyer: Person, simulator: Simulator, database: Database, deaf: Any
) -> None:
    """A refund of the dashboard, one that fails later, and a charge declined days after."""
    attempts = []
    for _ in range(3):
        ordered = order(buyer, publish_product(seller))
        attempt = start(buyer, ordered)
        simulator.confirm(attempt["client_secret"])
        wait_for_order(buyer, ordered["order_id"])
        attempts.append((ordered, attempt["provider_ref"]))
    (dashboard, first), (unlucky, second), (declined, third) = attempts
    failing = simulator.post("refunds", payment_intent=second, amount=300)["id"]
    drain(database, simulator)
    assert status_of(buyer, unlucky)[0] == "partially_refunded"
    deaf(True)
    simulator.post("refunds", payment_intent=first, amount=500)
    simulator.finish_refund(failing, "failed")
    simulator.late_decline(third)
    drain(database, simulator)
    assert status_of(buyer, dashboard)[0] == status_of(buyer, declined)[0] == "completed"
    deaf(False)
    run_job(database, "read_provider_events")
    drain(database, simulator)
    assert status_of(buyer, dashboard)[0] == "partially_refunded"
    assert status_of(buyer, unlucky)[0] == "completed"
    assert status_of(buyer, declined)[0] == "refunded"
    run_job(database, "read_missing_fees")
    assert_books(database, simulator)


def test_a_seller_becomes_payable_although_the_event_is_lost(
    sign_up: SignUp, simulator: Simulator, database: Database, deaf: Any
) -> None:
    seller = sign_up()
    account = seller.api.function("POST", "payouts/onboard", ONBOARD).json()["account_id"]
    drain(database, simulator)
    deaf(True)
    simulator.complete_account(account)
    assert not seller.api.one("wallets", user_id=f"eq.{seller.id}")["payouts_enabled"]
    run_job(database, "check_accounts")
    assert seller.api.one("wallets", user_id=f"eq.{seller.id}")["payouts_enabled"]


def test_what_the_provider_does_not_have_ends(
    seller: Person, buyer: Person, simulator: Simulator, database: Database
) -> None:
    artwork = publish_artwork(seller, 5000)
    expired, asked = order(buyer, artwork), order(buyer, publish_product(seller))
    for ordered in (expired, asked):
        simulator.forget(start(buyer, ordered)["provider_ref"])
    database.run("update public.payments set expires_at = now() where id = %s", expired["payment_id"])
    database.run(
        "update public.payments set started_at = started_at - interval '2 hours' where id = %s", asked["payment_id"]
    )
    run_job(database, "cancel_expired_payments")
    run_job(database, "reconcile_payments")
    for ordered in (expired, asked):
        assert status_of(buyer, ordered) == ("cancelled", "cancelled")
    assert database.value("select count(*) from private.holds where item_id = %s", artwork) == 0


def test_a_bank_debit_after_a_declined_card_is_under_way(
    seller: Person, buyer: Person, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, publish_product(seller))
    attempt = start(buyer, ordered)
    simulator.confirm(attempt["client_secret"], "pm_card_chargeDeclined")
    until(lambda: status_of(buyer, ordered)[1] == "failed", "the decline")
    simulator.confirm(attempt["client_secret"], "pm_usBankAccount_processing")
    until(lambda: status_of(buyer, ordered)[1] == "processing", "the debit to be under way")
    simulator.finish_payment(attempt["provider_ref"], "failed")
    until(lambda: status_of(buyer, ordered)[1] == "failed", "the debit to fail")
    simulator.confirm(attempt["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"


# -- paid again -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sold", [False, True])
def test_paid_again_after_a_late_decline(
    seller: Person, sign_up: SignUp, simulator: Simulator, database: Database, sold: bool
) -> None:
    """The intent was payable again until we cancelled it, and the buyer was faster."""
    buyer, other = sign_up(), sign_up()
    artwork = publish_artwork(seller, 5000)
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    simulator.confirm(attempt["client_secret"])
    wait_for_order(buyer, ordered["order_id"])
    drain(database, simulator)
    simulator.late_decline(attempt["provider_ref"])
    until(lambda: status_of(buyer, ordered)[0] == "refunded", "the decline to be booked")
    if sold:
        buy(simulator, other, artwork)
    simulator.confirm(attempt["client_secret"])
    drain(database, simulator)
    run_job(database, "cancel_expired_payments")
    drain(database, simulator)
    owners = database.run(
        "select owner_id::text from public.purchases where item_id = %s and revoked_at is null", artwork
    )
    assert [row["owner_id"] for row in owners] == [(other if sold else buyer).id]
    orders = buyer.api.select("orders", order="created_at", select="status,payments(status,refunded_cents)")
    assert [row["status"] for row in orders] == ["refunded", "cancelled" if sold else "completed"]
    assert orders[1]["payments"][0]["refunded_cents"] == (5000 if sold else 0)
    run_job(database, "read_missing_fees")
    assert_books(database, simulator)


def test_after_a_late_decline_the_intent_is_cancelled(
    seller: Person, buyer: Person, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, publish_product(seller))
    attempt = start(buyer, ordered)
    simulator.confirm(attempt["client_secret"])
    wait_for_order(buyer, ordered["order_id"])
    drain(database, simulator)
    simulator.late_decline(attempt["provider_ref"])
    until(lambda: status_of(buyer, ordered)[0] == "refunded", "the decline to be booked")
    run_job(database, "cancel_expired_payments")
    assert simulator.get(f"payment_intents/{attempt['provider_ref']}")["status"] == "canceled"
    drain(database, simulator)
    assert status_of(buyer, ordered) == ("refunded", "refunded")
    assert database.value("select count(*) from private.payment_closings") == 0


# -- payouts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def rich(sign_up: SignUp, buyer: Person, simulator: Simulator, database: Database) -> Person:
    """A seller with money and an account that can be paid."""
    seller = sign_up()
    buy(simulator, buyer, publish_product(seller, 90000))
    drain(database, simulator)
    pass_time(database)
    run_job(database, "release_earnings")
    simulator.onboard(seller.api.function("POST", "payouts/onboard", ONBOARD).json()["url"])
    until(lambda: seller.api.one("wallets", user_id=f"eq.{seller.id}")["payouts_enabled"], "the account")
    return seller


def payout(seller: Person, cents: int) -> dict[str, Any]:
    answer = seller.api.rpc("request_payout", amount_cents=cents)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def payout_status(seller: Person, asked: dict[str, Any]) -> str:
    return str(seller.api.one("payouts", id=f"eq.{asked['id']}")["status"])


def test_our_own_balance_is_short_for_a_while(
    rich: Person, services: Services, simulator: Simulator, database: Database
) -> None:
    drain(database, simulator)
    held = simulator.balance_cents
    simulator.add_balance(-held)
    asked = payout(rich, 6000)
    delays = "select count(*) from private.provider_delays where object_id = %s"
    until(lambda: database.value(delays, asked["id"]), "the refusal to be noted")
    assert payout_status(rich, asked) == "processing"
    assert rich.api.one("payouts", id=f"eq.{asked['id']}")["failure_reason"] is None
    assert 'avenue_provider_delays{kind="payout"} 1.0' in httpx.get(f"{services.http_url}/metrics").text
    # It is topped up; under the first key the provider would repeat its refusal for a day.
    simulator.add_balance(held)
    database.run("update private.provider_delays set retry_at = now()")
    database.run("update public.payouts set updated_at = now() where id = %s", asked["id"])
    database.run("select private.enqueue('send_payout', jsonb_build_object('payout_id', %s::text))", asked["id"])
    until(lambda: payout_status(rich, asked) == "completed", "the payout to be made")
    assert len(simulator.all("transfers", transfer_group=asked["id"])) == 1
    drain(database, simulator)
    assert_books(database, simulator)


def test_five_payouts_are_one_of_five_times_as_much(rich: Person, database: Database) -> None:
    database.run("update private.settings set payout_daily_cents = 12000")
    try:
        for _ in range(2):
            asked = payout(rich, 6000)
            assert asked["status"] == "approved"
            until(lambda asked=asked: payout_status(rich, asked) == "completed", "the payout")
        assert payout(rich, 5000)["status"] == "requested"
    finally:
        database.run("update private.settings set payout_daily_cents = 100000")


def test_a_transfer_taken_back_in_part_although_the_event_is_lost(
    rich: Person, simulator: Simulator, database: Database, deaf: Any
) -> None:
    asked = payout(rich, 6000)
    until(lambda: payout_status(rich, asked) == "completed", "the payout")
    drain(database, simulator)
    before = rich.api.one("wallets", user_id=f"eq.{rich.id}")["balance_available_cents"]
    deaf(True)
    simulator.post(f"transfers/{rich.api.one('payouts')['provider_ref']}/reversals", amount=1000)
    deaf(False)
    run_job(database, "read_provider_events")
    drain(database, simulator)
    row = rich.api.one("payouts")
    assert (row["status"], row["returned_cents"]) == ("completed", 1000)
    wallet = rich.api.one("wallets", user_id=f"eq.{rich.id}")
    assert (wallet["balance_available_cents"], wallet["total_withdrawn_cents"]) == (before + 1000, 5000)
    assert_books(database, simulator)


def older(services: Services, person: Person, database: Database) -> Api:
    """The person's session a day later, refreshed as clients do."""
    database.run("update auth.mfa_amr_claims set created_at = created_at - interval '1 day', "
                 "updated_at = updated_at - interval '1 day' where session_id in "
                 "(select id from auth.sessions where user_id = %s)", person.id)  # fmt: skip
    return Api(services, person.client.auth.refresh_session().session.access_token)  # type: ignore[union-attr]


def test_an_old_session_does_not_reach_the_account(
    rich: Person, services: Services, simulator: Simulator, database: Database
) -> None:
    assert rich.api.function("POST", "payouts/onboard", ONBOARD).status_code == 200
    session = older(services, rich, database)
    for change in (False, True):
        refused = session.function("POST", "payouts/onboard", {**ONBOARD, "change": change})
        assert (refused.status_code, code_of(refused)) == (403, "fresh_login_required")
    # It sets a new password and signs in with it: that proves nothing.
    email = database.value("select email from auth.users where id = %s", rich.id)
    rich.client.auth.update_user({"password": "a-new-password-1"})
    signed_in = httpx.post(
        f"{services.url}/auth/v1/token?grant_type=password",
        headers={"apikey": services.anon_key},
        json={"email": email, "password": "a-new-password-1"},
    ).json()
    fresh = Api(services, signed_in["access_token"])
    for change in (False, True):
        refused = fresh.function("POST", "payouts/onboard", {**ONBOARD, "change": change})
        assert (refused.status_code, code_of(refused)) == (403, "fresh_login_required")
    database.run("update private.password_changes set changed_at = changed_at - interval '25 hours'")
    assert fresh.function("POST", "payouts/onboard", ONBOARD).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/done",
        "https://shop.example.evil.example/",
        "https://shop.example@evil.example/",
        "https://ann:x@shop.example/",
        "http://shop.example/done",
        "https://shop.example:8443/done",
    ],
)
def test_sellers_return_to_our_pages_only(seller: Person, url: str) -> None:
    for name in ONBOARD:
        refused = seller.api.function("POST", "payouts/onboard", {**ONBOARD, name: url})
        assert (refused.status_code, code_of(refused)) == (422, "url_not_allowed")


# -- leaving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faster", [False, True])
def test_who_leaves_pays_nothing_any_more(
    seller: Person, sign_up: SignUp, simulator: Simulator, database: Database, faster: bool
) -> None:
    buyer = sign_up()
    artwork = publish_artwork(seller, 5000)
    attempt = start(buyer, order(buyer, artwork))
    unstarted = order(buyer, publish_product(seller))
    assert buyer.api.rpc("delete_my_account").status_code in (200, 204)
    if faster:
        simulator.confirm(attempt["client_secret"])
        drain(database, simulator)
    run_job(database, "cancel_expired_payments")
    drain(database, simulator)
    payments = database.run("select id::text, status::text from public.payments where user_id = %s", buyer.id)
    assert {row["id"]: row["status"] for row in payments} == {
        attempt["payment_id"]: "refunded" if faster else "cancelled",
        unstarted["payment_id"]: "cancelled",
    }
    intent = simulator.get(f"payment_intents/{attempt['provider_ref']}")
    assert intent["status"] == ("succeeded" if faster else "canceled")
    assert database.value("select is_listed from public.catalog_items where id = %s", artwork)
    assert database.value("select count(*) from public.purchases where owner_id = %s", buyer.id) == 0
    run_job(database, "read_missing_fees")
    assert_books(database, simulator)


def test_who_leaves_is_in_no_event(
    services: Services, seller: Person, sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    buyer = sign_up()
    ordered = order(buyer, publish_product(seller))
    attempt = start(buyer, ordered)
    simulator.confirm(attempt["client_secret"])
    wait_for_order(buyer, ordered["order_id"])
    charge = simulator.all("charges", payment_intent=attempt["provider_ref"])[0]
    charge |= {
        "billing_details": {"name": "Cora Holder", "email": "cora@holder.example"},
        "receipt_email": "cora@h.example",
    }
    held = "select count(*) from private.webhook_events where payload::text ~ 'Cora Holder|cora@h'"
    deliver(services, event(charge, "charge.succeeded"))
    drain(database, simulator)
    assert database.value(held) == 1
    assert buyer.api.rpc("delete_my_account").status_code in (200, 204)
    until(lambda: database.value(held) == 0, "the events to be without persons")
    deliver(services, event(charge, "charge.updated"))
    drain(database, simulator)
    assert database.value(held) == 0
    # What is about nobody we know loses it with time.
    deliver(services, event({"id": "cus_9", "object": "customer", "name": "Cora Holder"}, "customer.created"))
    drain(database, simulator)
    assert database.value(held) == 1
    database.run("update private.webhook_events set received_at = received_at - interval '31 days'")
    run_job(database, "forget_event_persons")
    assert database.value(held) == 0
