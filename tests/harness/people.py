"""People who use a running stack: they sign up through Auth and act with the token they got."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import psycopg
import supabase

from stack.services import Services
from tests.harness.server import Database
from tests.harness.waiting import until

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)
Json = Any


class Api:
    """One origin, one identity: requests as a browser would send them."""

    def __init__(self, services: Services, token: str | None = None) -> None:
        key = services.anon_key
        headers = {"apikey": key, "authorization": f"Bearer {token or key}"}
        # No keep-alive surprises after a part was restarted: a dead pooled connection is retried once.
        transport = httpx.HTTPTransport(retries=1)
        self.http = httpx.Client(base_url=services.url, headers=headers, timeout=30, transport=transport)

    def rpc(self, function: str, **arguments: Json) -> httpx.Response:
        """Call a function of schema public."""
        return self.http.post(f"/rest/v1/rpc/{function}", json=arguments)

    def select(self, relation: str, **query: str) -> list[dict[str, Json]]:
        """Rows of a relation; fails when the answer is not rows."""
        answer = self.http.get(f"/rest/v1/{relation}", params=query)
        assert answer.status_code == 200, f"select {relation}: {answer.status_code} {answer.text}"
        return answer.json()  # type: ignore[no-any-return]

    def one(self, relation: str, **query: str) -> dict[str, Json]:
        """The one row of a relation that matches."""
        rows = self.select(relation, **query)
        assert len(rows) == 1, f"{relation} {query}: {len(rows)} rows"
        return rows[0]

    def function(self, method: str, path: str, body: Json = None) -> httpx.Response:
        """Call one of the workers' functions."""
        return self.http.request(method, f"/functions/v1/{path}", json=body)


@dataclass(frozen=True)
class Member:
    """Somebody signed in, acting over plain HTTP."""

    services: Services
    id: str
    email: str
    token: str
    api: Api = field(repr=False)


@dataclass(frozen=True)
class Person(Member):
    """Somebody signed in through a client library: `client` is supabase-py's, `api` the same identity."""

    client: supabase.Client = field(repr=False)


def sign_up(services: Services, email: str | None = None, **metadata: Json) -> Person:
    """Sign up through Auth with supabase-py, as an application would. Without an e-mail one is made up."""
    # Unique in a run of several processes too: some tests share a database with an earlier sign-up.
    email = email or f"person-{os.getpid()}-{next(_numbers)}@example.com"
    client = new_client(services)
    answer = client.auth.sign_up({"email": email, "password": PASSWORD, "options": {"data": metadata}})
    assert answer.user is not None
    assert answer.session is not None
    token = answer.session.access_token
    return Person(services, answer.user.id, email, token, Api(services, token), client)


def new_client(services: Services) -> supabase.Client:
    """supabase-py as it is created from the two values every application has."""
    return supabase.create_client(services.url, services.anon_key)


SignUp = Callable[..., Person]


def enroll(services: Services, database: Database, count: int) -> list[Member]:
    """A crowd, quickly: accounts made in auth.users directly (hashing a password each would take longer than the test),
    each with a token as Auth issues it.
    """
    rows = database.run(
        "insert into auth.users (id, email) select gen_random_uuid(), 'crowd-' || gen_random_uuid() || '@example.com' "
        "from generate_series(1, %s) returning id::text, email",
        count,
    )
    members = []
    for row in rows:
        now = int(time.time())
        claims = {"sub": row["id"], "role": "authenticated", "aud": "authenticated", "exp": now + 3600}
        claims |= {"amr": [{"method": "otp", "timestamp": now}]}  # Signed in just now, by a code sent by mail.
        token = jwt.encode(claims, services.jwt_secret, algorithm="HS256")
        members.append(Member(services, row["id"], row["email"], token, Api(services, token)))
    return members


def follow_accounts(database: Database) -> None:
    """What follows bans, changes of visibility and ends of accounts, to its end: the workers' part of it, now."""

    def followed() -> bool:
        due = database.run("select user_id from private.account_changes_due(1000)")
        try:
            return all(database.value("select private.advance_account(%s)", row["user_id"]) for row in due)
        except psycopg.errors.LockNotAvailable:
            return False

    until(followed, "every account to be followed")


def lift_limits(database: Database, *user_ids: str) -> None:
    """Let these members do at once what limits spread over time: for tests that are not about limits."""
    database.run("insert into private.lifted_limits (user_id) select unnest(%s::uuid[])", list(user_ids))


def code_of(answer: httpx.Response) -> str | None:
    """The stable code of a refusal, whether PostgREST (hint) or a function (code) answered; None when it is none."""
    if answer.is_success:
        return None
    try:
        body = answer.json()
    except ValueError:
        return answer.text[:200]
    code = str(body.get("code") or "")
    # The hint is ours only with our own codes: PostgREST adds hints to its refusals.
    return (body.get("hint") if code.startswith("PT") else code) or str(body)
