"""Coupons and gifts as clients use them: given, seen, used, refused, and closed to everybody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.market import Simulator, assert_books, drain, order, publish_product, start, wait_for_order
from tests.harness.people import SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until


@pytest.fixture(autouse=True)
def books_are_right(database: Database, simulator: Simulator) -> Any:
    """After every test: the audit is clean and the provider holds what the books say."""
    yield
    drain(database, simulator)
    assert_books(database, simulator)


def test_a_coupon_from_its_seller_to_a_refund(sign_up: SignUp, simulator: Simulator) -> None:
    seller, buyer, other = sign_up(), sign_up(), sign_up()
    item = publish_product(seller, 2000)
    given = seller.client.table("coupons").insert({"code": "Summer", "amount_cents": 500, "usage_limit": 1}).execute()
    assert given.data[0]["code"] == "Summer"
    shown = buyer.client.rpc("preview_checkout", {"items": [{"item_id": item}], "coupon_codes": ["summer"]}).execute()
    assert shown.data["total_cents"] == 1500
    ordered = order(buyer, item, coupon_codes=["SUMMER"])
    assert ordered["total_cents"] == 1500
    refused = other.api.rpc("checkout", items=[{"item_id": item}], coupon_codes=["summer"])
    assert (refused.status_code, code_of(refused)) == (409, "coupon_exhausted")
    simulator.confirm(start(buyer, ordered)["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    line = buyer.api.one("order_items", order_id=f"eq.{ordered['order_id']}")
    assert (line["discount_cents"], line["coupon_id"]) == (500, given.data[0]["id"])
    made = seller.api.rpc("refund_order_item", order_item_id=line["id"])
    assert made.json()["amount_cents"] == 1500
    until(
        lambda: seller.api.one("coupons", select="uses_count")["uses_count"] == 0,
        "the use to come back with the refund",
    )
    assert seller.client.table("coupons").update({"is_active": False}).eq("code", "Summer").execute().data
    gone = other.api.rpc("checkout", items=[{"item_id": item}], coupon_codes=["summer"])
    assert (gone.status_code, code_of(gone)) == (404, "coupon_not_found")
    kept = seller.api.http.request("DELETE", "/rest/v1/coupons?code=eq.Summer")
    assert (kept.status_code, code_of(kept)) == (409, "coupon_used")


def test_a_gift_to_a_member_is_theirs_alone(sign_up: SignUp, simulator: Simulator) -> None:
    seller, payer, receiver = sign_up(), sign_up(), sign_up()
    item, unwanted = publish_product(seller, 2000), publish_product(seller, 2000)
    for given in (item, unwanted):
        ordered = order(payer, {"item_id": given, "gift_to": receiver.id})
        simulator.confirm(start(payer, ordered)["client_secret"])
        assert wait_for_order(payer, ordered["order_id"])["status"] == "completed"
    gift = receiver.api.one("gifts", item_id=f"eq.{item}")
    assert receiver.api.select("product_files", item_id=f"eq.{item}") == []
    assert payer.api.rpc("open_gift", gift_id=gift["id"]).status_code == 404
    assert receiver.api.rpc("open_gift", gift_id=gift["id"]).status_code == 200
    path = receiver.api.one("product_files", item_id=f"eq.{item}")["path"]
    assert receiver.client.storage.from_("product-files").download(path)
    assert payer.api.select("product_files", item_id=f"eq.{item}") == []
    closed = payer.api.http.get(f"/storage/v1/object/product-files/{path}")
    assert closed.status_code == 400 or closed.status_code == 404
    assert code_of(receiver.api.rpc("refuse_gift", gift_id=gift["id"])) == "state_changed"
    gift = receiver.api.one("gifts", item_id=f"eq.{unwanted}")
    assert payer.api.rpc("refuse_gift", gift_id=gift["id"]).status_code == 404
    assert receiver.api.rpc("refuse_gift", gift_id=gift["id"]).json()["status"] == "refused"
    wait_for_order(payer, ordered["order_id"], "refunded")
    assert receiver.api.select("product_files", item_id=f"eq.{unwanted}") == []


@pytest.mark.parametrize("relation", ["public.gifts", "private.coupon_uses"])
def test_no_client_moves_a_state(sign_up: SignUp, database: Database, relation: str) -> None:
    """Every move there is or is not, by everybody: the tables are closed to writes, one of them altogether."""
    states = {
        state
        for row in database.run("select from_state, to_state from private.state_moves where relation = %s", relation)
        for state in row.values()
        if state is not None
    }
    assert len(states) > 2
    table = relation.partition(".")[2]
    for person in (sign_up(), sign_up()):
        for state in states:
            answer = person.api.http.patch(f"/rest/v1/{table}?created_at=not.is.null", json={"status": state})
            assert answer.status_code in (403, 404), answer.text
