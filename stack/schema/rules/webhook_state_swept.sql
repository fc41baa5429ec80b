-- A state that a provider's events feed names the sweep that asks the provider: events get lost. Such tables hold the
-- provider's own id; the comment says "Swept by name()", a function of schema private.
select format('%s.%s.%s', c.relnamespace::regnamespace, c.relname, a.attname) as object
from pg_catalog.pg_class as c
inner join pg_catalog.pg_attribute as a on a.attrelid = c.oid and not a.attisdropped
inner join pg_catalog.pg_type as t on t.oid = a.atttypid and t.typtype = 'e' and t.typname like '%status'
where c.relkind in ('r', 'p')
    and c.relnamespace::regnamespace::text in ('public', 'private')
    and exists (
        select
        from pg_catalog.pg_attribute as k
        where k.attrelid = c.oid and not k.attisdropped
            and k.attname ~ '^(provider_ref|(stripe|paypal)_(account|subscription)_id)$'
    )
    and not exists (
        select
        from pg_catalog.pg_proc as p
        where p.pronamespace = 'private'::regnamespace
            and strpos(col_description(c.oid, a.attnum), 'Swept by ' || p.proname || '()') > 0
    )
