-- What is limited is held from checkout until it is paid or given up: of one of a kind the one piece, of a stock as
-- many
-- as the line has, and every line of an item that has an exclusive option. Whoever takes the hold first wins; the
-- others hear item_reserved or item_sold before they pay, or get all their money back after.
-- Of one of a kind a unique index decides. Of a stock the item's row does: taken counts what is sold and held, is
-- changed by the statement that takes or frees and read only under that row's lock, which is the last one a checkout
-- takes.

create table private.holds (
    id bigint generated always as identity,
    item_id uuid not null,
    option_id uuid,
    quantity integer not null,
    is_single boolean not null,
    order_id uuid,
    created_at timestamptz not null default now(),
    constraint holds_pkey primary key (id),
    constraint holds_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint holds_option_id_fkey foreign key (option_id, item_id)
    references public.catalog_options (id, item_id) on delete cascade,
    constraint holds_order_id_fkey foreign key (order_id) references public.orders (id),
    constraint holds_holder_check check (num_nonnulls(order_id) = 1),
    constraint holds_quantity_check check (quantity between 1 and 10000)
);

create unique index holds_order_id_key on private.holds (order_id, item_id, option_id) nulls not distinct
where order_id is not null;
create unique index holds_single_key on private.holds (item_id) where is_single;
create index holds_item_id_idx on private.holds (item_id);
create index holds_option_id_idx on private.holds (option_id, item_id) where option_id is not null;

comment on table private.holds is
'What is held, and by whom: now a pending order; later pages add other holders. An order''s are released only after '
'its attempt is cancelled at the provider.';
comment on column private.holds.item_id is 'The item.';
comment on column private.holds.option_id is 'Which option of it.';
comment on column private.holds.quantity is 'How many.';
comment on column private.holds.is_single is 'One of a kind: nobody else can hold it.';
comment on column private.holds.order_id is 'The order that holds it.';

alter table private.holds enable row level security;

create function private.is_limited(item public.catalog_items) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return item.stock is not null or exists (
        select from public.catalog_options as o
        where o.item_id = item.id and (o.stock is not null or o.is_exclusive)
    );
end
$$;
comment on function private.is_limited(public.catalog_items) is
'Whether buying the item needs a hold: it has a stock, or an option of it has.';

create function private.count_taken(item_id uuid, stock integer) returns integer
language plpgsql
stable
set search_path = ''
as $$
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
$$;
comment on function private.count_taken(uuid, integer) is
'How many of a stock of several are sold or held, counted anew; 0 for others. Under the item''s lock.';

create function private.count_option_taken(option_id uuid, stock integer) returns integer
language plpgsql
stable
set search_path = ''
as $$
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
$$;
comment on function private.count_option_taken(uuid, integer) is
'How many of an option''s stock are sold or held, counted anew; 0 without one. Under the item''s lock.';

-- What is limited now, or was when it was ordered; what was sold exclusively since has nothing left. What an agreement
-- delivers is held by the kind that agreed on it.
create view private.limited_lines with (security_invoker = true) as
select
    i.id, i.order_id, i.item_id, i.option_id, case when i.is_counted then i.quantity else 1 end as pieces, i.is_held,
    c.is_unique, coalesce(o.is_exclusive, false) as is_exclusive, h.id as hold_id
from public.order_items as i
inner join public.catalog_items as c on c.id = i.item_id
left join public.catalog_options as o on o.id = i.option_id
left join private.holds as h
    on h.order_id = i.order_id and h.item_id = i.item_id and h.option_id is not distinct from i.option_id
where
    i.payable_id is null
    and (i.is_held or c.stock is not null or o.stock is not null or c.is_exclusively_sold);
comment on view private.limited_lines is
'Order lines that cannot be delivered without a hold, and the hold they have; pieces is how many they need.';

