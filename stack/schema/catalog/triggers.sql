select
    t.tgrelid::regclass || '.' || quote_ident(t.tgname) as object,
    pg_get_triggerdef(t.oid) as definition,
    case t.tgenabled when 'D' then 'disabled' when 'R' then 'replica' when 'A' then 'always' end as state
from pg_catalog.pg_trigger as t
inner join pg_catalog.pg_class as c on c.oid = t.tgrelid
where not t.tgisinternal and c.relnamespace in (select o.oid from pg_temp.ours as o)
union all
select
    e.evtname,
    concat_ws(' ', e.evtevent, e.evttags::text, e.evtfoid::regproc),
    case e.evtenabled when 'D' then 'disabled' when 'R' then 'replica' when 'A' then 'always' end
from pg_catalog.pg_event_trigger as e
