"""Do sql/ and supabase/migrations make the same database, does it keep the rules, and is history left alone?"""

from __future__ import annotations

import re
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg

from stack.cluster import REPO, SUPERUSER
from stack.schema import docs, scratch, snapshot

RULES = Path(__file__).parent / "rules"
SIDES = ("sql/", "supabase/migrations")
# What `migration` writes where a person has to say why; `explained` refuses it.
PLACEHOLDER = "-- Why?"


@dataclass(frozen=True)
class Finding:
    """Something a person has to change. rule: what found it; reason: why it matters."""

    rule: str
    text: str
    reason: str = ""


def everything(project: Path = REPO) -> list[Finding]:
    """All of `make check`, on scratch servers of its own."""
    with ThreadPoolExecutor() as pool:
        migrated = pool.submit(_migrated, project)
        with scratch.built_from_pages(project) as database:
            with database.connect(SUPERUSER) as connection:
                ours, findings = snapshot.take(connection), rules(connection, unused=project == REPO)
            stale = docs.stale(docs.pages(database)) if project == REPO else []
    different = snapshot.differences(ours, migrated.result(), SIDES)
    return [
        *(Finding("same database", text) for text in different),
        *findings,
        *(Finding("generated pages", f"{path.relative_to(REPO)} is not current: run `make docs`") for path in stale),
        *history(project),
    ]


def rules(connection: psycopg.Connection, folder: Path = RULES, unused: bool = True) -> list[Finding]:
    """What breaks the rules of rules/*.sql in this database, exceptions of allowed.toml aside.

    unused: also exceptions that nothing needs; not asked of a database that holds only some of our pages.
    """
    allowed = tomllib.loads((folder / "allowed.toml").read_text())
    findings = []
    with connection.transaction(force_rollback=True):
        connection.execute("set search_path = ''")
        for path in sorted(folder.glob("*.sql")):
            query = path.read_text()
            reason = query.splitlines()[0].removeprefix("-- ")
            excused = dict.fromkeys(allowed.get(path.stem, {}), False)
            for row in connection.execute(query.encode()).fetchall():
                if str(row[0]) in excused:
                    excused[str(row[0])] = True
                else:
                    findings.append(Finding(path.stem, " ".join(str(value) for value in row), reason))
            findings += [
                Finding(path.stem, f"{name} needs no exception any more: remove it from allowed.toml")
                for name, used in excused.items()
                if unused and not used
            ]
    return findings


def history(repo: Path = REPO) -> list[Finding]:
    """What was done to migrations that must not be: changed or removed after landing, out of order, unexplained.

    Landed is what the remote's default branch has; without a remote, what is committed.
    """
    folder = "supabase/migrations"
    findings = []
    landed = _git(repo, "merge-base", "HEAD", "origin/HEAD") or _git(repo, "rev-parse", "HEAD")
    if landed:
        changes = _git(repo, "diff", "--name-status", "--no-renames", landed, "--", f"{folder}/*.sql").splitlines()
        findings += [
            Finding(
                "landed",
                f"{name} was {'removed' if status == 'D' else 'edited'}",
                "databases that ran it will never run it again: write a new migration",
            )
            for status, name in (line.split("\t", 1) for line in changes)
            if status != "A"
        ]
    old = set(_git(repo, "ls-tree", "--name-only", landed, f"{folder}/").splitlines()) if landed else set()
    newest = max((Path(name).name for name in old), default="")
    for path in sorted((repo / folder).glob("*.sql")):
        if not re.fullmatch(r"\d{14}_[a-z0-9_]+\.sql", path.name):
            findings.append(Finding("named", f"{path.name} is not <yyyymmddhhmmss>_<snake_case>.sql"))
        if f"{folder}/{path.name}" not in old and path.name < newest:
            findings.append(
                Finding(
                    "in order",
                    f"{path.name} is older than {newest}, which has landed",
                    "`supabase db push` refuses it: give it a new timestamp",
                )
            )
        if not re.match(r"-- \S", text := path.read_text()) or PLACEHOLDER in text:
            findings.append(Finding("explained", f"{path.name} does not begin with a comment that says why"))
    return findings


def _migrated(project: Path) -> snapshot.Snapshot:
    with scratch.built_from_migrations(project) as database, database.connect(SUPERUSER) as connection:
        return snapshot.take(connection)


def _git(repo: Path, *arguments: str) -> str:
    """What git answers; empty when it refuses (not a repository, no such ref)."""
    done = subprocess.run(["git", "-C", str(repo), *arguments], text=True, capture_output=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