create function private.lock_heirlooms(orders uuid[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    goods record;
begin
    for goods in
        select k.kind, array_agg(distinct h.item_id) as items
        from private.holds as h
        inner join public.purchases as p on p.item_id = h.item_id and p.revoked_reason in ('refunded', 'declined')
        inner join private.kinds as k on k.kind = p.kind and 'lock_own' = any (k.hooks)
        where h.order_id = any (orders)
        group by k.kind
        order by k.kind
    loop
        perform private.dispatch_lock_own(goods.kind, goods.items);
    end loop;
end
$$;
comment on function private.lock_heirlooms(uuid[]) is
'Locks the items'' own rows, which come before their stocks, where what these orders hold may go to somebody who paid '
'for the same: see heirs_of().';

create function private.lock_items(items uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    -- The turn before the row, whoever takes both.
    perform private.take_turn(hashtextextended('item:' || i.id, 0))
    from (select distinct u.id from unnest(items) as u (id) order by u.id) as i;
    perform from public.catalog_items as c where c.id = any (items) order by c.id for no key update;
end
$$;
comment on function private.lock_items(uuid[]) is
'Locks the rows of items in the registry, for what many want of one at once: a stock, a seat, a rating. See '
'take_turn().';

create function private.lock_stock(orders uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    perform private.lock_heirlooms(lock_stock.orders);
    perform private.lock_items(array(
        select l.item_id from private.limited_lines as l where l.order_id = any (orders) and not l.is_unique
        union all
        -- A part that is sold exclusively this very moment: see lines_lacking().
        select p.item_id from public.order_items as i
        inner join private.line_parts as p on p.order_item_id = i.id
        inner join public.catalog_items as c on c.id = p.item_id
        where i.order_id = any (orders) and private.is_limited(c)
    ));
end
$$;
comment on function private.lock_stock(uuid[]) is
'Locks what these orders take of stocks: whoever takes or frees more than one order''s calls it first.';

create function private.lock_orders(orders uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    agreed uuid[];
    has_own boolean;
    is_limited boolean;
    goods record;
begin
    perform from public.orders as o where o.id = any (lock_orders.orders) order by o.id for no key update;
    select
        array_agg(i.payable_id) filter (where i.payable_id is not null),
        bool_or(i.item_id is not null and 'lock_own' = any (k.hooks)),
        bool_or(i.is_held or c.stock is not null or o.stock is not null or 'lacks' = any (k.hooks))
    into agreed, has_own, is_limited
    from public.order_items as i
    inner join private.kinds as k on k.kind = i.kind
    left join public.catalog_items as c on c.id = i.item_id
    left join public.catalog_options as o on o.id = i.option_id
    where i.order_id = any (lock_orders.orders);
    if agreed is not null then
        perform from public.payables as p where p.id = any (agreed) order by p.id for no key update;
    end if;
    if has_own then
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
    end if;
    if is_limited then
        perform private.lock_stock(lock_orders.orders);
    end if;
end
$$;
comment on function private.lock_orders(uuid[]) is
'Locks orders and what they are about in the order of docs/conventions.md: the orders, what was agreed, the '
'items'' own '
'rows where selling changes them, stocks. Their payments are locked; sales and wallets come after.';

create function private.take_stock(taken_item uuid, taken_option uuid, pieces integer, taker uuid default null)
returns text
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    item public.catalog_items;
    option public.catalog_options;
    aside bigint := 0;
    seated text;
begin
    perform private.take_turn(hashtextextended('item:' || taken_item, 0));
    -- Who gets a seat is the kind's to say, under the lock.
    if pieces > 0 then
        select c.kind into seated from public.catalog_items as c
        where c.id = taken_item and c.has_seats
        for no key update;
        if seated is not null then
            perform private.dispatch_take(seated, array[taken_item], taker);
        end if;
    end if;
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
$$;
comment on function private.take_stock(uuid, uuid, integer, uuid) is
'Takes pieces of an item''s and its option''s stock for an order, or with a negative number gives them back. Null, or '
'why there are not enough: item_reserved while somebody else''s holds may still end, else item_sold or '
'item_not_available; then the caller''s transaction ends. Locks the item''s row.';

create function private.hold_lines(new_order uuid, earlier uuid[] default '{}', is_late boolean default false)
returns void
language plpgsql
set search_path = ''
as $$
declare
    line record;
    before integer;
    problem text;
    has_unique boolean := false;
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
        has_unique := has_unique or line.is_unique;
        before := null;
        if earlier <> '{}' then
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
        end if;
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
        -- The item is locked: whoever holds the exclusive option holds all of it. Not against themselves: what the
        -- buyer's earlier orders hold of other options ends with them, or is paid by the same person.
        if problem is null and line.has_exclusive and exists (
            select from private.holds as h
            where
                h.item_id = line.item_id and h.order_id is distinct from new_order
                and (h.order_id = any (earlier)) is not true
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
    if not has_unique then
        return;
    end if;
    -- Sold or withdrawn while this waited for another buyer's hold to end.
    select c.id::text into problem
    from public.order_items as i
    inner join public.catalog_items as c on c.id = i.item_id and c.is_unique and not c.is_buyable
    where i.order_id = new_order and i.payable_id is null
    limit 1;
    if problem is not null then
        perform private.fail('item_sold', problem);
    end if;
end
$$;
comment on function private.hold_lines(uuid, uuid[], boolean) is
'Holds what an order''s lines need that it does not hold yet, or fails: item_reserved, item_sold, item_not_available. '
'What its buyer''s earlier orders hold of the same goes over to it. Late: its money has arrived.';

create type private.freed_piece as (
    item_id uuid,
    option_id uuid,
    owner_id uuid,
    is_single boolean,
    is_owned_once boolean,
    pieces bigint
);
comment on type private.freed_piece is
'Something limited that is free: what somebody owned, or (owner and is_owned_once null) an order held.';

create function private.book_lines(orders uuid[], earlier uuid[] default '{}') returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    booked record;
begin
    for booked in
        select
            i.kind,
            coalesce(array_agg(i.id order by i.id) filter (where i.order_id = any (orders)), '{}') as lines,
            coalesce(array_agg(i.id order by i.id) filter (where i.order_id <> all (orders)), '{}') as earlier
        from public.order_items as i
        where i.order_id = any (orders || book_lines.earlier) and i.is_booked is not null
        group by i.kind
        order by i.kind
    loop
        perform private.dispatch_hold(booked.kind, booked.lines, booked.earlier);
    end loop;
    update public.order_items as i set is_booked = i.order_id = any (orders)
    where i.order_id = any (orders || book_lines.earlier) and i.is_booked <> (i.order_id = any (orders));
end
$$;
comment on function private.book_lines(uuid[], uuid[]) is
'Takes what the lines of these orders need beside a stock (hook hold), or fails as the hook does; what their buyer''s '
'earlier orders have of it goes over. The orders are locked or new; comes after wallets.';

create function private.release_holds(orders uuid[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    gone private.freed_piece[];
    given_up uuid[];
    freed record;
begin
    perform private.lock_heirlooms(release_holds.orders);
    with ended as (
        delete from private.holds as h where h.order_id = any (release_holds.orders) returning h.*
    ),

    unbooked as (
        update public.order_items as i set is_booked = false
        where i.order_id = any (release_holds.orders) and i.is_booked
        returning i.id
    )

    select
        array_agg(row(e.item_id, e.option_id, null, e.is_single, null, e.quantity)::private.freed_piece),
        (select array_agg(u.id) from unbooked as u)
    into gone, given_up from ended as e;
    if given_up is not null then
        for freed in
            select i.kind, array_agg(i.id order by i.id) as lines from public.order_items as i
            where i.id = any (given_up)
            group by i.kind
            order by i.kind
        loop
            perform private.dispatch_release(freed.kind, freed.lines);
        end loop;
    end if;
    if gone is null then
        return;
    end if;
    for freed in
        select g.item_id, g.option_id, sum(g.pieces)::integer as pieces
        from unnest(gone) as g
        inner join public.catalog_items as c on c.id = g.item_id
        left join public.catalog_options as o on o.id = g.option_id
        where c.stock > 1 or o.stock is not null
        group by g.item_id, g.option_id
        order by g.item_id, g.option_id
    loop
        perform private.take_stock(freed.item_id, freed.option_id, -freed.pieces);
    end loop;
    perform private.restore_purchases(private.heirs_of(gone));
    for freed in
        select c.kind, array_agg(distinct c.id) as items
        from unnest(gone) as g
        inner join public.catalog_items as c on c.id = g.item_id and c.has_seats
        group by c.kind
        order by c.kind
    loop
        perform private.dispatch_freed(freed.kind, freed.items);
    end loop;
end
$$;
comment on function private.release_holds(uuid[]) is
'Gives up what these orders held and did not buy: to whoever paid for the same and got nothing, else to the shop. Of '
'several orders lock_stock() first.';

create function private.end_holds(item_id uuid) returns integer
language plpgsql
set search_path = ''
as $$
declare
    ended integer;
begin
    perform private.lock_items(array[end_holds.item_id]);
    delete from private.holds as h where h.item_id = end_holds.item_id and h.order_id is not null;
    get diagnostics ended = row_count;
    update public.catalog_items as c set taken = private.count_taken(c.id, c.stock) where c.id = end_holds.item_id;
    update public.catalog_options as o set taken = private.count_option_taken(o.id, o.stock)
    where o.item_id = end_holds.item_id;
    return ended;
end
$$;
comment on function private.end_holds(uuid) is
'For kinds whose items are also sold elsewhere: what orders hold of this one is gone. A payment under way then comes '
'back in full by itself. Returns how many holds ended.';
