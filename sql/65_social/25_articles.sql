-- News and tutorials of the platform, written by members with the role author (or admin). A draft is its author's; what
-- is published is readable as far as its author is.

create table public.articles (
    id uuid not null default gen_random_uuid(),
    author_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    content text not null default '',
    excerpt text,
    thumbnail_url public.http_url,
    category text,
    tags text[] not null default '{}',
    views_count bigint not null default 0,
    likes_count integer not null default 0,
    comments_count integer not null default 0,
    is_published boolean not null default false,
    published_at timestamptz,
    is_hidden boolean not null default false,
    hidden_reason text,
    author_audience public.audience not null default 'owner',
    audience public.audience not null generated always as (
        case when is_hidden or not is_published then 'owner'::public.audience else author_audience end
    ) stored,
    search tsvector not null default '',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    thumbnail_media_id uuid,
    constraint articles_pkey primary key (id),
    constraint articles_slug_key unique (slug),
    constraint articles_author_id_fkey foreign key (author_id) references public.profiles (id) on delete cascade,
    constraint articles_title_check check (char_length(title) between 1 and 200),
    constraint articles_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint articles_content_check check (char_length(content) <= 200000),
    constraint articles_excerpt_check check (char_length(excerpt) <= 1000),
    constraint articles_category_check check (char_length(category) between 1 and 80),
    constraint articles_published_at_check check (not is_published or published_at is not null),
    constraint articles_counts_check check (views_count >= 0 and likes_count >= 0 and comments_count >= 0)
)
-- Counters are rewritten often and no index holds them: room on the page keeps those updates HOT.
with (fillfactor = 85);

-- Keysets, newest first. Filter with is_published=eq.true; is.true cannot use the indexes.
create index articles_published_at_id_idx on public.articles (published_at desc, id desc) where is_published;
create index articles_category_published_at_id_idx on public.articles (category, published_at desc, id desc)
where is_published;
create index articles_author_id_created_at_id_idx on public.articles (author_id, created_at desc, id desc);
create index articles_tags_idx on public.articles using gin (tags) where is_published;
create index articles_search_idx on public.articles using gin (search) where is_published;

-- What a client that breaks these is told, see error_catalog().
comment on constraint articles_category_check on public.articles is
'invalid_category: A category has 1 to 80 characters.';
comment on constraint articles_content_check on public.articles is
'invalid_content: An article has at most 200,000 characters.';
comment on constraint articles_excerpt_check on public.articles is
'invalid_excerpt: An excerpt has at most 1,000 characters.';
comment on constraint articles_published_at_check on public.articles is
'invalid_article: A published article has a date.';
comment on constraint articles_slug_check on public.articles is
'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';
comment on constraint articles_title_check on public.articles is 'invalid_title: A title has 1 to 200 characters.';
comment on constraint articles_slug_key on public.articles is
'slug_taken: Another article just took this address; try again.';

comment on table public.articles is
'News and tutorials. Written by authors and admins, each their own; readable by others once published.';
comment on column public.articles.author_id is 'Who wrote it; the caller. Needs the role author, admin or super_admin.';
comment on column public.articles.title is 'Title, at most 200 characters.';
comment on column public.articles.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.articles.content is 'Rich text, at most 200,000 characters. Render it sanitised.';
comment on column public.articles.excerpt is 'Teaser, at most 1,000 characters.';
comment on column public.articles.thumbnail_url is
'Address of the picture for lists, http(s) only: from outside, or of the medium copy of thumbnail_media_id.';
comment on column public.articles.category is 'Section, at most 80 characters; authors choose.';
comment on column public.articles.tags is 'At most 20 lower-case tags.';
comment on column public.articles.views_count is 'Views; folded from events, never written on reading.';
comment on column public.articles.comments_count is 'Visible comments; kept by triggers.';
comment on column public.articles.is_published is 'False: a draft, or withdrawn. Its author decides.';
comment on column public.articles.published_at is 'When it was first published; kept when withdrawn. Set by trigger.';
comment on column public.articles.is_hidden is
'Taken down by moderation. Written by hide_content() and restore_content().';
comment on column public.articles.hidden_reason is 'Why, told to the author.';
comment on column public.articles.author_audience is 'Copy of the author''s widest audience; kept by triggers.';
comment on column public.articles.audience is 'Who may read it; owner while a draft or hidden.';
comment on column public.articles.search is 'Full-text vector: title (A), tags (B), excerpt and content (C). Trigger.';

-- A contribution copies its author's audience and keeps the profile locked until it is committed: a ban or a change of
-- visibility under way is waited for, one that comes later finds the contribution.
create function private.lock_audience(user_id uuid) returns public.audience
language plpgsql
security definer
set search_path = ''
as $$
declare
    audience public.audience;
begin
    select private.author_audience(p) into audience from public.profiles as p
    where p.id = lock_audience.user_id
    for share;
    return coalesce(audience, 'owner');
