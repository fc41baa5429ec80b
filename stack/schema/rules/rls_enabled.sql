-- Row level security is on for every table of ours: without it one grant too many opens everything.
select c.oid::regclass as object
from pg_catalog.pg_class as c
where c.relkind in ('r', 'p')
    and not c.relrowsecurity
    and c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
