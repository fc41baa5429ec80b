"""What is sold otherwise than off the shelf: parcels, agreements, tips, licences and editions, as clients do it."""

from __future__ import annotations

from typing import Any

import pytest

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
    wait_for_order,
)
from tests.harness.people import Json, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until

BERLIN = {"name": "Lena", "line1": "Lange Str. 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}


@pytest.fixture(autouse=True)
def books_are_right(database: Database, simulator: Simulator) -> Any:
    """After every test: the audit is clean and the provider holds what the books say."""
    yield
    drain(database, simulator)
    assert_books(database, simulator)


@pytest.fixture
def seller(sign_up: SignUp) -> Person:
    """Sends everywhere for 7.00."""
    person = sign_up()
    person.client.table("shipping_rates").insert({"name": "Everywhere", "price_cents": 700}).execute()
    return person


@pytest.fixture
def buyer(sign_up: SignUp) -> Person:
    return sign_up()


def pay(simulator: Simulator, buyer: Person, ordered: dict[str, Json]) -> str:
    """Pay an order by card and wait for it; its first line."""
    simulator.confirm(start(buyer, ordered)["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    return str(buyer.api.one("order_items", order_id=f"eq.{ordered['order_id']}", line_no="eq.1")["id"])


def called(person: Person, function: str, **arguments: Json) -> Any:
    """What a function answers that does not refuse."""
    answer = person.api.rpc(function, **arguments)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def sale_of(person: Person, line: str) -> dict[str, Json]:
    return person.api.one("transactions", order_item_id=f"eq.{line}")


def available(person: Person) -> int:
    return int(person.api.one("wallets")["balance_available_cents"])


# -- parcels ----------------------------------------------------------------------------------------------------------


def test_a_tracked_parcel_is_earned_without_its_buyer(
    seller: Person, buyer: Person, simulator: Simulator, database: Database
) -> None:
    vase = publish_artwork(seller, 5000, is_physical=True)
    refused = buyer.api.rpc("checkout", items=[{"item_id": vase}])
    assert (refused.status_code, code_of(refused)) == (400, "address_required")
    ordered = order(buyer, vase, shipping_address=BERLIN)
    assert ordered["total_cents"] == 5700
    line = pay(simulator, buyer, ordered)
    assert sale_of(seller, line)["release_at"] is None
    delivery = seller.api.one("order_items", id=f"eq.{line}", select="delivery")["delivery"]
    assert delivery["shipping_address"] == BERLIN
    parcel = called(seller, "ship_line", order_item_id=line, carrier="UPS", tracking_number="1Z 5R8 9390 3575 6712 7")
    assert (parcel["tracking_number"], parcel["is_suspicious"]) == ("1Z5R89390357567127", False)
    assert buyer.api.one("shipments", order_item_id=f"eq.{line}")["status"] == "shipped"
    assert buyer.api.one("notifications", type="eq.shipped")["related_id"] == line
    run_job(database, "assume_deliveries")
    assert sale_of(seller, line)["completed_at"] is None
    database.run("update public.shipments set status_at = status_at - interval '14 days'")
    run_job(database, "assume_deliveries")
    assert buyer.api.one("shipments", order_item_id=f"eq.{line}")["status"] == "delivered"
    run_job(database, "release_earnings")
    assert available(seller) == 0
    pass_time(database)
    run_job(database, "release_earnings")
    assert available(seller) == sale_of(seller, line)["amount_seller_cents"] > 0


def test_a_parcel_that_arrives_and_comes_back(seller: Person, buyer: Person, simulator: Simulator) -> None:
    vase = publish_artwork(seller, 5000, is_physical=True)
    line = pay(simulator, buyer, order(buyer, vase, shipping_address=BERLIN))
    early = buyer.api.rpc("confirm_delivery", order_item_id=line)
    assert (early.status_code, code_of(early)) == (409, "not_shipped")
    called(seller, "ship_line", order_item_id=line)
    called(buyer, "confirm_delivery", order_item_id=line)
    assert sale_of(seller, line)["release_at"] is not None
    called(seller, "confirm_return", order_item_id=line)
    assert buyer.api.one("shipments", order_item_id=f"eq.{line}")["status"] == "returned"
    called(seller, "refund_order_item", order_item_id=line, reason="sent back")
    until(lambda: sale_of(seller, line)["status"] == "refunded", "the refund to be booked")
    assert seller.api.one("artworks", id=f"eq.{vase}")["status"] == "published"


def test_what_is_not_sent_in_time_is_cancelled(
    seller: Person, buyer: Person, simulator: Simulator, database: Database
) -> None:
    vase = publish_artwork(seller, 5000, is_physical=True)
    line = pay(simulator, buyer, order(buyer, vase, shipping_address=BERLIN))
    early = buyer.api.rpc("cancel_line", order_item_id=line)
    assert (early.status_code, code_of(early)) == (409, "cannot_cancel")
    database.run("update public.transactions set ship_by = ship_by - interval '14 days' where order_item_id = %s", line)
    asked = called(buyer, "cancel_line", order_item_id=line, idempotency_key=line)
    assert asked["id"] == called(buyer, "cancel_line", order_item_id=line, idempotency_key=line)["id"]
    late = seller.api.rpc("ship_line", order_item_id=line)
    assert (late.status_code, code_of(late)) == (409, "line_refunded")
    until(lambda: sale_of(buyer, line)["refunded_cents"] == 5700, "the refund to be booked")
    assert simulator.all("refunds")[-1]["amount"] == 5700


# -- agreements -------------------------------------------------------------------------------------------------------


def test_what_was_agreed_is_paid_as_agreed(
    seller: Person, buyer: Person, sign_up: SignUp, simulator: Simulator, database: Database
) -> None:
    agreed = database.value(
        "insert into public.payables (kind, subject_id, buyer_id, seller_id, title, amount_cents, seller_tier, "
        "commission_bps) values ('artwork', gen_random_uuid(), %s, %s, 'Portrait', 15000, 'basic', 1000) returning id",
        buyer.id,
        seller.id,
    )
    # Neither of these undoes it.
    seller.client.table("user_blocks").insert({"blocked_id": buyer.id}).execute()
    seller.api.rpc("set_profile_visibility", visibility="private").raise_for_status()
    assert seller.api.select("payables") == []
    stranger = sign_up().api.rpc("checkout_payable", payable_id=str(agreed))
    assert (stranger.status_code, code_of(stranger)) == (409, "payable_not_open")
    abandoned = called(buyer, "checkout_payable", payable_id=str(agreed))
    start(buyer, abandoned)
    ordered = called(buyer, "checkout_payable", payable_id=str(agreed))
    assert ordered["order_id"] != abandoned["order_id"]
    line = pay(simulator, buyer, ordered)
    sale = sale_of(buyer, line)
    assert (sale["amount_total_cents"], sale["amount_commission_cents"]) == (15000, 1500)
    assert buyer.api.one("payables")["status"] == "paid"
    again = buyer.api.rpc("checkout_payable", payable_id=str(agreed))
    assert (again.status_code, code_of(again)) == (409, "payable_not_open")


# -- tips -------------------------------------------------------------------------------------------------------------


def test_a_tip(seller: Person, buyer: Person, simulator: Simulator, database: Database) -> None:
    song = publish_product(seller, 2000)
    tip = {"recipient_id": seller.id, "amount_cents": 100, "message": "Thank you!", "item_id": song}
    ordered = called(buyer, "send_tip", **tip, idempotency_key="tip")
    assert called(buyer, "send_tip", **tip, idempotency_key="tip")["order_id"] == ordered["order_id"]
    assert seller.api.select("tips") == []
    line = pay(simulator, buyer, ordered)
    received = seller.api.one("tips", select="*,sender:profiles!sender_id(id)")
    assert (received["amount_cents"], received["message"], received["item_id"]) == (100, "Thank you!", song)
    assert (received["sender"]["id"], received["closed_at"]) == (buyer.id, None)
    assert [row["type"] for row in seller.api.select("notifications")] == ["tip"]
    assert (sale_of(seller, line)["amount_commission_cents"], sale_of(seller, line)["amount_seller_cents"]) == (0, 67)
    jar = seller.api.one("tip_jars", seller_id=f"eq.{seller.id}")["id"]
    assert jar not in [row["id"] for row in buyer.api.select("catalog_items", is_listed="eq.true")]
    called(seller, "refund_order_item", order_item_id=line, reason="too kind")
    until(lambda: buyer.api.one("tips")["closed_at"], "the tip to be closed")


# -- licences and editions --------------------------------------------------------------------------------------------


def test_an_exclusive_licence_ends_the_others(
    seller: Person, buyer: Person, sign_up: SignUp, simulator: Simulator
) -> None:
    beat, early = publish_product(seller, 2000), sign_up()
    option = {"item_id": beat, "title": "Exclusive", "price_cents": 90000, "stock": 1, "is_exclusive": True}
    exclusive = (
        seller.client.table("catalog_options")
        .insert({**option, "details": {"license_type": "exclusive"}})
        .execute()
        .data[0]["id"]
    )
    buy(simulator, early, beat)
    buyer.client.table("cart_items").upsert({"item_id": beat, "option_id": exclusive}).execute()
    line = pay(simulator, buyer, called(buyer, "checkout"))
    assert buyer.api.one("order_items", id=f"eq.{line}")["license_type"] == "exclusive"
    assert buyer.api.select("cart_items") == []
    refused = sign_up().api.rpc("checkout", items=[{"item_id": beat}])
    assert (refused.status_code, code_of(refused)) == (409, "item_sold")
    # Who bought before keeps what they have.
    assert early.api.function("GET", f"downloads/{beat}").status_code == 200


def test_copies_of_an_edition_are_numbered(seller: Person, buyer: Person, simulator: Simulator) -> None:
    dawn = publish_artwork(seller, 3000, edition_size=3)
    pay(simulator, buyer, order(buyer, {"item_id": dawn, "quantity": 2}))
    assert [row["number"] for row in buyer.api.select("purchases", order="number")] == [1, 2]
    pay(simulator, buyer, order(buyer, dawn))
    assert [row["number"] for row in buyer.api.select("purchases", order="number")] == [1, 2, 3]
    assert seller.api.one("artworks", id=f"eq.{dawn}")["status"] == "sold"
