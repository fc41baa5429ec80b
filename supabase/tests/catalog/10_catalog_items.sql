-- The registry: what mirrors into it, who sees it, what it counts.
begin;
-- What the platform itself sells is another page's.
delete from public.credit_packs;
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

select plan(73);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);

select has_index('public', 'catalog_items', 'catalog_items_published_at_id_idx', array['published_at', 'id'],
    'pages by date');
select has_index('public', 'catalog_items', 'catalog_items_price_cents_id_idx', array['price_cents', 'id'],
    'pages by price');
select has_index('public', 'catalog_items', 'catalog_items_popularity_id_idx', array['popularity', 'id'],
    'pages by popularity');
select has_index('public', 'catalog_items', 'catalog_items_entries_idx', 'what a search looks into');
select has_index('public', 'catalog_items', 'catalog_items_tags_idx', array['tags'], 'tags');

select pg_temp.be(pg_temp.id(1));
insert into public.artworks (title, description, image_url, thumbnail_url, price_cents, category, tags, status) values
('Sunset over Zürich', 'Painted by the lake', 'https://e.com/1.png', 'https://e.com/1s.png', 5000, 'painting',
    array['Lake', '#Evening'], 'published'),
('Draft', null, 'https://e.com/2.png', null, 0, 'digital', '{}', 'draft');
reset role;
select results_eq(
    $$select kind::text, seller_id, slug::text, thumbnail_url::text, price_cents, minimum_price_cents,
    currency::text, category, tags,
        is_unique, is_published, is_for_sale, is_visible, is_listed from public.catalog_items
        where title = 'Sunset over Zürich'$$,
    $$values ('artwork', pg_temp.id(1), 'sunset-over-zurich', 'https://e.com/1s.png', 5000::bigint, null::bigint,
    'USD', 'painting', array['lake', 'evening'],
        true, true, true, true, true)$$, 'a published artwork is listed'
);
select results_eq(
    $$select thumbnail_url::text, is_visible, is_listed from public.catalog_items where title = 'Draft'$$,
    $$values ('https://e.com/2.png', false, false)$$, 'a draft is registered, not visible'
);
select is((select created_at from public.catalog_items where title = 'Draft'), (select created_at
    from public.artworks where title = 'Draft'), 'same age');
select is((select published_count from public.profile_counts
    where user_id = pg_temp.id(1) and kind = 'artwork'), 1,
    'the seller''s counter counts published ones');

-- search
select is((select count(*) from public.catalog_items where search @@ websearch_to_tsquery('english', 'zurich')),
    1::bigint, 'found without accent');
select is((select count(*) from public.catalog_items where search @@ websearch_to_tsquery('english', 'sunsets')),
    1::bigint, 'found by stem');
select is((select count(*) from public.catalog_items where search @@ websearch_to_tsquery('english', 'evening')),
    1::bigint, 'found by tag');
select is((select count(*) from public.catalog_items where search @@ websearch_to_tsquery('english',
    'lake -painted')), 0::bigint, 'description is searched');
select ok(
    (select ts_rank(search, to_tsquery('english', 'sunset')) > ts_rank(search, to_tsquery('english', 'painted'))
    from public.catalog_items where kind = 'artwork' and is_listed),
    'the title weighs more'
);

-- changes follow
select pg_temp.be(pg_temp.id(1));
update public.artworks set title = 'Sunrise', price_cents = 6000, is_for_sale = false
    where title = 'Sunset over Zürich';
reset role;
select results_eq(
    $$select title, slug::text, price_cents, is_visible, is_listed, search @@ to_tsquery('english', 'sunrise')
    from public.catalog_items where is_published$$,
    $$values ('Sunrise', 'sunset-over-zurich', 6000::bigint, true, false, true)$$,
    'changes follow; the address stays; display pieces are visible, not listed'
);
update public.catalog_items set updated_at = 'epoch', purchases_count = 3 where title = 'Sunrise';
update public.artworks set file_size_bytes = 77 where title = 'Sunrise';
select is((select updated_at from public.catalog_items where title = 'Sunrise'), 'epoch'::timestamptz,
    'what the registry does not show does not touch it');
update public.artworks set status = 'draft' where title = 'Sunrise';
select is((select published_count from public.profile_counts
    where user_id = pg_temp.id(1) and kind = 'artwork'), 0, 'counter down');
update public.artworks set status = 'published', is_for_sale = true where title = 'Sunrise';
select is((select published_count from public.profile_counts
    where user_id = pg_temp.id(1) and kind = 'artwork'), 1, 'counter up');
select is((select purchases_count from public.catalog_items where title = 'Sunrise'), 3, 'counters survive changes');

-- who sees what
select pg_temp.be(null, 'anon');
select set_eq($$select title from public.catalog_items$$, array['Sunrise'], 'visitors see visible items');
select pg_temp.be(pg_temp.id(2));
select set_eq($$select title from public.catalog_items$$, array['Sunrise'], 'strangers too');
select pg_temp.be(pg_temp.id(1));
select set_eq($$select title from public.catalog_items$$, array['Sunrise', 'Draft'], 'sellers see their own');
select pg_temp.be(pg_temp.id(3));
select set_eq($$select title from public.catalog_items$$, array['Sunrise', 'Draft'], 'admins see all');
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of(format('update public.catalog_items set %I = default', col)), '42501',
    'not writable by its seller: ' || col)
from unnest(array['title', 'price_cents', 'seller_id', 'is_published', 'seller_is_active', 'purchases_count',
    'rating_average', 'views_count', 'search', 'stock', 'taken', 'is_browsable', 'is_repeatable', 'requires_shipping',
    'is_exclusively_sold']) as t (col);
