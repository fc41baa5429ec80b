-- Values that stand in many tables: their forms, and that every table which has one keeps it.
begin;
\ir ../helpers.psql

select plan(20);

select results_eq(
    $$select private.lowest_price_cents(), private.highest_amount_cents()$$, $$values (50::bigint, 99999999::bigint)$$,
    'the references'' bounds'
);
select results_eq(
    $$select array_agg(v order by v) from unnest(array[-1, 0, 1, 49, 50, 1000, 99999999, 100000000]::bigint[]) as v
    where private.is_price(v)$$,
    $$values (array[0, 50, 1000, 99999999]::bigint[])$$, 'a price is nothing, or what can be charged'
);
select results_eq(
    $$select array_agg(v order by v) from unnest(array['a', 'a-1', '0', 'a-b-c', '', ' ', 'A', 'a_b', 'a b', '-a', 'a-',
        'a--b', 'ä', e'a\n', 'a.b']) as v where private.is_slug(v)$$,
    $$values (array['0', 'a', 'a-1', 'a-b-c'])$$, 'a slug is words joined by hyphens'
);
select results_eq(
    $$select array_agg(v order by v) from unnest(array['00000000-0000-4000-8000-00000000000a',
        'A0000000-0000-4000-8000-00000000000A', '', 'x', '00000000-0000-4000-8000-00000000000g',
        '00000000-0000-4000-8000-00000000000a ', '00000000000040008000000000000000']) as v where private.is_uuid(v)$$,
    $$values (array['00000000-0000-4000-8000-00000000000a', 'A0000000-0000-4000-8000-00000000000A'])$$,
    'an id is recognised'
);
select is(
    array[private.is_price(null), private.is_slug(null), private.is_uuid(null)], array[null, null, null]::boolean[],
    'nothing is neither right nor wrong'
);
select is(private.page_size(wanted, usual, most), size, format('%s of %s, usually %s', wanted, most, usual))
from (values
    (null, 20, 100, 20), (0, 20, 100, 1), (-5, 20, 100, 1), (7, 20, 100, 7), (1000, 20, 100, 100), (null, 50, 200, 50)
) as t (wanted, usual, most, size);
select is(private.page_size(500), 100, 'a page has at most 100 rows, where nothing else is said');
select is(
    (select private.last_uuid() >= all (array_agg(gen_random_uuid())) from generate_series(1, 100)), true,
    'the last id comes after the others'
);

-- Every constraint that asks for a form, on whatever table: a column is tried alone, in a copy of its table.
create temporary table asked on commit drop as
select k.conrelid::regclass as relation, m.match[1] as form, m.match[2]::name as field, k.oid as id
from pg_catalog.pg_constraint as k
cross join regexp_matches(pg_get_constraintdef(k.oid), 'private\.is_(price|slug)\(\(?(\w+)\)?(?:::text)?\)', 'g') as m (match)
where k.contype = 'c' and k.conrelid <> 0;

create function pg_temp.refused_by(relation regclass, field name, value text) returns text language plpgsql as $$
declare
    part record;
    refused_by text;
begin
    execute format('create temporary table copy (like %s including constraints)', relation);
    for part in
        select a.attname from pg_catalog.pg_attribute as a
        where a.attrelid = 'pg_temp.copy'::regclass and a.attnum > 0 and a.attnotnull
    loop
        execute format('alter table copy alter column %I drop not null', part.attname);
    end loop;
    for part in
        select k.conname from pg_catalog.pg_constraint as k
        inner join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and a.attname = field
        where k.conrelid = 'pg_temp.copy'::regclass and k.contype = 'c' and a.attnum <> all (k.conkey)
    loop
        execute format('alter table copy drop constraint %I', part.conname);
    end loop;
    begin
        execute format('insert into copy (%I) values (%L)', field, value);
    exception when check_violation then
        get stacked diagnostics refused_by = constraint_name;
    end;
    drop table copy;
    return refused_by;
end
$$;

select cmp_ok((select count(*) from asked where form = 'price'), '>=', 9::bigint, 'prices in many tables');
select cmp_ok((select count(*) from asked where form = 'slug'), '>=', 8::bigint, 'and slugs');
select is_empty(
    $$select a.relation, a.field, v.value from asked as a
    inner join (values ('price', '-1'), ('price', '1'), ('price', '49'), ('price', '100000000'), ('slug', ''),
        ('slug', 'A'), ('slug', 'a b'), ('slug', 'a--b'), ('slug', '-a'), ('slug', e'a\n')) as v (form, value)
    on v.form = a.form
    where pg_temp.refused_by(a.relation, a.field, v.value)
        is distinct from (select k.conname::text from pg_catalog.pg_constraint as k where k.oid = a.id)$$,
    'no table takes a wrong one, and what refuses it is the constraint that asks'
);
select is_empty(
    $$select a.relation, a.field, v.value from asked as a
    inner join (values ('price', '0'), ('price', '50'), ('price', '99999999'), ('slug', 'a'), ('slug', 'a-1'))
        as v (form, value) on v.form = a.form
    where
        pg_temp.refused_by(a.relation, a.field, v.value) is not null
        -- What is never free says so beside.
        and not (v.value = '0' and pg_get_constraintdef(a.id) ~ format('%s > 0', a.field))$$,
    'every table takes a right one'
);
select is_empty(
    $$select a.relation, a.field from asked as a
    where (
            has_column_privilege('authenticated', a.relation, a.field, 'insert')
            or has_column_privilege('authenticated', a.relation, a.field, 'update')
        )
        and coalesce(obj_description(a.id, 'pg_constraint'), '') not like 'invalid_' || a.form || ': %'$$,
    'who writes a wrong one is told the same everywhere'
);
select is_empty(
    $$select a.relation, a.field from asked as a
    where a.form = 'slug' and has_column_privilege('authenticated', a.relation, a.field, 'update')
        and pg_temp.refused_by(a.relation, a.field, repeat('a', 101)) is null$$,
    'an address that somebody chose has an end'
);
select is_empty(
    $$select k.conname, p.oid::regprocedure, r.role from pg_catalog.pg_constraint as k
    inner join pg_catalog.pg_depend as d on d.classid = 'pg_catalog.pg_constraint'::regclass and d.objid = k.oid
        and d.refclassid = 'pg_catalog.pg_proc'::regclass
    inner join pg_catalog.pg_proc as p on p.oid = d.refobjid
    cross join unnest(array['anon', 'authenticated', 'service_role']) as r (role)
    where k.contype = 'c' and k.conrelid <> 0
        and has_any_column_privilege(r.role, k.conrelid, 'insert, update')
        and not has_function_privilege(r.role, p.oid, 'execute')$$,
    'who may write a row may execute what its constraints ask'
);

select * from finish();
rollback;
