-- What goes between the two sides of a service order: requirements and deliveries, texts and files. Files are in the
-- private bucket deliveries as <own id>/<service order>/<name>, uploaded before; what an order refers to neither
-- changes nor goes (40_catalog/50_storage).

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
select 'deliveries', 'deliveries', false, b.file_size_limit, b.allowed_mime_types
from storage.buckets as b
where b.id = 'product-files';

create table public.service_deliveries (
    id uuid not null default gen_random_uuid(),
    service_order_id uuid not null,
    number integer not null,
    notes text,
    files text[] not null default '{}',
    delivered_at timestamptz not null default clock_timestamp(),
    reminded_at timestamptz,
    constraint service_deliveries_pkey primary key (id),
    constraint service_deliveries_number_key unique (service_order_id, number),
    constraint service_deliveries_service_order_id_fkey foreign key (service_order_id)
    references public.service_orders (id),
    constraint service_deliveries_notes_check check (char_length(notes) between 1 and 10000),
    constraint service_deliveries_files_check check (cardinality(files) <= 20),
    -- An empty delivery would only stop the clock.
    constraint service_deliveries_substance_check check (notes is not null or files <> '{}')
);
create index service_deliveries_unreminded_idx on public.service_deliveries (delivered_at) where reminded_at is null;
comment on constraint service_deliveries_notes_check on public.service_deliveries is
'invalid_delivery: What is written with a delivery has at most 10,000 characters.';
comment on constraint service_deliveries_files_check on public.service_deliveries is
'invalid_delivery: A delivery has at most 20 files.';
comment on constraint service_deliveries_substance_check on public.service_deliveries is
'invalid_delivery: A delivery has a file or a text.';
comment on table public.service_deliveries is
'What sellers delivered, time by time. Read by whoever reads the order; deliver_service_order() writes.';
comment on column public.service_deliveries.number is 'Which delivery of the order, from 1.';
comment on column public.service_deliveries.notes is 'What the seller wrote with it.';
comment on column public.service_deliveries.files is 'Up to 20 paths in the private bucket deliveries.';
comment on column public.service_deliveries.reminded_at is
'When its buyer was reminded that silence approves: once for each delivery.';
alter table public.service_deliveries alter column notes set statistics 0;
alter table public.service_deliveries alter column files set statistics 0;

alter table public.service_deliveries enable row level security;
grant select on public.service_deliveries to authenticated, service_role;
create policy service_deliveries_select on public.service_deliveries for select to authenticated
using ((select o.id from public.service_orders as o where o.id = service_order_id) is not null);

create function private.require_delivery_files(service_order_id uuid, files text[]) returns text[]
language plpgsql
set search_path = ''
as $$
declare
    wanted text[] := coalesce(files, '{}');
    unusable text;
begin
    if cardinality(wanted) > 20 then
        perform private.fail('too_many_delivery_files');
    end if;
    -- An upload to the same path that is just finishing waits, and then finds this order.
    perform from storage.objects as o
    where o.bucket_id = 'deliveries' and o.name = any (wanted)
    order by o.name
    for share;
    select string_agg(a.path, ', ') into unusable
    from (
        select u.path, row_number() over (partition by u.path) as occurrence from unnest(wanted) as u (path)
    ) as a
    where
        a.path is null
        or a.occurrence > 1
        or not starts_with(a.path, auth.uid() || '/' || require_delivery_files.service_order_id || '/')
        or not exists (
            select from storage.objects as o where o.bucket_id = 'deliveries' and o.name = a.path
        );
    if unusable is not null or array_position(wanted, null) is not null then
        perform private.fail('delivery_file_not_found', left(unusable, 2000));
    end if;
    return wanted;
end
$$;
comment on function private.require_delivery_files(uuid, text[]) is
'These paths, if the caller has stored each of them for the order. Errors: too_many_delivery_files, '
'delivery_file_not_found.';

create function public.send_requirements(
    service_order_id uuid, requirements text default null, files text[] default null
) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    sent public.service_orders;
    words text := nullif(private.tidy_body(send_requirements.requirements), '');
    moment timestamptz;
begin
    select * into act from private.begin_service_act(service_order_id, 'send_requirements');
    sent := act.acted;
    sent.requirements := words;
    sent.requirement_files := private.require_delivery_files(sent.id, send_requirements.files);
    if words is null and sent.requirement_files = '{}' then
        perform private.fail('nothing_sent', sent.id::text);
    elsif char_length(words) > 10000 then
        perform private.fail('invalid_requirements');
    end if;
    moment := clock_timestamp();
    sent.requirements_at := moment;
    -- The day until which a revision may be due is counted from the start of the work.
    sent.revise_until := sent.revise_until + private.hours_until(moment, sent.created_at);
    sent := private.start_service_work(sent, moment);
    sent.status := 'in_progress';
    sent := private.write_service_order(sent, 'send_requirements', act.actor, auth.uid());
    perform private.tell_service_order(sent, 'service_requirements', false, true);
    return sent;