end
$$;
comment on function private.lock_audience(uuid) is
'The widest audience of what this person writes, true until the transaction ends. For triggers before insert.';
grant execute on function private.lock_audience(uuid) to authenticated;

create function private.check_article() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    new.content := coalesce(new.content, '');
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.articles', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.published_at := coalesce(new.published_at, case when new.is_published then now() end);
    new.search := private.search_vector(new.title, new.tags, concat_ws(' ', new.excerpt, new.content));
    if tg_op = 'INSERT' then
        new.author_audience := private.lock_audience(new.author_id);
    end if;
    return new;
end
$$;
comment on function private.check_article() is
'Trigger: completes an article: slug, tags, the date of its first publishing, search vector, its author''s audience.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, content, excerpt, category on public.articles
for each row
execute function private.tidy_texts('title line required', 'content body', 'excerpt body', 'category line');

create trigger check_article
before insert or update of title, slug, content, excerpt, category, tags, is_published on public.articles
for each row execute function private.check_article();

-- Counters and moderation do not make an article look edited.
create trigger touch_updated_at
before update of title, slug, content, excerpt, thumbnail_url, category, tags, is_published, thumbnail_media_id
on public.articles
for each row execute function private.touch_updated_at();

select private.make_media_column(
    'public.articles', 'thumbnail_media_id', 'article', 'author_id', '{"thumbnail_url": "medium"}'
);

select private.make_follow_author('public.articles', 'author_id', 15);

create function private.is_author() returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.profiles as p
        where
            p.id = (select private.member_id()) and p.role >= 'author'
    );
end
$$;
comment on function private.is_author() is 'Whether the caller is a member who may write articles.';
grant execute on function private.is_author() to authenticated;

-- Under the policies a search cannot use its index: the operator is not known to keep its arguments to itself. So this
-- function looks with the definer's rights and repeats what the policy says.
create function public.search_articles(
    query text, before_published_at timestamptz default null, before_id uuid default null, max_rows integer default 20
) returns setof public.articles
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    wanted tsquery := private.search_query(search_articles.query);
    member uuid := case when auth.uid() is not null then private.member_id() end;
begin
    if numnode(wanted) = 0 then
        return;
    end if;
    return query
    select a.* from public.articles as a
    where
        a.search @@ wanted and a.is_published
        and (a.audience = 'public' or (a.audience = 'members' and member is not null))
        and a.author_id <> all (
            case
                when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
            end
        )
        and (
            before_published_at is null
            or (a.published_at, a.id)
            < (before_published_at, coalesce(before_id, '00000000-0000-0000-0000-000000000000'))
        )
    order by a.published_at desc, a.id desc
    limit private.page_size(max_rows);
end
$$;
comment on function public.search_articles(text, timestamptz, uuid, integer) is
'Published articles the caller may read whose title, tags or text match the query (words, "phrases", or, -not), newest '
'first; 1 to 100 rows, 20 unless told. The next page starts after the last row''s published_at and id.';
grant execute on function public.search_articles(text, timestamptz, uuid, integer) to anon, authenticated;

alter table public.articles enable row level security;
grant select on public.articles to anon, authenticated, service_role;
grant insert (title, slug, content, excerpt, thumbnail_url, category, tags, is_published, thumbnail_media_id)
on public.articles to authenticated;
grant update (title, slug, content, excerpt, thumbnail_url, category, tags, is_published, thumbnail_media_id)
on public.articles to authenticated;
grant delete on public.articles to authenticated;

create policy articles_select_anon on public.articles for select to anon
using (audience = 'public' and author_id <> all(array(select private.hidden_ids())));
create policy articles_select on public.articles for select to authenticated
using (
    (
        (audience = 'public' or (audience = 'members' and (select private.member_id()) is not null))
        and author_id <> all(array(select private.blocked_ids()))
    )
    or author_id = (select private.member_id())
    or (select private.is_admin())
);
create policy articles_insert on public.articles for insert to authenticated
with check (author_id = (select private.member_id()) and (select private.is_author()));
create policy articles_update on public.articles for update to authenticated
using (author_id = (select private.member_id()) and (select private.is_author()))
with check (author_id = (select private.member_id()) and (select private.is_author()));
-- One's own work may always be taken back, also after the role was.
create policy articles_delete on public.articles for delete to authenticated
using (author_id = (select private.member_id()));

select private.make_hold('public.articles', 'article');
select private.make_reactions('public.article_likes', 'article_id', 'public.articles', 'liked');
select private.make_counter('public.article_likes', 'article_id', 'likes_count');
select private.make_by_me('liked', 'public.article_likes', 'article_id');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('article', 'public.articles', 'author_id', '/articles/{id}', '{can_read,evidence,place,lock,hide}');

insert into private.personal_data (section, relation, condition) values
('articles', 'public.articles', 't.author_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('articles', 'works', '{public.articles}',
    'delete from public.articles where author_id = $1',
    'select 10 * private.erase_rows(''public.articles'', ''author_id = $1'', $1, 1 + $2 / 10)');
