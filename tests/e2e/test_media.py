"""Pictures as a client meets them: upload, create_media(), look at what shows them. Cases are those of resale and
studio in the field's own words: an original's secrets, a turn that is said twice, a decoder that dies, a fingerprint.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image, ImageOps
from storage3.exceptions import StorageApiError

from stack.services import Services
from tests.harness.market import publish_artwork, run_job
from tests.harness.people import Api, Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until
from tests.media import pictures

Row = dict[str, Any]
JPEG = {"content-type": "image/jpeg"}
PUBLIC_SIZES = {"large", "medium", "small", "thumbnail"}


@pytest.fixture(scope="module")
def artist(sign_up: SignUp) -> Person:
    return sign_up(username="picture-artist")


@pytest.fixture(scope="module")
def stranger(sign_up: SignUp) -> Person:
    return sign_up(username="picture-stranger")


def photo(seed: int = 1, **options: Any) -> bytes:
    """A JPEG with a home in it."""
    return pictures.saved(pictures.photo(seed), "JPEG", exif=pictures.exif(), comment=pictures.SECRET, **options)


def upload(who: Person, data: bytes, content_type: str = "image/jpeg") -> str:
    """A file in the member's folder; its path."""
    path = f"{who.id}/{uuid4()}"
    who.client.storage.from_("uploads").upload(path, data, {"content-type": content_type})
    return path


def create(who: Person, path: str, purpose: str = "artwork") -> Row:
    answer = who.api.rpc("create_media", path=path, purpose=purpose)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def done(who: Person, media_id: str) -> Row:
    """The row once the workers have looked."""

    def row() -> Row | None:
        found = who.api.one("media", id=f"eq.{media_id}")
        return found if found["status"] != "pending" else None

    return until(row, f"picture {media_id}", 60)


def picture(who: Person, data: bytes, purpose: str = "artwork") -> Row:
    return done(who, create(who, upload(who, data), purpose)["id"])


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["hint"]


def opened(url: str) -> Image.Image:
    answer = httpx.get(url)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/webp"
    image = Image.open(BytesIO(answer.content))
    image.load()
    return image


# -- the cases --------------------------------------------------------------------------------------------------------


def test_case_30_an_original_carries_its_makers_home_and_no_copy_does(
    artist: Person, stranger: Person, anon: Api, services: Services, database: Database
) -> None:
    path = upload(artist, photo(30))
    made = done(artist, create(artist, path)["id"])
    assert made["status"] == "ready"
    assert set(made["derivatives"]) == PUBLIC_SIZES
    for copy in made["derivatives"].values():
        data = httpx.get(copy["url"]).content
        assert len(data) == copy["bytes"]
        assert pictures.SECRET.encode() not in data
        image = Image.open(BytesIO(data))
        assert (image.format, image.size) == ("WEBP", (copy["width"], copy["height"]))
        assert not {"exif", "xmp", "icc_profile"} & set(image.info)
    # The original is gone, not only from sight.
    until(lambda: not database.value("select count(*) from storage.objects where bucket_id = 'uploads'"), "no original")
    files = [file for file in (services.root / "files").rglob("*") if file.is_file()]
    assert not [file for file in files if pictures.SECRET.encode() in file.read_bytes()]
    for who in (artist.api, stranger.api, anon):
        assert who.http.get(f"/storage/v1/object/uploads/{path}").status_code >= 400
        assert who.http.get(f"/storage/v1/object/public/uploads/{path}").status_code >= 400


@pytest.mark.parametrize("turn", range(1, 9))
def test_case_31_a_picture_comes_out_upright_however_it_was_turned(artist: Person, turn: int) -> None:
    lying = ImageOps.exif_transpose(pictures.quarters()) if turn == 1 else pictures.laid(turn)
    made = picture(artist, pictures.saved(lying, "JPEG", exif=pictures.exif(turn), quality=95, subsampling=0))
    assert (made["width"], made["height"]) == (pictures.WIDTH, pictures.HEIGHT)
    image = opened(made["derivatives"]["thumbnail"]["url"]).convert("RGB")
    shown = [image.getpixel((x, y)) for y in (20, 60) for x in (30, 90)]
    for got, color in zip(shown, pictures.COLORS, strict=True):
        assert max(abs(a - b) for a, b in zip(got, color, strict=True)) < 25, (turn, shown)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "failure"),
    [
        (photo(32)[:2000], "unreadable"),
        (b"\x89PNG\r\n\x1a\n" + bytes(2000), "unreadable"),
        (b"%PDF-1.7 no picture", "unsupported_format"),
        (pictures.with_jpeg_size(photo(32), 40000, 40000), "too_large"),
    ],
    ids=["cut", "damaged", "another-format", "pretends-to-be-huge"],
)
def test_case_32_a_file_that_gives_no_picture_is_answered_and_the_worker_lives_on(
    artist: Person, data: bytes, failure: str
) -> None:
    path = upload(artist, data)
    made = done(artist, create(artist, path)["id"])
    assert (made["status"], made["failure"], made["derivatives"]) == ("failed", failure, {})
    # A second try with the same upload answers the same, and cannot be shown.
    assert create(artist, path)["id"] == made["id"]
    row = {"title": "x", "category": "digital", "price_cents": 0, "image_media_id": made["id"]}
    assert refusal(artist.api.http.post("/rest/v1/artworks", json=row)) == (409, "media_failed")
    assert picture(artist, photo(33))["status"] == "ready"


