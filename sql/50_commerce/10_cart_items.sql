-- What a member is about to buy. Prices are read again at checkout; what the cart showed is the most it may cost.

create table public.cart_items (
    user_id uuid not null default auth.uid(),
    item_id uuid not null,
    option_id uuid,
    -- A key has no nulls.
    option_key uuid not null generated always as (coalesce(option_id, item_id)) stored,
    quantity integer not null default 1,
    offered_price_cents bigint,
    shown_price_cents bigint not null default 0,
    added_at timestamptz not null default now(),
    constraint cart_items_pkey primary key (user_id, item_id, option_key),
    constraint cart_items_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint cart_items_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint cart_items_option_id_fkey foreign key (option_id, item_id)
    references public.catalog_options (id, item_id) on delete cascade,
    constraint cart_items_quantity_check check (quantity between 1 and 99),
    constraint cart_items_offered_price_check check (offered_price_cents between 0 and private.highest_amount_cents()),
    constraint cart_items_shown_price_cents_check check (shown_price_cents between 0 and private.highest_amount_cents())
);

create index cart_items_item_id_idx on public.cart_items (item_id);
create index cart_items_option_id_idx on public.cart_items (option_id, item_id) where option_id is not null;

-- What a client that breaks these is told, see error_catalog().
comment on constraint cart_items_offered_price_check on public.cart_items is
'invalid_price: An offer is from 0 to 99999999 cents.';
comment on constraint cart_items_quantity_check on public.cart_items is
'quantity_not_allowed: A quantity is from 1 to 99.';
comment on constraint cart_items_item_id_fkey on public.cart_items is 'item_not_available: There is no such item.';
comment on constraint cart_items_option_id_fkey on public.cart_items is
'option_not_available: There is no such option of this item.';
comment on constraint cart_items_pkey on public.cart_items is
'already_done: The item is in the cart already; upsert to change it.';

comment on table public.cart_items is 'Cart: one row per member, item and option. Owner only.';
comment on column public.cart_items.user_id is 'Whose cart; always the caller.';
comment on column public.cart_items.option_id is 'Which option of it; null: the item itself.';
comment on column public.cart_items.option_key is 'The option, or the item itself: for the key. Generated.';
comment on column public.cart_items.quantity is 'Pieces; 1 for one-of-a-kind items.';
comment on column public.cart_items.offered_price_cents is
'The buyer''s price for a name-your-price item, in cents a piece; null takes the suggested price.';
comment on column public.cart_items.shown_price_cents is
'What a piece cost when the item was put in, or put in again (an upsert): the offer, else the price; in cents. '
'Checkout takes no more without asking (price_changed). Kept by trigger.';

create function private.price_of(
    price_cents bigint, minimum_price_cents bigint, offered_cents bigint, agreed_cents bigint,
    out cents bigint, out least_cents bigint, out problem text
)
language plpgsql
immutable
set search_path = ''
as $$
begin
    cents := price_cents;
    if minimum_price_cents is not null then
        cents := coalesce(offered_cents, price_cents);
        least_cents := case
            when cents > 0 then greatest(minimum_price_cents, private.lowest_price_cents()) else minimum_price_cents
        end;
    end if;
    problem := case when cents < least_cents then 'price_too_low' when cents > agreed_cents then 'price_changed' end;
end
$$;

comment on function private.price_of(bigint, bigint, bigint, bigint) is
'What a piece costs a buyer who offers this much (null: no offer) for an item with this price and this minimum (null: '
'not name-your-price) and agreed to pay so much at most (null: whatever it costs); the least they may offer; and what '
'speaks against it: price_too_low, price_changed. The one rule of the cart and of checkout.';
grant execute on function private.price_of(bigint, bigint, bigint, bigint) to authenticated;

create function private.check_cart_item() returns trigger
language plpgsql
set search_path = ''
as $$
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
$$;

comment on function private.check_cart_item() is
'Trigger: refuses own, unlisted and over-counted items and offers below the minimum when they enter the cart; with the '
'argument shows it notes the price.';

-- Whoever changes the quantity alone has not seen a new price. An upsert names the item again, and so shows it again.
create trigger check_cart_item
before update of quantity on public.cart_items
for each row execute function private.check_cart_item();
create trigger check_shown_item
before insert or update of item_id, option_id, offered_price_cents on public.cart_items
for each row execute function private.check_cart_item('shows');

alter table public.cart_items enable row level security;
-- item_id is updatable because an upsert from a client library sets every column it sends.
grant
select, delete,
insert (item_id, option_id, quantity, offered_price_cents),
update (item_id, option_id, quantity, offered_price_cents)
on public.cart_items to authenticated;
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

insert into private.erasure_steps (step, phase, erases, statement) values
('cart_items', 'business', '{public.cart_items}', 'delete from public.cart_items where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('cart_items', 'public.cart_items', 't.user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('item_not_available', 'PT409', 'This item is not available.',
'The item does not exist, is not published, or was taken down. The detail names it. Remove it and try again.'),
('own_item', 'PT409', 'You cannot buy your own item.', 'Sellers cannot buy from themselves. Remove it from the cart.'),
('quantity_not_allowed', 'PT400', 'Only one piece of this item can be bought.',
'One-of-a-kind items have quantity 1; others between 1 and 99.'),
('price_not_negotiable', 'PT400', 'This item has a fixed price.',
'An offered price was sent for an item that is not name-your-price.'),
('price_too_low', 'PT400', 'The offered price is below the minimum.',
'Name-your-price items have a minimum; the detail names the item and states it. A paid price is at least 50 cents.');
