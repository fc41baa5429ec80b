-- What was agreed and is paid at once: whose it is, what undoes it and what does not, and that it is paid once.
begin;
\ir ../helpers.psql

create function pg_temp.agree(more jsonb default '{}') returns uuid language sql as $$
    select private.add_payable(jsonb_populate_record(null::public.payables, jsonb_build_object(
        'kind', 'product', 'subject_id', gen_random_uuid(), 'buyer_id', pg_temp.id(2), 'seller_id', pg_temp.id(1),
        'title', 'A song for you', 'amount_cents', 5000
    ) || more))
$$;
create function pg_temp.pay(who integer, payable uuid, more text default '') returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('select public.checkout_payable(%L%s)', payable, more))
$$;
-- The buyer's attempt that is still wanted.
create function pg_temp.attempt() returns uuid language sql as $$
    select p.id from public.payments as p
    where p.user_id = pg_temp.id(2) and p.is_open and p.cancel_requested_at is null
$$;
create function pg_temp.state(payable uuid) returns text language sql as $$
    select status::text from public.payables where id = payable
$$;
grant execute on all functions in schema pg_temp to public;

select plan(88);
select pg_temp.people();
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
create temporary table t as select pg_temp.agree() as song, pg_temp.product(1, 2000) as product;
grant select on t to public;

-- structure
select col_is_pk('public', 'payables', 'id', 'a row each');
select col_is_unique('public', 'payables', array['kind', 'subject_id', 'part'], 'a part of a subject is agreed on once');
select fk_ok('public', 'payables', 'buyer_id', 'public', 'profiles', 'id');
select fk_ok('public', 'payables', 'seller_id', 'public', 'profiles', 'id');
select fk_ok('public', 'payables', 'item_id', 'public', 'catalog_items', 'id');
select fk_ok('public', 'order_items', 'payable_id', 'public', 'payables', 'id');
select enum_has_labels('public', 'payable_status', array['open', 'paid', 'lapsed', 'withdrawn', 'returned'], 'states');
select results_eq(
    $$select part, status::text, shipping_cents, seller_tier, commission_bps, free_until, pay_by, details
    from public.payables where id = (select song from t)$$,
    $$values (1::smallint, 'open', 0::bigint, 'standard', 3000, null::timestamptz, null::timestamptz, '{}'::jsonb)$$,
    'agreed on the seller''s terms of now'
);
select pg_temp.agree('{"seller_tier": "gone", "commission_bps": 7, "part": 2, "shipping_cents": 300}');
select results_eq(
    $$select seller_tier, commission_bps, part, shipping_cents from public.payables where part = 2$$,
    $$values ('gone', 7, 2::smallint, 300::bigint)$$, 'or on those that are given'
);
select is(pg_temp.code_of(format('select pg_temp.agree(%L)', bad)), code, bad || ': ' || code)
from (values
    ('{"amount_cents": 0}', '23514'), ('{"amount_cents": 49}', '23514'), ('{"amount_cents": 100000000}', '23514'),
    ('{"shipping_cents": -1}', '23514'), ('{"part": 0}', '23514'), ('{"part": 101}', '23514'),
    ('{"title": ""}', '23514'), ('{"commission_bps": 10001}', '23514'), ('{"commission_bps": -1}', '23514'),
    ('{"seller_id": "00000000-0000-4000-8000-000000000002"}', '23514'), ('{"kind": "nothing"}', '23502')
) as c (bad, code);

-- states
select is(pg_temp.code_of(format('update public.payables set status = %L where part = 2', to_state)), code,
    format('%s: %s', to_state, coalesce(code, 'allowed')))
from (values ('returned', 'move_not_allowed'), ('lapsed', null), ('paid', 'move_not_allowed'),
    ('open', 'move_not_allowed'), ('withdrawn', 'move_not_allowed'), ('returned', 'move_not_allowed')) as c (to_state, code);
select is(
    pg_temp.code_of($$insert into public.payables (kind, subject_id, buyer_id, seller_id, title, amount_cents, seller_tier,
    commission_bps, status) values ('product', gen_random_uuid(), pg_temp.id(2), pg_temp.id(1), 'x', 50, 'x', 0, 'paid')$$),
    'move_not_allowed', 'nothing is born paid'
);

-- who sees it, and writes it
select is(
    pg_temp.code_as(pg_temp.id(who), format('do $x$ begin assert (select count(*) from public.payables) = %s; end $x$', n)),
    null, format('%s sees %s', who, n)
) from (values (2, 2), (1, 0), (3, 0), (4, 2)) as c (who, n);
select is(pg_temp.code_as(null, 'select * from public.payables', 'anon'), '42501', 'visitors nothing');
select is(pg_temp.code_as(pg_temp.id(who), s), '42501', format('%s cannot %s', who, s))
from unnest(array[1, 2, 4]) as who, unnest(array[
    'insert into public.payables (kind, subject_id, buyer_id, seller_id, title, amount_cents, seller_tier, commission_bps) '
    'values (''product'', gen_random_uuid(), pg_temp.id(3), pg_temp.id(1), ''x'', 50, ''x'', 0)',
    'update public.payables set amount_cents = 50', 'delete from public.payables'
]) as s;

