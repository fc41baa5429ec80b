-- Products: rules, states, featuring, approval and who sees them.
begin;
-- Who speaks: pg_temp.be(<user>) is a signed-in member, pg_temp.be(null, 'anon') a visitor, reset role the server.
create function pg_temp.be(who uuid, speaker text default 'authenticated') returns void language plpgsql as $$
begin
    perform set_config('request.jwt.claims', json_build_object('sub', who, 'role', speaker)::text, true);
    perform set_config('role', speaker, true);
end
$$;
create function pg_temp.sign_up(who uuid, name text) returns void language sql as $$
    insert into auth.users (id, email, raw_user_meta_data)
    values (who, name || '@example.com', jsonb_build_object('username', name))
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
    return case when sqlstate like 'PT%' then hint else sqlstate end;
end
$$;
grant execute on all functions in schema pg_temp to public;

select plan(96);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
-- A product on sale: uploaded, attached, activated.
create function pg_temp.publish(n integer, title text) returns uuid language plpgsql as $$
declare
    made uuid;
begin
    insert into public.products (seller_id, title, price_cents) values (pg_temp.id(n), title, 2000)
    returning id into made;
    insert into storage.objects (bucket_id, name, metadata)
    values ('product-files', pg_temp.id(n) || '/' || made || '.wav', '{"size": 10, "mimetype": "audio/wav"}');
    insert into public.product_files (product_id, path) values (made, pg_temp.id(n) || '/' || made || '.wav');
    update public.products set status = 'active' where id = made;
    return made;
end
$$;

-- creation through the client's eyes
select pg_temp.be(pg_temp.id(1));
prepare made as insert into public.products (title, price_cents, tags, genre_tags, technical_details, license_type)
values ('  Deep Pads Vol. 1 ', 1999, array['Pads', 'pads'], array['House'], '{"bpm": 120}', 'commercial')
returning title, slug::text, seller_id, is_free, status::text, tags, genre_tags, is_approved;
select results_eq('made', $$values ('Deep Pads Vol. 1', 'deep-pads-vol-1', pg_temp.id(1), false, 'draft',
    array['pads'], array['house'], true)$$,
    'insert … returning works and completes the row');
select lives_ok($$insert into public.products (title) values ('Deep Pads, Vol 1!')$$, 'the same title again');
select is((select slug::text from public.products where title = 'Deep Pads, Vol 1!'),
    (select 'deep-pads-vol-1-' || left(replace(id::text, '-', ''), 10) from public.products
    where title = 'Deep Pads, Vol 1!'), 'gets an address of its own');
select lives_ok($$insert into public.products (title) values ('🎹🎹')$$, 'an emoji title');
select is((select slug::text from public.products where title = '🎹🎹'), 'item', 'has an address too');
select is((select is_free from public.products where title = '🎹🎹'), true, 'price 0 is free');
insert into public.products (title, slug) values ('x', 'Deep-Pads-Vol-1');
select matches((select slug from public.products where title = 'x'), '^deep-pads-vol-1-[0-9a-f]{10}$',
    'a chosen address that is taken, whatever the case, gets an ending: nobody learns of somebody''s draft');
select is(pg_temp.code_of($$insert into public.products (title, slug) values ('x', 'a b')$$), '23514', 'or none');

-- what a client cannot write
select is(pg_temp.code_of(format('insert into public.products (title, %I) values (%L, default)', col, 'x')), '42501',
    'not insertable: ' || col)
from unnest(array['id', 'seller_id', 'is_approved', 'featured_at', 'file_size_bytes', 'file_types',
    'source_webinar_id', 'currency', 'created_at']) as t (col);
select is(pg_temp.code_of(format('update public.products set %I = default', col)), '42501', 'not writable: ' || col)
from unnest(array['id', 'seller_id', 'is_approved', 'featured_at', 'file_size_bytes', 'file_types',
    'source_webinar_id', 'product_type', 'currency', 'created_at', 'updated_at']) as t (col);
select is(pg_temp.code_of($$update public.products set is_free = true$$), '428C9', 'is_free follows the price');

-- prices
select is(pg_temp.code_of(format('insert into public.products (title, price_cents) values (%L, %s)', 'x', price)),
    '23514', 'price refused: ' || price)
from unnest(array['-1', '1', '49', '100000000', '9007199254740993']) as t (price);
select is(pg_temp.code_of($$insert into public.products (title, price_cents) values ('x', 99999999999999999999)$$),
    '22003', 'price beyond bigint');
select is(pg_temp.code_of($$insert into public.products (title, price_cents) values ('x', null)$$), '23502',
    'no price');
select lives_ok($$insert into public.products (title, price_cents) values ('Cheapest', 50), ('Dearest', 99999999)$$,
    'the limits are fine');

