"""Who may do what, asked of the running Data API with real tokens and real rows.

access_expectations.py is the whole answer; it is compared with what really happens, relation by relation and function
by function. A relation or function that is not in it fails the tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from stack.services import Services
from tests.community.world import Community
from tests.e2e.access_expectations import (
    COMPUTED,
    DISPOSABLE,
    EXPECTED,
    FINDERS,
    INSERTED_INTO,
    INSERTERS,
    INSERTS,
    OPEN_TO_ANON,
    OPEN_TO_BANNED,
    ROLES,
    ROWS,
    RPCS,
)
from tests.harness.market import (
    Simulator,
    buy,
    drain,
    open_hours,
    order,
    publish_artwork,
    publish_product,
    publish_service,
    start,
    wait_for_order,
)
from tests.harness.people import Api, Person, SignUp, code_of
from tests.harness.server import Database
from tests.harness.waiting import until


def settle_in(person: Person, other: Person, admin: Person, simulator: Simulator) -> None:
    """Give somebody a row of every kind: they sell to and buy from `other`."""
    sold = publish_product(person, 2000, files=("one.wav", "two.wav"))
    publish_product(person, 2000, title="Unsold")
    mentoring, _ = publish_service(person, 2000, title="Mentoring", session_minutes=60)
    person.client.table("services").insert({"title": "Never booked", "service_type": "other"}).execute()
    person.client.table("portfolio_pieces").insert({"service_id": mentoring, "url": "https://e.com/demo"}).execute()
    extra = {"service_id": mentoring, "title": "Notes", "price_cents": 500}
    person.client.table("service_extras").insert(extra).execute()
    if not person.api.select("availability"):
        open_hours(person)
        person.client.table("availability_overrides").insert({"day": "2030-01-01"}).execute()
    person.client.table("products").insert({"title": "Sketchbook"}).execute()
    publish_product(person, 2000, title="Spare", files=("one.wav", "two.wav"))
    publish_artwork(person)
    assert admin.api.rpc("review_product", product_id=sold, approved=True, notes="fine").is_success
    buy(simulator, other, sold)
    bought = publish_product(other, 3000, license_seats=1)
    buy(simulator, person, bought)
    for buyer, item in ((person, bought), (other, sold)):
        assert buyer.api.rpc("review_item", item_id=item, rating=4, review_text="Good.").is_success
    key = person.api.rpc("show_license_key", license_id=person.api.one("license_keys", product_id=f"eq.{bought}")["id"])
    device = {"product_id": bought, "key": key.json(), "device_id": "laptop"}
    assert person.api.rpc("activate_license", **device).is_success
    line = other.api.one("transactions", related_id=f"eq.{bought}")["order_item_id"]
    made = other.api.rpc("refund_order_item", order_item_id=line, amount_cents=100)
    assert made.status_code == 200, made.text
    person.client.table("cart_items").insert({"item_id": publish_product(other, 1000)}).execute()
    unsold = person.api.one("products", title="eq.Unsold", seller_id=f"eq.{person.id}")["id"]
    person.client.table("catalog_options").insert({"item_id": unsold, "title": "Team", "price_cents": 9000}).execute()
    both: Any = person.client.table("bundles").insert({"title": "Both"}).execute().data[0]
    bundle = str(both["id"])
    parts: Any = [{"item_id": publish_product(person, 2000, title="Half")}, {"item_id": publish_product(other, 1000)}]
    assert person.api.rpc("set_bundle_terms", bundle_id=bundle, price_cents=2500, parts=parts).status_code == 200
    assert other.api.rpc("agree_to_bundle", bundle_id=bundle, terms_version=2).status_code == 200
    person.client.table("bundles").update({"status": "active"}).eq("id", bundle).execute()
    person.client.table("bundles").insert({"title": "Never sold"}).execute()
    person.client.table("tip_jars").insert({}).execute()
    person.client.table("wish_lists").insert({"name": "Wishes"}).execute()
    wishes = person.api.one("wish_lists")["id"]
    person.client.table("wish_list_items").insert({"list_id": wishes, "item_id": bought}).execute()
    person.client.table("wish_lists").insert({"name": "Short-lived"}).execute()
    for seller in (person, other):
        if not seller.api.select("shipping_rates", seller_id=f"eq.{seller.id}"):
            seller.client.table("shipping_rates").insert({"name": "Everywhere", "price_cents": 700}).execute()
            seller.client.table("coupons").insert({"code": "TEST", "amount_cents": 100}).execute()
    order(person, {"item_id": publish_product(other, 0, title="Free"), "gift_to": admin.id})
    vase = order(person, publish_artwork(other, 4000, is_physical=True), shipping_address={"country": "US"})
    thanks = person.api.rpc("send_tip", recipient_id=other.id, amount_cents=100, message="Thanks").json()
    for ordered in (vase, thanks):
        simulator.confirm(start(person, ordered)["client_secret"])
        wait_for_order(person, ordered["order_id"])
    sent = person.api.one("order_items", order_id=f"eq.{vase['order_id']}")["id"]
    assert other.api.rpc("ship_line", order_item_id=sent).status_code == 200
    urls = {"return_url": "https://shop.example/a", "refresh_url": "https://shop.example/b"}
    simulator.onboard(person.api.function("POST", "payouts/onboard", urls).json()["url"])
    until(lambda: person.api.one("wallets")["payouts_enabled"], "the account to be enabled")
    gift = {"user_id": person.id, "amount_cents": 6000, "reason": "test", "idempotency_key": person.id}
    assert admin.api.rpc("adjust_wallet", **gift).status_code == 200
    assert person.api.rpc("request_payout", amount_cents=5000).status_code == 200
    until(lambda: other.api.select("refund_lines"), "the refund to be booked")
    assert person.api.rpc("request_refund", order_item_id=line, reason="probe").status_code == 200


def order_a_service(database: Database, buyer: Person, seller: Person) -> None:
    """A service order with everything that hangs on it, on a line the buyer has paid."""
    database.run(
        "with made as (insert into public.offers (seller_id, buyer_id, valid_until) "
        "values (%s, %s, now() + interval '1 day') returning id, valid_until) "
        "insert into public.offer_versions (offer_id, version, title, terms, price_cents, delivery_days, revisions, "
        "valid_until) select id, 1, 'A mix', 'Two songs', 5000, 3, 1, valid_until from made",
        seller.id,
        buyer.id,
    )
    order = database.value(
        "insert into public.service_orders (order_item_id, buyer_id, seller_id, title, package_name, "
        "package_price_cents, delivery_days, revisions_included, status, revise_until) "
        "select i.id, i.buyer_id, %s, 'A mix', 'Small', 5000, 3, 1, 'in_progress', now() + interval '60 days' "
        "from public.order_items as i where i.buyer_id = %s order by i.id limit 1 returning id",
        seller.id,
        buyer.id,
    )
    for statement in (
        "service_order_events (service_order_id, act, actor, to_state) values (%s, 'order', 'buyer', 'in_progress')",
        "service_deliveries (service_order_id, number, notes) values (%s, 1, 'Here')",
        "resolution_requests (service_order_id, kind, asking_side, days, reason, answer_by) "
        "values (%s, 'extend', 'seller', 2, 'More', now() + interval '2 days')",
    ):
        database.run(f"insert into public.{statement}", order)
    database.run(
        "insert into public.service_order_extras (service_order_id, seller_id, title, price_cents, delivery_days) "
        "values (%s, %s, 'More', 500, 1)",
        order,
        seller.id,
    )


def settle_in_the_community(community: Community, who: str, word: str) -> None:
    """Give somebody a row of everything social, with `word` in what they write: they know the counterparty, invite the
    stranger and block the nuisance.
    """
    made = community.made[who]
    community.run("update public.profiles set role = 'author' where id = %s", community.id(who))
    community.insert(who, "articles", title=f"Short-lived {word}", content=word, is_published=True)
    made["group"] = community.insert(who, "groups", name=f"Group {word}")["id"]
    community.call("counterparty", "join_group", group_id=made["group"])
    community.settle(who, word, "counterparty", made["group"])
    made["secret"] = community.insert(who, "groups", name=f"Undercover {word}", visibility="secret")["id"]
    made["secret_post"] = community.insert(who, "posts", content=f"undercover {word}", group_id=made["secret"])["id"]
    rude = community.insert("counterparty", "posts", content="something rude", group_id=made["group"])
    made["hidden_post"] = rude["id"]
    community.call(who, "hide_content", target_type="post", target_id=rude["id"], reason="rude")
    community.act(who, "update public.groups set post_approval_required = true where id = %s", made["group"])
    waiting = community.insert("counterparty", "posts", content="something to approve", group_id=made["group"])
    made["waiting_post"] = waiting["id"]
    community.call(who, "invite_to_group", group_id=made["group"], user_id=community.id("stranger"))
    community.call(who, "invite_to_group", group_id=made["secret"], user_id=community.id("guest"))
    community.insert(who, "user_blocks", blocked_id=community.id("nuisance"))
    chat = community.call(
        who, "start_conversation", user_ids=[community.id("counterparty"), community.id("guest")], group_name=word
    )
    made["chat"] = chat["id"]
    regretted = community.insert(who, "messages", conversation_id=chat["id"], content=f"never mind {word}")
    community.call(who, "delete_message", message_id=regretted["id"])
    community.call("admin", "resolve_report", report_id=made["report"], verdict="false_report")


# What the workers write by the clock, whoever calls what meanwhile.
KEPT_BY_JOBS = "{updated_at,stripe_account_checked_at,trending_score}"
WRITTEN_BY_JOBS = {"item_statistics", "trending_items"}


@dataclass(frozen=True)
class World:
    """Everybody, and the rows that are theirs."""

    people: dict[str, Person]
    apis: dict[str, Api]
    database: Database
    keys: dict[str, list[str]]
    # What a word in braces stands for in the expectations: people, and what the owner made.
    ids: dict[str, str]

    def named(self, value: Any) -> Any:
        """The value with the ids in place of words in braces; names of relations stand for the owner's row."""
        if isinstance(value, dict):
            return {key: self.named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.named(inner) for inner in value]
        if isinstance(value, str) and value.startswith("{"):
            return self.ids.get(value[1:-1]) or self.row(value[1:-1], "owner")["id"]
        return value

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
        where = " and ".join(f"to_jsonb(t.{key}) = %s::jsonb" for key in keys)
        query = f"select exists (select from public.{relation} as t where {where})"
        return bool(self.database.value(query, *(json.dumps(row[key]) for key in keys)))

    def contents(self, relation: str) -> list[str]:
        """All rows, without when they were touched."""
        rows = self.database.run(f"select to_jsonb(t) - 'updated_at' as row from public.{relation} as t")
        return sorted(json.dumps(row["row"], sort_keys=True) for row in rows)

    def contents_but(self, user: str) -> dict[str, str]:
        """A fingerprint of each relation's rows, those aside that name this person."""
        relations = " union all ".join(
            f"select '{name}' as name, md5(coalesce(string_agg(r::text, chr(10) order by r::text), '')) as hash "
            f"from (select to_jsonb(t) - '{KEPT_BY_JOBS}'::text[] as r from public.{name} as t) as s "
            f"where r::text not like %s"
            for name in EXPECTED
            if name not in WRITTEN_BY_JOBS
        )
        users = [f"%{user}%"] * len(EXPECTED.keys() - WRITTEN_BY_JOBS)
        return {row["name"]: row["hash"] for row in self.database.run(relations, *users)}


