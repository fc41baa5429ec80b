"""Reviews, licence keys and versions of files, as clients know them."""

from __future__ import annotations

from typing import Any

from tests.harness.market import FILE, Simulator, buy, publish_product, run_job
from tests.harness.people import Api, Json, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until


def called(person: Person, function: str, **arguments: Json) -> Any:
    """What a function answers that does not refuse."""
    answer = person.api.rpc(function, **arguments)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def line_of(buyer: Person, item: str) -> str:
    return str(buyer.api.one("order_items", item_id=f"eq.{item}", buyer_id=f"eq.{buyer.id}")["id"])


def test_a_review_from_purchase_to_refund(sign_up: SignUp, anon: Api, simulator: Simulator, database: Database) -> None:
    seller, buyer, reader = sign_up(), sign_up(), sign_up()
    item = publish_product(seller, 2000)
    assert anon.one("catalog_items", id=f"eq.{item}")["rating_average"] is None
    buy(simulator, buyer, item)
    review = called(buyer, "review_item", item_id=item, rating=4, review_text="Good, but loud.")
    assert (review["is_verified_purchase"], review["status"]) == (True, "published")
    assert anon.one("catalog_items", id=f"eq.{item}")["rating_average"] == 4
    called(reader, "vote_on_review", review_id=review["id"], is_helpful=True)
    called(seller, "respond_to_review", review_id=review["id"], response="Turned down.")
    shown = anon.http.post("/rest/v1/rpc/item_reviews", json={"item_id": item}).json()
    assert [(one["helpful_count"], one["seller_response"]) for one in shown] == [(1, "Turned down.")]
    assert seller.api.one("notifications", type="eq.review")["related_id"] == review["id"]
    assert buyer.api.one("notifications", type="eq.review_response")["related_id"] == review["id"]
    edited = called(buyer, "edit_review", review_id=review["id"], rating=5, review_text="Good.")
    assert (edited["version"], edited["helpful_count"], edited["is_response_outdated"]) == (2, 0, True)
    called(seller, "refund_order_item", order_item_id=line_of(buyer, item), reason="sorry")
    until(lambda: anon.one("catalog_items", id=f"eq.{item}")["reviews_count"] == 0, "the review to stop counting")
    assert anon.one("catalog_items", id=f"eq.{item}")["rating_average"] is None
    assert anon.select("reviews", item_id=f"eq.{item}") == []
    assert database.run("select * from private.recount()") == []


def test_no_role_makes_a_move_that_is_none(
    sign_up: SignUp, anon: Api, admin: Person, simulator: Simulator, database: Database
) -> None:
    """Whatever is not stated in private.state_moves is refused, whoever asks by whatever route."""
    seller, buyer, stranger = sign_up(), sign_up(), sign_up()
    item = publish_product(seller, 0)
    assert called(buyer, "checkout", items=[{"item_id": item}])["status"] == "completed"
    review = called(buyer, "review_item", item_id=item, rating=3)["id"]
    states = [row["s"] for row in database.run("select unnest(enum_range(null::public.review_status))::text as s")]
    moves = {
        (row["from_state"], row["to_state"])
        for row in database.run("select * from private.state_moves where relation = 'public.reviews'")
    }
    roles = {"anon": anon, "seller": seller.api, "buyer": buyer.api, "stranger": stranger.api, "admin": admin.api}
    tried = 0
    for state in states:
        database.run("with gone as (delete from public.reviews where id = %s returning *) select 1 from gone", review)
        database.run(
            "insert into public.reviews (id, order_item_id, item_id, kind, reviewer_id, buyer_id, seller_id, rating, "
            "is_verified_purchase, status, publish_at, published_at, author_audience) "
            "values (%s, %s, %s, 'product', %s, %s, %s, 3, true, %s, now() + interval '1 day', %s, 'public')",
            *(review, line_of(buyer, item), item, buyer.id, buyer.id, seller.id),
            "pending" if state == "rejected" else state,
            "2026-01-01" if state == "published" else None,
        )
        if state == "rejected":
            database.run("update public.reviews set status = 'rejected' where id = %s", review)
        for role, api in roles.items():
            for wanted in states:
                if wanted == state:
                    continue
                answer = api.http.patch(f"/rest/v1/reviews?id=eq.{review}", json={"status": wanted})
                assert answer.status_code in (401, 403), (role, state, wanted, answer.text)
                tried += 1
            for approve in (True, False):
                target = "blind" if approve else "rejected"
                if role == "admin" and (state, target) in moves:
                    continue
                answer = api.rpc("decide_review", review_id=review, approve=approve)
                assert answer.status_code in (401, 403, 409), (role, state, approve, answer.text)
                assert code_of(answer) in ("not_signed_in", "admin_only", "state_changed")
                tried += 1
        assert database.value("select status::text from public.reviews where id = %s", review) == state
    assert tried > 80


