-- Money.
-- The ledger and everything that posts to it: wallets, fees, payments, checkout, settlement, refunds, payouts, the
-- webhook inbox, the audit. Platform accounts and fee schedules are part of it, so a fresh project can sell at once.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/60_money/10_wallets.sql -----------------------------------------------------------------------------------------
-- A seller's balances and payout settings. The balances repeat the ledger's entries: ledger.post() changes both in
-- one statement's transaction and ledger.audit() compares them.

create type public.payout_account_status as enum ('pending', 'enabled', 'disabled');
comment on type public.payout_account_status is 'What the provider says of the payout account.';

create table public.wallets (
    user_id uuid not null,
    currency character(3) not null default 'USD',
    balance_available_cents bigint not null default 0,
    balance_pending_cents bigint not null default 0,
    debt_cents bigint not null default 0,
    total_earned_stripe_cents bigint not null default 0,
    total_earned_paypal_cents bigint not null default 0,
    total_earned_wallet_cents bigint not null default 0,
    total_earned_cents bigint generated always as (
        total_earned_stripe_cents + total_earned_paypal_cents + total_earned_wallet_cents
    ) stored,
    total_withdrawn_stripe_cents bigint not null default 0,
    total_withdrawn_paypal_cents bigint not null default 0,
    total_withdrawn_cents bigint generated always as (
        total_withdrawn_stripe_cents + total_withdrawn_paypal_cents
    ) stored,
    total_spent_on_platform_cents bigint not null default 0,
    stripe_account_id text,
    stripe_account_status public.payout_account_status,
    paypal_email text,
    paypal_verified boolean not null default false,
    payouts_enabled boolean generated always as (
        coalesce(stripe_account_status = 'enabled', false) or (paypal_email is not null and paypal_verified)
    ) stored,
    payouts_held_until timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint wallets_pkey primary key (user_id),
    constraint wallets_stripe_account_id_key unique (stripe_account_id),
    constraint wallets_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint wallets_balance_available_check check (balance_available_cents >= 0),
    constraint wallets_balance_pending_check check (balance_pending_cents >= 0),
    constraint wallets_debt_check check (debt_cents >= 0)
)
-- Updated by every sale: half-full pages keep the update on the page (HOT), without touching an index.
with (fillfactor = 50);

comment on table public.wallets is
'Balances, lifetime totals and payout settings of a member. Owner and admins read; only the server writes.';
comment on column public.wallets.user_id is 'Whose wallet.';
comment on column public.wallets.currency is 'ISO 4217.';
comment on column public.wallets.balance_available_cents is
'Can be withdrawn or spent, cents. Money in an open payout is not part of it.';
comment on column public.wallets.balance_pending_cents is 'Earned but still held, cents.';
comment on column public.wallets.debt_cents is
'Owed to the platform, cents: refunds beyond the balance. Repaid first when earnings are released.';
comment on column public.wallets.total_earned_stripe_cents is
'Lifetime earnings of Stripe sales, cents, net of fees, commission and refunds.';
comment on column public.wallets.total_earned_paypal_cents is 'The same for PayPal sales.';
comment on column public.wallets.total_earned_wallet_cents is 'The same for sales paid from a wallet.';
comment on column public.wallets.total_earned_cents is 'All of them together, cents.';
comment on column public.wallets.total_withdrawn_stripe_cents is 'Lifetime payouts through Stripe, cents.';
comment on column public.wallets.total_withdrawn_paypal_cents is 'Lifetime payouts through PayPal, cents.';
comment on column public.wallets.total_withdrawn_cents is 'Both together, cents.';
comment on column public.wallets.total_spent_on_platform_cents is
'Lifetime purchases paid from this wallet, cents, net of refunds.';
comment on column public.wallets.stripe_account_id is 'Stripe Connect account that receives payouts.';
comment on column public.wallets.stripe_account_status is 'State of that account as last read from Stripe.';
comment on column public.wallets.paypal_email is 'PayPal address that receives payouts.';
comment on column public.wallets.paypal_verified is 'Whether that address was verified.';
comment on column public.wallets.payouts_enabled is 'True when some payout destination is verified.';
comment on column public.wallets.payouts_held_until is
'No payout before this time: the destination was changed recently (docs: money, sharp case 23).';

create trigger touch_updated_at before update on public.wallets
for each row execute function private.touch_updated_at();

alter table public.wallets enable row level security;
revoke all on public.wallets from anon, authenticated, service_role;
grant select on public.wallets to authenticated, service_role;
create policy wallets_select on public.wallets for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

-- sql/60_money/20_ledger.sql ------------------------------------------------------------------------------------------
-- Double-entry books. A positive balance of a user's account is what the platform owes the user; the outside world
-- is negative. ledger.post() is the only way to write.

create type ledger.journal_kind as enum (
    'sale', 'unapplied', 'fee_adjustment', 'release', 'refund', 'refund_reversal',
    'payout_requested', 'payout_completed', 'payout_failed', 'payout_returned', 'adjustment'
);
comment on type ledger.journal_kind is 'What happened; money.md lists the legs of each.';

create table ledger.accounts (
    id bigint generated always as identity,
    owner_id uuid not null,
    code text not null,
    currency character(3) not null default 'USD',
    created_at timestamptz not null default now(),
    constraint accounts_pkey primary key (id),
    constraint accounts_owner_id_code_currency_key unique (owner_id, code, currency),
    constraint accounts_code_check check (
        case
            when owner_id = '00000000-0000-0000-0000-000000000000' then code in (
                'clearing:stripe', 'clearing:paypal', 'fees:stripe', 'fees:paypal', 'revenue', 'tax_payable',
                'payouts_in_transit', 'refunds_payable', 'promotions'
            )
            else code in ('pending', 'available', 'debt')
        end
    )
);

comment on table ledger.accounts is
'Chart of accounts. Accounts store no balance: the platform''s are part of every sale and would be a queue; a user''s '
'balance is the wallets row.';
comment on column ledger.accounts.owner_id is
'The user, or the all-zero uuid for the platform. No foreign key: books outlive accounts.';
comment on column ledger.accounts.code is
'User: pending, available, debt (negative: owed to us). Platform: clearing:<provider> (money at the provider, '
'negative), fees:<provider>, revenue, tax_payable, payouts_in_transit, refunds_payable (taken but not deliverable), '
'promotions.';
comment on column ledger.accounts.currency is 'ISO 4217.';

create table ledger.journal (
    id bigint generated always as identity,
    kind ledger.journal_kind not null,
    idempotency_key text not null,
    source_id uuid,
    currency character(3) not null default 'USD',
    memo text,
    occurred_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    constraint journal_pkey primary key (id),
    constraint journal_idempotency_key_key unique (idempotency_key),
    constraint journal_source_check check (source_id is not null or kind in ('release', 'adjustment'))
);

create index journal_source_id_idx on ledger.journal (source_id);

comment on table ledger.journal is 'One row per event that moved money. Append-only.';
comment on column ledger.journal.kind is 'What happened.';
comment on column ledger.journal.idempotency_key is 'Names the event: the same key never posts twice.';
comment on column ledger.journal.source_id is
'Row that caused it: transaction (sale, fee_adjustment), payment (unapplied, its fee), refund, payout. '
'A release is referenced by its transactions, an adjustment carries author and reason in memo.';
comment on column ledger.journal.currency is 'ISO 4217; all legs share it.';
comment on column ledger.journal.memo is 'Words for people.';
comment on column ledger.journal.occurred_at is 'When it happened, by the source''s clock.';

create table ledger.entries (
    journal_id bigint not null,
    leg_no smallint not null,
    account_id bigint not null,
    amount_cents bigint not null,
    constraint entries_pkey primary key (journal_id, leg_no),
    constraint entries_journal_id_fkey foreign key (journal_id) references ledger.journal (id),
    constraint entries_amount_check check (amount_cents <> 0)
);

create index entries_account_id_idx on ledger.entries (account_id, journal_id);

comment on table ledger.entries is
'Legs of a journal; they sum to zero. Append-only. account_id has no foreign key on purpose: its check would lock the '
'platform''s account rows in every sale. post() joins accounts instead, and audit() looks for orphans.';
comment on column ledger.entries.journal_id is 'The event.';
comment on column ledger.entries.leg_no is 'Position, from 1.';
comment on column ledger.entries.account_id is 'Account moved.';
comment on column ledger.entries.amount_cents is 'Signed cents; positive raises what the platform owes the owner.';

create type ledger.leg as (owner_id uuid, account text, amount_cents bigint);
comment on type ledger.leg is 'One leg to post: owner (null is the platform), account code, signed cents.';

create function ledger.leg(owner_id uuid, account text, amount_cents bigint) returns ledger.leg
language plpgsql
immutable
set search_path = ''
as $$
begin
    return row(owner_id, account, amount_cents);
end
$$;

comment on function ledger.leg(uuid, text, bigint) is 'Makes a leg.';

