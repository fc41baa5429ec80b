-- Orders and their lines. Written by checkout and settlement only; a line is a snapshot that no later change of
-- the item, the price or the seller's plan can touch.

create type public.order_status as enum (
    'pending', 'processing', 'completed', 'cancelled', 'refunded', 'partially_refunded'
);
comment on type public.order_status is 'pending: waits for payment. The rest says what became of the money.';

create sequence public.order_number_seq;
comment on sequence public.order_number_seq is 'Numbers orders; gaps are fine.';

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
    completed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint orders_pkey primary key (id),
    constraint orders_order_number_key unique (order_number),
    constraint orders_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint orders_amounts_check check (
        subtotal_cents >= 0 and tax_cents >= 0 and shipping_cents >= 0 and discount_cents >= 0
        and total_cents = subtotal_cents + tax_cents + shipping_cents - discount_cents
        and total_cents between 0 and private.highest_amount_cents()
    ),
    constraint orders_notes_check check (private.is_note(notes))
)
-- An order's row is rewritten as it moves through its states; room on the page keeps that a HOT update.
with (fillfactor = 80);

create index orders_user_id_created_at_idx on public.orders (user_id, created_at desc);

comment on table public.orders is 'A buyer''s order. Read by the buyer and admins; written by RPCs and events only.';
comment on column public.orders.order_number is 'For people and e-mails. Unique, not gapless.';
comment on column public.orders.status is 'State of the order; follows the payment.';
comment on column public.orders.status_reason is
'Why it was cancelled or refunded, as a stable word: expired, cancelled_by_buyer, superseded, item_not_available…';
comment on column public.orders.subtotal_cents is 'Sum of the lines, cents. Computed by the server.';
comment on column public.orders.tax_cents is 'Tax, cents.';
comment on column public.orders.shipping_cents is 'Shipping, cents; carries no commission.';
comment on column public.orders.discount_cents is 'Discount, cents, subtracted.';
comment on column public.orders.total_cents is 'What the buyer pays, cents.';
comment on column public.orders.shipping_address is 'As given at checkout; erased with the account.';
comment on column public.orders.notes is 'Buyer''s note, at most 2,000 characters; erased with the account.';
comment on column public.orders.completed_at is 'When payment settled and entitlements were granted.';

create trigger touch_updated_at before update on public.orders
for each row execute function private.touch_updated_at();

create table public.order_items (
    id uuid not null default gen_random_uuid(),
    order_id uuid not null,
    line_no smallint not null,
    kind text not null,
    item_id uuid,
    option_id uuid,
    payable_id uuid,
    buyer_id uuid not null,
    gift_id uuid,
    gift_to_id uuid,
    owner_id uuid generated always as (case when gift_id is null then buyer_id else gift_to_id end) stored,
    seller_id uuid not null,
    title text not null,
    description text,
    license_type public.license_type,
    license_text text,
    license_version integer,
    details jsonb not null default '{}',
    unit_price_cents bigint not null,
    quantity integer not null default 1,
    discount_cents bigint not null default 0,
    coupon_id uuid,
    promoted_cents bigint not null default 0,
    total_cents bigint not null generated always as (unit_price_cents * quantity - discount_cents) stored,
    tax_cents bigint not null default 0,
    shipping_cents bigint not null default 0,
    charged_cents bigint not null generated always as (
        unit_price_cents * quantity - discount_cents + tax_cents + shipping_cents
    ) stored,
    is_counted boolean not null default false,
    is_held boolean not null default false,
    is_owned_once boolean not null default true,
    is_shipped boolean not null default false,
    is_booked boolean,
    currency character(3) not null default 'USD',
    seller_tier text not null,
    commission_bps integer not null,
    created_at timestamptz not null default now(),
    constraint order_items_pkey primary key (id),
    constraint order_items_order_id_line_no_key unique (order_id, line_no),
    constraint order_items_order_id_fkey foreign key (order_id) references public.orders (id),
    constraint order_items_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint order_items_option_id_fkey foreign key (option_id, item_id)
    references public.catalog_options (id, item_id),
    constraint order_items_payable_id_fkey foreign key (payable_id) references public.payables (id),
    constraint order_items_coupon_id_fkey foreign key (coupon_id) references public.coupons (id),
    constraint order_items_subject_check check (item_id is not null or payable_id is not null),
    constraint order_items_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint order_items_gift_to_id_fkey foreign key (gift_to_id) references public.profiles (id),
    constraint order_items_gift_check check (gift_to_id is null or gift_id is not null),
    constraint order_items_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint order_items_not_own_check check (buyer_id <> seller_id),
    constraint order_items_unit_price_check check (private.is_price(unit_price_cents)),
    constraint order_items_quantity_check check (quantity between 1 and 99),
    constraint order_items_tax_check check (tax_cents between 0 and private.highest_amount_cents()),
    constraint order_items_discount_check check (
        discount_cents between 0 and unit_price_cents * quantity
    ),
    constraint order_items_promoted_check check (
        promoted_cents between 0 and discount_cents and (promoted_cents = 0 or coupon_id is not null)
    ),
    constraint order_items_shipping_check check (shipping_cents between 0 and private.highest_amount_cents()),
    constraint order_items_commission_bps_check check (commission_bps between 0 and 10000)
);

