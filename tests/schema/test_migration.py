"""What `make migration` writes, from pages that are new or changed, and what it leaves to a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.schema import check, lint, migration
from tests.schema.conftest import PLATFORM, Page

POSTS = """\
-- Posts, to have something to change.
create type public.post_kind as enum ('text', 'image');
comment on type public.post_kind is 'What a post shows.';

create table public.posts (
    id uuid primary key default gen_random_uuid(),
    kind public.post_kind not null default 'text',
    body text not null
);
comment on table public.posts is 'Posts; everybody reads.';
comment on column public.posts.kind is 'What it shows.';
comment on column public.posts.body is 'The words.';
alter table public.posts alter column body set statistics 0;

create function public.post_count() returns bigint
language sql
stable
set search_path = ''
as $$ select count(*) from public.posts $$;
comment on function public.post_count() is 'How many posts there are.';
revoke all on function public.post_count() from public, anon, authenticated, service_role;
grant execute on function public.post_count() to authenticated;

alter table public.posts enable row level security;
revoke all on public.posts from anon, authenticated, service_role;
grant select on public.posts to anon, authenticated;
create policy posts_select on public.posts for select to anon, authenticated using (true);

insert into public.posts (body) values ('first');
"""
LIKES = """\
-- Likes.
create table public.likes (
    post_id uuid primary key references public.posts (id)
);
comment on table public.likes is 'Likes.';
comment on column public.likes.post_id is 'What is liked.';
alter table public.likes enable row level security;
"""


def explain(path: Path | None) -> str:
    """Do what a person does with a draft: say why. Returns the text."""
    assert path
    path.write_text(path.read_text().replace(check.PLACEHOLDER, "-- Because the test needs it."))
    return path.read_text()


def test_new_pages_go_in_as_written_by_topic_until_nothing_is_left(project: Path, page: Page) -> None:
    page("sql/30_social/10_posts.sql", POSTS)
    first = migration.draft("platform", "sql/00_*", project)
    assert first.pages == [f"sql/00_platform/{name}.sql" for name in PLATFORM]
    assert first.notes == []
    text = explain(first.path)
    for name in first.pages:
        assert (project / name).read_text() in text
    assert "public.posts" not in text

    second = migration.draft("social", project=project)
    assert second.pages == ["sql/30_social/10_posts.sql"]
    assert second.notes == []
    assert second.path
    assert first.path
    assert second.path.name > first.path.name
    explain(second.path)
    assert lint.squawk([first.path, second.path]).text == ""

    third = migration.draft("nothing", project=project)
    assert third.path is None
    assert check.everything(project) == []


@pytest.fixture
def migrated(project: Path, page: Page) -> Path:
    """A project whose migrations are those of its pages."""
    page("sql/30_social/10_posts.sql", POSTS)
    explain(migration.draft("everything", project=project).path)
    return project


def test_a_changed_page_goes_in_as_what_changed(migrated: Path, page: Page) -> None:
    changed = (
        POSTS.replace("    body text not null\n", "    body text not null,\n    likes integer not null default 0\n")
        .replace("'Posts; everybody reads.'", "'Posts; members read.'")
        .replace("to anon, authenticated using (true)", "to authenticated using (likes >= 0)")
        .replace("grant select on public.posts to anon, authenticated", "grant select on public.posts to authenticated")
        .replace("count(*)", "count(body)")
    )
    page("sql/30_social/10_posts.sql", changed + "comment on column public.posts.likes is 'How many like it.';\n")
    page("sql/30_social/20_likes.sql", LIKES)
    draft = migration.draft("count_likes", project=migrated)
    assert draft.pages == ["sql/30_social/20_likes.sql"]
    assert draft.notes == []
    text = explain(draft.path)
    assert "add column likes integer not null default 0;" in text
    assert "comment on column public.posts.likes is 'How many like it.';" in text
    assert "revoke all on table public.posts from anon;" in text
    assert "count(body)" in text
    assert LIKES in text
    # Noise: nothing about the owner, no needless quotes, nothing PG 15 refuses.
    assert "postgres" not in text
    assert '"' not in text
    assert "maintain" not in text.lower()
    assert check.everything(migrated) == []


def test_a_new_page_may_need_what_a_changed_page_brings(migrated: Path, page: Page) -> None:
    page(
        "sql/30_social/10_posts.sql",
        POSTS + "create domain public.score as int; comment on domain public.score is 's';",
    )
    page(
        "sql/30_social/20_likes.sql", LIKES.replace("post_id uuid primary", "score public.score, post_id uuid primary")
    )
    draft = migration.draft("score", project=migrated)
    assert draft.notes == []
    text = explain(draft.path)
    assert text.index("create domain") < text.index("create table public.likes")


def test_reference_data_is_left_to_a_person_and_said(migrated: Path, page: Page) -> None:
    page("sql/30_social/10_posts.sql", POSTS.replace("('first')", "('first'), ('second')"))
    draft = migration.draft("second_post", project=migrated)
    assert draft.notes == ['reference data: public.posts only in sql/: {"body": "second", "kind": "text"}']
    explain(draft.path)
    assert [finding.rule for finding in check.everything(migrated)] == ["same database"]


def test_a_draft_that_does_not_apply_says_so(migrated: Path, page: Page) -> None:
    """A new value of an enum cannot be used in the transaction that adds it: two migrations."""
    changed = POSTS.replace("'image'", "'image', 'video'").replace("default 'text'", "default 'video'")
    page("sql/30_social/10_posts.sql", changed)
    (note,) = migration.draft("video", project=migrated).notes
    assert note.startswith("the draft does not apply yet: ")
    assert 'unsafe use of new value "video"' in note


def test_names_are_snake_case(project: Path) -> None:
    with pytest.raises(ValueError, match="snake_case"):
        migration.draft("Add posts", project=project)
    assert list((project / "supabase/migrations").iterdir()) == []


def test_statements_are_split_outside_of_literals_bodies_and_comments() -> None:
    text = """create table "public"."a" ("user" int, "b;c" int); -- not; here
        select 'it''s; "quoted"' , $x$ begin; "x" $x$; grant maintain, select on "public"."a" to "anon"
    """
    first, second, third = migration.statements(text, reserved={"user"})
    assert first == 'create table public.a ("user" int, "b;c" int)'
    assert second.endswith("""select 'it''s; "quoted"' , $x$ begin; "x" $x$""")
    assert third == "grant select on public.a to anon"
