-- Refunds: who may ask, what is refused, what is seen. The flows are in tests/money/test_sharp_cases.py.
begin;
\ir ../helpers.psql

select plan(75);
create function pg_temp.rows_as(n integer, relation regclass) returns integer language plpgsql as $$
declare
    found integer;
begin
    perform pg_temp.be(pg_temp.id(n));
    execute format('select count(*) from %s', relation) into found;
    perform set_config('role', 'none', true);
    return found;
end
$$;
select pg_temp.people();
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
create temporary table t as select pg_temp.product(1, 2000) as product, pg_temp.product(3, 1000) as other;
create temporary table o as select pg_temp.buy(2, product) as one, pg_temp.buy(5, other) as two from t;
create function pg_temp.line(n text) returns uuid language sql security definer as $$
    select i.id from public.order_items as i where i.order_id = case n when 'one' then (select one
        from o) else (select two from o) end
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.ban();

-- structure
select fk_ok('public', 'refunds', 'payment_id', 'public', 'payments', 'id');
select fk_ok('public', 'refund_lines', 'transaction_id', 'public', 'transactions', 'id');
select col_is_unique('public', 'refunds', array['provider_ref', 'provider'], 'the provider''s refund is one');
select enum_has_labels('public', 'refund_status', array['requested', 'pending', 'succeeded', 'failed', 'cancelled'],
    'only to the right');

-- refused
select is(pg_temp.code_as(pg_temp.id(w), format('select public.refund_order_item(%s)', a)), c, format('%s: %s for %s',
    w, c, a))
from (values
    (2, 'pg_temp.line(''one'')', 'sale_not_found'), (3, 'pg_temp.line(''one'')', 'sale_not_found'), (1,
        'gen_random_uuid()', 'sale_not_found'),
    (1, 'null', 'sale_not_found'), (5, 'pg_temp.line(''two'')', 'banned'),
    (1, 'pg_temp.line(''one''), 0', 'refund_amount_invalid'), (1, 'pg_temp.line(''one''), -1', 'refund_amount_invalid'),
    (1, 'pg_temp.line(''one''), 2001', 'refund_amount_invalid'), (1, 'pg_temp.line(''one''), 9007199254740992',
        'refund_amount_invalid'),
    (4, 'pg_temp.line(''one''), 2001', 'refund_amount_invalid'), (1, 'pg_temp.line(''one''), 100, ''  ''',
        'reason_required'),
    (1, 'pg_temp.line(''one''), 100, null', 'reason_required'), (1, 'pg_temp.line(''one''), 100, repeat(''x'', 501)',
        'reason_required')
) as x (w, a, c);
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select public.refund_order_item(pg_temp.line('one'))$$), '42501', 'visitors');
reset role;
select is((select count(*) from public.refunds), 0::bigint, 'nothing was asked for');

-- asked
select pg_temp.be(pg_temp.id(1));
select results_eq(
    $$select amount_cents, status::text, origin::text, reason, order_item_id = pg_temp.line('one')
    from public.refund_order_item(pg_temp.line('one'), 500, 'sorry', 'k')$$,
    $$values (500::bigint, 'requested', 'seller', 'sorry', true)$$, 'a seller gives back a part'
);
select is((select count(distinct r.id) from public.refunds as r), 1::bigint, 'one refund');
select is((select amount_cents from public.refund_order_item(pg_temp.line('one'), 500, 'sorry', 'k')), 500::bigint,
    'the same key and request is the same refund');
