"""Limited child processes that decode pictures: whatever a file does to one of them, the worker lives on.

A child is started when there is work for it, serves one picture after the other, and is replaced after some hundred
(libraries lose memory), when it ran out of memory, was killed, or took too long.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from workers import logs
from workers.media.picture import (
    HASH_BITS,
    MIB,
    SIZES,
    Derivative,
    Edit,
    Format,
    Limits,
    Picture,
    Refusal,
    Refused,
    Size,
)
from workers.media.wire import LENGTH, frame

log = logs.get(__name__)

# A head is some hundred bytes; the copies of one picture are a few MiB.
HEAD_BYTES = 64 * 1024
ANSWER_BYTES = 100 * MIB
START_SECONDS = 60
END_SECONDS = 10
# The kernel picks a victim when the machine is out of memory, an operator by hand; not the picture's doing.
ATTEMPTS = 2

ROOT = Path(__file__).parents[2]


class ChildBroken(Exception):
    """A child could not start, or made a mistake that is ours. Says nothing about the picture: try again."""


class _Copy(BaseModel):
    name: str
    format: Format
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    length: int = Field(ge=1, le=ANSWER_BYTES)


Bits = Annotated[str, Field(pattern=f"^[01]{{{HASH_BITS}}}$")]


class _Picture(BaseModel):
    source_format: str = Field(pattern="^[A-Z]{1,10}$")
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    animated: bool
    color: str = Field(pattern="^#[0-9a-f]{6}$")
    fingerprint: Bits | None
    fingerprint_on_black: Bits | None
    derivatives: list[_Copy]


class _Answer(BaseModel):
    """What a child may say, and nothing else: it may no longer be itself."""

    ready: Literal[True] | None = None
    heif: bool = False
    refused: Refusal | None = None
    detail: str = ""
    last: bool = False
    broken: str | None = None
    picture: _Picture | None = None


class _Child:
    """One process. After anything but a whole answer it is of no more use."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.requests, self.answers = process, process.stdin, process.stdout
        self.served = 0
        self.reads_heif = False

    @classmethod
    async def start(cls, limits: Limits) -> Self:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "workers.media.child", json.dumps(asdict(limits))),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                # None of the worker's: it holds keys. One arena, as each takes address space of its own.
                env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1"},
            )
        except OSError as error:
            raise ChildBroken(f"no process: {error!r}") from error
        child = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                answer = await child.answer()
            if not answer.ready:
                raise ChildBroken(answer.broken or "no greeting")
            child.reads_heif = answer.heif
        except BaseException as error:
            await child.kill()
            if isinstance(error, asyncio.IncompleteReadError | TimeoutError | ValueError):
                raise ChildBroken(f"no greeting: {error!r}") from error
            raise
        return child

    @property
    def alive(self) -> bool:
        return self.process.returncode is None and not self.answers.at_eof()

    async def ask(self, data: bytes, sizes: Sequence[Size], edits: Sequence[Edit]) -> Picture:
        self.served += 1
        head = {"length": len(data), "sizes": [asdict(size) for size in sizes], "edits": list(edits)}
        self.requests.write(frame(head, data))
        await self.requests.drain()
        answer = await self.answer()
        if answer.refused:
            if answer.last:
                await self.kill()
            raise Refused(answer.refused, answer.detail)
        if answer.picture is None:
            raise ChildBroken(answer.broken or "no answer")
        found = answer.picture
        if sum(copy.length for copy in found.derivatives) > ANSWER_BYTES:
            raise ValueError("too much of an answer")
        copies = [
            Derivative(copy.name, copy.format, copy.width, copy.height, await self.answers.readexactly(copy.length))
            for copy in found.derivatives
        ]
        if [(copy.name, copy.format) for copy in copies] != [(size.name, size.format) for size in sizes]:
            raise ValueError("other copies than were asked for")
        return Picture(
            source_format=found.source_format,
            width=found.width,
            height=found.height,
            animated=found.animated,
            color=found.color,
            fingerprint=found.fingerprint,
            fingerprint_on_black=found.fingerprint_on_black,
            derivatives=tuple(copies),
        )

    async def answer(self) -> _Answer:
        """Its next head. Raises ValueError for one that no child of ours would write."""
        (length,) = LENGTH.unpack(await self.answers.readexactly(LENGTH.size))
        if length > HEAD_BYTES:
            raise ValueError(f"a head of {length} bytes")
        return _Answer.model_validate_json(await self.answers.readexactly(length))

    async def kill(self) -> int:
        """End it, whatever it does; how it ended (negative: by which signal)."""
        if self.process.returncode is None:
            self.process.kill()
        self.requests.close()
        return await self.process.wait()


