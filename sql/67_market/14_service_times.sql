-- When services that are booked can be had. Their seller says once, in their own zone, on which hours of the week they
-- work and on which days it is otherwise; what is left of it, after everything that takes their time (busy_times), is
-- what anybody sees. Who buys such a service chooses a session: its time is taken from seller and buyer while the order
-- is paid, and kept once it is.

create table public.availability (
    user_id uuid not null default auth.uid(),
    time_zone text not null,
    slot_minutes smallint not null default 30,
    buffer_before_minutes smallint not null default 0,
    buffer_after_minutes smallint not null default 0,
    notice_minutes integer not null default 720,
    window_days smallint not null default 60,
    cancel_before_hours smallint not null default 24,
    updated_at timestamptz not null default now(),
    constraint availability_pkey primary key (user_id),
    constraint availability_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint availability_time_zone_check check (private.is_time_zone(time_zone)),
    constraint availability_slot_minutes_check check (slot_minutes between 5 and 480),
    constraint availability_buffers_check check (
        buffer_before_minutes between 0 and 240 and buffer_after_minutes between 0 and 240
    ),
    constraint availability_notice_minutes_check check (notice_minutes between 0 and 43200),
    constraint availability_window_days_check check (window_days between 1 and 365),
    constraint availability_cancel_before_hours_check check (cancel_before_hours between 0 and 720)
);

-- What a client that breaks these is told, see error_catalog().
comment on constraint availability_pkey on public.availability is
'already_done: It is there already; upsert to change it.';
comment on constraint availability_time_zone_check on public.availability is
'time_zone_not_known: There is no such time zone.';
comment on constraint availability_slot_minutes_check on public.availability is
'invalid_availability: Sessions begin every 5 to 480 minutes.';
comment on constraint availability_buffers_check on public.availability is
'invalid_availability: A buffer is from 0 to 240 minutes.';
comment on constraint availability_notice_minutes_check on public.availability is
'invalid_availability: Notice is from 0 to 43,200 minutes.';
comment on constraint availability_window_days_check on public.availability is
'invalid_availability: Bookings open 1 to 365 days ahead.';

comment on constraint availability_cancel_before_hours_check on public.availability is
'invalid_availability: A session can be cancelled until 0 to 720 hours before it.';

comment on table public.availability is
'How somebody''s booked services are offered; without a row none can be booked. Owner only; what is free everybody '
'learns from available_slots().';
comment on column public.availability.time_zone is
'Zone their hours and days are meant in, a name of the tz database: Europe/Berlin.';
comment on column public.availability.slot_minutes is
'A session can begin every so many minutes, counted from the beginning of their hours.';
comment on column public.availability.buffer_before_minutes is 'Minutes kept free before a session.';
comment on column public.availability.buffer_after_minutes is 'Minutes kept free after a session.';
comment on column public.availability.notice_minutes is 'A session begins at least so many minutes after it is booked.';
comment on column public.availability.window_days is 'And at most so many days (of 24 hours) after.';
comment on column public.availability.cancel_before_hours is
'Until so many hours before it a buyer cancels a session and has all the money back. Of what is booked from now on.';

create table public.availability_hours (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    weekday smallint not null,
    from_time time not null,
    until_time time not null,
    constraint availability_hours_pkey primary key (id),
    constraint availability_hours_user_id_weekday_from_time_key unique (user_id, weekday, from_time),
    constraint availability_hours_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade,
    constraint availability_hours_weekday_check check (weekday between 1 and 7),
    constraint availability_hours_times_check check (
        from_time < until_time and extract(second from from_time) = 0 and extract(second from until_time) = 0
    )
);

comment on constraint availability_hours_user_id_weekday_from_time_key on public.availability_hours is
'already_done: Hours that begin then are there already.';
comment on constraint availability_hours_weekday_check on public.availability_hours is
'invalid_availability: A weekday is from 1 (Monday) to 7.';
comment on constraint availability_hours_times_check on public.availability_hours is
'invalid_availability: Hours end after they begin, 24:00 at the latest, on full minutes.';

