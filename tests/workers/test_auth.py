"""Access tokens: real keys, a real key server, and the ways people try to get past."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from workers.http.auth import Caller, KeySet, TokenVerifier, bearer_token
from workers.problems import Problem

SECRET = "super-secret-jwt-token-with-at-least-32-characters"
USER = uuid.uuid4()
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    full = {
        "iss": "https://project.supabase.co/auth/v1",
        "sub": str(USER),
        "aud": "authenticated",
        "role": "authenticated",
        "iat": now,
        "exp": now + 3600,
        "is_anonymous": False,
        "amr": [{"method": "password", "timestamp": now - 60}],
        **changes,
    }
    return {name: value for name, value in full.items() if value is not None}


class KeyServer:
    """Publishes keys over HTTP and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.requests = 0
        self.broken = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                body = json.dumps({"keys": outer.keys}).encode()
                self.send_response(500 if outer.broken else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/auth/v1/.well-known/jwks.json"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def publish(self, kid: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        if isinstance(key, rsa.RSAPrivateKey):
            entry = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "alg": "RS256"}
        else:
            entry = {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "alg": "ES256"}
        self.keys.append({**entry, "kid": kid, "use": "sig", "key_ops": ["verify"]})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    server.publish("ec-1", EC_KEY)
    server.publish("rsa-1", RSA_KEY)
    yield server
    server.close()


@asynccontextmanager
async def verifier(server: KeyServer, clock: Clock | None = None) -> AsyncIterator[TokenVerifier]:
    async with httpx.AsyncClient() as client:
        keys = KeySet(server.url, client, clock=clock or Clock())
        yield TokenVerifier(secret=SECRET, keys=keys)


def verify(server: KeyServer, token: str) -> Caller:
    async def run() -> Caller:
        async with verifier(server) as v:
            return await v.verify(token)

    return asyncio.run(run())


def refusal(server: KeyServer, token: str) -> Problem:
    with pytest.raises(Problem) as caught:
        verify(server, token)
    assert caught.value.known.status == 401
    assert caught.value.headers["www-authenticate"].startswith("Bearer")
    return caught.value


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(SECRET, "HS256", None), (EC_KEY, "ES256", "ec-1"), (RSA_KEY, "RS256", "rsa-1")],
    ids=["HS256", "ES256", "RS256"],
)
def test_each_way_of_signing_is_accepted(key_server: KeyServer, key: Any, algorithm: str, kid: str | None) -> None:
    token = jwt.encode(claims(), key, algorithm, headers={"kid": kid} if kid else None)
    caller = verify(key_server, token)
    assert caller.user_id == USER
    assert not caller.is_anonymous
    assert caller.signed_in_at is not None
    assert abs(caller.signed_in_at.timestamp() - (time.time() - 60)) < 5


@pytest.mark.parametrize(
    "key",
    [
        "sb_publishable_abc",
        jwt.encode({"iss": "supabase", "role": "anon", "exp": int(time.time()) + 600}, SECRET, "HS256"),
        # Where sessions are signed with ES256 only, the legacy key cannot be checked: a visitor all the same.
        jwt.encode({"iss": "supabase", "role": "anon", "exp": int(time.time()) + 600}, "z" * 40, "HS256"),
    ],
    ids=["publishable", "anon", "anon of another secret"],
)
def test_the_public_key_is_a_visitor(key_server: KeyServer, key: str) -> None:
    """Client libraries send it as the token while nobody is signed in."""
    assert refusal(key_server, key).code == "not_signed_in"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "somebody-else"},
        {"aud": None},
        {"role": "service_role"},
        {"role": "anon"},
        {"role": None},
        {"sub": None},
        {"sub": "not-a-uuid"},
        {"exp": None},
        pytest.param({"nbf": int(time.time()) + 3600}, id="not yet"),
    ],
    ids=str,
)
def test_tokens_that_do_not_speak_for_a_person_are_refused(key_server: KeyServer, changes: dict[str, Any]) -> None:
    token = jwt.encode(claims(**changes), SECRET, "HS256")
    assert refusal(key_server, token).code == "token_invalid"


def test_expired_is_told_apart_so_that_clients_refresh(key_server: KeyServer) -> None:
    token = jwt.encode(claims(exp=int(time.time()) - 60), SECRET, "HS256")
    assert refusal(key_server, token).code == "token_expired"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_unsigned_is_refused(key_server: KeyServer, algorithm: str) -> None:
    assert refusal(key_server, f"{encoded({'alg': algorithm, 'typ': 'JWT'})}.{encoded(claims())}.").code


@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["ec", "rsa"])
def test_a_public_key_is_no_secret(key_server: KeyServer, key: Any) -> None:
    """The classic: sign with HS256, using the published key's text as the secret."""
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for kid in ("ec-1", "rsa-1", None):
        header = {"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
        text = f"{encoded(header)}.{encoded(claims())}"
        signature = hmac.new(pem, text.encode(), hashlib.sha256).digest()
        assert refusal(key_server, f"{text}.{encoded(signature)}").code == "token_invalid"


def test_a_key_is_only_used_with_its_own_algorithm(key_server: KeyServer) -> None:
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "ec-1"})
    assert refusal(key_server, token).code == "token_invalid"
    token = jwt.encode(claims(), RSA_KEY, "PS256", headers={"kid": "rsa-1"})
    assert refusal(key_server, token).code == "token_invalid"


