"""A finished photo job as one ZIP file, stored where links of minutes lead to.

Read picture by picture, written to a file on disk, then uploaded with its length: memory stays the same however large
it gets. The pictures are not compressed again; their sizes and checksums are known, so one that was changed makes an
error here instead of a file that does not open.
"""

import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import IO, Any
from uuid import UUID

from stream_zip import NO_COMPRESSION_64, Method, async_stream_zip

from workers import logs
from workers.services import Services

log = logs.get(__name__)

BUCKET = "archives"
FILE_MODE = 0o100644
# Systems take names of 255 bytes, not characters.
NAME_BYTES = 200
# Control characters, direction overrides, and what some system takes for a part of a path or refuses in a name.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\uffff/\\:*?"<>|]')


def member_name(no: int, uploaded: str | None) -> str:
    """The name of a job's picture in its file: `NN_name.webp`, unique whatever the uploads were called."""
    name = _UNSAFE.sub("", PurePosixPath(uploaded or "").stem).strip(" .")
    name = name.encode()[:NAME_BYTES].decode(errors="ignore").strip(" .")
    return f"{no:02d}_{name or 'photo'}.webp"


async def write_archive(
    services: Services, pictures: Sequence[dict[str, Any]], target: IO[bytes], modified_at: datetime
) -> int:
    """Write the ZIP file of these pictures (no, name, bucket, path, size_bytes, crc32); its size in bytes."""

    async def members() -> AsyncIterator[tuple[str, datetime, int, Method, AsyncIterator[bytes]]]:
        for each in pictures:
            yield (
                member_name(each["no"], each["name"]),
                modified_at,
                FILE_MODE,
                NO_COMPRESSION_64(each["size_bytes"], each["crc32"]),
                services.storage.stream(each["bucket"], each["path"]),
            )

    size = 0
    async for piece in async_stream_zip(members()):
        size += target.write(piece)
    target.flush()
    return size


async def build(services: Services, job_id: UUID) -> None:
    """Build and store a job's file, if it has none. Killed anywhere it can run again."""
    async with services.db.exclusive(f"archive:{job_id}") as mine:
        if not mine:
            return
        pictures = await services.db.rows("archive_to_build", job_id)
        if not pictures:
            return
        path = f"{job_id}/{secrets.token_hex(16)}.zip"
        with tempfile.TemporaryFile(prefix="avenue-archive-") as file:
            size = await write_archive(services, pictures, file, datetime.now(UTC))
            await services.storage.upload_file(BUCKET, path, file, size, "application/zip")
        if await services.db.call("archive_built", job_id, path, size):
            log.info("archive built", job_id=str(job_id), bytes=size, pictures=len(pictures))
        else:
            await services.storage.remove(BUCKET, [path])
