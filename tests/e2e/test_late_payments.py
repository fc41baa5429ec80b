"""Abandoned and late payments: whatever the buyer does and whenever it arrives, goods and money end up together."""

from __future__ import annotations

from typing import Any

import pytest

from stack.services import Services
from tests.harness.market import (
    Simulator,
    assert_books,
    drain,
    order,
    publish_artwork,
    publish_product,
    run_job,
    start,
    wait_for_order,
)
from tests.harness.people import Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database
from tests.harness.waiting import until


@pytest.fixture(autouse=True)
def books_are_right(database: Database, simulator: Simulator) -> Any:
    """After every test nothing is orphaned: the audit is clean and the provider holds what the books say."""
    yield
    simulator.release()
    drain(database, simulator)
    run_job(database, "read_missing_fees")
    assert_books(database, simulator)


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture
def buyer(services: Services, database: Database) -> Member:
    return enroll(services, database, 1)[0]


@pytest.fixture
def other(services: Services, database: Database) -> Member:
    return enroll(services, database, 1)[0]


@pytest.fixture
def artwork(seller: Person) -> str:
    return publish_artwork(seller, 5000)


def run_out(database: Database, ordered: dict[str, Any]) -> None:
    """Let the reservation's 15 minutes pass."""
    database.run("update public.payments set expires_at = now() where id = %s", ordered["payment_id"])


def intent(simulator: Simulator, ordered: dict[str, Any]) -> dict[str, Any]:
    """The provider's object of an order's payment."""
    found = [
        each for each in simulator.all("payment_intents") if each["metadata"].get("payment_id") == ordered["payment_id"]
    ]
    assert len(found) == 1
    return found[0]


def outcome(buyer: Member, ordered: dict[str, Any]) -> tuple[str, str | None, str]:
    """What the buyer is told: the order's status, its reason, the payment's status."""
    row = buyer.api.one("orders", id=f"eq.{ordered['order_id']}", select="status,status_reason,payments(status)")
    return row["status"], row["status_reason"], row["payments"][0]["status"]


def owners(database: Database, item: str) -> list[str]:
    rows = database.run("select owner_id::text from public.purchases where item_id = %s and revoked_at is null", item)
    return [row["owner_id"] for row in rows]


REFUNDED = ("cancelled", "item_not_available", "refunded")


# -- abandoned --------------------------------------------------------------------------------------------------------


def test_never_started_and_run_out(buyer: Member, other: Member, artwork: str, database: Database) -> None:
    ordered = order(buyer, artwork)
    run_job(database, "cancel_expired_payments")
    assert outcome(buyer, ordered)[0] == "pending"
    assert code_of(other.api.rpc("checkout", items=[{"item_id": artwork}])) == "item_reserved"
    run_out(database, ordered)
    assert code_of(buyer.api.http.post(ordered["start_url"])) == "payment_not_open"
    run_job(database, "cancel_expired_payments")
    assert outcome(buyer, ordered) == ("cancelled", "expired", "cancelled")
    assert order(other, artwork)["status"] == "pending"


