"""Start a migration from what changed in sql/: text for a person to read, explain and finish."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path

from stack.cluster import REPO, SUPERUSER, StackError
from stack.database import supabase
from stack.schema import scratch, snapshot
from stack.schema.check import PLACEHOLDER, SIDES

HEAD = f"""\
-- {{title}}.
{PLACEHOLDER}

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';
"""
# What pg-delta prints and nobody wants: an owner's rights over its own objects, and texts that extensions bring along.
NOISE = re.compile(
    r"""revoke\s+all\s+on\s.*\sfrom\s+postgres$
      | grant\s.*\sto\s+postgres$
      | comment\ on\ extension\ .*
      | set\ local\ check_function_bodies\ =\ off$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# Literals, bodies and comments are left alone; what remains is code, where a semicolon ends a statement.
TOKENS = re.compile(
    r"""'(?:[^']|'')*' | \$(\w*)\$.*?\$\1\$ | --[^\n]* | "(?P<name>[a-z_][a-z0-9_]*)" | "[^"]*" | (?P<end>;)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass
class Draft:
    """A migration just written. notes: what it does not bring about yet."""

    path: Path | None
    pages: list[str]
    notes: list[str]


def draft(name: str, only: str = "*", project: Path = REPO) -> Draft:
    """Write supabase/migrations/<timestamp>_<name>.sql with what sql/ has and the migrations lack.

    only: globs on page paths ("sql/00_*,sql/10_*") choosing which new pages go in; what changed always does.
    A page is new when nothing it creates exists yet; it goes in as it is written, reference data and comments included.
    Raises ValueError for a name that is not snake_case, StackError when pages or migrations do not apply.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"a migration is named in snake_case, like add_posts; not {name!r}")
    with ExitStack() as servers:
        old = servers.enter_context(scratch.built_from_migrations(project))
        wanted = servers.enter_context(scratch.built_from_pages(project))
        new = _new_pages(old, wanted, project)
        chosen = [page for page in new if any(fnmatch(page, glob) for glob in only.split(","))]
        if left_out := set(new) - set(chosen):
            keep = [page for page in wanted.objects if page not in left_out]
            wanted = servers.enter_context(scratch.built_from_pages(project, keep))
        parts = _parts(old, wanted, chosen, project)
        text = "\n".join([HEAD.format(title=name.replace("_", " ").capitalize()), *parts])
        notes = _unfinished(old, wanted, text)
    if not parts and not notes:
        return Draft(None, [], [])
    path = _path(name, project)
    with path.open("x") as file:
        file.write(text)
    return Draft(path, chosen, notes)


def _new_pages(old: scratch.Database, wanted: scratch.Database, project: Path) -> list[str]:
    """Pages of which nothing exists. One that creates nothing (grants, rows) is known by its heading in a migration."""
    with old.connect() as connection:
        existing = scratch.objects(connection)
    past = "".join(path.read_text() for path in (project / "supabase/migrations").glob("*.sql"))
    return [
        page
        for page, created in wanted.objects.items()
        if not created & existing and (created or _heading(page) not in past)
    ]


def _parts(old: scratch.Database, wanted: scratch.Database, new: Collection[str], project: Path) -> list[str]:
    """The migration's text: new pages first, or the difference where they need what it brings, or mixed."""
    texts = {page: f"{_heading(page)}\n{(project / page).read_text().rstrip()}\n" for page in new}
    trial = scratch.database(old.cluster, "trial", old.name)
    first = []
    for page, text in texts.items():
        # A page that needs what has changed waits for the difference. One transaction each: a failure leaves nothing.
        with suppress(StackError):
            trial.apply(text, page)
            first.append(page)
    if len(first) == len(new):
        return [*texts.values(), *_difference(trial, wanted)]
    without = [page for page in wanted.objects if page not in new]
    try:
        with scratch.built_from_pages(project, without) as changed:
            return [*_difference(old, changed), *texts.values()]
    except StackError:
        # Old and new pages need each other: what cannot stand first is part of the difference.
        return [*(texts[page] for page in first), *_difference(trial, wanted)]


def _difference(old: scratch.Database, wanted: scratch.Database) -> list[str]:
    """The statements that turn one database into the other, without noise."""
    done = supabase("db", "diff", "--from", old.url, "--to", wanted.url)
    if done.returncode:
        raise StackError(f"supabase db diff: {done.stderr.strip()}")
    with old.connect() as connection:
        reserved = {
            word for (word,) in connection.execute("select word from pg_get_keywords() where catcode in ('R', 'T')")
        }
    # The command's own remarks, drawn beside a line, come with the statements.
    printed = re.sub(r"^[│▲●◇].*\n?", "", done.stdout, flags=re.MULTILINE)
    kept = [text for text in statements(printed, reserved) if not NOISE.fullmatch(text)]
    if any(re.match("create (or replace )?function", text, re.IGNORECASE) for text in kept):
        kept.insert(0, "set local check_function_bodies = off")
    return [f"{text};\n" for text in kept]


def statements(text: str, reserved: Collection[str] = ()) -> list[str]:
    """Split SQL at its semicolons, without needless quotes around names and without MAINTAIN, which PG 15 refuses."""
    found, start, pieces = [], 0, list[str]()
    for token in TOKENS.finditer(text):
        pieces.append(text[start : token.start()])
        start = token.end()
        if token["end"]:
            found.append("".join(pieces).strip())
            pieces.clear()
        else:
            pieces.append(token["name"] if token["name"] and token["name"] not in reserved else token[0])
    found.append("".join([*pieces, text[start:]]).strip())
    return [re.sub(r"\bmaintain, |, maintain\b", "", one, flags=re.IGNORECASE) for one in found if one]


def _unfinished(old: scratch.Database, wanted: scratch.Database, text: str) -> list[str]:
    """What still differs once the draft has run: reference data, and what the tool cannot see."""
    result = scratch.database(old.cluster, "drafted", old.name)
    try:
        result.apply(text, "the draft")
    except StackError as error:
        return [f"the draft does not apply yet: {error}"]
    with wanted.connect(SUPERUSER) as ours, result.connect(SUPERUSER) as theirs:
        return snapshot.differences(snapshot.take(ours), snapshot.take(theirs), (SIDES[0], "the draft"))


def _heading(page: str) -> str:
    return f"-- {page} {'-' * max(3, 116 - len(page))}"


def _path(name: str, project: Path) -> Path:
    """A path whose timestamp is now, and later than that of every migration there is."""
    folder = project / "supabase" / "migrations"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC)
    for existing in folder.glob("[0-9]*.sql"):
        latest = datetime.strptime(existing.name.split("_")[0], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        stamp = max(stamp, latest + timedelta(seconds=1))
    return folder / f"{stamp:%Y%m%d%H%M%S}_{name}.sql"
