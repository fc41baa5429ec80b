"""Cart and checkout over the Data API: the server computes, snapshots and refuses."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg
import pytest

from tests.harness.market import FILE, Simulator, order, publish_artwork, publish_product, start, wait_for_order
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.slow import slow_request
from tests.harness.waiting import until

TOO_LARGE_FOR_FLOATS = 2**53 + 1


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up(username="shop")


@pytest.fixture
def buyer(sign_up: SignUp) -> Person:
    return sign_up()


@pytest.fixture(scope="module")
def product(seller: Person) -> str:
    return publish_product(seller, 2000)


@pytest.fixture(scope="module")
def name_your_price(seller: Person) -> str:
    return publish_product(seller, 1000, allow_name_your_price=True, minimum_price_cents=300)


@pytest.fixture(scope="module")
def artwork(seller: Person) -> str:
    return publish_artwork(seller, 5000)


def put(api: Api, item: str, **values: Any) -> httpx.Response:
    return api.http.post("/rest/v1/cart_items", json={"item_id": item, **values})


def give_money(database: Database, admin: Person, person: Person, cents: int) -> None:
    """An admin's goodwill: the one way to a balance without a sale."""
    answer = admin.api.rpc(
        "adjust_wallet", user_id=person.id, amount_cents=cents, reason="test", idempotency_key=f"gift-{person.id}"
    )
    assert answer.status_code == 200, answer.text


def test_the_cart_becomes_an_order_with_the_servers_numbers(
    buyer: Person, seller: Person, product: str, name_your_price: str
) -> None:
    assert put(buyer.api, product, quantity=3).status_code == 201
    assert put(buyer.api, name_your_price, offered_price_cents=450).status_code == 201
    ordered = order(buyer, shipping_address={"city": "Berlin"}, notes="hello")
    assert (ordered["status"], ordered["total_cents"], ordered["payment_status"]) == (
        "pending",
        6450,
        "requires_payment",
    )
    row = buyer.api.one("orders", id=f"eq.{ordered['order_id']}", select="*,order_items(*),payments(*)")
    assert (row["subtotal_cents"], row["tax_cents"], row["total_cents"], row["user_id"]) == (6450, 0, 6450, buyer.id)
    lines = {line["item_id"]: line for line in row["order_items"]}
    assert [(lines[item]["unit_price_cents"], lines[item]["quantity"], lines[item]["total_cents"]) for item in lines]
    assert (lines[product]["unit_price_cents"], lines[product]["total_cents"]) == (2000, 6000)
    assert (lines[name_your_price]["unit_price_cents"], lines[name_your_price]["total_cents"]) == (450, 450)
    assert {(line["seller_id"], line["seller_tier"], line["commission_bps"]) for line in lines.values()} == {
        (seller.id, "basic", 4000)
    }
    # fee: 6450 × 2.9 % = 187.05 → 187, + 30
    assert [(p["amount_cents"], p["fee_estimate_cents"]) for p in row["payments"]] == [(6450, 217)]
    # Until it is paid the cart stays.
    assert len(buyer.api.select("cart_items")) == 2


def test_an_order_keeps_the_price_it_was_made_at(buyer: Person, seller: Person) -> None:
    item = publish_product(seller, 1500, title="Before")
    ordered = order(buyer, item)
    seller.client.table("products").update({"price_cents": 9900, "title": "After"}).eq("id", item).execute()
    line = buyer.api.one("order_items", order_id=f"eq.{ordered['order_id']}")
    assert (line["unit_price_cents"], line["title"]) == (1500, "Before")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"quantity": 0}, "23514"),
        ({"quantity": -1}, "23514"),
        ({"quantity": 100}, "23514"),
        ({"quantity": TOO_LARGE_FOR_FLOATS}, "22003"),
        ({"offered_price_cents": 2000}, "price_not_negotiable"),
    ],
)
def test_carts_refuse_what_makes_no_sense(buyer: Person, product: str, values: dict[str, Any], code: str) -> None:
    answer = put(buyer.api, product, **values)
    assert (answer.status_code, code_of(answer)) == (400, code)
    assert buyer.api.select("cart_items") == []


@pytest.mark.parametrize(
    ("offer", "status", "code"),
    [
        (299, 400, "price_too_low"),
        (-1, 400, "price_too_low"),
        (TOO_LARGE_FOR_FLOATS, 400, "23514"),
    ],
)
def test_carts_refuse_offers_below_the_minimum(
    buyer: Person, name_your_price: str, offer: int, status: int, code: str
) -> None:
    answer = put(buyer.api, name_your_price, offered_price_cents=offer)
    assert (answer.status_code, code_of(answer)) == (status, code)


