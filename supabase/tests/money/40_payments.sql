-- Payments and the transactions they become: who sees them, what their tables refuse.
begin;
\ir ../helpers.psql

select plan(68);
select pg_temp.people();
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
create temporary table o as select
    pg_temp.buy(2, pg_temp.product(1, 2000)) as paid, pg_temp.buy(5, pg_temp.product(1, 2000)) as banned,
    (pg_temp.checkout(3, pg_temp.artwork(1, 5000)) ->> 'order_id')::uuid as open;
grant select on o to public;
select pg_temp.ban();

-- structure
select fk_ok('public', 'payments', 'user_id', 'public', 'profiles', 'id');
select fk_ok('public', 'payments', 'order_id', 'public', 'orders', 'id');
select fk_ok('public', 'transactions', 'payment_id', 'public', 'payments', 'id');
select fk_ok('public', 'transactions', 'order_item_id', 'public', 'order_items', 'id');
select col_is_unique('public', 'payments', array['provider_ref', 'provider'], 'one row per object of the provider');
select col_is_unique('public', 'transactions', 'order_item_id', 'one sale per line');
select enum_has_labels('public', 'payment_status', array['requires_payment', 'processing', 'succeeded', 'failed',
    'cancelled',
    'refunded', 'partially_refunded', 'disputed'], 'states of a payment');

-- what became of them
select results_eq(
    $$select status::text, amount_cents, fee_estimate_cents, provider::text, charge_id is not null,
        succeeded_at is not null
    from public.payments where order_id = (select paid from o)$$,
    $$values ('succeeded', 2000::bigint, 88::bigint, 'stripe', true, true)$$, 'a settled payment'
);
select results_eq(
    $$select t.buyer_id, t.seller_id, t.kind, amount_total_cents, amount_fees_cents,
        amount_commission_cents,
    amount_seller_cents, commission_bps, seller_tier, payment_method, status::text,
    p.payee_id, share_bps, cents, pending_cents, release_at, completed_at
    from public.transactions as t inner join public.transaction_payees as p on p.transaction_id = t.id
    where t.order_item_id in (select i.id from public.order_items as i where i.order_id = (select paid from o))$$,
    $$values (pg_temp.id(2), pg_temp.id(1), 'product', 2000::bigint, 88::bigint, 600::bigint, 1312::bigint,
        3000,
    'standard', 'card', 'completed', pg_temp.id(1), 10000, 1312::bigint, 1312::bigint, now() + interval '7 days',
    now())$$, 'and its sale'
);
select results_eq(
    $$select status::text, expires_at from public.payments where order_id = (select open from o)$$,
    $$values ('requires_payment', now() + interval '15 minutes')$$, 'one that waits holds its piece for 15 minutes'
);
select results_eq(
    $$select total_earned_stripe_cents, total_earned_cents from public.wallets where user_id = pg_temp.id(1)$$,
    $$values (2624::bigint, 2624::bigint)$$, 'lifetime earnings'
);

-- rules
select is(pg_temp.code_of(s), '23514', s) from unnest(array[
    'update public.payments set amount_cents = 0', 'update public.payments set amount_cents = -1',
    'update public.payments set amount_cents = 9007199254740992', 'update public.payments set refunded_cents = 2000000',
    'update public.payments set refunded_cents = -1', 'update public.payments set provider_fee_cents = -1',
    'update public.payments set fee_estimate_cents = 100000000',
    'update public.transactions set amount_seller_cents = amount_seller_cents + 1',
    'update public.transactions set refunded_cents = 2001, refunded_seller_cents = 2001',
    'update public.transactions set refunded_cents = 1', 'update public.transaction_payees set pending_cents = -1',
    'update public.transaction_payees set share_bps = 10001',
    'update public.transactions set completed_at = null',
    'update public.transactions set free_refunded_cents = 1'
]) as s;
select is(pg_temp.code_of($$update public.payments set provider_ref = 'pi_same'$$), '23505',
    'two payments, one object');

-- who sees what: payments / transactions
select pg_temp.be(pg_temp.id(2));
select results_eq($$select (select count(*) from public.payments), (select count(*) from public.transactions)$$,
    $$values (1::bigint, 1::bigint)$$, 'the payer');
select lives_ok($$select * from public.payments, public.transactions$$, 'every column');
select pg_temp.be(pg_temp.id(1));
select results_eq($$select (select count(*) from public.payments), (select count(*) from public.transactions)$$,
    $$values (0::bigint, 2::bigint)$$, 'the seller sees sales, not payments');
select pg_temp.be(pg_temp.id(3));
select results_eq($$select (select count(*) from public.payments), (select count(*) from public.transactions)$$,
    $$values (1::bigint, 0::bigint)$$, 'another buyer sees only what is theirs');
select pg_temp.be(pg_temp.id(4));
select results_eq($$select (select count(*) from public.payments), (select count(*) from public.transactions)$$,
    $$values (3::bigint, 2::bigint)$$, 'admins');
select pg_temp.be(pg_temp.id(5));
select results_eq($$select (select count(*) from public.payments), (select count(*) from public.transactions)$$,
    $$values (0::bigint, 0::bigint)$$, 'the banned');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of('select * from public.' || r), '42501', 'visitors: ' || r)
from unnest(array['payments', 'transactions', 'transaction_payees']) as r;
select is(pg_temp.code_as(pg_temp.id(w), s), '42501', format('%s cannot %s', w, s))
from unnest(array[1, 2, 4]) as w
cross join unnest(array[
    'update public.payments set status = ''succeeded''', 'update public.payments set amount_cents = 50',
    'delete from public.payments', 'insert into public.payments (user_id) values (pg_temp.id(2))',
    'update public.transactions set status = ''completed''', 'update public.transactions set release_at = now()',
    'update public.transaction_payees set pending_cents = 0', 'delete from public.transaction_payees',
    'delete from public.transactions',
    'select private.settle_payment(gen_random_uuid())', 'select private.record_provider_fee(gen_random_uuid(), null, 0)'
]) as s;
reset role;

select * from finish();
rollback;
