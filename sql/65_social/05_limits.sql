-- How often somebody may do what reaches others: little while an account is fresh, more later. One counter for each
-- member and kind, counted where it happens; nobody but its owner's own requests waits for it.

create table private.activity_limits (
    kind text not null,
    fresh integer not null,
    established integer not null,
    period interval not null,
    description text not null,
    constraint activity_limits_pkey primary key (kind),
    constraint activity_limits_check check (fresh >= 0 and established >= fresh and period > '0 seconds')
);
comment on table private.activity_limits is
'The limits, data that an operator changes. Whether an account is fresh: settings.fresh_account_period.';
comment on column private.activity_limits.kind is 'What is counted.';
comment on column private.activity_limits.fresh is 'How many in a period while the account is fresh.';
comment on column private.activity_limits.established is 'How many later.';
comment on column private.activity_limits.period is 'Begins with the first one after the last period ended.';
comment on column private.activity_limits.description is 'For people.';
alter table private.activity_limits enable row level security;

insert into private.activity_limits (kind, fresh, established, period, description) values
('post', 20, 60, '1 minute', 'Posts'),
('comment', 60, 240, '1 minute', 'Comments'),
('mention', 30, 200, '1 hour', 'People mentioned'),
('contact', 20, 100, '1 day', 'Strangers written to or brought into a chat'),
('follow', 100, 500, '1 hour', 'People followed'),
('block', 100, 500, '1 hour', 'People blocked'),
('report', 20, 60, '1 hour', 'Reports'),
('group', 50, 200, '1 day', 'Groups founded'),
('invitation', 100, 500, '1 day', 'Invitations to groups'),
('username', 10, 10, '1 day', 'Usernames changed');

create table private.activity (
    user_id uuid not null,
    kind text not null,
    started_at timestamptz not null,
    count integer not null,
    constraint activity_pkey primary key (user_id, kind)
);
comment on table private.activity is 'What members did in the current period, by kind.';
comment on column private.activity.user_id is
'Whose. No foreign key: counting need not hold the profile; erased with the account.';
comment on column private.activity.kind is 'A row of activity_limits.';
comment on column private.activity.count is 'How many since then.';
alter table private.activity enable row level security;

create table private.lifted_limits (
    user_id uuid not null,
    until timestamptz not null default 'infinity',
    constraint lifted_limits_pkey primary key (user_id),
    constraint lifted_limits_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);
comment on table private.lifted_limits is 'Members without limits, see lift_limits().';
comment on column private.lifted_limits.until is 'Until when.';
alter table private.lifted_limits enable row level security;

create function private.activity_limit(user_id uuid, kind text) returns integer
language sql
stable
security definer
set search_path = ''
as $$
    select case when p.created_at > now() - s.fresh_account_period then l.fresh else l.established end
    from public.profiles as p
    cross join private.settings as s
    inner join private.activity_limits as l on l.kind = activity_limit.kind
    where
        p.id = activity_limit.user_id and p.role < 'admin'
        and not exists (
            select from private.lifted_limits as f where f.user_id = p.id and f.until > now()
        )
$$;
comment on function private.activity_limit(uuid, text) is 'How many this member may do in a period; null: no limit.';

