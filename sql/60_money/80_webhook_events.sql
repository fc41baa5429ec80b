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
    constraint webhook_events_pkey primary key (id),
    constraint webhook_events_event_id_key unique (event_id, provider)
)
with (fillfactor = 80);

create index webhook_events_due_idx on private.webhook_events (next_attempt_at) where status = 'pending';
create index webhook_events_dead_idx on private.webhook_events (id) where status = 'dead';

comment on table private.webhook_events is
'Verified provider events. The unique event id makes repeats harmless; the row is marked done only in the transaction '
'that did its work.';
comment on column private.webhook_events.provider is 'stripe or paypal.';
comment on column private.webhook_events.event_id is
'The provider''s id; reconcile:<object>:<status> when a job read the provider instead.';
comment on column private.webhook_events.type is 'The provider''s event type.';
comment on column private.webhook_events.payload is 'The whole event as received.';
comment on column private.webhook_events.occurred_at is 'The provider''s clock.';
comment on column private.webhook_events.received_at is 'Our clock.';
comment on column private.webhook_events.status is 'State.';
comment on column private.webhook_events.attempts is 'Failed tries so far.';
comment on column private.webhook_events.next_attempt_at is 'Not tried before this time.';
comment on column private.webhook_events.processed_at is 'When its work was done.';
comment on column private.webhook_events.last_error is 'Why it was not applied.';

alter table private.webhook_events enable row level security;

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
        insert into private.webhook_events (provider, event_id, type, payload, occurred_at)
        select
            store_webhook_events.provider, e.event ->> 'id', e.event ->> 'type', e.event -> 'payload',
            to_timestamp((e.event ->> 'created')::double precision)
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
'Stores verified events [{id, type, created (epoch), payload}] and one job for the new ones, in one transaction; '
'returns how many were new.';
grant execute on function private.store_webhook_events(text, jsonb) to avenue_worker;

-- Finds the payment an object of the provider is about: by our id in its metadata, else by the provider's.
create function private.payment_of(object jsonb) returns public.payments
language plpgsql
set search_path = ''
as $$
declare
    named text := object #>> '{metadata,payment_id}';
    intent text := case when object ->> 'object' = 'payment_intent' then object ->> 'id' else object ->> 'payment_intent' end;
    found public.payments;
begin
    if named ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        select * into found from public.payments as p where p.id = named::uuid for no key update;
    else
        select * into found from public.payments as p
        where p.provider_ref = intent and p.provider = 'stripe'
        for no key update;
    end if;
    if found.id is null then
        perform private.fail('event_too_early', 'no such payment: ' || coalesce(named, intent, 'unnamed'));
    end if;
    if found.provider_ref <> intent or (found.provider_ref is null and exists (
        select from public.payments as p where p.provider_ref = intent and p.provider = 'stripe'
    )) then
        perform private.fail('event_rejected', format(
            'payment %s is %s, the event is about %s', found.id, found.provider_ref, intent
        ));
    end if;
    return found;
end
$$;

comment on function private.payment_of(jsonb) is
'The payment of a Stripe object, locked. Errors: event_too_early when unknown, event_rejected when two candidates.';

