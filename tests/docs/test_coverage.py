"""docs/coverage: what a specification asked for, each with a place in the database that is there, or a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from stack.cluster import REPO
from tests.harness.server import Database

# The specifications' own words, which the pages must have.
ASKED = {
    "stageinseconds": {
        "auth_users": "id name email emailVerified image created_at updated_at",
        "auth_accounts": "id userId provider type providerAccountId access_token expires_at refresh_token "
        "id_token scope session_state token_type password created_at",
        "auth_sessions": "id userId expires sessionToken created_at",
        "auth_verification_token": "identifier token expires",
        "photo_jobs": "id user_id prompt photo_count cost status download_url group_name created_at updated_at",
        "user_credits": "id user_id credits free_used created_at updated_at",
        "purchases": "id user_id stripe_session_id amount credits_purchased status created_at",
    },
}
STATUSES = {
    "stageinseconds": {
        "photo_jobs": "pending processing completed failed",
        "purchases": "pending completed failed",
    },
}


def rows(name: str) -> list[tuple[str, list[str]]]:
    """The page's rows with the headline they stand under; without heads."""
    found, headline = [], ""
    for line in (REPO / f"docs/coverage/{name}.md").read_text().splitlines():
        if line.startswith("## "):
            headline = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| specification"):
            found.append((headline, [cell.strip() for cell in line.strip("|").split(" | ")]))
    return found


def places(cell: str) -> Iterator[str]:
    """Relations and columns that a cell names."""
    yield from re.findall(r"\b(?:auth|public|private|ledger|storage)\.\w+(?:\.\w+)?", cell)


@pytest.mark.parametrize("name", ASKED)
def test_nothing_is_left_out(name: str) -> None:
    said = {cells[0] for _, cells in rows(name)}
    wanted = set(ASKED[name])
    wanted |= {f"{table}.{column}" for table, columns in ASKED[name].items() for column in columns.split()}
    wanted |= {f"{table} {status}" for table, statuses in STATUSES[name].items() for status in statuses.split()}
    assert wanted - said == set()


@pytest.mark.parametrize("name", ASKED)
def test_every_place_is_there(name: str, database: Database) -> None:
    for headline, cells in rows(name):
        assert len(cells) == 3, f"{headline}: {cells}"
        assert all(cells), f"{headline}: an empty cell: {cells}"
        what, here, _ = cells
        named = list(places(here))
        if here == "none":
            continue
        assert named, f"{what}: {here} names nothing"
        for place in named:
            schema, relation, *column = place.split(".")
            assert database.value(
                "select count(*) from pg_catalog.pg_attribute as a where a.attrelid = to_regclass(%s) "
                "and not a.attisdropped and (%s = '' or a.attname = %s)",
                f"{schema}.{relation}",
                *(["".join(column)] * 2),
            ), f"{what}: there is no {place}"
        if status := re.search(r"= (\w+)$", here):
            relation, column = named[0].rsplit(".", 1)
            definition = database.value(
                "select string_agg(coalesce(pg_catalog.pg_get_constraintdef(c.oid), '') || coalesce(("
                "select string_agg(e.enumlabel, ' ') from pg_catalog.pg_enum as e where e.enumtypid = a.atttypid"
                "), ''), ' ') "
                "from pg_catalog.pg_attribute as a left join pg_catalog.pg_constraint as c on c.conrelid = a.attrelid "
                "where a.attrelid = to_regclass(%s) and a.attname = %s",
                relation,
                column,
            )
            assert re.search(rf"\b{status[1]}\b", definition), f"{what}: {here} is no state of it"
