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
comment on column public.purchases.buyer_id is 'Who owns it.';
comment on column public.purchases.item_id is 'What is owned.';
comment on column public.purchases.order_item_id is 'The order line that granted it (the latest, when bought again).';
comment on column public.purchases.price_cents is 'What was paid for it, cents; 0 when free.';
comment on column public.purchases.currency is 'ISO 4217.';
comment on column public.purchases.purchased_at is 'When it was granted.';
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
begin
    if change <> 0 then
        update public.catalog_items set purchases_count = purchases_count + change
        where id = coalesce(new.item_id, old.item_id);
    end if;
    return null;
end
$$;

comment on function private.count_purchases() is 'Trigger: catalog_items.purchases_count counts valid entitlements.';

create trigger count_purchases
after insert or delete or update of revoked_at on public.purchases
for each row execute function private.count_purchases();

alter table public.purchases enable row level security;
revoke all on public.purchases from anon, authenticated, service_role;
grant select on public.purchases to authenticated, service_role;
create policy purchases_select on public.purchases for select to authenticated
using (buyer_id = (select private.member_id()) or (select private.is_admin()));
