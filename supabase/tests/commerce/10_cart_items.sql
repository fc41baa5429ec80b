-- The cart: one's own, checked when something enters.
begin;
\ir ../helpers.psql

select plan(70);
select pg_temp.people();
create temporary table t as select
    pg_temp.product(1, 2000) as product, pg_temp.product(1, 1000, 500) as named, pg_temp.artwork(1, 5000) as artwork,
    pg_temp.product(5, 100) as banned, pg_temp.product(2, 100) as own, pg_temp.artwork(1, 5000) as display;
update public.artworks set is_for_sale = false where id = (select display from t);
grant select on t to public;
select pg_temp.ban();

select col_is_pk('public', 'cart_items', array['user_id', 'item_id', 'option_key'], 'one row per member, item and option');
select fk_ok('public', 'cart_items', 'user_id', 'public', 'profiles', 'id');
select fk_ok('public', 'cart_items', 'item_id', 'public', 'catalog_items', 'id');
select has_index('public', 'cart_items', 'cart_items_item_id_idx', array['item_id'], 'its foreign key is indexed');

select pg_temp.be(pg_temp.id(2));
select lives_ok($$insert into public.cart_items (item_id) select product from t$$, 'a member puts something in');
select results_eq($$select user_id, quantity, offered_price_cents from public.cart_items$$,
    $$values (pg_temp.id(2), 1, null::bigint)$$, 'into the own cart, one piece');
select lives_ok($$insert into public.cart_items (item_id, quantity) select product, 3 from t
    on conflict (user_id, item_id, option_key) do update set quantity = excluded.quantity, item_id = excluded.item_id$$,
        'upsert works');
select is((select quantity from public.cart_items), 3, 'and changes the row');
select is(pg_temp.code_of($$insert into public.cart_items (item_id) select product from t$$), '23505', 'not twice');
select lives_ok($$insert into public.cart_items (item_id, offered_price_cents) select named, 500 from t$$,
    'an offer at the minimum');
select lives_ok($$insert into public.cart_items (item_id) select artwork from t$$, 'a piece');

select is(pg_temp.code_of(s), code, code) from (values
    ('own_item', 'insert into public.cart_items (item_id) select own from t'),
    ('item_not_available', 'insert into public.cart_items (item_id) select banned from t'),
    ('item_not_available', 'insert into public.cart_items (item_id) select display from t'),
    ('item_not_available', 'insert into public.cart_items (item_id) values (gen_random_uuid())'),
    ('quantity_not_allowed', 'update public.cart_items set quantity = 2 where item_id = (select artwork from t)'),
    ('price_not_negotiable', 'update public.cart_items set offered_price_cents = 1 '
        'where item_id = (select product from t)'),
    ('price_too_low', 'update public.cart_items set offered_price_cents = 499 where item_id = (select named from t)'),
    ('price_too_low', 'update public.cart_items set offered_price_cents = -1 where item_id = (select named from t)'),
    ('23514', 'update public.cart_items set offered_price_cents = 100000000 where item_id = (select named from t)'),
    ('23514', 'update public.cart_items set quantity = 0 where item_id = (select product from t)'),
    ('23514', 'update public.cart_items set quantity = 100 where item_id = (select product from t)')
) as c (code, s);
select is(pg_temp.code_of(s), '42501', s) from unnest(array[
    'insert into public.cart_items (user_id, item_id) select pg_temp.id(3), product from t',
    'update public.cart_items set user_id = pg_temp.id(3)', 'update public.cart_items set added_at = ''epoch'''
]) as s;

-- The one rule of prices, here and at checkout: fixed price, offer, what was agreed.
reset role;
select is(
    (select row(p.cents, p.least_cents, p.problem)::text from private.price_of(price, minimum, offered, agreed) as p),
    row(cents, least, problem)::text, means
)
from (values
    (2000, null, null, null, 2000, null, null, 'a fixed price is the price'),
    (2000, null, 2500, 2500, 2000, null, null, 'whatever is offered'),
    (2000, null, null, 1999, 2000, null, 'price_changed', 'but for more than was shown they are asked'),
    (0, null, null, 0, 0, null, null, 'free is free'),
    (1000, 500, null, null, 1000, 500, null, 'who names no price takes the suggestion'),
    (1000, 500, 500, null, 500, 500, null, 'an offer at the minimum is the price'),
    (1000, 500, 499, null, 499, 500, 'price_too_low', 'below it is too low'),
    (1000, 0, 0, null, 0, 0, null, 'nothing, where that is the minimum'),
    (1000, 0, 49, null, 49, 50, 'price_too_low', 'but what is paid is worth charging'),
    (1000, 0, 50, null, 50, 50, null, 'from 50 cents'),
    (1000, 0, -1, null, -1, 0, 'price_too_low', 'nobody is paid for buying'),
    (1000, 500, null, 700, 1000, 500, 'price_changed', 'the suggestion rose'),
    (1000, 500, 700, 700, 700, 500, null, 'an offer stands when the suggestion rises'),
    (1000, 800, 700, 700, 700, 800, 'price_too_low', 'unless the minimum rises above it'),
    (null, null, null, null, null, null, null, 'nothing is said of what is not there')
) as t (price, minimum, offered, agreed, cents, least, problem, means);
update public.products set minimum_price_cents = 0 where id = (select named from t);
select pg_temp.be(pg_temp.id(2));
select is(
    pg_temp.code_of('update public.cart_items set offered_price_cents = 49 where item_id = (select named from t)'),
    'price_too_low', 'the cart refuses what checkout would'
);
select lives_ok(
    'update public.cart_items set offered_price_cents = 0 where item_id = (select named from t)', 'and takes nothing'
);