def test_carts_refuse_own_hidden_and_several_of_one_of_a_kind(buyer: Person, seller: Person, artwork: str) -> None:
    own = publish_product(seller)
    assert code_of(put(seller.api, own)) == "own_item"
    seller.client.table("products").update({"status": "paused"}).eq("id", own).execute()
    assert code_of(put(buyer.api, own)) == "item_not_available"
    assert code_of(put(buyer.api, artwork, quantity=2)) == "quantity_not_allowed"
    assert buyer.api.select("cart_items") == []


def test_one_row_per_item_and_upsert_works(buyer: Person, product: str) -> None:
    assert put(buyer.api, product).status_code == 201
    assert put(buyer.api, product).status_code == 409
    buyer.client.table("cart_items").upsert({"item_id": product, "quantity": 2}).execute()
    assert buyer.api.one("cart_items")["quantity"] == 2
    buyer.client.table("cart_items").delete().eq("item_id", product).execute()
    assert buyer.api.select("cart_items") == []


REFUSED: list[tuple[str, Any, int, str]] = [
    ("an empty cart", None, 400, "empty_checkout"),
    ("an empty list", [], 400, "empty_checkout"),
    ("not a list", {"item_id": "{product}"}, 400, "invalid_checkout"),
    ("no ids", [{"item_id": "x"}], 400, "invalid_checkout"),
    ("an unknown item", [{"item_id": "00000000-0000-4000-8000-000000000000"}], 409, "item_not_available"),
    ("the same item twice", [{"item_id": "{product}"}, {"item_id": "{product}"}], 400, "duplicate_item"),
    ("quantity zero", [{"item_id": "{product}", "quantity": 0}], 400, "quantity_not_allowed"),
    ("a negative quantity", [{"item_id": "{product}", "quantity": -1}], 400, "invalid_checkout"),
    ("a fraction", [{"item_id": "{product}", "quantity": 1.5}], 400, "invalid_checkout"),
    ("a huge quantity", [{"item_id": "{product}", "quantity": TOO_LARGE_FOR_FLOATS}], 400, "invalid_checkout"),
    ("two of one of a kind", [{"item_id": "{artwork}", "quantity": 2}], 400, "quantity_not_allowed"),
    ("another price", [{"item_id": "{product}", "offered_price_cents": 1}], 409, "price_changed"),
    ("a negative price", [{"item_id": "{product}", "offered_price_cents": -2000}], 400, "invalid_checkout"),
    ("a huge price", [{"item_id": "{product}", "offered_price_cents": TOO_LARGE_FOR_FLOATS}], 400, "invalid_checkout"),
    (
        "an offer below the minimum",
        [{"item_id": "{name_your_price}", "offered_price_cents": 299}],
        400,
        "price_too_low",
    ),
    ("a negative offer", [{"item_id": "{name_your_price}", "offered_price_cents": -300}], 400, "invalid_checkout"),
    ("51 items", [{"item_id": "{product}"}] * 51, 400, "too_many_items"),
]


