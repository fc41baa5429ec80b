-- Not-null is a property of its column (PostgreSQL 18 also lists it as a constraint).
select
    c.conrelid::regclass || '.' || quote_ident(c.conname) as object,
    pg_get_constraintdef(c.oid) as definition
from pg_catalog.pg_constraint as c
where c.conrelid <> 0 and c.contype not in ('n', 't') and c.connamespace in (select o.oid from pg_temp.ours as o)
