-- What sending costs: whose rates count for which country, and what a line of an order bears of it.
begin;
\ir ../helpers.psql

create function pg_temp.work(seller integer, price bigint) returns uuid language sql as $$
    insert into public.artworks (seller_id, title, image_url, price_cents, category, status, is_physical)
    values (pg_temp.id(seller), 'Work', 'https://e.com/1.png', price, 'painting', 'published', true)
    returning id
$$;
create function pg_temp.take(items uuid[], country text default 'CH', who integer default 2) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.checkout(%L, shipping_address => %L)',
        (select jsonb_agg(jsonb_build_object('item_id', i)) from unnest(items) as i),
        case when country is not null then jsonb_build_object('name', 'B', 'country', country) end
    ))
$$;
-- Shipping of the lines of an order of these, and of the order.
create function pg_temp.shipping(items uuid[]) returns text language sql as $$
    select string_agg(i.shipping_cents::text, ' ' order by i.line_no) || ' = ' || o.shipping_cents || ' of ' || o.total_cents
    from public.order_items as i inner join public.orders as o on o.id = i.order_id
    where o.status = 'pending' and i.item_id = any (items) group by o.id
$$;
create function pg_temp.drop_orders() returns void language sql as $$
    select private.stop_payment(p.id, 'expired') from public.payments as p where p.is_open;
    delete from private.hold_periods
$$;
grant execute on all functions in schema pg_temp to public;

select plan(68);
select pg_temp.people();
create temporary table t as select
    pg_temp.work(1, 5000) as one, pg_temp.work(1, 3000) as two, pg_temp.work(3, 2000) as other, pg_temp.work(1, 0) as free,
    pg_temp.product(1, 1000) as product;
grant select on t to public;

-- who writes and reads them
select col_is_pk('public', 'shipping_rates', 'id', 'a row each');
select fk_ok('public', 'shipping_rates', 'seller_id', 'public', 'profiles', 'id');
select pg_temp.be(pg_temp.id(1));
select lives_ok($$insert into public.shipping_rates (name, countries, price_cents)
    values ('  Near  by ', '{CH,LI}', 700)$$, 'a seller says what sending costs');
select results_eq('select seller_id, name, countries, price_cents, free_above_cents from public.shipping_rates',
    $$values (pg_temp.id(1), 'Near by', '{CH,LI}'::text[], 700::bigint, null::bigint)$$, 'tidied, their own');
select lives_ok($$update public.shipping_rates set free_above_cents = 10000$$, 'and changes it');
select is(pg_temp.code_of(format('insert into public.shipping_rates (name, countries, price_cents, free_above_cents) values (%s)',
    bad)), code, bad || ': ' || code)
