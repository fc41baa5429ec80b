-- Commerce.
-- Cart, orders with price snapshots, entitlements.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/50_commerce/10_cart_items.sql -----------------------------------------------------------------------------------
-- What a member is about to buy. Nothing here is a promise: prices are read again at checkout.

create table public.cart_items (
    user_id uuid not null default auth.uid(),
    item_id uuid not null,
    quantity integer not null default 1,
    offered_price_cents bigint,
    added_at timestamptz not null default now(),
    constraint cart_items_pkey primary key (user_id, item_id),
    constraint cart_items_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint cart_items_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint cart_items_quantity_check check (quantity between 1 and 99),
    constraint cart_items_offered_price_check check (offered_price_cents between 0 and 99999999)
);

create index cart_items_item_id_idx on public.cart_items (item_id);

comment on table public.cart_items is 'Cart: one row per member and item. Owner only.';
comment on column public.cart_items.user_id is 'Whose cart; always the caller.';
comment on column public.cart_items.item_id is 'What is to be bought.';
comment on column public.cart_items.quantity is 'Pieces; 1 for one-of-a-kind items.';
comment on column public.cart_items.offered_price_cents is
'The buyer''s price for a name-your-price item, in cents a piece; null takes the suggested price.';
comment on column public.cart_items.added_at is 'When it was put in.';

create function private.check_cart_item() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    item public.catalog_items;
begin
    -- Read as the caller: an item the caller may not see does not exist for the cart either.
    select * into item from public.catalog_items as c where c.id = new.item_id;
    if item.id is null or (not item.is_listed and item.seller_id <> new.user_id) then
        perform private.fail('item_not_available', new.item_id::text);
    end if;
    if item.seller_id = new.user_id then
        perform private.fail('own_item', new.item_id::text);
    end if;
    if item.is_unique and new.quantity > 1 then
        perform private.fail('quantity_not_allowed', new.item_id::text);
    end if;
    if new.offered_price_cents is not null and item.minimum_price_cents is null then
        perform private.fail('price_not_negotiable', new.item_id::text);
    end if;
    if new.offered_price_cents < item.minimum_price_cents then
        perform private.fail('price_too_low', format('minimum is %s cents', item.minimum_price_cents));
    end if;
    return new;
end
$$;

comment on function private.check_cart_item() is
'Trigger: refuses own, unlisted and over-counted items and offers below the minimum when they enter the cart.';

create trigger check_cart_item
before insert or update on public.cart_items
for each row execute function private.check_cart_item();

alter table public.cart_items enable row level security;
revoke all on public.cart_items from anon, authenticated, service_role;
grant select, delete on public.cart_items to authenticated;
grant insert (item_id, quantity, offered_price_cents) on public.cart_items to authenticated;
-- item_id is updatable because an upsert from a client library sets every column it sends.
grant update (item_id, quantity, offered_price_cents) on public.cart_items to authenticated;
grant select on public.cart_items to service_role;

create policy cart_items_select on public.cart_items for select to authenticated
using (user_id = (select private.member_id()));
create policy cart_items_insert on public.cart_items for insert to authenticated
with check (user_id = (select private.member_id()));
create policy cart_items_update on public.cart_items for update to authenticated
using (user_id = (select private.member_id()))
with check (user_id = (select private.member_id()));
create policy cart_items_delete on public.cart_items for delete to authenticated
using (user_id = (select private.member_id()));

