-- Artworks: one of a kind.
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

select plan(54);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
select enum_has_labels('public', 'artwork_status', array['draft', 'published', 'sold', 'archived'], 'states');
select enum_has_labels('public', 'artwork_category', array['digital', 'painting', 'photography', 'sculpture',
    'illustration', 'animation', '3d', 'traditional', 'mixed_media', 'other'], 'categories');

select pg_temp.be(pg_temp.id(1));
prepare made as insert into public.artworks (title, image_url, price_cents, original_price_cents, category, status)
values ('Sunset', 'https://e.com/1.png', 500000, 600000, 'digital', 'published') returning seller_id, slug::text,
    is_for_sale, sold_at;
select results_eq('made', $$values (pg_temp.id(1), 'sunset', true, null::timestamptz)$$,
    'insert … returning works and completes the row');
select is(
    pg_temp.code_of(format(
        'insert into public.artworks (title, image_url, price_cents, category, %I) values (%L, %L, 50, %L, default)',
        col, 'x', 'https://e.com/1.png', 'digital'
    )),
    '42501', 'not insertable: ' || col
)
from unnest(array['id', 'seller_id', 'currency', 'sold_at', 'created_at']) as t (col);
select is(pg_temp.code_of(format('update public.artworks set %I = default', col)), '42501', 'not writable: ' || col)
from unnest(array['id', 'seller_id', 'currency', 'sold_at', 'created_at', 'updated_at']) as t (col);
select is(pg_temp.code_of(format('update public.artworks set %s', bad)), '23514', 'refused: ' || bad)
from unnest(array['price_cents = -1', 'price_cents = 49', 'price_cents = 100000000', 'original_price_cents = 500000',
    'image_url = ''javascript:x''', 'file_size_bytes = -1']) as t (bad);
select is(pg_temp.code_of($$insert into public.artworks (title, image_url, price_cents, category) values ('x',
    'https://e.com/1.png', 50, 'oil')$$), '22P02', 'a category is one of the list');

-- nobody sells by hand
select is(pg_temp.code_of($$update public.artworks set status = 'sold'$$), 'status_not_allowed',
    'a client does not mark it sold');
select is(pg_temp.code_of($$insert into public.artworks (title, image_url, price_cents, category, status)
    values ('x', 'https://e.com/1.png', 50, 'digital', 'sold')$$), 'status_not_allowed', 'nor creates it sold');
select is(pg_temp.code_of($$select private.mark_item_sold(id) from public.artworks$$), '42501', 'nor calls the sale');
select is(pg_temp.code_of($$select private.relist_item(id) from public.artworks$$), '42501', 'nor the way back');

-- sold
reset role;
select is((select private.mark_item_sold(id) from public.artworks where slug::text = 'sunset'), true,
    'a sale marks it');
select is((select private.mark_item_sold(id) from public.artworks where slug::text = 'sunset'), false, 'once');
select is(private.mark_item_sold(gen_random_uuid()), true, 'other items are not one of a kind');
select results_eq($$select status::text, sold_at from public.artworks$$, $$values ('sold', now())$$, 'it is sold');
select results_eq($$select is_visible, is_listed from public.catalog_items$$, $$values (true, false)$$,
    'visible, no longer listed');
select is((select published_count from public.profile_counts
    where user_id = pg_temp.id(1) and kind = 'artwork'), 1, 'and still counts');
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of(format('update public.artworks set %s', change)), 'artwork_sold',
    'its seller does not change it: ' || change)
from unnest(array['title = ''Other''', 'price_cents = 50', 'status = ''published''', 'status = ''archived''',
    'is_for_sale = true', 'image_url = ''https://e.com/2.png''', 'description = ''x''']) as t (change);
select pg_temp.be(null, 'anon');
select is((select title from public.artworks), 'Sunset', 'everybody sees it as sold');

-- back on sale
reset role;
select private.relist_item(id) from public.artworks;
select results_eq($$select a.status::text, a.sold_at, c.is_listed from public.artworks as a
    inner join public.catalog_items as c on c.id = a.id$$, $$values ('published', null::timestamptz, true)$$,
    'a full refund relists it');
select private.relist_item(id) from public.artworks;
select is((select status::text from public.artworks), 'published', 'twice is harmless');
select pg_temp.be(pg_temp.id(1));
select lives_ok($$update public.artworks set status = 'draft'$$, 'and it is the seller''s again');
reset role;
select private.relist_item(id) from public.artworks;
select is((select status::text from public.artworks), 'draft', 'only sold ones are relisted');
select is((select private.mark_item_sold(id) from public.artworks), true,
    'who reserved it gets it, even if it was withdrawn meanwhile');
select private.relist_item(id) from public.artworks;

-- who sees what
select pg_temp.be(pg_temp.id(1));
update public.artworks set status = 'archived';
select pg_temp.be(null, 'anon');
select is_empty($$select 1 from public.artworks$$, 'archived works are not shown');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.artworks$$, 'nor to strangers');
update public.artworks set title = 'Stolen';
delete from public.artworks;
select pg_temp.be(pg_temp.id(3));
select is((select title from public.artworks), 'Sunset', 'admins see it, untouched');

-- deleting
reset role;
with o as (
    insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(2), 500000, 500000) returning id
)
insert into public.order_items (order_id, line_no, item_id, buyer_id, seller_id, title, unit_price_cents,
    seller_tier, commission_bps)
select o.id, 1, a.id, pg_temp.id(2), pg_temp.id(1), a.title, 500000, 'basic', 4000 from o, public.artworks as a;
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$delete from public.artworks$$), 'item_has_orders', 'what was ordered cannot be removed');
insert into public.artworks (title, image_url, price_cents, category) values ('Sketch', 'https://e.com/1.png', 50,
    'other');
select lives_ok($$delete from public.artworks where title = 'Sketch'$$, 'anything else can');
reset role;
set constraints all immediate;
set constraints all deferred;
select is((select count(*) from public.catalog_items), 1::bigint, 'and leaves the registry');
update public.artworks set status = 'sold';
update public.profiles set deleted_at = now() where id = pg_temp.id(1);
select private.relist_item(id) from public.artworks;
select is((select status::text from public.artworks), 'archived', 'a work whose seller left is not put back on sale');

-- what a refund gives back
update public.profiles set deleted_at = null where id = pg_temp.id(1);
select is(
    (
        select array[a.status::text, private.mark_item_sold(a.id)::text, private.mark_item_sold(a.id)::text]
        from public.artworks as a
    ), array['archived', 'true', 'false'], 'sold while it was withdrawn, once'
);
select private.relist_item(id) from public.artworks;
select is((select status::text from public.artworks), 'archived', 'it comes back withdrawn');
update public.artworks set status = 'published';
select private.mark_item_sold(id) from public.artworks;
select private.relist_item(id) from public.artworks;
select is((select status::text from public.artworks), 'published', 'sold from the shop it comes back to the shop');

select * from finish();
rollback;