@pytest.fixture(scope="module")
def world(sign_up: SignUp, admin: Person, services: Services, simulator: Simulator, database: Database) -> World:
    owner, counterparty, banned = (sign_up(username=name) for name in ("the-owner", "counterparty", "outcast"))
    stranger = sign_up(username="stranger", role="admin", is_admin=True, app_metadata={"role": "admin"})
    simulator.add_balance(50000)
    # Payouts stay open, sales are held.
    database.run("update private.settings set payout_approval_above_cents = 1, review_sale_above_cents = 1")
    people = {
        "stranger": stranger,
        "owner": owner,
        "counterparty": counterparty,
        "banned": banned,
        "admin": admin,
    }
    for person in (owner, banned):
        # Before there is anything to mail: whatever arrived would end it.
        database.run(
            "insert into public.mail_bounces (user_id, address_hash, is_permanent, reason) "
            "select id, sha256(convert_to(email, 'UTF8')), true, '550' from auth.users where id = %s",
            person.id,
        )
        settle_in(person, counterparty, admin, simulator)
        # Agreed upon by kinds; none of them agrees yet.
        database.run(
            "insert into public.payables (kind, subject_id, buyer_id, seller_id, title, amount_cents, seller_tier, "
            "commission_bps) values ('product', gen_random_uuid(), %s, %s, 'Agreed', 500, 'basic', 4000)",
            person.id,
            counterparty.id,
        )
        database.run(
            "insert into public.media (owner_id, purpose, bucket) values (%s, 'photo_input', 'studio')", person.id
        )
        database.run(
            "insert into public.review_votes (review_id, user_id, is_helpful) "
            "select id, %s, true from public.reviews where reviewer_id = %s limit 1",
            person.id,
            counterparty.id,
        )
        database.run(
            "insert into public.product_versions (product_id, number, notes) "
            "select id, 2, 'Better.' from public.products where seller_id = %s and title = 'Beat'",
            person.id,
        )
        database.run("select private.grant_lot(%s, 'bonus', 500, null)", person.id)
        # One they host with the counterparty, and a seat in one of the counterparty's.
        for host, price, hour in ((person.id, 2000, 10), (counterparty.id, 0, 12 if person is owner else 14)):
            database.run(
                "insert into public.webinars (host_id, title, starts_local, time_zone, price_cents) "
                "values (%s, 'Mixing', '2029-01-01'::timestamp + %s * interval '1 hour', 'UTC', %s)",
                *(host, hour, price),
            )
        database.run(
            "insert into public.webinar_co_hosts (webinar_id, user_id, accepted_at) "
            "select id, %s, now() from public.webinars where host_id = %s",
            *(counterparty.id, person.id),
        )
        database.run(
            "insert into public.webinar_recordings (webinar_id, recording_url) "
            "select id, 'https://example.com/r' from public.webinars where host_id = %s",
            person.id,
        )
        free = "select id from public.webinars where host_id = %s order by created_at desc limit 1"
        database.run(
            f"insert into public.webinar_registrations (webinar_id, user_id, status, confirmed_at) "
            f"values (({free}), %s, 'confirmed', now())",
            *(counterparty.id, person.id),
        )
        database.run(
            "with job as (insert into public.photo_jobs (user_id, prompt, photo_count, cost_cents) "
            "values (%s, 'brighter', 1, 0) returning id) "
            "insert into public.photo_job_items (job_id, position, cost_cents) select id, 1, 0 from job",
            person.id,
        )
        order_a_service(database, person, counterparty)
        database.run(
            "with made as (insert into public.media (owner_id, purpose, bucket) "
            "values (%s, 'product', 'pictures') returning id, owner_id) "
            "insert into public.product_pictures (product_id, media_id) select p.id, m.id from made as m "
            "join public.products as p on p.seller_id = m.owner_id and p.title = 'Spare'",
            person.id,
        )
    with database.connect() as connection:
        around = {name: sign_up(username=name) for name in ("the-guest", "nuisance")}
        known = people | {"guest": around["the-guest"], "nuisance": around["nuisance"]}
        community = Community(services, database, connection, dict(known), {name: {} for name in known})
        group = community.insert("counterparty", "groups", name="Of the counterparty")["id"]
        community.settle("counterparty", "pepper", "counterparty", group)
        settle_in_the_community(community, "owner", "sesame")
        settle_in_the_community(community, "banned", "mustard")
    drain(database, simulator)
    # The workers would do so some seconds and some minutes later.
    database.run("select private.fold_views()")
    database.run("select private.update_trending_items()")
    database.run("update public.catalog_items set views_count = 1")
    correction = {"provider": "stripe", "change_cents": 1, "account": "revenue", "reason": "probe"}
    assert admin.api.rpc("propose_correction", **correction).status_code == 200
    assert admin.api.rpc("ban_user", user_id=banned.id, reason="probe").status_code == 204
    keys: dict[str, list[str]] = {}
    for row in database.run(
        "select i.indrelid::regclass::text as relation, a.attname from pg_index as i join pg_attribute as a "
        "on a.attrelid = i.indrelid and a.attnum = any(i.indkey) where i.indisprimary "
        "and i.indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)"
    ):
        keys.setdefault(row["relation"].removeprefix("public."), []).append(row["attname"])
    apis = {"anon": Api(services)} | {role: person.api for role, person in people.items()}
    ids = {name: person.id for name, person in known.items()} | community.made["owner"]
    return World(people, apis, database, keys, ids)


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