@pytest.mark.parametrize(("items", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_checkout_refuses(
    buyer: Person, product: str, artwork: str, name_your_price: str, items: Any, status: int, code: str
) -> None:
    names = {"{product}": product, "{artwork}": artwork, "{name_your_price}": name_your_price}

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(each) for each in value]
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        return names.get(value, value) if isinstance(value, str) else value

    answer = buyer.api.rpc("checkout", items=filled(items))
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert buyer.api.select("orders") == []
    assert buyer.api.select("payments") == []


def test_checkout_refuses_own_items_amounts_over_the_limit_and_paypal(
    buyer: Person, seller: Person, product: str
) -> None:
    assert code_of(seller.api.rpc("checkout", items=[{"item_id": product}])) == "own_item"
    dear = publish_product(seller, 99_999_999)
    over = buyer.api.rpc("checkout", items=[{"item_id": dear, "quantity": 2}])
    assert (over.status_code, code_of(over)) == (400, "amount_out_of_range")
    assert order(buyer, dear)["total_cents"] == 99_999_999
    assert code_of(buyer.api.rpc("checkout", items=[{"item_id": product}], provider="paypal")) == (
        "provider_not_available"
    )


def test_a_repeated_checkout_with_one_key_is_one_order(buyer: Person, sign_up: SignUp, product: str) -> None:
    first, again = (order(buyer, product, idempotency_key="click") for _ in range(2))
    assert first["order_id"] == again["order_id"]
    assert first["payment_id"] == again["payment_id"]
    assert order(buyer, product, idempotency_key="another")["order_id"] != first["order_id"]
    # The key is the buyer's own: the same words of somebody else are another order.
    assert order(sign_up(), product, idempotency_key="click")["order_id"] != first["order_id"]


def test_free_orders_complete_at_once(buyer: Person, seller: Person) -> None:
    free = publish_product(seller, 0)
    put(buyer.api, free)
    ordered = order(buyer)
    assert (ordered["status"], ordered["total_cents"], ordered["payment_id"]) == ("completed", 0, None)
    assert buyer.api.one("purchases", item_id=f"eq.{free}")["price_cents"] == 0
    assert buyer.api.select("cart_items") == []
    assert buyer.api.function("GET", f"downloads/{free}").status_code == 200
    assert code_of(buyer.api.rpc("checkout", items=[{"item_id": free}])) == "already_owned"


def test_a_name_your_price_item_may_go_for_free(buyer: Person, seller: Person) -> None:
    item = publish_product(seller, 1000, allow_name_your_price=True, minimum_price_cents=0)
    assert code_of(buyer.api.rpc("checkout", items=[{"item_id": item, "offered_price_cents": 49}])) == "price_too_low"
    assert order(buyer, {"item_id": item, "offered_price_cents": 0})["status"] == "completed"


def test_wallet_orders_complete_inside_checkout(
    buyer: Person, seller: Person, admin: Person, product: str, database: Database
) -> None:
    give_money(database, admin, buyer, 2500)
    before = seller.api.one("wallets")["balance_pending_cents"]
    ordered = order(buyer, product, provider="wallet")
    assert (ordered["status"], ordered["payment_status"]) == ("completed", "succeeded")
    wallet = buyer.api.one("wallets")
    assert (wallet["balance_available_cents"], wallet["total_spent_on_platform_cents"]) == (500, 2000)
    # no fee, 40 % commission
    assert seller.api.one("wallets")["balance_pending_cents"] - before == 1200
    sale = buyer.api.one("transactions")
    assert (sale["amount_fees_cents"], sale["amount_commission_cents"], sale["amount_seller_cents"]) == (0, 800, 1200)
    assert sale["payment_method"] == "wallet_balance"
    assert database.audit() == []


def test_a_wallet_is_never_overdrawn(
    buyer: Person, seller: Person, admin: Person, artwork: str, database: Database
) -> None:
    give_money(database, admin, buyer, 4999)
    refused = buyer.api.rpc("checkout", items=[{"item_id": artwork}], provider="wallet")
    assert (refused.status_code, code_of(refused)) == (402, "insufficient_funds")
    assert buyer.api.one("wallets")["balance_available_cents"] == 4999
    # Nothing of the attempt is left: no order, and the artwork is not reserved for it.
    assert buyer.api.select("orders") == []
    assert database.value("select count(*) from private.holds where item_id = %s", artwork) == 0


def test_one_of_a_kind_is_reserved_for_the_first(buyer: Person, sign_up: SignUp, seller: Person) -> None:
    artwork = publish_artwork(seller, 700)
    ordered = order(buyer, artwork)
    second = sign_up()
    refused = second.api.rpc("checkout", items=[{"item_id": artwork}])
    assert (refused.status_code, code_of(refused)) == (409, "item_reserved")
    # The buyer's own newer checkout takes over, giving up frees it at once when the provider never heard of it.
    again = order(buyer, artwork)
    assert buyer.api.one("orders", id=f"eq.{ordered['order_id']}")["status"] == "cancelled"
    cancelled = buyer.api.rpc("cancel_order", order_id=again["order_id"])
    assert cancelled.json()["status"] == "cancelled"
    assert order(second, artwork)["status"] == "pending"


def test_only_the_buyer_cancels_and_starts(buyer: Person, sign_up: SignUp, product: str, anon: Api) -> None:
    ordered = order(buyer, product)
    other = sign_up()
    assert code_of(other.api.rpc("cancel_order", order_id=ordered["order_id"])) == "order_not_open"
    start = f"payments/{ordered['payment_id']}/start"
    assert (other.api.function("POST", start).status_code, code_of(other.api.function("POST", start))) == (
        404,
        "payment_not_found",
    )
    assert anon.function("POST", start).status_code == 401
    assert buyer.api.rpc("cancel_order", order_id=ordered["order_id"]).status_code == 200
    closed = buyer.api.function("POST", start)
    assert (closed.status_code, code_of(closed)) == (409, "payment_not_open")


# -- consent, keys and holds ------------------------------------------------------------------------------------------


def set_price(seller: Person, item: str, **values: Any) -> None:
    seller.client.table("products").update(values).eq("id", item).execute()


def test_a_cart_is_not_charged_more_than_it_showed(buyer: Person, seller: Person, database: Database) -> None:
    item = publish_product(seller, 1000)
    assert put(buyer.api, item).status_code == 201
    assert buyer.api.one("cart_items")["shown_price_cents"] == 1000
    set_price(seller, item, price_cents=90000)
    risen = buyer.api.rpc("checkout")
    assert (risen.status_code, code_of(risen), risen.json()["details"]) == (409, "price_changed", item)
    assert buyer.api.select("orders") == []
    set_price(seller, item, price_cents=90000, allow_name_your_price=True, minimum_price_cents=0)
    assert code_of(buyer.api.rpc("checkout")) == "price_changed"
    set_price(seller, item, price_cents=800, allow_name_your_price=False, minimum_price_cents=None)
    assert order(buyer)["total_cents"] == 800
    set_price(seller, item, price_cents=1200)
    assert code_of(buyer.api.rpc("checkout")) == "price_changed"
    # Put in again, the cart shows the new price.
    buyer.client.table("cart_items").upsert({"item_id": item, "quantity": 2}).execute()
    assert order(buyer)["total_cents"] == 2400


def test_items_may_say_the_price_that_was_shown(buyer: Person, seller: Person) -> None:
    item = publish_product(seller, 1000)
    assert code_of(buyer.api.rpc("checkout", items=[{"item_id": item, "offered_price_cents": 999}])) == "price_changed"
    assert order(buyer, {"item_id": item, "offered_price_cents": 1500})["total_cents"] == 1000


@pytest.mark.parametrize(
    "items",
    [{"price_cents": 300}, {"price": 300}, {"offered_price": 300}, {"Quantity": 2}, {"quantity": 1, "note": "x"}],
)
def test_unknown_keys_are_refused_by_name(buyer: Person, name_your_price: str, items: dict[str, Any]) -> None:
    answer = buyer.api.rpc("checkout", items=[{"item_id": name_your_price, **items}])
    assert (answer.status_code, code_of(answer)) == (400, "invalid_checkout")
    assert next(key for key in items if key != "quantity") in answer.json()["details"]
    assert buyer.api.select("orders") == []


def test_unknown_keys_of_addresses_and_settings_are_refused(buyer: Person, product: str) -> None:
    address = {"city": "Berlin", "planet": "Earth"}
    answer = buyer.api.rpc("checkout", items=[{"item_id": product}], shipping_address=address)
    assert (code_of(answer), "planet" in answer.json()["details"]) == ("invalid_checkout", True)
    switches = {"notification_preferences": {"mesage": {"email": False}}}
    answer = buyer.api.http.patch(f"/rest/v1/profile_settings?user_id=eq.{buyer.id}", json=switches)
    assert (answer.status_code, code_of(answer)) == (400, "invalid_preferences")


def test_a_key_belongs_to_one_request(buyer: Person, seller: Person, product: str, name_your_price: str) -> None:
    first = order(buyer, product, idempotency_key="one")
    for items, more in (
        ([{"item_id": name_your_price}], {}),
        ([{"item_id": product, "quantity": 2}], {}),
        ([{"item_id": product}], {"notes": "hello"}),
        ([{"item_id": product}], {"provider": "wallet"}),
        (None, {}),
    ):
        answer = buyer.api.rpc("checkout", items=items, idempotency_key="one", **more)
        assert (answer.status_code, code_of(answer)) == (409, "idempotency_key_reused"), (items, more)
    cancelled = buyer.api.rpc("cancel_order", order_id=first["order_id"]).json()
    assert cancelled["status"] == "cancelled"
    # However the client spells it, it is the same request, and the answer says what has become of it.
    again = order(buyer, {"item_id": product.upper(), "quantity": 1}, idempotency_key="one")
    assert (again["order_id"], again["status"]) == (first["order_id"], "cancelled")


def test_a_paid_cart_may_be_sent_again(buyer: Person, seller: Person) -> None:
    put(buyer.api, publish_product(seller, 0))
    first = order(buyer, idempotency_key="cart")
    assert first["status"] == "completed"
    # The answer was lost; the cart is empty since.
    assert order(buyer, idempotency_key="cart")["order_id"] == first["order_id"]
    put(buyer.api, publish_product(seller, 0))
    assert code_of(buyer.api.rpc("checkout", idempotency_key="cart")) == "idempotency_key_reused"


def test_a_newer_order_of_any_item_replaces_the_older_one(buyer: Person, product: str) -> None:
    first, second = order(buyer, product), order(buyer, product)
    older = buyer.api.one("orders", id=f"eq.{first['order_id']}")
    assert (older["status"], older["status_reason"]) == ("cancelled", "superseded")
    assert buyer.api.one("orders", id=f"eq.{second['order_id']}")["status"] == "pending"


def test_what_was_bought_meanwhile_is_not_paid_again(
    seller: Person, buyer: Person, product: str, simulator: Simulator
) -> None:
    """The older order is paid before the newer one's cancellation reaches the provider."""
    older = order(buyer, product)
    attempt = start(buyer, older)
    newer = order(buyer, publish_product(seller), product)
    simulator.confirm(attempt["client_secret"])
    assert wait_for_order(buyer, older["order_id"])["status"] == "completed"
    refused = buyer.api.http.post(newer["start_url"])
    assert (refused.status_code, code_of(refused)) == (409, "already_owned")
    assert refused.json()["detail"] == product


def test_holds_end_pause_and_are_few(buyer: Person, seller: Person, admin: Person, database: Database) -> None:
    works = [publish_artwork(seller, 5000) for _ in range(6)]
    first = order(buyer, works[0])
    assert order(buyer, works[0])["expires_at"] == first["expires_at"]
    # Giving up and coming back is the same hold.
    buyer.api.rpc("cancel_order", order_id=buyer.api.one("orders", status="eq.pending")["id"]).raise_for_status()
    assert order(buyer, works[0])["expires_at"] == first["expires_at"]
    for work in works[1:5]:
        order(buyer, work)
    answer = buyer.api.rpc("checkout", items=[{"item_id": works[5]}])
    assert (answer.status_code, code_of(answer)) == (429, "too_many_holds")
    assert first["expires_at"][:19] in answer.json()["details"]
    assert admin.api.rpc("set_hold_limit", user_id=buyer.id, max_holds=6).status_code == 204
    order(buyer, works[5])
    database.run("update private.hold_periods set ends_at = now() where user_id = %s", buyer.id)
    answer = buyer.api.rpc("checkout", items=[{"item_id": works[0]}])
    assert (answer.status_code, code_of(answer)) == (429, "hold_paused")
    assert answer.json()["details"].startswith(f"{works[0]}: until ")
    # A wallet pays at once: nothing is held.
    give_money(database, admin, buyer, 5000)
    assert order(buyer, works[0], provider="wallet")["status"] == "completed"


def test_the_licence_is_the_buyers(buyer: Person, seller: Person) -> None:
    item = publish_product(seller, 0, license_type="custom", license_text="Everything", description="24 bit")
    line = order(buyer, item)["order_id"]
    set_price(seller, item, license_type="personal", license_text="Nothing", description="8 bit")
    for side in (buyer, seller):
        bought = side.api.one("order_items", order_id=f"eq.{line}")
        assert (bought["license_type"], bought["license_text"], bought["license_version"], bought["description"]) == (
            "custom",
            "Everything",
            1,
            "24 bit",
        )
    assert buyer.api.one("products", id=f"eq.{item}")["license_version"] == 2


def test_a_slow_checkout_keeps_no_item_from_others(
    seller: Person, buyer: Person, sign_up: SignUp, database: Database
) -> None:
    """It is undone in the end, so no limit counts what it holds meanwhile."""
    other, artwork, product = sign_up(), publish_artwork(seller), publish_product(seller)
    path = f"{seller.id}/{product}/more.wav"
    seller.client.storage.from_("product-files").upload(path, FILE, {"content-type": "audio/wav"})
    file = {"product_id": product, "path": path}
    checkout = "with done as materialized (select public.checkout(%s)) select pg_sleep(30) from done"

    def buys(item: str) -> bool:
        answer = other.api.rpc("checkout", items=[{"item_id": item}])
        assert answer.is_success or code_of(answer) == "item_reserved", answer.text
        return answer.is_success

    for item, act in (
        (artwork, lambda: until(lambda: buys(artwork), "the piece to be free")),
        (product, lambda: seller.client.table("product_files").insert(file).execute()),
    ):
        with slow_request(database, buyer.id, checkout, json.dumps([{"item_id": item}])) as slow:
            act()
            assert isinstance(slow.exception(10), psycopg.errors.QueryCanceled)
