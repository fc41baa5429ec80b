select
    nspname as object,
    pg_catalog.pg_get_userbyid(nspowner) as owner
from pg_catalog.pg_namespace
where oid in (select o.oid from pg_temp.ours as o)
