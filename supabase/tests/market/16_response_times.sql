-- How long a seller takes to answer: of which messages, and who writes it.
begin;
\ir ../helpers.psql

select plan(9);
select pg_temp.people();
insert into public.services (id, seller_id, title, service_type) values (pg_temp.id(11), pg_temp.id(1), 'Mixing', 'mixing');
insert into public.catalog_options (item_id, title, price_cents, details) values
(pg_temp.id(11), 'Basic', 2000, '{"delivery_days": 3}');
update public.services set status = 'active';

-- A conversation of somebody with the seller: who wrote first how many hours ago, and after how many hours the other one.
create function pg_temp.talk(who integer, is_sellers boolean, hours_ago numeric, hours numeric) returns void
language plpgsql as $$
declare
    made uuid;
    seller uuid := pg_temp.id(1);
    other uuid := pg_temp.id(who);
begin
    perform pg_temp.be(case when is_sellers then seller else other end);
    made := (public.start_conversation(array[case when is_sellers then other else seller end])).id;
    perform pg_temp.be(case when is_sellers then seller else other end);
    insert into public.messages (conversation_id, content) values (made, 'x');
    if hours is not null then
        perform pg_temp.be(case when is_sellers then other else seller end);
        insert into public.messages (conversation_id, content) values (made, 'x');
    end if;
    perform set_config('role', 'none', true);
    update public.messages as m set created_at = now() - (hours_ago - case m.number when 2 then hours else 0 end) * interval '1 hour'
    where m.conversation_id = made;
end
$$;
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(31, 36) as n;

select is(private.response_hours(pg_temp.id(1)), null, 'nobody wrote');
select pg_temp.talk(31, false, 100, 0.5);
select is(private.response_hours(pg_temp.id(1)), 1, 'rounded up');
select pg_temp.talk(32, false, 100, 5), pg_temp.talk(33, false, 100, 90);
select is(private.response_hours(pg_temp.id(1)), 5, 'the median');
select pg_temp.talk(34, true, 100, 1), pg_temp.talk(35, false, 24 * 91, 1), pg_temp.talk(36, false, 100, null);
select is(private.response_hours(pg_temp.id(1)), 5,
    'not of those the seller wrote to first, of long ago, or unanswered');

select is(private.update_response_times(10), 1, 'the sweep looks at sellers');
select is((select response_time_hours from public.services), 5, 'writes it');
select is(private.update_response_times(10), 0, 'and not again for a day');
select is(has_function_privilege(who, 'private.update_response_times(integer)', 'execute'), false, who || ' does not call it')
from unnest(array['anon', 'authenticated']) as who;

select * from finish();
rollback;
