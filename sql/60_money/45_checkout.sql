-- One entry to buying: checkout() makes the order and the payment in one transaction. Free and wallet-paid orders
-- complete inside it; a card payment is started by the worker and settled by the provider's event.

create function private.order_summary(order_id uuid) returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'order_id', o.id, 'order_number', o.order_number, 'status', o.status, 'total_cents', o.total_cents,
        'currency', o.currency, 'payment_id', p.id, 'provider', p.provider, 'payment_status', p.status,
        'expires_at', p.expires_at,
        'start_url', case when p.status = 'requires_payment' then '/functions/v1/payments/' || p.id || '/start' end
    )
    from public.orders as o
    left join public.payments as p on p.order_id = o.id
    where o.id = order_summary.order_id
    order by p.created_at desc
    limit 1
$$;

comment on function private.order_summary(uuid) is
'What checkout answers: the order, its payment and where to start it.';

-- An attempt the provider knows may still succeed there: it is only asked to stop, and stays open until the provider
-- says so. One that was never started just ends.
create function private.stop_payment(payment_id uuid, reason text) returns void
language plpgsql
set search_path = ''
as $$
declare
    attempt public.payments;
begin
    select * into strict attempt from public.payments as p where p.id = stop_payment.payment_id for no key update;
    if attempt.status not in ('requires_payment', 'processing', 'failed') then
        return;
    end if;
    update public.orders as o set status_reason = coalesce(o.status_reason, reason) where o.id = attempt.order_id;
    if attempt.started_at is null then
        update public.payments as p set status = 'cancelled' where p.id = attempt.id;
        perform private.cancel_pending_order(attempt.order_id, reason);
    else
        update public.payments as p set cancel_requested_at = coalesce(p.cancel_requested_at, now())
        where p.id = attempt.id;
    end if;
end
$$;

comment on function private.stop_payment(uuid, text) is
'Ends an open attempt, or asks for its cancellation when the provider already knows it.';

create function public.checkout(
    items jsonb default null,
    provider public.payment_provider default 'stripe',
    idempotency_key text default null,
    shipping_address jsonb default null,
    notes text default null
) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    limits private.settings;
    new_order uuid;
    wanted jsonb;
    problem text;
    culprit text;
    total bigint;
    unique_items uuid[];
    superseded uuid[];
    attempt uuid;
    item uuid;
    new_payment uuid;
    expires timestamptz;
