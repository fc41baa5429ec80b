-- Skills, genres and categories that members miss and ask for. Enough of them asking makes a skill or a genre; an admin
-- decides on the rest.

create type public.custom_field_type as enum ('skill', 'genre', 'category');
comment on type public.custom_field_type is 'What is asked for.';

create type public.custom_field_status as enum ('pending', 'auto_approved', 'approved', 'rejected');
comment on type public.custom_field_status is
'auto_approved: enough members asked; approved and rejected: an admin decided.';

create table public.custom_field_requests (
    id uuid not null default gen_random_uuid(),
    field_type public.custom_field_type not null,
    field_value text not null,
    normal_value text not null,
    category_id uuid,
    request_count integer not null default 0,
    status public.custom_field_status not null default 'pending',
    field_id uuid,
    reviewed_at timestamptz,
    rejection_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint custom_field_requests_pkey primary key (id),
    -- One per value and for good. The category is no part of it: a name exists once, whatever category it is asked for.
    constraint custom_field_requests_field_type_normal_value_key unique (field_type, normal_value),
    constraint custom_field_requests_category_id_fkey foreign key (category_id)
    references public.categories (id) on delete set null,
    constraint custom_field_requests_field_value_check check (
        private.is_field_name(field_value) and normal_value = private.normal_form(normal_value)
    ),
    constraint custom_field_requests_category_id_check check (category_id is null or field_type = 'skill'),
    constraint custom_field_requests_request_count_check check (request_count >= 0),
    constraint custom_field_requests_status_check check (
        case status
            when 'pending' then field_id is null and reviewed_at is null and rejection_reason is null
            when 'auto_approved' then field_id is not null and field_type <> 'category' and rejection_reason is null
            when 'approved' then field_id is not null and reviewed_at is not null and rejection_reason is null
            when 'rejected' then field_id is null and reviewed_at is not null and rejection_reason is not null
        end
    )
);

create index custom_field_requests_category_id_idx on public.custom_field_requests (category_id);
create index custom_field_requests_status_created_at_id_idx
on public.custom_field_requests (status, created_at desc, id desc);

comment on table public.custom_field_requests is
'What is asked for, one row per value however it is spelled and whoever asks. Read by who asked and by admins; written '
'by request_custom_field(), approve_custom_field(), reject_custom_field() and reopen_custom_field().';
comment on column public.custom_field_requests.field_type is 'What is asked for.';
comment on column public.custom_field_requests.field_value is
'The best spelling among those who asked; after approval the name it got.';
comment on column public.custom_field_requests.normal_value is 'What was asked for in its normal form.';
comment on column public.custom_field_requests.category_id is
'Under which category, for skills: what most who asked named; null when nobody named one.';
comment on column public.custom_field_requests.request_count is 'How many members ask; kept by trigger.';
comment on column public.custom_field_requests.status is
'Leaves pending once; a plain update after all requesters are in, so that triggers on it see everybody.';
comment on column public.custom_field_requests.field_id is
'The skill, genre or category it became, or which it turned out to be.';
comment on column public.custom_field_requests.reviewed_at is 'When an admin decided; which one is in audit_log.';
comment on column public.custom_field_requests.rejection_reason is
'Told to everybody who asked or asks again; at most 1,000 characters.';

create trigger touch_updated_at before update on public.custom_field_requests
for each row execute function private.touch_updated_at();

create table public.custom_field_requesters (
    request_id uuid not null,
    user_id uuid not null,
    spelling text not null,
    category_id uuid,
    created_at timestamptz not null default clock_timestamp(),
    constraint custom_field_requesters_pkey primary key (request_id, user_id),
    constraint custom_field_requesters_request_id_fkey foreign key (request_id)
    references public.custom_field_requests (id) on delete cascade,
    constraint custom_field_requesters_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade,
    constraint custom_field_requesters_category_id_fkey foreign key (category_id)
    references public.categories (id) on delete set null,
    constraint custom_field_requesters_spelling_check check (private.is_field_name(spelling))
);

create index custom_field_requesters_user_id_idx on public.custom_field_requesters (user_id);
create index custom_field_requesters_category_id_idx on public.custom_field_requesters (category_id);

