"""GET /functions/v1/media/{id}/{name}: a link to a copy of one's own picture, where the bucket is private."""

from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from workers import logs
from workers.http.context import CallerDep, ServicesDep, problems
from workers.problems import Problem
from workers.storage import StoredFile

log = logs.get(__name__)
router = APIRouter(prefix="/functions/v1/media", tags=["media"])

LINK_SECONDS = 300


class PictureLink(BaseModel):
    """Where the copy can be read for a while."""

    url: str = Field(description="Shows the picture; anybody who has it can, until it expires")
    expires_in: int = Field(description="Seconds", examples=[300])


@router.get(
    "/{media_id}/{name}",
    summary="Look at a private picture",
    responses=problems(
        _401="No or no valid access token",
        _403="The caller is banned",
        _404="No such picture of the caller, no such copy, or it is not ready",
        _422="The id is not a UUID",
        _503="Storage or the database cannot answer right now",
    ),
)
async def media_link(
    media_id: UUID, name: str, caller: CallerDep, services: ServicesDep, response: Response
) -> PictureLink:
    """A link that works for five minutes, for the owner of the picture alone. `name`: a key of its derivatives."""
    (row,) = await services.db.rows("authorize_media", media_id, name, caller.user_id)
    url = await services.storage.sign(StoredFile(row["bucket"], row["path"]), LINK_SECONDS)
    if url is None:
        log.error("copy missing in storage", media_id=str(media_id), bucket=row["bucket"], path=row["path"])
        raise Problem("file_missing", name)
    response.headers["cache-control"] = "no-store"
    return PictureLink(url=url, expires_in=LINK_SECONDS)
