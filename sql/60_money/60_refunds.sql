-- Money back to the buyer: asked for here, made by the provider, booked when the provider says it succeeded.

create type public.refund_status as enum ('requested', 'pending', 'succeeded', 'failed', 'cancelled');
comment on type public.refund_status is
'requested: not at the provider yet. pending: the provider works on it. Nothing is booked before succeeded.';

create table public.refunds (
    id uuid not null default gen_random_uuid(),
    payment_id uuid not null,
    order_item_id uuid,
    amount_cents bigint not null,
    currency character(3) not null default 'USD',
    reason text not null,
    requested_by uuid,
    idempotency_key text,
    provider public.payment_provider not null,
    provider_ref text,
    status public.refund_status not null default 'requested',
    failure_reason text,
    booked_at timestamptz,
    reversed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint refunds_pkey primary key (id),
    constraint refunds_provider_ref_key unique (provider_ref, provider),
    constraint refunds_idempotency_key_key unique (requested_by, idempotency_key),
    constraint refunds_payment_id_fkey foreign key (payment_id) references public.payments (id),
    constraint refunds_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint refunds_amount_check check (amount_cents between 1 and 99999999),
    constraint refunds_reason_check check (char_length(reason) between 1 and 500)
);

create index refunds_payment_id_idx on public.refunds (payment_id);
create index refunds_order_item_id_idx on public.refunds (order_item_id);
create index refunds_unsent_idx on public.refunds (created_at) where status in ('requested', 'pending');

comment on table public.refunds is 'Refunds of payments, whole or part. Payer, sellers of the payment and admins read.';
comment on column public.refunds.payment_id is 'The payment given back.';
comment on column public.refunds.order_item_id is
'The line it is for; null for a whole payment or a refund made in the provider''s dashboard: spread over the lines.';
comment on column public.refunds.amount_cents is 'Cents.';
comment on column public.refunds.currency is 'ISO 4217.';
comment on column public.refunds.reason is 'Why, for people; item_not_available when automatic.';
comment on column public.refunds.requested_by is 'Seller or admin; null when automatic or made at the provider.';
comment on column public.refunds.idempotency_key is 'Given by the client: the same key is the same refund.';
comment on column public.refunds.provider is 'Who pays it back.';
comment on column public.refunds.provider_ref is 'Provider''s refund.';
comment on column public.refunds.status is
'State; only ever moves to the right of requested, pending, succeeded, failed.';
comment on column public.refunds.failure_reason is 'Provider''s word for it.';
comment on column public.refunds.booked_at is 'When it went into the books.';
comment on column public.refunds.reversed_at is 'When a booked one that failed later was taken back.';

create trigger touch_updated_at before update on public.refunds
for each row execute function private.touch_updated_at();

create table public.refund_lines (
    refund_id uuid not null,
    transaction_id uuid not null,
    amount_cents bigint not null,
    tax_cents bigint not null,
    commission_cents bigint not null,
    seller_cents bigint not null,
    constraint refund_lines_pkey primary key (refund_id, transaction_id),
    constraint refund_lines_refund_id_fkey foreign key (refund_id) references public.refunds (id),
    constraint refund_lines_transaction_id_fkey foreign key (transaction_id) references public.transactions (id),
    constraint refund_lines_split_check check (amount_cents = tax_cents + commission_cents + seller_cents)
);

create index refund_lines_transaction_id_idx on public.refund_lines (transaction_id);

comment on table public.refund_lines is
'What a booked refund took from each sale: a reversal needs exactly this. That line''s buyer and seller read it.';
comment on column public.refund_lines.refund_id is 'The refund.';
comment on column public.refund_lines.transaction_id is 'The sale.';
comment on column public.refund_lines.amount_cents is 'Given back on this line, cents.';
comment on column public.refund_lines.tax_cents is 'Part from tax, cents.';
comment on column public.refund_lines.commission_cents is 'Part from the platform, cents.';
comment on column public.refund_lines.seller_cents is 'Part from the seller, cents.';