@pytest.mark.parametrize(("relation", "name"), COMPUTED)
def test_who_reads_computed_fields(world: World, relation: str, name: str) -> None:
    seen = []
    for role in ROLES:
        answer = world.apis[role].http.get(f"{world.address(relation, world.row(relation, role))}&select={name}")
        assert answer.status_code in (200, 401, 403), answer.text
        if answer.status_code == 200 and len(answer.json()) == 1:
            seen.append(role)
    assert seen == [role for role in ROLES if role in COMPUTED[relation, name].split()]


@pytest.mark.parametrize(("case", "role"), FINDERS.items())
def test_somebody_finds_what_others_do_not(world: World, case: str, role: str) -> None:
    """Else that others find nothing would say nothing."""
    assert outcome(call(world, role, case)) == "ok"


def test_computed_fields_of_made_up_rows_say_nothing(world: World) -> None:
    """They are functions too, and whoever calls one brings the row: nothing is learnt but what was brought."""
    asked = 0
    for field in world.database.run(
        f"{FUNCTIONS} {ARE_COMPUTED} and (t.typname <> 'report_abuse_tracking' and p.proname <> 'status_now')"
    ):
        row = world.row(field["relation"], "banned")
        answer = world.apis["stranger"].rpc(field["name"], **{field["argument"]: row})
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said in (None, False, 0) or said in row.values(), f"{field}: {answer.text}"
        asked += 1
    assert asked == len(COMPUTED) - 3


