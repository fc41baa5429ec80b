-- What Auth's and Storage's own tables need on top of Lite's definitions to behave like a hosted project:
-- the helper functions of policies, owners, grants. Runs as supabase_admin, right after the tables were made. Safe to run again.

-- Legacy per-claim settings first (Auth and Storage set them), then the claims PostgREST sets.
create or replace function auth.uid() returns uuid language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
    )::uuid
$$;
create or replace function auth.role() returns text language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
    )::text
$$;
create or replace function auth.email() returns text language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.email', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
    )::text
$$;
create or replace function auth.jwt() returns jsonb language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
    )::jsonb
$$;

-- How each session was opened and when; the access token's amr claim comes from here.
create table if not exists auth.mfa_amr_claims (
    id uuid primary key default gen_random_uuid(),
    session_id uuid not null references auth.sessions (id) on delete cascade,
    authentication_method text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (session_id, authentication_method)
);

-- Deleting rows by SQL would leave the bytes: as on a hosted project only Storage does it, by a setting of its own.
create or replace function storage.protect_delete() returns trigger language plpgsql as $$
begin
    if coalesce(current_setting('storage.allow_delete_query', true), 'false') <> 'true' then
        raise insufficient_privilege using
            message = 'Direct deletion from storage tables is not allowed. Use the Storage API instead.',
            hint = 'This prevents accidental data loss from orphaned objects.';
    end if;
    return null;
end
$$;
create or replace trigger protect_buckets_delete before delete on storage.buckets
for each statement execute function storage.protect_delete();
create or replace trigger protect_objects_delete before delete on storage.objects
for each statement execute function storage.protect_delete();

do $$
declare
    object record;
begin
    for object in
        select format('%s %s', case relkind when 'S' then 'sequence' else 'table' end, oid::regclass) as name,
            relnamespace::regnamespace::text as schema, relkind
        from pg_class
        where relnamespace in ('auth'::regnamespace, 'storage'::regnamespace) and relkind in ('r', 'p', 'S')
    loop
        execute format('alter %s owner to supabase_%s_admin', object.name, object.schema);
        if object.relkind <> 'S' then
            execute format('alter %s enable row level security', object.name);
        end if;
    end loop;
    for object in
        select oid::regprocedure as name, pronamespace::regnamespace::text as schema
        from pg_proc where pronamespace in ('auth'::regnamespace, 'storage'::regnamespace)
    loop
        execute format('alter function %s owner to supabase_%s_admin', object.name, object.schema);
    end loop;
end
$$;

alter schema auth owner to supabase_admin;
alter schema storage owner to supabase_admin;
grant usage on schema auth to supabase_auth_admin, postgres, anon, authenticated, service_role;
grant usage on schema storage to supabase_storage_admin, postgres, anon, authenticated, service_role;
-- Data and triggers, never the definition. Row level security holds the API roles back.
grant all on all tables in schema auth to postgres;
grant all on all tables in schema storage to postgres, anon, authenticated, service_role;
