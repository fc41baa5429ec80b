-- What can be had on top of a package: chosen with it, and priced into the one line, so that the fee, the commission
-- and a refund are of what was paid.

create table public.service_extras (
    id uuid not null default gen_random_uuid(),
    service_id uuid not null,
    title text not null,
    description text,
    price_cents bigint not null,
    delivery_days smallint not null default 0,
    is_active boolean not null default true,
    position smallint not null default 1,
    created_at timestamptz not null default now(),
    constraint service_extras_pkey primary key (id),
    constraint service_extras_service_id_fkey foreign key (service_id)
    references public.services (id) on delete cascade,
    constraint service_extras_title_check check (char_length(title) between 1 and 100),
    constraint service_extras_description_check check (char_length(description) <= 1000),
    constraint service_extras_price_cents_check check (private.is_price(price_cents)),
    constraint service_extras_delivery_days_check check (delivery_days between 0 and 365),
    constraint service_extras_position_check check (position between 1 and 100)
);

create index service_extras_service_id_idx on public.service_extras (service_id, position, id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint service_extras_service_id_fkey on public.service_extras is
'item_not_found: There is no such service.';
comment on constraint service_extras_title_check on public.service_extras is
'invalid_title: An extra''s title has 1 to 100 characters.';
comment on constraint service_extras_description_check on public.service_extras is
'invalid_description: An extra''s description has at most 1,000 characters.';
comment on constraint service_extras_price_cents_check on public.service_extras is
'invalid_price: A price is 0 or from 50 to 99999999 cents.';
comment on constraint service_extras_delivery_days_check on public.service_extras is
'invalid_extra: An extra takes 0 to 365 days.';
comment on constraint service_extras_position_check on public.service_extras is
'invalid_position: A position is from 1 to 100.';

comment on table public.service_extras is
'Extras of services, at most 20 each. Whoever sees the service sees those that can be had; its seller writes them. An '
'order keeps what it was made with.';
comment on column public.service_extras.service_id is 'The service.';
comment on column public.service_extras.title is 'Title, one line of at most 100 characters.';
comment on column public.service_extras.description is 'What it is, at most 1,000 characters.';
comment on column public.service_extras.price_cents is 'What it costs on top, cents: 0, else 50 to 99999999.';
comment on column public.service_extras.delivery_days is 'How many days more the delivery takes with it.';
comment on column public.service_extras.is_active is 'Whether it can be had.';
comment on column public.service_extras.position is 'Order of the extras, from 1.';

create function private.check_service_extra() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- One at a time per service: they are counted. The policy refuses what is not the caller's.
    perform from public.services as s where s.id = new.service_id and s.seller_id = auth.uid() for no key update;
    if found and (select count(*) from public.service_extras as e where e.service_id = new.service_id) >= 20 then
        perform private.fail('too_many_extras', new.service_id::text);
    end if;
    return new;
end
$$;
comment on function private.check_service_extra() is 'Trigger: at most 20 a service.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, description on public.service_extras
for each row execute function private.tidy_texts('title line required', 'description body');
create trigger check_service_extra
before insert on public.service_extras
for each row execute function private.check_service_extra();

alter table public.service_extras enable row level security;
grant select on public.service_extras to anon, authenticated, service_role;
grant
insert (service_id, title, description, price_cents, delivery_days, is_active, position),
update (title, description, price_cents, delivery_days, is_active, position),
delete
on public.service_extras to authenticated;
create policy service_extras_select_anon on public.service_extras for select to anon
using (is_active and (select c.id from public.catalog_items as c where c.id = service_id) is not null);
create policy service_extras_select on public.service_extras for select to authenticated
using (
    is_active and (select c.id from public.catalog_items as c where c.id = service_id) is not null
    or private.sells_item(service_id)
);
create policy service_extras_insert on public.service_extras for insert to authenticated
with check (private.sells_item(service_id));
create policy service_extras_update on public.service_extras for update to authenticated
using (private.sells_item(service_id)) with check (private.sells_item(service_id));
create policy service_extras_delete on public.service_extras for delete to authenticated
using (private.sells_item(service_id));

create function private.chosen_extras(
    service_id uuid, wanted jsonb, out extras jsonb, out cents bigint, out problem text, out detail text
)
language plpgsql
stable
set search_path = ''
as $$
begin
    extras := '[]';
    cents := 0;
    if coalesce(wanted, 'null') = 'null' then
        return;
    end if;
    if jsonb_typeof(wanted) <> 'array' or jsonb_array_length(wanted) > 20 then
        perform private.fail('line_not_valid', 'extras: at most 20 of {id, price_cents}');
    end if;
    perform private.require_keys(w.extra, '{id,price_cents}', 'line_not_valid') from jsonb_array_elements(wanted) as w (extra);
    if exists (
        select from jsonb_array_elements(wanted) as w (extra)
        where
            private.is_uuid(w.extra ->> 'id') is not true or coalesce(w.extra ->> 'price_cents', '') !~ '^[0-9]{1,8}$'
    ) or (
        select count(distinct lower(w.extra ->> 'id')) < count(*) from jsonb_array_elements(wanted) as w (extra)
    ) then
        perform private.fail('line_not_valid', 'extras: each once, {id, price_cents} with the price that was shown');
    end if;
    select
        coalesce(jsonb_agg(jsonb_build_object(
            'id', e.id, 'title', e.title, 'price_cents', e.price_cents, 'delivery_days', e.delivery_days
        ) order by w.no), '[]'),
        coalesce(sum(e.price_cents), 0),
        -- One that is gone before one that costs more than was shown.
        min(p.problem),
        min(w.id::text) filter (where p.problem is not null)
    into extras, cents, problem, detail
    from (
        select a.no, (a.extra ->> 'id')::uuid as id, (a.extra ->> 'price_cents')::bigint as shown_cents
        from jsonb_array_elements(wanted) with ordinality as a (extra, no)
    ) as w
    left join public.service_extras as e on e.id = w.id and e.service_id = chosen_extras.service_id and e.is_active
    cross join lateral (
        select case
            when e.id is null then 'extra_not_available' when e.price_cents > w.shown_cents then 'price_changed'
        end as problem
    ) as p;
end
$$;
comment on function private.chosen_extras(uuid, jsonb) is
'What an order keeps of the extras somebody chose, [{id, price_cents}] with the prices they were shown, what they cost '
'together (cents), and why they cannot be had, if so: extra_not_available, price_changed. Error: line_not_valid.';

insert into private.personal_data (section, relation, condition) values
('service_extras', 'public.service_extras',
    't.service_id in (select s.id from public.services as s where s.seller_id = $1)');
insert into private.erasure_steps (step, phase, erases, statement) values
('service_extras', 'works', '{public.service_extras}', $step$
    delete from public.service_extras
    where service_id in (select s.id from public.services as s where s.seller_id = $1)
$step$);

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_extras', 'PT409', 'A service has at most 20 extras.', 'Delete one first.'),
('extra_not_available', 'PT409', 'This extra is not available.',
'It is not one of the service, or not offered any more. The detail names it. Choose again.');
