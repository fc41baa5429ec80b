-- Money back to the buyer: asked for here, made by the provider, booked when the provider says it succeeded.

create type public.refund_status as enum ('requested', 'pending', 'succeeded', 'failed', 'cancelled');
comment on type public.refund_status is
'requested: not at the provider yet. pending: the provider works on it. Nothing is booked before succeeded.';

create type public.refund_origin as enum ('seller', 'admin', 'automatic', 'provider');
comment on type public.refund_origin is
'Who asked for a refund: the line''s seller, an admin (audit_log names which), the platform by itself, or somebody at '
'the provider.';

create table public.refunds (
    id uuid not null default gen_random_uuid(),
    payment_id uuid not null,
    order_item_id uuid,
    amount_cents bigint not null,
    currency character(3) not null default 'USD',
    reason text not null,
    origin public.refund_origin not null default 'provider',
    fee_bearer text not null default 'seller',
    paid_outside boolean not null default false,
    provider public.payment_provider not null,
    provider_ref text,
    status public.refund_status not null default 'requested',
    is_open boolean not null generated always as (status in ('requested', 'pending')) stored,
    failure_reason text,
    sent_at timestamptz,
    booked_at timestamptz,
    reversed_at timestamptz,
    checked_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint refunds_pkey primary key (id),
    constraint refunds_provider_ref_key unique (provider_ref, provider),
    constraint refunds_payment_id_fkey foreign key (payment_id) references public.payments (id),
    constraint refunds_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint refunds_fee_bearer_check check (fee_bearer in ('seller', 'platform')),
    constraint refunds_amount_check check (amount_cents between 1 and private.highest_amount_cents()),
    constraint refunds_reason_check check (private.is_reason(reason))
);

create index refunds_payment_id_idx on public.refunds (payment_id);
create index refunds_order_item_id_idx on public.refunds (order_item_id);
create index refunds_unsent_idx on public.refunds (created_at) where is_open;
create index refunds_failed_idx on public.refunds (updated_at) where status in ('failed', 'cancelled');

comment on table public.refunds is 'Refunds of payments, whole or part. Payer, sellers of the payment and admins read.';
comment on column public.refunds.order_item_id is
'The line it is for; null for a whole payment or a refund made in the provider''s dashboard: spread over the lines.';
comment on column public.refunds.amount_cents is 'Cents.';
comment on column public.refunds.reason is 'Why, for people; item_not_available when automatic.';
comment on column public.refunds.origin is 'Who asked for it; persons are not named.';
comment on column public.refunds.fee_bearer is
'Who bears the provider''s fee, which it keeps: seller, or platform where the buyer used a right to step back.';
comment on column public.refunds.paid_outside is
'Paid to the buyer in another way than through the provider, after it had failed there; provider_ref names how.';
comment on column public.refunds.provider is 'Who pays it back.';
comment on column public.refunds.provider_ref is
'Provider''s refund; outside:<reference> when paid outside; declined:<charge> when the charge was taken back.';
comment on column public.refunds.is_open is 'Whether it may still succeed or fail.';
comment on column public.refunds.status is
'State; only ever moves to the right of requested, pending, succeeded, failed. Swept by refunds_to_resume().';
comment on column public.refunds.failure_reason is 'Provider''s word for it.';
comment on column public.refunds.sent_at is
'When a worker first took it to send: from then on the provider may know it.';
comment on column public.refunds.booked_at is 'When it went into the books.';
comment on column public.refunds.reversed_at is 'When a booked one that failed later was taken back.';
comment on column public.refunds.checked_at is 'Last time a sweep took it up.';

create trigger touch_updated_at before update on public.refunds
for each row execute function private.touch_updated_at();
create trigger forget_delay after update of status on public.refunds
for each row when (old.status is distinct from new.status) execute function private.forget_delay();

create table public.refund_lines (
    refund_id uuid not null,
    transaction_id uuid not null,
    amount_cents bigint not null,
    tax_cents bigint not null,
    commission_cents bigint not null,
    seller_cents bigint not null,
    fee_cents bigint not null default 0,
    credits_cents bigint not null default 0,
    promotions_cents bigint not null default 0,
    constraint refund_lines_pkey primary key (refund_id, transaction_id),
    constraint refund_lines_refund_id_fkey foreign key (refund_id) references public.refunds (id),
    constraint refund_lines_transaction_id_fkey foreign key (transaction_id) references public.transactions (id),
    constraint refund_lines_split_check check (
        amount_cents + promotions_cents = tax_cents + commission_cents + fee_cents + seller_cents + credits_cents
    )
);

create index refund_lines_transaction_id_idx on public.refund_lines (transaction_id);

comment on table public.refund_lines is
'What a booked refund took from each sale when it was booked. That line''s buyer and seller read it.';
comment on column public.refund_lines.amount_cents is 'Given back on this line, cents.';
comment on column public.refund_lines.tax_cents is 'Part from tax, cents.';
comment on column public.refund_lines.commission_cents is 'Part from the platform, cents.';
comment on column public.refund_lines.fee_cents is 'Part of the provider''s fee that the platform bears, cents.';
comment on column public.refund_lines.seller_cents is 'Part from the seller, cents.';
comment on column public.refund_lines.credits_cents is 'Credits taken back for it, cents.';
comment on column public.refund_lines.promotions_cents is
'Back to the platform of what it paid of the line by a coupon of its own, cents.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of reason on public.refunds
for each row execute function private.tidy_texts('reason body required');