-- others
select pg_temp.be(pg_temp.id(w)) from unnest(array[1]) as w;
select is((select count(*) from public.cart_items), 0::bigint, 'sellers do not see who wants their things');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.cart_items), 0::bigint, 'strangers see nothing');
delete from public.cart_items;
update public.cart_items set quantity = 9;
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.cart_items), 0::bigint, 'admins neither');
reset role;
select is((select sum(quantity) from public.cart_items), 5::bigint, 'nor could a stranger change or remove anything');
select pg_temp.be(pg_temp.id(5));
select is((select count(*) from public.cart_items), 0::bigint, 'the banned see nothing');
select is(pg_temp.code_of($$insert into public.cart_items (item_id) select product from t$$), '42501',
    'and put nothing in');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.cart_items$$), '42501', 'visitors have no cart');
select pg_temp.be(null, 'service_role');
select is((select count(*) from public.cart_items), 3::bigint, 'the service reads');
select is(pg_temp.code_of($$delete from public.cart_items$$), '42501', 'and does not write');

-- afterwards
select pg_temp.be(pg_temp.id(2));
delete from public.cart_items where item_id = (select named from t);
select is((select count(*) from public.cart_items), 2::bigint, 'taken out again');
reset role;
delete from public.artworks where id = (select artwork from t);
select is((select count(*) from public.cart_items), 1::bigint, 'what disappears from the catalog leaves the carts');

-- what was shown
reset role;
delete from public.cart_items;
select pg_temp.be(pg_temp.id(2));
insert into public.cart_items (item_id) select named from t;
select is((select shown_price_cents from public.cart_items), 1000::bigint, 'the suggestion is shown');
update public.cart_items set offered_price_cents = 700;
select is((select shown_price_cents from public.cart_items), 700::bigint, 'an offer is what was shown');
select is(
    pg_temp.code_of('update public.cart_items set shown_price_cents = 1'), '42501', 'it is not written by hand'
);
reset role;

-- options
create temporary table v as select pg_temp.product(1, 2000, 500) as item, null::uuid as a, null::uuid as b, null::uuid as off;
create function pg_temp.option(title text, stock integer default null) returns uuid language sql as $$
    insert into public.catalog_options (item_id, title, price_cents, stock, is_active)
    select item, title, 3000, stock, title <> 'Off' from v returning id
$$;
update v set a = pg_temp.option('A'), b = pg_temp.option('B', 1), off = pg_temp.option('Off');
delete from public.cart_items;
grant select on v to public;
select pg_temp.be(pg_temp.id(2));
select lives_ok($$insert into public.cart_items (item_id, option_id, quantity)
    values ((select item from v), null, 1), ((select item from v), (select a from v), 2), ((select item from v), (select b from v), 1)$$,
    'an item and its options are apart');
select results_eq(
    'select option_key = coalesce(option_id, item_id), quantity, shown_price_cents from public.cart_items '
    'order by shown_price_cents, quantity',
    'values (true, 1, 2000::bigint), (true, 1, 3000), (true, 2, 3000)', 'each at its own price'
);
select lives_ok($$insert into public.cart_items (item_id, option_id, quantity) select item, a, 5 from v
    on conflict (user_id, item_id, option_key) do update
    set item_id = excluded.item_id, option_id = excluded.option_id, quantity = excluded.quantity$$, 'upsert names the option');
select is((select quantity from public.cart_items inner join v on a = option_id), 5, 'and changes that row');
select is(pg_temp.code_of(s), code, code || ': ' || s) from (values
    ('23505', 'insert into public.cart_items (item_id, option_id) select item, a from v'),
    ('option_not_available', 'insert into public.cart_items (item_id, option_id) select item, off from v'),
    ('option_not_available', 'insert into public.cart_items (item_id, option_id) select item, gen_random_uuid() from v'),
    ('option_not_available', 'insert into public.cart_items (item_id, option_id) select t.product, v.a from v, t'),
    ('quantity_not_allowed', 'update public.cart_items set quantity = 2 where option_id = (select b from v)'),
    ('price_not_negotiable', 'update public.cart_items set offered_price_cents = 700 where option_id = (select a from v)'),
    ('428C9', 'update public.cart_items set option_key = item_id')
) as c (code, s);
reset role;
select pg_temp.be(pg_temp.id(2));
create temporary table answer as select public.checkout(provider => 'stripe') as it;
reset role;
select results_eq(
    'select i.title, i.quantity, i.total_cents from public.order_items as i, answer '
    'where i.order_id = (it ->> ''order_id'')::uuid order by i.title',
    $$values ('Product', 1, 2000::bigint), ('Product (A)', 5, 15000), ('Product (B)', 1, 3000)$$, 'the cart is ordered so'
);
select private.deliver_orders(array[(it ->> 'order_id')::uuid]) from answer;
select is_empty('select * from public.cart_items', 'and empty when that is paid');
insert into public.cart_items (user_id, item_id, option_id) select pg_temp.id(3), item, pg_temp.option('C') from v;
delete from public.catalog_options where title = 'C';
select is_empty('select * from public.cart_items', 'an option that is removed leaves the carts');

select * from finish();
rollback;
