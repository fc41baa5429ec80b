-- Every relation, column, type and function says what it means; ids, references, dates, currencies explain themselves.
select i.identity as object
from (
    select 'pg_catalog.pg_class'::regclass as classid, c.oid, 0 as objsubid, c.relnamespace as namespace
    from pg_catalog.pg_class as c
    where c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
    union all
    select 'pg_catalog.pg_class'::regclass, c.oid, a.attnum, c.relnamespace
    from pg_catalog.pg_attribute as a
    inner join pg_catalog.pg_class as c on c.oid = a.attrelid
    where c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0 and not a.attisdropped
        and a.attname not in ('id', 'user_id', 'currency')
        and a.attname !~ '_at$'
        and not exists (
            select from pg_catalog.pg_constraint as k
            where k.contype = 'f' and k.conrelid = c.oid and k.conkey = array[a.attnum]
        )
    union all
    select 'pg_catalog.pg_proc'::regclass, p.oid, 0, p.pronamespace
    from pg_catalog.pg_proc as p
    union all
    select 'pg_catalog.pg_type'::regclass, t.oid, 0, t.typnamespace
    from pg_catalog.pg_type as t
    left join pg_catalog.pg_class as c on c.oid = t.typrelid
    where t.typtype in ('e', 'd') or c.relkind = 'c'
) as o
cross join pg_catalog.pg_identify_object(o.classid, o.oid, o.objsubid) as i
where o.namespace::regnamespace::text in ('public', 'private', 'ledger')
    and not exists (
        select
        from pg_catalog.pg_description as d
        where d.classoid = o.classid and d.objoid = o.oid and d.objsubid = o.objsubid
    )
    and not exists (
        select from pg_catalog.pg_depend as d where d.classid = o.classid and d.objid = o.oid and d.deptype = 'e'
    )
