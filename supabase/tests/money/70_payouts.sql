-- Payouts: asked for, approved, sent once, confirmed or given back.
begin;
\ir ../helpers.psql

select plan(101);
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
insert into auth.users (id, email) values (pg_temp.id(6), '6@example.com');
update public.profiles set role = 'admin' where id = pg_temp.id(6);
create function pg_temp.fund(n integer, cents bigint) returns bigint language sql as $$
    select ledger.post('adjustment', 'fund:' || gen_random_uuid(),
        array[ledger.leg(pg_temp.id(n), 'available', cents), ledger.leg(null, 'promotions', -cents)], null, 'USD',
            'test')
$$;
create function pg_temp.available(n integer) returns bigint language sql as $$
    select w.balance_available_cents from public.wallets as w where w.user_id = pg_temp.id(n)
$$;
create function pg_temp.payout(n integer) returns uuid language sql security definer as $$
    select p.id from public.payouts as p where p.user_id = pg_temp.id(n) order by p.requested_at desc, p.status limit 1
$$;
create function pg_temp.status(n integer) returns text language sql as $$
    select p.status::text from public.payouts as p where p.id = pg_temp.payout(n)
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.fund(n, 300000) from unnest(array[1, 2, 3, 4, 5]) as n;

-- where payouts go
select is(pg_temp.code_of($$select private.prepare_onboarding(gen_random_uuid(), false, now())$$), 'not_signed_in',
    'nobody');
select is(private.prepare_onboarding(pg_temp.id(1), false, null) ->> 'account_id', null, 'no account yet');
select private.set_payout_destination(pg_temp.id(n), 'acct_' || n) from unnest(array[1, 2, 3, 4, 5]) as n;
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$select public.request_payout(5000)$$), 'payouts_not_enabled', 'not verified yet');
reset role;
select private.record_account_status('acct_' || n, 'enabled') from unnest(array[1, 2, 3, 4, 5]) as n;
select is((select payouts_held_until from public.wallets where user_id = pg_temp.id(1)), null,
    'the first destination holds nothing');
select is(private.prepare_onboarding(pg_temp.id(1), false, null) ->> 'account_id', 'acct_1', 'opened again');
select is(pg_temp.code_of(format('select private.prepare_onboarding(pg_temp.id(1), true, %s)', at)),
    'fresh_login_required', at)
from unnest(array['null', 'now() - interval ''16 minutes''']) as at;
select is(private.prepare_onboarding(pg_temp.id(1), true, now()) ->> 'account_id', null, 'a fresh login may change it');

-- asking
select pg_temp.ban();
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of(format('select public.request_payout(%s)', a)), c, format('%s: %s', a, c)) from (values
    ('4999', 'payout_amount_invalid'), ('0', 'payout_amount_invalid'), ('-5000', 'payout_amount_invalid'), ('null',
        'payout_amount_invalid'),
    ('100000000', 'payout_amount_invalid'), ('9007199254740992', 'payout_amount_invalid'), ('300001',
        'insufficient_funds')
) as t (a, c);
select results_eq(
    $$select amount_cents, status::text, destination, approved_by, approved_at is not null
        from public.request_payout(100000)$$,
    $$values (100000::bigint, 'approved', 'acct_1', null::uuid, true)$$, 'up to the limit it is approved at once'
);
select is(pg_temp.code_of($$select public.request_payout(5000)$$), 'payout_open', 'one at a time');
select pg_temp.be(pg_temp.id(2));
select is((select status::text from public.request_payout(100001)), 'requested', 'above it waits for an admin');
select pg_temp.be(pg_temp.id(5));
select is(pg_temp.code_of($$select public.request_payout(5000)$$), 'banned', 'the banned');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select public.request_payout(5000)$$), '42501', 'visitors');
reset role;
select is(pg_temp.available(1), 200000::bigint, 'the money is in transit');
select is((select balance_cents from private.account_balances() where account = 'payouts_in_transit'), 200001::bigint,
    'all of it');

-- approving
select is(pg_temp.code_as(pg_temp.id(w), 'select public.approve_payout(pg_temp.payout(2))'), c, w || ' approves: ' || c)
from (values (1, 'admin_only'), (2, 'admin_only'), (3, 'admin_only'), (5, 'banned')) as t (w, c);
select pg_temp.be(pg_temp.id(4));
select is((select status::text from public.request_payout(200000)), 'requested', 'an admin asks');
select is(pg_temp.code_of('select public.approve_payout(pg_temp.payout(4))'), 'own_payout',
    'and does not approve that');
select is((select status::text from public.approve_payout(pg_temp.payout(2))), 'approved', 'but another''s');
select is(pg_temp.code_of('select public.approve_payout(pg_temp.payout(2))'), 'payout_not_open', 'once');
select pg_temp.be(pg_temp.id(6));
select is((select approved_by from public.approve_payout(pg_temp.payout(4))), pg_temp.id(6), 'another admin does');
reset role;
select is((select count(*) from public.audit_log where action = 'approve_payout'), 2::bigint, 'audited');

-- cancelling
select is(pg_temp.code_as(pg_temp.id(w), 'select public.cancel_payout(pg_temp.payout(2))'), c, w || ' cancels: ' || c)
from (values (1, 'payout_not_open'), (3, 'payout_not_open'), (5, 'banned')) as t (w, c);
select pg_temp.be(pg_temp.id(2));
select results_eq($$select status::text, failure_reason from public.cancel_payout(pg_temp.payout(2))$$,
    $$values ('cancelled', 'by_seller')$$, 'its seller may');
