"""[zip]: a large job's file, made as the workers make it, against plain copying of the same bytes through the same
storage. [zip_memory]: what that costs the process.

A process of its own does it (`python -m bench.archive`), so that its memory is nobody else's.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import zlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import IO, Any, cast

import psutil

from bench.core import Result, alternate
from stack.cluster import REPO
from stack.services import Services
from workers import archives
from workers.services import Services as WorkerServices
from workers.storage import Storage

PICTURES = 42
PICTURE_BYTES = 50 * 1024 * 1024
# After one that does not count; each moves 9 GB.
ROUNDS = 1
PIECE = secrets.token_bytes(1024 * 1024)


def _storage(target: dict[str, str]) -> Storage:
    return Storage(target["url"], target["key"], target["url"])


async def _fill(target: dict[str, str]) -> list[dict[str, Any]]:
    """The pictures of the job: noise, as pictures are to a compressor."""
    async with _storage(target) as storage:
        data = PIECE * (PICTURE_BYTES // len(PIECE))
        pictures = []
        for no in range(1, PICTURES + 1):
            path = f"bench/{no}.webp"
            with tempfile.TemporaryFile() as file:
                file.write(data)
                await storage.upload_file("studio", path, file, len(data), "image/webp")
            pictures.append(
                {
                    "no": no,
                    "name": "room.jpg",
                    "bucket": "studio",
                    "path": path,
                    "size_bytes": len(data),
                    "crc32": zlib.crc32(data),
                }
            )
        return pictures


async def _copy(storage: Storage, pictures: list[dict[str, Any]]) -> None:
    """Each object read and stored again, by way of a file on disk."""
    for each in pictures:
        with tempfile.TemporaryFile() as file:
            async for piece in storage.stream(each["bucket"], each["path"]):
                file.write(piece)
            await storage.upload_file(
                "archives", f"bench/{each['no']}.zip", file, each["size_bytes"], "application/zip"
            )


async def _archive(storage: Storage, pictures: list[dict[str, Any]]) -> None:
    services = cast(WorkerServices, SimpleNamespace(storage=storage))
    with tempfile.TemporaryFile() as file:
        size = await archives.write_archive(services, pictures, cast(IO[bytes], file), datetime.now(UTC))
        await storage.upload_file("archives", "bench/all.zip", file, size, "application/zip")


async def _serve() -> None:
    """Do what each line on standard input says; answer how long it took."""
    target = json.loads(os.environ["BENCH_STORAGE"])
    pictures = json.loads(sys.stdin.readline())
    async with _storage(target) as storage:
        print("ready", flush=True)
        for line in sys.stdin:
            begun = time.perf_counter()
            await {"copy": _copy, "archive": _archive}[line.strip()](storage, pictures)
            print(time.perf_counter() - begun, flush=True)


class Archive:
    """A job of 2 GB in the stack's storage, and a process that copies it or makes its file. It ends with its input."""

    def __init__(self, services: Services) -> None:
        target = {"url": services.url, "key": services.secret_key}
        self.pictures = asyncio.run(_fill(target))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.archive"],
            cwd=REPO, env={**os.environ, "BENCH_STORAGE": json.dumps(target)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._say(json.dumps(self.pictures))
        assert self.process.stdout
        # Idle is with everything imported and connected to.
        assert self.process.stdout.readline() == "ready\n"
        self.idle = psutil.Process(self.process.pid).memory_info().rss
        self.most = 0

    def _say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def take(self, what: str) -> float:
        """MB per second; memory is watched meanwhile."""
        process = psutil.Process(self.process.pid)
        assert self.process.stdout
        self._say(what)
        os.set_blocking(self.process.stdout.fileno(), False)
        while not (answer := self.process.stdout.readline()):
            if self.process.poll() is not None:
                raise SystemExit("zip: the process ended")
            memory = process.memory_info().rss
            self.most = max(self.most, memory) if what == "archive" else self.most
            time.sleep(0.05)
        return PICTURES * PICTURE_BYTES / 1e6 / float(answer)

    def speed(self) -> Result:
        """A ZIP file of 2.2 GB, written and stored."""
        value, ratio = alternate(lambda: self.take("archive"), lambda: self.take("copy"), ROUNDS)
        return Result("zip", value, "MB/s", ratio, "plain copying through the same storage", ">= 0.7")

    def memory(self) -> Result:
        """How much larger the process gets by it."""
        if not self.most:
            self.take("archive")
        growth = (self.most - self.idle) / 1e6
        return Result("zip_memory", growth, "MB", growth, "the process before", "<= 64")


if __name__ == "__main__":
    asyncio.run(_serve())
