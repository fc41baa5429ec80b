"""Photo jobs: send what waits, ask about what is under way, end what takes too long.

The database says what is due and takes the verdict; a provider is asked about an attempt only after that was written
down. Whoever dies anywhere leaves an attempt without a verdict, which the next check takes up.
"""

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from stream_zip import ZipError

from workers import logs
from workers.archives import build
from workers.db import BusinessError, DatabaseUnavailable
from workers.erasing import erase_files
from workers.jobs.queue import SLOW, task
from workers.media.picture import Refused
from workers.media.pipeline import publish_picture
from workers.media.pool import ChildBroken
from workers.services import Services
from workers.storage import StorageUnavailable, StoredFile
from workers.studio.protocol import (
    Attempt,
    OutputGone,
    OutputInvalid,
    Status,
    StudioError,
    StudioUnavailable,
    StudioUnknown,
)

log = logs.get(__name__)

BATCH = 50
LANES = 2
# The provider may read its input late: the link outlives the deadline by so much.
LINK_GRACE = timedelta(hours=1)
# Ours, to be tried again: no verdict on the photo.
PASSING = (StudioError, StorageUnavailable, ChildBroken, DatabaseUnavailable)


@task("send_photos", retry=False, on=SLOW)
async def send_photos(services: Services) -> None:
    """Send photos that wait, until none does, one at a time; at most LANES do it, wherever they run.

    Else a provider that hangs would keep every job that could look at a picture.
    """
    for lane in range(LANES):
        async with services.db.exclusive(f"send_photos:{lane}") as mine:
            if mine:
                while rows := await services.db.rows("claim_photos", services.studio.name, 1):
                    await _guarded(services, rows[0]["attempt_id"], _send(services, rows[0]))
                return


class Busy(Exception):
    """Somebody else is just looking after this photo."""


async def _guarded(services: Services, attempt_id: UUID, work: Coroutine[Any, Any, None]) -> bool:
    """One photo's trouble is not another's; False when somebody else is looking after this one."""
    async with services.db.exclusive(f"photo:{attempt_id}") as mine:
        if not mine:
            work.close()
            return False
        try:
            await work
        except PASSING as error:
            log.warning("photo not settled", attempt_id=str(attempt_id), error=repr(error))
        except BusinessError as error:
            log.error("photo not settled", attempt_id=str(attempt_id), error=repr(error))
        return True


async def _send(services: Services, row: dict[str, Any]) -> None:
    attempt_id: UUID = row["attempt_id"]
    deadline: datetime = row["deadline_at"]
    life = deadline - datetime.now(UTC) + LINK_GRACE
    try:
        url = await services.storage.sign(StoredFile(row["bucket"], row["path"]), int(life.total_seconds()))
        if url is None:
            log.error("photo missing in storage", attempt_id=str(attempt_id), path=row["path"])
            await services.db.call("settle_photo", attempt_id, "failed", None, "input_gone")
            return
        status = await services.studio.submit(Attempt(attempt_id, row["prompt"], url, deadline))
    except StudioUnknown as error:
        # It may be paid for already: nothing is given back, and nothing sent again, before somebody knows.
        log.warning("photo sent, no answer", attempt_id=str(attempt_id), error=str(error))
        await services.db.call("photo_unknown", attempt_id, str(error))
        return
    except (StudioUnavailable, StorageUnavailable) as error:
        log.warning("photo not sent", attempt_id=str(attempt_id), error=str(error))
        await services.db.call("photo_not_sent", attempt_id, str(error))
        return
    await _take(services, attempt_id, row["owner_id"], status)


