"""What a provider tells us: only authentic deliveries are kept, and it does not matter how often and in which order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import stripe

from stack.services import Services
from tests.harness.market import (
    Simulator,
    order,
    publish_artwork,
    publish_product,
    start,
    stripe_signature,
    wait_for_order,
)
from tests.harness.people import Person, SignUp
from tests.harness.processes import http_workers, localstripe, process
from tests.harness.server import Database
from tests.harness.waiting import until

MEGABYTE = 1_000_000
DOORS = ("the gateway", "the workers themselves")


def event(event_type: str = "customer.created", **of_event: Any) -> bytes:
    """An event nobody else has sent."""
    made = {
        "id": f"evt_{time.time_ns()}",
        "object": "event",
        "type": event_type,
        "created": int(time.time()),
        "data": {"object": {"id": "cus_1", "object": "customer"}},
    }
    return json.dumps(made | of_event).encode()


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, services: Services) -> str:
    """Where deliveries arrive: through the gateway, and at the process behind it."""
    return f"{services.url if request.param == DOORS[0] else services.http_url}/webhooks/stripe"


def stored(database: Database) -> int:
    return int(database.value("select count(*) from private.webhook_events"))


def deliver(url: str, body: bytes | Iterator[bytes], signature: str | None) -> int:
    headers = {"content-type": "application/json"} | ({"stripe-signature": signature} if signature else {})
    return httpx.post(url, content=body, headers=headers, timeout=30).status_code


# -- authenticity -----------------------------------------------------------------------------------------------------


def test_an_authentic_event_is_stored_once(door: str, services: Services, database: Database) -> None:
    before, body = stored(database), event()
    for _ in range(3):
        assert deliver(door, body, stripe_signature(body, services.webhook_secret)) == 200
    assert stored(database) == before + 1
    kept = database.run("select * from private.webhook_events order by id desc limit 1")[0]
    assert kept["payload"] == json.loads(body)
    assert (kept["provider"], kept["type"]) == ("stripe", "customer.created")


def test_an_event_we_do_not_know_is_kept_and_ignored(door: str, services: Services, database: Database) -> None:
    body = event("radar.early_fraud_warning.created")
    assert deliver(door, body, stripe_signature(body, services.webhook_secret)) == 200
    until(
        lambda: database.value("select status = 'ignored' from private.webhook_events order by id desc limit 1"),
        "the unknown event to be marked ignored",
    )


Forgery = Callable[[bytes, str], tuple[bytes, str | None]]
FORGERIES: dict[str, Forgery] = {
    "no signature": lambda body, secret: (body, None),
    "an empty signature": lambda body, secret: (body, ""),
    "garbage as signature": lambda body, secret: (body, "t=1,v1=garbage"),
    "a wrong signature": lambda body, secret: (body, stripe_signature(body, secret)[:-4] + "0000"),
    "another secret": lambda body, secret: (body, stripe_signature(body, "whsec_somebody_elses")),
    "an old timestamp": lambda body, secret: (body, stripe_signature(body, secret, int(time.time()) - 301)),
    "an old signature with a new timestamp": lambda body, secret: (
        body,
        f"t={int(time.time())}," + stripe_signature(body, secret, int(time.time()) - 3600).split(",")[1],
    ),
    "no timestamp": lambda body, secret: (body, stripe_signature(body, secret).split(",")[1]),
    "a truncated body": lambda body, secret: (body[:-10], stripe_signature(body, secret)),
    "an empty body": lambda body, secret: (b"", stripe_signature(body, secret)),
    "a changed body": lambda body, secret: (body.replace(b'"created"', b'"Created"'), stripe_signature(body, secret)),
    "white space added": lambda body, secret: (body + b" ", stripe_signature(body, secret)),
    "another scheme": lambda body, secret: (body, stripe_signature(body, secret).replace("v1=", "v0=")),
}
# Signed with our secret, and still no event.
SENSELESS = {
    "not JSON": b"hello",
    "half JSON": b'{"id": "evt_1", "type": "x", "created": 1',
    "a list": b"[]",
    "null": b"null",
    "no id": b'{"type": "x", "created": 1, "data": {"object": {}}}',
    "an empty id": b'{"id": "", "type": "x", "created": 1}',
    "a number as id": b'{"id": 7, "type": "x", "created": 1}',
    "NaN": b'{"id": "evt_nan", "type": "x", "created": 1, "data": {"object": {"amount": NaN}}}',
    "not UTF-8": b'{"id": "evt_\xff", "type": "x", "created": 1}',
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgeries_are_refused_and_not_stored(door: str, services: Services, database: Database, forgery: str) -> None:
    before = stored(database)
    body, signature = FORGERIES[forgery](event(), services.webhook_secret)
    assert deliver(door, body, signature) == 400
    assert stored(database) == before


@pytest.mark.parametrize("kind", SENSELESS)
def test_what_is_no_event_is_refused_and_not_stored(
    door: str, services: Services, database: Database, kind: str
) -> None:
    before, body = stored(database), SENSELESS[kind]
    assert deliver(door, body, stripe_signature(body, services.webhook_secret)) == 400
    assert stored(database) == before
    # One that is refused must not take its neighbours with it.
    good = event()
    assert deliver(door, good, stripe_signature(good, services.webhook_secret)) == 200
    assert stored(database) == before + 1


def test_two_megabytes_are_refused_whatever_the_length_header_says(
    door: str, services: Services, database: Database
) -> None:
    before = stored(database)
    body = event(padding="x" * (2 * MEGABYTE))
    signature = stripe_signature(body, services.webhook_secret)

    def chunks() -> Iterator[bytes]:
        for offset in range(0, len(body), 65536):
            yield body[offset : offset + 65536]

    for content in (body, chunks()):
        try:
            status = deliver(door, content, signature)
        except httpx.TransportError:
            status = 413  # the server hung up in the middle of what it would not read
        assert status == 413
    assert stored(database) == before
    # Just below the limit is fine: the check is about size, not about something else in that body.
    fits = event(padding="x" * (MEGABYTE - 1000))
    assert deliver(door, fits, stripe_signature(fits, services.webhook_secret)) == 200
    assert stored(database) == before + 1


def test_a_forged_success_pays_for_nothing(
    services: Services, sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    seller, buyer = sign_up(), sign_up()
    ordered = order(buyer, publish_product(seller))
    attempt = start(buyer, ordered)
    intent = simulator.get(f"payment_intents/{attempt['provider_ref']}")
    intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    body = event("payment_intent.succeeded", data={"object": intent})
    url, event_id = f"{services.url}/webhooks/stripe", json.loads(body)["id"]
    for forgery in FORGERIES.values():
        assert deliver(url, *forgery(body, services.webhook_secret)) == 400
    assert database.value("select count(*) from private.webhook_events where event_id = %s", event_id) == 0
    assert buyer.api.one("orders")["status"] == "pending"
    # The same body with the right signature does: it was the signature that was missing, nothing else.
    assert deliver(url, body, stripe_signature(body, services.webhook_secret)) == 200
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"


@pytest.mark.parametrize(
    "change",
    [
        {"amount_received": 1999},
        {"amount_received": 2001},
        {"amount_received": None},
        {"currency": "eur"},
        {"id": "pi_somebody_elses"},
    ],
    ids=str,
)
def test_an_authentic_event_that_contradicts_our_books_grants_nothing(
    services: Services, sign_up: SignUp, simulator: Simulator, database: Database, admin: Person, change: dict[str, Any]
) -> None:
    seller, buyer = sign_up(), sign_up()
    ordered = order(buyer, publish_product(seller, 2000))
    intent = simulator.get(f"payment_intents/{start(buyer, ordered)['provider_ref']}")
    intent |= {"status": "succeeded", "amount_received": 2000, **change}
    body = event("payment_intent.succeeded", data={"object": intent})
    assert deliver(f"{services.url}/webhooks/stripe", body, stripe_signature(body, services.webhook_secret)) == 200
    event_id = json.loads(body)["id"]
    dead = until(
        lambda: [row for row in admin.api.rpc("list_webhook_events").json() if row["event_id"] == event_id],
        "the event to be dead-lettered",
    )
    assert dead[0]["last_error"].startswith("The provider's report contradicts our books")
    assert buyer.api.one("orders")["status"] == "pending"
    assert buyer.api.select("purchases") == []
    assert database.audit() == []


def test_secrets_rotate_without_losing_a_delivery(services: Services, database: Database) -> None:
    old, new = "whsec_the_old_one", "whsec_the_new_one"

    def accepted(url: str, secret: str) -> bool:
        body = event()
        return deliver(f"{url}/webhooks/stripe", body, stripe_signature(body, secret)) == 200

    with http_workers(services, AVENUE_STRIPE_WEBHOOK_SECRETS=f" {old}\n, {new} ") as url:
        assert (accepted(url, old), accepted(url, new), accepted(url, "whsec_other")) == (True, True, False)
        # Stripe signs with both while it rotates.
        body = event()
        both = stripe_signature(body, old) + "," + stripe_signature(body, new).split(",")[1]
        assert deliver(f"{url}/webhooks/stripe", body, both) == 200
    with http_workers(services, AVENUE_STRIPE_WEBHOOK_SECRETS=new) as url:
        assert (accepted(url, old), accepted(url, new)) == (False, True)
    # Without any it does not start, rather than take what nobody signed.
    for nothing in ("", " , "):
        name = f"http-without-secret-{len(nothing)}"
        with process(services, name, "workers.cli", "serve", AVENUE_STRIPE_WEBHOOK_SECRETS=nothing) as started:
            assert started.wait(60) == 2
        assert "Not set: AVENUE_STRIPE_WEBHOOK_SECRETS" in services.log(name).read_text()


# -- repetition and order ---------------------------------------------------------------------------------------------

# Everything about money of some people, without what differs between two runs of one story: ids, references, times.
STATE = {
    "orders": "select status, status_reason, total_cents from public.orders where user_id = any(%(people)s)",
    "payments": """select status, amount_cents, refunded_cents, provider_fee_cents, failure_reason,
        succeeded_at is null, charge_id is null, cardinality(declined_charges)
        from public.payments where user_id = any(%(people)s)""",
    "sales": """select t.kind, c.title, t.status, t.amount_total_cents, t.amount_fees_cents,
        t.amount_commission_cents, t.amount_seller_cents, t.refunded_cents, t.refunded_tax_cents,
        t.refunded_commission_cents, t.refunded_fee_cents, t.refunded_seller_cents
        from public.transactions as t join public.catalog_items as c on c.id = t.related_id
        where t.buyer_id = any(%(people)s)""",
    "payees": """select c.title, u.raw_user_meta_data ->> 'username', p.cents, p.pending_cents, p.refunded_cents
        from public.transaction_payees as p join public.transactions as t on t.id = p.transaction_id
        join public.catalog_items as c on c.id = t.related_id join auth.users as u on u.id = p.payee_id
        where t.buyer_id = any(%(people)s)""",
    "refunds": """select r.amount_cents, r.status, r.reason, r.provider_ref is null,
        r.booked_at is not null and r.reversed_at is null
        from public.refunds as r join public.payments as p on p.id = r.payment_id where p.user_id = any(%(people)s)""",
    "refunded of lines": """select c.title, sum(l.amount_cents), sum(l.tax_cents), sum(l.commission_cents),
        sum(l.seller_cents)
        from public.refund_lines as l join public.refunds as r on r.id = l.refund_id and r.reversed_at is null
        join public.transactions as t on t.id = l.transaction_id
        join public.catalog_items as c on c.id = t.related_id where t.buyer_id = any(%(people)s) group by c.title""",
    "entitlements": """select c.title, p.price_cents, p.revoked_at is null
        from public.purchases as p join public.catalog_items as c on c.id = p.item_id
        where p.owner_id = any(%(people)s)""",
    "items": """select c.title, c.is_listed, c.purchases_count, h.order_id is not null
        from public.catalog_items as c left join private.holds as h on h.item_id = c.id
        where c.seller_id = any(%(people)s)""",
    "payouts": """select amount_cents, status, failure_reason, provider_ref is null from public.payouts
        where user_id = any(%(people)s)""",
    "wallets": """select u.raw_user_meta_data ->> 'username', w.balance_available_cents, w.balance_pending_cents,
        w.debt_cents, w.total_earned_cents, w.total_withdrawn_cents, w.payouts_enabled
        from public.wallets as w join auth.users as u on u.id = w.user_id where w.user_id = any(%(people)s)""",
    "books": """with sources as (
            select id from public.transactions where buyer_id = any(%(people)s)
            union all select id from public.payments where user_id = any(%(people)s)
            union all select id from public.payouts where user_id = any(%(people)s)
            union all select r.id from public.refunds as r join public.payments as p on p.id = r.payment_id
            where p.user_id = any(%(people)s)
        )
        select u.raw_user_meta_data ->> 'username', a.code, sum(e.amount_cents)
        from ledger.journal as j join ledger.entries as e on e.journal_id = j.id
        join ledger.accounts as a on a.id = e.account_id left join auth.users as u on u.id = a.owner_id
        where j.source_id in (select id from sources) group by 1, 2 having sum(e.amount_cents) <> 0""",
}


def state(database: Database, people: list[str]) -> dict[str, list[str]]:
    """What STATE says, in an order that does not depend on when things happened."""
    found = {}
    with database.connect() as connection:
        for name, query in STATE.items():
            rows = connection.execute(query.encode(), {"people": people}).fetchall()
            found[name] = sorted(json.dumps(row, default=str) for row in rows)
    return found


def tell_the_story(sign_up: SignUp, admin: Person, simulator: Simulator, database: Database) -> list[str]:
    """Everything a provider may report, happening at the provider while its deliveries are held back."""
    simulator.hold()
    ann, ben, joe = (sign_up(username=name) for name in ("ann", "ben", "joe"))
    beat, dawn = publish_product(ann, 2000, title="Beat"), publish_artwork(ben, 70000, title="Dawn")
    dusk, noise = publish_artwork(ben, 5000, title="Dusk"), publish_product(ann, 1500, title="Noise")
    late, loop = publish_product(ann, 1700, title="Late"), publish_product(ben, 900, title="Loop")

    # A cart of two sellers: declined, then paid; part and then the rest given back in the dashboard.
    cart = start(joe, order(joe, beat, dawn))
    simulator.confirm(cart["client_secret"], "pm_card_chargeDeclined")
    simulator.confirm(cart["client_secret"])
    simulator.post("refunds", payment_intent=cart["provider_ref"], amount=700)
    simulator.post("refunds", payment_intent=cart["provider_ref"])
    # Paid, and kept.
    simulator.confirm(start(joe, order(joe, noise))["client_secret"])
    # Paid, and declined by the bank days later.
    settled = start(joe, order(joe, late))
    simulator.confirm(settled["client_secret"])
    simulator.late_decline(settled["provider_ref"])
    # Paid; a refund that is pending, succeeds, and fails after all.
    unlucky = start(joe, order(joe, loop))
    simulator.confirm(unlucky["client_secret"])
    simulator.config(refund_status="pending")
    refund = simulator.post("refunds", payment_intent=unlucky["provider_ref"], amount=300)["id"]
    simulator.config(refund_status="succeeded")
    simulator.finish_refund(refund, "succeeded")
    simulator.finish_refund(refund, "failed")
    # Given up in the dashboard before anything was paid.
    given_up = start(joe, order(joe, dusk))
    simulator.post(f"payment_intents/{given_up['provider_ref']}/cancel")
    # An account: asked for, enabled, disabled, enabled; then a payout that is taken back.
    urls = {"return_url": "https://shop.example/a", "refresh_url": "https://shop.example/b"}
    account = ben.api.function("POST", "payouts/onboard", urls).json()["account_id"]
    for _ in range(2):
        simulator.enable_account(account)
        simulator.disable_account(account)
    simulator.enable_account(account)
    database.run("select private.record_account_status(%s, 'enabled')", account)
    simulator.add_balance(10000)
    gift = {"user_id": ben.id, "amount_cents": 9000, "reason": "story", "idempotency_key": ben.id}
    assert admin.api.rpc("adjust_wallet", **gift).status_code == 200
    payout = ben.api.rpc("request_payout", amount_cents=6000)
    assert payout.status_code == 200, payout.text
    transfer = until(
        lambda: ben.api.one("payouts", id=f"eq.{payout.json()['id']}")["provider_ref"], "the payout to be sent"
    )
    simulator.post(f"transfers/{transfer}/reversals")
    return [ann.id, ben.id, joe.id]


def finish_events(database: Database, admin: Person, simulator: Simulator) -> None:
    """Let time pass for events that wait for an earlier one, instead of waiting for their backoff."""

    def done() -> bool:
        for row in admin.api.rpc("list_webhook_events", with_status="pending", max_rows=200).json():
            if row["attempts"]:
                admin.api.rpc("replay_webhook_event", event_id=row["id"])
        return bool(
            database.value(
                "select not exists (select from private.webhook_events where status = 'pending') and not exists ("
                "select from jobs.procrastinate_jobs where status = 'doing' or status = 'todo' "
                "and coalesce(scheduled_at, now()) <= now())"
            )
        )

    until(done, "all events to be applied", 60)


@pytest.fixture(scope="module")
def told_in_order(sign_up: SignUp, admin: Person, simulator: Simulator, database: Database) -> dict[str, list[str]]:
    """How the story ends when each of its events arrives once, in the order they happened."""
    people = tell_the_story(sign_up, admin, simulator, database)
    answers = simulator.deliver()
    assert len(answers) >= 40
    assert {answer["status"] for answer in answers} == {200}
    finish_events(database, admin, simulator)
    simulator.release()
    return state(database, people)


def test_the_story_ends_as_it_should(told_in_order: dict[str, list[str]], database: Database) -> None:
    assert told_in_order["orders"] == sorted(
        json.dumps(row)
        for row in (
            ["refunded", None, 72000],
            ["completed", None, 1500],
            ["refunded", None, 1700],
            ["completed", None, 900],
            ["cancelled", "cancelled_at_provider", 5000],
        )
    )
    assert told_in_order["payouts"] == [json.dumps([6000, "returned", "transfer_reversed", False])]
    assert json.dumps(["Dusk", True, 0, False]) in told_in_order["items"]
    assert database.value("select count(*) from private.webhook_events where status = 'dead'") == len(
        database.run(
            "select 1 from private.webhook_events where last_error like 'The provider''s report contradicts%%'"
        )
    )
    assert database.audit() == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_three_times_in_random_order_ends_the_same(
    told_in_order: dict[str, list[str]],
    sign_up: SignUp,
    admin: Person,
    simulator: Simulator,
    database: Database,
    seed: int,
) -> None:
    people = tell_the_story(sign_up, admin, simulator, database)
    simulator.config(seed=seed)
    answers = simulator.deliver(order="random", times=3)
    assert {answer["status"] for answer in answers} == {200}
    names = [answer["event"] for answer in answers]
    assert len(names) == 3 * len(set(names))
    assert names != sorted(names, key=names.index)
    finish_events(database, admin, simulator)
    simulator.release()
    assert state(database, people) == told_in_order
    assert database.audit() == []


# -- another implementation -------------------------------------------------------------------------------------------


def test_localstripes_own_deliveries_are_accepted(
    services: Services, sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    """An independent double signs its deliveries by itself; ours must take them as Stripe's."""
    seller, buyer = sign_up(), sign_up()
    ordered = order(buyer, publish_product(seller, 2000))
    start(buyer, ordered)
    with localstripe(services) as url:
        client = stripe.StripeClient("sk_test_localstripe", base_addresses={"api": url})
        registered = httpx.post(
            f"{url}/_config/webhooks/avenue",
            data={"url": f"{services.url}/webhooks/stripe", "secret": services.webhook_secret},
        )
        assert registered.is_success, registered.text
        customer = client.v1.customers.create({"email": "joe@example.com"})
        client.v1.customers.update(customer.id, {"name": "Joe"})
        # One of somebody else's business, and one that claims to be ours but lacks what a real success carries.
        for metadata in ({}, {"payment_id": ordered["payment_id"]}):
            intent = client.v1.payment_intents.create(
                {"amount": 2000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
                 "metadata": metadata}
            )  # fmt: skip
            assert intent.status == "succeeded"
            refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
            assert refund.status == "succeeded"
        with pytest.raises(stripe.CardError):
            client.v1.payment_intents.create(
                {"amount": 700, "currency": "usd", "payment_method": "pm_card_chargeCustomerFail", "confirm": True}
            )

        def arrived() -> list[str]:
            rows = database.run(
                "select type from private.webhook_events where payload ->> 'api_version' = '2017-08-15' order by type"
            )
            return [row["type"] for row in rows]

        expected = [
            "customer.created",
            "customer.updated",
            "payment_intent.payment_failed",
            "payment_intent.succeeded",
            "payment_intent.succeeded",
        ]
        until(lambda: arrived() == expected, f"localstripe's deliveries, {expected}, to be stored")
        # And a wrong secret is refused there, too.
        httpx.post(
            f"{url}/_config/webhooks/avenue", data={"url": f"{services.url}/webhooks/stripe", "secret": "whsec_x"}
        )
        client.v1.customers.create({"email": "ann@example.com"})
        until(lambda: "failed with response code 400" in services.log("localstripe").read_text(), "its refusal")
        assert arrived() == expected
    # Believed as far as it goes: no payment of ours is settled by it.
    until(
        lambda: (
            database.value(
                "select count(*) from private.webhook_events where payload ->> 'api_version' = '2017-08-15' "
                "and (status in ('ignored', 'dead') or attempts > 0)"
            )
            == len(expected)
        ),
        "the deliveries to be looked at",
    )
    assert buyer.api.one("orders")["status"] == "pending"
    assert database.audit() == []