end
$$;
comment on function public.send_requirements(uuid, text, text[]) is
'Buyer: what the seller asked for, a text or files or both; work starts, and its clock. Errors: '
'service_order_not_found, not_your_part, state_changed, order_frozen, nothing_sent, invalid_requirements, '
'too_many_delivery_files, delivery_file_not_found.';
grant execute on function public.send_requirements(uuid, text, text[]) to authenticated;

create function public.deliver_service_order(
    service_order_id uuid, notes text default null, files text[] default null
) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    sent public.service_orders;
    words text := nullif(private.tidy_body(deliver_service_order.notes), '');
    moment timestamptz;
begin
    select * into act from private.begin_service_act(service_order_id, 'deliver');
    sent := act.acted;
    -- Else silence would approve, and pay, an hour that has not been held.
    if sent.session_ends_at > clock_timestamp() then
        perform private.fail('session_not_over', private.utc(sent.session_ends_at));
    end if;
    sent.delivery_notes := words;
    sent.delivery_files := private.require_delivery_files(sent.id, deliver_service_order.files);
    if words is null and sent.delivery_files = '{}' then
        perform private.fail('nothing_sent', sent.id::text);
    end if;
    moment := clock_timestamp();
    insert into public.service_deliveries (service_order_id, number, notes, files, delivered_at)
    select sent.id, count(*) + 1, words, sent.delivery_files, moment
    from public.service_deliveries as d
    where d.service_order_id = sent.id;
    -- A revision goes on with what is left now.
    sent.remaining := private.hours_until(sent.due_at, moment);
    sent.due_at := null;
    sent.cancel_after := null;
    sent.delivered_at := moment;
    -- From this delivery, the last one: an earlier one's silence is over.
    sent.auto_approve_at := moment + (select s.service_approval_period from private.settings as s);
    sent.status := 'delivered';
    sent := private.write_service_order(sent, 'deliver', act.actor, auth.uid());
    perform private.tell_service_order(sent, 'service_delivered', true, false);
    return sent;
end
$$;
comment on function public.deliver_service_order(uuid, text, text[]) is
'Seller: delivers, a text or files or both; without an answer of the buyer the order is approved at auto_approve_at. '
'Errors: service_order_not_found, not_your_part, state_changed, order_frozen, session_not_over, nothing_sent, '
'too_many_delivery_files, delivery_file_not_found, invalid_delivery (23514).';
grant execute on function public.deliver_service_order(uuid, text, text[]) to authenticated;

create function private.remind_service_buyers(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    delivery record;
    told integer := 0;
begin
    for delivery in
        with last_chance as (
            update public.service_deliveries as d set reminded_at = clock_timestamp()
            where d.id in (
                select l.id from public.service_deliveries as l
                inner join public.service_orders as o
                    on o.id = l.service_order_id and o.delivered_at = l.delivered_at
                    and o.auto_approve_at between clock_timestamp() and clock_timestamp() + interval '24 hours'
                where l.reminded_at is null
                order by l.delivered_at
                limit max_rows
                for no key update of l skip locked
            )
            returning d.service_order_id
        )

        select o.* from last_chance as l inner join public.service_orders as o on o.id = l.service_order_id
    loop
        perform private.notify(delivery.buyer_id, 'service_reminder', null, 'service_order', delivery.id);
        told := told + 1;
    end loop;
    return told;
end
$$;
comment on function private.remind_service_buyers(integer) is
'Reminds buyers a day before silence approves, once for each delivery; how many. Call until 0.';
grant execute on function private.remind_service_buyers(integer) to avenue_worker;

create function private.unused_delivery_files(max_rows integer default 1000) returns table (bucket text, path text)
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return query
    select o.bucket_id, o.name
    from storage.objects as o
    where
        o.bucket_id = 'deliveries' and o.created_at < now() - interval '168 hours' and not private.is_delivered(o.name)
    order by o.name
    limit max_rows;
end
$$;
comment on function private.unused_delivery_files(integer) is
'Stored files, a week old, that no service order refers to: uploaded and never sent.';
grant execute on function private.unused_delivery_files(integer) to avenue_worker;

insert into private.personal_data (section, relation, condition, stays, reason) values
('service_deliveries', 'public.service_deliveries',
    't.service_order_id in (select o.id from public.service_orders as o where o.buyer_id = $1 or o.seller_id = $1)',
    '{service_order_id, notes, files}', 'what was done for money: its buyer keeps it');

insert into private.error_codes (code, sqlstate, message, description) values
('nothing_sent', 'PT400', 'There is nothing in it.', 'Requirements and deliveries have a text or at least one file.'),
('invalid_requirements', 'PT400', 'This text is too long.', 'Requirements have at most 10,000 characters.'),
('too_many_delivery_files', 'PT400', 'These are too many files.', 'At most 20; put them into an archive.'),
('delivery_file_not_found', 'PT400', 'A file was not uploaded.',
'Upload to the bucket deliveries as <own id>/<service order id>/<name> first and name each file once. The detail lists '
'the paths.');
