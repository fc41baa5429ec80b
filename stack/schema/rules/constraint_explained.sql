-- A constraint or unique index that a client can break says what it wants, for error_catalog(): "code: Sentence."
with writable as (
    select a.attrelid, a.attnum, a.atttypid
    from pg_catalog.pg_attribute as a
    inner join pg_catalog.pg_class as c on c.oid = a.attrelid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
        and (
            has_column_privilege('authenticated', c.oid, a.attnum, 'insert')
            or has_column_privilege('authenticated', c.oid, a.attnum, 'update')
        )
)

select
    case when k.conrelid = 0 then k.contypid::regtype::text else k.conrelid::regclass::text end || '.' || k.conname
    as object
from pg_catalog.pg_constraint as k
where k.contype in ('c', 'f', 'p', 'u', 'x')
    and exists (
        select from writable as w
        where (w.attrelid = k.conrelid and w.attnum = any(k.conkey)) or w.atttypid = k.contypid
    )
    and not exists (
        select from pg_catalog.pg_description as d
        where d.classoid = 'pg_catalog.pg_constraint'::regclass and d.objoid = k.oid
            and d.description ~ '^[a-z]+(_[a-z]+)*: [A-Z].*[.]$'
    )
union all
select i.indrelid::regclass::text || '.' || x.relname
from pg_catalog.pg_index as i
inner join pg_catalog.pg_class as x on x.oid = i.indexrelid
where i.indisunique
    and exists (
        select from writable as w
        inner join pg_catalog.pg_depend as d on d.refobjid = w.attrelid and d.refobjsubid = w.attnum
        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid
            and d.refclassid = 'pg_catalog.pg_class'::regclass
    )
    and not exists (
        select from pg_catalog.pg_constraint as k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
    )
    and not exists (
        select from pg_catalog.pg_description as d
        where d.classoid = 'pg_catalog.pg_class'::regclass and d.objoid = i.indexrelid
            and d.description ~ '^[a-z]+(_[a-z]+)*: [A-Z].*[.]$'
    )
