-- Availability and sessions: who writes and sees them, what is free, what is refused.
begin;
\ir ../helpers.psql

select plan(56);
select pg_temp.people();
insert into public.services (id, seller_id, title, service_type, session_minutes) values
(pg_temp.id(11), pg_temp.id(1), 'Mentoring', 'consultation', 60), (pg_temp.id(12), pg_temp.id(1), 'Mixing', 'mixing', null),
(pg_temp.id(13), pg_temp.id(5), 'Spam', 'mixing', 60), (pg_temp.id(14), pg_temp.id(1), 'Draft', 'mixing', 60);
insert into public.catalog_options (id, item_id, title, price_cents, details)
select pg_temp.id(n + 10), pg_temp.id(n), 'Basic', 2000, '{"delivery_days": 3}' from generate_series(11, 14) as n;
update public.services set status = 'active' where id <> pg_temp.id(14);
select pg_temp.ban();

select col_is_pk('public', 'availability', 'user_id', 'one each');
select fk_ok('public', 'availability_hours', 'user_id', 'public', 'profiles', 'id');
select fk_ok('public', 'availability_overrides', 'user_id', 'public', 'profiles', 'id');

-- nothing is offered before it is said when
select is((select count(*) from public.available_slots(pg_temp.id(11))), 0::bigint, 'no rules, no slots');

select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of(format('insert into public.%s', bad)), code, bad || ': ' || coalesce(code, 'fine'))
from (values
    ('23514', 'availability (time_zone) values (''Mars/Olympus'')'),
    ('23514', 'availability (time_zone) values (''CET-1CEST'')'),
    ('23502', 'availability (slot_minutes) values (30)'),
    ('23514', 'availability (time_zone, slot_minutes) values (''UTC'', 4)'),
    ('23514', 'availability (time_zone, slot_minutes) values (''UTC'', 481)'),
    ('23514', 'availability (time_zone, buffer_before_minutes) values (''UTC'', -1)'),
    ('23514', 'availability (time_zone, buffer_after_minutes) values (''UTC'', 241)'),
    ('23514', 'availability (time_zone, notice_minutes) values (''UTC'', 43201)'),
    ('23514', 'availability (time_zone, window_days) values (''UTC'', 366)'),
    ('42501', 'availability (user_id, time_zone) values (pg_temp.id(2), ''UTC'')'),
    (null, 'availability (time_zone, notice_minutes) values (''UTC'', 0)'),
    ('23505', 'availability (time_zone) values (''UTC'')'),
    ('23514', 'availability_hours (weekday, from_time, until_time) values (0, ''09:00'', ''10:00'')'),
    ('23514', 'availability_hours (weekday, from_time, until_time) values (8, ''09:00'', ''10:00'')'),
    ('23514', 'availability_hours (weekday, from_time, until_time) values (1, ''10:00'', ''10:00'')'),
    ('23514', 'availability_hours (weekday, from_time, until_time) values (1, ''10:00:30'', ''11:00'')'),
    ('22008', 'availability_hours (weekday, from_time, until_time) values (1, ''10:00'', ''25:00'')'),
    ('42501', 'availability_hours (user_id, weekday, from_time, until_time) values (pg_temp.id(2), 1, ''10:00'', ''11:00'')'),
    (null, 'availability_hours (weekday, from_time, until_time) select n, ''09:00'', ''12:00'' from generate_series(1, 7) as n'),
    ('23505', 'availability_hours (weekday, from_time, until_time) values (1, ''09:00'', ''10:00'')'),
    ('too_many_hours', 'availability_hours (weekday, from_time, until_time) select 1, time ''12:00'' + n * interval ''1 minute'', '
        '''24:00'' from generate_series(1, 44) as n'),
    ('23514', 'availability_overrides (day, from_time) values (''2030-01-01'', ''09:00'')'),
    ('23514', 'availability_overrides (day, until_time) values (''2030-01-01'', ''09:00'')'),
    (null, 'availability_overrides (day) values (''2030-01-01'')'),
    ('23505', 'availability_overrides (day) values (''2030-01-01'')'),
    ('too_many_hours', 'availability_overrides (day) select date ''2031-01-01'' + n from generate_series(1, 400) as n')
) as b (code, bad);
select is(pg_temp.code_of($$insert into public.services (title, service_type, session_minutes) values ('x', 'other', 30)$$),
    null, 'a service is booked when it says how long');

-- what is free anybody learns
reset role;
create function pg_temp.free(who uuid, asked text, speaker text default 'authenticated') returns text language plpgsql as $$
declare
    found text;
begin
    perform pg_temp.be(who, speaker);
    execute format('select string_agg(to_char(starts_local, ''HH24:MI''), '' '' order by starts_at) from public.available_slots(%s)', asked)
    into found;
    perform set_config('role', 'none', true);
    return found;
end
$$;
create function pg_temp.day() returns text language sql as $$
    select format('pg_temp.id(11), %L, %L', (current_date + 3)::timestamp at time zone 'UTC', (current_date + 4)::timestamp at time zone 'UTC')
$$;
grant execute on all functions in schema pg_temp to public;
select is(pg_temp.free(who, pg_temp.day(), speaker), '09:00 09:30 10:00 10:30 11:00', speaker || ' sees them')
from (values (pg_temp.id(2), 'authenticated'), (null, 'anon')) as p (who, speaker);
select is(pg_temp.free(pg_temp.id(2), pg_temp.day() || ', ''Asia/Kolkata'''), '14:30 15:00 15:30 16:00 16:30', 'on the clock asked for');
select is(pg_temp.code_as(pg_temp.id(2), format('select public.available_slots(%s)', asked)), code, asked || ': ' || coalesce(code, 'none'))
from (values
    ('pg_temp.id(12)', null), ('pg_temp.id(13)', 'item_not_available'), ('pg_temp.id(14)', 'item_not_available'),
    ('gen_random_uuid()', 'item_not_available'), ('null', 'item_not_available'),
    ('pg_temp.id(11), now(), null, ''EST''', 'time_zone_not_known')
) as a (asked, code);
select private.take_time('service', gen_random_uuid(), array[pg_temp.id(1)],
    (current_date + 3 + time '10:00') at time zone 'UTC', (current_date + 3 + time '10:15') at time zone 'UTC');