begin
    select * into strict limits from private.settings;
    -- One checkout of a buyer at a time: a double click, two tabs, or the same key twice line up here.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    select o.id into new_order from public.orders as o
    where o.user_id = buyer and o.idempotency_key = checkout.idempotency_key;
    if new_order is not null then
        return private.order_summary(new_order);
    end if;
    if checkout.provider = 'paypal' then
        perform private.fail('provider_not_available', 'paypal');
    end if;
    if char_length(checkout.idempotency_key) not between 1 and 200 or char_length(checkout.notes) > 2000
        or jsonb_typeof(checkout.shipping_address) <> 'object' or length(checkout.shipping_address::text) > 4000 then
        perform private.fail('invalid_checkout', 'idempotency_key, notes or shipping_address');
    end if;

    -- What is asked for: the given items, or the cart.
    wanted := coalesce(nullif(checkout.items, 'null'::jsonb), (
        select jsonb_agg(jsonb_build_object(
            'item_id', c.item_id, 'quantity', c.quantity, 'price_cents', c.offered_price_cents
        ) order by c.added_at, c.item_id)
        from public.cart_items as c
        where c.user_id = buyer
    ), '[]');
    if jsonb_typeof(wanted) <> 'array' then
        perform private.fail('invalid_checkout', 'items must be an array');
    end if;
    if jsonb_array_length(wanted) not between 1 and 50 then
        perform private.fail('empty_checkout', 'between 1 and 50 items');
    end if;
    if exists (
        select from jsonb_array_elements(wanted) as w
        where
            jsonb_typeof(w) <> 'object'
            or coalesce(w ->> 'item_id', '') !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            or coalesce(w ->> 'quantity', '1') !~ '^[0-9]{1,2}$'
            or coalesce(w ->> 'price_cents', '0') !~ '^[0-9]{1,8}$'
    ) then
        perform private.fail('invalid_checkout', 'each item is {item_id, quantity?, price_cents?}');
    end if;

    -- The first thing wrong with the first line, if any.
    with lines as (
        select
            (w.line ->> 'item_id')::uuid as item_id,
            coalesce((w.line ->> 'quantity')::integer, 1) as quantity,
            (w.line ->> 'price_cents')::bigint as offered_cents,
            w.no,
            count(*) over (partition by (w.line ->> 'item_id')::uuid) as times
        from jsonb_array_elements(wanted) with ordinality as w (line, no)
    )

    select p.problem, l.item_id::text into problem, culprit
    from lines as l
    -- Who blocked the buyer, or was blocked by them, sells them nothing; what the buyer cannot see does not exist.
    left join public.catalog_items as c
        on
            c.id = l.item_id and c.seller_id <> all (array(select private.blocked_ids()))
            and (c.is_visible or c.seller_id = buyer or private.owns_item(buyer, c.id))
    cross join lateral (
        select case
            when c.id is null then 'item_not_available'
            when l.times > 1 then 'duplicate_item'
            when c.seller_id = buyer then 'own_item'
            when private.owns_item(buyer, l.item_id) then 'already_owned'
            when not c.is_listed and c.is_unique then 'item_sold'
            when not c.is_listed then 'item_not_available'
            when l.quantity < 1 or (c.is_unique and l.quantity > 1) then 'quantity_not_allowed'
            when c.minimum_price_cents is not null and coalesce(l.offered_cents, c.price_cents) < c.minimum_price_cents
                then 'price_too_low'
            when c.minimum_price_cents is not null
                and coalesce(l.offered_cents, c.price_cents) between 1 and limits.minimum_price_cents - 1
                then 'price_too_low'
            when c.minimum_price_cents is null and l.offered_cents <> c.price_cents then 'price_changed'
        end as problem
    ) as p
    where p.problem is not null
    order by l.no
    limit 1;
    if problem is not null then
        perform private.fail(problem, culprit);
    end if;

    select
        sum(case when c.minimum_price_cents is null then c.price_cents else coalesce(w.price_cents, c.price_cents) end
        * coalesce(w.quantity, 1)),
        array_agg(c.id order by c.id) filter (where c.is_unique)
    into total, unique_items
    from jsonb_to_recordset(wanted) as w (item_id uuid, quantity integer, price_cents bigint)
    inner join public.catalog_items as c on c.id = w.item_id;
    if total > limits.maximum_amount_cents then
        perform private.fail('amount_out_of_range', format('at most %s cents', limits.maximum_amount_cents));
    end if;

    insert into public.orders (user_id, subtotal_cents, total_cents, shipping_address, notes, idempotency_key)
    values (buyer, total, total, checkout.shipping_address, checkout.notes, checkout.idempotency_key)
    returning id into new_order;
    insert into public.order_items (
        order_id, line_no, item_id, buyer_id, seller_id, title, unit_price_cents, quantity, seller_tier, commission_bps
    )
    select
        new_order, w.no, c.id, buyer, c.seller_id, c.title,
        case
            when c.minimum_price_cents is null then c.price_cents
            else coalesce((w.line ->> 'price_cents')::bigint, c.price_cents)
        end,
        coalesce((w.line ->> 'quantity')::integer, 1),
        plan.tier, plan.commission_bps
    from jsonb_array_elements(wanted) with ordinality as w (line, no)
    inner join public.catalog_items as c on c.id = (w.line ->> 'item_id')::uuid
    cross join lateral private.seller_plan(c.seller_id) as plan;
    -- What the lines say is what is charged, even if a price changed between the two statements above.
    update public.orders as o set subtotal_cents = s.total, total_cents = s.total
    from (select sum(i.total_cents) as total from public.order_items as i where i.order_id = new_order) as s
    where o.id = new_order and s.total <> o.total_cents;

    -- Hold one-of-a-kind items. The buyer's own earlier attempt gives way; anybody else's does not. Its payment is
    -- locked first, as settlement does, and the items are taken one by one in id order: no two carts wait for each other.
    if unique_items is not null then
        superseded := array(
            select p.id from public.payments as p
            where
                p.user_id = buyer and p.order_id in (
                    select r.order_id from private.reservations as r where r.item_id = any (unique_items)
                )
            order by p.id
            for no key update
        );
        foreach item in array unique_items loop
            update private.reservations as r set order_id = new_order, created_at = now()
            where
                r.item_id = item
                and r.order_id in (select p.order_id from public.payments as p where p.id = any (superseded));
            continue when found;
            insert into private.reservations (item_id, order_id) values (item, new_order) on conflict do nothing;
        end loop;
        foreach attempt in array superseded loop
            perform private.stop_payment(attempt, 'superseded');
        end loop;
        select c.id::text into culprit from public.catalog_items as c
        where c.id = any (unique_items) and not c.is_listed
        limit 1;
        if culprit is not null then
            perform private.fail('item_sold', culprit);
        end if;
        select u.item_id::text into culprit from unnest(unique_items) as u (item_id)
        where not exists (
            select from private.reservations as r where r.item_id = u.item_id and r.order_id = new_order
        )
        limit 1;
        if culprit is not null then
            perform private.fail('item_reserved', culprit);
        end if;
    end if;

    select o.total_cents into total from public.orders as o where o.id = new_order;
    if total = 0 then
        if not private.deliver_order(new_order) then
            perform private.fail('item_not_available');
        end if;
        return private.order_summary(new_order);
    end if;

    expires := now() + case when unique_items is null then limits.payment_period else limits.reservation_period end;
    insert into public.payments (
        user_id, order_id, amount_cents, provider, fee_estimate_cents, provider_fee_cents, expires_at, status
    ) values (
        buyer, new_order, total, checkout.provider,
        private.processing_fee(checkout.provider, total, 'USD'),
        case when checkout.provider = 'wallet' then 0 end,
        expires,
        case when checkout.provider = 'wallet' then 'processing' else 'requires_payment' end::public.payment_status
    ) returning id into new_payment;
    if checkout.provider = 'wallet' then
        perform private.lock_wallets(
            array(select i.seller_id from public.order_items as i where i.order_id = new_order) || buyer
        );
        if not exists (
            select from public.wallets as w
            where w.user_id = buyer and w.balance_available_cents - private.promised_back(buyer) >= total
        ) then
            perform private.fail('insufficient_funds');
        end if;
        if private.settle_payment(new_payment) <> 'settled' then
            perform private.fail('item_not_available');
        end if;
    end if;
    return private.order_summary(new_order);
