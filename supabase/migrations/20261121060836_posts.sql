-- Posts.
-- What people publish and others say to it: posts, polls, articles, comments, likes, favorites, tags, the feed and the
-- search.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/65_social/25_articles.sql ---------------------------------------------------------------------------------------
-- News and tutorials of the platform, written by members with the role author (or admin). A draft is its author's; what
-- is published is readable as far as its author is.

create table public.articles (
    id uuid not null default gen_random_uuid(),
    author_id uuid not null default auth.uid(),
    title text not null,
    slug text not null,
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
    author_audience public.audience not null,
    audience public.audience not null generated always as (
        case when is_hidden or not is_published then 'owner'::public.audience else author_audience end
    ) stored,
    search tsvector not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint articles_pkey primary key (id),
    constraint articles_slug_key unique (slug),
    constraint articles_author_id_fkey foreign key (author_id) references public.profiles (id) on delete cascade,
    constraint articles_title_check check (char_length(title) between 1 and 200 and title !~ '[[:cntrl:]]'),
    constraint articles_slug_check check (
        slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 100
    ),
    constraint articles_content_check check (char_length(content) <= 200000),
    constraint articles_excerpt_check check (char_length(excerpt) <= 1000),
    constraint articles_category_check check (char_length(category) between 1 and 80 and category !~ '[[:cntrl:]]'),
    constraint articles_published_at_check check (not is_published or published_at is not null),
    constraint articles_hidden_reason_check check (char_length(hidden_reason) <= 1000),
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

comment on table public.articles is
'News and tutorials. Written by authors and admins, each their own; readable by others once published.';
comment on column public.articles.author_id is 'Who wrote it; the caller. Needs the role author, admin or super_admin.';
comment on column public.articles.title is 'Title, at most 200 characters.';
comment on column public.articles.slug is 'Address part, unique; made from the title when missing.';
comment on column public.articles.content is 'Rich text, at most 200,000 characters. Render it sanitised.';
comment on column public.articles.excerpt is 'Teaser, at most 1,000 characters.';
comment on column public.articles.thumbnail_url is 'Picture to show in lists, http(s) only.';
comment on column public.articles.category is 'Section, at most 80 characters; authors choose.';
comment on column public.articles.tags is 'At most 20 lower-case tags.';
comment on column public.articles.views_count is 'Views; folded from events, never written on reading.';
comment on column public.articles.likes_count is 'How many like it; kept by triggers.';
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
    new.title := btrim(new.title);
    new.category := nullif(btrim(new.category), '');
    new.excerpt := nullif(btrim(new.excerpt), '');
    new.slug := nullif(lower(btrim(new.slug)), '');
    if new.slug is null then
        new.slug := private.free_slug(new.title, 'public.articles', new.id);
    elsif (tg_op = 'INSERT' or new.slug <> old.slug) and exists (
        select from public.articles as a where a.slug = new.slug and a.id <> new.id
    ) then
        perform private.fail('slug_taken', new.slug);
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

create trigger check_article
before insert or update of title, slug, content, excerpt, category, tags, is_published on public.articles
for each row execute function private.check_article();

-- Counters and moderation do not make an article look edited.
create trigger touch_updated_at
before update of title, slug, content, excerpt, thumbnail_url, category, tags, is_published on public.articles
for each row execute function private.touch_updated_at();

create function private.follow_article_author() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.author_audience(new) <> private.author_audience(old) then
        update public.articles as a set author_audience = private.author_audience(new) where a.author_id = new.id;
    end if;
    return null;
end
$$;
comment on function private.follow_article_author() is
'Trigger on profiles: what a banned, deleted or private author wrote is nobody else''s to read.';

create trigger follow_article_author
after update of is_banned, deleted_at, profile_visibility on public.profiles
for each row execute function private.follow_article_author();

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
            p.id = auth.uid() and p.deleted_at is null and not p.is_banned
            and p.role in ('author', 'admin', 'super_admin')
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
    wanted tsquery := websearch_to_tsquery(
        'pg_catalog.english',
        extensions.unaccent('extensions.unaccent'::regdictionary, left(coalesce(search_articles.query, ''), 200))
    );
    member uuid := case when auth.uid() is not null then private.member_id() end;
begin
    return query
    select a.* from public.articles as a
    where
        a.search @@ wanted and a.is_published
        and (a.audience = 'public' or (a.audience = 'members' and member is not null))
        and (auth.uid() is null or a.author_id <> all (array(select private.blocked_ids())))
        and (
            before_published_at is null
            or (a.published_at, a.id)
            < (before_published_at, coalesce(before_id, '00000000-0000-0000-0000-000000000000'))
        )
    order by a.published_at desc, a.id desc
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$$;
comment on function public.search_articles(text, timestamptz, uuid, integer) is
'Published articles the caller may read whose title, tags or text match the query (words, "phrases", or, -not), newest '
'first; 1 to 100 rows, 20 unless told. The next page starts after the last row''s published_at and id.';
grant execute on function public.search_articles(text, timestamptz, uuid, integer) to anon, authenticated;

alter table public.articles enable row level security;
revoke all on public.articles from anon, authenticated, service_role;
grant select on public.articles to anon, authenticated, service_role;
grant insert (title, slug, content, excerpt, thumbnail_url, category, tags, is_published) on public.articles
to authenticated;
grant update (title, slug, content, excerpt, thumbnail_url, category, tags, is_published) on public.articles
to authenticated;
grant delete on public.articles to authenticated;

create policy articles_select_anon on public.articles for select to anon
using (audience = 'public');
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

create table public.article_likes (
    article_id uuid not null,
    user_id uuid not null default auth.uid(),
    created_at timestamptz not null default now(),
    constraint article_likes_pkey primary key (article_id, user_id),
    constraint article_likes_article_id_fkey foreign key (article_id) references public.articles (id) on delete cascade,
    constraint article_likes_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);

create index article_likes_article_id_created_at_idx
on public.article_likes (article_id, created_at desc, user_id desc);
create index article_likes_user_id_created_at_idx on public.article_likes (user_id, created_at desc, article_id desc);

comment on table public.article_likes is
'Who likes which article. Readable with the article, as far as the liker is to the reader; written by the liker.';
comment on column public.article_likes.article_id is 'What is liked.';
comment on column public.article_likes.user_id is 'Who likes it; the caller.';

create function private.count_article_likes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    article uuid;
    change integer;
begin
    select c.article_id into article from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('articles.likes_count', array_agg(c.article_id), array_agg(sign)) from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the article: nothing is left to count on.
        select a.id into article from public.articles as a where a.id = article;
    end if;
    if article is not null then
        change := private.claim_count('articles.likes_count', article, sign);
        if change is not null then
            update public.articles as a set likes_count = a.likes_count + change where a.id = article;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_article_likes() is 'Trigger: articles.likes_count, as count_post_likes().';

create trigger count_inserted after insert on public.article_likes referencing new table as changed
for each statement execute function private.count_article_likes();
create trigger count_deleted after delete on public.article_likes referencing old table as changed
for each statement execute function private.count_article_likes();

-- Who deletes an article takes it, then its likes; so who takes a like back holds the article first.
create function private.hold_article(article_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.articles as a where a.id = hold_article.article_id for key share;
    return true;
end
$$;
comment on function private.hold_article(uuid) is
'Keeps an article from being deleted until the transaction ends; true. For policies on deleting what hangs on it.';
grant execute on function private.hold_article(uuid) to authenticated;

create function private.has_liked_article(article_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.article_likes as l
        where l.article_id = has_liked_article.article_id and l.user_id = auth.uid()
    );
end
$$;
comment on function private.has_liked_article(uuid) is 'Whether the caller likes the article.';
grant execute on function private.has_liked_article(uuid) to authenticated;

-- A computed column: a frontend adds it to its select. Visitors call it too, hence no definer's rights.
create function public.liked_by_me(article public.articles) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return false;
    end if;
    return private.has_liked_article(article.id);
end
$$;
comment on function public.liked_by_me(public.articles) is 'Computed column of articles: whether the caller likes it.';
grant execute on function public.liked_by_me(public.articles) to anon, authenticated;

alter table public.article_likes enable row level security;
revoke all on public.article_likes from anon, authenticated, service_role;
grant select on public.article_likes to anon, authenticated, service_role;
grant insert (article_id) on public.article_likes to authenticated;
grant delete on public.article_likes to authenticated;

create policy article_likes_select_anon on public.article_likes for select to anon
using (
    (select a.id from public.articles as a where a.id = article_likes.article_id) is not null
    and private.can_see(user_id)
);
create policy article_likes_select on public.article_likes for select to authenticated
using (
    (select a.id from public.articles as a where a.id = article_likes.article_id) is not null
    and (user_id = (select private.member_id()) or private.can_see(user_id))
);
create policy article_likes_insert on public.article_likes for insert to authenticated
with check (
    user_id = (select private.member_id())
    and exists (select from public.articles as a where a.id = article_likes.article_id)
);
create policy article_likes_delete on public.article_likes for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_article(article_id));

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'articles.likes_count', 'public.articles', 'id', 'likes_count',
    'select l.article_id, count(*) from public.article_likes as l group by l.article_id'
)
on conflict (counter) do update set
relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

