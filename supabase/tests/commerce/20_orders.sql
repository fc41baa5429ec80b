-- Orders and their lines: snapshots, written by the server only.
begin;
\ir ../helpers.psql

select plan(64);
select pg_temp.people();
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
create temporary table t as select pg_temp.product(1, 2000) as product, pg_temp.product(3, 700) as other;
create temporary table o as select (pg_temp.checkout(5, product) ->> 'order_id')::uuid as banned from t;
alter table o add pending uuid, add paid uuid;
update o set pending = (pg_temp.checkout(2, (select other from t)) ->> 'order_id')::uuid,
    paid = pg_temp.buy(2, (select product from t));
grant select on t, o to public;
select pg_temp.ban();

-- structure
select col_is_pk('public', 'orders', 'id', 'orders');
select col_is_unique('public', 'orders', 'order_number', 'numbers are unique');
select col_is_unique('public', 'order_items', array['order_id', 'line_no'], 'lines are numbered');
select fk_ok('public', 'order_items', 'order_id', 'public', 'orders', 'id');
select fk_ok('public', 'order_items', 'item_id', 'public', 'catalog_items', 'id');
select fk_ok('public', 'order_items', 'buyer_id', 'public', 'profiles', 'id');
select fk_ok('public', 'order_items', 'seller_id', 'public', 'profiles', 'id');
select enum_has_labels('public', 'order_status',
    array['pending', 'processing', 'completed', 'cancelled', 'refunded', 'partially_refunded'],
        'the references'' states');
select matches((select order_number from public.orders limit 1), '^AV-[0-9]{6}-[0-9]{6}$', 'a number for people');

-- snapshots
select results_eq(
    $$select line_no, buyer_id, seller_id, title, unit_price_cents, quantity, total_cents, seller_tier, commission_bps
    from public.order_items where order_id = (select paid from o)$$,
    $$values (1::smallint, pg_temp.id(2), pg_temp.id(1), 'Product', 2000::bigint, 1, 2000::bigint, 'standard', 3000)$$,
    'a line is a snapshot'
);
update public.products set price_cents = 9999, title = 'Dearer' where id = (select product from t);
update public.subscriptions set plan_key = 'creator_basic' where user_id = pg_temp.id(1);
select results_eq(
    $$select title, unit_price_cents, commission_bps from public.order_items where order_id = (select paid from o)$$,
    $$values ('Product', 2000::bigint, 3000)$$, 'that no later change touches'
);
select results_eq(
    $$select status::text, subtotal_cents, total_cents, completed_at is not null from public.orders
    where id = (select paid from o)$$,
    $$values ('completed', 2000::bigint, 2000::bigint, true)$$, 'completed with its payment'
);

-- rules
select is(pg_temp.code_of(s), '23514', s) from unnest(array[
    'update public.orders set total_cents = 1',
    'update public.orders set subtotal_cents = -1, total_cents = -1',
    'update public.orders set discount_cents = 9999999, total_cents = subtotal_cents - 9999999',
    'update public.orders set subtotal_cents = 9007199254740992, total_cents = 9007199254740992',
    'update public.orders set notes = repeat(''x'', 2001)',
    'update public.order_items set buyer_id = seller_id',
    'update public.order_items set quantity = 0',
    'update public.order_items set unit_price_cents = -1',
    'update public.order_items set commission_bps = 10001'
]) as s;
select is(pg_temp.code_of($$delete from public.products where id = (select product from t)$$), 'item_has_orders',
    'what was ordered is never removed');

-- who sees what: orders / lines
select pg_temp.be(pg_temp.id(2));
select results_eq($$select (select count(*) from public.orders), (select count(*) from public.order_items)$$,
    $$values (2::bigint, 2::bigint)$$, 'buyers see their orders');
select lives_ok($$select *, (select count(*) from public.profiles) from public.orders$$, 'every column is readable');
select pg_temp.be(pg_temp.id(1));
select results_eq($$select (select count(*) from public.orders), (select count(*) from public.order_items)$$,
    $$values (0::bigint, 2::bigint)$$, 'sellers see their lines, not the orders with addresses');
select pg_temp.be(pg_temp.id(3));
select results_eq($$select (select count(*) from public.orders), (select count(*) from public.order_items)$$,
    $$values (0::bigint, 1::bigint)$$, 'each seller only the own lines');
select pg_temp.be(pg_temp.id(4));
select results_eq($$select (select count(*) from public.orders), (select count(*) from public.order_items)$$,
    $$values (3::bigint, 3::bigint)$$, 'admins see all');
select pg_temp.be(pg_temp.id(5));
select results_eq($$select (select count(*) from public.orders), (select count(*) from public.order_items)$$,
    $$values (0::bigint, 0::bigint)$$, 'the banned see nothing, not even their own');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of(s), '42501', 'visitors: ' || s)
from unnest(array['select * from public.orders', 'select * from public.order_items']) as s;

-- who writes what
select is(pg_temp.code_as(pg_temp.id(w), s), '42501', format('%s cannot %s', w, s))
from unnest(array[1, 2, 4]) as w
cross join unnest(array[
    'update public.orders set status = ''completed''', 'update public.orders set total_cents = 0',
    'update public.orders set notes = ''x''', 'delete from public.orders',
    'insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(2), 0, 0)',
    'update public.order_items set unit_price_cents = 0', 'update public.order_items set commission_bps = 0',
    'delete from public.order_items', 'select nextval(''public.order_number_seq'')'
]) as s;
reset role;

-- what a later edit does not change for the buyer
select results_eq(
    $$select description, license_type::text, license_text, license_version, details
    from public.order_items where order_id = (select paid from o)$$,
    $$values (null::text, 'personal', null::text, 1, '{"technical_details": {}}'::jsonb)$$, 'the licence is the line''s'
);
update public.products set license_type = 'custom', license_text = 'Never on Sundays', description = 'Less than before',
    technical_details = '{"bpm": 1}' where id = (select product from t);
select results_eq(
    $$select description, license_type::text, license_text, license_version, details
    from public.order_items where order_id = (select paid from o)$$,
    $$values (null::text, 'personal', null::text, 1, '{"technical_details": {}}'::jsonb)$$, 'and stays'
);
select is((select license_version from public.products where id = (select product from t)), 2, 'a change is counted');
update public.products set title = 'Same licence' where id = (select product from t);
select is((select license_version from public.products where id = (select product from t)), 2, 'any other is not');
select is(
    pg_temp.code_as(pg_temp.id(1), 'update public.products set license_version = 7'), '42501', 'it is not written by hand'
);
select results_eq(
    format($$select license_type::text from (select pg_temp.be(pg_temp.id(%s))) as b, public.order_items
    where order_id = (select paid from o)$$, reader),
    $$values ('personal')$$, reader || ' reads the licence'
)
from unnest(array[1, 2]) as reader;
reset role;

select * from finish();
rollback;
