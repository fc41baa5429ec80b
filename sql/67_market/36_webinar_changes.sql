-- What becomes of a webinar and its seats: it is moved, cancelled, takes place; somebody leaves or is removed. Whoever
-- loses a seat loses it at once, whenever their money arrives.
-- To give money back takes payments and orders, which come before the seats; those who pay meanwhile hold them the
-- other way round. So a cancellation holds the seats first, waits for payments less than it takes PostgreSQL to look
-- for deadlocks, and else lets go and begins again.

create type public.webinar_cancellation as (
    registrations_count integer,
    refunds_count integer,
    refund_cents bigint,
    host_cost_cents bigint
);
comment on type public.webinar_cancellation is
'What cancelling a webinar means: how many people, how many refunds of how much together, and what they cost the host '
'beyond what was earned with it (what the providers keep), cents.';

create type private.webinar_refund as (
    payment_id uuid,
    order_item_id uuid,
    amount_cents bigint,
    cost_cents bigint
);
comment on type private.webinar_refund is
'What would be given back of a sale, and what that costs the host beyond what it brought, cents.';

create function private.webinar_refunds(webinar_id uuid) returns setof private.webinar_refund
language sql
stable
security definer
set search_path = ''
as $$
    select
        t.payment_id, i.id, r.cents,
        s.seller - (t.amount_seller_cents - t.refunded_seller_cents)
    from public.purchases as p
    inner join public.order_items as i on i.id = p.order_item_id
    inner join public.transactions as t on t.order_item_id = i.id
    inner join public.payments as y on y.id = t.payment_id
    cross join lateral (
        -- What is on its way is not given back twice.
        select least(
            t.amount_total_cents - t.refunded_cents - coalesce((
                select sum(r.amount_cents) from public.refunds as r where r.order_item_id = i.id and r.is_open
            ), 0),
            y.amount_cents - coalesce((
                select sum(r.amount_cents) from public.refunds as r
                where r.payment_id = y.id and (r.is_open or r.status = 'succeeded')
            ), 0)
        ) as cents
    ) as r
    cross join lateral private.split_refund(t, t.amount_total_cents - t.refunded_cents, 'seller') as s
    where p.item_id = webinar_refunds.webinar_id and p.kind = 'webinar' and p.revoked_at is null and r.cents > 0
    order by t.payment_id, i.id
$$;
comment on function private.webinar_refunds(uuid) is
'What would be given back if a webinar were cancelled now, sale by sale, and what each costs its host.';

create function private.cancellation_of(webinar_id uuid) returns public.webinar_cancellation
language sql
stable
set search_path = ''
as $$
    select row(
        (
            select count(*) from public.webinar_registrations as r
            where r.webinar_id = cancellation_of.webinar_id and r.status = 'confirmed'
        ),
        count(r.order_item_id), coalesce(sum(r.amount_cents), 0), coalesce(sum(r.cost_cents), 0)
    )::public.webinar_cancellation
    from private.webinar_refunds(cancellation_of.webinar_id) as r
$$;
comment on function private.cancellation_of(uuid) is 'What cancelling it now would mean.';

create function public.webinar_cancellation_cost(webinar_id uuid) returns public.webinar_cancellation
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    perform private.require_host(webinar_cancellation_cost.webinar_id, false);
    return private.cancellation_of(webinar_cancellation_cost.webinar_id);
end
$$;
comment on function public.webinar_cancellation_cost(uuid) is
'Host: what cancel_webinar() would mean now, to be shown before. Error: webinar_not_found.';
grant execute on function public.webinar_cancellation_cost(uuid) to authenticated;

