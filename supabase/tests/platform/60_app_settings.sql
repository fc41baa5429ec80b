-- Where the workers are: published by themselves, read by everybody, needed for a link.
begin;
\ir ../helpers.psql

select plan(13);

update public.app_settings set workers_url = null;
select is(pg_temp.code_of('select private.workers_link(''/x'')'), 'payments_not_set_up',
    'without an address no link is given');
select is(private.publish_workers('https://workers.example.com/avenue'), 'https://workers.example.com/avenue',
    'a worker publishes its address');
select results_eq(
    $$select has_function_privilege('avenue_worker', 'private.publish_workers(text)', 'execute'),
    has_table_privilege('avenue_worker', 'public.app_settings', 'update')$$,
    'values (true, false)', 'its role may, and writes the table in no other way'
);
select is(private.workers_link('/functions/v1/x'), 'https://workers.example.com/avenue/functions/v1/x',
    'a link begins with it');
select is((select updated_at from public.app_settings), now(), 'when is noted');
select is(pg_temp.code_of(format('select private.publish_workers(%L)', u)), '23514', format('%s is no base URL', u))
from unnest(array['ftp://x', 'https://x/', 'https://x?y', 'https://x y', 'javascript:alert(1)']) as u;

select pg_temp.be(null, 'anon');
select is((select workers_url from public.app_settings), 'https://workers.example.com/avenue', 'visitors read it');
select is(pg_temp.code_of('select private.publish_workers(''https://evil.example'')'), '42501',
    'and cannot publish');
select pg_temp.be(null, 'service_role');
select is(pg_temp.code_of('select private.publish_workers(''https://evil.example'')'), '42501', 'nor can a server');

select * from finish();
rollback;
