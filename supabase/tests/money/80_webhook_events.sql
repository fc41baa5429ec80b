-- The inbox: stored once, applied once, visible to admins.
begin;
\ir ../helpers.psql

select plan(182);
select pg_temp.people();
create temporary table o as select (pg_temp.checkout(2, pg_temp.product(1, 2000)) ->> 'payment_id')::uuid as p;
select pg_temp.start(p) from o;
create function pg_temp.store(name text, kind text, object jsonb) returns integer language sql as $$
    select private.store_webhook_events('stripe', jsonb_build_array(jsonb_build_object(
        'id', name, 'type', kind, 'created', 1790000000, 'payload', jsonb_build_object('data',
            jsonb_build_object('object', object)))))
$$;
create function pg_temp.row_of(name text) returns bigint language sql as $$ select id
    from private.webhook_events where event_id = name $$;
create function pg_temp.last() returns private.webhook_events language sql as $$
    select * from private.webhook_events order by id desc limit 1
$$;

-- storing
select col_is_unique('private', 'webhook_events', array['event_id', 'provider'], 'an event is one row');
select is(pg_temp.store('evt_1', 'payment_intent.succeeded', pg_temp.intent(p)), 1, 'a new one') from o;
select is(pg_temp.store('evt_1', 'payment_intent.succeeded', '{}'), 0, 'the same again');
select is(
    private.store_webhook_events('stripe',
        '[{"id": "evt_2", "type": "a", "payload": {}}, {"id": "evt_2", "type": "a", "payload": {}},
        {"id": "evt_1", "type": "a", "payload": {}}]'), 1, 'of a batch the new ones'
);
select is(private.store_webhook_events('paypal', '[{"id": "evt_1", "type": "a", "created": 1, "payload": {}}]'), 1,
    'each provider by itself');
select results_eq(
    $$select status::text, attempts, occurred_at, payload #>> '{data,object,object}' from private.webhook_events
    where event_id = 'evt_1' and provider = 'stripe'$$,
    $$values ('pending', 0, to_timestamp(1790000000), 'payment_intent')$$, 'as received'
);
select is(pg_temp.code_of(format('select private.store_webhook_events(''stripe'', %L)', e)), '23502',
    e || ' is no event')
from unnest(array['[{}]', '[{"id": "x", "type": "a"}]', '[{"type": "a", "payload": {}}]',
    '[{"id": "x", "payload": {}}]']) as e;

-- processing
select is(private.process_webhook_event(-1), 'unknown', 'no such event');
select is(private.process_webhook_event((select id from private.webhook_events where event_id = 'evt_1'
    and provider = 'stripe')), 'processed', 'applied');
select is(private.process_webhook_event((select id from private.webhook_events where event_id = 'evt_1'
    and provider = 'stripe')), 'processed', 'once');
select is((select count(*) from public.transactions), 1::bigint, 'one sale');
select is(private.process_webhook_event((select id from private.webhook_events where provider = 'paypal')), 'dead',
    'a provider we cannot read');

select is(pg_temp.event(kind, about::jsonb), outcome, format('%s %s: %s', kind, about, outcome)) from (values
    ('customer.created', '{}', 'ignored'), ('price.updated', '{"id": 1}', 'ignored'), ('payment_intent', '{}',
        'ignored'),
    ('transfer.created', '{"id": "tr_1"}', 'ignored'), ('transfer.created', '{"metadata": {"payout_id": "x"}}',
        'ignored'),
    ('account.updated', '{"id": "acct_unknown"}', 'ignored'), ('charge.dispute.created', '{"id": "dp_1"}', 'dead'),
    ('payment_intent.succeeded', '{}', 'retry'), ('payment_intent.succeeded',
        '{"id": "pi_x", "object": "payment_intent"}', 'retry'),
    ('payment_intent.succeeded', '{"metadata": {"payment_id": "x"}}', 'retry'), ('payment_intent.succeeded',
        '{"metadata": "x"}', 'retry'),
    ('payment_intent.succeeded', 'null', 'dead'), ('payment_intent.succeeded', '[]', 'dead'), ('refund.updated',
        '"x"', 'dead'),
    ('refund.updated', '{"payment_intent": "pi_x", "amount": 1}', 'retry'), ('charge.refunded',
        '{"payment_intent": "pi_x"}', 'retry'),
    ('transfer.created', '{"metadata": {"payout_id": "00000000-0000-4000-8000-000000000001"}, '
        '"id": "tr", "amount": 1}', 'dead')
) as t (kind, about, outcome);
select is(pg_temp.event('payment_intent.succeeded', pg_temp.intent(p) || '{"id": "pi_other"}'), 'dead',
    'two candidates') from o;
