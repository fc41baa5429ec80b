-- Identity.
-- Profiles, bans, settings, artist profiles, categories; sign-up provisioning and account deletion as triggers on
-- auth.users, the only change to a schema that is not ours.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/10_identity/10_profiles.sql -------------------------------------------------------------------------------------
-- Who is here. One row per account, the same id as auth.users, readable by others as far as its owner allows.
-- There is no foreign key to auth.users: an account can always be deleted, its financial history stays.

create type public.user_role as enum ('member', 'author', 'admin', 'super_admin');
comment on type public.user_role is 'author writes articles, admin moderates, super_admin also appoints.';

create type public.experience_level as enum ('beginner', 'intermediate', 'professional', 'veteran');
comment on type public.experience_level is 'Self-declared.';

create type public.profile_visibility as enum ('public', 'members_only', 'private');
comment on type public.profile_visibility is 'Who may read a profile: everybody, signed-in members, only its owner.';

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
language sql
stable
security definer
set search_path = ''
as $$
    select private.require_active(auth.uid())
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
    (profile_visibility = 'public' and not is_banned)
    or id = (select auth.uid())
    or (profile_visibility = 'members_only' and not is_banned and (select private.member_id()) is not null)
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

-- sql/10_identity/15_bans.sql -----------------------------------------------------------------------------------------
-- Who may not take part, and why. A row is the ban; removing it ends the ban.

create table public.bans (
    user_id uuid not null,
    reason text not null,
    banned_by uuid,
    created_at timestamptz not null default now(),
    constraint bans_pkey primary key (user_id),
    constraint bans_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint bans_banned_by_fkey foreign key (banned_by) references public.profiles (id) on delete set null,
    constraint bans_reason_check check (char_length(btrim(reason)) between 1 and 1000)
);

create index bans_banned_by_idx on public.bans (banned_by);

comment on table public.bans is
'Current bans. Admins and the banned user read; written by ban_user() and unban_user(). Past bans are in audit_log.';
comment on column public.bans.user_id is 'Who is banned.';
comment on column public.bans.reason is 'Told to the banned user; at most 1,000 characters.';
comment on column public.bans.banned_by is 'The admin; null when an operator acted.';

create function private.mirror_ban() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.profiles set is_banned = (tg_op = 'INSERT') where id = coalesce(new.user_id, old.user_id);
    return null;
end
$$;
comment on function private.mirror_ban() is 'Trigger: profiles.is_banned says whether a row in bans exists.';

create trigger mirror_ban after insert or delete on public.bans
for each row execute function private.mirror_ban();