comment on table public.custom_field_requesters is
'Who asks for what, once each. One''s own rows and admins; nobody learns who else asked.';
comment on column public.custom_field_requesters.spelling is 'How they wrote it, tidied.';
comment on column public.custom_field_requesters.category_id is
'Under which category they want the skill; null says nothing.';

alter table public.custom_field_requests enable row level security;
alter table public.custom_field_requesters enable row level security;
grant select on public.custom_field_requests, public.custom_field_requesters to authenticated, service_role;

create policy custom_field_requesters_select on public.custom_field_requesters for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));
-- The subquery sees the caller's rows only.
create policy custom_field_requests_select on public.custom_field_requests for select to authenticated
using (
    id in (select r.request_id from public.custom_field_requesters as r where r.user_id = (select private.member_id()))
    or (select private.is_admin())
);

create function private.count_custom_field_requesters() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Whoever asks holds the request already; cascades take many.
    perform private.add_counts(
        'custom_field_requests.request_count',
        array_agg(c.request_id), array_agg(case tg_op when 'INSERT' then 1 else -1 end)
    )
    from changed as c;
    return null;
end
$$;
comment on function private.count_custom_field_requesters() is 'Trigger: keeps custom_field_requests.request_count.';

create trigger count_insert after insert on public.custom_field_requesters referencing new table as changed
for each statement execute function private.count_custom_field_requesters();
create trigger count_delete after delete on public.custom_field_requesters referencing old table as changed
for each statement execute function private.count_custom_field_requesters();

create function private.custom_field_threshold(field_type public.custom_field_type) returns integer
language sql
immutable
set search_path = ''
as $$
    select case field_type when 'skill' then 3 when 'genre' then 5 end
$$;
comment on function private.custom_field_threshold(public.custom_field_type) is
'How many members have to ask before it is created without an admin; null: never.';

create function private.check_field_name(name text) returns text
language plpgsql
immutable
set search_path = ''
as $$
declare
    -- Longer is refused before anything expensive is done with it.
    tidy text := case when char_length(name) <= 200 then private.tidy_name(name) end;
begin
    if
        private.is_field_name(tidy) is not true
        or tidy ~ '[][{}\\^|"]|://'
        -- A letter of any script.
        or tidy !~ '[A-Za-z\u00C0-\u1FFF\u2C00-\uD7FF]'
    then
        perform private.fail('custom_field_invalid', left(coalesce(tidy, ''), 60));
    end if;
    return tidy;
end
$$;
comment on function private.check_field_name(text) is
'The tidied name, or fails with custom_field_invalid: 2 to 60 characters, at least one letter, no markup.';

create function private.find_field(field_type public.custom_field_type, normal_value text)
returns table (id uuid, name text, is_available boolean)
language sql
stable
security definer
set search_path = ''
as $$
    select s.id, s.name, s.is_active and s.is_admin_approved
    from public.skills as s
    where find_field.field_type = 'skill' and private.normal_form(s.name) = find_field.normal_value
    union all
    select g.id, g.name, g.is_active and g.is_admin_approved
    from public.genres as g
    where find_field.field_type = 'genre' and private.normal_form(g.name) = find_field.normal_value
    union all
    select c.id, c.name, c.is_active
    from public.categories as c
    where find_field.field_type = 'category' and private.normal_form(c.name) = find_field.normal_value
$$;
comment on function private.find_field(public.custom_field_type, text) is
'The skill, genre or category of that normal form, if there is one, and whether it can be chosen.';

create function private.create_field(field_type public.custom_field_type, name text, category_id uuid)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    normal text := private.normal_form(name);
    -- Scripts that have no Latin letters to offer get a key that is at least stable.
    key text := coalesce(nullif(private.slugify(replace(name, '&', ' and ')), ''), 'x-' || left(md5(normal), 10));
    known uuid;
begin
    -- "C++" and "C#" have the same key at first. Two who create the same name wait for each other at its unique index.
    for attempt in 1..2 loop
        case field_type
            when 'skill' then
                insert into public.skills (name, slug, category_id)
                values (create_field.name, key, create_field.category_id) on conflict do nothing;
            when 'genre' then
                insert into public.genres (name, slug) values (create_field.name, key) on conflict do nothing;
            when 'category' then
                insert into public.categories (name, slug, sort_order)
                select create_field.name, key, coalesce(max(c.sort_order), 0) + 1 from public.categories as c
                on conflict do nothing;
        end case;
        select f.id into known from private.find_field(create_field.field_type, normal) as f;
        exit when known is not null;
        key := key || '-' || left(md5(normal), 6);
    end loop;
    return known;
