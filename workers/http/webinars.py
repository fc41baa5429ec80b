"""/functions/v1/webinars: the way into a webinar's room."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse

from workers import logs
from workers.http.context import ServicesDep, problems
from workers.problems import ErrorCode, Problem
from workers.rooms import PROVIDERS
from workers.rooms.protocol import Entry, RoomUnavailable

log = logs.get(__name__)
router = APIRouter(prefix="/functions/v1/webinars", tags=["webinars"])

Pass = Annotated[
    UUID, Query(alias="pass", description="From join_webinar(): one person's, worth nothing without a seat.")
]


@router.get(
    "/enter",
    summary="Enter a webinar",
    response_class=RedirectResponse,
    status_code=303,
    responses=problems(
        _404="No seat, or no such pass", _409="Too early, over, or no room yet", _503="The room is not there now"
    ),
)
async def enter(token: Pass, services: ServicesDep) -> RedirectResponse:
    """Sends the browser to the room. Whether its owner may enter is asked each time."""
    answer = await services.db.call("use_pass", token)
    entry = Entry.of(answer)
    try:
        address = await PROVIDERS[answer["provider"]].address(entry)
    except RoomUnavailable as error:
        log.warning("room not available", webinar_id=str(entry.webinar_id), error=str(error))
        raise Problem("room_not_ready", known=ErrorCode(503, "The room cannot be entered now.", "")) from error
    # Neither kept nor told to the next page.
    headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
    return RedirectResponse(address, 303, headers)
