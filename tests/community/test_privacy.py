"""What must not be seen, looked for on every route there is, by everybody who must not see it.

The routes are read from the catalog (tests/community/catalog.py), what is searched for are the ids and words of what is
secret and of everything that mentions it: a table or function added later is covered without being named here.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest

from stack.services import Services
from tests.community import catalog
from tests.community.catalog import Catalog
from tests.community.world import Community
from tests.harness.people import Api
from tests.harness.server import Database

EVERYBODY = ("anon", "stranger", "blocked", "blocker", "outsider", "outlaw", "helper", "admin")
NO_ADMIN = EVERYBODY[:-1]
OUTSIDE = EVERYBODY[:-2]
PRIVATE, MEMBERS, HIDER, BANNED, DELETED = "zq1private", "zq2members", "zq3hider", "zq4banned", "zq5deleted"
PEOPLE = (PRIVATE, MEMBERS, HIDER, BANNED, DELETED)

# Whose a row is: its own writer may go on reading it, ids of what became invisible included, never the words.
OWNERS = ("user_id", "author_id", "seller_id", "reporter_id", "follower_id", "blocker_id", "invited_by")

# (relation, column) that may carry an id that leads nowhere for the reader, with the reason.
ALLOWED_IDS: dict[tuple[str, str], str] = {
    ("groups", "owner_id"): "a group's page is for everybody, whoever owns it; the embedded owner is null",
    ("comments", "parent_comment_id"): "a reply is its writer's, and stays when what it replies to does not",
}
# (secret, relation) where somebody may be found after all, with the reason.
WINDOW = "a shop window is for everybody: members_only hides the person, whose embedded profile is null, not the goods"
WORDS = "tags are words everybody may read somewhere; a block does not unmake them, and they say nothing of who"
ALLOWED_PLACES = {
    (MEMBERS, "catalog_items"): WINDOW,
    (MEMBERS, "products"): WINDOW,
    (MEMBERS, "artworks"): WINDOW,
    (HIDER, "tags"): WORDS,
}
# Functions that name people to whoever asks, with the reason.
ALLOWED_ANSWERS = {
    ("blocker", "blocked_profiles"): "who blocked somebody must know whom to unblock",
    ("blocked", "inbox"): "who talked with somebody knows them",
    ("helper", "inbox"): "who talks with somebody knows them, whatever becomes of them",
}
# Functions whose rows are those of a relation, so that who may be found there may be found by them.
ANSWERS_ROWS_OF = {"search_catalog": "catalog_items"}
# Conversations: who takes part knows the others, whatever becomes of them.
TALKERS = ("helper", "blocked")
TALK = {"conversations", "conversation_participants", "inbox_entries", "messages"}


@dataclass(frozen=True)
class Secret:
    """Something and from whom it is hidden. ids of people and rows, and words planted in texts."""

    name: str
    hidden_from: tuple[str, ...]
    words: set[str]
    ids: set[str]
    by_relation: dict[str, set[str]] = field(default_factory=dict)

    @property
    def kinds(self) -> list[set[str]]:
        return list(self.by_relation.values())


@dataclass(frozen=True)
class Town:
    """The community, what is secret in it, who looks, and what can be asked."""

    community: Community
    catalog: Catalog
    apis: dict[str, Api]
    secrets: list[Secret]
    own: dict[str, set[str]]  # ids of what each viewer wrote

    def hidden_from(self, viewer: str) -> list[Secret]:
        return [secret for secret in self.secrets if viewer in secret.hidden_from]

    def role(self, viewer: str) -> str:
        return "anon" if viewer == "anon" else "authenticated"


@pytest.fixture(scope="module")
def town(services: Services, database: Database) -> Iterator[Town]:
    with database.connect() as connection:
        yield build(Community(services, database, connection))


def build(community: Community) -> Town:
    """Everybody writes everything, then some of it becomes invisible."""
    act, run, insert, call, made = community.act, community.run, community.insert, community.call, community.made
    community.enroll("helper", "insider", "stranger", "blocked", "blocker", "outsider", "outlaw", "admin", *PEOPLE)
    run("update public.profiles set role = 'admin' where username = 'the-admin'")

    groups = {}
    for name, owner, visibility, strict in (
        ("commons", "helper", "public", False),
        ("strict", "helper", "public", True),
        ("zq6secret", "insider", "secret", False),
    ):
        groups[name] = insert(
            owner, "groups", name=f"group {name}", description=f"about {name}", visibility=visibility,
            post_approval_required=strict, rules=f"rules {name}", tags=[f"tag{name}"],
        )["id"]  # fmt: skip
    for name in ("insider", *PEOPLE):
        for group in ("commons", "strict"):
            call(name, "join_group", group_id=groups[group])
    for name in (PRIVATE, HIDER):
        insert(name, "groups", name="A group of somebody", visibility="public")
    community.settle("helper", "helper", "helper", groups["commons"])
    community.settle("insider", "insider", "helper", groups["commons"])
    for name in PEOPLE:
        community.settle(name, name, "helper", groups["commons"])
    # Two who got on well, until one blocked the other.
    theirs = insert("blocked", "posts", content="of blocked")["id"]
    insert(HIDER, "comments", content=f"said to blocked {HIDER}", post_id=theirs)
    insert(HIDER, "post_likes", post_id=theirs)
    insert(HIDER, "follows", following_id=community.id("blocked"))
    insert("blocked", "follows", following_id=community.id(HIDER))
    insert("blocked", "post_likes", post_id=made[HIDER]["post"])
    insert("blocked", "favorites", item_id=made[HIDER]["artwork"])
    insert("blocked", "comments", content="said to hider", post_id=made[HIDER]["post"])
    insert("blocked", "comments", content="said again", item_id=made[HIDER]["artwork"])
    talk = call("blocked", "start_conversation", user_ids=[community.id(HIDER)])["id"]
    insert(HIDER, "messages", conversation_id=talk, content=f"message {HIDER}")
    # Never in the group, thrown out of it, or not let in.
    call("outsider", "join_group", group_id=groups["commons"])
    call("helper", "ban_member", group_id=groups["commons"], user_id=community.id("outsider"))

    post = insert("insider", "posts", content="zq6secret #zq6secret", group_id=groups["zq6secret"])["id"]
    insert("insider", "comments", content="zq6secret", post_id=post)
    insert("insider", "post_likes", post_id=post)
    call("insider", "invite_to_group", group_id=groups["zq6secret"], user_id=community.id(HIDER))
    inside = insert("insider", "posts", content="zq7inside", group_id=groups["commons"])["id"]
    insert("helper", "comments", content="zq7inside", post_id=inside)
    hidden = insert("insider", "posts", content="zq8hidden #zq8hidden")["id"]
    insert("helper", "comments", content="said to it", post_id=hidden)
    comment = insert("insider", "comments", content="zq9comment", post_id=made["helper"]["post"])["id"]
    waiting = insert("insider", "posts", content="zq10waiting", group_id=groups["strict"])["id"]
    article = insert("insider", "articles", title="zq11article", content="zq11article", is_published=True)["id"]
    draft = insert("insider", "articles", title="zq12draft", content="zq12draft")["id"]
    sketch = insert(
        "insider", "artworks", title="zq12draft", image_url="https://art.example/x", price_cents=500, category="digital"
    )["id"]
    message = insert(
        "insider", "messages", conversation_id=made["insider"]["conversation"], content="zq13message to helper"
    )["id"]
    place = {"city": "zq14place", "country": "zq14place", "visibility": "hidden"}
    call("insider", "set_my_location", source="manual", lat=52.5, lon=13.4, **place)

    seeds: list[tuple[str, tuple[str, ...], set[str], set[str]]] = [
        (name, hidden_from, {name}, {community.id(name)})
        for name, hidden_from in (
            (PRIVATE, NO_ADMIN),
            (MEMBERS, ("anon", "outlaw")),
            (HIDER, ("blocked", "blocker")),
            (BANNED, NO_ADMIN),
            (DELETED, NO_ADMIN),
        )
    ]
    seeds += [
        ("secret group", NO_ADMIN, {"zq6secret"}, {groups["zq6secret"]}),
        ("post in a group", OUTSIDE, {"zq7inside"}, {inside}),
        ("hidden post", NO_ADMIN, {"zq8hidden"}, {hidden}),
        ("hidden comment", NO_ADMIN, {"zq9comment"}, {comment}),
        ("post that waits", OUTSIDE, {"zq10waiting"}, {waiting}),
        ("hidden article", NO_ADMIN, {"zq11article"}, {article}),
        ("draft", NO_ADMIN, {"zq12draft"}, {draft, sketch}),
        ("message", (*OUTSIDE, "admin"), {"zq13message"}, {message}),
        ("place", EVERYBODY, {"zq14place"}, set()),
    ]
    secrets = []
    for name, hidden_from, words, ids in seeds:
        found = community.closure(words | ids, ALLOWED_IDS)
        by_relation = {"profiles": {id for id in ids if name in PEOPLE}}
        for relation in community.relations():
            by_relation[relation] = by_relation.get(relation, set()) | (community.ids_of(relation) & found)
        secrets.append(Secret(name, hidden_from, words, found - words, by_relation))

    # What makes them secrets comes last: whatever keeps copies has to follow.
    act(PRIVATE, "select public.set_profile_visibility('private')")
    act(MEMBERS, "select public.set_profile_visibility('members_only')")
    insert(PRIVATE, "posts", content=f"later {PRIVATE}")
    insert(PRIVATE, "comments", content=f"later {PRIVATE}", post_id=made["helper"]["post"])
    insert(HIDER, "user_blocks", blocked_id=community.id("blocked"))
    insert("blocker", "user_blocks", blocked_id=community.id(HIDER))
    call("admin", "hide_content", target_type="post", target_id=hidden, reason="zq8hidden")
    call("admin", "hide_content", target_type="comment", target_id=comment, reason="zq9comment")
    call("admin", "hide_content", target_type="article", target_id=article, reason="zq11article")
    call("admin", "ban_user", user_id=community.id(BANNED), reason=f"because {BANNED}")
    call("admin", "ban_user", user_id=community.id("outlaw"), reason="because")
    run("delete from auth.users where id = %s", community.id(DELETED))

    apis = {name: person.api for name, person in community.people.items()} | {"anon": Api(community.services)}
    offered = catalog.read(community.database)
    own = {
        name: {
            row["id"]
            for relation in community.relations()
            for column in offered.relations[relation].columns
            if column.name in OWNERS
            for row in run(f"select id::text from public.{relation} where {column.name} = %s", person.id)
        }
        for name, person in community.people.items()
    }
    return Town(community, offered, apis, secrets, own)


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass
class Leaks:
    """What was found where it must not be."""

    town: Town
    viewer: str
    found: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.secrets = self.town.hidden_from(self.viewer)
        self.words = {word: secret.name for secret in self.secrets for word in secret.words}
        self.ids = {id: secret.name for secret in self.secrets for id in secret.ids}
        self.pattern = re.compile("|".join(map(re.escape, {**self.words, **self.ids} or {"nothing": ""})))

    def look(self, where: str, text: str, own: bool = False, sent: str = "", relation: str = "") -> None:
        """Note every secret token in a text. own: ids may be known; sent: what was in the question itself."""
        for token in self.pattern.findall(text):
            secret = self.words.get(token) or self.ids.get(token, "")
            if token not in sent and not (own and token in self.ids) and (secret, relation) not in ALLOWED_PLACES:
                self.found.add(f"{where}: {secret} ({token})")

    def look_at_rows(self, where: str, relation: str, rows: object) -> None:
        """Note what rows of a relation carry, and the rows embedded in them."""
        if relation in TALK and self.viewer in TALKERS:
            return
        me = self.town.community.people[self.viewer].id if self.viewer != "anon" else None
        for row in rows if isinstance(rows, list) else [rows]:
            if not isinstance(row, dict):
                self.look(where, json.dumps(row))
                continue
            own = me is not None and any(row.get(column) == me for column in OWNERS)
            for column, value in row.items():
                embedded = re.fullmatch(r"[em]\d+_(\w+)", column)
                if embedded and value:
                    self.look_at_rows(f"{where} {column}", embedded[1], value)
                elif (relation, column) not in ALLOWED_IDS:
                    self.look(f"{where}.{column}", json.dumps(value), own, relation=relation)


@pytest.mark.parametrize("viewer", EVERYBODY)
def test_no_relation_shows_it(town: Town, viewer: str) -> None:
    """Everything a viewer can select of every relation, with every computed field and every way to embed."""
    leaks, http, role = Leaks(town, viewer), town.apis[viewer].http, town.role(viewer)
    readable = town.catalog.readable(role)
    for name, relation in town.catalog.relations.items():
        answer = http.get(f"/rest/v1/{name}", params={"select": "*"})
        if name not in readable:
            assert answer.status_code in (401, 403), f"{name}: {answer.text}"
            continue
        assert answer.status_code == 200, f"{name}: {answer.text}"
        rows = answer.json()
        assert len(rows) < 1000, f"{name} has more than a page: nothing would be proved"
        leaks.look_at_rows(name, name, rows)
        answer = http.get(f"/rest/v1/{name}", params={"select": relation.everything(role, readable)})
        assert answer.status_code == 200, f"{name}: {answer.text}"
        leaks.look_at_rows(name, name, answer.json())
    assert not leaks.found, "\n".join(sorted(leaks.found))


@pytest.mark.parametrize("viewer", EVERYBODY)
def test_no_count_betrays_it(town: Town, viewer: str) -> None:
    """Filtering by what is secret finds nothing, not even a number."""
    http, role = town.apis[viewer].http, town.role(viewer)
    me = None if viewer == "anon" else town.community.id(viewer)
    found = []
    for name in sorted(town.catalog.readable(role)):
        relation = town.catalog.relations[name]
        ids = [column for column in relation.columns if column.is_uuid and (name, column.name) not in ALLOWED_IDS]
        texts = [c for c in relation.columns if c.type in ("text", "http_url", "extensions.citext", "citext")]
        mine = [column.name for column in relation.columns if column.name in OWNERS]
        for secret in town.hidden_from(viewer):
            if (secret.name, name) in ALLOWED_PLACES or (name in TALK and viewer in TALKERS):
                continue
            tests = [f"{column.name}.ilike.*{word}*" for column in texts for word in secret.words]
            for column in ids:
                kind = name if column.name == "id" else column.refers_to
                # Addresses have a limit; a column that may refer to anything is asked for one of each kind.
                meant = secret.by_relation.get(kind, set()) if kind else set(map(min, filter(None, secret.kinds)))
                if meant:
                    tests.append(f"{column.name}.in.({','.join(sorted(meant)[:20])})")
            if not tests:
                continue
            query = {"or": f"({','.join(tests)})", "select": "*"}
            if me and mine:
                query["and"] = f"({','.join(f'or({column}.is.null,{column}.neq.{me})' for column in mine)})"
            answer = http.request("HEAD", f"/rest/v1/{name}", params=query, headers={"prefer": "count=exact"})
            if answer.headers.get("content-range") != "*/0":
                found.append(f"{name}: {secret.name}: {answer.status_code} {answer.headers.get('content-range')}")
    assert not found, "\n".join(found)


# -- asking -----------------------------------------------------------------------------------------------------------

PROBED = ("anon", "stranger", "blocked", "blocker", "outsider", "helper")
# Which relation's ids an argument of this name means; other names are tried with every kind.
MEANT = {
    "after_id": "posts",
    "before_id": "posts",
    "report_id": "reports",
    "request_id": "custom_field_requests",
    "order_id": "orders",
    "order_item_id": "orders",
    "payout_id": "payouts",
    "product_id": "catalog_items",
    "user_id": "profiles",
    "profile_id": "profiles",
    "user_ids": "profiles",
    "new_owner_id": "profiles",
    "post_id": "posts",
    "group_id": "groups",
    "comment_id": "comments",
    "article_id": "articles",
    "item_id": "catalog_items",
    "conversation_id": "conversations",
    "message_id": "messages",
}


def specimens(town: Town, viewer: str, relation: str | None = None) -> list[tuple[str, str]]:
    """(secret, id): one id of each kind of row of each secret, none of the viewer's own."""
    found = []
    for secret in town.hidden_from(viewer):
        for kind, ids in secret.by_relation.items():
            others = ids - town.own.get(viewer, set())
            if others and relation in (None, kind) and not (viewer in TALKERS and kind in TALK):
                found.append((f"{secret.name} {kind}", min(others)))
    return found


