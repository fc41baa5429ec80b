"""[media]: pictures through the workers' whole way, against the same library calls with the same outputs in process.

Rates are per second of one core's time, of all who take part: on a machine that others use, too, the clock says more
about them.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from io import BytesIO
from pathlib import Path

import httpx
import psutil
import psycopg
from PIL import Image

from bench.core import Result, alternate
from stack.services import Services
from workers.media import decode
from workers.media.picture import SIZES, Refused
from workers.media.pool import Pool
from workers.storage import key_headers

# A phone's; in quality 95 it has 3 to 4 MB, as theirs have.
PHOTO = (4000, 3000)
PICTURES = 10
ROUNDS = 3


def photo(size: tuple[int, int], file_format: str = "JPEG", **options: object) -> bytes:
    """Coarse and fine noise in color: about as hard to compress as a photograph."""
    coarse = [Image.effect_noise((size[0] // 16, size[1] // 16), 90).resize(size) for _ in range(3)]
    file = BytesIO()
    Image.merge("RGB", coarse).save(file, file_format, **options)
    return file.getvalue()


def spent(services: Services) -> float:
    """Seconds of a core that everybody who takes part has had so far: worker, child, Storage, gateway, PostgreSQL."""
    server = psutil.Process(services.cluster.pid)
    taking_part = [server, *server.children(recursive=True)]
    for part in ("auth", "gateway", "jobs"):
        record = services.record(part)
        taking_part += record.processes() if record else []
    # Processes that have ended are in their parents' times.
    return sum(sum(process.cpu_times()[:4]) for process in set(taking_part))


class Pictures:
    """A member whose photos are uploaded and made ready."""

    def __init__(self, services: Services, admin_url: str) -> None:
        self.services = services
        self.data = photo(PHOTO, quality=95)
        self.database = psycopg.connect(admin_url, autocommit=True)
        self.owner = str(uuid.uuid4())
        self.database.execute(
            "insert into auth.users (id, email, email_confirmed_at) values (%s, %s, now())",
            [self.owner, f"{self.owner}@example.com"],
        )

    def through_the_workers(self) -> float:
        """Pictures per second of a core, from the jobs' commit until the last is ready and its upload gone."""
        paths = [f"{self.owner}/{uuid.uuid4()}" for _ in range(PICTURES)]
        headers = {**key_headers(self.services.secret_key), "content-type": "image/jpeg"}
        for path in paths:
            address = f"{self.services.url}/storage/v1/object/uploads/{path}"
            httpx.post(address, content=self.data, headers=headers, timeout=60).raise_for_status()
        made = self.database.execute(
            "with made as (insert into public.media (owner_id, purpose, bucket) "
            "select %s, 'artwork', 'pictures' from unnest(%s::text[]) returning id), "
            "numbered as (select id, row_number() over () as n from made), "
            "uploads as (select o.id, o.name, row_number() over () as n from storage.objects as o "
            "where o.bucket_id = 'uploads' and o.name = any (%s)), "
            "sources as (insert into private.media_sources (object_id, media_id, owner_id, path) "
            "select u.id, m.id, %s, u.name from uploads as u join numbered as m using (n)) "
            "select id from made",
            [self.owner, paths, paths, self.owner],
        ).fetchall()
        ids = [row[0] for row in made]
        started = spent(self.services)
        with self.database.transaction():
            for media_id in ids:
                self.database.execute(
                    "select private.enqueue('process_media', %s)", [json.dumps({"media_id": str(media_id)})]
                )
        left = "select count(*) filter (where status = 'pending'), count(*) filter (where status = 'failed') "
        while True:
            (pending, failed), *_ = self.database.execute(
                f"{left} from public.media where id = any (%s)".encode(), [ids]
            ).fetchall()
            if failed:
                raise RuntimeError(f"{failed} pictures failed during the measurement")
            if not pending:
                break
            time.sleep(0.2)
        while self.database.execute("select from jobs.procrastinate_jobs where status = 'doing'").fetchone():
            time.sleep(0.2)
        return PICTURES / (spent(self.services) - started)

    def by_the_library(self) -> float:
        """Pictures per second of a core of the calls alone."""
        started = time.process_time()
        for _ in range(PICTURES):
            decode.decode(self.data, SIZES)
        return PICTURES / (time.process_time() - started)


def measure(services: Services, admin_url: str) -> Result:
    """In turns, after a warm-up that starts the child."""
    services.start(["jobs"])
    pictures = Pictures(services, admin_url)
    value, ratio = alternate(pictures.through_the_workers, pictures.by_the_library, ROUNDS)
    return Result("media", value, "pictures/s", ratio, "the same library calls in process", ">= 0.8")


def _forget_mark(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _mark(pid: int) -> int:
    """The most memory the process had since then."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _peak(*files: bytes) -> float:
    """The most a child had in memory over any of these, over what it had idle, MB; a refused file costs nothing."""

    async def most() -> float:
        peak = 0.0
        for file in files:
            async with Pool() as pool:
                await pool.decode(photo((64, 64)))
                (pid,) = pool.processes
                idle = psutil.Process(pid).memory_info().rss
                _forget_mark(pid)
                try:
                    await pool.decode(file)
                except Refused as refused:
                    if refused.word != "too_large":
                        raise
                else:
                    peak = max(peak, (_mark(pid) - idle) / 1e6)
        return peak

    return asyncio.run(most())


def memory() -> Result:
    """50 megapixels of baseline JPEG."""
    value = _peak(photo((8192, 6144), quality=88))
    return Result("media_memory", value, "MB", value, "an idle child", "<= 300")


def memory_of_others() -> Result:
    """What is decoded whole: as large as is taken, and somewhat larger."""
    value = _peak(
        photo((8000, 8000), quality=88, progressive=True),
        photo((8000, 8000), "PNG", compress_level=1),
        photo((5600, 5600), "WEBP", quality=60, method=0),
        photo((7000, 7000), "TIFF"),
        photo((6200, 6200), "WEBP", quality=60, method=0),
    )
    return Result("media_memory_others", value, "MB", value, "an idle child", "<= 600")