end
$$;
comment on function private.create_field(public.custom_field_type, text, uuid) is
'The skill, genre or category of this name, created unless it exists.';

create function private.best_spelling(request_id uuid) returns text
language sql
stable
security definer
set search_path = ''
as $$
    -- Capitalised words before mixed case before one case only; then what most wrote; then who was first.
    select case
        when s.quality > 0 or (s.spelling = upper(s.spelling) and s.spelling ~ '^\S{2,4}$') then s.spelling
        else initcap(s.spelling)
    end
    from (
        select
            r.spelling,
            case
                when r.spelling in (upper(r.spelling), lower(r.spelling)) then 0
                when not exists (
                    select from regexp_split_to_table(r.spelling, ' ') as word
                    where left(word, 1) <> upper(left(word, 1))
                ) then 2
                else 1
            end as quality,
            count(*) as votes,
            min(r.created_at) as since
        from public.custom_field_requesters as r
        where r.request_id = best_spelling.request_id
        group by r.spelling
    ) as s
    order by s.quality desc, s.spelling = upper(s.spelling) desc, s.votes desc, s.since, s.spelling
    limit 1
$$;
comment on function private.best_spelling(uuid) is
'The best-cased spelling among those who ask. Where all shouted or all whispered, words are capitalised; up to four '
'capitals stay, as MIDI does.';

create function public.request_custom_field(
    field_type public.custom_field_type, field_value text, category_id uuid default null
) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    spelling text := private.check_field_name(field_value);
    normal text := private.normal_form(spelling);
    category uuid := case when request_custom_field.field_type = 'skill' then request_custom_field.category_id end;
    known record;
    request public.custom_field_requests;
begin
    if request_custom_field.field_type is null then
        perform private.fail('custom_field_invalid');
    end if;
    if category is not null and not exists (
        select from public.categories as c where c.id = category and c.is_active
    ) then
        perform private.fail('choice_not_available', category::text);
    end if;
    -- Before any other lock: an account that is being deleted and one that asks must not wait for each other.
    perform from public.profiles as p where p.id = caller for key share;
    perform pg_advisory_xact_lock(hashtextextended('avenue:custom_fields' || caller, 0));

    loop
        insert into public.custom_field_requests as q (field_type, field_value, normal_value)
        values (request_custom_field.field_type, spelling, normal)
        on conflict on constraint custom_field_requests_field_type_normal_value_key do nothing;
        -- Everybody who asks for the same value takes turns from here.
        select * into request from public.custom_field_requests as q
        where q.field_type = request_custom_field.field_type and q.normal_value = normal
        for no key update;
        -- Else it went at this moment, with the only one who had asked.
        exit when found;
    end loop;

    select f.* into known from private.find_field(request.field_type, normal) as f;
    if known.id is not null and not known.is_available then
        perform private.fail('custom_field_withdrawn', known.name);
    elsif known.id is not null or request.status in ('auto_approved', 'approved') then
        -- An admin may have corrected the name since.
        perform private.fail('custom_field_exists', coalesce(known.name, request.field_value));
    elsif request.status = 'rejected' then
        perform private.fail('custom_field_rejected', request.rejection_reason);
    end if;

    if (
        select count(*)
        from public.custom_field_requesters as r
        inner join public.custom_field_requests as q on q.id = r.request_id
        where r.user_id = caller and q.status = 'pending' and q.id <> request.id
    ) >= 20 then
        perform private.fail('too_many_custom_fields', '20');
    end if;
    insert into public.custom_field_requesters as r (request_id, user_id, spelling, category_id)
    values (request.id, caller, spelling, category)
    on conflict on constraint custom_field_requesters_pkey do nothing;
    update public.custom_field_requests as q set
        field_value = private.best_spelling(q.id),
        category_id = (
            select mode() within group (order by r.category_id)
            from public.custom_field_requesters as r
            where r.request_id = q.id
        )
    where q.id = request.id
    returning * into request;

    -- Accounts made for the purpose do not count, however many: then an admin decides.
    if (
        select count(*)
        from public.custom_field_requesters as r
        inner join public.profiles as p on p.id = r.user_id
        cross join private.settings as s
        where
            r.request_id = request.id and p.is_confirmed and not p.is_banned and p.deleted_at is null
            and p.created_at <= now() - s.custom_field_account_age
    ) >= private.custom_field_threshold(request.field_type) then
        update public.custom_field_requests as q set
            status = 'auto_approved',
            field_id = private.create_field(request.field_type, request.field_value, request.category_id)
        where q.id = request.id
        returning * into request;
    end if;
    return request;
