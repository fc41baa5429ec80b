-- Fees and how cents are split. More numbers in tests/money/test_worked_examples.py.
begin;
\ir ../helpers.psql

select plan(35);
select pg_temp.people();

select results_eq(
    $$select provider::text, percent_bps, fixed_cents from public.fee_schedules order by provider$$,
    $$values ('paypal', 349, 49::bigint), ('stripe', 290, 30), ('wallet', 0, 0)$$, 'what providers charge'
);
select is(private.processing_fee(p::public.payment_provider, c, 'USD'), f, format('%s cents by %s', c, p)) from (values
    ('stripe', 2000::bigint, 88::bigint), ('paypal', 2000, 119), ('wallet', 2000, 0), ('stripe', 1500, 74), ('stripe',
        1499, 73),
    ('stripe', 50, 31), ('paypal', 50, 51), ('stripe', 99999999, 2900030)
) as t (p, c, f);
select is(private.split_cents(t, w::bigint[]), e::bigint[], format('%s by %s', t, w)) from (values
    (76, '{999,499,77}', '{48,24,4}'), (1, '{1,1,1}', '{1,0,0}'), (2, '{1,1,1}', '{1,1,0}'), (0, '{5,5}', '{0,0}'),
    (100, '{1}', '{100}'), (10, '{0,1}', '{0,10}'), (7, '{3,3,3,3,3}', '{2,2,1,1,1}'), (0, '{0,0}', '{0,0}')
) as t (t, w, e);
select results_eq(
    format('select commission, seller from private.split_line(%s, %s, %s, %s, %s)', t, x, h, f, b),
    format('values (%s::bigint, %s::bigint)', c, s),
    format('%s with tax %s and shipping %s, fee %s at %s bps', t, x, h, f, b)
) from (values
    (2000, 0, 0, 88, 3000, 600, 1312), (2000, 0, 0, 119, 4000, 800, 1081), (50, 0, 0, 31, 4000, 19, 0),
    (50, 0, 0, 51, 4000, -1, 0), (1005, 0, 0, 0, 1000, 101, 904), (1004, 0, 0, 0, 1000, 100, 904),
    (2160, 160, 0, 93, 3000, 600, 1307), (2500, 0, 500, 103, 3000, 600, 1797), (2660, 160, 500, 107, 3000, 600, 1793)
) as t (t, x, h, f, b, c, s);

select is(pg_temp.code_of(format(
    $$insert into public.fee_schedules (provider, valid_from, percent_bps, fixed_cents) values ('stripe', now(), %s,
        %s)$$, p, c
)), '23514', format('%s bps and %s cents', p, c)) from (values (-1, 0), (10001, 0), (0, -1), (0,
    9007199254740992)) as t (p, c);

-- everybody reads, nobody writes
select pg_temp.be(null, 'anon');
select is((select count(*) from public.fee_schedules), 3::bigint, 'visitors read');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.fee_schedules), 3::bigint, 'members read');
select pg_temp.be(pg_temp.id(4));
select is(pg_temp.code_of(s), '42501', 'not even admins: ' || s) from unnest(array[
    'update public.fee_schedules set percent_bps = 0', 'delete from public.fee_schedules',
    'insert into public.fee_schedules values (''stripe'', ''USD'', now(), 0, 0)'
]) as s;
reset role;

select * from finish();
rollback;
