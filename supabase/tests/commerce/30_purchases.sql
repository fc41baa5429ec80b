-- Entitlements: granted by settlement, revoked by a full refund, counted.
begin;
\ir ../helpers.psql

select plan(36);
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

-- popularity
reset role;
create temporary table p as select pg_temp.product(1, 0) as free, pg_temp.product(1, 500) as paid;
grant select on p to public;
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(11, 16) as n;
select pg_temp.checkout(n, free) from p, generate_series(11, 16) as n;
select results_eq(
    'select purchases_count, paid_purchases_count, popularity from public.catalog_items where id = (select free from p)',
    $$values (6, 0, 0::smallint)$$, 'what was given away moves no popularity'
);
select pg_temp.buy(11, paid) from p;
select results_eq(
    'select purchases_count, paid_purchases_count, popularity from public.catalog_items where id = (select paid from p)',
    $$values (1, 1, 4::smallint)$$, 'what was paid for does'
);
update public.purchases set revoked_at = now() where item_id = (select paid from p);
select results_eq(
    'select purchases_count, paid_purchases_count, popularity from public.catalog_items where id = (select paid from p)',
    $$values (0, 0, 0::smallint)$$, 'as long as it is not refunded'
);

select * from finish();
rollback;
