"""From an upload, or from bytes the server has, to a picture of public.media whose copies are stored.

Copies go under a path nobody can guess and each attempt has its own, so what an interrupted one left is told from what
counts; the row names the copies that do, and whatever it does not name is erased (`erase_copies`, and the sweep).
"""

import asyncio
import secrets
import zlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from workers import logs
from workers.erasing import erase_files
from workers.media.picture import FULL, SIZES, Picture, Refused, mirrored
from workers.services import Services
from workers.storage import TooLarge

log = logs.get(__name__)

UPLOADS = "uploads"
BY_NAME = {size.name: size for size in (FULL, *SIZES)}
# Under a path that is never used again, so for as long as anybody likes.
CACHE_SECONDS = 365 * 24 * 3600
ERASE_BATCH = 500


async def process_upload(services: Services, media_id: UUID) -> None:
    """Make a pending picture ready, or failed. Killed anywhere it can run again; a second one at once does nothing."""
    async with services.db.exclusive(f"media:{media_id}") as mine:
        if mine:
            await _process(services, media_id)


async def _process(services: Services, media_id: UUID) -> None:
    rows = await services.db.rows("media_to_process", media_id)
    if rows:
        (row,) = rows
        try:
            data = await services.storage.download(UPLOADS, row["path"], services.pictures.limits.file_bytes)
            if data is None:
                await services.db.call("media_failed", media_id, "missing")
            else:
                picture = await services.pictures.decode(data, [BY_NAME[name] for name in row["sizes"]])
                made = await store_copies(services, media_id, picture, row["bucket"], is_public=row["is_public"])
                await services.db.call("media_ready", media_id, made)
        except (Refused, TooLarge) as error:
            word = error.word if isinstance(error, Refused) else "too_large"
            log.info("upload gave no picture", media_id=str(media_id), word=word, detail=str(error))
            await services.db.call("media_failed", media_id, word)
        # It holds what the copies do not: a place, a camera, a name.
        await services.storage.remove(UPLOADS, [row["path"]])
    await erase_copies(services, [media_id])


async def publish_picture(services: Services, data: bytes, *, owner_id: UUID, purpose: str) -> UUID:
    """Store a picture the server itself has, as `owner_id`'s; the id of its row, which is ready.

    Raises Refused when it is no picture, BusinessError user_not_found when the account has ended.
    """
    (row,) = await services.db.rows("media_purpose", purpose)
    picture = await services.pictures.decode(data, [BY_NAME[name] for name in row["sizes"]])
    media_id = uuid4()
    try:
        made = await store_copies(services, media_id, picture, row["bucket"], is_public=row["is_public"])
        await services.db.call("publish_media", owner_id, purpose, media_id, made)
    except Exception:
        # Else the sweep finds them, in an hour.
        await erase_copies(services, [media_id])
        raise
    return media_id


async def erase_copies(services: Services, media_ids: Sequence[UUID]) -> None:
    """Delete stored copies of these pictures that are not, or no longer, theirs."""
    await erase_files(services, "media_files_to_erase", list(media_ids), ERASE_BATCH)


async def store_copies(
    services: Services, media_id: UUID, picture: Picture, bucket: str, *, is_public: bool
) -> dict[str, Any]:
    """Upload the copies; what the row will say."""
    folder = f"{media_id}/{secrets.token_hex(16)}"
    copies: dict[str, dict[str, Any]] = {}
    uploads = []
    for copy in picture.derivatives:
        path = f"{folder}/{copy.name}.webp"
        copies[copy.name] = {
            "path": path,
            "width": copy.width,
            "height": copy.height,
            "bytes": len(copy.data),
            "crc32": zlib.crc32(copy.data),
            **({"url": services.storage.public_address(bucket, path)} if is_public else {}),
        }
        uploads.append(services.storage.upload(bucket, path, copy.data, "image/webp", CACHE_SECONDS))
    # All of them end before anybody cleans up behind one that did not work.
    for error in await asyncio.gather(*uploads, return_exceptions=True):
        if error is not None:
            raise error
    prints = {"white": picture.fingerprint, "black": picture.fingerprint_on_black}
    if picture.fingerprint:
        prints["mirrored"] = mirrored(picture.fingerprint)
    # Several pictures in a JPEG are a JPEG.
    source = "jpeg" if picture.source_format == "MPO" else picture.source_format.lower()
    return {
        "content_type": "image/heic" if source == "heif" else f"image/{source}",
        "width": picture.width,
        "height": picture.height,
        "color": picture.color,
        "is_animated": picture.animated,
        "fingerprints": {ground: bits for ground, bits in prints.items() if bits},
        "derivatives": copies,
    }
