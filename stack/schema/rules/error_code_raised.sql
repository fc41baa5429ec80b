-- Every registered code is raised somewhere: the page does not promise errors that cannot happen.
select e.code as object
from private.error_codes as e
where not exists (
    select
    from pg_catalog.pg_proc as p
    where p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
        and strpos(p.prosrc, quote_literal(e.code)) > 0
)
