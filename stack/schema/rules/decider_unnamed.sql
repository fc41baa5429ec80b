-- Who decided is not named to those decided about: audit_log has it. Columns that clients read say what, not who.
select
    c.oid::regclass || '.' || a.attname as object,
    'readable by ' || string_agg(r.name, ', ' order by r.name) as detail
from pg_catalog.pg_attribute as a
inner join pg_catalog.pg_class as c on c.oid = a.attrelid
cross join unnest(array['anon', 'authenticated']) as r (name)
where c.relkind in ('r', 'p', 'v', 'm')
    and a.attnum > 0
    and not a.attisdropped
    and a.attname ~ '_by$'
    and format_type(a.atttypid, a.atttypmod) in ('uuid', 'text')
    and c.relnamespace::regnamespace::text = 'public'
    and has_column_privilege(r.name, c.oid, a.attnum, 'select')
group by c.oid, a.attname