@pytest.mark.parametrize("relation", EXPECTED)
def test_who_updates_which_columns(world: World, relation: str) -> None:
    """Each column is set to the value it has: allowed or not does not depend on the value, and nothing breaks.

    Columns are granted to everybody signed in alike, rows are not: so what is not granted to the owner and the admin is
    not asked for again column by column.
    """
    rules, before = EXPECTED[relation], world.contents(relation)
    written: dict[str, set[str]] = {}
    granted: set[str] = set()

    def write(role: str, row: dict[str, Any], columns: set[str]) -> None:
        answer = world.apis[role].http.patch(
            world.address(relation, row),
            json={column: row[column] for column in columns},
            headers={"prefer": "return=representation"},
        )
        where = f"{role} {columns}: {answer.status_code} {answer.text}"
        assert answer.status_code in (200, 400, 401, 403), where
        if answer.status_code == 200:
            assert role != "anon", where
            granted.update(columns)
            if answer.json():
                written.setdefault(role, set()).update(columns)

    for role in ("anon", "owner", "admin"):
        row = world.row(relation, role)
        for column in row:
            write(role, row, {column})
    for role in ("stranger", "counterparty", "banned"):
        write(role, world.row(relation, role), granted or set(row))
    allowed = set(rules.update.split())
    assert written == ({role: allowed for role in rules.updaters.split()} if allowed else {})
    assert granted == allowed
    assert world.contents(relation) == before