end
$$;

comment on function public.checkout(jsonb, public.payment_provider, text, jsonb, text) is
'Buys items ([{item_id, quantity?, price_cents?}], default: the cart) with stripe or wallet and answers the order, its '
'payment and where to start it. price_cents is the offer for name-your-price items; for others it guards against a '
'changed price. The same idempotency_key of the same buyer returns the first order. Errors: invalid_checkout, '
'empty_checkout, item_not_available, item_sold, item_reserved, already_owned, duplicate_item, own_item, '
'quantity_not_allowed, price_too_low, price_changed, amount_out_of_range, insufficient_funds, provider_not_available.';
grant execute on function public.checkout(jsonb, public.payment_provider, text, jsonb, text) to authenticated;

create function public.cancel_order(order_id uuid) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    attempt uuid;
begin
    select p.id into attempt from public.payments as p
    inner join public.orders as o on o.id = p.order_id
    where o.id = cancel_order.order_id and o.user_id = member and o.status = 'pending';
    if attempt is null then
        perform private.fail('order_not_open', order_id::text);
    end if;
    perform private.stop_payment(attempt, 'cancelled_by_buyer');
    return private.order_summary(order_id);
end
$$;

comment on function public.cancel_order(uuid) is
'Buyer: gives up a pending order. One whose payment was started ends when the provider confirms. Error: '
'order_not_open.';
grant execute on function public.cancel_order(uuid) to authenticated;

