"""Every kind of file gives the right upright picture or a clear refusal, in a child as the workers use it."""

import asyncio
from collections.abc import Iterator
from io import BytesIO

import pytest
from PIL import Image

from tests.media import pictures
from tests.media.pictures import SECRET, Case
from workers.media.picture import REFUSALS, SIZES, Picture, Refused, Size
from workers.media.pool import Pool

ALL = (*SIZES, Size("mail", 300, "JPEG"))
# Of 255: two lossy steps, and the rounding of inks.
CLOSE = 14


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def pool(loop: asyncio.Runner) -> Iterator[Pool]:
    pool = Pool()
    yield pool
    loop.run(pool.close())


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def shown(image: Image.Image) -> list[tuple[int, ...] | None]:
    """The colors in the middle of the quarters, None where it is see-through."""
    rgba = image.convert("RGBA")
    found: list[tuple[int, ...] | None] = []
    for down, right in ((1, 1), (1, 3), (3, 1), (3, 3)):
        pixel = rgba.getpixel((rgba.width * right // 4, rgba.height * down // 4))
        assert isinstance(pixel, tuple)
        found.append(pixel[:3] if pixel[3] > 128 else None)
    return found


def assert_shows(image: Image.Image, case: Case) -> None:
    for found, meant in zip(shown(image), case.colors, strict=True):
        expected = pictures.WHITE if meant is None and image.mode == "RGB" else meant
        if found is None or expected is None:
            assert found == expected, image
        else:
            assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= CLOSE, (found, expected, image)


def fitted(size: tuple[int, int], edge: int) -> tuple[float, float]:
    scale = min(1, edge / max(size))
    return max(1, size[0] * scale), max(1, size[1] * scale)


@pytest.mark.parametrize("case", pictures.cases(), ids=str)
def test_a_file_gives_the_right_picture_or_says_why_not(loop: asyncio.Runner, pool: Pool, case: Case) -> None:
    if case.refused:
        with pytest.raises(Refused) as refused:
            loop.run(pool.decode(case.data, ALL))
        assert refused.value.word == case.refused
    else:
        picture = loop.run(pool.decode(case.data, ALL))
        assert (picture.width, picture.height, picture.animated) == (*case.size, case.animated)
        assert picture.fingerprint_on_black is None or None in case.colors
        assert [copy.name for copy in picture.derivatives] == [size.name for size in ALL]
        for copy, size in zip(picture.derivatives, ALL, strict=True):
            image = opened(copy.data)
            assert (image.format, image.size) == (size.format, (copy.width, copy.height))
            assert image.size == pytest.approx(fitted(case.size, size.edge), abs=1)
            assert not set(image.info) & {"exif", "xmp", "icc_profile", "comment", "photoshop"}
            assert SECRET.encode() not in copy.data
            assert_shows(image, case)
            see_through = None in case.colors and size.format == "WEBP"
            assert image.mode == ("RGBA" if see_through else "RGB")
    # One that did not live on would be missing, or a new one.
    assert list(pool.processes.values()) == [False]


def test_all_refusals_are_shown_by_some_file() -> None:
    assert {case.refused for case in pictures.cases()} - {None} == set(REFUSALS)


def test_no_picture_cost_the_child_its_life(loop: asyncio.Runner, pool: Pool) -> None:
    loop.run(pool.decode(pictures.cases()[0].data))
    (before,) = pool.processes
    for case in pictures.broken():
        with pytest.raises(Refused):
            loop.run(pool.decode(case.data))
    assert list(pool.processes) == [before]


def heic(image: Image.Image, **options: object) -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="the extra for HEIC is not installed")
    file = BytesIO()
    written = heif.from_pillow(image)
    written.info.update(options)
    written.save(file, quality=95)
    return file.getvalue()


@pytest.mark.parametrize("turn", range(1, 9))
def test_heic_is_turned_once(loop: asyncio.Runner, pool: Pool, turn: int) -> None:
    # The container turns, and EXIF says the same again, as phones do.
    data = heic(pictures.laid(turn), exif=pictures.exif(turn).tobytes(), xmp=pictures.XMP)
    case = Case("heic", data)
    picture = loop.run(pool.decode(data, ALL))
    assert (picture.source_format, picture.width, picture.height) == ("HEIF", *case.size)
    for copy in picture.derivatives:
        assert_shows(opened(copy.data), case)
        assert SECRET.encode() not in copy.data


def test_heic_without_the_extra_is_a_format_we_do_not_read(loop: asyncio.Runner, pool: Pool) -> None:
    # An HEIC file's first bytes; with the extra they are a broken file.
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(Refused) as refused:
        loop.run(pool.decode(head))
    assert refused.value.word == ("unreadable" if pool.reads_heif else "unsupported_format")


def color(picture: Picture) -> tuple[int, ...]:
    return tuple(bytes.fromhex(picture.color[1:]))


def test_the_color_is_the_average_over_white(loop: asyncio.Runner, pool: Pool) -> None:
    image = pictures.quarters(((0, 0, 0, 255), (0, 0, 0, 255), (9, 9, 9, 0), (9, 9, 9, 0)), "RGBA")
    assert color(loop.run(pool.decode(pictures.saved(image, "PNG")))) == pytest.approx((128, 128, 128), abs=2)
