-- A kind's row and its functions agree, so that nothing fails when somebody reports, hides or buys one of it.
with kinds as (
    select k.*, to_regclass(k.relation) as table_id from private.kinds as k
),

asked as (
    select k.*, h.hook, h.otherwise, h.needs, to_regproc(format('private.%I', k.kind || '_' || h.hook)) as own
    from kinds as k
    inner join private.hooks as h on h.hook = any(k.hooks)
),

-- What is registered by the generic trigger is sold, reported and hidden.
sold as (
    select t.tgrelid as table_id
    from pg_catalog.pg_trigger as t
    where t.tgfoid = to_regproc('private.sync_catalog_item') and not t.tgisinternal
)

select 'private.kinds ' || k.kind as object, 'there is no relation ' || k.relation as detail
from kinds as k
where k.table_id is null
union all
select k.kind, 'there is no hook ' || u.hook
from kinds as k
cross join unnest(k.hooks) as u (hook)
where u.hook not in (select h.hook from private.hooks as h)
union all
select a.kind, format('hook %s needs the hook %s', a.hook, n.hook)
from asked as a
cross join unnest(a.needs) as n (hook)
where n.hook <> all(a.hooks)
union all
select a.kind, format('function private.%s_%s() is missing', a.kind, a.hook)
from asked as a
where a.own is null and a.otherwise is null
union all
select a.kind, format('hook %s: %s has no column %s', a.hook, a.relation, coalesce(n.name, 'for {owner}'))
from asked as a
cross join lateral (
    select 'id'
    union all
    select a.owner_column where a.otherwise like '%{owner}%'
    union all
    select c.name
    from unnest(array['is_hidden', 'hidden_reason']) as c (name)
    where a.otherwise like '%' || c.name || '%'
) as n (name)
where a.own is null
    and not exists (
        select from pg_catalog.pg_attribute as c where c.attrelid = a.table_id and c.attname = n.name and c.attnum > 0
    )
union all
select p.oid::regprocedure::text, format('kind %s does not name the hook %s', k.kind, h.hook)
from kinds as k
cross join private.hooks as h
inner join pg_catalog.pg_proc as p
    on p.pronamespace = 'private'::regnamespace and p.proname = k.kind || '_' || h.hook
    and p.proargtypes[0] = 'uuid[]'::regtype
where h.hook <> all(k.hooks)
union all
select a.kind, format('private.dispatch_%s() does not know it: build_dispatch() was not called', a.hook)
from asked as a
left join pg_catalog.pg_proc as p
    on p.pronamespace = 'private'::regnamespace and p.proname = 'dispatch_' || a.hook
where p.oid is null or position(format('when %L then', a.kind) in p.prosrc) = 0
union all
select s.table_id::regclass::text, 'is registered and no kind'
from sold as s
where s.table_id not in (select k.table_id from kinds as k where k.table_id is not null)
union all
select k.kind, 'is registered and lacks the hook ' || h.hook
from kinds as k
inner join sold as s on s.table_id = k.table_id
cross join private.hooks as h
-- Only a kind whose own row changes when it is sold locks that first; only one that needs more than a stock holds it;
-- only one with seats says who gets one; not every kind can be given; only one whose line grants several, or is earned
-- by several, says what it lacks and at which rate.
where
    h.hook <> all(k.hooks) and h.hook not in ('lock_own', 'hold', 'release', 'give', 'rate', 'lacks')
    and (h.hook not in ('take', 'freed') or k.has_seats)
