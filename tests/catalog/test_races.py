"""What must hold when people do the same thing at the same instant: real connections, real commits."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter

import psycopg
import pytest

from tests.harness.people import follow_accounts
from tests.harness.server import Database
from tests.harness.waiting import until

NOBODY_LOST = {"40P01", "40001"}  # deadlock, serialization failure


def sign_up(database: Database, username: str) -> str:
    """An account as Auth creates it; its id."""
    user = str(uuid.uuid4())
    database.run(
        "insert into auth.users (id, email, raw_user_meta_data) values (%s, %s, %s)",
        user,
        f"{user}@example.com",
        json.dumps({"username": username}),
    )
    return user


def at_once(database: Database, calls: list[tuple[str | None, str, tuple[object, ...]]]) -> list[str | None]:
    """Run (member or None for the server, statement, values) together, each on a connection and in a transaction of its
    own. The code of each one's error, None where there was none.
    """
    outcomes: list[str | None] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(position: int, user: str | None, statement: str, values: tuple[object, ...]) -> None:
        with database.connect() as connection:
            start.wait()
            try:
                with connection.transaction():
                    if user:
                        claims = json.dumps({"sub": user, "role": "authenticated"})
                        connection.execute(
                            "select set_config('request.jwt.claims', %s, true), "
                            "set_config('role', 'authenticated', true)",
                            [claims],
                        )
                    connection.execute(statement.encode(), values or None)
            except psycopg.Error as error:
                outcomes[position] = error.diag.message_hint or error.sqlstate

    threads = [threading.Thread(target=run, args=(position, *call)) for position, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def artwork(database: Database, seller: str, title: str = "Work", status: str = "published") -> str:
    """An artwork; its id."""
    return str(
        database.value(
            "insert into public.artworks (seller_id, title, image_url, price_cents, category, status)"
            " values (%s, %s, 'https://example.com/1.png', 5000, 'digital', %s) returning id",
            seller,
            title,
            status,
        )
    )


ORDER = """
    with o as (
        insert into public.orders (user_id, subtotal_cents, total_cents) values (%s, 5000, 5000) returning id
    )
    insert into public.order_items (
        order_id, line_no, kind, item_id, buyer_id, seller_id, title, unit_price_cents, seller_tier, commission_bps
    )
    select o.id, 1, 'artwork', %s, %s, %s, 'Work', 5000, 'basic', 4000 from o
    returning order_id
