"""Notifications by e-mail: real mail over real SMTP, with the server away, refusing, and the worker killed."""

from __future__ import annotations

from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from stack.services import Services
from tests.harness.fixtures import running
from tests.harness.market import run_job
from tests.harness.people import Member, enroll
from tests.harness.processes import process
from tests.harness.server import Database
from tests.harness.waiting import until
from workers.mail import Mailer, nobody_there, plain_name
from workers.settings import Settings

# Sweeps, leases and pauses of a second, so that what takes minutes elsewhere takes moments here.
QUICK = {
    "AVENUE_MAIL_SWEEP_SECONDS": "1",
    "AVENUE_MAIL_LEASE_SECONDS": "2",
    "AVENUE_MAIL_RETRY_SECONDS": "1",
    "AVENUE_STALLED_SECONDS": "3",
    "AVENUE_SITE_URL": "https://site.example/",
}


@pytest.fixture(scope="module")
def services(database: Database) -> Iterator[Services]:
    with running(database, **QUICK) as services:
        yield services


@pytest.fixture
def people(services: Services, database: Database) -> list[Member]:
    """Three members with confirmed addresses, called Ana, Ben and <Cleo>."""
    members = enroll(services, database, 3)
    for member, name in zip(members, ("Ana", "Ben", "<Cleo>"), strict=True):
        database.run("update auth.users set email_confirmed_at = now() where id = %s", member.id)
        database.run("update public.profiles set display_name = %s where id = %s", name, member.id)
    return members


def notify(database: Database, to: Member, kind: str, actor: Member | None = None) -> None:
    """Tell somebody of something, two hours ago."""
    database.run(
        "select private.notify(%s, %s, %s, %s, gen_random_uuid())",
        to.id,
        kind,
        actor.id if actor else None,
        "payout" if kind == "payout_failed" else "post",
    )
    database.run("update public.notifications set created_at = created_at - interval '2 hours' where not is_read")


def mails_to(services: Services, address: str) -> list[EmailMessage]:
    """What arrived for an address, oldest first."""
    parser = BytesParser(policy=policy.default)
    files: list[Path] = sorted(services.outbox.glob("*.eml"))
    mails = [parser.parsebytes(file.read_bytes()) for file in files]
    return [mail for mail in mails if mail["X-Envelope-To"] == address]


def mail_to(services: Services, address: str) -> EmailMessage:
    """The one mail that arrived for an address."""
    (mail,) = until(lambda: mails_to(services, address), f"a mail to {address}")
    return mail


def row(database: Database, member: Member) -> dict[str, Any]:
    """The one row in mails about a member."""
    rows = database.run("select * from private.mails where user_id = %s", member.id)
    assert len(rows) == 1, rows
    return rows[0]