create function private.lock_webinar_sales(webinar_id uuid) returns void
language plpgsql
set search_path = ''
-- Until the function ends.
set lock_timeout = '0'
as $$
begin
    for attempt in 1..100 loop
        begin
            -- Holding nothing yet, it waits for its turn.
            perform set_config('lock_timeout', '0', true);
            perform private.lock_webinar(lock_webinar_sales.webinar_id);
            perform set_config('lock_timeout', '100ms', true);
            perform from public.payments as p
            where p.id in (
                select o.id from public.payments as o
                inner join public.order_items as i on i.order_id = o.order_id
                where
                    i.item_id = lock_webinar_sales.webinar_id and (o.is_open or o.succeeded_at is not null)
            )
            order by p.id
            for no key update;
            perform from public.orders as o
            where o.id in (
                select i.order_id from public.order_items as i where i.item_id = lock_webinar_sales.webinar_id
            )
            order by o.id
            for no key update;
            perform from public.payables as p
            where p.item_id = lock_webinar_sales.webinar_id and p.status = 'open'
            order by p.id
            for no key update;
            return;
        exception when lock_not_available then
            -- Whoever was in the way waits for the seats, perhaps, and is through now.
            perform pg_catalog.pg_sleep(0.02);
        end;
    end loop;
    perform private.fail('webinar_busy', lock_webinar_sales.webinar_id::text);
end
$$;
comment on function private.lock_webinar_sales(uuid) is
'Locks a webinar, its seats, and the money for them. Errors: webinar_not_found, webinar_busy.';

create function private.end_webinar(webinar_id uuid, reason text) returns public.webinar_cancellation
language plpgsql
set search_path = ''
as $$
declare
    told private.notice[];
    gone uuid[];
    dues private.webinar_refund[];
    due private.webinar_refund;
    attempt uuid;
    answer public.webinar_cancellation;
begin
    answer := private.cancellation_of(end_webinar.webinar_id);
    told := array(
        select row('webinar_cancelled', r.user_id, null, 'webinar', end_webinar.webinar_id, null)::private.notice
        from public.webinar_registrations as r
        where r.webinar_id = end_webinar.webinar_id and r.status in ('waiting', 'offered', 'held', 'confirmed')
        union all
        select row('webinar_cancelled', h.user_id, null, 'webinar', h.webinar_id, null)::private.notice
        from public.webinar_co_hosts as h
        where h.webinar_id = end_webinar.webinar_id and h.accepted_at is not null
    );
    dues := array(select r from private.webinar_refunds(end_webinar.webinar_id) as r);
    update public.webinars as w set status = 'cancelled', cancelled_reason = end_webinar.reason
    where w.id = end_webinar.webinar_id;
    -- Nobody enters any more, nobody pays any more.
    update public.payables as a set status = 'withdrawn'
    where a.item_id = end_webinar.webinar_id and a.status = 'open';
    delete from private.holds as h where h.item_id = end_webinar.webinar_id and h.webinar_registration_id is not null;
    perform private.end_holds(end_webinar.webinar_id);
    update public.webinar_registrations as r set status = 'cancelled', queue_no = null, offer_expires_at = null
    where r.webinar_id = end_webinar.webinar_id and r.status in ('waiting', 'offered', 'held', 'confirmed');
    with ended as (
        update public.purchases as p set revoked_at = now(), revoked_reason = 'cancelled'
        where p.item_id = end_webinar.webinar_id and p.kind = 'webinar' and p.revoked_at is null
        returning p.id
    )

    select array_agg(e.id) into gone from ended as e;
    if gone is not null then
        perform private.free_purchases(gone, 'cancelled');
    end if;
    for attempt in
        select p.id from public.payments as p
        where
            p.is_open and p.order_id in (
                select i.order_id from public.order_items as i where i.item_id = end_webinar.webinar_id
            )
        order by p.id
    loop
        perform private.stop_payment(attempt, 'webinar_cancelled');
    end loop;
    -- Money, each sale once, by the way every refund goes: sent by the workers under its own key.
    perform from public.transactions as t
    where t.order_item_id in (select d.order_item_id from unnest(dues) as d)
    order by t.id
    for no key update;
    perform private.lock_wallets(array(
        select u.id from (
            select e.payee_id as id
            from unnest(dues) as d
            inner join public.transactions as t on t.payment_id = d.payment_id
            inner join public.transaction_payees as e on e.transaction_id = t.id
            where t.payment_processor = 'wallet'
            union
            select t.buyer_id
            from unnest(dues) as d
            inner join public.transactions as t on t.order_item_id = d.order_item_id
            where t.payment_processor = 'wallet'
        ) as u
    ));
    foreach due in array dues loop
        perform private.create_refund(due.payment_id, due.order_item_id, due.amount_cents, 'webinar_cancelled');
    end loop;
    perform private.notify_many(told);
    return answer;
