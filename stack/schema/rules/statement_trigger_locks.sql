-- No trigger before a statement of a table that clients write takes an advisory lock, nor do the functions it calls: it
-- would be held while rows are chosen, as long as the caller's filter takes.
with recursive called (trigger, function, oid) as (
    select t.tgrelid::regclass || '.' || t.tgname, t.tgfoid::regprocedure, t.tgfoid
    from pg_catalog.pg_trigger as t
    where not t.tgisinternal
        -- Before, for each statement.
        and t.tgtype & 3 = 2
        and exists (
            select
            from unnest(array['anon', 'authenticated']) as r (name)
            where has_any_column_privilege(r.name, t.tgrelid, 'insert, update')
                or has_table_privilege(r.name, t.tgrelid, 'delete')
        )
    union
    select c.trigger, c.function, p.oid
    from called as c
    inner join pg_catalog.pg_proc as caller on caller.oid = c.oid
    inner join pg_catalog.pg_proc as p
        on p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
            and caller.prosrc ~* ('\m' || p.pronamespace::regnamespace::text || '\.' || p.proname || '\s*\(')
)

select distinct c.trigger as object, c.function::text as detail
from called as c
inner join pg_catalog.pg_proc as p on p.oid = c.oid
where p.prosrc ~* 'pg_(try_)?advisory_'