select is(pg_temp.free(pg_temp.id(2), pg_temp.day()), '09:00 10:30 11:00', 'but what is taken, and not by what');

-- the rest is nobody else's
select is(pg_temp.code_as(pg_temp.id(2), 'update public.availability set notice_minutes = 5'), null, 'a stranger changes nothing');
select is((select notice_minutes from public.availability), 0, 'indeed');
create function pg_temp.sees(who uuid) returns bigint language plpgsql as $$
declare
    seen bigint;
begin
    perform pg_temp.be(who);
    select (select count(*) from public.availability) + (select count(*) from public.availability_hours)
        + (select count(*) from public.availability_overrides) into seen;
    perform set_config('role', 'none', true);
    return seen;
end
$$;
select is(pg_temp.sees(pg_temp.id(who)), seen, who || ' sees ' || seen)
from (values (1, 9::bigint), (2, 0::bigint), (4, 0::bigint)) as p (who, seen);
select is(pg_temp.code_as(null, 'select * from public.' || name, 'anon'), '42501', 'visitors read no ' || name)
from unnest(array['availability', 'availability_hours', 'availability_overrides']) as name;
select is(pg_temp.code_as(pg_temp.id(1), 'select * from private.busy_times'), '42501', 'nobody reads what takes time');

-- what an order keeps
create function pg_temp.buys(session jsonb) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(2), format('select public.checkout(%L)', jsonb_build_array(jsonb_build_object(
        'item_id', pg_temp.id(11), 'option_id', pg_temp.id(21), 'details', jsonb_build_object('session', session)
    ))))
$$;
select is(pg_temp.buys(null), 'session_required', 'a time is needed');
select is(pg_temp.buys(jsonb_build_object('starts_at', (current_date + 3) || 'T10:00:00Z')), 'slot_taken', 'a free one');
select is(pg_temp.buys(jsonb_build_object('starts_at', (current_date + 3) || 'T08:30:00Z')), 'slot_not_available', 'an offered one');
select is(pg_temp.buys(jsonb_build_object('starts_at', (current_date + 3) || 'T11:00:00Z')), null, 'then it is held');
select results_eq(
    $$select is_booked, details -> 'session' from public.order_items$$,
    $$select true, jsonb_build_object('starts_at', (current_date + 3) || 'T11:00:00Z', 'ends_at',
    (current_date + 3) || 'T12:00:00Z', 'free_until',
    (current_date + 2) || 'T11:00:00Z', 'time_zone', 'UTC')$$, 'and kept on the line'
);
select results_eq(
    $$select b.person_id, b.subject_id = i.id from private.busy_times as b inner join public.order_items as i on true
    where lower(b.during) = (current_date + 3 + time '11:00') at time zone 'UTC' order by 1$$,
    $$values (pg_temp.id(1), true), (pg_temp.id(2), true)$$, 'for both'
);

select * from finish();
rollback;
