-- Settlement, real fees and releases. The flows are in tests/money/; here each piece by itself.
begin;
\ir ../helpers.psql

select plan(30);
select pg_temp.people();
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
create temporary table t as select pg_temp.product(1, 2000) as product, pg_temp.artwork(1, 5000) as artwork;
create temporary table o as select
    (pg_temp.checkout(2, product) ->> 'payment_id')::uuid as p, (pg_temp.checkout(3,
        artwork) ->> 'payment_id')::uuid as q from t;
create function pg_temp.wallet(n integer) returns bigint[] language sql as $$
    select array[w.balance_available_cents, w.balance_pending_cents, w.debt_cents] from public.wallets as w
    where w.user_id = pg_temp.id(n)
$$;

select index_is_unique('private', 'holds', 'holds_single_key', 'a piece is held once');
select fk_ok('private', 'holds', 'order_id', 'public', 'orders', 'id');

-- settling
select is(private.settle_payment(p, 'ch_1'), 'settled', 'money is certain') from o;
select is(private.settle_payment(p, 'ch_1'), 'already_settled', 'once') from o;
select is(pg_temp.wallet(1), array[0, 1312, 0]::bigint[], 'earned, held');
select results_eq(
    $$select a.code, e.amount_cents from ledger.entries as e
    inner join ledger.accounts as a on a.id = e.account_id inner join ledger.journal as j on j.id = e.journal_id
    where j.kind = 'sale' order by e.leg_no$$,
    $$values ('clearing:stripe', -2000::bigint), ('fees:stripe', 88), ('revenue', 600), ('pending', 1312)$$,
        'money.md''s legs'
);
select is((select status::text from public.artworks where id = (select artwork from t)), 'published',
    'a held piece is for sale');
select is(private.settle_payment(q), 'settled', 'and sold') from o;
select is((select status::text from public.artworks where id = (select artwork from t)), 'sold', 'when it is paid');
select is((select count(*) from private.holds), 0::bigint, 'nobody holds it any more');

-- the real fee
select private.record_provider_fee(p, 'ch_other', 100) from o;
select results_eq(
    $$select provider_fee_cents, charge_id from public.payments where id = (select p from o)$$,
    $$values (100::bigint, 'ch_1')$$, 'noted, the charge stays'
);
select is((select amount_seller_cents from public.transactions where payment_id = (select p from o)), 1300::bigint,
    'the seller bears it');
select private.record_provider_fee(p, 'ch_1', 50) from o;
select is((select provider_fee_cents from public.payments where id = (select p from o)), 100::bigint, 'once');
select results_eq($$select payment_id from private.payments_missing_fee(9)$$, $$select q from o$$,
    'the other is still to be read');
select is(pg_temp.code_of(format('select private.record_provider_fee(%L, null, %s)', q, f)), 'event_rejected',
    f || ' is no fee')
from o, unnest(array['-1', '100000000', '9007199254740992', 'null']) as f;

-- release
select is(private.release_matured_earnings(10), 0, 'not before seven days');
update public.transactions set release_at = now();
select pg_temp.ban();
select is(private.release_matured_earnings(1), 1, 'a batch');
select is(private.release_matured_earnings(10), 1, 'the rest');
select is(private.release_matured_earnings(10), 0, 'each once');
select is(pg_temp.wallet(1), array[1300 + 3325, 0, 0]::bigint[], 'available now');
select is_empty($$select * from public.transactions as t inner join public.transaction_payees as p on p.transaction_id = t.id
    where p.pending_cents <> 0 or t.release_journal_id is null or p.release_journal_id is null$$,
    'nothing is held');
select pg_temp.buy(2, pg_temp.artwork(1, 1000));
update public.transactions set release_at = now() where release_journal_id is null;
insert into public.bans (user_id, reason) values (pg_temp.id(1), 'x');
select is(private.release_matured_earnings(10), 0, 'a banned seller''s money is held');
delete from public.bans where user_id = pg_temp.id(1);
select is(private.release_matured_earnings(10), 1, 'not lost');

-- debt is repaid first
select ledger.post('adjustment', 'debt', array[
    ledger.leg(pg_temp.id(3), 'debt', -500), ledger.leg(null, 'promotions', 500)], null, 'USD', 'test');
select pg_temp.buy(2, pg_temp.product(3, 1000));
update public.transactions set release_at = now() where release_journal_id is null;
select private.release_matured_earnings(10);
select is(pg_temp.wallet(3), array[541 - 500, 0, 0]::bigint[], 'debt first');
select is_empty($$select * from ledger.audit()$$, 'the books are right');

select is_empty(
    $$select r, p.oid::regprocedure from pg_catalog.pg_proc as p
    cross join unnest(array['anon', 'authenticated', 'service_role']) as r
    where p.proname in ('settle_payment', 'settle_payments', 'deliver_orders', 'record_provider_fee', 'release_matured_earnings',
        'lock_wallets',
    'payee_legs', 'give_back', 'cancel_pending_order', 'payments_missing_fee') and has_function_privilege(r, p.oid, 'execute')$$,
    'clients settle and release nothing'
);
select is_empty(
    $$select p.oid::regprocedure from pg_catalog.pg_proc as p
    where p.proname in ('settle_payment', 'settle_payments', 'deliver_orders', 'lock_wallets', 'payee_legs', 'give_back', 'cancel_pending_order')
    and has_function_privilege('avenue_worker', p.oid, 'execute')$$, 'workers settle through events only'
);

select * from finish();
rollback;
