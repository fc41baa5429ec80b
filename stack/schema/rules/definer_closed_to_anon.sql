-- No function that runs with its owner's rights can be called without signing in.
select
    p.oid::regprocedure as object,
    'EXECUTE for ' || string_agg(
        case e.grantee when 0 then 'PUBLIC' else e.grantee::regrole::text end, ', ' order by e.grantee
    ) as detail
from pg_catalog.pg_proc as p
cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as e
where p.prosecdef
    and p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
    and (e.grantee = 0 or e.grantee::regrole::text = 'anon')
group by p.oid
