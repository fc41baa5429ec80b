"""Supabase Storage with the secret key: signed links and erasure.

Not storage3: it sends expiresIn as text, decodes percent signs in paths, and cannot name downloads one by one.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote, urlencode

import httpx

# A large file on a slow line.
TRANSFER_SECONDS = 120
# What is in memory of a file that passes through.
PIECE_BYTES = 256 * 1024
# Few enough for one call to end within the timeout on a busy server; Storage itself deletes 500 at once.
REMOVE_BATCH = 100
# What a path may hold as it is (RFC 3986); not every server decodes these when they come encoded.
PATH_SAFE = "/:@!$&'()*+,;="


class TooLarge(Exception):
    """An object is larger than the caller takes."""


class StorageUnavailable(Exception):
    """Storage did not answer, or not as it should; try again."""


def key_headers(secret_key: str) -> dict[str, str]:
    """How a server shows its key. A legacy service_role key is a token, too; a secret key as a token is refused."""
    headers = {"apikey": secret_key}
    return headers if secret_key.startswith("sb_") else {**headers, "authorization": f"Bearer {secret_key}"}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object, and the name people know it by: it is downloaded under that, without one it is shown."""

    bucket: str
    path: str
    name: str = ""


class Storage:
    """Storage as the service role. `public_url` is the base that signed links get."""

    def __init__(self, supabase_url: str, secret_key: str, public_url: str) -> None:
        self._public_url = public_url
        self._client = httpx.AsyncClient(
            base_url=f"{supabase_url}/storage/v1",
            headers=key_headers(secret_key),
            timeout=httpx.Timeout(15, connect=5),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def sign(self, file: StoredFile, seconds: int) -> str | None:
        """A link that downloads the file under its name and works for `seconds`; None when the object is missing."""
        path = f"/object/sign/{quote(file.bucket)}/{quote(file.path, safe=PATH_SAFE)}"
        try:
            answer = await self._request("POST", path, {"expiresIn": seconds})
        except FileNotFoundError:
            return None
        # Hosted Storage says signedURL (relative to /storage/v1), others signedUrl with it; both carry the token.
        signed = str(answer.get("signedURL") or answer.get("signedUrl") or "")
        token = httpx.URL(signed).params.get("token") if signed else None
        if not token:
            raise StorageUnavailable("no token in the answer")
        query = urlencode({"token": token, "download": file.name} if file.name else {"token": token})
        return f"{self._public_url}/storage/v1{path}?{query}"

    def public_address(self, bucket: str, path: str) -> str:
        """Where everybody reads an object of a public bucket."""
        return f"{self._public_url}/storage/v1/object/public/{quote(bucket)}/{quote(path, safe=PATH_SAFE)}"

    async def download(self, bucket: str, path: str, limit: int) -> bytes | None:
        """An object of at most `limit` bytes, None when it is missing. Raises TooLarge."""
        address = f"/object/{quote(bucket)}/{quote(path, safe=PATH_SAFE)}"
        data = bytearray()
        try:
            async with self._client.stream("GET", address, timeout=TRANSFER_SECONDS) as response:
                if response.is_error:
                    await response.aread()
                    if _is_missing(response):
                        return None
                response.raise_for_status()
                # As it is sent, whatever the announced length: the limit is on memory.
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > limit:
                        raise TooLarge(f"{bucket}/{path}")
        except httpx.HTTPError as error:
            raise StorageUnavailable(f"GET {address}: {error!r}") from error
        return bytes(data)

    async def upload(
        self, bucket: str, path: str, data: bytes, content_type: str, cache_seconds: int, *, replace: bool = False
    ) -> None:
        """Store an object; with `replace` also where there is one."""
        address = f"/object/{quote(bucket)}/{quote(path, safe=PATH_SAFE)}"
        headers = {
            "content-type": content_type,
            "cache-control": f"max-age={cache_seconds}",
            "x-upsert": str(replace).lower(),
        }
        try:
            response = await self._client.post(address, content=data, headers=headers, timeout=TRANSFER_SECONDS)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise StorageUnavailable(f"POST {address}: {error!r}") from error

    async def stream(self, bucket: str, path: str) -> AsyncIterator[bytes]:
        """An object piece by piece, however large."""
        address = f"/object/{quote(bucket)}/{quote(path, safe=PATH_SAFE)}"
        try:
            async with self._client.stream("GET", address, timeout=TRANSFER_SECONDS) as response:
                response.raise_for_status()
                async for piece in response.aiter_bytes(PIECE_BYTES):
                    yield piece
        except httpx.HTTPError as error:
            raise StorageUnavailable(f"GET {address}: {error!r}") from error

    async def upload_file(self, bucket: str, path: str, file: IO[bytes], size: int, content_type: str) -> None:
        """Store a file of `size` bytes, from its beginning, however large; where there is one it is replaced."""
        address = f"/object/{quote(bucket)}/{quote(path, safe=PATH_SAFE)}"
        # With its length: many servers keep what comes in chunks of unknown number in memory.
        headers = {"content-type": content_type, "content-length": str(size), "x-upsert": "true"}
        file.seek(0)

        async def pieces() -> AsyncIterator[bytes]:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece

        try:
            response = await self._client.post(address, content=pieces(), headers=headers, timeout=TRANSFER_SECONDS)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise StorageUnavailable(f"POST {address}: {error!r}") from error

    async def remove(self, bucket: str, paths: list[str]) -> None:
        """Delete objects; ones already gone are no error."""
        for start in range(0, len(paths), REMOVE_BATCH):
            await self._request("DELETE", f"/object/{quote(bucket)}", {"prefixes": paths[start : start + REMOVE_BATCH]})

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            response = await self._client.request(method, path, json=body)
            if _is_missing(response):
                raise FileNotFoundError(path)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise StorageUnavailable(f"{method} {path}: {error!r}") from error


def _is_missing(response: httpx.Response) -> bool:
    # Hosted Storage says 400 with the real status in the body.
    if response.status_code == 404:
        return True
    return response.status_code == 400 and '"404"' in response.text
