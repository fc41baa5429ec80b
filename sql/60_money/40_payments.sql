-- Attempts to take money, and the transactions (one per seller and item) a settled one becomes.

create type public.payment_status as enum (
    'requires_payment', 'processing', 'succeeded', 'failed', 'cancelled', 'refunded', 'partially_refunded', 'disputed'
);
comment on type public.payment_status is 'requires_payment, processing and failed are open: money may still arrive.';

create type public.payment_purpose as enum ('order');
comment on type public.payment_purpose is 'What is paid for.';

create table public.payments (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    purpose public.payment_purpose not null default 'order',
    order_id uuid not null,
    amount_cents bigint not null,
    currency character(3) not null default 'USD',
    provider public.payment_provider not null,
    provider_ref text,
    is_session boolean not null default false,
    stripe_session_id text,
    charge_id text,
    fee_estimate_cents bigint not null,
    provider_fee_cents bigint,
    refunded_cents bigint not null default 0,
    status public.payment_status not null default 'requires_payment',
    is_open boolean not null generated always as (status in ('requires_payment', 'processing', 'failed')) stored,
    failure_reason text,
    declined_charges text[] not null default '{}',
    expires_at timestamptz not null,
    started_at timestamptz,
    cancel_requested_at timestamptz,
    checked_at timestamptz,
    fee_checked_at timestamptz,
    succeeded_at timestamptz,
    charge_reversed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payments_pkey primary key (id),
    constraint payments_provider_ref_key unique (provider_ref, provider),
    constraint payments_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint payments_order_id_fkey foreign key (order_id) references public.orders (id),
    constraint payments_amount_check check (amount_cents between 1 and private.highest_amount_cents()),
    constraint payments_fees_check check (
        fee_estimate_cents between 0 and private.highest_amount_cents()
        and provider_fee_cents between 0 and private.highest_amount_cents()
    ),
    constraint payments_refunded_check check (refunded_cents between 0 and amount_cents),
    constraint payments_session_check check (is_session or stripe_session_id is null)
)
with (fillfactor = 70);

create index payments_user_id_created_at_idx on public.payments (user_id, created_at desc);
-- Partial: most payments have none, and a checkout writes no more than it needs.
create unique index payments_stripe_session_id_idx on public.payments (stripe_session_id)
where stripe_session_id is not null;
create index payments_order_id_idx on public.payments (order_id);
-- What is open is little; most ask for what one buyer has.
create index payments_open_idx on public.payments (user_id, expires_at)
where is_open;
create index payments_fee_unknown_idx on public.payments (succeeded_at)
where provider_fee_cents is null and succeeded_at is not null and provider <> 'wallet';
-- Taken for what could not be delivered and not given back yet.
create index payments_undeliverable_idx on public.payments (succeeded_at)
where failure_reason = 'item_not_available' and succeeded_at is not null and refunded_cents < amount_cents;

comment on table public.payments is 'One row per attempt to take money. Payer and admins read; the server writes.';
comment on column public.payments.purpose is 'What for.';
comment on column public.payments.amount_cents is 'Charged amount, cents.';
comment on column public.payments.provider is 'Who takes the money.';
comment on column public.payments.provider_ref is
'Stripe PaymentIntent or PayPal order; the charge itself when an intent was paid a second time after a late decline.';
comment on column public.payments.is_session is
'Started as a Stripe Checkout Session, a page of Stripe''s, and not as a bare PaymentIntent: it is one of the two.';
comment on column public.payments.stripe_session_id is
'The Checkout Session; its PaymentIntent becomes provider_ref once there is one.';
comment on column public.payments.charge_id is 'The charge that succeeded, before that the one under way.';
comment on column public.payments.fee_estimate_cents is 'Provider fee by fee_schedules, fixed at checkout, cents.';
comment on column public.payments.provider_fee_cents is 'The provider''s real fee, cents; null until read.';
comment on column public.payments.refunded_cents is 'Refunds booked so far, cents.';
comment on column public.payments.is_open is 'Whether money may still arrive.';
comment on column public.payments.status is 'State of the attempt. Swept by payments_to_reconcile().';
comment on column public.payments.failure_reason is 'Last decline or why it could not be applied, as a stable word.';
comment on column public.payments.declined_charges is
'Charges the provider declined: a success of one of these that arrives late is reversed at once.';
comment on column public.payments.expires_at is 'Until when it may be started; then it is cancelled at the provider.';
comment on column public.payments.started_at is 'First handed to the provider.';
comment on column public.payments.cancel_requested_at is 'The buyer or a newer order wants it cancelled.';
comment on column public.payments.checked_at is 'Last time the provider was asked about it.';
comment on column public.payments.fee_checked_at is 'Last time the provider was asked for its fee.';
comment on column public.payments.succeeded_at is 'When the money was taken.';
comment on column public.payments.charge_reversed_at is
'When the provider took the succeeded charge back (declined at settlement).';

