-- The cart: one's own, checked when something enters.
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
grant execute on all functions in schema pg_temp to public;

select plan(35);
select pg_temp.people();
create temporary table t as select
    pg_temp.product(1, 2000) as product, pg_temp.product(1, 1000, 500) as named, pg_temp.artwork(1, 5000) as artwork,
    pg_temp.product(5, 100) as banned, pg_temp.product(2, 100) as own;
grant select on t to public;
select pg_temp.ban();

select col_is_pk('public', 'cart_items', array['user_id', 'item_id'], 'one row per member and item');
select fk_ok('public', 'cart_items', 'user_id', 'public', 'profiles', 'id');
select fk_ok('public', 'cart_items', 'item_id', 'public', 'catalog_items', 'id');
select has_index('public', 'cart_items', 'cart_items_item_id_idx', array['item_id'], 'its foreign key is indexed');

select pg_temp.be(pg_temp.id(2));
select lives_ok($$insert into public.cart_items (item_id) select product from t$$, 'a member puts something in');
select results_eq($$select user_id, quantity, offered_price_cents from public.cart_items$$,
    $$values (pg_temp.id(2), 1, null::bigint)$$, 'into the own cart, one piece');
select lives_ok($$insert into public.cart_items (item_id, quantity) select product, 3 from t
    on conflict (user_id, item_id) do update set quantity = excluded.quantity, item_id = excluded.item_id$$,
        'upsert works');
select is((select quantity from public.cart_items), 3, 'and changes the row');
select is(pg_temp.code_of($$insert into public.cart_items (item_id) select product from t$$), '23505', 'not twice');
select lives_ok($$insert into public.cart_items (item_id, offered_price_cents) select named, 500 from t$$,
    'an offer at the minimum');
select lives_ok($$insert into public.cart_items (item_id) select artwork from t$$, 'a piece');

select is(pg_temp.code_of(s), code, code) from (values
    ('own_item', 'insert into public.cart_items (item_id) select own from t'),
    ('item_not_available', 'insert into public.cart_items (item_id) select banned from t'),
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

select * from finish();
rollback;
