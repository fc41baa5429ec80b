"""E-mail: the text of a mail, and the way to the mail server."""

import html
import smtplib
import ssl
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from workers.settings import Settings

# Long addresses in headers stay in one piece: an encoded List-Unsubscribe is none to many readers.
POLICY = SMTP.clone(max_line_length=998)
TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Mailer:
    """How mail is written and where it goes. `server`: the mail server's URL; the other URLs have no trailing slash."""

    server: str
    sender: str
    site_url: str
    functions_url: str

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """None when no mail server is set."""
        if settings.smtp_url is None or settings.mail_from is None:
            return None
        return cls(
            settings.smtp_url.get_secret_value(),
            settings.mail_from,
            settings.site_url or settings.client_url,
            f"{settings.client_url}/functions/v1",
        )

    def connect(self) -> "Connection":
        """A connection to be opened by `with`."""
        return Connection(self.server)

    def write(self, mail: dict[str, Any]) -> EmailMessage:
        """The mail for one answer of private.claim_mail().

        Everything that identifies it follows from the row, so that a repetition is recognisable as one.
        """
        name, address = parseaddr(self.sender)
        sections = mail["sections"]
        count = sum(section["count"] for section in sections)
        message = EmailMessage(policy=POLICY)
        message["From"] = Address(name, addr_spec=address)
        message["To"] = Address(addr_spec=mail["to"])
        message["Subject"] = sections[0]["title"] if count == 1 else f"{count} new notifications"
        message["Date"] = format_datetime(datetime.fromisoformat(mail["created_at"]))
        message["Message-ID"] = f"<{mail['mail_id']}@{address.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        unsubscribe = None
        if mail["unsubscribe_token"]:
            unsubscribe = f"{self.functions_url}/unsubscribe?token={quote(mail['unsubscribe_token'])}"
            message["List-Unsubscribe"] = f"<{unsubscribe}>"
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(self._text(mail, unsubscribe), cte="quoted-printable")
        message.add_alternative(self._html(mail, unsubscribe), subtype="html", cte="quoted-printable")
        return message

    def _text(self, mail: dict[str, Any], unsubscribe: str | None) -> str:
        lines = [f"Hello {mail['name']},", ""]
        for section in mail["sections"]:
            lines += [_headline(section), section["message"], self._link(section), ""]
        if unsubscribe:
            lines += ["--", f"No more mails like this: {unsubscribe}", ""]
        return "\n".join(lines)

    def _html(self, mail: dict[str, Any], unsubscribe: str | None) -> str:
        parts = [f"<p>Hello {html.escape(mail['name'])},</p>"]
        for section in mail["sections"]:
            link = html.escape(self._link(section))
            parts.append(
                f'<p><a href="{link}"><strong>{html.escape(_headline(section))}</strong></a><br>'
                f"{html.escape(section['message'])}</p>"
            )
        if unsubscribe:
            parts.append(f'<p><small><a href="{html.escape(unsubscribe)}">No more mails like this</a></small></p>')
        return '<!doctype html><meta charset="utf-8">\n' + "\n".join(parts) + "\n"

    def _link(self, section: dict[str, Any]) -> str:
        link = section["link_url"] or "/notifications"
        return f"{self.site_url}{link}" if link.startswith("/") else str(link)


def _headline(section: dict[str, Any]) -> str:
    """For example: New like (4): Ana, Ben, Cleo."""
    count = f" ({section['count']})" if section["count"] > 1 else ""
    names = f": {', '.join(section['names'])}" if section["names"] else ""
    return f"{section['title']}{count}{names}"


class Connection:
    """A connection to the mail server, made when the first mail is sent. Blocks: use it from a thread.

    Sending raises smtplib.SMTPException or OSError; SMTPRecipientsRefused is about this mail's recipient only.
    """

    def __init__(self, server: str) -> None:
        self._url = urlsplit(server)
        self._smtp: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._smtp is not None:
            try:
                self._smtp.quit()
            except (smtplib.SMTPException, OSError):
                self._smtp.close()

    def send(self, message: EmailMessage) -> None:
        """Hand one mail to the server; when this returns, the server has taken it."""
        if self._smtp is None:
            self._smtp = self._open()
        self._smtp.send_message(message)

    def _open(self) -> smtplib.SMTP:
        host, port = self._url.hostname or "", self._url.port
        smtp: smtplib.SMTP
        if self._url.scheme == "smtps":
            smtp = smtplib.SMTP_SSL(host, port or 465, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
        else:
            smtp = smtplib.SMTP(host, port or (587 if self._url.scheme == "starttls" else 25), timeout=TIMEOUT_SECONDS)
            if self._url.scheme == "starttls":
                smtp.starttls(context=ssl.create_default_context())
        if self._url.username:
            smtp.login(unquote(self._url.username), unquote(self._url.password or ""))
        return smtp
