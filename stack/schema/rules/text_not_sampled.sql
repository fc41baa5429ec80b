-- Texts clients can read have statistics 0: count=planned tells what is sampled, of hidden rows too (97_statistics/10).
select c.oid::regclass || '.' || a.attname as object
from pg_catalog.pg_attribute as a
inner join pg_catalog.pg_class as c on c.oid = a.attrelid
inner join pg_catalog.pg_type as t on t.oid = a.atttypid
where c.relkind in ('r', 'p')
    and a.attnum > 0
    and not a.attisdropped
    and c.relnamespace::regnamespace::text = 'public'
    and coalesce(nullif(t.typbasetype, 0), t.oid) = 'text'::regtype
    and a.attstattarget is distinct from 0
    and (
        has_column_privilege('anon', c.oid, a.attnum, 'select')
        or has_column_privilege('authenticated', c.oid, a.attnum, 'select')
    )
    -- What is looked up by an index that is not unique.
    and not exists (
        select from pg_catalog.pg_index as i
        where i.indrelid = c.oid and a.attnum = any(i.indkey) and not i.indisunique
    )
