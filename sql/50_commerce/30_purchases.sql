-- Grants: what somebody owns and may download. One row for each right that a line gave; refunds, failed refunds and
-- whatever else takes a right away or gives it back flip its one switch, granted or revoked, by revoke_line() and
-- restore_line(). Kinds hear of it by their hooks, and nothing else knows them.

create table public.purchases (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    item_id uuid,
    option_id uuid,
    unit integer not null default 1,
    kind text not null,
    owner_id uuid,
    payer_id uuid not null,
    is_owned_once boolean not null,
    is_single boolean not null,
    number integer,
    price_cents bigint not null,
    currency character(3) not null default 'USD',
    purchased_at timestamptz not null default now(),
    revoked_at timestamptz,
    revoked_reason text,
    is_away boolean not null default false,
    constraint purchases_pkey primary key (id),
    constraint purchases_line_key unique nulls not distinct (order_item_id, item_id, unit),
    constraint purchases_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint purchases_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint purchases_option_id_fkey foreign key (option_id, item_id)
    references public.catalog_options (id, item_id),
    constraint purchases_owner_id_fkey foreign key (owner_id) references public.profiles (id),
    constraint purchases_payer_id_fkey foreign key (payer_id) references public.profiles (id),
    constraint purchases_unit_check check (unit between 1 and 10000),
    constraint purchases_revoked_check check (
        (revoked_at is null) = (revoked_reason is null) and (revoked_at is not null or not is_away)
    )
)
-- Settling counts on the item right after; room for the revoked mark.
with (fillfactor = 90);

-- Who owns what is asked everywhere, and decided here: once per option, and of one of a kind there is one owner.
create unique index purchases_owned_once_key on public.purchases (owner_id, item_id, option_id) nulls not distinct
where is_owned_once and revoked_at is null and owner_id is not null;
create unique index purchases_single_key on public.purchases (item_id) where is_single and revoked_at is null;
create unique index purchases_number_key on public.purchases (item_id, option_id, number) nulls not distinct
where number is not null and revoked_at is null;
create index purchases_owner_id_item_id_idx on public.purchases (owner_id, item_id) where revoked_at is null;
create index purchases_owner_id_purchased_at_idx on public.purchases (owner_id, purchased_at desc);
create index purchases_payer_id_idx on public.purchases (payer_id);
create index purchases_item_id_idx on public.purchases (item_id);
-- Who may have paid and got nothing, see heirs_of(): few of an item's.
create index purchases_refunded_idx on public.purchases (item_id) where revoked_reason in ('refunded', 'declined');
create index purchases_option_id_idx on public.purchases (option_id, item_id) where option_id is not null;

comment on constraint purchases_option_id_fkey on public.purchases is
'item_has_orders: This option was bought and cannot be removed; make it inactive.';

comment on table public.purchases is
'What a line granted: one row for each right, valid until it is revoked. Owner, payer and admins read; settlement and '
'refunds write.';
comment on column public.purchases.order_item_id is 'The order line that granted it.';
comment on column public.purchases.item_id is
'What is owned; null for a payable that delivers nothing of the registry.';
comment on column public.purchases.option_id is 'Which option of it.';
comment on column public.purchases.unit is 'Which of the line''s rights, from 1: the copies of an edition.';
comment on column public.purchases.kind is 'Kind of what was bought, as on the line; of a part its own.';
comment on column public.purchases.owner_id is 'Who owns it; null while a gift is not claimed.';
comment on column public.purchases.payer_id is 'Who paid for it.';
comment on column public.purchases.is_owned_once is 'Nobody can own it twice: products, not copies or services.';
comment on column public.purchases.is_single is 'One of a kind: it has one owner.';
comment on column public.purchases.number is 'Number of the copy in its edition; null where nothing is numbered.';
comment on column public.purchases.price_cents is
'What was paid for it, cents: the unit''s part of the line; 0 when free.';
comment on column public.purchases.purchased_at is 'When it was granted.';
comment on column public.purchases.revoked_at is 'When it was taken back; null while valid.';
comment on column public.purchases.revoked_reason is 'Why, as a stable word: refunded, removed, …';
comment on column public.purchases.is_away is
'Revoked, but what was sent for it is not back, or lost: its piece of the stock and its number are not free.';

create function private.owns_item(user_id uuid, item_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.purchases as p
        where p.owner_id = owns_item.user_id and p.item_id = owns_item.item_id and p.revoked_at is null
    )
$$;

comment on function private.owns_item(uuid, uuid) is
'True while the user owns the item, in any option: downloads, reviews and the like ask it.';
grant execute on function private.owns_item(uuid, uuid) to authenticated;

create function private.owns_option(user_id uuid, item_id uuid, option_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.purchases as p
        where
            p.owner_id = owns_option.user_id and p.item_id = owns_option.item_id
            and p.option_id is not distinct from owns_option.option_id and p.revoked_at is null
    )
$$;

comment on function private.owns_option(uuid, uuid, uuid) is
'True while the user owns the item in this option; null: in none.';

create function private.count_purchases() returns trigger
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;

comment on function private.count_purchases() is
'Trigger: catalog_items.purchases_count counts valid grants and what is away, paid_purchases_count valid ones that '
'were paid for; is_exclusively_sold follows the exclusive option.';

create trigger count_granted after insert on public.purchases referencing new table as changed_to
for each statement execute function private.count_purchases();
create trigger count_switched after update on public.purchases
referencing old table as changed_from new table as changed_to
for each statement execute function private.count_purchases();

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'catalog_items.purchases_count', 'public.catalog_items', 'id', 'purchases_count',
    'select item_id, count(*) from public.purchases where (revoked_at is null or is_away) and item_id is not null '
    'group by 1'
);

alter table public.purchases enable row level security;
grant select on public.purchases to authenticated, service_role;
create policy purchases_select on public.purchases for select to authenticated
using (
    owner_id = (select private.member_id()) or payer_id = (select private.member_id()) or (select private.is_admin())
);

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
('purchases', 'public.purchases',
    't.owner_id = $1 or t.payer_id = $1', '{kind, owner_id, payer_id, revoked_reason}',
    'the books: who paid whom for what');