"""


def test_one_username_for_many(database: Database) -> None:
    """Thirty people sign up for one name in different letter case; one gets it, all get an account."""
    people = [str(uuid.uuid4()) for _ in range(30)]
    statement = "insert into auth.users (id, email, raw_user_meta_data) values (%s, %s, %s)"
    calls: list[tuple[str | None, str, tuple[object, ...]]] = [
        (None, statement, (user, f"{user}@example.com", json.dumps({"username": "Wanted" if n % 2 else "wanted"})))
        for n, user in enumerate(people)
    ]
    assert at_once(database, calls) == [None] * 30
    rows = database.run("select username::text as name from public.profiles where id = any(%s::uuid[])", people)
    names = [row["name"].lower() for row in rows]
    assert len(names) == len(set(names)) == 30
    assert names.count("wanted") == 1
    assert all(name.startswith("wanted") for name in names)
    assert database.value("select count(*) from public.wallets where user_id = any(%s::uuid[])", people) == 30


def test_one_title_for_many(database: Database) -> None:
    """Products of one title created together all get an address of their own."""
    seller = sign_up(database, "titles")
    statement = "insert into public.products (title) values ('Same title')"
    assert at_once(database, [(seller, statement, ())] * 20) == [None] * 20
    slugs = database.run("select slug::text as slug from public.products where seller_id = %s", seller)
    assert len({row["slug"] for row in slugs}) == 20


def test_featured_limit(database: Database) -> None:
    """Twelve items featured together on a plan for three, of both kinds."""
    seller = sign_up(database, "featurer")
    database.run("update public.subscriptions set plan_key = 'creator_premium' where user_id = %s", seller)
    works = [artwork(database, seller) for _ in range(6)]
    products = [
        str(database.value("insert into public.products (seller_id, title) values (%s, 'P') returning id", seller))
        for _ in range(6)
    ]
    outcomes = at_once(
        database,
        [(seller, "update public.artworks set is_featured = true where id = %s", (work,)) for work in works]
        + [(seller, "update public.products set is_featured = true where id = %s", (product,)) for product in products],
    )
    assert Counter(outcomes) == {None: 3, "featured_limit_reached": 9}
    query = "select count(*) from public.catalog_items where seller_id = %s and is_featured"
    assert database.value(query, seller) == 3


def test_ban_meets_publishing(database: Database) -> None:
    """However a ban and the publishing of items interleave, nothing of a banned seller is on sale, and nobody
    deadlocks.
    """
    admin = sign_up(database, "ban-admin")
    database.run("select private.grant_role(%s, 'admin')", admin)
    for attempt in range(5):
        seller = sign_up(database, f"publisher{attempt}")
        drafts = [artwork(database, seller, status="draft") for _ in range(8)]
        create = (
            "insert into public.artworks (title, image_url, price_cents, category, status)"
            " values ('New', 'https://example.com/1.png', 5000, 'digital', 'published')"
        )
        publish = "update public.artworks set status = 'published' where id = %s"
        outcomes = at_once(
            database,
            [
                (admin, "select public.ban_user(%s, 'race')", (seller,)),
                *((seller, publish, (draft,)) for draft in drafts),
                *((seller, create, ()) for _ in range(4)),
            ],
        )
        assert outcomes[0] is None
        assert not NOBODY_LOST & set(outcomes)
        listed = "select count(*) from public.catalog_items where seller_id = %s and is_visible"
        assert database.value(listed, seller) == 0
        counted = (
            "select (select published_count from public.profile_counts where user_id = %s and kind = 'artwork')"
            " - (select count(*) from public.catalog_items where seller_id = %s and is_published)"
        )
        assert database.value(counted, seller, seller) == 0


def test_deletion_meets_selling(database: Database) -> None:
    """An account is deleted while its owner publishes and renames: the deletion always works.

    At once nobody sees anything of it; the items themselves follow in steps.
    """
    visible = "select count(*) from public.catalog_items where seller_id = %s and is_visible"
    for attempt in range(5):
        seller = sign_up(database, f"leaver{attempt}")
        works = [artwork(database, seller, status="draft") for _ in range(8)]
        change = "update public.artworks set status = 'published', title = 'Changed' where id = %s"
        outcomes = at_once(
            database,
            [
                (None, "delete from auth.users where id = %s", (seller,)),
                *((seller, change, (work,)) for work in works),
            ],
        )
        assert outcomes[0] is None
        assert not NOBODY_LOST & set(outcomes)
        with database.connect() as connection, connection.transaction():
            connection.execute("set local role anon")
            seen = connection.execute("select count(*) from public.catalog_items where seller_id = %s", [seller])
            assert seen.fetchone() == (0,)
        follow_accounts(database)
        assert database.value(visible, seller) == 0
        assert database.value("select count(*) from private.account_changes where user_id = %s", seller) == 0
        username = "select username::text from public.profiles where id = %s"
        assert (database.value(username, seller) or "deleted-").startswith("deleted-")


def test_deletion_meets_ordering(database: Database) -> None:
    """An item is ordered while its seller's account is deleted: the deletion works, and an order keeps its item."""
    buyer = sign_up(database, "orderer")
    for attempt in range(5):
        seller = sign_up(database, f"ordered{attempt}")
        work = artwork(database, seller)
        outcomes = at_once(
            database,
            [
                (None, "delete from auth.users where id = %s", (seller,)),
                (None, ORDER, (buyer, work, buyer, seller)),
            ],
        )
        assert outcomes[0] is None
        ordered = database.value("select count(*) from public.order_items where item_id = %s", work)
        assert ordered == (0 if outcomes[1] else 1)
        assert database.value("select count(*) from public.artworks where id = %s", work) == ordered


def test_last_super_admin(database: Database) -> None:
    """Super admins dismiss or ban each other at the same instant; one is always left."""
    for act in ("select public.set_role(%s, 'member')", "select public.ban_user(%s, 'race')"):
        database.run("update public.profiles set role = 'member' where role = 'super_admin'")
        first, second = (sign_up(database, f"chief-{uuid.uuid4().hex[:8]}") for _ in range(2))
        for chief in (first, second):
            database.run("select private.grant_role(%s, 'super_admin')", chief)
        outcomes = at_once(database, [(first, act, (second,)), (second, act, (first,))])
        assert outcomes.count(None) == 1
        left = "select count(*) from public.profiles where role = 'super_admin' and not is_banned"
        assert database.value(left) == 1


