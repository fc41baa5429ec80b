-- Entitlements: granted by settlement, one row for each right, revoked by a full refund, counted.
begin;
\ir ../helpers.psql

-- A line of an item by whatever way, and rights it grants; the line.
create function pg_temp.line(buyer integer, item uuid, pieces integer default 1) returns uuid language sql as $$
    with o as (
        insert into public.orders (user_id, subtotal_cents, total_cents)
        values (pg_temp.id(buyer), 2000 * pieces, 2000 * pieces) returning id
    )
    insert into public.order_items (
        order_id, line_no, kind, item_id, buyer_id, seller_id, title, unit_price_cents, quantity, seller_tier,
        commission_bps
    )
    select o.id, 1, c.kind, c.id, pg_temp.id(buyer), c.seller_id, c.title, 2000, pieces, 'basic', 4000
    from o, public.catalog_items as c where c.id = item
    returning id
$$;
create function pg_temp.grant_unit(
    line uuid, owner integer, unit integer default 1, option uuid default null, once boolean default true,
    single boolean default false, number integer default null
) returns uuid language sql as $$
    insert into public.purchases (
        order_item_id, item_id, option_id, unit, kind, owner_id, payer_id, is_owned_once, is_single, number, price_cents
    )
    select i.id, i.item_id, option, unit, i.kind, pg_temp.id(owner), i.buyer_id, once, single, number, 2000
    from public.order_items as i where i.id = line
    returning id
$$;
create function pg_temp.revoke(item uuid) returns void language sql as $$
    select private.revoke_line(p.order_item_id, 'refunded') from public.purchases as p where p.item_id = item
$$;

select plan(78);
select pg_temp.people();
create temporary table t as select
    pg_temp.product(1, 2000) as product, pg_temp.artwork(1, 5000) as artwork, pg_temp.product(1, 0) as free;
create temporary table o as select
    pg_temp.buy(2, product) as product, pg_temp.buy(5, artwork) as artwork,
    (pg_temp.checkout(2, free) ->> 'order_id')::uuid as free from t;
grant select on t, o to public;
select pg_temp.ban();

-- structure
select col_is_pk('public', 'purchases', 'id', 'a right is a row');
select col_is_unique('public', 'purchases', array['order_item_id', 'item_id', 'unit'], 'a line grants each unit once');
select fk_ok('public', 'purchases', array['option_id', 'item_id'], 'public', 'catalog_options', array['id', 'item_id']);
select fk_ok('public', 'purchases', 'owner_id', 'public', 'profiles', 'id');
select fk_ok('public', 'purchases', 'payer_id', 'public', 'profiles', 'id');
select results_eq(
    $$select p.owner_id, p.payer_id, p.kind, p.unit, p.price_cents, p.is_owned_once, p.is_single, p.revoked_at, l.order_id
    from public.purchases as p
    inner join public.order_items as l on l.id = p.order_item_id
    where p.item_id = (select product from t)$$,
    $$select pg_temp.id(2), pg_temp.id(2), 'product', 1, 2000::bigint, true, false, null::timestamptz, product from o$$,
    'granted by the settled line, to who paid'
);
select results_eq(
    $$select price_cents from public.purchases where item_id = (select free from t)$$, $$values (0::bigint)$$,
    'free things are granted at checkout'
);
select results_eq(
    $$select is_owned_once, is_single from public.purchases where item_id = (select artwork from t)$$,
    $$values (true, true)$$, 'one of a kind is one owner''s'
);
select is(private.owns_item(pg_temp.id(b), i), e, b || ' owns ' || n) from (
    select 2 as b, 'product' as n, product as i, true as e from t union all select 3, 'product', product, false from t
    union all select 1, 'product', product, false from t union all select 5, 'artwork', artwork, true from t
    union all select 2, 'artwork', artwork, false from t
) as c;
select is(private.owns_item(null, (select product from t)), false, 'nobody owns nothing');
select is((select purchases_count from public.catalog_items where id = (select product from t)), 1, 'counted');

