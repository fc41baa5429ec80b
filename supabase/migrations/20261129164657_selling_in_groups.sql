-- Selling in groups. Arrived events settle in groups that are transactions of their own and wait for nobody for long; one
-- event alone, a checkout and the notices of orders take fewer statements, with plans that stay. What is free again,
-- sold or only held, goes to whoever paid for it and got nothing. An exclusive licence is an option that stays one, and
-- comes back after a failed refund only if nobody bought beside it. Sellers have at most 100 shipping rates, a line at
-- most 20 parcels. Words of a tip that is not paid are not shown to whom it is for.
--
-- Nothing is rewritten or lost. purchases and payments cannot be written while a partial index of each is built; orders, shipping_rates,
-- catalog_options and order_items are locked for a moment (triggers, policies).
-- Before the workers of this version start: settle_batch() answers for one group and leaves splitting it to them.
-- squawk-ignore-file ban-drop-function, ban-drop-view, require-concurrent-index-creation, require-concurrent-index-deletion

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

set local check_function_bodies = off;

drop policy catalog_options_delete on public.catalog_options;

drop policy catalog_options_update on public.catalog_options;

drop trigger tell_order on public.orders;

drop trigger tell_purchase on public.orders;

drop view private.limited_lines;

drop index public.payments_open_idx;

drop function private.active_plan(uuid, public.plan_family);

drop function private.answer_request(uuid, text, text, jsonb);

drop function private.begin_holds(uuid, uuid[]);

drop function private.lock_wallets(uuid[]);

drop function private.order_summary(uuid);

drop function private.process_webhook_event(bigint);

drop function private.place_order(
    uuid, private.order_line[], public.payment_provider, jsonb, text, timestamptz
);

drop function private.processing_fee(public.payment_provider, bigint, text);

drop function private.read_lines(uuid, jsonb, text);

drop function private.sale_terms(text, uuid);

drop function private.seller_plan(uuid);

drop function private.settle_batch(bigint[]);

drop function private.settle_payments(uuid[], text[]);

drop function private.tell_order();

drop function private.tell_purchase();

drop function private.why_foreign(private.webhook_events);

create type private.freed_piece as (
    item_id uuid,
    option_id uuid,
    owner_id uuid,
    is_single boolean,
    is_owned_once boolean,
    pieces bigint
);

create type private.notice as (
    type text,
    recipient uuid,
    actor uuid,
    related_type text,
    related_id uuid,
    link_url text
);

alter type ledger.posting add attribute leg_no smallint cascade;

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
                -- Who earns a part of what they pay from their wallet has moved both.
                t.amount_seller_cents - t.refunded_seller_cents - case
                    when t.payment_processor = 'wallet' and exists (
                        select from public.transaction_payees as y
                        where y.transaction_id = t.id and y.payee_id = t.buyer_id
                    ) then t.amount_total_cents - t.refunded_cents
                    else 0
                end
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
    wanted integer;
    expected bigint;
    owners uuid[];
    keys text[];
    posted bigint;
begin
    select
        min(coalesce(g.key, 'a leg without a key')) filter (where not coalesce(g.is_balanced, false)), count(*),
        sum(g.legs),
        (select array_agg(distinct p.owner_id) from unnest(postings) as p where p.owner_id is not null)
    into wrong, wanted, expected, owners
    from (
        select
            p.idempotency_key as key, count(*) as legs,
            p.idempotency_key is not null and sum(p.amount_cents) = 0 and count(*) >= 2
            and count(*) = count(p.amount_cents) and min(p.leg_no) = 1
            and bool_and(abs(p.amount_cents) between 1 and 999999999999) as is_balanced
        from unnest(postings) as p
        group by p.idempotency_key
    ) as g;
    if wrong is not null then
        perform private.fail('unbalanced_journal', wrong);
    end if;

    with journals as (
        insert into ledger.journal (kind, idempotency_key, source_id, currency)
        select post_many.kind, p.idempotency_key, p.source_id, post_many.currency
        from unnest(postings) as p
        where p.leg_no = 1
        on conflict (idempotency_key) do nothing
        returning id, idempotency_key
    ),

    legs as (
        insert into ledger.entries (journal_id, leg_no, account_id, amount_cents)
        select j.id, p.leg_no, a.id, p.amount_cents
        from unnest(postings) as p
        inner join journals as j on j.idempotency_key = p.idempotency_key
        inner join ledger.accounts as a
            on a.owner_id = coalesce(p.owner_id, platform) and a.code = p.account and a.currency = post_many.currency
        returning journal_id
    )

    select (select array_agg(j.idempotency_key) from journals as j), (select count(*) from legs)
    into keys, posted;
    -- Some were posted before.
    if cardinality(keys) is distinct from wanted then
        expected := (select count(*) from unnest(postings) as p where p.idempotency_key = any (keys));
    end if;
    if posted <> expected then
        perform private.fail('unknown_account', keys[1]);
    end if;

    if cardinality(owners) > 1 then
        -- Fixed order, as in post().
        perform from public.wallets as w where w.user_id = any (owners) order by w.user_id for no key update;
    end if;
    if cardinality(owners) > 0 then
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

create or replace function private.active_plan (
    user_id uuid,
    family public.plan_family
)
    returns public.plans
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    plan public.plans;
begin
    select pl.* into plan
    from public.plans as pl
    where pl.family = active_plan.family
    order by
        -- Partners first, then what is paid for or given, then the family's free plan.
        pl.key = 'creator_ultimate_for_friends' and exists (
            select from public.profiles as p where p.id = active_plan.user_id and p.is_partner_account
        ) desc,
        exists (
            select from public.subscriptions as s
            where
                s.user_id = active_plan.user_id and s.plan_key = pl.key
                and s.status in ('active', 'trialing', 'past_due')
                -- A renewal's event may be late; what an admin gave ends on the minute.
                and (
                    s.current_period_end is null
                    or s.current_period_end + case when s.provider is null then interval '0' else interval '3 days' end
                    > now()
                )
        ) desc,
        pl.sort_order
    limit 1;
    return plan;
end
$function$;

create or replace function private.answer_request (
    caller uuid,
    purpose text,
    key text,
    answer jsonb
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if answer_request.key is not null then
        update private.request_keys as k set answer = answer_request.answer
        where k.caller = answer_request.caller and k.purpose = answer_request.purpose and k.key = answer_request.key;
    end if;
end
$function$;

create or replace function private.apply_payment_intent (
    event_type text,
    object jsonb
)
    returns text
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    paid public.payments := private.payment_of(object);
    further uuid;
    charge text := case
        when jsonb_typeof(object -> 'latest_charge') = 'object' then object #>> '{latest_charge,id}'
        else object ->> 'latest_charge'
    end;
begin
    if upper(object ->> 'currency') <> paid.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is in %s, the event in %s', paid.id, paid.currency, object ->> 'currency'
        ));
    end if;
    if paid.provider_ref is null then
        update public.payments as p set provider_ref = object ->> 'id' where p.id = paid.id;
    end if;
    case event_type
        when 'payment_intent.succeeded' then
            if (object ->> 'amount_received')::bigint is distinct from paid.amount_cents
                or upper(object ->> 'currency') is distinct from paid.currency::text then
                perform private.fail('event_rejected', format(
                    'payment %s is %s %s, received %s %s', paid.id, paid.amount_cents, paid.currency,
                    object ->> 'amount_received', object ->> 'currency'
                ));
            end if;
            if paid.succeeded_at is not null and charge <> paid.charge_id then
                perform private.settle_further_charge(paid, charge);
                -- What was paid again needs no cancelling; the next decline asks for it anew. A success that was told
                -- late, after its decline, pays nothing.
                delete from private.payment_closings as c
                where c.payment_id = paid.id and charge <> all (paid.declined_charges);
            else
                perform private.settle_payment(paid.id, charge);
            end if;
            if charge = any (paid.declined_charges) and paid.succeeded_at is null then
                perform private.close_payment(paid.id);
            end if;
        when 'payment_intent.payment_failed' then
            -- Another charge may be under way: a bank debit after a declined card.
            update public.payments as p set
                declined_charges = case
                    when charge is null or charge = any (p.declined_charges) then p.declined_charges
                    else p.declined_charges || charge
                end,
                status = case
                    when p.succeeded_at is null and p.status <> 'cancelled'
                        and not (p.status = 'processing' and coalesce(charge <> p.charge_id, false)) then 'failed'
                    else p.status
                end,
                failure_reason = case
                    when p.succeeded_at is null then coalesce(
                        object #>> '{last_payment_error,decline_code}', object #>> '{last_payment_error,code}', 'declined'
                    )
                    else p.failure_reason
                end
            where p.id = paid.id;
            -- The charge that had succeeded was taken back (sharp case 6).
            if paid.succeeded_at is not null and charge = paid.charge_id then
                perform private.reverse_charge(paid.id, charge);
                perform private.close_payment(paid.id);
                -- A second charge may have waited for this.
                update private.webhook_events as e set status = 'pending', attempts = 0, next_attempt_at = now()
                where
                    e.status = 'dead' and e.type = 'payment_intent.succeeded'
                    and e.payload #>> '{data,object,id}' = object ->> 'id' and not e.foreign_mode;
            else
                select p.id into further from public.payments as p
                where p.provider_ref = charge and p.provider = 'stripe' and p.succeeded_at is not null
                for no key update;
                if further is not null then
                    perform private.reverse_charge(further, charge);
                    perform private.close_payment(paid.id);
                end if;
            end if;
        when 'payment_intent.processing' then
            update public.payments as p set status = 'processing', charge_id = coalesce(charge, p.charge_id)
            where
                p.id = paid.id and p.status in ('requires_payment', 'failed')
                and coalesce(charge <> all (p.declined_charges), true);
        when 'payment_intent.canceled' then
            perform private.payment_cancelled(paid.id);
    end case;
    return 'processed';