create trigger touch_updated_at before update on public.payments
for each row execute function private.touch_updated_at();

alter table public.payments enable row level security;
grant select on public.payments to authenticated, service_role;
create policy payments_select on public.payments for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

-- Repeating a creation takes the same request again. What the client said is remembered until the session is known.
create table private.session_requests (
    payment_id uuid not null,
    success_url text not null,
    cancel_url text not null,
    expires_at timestamptz not null,
    constraint session_requests_pkey primary key (payment_id),
    constraint session_requests_payment_id_fkey foreign key (payment_id) references public.payments (id),
    constraint session_requests_urls_check check (
        char_length(success_url) between 1 and 2048 and char_length(cancel_url) between 1 and 2048
    )
);

comment on table private.session_requests is
'Checkout Sessions asked for whose id is not known yet: the same request finds the same session again.';
comment on column private.session_requests.payment_id is 'The attempt it is for.';
comment on column private.session_requests.success_url is 'Where Stripe sends the buyer who is done.';
comment on column private.session_requests.cancel_url is 'Where Stripe sends the buyer who turns back.';
comment on column private.session_requests.expires_at is
'When Stripe ends the session by itself. It takes no less than 30 minutes: later than payments.expires_at, at which we '
'end it.';
alter table private.session_requests enable row level security;

-- What the provider was told to end although our books are done with it.
create table private.payment_closings (
    payment_id uuid not null,
    requested_at timestamptz not null default now(),
    tried_at timestamptz,
    constraint payment_closings_pkey primary key (payment_id),
    constraint payment_closings_payment_id_fkey foreign key (payment_id) references public.payments (id)
);

comment on table private.payment_closings is
'Settled attempts whose charge was declined later: the provider would let the buyer pay them again. A row ends when '
'the provider says that nothing more can be paid.';
comment on column private.payment_closings.payment_id is 'The attempt to cancel at the provider.';
comment on column private.payment_closings.requested_at is 'When the decline was booked.';
comment on column private.payment_closings.tried_at is 'Last attempt to cancel it.';
alter table private.payment_closings enable row level security;

create table private.provider_delays (
    object_id uuid not null,
    kind text not null,
    attempts integer not null default 1,
    reason text not null,
    retry_at timestamptz not null,
    since timestamptz not null default now(),
    constraint provider_delays_pkey primary key (object_id),
    constraint provider_delays_kind_check check (kind in ('payout', 'refund'))
);

comment on table private.provider_delays is
'Payouts and refunds the provider refused for a reason that is ours and passes, such as a balance that is too low. '
'They stay open, are tried again, and raise an alarm until then.';
comment on column private.provider_delays.object_id is 'The payout or refund.';
comment on column private.provider_delays.kind is 'payout or refund.';
comment on column private.provider_delays.attempts is
'Refusals so far. Part of the idempotency key: under the old key the provider repeats its old refusal.';
comment on column private.provider_delays.reason is 'The provider''s word for it.';
comment on column private.provider_delays.retry_at is 'Not tried before this time.';
comment on column private.provider_delays.since is 'First refusal.';
alter table private.provider_delays enable row level security;

