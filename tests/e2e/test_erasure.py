"""What is left of somebody who lived here and left: searched for in every table, job, log and stored file."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from stack.cluster import SUPERUSER
from stack.services import Services
from tests.community.world import Community
from tests.harness.market import (
    Simulator,
    buy,
    drain,
    open_hours,
    order,
    publish_product,
    publish_service,
    start,
    wait_for_order,
)
from tests.harness.people import Person, SignUp, lift_limits
from tests.harness.server import Database
from tests.harness.waiting import until
from tests.media import pictures

# Nothing else contains it, neither as text nor as a part of an id.
WORD = "zqleaver"

# Not ours to erase, and why it stays.
FOREIGN = {
    "auth.audit_log_entries.payload": "Auth's own log; docs/deploy.md says how to keep it out of the database",
}

# Columns of an account's data that this life wrote nothing into, and why.
UNWRITTEN = {
    "private.activity": "limits are lifted for the account",
    "private.provider_delays": "the provider answered at once",
    "private.request_keys": "checkout was asked without a key",
    "public.bans": "the account is not banned",
    "public.mail_bounces": "every mail arrived",
    "public.refund_requests": "nothing was returned",
    "public.refunds": "nothing was returned",
}

# Free texts and documents of everything registered, but for what is stated to stay; generated columns follow others.
COLUMNS = """
select d.relation, a.attname as column, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) as type,
    case when d.condition not like '%member_id()%' then d.condition end as condition,
    (select string_agg(format('t.%I = $1', u.attname), ' or ') from pg_attribute as u
    where u.attrelid = a.attrelid and u.atttypid = 'uuid'::regtype and u.attname <> 'id') as mentions
from private.personal_data as d
join pg_attribute as a on a.attrelid = d.relation::regclass and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
where d.relation !~ '^storage' and a.attgenerated = '' and a.attname <> all (d.stays)
and coalesce(nullif(t.typbasetype, 0), t.oid) in
    ('text'::regtype, 'text[]'::regtype, 'jsonb'::regtype, 'extensions.citext'::regtype)
and not exists (
    select from pg_constraint as k where k.conrelid = a.attrelid and k.contype = 'f' and a.attnum = any(k.conkey)
)
order by 1, 2
"""

# Says what became of it: written, fixed (the column's constraints allow no such word), or nothing (there is no row).
# Errors are caught here, so that no log of the server repeats the statement.
PLANT = """
create function pg_temp.plant(relation regclass, col text, type text, condition text, who uuid, word text)
returns text language plpgsql as $$
declare
    candidate text;
    changed integer;
begin
    execute format('select count(*) from %s as t where %s', relation, replace(condition, '$1', quote_literal(who)))
    into changed;
    if changed = 0 then
        return 'nothing';
    end if;
    execute format(
        'select count(*) from %s as t where (%s) and t.%I::text ilike %L',
        relation, replace(condition, '$1', quote_literal(who)), col, '%' || word || '%'
    ) into changed;
    if changed > 0 then
        return 'written';
    end if;
    foreach candidate in array case type
        when 'jsonb' then array[
            '{"website": "https://W.example/N"}', '{"title": "W N"}', '{"street": "W N"}', '{"W": true}', '["W N"]'
        ]
        when 'text[]' then array['{W-N}', '{https://W.example/N}', '{N/W.png}']
        else array['W N', 'W-N', 'WN', 'https://W.example/N', 'https://rolink.me/W-N', 'rolink.me/W-N', 'a#W']
    end loop
        begin
            execute format(
                'update %s as t set %I = replace(replace(%L, ''W'', %L), ''N'', substr(md5(t.ctid::text), 1, 4))::%s '
                'where %s', relation, col, candidate, word, type, replace(condition, '$1', quote_literal(who))
            );
            return 'written';
        exception when check_violation or invalid_text_representation or raise_exception then
            null;
        end;
    end loop;
    return 'fixed';