create index order_items_item_id_idx on public.order_items (item_id);
create index order_items_option_id_idx on public.order_items (option_id, item_id) where option_id is not null;
create index order_items_payable_id_idx on public.order_items (payable_id) where payable_id is not null;
create index order_items_coupon_id_idx on public.order_items (coupon_id) where coupon_id is not null;
create index order_items_buyer_id_idx on public.order_items (buyer_id);
create index order_items_gift_id_idx on public.order_items (gift_id) where gift_id is not null;
create index order_items_gift_to_id_idx on public.order_items (gift_to_id) where gift_to_id is not null;
create index order_items_seller_id_created_at_idx on public.order_items (seller_id, created_at desc);

-- What a seller that removes an option is told, see error_catalog().
comment on constraint order_items_coupon_id_fkey on public.order_items is
'coupon_used: This coupon was used and cannot be removed; end it (is_active).';
comment on constraint order_items_option_id_fkey on public.order_items is
'item_has_orders: This option was ordered and cannot be removed; make it inactive.';

comment on table public.order_items is
'Lines of an order, snapshots taken at checkout. Read by buyer, that line''s seller and admins.';
comment on column public.order_items.line_no is 'Position in the order, from 1; also breaks ties when cents are split.';
-- No foreign key: it would lock the kind's one row in each checkout. The item's or the payable's has one.
comment on column public.order_items.kind is 'Kind of what is sold, a row of private.kinds; of its item or payable.';
comment on column public.order_items.item_id is
'What is delivered; null for a payable that delivers nothing of the registry. The reference keeps an ordered item from '
'being deleted.';
comment on column public.order_items.option_id is 'Which option of it; null: the item itself.';
comment on column public.order_items.payable_id is 'The agreement it pays; null for what was chosen from the shop.';
comment on column public.order_items.buyer_id is 'The order''s buyer, repeated so that a policy needs no join.';
comment on column public.order_items.gift_id is 'The gift it is bought as; null: for the buyer.';
comment on column public.order_items.gift_to_id is 'Whom it is given to; null: whoever claims it, or no gift.';
comment on column public.order_items.owner_id is
'Who will own it: the buyer, or whom it is given to; null while nobody has claimed it. Generated.';
comment on column public.order_items.title is 'Title at checkout.';
comment on column public.order_items.description is 'Description at checkout: what was promised.';
comment on column public.order_items.license_type is
'The buyer''s licence: that of the product at checkout. Null for what has none.';
comment on column public.order_items.license_text is 'Its words at checkout, if it had any.';
comment on column public.order_items.license_version is 'Which version of the product''s licence that was.';
comment on column public.order_items.details is
'What else a later edit must not change for the buyer, and what the buyer sent for the line, as its kind wants it: '
'technical_details of a product; image_url, category, dimensions and series of an artwork.';
comment on column public.order_items.unit_price_cents is 'Price a piece at checkout, cents.';
comment on column public.order_items.quantity is 'Pieces.';
comment on column public.order_items.discount_cents is 'Taken off the line''s price, cents.';
comment on column public.order_items.coupon_id is 'The coupon that took something off it; one a line.';
comment on column public.order_items.promoted_cents is
'Of the discount what the platform pays the seller by a coupon of its own, cents: their price stays as it was.';
comment on column public.order_items.total_cents is
'unit_price_cents × quantity − discount_cents. Carries commission, as does what the platform pays of it.';
comment on column public.order_items.tax_cents is 'Tax on this line, cents; carries no commission.';
comment on column public.order_items.shipping_cents is
'Shipping of this line, cents; the seller''s, without commission.';
comment on column public.order_items.charged_cents is
'What the buyer pays for the line, cents: total, tax and shipping.';
comment on column public.order_items.is_counted is 'Its pieces are copies or seats of a stock: each is a grant.';
comment on column public.order_items.is_held is
'It is limited: the order holds it until it is paid or given up, and cannot be delivered without its hold.';
comment on column public.order_items.is_booked is
'Whether what its kind holds for it beside a stock, such as an hour of somebody''s time, is held or had; false once '
'the order was given up. Null: it needs nothing of the kind.';
comment on column public.order_items.is_owned_once is 'Its buyer can have it once only: not services, tips or copies.';
comment on column public.order_items.is_shipped is 'It is sent to its buyer, and earned when it is delivered.';
comment on column public.order_items.seller_tier is 'Seller''s creator plan at checkout.';
comment on column public.order_items.commission_bps is
'Platform commission at checkout, basis points: later plan changes do not touch it.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of notes, shipping_address on public.orders
for each row execute function private.tidy_texts('notes body', 'shipping_address object');