select matches((pg_temp.last()).last_error,
    '^The provider''s report contradicts our books[.]: payment .* is pi_.*, the event is about pi_other$',
    'the reason is kept');
select is(pg_temp.event('payment_intent.succeeded', pg_temp.intent(p, 1)), 'dead', 'a wrong amount') from o;
select is(pg_temp.event('payment_intent.processing', pg_temp.intent(p)), 'processed', 'a late one') from o;
select is((select status::text from public.payments where id = (select p from o)), 'succeeded', 'changes nothing');

-- retries, with backoff, until dead
select is(pg_temp.code_of($$select private.apply_refund('{"payment_intent": "pi_y"}')$$), 'event_too_early',
    'what it means to wait');
select is(pg_temp.store('evt_early', 'refund.updated',
    '{"id": "re_1", "payment_intent": "pi_y", "amount": 5, "status": "succeeded"}'), 1, 'too early');
select is(private.process_webhook_event(pg_temp.row_of('evt_early')), case when n < 8 then 'retry' else 'dead' end,
    'try ' || n)
from generate_series(1, 8) as n;
select results_eq(
    $$select status::text, attempts, next_attempt_at - now(), last_error
        from private.webhook_events where event_id = 'evt_early'$$,
    $$values ('dead', 8, interval '256 seconds',
        'The provider''s report needs an earlier one.: no such payment: pi_y')$$, 'counted, dated, explained'
);
select is(private.replay_webhook_event(pg_temp.row_of('evt_early')), 'retry', 'replayed: tried anew');
select is((select attempts from private.webhook_events where event_id = 'evt_early'), 1, 'from the start');

-- not about our objects
create function pg_temp.whole(kind text, object jsonb, about jsonb default '{}', live text default '') returns text
language plpgsql as $$
declare
    name text := 'evt_' || gen_random_uuid();
begin
    perform private.store_webhook_events('stripe', jsonb_build_array(jsonb_build_object(
        'id', name, 'type', kind, 'created', 1790000000, 'payload', jsonb_build_object('id', name, 'type', kind,
            'data', jsonb_build_object('object', object)) || about
    ) || case live when '' then '{}' else jsonb_build_object('live', live::boolean) end));
    return private.process_webhook_event(pg_temp.row_of(name));
end
$$;
create temporary table q as select (pg_temp.checkout(2, pg_temp.product(1, 2000)) ->> 'payment_id')::uuid as p;
select is(pg_temp.event('payment_intent.succeeded', pg_temp.intent(p)), 'dead', 'an intent nobody asked for') from q;
select matches((pg_temp.last()).last_error, 'was never started', 'says so');
select is((select status::text from public.payments where id = p), 'requires_payment', 'changes nothing') from q;
select is(pg_temp.event('refund.updated', jsonb_build_object('object', 'refund', 'id', 're_x', 'amount', 1, 'currency',
    'usd', 'status', 'succeeded', 'payment_intent', intent, 'metadata', jsonb_build_object('payment_id', o.p))), 'dead',
    format('a refund of %s that names our payment', intent))
from o cross join unnest(array['pi_foreign', null]) as intent;
select pg_temp.start(p) from q;
select is(pg_temp.whole(kind, pg_temp.intent(p), about), outcome, format('%s %s', kind, about)) from q
cross join (values
    ('payment_intent.succeeded', '{"account": "acct_9"}'::jsonb, 'ignored'), ('refund.updated', '{"account": "acct_9"}',
        'ignored'),
    ('charge.refunded', '{"account": "acct_9"}', 'ignored'), ('transfer.reversed', '{"account": "acct_9"}', 'ignored'),
    ('charge.dispute.created', '{"account": "acct_9"}', 'ignored'), ('payout.paid', '{"account": "acct_9"}', 'ignored')
) as t (kind, about, outcome);
select is((pg_temp.last()).last_error, null, 'a connected payout is as it should be');
select is(pg_temp.whole('payment_intent.succeeded', pg_temp.intent(p) || object, about, live), outcome,
    format('%s %s with a key %s', about, object, live)) from q
