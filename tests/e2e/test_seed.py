"""`make seed` fills a stack with something to look at, and a second time changes nothing."""

from __future__ import annotations

from stack.seed import PASSWORD, seed
from stack.services import Services
from tests.harness.people import Api, new_client


def test_sample_data_is_there_once(services: Services, anon: Api) -> None:
    people = seed(services)
    shop = anon.select("catalog_items", select="title,kind", is_listed="eq.true", order="title")
    posts = anon.select("posts", select="content,likes_count", order="content")
    assert {item["kind"] for item in shop} == {"product", "artwork"}
    assert posts
    assert seed(services) == people
    assert anon.select("catalog_items", select="title,kind", is_listed="eq.true", order="title") == shop
    assert anon.select("posts", select="content,likes_count", order="content") == posts
    buyer = new_client(services)
    buyer.auth.sign_in_with_password({"email": "lena@example.com", "password": PASSWORD})
    assert [row["status"] for row in buyer.table("orders").select("status").execute().data] == ["completed"] * 2
    # 130.00 for two packs of 50.00 each, less a job of five photos.
    assert buyer.rpc("credit_balance").execute().data["available_cents"] == 13000 - 2500
    (job,) = buyer.table("photo_jobs").select("*").execute().data
    assert (job["status"], job["photo_count"], job["cost_cents"], job["group_name"]) == (
        *("completed", 5, 2500),
        "Sample Project",
    )
