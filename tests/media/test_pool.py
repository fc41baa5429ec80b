"""The pool of child processes: it lives on whatever happens to one, and a child may do next to nothing."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from io import BytesIO

import psutil
import pytest
from PIL import Image, ImageOps

from tests.harness.waiting import until
from tests.media import pictures
from workers.media.picture import MIB, Limits, Picture, Refused, Size, distance, mirrored
from workers.media.pool import ChildBroken, Pool

SMALL = (Size("small", 64),)
PICTURE = pictures.saved(pictures.quarters(), "PNG")
# 24 million pixels compress to little, and take the child a moment.
LARGE = pictures.saved(Image.new("RGB", (6000, 4000), pictures.RED), "PNG")


def with_pool(test: Callable[[Pool], Awaitable[None]], **options: object) -> None:
    """Run a test with a pool, and see that no child outlives it."""

    async def run() -> list[int]:
        async with Pool(**options) as pool:  # type: ignore[arg-type]
            await test(pool)
            return list(pool.processes)

    assert not [pid for pid in asyncio.run(run()) if psutil.pid_exists(pid)]


def only(pool: Pool) -> int:
    (pid,) = pool.processes
    return pid


async def busy(pool: Pool, but: int = 0) -> int:
    """The child that has a picture, another one than `but`."""
    while True:
        for pid, working in pool.processes.items():
            if working and pid != but:
                return pid
        await asyncio.sleep(0)


async def refusal(decoding: Awaitable[Picture]) -> str:
    with pytest.raises(Refused) as refused:
        await decoding
    return refused.value.word


def test_a_child_is_started_for_the_first_picture_and_kept() -> None:
    async def test(pool: Pool) -> None:
        assert pool.processes == {}
        await pool.decode(PICTURE, SMALL)
        first = only(pool)
        await pool.decode(PICTURE, SMALL)
        assert pool.processes == {first: False}

    with_pool(test, size=2)


def test_pictures_are_decoded_side_by_side_and_not_mixed_up() -> None:
    async def test(pool: Pool) -> None:
        shades = range(0, 240, 12)
        files = [pictures.saved(Image.new("L", (40, 30), shade), "PNG") for shade in shades]
        found = await asyncio.gather(*(pool.decode(file, SMALL) for file in files))
        assert [picture.color for picture in found] == [f"#{shade:02x}{shade:02x}{shade:02x}" for shade in shades]
        assert len(pool.processes) == 2

    with_pool(test, size=2)


def test_a_child_is_replaced_after_so_many_pictures() -> None:
    async def test(pool: Pool) -> None:
        seen = []
        for _ in range(5):
            await pool.decode(PICTURE, SMALL)
            seen.append(list(pool.processes))
        assert [len(pids) for pids in seen] == [1, 0, 1, 0, 1]
        assert len({pid for pids in seen for pid in pids}) == 3

    with_pool(test, recycle=2)


def test_a_child_that_hangs_is_killed_and_the_picture_unreadable() -> None:
    async def test(pool: Pool) -> None:
        await pool.decode(PICTURE, SMALL)
        stopped = only(pool)
        os.kill(stopped, signal.SIGSTOP)
        assert await refusal(pool.decode(PICTURE, SMALL)) == "unreadable"
        assert not psutil.pid_exists(stopped)
        assert (await pool.decode(PICTURE, SMALL)).width == pictures.WIDTH

    with_pool(test, limits=Limits(wall_seconds=2))


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGXCPU])
def test_a_child_that_crashes_makes_the_picture_unreadable(how: signal.Signals) -> None:
    async def test(pool: Pool) -> None:
        decoding = asyncio.create_task(pool.decode(LARGE, SMALL))
        crashed = await busy(pool)
        os.kill(crashed, how)
        assert await refusal(decoding) == "unreadable"
        assert (await pool.decode(PICTURE, SMALL)).width == pictures.WIDTH
        assert only(pool) != crashed

    with_pool(test)


def test_a_child_killed_from_outside_is_not_the_pictures_fault_the_first_time() -> None:
    async def test(pool: Pool) -> None:
        decoding = asyncio.create_task(pool.decode(LARGE, SMALL))
        killed = await busy(pool)
        os.kill(killed, signal.SIGKILL)
        assert (await decoding).width == 6000
        decoding = asyncio.create_task(pool.decode(LARGE, SMALL))
        first = await busy(pool)
        os.kill(first, signal.SIGKILL)
        os.kill(await busy(pool, first), signal.SIGKILL)
        assert await refusal(decoding) == "unreadable"

    with_pool(test)


def test_a_child_that_died_idle_is_replaced() -> None:
    async def test(pool: Pool) -> None:
        await pool.decode(PICTURE, SMALL)
        dead = only(pool)
        os.kill(dead, signal.SIGSEGV)
        await asyncio.to_thread(until, lambda: not psutil.pid_exists(dead), "the child is gone")
        assert (await pool.decode(PICTURE, SMALL)).width == pictures.WIDTH
        assert only(pool) != dead

    with_pool(test)


def test_a_picture_nobody_waits_for_any_more_frees_the_child() -> None:
    async def test(pool: Pool) -> None:
        decoding = asyncio.create_task(pool.decode(LARGE, SMALL))
        left = await busy(pool)
        decoding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await decoding
        assert not psutil.pid_exists(left)
        assert (await pool.decode(PICTURE, SMALL)).width == pictures.WIDTH

    with_pool(test)


# Python's own way of saying it, and that of a decoder.
@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
def test_more_memory_than_allowed_is_too_large(kind: str) -> None:
    large = pictures.saved(Image.new("RGB", (6000, 4000), pictures.RED), kind)

    async def test(pool: Pool) -> None:
        assert await refusal(pool.decode(large, SMALL)) == "too_large"
        # What it holds may be in pieces, so it is not used again.
        assert pool.processes == {}
        assert (await pool.decode(PICTURE, SMALL)).width == pictures.WIDTH

    with_pool(test, limits=Limits(memory_bytes=60 * MIB))


def test_more_time_than_allowed_makes_the_picture_unreadable() -> None:
    async def test(pool: Pool) -> None:
        # Slow to write in every size, and nothing wrong with it.
        noise = pictures.saved(Image.effect_noise((2048, 2048), 100), "PNG")
        sizes = [Size(f"size-{edge}", edge) for edge in range(2040, 2048)]
        assert await refusal(pool.decode(noise, sizes)) == "unreadable"
        assert (await pool.decode(PICTURE, SMALL)).width == pictures.WIDTH

    with_pool(test, limits=Limits(cpu_seconds=0))


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(), None),
        (Limits(file_bytes=len(PICTURE) - 1), "too_large"),
        (Limits(edge=pictures.WIDTH - 1), "too_large"),
        (Limits(pixels=pictures.WIDTH * pictures.HEIGHT - 1), "too_large"),
        (Limits(whole_pixels=pictures.WIDTH * pictures.HEIGHT - 1), "too_large"),
        (Limits(file_bytes=len(PICTURE), edge=120, pixels=9600, whole_pixels=9600), None),
    ],
)
def test_the_limits_are_what_they_say(limits: Limits, word: str | None) -> None:
    async def test(pool: Pool) -> None:
        decoding = pool.decode(PICTURE, SMALL)
        if word is None:
            await decoding
        else:
            assert await refusal(decoding) == word

    with_pool(test, limits=limits)


def test_a_jpeg_is_shrunk_while_it_is_decoded() -> None:
    async def test(pool: Pool) -> None:
        photo = pictures.photo(1, (6000, 4000))
        limits = {"exif": pictures.exif(6), "quality": 90}
        picture = await pool.decode(pictures.saved(photo, "JPEG", **limits), [Size("half", 1400)])
        assert (picture.width, picture.height) == (4000, 6000)
        # A progressive one has to be kept whole.
        assert await refusal(pool.decode(pictures.saved(photo, "JPEG", progressive=True), SMALL)) == "too_large"

    with_pool(test, limits=Limits(whole_pixels=7_000_000, memory_bytes=100 * MIB))


def test_fifty_megapixels_of_jpeg_take_less_than_300_megabytes() -> None:
    async def test(pool: Pool) -> None:
        photo = pictures.photo(1, (1000, 750)).resize((8192, 6144), Image.Resampling.NEAREST)
        picture = await pool.decode(pictures.saved(photo, "JPEG", exif=pictures.exif(6)))
        assert (picture.width, picture.height) == (6144, 8192)

    with_pool(test, limits=Limits(memory_bytes=300_000_000))


def test_a_child_has_nothing_of_the_workers_and_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVENUE_SECRET_KEY", "sb_secret_x")

    async def test(pool: Pool) -> None:
        await pool.decode(PICTURE, SMALL)
        child = psutil.Process(only(pool))
        assert not [name for name in child.environ() if name.startswith("AVENUE")]
        _, files = child.rlimit(psutil.RLIMIT_NOFILE)
        assert files == child.num_fds() == 4
        assert child.rlimit(psutil.RLIMIT_FSIZE)[1] == child.rlimit(psutil.RLIMIT_CORE)[1] == 0
        assert child.rlimit(psutil.RLIMIT_AS)[1] < child.memory_info().vms + 700 * MIB
        assert child.num_threads() == 1

    with_pool(test)


@pytest.mark.parametrize("program", [shutil.which("false"), "/no/such/program"])
def test_a_child_that_cannot_start_is_no_word_about_the_picture(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    async def test(pool: Pool) -> None:
        with monkeypatch.context() as without:
            without.setattr(sys, "executable", program)
            with pytest.raises(ChildBroken):
                await pool.decode(PICTURE, SMALL)
        assert pool.processes == {}
        assert (await pool.decode(PICTURE, SMALL)).width == pictures.WIDTH

    with_pool(test)


def test_a_mistake_of_ours_is_no_word_about_the_picture() -> None:
    async def test(pool: Pool) -> None:
        with pytest.raises(ChildBroken):
            await pool.decode(PICTURE, [Size("none", 0)])
        assert (await pool.decode(PICTURE, SMALL)).width == pictures.WIDTH

    with_pool(test)


def test_a_fingerprint_is_of_the_upright_picture() -> None:
    async def test(pool: Pool) -> None:
        photo = pictures.photo(3)
        plain = await pool.decode(pictures.saved(photo, "PNG"), SMALL)
        for turn in range(1, 9):
            turned = pictures.saved(pictures.laid(turn, photo), "JPEG", exif=pictures.exif(turn))
            assert bits(plain, await pool.decode(turned, SMALL)) <= 3

    with_pool(test)


def bits(one: Picture, other: Picture) -> int:
    assert one.fingerprint
    assert other.fingerprint
    return distance(one.fingerprint, other.fingerprint)


def test_a_fingerprint_outlives_what_is_done_to_a_file() -> None:
    async def test(pool: Pool) -> None:
        photo = pictures.photo(1)
        plain = await pool.decode(pictures.saved(photo, "PNG"))
        changed = [
            pictures.saved(photo, "JPEG", quality=30),
            pictures.saved(photo.resize((300, 200)), "WEBP", quality=50),
            pictures.saved(photo.convert("L"), "PNG"),
            pictures.saved(photo.crop((20, 15, 880, 585)), "AVIF"),
            pictures.saved(photo.convert("RGBA"), "PNG"),
        ]
        assert max([bits(plain, await pool.decode(file)) for file in changed]) <= 3
        others = [await pool.decode(pictures.saved(pictures.photo(seed), "JPEG")) for seed in range(2, 8)]
        assert min(bits(plain, other) for other in others) >= 16
        assert plain.fingerprint
        mirror = await pool.decode(pictures.saved(ImageOps.mirror(photo), "JPEG"))
        assert bits(plain, mirror) >= 16
        assert mirror.fingerprint
        assert distance(mirrored(plain.fingerprint), mirror.fingerprint) <= 3

    with_pool(test)


def test_flat_pictures_have_no_fingerprint_and_logos_one_of_each_ground() -> None:
    async def test(pool: Pool) -> None:
        flat = await pool.decode(pictures.saved(Image.new("RGB", (90, 60), pictures.RED), "JPEG"))
        assert (flat.fingerprint, flat.fingerprint_on_black) == (None, None)
        # Black on transparent: over black nothing is left to tell one logo from another.
        logo = Image.new("RGBA", (90, 60), (0, 0, 0, 0))
        logo.paste((0, 0, 0, 255), (10, 10, 40, 40))
        found = await pool.decode(pictures.saved(logo, "PNG"))
        assert found.fingerprint
        assert found.fingerprint_on_black is None
        inverse = Image.new("RGBA", (90, 60), (255, 255, 255, 0))
        inverse.paste((255, 255, 255, 255), (10, 10, 40, 40))
        found = await pool.decode(pictures.saved(inverse, "PNG"))
        assert found.fingerprint is None
        assert found.fingerprint_on_black

    with_pool(test)


def test_copies_are_never_larger_than_the_picture() -> None:
    async def test(pool: Pool) -> None:
        picture = await pool.decode(pictures.saved(pictures.photo(1, (600, 400)), "JPEG"))
        sizes = {copy.name: (copy.width, copy.height) for copy in picture.derivatives}
        assert sizes == {"large": (600, 400), "medium": (600, 400), "small": (512, 341), "thumbnail": (256, 171)}
        for copy in picture.derivatives:
            assert Image.open(BytesIO(copy.data)).size == (copy.width, copy.height)

    with_pool(test)
