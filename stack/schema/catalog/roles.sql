-- Roles belong to the server; each scratch server has seen only one build, so they can be compared too.
select
    r.rolname as object,
    concat_ws(
        ', ',
        case when r.rolsuper then 'superuser' end,
        case when r.rolcanlogin then 'login' end,
        case when r.rolinherit then 'inherit' end,
        case when r.rolbypassrls then 'bypassrls' end,
        case when r.rolcreaterole then 'createrole' end,
        case when r.rolcreatedb then 'createdb' end,
        case when r.rolreplication then 'replication' end,
        case when r.rolconnlimit >= 0 then 'connection limit ' || r.rolconnlimit end
    ) as attributes,
    (
        select string_agg(
            g.rolname || case when m.admin_option then ' (admin)' else '' end, ', ' order by g.rolname, m.admin_option
        )
        from pg_catalog.pg_auth_members as m
        inner join pg_catalog.pg_roles as g on g.oid = m.roleid
        where m.member = r.oid
    ) as member_of,
    (
        select string_agg(c, ', ' order by c)
        from pg_catalog.pg_db_role_setting as s
        cross join unnest(s.setconfig) as c
        where s.setrole = r.oid
    ) as settings
from pg_catalog.pg_roles as r
where r.rolname !~ '^pg_'