insert into private.error_codes (code, sqlstate, message, description) values
('item_not_available', 'PT409', 'This item is not available.',
'The item does not exist, is not published, or was taken down. The detail names it. Remove it and try again.'),
('own_item', 'PT409', 'You cannot buy your own item.', 'Sellers cannot buy from themselves. Remove it from the cart.'),
('quantity_not_allowed', 'PT400', 'Only one piece of this item can be bought.',
'One-of-a-kind items have quantity 1; others between 1 and 99.'),
('price_not_negotiable', 'PT400', 'This item has a fixed price.',
'An offered price was sent for an item that is not name-your-price.'),
('price_too_low', 'PT400', 'The offered price is below the minimum.',
'Name-your-price items have a minimum; the detail states it. A paid price is at least 50 cents.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/50_commerce/20_orders.sql ---------------------------------------------------------------------------------------
-- Orders and their lines. Written by checkout and settlement only; a line is a snapshot that no later change of
-- the item, the price or the seller's plan can touch.

create type public.order_status as enum (
    'pending', 'processing', 'completed', 'cancelled', 'refunded', 'partially_refunded'
);
comment on type public.order_status is 'pending: waits for payment. The rest says what became of the money.';

create sequence public.order_number_seq;
comment on sequence public.order_number_seq is 'Numbers orders; gaps are fine.';
revoke all on sequence public.order_number_seq from anon, authenticated, service_role;

create table public.orders (
    id uuid not null default gen_random_uuid(),
    order_number text not null
    default 'AV-' || to_char(now() at time zone 'utc', 'YYMMDD') || '-'
    || lpad(nextval('public.order_number_seq')::text, 6, '0'),
    user_id uuid not null,
    status public.order_status not null default 'pending',
    status_reason text,
    subtotal_cents bigint not null,
    tax_cents bigint not null default 0,
    shipping_cents bigint not null default 0,
    discount_cents bigint not null default 0,
    total_cents bigint not null,
    currency character(3) not null default 'USD',
    shipping_address jsonb,
    notes text,
    idempotency_key text,
    completed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint orders_pkey primary key (id),
    constraint orders_order_number_key unique (order_number),
    constraint orders_idempotency_key_key unique (user_id, idempotency_key),
    constraint orders_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint orders_amounts_check check (
        subtotal_cents >= 0 and tax_cents >= 0 and shipping_cents >= 0 and discount_cents >= 0
        and total_cents = subtotal_cents + tax_cents + shipping_cents - discount_cents
        and total_cents between 0 and 99999999
    ),
    constraint orders_notes_check check (char_length(notes) <= 2000),
    constraint orders_idempotency_key_check check (char_length(idempotency_key) between 1 and 200)
)
-- An order's row is rewritten as it moves through its states; room on the page keeps that a HOT update.
with (fillfactor = 80);

create index orders_user_id_created_at_idx on public.orders (user_id, created_at desc);

comment on table public.orders is 'A buyer''s order. Read by the buyer and admins; written by RPCs and events only.';
comment on column public.orders.order_number is 'For people and e-mails. Unique, not gapless.';
comment on column public.orders.user_id is 'The buyer.';
comment on column public.orders.status is 'State of the order; follows the payment.';
comment on column public.orders.status_reason is
'Why it was cancelled or refunded, as a stable word: expired, cancelled_by_buyer, superseded, item_not_available…';
comment on column public.orders.subtotal_cents is 'Sum of the lines, cents. Computed by the server.';
comment on column public.orders.tax_cents is 'Tax, cents.';
comment on column public.orders.shipping_cents is 'Shipping, cents; carries no commission.';
comment on column public.orders.discount_cents is 'Discount, cents, subtracted.';
comment on column public.orders.total_cents is 'What the buyer pays, cents.';
comment on column public.orders.currency is 'ISO 4217.';
comment on column public.orders.shipping_address is 'As given at checkout; erased with the account.';
comment on column public.orders.notes is 'Buyer''s note, at most 2,000 characters; erased with the account.';
comment on column public.orders.idempotency_key is
'Given by the client at checkout; the same key of the same buyer is the same order.';
comment on column public.orders.completed_at is 'When payment settled and entitlements were granted.';

create trigger touch_updated_at before update on public.orders
for each row execute function private.touch_updated_at();

create table public.order_items (
    id uuid not null default gen_random_uuid(),
    order_id uuid not null,
    line_no smallint not null,
    item_id uuid not null,
    buyer_id uuid not null,
    seller_id uuid not null,
    title text not null,
    unit_price_cents bigint not null,
    quantity integer not null default 1,
    total_cents bigint generated always as (unit_price_cents * quantity) stored,
    tax_cents bigint not null default 0,
    currency character(3) not null default 'USD',
    seller_tier text not null,
    commission_bps integer not null,
    created_at timestamptz not null default now(),
    constraint order_items_pkey primary key (id),
    constraint order_items_order_id_item_id_key unique (order_id, item_id),
    constraint order_items_order_id_fkey foreign key (order_id) references public.orders (id),
    constraint order_items_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint order_items_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint order_items_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint order_items_not_own_check check (buyer_id <> seller_id),
    constraint order_items_unit_price_check check (unit_price_cents between 0 and 99999999),
    constraint order_items_quantity_check check (quantity between 1 and 99),
    constraint order_items_tax_check check (tax_cents between 0 and 99999999),
    constraint order_items_commission_bps_check check (commission_bps between 0 and 10000)
);

create index order_items_item_id_idx on public.order_items (item_id);
create index order_items_buyer_id_idx on public.order_items (buyer_id);
create index order_items_seller_id_created_at_idx on public.order_items (seller_id, created_at desc);

comment on table public.order_items is
'Lines of an order, snapshots taken at checkout. Read by buyer, that line''s seller and admins.';
comment on column public.order_items.order_id is 'The order.';
comment on column public.order_items.line_no is 'Position in the order, from 1; also breaks ties when cents are split.';
comment on column public.order_items.item_id is
'What is bought. The reference keeps an ordered item from being deleted.';
comment on column public.order_items.buyer_id is 'The order''s buyer, repeated so that a policy needs no join.';
comment on column public.order_items.seller_id is 'Who sells it.';
comment on column public.order_items.title is 'Title at checkout.';
comment on column public.order_items.unit_price_cents is 'Price a piece at checkout, cents.';
comment on column public.order_items.quantity is 'Pieces.';
comment on column public.order_items.total_cents is 'unit_price_cents × quantity.';
comment on column public.order_items.tax_cents is 'Tax on this line, cents; carries no commission.';
comment on column public.order_items.currency is 'ISO 4217.';
comment on column public.order_items.seller_tier is 'Seller''s creator plan at checkout.';
comment on column public.order_items.commission_bps is
'Platform commission at checkout, basis points: later plan changes do not touch it.';

alter table public.orders enable row level security;
revoke all on public.orders from anon, authenticated, service_role;
grant select on public.orders to authenticated, service_role;
create policy orders_select on public.orders for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

alter table public.order_items enable row level security;
revoke all on public.order_items from anon, authenticated, service_role;
grant select on public.order_items to authenticated, service_role;
create policy order_items_select on public.order_items for select to authenticated
using (
    buyer_id = (select private.member_id())
    or seller_id = (select private.member_id())
    or (select private.is_admin())
);

-- sql/50_commerce/30_purchases.sql ------------------------------------------------------------------------------------
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
