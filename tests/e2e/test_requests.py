"""What is looked at before every request of the Data API: estimated counts, writing without a token, size."""

from __future__ import annotations

import httpx
import jwt
import pytest

from stack.services import Services
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database

PUBLIC = ("catalog_items", "categories", "fee_schedules", "genres", "plans", "skills")


@pytest.fixture(scope="module")
def person(sign_up: SignUp) -> Person:
    return sign_up()


def relations(database: Database) -> list[str]:
    """Everything the Data API shows a member."""
    rows = database.run(
        "select c.relname as name from pg_class as c where c.relnamespace = 'public'::regnamespace "
        "and c.relkind in ('r', 'p', 'v') and has_any_column_privilege('authenticated', c.oid, 'select') order by 1"
    )
    return [row["name"] for row in rows]


def test_estimates_are_answered_where_no_row_is_somebodys(person: Person, anon: Api, database: Database) -> None:
    for name in relations(database):
        for who in (person.api, anon):
            for count in ("planned", "estimated"):
                answer = who.http.get(f"/rest/v1/{name}", params={"limit": "1"}, headers={"prefer": f"count={count}"})
                if name in PUBLIC:
                    assert answer.status_code in (200, 206), f"{name}: {answer.text}"
                    assert "/" in answer.headers["content-range"], name
                else:
                    assert code_of(answer) == "count_not_available", f"{name}: {answer.status_code} {answer.text}"
    exact = person.api.http.get("/rest/v1/posts", headers={"prefer": "count=exact"})
    assert exact.is_success, exact.text


@pytest.mark.parametrize(
    "headers",
    [
        [("Prefer", "count=planned")],
        [("PREFER", "return=representation, count=estimated")],
        [("Prefer", "count=planned"), ("Prefer", "return=minimal")],
        [("Prefer", "return=minimal"), ("prefer", "count=planned")],
        [("Prefer", "tx=commit,count=planned;q=1")],
    ],
)
def test_however_an_estimate_is_asked_for(person: Person, headers: list[tuple[str, str]]) -> None:
    body = {"bio": "x"}
    me = f"/rest/v1/profiles?id=eq.{person.id}"
    for method, url, sent in (
        ("GET", "/rest/v1/reports", None),
        ("PATCH", me, body),
        ("DELETE", "/rest/v1/favorites?item_id=is.null", None),
        ("POST", "/rest/v1/rpc/feed", {}),
        ("GET", "/rest/v1/rpc/feed", None),
        ("GET", "/rest/v1//reports", None),
        ("GET", "/rest/v1/%72eports", None),
    ):
        answer = person.api.http.request(method, url, json=sent, headers=headers)
        assert code_of(answer) == "count_not_available" or answer.status_code == 404, f"{method} {url}: {answer.text}"
        assert "content-range" not in answer.headers
    # No body, but no estimate either.
    asked = person.api.http.head("/rest/v1/reports", headers=headers)
    assert asked.status_code == 400
    assert "content-range" not in asked.headers


def test_an_estimate_tells_nothing_through_what_is_embedded(person: Person) -> None:
    """The estimate of a join would be about the rows of a person."""
    for name, inner in (
        ("categories", "user_categories"),
        ("catalog_items", "order_items"),
        ("plans", "subscriptions"),
    ):
        answer = person.api.http.get(
            f"/rest/v1/{name}", params={"select": f"*,{inner}!inner(*)"}, headers={"prefer": "count=planned"}
        )
        assert answer.status_code in (401, 403), f"{name}: {answer.text}"
        assert "content-range" not in answer.headers
    page = person.api.http.get(
        "/rest/v1/catalog_items",
        params={"select": "id,title,seller:profiles!seller_id(username)", "is_listed": "eq.true"},
        headers={"prefer": "count=estimated"},
    )
    assert page.is_success, page.text


def test_the_operators_key_is_not_looked_at(services: Services) -> None:
    http = Api(services, services.service_role_key).http
    assert http.get("/rest/v1/orders", headers={"prefer": "count=planned"}).is_success


def test_writing_needs_a_token(anon: Api) -> None:
    for method, url in (
        ("POST", "/rest/v1/posts"),
        ("PATCH", "/rest/v1/profiles?handle=eq.x"),
        ("DELETE", "/rest/v1/favorites?item_id=is.null"),
        ("POST", "/rest/v1/rpc/checkout"),
        ("POST", "/rest/v1/rpc/feed"),
        ("POST", "/rest/v1/rpc/delete_my_account"),
    ):
        answer = anon.http.request(method, url, json={} if method != "DELETE" else None)
        assert (answer.status_code, code_of(answer)) == (401, "not_signed_in"), f"{method} {url}: {answer.text}"
    # What everybody may call goes on, and what does not exist does not ask for a token.
    assert anon.rpc("search_profiles", query="nobody").status_code == 200
    assert anon.rpc("no_such_function").status_code == 404


def test_large_bodies_are_refused(person: Person, services: Services) -> None:
    body = {"content": "x" * 1_900_000}
    answer = person.api.http.post("/rest/v1/posts", json=body)
    assert answer.status_code == 413, answer.text
    direct = httpx.post(
        f"{services.rest_url}/posts", json=body, headers={"authorization": f"Bearer {person.token}"}, timeout=30
    )
    assert (direct.status_code, code_of(direct)) == (413, "body_too_large")


def test_an_anonymous_session_is_no_member(services: Services, person: Person) -> None:
    """The same account, but a token of Auth's anonymous sign-in."""
    claims = jwt.decode(person.token, options={"verify_signature": False}) | {"is_anonymous": True}
    guest = Api(services, jwt.encode(claims, services.jwt_secret, algorithm="HS256"))
    for answer in (guest.rpc("feed"), guest.rpc("checkout", items=[]), guest.rpc("inbox")):
        assert (answer.status_code, code_of(answer)) == (403, "account_required"), answer.text
    assert guest.http.post("/rest/v1/posts", json={"content": "Hello"}).status_code == 403
    assert guest.select("wallets") == []
    assert guest.select("orders") == []
    changed = guest.http.patch(
        f"/rest/v1/profiles?id=eq.{person.id}", json={"bio": "x"}, headers={"prefer": "return=representation"}
    )
    assert changed.status_code in (200, 403)
    assert changed.json() == [] or changed.status_code == 403


@pytest.mark.parametrize(("role", "timeout"), [("anon", "3s"), ("authenticated", "8s")])
def test_what_a_request_may_hold_up(database: Database, role: str, timeout: str) -> None:
    settings = database.run("select unnest(setconfig) as s from pg_db_role_setting where setrole = %s::regrole", role)
    assert {row["s"] for row in settings} >= {
        "lock_timeout=2s",
        "idle_in_transaction_session_timeout=10s",
        f"statement_timeout={timeout}",
    }
