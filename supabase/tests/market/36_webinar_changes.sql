-- Moves, cancellations and removals: who, when, and what they leave; entering and attendance; recordings.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
insert into public.webinars (id, host_id, title, starts_local, time_zone)
values
(pg_temp.id(101), pg_temp.id(1), 'One', '2031-01-01 10:00', 'UTC'),
(pg_temp.id(102), pg_temp.id(1), 'Two', '2031-01-02 10:00', 'UTC');
create function pg_temp.do(who integer, call text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), 'select * from public.' || call)
$$;
create function pg_temp.clock(item integer, minutes integer) returns void language plpgsql as $$
begin
    set constraints all immediate;
    alter table public.webinars disable trigger user;
    update public.webinars set
        starts_at = now() + minutes * interval '1 minute', ends_at = now() + (minutes + 60) * interval '1 minute'
    where id = pg_temp.id(item);
    alter table public.webinars enable trigger user;
    set constraints all deferred;
end
$$;
select is(pg_temp.do(2, format('register_for_webinar(%L)', pg_temp.id(101))), null, '2 has a seat');

select is(pg_temp.do(n, format('cancel_webinar(%L, ''x'', 0)', pg_temp.id(101))), 'webinar_not_found', 'only the host cancels')
from unnest(array[2, 3]) as n;
select is(pg_temp.do(n, format('reschedule_webinar(%L, ''2031-02-01'')', pg_temp.id(101))), 'webinar_not_found', 'only the host moves')
from unnest(array[2, 3, 4]) as n;
select is(pg_temp.do(n, format('remove_registration(%L, %L, ''x'')', pg_temp.id(101), pg_temp.id(2))), 'webinar_not_found', 'only the host removes')
from unnest(array[2, 3]) as n;
select is(pg_temp.do(1, format('cancel_webinar(%L, '''', 0)', pg_temp.id(101))), 'reason_required', 'with a reason');
select is(pg_temp.do(1, format('cancel_webinar(%L, ''x'', 5)', pg_temp.id(101))), 'cost_changed', 'at the cost that was said');
select is(pg_temp.do(1, format('reschedule_webinar(%L, ''2031-01-02 10:30'')', pg_temp.id(101))), 'slot_taken', 'not onto another');
select is(pg_temp.do(1, format('reschedule_webinar(%L, ''2021-01-02 10:30'')', pg_temp.id(101))), 'time_has_passed', 'not into the past');
select is(pg_temp.do(1, format('reschedule_webinar(%L, ''2031-03-30 02:30'', ''Europe/Berlin'')', pg_temp.id(101))), 'time_does_not_exist', 'not into a gap');
select is(pg_temp.do(1, format('reschedule_webinar(%L, ''2031-01-01 10:00'')', pg_temp.id(101))), null, 'where it is');
select is((select moves_count from public.webinars where id = pg_temp.id(101)), 0, 'is no move');
select is(pg_temp.do(1, format('reschedule_webinar(%L, ''2031-01-01 13:00'', ''Europe/Berlin'')', pg_temp.id(101))), null, 'a move');
select is((select sequence from private.calendar_entries), 1, 'calendars follow');

-- Entering.
select private.publish_workers('https://w.example');
select is(pg_temp.do(1, format('set_webinar_room(%L, %L)', pg_temp.id(101), l.link)), 'invalid_link', coalesce(l.link, 'null'))
from (values ('http://x.example'), ('javascript:alert(1)'), ('https://x example'), (null), ('')) as l (link);
select is(pg_temp.do(1, format('set_webinar_room(%L, ''https://x.example'')', pg_temp.id(101))), null, 'a room');
select is(pg_temp.do(2, format('join_webinar(%L)', pg_temp.id(101))), 'webinar_not_begun', 'too early');
select pg_temp.clock(101, 29);
select is(pg_temp.do(2, format('join_webinar(%L)', pg_temp.id(101))), null, 'the doors are open');
select is(pg_temp.do(n, format('join_webinar(%L)', pg_temp.id(101))), 'webinar_not_found', 'not without a seat') from unnest(array[3, 4]) as n;
select is(pg_temp.code_of('select private.use_pass(gen_random_uuid())'), 'webinar_not_found', 'no made-up pass');

-- Attendance.
select is(pg_temp.do(1, format('mark_attendance(%L, array[%L]::uuid[])', pg_temp.id(101), pg_temp.id(2))), 'state_changed', 'not before');
select pg_temp.clock(101, -10);
select is(pg_temp.do(2, format('mark_attendance(%L, array[%L]::uuid[])', pg_temp.id(101), pg_temp.id(2))), 'webinar_not_found', 'not oneself');
select is(pg_temp.do(1, format('mark_attendance(%L, array[%L, %L]::uuid[])', pg_temp.id(101), pg_temp.id(2), pg_temp.id(3))), 'registration_not_found', 'all or none');
select is(pg_temp.do(1, format('mark_attendance(%L, array[%L]::uuid[])', pg_temp.id(101), pg_temp.id(2))), null, 'is there');
select is((select attended from public.webinar_registrations where user_id = pg_temp.id(2)), true, 'was there');
select is(pg_temp.do(1, c.call), 'state_changed', 'too late for ' || c.call)
from (values
    (format('cancel_webinar(%L, ''x'', 0)', pg_temp.id(101))), (format('reschedule_webinar(%L, ''2031-02-01'')', pg_temp.id(101))),
    (format('convert_recording(%L)', pg_temp.id(101)))
) as c (call);
select is(pg_temp.do(2, format('cancel_registration(%L)', pg_temp.id(101))), 'cannot_cancel', 'too late to leave');

-- Recordings.
select pg_temp.clock(101, -90);
select is(pg_temp.do(n, format('convert_recording(%L)', pg_temp.id(101))), 'webinar_not_found', 'only the host converts') from unnest(array[2, 3, 4]) as n;
select is(pg_temp.do(1, format('set_webinar_recording(%L, ''ftp://x'')', pg_temp.id(101))), 'invalid_link', 'an address');
select is(pg_temp.do(1, format('set_webinar_recording(%L, ''https://x.example/r'')', pg_temp.id(101))), null, 'a recording');
select is(pg_temp.do(1, format('convert_recording(%L, 49)', pg_temp.id(101))), '23514', 'at a price there is');
select is(pg_temp.do(1, format('convert_recording(%L, 900)', pg_temp.id(101))), null, 'a product');
select is((select count(*)::integer from public.purchases where owner_id = pg_temp.id(2)), 1, 'whoever had a seat has it');
select is(pg_temp.do(1, format('convert_recording(%L, 900)', pg_temp.id(101))), null, 'asked again');
select is((select count(*)::integer from public.products where source_webinar_id = pg_temp.id(101)), 1, 'one product');

-- Admins cancel and remove, and that is noted.
select is(pg_temp.do(2, format('register_for_webinar(%L)', pg_temp.id(102))), null, 'another seat');
select is(pg_temp.do(4, format('remove_registration(%L, %L, ''spam'')', pg_temp.id(102), pg_temp.id(2))), null, 'an admin removes');
select is(pg_temp.do(2, format('register_for_webinar(%L)', pg_temp.id(102))), 'webinar_not_open', 'for good');
select is(pg_temp.do(4, format('cancel_webinar(%L, ''fraud'', 0)', pg_temp.id(102))), null, 'an admin cancels');
select is((select count(*)::integer from public.audit_log where action in ('cancel_webinar', 'remove_registration')), 2, 'audited');
select is((select count(*)::integer from private.busy_times where subject_id = pg_temp.id(102)), 0, 'the host''s time is free');
select is((select count(*)::integer from private.recount()), 0, 'all counters are right');

select * from finish();
rollback;