cross join (values
    ('{"livemode": false}'::jsonb, '{}'::jsonb, 'true', 'ignored'), ('{"livemode": true}', '{}', 'false', 'ignored'),
    ('{}', '{"livemode": true}', 'false', 'ignored'), ('{"livemode": false}', '{"livemode": true}', 'false', 'ignored'),
    ('{"livemode": "true"}', '{}', 'false', 'ignored'), ('{"livemode": 0}', '{}', 'true', 'ignored'),
    ('{"livemode": null}', '{"livemode": "false"}', 'true', 'ignored'), ('{"livemode": []}', '{}', 'false', 'ignored')
) as t (about, object, live, outcome);
select matches((pg_temp.last()).last_error, 'of the other mode', 'says why');
select is(private.replay_webhook_event((pg_temp.last()).id), 'ignored', 'and stays so');
select is((select status::text from public.payments where id = p), 'requires_payment', 'nothing was settled') from q;
select is(pg_temp.whole('payment_intent.succeeded', pg_temp.intent(p), '{"livemode": false}', 'false'), 'processed',
    'one of our mode settles') from q;
select is(pg_temp.event('refund.updated', jsonb_build_object('object', 'refund', 'id', 're_y', 'amount', 5, 'currency', c,
    'status', 'succeeded', 'payment_intent', 'pi_' || p)), outcome, format('a refund in %s', c)) from q
cross join (values ('eur', 'dead'), (null, 'dead'), ('usd', 'processed')) as t (c, outcome);
select is(pg_temp.code_of(format('select pg_temp.store(repeat(%L, 256), %L, ''{}'')', a, b)), '23514', 'bounded')
from (values ('x', 'a')) as t (a, b);
select is(pg_temp.code_of($$select pg_temp.store('evt_long', repeat('x', 256), '{}')$$), '23514', 'bounded, too');

-- by charge
create function pg_temp.charge(payment uuid, name text) returns jsonb language sql as $$
    select pg_temp.intent(payment) || jsonb_build_object('latest_charge', name)
$$;
create temporary table b as
select
    (pg_temp.checkout(3, pg_temp.product(1, 3000)) ->> 'payment_id')::uuid as p,
    (pg_temp.checkout(3, pg_temp.artwork(1, 4000)) ->> 'payment_id')::uuid as art;
select pg_temp.start(p), pg_temp.start(art) from b;
create function pg_temp.after(kind text, payment uuid, charge text) returns text language plpgsql as $$
declare
    outcome text := pg_temp.event('payment_intent.' || kind, pg_temp.charge(payment, charge));
begin
    return outcome || ' ' || (select status from public.payments where id = payment);
end
$$;
select is(pg_temp.after(kind, p, charge), 'processed ' || now, format('%s %s', kind, charge)) from b cross join (values
    (1, 'payment_failed', 'ch_card', 'failed'), (2, 'processing', 'ch_debit', 'processing'),
    (3, 'payment_failed', 'ch_card', 'processing'), (4, 'payment_failed', 'ch_debit', 'failed'),
    (5, 'processing', 'ch_debit', 'failed'), (6, 'succeeded', 'ch_1', 'succeeded')
) as t (n, kind, charge, now)
order by n;
select is(pg_temp.event('payment_intent.succeeded', pg_temp.charge(p, 'ch_2')), 'retry', 'paid again: the decline is missing')
from b;
select is(pg_temp.event('payment_intent.payment_failed', pg_temp.charge(p, 'ch_1')), 'processed', 'declined late') from b;
select results_eq('select payment_id from private.payments_to_cancel(9)', 'select p from b',
    'and cancelled at the provider');
