"""What every measurement shares: a result, alternating rounds, pgbench, and a small HTTP load generator."""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CLIENTS = 16
ROUNDS = 5


@dataclass
class Result:
    """One line of the table. `ratio` is value / the alternative's value; `goal` is the bound it must keep."""

    name: str
    value: float
    unit: str
    ratio: float
    against: str
    goal: str

    @property
    def reached(self) -> bool:
        """Whether the ratio keeps the goal, e.g. '>= 0.9' or '<= 1.15'."""
        sign, bound = self.goal.split()
        return self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)


def alternate(ours: Callable[[], float], theirs: Callable[[], float], rounds: int = ROUNDS) -> tuple[float, float]:
    """Runs both in turn, `rounds` times after one warm-up, and returns our median value and the median ratio.

    Taking turns lets both meet the same noise of a shared machine; the median ignores a round that was disturbed.
    """
    ours(), theirs()
    values, ratios = [], []
    for _ in range(rounds):
        other = theirs()
        value = ours()
        values.append(value)
        ratios.append(value / other)
    return statistics.median(values), statistics.median(ratios)


def pgbench(url: str, *options: str | Path, seconds: int = 5, clients: int = CLIENTS, warm_up: int = 0) -> float:
    """Transactions per second of a pgbench run; needs pgbench on the PATH or where Debian keeps it.

    `warm_up` seconds come before and do not count: until each connection has planned what it does.
    """
    program = shutil.which("pgbench") or next(
        (str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), reverse=True)), None
    )
    if program is None:
        raise SystemExit("make bench needs pgbench (Debian: postgresql-contrib), the alternative it measures against")
    timing = [] if "-i" in options else [
        "-n", "-c", str(clients), "-j", str(min(2, clients)), "-T", str(warm_up + seconds), "-P", "1",
    ]  # fmt: skip
    done = subprocess.run([program, *timing, *map(str, options), url], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"pgbench failed: {done.stderr.strip().splitlines()[-1]}")
    if not warm_up:
        tps = re.search(r"tps = ([0-9.]+)", done.stdout)
        return float(tps[1]) if tps else 0.0
    each = [float(tps) for tps in re.findall(r"^progress: .*? ([0-9.]+) tps", done.stderr, re.MULTILINE)]
    return statistics.mean(each[warm_up : warm_up + seconds])


Request = Callable[[int], bytes]


async def _client(
    host: str, port: int, request: Request, counter: Sequence[int], deadline: float, done: list[int]
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    number = counter[0]
    while time.perf_counter() < deadline:
        writer.write(request(number))
        number += CLIENTS
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length:
            await reader.readexactly(int(length[1]))
        else:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        if not 200 <= status < 300:
            raise RuntimeError(f"HTTP {status} during the measurement")
        done.append(number)
    writer.close()


def http_rate(url: str, request: Request, first: int = 0, seconds: float = 4) -> float:
    """Requests per second of CLIENTS keep-alive connections; `request(n)` gives the raw bytes of the n-th request."""
    parts = urlsplit(url)
    done: list[int] = []

    async def run() -> None:
        deadline = time.perf_counter() + seconds
        await asyncio.gather(
            *(
                _client(parts.hostname or "127.0.0.1", parts.port or 80, request, [first + i], deadline, done)
                for i in range(CLIENTS)
            )
        )

    started = time.perf_counter()
    asyncio.run(run())
    return len(done) / (time.perf_counter() - started)