-- revoked and granted again
select pg_temp.revoke(product) from t;
select results_eq(
    $$select revoked_at, revoked_reason from public.purchases where item_id = (select product from t)$$,
    $$values (now(), 'refunded')$$, 'revoked, and why'
);
select is(private.owns_item(pg_temp.id(2), (select product from t)), false, 'owned no longer');
select is((select purchases_count from public.catalog_items where id = (select product from t)), 0, 'counted down');
select pg_temp.revoke(product) from t;
select is((select purchases_count from public.catalog_items where id = (select product from t)), 0, 'once');
select isnt(pg_temp.buy(2, (select product from t)), null, 'a revoked one can be bought again');
select is(private.owns_item(pg_temp.id(2), (select product from t)), true, 'and is owned again');
select is((select purchases_count from public.catalog_items where id = (select product from t)), 1, 'counted up');
select results_eq(
    $$select revoked_at is null, order_item_id = (select i.id from public.order_items as i
        where i.order_id = (select product from o))
    from public.purchases where item_id = (select product from t) order by 1$$,
    $$values (false, true), (true, false)$$, 'each line has its own right'
);
select is(pg_temp.code_of(s), '23514', s) from unnest(array[
    'update public.purchases set revoked_at = now() where revoked_at is null',
    'update public.purchases set revoked_reason = ''x'' where revoked_at is null',
    'update public.purchases set unit = 0'
]) as s;

-- what may be owned together
create temporary table u as select
    pg_temp.product(1, 2000) as product, pg_temp.artwork(1, 2000) as artwork, null::uuid as option, null::uuid as other;
insert into public.catalog_options (item_id, title, price_cents) select product, v, 500 from u, unnest(array['A', 'B']) as v;
update u set
    option = (select o.id from public.catalog_options as o where o.title = 'A'),
    other = (select o.id from public.catalog_options as o where o.title = 'B');
select is(pg_temp.code_of(format('select pg_temp.grant_unit(pg_temp.line(2, %L), %s)', item, what)), code, means)
from u, lateral (values
    (product, '2', null, 'a product'),
    (product, '2', '23505', 'is owned once'),
    (product, format('2, 1, %L', option), null, 'but each option of it too'),
    (product, format('2, 1, %L', option), '23505', 'once'),
    (product, format('2, 1, %L', other), null, 'and the other'),
    (product, '3', null, 'by somebody else'),
    (product, 'null', null, 'a gift that nobody claimed is nobody''s'),
    (product, 'null', null, 'nor the next'),
    (product, '2, 1, null, false', null, 'what is not owned once is owned again'),
    (product, '2, 1, null, false', null, 'and again'),
    (artwork, '2, 1, null, true, true', null, 'one of a kind'),
    (artwork, '3, 1, null, true, true', '23505', 'has one owner'),
    (artwork, '3, 1, null, false, true', '23505', 'however it is had'),
    (artwork, '3, 1, null, false, false, 7', null, 'a copy has a number'),
    (artwork, '2, 1, null, false, false, 7', '23505', 'which is one copy''s'),
    (artwork, '2, 1, null, false, false, 8', null, 'another has another')
) as c (item, what, code, means);
select is(
    pg_temp.code_of(format('select pg_temp.grant_unit(l.id, 2, n, null, false) from (select pg_temp.line(2, %L, 3) as id) '
        'as l, generate_series(1, 3) as n', product)), null, 'a line grants several units'
) from u;
select is(
    pg_temp.code_of(format('select pg_temp.grant_unit(l.id, 2, 1, null, false) from (select pg_temp.line(2, %L, 3) as id) '
        'as l, generate_series(1, 2) as n', product)), '23505', 'each of them once'
) from u;
select private.revoke_line(p.order_item_id, 'refunded') from public.purchases as p, u where p.item_id = u.artwork;
select lives_ok(
    'select pg_temp.grant_unit(pg_temp.line(3, artwork), 3, 1, null, true, true) from u', 'what is given back has a new owner'
);
select lives_ok(
    'select pg_temp.grant_unit(pg_temp.line(3, artwork), 3, 1, null, false, false, 7) from u', 'and a number too'
);
select is(
    pg_temp.code_of('update public.purchases set option_id = (select option from u) where item_id = (select artwork from u)'),
    '23503', 'an option is one of its item'
);

-- counted by statement
create table pg_temp.counted (item uuid, n integer);
grant all on pg_temp.counted to public;
create function pg_temp.note_count() returns trigger language plpgsql as $$
begin
    insert into pg_temp.counted values (new.id, new.purchases_count);
    return null;