select is(private.replay_webhook_event(id), 'processed', 'paid again') from private.webhook_events
where event_id = (select e.event_id from private.webhook_events as e where e.attempts = 1 and e.status = 'pending'
    and e.payload #>> '{data,object,latest_charge}' = 'ch_2');
select is_empty('select * from private.payment_closings', 'and no longer to be cancelled');
select results_eq(
    $$select p.provider_ref, p.status::text, o.status::text from public.payments as p
    inner join public.orders as o on o.id = p.order_id where p.user_id = pg_temp.id(3) and p.amount_cents = 3000
    order by p.created_at, p.provider_ref desc$$,
    $$select * from (values ('pi_' || (select p from b), 'refunded', 'refunded'), ('ch_2', 'succeeded', 'completed')) as t$$,
    'is an order of its own'
);
select is((select count(*) from public.purchases where owner_id = pg_temp.id(3) and revoked_at is null), 1::bigint,
    'that is delivered');
select is(pg_temp.event('payment_intent.succeeded', pg_temp.charge(p, 'ch_2')), 'processed', 'once') from b;
select is((select count(*) from public.payments where provider_ref = 'ch_2'), 1::bigint, 'whatever is repeated');
select is(pg_temp.event('refund.updated', jsonb_build_object('object', 'refund', 'id', 're_2', 'amount', 500, 'currency',
    'usd', 'status', 'succeeded', 'payment_intent', 'pi_' || p, 'charge', 'ch_2')), 'processed', 'refunds are of a charge')
from b;
select is((select refunded_cents from public.payments where provider_ref = 'ch_2'), 500::bigint, 'of this one');
select is(pg_temp.event('payment_intent.payment_failed', pg_temp.charge(p, 'ch_2')), 'processed', 'declined as well') from b;
select is((select status::text from public.payments where provider_ref = 'ch_2'), 'refunded', 'taken back');
-- The piece was sold to another meanwhile: the second charge goes back.
select pg_temp.event('payment_intent.' || kind, pg_temp.charge(art, 'ch_a'))
from b cross join (values (1, 'succeeded'), (2, 'payment_failed')) as t (n, kind) order by n;
select pg_temp.buy(2, (select i.item_id from public.order_items as i inner join public.payments as p using (order_id)
    where p.id = (select art from b)));
select is(pg_temp.event('payment_intent.succeeded', pg_temp.charge(art, 'ch_b')), 'processed', 'paid again too late') from b;
select results_eq($$select amount_cents, status::text from public.refunds as r
    where payment_id = (select id from public.payments where provider_ref = 'ch_b')$$,
    $$values (4000::bigint, 'requested')$$, 'goes back');
select is_empty($$select * from ledger.audit()$$, 'the books are right');

-- what they say of persons
select is(private.without_persons('{"id": "evt", "type": "charge.succeeded", "data": {"object": {"id": "ch", "object":
    "charge", "amount": 5, "billing_details": {"name": "Ann"}, "receipt_email": "ann@example.com", "shipping": {"name":
    "Ann"}, "description": "for Ann", "payment_intent": {"id": "pi", "customer": "cus"}, "metadata": {"payment_id": "p",
    "name": "Ann"}, "last_payment_error": {"code": "c", "payment_method": {"billing_details": {"name": "Ann"}}}},
    "previous_attributes": {"receipt_email": "ann@example.com"}}}'),
    '{"id": "evt", "type": "charge.succeeded", "data": {"object": {"id": "ch", "object": "charge", "amount": 5,
    "payment_intent": "pi", "metadata": {"payment_id": "p"}, "last_payment_error": {"code": "c"}}}}', 'is left out');
select is(private.without_persons(payload), '{}', format('%s has nothing to keep', payload))
from unnest(array['{}', '{"data": {}}', '{"data": {"object": "Ann"}, "request": {"name": "Ann"}}', '"Ann"']::jsonb[]) as payload;
select is((select user_id from private.webhook_events where payload #>> '{data,object,latest_charge}' = 'ch_card'
    limit 1), pg_temp.id(3), 'it is known whom they are about');
select is(private.forget_old_event_persons(9), 0, 'fresh events are whole');
select pg_temp.event('charge.succeeded', jsonb_build_object('object', 'charge', 'id', 'ch_1', 'payment_intent', 'pi_' || p,
    'billing_details', '{"name": "Ann"}'::jsonb)) from b;
update private.webhook_events set received_at = now() - interval '31 days'
where id < (select max(id) from private.webhook_events);
select is(private.forget_old_event_persons(1000), (select count(*)::integer - 1 from private.webhook_events), 'old ones not');
select is(private.forget_old_event_persons(1000), 0, 'once');
select matches((pg_temp.last()).payload::text, 'Ann', 'not yet');
delete from auth.users where id = pg_temp.id(3);
select doesnt_match((pg_temp.last()).payload::text, 'Ann', 'until the person leaves');
select pg_temp.event('charge.updated', jsonb_build_object('object', 'charge', 'id', 'ch_1', 'payment_intent', 'pi_' || p,
    'billing_details', '{"name": "Ann"}'::jsonb)) from b;
