select
    p.pubname as object,
    r.prrelid::regclass as relation,
    concat_ws(
        ', ',
        case when p.puballtables then 'all tables' end,
        case when p.pubinsert then 'insert' end,
        case when p.pubupdate then 'update' end,
        case when p.pubdelete then 'delete' end,
        case when p.pubtruncate then 'truncate' end
    ) as publishes,
    (
        select string_agg(a.attname, ', ' order by a.attname)
        from pg_catalog.pg_attribute as a
        where a.attrelid = r.prrelid and a.attnum = any(r.prattrs)
    ) as columns,
    pg_get_expr(r.prqual, r.prrelid) as filter
from pg_catalog.pg_publication as p
left join pg_catalog.pg_publication_rel as r on r.prpubid = p.oid