create function ledger.post(
    kind ledger.journal_kind,
    idempotency_key text,
    legs ledger.leg[],
    source_id uuid default null,
    currency text default 'USD',
    memo text default null,
    occurred_at timestamptz default now()
) returns bigint
language plpgsql
set search_path = ''
-- The legs differ in number, not in kind: planning them anew each time costs more than running the plan.
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    platform constant uuid := uuid '00000000-0000-0000-0000-000000000000';
    journal_id bigint;
    balanced boolean;
    owners uuid[];
    posted integer;
begin
    -- A refused post leaves nothing behind: every check comes before or aborts the transaction.
    select
        sum(l.amount_cents) = 0 and bool_and(abs(l.amount_cents) between 1 and 999999999999) and count(*) >= 2
        and count(*) = count(l.amount_cents),
        array_agg(distinct l.owner_id) filter (where l.owner_id is not null)
    into balanced, owners
    from unnest(legs) as l;
    if idempotency_key is null or balanced is not true then
        perform private.fail('unbalanced_journal', idempotency_key);
    end if;

    -- The journal comes before any lock: a second poster of the same key waits here, holding nothing.
    insert into ledger.journal (kind, idempotency_key, source_id, currency, memo, occurred_at)
    values (post.kind, post.idempotency_key, post.source_id, post.currency, post.memo, post.occurred_at)
    on conflict (idempotency_key) do nothing
    returning id into journal_id;
    if journal_id is null then
        return (select j.id from ledger.journal as j where j.idempotency_key = post.idempotency_key);
    end if;

    insert into ledger.entries (journal_id, leg_no, account_id, amount_cents)
    select journal_id, l.leg_no, a.id, l.amount_cents
    from unnest(legs) with ordinality as l (owner_id, account, amount_cents, leg_no)
    inner join ledger.accounts as a
        on a.owner_id = coalesce(l.owner_id, platform) and a.code = l.account and a.currency = post.currency;
    get diagnostics posted = row_count;
    if posted <> cardinality(legs) then
        perform private.fail('unknown_account', idempotency_key);
    end if;

    if cardinality(owners) > 1 then
        -- Fixed order, so that two posts over the same users cannot deadlock.
        perform from public.wallets as w where w.user_id = any (owners) order by w.user_id for no key update;
    end if;
    if cardinality(owners) > 0 then
        -- Driven by the owners' keys, not joined to the legs: a join would read the whole table when it is small.
        update public.wallets as w set
            (balance_available_cents, balance_pending_cents, debt_cents) = (
                select
                    w.balance_available_cents
                    + coalesce(sum(l.amount_cents) filter (where l.account = 'available'), 0)::bigint,
                    w.balance_pending_cents
                    + coalesce(sum(l.amount_cents) filter (where l.account = 'pending'), 0)::bigint,
                    w.debt_cents - coalesce(sum(l.amount_cents) filter (where l.account = 'debt'), 0)::bigint
                from unnest(legs) as l
                where l.owner_id = w.user_id
            )
        where w.user_id = any (owners);
    end if;
    return journal_id;
end
$$;

comment on function ledger.post(ledger.journal_kind, text, ledger.leg[], uuid, text, text, timestamptz) is
'Posts one journal and moves the users'' wallets with it; returns the journal''s id. The same idempotency key returns '
'the first journal unchanged. Errors: unbalanced_journal, unknown_account; 23514 when a wallet would fall below zero.';

create function private.create_wallet(user_id uuid) returns void
language sql
security definer
set search_path = ''
as $$
    insert into public.wallets (user_id) values (create_wallet.user_id) on conflict do nothing;
    insert into ledger.accounts (owner_id, code)
    select create_wallet.user_id, c.code from unnest(array['pending', 'available', 'debt']) as c (code)
    on conflict do nothing;
$$;

comment on function private.create_wallet(uuid) is 'Opens a member''s wallet and ledger accounts; part of sign-up.';

create trigger refuse_change before update or delete or truncate on ledger.journal
for each statement execute function private.refuse_change();
create trigger refuse_change before update or delete or truncate on ledger.entries
for each statement execute function private.refuse_change();

-- No API role has any right in this schema; RLS without policies says so a second time.
alter table ledger.accounts enable row level security;
alter table ledger.journal enable row level security;
alter table ledger.entries enable row level security;

-- A member's own statement, since the books themselves are closed.
create function public.wallet_statement(before_journal bigint default null, max_rows integer default 50)
returns table (
    journal_id bigint, kind text, occurred_at timestamptz, memo text, source_id uuid,
    available_cents bigint, pending_cents bigint, debt_cents bigint
)
language plpgsql
stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    return query
    select
        j.id, j.kind::text, j.occurred_at, j.memo, j.source_id,
        coalesce(sum(e.amount_cents) filter (where a.code = 'available'), 0)::bigint,
        coalesce(sum(e.amount_cents) filter (where a.code = 'pending'), 0)::bigint,
        coalesce(sum(-e.amount_cents) filter (where a.code = 'debt'), 0)::bigint
    from ledger.accounts as a
    inner join ledger.entries as e on e.account_id = a.id
    inner join ledger.journal as j on j.id = e.journal_id
    where a.owner_id = member and (before_journal is null or j.id < before_journal)
    group by j.id
    order by j.id desc
    limit least(greatest(max_rows, 1), 200);
end
$$;

comment on function public.wallet_statement(bigint, integer) is
'The caller''s ledger entries, newest first; page with the last journal_id. Changes in cents; debt rises when '
'positive.';
grant execute on function public.wallet_statement(bigint, integer) to authenticated;

insert into ledger.accounts (owner_id, code)
select '00000000-0000-0000-0000-000000000000', c.code
from unnest(array[
    'clearing:stripe', 'clearing:paypal', 'fees:stripe', 'fees:paypal', 'revenue', 'tax_payable',
    'payouts_in_transit', 'refunds_payable', 'promotions'
]) as c (code)
on conflict do nothing;

insert into private.error_codes (code, sqlstate, message, description) values
('unbalanced_journal', 'PT400', 'The legs do not balance.',
'A journal needs at least two non-zero legs that sum to zero. A bug of ours, never of a client.'),
('unknown_account', 'PT400', 'A ledger account does not exist.',
'A leg names an account that was never opened. A bug of ours, never of a client.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/60_money/30_fees.sql --------------------------------------------------------------------------------------------
-- What providers charge, and how one charge over several sellers is split to the cent.
-- Functions that settlement calls are plpgsql even where one expression would do: it keeps their plans, while a SQL
-- function that cannot be inlined is planned at every call.

create type public.payment_provider as enum ('stripe', 'paypal', 'wallet');
comment on type public.payment_provider is 'Who moves the money; wallet is the buyer''s own balance.';

create table public.fee_schedules (
    provider public.payment_provider not null,
    currency character(3) not null default 'USD',
    valid_from timestamptz not null,
    percent_bps integer not null,
    fixed_cents bigint not null,
    constraint fee_schedules_pkey primary key (provider, currency, valid_from),
    constraint fee_schedules_percent_check check (percent_bps between 0 and 10000),
    constraint fee_schedules_fixed_check check (fixed_cents between 0 and 99999999)
);

comment on table public.fee_schedules is
'Estimate of a provider''s fee until the real one is known. Public: sellers see what they will pay.';
comment on column public.fee_schedules.provider is 'Provider.';
comment on column public.fee_schedules.currency is 'ISO 4217.';
comment on column public.fee_schedules.valid_from is 'The newest row not after now applies.';
comment on column public.fee_schedules.percent_bps is 'Percent part, basis points, rounded half up.';
comment on column public.fee_schedules.fixed_cents is 'Fixed part per charge, cents.';

create function private.processing_fee(provider public.payment_provider, amount_cents bigint, currency text)
returns bigint
language sql
stable
set search_path = ''
as $$
    select (processing_fee.amount_cents * f.percent_bps + 5000) / 10000 + f.fixed_cents
    from public.fee_schedules as f
    where
        f.provider = processing_fee.provider and f.currency = processing_fee.currency and f.valid_from <= now()
    order by f.valid_from desc
    limit 1
$$;

comment on function private.processing_fee(public.payment_provider, bigint, text) is
'Estimated provider fee of a charge in cents (PA: every fee is the seller''s).';

create function private.split_cents(total bigint, weights bigint[]) returns bigint[]
language plpgsql
immutable
set search_path = ''
as $$
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
$$;

comment on function private.split_cents(bigint, bigint[]) is
'Splits a non-negative total by weights so that the cents add up exactly (largest remainder).';

create function private.split_line(
    total bigint, tax bigint, fee bigint, commission_bps integer, out commission bigint, out seller bigint
)
language plpgsql
immutable
set search_path = ''
as $$
begin
    -- Commission is on the item price, half up; when fee and commission exceed it the commission shrinks, below zero
    -- if the fee alone does: the platform's loss, never the seller's debt.
    commission := least(((total - tax) * commission_bps + 5000) / 10000, total - tax - fee);
    seller := total - tax - fee - commission;
end
$$;

comment on function private.split_line(bigint, bigint, bigint, integer) is
'Divides a paid line (cents, tax included in total) into commission and the seller''s part: money.md, Fees.';

alter table public.fee_schedules enable row level security;
revoke all on public.fee_schedules from anon, authenticated, service_role;
grant select on public.fee_schedules to anon, authenticated, service_role;
create policy fee_schedules_select on public.fee_schedules for select to anon, authenticated using (true);

insert into public.fee_schedules (provider, valid_from, percent_bps, fixed_cents) values
('stripe', '2026-01-01 00:00+00', 290, 30),
('paypal', '2026-01-01 00:00+00', 349, 49),
('wallet', '2026-01-01 00:00+00', 0, 0)
on conflict do nothing;

-- sql/60_money/40_payments.sql ----------------------------------------------------------------------------------------
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
    charge_id text,
    fee_estimate_cents bigint not null,
    provider_fee_cents bigint,
    refunded_cents bigint not null default 0,
    status public.payment_status not null default 'requires_payment',
    failure_reason text,
    declined_charges text[] not null default '{}',
    expires_at timestamptz not null,
    started_at timestamptz,
    cancel_requested_at timestamptz,
    checked_at timestamptz,
    succeeded_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payments_pkey primary key (id),
    constraint payments_provider_ref_key unique (provider_ref, provider),
    constraint payments_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint payments_order_id_fkey foreign key (order_id) references public.orders (id),
    constraint payments_amount_check check (amount_cents between 1 and 99999999),
    constraint payments_fees_check check (
        fee_estimate_cents between 0 and 99999999 and provider_fee_cents between 0 and 99999999
    ),
    constraint payments_refunded_check check (refunded_cents between 0 and amount_cents)
)
with (fillfactor = 70);

