"""Profiles: who reads them, what their owner may write, and what comes out of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.people import Api, Person, SignUp, code_of


@pytest.fixture(scope="module")
def owner(sign_up: SignUp) -> Person:
    return sign_up(username="profile-owner", display_name="Owner")


@pytest.fixture(scope="module")
def stranger(sign_up: SignUp) -> Person:
    return sign_up(username="profile-stranger")


def change(person: Person, **values: Any) -> Any:
    """PATCH one's own profile."""
    return person.api.http.patch(
        f"/rest/v1/profiles?id=eq.{person.id}", json=values, headers={"prefer": "return=representation"}
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("rolink.me/dj", "https://rolink.me/dj"),
        ("https://rolink.me/dj", "https://rolink.me/dj"),
        ("http://www.rolink.me/dj?x=1", "http://www.rolink.me/dj?x=1"),
        ("  rolink.me/dj  ", "https://rolink.me/dj"),
        ("", None),
        (None, None),
    ],
)
def test_smart_link_is_completed(owner: Person, given: str | None, kept: str | None) -> None:
    answer = change(owner, smart_link=given)
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["smart_link"] == kept


@pytest.mark.parametrize(
    "given",
    [
        "https://example.com/dj",
        "https://rolink.me.evil.example/dj",
        "https://evil.example/rolink.me/",
        "https://rolink.me@evil.example/",
        "javascript://rolink.me/%0aalert(1)",
        "rolink.me",
        'https://rolink.me/"><script>',
    ],
)
def test_other_smart_links_are_refused_with_a_clear_error(owner: Person, given: str) -> None:
    change(owner, smart_link="rolink.me/mine")
    answer = change(owner, smart_link=given)
    assert (answer.status_code, code_of(answer)) == (400, "invalid_smart_link")
    assert owner.api.one("profiles", id=f"eq.{owner.id}")["smart_link"] == "https://rolink.me/mine"


@pytest.mark.parametrize(
    ("username", "status", "code"),
    [
        ("ab", 400, "username_invalid"),
        ("x" * 31, 400, "username_invalid"),
        ("no spaces", 400, "username_invalid"),
        ("🎧🔥🎧", 400, "username_invalid"),
        ("-dash", 400, "username_invalid"),
        ("admin", 409, "username_reserved"),
        ("ADMIN", 409, "username_reserved"),
        ("deleted-123", 409, "username_reserved"),
        ("profile-stranger", 409, "username_taken"),
        ("PROFILE-Stranger", 409, "username_taken"),
    ],
)
def test_bad_usernames_are_refused(owner: Person, stranger: Person, username: str, status: int, code: str) -> None:
    answer = change(owner, username=username)
    assert (answer.status_code, code_of(answer)) == (status, code)


def test_a_username_can_change_and_change_case(owner: Person) -> None:
    for name in ("renamed_owner", "Renamed_Owner", "profile-owner"):
        answer = change(owner, username=name)
        assert answer.status_code == 200, answer.text
        assert answer.json()[0]["username"] == name


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "ftp://x.example/", "https://x y/"])
def test_addresses_are_http_only(owner: Person, address: str) -> None:
    answer = change(owner, avatar_url=address)
    assert answer.status_code == 400
    assert owner.api.one("profiles", id=f"eq.{owner.id}")["avatar_url"] is None


@pytest.mark.parametrize(
    ("visibility", "seen_by_anon", "seen_by_stranger"),
    [("public", 1, 1), ("members_only", 0, 1), ("private", 0, 0)],
)
def test_visibility(
    owner: Person, stranger: Person, admin: Person, anon: Api, visibility: str, seen_by_anon: int, seen_by_stranger: int
) -> None:
    assert owner.api.rpc("set_profile_visibility", visibility=visibility).status_code == 200
    query = {"id": f"eq.{owner.id}"}
    seen = [len(who.select("profiles", **query)) for who in (anon, stranger.api, owner.api, admin.api)]
    assert seen == [seen_by_anon, seen_by_stranger, 1, 1]
    assert owner.api.rpc("set_profile_visibility", visibility="public").status_code == 200


def test_nobody_changes_another_profile(owner: Person, stranger: Person, anon: Api) -> None:
    before = owner.api.one("profiles", id=f"eq.{owner.id}")
    for api in (stranger.api, anon):
        answer = api.http.patch(
            f"/rest/v1/profiles?id=eq.{owner.id}", json={"bio": "mine now"}, headers={"prefer": "return=representation"}
        )
        assert answer.status_code in (401, 403) or answer.json() == []
    assert owner.api.one("profiles", id=f"eq.{owner.id}") == before


def test_settings_are_for_their_owner_alone(owner: Person, stranger: Person, admin: Person, anon: Api) -> None:
    query = f"/rest/v1/profile_settings?user_id=eq.{owner.id}"
    answer = owner.api.http.patch(
        query,
        json={"phone": "+49 30 1234567", "theme": "dark", "marketing_consent": True},
        headers={"prefer": "return=representation"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["marketing_consent_at"] is not None
    assert stranger.api.select("profile_settings", user_id=f"eq.{owner.id}") == []
    assert admin.api.select("profile_settings", user_id=f"eq.{owner.id}") == []
    assert anon.http.get(query).status_code == 401


def test_supabase_py_reads_and_writes_a_profile(owner: Person) -> None:
    changed = owner.client.table("profiles").update({"bio": "hello"}).eq("id", owner.id).execute().data
    assert changed[0]["bio"] == "hello"
    embedded = owner.client.table("subscriptions").select("plan_key, profile:profiles(bio), plan:plans(name)").execute()
    assert embedded.data[0]["profile"] == {"bio": "hello"}
