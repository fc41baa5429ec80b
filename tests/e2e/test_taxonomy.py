"""Skills, genres and categories: lists, what people choose of them, and requests that members agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import httpx
import pytest

from stack.services import Services
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database

T = TypeVar("T")


@pytest.fixture(scope="module")
def crowd(services: Services, database: Database) -> list[Member]:
    return enroll(services, database, 24)


def at_once(jobs: Iterable[T], act: Callable[[T], Any]) -> list[Any]:
    """All of them at the same time: every thread is started before the first may go."""
    jobs = list(jobs)
    gate = Barrier(len(jobs))

    def go(job: T) -> Any:
        gate.wait(30)
        return act(job)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(go, jobs))


def ask(person: Member, value: str, field_type: str = "skill", **more: Any) -> httpx.Response:
    return person.api.rpc("request_custom_field", field_type=field_type, field_value=value, **more)


def request_of(database: Database, value: str) -> dict[str, Any]:
    rows = database.run(
        "select id::text, status::text, request_count, field_value, field_id::text "
        "from public.custom_field_requests where normal_value = private.normal_form(%s)",
        value,
    )
    assert len(rows) == 1, rows
    return dict(rows[0])


def test_lists_are_embeddable(anon: Api) -> None:
    categories = anon.select("categories", select="slug,skills(name,slug)", order="sort_order")
    assert len(categories) == 8
    assert all(len(category["skills"]) >= 10 for category in categories)
    assert sum(len(category["skills"]) for category in categories) >= 100
    house = anon.one("genres", slug="eq.deep-house", select="name,parent:parent_genre_id(name)")
    assert house == {"name": "Deep House", "parent": {"name": "House"}}
    assert len(anon.select("genres", select="slug", limit="1000")) >= 50


def test_profiles_with_skills(sign_up: SignUp, anon: Api, admin: Person) -> None:
    owner = sign_up(username="taxonomist")
    ids = {row["slug"]: row["id"] for row in anon.select("skills", slug="in.(mixing,piano,vjing)")}
    category = anon.one("categories", slug="eq.musician")["id"]
    genre = anon.one("genres", slug="eq.house")["id"]
    owner.client.table("user_skills").insert([{"skill_id": ids["mixing"]}, {"skill_id": ids["vjing"]}]).execute()
    owner.client.table("user_skills").upsert(
        [{"skill_id": ids["mixing"]}, {"skill_id": ids["piano"]}], ignore_duplicates=True
    ).execute()
    owner.client.table("user_categories").insert({"category_id": category}).execute()
    owner.client.table("user_genres").insert({"genre_id": genre}).execute()

    def seen(by: Api) -> Any:
        query = "username,skills(name),genres(name),categories(name)"
        rows = by.select("profiles", username="eq.taxonomist", select=query, **{"skills.order": "name"})
        return rows[0] if rows else None

    assert seen(anon) == {
        "username": "taxonomist",
        "skills": [{"name": "Mixing"}, {"name": "Piano"}, {"name": "VJing"}],
        "genres": [{"name": "House"}],
        "categories": [{"name": "Musician"}],
    }
    # Who does it: the other direction.
    found = anon.select("skills", slug="eq.piano", select="profiles(username)")
    assert found == [{"profiles": [{"username": "taxonomist"}]}]
    found = anon.select("profiles", select="username,skills!inner(slug)", **{"skills.slug": "eq.vjing"})
    assert [row["username"] for row in found] == ["taxonomist"]

    # What an admin withdraws is gone from profiles too, and cannot be chosen.
    changed = admin.api.http.patch(f"/rest/v1/skills?id=eq.{ids['vjing']}", json={"is_active": False})
    assert changed.status_code == 204
    assert seen(anon)["skills"] == [{"name": "Mixing"}, {"name": "Piano"}]
    other = sign_up()
    answer = other.api.http.post("/rest/v1/user_skills", json={"skill_id": ids["vjing"]})
    assert (answer.status_code, code_of(answer)) == (409, "choice_not_available")
    assert len(admin.api.select("skills", slug="eq.vjing")) == 1
    assert other.api.http.patch(f"/rest/v1/skills?id=eq.{ids['mixing']}", json={"name": "Hacked"}).status_code == 204
    assert anon.one("skills", slug="eq.mixing")["name"] == "Mixing"

    # As private as the profile: rows, embeds and counts.
    owner.api.rpc("set_profile_visibility", visibility="private")
    for stranger in (anon, other.api):
        assert seen(stranger) is None
        assert stranger.select("skills", slug="eq.piano", select="profiles(username)") == [{"profiles": []}]
        for table in ("user_skills", "user_genres", "user_categories"):
            counted = stranger.http.head(f"/rest/v1/{table}?user_id=eq.{owner.id}", headers={"prefer": "count=exact"})
            assert counted.headers["content-range"] == "*/0"
    assert seen(owner.api)["genres"] == [{"name": "House"}]


def test_nobody_exceeds_the_limit_in_parallel(crowd: list[Member], anon: Api, database: Database) -> None:
    person = crowd[0]
    ids = [row["id"] for row in anon.select("skills", select="id", limit="64")]
    chunks = [ids[start : start + 16] for start in range(0, 64, 16)]
    answers = at_once(
        chunks,
        lambda chunk: person.api.http.post("/rest/v1/user_skills", json=[{"skill_id": skill} for skill in chunk]),
    )
    assert Counter(code_of(answer) for answer in answers) == {None: 3, "too_many_choices": 1}
    assert database.value("select count(*) from public.user_skills where user_id = %s", person.id) == 48


@pytest.mark.parametrize("attempt", range(5))
def test_three_ask_at_the_same_instant(crowd: list[Member], anon: Api, database: Database, attempt: int) -> None:
    """One request, count 3, one skill, three notifications."""
    name = "Tamburica" if attempt == 0 else f"Tamburica {'ABCDE'[attempt]}"
    askers = crowd[attempt * 3 : attempt * 3 + 3]
    category = anon.one("categories", slug="eq.musician")["id"]
    spellings = [name, f" {name.lower()} ", name.upper()]
    answers = at_once(zip(askers, spellings, strict=True), lambda job: ask(job[0], job[1], category_id=category))
    assert [answer.status_code for answer in answers] == [200] * 3, [answer.text for answer in answers]
    assert Counter(answer.json()["status"] for answer in answers) == {"pending": 2, "auto_approved": 1}
    request = request_of(database, name)
    skill = anon.one("skills", select="id,name,category_id", name=f"ilike.{name}")
    assert skill["category_id"] == category
    assert skill["name"] == name
    assert (request["status"], request["request_count"], request["field_id"]) == ("auto_approved", 3, skill["id"])
    told = database.run(
        "select user_id::text as person, type::text from public.notifications where related_id = %s", request["id"]
    )
    assert sorted((row["person"], row["type"]) for row in told) == sorted(
        (person.id, "field_approved") for person in askers
    )
    assert code_of(ask(crowd[23], name)) == "custom_field_exists"
    # It can be chosen at once.
    chosen = crowd[23].api.http.post("/rest/v1/user_skills", json={"skill_id": skill["id"]})
    assert chosen.status_code == 201


def test_the_same_person_counts_once(crowd: list[Member], database: Database) -> None:
    spellings = ["Gusle", "gusle ", "GUSLE", "Gu\u200bsle", "\uff27usle"]
    answers = at_once(spellings, lambda spelling: ask(crowd[20], spelling))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert {answer.json()["request_count"] for answer in answers} == {1}
    request = request_of(database, "gusle")
    assert (request["status"], request["request_count"], request["field_value"]) == ("pending", 1, "Gusle")


def test_a_rush_makes_one_genre(crowd: list[Member], anon: Api, database: Database) -> None:
    """Twenty at once where five are enough: five agree, the others are told it exists."""
    answers = at_once(crowd[:20], lambda person: ask(person, "Turbo-Folk", "genre"))
    assert Counter(code_of(answer) for answer in answers) == {None: 5, "custom_field_exists": 15}
    assert len(anon.select("genres", name="eq.Turbo-Folk")) == 1
    request = request_of(database, "turbo folk")
    assert (request["status"], request["request_count"]) == ("auto_approved", 5)
    assert database.value("select count(*) from public.notifications where related_id = %s", request["id"]) == 5


def test_requests_are_private(crowd: list[Member], anon: Api, admin: Person) -> None:
    first, second, stranger = crowd[:3]
    for person in (first, second):
        assert ask(person, "Musical Saw").status_code == 200
    own = first.api.one(
        "custom_field_requests", normal_value="eq.musical saw", select="*,custom_field_requesters(user_id)"
    )
    assert own["request_count"] == 2
    assert own["custom_field_requesters"] == [{"user_id": first.id}]
    assert stranger.api.select("custom_field_requests", normal_value="eq.musical saw") == []
    assert anon.http.get("/rest/v1/custom_field_requests").status_code == 401
    seen = admin.api.one(
        "custom_field_requests", normal_value="eq.musical saw", select="custom_field_requesters(user_id)"
    )
    assert len(seen["custom_field_requesters"]) == 2


def test_admins_decide_once(crowd: list[Member], admin: Person, anon: Api, database: Database) -> None:
    asker, other = crowd[4], crowd[5]
    request = ask(asker, "Dancer", "category").json()["id"]
    answer = asker.api.rpc("approve_custom_field", request_id=request)
    assert (answer.status_code, code_of(answer)) == (403, "admin_only")
    answers = at_once(range(4), lambda _: admin.api.rpc("approve_custom_field", request_id=request))
    assert Counter(code_of(answer) for answer in answers) == {None: 1, "custom_field_decided": 3}
    assert anon.one("categories", slug="eq.dancer")["name"] == "Dancer"

    request = ask(asker, "Air Guitar").json()["id"]
    answer = admin.api.rpc("reject_custom_field", request_id=request, reason="Not an instrument.")
    assert answer.json()["status"] == "rejected"
    assert asker.api.one("custom_field_requests", id=f"eq.{request}")["rejection_reason"] == "Not an instrument."
    again = ask(other, " air guitar")
    assert (again.status_code, code_of(again)) == (409, "custom_field_rejected")
    assert again.json()["details"] == "Not an instrument."
    types = database.run(
        "select type::text from public.notifications where user_id = %s and related_id = %s", asker.id, request
    )
    assert [row["type"] for row in types] == ["field_rejected"]
    assert database.value("select count(*) from public.audit_log where target_id = %s", request) == 1


def test_approval_and_the_last_request_at_the_same_instant(
    crowd: list[Member], admin: Person, anon: Api, database: Database
) -> None:
    """An admin approves while the third member asks: one decision, one skill."""
    for name in ("Instrument A", "Instrument B", "Instrument C", "Instrument D"):
        request = ask(crowd[6], name).json()["id"]
        ask(crowd[7], name)
        calls = [
            (crowd[8], "request_custom_field", {"field_type": "skill", "field_value": name}),
            (admin, "approve_custom_field", {"request_id": request}),
        ]
        codes = [code_of(answer) for answer in at_once(calls, lambda call: call[0].api.rpc(call[1], **call[2]))]
        assert codes in ([None, "custom_field_decided"], ["custom_field_exists", None]), codes
        assert len(anon.select("skills", name=f"ilike.{name}")) == 1
        assert request_of(database, name)["status"] in ("auto_approved", "approved")


def test_a_banned_member_asks_and_chooses_nothing(
    services: Services, database: Database, admin: Person, anon: Api
) -> None:
    (person,) = enroll(services, database, 1)
    assert admin.api.rpc("ban_user", user_id=person.id, reason="spam").is_success
    assert code_of(ask(person, "Kazoo")) == "banned"
    skill = anon.one("skills", slug="eq.mixing")["id"]
    assert person.api.http.post("/rest/v1/user_skills", json={"skill_id": skill}).status_code == 403
