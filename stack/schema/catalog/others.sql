-- Kinds we hardly use: that they exist is compared, and for text search configurations what they map to.
select
    i.type || ' ' || i.identity as object,
    t.definition
from (
    select 'pg_catalog.pg_ts_config'::regclass as classid, c.oid, (
        select string_agg(m.maptokentype || ' ' || m.mapdict::regdictionary, ', ' order by m.maptokentype, m.mapseqno)
        from pg_catalog.pg_ts_config_map as m
        where m.mapcfg = c.oid
    ) as definition
    from pg_catalog.pg_ts_config as c
    union all
    select 'pg_catalog.pg_ts_dict'::regclass, d.oid, d.dictinitoption from pg_catalog.pg_ts_dict as d
    union all
    select 'pg_catalog.pg_operator'::regclass, o.oid, o.oprcode::regprocedure::text from pg_catalog.pg_operator as o
    union all
    select 'pg_catalog.pg_statistic_ext'::regclass, s.oid, pg_get_statisticsobjdef(s.oid)
    from pg_catalog.pg_statistic_ext as s
    union all
    select 'pg_catalog.pg_collation'::regclass, c.oid, null from pg_catalog.pg_collation as c
    union all
    select 'pg_catalog.pg_opclass'::regclass, c.oid, null from pg_catalog.pg_opclass as c
) as t
cross join pg_catalog.pg_identify_object(t.classid, t.oid, 0) as i
where i.schema in (select o.nspname from pg_temp.ours as o)
    and (t.classid, t.oid) not in (select b.classid, b.objid from pg_temp.borrowed as b)
union all
select 'cast ' || c.castsource::regtype || ' as ' || c.casttarget::regtype, c.castfunc::regprocedure::text
from pg_catalog.pg_cast as c
where c.oid >= 16384
    and ('pg_catalog.pg_cast'::regclass, c.oid) not in (select b.classid, b.objid from pg_temp.borrowed as b)
union all
select 'rule ' || r.rulename || ' on ' || r.ev_class::regclass, pg_get_ruledef(r.oid)
from pg_catalog.pg_rewrite as r
inner join pg_catalog.pg_class as c on c.oid = r.ev_class
where r.rulename <> '_RETURN' and c.relnamespace in (select o.oid from pg_temp.ours as o)
