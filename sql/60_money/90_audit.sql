-- Proof that the books are right: every invariant of docs/money.md as a query that finds nothing.

create function ledger.audit() returns table (invariant text, subject text, detail text)
language plpgsql
stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
begin
    -- Credits come on a later page; plpgsql binds late.
    return query
    with sums as (
        select e.account_id, sum(e.amount_cents) as balance from ledger.entries as e group by e.account_id
    ),

    balances as (
        select
            a.owner_id,
            coalesce(sum(s.balance) filter (where a.code = 'available'), 0) as available,
            coalesce(sum(s.balance) filter (where a.code = 'pending'), 0) as pending,
            coalesce(-sum(s.balance) filter (where a.code = 'debt'), 0) as debt,
            coalesce(sum(s.balance) filter (where a.code = 'credits'), 0) as credits,
            coalesce(sum(s.balance) filter (where a.code = 'credits_held'), 0) as credits_held,
            coalesce(-sum(s.balance) filter (where a.code = 'credits_debt'), 0) as credits_debt
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
    select
        '2 credits equal their entries and lots', 'owner ' || b.owner_id,
        format(
            'entries %s/%s/%s, balance %s/%s/%s, lots %s/%s', b.credits, b.credits_held, b.credits_debt,
            c.available_cents, c.held_cents, c.debt_cents, l.remaining, l.held
        )
    from balances as b
    left join private.credit_balances as c on c.user_id = b.owner_id
    cross join lateral (
        select coalesce(sum(o.remaining_cents), 0) as remaining, coalesce(sum(o.held_cents), 0) as held
        from public.credit_lots as o
        where o.user_id = b.owner_id
    ) as l
    where
        (coalesce(c.available_cents, 0), coalesce(c.held_cents, 0), coalesce(c.debt_cents, 0))
        is distinct from (b.credits, b.credits_held, b.credits_debt)
        or (l.remaining, l.held) is distinct from (b.credits, b.credits_held)
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
                -- Who earns a part of what they pay from their wallet has moved both.
                t.amount_seller_cents - t.refunded_seller_cents - case
                    when t.payment_processor = 'wallet' and exists (
                        select from public.transaction_payees as y
                        where y.transaction_id = t.id and y.payee_id = t.buyer_id
                    ) then t.amount_total_cents - t.refunded_cents
                    else 0
                end,
                t.refunded_promotions_cents - t.amount_promotions_cents
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
            )), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'promotions'), 0)
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
        select coalesce(sum(w.cents), 0) as open
        from (
            select p.amount_cents - p.refunded_cents as cents from public.payments as p
            where exists (select from ledger.journal as j where j.kind = 'unapplied' and j.source_id = p.id)
            union all
            -- Credits that were taken back before their money goes.
            select l.taken_back_cents + l.owed_cents - t.refunded_credits_cents
            from public.credit_lots as l
            inner join public.transactions as t on t.order_item_id = l.order_item_id
            where l.category = 'paid'
        ) as w
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
        when 'credits_held' then exists (select from public.photo_jobs as o where o.id = j.source_id)
        when 'credits_returned' then exists (select from public.photo_job_items as i where i.id = j.source_id)
        when 'credits_captured' then
            exists (select from public.photo_job_items as i where i.id = j.source_id)
            or exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'credits_granted' then exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'credits_expired' then exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'credits_taken_back' then exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'credits_repaid' then exists (select from public.credit_lots as l where l.id = j.source_id)
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
    where c.taken <> n.n or c.stock > 1 and n.n > c.stock and not c.has_seats
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
    select '5 uses of coupons are those of their orders', 'order ' || u.order_id, u.status::text
    from (
        select
            o.id as order_id, i.coupon_id, u.status,
            case o.status
                when 'pending' then 'held' when 'cancelled' then 'released'
                else case
                    when bool_and(t.refunded_cents = t.amount_total_cents) filter (where t.id is not null)
                        then 'released'
                    else 'redeemed'
                end
            end as should,
            sum(i.promoted_cents) = u.promoted_cents as is_equal
        from public.orders as o
        inner join public.order_items as i on i.order_id = o.id and i.coupon_id is not null
        left join public.transactions as t on t.order_item_id = i.id
        left join private.coupon_uses as u on u.order_id = o.id and u.coupon_id = i.coupon_id
        group by o.id, i.coupon_id, u.status, u.promoted_cents
    ) as u
    where
        not u.is_equal or u.status is null
        -- A pending order that another one of its buyer replaces has given its use away.
        or u.status::text <> u.should and not (u.should = 'held' and u.status = 'released')
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
    group by t.order_item_id;
