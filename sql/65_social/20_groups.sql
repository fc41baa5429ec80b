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
    slug text not null default '',
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
    constraint groups_name_check check (char_length(name) between 1 and 100),
    constraint groups_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
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

-- What a client that breaks these is told, see error_catalog().
comment on constraint groups_description_check on public.groups is
'invalid_description: A description has at most 5,000 characters.';
comment on constraint groups_name_check on public.groups is
'invalid_name: The name of a group has 1 to 100 characters.';
comment on constraint groups_rules_check on public.groups is
'invalid_rules: The rules of a group have at most 5,000 characters.';

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
comment on column public.groups.is_verified is
'Official. Written by verify_group() only; another name or picture takes it away.';

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
    new.tags := private.clean_tags(new.tags);
    if tg_op = 'INSERT' then
        -- The end of the owner's account at this instant is waited for, or waits for this.
        perform private.lock_gates('account', array[new.owner_id]);
        perform private.require_active(new.owner_id);
        -- The owner, so that insert … returning shows them; count_group_members() does not count owners again.
        new.members_count := 1;
    end if;
    -- The badge vouches for a name and a face.
    if tg_op = 'UPDATE' and (new.name, new.avatar_url) is distinct from (old.name, old.avatar_url) then
        new.is_verified := false;
    end if;
    if tg_op = 'UPDATE' and private.is_admin() and coalesce(private.group_role(new.id), 'member') < 'admin' then
        perform private.audit('edit_group', 'group', new.id);
    end if;
    base := nullif(btrim(left(private.slugify(new.name), 80), '-'), '');
    if new.visibility = 'secret' and (tg_op = 'INSERT' or old.visibility <> 'secret') then
        new.slug := concat_ws('-', base, left(replace(new.id::text, '-', ''), 10));
    elsif tg_op = 'INSERT' then
        new.slug := private.free_slug(coalesce(base, 'group'), null, 'public.groups', new.id);
    end if;
    return new;
end
$$;
comment on function private.check_group() is
'Trigger: gives the group its address, takes the badge of a renamed one, and audits what admins of the platform edit.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of name, description, rules on public.groups
for each row execute function private.tidy_texts('name line required', 'description body', 'rules body');

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

create trigger within_limit after insert on public.groups
referencing new table as changed
for each statement execute function private.limit_inserts('group');

create trigger within_limit after insert on public.group_invitations
referencing new table as changed
for each statement execute function private.limit_inserts('invitation');

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
grant select on public.groups to anon, authenticated, service_role;
grant
insert (
    name, description, avatar_url, banner_url, visibility, join_approval_required, post_approval_required, rules,
    tags
),
update (
    name, description, avatar_url, banner_url, visibility, join_approval_required, post_approval_required, rules,
    tags
)
on public.groups to authenticated;

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
    'select group_id, count(*) from public.group_members where status = ''active'' group by 1');

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.group_members', 'status', null, 'active', 'joins, or made the group'),
('public.group_members', 'status', null, 'pending', 'asks to join'),
('public.group_members', 'status', null, 'banned', 'kept out before they ever joined'),
('public.group_members', 'status', 'pending', 'active', 'approved or invited'),
('public.group_members', 'status', 'pending', 'banned', 'ban_member()'),
('public.group_members', 'status', 'active', 'banned', 'ban_member()');
select private.build_moves('public.group_members', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('group', 'public.groups', 'owner_id', '/groups/{id}', '{can_read,evidence}');