comment on table public.availability_hours is 'Hours of the week somebody can be booked on, in their zone. Owner only.';
comment on column public.availability_hours.weekday is 'Day of the week, 1 is Monday.';
comment on column public.availability_hours.from_time is 'From when, local time.';
comment on column public.availability_hours.until_time is 'Until when: a session has ended by then. 24:00 is midnight.';

create table public.availability_overrides (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    day date not null,
    from_time time,
    until_time time,
    constraint availability_overrides_pkey primary key (id),
    constraint availability_overrides_user_id_day_from_time_key unique nulls not distinct (user_id, day, from_time),
    constraint availability_overrides_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade,
    constraint availability_overrides_times_check check (
        num_nonnulls(from_time, until_time) <> 1
        and from_time < until_time and extract(second from from_time) = 0 and extract(second from until_time) = 0
    )
);

comment on constraint availability_overrides_user_id_day_from_time_key on public.availability_overrides is
'already_done: Hours of that day that begin then are there already.';
comment on constraint availability_overrides_times_check on public.availability_overrides is
'invalid_availability: Hours end after they begin, 24:00 at the latest, on full minutes; a closed day has none.';

comment on table public.availability_overrides is
'Days on which somebody''s hours are others than the week''s: all of that day''s rows instead of them, in their zone. '
'Owner only.';
comment on column public.availability_overrides.day is 'The day.';
comment on column public.availability_overrides.from_time is 'From when, local time; null: closed.';
comment on column public.availability_overrides.until_time is 'Until when: a session has ended by then.';

create function private.check_availability_limit() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    many boolean;
begin
    -- One at a time per person: they are counted.
    perform from public.profiles as p where p.id = new.user_id for no key update;
    if tg_table_name = 'availability_hours' then
        many := (select count(*) >= 50 from public.availability_hours as h where h.user_id = new.user_id);
    else
        many := (select count(*) >= 400 from public.availability_overrides as o where o.user_id = new.user_id);
    end if;
    if many then
        perform private.fail('too_many_hours');
    end if;
    return new;
end
$$;
comment on function private.check_availability_limit() is
'Trigger: at most 50 hours of the week and 400 of single days.';

create trigger touch_updated_at before update on public.availability
for each row execute function private.touch_updated_at();
create trigger check_availability_limit before insert on public.availability_hours
for each row execute function private.check_availability_limit();
create trigger check_availability_limit before insert on public.availability_overrides
for each row execute function private.check_availability_limit();

alter table public.availability enable row level security;
grant select on public.availability to authenticated, service_role;
grant
insert (
    time_zone, slot_minutes, buffer_before_minutes, buffer_after_minutes, notice_minutes, window_days,
    cancel_before_hours
),
update (
    time_zone, slot_minutes, buffer_before_minutes, buffer_after_minutes, notice_minutes, window_days,
    cancel_before_hours
),
delete
on public.availability to authenticated;
create policy availability_select on public.availability for select to authenticated
using (user_id = (select private.member_id()));
create policy availability_insert on public.availability for insert to authenticated
with check (user_id = (select private.member_id()));
create policy availability_update on public.availability for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy availability_delete on public.availability for delete to authenticated
using (user_id = (select private.member_id()));

alter table public.availability_hours enable row level security;
grant select on public.availability_hours to authenticated, service_role;
grant
insert (weekday, from_time, until_time), update (weekday, from_time, until_time), delete
on public.availability_hours to authenticated;
create policy availability_hours_select on public.availability_hours for select to authenticated
using (user_id = (select private.member_id()));
create policy availability_hours_insert on public.availability_hours for insert to authenticated
with check (user_id = (select private.member_id()));
create policy availability_hours_update on public.availability_hours for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy availability_hours_delete on public.availability_hours for delete to authenticated
using (user_id = (select private.member_id()));

alter table public.availability_overrides enable row level security;
grant select on public.availability_overrides to authenticated, service_role;
grant
insert (day, from_time, until_time), update (day, from_time, until_time), delete
on public.availability_overrides to authenticated;
create policy availability_overrides_select on public.availability_overrides for select to authenticated
using (user_id = (select private.member_id()));
create policy availability_overrides_insert on public.availability_overrides for insert to authenticated
with check (user_id = (select private.member_id()));
create policy availability_overrides_update on public.availability_overrides for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy availability_overrides_delete on public.availability_overrides for delete to authenticated
using (user_id = (select private.member_id()));

