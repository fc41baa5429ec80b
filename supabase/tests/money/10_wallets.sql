-- Wallets: opened by sign-up, read by their owner, written by the books only.
begin;
\ir ../helpers.psql

select plan(39);
select pg_temp.people();
select pg_temp.ban();

select is((select count(*) from public.wallets), 5::bigint, 'everybody gets one at sign-up');
select is((select count(*) from ledger.accounts where owner_id = pg_temp.id(1)), 3::bigint, 'with its three accounts');
select private.create_wallet(pg_temp.id(1));
select is((select count(*) from ledger.accounts where owner_id = pg_temp.id(1)), 3::bigint, 'once');
select results_eq(
    $$select balance_available_cents, balance_pending_cents, debt_cents, total_earned_cents, total_withdrawn_cents,
    payouts_enabled from public.wallets where user_id = pg_temp.id(1)$$,
    $$values (0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, false)$$, 'empty'
);
select is(pg_temp.code_of(format('update public.wallets set %I = -1', c)), '23514', c || ' is never negative')
from unnest(array['balance_available_cents', 'balance_pending_cents', 'debt_cents']) as c;

-- where payouts go
update public.wallets set stripe_account_id = 'acct_1', stripe_account_status = 'pending' where user_id = pg_temp.id(1);
select is((select payouts_enabled from public.wallets where user_id = pg_temp.id(1)), false, 'pending: not yet');
update public.wallets set stripe_account_status = 'enabled' where user_id = pg_temp.id(1);
select is((select payouts_enabled from public.wallets where user_id = pg_temp.id(1)), true, 'enabled');
update public.wallets set paypal_email = 'a@example.com' where user_id = pg_temp.id(2);
select is((select payouts_enabled from public.wallets where user_id = pg_temp.id(2)), false,
    'an address is not enough');
update public.wallets set paypal_verified = true where user_id = pg_temp.id(2);
select is((select payouts_enabled from public.wallets where user_id = pg_temp.id(2)), true, 'a verified one is');
select is(pg_temp.code_of($$update public.wallets set stripe_account_id = 'acct_1' where user_id = pg_temp.id(2)$$),
    '23505', 'one account, one wallet');

-- who sees what
select pg_temp.be(pg_temp.id(1));
select results_eq($$select user_id from public.wallets$$, $$values (pg_temp.id(1))$$, 'one''s own');
select lives_ok($$select * from public.wallets$$, 'with every column');
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.wallets), 5::bigint, 'admins see all');
select pg_temp.be(pg_temp.id(5));
select is((select count(*) from public.wallets), 0::bigint, 'the banned none');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.wallets$$), '42501', 'visitors none');
select is(pg_temp.code_as(pg_temp.id(w), s), '42501', format('%s cannot %s', w, s))
from unnest(array[1, 4]) as w
cross join unnest(array[
    'update public.wallets set balance_available_cents = 1000000', 'update public.wallets set debt_cents = 0',
    'update public.wallets set payouts_held_until = null', 'update public.wallets set stripe_account_id = ''acct_x''',
    'update public.wallets set stripe_account_status = ''enabled''', 'update public.wallets set paypal_verified = true',
    'delete from public.wallets', 'insert into public.wallets (user_id) values (pg_temp.id(1))',
    'select private.create_wallet(pg_temp.id(1))', 'select private.set_payout_destination(pg_temp.id(1), ''x'')',
    'select private.record_account_status(''acct_1'', ''enabled'')'
]) as s;
reset role;

select * from finish();
rollback;