end
$$;
comment on function private.end_webinar(uuid, text) is
'Cancels a webinar: seats, offers, the queue and access end, and everybody gets back what they paid. All is locked '
'(lock_webinar_sales()).';

create function public.cancel_webinar(webinar_id uuid, reason text, agreed_cost_cents bigint)
returns public.webinar_cancellation
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    is_host boolean := private.is_webinar_host(cancel_webinar.webinar_id, member, false);
    webinar public.webinars;
    cost public.webinar_cancellation;
    words text;
begin
    if not is_host and not private.is_admin() then
        perform private.fail('webinar_not_found', cancel_webinar.webinar_id::text);
    end if;
    words := private.require_reason(cancel_webinar.reason);
    perform private.lock_webinar_sales(cancel_webinar.webinar_id);
    select * into strict webinar from public.webinars as w where w.id = cancel_webinar.webinar_id;
    if private.webinar_state(webinar) <> 'upcoming' then
        perform private.refuse_state('webinar', private.webinar_state(webinar));
    end if;
    cost := private.cancellation_of(webinar.id);
    if cost.host_cost_cents is distinct from agreed_cost_cents then
        perform private.fail('cost_changed', cost.host_cost_cents::text);
    end if;
    perform private.end_webinar(webinar.id, words);
    if not is_host then
        perform private.audit('cancel_webinar', 'webinar', webinar.id, jsonb_build_object(
            'reason', words, 'refunds', cost.refunds_count, 'refund_cents', cost.refund_cents
        ));
    end if;
    return cost;
end
$$;
comment on function public.cancel_webinar(uuid, text, bigint) is
'Host (or an admin, audited): cancels a webinar that has not begun. Access ends at once, everybody gets back all they '
'paid, what the providers keep is the host''s: agreed_cost_cents is what webinar_cancellation_cost() said. Errors: '
'webinar_not_found, reason_required, state_changed, cost_changed (the detail is what it is now; nothing was '
'cancelled), '
'webinar_busy.';
grant execute on function public.cancel_webinar(uuid, text, bigint) to authenticated;

create function public.reschedule_webinar(
    webinar_id uuid,
    starts_local timestamp,
    time_zone text default null,
    duration_minutes integer default null,
    is_second_hour boolean default null
) returns public.webinars
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    host uuid := private.require_host(reschedule_webinar.webinar_id, false);
    webinar public.webinars := private.lock_webinar(reschedule_webinar.webinar_id);
    moved public.webinars;
begin
    if private.webinar_state(webinar) <> 'upcoming' then
        perform private.refuse_state('webinar', private.webinar_state(webinar));
    elsif reschedule_webinar.starts_local is null then
        perform private.fail('time_does_not_exist');
    end if;
    update public.webinars as w set
        starts_local = reschedule_webinar.starts_local,
        time_zone = coalesce(reschedule_webinar.time_zone, w.time_zone),
        duration_minutes = coalesce(reschedule_webinar.duration_minutes, w.duration_minutes),
        is_second_hour = reschedule_webinar.is_second_hour
    where w.id = webinar.id
    returning * into moved;
    if (moved.starts_at, moved.ends_at) <> (webinar.starts_at, webinar.ends_at) then
        -- Until the new start people may leave with their money: some time has to be left for it.
        if moved.starts_at < least(webinar.starts_at, clock_timestamp() + interval '1 hour') then
            perform private.fail('time_too_soon', moved.starts_at::text);
        end if;
        -- Each is told and mailed.
        perform private.count_activity('webinar_move', 1);
        perform private.follow_move(webinar.id);
        select * into strict moved from public.webinars as w where w.id = webinar.id;
    end if;
    return moved;