create function private.slots_between(
    from_local timestamp, until_local timestamp, time_zone text, minutes integer, slot_minutes integer
) returns setof timestamptz
language sql
stable
set search_path = ''
as $$
    select t.at
    from private.instants_of(from_local, slots_between.time_zone) as f
    cross join private.instants_of(until_local, slots_between.time_zone) as u
    cross join lateral generate_series(
        f.earlier, u.later - minutes * interval '1 minute', slot_minutes * interval '1 minute'
    ) as t (at)
    -- Of hours that come twice only what the clock shows within them.
    where
        t.at at time zone slots_between.time_zone >= from_local
        and t.at at time zone slots_between.time_zone < until_local
$$;
comment on function private.slots_between(timestamp, timestamp, text, integer, integer) is
'When sessions of so many minutes can begin between two local times, every slot_minutes of elapsed time from the first '
'instant: where clocks go back there are more, where they go forward fewer.';

create function private.offered_times(seller uuid, minutes integer, first_at timestamptz, end_at timestamptz)
returns setof timestamptz
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    rules public.availability;
    earliest timestamptz;
    latest timestamptz;
begin
    select * into rules from public.availability as a where a.user_id = seller;
    earliest := greatest(first_at, clock_timestamp() + rules.notice_minutes * interval '1 minute');
    latest := least(end_at, clock_timestamp() + rules.window_days * interval '24 hours');
    if rules.user_id is null or earliest >= latest then
        return;
    end if;
    return query
    with days as (
        select g.day::date as day
        from generate_series(
            (earliest at time zone rules.time_zone)::date, (latest at time zone rules.time_zone)::date, interval '1 day'
        ) as g (day)
    ),

    hours as (
        select d.day + h.from_time as from_local, d.day + h.until_time as until_local
        from days as d
        inner join public.availability_hours as h
            on h.user_id = seller and h.weekday = extract(isodow from d.day)
        where not exists (
            select from public.availability_overrides as o where o.user_id = seller and o.day = d.day
        )
        union all
        select o.day + o.from_time, o.day + o.until_time
        from days as d
        inner join public.availability_overrides as o
            on o.user_id = seller and o.day = d.day and o.from_time is not null
    )

    select distinct t.at
    from hours as h
    cross join lateral private.slots_between(
        h.from_local, h.until_local, rules.time_zone, minutes, rules.slot_minutes
    ) as t (at)
    where t.at >= earliest and t.at < latest
    order by t.at;
end
$$;
comment on function private.offered_times(uuid, integer, timestamptz, timestamptz) is
'When sessions of so many minutes can begin, from and before these instants, by what their seller says; whether they '
'are busy then is not asked.';

create function public.available_slots(
    service_id uuid, from_at timestamptz default now(), until_at timestamptz default null, time_zone text default null
) returns table (starts_at timestamptz, ends_at timestamptz, starts_local timestamp, time_zone_shown text)
language plpgsql
stable
security definer
rows 100
set search_path = ''
as $$
#variable_conflict use_column
declare
    service public.services;
    rules public.availability;
    blocked uuid [] := case
        when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
    end;
    first_at timestamptz := coalesce(available_slots.from_at, now());
    end_at timestamptz := least(
        coalesce(available_slots.until_at, first_at + interval '168 hours'), first_at + interval '1488 hours'
    );
    zone text;
begin
    if available_slots.time_zone is not null and private.is_time_zone(available_slots.time_zone) is not true then
        perform private.fail('time_zone_not_known', left(available_slots.time_zone, 100));
    end if;
    select s.* into service
    from public.services as s
    inner join public.catalog_items as c on c.id = s.id
    where s.id = available_slots.service_id and c.is_buyable and c.seller_id <> all (blocked);
    if service.id is null then
        perform private.fail('item_not_available', available_slots.service_id::text);
    end if;
    select * into rules from public.availability as a where a.user_id = service.seller_id;
    zone := coalesce(available_slots.time_zone, rules.time_zone);
    return query
    select o.at, o.at + service.session_minutes * interval '1 minute', o.at at time zone zone, zone
    from private.offered_times(service.seller_id, service.session_minutes, first_at, end_at) as o (at)
    where not exists (
        select from private.busy_times as b
        where
            b.person_id = service.seller_id
            and b.during && tstzrange(
                o.at - rules.buffer_before_minutes * interval '1 minute',
                o.at + (service.session_minutes + rules.buffer_after_minutes) * interval '1 minute'
            )
    )
    order by o.at
    limit 5000;
