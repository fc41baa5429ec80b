"""What an operator asks before traffic comes: which project do these settings reach, and is anything missing?"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from workers.services import Services
from workers.settings import Settings
from workers.storage import key_headers


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: where, what is wrong with it (empty: nothing)."""

    what: str
    where: str
    problem: str


def project_of(url: str) -> str | None:
    """The hosted project an address belongs to; None for any other installation."""
    parts = urlsplit(url)
    host = re.fullmatch(r"(?:db\.)?([a-z0-9]{20})\.supabase\.co", parts.hostname or "")
    pooled = re.fullmatch(r"[^.]+\.([a-z0-9]{20})", parts.username or "")
    found = host or pooled
    return found[1] if found else None


async def check(services: Services) -> list[Finding]:
    """Try everything a worker needs. Raises DatabaseUnavailable."""
    settings = services.settings
    database = settings.database_url.get_secret_value()
    parts = urlsplit(database)
    lacking = [*(f"{name} is not set." for name in settings.missing(serving=True)), *await services.db.missing()]
    projects = [project_of(database), project_of(settings.supabase_url)]
    if projects[0] != projects[1]:
        lacking.append(f"It is project {projects[0]}, but AVENUE_SUPABASE_URL is project {projects[1]}.")
    where = f"{parts.username} at {parts.hostname}:{parts.port or 5432}{parts.path}"
    found = [Finding("database", where, " ".join(lacking))]
    async with httpx.AsyncClient(timeout=10) as client:
        found += [await _supabase(client, settings, path) for path in ("/storage/v1/bucket", "/rest/v1/app_settings")]
        if settings.jwks_url:
            keys, problem = await _get(client, settings.jwks_url)
            empty = isinstance(keys, dict) and not keys.get("keys") and not settings.jwt_secret
            found.append(Finding("signing keys", settings.jwks_url, problem or ("There is no key." if empty else "")))
        if settings.workers_url:
            url = f"{settings.workers_url}/functions/v1/openapi.json"
            found.append(Finding("workers", settings.workers_url, (await _get(client, url))[1]))
    return found


async def _supabase(client: httpx.AsyncClient, settings: Settings, path: str) -> Finding:
    key = settings.secret_key.get_secret_value() if settings.secret_key else ""
    answer, problem = await _get(client, settings.supabase_url + path, key_headers(key))
    if not problem and path.endswith("app_settings"):
        published = answer[0]["workers_url"] if answer else None
        if published != settings.workers_url:
            problem = f"It names {published} as the workers' address, not {settings.workers_url}: start `avenue serve`."
    return Finding(path.split("/")[1], settings.supabase_url, problem)


async def _get(client: httpx.AsyncClient, url: str, headers: dict[str, str] | None = None) -> tuple[Any, str]:
    """The JSON at an address, and what went wrong."""
    try:
        answer = await client.get(url, headers=headers)
        if answer.is_success:
            return answer.json(), ""
        return None, f"{answer.status_code}: {answer.text[:200]}"
    except (httpx.HTTPError, ValueError) as error:
        return None, repr(error)