-- who pays it
select is(pg_temp.pay(who, song), 'payable_not_open', who || ' does not') from t, unnest(array[1, 3, 4]) as who;
select is(pg_temp.code_as(null, 'select public.checkout_payable(gen_random_uuid())', 'anon'), '42501', 'nor a visitor');
select is(pg_temp.pay(2, gen_random_uuid()), 'payable_not_open', 'what was not agreed is not paid');
select is(pg_temp.pay(2, (select id from public.payables where part = 2)), 'payable_not_open', 'nor what has lapsed');
select is(pg_temp.pay(2, song, more), code, coalesce(more, '') || code) from t, (values
    (', ''paypal''', 'provider_not_available'), (', null', 'provider_not_available'),
    (', ''wallet''', 'insufficient_funds'),
    (', shipping_address => ''{"street": "x"}''', 'invalid_checkout'),
    (', notes => repeat(''x'', 2001)', 'invalid_checkout')
) as c (more, code);
-- Nothing that happens to listing, seller or plan undoes it.
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(1);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
update public.subscriptions set plan_key = 'creator_basic' where user_id = pg_temp.id(1);
select is(pg_temp.pay(2, song), null, 'its buyer does, whatever became of its seller') from t;
select results_eq(
    $$select line_no, kind, item_id, title, unit_price_cents, quantity, seller_tier, commission_bps, is_held, is_owned_once
    from public.order_items where payable_id = (select song from t)$$,
    $$values (1::smallint, 'product', null::uuid, 'A song for you', 5000::bigint, 1, 'standard', 3000, false, false)$$,
    'alone in its order, as agreed'
);
select pg_temp.start(pg_temp.attempt());
select is(private.end_payable(song, 'lapsed'), false, 'while money may arrive it does not lapse') from t;
select is(pg_temp.pay(2, song), null, 'tried again') from t;
select pg_temp.start(pg_temp.attempt());
select is(pg_temp.pay(2, song), null, 'and again') from t;
select results_eq(
    $$select count(*), count(*) filter (where p.cancel_requested_at is null and p.is_open) from public.payments as p$$,
    'values (3::bigint, 1::bigint)', 'the earlier attempts give way'
);
select pg_temp.start(pg_temp.attempt());
create temporary table a as
select p.id, row_number() over (order by p.cancel_requested_at is null desc, p.id) as no from public.payments as p;
select pg_temp.event('payment_intent.succeeded', pg_temp.intent(id)) from a where no = 1;
select is(pg_temp.state(song), 'paid', 'the third is paid') from t;
select results_eq(
    $$select kind, related_id, amount_total_cents, commission_bps, amount_commission_cents from public.transactions$$,
    $$values ('product', null::uuid, 5000::bigint, 3000, 1500::bigint)$$, 'at the agreed rate'
);
select results_eq(
    $$select item_id, owner_id, kind, price_cents from public.purchases$$,
    $$values (null::uuid, pg_temp.id(2), 'product', 5000::bigint)$$, 'a right of nothing in the registry'
);
select is(pg_temp.pay(2, song), 'payable_not_open', 'paid once') from t;
select pg_temp.event('payment_intent.succeeded', pg_temp.intent(id)) from a where no = 2;
select results_eq(
    $$select (select count(*) from public.transactions), (select count(*) from public.refunds
    where reason = 'item_not_available' and amount_cents = 5000)$$,
    'values (1::bigint, 1::bigint)', 'another attempt that succeeds comes back in full'
);
-- A batch with two attempts at one settles the first of them.
create temporary table b as select pg_temp.agree() as twice;
grant select on b to public;
select pg_temp.pay(2, twice) from b;
select pg_temp.start(pg_temp.attempt());
select pg_temp.pay(2, twice) from b;
select pg_temp.start(pg_temp.attempt());
select private.store_webhook_events('stripe', (
    select jsonb_agg(jsonb_build_object(
        'id', 'evt_' || p.id, 'type', 'payment_intent.succeeded', 'created', 1790000000,
        'payload', jsonb_build_object('data', jsonb_build_object('object', pg_temp.intent(p.id)))
    )) from public.payments as p inner join public.order_items as i on i.order_id = p.order_id
    where i.payable_id = (select twice from b)
));
select is(cardinality(private.settle_batch(array(
    select e.id from private.webhook_events as e where e.status = 'pending' order by e.id
))), 1, 'of two attempts in a batch one settles');
select private.process_webhook_event(e.id) from private.webhook_events as e where e.status = 'pending';
select results_eq(
    $$select (select count(*) from public.transactions as t inner join public.order_items as i on i.id = t.order_item_id
        where i.payable_id = twice), (select count(*) from public.refunds as r
        inner join public.payments as p on p.id = r.payment_id inner join public.order_items as i on i.order_id = p.order_id
        where i.payable_id = twice) from b$$,
    'values (1::bigint, 1::bigint)', 'the other goes back'
);
select is_empty($$select * from private.webhook_events where status <> 'processed'$$, 'and nothing is left undone');