def outcome(answer: httpx.Response, token: str) -> tuple[int, str]:
    """An answer without what was asked for."""
    return answer.status_code, answer.text.replace(token, "?")


@pytest.mark.parametrize("viewer", PROBED)
def test_functions_answer_as_if_it_did_not_exist(town: Town, viewer: str) -> None:
    """Every function with an id: of something secret, and of nothing at all, answered alike."""
    leaks, api, role = Leaks(town, viewer), town.apis[viewer], town.role(viewer)
    for function in town.catalog.functions:
        if role not in function.callers:
            continue
        for argument in function.of_type("uuid", "uuid[]"):
            plural = argument in function.of_type("uuid[]")
            relation = MEANT.get(argument)
            base = function.call()
            nothing = str(uuid4())
            expected = outcome(api.rpc(function.name, **base | {argument: [nothing] if plural else nothing}), nothing)
            for name, id in specimens(town, viewer, relation):
                got = api.rpc(function.name, **base | {argument: [id] if plural else id})
                if (viewer, function.name) not in ALLOWED_ANSWERS:
                    leaks.look(f"{function.name}({argument})", got.text, sent=id)
                if outcome(got, id) != expected:
                    leaks.found.add(f"{function.name}({argument}: {name}): {outcome(got, id)} instead of {expected}")
    assert not leaks.found, "\n".join(sorted(leaks.found))


