-- Every function clients call with jsonb refuses keys it does not know: ignoring a misspelt key does something else.
select p.oid::regprocedure as object
from pg_catalog.pg_proc as p
where p.pronamespace::regnamespace::text = 'public'
    and (has_function_privilege('anon', p.oid, 'execute') or has_function_privilege('authenticated', p.oid, 'execute'))
    and (p.proargtypes::oid[] && array['jsonb'::regtype::oid, 'json'::regtype::oid])
    and p.prosrc !~ 'private\.require_keys\('