class Pool:
    """Decodes up to `size` pictures at a time, each in a process that is replaced after `recycle` pictures."""

    def __init__(self, size: int = 1, limits: Limits | None = None, recycle: int = 200) -> None:
        self.limits = limits or Limits()
        self.recycle = recycle
        # The warm one first: a process that is not needed is not started.
        self._free: asyncio.LifoQueue[_Child | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._free.put_nowait(None)
        self._children: set[_Child] = set()
        self._working: set[_Child] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all children. Nobody may be waiting for a picture any more."""
        for child in list(self._children):
            await self._end(child)

    @property
    def processes(self) -> dict[int, bool]:
        """The children by process id, and whether each is at a picture."""
        return {child.process.pid: child in self._working for child in self._children}

    @property
    def reads_heif(self) -> bool:
        """Whether HEIC is read; known once a child has started."""
        return any(child.reads_heif for child in self._children)

    async def decode(self, data: bytes, sizes: Sequence[Size] = SIZES, edits: Sequence[Edit] = ()) -> Picture:
        """The picture in this file, edited if wished, with a copy of each size, in their order.

        Raises Refused when the file gives none, and ChildBroken when nobody could look.
        """
        if len(data) > self.limits.file_bytes:
            raise Refused("too_large", f"{len(data)} bytes")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._decode(data, sizes, edits)
            except _Killed:
                if attempt == ATTEMPTS:
                    raise Refused("unreadable", "killed twice") from None
        raise AssertionError("unreachable")

    async def _decode(self, data: bytes, sizes: Sequence[Size], edits: Sequence[Edit]) -> Picture:
        child = await self._free.get()
        kept = False
        try:
            # A child that died while it was idle is not the next picture's doing: one turn of the loop finds that its
            # pipe is closed, the next one reads it.
            for _ in range(2):
                await asyncio.sleep(0)
            if child is None or not child.alive:
                child = await self._replace(child)
            self._working.add(child)
            try:
                async with asyncio.timeout(self.limits.wall_seconds):
                    picture = await child.ask(data, sizes, edits)
            except (TimeoutError, ValueError) as error:
                log.warning("picture not decoded", error=repr(error))
                raise Refused("unreadable", repr(error)) from error
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise await self._verdict(child) from error
            except Refused:
                kept = child.alive
                raise
            kept = child.served < self.recycle
            return picture
        finally:
            # After a timeout, a cancellation or a crash it may still be at the last picture.
            try:
                if child is not None and not kept:
                    await self._end(child)
            finally:
                self._working -= {child}
                self._free.put_nowait(child if kept else None)

    async def _replace(self, dead: _Child | None) -> _Child:
        if dead is not None:
            await self._end(dead)
        child = await _Child.start(self.limits)
        self._children.add(child)
        return child

    async def _verdict(self, child: _Child) -> Exception:
        """What it means that a child ended over a picture."""
        # It closed its output, so it has ended or is about to; how is what counts.
        try:
            async with asyncio.timeout(END_SECONDS):
                status = await child.process.wait()
        except TimeoutError:
            return Refused("unreadable", "child does not end")
        log.warning("child ended over a picture", status=status)
        return _Killed() if status == -signal.SIGKILL else Refused("unreadable", f"child ended with {status}")

    async def _end(self, child: _Child) -> None:
        self._children.discard(child)
        await child.kill()


class _Killed(Exception):
    """Somebody killed the child."""
