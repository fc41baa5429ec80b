-- What the two sides of a service order agree on, and what an admin decides: whose part, and each refusal.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t (name text, id uuid);
grant select on t to public;
create function pg_temp.t(name text) returns uuid language sql security definer as $$
    select t.id from t where t.name = $1
$$;
create function pg_temp.open_request(of_kind text) returns uuid language sql security definer as $$
    select r.id from public.resolution_requests as r where r.kind::text = of_kind and r.status = 'open'
$$;
create function pg_temp.extra() returns uuid language sql security definer as $$
    select e.id from public.service_order_extras as e
$$;
grant execute on all functions in schema pg_temp to public;
-- Who is offered something has written first, or accepted.
select pg_temp.be(pg_temp.id(2));
select lives_ok($$select public.start_conversation(array[pg_temp.id(1)])$$, '2 begins to talk to 1');
select pg_temp.be(pg_temp.id(1));
create temporary table made as
select o.id as offer
from public.start_conversation(array[pg_temp.id(2)]) as c
cross join lateral public.send_offer(c.id, 'A mix', 'Two songs', 10000, 3, 1, clock_timestamp() + interval '1 day') as o;
reset role;
grant select on made to public;
select pg_temp.be(pg_temp.id(2));
create temporary table paid as
select public.checkout_payable(a.payable_id) as answer from made as m, public.accept_offer(m.offer, 1) as a;
reset role;
select pg_temp.start((answer ->> 'payment_id')::uuid) from paid;
select pg_temp.event('payment_intent.succeeded', pg_temp.intent((answer ->> 'payment_id')::uuid)) from paid;
insert into t select 'order', id from public.service_orders;

select is(pg_temp.code_as(pg_temp.id(who), statement), code, says)
from (values
    (2, 'select public.propose_extension(pg_temp.t(''order''), 1, ''More'')', 'not_your_part', 'a buyer needs no time'),
    (1, 'select public.propose_extension(pg_temp.t(''order''), 1, '''')', 'reason_required', 'why'),
    (1, 'select public.propose_extension(pg_temp.t(''order''), 0, ''More'')', '23514', 'no day'),
    (1, 'select public.propose_extension(pg_temp.t(''order''), 61, ''More'')', 'extension_too_long', 'too many'),
    (1, 'select public.propose_extension(pg_temp.t(''order''), 2, ''More'')', null, 'two days'),
    (1, 'select public.propose_extension(pg_temp.t(''order''), 2, ''More'')', 'resolution_open', 'once at a time'),
    (1, 'select public.answer_resolution(pg_temp.open_request(''extend''), true)', 'not_your_part', 'one''s own'),
    (3, 'select public.answer_resolution(pg_temp.open_request(''extend''), true)', 'resolution_not_found', 'a stranger''s'),
    (4, 'select public.answer_resolution(pg_temp.open_request(''extend''), true)', 'resolution_not_found', 'an admin''s'),
    (2, 'select public.withdraw_resolution(pg_temp.open_request(''extend''))', 'not_your_part', 'the other one''s'),
    (3, 'select public.withdraw_resolution(pg_temp.open_request(''extend''))', 'resolution_not_found', 'a stranger''s'),
    (2, 'select public.answer_resolution(pg_temp.open_request(''extend''), false)', null, 'declined'),
    (2, 'select public.propose_cancellation(pg_temp.t(''order''), 10001, ''No'')', 'refund_amount_invalid', 'more than was paid'),
    (2, 'select public.propose_cancellation(pg_temp.t(''order''), -1, ''No'')', 'refund_amount_invalid', 'less than nothing'),
    (2, 'select public.propose_cancellation(pg_temp.t(''order''), null, ''No'')', 'refund_amount_invalid', 'nothing said'),
    (2, 'select public.propose_cancellation(pg_temp.t(''order''), 6000, ''No'')', null, 'sixty percent'),
    (2, 'select public.answer_resolution(pg_temp.open_request(''cancel''), true)', 'not_your_part', 'not by who proposed it'),
    (2, 'select public.offer_order_extra(pg_temp.t(''order''), ''More'', 500, 1)', 'not_your_part', 'a buyer offers nothing'),
    (1, 'select public.offer_order_extra(pg_temp.t(''order''), ''More'', 49, 1)', '23514', 'a price that is too small'),
    (1, 'select public.offer_order_extra(pg_temp.t(''order''), ''More'', 500, 1)', null, 'an extra'),
    (1, 'select public.decline_order_extra(pg_temp.extra())', 'not_your_part', 'its seller does not decline it'),
    (2, 'select public.withdraw_order_extra(pg_temp.extra())', 'not_your_part', 'its buyer does not withdraw it'),
    (3, 'select public.decline_order_extra(pg_temp.extra())', 'extra_not_found', 'a stranger finds none'),
    (4, 'select public.withdraw_order_extra(pg_temp.extra())', 'extra_not_found', 'nor does an admin'),
    (2, 'select public.decide_dispute(pg_temp.t(''order''), 0, ''So'')', 'admin_only', 'a buyer decides nothing'),
    (4, 'select public.decide_dispute(pg_temp.t(''order''), 0, ''So'')', 'state_changed', 'there is no dispute'),
    (4, 'select public.decide_dispute(pg_temp.id(9), 0, ''So'')', 'service_order_not_found', 'nor such an order'),
    (4, 'select public.dispute_messages(pg_temp.t(''order''))', 'state_changed', 'nothing to read without a dispute'),
    (2, 'select public.dispute_messages(pg_temp.t(''order''))', 'admin_only', 'for admins'),
    (3, 'select public.service_order_conversation(pg_temp.t(''order''))', 'service_order_not_found', 'a stranger does not talk'),
    (4, 'select public.service_order_conversation(pg_temp.t(''order''))', 'service_order_not_found', 'nor does an admin'),
    (1, 'select public.service_order_conversation(pg_temp.t(''order''))', null, 'the two do'),
    (1, 'select public.open_dispute(pg_temp.t(''order''), ''No'')', null, 'a dispute'),
    (4, 'select public.decide_dispute(pg_temp.t(''order''), null, ''So'')', 'refund_amount_invalid', 'in cents'),
    (4, 'select public.decide_dispute(pg_temp.t(''order''), 10001, ''So'')', 'refund_amount_invalid', 'of what was paid'),
    (4, 'select public.decide_dispute(pg_temp.t(''order''), 1, '''')', 'reason_required', 'and why')
) as c (who, statement, code, says);
update public.service_orders set buyer_id = pg_temp.id(3);
select is(pg_temp.code_as(pg_temp.id(4), 'select public.decide_dispute(pg_temp.t(''order''), 0, ''So'')'), null, 'decided');
update public.service_orders set buyer_id = pg_temp.id(2);
select is(
    (select format('%s %s', o.status, t.completed_at is not null) from public.service_orders as o, public.transactions as t),
    'completed t', 'for the seller: completed and earned'
);
select is(
    (select string_agg(r.status::text, ' ' order by r.kind) from public.resolution_requests as r), 'declined expired',
    'what was open about it has ended'
);
select is((select e.status::text from public.service_order_extras as e), 'withdrawn', 'the extra too');
select is((select p.status::text from public.payables as p where p.kind = 'service_extra'), 'withdrawn', 'and what was to be paid');
select is((select count(*) from public.audit_log where action = 'decide_dispute'), 1::bigint, 'it is known who decided');
select is(
    (select e.actor_id from public.service_order_events as e where e.act = 'decide'), null, 'not to the two'
);

select * from finish();
rollback;
