-- What becomes of a service that was paid: one row for each line, from the buyer's requirements to the approval, and
-- what can happen instead. Which act leads from where to where, and whose it is, are rows
-- (private.service_order_moves); each act is one function: it locks, applies a deadline that has passed, asks those
-- rows, does it, and appends a row to service_order_events. A late job changes no outcome: what time has done is true
-- for every act and every reader (effective_status) before anything is written. Locks: the payments of its lines by
-- id, what is agreed beside it (extras), the order; then what money takes: sales, wallets. Settlement has the payment
-- and what was agreed before it comes here.

alter table private.settings
add column service_approval_period interval not null default '72 hours',
add column service_requirements_period interval not null default '336 hours',
add column service_late_period interval not null default '24 hours',
add column service_least_period interval not null default '24 hours',
add column service_revision_limit interval not null default '1440 hours',
add column service_answer_period interval not null default '48 hours';
comment on column private.settings.service_approval_period is
'How long after the last delivery of a service order silence approves it.';
comment on column private.settings.service_requirements_period is
'How long a buyer has to send the requirements; then either side cancels.';
comment on column private.settings.service_late_period is
'How long after the day of delivery has passed the buyer may cancel.';
comment on column private.settings.service_least_period is
'What is left at least when a clock goes on: after a revision was asked for, a dispute, a freeze.';
comment on column private.settings.service_revision_limit is
'How long after the agreed delivery days a revision may still be due; one beyond it opens a dispute.';
comment on column private.settings.service_answer_period is
'How long an extension or a cancellation that one side proposes can be answered.';

create type public.service_order_status as enum (
    'awaiting_requirements', 'in_progress', 'delivered', 'revision_requested', 'disputed',
    'completed', 'cancelled', 'refunded'
);
comment on type public.service_order_status is
'awaiting_requirements: the buyer has to say what is needed, no clock runs for the seller. in_progress. delivered: '
'approved by silence at auto_approve_at. revision_requested. disputed: an admin decides. The ends: completed, '
'cancelled (by an act here, with or without money back), refunded (all of it went back by a refund or a bank).';

create table private.service_order_moves (
    act text not null,
    actor text not null,
    from_state text not null,
    to_state text not null,
    constraint service_order_moves_pkey primary key (act, actor, from_state, to_state),
    constraint service_order_moves_actor_check check (actor in ('buyer', 'seller', 'admin', 'time', 'money'))
);
comment on table private.service_order_moves is
'Which act of whom leads a service order from which state to which. What is not here is refused.';
comment on column private.service_order_moves.act is 'What is done, as in service_order_events.';
comment on column private.service_order_moves.from_state is 'A state of service_orders.status.';
comment on column private.service_order_moves.to_state is 'The one it leads to.';
comment on column private.service_order_moves.actor is
'Whose it is. time: a deadline passed. money: a refund, a bank, or the end of an account.';
alter table private.service_order_moves enable row level security;

insert into private.service_order_moves (act, actor, from_state, to_state)
select m.act, m.actor, f.state as from_state, t.state as to_state
from (
    values
    ('send_requirements', 'buyer', '{awaiting_requirements}', '{in_progress}'),
    ('deliver', 'seller', '{in_progress,revision_requested}', '{delivered}'),
    ('request_revision', 'buyer', '{delivered}', '{revision_requested,disputed}'),
    ('approve', 'buyer', '{delivered}', '{completed}'),
    ('silence', 'time', '{delivered}', '{completed}'),
    -- A booked session begins, whatever was said beforehand.
    ('session', 'time', '{awaiting_requirements}', '{in_progress}'),
    -- Before work starts; later only what is late.
    ('cancel', 'buyer', '{awaiting_requirements,in_progress,revision_requested}', '{cancelled}'),
    ('cancel', 'seller', '{awaiting_requirements,in_progress,delivered,revision_requested}', '{cancelled}'),
    ('settle', 'buyer', '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', '{cancelled}'),
    ('settle', 'seller', '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', '{cancelled}'),
    ('open_dispute', 'buyer', '{in_progress,delivered,revision_requested}', '{disputed}'),
    ('open_dispute', 'seller', '{in_progress,delivered,revision_requested}', '{disputed}'),
    ('withdraw_dispute', 'buyer', '{disputed}', '{in_progress,delivered,revision_requested}'),
    ('withdraw_dispute', 'seller', '{disputed}', '{in_progress,delivered,revision_requested}'),
    ('decide', 'admin', '{disputed}', '{completed,cancelled}'),
    -- The seller was banned or left; what is delivered runs on.
    ('seller_gone', 'money', '{awaiting_requirements,in_progress,revision_requested}', '{cancelled}'),
    ('withdrawn', 'money', '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', '{cancelled}'),
    (
        'refund', 'money', '{awaiting_requirements,in_progress,delivered,revision_requested,disputed,completed}',
        '{refunded}'
    ),
    (
        'refund_failed', 'money', '{refunded}',
        '{awaiting_requirements,in_progress,delivered,revision_requested,disputed,completed}'
    ),
    -- Where the order stays in its state.
    ('propose_extension', 'seller', '{in_progress,revision_requested}', null),
    ('extend', 'buyer', '{in_progress,revision_requested}', null),
    (
        'propose_cancellation', 'buyer',
        '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', null
    ),
    (
        'propose_cancellation', 'seller',
        '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', null
    ),
    ('offer_extra', 'seller', '{awaiting_requirements,in_progress,revision_requested}', null)
) as m (act, actor, from_states, to_states)
cross join unnest(m.from_states::text[]) as f (state)
cross join unnest(coalesce(m.to_states::text[], array[f.state])) as t (state);

create table public.service_orders (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    service_id uuid,
    offer_id uuid,
    buyer_id uuid not null,
    seller_id uuid not null,
    title text not null,
    package_name text not null,
    package_price_cents bigint not null,
    delivery_days integer not null,
    revisions_included integer not null,
    extras jsonb not null default '[]',
    session_starts_at timestamptz,
    session_ends_at timestamptz,
    free_until timestamptz,
    requirements_asked text,
    requirements text,
    requirement_files text[] not null default '{}',
    requirements_at timestamptz,
    delivery_files text[] not null default '{}',
    delivery_notes text,
    delivered_at timestamptz,
    status public.service_order_status not null,
    is_open boolean not null generated always as (
        status in ('awaiting_requirements', 'in_progress', 'delivered', 'revision_requested', 'disputed')
    ) stored,
    revisions_used integer not null default 0,
    buyer_approved boolean not null default false,
    due_at timestamptz,
    auto_approve_at timestamptz,
    cancel_after timestamptz,
    revise_until timestamptz not null,
    remaining interval,
    silence_left interval,
    resumes_as text,
    disputing_side text,
    frozen_at timestamptz,
    is_rated boolean not null default true,
    completed_at timestamptz,
    cancelled_at timestamptz,
    cancellation_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint service_orders_pkey primary key (id),
    constraint service_orders_order_item_id_key unique (order_item_id),
    constraint service_orders_offer_id_key unique (offer_id),
    constraint service_orders_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint service_orders_service_id_fkey foreign key (service_id) references public.catalog_items (id),
    constraint service_orders_offer_id_fkey foreign key (offer_id) references public.offers (id),
    constraint service_orders_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint service_orders_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint service_orders_disputing_side_check check (disputing_side in ('buyer', 'seller')),
    constraint service_orders_package_price_cents_check check (private.is_price(package_price_cents)),
    constraint service_orders_revisions_check check (
        revisions_included >= 0 and revisions_used between 0 and revisions_included
    ),
    constraint service_orders_requirements_check check (char_length(requirements) between 1 and 10000),
    constraint service_orders_requirement_files_check check (cardinality(requirement_files) <= 20),
    constraint service_orders_delivery_files_check check (cardinality(delivery_files) <= 20),
    constraint service_orders_delivery_notes_check check (char_length(delivery_notes) between 1 and 10000),
    constraint service_orders_cancellation_reason_check check (private.is_reason(cancellation_reason)),
    -- No clock that does not belong to the state.
    constraint service_orders_clocks_check check (
        (auto_approve_at is null or status = 'delivered')
        and (due_at is null or status in ('in_progress', 'revision_requested'))
        and (status <> 'delivered' or auto_approve_at is not null or frozen_at is not null)
    ),
    constraint service_orders_ends_check check (
        (completed_at is not null or status <> 'completed') and (cancelled_at is not null) = (status = 'cancelled')
    )
)
-- Each act rewrites the row; most of its columns are in no index.
with (fillfactor = 80);

