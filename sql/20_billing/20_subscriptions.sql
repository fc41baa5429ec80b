-- Which plan a user has in each family. Clients only read: the provider's events and admins write.

create type public.billing_interval as enum ('monthly', 'annual');
comment on type public.billing_interval is 'How often a subscription is paid.';

create type public.billing_provider as enum ('stripe', 'paypal');
comment on type public.billing_provider is 'Who collects a subscription.';

create type public.subscription_status as enum (
    'active', 'cancelled', 'past_due', 'unpaid', 'incomplete', 'trialing', 'expired'
);
comment on type public.subscription_status is
'active, trialing and past_due (the provider still retries) grant the plan; the others do not.';

create table public.subscriptions (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    family public.plan_family not null,
    plan_key text not null,
    interval public.billing_interval,
    status public.subscription_status not null default 'active',
    provider public.billing_provider,
    stripe_subscription_id text,
    stripe_customer_id text,
    stripe_price_id text,
    paypal_subscription_id text,
    paypal_plan_id text,
    current_period_start timestamptz,
    current_period_end timestamptz,
    cancel_at_period_end boolean not null default false,
    cancel_at timestamptz,
    cancelled_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint subscriptions_pkey primary key (id),
    constraint subscriptions_user_id_family_key unique (user_id, family),
    constraint subscriptions_stripe_subscription_id_key unique (stripe_subscription_id),
    constraint subscriptions_paypal_subscription_id_key unique (paypal_subscription_id),
    constraint subscriptions_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint subscriptions_plan_key_fkey foreign key (plan_key, family) references public.plans (key, family),
    constraint subscriptions_period_check check (current_period_end > current_period_start),
    constraint subscriptions_provider_check check (
        case provider
            when 'stripe' then stripe_subscription_id is not null and paypal_subscription_id is null
            when 'paypal' then paypal_subscription_id is not null and stripe_subscription_id is null
            else stripe_subscription_id is null and paypal_subscription_id is null
        end
    )
);

create index subscriptions_plan_key_family_idx on public.subscriptions (plan_key, family);
create index subscriptions_stripe_customer_id_idx on public.subscriptions (stripe_customer_id);

comment on table public.subscriptions is
'One row per user and family; no row is the family''s free plan. Owner and admins read; provider events and admin RPCs '
'write.';
comment on column public.subscriptions.family is 'Family of the plan.';
comment on column public.subscriptions.plan_key is 'The plan. Upgrades and downgrades change this row.';
comment on column public.subscriptions.interval is 'How often it is paid; null when it is not.';
comment on column public.subscriptions.status is 'State, as the provider says.';
comment on column public.subscriptions.provider is 'Who collects; null for free plans and plans given by an admin.';
comment on column public.subscriptions.stripe_subscription_id is 'Stripe''s subscription.';
comment on column public.subscriptions.stripe_customer_id is 'Stripe''s customer.';
comment on column public.subscriptions.stripe_price_id is 'Stripe''s price that is billed.';
comment on column public.subscriptions.paypal_subscription_id is 'PayPal''s subscription.';
comment on column public.subscriptions.paypal_plan_id is 'PayPal''s plan that is billed.';
comment on column public.subscriptions.current_period_start is 'Start of the paid period.';
comment on column public.subscriptions.current_period_end is 'End of the paid period; null has no end.';
comment on column public.subscriptions.cancel_at_period_end is 'Whether it ends with the paid period.';
comment on column public.subscriptions.cancel_at is 'Scheduled end.';

create trigger touch_updated_at before update on public.subscriptions
for each row execute function private.touch_updated_at();

-- In plpgsql, which keeps its plan: each line of an order asks.
create function private.active_plan(user_id uuid, family public.plan_family) returns public.plans
language plpgsql
stable
security definer
set search_path = ''
as $$
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
$$;
comment on function private.active_plan(uuid, public.plan_family) is
'The plan in force for a user in a family: partner accounts are creator_ultimate_for_friends, then a subscription that '
'is active, trialing or past_due and not over for more than 3 days, else the free plan.';