-- name your price
select lives_ok($$insert into public.products (title, price_cents, allow_name_your_price) values ('Nyp', 1000,
    true)$$, 'name your price');
select is((select minimum_price_cents from public.products where title = 'Nyp'), 1000::bigint,
    'without a minimum the price is it');
select lives_ok($$update public.products set minimum_price_cents = 0 where title = 'Nyp'$$, 'may go for nothing');
select is(pg_temp.code_of($$update public.products set minimum_price_cents = 49 where title = 'Nyp'$$), '23514',
    'not for less than 50 cents');
select is(pg_temp.code_of($$update public.products set minimum_price_cents = 1001 where title = 'Nyp'$$), '23514',
    'not above the suggestion');
select lives_ok($$update public.products set allow_name_your_price = false where title = 'Nyp'$$, 'fixed again');
select is((select minimum_price_cents from public.products where title = 'Nyp'), null, 'then without minimum');
select lives_ok($$insert into public.products (title, price_cents, allow_name_your_price) values ('Nyp0', 0, true)$$,
    'free or whatever you give');

-- licence, details, texts
select is(pg_temp.code_of($$insert into public.products (title, license_type) values ('x', 'custom')$$),
    'license_text_required', 'a custom licence needs a text');
select is(pg_temp.code_of($$insert into public.products (title, license_type, license_text) values ('x', 'custom',
    '  ')$$), 'license_text_required', 'a real one');
select is(pg_temp.code_of($$insert into public.products (title, license_type) values ('x', 'exclusive')$$),
    'license_not_allowed', 'what is sold again and again is not exclusive');
select is(pg_temp.code_of($$insert into public.products (title, technical_details) values ('x', '[]')$$), '23514',
    'details are an object');
select is(pg_temp.code_of($$insert into public.products (title, technical_details) values ('x',
    jsonb_build_object('a', repeat('x', 20000)))$$), '23514', 'a small one');
select is(pg_temp.code_of($$insert into public.products (title) values ('   ')$$), 'text_not_visible', 'a title');
select is(pg_temp.code_of($$insert into public.products (title) values (repeat('x', 256))$$), '23514',
    'of at most 255');
select is(pg_temp.code_of($$insert into public.products (title, preview_images) values ('x',
    array['javascript:alert(1)'])$$), '23514', 'pictures are addresses');
select is(pg_temp.code_of($$insert into public.products (title, preview_images) values ('x',
    array['https://e.com/1.png', null])$$), '23514', 'all of them');
select lives_ok($$insert into public.products (title, preview_images) values ('Pictures',
    array['https://e.com/1.png', 'http://e.com/2.png'])$$, 'two pictures');
select is(pg_temp.code_of($$insert into public.products (title, category_id) values ('x', gen_random_uuid())$$),
    '23503', 'a category that exists');

-- publishing
select is(pg_temp.code_of($$update public.products set status = 'active' where title = 'Nyp'$$),
    'product_has_no_files', 'nothing to deliver, nothing on sale');
select is(pg_temp.code_of($$insert into public.products (title, status) values ('x', 'active')$$),
    'product_has_no_files', 'nor at birth');
reset role;
select pg_temp.publish(1, 'Beat');
select pg_temp.publish(1, 'Other beat');
select is((select published_count from public.profile_counts
    where user_id = pg_temp.id(1) and kind = 'product'), 2,
    'the seller''s counter counts what is in the shop');

-- who sees what
select pg_temp.be(null, 'anon');
select set_eq($$select title from public.products$$, array['Beat', 'Other beat'], 'visitors see active products');
select is((select c.title from public.products as p inner join public.catalog_items as c on c.id = p.id
    where p.title = 'Beat'), 'Beat', 'with their registry row');
select is(pg_temp.code_of($$insert into public.products (title) values ('x')$$), '42501', 'visitors sell nothing');
select pg_temp.be(pg_temp.id(2));
select set_eq($$select title from public.products$$, array['Beat', 'Other beat'], 'strangers too');
update public.products set title = 'Stolen';
delete from public.products;
select is((select count(*) from public.products where title = 'Stolen'), 0::bigint,
    'strangers change and delete nothing');
select is((select count(*) from public.products), 2::bigint, 'all still there');
select pg_temp.be(pg_temp.id(1));
update public.products set status = 'paused' where title = 'Other beat';
select pg_temp.be(pg_temp.id(2));
select set_eq($$select title from public.products$$, array['Beat'], 'paused products are not shown');
select pg_temp.be(pg_temp.id(3));
select ok((select count(*) > 5 from public.products), 'admins see all');

-- approval
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$select public.review_product(id, true) from public.products where title = 'Beat'$$),
    'admin_only', 'sellers do not review');
select pg_temp.be(pg_temp.id(3));
select lives_ok($$select public.review_product(id, false, 'stolen loop') from public.products where title = 'Beat'$$,
    'an admin takes one out');