end
$$;
comment on function public.reschedule_webinar(uuid, timestamp, text, integer, boolean) is
'Host: another time. Seats and payments stay, everybody is told and gets the calendar entry anew; who was registered '
'before may leave with all their money until the new start. Errors: webinar_not_found, state_changed (it has begun, '
'ended '
'or was cancelled), time_zone_not_known, time_does_not_exist, time_is_ambiguous, time_has_passed, time_too_soon '
'(brought '
'forward to less than an hour from now), time_too_far, slot_taken, too_many_actions.';
grant execute on function public.reschedule_webinar(uuid, timestamp, text, integer, boolean) to authenticated;

create function private.follow_move(webinar_id uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
    webinar public.webinars;
begin
    update public.webinars as w set moved_at = clock_timestamp(), moves_count = w.moves_count + 1
    where w.id = follow_move.webinar_id
    returning * into strict webinar;
    -- An offer does not outlast the start. Who is just paying has it.
    update public.payables as a set pay_by = webinar.starts_at
    where
        a.id in (
            select o.id from public.payables as o
            where o.item_id = webinar.id and o.status = 'open' and o.pay_by > webinar.starts_at
            order by o.id
            for no key update skip locked
        );
    update public.webinar_registrations as r set moved_at = webinar.moved_at
    where
        r.webinar_id = webinar.id and (
            r.status in ('held', 'confirmed')
            or r.status = 'offered' and private.payment_is_open(r.payable_id)
        );
    update public.webinar_registrations as r set offer_expires_at = webinar.starts_at
    where r.webinar_id = webinar.id and r.status = 'offered' and r.offer_expires_at > webinar.starts_at;
    update private.calendar_entries as e set
        sequence = e.sequence + 1, changed_at = clock_timestamp(), due_at = clock_timestamp(), attempts = 0
    from public.webinar_registrations as r
    where r.webinar_id = webinar.id and r.status = 'confirmed' and e.registration_id = r.id;
    perform private.notify_many(array(
        select row('webinar_moved', u.id, null, 'webinar', webinar.id, null)::private.notice
        from (
            select r.user_id as id from public.webinar_registrations as r
            where r.webinar_id = webinar.id and r.status in ('waiting', 'offered', 'held', 'confirmed')
            union
            select h.user_id from public.webinar_co_hosts as h
            where h.webinar_id = webinar.id and h.accepted_at is not null
        ) as u
        order by u.id
    ));
end
$$;
comment on function private.follow_move(uuid) is
'After a webinar got another time: offers, calendars, and everybody is told. It is locked.';

-- Rules about clocks change, mostly at short notice: what a host entered stays, the instant follows.
create function private.follow_time_zones(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    webinar public.webinars;
    followed integer := 0;
begin
    for webinar in
        select * from public.webinars as w
        where w.status = 'upcoming' and w.starts_at > now() and w.starts_at at time zone w.time_zone <> w.starts_local
        order by w.id
        limit max_rows
        for no key update skip locked
    loop
        begin
            -- By the trigger, which derives it anew when any of it changes.
            update public.webinars as w set is_second_hour = not coalesce(w.is_second_hour, false)
            where w.id = webinar.id;
            perform private.follow_move(webinar.id);
            followed := followed + 1;
        exception when sqlstate 'PT400' or sqlstate 'PT409' then
            -- The time is gone, or the host is busy then: people must look at it.
            perform private.audit('webinar_time_unclear', 'webinar', webinar.id, jsonb_build_object(
                'starts_local', webinar.starts_local, 'time_zone', webinar.time_zone
            ));
        end;
    end loop;
    return followed;
end
$$;
comment on function private.follow_time_zones(integer) is
'After the server learnt of new rules of a time zone: derives the start of webinars to come anew. How many.';
grant execute on function private.follow_time_zones(integer) to avenue_worker;

-- Somebody loses their seat, or their place in the queue.
create function private.end_seat(
    webinar_id uuid, user_id uuid, is_removal boolean, origin public.refund_origin, reason text
) returns public.webinar_registrations
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    webinar public.webinars;
    own public.webinar_registrations;
    sale public.transactions;
    before uuid;
    due bigint;
begin
    select * into own from public.webinar_registrations as r
    where r.webinar_id = end_seat.webinar_id and r.user_id = end_seat.user_id;
    if own.id is null then
        perform private.fail('registration_not_found', end_seat.user_id::text);
    end if;
    before := own.purchase_id;
    -- What was paid for is locked as everything with money is: payment, order, seats. What a discount made free is no
    -- sale.
    select t.* into sale
    from public.purchases as p
    inner join public.transactions as t on t.order_item_id = p.order_item_id
    where p.id = own.purchase_id;
    if before is not null then
        perform from public.payments as p where p.id = sale.payment_id for no key update;
        perform private.lock_orders(array(
            select i.order_id from public.order_items as i
            inner join public.purchases as p on p.order_item_id = i.id
            where p.id = before
        ));
    end if;
    perform private.settle_seats(end_seat.webinar_id);
    select * into strict webinar from public.webinars as w where w.id = end_seat.webinar_id;
    select * into strict own from public.webinar_registrations as r where r.id = own.id;
    if
        own.status not in ('waiting', 'offered', 'confirmed')
        or own.purchase_id is distinct from before
        or private.webinar_state(webinar) in ('ended', 'cancelled')
    then
        perform private.refuse_state('webinar_registration', own.status);
    end if;
    if own.status = 'offered' then
        perform from public.payables as p where p.id = own.payable_id for no key update skip locked;
        if not found or not private.end_payable(own.payable_id, 'withdrawn') then
            perform private.refuse_state('webinar_registration', 'being_paid'::text);
        end if;
    end if;
    if own.status = 'confirmed' and not is_removal and (
        webinar.starts_at <= clock_timestamp()
        or sale.id is not null and own.moved_at is null
        and webinar.starts_at - webinar.cancel_before_hours * interval '1 hour' < clock_timestamp()
    ) then
        perform private.fail('cannot_cancel', own.id::text);
    end if;
    if is_removal then
        update public.webinar_registrations as r set was_removed = true where r.id = own.id;
    end if;
    if own.status = 'confirmed' and own.purchase_id is not null then
        select w.amount_cents into due from private.webinar_refunds(webinar.id) as w
        where w.order_item_id = sale.order_item_id;
        if due > 0 then
            perform private.refund_line(
                sale.id, due, end_seat.reason, end_seat.origin,
                -- Who steps back within the host's limit does so at the platform's cost.
                case when is_removal or own.moved_at is not null then 'seller' else 'platform' end
            );
        end if;
        perform private.revoke_line(i.id, case when is_removal then 'removed' else 'cancelled' end)
        from public.order_items as i
        inner join public.purchases as p on p.order_item_id = i.id
        where p.id = own.purchase_id;
    else
        perform private.give_up_seat(own.id, 'cancelled');
        perform private.fill_seats(webinar.id);
    end if;
    select * into strict own from public.webinar_registrations as r where r.id = own.id;
    return own;
end
$$;
comment on function private.end_seat(uuid, uuid, boolean, public.refund_origin, text) is
'Ends a registration, an offer or a place in the queue, with the money of what was paid for; the seat goes to the next '
'in line. Errors: registration_not_found, state_changed, cannot_cancel, insufficient_funds.';

create function public.cancel_registration(webinar_id uuid) returns public.webinar_registrations
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    return private.end_seat(cancel_registration.webinar_id, member, false, 'automatic', 'cancelled_by_buyer');
end
$$;
comment on function public.cancel_registration(uuid) is
'Gives up one''s seat before the start, declines an offer, or leaves the queue. Of a seat that was paid for all money '
'comes back, until cancel_before_hours before the start; of one that was moved since, until the new start. Errors: '
'registration_not_found, state_changed (an order or an offer is just being paid: cancel_order(); or it is over), '
'cannot_cancel (too late).';
grant execute on function public.cancel_registration(uuid) to authenticated;

create function public.remove_registration(webinar_id uuid, user_id uuid, reason text)
returns public.webinar_registrations
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    is_host boolean := private.is_webinar_host(remove_registration.webinar_id, member, false);
    words text;
    removed public.webinar_registrations;
begin
    if not is_host and not private.is_admin() then
        perform private.fail('webinar_not_found', remove_registration.webinar_id::text);
    end if;
    words := private.require_reason(remove_registration.reason);
    removed := private.end_seat(
        remove_registration.webinar_id, remove_registration.user_id, true,
        case when is_host then 'seller' else 'admin' end::public.refund_origin, words
    );
    perform private.notify(removed.user_id, 'webinar_removed', null, 'webinar', removed.webinar_id);
    if not is_host then
        perform private.audit('remove_registration', 'webinar', removed.webinar_id, jsonb_build_object(
            'user_id', removed.user_id, 'reason', words
        ));
    end if;
    return removed;
end
$$;
comment on function public.remove_registration(uuid, uuid, text) is
'Host (or an admin, audited): somebody is not registered any more and cannot register again. They cannot enter from '
'now '
'on, and get back all they paid. Errors: webinar_not_found, reason_required, registration_not_found, state_changed, '
'insufficient_funds (the host would owe too much).';
grant execute on function public.remove_registration(uuid, uuid, text) to authenticated;

-- What time brings.
create index transactions_unfinished_webinars_idx on public.transactions (related_id)
where kind = 'webinar' and completed_at is null;

create function private.sweep_webinars(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    webinar public.webinars;
    swept integer := 0;
begin
    for webinar in
        select w.* from public.webinars as w
        where
            w.status = 'upcoming' and w.starts_at <= clock_timestamp()
            or w.status = 'live' and w.ends_at <= clock_timestamp()
        order by w.ends_at
        limit max_rows
        for no key update skip locked
    loop
        perform private.lock_items(array[webinar.id]);
        if webinar.status = 'upcoming' then
            update public.webinars as w set status = 'live' where w.id = webinar.id;
            perform private.expire_seats(webinar.id);
        end if;
        if webinar.ends_at <= clock_timestamp() then
            update public.webinars as w set status = 'ended' where w.id = webinar.id;
        end if;
        swept := swept + 1;
    end loop;
    -- Earned with its end; also what was paid or given back late.
    perform private.complete_lines(d.lines, d.ends_at)
    from (
        select array_agg(t.order_item_id) as lines, w.ends_at
        from public.transactions as t
        inner join public.webinars as w on w.id = t.related_id
        where
            t.kind = 'webinar' and t.completed_at is null and t.status <> 'refunded' and w.status = 'ended'
        group by w.id
        order by w.id
    ) as d;
    return swept;
end
$$;
comment on function private.sweep_webinars(integer) is
'Makes official what the clock says: webinars begin and end, and what they promised is done. How many; call until 0.';
grant execute on function private.sweep_webinars(integer) to avenue_worker;

create function private.webinars_without_host(max_rows integer) returns setof uuid
language sql
stable
security definer
set search_path = ''
as $$
    select w.id from public.webinars as w
    inner join public.profiles as p on p.id = w.host_id
    where
        w.status = 'upcoming' and w.starts_at > now() and (
            p.is_banned or p.deleted_at is not null
            -- Taken down: nobody enters, so nothing is earned. Until the doors would open it may be shown again.
            or w.is_hidden and w.starts_at <= now() + (select s.join_before from private.settings as s)
        )
    order by w.starts_at
    limit max_rows
$$;
comment on function private.webinars_without_host(integer) is
'Webinars to come whose host was banned or has left, or that are still taken down when people would enter: to be '
'cancelled.';
grant execute on function private.webinars_without_host(integer) to avenue_worker;

create function private.cancel_for_host(webinar_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_webinar_sales(cancel_for_host.webinar_id);
    if not exists (
        select from public.webinars as w
        where w.id = cancel_for_host.webinar_id and w.status = 'upcoming' and w.starts_at > clock_timestamp()
    ) then
        return false;
    end if;
    perform private.end_webinar(
        cancel_for_host.webinar_id,
        case when exists (
            select from public.webinars as w
            inner join public.profiles as p on p.id = w.host_id and not p.is_banned and p.deleted_at is null
            where w.id = cancel_for_host.webinar_id and w.is_hidden
        ) then 'It was taken down.' else 'The host is not here any more.' end
    );
    return true;
end
$$;
comment on function private.cancel_for_host(uuid) is
'Cancels a webinar to come whose host is gone, or that was taken down. False when there is nothing to cancel any more.';
grant execute on function private.cancel_for_host(uuid) to avenue_worker;

create function private.leave_webinars(member uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    seat record;
begin
    perform private.cancel_for_host(w.id)
    from public.webinars as w
    where w.host_id = member and w.status = 'upcoming' and w.starts_at > clock_timestamp();
    for seat in
        select r.id, r.webinar_id, r.payable_id, r.status from public.webinar_registrations as r
        where
            r.user_id = member and (
                r.status in ('waiting', 'offered') or r.status = 'confirmed' and r.purchase_id is null
            )
        order by r.webinar_id
    loop
        if seat.status = 'offered' then
            update public.payables as p set status = 'withdrawn' where p.id = seat.payable_id and p.status = 'open';
        end if;
        perform private.settle_seats(seat.webinar_id);
        perform private.give_up_seat(seat.id, 'cancelled')
        from public.webinar_registrations as r
        where r.id = seat.id and r.status = seat.status;
        perform private.fill_seats(seat.webinar_id);
    end loop;
end
$$;
comment on function private.leave_webinars(uuid) is
'Account deletion: what they would host is cancelled, the seats they did not pay for are free. A seat that was paid '
'for '
'stays theirs.';

create function private.erase_webinars(host uuid) returns void
language sql
security definer
set search_path = ''
as $$
    delete from public.webinars as w
    where
        w.host_id = host and not private.item_has_orders(w.id)
        and not exists (select from public.webinar_registrations as r where r.webinar_id = w.id)
        and not exists (select from public.payables as p where p.item_id = w.id)
$$;
comment on function private.erase_webinars(uuid) is 'Account deletion: webinars nobody ever registered for go.';

-- The mails with calendar entries.

create function private.claim_invitation(lease_seconds integer) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    entry private.calendar_entries;
    address text;
begin
    loop
        select * into entry from private.calendar_entries as e
        where e.due_at <= now()
        order by e.due_at
        limit 1
        for update skip locked;
        exit when entry.registration_id is null;
        select private.mail_address(p.id) into address
        from public.webinar_registrations as r
        inner join public.profiles as p on p.id = r.user_id and p.deleted_at is null
        where r.id = entry.registration_id;
        if
            address is null or entry.changed_at < now() - interval '3 days'
            -- Never heard of, nothing to take back.
            or entry.is_cancelled and entry.sent_sequence is null
        then
            update private.calendar_entries as e set due_at = null where e.registration_id = entry.registration_id;
            continue;
        end if;
        update private.calendar_entries as e set
            due_at = now() + make_interval(secs => lease_seconds), attempts = e.attempts + 1
        where e.registration_id = entry.registration_id;
        return (
            select jsonb_build_object(
                'uid', entry.registration_id, 'sequence', entry.sequence, 'is_cancelled', entry.is_cancelled,
                'changed_at', entry.changed_at, 'to', address,
                'name', coalesce(p.display_name, p.username::text),
                'host', coalesce(h.display_name, h.username::text), 'title', w.title,
                'starts_at', w.starts_at, 'ends_at', w.ends_at, 'starts_local', w.starts_local,
                'time_zone', w.time_zone, 'link', '/webinars/' || w.id
            )
            from public.webinar_registrations as r
            inner join public.webinars as w on w.id = r.webinar_id
            inner join public.profiles as p on p.id = r.user_id
            inner join public.profiles as h on h.id = w.host_id
            where r.id = entry.registration_id
        );
    end loop;
    return null;
end
$$;
comment on function private.claim_invitation(integer) is
'The next calendar entry to mail, leased for so long; null when there is none.';
grant execute on function private.claim_invitation(integer) to avenue_worker;

create function private.invitation_sent(registration_id uuid, sequence integer) returns void
language sql
security definer
set search_path = ''
as $$
    update private.calendar_entries as e set
        sent_sequence = invitation_sent.sequence, last_error = null,
        -- Changed meanwhile: that is still to be mailed.
        due_at = case when e.sequence = invitation_sent.sequence then null else e.due_at end
    where e.registration_id = invitation_sent.registration_id
$$;
comment on function private.invitation_sent(uuid, integer) is 'The mail server took it.';
grant execute on function private.invitation_sent(uuid, integer) to avenue_worker;

create function private.invitation_failed(
    registration_id uuid, sequence integer, reason text, for_good boolean, retry_seconds integer
) returns void
language sql
security definer
set search_path = ''
as $$
    update private.calendar_entries as e set
        last_error = left(reason, 500),
        due_at = case when not for_good then now() + make_interval(secs => retry_seconds * e.attempts) end
    where e.registration_id = invitation_failed.registration_id and e.sequence = invitation_failed.sequence
$$;
comment on function private.invitation_failed(uuid, integer, text, boolean, integer) is
'It was not taken: tried again later, unless that is for good.';
grant execute on function private.invitation_failed(uuid, integer, text, boolean, integer) to avenue_worker;

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('webinar_cancelled', 'A webinar was cancelled', 'A webinar you were registered for does not take place. What you paid '
    'comes back.', null, null, 'immediate', false),
('webinar_moved', 'A webinar has another time', 'A webinar you are registered for was moved. You can leave it with all '
    'your money until it starts.', null, null, 'immediate', false),
('webinar_removed', 'You were removed',
    'You are not registered for a webinar any more. What you paid comes back.', null, null, 'immediate', false);

insert into private.erasure_steps (step, phase, erases, statement) values
('webinar_seats', 'payments', '{}', 'select private.leave_webinars($1)'),
('webinars', 'items', '{}', 'select private.erase_webinars($1)');

insert into private.activity_limits (kind, fresh, established, period, description) values
('webinar_move', 5, 20, '1 day', 'Webinars moved');

insert into private.error_codes (code, sqlstate, message, description) values
('time_too_soon', 'PT400', 'This time is too soon.',
'A webinar is brought forward to no less than an hour from now, so that people can still leave.'),
('cost_changed', 'PT409', 'This costs something else by now.',
'The detail is the cost, cents: show it, and send it if the host agrees. Nothing was done.'),
('webinar_busy', 'PT409', 'Too much is going on at the moment.', 'Try again in a moment. Nothing was done.');