select is(pg_temp.code_of('select public.cancel_payout(pg_temp.payout(2))'), 'payout_not_open', 'once');
reset role;
select is(pg_temp.available(2), 300000::bigint, 'and has the money back');
select pg_temp.be(pg_temp.id(6));
select is((select failure_reason from public.cancel_payout(pg_temp.payout(4))), 'by_admin', 'an admin may');
reset role;

-- sending
select results_eq($$select * from private.payouts_to_resume(60, 9)$$, $$select null::uuid where false$$,
    'nothing is stuck yet');
select results_eq($$select * from private.payouts_to_resume(0, 9)$$, $$select pg_temp.payout(1)$$,
    'a lost job is found');
select is(private.claim_payout(gen_random_uuid()), null, 'no such payout');
select is(private.claim_payout(pg_temp.payout(2)), null, 'a cancelled one is not sent');
select is(private.claim_payout(pg_temp.payout(1)), jsonb_build_object(
    'payout_id', pg_temp.payout(1), 'provider', 'stripe', 'amount_cents', 100000, 'currency', 'USD', 'destination',
        'acct_1',
    'metadata', jsonb_build_object('payout_id', pg_temp.payout(1))), 'what to send');
select is(private.claim_payout(pg_temp.payout(1)) ->> 'amount_cents', '100000', 'the same again after a crash');
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of('select public.cancel_payout(pg_temp.payout(1))'), 'payout_not_open', 'too late to cancel');
reset role;
select is(pg_temp.code_of(format('select private.complete_payout(%s)', a)), 'event_rejected', a) from unnest(array[
    'pg_temp.payout(1), ''tr_1'', 99999', 'pg_temp.payout(1), ''tr_1'', null', 'gen_random_uuid(), ''tr_1'', 100000',
    'pg_temp.payout(2), ''tr_1'', 100001'
]) as a;
select private.complete_payout(pg_temp.payout(1), 'tr_1', 100000);
select private.complete_payout(pg_temp.payout(1), 'tr_1', 100000);
select is(pg_temp.status(1), 'completed', 'confirmed');
select is((select total_withdrawn_stripe_cents from public.wallets where user_id = pg_temp.id(1)), 100000::bigint,
    'counted');
select is(pg_temp.code_of($$select private.complete_payout(pg_temp.payout(1), 'tr_2', 100000)$$), 'event_rejected',
    'not by two transfers');
select private.fail_payout(pg_temp.payout(1), 'account_closed');
select is(pg_temp.status(1), 'returned', 'a completed one that fails comes back');
select is(pg_temp.available(1), 300000::bigint, 'to the wallet');
select is((select total_withdrawn_stripe_cents from public.wallets where user_id = pg_temp.id(1)), 0::bigint,
    'and is not counted');

-- on hold
select pg_temp.be(pg_temp.id(3));
select lives_ok($$select public.request_payout(5000)$$, 'another payout');
reset role;
select private.set_payout_destination(pg_temp.id(3), 'acct_new');
select private.record_account_status('acct_new', 'enabled');
select is((select payouts_held_until from public.wallets where user_id = pg_temp.id(3)), now() + interval '72 hours',
    'a change holds');
select is(private.claim_payout(pg_temp.payout(3)), null, 'what is under way');
select pg_temp.be(pg_temp.id(3));
select lives_ok($$select public.cancel_payout(pg_temp.payout(3))$$, 'it can be cancelled');
select is(pg_temp.code_of($$select public.request_payout(5000)$$), 'payouts_held', 'and what is asked for');
reset role;

-- an operator's view and approval
select is((select count(*) from private.list_payouts()), 4::bigint, 'operators list them');
select is((select count(*) from private.list_payouts('cancelled')), 3::bigint, 'by state');
select is(pg_temp.code_of($$select private.approve_payout(pg_temp.payout(3), 'ops')$$), 'payout_not_open',
    'and approve what is open');

-- who sees what
select is(pg_temp.rows_as(w, 'public.payouts'), n, format('%s sees %s', w, n)) from (values (1, 1), (2, 1), (3, 1),
    (4, 4), (5, 0), (6, 4)) as t (w, n);
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.payouts$$), '42501', 'visitors');
select is(pg_temp.code_as(pg_temp.id(w), s), '42501', format('%s cannot %s', w, s))
from unnest(array[1, 4]) as w
cross join unnest(array[
    'update public.payouts set status = ''completed''', 'update public.payouts set amount_cents = 1',
        'delete from public.payouts',
    'update public.payouts set destination = ''acct_x''',
    'insert into public.payouts (user_id, amount_cents, destination) values (pg_temp.id(1), 5000, ''x'')',
    'select private.claim_payout(pg_temp.payout(1))', 'select private.complete_payout(pg_temp.payout(1), ''x'', 1)',
    'select private.approve_payout(pg_temp.payout(1), ''me'')',
        'select private.set_payout_approved(pg_temp.payout(1), null)',
    'select private.end_payout(pg_temp.payout(1), ''failed'', ''x'')',
        'select private.fail_payout(pg_temp.payout(1), ''x'')',
    'select private.prepare_onboarding(pg_temp.id(2), false, now())'
]) as s;
reset role;
select index_is_unique('public', 'payouts', 'payouts_one_open_idx', 'at most one open payout a wallet');
select is(pg_temp.code_of(s), '23514', s) from unnest(array[
    'update public.payouts set amount_cents = 0', 'update public.payouts set amount_cents = -1',
    'update public.payouts set amount_cents = 9007199254740992', 'update public.payouts set payout_method = ''wallet'''
]) as s;
select is_empty($$select * from ledger.audit()$$, 'the books are right');

select * from finish();
rollback;