create function public.ban_user(user_id uuid, reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    target public.profiles;
begin
    if ban_user.user_id = admin then
        perform private.fail('cannot_ban_yourself');
    end if;
    -- Shared with grant_role(): two super admins banning each other take turns, and the second is no member any more.
    perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
    perform private.require_admin();
    select * into target from public.profiles as p
    where p.id = ban_user.user_id and p.deleted_at is null
    for no key update;
    if target.id is null then
        perform private.fail('user_not_found', ban_user.user_id::text);
    end if;
    if target.role in ('admin', 'super_admin') then
        perform private.require_super_admin();
    end if;
    insert into public.bans as b (user_id, reason, banned_by)
    values (ban_user.user_id, coalesce(ban_user.reason, ''), admin)
    on conflict on constraint bans_pkey do update set reason = excluded.reason, banned_by = excluded.banned_by;
    perform private.audit('ban_user', 'profiles', ban_user.user_id, jsonb_build_object('reason', ban_user.reason));
end
$$;
comment on function public.ban_user(uuid, text) is
'Admins: bans an account at once, taking its items off sale and holding its earnings. Admins are banned by super '
'admins only, nobody bans themselves. Banning again changes the reason.';
grant execute on function public.ban_user(uuid, text) to authenticated;

create function public.unban_user(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    ended public.bans;
begin
    perform private.require_admin();
    if exists (
        select from public.profiles as p where p.id = unban_user.user_id and p.role in ('admin', 'super_admin')
    ) then
        perform private.require_super_admin();
    end if;
    delete from public.bans as b where b.user_id = unban_user.user_id returning * into ended;
    if ended.user_id is not null then
        perform private.audit('unban_user', 'profiles', unban_user.user_id, jsonb_build_object('reason', ended.reason));
    end if;
end
$$;
comment on function public.unban_user(uuid) is
'Admins: ends a ban; the items that were on sale are on sale again. Banned admins need a super admin. No ban, no '
'effect.';
grant execute on function public.unban_user(uuid) to authenticated;

alter table public.bans enable row level security;
revoke all on public.bans from anon, authenticated, service_role;
grant select on public.bans to authenticated, service_role;

-- auth.uid(), not membership: a banned user is no member and must still learn why.
create policy bans_select on public.bans for select to authenticated
using (user_id = (select auth.uid()) or (select private.is_admin()));

insert into private.error_codes (code, sqlstate, message, description) values
('cannot_ban_yourself', 'PT409', 'You cannot ban yourself.', 'Ask another admin, or delete the account.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/10_identity/20_profile_settings.sql -----------------------------------------------------------------------------
-- What a member sets for themselves and nobody else sees.

create type public.theme as enum ('light', 'dark');
comment on type public.theme is 'Colour scheme.';

create table public.profile_settings (
    user_id uuid not null,
    theme public.theme not null default 'light',
    language text not null default 'en',
    notification_preferences jsonb not null default '{}',
    phone text,
    marketing_consent boolean not null default false,
    marketing_consent_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint profile_settings_pkey primary key (user_id),
    constraint profile_settings_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint profile_settings_language_check check (
        language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' and char_length(language) <= 35
    ),
    constraint profile_settings_notification_preferences_check check (
        jsonb_typeof(notification_preferences) = 'object'
        and octet_length(notification_preferences::text) <= 8192
        and not jsonb_path_exists(notification_preferences, 'strict $.* ? (@.type() != "object")', '{}', true)
        and not jsonb_path_exists(notification_preferences, 'strict $.*.* ? (@.type() != "boolean")', '{}', true)
    ),
    constraint profile_settings_phone_check check (phone ~ '^\+?[0-9][0-9 ()./-]{4,28}[0-9]$')
);

comment on table public.profile_settings is
'Private settings of a member; created by sign-up. Owner only, not even admins.';
comment on column public.profile_settings.user_id is 'Whose settings.';
comment on column public.profile_settings.theme is 'Colour scheme.';
comment on column public.profile_settings.language is 'BCP 47 tag, for example en or pt-BR.';
comment on column public.profile_settings.notification_preferences is
'Per notification type an object of switches, for example {"message": {"in_app": true, "email": false}}. A missing '
'type or switch means on.';
comment on column public.profile_settings.phone is 'Phone number, digits with the usual separators.';
comment on column public.profile_settings.marketing_consent is
'Whether marketing e-mails are welcome; off until asked for.';
comment on column public.profile_settings.marketing_consent_at is
'When that consent was given: the evidence. Null while not given; written by trigger.';

create function private.date_marketing_consent() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.marketing_consent_at := case when new.marketing_consent then now() end;
    return new;
end
$$;
comment on function private.date_marketing_consent() is 'Trigger: dates the consent when it is given or withdrawn.';

create trigger date_marketing_consent
before update of marketing_consent on public.profile_settings
for each row
when (old.marketing_consent is distinct from new.marketing_consent)
execute function private.date_marketing_consent();

create trigger touch_updated_at before update on public.profile_settings
for each row execute function private.touch_updated_at();

alter table public.profile_settings enable row level security;
revoke all on public.profile_settings from anon, authenticated, service_role;
grant select on public.profile_settings to authenticated, service_role;
grant update (theme, language, notification_preferences, phone, marketing_consent)
on public.profile_settings to authenticated;

create policy profile_settings_select on public.profile_settings for select to authenticated
using (user_id = (select private.member_id()));
create policy profile_settings_update on public.profile_settings for update to authenticated
using (user_id = (select private.member_id()))
with check (user_id = (select private.member_id()));

-- sql/10_identity/25_categories.sql -----------------------------------------------------------------------------------
-- The main categories of creators and of what they sell. Reference data; the slug is what code refers to.

create table public.categories (
    id uuid not null default gen_random_uuid(),
    name text not null,
    slug extensions.citext not null,
    description text,
    icon text,
    sort_order integer not null default 0,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint categories_pkey primary key (id),
    constraint categories_slug_key unique (slug),
    constraint categories_name_check check (char_length(btrim(name)) between 1 and 80),
    constraint categories_slug_check check (slug::text ~ '^[a-z0-9]+(-[a-z0-9]+)*$')
);

comment on table public.categories is 'The main categories. Everybody reads active ones; changed by migrations.';
comment on column public.categories.name is 'Name to show.';
comment on column public.categories.slug is 'Stable key in addresses.';
comment on column public.categories.description is 'One sentence on who belongs here.';
comment on column public.categories.icon is 'Icon name or address.';
comment on column public.categories.sort_order is 'Position in menus, ascending.';
comment on column public.categories.is_active is 'False hides it from everybody but admins.';

create trigger touch_updated_at before update on public.categories
for each row execute function private.touch_updated_at();

alter table public.categories enable row level security;
revoke all on public.categories from anon, authenticated, service_role;
grant select on public.categories to anon, authenticated, service_role;

create policy categories_select_anon on public.categories for select to anon
using (is_active);
create policy categories_select on public.categories for select to authenticated
using (is_active or (select private.is_admin()));

insert into public.categories (slug, name, description, icon, sort_order) values
('musician', 'Musician', 'Instrumentalists and performing artists.', 'music', 1),
('producer-engineer', 'Producer/Engineer', 'Producers, mixing and mastering engineers.', 'sliders', 2),
('vocalist', 'Vocalist', 'Singers, rappers and voice artists.', 'mic', 3),
('visual-artist', 'Visual Artist', 'Illustrators, designers, photographers and film makers.', 'palette', 4),
('educator', 'Educator', 'Teachers, coaches and mentors.', 'graduation-cap', 5),
('content-creator', 'Content Creator', 'Streamers, video makers, podcasters and writers.', 'video', 6),
('industry-professional', 'Industry Professional', 'Managers, labels, promoters, lawyers.', 'briefcase', 7),
('music-tools-creator', 'Music Tools Creator', 'Makers of plug-ins, samples, presets and instruments.', 'wrench', 8)
on conflict (slug) do update set
name = excluded.name, description = excluded.description, icon = excluded.icon, sort_order = excluded.sort_order;

-- sql/10_identity/30_artist_profiles.sql ------------------------------------------------------------------------------
-- The artist side of a profile: whoever performs, paints or consults adds one.

create table public.artist_profiles (
    user_id uuid not null default auth.uid(),
    artist_name text not null,
    genre text,
    banner_image_url public.http_url,
    website public.http_url,
    social_links jsonb not null default '{}',
    is_verified boolean not null default false,
    hourly_rate_cents bigint,
    currency character(3) not null default 'USD',
    total_plays bigint not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint artist_profiles_pkey primary key (user_id),
    constraint artist_profiles_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint artist_profiles_artist_name_check check (
        char_length(btrim(artist_name)) between 1 and 255 and artist_name !~ '[[:cntrl:]\u202A-\u202E\u2066-\u2069]'
    ),
    constraint artist_profiles_genre_check check (char_length(genre) between 1 and 64),
    -- Every value is an http(s) address: these end up in links.
    constraint artist_profiles_social_links_check check (
        jsonb_typeof(social_links) = 'object'
        and octet_length(social_links::text) <= 8192
        and not jsonb_path_exists(
            social_links, 'strict $.* ? (@.type() != "string" || !(@ like_regex "^https?://[^[:space:]\"<>]+$"))'
        )
    ),
    constraint artist_profiles_hourly_rate_cents_check check (
        hourly_rate_cents = 0 or hourly_rate_cents between 50 and 99999999
    ),
    constraint artist_profiles_total_plays_check check (total_plays >= 0)
);

create index artist_profiles_genre_idx on public.artist_profiles (genre);

comment on table public.artist_profiles is
'Artist extension of a profile, readable by whoever may read the profile. Name, picture and text about the person are '
'on profiles.';
comment on column public.artist_profiles.user_id is 'Whose; always the caller.';
comment on column public.artist_profiles.artist_name is 'Stage name, at most 255 characters.';
comment on column public.artist_profiles.genre is 'Main genre in the artist''s words.';
comment on column public.artist_profiles.banner_image_url is 'Banner of the artist page, http(s) only.';
comment on column public.artist_profiles.website is 'The artist''s site, http(s) only.';
comment on column public.artist_profiles.social_links is
'Network name to http(s) address, for example {"instagram": "https://instagram.com/x"}.';
comment on column public.artist_profiles.is_verified is
'Verified badge. Given by verify_artist() only; a change of artist_name takes it away.';
comment on column public.artist_profiles.hourly_rate_cents is
'Price of an hour''s consultation, cents; null offers none, 0 is free.';
comment on column public.artist_profiles.currency is 'ISO 4217, of hourly_rate_cents.';
comment on column public.artist_profiles.total_plays is 'Counted plays of all tracks; kept by the server.';

create trigger touch_updated_at
before update of artist_name, genre, banner_image_url, website, social_links, hourly_rate_cents, is_verified
on public.artist_profiles
for each row execute function private.touch_updated_at();

-- The badge vouches for a name; another name has to be vouched for again.
create function private.drop_verification() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.is_verified := false;
    return new;
end
$$;
comment on function private.drop_verification() is 'Trigger: a renamed artist loses the verified badge.';

create trigger drop_verification
before update of artist_name on public.artist_profiles
for each row
when (old.artist_name is distinct from new.artist_name)
execute function private.drop_verification();

create function public.verify_artist(user_id uuid, verified boolean) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    update public.artist_profiles as a set is_verified = coalesce(verified, false)
    where a.user_id = verify_artist.user_id;
    if not found then
        perform private.fail('user_not_found', verify_artist.user_id::text);
    end if;
    perform private.audit(
        'verify_artist', 'artist_profiles', verify_artist.user_id, jsonb_build_object('verified', verified)
    );
end
$$;
comment on function public.verify_artist(uuid, boolean) is 'Admins: gives or takes the verified badge; audited.';
grant execute on function public.verify_artist(uuid, boolean) to authenticated;

alter table public.artist_profiles enable row level security;
revoke all on public.artist_profiles from anon, authenticated, service_role;
grant select on public.artist_profiles to anon, authenticated, service_role;
grant insert (artist_name, genre, banner_image_url, website, social_links, hourly_rate_cents)
on public.artist_profiles to authenticated;
grant update (artist_name, genre, banner_image_url, website, social_links, hourly_rate_cents)
on public.artist_profiles to authenticated;
grant delete on public.artist_profiles to authenticated;

-- Read through the profile's own policy: hidden profile, hidden artist page.
create policy artist_profiles_select_anon on public.artist_profiles for select to anon
using (exists (select from public.profiles as p where p.id = user_id));
create policy artist_profiles_select on public.artist_profiles for select to authenticated
using (exists (select from public.profiles as p where p.id = user_id));
create policy artist_profiles_insert on public.artist_profiles for insert to authenticated
with check (user_id = (select private.member_id()));
create policy artist_profiles_update on public.artist_profiles for update to authenticated
using (user_id = (select private.member_id()))
with check (user_id = (select private.member_id()));
create policy artist_profiles_delete on public.artist_profiles for delete to authenticated
using (user_id = (select private.member_id()));

-- sql/10_identity/40_sign_up.sql --------------------------------------------------------------------------------------
-- Sign-up: whoever appears in auth.users gets a profile, settings, the basic creator plan and a wallet in the same
-- transaction. Metadata is user input: it suggests names and a picture, and never sets a role, tier or badge. Whatever
-- it holds, the sign-up succeeds.

create function private.metadata_text(metadata jsonb, keys text[]) returns setof text
language sql
immutable
set search_path = ''
as $$
    -- Cut before anything else looks at it: the value may be megabytes.
    select left(metadata ->> k.key, 300)
    from unnest(keys) with ordinality as k (key, position)
    where
        jsonb_typeof(metadata) = 'object'
        and jsonb_typeof(metadata -> k.key) = 'string'
        and btrim(left(metadata ->> k.key, 300)) <> ''
    order by k.position
$$;
comment on function private.metadata_text(jsonb, text[]) is
'The texts of sign-up metadata under these keys, in their order, at most 300 characters each. Other types are skipped.';

create function private.suggest_username(value text) returns text
language sql
stable
set search_path = ''
as $$
    select case
        -- What is valid stays as it was typed, letter case included.
        when btrim(value) ~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$' then btrim(left(btrim(value), 30), '.-')
        else btrim(left(btrim(regexp_replace(
            lower(extensions.unaccent('extensions.unaccent'::regdictionary, left(value, 300))), '[^a-z0-9_]+', '-', 'g'
        ), '-'), 30), '-')
    end
$$;
comment on function private.suggest_username(text) is
'A text turned into username characters, at most 30; may be shorter than 3 or empty (emoji, other scripts).';

create function private.create_profile(user_id uuid, email text, metadata jsonb) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    base text;
    candidate text;
    name text;
    picture text;
begin
    base := coalesce(
        (
            select s from private.metadata_text(
                metadata, array['username', 'user_name', 'preferred_username', 'preferred_name', 'nickname']
            ) as t
            cross join lateral private.suggest_username(t) as s
            where s <> ''
            limit 1
        ),
        nullif(private.suggest_username(split_part(email, '@', 1)), ''),
        'user'
    );

    select btrim(left(btrim(regexp_replace(t, '[[:cntrl:]\u202A-\u202E\u2066-\u2069]+', ' ', 'g')), 80)) into name
    from private.metadata_text(metadata, array['display_name', 'full_name', 'name']) as t
    limit 1;

    select t into picture
    from unnest(array['avatar_url', 'picture']) as k (key)
    cross join lateral (values (left(metadata ->> k.key, 2049))) as v (t)
    where
        jsonb_typeof(metadata) = 'object' and jsonb_typeof(metadata -> k.key) = 'string'
        and t ~ '^https?://[^[:space:][:cntrl:]"<>\\^`{|}]+$' and char_length(t) <= 2048
    limit 1;

    -- A wish that is reserved, too short or taken gets a suffix, at last a name from the id itself. The insert decides
    -- what is taken: of two sign-ups with one name at the same instant the second waits here and goes on to a suffix.
    for attempt in 0..12 loop
        candidate := case
            when attempt = 0 then base
            when attempt < 4 then btrim(left(base, 25), '.-') || '-' || left(gen_random_uuid()::text, 4)
            when attempt < 8 then btrim(left(base, 20), '.-') || '-' || left(gen_random_uuid()::text, 8)
            else 'user-' || left(replace(gen_random_uuid()::text, '-', ''), 20)
        end;
        continue when private.username_problem(candidate) is not null;
        insert into public.profiles as p (id, username, display_name, avatar_url)
        values (user_id, candidate, nullif(name, ''), picture)
        on conflict do nothing;
        exit when found or exists (select from public.profiles as p where p.id = user_id);
    end loop;
end
$$;
comment on function private.create_profile(uuid, text, jsonb) is
'Creates the profile of a new account under a valid, unique username near the wished one.';

create function private.handle_new_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    begin
        perform private.create_profile(new.id, new.email, new.raw_user_meta_data);
    exception when others then
        -- Nothing known leads here. If something does, a person still gets an account, with a neutral name.
        raise warning 'sign-up metadata of % ignored: %', new.id, sqlerrm;
        perform private.create_profile(new.id, null, null);
    end;
    insert into public.profile_settings (user_id) values (new.id) on conflict do nothing;
    insert into public.subscriptions (user_id, family, plan_key, current_period_start)
    values (new.id, 'creator', 'creator_basic', now()) on conflict do nothing;
    perform private.create_wallet(new.id);
    return null;
end
$$;
comment on function private.handle_new_user() is
'Trigger on auth.users: provisions profile, settings, basic plan and wallet of a new account.';

create trigger avenue_sign_up after insert on auth.users
for each row execute function private.handle_new_user();

-- sql/10_identity/50_account_deletion.sql -----------------------------------------------------------------------------
-- The end of an account, and the copy of it its owner may take. Deleting a row of auth.users always works, whoever does
-- it: nothing refers to auth.users. What is personal is erased at once, stored files by the workers; what the books
-- refer to stays under a name that says nothing.

create table private.file_erasures (
    user_id uuid not null,
    requested_at timestamptz not null default now(),
    completed_at timestamptz,
    constraint file_erasures_pkey primary key (user_id)
);

create index file_erasures_requested_at_idx on private.file_erasures (requested_at) where completed_at is null;

comment on table private.file_erasures is
'Accounts whose stored files have to go. The job erase_user_files is only the wake-up; this row is the truth.';
comment on column private.file_erasures.user_id is 'The deleted account; its folder in every bucket.';
comment on column private.file_erasures.requested_at is 'When the account was deleted.';
comment on column private.file_erasures.completed_at is 'When nothing was left to erase; null until then.';
alter table private.file_erasures enable row level security;

create function private.erase_account(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Items before the profile: the order in which a seller's own changes take their locks.
    perform private.erase_products(erase_account.user_id);
    perform private.erase_artworks(erase_account.user_id);

    -- Unlists what is left and ends membership.
    update public.profiles as p set
        username = 'deleted-' || left(encode(sha256(uuid_send(p.id)), 'hex'), 22),
        display_name = null, full_name = null, bio = null, avatar_url = null, banner_url = null, smart_link = null,
        website_url = null, experience_level = null, role = 'member', profile_visibility = 'members_only',
        is_partner_account = false, deleted_at = now()
    where p.id = erase_account.user_id and p.deleted_at is null;

    delete from public.profile_settings as s where s.user_id = erase_account.user_id;
    delete from public.artist_profiles as a where a.user_id = erase_account.user_id;
    delete from public.bans as b where b.user_id = erase_account.user_id;
    delete from public.cart_items as c where c.user_id = erase_account.user_id;
    update public.orders as o set shipping_address = null, notes = null
    where o.user_id = erase_account.user_id and (o.shipping_address is not null or o.notes is not null);
    -- What a provider collects has to be ended there first; until then its row keeps the profile.
    delete from public.subscriptions as s where s.user_id = erase_account.user_id and s.provider is null;

    insert into private.file_erasures as f (user_id) values (erase_account.user_id)
    on conflict on constraint file_erasures_pkey do update set requested_at = now(), completed_at = null;
    begin
        perform private.enqueue('erase_user_files', jsonb_build_object('user_id', erase_account.user_id));
    exception when others then
        -- The workers' sweep finds the row above.
        raise warning 'erase_user_files not queued: %', sqlerrm;
    end;

    -- Without any financial history nothing of the account is left. The foreign keys know best what history is.
    begin
        -- A sale that is just settling holds the wallet: wait, then look.
        perform from public.wallets as w where w.user_id = erase_account.user_id for update;
        if not exists (
            select from ledger.entries as e
            inner join ledger.accounts as a on a.id = e.account_id
            where a.owner_id = erase_account.user_id
        ) then
            delete from ledger.accounts as a where a.owner_id = erase_account.user_id;
            delete from public.wallets as w where w.user_id = erase_account.user_id;
            delete from public.profiles as p where p.id = erase_account.user_id;
        end if;
    exception when foreign_key_violation or restrict_violation then
        null;
    end;
end
$$;
comment on function private.erase_account(uuid) is
'Erases the personal data of an account and takes its items off sale. The profile goes too when neither orders, '
'payments, entitlements nor ledger entries refer to it; else it stays as deleted-….';

create function private.handle_deleted_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.erase_account(old.id);
    return null;
end
$$;
comment on function private.handle_deleted_user() is 'Trigger on auth.users: erases the account''s personal data.';

create trigger avenue_account_deletion after delete on auth.users
for each row execute function private.handle_deleted_user();

-- The admin API can also delete "softly": it keeps an emptied row and sets deleted_at.
create trigger avenue_account_soft_deletion after update of deleted_at on auth.users
for each row
when (old.deleted_at is null and new.deleted_at is not null)
execute function private.handle_deleted_user();

create function public.delete_my_account() returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Also for banned users: leaving is a right, not a membership. Money that is owed stays in the books.
    delete from auth.users as u where u.id = auth.uid();
    if not found then
        perform private.fail('not_signed_in');
    end if;
end
$$;
comment on function public.delete_my_account() is
'Deletes the caller''s account: personal data and files are erased, what the books need stays anonymised. Cannot be '
'undone. Works for banned users too.';
grant execute on function public.delete_my_account() to authenticated;

create table private.personal_data (
    section text not null,
    relation text not null,
    condition text not null,
    constraint personal_data_pkey primary key (section)
);
comment on table private.personal_data is
'What export_my_data() hands out: each aggregate that holds personal data adds its row on its page.';
comment on column private.personal_data.section is 'Key in the export.';
comment on column private.personal_data.relation is 'Schema-qualified relation; one that does not exist is skipped.';
comment on column private.personal_data.condition is 'SQL condition on its rows; $1 is the user''s id.';
alter table private.personal_data enable row level security;

create function public.export_my_data() returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := auth.uid();
    part private.personal_data;
    found_rows jsonb;
    result jsonb;
begin
    -- Also for banned users: everybody may have a copy of what is stored about them.
    select jsonb_build_object(
        'exported_at', now(),
        'account', jsonb_build_object(
            'id', u.id, 'email', u.email, 'phone', u.phone, 'metadata', u.raw_user_meta_data,
            'created_at', u.created_at, 'last_sign_in_at', u.last_sign_in_at
        )
    ) into result
    from auth.users as u where u.id = caller;
    if result is null then
        perform private.fail('not_signed_in');
    end if;
    for part in select * from private.personal_data as d order by d.section loop
        continue when to_regclass(part.relation) is null;
        execute format(
            'select coalesce(jsonb_agg(to_jsonb(t)), ''[]'') from %s as t where %s',
            to_regclass(part.relation), part.condition
        ) into found_rows using caller;
        result := result || jsonb_build_object(part.section, found_rows);
    end loop;
    return result;
end
$$;
comment on function public.export_my_data() is
'Everything stored about the caller as one JSON object: the account and one array per kind of record.';
grant execute on function public.export_my_data() to authenticated;

insert into private.personal_data (section, relation, condition) values
('profile', 'public.profiles', 't.id = $1'),
('settings', 'public.profile_settings', 't.user_id = $1'),
('artist_profile', 'public.artist_profiles', 't.user_id = $1'),
('ban', 'public.bans', 't.user_id = $1'),
('subscriptions', 'public.subscriptions', 't.user_id = $1'),
('cart_items', 'public.cart_items', 't.user_id = $1'),
('orders', 'public.orders', 't.user_id = $1'),
('order_items', 'public.order_items', 't.buyer_id = $1'),
('purchases', 'public.purchases', 't.buyer_id = $1'),
('payments', 'public.payments', 't.user_id = $1'),
('transactions', 'public.transactions', 't.buyer_id = $1 or t.seller_id = $1'),
('refunds', 'public.refunds', 't.payment_id in (select p.id from public.payments as p where p.user_id = $1)'),
('wallet', 'public.wallets', 't.user_id = $1'),
('payouts', 'public.payouts', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;
