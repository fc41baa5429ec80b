"""Reports and moderation over HTTP with supabase-py: what members and admins do, and two admins at the same instant."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from stack.services import Services
from tests.harness.people import Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """All calls at the same instant; their answers in order."""
    start = threading.Barrier(len(calls))

    def wait_and(call: Callable[[], httpx.Response]) -> httpx.Response:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(wait_and, calls))


@pytest.fixture(scope="module")
def admins(services: Services, database: Database) -> list[Member]:
    """A team."""
    team = enroll(services, database, 4)
    database.run("update public.profiles set role = 'admin' where id = any(%s)", [member.id for member in team])
    return team


@pytest.fixture(scope="module")
def author(sign_up: SignUp) -> Person:
    return sign_up(username="author")


def write(person: Person | Member, content: str = "buy followers here") -> str:
    """A post; its id."""
    answer = person.api.http.post(
        "/rest/v1/posts", json={"content": content}, headers={"prefer": "return=representation"}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()[0]["id"])


def report(person: Person | Member, target: str, kind: str = "post", reason: str = "spam") -> httpx.Response:
    return person.api.rpc("report_content", target_type=kind, target_id=target, reason=reason)


def resolve(admin: Person | Member, report_id: str, verdict: str, **more: object) -> httpx.Response:
    return admin.api.rpc("resolve_report", report_id=report_id, verdict=verdict, **more)


def test_from_report_to_decision(admin: Person, author: Person, sign_up: SignUp) -> None:
    reader = sign_up()
    post = write(author, "buy followers here")
    made = (
        reader.client.rpc(
            "report_content", {"target_type": "post", "target_id": post, "reason": "spam", "details": "look"}
        )
        .execute()
        .data
    )
    assert (made["state"], made["reason"], made["reporter_id"]) == ("open", "spam", reader.id)
    author.client.table("posts").update({"content": "harmless"}).eq("id", post).execute()
    author.client.table("posts").delete().eq("id", post).execute()

    queue = admin.client.rpc("moderation_queue", {}).execute().data
    assert [(row["target_id"], row["reports_count"]) for row in queue] == [(post, 1)]
    assert queue[0]["content"]["content"] == "buy followers here", "judged by what was reported"
    assert resolve(admin, queue[0]["report_id"], "upheld", note="Thank you.").json() == 1
    [mine] = reader.client.table("reports").select("*").execute().data
    assert (mine["state"], mine["resolution_note"]) == ("upheld", "Thank you.")
    assert admin.client.rpc("moderation_queue", {}).execute().data == []


def test_reporting_twice_at_once_is_one_report(author: Person, sign_up: SignUp, admin: Person) -> None:
    reader, post = sign_up(), write(author)
    answers = at_once([lambda: report(reader, post) for _ in range(6)])
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    resolve(admin, answers[0].json()["id"], "dismissed")


def test_one_admin_decides(author: Person, admins: list[Member], services: Services, database: Database) -> None:
    """Four admins decide the same case, through different reports of it: one is first, the others are told."""
    readers, post = enroll(services, database, 4), write(author)
    reports = [report(reader, post).json()["id"] for reader in readers]
    verdicts = ["upheld", "dismissed", "upheld", "dismissed"]
    answers = at_once(
        [lambda n=n: resolve(admins[n], reports[n], verdicts[n]) for n in range(4)]  # type: ignore[misc]
    )
    first = [n for n, answer in enumerate(answers) if answer.is_success]
    assert len(first) == 1
    assert answers[first[0]].json() == 4
    assert {code_of(answer) for n, answer in enumerate(answers) if n not in first} == {"already_resolved"}
    states = database.run("select distinct state::text, handled_by from public.reports as r join "
                          "public.report_evidence as e on e.report_id = r.id where r.target_id = %s", post)  # fmt: skip
    assert [(row["state"], str(row["handled_by"])) for row in states] == [(verdicts[first[0]], admins[first[0]].id)]
    audited = database.run("select actor_id from public.audit_log where target_id = any(%s)", reports)
    assert [str(row["actor_id"]) for row in audited] == [admins[first[0]].id]


def test_false_reports_are_counted_exactly(
    author: Person, admins: list[Member], admin: Person, sign_up: SignUp, database: Database
) -> None:
    """Three judged at the same instant end reporting for 30 days, five for good; an admin may think otherwise."""
    liar = sign_up()

    def judged_false(count: int) -> None:
        reports = [report(liar, write(author)) for _ in range(count)]
        assert [answer.status_code for answer in reports] == [200] * count
        answers = at_once(
            [lambda n=n: resolve(admins[n], reports[n].json()["id"], "false_report") for n in range(count)]  # type: ignore[misc]
        )
        assert [answer.json() for answer in answers] == [1] * count

    judged_false(3)
    tracking = liar.client.table("report_abuse_tracking").select("*, is_report_banned").execute().data[0]
    assert tracking["false_report_count"] == 3
    assert tracking["is_report_banned"]
    assert not tracking["permanent_ban"]
    days = database.value(
        "select round(extract(epoch from report_ban_until - now()) / 86400)::integer from public.report_abuse_tracking"
    )
    assert days == 30
    refused = report(liar, write(author))
    assert (refused.status_code, code_of(refused)) == (403, "report_banned")
    assert refused.json()["details"] == f"{tracking['report_ban_until'][:19]}Z"

    database.run("update public.report_abuse_tracking set report_ban_until = now() where user_id = %s", liar.id)
    judged_false(2)
    refused = report(liar, write(author))
    assert (code_of(refused), refused.json()["details"]) == ("report_banned", "permanently")

    lifted = admin.client.rpc(
        "override_report_ban", {"user_id": liar.id, "false_reports": 0, "note": "it was a misunderstanding"}
    ).execute()
    assert lifted.data["false_report_count"] == 0
    assert report(liar, write(author)).status_code == 200
    mails = database.run("select type::text from public.notifications where user_id = %s order by created_at", liar.id)
    assert {row["type"] for row in mails} >= {"report_warning", "report_ban", "report_ban_lifted"}


def test_hiding_is_at_once_for_everybody(author: Person, admin: Person, sign_up: SignUp) -> None:
    reader, post = sign_up(), write(author)
    assert len(reader.api.select("posts", id=f"eq.{post}")) == 1
    admin.client.rpc("hide_content", {"target_type": "post", "target_id": post, "reason": "advertising"}).execute()
    assert reader.api.select("posts", id=f"eq.{post}") == []
    assert code_of(report(reader, post)) == "content_not_found"
    assert author.api.one("posts", id=f"eq.{post}")["hidden_reason"] == "advertising"
    refused = author.api.http.patch("/rest/v1/posts", params={"id": f"eq.{post}"}, json={"is_hidden": False})
    assert refused.status_code == 403
    admin.client.rpc("restore_content", {"target_type": "post", "target_id": post}).execute()
    assert len(reader.api.select("posts", id=f"eq.{post}")) == 1


def test_hiding_and_restoring_at_once_ends_in_one_of_both(
    author: Person, admins: list[Member], database: Database
) -> None:
    """What the row says and what the list of hidden things says agree, whoever was last."""
    target = {"target_type": "post", "target_id": write(author)}
    calls: list[Callable[[], httpx.Response]] = []
    for admin in admins:
        calls.append(lambda admin=admin: admin.api.rpc("hide_content", reason="x", **target))  # type: ignore[misc]
        calls.append(lambda admin=admin: admin.api.rpc("restore_content", **target))  # type: ignore[misc]
    assert {answer.status_code for answer in at_once(calls)} == {204}
    [row] = database.run(
        "select p.is_hidden, exists (select from public.hidden_content as h where h.target_id = p.id) as held "
        "from public.posts as p where p.id = %s", target["target_id"],
    )  # fmt: skip
    assert row["is_hidden"] == row["held"]


def test_a_message_is_evidence(author: Person, admin: Person, sign_up: SignUp) -> None:
    """Admins read no messages; what a participant reports they do."""
    victim, stranger = sign_up(), sign_up()
    talk = author.api.rpc("start_conversation", user_ids=[victim.id]).json()["id"]
    message = author.api.http.post(
        "/rest/v1/messages",
        json={"conversation_id": talk, "content": "a threat"},
        headers={"prefer": "return=representation"},
    ).json()[0]["id"]
    assert code_of(report(stranger, message, "message", "harassment")) == "content_not_found"
    assert code_of(report(admin, message, "message", "harassment")) == "content_not_found"
    made = report(victim, message, "message", "harassment").json()
    assert admin.api.select("messages", id=f"eq.{message}") == []
    evidence = admin.api.one("report_evidence", report_id=f"eq.{made['id']}")
    assert "a threat" in str(evidence["content"])
    assert evidence["author_id"] == author.id
    assert victim.api.select("report_evidence") == []