def test_last_file(database: Database) -> None:
    """The two files of a product on sale are removed together: one stays."""
    seller = sign_up(database, "filer")
    product = database.value("insert into public.products (seller_id, title) values (%s, 'Files') returning id", seller)
    for name in ("a.wav", "b.wav"):
        path = f"{seller}/{name}"
        metadata = json.dumps({"size": 10, "mimetype": "audio/wav"})
        database.run(
            "insert into storage.objects (bucket_id, name, metadata) values ('product-files', %s, %s)", path, metadata
        )
        database.run("insert into public.product_files (product_id, path) values (%s, %s)", product, path)
    database.run("update public.products set status = 'active' where id = %s", product)
    remove = "delete from public.product_files where path = %s"
    outcomes = at_once(database, [(seller, remove, (f"{seller}/{name}",)) for name in ("a.wav", "b.wav")])
    assert sorted(map(str, outcomes)) == ["None", "product_has_no_files"]
    assert database.value("select file_size_bytes from public.products where id = %s", product) == 10


@pytest.mark.parametrize("statement", ["update storage.objects set version = '2'", "delete from storage.objects"])
@pytest.mark.parametrize("bucket", ["product-files", "attachments"])
def test_an_upload_that_ends_while_its_file_is_named_changes_nothing(
    database: Database, bucket: str, statement: str
) -> None:
    """An upload to the same path, or its deletion, reaches the row while an item or a message begins to refer to it."""
    person = sign_up(database, f"late-{uuid.uuid4().hex[:8]}")
    if bucket == "attachments":
        other = sign_up(database, f"other-{uuid.uuid4().hex[:8]}")
        with database.connect() as connection, connection.transaction():
            connection.execute(
                "select set_config('request.jwt.claims', %s, true)", [json.dumps({"sub": person, "role": "x"})]
            )
            (talk,) = connection.execute(
                "select id from public.start_conversation(array[%s::uuid])", [other]
            ).fetchone()
        path = f"{person}/{talk}/a.wav"
        name = "insert into public.messages (sender_id, conversation_id, attachments) values (%s, %s, array[%s])"
        values = [person, talk, path]
    else:
        item = database.value("insert into public.products (seller_id, title) values (%s, 'Late') returning id", person)
        path = f"{person}/a.wav"
        name = "insert into public.product_files (product_id, path) values (%s, %s)"
        values = [item, path]
    database.run("insert into storage.objects (bucket_id, name, version) values (%s, %s, '1')", bucket, path)
    outcome: list[object] = []

    def finish() -> None:
        with database.connect() as connection:
            connection.execute("set storage.allow_delete_query = 'true'")
            connection.execute("set application_name = 'late upload'")
            try:
                outcome.append(connection.execute(f"{statement} where name = %s".encode(), [path]).rowcount)
            except psycopg.errors.InsufficientPrivilege:
                outcome.append("refused")

    late = threading.Thread(target=finish)
    with database.connect() as connection, connection.transaction():
        connection.execute(name.encode(), values)
        late.start()
        waits = (
            "select count(*) from pg_stat_activity where application_name = 'late upload' and wait_event_type = 'Lock'"
        )
        until(lambda: database.value(waits), "it waits for the row")
    late.join()
    assert outcome == ["refused" if statement.startswith("update") else 0]
    assert database.value("select version from storage.objects where name = %s", path) == "1"


def test_one_of_a_kind_is_sold_once(database: Database) -> None:
    """Thirty settlements of one artwork: one gets it."""
    seller = sign_up(database, "unique-seller")
    work = artwork(database, seller)
    buyers = [sign_up(database, f"unique-buyer-{n}") for n in range(30)]
    orders = [database.value(ORDER, buyer, work, buyer, seller) for buyer in buyers]
    outcomes = at_once(database, [(None, "select private.grant_orders(array[%s]::uuid[])", (o,)) for o in orders])
    assert Counter(outcomes) == {None: 1, "23505": 29}
    assert database.value("select status::text from public.artworks where id = %s", work) == "sold"
    assert database.value("select count(*) from public.purchases where item_id = %s", work) == 1


@pytest.mark.parametrize("role", ["authenticated", "service_role"])
def test_nobody_writes_sold(database: Database, role: str) -> None:
    """No API role writes an artwork's status sold, whatever its grants."""
    seller = sign_up(database, f"sold-{role.replace('_', '-')}")
    work = artwork(database, seller)
    with database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("grant update on public.artworks to service_role")
        connection.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            [role, json.dumps({"sub": seller, "role": role})],
        )
        with pytest.raises(psycopg.Error) as refused:
            connection.execute("update public.artworks set status = 'sold' where id = %s", [work])
        assert refused.value.diag.message_hint == "status_not_allowed"