-- given back, and that undone
select private.create_refund(p.id, null, 5000, 'sorry') from public.payments as p inner join a on a.id = p.id where a.no = 1;
select private.record_refund(r.id, 're_song', 'succeeded') from public.refunds as r where r.reason = 'sorry';
select is(pg_temp.state(song), 'returned', 'a full refund returns it') from t;
select is(pg_temp.pay(2, song), 'payable_not_open', 'for good') from t;
select private.record_refund(r.id, 're_song', 'failed') from public.refunds as r where r.reason = 'sorry';
select is(pg_temp.state(song), 'paid', 'one that fails later makes it paid') from t;
select is((select revoked_at from public.purchases order by purchased_at, id limit 1), null, 'and its right valid');

-- its end
create temporary table e as select pg_temp.agree(jsonb_build_object('pay_by', now() + interval '5 minutes')) as soon,
    pg_temp.agree(jsonb_build_object('pay_by', now() - interval '1 second')) as over, pg_temp.agree() as other;
grant select on e to public;
select is(pg_temp.pay(2, over), 'payable_not_open', 'after its end nobody pays it, lapsed by a job or not') from e;
select is(pg_temp.pay(2, soon), null, 'before it does') from e;
select is(
    (select p.expires_at from public.payments as p inner join public.order_items as i on i.order_id = p.order_id
    inner join e on e.soon = i.payable_id), now() + interval '5 minutes', 'until then'
);
select is(private.end_payable(over, 'lapsed'), true, 'it lapses') from e;
select is(private.end_payable(over, 'withdrawn'), false, 'once') from e;
select is(private.end_payable(other, 'withdrawn'), true, 'another is withdrawn') from e;
select is(private.end_payable(gen_random_uuid(), 'withdrawn'), false, 'nothing is not');
select private.stop_payment(p.id, 'expired') from public.payments as p where p.is_open and p.started_at is null;
select is(private.end_payable(soon, 'lapsed'), true, 'when no money can arrive it lapses') from e;

-- what it delivers
create temporary table f as select pg_temp.artwork(1, 5000) as work, null::uuid as award, null::uuid as late;
grant select on f to public;
update public.artworks set is_physical = true, status = 'archived' where id = (select work from f);
update f set award = pg_temp.agree(jsonb_build_object('kind', 'artwork', 'item_id', work, 'shipping_cents', 900)),
    late = pg_temp.agree(jsonb_build_object('kind', 'artwork', 'item_id', work, 'buyer_id', pg_temp.id(3)));
select is(pg_temp.pay(2, award), 'address_required', 'what is sent needs an address') from f;
select is(pg_temp.pay(2, award, ', shipping_address => ''{"name": "B", "country": "JP"}'', idempotency_key => ''k'''), null,
    'anywhere, at the shipping agreed on') from f;
select is(pg_temp.pay(2, award, ', shipping_address => ''{"name": "B", "country": "JP"}'', idempotency_key => ''k'''), null,
    'the same key again') from f;
select results_eq(
    $$select count(*), min(charged_cents), bool_and(is_shipped) from public.order_items where payable_id = (select award from f)$$,
    'values (1::bigint, 5900::bigint, true)', 'answers the first order'
);
select is(pg_temp.pay(3, late, ', shipping_address => ''{"name": "B", "country": "JP"}'''), null, 'somebody else agrees too') from f;
create function pg_temp.succeed(payable uuid) returns void language sql as $$
    select pg_temp.start(p.id), pg_temp.event('payment_intent.succeeded', pg_temp.intent(p.id))
    from public.payments as p inner join public.order_items as i on i.order_id = p.order_id
    where i.payable_id = payable and p.is_open
$$;
select pg_temp.succeed(award) from f;
select pg_temp.succeed(late) from f;
select is(array[pg_temp.state(award), pg_temp.state(late)], array['paid', 'open'], 'who pays first gets it') from f;
select results_eq(
    $$select a.status::text, count(p.id) from public.artworks as a inner join public.purchases as p on p.item_id = a.id
    where a.id = (select work from f) and p.revoked_at is null group by a.status$$,
    $$values ('sold', 1::bigint)$$, 'what is delivered is sold'
);
select results_eq(
    $$select r.amount_cents, r.reason from public.refunds as r inner join public.payments as p on p.id = r.payment_id
    where p.user_id = pg_temp.id(3)$$,
    $$values (5000::bigint, 'item_not_available')$$, 'the other''s money goes back'
);
select is_empty($$select * from private.webhook_events where status <> 'processed'$$, 'at once');
select is_empty('select * from ledger.audit()', 'the books agree');

select * from finish();
rollback;
