"""[rls_listing]: a shop page through PostgREST under row level security, against the same as service_role."""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

import httpx
import jwt
import psycopg

from bench.core import Request, Result, alternate, http_rate
from stack.services import Services

ITEMS = 200_000
SELLERS = 2_000
CHUNK = 2_000
PAGE = (
    "/catalog_items?select=id,title,price_cents,thumbnail_url,seller:profiles!seller_id(username,display_name)"
    "&is_listed=eq.true&order=created_at.desc,id.desc&limit=20"
)

# Artworks, because they need no uploaded file; one in ten is still a draft, so the policy has something to hide.
FILL = """
insert into auth.users (id, email)
select gen_random_uuid(), 'shop' || n || '@example.com' from generate_series(1, %s) as n;
insert into public.artworks (seller_id, title, image_url, category, price_cents, status)
select
    s.ids[1 + n %% cardinality(s.ids)], 'Artwork ' || n, 'https://images.example/' || n || '.jpg', 'digital',
    100 + n %% 100000, case when n %% 10 = 0 then 'draft' else 'published' end::public.artwork_status
from generate_series(%s::integer, %s::integer) as n
cross join (select array_agg(u.id) as ids from auth.users as u where u.email like 'shop%%') as s;
"""


def measure(services: Services, admin_url: str) -> Result:
    """Time per page is the inverse of the rate, so the ratio of times is the inverse ratio of rates."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        users, artworks = FILL.strip().split(";\n")
        connection.execute(users, (SELLERS,))
        # In steps: making slugs holds a lock per row until the commit.
        for first in range(1, ITEMS, CHUNK):
            connection.execute(artworks.rstrip(";"), (first, first + CHUNK - 1))
        connection.execute("vacuum analyze")
    answer = httpx.post(
        f"{services.url}/auth/v1/signup",
        json={"email": f"{uuid.uuid4()}@example.com", "password": "correct horse battery"},
        headers={"apikey": services.anon_key},
    )
    member = answer.raise_for_status().json()["access_token"]
    # The same claims under the other role: a token half as long is read faster, and that is not what is measured.
    claims = jwt.decode(member, services.jwt_secret, ["HS256"], audience="authenticated")
    service = jwt.encode({**claims, "role": "service_role"}, services.jwt_secret, "HS256")
    url = services.rest_url

    def request(token: str) -> Request:
        raw = (f"GET {PAGE} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n\r\n").encode()
        return lambda _: raw

    for token in (member, service):
        rows = httpx.get(f"{url}{PAGE}", headers={"Authorization": f"Bearer {token}"}).raise_for_status().json()
        assert len(rows) == 20, "both see a full page"
    value, ratio = alternate(lambda: http_rate(url, request(member)), lambda: http_rate(url, request(service)))
    return Result("rls_listing", value, "pages/s", 1 / ratio, "time of the same page as service_role", "<= 1.15")
