-- No function raises a serialization failure or deadlock (class 40) by itself: PostgREST repeats such a request. PT409.
select
    p.oid::regprocedure as object,
    m.match[1] as detail
from pg_catalog.pg_proc as p
cross join regexp_matches(
    p.prosrc,
    '(raise[^;]*?(?:''40[0-9A-Z]{3}''|serialization_failure|deadlock_detected|transaction_rollback|'
    || 'transaction_integrity_constraint_violation|statement_completion_unknown)'
    || '|errcode\s*(?:=|:=)\s*''40[0-9A-Z]{3}'')',
    'gi'
) as m (match)
where p.pronamespace::regnamespace::text in ('public', 'private', 'ledger')
