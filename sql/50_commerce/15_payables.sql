-- What two people agreed on and one of them pays at once: an instalment of a commission, a consultation, the award of
-- an auction, an offer made for somebody. It has the price, the rate and the end they agreed on: no listing, no block,
-- no lapsed plan and no new price undoes it. Written by the kinds that agree; checkout_payable() pays it.

create type public.payable_status as enum ('open', 'paid', 'lapsed', 'withdrawn', 'returned');
comment on type public.payable_status is
'open: to be paid. lapsed: not paid in time. withdrawn: taken back before it was paid. returned: paid and given back.';

create table public.payables (
    id uuid not null default gen_random_uuid(),
    kind text not null,
    subject_id uuid not null,
    part smallint not null default 1,
    buyer_id uuid not null,
    seller_id uuid not null,
    title text not null,
    item_id uuid,
    amount_cents bigint not null,
    shipping_cents bigint not null default 0,
    currency character(3) not null default 'USD',
    seller_tier text not null,
    commission_bps integer not null,
    free_until timestamptz,
    pay_by timestamptz,
    details jsonb not null default '{}',
    status public.payable_status not null default 'open',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payables_pkey primary key (id),
    constraint payables_kind_subject_id_part_key unique (kind, subject_id, part),
    constraint payables_kind_fkey foreign key (kind) references private.kinds (kind),
    constraint payables_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint payables_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint payables_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint payables_not_own_check check (buyer_id <> seller_id),
    constraint payables_title_check check (char_length(title) between 1 and 255),
    constraint payables_amount_check check (
        amount_cents between private.lowest_price_cents() and private.highest_amount_cents()
    ),
    constraint payables_shipping_check check (shipping_cents between 0 and private.highest_amount_cents()),
    constraint payables_commission_bps_check check (commission_bps between 0 and 10000),
    constraint payables_part_check check (part between 1 and 100)
);

create index payables_buyer_id_idx on public.payables (buyer_id, created_at desc);
create index payables_seller_id_idx on public.payables (seller_id);
create index payables_item_id_idx on public.payables (item_id);
create index payables_pay_by_idx on public.payables (pay_by) where status = 'open';

comment on table public.payables is
'Agreed and to be paid. Only the buyer reads and pays it (and admins read); the kind that agreed on it writes it.';
comment on column public.payables.kind is 'Kind of what was agreed, a row of private.kinds.';
comment on column public.payables.subject_id is 'The row of that kind: the commission, the lot.';
comment on column public.payables.part is 'Which part of it, from 1: the instalments of one commission.';
comment on column public.payables.buyer_id is 'Who pays.';
comment on column public.payables.seller_id is 'Who earns.';
comment on column public.payables.title is 'What for, on the order line.';
comment on column public.payables.item_id is 'What it delivers; null: nothing of the registry.';
comment on column public.payables.amount_cents is 'Agreed price, cents.';
comment on column public.payables.shipping_cents is 'Agreed shipping on top, cents.';
comment on column public.payables.seller_tier is 'The seller''s plan when they agreed.';
comment on column public.payables.commission_bps is 'Commission agreed, basis points.';
comment on column public.payables.free_until is
'Until when the buyer steps back at the platform''s cost; null: by the kind''s free_window.';
comment on column public.payables.pay_by is
'Until when it can be paid; null: no end. A payment under way then is waited for.';
comment on column public.payables.details is 'What the kind keeps on the order line.';
comment on column public.payables.status is 'State.';

create trigger touch_updated_at before update on public.payables
for each row execute function private.touch_updated_at();

alter table public.payables enable row level security;
grant select on public.payables to authenticated, service_role;
create policy payables_select on public.payables for select to authenticated
using (buyer_id = (select private.member_id()) or (select private.is_admin()));

create function private.add_payable(wanted public.payables) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    plan record;
    new_id uuid;
begin
    select * into plan from private.sale_terms(wanted.kind, wanted.seller_id);
    insert into public.payables (
        kind, subject_id, part, buyer_id, seller_id, title, item_id, amount_cents, shipping_cents, seller_tier,
        commission_bps, free_until, pay_by, details
    ) values (
        wanted.kind, wanted.subject_id, coalesce(wanted.part, 1), wanted.buyer_id, wanted.seller_id, wanted.title,
        wanted.item_id, wanted.amount_cents, coalesce(wanted.shipping_cents, 0),
        coalesce(wanted.seller_tier, plan.tier), coalesce(wanted.commission_bps, plan.commission_bps), wanted.free_until, wanted.pay_by,
        coalesce(wanted.details, '{}')
    ) returning id into new_id;
    return new_id;
end
$$;
comment on function private.add_payable(public.payables) is
'Makes a payable, for the kinds that agree on one. The seller''s plan is that of now unless it is given; its id.';

create function private.end_payable(payable_id uuid, status public.payable_status) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    agreed public.payables;
begin
    select * into agreed from public.payables as p where p.id = end_payable.payable_id for no key update;
    -- Money may still arrive for it: then that decides, and whoever ends it is asked again.
    if agreed.status is distinct from 'open' or exists (
        select from public.order_items as i
        inner join public.payments as p on p.order_id = i.order_id and p.is_open
        where i.payable_id = agreed.id
    ) then
        return false;
    end if;
    update public.payables as p set status = end_payable.status where p.id = agreed.id;
    return true;
end
$$;
comment on function private.end_payable(uuid, public.payable_status) is
'Ends an open payable (lapsed, withdrawn). False when it is not open, or while money may still arrive for it.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.payables', 'status', null, 'open', 'agreed'),
('public.payables', 'status', 'open', 'paid', 'paid'),
('public.payables', 'status', 'open', 'lapsed', 'not paid in time'),
('public.payables', 'status', 'open', 'withdrawn', 'taken back before it was paid'),
('public.payables', 'status', 'paid', 'returned', 'a full refund, or its charge was taken back'),
('public.payables', 'status', 'returned', 'paid', 'that refund failed later');
select private.build_moves('public.payables', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('payable', 'public.payables', null, '/payables/{id}', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('payables', 'public.payables',
    't.buyer_id = $1', '{buyer_id, seller_id, subject_id, title, details, seller_tier}',
    'the books: who paid whom for what');

insert into private.error_codes (code, sqlstate, message, description) values
('payable_not_open', 'PT409', 'This cannot be paid any more.',
'It was paid, its time is over, or it was taken back; or there is no such agreement of the caller''s.');
