-- What every query of this folder leans on. search_path '' makes Postgres print all names qualified.
-- Rows belong to the snapshot unless Postgres, an extension or the migration history made them.
set search_path = '';
create temporary view ours as
select
    oid,
    nspname
from pg_catalog.pg_namespace
where nspname !~ '^pg_' and nspname not in ('information_schema', 'supabase_migrations');
create temporary view borrowed as
select
    classid,
    objid
from pg_catalog.pg_depend
where deptype = 'e';
