-- What providers charge, and how one charge over several sellers is split to the cent.
-- Functions that checkout and settlement call are plpgsql even where one expression would do: it keeps their plans,
-- while a SQL function that cannot be inlined is planned at every call.

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
    constraint fee_schedules_fixed_check check (fixed_cents between 0 and private.highest_amount_cents())
);

comment on table public.fee_schedules is
'Estimate of a provider''s fee until the real one is known. Public: sellers see what they will pay.';
comment on column public.fee_schedules.provider is 'Provider.';
comment on column public.fee_schedules.valid_from is 'The newest row not after now applies.';
comment on column public.fee_schedules.percent_bps is 'Percent part, basis points, rounded half up.';
comment on column public.fee_schedules.fixed_cents is 'Fixed part per charge, cents.';

create function private.processing_fee(provider public.payment_provider, amount_cents bigint, currency text)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
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
$$;

comment on function private.processing_fee(public.payment_provider, bigint, text) is
'Estimated provider fee of a charge in cents; every fee is the seller''s.';

create function private.split_cents(total bigint, weights bigint[]) returns bigint[]
language plpgsql
immutable
set search_path = ''
set plan_cache_mode = force_generic_plan
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
    total bigint, tax bigint, shipping bigint, fee bigint, commission_bps integer,
    out commission bigint, out seller bigint
)
language plpgsql
immutable
set search_path = ''
as $$
begin
    -- Commission is on the item price, half up; when fee and commission exceed it the commission shrinks, below zero
    -- if the fee alone does: the platform's loss, never the seller's debt.
    commission := least(((total - tax - shipping) * commission_bps + 5000) / 10000, total - tax - fee);
    seller := total - tax - fee - commission;
end
$$;

comment on function private.split_line(bigint, bigint, bigint, bigint, integer) is
'Divides a paid line (cents, tax and shipping included in total) into commission and the sellers'' part, '
'which shipping '
'is part of: docs/money.md, Fees.';

alter table public.fee_schedules enable row level security;
grant select on public.fee_schedules to anon, authenticated, service_role;
create policy fee_schedules_select on public.fee_schedules for select to anon, authenticated using (true);

insert into public.fee_schedules (provider, valid_from, percent_bps, fixed_cents) values
('stripe', '2026-01-01 00:00+00', 290, 30),
('paypal', '2026-01-01 00:00+00', 349, 49),
('wallet', '2026-01-01 00:00+00', 0, 0);