@pytest.mark.parametrize("viewer", PROBED)
def test_searches_find_nothing_of_it(town: Town, viewer: str) -> None:
    """Every function with a text: the words of secrets, and a word nobody used."""
    leaks, api, role = Leaks(town, viewer), town.apis[viewer], town.role(viewer)
    for function in town.catalog.functions:
        if role not in function.callers or function.of_type("uuid"):
            continue
        optional = function.call()
        for argument in function.of_type("text", "extensions.citext"):
            for secret in town.hidden_from(viewer):
                for word in secret.words:
                    got = api.rpc(function.name, **{argument: word})
                    if got.status_code == 404 and "PGRST202" in got.text:
                        got = api.rpc(function.name, **optional | {argument: word})
                    rows_of = ANSWERS_ROWS_OF.get(function.name, "")
                    leaks.look(f"{function.name}({argument})", got.text, sent=word, relation=rows_of)
                    if (secret.name, rows_of) in ALLOWED_PLACES:
                        continue
                    if got.is_success and got.json() not in ([], None, 0, False) and word in got.text:
                        leaks.found.add(f"{function.name}({argument}: {word}): {got.text[:200]}")
    assert not leaks.found, "\n".join(sorted(leaks.found))


@pytest.mark.parametrize("viewer", NO_ADMIN)
def test_lists_without_a_question_do_not_show_it(town: Town, viewer: str) -> None:
    """Every reading function, called with nothing but what it must have: feeds, lists, what is near."""
    leaks, api, role = Leaks(town, viewer), town.apis[viewer], town.role(viewer)
    for row in town.community.run(
        "select proname, pronargs - pronargdefaults as required from pg_proc "
        "where pronamespace = 'public'::regnamespace and provolatile <> 'v' and prokind = 'f'"
    ):
        for function in town.catalog.functions:
            if function.name != row["proname"] or role not in function.callers:
                continue
            needed = dict(list(function.call().items())[: row["required"]])
            for around in ({"lat": 52.5, "lon": 13.4, "radius_km": 100, "max_rows": 100}, {}):
                given = {name: around[name] for name, *_ in function.arguments if name in around}
                answer = api.rpc(function.name, **needed | given)
                if (viewer, function.name) in ALLOWED_ANSWERS:
                    continue
                if function.name == "export_my_data":
                    # One's own rows name what one reacted to; one's inbox begins with what one was told.
                    mine = {section: rows for section, rows in answer.json().items() if section != "inbox"}
                    leaks.look(function.name, json.dumps(mine), own=True)
                else:
                    leaks.look(function.name, answer.text, relation=ANSWERS_ROWS_OF.get(function.name, ""))
    assert not leaks.found, "\n".join(sorted(leaks.found))


