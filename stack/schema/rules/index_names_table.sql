-- An index is named after its table: names are per schema, and plans and errors show only the name.
select
    i.indexrelid::regclass as object,
    'on ' || i.indrelid::regclass as detail
from pg_catalog.pg_index as i
inner join pg_catalog.pg_class as x on x.oid = i.indexrelid
inner join pg_catalog.pg_class as t on t.oid = i.indrelid
where t.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
    and not t.relispartition
    and left(x.relname, length(t.relname) + 1) <> t.relname || '_'