create function private.delay_provider_call(object_id uuid, kind text, reason text) returns timestamptz
language sql
security definer
set search_path = ''
as $$
    insert into private.provider_delays as d (object_id, kind, reason, retry_at)
    values (delay_provider_call.object_id, delay_provider_call.kind, delay_provider_call.reason, now() + interval '1 minute')
    on conflict on constraint provider_delays_pkey do update set
        attempts = d.attempts + 1, reason = excluded.reason,
        retry_at = now() + least(interval '1 minute' * 2 ^ least(d.attempts, 12), interval '6 hours')
    returning d.retry_at
$$;

comment on function private.delay_provider_call(uuid, text, text) is
'Puts a payout or refund off after a refusal that passes: longer each time, up to six hours. Returns until when.';
grant execute on function private.delay_provider_call(uuid, text, text) to avenue_worker;

create function private.provider_key(object_id uuid) returns text
language sql
stable
set search_path = ''
as $$
    select d.object_id || ':' || d.attempts from private.provider_delays as d where d.object_id = provider_key.object_id
$$;

comment on function private.provider_key(uuid) is
'The idempotency key after a definite refusal; null while the object''s own id is the key.';

create function private.forget_delay() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from private.provider_delays as d where d.object_id = new.id;
    return null;
end
$$;

comment on function private.forget_delay() is 'Trigger: a payout or refund that moved on is not delayed any more.';

create type public.transaction_status as enum (
    'pending', 'completed', 'refunded', 'partially_refunded', 'failed', 'disputed'
);
comment on type public.transaction_status is 'State of a sale.';

create table public.transactions (
    id uuid not null default gen_random_uuid(),
    buyer_id uuid not null,
    seller_id uuid not null,
    kind text not null,
    related_id uuid,
    order_item_id uuid not null,
    payment_id uuid not null,
    amount_total_cents bigint not null,
    amount_fees_cents bigint not null,
    amount_tax_cents bigint not null default 0,
    amount_commission_cents bigint not null,
    amount_seller_cents bigint not null,
    amount_credits_cents bigint not null default 0,
    amount_promotions_cents bigint not null default 0,
    currency character(3) not null default 'USD',
    commission_bps integer not null,
    seller_tier text not null,
    payment_processor public.payment_provider not null,
    payment_method text not null,
    stripe_payment_intent_id text,
    stripe_charge_id text,
    paypal_order_id text,
    paypal_transaction_id text,
    status public.transaction_status not null default 'completed',
    release_at timestamptz,
    release_journal_id bigint,
    refunded_cents bigint not null default 0,
    refunded_tax_cents bigint not null default 0,
    refunded_commission_cents bigint not null default 0,
    refunded_fee_cents bigint not null default 0,
    refunded_seller_cents bigint not null default 0,
    refunded_credits_cents bigint not null default 0,
    refunded_promotions_cents bigint not null default 0,
    free_refunded_cents bigint not null default 0,
    free_until timestamptz,
    ship_by timestamptz,
    settled_at timestamptz not null default now(),
    completed_at timestamptz,
    refunded_at timestamptz,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint transactions_pkey primary key (id),
    constraint transactions_order_item_id_key unique (order_item_id),
    constraint transactions_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint transactions_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint transactions_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint transactions_payment_id_fkey foreign key (payment_id) references public.payments (id),
    constraint transactions_split_check check (
        amount_total_cents + amount_promotions_cents
        = amount_fees_cents + amount_tax_cents + amount_commission_cents + amount_seller_cents + amount_credits_cents
    ),
    constraint transactions_refunded_check check (
        refunded_cents between 0 and amount_total_cents
        and refunded_cents + refunded_promotions_cents
        = refunded_tax_cents + refunded_commission_cents + refunded_fee_cents + refunded_seller_cents
        + refunded_credits_cents
        and free_refunded_cents between 0 and refunded_cents
    ),
    constraint transactions_release_check check (release_at is null or completed_at is not null)
)
with (fillfactor = 80);

create index transactions_buyer_id_created_at_idx on public.transactions (buyer_id, created_at desc);
create index transactions_seller_id_created_at_idx on public.transactions (seller_id, created_at desc);
create index transactions_payment_id_idx on public.transactions (payment_id);
create index transactions_release_at_idx on public.transactions (release_at) where release_journal_id is null;
create index transactions_related_id_idx on public.transactions (related_id);

