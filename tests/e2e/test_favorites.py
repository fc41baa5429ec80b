"""Favourites: one's own business, and a count that is exact however many choose the same piece at the same instant."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from stack.services import Services
from tests.harness.market import publish_artwork, publish_product
from tests.harness.people import Api, Member, Person, SignUp, code_of, enroll
from tests.harness.server import Database

IGNORE = {"prefer": "resolution=ignore-duplicates"}


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up(username="gallery")


@pytest.fixture(scope="module")
def fan(sign_up: SignUp) -> Person:
    return sign_up(username="fan")


def favor(member: Member, item: str) -> tuple[int, str | None]:
    answer = member.api.http.post("/rest/v1/favorites", json={"item_id": item})
    return answer.status_code, code_of(answer)


def count(anon: Api, item: str) -> int:
    return int(anon.one("catalog_items", id=f"eq.{item}")["favorites_count"])


def test_a_favourite_is_ones_own_and_counted(seller: Person, fan: Person, admin: Person, anon: Api) -> None:
    item = publish_artwork(seller)
    fan.client.table("favorites").insert({"item_id": item}).execute()
    assert count(anon, item) == 1
    assert favor(fan, item) == (409, "23505")
    again = fan.api.http.post("/rest/v1/favorites", json={"item_id": item}, headers=IGNORE)
    assert again.is_success, again.text
    assert count(anon, item) == 1
    assert anon.http.get("/rest/v1/favorites").status_code == 401
    for other in (seller, admin):
        assert other.api.select("favorites") == []
    (mine,) = fan.api.select("favorites", select="created_at,item:catalog_items(title)", order="created_at.desc")
    assert mine["item"] == {"title": "Dawn"}
    # The artwork's own row leads to its count.
    artwork = anon.one("artworks", id=f"eq.{item}", select="title,catalog_items(favorites_count)")
    assert artwork["catalog_items"] == {"favorites_count": 1}
    fan.client.table("favorites").delete().eq("item_id", item).execute()
    assert count(anon, item) == 0


def test_what_leaves_the_shop_stays_a_favourite(seller: Person, fan: Person) -> None:
    item = publish_product(seller)
    assert favor(fan, item) == (201, None)
    seller.api.http.patch(f"/rest/v1/products?id=eq.{item}", json={"status": "paused"}).raise_for_status()
    row = fan.api.one("favorites", item_id=f"eq.{item}", select="item_id,item:catalog_items(title)")
    assert row == {"item_id": item, "item": None}
    assert fan.api.http.delete(f"/rest/v1/favorites?item_id=eq.{item}").status_code == 204


def test_what_cannot_be_seen_cannot_be_favoured(seller: Person, fan: Person, sign_up: SignUp) -> None:
    draft = publish_artwork(seller, status="draft")
    shop = publish_artwork(seller)
    stranger = sign_up(username="unwelcome")
    seller.api.http.post("/rest/v1/user_blocks", json={"blocked_id": stranger.id}).raise_for_status()
    for member, item in ((fan, draft), (stranger, shop), (fan, "00000000-0000-4000-8000-00000000dead")):
        assert favor(member, item) == (404, "item_not_found")
    # Neither in the shop: see also the cart and checkout.
    assert stranger.api.select("catalog_items", id=f"eq.{shop}") == []
    assert stranger.api.select("artworks", id=f"eq.{shop}") == []
    answer = stranger.api.rpc("checkout", items=[{"item_id": shop}])
    assert (answer.status_code, code_of(answer)) == (409, "item_not_available")


def test_twelve_clients_and_two_pieces(services: Services, database: Database, seller: Person, anon: Api) -> None:
    """Choosing and giving up at random, two accounts leaving meanwhile: the counts are what a recount says."""
    items = [publish_artwork(seller), publish_artwork(seller)]
    crowd = enroll(services, database, 12)
    problems: list[str] = []

    def live(n: int) -> None:
        dice = random.Random(n)
        http = crowd[n].api.http
        for step in range(12):
            item = dice.choice(items)
            if n < 2 and step == 11:
                answer = crowd[n].api.rpc("delete_my_account")
            elif dice.random() < 0.6:
                answer = http.post("/rest/v1/favorites", json={"item_id": item}, headers=IGNORE)
            else:
                answer = http.delete(f"/rest/v1/favorites?item_id=eq.{item}")
            if not answer.is_success:
                problems.append(answer.text)

    with ThreadPoolExecutor(len(crowd)) as pool:
        list(pool.map(live, range(len(crowd))))
    assert problems == []
    assert database.run("select * from private.recount()") == []
    for item in items:
        truth = database.value("select count(*) from public.favorites where item_id = %s", item)
        assert count(anon, item) == truth
