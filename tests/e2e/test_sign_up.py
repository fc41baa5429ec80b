"""Whatever a sign-up brings along, it succeeds, and gives exactly what everybody gets."""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest

from stack.services import Services
from tests.harness.people import PASSWORD, SignUp, new_client
from tests.harness.server import Database
from tests.harness.waiting import until

VALID = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
PROVISIONED = ("profiles", "profile_settings", "subscriptions", "wallets")

# What sign-ups bring along, and the username a good wish ends as (None: any valid one).
METADATA: dict[str, tuple[dict[str, Any], str | None]] = {
    "a plain wish": ({"username": "plain_wish", "display_name": "Plain Wish"}, "plain_wish"),
    "letter case is kept": ({"username": "CamelCase"}, "CamelCase"),
    "emoji only": ({"username": "🎧🔥", "display_name": "🎧🔥"}, None),
    "emoji around letters": ({"username": "🎧 dj ✨"}, "dj"),
    "300 characters": ({"username": "x" * 300, "display_name": "y" * 300}, None),
    "the first of a name": ({"username": "twin"}, "twin"),
    "the same name again": ({"username": "twin"}, None),
    "the same name in capitals": ({"username": "TWIN"}, None),
    "no metadata": ({}, None),
    "an empty name": ({"username": "   "}, None),
    "a reserved name": ({"username": "admin"}, None),
    "a reserved name in capitals": ({"username": "Support"}, None),
    "a deleted name": ({"username": "deleted-1234"}, None),
    "two characters": ({"username": "ab"}, None),
    "a number": ({"username": 42}, None),
    "an object": ({"username": {"first": "x"}, "display_name": ["y"]}, None),
    "another script": ({"username": "Ελλάδα"}, None),
    "markup": ({"username": "<script>alert(1)</script>", "avatar_url": "javascript:alert(1)"}, None),
    "accents": ({"username": "Zoë Ångström"}, "zoe-angstrom"),
    "claims to be admin": ({"username": "claims-admin", "role": "admin", "is_admin": True}, "claims-admin"),
    "claims a paid tier": (
        {
            "tier": "ultimate",
            "plan_key": "creator_ultimate",
            "subscription": {"plan_key": "creator_ultimate"},
            "is_partner_account": True,
            "balance_available_cents": 100000,
            "is_verified": True,
            "app_metadata": {"role": "service_role"},
        },
        None,
    ),
}
SHORT_WISHES = {"dj"}  # too short by itself: gets a suffix