end
$function$;

create or replace function private.begin_holds (
    buyer uuid,
    items uuid[],
    lines private.order_line[],
    others uuid[],
    replaced uuid[],
    OUT until timestamp with time zone,
    OUT problem text,
    OUT detail text
)
    returns record
    language plpgsql
    set search_path to ''
    AS $function$
declare
    limits record;
    period private.hold_periods;
    paused private.hold_periods;
    is_stale boolean := false;
    held bigint;
    first_end timestamptz;
    stamp constant text := 'YYYY-MM-DD"T"HH24:MI:SS"Z"';
begin
    select s.reservation_period, s.hold_pause, coalesce(l.max_holds, s.holds_per_account) as allowed into strict limits
    from private.settings as s
    left join private.hold_limits as l on l.user_id = buyer;
    for period in select h.* from private.hold_periods as h where h.user_id = buyer loop
        if period.ends_at + limits.hold_pause <= now() then
            is_stale := true;
        elsif period.ends_at <= now() and period.item_id = any (items)
            and (paused.ends_at is null or paused.ends_at < period.ends_at)
        then
            paused := period;
        end if;
    end loop;
    if is_stale then
        delete from private.hold_periods as h where h.user_id = buyer and h.ends_at + limits.hold_pause <= now();
    end if;
    if paused.item_id is not null then
        until := now();
        problem := 'hold_paused';
        detail := format(
            '%s: until %s', paused.item_id, to_char((paused.ends_at + limits.hold_pause) at time zone 'utc', stamp)
        );
        return;
    end if;
    with begun as (
        insert into private.hold_periods as h (user_id, item_id, ends_at)
        select buyer, u.item_id, now() + limits.reservation_period from unnest(items) as u (item_id)
        on conflict on constraint hold_periods_pkey do update set renewals = h.renewals + 1
        returning h.ends_at
    )

    select min(b.ends_at) into until from begun as b;

    if others <> '{}' or cardinality(lines) > limits.allowed then
        select count(*), min(greatest(h.ends_at, now())) into held, first_end
        from (
            -- What the replaced orders hold of the same goes over to this one.
            select r.item_id, r.option_id from private.holds as r
            where
                r.order_id = any (others)
                and not (r.order_id = any (replaced) and exists (
                    select from unnest(lines) as l
                    where l.is_held and l.item_id = r.item_id and l.option_id is not distinct from r.option_id
                ))
            union all
            (select distinct l.item_id, l.option_id from unnest(lines) as l where l.is_held)
        ) as r
        left join private.hold_periods as h on h.user_id = buyer and h.item_id = r.item_id
        where
            -- Not what there is no end of: such a hold only keeps the exclusive option from others.
            exists (select from public.catalog_items as c where c.id = r.item_id and c.stock is not null)
            or exists (select from public.catalog_options as p where p.id = r.option_id and p.stock is not null);
        if held > limits.allowed then
            problem := 'too_many_holds';
            detail := format('at most %s; until %s', limits.allowed, to_char(first_end at time zone 'utc', stamp));
        end if;
    end if;
end
$function$;

create or replace function private.build_dispatch()
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    hook private.hooks;
    branches text;
    name text;