alter table public.refunds enable row level security;
revoke all on public.refunds from anon, authenticated, service_role;
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
revoke all on public.refund_lines from anon, authenticated, service_role;
grant select on public.refund_lines to authenticated, service_role;
create policy refund_lines_select on public.refund_lines for select to authenticated
using (exists (select from public.transactions as t where t.id = transaction_id));
comment on policy refund_lines_select on public.refund_lines is
'Whoever sees the transaction sees what was refunded of it.';

create function private.create_refund(
    payment_id uuid, order_item_id uuid, amount_cents bigint, reason text, requested_by uuid, idempotency_key text
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
        where r.payment_id = paid.id and r.status in ('requested', 'pending', 'succeeded')
    ), 0) or amount_cents > (
        select i.total_cents + i.tax_cents - t.refunded_cents - coalesce((
            select sum(r.amount_cents) from public.refunds as r
            where r.order_item_id = i.id and r.status in ('requested', 'pending')
        ), 0)
        from public.order_items as i
        inner join public.transactions as t on t.order_item_id = i.id
        where i.id = create_refund.order_item_id
    ) then
        perform private.fail('refund_amount_invalid');
    end if;
    insert into public.refunds (
        payment_id, order_item_id, amount_cents, currency, reason, requested_by, idempotency_key, provider
    ) values (
        paid.id, create_refund.order_item_id, create_refund.amount_cents, paid.currency, create_refund.reason,
        create_refund.requested_by, create_refund.idempotency_key, paid.provider
    ) returning id into refund_id;
    if paid.provider = 'wallet' then
        perform private.record_refund(refund_id, null, 'succeeded');
    else
        perform private.enqueue('send_refund', jsonb_build_object('refund_id', refund_id), null, 'refund:' || refund_id);
    end if;
    return refund_id;
end
$$;

comment on function private.create_refund(uuid, uuid, bigint, text, uuid, text) is
'Asks for a refund: at once for wallet payments, through the provider otherwise. Error: refund_amount_invalid.';

-- Shares of the running total, so that parts and rest add up to the whole to the cent (sharp case 11). A negative
-- commission was the platform's loss and stays it.
create function private.split_refund(
    sale public.transactions, amount_cents bigint, out tax bigint, out commission bigint, out seller bigint
)
language plpgsql
immutable
set search_path = ''
as $$
declare
    refunded bigint := sale.refunded_cents + amount_cents;
begin
    tax := (sale.amount_tax_cents * refunded * 2 + sale.amount_total_cents) / (sale.amount_total_cents * 2)
    - sale.refunded_tax_cents;
    commission := (greatest(sale.amount_commission_cents, 0) * refunded * 2 + sale.amount_total_cents)
    / (sale.amount_total_cents * 2) - sale.refunded_commission_cents;
    seller := amount_cents - tax - commission;
end
$$;

comment on function private.split_refund(public.transactions, bigint) is
'Divides the next refund of a sale (cents, at most what is left of it) into tax, commission and the seller''s part.';

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
    -- An earlier refund may have failed since, and its report be on its way.
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents then
        perform private.fail('event_too_early', 'refund exceeds what is left of the payment');
    end if;
    money_account := 'clearing:' || paid.provider;

    perform from public.transactions as t where t.payment_id = paid.id for no key update;
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
            array(select t.seller_id from public.transactions as t where t.payment_id = paid.id)
            || case when paid.provider = 'wallet' then paid.user_id end
        );
        -- A refund of one line is that line's as far as it goes. One made in the dashboard meanwhile may have taken from
        -- it too: the money is gone all the same, and the other lines bear the rest.
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
            select refund.id, sale.id, part, s.tax, s.commission, s.seller into line
            from private.split_refund(sale, part) as s;
            insert into public.refund_lines select line.*;
            perform ledger.post(
                'refund', 'refund:' || refund.id || ':' || sale.id,
                private.moving_legs(array[
                    case
                        when paid.provider = 'wallet' then ledger.leg(paid.user_id, 'available', part)
                        else ledger.leg(null, money_account, part)
                    end,
                    ledger.leg(null, 'tax_payable', -line.tax_cents),
                    ledger.leg(null, 'revenue', -line.commission_cents)
                ]) || private.seller_legs(sale.id, -line.seller_cents),
                refund.id, paid.currency
            );
            perform private.apply_refund_line(line, 1);
        end loop;
    end if;
    update public.refunds as r set booked_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, refund.amount_cents);
