select
    p.polrelid::regclass || '.' || quote_ident(p.polname) as object,
    case p.polcmd
        when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all'
    end as command,
    case when p.polpermissive then 'permissive' else 'restrictive' end as kind,
    (
        select string_agg(case r when 0 then 'public' else pg_catalog.pg_get_userbyid(r) end, ', ' order by r)
        from unnest(p.polroles) as r
    ) as roles,
    pg_get_expr(p.polqual, p.polrelid) as using_check,
    pg_get_expr(p.polwithcheck, p.polrelid) as with_check
from pg_catalog.pg_policy as p
inner join pg_catalog.pg_class as c on c.oid = p.polrelid
where c.relnamespace in (select o.oid from pg_temp.ours as o)
