-- Payouts: asked for, approved, sent once, confirmed or given back.
begin;
\ir ../helpers.psql

select plan(151);
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
select is(private.prepare_onboarding(pg_temp.id(1), false, now()) ->> 'account_id', 'acct_1', 'opened again');
select is(pg_temp.code_of(format('select private.prepare_onboarding(pg_temp.id(1), %s, %s)', change, at)),
    'fresh_login_required', format('%s by a session of %s', change, at))
from unnest(array['null', 'now() - interval ''16 minutes''']) as at cross join unnest(array['true', 'false']) as change;
select is(private.prepare_onboarding(pg_temp.id(1), true, now()) ->> 'account_id', null, 'a fresh login may change it');
-- A password set from an open session proves nothing, and neither does one set again.
update auth.users set encrypted_password = n from generate_series(1, 3) as n where id = pg_temp.id(1);
select is(private.is_fresh_proof(pg_temp.id(p), now() + late, method), fresh, format('%s %s %s', p, late, method))
from (values
    (1, interval '0', 'password', false), (1, '1 minute', 'password', false), (1, '23 hours', 'password', false),
    (1, '25 hours', 'password', true), (1, '-10 minutes', 'password', true), (1, '0', 'otp', true),
    (1, '0', null, false), (1, '0', 'totp', false), (2, '0', 'password', true), (2, '-16 minutes', 'otp', false)
) as t (p, late, method, fresh);
-- Of a first account nobody knows who set it up: money waits.
select private.set_payout_destination(pg_temp.id(6), 'acct_6', false);
select is((select payouts_held_until from public.wallets where user_id = pg_temp.id(6)), now() + interval '72 hours',
    'a first destination of a session that is not fresh');
-- What the provider told may be lost: every account is read again, each in its turn.
update public.wallets set stripe_account_status = 'pending' where user_id = pg_temp.id(3);
select is((select count(*) from private.accounts_to_check(4)), 4::bigint, 'a batch of accounts');
select is((select count(*) from private.accounts_to_check(4)), 2::bigint, 'then the others');
update public.wallets set stripe_account_checked_at = now() - interval '61 minutes' where stripe_account_id is not null;
select set_eq('select * from private.accounts_to_check(9)', array['acct_3', 'acct_6'],
    'soon again those that cannot be paid');
update public.wallets set stripe_account_status = 'enabled' where user_id = pg_temp.id(3);

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
    $$select amount_cents, status::text, destination, approved_at is not null
        from public.request_payout(100000, 'k')$$,
    $$values (100000::bigint, 'approved', 'acct_1', true)$$, 'up to the limit it is approved at once'
);
select is(pg_temp.code_of($$select public.request_payout(5000)$$), 'payout_open', 'one at a time');
select is((select amount_cents from public.request_payout(100000, 'k')), 100000::bigint, 'the same key and request');
select is((select count(*) from public.payouts), 1::bigint, 'is the same payout');
select is(pg_temp.code_of($$select public.request_payout(5000, 'k')$$), 'idempotency_key_reused', 'another is refused');
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

-- The limit is one for a day, too.
select pg_temp.be(pg_temp.id(3));
select is((select status::text from public.request_payout(90000)), 'approved', 'one below the limit');
reset role;
select private.claim_payout(pg_temp.payout(3));
select private.complete_payout(pg_temp.payout(3), 'tr_3', 90000);
select pg_temp.be(pg_temp.id(3));
select is((select status::text from public.request_payout(10000)), 'approved', 'another, up to it');
select lives_ok('select public.cancel_payout(pg_temp.payout(3))', 'one that was cancelled is not counted');
select is((select status::text from public.request_payout(10001)), 'requested', 'together above it');
select lives_ok('select public.cancel_payout(pg_temp.payout(3))', 'and away');
reset role;
update public.payouts set requested_at = now() - interval '25 hours' where user_id = pg_temp.id(3);
select pg_temp.be(pg_temp.id(3));
select is((select status::text from public.request_payout(20000)), 'approved', 'the day after');
select lives_ok('select public.cancel_payout(pg_temp.payout(3))', 'and away');
reset role;

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
select is((select status::text from public.approve_payout(pg_temp.payout(4))), 'approved', 'another admin does');
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

