-- Views read with their caller's rights, so that the tables' policies hold.
select c.oid::regclass as object
from pg_catalog.pg_class as c
where c.relkind = 'v'
    and c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
    and not coalesce('security_invoker=true' = any(c.reloptions) or 'security_invoker=on' = any(c.reloptions), false)
