-- Versions of files: who releases, who reads them.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t as select pg_temp.product(1, 2000) as item, pg_temp.product(3, 500) as other;
create function pg_temp.item() returns uuid language sql security definer as $$ select t.item from t $$;
create function pg_temp.file_of_other() returns uuid language sql security definer as $$
    select f.id from public.product_files as f inner join t on f.product_id = t.other
$$;
insert into storage.objects (bucket_id, name)
select 'product-files', pg_temp.id(1) || '/' || n from unnest('{new,newer}'::text[]) as n;
insert into storage.objects (bucket_id, name) values ('product-files', pg_temp.id(3) || '/theirs');
create function pg_temp.files(variadic names text[]) returns jsonb language sql as $$
    select jsonb_agg(jsonb_build_object('path', pg_temp.id(1) || '/' || n)) from unnest(names) as n
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.ban();

select is(pg_temp.code_as(pg_temp.id(who), format('select public.release_version(pg_temp.item(), %s)', arguments)), code, says)
from (values
    (3, '''x'', pg_temp.files(''new'')', 'item_not_found', 'not of somebody else''s'),
    (4, '''x'', pg_temp.files(''new'')', 'item_not_found', 'not even by an admin'),
    (5, '''x'', pg_temp.files(''new'')', 'banned', 'nor by who is banned'),
    (1, '''x'', null', 'invalid_version', 'with files'),
    (1, '''x'', ''[]''', 'invalid_version', 'one at least'),
    (1, '''x'', ''{}''', 'invalid_version', 'in a list'),
    (1, '''x'', ''["a"]''', 'invalid_version', 'of objects'),
    (1, '''x'', ''[{"path": "a", "note": "b"}]''', 'invalid_version', 'with known keys'),
    (1, 'null, pg_temp.files(''new'')', 'text_not_visible', 'with notes'),
    (1, '''x'', pg_temp.files(''missing'')', 'file_not_uploaded', 'that are there'),
    (1, format('''x'', ''[{"path": "%s/theirs"}]''', pg_temp.id(3)), 'file_not_uploaded', 'and one''s own'),
    (1, '''x'', pg_temp.files(''new''), array[pg_temp.file_of_other()]', 'file_not_found', 'in place of one''s own'),
    (1, '''x'', pg_temp.files(''new''), null, repeat(''x'', 51)', '23514', 'named shortly'),
    (1, ''' Less hiss. '', pg_temp.files(''new''), null, ''1.1''', null, 'is a version'),
    (1, '''More.'', pg_temp.files(''newer''), ''{}''', null, 'beside what is there'),
    (1, '''x'', pg_temp.files(''newer'')', '23505', 'a path is listed once')
) as x (who, arguments, code, says);
select results_eq(
    'select number, name, notes from public.product_versions order by number',
    $$values (2, '1.1', 'Less hiss.'), (3, null, 'More.')$$, 'they are counted from 2'
);
select is((select count(*) from public.product_files where product_id = pg_temp.item() and removed_at is null), 2::bigint,
    'the first replaced what was there, the second nothing');
select is(pg_temp.code_as(pg_temp.id(1), 'update public.product_versions set notes = ''x'''), '42501', 'they do not change');
select is(pg_temp.code_as(pg_temp.id(2), 'select private.tell_versions()'), '42501', 'the workers tell');
select pg_temp.be(null, 'anon');
select is((select count(*) from public.product_versions), 2::bigint, 'everybody reads them');
reset role;
update public.products set status = 'paused' where id = pg_temp.item();
select pg_temp.be(null, 'anon');
select is((select count(*) from public.product_versions), 0::bigint, 'while they see the product');
reset role;
update public.products set status = 'deleted' where id = pg_temp.item();
select is(
    pg_temp.code_as(pg_temp.id(1), 'select public.release_version(pg_temp.item(), ''x'', pg_temp.files(''new''))'),
    'product_deleted', 'what is deleted has no more versions'
);

select * from finish();
rollback;