@pytest.mark.parametrize("viewer", PROBED[1:])
def test_items_are_not_sold_or_served_as_if_they_did_not_exist(town: Town, viewer: str) -> None:
    """The two routes to an item that take its id elsewhere: in the cart sent to checkout, and at the workers."""
    api, found = town.apis[viewer], []

    def answers(id: str) -> list[tuple[int, str]]:
        line = {"item_id": id}
        asked = [api.rpc("checkout", items=items) for items in ([line], [line, line])]
        return [outcome(answer, id) for answer in (*asked, api.function("GET", f"downloads/{id}"))]

    expected = answers(str(uuid4()))
    tried = specimens(town, viewer, "catalog_items")
    assert tried
    for name, id in tried:
        got = answers(id)
        if got != expected:
            found.append(f"{name}: {got} instead of {expected}")
    assert not found, "\n".join(found)


def attempt(
    http: httpx.Client, address: str, base: dict[str, Any], column: str, token: str, prefer: str
) -> tuple[int, str]:
    """What inserting a row that refers to this id is answered."""
    return outcome(http.post(address, json=base | {column: token}, headers={"prefer": prefer}), token)


@pytest.mark.parametrize("viewer", PROBED[1:])
def test_inserts_answer_as_if_it_did_not_exist(town: Town, viewer: str) -> None:
    """Referring to something secret fails exactly like referring to nothing: policies, triggers, keys."""
    leaks, http = Leaks(town, viewer), town.apis[viewer].http
    for relation in town.catalog.relations.values():
        columns = [column for column in relation.columns if column.inserted]
        base = {column.name: column.sample for column in columns if column.required and not column.is_uuid}
        for column in columns:
            if not column.is_uuid or column.name == "id":
                continue
            for prefer in ("return=minimal", "resolution=ignore-duplicates,return=representation"):
                address = f"/rest/v1/{relation.name}"
                expected = attempt(http, address, base, column.name, str(uuid4()), prefer)
                for name, id in specimens(town, viewer, column.refers_to):
                    if (relation.name, viewer, id) == ("user_blocks", "blocker", town.community.id(HIDER)):
                        continue  # Whom they blocked is on their own list; blocking again finds it done.
                    got = attempt(http, address, base, column.name, id, prefer)
                    leaks.look(relation.name, got[1])
                    if got != expected:
                        leaks.found.add(f"{relation.name}.{column.name} {name}: {got} instead of {expected}")
    assert not leaks.found, "\n".join(sorted(leaks.found))