comment on table public.transactions is
'One row per seller and item of a settled payment: who got what of it. Buyer, seller and admins read.';
comment on column public.transactions.kind is 'Kind of what was sold, as on the line.';
comment on column public.transactions.related_id is
'The item sold (catalog_items.id); null for a payable that delivers nothing of the registry.';
comment on column public.transactions.order_item_id is 'The order line.';
comment on column public.transactions.amount_total_cents is
'What the buyer paid for this line, cents: tax and shipping included.';
comment on column public.transactions.amount_fees_cents is
'This line''s part of the provider''s fee, cents, borne by the seller; the estimate until the real one is known.';
comment on column public.transactions.amount_tax_cents is 'Tax in the total, cents.';
comment on column public.transactions.amount_commission_cents is
'Platform commission, cents; negative where the fee alone exceeds the price: the platform''s loss.';
comment on column public.transactions.amount_seller_cents is 'What the seller receives, cents.';
comment on column public.transactions.amount_credits_cents is
'What stays the buyer''s as credits, cents; the platform bears the provider''s fee of it.';
comment on column public.transactions.amount_promotions_cents is
'What the platform pays on top by a coupon of its own, cents: what the seller and the commission are parts of is the '
'price before it.';
comment on column public.transactions.commission_bps is 'Commission rate at purchase, basis points.';
comment on column public.transactions.seller_tier is 'Seller''s plan at purchase.';
comment on column public.transactions.payment_processor is 'Provider that took the money.';
comment on column public.transactions.payment_method is 'card, paypal or wallet_balance.';
comment on column public.transactions.stripe_payment_intent_id is 'Provider''s reference.';
comment on column public.transactions.stripe_charge_id is 'Provider''s reference.';
comment on column public.transactions.paypal_order_id is 'Provider''s reference.';
comment on column public.transactions.paypal_transaction_id is 'Provider''s reference.';
comment on column public.transactions.status is 'State of the sale.';
comment on column public.transactions.release_at is
'When the held money becomes available; null while what was sold is not done, see completed_at.';
comment on column public.transactions.release_journal_id is
'Journal that released it, the last one where payees were released apart; null while any part is held.';
comment on column public.transactions.refunded_cents is
'Refunded so far, cents. With refunded_promotions_cents it is the sum of the other parts.';
comment on column public.transactions.refunded_tax_cents is 'Tax returned, cents.';
comment on column public.transactions.refunded_commission_cents is 'Commission returned by the platform, cents.';
comment on column public.transactions.refunded_fee_cents is
'Of the provider''s fee, which it keeps, what the platform bears, cents: of refunds at the platform''s cost.';
comment on column public.transactions.refunded_seller_cents is
'Returned by the seller, cents; includes the kept fee of refunds at the seller''s cost.';
comment on column public.transactions.refunded_credits_cents is 'Credits taken back for it, cents.';
comment on column public.transactions.refunded_promotions_cents is
'Back to the platform of what it paid on top, cents.';
comment on column public.transactions.free_refunded_cents is
'Of refunded_cents what was refunded at the platform''s cost; later fees follow its share.';
comment on column public.transactions.free_until is
'Until when the buyer may step back at the platform''s cost; null: no such right.';
comment on column public.transactions.ship_by is
'Until when what is sent has to be shipped; after that its buyer can cancel. Null: nothing is sent.';
comment on column public.transactions.settled_at is 'When it settled.';
comment on column public.transactions.completed_at is
'When what was sold was done: at once for most, on delivery, approval or the end for others. Null: not yet.';
comment on column public.transactions.refunded_at is 'When the last refund was booked.';
comment on column public.transactions.metadata is 'Additional data.';

create trigger touch_updated_at before update on public.transactions
for each row execute function private.touch_updated_at();

-- Lifetime totals are counters like any other, kept by triggers: no flow can forget them. By statement, so that a batch
-- of sales touches each wallet once; whoever changes these rows has locked the wallets.
create function private.count_spent() returns trigger
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;

