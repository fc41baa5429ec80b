-- A state says how it is reached and left (private.state_moves), and its guard knows just that: see build_moves().
-- A state is a column of an enum named so, or an enum or text whose own name says so.
with machines as (
    select
        m.relation || '.' || m.state_column as name, m.state_column,
        to_regclass(m.relation) as table_id,
        array_agg(m.to_state order by m.to_state collate "C") filter (where m.from_state is null) as births,
        array_agg(m.move order by m.move collate "C") filter (where m.from_state is not null) as moves,
        array_agg(m.from_state) filter (where m.from_state is not null) as left_states,
        array_agg(m.to_state) as entered
    from private.state_moves as m
    group by m.relation, m.state_column
),

columns as (
    select
        format('%s.%s.%s', c.relnamespace::regnamespace, c.relname, a.attname) as name, a.attname, a.attnotnull,
        t.typname, t.typtype,
        (select array_agg(e.enumlabel::text) from pg_catalog.pg_enum as e where e.enumtypid = t.oid) as labels,
        substring(pg_get_expr(d.adbin, d.adrelid) from '^''([^'']*)''') as default_state
    from pg_catalog.pg_class as c
    inner join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    inner join pg_catalog.pg_type as t on t.oid = a.atttypid
    left join pg_catalog.pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
),

-- What the guards really compare with.
guards as (
    select m.name, g.guard, t.tgenabled, substring(pg_get_triggerdef(t.oid) from '''(\{[^'']*\})''')::text[] as known
    from machines as m
    cross join unnest(array['birth', 'move']) as g (guard)
    left join pg_catalog.pg_trigger as t
        on t.tgrelid = m.table_id and t.tgname = format('_refuse_%s_%s', g.guard, m.state_column)
)

select c.name as object, 'has no moves' as detail
from columns as c
left join machines as m on m.name = c.name
where
    m.name is null
    and (
        c.typtype = 'e' and c.typname ~ '(^|_)(state|status)$'
        or (c.typtype = 'e' or c.typname = 'text') and c.attname ~ '^state$|(^|_)status$'
    )
union all
select m.name, 'has moves and does not exist'
from machines as m
where m.name not in (select c.name from columns as c)
union all
select c.name, 'may be null: then no guard compares it'
from columns as c
inner join machines as m on m.name = c.name
where not c.attnotnull
union all
select m.name, 'nothing may be born in its default ' || c.default_state
from machines as m
inner join columns as c on c.name = m.name
where c.default_state <> all(coalesce(m.births, '{}'))
union all
select m.name, 'there is no state ' || s.state
from machines as m
inner join columns as c on c.name = m.name
cross join lateral (select distinct u.state from unnest(m.entered || m.left_states) as u (state)) as s
where s.state <> all(c.labels)
union all
select m.name, 'never enters, and leaves, the state ' || s.state
from machines as m
cross join lateral (select distinct u.state from unnest(m.left_states) as u (state)) as s
where s.state <> all(m.entered)
union all
select g.name, format('its guard of each %s knows others: build_moves() was not called', g.guard)
from guards as g
inner join machines as m on m.name = g.name
inner join columns as c on c.name = g.name
where
    g.tgenabled is distinct from 'O'
    or g.known is distinct from coalesce(case g.guard when 'birth' then m.births else m.moves end, '{}')
union all
-- Guards of moves nobody states any more.
select format('%s.%s', t.tgrelid::regclass, t.tgname), 'guards a column that has no moves'
from pg_catalog.pg_trigger as t
where
    t.tgfoid = to_regproc('private.refuse_move')
    and not exists (
        select from machines as m
        where m.table_id = t.tgrelid and t.tgname ~ format('^_refuse_(birth|move)_%s$', m.state_column)
    )
