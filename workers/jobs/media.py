"""Pictures: make what was uploaded, and delete what is not needed any more."""

from uuid import UUID

from workers import logs
from workers.db import BusinessError, DatabaseUnavailable
from workers.erasing import erase_files
from workers.jobs.queue import SLOW, task
from workers.media.pipeline import ERASE_BATCH, erase_copies, process_upload
from workers.media.pool import ChildBroken
from workers.services import Services
from workers.storage import StorageUnavailable

log = logs.get(__name__)

PENDING_BATCH = 20
EXPIRE_BATCH = 500


@task("process_media", on=SLOW)
async def process_media(services: Services, media_id: str) -> None:
    """Make the copies of an upload, or say why there are none."""
    await process_upload(services, UUID(media_id))


@task("resume_media", retry=False, on=SLOW)
async def resume_media(services: Services) -> None:
    """Safety net: pictures whose job was lost or is tried again late."""
    for row in await services.db.rows("pending_media", PENDING_BATCH):
        try:
            await process_upload(services, row["media_id"])
        except (ChildBroken, StorageUnavailable, BusinessError, DatabaseUnavailable) as error:
            log.error("picture not made", media_id=str(row["media_id"]), error=repr(error))
            if row["is_last_try"] and isinstance(error, ChildBroken):
                # A mistake of ours that this file brings about; others wait behind it.
                await services.db.call("media_failed", row["media_id"], "unreadable")


@task("erase_media_files")
async def erase_media_files(services: Services, media_ids: list[str]) -> None:
    """Delete the copies of pictures that were deleted."""
    await erase_copies(services, [UUID(media_id) for media_id in media_ids])


@task("expire_media", retry=False)
async def expire_media(services: Services) -> None:
    """Pictures whose time has come are deleted; their files follow."""
    while await services.db.call("expire_media", EXPIRE_BATCH):
        pass


@task("erase_uploads", retry=False)
async def erase_uploads(services: Services) -> None:
    """Delete uploads that were used, whose worker died before it did, and those nobody used for long."""
    await erase_files(services, "uploads_to_erase", ERASE_BATCH)


@task("erase_stray_copies", retry=False)
async def erase_stray_copies(services: Services) -> None:
    """Delete copies that no picture names: their worker died, or the job that should have deleted them was lost."""
    await erase_files(services, "stray_media_files", ERASE_BATCH)