alter table public.refunds enable row level security;
grant select on public.refunds to authenticated, service_role;
create policy refunds_select on public.refunds for select to authenticated
using (
    (select private.is_admin())
    or exists (
        select from public.payments as p where p.id = payment_id and p.user_id = (select private.member_id())
    )
    or exists (
        select from public.order_items as i
        where i.id = order_item_id and i.seller_id = (select private.member_id())
    )
);

alter table public.refund_lines enable row level security;
grant select on public.refund_lines to authenticated, service_role;
create policy refund_lines_select on public.refund_lines for select to authenticated
using (exists (select from public.transactions as t where t.id = transaction_id));
comment on policy refund_lines_select on public.refund_lines is
'Whoever sees the transaction sees what was refunded of it.';

-- Credits are taken back as soon as a refund is noted, and come after everything else that settling locks.
create function private.lock_credit_sales(payment_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (
        select from public.transactions as t
        where t.payment_id = lock_credit_sales.payment_id and t.amount_credits_cents > 0
    ) then
        perform private.lock_orders(array(
            select p.order_id from public.payments as p where p.id = lock_credit_sales.payment_id
        ));
        perform from public.transactions as t
        where t.payment_id = lock_credit_sales.payment_id
        order by t.id
        for no key update;
        perform private.lock_wallets(private.payees_of(lock_credit_sales.payment_id) || (
            select p.user_id from public.payments as p where p.id = lock_credit_sales.payment_id
        ));
    end if;
end
$$;
comment on function private.lock_credit_sales(uuid) is
'Before a refund of a payment changes: where credits were bought with it, locks what settling locks before credits. '
'The payment is locked.';

create function private.create_refund(
    payment_id uuid,
    order_item_id uuid,
    amount_cents bigint,
    reason text,
    origin public.refund_origin default 'automatic',
    paid_outside text default null,
    fee_bearer text default 'seller'
) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
    refund_id uuid;
begin
    select * into strict paid from public.payments as p where p.id = create_refund.payment_id for no key update;
    -- Open refunds count: two half refunds of three quarters each must not both pass.
    if amount_cents is null or amount_cents <= 0 or amount_cents > paid.amount_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r
        where r.payment_id = paid.id and (r.is_open or r.status = 'succeeded')
    ), 0) or amount_cents > (
        select i.charged_cents - t.refunded_cents - coalesce((
            select sum(r.amount_cents) from public.refunds as r
            where r.order_item_id = i.id and r.is_open
        ), 0)
        from public.order_items as i
        inner join public.transactions as t on t.order_item_id = i.id
        where i.id = create_refund.order_item_id
    ) then
        perform private.fail('refund_amount_invalid');
    end if;
    -- What is booked at once goes on to wallets. Of others no seller's wallet is kept: the answer may be filtered slowly.
    if paid.provider = 'wallet' or create_refund.paid_outside is not null then
        perform private.lock_credit_sales(paid.id);
    end if;
    insert into public.refunds (
        payment_id, order_item_id, amount_cents, currency, reason, origin, fee_bearer, paid_outside, provider
    ) values (
        paid.id, create_refund.order_item_id, create_refund.amount_cents, paid.currency, create_refund.reason,
        create_refund.origin, create_refund.fee_bearer, create_refund.paid_outside is not null, paid.provider
    ) returning id into refund_id;
    if create_refund.paid_outside is not null then
        perform private.record_refund(refund_id, 'outside:' || create_refund.paid_outside, 'succeeded');
    elsif paid.provider = 'wallet' then
        perform private.record_refund(refund_id, null, 'succeeded');
    else
        perform private.enqueue('send_refund', jsonb_build_object('refund_id', refund_id), null, 'refund:' || refund_id);
    end if;
    return refund_id;
end
$$;

comment on function private.create_refund(uuid, uuid, bigint, text, public.refund_origin, text, text) is
'Asks for a refund: at once for wallet payments and for one paid outside (under that reference), through the provider '
'otherwise. Error: refund_amount_invalid.';

-- Shares of the running total, so that parts and rest add up to the whole to the cent, in any order and with any of
-- them taken back (docs/money.md, sharp case 11). What was refunded at the platform's cost has a running total of its
-- own: the platform bears the fee of it and takes its loss, a negative commission, back into the same sum; of the rest
-- that loss stays what it was. All of what the platform sold is the platform's, or its buyer's credits.
create function private.split_refund(
    sale public.transactions, amount_cents bigint, fee_bearer text default 'seller',
    out tax bigint, out commission bigint, out fee bigint, out seller bigint, out credits bigint,
    out promotions bigint
)
language plpgsql
immutable
set search_path = ''
as $$
declare
    whole constant bigint := sale.amount_total_cents;
    refunded constant bigint := sale.refunded_cents + amount_cents;
    free constant bigint := coalesce(sale.free_refunded_cents, 0)
        + case when fee_bearer = 'platform' then amount_cents else 0 end;
