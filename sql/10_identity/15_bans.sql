-- Who may not take part, and why. A row is the ban; removing it ends the ban.

create table public.bans (
    user_id uuid not null,
    reason text not null,
    created_at timestamptz not null default now(),
    constraint bans_pkey primary key (user_id),
    constraint bans_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint bans_platform_check check (not private.is_platform(user_id)),
    constraint bans_reason_check check (char_length(reason) between 1 and 1000)
);

-- What a client that breaks these by ban_user() is told, see error_catalog().
comment on constraint bans_platform_check on public.bans is 'user_not_found: The platform itself is nobody to ban.';
comment on constraint bans_reason_check on public.bans is
'reason_required: The reason of a ban has 1 to 1,000 characters.';

comment on table public.bans is
'Current bans. Admins and the banned user read, so who decided is in audit_log only, with past bans. Written by '
'ban_user() and unban_user().';
comment on column public.bans.reason is 'Told to the banned user; at most 1,000 characters.';

-- A ban outlives the account: deleting it and signing up again with the same address does not end it. Kept for this
-- purpose alone, for as long as the ban lasts, is a keyed hash of the address, which nobody can read the address from;
-- whether it is still needed is reviewed yearly (docs/runbook.md).
create table private.ban_key (
    singleton boolean not null default true,
    key bytea not null default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    constraint ban_key_pkey primary key (singleton),
    constraint ban_key_singleton_check check (singleton)
);
comment on table private.ban_key is 'The secret of banned_addresses, made at installation; exactly one row.';
comment on column private.ban_key.singleton is 'Always true: keeps the table at one row.';
comment on column private.ban_key.key is '32 random bytes. Without it the hashes cannot be compared with any address.';
alter table private.ban_key enable row level security;
insert into private.ban_key (singleton) values (true);

create table private.banned_addresses (
    address_hash bytea not null,
    user_id uuid,
    banned_at timestamptz not null default now(),
    review_at timestamptz not null default now() + interval '1 year',
    constraint banned_addresses_pkey primary key (address_hash)
);
create index banned_addresses_user_id_idx on private.banned_addresses (user_id);
create index banned_addresses_review_at_idx on private.banned_addresses (review_at);
comment on table private.banned_addresses is
'Purpose: that a banned person does not come back by deleting the account and signing up again. Keyed hashes of banned '
'e-mail addresses and phone numbers, kept for as long as the ban, reviewed yearly. The erasure of the account leaves '
'the hash and the dates.';
comment on column private.banned_addresses.address_hash is 'See address_hash().';
comment on column private.banned_addresses.user_id is 'The banned account while it exists. No foreign key.';
comment on column private.banned_addresses.review_at is 'When to ask whether the ban is still needed.';
alter table private.banned_addresses enable row level security;

create function private.address_hash(address text) returns bytea
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    plain text := lower(regexp_replace(normalize(address, nfkc), '[[:space:][:cntrl:]]', '', 'g'));
    mailbox text := split_part(plain, '@', 1);
    domain text := substr(plain, strpos(plain, '@') + 1);
    key bytea := (select k.key from private.ban_key as k);
begin
    if plain = '' or plain is null then
        return null;
    elsif strpos(plain, '@') > 0 then
        -- One mailbox has many spellings: ana+1@…, and at some providers a.n.a@….
        mailbox := split_part(mailbox, '+', 1);
        if domain in ('gmail.com', 'googlemail.com') then
            mailbox := replace(mailbox, '.', '');
            domain := 'gmail.com';
        end if;
        plain := 'mailto:' || mailbox || '@' || domain;
    else
        plain := 'tel:' || regexp_replace(plain, '[^0-9]', '', 'g');
    end if;
    return sha256(key || sha256(key || convert_to(plain, 'UTF8')));
end
$$;
comment on function private.address_hash(text) is
'Keyed hash of an e-mail address (without case, +tag and, at Gmail, dots) or phone number (digits only); null of none.';

create function private.is_banned_address(email text, phone text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from private.banned_addresses as a
        where a.address_hash in (private.address_hash(email), private.address_hash(phone))
    );
end
$$;
comment on function private.is_banned_address(text, text) is 'Whether a ban holds this e-mail address or phone number.';

create function private.keep_ban(user_id uuid, email text, phone text) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Whatever goes wrong here, the account goes.
    if exists (select from public.bans as b where b.user_id = keep_ban.user_id) then
        insert into private.banned_addresses (address_hash)
        select h.hash from (values (private.address_hash(email)), (private.address_hash(phone))) as h (hash)
        where h.hash is not null
        on conflict do nothing;
    end if;
    update private.banned_addresses as a set user_id = null where a.user_id = keep_ban.user_id;
exception when others then
    raise warning 'the ban of % is not kept: %', keep_ban.user_id, sqlerrm;
end
$$;
comment on function private.keep_ban(uuid, text, text) is
'An account ends: of its ban only the hashes of its addresses stay, and nothing that says whose they are.';

create function private.mirror_ban() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' then
        insert into private.banned_addresses as a (address_hash, user_id)
        select h.hash, u.id
        from auth.users as u
        cross join lateral (
            values (private.address_hash(u.email)), (private.address_hash(u.phone))
        ) as h (hash)
        where u.id = new.user_id and h.hash is not null
        on conflict on constraint banned_addresses_pkey do update set user_id = excluded.user_id;
    else
        delete from private.banned_addresses as a where a.user_id = old.user_id;
    end if;
    update public.profiles set is_banned = (tg_op = 'INSERT') where id = coalesce(new.user_id, old.user_id);
    return null;
