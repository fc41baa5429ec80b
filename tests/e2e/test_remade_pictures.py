"""`avenue remake-pictures`: what lies in public buckets loses what its file says; run as an operator would."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from typing import Any

import httpx
from PIL import Image

from stack.cluster import REPO
from stack.services import Services
from tests.e2e.test_media import opened, photo
from tests.harness.market import publish_artwork
from tests.harness.people import Api, Person, SignUp
from tests.harness.server import Database
from tests.media import pictures


def remake(services: Services) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "workers.cli", "remake-pictures"],
        cwd=REPO,
        env={**os.environ, **services.env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.returncode, run.stdout + run.stderr


def stored(who: Person, bucket: str, name: str, data: bytes, content_type: str = "image/jpeg") -> str:
    """A file as clients stored them before; its public address."""
    path = f"{who.id}/{name}"
    who.client.storage.from_(bucket).upload(path, data, {"content-type": content_type})
    return str(who.client.storage.from_(bucket).get_public_url(path)).rstrip("?")


def test_public_pictures_are_made_again_under_their_addresses(
    sign_up: SignUp, admin: Person, anon: Api, services: Services, database: Database
) -> None:
    person, other = sign_up(), sign_up()
    turned = pictures.saved(pictures.laid(6), "JPEG", exif=pictures.exif(6))
    avatar = stored(person, "avatars", "me.jpg", turned)
    work = stored(person, "media", "spa ce/dawn.jpg", photo(50))
    loose = stored(person, "media", "loose.jpg", photo(51))
    song = stored(person, "media", "song.mp3", b"ID3 song", "audio/mpeg")
    broken = stored(person, "banners", "broken.jpg", photo(52)[:500])
    person.client.table("profiles").update({"avatar_url": f"{avatar}?v=2", "banner_url": broken}).eq(
        "id", person.id
    ).execute()
    person.client.table("artist_profiles").insert({"artist_name": "Me"}).execute()
    assert admin.api.rpc("verify_artist", user_id=person.id, verified=True).is_success
    artwork = publish_artwork(person, image_url=work)
    # Who shows somebody else's file keeps the address.
    theirs = publish_artwork(other, image_url=work)

    code, said = remake(services)
    assert code == 1, said
    assert "3 made again, 2 places refer to a picture now." in said
    assert "1 unreadable" in said
    for address in (avatar, work, loose):
        answer = httpx.get(address)
        assert answer.headers["content-type"] == "image/webp"
        assert pictures.SECRET.encode() not in answer.content
        assert not {"exif", "xmp", "icc_profile"} & set(Image.open(BytesIO(answer.content)).info)
    assert httpx.get(song).content == b"ID3 song"
    profile: dict[str, Any] = anon.one(
        "profiles", id=f"eq.{person.id}", select="avatar_url,banner_url,avatar:media!avatar_media_id(width,derivatives)"
    )
    assert profile["avatar"]["width"] == pictures.WIDTH
    assert profile["avatar_url"] == profile["avatar"]["derivatives"]["small"]["url"]
    assert opened(profile["avatar_url"]).size == (pictures.WIDTH, pictures.HEIGHT)
    assert profile["banner_url"] == broken
    assert anon.one("artist_profiles", user_id=f"eq.{person.id}")["is_verified"]
    shown = anon.one("artworks", id=f"eq.{artwork}", select="image_url,image:media(derivatives)")
    assert shown["image_url"] == shown["image"]["derivatives"]["large"]["url"]
    assert anon.one("artworks", id=f"eq.{theirs}", select="image_url,image_media_id") == {
        "image_url": work,
        "image_media_id": None,
    }

    # Once more: nothing to do. As after a kill before the note: the same again, and no second picture.
    assert remake(services) == (0, "0 made again, 0 places refer to a picture now.\n")
    database.run("delete from private.remade_pictures where failure is null")
    code, said = remake(services)
    assert (code, "3 made again, 0 places" in said) == (0, True), said
    assert database.value("select count(*) from public.media where owner_id = %s", person.id) == 2
    # Uploaded again under the old address: looked at again.
    person.client.storage.from_("media").upload(
        f"{person.id}/loose.jpg", photo(53), {"content-type": "image/jpeg", "x-upsert": "true"}
    )
    assert "1 made again" in remake(services)[1]
    assert pictures.SECRET.encode() not in httpx.get(loose).content
