-- The books: one way to write, no way to change.
begin;
\ir ../helpers.psql

select plan(63);
select pg_temp.people();

create function pg_temp.post(key text, legs ledger.leg[], kind ledger.journal_kind default 'adjustment') returns bigint
language sql as $$
    select ledger.post(kind, key, legs, null, 'USD', 'test')
$$;
create function pg_temp.wallet(n integer) returns bigint[] language sql as $$
    select array[w.balance_available_cents, w.balance_pending_cents, w.debt_cents] from public.wallets as w
    where w.user_id = pg_temp.id(n)
$$;

-- structure
select col_is_unique('ledger', 'journal', 'idempotency_key', 'an event is posted once');
select col_is_pk('ledger', 'entries', array['journal_id', 'leg_no'], 'legs');
select col_is_unique('ledger', 'accounts', array['owner_id', 'code', 'currency'], 'accounts');
select set_eq(
    $$select code from ledger.accounts where owner_id = '00000000-0000-0000-0000-000000000000'$$,
    array['clearing:stripe', 'clearing:paypal', 'fees:stripe', 'fees:paypal', 'revenue', 'tax_payable',
        'payouts_in_transit', 'refunds_payable', 'promotions', 'bank'], 'the platform''s accounts'
);
select is(pg_temp.code_of(format($$insert into ledger.accounts (owner_id, code) values (%L, %L)$$, o, c)), '23514',
    c || ' is no account of ' || o)
from (values
    ('00000000-0000-0000-0000-000000000000', 'available'), ('00000000-0000-0000-0000-000000000000', 'cash'),
    (pg_temp.id(1)::text, 'revenue'), (pg_temp.id(1)::text, 'savings')
) as t (o, c);

-- posting
select isnt(pg_temp.post('a', array[
    ledger.leg(pg_temp.id(1), 'available', 700), ledger.leg(pg_temp.id(1), 'pending', 300),
    ledger.leg(null, 'promotions', -1000)
]), null, 'balanced legs are posted');
select is(pg_temp.wallet(1), array[700, 300, 0]::bigint[], 'and the wallet moves with them');
select is(pg_temp.post('a', array[ledger.leg(pg_temp.id(1), 'available', 1), ledger.leg(null, 'promotions', -1)]),
    (select id from ledger.journal where idempotency_key = 'a'), 'the same key answers the first journal');
select is(pg_temp.wallet(1), array[700, 300, 0]::bigint[], 'and changes nothing');
select pg_temp.post('b', array[
    ledger.leg(pg_temp.id(1), 'available', -700), ledger.leg(pg_temp.id(1), 'debt', -50),
    ledger.leg(null, 'promotions', 750)
]);
select is(pg_temp.wallet(1), array[0, 300, 50]::bigint[], 'debt is owed to us: negative in the books');
select pg_temp.post('c', array[
    ledger.leg(pg_temp.id(2), 'pending', 500), ledger.leg(pg_temp.id(2), 'pending', 100),
    ledger.leg(pg_temp.id(1), 'debt', 20), ledger.leg(null, 'revenue', -620)
]);
select is(pg_temp.wallet(1), array[0, 300, 30]::bigint[], 'several owners at once');
select is(pg_temp.wallet(2), array[0, 600, 0]::bigint[], 'legs of one account add up');
select is((select count(*) from ledger.entries), 10::bigint, 'every leg is an entry');
select is((select sum(amount_cents) from ledger.entries), 0::numeric, 'all of them sum to zero');

