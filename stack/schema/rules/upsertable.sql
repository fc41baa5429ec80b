-- A row that is nothing but its key can be upserted: what clients insert into the key they may also "update".
select
    c.oid::regclass as object,
    'update (' || a.attname || ') for authenticated' as detail
from pg_catalog.pg_class as c
inner join pg_catalog.pg_constraint as k on k.conrelid = c.oid and k.contype = 'p'
inner join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum = any(k.conkey)
where c.relnamespace::regnamespace::text = 'public'
    and has_column_privilege('authenticated', c.oid, a.attnum, 'insert')
    and not has_column_privilege('authenticated', c.oid, a.attnum, 'update')
    -- A key that clients may leave out is not what they upsert by.
    and cardinality(k.conkey) > 1
    and not exists (
        select
        from pg_catalog.pg_attribute as o
        where o.attrelid = c.oid
            and o.attnum > 0
            and not o.attisdropped
            and o.attnum <> all(k.conkey)
            and has_column_privilege('authenticated', c.oid, o.attnum, 'insert')
    )
