-- Policies name their role: one for PUBLIC is evaluated for every role, workers and anonymous visitors included.
select p.polrelid::regclass || '.' || p.polname as object
from pg_catalog.pg_policy as p
inner join pg_catalog.pg_class as c on c.oid = p.polrelid
where p.polroles = '{0}'
    and (
        c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
        or c.oid::regclass::text = 'storage.objects'
    )
