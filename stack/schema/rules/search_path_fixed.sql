-- Every function fixes its search_path: otherwise the caller chooses which tables and operators it meets.
select p.oid::regprocedure as object
from pg_catalog.pg_proc as p
where p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
    and p.prokind in ('f', 'p')
    and not exists (select from unnest(p.proconfig) as s where s like 'search_path=%')
    and not exists (
        select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e'
    )