@pytest.mark.parametrize("relation", EXPECTED)
def test_which_columns_an_insert_may_name(world: World, relation: str) -> None:
    """A column without the right to insert it is refused before anything else is looked at."""
    row, before = world.row(relation, "owner"), world.contents(relation)
    refused: dict[str, set[str]] = {}
    for role in ("stranger", "admin"):
        for column, value in row.items():
            answer = world.apis[role].http.post(f"/rest/v1/{relation}", json={column: value})
            body = {"code": "inserted"} if answer.is_success else answer.json()
            if body["code"] == "42501" and body["message"].startswith("permission denied"):
                refused.setdefault(role, set()).add(column)
    allowed = set(EXPECTED[relation].insert.split())
    everything = set(row)
    generated = set(_generated(world.database, relation))
    # A visitor is told to sign in, whatever they write; and has no right to it.
    visitor = world.apis["anon"].http.post(f"/rest/v1/{relation}", json=row)
    assert (visitor.status_code, code_of(visitor)) == (401, "not_signed_in")
    rights = (
        "select has_any_column_privilege('anon', %s, 'insert, update') or has_table_privilege('anon', %s, 'delete')"
    )
    assert world.database.value(rights, f"public.{relation}", f"public.{relation}") is False
    assert refused.get("stranger", set()) | generated == (everything - allowed) | generated
    assert refused.get("admin", set()) | generated == (everything - allowed) | generated
    assert not allowed & generated
    # Where one column is enough for a row there is one now.
    owner_column = next((column for column in OWNERS if column in row), None)
    if allowed and owner_column:
        mine = [world.people[role].id for role in ("stranger", "admin")]
        world.database.run(f"delete from public.{relation} where {owner_column} = any(%s::uuid[])", mine)
    assert world.contents(relation) == before


