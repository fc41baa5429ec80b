-- Who is here. One row per account, the same id as auth.users, readable by others as far as its owner allows.
-- There is no foreign key to auth.users: an account can always be deleted, its financial history stays.

create type public.user_role as enum ('member', 'author', 'admin', 'super_admin');
comment on type public.user_role is 'author writes articles, admin moderates, super_admin also appoints.';

create type public.experience_level as enum ('beginner', 'intermediate', 'professional', 'veteran');
comment on type public.experience_level is 'Self-declared.';

create type public.profile_visibility as enum ('public', 'members_only', 'private');
comment on type public.profile_visibility is 'Who may read a profile: everybody, signed-in members, only its owner.';

create type public.audience as enum ('public', 'members', 'group', 'owner');
comment on type public.audience is
'Who may read a contribution: everybody, signed-in members, active members of its group, only its author (and admins). '
'Blocks narrow each further.';

-- Only http and https, no spaces or markup characters: what ends up in an href or src is never javascript: or data:.
create domain public.http_url as text
constraint http_url_check check (value ~ '^https?://[^[:space:][:cntrl:]"<>\\^`{|}]+$' and char_length(value) <= 2048);
comment on domain public.http_url is 'Absolute http(s) address of at most 2,048 characters.';

create domain public.http_urls as text[]
constraint http_urls_check check (
    array_to_string(value, ' ', '') ~ '^(https?://[^[:space:][:cntrl:]"<>\\^`{|}]+( |$))*$'
    and array_position(value, null) is null
    and cardinality(value) <= 30
    and char_length(array_to_string(value, ' ')) <= 30720
);
comment on domain public.http_urls is 'At most 30 absolute http(s) addresses.';

create table public.profiles (
    id uuid not null,
    username extensions.citext not null,
    -- Behind a policy only leakproof comparisons use an index, and those of citext are not.
    handle text not null generated always as (lower(username::text)) stored,
    display_name text,
    full_name text,
    bio text,
    avatar_url public.http_url,
    banner_url public.http_url,
    smart_link text,
    website_url public.http_url,
    experience_level public.experience_level,
    role public.user_role not null default 'member',
    profile_visibility public.profile_visibility not null default 'public',
    is_partner_account boolean not null default false,
    is_banned boolean not null default false,
    followers_count integer not null default 0,
    following_count integer not null default 0,
    products_count integer not null default 0,
    artworks_count integer not null default 0,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint profiles_pkey primary key (id),
    constraint profiles_username_key unique (username),
    constraint profiles_username_check check (
        username::text ~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$' and char_length(username::text) between 3 and 30
    ),
    -- The override characters would let a name display another one backwards.
    constraint profiles_display_name_check check (
        char_length(display_name) between 1 and 80 and display_name !~ '[[:cntrl:]\u202A-\u202E\u2066-\u2069]'
    ),
    constraint profiles_full_name_check check (char_length(full_name) between 1 and 100),
    constraint profiles_bio_check check (char_length(bio) <= 5000),
    constraint profiles_smart_link_check check (
        smart_link ~* '^https?://(www\.)?rolink\.me/[^[:space:][:cntrl:]"<>\\]*$' and char_length(smart_link) <= 500
    ),
    constraint profiles_counts_check check (
        followers_count >= 0 and following_count >= 0 and products_count >= 0 and artworks_count >= 0
    )
)
-- Counters are rewritten often and no index holds them: room on the page keeps those updates HOT.
with (fillfactor = 85);

-- Not unique, username is: a unique generated column is a key that every update of the row might change, so each would
-- lock it against whoever refers to it.
create index profiles_handle_idx on public.profiles (handle);
create index profiles_created_at_idx on public.profiles (created_at desc);
-- Few rows: who may act as an admin.
create index profiles_role_idx on public.profiles (role) where role <> 'member';