alter table public.orders enable row level security;
grant select on public.orders to authenticated, service_role;
create policy orders_select on public.orders for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

alter table public.order_items enable row level security;
grant select on public.order_items to authenticated, service_role;
create policy order_items_select on public.order_items for select to authenticated
using (
    buyer_id = (select private.member_id())
    or seller_id = (select private.member_id())
    or (select private.is_admin())
);

insert into private.erasure_steps (step, phase, erases, statement) values
('orders', 'business', '{public.orders.shipping_address, public.orders.notes}', $step$
    update public.orders set shipping_address = null, notes = null
    where user_id = $1 and (shipping_address is not null or notes is not null)
$step$);

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.orders', 'status', null, 'pending', 'checkout()'),
('public.orders', 'status', 'pending', 'completed', 'paid, or free'),
('public.orders', 'status', 'pending', 'cancelled', 'given up, ran out, or no longer to be had'),
('public.orders', 'status', 'cancelled', 'completed', 'paid late, and still to be had'),
('public.orders', 'status', 'completed', 'partially_refunded', 'a part went back'),
('public.orders', 'status', 'completed', 'refunded', 'all went back'),
('public.orders', 'status', 'partially_refunded', 'refunded', 'the rest went back'),
('public.orders', 'status', 'partially_refunded', 'completed', 'the refund failed after it had succeeded'),
('public.orders', 'status', 'refunded', 'partially_refunded', 'one of its refunds failed later'),
('public.orders', 'status', 'refunded', 'completed', 'its only refund failed later');
select private.build_moves('public.orders', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('order', 'public.orders', null, '/orders/{id}', '{}'),
('order_item', 'public.order_items', null, '/order_items/{id}', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('orders', 'public.orders',
    't.user_id = $1', '{user_id, order_number, status_reason}', 'the books: who paid whom for what'),
('order_items', 'public.order_items',
    't.buyer_id = $1',
    '{kind, buyer_id, gift_to_id, seller_id, title, description, license_text, details, seller_tier}',
    'the books: who paid whom for what');