def text(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_an_immediate_notice_arrives(services: Services, database: Database, people: list[Member]) -> None:
    ana = people[0]
    notify(database, ana, "payout_failed")
    mail = mail_to(services, ana.email)
    assert mail["From"] == "Avenue <hello@avenue.example>"
    assert mail["To"] == ana.email
    assert mail["Subject"] == "Payout failed"
    assert mail["Message-ID"] == f"<{row(database, ana)['id']}@avenue.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    # It cannot be switched off, so it does not offer that.
    assert mail["List-Unsubscribe"] is None
    assert "Hello Ana," in text(mail)
    assert "https://site.example/payouts/" in text(mail)
    assert "https://site.example/payouts/" in text(mail, "html")
    until(lambda: row(database, ana)["state"] == "sent", "the mail to be noted as sent")
    run_job(database, "deliver_mails")
    assert len(mails_to(services, ana.email)) == 1


def test_a_digest_sums_up_and_can_be_ended_by_one_click(
    services: Services, database: Database, people: list[Member]
) -> None:
    ana, ben, cleo = people
    notify(database, ana, "comment", ben)
    notify(database, ana, "comment", cleo)
    notify(database, ana, "follow", ben)
    run_job(database, "prepare_digests")
    mail = mail_to(services, ana.email)
    assert mail["Subject"] == "3 new notifications"
    assert "New comment (2): <Cleo>, Ben" in text(mail)
    assert "New follower: Ben" in text(mail)
    assert "<Cleo>" not in text(mail, "html")
    assert "&lt;Cleo&gt;" in text(mail, "html")
    run_job(database, "prepare_digests")
    assert row(database, ana)["state"] == "sent"

    link = mail["List-Unsubscribe"].strip("<>")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert link in text(mail)
    page = httpx.get(link)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    preferences = "select notification_preferences from public.profile_settings where user_id = %s"
    assert database.value(preferences, ana.id) == {}, "looking is not clicking: scanners look"
    answers = [httpx.post(link, data={"List-Unsubscribe": "One-Click"}).status_code for _ in range(2)]
    assert answers == [200, 200]
    assert database.value(preferences, ana.id) == {"digest": {"email": False}}
    assert httpx.post(link.replace(link[-4:], "0000")).status_code == 404
    assert httpx.post(link[:-30]).status_code == 422


def test_no_address_no_mail(services: Services, database: Database, people: list[Member]) -> None:
    ana = people[0]
    database.run("update auth.users set email_confirmed_at = null where id = %s", ana.id)
    notify(database, ana, "payout_failed")
    until(lambda: row(database, ana)["state"] == "dropped", "the mail to be dropped")
    assert mails_to(services, ana.email) == []


def test_the_server_is_away_and_nothing_is_lost(services: Services, database: Database, people: list[Member]) -> None:
    services.kill("mail")
    try:
        for member in people:
            notify(database, member, "payout_failed")
        until(lambda: any(row(database, member)["attempts"] > 1 for member in people), "a second attempt")
        assert {row(database, member)["state"] for member in people} == {"due"}
    finally:
        services.start(["mail"])
    for member in people:
        mail_to(services, member.email)
        until(lambda member=member: row(database, member)["state"] == "sent", "all to be sent")  # type: ignore[misc]
    assert [len(mails_to(services, member.email)) for member in people] == [1, 1, 1]


def test_what_the_server_refuses(services: Services, database: Database, people: list[Member]) -> None:
    gone, later, fine = people
    for member, name in ((gone, "bounce"), (later, "later")):
        database.run("update auth.users set email = %s || id || '@example.com' where id = %s", name, member.id)
    for member in people:
        notify(database, member, "payout_failed")
    mail_to(services, fine.email)
    until(lambda: row(database, gone)["state"] == "failed", "a refusal for good to be taken as such")
    until(lambda: row(database, later)["attempts"] > 1, "a refusal for now to be tried again")
    assert "451" in row(database, later)["last_error"]
    database.run("update auth.users set email = 'now-' || id || '@example.com' where id = %s", later.id)
    mail_to(services, f"now-{later.id}@example.com")


def test_a_bounce_is_remembered_until_the_address_changes(
    services: Services, database: Database, people: list[Member]
) -> None:
    gone, later, other = people
    for member, name in ((gone, "bounce"), (later, "later")):
        database.run("update auth.users set email = %s || id || '@example.com' where id = %s", name, member.id)
        notify(database, member, "payout_failed")
    until(lambda: row(database, gone)["state"] == "failed", "a refusal for good to be taken as such")
    until(lambda: row(database, later)["attempts"] > 1, "a refusal for now to be tried again")
    assert gone.api.one("mail_bounces")["is_permanent"] is True
    waiting = later.api.one("mail_bounces")
    assert (waiting["is_permanent"], waiting["bounces"] > 1, waiting["retry_at"] is not None) == (False, True, True)
    assert "451" in waiting["reason"]
    assert other.api.select("mail_bounces") == [], "nobody reads others'"
    database.run("update public.profiles set role = 'admin' where id = %s", other.id)
    assert {entry["user_id"] for entry in other.api.select("mail_bounces")} >= {gone.id, later.id}, "admins do"

    # Neither a digest nor what is mailed at once goes there again.
    notify(database, gone, "comment", other)
    notify(database, gone, "payout_failed")
    run_job(database, "prepare_digests")
    states = "select array_agg(state::text order by created_at) from private.mails where user_id = %s"
    until(lambda: database.value(states, gone.id) == ["failed", "dropped"], "the second mail not to be tried")
    database.run("update auth.users set email = 'back-' || id || '@example.com' where id = %s", gone.id)
    assert gone.api.select("mail_bounces") == []
    notify(database, gone, "payout_failed")
    mail_to(services, f"back-{gone.id}@example.com")

    assert later.api.http.delete("/rest/v1/mail_bounces", params={"user_id": f"eq.{later.id}"}).status_code == 204
    assert later.api.rpc("delete_my_account").is_success
    assert database.value("select count(*) from public.mail_bounces where user_id = %s", later.id) == 0


@pytest.mark.parametrize(
    ("code", "text", "at_recipient", "expected"),
    [
        (550, b"5.1.1 nobody", True, True),
        (550, b"no such user", True, True),
        (552, b"5.2.2 mailbox full", True, False),
        (550, b"5.7.1 we do not like your server", True, False),
        (451, b"4.2.0 later", True, False),
        (554, b"5.7.1 spam", False, False),
        (550, b"rejected", False, False),
        (550, b"5.1.1 nobody", False, True),
    ],
)
def test_which_refusals_say_that_nobody_is_there(code: int, text: bytes, at_recipient: bool, expected: bool) -> None:
    assert nobody_there(code, text, at_recipient=at_recipient) is expected


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Ana", "Ana"),
        ("J. R. Smith", "J. R. Smith"),
        ("O'Neil-Brown", "O'Neil-Brown"),
        ("山田太郎", "山田太郎"),
        ("Ana (evil.example/pay)", "Ana"),
        ("Your account is locked, visit https://evil.example now or lose it", "Your account is locked, visit…"),
        ("evil\uff0eexample", ""),
        ("ev\u200bil.example", ""),
        ("evil\u3002com", ""),
        ("ana@evil.example", ""),
        ("www.evil.example", ""),
        ("Ana call +1 (555) 010-9999", "Ana call"),
        ("Ana\r\nBcc: all@evil.example", "Ana Bcc:"),
        ("Ana\u202egnp.exe", ""),
        ("10.0.0.1", ""),
        ("a" * 80, "a" * 40 + "…"),
    ],
)
def test_names_in_mails_carry_no_address(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_a_name_does_not_write_to_others_through_us(
    services: Services, database: Database, people: list[Member]
) -> None:
    ana, ben, _ = people
    answer = ben.api.http.patch(
        f"/rest/v1/profiles?id=eq.{ben.id}",
        json={"display_name": "Verify at https://evil.example/login +1 555 010 9999"},
    )
    assert answer.is_success, answer.text
    notify(database, ana, "comment", ben)
    run_job(database, "prepare_digests")
    mail = mail_to(services, ana.email)
    for part in ("plain", "html"):
        assert "evil" not in text(mail, part)
        assert "555" not in text(mail, part)
    assert "New comment: Verify at" in text(mail)


def test_killed_between_sending_and_noting_it(services: Services, database: Database, people: list[Member]) -> None:
    ana = people[0]
    database.run(
        "create function private.trap() returns trigger language plpgsql as "
        "$$begin perform pg_advisory_xact_lock(4711); return new; end$$"
    )
    database.run(
        "create trigger trap before update of state on private.mails for each row "
        "when (new.state = 'sent') execute function private.trap()"
    )
    held = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%%mail_sent%%'"
    try:
        with database.connect() as trap:
            trap.execute("select pg_advisory_lock(4711)")
            notify(database, ana, "payout_failed")
            first = mail_to(services, ana.email)
            pid = until(lambda: database.value(held), "the worker to note what it sent")
            services.kill("jobs")
            # The server process does not know yet that nobody listens; its call must not be carried out.
            database.run("select pg_terminate_backend(%s, 5000)", pid)
    finally:
        database.run("drop trigger trap on private.mails")
        database.run("drop function private.trap()")
    assert row(database, ana)["state"] == "due"
    services.start(["jobs"])
    until(lambda: row(database, ana)["state"] == "sent", "the mail to be sent again")
    again = mails_to(services, ana.email)
    assert [mail["Message-ID"] for mail in again] == [first["Message-ID"]] * 2
    assert {mail["Date"] for mail in again} == {first["Date"]}


def test_without_a_mail_server_nothing_is_claimed(services: Services, database: Database, people: list[Member]) -> None:
    ana = people[0]
    services.kill("jobs")
    try:
        with process(services, "mailless", "workers.cli", "work", AVENUE_SMTP_URL="", AVENUE_MAIL_FROM=""):
            notify(database, ana, "payout_failed")
            run_job(database, "deliver_mails")
            assert (row(database, ana)["state"], row(database, ana)["attempts"]) == ("due", 0)
            assert "AVENUE_SMTP_URL is not set" in services.log("mailless").read_text()
    finally:
        services.start(["jobs"])
    mail_to(services, ana.email)


BASE = {"AVENUE_DATABASE_URL": "postgresql://avenue_worker@localhost/postgres"}
SENDER = {"AVENUE_MAIL_FROM": "Avenue <hello@shop.example>"}


def settings(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in {**BASE, **environment}.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"AVENUE_SMTP_URL": "smtp://mail.example"}, "go together"),
        (SENDER, "go together"),
        ({**SENDER, "AVENUE_SMTP_URL": "mail.example:25"}, "must be smtp://"),
        ({**SENDER, "AVENUE_SMTP_URL": "smtp://me:secret@mail.example"}, "a password needs"),
        ({"AVENUE_MAIL_FROM": "Avenue", "AVENUE_SMTP_URL": "smtp://mail.example"}, "must be an address"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint) as refusal:
        settings(monkeypatch, **environment)
    assert "secret" not in str(refusal.value)


