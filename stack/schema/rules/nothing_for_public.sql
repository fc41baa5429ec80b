-- Privileges go to roles by name: PUBLIC is everybody, roles made later included.
select
    p.oid::regprocedure::text as object,
    'EXECUTE for PUBLIC' as detail
from pg_catalog.pg_proc as p
cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as e
where e.grantee = 0
    and p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
    and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e')
union all
select
    c.oid::regclass::text,
    e.privilege_type || ' for PUBLIC'
from pg_catalog.pg_class as c
cross join aclexplode(c.relacl) as e
where e.grantee = 0 and c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
