"""[rls_listing]: a shop page through PostgREST under row level security, against the same as service_role."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import jwt
import psycopg

from bench.core import Request, Result, alternate, http_rate
from stack.services import Services

ITEMS = 200_000
SELLERS = 2_000
CHUNK = 2_000
FILLERS = 2
PAGE = (
    "/catalog_items?select=id,title,price_cents,thumbnail_url,seller:profiles!seller_id(username,display_name)"
    "&is_listed=eq.true&order=published_at.desc,id.desc&limit=20"
)

# Artworks, because they need no uploaded file; one in ten is still a draft, so the policy has something to hide.
USERS = """
insert into auth.users (id, email, email_confirmed_at)
select gen_random_uuid(), 'shop' || n || '@example.com', now() from generate_series(1, %s) as n
"""
ARTWORKS = """
insert into public.artworks (seller_id, title, image_url, category, price_cents, status)
select
    (%s::uuid[])[1 + n %% %s], 'Artwork ' || n, 'https://images.example/' || n || '.jpg', 'digital',
    100 + n %% 100000, case when n %% 10 = 0 then 'draft' else 'published' end::public.artwork_status
from generate_series(%s::integer, %s::integer) as n
"""


def fill(admin_url: str, filler: int) -> None:
    """One of those who fill at the same time, each for sellers of their own: an item locks its seller's row."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        ids = [id for (id,) in connection.execute("select id from auth.users where email like 'shop%' order by email")]
        mine = ids[filler::FILLERS]
        # In steps: each item counts on its seller's row, whose old versions stay until the transaction is over.
        for first in range(1 + filler * CHUNK, ITEMS, FILLERS * CHUNK):
            connection.execute(ARTWORKS, (mine, len(mine), first, first + CHUNK - 1))


def measure(services: Services, admin_url: str) -> Result:
    """Time per page is the inverse of the rate, so the ratio of times is the inverse ratio of rates."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(USERS, (SELLERS,))
        with ThreadPoolExecutor(FILLERS) as fillers:
            list(fillers.map(lambda filler: fill(admin_url, filler), range(FILLERS)))
        connection.execute("vacuum analyze")
    answer = httpx.post(
        f"{services.url}/auth/v1/signup",
        json={"email": f"{uuid.uuid4()}@example.com", "password": "correct horse battery"},
        headers={"apikey": services.anon_key},
    )
    # The same claims under both roles, signed alike: how fast a token is read and verified is not what is measured.
    claims = jwt.decode(answer.raise_for_status().json()["access_token"], options={"verify_signature": False})
    member, service = (
        jwt.encode({**claims, "role": role}, services.jwt_secret, "HS256") for role in ("authenticated", "service_role")
    )
    url = services.rest_url

    def request(token: str) -> Request:
        raw = (f"GET {PAGE} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n\r\n").encode()
        return lambda _: raw

    for token in (member, service):
        rows = httpx.get(f"{url}{PAGE}", headers={"Authorization": f"Bearer {token}"}).raise_for_status().json()
        assert len(rows) == 20, "both see a full page"
    value, ratio = alternate(lambda: http_rate(url, request(member)), lambda: http_rate(url, request(service)))
    return Result("rls_listing", value, "pages/s", 1 / ratio, "time of the same page as service_role", "<= 1.15")
