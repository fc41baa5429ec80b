"""Stored files: what was sold or sent stays what it was, buckets take what they may, links do not outlive a right."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from storage3.exceptions import StorageApiError
from storage3.types import CreateSignedUploadUrlOptions

from tests.harness.market import FILE, Simulator, buy, publish_artwork, publish_product
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
WAV = {"content-type": "audio/wav"}
OVERWRITES = CreateSignedUploadUrlOptions(upsert="true")


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up(username="files-seller")


@pytest.fixture
def buyer(sign_up: SignUp) -> Person:
    return sign_up()


def read(who: Person, bucket: str, path: str) -> bytes:
    return who.client.storage.from_(bucket).download(path)


def downloads(who: Person, item: str) -> dict[str, bytes]:
    """What the download function hands out, by name."""
    answer = who.api.function("GET", f"downloads/{item}")
    assert answer.status_code == 200, answer.text
    return {file["name"]: httpx.get(file["url"]).content for file in answer.json()["files"]}


def draft(seller: Person, path: str) -> str:
    """A product whose only file is already uploaded to `path`; its id."""
    product = seller.client.table("products").insert({"title": "Beat", "price_cents": 500}).execute().data[0]["id"]
    seller.client.table("product_files").insert({"product_id": product, "path": path, "name": "beat.wav"}).execute()
    seller.client.table("products").update({"status": "active"}).eq("id", product).execute()
    return str(product)


# -- upload links -----------------------------------------------------------------------------------------------------


def test_a_link_signed_before_the_object_exists_does_not_overwrite_what_was_sold(
    seller: Person, buyer: Person, simulator: Simulator, database: Database
) -> None:
    bucket = seller.client.storage.from_("product-files")
    path = f"{seller.id}/{uuid4()}/beat.wav"
    link = bucket.create_signed_upload_url(path, OVERWRITES)
    bucket.upload(path, FILE, WAV)
    product = draft(seller, path)
    for moment in ("on sale", "sold"):
        with pytest.raises(StorageApiError):
            bucket.upload_to_signed_url(path, link["token"], b"something else", WAV)
        # The same bytes under another type are something else too.
        with pytest.raises(StorageApiError):
            bucket.upload_to_signed_url(path, link["token"], FILE, {"content-type": "audio/mpeg"})
        assert read(seller, "product-files", path) == FILE, moment
        if moment == "on sale":
            buy(simulator, buyer, product)
    assert downloads(buyer, product) == {"beat.wav": FILE}
    assert buyer.api.http.get(f"/storage/v1/object/product-files/{path}").headers["content-type"] == "audio/wav"
    pinned = "select f.object_version = o.version from public.product_files f join storage.objects o on o.name = f.path"
    assert database.value(f"{pinned} where f.path = %s", path) is True


def test_a_link_signed_before_does_not_overwrite_what_was_sent(sign_up: SignUp) -> None:
    one, two = sign_up(), sign_up()
    talk = one.api.rpc("start_conversation", user_ids=[two.id]).json()["id"]
    bucket = one.client.storage.from_("attachments")
    path = f"{one.id}/{talk}/contract.txt"
    link = bucket.create_signed_upload_url(path, OVERWRITES)
    kind = {"content-type": "text/plain"}
    bucket.upload(path, b"I owe you 100", kind)
    one.client.table("messages").insert({"conversation_id": talk, "attachments": [path]}).execute()
    with pytest.raises(StorageApiError):
        bucket.upload_to_signed_url(path, link["token"], b"You owe me 100", kind)
    assert read(two, "attachments", path) == b"I owe you 100"


@pytest.mark.parametrize("bucket", ["avatars", "media", "product-files"])
def test_a_link_ends_with_the_membership(sign_up: SignUp, admin: Person, anon: Api, bucket: str) -> None:
    banned, gone = sign_up(), sign_up()
    links = {}
    for person in (banned, gone):
        path = f"{person.id}/late.png"
        links[path] = person.client.storage.from_(bucket).create_signed_upload_url(path, OVERWRITES)["token"]
    assert admin.api.rpc("ban_user", user_id=banned.id, reason="spam").is_success
    assert gone.api.rpc("delete_my_account").status_code == 204
    for path, token in links.items():
        url = f"/storage/v1/object/upload/sign/{bucket}/{path}"
        answer = anon.http.put(url, params={"token": token}, content=PNG, headers={"content-type": "image/png"})
        assert answer.status_code >= 400, path
        assert anon.http.get(f"/storage/v1/object/public/{bucket}/{path}").status_code >= 400
    assert admin.api.rpc("unban_user", user_id=banned.id).is_success
    path, token = next(iter(links.items()))
    banned.client.storage.from_(bucket).upload_to_signed_url(path, token, PNG, {"content-type": "image/png"})


# -- buckets ----------------------------------------------------------------------------------------------------------


def transfer(who: Person, act: str, source: str, path: str, target: str, name: str) -> httpx.Response:
    body = {"bucketId": source, "sourceKey": path, "destinationBucket": target, "destinationKey": name}
    return who.api.http.post(f"/storage/v1/object/{act}", json=body)


@pytest.mark.parametrize("act", ["copy", "move"])
@pytest.mark.parametrize(
    ("source", "kind", "size", "target"),
    [
        ("product-files", "application/xml", 10, "media"),
        ("product-files", "application/pdf", 10, "avatars"),
        ("product-files", "text/plain", 10, "media"),
        ("media", "video/mp4", 10, "avatars"),
        ("media", "image/png", 5_242_881, "avatars"),
        ("product-files", "image/png", 5_242_881, "avatars"),
    ],
)
def test_no_bucket_takes_by_another_way_what_it_refuses(
    seller: Person, anon: Api, act: str, source: str, kind: str, size: int, target: str
) -> None:
    path, name = f"{seller.id}/{uuid4()}", f"{seller.id}/{uuid4()}"
    seller.client.storage.from_(source).upload(path, bytes(size), {"content-type": kind})
    assert transfer(seller, act, source, path, target, name).status_code >= 400
    assert anon.http.get(f"/storage/v1/object/public/{target}/{name}").status_code >= 400
    assert len(read(seller, source, path)) == size


def test_what_fits_is_copied_and_moved(seller: Person, anon: Api) -> None:
    path, copied, moved = (f"{seller.id}/{uuid4()}.png" for _ in range(3))
    seller.client.storage.from_("media").upload(path, PNG, {"content-type": "image/png"})
    assert transfer(seller, "copy", "media", path, "avatars", copied).is_success
    assert transfer(seller, "move", "media", path, "banners", moved).is_success
    for address in (f"avatars/{copied}", f"banners/{moved}"):
        assert anon.http.get(f"/storage/v1/object/public/{address}").content == PNG


@pytest.mark.parametrize("bucket", ["avatars", "banners", "media"])
def test_public_buckets_take_nothing_a_browser_runs_even_without_their_own_list(
    seller: Person, database: Database, bucket: str
) -> None:
    old = "select allowed_mime_types from storage.buckets where id = %s"
    types = database.value(old, bucket)
    database.run("update storage.buckets set allowed_mime_types = null where id = %s", bucket)
    try:
        for kind in ("image/svg+xml", "text/html", "application/xhtml+xml", "text/xml", "text/javascript", "font/woff"):
            url = f"/storage/v1/object/{bucket}/{seller.id}/{uuid4()}"
            answer = seller.api.http.post(url, content=b"<svg/>", headers={"content-type": kind})
            assert answer.status_code >= 400, kind
        link = seller.client.storage.from_(bucket).create_signed_upload_url(f"{seller.id}/{uuid4()}.html")
        with pytest.raises(StorageApiError):
            seller.client.storage.from_(bucket).upload_to_signed_url(
                link["path"], link["token"], b"<script>", {"content-type": "text/html"}
            )
    finally:
        database.run("update storage.buckets set allowed_mime_types = %s where id = %s", types, bucket)


# -- links to read ----------------------------------------------------------------------------------------------------


def refuses_links(who: Person, bucket: str, path: str) -> None:
    files = who.client.storage.from_(bucket)
    with pytest.raises(StorageApiError):
        files.create_signed_url(path, 10 * 365 * 86400)
    assert [link["signedURL"] or None for link in files.create_signed_urls([path], 60)] == [None]
    name = f"{who.id}/{uuid4()}.wav"
    for target in ("product-files", "media"):
        assert transfer(who, "copy", bucket, path, target, name).status_code >= 400


def test_a_buyer_reads_and_signs_nothing(seller: Person, buyer: Person, simulator: Simulator) -> None:
    product = publish_product(seller)
    path = seller.api.one("product_files", product_id=f"eq.{product}")["path"]
    buy(simulator, buyer, product)
    assert read(buyer, "product-files", path) == FILE
    assert downloads(buyer, product) == {"beat.wav": FILE}
    refuses_links(buyer, "product-files", path)
    with pytest.raises(StorageApiError):
        seller.client.storage.from_("product-files").create_signed_url(path, 60)


def test_a_participant_reads_and_signs_nothing(sign_up: SignUp) -> None:
    one, two = sign_up(), sign_up()
    talk = one.api.rpc("start_conversation", user_ids=[two.id]).json()["id"]
    path = f"{one.id}/{talk}/a.png"
    one.client.storage.from_("attachments").upload(path, PNG, {"content-type": "image/png"})
    one.client.table("messages").insert({"conversation_id": talk, "attachments": [path]}).execute()
    assert read(two, "attachments", path) == PNG
    refuses_links(two, "attachments", path)
    with pytest.raises(StorageApiError):
        one.client.storage.from_("attachments").create_signed_url(path, 60)


# -- after a sale -----------------------------------------------------------------------------------------------------


def test_a_buyer_keeps_what_was_there_and_later_buyers_get_what_is_there_now(
    seller: Person, buyer: Person, sign_up: SignUp, simulator: Simulator, admin: Person
) -> None:
    product = publish_product(seller, files=["first.wav"])
    first = seller.api.one("product_files", product_id=f"eq.{product}")
    buy(simulator, buyer, product)

    path = f"{seller.id}/{product}/second.wav"
    seller.client.storage.from_("product-files").upload(path, b"second", WAV)
    seller.client.table("product_files").insert({"product_id": product, "path": path, "name": "second.wav"}).execute()
    seller.client.table("product_files").delete().eq("id", first["id"]).execute()
    seller.client.storage.from_("product-files").remove([first["path"]])
    last = seller.api.http.delete("/rest/v1/product_files", params={"product_id": f"eq.{product}"})
    assert (last.status_code, code_of(last)) == (409, "product_has_no_files")

    assert downloads(buyer, product)["first.wav"] == FILE
    assert read(buyer, "product-files", first["path"]) == FILE
    later = sign_up()
    buy(simulator, later, product)
    assert downloads(later, product) == {"second.wav": b"second"}
    assert [row["name"] for row in later.api.select("product_files", product_id=f"eq.{product}")] == ["second.wav"]
    with pytest.raises(StorageApiError):
        read(later, "product-files", first["path"])

    refused = buyer.api.rpc("take_down_file", file_id=first["id"], reason="mine")
    assert (refused.status_code, code_of(refused)) == (403, "admin_only")
    assert admin.api.rpc("take_down_file", file_id=first["id"], reason="stolen").status_code == 204
    assert downloads(buyer, product) == {"second.wav": b"second"}
    with pytest.raises(StorageApiError):
        read(buyer, "product-files", first["path"])


def test_the_owner_of_a_digital_artwork_gets_its_files(
    seller: Person, buyer: Person, sign_up: SignUp, simulator: Simulator
) -> None:
    work = publish_artwork(seller, category="digital")
    path = f"{seller.id}/{work}/original.tiff"
    seller.client.storage.from_("product-files").upload(path, b"pixels", {"content-type": "image/tiff"})
    row = {"artwork_id": work, "path": path, "name": "Original.tiff"}
    assert seller.client.table("product_files").insert(row).execute().data[0]["item_id"] == work
    painting = publish_artwork(seller)
    answer = seller.api.http.post("/rest/v1/product_files", json={"artwork_id": painting, "path": path})
    assert (answer.status_code, code_of(answer)) == (409, "artwork_not_digital")

    assert buyer.api.function("GET", f"downloads/{work}").status_code == 403
    buy(simulator, buyer, work)
    assert downloads(buyer, work) == {"Original.tiff": b"pixels"}
    assert read(buyer, "product-files", path) == b"pixels"
    seller.client.table("product_files").delete().eq("artwork_id", work).execute()
    assert downloads(buyer, work) == {"Original.tiff": b"pixels"}
    assert sign_up().api.function("GET", f"downloads/{work}").status_code == 403


# -- one answer for what is hidden and what is not there --------------------------------------------------------------


def test_naming_something_hidden_answers_as_naming_nothing(
    seller: Person, buyer: Person, sign_up: SignUp, database: Database
) -> None:
    """Every table in which a member names something of others by its id."""
    hidden = sign_up()
    database.run("update public.profiles set role = 'author' where id = %s", hidden.id)
    product = hidden.client.table("products").insert({"title": "Draft"}).execute().data[0]["id"]
    art = {"title": "Draft", "image_url": "https://e.example/1.png", "price_cents": 500, "category": "digital"}
    artwork = hidden.client.table("artworks").insert(art).execute().data[0]["id"]
    article = hidden.client.table("articles").insert({"title": "Draft", "content": "x"}).execute().data[0]["id"]
    group = {"name": "Secret", "visibility": "secret"}
    secret = hidden.client.table("groups").insert(group).execute().data[0]["id"]
    post = hidden.client.table("posts").insert({"content": "x", "group_id": secret}).execute().data[0]["id"]
    comment = {"content": "x", "post_id": post}
    reply = hidden.client.table("comments").insert(comment).execute().data[0]["id"]
    talk = hidden.api.rpc("start_conversation", user_ids=[seller.id]).json()["id"]
    assert hidden.api.rpc("set_profile_visibility", visibility="private").is_success

    path = f"{buyer.id}/mine.wav"
    buyer.client.storage.from_("product-files").upload(path, FILE, WAV)
    named: list[tuple[str, str, str, dict[str, Any]]] = [
        ("product_files", "product_id", product, {"path": path}),
        ("product_files", "product_id", product, {"path": "nothing"}),
        ("product_files", "artwork_id", artwork, {"path": path}),
        ("product_files", "artwork_id", artwork, {"path": "nothing"}),
        ("product_files", "artwork_id", product, {"path": path}),
        ("cart_items", "item_id", product, {}),
        ("cart_items", "item_id", artwork, {}),
        ("favorites", "item_id", product, {}),
        ("comments", "item_id", product, {"content": "x"}),
        ("comments", "article_id", article, {"content": "x"}),
        ("comments", "post_id", post, {"content": "x"}),
        ("comments", "parent_comment_id", reply, {"content": "x", "post_id": post}),
        ("article_likes", "article_id", article, {}),
        ("post_likes", "post_id", post, {}),
        ("post_shares", "post_id", post, {}),
        ("comment_likes", "comment_id", reply, {}),
        ("posts", "group_id", secret, {"content": "x"}),
        ("messages", "conversation_id", talk, {"content": "x"}),
        ("follows", "following_id", hidden.id, {}),
        ("poll_votes", "post_id", post, {"option_id": str(uuid4())}),
    ]
    for relation, column, there, row in named:
        answers = []
        for value in (there, str(uuid4())):
            body = {**row, column: value}
            if column == "parent_comment_id" and value != there:
                body["post_id"] = str(uuid4())
            answer = buyer.api.http.post(f"/rest/v1/{relation}", json=body)
            told = answer.json() | {"details": None}
            answers.append((answer.status_code, {key: str(told[key]).replace(value, "") for key in told}))
        assert answers[0] == answers[1], (relation, column)
        assert answers[0][0] >= 400, (relation, column)