end
$$
"""

TABLES = """
select c.oid::regclass::text as name from pg_class as c
where c.relkind = 'r' and c.relnamespace::regnamespace::text !~ '^(pg_|information_schema|_?realtime)'
"""


def live(person: Person, simulator: Simulator, sign_up: SignUp, database: Database, services: Services) -> None:
    """Let somebody write of everything with the word in it, sell, buy, and store files."""
    with database.connect() as connection:
        community = Community(services, database, connection)
        community.enroll("helper")
        community.people["leaver"], community.made["leaver"] = person, {"profile": person.id}
        lift_limits(database, person.id, community.id("helper"))
        group = community.insert("helper", "groups", name="Commons", visibility="public")["id"]
        community.call("leaver", "join_group", group_id=group)
        community.settle("helper", "helper", "helper", group)
        community.settle("leaver", WORD, "helper", group)
        # Tags are counted elsewhere, so they are not planted behind the triggers' back.
        community.insert("leaver", "articles", title=WORD, content=WORD, tags=[WORD], is_published=True)
        community.insert("leaver", "groups", name=f"group {WORD}", visibility="public", description=WORD)
    seller, buyer = sign_up(), sign_up()
    buy(simulator, buyer, publish_product(person, 2000, title=f"sold {WORD}"))
    publish_product(person, 3000, title=f"unsold {WORD}", files=(f"{WORD}.wav",))
    buy(simulator, person, publish_product(seller))
    service, _ = publish_service(person, 2000, title=f"service {WORD}", buyer_requirements=f"stems {WORD}", tags=[WORD])
    about = {"service_id": service, "title": f"about {WORD}"}
    person.client.table("portfolio_pieces").insert({**about, "url": f"https://e.com/{WORD}"}).execute()
    person.client.table("service_extras").insert({**about, "description": WORD, "price_cents": 500}).execute()
    open_hours(person)
    bought = publish_product(seller, license_seats=1)
    buy(simulator, person, bought)
    assert person.api.rpc("review_item", item_id=bought, rating=4, review_text=f"good {WORD}").is_success
    key = person.api.rpc("show_license_key", license_id=person.api.one("license_keys")["id"]).json()
    device = {"device_id": f"laptop {WORD}", "device_name": WORD}
    assert person.api.rpc("activate_license", product_id=bought, key=key, **device).is_success
    person.client.table("shipping_rates").insert({"name": f"everywhere {WORD}", "price_cents": 500}).execute()
    order(person, {"item_id": publish_product(seller, 0), "gift_email": f"{WORD}@example.com"})
    person.client.table("coupons").insert({"code": WORD, "amount_cents": 100}).execute()
    # A bundle of theirs that was bought, and somebody else's that they agreed to.
    mine, theirs = publish_product(person, 3000), publish_product(seller, 3000)
    for whose, other in ((person, seller), (seller, person)):
        word = WORD if whose is person else "theirs"
        row: Any = {"title": f"bundle {word}", "description": word, "tags": [word]}
        made: Any = whose.client.table("bundles").insert(row).execute().data[0]
        bundle = str(made["id"])
        parts: Any = [{"item_id": mine}, {"item_id": theirs}]
        assert whose.api.rpc("set_bundle_terms", bundle_id=bundle, price_cents=5000, parts=parts).is_success
        assert other.api.rpc("agree_to_bundle", bundle_id=bundle, terms_version=2).is_success
        whose.client.table("bundles").update({"status": "active"}).eq("id", bundle).execute()
        if whose is person:
            buy(simulator, buyer, bundle)
    wishes = person.client.table("wish_lists").insert({"name": f"wishes {WORD}"}).execute().data[0]["id"]
    person.client.table("wish_list_items").insert({"list_id": wishes, "item_id": publish_product(seller)}).execute()
    wishes: Any = person.client.table("wish_lists").insert({"name": f"wishes {WORD}"}).execute().data[0]
    person.client.table("wish_list_items").insert(
        {"list_id": wishes["id"], "item_id": publish_product(seller)}
    ).execute()
    tip = person.api.rpc("send_tip", recipient_id=seller.id, amount_cents=100, message=f"thanks {WORD}").json()
    simulator.confirm(start(person, tip)["client_secret"])
    wait_for_order(person, tip["order_id"])
    person.client.storage.from_("avatars").upload(
        f"{person.id}/{WORD}.png", WORD.encode(), {"content-type": "image/png"}
    )
    private = f"{person.id}/{WORD}.jpg"
    person.client.storage.from_("uploads").upload(
        private, pictures.saved(pictures.quarters(), "PNG"), {"content-type": "image/png"}
    )
    made = person.api.rpc("create_media", path=private, purpose="photo_input").json()
    until(lambda: person.api.one("media", id=f"eq.{made['id']}")["status"] == "ready", "the photo")
    assert person.api.rpc("claim_trial").status_code == 200
    job = person.api.rpc(
        *("create_photo_job",), prompt=f"warmer {WORD}", media_ids=[made["id"]], group_name=WORD, client_key=WORD
    ).json()
    until(lambda: person.api.one("photo_jobs", id=f"eq.{job['id']}")["archive_path"], "the photo's file", 60)
    host_and_attend(person, seller, database)
    drain(database, simulator)


def host_and_attend(person: Person, other: Person, database: Database) -> None:
    """A webinar of theirs, one they co-host, and one they enter."""

    def webinar(host: Person, title: str, at: str) -> str:
        row = {"title": title, "starts_local": at, "time_zone": "UTC"}
        return str(host.client.table("webinars").insert(row).execute().data[0]["id"])

    own, theirs = webinar(person, f"live {WORD}", "2031-01-01T10:00"), webinar(other, "Theirs", "2031-01-02T10:00")
    shared = webinar(other, "Shared", "2031-01-03T10:00")
    database.run("insert into public.webinar_co_hosts (webinar_id, user_id) values (%s, %s)", shared, person.id)
    assert other.api.rpc("register_for_webinar", webinar_id=own).status_code == 200
    assert person.api.rpc("register_for_webinar", webinar_id=theirs).status_code == 200
    assert person.api.rpc("set_webinar_room", webinar_id=own, link=f"https://{WORD}.example").status_code == 204
    database.run("insert into private.webinar_passes (webinar_id, user_id) values (%s, %s)", theirs, person.id)
    database.run(
        "insert into public.webinar_recordings (webinar_id, recording_url) values (%s, %s)",
        *(own, f"https://example.com/{WORD}"),
    )


def plant(person: Person, database: Database) -> dict[str, str]:
    """Write the word into each column that is to be erased; for each column what became of it."""
    columns = database.run(COLUMNS)
    with database.connect(SUPERUSER) as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(PLANT.encode())
        return {
            f"{one['relation']}.{one['column']}": _first(
                connection.execute(
                    "select pg_temp.plant(%s::regclass, %s, %s, %s, %s, %s)",
                    [one["relation"], one["column"], one["type"], one["condition"] or one["mentions"], person.id, WORD],
                )
            )
            for one in columns
        }


def found_in_tables(database: Database) -> set[str]:
    """schema.relation.column of everything that contains the word, in every schema; what is made of another column is
    that column's.
    """
    with database.connect(SUPERUSER) as connection:
        places = set()
        for (table,) in connection.execute(TABLES.encode()).fetchall():
            hits = f"""
                select distinct f.key from {table} as t, jsonb_each_text(to_jsonb(t)) as f
                where t::text ilike '%{WORD}%' and f.value ilike '%{WORD}%' and not exists (
                    select from pg_attribute as a
                    where a.attrelid = '{table}'::regclass and a.attname = f.key and a.attgenerated <> ''
                )
            """
            qualified = table if "." in table else f"public.{table}"
            places |= {f"{qualified}.{column}" for (column,) in connection.execute(hits.encode()).fetchall()}
        return places


def test_nothing_is_left_but_what_is_stated_to_stay(
    sign_up: SignUp, simulator: Simulator, database: Database, services: Services
) -> None:
    person = sign_up(email=f"{WORD}@example.com", full_name=WORD)
    live(person, simulator, sign_up, database, services)
    planted = plant(person, database)
    empty = {column.rpartition(".")[0] for column, outcome in planted.items() if outcome == "nothing"}
    assert empty == set(UNWRITTEN), "let the account write into it, or say why it did not"
    written = {column for column, outcome in planted.items() if outcome == "written"}
    assert len(written) > 30, planted
    assert written - found_in_tables(database) == set()

    asked = person.api.rpc("delete_my_account")
    forfeit = json.loads(asked.json()["details"])["forfeit_cents"]
    assert person.api.rpc("delete_my_account", forfeit_cents=forfeit).status_code == 204
    drain(database, simulator)

    stays = {
        f"{row['relation']}.{column}"
        for row in database.run("select relation, stays from private.personal_data")
        for column in row["stays"]
    }
    # What is generated says what its columns say.
    generated = {
        row["name"]
        for row in database.run(
            "select c.relnamespace::regnamespace || '.' || c.relname || '.' || a.attname as name "
            "from pg_attribute as a join pg_class as c on c.oid = a.attrelid where a.attgenerated <> ''"
        )
    }
    assert found_in_tables(database) - stays - generated == set(FOREIGN)
    files = [path for path in (services.root / "files").rglob("*") if path.is_file()]
    assert [path for path in files if WORD in str(path) or WORD.encode() in path.read_bytes()] == []
    logs = [*services.logs.glob("*.log"), database.cluster.log]
    assert {log.name: _lines(log.read_text(errors="replace")) for log in logs if WORD in log.read_text()} == {}


def _lines(text: str) -> list[str]:
    return [line[:300] for line in text.splitlines() if WORD in line][:3]


def _first(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    assert row is not None
    return row[0]
