-- Whose the seats of a webinar are: one row for each person and webinar, for life. A seat is taken while it is held
-- by an order that is not paid yet, offered to whoever waited for it, or confirmed; what is taken is counted on the
-- registry row, changed by the statement that takes or frees, and read under that row's lock only. A confirmed seat
-- that was paid for is a purchase; one that was not, and an offer, is a hold of its own in private.holds: purchases
-- and holds together are what is taken, as of every stock.
-- A freed seat belongs to the queue: while anybody waits nobody else gets one.

create type public.registration_status as enum (
    'waiting', 'offered', 'held', 'confirmed', 'cancelled', 'refunded', 'expired'
);
comment on type public.registration_status is
'waiting: in the queue. offered: a seat is kept for them until offer_expires_at. held: an order that is not paid yet '
'has '
'one. confirmed: theirs. The others have none: cancelled by somebody, refunded whole, expired.';

create type public.registration_payment as enum ('pending', 'paid', 'refunded', 'free');
comment on type public.registration_payment is 'How it stands with the money for a seat.';

create table public.webinar_registrations (
    id uuid not null default gen_random_uuid(),
    webinar_id uuid not null,
    user_id uuid not null,
    status public.registration_status not null,
    purchase_id uuid,
    payment_status public.registration_payment generated always as (
        case
            when status in ('held', 'offered') then 'pending'::public.registration_payment
            when status = 'confirmed' and purchase_id is null then 'free'::public.registration_payment
            when status = 'confirmed' then 'paid'::public.registration_payment
            when status in ('refunded', 'cancelled') and purchase_id is not null
                then 'refunded'::public.registration_payment
        end
    ) stored,
    payable_id uuid,
    queue_no bigint,
    offers_count smallint not null default 0,
    offer_expires_at timestamptz,
    confirmed_at timestamptz,
    moved_at timestamptz,
    was_removed boolean not null default false,
    attended boolean not null generated always as (attended_at is not null) stored,
    attended_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint webinar_registrations_pkey primary key (id),
    constraint webinar_registrations_webinar_id_user_id_key unique (webinar_id, user_id),
    constraint webinar_registrations_webinar_id_fkey foreign key (webinar_id) references public.webinars (id),
    constraint webinar_registrations_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint webinar_registrations_purchase_id_fkey foreign key (purchase_id) references public.purchases (id),
    constraint webinar_registrations_payable_id_fkey foreign key (payable_id) references public.payables (id),
    constraint webinar_registrations_queue_check check ((status = 'waiting') = (queue_no is not null)),
    constraint webinar_registrations_offer_check check (
        (status = 'offered') = (offer_expires_at is not null) and (status <> 'offered' or payable_id is not null)
    ),
    constraint webinar_registrations_confirmed_check check (status <> 'confirmed' or confirmed_at is not null),
    constraint webinar_registrations_attended_check check (attended_at is null or confirmed_at is not null)
)
with (fillfactor = 80);

create index webinar_registrations_user_id_idx on public.webinar_registrations (user_id, created_at desc);
create index webinar_registrations_queue_idx on public.webinar_registrations (webinar_id, queue_no)
where status = 'waiting';
create index webinar_registrations_offers_idx on public.webinar_registrations (offer_expires_at)
where status = 'offered';
create index webinar_registrations_held_idx on public.webinar_registrations (webinar_id)
where status in ('held', 'offered');
create index webinar_registrations_purchase_id_idx on public.webinar_registrations (purchase_id)
where purchase_id is not null;
create index webinar_registrations_payable_id_idx on public.webinar_registrations (payable_id)
where payable_id is not null;
create sequence private.queue_numbers;

