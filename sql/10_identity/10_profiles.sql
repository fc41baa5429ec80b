-- Who is here. One row per account, the same id as auth.users, readable by others as far as its owner allows.
-- There is no foreign key to auth.users: an account can always be deleted, its financial history stays.

create type public.user_role as enum ('member', 'author', 'admin', 'super_admin');
comment on type public.user_role is
'Ascending: author writes articles, admin moderates, super_admin also appoints.';

create type public.experience_level as enum ('beginner', 'intermediate', 'professional', 'veteran');
comment on type public.experience_level is 'Self-declared.';

create type public.profile_visibility as enum ('public', 'members_only', 'private');
comment on type public.profile_visibility is 'Who may read a profile: everybody, signed-in members, only its owner.';

create type public.audience as enum ('public', 'members', 'group', 'owner');
comment on type public.audience is
'Who may read a contribution: everybody, signed-in members, active members of its group, only its author (and admins). '
'Blocks narrow each further.';

-- Only http and https, no spaces or markup characters: what ends up in an href or src is never javascript: or data:.
-- Nothing invisible and no direction overrides: where a link leads is what it shows.
create domain public.http_url as text
constraint http_url_check check (
    value ~ '^https?://[^[:space:][:cntrl:]"<>\\^`{|}]+$' and char_length(value) <= 2048
    and private.hides_nothing(value)
);
comment on constraint http_url_check on domain public.http_url is
'invalid_url: An address begins with http:// or https:// and has at most 2,048 characters, no spaces, all visible.';
comment on domain public.http_url is 'Absolute http(s) address of at most 2,048 characters.';

create domain public.http_urls as text[]
constraint http_urls_check check (
    array_to_string(value, ' ', '') ~ '^(https?://[^[:space:][:cntrl:]"<>\\^`{|}]+( |$))*$'
    and array_position(value, null) is null
    and cardinality(value) <= 30
    and char_length(array_to_string(value, ' ')) <= 30720
    and private.hides_nothing(array_to_string(value, ' ', ''))
);
comment on constraint http_urls_check on domain public.http_urls is
'invalid_url: At most 30 addresses, each beginning with http:// or https://.';
comment on domain public.http_urls is 'At most 30 absolute http(s) addresses.';

create function private.is_http_url(value text) returns boolean
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    -- The domain says what an address is.
    perform value::public.http_url;
    return true;
exception when check_violation then
    return false;
end
$$;
comment on function private.is_http_url(text) is 'Whether a text can be stored as an http_url.';

create function private.is_username(value text) returns boolean
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    return value ~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$' and char_length(value) between 3 and 30;
end
$$;
comment on function private.is_username(text) is
'Whether a username is made as they have to be, reserved or not. Null for null.';

create function private.is_smart_link(value text) returns boolean
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    return value ~* '^https?://(www\.)?rolink\.me/[^[:space:][:cntrl:]"<>\\]*$' and private.hides_nothing(value);
end
$$;
comment on function private.is_smart_link(text) is 'Whether this is an address at rolink.me. Null for null.';
grant execute on function private.is_username(text), private.is_smart_link(text) to authenticated;

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
    is_confirmed boolean not null default false,
    followers_count integer not null default 0,
    following_count integer not null default 0,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Pictures come on a later page, which makes them refer to media.
    avatar_media_id uuid,
    banner_media_id uuid,
    constraint profiles_pkey primary key (id),
    constraint profiles_username_check check (private.is_username(username::text)),
    constraint profiles_display_name_check check (char_length(display_name) between 1 and 80),
    constraint profiles_full_name_check check (char_length(full_name) between 1 and 100),
    constraint profiles_bio_check check (char_length(bio) <= 5000),
    constraint profiles_smart_link_check check (private.is_smart_link(smart_link) and char_length(smart_link) <= 500),
    constraint profiles_counts_check check (
        followers_count >= 0 and following_count >= 0
    )
)
-- Counters are rewritten often and no index holds them: room on the page keeps those updates HOT.
with (fillfactor = 85);

-- Its condition always holds: an index that has one is no key that others refer to, so neither a new name nor the end
-- of an account waits for those who just refer to the row.
create unique index profiles_username_key on public.profiles (username) where username is not null;
-- Not unique, username is: a unique generated column is a key that every update of the row might change, so each would
-- lock it against whoever refers to it.
create index profiles_handle_idx on public.profiles (handle);
create index profiles_created_at_idx on public.profiles (created_at desc);
-- Few rows: who may act as an admin.
create index profiles_role_idx on public.profiles (role) where role <> 'member';