def test_distances_tell_no_more_than_a_cell(town: Town) -> None:
    """Two people kilometres apart in one cell answer alike, from wherever and however closely somebody asks."""
    community, found = town.community, []
    for who, lat, lon in (("stranger", 48.131, 11.531), ("outsider", 48.149, 11.549)):
        community.call(who, "set_my_location", source="manual", lat=lat, lon=lon, city="Munich")
    kept = community.run("select distinct latitude, longitude from public.profile_locations where city = 'Munich'")
    assert len(kept) == 1, "of the position itself nothing is kept"
    dice = random.Random(1)
    for _ in range(60):
        asked = {
            "lat": 48.14 + dice.uniform(-0.2, 0.2),
            "lon": 11.54 + dice.uniform(-0.3, 0.3),
            "radius_km": dice.choice([0.1, 1, 5, 10, 12, 20, 50]),
        }
        near = town.apis["helper"].rpc("nearby_profiles", **asked).json()
        found.append({row["username"]: row["distance_km"] for row in near})
    assert any(found), "somebody is near"
    for distances in found:
        assert distances.get("stranger") == distances.get("outsider")
        assert distances.get("stranger", 10) % 10 == 0


def test_estimated_counts_do_not_know_hidden_texts(town: Town) -> None:
    """An estimated count is made from all rows: it is not answered, nor would the statistics know texts."""
    community, me = town.community, town.community.id(PRIVATE)
    community.run("insert into public.posts (user_id, content) select %s, 'zq15often' from generate_series(1, 300)", me)
    community.run("analyze public.posts")
    for viewer in ("anon", "stranger"):
        for count in ("planned", "estimated"):
            often, never = (
                town.apis[viewer].http.get(
                    "/rest/v1/posts", params={"content": test}, headers={"prefer": f"count={count}"}
                )
                for test in ("eq.zq15often", "eq.zq15never")
            )
            assert "content-range" not in often.headers
            assert (often.status_code, often.text) == (never.status_code, never.text)
    known = "select 1 from pg_stats where tablename = 'posts' and attname = 'content'"
    assert community.run(known) == []
    community.run("delete from public.posts where content = 'zq15often'")


def test_taken_names_tell_only_what_addresses_tell(town: Town) -> None:
    """A username is an address and taken whoever has it. A secret group's address is never in the way."""
    http = town.apis["stranger"].http
    me = {"id": f"eq.{town.community.id('stranger')}"}
    hidden = http.patch("/rest/v1/profiles", params=me, json={"username": PRIVATE})
    shown = http.patch("/rest/v1/profiles", params=me, json={"username": "helper"})
    assert outcome(hidden, PRIVATE) == outcome(shown, "helper")
    made = http.post(
        "/rest/v1/groups", json={"name": "group zq6secret"}, headers={"prefer": "return=representation"}
    ).json()
    assert made[0]["slug"] == "group-zq6secret"
