-- The photo studio: credits in lots, paid for by packs the platform sells; photo jobs whose photos are spent or given
-- back one by one; pictures that are looked at before anybody sees them, and columns that refer to them; one file of a
-- job's results; a Checkout Session beside the bare PaymentIntent.
--
-- Nothing is lost, and no table is rewritten: new columns have constant defaults. The constraints of transactions,
-- refund_lines and accounts that know the new parts are checked against all rows while their tables are locked, as are
-- the new foreign keys (all null); profiles, products, artworks, articles, payments and catalog_items cannot be written
-- while small indexes are built. Before the workers of this version start.
-- squawk-ignore-file adding-field-with-default, adding-foreign-key-constraint, adding-not-nullable-field, adding-required-field, ban-drop-constraint, ban-drop-function, ban-drop-not-null, ban-drop-policy, ban-drop-trigger, constraint-missing-not-valid, disallowed-unique-constraint, prefer-bigint-over-int, require-concurrent-index-creation

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

set local check_function_bodies = off;

drop policy avenue_objects_delete on storage.objects;

drop policy avenue_objects_insert on storage.objects;

drop policy avenue_objects_select on storage.objects;

drop trigger touch_updated_at on public.articles;

drop trigger drop_artist_verification on public.profiles;

drop trigger touch_updated_at on public.profiles;

alter table ledger.accounts
    drop constraint accounts_code_check;

alter table private.kinds
    drop constraint kinds_proceeds_check;

alter table public.refund_lines
    drop constraint refund_lines_split_check;

alter table public.transactions
    drop constraint transactions_refunded_check;

alter table public.transactions
    drop constraint transactions_split_check;

drop function ledger.audit();

drop function private.enqueue(text, jsonb, timestamp with time zone, text);

drop function private.payment_attempt(uuid);

drop function private.split_refund(public.transactions, bigint, text);

drop function private.start_payment(uuid, uuid);

create table private.credit_balances (
    user_id uuid not null,
    available_cents bigint not null default 0,
    held_cents bigint not null default 0,
    debt_cents bigint not null default 0,
    low_noted_at timestamp with time zone,
    constraint credit_balances_available_check check ((available_cents >= 0)),
    constraint credit_balances_debt_check check ((debt_cents >= 0)),
    constraint credit_balances_held_check check ((held_cents >= 0)),
    constraint credit_balances_pkey primary key (user_id)
);

alter table private.credit_balances
    enable row level security;

alter table private.credit_balances
    set (fillfactor=50);

create table private.media_columns (
    relation text not null,
    media_column text not null,
    purpose text not null,
    owner_column text not null,
    urls jsonb not null,
    constraint media_columns_pkey primary key (relation, media_column),
    constraint media_columns_urls_check check ((jsonb_typeof(urls) = 'object'::text))
);

alter table private.media_columns
    enable row level security;

create table private.media_fingerprints (
    media_id uuid not null,
    ground text not null,
    fingerprint bit(64) not null,
    band_1 smallint generated always as
        (((((SUBSTRING(fingerprint from 1 for 16))::bit(16))::integer - 32768))::smallint) stored not null,
    band_2 smallint generated always as
        (((((SUBSTRING(fingerprint from 17 for 16))::bit(16))::integer - 32768))::smallint) stored not null,
    band_3 smallint generated always as
        (((((SUBSTRING(fingerprint from 33 for 16))::bit(16))::integer - 32768))::smallint) stored not null,
    band_4 smallint generated always as
        (((((SUBSTRING(fingerprint from 49 for 16))::bit(16))::integer - 32768))::smallint) stored not null,
    constraint media_fingerprints_ground_check
        check ((ground = ANY (ARRAY['white'::text, 'black'::text, 'mirrored'::text]))),
    constraint media_fingerprints_pkey primary key (media_id, ground)
);

alter table private.media_fingerprints
    enable row level security;

create table private.media_purposes (
    purpose text not null,
    bucket text not null,
    is_public boolean not null,
    is_uploaded boolean not null default true,
    sizes text[] not null,
    meaning text not null,
    constraint media_purposes_pkey primary key (purpose),
    constraint media_purposes_purpose_check check ((purpose ~ '^[a-z]+(_[a-z]+)*$'::text)),
    constraint media_purposes_sizes_check
        check (((sizes <@ '{full,large,medium,small,thumbnail}'::text[]) AND (sizes <> '{}'::text[])))
);

alter table private.media_purposes
    enable row level security;

create table private.media_sources (
    object_id uuid not null,
    media_id uuid,
    owner_id uuid not null,
    path text not null,
    created_at timestamp with time zone not null default now(),
    constraint media_sources_pkey primary key (object_id)
);

alter table private.media_sources
    enable row level security;

create table private.photo_attempts (
    id uuid not null default gen_random_uuid(),
    item_id uuid not null,
    no integer not null,
    provider text,
    provider_ref text,
    verdict text,
    code text,
    detail text,
    cost_micros bigint,
    is_late boolean not null default false,
    created_at timestamp with time zone not null default now(),
    deadline_at timestamp with time zone not null,
    ended_at timestamp with time zone,
    checked_at timestamp with time zone not null default now(),
    constraint photo_attempts_cost_check check ((cost_micros >= 0)),
    constraint photo_attempts_item_id_no_key unique (item_id, no),
    constraint photo_attempts_pkey primary key (id),
    constraint photo_attempts_verdict_check
        check ((verdict = ANY (ARRAY['succeeded'::text, 'failed'::text, 'not_sent'::text, 'timed_out'::text])))
);

alter table private.photo_attempts
    enable row level security;

create table private.photo_discounts (
    from_count integer not null,
    discount_bps integer not null,
    constraint photo_discounts_discount_bps_check check (((discount_bps >= 0) AND (discount_bps <= 10000))),
    constraint photo_discounts_from_count_check check ((from_count >= 2)),
    constraint photo_discounts_pkey primary key (from_count)
);

alter table private.photo_discounts
    enable row level security;

create table private.remade_pictures (
    object_id uuid not null,
    version text,
    failure text,
    constraint remade_pictures_pkey primary key (object_id)
);

alter table private.remade_pictures
    enable row level security;

create table private.session_requests (
    payment_id uuid not null,
    success_url text not null,
    cancel_url text not null,
    expires_at timestamp with time zone not null,
    constraint session_requests_pkey primary key (payment_id),
    constraint session_requests_urls_check check (
        char_length(success_url) between 1 and 2048 and char_length(cancel_url) between 1 and 2048
    )
);

alter table private.session_requests
    enable row level security;

create table private.trials (
    person_hash bytea not null,
    granted_at timestamp with time zone not null default now(),
    constraint trials_pkey primary key (person_hash)
);

alter table private.trials
    enable row level security;

create table public.credit_lots (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    category text not null,
    order_item_id uuid,
    amount_cents bigint not null,
    remaining_cents bigint not null,
    held_cents bigint not null default 0,
    captured_cents bigint not null default 0,
    expired_cents bigint not null default 0,
    taken_back_cents bigint not null default 0,
    repaid_cents bigint not null default 0,
    owed_cents bigint not null default 0,
    expires_at timestamp with time zone,
    is_void boolean not null default false,
    version integer not null default 0,
    noted_at timestamp with time zone,
    created_at timestamp with time zone not null default now(),
    constraint credit_lots_category_check
        check ((category = ANY (ARRAY['trial'::text, 'bonus'::text, 'paid'::text]))),
    constraint credit_lots_order_item_id_category_key unique (order_item_id, category),
    constraint credit_lots_pkey primary key (id),
    constraint credit_lots_parts_check
        check
        (((amount_cents = (((((remaining_cents + held_cents) + captured_cents) + expired_cents) + taken_back_cents) +
        repaid_cents)) AND
        (LEAST(remaining_cents, held_cents, captured_cents, expired_cents, taken_back_cents, repaid_cents, owed_cents)
        >= 0) AND ((amount_cents >= 1) AND (amount_cents <= private.highest_amount_cents()))))
);

alter table public.credit_lots
    enable row level security;

alter table public.credit_lots
    set (fillfactor=70);

revoke all on table public.credit_lots from anon;

create table public.credit_packs (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default 'a7e0e000-0000-4000-8000-000000000000'::uuid,
    title text not null,
    price_cents bigint not null,
    bonus_cents bigint not null default 0,
    valid_days integer,
    is_active boolean not null default true,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamp with time zone not null default now(),
    updated_at timestamp with time zone not null default now(),
    constraint credit_packs_pkey primary key (id),
    constraint credit_packs_title_check check (((char_length(title) >= 1) AND (char_length(title) <= 100))),
    constraint credit_packs_valid_days_check check (((valid_days >= 1) AND (valid_days <= 3650))),
    constraint credit_packs_bonus_check
        check (((bonus_cents >= 0) AND (bonus_cents <= private.highest_amount_cents()))),
    constraint credit_packs_price_check check ((private.is_price(price_cents) AND (price_cents > 0))),
    constraint credit_packs_seller_check check (private.is_platform(seller_id))
);

alter table public.credit_packs
    enable row level security;

create table public.media (
    id uuid not null default gen_random_uuid(),
    owner_id uuid not null,
    purpose text not null,
    constraint media_pkey primary key (id)
);

alter table public.media
    enable row level security;

create table public.photo_job_items (
    id uuid not null default gen_random_uuid(),
    job_id uuid not null,
    position integer not null,
    input_media_id uuid,
    result_media_id uuid,
    cost_cents bigint not null,
    constraint photo_job_items_job_id_position_key unique (job_id, position),
    constraint photo_job_items_pkey primary key (id),
    constraint photo_job_items_position_check check ((position >= 1)),
    constraint photo_job_items_cost_check
        check (((cost_cents >= 0) AND (cost_cents <= private.highest_amount_cents())))
);

alter table public.photo_job_items
    enable row level security;

alter table public.photo_job_items
    set (fillfactor=70);

revoke all on table public.photo_job_items from anon;

create table public.photo_jobs (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    prompt text,
    photo_count integer not null,
    cost_cents bigint not null,
    constraint photo_jobs_pkey primary key (id),
    constraint photo_jobs_prompt_check check (((char_length(prompt) >= 1) AND (char_length(prompt) <= 2000))),
    constraint photo_jobs_cost_check check (((cost_cents >= 0) AND (cost_cents <= private.highest_amount_cents())))
);

alter table public.photo_jobs
    enable row level security;

alter table public.photo_jobs
    set (fillfactor=70);

revoke all on table public.photo_jobs from anon;

create table public.product_pictures (
    id uuid not null default gen_random_uuid(),
    product_id uuid not null,
    media_id uuid not null,
    position integer not null default 0,
    created_at timestamp with time zone not null default now(),
    constraint product_pictures_pkey primary key (id),
    constraint product_pictures_position_check check (((position >= 0) AND (position <= 1000))),
    constraint product_pictures_product_id_media_id_key unique (product_id, media_id)
);

alter table public.product_pictures
    enable row level security;

alter table private.settings
    add column pictures_pending_per_member integer not null default 30;

alter table private.settings
    add column unused_pictures_period interval not null default '30 days'::interval;

alter table private.settings
    add column trial_credits_cents bigint not null default 500;

alter table private.settings
    add column trial_period interval not null default '30 days'::interval;

alter table private.settings
    add column low_credits_cents bigint not null default 500;

alter table private.settings
    add column returned_credits_period interval not null default '30 days'::interval;

alter table private.settings
    add column credits_expiry_notice interval not null default '7 days'::interval;

alter table private.settings
    add column credit_refunds_per_month integer not null default 3;

alter table private.settings
    add column photo_cost_cents bigint not null default 500;

alter table private.settings
    add column photos_per_job integer not null default 50;

alter table private.settings
    add column open_photos_per_account integer not null default 200;

alter table private.settings
    add column photo_deadline interval not null default '24:00:00'::interval;

alter table private.settings
    add column photo_input_kept interval not null default '30 days'::interval;

alter table private.settings
    add column photo_result_kept interval not null default '90 days'::interval;

alter table public.articles
    add column thumbnail_media_id uuid;

alter table public.artworks
    add column image_media_id uuid;

alter table public.catalog_items
    add column image_media_id uuid;

alter table public.payments
    add column is_session boolean not null default false;

alter table public.payments
    add column stripe_session_id text;

alter table public.products
    add column image_media_id uuid;

alter table public.profiles
    add column avatar_media_id uuid;

alter table public.profiles
    add column banner_media_id uuid;

alter table public.refund_lines
    add column credits_cents bigint not null default 0;

alter table public.transactions
    add column amount_credits_cents bigint not null default 0;

alter table public.transactions
    add column refunded_credits_cents bigint not null default 0;

alter type ledger.journal_kind add value 'credits_granted' after 'correction';

alter type ledger.journal_kind add value 'credits_held' after 'credits_granted';

alter type ledger.journal_kind add value 'credits_captured' after 'credits_held';

alter type ledger.journal_kind add value 'credits_returned' after 'credits_captured';

alter type ledger.journal_kind add value 'credits_expired' after 'credits_returned';

alter type ledger.journal_kind add value 'credits_taken_back' after 'credits_expired';

alter type ledger.journal_kind add value 'credits_repaid' after 'credits_taken_back';

create type public.credit_totals as (
    available_cents bigint,
    held_cents bigint,
    debt_cents bigint,
    next_expiry timestamp with time zone,
    expiring_cents bigint
);

create type public.media_failure as enum (
    'unreadable',
    'too_large',
    'unsupported_format',
    'missing'
);

create type public.media_status as enum (
    'pending',
    'ready',
    'failed'
);

alter table public.media
    add column status public.media_status not null default 'pending'::public.media_status;

alter table public.media
    add column failure public.media_failure;

alter table public.media
    add column bucket text not null;

alter table public.media
    add column content_type text;

alter table public.media
    add column width integer;

alter table public.media
    add column height integer;

alter table public.media
    add column color text;

alter table public.media
    add column is_animated boolean;

alter table public.media
    add column derivatives jsonb not null default '{}'::jsonb;

alter table public.media
    add column created_at timestamp with time zone not null default now();

alter table public.media
    add column ready_at timestamp with time zone;

alter table public.media
    add column expires_at timestamp with time zone;

create type public.photo_job_status as enum (
    'pending',
    'processing',
    'completed',
    'failed',
    'cancelled'
);

alter table public.photo_jobs
    add column status public.photo_job_status not null default 'pending'::public.photo_job_status;

alter table public.photo_jobs
    add column group_name text;

alter table public.photo_jobs
    add column client_key text;

alter table public.photo_jobs
    add column retry_of uuid;

alter table public.photo_jobs
    add column succeeded_count integer not null default 0;

alter table public.photo_jobs
    add column failed_count integer not null default 0;

alter table public.photo_jobs
    add column returned_count integer not null default 0;

alter table public.photo_jobs
    add column captured_cents bigint not null default 0;

create type public.photo_quote as (
    cost_cents bigint,
    parts bigint[]
);

create type public.photo_status as enum (
    'queued',
    'sent',
    'unknown',
    'succeeded',
    'failed',
    'returned'
);

alter table public.photo_job_items
    add column status public.photo_status not null default 'queued'::public.photo_status;

alter table public.photo_job_items
    add column failure text;

alter table public.photo_job_items
    add column attempts_count integer not null default 0;

alter table public.photo_job_items
    add column lot_ids uuid[] not null default '{}'::uuid[];

alter table public.photo_job_items
    add column lot_cents bigint[] not null default '{}'::bigint[];

alter table public.photo_job_items
    add column queued_at timestamp with time zone not null default now();

alter table public.photo_job_items
    add column available_at timestamp with time zone not null default now();

alter table public.photo_job_items
    add column sent_at timestamp with time zone;

alter table public.photo_job_items
    add column finished_at timestamp with time zone;