comment on function private.count_spent() is 'Trigger: wallets.total_spent_on_platform_cents.';

create trigger count_spent after insert on public.transactions referencing new table as changed_to
for each statement execute function private.count_spent();
create trigger count_spent_changed after update on public.transactions
referencing old table as changed_from new table as changed_to
for each statement execute function private.count_spent();

alter table public.transactions enable row level security;
grant select on public.transactions to authenticated, service_role;
create policy transactions_select on public.transactions for select to authenticated
using (
    buyer_id = (select private.member_id())
    or seller_id = (select private.member_id())
    or (select private.is_admin())
);

-- Who earns a sale. One row for most; splits and shares of others are more rows. What moves the sellers' side of a sale
-- (its fee, refunds, release) moves these rows by their shares, see payee_legs().
create table public.transaction_payees (
    transaction_id uuid not null,
    payee_id uuid not null,
    share_bps integer not null default 10000,
    cents bigint not null,
    pending_cents bigint not null,
    refunded_cents bigint not null default 0,
    release_journal_id bigint,
    constraint transaction_payees_pkey primary key (transaction_id, payee_id),
    constraint transaction_payees_transaction_id_fkey foreign key (transaction_id) references public.transactions (id),
    constraint transaction_payees_payee_id_fkey foreign key (payee_id) references public.profiles (id),
    constraint transaction_payees_share_check check (share_bps between 1 and 10000),
    constraint transaction_payees_pending_check check (pending_cents >= 0)
)
with (fillfactor = 80);

create index transaction_payees_payee_id_idx on public.transaction_payees (payee_id);

comment on table public.transaction_payees is
'What each payee earns of a sale; their parts add up to amount_seller_cents. Each payee reads their own row, '
'the seller '
'and admins all of the sale.';
comment on column public.transaction_payees.transaction_id is 'The sale.';
comment on column public.transaction_payees.payee_id is 'Who earns: the seller, or somebody they share with.';
comment on column public.transaction_payees.share_bps is 'Share of the sellers'' part, basis points.';
comment on column public.transaction_payees.cents is 'Part, cents.';
comment on column public.transaction_payees.pending_cents is
'Part of the payee''s pending balance that stems from this sale, cents; 0 once released.';
comment on column public.transaction_payees.refunded_cents is 'Returned by this payee, cents.';
comment on column public.transaction_payees.release_journal_id is
'Journal that released this part; 0 where nothing was left to release, null while held.';

create function private.count_earned() returns trigger
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    payees uuid[];
    sales uuid[];
    changes bigint[];
begin
    if tg_op = 'INSERT' then
        select array_agg(c.payee_id), array_agg(c.transaction_id), array_agg(c.cents - c.refunded_cents)
        into payees, sales, changes
        from changed_to as c;
    else
        select
            array_agg(c.payee_id), array_agg(c.transaction_id),
            array_agg(c.cents - c.refunded_cents - (b.cents - b.refunded_cents))
        into payees, sales, changes
        from changed_to as c
        inner join changed_from as b on b.transaction_id = c.transaction_id and b.payee_id = c.payee_id
        where c.cents - c.refunded_cents <> b.cents - b.refunded_cents;
    end if;
    if payees is null then
        return null;
    end if;
    update public.wallets as w set
        total_earned_stripe_cents = w.total_earned_stripe_cents + s.stripe,
        total_earned_paypal_cents = w.total_earned_paypal_cents + s.paypal,
        total_earned_wallet_cents = w.total_earned_wallet_cents + s.wallet
    from (
        select
            u.payee_id, coalesce(sum(u.change) filter (where t.payment_processor = 'stripe'), 0)::bigint as stripe,
            coalesce(sum(u.change) filter (where t.payment_processor = 'paypal'), 0)::bigint as paypal,
            coalesce(sum(u.change) filter (where t.payment_processor = 'wallet'), 0)::bigint as wallet
        from unnest(payees, sales, changes) as u (payee_id, sale_id, change)
        inner join public.transactions as t on t.id = u.sale_id
        group by u.payee_id
    ) as s
    where w.user_id = s.payee_id;
    return null;
