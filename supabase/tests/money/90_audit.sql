-- The audit finds each kind of wrong; adjustments are the one way to correct.
begin;
\ir ../helpers.psql

select plan(51);
select pg_temp.people();
create temporary table o as select pg_temp.buy(2, pg_temp.product(1, 2000)) as id;
select is_empty($$select * from ledger.audit()$$, 'books of a sale are right');

-- One kind of wrong at a time. Triggers and keys are off, as after a restore gone wrong.
create function pg_temp.finds(statement text) returns text language plpgsql as $$
declare
    found text;
begin
    begin
        execute statement;
        select string_agg(distinct a.invariant, ', ') into found from ledger.audit() as a;
        raise exception using errcode = 'ZZ000';
    exception when sqlstate 'ZZ000' then
        return coalesce(found, 'nothing');
    end;
end
$$;
alter table ledger.entries disable trigger refuse_change;
alter table ledger.journal disable trigger refuse_change;
select alike(pg_temp.finds(s), '%' || f || '%', format('%s is found by: %s', s, f)) from (values
    ('update ledger.entries set amount_cents = amount_cents + 1 where leg_no = 1', '1 journals sum to zero'),
    ('delete from ledger.entries', '1 journals have legs'),
    ('update ledger.entries set account_id = -1 where leg_no = 2', '1 entries have accounts'),
    ('update public.wallets set balance_pending_cents = balance_pending_cents + 1', '2 wallets equal their entries'),
    ('update public.wallets set balance_available_cents = 1', '2 wallets equal their entries'),
    ('alter table public.wallets drop constraint wallets_money_or_debt_check; '
        'select ledger.post(''adjustment'', ''x'', array[ledger.leg(pg_temp.id(1), ''debt'', -5), '
        'ledger.leg(pg_temp.id(1), ''available'', 5)], null, ''USD'', ''x'')', '2 nobody has money beside a debt'),
    ('update public.transaction_payees set pending_cents = pending_cents + 1', '2 pending equals the held sales'),
    ('update public.payments set amount_cents = amount_cents + 1', '3 a settled payment has one sale per line'),
    ('update public.payments set succeeded_at = null', '3 nothing is sold without payment'),
    ('update public.transactions set amount_commission_cents = amount_commission_cents + 1, '
        'amount_seller_cents = amount_seller_cents - 1',
        '3 the split is what was posted'),
    ('update public.payments set refunded_cents = 1', '3 payment refunds equal the booked ones'),
    ('insert into public.payouts (user_id, amount_cents, destination) values (pg_temp.id(1), 5000, ''x'')',
        '4 in transit equals open payouts'),
    ('insert into public.payouts (user_id, amount_cents, destination) values (pg_temp.id(1), 5000, ''x'')',
        '5 payouts are booked as they stand'),
    ('select ledger.post(''unapplied'', ''x'', array['
        'ledger.leg(null, ''refunds_payable'', 1), ledger.leg(null, ''revenue'', -1)], pg_temp.id(9))',
        '4 nothing owed for refunds but open ones'),
    ('update ledger.journal set source_id = pg_temp.id(9)', '5 journals have a source'),
    ('insert into ledger.journal (kind, idempotency_key) values (''adjustment'', ''x'')', '5 journals have a source')
) as t (s, f);
select is(pg_temp.finds('select 1'), 'nothing', 'and nothing where nothing is wrong');
alter table ledger.entries enable trigger refuse_change;
alter table ledger.journal enable trigger refuse_change;

