"""`make check` against projects with a mistake in them, and against what git says of the past."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from stack.cluster import REPO, StackError
from stack.schema import check, migration, scratch
from tests.schema.conftest import Page

FIRST, SECOND = "20260101000000_first.sql", "20260102000000_second.sql"
WHY = "-- Because.\n"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with two migrations committed, and no remote."""
    folder = tmp_path / "supabase/migrations"
    folder.mkdir(parents=True)
    for name in (FIRST, SECOND):
        (folder / name).write_text(WHY)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path)
    return tmp_path


def git(repo: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(repo), *who, *arguments], check=True, capture_output=True)


def commit(repo: Path) -> None:
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "change")


def findings(repo: Path) -> list[tuple[str, str]]:
    return [(finding.rule, finding.text) for finding in check.history(repo)]


def test_the_past_is_left_alone(repo: Path) -> None:
    assert findings(repo) == []
    (repo / "supabase/migrations/20260103000000_third.sql").write_text(WHY)
    assert findings(repo) == []


def test_an_edited_and_a_removed_migration_are_found(repo: Path) -> None:
    (repo / "supabase/migrations" / FIRST).write_text(WHY + "select 1;")
    (repo / "supabase/migrations" / SECOND).unlink()
    assert findings(repo) == [
        ("landed", f"supabase/migrations/{FIRST} was edited"),
        ("landed", f"supabase/migrations/{SECOND} was removed"),
    ]


def test_a_clone_compares_with_its_origin_not_with_its_own_commits(
    repo: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = tmp_path_factory.mktemp("clone") / "clone"
    git(repo, "clone", "--quiet", str(repo), str(clone))
    new = clone / "supabase/migrations/20260103000000_third.sql"
    for text in (WHY, WHY + "select 1;"):
        new.write_text(text)
        commit(clone)
        assert findings(clone) == []
    (clone / "supabase/migrations" / FIRST).write_text(WHY + "select 1;")
    commit(clone)
    assert findings(clone) == [("landed", f"supabase/migrations/{FIRST} was edited")]


def test_a_new_migration_comes_after_those_that_landed(repo: Path) -> None:
    (repo / "supabase/migrations/20260101120000_between.sql").write_text(WHY)
    ((rule, text),) = findings(repo)
    assert rule == "in order"
    assert SECOND in text


def test_a_migration_is_named_and_explained(repo: Path) -> None:
    (repo / "supabase/migrations/3_Third.sql").write_text(f"-- Third.\n{check.PLACEHOLDER}\n")
    (repo / "supabase/migrations/20260103000000_third.sql").write_text("select 1;")
    assert [rule for rule, _ in findings(repo)] == ["explained", "named", "explained"]


def test_pages_and_migrations_that_differ_are_named(project: Path, page: Page) -> None:
    draft = migration.draft("platform", project=project)
    assert draft.path
    draft.path.write_text(draft.path.read_text().replace(check.PLACEHOLDER, "-- Because."))
    helpers = project / "sql/00_platform/30_helpers.sql"
    helpers.write_text(
        helpers.read_text() + "\ngrant execute on function private.require_keys(jsonb, text[], text) to anon;\n"
    )
    page("sql/10_mine/10_mine.sql", "create table public.mine (id uuid primary key);")
    found = check.everything(project)
    texts = [finding.text for finding in found]
    assert "relations: public.mine only in sql/: table · postgres · no rls" in texts
    assert "grants: private.require_keys(jsonb,text[],text) only in sql/: function · anon · execute" in texts
    assert ("rls_enabled", "public.mine") in [(finding.rule, finding.text) for finding in found]


def test_a_page_that_fails_is_named_with_its_line(project: Path, page: Page) -> None:
    page("sql/10_mine/10_mine.sql", "\n\nselect * from nowhere;")
    with pytest.raises(StackError, match=r'sql/10_mine/10_mine\.sql:3: relation "nowhere" does not exist'):
        check.everything(project)


def test_reference_data_is_registered_once() -> None:
    """Plain inserts in pages: a key registered twice fails the build, instead of the later row winning unseen."""
    upserts = [
        (page, one.split("(")[0])
        for page in scratch.pages()
        for one in migration.statements((REPO / page).read_text())
        if re.search(r"^insert into", one, re.MULTILINE) and re.search(r"^on conflict", one, re.MULTILINE)
    ]
    assert upserts == []
