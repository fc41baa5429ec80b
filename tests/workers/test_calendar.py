"""Calendar entries by mail, read back as a mail program does: with the library, and as text."""

from __future__ import annotations

from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import icalendar
import pytest

from workers.calendar import write_invitation
from workers.mail import Mailer

MAILER = Mailer("smtp://127.0.0.1:25", "Avenue <hello@avenue.example>", "https://site.example", "https://w.example")
ENTRY = {
    "uid": "6b1c6a0e-2f0e-4d53-9c4d-0d5d0f7c1a11",
    "sequence": 0,
    "is_cancelled": False,
    "changed_at": "2026-12-01T09:00:00.123456+00:00",
    "to": "ana@example.com",
    "name": "Ana",
    "host": "Ben <https://evil.example>",
    "title": "Mixing vocals; loud, and\nclear — with a title long enough that its line has to be folded somewhere",
    "starts_at": "2027-03-28T03:30:00+02:00",
    "ends_at": "2027-03-28T05:00:00+02:00",
    "starts_local": "2027-03-28T03:30:00",
    "time_zone": "Europe/Berlin",
    "link": "/webinars/1",
}


def received(entry: dict[str, Any]) -> EmailMessage:
    """The mail as it arrives: written, sent as bytes, parsed."""
    entry = {**entry, "title": entry["title"].replace("\n", " ")}
    sent = write_invitation(MAILER, entry).as_bytes()
    parsed = BytesParser(policy=policy.default).parsebytes(sent)
    assert isinstance(parsed, EmailMessage)
    return parsed


def part(mail: EmailMessage) -> EmailMessage:
    """Its calendar."""
    (found,) = [one for one in mail.walk() if one.get_content_type() == "text/calendar"]
    assert isinstance(found, EmailMessage)
    return found


def test_market_21_request_and_cancel_are_of_one_entry() -> None:
    uids = set()
    for sequence, cancelled, method, status in (
        (0, False, "REQUEST", "CONFIRMED"),
        (1, False, "REQUEST", "CONFIRMED"),
        (2, True, "CANCEL", "CANCELLED"),
    ):
        mail = received({**ENTRY, "sequence": sequence, "is_cancelled": cancelled})
        found = part(mail)
        assert found.get_param("method") == method
        calendar = icalendar.Calendar.from_ical(found.get_content())
        (event,) = calendar.walk("VEVENT")
        assert (calendar["METHOD"], event["STATUS"], event["SEQUENCE"]) == (method, status, sequence)
        uids.add(str(event["UID"]))
        assert mail["Message-ID"] == f"<{ENTRY['uid']}-{sequence}@avenue.example>"
    assert uids == {f"{ENTRY['uid']}@avenue.example"}


def test_market_22_one_attendee_the_recipient() -> None:
    text = part(received(ENTRY)).get_content().replace("\r\n ", "")
    lines = text.split("\r\n")
    attendees = [line for line in lines if line.startswith("ATTENDEE")]
    assert len(attendees) == 1
    assert attendees[0].endswith(":mailto:ana@example.com")
    (event,) = icalendar.Calendar.from_ical(text).walk("VEVENT")
    assert str(event["ATTENDEE"]) == "mailto:ana@example.com"
    # Who signs is the house; the host's name is no way to write to others, or to lead them somewhere.
    assert str(event["ORGANIZER"]) == "mailto:hello@avenue.example"
    assert "evil" not in text


def test_times_are_instants_in_utc() -> None:
    text = part(received(ENTRY)).get_content()
    lines = text.replace("\r\n ", "").split("\r\n")
    assert "DTSTART:20270328T013000Z" in lines
    assert "DTEND:20270328T030000Z" in lines
    assert any(line.startswith("DTSTAMP:20261201T0900") and line.endswith("Z") for line in lines)
    assert "TZID" not in text
    assert "VTIMEZONE" not in text
    (event,) = icalendar.Calendar.from_ical(text).walk("VEVENT")
    assert event.decoded("DTSTART") == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)


def test_every_line_is_as_the_standard_wants_it() -> None:
    raw = part(received(ENTRY)).get_payload(decode=True)
    assert isinstance(raw, bytes)
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))
    assert raw.startswith(b"BEGIN:VCALENDAR\r\n")
    (event,) = icalendar.Calendar.from_ical(raw).walk("VEVENT")
    assert str(event["SUMMARY"]) == str(ENTRY["title"]).replace("\n", " ")


def test_people_without_a_calendar_read_the_same() -> None:
    mail = received(ENTRY)
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert "2027-03-28 03:30 (Europe/Berlin)" in text
    assert "https://site.example/webinars/1" in text
    assert mail["To"] == "ana@example.com"
    assert mail["Cc"] is None


@pytest.mark.parametrize("title", ["a\r\nBcc: eve@example.com", "x\nATTENDEE:mailto:eve@example.com"])
def test_a_title_is_never_a_header_or_a_line(title: str) -> None:
    """Titles are one line in the database; should one not be, nothing is mailed, or it stays text."""
    try:
        sent = write_invitation(MAILER, {**ENTRY, "title": title}).as_bytes()
    except ValueError:
        return
    mail = BytesParser(policy=policy.default).parsebytes(sent)
    assert isinstance(mail, EmailMessage)
    assert mail["Bcc"] is None
    lines = part(mail).get_content().replace("\r\n ", "").split("\r\n")
    assert sum(line.startswith("ATTENDEE") for line in lines) == 1


def test_a_title_writes_to_nobody_through_us() -> None:
    """A host may change it at any time, and a mail goes out when they move the webinar."""
    said = "Locked: sign in at https://evil.example/login, evil.example or +49 170 1234567 – today"
    mail = received({**ENTRY, "title": said})
    assert mail["subject"] == "Registered: Locked: sign in at or – today"
    for one in mail.walk():
        if not one.is_multipart():
            text = one.get_payload(decode=True)
            assert isinstance(text, bytes)
            assert b"evil" not in text
            assert b"1234567" not in text