select is(pg_temp.code_of($$delete from public.catalog_items$$), '42501', 'no delete');
select is(pg_temp.code_of($$insert into public.catalog_items (id) values (gen_random_uuid())$$), '42501', 'no insert');

-- removal
delete from public.artworks where title = 'Sunrise';
reset role;
set constraints all immediate;
set constraints all deferred;
select is_empty($$select 1 from public.catalog_items where title = 'Sunrise'$$, 'a removed item leaves the registry');
select is((select published_count from public.profile_counts
    where user_id = pg_temp.id(1) and kind = 'artwork'), 0, 'and the counter');

-- standing at birth: a banned seller's new item (written by the server) is not visible
insert into public.bans (user_id, reason) values (pg_temp.id(2), 'x');
insert into public.artworks (seller_id, title, image_url, price_cents, category, status) values (pg_temp.id(2),
    'By banned', 'https://e.com/1.png', 50, 'digital', 'published');
select is((select is_visible from public.catalog_items where title = 'By banned'), false,
    'an item of a banned seller is born invisible');
delete from public.bans;
select is((select is_visible from public.catalog_items where title = 'By banned'), true,
    'and appears when the ban ends');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(2);
select is((select is_visible from public.catalog_items where title = 'By banned'), false,
    'nobody buys from whom they cannot see');
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(2);
select is((select is_visible from public.catalog_items where title = 'By banned'), true,
    'a members_only seller''s shop window stays');

-- tags
select is(private.clean_tags(array[' Deep  House', '#deep house', '', null, 'ÄMBIENT']), array['deep house',
    'ämbient'], 'tags are cleaned');
select is(private.clean_tags(null), '{}'::text [], 'no tags');
select is(pg_temp.code_of($$select private.clean_tags(array(select 't' || n from generate_series(1, 21) as n))$$),
    'invalid_tags', 'at most 20');
select is(pg_temp.code_of($$select private.clean_tags(array[repeat('x', 51)])$$), 'invalid_tags',
    'at most 50 characters');

-- what there is of it, and what can be bought of it
insert into public.artworks (seller_id, title, image_url, price_cents, category, status, edition_size)
values (pg_temp.id(2), 'Edition', 'https://e.com/1.png', 50, 'digital', 'published', 5);
insert into public.products (seller_id, title, price_cents) values (pg_temp.id(2), 'Files', 50);
insert into public.tip_jars (seller_id) values (pg_temp.id(2));
select results_eq(
    $$select title, stock, taken, is_unique, is_repeatable, is_browsable, requires_shipping from public.catalog_items
    where seller_id = pg_temp.id(2) order by title$$,
    $$values ('By banned', 1, 0, true, false, true, false), ('Edition', 5, 0, false, false, true, false),
    ('Files', null, 0, false, false, true, false), ('Tip', null, 0, false, true, false, false)$$,
    'one of a kind, several, as many as are wanted; what is bought repeatedly, what is not browsed'
);
create temporary table e as select id from public.catalog_items where title = 'Edition';
create function pg_temp.set_item(changes text) returns text[] language plpgsql as $$
begin
    execute 'update public.catalog_items set ' || changes || ' where id = (select id from e)';
    return (
        select array[c.is_sold_out, c.is_buyable, c.is_listed, c.is_visible]::text[] from public.catalog_items as c
        where c.id = (select id from e)
    );
end
$$;
select is(pg_temp.set_item(changes), says, changes)
from (values
    ('purchases_count = 4, taken = 5', '{false,true,true,true}'::text[]),
    ('purchases_count = 5', '{true,false,false,true}'),
    ('stock = null, taken = 0', '{false,true,true,true}'),
    ('is_exclusively_sold = true', '{true,false,false,true}'),
    ('is_exclusively_sold = false, is_browsable = false', '{false,true,false,true}'),
    ('is_for_sale = false', '{false,false,false,true}'),
    ('is_for_sale = true, seller_is_active = false', '{false,false,false,false}'),
    ('seller_is_active = true, is_published = false', '{false,false,false,false}'),
    ('is_published = true, is_browsable = true, stock = 0', '{true,false,false,true}'),
    ('stock = 1, purchases_count = 0', '{false,true,true,true}'),
    ('purchases_count = 1', '{true,false,false,true}')
) as c (changes, says);
select is(pg_temp.code_of('select pg_temp.set_item(' || quote_literal(bad) || ')'), '23514', 'refused: ' || bad)
from unnest(array['stock = -1', 'stock = 1000001', 'taken = -1', 'stock = 5, taken = 6', 'purchases_count = -1']) as b (bad);
select is(
    (select count(*) from public.catalog_items as c where c.title = 'Tip' and c.is_buyable and not c.is_listed), 1::bigint,
    'what is not browsed is bought'
);
select is_empty($$select 1 from public.search_catalog('tip')$$, 'and not found');
select is_empty($$select 1 from public.profile_counts where kind = 'tip_jar'$$, 'nor counted');
-- Counted anew when the stock changes.
update public.catalog_items set stock = 5, purchases_count = 0, taken = 3 where id = (select id from e);
update public.artworks set edition_size = 4 where id = (select id from e);
select is((select array[stock, taken] from public.catalog_items where id = (select id from e)), '{4,0}',
    'another stock counts anew what is taken');
delete from public.artworks where id = (select id from e);

update public.profile_counts set published_count = published_count + 1 where user_id = pg_temp.id(1) and kind = 'artwork';
select results_eq(
    'select counter, counted - truth from private.recount(true)',
    $$values ('profile_counts.published_count', 1::bigint)$$, 'the recount finds a wrong number of published items'
);
select is_empty('select * from private.recount()', 'and sets it right');

select * from finish();
rollback;
