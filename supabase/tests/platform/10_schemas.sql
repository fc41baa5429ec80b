-- The ground: everything new is closed until its page opens it, and the workers' role owns nothing.
begin;
\ir ../helpers.psql

select plan(67);

-- A new table, sequence and function, as the next migration would make them.
create table public.something (id integer generated always as identity, body text);
create sequence public.something_numbers;
create function public.do_something() returns integer language sql as 'select 1';
create function private.do_something() returns integer language sql as 'select 1';

select is(has_table_privilege(r, 'public.something', v), false, r || ' cannot ' || v || ' a new table')
from unnest(array['anon', 'authenticated', 'service_role', 'avenue_worker']) as r
cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) as v;
select is(has_sequence_privilege(r, 'public.something_numbers', 'usage'), false, r || ' cannot use a new sequence')
from unnest(array['anon', 'authenticated', 'service_role', 'avenue_worker']) as r;
select is(has_function_privilege(r, f, 'execute'), false, r || ' cannot call a new ' || f)
from unnest(array['anon', 'authenticated', 'service_role', 'avenue_worker']) as r
cross join unnest(array['public.do_something()', 'private.do_something()']) as f;

select has_schema(s) from unnest(array['private', 'ledger', 'jobs', 'extensions']) as s;
select is(has_schema_privilege(r, 'ledger', 'usage'), false, r || ' does not even see the ledger')
from unnest(array['anon', 'authenticated', 'service_role']) as r;
select is(has_schema_privilege(r, s, 'create'), false, r || ' creates nothing in ' || s)
from unnest(array['anon', 'authenticated', 'service_role', 'avenue_worker']) as r
cross join unnest(array['public', 'private', 'ledger', 'jobs']) as s;

-- The workers' role
select is_empty(
    $$select c.oid::regclass from pg_catalog.pg_class as c
    inner join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname in ('public', 'private', 'ledger', 'auth', 'storage') and c.relkind in ('r', 'p', 'v', 'm')
        and has_table_privilege('avenue_worker', c.oid, 'select, insert, update, delete, truncate')$$,
    'workers read and write no table: they call functions'
);
select is_empty(
    $$select p.oid::regprocedure from pg_catalog.pg_proc as p
    inner join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = 'public' and has_function_privilege('avenue_worker', p.oid, 'execute')
        and p.prolang <> (select l.oid from pg_catalog.pg_language as l where l.lanname = 'c')$$,
    'workers call nothing that is meant for members'
);
select results_eq(
    $$select rolcanlogin, rolsuper, rolinherit, rolbypassrls, rolcreaterole, rolcreatedb
    from pg_catalog.pg_roles where rolname = 'avenue_worker'$$,
    $$values (true, false, false, false, false, false)$$, 'they log in and have no other right'
);
select is_empty(
    $$select p.oid::regprocedure from pg_catalog.pg_proc as p
    inner join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = 'ledger' and exists (
        select from unnest(array['anon', 'authenticated', 'service_role', 'avenue_worker']) as r
        where has_function_privilege(r, p.oid, 'execute')
    )$$,
    'only the server itself calls the ledger'
);

select * from finish();
rollback;
