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
'somebody pays for it nobody else can check out, and the other way round. Said when it is made, and stays: its buyer '
'was promised it.';
comment on column public.catalog_options.is_set_aside is
'Its stock is a part of the item''s that is bought by this option only: the artist''s proofs of an edition.';
comment on column public.catalog_options.is_active is 'Whether it can be bought.';
comment on column public.catalog_options.position is 'Order of the options, from 1.';
comment on column public.catalog_options.details is
'What the kind wants to know: of a product {license_type, license_text}, of an edition {series}, of a service '
'{delivery_days, revisions, features}.';

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
after insert or update of price_cents, details, is_exclusive, is_set_aside, stock, is_active or delete
on public.catalog_options
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

create function private.lock_sold_item(item_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.catalog_items as c
    where c.id = lock_sold_item.item_id and c.seller_id = private.member_id()
    for no key update;
    return found;
end
$$;
comment on function private.lock_sold_item(uuid) is
'Whether the caller sells this item; then it is locked. For policies on what hangs on it: checkouts take the item '
'first and its option second, so whoever changes an option does the same.';
grant execute on function private.lock_sold_item(uuid) to authenticated;

alter table public.catalog_options enable row level security;
grant select on public.catalog_options to anon, authenticated, service_role;
grant
insert (item_id, title, price_cents, stock, is_exclusive, is_set_aside, is_active, position, details),
update (title, price_cents, stock, is_set_aside, is_active, position, details),
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
-- A policy looks at a row before it is locked.
create policy catalog_options_update on public.catalog_options for update to authenticated
using (private.lock_sold_item(item_id)) with check (private.sells_item(item_id));
create policy catalog_options_delete on public.catalog_options for delete to authenticated
using (private.lock_sold_item(item_id));

insert into private.personal_data (section, relation, condition, stays, reason) values
('catalog_options', 'public.catalog_options',
    't.item_id in (select c.id from public.catalog_items as c where c.seller_id = $1)', '{title, details}',
    'sold: its buyers keep it as they bought it; goes with the item');

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_options', 'PT409', 'This item has too many options.', 'At most 20 an item.'),
('invalid_option', 'PT400', 'This option is not valid.',
'The detail names what is wrong. A product''s option takes {license_type, license_text}, an edition''s {series}, a '
'service''s {delivery_days, revisions, features}.'),
('option_not_available', 'PT409', 'This option is not available.',
'It is not one of the item, is not active, or its kind has none. The detail names it. Choose another.');
