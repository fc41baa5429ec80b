"""The catalog: what sellers publish, who sees it, and what stays closed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.market import (
    FILE,
    Simulator,
    buy,
    order,
    publish_artwork,
    publish_product,
    start,
    wait_for_order,
)
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database

RETURNING = {"prefer": "return=representation"}


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up(username="catalog-seller")


@pytest.fixture(scope="module")
def stranger(sign_up: SignUp) -> Person:
    return sign_up(username="catalog-stranger")


def change(person: Person, table: str, item: str, **values: Any) -> httpx.Response:
    return person.api.http.patch(f"/rest/v1/{table}?id=eq.{item}", json=values, headers=RETURNING)


def sees(api: Api, item: str, table: str = "catalog_items") -> bool:
    return len(api.select(table, id=f"eq.{item}")) == 1


def test_a_product_is_seen_by_everybody_while_active_and_only_then(
    seller: Person, stranger: Person, admin: Person, anon: Api
) -> None:
    product = publish_product(seller)
    for status, others in (("active", True), ("paused", False), ("draft", False), ("active", True), ("deleted", False)):
        assert change(seller, "products", product, status=status).status_code == 200
        for table in ("products", "catalog_items"):
            assert [sees(who, product, table) for who in (anon, stranger.api)] == [others, others], (status, table)
            assert [sees(who, product, table) for who in (seller.api, admin.api)] == [True, True], (status, table)
    refused = change(seller, "products", product, status="active")
    assert (refused.status_code, code_of(refused)) == (409, "product_deleted")


def test_a_product_needs_a_file_to_be_on_sale(seller: Person) -> None:
    draft = seller.client.table("products").insert({"title": "No files", "price_cents": 100}).execute().data[0]["id"]
    refused = change(seller, "products", draft, status="active")
    assert (refused.status_code, code_of(refused)) == (409, "product_has_no_files")


@pytest.mark.parametrize(
    "fields",
    [
        {"price_cents": -1},
        {"price_cents": 49},
        {"price_cents": 100_000_000},
        {"price_cents": 2**53 + 1},
        {"price_cents": 2**63},
        {"price_cents": 9.99},
        {"price_cents": 500, "allow_name_your_price": True, "minimum_price_cents": 501},
        {"price_cents": 500, "minimum_price_cents": 500, "allow_name_your_price": True, "license_type": "custom"},
        {"price_cents": 500, "thumbnail_url": "javascript:alert(1)"},
        {"title": "\n\u200b\n"},
        {"status": "active"},
        {"tags": ["tag"] + [f"tag{n}" for n in range(20)]},
    ],
    ids=str,
)
def test_products_that_make_no_sense_are_refused(seller: Person, fields: dict[str, Any]) -> None:
    before = len(seller.api.select("products"))
    answer = seller.api.http.post("/rest/v1/products", json={"title": "Nonsense", "price_cents": 500} | fields)
    assert answer.status_code in (400, 409), answer.text
    assert len(seller.api.select("products")) == before


def test_a_title_is_one_line(seller: Person) -> None:
    """What would break it is cleaned, not refused."""
    body = {"title": " line\nbreak\r\n\u2028again\t", "price_cents": 500}
    answer = seller.api.http.post("/rest/v1/products", json=body, headers={"prefer": "return=representation"})
    assert answer.status_code == 201, answer.text
    assert answer.json()[0]["title"] == "line break again"


def test_an_item_is_mirrored_in_the_registry(seller: Person, anon: Api) -> None:
    product = publish_product(seller, title="Ambient Pack", tags=["Drone", "#drone", " Deep  Space "])
    item = anon.one("catalog_items", id=f"eq.{product}", select="*,seller:profiles!seller_id(username)")
    assert (item["kind"], item["title"], item["price_cents"], item["is_listed"]) == (
        "product",
        "Ambient Pack",
        2000,
        True,
    )
    assert item["tags"] == ["drone", "deep space"]
    assert item["slug"] == "ambient-pack"
    assert item["seller"]["username"] == "catalog-seller"
    assert change(seller, "products", product, title="Noise Pack", price_cents=2500).status_code == 200
    item = anon.one("catalog_items", id=f"eq.{product}")
    assert (item["title"], item["price_cents"]) == ("Noise Pack", 2500)
    # Two of one name: the second gets an address of its own.
    other = publish_product(seller, title="Ambient Pack")
    assert anon.one("catalog_items", id=f"eq.{other}")["slug"].startswith("ambient-pack-")


def test_approval_is_the_admins(seller: Person, stranger: Person, admin: Person, anon: Api) -> None:
    product = publish_product(seller)
    for person in (seller, stranger):
        refused = person.api.rpc("review_product", product_id=product, approved=False, notes="x")
        assert (refused.status_code, code_of(refused)) == (403, "admin_only")
    assert admin.api.rpc("review_product", product_id=product, approved=False, notes="Samples?").status_code == 204
    assert not sees(anon, product)
    assert seller.api.one("product_approvals", product_id=f"eq.{product}")["approval_notes"] == "Samples?"
    assert stranger.api.select("product_approvals", product_id=f"eq.{product}") == []
    log = admin.api.select("audit_log", target_id=f"eq.{product}")
    assert [(line["action"], line["actor_id"]) for line in log] == [("review_product", admin.id)]
    assert admin.api.rpc("review_product", product_id=product, approved=True).status_code == 204
    assert sees(anon, product)


def test_featured_items_are_limited_by_the_plan_and_survive_a_downgrade(seller: Person, admin: Person) -> None:
    first, second = publish_product(seller), publish_artwork(seller)
    refused = change(seller, "products", first, is_featured=True)
    assert (refused.status_code, code_of(refused)) == (409, "featured_limit_reached")
    given = admin.api.rpc("set_subscription", user_id=seller.id, plan_key="creator_standard")
    assert given.status_code == 200, given.text
    assert change(seller, "products", first, is_featured=True).status_code == 200
    assert code_of(change(seller, "artworks", second, is_featured=True)) == "featured_limit_reached"
    assert admin.api.rpc("set_subscription", user_id=seller.id, plan_key="creator_basic").status_code == 200
    assert seller.api.one("products", id=f"eq.{first}")["is_featured"] is True
    assert change(seller, "products", first, title="Still featured").status_code == 200
    assert change(seller, "products", first, is_featured=False).status_code == 200
    assert code_of(change(seller, "products", first, is_featured=True)) == "featured_limit_reached"


def test_an_artwork_is_sold_by_a_sale_only(seller: Person, stranger: Person, simulator: Simulator, anon: Api) -> None:
    artwork = publish_artwork(seller, 5000)
    refused = change(seller, "artworks", artwork, status="sold")
    assert refused.status_code in (403, 409)
    assert seller.api.http.post(
        "/rest/v1/artworks",
        json={
            "title": "Born sold",
            "image_url": "https://images.example/x.jpg",
            "category": "other",
            "price_cents": 100,
            "status": "sold",
        },
    ).status_code in (403, 409)
    buy(simulator, stranger, artwork)
    sold = anon.one("artworks", id=f"eq.{artwork}")
    assert (sold["status"], sold["sold_at"] is not None) == ("sold", True)
    assert anon.one("catalog_items", id=f"eq.{artwork}")["is_listed"] is False
    # What was sold neither changes nor goes away.
    assert code_of(change(seller, "artworks", artwork, price_cents=1)) == "artwork_sold"
    assert code_of(change(seller, "artworks", artwork, status="published")) == "artwork_sold"
    removed = seller.api.http.delete(f"/rest/v1/artworks?id=eq.{artwork}")
    assert (removed.status_code, code_of(removed)) == (409, "item_has_orders")


def test_buyers_keep_what_left_the_shop(seller: Person, stranger: Person, simulator: Simulator, anon: Api) -> None:
    product = publish_product(seller)
    buy(simulator, stranger, product)
    assert change(seller, "products", product, status="deleted").status_code == 200
    assert not sees(anon, product)
    assert sees(stranger.api, product)
    assert stranger.api.function("GET", f"downloads/{product}").status_code == 200
    file = seller.api.one("product_files", product_id=f"eq.{product}")
    gone = seller.api.http.delete(f"/rest/v1/product_files?id=eq.{file['id']}")
    assert (gone.status_code, code_of(gone)) == (409, "product_has_no_files")


# -- stored files -----------------------------------------------------------------------------------------------------


def upload(api: Api, bucket: str, path: str, kind: str = "image/png", body: bytes = b"\x89PNG") -> httpx.Response:
    return api.http.post(f"/storage/v1/object/{bucket}/{path}", content=body, headers={"content-type": kind})


def read(api: Api, bucket: str, path: str) -> httpx.Response:
    return api.http.get(f"/storage/v1/object/{bucket}/{path}")


def test_everybody_reads_public_files_and_only_their_owner_writes_them(
    seller: Person, stranger: Person, anon: Api
) -> None:
    path = f"{seller.id}/face.png"
    assert upload(seller.api, "avatars", path).status_code == 200
    assert anon.http.get(f"/storage/v1/object/public/avatars/{path}").content == b"\x89PNG"
    for api in (stranger.api, anon):
        assert upload(api, "avatars", f"{seller.id}/other.png").status_code >= 400
        put = api.http.put(f"/storage/v1/object/avatars/{path}", content=b"x", headers={"content-type": "image/png"})
        assert put.status_code >= 400
        api.http.request("DELETE", "/storage/v1/object/avatars", json={"prefixes": [path]})
        listed = api.http.post("/storage/v1/object/list/avatars", json={"prefix": seller.id})
        assert not listed.is_success or listed.json() == []
    assert anon.http.get(f"/storage/v1/object/public/avatars/{path}").content == b"\x89PNG"


def test_what_a_browser_would_run_is_not_stored_in_public(seller: Person) -> None:
    for kind, name in (("image/svg+xml", "x.svg"), ("text/html", "x.html"), ("application/javascript", "x.js")):
        assert upload(seller.api, "media", f"{seller.id}/{name}", kind).status_code >= 400


@pytest.mark.parametrize("path", ["{other}/x.png", "x.png", "{own}/../{other}/x.png", "{own}", "/{own}/x.png"])
def test_files_go_to_ones_own_folder(seller: Person, stranger: Person, path: str) -> None:
    name = path.format(own=seller.id, other=stranger.id)
    answer = upload(seller.api, "media", name.replace("..", "%2e%2e"))
    assert answer.status_code >= 400
    assert stranger.api.http.post("/storage/v1/object/list/media", json={"prefix": stranger.id}).json() == []


def test_private_files_are_for_seller_and_buyers(
    services: Services, seller: Person, stranger: Person, sign_up: SignUp, simulator: Simulator, anon: Api
) -> None:
    product = publish_product(seller)
    path = seller.api.one("product_files", product_id=f"eq.{product}")["path"]
    assert read(seller.api, "product-files", path).content == FILE
    for api in (anon, stranger.api):
        for url in (
            f"/storage/v1/object/product-files/{path}",
            f"/storage/v1/object/public/product-files/{path}",
            f"/storage/v1/object/authenticated/product-files/{path}",
            f"/storage/v1/object/info/product-files/{path}",
        ):
            answer = api.http.get(url)
            assert answer.status_code >= 400, (url, answer.status_code)
            assert FILE not in answer.content
        signed = api.http.post(f"/storage/v1/object/sign/product-files/{path}", json={"expiresIn": 60})
        assert signed.status_code >= 400
        moved = api.http.post(
            "/storage/v1/object/copy",
            json={"bucketId": "product-files", "sourceKey": path, "destinationKey": f"{stranger.id}/stolen.wav"},
        )
        assert moved.status_code >= 400
        listed = api.http.post("/storage/v1/object/list/product-files", json={"prefix": f"{seller.id}/{product}"})
        assert not listed.is_success or listed.json() == []
    buyer = sign_up()
    assert read(buyer.api, "product-files", path).status_code >= 400
    buy(simulator, buyer, product)
    assert read(buyer.api, "product-files", path).content == FILE


def test_a_file_on_sale_is_neither_replaced_nor_removed(seller: Person, stranger: Person, simulator: Simulator) -> None:
    product = publish_product(seller)
    path = seller.api.one("product_files", product_id=f"eq.{product}")["path"]
    buy(simulator, stranger, product)
    assert upload(seller.api, "product-files", path, "audio/wav", b"something else").status_code >= 400
    put = seller.api.http.put(
        f"/storage/v1/object/product-files/{path}", content=b"something else", headers={"content-type": "audio/wav"}
    )
    assert put.status_code >= 400
    upsert = seller.api.http.post(
        f"/storage/v1/object/product-files/{path}",
        content=b"something else",
        headers={"content-type": "audio/wav", "x-upsert": "true"},
    )
    assert upsert.status_code >= 400
    seller.api.http.request("DELETE", "/storage/v1/object/product-files", json={"prefixes": [path]})
    seller.api.http.post(
        "/storage/v1/object/move",
        json={"bucketId": "product-files", "sourceKey": path, "destinationKey": f"{seller.id}/moved.wav"},
    )
    assert read(stranger.api, "product-files", path).content == FILE


def test_a_file_of_somebody_else_cannot_be_sold(seller: Person, stranger: Person, database: Database) -> None:
    product = publish_product(seller)
    path = seller.api.one("product_files", product_id=f"eq.{product}")["path"]
    mine = stranger.client.table("products").insert({"title": "Mine", "price_cents": 100}).execute().data[0]["id"]
    for stolen in (path, f"{stranger.id}/never-uploaded.wav"):
        answer = stranger.api.http.post("/rest/v1/product_files", json={"product_id": mine, "path": stolen})
        assert (answer.status_code, code_of(answer)) == (409, "file_not_uploaded")
    # Nor can a file be put onto somebody else's product.
    answer = stranger.api.http.post("/rest/v1/product_files", json={"product_id": product, "path": path})
    assert answer.status_code in (403, 409)
    assert database.value("select count(*) from public.product_files where path = %s", path) == 1


# -- the shop's order, its search, and addresses ----------------------------------------------------------------------


def test_newest_is_what_was_published_last(seller: Person, anon: Api) -> None:
    draft = publish_artwork(seller, status="draft", title="An old sketch")
    other = publish_artwork(seller, title="Published before")
    assert change(seller, "artworks", draft, status="published").status_code == 200
    page = anon.select("catalog_items", is_listed="eq.true", order="published_at.desc,id.desc", limit="2")
    assert [row["id"] for row in page] == [draft, other]
    published = page[0]["published_at"]
    assert change(seller, "artworks", draft, status="archived").status_code == 200
    assert change(seller, "artworks", draft, status="published").status_code == 200
    assert anon.one("catalog_items", id=f"eq.{draft}")["published_at"] == published


def test_search_finds_what_is_on_sale(seller: Person, stranger: Person, anon: Api) -> None:
    sessions = publish_product(seller, 1000, title="Café Sessions", tags=["bossa"])
    tower = publish_artwork(seller, 700, title="夜の東京タワー")
    band = publish_artwork(seller, 800, title="The Who at Leeds")
    publish_artwork(seller, title="Café to come", status="draft")

    def found(api: Api, query: str, **filters: Any) -> list[str]:
        answer = api.rpc("search_catalog", query=query, **filters)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()]

    for query in ("café", "cafe", "CAFÉ sessions", "bossa", "cafe sesions"):
        assert found(anon, query) == [sessions], query
    assert found(anon, "The Who") == [band]
    assert found(anon, "東京") == found(anon, "京タ") == [tower]
    assert found(anon, "cafe", kinds=["artwork"]) == []
    assert found(anon, "cafe", tags=["bossa"], min_price_cents=1000, max_price_cents=1000) == [sessions]
    assert found(anon, "cafe", max_price_cents=999) == []
    seller.client.table("user_blocks").insert({"blocked_id": stranger.id}).execute()
    assert found(stranger.api, "cafe") == []
    seller.client.table("user_blocks").delete().eq("blocked_id", stranger.id).execute()
    assert found(stranger.api, "cafe") == [sessions]


@pytest.mark.parametrize("table", ["products", "artworks"])
def test_addresses_do_not_tell_of_drafts(seller: Person, stranger: Person, table: str) -> None:
    fields: dict[str, Any] = {"title": "Secret album", "price_cents": 100}
    if table == "artworks":
        fields |= {"image_url": "https://images.example/x.jpg", "category": "other"}
    first = seller.client.table(table).insert(fields).execute().data[0]
    assert first["slug"] == "secret-album"
    for wanted in ({}, {"slug": "secret-album"}, {"slug": "Secret-Album"}):
        made = stranger.client.table(table).insert(fields | wanted).execute().data[0]
        assert made["slug"].startswith("secret-album-")


def test_a_refund_publishes_nothing_that_was_withdrawn(
    seller: Person, sign_up: SignUp, simulator: Simulator, admin: Person
) -> None:
    buyer, work = sign_up(), publish_artwork(seller, 5000)
    ordered = order(buyer, work)
    attempt = start(buyer, ordered)
    assert change(seller, "artworks", work, status="archived").status_code == 200
    simulator.confirm(attempt["client_secret"])
    assert wait_for_order(buyer, ordered["order_id"])["status"] == "completed"
    assert seller.api.one("artworks", id=f"eq.{work}")["status"] == "sold"
    line = buyer.api.one("order_items", order_id=f"eq.{ordered['order_id']}")["id"]
    assert admin.api.rpc("refund_order_item", order_item_id=line, reason="asked").status_code == 200
    wait_for_order(buyer, ordered["order_id"], "refunded")
    assert seller.api.one("artworks", id=f"eq.{work}")["status"] == "archived"


def test_free_sales_make_nothing_popular(seller: Person, sign_up: SignUp, simulator: Simulator) -> None:
    gift, paid = publish_product(seller, 0), publish_product(seller, 500)
    for _ in range(6):
        order(sign_up(), gift)
    buy(simulator, sign_up(), paid)
    item = seller.api.one("catalog_items", id=f"eq.{gift}")
    assert (item["purchases_count"], item["popularity"]) == (6, 0)
    item = seller.api.one("catalog_items", id=f"eq.{paid}")
    assert (item["purchases_count"], item["popularity"]) == (1, 4)