begin
    tax := (sale.amount_tax_cents * refunded * 2 + whole) / (whole * 2) - sale.refunded_tax_cents;
    credits := 0;
    promotions := (sale.amount_promotions_cents * refunded * 2 + whole) / (whole * 2) - sale.refunded_promotions_cents;
    if private.is_platform(sale.seller_id) then
        fee := 0;
        seller := 0;
        commission := amount_cents - tax;
        -- The fee, which the provider keeps, was the platform's loss from the first.
        if sale.amount_credits_cents > 0 then
            credits := commission;
            commission := 0;
        end if;
        return;
    end if;
    commission := (greatest(sale.amount_commission_cents, 0) * refunded * 2 + whole) / (whole * 2)
    - (greatest(-sale.amount_commission_cents, 0) * free * 2 + whole) / (whole * 2) - sale.refunded_commission_cents;
    fee := case
        when fee_bearer = 'platform'
            then (sale.amount_fees_cents * free * 2 + whole) / (whole * 2) - sale.refunded_fee_cents
        else 0
    end;
    seller := amount_cents + promotions - tax - commission - fee;
end
$$;

comment on function private.split_refund(public.transactions, bigint, text) is
'Divides the next refund of a sale (cents, at most what is left of it; negative to take back as much) into tax, '
'commission, the fee where the platform bears it, the sellers'' part, and credits; what '
'the platform paid of it goes back to it by the same share.';

-- Takes a succeeded refund into the books: each line gives back its part of what was agreed at purchase.
create function private.book_refund(refund_id uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
    refund public.refunds;
    paid public.payments;
    target record;
    sale public.transactions;
    own bigint;
    part bigint;
    line public.refund_lines;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = book_refund.refund_id for no key update;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    if refund.booked_at is not null then
        return;
    end if;
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents and paid.charge_reversed_at is not null then
        -- Unknown when the charge was taken back: booked as part of that, the provider moved the same money.
        return;
    end if;
    -- An earlier refund may have failed since, and its report be on its way.
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents then
        perform private.fail('event_too_early', 'refund exceeds what is left of the payment');
    end if;
    money_account := case when refund.paid_outside then 'bank' else 'clearing:' || paid.provider end;

    perform private.lock_orders(array[paid.order_id]);
    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    if not found then
        perform ledger.post(
            'refund', 'refund:' || refund.id,
            array[
                ledger.leg(null, 'refunds_payable', -refund.amount_cents),
                ledger.leg(null, money_account, refund.amount_cents)
            ],
            refund.id, paid.currency
        );
    else
        perform private.lock_wallets(
            private.payees_of(paid.id) || case when paid.provider = 'wallet' then paid.user_id end
        );
        -- A refund of one line is that line's as far as it goes. One made in the dashboard meanwhile may have taken
        -- from it too: the money is gone all the same, and the other lines bear the rest.
        own := coalesce((
            select least(refund.amount_cents, t.amount_total_cents - t.refunded_cents) from public.transactions as t
            where t.order_item_id = refund.order_item_id
        ), 0);
        for target in
            select
                s.sale,
                case
                    when s.is_own then own
                    else (private.split_cents(
                        refund.amount_cents - own,
                        array_agg(case when s.is_own then 0 else s.remaining end) over lines
                    ))[row_number() over lines]
                end as part
            from (
                select
                    t as sale, t.amount_total_cents - t.refunded_cents as remaining, i.line_no,
                    i.id is not distinct from refund.order_item_id as is_own
                from public.transactions as t
                inner join public.order_items as i on i.id = t.order_item_id
                where t.payment_id = paid.id and t.amount_total_cents > t.refunded_cents
            ) as s
            window lines as (order by s.line_no rows between unbounded preceding and unbounded following)
        loop
            sale := target.sale;
            part := target.part;
            continue when part = 0;
            select refund.id, sale.id, part, s.tax, s.commission, s.seller, s.fee, s.credits, s.promotions into line
            from private.split_refund(sale, part, refund.fee_bearer) as s;
            insert into public.refund_lines select line.*;
            perform private.apply_refund_line(line, refund.fee_bearer);
            perform ledger.post(
                'refund', 'refund:' || refund.id || ':' || sale.id,
                private.moving_legs(array[
                    ledger.leg(null, 'tax_payable', -line.tax_cents),
                    ledger.leg(null, 'revenue', -line.commission_cents - line.fee_cents),
                    -- Taken from the buyer's credits before: see follow_credit_purchase().
                    ledger.leg(null, 'refunds_payable', -line.credits_cents),
                    ledger.leg(null, 'promotions', line.promotions_cents)
                ]) || private.payee_legs(sale.id) || case
                    when paid.provider = 'wallet' and not refund.paid_outside
                        then private.credit_legs(paid.user_id, part)
                    else array[ledger.leg(null, money_account, part)]
                end,
                refund.id, paid.currency
            );
        end loop;
    end if;
    update public.refunds as r set booked_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, refund.amount_cents);
end
$$;

comment on function private.book_refund(uuid) is
'Books a refund once: pro rata on tax and commission, the fee the provider keeps from whoever bears it, the rest from '
'the payees. '
'Error: event_too_early when it exceeds what is left.';

create function private.apply_refund_line(line public.refund_lines, fee_bearer text) returns void
language plpgsql
set search_path = ''
as $$
declare
    sale public.transactions;
