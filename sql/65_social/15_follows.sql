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

-- What a client that breaks these is told, see error_catalog().
comment on constraint follows_self_check on public.follows is 'cannot_follow_yourself: Follows are between two people.';
comment on constraint follows_following_id_fkey on public.follows is 'user_not_found: There is no such account.';
comment on constraint follows_pkey on public.follows is 'already_done: The account is followed already.';

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
    perform private.bound_activity('follow');
    -- A block or the end of either account at this instant is waited for, or waits for this.
    perform private.lock_gates('account', array[new.follower_id, new.following_id]);
    perform private.lock_gates('pair', array[private.pair(new.follower_id, new.following_id)]);
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
    select array_agg(t.id order by t.id) into targets
    from (
        select c.follower_id as id from changed as c
        union
        select c.following_id from changed as c
    ) as t;

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
        perform private.add_counts('profiles.followers_count', array_agg(c.following_id), array_agg(sign))
        from changed as c;
        perform private.add_counts('profiles.following_count', array_agg(c.follower_id), array_agg(sign))
        from changed as c;
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

create trigger within_limit after insert on public.follows
referencing new table as changed
for each statement execute function private.limit_inserts('follow');

create trigger within_limit after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.limit_inserts('block');

-- A block ends following in both directions. The gate of the two is exclusive: a follow at the same instant is either
-- seen here or sees the block. At the end of the statement: a request that takes its time is not at the gate meanwhile,
-- which others share.
create function private.check_block() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Each person is a lock of their own for those who write to them.
    if auth.uid() is not null and pg_trigger_depth() = 1 and (select count(*) from changed) > 500 then
        perform private.fail('too_many_actions', private.utc(clock_timestamp()));
    end if;
    if tg_op = 'INSERT' then
        perform private.lock_gates('account', array(
            select c.blocker_id from changed as c union select c.blocked_id from changed as c
        ));
        perform private.lock_gates('pair', '{}', array(
            select private.pair(c.blocker_id, c.blocked_id) from changed as c
        ));
        -- Somebody who stops following just now, slowly.
        perform private.hold_rows('public.follows', 't.follower_id = $1 and t.following_id = $2', w.one, w.other)
        from (
            select c.blocker_id as one, c.blocked_id as other from changed as c
            union all
            select c.blocked_id, c.blocker_id from changed as c
        ) as w
        inner join public.follows as f on f.follower_id = w.one and f.following_id = w.other;
    end if;
    return null;
end
$$;
comment on function private.check_block() is
'Trigger: a block and a follow of the same two people take turns; one request begins or ends at most 500 blocks.';

-- Named to fire first.
create trigger begin_block after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.check_block();
create trigger begin_unblock after delete on public.user_blocks
referencing old table as changed
for each statement execute function private.check_block();

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
            coalesce(after_created_at, 'infinity'), coalesce(after_id, private.last_uuid())
        )
        -- A look-up for each follow, until the page is full.
        and (
            select b.created_at from public.follows as b
            where b.follower_id = f.following_id and b.following_id = connections.user_id
        ) is not null
        and private.is_visible_to(p.id, caller)
    order by f.created_at desc, f.following_id desc
    limit private.page_size(max_rows);
end
$$;
comment on function public.connections(uuid, timestamptz, uuid, integer) is
'Whom this person (default: the caller) follows and is followed by, latest follow first. created_at is when the person '
'followed them; for the next page pass the last row''s created_at and id.';
grant execute on function public.connections(uuid, timestamptz, uuid, integer) to authenticated;

-- The profiles' own policies decide, by their key: a scalar subquery stays a look-up for each row shown, where
-- exists (…) could become a hash of all profiles.
select private.make_own_rows(
    'public.follows', 'following_id', owner_column => 'follower_id',
    readable => '(select p.id from public.profiles as p where p.id = follower_id) is not null
    and (select p.id from public.profiles as p where p.id = following_id) is not null'
);

insert into private.counters (counter, relation, key, count_column, truth) values
('profiles.followers_count', 'public.profiles', 'id', 'followers_count',
    'select following_id, count(*) from public.follows group by 1'),
('profiles.following_count', 'public.profiles', 'id', 'following_count',
    'select follower_id, count(*) from public.follows group by 1');

insert into private.personal_data (section, relation, condition) values
('follows', 'public.follows', 't.follower_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('follows', 'people', '{public.follows}',
    'select private.erase_follows($1)',
    'select private.erase_rows(''public.follows'', ''t.follower_id = $1 or t.following_id = $1'', $1, $2)');

insert into private.error_codes (code, sqlstate, message, description) values
('cannot_follow_yourself', 'PT400', 'You cannot follow yourself.', 'Follows are between two people.');