def test_case_33_the_same_picture_is_recognised_whatever_was_done_to_its_file(artist: Person, stranger: Person) -> None:
    original = pictures.photo(77)
    mine = picture(artist, pictures.saved(original, "JPEG"))["id"]
    turned = pictures.saved(pictures.laid(6, original), "JPEG", exif=pictures.exif(6), quality=60)
    small = picture(artist, pictures.saved(original.resize((450, 300)), "PNG"), "product")["id"]
    again = picture(artist, turned)["id"]
    mirror = picture(artist, pictures.saved(ImageOps.mirror(original), "WEBP"))["id"]
    other = picture(artist, photo(78))["id"]

    def similar(who: Person, media_id: str) -> list[Row]:
        answer = who.api.rpc("similar_media", media_id=media_id)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    assert {row["similar_id"] for row in similar(artist, mine)} == {small, again, mirror}
    assert all(row["distance"] <= 3 for row in similar(artist, mine))
    assert similar(artist, other) == []
    # A stranger's is a warning only once it can be seen, and never says which.
    theirs = picture(stranger, pictures.saved(original, "JPEG", quality=70))["id"]
    assert similar(stranger, theirs) == []
    draft = publish_artwork(artist, image_url=None, image_media_id=mine, status="draft")
    assert similar(stranger, theirs) == []
    artist.client.table("artworks").update({"status": "published"}).eq("id", draft).execute()
    (warned,) = similar(stranger, theirs)
    assert warned["similar_id"] is None
    assert warned["distance"] <= 3
    assert refusal(stranger.api.rpc("similar_media", media_id=mine)) == (404, "media_not_found")


# -- who may ----------------------------------------------------------------------------------------------------------


def test_an_upload_is_its_owners_alone_and_stays_while_it_is_taken(
    artist: Person, stranger: Person, anon: Api, database: Database
) -> None:
    bucket = artist.client.storage.from_("uploads")
    path = upload(artist, photo(2))
    assert bucket.download(path) == photo(2)
    assert stranger.client.storage.from_("uploads").list(artist.id) == []
    for who in (stranger.api, anon):
        assert who.http.get(f"/storage/v1/object/uploads/{path}").status_code >= 400
    with pytest.raises(StorageApiError):
        stranger.client.storage.from_("uploads").upload(f"{artist.id}/{uuid4()}", photo(2), JPEG)
    with pytest.raises(StorageApiError):
        bucket.create_signed_url(path, 60)
    with pytest.raises(StorageApiError):
        bucket.upload(path, photo(3), {**JPEG, "x-upsert": "true"})
    # Nobody makes a picture of somebody else's upload, or learns that there is one.
    for somebody in (path, f"{artist.id}/nothing", "nothing", ""):
        assert refusal(stranger.api.rpc("create_media", path=somebody, purpose="avatar")) == (404, "upload_not_found")
    assert refusal(artist.api.rpc("create_media", path=path, purpose="photo_result")) == (400, "unknown_purpose")
    # As if the workers were slow: taken, so neither deleted nor replaced.
    media = uuid4()
    database.run(
        "insert into public.media (id, owner_id, purpose, bucket) values (%s, %s, 'artwork', 'pictures')",
        media,
        artist.id,
    )
    database.run(
        "insert into private.media_sources (object_id, media_id, owner_id, path) "
        "select id, %s, %s, name from storage.objects where bucket_id = 'uploads' and name = %s",
        media,
        artist.id,
        path,
    )
    bucket.remove([path])
    assert bucket.download(path) == photo(2)
    assert create(artist, path)["id"] == str(media)
    assert refusal(artist.api.rpc("create_media", path=path, purpose="avatar")) == (409, "upload_taken")
    run_job(database, "process_media", media_id=str(media))
    assert done(artist, str(media))["status"] == "ready"