comment on table public.webinar_registrations is
'Who is registered for a webinar, waits for a seat, or did. Whoever it is, the hosts and admins read it; only '
'functions '
'write. status_now is how it stands at this moment.';
comment on column public.webinar_registrations.status is
'State as far as it was noted; the clock is ahead of it for moments: see status_now.';
comment on column public.webinar_registrations.payment_status is
'How it stands with its money; null while nothing was asked for.';
comment on column public.webinar_registrations.purchase_id is 'The purchase whose seat it is, or was the last time.';
comment on column public.webinar_registrations.payable_id is
'Of an offer at a price: what to pay, with checkout_payable().';
comment on column public.webinar_registrations.queue_no is 'Place in the queue: ascending, with gaps. Null: not in it.';
comment on column public.webinar_registrations.offers_count is 'How often a seat was offered.';
comment on column public.webinar_registrations.offer_expires_at is
'Until when an offered seat is kept. A payment that is under way then is waited for.';
comment on column public.webinar_registrations.confirmed_at is 'When they got the seat, the last time.';
comment on column public.webinar_registrations.moved_at is
'When the webinar was moved while they had this seat or were paying for it: they may leave with all their money until '
'the new start.';
comment on column public.webinar_registrations.was_removed is
'Removed by a host or an admin: they cannot register again.';
comment on column public.webinar_registrations.attended is 'Whether they were there, as a host said.';
comment on column public.webinar_registrations.attended_at is 'When a host first said so.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.webinar_registrations', 'status', null, 'waiting', 'join_waiting_list()'),
('public.webinar_registrations', 'status', null, 'held', 'checkout'),
('public.webinar_registrations', 'status', null, 'confirmed', 'register_for_webinar()'),
('public.webinar_registrations', 'status', 'waiting', 'offered', 'a seat is free, first in line'),
('public.webinar_registrations', 'status', 'waiting', 'confirmed', 'a free seat, first in line'),
('public.webinar_registrations', 'status', 'waiting', 'cancelled', 'leaves the queue, or it is cancelled'),
('public.webinar_registrations', 'status', 'waiting', 'expired', 'the webinar began'),
('public.webinar_registrations', 'status', 'offered', 'confirmed', 'paid'),
('public.webinar_registrations', 'status', 'offered', 'cancelled', 'declined, or the webinar is cancelled'),
('public.webinar_registrations', 'status', 'offered', 'expired', 'not paid in time'),
('public.webinar_registrations', 'status', 'held', 'confirmed', 'paid'),
('public.webinar_registrations', 'status', 'held', 'cancelled', 'the webinar is cancelled'),
('public.webinar_registrations', 'status', 'held', 'expired', 'the order ended unpaid'),
('public.webinar_registrations', 'status', 'confirmed', 'cancelled', 'by them, a host, or with the webinar'),
('public.webinar_registrations', 'status', 'confirmed', 'refunded', 'a full refund'),
('public.webinar_registrations', 'status', 'cancelled', 'waiting', 'comes again'),
('public.webinar_registrations', 'status', 'cancelled', 'held', 'comes again'),
('public.webinar_registrations', 'status', 'cancelled', 'confirmed', 'comes again'),
('public.webinar_registrations', 'status', 'refunded', 'waiting', 'comes again'),
('public.webinar_registrations', 'status', 'refunded', 'held', 'comes again'),
('public.webinar_registrations', 'status', 'refunded', 'confirmed', 'comes again, or the refund failed'),
('public.webinar_registrations', 'status', 'expired', 'waiting', 'comes again'),
('public.webinar_registrations', 'status', 'expired', 'held', 'comes again'),
('public.webinar_registrations', 'status', 'expired', 'confirmed', 'comes again');
select private.build_moves('public.webinar_registrations', 'status');

create trigger touch_updated_at before update on public.webinar_registrations
for each row execute function private.touch_updated_at();

-- Beside the webinar's own row, which comes before the lock of its seats; whoever counts here holds that lock, so that
-- nobody waits for the row.
create table public.webinar_counts (
    webinar_id uuid not null,
    registrations_count integer not null default 0,
    constraint webinar_counts_pkey primary key (webinar_id),
    constraint webinar_counts_webinar_id_fkey foreign key (webinar_id)
    references public.webinars (id) on delete cascade,
    constraint webinar_counts_registrations_count_check check (registrations_count >= 0)
)
with (fillfactor = 50);
comment on table public.webinar_counts is
'How many are registered: whoever sees the webinar reads it, also as webinars.registrations_count. Kept by triggers.';
comment on column public.webinar_counts.registrations_count is 'Confirmed registrations.';

create function private.begin_webinar_counts() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.webinar_counts (webinar_id) values (new.id);
    return null;
end
$$;
comment on function private.begin_webinar_counts() is 'Trigger: the row with a new webinar''s counts.';
create trigger begin_webinar_counts after insert on public.webinars
for each row execute function private.begin_webinar_counts();

create function private.count_registrations() returns trigger
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    if tg_op = 'INSERT' then
        update public.webinar_counts as w set registrations_count = w.registrations_count + n.change
        from (
            select c.webinar_id, count(*) as change from changed_to as c where c.status = 'confirmed' group by 1
        ) as n
        where w.webinar_id = n.webinar_id;
    else
        update public.webinar_counts as w set registrations_count = w.registrations_count + n.change
        from (
            select c.webinar_id, sum((c.status = 'confirmed')::integer - (b.status = 'confirmed')::integer) as change
            from changed_to as c
            inner join changed_from as b on b.id = c.id
            group by 1
        ) as n
        where w.webinar_id = n.webinar_id and n.change <> 0;
    end if;
    return null;
end
$$;
comment on function private.count_registrations() is
'Trigger: webinar_counts.registrations_count counts confirmed registrations. The seats are locked.';
create trigger count_inserted after insert on public.webinar_registrations referencing new table as changed_to
for each statement execute function private.count_registrations();
create trigger count_changed after update on public.webinar_registrations
referencing old table as changed_from new table as changed_to
for each statement execute function private.count_registrations();
insert into private.counters (counter, relation, key, count_column, truth) values
(
    'webinar_counts.registrations_count', 'public.webinar_counts', 'webinar_id', 'registrations_count',
    'select webinar_id, count(*) from public.webinar_registrations where status = ''confirmed'' group by 1'
);