def test_settings_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Mailer.from_settings(settings(monkeypatch)) is None
    url = "starttls://me:p%40ss@mail.example:587"
    mailer = Mailer.from_settings(settings(monkeypatch, AVENUE_SMTP_URL=url, **SENDER))
    assert mailer is not None
    assert mailer.server == url


def test_a_name_cannot_write_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    mailer = Mailer.from_settings(
        settings(
            monkeypatch,
            AVENUE_SMTP_URL="smtp://localhost",
            AVENUE_WORKERS_URL="https://workers.example",
            **SENDER,
        )
    )
    assert mailer is not None
    mail = {
        "mail_id": "9c5b94b1-35ad-49bb-b118-8e8fc24abf80",
        "kind": "digest",
        "created_at": "2026-11-21T05:00:00+00:00",
        "to": "ana@example.com",
        "name": "Ana\r\nBcc: all@example.com",
        "unsubscribe_token": "1" * 36,
        "sections": [
            {"type": "reply", "title": "New reply", "message": "…", "count": 1, "names": ["B"], "link_url": "/"}
        ],
    }
    head, _, _ = mailer.write(mail).as_bytes().partition(b"\r\n\r\n")
    assert b"Bcc" not in head
    unsubscribe = f"<https://workers.example/functions/v1/unsubscribe?token={'1' * 36}>"
    assert f"\r\nList-Unsubscribe: {unsubscribe}\r\n".encode() in head, "in one piece: readers do not unfold"
    with pytest.raises(ValueError, match=r"\S"):
        mailer.write({**mail, "to": "ana@example.com\r\nBcc: all@example.com"})
