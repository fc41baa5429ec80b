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
        p.id, p.role >= 'admin',
        array(
            select b.blocked_id from public.user_blocks as b where b.blocker_id = p.id
            union all
            select b.blocker_id from public.user_blocks as b where b.blocked_id = p.id
            union all
            select c.user_id from private.account_changes as c where c.audience = 'owner' and c.user_id <> p.id
        ),
        array(select m.group_id from public.group_members as m where m.user_id = p.id and m.status = 'active')
    into viewer
    from public.profiles as p
    where p.id = private.member_id();
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
    page integer := private.page_size(max_rows);
    last_at timestamptz := coalesce(before_created_at, 'infinity');
    last_id uuid := coalesce(before_id, private.last_uuid());
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
    page integer := private.page_size(max_rows);
    last_at timestamptz := coalesce(before_created_at, 'infinity');
    last_id uuid := coalesce(before_id, private.last_uuid());
    words tsquery := private.search_query(query);
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
