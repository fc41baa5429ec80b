-- People and groups.
-- Blocks, follows, groups with their members, and the search for both.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- People are searched by trigrams: one pass over the profiles, seconds for a hundred thousand.
-- squawk-ignore-file require-concurrent-index-creation

-- sql/65_social/15_follows.sql ----------------------------------------------------------------------------------------
-- Who follows whom. One-way; two people who follow each other are connected.

create table public.follows (
    follower_id uuid not null default auth.uid(),
    following_id uuid not null,
    created_at timestamptz not null default now(),
    constraint follows_pkey primary key (follower_id, following_id),
    constraint follows_follower_id_fkey foreign key (follower_id) references public.profiles (id) on delete cascade,
    constraint follows_following_id_fkey foreign key (following_id) references public.profiles (id) on delete cascade,
    constraint follows_self_check check (follower_id <> following_id)
);

-- Lists of followers and of followed people, newest first, as keysets.
create index follows_following_id_created_at_idx
on public.follows (following_id, created_at desc, follower_id desc);
create index follows_follower_id_created_at_idx
on public.follows (follower_id, created_at desc, following_id desc);

comment on table public.follows is
'Follows, readable when both people are. Members insert and delete their own; a block in either direction ends them.';
comment on column public.follows.follower_id is 'Who follows; the caller.';
comment on column public.follows.following_id is 'Who is followed. Embed follower:profiles!follower_id or following:….';

create function private.check_follow() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.follower_id = new.following_id then
        perform private.fail('cannot_follow_yourself');
    end if;
    -- A block or the end of either account at this instant is waited for, or waits for this.
    perform private.lock_gates('account', array[new.follower_id, new.following_id]);
    perform private.require_active(new.follower_id);
    if not private.is_visible_to(new.following_id, new.follower_id) then
        perform private.fail('user_not_found', new.following_id::text);
    end if;
    return new;
end
$$;
comment on function private.check_follow() is
'Trigger: who cannot be seen cannot be followed, and answers like somebody who does not exist.';

create trigger check_follow before insert on public.follows
for each row execute function private.check_follow();

create function private.count_follows() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    targets uuid [];
    target record;
    change integer;
begin
    -- The row of an account that is just ending is locked last and set to zero there.
    select array_agg(t.id order by t.id) into targets
    from (
        select c.follower_id as id from changed as c
        union
        select c.following_id from changed as c
    ) as t
    where not exists (select from private.file_erasures as e where e.user_id = t.id);

    if (select count(*) from (select from changed limit 2) as c) = 1 then
        for target in
            select t.id, c.follower_id = t.id as follows from unnest(targets) as t (id) cross join changed as c
            order by t.id
        loop
            -- Ascending ids: nobody waits in a circle.
            change := private.claim_count(
                case when target.follows then 'profiles.following_count' else 'profiles.followers_count' end,
                target.id, sign
            );
            continue when change is null;
            if target.follows then
                update public.profiles as p set following_count = p.following_count + change where p.id = target.id;
            else
                update public.profiles as p set followers_count = p.followers_count + change where p.id = target.id;
            end if;
        end loop;
    elsif cardinality(targets) > 0 then
        perform from public.profiles as p where p.id = any(targets) order by p.id for no key update;
        update public.profiles as p set
            followers_count = p.followers_count + sign * d.followers,
            following_count = p.following_count + sign * d.following
        from (
            select s.id, sum(s.followers)::integer as followers, sum(s.following)::integer as following
            from (
                select c.following_id as id, 1 as followers, 0 as following from changed as c
                union all
                select c.follower_id, 0, 1 from changed as c
            ) as s
            where s.id = any(targets)
            group by s.id
        ) as d
        where p.id = d.id;
    end if;
    return null;
end
$$;
comment on function private.count_follows() is 'Trigger: followers_count and following_count of both sides.';

-- Named to fire after what notifies.
create trigger total_follows_insert after insert on public.follows
referencing new table as changed
for each statement execute function private.count_follows();
create trigger total_follows_delete after delete on public.follows
referencing old table as changed
for each statement execute function private.count_follows();

-- A block ends following in both directions. The blocker's gate is exclusive: a follow at the same instant is either
-- seen here or sees the block.
create function private.check_block() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_gates('account', array[new.blocked_id], array[new.blocker_id]);
    return new;
end
$$;
comment on function private.check_block() is 'Trigger: a block and a follow of the same two people take turns.';

create trigger check_block before insert on public.user_blocks
for each row execute function private.check_block();

create function private.end_follows() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from public.follows as f
    using changed as c
    where
        f.follower_id = c.blocker_id and f.following_id = c.blocked_id
        or f.follower_id = c.blocked_id and f.following_id = c.blocker_id;
    return null;
end
$$;
comment on function private.end_follows() is 'Trigger: whom somebody blocks they do not follow, nor are followed by.';

create trigger end_follows after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.end_follows();

