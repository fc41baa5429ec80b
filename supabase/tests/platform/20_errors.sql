-- Business errors: registered, stable, with the code as hint.
begin;
\ir ../helpers.psql

select plan(17);

select has_table('private', 'error_codes', 'the catalogue');
select col_is_pk('private', 'error_codes', 'code', 'one row a code');
select throws_ok($$select private.fail('append_only', 'x')$$, 'PT403', 'These records are never changed.',
    'fails with the registered state and sentence');
select is(pg_temp.code_of($$select private.fail('append_only')$$), 'append_only', 'the hint is the code');
select throws_ok($$select private.fail('no_such_code')$$, 'XX000', 'unregistered error code no_such_code',
    'an unregistered code is a bug and looks like one');

create function pg_temp.detail_of(statement text) returns text language plpgsql as $$
declare
    detail text;
begin
    execute statement;
    return 'no error';
exception when others then
    get stacked diagnostics detail = pg_exception_detail;
    return detail;
end
$$;
select is(pg_temp.detail_of($$select private.fail('append_only', 'cart of 3')$$), 'cart of 3', 'the detail is kept');
select is(pg_temp.detail_of($$select private.fail('append_only')$$), '', 'no detail is an empty one');

select is(pg_temp.code_of(format(
    $$insert into private.error_codes values ('x', %L, 'x', 'x')$$, state
)), '23514', state || ' is no state of a business error')
from unnest(array['42501', 'PT500', 'PT4', 'AV1', '', 'pt400']) as t (state);

select is_empty(
    $$select c.code from private.error_codes as c
    where c.code !~ '^[a-z]+(_[a-z]+)*$' or c.message !~ '^[A-Z].*[.]$' or char_length(c.description) < 10$$,
    'codes are words, messages are sentences, descriptions say what to do'
);
select is_empty(
    $$select distinct m[1] from pg_catalog.pg_proc as p
    inner join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    cross join lateral regexp_matches(p.prosrc, 'private\.fail\(\s*''([a-z_]+)''', 'g') as m
    where n.nspname in ('public', 'private', 'ledger')
        and not exists (select from private.error_codes as c where c.code = m[1])$$,
    'every code raised anywhere is registered'
);

select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from private.error_codes$$), '42501', 'the table is for the server');
select is(pg_temp.code_of($$select private.fail('append_only')$$), 'append_only', 'policies and triggers may fail');
reset role;

select * from finish();
rollback;
