-- The one switch of what was bought: granted, revoked, restored. Settlement grants; a refund, a charge taken back, a
-- removal revoke; a refund that fails restores. None of them knows what was sold: the kinds react by their hooks grant,
-- revoke, restore and complete. Lock order: lines and transactions before the items that purchases count on.

create function private.dispatch_purchases(hook text, ids uuid[], reason text default null) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    chosen record;
begin
    for chosen in
        -- What is granted first gets the first number.
        select p.kind, array_agg(p.id order by case when hook = 'grant' then u.no end, p.id) as ids
        from unnest(dispatch_purchases.ids) with ordinality as u (id, no)
        inner join public.purchases as p on p.id = u.id
        group by p.kind
        order by p.kind
    loop
        case hook
            when 'grant' then perform private.dispatch_grant(chosen.kind, chosen.ids);
            when 'revoke' then perform private.dispatch_revoke(chosen.kind, chosen.ids, reason);
            when 'give' then perform private.dispatch_give(chosen.kind, chosen.ids);
            else perform private.dispatch_restore(chosen.kind, chosen.ids);
        end case;
    end loop;
end
$$;
comment on function private.dispatch_purchases(text, uuid[], text) is
'Calls the hook grant, revoke, restore or give of the kinds of these purchases; grant in the order given.';