select doesnt_match((pg_temp.last()).payload::text, 'Ann', 'nor afterwards');
select is(private.events_read_until('stripe', now() + interval '1 hour'), date_trunc('second', now()) + interval '1 hour',
    'read so far');
select is(private.events_read_until('stripe', now()), date_trunc('second', now()) + interval '1 hour', 'never back');

-- sessions
create temporary table h as select
    (pg_temp.checkout(2, pg_temp.product(1, 3000)) ->> 'payment_id')::uuid as p,
    (pg_temp.checkout(2, pg_temp.product(1, 3000)) ->> 'payment_id')::uuid as q,
    (pg_temp.checkout(2, pg_temp.product(1, 3000)) ->> 'payment_id')::uuid as bare,
    (pg_temp.checkout(2, pg_temp.product(1, 3000)) ->> 'payment_id')::uuid as later;
select private.start_payment(x, pg_temp.id(2), true, 'https://e.com/paid', 'https://e.com/cart')
from h, unnest(array[p, q, later]) as x;
select private.attach_payment_ref(p, 'cs_p'), private.attach_payment_ref(q, 'cs_q') from h;
select pg_temp.start(bare) from h;
create function pg_temp.session(payment uuid, id text, more jsonb default '{}') returns jsonb language sql as $$
    select jsonb_build_object('object', 'checkout.session', 'id', id, 'mode', 'payment', 'currency', 'usd',
        'amount_total', 3000, 'status', 'complete', 'payment_status', 'paid', 'payment_intent', null,
        'metadata', jsonb_build_object('payment_id', payment), 'customer_details', '{"email": "ann@example.com"}'::jsonb) || more
$$;
create function pg_temp.reads() returns bigint language sql as $$
    select count(*) from jobs.procrastinate_jobs where task_name = 'read_payment'
$$;
create function pg_temp.told(kind text, payment uuid, id text, more jsonb default '{}') returns text language sql as $$
    select pg_temp.event('checkout.session.' || kind, pg_temp.session(payment, id, more))
$$;
create function pg_temp.state(payment uuid) returns text language sql as $$
    select concat_ws(' ', p.status, o.status, o.status_reason)
    from public.payments as p inner join public.orders as o on o.id = p.order_id where p.id = payment
$$;
select is(pg_temp.told('completed', p, 'cs_p', m::jsonb), 'dead', 'not what was asked for: ' || m)
from h, unnest(array['{"amount_total": 2999}', '{"amount_total": null}', '{"currency": "eur"}', '{"currency": null}',
    '{"mode": "setup"}', '{"mode": null}', '{"payment_status": "no_payment_required"}', '{"payment_status": null}',
    '{"id": "cs_x"}']) as m;
select is(pg_temp.told('completed', q, 'cs_p'), 'dead', 'one names another') from h;
select is(pg_temp.told('completed', bare, 'cs_b'), 'dead', 'a bare intent has no session') from h;
select is(pg_temp.told('completed', gen_random_uuid(), 'cs_b'), 'retry', 'unknown so far');
select is(pg_temp.told('completed', null, 'cs_b'), 'ignored', 'not one of ours');
select is(pg_temp.told('frozen', p, 'cs_p'), 'ignored', 'not a type we know') from h;
select is(pg_temp.state(p) || pg_temp.reads(), 'requires_payment pending0', 'all that did nothing') from h;
select is(pg_temp.told('completed', p, 'cs_p', '{"payment_status": "unpaid", "payment_intent": "pi_p"}'), 'processed',
    'the buyer is done, the money is not there') from h;
select results_eq($$select pg_temp.state(p), provider_ref, pg_temp.reads() from h, public.payments where id = p$$,
    $$values ('processing pending', 'pi_p', 0::bigint)$$, 'nothing is granted');