begin
    update public.transactions as t set
        refunded_cents = t.refunded_cents + line.amount_cents,
        refunded_tax_cents = t.refunded_tax_cents + line.tax_cents,
        refunded_commission_cents = t.refunded_commission_cents + line.commission_cents,
        refunded_fee_cents = t.refunded_fee_cents + line.fee_cents,
        refunded_seller_cents = t.refunded_seller_cents + line.seller_cents,
        refunded_credits_cents = t.refunded_credits_cents + line.credits_cents,
        refunded_promotions_cents = t.refunded_promotions_cents + line.promotions_cents,
        free_refunded_cents = t.free_refunded_cents + case
            when apply_refund_line.fee_bearer = 'platform' then line.amount_cents else 0
        end,
        refunded_at = case when line.amount_cents > 0 then now() else t.refunded_at end,
        status = case
            when t.refunded_cents + line.amount_cents = 0 then 'completed'
            when t.refunded_cents + line.amount_cents = t.amount_total_cents then 'refunded'
            else 'partially_refunded'
        end::public.transaction_status
    where t.id = line.transaction_id
    returning * into sale;

    -- What was bought ends with the last cent and comes back with the first one restored.
    if sale.status = 'refunded' then
        update public.payables as a set status = 'returned'
        from public.order_items as i
        where i.id = sale.order_item_id and a.id = i.payable_id;
        perform private.revoke_line(sale.order_item_id, 'refunded');
    elsif line.amount_cents < 0 and sale.refunded_cents - line.amount_cents = sale.amount_total_cents then
        update public.payables as a set status = 'paid'
        from public.order_items as i
        where i.id = sale.order_item_id and a.id = i.payable_id;
        perform private.restore_line(sale.order_item_id);
    end if;
end
$$;

comment on function private.apply_refund_line(public.refund_lines, text) is
'Adds a refund line, or with negative amounts takes one back, on its sale: amounts, status, and what was granted.';

create function private.refresh_refund_status(payment_id uuid, change bigint) returns void
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
    discount bigint;
begin
    update public.payments as p set
        refunded_cents = p.refunded_cents + change,
        status = case
            when p.refunded_cents + change = 0 then 'succeeded'
            when p.refunded_cents + change = p.amount_cents then 'refunded'
            else 'partially_refunded'
        end::public.payment_status
    where p.id = refresh_refund_status.payment_id
    returning * into paid;
    -- A cancelled order (goods were gone) stays cancelled; the payment tells that the money went back.
    update public.orders as o set status = case paid.status
        when 'succeeded' then 'completed' when 'refunded' then 'refunded' else 'partially_refunded'
    end::public.order_status
    where o.id = paid.order_id and o.status in ('completed', 'partially_refunded', 'refunded')
    returning o.discount_cents into discount;
    if discount > 0 then
        perform private.follow_coupons(array[paid.order_id]);
    end if;
end
$$;

comment on function private.refresh_refund_status(uuid, bigint) is
'Adds a signed amount of cents to a payment''s refunds and lets its status, the order''s and its coupons'' follow.';

-- A refund that succeeded and failed later (bank account closed…) gives money and entitlement back (docs/money.md,
-- sharp case 9).
create function private.reverse_refund(refund_id uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
    refund public.refunds;
    paid public.payments;
    line public.refund_lines;
    sale public.transactions;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = reverse_refund.refund_id for no key update;
    if refund.booked_at is null or refund.reversed_at is not null then
        return;
    end if;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    money_account := 'clearing:' || paid.provider;
    perform private.lock_orders(array[paid.order_id]);
    -- Sales before wallets, as earnings are released.
    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    perform private.lock_wallets(private.payees_of(paid.id));
    if not exists (select from public.refund_lines as l where l.refund_id = refund.id) then
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id,
            array[
                ledger.leg(null, money_account, -refund.amount_cents),
                ledger.leg(null, 'refunds_payable', refund.amount_cents)
            ],
            refund.id, paid.currency
        );
    end if;
    for line in select * from public.refund_lines as l where l.refund_id = refund.id order by l.transaction_id loop
        select * into strict sale from public.transactions as t where t.id = line.transaction_id for no key update;
        select refund.id, sale.id, -line.amount_cents, s.tax, s.commission, s.seller, s.fee, s.credits, s.promotions
        into line
        from private.split_refund(sale, -line.amount_cents, refund.fee_bearer) as s;
        perform private.apply_refund_line(line, refund.fee_bearer);
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id || ':' || line.transaction_id,
            private.moving_legs(array[
                ledger.leg(null, money_account, line.amount_cents),
                ledger.leg(null, 'tax_payable', -line.tax_cents),
                ledger.leg(null, 'revenue', -line.commission_cents - line.fee_cents),
                ledger.leg(null, 'refunds_payable', -line.credits_cents),
                ledger.leg(null, 'promotions', line.promotions_cents)
            ]) || private.payee_legs(line.transaction_id),
            refund.id, paid.currency
        );
    end loop;
    update public.refunds as r set reversed_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, -refund.amount_cents);
end
$$;

comment on function private.reverse_refund(uuid) is
'Takes a booked refund that the provider failed later out again, once.';

create function private.record_refund(
    refund_id uuid, provider_refund_id text, status text, failure_reason text default null
) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    refund public.refunds;
    -- Stripe's words; anything that is not final is pending.
    reported constant public.refund_status := (case record_refund.status
        when 'succeeded' then 'succeeded' when 'failed' then 'failed' when 'canceled' then 'cancelled'
        when 'cancelled' then 'cancelled' else 'pending'
    end)::public.refund_status;
