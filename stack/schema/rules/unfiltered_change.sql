-- A hosted project refuses API roles an UPDATE or DELETE without WHERE (safeupdate), also in the functions they call.
select
    p.oid::regprocedure as object,
    regexp_replace(trim(s.statement), '\s+', ' ', 'g') as detail
from pg_catalog.pg_proc as p
-- Texts come from a statement's first word on, so that the WHERE of another one does not count.
cross join lateral regexp_split_to_table(regexp_replace(p.prosrc, '--[^\n]*', '', 'g'), ';') as line
cross join lateral substring(
    line from '(?i)\m(update\s+[a-z_."]+(?:\s+as\s+\w+)?\s+set\M.*|delete\s+from\M.*)'
) as s (statement)
where p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
    and s.statement !~* '\mwhere\M'