end
$$;

comment on function private.book_refund(uuid) is
'Books a refund once: pro rata on tax and commission, the rest (with the fee the provider keeps) from the seller. '
'Error: event_too_early when it exceeds what is left.';

create function private.apply_refund_line(line public.refund_lines, direction integer) returns void
language plpgsql
set search_path = ''
as $$
declare
    sale public.transactions;
    other public.transactions;
    one_of_a_kind boolean;
begin
    update public.transactions as t set
        refunded_cents = t.refunded_cents + direction * line.amount_cents,
        refunded_tax_cents = t.refunded_tax_cents + direction * line.tax_cents,
        refunded_commission_cents = t.refunded_commission_cents + direction * line.commission_cents,
        refunded_seller_cents = t.refunded_seller_cents + direction * line.seller_cents,
        refunded_at = case when direction > 0 then now() else t.refunded_at end,
        status = case
            when t.refunded_cents + direction * line.amount_cents = 0 then 'completed'
            when t.refunded_cents + direction * line.amount_cents = t.amount_total_cents then 'refunded'
            else 'partially_refunded'
        end::public.transaction_status
    where t.id = line.transaction_id
    returning * into sale;

    -- The entitlement ends with the last cent and comes back with the first one restored; a one-of-a-kind item goes
    -- back on sale, and a restored one is taken from sale again.
    if sale.status = 'refunded' then
        -- Paid twice, because an earlier refund failed after the item was bought again: the other sale grants it now.
        select * into other from public.transactions as t
        where
            t.buyer_id = sale.buyer_id and t.related_id = sale.related_id and t.id <> sale.id
            and t.refunded_cents < t.amount_total_cents
        limit 1;
        update public.purchases as p set
            order_item_id = coalesce(other.order_item_id, p.order_item_id),
            price_cents = coalesce(other.amount_total_cents - other.amount_tax_cents, p.price_cents),
            revoked_at = case when other.id is null then now() end
        where p.order_item_id = sale.order_item_id and p.revoked_at is null;
        -- Not when it was sold to somebody else meanwhile.
        if not exists (
            select from public.purchases as p where p.item_id = sale.related_id and p.revoked_at is null
        ) then
            perform private.relist_item(sale.related_id);
        end if;
    elsif direction < 0 and sale.refunded_cents + line.amount_cents = sale.amount_total_cents then
        select c.is_unique into strict one_of_a_kind from public.catalog_items as c where c.id = sale.related_id;
        if one_of_a_kind and not private.mark_item_sold(sale.related_id) then
            -- Sold to somebody else in between: money is booked as the provider reports it, people must settle it.
            perform private.audit('refund_failed_after_resale', 'transactions', sale.id, to_jsonb(line));
        else
            update public.purchases as p set
                order_item_id = sale.order_item_id, price_cents = sale.amount_total_cents - sale.amount_tax_cents,
                revoked_at = null
            where p.buyer_id = sale.buyer_id and p.item_id = sale.related_id and p.revoked_at is not null;
        end if;
    end if;
end
$$;

comment on function private.apply_refund_line(public.refund_lines, integer) is
'Adds (1) or takes back (-1) a refund line on its sale: amounts, status, entitlement, listing.';

create function private.refresh_refund_status(payment_id uuid, change bigint) returns void
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
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
    where o.id = paid.order_id and o.status in ('completed', 'partially_refunded', 'refunded');
end
$$;

comment on function private.refresh_refund_status(uuid, bigint) is
'Adds a signed amount of cents to a payment''s refunds and lets its and the order''s status follow.';

