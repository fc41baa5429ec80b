-- A buyer asks, the seller answers in time.
begin;
\ir ../helpers.psql

select plan(45);
select pg_temp.people();
create temporary table o as select pg_temp.buy(2, pg_temp.product(1, 2000)) as one, pg_temp.buy(2, pg_temp.product(1, 900))
    as two;
grant select on o to public;
create function pg_temp.line(n text) returns uuid language sql security definer as $$
    select i.id from public.order_items as i, o where i.order_id = case n when 'one' then one else two end
$$;
create function pg_temp.request() returns uuid language sql security definer as $$
    select r.id from public.refund_requests as r order by r.created_at desc, r.status = 'open' desc limit 1
$$;
create function pg_temp.rows_as(n integer) returns integer language plpgsql as $$
declare
    found integer;
begin
    perform pg_temp.be(pg_temp.id(n));
    select count(*) into found from public.refund_requests;
    perform set_config('role', 'none', true);
    return found;
end
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.ban();

-- asking
select is(pg_temp.code_as(pg_temp.id(w), format('select public.request_refund(%s)', a)), c, format('%s: %s for %s', w, c, a))
from (values
    (1, 'pg_temp.line(''one''), ''x''', 'sale_not_found'), (3, 'pg_temp.line(''one''), ''x''', 'sale_not_found'),
    (4, 'pg_temp.line(''one''), ''x''', 'sale_not_found'), (5, 'pg_temp.line(''one''), ''x''', 'banned'),
    (2, 'gen_random_uuid(), ''x''', 'sale_not_found'), (2, 'pg_temp.line(''one''), '' ''', 'reason_required'),
    (2, 'pg_temp.line(''one''), U&''\200B\2800''', 'reason_required'),
    (2, 'pg_temp.line(''one''), null', 'reason_required'), (2, 'pg_temp.line(''one''), repeat(''x'', 501)', 'reason_required')
) as t (w, a, c);
select pg_temp.be(pg_temp.id(2));
select results_eq(
    $$select order_item_id, buyer_id, seller_id, reason, status::text, answer_by, note, refund_id
    from public.request_refund(pg_temp.line('one'), ' it is broken ')$$,
    $$values (pg_temp.line('one'), pg_temp.id(2), pg_temp.id(1), 'it is broken', 'open', now() + interval '7 days',
        null::text, null::uuid)$$, 'the buyer asks'
);
select is(pg_temp.code_of($$select public.request_refund(pg_temp.line('one'), 'again')$$), 'refund_request_open', 'once');
reset role;
select is((select count(*) from public.notifications where user_id = pg_temp.id(1) and type = 'refund_request'
    and actor_id = pg_temp.id(2)), 1::bigint, 'the seller is told');

-- who sees and writes
select is(pg_temp.rows_as(w), c, format('%s sees %s', w, c))
from (values (1, 1), (2, 1), (3, 0), (4, 1), (5, 0)) as t (w, c);
select is(pg_temp.code_as(pg_temp.id(w), s), '42501', format('%s cannot %s', w, s)) from unnest(array[1, 2, 4]) as w
cross join unnest(array['update public.refund_requests set status = ''declined''', 'delete from public.refund_requests']) as s;
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of('select * from public.refund_requests'), '42501', 'visitors');
reset role;

-- answering
select is(pg_temp.code_as(pg_temp.id(w), format('select public.answer_refund_request(%s)', a)), c, format('%s: %s for %s', w,
    c, a))
from (values
    (2, 'pg_temp.request(), true', 'refund_request_closed'), (3, 'pg_temp.request(), true', 'refund_request_closed'),
    (5, 'pg_temp.request(), true', 'banned'), (1, 'gen_random_uuid(), true', 'refund_request_closed'),
    (1, 'pg_temp.request(), true, '' ''', 'reason_required'), (1, 'pg_temp.request(), true, U&''\200B\2800''', 'reason_required')
) as t (w, a, c);
select pg_temp.be(pg_temp.id(1));
select results_eq($$select status::text, note, refund_id from public.answer_refund_request(pg_temp.request(), false,
    'it was not')$$, $$values ('declined', 'it was not', null::uuid)$$, 'the seller declines');
select is(pg_temp.code_of($$select public.answer_refund_request(pg_temp.request(), true)$$), 'refund_request_closed', 'once');
reset role;
select is((select count(*) from public.notifications where user_id = pg_temp.id(2) and type = 'refund_request_answered'
    and actor_id is null), 1::bigint, 'the buyer is told');
select pg_temp.be(pg_temp.id(2));
select lives_ok($$select public.request_refund(pg_temp.line('two'), 'please')$$, 'another line');
select pg_temp.be(pg_temp.id(1));
select is((select status::text from public.answer_refund_request(pg_temp.request(), true)), 'accepted', 'accepted');
select results_eq($$select f.amount_cents, f.origin::text, f.order_item_id
    from public.refund_requests as r inner join public.refunds as f on f.id = r.refund_id$$,
    $$values (900::bigint, 'seller', pg_temp.line('two'))$$, 'which makes the refund');
reset role;

-- time
select pg_temp.be(pg_temp.id(2));
select lives_ok($$select public.request_refund(pg_temp.line('one'), 'still broken')$$, 'asked again after a no');
reset role;
update public.refund_requests set answer_by = now() where status = 'open';
select is(pg_temp.code_as(pg_temp.id(1), 'select public.answer_refund_request(pg_temp.request(), true)'),
    'refund_request_closed', 'too late');
select is(private.expire_refund_requests(), 1, 'the job ends it');
select is((select count(*) from public.refund_requests where status = 'expired' and answered_at is not null), 1::bigint,
    'as expired');
select is((select count(*) from public.notifications where user_id = pg_temp.id(2) and type = 'refund_request_answered'),
    3::bigint, 'which the buyer is told');
select pg_temp.be(pg_temp.id(2));
select lives_ok($$select public.request_refund(pg_temp.line('one'), 'and again')$$, 'an expired one makes room');
select pg_temp.be(pg_temp.id(4));
select is((select status::text from public.answer_refund_request(pg_temp.request(), true)), 'accepted', 'an admin decides');
reset role;
select is((select count(*) from public.audit_log where action = 'answer_refund_request'), 1::bigint, 'audited');

delete from auth.users where id = pg_temp.id(2);
select is((select count(*) from public.refund_requests where reason <> 'erased'), 0::bigint, 'words go with the account');

select * from finish();
rollback;