create index service_orders_service_id_idx on public.service_orders (service_id, status);
create index service_orders_buyer_id_created_at_idx on public.service_orders (buyer_id, created_at desc);
create index service_orders_seller_id_created_at_idx on public.service_orders (seller_id, created_at desc);
create index service_orders_auto_approve_at_idx on public.service_orders (auto_approve_at)
where auto_approve_at is not null;
create index service_orders_session_starts_at_idx on public.service_orders (session_starts_at)
where status = 'awaiting_requirements' and session_starts_at is not null;

comment on table public.service_orders is
'Services that were bought and paid, from offers too. Buyer, seller and admins read; the acts write.';
comment on column public.service_orders.order_item_id is 'The line that paid it.';
comment on column public.service_orders.service_id is 'The service; null for an offer that names none.';
comment on column public.service_orders.offer_id is 'The offer it was; null when bought from the shop.';
comment on column public.service_orders.title is 'What was bought, as on the line.';
comment on column public.service_orders.package_name is 'The package as it was bought.';
comment on column public.service_orders.package_price_cents is 'Its price, cents: without extras, as it was bought.';
comment on column public.service_orders.delivery_days is
'Days of 24 hours from the start of the work to the delivery, those of extras and extensions counted.';
comment on column public.service_orders.revisions_included is 'How many revisions the price includes.';
comment on column public.service_orders.extras is 'Extras bought with it: [{id, title, price_cents, delivery_days}].';
comment on column public.service_orders.session_starts_at is 'The booked session; null where none is.';
comment on column public.service_orders.session_ends_at is 'Its end.';
comment on column public.service_orders.free_until is
'Until when its buyer cancels the session and has all the money back, as availability said when it was booked.';
comment on column public.service_orders.requirements_asked is
'What the seller asked for when it was bought; null: nothing.';
comment on column public.service_orders.requirements is 'What the buyer answered, at most 10,000 characters.';
comment on column public.service_orders.requirement_files is 'Paths in the private bucket deliveries; at most 20.';
comment on column public.service_orders.requirements_at is 'When they were sent; work started then.';
comment on column public.service_orders.delivery_files is
'Files of the last delivery, paths in the bucket deliveries; all deliveries are service_deliveries.';
comment on column public.service_orders.delivery_notes is 'What the seller wrote with the last delivery.';
comment on column public.service_orders.delivered_at is 'When that was.';
comment on column public.service_orders.status is
'State as it was last written; effective_status says it as it is at this moment.';
comment on column public.service_orders.is_open is 'Whether it has not ended.';
comment on column public.service_orders.revisions_used is 'Revisions asked for.';
comment on column public.service_orders.buyer_approved is 'Approved by the buyer, not by silence.';
comment on column public.service_orders.due_at is
'Until when the seller has to deliver; null while nothing is to be done, or the clock stands still.';
comment on column public.service_orders.auto_approve_at is
'When silence approves: counted from the last delivery. Null while the clock stands still.';
comment on column public.service_orders.cancel_after is
'From when on the other side may cancel alone: requirements were not sent, or the delivery is late.';
comment on column public.service_orders.revise_until is 'A revision due later than this opens a dispute.';
comment on column public.service_orders.remaining is
'What was left of the time to deliver while that clock stands still; negative: so late it is.';
comment on column public.service_orders.silence_left is
'What was left of the silence that approves while that clock stands still: in a dispute, a freeze.';
comment on column public.service_orders.resumes_as is 'The state before the dispute, or before the refund.';
comment on column public.service_orders.disputing_side is
'Which side opened the dispute, and may withdraw it; kept when it is refunded meanwhile.';
comment on column public.service_orders.frozen_at is
'Since when a bank looks at the payment: nothing is approved or ended meanwhile. Null: not.';
comment on column public.service_orders.is_rated is
'Whether it counts for the completion rate: not when it ended before work started.';
comment on column public.service_orders.completed_at is 'When it was approved; by silence: when its time was over.';
comment on column public.service_orders.cancellation_reason is 'Why, in the words of who cancelled.';

create trigger touch_updated_at before update on public.service_orders
for each row execute function private.touch_updated_at();

alter table public.service_orders alter column title set statistics 0;
alter table public.service_orders alter column package_name set statistics 0;
alter table public.service_orders alter column requirements_asked set statistics 0;
alter table public.service_orders alter column requirements set statistics 0;
alter table public.service_orders alter column delivery_notes set statistics 0;
alter table public.service_orders alter column cancellation_reason set statistics 0;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning)
select 'public.service_orders', 'status', null, b.state, b.meaning
from (
    values ('awaiting_requirements', 'paid, the seller asks for something'), ('in_progress', 'paid')
) as b (state, meaning)
union all
select
    'public.service_orders', 'status', m.from_state, m.to_state,
    string_agg(distinct m.act, ', ' order by m.act)
from private.service_order_moves as m
where m.from_state <> m.to_state
group by m.from_state, m.to_state;
select private.build_moves('public.service_orders', 'status');

create table public.service_order_events (
    id bigint generated always as identity,
    service_order_id uuid not null,
    act text not null,
    actor text not null,
    actor_id uuid,
    from_state text,
    to_state text not null,
    amount_cents bigint,
    note text,
    created_at timestamptz not null default clock_timestamp(),
    constraint service_order_events_pkey primary key (id),
    constraint service_order_events_service_order_id_fkey foreign key (service_order_id)
    references public.service_orders (id),
    constraint service_order_events_actor_id_fkey foreign key (actor_id) references public.profiles (id)
    on delete set null,
    constraint service_order_events_actor_check check (actor in ('buyer', 'seller', 'admin', 'time', 'money')),
    constraint service_order_events_note_check check (private.is_note(note))
);
create index service_order_events_service_order_id_idx on public.service_order_events (service_order_id, id);
create index service_order_events_ended_idx on public.service_order_events (created_at)
where to_state in ('completed', 'cancelled', 'refunded') or act = 'refund_failed';
create index service_order_events_actor_id_idx on public.service_order_events (actor_id) where actor_id is not null;
comment on table public.service_order_events is
'What happened to a service order, in its order; only ever added to. Read by whoever reads the order.';
comment on column public.service_order_events.act is 'What was done.';
comment on column public.service_order_events.actor is 'Whose act: buyer, seller, admin, time, money.';
comment on column public.service_order_events.actor_id is 'Who did it; null when nobody did.';
comment on column public.service_order_events.from_state is 'State before; null for the first.';
comment on column public.service_order_events.to_state is 'State after; the same where only something was said.';
comment on column public.service_order_events.amount_cents is
'What goes back to the buyer by it, cents; null: no money moves.';
comment on column public.service_order_events.note is 'What was said with it.';
create trigger refuse_change before update of id, service_order_id, act, actor, from_state, to_state, amount_cents
on public.service_order_events
for each row execute function private.refuse_change();
alter table public.service_order_events alter column note set statistics 0;

