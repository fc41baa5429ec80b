-- From money taken to goods delivered, in one transaction.
-- Lock order: docs/conventions.md; each of these by id.

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

create function private.lock_wallets(user_ids uuid[], is_patient boolean default true) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    -- Not for the API's own: what is locked in a block with an exception handler does not show whose it is. Nor without
    -- need, as the block costs a transaction of its own: whoever wrote last in a row is seldom still at it.
    if
        is_patient and session_user <> 'authenticator' and exists (
            select from public.wallets as w
            where
                w.user_id = any (user_ids)
                and age(w.xmax) <= age(pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::xid)
        )
    then
        perform private.free_wallets(user_ids);
    end if;
    perform from public.wallets as w where w.user_id = any (user_ids) order by w.user_id for no key update;
end
$$;

comment on function private.lock_wallets(uuid[], boolean) is
'Locks wallets in the one order every flow uses. Not patient: as long as the caller''s lock_timeout lets it.';

create function private.split_signed(total bigint, weights bigint[]) returns bigint[]
language plpgsql
immutable
set search_path = ''
as $$
begin
    if total >= 0 then
        return private.split_cents(total, weights);
    end if;
    return array(select -u.cents from unnest(private.split_cents(-total, weights)) with ordinality as u (cents, no) order by u.no);
end
$$;

comment on function private.split_signed(bigint, bigint[]) is 'split_cents() of what may be negative.';

-- What payees have of a sale follows from the sale and their shares; whoever changes the sale's amounts lets them
-- follow: what is left of it is split anew, so that nobody has less than nothing of what is left.
-- Down: this sale's pending first, then available, then debt (docs/money.md, Legs). Other sales' pending money is left
-- alone so that each release is exactly what its sale still holds.
-- Up: back into this sale's pending while it is held and stands (not refunded whole, its charge not taken back), else
-- debt is repaid first and the rest is available.
create function private.payee_legs(transaction_id uuid) returns ledger.leg[]
language plpgsql
set search_path = ''
as $$
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
            -- Ties of the largest remainder are broken by a hash, so that nobody's place is the luckier one. It is the
            -- line's, so that it is the same however the sale was settled.
            select p.*, row_number() over (order by md5(sale.order_item_id::text || p.payee_id)) as no
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
$$;

comment on function private.payee_legs(uuid) is
'Lets the payees follow their sale''s amounts and answers the legs that move them; keeps transaction_payees.';

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
declare
    discount bigint;
begin
    perform private.release_holds(array[cancel_pending_order.order_id]);
    update public.orders as o set status = 'cancelled', status_reason = coalesce(o.status_reason, reason)
    where o.id = cancel_pending_order.order_id and o.status = 'pending'
    returning o.discount_cents into discount;
    if discount > 0 then
        perform private.follow_coupons(array[cancel_pending_order.order_id]);
    end if;
end
$$;

comment on function private.cancel_pending_order(uuid, text) is
'Ends a pending order and gives back what it held. Only when no money can arrive for it any more.';

-- Which of these orders can be delivered. All-or-nothing: one whose line is gone is not. The orders are locked.
create function private.deliverable_orders(orders uuid[]) returns uuid[]
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    deliverable uuid[];
    late uuid;
begin
    for attempt in 1..2 loop
        deliverable := array(
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
                            -- The buyer may have bought it again while this attempt was on its way (docs/money.md,
                            -- sharp case 17).
                            i.is_owned_once and exists (
                                select from public.purchases as p
                                where
                                    p.owner_id = i.owner_id and p.item_id = i.item_id
                                    and p.option_id is not distinct from i.option_id
                                    and p.revoked_at is null
                            )
                            -- A refund failed while this order held the item: it is its first buyer's again.
                            or (i.is_held or i.payable_id is not null) and exists (
                                select from public.purchases as p
                                where p.item_id = i.item_id and p.is_single and p.revoked_at is null
                            )
                            or i.payable_id is not null and not exists (
                                select from public.payables as a where a.id = i.payable_id and a.status = 'open'
                            )
                            or not i.is_booked
                            -- Whom it was for has left, or refused it before the first charge was declined.
                            or i.gift_id is not null and exists (
                                select from public.gifts as g
                                left join public.profiles as r on r.id = g.receiver_id
                                where g.id = i.gift_id and (r.deleted_at is not null or g.status = 'refused')
                            )
                            or i.id in (
                                select l.id from private.kinds as k
                                cross join lateral private.dispatch_lacks(k.kind, array[i.id]) as l (id)
                                where k.kind = i.kind and 'lacks' = any (k.hooks)
                            )
                        )
                )
            order by u.no
        );
        exit when attempt = 2 or cardinality(deliverable) = cardinality(deliverable_orders.orders);
        -- A pending order still holds its items, whatever the seller did to them since: the buyer was promised. A
        -- cancelled one gave them back and must find each of them unheld and on sale; so must one whose items became
        -- limited since, and one whose booking went over to another.
        for late in
            select o.id
            from unnest(deliverable_orders.orders) with ordinality as u (id, no)
            inner join public.orders as o on o.id = u.id
            left join private.limited_lines as l on l.order_id = o.id and l.hold_id is null
            left join public.order_items as b on b.order_id = o.id and not b.is_booked
            where l.id is not null or b.id is not null
            group by o.id, u.no
            having o.status = 'cancelled' or bool_or(l.is_held) is not true
            order by u.no
        loop
            begin
                perform private.hold_lines(late, is_late => true);
                perform private.book_lines(array[late]);
            exception when sqlstate 'PT409' then
                null;
            end;
        end loop;
        exit when not found;
    end loop;
    return deliverable;
