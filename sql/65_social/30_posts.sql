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
    author_audience public.audience not null default 'owner',
    audience public.audience not null generated always as (
        case
            when is_hidden or not is_approved or author_audience = 'owner'::public.audience
                then 'owner'::public.audience
            when group_id is not null then 'group'::public.audience
            else author_audience
        end
    ) stored,
    search tsvector not null default '',
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
        and private.hides_nothing(link_preview ->> 'image')
    ),
    constraint posts_poll_ends_at_check check (poll_ends_at is null or post_type = 'poll'),
    constraint posts_hidden_reason_check check (hidden_reason is null or is_hidden),
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
-- With what decides who may read it: the feed looks through the latest of every group without fetching the posts.
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

-- What a client that breaks these is told, see error_catalog().
comment on constraint posts_content_check on public.posts is
'invalid_content: A post has 1 to 10,000 characters; text posts and polls need them.';
comment on constraint posts_link_preview_check on public.posts is
'invalid_link_preview: A preview belongs to a link and has title, description and image only, at most 5 kB.';
comment on constraint posts_link_url_check on public.posts is
'invalid_link_url: Link posts have an address, polls have none.';
comment on constraint posts_media_urls_check on public.posts is
'invalid_media_urls: Image and video posts have 1 to 10 addresses, others none.';
comment on constraint posts_poll_ends_at_check on public.posts is 'invalid_poll: Only polls have an end.';
comment on constraint posts_group_id_fkey on public.posts is 'group_not_found: There is no such group.';

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
comment on column public.posts.comments_count is 'Visible comments, replies included; kept by triggers.';
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
comment on column public.posts.search is 'Full-text vector: beginning (A), tags (B), content (C). For search_posts().';

create function private.hashtags(content text) returns text[]
language sql
immutable
set search_path = ''
as $$
    select coalesce(array_agg(t.tag order by t.place), '{}')
    from (
        select private.tag_form(m.match[1]) as tag, min(m.place) as place
        from regexp_matches(
            hashtags.content,
            concat(
                '(?:^|[^[:alnum:]_&/#\uFF03\u200C\u200D', private.marks(), '])[#\uFF03]',
                '([[:alnum:]_\u200C\u200D', private.marks(), ']+)'
            ),
            'g'
        ) with ordinality as m (match, place)
        where m.match[1] ~ concat('[^[:digit:]_\u200C\u200D', private.marks(), ']')
        group by 1
    ) as t
    where private.is_tag(t.tag)
$$;
comment on function private.hashtags(text) is
'The #hashtags of a text in their form, see tag_form(), in order, without repeats. Marks and joiners belong to the '
'word; numbers alone (#1) and words of more than 50 characters are none.';

create function private.describe_post(post public.posts, named text[]) returns public.posts
language plpgsql
stable
set search_path = ''
as $$
begin
    -- Hashtags never make a post fail: those beyond the twentieth tag are just text.
    named := private.clean_tags(named);
    post.tags := (
        named || array(
            select t.tag from unnest(private.hashtags(post.content)) with ordinality as t (tag, place)
            where t.tag <> all (named)
            order by t.place
        )
    )[1:20];
    -- The beginning of a post is what comes nearest to a title: names in it are found by their stop words as well.
    post.search := private.search_vector(left(post.content, 200), post.tags, post.content);
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
        new.is_approved := membership.role >= 'moderator' or not (
            select g.post_approval_required from public.groups as g where g.id = new.group_id
        );
    end if;
    return private.describe_post(new, new.tags);
end
$$;
comment on function private.prepare_post() is
'Trigger: copies the author''s audience, lets only active members post in a group, decides on approval, tidies.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of content, link_preview on public.posts
for each row execute function private.tidy_texts('content body', 'link_preview object');

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
            and (m.role is null or m.role < 'moderator')
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

-- groups.posts_count: posts others can read, so the audience decides.
select private.make_shown_counter(
    'public.posts', '{group_id}', 'posts_count', '{row}.audience <> ''owner''', 'author_audience'
);