-- What a client that breaks these is told, see error_catalog().
comment on constraint profiles_bio_check on public.profiles is 'invalid_bio: A bio has at most 5,000 characters.';
comment on constraint profiles_display_name_check on public.profiles is
'invalid_name: A display name has 1 to 80 characters.';
comment on constraint profiles_full_name_check on public.profiles is
'invalid_name: A full name has 1 to 100 characters.';
comment on constraint profiles_smart_link_check on public.profiles is
'invalid_smart_link: A smart link is a rolink.me address of at most 500 characters.';
comment on constraint profiles_username_check on public.profiles is
'username_invalid: Usernames have 3 to 30 characters of A-Z a-z 0-9 _ . - and begin and end with none of . and -.';
comment on index public.profiles_username_key is
'username_taken: Somebody just took this username; choose another.';

comment on table public.profiles is
'Public face and standing of an account; created by sign-up, anonymised or removed by account deletion. Readable by '
'others as profile_visibility allows; the owner writes the descriptive columns only.';
comment on column public.profiles.id is 'auth.users.id. No foreign key: financial history outlives the account.';
comment on column public.profiles.username is
'Handle in addresses: 3 to 30 of A-Z a-z 0-9 _ . -, starting and ending with a letter, digit or _. Unique whatever '
'the case; deleted-, reserved words however they are dressed up, and what another account gave up lately are refused.';
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
comment on column public.profiles.profile_visibility is
'Who may read this row; the owner decides, with set_profile_visibility().';
comment on column public.profiles.is_partner_account is
'Counts as the plan creator_ultimate_for_friends. Written by set_partner_account() only.';
comment on column public.profiles.is_banned is
'Mirror of a row in bans, kept by trigger so that every membership check reads one row.';
comment on column public.profiles.is_confirmed is
'Whether the e-mail address or phone number of the account was confirmed; mirrored from auth.users. Until then nobody '
'else sees the profile or what it wrote.';
comment on column public.profiles.followers_count is 'How many follow this profile; kept by triggers.';
comment on column public.profiles.following_count is 'How many this profile follows; kept by triggers.';
comment on column public.profiles.deleted_at is
'When the account was deleted. The row stays, anonymised, while books refer to it.';

-- What the platform sells and owns itself is this profile's, see the end of the page. It has no account, so nobody
-- signs in with it; it has no wallet, and nobody finds, writes to, blocks or bans it: only what it sells is seen.
create function private.is_platform(user_id uuid) returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
    return user_id = uuid 'a7e0e000-0000-4000-8000-000000000000';
end
$$;
comment on function private.is_platform(uuid) is
'Whether this is the platform''s own profile. Only this function knows its id.';
grant execute on function private.is_platform(uuid) to anon, authenticated;

create function private.plain_name(username text) returns text
language sql
immutable
set search_path = ''
as $$
    -- 1, l and i look alike, so do rn and m.
    select replace(replace(
        translate(regexp_replace(lower(username), '[_.-]+', '', 'g'), '0134578l', 'oieastbi'), 'rn', 'm'
    ), 'vv', 'w')
$$;
comment on function private.plain_name(text) is
'A username without separators, digits and pairs of letters replaced by the letter they look like. For comparisons.';

create table private.reserved_usernames (
    username extensions.citext not null,
    is_official boolean not null default false,
    plain text not null generated always as (private.plain_name(username::text)) stored,
    constraint reserved_usernames_pkey primary key (username)
);
comment on table private.reserved_usernames is
'Names nobody may take: addresses of the application and words that look official.';
comment on column private.reserved_usernames.username is 'The refused name, whatever the case.';
comment on column private.reserved_usernames.is_official is
'Whether the word speaks for the platform: refused at the beginning of a name, too.';
comment on column private.reserved_usernames.plain is 'The name as plain_name() makes it.';
alter table private.reserved_usernames enable row level security;

