-- What is looked at before every request of the Data API, the same hosted and local: PostgREST calls check_request()
-- in the request's transaction, as the caller. It runs for each page, so it reads no table and looks closer only where
-- the headers give a reason to.

create function private.is_open_to_visitors(path text) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    -- A function that does not exist is PostgREST's to answer.
    return path like '/rpc/%' and not exists (
        select from pg_catalog.pg_proc as p
        where
            p.pronamespace = 'public'::regnamespace and p.proname = substr(path, 6)
            and not has_function_privilege('anon', p.oid, 'execute')
    );
end
$$;
comment on function private.is_open_to_visitors(text) is
'Whether somebody without a token may write at a path of the Data API: to functions granted to anon only.';
grant execute on function private.is_open_to_visitors(text) to anon;

create function private.check_request() returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    headers text := current_setting('request.headers', true);
    method text;
    path text;
begin
    if current_user not in ('anon', 'authenticated') then
        return;
    end if;
    -- Each page pays for this line: no pattern, and PostgREST knows these words in lower case only.
    if strpos(headers, 'planned') > 0 or strpos(headers, 'estimated') > 0 then
        path := current_setting('request.path', true);
        if headers::json ->> 'prefer' ~* 'count[[:space:]]*=[[:space:]]*"?(planned|estimated)' then
            -- The planner counts all rows, whatever a policy hides, and what is embedded decides with them.
            if
                has_table_privilege('avenue_estimates', to_regclass('public.' || quote_ident(ltrim(path, '/'))), 'select')
                is not true
            then
                perform private.fail('count_not_available', path);
            end if;
            perform set_config('role', 'avenue_estimates', true);
            return;
        end if;
    end if;
    method := current_setting('request.method', true);
    if method <> 'GET' and method <> 'HEAD' then
        if (headers::json ->> 'content-length')::numeric > 1048576 then
            perform private.fail('body_too_large', headers::json ->> 'content-length');
        end if;
        if current_user = 'anon' then
            path := current_setting('request.path', true);
            if not private.is_open_to_visitors(path) then
                perform private.fail('not_signed_in', path);
            end if;
        end if;
    end if;
end
$$;
comment on function private.check_request() is
'PostgREST''s pre-request: refuses estimated counts of what belongs to persons (count_not_available), bodies of more '
'than 1 MiB (body_too_large) and writing without a token (not_signed_in). Operators'' keys pass.';
grant execute on function private.check_request() to anon, authenticated, service_role;

-- PostgREST reads its settings from the role it connects as, on a hosted project too. A server that lets only a
-- superuser do this says so instead of refusing the schema.
do $$
begin
    alter role authenticator set pgrst.db_pre_request = 'private.check_request';
    notify pgrst, 'reload config';
exception when insufficient_privilege then
    raise warning 'the Data API does not call private.check_request(): as a superuser, '
        'alter role authenticator set pgrst.db_pre_request = ''private.check_request''';
end
$$;

insert into private.error_codes (code, sqlstate, message, description) values
('count_not_available', 'PT400', 'Estimated counts are not available here.',
'count=planned and count=estimated are made from all rows, also from those the caller may not see. Ask for count=exact '
'or page by key. The access matrix says where estimates are answered; the detail is the path.'),
('body_too_large', 'PT413', 'The request is too large.',
'Requests to the Data API have at most 1 MiB; the detail is what was sent, bytes. Files go to Storage.');
