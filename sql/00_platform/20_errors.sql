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

-- What PostgreSQL refuses by itself has no hint: it names a constraint, or only its SQLSTATE. A client looks that name
-- up here; what a constraint says is the comment on it, on its page: "code: Sentence."
create type public.error_entry as (name text, code text, sqlstate text, message text, advice text);
comment on type public.error_entry is
'One way to be refused. name: what the answer holds (hint, constraint or SQLSTATE); code: the stable word; message: '
'for people; advice: for developers.';

create function public.error_catalog() returns setof public.error_entry
language sql
stable
security definer
set search_path = ''
as $$
    select c.code, c.code, c.sqlstate, c.message, c.description
    from private.error_codes as c
    where c.sqlstate like 'PT%'
    union all
    select
        k.conname, split_part(d.description, ': ', 1),
        case k.contype when 'c' then '23514' when 'f' then '23503' else '23505' end,
        substr(d.description, strpos(d.description, ': ') + 2),
        'Constraint of ' || case when k.conrelid = 0 then k.contypid::regtype::text else k.conrelid::regclass::text end || '.'
    from pg_catalog.pg_constraint as k
    inner join pg_catalog.pg_description as d on d.classoid = 'pg_catalog.pg_constraint'::regclass and d.objoid = k.oid
    where k.connamespace = 'public'::regnamespace and d.description ~ '^[a-z_]+: '
    union all
    select
        k.relname, split_part(d.description, ': ', 1), '23505',
        substr(d.description, strpos(d.description, ': ') + 2), 'Unique index of ' || i.indrelid::regclass::text || '.'
    from pg_catalog.pg_index as i
    inner join pg_catalog.pg_class as k on k.oid = i.indexrelid
    inner join pg_catalog.pg_description as d on d.classoid = 'pg_catalog.pg_class'::regclass and d.objoid = k.oid
    where k.relnamespace = 'public'::regnamespace and i.indisunique and d.description ~ '^[a-z_]+: '
    union all
    values
    ('42501', 'not_allowed', '42501', 'This is not allowed.',
    'Not for this role: the verb, a column that was sent, or this row. The access matrix says who may do what.'),
    ('23502', 'value_missing', '23502', 'A value is missing.', 'The message names the column.'),
    ('22P02', 'invalid_value', '22P02', 'A value is of the wrong kind.', 'The message names it.'),
    ('22001', 'value_too_long', '22001', 'A value is too long.', 'The message says how long it may be.'),
    ('22003', 'value_out_of_range', '22003', 'A number is too large or too small.', 'The message names it.'),
    ('22007', 'invalid_value', '22007', 'A value is of the wrong kind.', 'A date or time; the message names it.'),
    ('22008', 'value_out_of_range', '22008', 'A date or time does not exist.', 'The message names it.'),
    ('22P05', 'invalid_value', '22P05', 'A text holds what cannot be stored.', 'A NUL or half a surrogate pair.'),
    ('21000', 'filter_missing', '21000', 'Please say which rows.', 'PATCH and DELETE need a filter.')
    order by 1
$$;
comment on function public.error_catalog() is
'Every way the Data API refuses, to be loaded once: a client looks up the hint of an error whose code begins with PT, '
'else the constraint that its message names, else its code (docs/errors.md).';
grant execute on function public.error_catalog() to anon, authenticated;