def test_copies_are_written_by_the_workers_alone(artist: Person) -> None:
    made = picture(artist, photo(4))
    path = made["derivatives"]["small"]["path"]
    for bucket in ("pictures", "studio"):
        for name in (path, f"{artist.id}/mine.webp", f"{made['id']}/mine.webp"):
            with pytest.raises(StorageApiError):
                artist.client.storage.from_(bucket).upload(
                    name, b"x", {"content-type": "image/webp", "x-upsert": "true"}
                )
        artist.client.storage.from_(bucket).remove([path])
    assert opened(made["derivatives"]["small"]["url"]).size == (512, 341)
    for verb, body in (("patch", {"color": "#000000"}), ("delete", None)):
        answer = artist.api.http.request(verb.upper(), "/rest/v1/media", params={"id": f"eq.{made['id']}"}, json=body)
        assert answer.json()["code"] == "42501"
    assert artist.api.http.post("/rest/v1/media", json={"purpose": "avatar"}).json()["code"] == "42501"


def test_a_picture_is_seen_by_who_sees_what_shows_it(
    artist: Person, stranger: Person, anon: Api, admin: Person
) -> None:
    made = picture(artist, photo(5))
    readers = (stranger.api, anon)
    assert all(api.select("media", id=f"eq.{made['id']}") == [] for api in readers)
    assert admin.api.one("media", id=f"eq.{made['id']}")["owner_id"] == artist.id
    work = publish_artwork(artist, image_url=None, image_media_id=made["id"], status="draft")
    assert all(api.select("media", id=f"eq.{made['id']}") == [] for api in readers)
    artist.client.table("artworks").update({"status": "published"}).eq("id", work).execute()
    for api in (artist.api, *readers):
        row = api.one("artworks", id=f"eq.{work}", select="*,image:media(*)")
        assert row["image"] == made | {"expires_at": None}
        assert row["image_url"] == made["derivatives"]["large"]["url"]
        assert row["thumbnail_url"] == made["derivatives"]["small"]["url"]
        item = api.one("catalog_items", id=f"eq.{work}", select="thumbnail_url,image:media(derivatives)")
        assert item["thumbnail_url"] == row["thumbnail_url"]
        assert item["image"]["derivatives"] == made["derivatives"]


def test_a_work_can_be_shown_before_its_picture_is_ready(artist: Person, anon: Api) -> None:
    media = create(artist, upload(artist, photo(6)))
    work = publish_artwork(artist, image_url=None, image_media_id=media["id"])
    made = done(artist, media["id"])
    row = anon.one("artworks", id=f"eq.{work}", select="image_url,status,image:media(status,color,derivatives)")
    assert row == {
        "image_url": made["derivatives"]["large"]["url"],
        "status": "published",
        "image": {"status": "ready", "color": made["color"], "derivatives": made["derivatives"]},
    }


def test_calls_at_once_make_one_picture_and_what_shows_it_early_misses_nothing(artist: Person) -> None:
    path = upload(artist, photo(60))
    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(lambda _: create(artist, path)["id"], range(8)))
    assert len(ids) == 1
    # Shown at the very moment they become ready.
    paths = [upload(artist, photo(61 + n)) for n in range(8)]

    def show(path: str) -> str:
        return publish_artwork(artist, image_url=None, image_media_id=create(artist, path)["id"])

    with ThreadPoolExecutor(4) as threads:
        works = list(threads.map(show, paths))

    def shown() -> bool:
        rows = artist.api.select("artworks", id=f"in.({','.join(works)})", select="image_url,image:media(derivatives)")
        return all(row["image_url"] and row["image_url"] == row["image"]["derivatives"]["large"]["url"] for row in rows)

    until(shown, "all works to have their picture's address", 60)


def test_the_profiles_picture_goes_wherever_its_address_goes(artist: Person, stranger: Person) -> None:
    made = picture(artist, photo(7), "avatar")
    assert set(made["derivatives"]) == {"medium", "small", "thumbnail"}
    artist.client.table("profiles").update({"avatar_media_id": made["id"]}).eq("id", artist.id).execute()
    address = made["derivatives"]["small"]["url"]
    profile = stranger.api.one(
        "profiles", id=f"eq.{artist.id}", select="avatar_url,avatar:media!avatar_media_id(color,derivatives)"
    )
    assert profile == {"avatar_url": address, "avatar": {"color": made["color"], "derivatives": made["derivatives"]}}
    (found,) = stranger.api.rpc("search_profiles", query="picture-artist").json()
    assert found["avatar_url"] == address
    # Nobody wears somebody else's, or one that was made for something else.
    theirs = stranger.api.http.patch(
        "/rest/v1/profiles", params={"id": f"eq.{stranger.id}"}, json={"avatar_media_id": made["id"]}
    )
    assert refusal(theirs) == (404, "media_not_found")
    work = picture(artist, photo(8))
    mine = artist.api.http.patch(
        "/rest/v1/profiles", params={"id": f"eq.{artist.id}"}, json={"avatar_media_id": work["id"]}
    )
    assert refusal(mine) == (404, "media_not_found")
    # An address from outside takes its place.
    outside = "https://images.example/me.png"
    artist.client.table("profiles").update({"avatar_url": outside}).eq("id", artist.id).execute()
    assert artist.api.one("profiles", id=f"eq.{artist.id}", select="avatar_url,avatar_media_id") == {
        "avatar_url": outside,
        "avatar_media_id": None,
    }
    assert artist.api.one("media", id=f"eq.{made['id']}")["expires_at"] is not None