OWNERS = ("seller_id", "user_id", "author_id", "owner_id", "follower_id", "blocker_id")


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


def test_every_insert_is_tried() -> None:
    assert set(INSERTS) == {name for name, rules in EXPECTED.items() if rules.insert} - INSERTED_INTO


@pytest.mark.parametrize("relation", INSERTS)
def test_who_inserts_what_is_theirs(world: World, relation: str) -> None:
    """Members do, with themselves as owner; anon and banned do not."""
    payload = world.named(INSERTS[relation])
    for role in ("anon", "banned", "stranger", "admin"):
        answer = world.apis[role].http.post(
            f"/rest/v1/{relation}", json=payload, headers={"prefer": "return=representation"}
        )
        if role in INSERTERS.get(relation, {"stranger", "admin"}):
            assert answer.status_code == 201, f"{role}: {answer.text}"
            made = answer.json()[0]
            assert world.people[role].id in [made.get(column) for column in OWNERS]
        else:
            assert answer.status_code in (401, 403), f"{role}: {answer.status_code} {answer.text}"


def test_messages_are_sent_in_ones_own_conversations_only(world: World) -> None:
    message = world.named({"conversation_id": "{conversation}", "content": "Hello"})
    answers = {role: world.apis[role].http.post("/rest/v1/messages", json=message) for role in ROLES}
    assert {role: answer.status_code for role, answer in answers.items()} == {
        "anon": 401,
        "stranger": 404,
        "owner": 201,
        "counterparty": 201,
        "banned": 403,
        "admin": 404,
    }


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


def test_options_are_added_to_ones_own_items_only(world: World) -> None:
    option = {"item_id": world.row("products", "owner", DISPOSABLE)["id"], "title": "Mine", "price_cents": 100}
    answers = {role: world.apis[role].http.post("/rest/v1/catalog_options", json=option).status_code for role in ROLES}
    assert answers == {"anon": 401, "owner": 201} | dict.fromkeys(("stranger", "counterparty", "banned", "admin"), 403)


@pytest.mark.parametrize("relation", EXPECTED)
def test_who_deletes(world: World, relation: str) -> None:
    for role in ("anon", "stranger", "counterparty", "banned", "admin", "owner"):
        row = world.row(relation, role, ROWS | DISPOSABLE)
        answer = world.apis[role].http.delete(world.address(relation, row), headers={"prefer": "return=representation"})
        assert answer.status_code in (200, 401, 403), f"{role}: {answer.status_code} {answer.text}"
        allowed = role in EXPECTED[relation].delete.split()
        assert world.exists(relation, row) is not allowed, f"{role} deleting {relation}"