end
$$;

comment on function private.count_earned() is 'Trigger: wallets.total_earned_*.';

create trigger count_earned after insert on public.transaction_payees referencing new table as changed_to
for each statement execute function private.count_earned();
create trigger count_earned_changed after update on public.transaction_payees
referencing old table as changed_from new table as changed_to
for each statement execute function private.count_earned();

alter table public.transaction_payees enable row level security;
grant select on public.transaction_payees to authenticated, service_role;
create policy transaction_payees_select on public.transaction_payees for select to authenticated
using (
    payee_id = (select private.member_id())
    or (select private.is_admin())
    or exists (
        select from public.transactions as t where t.id = transaction_id and t.seller_id = (select private.member_id())
    )
);

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.payments', 'status', null, 'requires_payment', 'checkout()'),
('public.payments', 'status', null, 'processing', 'from a wallet, or the second charge of one intent'),
('public.payments', 'status', 'requires_payment', 'processing', 'the provider works on it'),
('public.payments', 'status', 'failed', 'processing', 'the provider works on another charge'),
('public.payments', 'status', 'requires_payment', 'failed', 'a charge was declined'),
('public.payments', 'status', 'processing', 'failed', 'the charge was declined'),
('public.payments', 'status', 'requires_payment', 'cancelled', 'never started, or cancelled at the provider'),
('public.payments', 'status', 'processing', 'cancelled', 'cancelled at the provider'),
('public.payments', 'status', 'failed', 'cancelled', 'cancelled at the provider'),
('public.payments', 'status', 'requires_payment', 'succeeded', 'the money was taken'),
('public.payments', 'status', 'processing', 'succeeded', 'the money was taken'),
('public.payments', 'status', 'failed', 'succeeded', 'another charge was taken'),
('public.payments', 'status', 'cancelled', 'succeeded', 'taken late, which may go back at once'),
('public.payments', 'status', 'succeeded', 'partially_refunded', 'a part went back'),
('public.payments', 'status', 'succeeded', 'refunded', 'all went back, or the charge was taken back'),
('public.payments', 'status', 'partially_refunded', 'refunded', 'the rest went back'),
('public.payments', 'status', 'partially_refunded', 'succeeded', 'the refund failed after it had succeeded'),
('public.payments', 'status', 'refunded', 'partially_refunded', 'one of its refunds failed later'),
('public.payments', 'status', 'refunded', 'succeeded', 'its only refund failed later');
select private.build_moves('public.payments', 'status');

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.transactions', 'status', null, 'completed', 'its payment was settled'),
('public.transactions', 'status', 'completed', 'partially_refunded', 'a part went back'),
('public.transactions', 'status', 'completed', 'refunded', 'all went back'),
('public.transactions', 'status', 'partially_refunded', 'refunded', 'the rest went back'),
('public.transactions', 'status', 'partially_refunded', 'completed', 'the refund failed after it had succeeded'),
('public.transactions', 'status', 'refunded', 'partially_refunded', 'one of its refunds failed later'),
('public.transactions', 'status', 'refunded', 'completed', 'its only refund failed later');
select private.build_moves('public.transactions', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('transaction', 'public.transactions', null, null, '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('payments', 'public.payments',
    't.user_id = $1', '{user_id, provider_ref, stripe_session_id, charge_id, failure_reason, declined_charges}',
    'the books: who paid whom for what'),
('transactions', 'public.transactions',
    't.buyer_id = $1 or t.seller_id = $1',
    '{kind, buyer_id, seller_id, related_id, seller_tier, payment_method, stripe_payment_intent_id, stripe_charge_id, '
    'paypal_order_id, paypal_transaction_id, metadata}',
    'the books: who paid whom for what'),
('transaction_payees', 'public.transaction_payees',
    't.payee_id = $1', '{payee_id}', 'the books: who paid whom for what'),
('session_requests', 'private.session_requests',
    null, '{success_url, cancel_url}', 'pages of the application to return to; removed when the provider has answered'),
('provider_delays', 'private.provider_delays',
    null, '{object_id, reason}', 'why a provider has not answered yet; removed when it has');