-- What the workers need to run an attempt at the provider.

create function private.start_payment(payment_id uuid, user_id uuid) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt public.payments;
    number text;
begin
    perform private.require_active(start_payment.user_id);
    select * into attempt from public.payments as p
    where p.id = start_payment.payment_id and p.user_id = start_payment.user_id
    for no key update;
    if attempt.id is null then
        perform private.fail('payment_not_found');
    end if;
    if attempt.provider = 'wallet' or attempt.status not in ('requires_payment', 'processing', 'failed')
        or attempt.expires_at <= now() or attempt.cancel_requested_at is not null then
        perform private.fail('payment_not_open', attempt.status::text);
    end if;
    update public.payments as p set started_at = coalesce(p.started_at, now()) where p.id = attempt.id;
    select o.order_number into number from public.orders as o where o.id = attempt.order_id;
    return jsonb_build_object(
        'payment_id', attempt.id, 'provider', attempt.provider, 'provider_ref', attempt.provider_ref,
        'amount_cents', attempt.amount_cents, 'currency', attempt.currency, 'order_number', number,
        'description', 'Order ' || number,
        'metadata', jsonb_build_object('payment_id', attempt.id, 'order_id', attempt.order_id)
    );
end
$$;

comment on function private.start_payment(uuid, uuid) is
'Opens an attempt for its payer and says what to create at the provider (idempotency key: the payment id). Errors: '
'banned, payment_not_found, payment_not_open.';
grant execute on function private.start_payment(uuid, uuid) to avenue_worker;

create function private.attach_payment_ref(payment_id uuid, provider_ref text) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt public.payments;
begin
    update public.payments as p set provider_ref = coalesce(p.provider_ref, attach_payment_ref.provider_ref)
    where p.id = attach_payment_ref.payment_id
    returning * into strict attempt;
    if attempt.provider_ref <> attach_payment_ref.provider_ref then
        perform private.fail('event_rejected', format('payment %s already is %s', attempt.id, attempt.provider_ref));
    end if;
    return attempt.status;
end
$$;

comment on function private.attach_payment_ref(uuid, text) is
'Remembers the provider''s object. Answers the payment''s status: cancelled means cancel it at the provider now.';
grant execute on function private.attach_payment_ref(uuid, text) to avenue_worker;

create function private.payment_attempt(payment_id uuid) returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
    select jsonb_build_object(
        'payment_id', p.id, 'provider', p.provider, 'provider_ref', p.provider_ref, 'amount_cents', p.amount_cents,
        'currency', p.currency, 'order_number', o.order_number, 'description', 'Order ' || o.order_number,
        'metadata', jsonb_build_object('payment_id', p.id, 'order_id', p.order_id)
    )
    from public.payments as p
    inner join public.orders as o on o.id = p.order_id
    where p.id = payment_attempt.payment_id
$$;

comment on function private.payment_attempt(uuid) is
'An attempt as start_payment describes it, for the jobs: with it a lost creation can be repeated under the same key.';
grant execute on function private.payment_attempt(uuid) to avenue_worker;