-- Refused for a reason that passes: tried again, under another key, later each time.
select pg_temp.be(pg_temp.id(2));
select lives_ok('select public.request_payout(60000)', 'one more');
reset role;
create temporary table r as select pg_temp.payout(2) as id;
select isnt(private.claim_payout((select id from r)), null, 'sent');
select is(private.delay_provider_call((select id from r), 'payout', 'balance_insufficient'), now() + interval '1 minute',
    'we are short');
select is(private.claim_payout((select id from r)), null, 'not before its time');
select is_empty($$select * from private.payouts_to_resume(0, 9) where payout_id = (select id from r)$$, 'nor by the sweep');
select results_eq($$select status, failure_reason from private.list_payouts('processing')$$,
    $$values ('processing', 'delayed: balance_insufficient')$$, 'operators see why');
select is((select value from private.metrics() where name = 'avenue_provider_delays' and labels ->> 'kind' = 'payout'),
    1::double precision, 'and are alarmed');
update private.provider_delays set retry_at = now();
select is(private.claim_payout((select id from r)) ->> 'idempotency_key', (select id from r) || ':1', 'then under a new key');
select is(private.delay_provider_call((select id from r), 'payout', 'balance_insufficient'), now() + interval '2 minutes',
    'short again');
-- A transfer of another currency or to somebody else is not it.
select is(pg_temp.event('transfer.created', jsonb_build_object('id', 'tr_2', 'amount', 60000, 'currency', c,
    'destination', d, 'metadata', jsonb_build_object('payout_id', (select id from r)))), 'dead', format('%s to %s', c, d))
from (values ('eur', 'acct_2'), ('usd', 'acct_1'), (null, 'acct_2')) as t (c, d);
select is(pg_temp.event('transfer.created', jsonb_build_object('id', 'tr_2', 'amount', 60000, 'currency', 'usd',
    'destination', 'acct_2', 'metadata', jsonb_build_object('payout_id', (select id from r)))), 'processed', 'made after all');
select is((select count(*) from private.provider_delays), 0::bigint, 'no delay any more');
-- Taken back in parts.
select is(pg_temp.event('transfer.reversed', jsonb_build_object('id', 'tr_2', 'amount', 60000, 'amount_reversed', r,
    'currency', 'usd', 'destination', 'acct_2', 'metadata', jsonb_build_object('payout_id', (select id from r)))), o,
    r || ' taken back')
from (values (20000, 'processed'), (10000, 'processed'), (60001, 'dead'), (0, 'dead')) as t (r, o);
select is((select status::text from public.payouts where id = (select id from r)), 'completed', 'a part');
select is(pg_temp.available(2), 260000::bigint, 'is back in the wallet, once');
select is((select total_withdrawn_stripe_cents from public.wallets where user_id = pg_temp.id(2)), 40000::bigint,
    'and was not withdrawn');
select private.return_payout(id, 60000) from r;
select is((select status::text from public.payouts where id = (select id from r)), 'returned', 'the rest');
select is(pg_temp.available(2), 300000::bigint, 'too');
select is_empty($$select * from ledger.audit()$$, 'the books are right');

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
select is((select count(*) from private.list_payouts()), 9::bigint, 'operators list them');
select is((select count(*) from private.list_payouts('cancelled')), 6::bigint, 'by state');
select is(pg_temp.code_of($$select private.approve_payout(pg_temp.payout(3), 'ops')$$), 'payout_not_open',
    'and approve what is open');

-- who sees what
select is(pg_temp.rows_as(w, 'public.payouts'), n, format('%s sees %s', w, n)) from (values (1, 1), (2, 2), (3, 5),
    (4, 9), (5, 0), (6, 9)) as t (w, n);
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
        'select private.set_payout_approved(pg_temp.payout(1))',
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