end
$$;
comment on function private.mirror_ban() is
'Trigger: profiles.is_banned says whether a row in bans exists, and so does banned_addresses of the account''s '
'addresses.';

create trigger mirror_ban after insert or delete on public.bans
for each row execute function private.mirror_ban();

create function private.hold_profile(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.hold_rows('public.profiles', 't.id = $1', hold_profile.user_id);
end
$$;
comment on function private.hold_profile(uuid) is
'Locks a profile''s row for whoever moderates, see hold_rows().';

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
    perform private.hold_profile(ban_user.user_id);
    select * into target from public.profiles as p where p.id = ban_user.user_id and p.deleted_at is null;
    if target.id is null then
        perform private.fail('user_not_found', ban_user.user_id::text);
    end if;
    if target.role >= 'admin' then
        -- Shared with grant_role(): two super admins banning each other take turns, and the second is no member any
        -- more.
        perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
        perform private.require_rank_over(target.id);
    end if;
    insert into public.bans as b (user_id, reason) values (ban_user.user_id, coalesce(ban_user.reason, ''))
    on conflict on constraint bans_pkey do update set reason = excluded.reason;
    perform private.audit('ban_user', 'profile', ban_user.user_id, jsonb_build_object('reason', ban_user.reason));
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
    perform private.require_rank_over(unban_user.user_id);
    delete from public.bans as b where b.user_id = unban_user.user_id returning * into ended;
    if ended.user_id is not null then
        perform private.audit('unban_user', 'profile', unban_user.user_id, jsonb_build_object('reason', ended.reason));
    end if;
end
$$;
comment on function public.unban_user(uuid) is
'Admins: ends a ban; the items that were on sale are on sale again. Banned admins need a super admin. No ban, no '
'effect.';
grant execute on function public.unban_user(uuid) to authenticated;

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of reason on public.bans
for each row execute function private.tidy_texts('reason body required');
-- Who comes back is banned again, not refused: Auth answers as always, and only who has the address learns of it.
create function private.ban_again() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.is_banned_address(new.email, new.phone) then
        insert into public.bans (user_id, reason)
        select p.id, 'An earlier account with this address was banned.' from public.profiles as p
        where p.id = new.id and p.deleted_at is null
        on conflict do nothing;
        if found then
            perform private.audit('ban_returned', 'profile', new.id, '{}', 'sign-up');
        end if;
    end if;
    return null;
exception when others then
    -- Never in the way of Auth.
    raise warning 'whether % was banned before is not known: %', new.id, sqlerrm;
    return null;
end
$$;
comment on function private.ban_again() is
'Trigger on auth.users: an account whose address belongs to a ban is banned too.';

-- By their names after avenue_sign_up, which makes the profile.
create trigger avenue_sign_up_ban after insert on auth.users
for each row execute function private.ban_again();
create trigger avenue_sign_up_ban_changed after update of email, phone on auth.users
for each row
when ((old.email, old.phone) is distinct from (new.email, new.phone) and new.deleted_at is null)
execute function private.ban_again();

create function public.lift_address_ban(address text) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    lifted boolean;
begin
    perform private.require_admin();
    delete from private.banned_addresses as a
    where a.address_hash = private.address_hash(lift_address_ban.address) and a.user_id is null;
    lifted := found;
    if lifted then
        perform private.audit('lift_address_ban', 'banned_address', null);
    end if;
    return lifted;
end
$$;
comment on function public.lift_address_ban(text) is
'Admins: forgets the ban of an account that was deleted, by the e-mail address or phone number its owner gives; '
'whether '
'there was one. Of an account that exists unban_user() ends it.';
grant execute on function public.lift_address_ban(text) to authenticated;

create function private.review_address_bans(keep boolean default null)
returns table (banned_at timestamptz, review_at timestamptz, account_exists boolean)
language plpgsql
security definer
set search_path = ''
as $$
begin
    return query
    select a.banned_at, a.review_at, a.user_id is not null from private.banned_addresses as a
    where a.review_at <= now()
    order by a.review_at;
    if keep then
        update private.banned_addresses as a set review_at = now() + interval '1 year' where a.review_at <= now();
    elsif not keep then
        delete from private.banned_addresses as a where a.review_at <= now() and a.user_id is null;
    end if;
end
$$;
comment on function private.review_address_bans(boolean) is
'Operators, yearly: the address bans that are due for review. With keep true they stay for another year; with false '
'those of accounts that do not exist any more are forgotten.';

alter table public.bans enable row level security;
grant select on public.bans to authenticated, service_role;

-- auth.uid(), not membership: a banned user is no member and must still learn why.
create policy bans_select on public.bans for select to authenticated
using (user_id = (select auth.uid()) or (select private.is_admin()));

insert into private.erasure_steps (step, phase, erases, statement) values
('bans', 'business', '{public.bans}', 'delete from public.bans where user_id = $1');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('banned_address', 'private.banned_addresses', null, null, '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('ban', 'public.bans', 't.user_id = $1', '{}', null),
('banned_addresses', 'private.banned_addresses',
    null, '{user_id}', 'hashes that repeat the ban; keep_ban() takes the account off when it ends');

insert into private.error_codes (code, sqlstate, message, description) values
('cannot_ban_yourself', 'PT409', 'You cannot ban yourself.', 'Ask another admin, or delete the account.');
