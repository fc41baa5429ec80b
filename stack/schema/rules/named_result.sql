-- One row of several values has a named type: generated types make an array of what OUT parameters return.
select p.oid::regprocedure as object
from pg_catalog.pg_proc as p
where p.pronamespace::regnamespace::text = 'public'
    and p.prorettype = 'record'::regtype
    and not p.proretset
    and has_function_privilege('authenticated', p.oid, 'execute')