-- Grants what these orders bought. The orders are locked, and hold what they need.
create function private.grant_orders(orders uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    sold record;
    units private.granted_unit[] := '{}';
    granted uuid[];
    has_gifts boolean;
begin
    for sold in
        select i.kind, array_agg(i.id order by i.id) as lines
        from public.order_items as i
        where i.order_id = any (orders)
        group by i.kind
        order by i.kind
    loop
        units := units || array(select u from private.dispatch_units(sold.kind, sold.lines) as u);
    end loop;
    -- From an array, so that lines and items are read by key, however few there are.
    with granted_now as (
        insert into public.purchases (
            order_item_id, item_id, option_id, unit, kind, owner_id, payer_id, is_owned_once, is_single, price_cents,
            currency
        )
        select
            -- A part is what it is, and its own kind hears of it.
            i.id, u.item_id, u.option_id, u.unit, case when u.is_extra then c.kind else i.kind end, i.owner_id, i.buyer_id,
            -- What comes on top does not matter to whoever has it, or buys it here as well. Of several orders that
            -- settle together the later ones would find it owned: that is a 23505, and they settle apart.
            i.is_owned_once and not (
                u.is_extra and (
                    private.owns_option(i.owner_id, u.item_id, u.option_id)
                    or i.owner_id is not null and row_number() over (
                        partition by i.order_id, i.owner_id, u.item_id, u.option_id
                        order by u.is_extra, array_position(orders, i.order_id), i.line_no, u.unit
                    ) > 1
                )
            ),
            coalesce(c.is_unique, false) and not u.is_extra,
            case when u.is_extra then 0 else i.total_cents / case when i.is_counted then i.quantity else 1 end end,
            i.currency
        from unnest(units) as u
        inner join public.order_items as i on i.id = u.order_item_id
        left join public.catalog_items as c on c.id = u.item_id
        order by u.item_id, u.option_id, array_position(orders, i.order_id), i.line_no, u.unit
        returning id, owner_id is distinct from payer_id as is_gift
    )

    select array_agg(g.id), bool_or(g.is_gift) into granted, has_gifts from granted_now as g;
    if has_gifts then
        perform private.give_gifts(orders);
    end if;
    perform private.dispatch_purchases('grant', granted);
    -- What was held is sold now: taken stays as it is. Whoever paid let nothing run out.
    if exists (select from private.holds as h where h.order_id = any (orders)) then
        with ended as (
            delete from private.holds as h where h.order_id = any (orders) returning h.order_id, h.item_id
        )

        delete from private.hold_periods as h
        using ended as e
        inner join public.orders as o on o.id = e.order_id
        where h.user_id = o.user_id and h.item_id = e.item_id;
    end if;
end
$$;
comment on function private.grant_orders(uuid[]) is
'Grants what each line of these orders bought, in their order, and ends their holds. 23505 when somebody got it in the '
'same instant.';

-- Whoever paid for the same and got nothing, because a refund failed after it was bought or held again, comes before
-- the shop: the same owner by another line first, of one of a kind and of copies then whoever paid first.
create function private.heirs_of(freed private.freed_piece[], besides uuid[] default '{}') returns uuid[]
language plpgsql
stable
set search_path = ''
as $$
begin
    return array(
        select distinct h.id
        from unnest(freed) as r
        cross join lateral (
            select o.id
            from public.purchases as o
            inner join public.transactions as t
                on t.order_item_id = o.order_item_id and t.refunded_cents < t.amount_total_cents
            inner join public.profiles as f on f.id = o.owner_id and f.deleted_at is null
            where
                o.item_id = r.item_id and o.option_id is not distinct from r.option_id
                and o.is_single = r.is_single
                and (
                    r.is_owned_once is null
                    or o.is_owned_once = r.is_owned_once
                    and (not r.is_owned_once or r.is_single or o.owner_id = r.owner_id)
                )
                and o.id <> all (besides) and o.revoked_reason in ('refunded', 'declined')
            order by (o.owner_id = r.owner_id) desc nulls last, t.settled_at, t.id, o.id
            limit r.pieces
        ) as h
        order by h.id
    );
end
$$;
comment on function private.heirs_of(private.freed_piece[], uuid[]) is
'Revoked purchases, none of those besides, whose owners paid for what is free now and have neither it nor their money '
'back. The items are locked.';

create function private.free_purchases(ids uuid[], reason text) returns void
language plpgsql
set search_path = ''
as $$
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
    heirs := private.heirs_of(array(
        select row(p.item_id, p.option_id, p.owner_id, p.is_single, p.is_owned_once, count(*))::private.freed_piece
        from public.purchases as p
        where p.id = any (ids) and not p.is_away
        group by p.item_id, p.option_id, p.owner_id, p.is_single, p.is_owned_once
    ), ids);
    perform private.dispatch_purchases('revoke', ids, reason);
    perform private.restore_purchases(heirs);
end
$$;
comment on function private.free_purchases(uuid[], text) is
'What becomes of what these purchases were, with a stable word why: its stock is free again, somebody who paid for the '
'same and did not get it gets it, and its kind reacts (hook revoke).';

create function private.revoke_line(line uuid, reason text) returns void
language plpgsql
set search_path = ''
as $$
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
$$;
comment on function private.revoke_line(uuid, text) is
'Takes back everything a line granted, with a stable word why; with or without money. See free_purchases(); what was '
'sent and is not back stays taken. Repeated calls change nothing.';

create function private.return_line(line uuid) returns void
language plpgsql
set search_path = ''
as $$
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
$$;
comment on function private.return_line(uuid) is
'What was sent for a line that was revoked is back: see free_purchases(), the word is returned.';

create function private.restore_purchases(ids uuid[]) returns void
language plpgsql
set search_path = ''
as $$
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
                -- What is exclusive comes back only if nobody bought, or is buying, beside it.
                or exists (select from public.catalog_options as e where e.id = p.option_id and e.is_exclusive) and (
                    exists (select from private.holds as h where h.item_id = p.item_id)
                    or exists (
                        select from public.purchases as o
                        where o.item_id = p.item_id and o.revoked_at is null and o.purchased_at > p.revoked_at
                    )
                )
                or not p.is_single and not p.is_away and exists (
                    select from public.catalog_items as c
                    left join public.catalog_options as o on o.id = p.option_id
                    where
                        c.id = p.item_id and (
                            c.stock > 1 and not c.has_seats and p.pieces > c.stock - c.taken - case
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
$$;
comment on function private.restore_purchases(uuid[]) is
'Gives back revoked purchases that nobody else has got meanwhile, and tells their kinds (hook restore). Where somebody '
'has, nothing happens but an entry refund_failed_after_resale in audit_log.';

create function private.restore_line(line uuid) returns void
language sql
set search_path = ''
as $$
    select private.restore_purchases(array(
        select p.id from public.purchases as p
        where p.order_item_id = restore_line.line and p.revoked_reason in ('refunded', 'declined')
        order by p.id
    ))
$$;
comment on function private.restore_line(uuid) is
'A full refund of this line failed: gives back what it took. What was revoked for another reason stays revoked.';

-- Earned when it is done.
create function private.complete_lines(lines uuid[], at timestamptz default now()) returns integer
language plpgsql
set search_path = ''
as $$
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
$$;
comment on function private.complete_lines(uuid[], timestamptz) is
'What these lines promised is done, now or at a time given: their earnings become available earnings_hold later, and '
'their kinds hear of it (hook complete). Those completed before stay as they are; how many were not.';