create index payments_user_id_created_at_idx on public.payments (user_id, created_at desc);
create index payments_order_id_idx on public.payments (order_id);
create index payments_open_idx on public.payments (expires_at)
where status in ('requires_payment', 'processing', 'failed');
create index payments_fee_unknown_idx on public.payments (succeeded_at)
where provider_fee_cents is null and succeeded_at is not null and provider <> 'wallet';

comment on table public.payments is 'One row per attempt to take money. Payer and admins read; the server writes.';
comment on column public.payments.user_id is 'Who pays.';
comment on column public.payments.purpose is 'What for.';
comment on column public.payments.order_id is 'The order it pays.';
comment on column public.payments.amount_cents is 'Charged amount, cents.';
comment on column public.payments.currency is 'ISO 4217.';
comment on column public.payments.provider is 'Who takes the money.';
comment on column public.payments.provider_ref is 'Stripe PaymentIntent or PayPal order.';
comment on column public.payments.charge_id is 'The charge that succeeded.';
comment on column public.payments.fee_estimate_cents is 'Provider fee by fee_schedules, fixed at checkout, cents.';
comment on column public.payments.provider_fee_cents is 'The provider''s real fee, cents; null until read.';
comment on column public.payments.refunded_cents is 'Refunds booked so far, cents.';
comment on column public.payments.status is 'State of the attempt.';
comment on column public.payments.failure_reason is 'Last decline or why it could not be applied, as a stable word.';
comment on column public.payments.declined_charges is
'Charges the provider declined: a success of one of these that arrives late is reversed at once.';
comment on column public.payments.expires_at is 'Until when it may be started; then it is cancelled at the provider.';
comment on column public.payments.started_at is 'First handed to the provider.';
comment on column public.payments.cancel_requested_at is 'The buyer or a newer order wants it cancelled.';
comment on column public.payments.checked_at is 'Last time the provider was asked about it.';
comment on column public.payments.succeeded_at is 'When the money was taken.';

create trigger touch_updated_at before update on public.payments
for each row execute function private.touch_updated_at();

alter table public.payments enable row level security;
revoke all on public.payments from anon, authenticated, service_role;
grant select on public.payments to authenticated, service_role;
create policy payments_select on public.payments for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

create type public.transaction_type as enum ('product_purchase', 'artwork_purchase');
comment on type public.transaction_type is 'What was sold.';

create type public.transaction_status as enum (
    'pending', 'completed', 'refunded', 'partially_refunded', 'failed', 'disputed'
);
comment on type public.transaction_status is 'State of a sale.';

create table public.transactions (
    id uuid not null default gen_random_uuid(),
    buyer_id uuid not null,
    seller_id uuid not null,
    transaction_type public.transaction_type not null,
    related_id uuid not null,
    order_item_id uuid not null,
    payment_id uuid not null,
    amount_total_cents bigint not null,
    amount_fees_cents bigint not null,
    amount_tax_cents bigint not null default 0,
    amount_commission_cents bigint not null,
    amount_seller_cents bigint not null,
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
    pending_cents bigint not null,
    release_at timestamptz not null,
    release_journal_id bigint,
    refunded_cents bigint not null default 0,
    refunded_tax_cents bigint not null default 0,
    refunded_commission_cents bigint not null default 0,
    refunded_seller_cents bigint not null default 0,
    completed_at timestamptz not null default now(),
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
        amount_total_cents = amount_fees_cents + amount_tax_cents + amount_commission_cents + amount_seller_cents
    ),
    constraint transactions_refunded_check check (
        refunded_cents between 0 and amount_total_cents
        and refunded_cents = refunded_tax_cents + refunded_commission_cents + refunded_seller_cents
    ),
    constraint transactions_pending_check check (pending_cents >= 0)
)
with (fillfactor = 80);

create index transactions_buyer_id_created_at_idx on public.transactions (buyer_id, created_at desc);
create index transactions_seller_id_created_at_idx on public.transactions (seller_id, created_at desc);
create index transactions_payment_id_idx on public.transactions (payment_id);
create index transactions_release_at_idx on public.transactions (release_at) where release_journal_id is null;

comment on table public.transactions is
'One row per seller and item of a settled payment (PA): who got what of it. Buyer, seller and admins read.';
comment on column public.transactions.buyer_id is 'Who paid.';
comment on column public.transactions.seller_id is 'Who earned.';
comment on column public.transactions.transaction_type is 'What was sold.';
comment on column public.transactions.related_id is 'The item sold (catalog_items.id).';
comment on column public.transactions.order_item_id is 'The order line.';
comment on column public.transactions.payment_id is 'The payment it is part of.';
comment on column public.transactions.amount_total_cents is 'What the buyer paid for this line, cents, tax included.';
comment on column public.transactions.amount_fees_cents is
'This line''s part of the provider''s fee, cents, borne by the seller; the estimate until the real one is known.';
comment on column public.transactions.amount_tax_cents is 'Tax in the total, cents.';
comment on column public.transactions.amount_commission_cents is
'Platform commission, cents; negative where the fee alone exceeds the price: the platform''s loss.';
comment on column public.transactions.amount_seller_cents is 'What the seller receives, cents.';
comment on column public.transactions.currency is 'ISO 4217.';
comment on column public.transactions.commission_bps is 'Commission rate at purchase, basis points.';
comment on column public.transactions.seller_tier is 'Seller''s plan at purchase.';
comment on column public.transactions.payment_processor is 'Provider that took the money.';
comment on column public.transactions.payment_method is 'card, paypal or wallet_balance (PA).';
comment on column public.transactions.stripe_payment_intent_id is 'Provider''s reference.';
comment on column public.transactions.stripe_charge_id is 'Provider''s reference.';
comment on column public.transactions.paypal_order_id is 'Provider''s reference.';
comment on column public.transactions.paypal_transaction_id is 'Provider''s reference.';
comment on column public.transactions.status is 'State of the sale.';
comment on column public.transactions.pending_cents is
'Part of the seller''s pending balance that stems from this sale, cents; 0 once released.';
comment on column public.transactions.release_at is 'When the held money becomes available.';
comment on column public.transactions.release_journal_id is 'Journal that released it; null while held.';
comment on column public.transactions.refunded_cents is 'Refunded so far, cents; the next three are its parts.';
comment on column public.transactions.refunded_tax_cents is 'Tax returned, cents.';
comment on column public.transactions.refunded_commission_cents is 'Commission returned by the platform, cents.';
comment on column public.transactions.refunded_seller_cents is 'Returned by the seller, cents; includes the kept fee.';
comment on column public.transactions.completed_at is 'When it settled.';
comment on column public.transactions.refunded_at is 'When the last refund was booked.';
comment on column public.transactions.metadata is 'Additional data.';

create trigger touch_updated_at before update on public.transactions
for each row execute function private.touch_updated_at();

-- Lifetime totals are counters of transactions like any other, kept by a trigger: no flow can forget them.
create function private.count_earnings() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    earned bigint := new.amount_seller_cents - new.refunded_seller_cents;
    spent bigint := new.amount_total_cents - new.refunded_cents;
