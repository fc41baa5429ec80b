"""From the card to the seller's bank: payment, download, refund, release, payout, with the provider's own events."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.market import (
    FILE,
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
    wait_for_order,
)
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until


@pytest.fixture(autouse=True)
def books_are_right(database: Database, simulator: Simulator) -> Any:
    """After every test: the audit is clean and the provider holds what the books say."""
    yield
    drain(database, simulator)
    assert_books(database, simulator)


@pytest.fixture(scope="module")
def seller(sign_up: SignUp, admin: Person) -> Person:
    """On the standard plan: 30 % commission."""
    person = sign_up(username="standard-seller")
    assert admin.api.rpc("set_subscription", user_id=person.id, plan_key="creator_standard").status_code == 200
    return person


@pytest.fixture
def buyer(sign_up: SignUp) -> Person:
    return sign_up()


def sale_of(person: Person, item: str) -> dict[str, Any]:
    return person.api.one("transactions", related_id=f"eq.{item}")


def pending_of(person: Person, item: str) -> int:
    """What of a sale is still held for its seller."""
    payee = person.api.one("transaction_payees", transaction_id=f"eq.{sale_of(person, item)['id']}")
    return int(payee["pending_cents"])


def settled_fee(person: Person, item: str) -> dict[str, Any]:
    """The sale once the provider's real fee was booked."""
    until(
        lambda: (
            person.services.cluster.connect(person.services.database)
            .execute(
                "select true from public.payments p join public.transactions t on t.payment_id = p.id "
                "where t.related_id = %s and p.provider_fee_cents is not null",
                [item],
            )
            .fetchone()
        ),
        "the provider's fee to be booked",
    )
    return sale_of(person, item)


# -- payments ---------------------------------------------------------------------------------------------------------


def test_a_card_payment_settles_to_the_cent(seller: Person, buyer: Person, simulator: Simulator) -> None:
    """money.md: $20.00, standard seller, Stripe: fee 88, commission 600, seller 1312."""
    product = publish_product(seller, 2000)
    ordered = order(buyer, product)
    attempt = start(buyer, ordered)
    assert (attempt["status"], attempt["amount_cents"], attempt["currency"]) == ("open", 2000, "USD")
    # A redirect proves nothing: until the provider says so nothing is granted.
    assert buyer.api.select("purchases") == []
    assert buyer.api.function("GET", f"downloads/{product}").status_code == 403
    pending = seller.api.one("wallets")["balance_pending_cents"]
    simulator.confirm(attempt["client_secret"])
    completed = wait_for_order(buyer, ordered["order_id"])
    assert (completed["status"], completed["status_reason"]) == ("completed", None)
    sale = settled_fee(buyer, product)
    parts = ("amount_total_cents", "amount_fees_cents", "amount_commission_cents", "amount_seller_cents")
    assert tuple(sale[part] for part in parts) == (2000, 88, 600, 1312)
    assert (sale["seller_tier"], sale["commission_bps"], sale["payment_method"]) == ("standard", 3000, "card")
    assert sale["stripe_payment_intent_id"] == attempt["provider_ref"]
    assert seller.api.one("wallets")["balance_pending_cents"] - pending == 1312
    payment = buyer.api.one("payments", id=f"eq.{ordered['payment_id']}")
    assert (payment["status"], payment["provider_fee_cents"]) == ("succeeded", 88)
    # Starting it again opens nothing new.
    assert code_of(buyer.api.http.post(ordered["start_url"])) == "payment_not_open"
    assert len(simulator.all("charges", payment_intent=attempt["provider_ref"])) == 1


def test_starting_twice_is_one_attempt(seller: Person, buyer: Person, simulator: Simulator) -> None:
    ordered = order(buyer, publish_product(seller))
    first, again = start(buyer, ordered), start(buyer, ordered)
    assert first["provider_ref"] == again["provider_ref"]
    assert first["client_secret"] == again["client_secret"]


