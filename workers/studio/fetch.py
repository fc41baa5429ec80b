"""A file from a URL, never more of it than wanted."""

import asyncio

import httpx

from workers.studio.protocol import StudioUnavailable

# A whole file; the client's own timeouts are for each step.
TOTAL_SECONDS = 120
# Answers that are about the moment, not about the file.
PASSING = {408, 425, 429}


class Gone(Exception):
    """It is not there, or not for us (any more)."""


class TooLarge(Exception):
    """It is larger than wanted."""


async def fetch(
    client: httpx.AsyncClient,
    url: str,
    limit: int,
    *,
    headers: dict[str, str] | None = None,
    gone: frozenset[int] | None = None,
) -> bytes:
    """At most `limit` bytes. Raises Gone, TooLarge, StudioUnavailable.

    gone: the statuses that say for good that there is no such file; None: every 4xx that is no passing one.
    """
    try:
        # No compression: a few bytes must not become many before they are counted.
        asked = {"accept-encoding": "identity", **(headers or {})}
        async with asyncio.timeout(TOTAL_SECONDS), client.stream("GET", url, headers=asked) as answer:
            status = answer.status_code
            if status in gone if gone is not None else 400 <= status < 500 and status not in PASSING:
                raise Gone(f"HTTP {status}")
            if status != 200 or answer.headers.get("content-encoding", "identity") != "identity":
                raise StudioUnavailable(f"HTTP {status} for a file")
            parts: list[bytes] = []
            size = 0
            async for part in answer.aiter_raw():
                size += len(part)
                if size > limit:
                    raise TooLarge(f"more than {limit} bytes")
                parts.append(part)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Gone(f"no URL: {error}") from error
    except (httpx.HTTPError, TimeoutError) as error:
        raise StudioUnavailable(f"no file: {error!r}") from error
    return b"".join(parts)
