-- From money taken to goods delivered, in one transaction.
-- Lock order everywhere: event → payment → order → reservations by item → transactions → wallets by user → items.

-- A one-of-a-kind item is held for one order at a time. The primary key is the whole race: of fifty buyers one
-- inserts, the others conflict.
create table private.reservations (
    item_id uuid not null,
    order_id uuid not null,
    created_at timestamptz not null default now(),
    constraint reservations_pkey primary key (item_id),
    constraint reservations_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint reservations_order_id_fkey foreign key (order_id) references public.orders (id)
);

create index reservations_order_id_idx on private.reservations (order_id);

comment on table private.reservations is
'Which pending order holds a one-of-a-kind item. Released only after the attempt is cancelled at the provider.';

alter table private.reservations enable row level security;

-- A request of the API may keep a wallet for seconds, by a slow filter on what a refund or a checkout answers. Nobody
-- else's sale waits for that.
create function private.free_wallets(user_ids uuid[]) returns void
language plpgsql
set search_path = ''
set lock_timeout = '1100ms'
as $$
declare
    held xid[];
begin
    for attempt in 1..5 loop
        held := array(select w.xmax from public.wallets as w where w.user_id = any (user_ids));
        begin
            perform from public.wallets as w where w.user_id = any (user_ids) order by w.user_id for no key update;
            return;
        exception when lock_not_available then
            -- Held all the while, and not because of somebody else.
            perform private.end_requests(array(
                select l.pid from unnest(held) as h (holder)
                inner join pg_catalog.pg_locks as l on l.transactionid = any (private.transactions_of(h.holder))
                inner join pg_catalog.pg_stat_activity as a on a.pid = l.pid
                where
                    l.locktype = 'transactionid' and l.granted and a.wait_event_type is distinct from 'Lock'
            ));
        end;
    end loop;
end
$$;

comment on function private.free_wallets(uuid[]) is
'For the workers: locks these wallets, ending requests of the API that keep one and do not come to an end.';