create function public.registrations_count(webinar public.webinars) returns integer
language sql
stable
set search_path = ''
as $$
    select c.registrations_count from public.webinar_counts as c where c.webinar_id = webinar.id
$$;
comment on function public.registrations_count(public.webinars) is
'Computed field of webinars: how many are registered.';
grant execute on function public.registrations_count(public.webinars) to anon, authenticated;

alter table private.holds
add column webinar_registration_id uuid,
add constraint holds_webinar_registration_id_fkey foreign key (webinar_registration_id)
references public.webinar_registrations (id),
drop constraint holds_holder_check,
add constraint holds_holder_check check (num_nonnulls(order_id, webinar_registration_id) = 1);
comment on column private.holds.webinar_registration_id is
'The registration that has it: an offer, or a seat that nobody paid for.';
create unique index holds_webinar_registration_id_key on private.holds (webinar_registration_id)
where webinar_registration_id is not null;

-- What goes into calendars. One entry for each registration with one uid for life, its own id; the sequence moves when
-- the time does, and when the entry goes or comes again. What was mailed last is remembered, not what is on its way.
create table private.calendar_entries (
    registration_id uuid not null,
    sequence integer not null default 0,
    is_cancelled boolean not null default false,
    changed_at timestamptz not null default now(),
    due_at timestamptz default now(),
    attempts integer not null default 0,
    sent_sequence integer,
    last_error text,
    constraint calendar_entries_pkey primary key (registration_id),
    constraint calendar_entries_registration_id_fkey foreign key (registration_id)
    references public.webinar_registrations (id) on delete cascade
)
with (fillfactor = 80);
create index calendar_entries_due_at_idx on private.calendar_entries (due_at) where due_at is not null;
comment on table private.calendar_entries is
'Calendar entries of registrations and what is still to be mailed of them; sent by the workers.';
comment on column private.calendar_entries.sequence is 'SEQUENCE of the entry as it is now.';
comment on column private.calendar_entries.is_cancelled is 'Whether the entry is to go.';
comment on column private.calendar_entries.changed_at is 'When it became so: DTSTAMP.';
comment on column private.calendar_entries.due_at is
'When it is to be mailed or tried again; a claim moves it by its lease. Null: nothing to mail.';
comment on column private.calendar_entries.attempts is 'How often this was claimed.';
comment on column private.calendar_entries.sent_sequence is 'What was mailed last; null: never anything.';
comment on column private.calendar_entries.last_error is 'Why the last attempt failed.';
alter table private.calendar_entries enable row level security;

create function private.note_calendar_entry() returns trigger
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    insert into private.calendar_entries as e (registration_id) values (new.id)
    on conflict on constraint calendar_entries_pkey do update set
        sequence = e.sequence + 1, is_cancelled = new.status <> 'confirmed', changed_at = clock_timestamp(),
        due_at = clock_timestamp(), attempts = 0;
    return null;
end
$$;
comment on function private.note_calendar_entry() is
'Trigger: whoever gets a seat gets a calendar entry, whoever loses it loses the entry.';
create trigger note_calendar_entry_new after insert on public.webinar_registrations
for each row when (new.status = 'confirmed') execute function private.note_calendar_entry();
create trigger note_calendar_entry after update of status on public.webinar_registrations
for each row when ((old.status = 'confirmed') <> (new.status = 'confirmed'))
execute function private.note_calendar_entry();

create function private.has_seat(webinar_id uuid, user_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.webinar_registrations as r
        where
            r.webinar_id = has_seat.webinar_id and r.user_id = has_seat.user_id
            and r.status in ('offered', 'held', 'confirmed')
    )
$$;
comment on function private.has_seat(uuid, uuid) is 'Whether a seat is confirmed, held or offered to somebody.';

create function private.is_registered(webinar_id uuid, user_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.webinar_registrations as r
        where r.webinar_id = is_registered.webinar_id and r.user_id = is_registered.user_id
    )
$$;
comment on function private.is_registered(uuid, uuid) is
'Whether somebody is or was registered or waiting: they go on seeing the webinar.';
grant execute on function private.is_registered(uuid, uuid) to authenticated;

create function private.payment_is_open(payable_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.order_items as i
        inner join public.payments as p on p.order_id = i.order_id and p.is_open
        where i.payable_id = payment_is_open.payable_id
    )
$$;
comment on function private.payment_is_open(uuid) is 'Whether money may still arrive for what was agreed.';

create function private.registration_state(registration public.webinar_registrations)
returns public.registration_status
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return case
        when
            registration.status = 'offered' and registration.offer_expires_at <= now()
            and not private.payment_is_open(registration.payable_id)
            then 'expired'
        when
            registration.status = 'waiting' and exists (
                select from public.webinars as w
                where w.id = registration.webinar_id and (w.starts_at <= now() or w.status = 'cancelled')
            )
            then 'expired'
        else registration.status
    end;
