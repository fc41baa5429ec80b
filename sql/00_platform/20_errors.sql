-- Every business error a client can meet, as data: docs/errors.md is generated from this table.

create table private.error_codes (
    code text not null,
    sqlstate text not null,
    message text not null,
    description text not null,
    constraint error_codes_pkey primary key (code),
    constraint error_codes_sqlstate_check check (sqlstate ~ '^(PT4[0-9]{2}|AV[0-9]{3})$')
);

comment on table private.error_codes is 'Catalogue of business errors raised by private.fail().';
comment on column private.error_codes.code is 'Stable key, sent as the error''s hint. Clients switch on this.';
comment on column private.error_codes.sqlstate is
'PT4xx: PostgREST answers with HTTP status 4xx. AV0xx: internal to the workers.';
comment on column private.error_codes.message is 'Sentence for people.';
comment on column private.error_codes.description is 'When it happens and what the caller should do.';

create function private.fail(code text, detail text default null) returns void
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    known private.error_codes;
begin
    select * into known from private.error_codes as c where c.code = fail.code;
    if known is null then
        raise exception 'unregistered error code %', fail.code using errcode = 'XX000';
    end if;
    raise exception using
        errcode = known.sqlstate,
        message = known.message,
        hint = known.code,
        detail = coalesce(fail.detail, '');
end
$$;

comment on function private.fail(text, text) is
'Raises the registered business error: its SQLSTATE, its message, the code as hint and the given detail.';

alter table private.error_codes enable row level security;
grant execute on function private.fail(text, text) to anon, authenticated, service_role, avenue_worker;