def with_supabase_py(services: Services, people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    outcomes = []
    for person in people:
        client = new_client(services)
        credentials: Any = {**person, "password": PASSWORD, "options": {"data": person["data"]}}
        answer = client.auth.sign_up(credentials)
        assert answer.user
        assert answer.session
        rows = {
            relation: client.table(relation)
            .select("*")
            .eq("id" if relation == "profiles" else "user_id", answer.user.id)
            .execute()
            .data
            for relation in PROVISIONED
        }
        outcomes.append({"id": answer.user.id, "token": answer.session.access_token, **rows})
    return outcomes


def with_supabase_js(services: Services, people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    given = json.dumps({"url": services.url, "key": services.anon_key, "people": people})
    script = Path(__file__).with_name("sign_up.mjs")
    done = subprocess.run(["node", str(script)], input=given, text=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=[with_supabase_py, with_supabase_js], ids=["supabase-py", "supabase-js"])
def joined(request: pytest.FixtureRequest, services: Services) -> dict[str, dict[str, Any]]:
    """Everybody in METADATA, signed up by one client library; by case, what they then have."""
    library = request.param.__name__
    # The second library finds the names of the first one taken; its wishes carry a mark of their own.
    mark = "" if library == "with_supabase_py" else "2"
    people = []
    for number, (data, _) in enumerate(METADATA.values()):
        wish = data.get("username")
        marked = {**data, "username": wish + mark} if isinstance(wish, str) and VALID.fullmatch(wish) else data
        people.append({"email": f"{library}-{number}@example.com", "data": marked})
    return dict(zip(METADATA, request.param(services, people), strict=True))


@pytest.mark.parametrize("case", METADATA)
def test_sign_up_succeeds_with_a_valid_username(joined: dict[str, dict[str, Any]], case: str) -> None:
    outcome = joined[case]
    assert "error" not in outcome
    username = outcome["profiles"][0]["username"]
    assert VALID.fullmatch(username)
    assert 3 <= len(username) <= 30
    wish = METADATA[case][1]
    if wish and wish not in SHORT_WISHES and "accents" not in case:
        assert username.removesuffix("2") == wish
    elif wish:
        assert username.startswith(wish)


@pytest.mark.parametrize("case", METADATA)
def test_sign_up_gives_what_everybody_gets(joined: dict[str, dict[str, Any]], case: str) -> None:
    outcome = joined[case]
    assert [len(outcome[relation]) for relation in PROVISIONED] == [1, 1, 1, 1]
    profile, wallet = outcome["profiles"][0], outcome["wallets"][0]
    subscription = outcome["subscriptions"][0]
    assert (profile["role"], profile["is_partner_account"], profile["is_banned"]) == ("member", False, False)
    assert (subscription["plan_key"], subscription["status"]) == ("creator_basic", "active")
    assert (wallet["balance_available_cents"], wallet["balance_pending_cents"], wallet["debt_cents"]) == (0, 0, 0)
    assert wallet["payouts_enabled"] is False
    assert profile["avatar_url"] is None
    assert len(profile["display_name"] or "") <= 80
    claims = jwt.decode(outcome["token"], options={"verify_signature": False})
    assert claims["role"] == "authenticated"
    assert "role" not in claims["app_metadata"]


def test_usernames_are_unique_whatever_their_case(joined: dict[str, dict[str, Any]]) -> None:
    names = [outcome["profiles"][0]["username"].lower() for outcome in joined.values()]
    assert len(set(names)) == len(METADATA)


def test_thirty_at_once_with_one_name(services: Services, sign_up: SignUp, database: Database) -> None:
    with ThreadPoolExecutor(10) as pool:
        people = list(pool.map(lambda _: sign_up(username="everyone-wants-this").id, range(30)))
    rows = database.run("select username::text from public.profiles where id = any(%s::uuid[])", people)
    names = {row["username"].lower() for row in rows}
    assert len(names) == 30
    assert "everyone-wants-this" in names
    assert all(VALID.fullmatch(name) and len(name) <= 30 for name in names)


def test_provisioning_is_one_transaction_with_the_account(
    services: Services, sign_up: SignUp, database: Database
) -> None:
    """A sign-up that cannot be provisioned leaves no half account behind."""
    database.run(
        "create function public.refuse() returns trigger language plpgsql as $$ begin raise 'no wallets today'; end $$"
    )
    database.run("create trigger refuse before insert on public.wallets for each row execute function public.refuse()")
    try:
        with pytest.raises(Exception, match=r"(?i)error|database|unexpected"):
            sign_up(email="half@example.com")
        assert database.value("select count(*) from auth.users where email = 'half@example.com'") == 0
        assert database.value("select count(*) from public.profiles where username::text like 'half%'") == 0
    finally:
        database.run("drop function public.refuse() cascade")
    assert sign_up(email="half@example.com").id


def test_a_second_sign_up_with_one_email_changes_nothing(sign_up: SignUp, database: Database) -> None:
    first = sign_up(email="once@example.com", username="once")
    before = database.run("select * from public.profiles where id = %s", first.id)
    with pytest.raises(Exception, match=r"(?i)already|registered|exists"):
        sign_up(email="once@example.com", username="other")
    assert database.run("select * from public.profiles where id = %s", first.id) == before
    assert database.value("select count(*) from auth.users where email = 'once@example.com'") == 1


def test_a_forgotten_password_is_set_anew_by_mail(services: Services, sign_up: SignUp) -> None:
    """Auth's own mails end in the stack's outbox; the code in one opens a session that may set a password."""
    person = sign_up()
    client = new_client(services)
    client.auth.reset_password_for_email(person.email)

    def mail() -> str | None:
        texts = [file.read_text() for file in sorted(services.outbox.glob("*.eml"))]
        return next((text for text in texts if f"X-Envelope-To: {person.email}" in text), None)

    token_hash = re.search(r"token(?:_hash)?=(?:3D)?([\w-]+)", until(mail, "the mail").replace("=\n", ""))
    assert token_hash
    client.auth.verify_otp({"type": "recovery", "token_hash": token_hash[1]})
    client.auth.update_user({"password": "another horse battery"})
    again = new_client(services).auth.sign_in_with_password(
        {"email": person.email, "password": "another horse battery"}
    )
    assert again.user is not None
    assert again.user.id == person.id


def test_a_sign_up_can_be_confirmed_by_mail(
    services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With AVENUE_CONFIRM_EMAIL=1 the local Auth asks for a confirmation, as a hosted project does."""
    monkeypatch.setenv("AVENUE_CONFIRM_EMAIL", "1")
    services.restart("auth")
    try:
        client = new_client(services)
        signed_up = client.auth.sign_up({"email": "unconfirmed@example.com", "password": PASSWORD})
        assert signed_up.session is None

        def mail() -> str | None:
            texts = [file.read_text() for file in sorted(services.outbox.glob("*.eml"))]
            return next((text for text in texts if "X-Envelope-To: unconfirmed@example.com" in text), None)

        token_hash = re.search(r"token(?:_hash)?=(?:3D)?([\w-]+)", until(mail, "the mail").replace("=\n", ""))
        assert token_hash
        confirmed = client.auth.verify_otp({"type": "signup", "token_hash": token_hash[1]})
        assert confirmed.session is not None
        assert database.value(
            "select email_confirmed_at is not null from auth.users where email = 'unconfirmed@example.com'"
        )
    finally:
        monkeypatch.delenv("AVENUE_CONFIRM_EMAIL")
        services.restart("auth")
