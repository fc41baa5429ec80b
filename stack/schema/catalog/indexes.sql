select
    i.indexrelid::regclass as object,
    pg_get_indexdef(i.indexrelid) as definition,
    case when not i.indisvalid then 'invalid' end as state
from pg_catalog.pg_index as i
inner join pg_catalog.pg_class as c on c.oid = i.indexrelid
where c.relnamespace in (select o.oid from pg_temp.ours as o)