end
$$;
comment on function private.registration_state(public.webinar_registrations) is
'How it stands with a registration at this moment.';
grant execute on function private.registration_state(public.webinar_registrations) to authenticated;

create function public.status_now(registration public.webinar_registrations) returns public.registration_status
language sql
stable
set search_path = ''
as $$
    -- The row that is there, as far as the caller reads it: anybody can call this with a row they made up.
    select private.registration_state(r) from public.webinar_registrations as r where r.id = registration.id
$$;
comment on function public.status_now(public.webinar_registrations) is
'Computed field of webinar_registrations: how it stands at this moment, whatever was noted yet.';
grant execute on function public.status_now(public.webinar_registrations) to authenticated;

create function private.next_in_line(webinar_id uuid) returns uuid
language sql
stable
set search_path = ''
as $$
    select r.id
    from public.webinar_registrations as r
    inner join public.profiles as p on p.id = r.user_id and p.deleted_at is null and not p.is_banned
    where r.webinar_id = next_in_line.webinar_id and r.status = 'waiting' and r.offers_count < 100
    order by r.queue_no
    limit 1
$$;
comment on function private.next_in_line(uuid) is
'The registration that gets the next free seat; null when nobody waits who can be given one, then it is anybody''s.';

-- Of seats that are free the first in line gets one: at once where it costs nothing, else as an offer.
create function private.fill_seats(webinar_id uuid) returns integer
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    webinar public.webinars;
    next public.webinar_registrations;
    until timestamptz;
    given integer := 0;
begin
    perform from public.catalog_items as c where c.id = fill_seats.webinar_id for no key update;
    select * into strict webinar from public.webinars as w where w.id = fill_seats.webinar_id;
    if private.webinar_state(webinar) <> 'upcoming' then
        return 0;
    end if;
    loop
        exit when not exists (
            select from public.catalog_items as c where c.id = webinar.id and c.taken < c.stock and c.is_buyable
        );
        select r.* into next from public.webinar_registrations as r where r.id = private.next_in_line(webinar.id);
        exit when next.id is null;
        update public.catalog_items as c set taken = c.taken + 1 where c.id = webinar.id;
        insert into private.holds (item_id, quantity, is_single, webinar_registration_id)
        values (webinar.id, 1, false, next.id);
        if webinar.price_cents = 0 then
            update public.webinar_registrations as r set
                status = 'confirmed', purchase_id = null, queue_no = null, confirmed_at = clock_timestamp(),
                moved_at = null
            where r.id = next.id;
            perform private.notify(next.user_id, 'webinar_seat', null, 'webinar', webinar.id);
        else
            until := least(
                clock_timestamp() + (select s.offer_period from private.settings as s), webinar.starts_at
            );
            update public.webinar_registrations as r set
                status = 'offered', queue_no = null, offers_count = r.offers_count + 1,
                offer_expires_at = until, moved_at = null,
                payable_id = private.add_payable(jsonb_populate_record(null::public.payables, jsonb_build_object(
                    'kind', 'webinar', 'subject_id', next.id, 'part', next.offers_count + 1, 'buyer_id', next.user_id,
                    'seller_id', webinar.host_id, 'title', webinar.title, 'item_id', webinar.id,
                    'amount_cents', webinar.price_cents, 'pay_by', until
                )))
            where r.id = next.id;
            perform private.notify(next.user_id, 'webinar_offer', null, 'webinar', webinar.id);
        end if;
        given := given + 1;
    end loop;
    return given;
end
$$;
comment on function private.fill_seats(uuid) is
'Gives seats that are free to those who wait, in their order; how many. Locks the registry row.';

-- Ends a seat that no purchase has. The registry row is locked.
create function private.give_up_seat(registration_id uuid, status public.registration_status) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    freed uuid;
begin
    delete from private.holds as h where h.webinar_registration_id = give_up_seat.registration_id
    returning h.item_id into freed;
    if freed is not null then
        update public.catalog_items as c set taken = c.taken - 1 where c.id = freed;
    end if;
    update public.webinar_registrations as r set
        status = give_up_seat.status, queue_no = null, offer_expires_at = null
    where r.id = give_up_seat.registration_id and r.status <> give_up_seat.status;
end
$$;
comment on function private.give_up_seat(uuid, public.registration_status) is
'A registration has no seat, or no place in the queue, any more; a hold of its own ends.';

create function private.expire_seats(webinar_id uuid) returns integer
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    due public.webinar_registrations;
    over boolean;
    ended integer := 0;