def test_private_pictures_are_read_through_links_of_minutes_by_their_owner_alone(
    artist: Person, stranger: Person, anon: Api, admin: Person
) -> None:
    made = picture(artist, photo(9), "photo_input")
    assert set(made["derivatives"]) == PUBLIC_SIZES | {"full"}
    assert all("url" not in copy for copy in made["derivatives"].values())
    path = made["derivatives"]["full"]["path"]
    link = artist.api.function("GET", f"media/{made['id']}/full")
    assert link.status_code == 200, link.text
    assert link.json()["expires_in"] == 300
    assert link.headers["cache-control"] == "no-store"
    assert opened(link.json()["url"]).size == (900, 600)
    for who in (stranger.api, admin.api):
        answer = who.function("GET", f"media/{made['id']}/full")
        assert (answer.status_code, answer.json()["code"]) == (404, "media_not_found")
    assert anon.function("GET", f"media/{made['id']}/full").status_code == 401
    assert artist.api.function("GET", f"media/{made['id']}/original").status_code == 404
    assert artist.api.function("GET", f"media/{uuid4()}/full").status_code == 404
    for who in (artist.api, stranger.api, anon):
        assert who.http.get(f"/storage/v1/object/studio/{path}").status_code >= 400
        assert who.http.get(f"/storage/v1/object/public/studio/{path}").status_code >= 400
        assert who.http.post(f"/storage/v1/object/sign/studio/{path}", json={"expiresIn": 60}).status_code >= 400
    assert stranger.api.select("media", id=f"eq.{made['id']}") == []


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_picture_is_deleted_when_nothing_shows_it(artist: Person, stranger: Person, services: Services) -> None:
    made = picture(artist, photo(10))
    work = publish_artwork(artist, image_url=None, image_media_id=made["id"])
    assert refusal(artist.api.rpc("delete_media", media_id=made["id"])) == (409, "media_in_use")
    assert refusal(stranger.api.rpc("delete_media", media_id=made["id"])) == (404, "media_not_found")
    artist.client.table("artworks").delete().eq("id", work).execute()
    assert artist.api.rpc("delete_media", media_id=made["id"]).status_code == 204
    assert artist.api.select("media", id=f"eq.{made['id']}") == []
    until(lambda: all(httpx.get(copy["url"]).is_error for copy in made["derivatives"].values()), "its copies to go")
    assert not list(Path(services.root / "files").rglob(f"*{made['id']}*/**/*.webp"))


def test_a_picture_whose_time_has_come_is_deleted_and_one_that_is_shown_is_not(
    artist: Person, database: Database
) -> None:
    gone, kept = picture(artist, photo(11)), picture(artist, photo(12))
    work = publish_artwork(artist, image_url=None, image_media_id=kept["id"])
    database.run("update public.media set expires_at = now() where id in (%s, %s)", gone["id"], kept["id"])
    run_job(database, "expire_media")
    assert artist.api.select("media", id=f"eq.{gone['id']}") == []
    assert artist.api.one("media", id=f"eq.{kept['id']}")["expires_at"] is None
    assert artist.api.one("artworks", id=f"eq.{work}")["image_media_id"] == kept["id"]
    until(lambda: httpx.get(gone["derivatives"]["small"]["url"]).is_error, "its copies to go")
    assert opened(kept["derivatives"]["small"]["url"])


def test_a_deleted_account_leaves_no_picture(sign_up: SignUp, database: Database, services: Services) -> None:
    person = sign_up()
    avatar, work = picture(person, photo(13), "avatar"), picture(person, photo(14))
    private = picture(person, photo(15), "photo_input")
    left = upload(person, photo(16))
    person.client.table("profiles").update({"avatar_media_id": avatar["id"]}).eq("id", person.id).execute()
    publish_artwork(person, image_url=None, image_media_id=work["id"])
    assert person.api.rpc("delete_my_account").status_code == 204
    ids = [row["id"] for row in (avatar, work, private)]
    objects = "select count(*) from storage.objects where split_part(name, '/', 1) = any (%s)"
    until(lambda: database.value(objects, [*ids, person.id]) == 0, "all files to go", 60)
    assert database.value("select count(*) from public.media where owner_id = %s", person.id) == 0
    assert database.value("select count(*) from private.media_sources where owner_id = %s", person.id) == 0
    assert not [f for f in (services.root / "files").rglob("*") if left in str(f) and f.is_file()]
