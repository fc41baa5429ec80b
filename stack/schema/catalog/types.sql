-- Enums, domains and free-standing composite types.
select
    t.oid::regtype as object,
    pg_catalog.pg_get_userbyid(t.typowner) as owner,
    case t.typtype
        when 'e' then 'enum ' || (
            select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
            from pg_catalog.pg_enum as e
            where e.enumtypid = t.oid
        )
        when 'd' then concat_ws(
            ' ', 'domain', format_type(t.typbasetype, t.typtypmod),
            case when t.typnotnull then 'not null' end,
            'default ' || t.typdefault,
            (
                select string_agg(c.conname || ' ' || pg_get_constraintdef(c.oid), ' ' order by c.conname)
                from pg_catalog.pg_constraint as c
                where c.contypid = t.oid and c.contype = 'c'
            )
        )
        when 'c' then 'composite ' || (
            select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
            from pg_catalog.pg_attribute as a
            where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        )
        else t.typtype::text
    end as definition
from pg_catalog.pg_type as t
left join pg_catalog.pg_class as r on r.oid = t.typrelid
where t.typnamespace in (select o.oid from pg_temp.ours as o)
    and (t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and r.relkind = 'c'))
    and (
        'pg_catalog.pg_type'::regclass, t.oid
    ) not in (select b.classid, b.objid from pg_temp.borrowed as b)
