"""GET /functions/v1/downloads/{item_id}: links to the files of something bought."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from workers import logs
from workers.http.context import CallerDep, ServicesDep, problems
from workers.problems import Problem
from workers.storage import StoredFile

log = logs.get(__name__)
router = APIRouter(prefix="/functions/v1/downloads", tags=["downloads"])

LINK_SECONDS = 300


class DownloadFile(BaseModel):
    """One file of the item."""

    name: str = Field(examples=["pack.zip"])
    size_bytes: int | None = Field(examples=[1048576])
    content_type: str | None = Field(examples=["application/zip"])
    url: str = Field(description="Downloads the file; anybody who has it can, until it expires")
    expires_at: datetime


class Downloads(BaseModel):
    """All files of the item, in the seller's order."""

    files: list[DownloadFile]


@router.get(
    "/{item_id}",
    summary="Download what was bought",
    responses=problems(
        _401="No or no valid access token",
        _403="The caller does not own the item, or is banned",
        _404="No such item, or its files are gone",
        _422="The id is not a UUID",
        _503="Storage or the database cannot answer right now",
    ),
)
async def downloads(item_id: UUID, caller: CallerDep, services: ServicesDep, response: Response) -> Downloads:
    """Links that work for five minutes, for the buyer and the seller of the item."""
    rows = await services.db.rows("authorize_download", item_id, caller.user_id)
    expires_at = datetime.now(UTC) + timedelta(seconds=LINK_SECONDS)

    async def link(row: dict[str, Any]) -> str:
        # No path: what is stored there is not what was added.
        file = row["path"] and StoredFile(row["bucket"], row["path"], row["name"])
        url = await services.storage.sign(file, LINK_SECONDS) if file else None
        if url is None:
            log.error("file missing in storage", item_id=str(item_id), bucket=row["bucket"], path=row["path"])
            raise Problem("file_missing", row["name"])
        return url

    urls = await asyncio.gather(*(link(row) for row in rows))
    response.headers["cache-control"] = "no-store"
    return Downloads(
        files=[
            DownloadFile(
                name=row["name"],
                size_bytes=row["size_bytes"],
                content_type=row["content_type"],
                url=url,
                expires_at=expires_at,
            )
            for row, url in zip(rows, urls, strict=True)
        ]
    )
