"""The community that `make bench` measures in, tiny: it loads, its counters are right, its pages answer alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import community, likes, population
from tests.harness import server as test_server
from tests.harness.server import Database

SCALE = 0.01


@pytest.fixture(scope="module")
def loaded(database: Database) -> Database:
    # load() itself recounts every counter and fails when one is wrong.
    population.load(database.url("supabase_admin"), SCALE, quiet=True)
    return database


@pytest.fixture(scope="module")
def town(loaded: Database) -> Iterator[community.Town]:
    root = test_server.STATE / loaded.cluster.root.name / "services" / loaded.name
    town = community.Town(loaded.cluster, loaded.name, SCALE, root)
    yield town
    town.stop()


def test_there_are_as_many_as_the_scale_says(loaded: Database) -> None:
    size = population.sizes(SCALE)
    # One more is the platform's own profile.
    for relation, count in (("profiles", size["people"] + 1), ("posts", size["posts"]), ("groups", size["groups"])):
        assert loaded.value(f"select count(*) from public.{relation}") == count
    assert loaded.value("select count(*) from public.post_likes") > size["posts"]
    assert loaded.value("select count(*) from public.messages") > size["people"] * 5


def test_what_was_loaded_is_right(loaded: Database) -> None:
    assert loaded.run("select * from private.recount()") == []
    # Foreign keys were passed by while loading: none is broken.
    keys = loaded.run(
        "select conrelid::regclass::text as child, confrelid::regclass::text as parent, a.attname as key, "
        "b.attname as target from pg_constraint as c "
        "inner join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1] "
        "inner join pg_attribute as b on b.attrelid = c.confrelid and b.attnum = c.confkey[1] "
        "where c.contype = 'f' and cardinality(c.conkey) = 1 and c.connamespace = 'public'::regnamespace"
    )
    broken = [
        f"{k['child']}.{k['key']}"
        for k in keys
        if loaded.value(
            f"select count(*) from {k['child']} as c where c.{k['key']} is not null and not exists "
            f"(select from {k['parent']} as p where p.{k['target']} = c.{k['key']})"
        )
    ]
    assert not broken
    assert not loaded.value(
        "select count(*) from public.posts as p inner join public.profiles as a on a.id = p.user_id "
        "where p.author_audience <> private.author_audience(a)"
    )


@pytest.mark.parametrize("page", community.PAGES, ids=lambda page: page.name)
def test_a_page_answers_and_the_same_without_policies(town: community.Town, page: community.Page) -> None:
    town.check(page, members=10)


def test_measured_pages_have_as_much_at_every_scale(loaded: Database) -> None:
    member = population.member_id(3, SCALE)
    assert 80 <= loaded.value("select count(*) from public.follows where follower_id = %s", member) <= 150
    assert 8 <= loaded.value("select count(*) from public.group_members where user_id = %s", member) <= 11
    assert 25 <= loaded.value("select count(*) from public.inbox_entries where user_id = %s", member) <= 40


def test_hot_likes_count_exactly(loaded: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likes, "SECONDS", 1)
    monkeypatch.setattr(likes, "ROUNDS", 1)
    database = test_server.TEMPLATE
    loaded.cluster.create_database("hot", database)
    try:
        assert likes.Likes(loaded.cluster, "hot").measure(4, ">= 4").value > 0
    finally:
        for name in ("hot", "hot_plain"):
            loaded.cluster.drop_database(name)
