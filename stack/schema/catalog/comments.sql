select
    i.type || ' ' || i.identity as object,
    d.description as comment
from pg_catalog.pg_description as d
cross join pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) as i
where (d.classoid, d.objoid) not in (select b.classid, b.objid from pg_temp.borrowed as b)
    and i.type not in ('extension', 'language')
    and (
        coalesce(i.schema, case i.type when 'schema' then i.name end) in (select o.nspname from pg_temp.ours as o)
        or (
            i.schema is null
            and i.type in ('policy', 'trigger', 'rule', 'publication', 'event trigger', 'table constraint')
        )
    )