end
$$;

comment on function private.deliverable_orders(uuid[]) is
'Those of these locked orders whose lines can all be granted now, as they are ordered; late ones hold what they need '
'again.';

create function private.deliver_orders(orders uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    discounted uuid[];
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
        i.order_id = any (deliver_orders.orders) and c.user_id = i.buyer_id and i.gift_id is null and c.item_id = i.item_id
        and c.option_id is not distinct from i.option_id;
    with done as (
        update public.orders as o set status = 'completed', status_reason = null, completed_at = now()
        where o.id = any (deliver_orders.orders)
        returning o.id, o.discount_cents
    )

    select array_agg(d.id) filter (where d.discount_cents > 0) into discounted from done as d;
    if discounted is not null then
        perform private.follow_coupons(discounted);
    end if;
end
$$;

comment on function private.deliver_orders(uuid[]) is
'Completes deliverable orders: grants, closes what was agreed, redeems coupons, empties the cart of them.';

create function private.payees_to_be(orders uuid[]) returns setof private.line_payee
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;
comment on function private.payees_to_be(uuid[]) is
'Who will earn what of the paid lines of these orders; nobody what the platform sells.';

-- Books payments whose money is certain, many at once: one statement a table. One event and a batch are the same code.
create function private.settle_payments(payments uuid[], charges text[], is_patient boolean default true)
returns table (payment_id uuid, outcome text)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    limits private.settings;
    orders uuid[];
    delivered uuid[];
    lines private.line_payee[];
    sales public.transactions[];
    highest bigint;
    postings ledger.posting[];
    settled uuid[];
    declined uuid[];
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
    ), is_patient);
    delivered := private.deliverable_orders(orders);
    perform private.deliver_orders(delivered);

    select * into strict limits from private.settings;
    with sale as (
        insert into public.transactions (
            buyer_id, seller_id, kind, related_id, order_item_id, payment_id,
            amount_total_cents, amount_fees_cents, amount_tax_cents, amount_commission_cents, amount_seller_cents,
            amount_credits_cents, amount_promotions_cents, currency, commission_bps, seller_tier, payment_processor, payment_method,
            stripe_payment_intent_id, stripe_charge_id, paypal_order_id, paypal_transaction_id,
            release_at, completed_at, free_until, ship_by, release_journal_id
        )
        select
            i.buyer_id, i.seller_id, i.kind, i.item_id, i.id, p.id,
            i.charged_cents, f.fee, i.tax_cents, s.commission - c.credits, s.seller, c.credits, i.promoted_cents, i.currency,
            i.commission_bps, i.seller_tier, p.provider,
            case p.provider when 'stripe' then 'card' when 'paypal' then 'paypal' else 'wallet_balance' end,
            case when p.provider = 'stripe' then p.provider_ref end, case when p.provider = 'stripe' then u.charge end,
            case when p.provider = 'paypal' then p.provider_ref end, case when p.provider = 'paypal' then u.charge end,
            case when k.earned = 'at_payment' and not i.is_shipped then now() + limits.earnings_hold end,
            case when k.earned = 'at_payment' and not i.is_shipped then now() end,
            coalesce(a.free_until, now() + k.free_window), case when i.is_shipped then now() + limits.ship_within end,
            -- Nobody waits for what the platform earns.
            case when f.is_platforms then 0 end
        from unnest(payments, charges) as u (id, charge)
        inner join public.payments as p on p.id = u.id and p.order_id = any (delivered)
        inner join public.order_items as i on i.order_id = p.order_id and i.charged_cents > 0
        inner join private.kinds as k on k.kind = i.kind
        left join public.payables as a on a.id = i.payable_id
        cross join lateral (
            select
                private.is_platform(i.seller_id) as is_platforms,
                case
                    when i.charged_cents = p.amount_cents then p.fee_estimate_cents
                    else (
                        select
                            (private.split_cents(
                                p.fee_estimate_cents, array_agg(o.charged_cents order by o.line_no)
                            ))[count(*) filter (where o.line_no <= i.line_no)]
                        from public.order_items as o
                        where o.order_id = i.order_id and o.charged_cents > 0
                    )
                end as fee
        ) as f
        cross join lateral private.split_line(
            i.charged_cents + i.promoted_cents, i.tax_cents, case when f.is_platforms then 0 else i.shipping_cents end, f.fee,
            case when f.is_platforms then 10000 else i.commission_bps end
        ) as s
        cross join lateral (
            select case when k.proceeds = 'credits' then i.charged_cents - i.tax_cents else 0 end as credits
        ) as c
        returning *
    )

    select array_agg(s), max(s.amount_total_cents) into sales, highest from sale as s;

    if highest > limits.review_sale_above_cents then
        insert into public.sale_reviews (transaction_id, seller_id)
        select s.id, s.seller_id
        from unnest(sales) as s
        where
            s.amount_total_cents > limits.review_sale_above_cents and not private.is_platform(s.seller_id)
            and not private.has_sold_before(s.seller_id, limits.new_seller_period);
    end if;

    with share as (
        select
            s.id as sale_id, l.payee_id, l.share_bps, s.amount_seller_cents, row_number() over payees as no,
            array_agg(l.share_bps::bigint) over payees as shares
        from unnest(sales) as s
        inner join unnest(lines) as l on l.order_item_id = s.order_item_id
        -- Ties of the largest remainder are broken by a hash, as in payee_legs().
        window payees as (
            partition by s.id order by md5(s.order_item_id::text || l.payee_id)
            rows between unbounded preceding and unbounded following
        )
    ),

    part as materialized (
        select
            s.sale_id, s.payee_id, s.share_bps, s.no,
            case
                when s.share_bps = 10000 then s.amount_seller_cents
                else (private.split_cents(s.amount_seller_cents, s.shares))[s.no]
            end as cents
        from share as s
    ),

    payee as (
        insert into public.transaction_payees (transaction_id, payee_id, share_bps, cents, pending_cents)
        select p.sale_id, p.payee_id, p.share_bps, p.cents, p.cents from part as p
    )

    select
        array_agg(row('sale:' || l.sale_id, l.sale_id, l.owner_id, l.account, l.cents, l.leg_no)::ledger.posting)
    into postings
    from (
        select s.id as sale_id, m.owner_id, m.account, m.cents, m.leg_no
        from unnest(sales) as s
        cross join lateral (
            values
            (
                case when s.payment_processor = 'wallet' then s.buyer_id end,
                case when s.payment_processor = 'wallet' then 'available' else 'clearing:' || s.payment_processor end,
                -s.amount_total_cents, 1
            ),
            (null, 'fees:' || s.payment_processor, s.amount_fees_cents, 2),
            (null, 'tax_payable', s.amount_tax_cents, 3),
            (null, 'revenue', s.amount_commission_cents, 4),
            (s.buyer_id, 'credits', s.amount_credits_cents, 5),
            (null, 'promotions', -s.amount_promotions_cents, 6)
        ) as m (owner_id, account, cents, leg_no)
        union all
        select p.sale_id, p.payee_id, 'pending', p.cents, 6 + p.no from part as p
    ) as l
    where l.cents <> 0;
    if postings is not null then
        perform ledger.post_many('sale', postings, 'USD');
        perform private.repay_credits(s.buyer_id)
        from (select distinct u.buyer_id from unnest(sales) as u where u.amount_credits_cents > 0) as s;
    end if;
    with applied as (
        update public.payments as p set
            status = 'succeeded', succeeded_at = now(), charge_id = u.charge, failure_reason = null
        from unnest(payments, charges) as u (id, charge)
        where p.id = u.id and p.order_id = any (delivered)
        returning p.id, u.charge = any (p.declined_charges) as is_declined
    )

    select array_agg(a.id), array_agg(a.id) filter (where a.is_declined) into settled, declined
    from applied as a;
    return query select s.id, 'settled' from unnest(settled) as s (id);
    if cardinality(settled) = cardinality(payments) and declined is null then
        return;
    end if;

    for gone in
        select p.id, u.charge, p.id = any (settled) as is_settled, p.succeeded_at
        from unnest(payments, charges) with ordinality as u (id, charge, no)
        inner join public.payments as p on p.id = u.id
        where (p.id = any (settled)) is not true or p.id = any (declined)
        order by u.no
    loop
        if gone.is_settled then
            perform private.reverse_charge(gone.id, gone.charge);
        else
            payment_id := gone.id;
            outcome := case
                when gone.succeeded_at is not null then 'already_settled'
                else private.give_back(gone.id, gone.charge)
            end;
            return next;
        end if;
    end loop;