from (values
    ('''x'', ''{ch}'', 700, null', '23514'), ('''x'', ''{CHE}'', 700, null', '23514'), ('''x'', ''{C}'', 700, null', '23514'),
    ('''x'', ''{"CH LI"}'', 700, null', '23514'), ('''x'', ''{""}'', 700, null', '23514'), ('''x'', ''{null}'', 700, null', '23514'),
    ('''x'', array_fill(''CH''::text, array[251]), 700, null', '23514'),
    ('''x'', ''{{CH,LI},{DE,FR}}'', 700, null', '23514'),
    ('''x'', ''{CH,CH}'', 700, null', '23514'),
    ('''x'', ''{DE}'', -1, null', '23514'), ('''x'', ''{DE}'', 49, null', '23514'), ('''x'', ''{DE}'', 100000000, null', '23514'),
    ('''x'', ''{DE}'', 700, -1', '23514'), ('''x'', ''{DE}'', 700, 100000000', '23514'),
    ('repeat(''x'', 101), ''{DE}'', 700, null', '23514'), ('''  '', ''{DE}'', 700, null', 'text_not_visible'),
    ('null, ''{DE}'', 700, null', '23502')
) as c (bad, code);
select lives_ok($$insert into public.shipping_rates (name, price_cents) values ('Elsewhere', 3000)$$, 'all other countries');
select is(pg_temp.code_of($$insert into public.shipping_rates (name, price_cents) values ('More', 3000)$$), '23505',
    'have one rate');
select is(pg_temp.code_of(s), '42501', s) from unnest(array[
    'insert into public.shipping_rates (seller_id, name, price_cents) values (pg_temp.id(3), ''x'', 0)',
    'update public.shipping_rates set seller_id = pg_temp.id(3)', 'update public.shipping_rates set created_at = now()'
]) as s;
select pg_temp.be(pg_temp.id(3));
update public.shipping_rates set price_cents = 0;
delete from public.shipping_rates;
insert into public.shipping_rates (name, countries, price_cents) values ('Home', '{CH}', 500);
select is((select count(*) from public.shipping_rates where price_cents > 0), 3::bigint, 'nobody changes another''s');
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.shipping_rates), 3::bigint, 'members read them');
select pg_temp.be(null, 'anon');
select is((select count(*) from public.shipping_rates), 3::bigint, 'visitors too');
select is(pg_temp.code_of(s), '42501', 'visitors: ' || s) from unnest(array[
    'insert into public.shipping_rates (name, price_cents) values (''x'', 0)', 'update public.shipping_rates set price_cents = 0',
    'delete from public.shipping_rates'
]) as s;
reset role;
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(3), pg_temp.id(5));
select pg_temp.be(pg_temp.id(5));
select is((select count(*) from public.shipping_rates), 2::bigint, 'whom one may not see has none');
reset role;

-- which country
select is(private.country_of(address), country, format('%s: %s', address, coalesce(country, 'none')))
from (values
    ('{"country": "CH"}'::jsonb, 'CH'), ('{"country": " ch "}', 'CH'), ('{"country": "Switzerland"}', null),
    ('{"country": null}', null), ('{}', null), (null, null)
) as c (address, country);

-- which rate
insert into public.shipping_rates (seller_id, name, countries, price_cents) values
(pg_temp.id(1), 'Express', '{CH}', 1900), (pg_temp.id(1), 'Far', '{US}', 4000);
select is(private.shipping_price(pg_temp.id(seller), country, amount), cents, means)
from (values
    (1, 'CH', 5000, 700::bigint, 'of several the lowest'), (1, 'LI', 5000, 700, 'for each of its countries'),
    (1, 'CH', 10000, 0, 'from an amount on it is free'), (1, 'CH', 9999, 700, 'not below'),
    (1, 'US', 5000, 4000, 'a country''s own goes before the rest''s, though dearer'), (1, 'DE', 5000, 3000, 'the rest'),
    (3, 'CH', 5000, 500, 'each seller has their own'), (3, 'DE', 5000, null, 'and sends nowhere else'),
    (2, 'CH', 5000, null, 'nor does who has none')
) as c (seller, country, amount, cents, means);

-- what an order bears
select is(pg_temp.take(array[product], null), null, 'what is not sent needs no address') from t;
select is(pg_temp.shipping(array[product]), '0 = 0 of 1000', 'and costs nothing') from t;
select pg_temp.drop_orders();
select is(pg_temp.take(array[one], null), 'address_required', 'what is sent does') from t;
select is(pg_temp.take(array[one], 'Germany'), 'address_required', 'with a country''s code') from t;
select is(pg_temp.take(array[product, other], 'DE'), 'shipping_not_available', 'that its seller sends to') from t;
select is(pg_temp.take(array[one, two, product]), null, 'an order of three') from t;
select is(pg_temp.shipping(array[one, two, product]), '700 700 0 = 1400 of 10400', 'each sent line bears its own') from t;
select pg_temp.drop_orders();
update public.shipping_rates set free_above_cents = 8000 where name = 'Near by';
select is(pg_temp.take(array[one, product]), null, 'files do not count') from t;
select is(pg_temp.shipping(array[one]), '700 = 700 of 6700', 'towards what is sent free') from t;
select pg_temp.drop_orders();
select is(pg_temp.take(array[one, two, other]), null, 'two sellers') from t;
select is(pg_temp.shipping(array[one, two, other]), '0 0 500 = 500 of 10500', 'each counts what is theirs') from t;
select pg_temp.drop_orders();
select is(pg_temp.take(array[free], 'DE'), null, 'what is free may have to be sent') from t;
select is(pg_temp.shipping(array[free]), '3000 = 3000 of 3000', 'and that is paid') from t;
select pg_temp.drop_orders();
update public.shipping_rates set price_cents = 0 where name = 'Elsewhere';
select is(pg_temp.take(array[free], 'DE'), null, 'or is free too') from t;
select results_eq(
    $$select o.status::text, o.total_cents, o.shipping_address ->> 'country', i.is_shipped from public.orders as o
    inner join public.order_items as i on i.order_id = o.id where i.item_id = (select free from t) and o.status = 'completed'$$,
    $$values ('completed', 0::bigint, 'DE', true)$$, 'then it is done at once'
);
-- Fixed when it was ordered.
select is(pg_temp.take(array[two], 'US'), null, 'ordered') from t;
update public.shipping_rates set price_cents = 9000 where name = 'Far';
select pg_temp.start(p.id), pg_temp.event('payment_intent.succeeded', pg_temp.intent(p.id)) from public.payments as p
where p.is_open;
select results_eq(
    $$select s.amount_total_cents, s.amount_fees_cents, s.amount_commission_cents, s.amount_seller_cents
    from public.transactions as s where s.related_id = (select two from t)$$,
    'values (7000::bigint, 233::bigint, 1200::bigint, 5567::bigint)', 'shipping is the seller''s, without commission'
);
select is_empty('select * from ledger.audit()', 'the books agree');

-- who leaves sends nothing
delete from auth.users where id = pg_temp.id(3);
select is_empty($$select * from public.shipping_rates where seller_id = pg_temp.id(3)$$, 'an account that ends has no rates');

select * from finish();
rollback;
