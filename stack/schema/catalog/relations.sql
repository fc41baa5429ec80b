-- Tables, partitions, views, materialized views.
select
    c.oid::regclass as object,
    case c.relkind
        when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
        when 'm' then 'materialized view' when 'f' then 'foreign table'
    end as kind,
    pg_catalog.pg_get_userbyid(c.relowner) as owner,
    concat_ws(
        ', ',
        case when c.relrowsecurity then 'rls' else 'no rls' end,
        case when c.relforcerowsecurity then 'forced rls' end,
        case c.relpersistence when 'u' then 'unlogged' end,
        case c.relreplident when 'f' then 'replica identity full' when 'i' then 'replica identity index'
            when 'n' then 'replica identity nothing' end,
        'partition by ' || case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end,
        (
            select string_agg('of ' || i.inhparent::regclass, ', ' order by i.inhseqno)
            from pg_catalog.pg_inherits as i
            where i.inhrelid = c.oid
        ),
        pg_get_expr(c.relpartbound, c.oid),
        (select string_agg(o, ', ' order by o) from unnest(c.reloptions) as o)
    ) as properties,
    case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end as definition
from pg_catalog.pg_class as c
where c.relkind in ('r', 'p', 'v', 'm', 'f')
    and c.relnamespace in (select o.oid from pg_temp.ours as o)
    and (
        'pg_catalog.pg_class'::regclass, c.oid
    ) not in (select b.classid, b.objid from pg_temp.borrowed as b)
