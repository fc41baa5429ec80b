"""Who is calling: verification of the access tokens that Supabase Auth issues.

HS256 with the project's secret and ES256/RS256 with its published keys. The algorithm decides which key may be used,
never the other way round, so a public key can not be passed off as a secret.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import jwt

from workers import logs
from workers.problems import Problem

log = logs.get(__name__)

ASYMMETRIC = ("ES256", "RS256")
LEEWAY_SECONDS = 10
# Supabase Auth's words for a sign-in.
PROOFS = {
    *("password", "otp", "magiclink", "recovery", "invite", "email/signup"),
    *("oauth", "oauth_provider/authorization_code", "sso/saml", "web3", "totp", "mfa/phone", "mfa/webauthn"),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in person. `signed_in_at` is when they last proved who they are, and `method` how; None when unknown."""

    user_id: UUID
    is_anonymous: bool
    signed_in_at: datetime | None
    method: str | None = None


def _refused(code: str, detail: str | None = None) -> Problem:
    # RFC 6750: the challenge says whether a token was missing or wrong.
    error = "" if code == "not_signed_in" else ' error="invalid_token"'
    return Problem(code, detail, headers={"www-authenticate": f"Bearer{error}"})


class KeySet:
    """The published keys of the project (JWKS), cached.

    An unknown key id fetches again, because keys rotate, but not more often than every `floor` seconds, because
    anybody can invent key ids. When the fetch fails the known keys stay in use.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        *,
        max_age: float = 600,
        floor: float = 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client = client
        self._max_age = max_age
        self._floor = floor
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The key called `kid` if it is meant for `algorithm`. Raises Problem 503 when no keys could be had at all."""
        if self._is_stale() or kid not in self._keys:
            async with self._lock:
                # Somebody else may have fetched while we waited for the lock.
                if (self._is_stale() or kid not in self._keys) and self._may_try():
                    await self._fetch()
        if self._fetched_at is None:
            raise Problem.unavailable("The keys to verify tokens with could not be fetched.")
        key = self._keys.get(kid)
        return key if key is not None and key.algorithm_name == algorithm else None

    def _is_stale(self) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at > self._max_age

    def _may_try(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= self._floor

    async def _fetch(self) -> None:
        self._tried_at = self._clock()
        try:
            response = await self._client.get(self._url)
            response.raise_for_status()
            keys = {}
            for entry in response.json()["keys"]:
                if entry.get("use", "sig") == "sig" and "kid" in entry and "d" not in entry:
                    try:
                        keys[str(entry["kid"])] = jwt.PyJWK(entry)
                    except jwt.PyJWTError as error:  # one key of a kind we do not know must not hide the others
                        log.warning("jwks key skipped", kid=entry["kid"], error=str(error))
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("jwks fetch failed", url=self._url, error=repr(error))
            return
        self._keys = keys
        self._fetched_at = self._clock()


class TokenVerifier:
    """Checks signature, expiry, audience and role of an access token."""

    def __init__(self, *, secret: str | None, keys: KeySet | None, audience: str = "authenticated") -> None:
        self._secret = secret
        self._keys = keys
        self._audience = audience

    async def verify(self, token: str) -> Caller:
        """The caller this token speaks for. Raises Problem 401 (or 503 when keys cannot be fetched)."""
        if _is_visitors(token):
            raise _refused("not_signed_in")
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(str(header.get("alg")), header.get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "sub", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise _refused("token_expired") from error
        except jwt.PyJWTError as error:
            raise _refused("token_invalid") from error
        if claims.get("role") != "authenticated":
            raise _refused("token_invalid", "It does not belong to a person.")
        try:
            user_id = UUID(claims["sub"])
        except ValueError as error:
            raise _refused("token_invalid", "It does not belong to a person.") from error
        return Caller(user_id, claims.get("is_anonymous") is True, *_proof(claims))

    async def _key(self, algorithm: str, kid: str | None) -> bytes | jwt.PyJWK:
        if algorithm == "HS256" and self._secret:
            return self._secret.encode()
        if algorithm in ASYMMETRIC and self._keys is not None and kid:
            key = await self._keys.find(kid, algorithm)
            if key is not None:
                return key
        raise jwt.InvalidKeyError("no key for this algorithm and key id")


def _is_visitors(token: str) -> bool:
    """Whether a client library sent the project's public key, as it does when nobody is signed in.

    Only the wording of the refusal follows from it, so the signature does not matter.
    """
    if token.startswith("sb_publishable_"):
        return True
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return False
    return claims.get("role") == "anon" and "sub" not in claims


def _proof(claims: dict[str, Any]) -> tuple[datetime | None, str | None]:
    # amr lists how and when a session was opened, and what was added to it. Refreshing it proves nothing, and neither
    # does a new address.
    methods = claims.get("amr")
    proofs = [
        (entry["timestamp"], entry["method"])
        for entry in (methods if isinstance(methods, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("timestamp"), int | float) and entry.get("method") in PROOFS
    ]
    if not proofs:
        return None, None
    stamp, method = max(proofs)
    return datetime.fromtimestamp(stamp, UTC), method


def bearer_token(authorization: str | None) -> str:
    """The token in an Authorization header. Raises Problem 401 when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _refused("not_signed_in")
    return token.strip()