alter table public.service_orders enable row level security;
grant select on public.service_orders to authenticated, service_role;
create policy service_orders_select on public.service_orders for select to authenticated
using (
    buyer_id = (select private.member_id())
    or seller_id = (select private.member_id())
    or (select private.is_admin())
);
alter table public.service_order_events enable row level security;
grant select on public.service_order_events to authenticated, service_role;
create policy service_order_events_select on public.service_order_events for select to authenticated
using ((select o.id from public.service_orders as o where o.id = service_order_id) is not null);

-- Extras bought while work is on: a second charge on one order. Its acts are on 24_resolutions.
create type public.service_extra_status as enum ('offered', 'paid', 'declined', 'withdrawn', 'returned');
comment on type public.service_extra_status is
'offered: its payable is to be paid. declined by the buyer; withdrawn by the seller, or because the order has ended. '
'returned: paid and given back.';

create table public.service_order_extras (
    id uuid not null default gen_random_uuid(),
    service_order_id uuid not null,
    seller_id uuid not null,
    title text not null,
    price_cents bigint not null,
    delivery_days integer not null,
    status public.service_extra_status not null default 'offered',
    payable_id uuid,
    order_item_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint service_order_extras_pkey primary key (id),
    constraint service_order_extras_service_order_id_fkey foreign key (service_order_id)
    references public.service_orders (id),
    constraint service_order_extras_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint service_order_extras_payable_id_fkey foreign key (payable_id) references public.payables (id),
    constraint service_order_extras_payable_id_key unique (payable_id),
    constraint service_order_extras_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint service_order_extras_order_item_id_key unique (order_item_id),
    constraint service_order_extras_title_check check (char_length(title) between 1 and 200),
    constraint service_order_extras_price_cents_check check (private.is_price(price_cents) and price_cents > 0),
    constraint service_order_extras_delivery_days_check check (delivery_days between 0 and 365)
);
create index service_order_extras_service_order_id_idx on public.service_order_extras (service_order_id);
create index service_order_extras_seller_id_idx on public.service_order_extras (seller_id);
comment on constraint service_order_extras_title_check on public.service_order_extras is
'invalid_title: An extra''s title has 1 to 200 characters.';
comment on constraint service_order_extras_price_cents_check on public.service_order_extras is
'invalid_price: An extra costs from 50 to 99999999 cents.';
comment on constraint service_order_extras_delivery_days_check on public.service_order_extras is
'invalid_extra: An extra takes 0 to 365 days more.';
comment on table public.service_order_extras is
'What sellers offer on top while they work. Read by whoever reads the order.';
comment on column public.service_order_extras.seller_id is 'The order''s seller.';
comment on column public.service_order_extras.title is 'What it is, in one line.';
comment on column public.service_order_extras.price_cents is 'Price, cents.';
comment on column public.service_order_extras.delivery_days is 'Days of 24 hours it adds, once it is paid.';
comment on column public.service_order_extras.status is 'State.';
comment on column public.service_order_extras.payable_id is 'What the buyer pays, with checkout_payable().';
comment on column public.service_order_extras.order_item_id is 'The line that paid it.';
create trigger _tidy_texts before insert or update of title on public.service_order_extras
for each row execute function private.tidy_texts('title line required');
create trigger touch_updated_at before update on public.service_order_extras
for each row execute function private.touch_updated_at();
alter table public.service_order_extras alter column title set statistics 0;
alter table public.service_order_extras enable row level security;
grant select on public.service_order_extras to authenticated, service_role;
create policy service_order_extras_select on public.service_order_extras for select to authenticated
using ((select o.id from public.service_orders as o where o.id = service_order_id) is not null);
insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.service_order_extras', 'status', null, 'offered', 'by the seller'),
('public.service_order_extras', 'status', 'offered', 'paid', 'checkout_payable() by the buyer'),
('public.service_order_extras', 'status', 'offered', 'declined', 'by the buyer'),
('public.service_order_extras', 'status', 'offered', 'withdrawn', 'by the seller, or the order has ended'),
('public.service_order_extras', 'status', 'paid', 'returned', 'its money went back'),
('public.service_order_extras', 'status', 'returned', 'paid', 'that refund failed later');
select private.build_moves('public.service_order_extras', 'status');

-- What one side proposes and the other answers. Its acts are on 24_resolutions.
create type public.resolution_kind as enum ('extend', 'cancel');
comment on type public.resolution_kind is 'extend: more days. cancel: the order ends, with so much money back.';
create type public.resolution_status as enum ('open', 'accepted', 'declined', 'withdrawn', 'expired');
comment on type public.resolution_status is
'open until answer_by. declined by the other side, withdrawn by who asked. expired: not answered in time, or the order '
'has ended.';

create table public.resolution_requests (
    id uuid not null default gen_random_uuid(),
    service_order_id uuid not null,
    kind public.resolution_kind not null,
    asking_side text not null,
    days integer,
    refund_cents bigint,
    reason text not null,
    status public.resolution_status not null default 'open',
    answer_by timestamptz not null,
    answered_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint resolution_requests_pkey primary key (id),
    constraint resolution_requests_service_order_id_fkey foreign key (service_order_id)
    references public.service_orders (id),
    constraint resolution_requests_asking_side_check check (asking_side in ('buyer', 'seller')),
    constraint resolution_requests_kind_check check (
        case kind when 'extend' then days is not null and refund_cents is null
            else refund_cents is not null and days is null end
    ),
    constraint resolution_requests_days_check check (days between 1 and 60),
    constraint resolution_requests_refund_cents_check check (refund_cents between 0 and private.highest_amount_cents()),
    constraint resolution_requests_reason_check check (private.is_reason(reason))
);
create unique index resolution_requests_one_open_idx on public.resolution_requests (service_order_id, kind)
where status = 'open';
create index resolution_requests_service_order_id_idx on public.resolution_requests (service_order_id);
create index resolution_requests_due_idx on public.resolution_requests (answer_by) where status = 'open';
comment on constraint resolution_requests_days_check on public.resolution_requests is
'invalid_resolution: An extension is from 1 to 60 days.';
comment on constraint resolution_requests_refund_cents_check on public.resolution_requests is
'invalid_resolution: What goes back is 0 or more cents.';
comment on constraint resolution_requests_kind_check on public.resolution_requests is
'invalid_resolution: An extension has days, a cancellation an amount.';
comment on table public.resolution_requests is
'More time, or an end by agreement, that one side proposes; the other one answers. Read by whoever reads the order.';
comment on column public.resolution_requests.kind is 'What is proposed.';
comment on column public.resolution_requests.asking_side is
'Who proposes it: the seller, or for an end either of the two.';
comment on column public.resolution_requests.days is 'How many days of 24 hours more.';
comment on column public.resolution_requests.refund_cents is
'How much the buyer gets back, cents, of all that was paid.';
comment on column public.resolution_requests.reason is 'Why, for the other side.';
comment on column public.resolution_requests.status is 'State as it was last written; see effective_status.';
comment on column public.resolution_requests.answer_by is 'Until when it can be answered.';
create trigger _tidy_texts before insert on public.resolution_requests
for each row execute function private.tidy_texts('reason body required');
create trigger touch_updated_at before update on public.resolution_requests
for each row execute function private.touch_updated_at();
alter table public.resolution_requests alter column reason set statistics 0;
alter table public.resolution_requests enable row level security;
grant select on public.resolution_requests to authenticated, service_role;
create policy resolution_requests_select on public.resolution_requests for select to authenticated
using ((select o.id from public.service_orders as o where o.id = service_order_id) is not null);
insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.resolution_requests', 'status', null, 'open', 'proposed'),
('public.resolution_requests', 'status', 'open', 'accepted', 'by the other side'),
('public.resolution_requests', 'status', 'open', 'declined', 'by the other side'),
('public.resolution_requests', 'status', 'open', 'withdrawn', 'by who proposed it'),
('public.resolution_requests', 'status', 'open', 'expired', 'not answered in time, or the order has ended');
select private.build_moves('public.resolution_requests', 'status');