create table private.freed_usernames (
    name_hash bytea not null,
    former_owner uuid,
    freed_at timestamptz not null default now(),
    constraint freed_usernames_pkey primary key (name_hash),
    constraint freed_usernames_former_owner_fkey foreign key (former_owner) references public.profiles (id)
    on delete set null
);

create index freed_usernames_former_owner_idx on private.freed_usernames (former_owner);
create index freed_usernames_freed_at_idx on private.freed_usernames (freed_at);

comment on table private.freed_usernames is
'Usernames that were given up less than settings.username_hold ago: links and mentions still mean their former owner, '
'so nobody else takes them yet. Older rows go when the next name is given up.';
comment on column private.freed_usernames.name_hash is
'SHA-256 of the name in lower case: enough to refuse it, and an erased account leaves no name behind.';
comment on column private.freed_usernames.former_owner is
'Who may take it back; null once that account was deleted.';
alter table private.freed_usernames enable row level security;

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
        where
            p.id = auth.uid() and p.deleted_at is null and not p.is_banned
            and (auth.jwt() ->> 'is_anonymous') is distinct from 'true'
    );
end
$$;
comment on function private.member_id() is
'The caller''s id while signed in with an account of their own (Auth''s anonymous sessions are none), not deleted and '
'not banned; else null. Policies write (select private.member_id()).';
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
            and p.role >= 'admin'
            and (auth.jwt() ->> 'is_anonymous') is distinct from 'true'
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
declare
    -- Read once: each look into the token parses it anew.
    me uuid := auth.uid();
begin
    return query
    select b.blocked_id from public.user_blocks as b where b.blocker_id = me
    union all
    select b.blocker_id from public.user_blocks as b where b.blocked_id = me
    union all
    -- Nobody's any more, though not everything of theirs says so yet, see account_changes.
    select c.user_id from private.account_changes as c where c.audience = 'owner' and c.user_id <> me;
end
$$;
comment on function private.blocked_ids() is
'Everybody the caller blocked or was blocked by: neither sees the other anywhere. Likewise who was banned, left or '
'withdrew from sight this moment.';
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
                or v.role >= 'admin'
                or not p.is_banned and p.is_confirmed
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
'Whether the viewer (null: a visitor) may know of the subject: a confirmed account that is neither deleted nor hidden '
'from them by its visibility, a ban or a block. Admins know everybody.';