create function private.lock_wallets(user_ids uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    -- Not for the API's own: what is locked in a block with an exception handler does not show whose it is. Nor without
    -- need, as the block costs a transaction of its own: nobody has locked a row that says nothing of it.
    if
        session_user <> 'authenticator'
        and exists (select from public.wallets as w where w.user_id = any (user_ids) and w.xmax <> '0'::xid)
    then
        perform private.free_wallets(user_ids);
    end if;
    perform from public.wallets as w where w.user_id = any (user_ids) order by w.user_id for no key update;
end
$$;

comment on function private.lock_wallets(uuid[]) is 'Locks wallets in the one order every flow uses.';

-- Moves the seller's side of a sale by a signed amount and says which accounts it hits.
-- Down: this sale's pending first, then available, then debt (docs/money.md, Legs). Other sales' pending money is left
-- alone so that each release is exactly what its sale still holds.
-- Up: back into this sale's pending while it is held and stands (not refunded whole, its charge not taken back), else
-- debt is repaid first and the rest is available.
create function private.seller_legs(transaction_id uuid, change bigint) returns ledger.leg[]
language plpgsql
set search_path = ''
as $$
declare
    sale public.transactions;
    pending bigint := 0;
    legs ledger.leg[];
begin
    select * into strict sale from public.transactions as t where t.id = transaction_id for no key update;
    if change < 0 then
        pending := -least(-change, sale.pending_cents);
        legs := private.debit_legs(sale.seller_id, pending - change);
    else
        if sale.release_journal_id is null and sale.refunded_cents < sale.amount_total_cents and not exists (
            select from public.payments as p where p.id = sale.payment_id and p.charge_reversed_at is not null
        ) then
            pending := least(change, greatest(sale.amount_seller_cents - sale.pending_cents, 0));
        end if;
        legs := private.credit_legs(sale.seller_id, change - pending);
    end if;
    if pending <> 0 then
        update public.transactions as t set pending_cents = t.pending_cents + pending where t.id = transaction_id;
        legs := ledger.leg(sale.seller_id, 'pending', pending) || legs;
    end if;
    return legs;
end
$$;

comment on function private.seller_legs(uuid, bigint) is
'Legs that move a sale''s seller by a signed amount of cents; keeps transactions.pending_cents.';

create function private.moving_legs(legs ledger.leg[]) returns ledger.leg[]
language plpgsql
immutable
set search_path = ''
as $$
declare
    leg ledger.leg;
    moving ledger.leg[] := '{}'::ledger.leg[];
begin
    foreach leg in array legs loop
        if leg.amount_cents <> 0 then
            moving := moving || leg;
        end if;
    end loop;
    return moving;
end
$$;

comment on function private.moving_legs(ledger.leg[]) is 'Drops zero legs: a journal holds what moved.';

create function private.cancel_pending_order(order_id uuid, reason text) returns void
language plpgsql
set search_path = ''
as $$
begin
    delete from private.reservations as r where r.order_id = cancel_pending_order.order_id;
    update public.orders as o set status = 'cancelled', status_reason = coalesce(o.status_reason, reason)
    where o.id = cancel_pending_order.order_id and o.status = 'pending';
end
$$;

comment on function private.cancel_pending_order(uuid, text) is
'Ends a pending order and gives back what it held. Only when no money can arrive for it any more.';

-- Grants what an order bought. All-or-nothing: false when any line cannot be delivered any more.
create function private.deliver_order(order_id uuid, wallets uuid[] default '{}') returns boolean
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    sale_order public.orders;
    unique_items uuid[];
    retaken uuid[];
    item uuid;
begin
    select * into strict sale_order from public.orders as o where o.id = deliver_order.order_id for no key update;
    if sale_order.status not in ('pending', 'cancelled')
        or exists (select from public.profiles as p where p.id = sale_order.user_id and p.deleted_at is not null) then
        return false;
    end if;

    unique_items := array(
        select i.item_id from public.order_items as i
        inner join public.catalog_items as c on c.id = i.item_id
        where i.order_id = deliver_order.order_id and c.is_unique
        order by i.item_id
    );
    if cardinality(unique_items) > 0 then
        -- A pending order still holds its items, whatever the seller did to them since: the buyer was promised. A
        -- cancelled one gave them back and must find each of them unheld and on sale.
        with taken as (
            insert into private.reservations (item_id, order_id)
            select u.item_id, deliver_order.order_id from unnest(unique_items) as u (item_id)
            order by u.item_id
            on conflict do nothing
            returning item_id
        )

        select array_agg(t.item_id) into retaken from taken as t;
    end if;

    -- Reservations before wallets, as in a checkout that pays from one. What follows looks at what others may have
    -- bought, and they sell through the same wallets.
    perform private.lock_wallets(wallets);
    -- The buyer may have bought it again while this attempt was on its way (docs/money.md, sharp case 17).
    if exists (
        select from public.order_items as i
        inner join public.purchases as p on p.buyer_id = i.buyer_id and p.item_id = i.item_id
        where i.order_id = deliver_order.order_id and p.revoked_at is null
    ) then
        return false;
    end if;

    if cardinality(unique_items) > 0 then
        if exists (
            select from unnest(unique_items) as u (item_id)
            where not exists (
                select from private.reservations as r
                where r.item_id = u.item_id and r.order_id = deliver_order.order_id
            )
        ) or exists (
            select from public.catalog_items as c where c.id = any (retaken) and not c.is_listed
        ) or exists (
            -- A refund failed while this order held the item: it is its first buyer's again.
            select from public.purchases as p where p.item_id = any (unique_items) and p.revoked_at is null
        ) then
            return false;
        end if;
        foreach item in array unique_items loop
            if not private.mark_item_sold(item) then
                perform private.fail('event_rejected', format('item %s is held and sold at once', item));
            end if;
        end loop;
        delete from private.reservations as r where r.order_id = deliver_order.order_id;
    end if;

    insert into public.purchases as p (buyer_id, item_id, order_item_id, price_cents, currency)
    select i.buyer_id, i.item_id, i.id, i.total_cents, i.currency
    from public.order_items as i
    where i.order_id = deliver_order.order_id
    order by i.item_id
    on conflict (buyer_id, item_id) do update
    set order_item_id = excluded.order_item_id, price_cents = excluded.price_cents,
        purchased_at = excluded.purchased_at, revoked_at = null;

    delete from public.cart_items as c
    using public.order_items as i
    where i.order_id = deliver_order.order_id and c.user_id = i.buyer_id and c.item_id = i.item_id;

    update public.orders as o set status = 'completed', status_reason = null, completed_at = now()
    where o.id = deliver_order.order_id;
    return true;
end
$$;

comment on function private.deliver_order(uuid, uuid[]) is
'Completes an order: marks unique items sold, grants entitlements, empties the cart of them. False when a line is no '
'longer available; then only reservations may have changed, and the caller ends them. wallets are locked on the way.';

-- Books a payment whose money is certain.
create function private.settle_payment(payment_id uuid, charge_id text default null) returns text
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    paid public.payments;
    line public.transactions;
    limits private.settings;
begin
    select * into strict paid from public.payments as p where p.id = settle_payment.payment_id for no key update;
    if paid.succeeded_at is not null then
        return 'already_settled';
    end if;

    if not private.deliver_order(
        paid.order_id,
        array(select i.seller_id from public.order_items as i where i.order_id = paid.order_id)
        || case when paid.provider = 'wallet' then paid.user_id end
    ) then
        if paid.provider = 'wallet' then
            -- Nothing was taken yet.
            perform private.fail('item_not_available');
        end if;
        -- Money for something that is gone: it belongs to the buyer and goes back (docs/money.md, sharp case 17).
        perform ledger.post(
            'unapplied', 'unapplied:' || paid.id,
            array[
                ledger.leg(null, 'clearing:' || paid.provider, -paid.amount_cents),
                ledger.leg(null, 'refunds_payable', paid.amount_cents)
            ],
            paid.id, paid.currency
        );
        update public.payments as p set
            status = 'succeeded', succeeded_at = now(), charge_id = settle_payment.charge_id,
            failure_reason = 'item_not_available'
        where p.id = paid.id;
        update public.orders as o set status = 'cancelled', status_reason = 'item_not_available'
        where o.id = paid.order_id and o.status in ('pending', 'cancelled');
        delete from private.reservations as r where r.order_id = paid.order_id;
        if settle_payment.charge_id = any (paid.declined_charges) then
            perform private.reverse_charge(paid.id, settle_payment.charge_id);
        else
            perform private.create_refund(paid.id, null, paid.amount_cents, 'item_not_available');
        end if;
        return 'refunding';
    end if;

    select * into strict limits from private.settings;
    for line in
        insert into public.transactions (
            buyer_id, seller_id, transaction_type, related_id, order_item_id, payment_id,
            amount_total_cents, amount_fees_cents, amount_tax_cents, amount_commission_cents, amount_seller_cents,
            currency, commission_bps, seller_tier, payment_processor, payment_method,
            stripe_payment_intent_id, stripe_charge_id, paypal_order_id, paypal_transaction_id,
            pending_cents, release_at
        )
        select
            i.buyer_id, i.seller_id, (c.kind || '_purchase')::public.transaction_type, i.item_id, i.id, paid.id,
            i.total_cents + i.tax_cents, i.fee, i.tax_cents, s.commission, s.seller,
            i.currency, i.commission_bps, i.seller_tier, paid.provider,
            case paid.provider when 'stripe' then 'card' when 'paypal' then 'paypal' else 'wallet_balance' end,
            case when paid.provider = 'stripe' then paid.provider_ref end,
            case when paid.provider = 'stripe' then settle_payment.charge_id end,
            case when paid.provider = 'paypal' then paid.provider_ref end,
            case when paid.provider = 'paypal' then settle_payment.charge_id end,
            s.seller, now() + limits.earnings_hold
        from (
            select
                l.*,
                (private.split_cents(
                    paid.fee_estimate_cents, array_agg(l.total_cents + l.tax_cents) over lines
                ))[row_number() over lines] as fee
            from public.order_items as l
            where l.order_id = paid.order_id and l.total_cents + l.tax_cents > 0
            window lines as (order by l.line_no rows between unbounded preceding and unbounded following)
        ) as i
        inner join public.catalog_items as c on c.id = i.item_id
        cross join lateral private.split_line(i.total_cents + i.tax_cents, i.tax_cents, i.fee, i.commission_bps) as s
        returning *
    loop
        perform ledger.post(
            'sale', 'sale:' || line.id,
            private.moving_legs(array[
                case
                    when paid.provider = 'wallet' then ledger.leg(line.buyer_id, 'available', -line.amount_total_cents)
                    else ledger.leg(null, 'clearing:' || paid.provider, -line.amount_total_cents)
                end,
                ledger.leg(null, 'fees:' || paid.provider, line.amount_fees_cents),
                ledger.leg(null, 'tax_payable', line.amount_tax_cents),
                ledger.leg(null, 'revenue', line.amount_commission_cents),
                ledger.leg(line.seller_id, 'pending', line.amount_seller_cents)
            ]),
            line.id, paid.currency
        );
        if line.amount_total_cents > limits.review_sale_above_cents then
            perform private.hold_for_review(line.id);
        end if;
    end loop;

    update public.payments as p set
        status = 'succeeded', succeeded_at = now(), charge_id = settle_payment.charge_id, failure_reason = null
    where p.id = paid.id;

    if settle_payment.charge_id = any (paid.declined_charges) then
        perform private.reverse_charge(paid.id, settle_payment.charge_id);
    end if;
    return 'settled';
end
$$;

comment on function private.settle_payment(uuid, text) is
'Settles a payment once: entitlements, one transaction and one sale journal per line. Returns settled, '
'already_settled, or refunding when the goods are gone; a payment from a wallet fails then (item_not_available).';

-- The real fee replaces the estimate, or the fee comes back with a declined charge; the difference is its own journal.
create function private.set_provider_fee(payment_id uuid, fee_cents bigint, journal_key text) returns void
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
    line record;
    sale public.transactions;
    fees bigint[];
    fee_change bigint;
    commission_change bigint;
    restated bigint;
begin
    select * into strict paid from public.payments as p where p.id = set_provider_fee.payment_id for no key update;
    update public.payments as p set provider_fee_cents = fee_cents where p.id = paid.id;

    perform from public.transactions as t where t.payment_id = paid.id for no key update;
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

    perform private.lock_wallets(array(select t.seller_id from public.transactions as t where t.payment_id = paid.id));
    select private.split_cents(fee_cents, array_agg(t.amount_total_cents order by i.line_no)) into fees
    from public.transactions as t
    inner join public.order_items as i on i.id = t.order_item_id
    where t.payment_id = paid.id;

    for line in
        select t as sale, fees[row_number() over (order by i.line_no)] - t.amount_fees_cents as fee_change
        from public.transactions as t
        inner join public.order_items as i on i.id = t.order_item_id
        where t.payment_id = paid.id
        order by i.line_no
    loop
        sale := line.sale;
        fee_change := line.fee_change;
        continue when fee_change = 0;
        commission_change := case
            when sale.refunded_cents = 0 or paid.charge_reversed_at is not null then (private.split_line(
                sale.amount_total_cents, sale.amount_tax_cents, sale.amount_fees_cents + fee_change,
                sale.commission_bps
            )).commission - sale.amount_commission_cents
            -- Once refunds were computed from the agreed split it stays (docs/money.md, sharp case 11) and the seller
            -- bears the change: at most what the sale still leaves them. More is the platform's loss, and comes back
            -- to it first.
            when fee_change > 0
                then least(greatest(sale.amount_seller_cents - sale.refunded_seller_cents, 0) - fee_change, 0)
            else greatest(least(-sale.amount_commission_cents, -fee_change), 0)
        end;
        update public.transactions as t set
            amount_fees_cents = t.amount_fees_cents + fee_change,
            amount_commission_cents = t.amount_commission_cents + commission_change,
            amount_seller_cents = t.amount_seller_cents - fee_change - commission_change
        where t.id = sale.id
        returning * into sale;
        -- With the charge taken back nobody keeps anything: what was refunded before follows the split without a fee,
        -- so that the rest ends at zero for the seller and the platform alike.
        restated := case
            when paid.charge_reversed_at is not null then (private.split_refund(sale, 0)).commission
            else 0
        end;
        update public.transactions as t set
            refunded_commission_cents = t.refunded_commission_cents + restated,
            refunded_seller_cents = t.refunded_seller_cents - restated
        where t.id = sale.id and restated <> 0;
        perform ledger.post(
            'fee_adjustment', journal_key || ':' || sale.id,
            private.moving_legs(array[
                ledger.leg(null, 'fees:' || paid.provider, fee_change),
                ledger.leg(null, 'revenue', commission_change - restated)
            ]) || private.seller_legs(sale.id, restated - fee_change - commission_change),
            sale.id, paid.currency
        );
    end loop;
end
$$;

comment on function private.set_provider_fee(uuid, bigint, text) is
'Makes a settled payment''s fee this many cents, split over its lines like the estimate, under a journal key of the '
'occasion.';

create function private.record_provider_fee(payment_id uuid, charge_id text, fee_cents bigint) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    paid public.payments;
begin
    select * into strict paid from public.payments as p where p.id = record_provider_fee.payment_id for no key update;
    if paid.provider_fee_cents is not null or paid.succeeded_at is null then
        return;
    end if;
    if fee_cents is null or fee_cents not between 0 and private.highest_amount_cents() then
        perform private.fail('event_rejected', format('payment %s has a fee of %s cents', paid.id, fee_cents));
    end if;
    update public.payments as p set charge_id = coalesce(p.charge_id, record_provider_fee.charge_id)
    where p.id = paid.id;
    perform private.set_provider_fee(paid.id, fee_cents, 'fee');
end
$$;

comment on function private.record_provider_fee(uuid, text, bigint) is
'Books the provider''s real fee (cents) of a settled payment once, split over its lines like the estimate.';
grant execute on function private.record_provider_fee(uuid, text, bigint) to avenue_worker;

create function private.payments_missing_fee(max_rows integer)
returns table (payment_id uuid, provider text, provider_ref text)
language sql
security definer
set search_path = ''
as $$
    update public.payments as p set fee_checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where o.provider_fee_cents is null and o.succeeded_at is not null and o.provider <> 'wallet'
        order by o.fee_checked_at nulls first, o.succeeded_at
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, p.provider_ref
$$;

comment on function private.payments_missing_fee(integer) is
'Settled payments whose real fee was not read yet, those asked about longest ago first.';
grant execute on function private.payments_missing_fee(integer) to avenue_worker;

create function private.keep_estimated_fee(payment_id uuid) returns void
language sql
security definer
set search_path = ''
as $$
    select private.record_provider_fee(p.id, null, p.fee_estimate_cents) from public.payments as p
    where p.id = keep_estimated_fee.payment_id
$$;

comment on function private.keep_estimated_fee(uuid) is
'The provider does not know this payment any more: the estimate is the fee.';
grant execute on function private.keep_estimated_fee(uuid) to avenue_worker;

-- Held money becomes available: one journal for a batch, set-based, restartable at any point.
create function private.release_matured_earnings(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    ready uuid[];
    released_journal bigint;
    legs ledger.leg[];
begin
    -- A banned seller's money is held, not lost (docs/money.md, sharp case 24): the rows wait for the ban's end. So do
    -- sales under review.
    ready := array(
        select t.id from public.transactions as t
        where
            t.release_journal_id is null and t.release_at <= now()
            and not exists (select from public.bans as b where b.user_id = t.seller_id)
            and not exists (
                select from public.sale_reviews as r where r.transaction_id = t.id and r.released_at is null
            )
        order by t.release_at
        limit max_rows
        for no key update skip locked
    );
    if cardinality(ready) = 0 then
        return 0;
    end if;
    perform private.lock_wallets(array(select t.seller_id from public.transactions as t where t.id = any (ready)));

    select array_agg(ledger.leg(s.seller_id, l.account, l.amount)) into legs
    from (
        select t.seller_id, sum(t.pending_cents)::bigint as pending, least(sum(t.pending_cents), w.debt_cents)::bigint as debt
        from public.transactions as t
        inner join public.wallets as w on w.user_id = t.seller_id
        where t.id = any (ready)
        group by t.seller_id, w.debt_cents
    ) as s
    cross join lateral (
        values ('pending', -s.pending), ('debt', s.debt), ('available', s.pending - s.debt)
    ) as l (account, amount)
    where l.amount <> 0;

    if legs is not null then
        released_journal := ledger.post('release', 'release:' || gen_random_uuid(), legs);
    end if;
    update public.transactions as t set pending_cents = 0, release_journal_id = coalesce(released_journal, 0)
    where t.id = any (ready);
    return cardinality(ready);
end
$$;

comment on function private.release_matured_earnings(integer) is
'Moves up to max_rows matured sales from pending to available, repaying debt first; returns how many. Call until 0.';
grant execute on function private.release_matured_earnings(integer) to avenue_worker;
