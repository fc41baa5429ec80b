select
    s.seqrelid::regclass as object,
    concat_ws(
        ' ', s.seqtypid::regtype, 'start', s.seqstart, 'increment', s.seqincrement, 'min', s.seqmin, 'max', s.seqmax,
        'cache', s.seqcache, case when s.seqcycle then 'cycle' end
    ) as definition,
    (
        select d.refobjid::regclass || '.' || a.attname
        from pg_catalog.pg_depend as d
        inner join pg_catalog.pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        where d.objid = s.seqrelid and d.deptype in ('a', 'i') and d.classid = 'pg_catalog.pg_class'::regclass
    ) as owned_by
from pg_catalog.pg_sequence as s
inner join pg_catalog.pg_class as c on c.oid = s.seqrelid
where c.relnamespace in (select o.oid from pg_temp.ours as o)