async def _take(services: Services, attempt_id: UUID, owner_id: UUID, status: Status) -> None:
    """What the provider says: the picture is ours before the photo has succeeded."""
    if status.ref is not None and status.output is None:
        await services.db.call("photo_sent", attempt_id, status.ref)
    if not status.is_final:
        return
    if status.state != "succeeded":
        code = status.code or "provider_failed"
        await _settle(services, attempt_id, status, code=code, detail=status.detail)
        if code == "output_gone":
            log.error("photo lost at the provider", attempt_id=str(attempt_id), ref=status.ref)
        return
    try:
        data = await services.studio.fetch_output(status, services.pictures.limits.file_bytes)
        media_id = await publish_picture(services, data, owner_id=owner_id, purpose="photo_result")
    except OutputGone as error:
        # Paid for and lost: an operator should know.
        log.error("photo lost at the provider", attempt_id=str(attempt_id), ref=status.ref)
        await _settle(services, attempt_id, status, code="output_gone", detail=str(error))
    except (OutputInvalid, Refused) as error:
        log.error("photo came out unreadable", attempt_id=str(attempt_id), ref=status.ref, error=str(error))
        await _settle(services, attempt_id, status, code="output_unreadable", detail=str(error))
    except BusinessError as error:
        if error.code != "user_not_found":
            raise
        await _settle(services, attempt_id, status, code="canceled", detail="the account has ended")
    else:
        outcome = await _settle(services, attempt_id, status, media_id=media_id)
        if outcome != "settled":
            log.warning("photo came late", attempt_id=str(attempt_id), photo=outcome)


async def _settle(
    services: Services,
    attempt_id: UUID,
    status: Status,
    *,
    media_id: UUID | None = None,
    code: str | None = None,
    detail: str | None = None,
) -> str:
    verdict = "succeeded" if media_id else "failed"
    return str(
        await services.db.call(
            *("settle_photo", attempt_id, verdict, media_id, code, detail, status.cost_micros, status.ref)
        )
    )


@task("check_photos", retry=False, on=SLOW)
async def check_photos(services: Services) -> None:
    """Ask about photos without a verdict, end those whose deadline passed, and send what lost its job."""
    rows = await services.db.rows("photos_to_check", BATCH)
    for row in rows:
        await _guarded(services, row["attempt_id"], _check(services, row))
    for row in await services.db.rows("expire_photos", BATCH):
        log.error("photo without a verdict given back", item_id=str(row["item_id"]), job_id=str(row["job_id"]))
    await send_photos(services)


@task("check_photo", on=SLOW)
async def check_photo(services: Services, attempt_id: str) -> None:
    """The provider told of an attempt: read how it stands."""
    for row in await services.db.rows("photo_attempt", UUID(attempt_id)):
        if row["is_open"] and not await _guarded(services, row["attempt_id"], _check(services, row)):
            # The provider was faster than its own answer to us: what it told is looked at afterwards.
            raise Busy(attempt_id)


async def _check(services: Services, row: dict[str, Any]) -> None:
    attempt_id: UUID = row["attempt_id"]
    if row["provider"] != services.studio.name:
        # The settings name another provider since; the deadline ends it.
        log.error("photo is at another provider", attempt_id=str(attempt_id), provider=row["provider"])
        return
    if row["provider_ref"] is not None:
        status: Status | None = await services.studio.get_status(row["provider_ref"])
    else:
        status = await services.studio.find(attempt_id, row["created_at"])
    if status is None:
        await services.db.call("photo_not_sent", attempt_id, "the provider does not have it")
    else:
        await _take(services, attempt_id, row["owner_id"], status)


@task("build_archives", retry=False, on=SLOW)
async def build_archives(services: Services) -> None:
    """Put the pictures of each finished job into one file."""
    for row in await services.db.rows("archives_to_build", BATCH):
        try:
            await build(services, row["job_id"])
        except (StorageUnavailable, BusinessError, DatabaseUnavailable, ZipError) as error:
            # ZipError: a picture in storage is not what was stored. The others get their file all the same.
            log.error("archive not built", job_id=str(row["job_id"]), error=repr(error))


@task("expire_photo_jobs", retry=False)
async def expire_photo_jobs(services: Services) -> None:
    """Let go of what was kept long enough, and delete the files that belong to no job."""
    while await services.db.call("expire_photo_jobs", BATCH):
        pass
    await erase_files(services, "archives_to_erase", BATCH)


@task("expire_credits", retry=False)
async def expire_credits(services: Services) -> None:
    """Book credits whose time is over; tell whose credits end soon."""
    while await services.db.call("expire_credits", BATCH):
        pass
    while await services.db.call("tell_expiring_credits", BATCH):
        pass
