"""[pre_request]: the cheapest page of the Data API with check_request() before it, against the same without."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import httpx

from bench.core import Request, Result, alternate, http_rate
from stack.cluster import free_port
from stack.services import Services

# One row by its key, for anybody: nothing is asked but the row.
PAGE = "/plans?key=eq.creator_basic&select=key,name"


@contextmanager
def data_api(services: Services, **settings: str) -> Iterator[str]:
    """Another PostgREST on the same database; nothing but these settings differs. Its URL."""
    part = services._part("rest")
    port, admin_port = free_port(), free_port()
    ports = {"PGRST_SERVER_PORT": str(port), "PGRST_ADMIN_SERVER_PORT": str(admin_port)}
    # The settings of the role name the pre-request: both take theirs from here instead.
    env = {**os.environ, **part.env, **ports, "PGRST_DB_CONFIG": "false", **settings}
    process = subprocess.Popen(part.command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ready() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{admin_port}/ready").is_success
        return False

    try:
        deadline = time.monotonic() + 30
        while not ready():
            if time.monotonic() > deadline:
                raise SystemExit("PostgREST does not start")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def measure(services: Services) -> Result:
    """Time per page is the inverse of the rate, so the ratio of times is the inverse ratio of rates."""

    def request(url: str) -> Request:
        # What a browser's client sends, as the function looks at the headers.
        raw = (
            f"GET {PAGE} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAccept: */*\r\nAccept-Profile: public\r\n"
            f"apikey: {services.anon_key}\r\nAuthorization: Bearer {services.anon_key}\r\n"
            "X-Client-Info: supabase-js-web/2.45.0\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0)\r\n\r\n"
        ).encode()
        return lambda _: raw

    with (
        data_api(services, PGRST_DB_PRE_REQUEST="private.check_request") as checked,
        data_api(services) as unchecked,
    ):
        for url in (checked, unchecked):
            assert len(httpx.get(f"{url}{PAGE}").raise_for_status().json()) == 1
        refused = httpx.get(f"{checked}/reports", headers={"Prefer": "count=planned"})
        assert refused.status_code == 400, "the one checks, the other does not"
        value, ratio = alternate(
            lambda: http_rate(checked, request(checked)), lambda: http_rate(unchecked, request(unchecked)), 9
        )
    return Result("pre_request", value, "pages/s", 1 / ratio, "time of the same page without it", "<= 1.08")