insert into private.personal_data (section, relation, condition) values
('articles', 'public.articles', 't.author_id = $1'),
('article_likes', 'public.article_likes', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('article_likes', 20, 'delete from public.article_likes where user_id = $1'),
('articles', 40, 'delete from public.articles where author_id = $1')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- sql/65_social/30_posts.sql ------------------------------------------------------------------------------------------
-- What people publish, on their own page or in a group, and who liked and shared it. The row itself says who may read
-- it: `audience` is computed from the author's standing (a copy, kept by trigger), the group and moderation, so that a
-- page of posts asks nothing about its authors.

create type public.post_type as enum ('text', 'image', 'video', 'link', 'poll');
comment on type public.post_type is
'What a post shows: text; pictures or videos (media_urls); a link (link_url); a question with options (poll_options).';

create table public.posts (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    group_id uuid,
    post_type public.post_type not null default 'text',
    content text,
    media_urls public.http_urls not null default '{}',
    link_url public.http_url,
    link_preview jsonb,
    poll_ends_at timestamptz,
    tags text[] not null default '{}',
    likes_count integer not null default 0,
    comments_count integer not null default 0,
    shares_count integer not null default 0,
    is_pinned boolean not null default false,
    is_hidden boolean not null default false,
    hidden_reason text,
    is_approved boolean not null default true,
    author_audience public.audience not null,
    audience public.audience not null generated always as (
        case
            when is_hidden or not is_approved or author_audience = 'owner'::public.audience
                then 'owner'::public.audience
            when group_id is not null then 'group'::public.audience
            else author_audience
        end
    ) stored,
    search tsvector not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint posts_pkey primary key (id),
    constraint posts_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint posts_group_id_fkey foreign key (group_id) references public.groups (id) on delete cascade,
    constraint posts_content_check check (
        char_length(content) between 1 and 10000 and (content is not null or post_type not in ('text', 'poll'))
    ),
    constraint posts_media_urls_check check (
        cardinality(media_urls) <= 10 and (cardinality(media_urls) > 0) = (post_type in ('image', 'video'))
    ),
    constraint posts_link_url_check check (
        (link_url is not null or post_type <> 'link') and (link_url is null or post_type <> 'poll')
    ),
    constraint posts_link_preview_check check (
        link_preview is null
        or link_url is not null
        and jsonb_typeof(link_preview) = 'object'
        and octet_length(link_preview::text) <= 5000
        and link_preview - '{title,description,image}'::text[] = '{}'
        and coalesce(link_preview ->> 'image', 'https://-') ~ '^https?://[^[:space:][:cntrl:]"<>\\^`{|}]+$'
    ),
    constraint posts_poll_ends_at_check check (poll_ends_at is null or post_type = 'poll'),
    constraint posts_hidden_reason_check check (
        char_length(hidden_reason) <= 1000 and (hidden_reason is null or is_hidden)
    ),
    constraint posts_author_audience_check check (author_audience <> 'group'),
    constraint posts_counts_check check (likes_count >= 0 and comments_count >= 0 and shares_count >= 0)
)
-- Counters are rewritten often and no index holds them: room on the page keeps those updates HOT.
with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- Newest first, as keysets: the next page starts after the last row's (created_at, id). An author's own list holds
-- everything, a profile page leaves out what was written in groups, the feed also what nobody may read: one look at the
-- first entry says when somebody last posted.
create index posts_user_id_created_at_id_idx on public.posts (user_id, created_at desc, id desc);
create index posts_profile_idx on public.posts (user_id, created_at desc, id desc) where group_id is null;
create index posts_feed_idx on public.posts (user_id, created_at desc, id desc)
where group_id is null and audience <> 'owner';
create index posts_group_id_created_at_id_idx on public.posts (group_id, created_at desc, id desc)
include (audience, user_id)
where group_id is not null;
create index posts_created_at_id_idx on public.posts (created_at desc, id desc);
create index posts_pinned_by_user_idx on public.posts (user_id, created_at desc, id desc)
where is_pinned and group_id is null;
create index posts_pinned_in_group_idx on public.posts (group_id, created_at desc, id desc)
where is_pinned and group_id is not null;
create index posts_pending_idx on public.posts (group_id, created_at, id) where not is_approved and not is_hidden;
-- No pending list: a search reads the index and nothing besides.
create index posts_search_idx on public.posts using gin (search) with (fastupdate = off);

comment on table public.posts is
'Posts on profiles and in groups. Everybody may read what audience allows, blocks excepted; authors read their own '
'whatever became of it. Authors write the descriptive columns; polls are made by create_poll().';
comment on column public.posts.user_id is 'The author; the caller.';
comment on column public.posts.group_id is
'Group it was written in, for its active members; null: on the profile. Never changes.';
comment on column public.posts.post_type is 'What it shows. Never changes.';
comment on column public.posts.content is
'Text, at most 10,000 characters; the question of a poll. Optional for pictures, videos and links.';
comment on column public.posts.media_urls is 'Pictures or videos, 1 to 10, http(s); empty for the other types.';
comment on column public.posts.link_url is 'The linked address, http(s).';
comment on column public.posts.link_preview is
'{title, description, image} as the frontend found it, at most 5,000 bytes; image is an http(s) address.';
comment on column public.posts.poll_ends_at is 'When voting ends; null: never.';
comment on column public.posts.tags is
'Lower-case tags, at most 20: what the author named and the #hashtags of the content, kept by trigger.';
comment on column public.posts.likes_count is 'Rows in post_likes; kept by triggers.';
comment on column public.posts.comments_count is 'Visible comments, replies included; kept by triggers.';
comment on column public.posts.shares_count is 'Rows in post_shares; kept by triggers.';
comment on column public.posts.is_pinned is
'Shown first: by its author on the profile, by moderators in a group. Written by pin_post() and unpin_post(). Filter '
'with eq.true; is.true cannot use the indexes.';
comment on column public.posts.is_hidden is 'Taken down by moderation: only its author and admins read it.';
comment on column public.posts.hidden_reason is 'Why it was taken down or rejected, told to its author.';
comment on column public.posts.is_approved is
'False while it waits for a moderator of its group. Written by approve_post(), and by edits where approval is asked.';
comment on column public.posts.author_audience is
'The widest audience the author''s standing and visibility allow: a copy, kept by trigger.';
comment on column public.posts.audience is
'Who may read it: author_audience, group for posts in a group, owner while hidden or waiting for approval.';
comment on column public.posts.search is 'Full-text vector: tags (B), content (C). For search_posts().';

create table public.post_likes (
    post_id uuid not null,
    user_id uuid not null default auth.uid(),
    created_at timestamptz not null default now(),
    constraint post_likes_pkey primary key (post_id, user_id),
    constraint post_likes_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint post_likes_post_id_fkey foreign key (post_id) references public.posts (id) on delete cascade
);

create index post_likes_user_id_created_at_idx on public.post_likes (user_id, created_at desc, post_id desc);
create index post_likes_post_id_created_at_idx on public.post_likes (post_id, created_at desc, user_id desc);

comment on table public.post_likes is
'Who likes which post. Readable with the post, as far as the liker is visible to the reader; written by the liker.';
comment on column public.post_likes.post_id is 'The liked post; one the caller can read.';
comment on column public.post_likes.user_id is 'Who likes it; the caller.';

create table public.post_shares (
    post_id uuid not null,
    user_id uuid not null default auth.uid(),
    created_at timestamptz not null default now(),
    constraint post_shares_pkey primary key (post_id, user_id),
    constraint post_shares_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint post_shares_post_id_fkey foreign key (post_id) references public.posts (id) on delete cascade
);

create index post_shares_user_id_created_at_idx on public.post_shares (user_id, created_at desc, post_id desc);
create index post_shares_post_id_created_at_idx on public.post_shares (post_id, created_at desc, user_id desc);

comment on table public.post_shares is
'Who shared which post. Readable with the post, as far as the sharer is visible to the reader; written by the sharer.';
comment on column public.post_shares.post_id is 'The shared post; one the caller can read.';
comment on column public.post_shares.user_id is 'Who shared it; the caller.';

create function private.hashtags(content text) returns text[]
language sql
immutable
set search_path = ''
as $$
    select coalesce(array_agg(t.tag order by t.place), '{}')
    from (
        select lower(m.match[1]) as tag, min(m.place) as place
        from regexp_matches(hashtags.content, '(?:^|[^[:alnum:]_&/#])#([[:alnum:]_]{1,50})(?![[:alnum:]_])', 'g')
        with ordinality as m (match, place)
        where m.match[1] ~ '[^0-9_]'
        group by 1
    ) as t
$$;
comment on function private.hashtags(text) is
'The #hashtags of a text in lower case, in order, without repeats; numbers alone (#1) are none.';

create function private.describe_post(post public.posts, named text[]) returns public.posts
language plpgsql
stable
set search_path = ''
as $$
begin
    post.content := nullif(btrim(post.content, e' \t\r\n'), '');
    -- Hashtags never make a post fail: those beyond the twentieth tag are just text.
    named := private.clean_tags(named);
    post.tags := (
        named || array(
            select t.tag from unnest(private.hashtags(post.content)) with ordinality as t (tag, place)
            where t.tag <> all (named)
            order by t.place
        )
    )[1:20];
    post.search := private.search_vector(null, post.tags, post.content);
    return post;
end
$$;
comment on function private.describe_post(public.posts, text[]) is
'The post with tidied content, its tags (the named ones and the hashtags) and its search vector.';

create function private.prepare_post() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    author public.profiles;
    membership public.group_members;
begin
    -- The end of the account or the group at this instant is waited for, or waits for this.
    perform private.lock_gates('account', array[new.user_id]);
    perform private.lock_gates('group', array[new.group_id]);
    -- A ban or a change of visibility under way is waited for: the copy is never older than the original.
    select * into author from public.profiles as p where p.id = new.user_id for share;
    new.author_audience := coalesce(private.author_audience(author), 'owner');
    if new.group_id is not null then
        -- Likewise a removal from the group. Who is no member gets one answer, also if there is no such group.
        select * into membership from public.group_members as m
        where m.group_id = new.group_id and m.user_id = new.user_id and m.status = 'active'
        for share;
        if membership.user_id is null then
            perform private.fail('group_members_only', new.group_id::text);
        end if;
        new.is_approved := membership.role in ('owner', 'admin', 'moderator') or not (
            select g.post_approval_required from public.groups as g where g.id = new.group_id
        );
    end if;
    return private.describe_post(new, new.tags);
end
$$;
comment on function private.prepare_post() is
'Trigger: copies the author''s audience, lets only active members post in a group, decides on approval, tidies.';

create trigger prepare_post before insert on public.posts
for each row execute function private.prepare_post();

create function private.edit_post() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.is_approved and new.group_id is not null and exists (
        select from public.groups as g
        left join public.group_members as m on m.group_id = g.id and m.user_id = new.user_id and m.status = 'active'
        where
            g.id = new.group_id and g.post_approval_required
            and (m.role is null or m.role not in ('owner', 'admin', 'moderator'))
    ) then
        -- What was approved is what was read.
        new.is_approved := false;
    end if;
    if new.tags is distinct from old.tags then
        return private.describe_post(new, new.tags);
    end if;
    -- Hashtags that left the text leave the tags.
    return private.describe_post(
        new, array(select t.tag from unnest(old.tags) as t (tag) where t.tag <> all (private.hashtags(old.content)))
    );
end
$$;
comment on function private.edit_post() is
'Trigger: tidies an edited post; in a group that asks approval it waits for approval again.';

create trigger edit_post before update of content, media_urls, link_url, link_preview, tags on public.posts
for each row
when (
    (old.content, old.media_urls, old.link_url, old.link_preview, old.tags)
    is distinct from (new.content, new.media_urls, new.link_url, new.link_preview, new.tags)
)
execute function private.edit_post();

-- Counters and moderation do not make a post look edited.
create trigger touch_updated_at before update of content, media_urls, link_url, link_preview, tags on public.posts
for each row execute function private.touch_updated_at();

-- One request may edit or delete many posts, in any order: not while an account's standing moves counts on many.
create function private.change_posts_in_turn() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform pg_advisory_xact_lock_shared(hashtextextended('avenue:standing', 0));
    return null;
end
$$;
comment on function private.change_posts_in_turn() is 'Trigger: waits for take_standing_turn(), not for each other.';

create trigger change_posts_in_turn
before delete or update of content, media_urls, link_url, link_preview, tags on public.posts
for each statement execute function private.change_posts_in_turn();

-- groups.posts_count: posts others can read, so the audience decides.
create function private.count_group_posts() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    groups uuid [];
    changes integer [];
begin
    -- Groups that are just deleted with their posts are not there any more.
    select array_agg(c.group_id order by c.group_id), array_agg(c.change order by c.group_id) into groups, changes
    from (
        select c.group_id, (case tg_op when 'INSERT' then 1 else -1 end) * count(*) as change
        from changed as c
        where c.group_id is not null and c.audience <> 'owner'
        group by c.group_id
    ) as c
    where exists (select from public.groups as g where g.id = c.group_id);
    if cardinality(groups) = 1 then
        changes[1] := private.claim_count('groups.posts_count', groups[1], changes[1]);
        if changes[1] is not null then
            update public.groups as g set posts_count = g.posts_count + changes[1] where g.id = groups[1];
        end if;
    elsif cardinality(groups) > 1 then
        perform private.add_counts('groups.posts_count', groups, changes);
    end if;
    return null;
end
$$;
comment on function private.count_group_posts() is 'Trigger: groups.posts_count counts the posts its members can read.';

create trigger count_group_posts_inserted after insert on public.posts
referencing new table as changed
for each statement execute function private.count_group_posts();
create trigger count_group_posts_deleted after delete on public.posts
referencing old table as changed
for each statement execute function private.count_group_posts();

create function private.count_group_post_shown() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.groups as g
    set posts_count = g.posts_count + (new.audience <> 'owner')::integer - (old.audience <> 'owner')::integer
    where g.id = new.group_id;
    return null;
end
$$;
comment on function private.count_group_post_shown() is
'Trigger: a post in a group was hidden, restored, approved or sent back for approval.';

-- A row trigger with a condition: a statement's transition tables would cost every like of every post. What follows an
-- author's standing is counted set-based by follow_author_of_posts(). No list of columns: edit_post() changes one, too.
create trigger count_group_post_shown after update on public.posts
for each row
when (
    new.group_id is not null
    and (old.audience = 'owner') <> (new.audience = 'owner')
    and old.author_audience = new.author_audience
)
execute function private.count_group_post_shown();

create function private.follow_author_of_posts() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    allowed public.audience := private.author_audience(new);
    groups uuid [];
    changes integer [];
begin
    -- An account that ends deletes its posts in a moment: after what it counts on others' posts, before groups.
    if
        allowed = private.author_audience(old)
        or new.deleted_at is not null and current_setting('avenue.rows_held', true) = 'on'
    then
        return null;
    end if;
    perform from public.posts as p where p.user_id = new.id order by p.id for no key update;
    with before as (
        select p.id, p.group_id, p.audience from public.posts as p
        where p.user_id = new.id and p.author_audience <> allowed
    ),
    after as (
        update public.posts as p set author_audience = allowed
        from before as b
        where p.id = b.id
        returning p.id, p.audience
    ),
    moved as (
        select b.group_id, sum((a.audience <> 'owner')::integer - (b.audience <> 'owner')::integer) as change
        from before as b
        inner join after as a on a.id = b.id
        where b.group_id is not null
        group by b.group_id
    )
    select array_agg(m.group_id), array_agg(m.change) into groups, changes from moved as m where m.change <> 0;
    if groups is not null then
        perform private.add_counts('groups.posts_count', groups, changes);
    end if;
    return null;
end
$$;
comment on function private.follow_author_of_posts() is
'Trigger on profiles: posts follow their author''s standing and visibility, the groups'' counters the posts.';

create trigger follow_author_of_posts after update of is_banned, deleted_at, profile_visibility on public.profiles
for each row
when (
    (old.is_banned, old.deleted_at, old.profile_visibility)
    is distinct from (new.is_banned, new.deleted_at, new.profile_visibility)
)
execute function private.follow_author_of_posts();

create function private.count_post_likes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    post uuid;
    change integer;
begin
    -- Two looks at the first rows: counting them would take as long as claim_count() does.
    select c.post_id into post from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('posts.likes_count', array_agg(c.post_id), array_agg(sign)) from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the post: nothing is left to count on.
        select p.id into post from public.posts as p where p.id = post;
    end if;
    if post is not null then
        change := private.claim_count('posts.likes_count', post, sign);
        if change is not null then
            update public.posts as p set likes_count = p.likes_count + change where p.id = post;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_post_likes() is
'Trigger: posts.likes_count. One like: see claim_count(); many: add_counts().';

create trigger count_post_likes_inserted after insert on public.post_likes
referencing new table as changed
for each statement execute function private.count_post_likes();
create trigger count_post_likes_deleted after delete on public.post_likes
referencing old table as changed
for each statement execute function private.count_post_likes();

create function private.count_post_shares() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    post uuid;
    change integer;
begin
    select c.post_id into post from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('posts.shares_count', array_agg(c.post_id), array_agg(sign)) from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the post: nothing is left to count on.
        select p.id into post from public.posts as p where p.id = post;
    end if;
    if post is not null then
        change := private.claim_count('posts.shares_count', post, sign);
        if change is not null then
            update public.posts as p set shares_count = p.shares_count + change where p.id = post;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_post_shares() is 'Trigger: posts.shares_count, as count_post_likes().';

create trigger count_post_shares_inserted after insert on public.post_shares
referencing new table as changed
for each statement execute function private.count_post_shares();
create trigger count_post_shares_deleted after delete on public.post_shares
referencing old table as changed
for each statement execute function private.count_post_shares();

insert into private.counters (counter, relation, key, count_column, truth) values
('posts.likes_count', 'public.posts', 'id', 'likes_count',
'select post_id, count(*) from public.post_likes group by 1'),
('posts.shares_count', 'public.posts', 'id', 'shares_count',
'select post_id, count(*) from public.post_shares group by 1'),
('groups.posts_count', 'public.groups', 'id', 'posts_count',
'select group_id, count(*) from public.posts where group_id is not null and audience <> ''owner'' group by 1')
on conflict (counter) do update
set relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

-- Who likes holds the post (the foreign key does), then counts on it; who deletes the post takes it, then its likes.
-- Who takes a like back would come the other way round, so they hold the post first as well.
create function private.hold_post(post_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.posts as p where p.id = hold_post.post_id for key share;
    return true;
end
$$;
comment on function private.hold_post(uuid) is
'Keeps a post from being deleted until the transaction ends; true. For policies on deleting what hangs on a post.';
grant execute on function private.hold_post(uuid) to authenticated;

create function private.hold_posts_of_account(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    post record;
begin
    for post in
        select p.id, p.user_id = hold_posts_of_account.user_id as is_own from public.posts as p
        where p.id in (
            select o.id from public.posts as o where o.user_id = hold_posts_of_account.user_id
            union
            select l.post_id from public.post_likes as l where l.user_id = hold_posts_of_account.user_id
            union
            select s.post_id from public.post_shares as s where s.user_id = hold_posts_of_account.user_id
            union
            select v.post_id from public.poll_votes as v where v.user_id = hold_posts_of_account.user_id
            union
            select c.post_id from public.comments as c where c.user_id = hold_posts_of_account.user_id
            union
            select c.post_id from public.comment_likes as l
            inner join public.comments as c on c.id = l.comment_id
            where l.user_id = hold_posts_of_account.user_id
        )
        order by p.id
    loop
        if post.is_own then
            perform from public.posts as p where p.id = post.id for update;
        else
            -- No more than this before the comments are held: who replies to one counts on its post.
            perform from public.posts as p where p.id = post.id for key share;
        end if;
    end loop;
end
$$;
comment on function private.hold_posts_of_account(uuid) is
'Step of erase_account(): takes, in the order of their ids, the posts it will delete, and keeps those it will count on '
'from being deleted.';

create function private.hold_posts_of_group(group_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.posts as p where p.group_id = hold_posts_of_group.group_id order by p.id for update;
end
$$;
comment on function private.hold_posts_of_group(uuid) is
'Before a group is deleted: its posts first, as whoever hides or edits one counts on the group after it.';

create function private.has_liked(post_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.post_likes as l where l.post_id = has_liked.post_id and l.user_id = auth.uid()
    );
end
$$;
comment on function private.has_liked(uuid) is 'Whether the caller likes the post.';
grant execute on function private.has_liked(uuid) to authenticated;

create function private.has_shared(post_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.post_shares as s where s.post_id = has_shared.post_id and s.user_id = auth.uid()
    );
end
$$;
comment on function private.has_shared(uuid) is 'Whether the caller shared the post.';
grant execute on function private.has_shared(uuid) to authenticated;

-- Computed columns: a frontend adds them to its select. Visitors call them too, hence no definer's rights.
create function public.liked_by_me(post public.posts) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return false;
    end if;
    return private.has_liked(post.id);
end
$$;
comment on function public.liked_by_me(public.posts) is 'Computed column of posts: whether the caller likes it.';
grant execute on function public.liked_by_me(public.posts) to anon, authenticated;

create function public.shared_by_me(post public.posts) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return false;
    end if;
    return private.has_shared(post.id);
end
$$;
comment on function public.shared_by_me(public.posts) is 'Computed column of posts: whether the caller shared it.';
grant execute on function public.shared_by_me(public.posts) to anon, authenticated;

create function private.moderates(group_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return private.group_role(group_id) in ('owner', 'admin', 'moderator');
end
$$;
comment on function private.moderates(uuid) is
'Whether the caller is an active moderator, admin or owner of the group; null for those who are no member.';

create function public.pending_posts(
    group_id uuid, after_created_at timestamptz default null, after_id uuid default null, max_rows integer default 20
) returns setof public.posts
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    perform private.require_member();
    -- Not a moderator, no such group: nothing to see.
    if private.moderates(pending_posts.group_id) or private.is_admin() then
        return query
        select p.* from public.posts as p
        where
            p.group_id = pending_posts.group_id and not p.is_approved and not p.is_hidden
            and p.author_audience <> 'owner'
            and p.user_id <> all(array(select private.blocked_ids()))
            and (after_created_at is null or (p.created_at, p.id) > (after_created_at, coalesce(after_id, p.id)))
        order by p.created_at, p.id
        limit least(greatest(max_rows, 1), 100);
    end if;
end
$$;
comment on function public.pending_posts(uuid, timestamptz, uuid, integer) is
'Moderators of a group: posts that wait for approval, oldest first; the next page starts after the last row''s '
'created_at and id. 1 to 100 rows. Empty for everybody else.';
grant execute on function public.pending_posts(uuid, timestamptz, uuid, integer) to authenticated;

create function private.post_to_moderate(post_id uuid) returns public.posts
language plpgsql
security definer
set search_path = ''
as $$
declare
    post public.posts;
begin
    select * into post from public.posts as p where p.id = post_to_moderate.post_id;
    -- One answer for what does not exist and what is not the caller's to decide; decided before anything is locked.
    if
        post.group_id is null
        or not coalesce(private.moderates(post.group_id) or private.is_admin(), false)
        or not private.can_see(post.user_id)
    then
        perform private.fail('post_not_found', post_to_moderate.post_id::text);
    end if;
    select * into post from public.posts as p where p.id = post_to_moderate.post_id for no key update;
    if post.id is null then
        perform private.fail('post_not_found', post_to_moderate.post_id::text);
    end if;
    return post;
end
$$;
comment on function private.post_to_moderate(uuid) is
'The post, locked, if the caller moderates its group or is an admin; else fails with post_not_found.';

create function public.approve_post(post_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    post public.posts;
begin
    perform private.require_member();
    post := private.post_to_moderate(approve_post.post_id);
    if post.is_approved then
        return;
    end if;
    update public.posts as p set is_approved = true where p.id = post.id;
    perform private.audit('approve_post', 'posts', post.id, jsonb_build_object('group_id', post.group_id));
end
$$;
comment on function public.approve_post(uuid) is
'Moderators of the post''s group: shows a waiting post to the group. A rejected or hidden one stays hidden until it is '
'restored. No effect on an approved one. Fails with post_not_found.';
grant execute on function public.approve_post(uuid) to authenticated;

create function public.reject_post(post_id uuid, reason text default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    post public.posts;
begin
    perform private.require_member();
    post := private.post_to_moderate(reject_post.post_id);
    if post.is_approved then
        perform private.fail('post_not_pending', post.id::text);
    end if;
    if post.is_hidden then
        return;
    end if;
    update public.posts as p set is_hidden = true, hidden_reason = nullif(btrim(left(reject_post.reason, 1000)), '')
    where p.id = post.id;
    perform private.audit(
        'reject_post', 'posts', post.id, jsonb_build_object('group_id', post.group_id, 'reason', reject_post.reason)
    );
end
$$;
comment on function public.reject_post(uuid, text) is
'Moderators of the post''s group: takes a waiting post out of the queue. Its author still reads it, with the reason '
'(at most 1,000 characters); restoring it puts it back in the queue. Fails with post_not_found, post_not_pending.';
grant execute on function public.reject_post(uuid, text) to authenticated;

create function private.set_pinned(post_id uuid, pinned boolean) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    post public.posts;
begin
    select * into post from public.posts as p where p.id = set_pinned.post_id;
    if not coalesce(
        case
                when post.group_id is null then post.user_id = caller
                else private.moderates(post.group_id) and private.can_see(post.user_id)
            end, false
    ) then
        perform private.fail('post_not_found', set_pinned.post_id::text);
    end if;
    if post.is_pinned = pinned then
        return;
    end if;
    -- Two posts pinned at the same instant take turns.
    perform pg_advisory_xact_lock(hashtextextended('avenue:pins:' || coalesce(post.group_id, post.user_id)::text, 0));
    if pinned then
        -- What others of the group cannot read is not put above what they can.
        if post.group_id is not null and post.audience = 'owner' then
            perform private.fail('post_not_found', set_pinned.post_id::text);
        end if;
        if 3 <= (
            select count(*) from public.posts as p
            where
                p.is_pinned and p.id <> post.id and p.group_id is not distinct from post.group_id
                and (p.group_id is not null or p.user_id = post.user_id)
        ) then
            perform private.fail('too_many_pins', '3');
        end if;
    end if;
    update public.posts as p set is_pinned = pinned where p.id = post.id;
end
$$;
comment on function private.set_pinned(uuid, boolean) is 'Pins or unpins for pin_post() and unpin_post().';

create function public.pin_post(post_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.set_pinned(post_id, true);
end
$$;
comment on function public.pin_post(uuid) is
'Pins one of the caller''s posts to their profile, or a post of a group the caller moderates to the group: at most 3 '
'each. Pinning twice has no effect. Fails with post_not_found, too_many_pins.';
grant execute on function public.pin_post(uuid) to authenticated;

create function public.unpin_post(post_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.set_pinned(post_id, false);
end
$$;
comment on function public.unpin_post(uuid) is 'Ends a pin; who may pin may unpin. Fails with post_not_found.';
grant execute on function public.unpin_post(uuid) to authenticated;

alter table public.posts enable row level security;
revoke all on public.posts from anon, authenticated, service_role;
grant select on public.posts to anon, authenticated, service_role;
grant insert (group_id, post_type, content, media_urls, link_url, link_preview, tags) on public.posts to authenticated;
grant update (content, media_urls, link_url, link_preview, tags) on public.posts to authenticated;
grant delete on public.posts to authenticated;

create policy posts_select_anon on public.posts for select to anon
using (audience = 'public');

-- Nothing here is asked per row but the row itself: the functions are asked once a query. search_posts() repeats it.
create policy posts_select on public.posts for select to authenticated
using (
    (
        (
            audience = 'public'
            or audience = 'members' and (select private.member_id()) is not null
            or audience = 'group' and group_id = any(array(select private.my_group_ids()))
        )
        and user_id <> all(array(select private.blocked_ids()))
    )
    or user_id = (select private.member_id())
    or (select private.is_admin())
);
-- A poll without options is none: create_poll() makes both.
create policy posts_insert on public.posts for insert to authenticated
with check (
    user_id = (select private.member_id())
    and post_type <> 'poll'
    and (group_id is null or group_id = any(array(select private.my_group_ids())))
);
-- Who left a group or was banned from it does not rewrite what its members read, but may take it back.
create policy posts_update on public.posts for update to authenticated
using (
    user_id = (select private.member_id())
    and (group_id is null or group_id = any(array(select private.my_group_ids())))
)
with check (
    user_id = (select private.member_id())
    and (group_id is null or group_id = any(array(select private.my_group_ids())))
);
create policy posts_delete on public.posts for delete to authenticated
using (user_id = (select private.member_id()));

alter table public.post_likes enable row level security;
revoke all on public.post_likes from anon, authenticated, service_role;
grant select on public.post_likes to anon, authenticated, service_role;
grant insert (post_id) on public.post_likes to authenticated;
grant delete on public.post_likes to authenticated;

-- The subquery on posts is under its policies: what cannot be read cannot be liked, and its likes cannot be seen. A
-- scalar one stays a look-up for each row, where exists (…) could become a hash of all posts.
create policy post_likes_select_anon on public.post_likes for select to anon
using ((select p.id from public.posts as p where p.id = post_id) is not null and private.can_see(user_id));
create policy post_likes_select on public.post_likes for select to authenticated
using (
    (select p.id from public.posts as p where p.id = post_id) is not null
    and (user_id = (select private.member_id()) or private.can_see(user_id))
);
create policy post_likes_insert on public.post_likes for insert to authenticated
with check (
    user_id = (select private.member_id())
    and (select p.id from public.posts as p where p.id = post_id) is not null
);
create policy post_likes_delete on public.post_likes for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_post(post_id));

alter table public.post_shares enable row level security;
revoke all on public.post_shares from anon, authenticated, service_role;
grant select on public.post_shares to anon, authenticated, service_role;
grant insert (post_id) on public.post_shares to authenticated;
grant delete on public.post_shares to authenticated;

create policy post_shares_select_anon on public.post_shares for select to anon
using ((select p.id from public.posts as p where p.id = post_id) is not null and private.can_see(user_id));
create policy post_shares_select on public.post_shares for select to authenticated
using (
    (select p.id from public.posts as p where p.id = post_id) is not null
    and (user_id = (select private.member_id()) or private.can_see(user_id))
);
create policy post_shares_insert on public.post_shares for insert to authenticated
with check (
    user_id = (select private.member_id())
    and (select p.id from public.posts as p where p.id = post_id) is not null
);
create policy post_shares_delete on public.post_shares for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_post(post_id));

insert into private.error_codes (code, sqlstate, message, description) values
('group_members_only', 'PT403', 'Only members of the group can post in it.',
'The caller is no active member of the group in the detail, or it does not exist.'),
('post_not_found', 'PT404', 'This post does not exist, or it is not yours to change.',
'No such post, one the caller cannot read, or one only its author or its group''s moderators may change.'),
('post_not_pending', 'PT409', 'This post was already approved.',
'Only posts that wait for approval are rejected. Moderation hides what was published.'),
('too_many_pins', 'PT409', 'No more posts can be pinned here.',
'The detail states how many. Unpin another post first.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

insert into private.personal_data (section, relation, condition) values
('posts', 'public.posts', 't.user_id = $1'),
('post_likes', 'public.post_likes', 't.user_id = $1'),
('post_shares', 'public.post_shares', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('posts_held', -15, 'select private.hold_posts_of_account($1)'),
('post_likes', 20, 'delete from public.post_likes where user_id = $1'),
('post_shares', 21, 'delete from public.post_shares where user_id = $1'),
('posts', 30, 'delete from public.posts where user_id = $1')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- sql/65_social/35_polls.sql ------------------------------------------------------------------------------------------
-- The options of a poll and who voted for what. How many voted for an option is for everybody who can read the post;
-- who voted for what is for the voter alone.

create table public.poll_options (
    id uuid not null default gen_random_uuid(),
    post_id uuid not null,
    position smallint not null,
    option text not null,
    votes_count integer not null default 0,
    constraint poll_options_pkey primary key (id),
    constraint poll_options_post_id_position_key unique (post_id, position),
    constraint poll_options_post_id_id_key unique (post_id, id),
    constraint poll_options_post_id_fkey foreign key (post_id) references public.posts (id) on delete cascade,
    constraint poll_options_position_check check (position between 1 and 10),
    constraint poll_options_option_check check (
        char_length(option) between 1 and 200 and option !~ '[[:cntrl:]\u202A-\u202E\u2066-\u2069]'
    ),
    constraint poll_options_votes_count_check check (votes_count >= 0)
)
-- The counter is in no index: room on the page keeps its updates HOT.
with (fillfactor = 70);

comment on table public.poll_options is
'The 2 to 10 options of a poll, made with it by create_poll() and never changed; nor is the question once somebody '
'voted. Readable with the post.';
comment on column public.poll_options.post_id is 'The poll.';
comment on column public.poll_options.position is 'Place in the list, from 1.';
comment on column public.poll_options.option is 'The answer, one line of at most 200 characters.';
comment on column public.poll_options.votes_count is 'Votes for it; kept by triggers.';

create table public.poll_votes (
    post_id uuid not null,
    user_id uuid not null default auth.uid(),
    option_id uuid not null,
    created_at timestamptz not null default now(),
    constraint poll_votes_pkey primary key (post_id, user_id),
    constraint poll_votes_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint poll_votes_option_id_fkey foreign key (post_id, option_id)
    references public.poll_options (post_id, id) on delete cascade
);

create index poll_votes_post_id_option_id_idx on public.poll_votes (post_id, option_id);
create index poll_votes_user_id_idx on public.poll_votes (user_id, created_at desc);

comment on table public.poll_votes is
'One vote per poll and person, until the poll ends: it may be changed and taken back. Only the voter reads it.';
comment on column public.poll_votes.post_id is 'The poll; one the caller can read.';
comment on column public.poll_votes.user_id is 'Who voted; the caller.';
comment on column public.poll_votes.option_id is 'The chosen option of this poll.';

create function private.count_poll_votes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    chosen uuid;
    change integer;
begin
    -- After the row's policy was asked, so that the answer tells nothing about polls one cannot read. The clock, not
    -- the transaction's time: a vote that waited is late.
    if tg_op = 'INSERT' and exists (
        select from public.posts as p
        where p.id in (select c.post_id from changed as c) and p.poll_ends_at <= clock_timestamp()
    ) then
        perform private.fail('poll_closed');
    end if;
    select c.option_id into chosen from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('poll_options.votes_count', array_agg(c.option_id), array_agg(sign))
        from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the poll: nothing is left to count on.
        select o.id into chosen from public.poll_options as o where o.id = chosen;
    end if;
    if chosen is not null then
        change := private.claim_count('poll_options.votes_count', chosen, sign);
        if change is not null then
            update public.poll_options as o set votes_count = o.votes_count + change where o.id = chosen;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_poll_votes() is
'Trigger: poll_options.votes_count; fails with poll_closed after the poll''s end.';

create trigger count_poll_votes_inserted after insert on public.poll_votes
referencing new table as changed
for each statement execute function private.count_poll_votes();
create trigger count_poll_votes_deleted after delete on public.poll_votes
referencing old table as changed
for each statement execute function private.count_poll_votes();

create function private.count_changed_votes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    moved record;
    votes integer;
begin
    if exists (
        select from public.posts as p
        where p.id in (select a.post_id from after as a) and p.poll_ends_at <= clock_timestamp()
    ) then
        perform private.fail('poll_closed');
    end if;
    if (select count(*) from after as a) = 1 then
        -- Ascending ids, as many votes are counted. The vote itself may still be somebody's to add: only who adds what
        -- is pending never takes away what is not there yet.
        for moved in
            select b.option_id as id, -1 as change from before as b
            where b.option_id <> all (select a.option_id from after as a)
            union all
            select a.option_id, 1 from after as a where a.option_id <> all (select b.option_id from before as b)
            order by 1
        loop
            votes := private.claim_count('poll_options.votes_count', moved.id, moved.change);
            if votes is not null then
                update public.poll_options as o set votes_count = o.votes_count + votes where o.id = moved.id;
            end if;
        end loop;
        return null;
    end if;
    perform private.add_counts('poll_options.votes_count', array_agg(v.option_id), array_agg(v.change))
    from (
        select b.option_id, -1 as change from before as b
        union all
        select a.option_id, 1 as change from after as a
    ) as v;
    return null;
end
$$;
comment on function private.count_changed_votes() is
'Trigger: a vote moved from one option to another; fails with poll_closed after the poll''s end.';

create trigger count_changed_votes after update on public.poll_votes
referencing old table as before new table as after
for each statement execute function private.count_changed_votes();

-- An upsert locks the vote it changes before the policy holds the post; who deletes the post takes it the other way
-- round.
create function private.hold_poll() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.hold_post(new.post_id);
    return new;
end
$$;
comment on function private.hold_poll() is 'Trigger: who votes holds the post, see hold_post(), before any vote.';

create trigger hold_poll before insert on public.poll_votes
for each row execute function private.hold_poll();

-- One vote, one poll: the composite foreign key holds the option to the poll, this holds the vote to it.
create function private.keep_vote_in_poll() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.post_id := old.post_id;
    return new;
end
$$;
comment on function private.keep_vote_in_poll() is 'Trigger: a vote never moves to another poll.';

create trigger keep_vote_in_poll before update of post_id on public.poll_votes
for each row execute function private.keep_vote_in_poll();

create function private.keep_question() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Waits for those who vote just now, see hold_poll().
    perform from public.posts as p where p.id = new.id for update;
    if exists (select from public.poll_votes as v where v.post_id = new.id) then
        perform private.fail('poll_has_votes', new.id::text);
    end if;
    return new;
end
$$;
comment on function private.keep_question() is
'Trigger: what people voted on is not turned into something else; fails with poll_has_votes.';

create trigger keep_question before update of content on public.posts
for each row
when (old.post_type = 'poll' and new.content is distinct from old.content)
execute function private.keep_question();

insert into private.counters (counter, relation, key, count_column, truth) values
('poll_options.votes_count', 'public.poll_options', 'id', 'votes_count',
'select option_id, count(*) from public.poll_votes group by 1')
on conflict (counter) do update
set relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

create function private.hold_open_poll(post_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Held for the reason of hold_post().
    perform from public.posts as p
    where p.id = hold_open_poll.post_id and (p.poll_ends_at is null or p.poll_ends_at > clock_timestamp())
    for key share;
    return found;
end
$$;
comment on function private.hold_open_poll(uuid) is
'Whether votes in this poll may still be taken back; keeps the post from being deleted meanwhile.';
grant execute on function private.hold_open_poll(uuid) to authenticated;

create function private.voted_for(post_id uuid) returns uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return (
        select v.option_id from public.poll_votes as v where v.post_id = voted_for.post_id and v.user_id = auth.uid()
    );
end
$$;
comment on function private.voted_for(uuid) is 'The option the caller voted for in this poll; null without a vote.';
grant execute on function private.voted_for(uuid) to authenticated;

create function public.my_vote(post public.posts) returns uuid
language plpgsql
stable
set search_path = ''
as $$
begin
    if post.post_type <> 'poll' or auth.uid() is null then
        return null;
    end if;
    return private.voted_for(post.id);
end
$$;
comment on function public.my_vote(public.posts) is
'Computed column of posts: id of the option the caller voted for; null without a vote.';
grant execute on function public.my_vote(public.posts) to anon, authenticated;

create function public.create_poll(
    content text, options text[], ends_at timestamptz default null, group_id uuid default null,
    tags text[] default '{}'
) returns public.posts
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    answers text [] := array(
        select btrim(regexp_replace(o.option, '[[:space:]]+', ' ', 'g'))
        from unnest(options) with ordinality as o (option, position)
        order by o.position
    );
    post public.posts;
begin
    if btrim(coalesce(content, ''), e' \t\r\n') = '' then
        perform private.fail('invalid_poll', 'the question is missing');
    elsif coalesce(cardinality(options), 0) not between 2 and 10 or array_ndims(options) <> 1 then
        perform private.fail('invalid_poll', 'a poll has 2 to 10 options');
    elsif exists (
        select from unnest(answers) as a (answer) where a.answer is null or char_length(a.answer) not between 1 and 200
    ) then
        perform private.fail('invalid_poll', 'an option has 1 to 200 characters');
    elsif (select count(distinct lower(a.answer)) from unnest(answers) as a (answer)) < cardinality(answers) then
        perform private.fail('invalid_poll', 'two options are the same');
    elsif ends_at <= clock_timestamp() or ends_at > clock_timestamp() + interval '1 year' then
        perform private.fail('invalid_poll', 'a poll ends in the future, within a year');
    end if;
    insert into public.posts as p (user_id, group_id, post_type, content, poll_ends_at, tags)
    values (
        caller, create_poll.group_id, 'poll', create_poll.content, create_poll.ends_at,
        coalesce(create_poll.tags, '{}')
    )
    returning p.* into post;
    insert into public.poll_options (post_id, position, option)
    select post.id, a.position, a.answer from unnest(answers) with ordinality as a (answer, position);
    return post;
end
$$;
comment on function public.create_poll(text, text[], timestamptz, uuid, text[]) is
'Makes a poll: the question, 2 to 10 different options of at most 200 characters, the end of voting (within a year; '
'null: never) and the group it is for (null: the profile). Returns the post. Fails with invalid_poll, '
'group_members_only, invalid_tags.';
grant execute on function public.create_poll(text, text[], timestamptz, uuid, text[]) to authenticated;

alter table public.poll_options enable row level security;
revoke all on public.poll_options from anon, authenticated, service_role;
grant select on public.poll_options to anon, authenticated, service_role;

create policy poll_options_select_anon on public.poll_options for select to anon
using ((select p.id from public.posts as p where p.id = post_id) is not null);
create policy poll_options_select on public.poll_options for select to authenticated
using ((select p.id from public.posts as p where p.id = post_id) is not null);

alter table public.poll_votes enable row level security;
revoke all on public.poll_votes from anon, authenticated, service_role;
grant select on public.poll_votes to authenticated, service_role;
grant insert (post_id, option_id) on public.poll_votes to authenticated;
-- post_id only because an upsert sets every column it sends; keep_vote_in_poll() holds the vote to its poll.
grant update (post_id, option_id) on public.poll_votes to authenticated;
grant delete on public.poll_votes to authenticated;

create policy poll_votes_select on public.poll_votes for select to authenticated
using (
    user_id = (select private.member_id())
    and (select p.id from public.posts as p where p.id = post_id) is not null
);
create policy poll_votes_insert on public.poll_votes for insert to authenticated
with check (
    user_id = (select private.member_id())
    and (select p.id from public.posts as p where p.id = post_id) is not null
);
create policy poll_votes_update on public.poll_votes for update to authenticated
using (user_id = (select private.member_id()) and private.hold_post(post_id))
with check (
    user_id = (select private.member_id())
    and (select p.id from public.posts as p where p.id = post_id) is not null
);
create policy poll_votes_delete on public.poll_votes for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_open_poll(post_id));

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_poll', 'PT400', 'This poll is not complete.',
'The detail says what is missing or wrong: the question, 2 to 10 different options, an end in the future.'),
('poll_closed', 'PT409', 'Voting in this poll has ended.', 'poll_ends_at has passed; the counts are final.'),
('poll_has_votes', 'PT409', 'People have voted on this question.',
'The question of a poll can be corrected until the first vote. Delete the poll and make another one.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

insert into private.personal_data (section, relation, condition) values
('poll_votes', 'public.poll_votes', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('poll_votes', 22, 'delete from public.poll_votes where user_id = $1')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- sql/65_social/40_comments.sql ---------------------------------------------------------------------------------------
-- What people say about a post, an item of the shop or an article, in threads. A comment is readable by whom its author
-- allows, as long as what it is about is readable too.

create table public.comments (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    post_id uuid,
    item_id uuid,
    article_id uuid,
    parent_comment_id uuid,
    depth smallint not null default 0,
    content text not null,
    likes_count integer not null default 0,
    is_hidden boolean not null default false,
    hidden_reason text,
    author_audience public.audience not null,
    audience public.audience not null generated always as (
        case when is_hidden then 'owner'::public.audience else author_audience end
    ) stored,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint comments_pkey primary key (id),
    constraint comments_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint comments_post_id_fkey foreign key (post_id) references public.posts (id) on delete cascade,
    constraint comments_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint comments_article_id_fkey foreign key (article_id) references public.articles (id) on delete cascade,
    constraint comments_parent_comment_id_fkey foreign key (parent_comment_id) references public.comments (id)
    on delete cascade,
    constraint comments_target_check check (num_nonnulls(post_id, item_id, article_id) = 1),
    constraint comments_depth_check check (depth between 0 and 8 and (depth = 0) = (parent_comment_id is null)),
    constraint comments_content_check check (char_length(content) between 1 and 5000),
    constraint comments_hidden_reason_check check (char_length(hidden_reason) <= 1000),
    constraint comments_author_audience_check check (author_audience <> 'group'),
    constraint comments_counts_check check (likes_count >= 0)
)
-- Likes rewrite rows and no index holds their count: room on the page keeps those updates HOT.
with (fillfactor = 90);

-- Keysets in both directions: a target's thread, the replies to a comment, what somebody said.
create index comments_post_id_created_at_id_idx on public.comments (post_id, created_at, id) where post_id is not null;
create index comments_item_id_created_at_id_idx on public.comments (item_id, created_at, id) where item_id is not null;
create index comments_article_id_created_at_id_idx on public.comments (article_id, created_at, id)
where article_id is not null;
create index comments_parent_comment_id_created_at_id_idx on public.comments (parent_comment_id, created_at, id)
where parent_comment_id is not null;
create index comments_user_id_created_at_id_idx on public.comments (user_id, created_at, id);

comment on table public.comments is
'Comments on posts, catalog items and articles. Readable with their target, as far as their author is; written on what '
'the caller can read. Deleting one deletes its replies; hiding one leaves them.';
comment on column public.comments.user_id is 'The author; the caller.';
comment on column public.comments.post_id is
'The post it is about. Exactly one of post_id, item_id and article_id is set.';
comment on column public.comments.item_id is 'The catalog item it is about.';
comment on column public.comments.article_id is 'The article it is about.';
comment on column public.comments.parent_comment_id is
'The comment it replies to, about the same target; null: a first one.';
comment on column public.comments.depth is '0 for a first comment, one more than its parent''s for a reply; at most 8.';
comment on column public.comments.content is 'Plain text, at most 5,000 characters.';
comment on column public.comments.likes_count is 'Rows in comment_likes; kept by triggers.';
comment on column public.comments.is_hidden is
'Taken down by moderation: only its author and admins read it. Its replies stay, like those to somebody the reader '
'cannot see.';
comment on column public.comments.hidden_reason is 'Why it was taken down, told to its author.';
comment on column public.comments.author_audience is 'Copy of the author''s widest audience; kept by triggers.';
comment on column public.comments.audience is
'Who may read it among those who can read its target; owner while hidden.';

create table public.comment_likes (
    comment_id uuid not null,
    user_id uuid not null default auth.uid(),
    created_at timestamptz not null default now(),
    constraint comment_likes_pkey primary key (comment_id, user_id),
    constraint comment_likes_comment_id_fkey foreign key (comment_id) references public.comments (id) on delete cascade,
    constraint comment_likes_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);

create index comment_likes_user_id_created_at_idx on public.comment_likes (user_id, created_at desc);

comment on table public.comment_likes is
'Who likes which comment. Readable with the comment, as far as the liker is to the reader; written by the liker.';
comment on column public.comment_likes.comment_id is 'The liked comment; one the caller can read.';
comment on column public.comment_likes.user_id is 'Who likes it; the caller.';

create function private.check_comment() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    parent public.comments;
begin
    -- Everything here is read as the caller: what the caller cannot read answers like what does not exist.
    new.content := btrim(new.content, e' \t\r\n');
    if
        new.post_id is not null and not exists (
            select from public.posts as p
            where
                p.id = new.post_id
                -- Who is not in the group any more still reads their own posts there, but writes nothing below them.
                and (
                    p.group_id is null
                    or exists (
                        select from public.group_members as m
                        where m.group_id = p.group_id and m.user_id = new.user_id and m.status = 'active'
                    )
                    or private.is_admin()
                )
        )
        or new.item_id is not null and not exists (select from public.catalog_items as c where c.id = new.item_id)
        or new.article_id is not null and not exists (select from public.articles as a where a.id = new.article_id)
    then
        perform private.fail(
            'comment_target_not_found', coalesce(new.post_id, new.item_id, new.article_id)::text
        );
    end if;
    new.depth := 0;
    if new.parent_comment_id is not null then
        select * into parent from public.comments as c
        where
            c.id = new.parent_comment_id
            and (c.post_id, c.item_id, c.article_id)
            is not distinct from (new.post_id, new.item_id, new.article_id);
        if parent.id is null then
            perform private.fail('comment_not_found', new.parent_comment_id::text);
        end if;
        new.depth := parent.depth + 1;
        if new.depth > 8 then
            perform private.fail('comment_too_deep', '8');
        end if;
    end if;
    new.author_audience := private.lock_audience(new.user_id);
    return new;
end
$$;
comment on function private.check_comment() is
'Trigger: one comments on what one can read, replies to a readable comment about the same; sets depth and audience.';

create trigger check_comment before insert on public.comments
for each row execute function private.check_comment();

create function private.tidy_comment() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.content := btrim(new.content, e' \t\r\n');
    new.updated_at := case when new.content <> old.content then now() else old.updated_at end;
    return new;
end
$$;
comment on function private.tidy_comment() is 'Trigger: tidies and dates an edit; likes and moderation are none.';

create trigger tidy_comment before update of content on public.comments
for each row execute function private.tidy_comment();

-- A change to a comment takes, in this order: what it is about (kept from being deleted), the comment, the count. Who
-- deletes a post takes the post, then its comments: nobody waits in a circle.
create function private.hold_comment_target(post_id uuid, item_id uuid, article_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    if hold_comment_target.post_id is not null then
        return private.hold_post(hold_comment_target.post_id);
    elsif hold_comment_target.item_id is not null then
        return private.hold_item(hold_comment_target.item_id);
    end if;
    return private.hold_article(hold_comment_target.article_id);
end
$$;
comment on function private.hold_comment_target(uuid, uuid, uuid) is
'Keeps what a comment is about from being deleted until the transaction ends; true.';
grant execute on function private.hold_comment_target(uuid, uuid, uuid) to authenticated;

create function private.hold_comment(comment_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.comments as c where c.id = hold_comment.comment_id for key share;
    return true;
end
$$;
comment on function private.hold_comment(uuid) is
'Keeps a comment from being deleted until the transaction ends; true. For the policy on taking a like back.';
grant execute on function private.hold_comment(uuid) to authenticated;

create function private.hold_comment_targets_of(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.posts as p
    where p.id in (select c.post_id from public.comments as c where c.user_id = hold_comment_targets_of.user_id)
    order by p.id
    for key share;
    perform from public.catalog_items as i
    where i.id in (select c.item_id from public.comments as c where c.user_id = hold_comment_targets_of.user_id)
    order by i.id
    for key share;
    perform from public.articles as a
    where a.id in (select c.article_id from public.comments as c where c.user_id = hold_comment_targets_of.user_id)
    order by a.id
    for key share;
end
$$;
comment on function private.hold_comment_targets_of(uuid) is
'hold_comment_target() for everything somebody commented on.';

-- hold_posts_of_account() has held the posts; erase_products() and erase_artworks() take the account's own items.
create function private.hold_comments_of_account(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    held record;
begin
    perform from public.catalog_items as i
    where
        i.seller_id <> hold_comments_of_account.user_id
        and i.id in (
            select f.item_id from public.favorites as f where f.user_id = hold_comments_of_account.user_id
            union
            select c.item_id from public.comments as c where c.user_id = hold_comments_of_account.user_id
            union
            select c.item_id from public.comment_likes as l
            inner join public.comments as c on c.id = l.comment_id
            where l.user_id = hold_comments_of_account.user_id
        )
    order by i.id
    for key share;
    for held in
        select a.id, a.author_id = hold_comments_of_account.user_id as is_own from public.articles as a
        where a.id in (
            select o.id from public.articles as o where o.author_id = hold_comments_of_account.user_id
            union
            select l.article_id from public.article_likes as l where l.user_id = hold_comments_of_account.user_id
            union
            select c.article_id from public.comments as c where c.user_id = hold_comments_of_account.user_id
            union
            select c.article_id from public.comment_likes as l
            inner join public.comments as c on c.id = l.comment_id
            where l.user_id = hold_comments_of_account.user_id
        )
        order by a.id
    loop
        if held.is_own then
            perform from public.articles as a where a.id = held.id for update;
        else
            perform from public.articles as a where a.id = held.id for key share;
        end if;
    end loop;
    for held in
        select c.id, c.user_id = hold_comments_of_account.user_id as is_own from public.comments as c
        where c.id in (
            select o.id from public.comments as o where o.user_id = hold_comments_of_account.user_id
            union
            select l.comment_id from public.comment_likes as l where l.user_id = hold_comments_of_account.user_id
        )
        order by c.id
    loop
        if held.is_own then
            perform from public.comments as c where c.id = held.id for update;
        else
            perform from public.comments as c where c.id = held.id for key share;
        end if;
    end loop;
end
$$;
comment on function private.hold_comments_of_account(uuid) is
'Step of erase_account(): takes the articles and comments it will delete and keeps from being deleted what it will '
'count on, targets before comments, each in the order of their ids.';

create type private.comment_target as enum ('post', 'item', 'article');
comment on type private.comment_target is 'What a comment is about.';

create function private.add_comments(target private.comment_target, ids uuid[], changes integer[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    relation text := case target when 'post' then 'posts' when 'item' then 'catalog_items' else 'articles' end;
    change integer := changes[1];
begin
    if cardinality(ids) > 1 then
        perform private.add_counts(relation || '.comments_count', ids, changes);
    elsif target = 'post' then
        if exists (select from public.posts as p where p.id = ids[1]) then
            change := private.claim_count('posts.comments_count', ids[1], change);
            if change is not null then
                update public.posts as p set comments_count = p.comments_count + change where p.id = ids[1];
            end if;
        end if;
    elsif target = 'item' then
        if exists (select from public.catalog_items as i where i.id = ids[1]) then
            change := private.claim_count('catalog_items.comments_count', ids[1], change);
            if change is not null then
                update public.catalog_items as i set comments_count = i.comments_count + change where i.id = ids[1];
            end if;
        end if;
    elsif exists (select from public.articles as a where a.id = ids[1]) then
        change := private.claim_count('articles.comments_count', ids[1], change);
        if change is not null then
            update public.articles as a set comments_count = a.comments_count + change where a.id = ids[1];
        end if;
    end if;
end
$$;
comment on function private.add_comments(private.comment_target, uuid[], integer[]) is
'Adds to the comments_count of targets of one kind, ids ascending. One: see claim_count(); many: add_counts(). '
'Targets that are just deleted with their comments are left alone.';

create function private.count_comments() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    counted record;
begin
    for counted in
        select n.target, array_agg(n.id order by n.id) as ids, array_agg(n.change order by n.id) as changes
        from (
            select
                case
                    when c.post_id is not null then 'post' when c.item_id is not null then 'item' else 'article'
                end::private.comment_target as target,
                coalesce(c.post_id, c.item_id, c.article_id) as id,
                (case tg_op when 'INSERT' then 1 else -1 end) * count(*)::integer as change
            from changed as c
            where c.audience <> 'owner'
            group by 1, 2
        ) as n
        group by n.target
        order by n.target
    loop
        perform private.add_comments(counted.target, counted.ids, counted.changes);
    end loop;
    return null;
end
$$;
comment on function private.count_comments() is
'Trigger: comments_count of what is commented on counts the comments that others than their authors read.';

create trigger count_inserted after insert on public.comments referencing new table as changed
for each statement execute function private.count_comments();
create trigger count_deleted after delete on public.comments referencing old table as changed
for each statement execute function private.count_comments();

create function private.count_comment_shown() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.add_comments(
        case
            when new.post_id is not null then 'post' when new.item_id is not null then 'item' else 'article'
        end::private.comment_target,
        array[coalesce(new.post_id, new.item_id, new.article_id)],
        array[(new.audience <> 'owner')::integer - (old.audience <> 'owner')::integer]
    );
    return null;
end
$$;
comment on function private.count_comment_shown() is 'Trigger: a comment was hidden or restored.';

-- A row trigger with a condition: a statement's transition tables would cost every like of every comment. What follows
-- an author's standing is counted set-based by follow_author_of_comments().
create trigger count_comment_shown after update of is_hidden on public.comments
for each row
when ((old.audience = 'owner') is distinct from (new.audience = 'owner'))
execute function private.count_comment_shown();

create function private.follow_author_of_comments() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    allowed public.audience := private.author_audience(new);
    counted record;
begin
    if allowed = private.author_audience(old) then
        return null;
    end if;
    perform private.hold_comment_targets_of(new.id);
    for counted in
        with before as materialized (
            select c.id, c.audience from public.comments as c
            where c.user_id = new.id and c.author_audience <> allowed
            order by c.id
            for no key update
        ),
        after as (
            update public.comments as c set author_audience = allowed
            from before as b
            where c.id = b.id
            returning
                case
                    when c.post_id is not null then 'post' when c.item_id is not null then 'item' else 'article'
                end::private.comment_target as target,
                coalesce(c.post_id, c.item_id, c.article_id) as target_id,
                (c.audience <> 'owner')::integer - (b.audience <> 'owner')::integer as change
        ),
        moved as (
            select a.target, a.target_id as id, sum(a.change)::integer as change
            from after as a
            group by 1, 2
            having sum(a.change) <> 0
        )
        select m.target, array_agg(m.id order by m.id) as ids, array_agg(m.change order by m.id) as changes
        from moved as m
        group by m.target
        order by m.target
    loop
        perform private.add_comments(counted.target, counted.ids, counted.changes);
    end loop;
    return null;
end
$$;
comment on function private.follow_author_of_comments() is
'Trigger on profiles: comments follow their author''s standing and visibility, and the counters follow the comments.';

create trigger follow_author_of_comments after update of is_banned, deleted_at, profile_visibility on public.profiles
for each row
when (
    (old.is_banned, old.deleted_at, old.profile_visibility)
    is distinct from (new.is_banned, new.deleted_at, new.profile_visibility)
)
execute function private.follow_author_of_comments();

create function private.count_comment_likes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    comment uuid;
    change integer;
begin
    select c.comment_id into comment from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('comments.likes_count', array_agg(c.comment_id), array_agg(sign)) from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the comment: nothing is left to count on.
        select c.id into comment from public.comments as c where c.id = comment;
    end if;
    if comment is not null then
        change := private.claim_count('comments.likes_count', comment, sign);
        if change is not null then
            update public.comments as c set likes_count = c.likes_count + change where c.id = comment;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_comment_likes() is
'Trigger: comments.likes_count, as count_post_likes().';

create trigger count_inserted after insert on public.comment_likes referencing new table as changed
for each statement execute function private.count_comment_likes();
create trigger count_deleted after delete on public.comment_likes referencing old table as changed
for each statement execute function private.count_comment_likes();

create function private.has_liked_comment(comment_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.comment_likes as l
        where l.comment_id = has_liked_comment.comment_id and l.user_id = auth.uid()
    );
end
$$;
comment on function private.has_liked_comment(uuid) is 'Whether the caller likes the comment.';
grant execute on function private.has_liked_comment(uuid) to authenticated;

-- Computed columns: a frontend adds them to its select. Visitors call them too, hence no definer's rights.
create function public.liked_by_me(comment public.comments) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return false;
    end if;
    return private.has_liked_comment(comment.id);
end
$$;
comment on function public.liked_by_me(public.comments) is 'Computed column of comments: whether the caller likes it.';
grant execute on function public.liked_by_me(public.comments) to anon, authenticated;

alter table public.comments enable row level security;
revoke all on public.comments from anon, authenticated, service_role;
grant select on public.comments to anon, authenticated, service_role;
grant insert (post_id, item_id, article_id, parent_comment_id, content) on public.comments to authenticated;
grant update (content) on public.comments to authenticated;
grant delete on public.comments to authenticated;

-- The subqueries are under the policies of what is commented on. Scalar ones stay a look-up for each row, where
-- exists (…) could become a hash of all posts.
create policy comments_select_anon on public.comments for select to anon
using (
    audience = 'public'
    and case
        when post_id is not null then (select p.id from public.posts as p where p.id = comments.post_id) is not null
        when item_id is not null
            then (select i.id from public.catalog_items as i where i.id = comments.item_id) is not null
        else (select a.id from public.articles as a where a.id = comments.article_id) is not null
    end
);
create policy comments_select on public.comments for select to authenticated
using (
    (
        (audience = 'public' or (audience = 'members' and (select private.member_id()) is not null))
        and user_id <> all(array(select private.blocked_ids()))
        and case
            when post_id is not null then (
                select p.id from public.posts as p
                where
                    p.id = comments.post_id
                    -- What is said in a group is for its members, also below a post of somebody who was one.
                    and (p.group_id is null or p.group_id = any(array(select private.my_group_ids())))
            ) is not null
            when item_id is not null
                then (select i.id from public.catalog_items as i where i.id = comments.item_id) is not null
            else (select a.id from public.articles as a where a.id = comments.article_id) is not null
        end
    )
    or user_id = (select private.member_id())
    or (select private.is_admin())
);
create policy comments_insert on public.comments for insert to authenticated
with check (user_id = (select private.member_id()));
-- Who was shut out, by a block or from a group, does not rewrite what others read there, but may take it back.
create policy comments_update on public.comments for update to authenticated
using (
    user_id = (select private.member_id())
    and case
        when post_id is not null then (
            select p.id from public.posts as p
            where
                p.id = comments.post_id
                and (
                    p.group_id is null
                    or p.group_id = any(array(select private.my_group_ids()))
                    or (select private.is_admin())
                )
        ) is not null
        when item_id is not null
            then (select i.id from public.catalog_items as i where i.id = comments.item_id) is not null
        else (select a.id from public.articles as a where a.id = comments.article_id) is not null
    end
)
with check (user_id = (select private.member_id()));
-- One's own, and what others wrote under one's own post, item or article.
create policy comments_delete on public.comments for delete to authenticated
using (
    (
        user_id = (select private.member_id())
        or exists (
            select from public.posts as p where p.id = comments.post_id and p.user_id = (select private.member_id())
        )
        or exists (
            select from public.catalog_items as i
            where i.id = comments.item_id and i.seller_id = (select private.member_id())
        )
        or exists (
            select from public.articles as a
            where a.id = comments.article_id and a.author_id = (select private.member_id())
        )
    )
    and private.hold_comment_target(post_id, item_id, article_id)
);

alter table public.comment_likes enable row level security;
revoke all on public.comment_likes from anon, authenticated, service_role;
grant select on public.comment_likes to anon, authenticated, service_role;
grant insert (comment_id) on public.comment_likes to authenticated;
grant delete on public.comment_likes to authenticated;

create policy comment_likes_select_anon on public.comment_likes for select to anon
using (
    (select c.id from public.comments as c where c.id = comment_likes.comment_id) is not null
    and private.can_see(user_id)
);
create policy comment_likes_select on public.comment_likes for select to authenticated
using (
    (select c.id from public.comments as c where c.id = comment_likes.comment_id) is not null
    and (user_id = (select private.member_id()) or private.can_see(user_id))
);
create policy comment_likes_insert on public.comment_likes for insert to authenticated
with check (
    user_id = (select private.member_id())
    and exists (select from public.comments as c where c.id = comment_likes.comment_id)
);
create policy comment_likes_delete on public.comment_likes for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_comment(comment_id));

insert into private.error_codes (code, sqlstate, message, description) values
('comment_target_not_found', 'PT404', 'What you want to comment on does not exist.',
'No post, item or article with the id in the detail, or none the caller can read.'),
('comment_not_found', 'PT404', 'This comment does not exist.',
'No comment with the id in the detail, none the caller can read, or one about something else than the reply.'),
('comment_too_deep', 'PT409', 'Replies are not nested any deeper.',
'The detail states how deep. Reply to the parent of the comment instead.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

insert into private.counters (counter, relation, key, count_column, truth) values
('posts.comments_count', 'public.posts', 'id', 'comments_count',
'select post_id, count(*) from public.comments where post_id is not null and audience <> ''owner'' group by 1'),
('catalog_items.comments_count', 'public.catalog_items', 'id', 'comments_count',
'select item_id, count(*) from public.comments where item_id is not null and audience <> ''owner'' group by 1'),
('articles.comments_count', 'public.articles', 'id', 'comments_count',
'select article_id, count(*) from public.comments where article_id is not null and audience <> ''owner'' group by 1'),
('comments.likes_count', 'public.comments', 'id', 'likes_count',
'select comment_id, count(*) from public.comment_likes group by 1')
on conflict (counter) do update
set relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

insert into private.personal_data (section, relation, condition) values
('comments', 'public.comments', 't.user_id = $1'),
('comment_likes', 'public.comment_likes', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('comments_held', -14, 'select private.hold_comments_of_account($1)'),
('comment_likes', 22, 'delete from public.comment_likes where user_id = $1'),
('comments', 24, 'delete from public.comments where user_id = $1')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- sql/65_social/45_favorites.sql --------------------------------------------------------------------------------------
-- What members want to find again in the shop. Whose favourite an item is nobody sees, not even its seller; only how
-- many have it.

create table public.favorites (
    user_id uuid not null default auth.uid(),
    item_id uuid not null,
    created_at timestamptz not null default now(),
    constraint favorites_pkey primary key (user_id, item_id),
    constraint favorites_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint favorites_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade
);

create index favorites_user_id_created_at_idx on public.favorites (user_id, created_at desc, item_id desc);
create index favorites_item_id_idx on public.favorites (item_id);

comment on table public.favorites is
'Favourites: one row per member and item. Owner only. A favourite stays when its item leaves the shop; the embedded '
'item is null while the owner may not see it.';
comment on column public.favorites.user_id is 'Whose favourite; always the caller.';
comment on column public.favorites.item_id is 'Favoured item of any kind.';

create function private.check_favorite() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- Read as the caller: an item the caller may not see does not exist for favourites either.
    if not exists (select from public.catalog_items as c where c.id = new.item_id and c.is_visible) then
        perform private.fail('item_not_found', new.item_id::text);
    end if;
    return new;
end
$$;
comment on function private.check_favorite() is 'Trigger: only what the caller finds in the shop becomes a favourite.';

create trigger check_favorite before insert on public.favorites
for each row execute function private.check_favorite();

create function private.count_favorites() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    item uuid;
    change integer;
begin
    select c.item_id into item from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('catalog_items.favorites_count', array_agg(c.item_id), array_agg(sign)) from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the item: nothing is left to count on.
        select i.id into item from public.catalog_items as i where i.id = item;
    end if;
    if item is not null then
        change := private.claim_count('catalog_items.favorites_count', item, sign);
        if change is not null then
            update public.catalog_items as i set favorites_count = i.favorites_count + change where i.id = item;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_favorites() is 'Trigger: catalog_items.favorites_count, as count_post_likes().';

create trigger count_inserted after insert on public.favorites referencing new table as changed
for each statement execute function private.count_favorites();
create trigger count_deleted after delete on public.favorites referencing old table as changed
for each statement execute function private.count_favorites();

-- Who deletes an item takes it, then its favourites; so who gives one up holds the item first.
create function private.hold_item(item_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.catalog_items as i where i.id = hold_item.item_id for key share;
    return true;
end
$$;
comment on function private.hold_item(uuid) is
'Keeps an item from being deleted until the transaction ends; true. For policies on deleting what hangs on it.';
grant execute on function private.hold_item(uuid) to authenticated;

alter table public.favorites enable row level security;
revoke all on public.favorites from anon, authenticated, service_role;
grant select, delete on public.favorites to authenticated;
grant insert (item_id) on public.favorites to authenticated;
grant select on public.favorites to service_role;

create policy favorites_select on public.favorites for select to authenticated
using (user_id = (select private.member_id()));
create policy favorites_insert on public.favorites for insert to authenticated
with check (user_id = (select private.member_id()));
create policy favorites_delete on public.favorites for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_item(item_id));

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'catalog_items.favorites_count', 'public.catalog_items', 'id', 'favorites_count',
    'select f.item_id, count(*) from public.favorites as f group by f.item_id'
)
on conflict (counter) do update set
relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

insert into private.personal_data (section, relation, condition) values
('favorites', 'public.favorites', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('favorites', 20, 'delete from public.favorites where user_id = $1')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- sql/65_social/50_feed.sql -------------------------------------------------------------------------------------------
-- Reading across authors: what is new for the caller, and what was written about something.

create type private.viewer as (id uuid, is_admin boolean, blocked uuid [], groups uuid []);
comment on type private.viewer is
'Who reads, and what decides what they may read: blocks in either direction, groups they are an active member of.';

-- What policies ask of member_id(), is_admin(), blocked_ids() and my_group_ids(), in one question: four calls cost as
-- much as the rest of a search.
create function private.viewer() returns private.viewer
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    viewer private.viewer;
begin
    select
        p.id, p.role in ('admin', 'super_admin'),
        array(
            select b.blocked_id from public.user_blocks as b where b.blocker_id = p.id
            union all
            select b.blocker_id from public.user_blocks as b where b.blocked_id = p.id
        ),
        array(select m.group_id from public.group_members as m where m.user_id = p.id and m.status = 'active')
    into viewer
    from public.profiles as p
    where p.id = auth.uid() and p.deleted_at is null and not p.is_banned;
    if viewer.id is null then
        -- Says why.
        perform private.require_member();
    end if;
    return viewer;
end
$$;
comment on function private.viewer() is
'The calling member, or fails with not_signed_in (401) or banned (403). For functions that filter by themselves.';

-- Each followed author is asked, by one look into an index, when they last posted; only the latest of them are read
-- further. So a page costs as many index probes as people are followed and no more, however much they wrote. Definer,
-- and says itself what the policy posts_select says: the policy would be asked for each of the posts looked at, in each
-- of the five places, and take almost as long as the rest.
create function public.feed(
    before_created_at timestamptz default null, before_id uuid default null, max_rows integer default 20
) returns setof public.posts
language plpgsql
stable
security definer
rows 20
-- One plan for everybody: how many somebody follows changes nothing about the way.
set plan_cache_mode = force_generic_plan
set search_path = ''
as $$
declare
    me private.viewer := private.viewer();
    page integer := least(greatest(coalesce(max_rows, 20), 1), 100);
    last_at timestamptz := coalesce(before_created_at, 'infinity');
    last_id uuid := coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
begin
    return query
    with authors as materialized (
        select f.following_id as user_id, newest.created_at, newest.id
        from public.follows as f
        cross join lateral (
            select p.created_at, p.id from public.posts as p
            where
                p.user_id = f.following_id and p.group_id is null and p.audience <> 'owner'
                and (p.created_at, p.id) < (last_at, last_id)
            order by p.created_at desc, p.id desc
            limit 1
        ) as newest
        where f.follower_id = me.id and f.following_id <> all (me.blocked)
        order by newest.created_at desc, newest.id desc
        limit page
    ),
    entries as (
        select e.id, e.created_at
        from authors as a
        cross join lateral (
            select p.id, p.created_at from public.posts as p
            where
                p.user_id = a.user_id and p.group_id is null and p.audience <> 'owner'
                and (p.created_at, p.id) < (last_at, last_id)
            order by p.created_at desc, p.id desc
            limit page
        ) as e
        union all
        (
            select p.id, p.created_at from public.posts as p
            where p.user_id = me.id and p.group_id is null and (p.created_at, p.id) < (last_at, last_id)
            order by p.created_at desc, p.id desc
            limit page
        )
        union all
        select e.id, e.created_at
        from unnest(me.groups) as g (group_id)
        cross join lateral (
            select p.id, p.created_at from public.posts as p
            where
                p.group_id = g.group_id and (p.created_at, p.id) < (last_at, last_id)
                and (p.audience = 'group' and p.user_id <> all (me.blocked) or p.user_id = me.id)
            order by p.created_at desc, p.id desc
            limit page
        ) as e
    ),
    shown as (
        select e.id from entries as e
        order by e.created_at desc, e.id desc
        limit page
    )
    select p.* from shown as s
    inner join public.posts as p on p.id = s.id
    order by p.created_at desc, p.id desc;
end
$$;
comment on function public.feed(timestamptz, uuid, integer) is
'The caller''s feed, newest first: posts of followed people, own posts, posts of the caller''s groups. 1 to 100 rows; '
'the next page starts before the last row''s created_at and id. Embeds like a select on posts, in the same order.';
grant execute on function public.feed(timestamptz, uuid, integer) to authenticated;

-- Full text indexes cannot serve a query under row level security (matching could leak), so this reads past it and says
-- itself what the policy posts_select says.
create function public.search_posts(
    query text, before_created_at timestamptz default null, before_id uuid default null, max_rows integer default 20
) returns setof public.posts
language plpgsql
stable
security definer
rows 20
-- The planner has to see the words: common ones are found soonest among the newest posts, rare ones in the index.
set plan_cache_mode = force_custom_plan
set search_path = ''
as $$
declare
    me private.viewer := private.viewer();
    page integer := least(greatest(coalesce(max_rows, 20), 1), 100);
    last_at timestamptz := coalesce(before_created_at, 'infinity');
    last_id uuid := coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    words tsquery := websearch_to_tsquery(
        'pg_catalog.english',
        extensions.unaccent('extensions.unaccent'::regdictionary, left(coalesce(query, ''), 200))
    );
begin
    if numnode(words) = 0 then
        return;
    end if;
    return query
    select p.* from public.posts as p
    where
        p.search @@ words
        and (p.created_at, p.id) < (last_at, last_id)
        and (
            (
                (
                    p.audience in ('public', 'members')
                    or p.audience = 'group' and p.group_id = any (me.groups)
                )
                and p.user_id <> all (me.blocked)
            )
            or p.user_id = me.id
            or me.is_admin
        )
    order by p.created_at desc, p.id desc
    limit page;
end
$$;
comment on function public.search_posts(text, timestamptz, uuid, integer) is
'Posts the caller may read that match, newest first. Words are stemmed and accents ignored; "exact words", or and -not '
'as on search pages; the first 200 characters count. 1 to 100 rows; the next page starts before the last row''s '
'created_at and id.';
grant execute on function public.search_posts(text, timestamptz, uuid, integer) to authenticated;

-- sql/65_social/85_tags.sql -------------------------------------------------------------------------------------------
-- Which tags there are, how much they are used and which of them are taking off. Tags stay words in the rows that carry
-- them (text arrays); a row here exists exactly while something that everybody may read carries the word, so that no
-- tag tells of what is private, hidden, in a group or a draft.
--
-- Counting a popular tag must not make everybody who uses it wait for each other, nor may the locks of several tags
-- meet other locks in a circle. So the sources only note what changed (row triggers whose conditions cost a like
-- nothing), and the notes of a transaction are counted when it commits: tag by tag in the order of their ids, after
-- everything else it did.

create table public.tags (
    id uuid not null default gen_random_uuid(),
    name text not null,
    slug text not null,
    usage_count integer not null default 0,
    trending_score numeric(10, 2) not null default 0,
    created_at timestamptz not null default now(),
    constraint tags_pkey primary key (id),
    constraint tags_name_key unique (name),
    constraint tags_slug_key unique (slug),
    constraint tags_name_check check (char_length(name) between 1 and 50),
    constraint tags_slug_check check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    constraint tags_counts_check check (usage_count >= 0 and trending_score >= 0)
);

-- Completion of what somebody types: name=like.roc*
create index tags_name_prefix_idx on public.tags (name text_pattern_ops);
create index tags_usage_count_id_idx on public.tags (usage_count desc, id);
create index tags_trending_score_id_idx on public.tags (trending_score desc, id);

comment on table public.tags is
'Tags in use on what everybody may read: public posts, visible items, published articles, groups that are not secret. '
'Read by everybody, written by triggers.';
comment on column public.tags.name is 'The tag as rows carry it: lower case, without #, at most 50 characters.';
comment on column public.tags.slug is 'Address part, unique; made from the name.';
comment on column public.tags.usage_count is 'How many publicly readable rows carry it; kept by triggers.';
comment on column public.tags.trending_score is
'How many people used it lately, each counted once a day and half as much after every settings.trending_half_life. '
'Written by update_trending_tags().';

create table private.tag_changes (
    transaction xid8 not null,
    id bigint not null generated always as identity,
    user_id uuid,
    added text[] not null,
    removed text[] not null,
    constraint tag_changes_pkey primary key (transaction, id)
);
comment on table private.tag_changes is
'What the transactions under way did to tags; each counts and removes its own rows when it commits.';
comment on column private.tag_changes.transaction is 'Who noted it.';
comment on column private.tag_changes.user_id is
'Whose use of the added tags this is; null when they only came back into view, for example after a ban.';
comment on column private.tag_changes.added is 'Tags that a row everybody may read carries now.';
comment on column private.tag_changes.removed is 'Tags that no longer are on such a row.';
alter table private.tag_changes enable row level security;

create table private.tag_uses (
    tag_id uuid not null,
    day date not null,
    user_id uuid not null,
    used_at timestamptz not null default now(),
    constraint tag_uses_pkey primary key (tag_id, day, user_id),
    constraint tag_uses_tag_id_fkey foreign key (tag_id) references public.tags (id) on delete cascade,
    constraint tag_uses_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);

create index tag_uses_user_id_idx on private.tag_uses (user_id);
create index tag_uses_used_at_idx on private.tag_uses (used_at);

comment on table private.tag_uses is
'Who used a tag on which day, at most once each: what trends is what many use, not what one repeats. Forgotten when it '
'weighs nothing any more.';
comment on column private.tag_uses.tag_id is 'The tag.';
comment on column private.tag_uses.day is 'Day of the use, UTC.';
comment on column private.tag_uses.user_id is 'Who used it.';
comment on column private.tag_uses.used_at is 'When, the first time that day.';
alter table private.tag_uses enable row level security;

create function private.note_tags(user_id uuid, before text[], after text[]) returns void
language sql
security definer
set search_path = ''
as $$
    insert into private.tag_changes (transaction, user_id, added, removed)
    select pg_current_xact_id(), note_tags.user_id, n.added, n.removed
    from (
        select
            array(select distinct a.tag from unnest(after) as a (tag) where a.tag <> all (before)) as added,
            array(select distinct b.tag from unnest(before) as b (tag) where b.tag <> all (after)) as removed
    ) as n
    where n.added <> '{}' or n.removed <> '{}'
$$;
comment on function private.note_tags(uuid, text[], text[]) is
'Notes for the end of the transaction that a row everybody may read carried some tags and now carries others.';

create function private.note_post_tags() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.note_tags(
        -- Not a use: the author's standing changed.
        case
            when tg_op = 'INSERT' or tg_op = 'UPDATE' and new.author_audience = old.author_audience then new.user_id
        end,
        case when tg_op <> 'INSERT' and old.audience = 'public' then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and new.audience = 'public' then new.tags else '{}' end
    );
    return null;
end
$$;
comment on function private.note_post_tags() is 'Trigger: tags of public posts.';

create trigger note_tags_inserted after insert on public.posts
for each row when (new.audience = 'public' and new.tags <> '{}') execute function private.note_post_tags();
create trigger note_tags_updated
after update of content, tags, is_hidden, is_approved, author_audience, group_id on public.posts
for each row
when (
    case when old.audience = 'public' then old.tags else '{}' end
    <> case when new.audience = 'public' then new.tags else '{}' end
)
execute function private.note_post_tags();
create trigger note_tags_deleted after delete on public.posts
for each row when (old.audience = 'public' and old.tags <> '{}') execute function private.note_post_tags();

create function private.note_article_tags() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.note_tags(
        case
            when tg_op = 'INSERT' or tg_op = 'UPDATE' and new.author_audience = old.author_audience then new.author_id
        end,
        case when tg_op <> 'INSERT' and old.audience = 'public' then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and new.audience = 'public' then new.tags else '{}' end
    );
    return null;
end
$$;
comment on function private.note_article_tags() is 'Trigger: tags of published articles.';

create trigger note_tags_inserted after insert on public.articles
for each row when (new.audience = 'public' and new.tags <> '{}') execute function private.note_article_tags();
create trigger note_tags_updated
after update of tags, is_published, is_hidden, author_audience on public.articles
for each row
when (
    case when old.audience = 'public' then old.tags else '{}' end
    <> case when new.audience = 'public' then new.tags else '{}' end
)
execute function private.note_article_tags();
create trigger note_tags_deleted after delete on public.articles
for each row when (old.audience = 'public' and old.tags <> '{}') execute function private.note_article_tags();

create function private.note_item_tags() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.note_tags(
        case
            when tg_op = 'INSERT' or tg_op = 'UPDATE' and new.seller_is_active = old.seller_is_active then new.seller_id
        end,
        case when tg_op <> 'INSERT' and old.is_visible then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and new.is_visible then new.tags else '{}' end
    );
    return null;
end
$$;
comment on function private.note_item_tags() is 'Trigger: tags of visible items of the shop.';

create trigger note_tags_inserted after insert on public.catalog_items
for each row when (new.is_visible and new.tags <> '{}') execute function private.note_item_tags();
create trigger note_tags_updated
after update of tags, is_published, seller_is_active on public.catalog_items
for each row
when (case when old.is_visible then old.tags else '{}' end <> case when new.is_visible then new.tags else '{}' end)
execute function private.note_item_tags();
create trigger note_tags_deleted after delete on public.catalog_items
for each row when (old.is_visible and old.tags <> '{}') execute function private.note_item_tags();

create function private.note_group_tags() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.note_tags(
        case when tg_op <> 'DELETE' then new.owner_id end,
        case when tg_op <> 'INSERT' and old.visibility <> 'secret' then old.tags else '{}' end,
        case when tg_op <> 'DELETE' and new.visibility <> 'secret' then new.tags else '{}' end
    );
    return null;
end
$$;
comment on function private.note_group_tags() is 'Trigger: tags of groups everybody may know of.';

create trigger note_tags_inserted after insert on public.groups
for each row when (new.visibility <> 'secret' and new.tags <> '{}') execute function private.note_group_tags();
create trigger note_tags_updated
after update of tags, visibility on public.groups
for each row
when (
    case when old.visibility <> 'secret' then old.tags else '{}' end
    <> case when new.visibility <> 'secret' then new.tags else '{}' end
)
execute function private.note_group_tags();
create trigger note_tags_deleted after delete on public.groups
for each row when (old.visibility <> 'secret' and old.tags <> '{}') execute function private.note_group_tags();

create function private.hold_tags(names text[]) returns uuid[]
language plpgsql
security definer
set search_path = ''
as $$
declare
    held uuid [];
begin
    -- A tag can go away between being found or made here and being held; then it is made again.
    for attempt in 1..20 loop
        held := array(select t.id from public.tags as t where t.name = any (names) order by t.name for key share);
        exit when cardinality(held) = cardinality(names);
        -- Two names can make one slug, and some make none: then it ends with something of the name's own.
        insert into public.tags (name, slug)
        select n.name, nullif(private.slugify(n.name), '')
        from unnest(names) as n (name)
        where
            private.slugify(n.name) <> ''
            and not exists (select from public.tags as t where t.name = n.name or t.slug = private.slugify(n.name))
        order by n.name
        on conflict do nothing;
        insert into public.tags (name, slug)
        select n.name, concat_ws('-', nullif(private.slugify(n.name), ''), left(md5(n.name), 10))
        from unnest(names) as n (name)
        where not exists (select from public.tags as t where t.name = n.name)
        order by n.name
        on conflict do nothing;
    end loop;
    if cardinality(held) <> cardinality(names) then
        -- A transaction that must not see what others did meanwhile.
        raise serialization_failure using message = 'tags changed meanwhile';
    end if;
    return held;
end
$$;
comment on function private.hold_tags(text[]) is
'Ids of these tags, made if need be, in the order of the names; none of them goes away before the transaction ends.';

create function private.count_tags() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    names text [];
    tags uuid [];
    changes integer [];
    users uuid [];
    used text [];
    changed record;
    counted integer;
begin
    -- The first note of the transaction counts them all, the others are gone. Each looks for itself alone: a search for
    -- any would wade through all that are gone, for each of the thousands a ban can make.
    if not exists (select from private.tag_changes as c where c.transaction = new.transaction and c.id = new.id) then
        return null;
    end if;
    with taken as (
        delete from private.tag_changes as c where c.transaction = pg_current_xact_id()
        returning c.user_id, c.added, c.removed
    ),
    moves as (
        select a.name, t.user_id, 1 as change from taken as t, unnest(t.added) as a (name)
        union all
        select r.name, null, -1 from taken as t, unnest(t.removed) as r (name)
    ),
    sums as (
        select m.name, sum(m.change)::integer as change from moves as m group by m.name having sum(m.change) <> 0
    )
    select
        (select array_agg(s.name order by s.name) from sums as s),
        (select array_agg(s.change order by s.name) from sums as s),
        u.users, u.used
    into names, changes, users, used
    from (
        select array_agg(m.user_id) as users, array_agg(m.name) as used
        from (
            select distinct m.user_id, m.name from moves as m
            where m.user_id is not null and m.name in (select s.name from sums as s where s.change > 0)
        ) as m
    ) as u;
    if names is null then
        return null;
    end if;

    tags := private.hold_tags(names);
    insert into private.tag_uses (tag_id, day, user_id)
    select t.id, (now() at time zone 'UTC')::date, u.user_id
    from unnest(users, used) as u (user_id, name)
    inner join unnest(tags, names) as t (id, name) on t.name = u.name
    order by t.id, u.user_id
    on conflict do nothing;

    -- Never below zero: a miscounted tag is the recount's to report, not a reason to refuse a deletion.
    if cardinality(tags) <= 20 then
        for changed in select t.id, t.change from unnest(tags, changes) as t (id, change) order by t.id loop
            counted := private.claim_count('tags.usage_count', changed.id, changed.change);
            if counted is not null then
                update public.tags as t set usage_count = greatest(t.usage_count + counted, 0)
                where t.id = changed.id;
            end if;
        end loop;
    else
        perform from public.tags as t where t.id = any (tags) order by t.id for no key update;
        update public.tags as t set usage_count = greatest(t.usage_count + c.change, 0)
        from unnest(tags, changes) as c (id, change)
        where t.id = c.id;
    end if;
    if -1 >= any (changes) then
        perform private.forget_unused_tags(tags);
    end if;
    return null;
end
$$;
comment on function private.count_tags() is
'Trigger at the end of a transaction: counts what it did to tags, remembers who used them today, forgets unused ones.';

create constraint trigger count_tags after insert on private.tag_changes
deferrable initially deferred
for each row execute function private.count_tags();

create function private.forget_unused_tags(tags uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    unused uuid [];
begin
    -- Who is about to count on a tag holds it: then it is left to them.
    unused := array(
        select t.id from public.tags as t
        where t.id = any (forget_unused_tags.tags) and t.usage_count = 0
        order by t.id
        for update skip locked
    );
    delete from public.tags as t
    where
        t.id = any (unused) and t.usage_count = 0
        and not exists (
            select from private.pending_counts as p where p.target = t.id and p.counter = 'tags.usage_count'
        );
end
$$;
comment on function private.forget_unused_tags(uuid[]) is 'Removes those of these tags that nothing public carries.';

create function private.update_trending_tags() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    half_life double precision;
    tags uuid [];
    scores numeric [];
begin
    -- One at a time; the next run makes up for one left out.
    if not pg_try_advisory_xact_lock(hashtextextended('avenue:trending', 0)) then
        return 0;
    end if;
    select extract(epoch from s.trending_half_life) into half_life from private.settings as s;
    -- After ten half-lives a use weighs a thousandth.
    delete from private.tag_uses as u where u.used_at < now() - make_interval(secs => 10 * half_life);
    -- From the uses themselves, whatever was computed before and however long ago.
    select array_agg(t.id order by t.id), array_agg(coalesce(s.score, 0) order by t.id) into tags, scores
    from public.tags as t
    left join (
        select
            u.tag_id,
            round(sum(power(0.5, extract(epoch from now() - u.used_at)::double precision / half_life))::numeric, 2)
            as score
        from private.tag_uses as u
        inner join public.profiles as p on p.id = u.user_id
        where not p.is_banned and p.deleted_at is null
        group by u.tag_id
    ) as s on s.tag_id = t.id
    where t.trending_score <> coalesce(s.score, 0);
    perform from public.tags as t where t.id = any (tags) order by t.id for no key update;
    update public.tags as t set trending_score = s.score
    from unnest(tags, scores) as s (id, score)
    where t.id = s.id;
    perform private.forget_unused_tags(array(select t.id from public.tags as t where t.usage_count = 0));
    return coalesce(cardinality(tags), 0);
end
$$;
comment on function private.update_trending_tags() is
'Recomputes trending_score: the sum over people and days of 0.5 ^ (age of the use / settings.trending_half_life). Says '
'the same however often it is called. Returns how many scores changed.';
grant execute on function private.update_trending_tags() to avenue_worker;

alter table public.tags enable row level security;
revoke all on public.tags from anon, authenticated, service_role;
grant select on public.tags to anon, authenticated, service_role;

-- Nothing here is anybody's, and a condition would keep prefix searches off their index.
create policy tags_select on public.tags for select to anon, authenticated
using (true);

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'tags.usage_count', 'public.tags', 'id', 'usage_count',
    'select t.id, count(*) from ('
    'select distinct p.id, u.name from public.posts as p, unnest(p.tags) as u (name) where p.audience = ''public'' '
    'union all '
    'select distinct a.id, u.name from public.articles as a, unnest(a.tags) as u (name) where a.audience = ''public'' '
    'union all '
    'select distinct i.id, u.name from public.catalog_items as i, unnest(i.tags) as u (name) where i.is_visible '
    'union all '
    'select distinct g.id, u.name from public.groups as g, unnest(g.tags) as u (name) where g.visibility <> ''secret'''
    ') as used inner join public.tags as t on t.name = used.name group by t.id'
)
on conflict (counter) do update
set relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

insert into private.personal_data (section, relation, condition) values
('tag_uses', 'private.tag_uses', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('tag_uses', 60, 'delete from private.tag_uses where user_id = $1')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- What is in the shop already is counted as well; nobody used those tags today.
insert into private.tag_changes (transaction, added, removed)
select pg_current_xact_id(), c.tags, '{}'
from public.catalog_items as c
where c.is_visible and c.tags <> '{}';