end
$$;
comment on function public.request_custom_field(public.custom_field_type, text, uuid) is
'Asks for a skill, genre or category that does not exist, or joins who asks for it already; once per member. With the '
'third member it becomes a skill, with the fifth a genre, counting confirmed accounts of some age '
'(settings.custom_field_account_age); categories are an admin''s decision. category_id: for skills, under which '
'category; what most named counts. Fails with custom_field_invalid, custom_field_exists, custom_field_withdrawn, '
'custom_field_rejected or too_many_custom_fields.';
grant execute on function public.request_custom_field(public.custom_field_type, text, uuid) to authenticated;

create function private.undecided_field(request_id uuid) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    request public.custom_field_requests;
begin
    perform private.require_admin();
    select * into request from public.custom_field_requests as q where q.id = undecided_field.request_id
    for no key update;
    if request.id is null then
        perform private.fail('custom_field_not_found', undecided_field.request_id::text);
    elsif request.status <> 'pending' then
        perform private.fail('custom_field_decided', request.status::text);
    end if;
    return request;
end
$$;
comment on function private.undecided_field(uuid) is
'The request, locked; fails with custom_field_not_found or custom_field_decided.';

create function public.approve_custom_field(
    request_id uuid, corrected_name text default null, category_id uuid default null
) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    request public.custom_field_requests := private.undecided_field(approve_custom_field.request_id);
    name text := private.check_field_name(coalesce(corrected_name, request.field_value));
    category uuid := case
        when request.field_type = 'skill' then coalesce(approve_custom_field.category_id, request.category_id)
    end;
    field uuid;
begin
    if exists (
        select from private.find_field(request.field_type, private.normal_form(name)) as f where not f.is_available
    ) then
        perform private.fail('custom_field_withdrawn', name);
    end if;
    if category is not null and not exists (select from public.categories as c where c.id = category) then
        perform private.fail('choice_not_available', category::text);
    end if;
    field := private.create_field(request.field_type, name, category);
    update public.custom_field_requests as q set
        status = 'approved', field_value = name, category_id = category, field_id = field, reviewed_at = now()
    where q.id = request.id;
    perform private.audit(
        'approve_custom_field', 'custom_field_request', request.id,
        jsonb_build_object('field_type', request.field_type, 'asked', request.field_value, 'name', name, 'field', field)
    );
    select * into request from public.custom_field_requests as q where q.id = request.id;
    return request;
end
$$;
comment on function public.approve_custom_field(uuid, text, uuid) is
'Admins: creates what was asked for, under a corrected name and another category if given; audited. The name of an '
'existing entry makes the request a request for that. Fails with custom_field_decided when it was decided before.';
grant execute on function public.approve_custom_field(uuid, text, uuid) to authenticated;

create function public.reject_custom_field(request_id uuid, reason text) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    request public.custom_field_requests := private.undecided_field(reject_custom_field.request_id);
    said text := private.tidy_body(reason);
begin
    if coalesce(char_length(said), 0) not between 1 and 1000 then
        perform private.fail('rejection_reason_required');
    end if;
    update public.custom_field_requests as q set
        status = 'rejected', rejection_reason = said, reviewed_at = now()
    where q.id = request.id;
    perform private.audit(
        'reject_custom_field', 'custom_field_request', request.id,
        jsonb_build_object('field_type', request.field_type, 'asked', request.field_value, 'reason', said)
    );
    select * into request from public.custom_field_requests as q where q.id = request.id;
    return request;
