-- Settlement, real fees and releases. The flows are in tests/money/; here each piece by itself.
begin;
-- Who speaks: pg_temp.be(<user>) is a signed-in member, pg_temp.be(null, 'anon') a visitor, reset role the server.
create function pg_temp.be(who uuid, speaker text default 'authenticated') returns void language plpgsql as $$
begin
    perform set_config('request.jwt.claims', json_build_object('sub', who, 'role', speaker)::text, true);
    perform set_config('role', speaker, true);
end
$$;
create function pg_temp.id(n integer) returns uuid language sql immutable as $$
    select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
$$;
-- The stable code of the error a statement ends with (the hint, else the SQLSTATE); null when it works.
create function pg_temp.code_of(statement text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute statement;
    return null;
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return case when sqlstate ~ '^(PT|AV)' then hint else sqlstate end;
end
$$;
create function pg_temp.code_as(who uuid, statement text, speaker text default 'authenticated') returns text
language plpgsql as $$
declare
    code text;
begin
    perform pg_temp.be(who, speaker);
    code := pg_temp.code_of(statement);
    perform set_config('role', 'none', true);
    return code;
end
$$;
-- 1 sells, 2 buys, 3 is a stranger, 4 an admin, 5 was banned.
create function pg_temp.people() returns void language sql as $$
    insert into auth.users (id, email)
    select pg_temp.id(n), n || '@example.com' from generate_series(1, 5) as n;
    update public.profiles set role = 'admin' where id = pg_temp.id(4);
$$;
create function pg_temp.ban() returns void language sql as $$
    insert into public.bans (user_id, reason) values (pg_temp.id(5), 'spam')
$$;
create function pg_temp.product(seller integer, price bigint, minimum bigint default null) returns uuid
language plpgsql as $$
declare
    item uuid := gen_random_uuid();
begin
    perform set_config('request.jwt.claims', '', true);
    insert into public.products (id, seller_id, title, price_cents, allow_name_your_price, minimum_price_cents)
    values (item, pg_temp.id(seller), 'Product', price, minimum is not null, minimum);
    insert into storage.objects (bucket_id, name) values ('product-files', pg_temp.id(seller) || '/' || item);
    insert into public.product_files (product_id, path) values (item, pg_temp.id(seller) || '/' || item);
    update public.products set status = 'active' where id = item;
    return item;
end
$$;
create function pg_temp.artwork(seller integer, price bigint) returns uuid language sql as $$
    insert into public.artworks (seller_id, title, image_url, price_cents, category, status)
    values (pg_temp.id(seller), 'Artwork', 'https://e.com/1.png', price, 'painting', 'published')
    returning id
$$;
create function pg_temp.checkout(buyer integer, item uuid, provider public.payment_provider default 'stripe')
returns jsonb language plpgsql as $$
declare
    answer jsonb;
begin
    perform pg_temp.be(pg_temp.id(buyer));
    answer := public.checkout(jsonb_build_array(jsonb_build_object('item_id', item)), provider);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
-- An event as Stripe sends it, stored and processed at once.
create function pg_temp.event(type text, object jsonb) returns text language plpgsql as $$
declare
    name text := 'evt_' || gen_random_uuid();
begin
    perform private.store_webhook_events('stripe', jsonb_build_array(jsonb_build_object(
        'id', name, 'type', type, 'created', 1790000000,
        'payload', jsonb_build_object('id', name, 'type', type, 'data', jsonb_build_object('object', object))
    )));
    return private.process_webhook_event(e.id) from private.webhook_events as e where e.event_id = name;
end
$$;
create function pg_temp.intent(payment uuid, cents bigint default null) returns jsonb language sql as $$
    select jsonb_build_object(
        'object', 'payment_intent', 'id', coalesce(p.provider_ref, 'pi_' || p.id), 'currency', 'usd',
        'amount_received', coalesce(cents, p.amount_cents), 'latest_charge', 'ch_' || p.id,
        'metadata', jsonb_build_object('payment_id', p.id)
    )
    from public.payments as p where p.id = payment
$$;
-- Starts an attempt at the provider.
create function pg_temp.start(payment uuid) returns text language sql as $$
    select private.start_payment(p.id, p.user_id) from public.payments as p where p.id = payment;
    select private.attach_payment_ref(payment, 'pi_' || payment)
$$;
-- A card purchase from checkout to settlement; the order.
create function pg_temp.buy(buyer integer, item uuid) returns uuid language plpgsql as $$
declare
    answer jsonb := pg_temp.checkout(buyer, item);
begin
    perform pg_temp.start((answer ->> 'payment_id')::uuid);
    perform pg_temp.event('payment_intent.succeeded', pg_temp.intent((answer ->> 'payment_id')::uuid));
    return answer ->> 'order_id';
end
$$;
grant execute on all functions in schema pg_temp to public;

select plan(30);
select pg_temp.people();
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
create temporary table t as select pg_temp.product(1, 2000) as product, pg_temp.artwork(1, 5000) as artwork;
create temporary table o as select
    (pg_temp.checkout(2, product) ->> 'payment_id')::uuid as p, (pg_temp.checkout(3,
        artwork) ->> 'payment_id')::uuid as q from t;
create function pg_temp.wallet(n integer) returns bigint[] language sql as $$
    select array[w.balance_available_cents, w.balance_pending_cents, w.debt_cents] from public.wallets as w
    where w.user_id = pg_temp.id(n)
$$;

select col_is_pk('private', 'reservations', 'item_id', 'a piece is held once');
select fk_ok('private', 'reservations', 'order_id', 'public', 'orders', 'id');

-- settling
select is(private.settle_payment(p, 'ch_1'), 'settled', 'money is certain') from o;
select is(private.settle_payment(p, 'ch_1'), 'already_settled', 'once') from o;
select is(pg_temp.wallet(1), array[0, 1312, 0]::bigint[], 'earned, held');
select results_eq(
    $$select a.code, e.amount_cents from ledger.entries as e
    inner join ledger.accounts as a on a.id = e.account_id inner join ledger.journal as j on j.id = e.journal_id
    where j.kind = 'sale' order by e.leg_no$$,
    $$values ('clearing:stripe', -2000::bigint), ('fees:stripe', 88), ('revenue', 600), ('pending', 1312)$$,
        'money.md''s legs'
);
select is((select status::text from public.artworks where id = (select artwork from t)), 'published',
    'a held piece is for sale');
select is(private.settle_payment(q), 'settled', 'and sold') from o;
select is((select status::text from public.artworks where id = (select artwork from t)), 'sold', 'when it is paid');
select is((select count(*) from private.reservations), 0::bigint, 'nobody holds it any more');

-- the real fee
select private.record_provider_fee(p, 'ch_other', 100) from o;
select results_eq(
    $$select provider_fee_cents, charge_id from public.payments where id = (select p from o)$$,
    $$values (100::bigint, 'ch_1')$$, 'noted, the charge stays'
);
select is((select amount_seller_cents from public.transactions where payment_id = (select p from o)), 1300::bigint,
    'the seller bears it');
select private.record_provider_fee(p, 'ch_1', 50) from o;
select is((select provider_fee_cents from public.payments where id = (select p from o)), 100::bigint, 'once');
select results_eq($$select payment_id from private.payments_missing_fee(9)$$, $$select q from o$$,
    'the other is still to be read');
select is(pg_temp.code_of(format('select private.record_provider_fee(%L, null, %s)', q, f)), 'event_rejected',
    f || ' is no fee')
from o, unnest(array['-1', '100000000', '9007199254740992', 'null']) as f;

-- release
select is(private.release_matured_earnings(10), 0, 'not before seven days');
update public.transactions set release_at = now();
select pg_temp.ban();
select is(private.release_matured_earnings(1), 1, 'a batch');
select is(private.release_matured_earnings(10), 1, 'the rest');
select is(private.release_matured_earnings(10), 0, 'each once');
select is(pg_temp.wallet(1), array[1300 + 3325, 0, 0]::bigint[], 'available now');
select is_empty($$select * from public.transactions where pending_cents <> 0 or release_journal_id is null$$,
    'nothing is held');
select pg_temp.buy(2, pg_temp.artwork(1, 1000));
update public.transactions set release_at = now() where release_journal_id is null;
insert into public.bans (user_id, reason) values (pg_temp.id(1), 'x');
select is(private.release_matured_earnings(10), 0, 'a banned seller''s money is held');
delete from public.bans where user_id = pg_temp.id(1);
select is(private.release_matured_earnings(10), 1, 'not lost');

-- debt is repaid first
select ledger.post('adjustment', 'debt', array[
    ledger.leg(pg_temp.id(3), 'debt', -500), ledger.leg(null, 'promotions', 500)], null, 'USD', 'test');
select pg_temp.buy(2, pg_temp.product(3, 1000));
update public.transactions set release_at = now() where release_journal_id is null;
select private.release_matured_earnings(10);
select is(pg_temp.wallet(3), array[541 - 500, 0, 0]::bigint[], 'debt first');
select is_empty($$select * from ledger.audit()$$, 'the books are right');

select is_empty(
    $$select r, p.oid::regprocedure from pg_catalog.pg_proc as p
    cross join unnest(array['anon', 'authenticated', 'service_role']) as r
    where p.proname in ('settle_payment', 'deliver_order', 'record_provider_fee', 'release_matured_earnings',
        'lock_wallets',
    'seller_legs', 'cancel_pending_order', 'payments_missing_fee') and has_function_privilege(r, p.oid, 'execute')$$,
    'clients settle and release nothing'
);
select is_empty(
    $$select p.oid::regprocedure from pg_catalog.pg_proc as p
    where p.proname in ('settle_payment', 'deliver_order', 'lock_wallets', 'seller_legs', 'cancel_pending_order')
    and has_function_privilege('avenue_worker', p.oid, 'execute')$$, 'workers settle through events only'
);

select * from finish();
rollback;
