"""Nobody fills the lock table of a small server: it is shared by everybody, webhooks included."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from stack.cluster import Cluster
from tests.catalog.test_races import at_once, sign_up
from tests.harness import server as test_server
from tests.harness.people import lift_limits
from tests.harness.server import Database

CLIENTS, ROWS = 16, 1000
INSERTS = [
    "insert into public.products (title) select 'Song ' || n from generate_series(1, %s) as n",
    "insert into public.artworks (title, image_url, price_cents, category, status)"
    " select 'Song ' || n, 'https://e.com/1.png', 100, 'other', 'published' from generate_series(1, %s) as n",
    "insert into public.articles (title, is_published) select 'Song ' || n, true from generate_series(1, %s) as n",
    "insert into public.groups (name) select 'Song ' || n from generate_series(1, %s) as n",
]
FOLLOW = "insert into public.follows (following_id) select id from public.profiles where username like 'star%%'"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A server with the smallest lock table there is; building the schema takes a larger one."""
    cluster = Cluster(tmp_path_factory.mktemp("small"), options={**test_server.OPTIONS, "max_connections": 40})
    try:
        cluster.init()
        name = test_server.build_template(cluster)
        cluster.stop()
        cluster.options["max_locks_per_transaction"] = 10
        cluster.start()
        yield Database(cluster, name)
    finally:
        cluster.destroy()


def test_sixteen_clients_insert_a_thousand_rows_each(small: Database) -> None:
    """Of one set of titles, in four tables; everybody else goes on working."""
    members = [sign_up(small, f"bulk{n}") for n in range(CLIENTS)]
    lift_limits(small, *members)
    small.run("update public.profiles set role = 'author' where id = any(%s::uuid[])", members)
    done, failures = threading.Event(), []

    def go_on() -> None:
        """Somebody else's day: an account, an item, its neighbors."""
        while not done.is_set():
            try:
                user = sign_up(small, "neighbor")
                small.run("insert into public.products (seller_id, title) values (%s, 'Beat')", user)
                small.run("select count(*) from public.catalog_items where is_listed")
            except Exception as error:
                failures.append(error)

    others = threading.Thread(target=go_on)
    others.start()
    try:
        outcomes = at_once(small, [(member, INSERTS[n % 4], (ROWS,)) for n, member in enumerate(members)])
    finally:
        done.set()
        others.join()
    assert outcomes == [None] * CLIENTS
    assert failures == []
    for table in ("products", "artworks", "articles", "groups"):
        counts = small.run(
            f"select count(*) as all, count(distinct slug) as slugs, count(*) filter (where slug ~ '^song-[0-9]+$') as"
            f" plain from public.{table} where slug like 'song-%%'"
        )
        (count,) = counts
        assert count["all"] == count["slugs"] == CLIENTS // 4 * ROWS, table
        assert count["plain"] > 0, "the first of a title needs no ending"


def test_sixteen_clients_follow_a_thousand_people_each(small: Database) -> None:
    """One request names them all; who is followed is locked by stripes, not one by one."""
    small.run(
        "insert into auth.users (id, email, email_confirmed_at, raw_user_meta_data)"
        " select gen_random_uuid(), 'star' || n || '@example.com', now(), jsonb_build_object('username', 'star' || n)"
        " from generate_series(1, %s) as n",
        ROWS,
    )
    fans = [sign_up(small, f"fan{n}") for n in range(CLIENTS)]
    lift_limits(small, *fans)
    assert at_once(small, [(fan, FOLLOW, ()) for fan in fans]) == [None] * CLIENTS
    assert small.value("select min(followers_count) from public.profiles where username like 'star%%'") == CLIENTS
