-- Every foreign key has an index that begins with its columns: deleting the referenced row would scan the table.
select
    c.conrelid::regclass || '.' || c.conname as object,
    pg_get_constraintdef(c.oid) as detail
from pg_catalog.pg_constraint as c
where c.contype = 'f'
    -- Words, which no row is ever rid of; alone they find nothing.
    and c.confrelid is distinct from to_regclass('private.kinds')
    and c.connamespace::regnamespace::text in ('public', 'private', 'ledger')
    and not exists (
        select
        from pg_catalog.pg_index as i
        where i.indrelid = c.conrelid
            and i.indisvalid
            and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
            and (
                i.indpred is null
                -- A partial index serves when it only leaves out the rows that reference nothing.
                or pg_get_expr(i.indpred, i.indrelid) in (
                    select format('(%I IS NOT NULL)', a.attname)
                    from pg_catalog.pg_attribute as a
                    where a.attrelid = c.conrelid and a.attnum = any(c.conkey) and c.confmatchtype = 's'
                )
            )
    )
