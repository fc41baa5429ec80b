-- Selling: one contract for everything that takes money. What is sold has a kind whose hooks say what a line costs, grants
-- and takes back; items have stocks and options; orders have lines, payees and grants; holds, payables, shipments and tips
-- are rows. Settlement is a statement a table, for one event and for many.
--
-- For a quiet hour, and before the workers of this version start: catalog_items, order_items, purchases, transactions and
-- cart_items are rewritten under exclusive locks, their indexes built anew. Sales keep their payees' part, entitlements
-- become grants, reservations become holds.
-- What cannot be known: of an item that somebody bought again after a refund there is one grant, of the later line. Should
-- the earlier refund have failed since and the later line be refunded too, the right is given back by hand.
-- Clients: purchases has owner_id and payer_id instead of buyer_id and one row per grant; transactions.transaction_type is
-- kind, completed_at is settled_at (completed_at: when what was sold was done), pending_cents is in transaction_payees.
-- squawk-ignore-file adding-field-with-default, adding-foreign-key-constraint, adding-not-nullable-field, adding-required-field, adding-serial-primary-key-field, ban-drop-column, ban-drop-constraint, ban-drop-default, ban-drop-function, ban-drop-not-null, ban-drop-table, ban-drop-type, changing-column-type, constraint-missing-not-valid, disallowed-unique-constraint, renaming-column, require-concurrent-index-creation, require-concurrent-index-deletion

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/40_catalog/15_catalog_options.sql -------------------------------------------------------------------------------
-- Variants of an item with a price and, where there is one, a stock of their own: a service's packages, a product's
-- licences, the artist's proofs of an edition. Without an option the item itself is bought. What is free of an option
-- is the least of its own and the item's, less what is set aside for others; the item's row is the only lock.

create table public.catalog_options (
    id uuid not null default gen_random_uuid(),
    item_id uuid not null,
    title text not null,
    price_cents bigint not null,
    stock integer,
    taken integer not null default 0,
    is_exclusive boolean not null default false,
    is_set_aside boolean not null default false,
    is_active boolean not null default true,
    position smallint not null default 1,
    details jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint catalog_options_pkey primary key (id),
    -- What other tables refer to, so that an option is one of its item.
    constraint catalog_options_id_item_id_key unique (id, item_id),
    constraint catalog_options_item_id_fkey foreign key (item_id)
    references public.catalog_items (id) on delete cascade,
    constraint catalog_options_title_check check (char_length(title) between 1 and 100),
    constraint catalog_options_price_cents_check check (private.is_price(price_cents)),
    constraint catalog_options_stock_check check (stock between 0 and 1000000 and taken >= 0 and taken <= stock),
    constraint catalog_options_taken_check check (taken >= 0),
    constraint catalog_options_exclusive_check check (not is_exclusive or coalesce(stock = 1, false)),
    constraint catalog_options_set_aside_check check (not is_set_aside or stock is not null),
    constraint catalog_options_position_check check (position between 1 and 100),
    constraint catalog_options_details_check check (
        jsonb_typeof(details) = 'object' and octet_length(details::text) <= 16384
    )
);