begin
    if tg_op = 'UPDATE' then
        earned := earned - (old.amount_seller_cents - old.refunded_seller_cents);
        spent := spent - (old.amount_total_cents - old.refunded_cents);
    end if;
    if earned <> 0 then
        update public.wallets as w set
            total_earned_stripe_cents = w.total_earned_stripe_cents
            + case when new.payment_processor = 'stripe' then earned else 0 end,
            total_earned_paypal_cents = w.total_earned_paypal_cents
            + case when new.payment_processor = 'paypal' then earned else 0 end,
            total_earned_wallet_cents = w.total_earned_wallet_cents
            + case when new.payment_processor = 'wallet' then earned else 0 end
        where w.user_id = new.seller_id;
    end if;
    if spent <> 0 and new.payment_processor = 'wallet' then
        update public.wallets as w set total_spent_on_platform_cents = w.total_spent_on_platform_cents + spent
        where w.user_id = new.buyer_id;
    end if;
    return null;
end
$$;

comment on function private.count_earnings() is 'Trigger: wallets.total_earned_* and total_spent_on_platform_cents.';

create trigger count_earnings
after insert or update of amount_seller_cents, refunded_cents, refunded_seller_cents on public.transactions
for each row execute function private.count_earnings();

alter table public.transactions enable row level security;
revoke all on public.transactions from anon, authenticated, service_role;
grant select on public.transactions to authenticated, service_role;
create policy transactions_select on public.transactions for select to authenticated
using (
    buyer_id = (select private.member_id())
    or seller_id = (select private.member_id())
    or (select private.is_admin())
);

-- sql/60_money/45_checkout.sql ----------------------------------------------------------------------------------------
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
    left join public.catalog_items as c on c.id = l.item_id
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

-- sql/60_money/50_settlement.sql --------------------------------------------------------------------------------------
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
comment on column private.reservations.item_id is 'The held item.';
comment on column private.reservations.order_id is 'The order that holds it.';

alter table private.reservations enable row level security;

