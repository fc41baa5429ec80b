-- What can be subscribed to. Four families; the first plan of each is what everybody has without paying.

create type public.plan_family as enum ('creator', 'listener', 'collector', 'reseller');
comment on type public.plan_family is
'Which side of the market a plan is for: sellers, music listeners, art collectors, resellers.';

create table public.plans (
    key text not null,
    family public.plan_family not null,
    tier text not null,
    name text not null,
    description text,
    monthly_price_cents bigint not null default 0,
    annual_price_cents bigint not null default 0,
    currency character(3) not null default 'USD',
    commission_bps integer,
    featured_limit integer,
    features jsonb not null default '[]',
    is_offered boolean not null default true,
    sort_order integer not null default 0,
    stripe_price_id_monthly text,
    stripe_price_id_annual text,
    paypal_plan_id_monthly text,
    paypal_plan_id_annual text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint plans_pkey primary key (key),
    constraint plans_key_family_key unique (key, family),
    constraint plans_family_tier_key unique (family, tier),
    constraint plans_stripe_price_id_monthly_key unique (stripe_price_id_monthly),
    constraint plans_stripe_price_id_annual_key unique (stripe_price_id_annual),
    constraint plans_paypal_plan_id_monthly_key unique (paypal_plan_id_monthly),
    constraint plans_paypal_plan_id_annual_key unique (paypal_plan_id_annual),
    constraint plans_key_check check (key = family || '_' || tier),
    constraint plans_prices_check check (
        private.is_price(monthly_price_cents) and private.is_price(annual_price_cents)
        and (monthly_price_cents = 0) = (annual_price_cents = 0)
    ),
    -- Sellers' plans decide commission and featured items; the others have neither.
    constraint plans_creator_check check (
        (family = 'creator') = (commission_bps is not null) and (family = 'creator') = (featured_limit is not null)
        and commission_bps between 0 and 10000 and featured_limit >= 0
    ),
    constraint plans_features_check check (jsonb_typeof(features) = 'array')
);

comment on table public.plans is 'Plans of all families. Everybody reads; changed by migrations and operators.';
comment on column public.plans.key is 'Stable key: family_tier, for example creator_standard.';
comment on column public.plans.family is 'Which side of the market it is for. One subscription per user and family.';
comment on column public.plans.tier is 'Level inside the family.';
comment on column public.plans.name is 'Name to show.';
comment on column public.plans.description is 'One sentence to show.';
comment on column public.plans.monthly_price_cents is 'Price a month, cents; 0 is free.';
comment on column public.plans.annual_price_cents is 'Price a year when paid at once, cents; 0 is free.';
comment on column public.plans.currency is 'ISO 4217, of both prices.';
comment on column public.plans.commission_bps is
'Platform''s share of the seller''s item price, basis points; creator plans only. Orders keep the value of checkout.';
comment on column public.plans.featured_limit is 'How many items may be newly featured; creator plans only.';
comment on column public.plans.features is 'Keys of what the plan includes, a JSON array of words.';
comment on column public.plans.is_offered is 'Whether it can be subscribed to; false for plans given by admins.';
comment on column public.plans.sort_order is 'Position inside its family, ascending.';
comment on column public.plans.stripe_price_id_monthly is 'Stripe price of the monthly interval; set by the operator.';
comment on column public.plans.stripe_price_id_annual is 'Stripe price of the annual interval; set by the operator.';
comment on column public.plans.paypal_plan_id_monthly is 'PayPal plan of the monthly interval; set by the operator.';
comment on column public.plans.paypal_plan_id_annual is 'PayPal plan of the annual interval; set by the operator.';

create trigger touch_updated_at before update on public.plans
for each row execute function private.touch_updated_at();

alter table public.plans enable row level security;
grant select on public.plans to anon, authenticated, service_role;

create policy plans_select on public.plans for select to anon, authenticated
using (true);

-- Listener prices, commissions and featured limits are the references'. They name no price for the other paid plans:
-- those are this platform's opening prices, a year at the price of ten months.
insert into public.plans (
    key, family, tier, name, description, monthly_price_cents, annual_price_cents, commission_bps, featured_limit,
    features, is_offered, sort_order
) values
(
    'creator_basic', 'creator', 'basic', 'Basic', 'Sell without a subscription.', 0, 0, 4000, 0,
    '[]', true, 1
),
(
    'creator_standard', 'creator', 'standard', 'Standard', 'A lower commission and one featured item.',
    999, 9990, 3000, 1, '["gps-location"]', true, 2
),
(
    'creator_premium', 'creator', 'premium', 'Premium', 'Co-hosted webinars and three featured items.',
    1999, 19990, 2000, 3, '["gps-location", "webinar-co-hosts", "verified-groups"]', true, 3
),
(
    'creator_ultimate', 'creator', 'ultimate', 'Ultimate', 'The lowest commission and ten featured items.',
    4999, 49990, 1000, 10, '["gps-location", "webinar-co-hosts", "verified-groups"]', true, 4
),
(
    'creator_ultimate_for_friends', 'creator', 'ultimate_for_friends', 'Ultimate for Friends',
    'Ultimate for partners of the platform.', 0, 0, 1000, 10,
    '["gps-location", "webinar-co-hosts", "verified-groups"]', false, 5
),
(
    'listener_free', 'listener', 'free', 'Free', 'Free listening with ads.', 0, 0, null, null,
    '["ad-supported", "limited-streams"]', true, 1
),
(
    'listener_premium', 'listener', 'premium', 'Premium', 'Ad-free listening.', 999, 9990, null, null,
    '["ad-free", "unlimited-streams", "hq-audio"]', true, 2
),
(
    'listener_supporter', 'listener', 'supporter', 'Supporter', 'Support creators directly.', 1999, 19990, null, null,
    '["ad-free", "unlimited-streams", "hq-audio", "exclusive-content"]', true, 3
),
(
    'collector_free', 'collector', 'free', 'Free', 'Collect without a subscription.', 0, 0, null, null,
    '[]', true, 1
),
(
    'collector_premium', 'collector', 'premium', 'Premium', 'Free consultations with artists.', 999, 9990, null, null,
    '["free-consultations"]', true, 2
),
(
    'collector_pro', 'collector', 'pro', 'Pro', 'Everything for serious collections.', 2499, 24990, null, null,
    '["free-consultations", "early-access"]', true, 3
),
(
    'reseller_free', 'reseller', 'free', 'Free', 'List by hand.', 0, 0, null, null, '[]', true, 1
),
(
    'reseller_premium', 'reseller', 'premium', 'Premium',
    'Post to several marketplaces at once.', 999, 9990, null, null,
    '["cross-posting"]', true, 2
),
(
    'reseller_premium_plus', 'reseller', 'premium_plus', 'Premium Plus', 'Cross-posting, automatic sync and analytics.',
    2499, 24990, null, null, '["cross-posting", "auto-sync", "analytics"]', true, 3
);
