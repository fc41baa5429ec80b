-- One type per meaning: text, timestamptz, bigint cents, integer basis points, char(3) currency; never float.
select
    c.oid::regclass || '.' || a.attname as object,
    format_type(a.atttypid, a.atttypmod) as detail
from pg_catalog.pg_attribute as a
inner join pg_catalog.pg_class as c on c.oid = a.attrelid
cross join lateral format_type(a.atttypid, a.atttypmod) as t
where c.relkind in ('r', 'p', 'c')
    and a.attnum > 0
    and not a.attisdropped
    and c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
    and (
        t ~ '^(character varying|timestamp without|time with|json$|money|real)'
        or (a.attname ~ '_cents$' and t <> 'bigint')
        or (a.attname ~ '_bps$' and t <> 'integer')
        or (a.attname ~ '(^|_)currency$' and t <> 'character(3)')
        or (a.attname ~ '_at$' and t <> 'timestamp with time zone')
    )
