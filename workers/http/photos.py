"""What a photo job hands out, and what its provider tells of it."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from workers import logs
from workers.archives import BUCKET
from workers.http.context import CallerDep, ServicesDep, problems
from workers.http.webhooks import MAX_BODY_BYTES
from workers.problems import Problem
from workers.storage import StoredFile
from workers.studio.protocol import ATTEMPT_PARAMETER, WEBHOOK_PATH, InvalidDelivery

log = logs.get(__name__)
router = APIRouter(tags=["photos"])

LINK_SECONDS = 300


class ArchiveLink(BaseModel):
    """Where the file can be downloaded for a while."""

    url: str = Field(description="Downloads the ZIP file; anybody who has it can, until it expires")
    name: str = Field(examples=["photos-2026-11-29.zip"])
    size_bytes: int = Field(examples=[1048576])
    expires_in: int = Field(description="Seconds", examples=[300])


class PhotoLink(BaseModel):
    """Where the picture can be seen for a while."""

    url: str
    expires_in: int = Field(description="Seconds", examples=[300])


_ERRORS = problems(
    _401="No or no valid access token",
    _403="The caller is banned",
    _404="No such job of the caller, and no demo job either",
    _409="The job is not over, or its file is not, or no longer, there",
    _422="The id is not a UUID",
    _503="Storage or the database cannot answer right now",
)


@router.get("/functions/v1/photo-jobs/{job_id}/archive", summary="Download a photo job", responses=_ERRORS)
async def archive_link(job_id: UUID, caller: CallerDep, services: ServicesDep, response: Response) -> ArchiveLink:
    """A link of five minutes to the ZIP file of all delivered photos, for the owner; of demo jobs for everybody."""
    (row,) = await services.db.rows("authorize_archive", job_id, caller.user_id)
    url = await services.storage.sign(StoredFile(BUCKET, row["path"], row["name"]), LINK_SECONDS)
    if url is None:
        log.error("archive missing in storage", job_id=str(job_id), path=row["path"])
        raise Problem("file_missing", row["name"])
    response.headers["cache-control"] = "no-store"
    return ArchiveLink(url=url, name=row["name"], size_bytes=row["size_bytes"], expires_in=LINK_SECONDS)


@router.get("/functions/v1/demo-photos/{item_id}", summary="Look at a demo job's photo", responses=_ERRORS)
async def demo_photo(item_id: UUID, caller: CallerDep, services: ServicesDep, response: Response) -> PhotoLink:
    """A link that works for five minutes. Of one's own jobs: GET /functions/v1/media/{result_media_id}/{name}."""
    (row,) = await services.db.rows("authorize_demo_photo", item_id, caller.user_id)
    url = await services.storage.sign(StoredFile(row["bucket"], row["path"]), LINK_SECONDS)
    if url is None:
        log.error("demo photo missing in storage", item_id=str(item_id), path=row["path"])
        raise Problem("file_missing", str(item_id))
    response.headers["cache-control"] = "no-store"
    return PhotoLink(url=url, expires_in=LINK_SECONDS)


@router.post(
    WEBHOOK_PATH,
    summary="The studio's provider tells of a photo",
    tags=["webhooks"],
    responses=problems(
        _400="Not authentic, too old, or about nothing of ours", _413="More than 1 MB", _503="Deliver again"
    ),
)
async def studio_delivery(request: Request, services: ServicesDep) -> dict[str, bool]:
    """Verified on the raw body. It only says which photo to ask about; what the provider answers then counts."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise Problem("body_too_large", headers={"connection": "close"})
    try:
        delivery = services.studio.verify_delivery(dict(request.headers), bytes(body))
        named = request.query_params.get(ATTEMPT_PARAMETER)
        attempt_id = delivery.attempt_id or UUID(named or "")
        # What is signed is the body; an address of another photo means that somebody sends it on.
        if named and UUID(named) != attempt_id:
            raise InvalidDelivery("the address names another photo")
    except (InvalidDelivery, ValueError) as error:
        raise Problem("invalid_delivery", str(error)) from error
    if delivery.status.ref is None or not await services.db.call(*("photo_delivered", attempt_id, delivery.status.ref)):
        log.warning("delivery about no photo of ours", attempt_id=str(attempt_id), ref=delivery.status.ref)
    return {"received": True}