end
$$;
comment on function public.reject_custom_field(uuid, text) is
'Admins: refuses what was asked for; audited. It stays refused: whoever asks for it again gets custom_field_rejected '
'with the reason, until reopen_custom_field().';
grant execute on function public.reject_custom_field(uuid, text) to authenticated;

create function public.reopen_custom_field(request_id uuid) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    request public.custom_field_requests;
begin
    perform private.require_admin();
    update public.custom_field_requests as q set
        status = 'pending', rejection_reason = null, reviewed_at = null
    where q.id = reopen_custom_field.request_id and q.status = 'rejected'
    returning * into request;
    if request.id is null then
        -- Says whether it does not exist or was decided otherwise; one that is pending is open already.
        return private.undecided_field(reopen_custom_field.request_id);
    end if;
    perform private.audit('reopen_custom_field', 'custom_field_request', request.id, '{}');
    return request;
end
$$;
comment on function public.reopen_custom_field(uuid) is
'Admins: takes a rejection back, so that members can ask again and an admin can approve; audited.';
grant execute on function public.reopen_custom_field(uuid) to authenticated;

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'custom_field_requests.request_count', 'public.custom_field_requests', 'id', 'request_count',
    'select r.request_id, count(*) from public.custom_field_requesters as r group by r.request_id'
);

create function private.erase_custom_fields(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    asked uuid [];
begin
    select array_agg(h.id) into asked
    from (
        select q.id from public.custom_field_requests as q
        where q.status = 'pending' and q.id in (
            select r.request_id from public.custom_field_requesters as r
            where r.user_id = erase_custom_fields.user_id
        )
        order by q.id
        for update
    ) as h;
    delete from public.custom_field_requesters as r where r.user_id = erase_custom_fields.user_id;
    delete from public.custom_field_requests as q
    where q.id = any(asked)
        and not exists (select from public.custom_field_requesters as r where r.request_id = q.id);
    update public.custom_field_requests as q set field_value = private.best_spelling(q.id) where q.id = any(asked);
end
$$;
comment on function private.erase_custom_fields(uuid) is
'Step of erase_rest(): nobody asks any more for what only this account asked for, and what others ask for is spelled '
'their way.';

insert into private.erasure_steps (step, phase, erases, statement) values
('custom_fields', 'details', '{public.custom_field_requesters}', 'select private.erase_custom_fields($1)');

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.custom_field_requests', 'status', null, 'pending', 'somebody asks first'),
('public.custom_field_requests', 'status', 'pending', 'auto_approved', 'enough members asked'),
('public.custom_field_requests', 'status', 'pending', 'approved', 'approve_custom_field()'),
('public.custom_field_requests', 'status', 'pending', 'rejected', 'reject_custom_field()'),
('public.custom_field_requests', 'status', 'rejected', 'pending', 'reopen_custom_field()');
select private.build_moves('public.custom_field_requests', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('custom_field_request', 'public.custom_field_requests', null, '/settings/profile', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('custom_fields', 'public.custom_field_requesters', 't.user_id = $1', '{}', null),
('custom_field_requests', 'public.custom_field_requests',
    null, '{field_value, normal_value, field_id, rejection_reason}',
    'words that others ask for, too, or that an admin decided on; it is not noted who asked');

insert into private.error_codes (code, sqlstate, message, description) values
('custom_field_invalid', 'PT400', 'This is not a possible name.',
'Names of skills, genres and categories have 2 to 60 characters, at least one letter and no markup.'),
('custom_field_exists', 'PT409', 'This exists already.',
'The detail is its name: choose it from the list instead of asking for it.'),
('custom_field_withdrawn', 'PT409', 'This was withdrawn.',
'A skill, genre or category of this name (detail) exists but is not on offer. Admins can make it active again.'),
('custom_field_rejected', 'PT409', 'This was asked for before and rejected.', 'The detail is the admin''s reason.'),
('too_many_custom_fields', 'PT429', 'Too many open requests.',
'One member has at most 20 undecided requests (detail). Wait until some are decided.'),
('custom_field_not_found', 'PT404', 'This request does not exist.', 'No request with the id in the detail.'),
('custom_field_decided', 'PT409', 'This was decided already.', 'The detail is the decision. Reload the list.'),
('rejection_reason_required', 'PT400', 'A rejection needs a reason.', 'Give those who asked 1 to 1,000 characters.');