def test_signed_with_another_key(key_server: KeyServer) -> None:
    assert refusal(key_server, jwt.encode(claims(), "x" * 40, "HS256")).code == "token_invalid"
    token = jwt.encode(claims(), OTHER_EC_KEY, "ES256", headers={"kid": "ec-1"})
    assert refusal(key_server, token).code == "token_invalid"
    token = jwt.encode(claims(), EC_KEY, "ES256")
    assert refusal(key_server, token).code == "token_invalid"


@pytest.mark.parametrize("token", ["x", "a.b.c", "....", "é.é.é", "." * 3])
def test_rubbish_is_refused(key_server: KeyServer, token: str) -> None:
    assert refusal(key_server, token).code == "token_invalid"


def test_changed_claims_are_refused(key_server: KeyServer) -> None:
    head, _, signature = jwt.encode(claims(), SECRET, "HS256").split(".")
    token = f"{head}.{encoded(claims(sub=str(uuid.uuid4())))}.{signature}"
    assert refusal(key_server, token).code == "token_invalid"


def test_the_newest_proof_of_identity_counts(key_server: KeyServer) -> None:
    now = int(time.time())
    methods = [{"method": "password", "timestamp": now - 900}, {"method": "totp", "timestamp": now - 30}]
    caller = verify(key_server, jwt.encode(claims(amr=methods), SECRET, "HS256"))
    assert caller.signed_in_at is not None
    assert int(caller.signed_in_at.timestamp()) == now - 30


@pytest.mark.parametrize("amr", [None, [], ["pwd"], [{"method": "password"}], "pwd"])
def test_without_a_time_the_sign_in_is_not_fresh(key_server: KeyServer, amr: Any) -> None:
    assert verify(key_server, jwt.encode(claims(amr=amr), SECRET, "HS256")).signed_in_at is None


def test_anonymous_sessions_are_marked(key_server: KeyServer) -> None:
    assert verify(key_server, jwt.encode(claims(is_anonymous=True), SECRET, "HS256")).is_anonymous


def test_keys_are_fetched_once_and_again_for_an_unknown_one(key_server: KeyServer) -> None:
    async def run() -> None:
        clock = Clock()
        async with verifier(key_server, clock) as v:
            first = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "ec-1"})
            await asyncio.gather(*(v.verify(first) for _ in range(20)))
            assert key_server.requests == 1

            # Anybody can invent key ids: that must not make us hammer Auth.
            for _ in range(20):
                with pytest.raises(Problem):
                    await v.verify(jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": uuid.uuid4().hex}))
            assert key_server.requests == 1

            key_server.publish("ec-2", OTHER_EC_KEY)
            clock.now += 31
            second = jwt.encode(claims(), OTHER_EC_KEY, "ES256", headers={"kid": "ec-2"})
            assert (await v.verify(second)).user_id == USER
            assert key_server.requests == 2

    asyncio.run(run())


def test_withdrawn_keys_stop_working(key_server: KeyServer) -> None:
    async def run() -> None:
        clock = Clock()
        async with verifier(key_server, clock) as v:
            token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "ec-1"})
            await v.verify(token)
            key_server.keys = [key for key in key_server.keys if key["kid"] != "ec-1"]
            clock.now += 601
            with pytest.raises(Problem):
                await v.verify(token)

    asyncio.run(run())


def test_an_outage_of_the_key_server(key_server: KeyServer) -> None:
    async def run() -> None:
        clock = Clock()
        token = jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "ec-1"})
        async with verifier(key_server, clock) as v:
            key_server.broken = True
            with pytest.raises(Problem) as caught:
                await v.verify(token)
            assert caught.value.known.status == 503
            assert "retry-after" in caught.value.headers
            # Tokens signed with the secret do not depend on it.
            assert (await v.verify(jwt.encode(claims(), SECRET, "HS256"))).user_id == USER

            key_server.broken = False
            clock.now += 31
            await v.verify(token)
            key_server.broken = True
            clock.now += 3600
            assert (await v.verify(token)).user_id == USER

    asyncio.run(run())


def test_only_what_is_configured_is_accepted(key_server: KeyServer) -> None:
    async def run() -> None:
        v = TokenVerifier(secret=None, keys=None)
        for token in (
            jwt.encode(claims(), SECRET, "HS256"),
            jwt.encode(claims(), EC_KEY, "ES256", headers={"kid": "ec-1"}),
        ):
            with pytest.raises(Problem):
                await v.verify(token)

    asyncio.run(run())


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "token"])
def test_no_token(header: str | None) -> None:
    with pytest.raises(Problem) as caught:
        bearer_token(header)
    assert caught.value.code == "not_signed_in"


def test_the_scheme_is_not_case_sensitive() -> None:
    assert bearer_token("bearer abc") == "abc"
