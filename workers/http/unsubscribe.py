"""/functions/v1/unsubscribe: the link at the end of mails, and its one-click form for mail programs (RFC 8058)."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from workers import logs
from workers.http.context import ServicesDep

log = logs.get(__name__)
router = APIRouter(prefix="/functions/v1/unsubscribe", tags=["mail"])

Token = Annotated[UUID, Query(description="From the mail. It can end mails of that sort to that member, nothing else.")]


def _page(text: str, form: str = "", status: int = 200) -> HTMLResponse:
    content = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="referrer" content="no-referrer"><title>E-mails</title><p>{text}</p>{form}</html>'
    )
    return HTMLResponse(content, status, {"cache-control": "no-store", "content-security-policy": "default-src 'none'"})


# Whoever scans links must not unsubscribe anybody, so looking changes nothing.
@router.get("", summary="Ask before unsubscribing", response_class=HTMLResponse)
async def ask(token: Token) -> HTMLResponse:
    """The page behind the link in a mail: a button."""
    form = f'<form method="post" action="?token={token}"><button>Unsubscribe</button></form>'
    return _page("Do you want no more e-mails like this one?", form)


@router.post(
    "", summary="Unsubscribe", response_class=HTMLResponse, responses={404: {"description": "No such mail any more"}}
)
async def unsubscribe(token: Token, services: ServicesDep) -> HTMLResponse:
    """Switches off mails like the one the token is from: all digests, or one type. Repeating changes nothing."""
    switch = await services.db.call("unsubscribe", token)
    if switch is None:
        return _page("This link is no longer valid. Your settings have a switch for every kind of e-mail.", status=404)
    log.info("unsubscribed", switch=switch)
    return _page("Done: you get no more e-mails like this one.")
