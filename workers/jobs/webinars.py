"""Webinars: make official what the clock says, remind, mail calendar entries, give out recordings.

Everything is true before these run; late jobs change no outcome.
"""

import asyncio
import smtplib
from datetime import datetime
from email.errors import MessageError
from typing import Any
from uuid import UUID

from workers import logs
from workers.calendar import write_invitation
from workers.db import BusinessError
from workers.jobs.queue import task
from workers.mail import Connection, Mailer, nobody_there
from workers.services import Services

log = logs.get(__name__)

BATCH = 100
RECORDINGS = 200
# More wait for the next run, so that a worker told to stop is not kept.
MAILS = 500


@task("sweep_webinars", retry=False)
async def sweep_webinars(services: Services) -> None:
    """Offers end, webinars begin and end, and those whose host is gone are cancelled."""
    while await services.db.call("sweep_offers", BATCH):
        pass
    while await services.db.call("sweep_webinars", BATCH):
        pass
    for row in await services.db.rows("webinars_without_host", BATCH):
        webinar_id: UUID = next(iter(row.values()))
        try:
            await services.db.call("cancel_for_host", webinar_id)
        except BusinessError as error:
            log.warning("webinar not cancelled", webinar_id=str(webinar_id), error=str(error))
        else:
            log.info("webinar without a host cancelled", webinar_id=str(webinar_id))


@task("remind_webinar")
async def remind_webinar(services: Services, webinar_id: str, starts_at: str, minutes_before: int) -> None:
    """Tell everybody that a webinar starts soon; nobody when it starts at another time by now."""
    told = await services.db.call("remind_webinar", UUID(webinar_id), datetime.fromisoformat(starts_at), minutes_before)
    log.info("reminded", webinar_id=webinar_id, people=told)


@task("follow_time_zones", retry=False)
async def follow_time_zones(services: Services) -> None:
    """After new rules of a time zone: what hosts entered stays, the instants follow."""
    if followed := await services.db.call("follow_time_zones", BATCH):
        log.warning("webinars follow new rules of their time zones", webinars=followed)


@task("grant_recordings", retry=False)
async def grant_recordings(services: Services) -> None:
    """Recordings for those who were registered, batch by batch."""
    while await services.db.call("grant_recordings", RECORDINGS):
        pass


@task("deliver_invitations", retry=False)
async def deliver_invitations(services: Services) -> None:
    """Mail calendar entries that are due; the first sign of a server in trouble ends the run."""
    mailer = services.mailer
    if mailer is None:
        return
    sent = 0
    with mailer.connect() as connection:
        for _ in range(MAILS):
            entry = await services.db.call("claim_invitation", services.settings.mail_lease_seconds)
            if entry is None or not await _deliver(services, mailer, connection, entry):
                break
            sent += 1
    if sent:
        log.info("calendar entries handled", count=sent)


async def _deliver(services: Services, mailer: Mailer, connection: Connection, entry: dict[str, Any]) -> bool:
    """Send one; False when there is no point in trying the next one now."""
    uid = UUID(entry["uid"])
    try:
        await asyncio.to_thread(connection.send, write_invitation(mailer, entry))
    except (ValueError, MessageError, smtplib.SMTPNotSupportedError) as error:
        await _failed(services, entry, f"{type(error).__name__}: {error}", for_good=True)
    except smtplib.SMTPRecipientsRefused as error:
        answers = list(error.recipients.values())
        for_good = all(nobody_there(code, text, at_recipient=True) for code, text in answers)
        await _failed(services, entry, f"recipient refused: {[code for code, _ in answers]}", for_good=for_good)
    except smtplib.SMTPDataError as error:
        text = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
        for_good = nobody_there(error.smtp_code, text, at_recipient=False)
        await _failed(services, entry, f"refused: {error.smtp_code}", for_good=for_good)
    except (smtplib.SMTPException, OSError) as error:
        log.error("mail server", error=f"{type(error).__name__}: {error}")
        await _failed(services, entry, f"{type(error).__name__}: {error}", for_good=False)
        return False
    else:
        await services.db.call("invitation_sent", uid, entry["sequence"])
    return True


async def _failed(services: Services, entry: dict[str, Any], reason: str, *, for_good: bool) -> None:
    log.warning("calendar entry not mailed", uid=entry["uid"], reason=reason, for_good=for_good)
    await services.db.call(
        *("invitation_failed", UUID(entry["uid"]), entry["sequence"], reason, for_good),
        services.settings.mail_retry_seconds,
    )