begin
    -- Payment before refund: the order every flow locks in.
    perform from public.payments as p
    where p.id = (select r.payment_id from public.refunds as r where r.id = record_refund.refund_id)
    for no key update;
    select * into strict refund from public.refunds as r where r.id = record_refund.refund_id for no key update;
    if refund.provider_ref <> provider_refund_id then
        perform private.fail('event_rejected', format(
            'refund %s is %s at the provider, not %s', refund.id, refund.provider_ref, provider_refund_id
        ));
    end if;
    -- Reports arrive late and repeated: a state is left only for a later one, and failed or cancelled is the last.
    if reported > refund.status and refund.status < 'failed' then
        perform private.lock_credit_sales(refund.payment_id);
        update public.refunds as r set
            status = reported, provider_ref = coalesce(r.provider_ref, provider_refund_id),
            failure_reason = coalesce(record_refund.failure_reason, r.failure_reason)
        where r.id = refund.id;
        if reported = 'succeeded' then
            perform private.book_refund(refund.id);
        elsif reported in ('failed', 'cancelled') then
            perform private.reverse_refund(refund.id);
            -- The provider never knew of it, so a charge that was taken back meanwhile was taken back with this part.
            if refund.provider_ref is null and provider_refund_id is null and exists (
                select from public.payments as p where p.id = refund.payment_id and p.charge_reversed_at is not null
            ) then
                perform private.book_decline(refund.payment_id, refund.id::text, refund.amount_cents);
            end if;
        end if;
    end if;
end
$$;

comment on function private.record_refund(uuid, text, text, text) is
'Takes the provider''s word on a refund, in any order and any number of times. Errors: event_rejected when it names '
'another provider refund, event_too_early when it exceeds what is left.';
grant execute on function private.record_refund(uuid, text, text, text) to avenue_worker;

create function private.claim_refund(refund_id uuid) returns jsonb
language sql
security definer
set search_path = ''
as $$
    update public.refunds as r set sent_at = coalesce(r.sent_at, now())
    from public.payments as p
    left join private.provider_delays as d on d.object_id = claim_refund.refund_id
    where
        r.id = claim_refund.refund_id and r.status = 'requested' and p.id = r.payment_id
        and coalesce(d.retry_at <= now(), true)
    returning jsonb_build_object(
        'refund_id', r.id, 'provider', r.provider, 'provider_ref', p.provider_ref, 'amount_cents', r.amount_cents,
        'currency', r.currency,
        'metadata', jsonb_build_object('refund_id', r.id, 'payment_id', p.id, 'order_item_id', r.order_item_id)
    ) || case
        when d.object_id is null then '{}' else jsonb_build_object('idempotency_key', private.provider_key(r.id))
    end
$$;

comment on function private.claim_refund(uuid) is
'What the worker sends to the provider (idempotency key: the refund id, unless it says another), the same every time, '
'and notes that it may be there from now on; null when there is nothing to send now.';
grant execute on function private.claim_refund(uuid) to avenue_worker;

create function private.refunds_to_resume(max_rows integer)
returns table (refund_id uuid, payment_id uuid, sent boolean, provider_ref text)
language sql
security definer
set search_path = ''
as $$
    update public.refunds as r set checked_at = now()
    where r.id in (
        select o.id from public.refunds as o
        where
            (
                o.status = 'requested' and o.created_at < now() - interval '1 minute'
                and not exists (
                    select from private.provider_delays as d where d.object_id = o.id and d.retry_at > now()
                )
            )
            or (
                o.status = 'pending'
                and coalesce(o.checked_at, o.updated_at) < now() - (select s.reconcile_after from private.settings as s)
            )
        order by o.checked_at nulls first, o.created_at
        limit max_rows
        for no key update skip locked
    )
    returning r.id, r.payment_id, r.status = 'pending', r.provider_ref
$$;

comment on function private.refunds_to_resume(integer) is
'Refunds whose job was lost (send again) or whose outcome is overdue (sync the payment''s refunds), those taken up '
'longest ago first.';
grant execute on function private.refunds_to_resume(integer) to avenue_worker;

create function private.book_decline(payment_id uuid, declined text, amount_cents bigint) returns void
language plpgsql
set search_path = ''
as $$
declare
    refund_id uuid;
begin
    perform private.lock_credit_sales(book_decline.payment_id);
    insert into public.refunds (payment_id, amount_cents, currency, reason, provider, provider_ref, status)
    select
        p.id, book_decline.amount_cents, p.currency, 'charge_declined', p.provider, 'declined:' || declined, 'succeeded'
    from public.payments as p
    where p.id = book_decline.payment_id
    on conflict do nothing
    returning id into refund_id;
    if refund_id is not null then
        perform private.book_refund(refund_id);
    end if;
end
$$;

comment on function private.book_decline(uuid, text, bigint) is
'Books cents that the provider took back with a declined charge as a refund, once for each name.';

-- A charge declined after it succeeded (docs/money.md, sharp case 6) is a full reversal of what is left: refunds that
-- the provider made or has begun stay with the buyer, those it never heard of are not sent any more.
create function private.reverse_charge(payment_id uuid, charge_id text) returns void
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
    rest bigint;
