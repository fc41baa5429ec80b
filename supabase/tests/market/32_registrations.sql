-- Registrations: one for a person, seats counted on the registry row, the queue, and who reads them.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
insert into public.webinars (id, host_id, title, starts_local, time_zone, max_attendees, price_cents)
values
(pg_temp.id(101), pg_temp.id(1), 'Free', '2031-01-01 10:00', 'UTC', 2, 0),
(pg_temp.id(102), pg_temp.id(1), 'Paid', '2031-01-02 10:00', 'UTC', 2, 2000);
create function pg_temp.seats(item integer) returns text language sql security definer as $$
    select concat_ws(' ', c.taken, w.registrations_count, (
        select string_agg(r.status::text, ',' order by r.user_id) from public.webinar_registrations as r
        where r.webinar_id = c.id
    ))
    from public.catalog_items as c inner join public.webinar_counts as w on w.webinar_id = c.id where c.id = pg_temp.id(item)
$$;
create function pg_temp.act(who integer, act text, item integer) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('select public.%I(%L)', act, pg_temp.id(item)))
$$;

select is(pg_temp.act(1, 'register_for_webinar', 101), 'own_item', 'not the host');
select is(pg_temp.act(2, 'register_for_webinar', 102), 'payment_required', 'not without paying');
select is(pg_temp.act(2, 'register_for_webinar', 999), 'webinar_not_found', 'not what is not there');
select is(pg_temp.act(2, 'join_waiting_list', 101), 'seats_available', 'nobody waits while there are seats');
select is(pg_temp.act(2, 'register_for_webinar', 101), null, 'a seat');
select is(pg_temp.act(2, 'register_for_webinar', 101), 'already_registered', 'one each');
select is(pg_temp.act(3, 'register_for_webinar', 101), null, 'the last one');
select is(pg_temp.act(4, 'register_for_webinar', 101), 'webinar_full', 'no more');
select is(pg_temp.act(4, 'join_waiting_list', 101), null, 'a place');
select is(pg_temp.act(4, 'join_waiting_list', 101), 'already_registered', 'one place each');
select is(pg_temp.seats(101), '2 2 confirmed,confirmed,waiting', 'counted');
select is(pg_temp.act(2, 'cancel_registration', 101), null, 'gives it up');
select is(pg_temp.act(2, 'cancel_registration', 101), 'state_changed', 'once');
select is(pg_temp.seats(101), '2 2 cancelled,confirmed,confirmed', 'the next in line has it');
select is(pg_temp.act(5, 'cancel_registration', 101), 'registration_not_found', 'nobody');
select is(private.count_taken(pg_temp.id(101), 2), 2, 'purchases and holds are what is taken');
select is((select count(*)::integer from private.recount()), 0, 'and all counters are right');

-- Visitors and those without rights.
select is(pg_temp.code_as(null, format('select public.register_for_webinar(%L)', pg_temp.id(101)), 'anon'), '42501', 'no visitors');
select pg_temp.ban();
select is(pg_temp.act(5, 'register_for_webinar', 101), 'banned', 'no banned');
create function pg_temp.readable(who integer) returns integer language plpgsql as $$
declare
    n integer;
begin
    perform pg_temp.be(pg_temp.id(who));
    select count(*) into n from public.webinar_registrations as r where r.webinar_id = pg_temp.id(101);
    perform set_config('role', 'none', true);
    return n;
end
$$;
select is(pg_temp.readable(1), 3, 'the host reads all');
select is(pg_temp.readable(2), 1, 'a guest reads their own');
select is(pg_temp.readable(5), 0, 'nobody else');
select is(pg_temp.readable(4), 3, 'admins read all');
select is(pg_temp.code_as(pg_temp.id(1), s.statement), '42501', s.statement)
from (values
    ('insert into public.webinar_registrations (webinar_id, user_id, status) values (gen_random_uuid(), gen_random_uuid(), ''waiting'')'),
    ('update public.webinar_registrations set attended_at = now()'), ('delete from public.webinar_registrations'),
    ('select * from private.calendar_entries'), ('select * from private.webinar_rooms'), ('select * from private.webinar_passes')
) as s (statement);

-- An order holds a seat; a second one of the same person takes its place; none is left without a row.
select is(pg_temp.checkout(2, pg_temp.id(102)) ->> 'status', 'pending', 'an order');
select is(pg_temp.seats(102), '1 0 held', 'held');
create temporary table ordered as select pg_temp.checkout(2, pg_temp.id(102)) as answer;
select is(pg_temp.seats(102), '1 0 held', 'still one');
select is(pg_temp.act(2, 'cancel_registration', 102), 'state_changed', 'an order is cancelled as an order');
select is(pg_temp.code_as(pg_temp.id(2), format('select public.cancel_order(%L)', o.answer ->> 'order_id')), null, 'cancelled')
from ordered as o;
select is(pg_temp.seats(102), '0 0 expired', 'free');

-- No move but those that are known.
select is(pg_temp.code_of(format(
    'update public.webinar_registrations set status = ''offered'', offer_expires_at = now() where webinar_id = %L', pg_temp.id(102)
)), '23514', 'an offer names what to pay');
select is(pg_temp.code_of(format(
    'update public.webinar_registrations set status = ''refunded'' where webinar_id = %L', pg_temp.id(102)
)), 'move_not_allowed', 'what never was paid is not refunded');
select is(pg_temp.code_of(format('update public.webinars set status = ''ended'' where id = %L', pg_temp.id(101))), 'move_not_allowed', 'nothing ends before it began');

select * from finish();
rollback;
