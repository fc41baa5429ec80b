-- The ground: everything new is closed until its page opens it, and the workers' role owns nothing.
begin;
-- Who speaks: pg_temp.be(<user>) is a signed-in member, pg_temp.be(null, 'anon') a visitor, reset role the server.
create function pg_temp.be(who uuid, speaker text default 'authenticated') returns void language plpgsql as $$
begin
    perform set_config('request.jwt.claims', json_build_object('sub', who, 'role', speaker)::text, true);
    perform set_config('role', speaker, true);
end
$$;
create function pg_temp.id(n integer) returns uuid language sql immutable as $$
    select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
$$;
-- The stable code of the error a statement ends with (the hint, else the SQLSTATE); null when it works.
create function pg_temp.code_of(statement text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute statement;
    return null;
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return case when sqlstate ~ '^(PT|AV)' then hint else sqlstate end;
end
$$;
create function pg_temp.code_as(who uuid, statement text, speaker text default 'authenticated') returns text
language plpgsql as $$
declare
    code text;
begin
    perform pg_temp.be(who, speaker);
    code := pg_temp.code_of(statement);
    perform set_config('role', 'none', true);
    return code;
end
$$;
grant execute on all functions in schema pg_temp to public;

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
