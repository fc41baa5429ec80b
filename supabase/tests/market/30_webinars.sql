-- Webinars: what is derived, what is refused, who reads and writes what.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create function pg_temp.webinar(host integer, price bigint default 0, seats integer default null, day integer default 1, item uuid default gen_random_uuid())
returns uuid language sql security definer as $$
    insert into public.webinars (id, host_id, title, starts_local, time_zone, price_cents, max_attendees)
    values (item, pg_temp.id(host), 'Webinar', timestamp '2031-01-01 10:00' + day * interval '1 day', 'Europe/Berlin', price, seats)
    returning id
$$;
create function pg_temp.insert_code(columns text, given text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(1), format(
        'insert into public.webinars (title, time_zone%s) values (%L, %L%s)', columns, 'X', 'Europe/Berlin', given
    ))
$$;

-- What is derived.
select is(pg_temp.webinar(1, 2000, 5, 1, pg_temp.id(101)), pg_temp.id(101), 'announced');
select is(w.starts_at, timestamptz '2031-01-02 09:00Z', 'a local time in a zone is an instant')
from public.webinars as w where w.id = pg_temp.id(101);
select is(w.ends_at, timestamptz '2031-01-02 10:00Z', 'and so is its end') from public.webinars as w where w.id = pg_temp.id(101);
select is(row(c.kind, c.stock, c.taken, c.has_seats, c.is_listed)::text, '(webinar,5,0,t,t)', 'it is registered')
from public.catalog_items as c where c.id = pg_temp.id(101);
select is(pg_temp.webinar(1, 0, null, 2, pg_temp.id(102)), pg_temp.id(102), 'another');
select is(c.stock, 1000000, 'no limit is a million seats')
from public.catalog_items as c where c.id = pg_temp.id(102);

-- What is refused.
select is(pg_temp.insert_code(', starts_local', ', ''2031-03-30 02:30'''), 'time_does_not_exist', 'a gap');
select is(pg_temp.insert_code(', starts_local', ', ''2031-10-26 02:30'''), 'time_is_ambiguous', 'an overlap');
select is(pg_temp.insert_code(', starts_local', ', ''2021-10-31 02:30'''), 'time_is_ambiguous', 'asked before anything else');
select is(pg_temp.insert_code(', starts_local', ', ''2021-01-01 02:30'''), 'time_has_passed', 'the past');
select is(pg_temp.insert_code(', starts_local', ', ''2031-01-02 10:59'''), 'slot_taken', 'a host in two places');
select is(pg_temp.insert_code(', starts_local, max_attendees', ', ''2031-05-01 10:00'', 1'), '23514', 'one seat');
select is(pg_temp.insert_code(', starts_local, price_cents', ', ''2031-05-01 10:00'', 49'), '23514', 'a price of 49 cents');
select is(pg_temp.insert_code(', starts_local, duration_minutes', ', ''2031-05-01 10:00'', 4'), '23514', 'four minutes');
select is(pg_temp.insert_code(', starts_local, starts_at', ', ''2031-05-01 10:00'', now()'), '42501', 'the instant itself');
select is(pg_temp.insert_code(', starts_local, status', ', ''2031-05-01 10:00'', ''live'''), '42501', 'a state');
select is(pg_temp.insert_code(', starts_local, host_id', format(', ''2031-05-01 10:00'', %L', pg_temp.id(2))), '42501', 'for others');
select is(pg_temp.code_as(pg_temp.id(1), format(
    'update public.webinars set %s where id = %L', c.change, pg_temp.id(101)
)), '42501', 'the host does not write ' || c.change)
from (values
    ('status = ''cancelled'''), ('starts_local = now()'), ('time_zone = ''UTC'''), ('cancel_before_hours = 0'),
    ('moves_count = 0'), ('recording_available = true'), ('is_hidden = false')
) as c (change);
select is(pg_temp.code_as(pg_temp.id(1), format('delete from public.webinars where id = %L', pg_temp.id(101))), '42501', 'none is deleted');

-- Who reads and writes.
select is(pg_temp.code_as(pg_temp.id(n), format('update public.webinars set title = ''Y'' where id = %L', pg_temp.id(101))), null, 'no error')
from generate_series(2, 4) as n;
select is(w.title, 'Webinar', 'and no change by others') from public.webinars as w where w.id = pg_temp.id(101);
create function pg_temp.sees(who integer, item uuid) returns boolean language plpgsql as $$
declare
    seen boolean;
begin
    perform pg_temp.be(pg_temp.id(who), case when who is null then 'anon' else 'authenticated' end);
    select exists (select from public.webinars as w where w.id = item) into seen;
    perform set_config('role', 'none', true);
    return seen;
end
$$;
select is(pg_temp.sees(n, pg_temp.id(101)), true, 'everybody sees what is to come') from unnest(array[null, 1, 2, 3, 4]) as n;

-- Co-hosts.
select is(pg_temp.code_as(pg_temp.id(1), format('select public.invite_co_host(%L, %L)', pg_temp.id(101), pg_temp.id(2))), 'plan_required', 'plans decide');
update public.subscriptions set plan_key = 'creator_premium' where user_id = pg_temp.id(1) and family = 'creator';
select is(pg_temp.code_as(pg_temp.id(2), format('select public.invite_co_host(%L, %L)', pg_temp.id(101), pg_temp.id(3))), 'webinar_not_found', 'hosts ask');
select is(pg_temp.code_as(pg_temp.id(1), format('select public.invite_co_host(%L, %L)', pg_temp.id(101), pg_temp.id(1))), 'user_not_found', 'not oneself');
select is(pg_temp.code_as(pg_temp.id(1), format('select public.invite_co_host(%L, %L)', pg_temp.id(101), pg_temp.id(2))), null, 'asked');
select is(pg_temp.code_as(pg_temp.id(1), format('select public.invite_co_host(%L, %L)', pg_temp.id(101), pg_temp.id(2))), 'already_invited', 'once');
select is(pg_temp.code_as(pg_temp.id(3), format('select public.answer_co_hosting(%L, true)', pg_temp.id(101))), 'webinar_not_found', 'nobody asked 3');
select is((select count(*)::integer from private.busy_times where person_id = pg_temp.id(2)), 0, 'asked takes no time');
select is(pg_temp.code_as(pg_temp.id(2), format('select public.answer_co_hosting(%L, true)', pg_temp.id(101))), null, 'yes');
select is((select count(*)::integer from private.busy_times where person_id = pg_temp.id(2)), 1, 'yes does');
select is(pg_temp.code_as(pg_temp.id(2), format('select public.%s', c.call)), 'webinar_not_found', 'a co-host does not ' || c.call)
from (values
    (format('cancel_webinar(%L, ''x'', 0)', pg_temp.id(101))), (format('reschedule_webinar(%L, ''2031-02-01'')', pg_temp.id(101))),
    (format('remove_registration(%L, %L, ''x'')', pg_temp.id(101), pg_temp.id(3))), (format('convert_recording(%L)', pg_temp.id(101))),
    (format('webinar_cancellation_cost(%L)', pg_temp.id(101))), (format('set_webinar_room(%L, ''https://x.example'')', pg_temp.id(101))),
    (format('set_webinar_recording(%L, ''https://x.example'')', pg_temp.id(101)))
) as c (call);
select is(pg_temp.code_as(pg_temp.id(1), format('select public.remove_co_host(%L, %L)', pg_temp.id(101), pg_temp.id(2))), null, 'no more');
select is((select count(*)::integer from private.busy_times where person_id = pg_temp.id(2)), 0, 'the time is free');

select * from finish();
rollback;