create function private.apply_payment_intent(event_type text, object jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments := private.payment_of(object);
    charge text := case
        when jsonb_typeof(object -> 'latest_charge') = 'object' then object #>> '{latest_charge,id}'
        else object ->> 'latest_charge'
    end;
begin
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
            perform private.settle_payment(paid.id, charge);
        when 'payment_intent.payment_failed' then
            update public.payments as p set
                declined_charges = case
                    when charge is null or charge = any (p.declined_charges) then p.declined_charges
                    else p.declined_charges || charge
                end,
                status = case when p.succeeded_at is null and p.status <> 'cancelled' then 'failed' else p.status end,
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
            end if;
        when 'payment_intent.processing' then
            update public.payments as p set status = 'processing'
            where p.id = paid.id and p.status = 'requires_payment';
        when 'payment_intent.canceled' then
            perform private.payment_cancelled(paid.id);
        else
            return 'ignored';
    end case;
    return 'processed';
end
$$;

comment on function private.apply_payment_intent(text, jsonb) is
'payment_intent.*: settle, decline, cancel. A success is final whatever else arrives; the amount must be exact.';

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
    if ours ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        select r.id into known from public.refunds as r where r.id = ours::uuid and r.payment_id = paid.id;
        if known is null then
            perform private.fail('event_rejected', 'refund ' || ours || ' is not one of payment ' || paid.id);
        end if;
    else
        -- Made in the provider's dashboard (sharp case 8): the event is all we know of it.
        if paid.succeeded_at is null then
            perform private.fail('event_too_early', 'refund of a payment that has not settled: ' || paid.id);
        end if;
        insert into public.refunds (payment_id, amount_cents, currency, reason, provider, provider_ref, status)
        values (
            paid.id, (object ->> 'amount')::bigint, paid.currency,
            coalesce(object ->> 'reason', 'made_at_provider'), paid.provider, object ->> 'id', 'pending'
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
begin
    if ours is null or ours !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        return 'ignored';
    end if;
    -- In any order and however often: the transfer exists, so it was made; a reversal is a return of it.
    perform private.complete_payout(ours::uuid, object ->> 'id', (object ->> 'amount')::bigint);
    if event_type = 'transfer.reversed' then
        if (object ->> 'amount_reversed')::bigint is distinct from (object ->> 'amount')::bigint then
            perform private.fail('event_rejected', 'transfer ' || (object ->> 'id') || ' was reversed in part');
        end if;
        perform private.fail_payout(ours::uuid, 'transfer_reversed');
    end if;
    return 'processed';
end
$$;

comment on function private.apply_transfer(text, jsonb) is
'transfer.*: confirms a payout; a full reversal returns it to the wallet.';

create function private.apply_stripe_event(event private.webhook_events) returns text
language plpgsql
set search_path = ''
as $$
declare
    object jsonb := event.payload #> '{data,object}';
begin
    if jsonb_typeof(object) is distinct from 'object' then
        perform private.fail('event_rejected', 'the event has no object');
    end if;
    if event.type like 'payment\_intent.%' then
        return private.apply_payment_intent(event.type, object);
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

create function private.process_webhook_event(event_id bigint) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    event private.webhook_events;
    outcome private.webhook_status;
    problem text;
    detail text;
    code text;
    tries integer;
begin
    select * into event from private.webhook_events as e where e.id = process_webhook_event.event_id for no key update;
    if event.id is null then
        return 'unknown';
    end if;
    if event.status <> 'pending' then
        return event.status;
    end if;
    begin
        if event.provider <> 'stripe' then
            perform private.fail('event_rejected', 'unknown provider');
        end if;
        outcome := private.apply_stripe_event(event)::private.webhook_status;
        update private.webhook_events as e set status = outcome, processed_at = now(), last_error = null
        where e.id = event.id;
        return outcome;
    exception when others then
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

comment on function private.process_webhook_event(bigint) is
'Applies one event: processed, ignored, retry (scheduled with backoff), dead, or its status when already done. Never '
'raises for what the event says.';
grant execute on function private.process_webhook_event(bigint) to avenue_worker;

create function private.enqueue_due_webhook_events() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    due bigint[];
begin
    -- The minute of grace leaves fresh events to the job that was queued with them.
    due := array(
        select e.id from private.webhook_events as e
        where e.status = 'pending' and e.next_attempt_at < now() - interval '1 minute'
        order by e.next_attempt_at
        limit 500
    );
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
'Admin: provider events by status (pending, processed, ignored, dead), newest first, without payloads.';
grant execute on function public.list_webhook_events(text, integer) to authenticated;

create function public.replay_webhook_event(event_id bigint) returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    perform private.audit('replay_webhook_event', 'webhook_events', null, jsonb_build_object('event_id', event_id));
    return private.replay_webhook_event(event_id);
end
$$;

comment on function public.replay_webhook_event(bigint) is 'Admin: tries a dead-lettered event again.';
grant execute on function public.replay_webhook_event(bigint) to authenticated;
