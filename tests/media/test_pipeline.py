"""Every file of pictures.py through the whole way, by the running workers; and pictures the server itself publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
from PIL import Image

from stack.services import Services as Stack
from tests.harness.people import Person, SignUp
from tests.harness.server import Database
from tests.harness.waiting import until
from tests.media import pictures
from tests.media.pictures import Case
from workers.db import BusinessError
from workers.media.picture import Refused
from workers.media.pipeline import publish_picture
from workers.services import Services, open_services
from workers.settings import Settings

T = TypeVar("T")


@pytest.fixture(scope="module")
def person(sign_up: SignUp) -> Person:
    return sign_up()


def as_worker(services: Stack, monkeypatch: pytest.MonkeyPatch, work: Callable[[Services], Awaitable[T]]) -> T:
    """Do something as a worker of the stack would."""
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)

    async def run() -> T:
        async with open_services(Settings.load(), "test", wait=True) as opened:
            return await work(opened)

    return asyncio.run(run())


def objects(database: Database, prefix: str = "") -> set[str]:
    found = database.run(
        "select name from storage.objects where bucket_id in ('pictures', 'studio') and starts_with(name, %s)", prefix
    )
    return {row["name"] for row in found}


# -- every file -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(person: Person, database: Database, services: Stack) -> dict[str, dict[str, Any]]:
    """The rows of all files, by name, once the workers have looked at each."""
    database.run("update private.settings set pictures_pending_per_member = 1000")
    record = services.record("jobs")
    assert record is not None
    ids = {}
    for case in pictures.cases():
        path = f"{person.id}/{uuid4()}"
        # Whatever it is called: a file's declared type is never asked.
        person.client.storage.from_("uploads").upload(path, case.data, {"content-type": "image/png"})
        answer = person.api.rpc("create_media", path=path, purpose="product")
        assert answer.status_code == 200, answer.text
        ids[case.name] = answer.json()["id"]
    until(lambda: not person.api.select("media", status="eq.pending"), "all files to be looked at", 240)
    assert psutil.Process(record.pid).is_running(), "the worker lives on"
    rows = {row["id"]: row for row in person.api.select("media")}
    return {name: rows[media_id] for name, media_id in ids.items()}


@pytest.mark.parametrize("case", pictures.cases(), ids=str)
def test_a_file_becomes_the_right_picture_or_the_row_says_why_not(made: dict[str, dict[str, Any]], case: Case) -> None:
    row = made[case.name]
    assert (row["status"], row["failure"]) == (("failed", case.refused) if case.refused else ("ready", None))
    if case.refused:
        assert row["derivatives"] == {}
        return
    assert (row["width"], row["height"], row["is_animated"]) == (*case.size, case.animated)
    data = httpx.get(row["derivatives"]["large"]["url"]).content
    image = Image.open(BytesIO(data))
    assert image.format == "WEBP"
    assert not {"exif", "xmp", "icc_profile"} & set(image.info)
    assert pictures.SECRET.encode() not in data


def test_no_upload_is_left(made: dict[str, dict[str, Any]], database: Database) -> None:
    assert made
    until(lambda: not database.value("select count(*) from storage.objects where bucket_id = 'uploads'"), "none")


# -- what the server publishes ----------------------------------------------------------------------------------------


def test_a_picture_of_the_server_is_its_owners(
    services: Stack, person: Person, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pictures.saved(pictures.photo(3, (5000, 4000)), "JPEG", exif=pictures.exif())

    async def publish(workers: Services) -> UUID:
        return await publish_picture(workers, data, owner_id=UUID(person.id), purpose="photo_result")

    media_id = as_worker(services, monkeypatch, publish)
    row = person.api.one("media", id=f"eq.{media_id}")
    assert (row["status"], row["purpose"], row["bucket"]) == ("ready", "photo_result", "studio")
    assert row["expires_at"], "until whoever asked for it says until when"
    assert (row["width"], row["height"]) == (5000, 4000)
    assert row["derivatives"]["full"]["width"] == 4096
    assert objects(database, f"{media_id}/") == {copy["path"] for copy in row["derivatives"].values()}
    link = person.api.function("GET", f"media/{media_id}/full").json()["url"]
    answer = httpx.get(link).content
    assert Image.open(BytesIO(answer)).size == (4096, 3277)
    assert pictures.SECRET.encode() not in answer


def test_what_is_no_picture_is_not_published(
    services: Stack, person: Person, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = objects(database)

    async def publish(workers: Services) -> str:
        with pytest.raises(Refused) as refused:
            await publish_picture(workers, b"<html>", owner_id=UUID(person.id), purpose="photo_result")
        return refused.value.word

    assert as_worker(services, monkeypatch, publish) == "unsupported_format"
    assert objects(database) == before


def test_what_is_not_published_leaves_no_copy(
    services: Stack, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = objects(database)

    async def publish(workers: Services) -> None:
        data = pictures.saved(pictures.photo(4), "JPEG")
        with pytest.raises(BusinessError, match="user_not_found"):
            await publish_picture(workers, data, owner_id=uuid4(), purpose="photo_result")

    as_worker(services, monkeypatch, publish)
    assert objects(database) == before