comment on table public.profiles is
'Public face and standing of an account; created by sign-up, anonymised or removed by account deletion. Readable by '
'others as profile_visibility allows; the owner writes the descriptive columns only.';
comment on column public.profiles.id is 'auth.users.id. No foreign key: financial history outlives the account.';
comment on column public.profiles.username is
'Handle in addresses: 3 to 30 of A-Z a-z 0-9 _ . -, starting and ending with a letter, digit or _. Unique whatever '
'the case; reserved words and deleted- are refused.';
comment on column public.profiles.handle is
'The username in lower case. Look people up by it, handle=eq.ana: a filter on username reads every profile.';
comment on column public.profiles.display_name is 'Name to show, at most 80 characters.';
comment on column public.profiles.full_name is 'Full name, if its owner wants it shown; at most 100 characters.';
comment on column public.profiles.bio is 'About, at most 5,000 characters.';
comment on column public.profiles.avatar_url is 'Portrait, http(s) only.';
comment on column public.profiles.banner_url is 'Banner image, http(s) only.';
comment on column public.profiles.smart_link is
'rolink.me address and nothing else; a missing https:// is prepended, other domains fail with invalid_smart_link.';
comment on column public.profiles.website_url is 'Own web site, http(s) only.';
comment on column public.profiles.experience_level is 'Self-declared level.';
comment on column public.profiles.role is 'Rights on the platform. Written by set_role() only.';
comment on column public.profiles.profile_visibility is 'Who may read this row; the owner decides.';
comment on column public.profiles.is_partner_account is
'Counts as the plan creator_ultimate_for_friends. Written by set_partner_account() only.';
comment on column public.profiles.is_banned is
'Mirror of a row in bans, kept by trigger so that every membership check reads one row.';
comment on column public.profiles.followers_count is 'How many follow this profile; kept by triggers.';
comment on column public.profiles.following_count is 'How many this profile follows; kept by triggers.';
comment on column public.profiles.products_count is 'Products shown in the shop; kept by triggers.';
comment on column public.profiles.artworks_count is 'Artworks shown, sold ones included; kept by triggers.';
comment on column public.profiles.deleted_at is
'When the account was deleted. The row stays, anonymised, while books refer to it.';

create table private.reserved_usernames (
    username extensions.citext not null,
    constraint reserved_usernames_pkey primary key (username)
);
comment on table private.reserved_usernames is
'Names nobody may take: addresses of the application and words that look official.';
comment on column private.reserved_usernames.username is 'The refused name, whatever the case.';
alter table private.reserved_usernames enable row level security;

-- Membership: the one question every policy asks. plpgsql keeps its plan for the session, which makes it the cheapest
-- form of a function that must not be inlined.
create function private.member_id() returns uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return (
        select p.id from public.profiles as p
        where p.id = auth.uid() and p.deleted_at is null and not p.is_banned
    );
end
$$;
comment on function private.member_id() is
'The caller''s id while signed in, not deleted and not banned; else null. Policies write (select private.member_id()).';
grant execute on function private.member_id() to authenticated;

create function private.is_admin() returns boolean
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
            and p.role in ('admin', 'super_admin')
    );
end
$$;
comment on function private.is_admin() is 'Whether the caller is a member with role admin or super_admin.';
grant execute on function private.is_admin() to authenticated;

-- user_blocks comes on a later page; plpgsql binds late. Policies write
-- <> all (array(select private.blocked_ids())), which asks once a query, not once a row.
create function private.blocked_ids() returns setof uuid
language plpgsql
stable
security definer
set search_path = ''
rows 10
as $$
begin
    return query
    select b.blocked_id from public.user_blocks as b where b.blocker_id = auth.uid()
    union all
    select b.blocker_id from public.user_blocks as b where b.blocked_id = auth.uid();
end
$$;
comment on function private.blocked_ids() is
'Everybody the caller blocked or was blocked by: neither sees the other anywhere.';
grant execute on function private.blocked_ids() to authenticated;