create function private.can_see(user_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    -- An anonymous session sees what a visitor sees.
    return private.is_visible_to(
        can_see.user_id, case when (auth.jwt() ->> 'is_anonymous') is distinct from 'true' then auth.uid() end
    );
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
        when private.is_platform(author.id) then 'public'
        when author.is_banned or not author.is_confirmed or author.deleted_at is not null
            or author.profile_visibility = 'private' then 'owner'
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
        if auth.jwt() ->> 'is_anonymous' = 'true' then
            perform private.fail('account_required');
        end if;
        -- Says why.
        perform private.require_active(auth.uid());
    end if;
    return caller;
end
$$;
comment on function private.require_member() is
'The caller''s id, or fails with not_signed_in (401), account_required (403: an anonymous session) or banned (403). '
'First '
'line of every RPC for members.';
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

create function private.require_rank_over(user_id uuid) returns void
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    if require_rank_over.user_id is distinct from auth.uid() and exists (
        select from public.profiles as p where p.id = require_rank_over.user_id and p.role >= 'admin'
    ) then
        perform private.require_super_admin();
    end if;
end
$$;
comment on function private.require_rank_over(uuid) is
'For admins who act on somebody or their content: on other admins only super admins act (super_admin_only).';

create function private.is_reserved(username text) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    -- As written, and without the digits around it: admin2 is no other admin.
    with names as (
        select private.plain_name(is_reserved.username) as name, false as is_part
        union
        select private.plain_name(btrim(is_reserved.username, '0123456789_.-')), false
        union
        -- What it begins with: support.ana, avenue_help_desk, ad-min-x. (The end may be somebody's joke, the-admin.)
        select private.plain_name(btrim(array_to_string(w.words[1:n.words], ''), '0123456789')), true
        from regexp_split_to_array(btrim(is_reserved.username, '_.-'), '[_.-]+') as w (words)
        cross join generate_series(1, cardinality(w.words)) as n (words)
    )
    select
        exists (
            select from names as n
            inner join private.reserved_usernames as r on r.plain = n.name
            where
                r.is_official
                or not n.is_part
                and (
                    r.username::text = 'avenue'
                    -- Addresses of the application are no disguise: user5 is not users.
                    or replace(translate(lower(is_reserved.username), '.-', '__'), '_', '')
                    = replace(translate(lower(r.username::text), '.-', '__'), '_', '')
                )
        )
        -- Reserved words only, one of them the platform's own: avenue.sales, supportteam.
        or exists (
            select from names as n
            inner join private.reserved_usernames as a on starts_with(n.name, a.plain)
            inner join private.reserved_usernames as b on n.name = a.plain || b.plain
            where a.is_official or b.is_official or 'avenue' in (a.username::text, b.username::text)
        )
$$;
comment on function private.is_reserved(text) is
'Whether a username is a reserved word in other case or with separators, or one that speaks for the platform however '
'it is dressed up: digits for letters or around it, as the beginning of the name, joined with another reserved word.';

create function private.is_held_username(username text, user_id uuid default null) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from private.freed_usernames as f
        cross join private.settings as s
        where
            f.name_hash = sha256(convert_to(lower(is_held_username.username), 'UTF8'))
            and f.former_owner is distinct from is_held_username.user_id
            and f.freed_at > now() - s.username_hold
    )
$$;
comment on function private.is_held_username(text, uuid) is
'Whether another account than this one gave up the name a short time ago.';

create function private.username_problem(username text, user_id uuid default null) returns text
language sql
stable
security definer
set search_path = ''
as $$
    select case
        when private.is_username(username) is not true then 'username_invalid'
        when private.is_platform(user_id) then null
        when lower(username) like 'deleted-%' or private.is_reserved(username) then 'username_reserved'
        when private.is_held_username(username, user_id) then 'username_taken'
    end
$$;
comment on function private.username_problem(text, uuid) is
'Error code that speaks against this username for this account, null when none does. Whether somebody has it is not '
'looked at.';

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
        problem := case when new.deleted_at is null then private.username_problem(new.username::text, new.id) end;
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

    new.smart_link := nullif(btrim(new.smart_link), '');
    if new.smart_link !~* '^https?://' then
        new.smart_link := 'https://' || new.smart_link;
    end if;
    if not private.is_smart_link(new.smart_link) then
        perform private.fail('invalid_smart_link', left(new.smart_link, 200));
    end if;
    return new;
end
$$;
comment on function private.check_profile() is
'Trigger: refuses bad, reserved and taken usernames and foreign smart links with clear errors.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of display_name, full_name, bio on public.profiles
for each row execute function private.tidy_texts('display_name line', 'full_name line', 'bio body');

create trigger check_profile
before insert or update of username, smart_link on public.profiles
for each row execute function private.check_profile();

create function private.hold_freed_username() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.deleted_at is null then
        -- Whoever waited for a name to become free at this instant finds it held only now.
        if private.is_held_username(new.username::text, new.id) then
            perform private.fail('username_taken', new.username::text);
        end if;
        delete from private.freed_usernames as f
        where f.name_hash = sha256(convert_to(lower(new.username::text), 'UTF8'));
    end if;
    if tg_op = 'UPDATE' and lower(old.username::text) <> lower(new.username::text) then
        -- Each change keeps one more name from everybody else.
        if new.deleted_at is null then
            perform private.count_activity('username', 1);
        end if;
        delete from private.freed_usernames as f
        using private.settings as s
        where f.freed_at < now() - s.username_hold;
        insert into private.freed_usernames as f (name_hash, former_owner)
        values (
            sha256(convert_to(lower(old.username::text), 'UTF8')), case when new.deleted_at is null then new.id end
        )
        on conflict on constraint freed_usernames_pkey do update
        set former_owner = excluded.former_owner, freed_at = excluded.freed_at;
    end if;
    return null;
end
$$;
comment on function private.hold_freed_username() is
'Trigger: holds the name an account gives up, by renaming or leaving, and refuses names that are held. How many names '
'one account gives up in a time is limited.';

create trigger hold_freed_username after insert or update of username on public.profiles
for each row execute function private.hold_freed_username();

-- A ban, a change of visibility, the end of an account: each concerns everything somebody ever wrote, sells or is
-- counted
-- in. The profile's row changes at once and decides; what carries a copy of it follows in steps of some hundred rows,
-- each a transaction of its own. The first step is part of the change, so that hardly anybody waits for the workers.
-- Until the last one private.hidden_ids() keeps what is left from everybody's eyes.
-- A step takes locks in an order that suits no one. It gives up after a moment, well before PostgreSQL looks for
-- deadlocks (deadlock_timeout), so whoever meets it is never the one to fail: the workers try it again.
create table private.account_changes (
    user_id uuid not null,
    audience public.audience not null,
    requested_at timestamptz not null default now(),
    constraint account_changes_pkey primary key (user_id)
);

create index account_changes_requested_at_idx on private.account_changes (requested_at);

comment on table private.account_changes is
'Accounts whose standing, visibility or end has not reached everything of theirs. The job advance_account is only the '
'wake-up; this row is the truth.';
comment on column private.account_changes.user_id is 'The account. No foreign key: it may be about to go.';
comment on column private.account_changes.audience is 'Who may see what they wrote, see author_audience().';
alter table private.account_changes enable row level security;

create table private.standing_steps (
    step text not null,
    position integer not null,
    statement text not null,
    constraint standing_steps_pkey primary key (step)
);
comment on table private.standing_steps is
'What follows a change of somebody''s standing or visibility: each aggregate that carries a copy adds its step on its '
'page.';
comment on column private.standing_steps.step is 'Name, usually of the relation.';
comment on column private.standing_steps.position is 'Order, ascending: what others see most comes first.';
comment on column private.standing_steps.statement is
'Query of one integer, how many rows it changed; $1 is the user''s id, $2 how many it may change. Called until nothing '
'is left to change.';
alter table private.standing_steps enable row level security;

create function private.hidden_ids() returns setof uuid
language plpgsql
stable
security definer
set search_path = ''
rows 1
as $$
begin
    return query select c.user_id from private.account_changes as c where c.audience <> 'public';
end
$$;
comment on function private.hidden_ids() is
'Accounts whose contributions visitors must not see though some still say public: their standing or visibility has '
'just changed. For policies.';
grant execute on function private.hidden_ids() to anon;

create function private.advance_account(user_id uuid, max_rows integer default 500) returns boolean
language plpgsql
security definer
set search_path = ''
set lock_timeout = '100ms'
as $$
declare
    left_over integer := max_rows;
    step private.standing_steps;
    changed integer;
begin
    -- A change at this instant is waited for and then followed, or waits for this step and is followed by the next.
    perform from private.account_changes as c where c.user_id = advance_account.user_id for update;
    if not found then
        return true;
    end if;
    -- Counters are changed in this transaction, without waiting for those who wait for a row it holds.
    perform set_config('avenue.rows_held', 'on', true);
    for step in select * from private.standing_steps as s order by s.position, s.step loop
        execute step.statement into changed using advance_account.user_id, left_over;
        left_over := left_over - changed;
        if left_over <= 0 then
            return false;
        end if;
    end loop;
    if
        exists (select from public.profiles as p where p.id = advance_account.user_id and p.deleted_at is not null)
        and not private.advance_erasure(advance_account.user_id, left_over)
    then
        return false;
    end if;
    delete from private.account_changes as c where c.user_id = advance_account.user_id;
    return true;
end
$$;
comment on function private.advance_account(uuid, integer) is
'The next step of what follows a change of an account: changes or erases at most max_rows rows. True when nothing is '
'left to do. Fails (55P03) rather than wait for somebody for more than a moment.';
grant execute on function private.advance_account(uuid, integer) to avenue_worker;

create function private.account_changes_due(max_rows integer) returns table (user_id uuid)
language sql
stable
security definer
set search_path = ''
as $$
    select c.user_id from private.account_changes as c order by c.requested_at limit max_rows
$$;
comment on function private.account_changes_due(integer) is
'Accounts whose change is not through yet, longest first: what the workers'' sweep picks up.';
grant execute on function private.account_changes_due(integer) to avenue_worker;

create function private.follow_account() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    finished boolean := false;
begin
    insert into private.account_changes as c (user_id, audience) values (new.id, private.author_audience(new))
    on conflict on constraint account_changes_pkey
    do update set audience = excluded.audience, requested_at = now();
    begin
        finished := private.advance_account(new.id);
    exception when lock_not_available or deadlock_detected then
        -- Somebody is at it just now: nothing of this step happened, the workers take it from here.
        null;
    end;
    if not finished then
        perform private.enqueue(
            'advance_account', jsonb_build_object('user_id', new.id), null, 'account:' || new.id::text
        );
    end if;
    return null;
end
$$;
comment on function private.follow_account() is
'Trigger: what somebody wrote and sells follows their standing and visibility, see advance_account().';

create trigger follow_account after update of is_banned, is_confirmed, deleted_at, profile_visibility on public.profiles
for each row
when (
    (old.is_banned, old.is_confirmed, old.deleted_at, old.profile_visibility)
    is distinct from (new.is_banned, new.is_confirmed, new.deleted_at, new.profile_visibility)
)
execute function private.follow_account();

-- A function and no column to write: a request that changes it concerns one row, found before anything is locked.
create function public.set_profile_visibility(visibility public.profile_visibility) returns public.profiles
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    profile public.profiles;
begin
    if visibility is null then
        perform private.fail('visibility_required');
    end if;
    update public.profiles as p set profile_visibility = set_profile_visibility.visibility
    where p.id = caller
    returning * into profile;
    return profile;
end
$$;
comment on function public.set_profile_visibility(public.profile_visibility) is
'Who may see the caller''s profile and what they wrote and sell; the profile as it is now.';
grant execute on function public.set_profile_visibility(public.profile_visibility) to authenticated;

-- Counters and moderation do not make a profile look edited.
create trigger touch_updated_at
before update of
username, display_name, full_name, bio, avatar_url, banner_url, smart_link, website_url, experience_level, role,
profile_visibility, is_partner_account, deleted_at, avatar_media_id, banner_media_id
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
    -- Who is dismissed does not hold that up with a request of their own.
    perform private.hold_profile(grant_role.user_id);
    select p.role into before from public.profiles as p
    where p.id = grant_role.user_id and p.deleted_at is null;
    -- Two super admins dismissing each other at the same instant take turns here. After the row, which may be held by a
    -- slow request of its owner: nobody else's role waits for that.
    perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
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
        'set_role', 'profile', grant_role.user_id, jsonb_build_object('from', before, 'to', grant_role.role)
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
grant select on public.profiles to anon, authenticated, service_role;
grant update (
    username, display_name, full_name, bio, avatar_url, banner_url, smart_link, website_url, experience_level,
    avatar_media_id, banner_media_id
) on public.profiles to authenticated;

create policy profiles_select_anon on public.profiles for select to anon
using (profile_visibility = 'public' and not is_banned and is_confirmed);

-- One's own row is readable whatever the standing, so that an application can tell a banned user so.
create policy profiles_select on public.profiles for select to authenticated
using (
    (
        not is_banned and is_confirmed
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
('about'), ('abuse'), ('account'), ('accounts'), ('admin'), ('administrator'), ('admins'), ('anonymous'), ('api'),
('app'), ('articles'), ('artworks'), ('assets'), ('auth'), ('avenue'), ('billing'), ('blog'), ('care'), ('cart'),
('catalog'), ('checkout'), ('contact'), ('customercare'), ('customerservice'), ('dashboard'), ('deleted'), ('docs'),
('download'), ('downloads'), ('everyone'), ('explore'), ('favicon.ico'), ('feed'), ('followers'), ('following'),
('functions'), ('groups'), ('guest'), ('help'), ('home'), ('hostmaster'), ('images'), ('index'), ('info'), ('legal'),
('login'), ('logout'), ('mail'), ('me'), ('media'), ('messages'), ('mod'), ('moderation'), ('moderator'),
('moderators'), ('mods'), ('new'), ('news'), ('none'), ('noreply'), ('notifications'), ('null'), ('official'),
('operator'), ('orders'), ('owner'), ('pay'), ('payment'), ('payments'), ('payout'), ('payouts'), ('postmaster'),
('press'), ('pricing'), ('privacy'), ('products'), ('profile'), ('profiles'), ('public'), ('refund'), ('refunds'),
('register'), ('rest'), ('robots.txt'), ('root'), ('safety'), ('sales'), ('search'), ('security'), ('service'),
('services'), ('settings'), ('shop'), ('sign-in'), ('sign-up'), ('signin'), ('signup'), ('staff'), ('static'),
('status'), ('storage'), ('store'), ('super_admin'), ('superadmin'), ('support'), ('sysadmin'), ('system'), ('team'),
('terms'), ('trust'), ('undefined'), ('user'), ('users'), ('verification'), ('verified'), ('wallet'), ('webhooks'),
('webinars'), ('webmaster'), ('www');

update private.reserved_usernames set is_official = true
where username::text in (
    'admin', 'administrator', 'admins', 'customercare', 'customerservice', 'mod', 'moderation', 'moderator',
    'moderators', 'mods', 'official', 'staff', 'super_admin', 'superadmin', 'support', 'sysadmin'
);

insert into public.profiles (id, username, display_name, profile_visibility, is_confirmed) values
('a7e0e000-0000-4000-8000-000000000000', 'avenue', 'Avenue', 'private', true);

insert into private.erasure_steps (step, phase, erases, statement) values
('freed_usernames', 'records', '{private.freed_usernames.former_owner}',
    'update private.freed_usernames set former_owner = null where former_owner = $1'),
('profile', 'profile', '{public.profiles}', 'delete from public.profiles where id = $1');

-- SECURITY INVOKER on purpose: the policies say what the caller may read.
create function private.profile_can_read(ids uuid[]) returns setof uuid
language plpgsql
stable
set search_path = ''
as $$
begin
    return query
    select p.id from public.profiles as p where p.id = any (ids) and p.deleted_at is null
    union
    -- Many block first and report then: whom they blocked is on their own list.
    select b.blocked_id from public.user_blocks as b where b.blocked_id = any (ids);
end
$$;
comment on function private.profile_can_read(uuid[]) is 'Hook can_read: also whom the caller blocked.';
grant execute on function private.profile_can_read(uuid[]) to authenticated;

create function private.profile_evidence(ids uuid[], reader uuid) returns setof private.reported_content
language sql
stable
security definer
set search_path = ''
as $$
    select p.id, p.id, to_jsonb(p) from public.profiles as p where p.id = any (ids) and p.deleted_at is null
$$;
comment on function private.profile_evidence(uuid[], uuid) is 'Hook evidence: accounts that ended are nobody''s.';

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('profile', 'public.profiles', 'id', '/profiles/{id}', '{can_read,evidence}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('profile', 'public.profiles', 't.id = $1', '{}', null),
('freed_usernames', 'private.freed_usernames', 't.former_owner = $1', '{}', null),
('account_changes', 'private.account_changes',
    null, '{user_id}', 'the erasure itself, which removes it with its last step');

insert into private.error_codes (code, sqlstate, message, description) values
('not_signed_in', 'PT401', 'Please sign in.',
'The call needs a signed-in member. The session is missing, has ended, or its account was deleted.'),
('banned', 'PT403', 'This account is banned.',
'The account may not act on the platform. The reason is in the caller''s own row of bans.'),
('account_required', 'PT403', 'Please create an account.',
'An anonymous session looks around like a visitor; everything else needs an account.'),
('admin_only', 'PT403', 'Only admins can do this.', 'The caller''s role is neither admin nor super_admin.'),
('super_admin_only', 'PT403', 'Only super admins can do this.', 'The caller''s role is not super_admin.'),
('user_not_found', 'PT404', 'This user does not exist.', 'No account with that id, or it was deleted.'),
('last_super_admin', 'PT409', 'The last super admin cannot be dismissed.',
'Appoint another super admin first; otherwise nobody could appoint any more.'),
('visibility_required', 'PT400', 'Please choose who may see the profile.', 'public, members_only or private.'),
('username_invalid', 'PT400', 'This username is not valid.',
'Usernames have 3 to 30 characters of A-Z a-z 0-9 _ . - and start and end with a letter, a digit or _.'),
('username_reserved', 'PT409', 'This username is reserved.',
'The name is used by the platform, or looks as if it spoke for it. Choose another.'),
('username_taken', 'PT409', 'This username is taken.',
'Somebody else has it, perhaps in other letter case, or gave it up less than 90 days ago. Choose another. '
'When two people choose the same name at the same '
'instant the loser gets SQLSTATE 23505 instead.'),
('invalid_smart_link', 'PT400', 'A smart link must be a rolink.me address.',
'Only http(s)://rolink.me/… and www.rolink.me/… are accepted; a missing https:// is added.');