def test_started_and_run_out_is_cancelled_at_the_provider_first(
    buyer: Member, other: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    run_out(database, ordered)
    # The provider does not answer, however often: nobody else may have the item while the buyer could still pay.
    simulator.fault("POST /v1/payment_intents/*/cancel", "error", times=1000)
    run_job(database, "cancel_expired_payments")
    assert outcome(buyer, ordered)[0] == "pending"
    assert code_of(other.api.rpc("checkout", items=[{"item_id": artwork}])) == "item_reserved"
    simulator.clear_faults()
    run_job(database, "cancel_expired_payments")
    assert outcome(buyer, ordered) == ("cancelled", "expired", "cancelled")
    assert simulator.get(f"payment_intents/{attempt['provider_ref']}")["status"] == "canceled"
    with pytest.raises(RuntimeError, match="canceled"):
        simulator.confirm(attempt["client_secret"])
    assert order(other, artwork)["status"] == "pending"


def test_given_up_by_the_buyer(
    buyer: Member, other: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    assert buyer.api.rpc("cancel_order", order_id=ordered["order_id"]).status_code == 200
    assert code_of(buyer.api.http.post(ordered["start_url"])) == "payment_not_open"
    run_job(database, "cancel_expired_payments")
    assert outcome(buyer, ordered) == ("cancelled", "cancelled_by_buyer", "cancelled")
    assert simulator.get(f"payment_intents/{attempt['provider_ref']}")["status"] == "canceled"
    assert order(other, artwork)["status"] == "pending"


def test_started_but_the_answer_was_lost(
    services: Services, buyer: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    """Killed between the provider's work and our note of it: the attempt is found under its key, not forgotten."""
    ordered = order(buyer, artwork)
    simulator.hold()
    simulator.fault("POST /v1/payment_intents", "delay_after", seconds=60)
    with pytest.raises(Exception, match=r"(?i)timed out"):
        buyer.api.http.post(ordered["start_url"], timeout=1)
    until(lambda: not simulator.faults(), "the attempt to be created")
    services.kill("http")
    services.start(["http"])
    assert database.value("select provider_ref from public.payments where id = %s", ordered["payment_id"]) is None
    assert intent(simulator, ordered)["status"] == "requires_payment_method"
    run_out(database, ordered)
    run_job(database, "cancel_expired_payments")
    assert outcome(buyer, ordered) == ("cancelled", "expired", "cancelled")
    assert intent(simulator, ordered)["status"] == "canceled"


def test_started_again_after_a_lost_answer_is_one_attempt(buyer: Member, artwork: str, simulator: Simulator) -> None:
    ordered = order(buyer, artwork)
    simulator.fault("POST /v1/payment_intents", "drop_after", times=3)
    answer = buyer.api.http.post(ordered["start_url"])
    assert answer.status_code == 503
    attempt = start(buyer, ordered)
    assert intent(simulator, ordered)["id"] == attempt["provider_ref"]
    simulator.confirm(attempt["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"


# -- late -------------------------------------------------------------------------------------------------------------


def test_paid_in_the_last_second(buyer: Member, artwork: str, simulator: Simulator, database: Database) -> None:
    """The reservation runs out while the event is on its way: cancelling answers "already succeeded", which settles."""
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    simulator.hold()
    simulator.confirm(attempt["client_secret"])
    run_out(database, ordered)
    run_job(database, "cancel_expired_payments")
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    # The provider's own event comes afterwards, and changes nothing.
    simulator.release()
    drain(database, simulator)
    assert outcome(buyer, ordered) == ("completed", None, "succeeded")
    assert owners(database, artwork) == [buyer.id]
    assert database.value("select count(*) from public.transactions where related_id = %s", artwork) == 1


def give_up(database: Database, ordered: dict[str, Any]) -> None:
    """The attempt was reported cancelled, the order ended, its items are free. (And yet a success will arrive.)"""
    database.run("select private.payment_cancelled(%s)", ordered["payment_id"])


def test_late_and_the_item_is_still_there(
    buyer: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    give_up(database, ordered)
    assert outcome(buyer, ordered)[0] == "cancelled"
    simulator.confirm(attempt["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"], "completed")
    assert owners(database, artwork) == [buyer.id]


@pytest.mark.parametrize("how", ["sold", "reserved", "archived"])
def test_late_and_the_item_is_gone(
    seller: Person, buyer: Member, other: Member, artwork: str, simulator: Simulator, database: Database, how: str
) -> None:
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    give_up(database, ordered)
    theirs = None
    if how == "archived":
        seller.client.table("artworks").update({"status": "archived"}).eq("id", artwork).execute()
    else:
        theirs = order(other, artwork)
        if how == "sold":
            simulator.confirm(start(other, theirs)["client_secret"])
            wait_for_order(other, theirs["order_id"], "completed")
    simulator.confirm(attempt["client_secret"])
    until(lambda: outcome(buyer, ordered) == REFUNDED, "the late payment to be given back")
    assert [each["amount"] for each in simulator.all("refunds", payment_intent=attempt["provider_ref"])] == [5000]
    assert owners(database, artwork) == ([other.id] if how == "sold" else [])
    if how == "reserved":
        # The other buyer, who was promised the item, still gets it.
        assert theirs
        simulator.confirm(start(other, theirs)["client_secret"])
        assert wait_for_order(other, theirs["order_id"])["status"] == "completed"


def test_late_after_the_buyer_bought_it_again(
    seller: Person, buyer: Member, simulator: Simulator, database: Database
) -> None:
    """Two tabs, one product, both paid: bought once, the other payment goes back (sharp case 17)."""
    product = publish_product(seller, 2000)
    first = order(buyer, product)
    attempts = [start(buyer, first)]
    second = order(buyer, product)  # Replaces the first, whose attempt the provider still takes.
    attempts.append(start(buyer, second))
    simulator.confirm(attempts[1]["client_secret"])
    wait_for_order(buyer, second["order_id"], "completed")
    simulator.confirm(attempts[0]["client_secret"])
    until(lambda: outcome(buyer, first) == REFUNDED, "the payment that was one too many to be given back")
    assert owners(database, product) == [buyer.id]
    assert buyer.api.function("GET", f"downloads/{product}").status_code == 200
    assert database.value("select count(*) from public.transactions where related_id = %s", product) == 1


def test_both_attempts_of_one_artwork_paid(
    buyer: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    """The newer checkout took the reservation over; the older attempt was paid before it could be cancelled."""
    older = order(buyer, artwork)
    old_attempt = start(buyer, older)
    newer = order(buyer, artwork)
    new_attempt = start(buyer, newer)
    simulator.confirm(old_attempt["client_secret"])
    until(lambda: outcome(buyer, older) == REFUNDED, "the older attempt to be given back")
    simulator.confirm(new_attempt["client_secret"])
    assert wait_for_order(buyer, newer["order_id"])["status"] == "completed"
    run_job(database, "cancel_expired_payments")
    assert owners(database, artwork) == [buyer.id]


def test_a_cart_is_delivered_whole_or_not_at_all(
    seller: Person, buyer: Member, other: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    """One line of a late payment is gone: the whole payment goes back, and nothing of it was granted."""
    product = publish_product(seller, 2000)
    ordered = order(buyer, product, artwork)
    attempt = start(buyer, ordered)
    give_up(database, ordered)
    theirs = order(other, artwork)
    simulator.confirm(start(other, theirs)["client_secret"])
    wait_for_order(other, theirs["order_id"], "completed")
    simulator.confirm(attempt["client_secret"])
    until(lambda: outcome(buyer, ordered) == REFUNDED, "the late payment to be given back")
    assert owners(database, product) == []
    assert database.value("select count(*) from public.transactions where buyer_id = %s", buyer.id) == 0


def test_what_was_promised_holds_whatever_the_seller_does(
    seller: Person, buyer: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    """Price raised, item archived, seller on another plan: the order is what it was at checkout (sharp case 18)."""
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    changes = {"status": "archived", "price_cents": 99900, "title": "Other"}
    seller.client.table("artworks").update(changes).eq("id", artwork).execute()
    simulator.confirm(attempt["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    sale = buyer.api.one("transactions")
    assert (sale["amount_total_cents"], sale["commission_bps"]) == (5000, 4000)
    assert database.value("select status::text from public.artworks where id = %s", artwork) == "sold"


# -- events that never come -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_usBankAccount_processing"])
def test_an_attempt_whose_events_are_lost_is_asked_about(
    buyer: Member, artwork: str, simulator: Simulator, database: Database, method: str
) -> None:
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    drain(database, simulator)
    simulator.config(drop_rate=1)
    try:
        simulator.confirm(attempt["client_secret"], method)
        if method == "pm_usBankAccount_processing":
            simulator.finish_payment(attempt["provider_ref"])
    finally:
        simulator.config(drop_rate=0)
    run_job(database, "reconcile_payments")
    assert outcome(buyer, ordered)[0] == "pending"  # too young to be asked about
    database.run(
        "update public.payments set started_at = started_at - interval '61 minutes' where id = %s",
        ordered["payment_id"],
    )
    run_job(database, "reconcile_payments")
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    assert owners(database, artwork) == [buyer.id]


def test_a_bank_debit_keeps_its_reservation_while_it_is_under_way(
    buyer: Member, other: Member, artwork: str, simulator: Simulator, database: Database
) -> None:
    ordered = order(buyer, artwork)
    attempt = start(buyer, ordered)
    simulator.confirm(attempt["client_secret"], "pm_usBankAccount_processing")
    until(lambda: outcome(buyer, ordered)[2] == "processing", "the debit to be under way")
    run_out(database, ordered)
    run_job(database, "cancel_expired_payments")
    drain(database, simulator)
    assert code_of(other.api.rpc("checkout", items=[{"item_id": artwork}])) == "item_reserved"
    simulator.finish_payment(attempt["provider_ref"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
