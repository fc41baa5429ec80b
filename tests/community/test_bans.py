"""A ban stops everything from the next request on, also for whoever still holds a valid token. Walked over the catalog:
every verb on every relation and every function, so that what is added later is covered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stack.services import Services
from tests.community import catalog
from tests.community.catalog import Catalog
from tests.community.world import Community
from tests.harness.people import Api, code_of
from tests.harness.server import Database

# What a banned user reads beyond what everybody may are rows that name them: the ban, because they must learn why; the
# profile, because an application shows the own name and that it is banned; and what is read as far as the profile is.
# Computed fields say besides what they themselves liked and voted for.
# Functions that stay open, and why.
RIGHTS = {
    "delete_my_account": "leaving is a right, not a membership",
    "export_my_data": "so is taking one's data along",
    "clear_my_location": "so is taking back where one is",
}


@dataclass(frozen=True)
class Cell:
    """Somebody banned who had written one of everything, with the token from before."""

    community: Community
    catalog: Catalog
    banned: Api
    anon: Api
    me: str


@pytest.fixture(scope="module")
def cell(services: Services, database: Database) -> Iterator[Cell]:
    with database.connect() as connection:
        community = Community(services, database, connection)
        community.enroll("helper", "banned", "admin")
        community.run("update public.profiles set role = 'admin' where username = 'the-admin'")
        group = community.insert("helper", "groups", name="Commons")["id"]
        community.call("banned", "join_group", group_id=group)
        community.settle("helper", "helper", "helper", group)
        community.settle("banned", "banned", "helper", group)
        # An admin's powers end with the membership too.
        community.run("update public.profiles set role = 'admin' where username = 'banned'")
        community.run("insert into public.bans (user_id, reason) values (%s, 'test')", community.id("banned"))
        me = community.id("banned")
        yield Cell(community, catalog.read(database), community.people["banned"].api, Api(services), me)


def contents(community: Community) -> dict[str, list[str]]:
    """Every row of every relation clients could reach."""
    relations = community.run(
        "select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    return {
        row["name"]: sorted(r["t"] for r in community.run(f"select t::text from public.{row['name']} as t"))
        for row in relations
    }


def test_the_next_request_is_refused(services: Services, database: Database) -> None:
    """The same token, before and after."""
    with database.connect() as connection:
        community = Community(services, database, connection)
        community.enroll("somebody", "warden")
        community.run("update public.profiles set role = 'admin' where username = 'warden'")
        api, warden = community.people["somebody"].api, community.people["warden"].api
        assert api.http.post("/rest/v1/posts", json={"content": "hello"}).status_code == 201
        assert api.rpc("unread_counts").status_code == 200
        assert warden.rpc("ban_user", user_id=community.id("somebody"), reason="spam").status_code == 204
        assert api.http.post("/rest/v1/posts", json={"content": "hello"}).status_code == 403
        assert (api.rpc("unread_counts").status_code, code_of(api.rpc("unread_counts"))) == (403, "banned")
        assert api.select("posts", user_id=f"eq.{community.id('somebody')}") == []
        assert api.one("bans")["reason"] == "spam"
        assert warden.rpc("unban_user", user_id=community.id("somebody")).status_code == 204
        assert api.http.post("/rest/v1/posts", json={"content": "hello"}).status_code == 201


def test_reads_are_those_of_a_visitor(cell: Cell) -> None:
    """Of each relation a banned user sees at most what everybody sees, and rows about themselves."""
    seen: list[str] = []
    for name in cell.catalog.relations:
        mine = cell.banned.http.get(f"/rest/v1/{name}", params={"select": "*"})
        everybodys = cell.anon.http.get(f"/rest/v1/{name}", params={"select": "*"})
        rows = without(cell.me, mine.json()) if mine.status_code == 200 else []
        public = everybodys.json() if everybodys.status_code == 200 else []
        seen += [f"{name}: {row}" for row in rows if row not in public]
    assert not seen, "\n".join(seen)


def without(me: str, value: Any) -> Any:
    """Rows, and what is embedded in them, less those about oneself."""
    if isinstance(value, list):
        return [without(me, row) for row in value if not (isinstance(row, dict) and me in row.values())]
    if isinstance(value, dict):
        return {name: without(me, part) for name, part in value.items()}
    return value


def test_nothing_is_written(cell: Cell) -> None:
    """Every insert, update and delete there is a privilege for; afterwards nothing has changed."""
    before = contents(cell.community)
    http, wrong = cell.banned.http, []
    for name, relation in cell.catalog.relations.items():
        if relation.inserts:
            columns = [column for column in relation.columns if column.inserted]
            row: dict[str, Any] = {column.name: column.sample for column in columns if column.required}
            # References to what exists and is readable: only the ban is left to refuse it.
            for column in columns:
                found = cell.community.made["helper"].get(column.name.removesuffix("_id"))
                if column.is_uuid and column.refers_to and column.name != "id":
                    row |= {column.name: found} if found else {}
            for prefer in ("return=minimal", "resolution=ignore-duplicates", "resolution=merge-duplicates"):
                answer = http.post(f"/rest/v1/{name}", json=row, headers={"prefer": prefer})
                if answer.status_code not in (401, 403) and not str(answer.json().get("code", "")).startswith("PT"):
                    wrong.append(f"insert {name}: {answer.status_code} {answer.text}")
        key = next(column.name for column in relation.columns if column.key)
        every = {key: "not.is.null"}
        returned = {"prefer": "return=representation"}
        for column in relation.columns:
            if column.updated:
                answer = http.patch(
                    f"/rest/v1/{name}", params=every, json={column.name: column.sample}, headers=returned
                )
                if answer.status_code not in (401, 403) and answer.json() != []:
                    wrong.append(f"update {name}.{column.name}: {answer.status_code} {answer.text}")
        if relation.deletes:
            answer = http.delete(f"/rest/v1/{name}", params=every, headers=returned)
            if answer.status_code not in (401, 403) and answer.json() != []:
                wrong.append(f"delete {name}: {answer.status_code} {answer.text}")
    assert not wrong, "\n".join(wrong)
    assert contents(cell.community) == before


def test_every_function_says_banned(cell: Cell) -> None:
    """But those that are rights, and those visitors may call too, which answer them alike."""
    before = contents(cell.community)
    wrong = []
    for function in cell.catalog.functions:
        if "authenticated" not in function.callers or function.name in RIGHTS:
            continue
        arguments = function.call()
        answer = cell.banned.rpc(function.name, **arguments)
        if "anon" in function.callers:
            visitor = cell.anon.rpc(function.name, **arguments)
            if (answer.status_code, answer.text) != (visitor.status_code, visitor.text) and code_of(answer) != "banned":
                wrong.append(f"{function.name}: {answer.status_code} {answer.text}, a visitor gets {visitor.text}")
        elif (answer.status_code, code_of(answer)) != (403, "banned"):
            wrong.append(f"{function.name}: {answer.status_code} {answer.text}")
    assert not wrong, "\n".join(wrong)
    assert contents(cell.community) == before


def test_computed_fields_tell_no_more(cell: Cell) -> None:
    """Selecting everything with every embedding and computed field works, and shows what a visitor's does."""
    readable, wrong = cell.catalog.readable("anon"), []
    for name in readable:
        relation = cell.catalog.relations[name]
        own = {text for target, _, text in relation.computed if target is None}
        query = {"select": relation.everything("anon", readable)}
        mine = cell.banned.http.get(f"/rest/v1/{name}", params=query)
        visitors = cell.anon.http.get(f"/rest/v1/{name}", params=query)
        assert visitors.status_code == 200, f"{name}: {visitors.text}"
        assert mine.status_code == 200, f"{name}: {mine.text}"
        public = [less(row, own) for row in visitors.json()]
        wrong += [f"{name}: {row}" for row in without(cell.me, mine.json()) if less(row, own) not in public]
    assert not wrong, "\n".join(wrong)


def less(row: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """A row without some fields, embedded rows in one order."""
    return {
        name: sorted(value, key=json.dumps) if isinstance(value, list) else value
        for name, value in row.items()
        if name not in names
    }


def test_rights_stay(cell: Cell) -> None:
    """Last: the account takes its data along, not what others write to it, and goes."""
    exported = cell.banned.rpc("export_my_data").json()
    assert exported["ban"][0]["reason"] == "test"
    assert (bool(exported["conversations"]), exported["inbox"]) == (True, [])
    assert cell.banned.rpc("delete_my_account").status_code == 204
    assert cell.community.run("select 1 from public.profiles where id = %s", cell.me) == []
