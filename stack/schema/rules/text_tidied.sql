-- What clients write passes tidy_texts(): one Unicode form, something visible, no overrides (00_platform/35_texts.sql).
select
    c.oid::regclass || '.' || a.attname as object,
    format_type(a.atttypid, a.atttypmod) as detail
from pg_catalog.pg_attribute as a
inner join pg_catalog.pg_class as c on c.oid = a.attrelid
cross join lateral format_type(a.atttypid, a.atttypmod) as t
where c.relkind in ('r', 'p')
    and a.attnum > 0
    and not a.attisdropped
    and c.relnamespace::regnamespace::text = 'public'
    and t in ('text', 'text[]', 'jsonb', 'extensions.citext')
    and (
        has_column_privilege('anon', c.oid, a.attnum, 'insert, update')
        or has_column_privilege('authenticated', c.oid, a.attnum, 'insert, update')
    )
    and not exists (
        select from pg_catalog.pg_trigger as g
        where g.tgrelid = c.oid
            and g.tgname = '_tidy_texts'
            and g.tgfoid = to_regproc('private.tidy_texts')
            and g.tgenabled in ('O', 'A')
            -- Row, before, insert, update.
            and g.tgtype & 23 = 23
            and a.attnum = any(g.tgattr)
            and encode(g.tgargs, 'escape') ~ ('(^|000)' || a.attname || ' (line|body|object)')
    )
