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
    foreign_mode boolean not null default false,
    user_id uuid,
    constraint webhook_events_pkey primary key (id),
    constraint webhook_events_event_id_key unique (event_id, provider),
    constraint webhook_events_event_id_check check (char_length(event_id) between 1 and 255),
    constraint webhook_events_type_check check (char_length(type) between 1 and 255)
)
with (fillfactor = 80);

create index webhook_events_due_idx on private.webhook_events (next_attempt_at) where status = 'pending';
create index webhook_events_dead_idx on private.webhook_events (id) where status = 'dead';
create index webhook_events_user_id_idx on private.webhook_events (user_id) where user_id is not null;

comment on table private.webhook_events is
'Verified provider events. The unique event id makes repeats harmless; the row is marked done only in the transaction '
'that did its work.';
comment on column private.webhook_events.provider is 'stripe or paypal.';
comment on column private.webhook_events.event_id is
'The provider''s id; reconcile:<object>:<status> when a job read the provider instead.';
comment on column private.webhook_events.type is 'The provider''s event type.';
comment on column private.webhook_events.payload is
'The whole event as received, but for what PostgreSQL cannot hold (a NUL, half a surrogate pair, numbers beyond '
'numeric, more than 64 levels). After event_personal_period, or when the person leaves, only what is not personal.';
comment on column private.webhook_events.occurred_at is 'The provider''s clock.';
comment on column private.webhook_events.received_at is 'Our clock.';
comment on column private.webhook_events.status is 'State.';
comment on column private.webhook_events.attempts is 'Failed tries so far.';
comment on column private.webhook_events.next_attempt_at is 'Not tried before this time.';
comment on column private.webhook_events.last_error is 'Why it was not applied.';
comment on column private.webhook_events.foreign_mode is
'A test event while our key is a live one, or the other way round: never applied.';
comment on column private.webhook_events.user_id is
'Payer or seller it is about, once processed; no foreign key, the row outlives the profile.';

alter table private.webhook_events enable row level security;

create table private.cursors (
    name text not null,
    position bigint not null default floor(extract(epoch from now()))::bigint,
    constraint cursors_pkey primary key (name)
);

comment on table private.cursors is 'How far jobs have come that read something from its beginning to its end.';
comment on column private.cursors.name is 'What is read: events:<provider>, or event_persons.';
comment on column private.cursors.position is
'Until where: seconds since 1970 of the provider''s clock, or the id of the last event without personal parts.';
alter table private.cursors enable row level security;