def test_a_cart_over_three_sellers_splits_the_fee_without_losing_a_cent(
    sign_up: SignUp, buyer: Person, simulator: Simulator
) -> None:
    sellers = [sign_up() for _ in range(3)]
    items = [publish_product(person, price) for person, price in zip(sellers, (333, 333, 334), strict=True)]
    buy(simulator, buyer, *items)
    sales = [settled_fee(buyer, item) for item in items]
    # 1000 × 2.9 % + 30 = 59 over 333 : 333 : 334 → 19.647, 19.647, 19.706: the last gets its cent first
    assert sum(sale["amount_fees_cents"] for sale in sales) == 59
    assert sorted(sale["amount_fees_cents"] for sale in sales) == [19, 20, 20]
    assert sales[2]["amount_fees_cents"] == 20
    for sale, person in zip(sales, sellers, strict=True):
        earned = sale["amount_total_cents"] - sale["amount_fees_cents"] - sale["amount_commission_cents"]
        assert sale["amount_seller_cents"] == earned == person.api.one("wallets")["balance_pending_cents"]
    # Each seller sees the own line only.
    assert [len(person.api.select("order_items")) for person in sellers] == [1, 1, 1]


def test_commission_shrinks_where_the_fee_eats_the_price(sign_up: SignUp, buyer: Person, simulator: Simulator) -> None:
    seller = sign_up()
    item = publish_product(seller, 50)
    buy(simulator, buyer, item)
    sale = settled_fee(buyer, item)
    # 50 × 2.9 % + 30 = 31; commission 40 % = 20, only 19 are left: the commission shrinks, the seller gets nothing.
    assert (sale["amount_fees_cents"], sale["amount_commission_cents"], sale["amount_seller_cents"]) == (31, 19, 0)