-- the books on a page
select results_eq(
    $$select account, balance_cents from private.account_balances() where balance_cents <> 0$$,
    $$values ('clearing:stripe', -2000::bigint), ('fees:stripe', 88), ('revenue', 800), ('users pending', 1112)$$,
        'the books on a page'
);
select is((select sum(balance_cents) from private.account_balances()), 0::numeric, 'add up to nothing');
select is(private.provider_position('stripe'), 1912::bigint, 'what the provider should hold');
select is(private.provider_position('paypal'), 0::bigint, 'and the other');
select is((select count(*) from private.audit_books()), 0::bigint, 'the workers'' audit');
select set_eq(
    $$select distinct name from private.metrics()$$,
    array['avenue_webhook_events', 'avenue_webhook_oldest_pending_seconds', 'avenue_payouts_open',
        'avenue_refunds_open', 'avenue_payments_open', 'avenue_provider_delays', 'avenue_money_waiting_cents',
        'avenue_money_waiting_oldest_seconds', 'avenue_money_waiting_stuck'],
    'gauges'
);

-- adjustments
select pg_temp.ban();
select is(pg_temp.code_as(pg_temp.id(w), format('select public.adjust_wallet(%s)', a)), c, format('%s: %s for %s', w,
    c, a))
from (values
    (1, 'pg_temp.id(1), 100, ''x'', ''k''', 'admin_only'), (5, 'pg_temp.id(1), 100, ''x'', ''k''', 'banned'),
    (4, 'pg_temp.id(4), 100, ''x'', ''k''', 'own_wallet'), (4, 'pg_temp.id(1), 100, '' '', ''k''', 'reason_required'),
    (4, 'pg_temp.id(1), 100, null, ''k''', 'reason_required'), (4, 'pg_temp.id(1), 100, repeat(''x'', 501), ''k''',
        'reason_required'),
    (4, 'pg_temp.id(1), 100, U&''\200B\2800'', ''k''', 'reason_required'),
    (4, 'pg_temp.id(1), -9223372036854775808, ''x'', ''k''', 'adjustment_invalid'),
    (4, 'pg_temp.id(1), 0, ''x'', ''k''', 'adjustment_invalid'), (4, 'pg_temp.id(1), null, ''x'', ''k''',
        'adjustment_invalid'),
    (4, 'pg_temp.id(1), 100000000, ''x'', ''k''', 'adjustment_invalid'), (4,
        'pg_temp.id(1), 9007199254740992, ''x'', ''k''', 'adjustment_invalid'),
    (4, 'pg_temp.id(1), 100, ''x'', ''''', 'adjustment_invalid'), (4, 'pg_temp.id(1), 100, ''x'', null',
        'adjustment_invalid'),
    (4, 'gen_random_uuid(), 100, ''x'', ''k''', 'wallet_not_found'), (4, 'pg_temp.id(1), 1, ''x'', repeat(''k'', 201)',
        'idempotency_key_invalid')
) as t (w, a, c);
select pg_temp.be(pg_temp.id(4));
select isnt(public.adjust_wallet(pg_temp.id(1), 100, ' sorry ', 'k1'), null, 'goodwill');
select is(public.adjust_wallet(pg_temp.id(1), 100, 'sorry', 'k1'), (select max(details ->> 'journal_id')::bigint
    from public.audit_log where action = 'adjust_wallet'), 'once');
select is(pg_temp.code_of(format('select public.adjust_wallet(%s)', a)), 'idempotency_key_reused', a) from unnest(array[
    'pg_temp.id(1), 900, ''sorry'', ''k1''', 'pg_temp.id(2), 100, ''sorry'', ''k1''',
    'pg_temp.id(1), 100, ''other'', ''k1''']) as a;
select isnt(public.adjust_wallet(pg_temp.id(1), -40, 'too much', 'k2'), null, 'correction');
select pg_temp.be(pg_temp.id(1));
select is((select balance_available_cents from public.wallets), 60::bigint, 'in the wallet');
select results_eq(
    $$select available_cents, memo from public.wallet_statement(null, 2)$$,
    $$values (-40::bigint, 'too much'), (100, 'sorry')$$, 'with the reason, for its owner, not the admin''s name'
);
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select public.adjust_wallet(pg_temp.id(1), 1, 'x', 'x')$$), '42501', 'visitors');
reset role;
select is((select count(*) from public.audit_log where action = 'adjust_wallet'), 2::bigint, 'audited');
select is_empty($$select * from ledger.audit()$$, 'the books are right');

select * from finish();
rollback;