create function public.effective_status(service_order public.service_orders) returns public.service_order_status
language plpgsql
stable
set search_path = ''
as $$
begin
    return case
        when service_order.status = 'delivered' and service_order.auto_approve_at <= clock_timestamp() then 'completed'
        when
            service_order.status = 'awaiting_requirements' and service_order.session_starts_at <= clock_timestamp()
            and service_order.frozen_at is null
            then 'in_progress'
        else service_order.status
    end;
end
$$;
comment on function public.effective_status(public.service_orders) is
'Computed field: the order''s state now, also where silence has approved it, or its session has begun, and nothing has '
'written that yet.';
grant execute on function public.effective_status(public.service_orders) to authenticated, service_role;

create function public.is_late(service_order public.service_orders) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return coalesce(service_order.due_at <= clock_timestamp(), false);
end
$$;
comment on function public.is_late(public.service_orders) is
'Computed field: whether the delivery is late. What the buyer keeps waiting for is not.';
grant execute on function public.is_late(public.service_orders) to authenticated, service_role;

create function private.service_order_lines(service_order_id uuid) returns uuid[]
language plpgsql
stable
set search_path = ''
as $$
begin
    return array(
        select o.order_item_id from public.service_orders as o where o.id = service_order_lines.service_order_id
        union all
        select e.order_item_id from public.service_order_extras as e
        where e.service_order_id = service_order_lines.service_order_id and e.order_item_id is not null
    );
end
$$;
comment on function private.service_order_lines(uuid) is
'The lines that were paid for an order: its own first, its extras.';

create function private.tell_service_order(told public.service_orders, type text, to_buyer boolean, to_seller boolean)
returns void
language plpgsql
set search_path = ''
as $$
begin
    -- Nobody is named: the two know each other, and a block between them does not keep their order quiet.
    if to_buyer then
        perform private.notify(told.buyer_id, type, null, 'service_order', told.id);
    end if;
    if to_seller then
        perform private.notify(told.seller_id, type, null, 'service_order', told.id);
    end if;
end
$$;
comment on function private.tell_service_order(public.service_orders, text, boolean, boolean) is
'Tells one or both sides something about their order.';