end
$$;

comment on function private.settle_payments(uuid[], text[], boolean) is
'Settles locked payments with the charges that paid them, each once: grants, one transaction with its payees and one '
'sale journal per line. Says of each settled, already_settled, or refunding when the goods are gone; a payment from a '
'wallet fails then (item_not_available). No two of them may be for the same thing of one owner.';

create function private.has_sold_before(seller uuid, period interval) returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.transactions as e
        where
            e.seller_id = has_sold_before.seller and e.refunded_cents < e.amount_total_cents
            and e.created_at < now() - has_sold_before.period
    )
$$;

comment on function private.has_sold_before(uuid, interval) is
'Whether the seller has a sale, not refunded, from before this period.';

-- Money for something that is gone: it belongs to the buyer and goes back (docs/money.md, sharp case 17).
create function private.give_back(payment_id uuid, charge_id text) returns text
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
    discount bigint;
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
    where o.id = paid.order_id and o.status in ('pending', 'cancelled')
    returning o.discount_cents into discount;
    if discount > 0 then
        perform private.follow_coupons(array[paid.order_id]);
    end if;
    if give_back.charge_id = any (paid.declined_charges) then
        perform private.reverse_charge(paid.id, give_back.charge_id);
    else
        perform private.create_refund(paid.id, null, paid.amount_cents, 'item_not_available');
    end if;
    return 'refunding';
