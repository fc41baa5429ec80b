-- A column that clients may not insert has a default, though a trigger overwrites it: generated types make every other
-- NOT NULL column required, and typed clients could not insert at all.
select c.oid::regclass || '.' || a.attname as object
from pg_catalog.pg_attribute as a
inner join pg_catalog.pg_class as c on c.oid = a.attrelid
where c.relkind in ('r', 'p')
    and c.relnamespace::regnamespace::text = 'public'
    and a.attnum > 0
    and not a.attisdropped
    and a.attnotnull
    and not a.atthasdef
    and a.attidentity = ''
    and has_any_column_privilege('authenticated', c.oid, 'insert')
    and not has_column_privilege('authenticated', c.oid, a.attnum, 'insert')
