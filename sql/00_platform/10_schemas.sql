-- Schemas, extensions, the workers' role and default-deny privileges. Everything else assumes this page.

create schema if not exists extensions;
create schema private;
create schema ledger;
create schema if not exists jobs;

comment on schema private is
'Helpers, SECURITY DEFINER functions and operator tables. Not exposed by the Data API.';
comment on schema ledger is 'Double-entry books. Written only by ledger.post(), never exposed.';
comment on schema jobs is
'The job queue''s own tables (procrastinate), installed by `avenue jobs install` after the migrations.';

create extension if not exists citext with schema extensions;
create extension if not exists pg_trgm with schema extensions;
create extension if not exists unaccent with schema extensions;

-- The role Python workers connect as: no table privileges, only EXECUTE on the functions they call and the
-- queue's schema. Roles belong to the server, not to a database, hence the guard. It has no password until
-- an operator sets one (docs/deploy.md), so it cannot log in over the network before that.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'avenue_worker') then
        create role avenue_worker login noinherit;
    end if;
    -- Whom a request that asks for an estimated count is answered as, see check_request(): reads public lists only.
    if not exists (select from pg_catalog.pg_roles where rolname = 'avenue_estimates') then
        create role avenue_estimates nologin noinherit;
    end if;
end
$$;
grant avenue_estimates to authenticator;

-- Supabase grants ALL on everything new in public to its three API roles. Default-deny starts here: a new
-- table or function is closed until its page opens it.
alter default privileges in schema public
revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public
revoke all on sequences from anon, authenticated, service_role;
alter default privileges in schema public
revoke all on functions from anon, authenticated, service_role;
alter default privileges revoke execute on functions from public;

-- Policies and triggers run with the caller's rights and call helpers in private by name.
grant usage on schema private to anon, authenticated, service_role, avenue_worker, avenue_estimates;
grant usage on schema ledger, jobs to avenue_worker;
alter default privileges in schema jobs grant all on tables to avenue_worker;
alter default privileges in schema jobs grant all on sequences to avenue_worker;
alter default privileges in schema jobs grant execute on functions to avenue_worker;

-- What a request may hold up. PostgREST applies these to each request of the role; how long a statement may take is the
-- platform's (3 s for visitors, 8 s for members). A request that waits gives up before it fills the pool, and a
-- connection that stays behind in a transaction lets go of what it locked.
alter role anon set lock_timeout = '2s';
alter role authenticated set lock_timeout = '2s';
alter role anon set idle_in_transaction_session_timeout = '10s';
alter role authenticated set idle_in_transaction_session_timeout = '10s';