create or replace function ledger.audit()
    returns table (
        invariant text,
        subject text,
        detail text
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
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
    group by t.order_item_id;
end
$function$;

create or replace function ledger.post (
    kind ledger.journal_kind,
    idempotency_key text,
    legs ledger.leg[],
    source_id uuid default null::uuid,
    currency text default 'USD'::text,
    memo text default null::text,
    occurred_at timestamp with time zone default now()
)
    returns bigint
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    platform constant uuid := uuid '00000000-0000-0000-0000-000000000000';
    journal_id bigint;
    balanced boolean;
    owners uuid[];
    credit_owners uuid[];
    posted integer;
begin
    -- A refused post leaves nothing behind: every check comes before or aborts the transaction.
    select
        sum(l.amount_cents) = 0 and bool_and(abs(l.amount_cents) between 1 and 999999999999) and count(*) >= 2
        and count(*) = count(l.amount_cents),
        array_agg(distinct l.owner_id) filter (where l.owner_id is not null and l.account not like 'credits%'),
        array_agg(distinct l.owner_id) filter (where l.account like 'credits%')
    into balanced, owners, credit_owners
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
    if credit_owners is not null then
        perform private.move_credits(legs, credit_owners);
    end if;
    return journal_id;
end
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
        (
            select array_agg(distinct p.owner_id) from unnest(postings) as p
            where p.owner_id is not null and p.account not like 'credits%'
        )
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
    if exists (select from unnest(postings) as p where p.account like 'credits%') then
        perform private.move_credits(
            array(
                select row(p.owner_id, p.account, p.amount_cents)::ledger.leg from unnest(postings) as p
                where p.idempotency_key = any (keys)
            ),
            array(
                select distinct p.owner_id from unnest(postings) as p
                where p.idempotency_key = any (keys) and p.account like 'credits%'
            )
        );
    end if;
    return coalesce(cardinality(keys), 0);
end
$function$;

create or replace function private.alike_media (
    media_id uuid
)
    returns table (
        alike_id uuid,
        distance integer
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_member();
    if not exists (
        select from public.media as m where m.id = alike_media.media_id and m.owner_id = private.member_id()
    ) then
        perform private.fail('media_not_found', alike_media.media_id::text);
    end if;
    return query
    select o.media_id, min(bit_count(o.fingerprint # f.fingerprint))::integer
    from private.media_fingerprints as f
    inner join private.media_fingerprints as o
        on (o.band_1 = f.band_1 or o.band_2 = f.band_2 or o.band_3 = f.band_3 or o.band_4 = f.band_4)
    where
        f.media_id = alike_media.media_id and f.ground <> 'mirrored' and o.media_id <> f.media_id
        and (o.ground = f.ground or f.ground = 'white' and o.ground = 'mirrored')
        and bit_count(o.fingerprint # f.fingerprint) <= 3
    group by o.media_id;
end
$function$;

create or replace function private.apply_checkout_session (
    event_type text,
    object jsonb
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    named text := object #>> '{metadata,payment_id}';
    intent text := coalesce(object #>> '{payment_intent,id}', object ->> 'payment_intent');
    attempt public.payments;
begin
    select * into attempt from public.payments as p
    where p.stripe_session_id = object ->> 'id'
    for no key update;
    if attempt.id is null then
        if private.is_uuid(named) is not true then
            -- Something else is sold through the same account.
            return 'ignored';
        end if;
        select * into attempt from public.payments as p where p.id = named::uuid for no key update;
        if attempt.id is null then
            perform private.fail('event_too_early', 'no such payment: ' || named);
        elsif not attempt.is_session or attempt.stripe_session_id <> object ->> 'id' then
            perform private.fail('event_rejected', format(
                'payment %s is %s, the event is about session %s', attempt.id,
                coalesce(attempt.stripe_session_id, attempt.provider_ref, 'not started'), object ->> 'id'
            ));
        end if;
    elsif attempt.id::text <> lower(named) then
        perform private.fail('event_rejected', format(
            'payment %s is session %s, the event names %s', attempt.id, object ->> 'id', named
        ));
    end if;
    if object ->> 'mode' is distinct from 'payment'
        or object ->> 'amount_total' is distinct from attempt.amount_cents::text
        or upper(object ->> 'currency') is distinct from attempt.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is %s %s, session %s is %s %s for %s', attempt.id, attempt.amount_cents, attempt.currency,
            object ->> 'id', object ->> 'amount_total', object ->> 'currency', object ->> 'mode'
        ));
    end if;
    perform private.attach_payment_ref(attempt.id, object ->> 'id');
    if intent is not null then
        perform private.attach_payment_intent(attempt.id, intent);
    end if;
    if attempt.succeeded_at is not null then
        return 'processed';
    end if;
    case
        when event_type in ('checkout.session.completed', 'checkout.session.async_payment_succeeded')
            and object ->> 'payment_status' = 'paid' then
            perform private.enqueue('read_payment', jsonb_build_object('payment_id', attempt.id));
        when event_type = 'checkout.session.completed' and object ->> 'payment_status' = 'unpaid' then
            -- The buyer is done, the money is on its way: nothing is granted for it.
            update public.payments as p set status = 'processing'
            where p.id = attempt.id and p.status in ('requires_payment', 'failed');
        when event_type = 'checkout.session.async_payment_failed' then
            -- Its page does not open again.
            update public.payments as p set failure_reason = coalesce(p.failure_reason, 'declined')
            where p.id = attempt.id;
            update public.orders as o set status_reason = coalesce(o.status_reason, 'payment_failed')
            where o.id = attempt.order_id and o.status = 'pending';
            perform private.payment_cancelled(attempt.id);
        when event_type = 'checkout.session.expired' then
            perform private.payment_cancelled(attempt.id);
        else
            perform private.fail('event_rejected', format(
                'session %s is %s, which does not go with %s', object ->> 'id', object ->> 'payment_status', event_type
            ));
    end case;
    return 'processed';
end
$function$;

create or replace function private.apply_read_event (
    provider text,
    event_id text
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    return (
        select private.process_webhook_event(e.id) from private.webhook_events as e
        where e.event_id = apply_read_event.event_id and e.provider = apply_read_event.provider
    );
end
$function$;

create or replace function private.apply_refund (
    object jsonb
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    known uuid;
    ours text := object #>> '{metadata,refund_id}';
begin
    paid := private.payment_of(object);
    if upper(object ->> 'currency') is distinct from paid.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is in %s, refund %s in %s', paid.id, paid.currency, object ->> 'id', object ->> 'currency'
        ));
    end if;
    if private.is_uuid(ours) then
        select r.id into known from public.refunds as r where r.id = ours::uuid and r.payment_id = paid.id;
        if known is null then
            perform private.fail('event_rejected', 'refund ' || ours || ' is not one of payment ' || paid.id);
        end if;
    else
        -- Made in the provider's dashboard (sharp case 8): the event is all we know of it.
        if paid.succeeded_at is null then
            perform private.fail('event_too_early', 'refund of a payment that has not settled: ' || paid.id);
        end if;
        perform private.lock_credit_sales(paid.id);
        insert into public.refunds (payment_id, amount_cents, currency, reason, provider, provider_ref, status)
        values (
            paid.id, (object ->> 'amount')::bigint, paid.currency,
            -- The money moved, whatever somebody wrote.
            coalesce(nullif(left(private.tidy_body(object ->> 'reason'), 500), ''), 'made_at_provider'), paid.provider,
            object ->> 'id', 'pending'
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
$function$;

create or replace function private.apply_refund_line (
    line public.refund_lines,
    fee_bearer text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.apply_stripe_event (
    event private.webhook_events
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    object jsonb := event.payload #> '{data,object}';
    unread public.payments;
begin
    if private.why_foreign(event) is not null then
        return 'ignored';
    elsif jsonb_typeof(object) is distinct from 'object' then
        perform private.fail('event_rejected', 'the event has no object');
    end if;
    if event.type in (
        'payment_intent.succeeded', 'payment_intent.payment_failed', 'payment_intent.processing', 'payment_intent.canceled'
    ) then
        if event.type <> 'payment_intent.succeeded' then
            unread := private.unread_session(object);
            if unread.id is not null then
                if unread.is_open then
                    perform private.enqueue('read_payment', jsonb_build_object('payment_id', unread.id));
                end if;
                return 'processed';
            end if;
        end if;
        return private.apply_payment_intent(event.type, object);
    elsif event.type in (
        'checkout.session.completed', 'checkout.session.async_payment_succeeded',
        'checkout.session.async_payment_failed', 'checkout.session.expired'
    ) then
        return private.apply_checkout_session(event.type, object);
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
$function$;

create or replace function private.archive_built (
    job_id uuid,
    path text,
    size_bytes bigint
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.photo_jobs as j set archive_path = archive_built.path, archive_bytes = archive_built.size_bytes
    where
        j.id = archive_built.job_id and j.archive_path is null and j.finished_at is not null and j.expires_at > now()
        and exists (select from public.profiles as p where p.id = j.user_id and p.deleted_at is null);
    return found;
end
$function$;

create or replace function private.archive_to_build (
    job_id uuid
)
    returns table (
        no integer,
        name text,
        bucket text,
        path text,
        size_bytes bigint,
        crc32 bigint
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    job public.photo_jobs;
begin
    update public.photo_jobs as j set archive_asked_at = now()
    where
        j.id = archive_to_build.job_id and j.finished_at is not null and j.archive_path is null
        and j.succeeded_count > 0 and j.expires_at > now()
    returning * into job;
    if job.id is null then
        return;
    end if;
    return query
    select
        i.position, s.path, m.bucket, m.derivatives -> 'full' ->> 'path',
        (m.derivatives -> 'full' ->> 'bytes')::bigint, (m.derivatives -> 'full' ->> 'crc32')::bigint
    from public.photo_job_items as i
    inner join public.media as m on m.id = i.result_media_id
    left join private.media_sources as s on s.media_id = i.input_media_id
    where i.job_id = job.id and i.status = 'succeeded'
    order by i.position;
end
$function$;

create or replace function private.archives_to_build (
    max_rows integer
)
    returns table (
        job_id uuid
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select j.id from public.photo_jobs as j
    where
        j.finished_at is not null and j.archive_path is null and j.succeeded_count > 0
        and j.expires_at > now()
        and coalesce(j.archive_asked_at < now() - interval '30 minutes', true)
    order by j.archive_asked_at nulls first, j.finished_at
    limit max_rows
$function$;

create or replace function private.archives_to_erase (
    max_rows integer
)
    returns table (
        bucket text,
        path text
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select o.bucket_id, o.name from storage.objects as o
    where
        o.bucket_id = 'archives' and not exists (
            select from public.photo_jobs as j where j.archive_path = o.name
        )
        -- One that is just being built is not noted yet.
        and (
            o.created_at < now() - interval '6 hours'
            or exists (
                select from public.photo_jobs as j
                where j.id::text = split_part(o.name, '/', 1) and (j.archive_path is not null or j.expires_at is null)
            )
        )
    order by o.created_at
    limit max_rows
$function$;

create or replace function private.attach_media()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    media_column text := tg_argv[0];
    urls jsonb := tg_argv[3];
    after jsonb := to_jsonb(new);
    before jsonb := case when tg_op = 'UPDATE' then to_jsonb(old) else '{}' end;
    wanted uuid := after ->> media_column;
    earlier uuid := before ->> media_column;
    picture public.media;
    addresses jsonb;
begin
    if wanted is null and earlier is null then
        return new;
    end if;
    if wanted is distinct from earlier and wanted is not null then
        -- What shows it keeps it; and who shows it first has the row that says where.
        update public.media as m set expires_at = null
        where m.id = wanted and m.owner_id = (after ->> tg_argv[2])::uuid and m.purpose = tg_argv[1]
        returning * into picture;
        if picture.id is null then
            perform private.fail('media_not_found', wanted::text);
        elsif picture.status = 'failed' then
            perform private.fail('media_failed', picture.failure::text);
        end if;
    else
        select * into picture from public.media as m where m.id = wanted;
    end if;
    addresses := private.media_addresses(picture, urls);
    if wanted is null or wanted = earlier and exists (
        select from jsonb_object_keys(urls) as u (name)
        where
            after ->> u.name is distinct from before ->> u.name
            and after ->> u.name is distinct from addresses ->> u.name and after ->> u.name is not null
    ) then
        -- Another address took its place, or nothing.
        addresses := (
            select jsonb_object_agg(
                u.name,
                case when after ->> u.name is distinct from before ->> u.name then after ->> u.name end
            )
            from jsonb_object_keys(urls) as u (name)
        ) || jsonb_build_object(media_column, null);
    end if;
    return jsonb_populate_record(new, addresses);
end
$function$;

create or replace function private.attach_payment_intent (
    payment_id uuid,
    intent text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt public.payments;
begin
    update public.payments as p set provider_ref = intent
    where p.id = attach_payment_intent.payment_id and p.is_session and p.provider_ref is null;
    select * into strict attempt from public.payments as p where p.id = attach_payment_intent.payment_id;
    if attempt.provider_ref is distinct from intent then
        perform private.fail('event_rejected', format(
            'payment %s is %s, its session is paid by %s', attempt.id, attempt.provider_ref, intent
        ));
    end if;
end
$function$;

create or replace function private.attach_payment_ref (
    payment_id uuid,
    provider_ref text
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt public.payments;
begin
    update public.payments as p set
        provider_ref = case
            when p.is_session then p.provider_ref else coalesce(p.provider_ref, attach_payment_ref.provider_ref)
        end,
        stripe_session_id = case
            when p.is_session then coalesce(p.stripe_session_id, attach_payment_ref.provider_ref)
        end
    where p.id = attach_payment_ref.payment_id
    returning * into strict attempt;
    if coalesce(attempt.stripe_session_id, attempt.provider_ref) <> attach_payment_ref.provider_ref then
        perform private.fail('event_rejected', format(
            'payment %s already is %s', attempt.id, coalesce(attempt.stripe_session_id, attempt.provider_ref)
        ));
    end if;
    if attempt.is_session then
        delete from private.session_requests as r where r.payment_id = attempt.id;
    end if;
    return attempt.status;
end
$function$;

create or replace function private.attempt_request (
    attempt public.payments
)
    returns jsonb
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return (
        select jsonb_build_object(
            'payment_id', attempt.id, 'provider', attempt.provider, 'provider_ref', attempt.provider_ref,
            'ref', coalesce(attempt.stripe_session_id, attempt.provider_ref), 'is_session', attempt.is_session,
            'amount_cents', attempt.amount_cents, 'currency', attempt.currency, 'expires_at', attempt.expires_at,
            'order_number', o.order_number, 'description', 'Order ' || o.order_number,
            'metadata', jsonb_build_object('payment_id', attempt.id, 'order_id', attempt.order_id),
            'session', case when attempt.is_session then (
                select jsonb_build_object(
                    'success_url', r.success_url, 'cancel_url', r.cancel_url,
                    'expires_at', floor(extract(epoch from r.expires_at))::bigint
                )
                from private.session_requests as r
                where r.payment_id = attempt.id
            ) end
        )
        from public.orders as o
        where o.id = attempt.order_id
    );
end
$function$;

create or replace function private.authorize_archive (
    job_id uuid,
    user_id uuid
)
    returns table (
        path text,
        name text,
        size_bytes bigint
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    job public.photo_jobs;
begin
    perform private.require_active(authorize_archive.user_id);
    select * into job from public.photo_jobs as j
    where j.id = authorize_archive.job_id and (j.user_id = authorize_archive.user_id or j.is_demo);
    if job.id is null then
        perform private.fail('photo_job_not_found');
    elsif job.archive_path is null or coalesce(job.expires_at <= now(), true) then
        perform private.fail('archive_not_ready', job.status::text);
    end if;
    return query
    select
        job.archive_path, 'photos-' || to_char(job.created_at at time zone 'UTC', 'YYYY-MM-DD') || '.zip',
        job.archive_bytes;
end
$function$;

create or replace function private.authorize_demo_photo (
    item_id uuid,
    user_id uuid
)
    returns table (
        bucket text,
        path text
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_active(authorize_demo_photo.user_id);
    return query
    select m.bucket, m.derivatives -> 'medium' ->> 'path'
    from public.photo_job_items as i
    inner join public.photo_jobs as j on j.id = i.job_id and j.is_demo
    inner join public.media as m on m.id = i.result_media_id
    where i.id = authorize_demo_photo.item_id;
    if not found then
        -- Also for a photo of somebody's own job: it does not exist for them.
        perform private.fail('photo_job_not_found', authorize_demo_photo.item_id::text);
    end if;
end
$function$;

create or replace function private.authorize_media (
    media_id uuid,
    name text,
    user_id uuid
)
    returns table (
        bucket text,
        path text
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_active(authorize_media.user_id);
    return query
    select m.bucket, m.derivatives -> authorize_media.name ->> 'path'
    from public.media as m
    where
        m.id = authorize_media.media_id and m.owner_id = authorize_media.user_id
        and m.derivatives ? authorize_media.name;
    if not found then
        -- Also for what is somebody else's: it does not exist for them.
        perform private.fail('media_not_found', authorize_media.media_id::text);
    end if;
end
$function$;

create or replace function private.book_decline (
    payment_id uuid,
    declined text,
    amount_cents bigint
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.book_refund (
    refund_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
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
            select refund.id, sale.id, part, s.tax, s.commission, s.seller, s.fee, s.credits into line
            from private.split_refund(sale, part, refund.fee_bearer) as s;
            insert into public.refund_lines select line.*;
            perform private.apply_refund_line(line, refund.fee_bearer);
            perform ledger.post(
                'refund', 'refund:' || refund.id || ':' || sale.id,
                private.moving_legs(array[
                    ledger.leg(null, 'tax_payable', -line.tax_cents),
                    ledger.leg(null, 'revenue', -line.commission_cents - line.fee_cents),
                    -- Taken from the buyer's credits before: see follow_credit_purchase().
                    ledger.leg(null, 'refunds_payable', -line.credits_cents)
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
$function$;

create or replace function private.catalog_entry (
    pack public.credit_packs
)
    returns private.catalog_entry
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        'credit_pack', pack.seller_id, pack.title, pack.id::text, null, pack.price_cents, null, 'USD', null,
        '{}'::text [], null, false, not pack.is_hidden, pack.is_active, null, null, false
    )::private.catalog_entry
$function$;

create or replace function private.check_product_picture()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    seller uuid;
    picture public.media;
begin
    -- One at a time per product: they are counted.
    select p.seller_id into seller from public.products as p where p.id = new.product_id for no key update;
    if seller is null or seller <> auth.uid() then
        -- The policy refuses the row, and the answer is the same whether there is such a product.
        return new;
    end if;
    if (select count(*) from public.product_pictures as p where p.product_id = new.product_id) >= 30 then
        perform private.fail('too_many_product_pictures', new.product_id::text);
    end if;
    update public.media as m set expires_at = null
    where m.id = new.media_id and m.owner_id = seller and m.purpose = 'product'
    returning * into picture;
    if picture.id is null then
        perform private.fail('media_not_found', new.media_id::text);
    elsif picture.status = 'failed' then
        perform private.fail('media_failed', picture.failure::text);
    end if;
    return new;
end
$function$;

create or replace function private.claim_photos (
    provider text,
    max_rows integer
)
    returns table (
        attempt_id uuid,
        owner_id uuid,
        prompt text,
        bucket text,
        path text,
        deadline_at timestamp with time zone
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
begin
    -- The input may have been deleted while it waited.
    perform private.fail_photo(g.id, 'input_gone')
    from (
        select i.id from public.photo_job_items as i
        inner join public.photo_jobs as j on j.id = i.job_id
        where i.status = 'queued' and i.input_media_id is null
        order by j.user_id, i.id
    ) as g;
    return query
    with claimed as (
        update public.photo_job_items as i set
            status = 'sent', sent_at = coalesce(i.sent_at, now()), attempts_count = i.attempts_count + 1
        where i.id in (
            select q.id from public.photo_job_items as q
            where q.status = 'queued' and q.available_at <= now() and q.input_media_id is not null
            order by q.queued_at, q.job_id, q.position
            limit max_rows
            for no key update skip locked
        )
        returning i.*
    ),

    attempts as (
        insert into private.photo_attempts (item_id, no, provider, deadline_at)
        select c.id, c.attempts_count, claim_photos.provider, c.sent_at + s.photo_deadline
        from claimed as c
        cross join private.settings as s
        returning id, item_id, deadline_at
    )

    select a.id, j.user_id, j.prompt, m.bucket, m.derivatives -> 'full' ->> 'path', a.deadline_at
    from attempts as a
    inner join claimed as c on c.id = a.item_id
    inner join public.photo_jobs as j on j.id = c.job_id
    inner join public.media as m on m.id = c.input_media_id
    order by c.queued_at, c.job_id, c.position;
end
$function$;

create or replace function private.create_refund (
    payment_id uuid,
    order_item_id uuid,
    amount_cents bigint,
    reason text,
    origin public.refund_origin default 'automatic'::public.refund_origin,
    paid_outside text default null::text,
    fee_bearer text default 'seller'::text
)
    returns uuid
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.credit_pack_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return query
    select
        l.no, null::text, null::public.license_type, null::text, null::integer,
        jsonb_build_object('bonus_cents', p.bonus_cents * l.quantity, 'valid_days', p.valid_days), 0::bigint,
        case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end
    from unnest(lines) as l
    inner join public.credit_packs as p on p.id = l.item_id;
end
$function$;

create or replace function private.credit_pack_grant (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    bought record;
begin
    for bought in
        select
            i.id, p.owner_id, i.charged_cents - i.tax_cents as paid_cents,
            -- What a coupon paid for is a promotion, too.
            coalesce((i.details ->> 'bonus_cents')::bigint, 0) + i.discount_cents as bonus_cents,
            now() + make_interval(days => (i.details ->> 'valid_days')::integer) as expires_at
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        where p.id = any (ids)
        order by p.owner_id, p.id
    loop
        if bought.paid_cents > 0 then
            perform private.grant_lot(bought.owner_id, 'paid', bought.paid_cents, bought.expires_at, bought.id);
        end if;
        if bought.bonus_cents > 0 then
            perform private.grant_lot(bought.owner_id, 'bonus', bought.bonus_cents, bought.expires_at, bought.id);
        end if;
    end loop;
end
$function$;

create or replace function private.credit_pack_restore (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.follow_credit_purchase(p.order_item_id)
    from (select o.order_item_id from public.purchases as o where o.id = any (ids) order by o.owner_id, o.id) as p;
end
$function$;

create or replace function private.credit_pack_revoke (
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.follow_credit_purchase(p.order_item_id)
    from (select o.order_item_id from public.purchases as o where o.id = any (ids) order by o.owner_id, o.id) as p;
end
$function$;

create or replace function private.credit_priority (
    category text
)
    returns integer
    language plpgsql
    immutable
    parallel safe
    strict
    set search_path to ''
    AS $function$
begin
    return case category when 'trial' then 1 when 'bonus' then 2 else 3 end;
end
$function$;

create or replace function private.dispatch_can_read (
    kind text,
    ids uuid[]
)
    returns SETOF uuid
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    case kind
        when 'article' then
            return query select t.id from public.articles as t where t.id = any (ids);
        when 'artwork' then
            return query select t.id from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select t.id from public.comments as t where t.id = any (ids);
        when 'credit_pack' then
            return query select t.id from public.credit_packs as t where t.id = any (ids);
        when 'group' then
            return query select t.id from public.groups as t where t.id = any (ids);
        when 'message' then
            return query select t.id from public.messages as t where t.id = any (ids);
        when 'post' then
            return query select t.id from public.posts as t where t.id = any (ids);
        when 'product' then
            return query select t.id from public.products as t where t.id = any (ids);
        when 'profile' then
            return query select * from private.profile_can_read(ids);
        when 'tip' then
            return query select t.id from public.tips as t where t.id = any (ids);
        when 'tip_jar' then
            return query select t.id from public.tip_jars as t where t.id = any (ids);
        else
            perform private.fail('cannot_be_reported', kind);
    end case;
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
        when 'credit_pack' then
            return query select * from private.credit_pack_check_line(ids, lines);
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
        when 'credit_pack' then
            if (select bool_or(o.details <> '{}') from unnest(options) as o) then perform private.fail('invalid_option', 'details'); end if;
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
        when 'credit_pack' then
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
        when 'credit_pack' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.credit_packs as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
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
        when 'credit_pack' then
            perform private.credit_pack_grant(ids);
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
        when 'credit_pack' then
            update public.credit_packs as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
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
        when 'credit_pack' then
            perform private.hold_each('public.credit_packs', ids); return query select t.id, t.is_hidden from public.credit_packs as t where t.id = any (ids);
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
        when 'credit_pack' then
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
        when 'credit_pack' then
            return query select t.id, t.seller_id, null::uuid from public.credit_packs as t where t.id = any (ids);
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
        when 'credit_pack' then
            perform private.credit_pack_restore(ids);
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
        when 'credit_pack' then
            perform private.credit_pack_revoke(ids, reason);
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
        when 'credit_pack' then
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

create or replace function private.end_hold (
    user_id uuid,
    lot_ids uuid[],
    lot_cents bigint[],
    outcome text,
    idempotency_key text,
    source_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    total bigint;
    paid bigint;
    void bigint;
    is_spent boolean := outcome = 'succeeded';
    limits private.settings;
begin
    if cardinality(lot_ids) = 0 then
        return;
    end if;
    -- What else a lot had when it ended has ended: only what comes back lives longer.
    if outcome = 'failed' then
        select * into strict limits from private.settings;
        perform private.end_lots(end_hold.user_id);
    end if;
    with ended as (
        update public.credit_lots as l set
            held_cents = l.held_cents - u.cents,
            captured_cents = l.captured_cents + case when is_spent then u.cents else 0 end,
            remaining_cents = l.remaining_cents + case when is_spent or l.is_void then 0 else u.cents end,
            expired_cents = l.expired_cents + case when not is_spent and l.is_void then u.cents else 0 end,
            -- Given back into what has ended, it would be given to nobody.
            expires_at = case
                when outcome = 'failed' and l.expires_at is not null
                    then greatest(l.expires_at, clock_timestamp() + limits.returned_credits_period)
                else l.expires_at
            end
        from unnest(end_hold.lot_ids, end_hold.lot_cents) as u (id, cents)
        where l.id = any (end_hold.lot_ids) and l.id = u.id
        returning u.cents, l.category, l.is_void
    )

    select
        sum(e.cents), coalesce(sum(e.cents) filter (where e.category = 'paid'), 0),
        coalesce(sum(e.cents) filter (where e.is_void), 0)
    into strict total, paid, void
    from ended as e;
    if is_spent then
        perform ledger.post(
            'credits_captured', idempotency_key,
            private.moving_legs(array[
                ledger.leg(end_hold.user_id, 'credits_held', -total), ledger.leg(null, 'revenue', paid),
                ledger.leg(null, 'promotions', total - paid)
            ]),
            source_id
        );
    else
        perform ledger.post(
            'credits_returned', idempotency_key,
            private.moving_legs(array[
                ledger.leg(end_hold.user_id, 'credits_held', -total),
                ledger.leg(end_hold.user_id, 'credits', total - void), ledger.leg(null, 'promotions', void)
            ]),
            source_id
        );
        perform private.repay_credits(end_hold.user_id);
    end if;
end
$function$;

create or replace function private.end_lots (
    user_id uuid
)
    returns integer
    language plpgsql
    set search_path to ''
    AS $function$
declare
    postings ledger.posting[];
begin
    -- As it is under the lock: what was spent in the last moment did not end.
    with changed as (
        update public.credit_lots as l set
            expired_cents = l.expired_cents + b.remaining_cents, remaining_cents = 0, version = l.version + 1
        from public.credit_lots as b
        where
            b.id = l.id and l.user_id = end_lots.user_id and l.expires_at <= clock_timestamp()
            and l.remaining_cents > 0
        returning l.id, l.user_id, l.category, l.version, b.remaining_cents as cents
    )

    select array_agg(
        row('lot:' || c.id || ':' || c.version, c.id, m.owner_id, m.account, m.cents, m.leg_no)::ledger.posting
    ) into postings
    from changed as c
    cross join lateral (
        values
        (c.user_id, 'credits', -c.cents, 1),
        (null, case c.category when 'paid' then 'revenue' else 'promotions' end, c.cents, 2)
    ) as m (owner_id, account, cents, leg_no);
    if postings is null then
        return 0;
    end if;
    perform ledger.post_many('credits_expired', postings);
    return cardinality(postings) / 2;
end
$function$;

create or replace function private.enqueue (
    task text,
    args jsonb,
    run_at timestamp with time zone default null::timestamp with time zone,
    lock_key text default null::text,
    queue text default 'default'::text
)
    returns void
    language plpgsql
    security definer
    set search_path to 'jobs'
    AS $function$
begin
    if to_regtype('jobs.procrastinate_job_to_defer_v1') is null then
        raise warning 'job % not queued: run `avenue jobs install`', task;
        return;
    end if;
    perform jobs.procrastinate_defer_jobs_v1(array[
        row(queue, task, 0, lock_key, null, args, run_at)::jobs.procrastinate_job_to_defer_v1
    ]);
end
$function$;

create or replace function private.erase_account (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- A slow request keeps nobody from leaving.
    perform private.hold_rows('public.profiles', 't.id = $1', erase_account.user_id);
    -- Ends membership and hides everything; what else there is follows, see follow_account().
    update public.profiles as p set
        username = 'deleted-' || left(encode(sha256(uuid_send(p.id)), 'hex'), 22),
        display_name = null, full_name = null, bio = null, avatar_url = null, banner_url = null,
        avatar_media_id = null, banner_media_id = null, smart_link = null, website_url = null, experience_level = null, role = 'member', profile_visibility = 'members_only',
        is_partner_account = false, deleted_at = now()
    where p.id = erase_account.user_id and p.deleted_at is null;
end
$function$;

create or replace function private.erase_archives (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.photo_jobs as j set archive_path = null, archive_bytes = null, expires_at = null
    where j.user_id = erase_archives.user_id and j.expires_at is not null;
    if found then
        perform private.enqueue('expire_photo_jobs', '{}');
    end if;
end
$function$;

create or replace function private.erase_files_of_media()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if exists (select from gone) then
        perform private.enqueue(
            'erase_media_files', jsonb_build_object('media_ids', (select jsonb_agg(g.id) from gone as g))
        );
    end if;
    return null;
end
$function$;

create or replace function private.erase_photo_jobs (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.return_photos(j.id)
    from public.photo_jobs as j
    where j.user_id = erase_photo_jobs.user_id and j.status in ('pending', 'processing');
    update public.photo_jobs as j set prompt = null, group_name = null, client_key = null
    where j.user_id = erase_photo_jobs.user_id;
end
$function$;

create or replace function private.expire_credits (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    owner uuid;
    count integer := 0;
begin
    for owner in
        select distinct d.user_id
        from (
            select l.user_id from public.credit_lots as l
            where l.expires_at <= now() and l.remaining_cents > 0
            order by l.expires_at
            limit max_rows
        ) as d
        order by d.user_id
    loop
        perform private.lock_credits(owner);
        count := count + private.end_lots(owner);
    end loop;
    return count;
end
$function$;

create or replace function private.expire_media (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    chosen uuid [] := array(
        select m.id from public.media as m
        where m.expires_at <= now()
        order by m.expires_at
        limit max_rows
        for update skip locked
    );
    used uuid [] := array(
        select u.id from private.used_media(chosen) as u (id)
        inner join public.media as m on m.id = u.id
        inner join private.media_purposes as p on p.purpose = m.purpose and p.is_public
    );
begin
    -- Private ones have their time, whatever still refers to them.
    update public.media as m set expires_at = null where m.id = any (used);
    delete from public.media as m where m.id = any (chosen) and m.id <> all (used);
    return cardinality(chosen);
end
$function$;

create or replace function private.expire_photo_jobs (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    told integer;
    ended integer;
begin
    -- A week before, once: people delete notices.
    with soon as (
        update public.photo_jobs as j set noted_at = now()
        where j.id in (
            select o.id from public.photo_jobs as o
            where
                o.expires_at between now() and now() + interval '7 days' and o.succeeded_count > 0 and not o.is_demo
                and o.noted_at is null
            order by o.expires_at
            limit max_rows
            for no key update skip locked
        )
        returning j.id, j.user_id
    )

    select count(private.notify(s.user_id, 'photo_job_expiring', null, 'photo_job', s.id)) into told from soon as s;
    with over as (
        update public.photo_jobs as j set archive_path = null, archive_bytes = null, expires_at = null
        where j.id in (
            select o.id from public.photo_jobs as o
            where o.expires_at <= now()
            order by o.expires_at
            limit max_rows
            for no key update skip locked
        )
        returning j.id
    )

    select count(*) into ended from over as o;
    return told + ended;
end
$function$;

create or replace function private.expire_photos (
    max_rows integer
)
    returns table (
        item_id uuid,
        job_id uuid
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    late public.photo_job_items;
begin
    for late in
        -- By whose they are: their credits are locked one after the other.
        select (d.photo).*
        from (
            select i as photo, j.user_id
            from public.photo_job_items as i
            inner join public.photo_jobs as j on j.id = i.job_id
            where
                i.status in ('queued', 'sent', 'unknown')
                and i.sent_at < now() - (select s.photo_deadline from private.settings as s)
            order by i.sent_at
            limit max_rows
        ) as d
        order by d.user_id, (d.photo).id
    loop
        perform private.fail_photo(late.id, 'timed_out');
        if exists (
            select from public.photo_job_items as i where i.id = late.id and i.failure = 'timed_out'
        ) then
            update private.photo_attempts as a set verdict = 'timed_out', code = 'timed_out'
            where a.item_id = late.id and a.verdict is null;
            perform private.audit('photo_timed_out', 'photo_job', late.job_id, jsonb_build_object(
                'item_id', late.id
            ), 'deadline');
            item_id := late.id;
            job_id := late.job_id;
            return next;
        end if;
    end loop;
end
$function$;

create or replace function private.fail_photo (
    item_id uuid,
    failure text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    owner uuid;
    photo public.photo_job_items;
begin
    select j.user_id into owner
    from public.photo_job_items as i
    inner join public.photo_jobs as j on j.id = i.job_id
    where i.id = fail_photo.item_id;
    if not private.is_platform(owner) then
        perform private.lock_credits(owner);
    end if;
    update public.photo_job_items as i set
        status = 'failed', failure = fail_photo.failure, finished_at = now()
    where i.id = fail_photo.item_id and i.status in ('queued', 'sent', 'unknown')
    returning * into photo;
    if photo.id is not null then
        perform private.end_hold(
            owner, photo.lot_ids, photo.lot_cents, 'failed', 'photo:' || photo.id || ':settled', photo.id
        );
    end if;
end
$function$;

create or replace function private.finish_photo_job()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(
        new.user_id, case when new.status = 'completed' then 'photo_job_completed' else 'photo_job_failed' end, null,
        'photo_job', new.id
    );
    return null;
end
$function$;

create or replace function private.follow_credit_purchase (
    line uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    sale public.transactions;
    paid public.credit_lots;
    bonus public.credit_lots;
    is_revoked boolean;
    is_unused boolean;
    target bigint;
    change bigint;
    part bigint;
    debt bigint;
begin
    select * into sale from public.transactions as t where t.order_item_id = line;
    select * into paid from public.credit_lots as l where l.order_item_id = line and l.category = 'paid';
    if paid.id is null or sale.id is null then
        return;
    end if;
    debt := (private.lock_credits(paid.user_id)).debt_cents;
    select * into strict paid from public.credit_lots as l where l.id = paid.id for no key update;
    select * into bonus from public.credit_lots as l
    where l.order_item_id = line and l.category = 'bonus'
    for no key update;
    is_revoked := not exists (
        select from public.purchases as p where p.order_item_id = line and p.revoked_at is null
    );
    -- Under way: to come off what is left of the payment's lines, this one first where it is named.
    target := sale.refunded_credits_cents + coalesce((
        select sum(case
            when r.order_item_id = line then r.amount_cents
            else ceil(
                r.amount_cents * (sale.amount_total_cents - sale.refunded_cents)
                / nullif((
                    select sum(t.amount_total_cents - t.refunded_cents) from public.transactions as t
                    where t.payment_id = sale.payment_id
                ), 0)
            )
        end)
        from public.refunds as r
        where
            r.payment_id = sale.payment_id and coalesce(r.order_item_id, line) = line
            and (r.is_open or r.status = 'succeeded' and r.booked_at is null)
    ), 0);
    is_unused := exists (
        select from public.refunds as r
        where r.order_item_id = line and r.reason = 'unused_credits' and (r.is_open or r.status = 'succeeded')
    );
    if is_revoked or target > paid.amount_cents then
        target := paid.amount_cents;
    end if;

    change := target - paid.taken_back_cents - paid.owed_cents;
    if change > 0 then
        part := least(change, paid.remaining_cents);
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents - part, taken_back_cents = l.taken_back_cents + part,
            owed_cents = l.owed_cents + change - part, version = l.version + 1
        where l.id = paid.id
        returning * into paid;
        perform ledger.post(
            'credits_taken_back', 'lot:' || paid.id || ':' || paid.version,
            private.moving_legs(array[
                ledger.leg(paid.user_id, 'credits', -part), ledger.leg(paid.user_id, 'credits_debt', part - change),
                ledger.leg(null, 'refunds_payable', change)
            ]),
            paid.id
        );
    elsif change < 0 then
        -- It was not given back after all: the debt ends first, what of it was repaid meanwhile is a new lot.
        part := least(-change, paid.taken_back_cents);
        debt := least(debt, -change - part);
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents + part, taken_back_cents = l.taken_back_cents - part,
            owed_cents = l.owed_cents + change + part, version = l.version + 1,
            expires_at = greatest(l.expires_at, case
                when l.expires_at is not null
                    then now() + (select s.returned_credits_period from private.settings as s)
            end)
        where l.id = paid.id
        returning * into paid;
        if -change > part + debt then
            insert into public.credit_lots (user_id, category, amount_cents, remaining_cents, expires_at)
            values (paid.user_id, 'paid', -change - part - debt, -change - part - debt, paid.expires_at);
        end if;
        perform ledger.post(
            'credits_taken_back', 'lot:' || paid.id || ':' || paid.version,
            private.moving_legs(array[
                ledger.leg(paid.user_id, 'credits', -change - debt), ledger.leg(paid.user_id, 'credits_debt', debt),
                ledger.leg(null, 'refunds_payable', change)
            ]),
            paid.id
        );
    end if;

    if bonus.id is not null and bonus.is_void <> (is_revoked or is_unused) then
        part := case when bonus.is_void then bonus.expired_cents else bonus.remaining_cents end;
        update public.credit_lots as l set
            is_void = not l.is_void, version = l.version + 1,
            remaining_cents = case when l.is_void then l.remaining_cents + part else 0 end,
            expired_cents = l.expired_cents + case when l.is_void then -part else part end,
            expires_at = case
                when l.is_void and l.expires_at is not null then greatest(
                    l.expires_at, now() + (select s.returned_credits_period from private.settings as s)
                )
                else l.expires_at
            end
        where l.id = bonus.id
        returning * into bonus;
        if part > 0 then
            perform ledger.post(
                case when bonus.is_void then 'credits_expired' else 'credits_granted' end::ledger.journal_kind,
                'lot:' || bonus.id || ':' || bonus.version,
                array[
                    ledger.leg(bonus.user_id, 'credits', case when bonus.is_void then -part else part end),
                    ledger.leg(null, 'promotions', case when bonus.is_void then part else -part end)
                ],
                bonus.id
            );
        end if;
    end if;
    perform private.repay_credits(paid.user_id);
end
$function$;

create or replace function private.follow_credit_refund()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.follow_credit_purchase(t.order_item_id)
    from public.transactions as t
    where
        t.payment_id = new.payment_id and t.amount_credits_cents > 0
        and coalesce(new.order_item_id, t.order_item_id) = t.order_item_id;
    return null;
end
$function$;

create or replace function private.follow_photos()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    with ended as (
        select
            n.job_id,
            count(*) filter (where n.status = 'succeeded')::integer as succeeded,
            count(*) filter (where n.status = 'failed')::integer as failed,
            count(*) filter (where n.status = 'returned')::integer as returned,
            coalesce(sum(n.cost_cents) filter (where n.status = 'succeeded'), 0)::bigint as captured
        from changed_to as n
        inner join changed_from as o on o.id = n.id and o.status <> n.status
        group by n.job_id
    )

    update public.photo_jobs as j set
        succeeded_count = j.succeeded_count + e.succeeded, failed_count = j.failed_count + e.failed,
        returned_count = j.returned_count + e.returned, captured_cents = j.captured_cents + e.captured,
        status = case
            when
                j.succeeded_count + e.succeeded + j.failed_count + e.failed + j.returned_count + e.returned
                < j.photo_count
                then case
                    when e.returned + e.failed = 0 then 'processing'
                    else j.status::text
                end
            when j.succeeded_count + e.succeeded > 0 then 'completed'
            when j.returned_count + e.returned = j.photo_count then 'cancelled'
            else 'failed'
        end::public.photo_job_status,
        finished_at = case
            when
                j.succeeded_count + e.succeeded + j.failed_count + e.failed + j.returned_count + e.returned
                = j.photo_count
                then now()
        end,
        expires_at = case
            when
                j.succeeded_count + e.succeeded + j.failed_count + e.failed + j.returned_count + e.returned
                = j.photo_count
                then now() + (select s.photo_result_kept from private.settings as s)
        end
    from (select * from ended as d order by d.job_id) as e
    where j.id = e.job_id;
    return null;
end
$function$;

create or replace function private.forfeit_credits (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.credit_lots as l set expires_at = least(l.expires_at, now())
    where l.user_id = forfeit_credits.user_id and l.remaining_cents + l.held_cents > 0;
end
$function$;

create or replace function private.forget_archive()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.photo_jobs as j set archive_path = null, archive_bytes = null, archive_asked_at = null
    where
        j.archive_path is not null
        and j.id in (select i.job_id from public.photo_job_items as i where i.result_media_id = old.id);
    return old;
end
$function$;

create or replace function private.grant_lot (
    user_id uuid,
    category text,
    amount_cents bigint,
    expires_at timestamp with time zone,
    order_item_id uuid default null::uuid
)
    returns public.credit_lots
    language plpgsql
    set search_path to ''
    AS $function$
declare
    lot public.credit_lots;
begin
    perform private.lock_credits(grant_lot.user_id);
    insert into public.credit_lots (user_id, category, order_item_id, amount_cents, remaining_cents, expires_at)
    values (
        grant_lot.user_id, grant_lot.category, grant_lot.order_item_id, grant_lot.amount_cents, grant_lot.amount_cents,
        grant_lot.expires_at
    )
    returning * into lot;
    -- What was paid is a leg of its sale.
    if lot.category <> 'paid' then
        perform ledger.post(
            'credits_granted', 'lot:' || lot.id || ':granted',
            array[
                ledger.leg(null, 'promotions', -lot.amount_cents), ledger.leg(lot.user_id, 'credits', lot.amount_cents)
            ],
            lot.id
        );
    end if;
    update private.credit_balances as b set low_noted_at = null
    where b.user_id = lot.user_id and b.low_noted_at is not null;
    return lot;
end
$function$;

create or replace function private.guard_object()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'DELETE' then
        if private.is_pinned(old.bucket_id, old.name) then
            -- Skipped, so that the rest of a batch goes.
            return null;
        end if;
        return old;
    end if;
    if tg_op = 'UPDATE' and private.is_pinned(old.bucket_id, old.name)
        and (
            new.bucket_id, new.name, new.version, new.metadata -> 'eTag', new.metadata -> 'size',
            new.metadata -> 'mimetype'
        ) is distinct from (
            old.bucket_id, old.name, old.version, old.metadata -> 'eTag', old.metadata -> 'size',
            old.metadata -> 'mimetype'
        )
    then
        -- An error, not a skipped row: Storage then drops the new bytes and keeps the old ones.
        raise insufficient_privilege using message = 'This file was sold, sent or taken and does not change.';
    end if;
    -- A member's, whoever writes the row.
    if new.owner_id is not null
        and new.bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments', 'uploads')
    then
        -- Held until the row is there: an account that ends just now finds the file and erases it.
        perform from public.profiles as p
        where
            p.id = case when private.is_uuid(new.owner_id) then new.owner_id::uuid end
            and p.deleted_at is null and not p.is_banned
        for share;
        if not found then
            raise insufficient_privilege using message = 'This account does not store files.';
        elsif not private.bucket_takes(new.bucket_id, new.metadata) then
            raise insufficient_privilege using message = 'This bucket does not take files of this size or type.';
        end if;
    end if;
    return new;
end
$function$;

create or replace function private.hold_media_users (
    picture public.media
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    place private.media_columns;
begin
    for place in
        select * from private.media_columns as c where c.purpose = picture.purpose order by c.relation, c.media_column
    loop
        execute format(
            'select from %s as t where t.%I = $1 order by t.ctid for no key update', place.relation, place.media_column
        ) using picture.id;
    end loop;
end
$function$;

create or replace function private.is_pinned (
    bucket_id text,
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return case is_pinned.bucket_id
        when 'product-files' then exists (
            select from public.product_files as f where f.path = is_pinned.name and f.taken_down_at is null
        )
        when 'attachments' then private.is_sent_attachment(is_pinned.name)
        when 'uploads' then private.is_taken_upload(is_pinned.name)
        else false
    end;
end
$function$;

create or replace function private.is_taken_upload (
    path text
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select exists (
        select from private.media_sources as s
        inner join public.media as m on m.id = s.media_id
        where s.path = is_taken_upload.path and m.status = 'pending'
    )
$function$;

create or replace function private.is_worked_on (
    media_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.photo_job_items as i
        where
            is_worked_on.media_id in (i.input_media_id, i.result_media_id)
            and i.status in ('queued', 'sent', 'unknown')
    );
end
$function$;

create or replace function private.keep_fingerprints (
    media_id uuid,
    picture jsonb
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    insert into private.media_fingerprints (media_id, ground, fingerprint)
    select keep_fingerprints.media_id, f.key, f.value::bit(64)
    from jsonb_each_text(picture -> 'fingerprints') as f
$function$;

create or replace function private.lock_credit_sales (
    payment_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.lock_credits (
    user_id uuid
)
    returns private.credit_balances
    language plpgsql
    set search_path to ''
    AS $function$
declare
    balance private.credit_balances;
begin
    select * into balance from private.credit_balances as b where b.user_id = lock_credits.user_id for no key update;
    if balance.user_id is null then
        perform private.open_credits(lock_credits.user_id);
        select * into strict balance from private.credit_balances as b
        where b.user_id = lock_credits.user_id
        for no key update;
    end if;
    return balance;
end
$function$;

create or replace function private.make_media_column (
    relation regclass,
    media_column text,
    purpose text,
    owner_column text,
    urls jsonb
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    insert into private.media_columns (relation, media_column, purpose, owner_column, urls)
    values (relation::text, media_column, purpose, owner_column, urls);
    execute private.fill($text$
alter table {relation} add constraint {constraint}
foreign key ({column}) references public.media (id) on delete set null;
comment on constraint {constraint} on {relation} is 'media_not_found: There is no such picture.';
create index {name}_{column}_idx on {relation} ({column}) where {column} is not null;
comment on column {relation}.{column} is
'The picture: one of purpose {purpose} that its owner made. Its copies'' addresses are in {columns} then.';
create trigger attach_{column} before insert or update of {column}, {columns} on {relation}
for each row execute function private.attach_media({arguments});
create trigger unuse_{column} after delete or update of {column}, {columns} on {relation}
for each row execute function private.release_media('{column}');
$text$, jsonb_build_object(
        'relation', relation, 'name', private.name_of(relation), 'column', media_column, 'purpose', purpose,
        'constraint', private.name_of(relation) || '_' || media_column || '_fkey',
        'columns', (select string_agg(u.name, ', ' order by u.name) from jsonb_object_keys(urls) as u (name)),
        'arguments', format('%L, %L, %L, %L', media_column, purpose, owner_column, urls)
    ));
end
$function$;

create or replace function private.media_addresses (
    picture public.media,
    urls jsonb
)
    returns jsonb
    language sql
    immutable
    set search_path to ''
    AS $function$
    select coalesce(jsonb_object_agg(u.key, picture.derivatives -> u.value ->> 'url'), '{}')
    from jsonb_each_text(urls) as u
$function$;

create or replace function private.media_failed (
    media_id uuid,
    failure text
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    picture public.media;
begin
    select * into picture from public.media as m where m.id = media_failed.media_id;
    perform private.hold_media_users(picture);
    update public.media as m set status = 'failed', failure = media_failed.failure::public.media_failure
    where m.id = media_failed.media_id and m.status = 'pending';
    return found;
end
$function$;

create or replace function private.media_files_to_erase (
    media_ids uuid[],
    max_rows integer
)
    returns table (
        bucket text,
        path text
    )
    language plpgsql
    stable
    security definer
    set plan_cache_mode to 'force_custom_plan'
    set search_path to ''
    AS $function$
declare
    one uuid;
begin
    foreach one in array media_ids loop
        return query
        select o.bucket_id, o.name from storage.objects as o
        where
            o.name like one::text || '/%' and o.bucket_id in (select p.bucket from private.media_purposes as p)
            and not exists (
                select from public.media as m
                where
                    m.id = one
                    and (m.status = 'pending' or jsonb_path_exists(
                        m.derivatives, '$.*.path ? (@ == $name)', jsonb_build_object('name', o.name)
                    ))
            )
        limit max_rows;
    end loop;
end
$function$;

create or replace function private.media_purpose (
    purpose text
)
    returns table (
        bucket text,
        sizes text[],
        is_public boolean
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select p.bucket, p.sizes, p.is_public from private.media_purposes as p where p.purpose = media_purpose.purpose
$function$;

create or replace function private.media_ready (
    media_id uuid,
    picture jsonb
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    made public.media;
begin
    select * into made from public.media as m where m.id = media_ready.media_id;
    perform private.hold_media_users(made);
    update public.media as m set
        status = 'ready', ready_at = now(), content_type = picture ->> 'content_type',
        width = (picture ->> 'width')::integer, height = (picture ->> 'height')::integer, color = picture ->> 'color',
        is_animated = (picture ->> 'is_animated')::boolean, derivatives = picture -> 'derivatives'
    where m.id = media_ready.media_id and m.status = 'pending'
    returning * into made;
    if not found then
        return false;
    end if;
    perform private.keep_fingerprints(made.id, picture);
    perform private.show_media(made);
    return true;
end
$function$;

create or replace function private.media_to_process (
    media_id uuid
)
    returns table (
        path text,
        size_bytes bigint,
        bucket text,
        sizes text[],
        is_public boolean
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select s.path, (o.metadata ->> 'size')::bigint, p.bucket, p.sizes, p.is_public
    from public.media as m
    inner join private.media_purposes as p on p.purpose = m.purpose
    inner join private.media_sources as s on s.media_id = m.id
    left join storage.objects as o on o.bucket_id = 'uploads' and o.name = s.path and o.id = s.object_id
    where m.id = media_to_process.media_id and m.status = 'pending'
$function$;

create or replace function private.move_credits (
    legs ledger.leg[],
    owners uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    if cardinality(owners) > 1 then
        perform from private.credit_balances as b where b.user_id = any (owners) order by b.user_id for no key update;
    end if;
    update private.credit_balances as b set
        (available_cents, held_cents, debt_cents) = (
            select
                b.available_cents + coalesce(sum(l.amount_cents) filter (where l.account = 'credits'), 0)::bigint,
                b.held_cents + coalesce(sum(l.amount_cents) filter (where l.account = 'credits_held'), 0)::bigint,
                b.debt_cents - coalesce(sum(l.amount_cents) filter (where l.account = 'credits_debt'), 0)::bigint
            from unnest(legs) as l
            where l.owner_id = b.user_id
        )
    where b.user_id = any (owners);
end
$function$;

create or replace function private.open_credits (
    user_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    insert into private.credit_balances (user_id) values (open_credits.user_id)
    on conflict on constraint credit_balances_pkey do nothing;
    insert into ledger.accounts (owner_id, code)
    select open_credits.user_id, c.code from unnest(array['credits', 'credits_held', 'credits_debt']) as c (code)
    on conflict do nothing;
end
$function$;

create or replace function private.payment_attempt (
    payment_id uuid
)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return (select private.attempt_request(p) from public.payments as p where p.id = payment_attempt.payment_id);
end
$function$;

create or replace function private.payment_cancelled (
    payment_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt public.payments;
begin
    select * into strict attempt from public.payments as p where p.id = payment_cancelled.payment_id for no key update;
    if attempt.is_open then
        update public.payments as p set status = 'cancelled' where p.id = attempt.id;
        perform private.cancel_pending_order(
            attempt.order_id, case when attempt.expires_at <= now() then 'expired' else 'cancelled_at_provider' end
        );
    end if;
    delete from private.payment_closings as c where c.payment_id = attempt.id;
    delete from private.session_requests as r where r.payment_id = attempt.id;
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
    end if;
    if found.id is null and private.is_uuid(named) then
        select * into claimed from public.payments as p where p.id = named::uuid for no key update;
        if claimed.provider_ref = intent then
            -- Noted by somebody else while this waited for the row.
            found := claimed;
        elsif claimed.provider_ref is not null then
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
    -- Paid a second time: what is about the second charge waits until that is booked.
    if found.provider_ref = intent and charge <> found.charge_id and found.succeeded_at is not null then
        perform private.fail('event_too_early', format('payment %s was paid by %s', found.id, found.charge_id));
    end if;
    return found;
end
$function$;

create or replace function private.payment_state (
    payment_id uuid,
    user_id uuid
)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    attempt public.payments;
begin
    select * into attempt from public.payments as p
    where p.id = payment_state.payment_id and p.user_id = payment_state.user_id;
    if attempt.id is null then
        perform private.fail('payment_not_found');
    end if;
    return private.attempt_request(attempt) || jsonb_build_object(
        'is_settled', attempt.succeeded_at is not null, 'order', private.order_summary(attempt.order_id)
    );
end
$function$;

create or replace function private.payments_to_cancel (
    max_rows integer
)
    returns table (
        payment_id uuid,
        provider text,
        provider_ref text
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
begin
    -- Marked as tried in the same statement, here and in every sweep: what cannot be cancelled now, such as a bank debit
    -- under way, goes to the end instead of keeping the others back.
    return query
    update public.payments as p set checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where
            o.is_open and o.started_at is not null
            and o.provider <> 'wallet' and (o.expires_at <= now() or o.cancel_requested_at is not null)
        order by o.checked_at nulls first, o.expires_at
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, coalesce(p.stripe_session_id, p.provider_ref);
    return query
    update private.payment_closings as c set tried_at = now()
    from public.payments as p
    where
        p.id = c.payment_id and c.payment_id in (
            select o.payment_id from private.payment_closings as o
            order by o.tried_at nulls first
            limit max_rows
            for no key update skip locked
        )
    returning p.id, p.provider::text, coalesce(p.stripe_session_id, p.provider_ref);
end
$function$;

create or replace function private.payments_to_reconcile (
    max_rows integer
)
    returns table (
        payment_id uuid,
        provider text,
        provider_ref text
    )
    language sql
    security definer
    set search_path to ''
    AS $function$
    -- Marked as asked in the same statement: an attempt the provider cannot answer for must not block the others.
    update public.payments as p set checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where
            o.is_open and coalesce(o.stripe_session_id, o.provider_ref) is not null
            and o.started_at < now() - (select s.reconcile_after from private.settings as s)
            and coalesce(o.checked_at, '-infinity') < now() - (select s.reconcile_after from private.settings as s)
        order by o.checked_at nulls first
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, coalesce(p.stripe_session_id, p.provider_ref)
$function$;

create or replace function private.pending_media (
    max_rows integer
)
    returns table (
        media_id uuid,
        is_last_try boolean
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select m.id, m.created_at < now() - interval '2 days' from public.media as m
    where m.status = 'pending' and m.created_at < now() - interval '10 minutes'
    order by m.created_at
    limit max_rows
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
    if person is null and object ->> 'object' = 'checkout.session' then
        select p.user_id into person from public.payments as p where p.stripe_session_id = object ->> 'id';
    end if;
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

create or replace function private.photo_attempt (
    attempt_id uuid
)
    returns table (
        attempt_id uuid,
        owner_id uuid,
        provider text,
        provider_ref text,
        is_open boolean
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select a.id, j.user_id, a.provider, a.provider_ref, a.ended_at is null
    from private.photo_attempts as a
    inner join public.photo_job_items as i on i.id = a.item_id
    inner join public.photo_jobs as j on j.id = i.job_id
    where a.id = photo_attempt.attempt_id
$function$;

create or replace function private.photo_cost (
    photo_count integer
)
    returns bigint
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return (
        select
            (s.photo_cost_cents * photo_cost.photo_count * (10000 - coalesce((
                select d.discount_bps from private.photo_discounts as d
                where d.from_count <= photo_cost.photo_count
                order by d.from_count desc
                limit 1
            ), 0)) + 5000) / 10000
        from private.settings as s
    );
end
$function$;

create or replace function private.photo_delivered (
    attempt_id uuid,
    provider_ref text
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if not exists (select from private.photo_attempts as a where a.id = photo_delivered.attempt_id) then
        return false;
    end if;
    perform private.photo_sent(photo_delivered.attempt_id, photo_delivered.provider_ref);
    perform private.enqueue(
        'check_photo', jsonb_build_object('attempt_id', photo_delivered.attempt_id), null,
        'photo:' || photo_delivered.attempt_id, 'slow'
    );
    return true;
end
$function$;

create or replace function private.photo_job_of (
    wanted public.photo_jobs,
    media_ids uuid[]
)
    returns public.photo_jobs
    language plpgsql
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    made public.photo_jobs;
begin
    if wanted.client_key is null then
        return null;
    end if;
    select * into made from public.photo_jobs as j
    where j.user_id = wanted.user_id and j.client_key = wanted.client_key;
    -- Pictures that are no longer kept are not compared.
    if made.id is not null and (
        made.prompt <> wanted.prompt or photo_job_of.media_ids <> array(
            select coalesce(i.input_media_id, photo_job_of.media_ids[i.position]) from public.photo_job_items as i
            where i.job_id = made.id
            order by i.position
        )
    ) then
        perform private.fail('idempotency_key_reused', 'client_key');
    end if;
    return made;
end
$function$;

create or replace function private.photo_not_sent (
    attempt_id uuid,
    detail text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt private.photo_attempts;
begin
    select * into attempt from private.photo_attempts as a where a.id = photo_not_sent.attempt_id;
    perform from public.photo_job_items as i where i.id = attempt.item_id for no key update;
    update private.photo_attempts as a set
        verdict = 'not_sent', detail = left(photo_not_sent.detail, 500), ended_at = now()
    where a.id = attempt.id and a.ended_at is null and a.provider_ref is null;
    if found then
        -- Longer each time, up to an hour; the deadline still counts from the first.
        update public.photo_job_items as i set
            status = 'queued', available_at = now() + least(
                interval '5 seconds' * 2 ^ least(i.attempts_count, 12), interval '1 hour'
            )
        where i.id = attempt.item_id and i.attempts_count = attempt.no and i.status in ('sent', 'unknown');
    end if;
end
$function$;

create or replace function private.photo_sent (
    attempt_id uuid,
    provider_ref text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt private.photo_attempts;
begin
    update private.photo_attempts as a set
        provider_ref = coalesce(a.provider_ref, photo_sent.provider_ref), checked_at = now()
    where a.id = photo_sent.attempt_id
    returning * into attempt;
    update public.photo_job_items as i set status = 'sent'
    where i.id = attempt.item_id and i.attempts_count = attempt.no and i.status = 'unknown';
end
$function$;

create or replace function private.photo_unknown (
    attempt_id uuid,
    detail text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt private.photo_attempts;
begin
    update private.photo_attempts as a set detail = left(photo_unknown.detail, 500), checked_at = now()
    where a.id = photo_unknown.attempt_id and a.ended_at is null
    returning * into attempt;
    update public.photo_job_items as i set status = 'unknown'
    where i.id = attempt.item_id and i.attempts_count = attempt.no and i.status = 'sent';
end
$function$;

create or replace function private.photos_to_check (
    max_rows integer
)
    returns table (
        attempt_id uuid,
        owner_id uuid,
        provider text,
        provider_ref text,
        created_at timestamp with time zone
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
begin
    return query
    with due as (
        update private.photo_attempts as a set checked_at = now()
        where a.id in (
            select o.id from private.photo_attempts as o
            -- The first moments belong to whoever is just sending it, and to the provider to know of it.
            where
                o.ended_at is null
                -- Somebody who has not said what it cost a day after its end will not.
                and o.deadline_at > now() - interval '1 day'
                and o.checked_at < now() - case
                    when o.provider_ref is null then interval '2 minutes' else interval '50 seconds'
                end
            order by o.checked_at
            limit max_rows
            for no key update skip locked
        )
        returning a.*
    )

    select d.id, j.user_id, d.provider, d.provider_ref, d.created_at
    from due as d
    inner join public.photo_job_items as i on i.id = d.item_id
    inner join public.photo_jobs as j on j.id = i.job_id
    order by d.created_at;
end
$function$;

create or replace function private.picture_remade (
    bucket text,
    path text,
    failure text
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    insert into private.remade_pictures as r (object_id, version, failure)
    select o.id, o.version, picture_remade.failure from storage.objects as o
    where o.bucket_id = picture_remade.bucket and o.name = picture_remade.path
    on conflict on constraint remade_pictures_pkey do update set
        version = excluded.version, failure = excluded.failure
$function$;

create or replace function private.pictures_to_remake (
    after_bucket text,
    after_path text,
    max_rows integer
)
    returns table (
        bucket text,
        path text,
        version text
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select o.bucket_id, o.name, o.version from storage.objects as o
    where
        o.bucket_id in ('avatars', 'banners', 'media') and o.metadata ->> 'mimetype' like 'image/%'
        and (o.bucket_id, o.name) > (coalesce(after_bucket, ''), coalesce(after_path, ''))
        and not exists (
            select from private.remade_pictures as r
            where r.object_id = o.id and r.version is not distinct from o.version
        )
    order by o.bucket_id, o.name
    limit max_rows
$function$;

create or replace function private.place_photo_job (
    job public.photo_jobs,
    media uuid[]
)
    returns public.photo_jobs
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    prices bigint[] := private.split_cents(job.cost_cents, array_fill(1::bigint, array[job.photo_count]));
    placed bigint;
    made public.photo_jobs;
begin
    insert into public.photo_jobs (user_id, prompt, photo_count, cost_cents, group_name, client_key, retry_of)
    values (
        job.user_id, job.prompt, job.photo_count, job.cost_cents, job.group_name, job.client_key, job.retry_of
    )
    returning * into made;
    -- Photo by photo from lot after lot, in the order in which lots are used.
    with lots as (
        select
            l.id, l.remaining_cents, sum(l.remaining_cents) over burn - l.remaining_cents as before
        from public.credit_lots as l
        where
            made.cost_cents > 0 and l.user_id = made.user_id and l.remaining_cents > 0
            and coalesce(l.expires_at > clock_timestamp(), true)
        window burn as (order by l.expires_at nulls last, private.credit_priority(l.category), l.created_at, l.id)
    ),

    used as materialized (
        select l.id, l.before, least(l.remaining_cents, made.cost_cents - l.before)::bigint as cents
        from lots as l
        where l.before < made.cost_cents
    ),

    held as (
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents - u.cents, held_cents = l.held_cents + u.cents
        from used as u
        where l.id = u.id
        returning u.cents
    ),

    photos as (
        select p.no, p.price, sum(p.price) over (order by p.no) - p.price as before
        from unnest(prices) with ordinality as p (price, no)
    ),

    items as (
        insert into public.photo_job_items (job_id, position, input_media_id, cost_cents, lot_ids, lot_cents)
        select made.id, p.no, media[p.no], p.price, coalesce(f.ids, '{}'), coalesce(f.cents, '{}')
        from photos as p
        left join lateral (
            select
                array_agg(u.id order by u.before) as ids,
                array_agg(
                    (least(p.before + p.price, u.before + u.cents) - greatest(p.before, u.before))::bigint
                    order by u.before
                ) as cents
            from used as u
            where u.before < p.before + p.price and p.before < u.before + u.cents
        ) as f on true
    )

    select coalesce(sum(h.cents), 0) into strict placed from held as h;
    if placed < made.cost_cents then
        perform private.fail('insufficient_credits', format('%s needed, %s there', made.cost_cents, placed));
    end if;
    if made.cost_cents > 0 then
        perform ledger.post(
            'credits_held', 'photo_job:' || made.id,
            array[
                ledger.leg(made.user_id, 'credits', -made.cost_cents),
                ledger.leg(made.user_id, 'credits_held', made.cost_cents)
            ],
            made.id
        );
    end if;
    -- Who finds others waiting is behind them in the queue: the workers are at it. A commit that notifies waits for all
    -- others that do.
    if not exists (
        select from public.photo_job_items as q
        where q.status = 'queued' and q.job_id <> made.id and q.available_at <= now()
    ) then
        perform private.enqueue('send_photos', '{}', queue => 'slow');
    end if;
    return made;
end
$function$;

create or replace function private.publish_media (
    owner_id uuid,
    purpose text,
    media_id uuid,
    picture jsonb
)
    returns uuid
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- An account that ends just now finds it and erases it.
    perform from public.profiles as p where p.id = publish_media.owner_id and p.deleted_at is null for share;
    if not found then
        perform private.fail('user_not_found', publish_media.owner_id::text);
    end if;
    insert into public.media (
        id, owner_id, purpose, status, ready_at, bucket, content_type, width, height, color, is_animated, derivatives,
        expires_at
    )
    select
        publish_media.media_id, publish_media.owner_id, p.purpose, 'ready', now(), p.bucket,
        picture ->> 'content_type', (picture ->> 'width')::integer, (picture ->> 'height')::integer,
        picture ->> 'color', (picture ->> 'is_animated')::boolean, picture -> 'derivatives',
        -- Whoever asked for it may die before it says so.
        case when not p.is_public then now() + interval '1 day' end
    from private.media_purposes as p
    where p.purpose = publish_media.purpose;
    if not found then
        perform private.fail('unknown_purpose', publish_media.purpose);
    end if;
    perform private.keep_fingerprints(publish_media.media_id, picture);
    return publish_media.media_id;
end
$function$;

create or replace function private.purposes_of_address (
    owner uuid,
    address text
)
    returns table (
        purpose text,
        sizes text[]
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    place private.media_columns;
    is_shown boolean;
begin
    for place in select * from private.media_columns as c order by c.relation, c.media_column loop
        execute format(
            'select exists (select from %s as t where %s)', place.relation,
            private.shown_at(owner, address, place)
        ) into is_shown;
        if is_shown then
            return query select p.purpose, p.sizes from private.media_purposes as p where p.purpose = place.purpose;
        end if;
    end loop;
end
$function$;

create or replace function private.record_refund (
    refund_id uuid,
    provider_refund_id text,
    status text,
    failure_reason text default null::text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.release_media()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    earlier uuid := to_jsonb(old) ->> tg_argv[0];
begin
    if earlier is not null and (tg_op = 'DELETE' or to_jsonb(new) ->> tg_argv[0] is distinct from earlier::text)
        and not exists (select from private.used_media(array[earlier])) then
        update public.media as m
        set expires_at = now() + (select s.unused_pictures_period from private.settings as s)
        where m.id = earlier and m.expires_at is null;
    end if;
    return null;
end
$function$;

create or replace function private.repay_credits (
    user_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    balance private.credit_balances := private.lock_credits(repay_credits.user_id);
    first_lot uuid;
    repaid bigint;
begin
    if balance.debt_cents = 0 or balance.available_cents = 0 then
        return;
    end if;
    with lots as (
        select
            l.id, l.remaining_cents, row_number() over burn as no,
            sum(l.remaining_cents) over burn - l.remaining_cents as before
        from public.credit_lots as l
        where
            l.user_id = repay_credits.user_id and l.category = 'paid' and l.remaining_cents > 0
            and coalesce(l.expires_at > clock_timestamp(), true)
        window burn as (order by l.expires_at nulls last, l.created_at, l.id)
    ),

    used as (
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents - u.cents, repaid_cents = l.repaid_cents + u.cents
        from (
            select o.id, o.no, least(o.remaining_cents, balance.debt_cents - o.before)::bigint as cents
            from lots as o
            where o.before < balance.debt_cents
        ) as u
        where l.id = u.id
        returning l.id, u.no, u.cents
    )

    select (array_agg(u.id order by u.no))[1], sum(u.cents)::bigint into first_lot, repaid from used as u;
    if repaid > 0 then
        perform ledger.post(
            'credits_repaid', 'credits_repaid:' || gen_random_uuid(),
            array[
                ledger.leg(repay_credits.user_id, 'credits', -repaid),
                ledger.leg(repay_credits.user_id, 'credits_debt', repaid)
            ],
            first_lot
        );
    end if;
end
$function$;

create or replace function private.return_photos (
    job_id uuid
)
    returns integer
    language plpgsql
    set search_path to ''
    AS $function$
declare
    owner uuid := (select j.user_id from public.photo_jobs as j where j.id = return_photos.job_id);
    photo record;
    count integer := 0;
begin
    if not private.is_platform(owner) then
        perform private.lock_credits(owner);
    end if;
    for photo in
        with returned as (
            update public.photo_job_items as i set status = 'returned', finished_at = now()
            where i.id in (
                select q.id from public.photo_job_items as q
                where q.job_id = return_photos.job_id and q.status = 'queued'
                order by q.id
                for no key update
            )
            returning i.id, i.lot_ids, i.lot_cents
        )

        select * from returned as r order by r.id
    loop
        perform private.end_hold(
            owner, photo.lot_ids, photo.lot_cents, 'returned', 'photo:' || photo.id || ':settled', photo.id
        );
        count := count + 1;
    end loop;
    return count;
end
$function$;

create or replace function private.reverse_refund (
    refund_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
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
        select refund.id, sale.id, -line.amount_cents, s.tax, s.commission, s.seller, s.fee, s.credits into line
        from private.split_refund(sale, -line.amount_cents, refund.fee_bearer) as s;
        perform private.apply_refund_line(line, refund.fee_bearer);
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id || ':' || line.transaction_id,
            private.moving_legs(array[
                ledger.leg(null, money_account, line.amount_cents),
                ledger.leg(null, 'tax_payable', -line.tax_cents),
                ledger.leg(null, 'revenue', -line.commission_cents - line.fee_cents),
                ledger.leg(null, 'refunds_payable', -line.credits_cents)
            ]) || private.payee_legs(line.transaction_id),
            refund.id, paid.currency
        );
    end loop;
    update public.refunds as r set reversed_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, -refund.amount_cents);
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
            amount_credits_cents, currency, commission_bps, seller_tier, payment_processor, payment_method,
            stripe_payment_intent_id, stripe_charge_id, paypal_order_id, paypal_transaction_id,
            release_at, completed_at, free_until, ship_by, release_journal_id
        )
        select
            i.buyer_id, i.seller_id, i.kind, i.item_id, i.id, p.id,
            i.charged_cents, f.fee, i.tax_cents, s.commission - c.credits, s.seller, c.credits, i.currency, i.commission_bps,
            i.seller_tier, p.provider,
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
            (s.buyer_id, 'credits', s.amount_credits_cents, 5)
        ) as m (owner_id, account, cents, leg_no)
        union all
        select p.sale_id, p.payee_id, 'pending', p.cents, 5 + p.no from part as p
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
$function$;

create or replace function private.settle_photo (
    attempt_id uuid,
    verdict text,
    media_id uuid default null::uuid,
    code text default null::text,
    detail text default null::text,
    cost_micros bigint default null::bigint,
    provider_ref text default null::text
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    attempt private.photo_attempts;
    owner uuid;
    photo public.photo_job_items;
begin
    if settle_photo.verdict not in ('succeeded', 'failed')
        or (settle_photo.verdict = 'succeeded') <> (settle_photo.media_id is not null)
    then
        perform private.fail('event_rejected', 'verdict');
    end if;
    select j.user_id, a.item_id, a.no into owner, attempt.item_id, attempt.no
    from private.photo_attempts as a
    inner join public.photo_job_items as i on i.id = a.item_id
    inner join public.photo_jobs as j on j.id = i.job_id
    where a.id = settle_photo.attempt_id;
    if owner is null then
        perform private.fail('event_rejected', 'attempt ' || settle_photo.attempt_id);
    end if;
    if not private.is_platform(owner) then
        perform private.lock_credits(owner);
    end if;
    update public.photo_job_items as i set
        status = settle_photo.verdict::public.photo_status, result_media_id = settle_photo.media_id,
        failure = case when settle_photo.verdict = 'failed' then coalesce(settle_photo.code, 'provider_failed') end,
        finished_at = now()
    where
        i.id = attempt.item_id and i.attempts_count = attempt.no and i.status in ('sent', 'unknown')
    returning * into photo;
    -- Whoever comes second, or with the answer of an earlier attempt, changes nothing but what is known of it.
    update private.photo_attempts as a set
        verdict = coalesce(a.verdict, settle_photo.verdict), code = coalesce(a.code, settle_photo.code),
        detail = coalesce(a.detail, left(settle_photo.detail, 500)),
        cost_micros = coalesce(a.cost_micros, settle_photo.cost_micros),
        provider_ref = coalesce(a.provider_ref, settle_photo.provider_ref), ended_at = coalesce(a.ended_at, now()),
        is_late = a.is_late or photo.id is null and a.verdict is distinct from settle_photo.verdict
    where a.id = settle_photo.attempt_id;
    if photo.id is null then
        -- Nobody's: it goes with the next sweep.
        update public.media as m set expires_at = now() where m.id = settle_photo.media_id;
        return (select i.status::text from public.photo_job_items as i where i.id = attempt.item_id);
    end if;
    if photo.status = 'succeeded' then
        update public.media as m set expires_at = now() + s.photo_result_kept
        from private.settings as s
        where m.id = photo.result_media_id;
    end if;
    perform private.end_hold(
        owner, photo.lot_ids, photo.lot_cents, photo.status::text, 'photo:' || photo.id || ':settled', photo.id
    );
    return 'settled';
end
$function$;

create or replace function private.show_media (
    picture public.media
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    place private.media_columns;
begin
    for place in
        select * from private.media_columns as c where c.purpose = picture.purpose order by c.relation, c.media_column
    loop
        execute format('update %s as t set %s where t.%I = $1', place.relation, (
            select string_agg(format('%I = %L', a.key, a.value), ', ')
            from jsonb_each_text(private.media_addresses(picture, place.urls)) as a
        ), place.media_column) using picture.id;
    end loop;
end
$function$;

create or replace function private.show_remade (
    owner uuid,
    address text,
    purpose text,
    media_id uuid,
    picture jsonb
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    was_verified boolean := exists (
        select from public.artist_profiles as a where a.user_id = show_remade.owner and a.is_verified
    );
    place private.media_columns;
    changed integer;
    total integer := 0;
begin
    perform private.publish_media(owner, show_remade.purpose, show_remade.media_id, picture);
    for place in
        select * from private.media_columns as c
        where c.purpose = show_remade.purpose
        order by c.relation, c.media_column
    loop
        execute format(
            'update %s as t set %I = $1 where %s', place.relation, place.media_column,
            private.shown_at(owner, address, place)
        ) using show_remade.media_id;
        get diagnostics changed = row_count;
        total := total + changed;
    end loop;
    if total = 0 then
        -- Changed meanwhile.
        update public.media as m set expires_at = now() where m.id = show_remade.media_id;
    end if;
    -- It is the same face.
    update public.artist_profiles as a set is_verified = true
    where was_verified and a.user_id = show_remade.owner and not a.is_verified;
    return total;
end
$function$;

create or replace function private.shown_at (
    owner uuid,
    address text,
    place private.media_columns
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select format(
        't.%I = %L and t.%I is null and (%s)', place.owner_column, owner, place.media_column,
        (
            -- Whatever host the address was of, and whatever was asked of it.
            select string_agg(
                format('right(split_part(t.%I, ''?'', 1), %s) = %L', u.name, char_length(address), address), ' or '
            )
            from jsonb_object_keys(place.urls) as u (name)
        )
    )
$function$;

create or replace function private.shows_media (
    id uuid,
    purpose text
)
    returns boolean
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    -- As the caller, whose rights on the thing are those on its picture. Items and articles come on later pages;
    -- plpgsql binds late.
    return case shows_media.purpose
        when 'avatar' then exists (select from public.profiles as p where p.avatar_media_id = shows_media.id)
        when 'banner' then exists (select from public.profiles as p where p.banner_media_id = shows_media.id)
        when 'article' then exists (select from public.articles as a where a.thumbnail_media_id = shows_media.id)
        when 'artwork' then exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
        when 'product' then
            exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
            or exists (select from public.product_pictures as p where p.media_id = shows_media.id)
        else false
    end;
end
$function$;

create or replace function private.split_refund (
    sale public.transactions,
    amount_cents bigint,
    fee_bearer text default 'seller'::text,
    OUT tax bigint,
    OUT commission bigint,
    OUT fee bigint,
    OUT seller bigint,
    OUT credits bigint
)
    returns record
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
declare
    whole constant bigint := sale.amount_total_cents;
    refunded constant bigint := sale.refunded_cents + amount_cents;
    free constant bigint := coalesce(sale.free_refunded_cents, 0)
        + case when fee_bearer = 'platform' then amount_cents else 0 end;
begin
    tax := (sale.amount_tax_cents * refunded * 2 + whole) / (whole * 2) - sale.refunded_tax_cents;
    credits := 0;
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
    seller := amount_cents - tax - commission - fee;
end
$function$;

create or replace function private.start_payment (
    payment_id uuid,
    user_id uuid,
    as_session boolean default false,
    success_url text default null::text,
    cancel_url text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt public.payments;
    owned text;
begin
    perform private.require_active(start_payment.user_id);
    select * into attempt from public.payments as p
    where p.id = start_payment.payment_id and p.user_id = start_payment.user_id
    for no key update;
    if attempt.id is null then
        perform private.fail('payment_not_found');
    end if;
    if attempt.provider = 'wallet' or not attempt.is_open
        or attempt.expires_at <= now() or attempt.cancel_requested_at is not null then
        perform private.fail('payment_not_open', attempt.status::text);
    end if;
    if attempt.started_at is not null and attempt.is_session <> as_session then
        perform private.fail(
            'payment_started_otherwise', case when attempt.is_session then 'session' else 'payment_intent' end
        );
    end if;
    -- Bought meanwhile by an order that this one replaced too late: its money would only go back.
    select i.item_id::text into owned from public.order_items as i
    where
        i.order_id = attempt.order_id and i.is_owned_once and exists (
            select from public.purchases as p
            where
                p.owner_id = i.buyer_id and p.item_id = i.item_id and p.option_id is not distinct from i.option_id
                and p.revoked_at is null
        )
    order by i.line_no
    limit 1;
    if owned is not null then
        perform private.fail('already_owned', owned);
    end if;
    perform private.fail('payable_not_open', a.id::text)
    from public.order_items as i
    inner join public.payables as a on a.id = i.payable_id and a.status <> 'open'
    where i.order_id = attempt.order_id;
    update public.payments as p set started_at = coalesce(p.started_at, now()), is_session = as_session
    where p.id = attempt.id
    returning * into attempt;
    if as_session and attempt.stripe_session_id is null then
        -- Stripe's least is 30 minutes from the creation, which may be as late as our end, and its most a day.
        insert into private.session_requests as r (payment_id, success_url, cancel_url, expires_at)
        values (
            attempt.id, start_payment.success_url, start_payment.cancel_url,
            least(attempt.expires_at + interval '35 minutes', now() + interval '23 hours 55 minutes')
        )
        on conflict on constraint session_requests_pkey do nothing;
    end if;
    return private.attempt_request(attempt);
end
$function$;

create or replace function private.stray_media_files (
    max_rows integer
)
    returns table (
        bucket text,
        path text
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select o.bucket_id, o.name from storage.objects as o
    where
        o.bucket_id in (select p.bucket from private.media_purposes as p)
        -- Copies are stored before the row that names them.
        and o.created_at < now() - interval '1 hour'
        and not exists (
            select from public.media as m
            where
                m.id = case
                    when private.is_uuid(split_part(o.name, '/', 1)) then split_part(o.name, '/', 1)::uuid
                end
                and (m.status = 'pending' or jsonb_path_exists(
                    m.derivatives, '$.*.path ? (@ == $name)', jsonb_build_object('name', o.name)
                ))
        )
    limit max_rows
$function$;

create or replace function private.sync_catalog_picture()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.catalog_items as c set image_media_id = new.image_media_id
    where c.id = new.id and c.image_media_id is distinct from new.image_media_id;
    return null;
end
$function$;

create or replace function private.tell_expiring_credits (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    owners uuid[];
begin
    with noted as (
        update public.credit_lots as l set noted_at = now()
        where l.id in (
            select d.id from public.credit_lots as d
            where
                d.expires_at > now()
                and d.expires_at <= now() + (select s.credits_expiry_notice from private.settings as s)
                and d.remaining_cents > 0 and d.noted_at is null
            order by d.expires_at
            limit max_rows
            for no key update skip locked
        )
        returning l.user_id
    )

    select array_agg(distinct n.user_id) into owners from noted as n;
    if owners is null then
        return 0;
    end if;
    perform private.notify_many(array(
        select row('credits_expiring', o.id, null, null, null, null)::private.notice from unnest(owners) as o (id)
    ));
    return cardinality(owners);
end
$function$;

create or replace function private.tell_low_credits (
    user_id uuid,
    left_cents bigint,
    low_cents bigint
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    if left_cents < low_cents then
        update private.credit_balances as b set low_noted_at = now()
        where b.user_id = tell_low_credits.user_id and b.low_noted_at is null;
        if found then
            perform private.notify(tell_low_credits.user_id, 'credits_low');
        end if;
    end if;
end
$function$;

create or replace function private.unread_session (
    object jsonb
)
    returns public.payments
    language plpgsql
    set search_path to ''
    AS $function$
declare
    named text := object #>> '{metadata,payment_id}';
    attempt public.payments;
begin
    if private.is_uuid(named) and not exists (
        select from public.payments as p where p.provider_ref = object ->> 'id' and p.provider = 'stripe'
    ) then
        select * into attempt from public.payments as p
        where p.id = named::uuid and p.is_session and p.provider_ref is null;
    end if;
    return attempt;
end
$function$;

create or replace function private.uploads_to_erase (
    max_rows integer
)
    returns table (
        bucket text,
        path text
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    delete from private.media_sources as s
    where
        s.media_id is null
        and not exists (select from storage.objects as o where o.bucket_id = 'uploads' and o.id = s.object_id);
    return query
    select o.bucket_id, o.name
    from storage.objects as o
    left join private.media_sources as s on s.object_id = o.id
    left join public.media as m on m.id = s.media_id
    where
        o.bucket_id = 'uploads'
        and case
            when s.object_id is null
                then o.created_at < now() - (select t.unused_pictures_period from private.settings as t)
            else m.status is distinct from 'pending'
        end
    limit max_rows;
end
$function$;

create or replace function private.used_media (
    ids uuid[]
)
    returns SETOF uuid
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    place record;
begin
    for place in
        select k.conrelid::regclass as relation, a.attname as name
        from pg_catalog.pg_constraint as k
        inner join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and k.conkey = array[a.attnum]
        where
            k.contype = 'f' and k.confrelid = 'public.media'::regclass
            and k.connamespace = 'public'::regnamespace
    loop
        return query execute format('select t.%I from %s as t where t.%1$I = any ($1)', place.name, place.relation)
        using ids;
    end loop;
end
$function$;

create or replace function private.withdraw_artworks()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.artworks as a set status = 'draft'
    where a.image_media_id = new.id and a.status = 'published' and a.image_url is null;
    return null;
end
$function$;

create or replace function private.without_persons (
    payload jsonb
)
    returns jsonb
    language sql
    immutable
    set search_path to ''
    AS $function$
    select jsonb_strip_nulls(jsonb_build_object(
        'id', payload -> 'id', 'object', payload -> 'object', 'type', payload -> 'type', 'created', payload -> 'created',
        'api_version', payload -> 'api_version', 'livemode', payload -> 'livemode', 'account', payload -> 'account',
        'data', case when jsonb_typeof(payload #> '{data,object}') = 'object' then jsonb_build_object('object', (
            select jsonb_object_agg(k.key, k.value)
            from jsonb_each(payload #> '{data,object}') as k
            where
                k.key in (
                    'id', 'object', 'created', 'livemode', 'status', 'mode', 'payment_status', 'amount_total',
                    'amount', 'amount_received', 'amount_captured',
                    'amount_refunded', 'amount_reversed', 'currency', 'reason', 'failure_reason', 'failure_code',
                    'cancellation_reason', 'canceled_at', 'refunded', 'reversed', 'captured', 'paid', 'disputed',
                    'payment_intent', 'charge', 'latest_charge', 'balance_transaction', 'destination',
                    'destination_payment', 'transfer', 'transfer_group', 'type', 'capabilities', 'payouts_enabled',
                    'charges_enabled', 'details_submitted'
                )
                and jsonb_typeof(k.value) <> 'object' and jsonb_typeof(k.value) <> 'array'
        ) || jsonb_build_object(
            'metadata', (
                select jsonb_object_agg(m.key, m.value)
                from jsonb_each(case
                    when jsonb_typeof(payload #> '{data,object,metadata}') = 'object'
                        then payload #> '{data,object,metadata}'
                    else '{}'
                end) as m
                where m.key in ('payment_id', 'order_id', 'order_item_id', 'refund_id', 'payout_id', 'user_id')
            ),
            'payment_intent', coalesce(
                payload #> '{data,object,payment_intent,id}', payload #> '{data,object,payment_intent}'
            ),
            'charge', coalesce(payload #> '{data,object,charge,id}', payload #> '{data,object,charge}'),
            'latest_charge', coalesce(
                payload #> '{data,object,latest_charge,id}', payload #> '{data,object,latest_charge}'
            ),
            'last_payment_error', jsonb_build_object(
                'code', payload #> '{data,object,last_payment_error,code}',
                'decline_code', payload #> '{data,object,last_payment_error,decline_code}'
            )
        )) end
    ))
$function$;

create or replace function public.cancel_photo_job (
    job_id uuid
)
    returns public.photo_jobs
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    job public.photo_jobs;
begin
    select * into job from public.photo_jobs as j where j.id = cancel_photo_job.job_id and j.user_id = member;
    if job.id is null then
        perform private.fail('photo_job_not_found');
    end if;
    perform private.return_photos(job.id);
    select * into strict job from public.photo_jobs as j where j.id = cancel_photo_job.job_id;
    return job;
end
$function$;

revoke all on function public.cancel_photo_job(uuid) from public, anon, service_role;

create or replace function public.claim_trial()
    returns public.credit_lots
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    limits private.settings;
    hashes bytea[];
    noted integer;
begin
    select * into strict limits from private.settings;
    select array_agg(distinct h.hash) into hashes
    from auth.users as u
    cross join lateral (
        select private.address_hash(u.email) as hash
        union all
        select private.address_hash(i.provider || '.' || i.provider_id || '@identity.invalid')
        from auth.identities as i
        where i.user_id = u.id and i.provider <> 'email'
    ) as h
    where u.id = member and u.email_confirmed_at is not null and h.hash is not null;
    if hashes is null then
        perform private.fail('trial_address_unconfirmed');
    end if;
    perform private.lock_credits(member);
    -- An account may have had another address then.
    if exists (select from public.credit_lots as l where l.user_id = member and l.category = 'trial') then
        perform private.fail('trial_used');
    end if;
    -- Whoever comes at the same instant waits here for the first; sorted, so that nobody waits in a circle.
    insert into private.trials (person_hash)
    select h.hash from unnest(hashes) as h (hash) order by h.hash
    on conflict on constraint trials_pkey do nothing;
    get diagnostics noted = row_count;
    if noted < cardinality(hashes) then
        perform private.fail('trial_used');
    end if;
    return private.grant_lot(member, 'trial', limits.trial_credits_cents, now() + limits.trial_period);
end
$function$;

revoke all on function public.claim_trial() from public, anon, service_role;

create or replace function public.create_demo_job (
    prompt text,
    media_ids uuid[],
    group_name text default null::text
)
    returns public.photo_jobs
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    wanted public.photo_jobs;
    made public.photo_jobs;
begin
    wanted.user_id := (select p.id from public.profiles as p where private.is_platform(p.id));
    wanted.prompt := private.tidy_body(create_demo_job.prompt);
    wanted.group_name := nullif(private.tidy_body(create_demo_job.group_name), '');
    wanted.photo_count := cardinality(create_demo_job.media_ids);
    wanted.cost_cents := 0;
    if coalesce(char_length(wanted.prompt), 0) not between 1 and 2000 or coalesce(wanted.photo_count, 0) = 0
        or wanted.photo_count > (select s.photos_per_job from private.settings as s)
        or char_length(wanted.group_name) > 140
    then
        perform private.fail('invalid_photo_job');
    elsif (
        select count(*) from public.media as m
        where
            m.id = any (create_demo_job.media_ids) and m.owner_id = admin and m.purpose = 'photo_input'
            and m.status = 'ready'
    ) <> wanted.photo_count then
        perform private.fail('media_not_ready');
    end if;
    made := private.place_photo_job(wanted, create_demo_job.media_ids);
    perform private.audit('create_demo_job', 'photo_job', made.id, '{}');
    return made;
end
$function$;

revoke all on function public.create_demo_job(text, uuid[], text) from public, anon, service_role;

create or replace function public.create_media (
    path text,
    purpose text
)
    returns public.media
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    wanted private.media_purposes;
    upload uuid;
    source private.media_sources;
    picture public.media;
    limits private.settings;
begin
    select * into wanted from private.media_purposes as p
    where p.purpose = create_media.purpose and p.is_uploaded;
    if wanted.purpose is null then
        perform private.fail('unknown_purpose', left(create_media.purpose, 100));
    end if;
    -- Two at once make one picture, and neither is the last that is allowed twice.
    perform from public.profiles as p where p.id = member for no key update;
    if split_part(create_media.path, '/', 1) = member::text then
        -- Waits for an upload that is just finishing.
        select o.id into upload from storage.objects as o
        where o.bucket_id = 'uploads' and o.name = create_media.path
        for share;
        -- Without the object, which is deleted when it was used: the last one that was there.
        select * into source from private.media_sources as s
        where s.path = create_media.path and s.object_id = coalesce(upload, s.object_id)
        order by s.created_at desc
        limit 1;
    end if;
    if source.object_id is not null then
        select * into picture from public.media as m where m.id = source.media_id;
    end if;
    if picture.id is not null then
        if picture.purpose <> wanted.purpose then
            perform private.fail('upload_taken', picture.purpose);
        end if;
        return picture;
    end if;
    if upload is null or source.object_id is not null then
        perform private.fail('upload_not_found', left(create_media.path, 1024));
    end if;
    select * into limits from private.settings as s;
    if (select count(*) from public.media as m where m.owner_id = member and m.status = 'pending')
        >= limits.pictures_pending_per_member then
        perform private.fail('too_many_pictures', limits.pictures_pending_per_member::text);
    end if;
    insert into public.media (owner_id, purpose, bucket, expires_at)
    values (member, wanted.purpose, wanted.bucket, now() + limits.unused_pictures_period)
    returning * into picture;
    insert into private.media_sources (object_id, media_id, owner_id, path)
    values (upload, picture.id, member, create_media.path);
    perform private.enqueue('process_media', jsonb_build_object('media_id', picture.id), queue => 'slow');
    return picture;
end
$function$;

revoke all on function public.create_media(text, text) from public, anon, service_role;

create or replace function public.create_photo_job (
    prompt text,
    media_ids uuid[],
    group_name text default null::text,
    client_key text default null::text
)
    returns public.photo_jobs
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_variable
declare
    member uuid := private.require_member();
    limits private.settings;
    balance private.credit_balances;
    wanted public.photo_jobs;
    made public.photo_jobs;
    wrong uuid;
    is_wrong boolean;
    is_double boolean;
    is_old boolean;
begin
    wanted.user_id := member;
    wanted.prompt := private.tidy_body(prompt);
    wanted.group_name := nullif(private.tidy_body(group_name), '');
    wanted.client_key := client_key;
    wanted.photo_count := cardinality(media_ids);
    select * into strict limits from private.settings;
    if coalesce(char_length(wanted.prompt), 0) not between 1 and 2000 then
        perform private.fail('invalid_photo_job', 'prompt: 1 to 2,000 characters');
    elsif char_length(wanted.group_name) > 140 then
        perform private.fail('invalid_photo_job', 'group_name: at most 140 characters');
    elsif char_length(client_key) not between 1 and 200 then
        perform private.fail('invalid_photo_job', 'client_key: 1 to 200 characters');
    -- A text such as [5:5]={…} makes an array that begins elsewhere.
    elsif coalesce(wanted.photo_count, 0) = 0 or array_ndims(media_ids) > 1 or array_lower(media_ids, 1) <> 1 then
        perform private.fail('invalid_photo_job', 'media_ids: none');
    elsif wanted.photo_count > limits.photos_per_job then
        perform private.fail('too_many_photos', format('at most %s in one job', limits.photos_per_job));
    end if;

    made := private.photo_job_of(wanted, media_ids);
    if made.id is not null then
        return made;
    end if;
    -- What is counted, and paid for, are pictures that were looked at; each once. Before the lock: others wait for that.
    select
        (array_agg(u.id) filter (where m.id is null))[1], bool_or(m.id is null), count(distinct u.id) < count(*),
        coalesce(bool_or(m.expires_at < now() + limits.photo_input_kept - interval '1 day'), false)
    into wrong, is_wrong, is_double, is_old
    from unnest(media_ids) as u (id)
    left join public.media as m
        on m.id = u.id and m.owner_id = member and m.purpose = 'photo_input' and m.status = 'ready';
    if is_wrong then
        perform private.fail('media_not_ready', wrong::text);
    elsif is_double then
        perform private.fail('invalid_photo_job', 'media_ids: the same picture twice');
    end if;
    if is_old then
        -- What is used is kept for its time from now; most was uploaded just before.
        update public.media as m set expires_at = now() + limits.photo_input_kept where m.id = any (media_ids);
    end if;
    wanted.cost_cents := private.photo_cost(wanted.photo_count);

    -- Two tabs, a double click: one after the other, and the second sees what the first left.
    balance := private.lock_credits(member);
    made := private.photo_job_of(wanted, media_ids);
    if made.id is not null then
        return made;
    elsif balance.debt_cents > 0 then
        perform private.fail('credits_owed', balance.debt_cents::text);
    elsif wanted.photo_count > limits.open_photos_per_account or balance.held_cents > 0 and wanted.photo_count + (
        select coalesce(sum(j.photo_count - j.succeeded_count - j.failed_count - j.returned_count), 0)
        from public.photo_jobs as j
        where j.user_id = member and j.status in ('pending', 'processing')
    ) > limits.open_photos_per_account then
        perform private.fail('too_many_photos', format('at most %s under way', limits.open_photos_per_account));
    end if;
    made := private.place_photo_job(wanted, media_ids);
    perform private.tell_low_credits(member, balance.available_cents - made.cost_cents, limits.low_credits_cents);
    return made;
end
$function$;

revoke all on function public.create_photo_job(text, uuid[], text, text) from public, anon, service_role;

create or replace function public.credit_balance()
    returns public.credit_totals
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    found public.credit_totals;
begin
    select coalesce(sum(l.remaining_cents), 0), min(l.expires_at) into found.available_cents, found.next_expiry
    from public.credit_lots as l
    where l.user_id = member and l.remaining_cents > 0 and coalesce(l.expires_at > now(), true);
    found.expiring_cents := coalesce((
        select sum(l.remaining_cents) from public.credit_lots as l
        where l.user_id = member and l.expires_at = found.next_expiry
    ), 0);
    select coalesce(max(b.held_cents), 0), coalesce(max(b.debt_cents), 0) into found.held_cents, found.debt_cents
    from private.credit_balances as b
    where b.user_id = member;
    return found;
end
$function$;

revoke all on function public.credit_balance() from public, anon, service_role;

create or replace function public.credit_statement (
    before_journal bigint default null::bigint,
    max_rows integer default 50
)
    returns table (
        journal_id bigint,
        kind text,
        occurred_at timestamp with time zone,
        source_id uuid,
        available_cents bigint,
        held_cents bigint,
        debt_cents bigint
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    return query
    select
        j.id, j.kind::text, j.occurred_at, j.source_id,
        coalesce(sum(e.amount_cents) filter (where a.code = 'credits'), 0)::bigint,
        coalesce(sum(e.amount_cents) filter (where a.code = 'credits_held'), 0)::bigint,
        coalesce(sum(-e.amount_cents) filter (where a.code = 'credits_debt'), 0)::bigint
    from ledger.accounts as a
    inner join ledger.entries as e on e.account_id = a.id
    inner join ledger.journal as j on j.id = e.journal_id
    where
        a.owner_id = member and a.code in ('credits', 'credits_held', 'credits_debt')
        and (before_journal is null or j.id < before_journal)
    group by j.id
    order by j.id desc
    limit private.page_size(max_rows, 50, 200);
end
$function$;

revoke all on function public.credit_statement(bigint, integer) from public, anon, service_role;

create or replace function public.delete_media (
    media_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
begin
    perform from public.media as m where m.id = delete_media.media_id and m.owner_id = member for update;
    if not found then
        perform private.fail('media_not_found', delete_media.media_id::text);
    end if;
    -- What was worked on, or made, is its owner's to delete once its job is over.
    if exists (select from private.used_media(array[delete_media.media_id])) and (
        exists (
            select from public.media as m
            inner join private.media_purposes as p on p.purpose = m.purpose and p.is_public
            where m.id = delete_media.media_id
        )
        or private.is_worked_on(delete_media.media_id)
    ) then
        perform private.fail('media_in_use', delete_media.media_id::text);
    end if;
    delete from public.media as m where m.id = delete_media.media_id;
end
$function$;

revoke all on function public.delete_media(uuid) from public, anon, service_role;

create or replace function public.photo_job_statement (
    job_id uuid
)
    returns table (
        lot_id uuid,
        category text,
        expires_at timestamp with time zone,
        funded_cents bigint,
        consumed_cents bigint,
        returned_cents bigint,
        held_cents bigint,
        expired_cents bigint
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    if not exists (
        select from public.photo_jobs as j
        where j.id = photo_job_statement.job_id and (j.user_id = member or private.is_admin())
    ) then
        perform private.fail('photo_job_not_found');
    end if;
    return query
    select
        l.id, l.category, l.expires_at, s.funded, s.consumed, s.returned, s.funded - s.consumed - s.returned,
        -- Of what came back no more than this can have ended since.
        least(s.returned, l.expired_cents)
    from (
        select
            u.id, sum(u.cents)::bigint as funded,
            coalesce(sum(u.cents) filter (where i.status = 'succeeded'), 0)::bigint as consumed,
            coalesce(sum(u.cents) filter (where i.status in ('failed', 'returned')), 0)::bigint as returned
        from public.photo_job_items as i
        cross join unnest(i.lot_ids, i.lot_cents) as u (id, cents)
        where i.job_id = photo_job_statement.job_id
        group by u.id
    ) as s
    inner join public.credit_lots as l on l.id = s.id
    order by l.expires_at nulls last, private.credit_priority(l.category), l.created_at, l.id;
end
$function$;

revoke all on function public.photo_job_statement(uuid) from public, anon, service_role;

create or replace function public.photo_price (
    photo_count integer
)
    returns public.photo_quote
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    cost bigint;
begin
    if photo_count is null or photo_count not between 1 and (select s.photos_per_job from private.settings as s) then
        perform private.fail(
            'too_many_photos', format('1 to %s in one job', (select s.photos_per_job from private.settings as s))
        );
    end if;
    cost := private.photo_cost(photo_count);
    return row(cost, private.split_cents(cost, array_fill(1::bigint, array[photo_count])))::public.photo_quote;
end
$function$;

revoke all on function public.photo_price(integer) from public, service_role;

create or replace function public.photo_queue_position (
    job_id uuid
)
    returns bigint
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    first_photo public.photo_job_items;
begin
    if not exists (
        select from public.photo_jobs as j
        where j.id = photo_queue_position.job_id and (j.user_id = member or private.is_admin())
    ) then
        perform private.fail('photo_job_not_found');
    end if;
    select * into first_photo from public.photo_job_items as i
    where i.job_id = photo_queue_position.job_id and i.status = 'queued'
    order by i.position
    limit 1;
    if first_photo.id is null then
        return 0;
    end if;
    return 1 + (
        select count(*) from public.photo_job_items as i
        where
            i.status = 'queued'
            and (i.queued_at, i.job_id, i.position)
            < (first_photo.queued_at, first_photo.job_id, first_photo.position)
    );
end
$function$;

revoke all on function public.photo_queue_position(uuid) from public, anon, service_role;

create or replace function public.refund_credits (
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
        member, 'refund_credits', refund_credits.idempotency_key,
        jsonb_build_object('order_item_id', refund_credits.order_item_id)
    );
    sale public.transactions;
    paid public.credit_lots;
    bonus public.credit_lots;
    unused bigint;
    spent bigint;
    made uuid;
    refund public.refunds;
begin
    if answered is not null then
        select * into strict refund from public.refunds as r where r.id = (answered #>> '{}')::uuid;
        return refund;
    end if;
    select * into sale from public.transactions as t
    where
        t.order_item_id = refund_credits.order_item_id and t.buyer_id = member and t.amount_credits_cents > 0;
    if sale.id is null then
        perform private.fail('sale_not_found');
    end if;
    -- In the order of refund_line(), which locks the same.
    perform from public.payments as p where p.id = sale.payment_id for no key update;
    perform private.lock_orders(array(select p.order_id from public.payments as p where p.id = sale.payment_id));
    perform from public.transactions as t where t.payment_id = sale.payment_id order by t.id for no key update;
    if sale.payment_processor = 'wallet' then
        perform private.lock_wallets(array[member]);
    end if;
    perform private.lock_credits(member);
    select * into strict paid from public.credit_lots as l
    where l.order_item_id = refund_credits.order_item_id and l.category = 'paid'
    for no key update;
    select * into bonus from public.credit_lots as l
    where l.order_item_id = refund_credits.order_item_id and l.category = 'bonus'
    for no key update;
    if paid.held_cents > 0 or bonus.held_cents > 0 then
        perform private.fail('credits_in_use', sale.order_item_id::text);
    elsif (
        select count(*) from public.refunds as r
        inner join public.payments as p on p.id = r.payment_id and p.user_id = member
        where r.reason = 'unused_credits' and r.created_at > now() - interval '30 days'
    ) >= (select s.credit_refunds_per_month from private.settings as s) then
        perform private.fail('too_many_credit_refunds');
    end if;
    -- Whatever was spent was paid for, also what was taken from the bonus.
    unused := case
        when paid.expires_at <= clock_timestamp() then 0
        else least(
            paid.remaining_cents,
            paid.amount_cents - paid.captured_cents - paid.expired_cents - paid.taken_back_cents - paid.repaid_cents
            - paid.owed_cents - coalesce(bonus.captured_cents, 0)
        )
    end;
    if unused <= 0 then
        perform private.fail('no_unused_credits', sale.order_item_id::text);
    end if;
    spent := paid.remaining_cents - unused;
    made := private.refund_line(sale.id, unused, 'unused_credits', 'automatic');
    if spent > 0 then
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents - spent, captured_cents = l.captured_cents + spent,
            version = l.version + 1
        where l.id = paid.id
        returning * into paid;
        perform ledger.post(
            'credits_captured', 'lot:' || paid.id || ':' || paid.version,
            array[ledger.leg(member, 'credits', -spent), ledger.leg(null, 'revenue', spent)],
            paid.id
        );
    end if;
    select * into strict refund from public.refunds as r where r.id = made;
    perform private.answer_request(member, 'refund_credits', refund_credits.idempotency_key, to_jsonb(refund.id));
    return refund;
end
$function$;

revoke all on function public.refund_credits(uuid, text) from public, anon, service_role;

create or replace function public.retry_photo_job (
    job_id uuid,
    client_key text default null::text
)
    returns public.photo_jobs
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    balance private.credit_balances;
    job public.photo_jobs;
    wanted public.photo_jobs;
    made public.photo_jobs;
    failed uuid[];
begin
    balance := private.lock_credits(member);
    select * into job from public.photo_jobs as j where j.id = retry_photo_job.job_id and j.user_id = member;
    if job.id is null then
        perform private.fail('photo_job_not_found');
    elsif char_length(retry_photo_job.client_key) not between 1 and 200 then
        perform private.fail('invalid_photo_job', 'client_key: 1 to 200 characters');
    end if;
    -- Once for each job, and without a key, too: its failed photos are tried again there.
    select * into made from public.photo_jobs as j where j.retry_of = job.id;
    if made.id is not null then
        return made;
    elsif job.finished_at is null then
        perform private.fail('state_changed', 'photo_job ' || job.status);
    elsif balance.debt_cents > 0 then
        perform private.fail('credits_owed', balance.debt_cents::text);
    end if;
    failed := array(
        select i.input_media_id
        from public.photo_job_items as i
        inner join public.media as m on m.id = i.input_media_id and m.status = 'ready'
        where i.job_id = job.id and i.status in ('failed', 'returned')
        order by i.position
    );
    if failed = '{}' then
        perform private.fail('nothing_to_retry', job.id::text);
    end if;
    update public.media as m set expires_at = now() + s.photo_input_kept
    from private.settings as s
    where m.id = any (failed);
    wanted.user_id := member;
    wanted.prompt := job.prompt;
    wanted.group_name := job.group_name;
    wanted.client_key := retry_photo_job.client_key;
    wanted.retry_of := job.id;
    wanted.photo_count := cardinality(failed);
    wanted.cost_cents := private.photo_cost(wanted.photo_count);
    if wanted.photo_count + (
        select coalesce(sum(j.photo_count - j.succeeded_count - j.failed_count - j.returned_count), 0)
        from public.photo_jobs as j
        where j.user_id = member and j.status in ('pending', 'processing')
    ) > (select s.open_photos_per_account from private.settings as s) then
        perform private.fail('too_many_photos', 'too many under way');
    end if;
    begin
        return private.place_photo_job(wanted, failed);
    exception when unique_violation then
        perform private.fail('idempotency_key_reused', 'client_key');
    end;
end
$function$;

revoke all on function public.retry_photo_job(uuid, text) from public, anon, service_role;

create or replace function public.similar_media (
    media_id uuid
)
    returns table (
        similar_id uuid,
        distance integer
    )
    language sql
    stable
    set search_path to ''
    AS $function$
    select m.id, a.distance
    from private.alike_media(similar_media.media_id) as a
    inner join public.media as m on m.id = a.alike_id and m.owner_id = (select private.member_id())
    union all
    select null, min(a.distance)
    from private.alike_media(similar_media.media_id) as a
    inner join public.media as m
        on m.id = a.alike_id and m.owner_id <> (select private.member_id()) and m.status = 'ready'
            and private.shows_media(m.id, m.purpose)
    having count(*) > 0
    order by 2, 1
$function$;

revoke all on function public.similar_media(uuid) from public, anon, service_role;

create or replace function public.wallet_statement (
    before_journal bigint default null::bigint,
    max_rows integer default 50
)
    returns table (
        journal_id bigint,
        kind text,
        occurred_at timestamp with time zone,
        memo text,
        source_id uuid,
        available_cents bigint,
        pending_cents bigint,
        debt_cents bigint
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
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
    where
        a.owner_id = member and a.code in ('available', 'pending', 'debt')
        and (before_journal is null or j.id < before_journal)
    group by j.id
    order by j.id desc
    limit private.page_size(max_rows, 50, 200);
end
$function$;

alter table ledger.accounts
    add constraint accounts_code_check check (
CASE
    WHEN (owner_id = '00000000-0000-0000-0000-000000000000'::uuid) THEN
        (code = ANY (ARRAY['clearing:stripe'::text, 'clearing:paypal'::text, 'fees:stripe'::text, 'fees:paypal'::text,
        'revenue'::text,
        'tax_payable'::text, 'payouts_in_transit'::text, 'refunds_payable'::text, 'promotions'::text, 'bank'::text]))
    ELSE
        (code = ANY (ARRAY['pending'::text, 'available'::text, 'debt'::text, 'credits'::text, 'credits_held'::text,
        'credits_debt'::text]))
END);

alter table private.credit_balances
    add constraint credit_balances_user_id_fkey foreign key (user_id) references public.profiles(id);

alter table private.kinds
    add constraint kinds_proceeds_check
        check ((proceeds = ANY (ARRAY['seller'::text, 'platform'::text, 'credits'::text])));

alter table private.media_columns
    add constraint media_columns_purpose_fkey foreign key (purpose) references private.media_purposes(purpose);

alter table private.session_requests
    add constraint session_requests_payment_id_fkey foreign key (payment_id) references public.payments(id);

alter table public.credit_lots
    add constraint credit_lots_order_item_id_fkey foreign key (order_item_id) references public.order_items(id);

alter table public.credit_lots
    add constraint credit_lots_user_id_fkey foreign key (user_id) references private.credit_balances(user_id);

alter table public.credit_packs
    add constraint credit_packs_id_fkey foreign key (id) references public.catalog_items(id) deferrable
        initially deferred;

alter table public.credit_packs
    add constraint credit_packs_seller_id_fkey foreign key (seller_id) references public.profiles(id);

alter table public.media
    add constraint media_color_check check ((color ~ '^#[0-9a-f]{6}$'::text));

alter table public.media
    add constraint media_derivatives_check check ((jsonb_typeof(derivatives) = 'object'::text));

alter table public.media
    add constraint media_failure_check check (((status = 'failed'::public.media_status) = (failure IS NOT NULL)));

alter table public.media
    add constraint media_owner_id_fkey foreign key (owner_id) references public.profiles(id);

alter table private.media_fingerprints
    add constraint media_fingerprints_media_id_fkey foreign key (media_id) references public.media(id)
        on delete cascade;

alter table private.media_sources
    add constraint media_sources_media_id_fkey foreign key (media_id) references public.media(id) on delete set null;

alter table public.articles
    add constraint articles_thumbnail_media_id_fkey foreign key (thumbnail_media_id) references public.media(id)
        on delete set null;

alter table public.artworks
    add constraint artworks_image_media_id_fkey foreign key (image_media_id) references public.media(id) on delete
        set null;

alter table public.catalog_items
    add constraint catalog_items_image_media_id_fkey foreign key (image_media_id) references public.media(id)
        on delete set null;

alter table public.media
    add constraint media_purpose_fkey foreign key (purpose) references private.media_purposes(purpose);

alter table public.media
    add constraint media_ready_at_check check ((((status = 'ready'::public.media_status) = (ready_at IS
        NOT NULL)) AND
        ((status = 'ready'::public.media_status) = (num_nulls(content_type, width, height, color, is_animated) = 0)) AND
        ((status = 'ready'::public.media_status) = (derivatives <> '{}'::jsonb))));

alter table public.media
    add constraint media_size_check check (((width > 0) AND (height > 0)));

alter table public.payments
    add constraint payments_session_check check ((is_session OR (stripe_session_id IS NULL)));

alter table public.photo_job_items
    add constraint photo_job_items_failure_check check (((failure IS
        NOT NULL) = (status = 'failed'::public.photo_status)));

alter table public.photo_job_items
    add constraint photo_job_items_input_media_id_fkey foreign key (input_media_id) references public.media(id)
        on delete set null;

alter table public.photo_job_items
    add constraint photo_job_items_lots_check check ((cardinality(lot_ids) = cardinality(lot_cents)));

alter table private.photo_attempts
    add constraint photo_attempts_item_id_fkey foreign key (item_id) references public.photo_job_items(id);

alter table public.photo_job_items
    add constraint photo_job_items_result_media_id_fkey foreign key (result_media_id) references public.media(id)
        on delete set null;

alter table public.photo_jobs
    add constraint photo_jobs_client_key_check
        check (((char_length(client_key) >= 1) AND (char_length(client_key) <= 200)));

alter table public.photo_jobs
    add constraint photo_jobs_counts_check
        check
        (((LEAST(succeeded_count, failed_count, returned_count) >= 0) AND (photo_count >= 1) AND (((succeeded_count +
        failed_count) + returned_count) <= photo_count) AND ((captured_cents >= 0) AND (captured_cents <= cost_cents))));

alter table public.photo_jobs
    add constraint photo_jobs_group_name_check
        check (((char_length(group_name) >= 1) AND (char_length(group_name) <= 140)));

alter table public.photo_job_items
    add constraint photo_job_items_job_id_fkey foreign key (job_id) references public.photo_jobs(id);

alter table public.photo_jobs
    add constraint photo_jobs_retry_of_fkey foreign key (retry_of) references public.photo_jobs(id);

alter table public.photo_jobs
    add constraint photo_jobs_user_id_client_key_key unique (user_id, client_key);

alter table public.photo_jobs
    add constraint photo_jobs_user_id_fkey foreign key (user_id) references public.profiles(id);

alter table public.product_pictures
    add constraint product_pictures_media_id_fkey foreign key (media_id) references public.media(id) on delete cascade;

alter table public.product_pictures
    add constraint product_pictures_product_id_fkey foreign key (product_id) references public.products(id)
        on delete cascade;

alter table public.products
    add constraint products_image_media_id_fkey foreign key (image_media_id) references public.media(id) on delete
        set null;

alter table public.profiles
    add constraint profiles_avatar_media_id_fkey foreign key (avatar_media_id) references public.media(id) on delete
        set null;

alter table public.profiles
    add constraint profiles_banner_media_id_fkey foreign key (banner_media_id) references public.media(id) on delete
        set null;

alter table public.refund_lines
    add constraint refund_lines_split_check
        check ((amount_cents = ((((tax_cents + commission_cents) + fee_cents) + seller_cents) + credits_cents)));

alter table public.transactions
    add constraint transactions_refunded_check check (
        refunded_cents between 0 and amount_total_cents
        and refunded_cents
        = refunded_tax_cents + refunded_commission_cents + refunded_fee_cents + refunded_seller_cents
        + refunded_credits_cents
        and free_refunded_cents between 0 and refunded_cents
    );

alter table public.transactions
    add constraint transactions_split_check
        check
        ((amount_total_cents = ((((amount_fees_cents + amount_tax_cents) + amount_commission_cents) +
        amount_seller_cents) + amount_credits_cents)));

create index media_columns_purpose_idx on private.media_columns using btree (purpose);

create index media_fingerprints_band_1_idx on private.media_fingerprints using btree (band_1);

create index media_fingerprints_band_2_idx on private.media_fingerprints using btree (band_2);

create index media_fingerprints_band_3_idx on private.media_fingerprints using btree (band_3);

create index media_fingerprints_band_4_idx on private.media_fingerprints using btree (band_4);

create unique index media_sources_media_id_idx on private.media_sources using btree (media_id)
    where (media_id is not null);

create index media_sources_owner_id_idx on private.media_sources using btree (owner_id);

create index media_sources_path_idx on private.media_sources using btree (path);

create index photo_attempts_open_idx on private.photo_attempts using btree (checked_at)
    where (ended_at is null);

create index articles_thumbnail_media_id_idx on public.articles using btree (thumbnail_media_id)
    where (thumbnail_media_id is not null);

create index artworks_image_media_id_idx on public.artworks using btree (image_media_id)
    where (image_media_id is not null);

create index catalog_items_image_media_id_idx on public.catalog_items using btree (image_media_id)
    where (image_media_id is not null);

create index credit_lots_expires_at_idx on public.credit_lots using btree (expires_at)
    where (expires_at is not null);

create index credit_lots_user_id_idx on public.credit_lots using btree (user_id);

create index credit_packs_seller_id_idx on public.credit_packs using btree (seller_id);

create index media_expires_at_idx on public.media using btree (expires_at)
    where (expires_at is not null);

create index media_owner_id_created_at_idx on public.media using btree (owner_id, created_at desc);

create index media_pending_idx on public.media using btree (created_at)
    where (status = 'pending'::public.media_status);

create index media_purpose_idx on public.media using btree (purpose);

create unique index payments_stripe_session_id_idx on public.payments using btree (stripe_session_id)
    where (stripe_session_id is not null);

create index photo_job_items_input_media_id_idx on public.photo_job_items using btree (input_media_id);

create index photo_job_items_open_idx on public.photo_job_items using btree (sent_at)
    where (status = ANY (ARRAY['sent'::public.photo_status, 'unknown'::public.photo_status]));

create index photo_job_items_queue_idx on public.photo_job_items using btree (queued_at, job_id, position)
    where (status = 'queued'::public.photo_status);

create index photo_job_items_result_media_id_idx on public.photo_job_items using btree (result_media_id);

create index photo_jobs_retry_of_idx on public.photo_jobs using btree (retry_of)
    where (retry_of is not null);

create index product_pictures_media_id_idx on public.product_pictures using btree (media_id);

create index product_pictures_product_id_position_idx on public.product_pictures using btree (product_id, position);

create index products_image_media_id_idx on public.products using btree (image_media_id)
    where (image_media_id is not null);

create index profiles_avatar_media_id_idx on public.profiles using btree (avatar_media_id)
    where (avatar_media_id is not null);

create index profiles_banner_media_id_idx on public.profiles using btree (banner_media_id)
    where (banner_media_id is not null);

create trigger attach_thumbnail_media_id
    before insert or update of thumbnail_media_id, thumbnail_url on public.articles
    for each row
    execute function private.attach_media('thumbnail_media_id', 'article', 'author_id', '{"thumbnail_url": "medium"}');

create trigger touch_updated_at
    before update of title,
        slug, content, excerpt, thumbnail_url, category, tags, is_published, thumbnail_media_id on public.articles
    for each row
    execute function private.touch_updated_at();

create trigger unuse_thumbnail_media_id
    after delete or update of thumbnail_media_id, thumbnail_url on public.articles
    for each row
    execute function private.release_media('thumbnail_media_id');

create trigger sync_catalog_picture
    after insert or update on public.artworks
    for each row
    execute function private.sync_catalog_picture();

create trigger _tidy_texts
    before insert or update of title on public.credit_packs
    for each row
    execute function private.tidy_texts('title line required');

create trigger refuse_ordered_item
    before delete on public.credit_packs
    for each row
    execute function private.refuse_ordered_item();

create trigger sync_catalog_item
    after insert or delete or update on public.credit_packs
    for each row
    execute function private.sync_catalog_item();

create trigger touch_updated_at
    before update on public.credit_packs
    for each row
    execute function private.touch_updated_at();

create trigger _refuse_birth_status
    after insert on public.media
    for each row
    when ((new.status <> ALL ('{pending,ready}'::public.media_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.media
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{pending>failed,pending>ready}'::text[]))))
    execute function private.refuse_move('status');

create trigger erase_files_of_media
    after delete on public.media referencing OLD table as gone
    for each STATEMENT
    execute function private.erase_files_of_media();

create trigger forget_archive
    before delete on public.media
    for each row
    when ((old.purpose = 'photo_result'::text))
    execute function private.forget_archive();

create trigger withdraw_artworks
    after update on public.media
    for each row
    when (((old.status = 'pending'::public.media_status) AND (new.status = 'failed'::public.media_status)))
    execute function private.withdraw_artworks();

create trigger _refuse_birth_status
    after insert on public.photo_job_items
    for each row
    when ((new.status <> ALL ('{queued}'::public.photo_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.photo_job_items
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{queued>failed,queued>returned,queued>sent,sent>failed,sent>queued,sent>succeeded,sent>unknown,unknown>failed,unknown>queued,unknown>sent,unknown>succeeded}'::text[]))))
    execute function private.refuse_move('status');

create trigger follow_photos
    after update on public.photo_job_items referencing OLD table as changed_from NEW table as changed_to
    for each STATEMENT
    execute function private.follow_photos();

create trigger _refuse_birth_status
    after insert on public.photo_jobs
    for each row
    when ((new.status <> ALL ('{pending}'::public.photo_job_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.photo_jobs
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{pending>cancelled,pending>failed,pending>processing,processing>cancelled,processing>completed,processing>failed}'::text[]))))
    execute function private.refuse_move('status');

create trigger _tidy_texts
    before insert or update of prompt, group_name on public.photo_jobs
    for each row
    execute function private.tidy_texts('prompt body', 'group_name line');

create trigger touch_updated_at
    before update on public.photo_jobs
    for each row
    execute function private.touch_updated_at();

create trigger check_product_picture
    before insert on public.product_pictures
    for each row
    execute function private.check_product_picture();

create trigger unuse_media_id
    after delete on public.product_pictures
    for each row
    execute function private.release_media('media_id');

create trigger attach_image_media_id
    before insert or update of image_media_id, thumbnail_url on public.products
    for each row
    execute function private.attach_media('image_media_id', 'product', 'seller_id', '{"thumbnail_url": "small"}');

create trigger sync_catalog_picture
    after insert or update on public.products
    for each row
    execute function private.sync_catalog_picture();

create trigger unuse_image_media_id
    after delete or update of image_media_id, thumbnail_url on public.products
    for each row
    execute function private.release_media('image_media_id');

create trigger attach_avatar_media_id
    before insert or update of avatar_media_id, avatar_url on public.profiles
    for each row
    execute function private.attach_media('avatar_media_id', 'avatar', 'id', '{"avatar_url": "small"}');

create trigger attach_banner_media_id
    before insert or update of banner_media_id, banner_url on public.profiles
    for each row
    execute function private.attach_media('banner_media_id', 'banner', 'id', '{"banner_url": "large"}');

create trigger drop_artist_verification
after update of username, display_name, full_name, avatar_url, avatar_media_id on public.profiles
for each row
when (
    (old.username::text, old.display_name, old.full_name, old.avatar_url, old.avatar_media_id)
    is distinct from (new.username::text, new.display_name, new.full_name, new.avatar_url, new.avatar_media_id)
)
execute function private.drop_verification_of_profile();

create trigger touch_updated_at
    before update of username,
        display_name,
        full_name,
        bio,
        avatar_url,
        banner_url,
        smart_link,
        website_url,
        experience_level,
        role, profile_visibility, is_partner_account, deleted_at, avatar_media_id, banner_media_id on public.profiles
    for each row
    execute function private.touch_updated_at();

create trigger unuse_avatar_media_id
    after delete or update of avatar_media_id, avatar_url on public.profiles
    for each row
    execute function private.release_media('avatar_media_id');

create trigger unuse_banner_media_id
    after delete or update of banner_media_id, banner_url on public.profiles
    for each row
    execute function private.release_media('banner_media_id');

create trigger follow_credit_refund
    after insert or update of status, booked_at, reversed_at on public.refunds
    for each row
    execute function private.follow_credit_refund();

create policy credit_lots_select on public.credit_lots
    for select
    to authenticated
    using (((user_id = ( select private.member_id() as member_id)) or ( select private.is_admin() as is_admin)));

create policy credit_packs_insert on public.credit_packs
    for insert
    to authenticated
    with check (( SELECT private.is_admin() AS is_admin));

create policy credit_packs_select_anon on public.credit_packs
    for select
    to anon
    using (is_active);

create policy credit_packs_select on public.credit_packs
    for select
    to authenticated
    using ((is_active or ( select private.is_admin() as is_admin)));

create policy credit_packs_update on public.credit_packs
    for update
    to authenticated
    using (( select private.is_admin() as is_admin))
    with check (( SELECT private.is_admin() AS is_admin));

create policy media_select_anon on public.media
    for select
    to anon
    using
        (((bucket = 'pictures'::text) AND (status <> 'failed'::public.media_status) AND private.shows_media(id,
        purpose)));

create policy media_select on public.media
    for select
    to authenticated
    using
        (((owner_id = ( select private.member_id() as member_id)) or ( select private.is_admin() as is_admin) or
        ((bucket = 'pictures'::text) AND (status <> 'failed'::public.media_status) AND private.shows_media(id,
        purpose))));

create policy photo_job_items_select on public.photo_job_items
    for select
    to authenticated
    using ((( select j.id
   from public.photo_jobs j
  where (j.id = photo_job_items.job_id)) is not null));

create policy photo_jobs_update on public.photo_jobs
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy product_pictures_delete on public.product_pictures
    for delete
    to authenticated
    using ((exists ( select
   from public.products p
  where ((p.id = product_pictures.product_id) AND (p.seller_id = ( select private.member_id() as member_id))))));

create policy product_pictures_insert on public.product_pictures
    for insert
    to authenticated
    with check ((EXISTS ( SELECT
   FROM public.products p
  WHERE ((p.id = product_pictures.product_id) AND (p.seller_id = ( SELECT private.member_id() AS member_id))))));

create policy product_pictures_select_anon on public.product_pictures
    for select
    to anon
    using ((( select c.id
   from public.catalog_items c
  where (c.id = product_pictures.product_id)) is not null));

create policy product_pictures_select on public.product_pictures
    for select
    to authenticated
    using ((( select c.id
   from public.catalog_items c
  where (c.id = product_pictures.product_id)) is not null));

create policy product_pictures_update on public.product_pictures
    for update
    to authenticated
    using ((exists ( select
   from public.products p
  where ((p.id = product_pictures.product_id) AND (p.seller_id = ( select private.member_id() as member_id))))))
    with check ((EXISTS ( SELECT
   FROM public.products p
  WHERE ((p.id = product_pictures.product_id) AND (p.seller_id = ( SELECT private.member_id() AS member_id))))));

create policy avenue_objects_delete on storage.objects
    for delete
    to authenticated
    using
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text,
        'uploads'::text])) AND private.is_own_path(name) AND (not private.is_pinned(bucket_id, name))));

create policy avenue_objects_insert on storage.objects
    for insert
    to authenticated
    with
        check
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text,
        'uploads'::text])) AND private.is_own_path(name) AND private.bucket_takes(bucket_id, metadata) AND
        ((bucket_id <> 'attachments'::text) OR private.may_attach(name))));

create policy avenue_objects_select on storage.objects
    for select
    to authenticated
    using
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text,
        'uploads'::text])) AND
        ((private.is_own_path(name) AND ((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text])) or
        (COALESCE(storage.operation(), ''::text) <> all (ARRAY['storage.object.sign'::text,
        'storage.object.sign_many'::text])))) or
        (private.reads_or_lists() AND (((bucket_id = 'product-files'::text) AND private.may_download_object(name,
        version)) or ((bucket_id = 'attachments'::text) AND private.may_read_attachment(name)))))));

alter publication supabase_realtime add table public.photo_job_items;

alter publication supabase_realtime add table public.photo_jobs;

comment on column ledger.accounts.code is 'User: pending, available, debt (negative: owed to us); credits (can be spent on photo jobs), credits_held (for jobs under way), credits_debt (negative: taken back after they were spent). Platform: clearing:<provider> (money at the provider, negative), fees:<provider>, revenue, tax_payable, payouts_in_transit, refunds_payable (taken but not deliverable), promotions, bank (what the platform paid or received outside the providers; positive: paid).';

comment on column private.credit_balances.available_cents is 'Not spent, not held, cents.';

comment on column private.credit_balances.debt_cents is 'Taken back after they were spent, cents: no new jobs until the next purchase has repaid it.';

comment on column private.credit_balances.held_cents is 'For jobs under way, cents.';

comment on column private.credit_balances.low_noted_at is 'When their owner was told that they are few; null: not since.';

comment on column private.kinds.proceeds is 'Of what is sold: who earns. seller; platform: sold by the system profile, all of it revenue; credits: sold by the system profile too, but what was paid stays the buyer''s, as credits (70_studio/10_credits).';

comment on column private.media_columns.media_column is 'Its column that refers to media.';

comment on column private.media_columns.owner_column is 'Its column with whose picture it must be.';

comment on column private.media_columns.purpose is 'What the picture is for.';

comment on column private.media_columns.relation is 'Schema-qualified relation.';

comment on column private.media_columns.urls is 'Its columns that hold addresses, each with the copy whose address that is: {"image_url": "large"}.';

comment on column private.media_fingerprints.band_1 is 'Its first quarter, to look it up by.';

comment on column private.media_fingerprints.band_2 is 'Its second quarter.';

comment on column private.media_fingerprints.band_3 is 'Its third quarter.';

comment on column private.media_fingerprints.band_4 is 'Its last quarter.';

comment on column private.media_fingerprints.fingerprint is '64 bits; at most 3 different: the same picture.';

comment on column private.media_fingerprints.ground is 'What it lies on: white, black where it is see-through; mirrored: its mirror image on white.';

comment on column private.media_purposes.bucket is 'Where the copies are: pictures, or studio, which is private.';

comment on column private.media_purposes.is_public is 'Whether whoever may see what shows it may see it. False: its owner alone, through links of minutes.';

comment on column private.media_purposes.is_uploaded is 'Whether members bring them; others the server makes.';

comment on column private.media_purposes.meaning is 'What it is for.';

comment on column private.media_purposes.purpose is 'The word.';

comment on column private.media_purposes.sizes is 'The copies: full, large, medium, small, thumbnail; how long their edges are say the workers (docs/pictures.md).';

comment on column private.media_sources.media_id is 'The picture; null once that was deleted.';

comment on column private.media_sources.object_id is 'The stored object; uploaded again under the same path it is another one.';

comment on column private.media_sources.owner_id is 'Who uploaded it. No foreign key: the row goes with the account.';

comment on column private.media_sources.path is 'In the bucket uploads.';

comment on column private.photo_attempts.checked_at is 'Last time the provider was asked about it.';

comment on column private.photo_attempts.code is 'Stable word why it failed.';

comment on column private.photo_attempts.cost_micros is 'What the provider takes for it, millionths of a dollar; also of attempts that came to nothing.';

comment on column private.photo_attempts.deadline_at is 'When the photo ends without a verdict.';

comment on column private.photo_attempts.detail is 'The provider''s words, for operators.';

comment on column private.photo_attempts.ended_at is 'When the verdict came.';

comment on column private.photo_attempts.is_late is 'Its answer came after the photo had ended: it changed nothing.';

comment on column private.photo_attempts.no is 'Which attempt of the photo, from 1; the last one decides.';

comment on column private.photo_attempts.provider is 'Who was asked; null until it is known.';

comment on column private.photo_attempts.provider_ref is 'The provider''s name for it; null until it is known.';

comment on column private.photo_attempts.verdict is 'What became of it; null while nobody knows. timed_out: the deadline came first; a later answer is only noted.';

comment on column private.photo_discounts.discount_bps is 'Less, basis points; the row with the most photos counts.';

comment on column private.photo_discounts.from_count is 'Jobs of at least so many photos.';

comment on column private.remade_pictures.failure is 'Why it is as it was uploaded: see media_failure. Null: it is not.';

comment on column private.remade_pictures.object_id is 'The stored object.';

comment on column private.remade_pictures.version is 'Its version then; with another one it is looked at again.';

comment on column private.session_requests.cancel_url is 'Where Stripe sends the buyer who turns back.';

comment on column private.session_requests.expires_at is 'When Stripe ends the session by itself. It takes no less than 30 minutes: later than payments.expires_at, at which we end it.';

comment on column private.session_requests.payment_id is 'The attempt it is for.';

comment on column private.session_requests.success_url is 'Where Stripe sends the buyer who is done.';

comment on column private.settings.credit_refunds_per_month is 'How many packs an account may give back within 30 days by itself: the provider keeps its fee of each, at the platform''s cost.';

comment on column private.settings.credits_expiry_notice is 'How long before their end people are told of credits.';

comment on column private.settings.low_credits_cents is 'Whose credits fall below it is told, once until they are above it again; cents.';

comment on column private.settings.open_photos_per_account is 'Photos an account may have under way at most.';

comment on column private.settings.photo_cost_cents is 'What one photo costs, credits in cents, before photo_discounts.';

comment on column private.settings.photo_deadline is 'How long a photo that was sent may be without a verdict: then it is the customer''s, and an operator is told.';

comment on column private.settings.photo_input_kept is 'How long a picture is kept that was uploaded for a job.';

comment on column private.settings.photo_result_kept is 'How long the results of a job are kept.';

comment on column private.settings.photos_per_job is 'Photos of one job at most.';

comment on column private.settings.pictures_pending_per_member is 'How many pictures of one member may wait for the workers.';

comment on column private.settings.returned_credits_period is 'How long credits that come back can be used at least, also where their lot would have ended.';

comment on column private.settings.trial_credits_cents is 'Credits of a free trial, cents.';

comment on column private.settings.trial_period is 'How long the credits of a trial can be used.';

comment on column private.settings.unused_pictures_period is 'How long an upload or a picture is kept that nothing shows.';

comment on column private.trials.granted_at is 'When.';

comment on column private.trials.person_hash is 'Of an address, or of a provider''s identity.';

comment on column public.articles.thumbnail_media_id is 'The picture: one of purpose article that its owner made. Its copies'' addresses are in thumbnail_url then.';

comment on column public.articles.thumbnail_url is 'Address of the picture for lists, http(s) only: from outside, or of the medium copy of thumbnail_media_id.';

comment on column public.artworks.image_media_id is 'The picture: one of purpose artwork that its owner made. Its copies'' addresses are in image_url, thumbnail_url then.';

comment on column public.artworks.image_url is 'Address of the picture, http(s) only: from outside, or of the large copy of image_media_id.';

comment on column public.artworks.thumbnail_url is 'Address of a smaller picture for lists, likewise.';

comment on column public.catalog_items.image_media_id is 'The picture its copies are of; null for one from outside.';

comment on column public.credit_lots.amount_cents is 'How many there were, cents; the sum of the next six.';

comment on column public.credit_lots.captured_cents is 'Spent on photos that were delivered, cents.';

comment on column public.credit_lots.category is 'paid; bonus: on top of a pack; trial.';

comment on column public.credit_lots.expired_cents is 'Ended before they were used, or void with a refund, cents.';

comment on column public.credit_lots.expires_at is 'They cannot be spent from then on, whether or not it is booked yet; null: no end.';

comment on column public.credit_lots.held_cents is 'For photos under way, cents.';

comment on column public.credit_lots.is_void is 'A bonus whose pack was given back: what comes back to it ends.';

comment on column public.credit_lots.noted_at is 'When its owner was told that it ends soon.';

comment on column public.credit_lots.order_item_id is 'The line that bought them.';

comment on column public.credit_lots.owed_cents is 'Taken back with a payment after they were spent, cents; not a part of the amount.';

comment on column public.credit_lots.remaining_cents is 'Can be spent until expires_at, cents.';

comment on column public.credit_lots.repaid_cents is 'Repaid what was owed, cents.';

comment on column public.credit_lots.taken_back_cents is 'Given back as money, cents.';

comment on column public.credit_lots.version is 'Numbers the journals about the lot itself.';

comment on column public.credit_packs.bonus_cents is 'Credits on top, cents: not given back as money.';

comment on column public.credit_packs.hidden_reason is 'Why.';

comment on column public.credit_packs.is_active is 'Whether it is on sale.';

comment on column public.credit_packs.is_hidden is 'Taken off sale by hide_content() only.';

comment on column public.credit_packs.price_cents is 'Price, cents, and as many credits.';

comment on column public.credit_packs.seller_id is 'The platform.';

comment on column public.credit_packs.title is 'What it is called.';

comment on column public.credit_packs.valid_days is 'How many days its credits can be used; null: without end.';

comment on column public.media.bucket is 'Where the copies are. pictures is public: derivatives have a url. studio is private: GET /functions/v1/media/{id}/{name} answers with a link.';

comment on column public.media.color is 'Its average color, #rrggbb: the placeholder while a copy loads.';

comment on column public.media.content_type is 'What the upload really was, whatever it said of itself.';

comment on column public.media.derivatives is 'The copies by name (full, large, medium, small, thumbnail): an object of path, width, height, bytes, crc32, and url where the bucket is public. Empty until it is ready.';

comment on column public.media.expires_at is 'When it will be deleted; null: it is kept. Something that shows it keeps it; what nothing shows any more goes after unused_pictures_period.';

comment on column public.media.failure is 'Why it failed; else null.';

comment on column public.media.height is 'Of the upright original, pixels.';

comment on column public.media.is_animated is 'Whether there was more than the one frame that was taken.';

comment on column public.media.owner_id is 'Whose it is.';

comment on column public.media.purpose is 'avatar, banner, artwork, product, article, photo_input or photo_result.';

comment on column public.media.ready_at is 'When its copies were there.';

comment on column public.media.status is 'Whether there are copies to show; until then show a placeholder.';

comment on column public.media.width is 'Of the upright original, pixels.';

comment on column public.payments.is_session is 'Started as a Stripe Checkout Session, a page of Stripe''s, and not as a bare PaymentIntent: it is one of the two.';

comment on column public.payments.stripe_session_id is 'The Checkout Session; its PaymentIntent becomes provider_ref once there is one.';

comment on column public.photo_job_items.attempts_count is 'How often the provider was asked.';

comment on column public.photo_job_items.available_at is 'Not sent before this time.';

comment on column public.photo_job_items.cost_cents is 'Its part of the job''s cost, credits in cents: all parts add up to the whole.';

comment on column public.photo_job_items.failure is 'Why there is no picture: refused, unreadable_input, provider_failed, output_gone, output_unreadable, canceled, timed_out, input_gone.';

comment on column public.photo_job_items.finished_at is 'When it got its verdict.';

comment on column public.photo_job_items.input_media_id is 'The picture that was sent in; null: no longer kept.';

comment on column public.photo_job_items.lot_cents is '… and how much each, cents.';

comment on column public.photo_job_items.lot_ids is 'The credit_lots that pay for it …';

comment on column public.photo_job_items.position is 'Place in the job, from 1.';

comment on column public.photo_job_items.queued_at is 'Since when it waits; the order of the queue.';

comment on column public.photo_job_items.result_media_id is 'The picture that was made; null: none, or no longer kept.';

comment on column public.photo_job_items.sent_at is 'When it was first sent; the deadline counts from here.';

comment on column public.photo_job_items.status is 'How it stands with it, and with its credits.';

comment on column public.photo_jobs.captured_cents is 'Credits spent, cents; when it is over, the rest of cost_cents came back.';

comment on column public.photo_jobs.client_key is 'The client''s key for this intent: the same key answers this job.';

comment on column public.photo_jobs.cost_cents is 'What all of them cost, credits in cents; fixed when it was made.';

comment on column public.photo_jobs.failed_count is 'Photos that could not be made; their credits came back.';

comment on column public.photo_jobs.group_name is 'The owner''s label, at most 140 characters.';

comment on column public.photo_jobs.photo_count is 'Photos: the rows of photo_job_items.';

comment on column public.photo_jobs.prompt is 'What is wanted, at most 2,000 characters; null once the account ended.';

comment on column public.photo_jobs.retry_of is 'The job whose failed photos this one tries again.';

comment on column public.photo_jobs.returned_count is 'Photos cancelled before they were sent; their credits came back.';

comment on column public.photo_jobs.status is 'What its photos make of it.';

comment on column public.photo_jobs.succeeded_count is 'Photos delivered.';

comment on column public.photo_jobs.user_id is 'Whose; the platform''s are demo jobs.';

comment on column public.product_pictures.media_id is 'A picture of purpose product that its seller made.';

comment on column public.product_pictures.position is 'Order among them, ascending.';

comment on column public.product_pictures.product_id is 'The product.';

comment on column public.products.image_media_id is 'The picture: one of purpose product that its owner made. Its copies'' addresses are in thumbnail_url then.';

comment on column public.products.thumbnail_url is 'Address of the picture for lists, http(s) only: from outside, or of the small copy of image_media_id.';

comment on column public.profiles.avatar_media_id is 'The picture: one of purpose avatar that its owner made. Its copies'' addresses are in avatar_url then.';

comment on column public.profiles.banner_media_id is 'The picture: one of purpose banner that its owner made. Its copies'' addresses are in banner_url then.';

comment on column public.refund_lines.credits_cents is 'Credits taken back for it, cents.';

comment on column public.transactions.amount_credits_cents is 'What stays the buyer''s as credits, cents; the platform bears the provider''s fee of it.';

comment on column public.transactions.refunded_cents is 'Refunded so far, cents; the next five are its parts.';

comment on column public.transactions.refunded_credits_cents is 'Credits taken back for it, cents.';

comment on constraint articles_thumbnail_media_id_fkey on public.articles is 'media_not_found: There is no such picture.';

comment on constraint artworks_image_media_id_fkey on public.artworks is 'media_not_found: There is no such picture.';

comment on constraint credit_packs_title_check on public.credit_packs is 'invalid_title: A pack has a title of 1 to 100 characters.';

comment on constraint credit_packs_valid_days_check on public.credit_packs is 'invalid_price: Credits are valid for 1 to 3,650 days, or without end.';

comment on constraint photo_jobs_group_name_check on public.photo_jobs is 'invalid_photo_job: A group name has 1 to 140 characters.';

comment on constraint product_pictures_media_id_fkey on public.product_pictures is 'media_not_found: There is no such picture.';

comment on constraint product_pictures_position_check on public.product_pictures is 'invalid_position: A position is from 0 to 1000.';

comment on constraint product_pictures_product_id_fkey on public.product_pictures is 'item_not_found: There is no such product.';

comment on constraint product_pictures_product_id_media_id_key
    on public.product_pictures is 'already_done: The product has this picture already.';

comment on constraint products_image_media_id_fkey on public.products is 'media_not_found: There is no such picture.';

comment on constraint profiles_avatar_media_id_fkey on public.profiles is 'media_not_found: There is no such picture.';

comment on constraint profiles_banner_media_id_fkey on public.profiles is 'media_not_found: There is no such picture.';

comment on function ledger.audit() is 'Every violated invariant of the books (docs/money.md, Invariants 1 to 5); no rows means they are right. Invariant 6, the provider''s balance, is compared by the worker with private.provider_position().';

comment on function ledger.post(ledger.journal_kind, text, ledger.leg[], uuid, text, text, timestamp
    with time zone) is 'Posts one journal and moves the users'' wallets and credits with it; returns the journal''s id. The same idempotency key returns the first journal unchanged. Errors: unbalanced_journal, unknown_account; 23514 when a balance would fall below zero.';

comment on function private.alike_media(uuid) is 'Pictures, anybody''s, that look like one of the caller''s own.';

comment on function private.apply_checkout_session(text, jsonb) is 'checkout.session.*: what is paid is read and settled, what failed or expired ends. Id, mode, amount and currency must be those asked for.';

comment on function private.apply_read_event(text, text) is 'Applies an event that was stored a moment ago now, for somebody who waits for it; see process_webhook_event().';

comment on function private.archive_built(uuid, text, bigint) is 'A job''s ZIP file is stored. False when it has another one, or is not wanted any more: then this one is nobody''s.';

comment on function private.archive_to_build(uuid) is 'The pictures that go into a job''s ZIP file, in their order, and what was uploaded for each; none when it has one, or needs none.';

comment on function private.archives_to_build(integer) is 'Finished jobs that have no ZIP file yet, those finished longest ago first; one that was begun only after a while.';

comment on function private.archives_to_erase(integer) is 'ZIP files that belong to no job, or to one whose time is over: interrupted, built twice, expired, of ended accounts.';

comment on function private.attach_media() is 'Trigger of make_media_column(); arguments: the column, the purpose, the owner''s column, the columns with addresses. The picture must be its owner''s and made for this; addresses are the picture''s until another one is given.';

comment on function private.attach_payment_intent(uuid, text) is 'Remembers which PaymentIntent a Checkout Session is paid by, as the session says.';

comment on function private.attach_payment_ref(uuid, text) is 'Remembers the provider''s object: the PaymentIntent, or the Checkout Session of an attempt that is one. Answers the payment''s status: cancelled means cancel it at the provider now.';

comment on function private.attempt_request(public.payments) is 'What to create at the provider for an attempt, always the same, and ref, under which it is asked for there: the session where it is one, else provider_ref; null while unknown.';

comment on function private.authorize_archive(uuid, uuid) is 'Where the ZIP file of one of the user''s jobs, or of a demo job, is stored, and what it is called. Errors: photo_job_not_found (404, also for what is somebody else''s), archive_not_ready, not_signed_in, banned.';

comment on function private.authorize_demo_photo(uuid, uuid) is 'Where the result of a demo job''s photo is stored. Errors: photo_job_not_found (404, also for photos of other jobs), not_signed_in, banned.';

comment on function private.authorize_media(uuid, text, uuid) is 'Where a copy of one of the user''s own pictures is stored. Errors: media_not_found (404), not_signed_in, banned.';

comment on function private.catalog_entry(public.credit_packs) is 'A pack''s registry row.';

comment on function private.check_product_picture() is 'Trigger: a product''s picture is its seller''s own and made for products; it is kept from then on.';

comment on function private.claim_photos(text, integer) is 'Takes photos that wait, those that wait longest first, and writes down an attempt for each: only then is the provider asked. Whoever dies now leaves an attempt that photos_to_check() finds.';

comment on function private.credit_pack_check_line(uuid[], private.wanted_line[]) is 'Hook check_line: keeps the bonus and how long the credits are valid, as they are now.';

comment on function private.credit_pack_grant(uuid[]) is 'Hook grant: the lots of these lines; the sale''s journal moves what was paid.';

comment on function private.credit_pack_restore(uuid[]) is 'Hook restore: the refund failed, the credits are back.';

comment on function private.credit_pack_revoke(uuid[], text) is 'Hook revoke: all of the pack''s credits are taken back; what is spent is owed.';

comment on function private.credit_priority(text) is 'Which of lots that end together is used first; ascending.';

comment on function private.end_hold(uuid, uuid[], bigint[], text, text, uuid) is 'What these lots hold, cents of each, is spent (succeeded: revenue, or the promotion it was) or comes back to them: failed, then they end later, or returned by their owner, then they end as they would have. Once for each key. The credits are locked.';

comment on function private.end_lots(uuid) is 'Books somebody''s lots whose time is over: of paid ones as revenue, of others back to promotions; how many. The credits are locked.';

comment on function private.enqueue(text, jsonb, timestamp with time zone, text, text) is 'Defers a job for the Python workers inside the current transaction. lock_key serialises jobs on one object; what waits for pictures or their provider goes to the queue slow, so that money never waits for it.';

comment on function private.erase_archives(uuid) is 'Account deletion: lets go of the ZIP files; a job deletes them.';

comment on function private.erase_files_of_media() is 'Trigger on media: the files of deleted pictures go, too.';

comment on function private.erase_photo_jobs(uuid) is 'Account deletion: what was not sent is given back, and nothing of the jobs stays but what they cost.';

comment on function private.expire_credits(integer) is 'Books the lots whose time is over: of paid ones as revenue, of others back to promotions. How many; call until 0.';

comment on function private.expire_media(integer) is 'Deletes pictures whose time has come, at most max_rows, and keeps the public ones that something shows; how many were looked at.';

comment on function private.expire_photo_jobs(integer) is 'Tells whose results will be deleted within a week, and lets go of the ZIP files of jobs whose time is over (their pictures go by media.expires_at); how many. Call until 0.';

comment on function private.expire_photos(integer) is 'Photos whose deadline passed without a verdict: the customer has the credits back, audit_log has an entry, and the worker raises an alarm. A later answer is only noted.';

comment on function private.fail_photo(uuid, text) is 'Ends an open photo without a picture: its credits are back.';

comment on function private.finish_photo_job() is 'Trigger: whoever''s job is over is told.';

comment on function private.follow_credit_purchase(uuid) is 'Lets the lots of a pack''s line follow its refunds, booked and under way, and whether it still stands: takes credits back (what is spent becomes debt) or returns them, and voids or renews the bonus. Repeated calls change nothing.';

comment on function private.follow_credit_refund() is 'Trigger: credits that are to be given back cannot be spent meanwhile, see follow_credit_purchase().';

comment on function private.follow_photos() is 'Trigger: a job''s counts, cost and state follow its photos.';

comment on function private.forfeit_credits(uuid) is 'Account deletion: what nobody can use any more has ended; expire_credits() books it.';

comment on function private.forget_archive() is 'Trigger: a job whose result is deleted has no ZIP file until it is built anew.';

comment on function private.grant_lot(uuid, text, bigint, timestamp
    with time zone, uuid) is 'Gives somebody credits, cents, until a time or without end. What is not paid for is the platform''s promotion.';

comment on function private.hold_media_users(public.media) is 'Locks what shows a picture. Before the picture''s own row, as who attaches it does.';

comment on function private.is_pinned(text, text) is 'Whether an item, a message or a pending picture refers to the stored object, which therefore stays as it is.';

comment on function private.is_taken_upload(text) is 'Whether the workers are about to make a picture of this upload, which therefore stays as it is.';

comment on function private.is_worked_on(uuid) is 'Whether an open photo needs this picture.';

comment on function private.keep_fingerprints(uuid, jsonb) is 'Notes what a picture looks like.';

comment on function private.lock_credit_sales(uuid) is 'Before a refund of a payment changes: where credits were bought with it, locks what settling locks before credits. The payment is locked.';

comment on function private.lock_credits(uuid) is 'Locks somebody''s credits: after wallets, before lots.';

comment on function private.make_media_column(regclass, text, text, text, jsonb) is 'A column that shows a picture: refers to one of the owner''s own of that purpose, and fills the columns with addresses.';

comment on function private.media_addresses(public.media, jsonb) is 'What the address columns hold while they show a picture; null until it is ready. See media_columns.urls.';

comment on function private.media_failed(uuid, text) is 'A pending picture gave none, and never will. False when it is not pending.';

comment on function private.media_files_to_erase(uuid[], integer) is 'Stored copies of these pictures that are not, or no longer, theirs; none of a pending one.';

comment on function private.media_purpose(text) is 'Which copies pictures of a purpose get, and where they go.';

comment on function private.media_ready(uuid, jsonb) is 'The copies of a pending picture are stored: it is ready, and so is what shows it. False when it is not pending, then these copies are nobody''s.';

comment on function private.media_to_process(uuid) is 'The upload of a pending picture, and which copies it gets where; none for others.';

comment on function private.move_credits(ledger.leg[], uuid[]) is 'Part of ledger.post(): the balances of these owners follow the legs on their accounts of credits.';

comment on function private.open_credits(uuid) is 'Opens somebody''s credits, when they first have any.';

comment on function private.payment_attempt(uuid) is 'An attempt as start_payment describes it, for the jobs: with it a lost creation can be repeated under the same key.';

comment on function private.payment_state(uuid, uuid) is 'For its payer: an attempt as payment_attempt() describes it, whether its money was taken, and what checkout() answers by now. Error: payment_not_found.';

comment on function private.payments_to_cancel(integer) is 'Started attempts that ran out or are no longer wanted, and settled ones whose charge was declined later: cancel at the provider, then payment_cancelled(). A session is named by its id: its PaymentIntent cannot be cancelled apart. Those tried longest ago first.';

comment on function private.pending_media(integer) is 'Pictures that have been waiting for long: their job was lost, or is tried again. After two days for the last time.';

comment on function private.photo_attempt(uuid) is 'One attempt, as photos_to_check() says it; none if there is none.';

comment on function private.photo_cost(integer) is 'What a job of so many photos costs now, credits in cents.';

comment on function private.photo_delivered(uuid, text) is 'The provider has told of this attempt: a job reads how it stands, whatever was told. False: it is none of ours.';

comment on function private.photo_job_of(public.photo_jobs, uuid[]) is 'The job that was made under the wanted one''s client key; null: none yet. Error: idempotency_key_reused, for another prompt or other pictures.';

comment on function private.photo_not_sent(uuid, text) is 'The provider surely does not have this attempt: the photo waits again.';

comment on function private.photo_sent(uuid, text) is 'The provider has this attempt, under this name.';

comment on function private.photo_unknown(uuid, text) is 'The provider did not answer, and may have it or not. Nothing is given back.';

comment on function private.photos_to_check(integer) is 'Attempts without a verdict that the provider should be asked about, each at most once a minute, for a day also after their photo''s deadline, for what they cost; those asked about longest ago first.';

comment on function private.picture_remade(text, text, text) is 'Notes that a stored object was made again, or why not.';

comment on function private.pictures_to_remake(text, text, integer) is 'Pictures in public buckets that are as they were uploaded, after this bucket and path.';

comment on function private.place_photo_job(public.photo_jobs, uuid[]) is 'Makes a job of these pictures and holds its cost. The credits are locked. Error: insufficient_credits.';

comment on function private.publish_media(uuid, text, uuid, jsonb) is 'A picture the server itself has, whose copies are stored: its id. A private one is kept for a day, unless whoever asked for it says until when. Errors: user_not_found, unknown_purpose.';

comment on function private.purposes_of_address(uuid, text) is 'What shows a stored object by its address, a path of the project, and could refer to a picture instead.';

comment on function private.release_media() is 'Trigger of make_media_column(): a picture that nothing shows any more goes after a while.';

comment on function private.repay_credits(uuid) is 'Whoever owes credits repays them with what they have paid for: after a purchase, and when credits come back.';

comment on function private.return_photos(uuid) is 'Gives back the photos of a job that were not sent yet; how many.';

comment on function private.settle_photo(uuid, text, uuid, text, text, bigint, text) is 'A definitive verdict about an attempt: succeeded with the stored picture, or failed with a stable code; what the provider takes for it, millionths of a dollar. settled: it decided the photo, once; else what the photo is: the picture is not wanted, delete it. Error: event_rejected.';

comment on function private.show_media(public.media) is 'What shows a picture that has become ready gets its addresses.';

comment on function private.show_remade(uuid, text, text, uuid, jsonb) is 'What shows a stored object by its address, a path of the project, refers to this picture of it from now on; how many rows.';

comment on function private.shown_at(uuid, text, private.media_columns) is 'Condition on rows t of a relation, of this owner, that show what lies at a path of the project.';

comment on function private.shows_media(uuid, text) is 'Whether something that the caller may see shows this picture.';

comment on function private.split_refund(public.transactions, bigint, text) is 'Divides the next refund of a sale (cents, at most what is left of it; negative to take back as much) into tax, commission, the fee where the platform bears it, the sellers'' part, and credits.';

comment on function private.start_payment(uuid, uuid, boolean, text, text) is 'Opens an attempt for its payer, as a PaymentIntent or as a Checkout Session with the pages it returns to, and says what to create at the provider (idempotency key: the payment id and which of the two). Asked again it says the same. Errors: banned, payment_not_found, payment_not_open, payment_started_otherwise, already_owned, payable_not_open.';

comment on function private.stray_media_files(integer) is 'Stored copies no picture names: somebody was interrupted.';

comment on function private.sync_catalog_picture() is 'Trigger of kinds with an image_media_id, after sync_catalog_item: the registry row shows the same picture.';

comment on function private.tell_expiring_credits(integer) is 'Tells the owners of credits that end within settings.credits_expiry_notice, once for each lot; how many were told.';

comment on function private.tell_low_credits(uuid, bigint, bigint) is 'Tells somebody once that their credits (cents) have become few.';

comment on function private.unread_session(jsonb) is 'The attempt a PaymentIntent names, where that is a session whose intent is not known yet; else null.';

comment on function private.uploads_to_erase(integer) is 'Uploads that were used, whose picture was deleted, or that nobody made anything of for long.';

comment on function private.used_media(uuid[]) is 'Those of these pictures that something refers to: by any foreign key in public.';

comment on function private.withdraw_artworks() is 'Trigger on media: a work that was published before its picture was ready is a draft again when there is none.';

comment on function public.cancel_photo_job(uuid) is 'Owner: photos that were not sent yet are given back at once; those the provider has go on, and cost what they cost if they succeed. Safe to repeat. Error: photo_job_not_found.';

comment on function public.claim_trial() is 'Gives the caller the credits of the free trial, once for a person: the address is confirmed, and neither it nor a linked sign-in identity had one before. Errors: trial_address_unconfirmed, trial_used.';

comment on function public.create_demo_job(text, uuid[], text) is 'Admins: a job of the platform''s own from pictures the admin uploaded, at no cost and for everybody signed in to see. Audited. Errors: invalid_photo_job, media_not_ready.';

comment on function public.create_media(text, text) is 'Makes a picture of the caller''s own upload, <own id>/… in the bucket uploads, for a purpose: avatar, banner, artwork, product, article or photo_input. The row is pending until the workers have looked. The same upload again answers the same row. Errors: upload_not_found, unknown_purpose, upload_taken, too_many_pictures.';

comment on function public.create_photo_job(text, uuid[], text, text) is 'Makes a photo job of the caller''s uploaded pictures (media of purpose photo_input that are ready) and holds what it costs, all or nothing; photo_price() says how much. The same client_key answers the first job. Errors: invalid_photo_job, too_many_photos, media_not_ready (the detail: which), insufficient_credits, credits_owed, idempotency_key_reused.';

comment on function public.credit_balance() is 'The caller''s credits.';

comment on function public.credit_statement(bigint, integer) is 'What moved the caller''s credits, newest first; page with the last journal_id. Changes in cents; debt rises when positive. source_id: the sale, the lot, the job (credits_held) or the photo.';

comment on function public.delete_media(uuid) is 'Deletes one of the caller''s own pictures that nothing shows and no open photo job needs; its files go within minutes. Errors: media_not_found, media_in_use.';

comment on function public.photo_job_statement(uuid) is 'What a job did with the credits of each lot, cents: funded it, consumed by delivered photos, returned, still held; expired is what of the returned has ended since, at most. Owner and admins. Error: photo_job_not_found.';

comment on function public.photo_price(integer) is 'What a job of so many photos costs now, credits in cents, and the part of each photo. Error: too_many_photos.';

comment on function public.photo_queue_position(uuid) is 'Place of a job''s next photo among all that wait, from 1; 0: none of it waits. Error: photo_job_not_found.';

comment on function public.refund_credits(uuid, text) is 'Buyer: gives back what is unused of a pack''s paid credits; its bonus ends, and what was spent of the bonus counts as paid. The same idempotency_key answers the first refund. Errors: sale_not_found, credits_in_use (a job is open), no_unused_credits, too_many_credit_refunds, idempotency_key_invalid, idempotency_key_reused.';

comment on function public.retry_photo_job(uuid, text) is 'Owner: tries the photos of a finished job again that failed or were given back, as a job of their own at the price of now; once for each job, repeated calls answer that one. Errors: photo_job_not_found, state_changed (it is not over), nothing_to_retry (nothing failed, or the pictures are no longer kept), insufficient_credits, credits_owed, invalid_photo_job, idempotency_key_reused.';

comment on function public.similar_media(uuid) is 'A warning, nothing is refused: what looks like one of the caller''s own pictures, mirrored or not, with how many of 64 bits differ (at most 3). The caller''s own by similar_id; one row without it says that somebody else shows such a picture. Error: media_not_found.';

comment on function public.wallet_statement(bigint, integer) is 'What moved the caller''s wallet, newest first; page with the last journal_id. Changes in cents; debt rises when positive. Credits: credit_statement().';

comment on policy photo_job_items_select on public.photo_job_items is 'Whoever sees the job sees its photos.';

comment on table ledger.accounts is 'Chart of accounts. Accounts store no balance: the platform''s are part of every sale and would be a queue; a user''s balances are the rows of wallets and credit_balances.';

comment on table private.credit_balances is 'Who has or had credits, as the ledger says; the lock of everything done with them. What can be spent is less where lots have ended that are not booked yet: credit_balance().';

comment on table private.media_columns is 'The columns that show a picture; each a call of make_media_column().';

comment on table private.media_fingerprints is 'What pictures look like (dHash of the upright picture in sRGB). None for flat ones: they are all alike.';

comment on table private.media_purposes is 'What pictures are for: rows inserted on the page that shows them.';

comment on table private.media_sources is 'The uploads pictures were made of. Not on the picture''s own row: that is for everybody who sees it.';

comment on table private.photo_attempts is 'Each time a provider was, or may have been, asked for a photo: committed before it is asked, so that its answer finds something whatever happens.';

comment on table private.photo_discounts is 'What jobs of many photos cost less.';

comment on table private.remade_pictures is 'Stored objects of public buckets that were made again, or gave no picture, in the version they have since.';

comment on table private.session_requests is 'Checkout Sessions asked for whose id is not known yet: the same request finds the same session again.';

comment on table private.trials is 'Purpose: that nobody has two trials by deleting the account and signing up again. Keyed hashes of e-mail addresses and sign-in identities, see address_hash(); no account is named.';

comment on table public.credit_lots is 'Credits by where they came from and when they end. Owner and admins read; only the server writes. They are used in one order: what ends first, then trial before bonus before paid, then the oldest.';

comment on table public.credit_packs is 'Packs of credits, bought with checkout() like any item. Everybody reads those on sale; admins write. What was bought stays as it was.';

comment on table public.media is 'Pictures. Whoever may see what shows one may read its row, unless it failed; its owner and admins always. Made by create_media(), everything else by the workers; deleted by delete_media().';

comment on table public.photo_job_items is 'The photos of a job, one row each. Whoever reads the job reads them; only the server writes.';

comment on table public.photo_jobs is 'Jobs of the photo studio. Owner and admins read, everybody signed in the platform''s demo jobs; made by create_photo_job(), the owner writes group_name.';

comment on table public.product_pictures is 'Pictures of a product''s page, at most 30; read with the product, written by its seller. products?select=*,pictures:product_pictures(position,media(*)). Addresses from outside are in preview_images.';

comment on type public.credit_totals is 'Somebody''s credits, cents: what can be spent, what is held for jobs, what is owed; when the next ones end and how many.';

comment on type public.media_failure is 'Why there is no picture. unreadable: cut or damaged. too_large: in bytes or pixels. unsupported_format: none that is read. missing: the upload was gone.';

comment on type public.media_status is 'pending: uploaded, not looked at yet. ready: its copies are there. failed: it gave no picture, see media_failure.';

comment on type public.photo_job_status is 'pending: nothing was sent yet. processing. completed: over, with at least one photo delivered. failed: over with none. cancelled: all photos were given back unsent.';

comment on type public.photo_quote is 'What a job costs, credits in cents, and the part of each of its photos.';

comment on type public.photo_status is 'queued. sent: the provider has it. unknown: the provider was asked and nobody knows what it did: nothing is given back before it is known, or the deadline has passed. The ends: succeeded (spent), failed (given back), returned (never sent, given back).';

revoke all on function ledger.audit() from public;

revoke all on function private.alike_media(uuid) from public;

grant execute on function private.alike_media(uuid) to authenticated;

revoke all on function private.apply_checkout_session(text, jsonb) from public;

revoke all on function private.apply_read_event(text, text) from public;

grant execute on function private.apply_read_event(text, text) to avenue_worker;

revoke all on function private.archive_built(uuid, text, bigint) from public;

grant execute on function private.archive_built(uuid, text, bigint) to avenue_worker;

revoke all on function private.archive_to_build(uuid) from public;

grant execute on function private.archive_to_build(uuid) to avenue_worker;

revoke all on function private.archives_to_build(integer) from public;

grant execute on function private.archives_to_build(integer) to avenue_worker;

revoke all on function private.archives_to_erase(integer) from public;

grant execute on function private.archives_to_erase(integer) to avenue_worker;

revoke all on function private.attach_media() from public;

revoke all on function private.attach_payment_intent(uuid, text) from public;

grant execute on function private.attach_payment_intent(uuid, text) to avenue_worker;

revoke all on function private.attempt_request(public.payments) from public;

revoke all on function private.authorize_archive(uuid, uuid) from public;

grant execute on function private.authorize_archive(uuid, uuid) to avenue_worker;

revoke all on function private.authorize_demo_photo(uuid, uuid) from public;

grant execute on function private.authorize_demo_photo(uuid, uuid) to avenue_worker;

revoke all on function private.authorize_media(uuid, text, uuid) from public;

grant execute on function private.authorize_media(uuid, text, uuid) to avenue_worker;

revoke all on function private.catalog_entry(public.credit_packs) from public;

revoke all on function private.check_product_picture() from public;

revoke all on function private.claim_photos(text, integer) from public;

grant execute on function private.claim_photos(text, integer) to avenue_worker;

revoke all on function private.credit_pack_check_line(uuid[], private.wanted_line[]) from public;

revoke all on function private.credit_pack_grant(uuid[]) from public;

revoke all on function private.credit_pack_restore(uuid[]) from public;

revoke all on function private.credit_pack_revoke(uuid[], text) from public;

revoke all on function private.credit_priority(text) from public;

revoke all on function private.end_hold(uuid, uuid[], bigint[], text, text, uuid) from public;

revoke all on function private.end_lots(uuid) from public;

revoke all on function private.enqueue(text, jsonb, timestamp with time zone, text, text) from public;

revoke all on function private.erase_archives(uuid) from public;

revoke all on function private.erase_files_of_media() from public;

revoke all on function private.erase_photo_jobs(uuid) from public;

revoke all on function private.expire_credits(integer) from public;

grant execute on function private.expire_credits(integer) to avenue_worker;

revoke all on function private.expire_media(integer) from public;

grant execute on function private.expire_media(integer) to avenue_worker;

revoke all on function private.expire_photo_jobs(integer) from public;

grant execute on function private.expire_photo_jobs(integer) to avenue_worker;

revoke all on function private.expire_photos(integer) from public;

grant execute on function private.expire_photos(integer) to avenue_worker;

revoke all on function private.fail_photo(uuid, text) from public;

revoke all on function private.finish_photo_job() from public;

revoke all on function private.follow_credit_purchase(uuid) from public;

revoke all on function private.follow_credit_refund() from public;

revoke all on function private.follow_photos() from public;

revoke all on function private.forfeit_credits(uuid) from public;

revoke all on function private.forget_archive() from public;

revoke all on function private.grant_lot(uuid, text, bigint, timestamp with time zone, uuid) from public;

revoke all on function private.hold_media_users(public.media) from public;

revoke all on function private.is_taken_upload(text) from public;

revoke all on function private.is_worked_on(uuid) from public;

revoke all on function private.keep_fingerprints(uuid, jsonb) from public;

revoke all on function private.lock_credit_sales(uuid) from public;

revoke all on function private.lock_credits(uuid) from public;

revoke all on function private.make_media_column(regclass, text, text, text, jsonb) from public;

revoke all on function private.media_addresses(public.media, jsonb) from public;

revoke all on function private.media_failed(uuid, text) from public;

grant execute on function private.media_failed(uuid, text) to avenue_worker;

revoke all on function private.media_files_to_erase(uuid[], integer) from public;

grant execute on function private.media_files_to_erase(uuid[], integer) to avenue_worker;

revoke all on function private.media_purpose(text) from public;

grant execute on function private.media_purpose(text) to avenue_worker;

revoke all on function private.media_ready(uuid, jsonb) from public;

grant execute on function private.media_ready(uuid, jsonb) to avenue_worker;

revoke all on function private.media_to_process(uuid) from public;

grant execute on function private.media_to_process(uuid) to avenue_worker;

revoke all on function private.move_credits(ledger.leg[], uuid[]) from public;

revoke all on function private.open_credits(uuid) from public;

revoke all on function private.payment_attempt(uuid) from public;

grant execute on function private.payment_attempt(uuid) to avenue_worker;

revoke all on function private.payment_state(uuid, uuid) from public;

grant execute on function private.payment_state(uuid, uuid) to avenue_worker;

revoke all on function private.pending_media(integer) from public;

grant execute on function private.pending_media(integer) to avenue_worker;

revoke all on function private.photo_attempt(uuid) from public;

grant execute on function private.photo_attempt(uuid) to avenue_worker;

revoke all on function private.photo_cost(integer) from public;

revoke all on function private.photo_delivered(uuid, text) from public;

grant execute on function private.photo_delivered(uuid, text) to avenue_worker;

revoke all on function private.photo_job_of(public.photo_jobs, uuid[]) from public;

revoke all on function private.photo_not_sent(uuid, text) from public;

grant execute on function private.photo_not_sent(uuid, text) to avenue_worker;

revoke all on function private.photo_sent(uuid, text) from public;

grant execute on function private.photo_sent(uuid, text) to avenue_worker;

revoke all on function private.photo_unknown(uuid, text) from public;

grant execute on function private.photo_unknown(uuid, text) to avenue_worker;

revoke all on function private.photos_to_check(integer) from public;

grant execute on function private.photos_to_check(integer) to avenue_worker;

revoke all on function private.picture_remade(text, text, text) from public;

grant execute on function private.picture_remade(text, text, text) to avenue_worker;

revoke all on function private.pictures_to_remake(text, text, integer) from public;

grant execute on function private.pictures_to_remake(text, text, integer) to avenue_worker;

revoke all on function private.place_photo_job(public.photo_jobs, uuid[]) from public;

revoke all on function private.publish_media(uuid, text, uuid, jsonb) from public;

grant execute on function private.publish_media(uuid, text, uuid, jsonb) to avenue_worker;

revoke all on function private.purposes_of_address(uuid, text) from public;

grant execute on function private.purposes_of_address(uuid, text) to avenue_worker;

revoke all on function private.release_media() from public;

revoke all on function private.repay_credits(uuid) from public;

revoke all on function private.return_photos(uuid) from public;

revoke all on function private.settle_photo(uuid, text, uuid, text, text, bigint, text) from public;

grant execute on function private.settle_photo(uuid, text, uuid, text, text, bigint, text) to avenue_worker;

revoke all on function private.show_media(public.media) from public;

revoke all on function private.show_remade(uuid, text, text, uuid, jsonb) from public;

grant execute on function private.show_remade(uuid, text, text, uuid, jsonb) to avenue_worker;

revoke all on function private.shown_at(uuid, text, private.media_columns) from public;

revoke all on function private.shows_media(uuid, text) from public;

grant execute on function private.shows_media(uuid, text) to anon, authenticated;

revoke all on function private.split_refund(public.transactions, bigint, text) from public;

revoke all on function private.start_payment(uuid, uuid, boolean, text, text) from public;

grant execute on function private.start_payment(uuid, uuid, boolean, text, text) to avenue_worker;

revoke all on function private.stray_media_files(integer) from public;

grant execute on function private.stray_media_files(integer) to avenue_worker;

revoke all on function private.sync_catalog_picture() from public;

revoke all on function private.tell_expiring_credits(integer) from public;

grant execute on function private.tell_expiring_credits(integer) to avenue_worker;

revoke all on function private.tell_low_credits(uuid, bigint, bigint) from public;

revoke all on function private.unread_session(jsonb) from public;

revoke all on function private.uploads_to_erase(integer) from public;

grant execute on function private.uploads_to_erase(integer) to avenue_worker;

revoke all on function private.used_media(uuid[]) from public;

revoke all on function private.withdraw_artworks() from public;

grant execute on function public.cancel_photo_job(uuid) to authenticated;

grant execute on function public.claim_trial() to authenticated;

grant execute on function public.create_demo_job(text, uuid[], text) to authenticated;

grant execute on function public.create_media(text, text) to authenticated;

grant execute on function public.create_photo_job(text, uuid[], text, text) to authenticated;

grant execute on function public.credit_balance() to authenticated;

grant execute on function public.credit_statement(bigint, integer) to authenticated;

grant execute on function public.delete_media(uuid) to authenticated;

grant execute on function public.photo_job_statement(uuid) to authenticated;

grant execute on function public.photo_price(integer) to anon, authenticated;

grant execute on function public.photo_queue_position(uuid) to authenticated;

grant execute on function public.refund_credits(uuid, text) to authenticated;

grant execute on function public.retry_photo_job(uuid, text) to authenticated;

grant execute on function public.similar_media(uuid) to authenticated;

revoke all (thumbnail_media_id) on table public.articles from authenticated;

grant insert (thumbnail_media_id), update (thumbnail_media_id) on table public.articles to authenticated;

revoke all (image_media_id) on table public.artworks from authenticated;

grant insert (image_media_id), update (image_media_id) on table public.artworks to authenticated;

revoke all on table public.credit_lots from authenticated;

grant select on table public.credit_lots to authenticated;

revoke all on table public.credit_lots from service_role;

grant select on table public.credit_lots to service_role;

revoke all on table public.credit_packs from anon;

grant select on table public.credit_packs to anon;

revoke all on table public.credit_packs from authenticated;

revoke all (bonus_cents) on table public.credit_packs from authenticated;

grant insert (bonus_cents), update (bonus_cents) on table public.credit_packs to authenticated;

revoke all (is_active) on table public.credit_packs from authenticated;

grant insert (is_active), update (is_active) on table public.credit_packs to authenticated;

revoke all (price_cents) on table public.credit_packs from authenticated;

grant insert (price_cents), update (price_cents) on table public.credit_packs to authenticated;

revoke all (title) on table public.credit_packs from authenticated;

grant insert (title), update (title) on table public.credit_packs to authenticated;

revoke all (valid_days) on table public.credit_packs from authenticated;

grant insert (valid_days), update (valid_days) on table public.credit_packs to authenticated;

grant select on table public.credit_packs to authenticated;

revoke all on table public.credit_packs from service_role;

grant select on table public.credit_packs to service_role;

revoke all on table public.media from anon;

grant select on table public.media to anon;

revoke all on table public.media from authenticated;

grant select on table public.media to authenticated;

revoke all on table public.media from service_role;

grant select on table public.media to service_role;

revoke all on table public.photo_job_items from authenticated;

grant select on table public.photo_job_items to authenticated;

revoke all on table public.photo_job_items from service_role;

grant select on table public.photo_job_items to service_role;

revoke all on table public.photo_jobs from authenticated;

revoke all (group_name) on table public.photo_jobs from authenticated;

grant update (group_name) on table public.photo_jobs to authenticated;

grant select on table public.photo_jobs to authenticated;

revoke all on table public.photo_jobs from service_role;

grant select on table public.photo_jobs to service_role;

revoke all on table public.product_pictures from anon;

grant select on table public.product_pictures to anon;

revoke all on table public.product_pictures from authenticated;

revoke all (media_id) on table public.product_pictures from authenticated;

grant insert (media_id) on table public.product_pictures to authenticated;

revoke all (position) on table public.product_pictures from authenticated;

grant insert (position), update (position) on table public.product_pictures to authenticated;

revoke all (product_id) on table public.product_pictures from authenticated;

grant insert (product_id) on table public.product_pictures to authenticated;

grant delete, select on table public.product_pictures to authenticated;

revoke all on table public.product_pictures from service_role;

grant select on table public.product_pictures to service_role;

revoke all (image_media_id) on table public.products from authenticated;

grant insert (image_media_id), update (image_media_id) on table public.products to authenticated;

revoke all (avatar_media_id) on table public.profiles from authenticated;

grant update (avatar_media_id) on table public.profiles to authenticated;

revoke all (banner_media_id) on table public.profiles from authenticated;

grant update (banner_media_id) on table public.profiles to authenticated;

alter table public.photo_jobs
    add column is_demo boolean generated always as (private.is_platform(user_id)) stored not null;

alter table public.photo_jobs
    add column archive_path text;

alter table public.photo_jobs
    add column archive_bytes bigint;

alter table public.photo_jobs
    add column archive_asked_at timestamp with time zone;

alter table public.photo_jobs
    add column finished_at timestamp with time zone;

alter table public.photo_jobs
    add column expires_at timestamp with time zone;

alter table public.photo_jobs
    add column noted_at timestamp with time zone;

alter table public.photo_jobs
    add column created_at timestamp with time zone not null default now();

alter table public.photo_jobs
    add column updated_at timestamp with time zone not null default now();

create index photo_jobs_archive_idx on public.photo_jobs using btree (finished_at)
    where ((finished_at is not null) AND (archive_path is null) AND (succeeded_count > 0));

create index photo_jobs_archive_path_idx on public.photo_jobs using btree (archive_path)
    where (archive_path is not null);

create index photo_jobs_created_at_idx on public.photo_jobs using btree (created_at desc, id desc);

create index photo_jobs_expires_at_idx on public.photo_jobs using btree (expires_at)
    where (expires_at is not null);

create index photo_jobs_user_id_created_at_idx on public.photo_jobs using btree (user_id, created_at desc, id desc);

create trigger finish_photo_job
    after update on public.photo_jobs
    for each row
    when (((old.finished_at IS NULL) AND (new.finished_at IS
        NOT NULL) AND (new.status <> 'cancelled'::public.photo_job_status)))
    execute function private.finish_photo_job();

create policy photo_jobs_select on public.photo_jobs
    for select
    to authenticated
    using
        (((user_id = ( select private.member_id() as member_id)) or is_demo or ( select private.is_admin() as
        is_admin)));

comment on column public.photo_jobs.archive_asked_at is 'Last time a worker began to build it.';

comment on column public.photo_jobs.archive_bytes is 'Its size.';

comment on column public.photo_jobs.archive_path is 'The ZIP file in the bucket archives, readable by signed link only; null: not built, or no longer kept.';

comment on column public.photo_jobs.expires_at is 'Until when its results are kept.';

comment on column public.photo_jobs.finished_at is 'When the last photo got its verdict.';

comment on column public.photo_jobs.is_demo is 'One of the platform''s, for everybody to see.';

comment on column public.photo_jobs.noted_at is 'When its owner was told that this is soon.';

alter table public.artworks
    alter column image_url drop not null;

create trigger attach_image_media_id
    before insert or update of image_media_id, image_url, thumbnail_url on public.artworks
    for each row
    execute function
        private.attach_media('image_media_id', 'artwork', 'seller_id',
        '{"image_url": "large", "thumbnail_url": "small"}');

create trigger unuse_image_media_id
    after delete or update of image_media_id, image_url, thumbnail_url on public.artworks
    for each row
    execute function private.release_media('image_media_id');

alter table public.artworks
    add constraint artworks_image_check
        check (((status <> 'published'::public.artwork_status) OR (num_nonnulls(image_url, image_media_id) > 0)));

comment on constraint artworks_image_check on public.artworks is 'picture_missing: A published artwork has a picture.';

comment on constraint credit_packs_bonus_check on public.credit_packs is 'invalid_price: A bonus is from 0 to 99999999 cents.';

comment on constraint credit_packs_price_check on public.credit_packs is 'invalid_price: A pack costs from 50 to 99999999 cents.';

-- What the pages insert.
alter table photo_jobs alter column prompt set statistics 0;

alter table photo_jobs alter column group_name set statistics 0;

alter table photo_jobs alter column client_key set statistics 0;

alter table photo_job_items alter column failure set statistics 0;

alter table payments alter column stripe_session_id set statistics 0;

alter table media alter column content_type set statistics 0;

alter table media alter column color set statistics 0;

alter table media alter column bucket set statistics 0;

alter table credit_packs alter column title set statistics 0;

alter table credit_packs alter column hidden_reason set statistics 0;

alter table credit_lots alter column category set statistics 0;

insert into private.kinds (kind, relation, owner_column, page, hooks, is_browsable, is_repeatable, proceeds, commission, earned) values
('credit_pack', 'public.credit_packs', 'seller_id', '/studio/credits', '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete}', 'false', 'true', 'credits', 'none', 'at_payment'),
('photo_job', 'public.photo_jobs', 'user_id', '/studio/{id}', '{}', 'true', 'false', 'seller', 'plan', 'at_payment');

insert into private.media_purposes (purpose, bucket, is_public, is_uploaded, sizes, meaning) values
('article', 'pictures', 'true', 'true', '{large,medium,small,thumbnail}', 'an article'),
('artwork', 'pictures', 'true', 'true', '{large,medium,small,thumbnail}', 'a work of art'),
('avatar', 'pictures', 'true', 'true', '{medium,small,thumbnail}', 'the picture of a profile'),
('banner', 'pictures', 'true', 'true', '{large,medium,small,thumbnail}', 'the banner of a profile'),
('photo_input', 'studio', 'false', 'true', '{full,large,medium,small,thumbnail}', 'a photo to be worked on'),
('photo_result', 'studio', 'false', 'false', '{full,large,medium,small,thumbnail}', 'what became of a photo'),
('product', 'pictures', 'true', 'true', '{large,medium,small,thumbnail}', 'a product');

insert into private.media_columns (relation, media_column, purpose, owner_column, urls) values
('public.articles', 'thumbnail_media_id', 'article', 'author_id', '{"thumbnail_url": "medium"}'),
('public.artworks', 'image_media_id', 'artwork', 'seller_id', '{"image_url": "large", "thumbnail_url": "small"}'),
('public.products', 'image_media_id', 'product', 'seller_id', '{"thumbnail_url": "small"}'),
('public.profiles', 'avatar_media_id', 'avatar', 'id', '{"avatar_url": "small"}'),
('public.profiles', 'banner_media_id', 'banner', 'id', '{"banner_url": "large"}');

update private.state_moves set meaning = 'by its seller, or its picture failed'
where relation = 'public.artworks' and state_column = 'status' and from_state = 'published' and to_state = 'draft';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.media', 'status', 'pending', 'failed', 'it gave no picture'),
('public.media', 'status', 'pending', 'ready', 'its copies are there'),
('public.media', 'status', null, 'pending', 'uploaded'),
('public.media', 'status', null, 'ready', 'made by the server'),
('public.photo_job_items', 'status', 'queued', 'failed', 'its input is gone'),
('public.photo_job_items', 'status', 'queued', 'returned', 'cancelled, its credits are back'),
('public.photo_job_items', 'status', 'queued', 'sent', 'an attempt is written down'),
('public.photo_job_items', 'status', 'sent', 'failed', 'a definitive verdict, or the deadline'),
('public.photo_job_items', 'status', 'sent', 'queued', 'the provider surely has not taken it'),
('public.photo_job_items', 'status', 'sent', 'succeeded', 'the picture is stored'),
('public.photo_job_items', 'status', 'sent', 'unknown', 'the provider did not answer'),
('public.photo_job_items', 'status', 'unknown', 'failed', 'a definitive verdict, or the deadline'),
('public.photo_job_items', 'status', 'unknown', 'queued', 'the provider surely never had it'),
('public.photo_job_items', 'status', 'unknown', 'sent', 'the provider has it'),
('public.photo_job_items', 'status', 'unknown', 'succeeded', 'the picture is stored'),
('public.photo_job_items', 'status', null, 'queued', 'its credits are held'),
('public.photo_jobs', 'status', 'pending', 'cancelled', 'all photos were given back'),
('public.photo_jobs', 'status', 'pending', 'failed', 'no photo could be sent'),
('public.photo_jobs', 'status', 'pending', 'processing', 'the first photo is sent'),
('public.photo_jobs', 'status', 'processing', 'cancelled', 'the provider took none, and all were given back'),
('public.photo_jobs', 'status', 'processing', 'completed', 'all have a verdict, some a picture'),
('public.photo_jobs', 'status', 'processing', 'failed', 'all have a verdict, none a picture'),
('public.photo_jobs', 'status', null, 'pending', 'made, its credits are held');

insert into private.notification_types (type, title, message, link_template, collapse_unread, email, can_switch_off, is_anonymous, outlives_content, reaches_banned) values
('credits_expiring', 'Credits end soon', 'Some of your credits end within a week.', '/studio/credits', 'false', 'immediate', 'false', 'false', 'false', 'false'),
('credits_low', 'Few credits left', 'Your credits will not last for many more photos.', '/studio/credits', 'false', 'digest', 'true', 'false', 'false', 'false'),
('photo_job_completed', 'Photos ready', 'A photo job is done.', null, 'false', 'digest', 'true', 'false', 'false', 'false'),
('photo_job_expiring', 'Photos will be deleted', 'The results of a photo job are kept for one more week.', null, 'false', 'immediate', 'false', 'false', 'false', 'false'),
('photo_job_failed', 'Photo job failed', 'None of a job''s photos could be made; your credits are back.', null, 'false', 'immediate', 'false', 'false', 'false', 'false');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('archives', 'records', '{public.photo_jobs.archive_path}', 'select private.erase_archives($1)', null),
('credit_balances', 'books', '{private.credit_balances}', 'delete from private.credit_balances where user_id = $1', null),
('credits', 'records', '{}', 'select private.forfeit_credits($1)', null),
('media', 'traces', '{public.media,private.media_fingerprints}', 'delete from public.media where owner_id = $1', 'select private.erase_rows(''public.media'', ''t.owner_id = $1'', $1, $2)'),
('media_sources', 'details', '{private.media_sources}', 'delete from private.media_sources where owner_id = $1', 'select private.erase_rows(''private.media_sources'', ''t.owner_id = $1'', $1, $2)'),
('photo_jobs', 'payments', '{public.photo_jobs.prompt,public.photo_jobs.group_name,public.photo_jobs.client_key}', 'select private.erase_photo_jobs($1)', null);

update private.personal_data set stays = '{user_id,provider_ref,stripe_session_id,charge_id,failure_reason,declined_charges}'
where section = 'payments';

insert into private.personal_data (section, relation, condition, stays, reason) values
('credit_balances', 'private.credit_balances', 't.user_id = $1', '{}', null),
('credit_lots', 'public.credit_lots', 't.user_id = $1', '{user_id}', 'the books: who paid whom for what'),
('credit_packs', 'public.credit_packs', null, '{seller_id,title,hidden_reason}', 'what the platform offers: nobody''s'),
('media', 'public.media', 't.owner_id = $1', '{}', null),
('media_fingerprints', 'private.media_fingerprints', 't.media_id in (select m.id from public.media as m where m.owner_id = $1)', '{}', null),
('media_sources', 'private.media_sources', 't.owner_id = $1', '{}', null),
('photo_attempts', 'private.photo_attempts', null, '{provider,provider_ref,verdict,code,detail}', 'who was paid for a photo and what came of it; names nobody'),
('photo_job_items', 'public.photo_job_items', 't.job_id in (select j.id from public.photo_jobs as j where j.user_id = $1)', '{}', null),
('photo_jobs', 'public.photo_jobs', 't.user_id = $1', '{user_id}', 'the books: who paid for what'),
('remade_pictures', 'private.remade_pictures', null, '{object_id,version,failure}', 'names stored files, which are erased'),
('session_requests', 'private.session_requests', null, '{success_url,cancel_url}', 'pages of the application to return to; removed when the provider has answered'),
('trials', 'private.trials', null, '{person_hash}', 'keyed hashes that name no account: one trial for a person');

insert into private.error_codes (code, sqlstate, message, description) values
('archive_not_ready', 'PT409', 'The ZIP file is not there.', 'It is built when the job is over; later than settings.photo_result_kept it is gone. The detail is the job''s status.'),
('credits_in_use', 'PT409', 'Credits of this pack are held by an open job.', 'Wait for the job, or cancel it.'),
('credits_owed', 'PT402', 'Credits are owed.', 'A payment was taken back after its credits were spent; the detail says how many, cents. The next pack repays them.'),
('insufficient_credits', 'PT402', 'There are not enough credits.', 'The detail says how many are needed and how many there are, cents. Buy a pack.'),
('invalid_photo_job', 'PT400', 'A photo job is not like that.', 'The detail names the argument and what it may be.'),
('media_failed', 'PT409', 'This file gave no picture.', 'The detail says why: unreadable, too_large, unsupported_format or missing. Upload another one.'),
('media_in_use', 'PT409', 'This picture is shown somewhere.', 'Take it away there first.'),
('media_not_found', 'PT404', 'This picture does not exist.', 'None with that id, or not the caller''s own, or made for another purpose.'),
('media_not_ready', 'PT409', 'A picture cannot be used.', 'It is not the caller''s, is still being looked at, was refused, or is no longer kept. The detail says which.'),
('no_unused_credits', 'PT409', 'Nothing of this pack is unused.', 'It is spent, has ended, or was given back.'),
('nothing_to_retry', 'PT409', 'There is nothing to try again.', 'No photo of the job failed, or its pictures are no longer kept.'),
('payment_started_otherwise', 'PT409', 'This payment was started in another way.', 'A payment is made on a page of Stripe''s (session) or in the application (payment_intent): the detail says which was asked for first. Go on that way, or cancel the order and check out again.'),
('photo_job_not_found', 'PT404', 'There is no such photo job.', 'It does not exist or belongs to somebody else.'),
('state_changed', 'PT409', 'It is not in that state any more.', 'The detail says of what kind it is and its state.'),
('too_many_credit_refunds', 'PT429', 'Too many packs were given back.', 'At most three within 30 days; an admin can refund more.'),
('too_many_photos', 'PT400', 'These are too many photos.', 'The detail says how many a job, or an account, may have.'),
('too_many_pictures', 'PT409', 'Too many of your pictures are waiting.', 'The detail says how many may wait. Try again when some are ready.'),
('too_many_product_pictures', 'PT409', 'A product has at most 30 pictures.', 'Delete one first.'),
('trial_address_unconfirmed', 'PT403', 'The e-mail address is not confirmed.', 'Confirm it, then ask again.'),
('trial_used', 'PT409', 'There was a trial already.', 'One free trial for each person; buy a pack.'),
('unknown_purpose', 'PT400', 'Pictures are not made for this.', 'The purpose is none, or one whose pictures the server makes.'),
('upload_not_found', 'PT404', 'This upload does not exist.', 'Upload to the bucket uploads under your own id first; the detail is the path that was looked for.'),
('upload_taken', 'PT409', 'This upload was used for something else.', 'A picture was made of it for another purpose, which the detail names. Upload it again.');

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
('archives', 'archives', 'false', '10737418240', '{application/zip}'),
('pictures', 'pictures', 'true', '52428800', '{image/webp}'),
('studio', 'studio', 'false', '52428800', '{image/webp}'),
('uploads', 'uploads', 'false', '52428800', '{image/png,image/jpeg,image/webp,image/gif,image/avif,image/tiff,image/heic,image/heif,application/octet-stream}');

insert into public.credit_packs (id, seller_id, title, price_cents, bonus_cents, is_active, is_hidden, created_at) values
('a7e0e000-0000-4000-8000-000000001000', 'a7e0e000-0000-4000-8000-000000000000', '1,000 credits', '1000', '0', 'true', 'false', '2026-11-29 00:00:00+00'),
('a7e0e000-0000-4000-8000-000000002000', 'a7e0e000-0000-4000-8000-000000000000', '2,000 credits and 400 on top', '2000', '400', 'true', 'false', '2026-11-29 00:00:00+00'),
('a7e0e000-0000-4000-8000-000000005000', 'a7e0e000-0000-4000-8000-000000000000', '5,000 credits and 1,500 on top', '5000', '1500', 'true', 'false', '2026-11-29 00:00:00+00');