end
$$;

comment on function ledger.audit() is
'Every violated invariant of the books (docs/money.md, Invariants 1 to 5); no rows means they are right. Invariant 6, '
'the provider''s balance, is compared by the worker with private.provider_position().';

create function private.audit_books() returns table (invariant text, subject text, detail text)
language sql
stable
security definer
set search_path = ''
as $$
    select * from ledger.audit()
$$;

comment on function private.audit_books() is 'ledger.audit() for the workers.';
grant execute on function private.audit_books() to avenue_worker;

create function private.provider_position(provider text) returns bigint
language sql
stable
security definer
set search_path = ''
as $$
    select coalesce(-sum(e.amount_cents), 0)::bigint
    from ledger.accounts as a
    inner join ledger.entries as e on e.account_id = a.id
    where a.code in ('clearing:' || provider_position.provider, 'fees:' || provider_position.provider)
$$;

comment on function private.provider_position(text) is
'Cents our balance at the provider should hold: charges less fees, refunds and payouts.';
grant execute on function private.provider_position(text) to avenue_worker;

create function private.account_balances() returns table (account text, currency text, balance_cents bigint)
language sql
stable
security definer
set search_path = ''
as $$
    select
        case when a.owner_id = '00000000-0000-0000-0000-000000000000' then a.code else 'users ' || a.code end,
        a.currency::text,
        coalesce(sum(s.balance), 0)::bigint
    from ledger.accounts as a
    left join (
        select e.account_id, sum(e.amount_cents) as balance from ledger.entries as e group by e.account_id
    ) as s on s.account_id = a.id
    group by 1, 2
    order by 1, 2
$$;

comment on function private.account_balances() is
'The books on one page: each platform account, and users'' accounts summed by kind. Adds up to zero.';
grant execute on function private.account_balances() to avenue_worker;

create function private.money_waiting()
returns table (
    account text, subject text, amount_cents bigint, since timestamptz, problem text, needs_person boolean
)
language sql
stable
security definer
set search_path = ''
as $$
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
$$;

comment on function private.money_waiting() is
'Money that should not stay where it is: what refunds_payable and payouts_in_transit hold, refunds under way or '
'failed, '
'held sales; oldest first. needs_person: it failed, or is older than settings.stuck_money_after.';
grant execute on function private.money_waiting() to avenue_worker;

create function private.metrics() returns table (name text, labels jsonb, value double precision)
language sql
stable
security definer
set search_path = ''
as $$
    select 'avenue_webhook_events', jsonb_build_object('status', s.status), count(e.id)
    from unnest(array['pending', 'dead']::private.webhook_status[]) as s (status)
    left join private.webhook_events as e on e.status = s.status
    group by s.status
    union all
    select 'avenue_webhook_oldest_pending_seconds', '{}', coalesce(max(extract(epoch from now() - e.received_at)), 0)
    from private.webhook_events as e
    where e.status = 'pending'
    union all
    select 'avenue_payouts_open', jsonb_build_object('status', s.status), count(p.id)
    from unnest(enum_range(null, 'processing'::public.payout_status)) as s (status)
    left join public.payouts as p on p.status = s.status
    group by s.status
    union all
    select 'avenue_refunds_open', '{}', count(*) from public.refunds as r where r.is_open
    union all
    select 'avenue_provider_delays', jsonb_build_object('kind', k.kind), count(d.object_id)
    from unnest(array['payout', 'refund']) as k (kind)
    left join private.provider_delays as d on d.kind = k.kind
    group by k.kind
    union all
    select 'avenue_payments_open', '{}', count(*) from public.payments as p
    where p.is_open
    union all
    select 'avenue_money_waiting_' || m.name, jsonb_build_object('account', a.account), m.value
    from unnest(array['refunds_payable', 'payouts_in_transit', 'refunds', 'sale_reviews']) as a (account)
    left join (
        select
            w.account, sum(w.amount_cents) as cents, count(*) filter (where w.needs_person) as stuck,
            extract(epoch from now() - min(w.since)) as age
        from private.money_waiting() as w
        group by w.account
    ) as s on s.account = a.account
    cross join lateral (
        values
        ('cents', coalesce(s.cents, 0)), ('oldest_seconds', coalesce(s.age, 0)), ('stuck', coalesce(s.stuck, 0))
    ) as m (name, value)
