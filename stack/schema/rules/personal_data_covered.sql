-- What is stored about people is handed out and erased, or stays for a stated reason (00_platform/15_personal_data).
with recursive columns as (
    select
        c.oid as relation,
        a.attnum as number,
        format('%s.%s', c.relnamespace::regnamespace, c.relname) as table_name,
        a.attname as column_name,
        coalesce(nullif(t.typbasetype, 0), t.oid) as type
    from pg_catalog.pg_class as c
    inner join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    inner join pg_catalog.pg_type as t on t.oid = a.atttypid
    where c.relkind in ('r', 'p')
        and c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
        and a.attgenerated = ''
),

keys as (
    select k.conrelid, u.own, k.confrelid, u.other, k.confdeltype in ('c', 'n', 'd') as is_cleared
    from pg_catalog.pg_constraint as k
    cross join unnest(k.conkey, k.confkey) as u (own, other)
    where k.contype = 'f'
),

-- Columns that say who: they refer to a profile, by whatever way, or are an id that refers to nothing we know.
persons as (
    select c.relation, c.number
    from columns as c
    where c.relation = to_regclass('public.profiles') and c.column_name = 'id'
    union
    select c.relation, c.number
    from columns as c
    where c.type = 'uuid'::regtype
        and c.column_name <> 'id'
        and not exists (select from keys as k where k.conrelid = c.relation and k.own = c.number)
    union
    select k.conrelid, k.own
    from persons as p
    inner join keys as k on k.confrelid = p.relation and k.other = p.number
),

-- Tables of somebody: they say who, or hang on one that does.
owned as (
    select p.relation from persons as p
    union
    select k.conrelid from owned as o inner join keys as k on k.confrelid = o.relation
),

-- Relations whose rows go, and what goes with them. Not with the profile: it stays where there is history.
gone as (
    select c.relation
    from private.erasure_steps as s
    inner join columns as c on c.table_name = any(s.erases)
    union
    select k.conrelid
    from gone as g
    inner join keys as k on k.confrelid = g.relation and k.is_cleared
    where g.relation is distinct from to_regclass('public.profiles')::oid
),

covered as (
    select e.name from private.erasure_steps as s cross join unnest(s.erases) as e (name)
    union
    select d.relation || '.' || n.name from private.personal_data as d cross join unnest(d.stays) as n (name)
),

-- Each column that says who, and each text, address or document of a table of somebody.
personal as (
    select c.*, p.number is not null as says_who
    from columns as c
    inner join owned as o on o.relation = c.relation
    left join persons as p on p.relation = c.relation and p.number = c.number
    where p.number is not null
        or c.type in ('text'::regtype, 'text[]'::regtype, 'jsonb'::regtype, 'tsvector'::regtype)
        or c.type in (select t.oid from pg_catalog.pg_type as t where t.typname = 'citext')
)

select
    c.table_name || '.' || c.column_name as object,
    'is neither erased nor said to stay' as detail
from personal as c
where not exists (
        select from covered as v where v.name in (c.table_name, c.table_name || '.' || c.column_name)
    )
    -- Texts go with what they hang on; who it was, when what it refers to has gone as well.
    and not exists (
        select
        from gone as g
        where not c.says_who and g.relation = c.relation
            or c.says_who and g.relation in (
                select k.confrelid
                from keys as k
                where k.conrelid = c.relation and k.own = c.number and k.is_cleared
                    and k.confrelid <> to_regclass('public.profiles')
            )
    )
    -- One of a few words.
    and not exists (
        select
        from pg_catalog.pg_constraint as k
        where k.conrelid = c.relation and k.conkey = array[c.number]
            and (
                k.contype = 'c' and pg_get_constraintdef(k.oid) ~ '= ANY \(\(?ARRAY\['
                or k.confrelid = to_regclass('private.kinds')
            )
    )
union all
select
    p.table_name,
    'is not exported'
from personal as p
where p.table_name not in (select d.relation from private.personal_data as d)
group by p.table_name
union all
select
    v.name,
    'is covered and does not exist'
from covered as v
where not exists (
        select from columns as c where v.name in (c.table_name, c.table_name || '.' || c.column_name)
    )