begin
    for hook in select * from private.hooks as h order by h.hook loop
        select string_agg(
            format(E'        when %L then\n            %s;\n', k.kind, private.hook_branch(k, hook)), '' order by k.kind
        ) into branches
        from private.kinds as k
        where hook.hook = any (k.hooks);
        continue when branches is null;
        name := format('private.%I', 'dispatch_' || hook.hook);
        execute format(
            E'create or replace function %s(kind text, ids uuid[]%s) returns %s\nlanguage plpgsql\n%s'
            'set search_path = ''''\n%sas %L',
            name, ', ' || nullif(hook.parameters, ''), hook.returns,
            case when hook.as_caller then E'stable\n' else E'security definer\n' end,
            -- Buyers wait for these: not planned anew each time.
            case when not hook.as_caller then E'set plan_cache_mode = force_generic_plan\n' else '' end,
            format(
                E'\nbegin\n    case kind\n%s        else\n            perform private.fail(%L, kind);\n    end case;\nend\n',
                branches, hook.refusal
            )
        );
        execute format('comment on function %s is %L', name, hook.meaning || ' Built: see build_dispatch().');
        if hook.as_caller then
            execute format('grant execute on function %s to authenticated', name);
        end if;
    end loop;
end
$function$;

create or replace function private.check_product()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'UPDATE' and old.status = 'deleted' then
        -- What the server keeps up may still change; what the seller says may not.
        if (new.title, new.slug, new.status, new.price_cents) is distinct from
            (old.title, old.slug, old.status, old.price_cents)
        then
            perform private.fail('product_deleted', old.id::text);
        end if;
    end if;

    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.products', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.genre_tags := private.clean_tags(new.genre_tags);

    new.minimum_price_cents := case
        when new.allow_name_your_price then coalesce(new.minimum_price_cents, new.price_cents)
    end;
    if new.license_type = 'custom' and new.license_text is null then
        perform private.fail('license_text_required');
    end if;
    -- A product is sold any number of times; what is exclusive is an option with a stock of 1.
    if new.license_type = 'exclusive' and (tg_op = 'INSERT' or old.license_type <> 'exclusive') then
        perform private.fail('license_not_allowed', 'exclusive');
    end if;
    new.license_version := case
        when tg_op = 'INSERT' then 1
        else old.license_version
            + ((new.license_type, new.license_text) is distinct from (old.license_type, old.license_text))::integer
    end;

    if new.status = 'active' and (tg_op = 'INSERT' or old.status <> 'active') and not exists (
        select from public.product_files as f where f.product_id = new.id and f.removed_at is null
    ) then
        perform private.fail('product_has_no_files', new.id::text);
    end if;

    if new.status = 'deleted' then
        new.is_featured := false;
    end if;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
        new.featured_at := now();
    elsif not new.is_featured then
        new.featured_at := null;
    end if;
    return new;
end
$function$;

create or replace function private.check_shipping_rate()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if (select count(*) from public.shipping_rates as r where r.seller_id = new.seller_id) > 100 then
        perform private.fail('too_many_shipping_rates');
    end if;
    return null;
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
    if given is null then
        return null;
    end if;
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

create or replace function private.count_spent()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
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

create or replace function private.deliverable_orders (
    orders uuid[]
)
    returns uuid[]
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
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
        exit when attempt = 2 or cardinality(deliverable) = cardinality(deliverable_orders.orders);
        -- A pending order still holds its items, whatever the seller did to them since: the buyer was promised. A
        -- cancelled one gave them back and must find each of them unheld and on sale; so must one whose items became
        -- limited since.
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
        exit when not found;
    end loop;
    return deliverable;
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    set plan_cache_mode to 'force_generic_plan'
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
    heirs := private.heirs_of(array(
        select row(p.item_id, p.option_id, p.owner_id, p.is_single, p.is_owned_once, count(*))::private.freed_piece
        from public.purchases as p
        where p.id = any (ids) and not p.is_away
        group by p.item_id, p.option_id, p.owner_id, p.is_single, p.is_owned_once
    ), ids);
    perform private.dispatch_purchases('revoke', ids, reason);
    perform private.restore_purchases(heirs);
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
    units private.granted_unit[] := '{}';
    granted uuid[];
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
            i.id, u.item_id, u.option_id, u.unit, i.kind, i.buyer_id, i.buyer_id,
            -- What comes on top does not matter to whoever has it, or buys it here as well. Of several orders that
            -- settle together the later ones would find it owned: that is a 23505, and they settle apart.
            i.is_owned_once and not (
                u.is_extra and (
                    private.owns_item(i.buyer_id, u.item_id)
                    or row_number() over (
                        partition by i.order_id, u.item_id
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
        returning id
    )

    select array_agg(g.id) into granted from granted_now as g;
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
$function$;

create or replace function private.heirs_of (
    freed private.freed_piece[],
    besides uuid[] default '{}'::uuid[]
)
    returns uuid[]
    language plpgsql
    stable
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.lock_heirlooms (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
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
    has_own boolean;
    is_limited boolean;
    goods record;
begin
    perform from public.orders as o where o.id = any (lock_orders.orders) order by o.id for no key update;
    select
        array_agg(i.payable_id) filter (where i.payable_id is not null),
        bool_or(i.item_id is not null and 'lock_own' = any (k.hooks)),
        bool_or(i.is_held or c.stock is not null or o.stock is not null)
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
$function$;

create or replace function private.lock_sold_item (
    item_id uuid
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform from public.catalog_items as c
    where c.id = lock_sold_item.item_id and c.seller_id = private.member_id()
    for no key update;
    return found;
end
$function$;

create or replace function private.lock_stock (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    perform private.lock_heirlooms(lock_stock.orders);
    perform from public.catalog_items as c
    where
        c.id in (select l.item_id from private.limited_lines as l where l.order_id = any (orders))
        and not c.is_unique
    order by c.id
    for no key update;
end
$function$;

create or replace function private.lock_wallets (
    user_ids uuid[],
    is_patient boolean default true
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
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
$function$;

create or replace function private.notify (
    recipient uuid,
    type text,
    actor uuid default null::uuid,
    related_type text default null::text,
    related_id uuid default null::uuid,
    link_url text default null::text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    known private.notification_types;
    latest record;
    told integer;
begin
    if recipient is null or recipient = actor then
        return;
    end if;
    select * into strict known from private.notification_types as t where t.type = notify.type;

    if known.collapse is not null or known.collapse_unread then
        select n.created_at, n.is_read into latest from public.notifications as n
        where n.related_id = notify.related_id and n.type = notify.type and n.user_id = recipient
        order by n.created_at desc
        limit 1;
        if latest.created_at > now() - known.collapse or known.collapse_unread and not latest.is_read then
            return;
        end if;
    end if;

    if actor is not null and not (
        private.is_visible_to(actor, recipient)
        -- Admins see whom they blocked, but do not want to hear from them.
        and not exists (
            select from public.user_blocks as b
            where b.blocker_id = recipient and b.blocked_id = actor or b.blocker_id = actor and b.blocked_id = recipient
        )
    ) then
        return;
    end if;
    -- As their recipient's row, see notify_many().
    if actor is not null and not known.is_anonymous then
        perform from public.profiles as p where p.id = actor for key share skip locked;
        if not found then
            return;
        end if;
    end if;
    told := private.notify_many(array[row(type, recipient, actor, related_type, related_id, link_url)::private.notice]);
    -- Wherever people are named: each who is told counts.
    if told > 0 and type = 'mention' and actor = auth.uid() then
        perform private.count_activity('mention', 1);
    end if;
end
$function$;

create or replace function private.notify_many (
    notices private.notice[]
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    told integer;
    mailed uuid[];
begin
    -- The rows the foreign keys need cannot go any more once they are locked. Who is just leaving is not waited for:
    -- their erasure may wait for what this transaction holds. (Renaming locks the same way: that instant loses a
    -- notice.)
    with told_now as (
        insert into public.notifications (user_id, type, title, message, link_url, actor_id, related_type, related_id)
        select
            p.id, t.type, t.title, t.message,
            coalesce(n.link_url, replace(
                replace(coalesce(t.link_template, k.page), '{id}', coalesce(n.related_id::text, '')),
                '{actor_id}', coalesce(n.actor::text, '')
            )),
            case when not t.is_anonymous then n.actor end,
            -- Null for a word that is none, which the table's constraint refuses.
            k.kind, n.related_id
        from unnest(notices) as n
        inner join private.notification_types as t on t.type = n.type
        left join private.kinds as k on k.kind = n.related_type
        inner join public.profiles as p
            on p.id = n.recipient and p.deleted_at is null and (t.reaches_banned or not p.is_banned)
        where
            n.recipient is distinct from n.actor
            and not (t.can_switch_off and exists (
                select from public.profile_settings as s
                where s.user_id = n.recipient and s.notification_preferences #>> array[t.type, 'in_app'] = 'false'
            ))
        for key share of p skip locked
        on conflict do nothing
        returning id, user_id, type
    )

    select
        count(*),
        array_agg(n.id) filter (where n.type in (
            select t.type from private.notification_types as t where t.email = 'immediate'
        ))
    into told, mailed
    from told_now as n;
    if mailed is not null then
        perform private.mail_notification(n.id, n.user_id, n.type)
        from public.notifications as n
        where n.id = any (mailed);
    end if;
    return told;
end
$function$;

create or replace function private.order_summary (
    order_id uuid
)
    returns jsonb
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return (
        select jsonb_build_object(
            'order_id', o.id, 'order_number', o.order_number, 'status', o.status, 'total_cents', o.total_cents,
            'currency', o.currency, 'payment_id', p.id, 'provider', p.provider, 'payment_status', p.status,
            'expires_at', p.expires_at,
            'start_url', case
                when p.status = 'requires_payment'
                    then private.workers_link('/functions/v1/payments/' || p.id || '/start')
            end
        )
        from public.orders as o
        left join public.payments as p on p.order_id = o.id
        where o.id = order_summary.order_id
        order by p.created_at desc
        limit 1
    );
end
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
$function$;

create or replace function private.payment_of (
    object jsonb
)
    returns public.payments
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    is_intent boolean := coalesce(object ->> 'object' = 'payment_intent', false);
    named text := object #>> '{metadata,payment_id}';
    intent text := case
        when is_intent then object ->> 'id' else coalesce(object #>> '{payment_intent,id}', object ->> 'payment_intent')
    end;
    charge text := case
        when is_intent then null
        when object ->> 'object' = 'charge' then object ->> 'id'
        else coalesce(object #>> '{charge,id}', object ->> 'charge')
    end;
    found public.payments;
    claimed public.payments;
begin
    if charge is not null then
        select * into found from public.payments as p
        where p.provider_ref = charge and p.provider = 'stripe'
        for no key update;
    end if;
    if found.id is null then
        select * into found from public.payments as p
        where p.provider_ref = intent and p.provider = 'stripe'
        for no key update;
        if found.id::text <> lower(named) then
            perform private.fail('event_rejected', format('payment %s is %s, the event names %s', found.id, intent, named));
        end if;
        -- Paid a second time: what is about the second charge waits until that is booked.
        if charge <> found.charge_id and found.succeeded_at is not null then
            perform private.fail('event_too_early', format('payment %s was paid by %s', found.id, found.charge_id));
        end if;
    end if;
    if found.id is null and private.is_uuid(named) then
        select * into claimed from public.payments as p where p.id = named::uuid for no key update;
        if claimed.provider_ref is not null then
            perform private.fail('event_rejected', format(
                'payment %s is %s, the event is about %s', claimed.id, claimed.provider_ref, coalesce(intent, 'nothing')
            ));
        elsif claimed.id is not null and (claimed.provider <> 'stripe' or claimed.started_at is null) then
            perform private.fail('event_rejected', format(
                'payment %s was never started, the event is about %s', claimed.id, coalesce(intent, 'nothing')
            ));
        elsif is_intent and intent is not null
            and (object ->> 'amount_received')::bigint = claimed.amount_cents
            and upper(object ->> 'currency') = claimed.currency::text then
            found := claimed;
        end if;
    end if;
    if found.id is null then
        perform private.fail('event_too_early', 'no such payment: ' || coalesce(named, intent, 'unnamed'));
    end if;
    return found;
end
$function$;

create or replace function private.person_of (
    payload jsonb
)
    returns uuid
    language plpgsql
    stable
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    object jsonb := payload #> '{data,object}';
    person uuid;
begin
    select p.user_id into person from public.payments as p
    where
        p.provider = 'stripe'
        and p.provider_ref = case
            when object ->> 'object' = 'payment_intent' then object ->> 'id'
            else coalesce(object #>> '{payment_intent,id}', object ->> 'payment_intent')
        end;
    if person is null then
        select w.user_id into person from public.wallets as w
        where w.stripe_account_id = coalesce(
            case when object ->> 'object' = 'account' then object ->> 'id' end, object ->> 'destination',
            payload ->> 'account'
        );
    end if;
    return person;
end
$function$;

create function private.place_order (
    new_order uuid,
    buyer uuid,
    lines private.order_line[],
    provider public.payment_provider,
    shipping_address jsonb,
    notes text,
    pay_by timestamp with time zone default null::timestamp with time zone
)
    returns jsonb
    language plpgsql
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    limits private.settings;
    line private.order_line;
    subtotal bigint := 0;
    discount bigint := 0;
    shipping bigint := 0;
    total bigint;
    held uuid[] := '{}';
    pays_at_once boolean;
    expires timestamptz;
    problem text;
    detail text;
    new_payment uuid;
    answer jsonb;
    open_orders uuid[];
    superseded uuid[] := '{}';
    replaced uuid[] := '{}';
    given_up uuid[] := '{}';
    gone uuid;
    attempt record;
begin
    select * into strict limits from private.settings;
    foreach line in array lines loop
        subtotal := subtotal + line.unit_price_cents * line.quantity;
        discount := discount + line.discount_cents;
        shipping := shipping + line.shipping_cents;
        if line.is_held and line.item_id <> all (held) then
            held := held || line.item_id;
        end if;
    end loop;
    total := subtotal - discount + shipping;
    if total > private.highest_amount_cents() then
        perform private.fail('amount_out_of_range', format('at most %s cents', private.highest_amount_cents()));
    elsif total between 1 and private.lowest_price_cents() - 1 and place_order.provider <> 'wallet' then
        perform private.fail('amount_out_of_range', format('at least %s cents', private.lowest_price_cents()));
    end if;
    pays_at_once := total = 0 or place_order.provider = 'wallet';

    insert into public.orders (
        id, user_id, subtotal_cents, discount_cents, shipping_cents, total_cents, shipping_address, notes
    ) values (
        new_order, buyer, subtotal, discount, shipping, total, place_order.shipping_address, place_order.notes
    );
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
    -- first, as settlement does. Most buyers have none.
    open_orders := array(select p.order_id from public.payments as p where p.user_id = buyer and p.is_open);
    if open_orders <> '{}' then
        for attempt in
            select p.id, p.order_id, p.started_at from public.payments as p
            where
                p.user_id = buyer and p.is_open and p.order_id = any (open_orders)
                and p.order_id in (
                    select i.order_id from public.order_items as i
                    inner join unnest(lines) as l
                        on
                            l.payable_id = i.payable_id
                            or num_nonnulls(l.payable_id, i.payable_id) = 0 and not l.is_repeatable
                            and l.item_id = i.item_id
                    where i.order_id = any (open_orders)
                )
            order by p.id
            for no key update
        loop
            superseded := superseded || attempt.id;
            replaced := replaced || attempt.order_id;
            if attempt.started_at is null then
                given_up := given_up || attempt.order_id;
            end if;
        end loop;
    end if;

    if total > 0 then
        expires := least(now() + limits.payment_period, pay_by);
        if held <> '{}' and not pays_at_once then
            foreach gone in array given_up loop
                open_orders := array_remove(open_orders, gone);
            end loop;
            select b.until, b.problem, b.detail into expires, problem, detail
            from private.begin_holds(buyer, held, lines, open_orders, replaced) as b;
            expires := least(expires, pay_by);
        end if;
        insert into public.payments (
            user_id, order_id, amount_cents, provider, fee_estimate_cents, provider_fee_cents, expires_at, status
        ) values (
            buyer, new_order, total, place_order.provider,
            private.processing_fee(place_order.provider, total, 'USD'),
            case when place_order.provider = 'wallet' then 0 end, expires,
            case
                when place_order.provider = 'wallet' then 'processing' else 'requires_payment'
            end::public.payment_status
        ) returning id into new_payment;
    end if;
    -- Last: others wait for these rows, so that what is answered is read before. What is paid at once is locked as
    -- settlement does.
    if pays_at_once then
        perform private.lock_orders(new_order || replaced);
    else
        answer := private.order_summary(new_order);
        if replaced <> '{}' then
            perform private.lock_stock(new_order || replaced);
        end if;
    end if;
    if held <> '{}' then
        perform private.hold_lines(new_order, replaced);
        -- That somebody else has it is said first.
        if problem is not null then
            perform private.fail(problem, detail);
        end if;
    end if;
    for i in 1..cardinality(superseded) loop
        perform private.stop_payment(superseded[i], 'superseded');
    end loop;

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
    return coalesce(answer, private.order_summary(new_order));
end
$function$;

create or replace function private.process_webhook_event (
    event_id bigint,
    is_alone boolean default true
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    set lock_timeout to '0'
    AS $function$
declare
    event private.webhook_events;
    outcome private.webhook_status;
    problem text;
    detail text;
    code text;
    tries integer;
    person uuid;
begin
    select * into event from private.webhook_events as e where e.id = process_webhook_event.event_id for no key update;
    if event.id is null then
        return 'unknown';
    end if;
    if event.status <> 'pending' then
        return event.status;
    end if;
    perform set_config('lock_timeout', case when is_alone then '5s' else '300ms' end, true);
    begin
        if event.provider <> 'stripe' then
            perform private.fail('event_rejected', 'unknown provider');
        end if;
        outcome := private.apply_stripe_event(event)::private.webhook_status;
        person := private.person_of(event.payload);
        update private.webhook_events as e set
            status = outcome, processed_at = now(), last_error = private.why_foreign(event), user_id = person,
            payload = case
                when exists (select from public.profiles as p where p.id = person and p.deleted_at is null)
                    or person is null then e.payload
                else private.without_persons(e.payload)
            end
        where e.id = event.id;
        return outcome;
    exception when lock_not_available then
        -- Somebody holds a row it is about: that says nothing against the event. It goes on waiting in a job of its own,
        -- with pauses that leave the workers to others.
        update private.webhook_events as e set
            last_error = sqlerrm,
            next_attempt_at = now() + case
                when is_alone then least(greatest(now() - e.received_at, interval '5 seconds'), interval '1 minute')
                else interval '0'
            end
        where e.id = event.id
        returning * into event;
        perform private.enqueue(
            'process_events', jsonb_build_object('ids', jsonb_build_array(event.id)), event.next_attempt_at
        );
        return 'held';
    when others then
        -- The work of this event is undone; what remains is that it was tried.
        get stacked diagnostics problem = message_text, detail = pg_exception_detail, code = returned_sqlstate;
    end;
    tries := event.attempts + 1;
    update private.webhook_events as e set
        attempts = tries,
        last_error = concat_ws(': ', problem, nullif(detail, '')),
        status = case
            when code = 'AV001' or tries >= (select s.event_attempts from private.settings as s) then 'dead'
            else 'pending'
        end::private.webhook_status,
        next_attempt_at = now() + make_interval(secs => 2 ^ least(tries, 12))
    where e.id = event.id
    returning * into event;
    if event.status = 'dead' then
        return 'dead';
    end if;
    perform private.enqueue('process_events', jsonb_build_object('ids', jsonb_build_array(event.id)), event.next_attempt_at);
    return 'retry';
end
$function$;

create or replace function private.processing_fee (
    provider public.payment_provider,
    amount_cents bigint,
    currency text
)
    returns bigint
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return (
        select (processing_fee.amount_cents * f.percent_bps + 5000) / 10000 + f.fixed_cents
        from public.fee_schedules as f
        where
            f.provider = processing_fee.provider and f.currency = processing_fee.currency and f.valid_from <= now()
        order by f.valid_from desc
        limit 1
    );
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
        elsif coalesce(license = 'exclusive', false) <> option.is_exclusive then
            perform private.fail('invalid_option', 'is_exclusive');
        end if;
    end loop;
end
$function$;

create or replace function private.read_lines (
    buyer uuid,
    wanted jsonb,
    country text default null::text
)
    returns private.order_line[]
    language plpgsql
    set search_path to ''
    AS $function$
declare
    lines private.order_line[] := array_fill(null::private.order_line, array[jsonb_array_length(wanted)]);
    line private.order_line;
    asked record;
    item public.catalog_items;
    option public.catalog_options;
    price record;
    terms record;
    kinds text[] := '{}';
    asked_kind text;
    asked_lines private.wanted_line[] := '{}';
    fact private.line_facts;
    blocked uuid[] := array(select private.blocked_ids());
begin
    for asked in
        select
            w.no,
            (w.line ->> 'item_id')::uuid as item_id,
            (w.line ->> 'option_id')::uuid as option_id,
            (w.line ->> 'quantity')::integer as quantity,
            (w.line ->> 'offered_price_cents')::bigint as offered_cents,
            -- The most a piece may cost: what the cart showed, or what the client says it showed.
            coalesce(w.line ->> 'shown_price_cents', w.line ->> 'offered_price_cents')::bigint as agreed_cents,
            coalesce(w.line -> 'details', '{}') as details
        from jsonb_array_elements(wanted) with ordinality as w (line, no)
        order by (w.line ->> 'item_id')::uuid
    loop
        -- The only look at the item: what is checked here is what is written and charged. Locked, so that it is the
        -- last committed state and the item stays; a seller may go on editing, as if the order had been a moment
        -- earlier.
        if item.id is distinct from asked.item_id then
            select * into item from public.catalog_items as c where c.id = asked.item_id for key share;
        end if;
        -- Who blocked the buyer, or was blocked by them, sells them nothing; what the buyer cannot see does not exist.
        if item.seller_id = any (blocked)
            or not (item.is_visible or item.seller_id = buyer or private.owns_item(buyer, item.id))
        then
            item := null;
        end if;
        option := null;
        if asked.option_id is not null and item.id is not null then
            select * into option from public.catalog_options as o
            where o.id = asked.option_id and o.item_id = item.id and o.is_active;
        end if;
        line := null;
        line.line_no := asked.no;
        line.item_id := asked.item_id;
        line.option_id := asked.option_id;
        line.quantity := asked.quantity;
        line.is_counted := coalesce(item.stock > 1, false) or coalesce(option.stock > 1, false);
        line.problem := case
            when item.id is null then 'item_not_available'
            when asked.option_id is not null and option.id is null then 'option_not_available'
            when not item.is_repeatable and array_length(lines, 1) > 1 and (
                select count(*) > 1 from jsonb_array_elements(wanted) as w (line)
                where
                    (w.line ->> 'item_id')::uuid = asked.item_id
                    and (w.line ->> 'option_id')::uuid is not distinct from asked.option_id
            ) then 'duplicate_item'
            when item.seller_id = buyer then 'own_item'
            when not item.is_repeatable and not line.is_counted and exists (
                select from public.purchases as p
                where
                    p.owner_id = buyer and p.item_id = asked.item_id
                    and p.option_id is not distinct from asked.option_id and p.revoked_at is null
            ) then 'already_owned'
            when not item.is_buyable and (item.is_unique or item.is_sold_out) then 'item_sold'
            when not item.is_buyable then 'item_not_available'
            when asked.quantity < 1 or ((item.is_unique or option.stock = 1) and asked.quantity > 1)
                then 'quantity_not_allowed'
        end;
        line.detail := case
            when line.problem = 'option_not_available' then asked.option_id::text else asked.item_id::text
        end;
        if line.problem is null then
            price := private.price_of(
                coalesce(option.price_cents, item.price_cents),
                case when option.id is null then item.minimum_price_cents end, asked.offered_cents, asked.agreed_cents
            );
            line.problem := price.problem;
            if price.problem = 'price_too_low' then
                line.detail := format('%s: minimum is %s cents', asked.item_id, price.least_cents);
            end if;
        end if;
        if line.problem is null then
            terms := private.sale_terms(item.kind, item.seller_id);
            line.kind := item.kind;
            line.seller_id := item.seller_id;
            line.title := item.title || case when option.id is null then '' else ' (' || option.title || ')' end;
            line.details := asked.details;
            line.unit_price_cents := price.cents;
            line.discount_cents := 0;
            line.shipping_cents := 0;
            line.seller_tier := terms.tier;
            line.commission_bps := terms.commission_bps;
            line.is_repeatable := item.is_repeatable;
            line.is_held := private.is_limited(item);
            line.is_owned_once := not item.is_repeatable and not line.is_counted;
            line.is_shipped := item.requires_shipping;
            if item.kind <> all (kinds) then
                kinds := kinds || item.kind;
            end if;
        end if;
        lines[asked.no] := line;
    end loop;

    foreach asked_kind in array kinds loop
        asked_lines := '{}';
        foreach line in array lines loop
            if line.kind = asked_kind and line.problem is null then
                asked_lines := asked_lines || row(
                    line.line_no, line.item_id, line.option_id, line.quantity, line.unit_price_cents, line.details,
                    buyer
                )::private.wanted_line;
            end if;
        end loop;
        for fact in
            select f.* from private.dispatch_check_line(
                asked_kind, array(select l.item_id from unnest(asked_lines) as l), asked_lines
            ) as f
        loop
            line := lines[fact.no];
            line.description := fact.description;
            line.license_type := fact.license_type;
            line.license_text := fact.license_text;
            line.license_version := fact.license_version;
            line.details := fact.details;
            line.discount_cents := fact.discount_cents;
            if fact.problem is not null then
                line.problem := fact.problem;
                line.detail := fact.detail;
            end if;
            lines[fact.no] := line;
        end loop;
    end loop;

    foreach line in array lines loop
        continue when line.is_shipped is not true or line.problem is not null;
        if read_lines.country is null then
            line.problem := 'address_required';
        else
            line.shipping_cents := private.shipping_price(line.seller_id, read_lines.country, (
                select sum(o.unit_price_cents * o.quantity - o.discount_cents)::bigint from unnest(lines) as o
                where o.seller_id = line.seller_id and o.is_shipped
            ));
            if line.shipping_cents is null then
                line.problem := 'shipping_not_available';
            end if;
        end if;
        lines[line.line_no] := line;
    end loop;
    return lines;
end
$function$;

create or replace function private.record_shipment (
    shipment_id uuid,
    status public.shipment_status,
    at timestamp with time zone
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    parcel public.shipments;
    line uuid := (select s.order_item_id from public.shipments as s where s.id = record_shipment.shipment_id);
begin
    -- What is back frees its stock, and orders and stocks come before sales.
    if record_shipment.status = 'returned' then
        perform private.lock_orders(array(select i.order_id from public.order_items as i where i.id = line));
    end if;
    perform from public.transactions as t where t.order_item_id = line for no key update;
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
$function$;

create or replace function private.release_holds (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    gone private.freed_piece[];
    freed record;
begin
    perform private.lock_heirlooms(release_holds.orders);
    with ended as (
        delete from private.holds as h where h.order_id = any (release_holds.orders) returning h.*
    )

    select array_agg(row(e.item_id, e.option_id, null, e.is_single, null, e.quantity)::private.freed_piece)
    into gone from ended as e;
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
end
$function$;

create or replace function private.require_keys (
    value jsonb,
    allowed text[],
    code text
)
    returns void
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    foreign_keys text;
begin
    if jsonb_typeof(value) <> 'object' then
        perform private.fail(code, 'not an object');
    end if;
    if value - allowed <> '{}' then
        select string_agg(k.key, ', ' order by k.key) into foreign_keys
        from jsonb_object_keys(value) as k (key)
        where k.key <> all (allowed);
        perform private.fail(
            code, format('unknown: %s; known: %s', left(foreign_keys, 200), array_to_string(allowed, ', '))
        );
    end if;
end
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

create or replace function private.sale_terms (
    kind text,
    seller_id uuid,
    OUT tier text,
    OUT commission_bps integer
)
    returns record
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    sold private.kinds;
    plan public.plans;
begin
    select * into sold from private.kinds as k where k.kind = sale_terms.kind;
    if sold.kind is not null then
        plan := private.seller_plan(sale_terms.seller_id);
        tier := plan.tier;
        commission_bps := case
            when sold.proceeds = 'platform' or private.is_platform(sale_terms.seller_id) then 10000
            when sold.commission = 'none' then 0
            else plan.commission_bps
        end;
    end if;
end
$function$;

create or replace function private.search_text (
    value text
)
    returns text
    language plpgsql
    immutable
    parallel safe
    set search_path to ''
    AS $function$
begin
    -- One character may become eighteen; longer than any text we keep it does not get.
    return lower(
        extensions.unaccent('extensions.unaccent'::regdictionary, left(normalize(left(value, 200000), nfkc), 200000))
    );
end
$function$;

create or replace function private.seller_plan (
    seller uuid
)
    returns public.plans
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return private.active_plan(seller, 'creator');
end
$function$;

create or replace function private.settle_batch (
    ids bigint[],
    only_free boolean default false
)
    returns bigint[]
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    set lock_timeout to '300ms'
    AS $function$
declare
    events bigint[];
    payments uuid[];
    charges text[];
    orders uuid[];
    held bigint[] := '{}';
begin
    with event as (
        select e.id, e.payload #> '{data,object}' as object
        -- By key, not by all that are pending.
        from unnest(settle_batch.ids) as u (id)
        inner join private.webhook_events as e on e.id = u.id
        where
            e.status = 'pending' and e.attempts = 0 and e.provider = 'stripe'
            and e.type = 'payment_intent.succeeded' and private.why_foreign(e) is null
            and jsonb_typeof(e.payload #> '{data,object}') = 'object'
        order by e.id
        for no key update of e skip locked
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
        select n.id as event_id, p.id, n.charge, p.order_id
        from named as n
        inner join public.payments as p on p.provider_ref = n.intent and p.provider = 'stripe'
        inner join public.orders as o on o.id = p.order_id
        where
            p.is_open and p.succeeded_at is null and p.amount_cents::text = n.amount
            and p.currency::text = n.currency and n.charge is not null and n.charge <> all (p.declined_charges)
            and (p.id::text = lower(n.payment)) is not false
            -- A late one looks for its goods by itself; so does one whose goods became limited since, or whose hold
            -- somebody ended.
            and o.status = 'pending' and not exists (
                select from private.limited_lines as l where l.order_id = o.id and l.hold_id is null
            )
        order by p.id
        for no key update of p, o skip locked
    ),

    -- At most one of a payment, and of several that buy the same for one owner, or pay one payable, the first:
    -- another finds it bought. So does who was paid for after somebody bought the item exclusively.
    first as (
        select distinct on (p.id) p.* from paid as p order by p.id, p.event_id
    ),

    line as (
        select
            f.event_id,
            i.payable_id is not null and min(f.event_id) over (partition by i.buyer_id, i.payable_id) < f.event_id
            or i.is_owned_once and min(f.event_id) over (
                partition by i.buyer_id, i.item_id, i.option_id
            ) < f.event_id
            or min(f.event_id) filter (where o.is_exclusive) over (partition by i.item_id) < f.event_id as is_later
        from first as f
        inner join public.order_items as i on i.order_id = f.order_id
        left join public.catalog_options as o on o.id = i.option_id
    )

    select
        array_agg(f.event_id order by f.event_id), array_agg(f.id order by f.event_id),
        array_agg(f.charge order by f.event_id), array_agg(f.order_id order by f.event_id)
    into events, payments, charges, orders
    from first as f
    where f.event_id not in (select l.event_id from line as l where l.is_later);
    if events is null then
        return '{}';
    end if;
    if only_free then
        perform set_config('lock_timeout', '100ms', true);
        with line as (
            select u.event_id, i.*
            from unnest(events, payments) as u (event_id, payment_id)
            inner join public.payments as p on p.id = u.payment_id
            inner join public.order_items as i on i.order_id = p.order_id
        ),

        earner as (
            select l.event_id, y.payee_id as user_id
            from line as l
            inner join private.payees_to_be(orders) as y on y.order_item_id = l.id
            union
            select l.event_id, l.buyer_id from line as l where private.is_platform(l.seller_id)
        ),

        free_payable as (
            select a.id from public.payables as a
            where a.id in (select l.payable_id from line as l)
            order by a.id
            for no key update skip locked
        ),

        free_item as (
            select c.id from public.catalog_items as c
            where c.id in (select l.item_id from line as l)
            order by c.id
            for no key update skip locked
        ),

        free_wallet as (
            select w.user_id from public.wallets as w
            where w.user_id in (select e.user_id from earner as e)
            order by w.user_id
            for no key update skip locked
        ),

        cart as (
            select c.user_id, c.item_id, c.option_key, l.event_id
            from line as l
            inner join public.cart_items as c
                on c.user_id = l.buyer_id and c.item_id = l.item_id and c.option_id is not distinct from l.option_id
        ),

        free_cart as (
            select c.user_id, c.item_id, c.option_key from public.cart_items as c
            where (c.user_id, c.item_id, c.option_key) in (select t.user_id, t.item_id, t.option_key from cart as t)
            order by c.user_id, c.item_id, c.option_key
            for update skip locked
        ),

        waiting as (
            select l.event_id from line as l
            where
                l.payable_id is not null and l.payable_id not in (select f.id from free_payable as f)
                or l.item_id is not null and l.item_id not in (select f.id from free_item as f)
            union
            select e.event_id
            from earner as e
            inner join public.wallets as w on w.user_id = e.user_id
            where w.user_id not in (select f.user_id from free_wallet as f)
            union
            select t.event_id from cart as t
            where
                (t.user_id, t.item_id, t.option_key) not in (
                    select f.user_id, f.item_id, f.option_key from free_cart as f
                )
        )

        select
            coalesce(array_agg(u.event_id order by u.event_id) filter (where w.event_id is not null), '{}'),
            array_agg(u.event_id order by u.event_id) filter (where w.event_id is null),
            array_agg(u.payment_id order by u.event_id) filter (where w.event_id is null),
            array_agg(u.charge order by u.event_id) filter (where w.event_id is null)
        into held, events, payments, charges
        from unnest(events, payments, charges) as u (event_id, payment_id, charge)
        left join waiting as w on w.event_id = u.event_id;
        perform private.enqueue('process_events', jsonb_build_object('ids', jsonb_build_array(h.id)))
        from unnest(held) as h (id);
        if events is null then
            return held;
        end if;
    end if;
    perform from private.settle_payments(payments, charges, is_patient => false);
    update private.webhook_events as e set
        status = 'processed', processed_at = now(), user_id = p.user_id,
        payload = case when b.deleted_at is null then e.payload else private.without_persons(e.payload) end
    from unnest(events, payments) as u (event_id, payment_id)
    inner join public.payments as p on p.id = u.payment_id
    inner join public.profiles as b on b.id = p.user_id
    where e.id = u.event_id;
    return events || held;
end
$function$;

create or replace function private.settle_payment (
    payment_id uuid,
    charge_id text default null::text
)
    returns text
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
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
    charges text[],
    is_patient boolean default true
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
            currency, commission_bps, seller_tier, payment_processor, payment_method,
            stripe_payment_intent_id, stripe_charge_id, paypal_order_id, paypal_transaction_id,
            release_at, completed_at, free_until, ship_by, release_journal_id
        )
        select
            i.buyer_id, i.seller_id, i.kind, i.item_id, i.id, p.id,
            i.charged_cents, f.fee, i.tax_cents, s.commission, s.seller,
            i.currency, i.commission_bps, i.seller_tier, p.provider,
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
            i.charged_cents, i.tax_cents, case when f.is_platforms then 0 else i.shipping_cents end, f.fee,
            case when f.is_platforms then 10000 else i.commission_bps end
        ) as s
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
            (null, 'revenue', s.amount_commission_cents, 4)
        ) as m (owner_id, account, cents, leg_no)
        union all
        select p.sale_id, p.payee_id, 'pending', p.cents, 4 + p.no from part as p
    ) as l
    where l.cents <> 0;
    if postings is not null then
        perform ledger.post_many('sale', postings, 'USD');
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
$function$;

create or replace function private.split_cents (
    total bigint,
    weights bigint[]
)
    returns bigint[]
    language plpgsql
    immutable
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    parts bigint[];
begin
    if cardinality(weights) = 1 then
        return array[total];
    end if;
    -- Largest remainder; ties go to the earlier line, so the same input always splits the same way.
    with shares as (
        select
            u.no,
            total * u.weight / greatest(sum(u.weight) over (), 1)::bigint as share,
            total * u.weight % greatest(sum(u.weight) over (), 1)::bigint as remainder
        from unnest(weights) with ordinality as u (weight, no)
    ),

    ranked as (
        select
            s.no, s.share,
            total - sum(s.share) over () as missing,
            row_number() over (order by s.remainder desc, s.no asc) as place
        from shares as s
    )

    select array_agg(r.share + case when r.place <= r.missing then 1 else 0 end order by r.no) into parts
    from ranked as r;
    return parts;
end
$function$;

create or replace function private.tell_orders()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    notices private.notice[] := array(
        with completed as (
            select c.id, c.user_id from changed_to as c
            inner join changed_from as b on b.id = c.id
            where c.status = 'completed' and b.status in ('pending', 'processing', 'cancelled')
        )

        select row('order', c.user_id, null, 'order', c.id, null)::private.notice from completed as c
        union all
        select row('purchase', s.seller_id, null, 'order_item', s.id, null)::private.notice
        from (
            select distinct on (i.order_id, i.seller_id) i.seller_id, i.id
            from completed as c
            inner join public.order_items as i on i.order_id = c.id
            inner join private.kinds as k on k.kind = i.kind and k.is_browsable
            order by i.order_id, i.seller_id, i.line_no
        ) as s
    );
begin
    if notices <> '{}' then
        perform private.notify_many(notices);
    end if;
    return null;
end
$function$;

create or replace function private.why_foreign (
    event private.webhook_events
)
    returns text
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
begin
    return case
        when event.foreign_mode then 'of the other mode, live or test, than our key'
        when coalesce(event.payload -> 'account', 'null') <> 'null' and event.type !~ '^(account|payout)\.'
            then 'of connected account ' || (event.payload ->> 'account')
    end;
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
    if
        sale.completed_at is not null or not is_free and (sale.ship_by > clock_timestamp()) is not false
        -- What is sent comes back by a refund, also where the buyer was free to step back. What is back with the seller,
        -- by their own word, is not sent.
        or exists (
            select from public.shipments as s where s.order_item_id = sale.order_item_id and s.status <> 'returned'
        )
    then
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
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    wanted jsonb := nullif(checkout.items, 'null'::jsonb);
    wanted_address jsonb := private.checked_address(checkout.shipping_address);
    asked jsonb;
    is_valid boolean;
    earlier jsonb;
    lines private.order_line[];
    line private.order_line;
    new_order uuid := gen_random_uuid();
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
        -- What is not well formed has no line.
        select
            coalesce(bool_and(c.line is not null), true),
            coalesce(jsonb_agg(jsonb_build_object(
                'item_id', (c.line ->> 'item_id')::uuid, 'option_id', (c.line ->> 'option_id')::uuid,
                'quantity', coalesce((c.line ->> 'quantity')::integer, 1),
                'offered_price_cents', (c.line ->> 'offered_price_cents')::bigint,
                'details', coalesce(nullif(c.line -> 'details', 'null'), '{}')
            ) order by w.no), '[]')
        into is_valid, asked
        from jsonb_array_elements(wanted) with ordinality as w (line, no)
        cross join lateral (
            select case
                when
                    jsonb_typeof(w.line) = 'object'
                    and w.line - '{item_id,option_id,quantity,offered_price_cents,details}'::text[] = '{}'
                    and private.is_uuid(w.line ->> 'item_id')
                    and private.is_uuid(w.line ->> 'option_id') is not false
                    and coalesce(w.line ->> 'quantity', '1') ~ '^[0-9]{1,2}$'
                    and coalesce(w.line ->> 'offered_price_cents', '0') ~ '^[0-9]{1,8}$'
                    and jsonb_typeof(coalesce(nullif(w.line -> 'details', 'null'), '{}')) = 'object'
                    and coalesce(octet_length((w.line -> 'details')::text), 0) <= 16384
                    then w.line
            end as line
            -- Looked at once for each line.
            offset 0
        ) as c;
        if not is_valid then
            perform private.require_keys(
                w.line, '{item_id,option_id,quantity,offered_price_cents,details}', 'invalid_checkout'
            )
            from jsonb_array_elements(wanted) as w (line);
            perform private.fail(
                'invalid_checkout', 'each item is {item_id, option_id?, quantity?, offered_price_cents?, details?}'
            );
        end if;
        wanted := asked;
    end if;

    -- Where a retry ends: the order that was made, whatever has become of it.
    if checkout.idempotency_key is not null then
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
    end if;
    if checkout.provider is null or checkout.provider = 'paypal' then
        perform private.fail('provider_not_available', checkout.provider::text);
    end if;
    if jsonb_array_length(wanted) = 0 then
        perform private.fail('empty_checkout');
    elsif jsonb_array_length(wanted) > 50 then
        perform private.fail('too_many_items', jsonb_array_length(wanted)::text);
    end if;

    lines := private.read_lines(buyer, wanted, private.country_of(wanted_address));
    foreach line in array lines loop
        if line.problem is not null then
            perform private.fail(line.problem, line.detail);
        end if;
    end loop;
    if checkout.idempotency_key is not null then
        perform private.answer_request(
            buyer, 'checkout', checkout.idempotency_key, jsonb_build_object('order_id', new_order, 'items', wanted)
        );
    end if;
    return private.place_order(new_order, buyer, lines, checkout.provider, wanted_address, checkout.notes);
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
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    wanted_address jsonb := private.checked_address(checkout_payable.shipping_address);
    earlier jsonb;
    agreed public.payables;
    item public.catalog_items;
    new_order uuid := gen_random_uuid();
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
    perform private.answer_request(
        buyer, 'checkout_payable', checkout_payable.idempotency_key, to_jsonb(new_order)
    );
    return private.place_order(
        new_order, buyer,
        array[row(
            1, agreed.kind, agreed.item_id, null, agreed.id, agreed.seller_id, agreed.title, null, null, null, null,
            agreed.details, agreed.amount_cents, 1, 0, agreed.shipping_cents, agreed.seller_tier, agreed.commission_bps,
            false, false, false, false, coalesce(item.requires_shipping, false), null, null
        )::private.order_line],
        checkout_payable.provider, wanted_address, checkout_payable.notes, agreed.pay_by
    );
end
$function$;

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
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    sender uuid := private.require_member();
    earlier jsonb;
    lines private.order_line[];
    new_order uuid := gen_random_uuid();
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
    lines := private.read_lines(sender, jsonb_build_array(jsonb_build_object(
        'item_id', private.tip_jar_of(send_tip.recipient_id), 'quantity', 1,
        'offered_price_cents', send_tip.amount_cents,
        'details', jsonb_strip_nulls(jsonb_build_object('message', send_tip.message, 'item_id', send_tip.item_id))
    )));
    if lines[1].problem is not null then
        perform private.fail(lines[1].problem, lines[1].detail);
    end if;
    perform private.answer_request(sender, 'send_tip', send_tip.idempotency_key, to_jsonb(new_order));
    return private.place_order(new_order, sender, lines, send_tip.provider, null, null);
end
$function$;

create or replace function public.ship_line (
    order_item_id uuid,
    carrier text default null::text,
    tracking_number text default null::text
)
    returns public.shipments
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
    -- Its buyer is told of each.
    elsif greatest(20, line.quantity) < (
        select count(*) from public.shipments as s where s.order_item_id = line.id
    ) then
        perform private.fail('too_many_parcels', line.id::text);
    end if;
    return parcel;
end
$function$;

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
  WHERE ((i.payable_id IS NULL) AND (i.is_held OR (c.stock IS NOT NULL) OR (o.stock IS NOT NULL) OR c.is_exclusively_sold));

create index payments_open_idx on public.payments using btree (user_id, expires_at)
    where is_open;

create index purchases_refunded_idx on public.purchases using btree (item_id)
    where (revoked_reason = ANY (ARRAY['refunded'::text, 'declined'::text]));

create trigger tell_completed
    after update on public.orders referencing OLD table as changed_from NEW table as changed_to
    for each STATEMENT
    execute function private.tell_orders();

create trigger check_shipping_rate
    after insert on public.shipping_rates
    for each row
    execute function private.check_shipping_rate();

create policy catalog_options_delete on public.catalog_options
    for delete
    to authenticated
    using (private.lock_sold_item(item_id));

create policy catalog_options_update on public.catalog_options
    for update
    to authenticated
    using (private.lock_sold_item(item_id))
    with check (private.sells_item(item_id));

create policy order_items_unpaid_tips on public.order_items
    as restrictive
    for select
    to authenticated
    using
        (((kind <> 'tip_jar'::text) or (buyer_id = ( select private.member_id() as member_id)) or ( select
        private.is_admin() as is_admin) or (exists ( select
   from public.tips t
  where (t.order_item_id = order_items.id)))));

comment on column public.catalog_options.is_exclusive is 'Who buys it is the last to buy the item: nobody else can afterwards, in any option. What was sold before stays. While somebody pays for it nobody else can check out, and the other way round. Said when it is made, and stays: its buyer was promised it.';

comment on column public.products.license_type is 'What buyers may do with it; exclusive is an option''s only, see catalog_options.';

comment on function private.active_plan(uuid, public.plan_family) is 'The plan in force for a user in a family: partner accounts are creator_ultimate_for_friends, then a subscription that is active, trialing or past_due and not over for more than 3 days, else the free plan.';

comment on function private.answer_request(uuid, text, text, jsonb) is 'Notes the answer of a request begun by claim_request(), in the same transaction. Without a key it does nothing.';

comment on function private.begin_holds(uuid, uuid[], private.order_line[], uuid[], uuid[]) is
    'Begins or renews the time for which a buyer may hold these items, of which the lines want some, and says until when they hold the first of them; or why they may not (an error code and its detail): hold_paused, too_many_holds. Others are the buyer''s orders that go on holding; what the replaced ones among them hold of the same goes over.';

comment on function private.check_shipping_rate() is 'Trigger: at most 100 rates a seller. Error: too_many_shipping_rates.';

comment on function private.dispatch_purchases(text, uuid[], text) is 'Calls the hook grant, revoke or restore of the kinds of these purchases; grant in the order given.';

comment on function private.heirs_of(private.freed_piece[], uuid[]) is 'Revoked purchases, none of those besides, whose owners paid for what is free now and have neither it nor their money back. The items are locked.';

comment on function private.lock_heirlooms(uuid[]) is 'Locks the items'' own rows, which come before their stocks, where what these orders hold may go to somebody who paid for the same: see heirs_of().';

comment on function private.lock_sold_item(uuid) is 'Whether the caller sells this item; then it is locked. For policies on what hangs on it: checkouts take the item first and its option second, so whoever changes an option does the same.';

comment on function private.lock_wallets(uuid[], boolean) is 'Locks wallets in the one order every flow uses. Not patient: as long as the caller''s lock_timeout lets it.';

comment on function private.notify_many(private.notice[]) is 'Tells each recipient, unless they are gone, banned or do not want it; how many were told. As it is: what collapses, or names an actor whom the recipient may not want to hear of, goes through notify().';

comment on function private.order_summary(uuid) is 'What checkout answers: the order, its payment and where to start it.';

comment on function private.place_order(uuid, uuid, private.order_line[], public.payment_provider, jsonb, text, timestamp
    with time zone) is 'Makes the order of these lines, under the id it is given, and its payment, and answers what checkout() does; free and wallet ones complete at once. Takes the place of the buyer''s own open attempts at the same. Errors: amount_out_of_range, item_reserved, item_sold, item_not_available, hold_paused, too_many_holds, insufficient_funds.';

comment on function private.process_webhook_event(bigint, boolean) is 'Applies one event: processed, ignored, retry (scheduled with backoff), held (a row it needs is somebody else''s: it is tried again in a job of its own, and has not failed), dead, or its status when already done. Never raises for what the event says. Others wait behind one that is not alone, so it waits for a moment only.';

comment on function private.processing_fee(public.payment_provider, bigint, text) is 'Estimated provider fee of a charge in cents; every fee is the seller''s.';

comment on function private.read_lines(uuid, jsonb, text) is 'The lines of an order from [{item_id, option_id, quantity, offered_price_cents, shown_price_cents, details}], in that order, each item read once, locked; sent to a country (ISO 3166), if anything is. The one place that prices a line. Of a line with a problem nothing else is said.';

comment on function private.release_holds(uuid[]) is 'Gives up what these orders held and did not buy: to whoever paid for the same and got nothing, else to the shop. Of several orders lock_stock() first.';

comment on function private.sale_terms(text, uuid) is 'The seller''s plan and the commission (basis points) of a sale of this kind now: all of it for what the platform sells.';

comment on function private.search_text(text) is 'A text in lower case without accents and compatibility forms, to be compared and indexed by trigrams.';

comment on function private.seller_plan(uuid) is 'The creator plan in force for a seller: commission and featured limit. Never null.';

comment on function private.settle_batch(bigint[], boolean) is 'Settles those of these events that are the first try of a plain success, together, all or none; returns their ids. The others are untouched: process_webhook_event() says what becomes of each. Waits for nobody for long: 55P03 then, and with only_free those whose rows somebody holds are left to jobs of their own, their ids returned too.';

comment on function private.settle_payments(uuid[], text[], boolean) is 'Settles locked payments with the charges that paid them, each once: grants, one transaction with its payees and one sale journal per line. Says of each settled, already_settled, or refunding when the goods are gone; a payment from a wallet fails then (item_not_available). No two of them may be for the same thing of one owner.';

comment on function private.tell_orders() is 'Trigger on orders: tells the buyer and each seller of what is completed, once for all orders of a statement.';

comment on function private.why_foreign(private.webhook_events) is 'Why an authentic event is not about our objects; null when it is. Only account.* and payout.* may be of a connected account.';

comment on function public.cancel_line(uuid, text) is 'Buyer: steps back from a line and gets everything back: at the platform''s cost until transactions.free_until, and when what is to be sent was not shipped by transactions.ship_by, or is back. Errors: sale_not_found, cannot_cancel, refund_amount_invalid when nothing is left or under way, idempotency_key_invalid, idempotency_key_reused.';

comment on function public.ship_line(uuid, text, text) is 'Seller: a parcel of this line was sent; the buyer is told. The same carrier and number again answer the first. A tracked one counts as delivered delivery_assumed_after later if nothing else is heard. Errors: sale_not_found, line_refunded (also when it is on its way back), too_many_parcels; invalid_shipment (23514).';

comment on type ledger.posting is 'One leg of one of several journals: the journal''s key and source, then the leg as in ledger.leg and its number in the journal, which begin at 1 and may have gaps.';

comment on type private.freed_piece is 'Something limited that is free: what somebody owned, or (owner and is_owned_once null) an order held.';

comment on type private.line_payee is 'Somebody who earns a line, each named once, with their share in basis points; the shares of a line add up to 10000.';

comment on type private.notice is 'Something to tell somebody: of a type and about a thing of a kind, as in notifications; link_url only where it is not the page that the type or the kind says.';

comment on view private.limited_lines is 'Order lines that cannot be delivered without a hold, and the hold they have; pieces is how many they need.';

revoke all on function private.active_plan(uuid, public.plan_family) from public;

revoke all on function private.answer_request(uuid, text, text, jsonb) from public;

revoke all on function private.begin_holds(uuid, uuid[], private.order_line[], uuid[], uuid[]) from public;

revoke all on function private.check_shipping_rate() from public;

revoke all on function private.heirs_of(private.freed_piece[], uuid[]) from public;

revoke all on function private.lock_heirlooms(uuid[]) from public;

revoke all on function private.lock_sold_item(uuid) from public;

grant execute on function private.lock_sold_item(uuid) to authenticated;

revoke all on function private.lock_wallets(uuid[], boolean) from public;

revoke all on function private.notify_many(private.notice[]) from public;

revoke all on function private.order_summary(uuid) from public;

revoke all on function private.process_webhook_event(bigint, boolean) from public;

grant execute on function private.process_webhook_event(bigint, boolean) to avenue_worker;

revoke all on function private.processing_fee(public.payment_provider, bigint, text) from public;

revoke all on function private.read_lines(uuid, jsonb, text) from public;

revoke all on function private.sale_terms(text, uuid) from public;

revoke all on function private.seller_plan(uuid) from public;

revoke all on function private.settle_batch(bigint[], boolean) from public;

grant execute on function private.settle_batch(bigint[], boolean) to avenue_worker;

revoke all on function private.settle_payments(uuid[], text[], boolean) from public;

revoke all on function private.tell_orders() from public;

revoke all on function private.why_foreign(private.webhook_events) from public;

revoke all (is_exclusive) on table public.catalog_options from authenticated;

grant insert (is_exclusive) on table public.catalog_options to authenticated;

insert into private.error_codes (code, sqlstate, message, description) values
('license_not_allowed', 'PT400', 'A product itself is not sold exclusively.',
'It is sold any number of times. Add an option with is_exclusive, a stock of 1 and license_type exclusive.'),
('too_many_parcels', 'PT409', 'This was sent in too many parcels.',
'At most 20 a line, and as many as it has pieces. The detail is the line.'),
('too_many_shipping_rates', 'PT409', 'You have too many shipping rates.',
'At most 100. Put countries together.');