create function private.erase_follows(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from public.follows as f
    where f.follower_id = erase_follows.user_id or f.following_id = erase_follows.user_id;
    delete from private.pending_counts as p
    where p.target = erase_follows.user_id and p.counter in ('profiles.followers_count', 'profiles.following_count');
end
$$;
comment on function private.erase_follows(uuid) is
'Step of erase_account(), which sets the account''s own counters to zero.';

-- Computed fields of profiles, for select=*,connected. As the caller, so that hidden people's follows stay hidden;
-- visitors may ask as well, so that one query serves a page for everybody.
create function public.is_followed(profile public.profiles) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return false;
    end if;
    return exists (
        select from public.follows as f where f.follower_id = private.member_id() and f.following_id = profile.id
    );
end
$$;
comment on function public.is_followed(public.profiles) is 'Computed field: whether the caller follows this person.';
grant execute on function public.is_followed(public.profiles) to anon, authenticated;

create function public.follows_me(profile public.profiles) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return false;
    end if;
    return exists (
        select from public.follows as f where f.follower_id = profile.id and f.following_id = private.member_id()
    );
end
$$;
comment on function public.follows_me(public.profiles) is 'Computed field: whether this person follows the caller.';
grant execute on function public.follows_me(public.profiles) to anon, authenticated;

create function public.connected(profile public.profiles) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return public.is_followed(profile) and public.follows_me(profile);
end
$$;
comment on function public.connected(public.profiles) is
'Computed field: whether the caller and this person follow each other.';
grant execute on function public.connected(public.profiles) to anon, authenticated;

create function public.connections(
    user_id uuid default auth.uid(), after_created_at timestamptz default null, after_id uuid default null,
    max_rows integer default 20
)
returns table (id uuid, username text, display_name text, avatar_url text, created_at timestamptz)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    if not private.can_see(connections.user_id) then
        perform private.fail('user_not_found', connections.user_id::text);
    end if;
    return query
    select p.id, p.username::text, p.display_name, p.avatar_url::text, f.created_at
    from public.follows as f
    inner join public.profiles as p on p.id = f.following_id
    where
        f.follower_id = connections.user_id
        and (f.created_at, f.following_id) < (
            coalesce(after_created_at, 'infinity'), coalesce(after_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        )
        -- A look-up for each follow, until the page is full.
        and (
            select b.created_at from public.follows as b
            where b.follower_id = f.following_id and b.following_id = connections.user_id
        ) is not null
        and private.is_visible_to(p.id, caller)
    order by f.created_at desc, f.following_id desc
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$$;
comment on function public.connections(uuid, timestamptz, uuid, integer) is
'Whom this person (default: the caller) follows and is followed by, latest follow first. created_at is when the person '
'followed them; for the next page pass the last row''s created_at and id.';
grant execute on function public.connections(uuid, timestamptz, uuid, integer) to authenticated;

alter table public.follows enable row level security;
revoke all on public.follows from anon, authenticated, service_role;
grant select on public.follows to anon, authenticated, service_role;
grant insert (following_id), delete on public.follows to authenticated;

-- The profiles' own policies decide, by their key: a scalar subquery stays a look-up for each row shown, where
-- exists (…) could become a hash of all profiles.
create policy follows_select_anon on public.follows for select to anon
using (
    (select p.id from public.profiles as p where p.id = follower_id) is not null
    and (select p.id from public.profiles as p where p.id = following_id) is not null
);
create policy follows_select on public.follows for select to authenticated
using (
    (select p.id from public.profiles as p where p.id = follower_id) is not null
    and (select p.id from public.profiles as p where p.id = following_id) is not null
);
create policy follows_insert on public.follows for insert to authenticated
with check (follower_id = (select private.member_id()));
create policy follows_delete on public.follows for delete to authenticated
using (follower_id = (select private.member_id()));

insert into private.counters (counter, relation, key, count_column, truth) values
('profiles.followers_count', 'public.profiles', 'id', 'followers_count',
    'select following_id, count(*) from public.follows group by 1'),
('profiles.following_count', 'public.profiles', 'id', 'following_count',
    'select follower_id, count(*) from public.follows group by 1')
on conflict (counter) do update set
    relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

insert into private.personal_data (section, relation, condition) values
('follows', 'public.follows', 't.follower_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('follows', -20, 'select private.erase_follows($1)')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

insert into private.error_codes (code, sqlstate, message, description) values
('cannot_follow_yourself', 'PT400', 'You cannot follow yourself.', 'Follows are between two people.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/65_social/20_groups.sql -----------------------------------------------------------------------------------------
-- Communities. A group's page is for everybody, a secret group's for its members and whom they invite; what is posted
-- in a group is for its active members.

create type public.group_visibility as enum ('public', 'private', 'secret');
comment on type public.group_visibility is
'public: anybody joins at once, unless approval is asked. private: joining always asks approval. secret: exists only '
'for its members and whom they invite.';

create type public.group_role as enum ('member', 'moderator', 'admin', 'owner');
comment on type public.group_role is
'Ascending. Moderators admit, remove and ban members, admins also appoint moderators and edit the group, the owner '
'appoints admins, transfers and deletes it.';

create type public.group_member_status as enum ('pending', 'active', 'banned');
comment on type public.group_member_status is 'pending: asked to join. Only active ones are members.';

create table public.groups (
    id uuid not null default gen_random_uuid(),
    owner_id uuid not null default auth.uid(),
    name text not null,
    -- text, not citext: behind a policy only leakproof comparisons use an index.
    slug text not null,
    description text,
    avatar_url public.http_url,
    banner_url public.http_url,
    visibility public.group_visibility not null default 'public',
    join_approval_required boolean not null default false,
    post_approval_required boolean not null default false,
    rules text,
    tags text[] not null default '{}',
    members_count integer not null default 0,
    posts_count integer not null default 0,
    popularity smallint not null generated always as (
        floor(4 * ln((1 + members_count)::double precision) / ln(2::double precision))::smallint
    ) stored,
    is_verified boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint groups_pkey primary key (id),
    constraint groups_slug_key unique (slug),
    -- Who deletes their account passes their groups on first.
    constraint groups_owner_id_fkey foreign key (owner_id) references public.profiles (id),
    -- The override characters would let a name display another one backwards.
    constraint groups_name_check check (
        char_length(name) between 1 and 100 and name !~ '[[:cntrl:]\u202A-\u202E\u2066-\u2069]'
    ),
    constraint groups_slug_check check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 100),
    constraint groups_description_check check (char_length(description) <= 5000),
    constraint groups_rules_check check (char_length(rules) <= 5000),
    constraint groups_counts_check check (members_count >= 0 and posts_count >= 0)
)
-- Counters are rewritten often: room on the page keeps those updates HOT.
with (fillfactor = 80);

create index groups_owner_id_idx on public.groups (owner_id);
create index groups_created_at_id_idx on public.groups (created_at desc, id desc);
create index groups_popularity_id_idx on public.groups (popularity desc, id desc);
create index groups_tags_idx on public.groups using gin (tags);

comment on table public.groups is
'Groups. Everybody reads public and private ones, members and invited people secret ones. Members create by insert; '
'admins of the group edit the descriptive columns; delete_group() deletes.';
comment on column public.groups.owner_id is 'Who owns it; the caller at first. Changed by transfer_group().';
comment on column public.groups.name is 'Name, at most 100 characters on one line.';
comment on column public.groups.slug is
'Address part in lower case, made from the name at first and then kept. A secret group''s ends with part of its id, so '
'that a taken address tells nobody of it.';
comment on column public.groups.description is 'What it is about, at most 5,000 characters.';
comment on column public.groups.avatar_url is 'Picture, http(s) only.';
comment on column public.groups.banner_url is 'Banner image, http(s) only.';
comment on column public.groups.visibility is 'Who may know of it and how one joins.';
comment on column public.groups.join_approval_required is
'Whether joining a public group waits for a moderator; private and secret ones always do.';
comment on column public.groups.post_approval_required is 'Whether posts of plain members wait for a moderator.';
comment on column public.groups.rules is 'House rules, at most 5,000 characters.';
comment on column public.groups.tags is 'Lower-case tags, at most 20.';
comment on column public.groups.members_count is 'Active members; kept by triggers.';
comment on column public.groups.posts_count is 'Approved posts that are not hidden; kept by triggers.';
comment on column public.groups.popularity is
'members_count in steps of about a fifth (4 × log2), to sort by: with the exact count in an index every join would '
'rewrite all of the row''s index entries.';
comment on column public.groups.is_verified is 'Official. Written by verify_group() only.';

create table public.group_members (
    group_id uuid not null,
    user_id uuid not null,
    role public.group_role not null default 'member',
    status public.group_member_status not null default 'active',
    joined_at timestamptz default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint group_members_pkey primary key (group_id, user_id),
    constraint group_members_group_id_fkey foreign key (group_id) references public.groups (id) on delete cascade,
    constraint group_members_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint group_members_role_check check (role = 'member' or status = 'active'),
    constraint group_members_joined_at_check check ((status = 'active') = (joined_at is not null))
);

-- What policies of everything in groups ask, once a query; and the foreign key's, for accounts that end.
create index group_members_user_id_idx on public.group_members (user_id, group_id) include (role, status);
-- Member lists of a group; requests and bans; latest first.
create index group_members_group_id_joined_at_idx
on public.group_members (group_id, joined_at desc, user_id desc) where status = 'active';
create index group_members_group_id_created_at_idx
on public.group_members (group_id, created_at desc, user_id desc) where status <> 'active';
create unique index group_members_owner_idx on public.group_members (group_id) where role = 'owner';

comment on table public.group_members is
'Who is in a group, asked to be or must not. Members of the group read its active members, moderators also requests '
'and bans, everybody their own. Written by the functions about groups only.';
comment on column public.group_members.group_id is 'The group.';
comment on column public.group_members.user_id is 'The person.';
comment on column public.group_members.role is 'Rights in the group; exactly one owner. Others than active have none.';
comment on column public.group_members.status is 'Only active ones are members and counted.';
comment on column public.group_members.joined_at is 'Since when active; null while not.';

create table public.group_invitations (
    group_id uuid not null,
    user_id uuid not null,
    invited_by uuid not null,
    created_at timestamptz not null default now(),
    constraint group_invitations_pkey primary key (group_id, user_id),
    constraint group_invitations_group_id_fkey foreign key (group_id) references public.groups (id) on delete cascade,
    constraint group_invitations_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint group_invitations_invited_by_fkey foreign key (invited_by) references public.profiles (id)
    on delete cascade
);

create index group_invitations_user_id_idx on public.group_invitations (user_id, created_at desc, group_id desc);
create index group_invitations_invited_by_idx on public.group_invitations (invited_by);

comment on table public.group_invitations is
'Open invitations: they skip approval. Read by the invited, who invited, and the group''s moderators.';
comment on column public.group_invitations.group_id is 'The group.';
comment on column public.group_invitations.user_id is 'Who is invited.';
comment on column public.group_invitations.invited_by is 'Who invited.';

create function private.my_group_ids(minimum public.group_role default 'member') returns setof uuid
language plpgsql
stable
security definer
set search_path = ''
rows 20
as $$
begin
    return query
    select m.group_id from public.group_members as m
    where m.user_id = private.member_id() and m.status = 'active' and m.role >= minimum;
end
$$;
comment on function private.my_group_ids(public.group_role) is
'Groups the caller is an active member of, with at least this role. Policies write '
'group_id = any (array(select private.my_group_ids())).';
grant execute on function private.my_group_ids(public.group_role) to authenticated;

create function private.my_invitations() returns setof uuid
language plpgsql
stable
security definer
set search_path = ''
rows 5
as $$
begin
    return query
    select i.group_id from public.group_invitations as i
    inner join public.groups as g on g.id = i.group_id
    inner join public.group_members as m
        on m.group_id = i.group_id and m.user_id = i.invited_by and m.status = 'active'
    where
        i.user_id = private.member_id() and private.is_visible_to(i.invited_by, i.user_id)
        -- A group that closed since, or a moderator who is none any more: what skips approval is theirs to give.
        and (m.role >= 'moderator' or g.visibility = 'public' and not g.join_approval_required);
end
$$;
comment on function private.my_invitations() is
'Groups the caller is invited to, by somebody the caller may still see and who may still invite.';
grant execute on function private.my_invitations() to authenticated;

create function private.group_role(group_id uuid) returns public.group_role
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return (
        select m.role from public.group_members as m
        where m.group_id = group_role.group_id and m.user_id = private.member_id() and m.status = 'active'
    );
end
$$;
comment on function private.group_role(uuid) is 'The caller''s role in the group; null when not an active member.';
grant execute on function private.group_role(uuid) to authenticated;

create function private.check_group() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    base text;
begin
    new.name := btrim(new.name);
    new.description := nullif(btrim(new.description), '');
    new.rules := nullif(btrim(new.rules), '');
    new.tags := private.clean_tags(new.tags);
    if tg_op = 'INSERT' then
        -- The end of the owner's account at this instant is waited for, or waits for this.
        perform private.lock_gates('account', array[new.owner_id]);
        perform private.require_active(new.owner_id);
        -- The owner, so that insert … returning shows them; count_group_members() does not count owners again.
        new.members_count := 1;
    end if;
    if tg_op = 'UPDATE' and private.is_admin() and coalesce(private.group_role(new.id), 'member') < 'admin' then
        perform private.audit('edit_group', 'groups', new.id);
    end if;
    base := nullif(btrim(left(private.slugify(new.name), 80), '-'), '');
    if new.visibility = 'secret' and (tg_op = 'INSERT' or old.visibility <> 'secret') then
        new.slug := concat_ws('-', base, left(replace(new.id::text, '-', ''), 10));
    elsif tg_op = 'INSERT' then
        base := coalesce(base, 'group');
        -- Two groups of one name founded together take turns; the second sees the first.
        perform pg_advisory_xact_lock(hashtextextended('public.groups:' || base, 0));
        new.slug := base;
        if exists (select from public.groups as g where g.slug = base) then
            new.slug := concat_ws('-', base, left(replace(new.id::text, '-', ''), 10));
        end if;
    end if;
    return new;
end
$$;
comment on function private.check_group() is
'Trigger: tidies texts, gives the group its address, and audits what admins of the platform edit.';

create trigger check_group
before insert or update of
name, description, avatar_url, banner_url, visibility, join_approval_required, post_approval_required, rules, tags
on public.groups
for each row execute function private.check_group();

-- Counters do not make a group look edited.
create trigger touch_updated_at
before update of
name, description, avatar_url, banner_url, visibility, join_approval_required, post_approval_required, rules, tags,
owner_id, is_verified
on public.groups
for each row execute function private.touch_updated_at();

create trigger touch_updated_at before update on public.group_members
for each row execute function private.touch_updated_at();

create function private.found_group() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.group_members (group_id, user_id, role) values (new.id, new.owner_id, 'owner');
    return null;
end
$$;
comment on function private.found_group() is 'Trigger: the owner is the first member.';

create trigger found_group after insert on public.groups
for each row execute function private.found_group();

create function private.count_group_members() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    targets uuid [];
    changes integer [];
    change integer;
begin
    if tg_op = 'INSERT' then
        select array_agg(d.id order by d.id), array_agg(d.n order by d.id) into targets, changes
        from (
            select c.group_id as id, count(*)::integer as n from changed as c
            where c.status = 'active' and c.role <> 'owner'
            group by 1
        ) as d;
    elsif tg_op = 'DELETE' then
        select array_agg(d.id order by d.id), array_agg(d.n order by d.id) into targets, changes
        from (
            select c.group_id as id, -count(*)::integer as n from changed as c where c.status = 'active' group by 1
        ) as d;
    else
        select array_agg(d.id order by d.id), array_agg(d.n order by d.id) into targets, changes
        from (
            select s.id, sum(s.n)::integer as n
            from (
                select c.group_id as id, 1 as n from changed as c where c.status = 'active'
                union all
                select b.group_id, -1 from before as b where b.status = 'active'
            ) as s
            group by 1
            having sum(s.n) <> 0
        ) as d;
    end if;
    if cardinality(targets) = 1 then
        change := private.claim_count('groups.members_count', targets[1], changes[1]);
        if change is not null then
            update public.groups as g set members_count = g.members_count + change where g.id = targets[1];
        end if;
    elsif cardinality(targets) > 1 then
        perform private.add_counts('groups.members_count', targets, changes);
    end if;
    return null;
end
$$;
comment on function private.count_group_members() is 'Trigger: groups.members_count counts active members.';

-- Named to fire after what notifies: who waits for somebody's profile holds no group meanwhile.
create trigger total_group_members_insert after insert on public.group_members
referencing new table as changed
for each statement execute function private.count_group_members();
create trigger total_group_members_delete after delete on public.group_members
referencing old table as changed
for each statement execute function private.count_group_members();
create trigger total_group_members_update after update on public.group_members
referencing old table as before new table as changed
for each statement execute function private.count_group_members();

alter table public.groups enable row level security;
revoke all on public.groups from anon, authenticated, service_role;
grant select on public.groups to anon, authenticated, service_role;
grant insert (
    name, description, avatar_url, banner_url, visibility, join_approval_required, post_approval_required, rules, tags
) on public.groups to authenticated;
grant update (
    name, description, avatar_url, banner_url, visibility, join_approval_required, post_approval_required, rules, tags
) on public.groups to authenticated;

create policy groups_select_anon on public.groups for select to anon
using (visibility <> 'secret');
-- owner_id: what insert … returning shows before the owner is a member.
create policy groups_select on public.groups for select to authenticated
using (
    visibility <> 'secret'
    or owner_id = (select private.member_id())
    or id = any(array(select private.my_group_ids()))
    or id = any(array(select private.my_invitations()))
    or (select private.is_admin())
);
create policy groups_insert on public.groups for insert to authenticated
with check (owner_id = (select private.member_id()));
create policy groups_update on public.groups for update to authenticated
using (id = any(array(select private.my_group_ids('admin'))) or (select private.is_admin()))
with check (id = any(array(select private.my_group_ids('admin'))) or (select private.is_admin()));

alter table public.group_members enable row level security;
revoke all on public.group_members from anon, authenticated, service_role;
grant select on public.group_members to authenticated, service_role;

-- Whoever is not active, oneself included, sees no row of a group that they may not know of.
create policy group_members_select on public.group_members for select to authenticated
using (
    (
        group_id = any(array(select private.my_group_ids()))
        and (status = 'active' or group_id = any(array(select private.my_group_ids('moderator'))))
        and (select p.id from public.profiles as p where p.id = user_id) is not null
    )
    or (
        user_id = (select private.member_id())
        and (status = 'active' or (select g.id from public.groups as g where g.id = group_id) is not null)
    )
    or (select private.is_admin())
);

alter table public.group_invitations enable row level security;
revoke all on public.group_invitations from anon, authenticated, service_role;
grant select on public.group_invitations to authenticated, service_role;

create policy group_invitations_select on public.group_invitations for select to authenticated
using (
    (
        (
            user_id = (select private.member_id())
            or invited_by = (select private.member_id()) and group_id = any(array(select private.my_group_ids()))
            or group_id = any(array(select private.my_group_ids('moderator')))
        )
        and (select p.id from public.profiles as p where p.id = user_id) is not null
        and (select p.id from public.profiles as p where p.id = invited_by) is not null
    )
    or (select private.is_admin())
);

insert into private.counters (counter, relation, key, count_column, truth) values
('groups.members_count', 'public.groups', 'id', 'members_count',
    'select group_id, count(*) from public.group_members where status = ''active'' group by 1')
on conflict (counter) do update set
    relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

-- sql/65_social/21_membership.sql -------------------------------------------------------------------------------------
-- Joining, leaving, roles, bans, invitations, and who owns a group when its owner goes.
--
-- Order of locks, everywhere: gates of accounts, gate of the group, rows of members, the group's own row. Who passes a
-- group on, deletes it or expels somebody holds its gate exclusively, everybody else shares it; two who change the same
-- member's row take turns on that row.

create function private.enter_group(group_id uuid, user_id uuid default null, exclusive boolean default false)
returns public.groups
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    entered public.groups;
begin
    perform private.lock_gates('account', array[caller, enter_group.user_id]);
    if exclusive then
        perform private.lock_gates('group', '{}', array[enter_group.group_id]);
    else
        perform private.lock_gates('group', array[enter_group.group_id]);
    end if;
    -- Waiting may have changed that.
    perform private.require_member();
    select * into entered from public.groups as g
    where
        g.id = enter_group.group_id
        and (
            g.visibility <> 'secret'
            or private.group_role(g.id) is not null
            or g.id in (select private.my_invitations())
            or private.is_admin()
        );
    if entered.id is null then
        perform private.fail('group_not_found', enter_group.group_id::text);
    end if;
    return entered;
end
$$;
comment on function private.enter_group(uuid, uuid, boolean) is
'The group, its gate and those of the caller and the other person entered; fails with group_not_found when there is '
'none the caller may know of.';

create function private.manage_group(
    group_id uuid, minimum public.group_role, action text, user_id uuid default null, exclusive boolean default false
) returns public.group_role
language plpgsql
security definer
set search_path = ''
as $$
declare
    acting public.group_role;
begin
    perform private.enter_group(manage_group.group_id, manage_group.user_id, exclusive);
    acting := private.group_role(manage_group.group_id);
    if acting is null or acting < minimum then
        if not private.is_admin() then
            perform private.fail('group_role_too_low', 'needs ' || minimum);
        end if;
        perform private.audit(
            action, 'groups', manage_group.group_id, jsonb_build_object('user_id', manage_group.user_id)
        );
        acting := 'owner'::public.group_role;
    end if;
    return acting;
end
$$;
comment on function private.manage_group(uuid, public.group_role, text, uuid, boolean) is
'Enters a group to manage it: the role the caller acts with. Admins of the platform act like owners, audited. Fails '
'with group_not_found or group_role_too_low.';

create function private.lock_member(group_id uuid, user_id uuid) returns public.group_members
language plpgsql
security definer
set search_path = ''
as $$
declare
    member public.group_members;
begin
    select * into member from public.group_members as m
    where m.group_id = lock_member.group_id and m.user_id = lock_member.user_id
    for update;
    return member;
end
$$;
comment on function private.lock_member(uuid, uuid) is 'Somebody''s row in the group, locked; null when there is none.';

create function public.join_group(group_id uuid) returns public.group_member_status
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    joined public.groups := private.enter_group(join_group.group_id);
    is_open boolean;
    result public.group_member_status;
begin
    is_open := joined.visibility = 'public' and not joined.join_approval_required
    or joined.id in (select private.my_invitations());
    insert into public.group_members as m (group_id, user_id, status, joined_at)
    values (joined.id, caller, case when is_open then 'active' else 'pending' end::public.group_member_status,
        case when is_open then now() end)
    on conflict on constraint group_members_pkey do update set status = 'active', joined_at = now()
    where m.status = 'pending' and is_open
    returning m.status into result;
    if result is null then
        result := (private.lock_member(joined.id, caller)).status;
    end if;
    if result = 'banned' then
        perform private.fail('banned_from_group', joined.id::text);
    elsif result = 'active' then
        delete from public.group_invitations as i where i.group_id = joined.id and i.user_id = caller;
    end if;
    return result;
end
$$;
comment on function public.join_group(uuid) is
'Joins a group or asks to: active when it is open or one was invited, else pending until a moderator approves. Calling '
'again changes nothing. Fails with group_not_found or banned_from_group.';
grant execute on function public.join_group(uuid) to authenticated;

create function public.leave_group(group_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    perform private.enter_group(leave_group.group_id);
    if private.group_role(leave_group.group_id) = 'owner' then
        perform private.fail('owner_must_transfer', leave_group.group_id::text);
    end if;
    delete from public.group_members as m
    where m.group_id = leave_group.group_id and m.user_id = caller and m.status <> 'banned';
    delete from public.group_invitations as i
    where i.group_id = leave_group.group_id and i.invited_by = caller;
end
$$;
comment on function public.leave_group(uuid) is
'Leaves a group, or withdraws the request to join. Not being in it is no error; the owner transfers or deletes it '
'first (owner_must_transfer).';
grant execute on function public.leave_group(uuid) to authenticated;

create function public.approve_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    member public.group_members;
begin
    perform private.manage_group(
        approve_member.group_id, 'moderator', 'approve_group_member', approve_member.user_id
    );
    member := private.lock_member(approve_member.group_id, approve_member.user_id);
    if member.status is null or member.status = 'banned' or not private.can_see(member.user_id) then
        perform private.fail('member_not_found', approve_member.user_id::text);
    elsif member.status = 'pending' then
        update public.group_members as m set status = 'active', joined_at = now()
        where m.group_id = member.group_id and m.user_id = member.user_id;
        delete from public.group_invitations as i
        where i.group_id = member.group_id and i.user_id = member.user_id;
    end if;
end
$$;
comment on function public.approve_member(uuid, uuid) is
'Moderators of the group: admits somebody who asked to join. Approving a member again changes nothing; without a '
'request it fails with member_not_found.';
grant execute on function public.approve_member(uuid, uuid) to authenticated;

create function public.reject_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.manage_group(reject_member.group_id, 'moderator', 'reject_group_member', reject_member.user_id);
    delete from public.group_members as m
    where m.group_id = reject_member.group_id and m.user_id = reject_member.user_id and m.status = 'pending';
end
$$;
comment on function public.reject_member(uuid, uuid) is
'Moderators of the group: turns down a request to join, who asked may ask again. Without a request nothing happens.';
grant execute on function public.reject_member(uuid, uuid) to authenticated;

create function public.set_member_role(group_id uuid, user_id uuid, role public.group_role) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    acting public.group_role := private.manage_group(
        set_member_role.group_id, 'admin', 'set_group_member_role', set_member_role.user_id
    );
    member public.group_members := private.lock_member(set_member_role.group_id, set_member_role.user_id);
begin
    if member.status is distinct from 'active' or not private.can_see(member.user_id) then
        perform private.fail('member_not_found', set_member_role.user_id::text);
    elsif set_member_role.role is null or set_member_role.role >= acting or member.role >= acting then
        perform private.fail('group_role_too_low', 'acts as ' || acting);
    end if;
    update public.group_members as m set role = set_member_role.role
    where m.group_id = member.group_id and m.user_id = member.user_id and m.role <> set_member_role.role;
end
$$;
comment on function public.set_member_role(uuid, uuid, public.group_role) is
'Admins of the group appoint moderators, the owner also admins: nobody gives a role that is not below their own, nor '
'touches who is not below them (group_role_too_low). Owners change by transfer_group().';
grant execute on function public.set_member_role(uuid, uuid, public.group_role) to authenticated;

-- Both answer alike whether or not the person exists, is visible to the caller or is in the group: a troll who blocks
-- the moderators must not escape them, and they must learn nothing of it.
create function private.expel_member(group_id uuid, user_id uuid, action text) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    -- Exclusive: an invitation of or by them that is being written is waited for, or finds them out.
    acting public.group_role := private.manage_group(
        expel_member.group_id, 'moderator', action, expel_member.user_id, exclusive => true
    );
    member public.group_members := private.lock_member(expel_member.group_id, expel_member.user_id);
begin
    if member.role >= acting or expel_member.user_id = auth.uid() then
        if private.can_see(expel_member.user_id) then
            perform private.fail('group_role_too_low', 'acts as ' || acting);
        end if;
        return false;
    end if;
    delete from public.group_invitations as i
    where i.group_id = expel_member.group_id and expel_member.user_id in (i.user_id, i.invited_by);
    return true;
end
$$;
comment on function private.expel_member(uuid, uuid, text) is
'What removing and banning begin with: whether the caller may, the member''s row locked and their invitations gone.';

create function public.remove_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.expel_member(remove_member.group_id, remove_member.user_id, 'remove_group_member') then
        delete from public.group_members as m
        where m.group_id = remove_member.group_id and m.user_id = remove_member.user_id and m.status <> 'banned';
    end if;
end
$$;
comment on function public.remove_member(uuid, uuid) is
'Moderators of the group: removes a member, request or invitation; the person may join again. Only people of lower '
'role (group_role_too_low); whoever is not in the group is no error.';
grant execute on function public.remove_member(uuid, uuid) to authenticated;

create function public.ban_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.expel_member(ban_member.group_id, ban_member.user_id, 'ban_group_member') then
        insert into public.group_members as m (group_id, user_id, status, joined_at)
        select ban_member.group_id, p.id, 'banned', null from public.profiles as p
        where p.id = ban_member.user_id and p.deleted_at is null
        on conflict on constraint group_members_pkey do update set status = 'banned', role = 'member', joined_at = null
        where m.status <> 'banned';
    end if;
end
$$;
comment on function public.ban_member(uuid, uuid) is
'Moderators of the group: removes somebody and keeps them out, also before they ever joined. Only people of lower role '
'(group_role_too_low). Banning again changes nothing.';
grant execute on function public.ban_member(uuid, uuid) to authenticated;

create function public.unban_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.manage_group(unban_member.group_id, 'moderator', 'unban_group_member', unban_member.user_id);
    delete from public.group_members as m
    where m.group_id = unban_member.group_id and m.user_id = unban_member.user_id and m.status = 'banned';
end
$$;
comment on function public.unban_member(uuid, uuid) is
'Moderators of the group: ends a ban; the person may join again. No ban, no effect.';
grant execute on function public.unban_member(uuid, uuid) to authenticated;

create function public.invite_to_group(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    entered public.groups := private.enter_group(invite_to_group.group_id, invite_to_group.user_id);
    acting public.group_role := private.group_role(invite_to_group.group_id);
    member public.group_members;
begin
    -- An invitation skips approval, so whoever may not approve may not invite where approval is asked.
    if acting is null
        or acting < 'moderator' and (entered.visibility <> 'public' or entered.join_approval_required)
    then
        perform private.fail('group_role_too_low', 'needs moderator');
    elsif not private.can_see(invite_to_group.user_id) then
        perform private.fail('user_not_found', invite_to_group.user_id::text);
    end if;
    member := private.lock_member(entered.id, invite_to_group.user_id);
    if member.status = 'banned' then
        perform private.fail('member_is_banned', invite_to_group.user_id::text);
    elsif member.status = 'pending' then
        update public.group_members as m set status = 'active', joined_at = now()
        where m.group_id = member.group_id and m.user_id = member.user_id;
    elsif member.status is null then
        insert into public.group_invitations (group_id, user_id, invited_by)
        values (entered.id, invite_to_group.user_id, caller)
        on conflict on constraint group_invitations_pkey do nothing;
    end if;
end
$$;
comment on function public.invite_to_group(uuid, uuid) is
'Invites somebody, who then joins without approval; who asked to join already is admitted. Moderators of the group, '
'in groups that are open to everybody all members. Inviting again or a member changes nothing. Fails with '
'user_not_found, member_is_banned or group_role_too_low.';
grant execute on function public.invite_to_group(uuid, uuid) to authenticated;

create function public.decline_invitation(group_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    delete from public.group_invitations as i
    where i.group_id = decline_invitation.group_id and i.user_id = caller;
end
$$;
comment on function public.decline_invitation(uuid) is 'Declines an invitation to a group. None, no effect.';
grant execute on function public.decline_invitation(uuid) to authenticated;

create function public.cancel_invitation(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    perform private.enter_group(cancel_invitation.group_id);
    delete from public.group_invitations as i
    where
        i.group_id = cancel_invitation.group_id and i.user_id = cancel_invitation.user_id
        and (i.invited_by = caller or private.group_role(i.group_id) >= 'moderator');
end
$$;
comment on function public.cancel_invitation(uuid, uuid) is
'Takes an invitation back: who invited, or moderators of the group. None, no effect.';
grant execute on function public.cancel_invitation(uuid, uuid) to authenticated;

create function private.give_group(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Two statements: there is never a second owner.
    update public.group_members as m set role = 'admin' where m.group_id = give_group.group_id and m.role = 'owner';
    update public.group_members as m set role = 'owner'
    where m.group_id = give_group.group_id and m.user_id = give_group.user_id;
    update public.groups as g set owner_id = give_group.user_id where g.id = give_group.group_id;
end
$$;
comment on function private.give_group(uuid, uuid) is
'Makes an active member the owner; the owner before becomes an admin. The group''s gate is held exclusively.';

create function public.transfer_group(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.manage_group(
        transfer_group.group_id, 'owner', 'transfer_group', transfer_group.user_id, exclusive => true
    );
    if not exists (
        select from public.group_members as m
        inner join public.profiles as p on p.id = m.user_id
        where
            m.group_id = transfer_group.group_id and m.user_id = transfer_group.user_id and m.status = 'active'
            and not p.is_banned and private.can_see(m.user_id)
    ) then
        perform private.fail('member_not_found', transfer_group.user_id::text);
    end if;
    perform private.give_group(transfer_group.group_id, transfer_group.user_id);
end
$$;
comment on function public.transfer_group(uuid, uuid) is
'The owner gives the group to an active member and becomes an admin of it. Fails with member_not_found or '
'group_role_too_low.';
grant execute on function public.transfer_group(uuid, uuid) to authenticated;

create function public.delete_group(group_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- As whoever deletes posts, before any gate, see change_posts_in_turn().
    perform pg_advisory_xact_lock_shared(hashtextextended('avenue:standing', 0));
    perform private.manage_group(delete_group.group_id, 'owner', 'delete_group', exclusive => true);
    perform private.hold_posts_of_group(delete_group.group_id);
    delete from public.groups as g where g.id = delete_group.group_id;
end
$$;
comment on function public.delete_group(uuid) is
'The owner deletes the group and everything in it. Cannot be undone.';
grant execute on function public.delete_group(uuid) to authenticated;

create function public.verify_group(group_id uuid, is_verified boolean default true) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    update public.groups as g set is_verified = coalesce(verify_group.is_verified, true)
    where g.id = verify_group.group_id;
    if not found then
        perform private.fail('group_not_found', verify_group.group_id::text);
    end if;
    perform private.audit(
        'verify_group', 'groups', verify_group.group_id, jsonb_build_object('is_verified', verify_group.is_verified)
    );
end
$$;
comment on function public.verify_group(uuid, boolean) is 'Admins of the platform: marks a group as official, or not.';
grant execute on function public.verify_group(uuid, boolean) to authenticated;

create function private.lock_groups_of(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_gates(
        'group',
        array(select m.group_id from public.group_members as m where m.user_id = lock_groups_of.user_id),
        array(select g.id from public.groups as g where g.owner_id = lock_groups_of.user_id)
    );
    -- Somebody else's end may have made this one an owner while the gates were waited for.
    perform private.lock_gates(
        'group', '{}', array(select g.id from public.groups as g where g.owner_id = lock_groups_of.user_id)
    );
end
$$;
comment on function private.lock_groups_of(uuid) is
'First step of erase_account(), before it holds any row: the gates of the account''s groups.';

create function private.leave_groups(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    owned uuid;
    successor uuid;
begin
    delete from public.group_invitations as i
    where i.user_id = leave_groups.user_id or i.invited_by = leave_groups.user_id;
    delete from public.group_members as m where m.user_id = leave_groups.user_id and m.role <> 'owner';
    for owned in select g.id from public.groups as g where g.owner_id = leave_groups.user_id order by g.id loop
        -- Somebody banned from the platform gets it only when nobody else is left.
        select m.user_id into successor
        from public.group_members as m
        inner join public.profiles as p on p.id = m.user_id
        where m.group_id = owned and m.status = 'active' and m.user_id <> leave_groups.user_id and p.deleted_at is null
        order by p.is_banned, m.role desc, m.joined_at, m.user_id
        limit 1;
        if successor is null then
            delete from public.groups as g where g.id = owned;
        else
            perform private.give_group(owned, successor);
            delete from public.group_members as m where m.group_id = owned and m.user_id = leave_groups.user_id;
        end if;
    end loop;
end
$$;
comment on function private.leave_groups(uuid) is
'Step of erase_account(): ends memberships; groups go to the admin, else the moderator, else the member who was there '
'longest, and are deleted when nobody is left.';

-- A block ends invitations between the two.
create function private.end_invitations() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from public.group_invitations as i
    using changed as c
    where
        i.user_id = c.blocker_id and i.invited_by = c.blocked_id
        or i.user_id = c.blocked_id and i.invited_by = c.blocker_id;
    return null;
end
$$;
comment on function private.end_invitations() is 'Trigger: a block ends invitations between the two.';

create trigger end_invitations after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.end_invitations();

create function public.my_role(of_group public.groups) returns public.group_role
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return null;
    end if;
    return private.group_role(of_group.id);
end
$$;
comment on function public.my_role(public.groups) is
'Computed field: the caller''s role in the group, null when not an active member. select=*,my_role.';
grant execute on function public.my_role(public.groups) to anon, authenticated;

insert into private.erasure_steps (step, position, statement) values
('group_gates', -30, 'select private.lock_groups_of($1)'),
('group_members', 50, 'select private.leave_groups($1)')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- Who was kept out of a secret group is not told that it goes on.
insert into private.personal_data (section, relation, condition) values
('groups', 'public.groups', 't.owner_id = $1'),
('group_members', 'public.group_members',
    't.user_id = $1 and (t.status = ''active'' or exists (select from public.groups as g where g.id = t.group_id and '
    'g.visibility <> ''secret''))'),
('group_invitations', 'public.group_invitations', 't.user_id = $1 or t.invited_by = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.error_codes (code, sqlstate, message, description) values
('group_not_found', 'PT404', 'This group does not exist.',
'No group with that id, or a secret one that the caller is neither in nor invited to.'),
('group_role_too_low', 'PT403', 'Your role in this group does not allow this.',
'The detail states the role that is needed or the one the caller acts with. People of the same or a higher role cannot '
'be changed, and only roles below one''s own be given.'),
('member_not_found', 'PT404', 'This person is not in the group.',
'No such member, or no such request to approve.'),
('banned_from_group', 'PT403', 'You are banned from this group.', 'A moderator of the group can end the ban.'),
('member_is_banned', 'PT409', 'This person is banned from the group.', 'End the ban before inviting.'),
('owner_must_transfer', 'PT409', 'The owner cannot leave the group.',
'Give it to a member with transfer_group(), or delete it.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/65_social/22_people_search.sql ----------------------------------------------------------------------------------
-- Finding people and groups by name: how it begins, words in it, and with typing errors. The work is bounded: each way
-- to match contributes a limited number of candidates, which are then ranked. Definer functions, because the index of
-- trigrams cannot be used behind a policy; they filter as the policies do.

create index profiles_username_prefix_idx on public.profiles (lower(username::text) text_pattern_ops);
create index profiles_display_name_prefix_idx on public.profiles (lower(display_name) text_pattern_ops, id);
create index profiles_names_trgm_idx on public.profiles using gin (
    lower(username::text) extensions.gin_trgm_ops, lower(display_name) extensions.gin_trgm_ops
);
create index groups_name_prefix_idx on public.groups (lower(name) text_pattern_ops, id);
create index groups_name_trgm_idx on public.groups using gin (lower(name) extensions.gin_trgm_ops);

create function private.search_term(query text) returns text
language sql
immutable
set search_path = ''
as $$
    select lower(ltrim(btrim(left(regexp_replace(query, '[[:space:][:cntrl:]]+', ' ', 'g'), 100)), '@#'))
$$;
comment on function private.search_term(text) is
'What is searched for names: lower case, at most 100 characters, single spaces, without a leading @ or #.';

create function public.search_profiles(
    query text, after_score double precision default null, after_id uuid default null, max_rows integer default 20
)
returns table (
    id uuid, username text, display_name text, avatar_url text, followers_count integer, score double precision
)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    term text := private.search_term(query);
    -- Bytewise the last text that begins with it.
    term_end text := term || U&'\+10FFFF';
    caller uuid := private.member_id();
    is_admin boolean := private.is_admin();
    blocked uuid [] := array(select private.blocked_ids());
    -- A trigram needs three letters.
    fuzzy boolean := char_length(term) >= 3;
begin
    if coalesce(term, '') = '' then
        return;
    end if;
    return query
    with seen as not materialized (
        select p.* from public.profiles as p
        where
            p.deleted_at is null
            and (
                is_admin
                or p.id = caller
                or not p.is_banned
                and (p.profile_visibility = 'public' or p.profile_visibility = 'members_only' and caller is not null)
                and p.id <> all(blocked)
            )
    ),
    candidates as (
        (select s.id from seen as s where s.username operator(extensions.=) term::extensions.citext)
        union all
        (
            select s.id from seen as s
            where
                lower(s.username::text) operator(pg_catalog.~>=~) term
                and lower(s.username::text) operator(pg_catalog.~<~) term_end
            order by lower(s.username::text) using operator(pg_catalog.~<~)
            limit 200
        )
        union all
        (
            select s.id from seen as s
            where
                lower(s.display_name) operator(pg_catalog.~>=~) term
                and lower(s.display_name) operator(pg_catalog.~<~) term_end
            order by lower(s.display_name) using operator(pg_catalog.~<~), s.id
            limit 200
        )
        union all
        (
            select s.id from seen as s
            where
                fuzzy
                and (
                    term operator(extensions.<%) lower(s.username::text)
                    or term operator(extensions.<%) lower(s.display_name)
                )
            limit 200
        )
    ),
    ranked as (
        select
            p.id, p.username::text as username, p.display_name, p.avatar_url::text as avatar_url, p.followers_count,
            case
                when lower(p.username::text) = term then 4
                when starts_with(lower(p.username::text), term) then 3
                when starts_with(lower(p.display_name), term) then 2
                else 0
            end
            -- How well a word in the name fits, and how little else the name has.
            + (
                greatest(
                    extensions.word_similarity(term, lower(p.username::text)),
                    extensions.word_similarity(term, lower(p.display_name))
                )
                + greatest(
                    extensions.similarity(term, lower(p.username::text)),
                    extensions.similarity(term, lower(p.display_name))
                )
            )::double precision / 2
            -- Among equals the better known.
            + least(ln(1 + p.followers_count) / 20, 0.9) as score
        from public.profiles as p
        where p.id in (select c.id from candidates as c)
    )
    select r.id, r.username, r.display_name, r.avatar_url, r.followers_count, r.score
    from ranked as r
    where
        after_score is null
        or (r.score, r.id) < (after_score, coalesce(after_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
    order by r.score desc, r.id desc
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$$;
comment on function public.search_profiles(text, double precision, uuid, integer) is
'People whose username or display name is, begins with, contains or resembles the query, best first; only those the '
'caller may see. At most some 600 matches are ranked. For the next page pass the last row''s score and id.';
grant execute on function public.search_profiles(text, double precision, uuid, integer) to anon, authenticated;

create function public.search_groups(
    query text, after_score double precision default null, after_id uuid default null, max_rows integer default 20
)
returns table (
    id uuid, name text, slug text, description text, avatar_url text, visibility public.group_visibility,
    members_count integer, is_verified boolean, score double precision
)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    term text := private.search_term(query);
    term_end text := term || U&'\+10FFFF';
    is_admin boolean := private.is_admin();
    -- Secret groups the caller may know of.
    known uuid [] := array(select private.my_group_ids() union all select private.my_invitations());
    fuzzy boolean := char_length(term) >= 3;
begin
    if coalesce(term, '') = '' then
        return;
    end if;
    return query
    with seen as not materialized (
        select g.* from public.groups as g where g.visibility <> 'secret' or g.id = any(known) or is_admin
    ),
    candidates as (
        (
            select g.id from seen as g
            where
                lower(g.name) operator(pg_catalog.~>=~) term
                and lower(g.name) operator(pg_catalog.~<~) term_end
            order by lower(g.name) using operator(pg_catalog.~<~), g.id
            limit 200
        )
        union all
        (
            select g.id from seen as g where g.tags @> array[term]
            limit 200
        )
        union all
        (
            select g.id from seen as g
            where
                fuzzy
                and term operator(extensions.<%) lower(g.name)
            limit 200
        )
    ),
    ranked as (
        select
            g.*,
            case
                when lower(g.name) = term then 3
                when starts_with(lower(g.name), term) then 2
                when g.tags @> array[term] then 1
                else 0
            end
            + (
                extensions.word_similarity(term, lower(g.name)) + extensions.similarity(term, lower(g.name))
            )::double precision / 2
            -- Among equals the larger.
            + least(ln(1 + g.members_count) / 20, 0.9) as score
        from public.groups as g
        where g.id in (select c.id from candidates as c)
    )
    select
        r.id, r.name, r.slug, r.description, r.avatar_url::text, r.visibility, r.members_count, r.is_verified,
        r.score
    from ranked as r
    where
        after_score is null
        or (r.score, r.id) < (after_score, coalesce(after_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
    order by r.score desc, r.id desc
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$$;
comment on function public.search_groups(text, double precision, uuid, integer) is
'Groups whose name begins with, contains or resembles the query or that have it as a tag, best first; secret ones only '
'for those who may know of them. For the next page pass the last row''s score and id.';
grant execute on function public.search_groups(text, double precision, uuid, integer) to anon, authenticated;
