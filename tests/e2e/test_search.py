"""Search, views and wish lists as clients see them: pages, counts, what a browser tells, and a link that is shared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.market import publish_artwork
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until

BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


@pytest.fixture(scope="module")
def seller(sign_up: SignUp) -> Person:
    return sign_up(username="searched-seller")


@pytest.fixture(scope="module")
def member(sign_up: SignUp) -> Person:
    return sign_up(username="searching-member")


def view(api: Api, item: str, **headers: str) -> int:
    answer = api.http.post("/rest/v1/rpc/record_view", json={"item_id": item}, headers=BROWSER | headers)
    assert answer.status_code == 200, answer.text
    return int(answer.json())


def test_pages_and_facets(seller: Person, member: Person, anon: Api) -> None:
    items = [publish_artwork(seller, 1000 + n, title=f"Lighthouse {n}", tags=["coast"]) for n in range(5)]
    for client in (anon, member.api):
        seen: list[Any] = []
        cursor = None
        while page := client.rpc(
            "search_catalog", query="lighthous", sort="price_up", max_rows=2, cursor=cursor
        ).json():
            seen += [row["id"] for row in page]
            cursor = page[-1]["cursor"]
        assert seen == items
        facets = client.rpc("catalog_facets", query="lighthouse").json()
        assert {"facet": "tag", "value": "coast", "items_count": 5, "is_capped": False} in facets
    found: Any = member.client.rpc("search_catalog", {"query": "lighthouse", "kinds": ["artwork"]}).execute().data
    assert sorted(row["id"] for row in found) == sorted(items)
    for arguments, code in (
        ({"query": "lighthouse", "cursor": cursor}, "cursor_mismatch"),
        ({"cursor": "nonsense"}, "cursor_invalid"),
        ({"tags": [str(n) for n in range(30)]}, "invalid_tags"),
        ({"kinds": ["x"] * 21}, "invalid_search"),
    ):
        answer = anon.rpc("search_catalog", **arguments)
        assert (answer.status_code, code_of(answer)) == (400, code), arguments
    assert anon.rpc("search_catalog", sort="by chance").status_code == 400


def test_who_is_blocked_finds_and_counts_nothing(seller: Person, sign_up: SignUp) -> None:
    publish_artwork(seller, title="Windmill")
    stranger = sign_up()
    seller.client.table("user_blocks").insert({"blocked_id": stranger.id}).execute()
    for function in ("search_catalog", "catalog_facets"):
        assert stranger.api.rpc(function, query="windmill").json() == [], function
        assert seller.api.rpc(function, query="windmill").json() != [], function


def test_views_are_counted_by_what_the_gateway_says(
    seller: Person, member: Person, anon: Api, database: Database
) -> None:
    item = publish_artwork(seller, title="Seen")
    # What a client says of its own address or of the time is nothing.
    for claimed in ("198.51.100.1", "198.51.100.2"):
        view(anon, item, **{"x-forwarded-for": claimed})
    view(member.api, item)
    view(member.api, item)
    view(seller.api, item)
    anon.http.post("/rest/v1/rpc/record_view", json={"item_id": item}, headers={"user-agent": "Googlebot/2.1"})
    until(lambda: anon.one("catalog_items", id=f"eq.{item}")["views_count"] == 2, "the views to be added")
    assert view(member.api, item) == 2
    (day,) = seller.api.select("item_statistics", item_id=f"eq.{item}")
    assert day["views"] == 2
    assert member.api.select("item_statistics", item_id=f"eq.{item}") == []
    extra = anon.http.post("/rest/v1/rpc/record_view", json={"item_id": item, "viewed_at": "2020-01-01"})
    assert extra.status_code == 404
    assert member.id not in str(database.run("select viewer::text as v from private.item_views"))


def test_a_wish_list_from_first_wish_to_last_reader(seller: Person, member: Person, anon: Api, sign_up: SignUp) -> None:
    item = publish_artwork(seller, 2000, title="Wished for")
    wishes: Any = member.client.table("wish_lists").insert({"name": "Home"}).execute().data[0]
    for _ in range(2):
        member.client.table("wish_list_items").upsert({"list_id": wishes["id"], "item_id": item}).execute()
    token: Any = member.client.rpc("share_wish_list", {"list_id": wishes["id"]}).execute().data
    read = anon.rpc("shared_wish_list", token=token).json()
    assert [wish["title"] for wish in read["items"]] == ["Wished for"]
    assert set(read) == {"name", "owner_name", "items"}
    seller.api.http.patch(f"/rest/v1/artworks?id=eq.{item}", json={"price_cents": 1500}).raise_for_status()
    until(lambda: member.api.select("notifications", type="eq.price_drop", related_id=f"eq.{item}"), "the notice", 60)
    stranger = sign_up()
    for api, status in ((stranger.api, 404), (seller.api, 404)):
        answer = api.rpc("unshare_wish_list", list_id=wishes["id"])
        assert (answer.status_code, code_of(answer)) == (status, "wish_list_not_found")
        answer = api.http.post("/rest/v1/wish_list_items", json={"list_id": wishes["id"], "item_id": item})
        assert code_of(answer) == "wish_list_not_found"
    assert member.api.rpc("unshare_wish_list", list_id=wishes["id"]).is_success
    assert code_of(anon.rpc("shared_wish_list", token=token)) == "wish_list_not_found"
    assert member.api.http.delete(f"/rest/v1/wish_lists?id=eq.{wishes['id']}").is_success