# -- functions --------------------------------------------------------------------------------------------------------

LAST = sorted(RPCS, key=lambda case: case == "delete_my_account")


def call(world: World, role: str, case: str) -> httpx.Response:
    return world.apis[role].rpc(case.partition(":")[0], **world.named(RPCS[case][0]))


def outcome(answer: httpx.Response) -> str:
    """The code of a refusal, else empty when the answer is no rows or a zero, else ok."""
    return code_of(answer) or ("empty" if answer.content and answer.json() in ([], 0) else "ok")


# Functions of one row of a relation are fields of it.
ARE_COMPUTED = "p.pronargs = 1 and t.typrelid <> 0"
FUNCTIONS = (
    "select p.proname as name, t.typname as relation, p.proargnames[1] as argument from pg_proc as p "
    "left join pg_type as t on t.oid = p.proargtypes[0] where p.pronamespace = 'public'::regnamespace "
    "and p.prorettype <> 'trigger'::regtype and "
)


def test_every_function_has_its_expectation(database: Database) -> None:
    functions = {row["name"] for row in database.run(f"{FUNCTIONS} ({ARE_COMPUTED}) is not true")}
    assert functions == {case.partition(":")[0] for case in RPCS}
    computed = {(row["relation"], row["name"]) for row in database.run(f"{FUNCTIONS} {ARE_COMPUTED}")}
    assert computed == set(COMPUTED)


@pytest.mark.parametrize("case", RPCS)
def test_anon_calls_nothing_but_searches(world: World, case: str) -> None:
    answer = call(world, "anon", case)
    if case in OPEN_TO_ANON:
        assert outcome(answer) == RPCS[case][1], answer.text
    else:
        assert (answer.status_code, code_of(answer)) == (401, "not_signed_in"), answer.text
        rights = (
            "select count(*) from pg_proc where pronamespace = 'public'::regnamespace and proname = %s "
            "and has_function_privilege('anon', oid, 'execute')"
        )
        assert world.database.value(rights, case.partition(":")[0]) == 0


@pytest.mark.parametrize("case", LAST)
def test_strangers_reach_nothing_of_others(world: World, case: str) -> None:
    stranger = world.people["stranger"].id
    before = world.contents_but(stranger)
    answer = call(world, "stranger", case)
    assert outcome(answer) == RPCS[case][1], answer.text
    if case == "export_my_data":
        assert "sesame" not in answer.text
    if case != "delete_my_account":  # which takes back what they liked, hence counters of others
        assert world.contents_but(stranger) == before


@pytest.mark.parametrize("case", LAST)
def test_banned_call_nothing_but_their_rights(world: World, case: str) -> None:
    answer = call(world, "banned", case)
    if case == "delete_my_account":
        # There is money of theirs: told how much, they give it up.
        assert code_of(answer) == "balance_remains"
        amounts = json.loads(answer.json()["details"])
        answer = world.apis["banned"].rpc(case, forfeit_cents=amounts["forfeit_cents"])
    if case in OPEN_TO_BANNED:
        assert answer.is_success, answer.text
    elif case in OPEN_TO_ANON:
        assert outcome(answer) == RPCS[case][1], answer.text
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
    functions = {case.partition(":")[0] for case in RPCS} | {name for _, name in COMPUTED}
    assert offered <= set(EXPECTED) | {f"rpc/{function}" for function in functions}


def test_embedding_reaches_no_further_than_reading(world: World) -> None:
    """A relation that is readable must not be a window onto one that is not."""
    owner = world.people["owner"].id
    for embedded in (
        "wallets",
        "profile_settings",
        "subscriptions",
        "orders",
        "payments",
        "profile_locations",
        "custom_field_requesters",
        "message_deletions",
        "notifications",
        "report_abuse_tracking",
    ):
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
