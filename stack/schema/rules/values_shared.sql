-- A price and a slug have one form everywhere; bounds and sets of states are written once (docs/conventions.md).
with form (name, columns) as (
    values ('is_price', '(^|_)(price|rate)_cents$'), ('is_slug', '(^|_)slug$')
),

written (object, text) as (
    select
        case when k.conrelid = 0 then k.contypid::regtype::text else k.conrelid::regclass::text end || '.' || k.conname,
        pg_get_constraintdef(k.oid)
    from pg_catalog.pg_constraint as k
    where k.contype = 'c' and k.connamespace::regnamespace::text in ('public', 'private', 'ledger')
    union all
    select p.oid::regprocedure::text, p.prosrc
    from pg_catalog.pg_proc as p
    where p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
        and p.oid not in ('private.highest_amount_cents()'::regprocedure, 'private.is_slug(text)'::regprocedure)
)

select
    c.oid::regclass || '.' || a.attname as object,
    'no constraint asks private.' || f.name || '()' as detail
from pg_catalog.pg_attribute as a
inner join pg_catalog.pg_class as c on c.oid = a.attrelid
inner join form as f on a.attname ~ f.columns
where c.relkind in ('r', 'p')
    and a.attnum > 0
    and not a.attisdropped
    and c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
    and not exists (
        select from pg_catalog.pg_constraint as k
        where k.conrelid = c.oid and k.contype = 'c' and k.convalidated
            and pg_get_constraintdef(k.oid) ~ format('private\.%s\(\(?%I\)?(::text)?\)', f.name, a.attname)
    )
union all
select w.object, 'writes private.highest_amount_cents() or the pattern of private.is_slug() again'
from written as w
where w.text ~ format('\m%s\M', private.highest_amount_cents()) or strpos(w.text, '[a-z0-9]+(-[a-z0-9]+)*') > 0
union all
select w.object, 'lists the states of ' || g.adrelid::regclass || '.is_open again'
from pg_catalog.pg_attrdef as g
inner join pg_catalog.pg_attribute as a on a.attrelid = g.adrelid and a.attnum = g.adnum
cross join lateral (
    select string_agg(quote_literal(m.match[1]), ', ' order by m.place) as states
    from regexp_matches(pg_get_expr(g.adbin, g.adrelid), '''(\w+)''::', 'g') with ordinality as m (match, place)
) as l
inner join written as w on strpos(w.text, l.states) > 0
where a.attname = 'is_open' and a.attgenerated = 's'