end
$$;

comment on function private.give_back(uuid, text) is
'Books a charge whose goods are gone and gives it back in full; answers refunding.';

create function private.settle_payment(payment_id uuid, charge_id text default null) returns text
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    perform from public.payments as p where p.id = settle_payment.payment_id for no key update;
    return (
        select s.outcome
        from private.settle_payments(array[settle_payment.payment_id], array[settle_payment.charge_id]) as s
    );
end
$$;

comment on function private.settle_payment(uuid, text) is 'Settles one payment, see settle_payments().';

create function private.payees_of(payment_id uuid) returns uuid[]
language sql
stable
set search_path = ''
as $$
    select array(
        select distinct p.payee_id
        from public.transactions as t
        inner join public.transaction_payees as p on p.transaction_id = t.id
        where t.payment_id = payees_of.payment_id
    )
$$;
comment on function private.payees_of(uuid) is 'Everybody who earns something of a payment.';

create function private.free_commission(sale public.transactions, commission_cents bigint) returns bigint
language plpgsql
immutable
set search_path = ''
as $$
begin
    return sign(commission_cents)
    * ((abs(commission_cents) * sale.free_refunded_cents * 2 + sale.amount_total_cents) / (sale.amount_total_cents * 2));
end
$$;

comment on function private.free_commission(public.transactions, bigint) is
'The part of a commission (cents) that was refunded at the platform''s cost.';

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
                sale.amount_total_cents + sale.amount_promotions_cents, sale.amount_tax_cents, line.shipping_cents,
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
    payees uuid[];
    released_journal bigint;
    legs ledger.leg[];
begin
    -- What is not done has no date. A freeze is a row that is asked for here, never a moved date: a ban (the money is
    -- held, not lost: docs/money.md, sharp case 24), a review of the sale, a bank that took up the charge.
    ready := array(
        select t.id from public.transactions as t
        where
            t.release_journal_id is null and t.release_at <= now()
            and not exists (
                select from public.sale_reviews as r where r.transaction_id = t.id and r.released_at is null
            )
            and not exists (
                select from private.freezes as f where f.transaction_id = t.id and f.ended_at is null
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
$$;

comment on function private.release_matured_earnings(integer) is
'Moves up to max_rows matured sales from pending to available, repaying debt first; returns how many. Call until 0.';
grant execute on function private.release_matured_earnings(integer) to avenue_worker;