create function private.utc(moment timestamptz) returns text
language sql
stable
set search_path = ''
as $$
    select to_char((moment + interval '1 second') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$$;
comment on function private.utc(timestamptz) is
'The next whole second in ISO 8601, UTC: for details of errors that say until when.';

create function private.count_activity(kind text, amount integer) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := auth.uid();
    most integer;
    span interval;
    counted private.activity;
begin
    -- Operators and workers act for nobody.
    if caller is null or amount < 1 then
        return;
    end if;
    most := private.activity_limit(caller, count_activity.kind);
    if most is null then
        return;
    end if;
    select l.period into span from private.activity_limits as l where l.kind = count_activity.kind;
    insert into private.activity as a (user_id, kind, started_at, count)
    values (caller, count_activity.kind, clock_timestamp(), amount)
    on conflict on constraint activity_pkey do update set
        started_at = case
            when a.started_at > excluded.started_at - span then a.started_at else excluded.started_at
        end,
        count = excluded.count + case when a.started_at > excluded.started_at - span then a.count else 0 end
    returning * into counted;
    if counted.count > most then
        perform private.fail('too_many_actions', private.utc(counted.started_at + span));
    end if;
end
$$;
comment on function private.count_activity(text, integer) is
'Counts what the caller does, or fails with too_many_actions, the detail saying until when. What fails counts nothing.';

create function private.bound_activity(kind text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    rows integer := coalesce(nullif(current_setting('avenue.rows_' || kind, true), ''), '0')::integer + 1;
begin
    perform set_config('avenue.rows_' || kind, rows::text, true);
    if auth.uid() is not null and rows > private.activity_limit(auth.uid(), kind) then
        perform private.fail('too_many_actions', private.utc(
            clock_timestamp() + (select l.period from private.activity_limits as l where l.kind = bound_activity.kind)
        ));
    end if;
end
$$;
comment on function private.bound_activity(text) is
'For rows that take locks before they are counted: one request takes no more of them than a period allows.';

create function private.limit_inserts() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- What a trigger writes is not what the caller asked for.
    if pg_trigger_depth() = 1 then
        perform private.count_activity(tg_argv[0], (select count(*)::integer from changed));
    end if;
    return null;
end
$$;
comment on function private.limit_inserts() is
'Trigger (kind): count_activity() for the rows of a statement. Named to fire last: nothing is waited for after it.';

create type public.activity_limit as (kind text, most integer, used integer, resets_at timestamptz);
comment on type public.activity_limit is
'A limit of the caller: how many in its period, how many of them are used, and when that starts anew (null: nothing is '
'used).';

create function public.my_limits() returns setof public.activity_limit
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    return query
    select l.kind, private.activity_limit(caller, l.kind), coalesce(a.count, 0), a.started_at + l.period
    from private.activity_limits as l
    left join private.activity as a on a.user_id = caller and a.kind = l.kind and a.started_at > now() - l.period
    where private.activity_limit(caller, l.kind) is not null
    order by l.kind;
end
$$;
comment on function public.my_limits() is
'The caller''s limits and what they have used of them; none for whom they were lifted.';
grant execute on function public.my_limits() to authenticated;

create function public.lift_limits(user_id uuid, until timestamptz default 'infinity') returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    perform from public.profiles as p where p.id = lift_limits.user_id and p.deleted_at is null for key share;
    if not found then
        perform private.fail('user_not_found', lift_limits.user_id::text);
    end if;
    delete from private.lifted_limits as f where f.user_id = lift_limits.user_id;
    insert into private.lifted_limits (user_id, until)
    select lift_limits.user_id, lift_limits.until where lift_limits.until > now()
    on conflict on constraint lifted_limits_pkey do update set until = excluded.until;
    perform private.audit('lift_limits', 'profile', lift_limits.user_id, jsonb_build_object('until', until));
end
$$;
comment on function public.lift_limits(uuid, timestamptz) is
'Admins: takes the limits off a member until then, for good by default; null puts them back. Audited.';
grant execute on function public.lift_limits(uuid, timestamptz) to authenticated;

insert into private.personal_data (section, relation, condition) values
('activity', 'private.activity', 't.user_id = $1'),
('lifted_limits', 'private.lifted_limits', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('activity', 'standing', '{private.activity}', 'delete from private.activity where user_id = $1'),
('lifted_limits', 'standing', '{private.lifted_limits}', 'delete from private.lifted_limits where user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_actions', 'PT429', 'Too many of these in a short time. Please wait.',
'The caller has used up a limit, which is lower while the account is fresh; see my_limits(). The detail says until '
'when (ISO 8601, UTC). One request for more than a whole period allows never passes: send less at once.');