create index catalog_options_item_id_idx on public.catalog_options (item_id, position, id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint catalog_options_item_id_fkey on public.catalog_options is
'item_not_found: There is no such item.';
comment on constraint catalog_options_title_check on public.catalog_options is
'invalid_title: An option''s title has 1 to 100 characters.';
comment on constraint catalog_options_price_cents_check on public.catalog_options is
'invalid_price: A price is 0 or from 50 to 99999999 cents.';
comment on constraint catalog_options_stock_check on public.catalog_options is
'invalid_stock: A stock is from 0 to 1,000,000 and not below what is sold or held.';
comment on constraint catalog_options_exclusive_check on public.catalog_options is
'invalid_stock: An exclusive option has a stock of 1.';
comment on constraint catalog_options_set_aside_check on public.catalog_options is
'invalid_stock: What is set aside has a stock.';
comment on constraint catalog_options_position_check on public.catalog_options is
'invalid_option: A position is from 1 to 100.';
comment on constraint catalog_options_details_check on public.catalog_options is
'invalid_option: Details are an object of at most 16 kB.';

comment on table public.catalog_options is
'Variants of items. Whoever sees the item sees its active options; its seller writes them. One that was ordered is not '
'removed but set inactive.';
comment on column public.catalog_options.item_id is 'The item.';
comment on column public.catalog_options.title is 'Title, one line of at most 100 characters.';
comment on column public.catalog_options.price_cents is 'Price instead of the item''s, cents: 0, else 50 to 99999999.';
comment on column public.catalog_options.stock is 'How many of it there are; null: as many as of the item.';
comment on column public.catalog_options.taken is
'Of a stock, how many are sold or held; changed under the item''s lock only. 0 without a stock.';
comment on column public.catalog_options.is_exclusive is
'Who buys it is the last to buy the item: nobody else can afterwards, in any option. What was sold before stays. While '
'somebody pays for it nobody else can check out, and the other way round.';
comment on column public.catalog_options.is_set_aside is
'Its stock is a part of the item''s that is bought by this option only: the artist''s proofs of an edition.';
comment on column public.catalog_options.is_active is 'Whether it can be bought.';
comment on column public.catalog_options.position is 'Order of the options, from 1.';
comment on column public.catalog_options.details is
'What the kind wants to know: of a product {license_type, license_text}, of an edition {series}.';

create function private.check_catalog_option() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    item uuid := case when tg_op = 'DELETE' then old.item_id else new.item_id end;
begin
    if tg_op = 'INSERT' and (select count(*) from public.catalog_options as o where o.item_id = item) > 20 then
        perform private.fail('too_many_options');
    end if;
    perform private.dispatch_check_option(
        c.kind, array[c.id], case when tg_op = 'DELETE' then '{}' else array[new] end
    )
    from public.catalog_items as c
    where c.id = item;
    -- What had no limit was not counted.
    if tg_op = 'UPDATE' and (new.stock is null) <> (old.stock is null) then
        perform from public.catalog_items as c where c.id = item for no key update;
        update public.catalog_options as o set taken = private.count_option_taken(o.id, o.stock) where o.id = new.id;
    end if;
    return null;
end
$$;
comment on function private.check_catalog_option() is
'Trigger: at most 20 options an item, each as its kind wants it; the kind hears of one that goes too. Error: '
'too_many_options, and the kind''s.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, details on public.catalog_options
for each row execute function private.tidy_texts('title line required', 'details object');

create trigger check_catalog_option
after insert or update of details, is_exclusive, is_set_aside, stock or delete on public.catalog_options
for each row execute function private.check_catalog_option();

create trigger touch_updated_at before update on public.catalog_options
for each row when ((new.title, new.price_cents, new.stock, new.is_active) is distinct from
    (old.title, old.price_cents, old.stock, old.is_active))
execute function private.touch_updated_at();

create function private.sells_item(item_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.catalog_items as c
        where c.id = sells_item.item_id and c.seller_id = private.member_id()
    )
$$;
comment on function private.sells_item(uuid) is 'Whether the caller sells this item.';
grant execute on function private.sells_item(uuid) to authenticated;

alter table public.catalog_options enable row level security;
grant select on public.catalog_options to anon, authenticated, service_role;
grant
insert (item_id, title, price_cents, stock, is_exclusive, is_set_aside, is_active, position, details),
update (title, price_cents, stock, is_exclusive, is_set_aside, is_active, position, details),
delete
on public.catalog_options to authenticated;
create policy catalog_options_select_anon on public.catalog_options for select to anon
using (is_active and (select c.id from public.catalog_items as c where c.id = item_id) is not null);
create policy catalog_options_select on public.catalog_options for select to authenticated
using (
    is_active and (select c.id from public.catalog_items as c where c.id = item_id) is not null
    or private.sells_item(item_id) or private.has_bought((select private.member_id()), item_id)
);
create policy catalog_options_insert on public.catalog_options for insert to authenticated
with check (private.sells_item(item_id));
create policy catalog_options_update on public.catalog_options for update to authenticated
using (private.sells_item(item_id)) with check (private.sells_item(item_id));
create policy catalog_options_delete on public.catalog_options for delete to authenticated
using (private.sells_item(item_id));

insert into private.personal_data (section, relation, condition, stays, reason) values
('catalog_options', 'public.catalog_options',
    't.item_id in (select c.id from public.catalog_items as c where c.seller_id = $1)', '{title, details}',
    'sold: its buyers keep it as they bought it; goes with the item');

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_options', 'PT409', 'This item has too many options.', 'At most 20 an item.'),
('invalid_option', 'PT400', 'This option is not valid.',
'The detail names what is wrong. A product''s option takes {license_type, license_text}, an edition''s {series}.'),
('option_not_available', 'PT409', 'This option is not available.',
'It is not one of the item, is not active, or its kind has none. The detail names it. Choose another.');

-- sql/50_commerce/15_payables.sql -------------------------------------------------------------------------------------
-- What two people agreed on and one of them pays at once: an instalment of a commission, a consultation, the award of
-- an auction, an offer made for somebody. It has the price, the rate and the end they agreed on: no listing, no block,
-- no lapsed plan and no new price undoes it. Written by the kinds that agree; checkout_payable() pays it.

create type public.payable_status as enum ('open', 'paid', 'lapsed', 'withdrawn', 'returned');
comment on type public.payable_status is
'open: to be paid. lapsed: not paid in time. withdrawn: taken back before it was paid. returned: paid and given back.';

create table public.payables (
    id uuid not null default gen_random_uuid(),
    kind text not null,
    subject_id uuid not null,
    part smallint not null default 1,
    buyer_id uuid not null,
    seller_id uuid not null,
    title text not null,
    item_id uuid,
    amount_cents bigint not null,
    shipping_cents bigint not null default 0,
    currency character(3) not null default 'USD',
    seller_tier text not null,
    commission_bps integer not null,
    free_until timestamptz,
    pay_by timestamptz,
    details jsonb not null default '{}',
    status public.payable_status not null default 'open',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payables_pkey primary key (id),
    constraint payables_kind_subject_id_part_key unique (kind, subject_id, part),
    constraint payables_kind_fkey foreign key (kind) references private.kinds (kind),
    constraint payables_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint payables_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint payables_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint payables_not_own_check check (buyer_id <> seller_id),
    constraint payables_title_check check (char_length(title) between 1 and 255),
    constraint payables_amount_check check (
        amount_cents between private.lowest_price_cents() and private.highest_amount_cents()
    ),
    constraint payables_shipping_check check (shipping_cents between 0 and private.highest_amount_cents()),
    constraint payables_commission_bps_check check (commission_bps between 0 and 10000),
    constraint payables_part_check check (part between 1 and 100)
);

create index payables_buyer_id_idx on public.payables (buyer_id, created_at desc);
create index payables_seller_id_idx on public.payables (seller_id);
create index payables_item_id_idx on public.payables (item_id);
create index payables_pay_by_idx on public.payables (pay_by) where status = 'open';

comment on table public.payables is
'Agreed and to be paid. Only the buyer reads and pays it (and admins read); the kind that agreed on it writes it.';
comment on column public.payables.kind is 'Kind of what was agreed, a row of private.kinds.';
comment on column public.payables.subject_id is 'The row of that kind: the commission, the lot.';
comment on column public.payables.part is 'Which part of it, from 1: the instalments of one commission.';
comment on column public.payables.buyer_id is 'Who pays.';
comment on column public.payables.seller_id is 'Who earns.';
comment on column public.payables.title is 'What for, on the order line.';
comment on column public.payables.item_id is 'What it delivers; null: nothing of the registry.';
comment on column public.payables.amount_cents is 'Agreed price, cents.';
comment on column public.payables.shipping_cents is 'Agreed shipping on top, cents.';
comment on column public.payables.seller_tier is 'The seller''s plan when they agreed.';
comment on column public.payables.commission_bps is 'Commission agreed, basis points.';
comment on column public.payables.free_until is
'Until when the buyer steps back at the platform''s cost; null: by the kind''s free_window.';
comment on column public.payables.pay_by is
'Until when it can be paid; null: no end. A payment under way then is waited for.';
comment on column public.payables.details is 'What the kind keeps on the order line.';
comment on column public.payables.status is 'State.';

create trigger touch_updated_at before update on public.payables
for each row execute function private.touch_updated_at();

alter table public.payables enable row level security;
grant select on public.payables to authenticated, service_role;
create policy payables_select on public.payables for select to authenticated
using (buyer_id = (select private.member_id()) or (select private.is_admin()));

create function private.add_payable(wanted public.payables) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    plan record;
    new_id uuid;
begin
    select * into plan from private.sale_terms(wanted.kind, wanted.seller_id);
    insert into public.payables (
        kind, subject_id, part, buyer_id, seller_id, title, item_id, amount_cents, shipping_cents, seller_tier,
        commission_bps, free_until, pay_by, details
    ) values (
        wanted.kind, wanted.subject_id, coalesce(wanted.part, 1), wanted.buyer_id, wanted.seller_id, wanted.title,
        wanted.item_id, wanted.amount_cents, coalesce(wanted.shipping_cents, 0),
        coalesce(wanted.seller_tier, plan.tier), coalesce(wanted.commission_bps, plan.commission_bps), wanted.free_until, wanted.pay_by,
        coalesce(wanted.details, '{}')
    ) returning id into new_id;
    return new_id;
end
$$;
comment on function private.add_payable(public.payables) is
'Makes a payable, for the kinds that agree on one. The seller''s plan is that of now unless it is given; its id.';

create function private.end_payable(payable_id uuid, status public.payable_status) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    agreed public.payables;
begin
    select * into agreed from public.payables as p where p.id = end_payable.payable_id for no key update;
    -- Money may still arrive for it: then that decides, and whoever ends it is asked again.
    if agreed.status is distinct from 'open' or exists (
        select from public.order_items as i
        inner join public.payments as p on p.order_id = i.order_id and p.is_open
        where i.payable_id = agreed.id
    ) then
        return false;
    end if;
    update public.payables as p set status = end_payable.status where p.id = agreed.id;
    return true;
end
$$;
comment on function private.end_payable(uuid, public.payable_status) is
'Ends an open payable (lapsed, withdrawn). False when it is not open, or while money may still arrive for it.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.payables', 'status', null, 'open', 'agreed'),
('public.payables', 'status', 'open', 'paid', 'paid'),
('public.payables', 'status', 'open', 'lapsed', 'not paid in time'),
('public.payables', 'status', 'open', 'withdrawn', 'taken back before it was paid'),
('public.payables', 'status', 'paid', 'returned', 'a full refund, or its charge was taken back'),
('public.payables', 'status', 'returned', 'paid', 'that refund failed later');
select private.build_moves('public.payables', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('payable', 'public.payables', null, '/payables/{id}', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('payables', 'public.payables',
    't.buyer_id = $1', '{buyer_id, seller_id, subject_id, title, details, seller_tier}',
    'the books: who paid whom for what');

insert into private.error_codes (code, sqlstate, message, description) values
('payable_not_open', 'PT409', 'This cannot be paid any more.',
'It was paid, its time is over, or it was taken back; or there is no such agreement of the caller''s.');

-- sql/50_commerce/40_shipping.sql -------------------------------------------------------------------------------------
-- Physical goods: what sending them costs.

create function private.is_countries(codes text[]) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return cardinality(codes) <= 250 and coalesce(array_ndims(codes), 1) = 1 and not exists (
        select from unnest(codes) as c (code) group by c.code having c.code !~ '^[A-Z]{2}$' or c.code is null or count(*) > 1
    );
end
$$;
comment on function private.is_countries(text[]) is
'Whether these are codes of countries (ISO 3166, two capital letters), each once. Null for null.';
grant execute on function private.is_countries(text[]) to authenticated;

create table public.shipping_rates (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    name text not null,
    countries text[] not null default '{}',
    price_cents bigint not null,
    free_above_cents bigint,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint shipping_rates_pkey primary key (id),
    constraint shipping_rates_seller_id_fkey foreign key (seller_id) references public.profiles (id) on delete cascade,
    constraint shipping_rates_name_check check (char_length(name) between 1 and 100),
    constraint shipping_rates_countries_check check (private.is_countries(countries)),
    constraint shipping_rates_price_cents_check check (private.is_price(price_cents)),
    constraint shipping_rates_free_above_check check (free_above_cents between 0 and private.highest_amount_cents())
);

create index shipping_rates_seller_id_idx on public.shipping_rates (seller_id);
create unique index shipping_rates_elsewhere_key on public.shipping_rates (seller_id) where countries = '{}';

-- What a client that breaks these is told, see error_catalog().
comment on constraint shipping_rates_name_check on public.shipping_rates is
'invalid_shipping_rate: A name has 1 to 100 characters.';
comment on constraint shipping_rates_countries_check on public.shipping_rates is
'invalid_shipping_rate: Countries are codes of two capital letters (ISO 3166), each once.';
comment on constraint shipping_rates_price_cents_check on public.shipping_rates is
'invalid_price: Shipping is 0 or from 50 to 99999999 cents.';
comment on constraint shipping_rates_free_above_check on public.shipping_rates is
'invalid_price: An amount is from 0 to 99999999 cents.';
comment on index public.shipping_rates_elsewhere_key is
'already_done: There is a rate for all other countries already; change that one.';

comment on table public.shipping_rates is
'What a seller takes for sending, per group of countries and line. Everybody reads them, the seller writes them. A '
'country in none of them is not sent to, unless there is a rate for all others.';
comment on column public.shipping_rates.seller_id is 'Whose; the caller.';
comment on column public.shipping_rates.name is 'Name of the group of countries, one line.';
comment on column public.shipping_rates.countries is
'ISO 3166 codes of two capital letters; empty: all other countries. Of several rates the lowest counts.';
comment on column public.shipping_rates.price_cents is 'Shipping of one line, cents: 0, else 50 to 99999999.';
comment on column public.shipping_rates.free_above_cents is
'From this price of the seller''s shipped lines of an order on shipping is free, cents; null: never.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of name on public.shipping_rates
for each row execute function private.tidy_texts('name line required');
create trigger touch_updated_at before update on public.shipping_rates
for each row execute function private.touch_updated_at();

alter table public.shipping_rates enable row level security;
grant select on public.shipping_rates to anon, authenticated, service_role;
grant insert (name, countries, price_cents, free_above_cents) on public.shipping_rates to authenticated;
grant update (name, countries, price_cents, free_above_cents) on public.shipping_rates to authenticated;
grant delete on public.shipping_rates to authenticated;
create policy shipping_rates_select_anon on public.shipping_rates for select to anon
using ((select p.id from public.profiles as p where p.id = seller_id) is not null);
create policy shipping_rates_select on public.shipping_rates for select to authenticated
using ((select p.id from public.profiles as p where p.id = seller_id) is not null);
create policy shipping_rates_insert on public.shipping_rates for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy shipping_rates_update on public.shipping_rates for update to authenticated
using (seller_id = (select private.member_id())) with check (seller_id = (select private.member_id()));
create policy shipping_rates_delete on public.shipping_rates for delete to authenticated
using (seller_id = (select private.member_id()));

create function private.country_of(address jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $$
declare
    country text := upper(btrim(address ->> 'country'));
begin
    return case when country ~ '^[A-Z]{2}$' then country end;
end
$$;
comment on function private.country_of(jsonb) is
'Country of a shipping address as a code of two letters (ISO 3166); null when it names none.';

create function private.shipping_price(seller uuid, country text, amount_cents bigint) returns bigint
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select case when r.free_above_cents <= amount_cents then 0 else r.price_cents end
        from public.shipping_rates as r
        where r.seller_id = shipping_price.seller and (r.countries = '{}' or shipping_price.country = any (r.countries))
        order by r.countries = '{}', 1
        limit 1
    );
end
$$;
comment on function private.shipping_price(uuid, text, bigint) is
'Shipping of one line to a country, cents, in an order with so many cents of this seller''s shipped lines; null where '
'the seller does not send to.';

insert into private.erasure_steps (step, phase, erases, statement) values
('shipping_rates', 'business', '{public.shipping_rates}', 'delete from public.shipping_rates where seller_id = $1');

insert into private.personal_data (section, relation, condition) values
('shipping_rates', 'public.shipping_rates', 't.seller_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('address_required', 'PT400', 'A shipping address is required.',
'The detail names an item that is sent: give shipping_address with a country as a code of two letters (ISO 3166).'),
('shipping_not_available', 'PT409', 'The seller does not ship there.',
'The detail names the item; shipping_rates of its seller say where they send to.');

-- sql/60_money/55_shipments.sql ---------------------------------------------------------------------------------------
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
    end if;
    return parcel;
end
$$;
comment on function public.ship_line(uuid, text, text) is
'Seller: a parcel of this line was sent; the buyer is told. The same carrier and number again answer the first. A '
'tracked one counts as delivered delivery_assumed_after later if nothing else is heard. Errors: sale_not_found, '
'line_refunded (also when it is on its way back); invalid_shipment (23514).';
grant execute on function public.ship_line(uuid, text, text) to authenticated;

create function private.record_shipment(shipment_id uuid, status public.shipment_status, at timestamptz) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    parcel public.shipments;
begin
    perform from public.transactions as t
    where t.order_item_id = (select s.order_item_id from public.shipments as s where s.id = record_shipment.shipment_id)
    for no key update;
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
add column ship_within interval not null default '14 days',
add column delivery_assumed_after interval not null default '14 days';
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
('not_shipped', 'PT409', 'This was not shipped yet.', 'The detail is the line. Only what was shipped can arrive.');

set local check_function_bodies = off;

drop policy purchases_select on public.purchases;

drop trigger check_shown_item on public.cart_items;

drop trigger count_purchases on public.purchases;

drop trigger count_earnings on public.transactions;

drop trigger tell_earnings on public.transactions;

drop index public.catalog_items_category_published_at_id_idx;

drop index public.catalog_items_kind_published_at_id_idx;

drop index public.catalog_items_popularity_id_idx;

drop index public.catalog_items_price_cents_id_idx;

drop index public.catalog_items_published_at_id_idx;

drop index public.catalog_items_search_idx;

drop index public.catalog_items_tags_idx;

drop index public.catalog_items_title_trgm_idx;

drop index public.purchases_order_item_id_idx;

alter table private.reservations
    drop constraint reservations_item_id_fkey;

alter table private.reservations
    drop constraint reservations_order_id_fkey;

alter table public.cart_items
    drop constraint cart_items_pkey;

alter table public.order_items
    drop constraint order_items_order_id_item_id_key;

alter table public.purchases
    drop constraint purchases_buyer_id_fkey;

alter table public.purchases
    drop constraint purchases_pkey;

alter table public.refund_lines
    drop constraint refund_lines_split_check;

alter table public.transactions
    drop constraint transactions_pending_check;

alter table public.transactions
    drop constraint transactions_refunded_check;

drop function private.apply_refund_line(public.refund_lines);

drop function private.count_earnings();

drop function private.create_refund(uuid, uuid, bigint, text, public.refund_origin, text);

drop function private.deliver_order(uuid, uuid[]);

drop function private.hold_for_review(uuid);

drop function private.mark_item_sold(uuid);

drop function private.promised_back(uuid, uuid, bigint);

drop function private.read_lines(uuid, jsonb);

drop function private.refund_line(uuid, bigint, text, public.refund_origin);

drop function private.relist_item(uuid);

drop function private.seller_legs(uuid, bigint);

drop function private.split_line(bigint, bigint, bigint, integer);

drop function private.split_refund(public.transactions, bigint);

drop function private.catalog_entry(public.products);

drop function private.catalog_entry(public.artworks);

drop type private.catalog_entry;

create type private.catalog_entry as (
    kind text,
    seller_id uuid,
    title text,
    slug text,
    thumbnail_url text,
    price_cents bigint,
    minimum_price_cents bigint,
    currency character (3),
    category text,
    tags text [],
    stock integer,
    is_featured boolean,
    is_published boolean,
    is_for_sale boolean,
    body text,
    is_repeatable boolean,
    requires_shipping boolean
);

comment on type private.catalog_entry is
'What a kind contributes to its registry row; body is only searched, is_repeatable is its kind''s when null. Each kind '
'defines private.catalog_entry(<its row>).';

-- Rows that exist keep their times: no trigger of theirs runs.
alter table public.transactions disable trigger user;
alter table public.catalog_items disable trigger user;
alter table public.order_items disable trigger user;
alter table public.purchases disable trigger user;

drop type private.order_line;

create type private.order_line as (
    line_no smallint,
    kind text,
    item_id uuid,
    option_id uuid,
    payable_id uuid,
    seller_id uuid,
    title text,
    description text,
    license_type public.license_type,
    license_text text,
    license_version integer,
    details jsonb,
    unit_price_cents bigint,
    quantity integer,
    discount_cents bigint,
    shipping_cents bigint,
    seller_tier text,
    commission_bps integer,
    is_repeatable boolean,
    is_counted boolean,
    is_held boolean,
    is_owned_once boolean,
    is_shipped boolean,
    problem text,
    detail text
);

comment on type private.order_line is
'A line to be ordered as its item was at one instant, and what is wrong with it (an error code and its detail), if '
'anything.';

alter table public.transactions
    rename column completed_at to settled_at;

alter table public.transactions
    add column completed_at timestamptz,
    add column kind text;

update public.transactions
set kind = replace(transaction_type::text, '_purchase', ''), completed_at = settled_at;

alter table public.transactions
    alter column kind set not null;

alter table public.catalog_items
    add column stock integer;

update public.catalog_items set stock = 1 where is_unique;

alter table public.catalog_items
    drop column is_listed;

alter table public.catalog_items
    drop column is_unique;

alter table public.order_items
    drop column total_cents;

alter table public.purchases
    rename column buyer_id to owner_id;

alter table public.transactions
    drop column transaction_type;

drop type public.transaction_type;

create table private.holds (
    id bigint generated always as identity not null,
    item_id uuid not null,
    option_id uuid,
    quantity integer not null,
    is_single boolean not null,
    order_id uuid,
    created_at timestamp with time zone not null default now(),
    constraint holds_holder_check check ((num_nonnulls(order_id) = 1)),
    constraint holds_pkey primary key (id),
    constraint holds_quantity_check check (((quantity >= 1) AND (quantity <= 10000)))
);

alter table private.holds
    enable row level security;

insert into private.holds (item_id, quantity, is_single, order_id, created_at)
select r.item_id, 1, true, r.order_id, r.created_at from private.reservations as r;

drop table private.reservations;

alter table public.purchases
    set (fillfactor=90);

create table public.tip_jars (
    id uuid not null default gen_random_uuid(),
    suggested_cents bigint not null default 500,
    is_open boolean not null default true,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamp with time zone not null default now(),
    updated_at timestamp with time zone not null default now(),
    constraint tip_jars_pkey primary key (id),
    seller_id uuid not null default auth.uid(),
    constraint tip_jars_seller_id_key unique (seller_id),
    minimum_cents bigint not null default private.lowest_price_cents(),
    constraint tip_jars_minimum_cents_check
        check (((minimum_cents >= private.lowest_price_cents()) AND (minimum_cents <= suggested_cents))),
    constraint tip_jars_suggested_cents_check
        check
        (((suggested_cents >= private.lowest_price_cents()) AND (suggested_cents <= private.highest_amount_cents())))
);

alter table public.tip_jars
    enable row level security;

create table public.tips (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    sender_id uuid not null,
    recipient_id uuid not null,
    amount_cents bigint not null,
    currency character(3) not null default 'USD'::bpchar,
    message text,
    item_id uuid,
    closed_at timestamp with time zone,
    created_at timestamp with time zone not null default now(),
    constraint tips_message_check check (((char_length(message) >= 1) AND (char_length(message) <= 500))),
    constraint tips_not_own_check check ((sender_id <> recipient_id)),
    constraint tips_order_item_id_key unique (order_item_id),
    constraint tips_pkey primary key (id),
    constraint tips_amount_cents_check
        check (((amount_cents >= 1) AND (amount_cents <= private.highest_amount_cents())))
);

alter table public.tips
    enable row level security;

revoke all on table public.tips from anon;

create table public.transaction_payees (
    transaction_id uuid not null,
    payee_id uuid not null,
    share_bps integer not null default 10000,
    cents bigint not null,
    pending_cents bigint not null,
    refunded_cents bigint not null default 0,
    release_journal_id bigint,
    constraint transaction_payees_pending_check check ((pending_cents >= 0)),
    constraint transaction_payees_pkey primary key (transaction_id, payee_id),
    constraint transaction_payees_share_check check (((share_bps >= 1) AND (share_bps <= 10000)))
);

insert into public.transaction_payees (
    transaction_id, payee_id, share_bps, cents, pending_cents, refunded_cents, release_journal_id
)
select
    t.id, t.seller_id, 10000, t.amount_seller_cents, t.pending_cents, t.refunded_seller_cents, t.release_journal_id
from public.transactions as t;

alter table public.transactions
    drop column pending_cents;

alter table public.transaction_payees
    enable row level security;

alter table public.transaction_payees
    set (fillfactor=80);

revoke all on table public.transaction_payees from anon;

alter table private.kinds
    add column is_browsable boolean not null default true;

alter table private.kinds
    add column is_repeatable boolean not null default false;

alter table private.kinds
    add column proceeds text not null default 'seller'::text;

alter table private.kinds
    add column commission text not null default 'plan'::text;

alter table private.kinds
    add column earned text not null default 'at_payment'::text;

alter table private.kinds
    add column free_window interval;

alter table public.artworks
    add column edition_size integer;

alter table public.artworks
    add column is_physical boolean not null default false;

alter table public.cart_items
    add column option_id uuid;

alter table public.cart_items
    add column option_key uuid generated always as (COALESCE(option_id, item_id)) stored not null;

alter table public.catalog_items
    add column taken integer not null default 0;

alter table public.catalog_items
    add column is_unique boolean generated always as (COALESCE((stock = 1), false)) stored not null;

alter table public.catalog_items
    add column is_repeatable boolean not null default false;

alter table public.catalog_items
    alter column is_repeatable drop default;

alter table public.catalog_items
    add column is_browsable boolean not null default true;

alter table public.catalog_items
    alter column is_browsable drop default;

alter table public.catalog_items
    add column requires_shipping boolean not null default false;

alter table public.catalog_items
    alter column requires_shipping drop default;

alter table public.catalog_items
    add column is_exclusively_sold boolean not null default false;

alter table public.catalog_items
    add column is_sold_out boolean generated always as
        ((COALESCE((purchases_count >= stock), false) or is_exclusively_sold)) stored not null;

alter table public.catalog_items
    add column is_buyable boolean generated always as
        ((is_published AND is_for_sale AND seller_is_active AND (not (COALESCE((purchases_count >= stock), false) or
        is_exclusively_sold)))) stored not null;

alter table public.catalog_items
    add column is_listed boolean generated always as
        ((is_published AND is_for_sale AND seller_is_active AND is_browsable AND (not (COALESCE((purchases_count >=
        stock), false) or is_exclusively_sold)))) stored not null;

alter table public.order_items
    add column kind text;

alter table public.order_items
    add column option_id uuid;

alter table public.order_items
    add column payable_id uuid;

alter table public.order_items
    add column discount_cents bigint not null default 0;

alter table public.order_items
    add column total_cents bigint generated always as (((unit_price_cents * quantity) - discount_cents)) stored
        not null;

alter table public.order_items
    add column shipping_cents bigint not null default 0;

alter table public.order_items
    add column charged_cents bigint generated always as
        (((((unit_price_cents * quantity) - discount_cents) + tax_cents) + shipping_cents)) stored not null;

alter table public.order_items
    add column is_counted boolean not null default false;

alter table public.order_items
    add column is_held boolean not null default false;

alter table public.order_items
    add column is_owned_once boolean not null default true;

alter table public.order_items
    add column is_shipped boolean not null default false;

update public.order_items as i set kind = c.kind, is_held = c.is_unique
from public.catalog_items as c
where c.id = i.item_id;

alter table public.order_items
    alter column kind set not null;

alter table public.purchases
    add column id uuid not null default gen_random_uuid();

alter table public.purchases
    add column option_id uuid;

alter table public.purchases
    add column unit integer not null default 1;

alter table public.purchases
    add column kind text;

alter table public.purchases
    add column payer_id uuid;

alter table public.purchases
    add column is_owned_once boolean not null default true;

alter table public.purchases
    alter column is_owned_once drop default;

alter table public.purchases
    add column is_single boolean not null default false;

alter table public.purchases
    alter column is_single drop default;

alter table public.purchases
    add column number integer;

alter table public.purchases
    add column revoked_reason text;

update public.purchases as p set
    kind = c.kind, payer_id = p.owner_id, is_single = c.is_unique,
    revoked_reason = case when p.revoked_at is not null then 'refunded' end
from public.catalog_items as c
where c.id = p.item_id;

alter table public.purchases
    alter column kind set not null,
    alter column payer_id set not null,
    alter column owner_id drop not null;

alter table public.purchases
    add column is_away boolean not null default false;

alter table public.refund_lines
    add column fee_cents bigint not null default 0;

alter table public.refunds
    add column fee_bearer text not null default 'seller'::text;

alter table public.transactions
    add column refunded_fee_cents bigint not null default 0;

alter table public.transactions
    add column free_refunded_cents bigint not null default 0;

alter table public.transactions
    add column free_until timestamp with time zone;

alter table public.transactions
    add column ship_by timestamp with time zone;

alter table public.transactions enable trigger user;
alter table public.catalog_items enable trigger user;
alter table public.order_items enable trigger user;
alter table public.purchases enable trigger user;

alter table public.order_items
    alter column item_id drop not null;

alter table public.purchases
    alter column item_id drop not null;

alter table public.transactions
    alter column related_id drop not null;

alter table public.transactions
    alter column release_at drop not null;

create type ledger.posting as (
    idempotency_key text,
    source_id uuid,
    owner_id uuid,
    account text,
    amount_cents bigint
);

create type private.granted_unit as (
    order_item_id uuid,
    item_id uuid,
    option_id uuid,
    unit integer,
    is_extra boolean
);

create type private.line_facts as (
    no smallint,
    description text,
    license_type public.license_type,
    license_text text,
    license_version integer,
    details jsonb,
    discount_cents bigint,
    problem text,
    detail text
);

create type private.line_payee as (
    order_item_id uuid,
    payee_id uuid,
    share_bps integer
);

create type private.wanted_line as (
    no smallint,
    item_id uuid,
    option_id uuid,
    quantity integer,
    unit_price_cents bigint,
    details jsonb,
    buyer_id uuid
);

create or replace function ledger.audit()
    returns table (
        invariant text,
        subject text,
        detail text
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with sums as (
        select e.account_id, sum(e.amount_cents) as balance from ledger.entries as e group by e.account_id
    ),

    balances as (
        select
            a.owner_id,
            coalesce(sum(s.balance) filter (where a.code = 'available'), 0) as available,
            coalesce(sum(s.balance) filter (where a.code = 'pending'), 0) as pending,
            coalesce(-sum(s.balance) filter (where a.code = 'debt'), 0) as debt
        from ledger.accounts as a
        left join sums as s on s.account_id = a.id
        where a.owner_id <> '00000000-0000-0000-0000-000000000000'
        group by a.owner_id
    )

    select '1 journals sum to zero', 'journal ' || e.journal_id, sum(e.amount_cents)::text
    from ledger.entries as e
    group by e.journal_id
    having sum(e.amount_cents) <> 0
    union all
    select '1 journals have legs', 'journal ' || j.id, j.kind::text
    from ledger.journal as j
    where (select count(*) from ledger.entries as e where e.journal_id = j.id) < 2
    union all
    select '1 entries have accounts', 'account ' || s.account_id, s.balance::text
    from sums as s
    where not exists (select from ledger.accounts as a where a.id = s.account_id)
    union all
    select
        '2 wallets equal their entries', 'wallet ' || w.user_id,
        format(
            'wallet %s/%s/%s, entries %s/%s/%s', w.balance_available_cents, w.balance_pending_cents, w.debt_cents,
            b.available, b.pending, b.debt
        )
    from public.wallets as w
    left join balances as b on b.owner_id = w.user_id
    where
        (w.balance_available_cents, w.balance_pending_cents, w.debt_cents)
        is distinct from (b.available, b.pending, b.debt)
    union all
    select '2 entries have a wallet', 'owner ' || b.owner_id, format('%s/%s/%s', b.available, b.pending, b.debt)
    from balances as b
    where not exists (select from public.wallets as w where w.user_id = b.owner_id)
    union all
    select
        '2 nobody has money beside a debt', 'owner ' || b.owner_id,
        format('available %s, debt %s', b.available, b.debt)
    from balances as b
    where b.available > 0 and b.debt > 0
    union all
    select '2 pending equals the held sales', 'wallet ' || w.user_id, format('%s, sales hold %s', w.balance_pending_cents, t.held)
    from public.wallets as w
    cross join lateral (
        select coalesce(sum(t.pending_cents), 0) as held from public.transaction_payees as t where t.payee_id = w.user_id
    ) as t
    where w.balance_pending_cents <> t.held
    union all
    select
        '3 a settled payment has one sale per line', 'payment ' || p.id,
        format('%s lines, %s sales of %s cents, paid %s', l.lines, t.sales, t.gross, p.amount_cents)
    from public.payments as p
    cross join lateral (
        select count(*) as lines from public.order_items as i
        where i.order_id = p.order_id and i.charged_cents > 0
    ) as l
    cross join lateral (
        select count(j.id) as sales, coalesce(sum(t.amount_total_cents), 0) as gross
        from public.transactions as t
        left join ledger.journal as j on j.kind = 'sale' and j.source_id = t.id
        where t.payment_id = p.id
    ) as t
    where
        p.succeeded_at is not null
        and not (t.sales = l.lines and t.gross = p.amount_cents)
        and not (
            t.sales = 0 and t.gross = 0
            and exists (select from ledger.journal as j where j.kind = 'unapplied' and j.source_id = p.id)
        )
    union all
    select '3 nothing is sold without payment', 'transaction ' || t.id, p.status::text
    from public.transactions as t
    inner join public.payments as p on p.id = t.payment_id
    where p.succeeded_at is null
    union all
    select '3 the split is what was posted', 'transaction ' || t.id, format('columns %s, entries %s', t.parts, e.parts)
    from (
        select
            t.id,
            array[
                t.amount_fees_cents,
                t.amount_commission_cents - t.refunded_commission_cents - t.refunded_fee_cents,
                t.amount_tax_cents - t.refunded_tax_cents,
                t.amount_seller_cents - t.refunded_seller_cents
            ] as parts
        from public.transactions as t
    ) as t
    cross join lateral (
        select array[
            coalesce(sum(e.amount_cents) filter (where a.code like 'fees:%'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'revenue'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'tax_payable'), 0),
            coalesce(sum(e.amount_cents) filter (where a.owner_id in (
                select y.payee_id from public.transaction_payees as y where y.transaction_id = s.id
            )), 0)
        ] as parts
        from public.transactions as s
        inner join ledger.journal as j
            on (j.kind in ('sale', 'fee_adjustment') and j.source_id = s.id)
            or j.idempotency_key in (
                select k.kind || ':' || r.refund_id || ':' || s.id
                from public.refund_lines as r
                cross join (values ('refund'), ('refund_reversal')) as k (kind)
                where r.transaction_id = s.id
            )
        inner join ledger.entries as e on e.journal_id = j.id
        inner join ledger.accounts as a on a.id = e.account_id
        where s.id = t.id
    ) as e
    where t.parts <> e.parts::bigint[]
    union all
    select
        '3 payees share what the sale leaves', 'transaction ' || t.id,
        format('%s less %s, payees %s less %s', t.amount_seller_cents, t.refunded_seller_cents, p.cents, p.refunded)
    from public.transactions as t
    cross join lateral (
        select
            count(*) as n, coalesce(sum(p.cents), 0) as cents, coalesce(sum(p.refunded_cents), 0) as refunded,
            coalesce(sum(p.share_bps), 0) as bps
        from public.transaction_payees as p where p.transaction_id = t.id
    ) as p
    where
        (p.cents, p.refunded) <> (t.amount_seller_cents, t.refunded_seller_cents)
        or p.n > 0 and p.bps <> 10000
    union all
    select '3 nothing unfinished has a date', 'transaction ' || t.id, t.release_at::text
    from public.transactions as t
    where
        t.completed_at is null and (t.release_at is not null or coalesce(t.release_journal_id, 0) <> 0)
        or t.completed_at < t.settled_at
    union all
    select
        '3 the fee of a refund is borne as it says', 'refund ' || l.refund_id,
        format('%s cents of the fee, %s', l.fee_cents, r.fee_bearer)
    from public.refund_lines as l
    inner join public.refunds as r on r.id = l.refund_id
    where l.fee_cents <> 0 and r.fee_bearer <> 'platform'
    union all
    select '3 payment refunds equal the booked ones', 'payment ' || p.id, format('%s, booked %s', p.refunded_cents, r.booked)
    from public.payments as p
    cross join lateral (
        select coalesce(sum(r.amount_cents), 0) as booked from public.refunds as r
        where r.payment_id = p.id and r.booked_at is not null and r.reversed_at is null
    ) as r
    where p.refunded_cents <> r.booked
    union all
    select '4 in transit equals open payouts', 'payouts_in_transit', format('%s, open %s', s.balance, o.open)
    from (
        select coalesce(sum(s.balance), 0) as balance from sums as s
        inner join ledger.accounts as a on a.id = s.account_id
        where a.code = 'payouts_in_transit'
    ) as s
    cross join (
        select coalesce(sum(p.amount_cents), 0) as open from public.payouts as p
        where p.is_open
    ) as o
    where s.balance <> o.open
    union all
    select '4 nothing owed for refunds but open ones', 'refunds_payable', format('%s, open %s', s.balance, o.open)
    from (
        select coalesce(sum(s.balance), 0) as balance from sums as s
        inner join ledger.accounts as a on a.id = s.account_id
        where a.code = 'refunds_payable'
    ) as s
    cross join (
        select coalesce(sum(p.amount_cents - p.refunded_cents), 0) as open from public.payments as p
        where exists (select from ledger.journal as j where j.kind = 'unapplied' and j.source_id = p.id)
    ) as o
    where s.balance <> o.open
    union all
    select '5 journals have a source', 'journal ' || j.id, j.kind || ' ' || j.idempotency_key
    from ledger.journal as j
    where not case j.kind::text
        when 'sale' then exists (select from public.transactions as t where t.id = j.source_id)
        when 'fee_adjustment' then
            exists (select from public.transactions as t where t.id = j.source_id)
            or exists (select from public.payments as p where p.id = j.source_id)
        when 'unapplied' then exists (select from public.payments as p where p.id = j.source_id)
        when 'refund' then exists (select from public.refunds as r where r.id = j.source_id and r.booked_at is not null)
        when 'refund_reversal'
            then exists (select from public.refunds as r where r.id = j.source_id and r.reversed_at is not null)
        when 'release' then exists (select from public.transaction_payees as t where t.release_journal_id = j.id)
        when 'adjustment' then j.memo is not null
        when 'correction' then exists (
            select from public.book_corrections as c
            where c.id = j.source_id and c.status = 'approved' and c.decided_by <> c.proposed_by
        )
        else exists (select from public.payouts as p where p.id = j.source_id)
    end
    union all
    select '5 payouts are booked as they stand', 'payout ' || p.id, p.status::text
    from public.payouts as p
    where array(
        -- A transfer may be taken back in parts.
        select j.kind::text from ledger.journal as j where j.source_id = p.id group by j.kind order by min(j.id)
    ) <> case p.status
        when 'completed' then
            array['payout_requested', 'payout_completed']
            || case when p.returned_cents > 0 then array['payout_returned'] else '{}' end
        when 'returned' then array['payout_requested', 'payout_completed', 'payout_returned']
        when 'failed' then array['payout_requested', 'payout_failed']
        when 'cancelled' then array['payout_requested', 'payout_failed']
        else array['payout_requested']
    end
    union all
    select '5 payouts came back as booked', 'payout ' || p.id, format('%s, booked %s', p.returned_cents, b.cents)
    from public.payouts as p
    cross join lateral (
        select coalesce(-sum(e.amount_cents), 0) as cents from ledger.journal as j
        inner join ledger.entries as e on e.journal_id = j.id
        inner join ledger.accounts as a on a.id = e.account_id and a.code = 'clearing:' || p.payout_method
        where j.source_id = p.id and j.kind = 'payout_returned'
    ) as b
    where p.returned_cents <> b.cents
    union all
    select '5 what is sold and held is what is taken', 'item ' || c.id, format('%s, taken %s of %s', n.n, c.taken, c.stock)
    from public.catalog_items as c
    cross join lateral (select private.count_taken(c.id, c.stock) as n) as n
    where c.taken <> n.n or c.stock > 1 and n.n > c.stock
    union all
    select '5 what is sold and held is what is taken', 'option ' || o.id, format('%s, taken %s of %s', n.n, o.taken, o.stock)
    from public.catalog_options as o
    cross join lateral (
        select (
            select count(*) from public.purchases as p
            where p.option_id = o.id and (p.revoked_at is null or p.is_away)
        ) + (
            select coalesce(sum(h.quantity), 0) from private.holds as h where h.option_id = o.id
        ) as n
    ) as n
    where o.stock is not null and o.taken <> n.n
    union all
    select '5 a one-of-a-kind item has one owner', 'item ' || p.item_id, count(*)::text
    from public.purchases as p
    inner join public.catalog_items as c on c.id = p.item_id
    where c.is_unique and p.revoked_at is null
    group by p.item_id
    having count(*) > 1
    union all
    select '5 what is refunded whole is revoked', 'line ' || t.order_item_id, count(*)::text
    from public.transactions as t
    inner join public.purchases as p on p.order_item_id = t.order_item_id and p.revoked_at is null
    where t.refunded_cents = t.amount_total_cents
    group by t.order_item_id
$function$;

create or replace function ledger.post_many (
    kind ledger.journal_kind,
    postings ledger.posting[],
    currency text default 'USD'::text
)
    returns integer
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    platform constant uuid := uuid '00000000-0000-0000-0000-000000000000';
    wrong text;
    keys text[];
    owners uuid[];
    posted bigint;
    expected bigint;
begin
    select coalesce(p.idempotency_key, 'a leg without a key') into wrong
    from unnest(postings) as p
    group by p.idempotency_key
    having
        p.idempotency_key is null or sum(p.amount_cents) <> 0 or count(*) < 2 or count(*) <> count(p.amount_cents)
        or not bool_and(abs(p.amount_cents) between 1 and 999999999999)
    limit 1;
    if wrong is not null then
        perform private.fail('unbalanced_journal', wrong);
    end if;

    with journals as (
        insert into ledger.journal (kind, idempotency_key, source_id, currency)
        select distinct on (p.idempotency_key) post_many.kind, p.idempotency_key, p.source_id, post_many.currency
        from unnest(postings) as p
        order by p.idempotency_key
        on conflict (idempotency_key) do nothing
        returning id, idempotency_key
    ),

    legs as (
        insert into ledger.entries (journal_id, leg_no, account_id, amount_cents)
        select j.id, row_number() over (partition by j.id order by p.no), a.id, p.amount_cents
        from unnest(postings) with ordinality as p (key, source_id, owner_id, account, amount_cents, no)
        inner join journals as j on j.idempotency_key = p.key
        inner join ledger.accounts as a
            on a.owner_id = coalesce(p.owner_id, platform) and a.code = p.account and a.currency = post_many.currency
        returning journal_id
    )

    select (select array_agg(j.idempotency_key) from journals as j), (select count(*) from legs)
    into keys, posted;
    select count(*), array_agg(distinct p.owner_id) filter (where p.owner_id is not null)
    into expected, owners
    from unnest(postings) as p
    where p.idempotency_key = any (keys);
    if posted <> expected then
        perform private.fail('unknown_account', keys[1]);
    end if;

    if owners is not null then
        perform from public.wallets as w where w.user_id = any (owners) order by w.user_id for no key update;
        update public.wallets as w set
            balance_available_cents = w.balance_available_cents + s.available,
            balance_pending_cents = w.balance_pending_cents + s.pending,
            debt_cents = w.debt_cents - s.debt
        from (
            select
                p.owner_id,
                coalesce(sum(p.amount_cents) filter (where p.account = 'available'), 0)::bigint as available,
                coalesce(sum(p.amount_cents) filter (where p.account = 'pending'), 0)::bigint as pending,
                coalesce(sum(p.amount_cents) filter (where p.account = 'debt'), 0)::bigint as debt
            from unnest(postings) as p
            where p.idempotency_key = any (keys) and p.owner_id is not null
            group by p.owner_id
        ) as s
        -- Said twice so that the wallets are read by key, however few there are.
        where w.user_id = any (owners) and w.user_id = s.owner_id;
    end if;
    return coalesce(cardinality(keys), 0);
end
$function$;

create or replace function private.apply_refund_line (
    line public.refund_lines,
    fee_bearer text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    sale public.transactions;
begin
    update public.transactions as t set
        refunded_cents = t.refunded_cents + line.amount_cents,
        refunded_tax_cents = t.refunded_tax_cents + line.tax_cents,
        refunded_commission_cents = t.refunded_commission_cents + line.commission_cents,
        refunded_fee_cents = t.refunded_fee_cents + line.fee_cents,
        refunded_seller_cents = t.refunded_seller_cents + line.seller_cents,
        free_refunded_cents = t.free_refunded_cents + case
            when apply_refund_line.fee_bearer = 'platform' then line.amount_cents else 0
        end,
        refunded_at = case when line.amount_cents > 0 then now() else t.refunded_at end,
        status = case
            when t.refunded_cents + line.amount_cents = 0 then 'completed'
            when t.refunded_cents + line.amount_cents = t.amount_total_cents then 'refunded'
            else 'partially_refunded'
        end::public.transaction_status
    where t.id = line.transaction_id
    returning * into sale;

    -- What was bought ends with the last cent and comes back with the first one restored.
    if sale.status = 'refunded' then
        update public.payables as a set status = 'returned'
        from public.order_items as i
        where i.id = sale.order_item_id and a.id = i.payable_id;
        perform private.revoke_line(sale.order_item_id, 'refunded');
    elsif line.amount_cents < 0 and sale.refunded_cents - line.amount_cents = sale.amount_total_cents then
        update public.payables as a set status = 'paid'
        from public.order_items as i
        where i.id = sale.order_item_id and a.id = i.payable_id;
        perform private.restore_line(sale.order_item_id);
    end if;
end
$function$;

create or replace function private.artwork_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return query
    select
        l.no, a.description, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object(
            'image_url', a.image_url, 'category', a.category, 'dimensions', a.dimensions,
            'edition_size', case when o.id is null then a.edition_size else o.stock end,
            'series', o.details ->> 'series'
        )),
        0::bigint,
        case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end
    from unnest(lines) as l
    inner join public.artworks as a on a.id = l.item_id
    left join public.catalog_options as o on o.id = l.option_id;
end
$function$;

create or replace function private.artwork_check_option (
    ids uuid[],
    options public.catalog_options[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    option public.catalog_options;
begin
    foreach option in array options loop
        perform private.require_keys(option.details, '{series}', 'invalid_option');
        if coalesce(option.details ->> 'series', '') !~ '^[A-Z]{1,5}$' then
            perform private.fail('invalid_option', 'series');
        elsif not option.is_set_aside or option.is_exclusive then
            perform private.fail('invalid_option', 'is_set_aside');
        end if;
    end loop;
    if options <> '{}'
        and exists (select from public.artworks as a where a.id = any (ids) and a.edition_size is null) then
        perform private.fail('invalid_option', 'one of a kind');
    end if;
    -- As in check_edition().
    perform from public.catalog_items as c where c.id = any (ids) order by c.id for no key update;
    perform private.fail('edition_fixed', a.id::text)
    from public.artworks as a
    inner join public.catalog_items as c on c.id = a.id
    where
        a.id = any (ids) and private.copies_of(a.id, a.edition_size) > c.stock and private.item_has_orders(a.id);
    update public.catalog_items as c set
        stock = private.copies_of(a.id, a.edition_size),
        taken = private.count_taken(c.id, private.copies_of(a.id, a.edition_size))
    from public.artworks as a
    where c.id = any (ids) and a.id = c.id;
end
$function$;

create or replace function private.artwork_grant (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    items uuid[] := array(
        select distinct p.item_id from public.purchases as p where p.id = any (ids) order by p.item_id
    );
    series record;
begin
    -- Numbers are given out under the item's lock, which counting the grants has taken: never one twice. What came back
    -- is given out again first, what is away or lost not.
    for series in
        select p.item_id, p.option_id, array_agg(p.id order by u.no) as ids
        from unnest(ids) with ordinality as u (id, no)
        inner join public.purchases as p on p.id = u.id and p.number is null
        inner join public.artworks as a on a.id = p.item_id and a.edition_size is not null
        group by p.item_id, p.option_id
        order by p.item_id, p.option_id
    loop
        with used as (
            select coalesce(max(p.number), 0) as highest from public.purchases as p
            where p.item_id = series.item_id and p.option_id is not distinct from series.option_id
        ),

        returned as (
            select distinct p.number from public.purchases as p
            where
                p.item_id = series.item_id and p.option_id is not distinct from series.option_id
                and p.number is not null and p.revoked_at is not null
                and not exists (
                    select from public.purchases as o
                    where
                        o.item_id = p.item_id and o.option_id is not distinct from p.option_id
                        and o.number = p.number and (o.revoked_at is null or o.is_away)
                )
        ),

        free as (
            select f.number, row_number() over (order by f.number) as no
            from (
                select r.number from returned as r
                union all
                select u.highest + n from used as u cross join generate_series(1, cardinality(series.ids)) as n
            ) as f
        )

        update public.purchases as p set number = f.number
        from free as f
        where f.no <= cardinality(series.ids) and p.id = series.ids[f.no];
    end loop;
    perform private.sell_artworks(items);
end
$function$;

create or replace function private.artwork_restore (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.artwork_grant(ids);
end
$function$;

create or replace function private.artwork_revoke (
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- It is again what it was before the sale. What came back by post is off the shop until its seller puts it in again;
    -- and a seller who left sells nothing.
    update public.artworks as a set status = case
        when reason = 'returned' or exists (
            select from public.profiles as p where p.id = a.seller_id and p.deleted_at is not null
        ) then 'archived'
        else coalesce(
            (select b.status from private.artworks_before_sale as b where b.artwork_id = a.id)::text, 'published'
        )
    end::public.artwork_status
    from public.catalog_items as c
    where
        a.id in (select p.item_id from public.purchases as p where p.id = any (ids))
        and c.id = a.id and not c.is_sold_out and a.status = 'sold';
end
$function$;

create or replace function private.author_audience (
    author public.profiles
)
    returns public.audience
    language sql
    immutable
    set search_path to ''
    AS $function$
    select case
        when private.is_platform(author.id) then 'public'
        when author.is_banned or not author.is_confirmed or author.deleted_at is not null
            or author.profile_visibility = 'private' then 'owner'
        when author.profile_visibility = 'members_only' then 'members'
        else 'public'
    end::public.audience
$function$;

create or replace function private.begin_holds (
    buyer uuid,
    items uuid[]
)
    returns timestamp with time zone
    language plpgsql
    set search_path to ''
    AS $function$
declare
    limits private.settings;
    allowed integer;
    paused private.hold_periods;
    held bigint;
    until timestamptz;
    stamp constant text := 'YYYY-MM-DD"T"HH24:MI:SS"Z"';
begin
    select * into strict limits from private.settings;
    delete from private.hold_periods as h where h.user_id = buyer and h.ends_at + limits.hold_pause <= now();
    select * into paused from private.hold_periods as h
    where h.user_id = buyer and h.item_id = any (items) and h.ends_at <= now()
    order by h.ends_at desc
    limit 1;
    if paused.item_id is not null then
        perform private.fail(
            'hold_paused',
            format('%s: until %s', paused.item_id, to_char((paused.ends_at + limits.hold_pause) at time zone 'utc', stamp))
        );
    end if;
    insert into private.hold_periods as h (user_id, item_id, ends_at)
    select buyer, u.item_id, now() + limits.reservation_period from unnest(items) as u (item_id)
    on conflict on constraint hold_periods_pkey do update set renewals = h.renewals + 1;

    allowed := coalesce(
        (select l.max_holds from private.hold_limits as l where l.user_id = buyer), limits.holds_per_account
    );
    select count(*), min(greatest(h.ends_at, now())) into held, until
    from private.holds as r
    inner join public.orders as o on o.id = r.order_id
    left join private.hold_periods as h on h.user_id = o.user_id and h.item_id = r.item_id
    where
        o.user_id = buyer
        -- Not what there is no end of: such a hold only keeps the exclusive option from others.
        and (
            exists (select from public.catalog_items as c where c.id = r.item_id and c.stock is not null)
            or exists (select from public.catalog_options as p where p.id = r.option_id and p.stock is not null)
        );
    if held > allowed then
        perform private.fail(
            'too_many_holds', format('at most %s; until %s', allowed, to_char(until at time zone 'utc', stamp))
        );
    end if;
    return (select min(h.ends_at) from private.hold_periods as h where h.user_id = buyer and h.item_id = any (items));
end
$function$;

create or replace function private.book_refund (
    refund_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    paid public.payments;
    target record;
    sale public.transactions;
    own bigint;
    part bigint;
    line public.refund_lines;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = book_refund.refund_id for no key update;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    if refund.booked_at is not null then
        return;
    end if;
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents and paid.charge_reversed_at is not null then
        -- Unknown when the charge was taken back: booked as part of that, the provider moved the same money.
        return;
    end if;
    -- An earlier refund may have failed since, and its report be on its way.
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents then
        perform private.fail('event_too_early', 'refund exceeds what is left of the payment');
    end if;
    money_account := case when refund.paid_outside then 'bank' else 'clearing:' || paid.provider end;

    perform private.lock_orders(array[paid.order_id]);
    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    if not found then
        perform ledger.post(
            'refund', 'refund:' || refund.id,
            array[
                ledger.leg(null, 'refunds_payable', -refund.amount_cents),
                ledger.leg(null, money_account, refund.amount_cents)
            ],
            refund.id, paid.currency
        );
    else
        perform private.lock_wallets(
            private.payees_of(paid.id) || case when paid.provider = 'wallet' then paid.user_id end
        );
        -- A refund of one line is that line's as far as it goes. One made in the dashboard meanwhile may have taken
        -- from it too: the money is gone all the same, and the other lines bear the rest.
        own := coalesce((
            select least(refund.amount_cents, t.amount_total_cents - t.refunded_cents) from public.transactions as t
            where t.order_item_id = refund.order_item_id
        ), 0);
        for target in
            select
                s.sale,
                case
                    when s.is_own then own
                    else (private.split_cents(
                        refund.amount_cents - own,
                        array_agg(case when s.is_own then 0 else s.remaining end) over lines
                    ))[row_number() over lines]
                end as part
            from (
                select
                    t as sale, t.amount_total_cents - t.refunded_cents as remaining, i.line_no,
                    i.id is not distinct from refund.order_item_id as is_own
                from public.transactions as t
                inner join public.order_items as i on i.id = t.order_item_id
                where t.payment_id = paid.id and t.amount_total_cents > t.refunded_cents
            ) as s
            window lines as (order by s.line_no rows between unbounded preceding and unbounded following)
        loop
            sale := target.sale;
            part := target.part;
            continue when part = 0;
            select refund.id, sale.id, part, s.tax, s.commission, s.seller, s.fee into line
            from private.split_refund(sale, part, refund.fee_bearer) as s;
            insert into public.refund_lines select line.*;
            perform private.apply_refund_line(line, refund.fee_bearer);
            perform ledger.post(
                'refund', 'refund:' || refund.id || ':' || sale.id,
                private.moving_legs(array[
                    ledger.leg(null, 'tax_payable', -line.tax_cents),
                    ledger.leg(null, 'revenue', -line.commission_cents - line.fee_cents)
                ]) || private.payee_legs(sale.id) || case
                    when paid.provider = 'wallet' and not refund.paid_outside
                        then private.credit_legs(paid.user_id, part)
                    else array[ledger.leg(null, money_account, part)]
                end,
                refund.id, paid.currency
            );
        end loop;
    end if;
    update public.refunds as r set booked_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, refund.amount_cents);
end
$function$;

create or replace function private.cancel_pending_order (
    order_id uuid,
    reason text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform private.release_holds(array[cancel_pending_order.order_id]);
    update public.orders as o set status = 'cancelled', status_reason = coalesce(o.status_reason, reason)
    where o.id = cancel_pending_order.order_id and o.status = 'pending';
end
$function$;

create or replace function private.catalog_entry (
    artwork public.artworks
)
    returns private.catalog_entry
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        'artwork', artwork.seller_id, artwork.title, artwork.slug, coalesce(artwork.thumbnail_url, artwork.image_url),
        artwork.price_cents, null, artwork.currency, artwork.category::text, artwork.tags,
        private.copies_of(artwork.id, artwork.edition_size), artwork.is_featured,
        artwork.status in ('published', 'sold') and not artwork.is_hidden,
        artwork.is_for_sale and artwork.status <> 'sold', artwork.description, null, artwork.is_physical
    )::private.catalog_entry
$function$;

create or replace function private.catalog_entry (
    product public.products
)
    returns private.catalog_entry
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        'product', product.seller_id, product.title, product.slug, product.thumbnail_url, product.price_cents,
        product.minimum_price_cents, product.currency,
        (select c.slug from public.categories as c where c.id = product.category_id),
        product.tags || product.genre_tags, null, product.is_featured,
        product.status = 'active' and product.is_approved, true, product.description, null, false
    )::private.catalog_entry
$function$;

create or replace function private.catalog_entry (
    jar public.tip_jars
)
    returns private.catalog_entry
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        'tip_jar', jar.seller_id, 'Tip', jar.id::text, null, jar.suggested_cents, jar.minimum_cents, 'USD', null,
        '{}'::text [], null, false, not jar.is_hidden, jar.is_open, null, null, false
    )::private.catalog_entry
$function$;

create or replace function private.check_artwork()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.artworks', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    if tg_op = 'UPDATE' and new.edition_size is distinct from old.edition_size then
        perform private.check_edition(new.id, old.edition_size, new.edition_size);
    end if;
    new.sold_at := case when new.status = 'sold' then coalesce(new.sold_at, now()) end;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
    end if;
    return new;
end
$function$;

create or replace function private.check_cart_item()
    returns trigger
    language plpgsql
    set search_path to ''
    AS $function$
declare
    item public.catalog_items;
    option public.catalog_options;
    price record;
begin
    -- Read as the caller: an item the caller may not see does not exist for the cart either.
    select * into item from public.catalog_items as c where c.id = new.item_id;
    if item.id is null or (not item.is_buyable and item.seller_id <> new.user_id) then
        perform private.fail('item_not_available', new.item_id::text);
    end if;
    if item.seller_id = new.user_id then
        perform private.fail('own_item', new.item_id::text);
    end if;
    if new.option_id is not null then
        select * into option from public.catalog_options as o
        where o.id = new.option_id and o.item_id = new.item_id and o.is_active;
        if option.id is null then
            perform private.fail('option_not_available', new.option_id::text);
        end if;
        item.price_cents := option.price_cents;
        item.minimum_price_cents := null;
    end if;
    if (item.is_unique or option.stock = 1) and new.quantity > 1 then
        perform private.fail('quantity_not_allowed', new.item_id::text);
    end if;
    if new.offered_price_cents is not null and item.minimum_price_cents is null then
        perform private.fail('price_not_negotiable', new.item_id::text);
    end if;
    price := private.price_of(item.price_cents, item.minimum_price_cents, new.offered_price_cents, null);
    if price.problem is not null then
        perform private.fail(price.problem, format('%s: minimum is %s cents', item.id, price.least_cents));
    end if;
    if tg_argv[0] = 'shows' then
        new.shown_price_cents := price.cents;
    end if;
    return new;
end
$function$;

create or replace function private.check_edition (
    artwork_id uuid,
    before integer,
    after integer
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    -- The registry's row first, as a checkout has it: what is sold or held does not change meanwhile.
    perform from public.catalog_items as c where c.id = check_edition.artwork_id for no key update;
    if after is null and exists (select from public.catalog_options as o where o.item_id = check_edition.artwork_id) then
        perform private.fail('edition_fixed', artwork_id::text);
    end if;
    if private.item_has_orders(artwork_id) and (
        before is null or after is null or after > before or after < greatest(
            (
                select max(p.number) from public.purchases as p
                where
                    p.item_id = check_edition.artwork_id and p.option_id is null
                    and (p.revoked_at is null or p.is_away)
            ),
            (
                select count(*) from public.purchases as p
                where
                    p.item_id = check_edition.artwork_id and p.option_id is null
                    and (p.revoked_at is null or p.is_away)
            ) + (
                select coalesce(sum(h.quantity), 0) from private.holds as h
                where h.item_id = check_edition.artwork_id and h.option_id is null
            )
        )
    ) then
        perform private.fail('edition_fixed', artwork_id::text);
    end if;
end
$function$;

create or replace function private.checked_address (
    address jsonb
)
    returns jsonb
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
declare
    given jsonb := nullif(address, 'null'::jsonb);
begin
    perform private.require_keys(
        given, '{name,line1,line2,city,state,postal_code,country,phone}', 'invalid_checkout'
    );
    if length(given::text) > 4000
        or exists (select from jsonb_each(given) as a where jsonb_typeof(a.value) not in ('string', 'null'))
    then
        perform private.fail('invalid_checkout', 'shipping_address: texts, at most 4,000 characters');
    end if;
    return given;
end
$function$;

create or replace function private.complete_lines (
    lines uuid[],
    at timestamp with time zone default now()
)
    returns integer
    language plpgsql
    set search_path to ''
    AS $function$
declare
    completed record;
    count integer := 0;
begin
    for completed in
        with done as (
            update public.transactions as t set
                completed_at = greatest(complete_lines.at, t.settled_at),
                release_at = greatest(complete_lines.at, t.settled_at)
                    + (select s.earnings_hold from private.settings as s)
            where t.id in (
                select o.id from public.transactions as o
                where o.order_item_id = any (complete_lines.lines) and o.completed_at is null
                order by o.id
                for no key update
            )
            returning t.kind, t.order_item_id
        )

        select d.kind, array_agg(d.order_item_id order by d.order_item_id) as lines
        from done as d
        group by d.kind
        order by d.kind
    loop
        perform private.dispatch_complete(completed.kind, completed.lines);
        count := count + cardinality(completed.lines);
    end loop;
    return count;
end
$function$;

create or replace function private.copies_of (
    artwork_id uuid,
    edition_size integer
)
    returns integer
    language sql
    stable
    set search_path to ''
    AS $function$
    select coalesce(edition_size, 1) + coalesce((
        select sum(o.stock) from public.catalog_options as o where o.item_id = artwork_id and o.is_set_aside
    ), 0)::integer
$function$;

create or replace function private.count_earned()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    payees uuid[];
    sales uuid[];
    changes bigint[];
begin
    if tg_op = 'INSERT' then
        select array_agg(c.payee_id), array_agg(c.transaction_id), array_agg(c.cents - c.refunded_cents)
        into payees, sales, changes
        from changed_to as c;
    else
        select
            array_agg(c.payee_id), array_agg(c.transaction_id),
            array_agg(c.cents - c.refunded_cents - (b.cents - b.refunded_cents))
        into payees, sales, changes
        from changed_to as c
        inner join changed_from as b on b.transaction_id = c.transaction_id and b.payee_id = c.payee_id
        where c.cents - c.refunded_cents <> b.cents - b.refunded_cents;
    end if;
    if payees is null then
        return null;
    end if;
    update public.wallets as w set
        total_earned_stripe_cents = w.total_earned_stripe_cents + s.stripe,
        total_earned_paypal_cents = w.total_earned_paypal_cents + s.paypal,
        total_earned_wallet_cents = w.total_earned_wallet_cents + s.wallet
    from (
        select
            u.payee_id, coalesce(sum(u.change) filter (where t.payment_processor = 'stripe'), 0)::bigint as stripe,
            coalesce(sum(u.change) filter (where t.payment_processor = 'paypal'), 0)::bigint as paypal,
            coalesce(sum(u.change) filter (where t.payment_processor = 'wallet'), 0)::bigint as wallet
        from unnest(payees, sales, changes) as u (payee_id, sale_id, change)
        inner join public.transactions as t on t.id = u.sale_id
        group by u.payee_id
    ) as s
    where w.user_id = s.payee_id;
    return null;
end
$function$;

create or replace function private.count_option_taken (
    option_id uuid,
    stock integer
)
    returns integer
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return case
        when count_option_taken.stock is not null then (
            select count(*) from public.purchases as p
            where p.option_id = count_option_taken.option_id and (p.revoked_at is null or p.is_away)
        ) + (
            select coalesce(sum(h.quantity), 0) from private.holds as h
            where h.option_id = count_option_taken.option_id
        )
        else 0
    end;
end
$function$;

create or replace function private.count_published_item (
    kind text,
    seller_id uuid,
    change integer
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if not (select k.is_browsable from private.kinds as k where k.kind = count_published_item.kind) then
        return;
    end if;
    update public.profile_counts as c set published_count = c.published_count + change
    where c.user_id = count_published_item.seller_id and c.kind = count_published_item.kind;
    if not found then
        insert into public.profile_counts (user_id, kind, published_count)
        values (count_published_item.seller_id, count_published_item.kind, change);
    end if;
end
$function$;

create or replace function private.count_purchases()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    items uuid[];
    options uuid[];
    changes integer[];
    paid integer[];
begin
    if tg_op = 'INSERT' then
        select
            array_agg(c.item_id), array_agg(c.option_id) filter (where c.option_id is not null),
            array_agg(1), array_agg((c.price_cents > 0)::integer)
        into items, options, changes, paid
        from changed_to as c
        where c.revoked_at is null and c.item_id is not null;
    else
        select
            array_agg(c.item_id), array_agg(c.option_id) filter (where c.option_id is not null),
            array_agg((c.revoked_at is null or c.is_away)::integer - (b.revoked_at is null or b.is_away)::integer),
            array_agg((c.price_cents > 0)::integer * ((c.revoked_at is null)::integer - (b.revoked_at is null)::integer))
        into items, options, changes, paid
        from changed_to as c
        inner join changed_from as b on b.id = c.id
        where c.item_id is not null and (c.revoked_at is null, c.is_away) <> (b.revoked_at is null, b.is_away);
    end if;
    if items is null then
        return null;
    end if;
    if cardinality(items) > 1 then
        perform from public.catalog_items as c where c.id = any (items) order by c.id for no key update;
    end if;
    -- By statement: a batch of settlements counts each item once.
    update public.catalog_items as c set
        purchases_count = c.purchases_count + n.change, paid_purchases_count = c.paid_purchases_count + n.paid
    from (
        select u.item_id, sum(u.change) as change, sum(u.paid) as paid
        from unnest(items, changes, paid) as u (item_id, change, paid)
        group by u.item_id
    ) as n
    where c.id = n.item_id;
    if options is not null then
        update public.catalog_items as c set is_exclusively_sold = x.is_sold
        from (
            select o.item_id, bool_or(exists (
                select from public.purchases as p where p.option_id = o.id and (p.revoked_at is null or p.is_away)
            )) as is_sold
            from public.catalog_options as o
            where o.item_id = any (items) and o.is_exclusive
            group by o.item_id
        ) as x
        where c.id = x.item_id and c.is_exclusively_sold <> x.is_sold;
    end if;
    return null;
end
$function$;

create or replace function private.count_spent()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'INSERT' then
        update public.wallets as w set total_spent_on_platform_cents = w.total_spent_on_platform_cents + s.cents
        from (
            select c.buyer_id, sum(c.amount_total_cents - c.refunded_cents)::bigint as cents
            from changed_to as c
            where c.payment_processor = 'wallet'
            group by c.buyer_id
        ) as s
        where w.user_id = s.buyer_id;
    else
        update public.wallets as w set total_spent_on_platform_cents = w.total_spent_on_platform_cents + s.cents
        from (
            select c.buyer_id, sum(b.refunded_cents - c.refunded_cents)::bigint as cents
            from changed_to as c
            inner join changed_from as b on b.id = c.id
            where c.payment_processor = 'wallet'
            group by c.buyer_id
        ) as s
        where w.user_id = s.buyer_id and s.cents <> 0;
    end if;
    return null;
end
$function$;

create or replace function private.count_taken (
    item_id uuid,
    stock integer
)
    returns integer
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return case
        when count_taken.stock > 1 then (
            select count(*) from public.purchases as p
            where p.item_id = count_taken.item_id and (p.revoked_at is null or p.is_away)
        ) + (
            select coalesce(sum(h.quantity), 0) from private.holds as h where h.item_id = count_taken.item_id
        )
        else 0
    end;
end
$function$;

create or replace function private.create_refund (
    payment_id uuid,
    order_item_id uuid,
    amount_cents bigint,
    reason text,
    origin public.refund_origin default 'automatic'::public.refund_origin,
    paid_outside text default null::text,
    fee_bearer text default 'seller'::text
)
    returns uuid
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    refund_id uuid;
begin
    select * into strict paid from public.payments as p where p.id = create_refund.payment_id for no key update;
    -- Open refunds count: two half refunds of three quarters each must not both pass.
    if amount_cents is null or amount_cents <= 0 or amount_cents > paid.amount_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r
        where r.payment_id = paid.id and (r.is_open or r.status = 'succeeded')
    ), 0) or amount_cents > (
        select i.charged_cents - t.refunded_cents - coalesce((
            select sum(r.amount_cents) from public.refunds as r
            where r.order_item_id = i.id and r.is_open
        ), 0)
        from public.order_items as i
        inner join public.transactions as t on t.order_item_id = i.id
        where i.id = create_refund.order_item_id
    ) then
        perform private.fail('refund_amount_invalid');
    end if;
    insert into public.refunds (
        payment_id, order_item_id, amount_cents, currency, reason, origin, fee_bearer, paid_outside, provider
    ) values (
        paid.id, create_refund.order_item_id, create_refund.amount_cents, paid.currency, create_refund.reason,
        create_refund.origin, create_refund.fee_bearer, create_refund.paid_outside is not null, paid.provider
    ) returning id into refund_id;
    if create_refund.paid_outside is not null then
        perform private.record_refund(refund_id, 'outside:' || create_refund.paid_outside, 'succeeded');
    elsif paid.provider = 'wallet' then
        perform private.record_refund(refund_id, null, 'succeeded');
    else
        perform private.enqueue('send_refund', jsonb_build_object('refund_id', refund_id), null, 'refund:' || refund_id);
    end if;
    return refund_id;
end
$function$;

create or replace function private.deliver_orders (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    if cardinality(orders) = 0 then
        return;
    end if;
    perform private.grant_orders(orders);
    update public.payables as a set status = 'paid'
    from public.order_items as i
    where i.order_id = any (deliver_orders.orders) and a.id = i.payable_id;
    delete from public.cart_items as c
    using public.order_items as i
    where
        i.order_id = any (deliver_orders.orders) and c.user_id = i.buyer_id and c.item_id = i.item_id
        and c.option_id is not distinct from i.option_id;
    update public.orders as o set status = 'completed', status_reason = null, completed_at = now()
    where o.id = any (deliver_orders.orders);
end
$function$;

create or replace function private.deliverable_orders (
    orders uuid[]
)
    returns uuid[]
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    late uuid;
begin
    -- A pending order still holds its items, whatever the seller did to them since: the buyer was promised. A cancelled
    -- one gave them back and must find each of them unheld and on sale; so must one whose items became limited since.
    for late in
        select o.id
        from unnest(deliverable_orders.orders) with ordinality as u (id, no)
        inner join public.orders as o on o.id = u.id
        inner join private.limited_lines as l on l.order_id = o.id and l.hold_id is null
        group by o.id, u.no
        having o.status = 'cancelled' or not bool_or(l.is_held)
        order by u.no
    loop
        begin
            perform private.hold_lines(late, is_late => true);
        exception when sqlstate 'PT409' then
            null;
        end;
    end loop;
    return array(
        select o.id
        from unnest(deliverable_orders.orders) with ordinality as u (id, no)
        inner join public.orders as o on o.id = u.id and o.status in ('pending', 'cancelled')
        inner join public.profiles as b on b.id = o.user_id and b.deleted_at is null
        where
            not exists (select from private.limited_lines as l where l.order_id = o.id and l.hold_id is null)
            and not exists (
                select from public.order_items as i
                where
                    i.order_id = o.id
                    and (
                        -- The buyer may have bought it again while this attempt was on its way (docs/money.md, sharp
                        -- case 17).
                        i.is_owned_once and exists (
                            select from public.purchases as p
                            where
                                p.owner_id = i.buyer_id and p.item_id = i.item_id
                                and p.option_id is not distinct from i.option_id
                                and p.is_owned_once and p.revoked_at is null
                        )
                        -- A refund failed while this order held the item: it is its first buyer's again.
                        or (i.is_held or i.payable_id is not null) and exists (
                            select from public.purchases as p
                            where p.item_id = i.item_id and p.is_single and p.revoked_at is null
                        )
                        or i.payable_id is not null and not exists (
                            select from public.payables as a where a.id = i.payable_id and a.status = 'open'
                        )
                    )
            )
        order by u.no
    );
end
$function$;

create or replace function private.dispatch_can_read (
    kind text,
    ids uuid[]
)
    returns SETOF uuid
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    case kind
        when 'article' then
            return query select t.id from public.articles as t where t.id = any (ids);
        when 'artwork' then
            return query select t.id from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select t.id from public.comments as t where t.id = any (ids);
        when 'group' then
            return query select t.id from public.groups as t where t.id = any (ids);
        when 'message' then
            return query select t.id from public.messages as t where t.id = any (ids);
        when 'post' then
            return query select t.id from public.posts as t where t.id = any (ids);
        when 'product' then
            return query select t.id from public.products as t where t.id = any (ids);
        when 'profile' then
            return query select * from private.profile_can_read(ids);
        when 'tip' then
            return query select t.id from public.tips as t where t.id = any (ids);
        when 'tip_jar' then
            return query select t.id from public.tip_jars as t where t.id = any (ids);
        else
            perform private.fail('cannot_be_reported', kind);
    end case;
end
$function$;

create or replace function private.dispatch_check_line (
    kind text,
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            return query select * from private.artwork_check_line(ids, lines);
        when 'product' then
            return query select * from private.product_check_line(ids, lines);
        when 'tip_jar' then
            return query select * from private.tip_jar_check_line(ids, lines);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_check_option (
    kind text,
    ids uuid[],
    options public.catalog_options[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            perform private.artwork_check_option(ids, options);
        when 'product' then
            perform private.product_check_option(ids, options);
        when 'tip_jar' then
            if (select bool_or(o.details <> '{}') from unnest(options) as o) then perform private.fail('invalid_option', 'details'); end if;
        else
            perform private.fail('option_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_complete (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            null;
        when 'product' then
            null;
        when 'tip_jar' then
            null;
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_evidence (
    kind text,
    ids uuid[],
    reader uuid
)
    returns SETOF private.reported_content
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'article' then
            return query select t.id, t.author_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.articles as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'artwork' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.artworks as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'comment' then
            return query select t.id, t.user_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.comments as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'group' then
            return query select t.id, t.owner_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.groups as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'message' then
            return query select * from private.message_evidence(ids, reader);
        when 'post' then
            return query select * from private.post_evidence(ids, reader);
        when 'product' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.products as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'profile' then
            return query select * from private.profile_evidence(ids, reader);
        when 'tip' then
            return query select t.id, t.sender_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.tips as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'tip_jar' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.tip_jars as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        else
            perform private.fail('cannot_be_reported', kind);
    end case;
end
$function$;

create or replace function private.dispatch_grant (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            perform private.artwork_grant(ids);
        when 'product' then
            null;
        when 'tip_jar' then
            perform private.tip_jar_grant(ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_hide (
    kind text,
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'article' then
            update public.articles as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'artwork' then
            update public.artworks as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'comment' then
            update public.comments as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'post' then
            update public.posts as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'product' then
            perform private.product_hide(ids, reason);
        when 'tip_jar' then
            update public.tip_jars as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

create or replace function private.dispatch_lock (
    kind text,
    ids uuid[]
)
    returns SETOF private.content_state
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'article' then
            perform private.hold_each('public.articles', ids); return query select t.id, t.is_hidden from public.articles as t where t.id = any (ids);
        when 'artwork' then
            perform private.hold_each('public.artworks', ids); return query select t.id, t.is_hidden from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select * from private.comment_lock(ids);
        when 'post' then
            perform private.hold_each('public.posts', ids); return query select t.id, t.is_hidden from public.posts as t where t.id = any (ids);
        when 'product' then
            return query select * from private.product_lock(ids);
        when 'tip_jar' then
            perform private.hold_each('public.tip_jars', ids); return query select t.id, t.is_hidden from public.tip_jars as t where t.id = any (ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

create or replace function private.dispatch_lock_own (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            perform from public.artworks as t where t.id = any (ids) order by t.id for no key update;
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_payees (
    kind text,
    ids uuid[]
)
    returns SETOF private.line_payee
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'product' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'tip_jar' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_place (
    kind text,
    ids uuid[]
)
    returns SETOF private.content_place
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'article' then
            return query select t.id, t.author_id, null::uuid from public.articles as t where t.id = any (ids);
        when 'artwork' then
            return query select t.id, t.seller_id, null::uuid from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select * from private.comment_place(ids);
        when 'post' then
            return query select * from private.post_place(ids);
        when 'product' then
            return query select t.id, t.seller_id, null::uuid from public.products as t where t.id = any (ids);
        when 'tip_jar' then
            return query select t.id, t.seller_id, null::uuid from public.tip_jars as t where t.id = any (ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

create or replace function private.dispatch_purchases (
    hook text,
    ids uuid[],
    reason text default null::text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    chosen record;
begin
    for chosen in
        select p.kind, array_agg(p.id order by p.id) as ids
        from public.purchases as p
        where p.id = any (dispatch_purchases.ids)
        group by p.kind
        order by p.kind
    loop
        case hook
            when 'grant' then perform private.dispatch_grant(chosen.kind, chosen.ids);
            when 'revoke' then perform private.dispatch_revoke(chosen.kind, chosen.ids, reason);
            else perform private.dispatch_restore(chosen.kind, chosen.ids);
        end case;
    end loop;
end
$function$;

create or replace function private.dispatch_restore (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            perform private.artwork_restore(ids);
        when 'product' then
            null;
        when 'tip_jar' then
            perform private.tip_jar_restore(ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_revoke (
    kind text,
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            perform private.artwork_revoke(ids, reason);
        when 'product' then
            null;
        when 'tip_jar' then
            perform private.tip_jar_revoke(ids, reason);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_units (
    kind text,
    ids uuid[]
)
    returns SETOF private.granted_unit
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    case kind
        when 'artwork' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'product' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'tip_jar' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.end_holds (
    item_id uuid
)
    returns integer
    language plpgsql
    set search_path to ''
    AS $function$
declare
    ended integer;
begin
    perform from public.catalog_items as c where c.id = end_holds.item_id for no key update;
    delete from private.holds as h where h.item_id = end_holds.item_id and h.order_id is not null;
    get diagnostics ended = row_count;
    update public.catalog_items as c set taken = private.count_taken(c.id, c.stock) where c.id = end_holds.item_id;
    update public.catalog_options as o set taken = private.count_option_taken(o.id, o.stock)
    where o.item_id = end_holds.item_id;
    return ended;
end
$function$;

create or replace function private.erase_tip_jar (
    seller uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    begin
        delete from public.tip_jars as j where j.seller_id = seller and not private.item_has_orders(j.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment.
        null;
    end;
    update public.tip_jars as j set is_open = false where j.seller_id = seller and j.is_open;
end
$function$;

create or replace function private.expire_unstarted_payments (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    ended uuid[];
    attempt uuid;
begin
    ended := array(
        select p.id from public.payments as p
        where p.is_open and p.started_at is null and p.expires_at <= now()
        order by p.expires_at
        limit max_rows
        for no key update skip locked
    );
    perform private.lock_stock(array(select p.order_id from public.payments as p where p.id = any (ended)));
    foreach attempt in array ended loop
        perform private.stop_payment(attempt, 'expired');
    end loop;
    return cardinality(ended);
end
$function$;

create or replace function private.free_commission (
    sale public.transactions,
    commission_cents bigint
)
    returns bigint
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
begin
    return sign(commission_cents)
    * ((abs(commission_cents) * sale.free_refunded_cents * 2 + sale.amount_total_cents) / (sale.amount_total_cents * 2));
end
$function$;

create or replace function private.free_purchases (
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    freed record;
    heirs uuid[];
begin
    for freed in
        select p.item_id, p.option_id, count(*)::integer as pieces
        from public.purchases as p
        inner join public.catalog_items as c on c.id = p.item_id
        where
            p.id = any (ids) and not p.is_away and not p.is_single
            and (c.stock is not null or p.option_id is not null)
        group by p.item_id, p.option_id
        order by p.item_id, p.option_id
    loop
        perform private.take_stock(freed.item_id, freed.option_id, -freed.pieces);
    end loop;
    -- Whoever paid for the same and got nothing, because a refund failed after it was bought again, comes before the
    -- shop: the same owner by another line first, of one of a kind and of copies then whoever paid first.
    heirs := array(
        select distinct h.id
        from (
            select p.item_id, p.option_id, p.owner_id, p.is_single, p.is_owned_once, count(*) as pieces
            from public.purchases as p
            where p.id = any (ids) and not p.is_away
            group by p.item_id, p.option_id, p.owner_id, p.is_single, p.is_owned_once
        ) as r
        cross join lateral (
            select o.id
            from public.purchases as o
            inner join public.transactions as t
                on t.order_item_id = o.order_item_id and t.refunded_cents < t.amount_total_cents
            inner join public.profiles as f on f.id = o.owner_id and f.deleted_at is null
            where
                o.item_id = r.item_id and o.option_id is not distinct from r.option_id
                and o.is_single = r.is_single and o.is_owned_once = r.is_owned_once
                and (not r.is_owned_once or r.is_single or o.owner_id = r.owner_id)
                and o.id <> all (ids) and o.revoked_reason in ('refunded', 'declined')
            order by (o.owner_id = r.owner_id) desc, t.settled_at, t.id, o.id
            limit r.pieces
        ) as h
        order by h.id
    );
    perform private.dispatch_purchases('revoke', ids, reason);
    perform private.restore_purchases(heirs);
end
$function$;

create or replace function private.give_back (
    payment_id uuid,
    charge_id text
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
begin
    select * into strict paid from public.payments as p where p.id = give_back.payment_id for no key update;
    if paid.provider = 'wallet' then
        -- Nothing was taken yet.
        perform private.fail('item_not_available');
    end if;
    perform ledger.post(
        'unapplied', 'unapplied:' || paid.id,
        array[
            ledger.leg(null, 'clearing:' || paid.provider, -paid.amount_cents),
            ledger.leg(null, 'refunds_payable', paid.amount_cents)
        ],
        paid.id, paid.currency
    );
    update public.payments as p set
        status = 'succeeded', succeeded_at = now(), charge_id = give_back.charge_id,
        failure_reason = 'item_not_available'
    where p.id = paid.id;
    perform private.release_holds(array[paid.order_id]);
    update public.orders as o set status = 'cancelled', status_reason = 'item_not_available'
    where o.id = paid.order_id and o.status in ('pending', 'cancelled');
    if give_back.charge_id = any (paid.declined_charges) then
        perform private.reverse_charge(paid.id, give_back.charge_id);
    else
        perform private.create_refund(paid.id, null, paid.amount_cents, 'item_not_available');
    end if;
    return 'refunding';
end
$function$;

create or replace function private.grant_orders (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    sold record;
    granted uuid[];
begin
    for sold in
        select i.kind, array_agg(i.id order by i.id) as lines
        from public.order_items as i
        where i.order_id = any (orders)
        group by i.kind
        order by i.kind
    loop
        with granted_now as (
            insert into public.purchases (
                order_item_id, item_id, option_id, unit, kind, owner_id, payer_id, is_owned_once, is_single, price_cents,
                currency
            )
            select
                i.id, u.item_id, u.option_id, u.unit, i.kind, i.buyer_id, i.buyer_id,
                i.is_owned_once and not (u.is_extra and private.owns_item(i.buyer_id, u.item_id)),
                coalesce(c.is_unique, false) and not u.is_extra,
                case when u.is_extra then 0 else i.total_cents / case when i.is_counted then i.quantity else 1 end end,
                i.currency
            from private.dispatch_units(sold.kind, sold.lines) as u
            inner join public.order_items as i on i.id = u.order_item_id
            left join public.catalog_items as c on c.id = u.item_id
            order by u.item_id, u.option_id, array_position(orders, i.order_id), i.line_no, u.unit
            returning id
        )

        select array_agg(g.id) into granted from granted_now as g;
        if granted is not null then
            perform private.dispatch_grant(sold.kind, granted);
        end if;
    end loop;
    -- What was held is sold now: taken stays as it is. Whoever paid let nothing run out.
    with ended as (
        delete from private.holds as h where h.order_id = any (orders) returning h.order_id, h.item_id
    )

    delete from private.hold_periods as h
    using ended as e
    inner join public.orders as o on o.id = e.order_id
    where h.user_id = o.user_id and h.item_id = e.item_id;
end
$function$;

create or replace function private.has_sold_before (
    seller uuid,
    period interval
)
    returns boolean
    language sql
    stable
    set search_path to ''
    AS $function$
    select exists (
        select from public.transactions as e
        where
            e.seller_id = has_sold_before.seller and e.refunded_cents < e.amount_total_cents
            and e.created_at < now() - has_sold_before.period
    )
$function$;

create or replace function private.hold_lines (
    new_order uuid,
    earlier uuid[] default '{}'::uuid[],
    is_late boolean default false
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    line record;
    before integer;
    problem text;
begin
    -- By item, so that no two orders wait for each other; what can be bought repeatedly may be in several lines.
    for line in
        select
            l.item_id, l.option_id, l.is_unique, l.is_exclusive, sum(l.pieces)::integer as pieces,
            exists (
                select from public.catalog_options as o where o.item_id = l.item_id and o.is_exclusive
            ) as has_exclusive
        from private.limited_lines as l
        where l.order_id = new_order and l.hold_id is null
        group by l.item_id, l.option_id, l.is_unique, l.is_exclusive
        order by l.item_id, l.option_id
    loop
        -- What the buyer holds already goes over, so that nobody comes in between.
        update private.holds as h set order_id = new_order, quantity = line.pieces, created_at = now()
        from (
            select o.id, o.quantity from private.holds as o
            where
                o.order_id = any (earlier) and o.item_id = line.item_id
                and o.option_id is not distinct from line.option_id
            order by o.id
            limit 1
        ) as b
        where h.id = b.id
        returning b.quantity into before;
        continue when before = line.pieces;
        problem := null;
        if before is null then
            -- Money that came late waits for whoever is just taking it.
            if line.is_unique and not is_late and not private.claim_item(line.item_id) then
                perform private.fail('item_reserved', line.item_id::text);
            end if;
            insert into private.holds (item_id, option_id, quantity, is_single, order_id)
            values (line.item_id, line.option_id, line.pieces, line.is_unique, new_order)
            on conflict do nothing;
            if not found then
                problem := 'item_reserved';
            end if;
        end if;
        if problem is null and not line.is_unique then
            problem := private.take_stock(
                line.item_id, line.option_id, line.pieces - coalesce(before, 0), new_order
            );
        end if;
        -- The item is locked: whoever holds the exclusive option holds all of it.
        if problem is null and line.has_exclusive and exists (
            select from private.holds as h
            where
                h.item_id = line.item_id and h.order_id is distinct from new_order
                and (
                    line.is_exclusive or h.option_id in (
                        select o.id from public.catalog_options as o where o.item_id = line.item_id and o.is_exclusive
                    )
                )
        ) then
            problem := 'item_reserved';
        end if;
        if problem is not null then
            perform private.fail(problem, line.item_id::text);
        end if;
    end loop;
    -- Sold or withdrawn while this waited for another buyer's hold to end.
    select l.item_id::text into problem from private.limited_lines as l
    inner join public.catalog_items as c on c.id = l.item_id and not c.is_buyable
    where l.order_id = new_order and l.is_unique
    limit 1;
    if problem is not null then
        perform private.fail('item_sold', problem);
    end if;
end
$function$;

create or replace function private.is_limited (
    item public.catalog_items
)
    returns boolean
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return item.stock is not null or exists (
        select from public.catalog_options as o
        where o.item_id = item.id and (o.stock is not null or o.is_exclusive)
    );
end
$function$;

create or replace function private.is_platform (
    user_id uuid
)
    returns boolean
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
begin
    return user_id = uuid 'a7e0e000-0000-4000-8000-000000000000';
end
$function$;

create or replace function private.lock_orders (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    agreed uuid[];
    goods record;
begin
    perform from public.orders as o where o.id = any (lock_orders.orders) order by o.id for no key update;
    agreed := array(
        select i.payable_id from public.order_items as i
        where i.order_id = any (lock_orders.orders) and i.payable_id is not null
    );
    if agreed <> '{}' then
        perform from public.payables as p where p.id = any (agreed) order by p.id for no key update;
    end if;
    for goods in
        select i.kind, array_agg(i.item_id) as items
        from public.order_items as i
        inner join private.kinds as k on k.kind = i.kind and 'lock_own' = any (k.hooks)
        where i.order_id = any (lock_orders.orders) and i.item_id is not null
        group by i.kind
        order by i.kind
    loop
        perform private.dispatch_lock_own(goods.kind, goods.items);
    end loop;
    perform private.lock_stock(lock_orders.orders);
end
$function$;

create or replace function private.lock_stock (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform from public.catalog_items as c
    where
        c.id in (select l.item_id from private.limited_lines as l where l.order_id = any (orders))
        and not c.is_unique
    order by c.id
    for no key update;
end
$function$;

create or replace function private.money_waiting()
    returns table (
        account text,
        subject text,
        amount_cents bigint,
        since timestamp with time zone,
        problem text,
        needs_person boolean
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with waiting as (
        select
            'refunds_payable' as account, 'payment ' || p.id as subject,
            p.amount_cents - p.refunded_cents as amount_cents,
            p.succeeded_at as since,
            case when o.is_open then 'refund under way' else 'taken, not delivered, not given back' end as problem,
            not o.is_open as failed
        from public.payments as p
        cross join lateral (
            select exists (
                select from public.refunds as r where r.payment_id = p.id and r.is_open
            ) as is_open
        ) as o
        where
            p.failure_reason = 'item_not_available' and p.succeeded_at is not null
            and p.refunded_cents < p.amount_cents
        union all
        select
            'payouts_in_transit', 'payout ' || p.id, p.amount_cents, p.requested_at,
            case p.status when 'requested' then 'waits for an admin' else 'waits for the provider: ' || p.status end,
            false
        from public.payouts as p
        where p.is_open
        union all
        select 'refunds', 'refund ' || r.id, r.amount_cents, r.created_at, 'waits for the provider: ' || r.status, false
        from public.refunds as r
        where r.is_open
        union all
        -- Promised to a buyer, failed, and not made good since; undeliverable goods are above.
        select 'refunds', 'refund ' || r.id, r.amount_cents, r.updated_at, 'failed, not made again', true
        from public.refunds as r
        inner join public.payments as p on p.id = r.payment_id
        where
            r.status in ('failed', 'cancelled') and p.refunded_cents < p.amount_cents and p.charge_reversed_at is null
            and p.failure_reason is distinct from 'item_not_available'
            and not exists (
                select from public.refunds as n
                where
                    n.payment_id = r.payment_id and n.order_item_id is not distinct from r.order_item_id
                    and n.created_at > r.created_at and (n.is_open or n.status = 'succeeded')
            )
        union all
        select
            'sale_reviews', 'transaction ' || v.transaction_id, t.cents, v.created_at, 'held for review', false
        from public.sale_reviews as v
        cross join lateral (
            select sum(p.pending_cents)::bigint as cents from public.transaction_payees as p
            where p.transaction_id = v.transaction_id
        ) as t
        where v.released_at is null and t.cents > 0
    )

    select
        w.account, w.subject, w.amount_cents, w.since, w.problem,
        w.failed or w.since < now() - (select s.stuck_money_after from private.settings as s)
    from waiting as w
    order by w.since
$function$;

create or replace function private.ordered_at (
    user_id uuid,
    item_id uuid
)
    returns timestamp with time zone
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return (
        select min(i.created_at)
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        where p.owner_id = ordered_at.user_id and p.item_id = ordered_at.item_id and p.revoked_at is null
    );
end
$function$;

create or replace function private.owns_item (
    user_id uuid,
    item_id uuid
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select exists (
        select from public.purchases as p
        where p.owner_id = owns_item.user_id and p.item_id = owns_item.item_id and p.revoked_at is null
    )
$function$;

create or replace function private.payee_legs (
    transaction_id uuid
)
    returns ledger.leg[]
    language plpgsql
    set search_path to ''
    AS $function$
declare
    sale public.transactions;
    stands boolean;
    payee record;
    change bigint;
    pending bigint;
    legs ledger.leg[] := '{}'::ledger.leg[];
begin
    select * into strict sale from public.transactions as t where t.id = payee_legs.transaction_id for no key update;
    stands := sale.refunded_cents < sale.amount_total_cents and not exists (
        select from public.payments as p where p.id = sale.payment_id and p.charge_reversed_at is not null
    );
    for payee in
        with shares as (
            -- Ties of the largest remainder are broken by a hash, so that nobody's place is the luckier one.
            select p.*, row_number() over (order by md5(p.transaction_id::text || p.payee_id)) as no
            from public.transaction_payees as p
            where p.transaction_id = sale.id
        ),

        parts as (
            select
                private.split_signed(sale.amount_seller_cents, array_agg(s.share_bps::bigint order by s.no)) as cents,
                private.split_signed(
                    sale.amount_seller_cents - sale.refunded_seller_cents,
                    array_agg(s.share_bps::bigint order by s.no)
                ) as kept
            from shares as s
        )

        select s.*, a.cents[s.no] as new_cents, a.cents[s.no] - a.kept[s.no] as new_refunded
        from shares as s
        cross join parts as a
        order by s.payee_id
    loop
        change := (payee.new_cents - payee.new_refunded) - (payee.cents - payee.refunded_cents);
        pending := case
            when change < 0 then -least(-change, payee.pending_cents)
            when payee.release_journal_id is null and stands
                then least(change, greatest(payee.new_cents - payee.pending_cents, 0))
            else 0
        end;
        update public.transaction_payees as p set
            cents = payee.new_cents, refunded_cents = payee.new_refunded, pending_cents = p.pending_cents + pending
        where
            p.transaction_id = sale.id and p.payee_id = payee.payee_id
            and (p.cents, p.refunded_cents, pending) is distinct from (payee.new_cents, payee.new_refunded, 0);
        if pending <> 0 then
            legs := legs || ledger.leg(payee.payee_id, 'pending', pending);
        end if;
        legs := legs || case
            when change < 0 then private.debit_legs(payee.payee_id, pending - change)
            else private.credit_legs(payee.payee_id, change - pending)
        end;
    end loop;
    return legs;
end
$function$;

create or replace function private.payees_of (
    payment_id uuid
)
    returns uuid[]
    language sql
    stable
    set search_path to ''
    AS $function$
    select array(
        select distinct p.payee_id
        from public.transactions as t
        inner join public.transaction_payees as p on p.transaction_id = t.id
        where t.payment_id = payees_of.payment_id
    )
$function$;

create or replace function private.payees_to_be (
    orders uuid[]
)
    returns SETOF private.line_payee
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    sold record;
begin
    for sold in
        select i.kind, array_agg(i.id order by i.id) as lines
        from public.order_items as i
        where
            i.order_id = any (payees_to_be.orders) and i.charged_cents > 0 and not private.is_platform(i.seller_id)
        group by i.kind
        order by i.kind
    loop
        return query select p.* from private.dispatch_payees(sold.kind, sold.lines) as p;
    end loop;
end
$function$;

create or replace function private.place_order (
    buyer uuid,
    lines private.order_line[],
    provider public.payment_provider,
    shipping_address jsonb,
    notes text,
    pay_by timestamp with time zone default null::timestamp with time zone
)
    returns uuid
    language plpgsql
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    limits private.settings;
    total bigint;
    held uuid[] := array(select distinct l.item_id from unnest(lines) as l where l.is_held order by l.item_id);
    new_order uuid;
    new_payment uuid;
    superseded uuid[];
    replaced uuid[];
    attempt uuid;
begin
    select * into strict limits from private.settings;
    select sum(l.unit_price_cents * l.quantity - l.discount_cents + l.shipping_cents) into total
    from unnest(lines) as l;
    if total > private.highest_amount_cents() then
        perform private.fail('amount_out_of_range', format('at most %s cents', private.highest_amount_cents()));
    elsif total between 1 and private.lowest_price_cents() - 1 and place_order.provider <> 'wallet' then
        perform private.fail('amount_out_of_range', format('at least %s cents', private.lowest_price_cents()));
    end if;

    insert into public.orders (
        user_id, subtotal_cents, discount_cents, shipping_cents, total_cents, shipping_address, notes
    )
    select
        buyer, sum(l.unit_price_cents * l.quantity), sum(l.discount_cents), sum(l.shipping_cents), total,
        place_order.shipping_address, place_order.notes
    from unnest(lines) as l
    returning id into new_order;
    insert into public.order_items (
        order_id, line_no, kind, item_id, option_id, payable_id, buyer_id, seller_id, title, description, license_type,
        license_text, license_version, details, unit_price_cents, quantity, discount_cents, shipping_cents, seller_tier,
        commission_bps, is_counted, is_held, is_owned_once, is_shipped
    )
    select
        new_order, l.line_no, l.kind, l.item_id, l.option_id, l.payable_id, buyer, l.seller_id, l.title, l.description,
        l.license_type, l.license_text, l.license_version, l.details, l.unit_price_cents, l.quantity, l.discount_cents,
        l.shipping_cents, l.seller_tier, l.commission_bps, l.is_counted, l.is_held, l.is_owned_once, l.is_shipped
    from unnest(lines) as l;

    -- The buyer's own earlier attempts at the same give way: nobody pays twice for one thing. Their payments are locked
    -- first, as settlement does.
    superseded := array(
        select p.id from public.payments as p
        where
            p.user_id = buyer and p.is_open
            and p.order_id in (
                select i.order_id from public.order_items as i
                inner join unnest(lines) as l
                    on
                        l.payable_id = i.payable_id
                        or num_nonnulls(l.payable_id, i.payable_id) = 0 and not l.is_repeatable and l.item_id = i.item_id
                where i.buyer_id = buyer
            )
        order by p.id
        for no key update
    );
    replaced := array(select p.order_id from public.payments as p where p.id = any (superseded));

    if total > 0 then
        insert into public.payments (
            user_id, order_id, amount_cents, provider, fee_estimate_cents, provider_fee_cents, expires_at, status
        ) values (
            buyer, new_order, total, place_order.provider,
            private.processing_fee(place_order.provider, total, 'USD'),
            case when place_order.provider = 'wallet' then 0 end,
            least(now() + limits.payment_period, pay_by),
            case
                when place_order.provider = 'wallet' then 'processing' else 'requires_payment'
            end::public.payment_status
        ) returning id into new_payment;
    end if;
    -- Last: others wait for these rows. What is paid at once is locked as settlement does.
    if total = 0 or place_order.provider = 'wallet' then
        perform private.lock_orders(new_order || replaced);
    elsif replaced <> '{}' then
        perform private.lock_stock(new_order || replaced);
    end if;
    if cardinality(held) > 0 then
        perform private.hold_lines(new_order, replaced);
    end if;
    foreach attempt in array superseded loop
        perform private.stop_payment(attempt, 'superseded');
    end loop;
    if cardinality(held) > 0 and total > 0 and place_order.provider <> 'wallet' then
        update public.payments as p set expires_at = least(private.begin_holds(buyer, held), pay_by)
        where p.id = new_payment;
    end if;

    if total = 0 then
        if cardinality(private.deliverable_orders(array[new_order])) = 0 then
            perform private.fail('item_not_available');
        end if;
        perform private.deliver_orders(array[new_order]);
    elsif place_order.provider = 'wallet' then
        perform private.lock_wallets(
            array(select p.payee_id from private.payees_to_be(array[new_order]) as p) || buyer
        );
        if private.spendable_cents(buyer) < total then
            perform private.fail('insufficient_funds');
        end if;
        perform private.settle_payment(new_payment);
    end if;
    return new_order;
end
$function$;

create or replace function private.product_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return query
    select
        l.no, p.description, coalesce((o.details ->> 'license_type')::public.license_type, p.license_type),
        case when o.details ? 'license_type' then o.details ->> 'license_text' else p.license_text end,
        p.license_version,
        jsonb_build_object('technical_details', p.technical_details) || case
            -- What was sold before stays valid beside an exclusive licence.
            when o.is_exclusive then jsonb_build_object('earlier_licenses', (
                select coalesce(jsonb_object_agg(e.license_type, e.n), '{}')
                from (
                    select i.license_type, count(*) as n
                    from public.purchases as b
                    inner join public.order_items as i on i.id = b.order_item_id
                    where b.item_id = p.id and b.revoked_at is null and i.license_type is not null
                    group by i.license_type
                ) as e
            ))
            else '{}'
        end,
        0::bigint,
        case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end
    from unnest(lines) as l
    inner join public.products as p on p.id = l.item_id
    left join public.catalog_options as o on o.id = l.option_id;
end
$function$;

create or replace function private.product_check_option (
    ids uuid[],
    options public.catalog_options[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    option public.catalog_options;
    license text;
begin
    foreach option in array options loop
        perform private.require_keys(option.details, '{license_type,license_text}', 'invalid_option');
        license := option.details ->> 'license_type';
        if license not in ('personal', 'commercial', 'exclusive', 'custom') then
            perform private.fail('invalid_option', 'license_type');
        elsif char_length(option.details ->> 'license_text') > 20000
            or license = 'custom' and option.details ->> 'license_text' is null then
            perform private.fail('invalid_option', 'license_text');
        elsif (license = 'exclusive') is distinct from option.is_exclusive and option.details ? 'license_type' then
            perform private.fail('invalid_option', 'is_exclusive');
        end if;
    end loop;
end
$function$;

create or replace function private.promised_back (
    payee uuid,
    line uuid default null::uuid,
    more_cents bigint default 0,
    fee_bearer text default 'seller'::text
)
    returns bigint
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with promises as (
        select r.order_item_id, r.amount_cents, r.fee_bearer
        from public.refunds as r
        where r.is_open and r.order_item_id is not null
        union all
        -- One of a whole payment will be spread over its lines by what is left of them.
        select t.order_item_id, ceil(
            r.amount_cents * (t.amount_total_cents - t.refunded_cents)
            / nullif(sum(t.amount_total_cents - t.refunded_cents) over (partition by r.id), 0)
        )::bigint, r.fee_bearer
        from public.refunds as r
        inner join public.transactions as t on t.payment_id = r.payment_id
        where r.is_open and r.order_item_id is null
        union all
        select promised_back.line, promised_back.more_cents, promised_back.fee_bearer
    ),

    lines as (
        -- Of one that both bear, as if the seller did: the more careful of the two.
        select p.order_item_id, sum(p.amount_cents)::bigint as cents, max(p.fee_bearer) as fee_bearer
        from promises as p
        group by p.order_item_id
    )

    select coalesce(sum(greatest(
        ceil(s.seller * e.share_bps / 10000.0)::bigint - e.pending_cents, 0
    )), 0)::bigint
    from lines as l
    inner join public.transactions as t on t.order_item_id = l.order_item_id
    inner join public.transaction_payees as e on e.transaction_id = t.id and e.payee_id = promised_back.payee
    cross join lateral private.split_refund(
        t, least(l.cents, t.amount_total_cents - t.refunded_cents), l.fee_bearer
    ) as s
$function$;

create or replace function private.read_lines (
    buyer uuid,
    wanted jsonb,
    country text default null::text
)
    returns SETOF private.order_line
    language plpgsql
    set search_path to ''
    AS $function$
declare
    lines private.order_line[];
    asked record;
    facts private.line_facts[] := '{}';
begin
    -- The only look at the items: what is checked here is what is written and charged. Locked, so that it is the last
    -- committed state and the item stays; a seller may go on editing, as if the order had been a moment earlier.
    with item as materialized (
        select c.* from public.catalog_items as c
        where c.id in (select (w.line ->> 'item_id')::uuid from jsonb_array_elements(wanted) as w (line))
        order by c.id
        for key share
    ),

    line as (
        select
            w.no,
            (w.line ->> 'item_id')::uuid as item_id,
            (w.line ->> 'option_id')::uuid as option_id,
            (w.line ->> 'quantity')::integer as quantity,
            (w.line ->> 'offered_price_cents')::bigint as offered_cents,
            -- The most a piece may cost: what the cart showed, or what the client says it showed.
            coalesce(w.line ->> 'shown_price_cents', w.line ->> 'offered_price_cents')::bigint as agreed_cents,
            coalesce(w.line -> 'details', '{}') as details,
            count(*) over (partition by w.line ->> 'item_id', w.line ->> 'option_id') as times
        from jsonb_array_elements(wanted) with ordinality as w (line, no)
    )

    select array_agg(row(
        l.no, c.kind, l.item_id, l.option_id, null, c.seller_id,
        c.title || case when o.id is null then '' else ' (' || o.title || ')' end, null, null, null, null, l.details,
        u.cents, l.quantity, 0, 0, terms.tier, terms.commission_bps, c.is_repeatable, n.is_counted,
        private.is_limited(c), not c.is_repeatable and not n.is_counted, c.requires_shipping, e.problem,
        case
            when e.problem = 'price_too_low' then format('%s: minimum is %s cents', l.item_id, u.least_cents)
            when e.problem = 'option_not_available' then l.option_id::text
            else l.item_id::text
        end
    )::private.order_line order by l.no) into lines
    from line as l
    -- Who blocked the buyer, or was blocked by them, sells them nothing; what the buyer cannot see does not exist.
    left join item as c
        on
            c.id = l.item_id and c.seller_id <> all (array(select private.blocked_ids()))
            and (c.is_visible or c.seller_id = buyer or private.owns_item(buyer, c.id))
    left join public.catalog_options as o on o.id = l.option_id and o.item_id = c.id and o.is_active
    left join lateral private.sale_terms(c.kind, c.seller_id) as terms on true
    cross join lateral (
        select coalesce(c.stock > 1, false) or coalesce(o.stock > 1, false) as is_counted
    ) as n
    cross join lateral private.price_of(
        coalesce(o.price_cents, c.price_cents), case when o.id is null then c.minimum_price_cents end,
        l.offered_cents, l.agreed_cents
    ) as u
    cross join lateral (
        select case
            when c.id is null then 'item_not_available'
            when l.option_id is not null and o.id is null then 'option_not_available'
            when l.times > 1 and not c.is_repeatable then 'duplicate_item'
            when c.seller_id = buyer then 'own_item'
            when not c.is_repeatable and not n.is_counted and exists (
                select from public.purchases as p
                where
                    p.owner_id = buyer and p.item_id = c.id and p.option_id is not distinct from l.option_id
                    and p.revoked_at is null
            ) then 'already_owned'
            when not c.is_buyable and (c.is_unique or c.is_sold_out) then 'item_sold'
            when not c.is_buyable then 'item_not_available'
            when l.quantity < 1 or ((c.is_unique or o.stock = 1) and l.quantity > 1) then 'quantity_not_allowed'
            else u.problem
        end as problem
    ) as e;

    for asked in
        select
            l.kind, array_agg(l.item_id order by l.line_no) as items,
            array_agg(row(
                l.line_no, l.item_id, l.option_id, l.quantity, l.unit_price_cents, l.details, buyer
            )::private.wanted_line order by l.line_no) as lines
        from unnest(lines) as l
        where l.problem is null
        group by l.kind
        order by l.kind
    loop
        facts := facts || array(select f from private.dispatch_check_line(asked.kind, asked.items, asked.lines) as f);
    end loop;
    return query
    select
        l.line_no, l.kind, l.item_id, l.option_id, l.payable_id, l.seller_id, l.title, f.description, f.license_type,
        f.license_text, f.license_version, f.details, l.unit_price_cents, l.quantity, f.discount_cents,
        coalesce(s.cents, 0), l.seller_tier, l.commission_bps, l.is_repeatable, l.is_counted, l.is_held,
        l.is_owned_once, l.is_shipped,
        coalesce(l.problem, f.problem, case
            when l.is_shipped and read_lines.country is null then 'address_required'
            when l.is_shipped and s.cents is null then 'shipping_not_available'
        end),
        case when l.problem is null and f.problem is not null then f.detail else l.detail end
    from unnest(lines) as l
    left join unnest(facts) as f on f.no = l.line_no
    left join lateral (
        select private.shipping_price(l.seller_id, read_lines.country, (
            select sum(o.unit_price_cents * o.quantity - coalesce(x.discount_cents, 0))::bigint
            from unnest(lines) as o
            left join unnest(facts) as x on x.no = o.line_no
            where o.seller_id = l.seller_id and o.is_shipped
        )) as cents
    ) as s on l.is_shipped and read_lines.country is not null
    order by l.line_no;
end
$function$;

create or replace function private.redo_refund (
    refund_id uuid,
    outside_reference text,
    actor uuid default null::uuid,
    actor_label text default null::text
)
    returns uuid
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    paid public.payments;
    new_refund uuid;
begin
    select p.* into paid from public.payments as p
    where p.id = (select r.payment_id from public.refunds as r where r.id = redo_refund.refund_id)
    for no key update;
    select * into refund from public.refunds as r where r.id = redo_refund.refund_id for no key update;
    if refund.id is null or refund.status not in ('failed', 'cancelled') then
        perform private.fail('refund_not_failed');
    end if;
    if paid.user_id = actor then
        perform private.fail('own_wallet');
    end if;
    new_refund := private.create_refund(
        paid.id, refund.order_item_id, refund.amount_cents, refund.reason,
        case when refund.origin = 'automatic' then 'automatic' else 'admin' end::public.refund_origin,
        outside_reference, refund.fee_bearer
    );
    perform private.audit(
        case when outside_reference is null then 'retry_refund' else 'pay_refund_outside' end, 'refund', new_refund,
        jsonb_strip_nulls(jsonb_build_object(
            'failed_refund_id', refund.id, 'amount_cents', refund.amount_cents, 'reference', outside_reference
        )),
        redo_refund.actor_label
    );
    return new_refund;
end
$function$;

create or replace function private.refund_line (
    transaction_id uuid,
    amount_cents bigint,
    reason text,
    origin public.refund_origin,
    fee_bearer text default 'seller'::text
)
    returns uuid
    language plpgsql
    set search_path to ''
    AS $function$
declare
    sale public.transactions;
    debt_limit bigint := (select s.seller_debt_cents from private.settings as s);
    wanted bigint;
begin
    perform private.require_reason(reason);
    select * into strict sale from public.transactions as t where t.id = transaction_id;
    -- In the order of book_refund(), which a wallet payment reaches from here.
    perform from public.payments as p where p.id = sale.payment_id for no key update;
    if sale.payment_processor = 'wallet' then
        perform private.lock_orders(array(select p.order_id from public.payments as p where p.id = sale.payment_id));
    end if;
    perform from public.transactions as t where t.payment_id = sale.payment_id order by t.id for no key update;
    -- A refund through the provider is booked later: until then it is this seller's alone.
    perform private.lock_wallets(case
        when sale.payment_processor = 'wallet' then private.payees_of(sale.payment_id) || sale.buyer_id
        else array(select p.payee_id from public.transaction_payees as p where p.transaction_id = sale.id)
    end);
    select * into strict sale from public.transactions as t where t.id = transaction_id;
    wanted := coalesce(refund_line.amount_cents, sale.amount_total_cents - sale.refunded_cents);
    -- The provider keeps its fee, so giving back a first sale makes a debt: a small one, or each sale to a friend that
    -- is given back burns another fee at the platform's cost.
    if origin = 'seller' and wanted between 1 and sale.amount_total_cents - sale.refunded_cents and exists (
        select from public.transaction_payees as p
        where
            p.transaction_id = sale.id
            and private.spendable_cents(p.payee_id, sale.order_item_id, wanted) < -debt_limit
    ) then
        perform private.fail('insufficient_funds', format(
            'a seller may owe at most %s cents after a refund; ask an admin', debt_limit
        ));
    end if;
    return private.create_refund(sale.payment_id, sale.order_item_id, wanted, reason, origin, null, refund_line.fee_bearer);
end
$function$;

create or replace function private.release_holds (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    freed record;
begin
    for freed in
        with gone as (
            delete from private.holds as h where h.order_id = any (orders) returning h.*
        )

        select g.item_id, g.option_id, sum(g.quantity)::integer as quantity
        from gone as g
        inner join public.catalog_items as c on c.id = g.item_id
        left join public.catalog_options as o on o.id = g.option_id
        where c.stock > 1 or o.stock is not null
        group by g.item_id, g.option_id
        order by g.item_id, g.option_id
    loop
        perform private.take_stock(freed.item_id, freed.option_id, -freed.quantity);
    end loop;
end
$function$;

create or replace function private.release_matured_earnings (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    ready uuid[];
    payees uuid[];
    released_journal bigint;
    legs ledger.leg[];
begin
    -- What is not done has no date. A freeze is a row that is asked for here, never a moved date: a ban (the money is
    -- held, not lost: docs/money.md, sharp case 24), a review of the sale.
    ready := array(
        select t.id from public.transactions as t
        where
            t.release_journal_id is null and t.release_at <= now()
            and not exists (
                select from public.sale_reviews as r where r.transaction_id = t.id and r.released_at is null
            )
            and exists (
                select from public.transaction_payees as p
                where
                    p.transaction_id = t.id and p.release_journal_id is null
                    and not exists (select from public.bans as b where b.user_id = p.payee_id)
            )
        order by t.release_at
        limit max_rows
        for no key update skip locked
    );
    if cardinality(ready) = 0 then
        return 0;
    end if;
    payees := array(
        select distinct p.payee_id from public.transaction_payees as p
        where
            p.transaction_id = any (ready) and p.release_journal_id is null
            and not exists (select from public.bans as b where b.user_id = p.payee_id)
    );
    perform private.lock_wallets(payees);

    select array_agg(ledger.leg(s.payee_id, l.account, l.amount)) into legs
    from (
        select
            p.payee_id, sum(p.pending_cents)::bigint as pending,
            least(sum(p.pending_cents), w.debt_cents)::bigint as debt
        from public.transaction_payees as p
        inner join public.wallets as w on w.user_id = p.payee_id
        where p.transaction_id = any (ready) and p.payee_id = any (payees) and p.release_journal_id is null
        group by p.payee_id, w.debt_cents
    ) as s
    cross join lateral (
        values ('pending', -s.pending), ('debt', s.debt), ('available', s.pending - s.debt)
    ) as l (account, amount)
    where l.amount <> 0;

    if legs is not null then
        released_journal := ledger.post('release', 'release:' || gen_random_uuid(), legs);
    end if;
    update public.transaction_payees as p set pending_cents = 0, release_journal_id = coalesce(released_journal, 0)
    where p.transaction_id = any (ready) and p.payee_id = any (payees) and p.release_journal_id is null;
    update public.transactions as t set release_journal_id = coalesce(released_journal, 0)
    where
        t.id = any (ready) and not exists (
            select from public.transaction_payees as p
            where p.transaction_id = t.id and p.release_journal_id is null
        );
    return cardinality(ready);
end
$function$;

create or replace function private.require_contact (
    user_ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    unknown text;
begin
    -- Asked before anything is locked, so that nobody learns who exists by how long it takes, and again when the
    -- accounts cannot be deleted any more.
    for attempt in 1..2 loop
        select string_agg(coalesce(u.id::text, 'null'), ', ' order by u.id) into unknown
        from unnest(user_ids) as u (id)
        where not private.is_visible_to(u.id, caller) or private.is_platform(u.id);
        if unknown is not null then
            perform private.fail('user_not_found', unknown);
        elsif not coalesce((select bool_and(private.is_visible_to(caller, u.id)) from unnest(user_ids) as u (id)), true)
        then
            perform private.fail('profile_hidden');
        end if;
        perform from public.profiles as p where p.id = any(caller || user_ids) order by p.id for key share;
    end loop;
end
$function$;

create or replace function private.restore_line (
    line uuid
)
    returns void
    language sql
    set search_path to ''
    AS $function$
    select private.restore_purchases(array(
        select p.id from public.purchases as p
        where p.order_item_id = restore_line.line and p.revoked_reason in ('refunded', 'declined')
        order by p.id
    ))
$function$;

create or replace function private.restore_purchases (
    ids uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    given uuid[];
    away uuid[];
    back record;
begin
    perform from public.catalog_items as c
    where c.id in (select p.item_id from public.purchases as p where p.id = any (restore_purchases.ids))
    order by c.id
    for no key update;
    -- Somebody has it now: money is booked as the provider reports it, people must settle the rest.
    for back in
        with given as (
            -- How many pieces of the item and of the option it takes with those before it.
            select
                p.*, count(*) filter (where not p.is_away) over (partition by p.item_id order by p.id) as pieces,
                count(*) filter (where not p.is_away) over (partition by p.option_id order by p.id) as option_pieces
            from public.purchases as p
            where p.id = any (restore_purchases.ids) and p.revoked_at is not null
        )

        select p.*
        from given as p
        where
            (
                p.is_single and exists (
                    select from public.purchases as o
                    where o.item_id = p.item_id and o.is_single and o.revoked_at is null
                )
                or p.is_owned_once and exists (
                    select from public.purchases as o
                    where
                        o.owner_id = p.owner_id and o.item_id = p.item_id
                        and o.option_id is not distinct from p.option_id and o.is_owned_once and o.revoked_at is null
                )
                or not p.is_single and not p.is_away and exists (
                    select from public.catalog_items as c
                    left join public.catalog_options as o on o.id = p.option_id
                    where
                        c.id = p.item_id and (
                            c.stock > 1 and p.pieces > c.stock - c.taken - case
                                when o.is_set_aside then 0
                                else (
                                    select coalesce(sum(a.stock - a.taken), 0) from public.catalog_options as a
                                    where a.item_id = c.id and a.is_set_aside
                                )
                            end
                            or p.option_pieces > o.stock - o.taken
                        )
                )
            )
        order by p.id
    loop
        perform private.audit('refund_failed_after_resale', 'order_item', back.order_item_id, jsonb_build_object(
            'purchase_id', back.id, 'item_id', back.item_id
        ));
        ids := array_remove(restore_purchases.ids, back.id);
    end loop;
    away := array(select p.id from public.purchases as p where p.id = any (restore_purchases.ids) and p.is_away);
    with given_back as (
        update public.purchases as p set
            revoked_at = null, revoked_reason = null, is_away = false,
            -- Its number may be another copy's now.
            number = case
                when p.is_away or not exists (
                    select from public.purchases as o
                    where
                        o.item_id = p.item_id and o.option_id is not distinct from p.option_id
                        and o.number = p.number and o.id <> p.id and (o.revoked_at is null or o.is_away)
                ) then p.number
            end
        where p.id = any (restore_purchases.ids) and p.revoked_at is not null
        returning p.id
    )

    select array_agg(g.id) into given from given_back as g;
    if given is null then
        return;
    end if;
    for back in
        select p.item_id, p.option_id, count(*)::integer as pieces
        from public.purchases as p
        inner join public.catalog_items as c on c.id = p.item_id
        where
            p.id = any (given) and p.id <> all (away) and not p.is_single
            and (c.stock is not null or p.option_id is not null)
        group by p.item_id, p.option_id
        order by p.item_id, p.option_id
    loop
        update public.catalog_items as c set taken = c.taken + case when c.stock > 1 then back.pieces else 0 end
        where c.id = back.item_id;
        update public.catalog_options as o
        set taken = o.taken + back.pieces
        where o.id = back.option_id and o.stock is not null;
    end loop;
    perform private.dispatch_purchases('restore', given);
end
$function$;

create or replace function private.return_line (
    line uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    returned uuid[];
begin
    perform private.lock_orders(array(select i.order_id from public.order_items as i where i.id = line));
    with back as (
        update public.purchases as p set is_away = false
        where p.order_item_id = return_line.line and p.is_away and p.revoked_reason <> 'lost'
        returning p.id
    )

    select array_agg(b.id) into returned from back as b;
    if returned is not null then
        perform private.free_purchases(returned, 'returned');
    end if;
end
$function$;

create or replace function private.reverse_charge (
    payment_id uuid,
    charge_id text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    rest bigint;
begin
    select * into strict paid from public.payments as p where p.id = reverse_charge.payment_id for no key update;
    if paid.charge_reversed_at is not null then
        return;
    end if;
    update public.payments as p set charge_reversed_at = now() where p.id = paid.id;
    perform private.lock_orders(array[paid.order_id]);
    update public.refunds as r set status = 'cancelled', failure_reason = 'charge_declined'
    where r.payment_id = paid.id and r.status = 'requested' and r.sent_at is null;
    -- Unlike a refund, a declined charge costs nothing: the provider gives its fee back with it.
    perform private.set_provider_fee(paid.id, 0, 'fee_returned');
    rest := paid.amount_cents - paid.refunded_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r
        where r.payment_id = paid.id and r.is_open
    ), 0);
    if rest > 0 then
        perform private.book_decline(paid.id, reverse_charge.charge_id, rest);
    end if;
end
$function$;

create or replace function private.reverse_refund (
    refund_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    paid public.payments;
    line public.refund_lines;
    sale public.transactions;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = reverse_refund.refund_id for no key update;
    if refund.booked_at is null or refund.reversed_at is not null then
        return;
    end if;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    money_account := 'clearing:' || paid.provider;
    perform private.lock_orders(array[paid.order_id]);
    -- Sales before wallets, as earnings are released.
    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    perform private.lock_wallets(private.payees_of(paid.id));
    if not exists (select from public.refund_lines as l where l.refund_id = refund.id) then
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id,
            array[
                ledger.leg(null, money_account, -refund.amount_cents),
                ledger.leg(null, 'refunds_payable', refund.amount_cents)
            ],
            refund.id, paid.currency
        );
    end if;
    for line in select * from public.refund_lines as l where l.refund_id = refund.id order by l.transaction_id loop
        select * into strict sale from public.transactions as t where t.id = line.transaction_id for no key update;
        select refund.id, sale.id, -line.amount_cents, s.tax, s.commission, s.seller, s.fee into line
        from private.split_refund(sale, -line.amount_cents, refund.fee_bearer) as s;
        perform private.apply_refund_line(line, refund.fee_bearer);
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id || ':' || line.transaction_id,
            private.moving_legs(array[
                ledger.leg(null, money_account, line.amount_cents),
                ledger.leg(null, 'tax_payable', -line.tax_cents),
                ledger.leg(null, 'revenue', -line.commission_cents - line.fee_cents)
            ]) || private.payee_legs(line.transaction_id),
            refund.id, paid.currency
        );
    end loop;
    update public.refunds as r set reversed_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, -refund.amount_cents);
end
$function$;

create or replace function private.revoke_line (
    line uuid,
    reason text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    stays_away boolean := reason = 'lost' or exists (
        select from public.shipments as s where s.order_item_id = line and s.status <> 'returned'
    );
    revoked uuid[];
begin
    perform private.lock_orders(array(select i.order_id from public.order_items as i where i.id = line));
    with taken_back as (
        update public.purchases as p set revoked_at = now(), revoked_reason = reason, is_away = stays_away
        where p.order_item_id = revoke_line.line and p.revoked_at is null
        returning p.id
    )

    select array_agg(t.id) into revoked from taken_back as t;
    if revoked is not null then
        perform private.free_purchases(revoked, reason);
    end if;
end
$function$;

create or replace function private.sale_terms (
    kind text,
    seller_id uuid,
    OUT tier text,
    OUT commission_bps integer
)
    returns record
    language sql
    stable
    set search_path to ''
    AS $function$
    select
        p.tier,
        case
            when k.proceeds = 'platform' or private.is_platform(sale_terms.seller_id) then 10000
            when k.commission = 'none' then 0
            else p.commission_bps
        end
    from private.kinds as k
    cross join private.seller_plan(sale_terms.seller_id) as p
    where k.kind = sale_terms.kind
$function$;

create or replace function private.sell_artworks (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    with sold as (
        select a.id, a.status from public.artworks as a
        inner join public.catalog_items as c on c.id = a.id and c.is_sold_out
        where a.id = any (ids) and a.status <> 'sold'
        order by a.id
        for no key update of a
    ),

    kept as (
        insert into private.artworks_before_sale as b (artwork_id, status)
        select s.id, s.status from sold as s
        on conflict on constraint artworks_before_sale_pkey do update set status = excluded.status
    )

    update public.artworks as a set status = 'sold' from sold as s where a.id = s.id;
end
$function$;

create or replace function private.set_provider_fee (
    payment_id uuid,
    fee_cents bigint,
    journal_key text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    line record;
    sale public.transactions;
    fees bigint[];
    fee_change bigint;
    commission_change bigint;
    restated bigint;
    borne bigint;
    left_over bigint;
    is_platforms boolean;
begin
    select * into strict paid from public.payments as p where p.id = set_provider_fee.payment_id for no key update;
    update public.payments as p set provider_fee_cents = fee_cents where p.id = paid.id;

    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    if not found then
        -- Nothing was sold (see settle_payment): the platform bears the fee the provider keeps.
        fee_change := fee_cents - coalesce(paid.provider_fee_cents, 0);
        if fee_change <> 0 then
            perform ledger.post(
                'fee_adjustment', journal_key || ':' || paid.id,
                array[
                    ledger.leg(null, 'fees:' || paid.provider, fee_change),
                    ledger.leg(null, 'revenue', -fee_change)
                ],
                paid.id, paid.currency
            );
        end if;
        return;
    end if;

    perform private.lock_wallets(private.payees_of(paid.id));
    select private.split_cents(fee_cents, array_agg(t.amount_total_cents order by i.line_no)) into fees
    from public.transactions as t
    inner join public.order_items as i on i.id = t.order_item_id
    where t.payment_id = paid.id;

    for line in
        select
            t as sale, i.shipping_cents, fees[row_number() over (order by i.line_no)] - t.amount_fees_cents as fee_change
        from public.transactions as t
        inner join public.order_items as i on i.id = t.order_item_id
        where t.payment_id = paid.id
        order by i.line_no
    loop
        sale := line.sale;
        fee_change := line.fee_change;
        continue when fee_change = 0;
        is_platforms := private.is_platform(sale.seller_id);
        -- Of refunds at the platform's cost it bears the fee, a late one too.
        borne := case
            when is_platforms then 0
            else (
                (sale.amount_fees_cents + fee_change) * sale.free_refunded_cents * 2 + sale.amount_total_cents
            ) / (sale.amount_total_cents * 2) - sale.refunded_fee_cents
        end;
        commission_change := case
            when is_platforms then -fee_change
            when sale.refunded_cents = 0 or paid.charge_reversed_at is not null then (private.split_line(
                sale.amount_total_cents, sale.amount_tax_cents, line.shipping_cents,
                sale.amount_fees_cents + fee_change, sale.commission_bps
            )).commission - sale.amount_commission_cents
            -- Once refunds were computed from the agreed split it stays (docs/money.md, sharp case 11) and the seller
            -- bears the change: at most what the sale leaves them. More is the platform's loss, and comes back to it
            -- first.
            when fee_change > 0 then least(greatest(sale.amount_seller_cents, 0) - fee_change, 0)
            else greatest(least(-sale.amount_commission_cents, -fee_change), 0)
        end;
        restated := 0;
        if sale.refunded_cents > 0 and paid.charge_reversed_at is null and not is_platforms then
            -- What was refunded at the platform's cost follows the new split: nobody but the platform has lost by it.
            -- Of the rest the seller has given back some already, and nothing becomes their debt.
            restated := private.free_commission(sale, sale.amount_commission_cents + commission_change)
            - private.free_commission(sale, sale.amount_commission_cents);
            left_over := sale.amount_seller_cents - sale.refunded_seller_cents;
            commission_change := commission_change - greatest(
                least(left_over, 0) - (left_over - fee_change - commission_change + borne + restated), 0
            );
        end if;
        update public.transactions as t set
            amount_fees_cents = t.amount_fees_cents + fee_change,
            amount_commission_cents = t.amount_commission_cents + commission_change,
            amount_seller_cents = t.amount_seller_cents - fee_change - commission_change,
            refunded_fee_cents = t.refunded_fee_cents + borne,
            refunded_seller_cents = t.refunded_seller_cents - borne
        where t.id = sale.id
        returning * into sale;
        -- With the charge taken back nobody keeps anything: what was refunded before follows the split without a fee,
        -- so that the rest ends at zero for the seller and the platform alike.
        if paid.charge_reversed_at is not null and not is_platforms then
            restated := (private.split_refund(sale, 0)).commission;
        end if;
        update public.transactions as t set
            refunded_commission_cents = t.refunded_commission_cents + restated,
            refunded_seller_cents = t.refunded_seller_cents - restated
        where t.id = sale.id and restated <> 0;
        perform ledger.post(
            'fee_adjustment', journal_key || ':' || sale.id,
            private.moving_legs(array[
                ledger.leg(null, 'fees:' || paid.provider, fee_change),
                ledger.leg(null, 'revenue', commission_change - restated - borne)
            ]) || private.payee_legs(sale.id),
            sale.id, paid.currency
        );
    end loop;
end
$function$;

create or replace function private.settle_batch (
    ids bigint[]
)
    returns bigint[]
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    events bigint[];
    payments uuid[];
    charges text[];
    half integer := cardinality(ids) / 2;
begin
    begin
        with event as (
            select e.id, e.payload #> '{data,object}' as object
            from private.webhook_events as e
            where
                e.id = any (settle_batch.ids) and e.status = 'pending' and e.attempts = 0 and e.provider = 'stripe'
                and e.type = 'payment_intent.succeeded' and private.why_foreign(e) is null
                and jsonb_typeof(e.payload #> '{data,object}') = 'object'
            order by e.id
            for no key update skip locked
        ),

        named as (
            select
                e.id, e.object ->> 'id' as intent, e.object #>> '{metadata,payment_id}' as payment,
                e.object ->> 'amount_received' as amount, upper(e.object ->> 'currency') as currency,
                case
                    when jsonb_typeof(e.object -> 'latest_charge') = 'object' then e.object #>> '{latest_charge,id}'
                    else e.object ->> 'latest_charge'
                end as charge
            from event as e
        ),

        paid as (
            select n.id as event_id, p.id, n.charge
            from named as n
            inner join public.payments as p on p.provider_ref = n.intent and p.provider = 'stripe'
            inner join public.orders as o on o.id = p.order_id
            where
                p.is_open and p.succeeded_at is null and p.amount_cents::text = n.amount
                and p.currency::text = n.currency and n.charge is not null and n.charge <> all (p.declined_charges)
                and (p.id::text = lower(n.payment)) is not false
                -- A late one looks for its goods by itself.
                and o.status = 'pending'
            order by p.id
            for no key update of p skip locked
        ),

        -- At most one of a payment, and of several that buy the same for one owner, or pay one payable, the first:
        -- another finds it bought.
        rival as (
            select p.id, min(p.event_id) as event_id, bool_or(x.place > 1) as is_later
            from paid as p
            inner join public.payments as y on y.id = p.id
            left join lateral (
                select (
                    select count(distinct o.id) + 1
                    from paid as o
                    inner join public.payments as z on z.id = o.id
                    inner join public.order_items as j on j.order_id = z.order_id
                    where
                        o.event_id < p.event_id and o.id <> p.id and j.buyer_id = i.buyer_id
                        and (
                            j.payable_id = i.payable_id
                            or i.is_owned_once and j.item_id = i.item_id and j.option_id is not distinct from i.option_id
                        )
                ) as place
                from public.order_items as i
                where i.order_id = y.order_id and (i.is_owned_once or i.payable_id is not null)
            ) as x on true
            group by p.id
        )

        select
            array_agg(r.event_id order by r.event_id), array_agg(r.id order by r.event_id),
            array_agg(p.charge order by r.event_id)
        into events, payments, charges
        from rival as r
        inner join paid as p on p.id = r.id and p.event_id = r.event_id
        where not coalesce(r.is_later, false);
        if events is null then
            return '{}';
        end if;
        perform from private.settle_payments(payments, charges);
        update private.webhook_events as e set
            status = 'processed', processed_at = now(), user_id = p.user_id,
            payload = case when b.deleted_at is null then e.payload else private.without_persons(e.payload) end
        from unnest(events, payments) as u (event_id, payment_id)
        inner join public.payments as p on p.id = u.payment_id
        inner join public.profiles as b on b.id = p.user_id
        where e.id = u.event_id;
        return events;
    exception when others then
        -- Undone. One of them does not settle with the others: smaller groups find out which, and that one says why
        -- when it is processed by itself.
        if half = 0 then
            return '{}';
        end if;
    end;
    return private.settle_batch(ids[:half]) || private.settle_batch(ids[half + 1:]);
end
$function$;

create or replace function private.settle_further_charge (
    first public.payments,
    charge text
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    new_order uuid;
    new_payment uuid;
    promised text;
begin
    if charge = any (first.declined_charges)
        or exists (select from public.payments as p where p.provider_ref = charge and p.provider = first.provider) then
        return 'already_settled';
    end if;
    if not first.charge_id = any (first.declined_charges) then
        perform private.fail('event_too_early', format(
            'payment %s was paid by %s, which must have been declined before %s', first.id, first.charge_id, charge
        ));
    end if;
    insert into public.orders (
        user_id, subtotal_cents, tax_cents, shipping_cents, discount_cents, total_cents, currency, shipping_address, notes
    )
    select
        o.user_id, o.subtotal_cents, o.tax_cents, o.shipping_cents, o.discount_cents, o.total_cents, o.currency,
        o.shipping_address, o.notes
    from public.orders as o
    where o.id = first.order_id
    returning id into new_order;
    -- Whatever a line promises is promised again: every column but its identity.
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into promised
    from pg_catalog.pg_attribute as a
    where
        a.attrelid = 'public.order_items'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        and a.attname not in ('id', 'order_id');
    execute format(
        'insert into public.order_items (order_id, %1$s) select $1, %1$s from public.order_items where order_id = $2', promised
    ) using new_order, first.order_id;
    -- Late money: it holds nothing, and looks for its goods.
    update public.orders as o set status = 'cancelled' where o.id = new_order;
    insert into public.payments (
        user_id, purpose, order_id, amount_cents, currency, provider, provider_ref, fee_estimate_cents, status,
        expires_at, started_at
    ) values (
        first.user_id, first.purpose, new_order, first.amount_cents, first.currency, first.provider, charge,
        first.fee_estimate_cents, 'processing', first.expires_at, first.started_at
    ) returning id into new_payment;
    return private.settle_payment(new_payment, charge);
end
$function$;

create or replace function private.settle_payment (
    payment_id uuid,
    charge_id text default null::text
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform from public.payments as p where p.id = settle_payment.payment_id for no key update;
    return (
        select s.outcome
        from private.settle_payments(array[settle_payment.payment_id], array[settle_payment.charge_id]) as s
    );
end
$function$;

create or replace function private.settle_payments (
    payments uuid[],
    charges text[]
)
    returns table (
        payment_id uuid,
        outcome text
    )
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    limits private.settings;
    orders uuid[];
    delivered uuid[];
    lines private.line_payee[];
    postings ledger.posting[];
    gone record;
begin
    -- In the order of the payments: what is limited or numbered is handed out in it.
    orders := array(
        select p.order_id from unnest(payments) with ordinality as u (id, no)
        inner join public.payments as p on p.id = u.id
        where p.succeeded_at is null
        order by u.no
    );
    perform private.lock_orders(orders);
    lines := array(select p from private.payees_to_be(orders) as p);
    -- Holds were taken before wallets, as in a checkout that pays from one. What follows looks at what others may have
    -- bought, and they sell through the same wallets; what nobody earns waits for its buyer's.
    perform private.lock_wallets(array(
        select l.payee_id from unnest(lines) as l
        union
        select p.user_id from public.payments as p
        where
            p.id = any (payments)
            and (
                p.provider = 'wallet' or exists (
                    select from public.order_items as i
                    where i.order_id = p.order_id and private.is_platform(i.seller_id)
                )
            )
    ));
    delivered := private.deliverable_orders(orders);
    perform private.deliver_orders(delivered);

    select * into strict limits from private.settings;
    with paid as (
        select p.*, u.charge
        from unnest(payments, charges) as u (id, charge)
        inner join public.payments as p on p.id = u.id
        where p.order_id = any (delivered)
    ),

    line as (
        select
            l.*, private.is_platform(l.seller_id) as is_platforms, k.earned,
            coalesce(a.free_until, now() + k.free_window) as free_until,
            (private.split_cents(
                p.fee_estimate_cents, array_agg(l.charged_cents) over lines
            ))[row_number() over lines] as fee,
            p.id as paid_by, p.provider, p.provider_ref, p.charge
        from paid as p
        inner join public.order_items as l on l.order_id = p.order_id and l.charged_cents > 0
        inner join private.kinds as k on k.kind = l.kind
        left join public.payables as a on a.id = l.payable_id
        window lines as (
            partition by l.order_id order by l.line_no rows between unbounded preceding and unbounded following
        )
    ),

    sale as (
        insert into public.transactions (
            buyer_id, seller_id, kind, related_id, order_item_id, payment_id,
            amount_total_cents, amount_fees_cents, amount_tax_cents, amount_commission_cents, amount_seller_cents,
            currency, commission_bps, seller_tier, payment_processor, payment_method,
            stripe_payment_intent_id, stripe_charge_id, paypal_order_id, paypal_transaction_id,
            release_at, completed_at, free_until, ship_by, release_journal_id
        )
        select
            i.buyer_id, i.seller_id, i.kind, i.item_id, i.id, i.paid_by,
            i.charged_cents, i.fee, i.tax_cents, s.commission, s.seller,
            i.currency, i.commission_bps, i.seller_tier, i.provider,
            case i.provider when 'stripe' then 'card' when 'paypal' then 'paypal' else 'wallet_balance' end,
            case when i.provider = 'stripe' then i.provider_ref end, case when i.provider = 'stripe' then i.charge end,
            case when i.provider = 'paypal' then i.provider_ref end, case when i.provider = 'paypal' then i.charge end,
            case when i.earned = 'at_payment' and not i.is_shipped then now() + limits.earnings_hold end,
            case when i.earned = 'at_payment' and not i.is_shipped then now() end,
            i.free_until, case when i.is_shipped then now() + limits.ship_within end,
            -- Nobody waits for what the platform earns.
            case when i.is_platforms then 0 end
        from line as i
        cross join lateral private.split_line(
            i.charged_cents, i.tax_cents, case when i.is_platforms then 0 else i.shipping_cents end, i.fee,
            case when i.is_platforms then 10000 else i.commission_bps end
        ) as s
        order by i.id
        returning *
    ),

    share as (
        select
            s.id as sale_id, l.payee_id, l.share_bps, s.amount_seller_cents, row_number() over payees as no,
            array_agg(l.share_bps::bigint) over payees as shares
        from sale as s
        inner join unnest(lines) as l on l.order_item_id = s.order_item_id
        window payees as (
            partition by s.id order by md5(s.id::text || l.payee_id)
            rows between unbounded preceding and unbounded following
        )
    ),

    payee as (
        insert into public.transaction_payees (transaction_id, payee_id, share_bps, cents, pending_cents)
        select s.sale_id, s.payee_id, s.share_bps, c.cents, c.cents
        from share as s
        cross join lateral (
            select (private.split_cents(s.amount_seller_cents, s.shares))[s.no] as cents
        ) as c
        order by s.sale_id, s.payee_id
        returning transaction_id, payee_id, cents
    ),

    review as (
        insert into public.sale_reviews (transaction_id, seller_id)
        select s.id, s.seller_id
        from sale as s
        where
            s.amount_total_cents > limits.review_sale_above_cents and not private.is_platform(s.seller_id)
            and not private.has_sold_before(s.seller_id, limits.new_seller_period)
    )

    select array_agg(row('sale:' || l.sale_id, l.sale_id, l.owner_id, l.account, l.cents)::ledger.posting) into postings
    from (
        select s.id as sale_id, m.owner_id, m.account, m.cents
        from sale as s
        cross join lateral (
            values
            (
                case when s.payment_processor = 'wallet' then s.buyer_id end,
                case when s.payment_processor = 'wallet' then 'available' else 'clearing:' || s.payment_processor end,
                -s.amount_total_cents
            ),
            (null, 'fees:' || s.payment_processor, s.amount_fees_cents),
            (null, 'tax_payable', s.amount_tax_cents),
            (null, 'revenue', s.amount_commission_cents)
        ) as m (owner_id, account, cents)
        union all
        select p.transaction_id, p.payee_id, 'pending', p.cents from payee as p
    ) as l
    where l.cents <> 0;
    if postings is not null then
        perform ledger.post_many('sale', postings, 'USD');
    end if;
    update public.payments as p set
        status = 'succeeded', succeeded_at = now(), charge_id = u.charge, failure_reason = null
    from unnest(payments, charges) as u (id, charge)
    where p.id = u.id and p.order_id = any (delivered);

    for gone in
        select p.id, u.charge, p.order_id = any (delivered) as is_delivered, p.succeeded_at is not null as was_settled
        from unnest(payments, charges) with ordinality as u (id, charge, no)
        inner join public.payments as p on p.id = u.id
        order by u.no
    loop
        payment_id := gone.id;
        if gone.is_delivered then
            outcome := 'settled';
            perform private.reverse_charge(gone.id, gone.charge)
            from public.payments as p
            where p.id = gone.id and gone.charge = any (p.declined_charges);
        elsif gone.was_settled then
            outcome := 'already_settled';
        else
            outcome := private.give_back(gone.id, gone.charge);
        end if;
        return next;
    end loop;
end
$function$;

create or replace function private.split_line (
    total bigint,
    tax bigint,
    shipping bigint,
    fee bigint,
    commission_bps integer,
    OUT commission bigint,
    OUT seller bigint
)
    returns record
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
begin
    -- Commission is on the item price, half up; when fee and commission exceed it the commission shrinks, below zero
    -- if the fee alone does: the platform's loss, never the seller's debt.
    commission := least(((total - tax - shipping) * commission_bps + 5000) / 10000, total - tax - fee);
    seller := total - tax - fee - commission;
end
$function$;

create or replace function private.split_refund (
    sale public.transactions,
    amount_cents bigint,
    fee_bearer text default 'seller'::text,
    OUT tax bigint,
    OUT commission bigint,
    OUT fee bigint,
    OUT seller bigint
)
    returns record
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
declare
    whole constant bigint := sale.amount_total_cents;
    refunded constant bigint := sale.refunded_cents + amount_cents;
    free constant bigint := coalesce(sale.free_refunded_cents, 0)
        + case when fee_bearer = 'platform' then amount_cents else 0 end;
begin
    tax := (sale.amount_tax_cents * refunded * 2 + whole) / (whole * 2) - sale.refunded_tax_cents;
    if private.is_platform(sale.seller_id) then
        fee := 0;
        seller := 0;
        commission := amount_cents - tax;
        return;
    end if;
    commission := (greatest(sale.amount_commission_cents, 0) * refunded * 2 + whole) / (whole * 2)
    - (greatest(-sale.amount_commission_cents, 0) * free * 2 + whole) / (whole * 2) - sale.refunded_commission_cents;
    fee := case
        when fee_bearer = 'platform'
            then (sale.amount_fees_cents * free * 2 + whole) / (whole * 2) - sale.refunded_fee_cents
        else 0
    end;
    seller := amount_cents - tax - commission - fee;
end
$function$;

create or replace function private.split_signed (
    total bigint,
    weights bigint[]
)
    returns bigint[]
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
begin
    if total >= 0 then
        return private.split_cents(total, weights);
    end if;
    return array(select -u.cents from unnest(private.split_cents(-total, weights)) with ordinality as u (cents, no) order by u.no);
end
$function$;

create or replace function private.start_payment (
    payment_id uuid,
    user_id uuid
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt public.payments;
    owned text;
    number text;
begin
    perform private.require_active(start_payment.user_id);
    select * into attempt from public.payments as p
    where p.id = start_payment.payment_id and p.user_id = start_payment.user_id
    for no key update;
    if attempt.id is null then
        perform private.fail('payment_not_found');
    end if;
    if attempt.provider = 'wallet' or not attempt.is_open
        or attempt.expires_at <= now() or attempt.cancel_requested_at is not null then
        perform private.fail('payment_not_open', attempt.status::text);
    end if;
    -- Bought meanwhile by an order that this one replaced too late: its money would only go back.
    select i.item_id::text into owned from public.order_items as i
    where
        i.order_id = attempt.order_id and i.is_owned_once and exists (
            select from public.purchases as p
            where
                p.owner_id = i.buyer_id and p.item_id = i.item_id and p.option_id is not distinct from i.option_id
                and p.revoked_at is null
        )
    order by i.line_no
    limit 1;
    if owned is not null then
        perform private.fail('already_owned', owned);
    end if;
    perform private.fail('payable_not_open', a.id::text)
    from public.order_items as i
    inner join public.payables as a on a.id = i.payable_id and a.status <> 'open'
    where i.order_id = attempt.order_id;
    update public.payments as p set started_at = coalesce(p.started_at, now()) where p.id = attempt.id;
    select o.order_number into number from public.orders as o where o.id = attempt.order_id;
    return jsonb_build_object(
        'payment_id', attempt.id, 'provider', attempt.provider, 'provider_ref', attempt.provider_ref,
        'amount_cents', attempt.amount_cents, 'currency', attempt.currency, 'order_number', number,
        'description', 'Order ' || number,
        'metadata', jsonb_build_object('payment_id', attempt.id, 'order_id', attempt.order_id)
    );
end
$function$;

create or replace function private.sync_catalog_item()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    entry private.catalog_entry;
    before private.catalog_entry;
    seller_is_active boolean;
begin
    if tg_op = 'DELETE' then
        before := private.catalog_entry(old);
        if before.is_published then
            perform private.count_published_item(before.kind, before.seller_id, -1);
        end if;
        delete from public.catalog_items as c where c.id = old.id;
        return null;
    end if;

    entry := private.catalog_entry(new);
    if tg_op = 'UPDATE' then
        before := private.catalog_entry(old);
        if entry is not distinct from before then
            return null;
        end if;
    end if;

    if tg_op = 'INSERT' or entry.is_published <> before.is_published then
        -- A ban or deletion that is just happening, and the counters below: both start with the profile's row, so the
        -- standing read here stays true until this transaction ends, and nobody waits in a circle.
        select private.author_audience(p) <> 'owner' into seller_is_active
        from public.profiles as p
        where p.id = entry.seller_id
        for no key update;
    end if;

    if tg_op = 'INSERT' then
        insert into public.catalog_items (
            id, kind, seller_id, title, slug, thumbnail_url, price_cents, minimum_price_cents, currency, category, tags,
            stock, is_repeatable, is_browsable, requires_shipping, is_featured, is_published, is_for_sale,
            seller_is_active, search, published_at, created_at
        )
        select
            new.id, entry.kind, entry.seller_id, entry.title, entry.slug, entry.thumbnail_url, entry.price_cents,
            entry.minimum_price_cents, entry.currency, entry.category, entry.tags,
            entry.stock, coalesce(entry.is_repeatable, k.is_repeatable), k.is_browsable,
            coalesce(entry.requires_shipping, false), entry.is_featured, entry.is_published, entry.is_for_sale,
            seller_is_active, private.search_vector(entry.title, entry.tags, entry.body),
            case when entry.is_published then new.created_at end, new.created_at
        from private.kinds as k
        where k.kind = entry.kind;
    else
        update public.catalog_items as c set
            title = entry.title, slug = entry.slug, thumbnail_url = entry.thumbnail_url,
            price_cents = entry.price_cents, minimum_price_cents = entry.minimum_price_cents,
            currency = entry.currency, category = entry.category, tags = entry.tags, stock = entry.stock,
            taken = case
                when entry.stock is distinct from before.stock then private.count_taken(c.id, entry.stock) else c.taken
            end,
            is_repeatable = coalesce(entry.is_repeatable, c.is_repeatable),
            requires_shipping = coalesce(entry.requires_shipping, false), is_featured = entry.is_featured,
            is_published = entry.is_published, is_for_sale = entry.is_for_sale,
            published_at = coalesce(c.published_at, case when entry.is_published then now() end),
            search = case
                when (entry.title, entry.tags, entry.body) is not distinct from (before.title, before.tags, before.body)
                    then c.search
                else private.search_vector(entry.title, entry.tags, entry.body)
            end,
            updated_at = now()
        where c.id = new.id;
    end if;

    if tg_op = 'INSERT' and entry.is_published or entry.is_published <> before.is_published then
        perform private.count_published_item(
            entry.kind, entry.seller_id, case when entry.is_published then 1 else -1 end
        );
    end if;
    return null;
end
$function$;

create or replace function private.take_stock (
    taken_item uuid,
    taken_option uuid,
    pieces integer,
    taker uuid default null::uuid
)
    returns text
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    item public.catalog_items;
    option public.catalog_options;
    aside bigint := 0;
begin
    -- The lock is the statement that takes, where nothing else has to be known.
    update public.catalog_items as c set taken = c.taken + case when c.stock > 1 then pieces else 0 end
    where c.id = taken_item and (pieces < 0 or c.is_buyable and (c.taken + pieces <= c.stock) is not false)
    returning * into item;
    if item.id is null then
        select * into item from public.catalog_items as c where c.id = taken_item;
        select * into option from public.catalog_options as o where o.id = taken_option;
        return case
            when item.is_buyable and exists (
                select from private.holds as h
                left join public.catalog_options as o on o.id = h.option_id
                where
                    h.item_id = taken_item and h.order_id is distinct from taker
                    and case
                        when option.is_set_aside then h.option_id = taken_option else o.is_set_aside is not true
                    end
            ) then 'item_reserved'
            when item.is_buyable or item.is_unique or item.is_sold_out then 'item_sold'
            else 'item_not_available'
        end;
    end if;
    if taken_option is not null then
        update public.catalog_options as o set taken = o.taken + case when o.stock is null then 0 else pieces end
        where o.id = taken_option and (pieces < 0 or (o.taken + pieces <= o.stock) is not false)
        returning * into option;
        if option.id is null then
            return case
                when exists (
                    select from private.holds as h
                    where h.option_id = taken_option and h.order_id is distinct from taker
                ) then 'item_reserved'
                else 'item_sold'
            end;
        end if;
    end if;
    if pieces > 0 and item.stock > 1 and option.is_set_aside is not true then
        select coalesce(sum(o.stock - o.taken), 0) into aside from public.catalog_options as o
        where o.item_id = taken_item and o.is_set_aside;
        if item.taken + aside > item.stock then
            return case
                when exists (
                    select from private.holds as h
                    left join public.catalog_options as o on o.id = h.option_id
                    where
                        h.item_id = taken_item and h.order_id is distinct from taker
                        and o.is_set_aside is not true
                ) then 'item_reserved'
                else 'item_sold'
            end;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.tell_earnings()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.payee_id, 'earnings', null, 'wallet', new.payee_id);
    return null;
end
$function$;

create or replace function private.tell_purchase()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(s.seller_id, 'purchase', null, 'order_item', s.id)
    from (
        select distinct on (i.seller_id) i.seller_id, i.id
        from public.order_items as i
        inner join private.kinds as k on k.kind = i.kind and k.is_browsable
        where i.order_id = new.id
        order by i.seller_id, i.line_no
    ) as s;
    return null;
end
$function$;

create or replace function private.tell_shipped()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(i.buyer_id, 'shipped', null, 'order_item', i.id)
    from public.order_items as i where i.id = new.order_item_id;
    return null;
end
$function$;

create or replace function private.tell_tip()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.recipient_id, 'tip', null, 'tip', new.id);
    return null;
end
$function$;

create or replace function private.tip_jar_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    perform private.require_keys(l.details, '{message,item_id}', 'line_not_valid') from unnest(lines) as l;
    return query
    select
        l.no, null::text, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object('message', said.message, 'item_id', about.id)), 0::bigint,
        case when wrong.part is not null then 'line_not_valid' end, wrong.part
    from unnest(lines) as l
    inner join public.tip_jars as j on j.id = l.item_id
    cross join lateral (
        select nullif(private.tidy_body(l.details ->> 'message'), '') as message
    ) as said
    left join public.catalog_items as about
        on
            about.id = case when private.is_uuid(l.details ->> 'item_id') then (l.details ->> 'item_id')::uuid end
            and about.seller_id = j.seller_id and about.is_visible
    cross join lateral (
        select case
            when jsonb_typeof(l.details -> 'message') not in ('string', 'null') or char_length(said.message) > 500
                then 'message: at most 500 characters'
            when l.details ->> 'item_id' is not null and about.id is null then 'item_id: not one of theirs'
        end as part
    ) as wrong;
end
$function$;

create or replace function private.tip_jar_grant (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    insert into public.tips (order_item_id, sender_id, recipient_id, amount_cents, currency, message, item_id)
    select i.id, i.buyer_id, i.seller_id, i.total_cents, i.currency, i.details ->> 'message', about.id
    from public.purchases as p
    inner join public.order_items as i on i.id = p.order_item_id
    left join lateral (
        -- It may have been deleted since.
        select c.id from public.catalog_items as c where c.id = (i.details ->> 'item_id')::uuid for key share
    ) as about on true
    where p.id = any (ids)
    order by i.id;
end
$function$;

create or replace function private.tip_jar_of (
    recipient uuid
)
    returns uuid
    language plpgsql
    set search_path to ''
    AS $function$
declare
    jar uuid;
begin
    select j.id into jar from public.tip_jars as j where j.seller_id = recipient;
    if jar is null then
        insert into public.tip_jars (seller_id) values (recipient)
        on conflict on constraint tip_jars_seller_id_key do nothing;
        select j.id into strict jar from public.tip_jars as j where j.seller_id = recipient;
    end if;
    return jar;
end
$function$;

create or replace function private.tip_jar_restore (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.tips as t set closed_at = null
    from public.purchases as p
    where p.id = any (ids) and t.order_item_id = p.order_item_id;
end
$function$;

create or replace function private.tip_jar_revoke (
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.tips as t set closed_at = now()
    from public.purchases as p
    where p.id = any (ids) and t.order_item_id = p.order_item_id and t.closed_at is null;
end
$function$;

create or replace function private.username_problem (
    username text,
    user_id uuid default null::uuid
)
    returns text
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select case
        when private.is_username(username) is not true then 'username_invalid'
        when private.is_platform(user_id) then null
        when lower(username) like 'deleted-%' or private.is_reserved(username) then 'username_reserved'
        when private.is_held_username(username, user_id) then 'username_taken'
    end
$function$;

create or replace function public.cancel_line (
    order_item_id uuid,
    idempotency_key text default null::text
)
    returns public.refunds
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    answered jsonb := private.claim_request(
        member, 'cancel_line', cancel_line.idempotency_key,
        jsonb_build_object('order_item_id', cancel_line.order_item_id)
    );
    sale public.transactions;
    is_free boolean;
    made uuid;
    refund public.refunds;
begin
    if answered is not null then
        select * into strict refund from public.refunds as r where r.id = (answered #>> '{}')::uuid;
        return refund;
    end if;
    perform from public.payments as p
    where p.id = (
        select t.payment_id from public.transactions as t
        where t.order_item_id = cancel_line.order_item_id and t.buyer_id = member
    )
    for no key update;
    perform private.lock_orders(array(
        select i.order_id from public.order_items as i
        where i.id = cancel_line.order_item_id and i.buyer_id = member
    ));
    select * into sale from public.transactions as t
    where t.order_item_id = cancel_line.order_item_id and t.buyer_id = member
    for no key update;
    if sale.id is null then
        perform private.fail('sale_not_found');
    end if;
    is_free := coalesce(sale.completed_at is null and sale.free_until > clock_timestamp(), false);
    if sale.completed_at is not null or not is_free and (
        (sale.ship_by > clock_timestamp()) is not false
        or exists (select from public.shipments as s where s.order_item_id = sale.order_item_id)
    ) then
        perform private.fail('cannot_cancel', sale.order_item_id::text);
    end if;
    made := private.refund_line(
        sale.id, null, case when is_free then 'cancelled_by_buyer' else 'not_shipped' end, 'automatic',
        case when is_free then 'platform' else 'seller' end
    );
    -- The right ends at once, whenever the money arrives.
    perform private.revoke_line(sale.order_item_id, 'cancelled');
    select * into strict refund from public.refunds as r where r.id = made;
    perform private.answer_request(member, 'cancel_line', cancel_line.idempotency_key, to_jsonb(refund.id));
    return refund;
end
$function$;

revoke all on function public.cancel_line(uuid, text) from public, anon, service_role;

create or replace function public.checkout (
    items jsonb default null::jsonb,
    provider public.payment_provider default 'stripe'::public.payment_provider,
    idempotency_key text default null::text,
    shipping_address jsonb default null::jsonb,
    notes text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    wanted jsonb := nullif(checkout.items, 'null'::jsonb);
    wanted_address jsonb := private.checked_address(checkout.shipping_address);
    earlier jsonb;
    lines private.order_line[];
    wrong private.order_line;
    new_order uuid;
begin
    -- One checkout of a buyer at a time: a double click, two tabs, or the same key twice line up here.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    if not private.is_note(private.tidy_body(checkout.notes)) then
        perform private.fail('invalid_checkout', 'notes: at most 2,000 characters');
    end if;

    -- What is asked for: the given items, or the cart with what it showed.
    if wanted is null then
        wanted := coalesce((
            select jsonb_agg(jsonb_build_object(
                'item_id', c.item_id, 'option_id', c.option_id, 'quantity', c.quantity,
                'offered_price_cents', c.offered_price_cents, 'shown_price_cents', c.shown_price_cents
            ) order by c.added_at, c.item_id, c.option_id)
            from public.cart_items as c
            where c.user_id = buyer
        ), '[]');
        -- A cart that was paid for is empty: the same request again would look like another one.
        select k.answer into earlier from private.request_keys as k
        inner join public.orders as o on o.id = (k.answer ->> 'order_id')::uuid and o.completed_at is not null
        where k.caller = buyer and k.purpose = 'checkout' and k.key = checkout.idempotency_key;
        if earlier -> 'items' @> wanted then
            wanted := earlier -> 'items';
        end if;
    else
        if jsonb_typeof(wanted) <> 'array' then
            perform private.fail('invalid_checkout', 'items: not an array');
        end if;
        perform private.require_keys(
            w.line, '{item_id,option_id,quantity,offered_price_cents,details}', 'invalid_checkout'
        )
        from jsonb_array_elements(wanted) as w (line);
        if exists (
            select from jsonb_array_elements(wanted) as w
            where
                private.is_uuid(w ->> 'item_id') is not true
                or private.is_uuid(w ->> 'option_id') is false
                or coalesce(w ->> 'quantity', '1') !~ '^[0-9]{1,2}$'
                or coalesce(w ->> 'offered_price_cents', '0') !~ '^[0-9]{1,8}$'
                or jsonb_typeof(coalesce(nullif(w -> 'details', 'null'), '{}')) <> 'object'
                or octet_length((w -> 'details')::text) > 16384
        ) then
            perform private.fail(
                'invalid_checkout', 'each item is {item_id, option_id?, quantity?, offered_price_cents?, details?}'
            );
        end if;
        wanted := coalesce((
            select jsonb_agg(jsonb_build_object(
                'item_id', (w.line ->> 'item_id')::uuid, 'option_id', (w.line ->> 'option_id')::uuid,
                'quantity', coalesce((w.line ->> 'quantity')::integer, 1),
                'offered_price_cents', (w.line ->> 'offered_price_cents')::bigint,
                'details', coalesce(nullif(w.line -> 'details', 'null'), '{}')
            ) order by w.no)
            from jsonb_array_elements(wanted) with ordinality as w (line, no)
        ), '[]');
    end if;

    -- Where a retry ends: the order that was made, whatever has become of it.
    earlier := private.claim_request(
        buyer, 'checkout', checkout.idempotency_key,
        jsonb_build_object(
            'items', (
                select jsonb_agg(
                    w.line - 'shown_price_cents'
                    order by w.line ->> 'item_id', w.line ->> 'option_id', (w.line -> 'details')::text
                )
                from jsonb_array_elements(wanted) as w (line)
            ),
            'provider', checkout.provider, 'shipping_address', wanted_address, 'notes', checkout.notes
        )
    );
    if earlier is not null then
        return private.order_summary((earlier ->> 'order_id')::uuid);
    end if;
    if checkout.provider is null or checkout.provider = 'paypal' then
        perform private.fail('provider_not_available', checkout.provider::text);
    end if;
    if jsonb_array_length(wanted) = 0 then
        perform private.fail('empty_checkout');
    elsif jsonb_array_length(wanted) > 50 then
        perform private.fail('too_many_items', jsonb_array_length(wanted)::text);
    end if;

    lines := array(
        select l from private.read_lines(buyer, wanted, private.country_of(wanted_address)) as l order by l.line_no
    );
    select l.* into wrong from unnest(lines) as l where l.problem is not null order by l.line_no limit 1;
    if wrong.problem is not null then
        perform private.fail(wrong.problem, wrong.detail);
    end if;
    new_order := private.place_order(buyer, lines, checkout.provider, wanted_address, checkout.notes);
    perform private.answer_request(
        buyer, 'checkout', checkout.idempotency_key, jsonb_build_object('order_id', new_order, 'items', wanted)
    );
    return private.order_summary(new_order);
end
$function$;

create or replace function public.checkout_payable (
    payable_id uuid,
    provider public.payment_provider default 'stripe'::public.payment_provider,
    idempotency_key text default null::text,
    shipping_address jsonb default null::jsonb,
    notes text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    wanted_address jsonb := private.checked_address(checkout_payable.shipping_address);
    earlier jsonb;
    agreed public.payables;
    item public.catalog_items;
    new_order uuid;
begin
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    if not private.is_note(private.tidy_body(checkout_payable.notes)) then
        perform private.fail('invalid_checkout', 'notes: at most 2,000 characters');
    end if;
    earlier := private.claim_request(
        buyer, 'checkout_payable', checkout_payable.idempotency_key,
        jsonb_build_object(
            'payable_id', checkout_payable.payable_id, 'provider', checkout_payable.provider,
            'shipping_address', wanted_address, 'notes', checkout_payable.notes
        )
    );
    if earlier is not null then
        return private.order_summary((earlier #>> '{}')::uuid);
    end if;
    if checkout_payable.provider is null or checkout_payable.provider = 'paypal' then
        perform private.fail('provider_not_available', checkout_payable.provider::text);
    end if;
    -- Payments before payables, as settlement locks them.
    perform from public.payments as p
    where
        p.user_id = buyer and p.is_open
        and p.order_id in (
            select i.order_id from public.order_items as i where i.payable_id = checkout_payable.payable_id
        )
    order by p.id
    for no key update;
    select * into agreed from public.payables as p
    where p.id = checkout_payable.payable_id and p.buyer_id = buyer
    for no key update;
    if agreed.id is null or agreed.status <> 'open' or agreed.pay_by <= clock_timestamp() then
        perform private.fail('payable_not_open', checkout_payable.payable_id::text);
    end if;
    select * into item from public.catalog_items as c where c.id = agreed.item_id for key share;
    if item.requires_shipping and private.country_of(wanted_address) is null then
        perform private.fail('address_required', agreed.item_id::text);
    end if;
    new_order := private.place_order(
        buyer,
        array[row(
            1, agreed.kind, agreed.item_id, null, agreed.id, agreed.seller_id, agreed.title, null, null, null, null,
            agreed.details, agreed.amount_cents, 1, 0, agreed.shipping_cents, agreed.seller_tier, agreed.commission_bps,
            false, false, false, false, coalesce(item.requires_shipping, false), null, null
        )::private.order_line],
        checkout_payable.provider, wanted_address, checkout_payable.notes, agreed.pay_by
    );
    perform private.answer_request(
        buyer, 'checkout_payable', checkout_payable.idempotency_key, to_jsonb(new_order)
    );
    return private.order_summary(new_order);
end
$function$;

revoke all
    on function public.checkout_payable(uuid, public.payment_provider, text, jsonb, text)
    from public, anon, service_role;

create or replace function public.send_tip (
    recipient_id uuid,
    amount_cents bigint,
    message text default null::text,
    item_id uuid default null::uuid,
    provider public.payment_provider default 'stripe'::public.payment_provider,
    idempotency_key text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sender uuid := private.require_member();
    earlier jsonb;
    line private.order_line;
    new_order uuid;
begin
    -- One checkout of a buyer at a time.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || sender, 0));
    earlier := private.claim_request(
        sender, 'send_tip', send_tip.idempotency_key,
        jsonb_build_object(
            'recipient_id', send_tip.recipient_id, 'amount_cents', send_tip.amount_cents, 'message', send_tip.message,
            'item_id', send_tip.item_id, 'provider', send_tip.provider
        )
    );
    if earlier is not null then
        return private.order_summary((earlier #>> '{}')::uuid);
    end if;
    if send_tip.provider is null or send_tip.provider = 'paypal' then
        perform private.fail('provider_not_available', send_tip.provider::text);
    elsif send_tip.amount_cents is null then
        perform private.fail('invalid_checkout', 'amount_cents');
    elsif send_tip.recipient_id = sender then
        perform private.fail('own_item', sender::text);
    elsif private.can_see(send_tip.recipient_id) is not true then
        perform private.fail('user_not_found', send_tip.recipient_id::text);
    end if;
    select l.* into strict line from private.read_lines(sender, jsonb_build_array(jsonb_build_object(
        'item_id', private.tip_jar_of(send_tip.recipient_id), 'quantity', 1,
        'offered_price_cents', send_tip.amount_cents,
        'details', jsonb_strip_nulls(jsonb_build_object('message', send_tip.message, 'item_id', send_tip.item_id))
    ))) as l;
    if line.problem is not null then
        perform private.fail(line.problem, line.detail);
    end if;
    new_order := private.place_order(sender, array[line], send_tip.provider, null, null);
    perform private.answer_request(sender, 'send_tip', send_tip.idempotency_key, to_jsonb(new_order));
    return private.order_summary(new_order);
end
$function$;

revoke all
    on function public.send_tip(uuid, bigint, text, uuid, public.payment_provider, text)
    from public, anon, service_role;

alter table private.holds
    add constraint holds_item_id_fkey foreign key (item_id) references public.catalog_items(id) on delete cascade;

alter table private.holds
    add constraint holds_option_id_fkey foreign key (option_id, item_id)
        references public.catalog_options(id, item_id) on delete cascade;

alter table private.holds
    add constraint holds_order_id_fkey foreign key (order_id) references public.orders(id);

alter table private.kinds
    add constraint kinds_commission_check check ((commission = ANY (ARRAY['plan'::text, 'none'::text])));

alter table private.kinds
    add constraint kinds_earned_check check ((earned = ANY (ARRAY['at_payment'::text, 'at_completion'::text])));

alter table private.kinds
    add constraint kinds_proceeds_check check ((proceeds = ANY (ARRAY['seller'::text, 'platform'::text])));

alter table public.artworks
    add constraint artworks_edition_size_check check (((edition_size >= 2) AND (edition_size <= 10000)));

alter table public.cart_items
    add constraint cart_items_option_id_fkey foreign key (option_id, item_id)
        references public.catalog_options(id, item_id) on delete cascade;

alter table public.cart_items
    add constraint cart_items_pkey primary key (user_id, item_id, option_key);

alter table public.catalog_items
    add constraint catalog_items_stock_check check (stock between 0 and 1000000 and taken between 0 and 1000000);

alter table public.catalog_items
    add constraint catalog_items_taken_check check (((taken <= stock) OR (stock <= 1)));

alter table public.order_items
    add constraint order_items_discount_check
        check (((discount_cents >= 0) AND (discount_cents <= (unit_price_cents * quantity))));

alter table public.order_items
    add constraint order_items_option_id_fkey foreign key (option_id, item_id)
        references public.catalog_options(id, item_id);

alter table public.order_items
    add constraint order_items_order_id_line_no_key unique (order_id, line_no);

alter table public.order_items
    add constraint order_items_payable_id_fkey foreign key (payable_id) references public.payables(id);

alter table public.order_items
    add constraint order_items_subject_check check (((item_id IS NOT NULL) OR (payable_id IS NOT NULL)));

alter table public.purchases
    add constraint purchases_line_key unique nulls not DISTINCT (order_item_id, item_id, unit);

alter table public.purchases
    add constraint purchases_option_id_fkey foreign key (option_id, item_id)
        references public.catalog_options(id, item_id);

alter table public.purchases
    add constraint purchases_owner_id_fkey foreign key (owner_id) references public.profiles(id);

alter table public.purchases
    add constraint purchases_payer_id_fkey foreign key (payer_id) references public.profiles(id);

alter table public.purchases
    add constraint purchases_pkey primary key (id);

alter table public.purchases
    add constraint purchases_revoked_check
        check ((((revoked_at IS NULL) = (revoked_reason IS NULL)) AND ((revoked_at IS NOT NULL) OR (NOT is_away))));

alter table public.purchases
    add constraint purchases_unit_check check (((unit >= 1) AND (unit <= 10000)));

alter table public.refund_lines
    add constraint refund_lines_split_check
        check ((amount_cents = (((tax_cents + commission_cents) + fee_cents) + seller_cents)));

alter table public.refunds
    add constraint refunds_fee_bearer_check check ((fee_bearer = ANY (ARRAY['seller'::text, 'platform'::text])));

alter table public.tip_jars
    add constraint tip_jars_id_fkey foreign key (id) references public.catalog_items(id) deferrable initially deferred;

alter table public.tips
    add constraint tips_item_id_fkey foreign key (item_id) references public.catalog_items(id) on delete set null;

alter table public.tips
    add constraint tips_order_item_id_fkey foreign key (order_item_id) references public.order_items(id);

alter table public.tips
    add constraint tips_recipient_id_fkey foreign key (recipient_id) references public.profiles(id);

alter table public.tips
    add constraint tips_sender_id_fkey foreign key (sender_id) references public.profiles(id);

alter table public.transaction_payees
    add constraint transaction_payees_payee_id_fkey foreign key (payee_id) references public.profiles(id);

alter table public.transaction_payees
    add constraint transaction_payees_transaction_id_fkey foreign key (transaction_id)
        references public.transactions(id);

alter table public.transactions
    add constraint transactions_refunded_check check (
        refunded_cents between 0 and amount_total_cents
        and refunded_cents
        = refunded_tax_cents + refunded_commission_cents + refunded_fee_cents + refunded_seller_cents
        and free_refunded_cents between 0 and refunded_cents
    );

alter table public.transactions
    add constraint transactions_release_check check (((release_at IS NULL) OR (completed_at IS NOT NULL)));

create view private.limited_lines with (security_invoker=true) AS  SELECT i.id,
    i.order_id,
    i.item_id,
    i.option_id,
        CASE
            WHEN i.is_counted THEN i.quantity
            ELSE 1
        END AS pieces,
    i.is_held,
    c.is_unique,
    COALESCE(o.is_exclusive, false) AS is_exclusive,
    h.id AS hold_id
   FROM (((public.order_items i
     JOIN public.catalog_items c ON ((c.id = i.item_id)))
     LEFT JOIN public.catalog_options o ON ((o.id = i.option_id)))
     LEFT JOIN private.holds h ON (((h.order_id = i.order_id) AND (h.item_id = i.item_id) AND (NOT (h.option_id IS DISTINCT FROM i.option_id)))))
  WHERE ((i.payable_id IS NULL) AND (i.is_held OR (c.stock IS NOT NULL) OR (o.stock IS NOT NULL)));

create index holds_item_id_idx on private.holds using btree (item_id);

create index holds_option_id_idx on private.holds using btree (option_id, item_id)
    where (option_id is not null);

create unique index holds_order_id_key on private.holds using btree (order_id, item_id, option_id) nulls not DISTINCT
    where (order_id is not null);

create unique index holds_single_key on private.holds using btree (item_id)
    where is_single;

create index cart_items_option_id_idx on public.cart_items using btree (option_id, item_id)
    where (option_id is not null);

create index catalog_items_category_published_at_id_idx on public.catalog_items
    using btree (category, published_at desc, id desc)
    where is_listed;

create index catalog_items_kind_published_at_id_idx on public.catalog_items
    using btree (kind, published_at desc, id desc)
    where is_listed;

create index catalog_items_popularity_id_idx on public.catalog_items using btree (popularity desc, id desc)
    where is_listed;

create index catalog_items_price_cents_id_idx on public.catalog_items using btree (price_cents, id)
    where is_listed;

create index catalog_items_published_at_id_idx on public.catalog_items using btree (published_at desc, id desc)
    where is_listed;

create index catalog_items_search_idx on public.catalog_items using gin (search)
    where is_listed;

create index catalog_items_tags_idx on public.catalog_items using gin (tags)
    where is_listed;

create index order_items_option_id_idx on public.order_items using btree (option_id, item_id)
    where (option_id is not null);

create index order_items_payable_id_idx on public.order_items using btree (payable_id)
    where (payable_id is not null);

create unique index purchases_number_key on public.purchases using btree (item_id, option_id, number) nulls not DISTINCT
    where ((number is not null) AND (revoked_at is null));

create index purchases_option_id_idx on public.purchases using btree (option_id, item_id)
    where (option_id is not null);

create unique index purchases_owned_once_key on public.purchases using btree (owner_id, item_id, option_id) nulls
    not DISTINCT
    where (is_owned_once AND (revoked_at is null) AND (owner_id is not null));

create index purchases_owner_id_item_id_idx on public.purchases using btree (owner_id, item_id)
    where (revoked_at is null);

create index purchases_owner_id_purchased_at_idx on public.purchases using btree (owner_id, purchased_at desc);

create index purchases_payer_id_idx on public.purchases using btree (payer_id);

create unique index purchases_single_key on public.purchases using btree (item_id)
    where (is_single AND (revoked_at is null));

create index tips_item_id_idx on public.tips using btree (item_id)
    where (item_id is not null);

create index tips_recipient_id_created_at_idx on public.tips using btree (recipient_id, created_at desc);

create index tips_sender_id_created_at_idx on public.tips using btree (sender_id, created_at desc);

create index transaction_payees_payee_id_idx on public.transaction_payees using btree (payee_id);

create index transactions_related_id_idx on public.transactions using btree (related_id);

create trigger check_shown_item
    before insert or update of item_id, option_id, offered_price_cents on public.cart_items
    for each row
    execute function private.check_cart_item('shows');

create trigger count_granted
    after insert on public.purchases referencing NEW table as changed_to
    for each STATEMENT
    execute function private.count_purchases();

create trigger count_switched
    after update on public.purchases referencing OLD table as changed_from NEW table as changed_to
    for each STATEMENT
    execute function private.count_purchases();

create trigger tell_shipped
    after insert on public.shipments
    for each row
    execute function private.tell_shipped();

create trigger refuse_ordered_item
    before delete on public.tip_jars
    for each row
    execute function private.refuse_ordered_item();

create trigger sync_catalog_item
    after insert or delete or update on public.tip_jars
    for each row
    execute function private.sync_catalog_item();

create trigger touch_updated_at
    before update on public.tip_jars
    for each row
    execute function private.touch_updated_at();

create trigger tell_tip
    after insert on public.tips
    for each row
    execute function private.tell_tip();

create trigger count_earned_changed
    after update on public.transaction_payees referencing OLD table as changed_from NEW table as changed_to
    for each STATEMENT
    execute function private.count_earned();

create trigger count_earned
    after insert on public.transaction_payees referencing NEW table as changed_to
    for each STATEMENT
    execute function private.count_earned();

create trigger tell_earnings
    after update of release_journal_id on public.transaction_payees
    for each row
    when (((old.release_journal_id IS NULL) AND (new.release_journal_id IS NOT NULL) AND (old.pending_cents > 0)))
    execute function private.tell_earnings();

create trigger count_spent_changed
    after update on public.transactions referencing OLD table as changed_from NEW table as changed_to
    for each STATEMENT
    execute function private.count_spent();

create trigger count_spent
    after insert on public.transactions referencing NEW table as changed_to
    for each STATEMENT
    execute function private.count_spent();

create policy purchases_select on public.purchases
    for select
    to authenticated
    using
        (((owner_id = ( select private.member_id() as member_id)) or (payer_id = ( select private.member_id() as
        member_id)) or ( select private.is_admin() as is_admin)));

create policy tip_jars_select_anon on public.tip_jars
    for select
    to anon
    using ((( select c.id
   from public.catalog_items c
  where (c.id = tip_jars.id)) is not null));

create policy tips_select on public.tips
    for select
    to authenticated
    using
        (((sender_id = ( select private.member_id() as member_id)) or (recipient_id = ( select private.member_id() as
        member_id)) or ( select private.is_admin() as is_admin)));

create policy transaction_payees_select on public.transaction_payees
    for select
    to authenticated
    using
        (((payee_id = ( select private.member_id() as member_id)) or ( select private.is_admin() as is_admin) or (exists
        ( select
   from public.transactions t
  where ((t.id = transaction_payees.transaction_id) AND (t.seller_id = ( select private.member_id() as member_id)))))));

comment on column private.holds.is_single is 'One of a kind: nobody else can hold it.';

comment on column private.holds.item_id is 'The item.';

comment on column private.holds.option_id is 'Which option of it.';

comment on column private.holds.order_id is 'The order that holds it.';

comment on column private.holds.quantity is 'How many.';

comment on column private.kinds.commission is 'Of what is sold: by the seller''s plan, or none.';

comment on column private.kinds.earned is 'Of what is sold: at_payment, or at_completion: nothing is released before complete_lines() says that it is done. What is shipped is earned when it is delivered, whatever its kind says.';

comment on column private.kinds.free_window is 'Of what is sold: how long after paying a buyer steps back at the platform''s cost (the provider keeps its fee). Null: no such right.';

comment on column private.kinds.is_browsable is 'Of what is sold: whether shop pages, searches and counts show it. Others are bought where they are met: a tip jar.';

comment on column private.kinds.is_repeatable is 'Of what is sold: whether the same buyer buys it again and again. The item''s own column decides, this is its default.';

comment on column private.kinds.proceeds is 'Of what is sold: who earns. seller, or platform: sold by the system profile, all of it revenue.';

comment on column public.artworks.edition_size is 'How many numbered copies there are; null: one of a kind. Artist''s proofs come on top, as options with a series. Once ordered it may shrink, down to what is sold, and never grow.';

comment on column public.artworks.is_physical is 'Whether it is sent to its buyer; see shipping_rates.';

comment on column public.cart_items.option_id is 'Which option of it; null: the item itself.';

comment on column public.cart_items.option_key is 'The option, or the item itself: for the key. Generated.';

comment on column public.catalog_items.is_browsable is 'Whether shop pages and searches show it; of its kind.';

comment on column public.catalog_items.is_buyable is 'What checkout asks: visible, for sale, not sold out.';

comment on column public.catalog_items.is_exclusively_sold is 'Its exclusive option is sold: whoever bought another one before keeps it, nobody else can buy. Kept by trigger.';

comment on column public.catalog_items.is_listed is 'Buyable and browsable: what shop pages show. Filter with eq.true; is.true cannot use the indexes.';

comment on column public.catalog_items.is_repeatable is 'Whether somebody who has bought it can buy it again: services, tips. Others are owned once, per option.';

comment on column public.catalog_items.is_sold_out is 'All of the stock is sold, or it was sold exclusively.';

comment on column public.catalog_items.is_unique is 'One of a kind: sold once, quantity 1, held at checkout.';

comment on column public.catalog_items.paid_purchases_count is 'Valid entitlements that were paid for.';

comment on column public.catalog_items.purchases_count is 'Valid entitlements to it, and pieces that were refunded and are not back.';

comment on column public.catalog_items.requires_shipping is 'Whether it is sent to its buyer: checkout needs an address and adds shipping.';

comment on column public.catalog_items.stock is 'How many there are: 1 is one of a kind, more are copies or seats; null: as many as are wanted.';

comment on column public.catalog_items.taken is 'Of a stock of several, how many are sold or held; read and changed under the row''s lock only. 0 for others.';

comment on column public.order_items.charged_cents is 'What the buyer pays for the line, cents: total, tax and shipping.';

comment on column public.order_items.details is 'What else a later edit must not change for the buyer, and what the buyer sent for the line, as its kind wants it: technical_details of a product; image_url, category, dimensions and series of an artwork.';

comment on column public.order_items.discount_cents is 'Taken off the line''s price, cents.';

comment on column public.order_items.is_counted is 'Its pieces are copies or seats of a stock: each is a grant.';

comment on column public.order_items.is_held is 'It is limited: the order holds it until it is paid or given up, and cannot be delivered without its hold.';

comment on column public.order_items.is_owned_once is 'Its buyer can have it once only: not services, tips or copies.';

comment on column public.order_items.is_shipped is 'It is sent to its buyer, and earned when it is delivered.';

comment on column public.order_items.item_id is 'What is delivered; null for a payable that delivers nothing of the registry. The reference keeps an ordered item from being deleted.';

comment on column public.order_items.kind is 'Kind of what is sold, a row of private.kinds; of its item or payable.';

comment on column public.order_items.option_id is 'Which option of it; null: the item itself.';

comment on column public.order_items.payable_id is 'The agreement it pays; null for what was chosen from the shop.';

comment on column public.order_items.shipping_cents is 'Shipping of this line, cents; the seller''s, without commission.';

comment on column public.order_items.total_cents is 'unit_price_cents × quantity − discount_cents: carries commission.';

comment on column public.purchases.is_away is 'Revoked, but what was sent for it is not back, or lost: its piece of the stock and its number are not free.';

comment on column public.purchases.is_owned_once is 'Nobody can own it twice: products, not copies or services.';

comment on column public.purchases.is_single is 'One of a kind: it has one owner.';

comment on column public.purchases.item_id is 'What is owned; null for a payable that delivers nothing of the registry.';

comment on column public.purchases.kind is 'Kind of what was bought, as on the line.';

comment on column public.purchases.number is 'Number of the copy in its edition; null where nothing is numbered.';

comment on column public.purchases.option_id is 'Which option of it.';

comment on column public.purchases.order_item_id is 'The order line that granted it.';

comment on column public.purchases.owner_id is 'Who owns it; null while a gift is not claimed.';

comment on column public.purchases.payer_id is 'Who paid for it.';

comment on column public.purchases.price_cents is 'What was paid for it, cents: the unit''s part of the line; 0 when free.';

comment on column public.purchases.purchased_at is 'When it was granted.';

comment on column public.purchases.revoked_reason is 'Why, as a stable word: refunded, removed, …';

comment on column public.purchases.unit is 'Which of the line''s rights, from 1: the copies of an edition.';

comment on column public.refund_lines.fee_cents is 'Part of the provider''s fee that the platform bears, cents.';

comment on column public.refunds.fee_bearer is 'Who bears the provider''s fee, which it keeps: seller, or platform where the buyer used a right to step back.';

comment on column public.tip_jars.hidden_reason is 'Why, told to its owner.';

comment on column public.tip_jars.is_hidden is 'Closed by an admin; written by hide_content() only.';

comment on column public.tip_jars.is_open is 'False takes no tips.';

comment on column public.tip_jars.suggested_cents is 'Suggested tip, cents.';

comment on column public.tips.amount_cents is 'What was given, before the provider''s fee, cents.';

comment on column public.tips.closed_at is 'When all of it was given back or taken back; null while it stands.';

comment on column public.tips.item_id is 'What of the recipient''s it is for; null: nothing of it, or it is gone.';

comment on column public.tips.message is 'For the recipient, at most 500 characters; erased with the sender''s account.';

comment on column public.tips.order_item_id is 'The line that paid it; its transaction says what the recipient earned.';

comment on column public.tips.recipient_id is 'Whom.';

comment on column public.tips.sender_id is 'Who tipped.';

comment on column public.transaction_payees.cents is 'Part, cents.';

comment on column public.transaction_payees.payee_id is 'Who earns: the seller, or somebody they share with.';

comment on column public.transaction_payees.pending_cents is 'Part of the payee''s pending balance that stems from this sale, cents; 0 once released.';

comment on column public.transaction_payees.refunded_cents is 'Returned by this payee, cents.';

comment on column public.transaction_payees.release_journal_id is 'Journal that released this part; 0 where nothing was left to release, null while held.';

comment on column public.transaction_payees.share_bps is 'Share of the sellers'' part, basis points.';

comment on column public.transaction_payees.transaction_id is 'The sale.';

comment on column public.transactions.amount_total_cents is 'What the buyer paid for this line, cents: tax and shipping included.';

comment on column public.transactions.completed_at is 'When what was sold was done: at once for most, on delivery, approval or the end for others. Null: not yet.';

comment on column public.transactions.free_refunded_cents is 'Of refunded_cents what was refunded at the platform''s cost; later fees follow its share.';

comment on column public.transactions.free_until is 'Until when the buyer may step back at the platform''s cost; null: no such right.';

comment on column public.transactions.kind is 'Kind of what was sold, as on the line.';

comment on column public.transactions.refunded_cents is 'Refunded so far, cents; the next four are its parts.';

comment on column public.transactions.refunded_fee_cents is 'Of the provider''s fee, which it keeps, what the platform bears, cents: of refunds at the platform''s cost.';

comment on column public.transactions.refunded_seller_cents is 'Returned by the seller, cents; includes the kept fee of refunds at the seller''s cost.';

comment on column public.transactions.related_id is 'The item sold (catalog_items.id); null for a payable that delivers nothing of the registry.';

comment on column public.transactions.release_at is 'When the held money becomes available; null while what was sold is not done, see completed_at.';

comment on column public.transactions.release_journal_id is 'Journal that released it, the last one where payees were released apart; null while any part is held.';

comment on column public.transactions.settled_at is 'When it settled.';

comment on column public.transactions.ship_by is 'Until when what is sent has to be shipped; after that its buyer can cancel. Null: nothing is sent.';

comment on constraint artworks_edition_size_check on public.artworks is 'invalid_edition: An edition has 2 to 10,000 copies.';

comment on constraint cart_items_option_id_fkey on public.cart_items is 'option_not_available: There is no such option of this item.';

comment on constraint cart_items_pkey on public.cart_items is 'already_done: The item is in the cart already; upsert to change it.';

comment on constraint order_items_option_id_fkey on public.order_items is 'item_has_orders: This option was ordered and cannot be removed; make it inactive.';

comment on constraint purchases_option_id_fkey on public.purchases is 'item_has_orders: This option was bought and cannot be removed; make it inactive.';

comment on function ledger.post_many(ledger.journal_kind, ledger.posting[], text) is 'Posts many journals of one kind as ledger.post() does each, in a few statements; returns how many were new. Those whose key exists are left as they are. Errors: unbalanced_journal, unknown_account; 23514 when a wallet would fall below zero.';

comment on function private.apply_refund_line(public.refund_lines, text) is 'Adds a refund line, or with negative amounts takes one back, on its sale: amounts, status, and what was granted.';

comment on function private.artwork_check_line(uuid[], private.wanted_line[]) is 'Hook check_line: what the buyer saw of the work, and of which edition it is.';

comment on function private.artwork_check_option(uuid[], public.catalog_options[]) is 'Hook check_option: {series}, such as AP for artist''s proofs; set aside, and on top of the edition. Errors: invalid_option, edition_fixed.';

comment on function private.artwork_grant(uuid[]) is 'Hook grant: copies get their numbers; what is sold out becomes sold.';

comment on function private.artwork_restore(uuid[]) is 'Hook restore: as when it was granted; a copy whose number was given to another gets a new one.';

comment on function private.artwork_revoke(uuid[], text) is 'Hook revoke: a sold work is what it was before the sale, unless all of it is still somebody''s or away.';

comment on function private.book_refund(uuid) is 'Books a refund once: pro rata on tax and commission, the fee the provider keeps from whoever bears it, the rest from the payees. Error: event_too_early when it exceeds what is left.';

comment on function private.catalog_entry(public.tip_jars) is 'A tip jar''s registry row; its title is that of the line.';

comment on function private.check_edition(uuid, integer, integer) is 'Fails with edition_fixed when an edition that was ordered grows, or shrinks below what is sold or held, and when one with series beside it is to be one of a kind.';

comment on function private.checked_address(jsonb) is 'A shipping address as a client sent it, or null. Error: invalid_checkout.';

comment on function private.complete_lines(uuid[], timestamp with time zone) is 'What these lines promised is done, now or at a time given: their earnings become available earnings_hold later, and their kinds hear of it (hook complete). Those completed before stay as they are; how many were not.';

comment on function private.copies_of(uuid, integer) is 'Copies of a work: of the edition and of the series beside it.';

comment on function private.count_earned() is 'Trigger: wallets.total_earned_*.';

comment on function private.count_option_taken(uuid, integer) is 'How many of an option''s stock are sold or held, counted anew; 0 without one. Under the item''s lock.';

comment on function private.count_published_item(text, uuid, integer) is 'Moves the seller''s count of published items of a browsable kind. Whoever makes the first row has locked the profile.';

comment on function private.count_purchases() is 'Trigger: catalog_items.purchases_count counts valid grants and what is away, paid_purchases_count valid ones that were paid for; is_exclusively_sold follows the exclusive option.';

comment on function private.count_spent() is 'Trigger: wallets.total_spent_on_platform_cents.';

comment on function private.count_taken(uuid, integer) is 'How many of a stock of several are sold or held, counted anew; 0 for others. Under the item''s lock.';

comment on function private.create_refund(uuid, uuid, bigint, text, public.refund_origin, text, text) is
    'Asks for a refund: at once for wallet payments and for one paid outside (under that reference), through the provider otherwise. Error: refund_amount_invalid.';

comment on function private.deliver_orders(uuid[]) is 'Completes deliverable orders: grants, closes what was agreed, empties the cart of them.';

comment on function private.deliverable_orders(uuid[]) is 'Those of these locked orders whose lines can all be granted now, as they are ordered; late ones hold what they need again.';

comment on function private.dispatch_check_line(text, uuid[], private.wanted_line[]) is 'Checkout: what a line of each of these items is and costs less, or why not. Built: see build_dispatch().';

comment on function private.dispatch_check_option(text, uuid[], public.catalog_options[]) is
    'These options of these items are new or changed, or (none of them) some are gone: fails when they are not as the kind wants them. Built: see build_dispatch().';

comment on function private.dispatch_complete(text, uuid[]) is 'These order lines were just completed: what was promised is done. Built: see build_dispatch().';

comment on function private.dispatch_grant(text, uuid[]) is 'Settlement: these purchases were just granted. Built: see build_dispatch().';

comment on function private.dispatch_lock_own(text, uuid[]) is 'Before these items are sold or come back: locks their own rows, which come before their registry rows. For kinds whose own rows change by it only. Built: see build_dispatch().';

comment on function private.dispatch_payees(text, uuid[]) is 'Settlement: who earns each of these order lines. Built: see build_dispatch().';

comment on function private.dispatch_purchases(text, uuid[], text) is 'Calls the hook grant, revoke or restore of the kinds of these purchases.';

comment on function private.dispatch_restore(text, uuid[]) is 'These revoked purchases were just granted again, because a refund failed. Built: see build_dispatch().';

comment on function private.dispatch_revoke(text, uuid[], text) is 'These purchases were just revoked; with the reason returned: what was sent for them is back. Built: see build_dispatch().';

comment on function private.dispatch_units(text, uuid[]) is 'Settlement: the rights that each of these order lines grants. Built: see build_dispatch().';

comment on function private.end_holds(uuid) is 'For kinds whose items are also sold elsewhere: what orders hold of this one is gone. A payment under way then comes back in full by itself. Returns how many holds ended.';

comment on function private.erase_tip_jar(uuid) is 'Account deletion: a jar that nobody put anything in goes, any other is closed.';

comment on function private.free_commission(public.transactions, bigint) is 'The part of a commission (cents) that was refunded at the platform''s cost.';

comment on function private.free_purchases(uuid[], text) is 'What becomes of what these purchases were, with a stable word why: its stock is free again, somebody who paid for the same and did not get it gets it, and its kind reacts (hook revoke).';

comment on function private.give_back(uuid, text) is 'Books a charge whose goods are gone and gives it back in full; answers refunding.';

comment on function private.grant_orders(uuid[]) is 'Grants what each line of these orders bought, in their order, and ends their holds. 23505 when somebody got it in the same instant.';

comment on function private.has_sold_before(uuid, interval) is 'Whether the seller has a sale, not refunded, from before this period.';

comment on function private.hold_lines(uuid, uuid[], boolean) is 'Holds what an order''s lines need that it does not hold yet, or fails: item_reserved, item_sold, item_not_available. What its buyer''s earlier orders hold of the same goes over to it. Late: its money has arrived.';

comment on function private.is_limited(public.catalog_items) is 'Whether buying the item needs a hold: it has a stock, or an option of it has.';

comment on function private.is_platform(uuid) is 'Whether this is the platform''s own profile. Only this function knows its id.';

comment on function private.lock_orders(uuid[]) is 'Locks orders and what they are about in the order of docs/conventions.md: the orders, what was agreed, the items'' own rows where selling changes them, stocks. Their payments are locked; sales and wallets come after.';

comment on function private.lock_stock(uuid[]) is 'Locks what these orders take of stocks: whoever takes or frees more than one order''s calls it first.';

comment on function private.owns_item(uuid, uuid) is 'True while the user owns the item, in any option: downloads, reviews and the like ask it.';

comment on function private.payee_legs(uuid) is 'Lets the payees follow their sale''s amounts and answers the legs that move them; keeps transaction_payees.';

comment on function private.payees_of(uuid) is 'Everybody who earns something of a payment.';

comment on function private.payees_to_be(uuid[]) is 'Who will earn what of the paid lines of these orders; nobody what the platform sells.';

comment on function private.place_order(uuid, private.order_line[], public.payment_provider, jsonb, text, timestamp
    with time zone) is 'Makes the order of these lines and its payment; free and wallet ones complete at once. Takes the place of the buyer''s own open attempts at the same. Errors: amount_out_of_range, item_reserved, item_sold, item_not_available, hold_paused, too_many_holds, insufficient_funds.';

comment on function private.product_check_line(uuid[], private.wanted_line[]) is 'Hook check_line: the licence is that of the option, else of the product.';

comment on function private.product_check_option(uuid[], public.catalog_options[]) is 'Hook check_option: {license_type, license_text}; exclusive is what is sold exclusively.';

comment on function private.promised_back(uuid, uuid, bigint, text) is 'Cents that refunds under way will take from somebody who earns, beyond what each sale still holds for them, with more_cents of one more line.';

comment on function private.read_lines(uuid, jsonb, text) is 'The lines of an order from [{item_id, option_id, quantity, offered_price_cents, shown_price_cents, details}], each item read once, locked; sent to a country (ISO 3166), if anything is. The one place that prices a line.';

comment on function private.refund_line(uuid, bigint, text, public.refund_origin, text) is 'Asks for a refund of a sale within the limits of who asks; null is all that is left. Errors: reason_required, refund_amount_invalid, insufficient_funds.';

comment on function private.release_holds(uuid[]) is 'Gives back what these orders held and did not buy. Of several orders lock_stock() first.';

comment on function private.restore_line(uuid) is 'A full refund of this line failed: gives back what it took. What was revoked for another reason stays revoked.';

comment on function private.restore_purchases(uuid[]) is 'Gives back revoked purchases that nobody else has got meanwhile, and tells their kinds (hook restore). Where somebody has, nothing happens but an entry refund_failed_after_resale in audit_log.';

comment on function private.return_line(uuid) is 'What was sent for a line that was revoked is back: see free_purchases(), the word is returned.';

comment on function private.revoke_line(uuid, text) is 'Takes back everything a line granted, with a stable word why; with or without money. See free_purchases(); what was sent and is not back stays taken. Repeated calls change nothing.';

comment on function private.sale_terms(text, uuid) is 'The seller''s plan and the commission (basis points) of a sale of this kind now: all of it for what the platform sells.';

comment on function private.sell_artworks(uuid[]) is 'Works of which nothing is left become sold.';

comment on function private.settle_batch(bigint[]) is 'Settles those of these events that are the first try of a plain success, together; returns their ids. The others are untouched: process_webhook_event() says what becomes of each. Rows that somebody holds are passed over.';

comment on function private.settle_payment(uuid, text) is 'Settles one payment, see settle_payments().';

comment on function private.settle_payments(uuid[], text[]) is 'Settles locked payments with the charges that paid them, each once: grants, one transaction with its payees and one sale journal per line. Says of each settled, already_settled, or refunding when the goods are gone; a payment from a wallet fails then (item_not_available). No two of them may be for the same thing of one owner.';

comment on function private.split_line(bigint, bigint, bigint, bigint, integer) is 'Divides a paid line (cents, tax and shipping included in total) into commission and the sellers'' part, which shipping is part of: docs/money.md, Fees.';

comment on function private.split_refund(public.transactions, bigint, text) is 'Divides the next refund of a sale (cents, at most what is left of it; negative to take back as much) into tax, commission, the fee where the platform bears it, and the sellers'' part.';

comment on function private.split_signed(bigint, bigint[]) is 'split_cents() of what may be negative.';

comment on function private.start_payment(uuid, uuid) is 'Opens an attempt for its payer and says what to create at the provider (idempotency key: the payment id). Errors: banned, payment_not_found, payment_not_open, already_owned, payable_not_open.';

comment on function private.take_stock(uuid, uuid, integer, uuid) is 'Takes pieces of an item''s and its option''s stock for an order, or with a negative number gives them back. Null, or why there are not enough: item_reserved while somebody else''s holds may still end, else item_sold or item_not_available; then the caller''s transaction ends. Locks the item''s row.';

comment on function private.tell_earnings() is 'Trigger on transaction_payees: tells earnings. Built by make_tell().';

comment on function private.tell_shipped() is 'Trigger on shipments: tells shipped. Built by make_tell().';

comment on function private.tell_tip() is 'Trigger on tips: tells tip. Built by make_tell().';

comment on function private.tip_jar_check_line(uuid[], private.wanted_line[]) is 'Hook check_line: {message, item_id}, both optional; the item is one of whom the tip is for.';

comment on function private.tip_jar_grant(uuid[]) is 'Hook grant: the tips of these lines; their recipients are told.';

comment on function private.tip_jar_of(uuid) is 'Somebody''s tip jar, made if need be.';

comment on function private.tip_jar_restore(uuid[]) is 'Hook restore: the refund failed, the tip stands again.';

comment on function private.tip_jar_revoke(uuid[], text) is 'Hook revoke: what was given back opens nothing any more.';

comment on function public.cancel_line(uuid, text) is 'Buyer: steps back from a line and gets everything back: at the platform''s cost until transactions.free_until, and when what is to be sent was not shipped by transactions.ship_by. Errors: sale_not_found, cannot_cancel, refund_amount_invalid when nothing is left or under way, idempotency_key_invalid, idempotency_key_reused.';

comment on function public.checkout(jsonb, public.payment_provider, text, jsonb, text) is 'Buys items ([{item_id, option_id?, quantity?, offered_price_cents?, details?}], default: the cart) with stripe or wallet and answers the order, its payment and where to start it. offered_price_cents is the offer for name-your-price items; for others the price that was shown: more is not taken (price_changed), less is. The cart remembers what it showed. details are what the item''s kind wants to know. The same idempotency_key with the same request answers the first order, also when that was cancelled since. An earlier open order of one of the items is superseded, unless it can be bought repeatedly. Errors: invalid_checkout, empty_checkout, too_many_items, item_not_available, option_not_available, line_not_valid, item_sold, item_reserved, already_owned, duplicate_item, own_item, quantity_not_allowed, price_too_low, price_changed, address_required, shipping_not_available, amount_out_of_range, insufficient_funds, provider_not_available, hold_paused, too_many_holds, payments_not_set_up, idempotency_key_invalid, idempotency_key_reused.';

comment on function public.checkout_payable(uuid, public.payment_provider, text, jsonb, text) is
    'Pays what the caller agreed on (a row of payables) with stripe or wallet, alone in its order, and answers as checkout() does. Price and rate are those agreed; listings, blocks, carts and new prices do not matter. Can be tried again until pay_by; an earlier open attempt is superseded. Errors: payable_not_open, invalid_checkout, address_required, insufficient_funds, provider_not_available, payments_not_set_up, idempotency_key_invalid, idempotency_key_reused.';

comment on function public.send_tip(uuid, bigint, text, uuid, public.payment_provider, text) is
    'Tips somebody with stripe or wallet and answers as checkout() does; the tip is there once it is paid. item_id: what of theirs it is for. The same idempotency_key with the same request answers the first order. Errors: user_not_found, own_item, item_not_available (they take no tips), price_too_low, amount_out_of_range, line_not_valid (the detail: message or item_id), invalid_checkout (no amount), insufficient_funds, provider_not_available, payments_not_set_up, idempotency_key_invalid, idempotency_key_reused.';

comment on table private.holds is 'What is held, and by whom: now a pending order; later pages add other holders. An order''s are released only after its attempt is cancelled at the provider.';

comment on table public.artworks is 'Works, one of a kind or in editions. Visible while published or sold and of a seller in good standing; always to the seller, the buyer and admins. Counters, search and sorting are on its catalog_items row.';

comment on table public.cart_items is 'Cart: one row per member, item and option. Owner only.';

comment on table public.profile_counts is 'How many published items of each browsable kind a profile has; no row: none. Readable with the profile, written by triggers.';

comment on table public.purchases is 'What a line granted: one row for each right, valid until it is revoked. Owner, payer and admins read; settlement and refunds write.';

comment on table public.tip_jars is 'What somebody says about tips to them; no row yet: the defaults. Readable with the profile; the owner writes, send_tip() makes it when it is first needed.';

comment on table public.tips is 'Tips that were paid. Sender, recipient and admins read; settlement and refunds write. What a tip opened to its sender is open while closed_at is null.';

comment on table public.transaction_payees is 'What each payee earns of a sale; their parts add up to amount_seller_cents. Each payee reads their own row, the seller and admins all of the sale.';

comment on type ledger.posting is 'One leg of one of several journals: the journal''s key and source, then the leg as in ledger.leg.';

comment on type private.catalog_entry is 'What a kind contributes to its registry row; body is only searched, is_repeatable is its kind''s when null. Each kind defines private.catalog_entry(<its row>).';

comment on type private.granted_unit is 'One right that a line grants. is_extra: on top of what was bought, such as a track of an album: it has no stock, and it does not matter that the buyer has it already.';

comment on type private.line_facts is 'What a kind says about a wanted line: what to keep of the item as it is now, what the line costs less (cents), or why it cannot be ordered (an error code and its detail).';

comment on type private.line_payee is 'Somebody who earns a line, with their share in basis points; the shares of a line add up to 10000.';

comment on type private.wanted_line is 'A line somebody wants to order, as its kind is asked about it: at the price a piece costs this buyer, cents; details are what the buyer sent for it, an object.';

comment on view private.limited_lines is 'Order lines that cannot be delivered without a hold, and the hold they have; pieces is how many they need.';

revoke all on function ledger.post_many(ledger.journal_kind, ledger.posting[], text) from public;

revoke all on function private.apply_refund_line(public.refund_lines, text) from public;

revoke all on function private.artwork_check_line(uuid[], private.wanted_line[]) from public;

revoke all on function private.artwork_check_option(uuid[], public.catalog_options[]) from public;

revoke all on function private.artwork_grant(uuid[]) from public;

revoke all on function private.artwork_restore(uuid[]) from public;

revoke all on function private.artwork_revoke(uuid[], text) from public;

revoke all on function private.catalog_entry(public.tip_jars) from public;

revoke all on function private.check_edition(uuid, integer, integer) from public;

revoke all on function private.checked_address(jsonb) from public;

revoke all on function private.complete_lines(uuid[], timestamp with time zone) from public;

revoke all on function private.copies_of(uuid, integer) from public;

revoke all on function private.count_earned() from public;

revoke all on function private.count_option_taken(uuid, integer) from public;

revoke all on function private.count_spent() from public;

revoke all on function private.count_taken(uuid, integer) from public;

revoke all on function private.create_refund(uuid, uuid, bigint, text, public.refund_origin, text, text) from public;

revoke all on function private.deliver_orders(uuid[]) from public;

revoke all on function private.deliverable_orders(uuid[]) from public;

revoke all on function private.dispatch_check_line(text, uuid[], private.wanted_line[]) from public;

revoke all on function private.dispatch_check_option(text, uuid[], public.catalog_options[]) from public;

revoke all on function private.dispatch_complete(text, uuid[]) from public;

revoke all on function private.dispatch_grant(text, uuid[]) from public;

revoke all on function private.dispatch_lock_own(text, uuid[]) from public;

revoke all on function private.dispatch_payees(text, uuid[]) from public;

revoke all on function private.dispatch_purchases(text, uuid[], text) from public;

revoke all on function private.dispatch_restore(text, uuid[]) from public;

revoke all on function private.dispatch_revoke(text, uuid[], text) from public;

revoke all on function private.dispatch_units(text, uuid[]) from public;

revoke all on function private.end_holds(uuid) from public;

revoke all on function private.erase_tip_jar(uuid) from public;

revoke all on function private.free_commission(public.transactions, bigint) from public;

revoke all on function private.free_purchases(uuid[], text) from public;

revoke all on function private.give_back(uuid, text) from public;

revoke all on function private.grant_orders(uuid[]) from public;

revoke all on function private.has_sold_before(uuid, interval) from public;

revoke all on function private.hold_lines(uuid, uuid[], boolean) from public;

revoke all on function private.is_limited(public.catalog_items) from public;

revoke all on function private.is_platform(uuid) from public;

grant execute on function private.is_platform(uuid) to anon, authenticated;

revoke all on function private.lock_orders(uuid[]) from public;

revoke all on function private.lock_stock(uuid[]) from public;

revoke all on function private.payee_legs(uuid) from public;

revoke all on function private.payees_of(uuid) from public;

revoke all on function private.payees_to_be(uuid[]) from public;

revoke all
    on function private.place_order(uuid, private.order_line[], public.payment_provider, jsonb, text, timestamp
        with time zone)
    from public;

revoke all on function private.product_check_line(uuid[], private.wanted_line[]) from public;

revoke all on function private.product_check_option(uuid[], public.catalog_options[]) from public;

revoke all on function private.promised_back(uuid, uuid, bigint, text) from public;

revoke all on function private.read_lines(uuid, jsonb, text) from public;

revoke all on function private.refund_line(uuid, bigint, text, public.refund_origin, text) from public;

revoke all on function private.release_holds(uuid[]) from public;

revoke all on function private.restore_line(uuid) from public;

revoke all on function private.restore_purchases(uuid[]) from public;

revoke all on function private.return_line(uuid) from public;

revoke all on function private.revoke_line(uuid, text) from public;

revoke all on function private.sale_terms(text, uuid) from public;

revoke all on function private.sell_artworks(uuid[]) from public;

revoke all on function private.settle_batch(bigint[]) from public;

grant execute on function private.settle_batch(bigint[]) to avenue_worker;

revoke all on function private.settle_payments(uuid[], text[]) from public;

revoke all on function private.split_line(bigint, bigint, bigint, bigint, integer) from public;

revoke all on function private.split_refund(public.transactions, bigint, text) from public;

revoke all on function private.split_signed(bigint, bigint[]) from public;

revoke all on function private.take_stock(uuid, uuid, integer, uuid) from public;

revoke all on function private.tell_shipped() from public;

revoke all on function private.tell_tip() from public;

revoke all on function private.tip_jar_check_line(uuid[], private.wanted_line[]) from public;

revoke all on function private.tip_jar_grant(uuid[]) from public;

revoke all on function private.tip_jar_of(uuid) from public;

revoke all on function private.tip_jar_restore(uuid[]) from public;

revoke all on function private.tip_jar_revoke(uuid[], text) from public;

grant execute on function public.cancel_line(uuid, text) to authenticated;

grant execute
    on function public.checkout_payable(uuid, public.payment_provider, text, jsonb, text)
    to authenticated;

grant execute
    on function public.send_tip(uuid, bigint, text, uuid, public.payment_provider, text)
    to authenticated;

revoke all (edition_size) on table public.artworks from authenticated;

grant insert (edition_size), update (edition_size) on table public.artworks to authenticated;

revoke all (is_physical) on table public.artworks from authenticated;

grant insert (is_physical), update (is_physical) on table public.artworks to authenticated;

revoke all (option_id) on table public.cart_items from authenticated;

grant insert (option_id), update (option_id) on table public.cart_items to authenticated;

revoke all on table public.tip_jars from anon;

grant select on table public.tip_jars to anon;

revoke all on table public.tip_jars from authenticated;

revoke all (is_open) on table public.tip_jars from authenticated;

grant insert (is_open), update (is_open) on table public.tip_jars to authenticated;

revoke all (suggested_cents) on table public.tip_jars from authenticated;

grant insert (suggested_cents), update (suggested_cents) on table public.tip_jars to authenticated;

grant select on table public.tip_jars to authenticated;

revoke all on table public.tip_jars from service_role;

grant select on table public.tip_jars to service_role;

revoke all on table public.tips from authenticated;

grant select on table public.tips to authenticated;

revoke all on table public.tips from service_role;

grant select on table public.tips to service_role;

revoke all on table public.transaction_payees from authenticated;

grant select on table public.transaction_payees to authenticated;

revoke all on table public.transaction_payees from service_role;

grant select on table public.transaction_payees to service_role;

alter table public.tip_jars
    add constraint tip_jars_seller_id_fkey foreign key (seller_id) references public.profiles(id);

create policy tip_jars_insert on public.tip_jars
    for insert
    to authenticated
    with check ((seller_id = ( SELECT private.member_id() AS member_id)));

create policy tip_jars_select on public.tip_jars
    for select
    to authenticated
    using (((seller_id = ( select private.member_id() as member_id)) or (( select c.id
   from public.catalog_items c
  where (c.id = tip_jars.id)) is not null)));

create policy tip_jars_update on public.tip_jars
    for update
    to authenticated
    using ((seller_id = ( select private.member_id() as member_id)))
    with check ((seller_id = ( SELECT private.member_id() AS member_id)));

comment on column public.tip_jars.seller_id is 'Whose; always the caller.';

comment on constraint tip_jars_seller_id_key on public.tip_jars is 'already_done: The jar is there already; upsert to change it.';

comment on column public.tip_jars.minimum_cents is 'The least tip, cents.';

revoke all (minimum_cents) on table public.tip_jars from authenticated;

grant insert (minimum_cents), update (minimum_cents) on table public.tip_jars to authenticated;

alter table public.bans
    add constraint bans_platform_check check ((NOT private.is_platform(user_id)));

comment on constraint bans_platform_check on public.bans is 'user_not_found: The platform itself is nobody to ban.';

alter table public.order_items
    add constraint order_items_shipping_check
        check (((shipping_cents >= 0) AND (shipping_cents <= private.highest_amount_cents())));

comment on constraint tip_jars_minimum_cents_check on public.tip_jars is 'invalid_price: The least tip is from 50 cents to the suggested one.';

comment on constraint tip_jars_suggested_cents_check on public.tip_jars is 'invalid_price: A suggested tip is from 50 to 99999999 cents.';

alter table public.user_blocks
    add constraint user_blocks_platform_check check ((NOT private.is_platform(blocked_id)));

comment on constraint user_blocks_platform_check on public.user_blocks is 'user_not_found: The platform itself is nobody to block.';

alter table public.wallets
    add constraint wallets_platform_check check ((NOT private.is_platform(user_id)));

create index catalog_items_title_trgm_idx on public.catalog_items
    using gin (private.search_text(title) extensions.gin_trgm_ops)
    where is_listed;

-- What the registries of pages say now.
update private.counters set truth = 'select md5(seller_id::text || kind)::uuid, count(*) from public.catalog_items where is_published and is_browsable group by 1' where counter = 'profile_counts.published_count';
insert into private.counters (counter, relation, key, count_column, truth, source, source_key, counted) values
('catalog_items.purchases_count', 'public.catalog_items', 'id', 'purchases_count', 'select item_id, count(*) from public.purchases where (revoked_at is null or is_away) and item_id is not null group by 1', null, null, null);
insert into private.erasure_steps (step, phase, erases, statement, batch) values
('tip_jars', 'items', '{}', 'select private.erase_tip_jar($1)', null),
('tip_lines', 'records', '{}', '
    update public.order_items set details = details - ''message''
    where buyer_id = $1 and kind = ''tip_jar'' and details ? ''message''
', null),
('tips', 'records', '{public.tips.message}', 'update public.tips set message = null where sender_id = $1 and message is not null', null);
update private.error_codes set message = 'The amount is too large or too small.', description = 'One order is at most 999,999.99: split it. What a discount leaves is at least 0.50 or nothing, unless it is paid from the wallet.' where code = 'amount_out_of_range';
insert into private.error_codes (code, sqlstate, message, description) values
('cannot_cancel', 'PT409', 'This cannot be cancelled by its buyer.', 'It is done or shipped, or its time to step back is over (transactions.free_until, ship_by). Ask the seller for a refund.'),
('edition_fixed', 'PT409', 'The edition can no longer change like this.', 'Once a copy was ordered an edition, its series included, may shrink, down to what is sold or held, and never grow. With a series beside it a work is not one of a kind: remove that first.'),
('line_not_valid', 'PT400', 'This cannot be ordered like that.', 'The detail names what was sent for the item and is not known or not allowed.');
insert into private.hooks (hook, parameters, returns, as_caller, otherwise, needs, refusal, meaning) values
('check_line', 'lines private.wanted_line[]', 'setof private.line_facts', 'false', 'select l.no, null::text, null::public.license_type, null::text, null::integer, ''{}''::jsonb, 0::bigint, case when l.details <> ''{}'' then ''line_not_valid'' end, case when l.details <> ''{}'' then ''details'' end from unnest(lines) as l', '{units,payees}', 'item_not_available', 'Checkout: what a line of each of these items is and costs less, or why not.'),
('check_option', 'options public.catalog_options[]', 'void', 'false', 'if (select bool_or(o.details <> ''{}'') from unnest(options) as o) then perform private.fail(''invalid_option'', ''details''); end if', '{}', 'option_not_available', 'These options of these items are new or changed, or (none of them) some are gone: fails when they are not as the kind wants them.'),
('complete', '', 'void', 'false', 'null', '{check_line}', 'item_not_available', 'These order lines were just completed: what was promised is done.'),
('grant', '', 'void', 'false', 'null', '{revoke}', 'item_not_available', 'Settlement: these purchases were just granted.'),
('lock_own', '', 'void', 'false', 'perform from {relation} as t where t.id = any (ids) order by t.id for no key update', '{grant}', 'item_not_available', 'Before these items are sold or come back: locks their own rows, which come before their registry rows. For kinds whose own rows change by it only.'),
('payees', '', 'setof private.line_payee', 'false', 'select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids)', '{grant}', 'item_not_available', 'Settlement: who earns each of these order lines.'),
('restore', '', 'void', 'false', 'null', '{complete}', 'item_not_available', 'These revoked purchases were just granted again, because a refund failed.'),
('revoke', 'reason text', 'void', 'false', 'null', '{restore}', 'item_not_available', 'These purchases were just revoked; with the reason returned: what was sent for them is back.'),
('units', '', 'setof private.granted_unit', 'false', 'select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids)', '{grant}', 'item_not_available', 'Settlement: the rights that each of these order lines grants.');
update private.kinds set hooks = '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete}' where kind = 'product';
update private.kinds set hooks = '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,lock_own,grant,revoke,restore,complete}' where kind = 'artwork';
insert into private.kinds (kind, relation, owner_column, page, hooks, is_browsable, is_repeatable, proceeds, commission, earned, free_window) values
('tip', 'public.tips', 'sender_id', '/tips/{id}', '{can_read,evidence}', 'true', 'false', 'seller', 'plan', 'at_payment', null),
('tip_jar', 'public.tip_jars', 'seller_id', '/settings/tips', '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete}', 'false', 'true', 'seller', 'none', 'at_payment', null);
insert into private.notification_types (type, title, message, link_template, collapse, collapse_unread, email, can_switch_off, is_anonymous, outlives_content, reaches_banned) values
('shipped', 'On its way', 'Something you bought was sent to you.', null, null, 'false', 'immediate', 'false', 'false', 'true', 'false');
update private.personal_data set stays = '{kind,buyer_id,seller_id,title,description,license_text,details,seller_tier}' where section = 'order_items';
update private.personal_data set condition = 't.owner_id = $1 or t.payer_id = $1', stays = '{kind,owner_id,payer_id,revoked_reason}' where section = 'purchases';
update private.personal_data set stays = '{kind,buyer_id,seller_id,related_id,seller_tier,payment_method,stripe_payment_intent_id,stripe_charge_id,paypal_order_id,paypal_transaction_id,metadata}' where section = 'transactions';
insert into private.personal_data (section, relation, condition, stays, reason) values
('tip_jars', 'public.tip_jars', 't.seller_id = $1', '{seller_id,hidden_reason}', 'its orders stay in the books; removed where there are none'),
('tips', 'public.tips', 't.sender_id = $1 or t.recipient_id = $1', '{sender_id,recipient_id}', 'the books: who paid whom for what'),
('transaction_payees', 'public.transaction_payees', 't.payee_id = $1', '{payee_id}', 'the books: who paid whom for what');
insert into profiles (id, username, display_name, full_name, bio, avatar_url, banner_url, smart_link, website_url, experience_level, role, profile_visibility, is_partner_account, is_banned, is_confirmed, followers_count, following_count, deleted_at) values
('a7e0e000-0000-4000-8000-000000000000', 'avenue', 'Avenue', null, null, null, null, null, null, null, 'member', 'private', 'false', 'false', 'true', '0', '0', null);

comment on function private.catalog_entry(public.products) is 'A product''s registry row.';
comment on function private.catalog_entry(public.artworks) is 'An artwork''s registry row.';

-- See 97_statistics/10_texts.
alter table public.catalog_options alter column title set statistics 0;
alter table public.order_items alter column kind set statistics 0;
alter table public.payables alter column kind set statistics 0;
alter table public.payables alter column seller_tier set statistics 0;
alter table public.payables alter column title set statistics 0;
alter table public.purchases alter column kind set statistics 0;
alter table public.purchases alter column revoked_reason set statistics 0;
alter table public.refunds alter column fee_bearer set statistics 0;
alter table public.shipments alter column carrier set statistics 0;
alter table public.shipments alter column tracking_number set statistics 0;
alter table public.shipping_rates alter column name set statistics 0;
alter table public.tip_jars alter column hidden_reason set statistics 0;
alter table public.tips alter column message set statistics 0;
alter table public.transactions alter column kind set statistics 0;