create function private.seller_plan(seller uuid) returns public.plans
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return private.active_plan(seller, 'creator');
end
$$;
comment on function private.seller_plan(uuid) is
'The creator plan in force for a seller: commission and featured limit. Never null.';

create function public.set_subscription(user_id uuid, plan_key text, until timestamptz default null)
returns public.subscriptions
language plpgsql
security definer
set search_path = ''
as $$
declare
    plan public.plans;
    before public.subscriptions;
    result public.subscriptions;
begin
    perform private.require_admin();
    select * into plan from public.plans as p where p.key = set_subscription.plan_key;
    if plan.key is null then
        perform private.fail('plan_not_found', set_subscription.plan_key);
    end if;
    if until <= now() then
        perform private.fail('period_over', until::text);
    end if;
    if not exists (
        select from public.profiles as p where p.id = set_subscription.user_id and p.deleted_at is null for share
    ) then
        perform private.fail('user_not_found', set_subscription.user_id::text);
    end if;

    select * into before from public.subscriptions as s
    where s.user_id = set_subscription.user_id and s.family = plan.family
    for update;
    if before.provider is not null and before.status in ('active', 'trialing', 'past_due', 'incomplete') then
        perform private.fail('subscription_managed_by_provider', before.provider::text);
    end if;

    insert into public.subscriptions as s (user_id, family, plan_key, current_period_start, current_period_end)
    values (set_subscription.user_id, plan.family, plan.key, now(), until)
    on conflict on constraint subscriptions_user_id_family_key do update set
        plan_key = excluded.plan_key, status = 'active', interval = null, provider = null,
        stripe_subscription_id = null, stripe_price_id = null, paypal_subscription_id = null, paypal_plan_id = null,
        current_period_start = excluded.current_period_start, current_period_end = excluded.current_period_end,
        cancel_at_period_end = false, cancel_at = null, cancelled_at = null
    where s.provider is null or s.status not in ('active', 'trialing', 'past_due', 'incomplete')
    returning * into result;

    perform private.audit(
        'set_subscription', 'profile', set_subscription.user_id,
        jsonb_build_object('from', before.plan_key, 'to', plan.key, 'until', until)
    );
    return result;
end
$$;
comment on function public.set_subscription(uuid, text, timestamptz) is
'Admins: gives a user a plan without payment, until a time or for good; audited. A subscription that a provider '
'collects is refused (subscription_managed_by_provider). Featured items over a lower plan''s limit stay featured.';
grant execute on function public.set_subscription(uuid, text, timestamptz) to authenticated;

create function public.set_partner_account(user_id uuid, is_partner boolean) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    update public.profiles as p set is_partner_account = coalesce(is_partner, false)
    where p.id = set_partner_account.user_id and p.deleted_at is null;
    if not found then
        perform private.fail('user_not_found', set_partner_account.user_id::text);
    end if;
    perform private.audit(
        'set_partner_account', 'profile', set_partner_account.user_id, jsonb_build_object('is_partner', is_partner)
    );
end
$$;
comment on function public.set_partner_account(uuid, boolean) is
'Admins: makes an account a partner (Ultimate for Friends) or ends that; audited.';
grant execute on function public.set_partner_account(uuid, boolean) to authenticated;

alter table public.subscriptions enable row level security;
grant select on public.subscriptions to authenticated, service_role;

create policy subscriptions_select on public.subscriptions for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

insert into private.erasure_steps (step, phase, erases, statement) values
-- What a provider collects has to be ended there first; until then its row keeps the profile.
('subscriptions', 'business', '{public.subscriptions}',
    'delete from public.subscriptions where user_id = $1 and provider is null');

insert into private.personal_data (section, relation, condition) values
('subscriptions', 'public.subscriptions', 't.user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('plan_not_found', 'PT404', 'This plan does not exist.', 'Keys of plans are in the table plans.'),
('period_over', 'PT400', 'That time is over.', 'A plan can only be given until a time to come.'),
('subscription_managed_by_provider', 'PT409', 'This subscription is collected by a payment provider.',
'Cancel it at the provider first, which the detail names; otherwise the user would go on paying for it.');
