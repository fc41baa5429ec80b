-- What PostgREST's pre-request refuses before anything is read.
begin;
\ir ../helpers.psql

select plan(4);

create function pg_temp.request(method text, path text, headers jsonb) returns text language sql as $$
    select set_config('request.method', method, true), set_config('request.path', path, true),
        set_config('request.headers', headers::text, true);
    select pg_temp.code_of('select private.check_request()')
$$;
grant execute on all functions in schema pg_temp to public;

select pg_temp.be(pg_temp.id(1));
select is(pg_temp.request('GET', '/wallets', '{"prefer": "count=planned"}'), 'count_not_available',
    'what belongs to persons is not estimated');
select is(pg_temp.request('POST', '/posts', '{"content-length": "1048577"}'), 'body_too_large', 'more than 1 MiB');
select is(pg_temp.request('POST', '/posts', '{"content-length": "1048576"}'), null, '1 MiB is accepted');
select pg_temp.be(null, 'anon');
select is(pg_temp.request('POST', '/posts', '{"content-length": "2"}'), 'not_signed_in', 'a visitor does not write');

select * from finish();
