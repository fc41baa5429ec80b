select
    p.oid::regprocedure as object,
    pg_catalog.pg_get_userbyid(p.proowner) as owner,
    case when p.prokind = 'a' then 'aggregate ' || (
        select concat_ws(' ', a.aggtransfn, a.aggfinalfn, a.aggtranstype::regtype, a.agginitval)
        from pg_catalog.pg_aggregate as a
        where a.aggfnoid = p.oid
    ) else pg_get_functiondef(p.oid) end as definition
from pg_catalog.pg_proc as p
where p.pronamespace in (select o.oid from pg_temp.ours as o)
    and (
        'pg_catalog.pg_proc'::regclass, p.oid
    ) not in (select b.classid, b.objid from pg_temp.borrowed as b)