end
$$;
comment on function public.available_slots(uuid, timestamptz, timestamptz, text) is
'When a session of this service can begin, from and before these instants (a week from now unless told, 62 days at '
'most), earliest first, at most 5,000; starts_local is what a clock in the asked zone shows (the seller''s '
'unless told), named in '
'time_zone_shown. Why another time is not free is not told. None of a service that is not booked. Errors: '
'item_not_available, time_zone_not_known.';
grant execute on function public.available_slots(uuid, timestamptz, timestamptz, text) to anon, authenticated;

create function private.chosen_session(
    service public.services, wanted jsonb, out session jsonb, out problem text, out detail text
)
language plpgsql
stable
set search_path = ''
as $$
declare
    zone text := wanted ->> 'time_zone';
    local timestamp;
    starts timestamptz;
begin
    if service.session_minutes is null then
        if coalesce(wanted, 'null') <> 'null' then
            perform private.fail('line_not_valid', 'session: this service is not booked');
        end if;
        return;
    elsif coalesce(wanted, 'null') = 'null' then
        problem := 'session_required';
        detail := service.id::text;
        return;
    end if;
    perform private.require_keys(wanted, '{starts_at,starts_local,time_zone,which}', 'line_not_valid');
    zone := coalesce(zone, (select a.time_zone from public.availability as a where a.user_id = service.seller_id));
    if zone is not null and not private.is_time_zone(zone) then
        perform private.fail('time_zone_not_known', left(zone, 100));
    end if;
    begin
        if wanted ->> 'starts_at' ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.0{1,6})?)?(Z|[+-]\d\d:?\d\d)$' then
            starts := (wanted ->> 'starts_at')::timestamptz;
        elsif wanted ->> 'starts_local' ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:00)?$' and wanted ? 'time_zone' then
            local := (wanted ->> 'starts_local')::timestamp;
        end if;
    exception when datetime_field_overflow or invalid_datetime_format then
        null;
    end;
    if num_nonnulls(starts, local) <> 1 or wanted ? 'starts_at' and wanted ? 'starts_local' then
        perform private.fail(
            'line_not_valid', 'session: {starts_at} with its offset, or {starts_local, time_zone, which?}'
        );
    end if;
    starts := coalesce(starts, private.instant_of(local, zone, wanted ->> 'which'));
    if not exists (
        select from private.offered_times(
            service.seller_id, service.session_minutes, starts, starts + interval '1 second'
        ) as o (at)
        where o.at = starts
    ) then
        problem := 'slot_not_available';
        detail := service.id::text;
        return;
    end if;
    session := jsonb_build_object(
        'starts_at', to_char(starts at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        'ends_at', to_char(
            (starts + service.session_minutes * interval '1 minute') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        ),
        'free_until', to_char(
            (
                starts - (
                    select a.cancel_before_hours from public.availability as a where a.user_id = service.seller_id
                ) * interval '1 hour'
            ) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        ),
        'time_zone', zone
    );
end
$$;
comment on function private.chosen_session(public.services, jsonb) is
'What an order keeps of the session somebody chose, {starts_at} or {starts_local, time_zone, which}, or why it cannot '
'be had: session_required, slot_not_available. Whether it is still free is found out by the hook hold. Errors: '
'line_not_valid, time_zone_not_known, time_does_not_exist, time_is_ambiguous.';

create function private.service_hold(ids uuid[], earlier uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    booked record;
    problem text;
begin
    -- Before anything is freed: somebody who has locked it may be waiting for what this is about to free.
    perform private.lock_time(array(
        select p.id
        from public.order_items as i
        cross join unnest(array[i.buyer_id, i.seller_id]) as p (id)
        where i.id = any (ids || earlier)
    ));
    perform private.free_service_time(earlier);
    -- Who holds all hours of somebody and pays for none takes their living for nothing. Late money holds nothing.
    select format('at most %s; until %s', h.allowed, private.utc(min(h.expires_at))) into problem
    from (
        select p.expires_at, coalesce(l.max_holds, s.holds_per_account) as allowed
        from (
            select b.subject_id as line from private.busy_times as b
            where b.kind = 'service' and b.person_id = auth.uid()
            union all
            select u.line from unnest(ids) as u (line)
        ) as held
        inner join public.order_items as i on i.id = held.line and i.buyer_id = auth.uid()
        inner join public.payments as p on p.order_id = i.order_id and p.is_open and p.provider <> 'wallet'
        cross join private.settings as s
        left join private.hold_limits as l on l.user_id = i.buyer_id
    ) as h
    group by h.allowed
    having count(*) > h.allowed;
    if found then
        perform private.fail('too_many_holds', problem);
    end if;
    for booked in
        select
            i.id, i.buyer_id, i.seller_id, (i.details #>> '{session,starts_at}')::timestamptz as starts_at,
            (i.details #>> '{session,ends_at}')::timestamptz as ends_at,
            coalesce(a.buffer_before_minutes, 0) * interval '1 minute' as before,
            coalesce(a.buffer_after_minutes, 0) * interval '1 minute' as after
        from public.order_items as i
        left join public.availability as a on a.user_id = i.seller_id
        where i.id = any (ids)
        order by i.id
    loop
        if booked.starts_at <= clock_timestamp() then
            perform private.fail('slot_not_available', booked.id::text);
        end if;
        perform private.take_time(
            'service', booked.id, array[booked.seller_id], booked.starts_at - booked.before,
            booked.ends_at + booked.after, false
        );
        -- The buffers are the seller's.
        perform private.take_time(
            'service', booked.id, array[booked.buyer_id], booked.starts_at, booked.ends_at, false
        );
    end loop;
end
$$;
comment on function private.service_hold(uuid[], uuid[]) is
'Hook hold: the sessions of these lines take seller''s and buyer''s time. Errors: slot_taken, slot_not_available '
'(it has begun), too_many_holds.';

create function private.free_service_time(lines uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    select private.free_time('service', lines)
$$;
comment on function private.free_service_time(uuid[]) is
'The sessions of these order lines take nobody''s time any more.';

create function private.restore_service_time(lines uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    booked uuid;
begin
    for booked in
        select i.id from public.order_items as i where i.id = any (lines) and i.is_booked order by i.id
    loop
        begin
            perform private.service_hold(array[booked], '{}');
        exception when sqlstate 'PT409' then
            -- Somebody else has it, or it has begun: people settle the rest.
            perform private.audit('refund_failed_after_rebooking', 'order_item', booked, '{}');
        end;
    end loop;
end
$$;
comment on function private.restore_service_time(uuid[]) is
'A refund failed: these order lines take their sessions'' time again. What is taken meanwhile is an entry '
'refund_failed_after_rebooking in audit_log.';

create function private.service_release(ids uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    select private.free_service_time(ids)
$$;
comment on function private.service_release(uuid[]) is 'Hook release: the sessions are free again.';

insert into private.personal_data (section, relation, condition) values
('availability', 'public.availability', 't.user_id = $1'),
('availability_hours', 'public.availability_hours', 't.user_id = $1'),
('availability_overrides', 'public.availability_overrides', 't.user_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('availability', 'business', '{public.availability}', 'delete from public.availability where user_id = $1'),
('availability_hours', 'business', '{public.availability_hours}',
    'delete from public.availability_hours where user_id = $1'),
('availability_overrides', 'business', '{public.availability_overrides}',
    'delete from public.availability_overrides where user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_hours', 'PT409', 'These are too many hours.',
'At most 50 rows of the week and 400 of single days. Delete some first.'),
('session_required', 'PT400', 'Choose a time.',
'This service is booked: send details.session with a time of available_slots(). The detail names the service.'),
('slot_not_available', 'PT409', 'This time is not offered.',
'It is outside the seller''s hours, too soon, too far ahead, or has begun. Choose one of available_slots().');
