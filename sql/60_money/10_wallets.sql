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
    total_earned_cents bigint not null generated always as (
        total_earned_stripe_cents + total_earned_paypal_cents + total_earned_wallet_cents
    ) stored,
    total_withdrawn_stripe_cents bigint not null default 0,
    total_withdrawn_paypal_cents bigint not null default 0,
    total_withdrawn_cents bigint not null generated always as (
        total_withdrawn_stripe_cents + total_withdrawn_paypal_cents
    ) stored,
    total_spent_on_platform_cents bigint not null default 0,
    stripe_account_id text,
    stripe_account_status public.payout_account_status,
    paypal_email text,
    paypal_verified boolean not null default false,
    payouts_enabled boolean not null generated always as (
        coalesce(stripe_account_status = 'enabled', false) or (paypal_email is not null and paypal_verified)
    ) stored,
    payouts_held_until timestamptz,
    stripe_account_checked_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint wallets_pkey primary key (user_id),
    constraint wallets_stripe_account_id_key unique (stripe_account_id),
    constraint wallets_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint wallets_balance_available_check check (balance_available_cents >= 0),
    constraint wallets_balance_pending_check check (balance_pending_cents >= 0),
    constraint wallets_debt_check check (debt_cents >= 0),
    constraint wallets_money_or_debt_check check (balance_available_cents = 0 or debt_cents = 0),
    constraint wallets_platform_check check (not private.is_platform(user_id))
)
-- Updated by every sale: half-full pages keep the update on the page (HOT), without touching an index.
with (fillfactor = 50);

comment on table public.wallets is
'Balances, lifetime totals and payout settings of a member. Owner and admins read; only the server writes.';
comment on column public.wallets.balance_available_cents is
'Can be withdrawn or spent, cents. Money in an open payout is not part of it.';
comment on column public.wallets.balance_pending_cents is 'Earned but still held, cents.';
comment on column public.wallets.debt_cents is
'Owed to the platform, cents: refunds and corrections beyond the balance. Whatever becomes available repays it first, '
'so nobody has both (credit_legs()).';
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
comment on column public.wallets.stripe_account_status is
'State of that account as last read from Stripe. Swept by accounts_to_check().';
comment on column public.wallets.paypal_email is 'PayPal address that receives payouts.';
comment on column public.wallets.paypal_verified is 'Whether that address was verified.';
comment on column public.wallets.payouts_enabled is 'True when some payout destination is verified.';
comment on column public.wallets.payouts_held_until is
'No payout before this time: the destination was changed recently (docs/money.md, sharp case 23).';

comment on column public.wallets.stripe_account_checked_at is 'Last time a sweep read the payout account.';

create index wallets_account_check_idx on public.wallets (stripe_account_checked_at)
where stripe_account_id is not null;

create trigger touch_updated_at before update on public.wallets
for each row execute function private.touch_updated_at();

alter table public.wallets enable row level security;
grant select on public.wallets to authenticated, service_role;
create policy wallets_select on public.wallets for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

insert into private.erasure_steps (step, phase, erases, statement) values
('paypal_email', 'records', '{public.wallets.paypal_email}', $step$
    update public.wallets set paypal_email = null, paypal_verified = false
    where user_id = $1 and paypal_email is not null
$step$);

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('wallet', 'public.wallets', null, '/wallet', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('wallet', 'public.wallets', 't.user_id = $1', '{user_id, stripe_account_id}', 'the books: who paid whom for what');
