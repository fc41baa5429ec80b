-- API roles get verbs on rows. TRUNCATE ignores policies, REFERENCES and TRIGGER are for owners of schemas.
select
    c.oid::regclass as object,
    lower(e.privilege_type) || ' for ' || e.grantee::regrole as detail
from pg_catalog.pg_class as c
cross join aclexplode(c.relacl) as e
where c.relnamespace::regnamespace::text in ('public', 'private', 'ledger')
    and e.privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER')
    and e.grantee <> 0
    and e.grantee::regrole::text in ('anon', 'authenticated', 'service_role', 'avenue_worker')