-- By the job, not by the acts: they hold wallets, and whoever sells the same just now waits for those with the row of
-- the service in hand.
create function private.rate_services(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    rated integer;
begin
    with counted as (
        select
            o.service_id,
            round(100.0 * count(*) filter (where o.status = 'completed') / nullif(count(*), 0), 2) as rate
        from public.service_orders as o
        where
            o.is_rated and not o.is_open and o.service_id in (
                select c.service_id from public.service_order_events as e
                inner join public.service_orders as c on c.id = e.service_order_id
                where
                    (e.to_state in ('completed', 'cancelled', 'refunded') or e.act = 'refund_failed')
                    and e.created_at > now() - interval '1 hour'
            )
        group by o.service_id
    )

    update public.services as s set completion_rate = c.rate
    from counted as c
    where
        s.id = c.service_id and s.id in (
            select l.id from public.services as l
            inner join counted as d on d.service_id = l.id
            where l.completion_rate is distinct from d.rate
            order by l.id
            limit max_rows
            for no key update of l skip locked
        );
    get diagnostics rated = row_count;
    return rated;
end
$$;
comment on function private.rate_services(integer) is
'Counts completion rates anew of services whose orders have ended within the hour: of those that ended, without those '
'that ended before work started; how many changed. Call until 0.';
grant execute on function private.rate_services(integer) to avenue_worker;

create function private.write_service_order(
    changed public.service_orders, act text, actor text, actor_id uuid default null, amount_cents bigint default null,
    note text default null
) returns public.service_orders
language plpgsql
set search_path = ''
as $$
declare
    before text;
    silent_at timestamptz;
begin
    select o.status, o.auto_approve_at into strict before, silent_at
    from public.service_orders as o
    where o.id = changed.id;
    if changed.status::text <> before then
        perform from private.service_order_moves as m
        where m.act = write_service_order.act and m.actor = write_service_order.actor and m.from_state = before
            and m.to_state = changed.status::text;
        if not found then
            perform private.refuse_state('service_order', before);
        end if;
    end if;
    if changed.status in ('completed', 'cancelled', 'refunded', 'awaiting_requirements') then
        changed.due_at := null;
        changed.auto_approve_at := null;
    end if;
    if changed.status not in ('disputed', 'refunded') then
        changed.disputing_side := null;
    end if;
    update public.service_orders as o set
        status = changed.status, delivery_days = changed.delivery_days, requirements = changed.requirements,
        requirement_files = changed.requirement_files, requirements_at = changed.requirements_at,
        delivery_files = changed.delivery_files, delivery_notes = changed.delivery_notes,
        delivered_at = changed.delivered_at, revisions_used = changed.revisions_used,
        buyer_approved = changed.buyer_approved, due_at = changed.due_at, auto_approve_at = changed.auto_approve_at,
        cancel_after = changed.cancel_after, revise_until = changed.revise_until, remaining = changed.remaining,
        silence_left = changed.silence_left, resumes_as = changed.resumes_as,
        disputing_side = changed.disputing_side, frozen_at = changed.frozen_at,
        is_rated = changed.is_rated, completed_at = changed.completed_at, cancelled_at = changed.cancelled_at,
        cancellation_reason = changed.cancellation_reason
    where o.id = changed.id
    returning * into changed;
    insert into public.service_order_events (
        service_order_id, act, actor, actor_id, from_state, to_state, amount_cents, note
    ) values (
        changed.id, write_service_order.act, write_service_order.actor, write_service_order.actor_id, before,
        changed.status, write_service_order.amount_cents, write_service_order.note
    );
    -- What is offered on top can be paid until silence approves, and not later.
    if changed.auto_approve_at is distinct from silent_at then
        update public.payables as p set pay_by = changed.auto_approve_at
        from public.service_order_extras as e
        where e.service_order_id = changed.id and e.status = 'offered' and p.id = e.payable_id and p.status = 'open';
    end if;
    return changed;
end
$$;
comment on function private.write_service_order(public.service_orders, text, text, uuid, bigint, text) is
'Writes a locked order as an act has changed it, if it may lead there, and what happened. Error: state_changed.';

create function private.close_service_order(ended public.service_orders) returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.resolution_requests as r set status = 'expired', answered_at = clock_timestamp()
    where r.service_order_id = ended.id and r.status = 'open';
    -- Whatever is paid for it from now on goes back by itself. They are locked.
    update public.payables as p set status = 'withdrawn'
    from public.service_order_extras as e
    where e.service_order_id = ended.id and e.status = 'offered' and p.id = e.payable_id and p.status = 'open';
    update public.service_order_extras as e set status = 'withdrawn'
    where e.service_order_id = ended.id and e.status = 'offered';
end
$$;
comment on function private.close_service_order(public.service_orders) is
'An order has ended: nothing about it can be answered or paid any more.';

create function private.complete_service_order(
    ended public.service_orders, act text, actor text, actor_id uuid, at timestamptz, note text default null
) returns public.service_orders
language plpgsql
set search_path = ''
as $$
begin
    ended.status := 'completed';
    ended.completed_at := at;
    ended.buyer_approved := act = 'approve';
    ended := private.write_service_order(
        ended, act, actor, actor_id, case when act = 'decide' then 0 end, complete_service_order.note
    );
    perform private.close_service_order(ended);
    -- All that was paid for it, at once.
    perform private.complete_lines(private.service_order_lines(ended.id), at);
    perform private.tell_service_order(ended, 'service_completed', act <> 'approve', true);
    return ended;
end
$$;
comment on function private.complete_service_order(public.service_orders, text, text, uuid, timestamptz, text) is
'Ends a locked order as done: its earnings become available after the hold.';

create function private.lock_service_order(service_order_id uuid, is_patient boolean default true)
returns public.service_orders
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    payments uuid[] := array(
        select distinct t.payment_id from public.transactions as t
        where t.order_item_id = any (private.service_order_lines(lock_service_order.service_order_id))
    );
    locked public.service_orders;
begin
    if is_patient then
        perform from public.payments as p where p.id = any (payments) order by p.id for no key update;
        perform from public.payables as p
        where p.id in (
            select e.payable_id from public.service_order_extras as e
            where e.service_order_id = lock_service_order.service_order_id
        )
        order by p.id
        for no key update;
        select * into locked from public.service_orders as o
        where o.id = lock_service_order.service_order_id
        for no key update;
    else
        if cardinality(payments) > cardinality(array(
            select p.id from public.payments as p where p.id = any (payments) for no key update skip locked
        )) or exists (
            select from public.service_order_extras as e
            where
                e.service_order_id = lock_service_order.service_order_id and e.status = 'offered'
                and e.payable_id not in (
                    select p.id from public.payables as p where p.id = e.payable_id for no key update skip locked
                )
        ) then
            return null;
        end if;
        select * into locked from public.service_orders as o
        where o.id = lock_service_order.service_order_id
        for no key update skip locked;
        if locked.id is null then
            return null;
        end if;
    end if;
    -- Decided by the clock after the lock, and by no job: what time has done comes before whatever is asked now.
    if public.effective_status(locked) = 'completed' and locked.status = 'delivered' then
        locked := private.complete_service_order(locked, 'silence', 'time', null, locked.auto_approve_at);
    elsif public.effective_status(locked) = 'in_progress' and locked.status = 'awaiting_requirements' then
        -- Nobody sits through a session and then has the money back for not having written beforehand.
        locked.revise_until := locked.revise_until + private.hours_until(locked.session_starts_at, locked.created_at);
        locked := private.start_service_work(locked, locked.session_starts_at);
        locked.status := 'in_progress';
        locked := private.write_service_order(locked, 'session', 'time');
    end if;
    return locked;
end
$$;
comment on function private.lock_service_order(uuid, boolean) is
'The order, locked with the payments of its lines and what is agreed beside it, after a deadline that has passed was '
'applied. Not patient: null where somebody is at it.';

-- What every act begins with.
create function private.begin_service_act(
    service_order_id uuid, act text, out acted public.service_orders, out actor text
)
language plpgsql
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    until text;
begin
    -- Strangers are turned away before any lock.
    select case when o.buyer_id = member then 'buyer' when o.seller_id = member then 'seller' end into actor
    from public.service_orders as o
    where o.id = begin_service_act.service_order_id;
    if actor is null then
        perform private.fail('service_order_not_found', service_order_id::text);
    elsif not exists (
        select from private.service_order_moves as m
        where m.act = begin_service_act.act and m.actor = begin_service_act.actor
    ) then
        perform private.fail('not_your_part', case actor when 'buyer' then 'seller' else 'buyer' end);
    end if;
    acted := private.lock_service_order(service_order_id);
    if not exists (
        select from private.service_order_moves as m
        where m.act = begin_service_act.act and m.actor = begin_service_act.actor and m.from_state = acted.status::text
    ) then
        perform private.refuse_state('service_order', acted.status);
    elsif acted.frozen_at is not null then
        perform private.fail('order_frozen', acted.id::text);
    -- Each of these is mailed to the other side at once, and can be taken back and done again.
    elsif act in ('propose_extension', 'propose_cancellation', 'offer_extra', 'open_dispute') then
        select private.utc(min(e.created_at) + interval '24 hours') into until
        from public.service_order_events as e
        where
            e.service_order_id = acted.id and e.actor = begin_service_act.actor
            and e.created_at > clock_timestamp() - interval '24 hours'
            and e.act in ('propose_extension', 'propose_cancellation', 'offer_extra', 'open_dispute')
        having count(*) >= 20;
        if found then
            perform private.fail('too_many_actions', until);
        end if;
    end if;
end
$$;
comment on function private.begin_service_act(uuid, text) is
'The order, locked, and which side of it the caller is, for an act that is this side''s and possible now. Errors: '
'service_order_not_found, not_your_part, state_changed, order_frozen, too_many_actions (20 proposals, extras and '
'disputes of one side in 24 hours).';

-- What PostgreSQL says of two instants has days in it, which are 23 or 25 hours long in some zones.
create function private.hours_until(later timestamptz, earlier timestamptz default clock_timestamp()) returns interval
language plpgsql
stable
strict
set search_path = ''
as $$
begin
    return make_interval(secs => extract(epoch from greatest(later - earlier, interval '0'))::double precision);
end
$$;
comment on function private.hours_until(timestamptz, timestamptz) is
'How long it is from an instant (now) to a later one, in elapsed hours whatever the zone; 0 when it has passed. Null '
'for null.';

-- What stands still keeps what was left of it, of work and of silence apart.
create function private.stop_service_clock(stopped public.service_orders) returns public.service_orders
language plpgsql
stable
set search_path = ''
as $$
begin
    stopped.silence_left := coalesce(private.hours_until(stopped.auto_approve_at), stopped.silence_left);
    stopped.remaining := coalesce(make_interval(
        secs => extract(epoch from stopped.due_at - clock_timestamp())::double precision
    ), stopped.remaining);
    stopped.due_at := null;
    stopped.auto_approve_at := null;
    return stopped;
end
$$;
comment on function private.stop_service_clock(public.service_orders) is
'The order with its clocks standing still, and what is left of them.';

create function private.start_service_work(started public.service_orders, at timestamptz) returns public.service_orders
language plpgsql
stable
set search_path = ''
as $$
begin
    select
        case
            when started.session_ends_at is null then at + started.delivery_days * interval '24 hours'
            else greatest(started.session_ends_at, at + s.service_least_period)
        end
    into started.due_at
    from private.settings as s;
    started.cancel_after := started.due_at + (select s.service_late_period from private.settings as s);
    return started;
end
$$;
comment on function private.start_service_work(public.service_orders, timestamptz) is
'The order with its clock running from this moment: a booked session is delivered when it is over.';

-- What selling does. Lines of both kinds, service and offer, have the same details.
create function private.open_service_orders(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    line record;
    made public.service_orders;
    limits private.settings;
    moment timestamptz := clock_timestamp();
begin
    select * into strict limits from private.settings;
    for line in
        select i.*, p.id as purchase_id, coalesce((
            select sum((e.extra ->> 'delivery_days')::integer)
            from jsonb_array_elements(coalesce(i.details -> 'extras', '[]')) as e (extra)
        ), 0)::integer as extra_days, coalesce((
            select sum((e.extra ->> 'price_cents')::bigint)
            from jsonb_array_elements(coalesce(i.details -> 'extras', '[]')) as e (extra)
        ), 0)::bigint as extra_cents
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        where p.id = any (ids)
        order by i.id
    loop
        made := null;
        made.delivery_days := (line.details #>> '{package,delivery_days}')::integer + line.extra_days;
        made.session_ends_at := (line.details #>> '{session,ends_at}')::timestamptz;
        if line.details ->> 'requirements_asked' is null then
            made := private.start_service_work(made, moment);
        else
            made.cancel_after := moment + limits.service_requirements_period;
        end if;
        insert into public.service_orders (
            order_item_id, service_id, offer_id, buyer_id, seller_id, title, package_name, package_price_cents,
            delivery_days, revisions_included, extras, session_starts_at, session_ends_at, free_until, requirements_asked, status,
            due_at, cancel_after, revise_until, created_at
        ) values (
            line.id, line.item_id, (line.details #>> '{offer,id}')::uuid, line.buyer_id, line.seller_id, line.title,
            line.details #>> '{package,name}', line.unit_price_cents - line.extra_cents, made.delivery_days,
            (line.details #>> '{package,revisions}')::integer, coalesce(line.details -> 'extras', '[]'),
            (line.details #>> '{session,starts_at}')::timestamptz, made.session_ends_at,
            (line.details #>> '{session,free_until}')::timestamptz,
            line.details ->> 'requirements_asked',
            case
                when made.due_at is null then 'awaiting_requirements' else 'in_progress'
            end::public.service_order_status,
            made.due_at, made.cancel_after,
            moment + made.delivery_days * interval '24 hours' + limits.service_revision_limit, moment
        ) returning * into made;
        insert into public.service_order_events (service_order_id, act, actor, actor_id, to_state)
        values (made.id, 'order', 'buyer', made.buyer_id, made.status);
        perform private.tell_service_order(made, 'service_order', false, true);
        if made.due_at is null then
            perform private.tell_service_order(made, 'service_requirements_wanted', true, false);
        end if;
        -- Paid while the seller was banned or left: what follows that comes round once more.
        insert into private.account_changes (user_id, audience)
        select p.id, private.author_audience(p) from public.profiles as p
        where p.id = made.seller_id and (p.is_banned or p.deleted_at is not null)
        on conflict on constraint account_changes_pkey do nothing;
    end loop;
end
$$;
comment on function private.open_service_orders(uuid[]) is 'These purchases are service orders from now on.';

create function private.end_service_orders(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    ended public.service_orders;
begin
    for ended in
        select o.* from public.purchases as p
        inner join public.service_orders as o on o.order_item_id = p.order_item_id
        where p.id = any (ids)
        order by o.id
        for no key update of o
    loop
        -- An act that gives the money back has written it already.
        if ended.status not in ('cancelled', 'refunded') then
            -- What is left when it is open again, should the refund fail. A dispute goes on as one.
            if ended.status <> 'disputed' then
                ended.resumes_as := ended.status;
            end if;
            ended := private.stop_service_clock(ended);
            if reason = 'cancelled' then
                ended.status := 'cancelled';
                ended.cancelled_at := clock_timestamp();
                ended.cancellation_reason := reason;
                perform private.write_service_order(ended, 'withdrawn', 'money', null, null, reason);
            else
                ended.status := 'refunded';
                perform private.write_service_order(ended, 'refund', 'money', null, null, reason);
            end if;
            perform private.close_service_order(ended);
            perform private.tell_service_order(ended, 'service_cancelled', true, true);
        end if;
    end loop;
end
$$;
comment on function private.end_service_orders(uuid[], text) is
'What these purchases gave was taken back: their orders end, and their deliveries are no longer the buyer''s.';

create function private.resume_service_clock(
    resumed public.service_orders, status public.service_order_status, at_least interval default null
) returns public.service_orders
language plpgsql
stable
set search_path = ''
as $$
declare
    limits private.settings;
    moment timestamptz := clock_timestamp();
    until timestamptz;
begin
    select * into strict limits from private.settings;
    until := moment + greatest(
        case status when 'delivered' then resumed.silence_left else resumed.remaining end,
        coalesce(at_least, limits.service_least_period)
    );
    resumed.status := status;
    case status
        when 'delivered' then
            resumed.auto_approve_at := until;
        when 'in_progress', 'revision_requested' then
            resumed.due_at := until;
            resumed.cancel_after := until + limits.service_late_period;
        when 'awaiting_requirements' then
            resumed.cancel_after := greatest(resumed.cancel_after, until);
        else
            null;
    end case;
    return resumed;
end
$$;
comment on function private.resume_service_clock(public.service_orders, public.service_order_status, interval) is
'The order in this state, its clock going on with what was left, at least settings.service_least_period, or '
'at_least where that is given.';

create function private.reopen_service_orders(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    back public.service_orders;
    state public.service_order_status;
begin
    for back in
        select o.* from public.purchases as p
        inner join public.service_orders as o on o.order_item_id = p.order_item_id
        where p.id = any (ids) and o.status = 'refunded'
        order by o.id
        for no key update of o
    loop
        state := case when back.disputing_side is null then back.resumes_as else 'disputed' end;
        -- Frozen, or not any more, while it was refunded.
        back.frozen_at := (
            select min(f.begun_at) from public.transactions as t
            inner join private.freezes as f on f.transaction_id = t.id and f.ended_at is null
            where t.order_item_id = any (private.service_order_lines(back.id)) and state <> 'completed'
        );
        if back.frozen_at is null then
            back := private.resume_service_clock(back, state);
        else
            back.status := state;
        end if;
        perform private.write_service_order(back, 'refund_failed', 'money');
    end loop;
end
$$;
comment on function private.reopen_service_orders(uuid[]) is
'A refund of these purchases failed: their orders go on where they were.';

create function private.service_grant(ids uuid[]) returns void
language sql
set search_path = ''
as $$
    select private.open_service_orders(service_grant.ids)
$$;
comment on function private.service_grant(uuid[]) is 'Hook grant: service orders.';
create function private.service_revoke(ids uuid[], reason text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.end_service_orders(ids, reason);
    perform private.free_service_time(array(select p.order_item_id from public.purchases as p where p.id = any (ids)));
end
$$;
comment on function private.service_revoke(uuid[], text) is 'Hook revoke: their orders end, their hours are free.';
create function private.service_restore(ids uuid[]) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.reopen_service_orders(ids);
    perform private.restore_service_time(array(
        select o.order_item_id from public.purchases as p
        inner join public.service_orders as o on o.order_item_id = p.order_item_id and o.is_open
        where p.id = any (ids)
    ));
end
$$;
comment on function private.service_restore(uuid[]) is 'Hook restore: their orders go on, and take their hours again.';
create function private.offer_grant(ids uuid[]) returns void
language sql
set search_path = ''
as $$
    select private.open_service_orders(offer_grant.ids)
$$;
comment on function private.offer_grant(uuid[]) is 'Hook grant: service orders.';
create function private.offer_revoke(ids uuid[], reason text) returns void
language sql
set search_path = ''
as $$
    select private.end_service_orders(offer_revoke.ids, offer_revoke.reason)
$$;
comment on function private.offer_revoke(uuid[], text) is 'Hook revoke: their orders end.';
create function private.offer_restore(ids uuid[]) returns void
language sql
set search_path = ''
as $$
    select private.reopen_service_orders(offer_restore.ids)
$$;
comment on function private.offer_restore(uuid[]) is 'Hook restore: their orders go on.';

-- The end of an order that gives money back, some or all of it: each charge its own amount, under its own key.
create function private.give_service_back(
    ended public.service_orders, amount_cents bigint, act text, actor text, actor_id uuid, reason text,
    fee_bearer text default 'seller', origin public.refund_origin default 'automatic'
) returns public.service_orders
language plpgsql
set search_path = ''
as $$
declare
    lines uuid[] := private.service_order_lines(ended.id);
    sale record;
    whole bigint;
    wanted bigint;
    is_free boolean;
begin
    select
        coalesce(sum(s.remaining), 0)::bigint, count(*) = 0 into whole, is_free
    from private.refundable(lines) as s;
    wanted := coalesce(amount_cents, whole);
    if wanted not between 0 and whole then
        perform private.fail('refund_amount_invalid', format('at most %s cents', whole));
    end if;
    ended.status := 'cancelled';
    ended.cancelled_at := clock_timestamp();
    ended.cancellation_reason := reason;
    ended := private.write_service_order(ended, act, actor, actor_id, wanted, reason);
    perform private.close_service_order(ended);
    for sale in
        select
            s.*, (private.split_cents(wanted, array_agg(s.remaining) over lines))[row_number() over lines] as part
        from private.refundable(lines) as s
        window lines as (order by s.line_no rows between unbounded preceding and unbounded following)
    loop
        if sale.part > 0 then
            perform private.refund_line(sale.transaction_id, sale.part, give_service_back.reason, origin, fee_bearer);
        end if;
        if sale.part = sale.remaining then
            -- The right ends at once, whenever the money arrives.
            perform private.revoke_line(sale.order_item_id, 'cancelled');
        else
            perform private.complete_lines(array[sale.order_item_id]);
        end if;
    end loop;
    -- What cost nothing goes with all the rest, also where an extra of it was paid.
    if is_free or wanted = whole then
        perform private.revoke_line(u.line, 'cancelled') from unnest(lines) as u (line)
        where not exists (select from public.transactions as t where t.order_item_id = u.line);
    else
        perform private.free_service_time(array[ended.order_item_id]);
    end if;
    perform private.tell_service_order(
        ended, 'service_cancelled', actor_id is distinct from ended.buyer_id, actor_id is distinct from ended.seller_id
    );
    return ended;
end
$$;
comment on function private.give_service_back(
    public.service_orders, bigint, text, text, uuid, text, text, public.refund_origin
) is
'Ends a locked order as cancelled and gives so much of all that was paid for it back (null: all that is left), spread '
'over its charges by what is left of each; the rest is earned. Errors: state_changed, refund_amount_invalid, '
'insufficient_funds.';

create function private.refundable(
    lines uuid[]
) returns table (line_no bigint, order_item_id uuid, transaction_id uuid, remaining bigint)
language sql
stable
set search_path = ''
as $$
    select u.no, t.order_item_id, t.id, t.amount_total_cents - t.refunded_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r where r.order_item_id = t.order_item_id and r.is_open
    ), 0)::bigint
    from unnest(lines) with ordinality as u (line, no)
    inner join public.transactions as t on t.order_item_id = u.line
$$;
comment on function private.refundable(uuid[]) is
'What is left of each of these lines, refunds under way counted, cents, in their order.';

create function public.approve_service_order(service_order_id uuid) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
begin
    select * into act from private.begin_service_act(service_order_id, 'approve');
    return private.complete_service_order(act.acted, 'approve', act.actor, auth.uid(), clock_timestamp());
end
$$;
comment on function public.approve_service_order(uuid) is
'Buyer: takes the delivery; the order is completed and earned. Errors: service_order_not_found, not_your_part, '
'state_changed, order_frozen.';
grant execute on function public.approve_service_order(uuid) to authenticated;

create function public.request_revision(service_order_id uuid, note text) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    wanted public.service_orders;
    limits private.settings;
    words text := private.require_reason(request_revision.note);
begin
    select * into act from private.begin_service_act(service_order_id, 'request_revision');
    wanted := act.acted;
    if wanted.revisions_used = wanted.revisions_included then
        perform private.fail('no_revisions_left', wanted.id::text);
    end if;
    select * into strict limits from private.settings;
    wanted.revisions_used := wanted.revisions_used + 1;
    if clock_timestamp() + greatest(wanted.remaining, limits.service_least_period) > wanted.revise_until then
        -- Not into a state whose end has already passed: people look.
        wanted := private.pause_service_order(wanted);
        wanted.disputing_side := 'buyer';
    else
        wanted.auto_approve_at := null;
        wanted := private.resume_service_clock(wanted, 'revision_requested');
    end if;
    wanted := private.write_service_order(wanted, 'request_revision', act.actor, auth.uid(), null, words);
    perform private.tell_service_order(
        wanted, case wanted.status when 'disputed' then 'service_disputed' else 'service_revision' end, false, true
    );
    return wanted;
end
$$;
comment on function public.request_revision(uuid, text) is
'Buyer: wants the delivery changed, at most as often as the order includes; the seller''s time goes on with what was '
'left. Where that would end after revise_until the order is disputed instead. Errors: reason_required, '
'service_order_not_found, not_your_part, state_changed, no_revisions_left, order_frozen.';
grant execute on function public.request_revision(uuid, text) to authenticated;

create function private.pause_service_order(paused public.service_orders) returns public.service_orders
language plpgsql
stable
set search_path = ''
as $$
begin
    paused.resumes_as := paused.status;
    paused := private.stop_service_clock(paused);
    paused.status := 'disputed';
    return paused;
end
$$;
comment on function private.pause_service_order(public.service_orders) is
'The order as disputed: its clock stands still with what is left of it.';

create function public.cancel_service_order(service_order_id uuid, reason text) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    ended public.service_orders;
    words text := private.require_reason(cancel_service_order.reason);
    late_at timestamptz;
    is_due boolean;
begin
    select * into act from private.begin_service_act(service_order_id, 'cancel');
    ended := act.acted;
    late_at := case
        -- Its hour is kept for its buyer, whatever they have sent.
        when act.actor = 'buyer' and ended.status = 'awaiting_requirements' and ended.session_starts_at is not null
            then (private.start_service_work(ended, ended.session_starts_at)).cancel_after
        else ended.cancel_after
    end;
    is_due := coalesce(late_at <= clock_timestamp(), false);
    -- Nobody has begun: the platform bears what the provider keeps.
    if
        ended.status = 'awaiting_requirements'
        and (act.actor = 'buyer' and ended.session_starts_at is null or act.actor = 'seller' and is_due)
        or act.actor = 'buyer' and ended.free_until > clock_timestamp()
    then
        ended.is_rated := false;
        return private.give_service_back(ended, null, 'cancel', act.actor, auth.uid(), words, 'platform');
    elsif act.actor = 'buyer' and not is_due then
        perform private.fail('not_late_yet', private.utc(late_at));
    end if;
    return private.give_service_back(
        ended, null, 'cancel', act.actor, auth.uid(), words, 'seller',
        case act.actor when 'seller' then 'seller' else 'automatic' end::public.refund_origin
    );
end
$$;
comment on function public.cancel_service_order(uuid, text) is
'Ends an order with all of the money back. Buyer: freely while the requirements are not sent, but of a session until '
'free_until, later when the delivery is late (from cancel_after). Seller: as long as it is not completed; '
'one whose buyer sent no requirements by cancel_after '
'does not count for the completion rate. Errors: reason_required, service_order_not_found, state_changed, '
'not_late_yet, order_frozen, insufficient_funds, refund_amount_invalid.';
grant execute on function public.cancel_service_order(uuid, text) to authenticated;

-- A bank looks at the payment: see private.freeze_sale().
create function private.follow_freeze() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    held public.service_orders;
begin
    for held in
        select o.* from public.transactions as t
        inner join public.service_orders as o on o.order_item_id = t.order_item_id
        where t.id = new.transaction_id
        union
        select o.* from public.transactions as t
        inner join public.service_order_extras as e on e.order_item_id = t.order_item_id
        inner join public.service_orders as o on o.id = e.service_order_id
        where t.id = new.transaction_id
    loop
        held := private.lock_service_order(held.id);
        continue when not held.is_open;
        if new.ended_at is null and held.frozen_at is null then
            held.frozen_at := new.begun_at;
            held := private.stop_service_clock(held);
            held := private.write_service_order(held, 'freeze', 'money', null, null, new.cause);
            perform private.tell_service_order(held, 'service_frozen', true, true);
        elsif new.ended_at is not null and held.frozen_at is not null and not exists (
            select from public.transactions as t
            inner join private.freezes as f on f.transaction_id = t.id and f.ended_at is null
            where t.order_item_id = any (private.service_order_lines(held.id))
        ) then
            held.frozen_at := null;
            if held.status <> 'disputed' then
                held := private.resume_service_clock(held, held.status);
            end if;
            held := private.write_service_order(held, 'thaw', 'money', null, null, new.cause);
            perform private.tell_service_order(held, 'service_thawed', true, true);
            perform private.leave_service_orders(held.seller_id, 100);
        end if;
    end loop;
    return null;
end
$$;
comment on function private.follow_freeze() is
'Trigger on freezes: while a bank looks at the payment an order stands still; then its clock goes on with what was '
'left, at least settings.service_least_period.';
create trigger follow_service_order after insert or update on private.freezes
for each row execute function private.follow_freeze();

-- A seller who was banned or left.
create function private.leave_service_orders(user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid;
    ended public.service_orders;
    done integer := 0;
begin
    if not exists (
        select from public.profiles as p
        where p.id = leave_service_orders.user_id and (p.is_banned or p.deleted_at is not null)
    ) then
        return 0;
    end if;
    for chosen in
        select o.id from public.service_orders as o
        where
            o.seller_id = leave_service_orders.user_id and o.frozen_at is null
            and o.status in ('awaiting_requirements', 'in_progress', 'revision_requested')
        order by o.id
        limit max_rows
    loop
        ended := private.lock_service_order(chosen);
        continue when ended.status not in ('awaiting_requirements', 'in_progress', 'revision_requested')
            or ended.frozen_at is not null;
        perform private.give_service_back(ended, null, 'seller_gone', 'money', null, 'seller_gone');
        done := done + 1;
    end loop;
    return done;
end
$$;
comment on function private.leave_service_orders(uuid, integer) is
'A step after a change of standing: unfinished orders of a seller who was banned or left are cancelled, their refunds '
'asked for at once. What is delivered runs on.';
insert into private.standing_steps (step, position, statement) values
('service_orders', 5, 'select private.leave_service_orders($1, $2)');

create function private.advance_service_orders(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    due record;
    done integer := 0;
    locked public.service_orders;
begin
    for due in
        (
            select o.id, o.status, o.auto_approve_at as at from public.service_orders as o
            where o.auto_approve_at <= clock_timestamp()
            order by o.auto_approve_at
            limit max_rows
        )
        union all
        (
            select o.id, o.status, o.session_starts_at from public.service_orders as o
            where
                o.status = 'awaiting_requirements' and o.session_starts_at <= clock_timestamp()
                and o.frozen_at is null
            order by o.session_starts_at
            limit max_rows
        )
    loop
        locked := private.lock_service_order(due.id, false);
        if locked.id is null and due.at < clock_timestamp() - interval '10 minutes' then
            -- A request that is slow by a filter on its answer, again and again, would keep the money from its seller.
            begin
                perform private.hold_rows(
                    'public.payments', 't.id in (select s.payment_id from public.transactions as s '
                    'where s.order_item_id = any (private.service_order_lines($1)))', due.id
                );
                perform private.hold_rows('public.service_orders', 't.id = $1', due.id);
                locked := private.lock_service_order(due.id, false);
            exception when lock_not_available then
                null;
            end;
        end if;
        done := done + (locked.id is not null and locked.status <> due.status)::integer;
    end loop;
    return done;
end
$$;
comment on function private.advance_service_orders(integer) is
'Makes official what silence has approved, and that sessions have begun; how many. What somebody is at is left out for '
'ten minutes, then a request that is slow is ended. Call until 0.';
grant execute on function private.advance_service_orders(integer) to avenue_worker;

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('service_order', 'public.service_orders', null, '/service_orders/{id}', '{}');

insert into private.erasure_steps (step, phase, erases, statement) values
('service_order_events', 'records', '{public.service_order_events.actor_id}',
    'update public.service_order_events set actor_id = null where actor_id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('service_orders', 'public.service_orders',
    't.buyer_id = $1 or t.seller_id = $1',
    '{order_item_id, service_id, offer_id, buyer_id, seller_id, resumes_as, disputing_side, title, package_name, '
    'extras, requirements_asked, requirements, requirement_files, delivery_files, delivery_notes, cancellation_reason}',
    'the books, and the other side''s: what was asked for and done for money'),
('service_order_events', 'public.service_order_events',
    't.service_order_id in (select o.id from public.service_orders as o where o.buyer_id = $1 or o.seller_id = $1)',
    '{service_order_id, act, actor, from_state, to_state, note}', 'what was decided about money, for both sides'),
('service_order_extras', 'public.service_order_extras',
    't.service_order_id in (select o.id from public.service_orders as o where o.buyer_id = $1 or o.seller_id = $1)',
    '{service_order_id, seller_id, title, payable_id, order_item_id}', 'the books: who paid whom for what'),
('resolution_requests', 'public.resolution_requests',
    't.service_order_id in (select o.id from public.service_orders as o where o.buyer_id = $1 or o.seller_id = $1)',
    '{service_order_id, asking_side, reason}', 'what was agreed about money, for both sides');

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('service_order', 'New order', 'Somebody ordered a service of yours.', null, null, 'immediate', false),
('service_requirements_wanted', 'Your seller needs something', 'Work on your order starts when you have answered.',
    null, null, 'immediate', false),
('service_requirements', 'Work can start', 'The buyer of an order sent what you asked for.', null, null, 'immediate',
    false),
('service_delivered', 'Delivery', 'Your order was delivered: approve it, or ask for a revision in time.', null, null,
    'immediate', false),
('service_reminder', 'Please look at your delivery', 'Without an answer your order is approved tomorrow.', null, null,
    'immediate', false),
('service_revision', 'Revision', 'A buyer asks for a revision.', null, null, 'immediate', false),
('service_completed', 'Order completed', 'A service order is completed.', null, null, 'digest', false),
('service_cancelled', 'Order cancelled', 'A service order was cancelled.', null, null, 'immediate', false),
('service_disputed', 'Dispute', 'There is a dispute about a service order.', null, null, 'immediate', false),
('service_dispute_withdrawn', 'Dispute withdrawn', 'The dispute about a service order was withdrawn.', null, null,
    'immediate', false),
('service_frozen', 'Order on hold', 'A bank looks at the payment of a service order.', null, null, 'immediate', false),
('service_thawed', 'Order goes on', 'The payment of a service order is in order.', null, null, 'immediate', false),
('service_proposal', 'Proposal', 'The other side of a service order proposes something; please answer in time.', null,
    null, 'immediate', false),
('service_answer', 'Answer', 'Your proposal about a service order was answered.', null, null, 'immediate', false);

insert into private.error_codes (code, sqlstate, message, description) values
('service_order_not_found', 'PT404', 'This order does not exist.',
'There is no service order with that id, or the caller has no part in it.'),
('no_revisions_left', 'PT409', 'All revisions are used.',
'Approve the delivery, agree on something with the seller, or open a dispute; silence still approves.'),
('session_not_over', 'PT409', 'The session is not over.', 'It is delivered when it was held: from the detail on.'),
('not_late_yet', 'PT409', 'This order is not late.',
'Its buyer can cancel alone from cancel_after on, the detail. Propose to end it by agreement, or open a dispute.'),
('order_frozen', 'PT409', 'This order is on hold.',
'The buyer''s bank looks at the payment. Nothing is decided until it is done; then the clock goes on.');