$$;

comment on function private.metrics() is 'Gauges for /metrics; each reads a partial index, not a history.';
grant execute on function private.metrics() to avenue_worker;

create function public.adjust_wallet(user_id uuid, amount_cents bigint, reason text, idempotency_key text)
returns bigint
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    wallet public.wallets;
    answered jsonb;
    journal bigint;
    memo text;
begin
    if admin = adjust_wallet.user_id then
        perform private.fail('own_wallet');
    end if;
    memo := private.require_reason(adjust_wallet.reason);
    if coalesce(amount_cents, 0) = 0
        or amount_cents not between -private.highest_amount_cents() and private.highest_amount_cents()
        or coalesce(idempotency_key, '') = '' then
        perform private.fail('adjustment_invalid');
    end if;
    answered := private.claim_request(admin, 'adjust_wallet', adjust_wallet.idempotency_key, jsonb_build_object(
        'user_id', adjust_wallet.user_id, 'amount_cents', adjust_wallet.amount_cents, 'reason', memo
    ));
    if answered is not null then
        return (answered #>> '{}')::bigint;
    end if;
    -- Its owner does not keep a chargeback from being booked.
    perform private.hold_rows('public.wallets', 't.user_id = $1', adjust_wallet.user_id);
    select * into wallet from public.wallets as w where w.user_id = adjust_wallet.user_id;
    if wallet.user_id is null then
        perform private.fail('wallet_not_found');
    end if;
    journal := ledger.post(
        'adjustment', 'adjustment:' || gen_random_uuid(),
        ledger.leg(null, 'promotions', -amount_cents) || case
            when amount_cents > 0 then private.credit_legs(adjust_wallet.user_id, amount_cents)
            else private.debit_legs(adjust_wallet.user_id, -amount_cents)
        end,
        null, wallet.currency, memo
    );
    perform private.audit(
        'adjust_wallet', 'wallet', adjust_wallet.user_id,
        jsonb_build_object('amount_cents', amount_cents, 'reason', memo, 'journal_id', journal)
    );
    perform private.answer_request(admin, 'adjust_wallet', adjust_wallet.idempotency_key, to_jsonb(journal));
    return journal;
end
$$;

comment on function public.adjust_wallet(uuid, bigint, text, text) is
'Admin: goodwill or correction of another''s balance at the platform''s cost, signed cents, with a reason the owner '
'can read. What is given repays debt first; what is taken and not available becomes debt, repaid by later earnings. '
'The same key and request post once. Errors: admin_only, own_wallet, reason_required, adjustment_invalid, '
'wallet_not_found, idempotency_key_invalid, idempotency_key_reused.';
grant execute on function public.adjust_wallet(uuid, bigint, text, text) to authenticated;

insert into private.error_codes (code, sqlstate, message, description) values
('own_wallet', 'PT403', 'Admins do not adjust their own wallet.', 'Ask another admin.'),
('adjustment_invalid', 'PT400', 'The adjustment is not valid.',
'A non-zero amount of at most 999,999.99 and an idempotency key are required.'),
('wallet_not_found', 'PT404', 'There is no such wallet.', 'The user does not exist.');
