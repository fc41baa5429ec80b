-- Explicit and built-in default privileges alike: an object never granted on has Postgres' defaults, which for
-- functions means EXECUTE for PUBLIC. MAINTAIN is left out: PostgreSQL 15 does not know it.
with acls as (
    select
        'schema' as kind, nspname::text as object, null as attribute, nspname as schema,
        coalesce(nspacl, acldefault('n', nspowner)) as acl
    from pg_catalog.pg_namespace
    union all
    select
        case when c.relkind = 'S' then 'sequence' else 'relation' end, c.oid::regclass::text, null, n.nspname,
        coalesce(
            c.relacl, case c.relkind when 'S' then acldefault('s', c.relowner) else acldefault('r', c.relowner) end
        )
    from pg_catalog.pg_class as c
    inner join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        and ('pg_catalog.pg_class'::regclass, c.oid) not in (select b.classid, b.objid from pg_temp.borrowed as b)
    union all
    select 'relation', a.attrelid::regclass::text, quote_ident(a.attname), n.nspname, a.attacl
    from pg_catalog.pg_attribute as a
    inner join pg_catalog.pg_class as c on c.oid = a.attrelid
    inner join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where a.attacl is not null and not a.attisdropped
    union all
    select 'function', p.oid::regprocedure::text, null, n.nspname, coalesce(p.proacl, acldefault('f', p.proowner))
    from pg_catalog.pg_proc as p
    inner join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where ('pg_catalog.pg_proc'::regclass, p.oid) not in (select b.classid, b.objid from pg_temp.borrowed as b)
    union all
    select 'type', t.oid::regtype::text, null, n.nspname, t.typacl
    from pg_catalog.pg_type as t
    inner join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
    where t.typacl is not null
)

select
    a.object,
    a.kind,
    case e.grantee when 0 then 'PUBLIC' else pg_catalog.pg_get_userbyid(e.grantee) end as grantee,
    lower(e.privilege_type) as verb,
    string_agg(a.attribute, ', ' order by a.attribute) as columns,
    case when e.is_grantable then 'with grant option' end as grantable
from acls as a
cross join aclexplode(a.acl) as e
where a.schema in (select o.nspname from pg_temp.ours as o) and e.privilege_type <> 'MAINTAIN'
group by a.kind, a.object, a.attribute is null, e.grantee, e.privilege_type, e.is_grantable