create trigger within_limit after insert on public.posts
referencing new table as changed
for each statement execute function private.limit_inserts('post');

select private.make_follow_author('public.posts', 'user_id', 20);

select private.make_hold('public.posts', 'post');

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

create function private.moderates(group_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return private.group_role(group_id) >= 'moderator';
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
        limit private.page_size(max_rows);
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
    perform private.audit('approve_post', 'post', post.id, jsonb_build_object('group_id', post.group_id));
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
    if post.user_id <> auth.uid() and not private.is_admin() then
        perform private.require_group_rank_over(post.group_id, post.user_id);
    end if;
    update public.posts as p set
        is_hidden = true, hidden_reason = nullif(private.tidy_body(left(reject_post.reason, 1000)), '')
    where p.id = post.id;
    perform private.audit(
        'reject_post', 'post', post.id, jsonb_build_object('group_id', post.group_id, 'reason', reject_post.reason)
    );
end
$$;
comment on function public.reject_post(uuid, text) is
'Moderators of the post''s group: takes a waiting post out of the queue. Its author still reads it, with the reason '
'(at most 1,000 characters); restoring it puts it back in the queue. Fails with post_not_found, post_not_pending, '
'group_role_too_low.';
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
    if not pinned and post.user_id <> caller then
        perform private.require_group_rank_over(post.group_id, post.user_id);
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
comment on function public.unpin_post(uuid) is
'Ends a pin. In a group moderators unpin their own posts and those of people of lower role (group_role_too_low). Fails '
'with post_not_found.';
grant execute on function public.unpin_post(uuid) to authenticated;

alter table public.posts enable row level security;
grant select on public.posts to anon, authenticated, service_role;
grant
insert (group_id, post_type, content, media_urls, link_url, link_preview, tags),
update (content, media_urls, link_url, link_preview, tags),
delete
on public.posts to authenticated;

create policy posts_select_anon on public.posts for select to anon
using (audience = 'public' and user_id <> all(array(select private.hidden_ids())));

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

select private.make_reactions('public.post_likes', 'post_id', 'public.posts', 'liked');
select private.make_reactions('public.post_shares', 'post_id', 'public.posts', 'shared');
select private.make_counter('public.post_likes', 'post_id', 'likes_count');
select private.make_counter('public.post_shares', 'post_id', 'shares_count');
select private.make_by_me('liked', 'public.post_likes', 'post_id');
select private.make_by_me('shared', 'public.post_shares', 'post_id');

create function private.post_place(ids uuid[]) returns setof private.content_place
language sql
stable
security definer
set search_path = ''
as $$
    select p.id, p.user_id, p.group_id from public.posts as p where p.id = any (ids)
$$;
comment on function private.post_place(uuid[]) is 'Hook place: posts of groups.';

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('post', 'public.posts', 'user_id', '/posts/{id}', '{can_read,evidence,place,lock,hide}');

insert into private.error_codes (code, sqlstate, message, description) values
('group_members_only', 'PT403', 'Only members of the group can post in it.',
'The caller is no active member of the group in the detail, or it does not exist.'),
('post_not_found', 'PT404', 'This post does not exist, or it is not yours to change.',
'No such post, one the caller cannot read, or one only its author or its group''s moderators may change.'),
('post_not_pending', 'PT409', 'This post was already approved.',
'Only posts that wait for approval are rejected. Moderation hides what was published.'),
('too_many_pins', 'PT409', 'No more posts can be pinned here.',
'The detail states how many. Unpin another post first.');

insert into private.personal_data (section, relation, condition) values
('posts', 'public.posts', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('posts_held', 'lock_works', '{}', 'select private.hold_posts_of_account($1)', null),
('posts', 'works', '{public.posts}',
    'delete from public.posts where user_id = $1',
    'select 10 * private.erase_rows(''public.posts'', ''user_id = $1'', $1, 1 + $2 / 10)');