-- refused
select is(pg_temp.code_of(s), code, code || ': ' || regexp_replace(s, '\s+', ' ', 'g')) from (values
    ('unbalanced_journal', $$select pg_temp.post('x', array[ledger.leg(null, 'revenue', 1), ledger.leg(null,
        'promotions', -2)])$$),
    ('unbalanced_journal', $$select pg_temp.post('x', array[ledger.leg(null, 'revenue', 0), ledger.leg(null,
        'promotions', 0)])$$),
    ('unbalanced_journal', $$select pg_temp.post('x', array[ledger.leg(null, 'revenue', 1)])$$),
    ('unbalanced_journal', $$select pg_temp.post('x', '{}')$$),
    ('unbalanced_journal', $$select pg_temp.post('x', null)$$),
    ('unbalanced_journal', $$select pg_temp.post(null, array[ledger.leg(null, 'revenue', 1), ledger.leg(null,
        'promotions', -1)])$$),
    ('unbalanced_journal', $$select pg_temp.post('x', array[ledger.leg(null, 'revenue', null), ledger.leg(null,
        'promotions', null)])$$),
    ('unbalanced_journal', $$select pg_temp.post('x', array[ledger.leg(null, 'revenue', 9007199254740992),
        ledger.leg(null, 'promotions', -9007199254740992)])$$),
    ('unknown_account', $$select pg_temp.post('x', array[ledger.leg(null, 'cash', 1), ledger.leg(null, 'promotions',
        -1)])$$),
    ('unknown_account', $$select pg_temp.post('x', array[ledger.leg(gen_random_uuid(), 'available', 1),
        ledger.leg(null, 'promotions', -1)])$$),
    ('unknown_account', $$select ledger.post('adjustment', 'x', array[ledger.leg(null, 'revenue', 1),
        ledger.leg(null, 'promotions', -1)], null, 'EUR')$$),
    ('23514', $$select pg_temp.post('x', array[ledger.leg(pg_temp.id(1), 'available', -1), ledger.leg(null,
        'promotions', 1)])$$),
    ('23514', $$select pg_temp.post('x', array[ledger.leg(pg_temp.id(1), 'available', 1), ledger.leg(null,
        'promotions', -1)])$$),
    ('23514', $$select pg_temp.post('x', array[ledger.leg(pg_temp.id(1), 'pending', -301), ledger.leg(null,
        'promotions', 301)])$$),
    ('23514', $$select pg_temp.post('x', array[ledger.leg(pg_temp.id(1), 'debt', 31), ledger.leg(null, 'promotions',
        -31)])$$),
    ('23514', $$select pg_temp.post('x', array[ledger.leg(null, 'revenue', 1), ledger.leg(null, 'promotions', -1)],
        'sale')$$)
) as c (code, s);
select is((select count(*) from ledger.journal), 3::bigint, 'a refused post leaves nothing behind');
select is_empty($$select * from ledger.audit() where invariant not like '2 pending%'$$, 'the books are right');

-- append-only, for the owner of the schema too
select throws_ok(s, 'PT403', 'These records are never changed.', s) from unnest(array[
    'update ledger.journal set memo = ''x''', 'delete from ledger.journal', 'truncate ledger.journal cascade',
    'update ledger.entries set amount_cents = 1', 'delete from ledger.entries', 'truncate ledger.entries'
]) as s;
select is(pg_temp.code_as(pg_temp.id(w), s, r), '42501', format('%s (%s) cannot %s', r, w, s))
from (values (4, 'authenticated'), (null, 'anon'), (null, 'service_role')) as t (w, r)
cross join unnest(array[
    'select * from ledger.entries', 'insert into ledger.journal (kind, idempotency_key) values (''adjustment'', ''x'')',
    'select ledger.post(''adjustment'', ''x'', ''{}'')', 'select * from ledger.audit()', 'delete from ledger.accounts'
]) as s;
reset role;

-- one's own statement
select pg_temp.be(pg_temp.id(1));
select results_eq(
    $$select kind, available_cents, pending_cents, debt_cents from public.wallet_statement()$$,
    $$values ('adjustment', 0::bigint, 0::bigint, -20::bigint), ('adjustment', -700, 0, 50), ('adjustment', 700, 300,
        0)$$,
    'one''s own entries, newest first; debt rises when positive'
);
select is((select count(*) from public.wallet_statement(null, 1)), 1::bigint, 'a page');
select is(
    (select count(*) from public.wallet_statement((select min(journal_id) from public.wallet_statement(null, 2)))),
        1::bigint,
    'and the next one'
);
select is((select count(*) from public.wallet_statement(null, -5)), 1::bigint, 'a page has at least one');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.wallet_statement()), 0::bigint, 'nothing of others');
reset role;
select pg_temp.ban();
select pg_temp.be(pg_temp.id(5));
select is(pg_temp.code_of($$select * from public.wallet_statement()$$), 'banned', 'nothing for the banned');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.wallet_statement()$$), '42501', 'nor for visitors');
reset role;

select * from finish();
rollback;