create function private.lock_wallets(user_ids uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    perform from public.wallets as w where w.user_id = any (user_ids) order by w.user_id for no key update;
end
$$;

comment on function private.lock_wallets(uuid[]) is 'Locks wallets in the one order every flow uses.';

-- Moves the seller's side of a sale by a signed amount and says which accounts it hits.
-- Down: this sale's pending first, then available, then debt (money.md, Flows). Other sales' pending money is left
-- alone so that each release is exactly what its sale still holds.
-- Up: back into this sale's pending while it is held, else debt is repaid first and the rest is available.
create function private.seller_legs(transaction_id uuid, change bigint) returns ledger.leg[]
language plpgsql
set search_path = ''
as $$
declare
    sale public.transactions;
    wallet public.wallets;
    pending bigint := 0;
    available bigint;
    debt bigint;
begin
    select * into strict sale from public.transactions as t where t.id = transaction_id for no key update;
    select * into strict wallet from public.wallets as w where w.user_id = sale.seller_id for no key update;
    if change < 0 then
        pending := -least(-change, sale.pending_cents);
        available := -least(pending - change, wallet.balance_available_cents);
        debt := change - pending - available;
    else
        if sale.release_journal_id is null then
            pending := least(change, greatest(sale.amount_seller_cents - sale.pending_cents, 0));
        end if;
        debt := least(change - pending, wallet.debt_cents);
        available := change - pending - debt;
    end if;
    if pending <> 0 then
        update public.transactions as t set pending_cents = t.pending_cents + pending where t.id = transaction_id;
    end if;
    return array(
        select ledger.leg(sale.seller_id, l.account, l.amount)
        from (values ('pending', pending), ('available', available), ('debt', debt)) as l (account, amount)
        where l.amount <> 0
    );
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
    if sale_order.status not in ('pending', 'cancelled') then
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
    -- The buyer may have bought it again while this attempt was on its way (money.md, sharp case 17).
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
    line record;
    hold interval;
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
        -- Money for something that is gone: it belongs to the buyer and goes back (sharp case 17).
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
            perform private.create_refund(paid.id, null, paid.amount_cents, 'item_not_available', null, null);
        end if;
        return 'refunding';
    end if;

    select s.earnings_hold into strict hold from private.settings as s;
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
            s.seller, now() + hold
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
'already_settled, or refunding when the goods are gone.';

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
        -- Once refunds were computed from the agreed split it stays (sharp case 11); the seller bears the change.
        commission_change := case
            when sale.refunded_cents > 0 then 0
            else (private.split_line(
                sale.amount_total_cents, sale.amount_tax_cents, sale.amount_fees_cents + fee_change,
                sale.commission_bps
            )).commission - sale.amount_commission_cents
        end;
        update public.transactions as t set
            amount_fees_cents = t.amount_fees_cents + fee_change,
            amount_commission_cents = t.amount_commission_cents + commission_change,
            amount_seller_cents = t.amount_seller_cents - fee_change - commission_change
        where t.id = sale.id;
        perform ledger.post(
            'fee_adjustment', journal_key || ':' || sale.id,
            private.moving_legs(array[
                ledger.leg(null, 'fees:' || paid.provider, fee_change),
                ledger.leg(null, 'revenue', commission_change)
            ]) || private.seller_legs(sale.id, -fee_change - commission_change),
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
    if fee_cents is null or fee_cents not between 0 and 99999999 then
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
stable
security definer
set search_path = ''
as $$
    select p.id, p.provider::text, p.provider_ref from public.payments as p
    where p.provider_fee_cents is null and p.succeeded_at is not null and p.provider <> 'wallet'
    order by p.succeeded_at
    limit max_rows
$$;

comment on function private.payments_missing_fee(integer) is 'Settled payments whose real fee was not read yet.';
grant execute on function private.payments_missing_fee(integer) to avenue_worker;

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
    -- A banned seller's money is held, not lost (sharp case 24): the rows wait for the ban's end.
    ready := array(
        select t.id from public.transactions as t
        where
            t.release_journal_id is null and t.release_at <= now()
            and not exists (select from public.bans as b where b.user_id = t.seller_id)
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

-- sql/60_money/60_refunds.sql -----------------------------------------------------------------------------------------
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

-- sql/60_money/70_payouts.sql -----------------------------------------------------------------------------------------
-- Paying sellers out. The intent is committed before the provider is called and carries the payout id as
-- idempotency key, so a crash at any point ends in exactly one transfer.

create type public.payout_status as enum (
    'requested', 'approved', 'processing', 'completed', 'failed', 'cancelled', 'returned'
);
comment on type public.payout_status is
'requested waits for an admin; approved for a worker; processing is at the provider; the rest is final.';

create table public.payouts (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    amount_cents bigint not null,
    currency character(3) not null default 'USD',
    payout_method public.payment_provider not null default 'stripe',
    destination text not null,
    provider_ref text,
    status public.payout_status not null default 'requested',
    requested_at timestamptz not null default now(),
    approved_at timestamptz,
    approved_by uuid,
    processing_at timestamptz,
    completed_at timestamptz,
    failed_at timestamptz,
    failure_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payouts_pkey primary key (id),
    constraint payouts_provider_ref_key unique (provider_ref, payout_method),
    constraint payouts_user_id_fkey foreign key (user_id) references public.wallets (user_id),
    constraint payouts_amount_check check (amount_cents between 1 and 99999999),
    constraint payouts_method_check check (payout_method <> 'wallet')
);

-- At most one open payout per wallet: thirty requests at once make one row.
create unique index payouts_one_open_idx on public.payouts (user_id)
where status in ('requested', 'approved', 'processing');
create index payouts_user_id_requested_at_idx on public.payouts (user_id, requested_at desc);
create index payouts_open_idx on public.payouts (status, updated_at)
where status in ('requested', 'approved', 'processing');

comment on table public.payouts is 'Withdrawals of sellers (PA). Owner and admins read; RPCs and workers write.';
comment on column public.payouts.user_id is 'Whose wallet.';
comment on column public.payouts.amount_cents is 'Cents; frozen in payouts_in_transit while open.';
comment on column public.payouts.currency is 'ISO 4217.';
comment on column public.payouts.payout_method is 'Provider that pays.';
comment on column public.payouts.destination is
'Stripe account as it was at the request: a later change cannot redirect it.';
comment on column public.payouts.provider_ref is 'Stripe transfer.';
comment on column public.payouts.status is 'State.';
comment on column public.payouts.requested_at is 'When the seller asked.';
comment on column public.payouts.approved_at is 'When it was approved, at once below the limit.';
comment on column public.payouts.approved_by is 'Admin who approved; null when automatic or by an operator.';
comment on column public.payouts.processing_at is 'When a worker first committed the intent to pay.';
comment on column public.payouts.completed_at is 'When the provider confirmed.';
comment on column public.payouts.failed_at is 'When it failed, was cancelled or came back.';
comment on column public.payouts.failure_reason is 'Why, as a stable word or the provider''s.';

create trigger touch_updated_at before update on public.payouts
for each row execute function private.touch_updated_at();

create function private.count_withdrawals() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    change bigint := new.amount_cents
    * ((new.status = 'completed')::integer - (old.status = 'completed')::integer);
begin
    update public.wallets as w set
        total_withdrawn_stripe_cents = w.total_withdrawn_stripe_cents
        + case when new.payout_method = 'stripe' then change else 0 end,
        total_withdrawn_paypal_cents = w.total_withdrawn_paypal_cents
        + case when new.payout_method = 'paypal' then change else 0 end
    where w.user_id = new.user_id and change <> 0;
    return null;
end
$$;

comment on function private.count_withdrawals() is 'Trigger: wallets.total_withdrawn_*.';

create trigger count_withdrawals after update of status on public.payouts
for each row execute function private.count_withdrawals();

alter table public.payouts enable row level security;
revoke all on public.payouts from anon, authenticated, service_role;
grant select on public.payouts to authenticated, service_role;
create policy payouts_select on public.payouts for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

create function public.request_payout(amount_cents bigint) returns public.payouts
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    limits private.settings;
    wallet public.wallets;
    payout public.payouts;
begin
    select * into strict limits from private.settings;
    -- Everything below is decided under this lock: simultaneous requests come one after the other.
    select * into wallet from public.wallets as w where w.user_id = member for no key update;
    if request_payout.amount_cents is null or request_payout.amount_cents < limits.minimum_payout_cents
        or request_payout.amount_cents > limits.maximum_amount_cents then
        perform private.fail('payout_amount_invalid', format(
            'between %s and %s cents', limits.minimum_payout_cents, limits.maximum_amount_cents
        ));
    end if;
    if wallet.stripe_account_id is null or wallet.stripe_account_status is distinct from 'enabled' then
        perform private.fail('payouts_not_enabled');
    end if;
    if wallet.payouts_held_until > now() then
        perform private.fail('payouts_held', 'until ' || to_char(
            wallet.payouts_held_until at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        ));
    end if;
    if exists (
        select from public.payouts as p
        where p.user_id = member and p.status in ('requested', 'approved', 'processing')
    ) then
        perform private.fail('payout_open');
    end if;
    if wallet.balance_available_cents - private.promised_back(member) < request_payout.amount_cents then
        perform private.fail('insufficient_funds');
    end if;

    insert into public.payouts (user_id, amount_cents, currency, destination)
    values (member, request_payout.amount_cents, wallet.currency, wallet.stripe_account_id)
    returning * into payout;
    perform ledger.post(
        'payout_requested', 'payout_requested:' || payout.id,
        array[
            ledger.leg(member, 'available', -payout.amount_cents),
            ledger.leg(null, 'payouts_in_transit', payout.amount_cents)
        ],
        payout.id, payout.currency
    );
    if payout.amount_cents <= limits.payout_approval_above_cents then
        payout := private.set_payout_approved(payout.id, null);
    end if;
    return payout;
end
$$;

comment on function public.request_payout(bigint) is
'Asks for a payout of available money, in cents. Approved at once up to the limit in settings. Errors: '
'payout_amount_invalid, payouts_not_enabled, payouts_held, payout_open, insufficient_funds.';
grant execute on function public.request_payout(bigint) to authenticated;

create function private.set_payout_approved(payout_id uuid, approved_by uuid) returns public.payouts
language plpgsql
set search_path = ''
as $$
declare
    payout public.payouts;
begin
    update public.payouts as p set
        status = 'approved', approved_at = now(), approved_by = set_payout_approved.approved_by
    where p.id = payout_id and p.status = 'requested'
    returning * into payout;
    if payout.id is null then
        perform private.fail('payout_not_open');
    end if;
    perform private.enqueue('send_payout', jsonb_build_object('payout_id', payout_id), null, 'payout:' || payout_id);
    return payout;
end
$$;

comment on function private.set_payout_approved(uuid, uuid) is 'requested → approved, and tells a worker.';

create function private.approve_payout(payout_id uuid, approved_by text) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts := private.set_payout_approved(payout_id, null);
begin
    perform private.audit('approve_payout', 'payouts', payout_id, '{}', approve_payout.approved_by);
    return payout.status;
end
$$;

comment on function private.approve_payout(uuid, text) is
'Operator''s approval, under the operator''s name. Error: payout_not_open.';
grant execute on function private.approve_payout(uuid, text) to avenue_worker;

create function public.approve_payout(payout_id uuid) returns public.payouts
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    payout public.payouts;
begin
    if exists (select from public.payouts as p where p.id = payout_id and p.user_id = admin) then
        perform private.fail('own_payout');
    end if;
    payout := private.set_payout_approved(payout_id, admin);
    perform private.audit('approve_payout', 'payouts', payout_id);
    return payout;
end
$$;

comment on function public.approve_payout(uuid) is
'Admin: approves a payout above the limit, not one''s own. Errors: admin_only, own_payout, payout_not_open.';
grant execute on function public.approve_payout(uuid) to authenticated;

-- Ends an open payout without a transfer: the money is the seller's again, after debts.
create function private.end_payout(payout_id uuid, status public.payout_status, reason text) returns public.payouts
language plpgsql
set search_path = ''
as $$
declare
    payout public.payouts;
    wallet public.wallets;
    debt bigint;
begin
    select * into strict payout from public.payouts as p where p.id = payout_id for no key update;
    select * into strict wallet from public.wallets as w where w.user_id = payout.user_id for no key update;
    debt := least(payout.amount_cents, wallet.debt_cents);
    perform ledger.post(
        case end_payout.status when 'returned' then 'payout_returned' else 'payout_failed' end::ledger.journal_kind,
        'payout_' || end_payout.status || ':' || payout.id,
        private.moving_legs(array[
            case
                when end_payout.status = 'returned'
                    then ledger.leg(null, 'clearing:' || payout.payout_method, -payout.amount_cents)
                else ledger.leg(null, 'payouts_in_transit', -payout.amount_cents)
            end,
            ledger.leg(payout.user_id, 'debt', debt),
            ledger.leg(payout.user_id, 'available', payout.amount_cents - debt)
        ]),
        payout.id, payout.currency
    );
    update public.payouts as p set status = end_payout.status, failed_at = now(), failure_reason = reason
    where p.id = payout_id
    returning * into payout;
    return payout;
end
$$;

comment on function private.end_payout(uuid, public.payout_status, text) is
'Gives a payout''s money back to the wallet, debts first: failed and cancelled from transit, returned from the '
'provider.';

create function public.cancel_payout(payout_id uuid) returns public.payouts
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    payout public.payouts;
begin
    select * into payout from public.payouts as p
    where p.id = payout_id and (p.user_id = member or private.is_admin())
    for no key update;
    if payout.id is null or payout.status not in ('requested', 'approved') then
        perform private.fail('payout_not_open');
    end if;
    if payout.user_id <> member then
        perform private.audit('cancel_payout', 'payouts', payout_id);
    end if;
    return private.end_payout(payout_id, 'cancelled', case when payout.user_id = member then 'by_seller' else 'by_admin' end);
end
$$;

comment on function public.cancel_payout(uuid) is
'Seller or admin: cancels a payout no worker has started. Error: payout_not_open.';
grant execute on function public.cancel_payout(uuid) to authenticated;

create function private.claim_payout(payout_id uuid) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts;
    wallet public.wallets;
begin
    select * into payout from public.payouts as p where p.id = claim_payout.payout_id for no key update;
    if payout.id is null or payout.status not in ('approved', 'processing') then
        return null;
    end if;
    if payout.status = 'approved' then
        select * into strict wallet from public.wallets as w where w.user_id = payout.user_id for no key update;
        -- Suspended sellers and changed destinations wait (sharp cases 23, 24); a balance that shrank into debt since
        -- the request stops the payout (14).
        if wallet.payouts_held_until > now()
            or exists (select from public.bans as b where b.user_id = payout.user_id) then
            return null;
        end if;
        if wallet.debt_cents > 0 then
            perform private.end_payout(payout.id, 'cancelled', 'balance_shrank');
            return null;
        end if;
        if wallet.stripe_account_id is distinct from payout.destination
            or wallet.stripe_account_status is distinct from 'enabled' then
            perform private.end_payout(payout.id, 'cancelled', 'destination_changed');
            return null;
        end if;
        update public.payouts as p set status = 'processing', processing_at = now() where p.id = payout.id;
    end if;
    return jsonb_build_object(
        'payout_id', payout.id, 'provider', payout.payout_method, 'amount_cents', payout.amount_cents,
        'currency', payout.currency, 'destination', payout.destination,
        'metadata', jsonb_build_object('payout_id', payout.id)
    );
end
$$;

comment on function private.claim_payout(uuid) is
'Commits the intent to pay and says what to send; again for one already processing. Null: nothing to send now.';
grant execute on function private.claim_payout(uuid) to avenue_worker;

create function private.complete_payout(payout_id uuid, provider_ref text, amount_cents bigint) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts;
begin
    select * into payout from public.payouts as p where p.id = complete_payout.payout_id for no key update;
    if payout.id is null then
        perform private.fail('event_rejected', 'transfer for an unknown payout');
    end if;
    if payout.amount_cents is distinct from complete_payout.amount_cents then
        perform private.fail('event_rejected', format(
            'payout %s is %s cents, the transfer %s', payout.id, payout.amount_cents, complete_payout.amount_cents
        ));
    end if;
    if payout.provider_ref <> complete_payout.provider_ref then
        perform private.fail('event_rejected', format(
            'payout %s was paid by %s, now reported by %s', payout.id, payout.provider_ref, complete_payout.provider_ref
        ));
    end if;
    if payout.status in ('completed', 'returned') then
        return;
    end if;
    -- Paid after failed or cancelled revives nothing (sharp case 15): money left that should not have. People look.
    if payout.status <> 'processing' then
        perform private.fail('event_rejected', format('payout %s is %s but was paid', payout.id, payout.status));
    end if;
    perform ledger.post(
        'payout_completed', 'payout_completed:' || payout.id,
        array[
            ledger.leg(null, 'payouts_in_transit', -payout.amount_cents),
            ledger.leg(null, 'clearing:' || payout.payout_method, payout.amount_cents)
        ],
        payout.id, payout.currency
    );
    update public.payouts as p set
        status = 'completed', completed_at = now(), provider_ref = complete_payout.provider_ref
    where p.id = payout.id;
end
$$;

comment on function private.complete_payout(uuid, text, bigint) is
'The provider confirmed the transfer; repeated reports change nothing. Error: event_rejected on any contradiction.';
grant execute on function private.complete_payout(uuid, text, bigint) to avenue_worker;

create function private.fail_payout(payout_id uuid, reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts;
begin
    select * into strict payout from public.payouts as p where p.id = fail_payout.payout_id for no key update;
    if payout.status = 'processing' then
        perform private.end_payout(payout.id, 'failed', reason);
    elsif payout.status = 'completed' then
        -- Failed after completed is a return (sharp case 15).
        perform private.end_payout(payout.id, 'returned', reason);
    end if;
end
$$;

comment on function private.fail_payout(uuid, text) is
'The provider refused for good (money back to available), or took a completed transfer back (returned).';
grant execute on function private.fail_payout(uuid, text) to avenue_worker;

create function private.payouts_to_resume(stuck_seconds integer, max_rows integer) returns table (payout_id uuid)
language sql
stable
security definer
set search_path = ''
as $$
    select p.id from public.payouts as p
    where
        p.status in ('approved', 'processing')
        and p.updated_at <= now() - make_interval(secs => stuck_seconds)
    order by p.updated_at
    limit max_rows
$$;

comment on function private.payouts_to_resume(integer, integer) is
'Payouts approved or processing for longer than stuck_seconds: their job was lost, or they were on hold.';
grant execute on function private.payouts_to_resume(integer, integer) to avenue_worker;

create function private.list_payouts(status text default null, max_rows integer default 50)
returns table (
    id uuid, username text, amount_cents bigint, currency text, method text, status text,
    requested_at timestamptz, provider_ref text, failure_reason text
)
language sql
stable
security definer
set search_path = ''
as $$
    select
        p.id, f.username::text, p.amount_cents, p.currency::text, p.payout_method::text, p.status::text,
        p.requested_at, p.provider_ref, p.failure_reason
    from public.payouts as p
    inner join public.profiles as f on f.id = p.user_id
    where list_payouts.status is null or p.status::text = list_payouts.status
    order by p.requested_at desc
    limit max_rows
$$;

comment on function private.list_payouts(text, integer) is 'Payouts for operators, newest first.';
grant execute on function private.list_payouts(text, integer) to avenue_worker;

-- Where payouts go.

create function private.prepare_onboarding(user_id uuid, change boolean, signed_in_at timestamptz) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    wallet public.wallets;
    fresh interval := (select s.fresh_login_period from private.settings as s);
begin
    perform private.require_active(prepare_onboarding.user_id);
    select * into strict wallet from public.wallets as w where w.user_id = prepare_onboarding.user_id;
    if change and wallet.stripe_account_id is not null
        and (signed_in_at is null or signed_in_at < now() - fresh) then
        perform private.fail('fresh_login_required', 'sign in again within ' || fresh);
    end if;
    return jsonb_build_object(
        'account_id', case when not change then wallet.stripe_account_id end,
        -- One account per destination: a retry finds the same one, a change asks for another.
        'idempotency_key', 'account:' || wallet.user_id || ':' || coalesce(wallet.stripe_account_id, 'first'),
        'email', (select u.email from auth.users as u where u.id = wallet.user_id)
    );
end
$$;

comment on function private.prepare_onboarding(uuid, boolean, timestamptz) is
'What the worker needs to create or reopen the seller''s payout account. Changing one needs a fresh login (sharp case '
'23). Errors: banned, fresh_login_required.';
grant execute on function private.prepare_onboarding(uuid, boolean, timestamptz) to avenue_worker;

create function private.set_payout_destination(user_id uuid, account_id text) returns void
language sql
security definer
set search_path = ''
as $$
    update public.wallets as w set
        stripe_account_id = account_id,
        stripe_account_status = 'pending',
        payouts_held_until = case
            when w.stripe_account_id is not null then now() + (select s.destination_hold from private.settings as s)
        end
    where w.user_id = set_payout_destination.user_id and w.stripe_account_id is distinct from account_id
$$;

comment on function private.set_payout_destination(uuid, text) is
'Sets the Stripe account; replacing another one holds payouts for a while (sharp case 23).';
grant execute on function private.set_payout_destination(uuid, text) to avenue_worker;

create function private.record_account_status(account_id text, status text) returns void
language sql
security definer
set search_path = ''
as $$
    update public.wallets as w set stripe_account_status = status::public.payout_account_status
    where w.stripe_account_id = account_id
$$;

comment on function private.record_account_status(text, text) is 'State of a payout account as just read from Stripe.';
grant execute on function private.record_account_status(text, text) to avenue_worker;

insert into private.error_codes (code, sqlstate, message, description) values
('payout_amount_invalid', 'PT400', 'This amount cannot be paid out.', 'The detail states the limits, in cents.'),
('payouts_not_enabled', 'PT409', 'There is no verified payout destination.',
'Finish onboarding: POST /functions/v1/payouts/onboard, then try again.'),
('payouts_held', 'PT409', 'Payouts are on hold because the destination was changed.', 'The detail says until when.'),
('payout_open', 'PT409', 'A payout is already under way.', 'One at a time: wait for it or cancel it.'),
('payout_not_open', 'PT409', 'This payout can no longer be changed.',
'It does not exist for the caller, or a worker has started or finished it.'),
('own_payout', 'PT403', 'Admins do not approve their own payouts.', 'Ask another admin.'),
('fresh_login_required', 'PT403', 'Please sign in again.',
'Changing the payout destination needs a recent sign-in; the detail says how recent.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/60_money/80_webhook_events.sql ----------------------------------------------------------------------------------
-- The inbox: what providers told us, stored before it is believed, applied exactly once.

create type private.webhook_status as enum ('pending', 'processed', 'ignored', 'dead');
comment on type private.webhook_status is
'pending includes waiting for a retry; ignored is stored but not for us; dead needs a person.';

create table private.webhook_events (
    id bigint generated always as identity,
    provider text not null,
    event_id text not null,
    type text not null,
    payload jsonb not null,
    occurred_at timestamptz,
    received_at timestamptz not null default now(),
    status private.webhook_status not null default 'pending',
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default now(),
    processed_at timestamptz,
    last_error text,
    constraint webhook_events_pkey primary key (id),
    constraint webhook_events_event_id_key unique (event_id, provider)
)
with (fillfactor = 80);

create index webhook_events_due_idx on private.webhook_events (next_attempt_at) where status = 'pending';
create index webhook_events_dead_idx on private.webhook_events (id) where status = 'dead';

comment on table private.webhook_events is
'Verified provider events. The unique event id makes repeats harmless; the row is marked done only in the transaction '
'that did its work.';
comment on column private.webhook_events.provider is 'stripe or paypal.';
comment on column private.webhook_events.event_id is
'The provider''s id; reconcile:<object>:<status> when a job read the provider instead.';
comment on column private.webhook_events.type is 'The provider''s event type.';
comment on column private.webhook_events.payload is 'The whole event as received.';
comment on column private.webhook_events.occurred_at is 'The provider''s clock.';
comment on column private.webhook_events.received_at is 'Our clock.';
comment on column private.webhook_events.status is 'State.';
comment on column private.webhook_events.attempts is 'Failed tries so far.';
comment on column private.webhook_events.next_attempt_at is 'Not tried before this time.';
comment on column private.webhook_events.processed_at is 'When its work was done.';
comment on column private.webhook_events.last_error is 'Why it was not applied.';

alter table private.webhook_events enable row level security;

create function private.store_webhook_events(provider text, events jsonb) returns integer
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    new_ids bigint[];
begin
    with stored as (
        insert into private.webhook_events (provider, event_id, type, payload, occurred_at)
        select
            store_webhook_events.provider, e.event ->> 'id', e.event ->> 'type', e.event -> 'payload',
            to_timestamp((e.event ->> 'created')::double precision)
        from jsonb_array_elements(events) as e (event)
        order by e.event ->> 'id'
        on conflict (event_id, provider) do nothing
        returning id
    )

    select array_agg(s.id order by s.id) into new_ids from stored as s;
    if new_ids is null then
        return 0;
    end if;
    -- One job for the batch: queueing notifies, and a notifying commit does not share its flush with others.
    perform private.enqueue('process_events', jsonb_build_object('ids', to_jsonb(new_ids)));
    return cardinality(new_ids);
end
$$;

comment on function private.store_webhook_events(text, jsonb) is
'Stores verified events [{id, type, created (epoch), payload}] and one job for the new ones, in one transaction; '
'returns how many were new.';
grant execute on function private.store_webhook_events(text, jsonb) to avenue_worker;

-- Finds the payment an object of the provider is about: by our id in its metadata, else by the provider's.
create function private.payment_of(object jsonb) returns public.payments
language plpgsql
set search_path = ''
as $$
declare
    named text := object #>> '{metadata,payment_id}';
    intent text := case when object ->> 'object' = 'payment_intent' then object ->> 'id' else object ->> 'payment_intent' end;
    found public.payments;
begin
    if named ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        select * into found from public.payments as p where p.id = named::uuid for no key update;
    else
        select * into found from public.payments as p
        where p.provider_ref = intent and p.provider = 'stripe'
        for no key update;
    end if;
    if found.id is null then
        perform private.fail('event_too_early', 'no such payment: ' || coalesce(named, intent, 'unnamed'));
    end if;
    if found.provider_ref <> intent or (found.provider_ref is null and exists (
        select from public.payments as p where p.provider_ref = intent and p.provider = 'stripe'
    )) then
        perform private.fail('event_rejected', format(
            'payment %s is %s, the event is about %s', found.id, found.provider_ref, intent
        ));
    end if;
    return found;
end
$$;

comment on function private.payment_of(jsonb) is
'The payment of a Stripe object, locked. Errors: event_too_early when unknown, event_rejected when two candidates.';

create function private.apply_payment_intent(event_type text, object jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments := private.payment_of(object);
    charge text := case
        when jsonb_typeof(object -> 'latest_charge') = 'object' then object #>> '{latest_charge,id}'
        else object ->> 'latest_charge'
    end;
begin
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
            perform private.settle_payment(paid.id, charge);
        when 'payment_intent.payment_failed' then
            update public.payments as p set
                declined_charges = case
                    when charge is null or charge = any (p.declined_charges) then p.declined_charges
                    else p.declined_charges || charge
                end,
                status = case when p.succeeded_at is null and p.status <> 'cancelled' then 'failed' else p.status end,
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
            end if;
        when 'payment_intent.processing' then
            update public.payments as p set status = 'processing'
            where p.id = paid.id and p.status = 'requires_payment';
        when 'payment_intent.canceled' then
            perform private.payment_cancelled(paid.id);
        else
            return 'ignored';
    end case;
    return 'processed';
end
$$;

comment on function private.apply_payment_intent(text, jsonb) is
'payment_intent.*: settle, decline, cancel. A success is final whatever else arrives; the amount must be exact.';

create function private.apply_refund(object jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
    known uuid;
    ours text := object #>> '{metadata,refund_id}';
begin
    paid := private.payment_of(object);
    if ours ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        select r.id into known from public.refunds as r where r.id = ours::uuid and r.payment_id = paid.id;
        if known is null then
            perform private.fail('event_rejected', 'refund ' || ours || ' is not one of payment ' || paid.id);
        end if;
    else
        -- Made in the provider's dashboard (sharp case 8): the event is all we know of it.
        if paid.succeeded_at is null then
            perform private.fail('event_too_early', 'refund of a payment that has not settled: ' || paid.id);
        end if;
        insert into public.refunds (payment_id, amount_cents, currency, reason, provider, provider_ref, status)
        values (
            paid.id, (object ->> 'amount')::bigint, paid.currency,
            coalesce(object ->> 'reason', 'made_at_provider'), paid.provider, object ->> 'id', 'pending'
        )
        on conflict (provider_ref, provider) do nothing;
        select r.id into known from public.refunds as r
        where r.provider_ref = object ->> 'id' and r.provider = paid.provider and r.payment_id = paid.id;
        if known is null then
            perform private.fail('event_rejected', 'refund ' || (object ->> 'id') || ' is one of another payment');
        end if;
    end if;
    if (object ->> 'amount')::bigint is distinct from (select r.amount_cents from public.refunds as r where r.id = known) then
        perform private.fail('event_rejected', format('refund %s was reported with %s cents', known, object ->> 'amount'));
    end if;
    perform private.record_refund(known, object ->> 'id', object ->> 'status', object ->> 'failure_reason');
    return 'processed';
end
$$;

comment on function private.apply_refund(jsonb) is 'refund.*: ours by metadata, else one made at the provider.';

create function private.apply_charge_refunded(object jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments := private.payment_of(object);
begin
    -- The charge tells a total only. When it is more than we know of, the refunds themselves are read.
    if (object ->> 'amount_refunded')::bigint > coalesce((
        select sum(r.amount_cents) from public.refunds as r where r.payment_id = paid.id and r.status = 'succeeded'
    ), 0) then
        perform private.enqueue('sync_refunds', jsonb_build_object('payment_id', paid.id));
    end if;
    return 'processed';
end
$$;

comment on function private.apply_charge_refunded(jsonb) is 'charge.refunded: reads the refunds when some are unknown.';

create function private.apply_transfer(event_type text, object jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    ours text := object #>> '{metadata,payout_id}';
begin
    if ours is null or ours !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        return 'ignored';
    end if;
    -- In any order and however often: the transfer exists, so it was made; a reversal is a return of it.
    perform private.complete_payout(ours::uuid, object ->> 'id', (object ->> 'amount')::bigint);
    if event_type = 'transfer.reversed' then
        if (object ->> 'amount_reversed')::bigint is distinct from (object ->> 'amount')::bigint then
            perform private.fail('event_rejected', 'transfer ' || (object ->> 'id') || ' was reversed in part');
        end if;
        perform private.fail_payout(ours::uuid, 'transfer_reversed');
    end if;
    return 'processed';
end
$$;

comment on function private.apply_transfer(text, jsonb) is
'transfer.*: confirms a payout; a full reversal returns it to the wallet.';

create function private.apply_stripe_event(event private.webhook_events) returns text
language plpgsql
set search_path = ''
as $$
declare
    object jsonb := event.payload #> '{data,object}';
begin
    if jsonb_typeof(object) is distinct from 'object' then
        perform private.fail('event_rejected', 'the event has no object');
    end if;
    if event.type like 'payment\_intent.%' then
        return private.apply_payment_intent(event.type, object);
    elsif event.type in ('refund.created', 'refund.updated', 'refund.failed', 'charge.refund.updated') then
        return private.apply_refund(object);
    elsif event.type = 'charge.refunded' then
        return private.apply_charge_refunded(object);
    elsif event.type in ('transfer.created', 'transfer.updated', 'transfer.reversed') then
        return private.apply_transfer(event.type, object);
    elsif event.type = 'account.updated' then
        -- Events of one second have no order: the account itself is read instead of believing any of them.
        if exists (select from public.wallets as w where w.stripe_account_id = object ->> 'id') then
            perform private.enqueue('sync_account', jsonb_build_object('account_id', object ->> 'id'));
            return 'processed';
        end if;
        return 'ignored';
    elsif event.type like 'charge.dispute.%' then
        perform private.fail('event_rejected', 'disputes are not booked automatically yet: see the runbook');
    end if;
    return 'ignored';
end
$$;

comment on function private.apply_stripe_event(private.webhook_events) is
'What each type of Stripe event means. Unknown types are stored and ignored.';

create function private.process_webhook_event(event_id bigint) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    event private.webhook_events;
    outcome private.webhook_status;
    problem text;
    detail text;
    code text;
    tries integer;
begin
    select * into event from private.webhook_events as e where e.id = process_webhook_event.event_id for no key update;
    if event.id is null then
        return 'unknown';
    end if;
    if event.status <> 'pending' then
        return event.status;
    end if;
    begin
        if event.provider <> 'stripe' then
            perform private.fail('event_rejected', 'unknown provider');
        end if;
        outcome := private.apply_stripe_event(event)::private.webhook_status;
        update private.webhook_events as e set status = outcome, processed_at = now(), last_error = null
        where e.id = event.id;
        return outcome;
    exception when others then
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
$$;

comment on function private.process_webhook_event(bigint) is
'Applies one event: processed, ignored, retry (scheduled with backoff), dead, or its status when already done. Never '
'raises for what the event says.';
grant execute on function private.process_webhook_event(bigint) to avenue_worker;

create function private.enqueue_due_webhook_events() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    due bigint[];
begin
    -- The minute of grace leaves fresh events to the job that was queued with them.
    due := array(
        select e.id from private.webhook_events as e
        where e.status = 'pending' and e.next_attempt_at < now() - interval '1 minute'
        order by e.next_attempt_at
        limit 500
    );
    if cardinality(due) > 0 then
        perform private.enqueue('process_events', jsonb_build_object('ids', to_jsonb(due)));
    end if;
    return cardinality(due);
end
$$;

comment on function private.enqueue_due_webhook_events() is 'Safety net: queues pending events whose job was lost.';
grant execute on function private.enqueue_due_webhook_events() to avenue_worker;

create function private.replay_webhook_event(event_id bigint) returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
    update private.webhook_events as e set status = 'pending', attempts = 0, next_attempt_at = now()
    where e.id = replay_webhook_event.event_id and e.status in ('dead', 'ignored', 'pending');
    return private.process_webhook_event(event_id);
end
$$;

comment on function private.replay_webhook_event(bigint) is
'Tries a dead, ignored or waiting event again now. One that is processed stays as it is.';
grant execute on function private.replay_webhook_event(bigint) to avenue_worker;

create function private.list_webhook_events(status text default null, max_rows integer default 50)
returns table (
    id bigint, provider text, event_id text, type text, status text, attempts integer, received_at timestamptz,
    last_error text
)
language sql
stable
security definer
set search_path = ''
as $$
    select e.id, e.provider, e.event_id, e.type, e.status::text, e.attempts, e.received_at, e.last_error
    from private.webhook_events as e
    where list_webhook_events.status is null or e.status::text = list_webhook_events.status
    order by e.id desc
    limit least(max_rows, 1000)
$$;

comment on function private.list_webhook_events(text, integer) is 'Inbox for operators, newest first.';
grant execute on function private.list_webhook_events(text, integer) to avenue_worker;

create function private.webhook_event_payload(event_id bigint) returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
    select e.payload from private.webhook_events as e where e.id = webhook_event_payload.event_id
$$;

comment on function private.webhook_event_payload(bigint) is 'An event as received, for operators.';
grant execute on function private.webhook_event_payload(bigint) to avenue_worker;

create function public.list_webhook_events(with_status text default 'dead', max_rows integer default 50)
returns table (
    id bigint, provider text, event_id text, type text, status text, attempts integer, received_at timestamptz,
    last_error text
)
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    return query select * from private.list_webhook_events(with_status, list_webhook_events.max_rows);
end
$$;

comment on function public.list_webhook_events(text, integer) is
'Admin: provider events by status (pending, processed, ignored, dead), newest first, without payloads.';
grant execute on function public.list_webhook_events(text, integer) to authenticated;

create function public.replay_webhook_event(event_id bigint) returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    perform private.audit('replay_webhook_event', 'webhook_events', null, jsonb_build_object('event_id', event_id));
    return private.replay_webhook_event(event_id);
end
$$;

comment on function public.replay_webhook_event(bigint) is 'Admin: tries a dead-lettered event again.';
grant execute on function public.replay_webhook_event(bigint) to authenticated;

-- sql/60_money/90_audit.sql -------------------------------------------------------------------------------------------
-- Proof that the books are right: every invariant of money.md as a query that finds nothing.

create function ledger.audit() returns table (invariant text, subject text, detail text)
language sql
stable
security definer
set search_path = ''
as $$
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
    select '2 pending equals the held sales', 'wallet ' || w.user_id, format('%s, sales hold %s', w.balance_pending_cents, t.held)
    from public.wallets as w
    cross join lateral (
        select coalesce(sum(t.pending_cents), 0) as held from public.transactions as t where t.seller_id = w.user_id
    ) as t
    where w.balance_pending_cents <> t.held
    union all
    select
        '3 a settled payment has one sale per line', 'payment ' || p.id,
        format('%s lines, %s sales of %s cents, paid %s', l.lines, t.sales, t.gross, p.amount_cents)
    from public.payments as p
    cross join lateral (
        select count(*) as lines from public.order_items as i
        where i.order_id = p.order_id and i.total_cents + i.tax_cents > 0
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
                t.amount_fees_cents, t.amount_commission_cents - t.refunded_commission_cents,
                t.amount_tax_cents - t.refunded_tax_cents,
                t.amount_seller_cents - t.refunded_seller_cents
            ] as parts
        from public.transactions as t
    ) as t
    cross join lateral (
        select array[
            coalesce(sum(e.amount_cents) filter (where a.code like 'fees:%'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'revenue'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'tax_payable'), 0),
            coalesce(sum(e.amount_cents) filter (where a.owner_id = s.seller_id), 0)
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
        where p.status in ('requested', 'approved', 'processing')
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
    where not case j.kind
        when 'sale' then exists (select from public.transactions as t where t.id = j.source_id)
        when 'fee_adjustment' then
            exists (select from public.transactions as t where t.id = j.source_id)
            or exists (select from public.payments as p where p.id = j.source_id)
        when 'unapplied' then exists (select from public.payments as p where p.id = j.source_id)
        when 'refund' then exists (select from public.refunds as r where r.id = j.source_id and r.booked_at is not null)
        when 'refund_reversal'
            then exists (select from public.refunds as r where r.id = j.source_id and r.reversed_at is not null)
        when 'release' then exists (select from public.transactions as t where t.release_journal_id = j.id)
        when 'adjustment' then j.memo is not null
        else exists (select from public.payouts as p where p.id = j.source_id)
    end
    union all
    select '5 payouts are booked as they stand', 'payout ' || p.id, p.status::text
    from public.payouts as p
    where array(
        select j.kind::text from ledger.journal as j where j.source_id = p.id order by j.id
    ) <> case p.status
        when 'completed' then array['payout_requested', 'payout_completed']
        when 'returned' then array['payout_requested', 'payout_completed', 'payout_returned']
        when 'failed' then array['payout_requested', 'payout_failed']
        when 'cancelled' then array['payout_requested', 'payout_failed']
        else array['payout_requested']
    end
    union all
    select '5 a one-of-a-kind item has one owner', 'item ' || p.item_id, count(*)::text
    from public.purchases as p
    inner join public.catalog_items as c on c.id = p.item_id
    where c.is_unique and p.revoked_at is null
    group by p.item_id
    having count(*) > 1
$$;

comment on function ledger.audit() is
'Every violated invariant of the books (docs: money, Invariants 1 to 5); no rows means they are right. Invariant 6, '
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
    from unnest(array['requested', 'approved', 'processing']::public.payout_status[]) as s (status)
    left join public.payouts as p on p.status = s.status
    group by s.status
    union all
    select 'avenue_refunds_open', '{}', count(*) from public.refunds as r where r.status in ('requested', 'pending')
    union all
    select 'avenue_payments_open', '{}', count(*) from public.payments as p
    where p.status in ('requires_payment', 'processing', 'failed')
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
    journal bigint;
begin
    if admin = adjust_wallet.user_id then
        perform private.fail('own_wallet');
    end if;
    if char_length(trim(coalesce(reason, ''))) not between 1 and 500 then
        perform private.fail('reason_required');
    end if;
    if amount_cents is null or amount_cents = 0 or abs(amount_cents) > 99999999
        or coalesce(idempotency_key, '') = '' then
        perform private.fail('adjustment_invalid');
    end if;
    select * into wallet from public.wallets as w where w.user_id = adjust_wallet.user_id for no key update;
    select j.id into journal from ledger.journal as j
    where j.idempotency_key = 'adjustment:' || adjust_wallet.idempotency_key;
    if journal is not null then
        return journal;
    end if;
    if wallet.user_id is null then
        perform private.fail('wallet_not_found');
    end if;
    if wallet.balance_available_cents + amount_cents < 0 then
        perform private.fail('insufficient_funds');
    end if;
    journal := ledger.post(
        'adjustment', 'adjustment:' || idempotency_key,
        array[
            ledger.leg(adjust_wallet.user_id, 'available', amount_cents),
            ledger.leg(null, 'promotions', -amount_cents)
        ],
        null, wallet.currency, format('%s (by %s)', trim(reason), admin)
    );
    perform private.audit(
        'adjust_wallet', 'wallets', adjust_wallet.user_id,
        jsonb_build_object('amount_cents', amount_cents, 'reason', reason, 'journal_id', journal)
    );
    return journal;
end
$$;

comment on function public.adjust_wallet(uuid, bigint, text, text) is
'Admin: goodwill or correction of another''s available balance, signed cents, with a reason the owner can read. The '
'same key posts once. Errors: admin_only, own_wallet, reason_required, adjustment_invalid, wallet_not_found, '
'insufficient_funds.';
grant execute on function public.adjust_wallet(uuid, bigint, text, text) to authenticated;

insert into private.error_codes (code, sqlstate, message, description) values
('own_wallet', 'PT403', 'Admins do not adjust their own wallet.', 'Ask another admin.'),
('adjustment_invalid', 'PT400', 'The adjustment is not valid.',
'A non-zero amount of at most 999,999.99 and an idempotency key are required.'),
('wallet_not_found', 'PT404', 'There is no such wallet.', 'The user does not exist.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
