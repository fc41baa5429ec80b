-- Corrections against the provider: two admins, every account, the books stay right.
begin;
\ir ../helpers.psql

select plan(37);
select pg_temp.people();
insert into auth.users (id, email) values (pg_temp.id(6), '6@example.com');
update public.profiles set role = 'admin' where id = pg_temp.id(6);
select pg_temp.ban();
create function pg_temp.correction() returns uuid language sql security definer as $$
    select c.id from public.book_corrections as c order by c.status, c.created_at desc limit 1
$$;
create function pg_temp.wallet(n integer) returns bigint[] language sql security definer as $$
    select array[w.balance_available_cents, w.balance_pending_cents, w.debt_cents] from public.wallets as w
    where w.user_id = pg_temp.id(n)
$$;
grant execute on all functions in schema pg_temp to public;
create temporary table o as select pg_temp.buy(2, pg_temp.product(1, 20000)) as id;

select is(pg_temp.code_as(pg_temp.id(w), format('select public.propose_correction(%s)', a)), c, format('%s: %s for %s', w, c,
    a))
from (values
    (1, '''stripe'', -1, ''revenue'', ''x''', 'admin_only'), (5, '''stripe'', -1, ''revenue'', ''x''', 'banned'),
    (4, '''stripe'', -1, ''revenue'', '' ''', 'reason_required'), (4, '''stripe'', 0, ''revenue'', ''x''', 'correction_invalid'),
    (4, '''stripe'', -1, ''revenue'', U&''\200B\2800''', 'reason_required'),
    (4, '''stripe'', -9223372036854775808, ''revenue'', ''x''', 'correction_invalid'),
    (4, '''stripe'', null, ''revenue'', ''x''', 'correction_invalid'), (4, 'null, 1, ''revenue'', ''x''', 'correction_invalid'),
    (4, '''wallet'', 1, ''revenue'', ''x''', 'correction_invalid'), (4, '''stripe'', 1, ''clearing:stripe'', ''x''',
        'correction_invalid'), (4, '''stripe'', 1, null, ''x''', 'correction_invalid'),
    (4, '''stripe'', 1, ''member'', ''x''', 'correction_invalid'), (4, '''stripe'', 1, ''revenue'', ''x'', pg_temp.id(1)',
        'correction_invalid'), (4, '''stripe'', 100000000, ''revenue'', ''x''', 'correction_invalid'),
    (4, '''stripe'', 1, ''member'', ''x'', pg_temp.id(4)', 'own_wallet'), (4, '''stripe'', 1, ''member'', ''x'', gen_random_uuid()',
        'wallet_not_found')
) as t (w, a, c);

-- a chargeback of 20,000 on money that is still pending, and its fee
select pg_temp.be(pg_temp.id(4));
select is((select status::text from public.propose_correction('stripe', -20000, 'member', 'chargeback dp_1', pg_temp.id(1))),
    'proposed', 'one admin proposes');
select is(pg_temp.code_of('select public.decide_correction(pg_temp.correction(), true)'), 'own_correction', 'and does not approve');
reset role;
select is(pg_temp.wallet(1), array[0, 11390, 0]::bigint[], 'nothing moved yet');
select is(pg_temp.code_as(pg_temp.id(w), 'select public.decide_correction(pg_temp.correction(), true)'), c, w || ': ' || c)
from (values (1, 'admin_only'), (5, 'banned')) as t (w, c);
select pg_temp.be(pg_temp.id(6));
select is((select status::text from public.decide_correction(pg_temp.correction(), true)), 'approved', 'another approves');
select is(pg_temp.code_of('select public.decide_correction(gen_random_uuid(), true)'), 'correction_not_open', 'of one there is');
reset role;
select is(pg_temp.wallet(1), array[0, 11390, 20000]::bigint[], 'what is not available is owed');
select is(private.provider_position('stripe'), 20000 - 610 - 20000::bigint, 'the provider''s position follows');
select is_empty('select * from ledger.audit()', 'and the books are right');
select pg_temp.be(pg_temp.id(1));
select results_eq('select kind, memo, debt_cents from public.wallet_statement(null, 1)',
    $$values ('correction', 'chargeback dp_1', 20000::bigint)$$, 'the seller reads why, not who');
select is((select count(*) from public.book_corrections), 0::bigint, 'and nothing of the two admins');
reset role;
update public.transactions set release_at = now();
select private.release_matured_earnings(9);
select is(pg_temp.wallet(1), array[0, 0, 20000 - 11390]::bigint[], 'repaid by what is released');

-- every other account, up and down
select pg_temp.be(pg_temp.id(6));
select public.propose_correction('stripe', x.cents, x.account, 'x', x.who) from (values
    (-1500, 'revenue', null::uuid), (7, 'tax_payable', null), (-7, 'promotions', null), (5000, 'bank', null),
    (30000, 'member', pg_temp.id(1))
) as x (cents, account, who);
select pg_temp.be(pg_temp.id(4));
select public.decide_correction(c.id, true) from public.book_corrections as c where c.status = 'proposed';
reset role;
select is(pg_temp.wallet(1), array[30000 - 8610, 0, 0]::bigint[], 'what comes repays first');
select is((select balance_cents from private.account_balances() where account = 'bank'), 5000::bigint, 'top-up from the bank');
select is_empty('select * from ledger.audit()', 'and the books are right');

-- no
select pg_temp.be(pg_temp.id(6));
select public.propose_correction('stripe', 1, 'revenue', 'mistake');
select is((select status::text from public.decide_correction(pg_temp.correction(), false)), 'rejected', 'taken back by its author');
reset role;
select is((select count(*) from ledger.journal where kind = 'correction'), 6::bigint, 'books nothing');
select is((select array_agg(n order by action) from (select action, count(*) as n from public.audit_log
    where action like '%correction' group by action) as a), array[6, 7, 1]::bigint[], 'all audited');
select is(pg_temp.code_as(pg_temp.id(4), 'update public.book_corrections set status = ''approved'''), '42501', 'by RPC only');
select is(pg_temp.code_of('update public.book_corrections set decided_by = proposed_by where status = ''approved'''), '23514',
    'nobody approves alone, whoever writes');

select * from finish();
rollback;