create function private.expire_unstarted_payments(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    ended integer := 0;
    attempt uuid;
begin
    for attempt in
        select p.id from public.payments as p
        where p.status in ('requires_payment', 'processing', 'failed') and p.started_at is null and p.expires_at <= now()
        order by p.expires_at
        limit max_rows
        for no key update skip locked
    loop
        perform private.stop_payment(attempt, 'expired');
        ended := ended + 1;
    end loop;
    return ended;
end
$$;

comment on function private.expire_unstarted_payments(integer) is
'Ends attempts that ran out before the provider ever heard of them; returns how many.';
grant execute on function private.expire_unstarted_payments(integer) to avenue_worker;

create function private.payments_to_cancel(max_rows integer)
returns table (payment_id uuid, provider text, provider_ref text)
language sql
stable
security definer
set search_path = ''
as $$
    select p.id, p.provider::text, p.provider_ref from public.payments as p
    where
        p.status in ('requires_payment', 'processing', 'failed') and p.started_at is not null
        and p.provider <> 'wallet' and (p.expires_at <= now() or p.cancel_requested_at is not null)
    order by p.expires_at
    limit max_rows
$$;

comment on function private.payments_to_cancel(integer) is
'Started attempts that ran out or are no longer wanted: cancel at the provider, then payment_cancelled().';
grant execute on function private.payments_to_cancel(integer) to avenue_worker;

create function private.payment_cancelled(payment_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt public.payments;
begin
    select * into strict attempt from public.payments as p where p.id = payment_cancelled.payment_id for no key update;
    if attempt.status in ('requires_payment', 'processing', 'failed') then
        update public.payments as p set status = 'cancelled' where p.id = attempt.id;
        perform private.cancel_pending_order(
            attempt.order_id, case when attempt.expires_at <= now() then 'expired' else 'cancelled_at_provider' end
        );
    end if;
end
$$;

comment on function private.payment_cancelled(uuid) is
'The provider confirmed that this attempt can no longer succeed: its order ends and its items are free again.';
grant execute on function private.payment_cancelled(uuid) to avenue_worker;

create function private.payments_to_reconcile(max_rows integer)
returns table (payment_id uuid, provider text, provider_ref text)
language sql
security definer
set search_path = ''
as $$
    -- Marked as asked in the same statement: an attempt the provider cannot answer for must not block the others.
    update public.payments as p set checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where
            o.status in ('requires_payment', 'processing', 'failed') and o.provider_ref is not null
            and o.started_at < now() - (select s.reconcile_after from private.settings as s)
            and coalesce(o.checked_at, '-infinity') < now() - (select s.reconcile_after from private.settings as s)
        order by o.checked_at nulls first
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, p.provider_ref
$$;

comment on function private.payments_to_reconcile(integer) is
'Open attempts the provider should be asked about; each at most once per reconcile_after.';
grant execute on function private.payments_to_reconcile(integer) to avenue_worker;

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_checkout', 'PT400', 'The checkout request is malformed.', 'The detail names the offending part.'),
('empty_checkout', 'PT400', 'There is nothing to buy.', 'The cart is empty, or more than 50 items were sent.'),
('item_sold', 'PT409', 'This item is already sold.',
'A one-of-a-kind item found its buyer or was taken down. Remove it from the cart.'),
('item_reserved', 'PT409', 'Somebody else is buying this item right now.',
'A one-of-a-kind item is held during another buyer''s checkout (15 minutes). It is sold unless they give up: try '
'later.'),
('already_owned', 'PT409', 'You already own this item.', 'Download it instead of buying it again.'),
('duplicate_item', 'PT400', 'The same item was sent twice.', 'Use quantity.'),
('price_changed', 'PT409', 'The price has changed.', 'Show the new price and let the buyer decide.'),
('amount_out_of_range', 'PT400', 'The amount is too large.', 'One order is at most 999,999.99. Split it.'),
('provider_not_available', 'PT400', 'This way to pay is not available.', 'Choose another provider.'),
('order_not_open', 'PT409', 'This order can no longer be cancelled.', 'It is not pending, or not the caller''s.'),
('payment_not_found', 'PT404', 'There is no such payment.', 'It does not exist or belongs to somebody else.'),
('payment_not_open', 'PT409', 'This payment can no longer be started.',
'It was paid, cancelled, or ran out. Check out again.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
