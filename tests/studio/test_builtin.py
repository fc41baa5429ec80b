"""The built-in studio against real photos over loopback: what each keyword does, and what it says of the rest."""

import asyncio
import hashlib
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageStat

from tests.media import pictures
from workers.media import edit
from workers.media.picture import EDITS
from workers.media.pool import Pool
from workers.studio.builtin import KEYWORDS, BuiltinStudio, edits_of
from workers.studio.protocol import Attempt, InvalidDelivery, OutputGone, OutputInvalid, Status, StudioUnavailable

# A dull photo: all shades between 60 and 180.
DULL = pictures.photo(1).point([60 + shade * 120 // 255 for shade in range(256)] * 3)


def vase() -> Image.Image:
    """A product before an uneven beige wall, with a spot on it of the wall's own color."""
    image = Image.new("RGB", (400, 600), (190, 180, 165))
    for row in range(600):
        ImageDraw.Draw(image).line([(0, row), (400, row)], fill=(185 + row // 60, 175 + row // 60, 160 + row // 60))
    ImageDraw.Draw(image).ellipse([100, 150, 300, 500], fill=(30, 60, 120))
    ImageDraw.Draw(image).ellipse([170, 300, 230, 360], fill=(190, 180, 165))
    return image


REPO = Path(__file__).resolve().parents[2]

FILES = {
    "/dull.png": pictures.saved(DULL, "PNG"),
    "/vase.jpg": pictures.saved(vase(), "JPEG", quality=95, exif=pictures.exif()),
    "/cut-out.png": pictures.saved(
        pictures.quarters((*((*c, 255) for c in pictures.COLORS[:3]), (0, 0, 0, 0)), "RGBA"), "PNG"
    ),
    "/page.html": b"<!doctype html><p>Sorry",
    "/cut.jpg": pictures.saved(pictures.quarters(), "JPEG")[:400],
}


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = FILES.get(self.path)
            status = int(self.path.removeprefix("/status/")) if self.path.startswith("/status/") else 404
            self.send_response(200 if body is not None else status)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def with_studio(test: Callable[[BuiltinStudio], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with Pool() as pool:
            studio = BuiltinStudio(pool)
            try:
                return await test(studio)
            finally:
                await studio.close()

    return asyncio.run(run())


def attempt(url: str | None, prompt: str = "") -> Attempt:
    return Attempt(uuid4(), prompt, url, datetime.now(UTC) + timedelta(hours=1))


def submitted(url: str | None, *prompts: str) -> list[Status]:
    async def test(studio: BuiltinStudio) -> list[Status]:
        return [await studio.submit(attempt(url, prompt)) for prompt in prompts]

    return with_studio(test)


def edited(url: str, *prompts: str) -> list[Image.Image]:
    images = []
    for status in submitted(url, *prompts):
        assert (status.state, status.code, status.cost_micros) == ("succeeded", None, 0)
        assert status.output is not None
        image = Image.open(BytesIO(status.output))
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert not image.getexif()
        images.append(image)
    return images


def mean(image: Image.Image) -> list[float]:
    return ImageStat.Stat(image).mean


def near(image: Image.Image, place: tuple[int, int], color: tuple[int, int, int], by: int = 12) -> bool:
    found = image.getpixel(place)
    assert isinstance(found, tuple)
    return all(abs(one - other) <= by for one, other in zip(found, color, strict=True))


def test_light_and_colors_follow_the_keywords(files: str) -> None:
    words = (
        "warmer and cooler, cooler and warmer",
        "brighter",
        "darker",
        "cooler",
        "black and white",
        "vivid",
        "muted",
    )
    warm, bright, dark, cool, grey, vivid, muted = edited(f"{files}/dull.png", *words)
    original = mean(DULL)
    assert all(new > old + 10 for new, old in zip(mean(bright), original, strict=True))
    assert all(new < old - 10 for new, old in zip(mean(dark), original, strict=True))
    # The last of two that exclude each other counts.
    assert mean(warm)[0] - mean(warm)[2] > original[0] - original[2] + 10
    assert mean(cool)[0] - mean(cool)[2] < original[0] - original[2] - 10
    assert ImageStat.Stat(grey.convert("HSV")).mean[1] < 2
    saturation = ImageStat.Stat(DULL.convert("HSV")).mean[1]
    assert ImageStat.Stat(vivid.convert("HSV")).mean[1] > saturation + 5
    assert ImageStat.Stat(muted.convert("HSV")).mean[1] < saturation - 5


def test_contrast_and_sharpness_follow_the_keywords(files: str) -> None:
    contrast, sharp = edited(f"{files}/dull.png", "more contrast please", "sharpen")
    deviation = ImageStat.Stat(DULL.convert("L")).stddev[0]
    assert ImageStat.Stat(contrast.convert("L")).stddev[0] > deviation * 1.15
    noise = Image.effect_noise((300, 300), 20).convert("RGB").filter(ImageFilter.GaussianBlur(1))
    assert sharp.size == DULL.size
    assert ImageStat.Stat(edit.edited(noise, ["sharpen"])).stddev[0] > ImageStat.Stat(noise).stddev[0] * 1.2


@pytest.mark.parametrize(
    ("word", "size"), [("square", (400, 400)), ("portrait", (400, 500)), ("landscape", (400, 267))]
)
def test_a_crop_keeps_the_middle(files: str, word: str, size: tuple[int, int]) -> None:
    (image,) = edited(f"{files}/vase.jpg", f"Crop {word}")
    assert image.size == size
    assert near(image, (size[0] // 2 - 70, size[1] // 2), (30, 60, 120))


@pytest.mark.parametrize(("word", "tone"), [("white", 255), ("grey", 200), ("black", 0)])
def test_the_background_gets_its_tone_and_the_subject_stays(files: str, word: str, tone: int) -> None:
    (image,) = edited(f"{files}/vase.jpg", f"brighter, on a plain {word} background, black and white")
    assert all(near(image, place, (tone,) * 3) for place in ((5, 5), (395, 595), (60, 300), (340, 590)))
    assert near(image, (140, 250), (88, 88, 88))
    # As beige as the wall, but not part of it.
    assert near(image, (200, 330), (201, 201, 201))


def test_what_is_see_through_is_background(files: str) -> None:
    black, plain = edited(f"{files}/cut-out.png", "black background", "brighter")
    assert near(black, (110, 70), (0, 0, 0))
    assert near(plain, (110, 70), (255, 255, 255))


def test_a_busy_background_is_left_alone(files: str) -> None:
    (image,) = edited(f"{files}/dull.png", "white background")
    assert mean(image) == pytest.approx(mean(DULL), abs=3)


def test_without_a_keyword_the_contrast_is_automatic(files: str) -> None:
    for prompt in ("", "Make it look like a million dollars", "Auto"):
        assert edits_of(prompt) == ("auto",)
    (image,) = edited(f"{files}/dull.png", "as in a magazine")
    before, after = (ImageStat.Stat(each.convert("L")).stddev[0] for each in (DULL, image))
    assert after > before * 1.3


@pytest.mark.parametrize(
    ("prompt", "edits"),
    [
        ("Square, white background, a bit brighter and sharper", {"square", "white_background", "brighter", "sharpen"}),
        ("black-and-white, no sharpening", {"black_and_white"}),
        ("do not make it darker; brighten it", {"brighter"}),
        ("Black and white portrait with a grey backdrop", {"black_and_white", "portrait", "grey_background"}),
        ("remove the background, warm light", {"white_background", "warmer"}),
        ("SQUARE\n\nbut  landscape", {"landscape"}),
        ("unsquare brightest blackened", {"auto"}),
        ("square " * 20_000, {"square"}),
        ("x" * 100_000 + " no " * 20_000 + "square", {"auto"}),
    ],
)
def test_a_prompt_is_read_by_whole_words(prompt: str, edits: set[str]) -> None:
    assert set(edits_of(prompt)) == edits


def test_every_edit_has_a_keyword() -> None:
    assert {word for group in KEYWORDS for word in group} == set(EDITS)
    for word in EDITS:
        assert edits_of(word.replace("_", " ")) == (word,)


def test_the_documented_keywords_are_read() -> None:
    page = (REPO / "docs/studio-providers.md").read_text().partition("## The built-in studio")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in page.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) == len(KEYWORDS)
    for row, group in zip(rows, KEYWORDS, strict=True):
        for keyword in re.findall("`([^`]+)`", row):
            assert set(edits_of(keyword)) <= set(group), keyword
    example, edits = re.findall(r'edits_of\("(.+)"\)  # (\(.+\))', page)[0]
    assert str(edits_of(example)).replace("'", '"') == edits


def test_the_same_attempt_gives_the_same_picture(files: str) -> None:
    """A process that died after submit() loses nothing."""
    again = attempt(f"{files}/vase.jpg", "white background, warm, sharpen")

    async def test(studio: BuiltinStudio) -> bytes:
        assert await studio.find(again.id) is None
        return (await studio.submit(again)).output or b""

    first, second = with_studio(test), with_studio(test)
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_a_photo_that_is_not_there_or_no_picture_fails_for_good(files: str) -> None:
    gone = ("/nothing.jpg", "/status/403", "/status/410", "/page.html", "/cut.jpg")
    for url in (None, *(files + path for path in gone), "ftp://127.0.0.1/x", "no url"):
        (status,) = submitted(url, "square")
        assert (status.state, status.code, status.output) == ("failed", "unreadable_input", None), url


def test_a_photo_nobody_could_fetch_right_now_is_no_failure(files: str) -> None:
    for url in (f"{files}/status/500", f"{files}/status/429", f"{files}/status/302", "http://127.0.0.1:9/x"):
        with pytest.raises(StudioUnavailable):
            submitted(url, "square")


def test_a_file_larger_than_a_picture_may_be_is_not_read_to_its_end(files: str) -> None:
    async def test(studio: BuiltinStudio) -> Status:
        studio._pool.limits = type(studio._pool.limits)(file_bytes=1000)
        return await studio.submit(attempt(f"{files}/vase.jpg"))

    status = with_studio(test)
    assert (status.code, status.detail) == ("unreadable_input", "more than 1000 bytes")


def test_it_keeps_nothing_and_delivers_nothing(files: str) -> None:
    async def test(studio: BuiltinStudio) -> None:
        status = await studio.submit(attempt(f"{files}/vase.jpg"))
        assert status.ref
        assert status.output
        assert await studio.fetch_output(status, len(status.output)) == status.output
        with pytest.raises(OutputInvalid):
            await studio.fetch_output(status, len(status.output) - 1)
        later = await studio.get_status(status.ref)
        assert (later.state, later.code) == ("failed", "output_gone")
        with pytest.raises(OutputGone):
            await studio.fetch_output(later, 1000)
        with pytest.raises(InvalidDelivery):
            studio.verify_delivery({}, b"{}")
        await studio.cancel(status.ref)

    with_studio(test)
