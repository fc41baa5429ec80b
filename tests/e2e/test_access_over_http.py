"""Who may do what, asked of the running Data API with real tokens and real rows.

EXPECTED is the whole answer; it is compared with what really happens, relation by relation and function by function. A
relation or function that is not in it fails the tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest

from stack.services import Services
from tests.harness.market import Simulator, buy, drain, publish_artwork, publish_product
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until

# owner: whose row it is. counterparty: sold to and bought from the owner. banned: owner of such rows too, since banned,
# asking for the own row. stranger: signed up claiming to be an admin. anon: only the public key.
ROLES = ("anon", "stranger", "owner", "counterparty", "banned", "admin")


@dataclass(frozen=True)
class Rules:
    """Who reads a row, which of its columns its owner updates, what members insert, who deletes it. Nobody else may."""

    read: str = ""
    update: str = ""
    insert: str = ""
    delete: str = ""


EVERYBODY = "anon stranger owner counterparty banned admin"
SHOP_WINDOW = "anon stranger owner counterparty admin"
BOTH_SIDES = "owner counterparty admin"

_PRODUCT = (
    "title slug description thumbnail_url preview_images preview_audio_url preview_video_url price_cents "
    "allow_name_your_price minimum_price_cents technical_details license_type license_text category_id tags genre_tags "
    "status is_featured"
)
_ARTWORK = (
    "title slug description image_url thumbnail_url price_cents original_price_cents category tags dimensions "
    "file_size_bytes status is_featured is_for_sale"
)
_ARTIST = "artist_name genre banner_image_url website social_links hourly_rate_cents"
_PROFILE = (
    "username display_name full_name bio avatar_url banner_url smart_link website_url experience_level "
    "profile_visibility"
)

EXPECTED = {
    # identity
    "profiles": Rules(EVERYBODY, update=_PROFILE),
    "profile_settings": Rules("owner", update="theme language notification_preferences phone marketing_consent"),
    "artist_profiles": Rules(EVERYBODY, update=_ARTIST, insert=_ARTIST, delete="owner"),
    "bans": Rules("banned admin"),
    "categories": Rules(EVERYBODY),
    # billing
    "plans": Rules(EVERYBODY),
    "subscriptions": Rules("owner admin"),
    # catalog
    "catalog_items": Rules(SHOP_WINDOW),
    "products": Rules(SHOP_WINDOW, update=_PRODUCT, insert=f"{_PRODUCT} product_type", delete="owner"),
    "product_approvals": Rules("owner admin"),
    "product_files": Rules(BOTH_SIDES, update="name position", insert="product_id path name position", delete="owner"),
    "artworks": Rules(SHOP_WINDOW, update=_ARTWORK, insert=_ARTWORK, delete="owner"),
    # commerce
    "cart_items": Rules(
        "owner",
        update="item_id quantity offered_price_cents",
        insert="item_id quantity offered_price_cents",
        delete="owner",
    ),
    "orders": Rules("owner admin"),
    "order_items": Rules(BOTH_SIDES),
    "purchases": Rules("owner admin"),
    # money
    "wallets": Rules("owner admin"),
    "fee_schedules": Rules(EVERYBODY),
    "payments": Rules("owner admin"),
    "transactions": Rules(BOTH_SIDES),
    "refunds": Rules(BOTH_SIDES),
    "refund_lines": Rules(BOTH_SIDES),
    "payouts": Rules("owner admin"),
    # admin
    "audit_log": Rules("admin"),
}

# The row a person has of each relation (for those that belong to nobody: any row), and the one to try deleting.
ROWS = {
    "profiles": "id = %(me)s",
    "bans": "user_id = %(banned)s",
    "audit_log": "target_id = %(banned)s",
    "categories": "true",
    "plans": "true",
    "fee_schedules": "true",
    "catalog_items": "seller_id = %(me)s and kind = 'product' and purchases_count = 1",
    "products": "id in (select id from public.catalog_items where seller_id = %(me)s and purchases_count = 1)",
    "product_approvals": "product_id in (select id from public.products where seller_id = %(me)s)",
    "product_files": "product_id in (select product_id from public.product_approvals) and path like %(me)s || '/%%'",
    "artworks": "seller_id = %(me)s",
    "order_items": "buyer_id = %(me)s",
    "purchases": "buyer_id = %(me)s",
    "transactions": "buyer_id = %(me)s",
    "refunds": "payment_id in (select id from public.payments where user_id = %(me)s)",
    "refund_lines": "transaction_id in (select id from public.transactions where buyer_id = %(me)s)",
}
DISPOSABLE = {
    "products": "id in (select id from public.catalog_items where seller_id = %(me)s and purchases_count = 0)"
}


def settle_in(person: Person, other: Person, admin: Person, simulator: Simulator) -> None:
    """Give somebody a row of every kind: they sell to and buy from `other`."""
    sold = publish_product(person, 2000, files=("one.wav", "two.wav"))
    publish_product(person, 2000, title="Unsold")
    publish_artwork(person)
    person.client.table("artist_profiles").insert({"artist_name": "Artist"}).execute()
    assert admin.api.rpc("review_product", product_id=sold, approved=True, notes="fine").is_success
    buy(simulator, other, sold)
    bought = publish_product(other, 3000)
    buy(simulator, person, bought)
    line = other.api.one("transactions", related_id=f"eq.{bought}")["order_item_id"]
    made = other.api.rpc("refund_order_item", order_item_id=line, amount_cents=100)
    assert made.status_code == 200, made.text
    person.client.table("cart_items").insert({"item_id": publish_product(other, 1000)}).execute()
    urls = {"return_url": "https://shop.example/a", "refresh_url": "https://shop.example/b"}
    simulator.onboard(person.api.function("POST", "payouts/onboard", urls).json()["url"])
    until(lambda: person.api.one("wallets")["payouts_enabled"], "the account to be enabled")
    gift = {"user_id": person.id, "amount_cents": 6000, "reason": "test", "idempotency_key": person.id}
    assert admin.api.rpc("adjust_wallet", **gift).status_code == 200
    assert person.api.rpc("request_payout", amount_cents=5000).status_code == 200
    until(lambda: other.api.select("refund_lines"), "the refund to be booked")


@dataclass(frozen=True)
class World:
    """Everybody, and the rows that are theirs."""

    people: dict[str, Person]
    apis: dict[str, Api]
    database: Database
    keys: dict[str, list[str]] = field(default_factory=dict)

    def row(self, relation: str, role: str, conditions: dict[str, str] = ROWS) -> dict[str, Any]:
        """The row somebody in this role asks for: the owner's; the banned person's own."""
        me = self.people["banned" if role == "banned" else "owner"].id
        condition = conditions.get(relation, "user_id = %(me)s")
        with self.database.connect() as connection:
            found = connection.execute(
                f"select to_jsonb(t) from public.{relation} as t where {condition} order by 1 limit 1".encode(),
                {"me": me, "banned": self.people["banned"].id},
            ).fetchone()
        assert found, f"nobody has a row of {relation}: nothing would be tested"
        return found[0]  # type: ignore[no-any-return]

    def address(self, relation: str, row: dict[str, Any]) -> str:
        """The URL of exactly this row."""
        filters = httpx.QueryParams({key: f"eq.{row[key]}" for key in self.keys[relation]})
        return f"/rest/v1/{relation}?{filters}"

    def exists(self, relation: str, row: dict[str, Any]) -> bool:
        keys = self.keys[relation]
        where = " and ".join(f"to_jsonb(t.{key}) #>> '{{}}' = %s" for key in keys)
        query = f"select exists (select from public.{relation} as t where {where})"
        return bool(self.database.value(query, *(str(row[key]) for key in keys)))

    def contents(self, relation: str) -> list[str]:
        """All rows, without when they were touched."""
        rows = self.database.run(f"select to_jsonb(t) - 'updated_at' as row from public.{relation} as t")
        return sorted(json.dumps(row["row"], sort_keys=True) for row in rows)


@pytest.fixture(scope="module")
def world(sign_up: SignUp, admin: Person, services: Services, simulator: Simulator, database: Database) -> World:
    owner, counterparty, banned = (sign_up(username=name) for name in ("the-owner", "counterparty", "banned"))
    stranger = sign_up(username="stranger", role="admin", is_admin=True, app_metadata={"role": "admin"})
    simulator.add_balance(50000)
    database.run("update private.settings set payout_approval_above_cents = 1")  # payouts stay open
    for person in (owner, banned):
        settle_in(person, counterparty, admin, simulator)
    drain(database, simulator)
    assert admin.api.rpc("ban_user", user_id=banned.id, reason="probe").status_code == 204
    people = {
        "stranger": stranger,
        "owner": owner,
        "counterparty": counterparty,
        "banned": banned,
        "admin": admin,
    }
    keys: dict[str, list[str]] = {}
    for row in database.run(
        "select i.indrelid::regclass::text as relation, a.attname from pg_index as i join pg_attribute as a "
        "on a.attrelid = i.indrelid and a.attnum = any(i.indkey) where i.indisprimary "
        "and i.indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)"
    ):
        keys.setdefault(row["relation"].removeprefix("public."), []).append(row["attname"])
    apis = {"anon": Api(services)} | {role: person.api for role, person in people.items()}
    return World(people, apis, database, keys)


def relations(database: Database) -> set[str]:
    """Every table, view and foreign table a client could be offered."""
    rows = database.run(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r','p','v','m','f')"
    )
    return {row["relname"] for row in rows}


def test_every_relation_has_its_expectation(database: Database) -> None:
    assert relations(database) == set(EXPECTED)


@pytest.mark.parametrize("relation", EXPECTED)
def test_who_reads(world: World, relation: str) -> None:
    seen = [role for role in ROLES if _sees(world, relation, role)]
    assert " ".join(seen) == " ".join(role for role in ROLES if role in EXPECTED[relation].read.split())


def _sees(world: World, relation: str, role: str) -> bool:
    answer = world.apis[role].http.get(world.address(relation, world.row(relation, role)))
    assert answer.status_code in (200, 401, 403), answer.text
    return answer.status_code == 200 and len(answer.json()) == 1


@pytest.mark.parametrize("relation", EXPECTED)
def test_who_updates_which_columns(world: World, relation: str) -> None:
    """Each column is set to the value it has: allowed or not does not depend on the value, and nothing breaks."""
    before = world.contents(relation)
    written: dict[str, set[str]] = {}
    for role in ROLES:
        row = world.row(relation, role)
        for column, value in row.items():
            answer = world.apis[role].http.patch(
                world.address(relation, row), json={column: value}, headers={"prefer": "return=representation"}
            )
            assert answer.status_code in (200, 400, 401, 403), f"{role} {column}: {answer.status_code} {answer.text}"
            if answer.status_code == 200 and answer.json():
                written.setdefault(role, set()).add(column)
    allowed = set(EXPECTED[relation].update.split())
    assert written == ({"owner": allowed} if allowed else {})
    assert world.contents(relation) == before


@pytest.mark.parametrize("relation", EXPECTED)
def test_which_columns_an_insert_may_name(world: World, relation: str) -> None:
    """A column without the right to insert it is refused before anything else is looked at."""
    row, before = world.row(relation, "owner"), world.contents(relation)
    refused: dict[str, set[str]] = {}
    for role in ("anon", "stranger", "admin"):
        for column, value in row.items():
            answer = world.apis[role].http.post(f"/rest/v1/{relation}", json={column: value})
            body = {"code": "inserted"} if answer.is_success else answer.json()
            if body["code"] == "42501" and body["message"].startswith("permission denied"):
                refused.setdefault(role, set()).add(column)
    allowed = set(EXPECTED[relation].insert.split())
    everything = set(row)
    generated = set(_generated(world.database, relation))
    assert refused["anon"] | generated == everything
    assert refused.get("stranger", set()) | generated == (everything - allowed) | generated
    assert refused.get("admin", set()) | generated == (everything - allowed) | generated
    assert not allowed & generated
    # Where one column is enough for a row there is one now.
    owner_column = "seller_id" if "seller_id" in row else "user_id"
    if allowed and owner_column in row:
        mine = [world.people[role].id for role in ("stranger", "admin")]
        world.database.run(f"delete from public.{relation} where {owner_column} = any(%s::uuid[])", mine)
    assert world.contents(relation) == before


def _generated(database: Database, relation: str) -> list[str]:
    """Columns nobody can write, whatever the rights: PostgreSQL says so before it looks at rights."""
    rows = database.run(
        "select attname from pg_attribute where attrelid = %s::regclass and (attgenerated <> '' or attidentity = 'a')",
        f"public.{relation}",
    )
    return [row["attname"] for row in rows]


@pytest.mark.parametrize("relation", EXPECTED)
def test_nobody_inserts_a_whole_row_of_somebody_else(world: World, relation: str) -> None:
    before = world.contents(relation)
    for role in ROLES:
        row = dict(world.row(relation, "owner"))
        for key in world.keys[relation]:
            if key == "id" and isinstance(row[key], str):
                row[key] = str(uuid4())
        answer = world.apis[role].http.post(
            f"/rest/v1/{relation}", json=row, headers={"prefer": "resolution=merge-duplicates"}
        )
        assert answer.status_code in (400, 401, 403), f"{role}: {answer.status_code} {answer.text}"
    assert world.contents(relation) == before


def test_who_inserts_what_is_theirs(world: World) -> None:
    """Members do, with themselves as owner; anon and banned do not."""
    owner = world.people["owner"]
    item = world.row("products", "owner", DISPOSABLE)["id"]
    payloads: dict[str, dict[str, Any]] = {
        "products": {"title": "Mine", "price_cents": 100},
        "artworks": {
            "title": "Mine",
            "price_cents": 100,
            "category": "other",
            "image_url": "https://images.example/x.jpg",
        },
        "artist_profiles": {"artist_name": "Me"},
        "cart_items": {"item_id": item},
    }
    inserted = {name for name, rules in EXPECTED.items() if rules.insert} - {"product_files"}
    assert inserted == set(payloads)
    for relation, payload in payloads.items():
        for role, person in ({"anon": None} | world.people).items():
            if person is owner:
                continue
            answer = world.apis[role].http.post(
                f"/rest/v1/{relation}", json=payload, headers={"prefer": "return=representation"}
            )
            if role in ("anon", "banned"):
                assert answer.status_code in (401, 403), f"{role} {relation}: {answer.status_code}"
            else:
                assert answer.status_code == 201, f"{role} {relation}: {answer.text}"
                made = answer.json()[0]
                assert person
                assert person.id in (made.get("seller_id"), made.get("user_id"))


def test_files_are_added_to_ones_own_products_only(world: World) -> None:
    product = world.row("products", "owner", DISPOSABLE)["id"]
    for role in ("anon", "stranger", "counterparty", "banned", "admin"):
        person = world.people.get(role)
        path = f"{person.id if person else 'x'}/mine.wav"
        if person and role != "banned":
            person.client.storage.from_("product-files").upload(path, b"x", {"content-type": "audio/wav"})
        answer = world.apis[role].http.post("/rest/v1/product_files", json={"product_id": product, "path": path})
        assert answer.status_code in (401, 403, 409), f"{role}: {answer.status_code}"
    assert world.database.value("select count(*) from public.product_files where product_id = %s", product) == 1


@pytest.mark.parametrize("relation", EXPECTED)
def test_who_deletes(world: World, relation: str) -> None:
    for role in ("anon", "stranger", "counterparty", "banned", "admin", "owner"):
        row = world.row(relation, role, ROWS | DISPOSABLE)
        answer = world.apis[role].http.delete(world.address(relation, row), headers={"prefer": "return=representation"})
        assert answer.status_code in (200, 401, 403), f"{role}: {answer.status_code} {answer.text}"
        allowed = role in EXPECTED[relation].delete.split()
        assert world.exists(relation, row) is not allowed, f"{role} deleting {relation}"


# -- functions --------------------------------------------------------------------------------------------------------

SOMEBODY = "00000000-0000-4000-8000-000000000000"
# Arguments (a word in braces is an id of the owner's), and what a stranger gets: a code, or ok.
RPCS: dict[str, tuple[dict[str, Any], str]] = {
    "adjust_wallet": (
        {"user_id": "{stranger}", "amount_cents": 10**6, "reason": "x", "idempotency_key": "x"},
        "admin_only",
    ),
    "approve_payout": ({"payout_id": "{payouts}"}, "admin_only"),
    "ban_user": ({"user_id": "{owner}", "reason": "x"}, "admin_only"),
    "cancel_order": ({"order_id": "{orders}"}, "order_not_open"),
    "cancel_payout": ({"payout_id": "{payouts}"}, "payout_not_open"),
    "checkout": ({"items": []}, "empty_checkout"),
    "delete_my_account": ({}, "ok"),
    "export_my_data": ({}, "ok"),
    "list_webhook_events": ({}, "admin_only"),
    "refund_order_item": ({"order_item_id": "{order_items}"}, "sale_not_found"),
    "replay_webhook_event": ({"event_id": 1}, "admin_only"),
    "request_payout": ({"amount_cents": 5000}, "payouts_not_enabled"),
    "review_product": ({"product_id": "{products}", "approved": False}, "admin_only"),
    "set_partner_account": ({"user_id": "{stranger}", "is_partner": True}, "admin_only"),
    "set_role": ({"user_id": "{stranger}", "role": "admin"}, "super_admin_only"),
    "set_subscription": ({"user_id": "{stranger}", "plan_key": "creator_ultimate"}, "admin_only"),
    "unban_user": ({"user_id": "{banned}"}, "admin_only"),
    "verify_artist": ({"user_id": "{stranger}", "verified": True}, "admin_only"),
    "wallet_statement": ({}, "ok"),
}
# Leaving and taking one's data along are rights, not a membership.
OPEN_TO_BANNED = {"delete_my_account", "export_my_data"}


def arguments(world: World, function: str) -> dict[str, Any]:
    ids = {role: person.id for role, person in world.people.items()}
    for relation in ("payouts", "orders", "order_items", "products"):
        ids[relation] = world.row(relation, "owner")["id"]
    given = RPCS[function][0]
    return {name: ids[value[1:-1]] if str(value).startswith("{") else value for name, value in given.items()}


def test_every_function_has_its_expectation(database: Database) -> None:
    rows = database.run(
        "select p.proname from pg_proc as p where p.pronamespace = 'public'::regnamespace "
        "and p.prorettype <> 'trigger'::regtype"
    )
    assert {row["proname"] for row in rows} == set(RPCS)


@pytest.mark.parametrize("function", RPCS)
def test_anon_calls_nothing(world: World, function: str) -> None:
    answer = world.apis["anon"].rpc(function, **arguments(world, function))
    assert (answer.status_code, answer.json()["code"]) == (401, "42501"), answer.text


@pytest.mark.parametrize("function", sorted(RPCS, key=lambda name: name == "delete_my_account"))
def test_strangers_reach_nothing_of_others(world: World, function: str) -> None:
    answer = world.apis["stranger"].rpc(function, **arguments(world, function))
    outcome = code_of(answer) or "ok"
    assert outcome == RPCS[function][1], answer.text
    if function == "export_my_data":
        assert world.people["owner"].id not in answer.text
    if function == "wallet_statement":
        assert answer.json() == []


@pytest.mark.parametrize("function", sorted(RPCS, key=lambda name: name == "delete_my_account"))
def test_banned_call_nothing_but_their_rights(world: World, function: str) -> None:
    answer = world.apis["banned"].rpc(function, **arguments(world, function))
    if function in OPEN_TO_BANNED:
        assert answer.is_success, answer.text
    else:
        assert (answer.status_code, code_of(answer)) == (403, "banned")


# -- what is not offered at all ---------------------------------------------------------------------------------------

HIDDEN = ("private", "ledger", "jobs", "auth", "storage", "extensions", "pg_catalog", "information_schema", "vault")


@pytest.mark.parametrize("schema", HIDDEN)
def test_other_schemas_are_not_reachable(world: World, schema: str) -> None:
    for role in ("anon", "owner", "admin"):
        http = world.apis[role].http
        for relation in (
            "webhook_events",
            "journal",
            "users",
            "objects",
            "procrastinate_jobs",
            "pg_authid",
            "settings",
        ):
            assert http.get(f"/rest/v1/{relation}", headers={"accept-profile": schema}).status_code == 406
            assert http.post(f"/rest/v1/{relation}", json={}, headers={"content-profile": schema}).status_code == 406
            assert http.get(f"/rest/v1/{schema}.{relation}").status_code == 404
            if relation not in EXPECTED:
                assert http.get(f"/rest/v1/{relation}").status_code == 404
        for function in ("settle_payment", "release_matured_earnings", "grant_role", "post", "provider_position"):
            call = http.post(f"/rest/v1/rpc/{function}", json={}, headers={"content-profile": schema})
            assert call.status_code == 406
            assert http.post(f"/rest/v1/rpc/{function}", json={}).status_code == 404


def test_the_description_of_the_api_offers_what_is_offered(world: World) -> None:
    described = world.apis["owner"].http.get("/rest/v1/").json()["paths"]
    offered = {path.strip("/") for path in described} - {""}
    assert offered <= set(EXPECTED) | {f"rpc/{function}" for function in RPCS}


def test_embedding_reaches_no_further_than_reading(world: World) -> None:
    """A relation that is readable must not be a window onto one that is not."""
    owner = world.people["owner"].id
    for embedded in ("wallets", "profile_settings", "subscriptions", "orders", "payments"):
        query = {"id": f"eq.{owner}", "select": f"id,found:{embedded}!{embedded}_user_id_fkey(*)"}
        assert world.apis["owner"].one("profiles", **query)["found"] not in ([], None), embedded
        assert world.apis["counterparty"].one("profiles", **query)["found"] in ([], None), embedded
    # Nor must sorting or filtering by it tell anything.
    answer = world.apis["counterparty"].http.get(
        "/rest/v1/profiles",
        params={"id": f"eq.{owner}", "select": "id,wallets!inner()", "wallets.balance_available_cents": "gte.0"},
    )
    assert answer.json() == []


def test_private_files_of_others_stay_closed_to_the_banned(world: World) -> None:
    path = world.row("product_files", "banned")["path"]
    bought = world.row("purchases", "banned")["item_id"]
    theirs = world.database.value("select path from public.product_files where product_id = %s", bought)
    for stored in (path, theirs):
        for role in ("anon", "banned"):
            answer = world.apis[role].http.get(f"/storage/v1/object/product-files/{stored}")
            assert answer.status_code >= 400, f"{role} {stored}"
