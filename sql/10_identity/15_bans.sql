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

create trigger change_standing_in_turn before insert or delete on public.bans
for each statement execute function private.change_standing_in_turn();

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
    perform private.take_standing_turn();
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
