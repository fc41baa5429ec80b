-- Entitlements: granted by settlement, revoked by a full refund, counted.
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

select plan(33);
select pg_temp.people();
create temporary table t as select
    pg_temp.product(1, 2000) as product, pg_temp.artwork(1, 5000) as artwork, pg_temp.product(1, 0) as free;
create temporary table o as select
    pg_temp.buy(2, product) as product, pg_temp.buy(5, artwork) as artwork,
    (pg_temp.checkout(2, free) ->> 'order_id')::uuid as free from t;
grant select on t, o to public;
select pg_temp.ban();

select col_is_pk('public', 'purchases', array['buyer_id', 'item_id'], 'one per buyer and item');
select index_is_unique('public', 'purchases', 'purchases_order_item_id_idx', 'a line grants one');
select results_eq(
    $$select p.buyer_id, p.price_cents, p.revoked_at, l.order_id from public.purchases as p
    inner join public.order_items as l on l.id = p.order_item_id
    where p.item_id = (select product from t)$$,
    $$select pg_temp.id(2), 2000::bigint, null::timestamptz, product from o$$, 'granted by the settled line'
);
select results_eq(
    $$select price_cents from public.purchases where item_id = (select free from t)$$, $$values (0::bigint)$$,
    'free things are granted at checkout'
);
select is(private.owns_item(pg_temp.id(b), i), e, b || ' owns ' || n) from (
    select 2 as b, 'product' as n, product as i, true as e from t union all select 3, 'product', product, false from t
    union all select 1, 'product', product, false from t union all select 5, 'artwork', artwork, true from t
    union all select 2, 'artwork', artwork, false from t
) as c;
select is(private.owns_item(null, (select product from t)), false, 'nobody owns nothing');
select is((select purchases_count from public.catalog_items where id = (select product from t)), 1, 'counted');

-- revoked and granted again
update public.purchases set revoked_at = now() where item_id = (select product from t);
select is(private.owns_item(pg_temp.id(2), (select product from t)), false, 'revoked');
select is((select purchases_count from public.catalog_items where id = (select product from t)), 0, 'counted down');
update public.purchases set revoked_at = now() where item_id = (select product from t);
select is((select purchases_count from public.catalog_items where id = (select product from t)), 0, 'once');
select isnt(pg_temp.buy(2, (select product from t)), null, 'a revoked one can be bought again');
select is(private.owns_item(pg_temp.id(2), (select product from t)), true, 'and is owned again');
select is((select purchases_count from public.catalog_items where id = (select product from t)), 1, 'counted up');
select is((select count(*) from public.purchases where item_id = (select product from t)), 1::bigint,
    'in the same row');

-- who sees what
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.purchases), 2::bigint, 'buyers see their own');
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.purchases), 0::bigint, 'sellers do not');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.purchases), 0::bigint, 'strangers do not');
select pg_temp.be(pg_temp.id(5));
select is((select count(*) from public.purchases), 0::bigint, 'the banned do not');
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.purchases), 3::bigint, 'admins do');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.purchases$$), '42501', 'visitors do not');
select is(pg_temp.code_as(pg_temp.id(w), s), '42501', format('%s cannot %s', w, s))
from unnest(array[2, 3, 4]) as w
cross join unnest(array[
    'insert into public.purchases (buyer_id, item_id, order_item_id, price_cents) '
    'values (pg_temp.id(3), gen_random_uuid(), gen_random_uuid(), 0)',
    'update public.purchases set revoked_at = null', 'delete from public.purchases'
]) as s;
reset role;

select * from finish();
rollback;