select is(pg_temp.code_of($$select public.review_product(gen_random_uuid(), true)$$), 'item_not_found', 'that exists');
select pg_temp.be(null, 'anon');
select is_empty($$select 1 from public.products where title = 'Beat'$$, 'it is out of the shop');
select is(pg_temp.code_of($$select 1 from public.product_approvals$$), '42501', 'visitors read no notes');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.product_approvals$$, 'nor do strangers');
select pg_temp.be(pg_temp.id(1));
select results_eq($$select is_approved, approval_notes from public.product_approvals$$, $$values (false,
    'stolen loop')$$, 'its seller reads why');
update public.products set status = 'paused' where title = 'Beat';
update public.products set status = 'active' where title = 'Beat';
select is((select is_published from public.catalog_items where title = 'Beat'), false,
    'publishing again does not undo it');
select pg_temp.be(pg_temp.id(3));
select public.review_product(id, true) from public.products where title = 'Beat';
select is((select is_listed from public.catalog_items where title = 'Beat'), true, 'approval does');
reset role;
select is((select count(*) from public.audit_log where action = 'review_product'), 2::bigint, 'both are audited');

-- featuring
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$update public.products set is_featured = true where title = 'Beat'$$),
    'featured_limit_reached', 'basic features nothing');
reset role;
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
select pg_temp.be(pg_temp.id(1));
select lives_ok($$update public.products set is_featured = true where title = 'Beat'$$, 'standard features one');
select is((select featured_at from public.products where title = 'Beat'), now(), 'dated');
select is(pg_temp.code_of($$update public.products set is_featured = true where title = 'Other beat'$$),
    'featured_limit_reached', 'not two');
select is(pg_temp.code_of($$insert into public.products (title, is_featured) values ('x', true)$$),
    'featured_limit_reached', 'nor by insert');
select is(pg_temp.code_of($$insert into public.artworks (title, image_url, price_cents, category, is_featured)
    values ('x', 'https://e.com/1.png', 50, 'digital', true)$$), 'featured_limit_reached', 'nor by another kind');
select is(pg_temp.code_of($$update public.products set is_featured = true$$), 'featured_limit_reached',
    'nor all in one statement');
reset role;
update public.subscriptions set plan_key = 'creator_basic' where user_id = pg_temp.id(1);
select pg_temp.be(pg_temp.id(1));
select lives_ok($$update public.products set description = 'still featured', is_featured = true
    where title = 'Beat'$$, 'a downgrade leaves what is featured');
select lives_ok($$update public.products set is_featured = false where title = 'Beat'$$, 'giving it up');
select is((select featured_at from public.products where title = 'Beat'), null, 'clears the date');
select is(pg_temp.code_of($$update public.products set is_featured = true where title = 'Beat'$$),
    'featured_limit_reached', 'is final then');

-- deleting
select lives_ok($$update public.products set status = 'deleted' where title = 'Other beat'$$, 'a seller deletes');
select is(pg_temp.code_of($$update public.products set status = 'active' where title = 'Other beat'$$),
    'product_deleted', 'for good');
select is(pg_temp.code_of($$update public.products set price_cents = 50 where title = 'Other beat'$$),
    'product_deleted', 'nor changes it');
select lives_ok($$delete from public.products where title = 'Other beat'$$, 'what nobody ordered can be removed');
reset role;
set constraints all immediate;
set constraints all deferred;
with o as (
    insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(2), 2000, 2000) returning id
)
insert into public.order_items (order_id, line_no, kind, item_id, buyer_id, seller_id, title,
    unit_price_cents, seller_tier, commission_bps)
select o.id, 1, c.kind, c.id, pg_temp.id(2), pg_temp.id(1), c.title, 2000, 'basic', 4000 from o, public.catalog_items as c
    where c.title = 'Beat';
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$delete from public.products where title = 'Beat'$$), 'item_has_orders',
    'what was ordered cannot');
update public.products set price_cents = 9900 where title = 'Beat';
reset role;
select is((select unit_price_cents from public.order_items), 2000::bigint, 'a new price does not touch orders');

-- buyers keep seeing it
insert into public.purchases (
    owner_id, payer_id, kind, item_id, order_item_id, is_owned_once, is_single, price_cents
)
    select buyer_id, buyer_id, kind, item_id, id, true, false, 2000 from public.order_items;
update public.products set status = 'deleted' where title = 'Beat';
select pg_temp.be(pg_temp.id(2));
select set_eq($$select title from public.products$$, array['Beat'], 'a buyer sees a deleted product');
reset role;
update public.purchases set revoked_at = now(), revoked_reason = 'refunded';
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.products$$, 'not after a refund');

select * from finish();
rollback;