begin
    select * into strict paid from public.payments as p where p.id = reverse_charge.payment_id for no key update;
    if paid.charge_reversed_at is not null then
        return;
    end if;
    update public.payments as p set charge_reversed_at = now() where p.id = paid.id;
    perform private.lock_orders(array[paid.order_id]);
    update public.refunds as r set status = 'cancelled', failure_reason = 'charge_declined'
    where r.payment_id = paid.id and r.status = 'requested' and r.sent_at is null;
    -- Unlike a refund, a declined charge costs nothing: the provider gives its fee back with it.
    perform private.set_provider_fee(paid.id, 0, 'fee_returned');
    rest := paid.amount_cents - paid.refunded_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r
        where r.payment_id = paid.id and r.is_open
    ), 0);
    if rest > 0 then
        perform private.book_decline(paid.id, reverse_charge.charge_id, rest);
    end if;
end
$$;

comment on function private.reverse_charge(uuid, text) is
'Books a charge that the provider took back after success, once: its fee comes back, what was neither refunded nor is '
'on its way to the buyer is refunded.';

-- Refunds under way are not booked yet, but what they will take is no longer the seller's to spend, pay out or give
-- back a second time.
create function private.promised_back(
    payee uuid, line uuid default null, more_cents bigint default 0, fee_bearer text default 'seller'
) returns bigint
language sql
stable
security definer
set search_path = ''
as $$
    with promises as (
        select r.order_item_id, r.amount_cents, r.fee_bearer
        from public.refunds as r
        where r.is_open and r.order_item_id is not null
        union all
        -- One of a whole payment will be spread over its lines by what is left of them.
        select t.order_item_id, ceil(
            r.amount_cents * (t.amount_total_cents - t.refunded_cents)
            / nullif(sum(t.amount_total_cents - t.refunded_cents) over (partition by r.id), 0)
        )::bigint, r.fee_bearer
        from public.refunds as r
        inner join public.transactions as t on t.payment_id = r.payment_id
        where r.is_open and r.order_item_id is null
        union all
        select promised_back.line, promised_back.more_cents, promised_back.fee_bearer
    ),

    lines as (
        -- Of one that both bear, as if the seller did: the more careful of the two.
        select p.order_item_id, sum(p.amount_cents)::bigint as cents, max(p.fee_bearer) as fee_bearer
        from promises as p
        group by p.order_item_id
    )

    select coalesce(sum(greatest(
        ceil(s.seller * e.share_bps / 10000.0)::bigint - e.pending_cents, 0
    )), 0)::bigint
    from lines as l
    inner join public.transactions as t on t.order_item_id = l.order_item_id
    inner join public.transaction_payees as e on e.transaction_id = t.id and e.payee_id = promised_back.payee
    cross join lateral private.split_refund(
        t, least(l.cents, t.amount_total_cents - t.refunded_cents), l.fee_bearer
    ) as s
$$;

comment on function private.promised_back(uuid, uuid, bigint, text) is
'Cents that refunds under way will take from somebody who earns, beyond what each sale still holds for them, with '
'more_cents of one more line.';

create function private.spendable_cents(user_id uuid, line uuid default null, more_cents bigint default 0)
returns bigint
language sql
stable
security definer
set search_path = ''
as $$
    select w.balance_available_cents - w.debt_cents - private.promised_back(w.user_id, line, more_cents)
    from public.wallets as w
    where w.user_id = spendable_cents.user_id
$$;

comment on function private.spendable_cents(uuid, uuid, bigint) is
'What a member can spend or have paid out now, cents: available less debt and less what refunds under way (and '
'more_cents of one more line) will take. Negative: what would become debt. Lock the wallet before it is relied on.';

create function public.refund_order_item(
    order_item_id uuid, amount_cents bigint default null, reason text default 'requested_by_seller',
    idempotency_key text default null
) returns public.refunds
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    answered jsonb := private.claim_request(
        member, 'refund_order_item', refund_order_item.idempotency_key,
        jsonb_build_object(
            'order_item_id', refund_order_item.order_item_id, 'amount_cents', refund_order_item.amount_cents,
            'reason', refund_order_item.reason
        )
    );
    sale public.transactions;
    refund public.refunds;
    new_refund uuid;
