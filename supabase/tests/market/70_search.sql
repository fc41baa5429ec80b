-- search_catalog() and catalog_facets(), and the order of the shop.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();

-- the day of the first publication
insert into public.artworks (id, seller_id, title, image_url, price_cents, category, created_at)
values (pg_temp.id(100), pg_temp.id(1), 'Kept for years', 'https://e.com/1.png', 500, 'painting', now() - interval '1 year');
create function pg_temp.published() returns timestamptz language sql as $$
    select c.published_at from public.catalog_items as c where c.id = pg_temp.id(100)
$$;
select is(pg_temp.published(), null, 'a draft is not published');
update public.artworks set status = 'published' where id = pg_temp.id(100);
select is(pg_temp.published(), now(), 'it is new when it is published, not when the draft was made');
update public.catalog_items set published_at = now() - interval '1 month' where id = pg_temp.id(100);
update public.artworks set status = 'archived' where id = pg_temp.id(100);
update public.artworks set status = 'published' where id = pg_temp.id(100);
select is(pg_temp.published(), now() - interval '1 month', 'withdrawing and publishing again does not make it new');

-- what is found
create function pg_temp.find(query text, kind text default null, tags text[] default null, price int8range default '(,)')
returns text language sql as $$
    select string_agg(f.title, ', ' order by f.title)
    from public.search_catalog(
        query, case when kind <> '' then array[kind] end, tags => tags, min_price_cents => lower(price),
        max_price_cents => upper(price) - 1
    ) as f
    where query <> ''
$$;
grant execute on function pg_temp.find(text, text, text[], int8range) to public;
create temporary table t as select pg_temp.product(1, 2000) as product, pg_temp.product(5, 500) as banned,
    pg_temp.product(1, 700) as draft;
update public.products set title = 'Café Sessions', description = 'Recorded live', tags = '{jazz,live}'
where id = (select product from t);
update public.products set title = 'Café of a banned one' where id = (select banned from t);
update public.products set title = 'Café of tomorrow', status = 'draft' where id = (select draft from t);
insert into public.artworks (seller_id, title, image_url, price_cents, category, status) values
(pg_temp.id(1), 'The Who', 'https://e.com/1.png', 900, 'painting', 'published'),
(pg_temp.id(3), '夜の東京タワー', 'https://e.com/1.png', 100, 'digital', 'published'),
(pg_temp.id(3), 'The The', 'https://e.com/1.png', 100, 'digital', 'published');
select pg_temp.ban();
select pg_temp.be(null, 'anon');
select is(pg_temp.find(query), titles, coalesce(query, 'null') || ' finds ' || coalesce(titles, 'nothing'))
from (values
    ('café', 'Café Sessions'), ('CAFE', 'Café Sessions'), ('session', 'Café Sessions'), ('jazz', 'Café Sessions'),
    ('recorded', 'Café Sessions'), ('"cafe sessions"', 'Café Sessions'), ('cafe -sessions', null),
    ('The Who', 'The Who'), ('the who or jazz', 'Café Sessions'), ('東京', '夜の東京タワー'), ('塔', null),
    ('sesions', 'Café Sessions'), ('Cafee Sessions', 'Café Sessions'), ('essio', 'Café Sessions'), ('xy', null),
    ('cafe ses', 'Café Sessions'),
    (repeat('x', 10000), null), ('''\ & | ! : *', null), ('-jazz', null), ('100%', null), ('tomorrow', null), ('banned', null)
) as c (query, titles);
select is((select f.title from public.search_catalog(query) as f limit 1), query, query || ' is first')
from unnest(array['The The', 'The Who']) as query;
select is(pg_temp.find('cafe', 'artwork'), null, 'of a kind');
select is(pg_temp.find('cafe', tags => '{Jazz,#live}'), 'Café Sessions', 'with one of the tags');
select is(pg_temp.find('cafe', tags => '{jazz,rock}'), 'Café Sessions', 'any of them');
select is(pg_temp.find('cafe', tags => '{rock}'), null, 'not without');
select is(pg_temp.find('cafe', price => '[2000,2000]'), 'Café Sessions', 'in a price range');
select is(pg_temp.find('cafe', price => '[2001,)'), null, 'not beyond it');
reset role;
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.find('cafe'), null, 'nothing of people who blocked the caller');
reset role;

-- pages and plans
insert into public.artworks (seller_id, title, image_url, price_cents, category, status, created_at)
select pg_temp.id(1), 'Harbor ' || case when n % 750 = 0 then 'zebra' else 'boat' end || ' ' || n, 'https://e.com/1.png',
    100, 'digital', 'published', now() - n * interval '1 minute'
from generate_series(1, 3000) as n;
analyze public.catalog_items;
select pg_temp.be(pg_temp.id(3));
create function pg_temp.pages(query text, sort public.search_sort, rows integer, wanted integer) returns text[]
language plpgsql as $$
declare
    page public.found_item [];
    found text [] := '{}';
begin
    for n in 1..wanted loop
        page := array(
            select f from public.search_catalog(
                query, sort => sort, cursor => page[cardinality(page)].cursor, max_rows => rows
            ) as f
        );
        exit when page = '{}';
        found := found || array(select p.title from unnest(page) as p);
    end loop;
    return found;
end
$$;
select is(
    pg_temp.pages('zebra', sort, 3, 5),
    array(select f.title from public.search_catalog('zebra', sort => sort) as f), 'pages by ' || sort
)
from unnest(enum_range(null::public.search_sort)) as sort;
reset role;
-- So few rows are read through whatever there is; whether an index serves is the question.
set local enable_seqscan = off;
discard plans;
create temporary table s as select
    pg_stat_get_xact_numscans('public.catalog_items'::regclass) as read,
    pg_stat_get_xact_numscans('public.catalog_items_entries_idx'::regclass) as words,
    pg_stat_get_xact_numscans('private.title_words_word_trgm_idx'::regclass) as trigrams;
select pg_temp.be(pg_temp.id(3));
select count(*) from public.search_catalog('zebra');
select count(*) from public.search_catalog('zebbra');
reset role;
select is(pg_stat_get_xact_numscans('public.catalog_items'::regclass) - read, 0::bigint, 'the table is not read through')
from s;
select ok(pg_stat_get_xact_numscans('public.catalog_items_entries_idx'::regclass) > words, 'words are looked up') from s;
select ok(pg_stat_get_xact_numscans('private.title_words_word_trgm_idx'::regclass) > trigrams, 'so are trigrams')
from s;

-- one statement, many addresses, few locks
select pg_temp.be(pg_temp.id(3));
insert into public.products (title) select 'Song ' || n from generate_series(1, 500) as n;
reset role;
select cmp_ok(
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), '<=', 80::bigint,
    'rows take no lock of their own'
);

select * from finish();
rollback;
