-- Files of service orders: who stores, who reads, and what stays.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t (name text, id uuid);
grant select on t to public;
create function pg_temp.t(name text) returns uuid language sql security definer as $$
    select t.id from t where t.name = $1
$$;
create function pg_temp.path(who integer, name text) returns text language sql security definer as $$
    select pg_temp.id(who) || '/' || pg_temp.t('order') || '/' || name
$$;
grant execute on all functions in schema pg_temp to public;
-- Who is offered something has written first, or accepted.
select pg_temp.be(pg_temp.id(2));
select lives_ok($$select public.start_conversation(array[pg_temp.id(1)])$$, '2 begins to talk to 1');
select pg_temp.be(pg_temp.id(1));
create temporary table made as
select o.id as offer
from public.start_conversation(array[pg_temp.id(2)]) as c
cross join lateral public.send_offer(c.id, 'A mix', 'Two songs', 5000, 3, 1, clock_timestamp() + interval '1 day') as o;
reset role;
grant select on made to public;
select pg_temp.be(pg_temp.id(2));
create temporary table paid as
select public.checkout_payable(a.payable_id) as answer from made as m, public.accept_offer(m.offer, 1) as a;
reset role;
select pg_temp.start((answer ->> 'payment_id')::uuid) from paid;
select pg_temp.event('payment_intent.succeeded', pg_temp.intent((answer ->> 'payment_id')::uuid)) from paid;
insert into t select 'order', id from public.service_orders;

-- who stores
select is(
    pg_temp.code_as(pg_temp.id(who), format(
        'insert into storage.objects (bucket_id, name, owner_id, metadata) values (''deliveries'', %L, %L, '
        '''{"mimetype": "audio/wav", "size": 100}'')', path, pg_temp.id(who)
    )), code, says
)
from (values
    (1, pg_temp.path(1, 'mix.wav'), null, 'the seller stores in the order''s folder'),
    (2, pg_temp.path(2, 'stems.wav'), null, 'so does the buyer'),
    (3, pg_temp.path(3, 'x.wav'), '42501', 'a stranger does not'),
    (4, pg_temp.path(4, 'x.wav'), '42501', 'nor does an admin'),
    (1, pg_temp.path(2, 'x.wav'), '42501', 'nobody stores as the other one'),
    (1, pg_temp.id(1) || '/x.wav', '42501', 'nor outside of an order')
) as c (who, path, code, says);

-- what a delivery may name
select is(pg_temp.code_as(pg_temp.id(1), format('select public.deliver_service_order(pg_temp.t(''order''), null, %L)', files)), code, says)
from (values
    ('{}', 'nothing_sent', 'an empty one stops no clock'),
    (format('{%s}', pg_temp.path(1, 'other.wav')), 'delivery_file_not_found', 'what is not stored'),
    (format('{%s}', pg_temp.path(2, 'stems.wav')), 'delivery_file_not_found', 'what is the buyer''s'),
    (format('{%s,%1$s}', pg_temp.path(1, 'mix.wav')), 'delivery_file_not_found', 'the same twice'),
    ('{NULL}', 'delivery_file_not_found', 'no path'),
    (format('{%s}', pg_temp.path(1, 'mix.wav')), null, 'what is stored')
) as c (files, code, says);
select is((select d.files from public.service_deliveries as d), o.delivery_files, 'the order names its last delivery')
from public.service_orders as o;

-- who reads
create function pg_temp.reads(who integer, name text) returns boolean language plpgsql as $$
declare
    answer boolean;
begin
    perform pg_temp.be(pg_temp.id(who));
    answer := private.may_read_delivery(name);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
select is(pg_temp.reads(who, path), reads, says)
from (values
    (1, pg_temp.path(1, 'mix.wav'), true, 'the seller'),
    (2, pg_temp.path(1, 'mix.wav'), true, 'the buyer'),
    (3, pg_temp.path(1, 'mix.wav'), false, 'not a stranger'),
    (4, pg_temp.path(1, 'mix.wav'), false, 'no admin'),
    (1, pg_temp.path(2, 'stems.wav'), false, 'nor what was not sent')
) as c (who, path, reads, says);
select is(private.is_pinned('deliveries', pg_temp.path(1, 'mix.wav')), true, 'what was delivered stays');
select is(private.is_pinned('deliveries', pg_temp.path(2, 'stems.wav')), false, 'what was not sent may go');
select is(pg_temp.code_as(pg_temp.id(2), 'select public.open_dispute(pg_temp.t(''order''), ''No'')'), null, 'a dispute');
select is(pg_temp.reads(4, pg_temp.path(1, 'mix.wav')), true, 'in which an admin looks');
update storage.objects set created_at = now() - interval '8 days' where bucket_id = 'deliveries';
select is((select array_agg(f.path) from private.unused_delivery_files() as f), array[pg_temp.path(2, 'stems.wav')], 'what was never sent is erased');
select is(pg_temp.code_as(pg_temp.id(who), 'select count(*) from public.service_deliveries'), null, 'asked')
from (values (1)) as c (who);

select * from finish();
rollback;
