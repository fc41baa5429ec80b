-- A default that was taken away leaves an entry without it, down to an empty one.
select
    concat(
        pg_catalog.pg_get_userbyid(d.defaclrole), ' in ',
        coalesce(nullif(d.defaclnamespace, 0)::regnamespace::text, 'every schema')
    ) as object,
    case d.defaclobjtype
        when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types'
        when 'n' then 'schemas'
    end as kind,
    case e.grantee when 0 then 'PUBLIC' else coalesce(pg_catalog.pg_get_userbyid(e.grantee), 'nobody') end as grantee,
    string_agg(
        lower(e.privilege_type) || case when e.is_grantable then '*' else '' end, ', ' order by e.privilege_type
    ) as verbs
from pg_catalog.pg_default_acl as d
left join lateral aclexplode(d.defaclacl) as e on e.privilege_type <> 'MAINTAIN'
group by d.oid, d.defaclrole, d.defaclnamespace, d.defaclobjtype, e.grantee