def test_a_declined_card_grants_nothing_and_may_be_tried_again(
    seller: Person, buyer: Person, simulator: Simulator
) -> None:
    product = publish_product(seller)
    ordered = order(buyer, product)
    attempt = start(buyer, ordered)
    simulator.confirm(attempt["client_secret"], "pm_card_chargeDeclinedInsufficientFunds")
    payment = until(
        lambda: (
            (rows := buyer.api.select("payments", id=f"eq.{ordered['payment_id']}", status="eq.failed")) and rows[0]
        ),
        "the decline to be recorded",
    )
    assert payment["failure_reason"] == "insufficient_funds"
    assert buyer.api.select("purchases") == []
    assert start(buyer, ordered)["provider_ref"] == attempt["provider_ref"]
    simulator.confirm(attempt["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"


def test_the_real_fee_replaces_the_estimate(seller: Person, buyer: Person, simulator: Simulator) -> None:
    simulator.config(fee_bps=390)
    try:
        product = publish_product(seller, 2000)
        buy(simulator, buyer, product)
        sale = settled_fee(buyer, product)
    finally:
        simulator.config(fee_bps=290)
    assert (sale["amount_fees_cents"], sale["amount_commission_cents"], sale["amount_seller_cents"]) == (108, 600, 1292)


# -- downloads --------------------------------------------------------------------------------------------------------


def test_downloads_give_the_buyer_the_bytes_and_nobody_else(
    seller: Person, buyer: Person, sign_up: SignUp, simulator: Simulator, anon: Api, services: Services
) -> None:
    product = publish_product(seller, files=("beat.wav", "stems & more (1).wav"))
    path = f"downloads/{product}"
    assert code_of(buyer.api.function("GET", path)) == "not_entitled"
    buy(simulator, buyer, product)
    answer = buyer.api.function("GET", path)
    assert answer.status_code == 200
    files = answer.json()["files"]
    assert [file["name"] for file in files] == ["beat.wav", "stems & more (1).wav"]
    for file in files:
        # The link is all it takes: no key, no token.
        got = httpx.get(file["url"])
        assert (got.status_code, got.content, file["size_bytes"]) == (200, FILE, len(FILE))
        forged = file["url"].replace("token=", "token=x")
        assert httpx.get(forged).status_code >= 400
    refused = [(who.function("GET", path).status_code) for who in (sign_up().api, anon)]
    assert refused == [403, 401]
    assert seller.api.function("GET", path).status_code == 200
    unknown = buyer.api.function("GET", "downloads/00000000-0000-4000-8000-000000000000")
    assert (unknown.status_code, code_of(unknown)) == (404, "item_not_found")


@pytest.mark.parametrize("token", ["", "x.y.z", "none", "expired", "foreign"])
def test_downloads_refuse_tokens_that_are_not_ours(services: Services, buyer: Person, token: str) -> None:
    import time

    import jwt

    claims = {"sub": buyer.id, "role": "authenticated", "aud": "authenticated", "exp": int(time.time()) + 600}
    made = {
        "none": jwt.encode(claims, "", algorithm="none"),
        "expired": jwt.encode(claims | {"exp": int(time.time()) - 60}, services.jwt_secret, algorithm="HS256"),
        "foreign": jwt.encode(claims, "x" * 48, algorithm="HS256"),
    }.get(token, token)
    url = f"{services.url}/functions/v1/downloads/00000000-0000-4000-8000-000000000000"
    answer = httpx.get(url, headers={"authorization": f"Bearer {made}"} if made else {})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    # The same claims, signed with our secret, get as far as looking for the item.
    ours = jwt.encode(claims, services.jwt_secret, algorithm="HS256")
    assert httpx.get(url, headers={"authorization": f"Bearer {ours}"}).status_code == 404


# -- refunds ----------------------------------------------------------------------------------------------------------


def refund(person: Person, item: str, **arguments: Any) -> httpx.Response:
    line = person.api.one("transactions", related_id=f"eq.{item}")["order_item_id"]
    return person.api.rpc("refund_order_item", order_item_id=line, **arguments)


def wait_for_refund(person: Person, refund_id: str) -> dict[str, Any]:
    return until(  # type: ignore[return-value]
        lambda: (rows := person.api.select("refunds", id=f"eq.{refund_id}", booked_at="not.is.null")) and rows[0],
        "the refund to be booked",
    )


def test_partial_then_full_refund(seller: Person, buyer: Person, simulator: Simulator) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    settled_fee(seller, product)
    half = refund(seller, product, amount_cents=700, reason="one file was broken")
    assert half.status_code == 200, half.text
    wait_for_refund(buyer, half.json()["id"])
    sale = sale_of(seller, product)
    # 700 of 2000: commission 600 × 0.35 = 210, the seller bears 490
    assert (sale["status"], sale["refunded_cents"]) == ("partially_refunded", 700)
    assert (sale["refunded_commission_cents"], sale["refunded_seller_cents"]) == (210, 490)
    # What is owned stays owned until the last cent went back.
    assert buyer.api.function("GET", f"downloads/{product}").status_code == 200
    rest = refund(seller, product, reason="the rest too")
    wait_for_refund(buyer, rest.json()["id"])
    sale = sale_of(seller, product)
    assert (sale["status"], sale["refunded_cents"], sale["refunded_commission_cents"]) == ("refunded", 2000, 600)
    assert (sale["refunded_seller_cents"], pending_of(seller, product)) == (1400, 0)
    assert buyer.api.one("orders", id=f"eq.{buyer.api.one('orders')['id']}")["status"] == "refunded"
    denied = buyer.api.function("GET", f"downloads/{product}")
    assert (denied.status_code, code_of(denied)) == (403, "not_entitled")
    intent = sale["stripe_payment_intent_id"]
    assert [each["amount"] for each in simulator.all("refunds", payment_intent=intent)] == [700, 1300]


def test_refund_amounts_that_make_no_sense(seller: Person, buyer: Person, simulator: Simulator) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    for amount in (0, -1, 2001, 2**53 + 1, 2**62):
        answer = refund(seller, product, amount_cents=amount)
        assert (answer.status_code, code_of(answer)) == (400, "refund_amount_invalid"), amount
    assert seller.api.select("refunds", payment_id=f"eq.{sale_of(seller, product)['payment_id']}") == []


def test_only_the_seller_and_admins_refund(seller: Person, buyer: Person, admin: Person, simulator: Simulator) -> None:
    product = publish_product(seller)
    buy(simulator, buyer, product)
    refused = refund(buyer, product)
    assert (refused.status_code, code_of(refused)) == (404, "sale_not_found")
    key = {"idempotency_key": "click", "reason": "goodwill", "amount_cents": 500}
    first, again = refund(admin, product, **key), refund(admin, product, **key)
    assert first.json()["id"] == again.json()["id"]
    wait_for_refund(buyer, first.json()["id"])
    assert [line["action"] for line in admin.api.select("audit_log", target_id=f"eq.{first.json()['id']}")] == [
        "refund"
    ]


def test_a_refunded_artwork_is_for_sale_again(seller: Person, buyer: Person, simulator: Simulator, anon: Api) -> None:
    artwork = publish_artwork(seller, 5000)
    buy(simulator, buyer, artwork)
    wait_for_refund(buyer, refund(seller, artwork).json()["id"])
    assert anon.one("artworks", id=f"eq.{artwork}")["status"] == "published"
    assert anon.one("catalog_items", id=f"eq.{artwork}")["is_listed"] is True
    assert order(buyer, artwork)["status"] == "pending"


def test_a_refund_made_in_the_dashboard_is_booked(seller: Person, buyer: Person, simulator: Simulator) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    settled_fee(seller, product)
    intent = sale_of(seller, product)["stripe_payment_intent_id"]
    simulator.post("refunds", payment_intent=intent, amount=500)
    until(lambda: sale_of(seller, product)["refunded_cents"] == 500, "the dashboard's refund to be booked")
    simulator.post("refunds", payment_intent=intent)
    until(lambda: sale_of(seller, product)["status"] == "refunded", "the rest to be booked")


def test_a_refund_that_fails_later_gives_everything_back(seller: Person, buyer: Person, simulator: Simulator) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    settled_fee(seller, product)
    wallet = seller.api.one("wallets")
    made = refund(seller, product).json()["id"]
    ref = wait_for_refund(buyer, made)["provider_ref"]
    assert buyer.api.function("GET", f"downloads/{product}").status_code == 403
    simulator.finish_refund(ref, "failed")
    until(lambda: buyer.api.one("refunds", id=f"eq.{made}")["status"] == "failed", "the failure to arrive")
    assert sale_of(seller, product)["refunded_cents"] == 0
    assert buyer.api.function("GET", f"downloads/{product}").status_code == 200
    after = seller.api.one("wallets")
    kept = ("balance_pending_cents", "balance_available_cents", "debt_cents", "total_earned_cents")
    assert [after[name] for name in kept] == [wallet[name] for name in kept]


def test_a_pending_refund_books_nothing(seller: Person, buyer: Person, simulator: Simulator) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    simulator.config(refund_status="pending")
    try:
        made = refund(seller, product).json()["id"]
        ref = until(lambda: buyer.api.one("refunds", id=f"eq.{made}")["provider_ref"], "the refund to be sent")
    finally:
        simulator.config(refund_status="succeeded")
    assert sale_of(seller, product)["refunded_cents"] == 0
    assert buyer.api.function("GET", f"downloads/{product}").status_code == 200
    # While it is under way its money cannot be refunded a second time.
    assert code_of(refund(seller, product, amount_cents=1)) == "refund_amount_invalid"
    simulator.finish_refund(ref, "succeeded")
    wait_for_refund(buyer, made)
    assert sale_of(seller, product)["status"] == "refunded"


def test_a_charge_declined_at_settlement_is_reversed(
    seller: Person, buyer: Person, simulator: Simulator, database: Database
) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    settled_fee(seller, product)
    simulator.late_decline(sale_of(seller, product)["stripe_payment_intent_id"])
    until(lambda: sale_of(seller, product)["status"] == "refunded", "the reversal to be booked")
    assert buyer.api.function("GET", f"downloads/{product}").status_code == 403
    drain(database, simulator)
    assert simulator.balance_cents == database.value("select private.provider_position('stripe')")


# -- release and payouts ----------------------------------------------------------------------------------------------


def onboard(person: Person, simulator: Simulator) -> str:
    """Become payable as a seller does: ask for the link, follow it, come back; the provider's account."""
    urls = {"return_url": "https://shop.example/done", "refresh_url": "https://shop.example/again"}
    answer = person.api.function("POST", "payouts/onboard", urls)
    assert answer.status_code == 200, answer.text
    assert simulator.onboard(answer.json()["url"]).startswith("https://shop.example/done")
    until(lambda: person.api.one("wallets")["payouts_enabled"], "the account to be enabled")
    return str(answer.json()["account_id"])


@pytest.fixture
def rich(sign_up: SignUp, simulator: Simulator, database: Database) -> Person:
    """A basic seller whose $200.00 sale has been released: 20000 − 610 − 8000 = 11390 available."""
    person = sign_up()
    item = publish_product(person, 20000)
    buy(simulator, sign_up(), item)
    settled_fee(person, item)
    pass_time(database)
    run_job(database, "release_earnings")
    assert person.api.one("wallets")["balance_available_cents"] == 11390
    return person


def payout(person: Person, cents: Any) -> httpx.Response:
    return person.api.rpc("request_payout", amount_cents=cents)


def wait_for_payout(person: Person, payout_id: str, status: str = "completed") -> dict[str, Any]:
    return until(  # type: ignore[return-value]
        lambda: (rows := person.api.select("payouts", id=f"eq.{payout_id}", status=f"eq.{status}")) and rows[0],
        f"the payout to be {status}",
    )


def test_earnings_are_held_for_seven_days_then_released_once(
    seller: Person, buyer: Person, simulator: Simulator, database: Database
) -> None:
    product = publish_product(seller, 2000)
    buy(simulator, buyer, product)
    settled_fee(seller, product)
    before = seller.api.one("wallets")
    run_job(database, "release_earnings")
    assert pending_of(seller, product) == 1312
    pass_time(database, "6 days 23 hours 55 minutes")
    run_job(database, "release_earnings")
    assert pending_of(seller, product) == 1312
    pass_time(database, "5 minutes")
    run_job(database, "release_earnings")
    assert pending_of(seller, product) == 0
    after = seller.api.one("wallets")
    assert after["balance_available_cents"] >= before["balance_available_cents"] + 1312
    run_job(database, "release_earnings")
    assert seller.api.one("wallets")["balance_available_cents"] == after["balance_available_cents"]


def test_a_payout_reaches_the_sellers_account(rich: Person, simulator: Simulator) -> None:
    refused = payout(rich, 5000)
    assert (refused.status_code, code_of(refused)) == (409, "payouts_not_enabled")
    account = onboard(rich, simulator)
    asked = payout(rich, 5000)
    assert asked.status_code == 200, asked.text
    done = wait_for_payout(rich, asked.json()["id"])
    assert [(each["amount"], each["destination"]) for each in simulator.all("transfers", destination=account)] == [
        (5000, account)
    ]
    assert done["provider_ref"] == simulator.all("transfers", destination=account)[0]["id"]
    wallet = rich.api.one("wallets")
    assert (wallet["balance_available_cents"], wallet["total_withdrawn_stripe_cents"]) == (6390, 5000)


def test_payout_amounts_that_make_no_sense(rich: Person) -> None:
    for cents in (4999, 0, -5000, 2**53 + 1, None):
        answer = payout(rich, cents)
        assert (answer.status_code, code_of(answer)) == (400, "payout_amount_invalid"), cents
    assert rich.api.one("wallets")["balance_available_cents"] == 11390


def test_one_open_payout_never_more_than_there_is(rich: Person, simulator: Simulator, database: Database) -> None:
    onboard(rich, simulator)
    assert code_of(payout(rich, 11391)) == "insufficient_funds"
    database.run("update private.settings set payout_approval_above_cents = 5000")
    try:
        waiting = payout(rich, 6000).json()
        assert waiting["status"] == "requested"
        assert code_of(payout(rich, 5000)) == "payout_open"
        assert rich.api.one("wallets")["balance_available_cents"] == 5390
        assert rich.api.rpc("cancel_payout", payout_id=waiting["id"]).json()["status"] == "cancelled"
        assert rich.api.one("wallets")["balance_available_cents"] == 11390
        assert code_of(rich.api.rpc("cancel_payout", payout_id=waiting["id"])) == "payout_not_open"
    finally:
        database.run("update private.settings set payout_approval_above_cents = 100000")


def test_large_payouts_wait_for_an_admin(rich: Person, admin: Person, simulator: Simulator, database: Database) -> None:
    onboard(rich, simulator)
    database.run("update private.settings set payout_approval_above_cents = 5000")
    try:
        waiting = payout(rich, 6000).json()["id"]
    finally:
        database.run("update private.settings set payout_approval_above_cents = 100000")
    assert code_of(rich.api.rpc("approve_payout", payout_id=waiting)) == "admin_only"
    approved = admin.api.rpc("approve_payout", payout_id=waiting)
    assert approved.status_code == 200, approved.text
    done = wait_for_payout(rich, waiting)
    assert not set(done) & {"approved_by"}, "who approved is in the audit log"
    assert admin.id not in rich.api.rpc("export_my_data").text
    assert [line["action"] for line in admin.api.select("audit_log", target_id=f"eq.{waiting}")] == ["approve_payout"]


def test_a_payout_the_provider_refuses_comes_back(rich: Person, simulator: Simulator) -> None:
    account = onboard(rich, simulator)
    simulator.fault(
        "POST /v1/transfers",
        "error",
        status=400,
        body={"error": {"type": "invalid_request_error", "code": "account_closed", "message": "closed"}},
    )
    asked = payout(rich, 5000).json()["id"]
    failed = wait_for_payout(rich, asked, "failed")
    assert failed["failure_reason"] == "account_closed"
    assert rich.api.one("wallets")["balance_available_cents"] == 11390
    assert simulator.all("transfers", destination=account) == []


def test_a_transfer_taken_back_returns_to_the_wallet(rich: Person, simulator: Simulator) -> None:
    onboard(rich, simulator)
    asked = payout(rich, 5000).json()["id"]
    transfer = wait_for_payout(rich, asked)["provider_ref"]
    simulator.post(f"transfers/{transfer}/reversals")
    wait_for_payout(rich, asked, "returned")
    wallet = rich.api.one("wallets")
    assert (wallet["balance_available_cents"], wallet["total_withdrawn_cents"]) == (11390, 0)


def test_a_refund_after_the_payout_becomes_debt_and_is_repaid_first(
    rich: Person, sign_up: SignUp, admin: Person, simulator: Simulator, database: Database
) -> None:
    onboard(rich, simulator)
    wait_for_payout(rich, payout(rich, 11390).json()["id"])
    sold = rich.api.one("transactions")
    line = {"order_item_id": sold["order_item_id"], "amount_cents": 10000, "reason": "x"}
    database.run("update private.settings set seller_debt_cents = 5999")
    try:
        refused = rich.api.rpc("refund_order_item", **line)
    finally:
        database.run("update private.settings set seller_debt_cents = default")
    assert (refused.status_code, code_of(refused)) == (402, "insufficient_funds")
    made = admin.api.rpc("refund_order_item", **line)
    assert made.status_code == 200, made.text
    wait_for_refund(admin, made.json()["id"])
    # 10000: commission 4000 back, the seller owes 6000
    wallet = rich.api.one("wallets")
    assert (wallet["balance_available_cents"], wallet["debt_cents"]) == (0, 6000)
    item = publish_product(rich, 20000)
    buy(simulator, sign_up(), item)
    settled_fee(rich, item)
    pass_time(database)
    run_job(database, "release_earnings")
    wallet = rich.api.one("wallets")
    assert (wallet["balance_available_cents"], wallet["debt_cents"]) == (11390 - 6000, 0)


def test_a_changed_destination_needs_a_fresh_login_and_holds_payouts(
    rich: Person, simulator: Simulator, services: Services, database: Database
) -> None:
    import jwt

    onboard(rich, simulator)
    body = {"change": True, "return_url": "https://shop.example/x", "refresh_url": "https://shop.example/y"}
    claims = jwt.decode(rich.token, options={"verify_signature": False})
    for entry in claims["amr"]:
        entry["timestamp"] -= 16 * 60
    stale = Api(services, jwt.encode(claims, services.jwt_secret, algorithm="HS256"))
    refused = stale.function("POST", "payouts/onboard", body)
    assert (refused.status_code, code_of(refused)) == (403, "fresh_login_required")
    first = rich.api.one("wallets")["stripe_account_id"]
    changed = rich.api.function("POST", "payouts/onboard", body)
    assert changed.status_code == 200, changed.text
    assert changed.json()["account_id"] != first
    simulator.onboard(changed.json()["url"])
    until(lambda: rich.api.one("wallets")["payouts_enabled"], "the new account to be enabled")
    held = payout(rich, 5000)
    assert (held.status_code, code_of(held)) == (409, "payouts_held")
    database.run("update public.wallets set payouts_held_until = now() where user_id = %s", rich.id)
    wait_for_payout(rich, payout(rich, 5000).json()["id"])
    assert simulator.all("transfers", destination=first) == []


def test_a_disabled_account_is_not_paid(rich: Person, simulator: Simulator) -> None:
    account = onboard(rich, simulator)
    simulator.disable_account(account)
    until(lambda: not rich.api.one("wallets")["payouts_enabled"], "the account to be disabled")
    assert code_of(payout(rich, 5000)) == "payouts_not_enabled"


# Backtracks for minutes over letters whose number no three divides.
SLOW, WORDS = r"match.^(x*)(x*)(x*)(x*)\1\2\3\4\1\2\3\4$", "x" * 479


def under_way(database: Database, function: str) -> bool:
    """Whether a request that calls this function has come to its answer, which takes it some time to read."""
    return bool(
        database.value(
            "select count(*) from pg_stat_activity where usename = 'authenticator' and state = 'active' "
            "and query like %s and wait_event is null and query_start < clock_timestamp() - interval '0.3 seconds'",
            f"%{function}%",
        )
    )


def refund_slowly(seller: Person, line: str) -> httpx.Response:
    """Refund a cent and go through the answer until the platform ends it."""
    return seller.api.http.post(
        "/rest/v1/rpc/refund_order_item",
        params={"select": "reason", "reason": SLOW},
        json={"order_item_id": line, "amount_cents": 1, "reason": WORDS},
    )


@pytest.mark.parametrize("provider", ["stripe", "wallet"])
def test_a_slow_refund_delays_no_sale_of_others(
    seller: Person,
    buyer: Person,
    sign_up: SignUp,
    admin: Person,
    simulator: Simulator,
    database: Database,
    provider: str,
) -> None:
    other = sign_up()
    items = [publish_product(person) for person in (seller, other)]
    if provider == "wallet":
        gift = {"amount_cents": 4000, "reason": "A gift", "idempotency_key": buyer.id}
        assert admin.api.rpc("adjust_wallet", user_id=buyer.id, **gift).is_success
        ordered = order(buyer, *items, provider="wallet")["order_id"]
    else:
        ordered = buy(simulator, buyer, *items)["id"]
        drain(database, simulator)
    line = seller.api.one("order_items", order_id=f"eq.{ordered}")["id"]
    waiting = order(buyer, publish_product(other))
    attempt = start(buyer, waiting)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(refund_slowly, seller, line)
        until(lambda: under_way(database, "refund_order_item"), "the refund to be under way")
        simulator.confirm(attempt["client_secret"])
        assert wait_for_order(buyer, waiting["order_id"])["status"] == "completed"
        if provider == "stripe":
            assert not slow.done()
        else:
            assert "user request" in slow.result().text


def test_nobody_keeps_their_wallet_from_being_corrected(
    rich: Person, admin: Person, simulator: Simulator, database: Database
) -> None:
    onboard(rich, simulator)
    query = {"select": "destination", "destination": "match.^" + "(.*)" * 8 + r"\1\2\3\4\5\6\7\8\1\2\3$"}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(rich.api.http.post, "/rest/v1/rpc/request_payout", params=query, json={"amount_cents": 5000})
        until(lambda: under_way(database, "request_payout"), "the request to be under way")
        correction = {"amount_cents": -11390, "reason": "Chargeback", "idempotency_key": rich.id}
        assert admin.api.rpc("adjust_wallet", user_id=rich.id, **correction).is_success
        assert "user request" in slow.result().text
    assert rich.api.one("wallets")["balance_available_cents"] == 0


def test_a_wallet_statement_tells_its_owner_everything(rich: Person, simulator: Simulator) -> None:
    onboard(rich, simulator)
    wait_for_payout(rich, payout(rich, 5000).json()["id"])
    statement = rich.api.rpc("wallet_statement").json()
    assert [line["kind"] for line in statement] == ["payout_requested", "release", "sale"]
    assert sum(line["available_cents"] for line in statement) == 6390