insert into private.cursors (name) values ('events:stripe');
insert into private.cursors (name, position) values ('event_persons', 0);

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
        insert into private.webhook_events (provider, event_id, type, payload, occurred_at, foreign_mode)
        select
            store_webhook_events.provider, e.event ->> 'id', e.event ->> 'type', e.event -> 'payload',
            to_timestamp((e.event ->> 'created')::double precision),
            -- Whatever else than our mode is said, in whatever form, is not ours.
            coalesce(nullif(e.event #> '{payload,livemode}', 'null') <> e.event -> 'live', false)
            or coalesce(nullif(e.event #> '{payload,data,object,livemode}', 'null') <> e.event -> 'live', false)
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
'Stores verified events [{id, type, created (epoch), payload, live (whether our key is a live one)}] and one job for '
'the new ones, in one transaction; returns how many were new.';
grant execute on function private.store_webhook_events(text, jsonb) to avenue_worker;

-- Finds the payment an object of the provider is about: by the charge, or by the intent we asked for. Metadata alone
-- proves nothing, anybody with access to the provider writes it: it only names a payment whose intent we have asked for
-- and not noted yet, and only money of exactly that amount makes it that intent. Less than that can wait until it is
-- noted.
create function private.payment_of(object jsonb) returns public.payments
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;

comment on function private.payment_of(jsonb) is
'The payment of a Stripe object, locked. Errors: event_too_early when unknown, event_rejected when it names a payment '
'that was never started or is another.';

-- Success is judged by charge. An intent whose charge was declined after success can be paid again: that is another
-- sale of the same lines, delivered if they can be, given back if not, as for any late success.
create function private.settle_further_charge(first public.payments, charge text) returns text
language plpgsql
set search_path = ''
as $$
declare
    new_order uuid;
    new_payment uuid;
    promised text;
begin
    if charge = any (first.declined_charges)
        or exists (select from public.payments as p where p.provider_ref = charge and p.provider = first.provider) then
        return 'already_settled';
    end if;
    if not first.charge_id = any (first.declined_charges) then
        perform private.fail('event_too_early', format(
            'payment %s was paid by %s, which must have been declined before %s', first.id, first.charge_id, charge
        ));
    end if;
    insert into public.orders (
        user_id, subtotal_cents, tax_cents, shipping_cents, discount_cents, total_cents, currency, shipping_address, notes
    )
    select
        o.user_id, o.subtotal_cents, o.tax_cents, o.shipping_cents, o.discount_cents, o.total_cents, o.currency,
        o.shipping_address, o.notes
    from public.orders as o
    where o.id = first.order_id
    returning id into new_order;
    update public.orders as o set status = 'cancelled' where o.id = new_order;
    -- Whatever a line promises is promised again: every column but its identity, its parts and its shares.
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into promised
    from pg_catalog.pg_attribute as a
    where
        a.attrelid = 'public.order_items'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        and a.attname not in ('id', 'order_id');
    execute format(
        'insert into public.order_items (order_id, %1$s) select $1, %1$s from public.order_items where order_id = $2', promised
    ) using new_order, first.order_id;
    -- Late money: it holds nothing, no hour of anybody's either, and looks for its goods.
    update public.order_items as i set is_booked = false where i.order_id = new_order and i.is_booked;
    insert into private.line_parts (order_item_id, item_id, option_id, license_type)
    select i.id, p.item_id, p.option_id, p.license_type
    from public.order_items as i
    inner join public.order_items as f on f.order_id = first.order_id and f.line_no = i.line_no
    inner join private.line_parts as p on p.order_item_id = f.id
    where i.order_id = new_order;
    insert into private.line_shares (order_item_id, payee_id, share_bps)
    select i.id, s.payee_id, s.share_bps
    from public.order_items as i
    inner join public.order_items as f on f.order_id = first.order_id and f.line_no = i.line_no
    inner join private.line_shares as s on s.order_item_id = f.id
    where i.order_id = new_order;
    insert into public.payments (
        user_id, purpose, order_id, amount_cents, currency, provider, provider_ref, fee_estimate_cents, status,
        expires_at, started_at
    ) values (
        first.user_id, first.purpose, new_order, first.amount_cents, first.currency, first.provider, charge,
        first.fee_estimate_cents, 'processing', first.expires_at, first.started_at
    ) returning id into new_payment;
    return private.settle_payment(new_payment, charge);
end
$$;

comment on function private.settle_further_charge(public.payments, text) is
'Settles a second charge of an intent whose first one was declined after success, as an order and a payment of its '
'own. Error: event_too_early while that decline is not booked.';

create function private.apply_payment_intent(event_type text, object jsonb) returns text
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    paid public.payments := private.payment_of(object);
    further uuid;
    charge text := case
        when jsonb_typeof(object -> 'latest_charge') = 'object' then object #>> '{latest_charge,id}'
        else object ->> 'latest_charge'
    end;
begin
    if upper(object ->> 'currency') <> paid.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is in %s, the event in %s', paid.id, paid.currency, object ->> 'currency'
        ));
    end if;
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
            if paid.succeeded_at is not null and charge <> paid.charge_id then
                perform private.settle_further_charge(paid, charge);
                -- What was paid again needs no cancelling; the next decline asks for it anew. A success that was told
                -- late, after its decline, pays nothing.
                delete from private.payment_closings as c
                where c.payment_id = paid.id and charge <> all (paid.declined_charges);
            else
                perform private.settle_payment(paid.id, charge);
            end if;
            if charge = any (paid.declined_charges) and paid.succeeded_at is null then
                perform private.close_payment(paid.id);
            end if;
        when 'payment_intent.payment_failed' then
            -- Another charge may be under way: a bank debit after a declined card.
            update public.payments as p set
                declined_charges = case
                    when charge is null or charge = any (p.declined_charges) then p.declined_charges
                    else p.declined_charges || charge
                end,
                status = case
                    when p.succeeded_at is null and p.status <> 'cancelled'
                        and not (p.status = 'processing' and coalesce(charge <> p.charge_id, false)) then 'failed'
                    else p.status
                end,
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
                perform private.close_payment(paid.id);
                -- A second charge may have waited for this.
                update private.webhook_events as e set status = 'pending', attempts = 0, next_attempt_at = now()
                where
                    e.status = 'dead' and e.type = 'payment_intent.succeeded'
                    and e.payload #>> '{data,object,id}' = object ->> 'id' and not e.foreign_mode;
            else
                select p.id into further from public.payments as p
                where p.provider_ref = charge and p.provider = 'stripe' and p.succeeded_at is not null
                for no key update;
                if further is not null then
                    perform private.reverse_charge(further, charge);
                    perform private.close_payment(paid.id);
                end if;
            end if;
        when 'payment_intent.processing' then
            update public.payments as p set status = 'processing', charge_id = coalesce(charge, p.charge_id)
            where
                p.id = paid.id and p.status in ('requires_payment', 'failed')
                and coalesce(charge <> all (p.declined_charges), true);
        when 'payment_intent.canceled' then
            perform private.payment_cancelled(paid.id);
    end case;
    return 'processed';
end
$$;

comment on function private.apply_payment_intent(text, jsonb) is
'payment_intent.*: settle, decline, cancel. A success is final until its charge is declined; the amount must be exact.';

-- The session of an intent that nobody told us of yet. What the intent's metadata says proves nothing, what the session
-- says does.
create function private.unread_session(object jsonb) returns public.payments
language plpgsql
set search_path = ''
as $$
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
$$;

comment on function private.unread_session(jsonb) is
'The attempt a PaymentIntent names, where that is a session whose intent is not known yet; else null.';

-- A session that is paid does not say by which charge: it is read at the provider, as what settles is the intent.
create function private.apply_checkout_session(event_type text, object jsonb) returns text
language plpgsql
set search_path = ''
as $$
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
$$;

comment on function private.apply_checkout_session(text, jsonb) is
'checkout.session.*: what is paid is read and settled, what failed or expired ends. Id, mode, amount and currency must '
'be those asked for.';

create function private.close_payment(payment_id uuid) returns void
language sql
set search_path = ''
as $$
    insert into private.payment_closings (payment_id) values (close_payment.payment_id) on conflict do nothing
$$;

comment on function private.close_payment(uuid) is
'Has a settled attempt cancelled at the provider, where it is payable again.';

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
$$;

comment on function private.apply_refund(jsonb) is 'refund.*: ours by metadata, else one made at the provider.';

create function private.apply_charge_refunded(object jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments := private.payment_of(object);
begin
    if upper(object ->> 'currency') <> paid.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is in %s, charge %s in %s', paid.id, paid.currency, object ->> 'id', object ->> 'currency'
        ));
    end if;
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
    destination text := coalesce(object #>> '{destination,id}', object ->> 'destination');
    payout public.payouts;
begin
    if private.is_uuid(ours) is not true then
        return 'ignored';
    end if;
    select * into payout from public.payouts as p where p.id = ours::uuid for no key update;
    if payout.id is not null and (
        upper(object ->> 'currency') is distinct from payout.currency::text
        or destination is distinct from payout.destination
    ) then
        perform private.fail('event_rejected', format(
            'payout %s is in %s to %s, the transfer in %s to %s', payout.id, payout.currency, payout.destination,
            object ->> 'currency', destination
        ));
    end if;
    -- In any order and however often: the transfer exists, so it was made; a reversal is a return of it, or of a part.
    perform private.complete_payout(ours::uuid, object ->> 'id', (object ->> 'amount')::bigint);
    if event_type = 'transfer.reversed' then
        perform private.return_payout(ours::uuid, (object ->> 'amount_reversed')::bigint);
    end if;
    return 'processed';
end
$$;

comment on function private.apply_transfer(text, jsonb) is
'transfer.*: confirms a payout; a reversal returns it, or a part of it, to the wallet.';

-- Our account sees events of connected accounts too, and an endpoint of the other mode may know our secret.
create function private.why_foreign(event private.webhook_events) returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
    return case
        when event.foreign_mode then 'of the other mode, live or test, than our key'
        when coalesce(event.payload -> 'account', 'null') <> 'null' and event.type !~ '^(account|payout)\.'
            then 'of connected account ' || (event.payload ->> 'account')
    end;
end
$$;

comment on function private.why_foreign(private.webhook_events) is
'Why an authentic event is not about our objects; null when it is. Only account.* and payout.* may be of a connected '
'account.';

create function private.apply_stripe_event(event private.webhook_events) returns text
language plpgsql
set search_path = ''
as $$
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
$$;

comment on function private.apply_stripe_event(private.webhook_events) is
'What each type of Stripe event means. Unknown types are stored and ignored.';

-- What an event says about persons (names, addresses, e-mail, cards) nobody needs once it is applied. Kept is what
-- books and replays need, by name: providers add fields.
create function private.without_persons(payload jsonb) returns jsonb
language sql
immutable
set search_path = ''
as $$
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
$$;

comment on function private.without_persons(jsonb) is
'A Stripe event reduced to ids, amounts and states: it can still be applied.';

create function private.person_of(payload jsonb) returns uuid
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;

comment on function private.person_of(jsonb) is
'Payer or seller that a Stripe event is about; null when it is nobody of ours.';

create function private.forget_event_persons(user_id uuid) returns void
language sql
security definer
set search_path = ''
as $$
    update private.webhook_events as e set payload = private.without_persons(e.payload)
    where e.user_id = forget_event_persons.user_id
$$;

comment on function private.forget_event_persons(uuid) is 'Erasure: takes a person out of the events about them.';

insert into private.erasure_steps (step, phase, erases, statement) values
('webhook_events', 'records', '{private.webhook_events.payload}', 'select private.forget_event_persons($1)');

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('private.webhook_events', 'status', null, 'pending', 'received'),
('private.webhook_events', 'status', 'pending', 'processed', 'applied'),
('private.webhook_events', 'status', 'pending', 'ignored', 'not about us'),
('private.webhook_events', 'status', 'pending', 'dead', 'contradicts the books, or failed too often'),
('private.webhook_events', 'status', 'dead', 'pending', 'replayed, or what it waited for arrived'),
('private.webhook_events', 'status', 'ignored', 'pending', 'replayed');
select private.build_moves('private.webhook_events', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('webhook_event', 'private.webhook_events', null, null, '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('webhook_events', 'private.webhook_events',
    null, '{user_id, provider, event_id, type, last_error}',
    'the provider''s messages about the books, reduced to ids, amounts and states');

create function private.forget_old_event_persons(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    start bigint;
    forgotten bigint[];
begin
    select c.position into strict start from private.cursors as c where c.name = 'event_persons' for no key update;
    with old as (
        select e.id from private.webhook_events as e
        where
            e.id > start and e.received_at < now() - (select s.event_personal_period from private.settings as s)
        order by e.id
        limit max_rows
    ),

    changed as (
        update private.webhook_events as e set payload = private.without_persons(e.payload)
        from old
        where e.id = old.id
        returning e.id
    )

    select array_agg(c.id) into forgotten from changed as c;
    update private.cursors as c set position = (select max(f.id) from unnest(forgotten) as f (id))
    where c.name = 'event_persons' and forgotten is not null;
    return coalesce(cardinality(forgotten), 0);
end
$$;

comment on function private.forget_old_event_persons(integer) is
'Takes persons out of up to max_rows events older than event_personal_period; returns how many. Call until 0.';
grant execute on function private.forget_old_event_persons(integer) to avenue_worker;

create function private.events_read_until(provider text, until timestamptz default null) returns timestamptz
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    cursor_name text := 'events:' || events_read_until.provider;
begin
    insert into private.cursors as c (name, position)
    values (cursor_name, floor(extract(epoch from coalesce(until, now())))::bigint)
    on conflict on constraint cursors_pkey do update
    set position = greatest(c.position, coalesce(floor(extract(epoch from until))::bigint, c.position));
    return to_timestamp((select c.position from private.cursors as c where c.name = cursor_name));
end
$$;

comment on function private.events_read_until(text, timestamptz) is
'Until when the provider''s own list of events was read; with until, notes that it was read so far.';
grant execute on function private.events_read_until(text, timestamptz) to avenue_worker;

create function private.process_webhook_event(event_id bigint, is_alone boolean default true) returns text
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
-- Until the event is ours; what is set below ends with the call.
set lock_timeout = 0
as $$
declare
    event private.webhook_events;
    outcome private.webhook_status;
    problem text;
    detail text;
    code text;
    tries integer;
    person uuid;
begin
    select * into event from private.webhook_events as e where e.id = process_webhook_event.event_id for no key update;
    if event.id is null then
        return 'unknown';
    end if;
    if event.status <> 'pending' then
        return event.status;
    end if;
    perform set_config('lock_timeout', case when is_alone then '5s' else '300ms' end, true);
    begin
        if event.provider <> 'stripe' then
            perform private.fail('event_rejected', 'unknown provider');
        end if;
        outcome := private.apply_stripe_event(event)::private.webhook_status;
        person := private.person_of(event.payload);
        update private.webhook_events as e set
            status = outcome, processed_at = now(), last_error = private.why_foreign(event), user_id = person,
            payload = case
                when exists (select from public.profiles as p where p.id = person and p.deleted_at is null)
                    or person is null then e.payload
                else private.without_persons(e.payload)
            end
        where e.id = event.id;
        return outcome;
    exception when lock_not_available then
        -- Somebody holds a row it is about: that says nothing against the event. It goes on waiting in a job of its own,
        -- with pauses that leave the workers to others.
        update private.webhook_events as e set
            last_error = sqlerrm,
            next_attempt_at = now() + case
                when is_alone then least(greatest(now() - e.received_at, interval '5 seconds'), interval '1 minute')
                else interval '0'
            end
        where e.id = event.id
        returning * into event;
        perform private.enqueue(
            'process_events', jsonb_build_object('ids', jsonb_build_array(event.id)), event.next_attempt_at
        );
        return 'held';
    when others then
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

comment on function private.process_webhook_event(bigint, boolean) is
'Applies one event: processed, ignored, retry (scheduled with backoff), held (a row it needs is somebody else''s: it '
'is tried again in a job of its own, and has not failed), dead, or its status when already done. Never raises for what '
'the event says. Others wait behind one that is not alone, so it waits for a moment only.';
grant execute on function private.process_webhook_event(bigint, boolean) to avenue_worker;

-- Most events are a first success of a payment we asked for, and arrive in groups. They are settled together: one
-- statement a table, one flush. Whatever is not as plain as that is left to process_webhook_event().
--
-- One call is one group and all of it or nothing: what failed has to end with its transaction, or it would go on
-- keeping rows while the rest waits for others. Who calls splits what failed, and calls again (workers/jobs/events.py).
-- A group waits for less than it takes PostgreSQL to look for deadlocks, so nobody fails who meets it.
create function private.settle_batch(ids bigint[], only_free boolean default false) returns bigint[]
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
set lock_timeout = '300ms'
as $$
declare
    events bigint[];
    payments uuid[];
    charges text[];
    orders uuid[];
    held bigint[] := '{}';
begin
    with event as (
        select e.id, e.payload #> '{data,object}' as object
        -- By key, not by all that are pending.
        from unnest(settle_batch.ids) as u (id)
        inner join private.webhook_events as e on e.id = u.id
        where
            e.status = 'pending' and e.attempts = 0 and e.provider = 'stripe'
            and e.type = 'payment_intent.succeeded' and private.why_foreign(e) is null
            and jsonb_typeof(e.payload #> '{data,object}') = 'object'
        order by e.id
        for no key update of e skip locked
    ),

    named as (
        select
            e.id, e.object ->> 'id' as intent, e.object #>> '{metadata,payment_id}' as payment,
            e.object ->> 'amount_received' as amount, upper(e.object ->> 'currency') as currency,
            case
                when jsonb_typeof(e.object -> 'latest_charge') = 'object' then e.object #>> '{latest_charge,id}'
                else e.object ->> 'latest_charge'
            end as charge
        from event as e
    ),

    paid as (
        select n.id as event_id, p.id, n.charge, p.order_id
        from named as n
        inner join public.payments as p on p.provider_ref = n.intent and p.provider = 'stripe'
        inner join public.orders as o on o.id = p.order_id
        where
            p.is_open and p.succeeded_at is null and p.amount_cents::text = n.amount
            and p.currency::text = n.currency and n.charge is not null and n.charge <> all (p.declined_charges)
            and (p.id::text = lower(n.payment)) is not false
            -- A late one looks for its goods by itself; so does one whose goods became limited since, or whose hold
            -- somebody ended.
            and o.status = 'pending' and not exists (
                select from private.limited_lines as l where l.order_id = o.id and l.hold_id is null
            )
        order by p.id
        for no key update of p, o skip locked
    ),

    -- At most one of a payment, and of several that buy the same for one owner, or pay one payable, the first:
    -- another finds it bought. So does who was paid for after somebody bought the item exclusively.
    first as (
        select distinct on (p.id) p.* from paid as p order by p.id, p.event_id
    ),

    line as (
        select
            f.event_id,
            i.payable_id is not null and min(f.event_id) over (partition by i.buyer_id, i.payable_id) < f.event_id
            or i.is_owned_once and min(f.event_id) over (
                partition by i.owner_id, i.item_id, i.option_id
            ) < f.event_id
            or min(f.event_id) filter (where o.is_exclusive) over (partition by g.item_id) < f.event_id as is_later
        from first as f
        inner join public.order_items as i on i.order_id = f.order_id
        left join public.catalog_options as o on o.id = i.option_id
        -- What it brings is bought by it too.
        cross join lateral (
            select i.item_id
            union all
            select p.item_id from private.line_parts as p where p.order_item_id = i.id
        ) as g
    )

    select
        array_agg(f.event_id order by f.event_id), array_agg(f.id order by f.event_id),
        array_agg(f.charge order by f.event_id), array_agg(f.order_id order by f.event_id)
    into events, payments, charges, orders
    from first as f
    where f.event_id not in (select l.event_id from line as l where l.is_later);
    if events is null then
        return '{}';
    end if;
    if only_free then
        perform set_config('lock_timeout', '100ms', true);
        with line as (
            select u.event_id, i.*
            from unnest(events, payments) as u (event_id, payment_id)
            inner join public.payments as p on p.id = u.payment_id
            inner join public.order_items as i on i.order_id = p.order_id
        ),

        part as (
            select l.event_id, p.item_id
            from line as l
            inner join private.line_parts as p on p.order_item_id = l.id
        ),

        earner as (
            select l.event_id, y.payee_id as user_id
            from line as l
            inner join private.payees_to_be(orders) as y on y.order_item_id = l.id
            union
            select l.event_id, l.buyer_id from line as l where private.is_platform(l.seller_id)
        ),

        free_payable as (
            select a.id from public.payables as a
            where a.id in (select l.payable_id from line as l)
            order by a.id
            for no key update skip locked
        ),

        free_item as (
            select c.id from public.catalog_items as c
            where c.id in (select l.item_id from line as l union all select p.item_id from part as p)
            order by c.id
            for no key update skip locked
        ),

        free_wallet as (
            select w.user_id from public.wallets as w
            where w.user_id in (select e.user_id from earner as e)
            order by w.user_id
            for no key update skip locked
        ),

        cart as (
            select c.user_id, c.item_id, c.option_key, l.event_id
            from line as l
            inner join public.cart_items as c
                on c.user_id = l.buyer_id and c.item_id = l.item_id and c.option_id is not distinct from l.option_id
        ),

        free_cart as (
            select c.user_id, c.item_id, c.option_key from public.cart_items as c
            where (c.user_id, c.item_id, c.option_key) in (select t.user_id, t.item_id, t.option_key from cart as t)
            order by c.user_id, c.item_id, c.option_key
            for update skip locked
        ),

        waiting as (
            select l.event_id from line as l
            where
                l.payable_id is not null and l.payable_id not in (select f.id from free_payable as f)
                or l.item_id is not null and l.item_id not in (select f.id from free_item as f)
            union
            select p.event_id from part as p where p.item_id not in (select f.id from free_item as f)
            union
            select e.event_id
            from earner as e
            inner join public.wallets as w on w.user_id = e.user_id
            where w.user_id not in (select f.user_id from free_wallet as f)
            union
            select t.event_id from cart as t
            where
                (t.user_id, t.item_id, t.option_key) not in (
                    select f.user_id, f.item_id, f.option_key from free_cart as f
                )
        )

        select
            coalesce(array_agg(u.event_id order by u.event_id) filter (where w.event_id is not null), '{}'),
            array_agg(u.event_id order by u.event_id) filter (where w.event_id is null),
            array_agg(u.payment_id order by u.event_id) filter (where w.event_id is null),
            array_agg(u.charge order by u.event_id) filter (where w.event_id is null)
        into held, events, payments, charges
        from unnest(events, payments, charges) as u (event_id, payment_id, charge)
        left join waiting as w on w.event_id = u.event_id;
        perform private.enqueue('process_events', jsonb_build_object('ids', jsonb_build_array(h.id)))
        from unnest(held) as h (id);
        if events is null then
            return held;
        end if;
    end if;
    perform from private.settle_payments(payments, charges, is_patient => false);
    update private.webhook_events as e set
        status = 'processed', processed_at = now(), user_id = p.user_id,
        payload = case when b.deleted_at is null then e.payload else private.without_persons(e.payload) end
    from unnest(events, payments) as u (event_id, payment_id)
    inner join public.payments as p on p.id = u.payment_id
    inner join public.profiles as b on b.id = p.user_id
    where e.id = u.event_id;
    return events || held;
end
$$;

comment on function private.settle_batch(bigint[], boolean) is
'Settles those of these events that are the first try of a plain success, together, all or none; returns their ids. '
'The others are untouched: process_webhook_event() says what becomes of each. Waits for nobody for long: 55P03 then, '
'and with only_free those whose rows somebody holds are left to jobs of their own, their ids returned too.';
grant execute on function private.settle_batch(bigint[], boolean) to avenue_worker;

create function private.apply_read_event(provider text, event_id text) returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
    return (
        select private.process_webhook_event(e.id) from private.webhook_events as e
        where e.event_id = apply_read_event.event_id and e.provider = apply_read_event.provider
    );
end
$$;

comment on function private.apply_read_event(text, text) is
'Applies an event that was stored a moment ago now, for somebody who waits for it; see process_webhook_event().';
grant execute on function private.apply_read_event(text, text) to avenue_worker;

create function private.enqueue_due_webhook_events() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    due bigint[];
begin
    -- The minute of grace leaves fresh events to the job that was queued with them.
    with queued as (
        update private.webhook_events as e set next_attempt_at = now() + interval '1 minute'
        where e.id in (
            select w.id from private.webhook_events as w
            where w.status = 'pending' and w.next_attempt_at < now() - interval '1 minute'
            order by w.next_attempt_at
            limit 500
            for no key update skip locked
        )
        returning e.id
    )

    select coalesce(array_agg(q.id order by q.id), '{}') into due from queued as q;
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
'Admin: provider events by status (pending, processed, ignored, dead), newest first, without payloads. last_error says '
'why one was not applied, ignored ones that are not about us too.';
grant execute on function public.list_webhook_events(text, integer) to authenticated;

create function public.replay_webhook_event(event_id bigint) returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    perform private.audit('replay_webhook_event', 'webhook_event', null, jsonb_build_object('event_id', event_id));
    return private.replay_webhook_event(event_id);
end
$$;

comment on function public.replay_webhook_event(bigint) is 'Admin: tries a dead-lettered event again.';
grant execute on function public.replay_webhook_event(bigint) to authenticated;
