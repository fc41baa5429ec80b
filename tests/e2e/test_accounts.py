"""Leaving and being shut out: deletion always works and keeps the books; a ban works while the token is still good."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from stack.services import Services
from tests.harness.market import (
    Simulator,
    assert_books,
    buy,
    drain,
    order,
    pass_time,
    publish_artwork,
    publish_product,
    run_job,
)
from tests.harness.people import PASSWORD, Api, Person, SignUp, code_of, new_client
from tests.harness.server import Database
from tests.harness.waiting import until

AVATAR = b"\x89PNG my face"


def upload_avatar(person: Person) -> str:
    path = f"{person.id}/face.png"
    person.client.storage.from_("avatars").upload(path, AVATAR, {"content-type": "image/png"})
    return path


def by_rpc(person: Person, database: Database, services: Services) -> None:
    answer = person.api.rpc("delete_my_account")
    if code_of(answer) == "balance_remains":
        remaining = json.loads(answer.json()["details"])
        answer = person.api.rpc("delete_my_account", forfeit_cents=remaining["forfeit_cents"])
    assert answer.status_code == 204, answer.text


def by_admin_api(person: Person, database: Database, services: Services) -> None:
    answer = httpx.delete(
        f"{services.url}/auth/v1/admin/users/{person.id}",
        headers={"authorization": f"Bearer {services.service_role_key}", "apikey": services.service_role_key},
    )
    assert answer.status_code == 200, answer.text


def by_sql(person: Person, database: Database, services: Services) -> None:
    database.run("delete from auth.users where id = %s", person.id)


WAYS = pytest.mark.parametrize("delete", [by_rpc, by_admin_api, by_sql])


@WAYS
def test_an_account_without_history_leaves_nothing(
    delete: Any, sign_up: SignUp, database: Database, services: Services, anon: Api
) -> None:
    person = sign_up(display_name="Short Visit")
    path = upload_avatar(person)
    publish_product(person)
    person.client.table("artist_profiles").insert({"artist_name": "Visitor"}).execute()
    person.client.table("cart_items").insert({"item_id": publish_artwork(sign_up())}).execute()
    delete(person, database, services)
    for relation in (
        "auth.users where id",
        "public.profiles where id",
        "public.wallets where user_id",
        "public.profile_settings where user_id",
        "public.subscriptions where user_id",
        "public.cart_items where user_id",
        "public.products where seller_id",
        "public.catalog_items where seller_id",
        "public.artist_profiles where user_id",
        "ledger.accounts where owner_id",
    ):
        assert database.value(f"select count(*) from {relation} = %s", person.id) == 0, relation
    until(
        lambda: database.value("select count(*) from storage.objects where name like %s", f"{person.id}/%") == 0,
        "the stored files to be erased",
    )
    assert anon.http.get(f"/storage/v1/object/public/avatars/{path}").status_code >= 400


@WAYS
def test_financial_history_survives_anonymised(
    delete: Any, sign_up: SignUp, database: Database, services: Services, simulator: Simulator, anon: Api
) -> None:
    seller, buyer = sign_up(username=None, display_name="Secret Name"), sign_up(display_name="Buyer Name")
    path = upload_avatar(seller)
    sold, unsold = publish_product(seller, 2000), publish_product(seller, 3000)
    buy(simulator, buyer, {"item_id": sold})
    drain(database, simulator)
    wallet = database.run("select * from public.wallets where user_id = %s", seller.id)
    delete(seller, database, services)

    profile = database.run("select * from public.profiles where id = %s", seller.id)[0]
    assert profile["username"].startswith("deleted-")
    assert profile["deleted_at"] is not None
    for name in ("display_name", "full_name", "bio", "avatar_url", "banner_url", "smart_link", "website_url"):
        assert profile[name] is None, name
    assert database.value("select count(*) from public.profile_settings where user_id = %s", seller.id) == 0
    # The books, the sale and the buyer's goods are still there; what nobody bought is not.
    assert database.run("select * from public.wallets where user_id = %s", seller.id) == wallet
    assert buyer.api.one("transactions", related_id=f"eq.{sold}")["seller_id"] == seller.id
    assert database.value("select count(*) from public.products where id = %s", unsold) == 0
    assert anon.select("catalog_items", seller_id=f"eq.{seller.id}") == []
    until(
        lambda: anon.http.get(f"/storage/v1/object/public/avatars/{path}").status_code >= 400,
        "the avatar to be erased",
    )
    drain(database, simulator)
    files = buyer.api.function("GET", f"downloads/{sold}")
    assert files.status_code == 200, files.text
    assert httpx.get(files.json()["files"][0]["url"]).status_code == 200
    assert_books(database, simulator)

    delete(buyer, database, services)
    assert database.value("select username::text from public.profiles where id = %s", buyer.id).startswith("deleted-")
    assert database.value("select count(*) from auth.users where id in (%s, %s)", seller.id, buyer.id) == 0
    assert_books(database, simulator)


def test_a_deleted_account_is_out_at_once(sign_up: SignUp, database: Database, simulator: Simulator) -> None:
    """The token is good for an hour more; the account behind it is not."""
    person, seller = sign_up(), sign_up()
    product = publish_product(seller)
    buy(simulator, person, product)
    assert person.api.rpc("delete_my_account").status_code == 204
    assert person.api.select("orders") == []
    assert person.api.select("wallets") == []
    refused = person.api.rpc("checkout", items=[{"item_id": publish_product(seller)}])
    assert (refused.status_code, code_of(refused)) == (401, "not_signed_in")
    assert person.api.function("GET", f"downloads/{product}").status_code == 401
    assert person.api.http.post("/rest/v1/products", json={"title": "x", "price_cents": 100}).status_code == 403
    # Nobody signs in to it any more, and the address is free again.
    with pytest.raises(Exception, match=r"(?i)invalid|credentials"):
        new_client(person.services).auth.sign_in_with_password({"email": person.email, "password": PASSWORD})
    assert sign_up(email=person.email).id != person.id


def test_open_business_does_not_hold_a_deletion_up(sign_up: SignUp, database: Database, simulator: Simulator) -> None:
    """A pending order, a reservation, a started payment, an open payout: none of them blocks."""
    seller, buyer = sign_up(), sign_up()
    artwork = publish_artwork(seller, 5000)
    ordered = order(buyer, artwork)
    buyer.api.http.post(ordered["start_url"])
    database.run("delete from auth.users where id = any(%s::uuid[])", [seller.id, buyer.id])
    assert database.value("select count(*) from auth.users where id = any(%s::uuid[])", [seller.id, buyer.id]) == 0
    assert database.audit() == []


def test_export_holds_what_is_stored(sign_up: SignUp, simulator: Simulator) -> None:
    seller, buyer = sign_up(), sign_up(display_name="Me")
    product = publish_product(seller)
    bought = buy(simulator, buyer, product)
    for unknown in ({"section": "orders", "after": {"id": 1}}, {"after": ["1"]}):
        assert code_of(buyer.api.rpc("export_my_data", **unknown)) == "section_not_found"
    exported = buyer.api.rpc("export_my_data")
    assert exported.status_code == 200, exported.text
    data = exported.json()
    assert data["account"]["email"] == buyer.email
    assert data["profile"][0]["display_name"] == "Me"
    assert [row["id"] for row in data["orders"]] == [bought["id"]]
    assert [row["item_id"] for row in data["purchases"]] == [product]
    # Of the counterparty nothing but what concerns the buyer.
    assert seller.email not in exported.text
    assert data["products"] == []


def test_a_long_copy_comes_in_pages(sign_up: SignUp, database: Database) -> None:
    """What is long is begun in the export and named; each following call gives the next rows of that section."""
    person = sign_up()
    database.run(
        "insert into public.posts (user_id, content) select %s::uuid, 'Post ' || n from generate_series(1, 2600) as n",
        person.id,
    )
    first = person.api.rpc("export_my_data").json()
    contents = [row["content"] for row in first["posts"]]
    after = first["more"]["posts"]
    for _ in range(5):
        part = person.api.rpc("export_my_data", section="posts", after=after).json()
        contents += [row["content"] for row in part["posts"]]
        if not (after := (part.get("more") or {}).get("posts")):
            break
    assert sorted(contents) == sorted(f"Post {n}" for n in range(1, 2601))


# -- bans -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def banned(sign_up: SignUp, admin: Person, simulator: Simulator, database: Database) -> dict[str, Any]:
    """Somebody who sold and bought and was then banned; their token is still good."""
    person, other = sign_up(), sign_up()
    mine, theirs = publish_product(person, 20000), publish_product(other)
    art = publish_artwork(person)
    buy(simulator, other, mine)
    buy(simulator, person, theirs)
    drain(database, simulator)
    answer = admin.api.rpc("ban_user", user_id=person.id, reason="spam")
    assert answer.status_code == 204, answer.text
    return {"person": person, "other": other, "mine": mine, "theirs": theirs, "art": art}


def test_a_ban_takes_effect_with_a_token_that_is_still_good(banned: dict[str, Any], database: Database) -> None:
    person, other = banned["person"], banned["other"]
    # Told why, and nothing else.
    assert person.api.one("bans")["reason"] == "spam"
    assert person.api.one("profiles", id=f"eq.{person.id}")["is_banned"] is True
    for relation in ("wallets", "orders", "payments", "transactions", "purchases", "cart_items", "profile_settings"):
        assert person.api.select(relation) == [], relation
    fresh = publish_product(other)
    for call in (
        person.api.rpc("checkout", items=[{"item_id": fresh}]),
        person.api.rpc("request_payout", amount_cents=5000),
        person.api.rpc("wallet_statement"),
        person.api.function("GET", f"downloads/{banned['theirs']}"),
        person.api.function(
            "POST", "payouts/onboard", {"return_url": "https://shop.example/", "refresh_url": "https://shop.example/"}
        ),
    ):
        assert (call.status_code, code_of(call)) == (403, "banned")
    for method, url, body in (
        ("POST", "/rest/v1/products", {"title": "x", "price_cents": 100}),
        ("POST", "/rest/v1/cart_items", {"item_id": fresh}),
    ):
        assert person.api.http.request(method, url, json=body).status_code == 403, url
    changed = person.api.http.patch(
        f"/rest/v1/profiles?id=eq.{person.id}", json={"bio": "x"}, headers={"prefer": "return=representation"}
    )
    assert changed.json() == [] or changed.status_code == 403
    uploaded = person.api.http.post(
        f"/storage/v1/object/avatars/{person.id}/x.png", content=AVATAR, headers={"content-type": "image/png"}
    )
    assert uploaded.status_code >= 400
    # Signing in again gives a token, not membership.
    again = new_client(person.services)
    answer = again.auth.sign_in_with_password({"email": person.email, "password": PASSWORD})
    assert answer.session
    assert again.table("wallets").select("*").execute().data == []


def test_a_bans_items_are_off_sale_and_come_back(banned: dict[str, Any], admin: Person, anon: Api) -> None:
    person, other = banned["person"], banned["other"]
    assert anon.select("catalog_items", seller_id=f"eq.{person.id}") == []
    for item in (banned["mine"], banned["art"]):
        assert code_of(other.api.rpc("checkout", items=[{"item_id": item}])) in (
            "already_owned",
            "item_not_available",
            "item_sold",
        )
    # Who bought before keeps it.
    assert other.api.function("GET", f"downloads/{banned['mine']}").status_code == 200
    assert admin.api.rpc("unban_user", user_id=person.id).status_code == 204
    assert len(anon.select("catalog_items", seller_id=f"eq.{person.id}")) == 2
    assert order(other, banned["art"])["status"] == "pending"


def test_a_banned_sellers_money_is_held_not_lost(
    banned: dict[str, Any], admin: Person, database: Database, simulator: Simulator
) -> None:
    person = banned["person"]

    def balances() -> tuple[int, int]:
        row = database.run("select * from public.wallets where user_id = %s", person.id)[0]
        return row["balance_pending_cents"], row["balance_available_cents"]

    held = balances()
    pass_time(database)
    run_job(database, "release_earnings")
    assert balances() == held
    assert admin.api.rpc("unban_user", user_id=person.id).status_code == 204
    run_job(database, "release_earnings")
    assert balances() == (0, held[0])
    assert_books(database, simulator)


def test_bans_are_the_admins_and_never_ones_own(sign_up: SignUp, admin: Person, database: Database) -> None:
    person, other = sign_up(), sign_up()
    for function, arguments in (
        ("ban_user", {"user_id": other.id, "reason": "x"}),
        ("unban_user", {"user_id": other.id}),
        ("set_role", {"user_id": person.id, "role": "admin"}),
    ):
        refused = person.api.rpc(function, **arguments)
        assert refused.status_code == 403, function
    assert code_of(admin.api.rpc("ban_user", user_id=admin.id, reason="x")) == "cannot_ban_yourself"
    boss = sign_up()
    database.run("select private.grant_role(%s, 'super_admin')", boss.id)
    assert code_of(admin.api.rpc("ban_user", user_id=boss.id, reason="coup")) == "super_admin_only"
    assert code_of(admin.api.rpc("set_role", user_id=admin.id, role="super_admin")) == "super_admin_only"
    # A banned admin is none, token or not.
    second = sign_up()
    database.run("select private.grant_role(%s, 'admin')", second.id)
    assert second.api.select("audit_log") != []
    assert boss.api.rpc("ban_user", user_id=second.id, reason="x").status_code == 204
    assert second.api.select("audit_log") == []
    assert code_of(second.api.rpc("ban_user", user_id=other.id, reason="x")) == "banned"


def test_a_ban_outlives_the_account(sign_up: SignUp, admin: Person, database: Database) -> None:
    """Deleting the account and signing up again, the address spelt otherwise, does not end a ban; lifting it does."""
    person = sign_up("returning@example.com")
    assert admin.api.rpc("ban_user", user_id=person.id, reason="Spam").is_success
    assert person.api.rpc("delete_my_account").status_code == 204
    again = sign_up("Returning+2@Example.com")
    posted = again.api.http.post("/rest/v1/posts", json={"content": "Back"})
    assert posted.status_code == 403
    assert [row["user_id"] for row in again.api.select("bans")] == [again.id]
    # Only who has the address learns of it.
    assert sign_up("another@example.com").api.http.post("/rest/v1/posts", json={"content": "Hello"}).status_code == 201
    assert "example.com" not in json.dumps(database.run("select a::text from private.banned_addresses as a"))
    assert admin.api.rpc("unban_user", user_id=again.id).is_success
    assert again.api.http.post("/rest/v1/posts", json={"content": "Back"}).status_code == 201


def test_the_owner_of_a_session_cannot_be_faked(services: Services, sign_up: SignUp) -> None:
    """A token with somebody's id but another signature, role or algorithm opens nothing."""
    import jwt

    victim = sign_up()
    claims = jwt.decode(victim.token, options={"verify_signature": False})
    for key, algorithm in (("x" * 48, "HS256"), ("", "none")):
        forged = Api(services, jwt.encode(claims, key, algorithm=algorithm))
        assert forged.http.get("/rest/v1/wallets").status_code == 401
        assert forged.function("GET", "downloads/00000000-0000-4000-8000-000000000000").status_code == 401
    # The public key alone is nobody.
    assert Api(services).http.get("/rest/v1/wallets").status_code == 401