begin
    if answered is not null then
        select * into strict refund from public.refunds as r where r.id = (answered #>> '{}')::uuid;
        return refund;
    end if;
    select * into sale from public.transactions as t
    where t.order_item_id = refund_order_item.order_item_id and (t.seller_id = member or private.is_admin());
    if sale.id is null then
        perform private.fail('sale_not_found');
    elsif sale.buyer_id = member then
        perform private.fail('own_wallet');
    end if;
    new_refund := private.refund_line(
        sale.id, refund_order_item.amount_cents, refund_order_item.reason,
        case when sale.seller_id = member then 'seller' else 'admin' end::public.refund_origin
    );
    select * into strict refund from public.refunds as r where r.id = new_refund;
    if refund.origin = 'admin' then
        perform private.audit(
            'refund', 'refund', refund.id,
            jsonb_build_object('amount_cents', refund.amount_cents, 'reason', refund.reason)
        );
    end if;
    perform private.answer_request(
        member, 'refund_order_item', refund_order_item.idempotency_key, to_jsonb(refund.id)
    );
    return refund;
end
$$;

comment on function public.refund_order_item(uuid, bigint, text, text) is
'Refunds one sold line, by its seller or an admin; amount in cents, null for all that is left. A seller may go into '
'debt by it up to settings.seller_debt_cents. The same idempotency_key and request return the first refund. Errors: '
'sale_not_found, own_wallet (an admin who bought it), refund_amount_invalid, insufficient_funds, reason_required, '
'idempotency_key_invalid, idempotency_key_reused.';
grant execute on function public.refund_order_item(uuid, bigint, text, text) to authenticated;

create function private.refund_line(
    transaction_id uuid, amount_cents bigint, reason text, origin public.refund_origin, fee_bearer text default 'seller'
) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    sale public.transactions;
    debt_limit bigint := (select s.seller_debt_cents from private.settings as s);
    wanted bigint;
begin
    perform private.require_reason(reason);
    select * into strict sale from public.transactions as t where t.id = transaction_id;
    -- In the order of book_refund(), which a wallet payment reaches from here.
    perform from public.payments as p where p.id = sale.payment_id for no key update;
    if sale.payment_processor = 'wallet' then
        perform private.lock_orders(array(select p.order_id from public.payments as p where p.id = sale.payment_id));
    end if;
    perform from public.transactions as t where t.payment_id = sale.payment_id order by t.id for no key update;
    -- A refund through the provider is booked later: until then it is this seller's alone.
    perform private.lock_wallets(case
        when sale.payment_processor = 'wallet' then private.payees_of(sale.payment_id) || sale.buyer_id
        else array(select p.payee_id from public.transaction_payees as p where p.transaction_id = sale.id)
    end);
    select * into strict sale from public.transactions as t where t.id = transaction_id;
    wanted := coalesce(refund_line.amount_cents, sale.amount_total_cents - sale.refunded_cents);
    -- The provider keeps its fee, so giving back a first sale makes a debt: a small one, or each sale to a friend that
    -- is given back burns another fee at the platform's cost.
    if origin = 'seller' and wanted between 1 and sale.amount_total_cents - sale.refunded_cents and exists (
        select from public.transaction_payees as p
        where
            p.transaction_id = sale.id
            and private.spendable_cents(p.payee_id, sale.order_item_id, wanted) < -debt_limit
    ) then
        perform private.fail('insufficient_funds', format(
            'a seller may owe at most %s cents after a refund; ask an admin', debt_limit
        ));
    end if;
    return private.create_refund(sale.payment_id, sale.order_item_id, wanted, reason, origin, null, refund_line.fee_bearer);
end
$$;

comment on function private.refund_line(uuid, bigint, text, public.refund_origin, text) is
'Asks for a refund of a sale within the limits of who asks; null is all that is left. Errors: reason_required, '
'refund_amount_invalid, insufficient_funds.';

-- What a buyer may do without asking anybody.
create function public.cancel_line(order_item_id uuid, idempotency_key text default null) returns public.refunds
language plpgsql
security definer
set search_path = ''
as $$
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
$$;

comment on function public.cancel_line(uuid, text) is
'Buyer: steps back from a line and gets everything back: at the platform''s cost until '
'transactions.free_until, and when '
'what is to be sent was not shipped by transactions.ship_by, or is back. Errors: sale_not_found, cannot_cancel, '
'refund_amount_invalid when nothing is left or under way, idempotency_key_invalid, idempotency_key_reused.';
grant execute on function public.cancel_line(uuid, text) to authenticated;

-- A refund that failed at the provider leaves the buyer without money and without goods: it is made again there, or
-- paid in another way.
create function private.redo_refund(
    refund_id uuid, outside_reference text, actor uuid default null, actor_label text default null
) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    refund public.refunds;
    paid public.payments;
    new_refund uuid;
begin
    select p.* into paid from public.payments as p
    where p.id = (select r.payment_id from public.refunds as r where r.id = redo_refund.refund_id)
    for no key update;
    select * into refund from public.refunds as r where r.id = redo_refund.refund_id for no key update;
    if refund.id is null or refund.status not in ('failed', 'cancelled') then
        perform private.fail('refund_not_failed');
    end if;
    if paid.user_id = actor then
        perform private.fail('own_wallet');
    end if;
    new_refund := private.create_refund(
        paid.id, refund.order_item_id, refund.amount_cents, refund.reason,
        case when refund.origin = 'automatic' then 'automatic' else 'admin' end::public.refund_origin,
        outside_reference, refund.fee_bearer
    );
    perform private.audit(
        case when outside_reference is null then 'retry_refund' else 'pay_refund_outside' end, 'refund', new_refund,
        jsonb_strip_nulls(jsonb_build_object(
            'failed_refund_id', refund.id, 'amount_cents', refund.amount_cents, 'reference', outside_reference
        )),
        redo_refund.actor_label
    );
    return new_refund;
end
$$;

comment on function private.redo_refund(uuid, text, uuid, text) is
'Makes a failed refund again as a new one: through the provider, or, with a reference, as paid outside. actor: the '
'admin, who is not the payer; actor_label: the operator. Errors: refund_not_failed, refund_amount_invalid, own_wallet.';

create function private.retry_refund(refund_id uuid, retried_by text) returns uuid
language sql
security definer
set search_path = ''
as $$
    select private.redo_refund(retry_refund.refund_id, null, null, retried_by)
$$;
comment on function private.retry_refund(uuid, text) is 'Operator: makes a failed refund again; the new one''s id.';
grant execute on function private.retry_refund(uuid, text) to avenue_worker;

create function private.pay_refund_outside(refund_id uuid, reference text, paid_by text) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    named text := private.tidy_name(reference);
begin
    if char_length(coalesce(named, '')) not between 1 and 200 then
        perform private.fail('reference_required');
    end if;
    if exists (select from public.refunds as r where r.provider_ref = 'outside:' || named) then
        perform private.fail('reference_used', named);
    end if;
    return private.redo_refund(refund_id, named, auth.uid(), paid_by);
end
$$;
comment on function private.pay_refund_outside(uuid, text, text) is
'Operator: books a failed refund as paid to the buyer outside the provider, under the payment''s reference. Errors: '
'reference_required, reference_used and redo_refund()''s.';
grant execute on function private.pay_refund_outside(uuid, text, text) to avenue_worker;

create function public.retry_refund(refund_id uuid) returns public.refunds
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    made uuid := private.redo_refund(refund_id, null, admin);
    refund public.refunds;
begin
    select * into strict refund from public.refunds as r where r.id = made;
    return refund;
end
$$;
comment on function public.retry_refund(uuid) is
'Admin: makes a failed refund again, as a new one. Errors: admin_only, refund_not_failed, refund_amount_invalid when '
'it was made good already, own_wallet.';
grant execute on function public.retry_refund(uuid) to authenticated;

create function public.pay_refund_outside(refund_id uuid, reference text) returns public.refunds
language plpgsql
security definer
set search_path = ''
as $$
declare
    made uuid;
    refund public.refunds;
begin
    perform private.require_admin();
    made := private.pay_refund_outside(refund_id, reference, null);
    select * into strict refund from public.refunds as r where r.id = made;
    return refund;
end
$$;
comment on function public.pay_refund_outside(uuid, text) is
'Admin: books a failed refund as paid to the buyer in another way; reference names that payment and counts once. '
'Errors: '
'admin_only, refund_not_failed, refund_amount_invalid when it was made good already, reference_required, '
'reference_used, own_wallet.';
grant execute on function public.pay_refund_outside(uuid, text) to authenticated;

create function private.list_refunds(status text default null, max_rows integer default 50)
returns table (
    id uuid, payment_id uuid, order_item_id uuid, amount_cents bigint, status text, origin text,
    created_at timestamptz, provider_ref text, failure_reason text
)
language sql
stable
security definer
set search_path = ''
as $$
    select
        r.id, r.payment_id, r.order_item_id, r.amount_cents, r.status::text, r.origin::text, r.created_at,
        r.provider_ref, r.failure_reason
    from public.refunds as r
    where list_refunds.status is null or r.status::text = list_refunds.status
    order by r.created_at desc
    limit max_rows
$$;
comment on function private.list_refunds(text, integer) is 'Refunds for operators, newest first.';
grant execute on function private.list_refunds(text, integer) to avenue_worker;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.refunds', 'status', null, 'requested', 'asked for here'),
('public.refunds', 'status', null, 'pending', 'made at the provider'),
('public.refunds', 'status', null, 'succeeded', 'taken back with a declined charge'),
('public.refunds', 'status', 'requested', 'pending', 'the provider works on it'),
('public.refunds', 'status', 'requested', 'succeeded', 'paid back'),
('public.refunds', 'status', 'requested', 'failed', 'refused by the provider'),
('public.refunds', 'status', 'requested', 'cancelled', 'not sent, or cancelled at the provider'),
('public.refunds', 'status', 'pending', 'succeeded', 'paid back'),
('public.refunds', 'status', 'pending', 'failed', 'the bank refused it'),
('public.refunds', 'status', 'pending', 'cancelled', 'cancelled at the provider'),
('public.refunds', 'status', 'succeeded', 'failed', 'the bank sent it back'),
('public.refunds', 'status', 'succeeded', 'cancelled', 'cancelled at the provider');
select private.build_moves('public.refunds', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('refund', 'public.refunds', null, null, '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('refunds', 'public.refunds',
    't.payment_id in (select p.id from public.payments as p where p.user_id = $1)',
    '{reason, provider_ref, failure_reason}', 'the books: who paid whom for what');

insert into private.error_codes (code, sqlstate, message, description) values
('refund_amount_invalid', 'PT400', 'This amount cannot be refunded.',
'Zero, negative, or more than is left of the sale, counting refunds that are still under way.'),
('cannot_cancel', 'PT409', 'This cannot be cancelled by its buyer.',
'It is done or shipped, or its time to step back is over (transactions.free_until, ship_by). Ask the seller '
'for a refund.'),
('sale_not_found', 'PT404', 'There is no such sale.', 'The line was not sold, or not by the caller.'),
('insufficient_funds', 'PT402', 'The balance is not sufficient.',
'The wallet does not hold enough money for this payment, payout or refund: debts and refunds under way count. A '
'seller''s refund may make a small debt, the detail says how much; beyond it ask an admin.'),
('refund_not_failed', 'PT409', 'This refund has not failed.', 'Only a failed or cancelled refund is made again.'),
('reference_required', 'PT400', 'A reference of 1 to 200 characters is required.',
'Name the payment by which the buyer got the money.'),
('reference_used', 'PT409', 'This reference was used before.', 'One payment makes one refund good.'),
('event_rejected', 'AV001', 'The provider''s report contradicts our books.',
'A webhook event that must not be applied: it is dead-lettered with its reason and looked at by an admin.'),
('event_too_early', 'AV002', 'The provider''s report needs an earlier one.',
'A webhook event that is retried with backoff until what it refers to exists.');
