-- What became of each parcel. What is shipped is earned when it is delivered; what is not shipped in time its buyer can
-- cancel (cancel_line).

create type public.shipment_status as enum (
    'shipped', 'in_transit', 'out_for_delivery', 'available_for_pickup', 'delivered', 'lost', 'returned'
);
comment on type public.shipment_status is
'Ascending: a report of an earlier state that arrives late changes nothing. What was delivered may come back, what was '
'lost may turn up.';

-- Of random numbers each check digit passes one in ten, and many carriers have none: a warning, never a refusal.
create function private.is_suspicious_number(carrier text, number text) returns boolean
language plpgsql
immutable
set search_path = ''
as $$
declare
    digits text := number;
    -- Of each place from the left, over and again; the last digit is compared with what their sum leaves.
    weights integer[];
    total integer;
begin
    if number ~ '^[A-Z]{2}[0-9]{9}[A-Z]{2}$' then
        digits := substr(number, 3, 9);
        weights := '{8,6,4,2,3,5,9,7}';
    elsif carrier = 'UPS' and number ~ '^1Z[A-Z0-9]{15}[0-9]$' then
        -- Letters count as digits, from A = 2 on.
        digits := translate(substr(number, 3), 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', '23456789012345678901234567');
        weights := '{1,2}';
    elsif carrier = 'USPS' and number ~ '^([0-9]{20}|[0-9]{22})$' then
        weights := '{3,1}';
    elsif carrier = 'FEDEX' and number ~ '^[0-9]{12}$' then
        weights := '{3,1,7}';
    else
        return false;
    end if;
    select sum(substr(digits, n, 1)::integer * weights[1 + (n - 1) % cardinality(weights)]) into total
    from generate_series(1, char_length(digits) - 1) as n;
    return right(digits, 1)::integer <> case cardinality(weights)
        when 2 then (10 - total % 10) % 10
        when 3 then total % 11 % 10
        else case total % 11 when 0 then 5 else (11 - total % 11) % 10 end
    end;
end
$$;
comment on function private.is_suspicious_number(text, text) is
'Whether a tracking number''s check digit is wrong, where the carrier''s form has one: international mail (S10), UPS '
'(1Z), USPS (20 and 22 digits), FedEx (12). False for every other number.';

create table public.shipments (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    carrier text,
    tracking_number text,
    is_suspicious boolean not null generated always as (
        coalesce(private.is_suspicious_number(carrier, tracking_number), false)
    ) stored,
    status public.shipment_status not null default 'shipped',
    status_at timestamptz not null default now(),
    shipped_at timestamptz not null default now(),
    delivered_at timestamptz,
    returned_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint shipments_pkey primary key (id),
    constraint shipments_order_item_id_key unique nulls not distinct (order_item_id, carrier, tracking_number),
    constraint shipments_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint shipments_carrier_check check (char_length(carrier) between 1 and 50),
    constraint shipments_tracking_number_check check (tracking_number ~ '^[A-Z0-9]{4,50}$')
);

create index shipments_open_idx on public.shipments (status_at) where status < 'delivered';

-- What a client that breaks these is told, see error_catalog().
comment on constraint shipments_carrier_check on public.shipments is
'invalid_shipment: A carrier has 1 to 50 characters.';
comment on constraint shipments_tracking_number_check on public.shipments is
'invalid_shipment: A tracking number has 4 to 50 letters and digits.';

comment on table public.shipments is
'Parcels of an order line; one line may be sent in several. The line''s buyer and seller and admins read; ship_line(), '
'confirm_delivery() and the carrier''s reports write.';
comment on column public.shipments.order_item_id is 'The line.';
comment on column public.shipments.carrier is 'Who carries it, as the seller says, in capital letters; one line.';
comment on column public.shipments.tracking_number is
'The carrier''s number, letters and digits only: spaces and hyphens are taken out. Null: not tracked.';
comment on column public.shipments.is_suspicious is
'The number''s check digit is wrong: look again whether it is the carrier''s.';
comment on column public.shipments.status is 'State by the latest report of the highest rank.';
comment on column public.shipments.status_at is 'When it got there.';
comment on column public.shipments.shipped_at is 'When the seller sent it.';
comment on column public.shipments.delivered_at is 'When it arrived, by the carrier or the buyer.';
comment on column public.shipments.returned_at is 'When it was back with the seller.';

create trigger touch_updated_at before update on public.shipments
for each row execute function private.touch_updated_at();

alter table public.shipments enable row level security;
grant select on public.shipments to authenticated, service_role;
create policy shipments_select on public.shipments for select to authenticated
using ((select i.id from public.order_items as i where i.id = order_item_id) is not null);
comment on policy shipments_select on public.shipments is 'Whoever sees the line sees its parcels.';

create function public.ship_line(
    order_item_id uuid, carrier text default null, tracking_number text default null
) returns public.shipments
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    number text := nullif(upper(regexp_replace(
        ship_line.tracking_number, '[^A-Za-z0-9]', '', 'g'
    )), '');
    by_whom text := nullif(upper(private.tidy_name(ship_line.carrier)), '');
    line public.order_items;
    parcel public.shipments;
begin
    -- What was never paid for is not sold, what is free is.
    select i.* into line from public.order_items as i
    where
        i.id = ship_line.order_item_id and i.is_shipped and i.seller_id = member
        and exists (select from public.purchases as p where p.order_item_id = i.id);
    if line.id is null then
        perform private.fail('sale_not_found');
    end if;
    perform from public.transactions as t where t.order_item_id = line.id for no key update;
    if not exists (
        select from public.purchases as p where p.order_item_id = line.id and p.revoked_at is null
    ) or exists (
        -- Not booked yet, but asked for: its buyer has stepped back.
        select from public.transactions as t
        where t.order_item_id = line.id and t.amount_total_cents <= t.refunded_cents + (
            select sum(r.amount_cents) from public.refunds as r where r.order_item_id = line.id and r.is_open
        )
    ) then
        perform private.fail('line_refunded', line.id::text);
    end if;
    -- Some numbers are printed with the destination's postal code in front.
    number := regexp_replace(number, '^420([0-9]{5}|[0-9]{9})(9[0-9]{19}|9[0-9]{21})$', '\2');
    insert into public.shipments (order_item_id, carrier, tracking_number)
    values (line.id, by_whom, number)
    on conflict do nothing
    returning * into parcel;
    if parcel.id is null then
        select * into strict parcel from public.shipments as s
        where
            s.order_item_id = line.id and s.carrier is not distinct from by_whom
            and s.tracking_number is not distinct from number;
    -- Its buyer is told of each.
    elsif greatest(20, line.quantity) < (
        select count(*) from public.shipments as s where s.order_item_id = line.id
    ) then
        perform private.fail('too_many_parcels', line.id::text);
    end if;
    return parcel;
end
$$;
comment on function public.ship_line(uuid, text, text) is
'Seller: a parcel of this line was sent; the buyer is told. The same carrier and number again answer the first. A '
'tracked one counts as delivered delivery_assumed_after later if nothing else is heard. Errors: sale_not_found, '
'line_refunded (also when it is on its way back), too_many_parcels; invalid_shipment (23514).';
grant execute on function public.ship_line(uuid, text, text) to authenticated;

create function private.record_shipment(shipment_id uuid, status public.shipment_status, at timestamptz) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    parcel public.shipments;
    line uuid := (select s.order_item_id from public.shipments as s where s.id = record_shipment.shipment_id);
begin
    -- What is back frees its stock, and orders and stocks come before sales.
    if record_shipment.status = 'returned' then
        perform private.lock_orders(array(select i.order_id from public.order_items as i where i.id = line));
    end if;
    perform from public.transactions as t where t.order_item_id = line for no key update;
    -- By rank, then by time: carriers report late and repeatedly. What was lost may turn up later.
    update public.shipments as s set
        status = record_shipment.status, status_at = record_shipment.at,
        delivered_at = case
            when record_shipment.status = 'delivered' then record_shipment.at else s.delivered_at
        end,
        returned_at = case when record_shipment.status = 'returned' then record_shipment.at end
    where
        s.id = record_shipment.shipment_id
        and exists (
            select from private.state_moves as m
            where
                m.relation = 'public.shipments' and m.from_state = s.status::text
                and m.to_state = record_shipment.status::text
        )
        and (s.status <> 'lost' or record_shipment.at > s.status_at)
    returning * into parcel;
    if parcel.status = 'delivered' and not exists (
        select from public.shipments as s
        where s.order_item_id = parcel.order_item_id and s.status in (
            'shipped', 'in_transit', 'out_for_delivery', 'available_for_pickup', 'lost'
        )
    ) then
        perform private.complete_lines(array[parcel.order_item_id], least(record_shipment.at, now()));
    elsif parcel.status = 'returned' and not exists (
        select from public.shipments as s where s.order_item_id = parcel.order_item_id and s.status <> 'returned'
    ) then
        perform private.return_line(parcel.order_item_id);
    end if;
end
$$;
comment on function private.record_shipment(uuid, public.shipment_status, timestamptz) is
'Takes a report about a parcel, in any order and however often: a lower state never replaces a higher one. With the '
'last parcel delivered the line is complete; with the last one returned what was refunded is back.';
grant execute on function private.record_shipment(uuid, public.shipment_status, timestamptz) to avenue_worker;

create function public.confirm_delivery(order_item_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    line public.order_items;
begin
    select * into line from public.order_items as i
    where
        i.id = confirm_delivery.order_item_id and i.is_shipped
        and (i.buyer_id = member or private.is_admin() and i.seller_id <> member);
    if line.id is null then
        perform private.fail('sale_not_found');
    end if;
    if not exists (select from public.shipments as s where s.order_item_id = line.id) then
        perform private.fail('not_shipped', line.id::text);
    end if;
    perform private.record_shipment(s.id, 'delivered', now())
    from public.shipments as s
    where s.order_item_id = line.id
    order by s.id;
    if line.buyer_id <> member then
        perform private.audit('confirm_delivery', 'order_item', line.id, '{}');
    end if;
end
$$;
comment on function public.confirm_delivery(uuid) is
'Buyer (or an admin who is not the seller): everything of this line has arrived. Its earnings become available '
'earnings_hold later. Repeated calls change nothing. Errors: sale_not_found, not_shipped.';
grant execute on function public.confirm_delivery(uuid) to authenticated;

create function public.confirm_return(order_item_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    if not exists (
        select from public.order_items as i
        inner join public.shipments as s on s.order_item_id = i.id
        where i.id = confirm_return.order_item_id and i.seller_id = member
    ) then
        perform private.fail('sale_not_found');
    end if;
    perform private.record_shipment(s.id, 'returned', now())
    from public.shipments as s
    where s.order_item_id = confirm_return.order_item_id
    order by s.id;
end
$$;
comment on function public.confirm_return(uuid) is
'Seller: what was sent is back. Of a refunded line the copy can be sold again, and what is one of a kind put into the '
'shop again. Error: sale_not_found.';
grant execute on function public.confirm_return(uuid) to authenticated;

create function private.assume_deliveries(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    silent record;
    assumed integer := 0;
begin
    for silent in
        select s.id, s.status_at + l.delivery_assumed_after as at
        from public.shipments as s
        inner join public.transactions as t on t.order_item_id = s.order_item_id
        cross join private.settings as l
        where
            s.status < 'delivered' and s.tracking_number is not null
            and s.status_at + l.delivery_assumed_after <= now()
        order by t.id, s.id
        limit max_rows
        for no key update of t skip locked
    loop
        perform private.record_shipment(silent.id, 'delivered', silent.at);
        assumed := assumed + 1;
    end loop;
    return assumed;
end
$$;
comment on function private.assume_deliveries(integer) is
'Tracked parcels count as delivered delivery_assumed_after the last that was heard of them; returns how many, at most '
'max_rows. Call until 0.';
grant execute on function private.assume_deliveries(integer) to avenue_worker;

alter table private.settings
add column ship_within interval not null default '336 hours',
add column delivery_assumed_after interval not null default '336 hours';
comment on column private.settings.ship_within is
'How long a seller has to ship; then the buyer can cancel what was not shipped.';
comment on column private.settings.delivery_assumed_after is
'When a tracked parcel of which nothing is heard counts as delivered.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.shipments', 'status', null, 'shipped', 'ship_line()'),
('public.shipments', 'status', 'shipped', 'in_transit', 'the carrier has it'),
('public.shipments', 'status', 'shipped', 'out_for_delivery', 'reports were left out'),
('public.shipments', 'status', 'shipped', 'available_for_pickup', 'reports were left out'),
('public.shipments', 'status', 'shipped', 'delivered', 'by the carrier, the buyer, or nothing else was heard'),
('public.shipments', 'status', 'shipped', 'lost', 'the carrier cannot find it'),
('public.shipments', 'status', 'shipped', 'returned', 'it is with the seller again'),
('public.shipments', 'status', 'in_transit', 'out_for_delivery', 'the carrier brings it'),
('public.shipments', 'status', 'in_transit', 'available_for_pickup', 'it waits for the buyer'),
('public.shipments', 'status', 'in_transit', 'delivered', 'by the carrier, the buyer, or nothing else was heard'),
('public.shipments', 'status', 'in_transit', 'lost', 'the carrier cannot find it'),
('public.shipments', 'status', 'in_transit', 'returned', 'it is with the seller again'),
('public.shipments', 'status', 'out_for_delivery', 'available_for_pickup', 'nobody was there'),
('public.shipments', 'status', 'out_for_delivery', 'delivered', 'by the carrier, the buyer, or nothing else was heard'),
('public.shipments', 'status', 'out_for_delivery', 'lost', 'the carrier cannot find it'),
('public.shipments', 'status', 'out_for_delivery', 'returned', 'it is with the seller again'),
('public.shipments', 'status', 'available_for_pickup', 'delivered', 'picked up, or nothing else was heard'),
('public.shipments', 'status', 'available_for_pickup', 'lost', 'the carrier cannot find it'),
('public.shipments', 'status', 'available_for_pickup', 'returned', 'nobody came'),
('public.shipments', 'status', 'delivered', 'returned', 'the buyer sent it back'),
('public.shipments', 'status', 'lost', 'in_transit', 'found'),
('public.shipments', 'status', 'lost', 'out_for_delivery', 'found'),
('public.shipments', 'status', 'lost', 'available_for_pickup', 'found'),
('public.shipments', 'status', 'lost', 'delivered', 'it arrived after all'),
('public.shipments', 'status', 'lost', 'returned', 'it is with the seller again');
select private.build_moves('public.shipments', 'status');

insert into private.personal_data (section, relation, condition, stays, reason) values
('shipments', 'public.shipments',
    't.order_item_id in (select i.id from public.order_items as i where i.buyer_id = $1 or i.seller_id = $1)',
    '{carrier, tracking_number}', 'the books: what became of what was sold');

insert into private.error_codes (code, sqlstate, message, description) values
('line_refunded', 'PT409', 'This was refunded.',
'There is nothing to ship any more: the buyer has the money back, or it is on its way. The detail is the line.'),
('too_many_parcels', 'PT409', 'This was sent in too many parcels.',
'At most 20 a line, and as many as it has pieces. The detail is the line.'),
('not_shipped', 'PT409', 'This was not shipped yet.', 'The detail is the line. Only what was shipped can arrive.');