select is((pg_temp.last()).user_id, pg_temp.id(2), 'it is known whom it is about');
select is(pg_temp.told('completed', p, 'cs_p', '{"payment_intent": "pi_x"}'), 'dead', 'one session has one intent') from h;
select is(pg_temp.told('async_payment_succeeded', p, 'cs_p', '{"payment_intent": {"id": "pi_p"}}'), 'processed', 'paid')
from h;
select is(pg_temp.state(p) || pg_temp.reads(), 'processing pending1', 'which is read before anything is granted') from h;
select is(pg_temp.event('payment_intent.succeeded', pg_temp.intent(p)), 'processed', 'what was read settles') from h;
select is(pg_temp.told(k, p, 'cs_p', '{"payment_intent": "pi_p"}'), 'processed', 'whatever else is told: ' || k)
from h, unnest(array['completed', 'async_payment_failed', 'expired']) as k;
select is(pg_temp.state(p) || pg_temp.reads(), 'succeeded completed1', 'changes nothing') from h;
select is(pg_temp.event('payment_intent.payment_failed', pg_temp.intent(q, 0)), 'processed', 'a card was declined') from h;
select is(pg_temp.state(q) || pg_temp.reads(), 'requires_payment pending2', 'by an intent the session must name first')
from h;
select is(pg_temp.told('expired', later, 'cs_later', '{"status": "expired", "payment_status": "unpaid"}'), 'processed',
    'one whose id was lost') from h;
select is(pg_temp.state(later), 'cancelled cancelled cancelled_at_provider', 'ends') from h;
select is(pg_temp.told('async_payment_failed', q, 'cs_q', '{"payment_status": "unpaid"}'), 'processed', 'no money after all')
from h;
select is(pg_temp.state(q), 'cancelled cancelled payment_failed', 'ends it too') from h;
select is((select count(*) from private.session_requests), 0::bigint, 'nobody will ask for them again');
select is(private.without_persons('{"data": {"object": {"object": "checkout.session", "id": "cs", "mode": "payment",
    "payment_status": "paid", "amount_total": 1, "customer_details": {"email": "x"}, "success_url": "y"}}}'),
    '{"data": {"object": {"object": "checkout.session", "id": "cs", "mode": "payment", "payment_status": "paid",
    "amount_total": 1, "last_payment_error": {}}}}', 'what a replay needs stays');

-- lost jobs
select is(private.enqueue_due_webhook_events(), 0, 'fresh ones have their job');
update private.webhook_events set next_attempt_at = now() - interval '61 seconds' where event_id in ('evt_early',
    'evt_2');
select is(private.enqueue_due_webhook_events(), 2, 'late ones are queued again');

-- operators and admins
select is((select count(*) from private.list_webhook_events('pending', 1)), 1::bigint, 'operators list them');
select is(private.webhook_event_payload(pg_temp.row_of('evt_early')) #>> '{data,object,id}', 're_1', 'and read them');
select pg_temp.be(pg_temp.id(4));
select is(
    (select array_agg(distinct status) from public.list_webhook_events()), array['dead'], 'admins see what is dead'
);
select is((select count(*) from public.list_webhook_events('ignored', 1)), 1::bigint, 'or by state');
reset role;
create temporary table e as select pg_temp.row_of('evt_2') as id;
grant select on e to public;
select pg_temp.be(pg_temp.id(4));
select is((select public.replay_webhook_event(id) from e), 'dead', 'and replay');
reset role;
select is((select details from public.audit_log), (select jsonb_build_object('event_id', id) from e), 'audited');
select pg_temp.ban();
select is(pg_temp.code_as(pg_temp.id(w), s), c, format('%s: %s for %s', w, c, s))
from (values (1, 'admin_only'), (2, 'admin_only'), (5, 'banned')) as t (w, c)
cross join unnest(array['select public.list_webhook_events()', 'select public.replay_webhook_event(1)']) as s;
select is(pg_temp.code_as(case when r = 'authenticated' then pg_temp.id(4) end, s, r), '42501', format('%s: %s', r, s))
from unnest(array['anon', 'authenticated', 'service_role']) as r
cross join unnest(array['select * from private.webhook_events', 'select private.process_webhook_event(1)',
    'select private.webhook_event_payload(1)',
    'select private.store_webhook_events(''stripe'', ''[]'')', 'select private.replay_webhook_event(1)',
        'select private.list_webhook_events()']) as s;
reset role;
select is_empty($$select * from ledger.audit()$$, 'the books are right');

select * from finish();
rollback;
