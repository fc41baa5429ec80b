-- What the planner learns of texts. `Prefer: count=planned` answers with its estimate, made from samples of all rows,
-- also of those a policy hides: whoever compares texts with eq, gt and lt gets from it how often a text occurs, and by
-- halving the interval the text itself. So nothing is sampled of texts clients can read. A unique index tells the
-- planner all it needs; where an index is not unique, its column is looked up by, and keeps its samples.

do $$
declare
    wanted record;
begin
    for wanted in
        select a.attrelid::regclass as relation, a.attname as name
        from pg_catalog.pg_attribute as a
        inner join pg_catalog.pg_class as c on c.oid = a.attrelid
        inner join pg_catalog.pg_type as t on t.oid = a.atttypid
        where
            c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
            and coalesce(nullif(t.typbasetype, 0), t.oid) = 'text'::regtype
            and (
                has_column_privilege('anon', c.oid, a.attnum, 'select')
                or has_column_privilege('authenticated', c.oid, a.attnum, 'select')
            )
            and not exists (
                select from pg_catalog.pg_index as i
                where i.indrelid = c.oid and a.attnum = any(i.indkey) and not i.indisunique
            )
            and a.attstattarget is distinct from 0
    loop
        execute format('alter table %s alter column %I set statistics 0', wanted.relation, wanted.name);
    end loop;
end
$$;
