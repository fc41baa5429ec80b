-- The inbox: stored once, applied once, visible to admins.
begin;
\ir ../helpers.psql

select plan(83);
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