select is((select count(*) from public.refunds), 1::bigint, 'and makes no other');
select is(pg_temp.code_of(format('select public.refund_order_item(%s)', a)), c, format('%s for %s', c, a)) from (values
    ('pg_temp.line(''one''), 900, ''sorry'', ''k''', 'idempotency_key_reused'),
    ('pg_temp.line(''one''), 500, ''pardon'', ''k''', 'idempotency_key_reused'),
    ('pg_temp.line(''two''), 500, ''sorry'', ''k''', 'idempotency_key_reused'),
    ('pg_temp.line(''one''), 500, ''sorry'', ''''', 'idempotency_key_invalid')
) as t (a, c);
select pg_temp.be(pg_temp.id(4));
select lives_ok($$select public.refund_order_item(pg_temp.line('two'), null, 'complaint')$$, 'an admin the whole');
reset role;
select is((select count(*) from public.audit_log where action = 'refund'), 1::bigint, 'which is audited');
update public.wallets set balance_available_cents = 0 where user_id = pg_temp.id(1);

-- at the provider
create function pg_temp.refund(n text) returns uuid language sql as $$ select id
    from public.refunds where order_item_id = pg_temp.line(n) $$;
select is(private.claim_refund(pg_temp.refund('one')) - 'metadata' - 'provider_ref', jsonb_build_object(
    'refund_id', pg_temp.refund('one'), 'provider', 'stripe', 'amount_cents', 500, 'currency', 'USD'), 'what to send');
select is(private.claim_refund(gen_random_uuid()), null, 'nothing to send');
select private.record_refund(pg_temp.refund('one'), 're_1', 'pending');
select is(private.claim_refund(pg_temp.refund('one')), null, 'it is there already');
select is((select count(*) from public.refund_lines), 0::bigint, 'pending books nothing');
select private.record_refund(pg_temp.refund('one'), 're_1', 'succeeded');
select results_eq(
    $$select amount_cents, tax_cents, commission_cents, seller_cents from public.refund_lines$$,
    $$values (500::bigint, 0::bigint, 150::bigint, 350::bigint)$$, 'pro rata on the commission'
);
select is(pg_temp.code_of($$select private.record_refund(pg_temp.refund('one'), 're_2', 'succeeded')$$),
    'event_rejected', 'never another one');
select private.record_refund(pg_temp.refund('one'), 're_1', 'requires_action');
select is((select status::text from public.refunds where id = pg_temp.refund('one')), 'succeeded',
    'states only move on');
select results_eq($$select sent from private.refunds_to_resume(9)$$, $$select true where false$$, 'nothing is overdue');
update public.refunds set created_at = now() - interval '2 minutes' where id = pg_temp.refund('two');
select results_eq($$select refund_id, sent from private.refunds_to_resume(9)$$, $$values (pg_temp.refund('two'),
    false)$$, 'a lost job is found');

-- the seller's limit
update private.settings set seller_debt_cents = 88;
select private.release_matured_earnings(1);
update public.transactions set release_at = now();
select private.release_matured_earnings(9);
select ledger.post('adjustment', 'spent', array[ledger.leg(pg_temp.id(1), 'available', -962), ledger.leg(null,
    'promotions', 962)],
    null, 'USD', 'test');
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$select public.refund_order_item(pg_temp.line('one'))$$), 'insufficient_funds',
    'what was spent cannot be given back');
select is((select amount_cents from public.refund_order_item(pg_temp.line('one'), 125, 'the kept fee')), 125::bigint,
    'a small debt is allowed');
reset role;

-- who sees what: refunds / lines
select is(
    array[pg_temp.rows_as(w, 'public.refunds'), pg_temp.rows_as(w, 'public.refund_lines')], array[r, l],
    format('%s sees %s refunds and %s lines', w, r, l)
)
from (values (1, 2, 1), (2, 2, 1), (3, 1, 0), (4, 3, 1), (5, 0, 0)) as t (w, r, l);
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of('select * from public.' || r), '42501', 'visitors: ' || r) from unnest(array['refunds',
    'refund_lines']) as r;
select is(pg_temp.code_as(pg_temp.id(w), s), '42501', format('%s cannot %s', w, s))
from unnest(array[1, 2, 4]) as w
cross join unnest(array[
    'update public.refunds set status = ''succeeded''', 'delete from public.refunds',
        'update public.refund_lines set seller_cents = 0',
    'insert into public.refunds (payment_id, amount_cents, reason, provider) '
    'values (gen_random_uuid(), 1, ''x'', ''stripe'')',
    'select private.record_refund(pg_temp.refund(''two''), ''re_x'', ''succeeded'')',
        'select private.book_refund(pg_temp.refund(''two''))',
    'select private.create_refund(gen_random_uuid(), null, 1, ''x'')',
        'select private.reverse_refund(pg_temp.refund(''one''))'
]) as s;
reset role;

-- rules
select is(pg_temp.code_of(s), '23514', s) from unnest(array[
    'update public.refunds set amount_cents = 0', 'update public.refunds set amount_cents = -5',
    'update public.refunds set amount_cents = 9007199254740992',
    'update public.refund_lines set seller_cents = seller_cents + 1'
]) as s;

select * from finish();
rollback;