create function private.is_visible_to(subject uuid, viewer uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    -- Says the same as the policies of profiles, for a given viewer instead of the caller.
    return exists (
        select from public.profiles as p
        left join public.profiles as v on v.id = viewer and v.deleted_at is null and not v.is_banned
        where
            p.id = subject and p.deleted_at is null
            and (
                p.id = viewer
                or v.role in ('admin', 'super_admin')
                or not p.is_banned
                and (
                    p.profile_visibility = 'public'
                    or p.profile_visibility = 'members_only' and v.id is not null
                )
                and not exists (
                    select from public.user_blocks as b
                    where
                        b.blocker_id = subject and b.blocked_id = viewer
                        or b.blocker_id = viewer and b.blocked_id = subject
                )
            )
    );
end
$$;
comment on function private.is_visible_to(uuid, uuid) is
'Whether the viewer (null: a visitor) may know of the subject: an account that is neither deleted nor hidden from them '
'by its visibility, a ban or a block. Admins know everybody.';

create function private.can_see(user_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return private.is_visible_to(can_see.user_id, auth.uid());
end
$$;
comment on function private.can_see(uuid) is
'Whether the caller may know of this user, see is_visible_to(). For policies on rows that name a person.';
grant execute on function private.can_see(uuid) to anon, authenticated;

create function private.author_audience(author public.profiles) returns public.audience
language sql
immutable
set search_path = ''
as $$
    select case
        when author.is_banned or author.deleted_at is not null or author.profile_visibility = 'private' then 'owner'
        when author.profile_visibility = 'members_only' then 'members'
        else 'public'
    end::public.audience
$$;
comment on function private.author_audience(public.profiles) is
'The widest audience of what this person writes. Contributions carry a copy, kept by trigger, so that reading a page '
'of them asks nothing about their authors.';

create function private.require_active(user_id uuid) returns uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    account public.profiles;
begin
    select * into account from public.profiles as p where p.id = require_active.user_id and p.deleted_at is null;
    if account.id is null then
        perform private.fail('not_signed_in');
    elsif account.is_banned then
        perform private.fail('banned');
    end if;
    return account.id;
end
$$;
comment on function private.require_active(uuid) is
'The id, if it is an account''s that may act; else fails with not_signed_in (401) or banned (403). For calls the '
'workers make on behalf of a user whose token they verified.';

create function private.require_member() returns uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.member_id();
begin
    if caller is null then
        -- Says why.
        perform private.require_active(auth.uid());
    end if;
    return caller;
end
$$;
comment on function private.require_member() is
'The caller''s id, or fails with not_signed_in (401) or banned (403). First line of every RPC for members.';
grant execute on function private.require_member() to authenticated;

create function private.require_admin() returns uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    if not private.is_admin() then
        perform private.fail('admin_only');
    end if;
    return caller;
end
$$;
comment on function private.require_admin() is 'The calling admin''s id, or fails with admin_only (403).';
grant execute on function private.require_admin() to authenticated;

create function private.require_super_admin() returns uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    if not exists (select from public.profiles as p where p.id = caller and p.role = 'super_admin') then
        perform private.fail('super_admin_only');
    end if;
    return caller;
end
$$;
comment on function private.require_super_admin() is
'The calling super admin''s id, or fails with super_admin_only (403).';

create function private.username_problem(username text) returns text
language sql
stable
security definer
set search_path = ''
as $$
    select case
        when
            username is null
            or username !~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$'
            or char_length(username) not between 3 and 30
            then 'username_invalid'
        when
            lower(username) like 'deleted-%'
            or exists (
                select from private.reserved_usernames as r
                where r.username operator(extensions.=) username_problem.username::extensions.citext
            )
            then 'username_reserved'
    end
$$;
comment on function private.username_problem(text) is
'Error code that speaks against a username, null when none does. Whether it is taken is not looked at.';

create function private.check_profile() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    problem text;
begin
    if tg_op = 'INSERT' or new.username::text is distinct from old.username::text then
        -- Anonymised accounts are the one case of a deleted- name.
        problem := case when new.deleted_at is null then private.username_problem(new.username::text) end;
        -- Inserts are sign-up's, which tries the next name on a conflict instead of failing.
        if problem is null and tg_op = 'UPDATE' and exists (
            select from public.profiles as p
            where p.username operator(extensions.=) new.username and p.id <> new.id
        ) then
            problem := 'username_taken';
        end if;
        if problem is not null then
            perform private.fail(problem, new.username::text);
        end if;
    end if;

    new.display_name := nullif(btrim(new.display_name), '');
    new.full_name := nullif(btrim(new.full_name), '');
    new.bio := nullif(btrim(new.bio), '');
    new.smart_link := nullif(btrim(new.smart_link), '');
    if new.smart_link !~* '^https?://' then
        new.smart_link := 'https://' || new.smart_link;
    end if;
    if new.smart_link !~* '^https?://(www\.)?rolink\.me/[^[:space:][:cntrl:]"<>\\]*$' then
        perform private.fail('invalid_smart_link', left(new.smart_link, 200));
    end if;
    return new;
end
$$;
comment on function private.check_profile() is
'Trigger: refuses bad, reserved and taken usernames and foreign smart links with clear errors; tidies texts.';

create trigger check_profile
before insert or update of username, display_name, full_name, bio, smart_link on public.profiles
for each row execute function private.check_profile();

-- A ban, a change of visibility, the end of an account: each moves counts on things of many others, in an order that
-- depends on whose account it is. Two of them at once would wait in a circle, so they take turns, and what one counts
-- on it holds from the first count to the end, see claim_count(). A statement's trigger runs before any row is
-- locked.
create function private.take_standing_turn() returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('avenue:standing', 0));
    perform set_config('avenue.rows_held', 'on', true);
end
$$;
comment on function private.take_standing_turn() is
'Waits until no other account''s standing is being changed; held until the transaction ends. Before any row is locked.';

create function private.change_standing_in_turn() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- One at a time of each caller: who has much and asks often would fill the queue before those who could ban them.
    -- Not with the turn in hand already, which another request of theirs may wait for.
    if current_setting('avenue.rows_held', true) is distinct from 'on' then
        perform pg_advisory_xact_lock(hashtextextended('avenue:standing:' || auth.uid(), 0));
    end if;
    perform private.take_standing_turn();
    return null;
end
$$;
comment on function private.change_standing_in_turn() is
'Trigger: see take_standing_turn(). Of one caller only one request waits for it.';

create trigger change_standing_in_turn
before update of is_banned, deleted_at, profile_visibility on public.profiles
for each statement execute function private.change_standing_in_turn();

-- Counters and moderation do not make a profile look edited.
create trigger touch_updated_at
before update of
username, display_name, full_name, bio, avatar_url, banner_url, smart_link, website_url, experience_level, role,
profile_visibility, is_partner_account, deleted_at
on public.profiles
for each row execute function private.touch_updated_at();

create function private.grant_role(user_id uuid, role public.user_role) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    before public.user_role;
begin
    -- Two super admins dismissing each other at the same instant take turns here.
    perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
    select p.role into before from public.profiles as p
    where p.id = grant_role.user_id and p.deleted_at is null
    for no key update;
    if before is null then
        perform private.fail('user_not_found', grant_role.user_id::text);
    end if;
    update public.profiles as p set role = grant_role.role where p.id = grant_role.user_id;
    if before = 'super_admin' and not exists (
        select from public.profiles as p where p.role = 'super_admin' and p.deleted_at is null and not p.is_banned
    ) then
        perform private.fail('last_super_admin');
    end if;
    perform private.audit(
        'set_role', 'profiles', grant_role.user_id, jsonb_build_object('from', before, 'to', grant_role.role)
    );
end
$$;
comment on function private.grant_role(uuid, public.user_role) is
'Gives an account a role; audited. Operators appoint the first super admin with it: '
'select private.grant_role(''<user id>'', ''super_admin'').';

create function public.set_role(user_id uuid, role public.user_role) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_super_admin();
    perform private.grant_role(user_id, role);
    -- The caller may have been dismissed while this call waited for its turn.
    if user_id is distinct from auth.uid() then
        perform private.require_super_admin();
    end if;
end
$$;
comment on function public.set_role(uuid, public.user_role) is
'Super admins only: gives an account a role. The last super admin keeps theirs (last_super_admin).';
grant execute on function public.set_role(uuid, public.user_role) to authenticated;

alter table public.profiles enable row level security;
revoke all on public.profiles from anon, authenticated, service_role;
grant select on public.profiles to anon, authenticated, service_role;
grant update (
    username, display_name, full_name, bio, avatar_url, banner_url, smart_link, website_url, experience_level,
    profile_visibility
) on public.profiles to authenticated;

create policy profiles_select_anon on public.profiles for select to anon
using (profile_visibility = 'public' and not is_banned);

-- One's own row is readable whatever the standing, so that an application can tell a banned user so.
create policy profiles_select on public.profiles for select to authenticated
using (
    (
        not is_banned
        and (
            profile_visibility = 'public'
            or profile_visibility = 'members_only' and (select private.member_id()) is not null
        )
        and id <> all(array(select private.blocked_ids()))
    )
    or id = (select auth.uid())
    or (select private.is_admin())
);

create policy profiles_update on public.profiles for update to authenticated
using (id = (select private.member_id()))
with check (id = (select private.member_id()));

insert into private.reserved_usernames (username) values
('about'), ('account'), ('accounts'), ('admin'), ('administrator'), ('admins'), ('anonymous'), ('api'), ('app'),
('articles'), ('artworks'), ('assets'), ('auth'), ('avenue'), ('billing'), ('blog'), ('cart'), ('catalog'),
('checkout'), ('contact'), ('dashboard'), ('deleted'), ('docs'), ('download'), ('downloads'), ('everyone'),
('explore'), ('favicon.ico'), ('feed'), ('followers'), ('following'), ('functions'), ('groups'), ('guest'), ('help'),
('home'), ('images'), ('index'), ('info'), ('legal'), ('login'), ('logout'), ('mail'), ('me'), ('media'),
('messages'), ('moderator'), ('moderators'), ('new'), ('news'), ('none'), ('noreply'), ('notifications'), ('null'),
('official'), ('operator'), ('orders'), ('owner'), ('payouts'), ('postmaster'), ('press'), ('pricing'), ('privacy'),
('products'), ('profile'), ('profiles'), ('public'), ('register'), ('rest'), ('robots.txt'), ('root'), ('sales'),
('search'), ('security'), ('services'), ('settings'), ('shop'), ('sign-in'), ('sign-up'), ('signin'), ('signup'),
('staff'), ('static'), ('status'), ('storage'), ('store'), ('super_admin'), ('superadmin'), ('support'), ('system'),
('team'), ('terms'), ('undefined'), ('user'), ('users'), ('wallet'), ('webhooks'), ('webinars'), ('webmaster'),
('www')
on conflict do nothing;

insert into private.error_codes (code, sqlstate, message, description) values
('not_signed_in', 'PT401', 'Please sign in.',
'The call needs a signed-in member. The session is missing, has ended, or its account was deleted.'),
('banned', 'PT403', 'This account is banned.',
'The account may not act on the platform. The reason is in the caller''s own row of bans.'),
('admin_only', 'PT403', 'Only admins can do this.', 'The caller''s role is neither admin nor super_admin.'),
('super_admin_only', 'PT403', 'Only super admins can do this.', 'The caller''s role is not super_admin.'),
('user_not_found', 'PT404', 'This user does not exist.', 'No account with that id, or it was deleted.'),
('last_super_admin', 'PT409', 'The last super admin cannot be dismissed.',
'Appoint another super admin first; otherwise nobody could appoint any more.'),
('username_invalid', 'PT400', 'This username is not valid.',
'Usernames have 3 to 30 characters of A-Z a-z 0-9 _ . - and start and end with a letter, a digit or _.'),
('username_reserved', 'PT409', 'This username is reserved.', 'The name is used by the platform. Choose another.'),
('username_taken', 'PT409', 'This username is taken.',
'Somebody else has it, perhaps in other letter case. Choose another. When two people choose the same name at the same '
'instant the loser gets SQLSTATE 23505 instead.'),
('invalid_smart_link', 'PT400', 'A smart link must be a rolink.me address.',
'Only http(s)://rolink.me/… and www.rolink.me/… are accepted; a missing https:// is added.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