def test_two_sides_unseen(sign_up: SignUp, anon: Api, simulator: Simulator, database: Database) -> None:
    """What is reviewed blind moves nothing before its time, by the clock for readers, by the job for the rest."""
    database.run("update private.kinds set reviewing = 'blind' where kind = 'product'")
    seller, buyer = sign_up(), sign_up()
    item = publish_product(seller, 2000)
    buy(simulator, buyer, item)
    review = called(buyer, "review_item", item_id=item, rating=2)
    assert review["status"] == "blind"
    assert anon.select("reviews", item_id=f"eq.{item}") == []
    assert seller.api.select("reviews", item_id=f"eq.{item}") == []
    assert seller.api.select("notifications", type="eq.review") == []
    database.run("update public.reviews set publish_at = publish_at - interval '337 hours' where id = %s", review["id"])
    assert len(anon.select("reviews", item_id=f"eq.{item}")) == 1
    late = seller.api.rpc("review_buyer", order_item_id=line_of(buyer, item), rating=1)
    assert (late.status_code, code_of(late)) == (409, "review_closed")
    run_job(database, "publish_reviews")
    until(lambda: anon.one("catalog_items", id=f"eq.{item}")["rating_average"] == 2, "the average to move")
    assert len(seller.api.select("notifications", type="eq.review")) == 1
    database.run("update private.kinds set reviewing = null where kind = 'product'")


def test_a_licence_and_a_new_version(sign_up: SignUp, anon: Api, simulator: Simulator, database: Database) -> None:
    seller, buyer = sign_up(), sign_up()
    product = publish_product(seller, 2000, license_seats=1)
    buy(simulator, buyer, product)
    license_ = buyer.api.one("license_keys", product_id=f"eq.{product}")
    key = called(buyer, "show_license_key", license_id=license_["id"])
    asked = {"product_id": product, "key": key}
    assert anon.http.post("/rest/v1/rpc/check_license", json=asked).json() == {"is_valid": True, "state": "valid"}
    called(buyer, "activate_license", **asked, device_id="laptop")
    full = buyer.api.rpc("activate_license", **asked, device_id="phone")
    assert (full.status_code, code_of(full)) == (409, "no_seats_left")
    path = f"{seller.id}/{product}/two.wav"
    seller.client.storage.from_("product-files").upload(path, FILE, {"content-type": "audio/wav"})
    version = called(seller, "release_version", product_id=product, notes="Louder.", files=[{"path": path}])
    assert version["number"] == 2
    assert {row["name"] for row in buyer.api.select("product_files", product_id=f"eq.{product}")} == {
        "beat.wav",
        "two.wav",
    }
    run_job(database, "tell_versions")
    until(lambda: buyer.api.select("notifications", type="eq.updated"), "the owner to be told")
    called(seller, "refund_order_item", order_item_id=line_of(buyer, product), reason="sorry")
    until(
        lambda: anon.http.post("/rest/v1/rpc/check_license", json=asked).json()["state"] == "refunded",
        "the licence to end",
    )
