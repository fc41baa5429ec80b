"""Notifications by e-mail: prepare the daily digests, send what is due.

At least once: a worker killed after the server took a mail and before that is noted sends it again when its lease ends,
under the same Message-ID.
"""

import asyncio
import smtplib
from email.errors import MessageError
from typing import Any

from workers import logs
from workers.jobs.queue import task
from workers.mail import Connection, Mailer, nobody_there
from workers.services import Services

log = logs.get(__name__)

MEMBERS = 5000
# More wait for the next run, so that a worker told to stop is not kept.
MAILS = 500


@task("prepare_digests", retry=False)
async def prepare_digests(services: Services) -> None:
    """A mail for everybody who has not read for an hour what is new, at most one a day each."""
    await services.db.call("forget_mails")
    if services.mailer is None:
        return
    after = None
    while (after := await services.db.call("prepare_digests", after, MEMBERS)) is not None:
        pass


@task("deliver_mails", retry=False)
async def deliver_mails(services: Services) -> None:
    """Send what is due, mail by mail; the first sign of a server in trouble ends the run."""
    mailer = services.mailer
    if mailer is None:
        log.debug("no mail is sent: AVENUE_SMTP_URL is not set")
        return
    sent = 0
    with mailer.connect() as connection:
        for _ in range(MAILS):
            mail = await services.db.call("claim_mail", services.settings.mail_lease_seconds)
            if mail is None or not await _deliver(services, mailer, connection, mail):
                break
            sent += 1
        for _ in range(MAILS):
            gift = await services.db.call("claim_gift_mail", services.settings.mail_lease_seconds)
            if gift is None or not await _deliver_gift(services, mailer, connection, gift):
                break
            sent += 1
    if sent:
        log.info("mails handled", count=sent)


async def _deliver(services: Services, mailer: Mailer, connection: Connection, mail: dict[str, Any]) -> bool:
    """Send one; False when there is no point in trying the next one now."""
    mail_id = mail["mail_id"]
    try:
        await asyncio.to_thread(connection.send, mailer.write(mail))
    except (ValueError, MessageError, smtplib.SMTPNotSupportedError) as error:
        # An address that cannot be written, or not by this server.
        log.warning("mail not possible", mail_id=mail_id, error=f"{type(error).__name__}: {error}")
        await _failed(services, mail_id, f"{type(error).__name__}: {error}", True)
    except smtplib.SMTPRecipientsRefused as error:
        answers = list(error.recipients.values())
        codes = [code for code, _ in answers]
        for_good = all(nobody_there(code, text, at_recipient=True) for code, text in answers)
        log.warning("mail refused", mail_id=mail_id, codes=codes, for_good=for_good)
        await _failed(services, mail_id, f"recipient refused: {codes}", for_good, True)
    except smtplib.SMTPDataError as error:
        # A filter's opinion or a quota: the codes rarely tell which, so it is tried again for as long as others.
        text = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
        for_good = nobody_there(error.smtp_code, text, at_recipient=False)
        log.warning("mail refused", mail_id=mail_id, codes=[error.smtp_code], for_good=for_good)
        await _failed(services, mail_id, f"refused: {error.smtp_code} {error.smtp_error!r}", for_good, True)
    except (smtplib.SMTPException, OSError) as error:
        log.error("mail server", error=f"{type(error).__name__}: {error}")
        await _failed(services, mail_id, f"{type(error).__name__}: {error}", False)
        return False
    else:
        await services.db.call("mail_sent", mail_id)
    return True


async def _deliver_gift(services: Services, mailer: Mailer, connection: Connection, gift: dict[str, Any]) -> bool:
    """Mail the code of a gift; False when there is no point in trying the next one now."""
    problem = None
    try:
        await asyncio.to_thread(connection.send, mailer.write_gift(gift))
    except (ValueError, MessageError, smtplib.SMTPException, OSError) as error:
        problem = type(error).__name__
        log.warning("gift not mailed", gift_id=gift["gift_id"], error=problem)
    await services.db.call("gift_mailed", gift["gift_id"], gift["code"], problem, services.settings.mail_retry_seconds)
    return problem is None


async def _failed(services: Services, mail_id: str, reason: str, for_good: bool, bounced: bool = False) -> None:
    await services.db.call("mail_failed", mail_id, reason, for_good, services.settings.mail_retry_seconds, bounced)