-- A refund that succeeded and failed later (bank account closed…) gives money and entitlement back (sharp case 9).
create function private.reverse_refund(refund_id uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
    refund public.refunds;
    paid public.payments;
    line public.refund_lines;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = reverse_refund.refund_id for no key update;
    if refund.booked_at is null or refund.reversed_at is not null then
        return;
    end if;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    money_account := 'clearing:' || paid.provider;
    perform private.lock_wallets(array(
        select t.seller_id from public.transactions as t where t.payment_id = paid.id
    ));
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
        perform private.apply_refund_line(line, -1);
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id || ':' || line.transaction_id,
            private.moving_legs(array[
                ledger.leg(null, money_account, -line.amount_cents),
                ledger.leg(null, 'tax_payable', line.tax_cents),
                ledger.leg(null, 'revenue', line.commission_cents)
            ]) || private.seller_legs(line.transaction_id, line.seller_cents),
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
        update public.refunds as r set
            status = reported, provider_ref = coalesce(r.provider_ref, provider_refund_id),
            failure_reason = coalesce(record_refund.failure_reason, r.failure_reason)
        where r.id = refund.id;
        if reported = 'succeeded' then
            perform private.book_refund(refund.id);
        elsif reported in ('failed', 'cancelled') then
            perform private.reverse_refund(refund.id);
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
stable
security definer
set search_path = ''
as $$
    select jsonb_build_object(
        'refund_id', r.id, 'provider', r.provider, 'provider_ref', p.provider_ref, 'amount_cents', r.amount_cents,
        'currency', r.currency,
        'metadata', jsonb_build_object('refund_id', r.id, 'payment_id', p.id, 'order_item_id', r.order_item_id)
    )
    from public.refunds as r
    inner join public.payments as p on p.id = r.payment_id
    where r.id = claim_refund.refund_id and r.status = 'requested'
$$;

comment on function private.claim_refund(uuid) is
'What the worker sends to the provider (idempotency key: the refund id); null when there is nothing to send.';
grant execute on function private.claim_refund(uuid) to avenue_worker;

create function private.refunds_to_resume(max_rows integer)
returns table (refund_id uuid, payment_id uuid, sent boolean)
language sql
stable
security definer
set search_path = ''
as $$
    select r.id, r.payment_id, r.status = 'pending' from public.refunds as r
    where
        (r.status = 'requested' and r.created_at < now() - interval '1 minute')
        or (r.status = 'pending' and r.updated_at < now() - (select s.reconcile_after from private.settings as s))
    order by r.created_at
    limit max_rows
$$;

comment on function private.refunds_to_resume(integer) is
'Refunds whose job was lost (send again) or whose outcome is overdue (sync the payment''s refunds).';
grant execute on function private.refunds_to_resume(integer) to avenue_worker;

-- A charge declined after it succeeded (sharp case 6) is a full reversal of what is left.
create function private.reverse_charge(payment_id uuid, charge_id text) returns void
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
    refund_id uuid;
begin
    select * into strict paid from public.payments as p where p.id = reverse_charge.payment_id for no key update;
    if paid.amount_cents = paid.refunded_cents then
        return;
    end if;
    insert into public.refunds (payment_id, amount_cents, currency, reason, provider, provider_ref, status)
    values (
        paid.id, paid.amount_cents - paid.refunded_cents, paid.currency, 'charge_declined', paid.provider,
        'declined:' || reverse_charge.charge_id, 'succeeded'
    )
    on conflict do nothing
    returning id into refund_id;
    if refund_id is not null then
        -- Unlike a refund, a declined charge costs nothing: the provider gives its fee back with it.
        perform private.set_provider_fee(paid.id, 0, 'fee_returned');
        perform private.book_refund(refund_id);
    end if;
end
$$;

comment on function private.reverse_charge(uuid, text) is
'Books a charge that the provider took back after success as a full refund of the rest, once, its fee included.';

-- Refunds under way are not booked yet, but what they will take is no longer the seller's to spend, pay out or give
-- back a second time.
create function private.promised_back(seller uuid, line uuid default null, more_cents bigint default 0) returns bigint
language sql
stable
set search_path = ''
as $$
    select coalesce(sum(greatest(
        (private.split_refund(t, least(o.cents, t.amount_total_cents - t.refunded_cents))).seller
        - t.pending_cents - t.amount_fees_cents, 0
    )), 0)::bigint
    from (
        select l.order_item_id, sum(l.cents)::bigint as cents
        from (
            select r.order_item_id, r.amount_cents as cents from public.refunds as r
            where r.status in ('requested', 'pending')
            union all
            select promised_back.line, more_cents
        ) as l
        group by l.order_item_id
    ) as o
    inner join public.transactions as t on t.order_item_id = o.order_item_id
    where t.seller_id = promised_back.seller
$$;

comment on function private.promised_back(uuid, uuid, bigint) is
'Cents of a seller''s available balance that refunds of lines under way will take, with more_cents of one more line: '
'the seller''s part beyond what each sale still holds, short of the fee the provider keeps.';

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
    sale public.transactions;
    wallet public.wallets;
    refund public.refunds;
    wanted bigint;
    new_refund uuid;
begin
    select * into sale from public.transactions as t
    where t.order_item_id = refund_order_item.order_item_id and (t.seller_id = member or private.is_admin());
    if sale.id is null then
        perform private.fail('sale_not_found');
    end if;
    -- In the order of book_refund(), which a wallet payment reaches from here.
    perform from public.payments as p where p.id = sale.payment_id for no key update;
    perform from public.transactions as t where t.payment_id = sale.payment_id for no key update;
    perform private.lock_wallets(
        array(select t.seller_id from public.transactions as t where t.payment_id = sale.payment_id)
        || case when sale.payment_processor = 'wallet' then sale.buyer_id end
    );
    select * into refund from public.refunds as r
    where r.requested_by = member and r.idempotency_key = refund_order_item.idempotency_key;
    if refund.id is not null then
        return refund;
    end if;
    select * into sale from public.transactions as t where t.id = sale.id;
    if char_length(trim(coalesce(refund_order_item.reason, ''))) not between 1 and 500 then
        perform private.fail('reason_required');
    end if;
    wanted := coalesce(refund_order_item.amount_cents, sale.amount_total_cents - sale.refunded_cents);
    if sale.seller_id = member and not private.is_admin() then
        -- A seller gives back what the seller has, short of the fee the provider keeps: that much may become debt, or
        -- nobody could ever take back a first sale. More debt than this only an admin may make.
        select * into wallet from public.wallets as w where w.user_id = member;
        if wanted between 1 and sale.amount_total_cents - sale.refunded_cents
            and private.promised_back(member, sale.order_item_id, wanted) > wallet.balance_available_cents then
            perform private.fail('insufficient_funds');
        end if;
    end if;
    new_refund := private.create_refund(
        sale.payment_id, sale.order_item_id, wanted, refund_order_item.reason, member,
        refund_order_item.idempotency_key
    );
    select * into strict refund from public.refunds as r where r.id = new_refund;
    if sale.seller_id <> member then
        perform private.audit('refund', 'refunds', refund.id, jsonb_build_object('amount_cents', wanted, 'reason', refund_order_item.reason));
    end if;
    return refund;
end
$$;

comment on function public.refund_order_item(uuid, bigint, text, text) is
'Refunds one sold line, by its seller or an admin; amount in cents, null for all that is left. The same '
'idempotency_key of the same caller returns the first refund. Errors: sale_not_found, refund_amount_invalid, '
'insufficient_funds, reason_required.';
grant execute on function public.refund_order_item(uuid, bigint, text, text) to authenticated;

insert into private.error_codes (code, sqlstate, message, description) values
('refund_amount_invalid', 'PT400', 'This amount cannot be refunded.',
'Zero, negative, or more than is left of the sale, counting refunds that are still under way.'),
('sale_not_found', 'PT404', 'There is no such sale.', 'The line was not sold, or not by the caller.'),
('insufficient_funds', 'PT402', 'The balance is not sufficient.',
'The wallet does not hold enough available money for this payment, payout or refund.'),
('reason_required', 'PT400', 'A reason of 1 to 500 characters is required.', 'Give people a reason they can read.'),
('event_rejected', 'AV001', 'The provider''s report contradicts our books.',
'A webhook event that must not be applied: it is dead-lettered with its reason and looked at by an admin.'),
('event_too_early', 'AV002', 'The provider''s report needs an earlier one.',
'A webhook event that is retried with backoff until what it refers to exists.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
