"""Calendar entries by e-mail (RFC 5545, RFC 5546): one person, one entry, for life.

The entry's uid never changes; its SEQUENCE is what the database says, and moves when the time does and when the entry
goes. Times are instants in UTC, so that no calendar has to know our rules of time zones. The only attendee is the
recipient, and nothing in it opens the room: calendars are shared.
"""

import html
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any

import icalendar

from workers.mail import POLICY, Mailer, plain_name, plain_title

PRODUCT = "-//Avenue//Webinars//EN"


def write_invitation(mailer: Mailer, entry: dict[str, Any]) -> EmailMessage:
    """The mail for one answer of private.claim_invitation(). A repetition is the same mail."""
    name, address = parseaddr(mailer.sender)
    domain = address.rpartition("@")[2]
    title = plain_title(entry["title"])
    message = EmailMessage(policy=POLICY)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = Address(addr_spec=entry["to"])
    message["Subject"] = f"{_subject(entry)}: {title}"
    message["Date"] = format_datetime(datetime.fromisoformat(entry["changed_at"]))
    message["Message-ID"] = f"<{entry['uid']}-{entry['sequence']}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    lines = [f"Hello {plain_name(entry['name'])},", "", _sentence(entry), "", title, _when(entry)]
    lines += [f"{mailer.site_url}{entry['link']}", ""]
    message.set_content("\n".join(lines), cte="quoted-printable")
    paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
    message.add_alternative(
        f'<!doctype html><meta charset="utf-8">\n{paragraphs}\n', subtype="html", cte="quoted-printable"
    )
    # As an alternative: what mail programs look for to show the entry with its buttons.
    message.add_alternative(
        write_calendar(entry, domain, address, mailer.site_url).decode(),
        subtype="calendar",
        params={"method": _method(entry)},
        cte="base64",
    )
    return message


def write_calendar(entry: dict[str, Any], domain: str, organizer: str, site_url: str) -> bytes:
    """The entry as an iCalendar object."""
    event = icalendar.Event()
    event.add("uid", f"{entry['uid']}@{domain}")
    event.add("sequence", entry["sequence"])
    event.add("dtstamp", _utc(entry["changed_at"]))
    event.add("dtstart", _utc(entry["starts_at"]))
    event.add("dtend", _utc(entry["ends_at"]))
    event.add("summary", plain_title(entry["title"]))
    event.add("description", f"{site_url}{entry['link']}")
    event.add("url", f"{site_url}{entry['link']}")
    event.add("status", "CANCELLED" if entry["is_cancelled"] else "CONFIRMED")
    host = icalendar.vCalAddress(f"mailto:{organizer}")
    host.params["CN"] = icalendar.vText(plain_name(entry["host"]) or "Host")
    event.add("organizer", host)
    guest = icalendar.vCalAddress(f"mailto:{entry['to']}")
    guest.params["PARTSTAT"] = icalendar.vText("ACCEPTED")
    guest.params["RSVP"] = icalendar.vText("FALSE")
    event.add("attendee", guest)
    calendar = icalendar.Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", _method(entry))
    calendar.add_component(event)
    return bytes(calendar.to_ical())


def _method(entry: dict[str, Any]) -> str:
    return "CANCEL" if entry["is_cancelled"] else "REQUEST"


def _subject(entry: dict[str, Any]) -> str:
    if entry["is_cancelled"]:
        return "Cancelled"
    return "Updated" if entry["sequence"] else "Registered"


def _sentence(entry: dict[str, Any]) -> str:
    if entry["is_cancelled"]:
        return "You are not registered for this webinar any more, or it was cancelled."
    return "You are registered for this webinar:"


def _when(entry: dict[str, Any]) -> str:
    """As the host said it, zone included."""
    local = datetime.fromisoformat(entry["starts_local"])
    return f"{local:%Y-%m-%d %H:%M} ({entry['time_zone']})"


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
