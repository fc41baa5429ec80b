-- Every code given to private.fail() is in private.error_codes, the page clients read.
select
    p.oid::regprocedure as object,
    m.match[1] as detail
from pg_catalog.pg_proc as p
cross join regexp_matches(p.prosrc, 'private\.fail\(\s*''([^'']*)''', 'g') as m (match)
where p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
    and m.match[1] not in (select e.code from private.error_codes as e)