begin
    select w.status <> 'upcoming' or w.starts_at <= clock_timestamp() into strict over
    from public.webinars as w where w.id = expire_seats.webinar_id;
    if over then
        for due in
            select * from public.webinar_registrations as r
            where r.webinar_id = expire_seats.webinar_id and r.status = 'waiting'
            order by r.queue_no
        loop
            perform private.give_up_seat(due.id, 'expired');
            ended := ended + 1;
        end loop;
    end if;
    for due in
        select r.* from public.webinar_registrations as r
        where
            r.webinar_id = expire_seats.webinar_id and r.status = 'offered'
            and r.offer_expires_at <= clock_timestamp()
        order by r.id
    loop
        -- Whoever has it now is just paying: that decides.
        perform from public.payables as p where p.id = due.payable_id for no key update skip locked;
        continue when not found or not private.end_payable(due.payable_id, 'lapsed');
        perform private.give_up_seat(due.id, 'expired');
        ended := ended + 1;
    end loop;
    return ended;
end
$$;
comment on function private.expire_seats(uuid) is
'Applies deadlines that have passed: offers, and the queue at the start. How many ended. The registry row is locked.';

-- Before anything is done with seats.
create function private.settle_seats(webinar_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.lock_items(array[settle_seats.webinar_id]);
    if private.expire_seats(settle_seats.webinar_id) > 0 then
        perform private.fill_seats(settle_seats.webinar_id);
    end if;
end
$$;
comment on function private.settle_seats(uuid) is
'Locks the seats of a webinar and applies what is due: ended offers go to the next in line.';

create function private.use_new_seats() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.fill_seats(new.id);
    return null;
end
$$;
comment on function private.use_new_seats() is 'Trigger, after sync_catalog_item: more seats are for those who wait.';
create trigger use_new_seats after update of max_attendees on public.webinars
for each row when (new.max_attendees is distinct from old.max_attendees) execute function private.use_new_seats();

-- May this person have a seat at all? Before the lock; visible and not blocked was asked.
create function private.registration_refusal(
    webinar public.webinars, member uuid, out problem text, out detail text
)
language plpgsql
stable
set search_path = ''
as $$
declare
    own public.webinar_registrations;
begin
    select * into own from public.webinar_registrations as r
    where r.webinar_id = webinar.id and r.user_id = member;
    detail := webinar.id::text;
    problem := case
        when private.webinar_state(webinar) <> 'upcoming' then 'webinar_not_open'
        when private.is_webinar_host(webinar.id, member) then 'own_item'
        when own.was_removed then 'webinar_not_open'
        when own.status = 'confirmed' then 'already_registered'
        when own.status = 'offered' and private.registration_state(own) = 'offered' then 'seat_offered'
    end;
    if problem = 'seat_offered' then
        detail := own.payable_id::text;
    end if;
end
$$;
comment on function private.registration_refusal(public.webinars, uuid) is
'Why somebody cannot register for a webinar, or null.';

create function private.visible_webinar(webinar_id uuid) returns public.webinars
language plpgsql
stable
set search_path = ''
as $$
declare
    webinar public.webinars;
begin
    select w.* into webinar
    from public.webinars as w
    inner join public.catalog_items as c on c.id = w.id
    where
        w.id = visible_webinar.webinar_id and c.is_visible
        and w.host_id <> all(array(select private.blocked_ids()));
    if webinar.id is null then
        perform private.fail('webinar_not_found', visible_webinar.webinar_id::text);
    end if;
    return webinar;
end
$$;
comment on function private.visible_webinar(uuid) is
'A webinar the caller sees in the shop. Error: webinar_not_found.';

create function public.register_for_webinar(webinar_id uuid) returns public.webinar_registrations
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    member uuid := private.require_member();
    webinar public.webinars := private.visible_webinar(register_for_webinar.webinar_id);
    refusal record;
    registration public.webinar_registrations;
begin
    select * into refusal from private.registration_refusal(webinar, member);
    if refusal.problem is not null then
        perform private.fail(refusal.problem, refusal.detail);
    end if;
    -- The lock: nothing is counted before it. The webinar's own row is read again after it: whoever moves or cancels it
    -- holds this one.
    perform private.lock_items(array[webinar.id]);
    if exists (
        select from public.webinar_registrations as r
        where r.webinar_id = webinar.id and r.status in ('held', 'offered')
    ) then
        perform private.settle_seats(webinar.id);
    end if;
    select * into strict webinar from public.webinars as w where w.id = webinar.id;
    if private.webinar_state(webinar) <> 'upcoming' then
        perform private.fail('webinar_not_open', webinar.id::text);
    elsif webinar.price_cents > 0 then
        perform private.fail('payment_required', webinar.id::text);
    end if;
    insert into public.webinar_registrations as r (webinar_id, user_id, status, confirmed_at)
    values (webinar.id, member, 'confirmed', clock_timestamp())
    on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
        status = 'confirmed', purchase_id = null, confirmed_at = excluded.confirmed_at, moved_at = null
    where r.status in ('cancelled', 'refunded', 'expired') and not r.was_removed
    returning * into registration;
    if registration.id is null then
        select * into registration from public.webinar_registrations as r
        where r.webinar_id = webinar.id and r.user_id = member;
        perform private.fail(
            case when registration.status = 'waiting' then 'webinar_full' else 'already_registered' end,
            webinar.id::text
        );
    end if;
    if private.next_in_line(webinar.id) is not null then
        perform private.fail('webinar_full', webinar.id::text);
    end if;
    update public.catalog_items as c set taken = c.taken + 1
    where c.id = webinar.id and c.is_buyable and c.taken < c.stock;
    if not found then
        perform private.fail('webinar_full', webinar.id::text);
    end if;
    insert into private.holds (item_id, quantity, is_single, webinar_registration_id)
    values (webinar.id, 1, false, registration.id);
    return registration;
end
$$;
comment on function public.register_for_webinar(uuid) is
'Takes a seat in a free webinar; one at a price is bought with checkout(). A calendar entry is mailed. Errors: '
'webinar_not_found, webinar_not_open (it has begun, ended or was cancelled, or the caller was removed), own_item, '
'already_registered, seat_offered (the detail is the payable), webinar_full (also while somebody waits: '
'join_waiting_list()), payment_required.';
grant execute on function public.register_for_webinar(uuid) to authenticated;

create function public.join_waiting_list(webinar_id uuid) returns public.webinar_registrations
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    webinar public.webinars := private.visible_webinar(join_waiting_list.webinar_id);
    refusal record;
    registration public.webinar_registrations;
begin
    perform private.settle_seats(webinar.id);
    select * into strict webinar from public.webinars as w where w.id = webinar.id;
    select * into refusal from private.registration_refusal(webinar, member);
    if refusal.problem is not null then
        perform private.fail(refusal.problem, refusal.detail);
    end if;
    if private.next_in_line(webinar.id) is null and exists (
        select from public.catalog_items as c where c.id = webinar.id and c.taken < c.stock
    ) then
        perform private.fail('seats_available', webinar.id::text);
    end if;
    insert into public.webinar_registrations as r (webinar_id, user_id, status, queue_no)
    values (webinar.id, member, 'waiting', nextval('private.queue_numbers'))
    on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
        status = 'waiting', queue_no = excluded.queue_no, purchase_id = null
    where r.status in ('cancelled', 'refunded', 'expired')
    returning * into registration;
    if registration.id is null then
        perform private.fail('already_registered', webinar.id::text);
    end if;
    return registration;
end
$$;
comment on function public.join_waiting_list(uuid) is
'Waits for a seat, at the end of the queue: of a free webinar the first in line gets a seat that becomes free, of one '
'at '
'a price it is offered to them until offer_expires_at (checkout_payable()). Errors: webinar_not_found, '
'webinar_not_open, '
'own_item, already_registered (also who waits already, or has an order to pay), seat_offered, seats_available.';
grant execute on function public.join_waiting_list(uuid) to authenticated;

-- What selling asks.

create function private.webinar_check_option(ids uuid[], options public.catalog_options[]) returns void
language plpgsql
set search_path = ''
as $$
begin
    if cardinality(options) > 0 then
        perform private.fail('invalid_option', 'a webinar has none');
    end if;
end
$$;
comment on function private.webinar_check_option(uuid[], public.catalog_options[]) is 'Hook check_option: none.';

create function private.is_full(webinar_id uuid, member uuid) returns boolean
language sql
stable
set search_path = ''
as $$
    -- An offer that has ended is nobody's, noted or not; whoever's own order holds a seat has one.
    select
        not exists (
            select from public.webinar_registrations as r
            where r.webinar_id = c.id and r.user_id = is_full.member and r.status = 'held'
        )
        and (
            c.taken - (
                select count(*) from public.webinar_registrations as r
                where r.webinar_id = c.id and r.status = 'offered' and private.registration_state(r) = 'expired'
            ) >= c.stock
            or private.next_in_line(c.id) is not null
        )
    from public.catalog_items as c
    where c.id = is_full.webinar_id
$$;
comment on function private.is_full(uuid, uuid) is
'Whether a webinar has no seat for somebody, as it looks without a lock: for showing it. Who takes one counts again.';

create function private.webinar_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
stable
set search_path = ''
as $$
begin
    return query
    select
        l.no, w.description, null::public.license_type, null::text, null::integer,
        jsonb_build_object('starts_at', w.starts_at, 'time_zone', w.time_zone), 0::bigint,
        case
            when l.details <> '{}' then 'line_not_valid'
            when l.quantity <> 1 then 'quantity_not_allowed'
            when l.unit_price_cents = 0 then 'registration_is_free'
            when f.problem is null and private.is_full(w.id, l.buyer_id) then 'webinar_full'
            else f.problem
        end,
        case when l.details <> '{}' then 'details' else f.detail end, 0::bigint, false
    from unnest(lines) as l
    inner join public.webinars as w on w.id = l.item_id
    cross join lateral private.registration_refusal(w, l.buyer_id) as f;
end
$$;
comment on function private.webinar_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: one seat for a person, before the start.';

create function private.webinar_take(ids uuid[], taker uuid) returns void
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    buyer uuid := (select o.user_id from public.orders as o where o.id = taker);
    wanted uuid;
    taken_by uuid;
begin
    foreach wanted in array ids loop
        perform private.settle_seats(wanted);
        if not exists (
            select from public.webinars as w
            where w.id = wanted and w.status = 'upcoming' and w.starts_at > clock_timestamp()
        ) then
            perform private.fail('webinar_not_open', wanted::text);
        elsif private.next_in_line(wanted) is not null or exists (
            select from public.catalog_items as c where c.id = wanted and c.taken >= c.stock
        ) then
            perform private.fail('webinar_full', wanted::text);
        end if;
        insert into public.webinar_registrations as r (webinar_id, user_id, status)
        values (wanted, buyer, 'held')
        on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
            status = 'held', purchase_id = null, moved_at = null
        where r.status in ('cancelled', 'refunded', 'expired') and not r.was_removed
        returning r.id into taken_by;
        if taken_by is null then
            perform private.fail('already_registered', wanted::text);
        end if;
    end loop;
end
$$;
comment on function private.webinar_take(uuid[], uuid) is
'Hook take: not after the start, not past the queue, one for a person. Errors: webinar_not_open, webinar_full, '
'already_registered.';

create function private.webinar_freed(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    freed uuid;
begin
    foreach freed in array ids loop
        update public.webinar_registrations as r set status = 'expired'
        where
            r.webinar_id = freed and r.status = 'held' and not exists (
                select from private.holds as h
                inner join public.orders as o on o.id = h.order_id
                where h.item_id = freed and o.user_id = r.user_id
            );
        perform private.settle_seats(freed);
        perform private.fill_seats(freed);
    end loop;
end
$$;
comment on function private.webinar_freed(uuid[]) is
'Hook freed: whose order held it has no seat any more, and the next in line has.';

create function private.webinar_grant(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    -- What was offered is sold now: the offer's hold ends, taken stays as it is.
    delete from private.holds as h
    using public.purchases as p
    inner join public.webinar_registrations as r on r.webinar_id = p.item_id and r.user_id = p.owner_id
    where p.id = any (ids) and h.webinar_registration_id = r.id;
    insert into public.webinar_registrations as r (webinar_id, user_id, status, purchase_id, confirmed_at)
    select p.item_id, p.owner_id, 'confirmed', p.id, clock_timestamp()
    from public.purchases as p
    where p.id = any (ids)
    order by p.item_id, p.owner_id
    on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
        status = 'confirmed', purchase_id = excluded.purchase_id,
        confirmed_at = excluded.confirmed_at, queue_no = null, offer_expires_at = null;
end
$$;
comment on function private.webinar_grant(uuid[]) is 'Hook grant: the seats are confirmed.';

create function private.webinar_revoke(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    freed uuid;
begin
    update public.webinar_registrations as r set
        status = case when reason in ('refunded', 'declined') then 'refunded' else 'cancelled' end
            ::public.registration_status
    where r.purchase_id = any (ids) and r.status = 'confirmed';
    for freed in
        select distinct p.item_id from public.purchases as p where p.id = any (ids) order by p.item_id
    loop
        perform private.settle_seats(freed);
        perform private.fill_seats(freed);
    end loop;
end
$$;
comment on function private.webinar_revoke(uuid[], text) is
'Hook revoke: who had these seats cannot enter any more, and the next in line gets them.';

create function private.webinar_restore(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    back record;
begin
    for back in
        select r.id, r.webinar_id, p.id as purchase_id, c.taken > c.stock as is_over
        from public.purchases as p
        inner join public.webinar_registrations as r on r.webinar_id = p.item_id and r.user_id = p.owner_id
        inner join public.catalog_items as c on c.id = p.item_id
        inner join public.webinars as w on w.id = p.item_id and w.status <> 'cancelled'
        where p.id = any (ids)
        order by r.id
    loop
        -- Registered again meanwhile, waiting or with an offer: that ends, this is theirs.
        update public.payables as a set status = 'withdrawn'
        from public.webinar_registrations as r
        where r.id = back.id and r.status = 'offered' and a.id = r.payable_id and a.status = 'open';
        perform private.give_up_seat(back.id, 'expired')
        from public.webinar_registrations as r
        where r.id = back.id and r.status in ('waiting', 'offered');
        update public.webinar_registrations as r set
            status = 'confirmed', purchase_id = back.purchase_id,
            confirmed_at = coalesce(r.confirmed_at, clock_timestamp())
        where r.id = back.id;
        if back.is_over then
            perform private.audit(
                'overbooked_by_failed_refund', 'webinar', back.webinar_id,
                jsonb_build_object('registration_id', back.id, 'purchase_id', back.purchase_id)
            );
        end if;
    end loop;
end
$$;
comment on function private.webinar_restore(uuid[]) is
'Hook restore: a refund failed, the seat is theirs again, also beyond the last one: then the next that becomes free is '
'not filled. Audited as overbooked_by_failed_refund.';

create function private.sweep_offers(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    due uuid;
    swept integer := 0;
begin
    for due in
        select distinct r.webinar_id from (
            select o.webinar_id from public.webinar_registrations as o
            where o.status = 'offered' and o.offer_expires_at <= now()
            order by o.offer_expires_at
            limit max_rows
        ) as r
        order by r.webinar_id
    loop
        perform from public.catalog_items as c where c.id = due for no key update skip locked;
        if found then
            swept := swept + private.expire_seats(due);
            perform private.fill_seats(due);
        end if;
    end loop;
    return swept;
end
$$;
comment on function private.sweep_offers(integer) is
'Makes ended offers official: their seats go to the next in line. How many; call until 0.';
grant execute on function private.sweep_offers(integer) to avenue_worker;

-- Who reads what.

grant select on public.webinars to anon, authenticated, service_role;
grant
insert (
    title, slug, description, thumbnail_url, cover_image_url, image_media_id, starts_local, time_zone, is_second_hour,
    duration_minutes, price_cents, max_attendees, cancel_before_hours, category_id, tags, is_recorded
),
update (
    title, slug, description, thumbnail_url, cover_image_url, image_media_id, price_cents, max_attendees, category_id,
    tags, is_recorded
)
on public.webinars to authenticated;
create policy webinars_select_anon on public.webinars for select to anon
using (ends_at > now() and (select c.id from public.catalog_items as c where c.id = webinars.id) is not null);
create policy webinars_select on public.webinars for select to authenticated
using (
    host_id = (select private.member_id())
    or ends_at > now() and exists (select from public.catalog_items as c where c.id = webinars.id and c.is_visible)
    or private.is_registered(id, (select private.member_id()))
    or private.is_webinar_host(id, (select private.member_id()))
    or (select private.is_admin())
);
create policy webinars_insert on public.webinars for insert to authenticated
with check (host_id = (select private.member_id()));
create policy webinars_update on public.webinars for update to authenticated
using (host_id = (select private.member_id()))
with check (host_id = (select private.member_id()));

alter table public.webinar_counts enable row level security;
grant select on public.webinar_counts to anon, authenticated, service_role;
create policy webinar_counts_select on public.webinar_counts for select to anon, authenticated
using ((select w.id from public.webinars as w where w.id = webinar_id) is not null);

grant select on public.webinar_co_hosts to anon, authenticated, service_role;
create policy webinar_co_hosts_select_anon on public.webinar_co_hosts for select to anon
using (
    accepted_at is not null and (select w.id from public.webinars as w where w.id = webinar_id) is not null
);
create policy webinar_co_hosts_select on public.webinar_co_hosts for select to authenticated
using (
    user_id = (select private.member_id())
    or private.is_webinar_host(webinar_id, (select private.member_id()))
    or (
        accepted_at is not null and (select w.id from public.webinars as w where w.id = webinar_id) is not null
        and private.can_see(user_id)
    )
);

alter table public.webinar_registrations enable row level security;
grant select on public.webinar_registrations to authenticated, service_role;
create policy webinar_registrations_select on public.webinar_registrations for select to authenticated
using (
    user_id = (select private.member_id())
    or private.is_webinar_host(webinar_id, (select private.member_id()))
    or (select private.is_admin())
);

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('webinar_seat', 'You have a seat', 'A seat became free in a webinar you waited for: it is yours.', null, null,
    'immediate', false),
('webinar_offer', 'A seat is offered to you',
    'A seat became free in a webinar you waited for. It is kept for you for a while: pay to confirm it.', null, null,
    'immediate', false);

insert into private.personal_data (section, relation, condition, stays, reason) values
('webinar_registrations', 'public.webinar_registrations', 't.user_id = $1', '{user_id}',
    'the books: who paid whom for what'),
('calendar_entries', 'private.calendar_entries',
    't.registration_id in (select r.id from public.webinar_registrations as r where r.user_id = $1)', '{}', null);
insert into private.erasure_steps (step, phase, erases, statement) values
('calendar_entries', 'records', '{private.calendar_entries}', $step$
    delete from private.calendar_entries as e using public.webinar_registrations as r
    where r.user_id = $1 and e.registration_id = r.id
$step$);

insert into private.error_codes (code, sqlstate, message, description) values
('webinar_not_open', 'PT409', 'Nobody can register for this webinar any more.',
'It has begun, ended or was cancelled; or the caller was removed from it.'),
('webinar_full', 'PT409', 'All seats are taken.',
'Or somebody waits for the next one. join_waiting_list() is the way to one.'),
('already_registered', 'PT409', 'You are registered already.', 'Or wait for a seat, or have an order for one to pay.'),
('seat_offered', 'PT409', 'A seat is offered to you.', 'The detail is what to pay: checkout_payable().'),
('seats_available', 'PT409', 'There are seats: register.', 'Nobody waits while seats are free.'),
('payment_required', 'PT409', 'This webinar has a price.', 'Buy a seat with checkout().'),
('registration_is_free', 'PT409', 'This webinar is free.', 'Register with register_for_webinar().');
