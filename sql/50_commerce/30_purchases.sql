-- Entitlements: what a buyer owns and may download.

create table public.purchases (
    buyer_id uuid not null,
    item_id uuid not null,
    order_item_id uuid not null,
    price_cents bigint not null,
    currency character(3) not null default 'USD',
    purchased_at timestamptz not null default now(),
    revoked_at timestamptz,
    constraint purchases_pkey primary key (buyer_id, item_id),
    constraint purchases_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint purchases_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint purchases_order_item_id_fkey foreign key (order_item_id) references public.order_items (id)
);

create index purchases_item_id_idx on public.purchases (item_id);
create unique index purchases_order_item_id_idx on public.purchases (order_item_id);

comment on table public.purchases is
'Entitlement of a buyer to an item: grants downloads until revoked by a full refund. Buyer and admins read.';
comment on column public.purchases.order_item_id is 'The order line that granted it (the latest, when bought again).';
comment on column public.purchases.price_cents is 'What was paid for it, cents; 0 when free.';
comment on column public.purchases.revoked_at is 'When it was taken back; null while valid.';

create function private.owns_item(user_id uuid, item_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.purchases as p
        where p.buyer_id = owns_item.user_id and p.item_id = owns_item.item_id and p.revoked_at is null
    )
$$;

comment on function private.owns_item(uuid, uuid) is 'True while the user holds a valid entitlement to the item.';
grant execute on function private.owns_item(uuid, uuid) to authenticated;

create function private.count_purchases() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    change integer := (case when tg_op <> 'DELETE' and new.revoked_at is null then 1 else 0 end)
    - (case when tg_op <> 'INSERT' and old.revoked_at is null then 1 else 0 end);
    paid_change integer
    := (case when tg_op <> 'DELETE' and new.revoked_at is null and new.price_cents > 0 then 1 else 0 end)
    - (case when tg_op <> 'INSERT' and old.revoked_at is null and old.price_cents > 0 then 1 else 0 end);
begin
    if change <> 0 or paid_change <> 0 then
        update public.catalog_items as c set
            purchases_count = c.purchases_count + change, paid_purchases_count = c.paid_purchases_count + paid_change
        where c.id = coalesce(new.item_id, old.item_id);
    end if;
    return null;
end
$$;

comment on function private.count_purchases() is
'Trigger: catalog_items.purchases_count counts valid entitlements, paid_purchases_count those that were paid for.';

create trigger count_purchases
after insert or delete or update of revoked_at, price_cents on public.purchases
for each row execute function private.count_purchases();

alter table public.purchases enable row level security;
grant select on public.purchases to authenticated, service_role;
create policy purchases_select on public.purchases for select to authenticated
using (buyer_id = (select private.member_id()) or (select private.is_admin()));

-- What a seller needs to deliver, from the buyer's order, which stays closed to them: of their own lines, the
-- address and notes only while the line is paid.
create function private.line_order(line uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return jsonb_build_object('order_number', o.order_number) || case
        when i.buyer_id = m.id or m.is_admin or (
            o.status in ('completed', 'partially_refunded')
            and not exists (
                select from public.transactions as t
                where t.order_item_id = i.id and t.refunded_cents = t.amount_total_cents
            )
        ) then jsonb_build_object('delivery', jsonb_build_object(
            'shipping_address', o.shipping_address, 'notes', o.notes
        ))
        else '{}'
    end
    from public.order_items as i
    inner join public.orders as o on o.id = i.order_id
    cross join (select private.member_id() as id, private.is_admin() as is_admin) as m
    where i.id = line_order.line and (i.buyer_id = m.id or i.seller_id = m.id or m.is_admin);
end
$$;

comment on function private.line_order(uuid) is
'What a reader of an order line may know of its order: order_number, and delivery (shipping_address, notes); null for '
'others.';
grant execute on function private.line_order(uuid) to authenticated;

create function public.order_number(line public.order_items) returns text
language sql
stable
set search_path = ''
as $$
    select private.line_order((line).id) ->> 'order_number'
$$;

comment on function public.order_number(public.order_items) is
'Computed field of order_items: the order''s number, for the line''s buyer and seller.';
grant execute on function public.order_number(public.order_items) to authenticated;

create function public.delivery(line public.order_items) returns jsonb
language sql
stable
set search_path = ''
as $$
    select private.line_order((line).id) -> 'delivery'
$$;

comment on function public.delivery(public.order_items) is
'Computed field of order_items: {shipping_address, notes} as given at checkout, for the line''s seller while the line '
'is paid and not refunded whole. Gone when the buyer deletes the account.';
grant execute on function public.delivery(public.order_items) to authenticated;

insert into private.personal_data (section, relation, condition, stays, reason) values
('purchases', 'public.purchases', 't.buyer_id = $1', '{buyer_id}', 'the books: who paid whom for what');
