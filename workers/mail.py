"""E-mail: the text of a mail, and the way to the mail server."""

import html
import re
import smtplib
import ssl
import unicodedata
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

# What mail programs make a link of, or a reader dials: a word with one of these goes from a name.
_LINK = re.compile(
    r"[@/\\]"  # e-mail, path
    r"|\.[^\W\d_]{2,}"  # host.domain, also .domain alone
    r"|\.xn--"
    r"|\d+\.\d+\.\d+"  # IPv4
    r"|^\W*(?:https?|hxxps?|ftp|www\d?|mailto|tel)\b"
    r"|:(?=\w)",  # scheme:rest
    re.IGNORECASE,
)
_PHONE = re.compile(r"[+(]?\d(?:[\s().\-]*\d){6,}")
_NAME_WORDS = 5
_NAME_LENGTH = 40


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
            f"{settings.workers_url}/functions/v1",
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

    def write_gift(self, gift: dict[str, Any]) -> EmailMessage:
        """The mail for one answer of private.claim_gift_mail(): to somebody who may be no member."""
        name, address = parseaddr(self.sender)
        message = EmailMessage(policy=POLICY)
        message["From"] = Address(name, addr_spec=address)
        message["To"] = Address(addr_spec=gift["to"])
        message["Subject"] = "A gift for you"
        message["Date"] = format_datetime(datetime.fromisoformat(gift["created_at"]))
        # A repetition has another code, so it is another mail.
        message["Message-ID"] = f"<{gift['gift_id']}.{gift['code'][:8]}@{address.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        giver = plain_name(gift["from"] or "") or "Somebody"
        lines = [
            "Hello,",
            "",
            f"{giver} gave you something. It is yours once you sign in and enter this code:",
            gift["code"],
            f"{self.site_url}/gifts/claim",
            "",
        ]
        message.set_content("\n".join(lines), cte="quoted-printable")
        return message

    def _text(self, mail: dict[str, Any], unsubscribe: str | None) -> str:
        lines = [_greeting(mail), ""]
        for section in mail["sections"]:
            lines += [_headline(section), section["message"], self._link(section), ""]
        if unsubscribe:
            lines += ["--", f"No more mails like this: {unsubscribe}", ""]
        return "\n".join(lines)

    def _html(self, mail: dict[str, Any], unsubscribe: str | None) -> str:
        parts = [f"<p>{html.escape(_greeting(mail))}</p>"]
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


def _greeting(mail: dict[str, Any]) -> str:
    name = plain_name(mail["name"])
    return f"Hello {name}," if name else "Hello,"


def plain_name(name: str) -> str:
    """A name as it may stand in a mail that we sign: whoever chose it must not write to others through us.

    One line, no address of any kind, no phone number, and no more than a few words.
    """
    words = [word for word in _plain_words(name) if any(unicodedata.category(char)[0] in "LN" for char in word)]
    kept = " ".join(words[:_NAME_WORDS])
    if len(words) > _NAME_WORDS or len(kept) > _NAME_LENGTH:
        kept = kept[:_NAME_LENGTH].rstrip() + "…"
    return kept


def plain_title(title: str) -> str:
    """A title as it may stand there: one line, no address of any kind, no phone number."""
    return " ".join(_plain_words(title))


def _plain_words(said: str) -> list[str]:
    text = unicodedata.normalize("NFKC", said)
    # Invisible characters would hide an address from the patterns, line breaks begin a sentence of their own.
    text = "".join(
        " " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char
        for char in text
        if unicodedata.category(char) not in ("Cf", "Cs", "Co", "Cn")
    )
    text = _PHONE.sub(" ", re.sub("[\u3002\uff61\u2024\u00b7]", ".", text))
    return [word for word in text.split() if not _LINK.search(word)]


def _headline(section: dict[str, Any]) -> str:
    """For example: New like (4): Ana, Ben, Cleo."""
    count = f" ({section['count']})" if section["count"] > 1 else ""
    named = [name for name in map(plain_name, section["names"] or []) if name]
    names = f": {', '.join(named)}" if named else ""
    return f"{section['title']}{count}{names}"


# Enhanced codes of a refusal for good that says nothing against the address: a full mailbox, and what is about us.
_NOT_THE_ADDRESS = re.compile(rb"^5\.(?:2\.[2-9]|[3-7]\.\d)")
_THE_ADDRESS = re.compile(rb"^5\.1\.\d")


def nobody_there(code: int, text: bytes, *, at_recipient: bool) -> bool:
    """Whether a refusal means that this address takes no mail and never will.

    To the recipient's name a plain 5xx says so; to the text of a mail it may be a filter's opinion.
    """
    if code < 500:
        return False
    return not _NOT_THE_ADDRESS.match(text) if at_recipient else bool(_THE_ADDRESS.match(text))


class Connection:
    """A connection to the mail server, made when the first mail is sent. Blocks: use it from a thread.

    Sending raises smtplib.SMTPException or OSError; SMTPRecipientsRefused is about this mail's recipient only, see
    nobody_there().
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