end
$$;
create trigger note_count after update of purchases_count on public.catalog_items
for each row execute function pg_temp.note_count();
create temporary table c as select pg_temp.product(1, 2000) as one, pg_temp.product(1, 2000) as two;
create temporary table l as
select pg_temp.line(2, one, 3) as line, 3 as pieces from c union all select pg_temp.line(3, two, 2), 2 from c
union all select pg_temp.line(3, one, 1), 1 from c;
insert into public.purchases (
    order_item_id, item_id, unit, kind, owner_id, payer_id, is_owned_once, is_single, price_cents
)
select i.id, i.item_id, n, i.kind, i.buyer_id, i.buyer_id, false, false, case when n = 1 then 0 else 2000 end
from l inner join public.order_items as i on i.id = l.line, generate_series(1, l.pieces) as n;
select results_eq(
    'select c.purchases_count, c.paid_purchases_count from public.catalog_items as c, c as t '
    'where c.id in (t.one, t.two) order by c.id = t.two',
    'values (4, 2), (2, 1)', 'each right counts, what was paid for apart'
);
select is((select count(*) from pg_temp.counted), 2::bigint, 'a batch counts each item once');
truncate pg_temp.counted;
update public.purchases as p set revoked_at = now(), revoked_reason = 'removed' from c
where p.item_id in (c.one, c.two) and p.unit <> 2;
select results_eq(
    'select c.purchases_count, c.paid_purchases_count from public.catalog_items as c, c as t '
    'where c.id in (t.one, t.two) order by c.id = t.two',
    'values (1, 1), (1, 1)', 'revoked they do not'
);
select is((select count(*) from pg_temp.counted), 2::bigint, 'once each again');
truncate pg_temp.counted;
update public.purchases as p set number = 5 from c where p.item_id = c.one and p.unit = 2;
select is_empty('select * from pg_temp.counted', 'what changes nothing counts nothing');
select is_empty('select * from private.recount()', 'and the recount agrees');
drop trigger note_count on public.catalog_items;

-- who sees what
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.purchases where item_id in (select product from t union select free from t)),
    3::bigint, 'owners see their own');
select is_empty('select * from public.purchases where owner_id <> pg_temp.id(2) and payer_id <> pg_temp.id(2)',
    'and no others'' beside');
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.purchases), 0::bigint, 'sellers do not');
select pg_temp.be(pg_temp.id(5));
select is((select count(*) from public.purchases), 0::bigint, 'the banned do not');
select pg_temp.be(pg_temp.id(4));
select is((select count(distinct owner_id) from public.purchases), 3::bigint, 'admins do');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.purchases$$), '42501', 'visitors do not');
reset role;
-- Owner and payer are two.
create temporary table g as select pg_temp.product(1, 2000) as gift;
grant select on g to public;
select pg_temp.grant_unit(pg_temp.line(2, gift), 2) from g;
update public.purchases set owner_id = pg_temp.id(3) where item_id = (select gift from g);
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.purchases where item_id = (select gift from g)), 1::bigint, 'its owner sees it');
select is(private.has_bought(pg_temp.id(3), gift), true, 'and has it') from g;
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.purchases where item_id = (select gift from g)), 1::bigint, 'its payer sees it');
select is(private.has_bought(pg_temp.id(2), gift), false, 'and does not have it') from g;
reset role;
select is(pg_temp.code_as(pg_temp.id(w), s), '42501', format('%s cannot %s', w, s))
from unnest(array[2, 3, 4]) as w
cross join unnest(array[
    'insert into public.purchases (owner_id, payer_id, item_id, order_item_id, kind, is_owned_once, is_single, '
    'price_cents) values (pg_temp.id(3), pg_temp.id(3), gen_random_uuid(), gen_random_uuid(), ''product'', true, false, 0)',
    'update public.purchases set revoked_at = null', 'update public.purchases set owner_id = pg_temp.id(3)',
    'delete from public.purchases'
]) as s;

-- popularity
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
select pg_temp.revoke(paid) from p;
select results_eq(
    'select purchases_count, paid_purchases_count, popularity from public.catalog_items where id = (select paid from p)',
    $$values (0, 0, 0::smallint)$$, 'as long as it is not refunded'
);

select * from finish();
rollback;
