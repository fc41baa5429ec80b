-- Artworks: one of a kind.
begin;
\ir ../helpers.psql
-- What the platform itself sells is another page's.
delete from public.credit_packs;

-- An order of a work, by whatever way; selling it; taking the sale back.
create function pg_temp.ordered(buyer integer, work uuid) returns uuid language sql as $$
    with o as (
        insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(buyer), 500000, 500000)
        returning id
    )
    insert into public.order_items (
        order_id, line_no, kind, item_id, buyer_id, seller_id, title, unit_price_cents, seller_tier, commission_bps
    )
    select o.id, 1, 'artwork', a.id, pg_temp.id(buyer), a.seller_id, a.title, 500000, 'basic', 4000
    from o, public.artworks as a where a.id = work
    returning order_id
$$;
create function pg_temp.sell(buyer integer, work uuid) returns void language sql as $$
    select private.grant_orders(array[pg_temp.ordered(buyer, work)])
$$;
create function pg_temp.unsell(work uuid) returns void language sql as $$
    select private.revoke_line(p.order_item_id, 'refunded') from public.purchases as p where p.item_id = work
$$;
grant execute on all functions in schema pg_temp to public;

select plan(113);
select pg_temp.people();
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
select is(pg_temp.code_of($$select private.sell_artworks(array[id]) from public.artworks$$), '42501', 'nor calls the sale');
select is(pg_temp.code_of($$select private.artwork_revoke(array[id], '') from public.artworks$$), '42501',
    'nor the way back');

-- sold
reset role;
create temporary table w as select id from public.artworks where slug = 'sunset';
grant select on w to public;
select is(pg_temp.code_of('select pg_temp.sell(2, id) from w'), null, 'a sale marks it');
select is(pg_temp.code_of('select pg_temp.sell(4, id) from w'), '23505', 'once');
select lives_ok('select private.sell_artworks(array[gen_random_uuid()])', 'other items are not one of a kind');
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
select pg_temp.unsell(id) from w;
select results_eq($$select a.status::text, a.sold_at, c.is_listed from public.artworks as a
    inner join public.catalog_items as c on c.id = a.id$$, $$values ('published', null::timestamptz, true)$$,
    'a full refund relists it');
select pg_temp.unsell(id) from w;
select private.artwork_revoke(array_agg(id), 'refunded') from public.purchases;
select is((select status::text from public.artworks), 'published', 'twice is harmless');
select pg_temp.be(pg_temp.id(1));
select lives_ok($$update public.artworks set status = 'draft'$$, 'and it is the seller''s again');
reset role;
select private.artwork_revoke(array_agg(id), 'refunded') from public.purchases;
select is((select status::text from public.artworks), 'draft', 'only sold ones are relisted');
select pg_temp.sell(3, id) from w;
select is((select status::text from public.artworks), 'sold',
    'whoever reserved it gets it, even if it was withdrawn meanwhile');
select pg_temp.unsell(id) from w;

-- who sees what
select pg_temp.be(pg_temp.id(1));
update public.artworks set status = 'archived';
select pg_temp.be(null, 'anon');
select is_empty($$select 1 from public.artworks$$, 'archived works are not shown');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.artworks$$, 'nor to strangers');
update public.artworks set title = 'Stolen';
delete from public.artworks;
select pg_temp.be(pg_temp.id(4));
select is((select title from public.artworks), 'Sunset', 'admins see it, untouched');

-- deleting
reset role;
select pg_temp.ordered(2, id) from w;
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$delete from public.artworks$$), 'item_has_orders', 'what was ordered cannot be removed');
insert into public.artworks (title, image_url, price_cents, category) values ('Sketch', 'https://e.com/1.png', 50,
    'other');
select lives_ok($$delete from public.artworks where title = 'Sketch'$$, 'anything else can');
reset role;
set constraints all immediate;
set constraints all deferred;
select is((select count(*) from public.catalog_items), 1::bigint, 'and leaves the registry');
select pg_temp.sell(3, id) from w;
update public.profiles set deleted_at = now() where id = pg_temp.id(1);
select pg_temp.unsell(id) from w;
select is((select status::text from public.artworks), 'archived', 'a work whose seller left is not put back on sale');

-- what a refund gives back
update public.profiles set deleted_at = null where id = pg_temp.id(1);
select pg_temp.sell(3, id) from w;
select results_eq(
    'select a.status::text, b.status::text from public.artworks as a '
    'inner join private.artworks_before_sale as b on b.artwork_id = a.id',
    $$values ('sold', 'archived')$$, 'sold while it was withdrawn, once'
);
select pg_temp.unsell(id) from w;
select is((select status::text from public.artworks), 'archived', 'it comes back withdrawn');
update public.artworks set status = 'published';
select pg_temp.sell(3, id) from w;
select pg_temp.unsell(id) from w;
select is((select status::text from public.artworks), 'published', 'sold from the shop it comes back to the shop');

-- editions
create function pg_temp.take(buyer integer, item uuid, option uuid default null, pieces integer default 1, address jsonb default null)
returns text language plpgsql as $$
begin
    return pg_temp.code_as(pg_temp.id(buyer), format(
        'select public.checkout(%L, shipping_address => %L)',
        jsonb_build_array(jsonb_build_object('item_id', item, 'option_id', option, 'quantity', pieces)), address
    ));
end
$$;
create function pg_temp.pay(buyer integer) returns void language sql as $$
    select pg_temp.start(p.id), pg_temp.event('payment_intent.succeeded', pg_temp.intent(p.id))
    from public.payments as p where p.user_id = pg_temp.id(buyer) and p.is_open
$$;
create function pg_temp.series(item uuid, name text, copies integer) returns uuid language sql as $$
    insert into public.catalog_options (item_id, title, price_cents, stock, is_set_aside, details)
    values (item, name, 9000, copies, true, jsonb_build_object('series', name)) returning id
$$;
-- Who has which number: 'buyer:number' in the order of the numbers.
create function pg_temp.numbers(item uuid, option uuid default null) returns text language sql as $$
    select string_agg(right(p.owner_id::text, 1) || ':' || p.number, ' ' order by p.number)
    from public.purchases as p
    where p.item_id = item and p.option_id is not distinct from option and p.revoked_at is null
$$;
create function pg_temp.give_back(item uuid, number integer, why text default 'refunded') returns void language sql as $$
    select private.revoke_line(p.order_item_id, why) from public.purchases as p
    where p.item_id = give_back.item and p.number = give_back.number and p.option_id is null and p.revoked_at is null
$$;
grant execute on all functions in schema pg_temp to public;
create temporary table e as select pg_temp.artwork(1, 5000) as item, null::uuid as ap, null::uuid as hc;
grant select on e to public;
create function pg_temp.resize(to_size integer) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(1), format('update public.artworks set edition_size = %s where id = (select item from e)',
        coalesce(to_size::text, 'null')))
$$;

select is(pg_temp.resize(n), code, format('an edition of %s: %s', n, coalesce(code, 'allowed')))
from (values (1, '23514'), (0, '23514'), (10001, '23514'), (2, null), (10000, null), (null, null), (3, null)) as c (n, code);
select results_eq(
    'select stock, is_unique, is_listed from public.catalog_items where id = (select item from e)',
    'values (3, false, true)', 'its copies are its stock'
);
update e set ap = pg_temp.series(item, 'AP', 2), hc = pg_temp.series(item, 'HC', 1);
select is((select stock from public.catalog_items where id = item), 6, 'series come on top') from e;
select is(pg_temp.resize(null), 'edition_fixed', 'with series it is not one of a kind');
delete from public.catalog_options where title = 'HC';
select is((select stock from public.catalog_items where id = item), 5, 'a series that is removed is gone') from e;
select is(pg_temp.take(2, item, null, 4), 'item_sold', 'what is set aside is not sold as a numbered copy') from e;
select is(pg_temp.take(2, item, ap, 3), 'item_sold', 'nor the other way round') from e;

select is(pg_temp.take(2, item, null, 2), null, 'two copies at once') from e;
select is(pg_temp.take(3, item, ap), null, 'a proof') from e;
select is((select taken from public.catalog_items where id = item), 3, 'are held') from e;
select results_eq(
    'select details ->> ''edition_size'', details ->> ''series'', is_counted, is_held, is_owned_once '
    'from public.order_items as i inner join e on e.item = i.item_id order by i.option_id nulls first',
    $$values ('3', null, true, true, false), ('2', 'AP', true, true, false)$$, 'the line says of which edition'
);
-- once it is ordered
select is(pg_temp.resize(n), code, format('from three to %s: %s', n, coalesce(code, 'allowed')))
from (values (4, 'edition_fixed'), (null, 'edition_fixed'), (1, 'edition_fixed'), (2, null), (3, 'edition_fixed')) as c (n, code);
select is((select stock from public.catalog_items where id = item), 4, 'it shrinks down to what is held') from e;
select is(pg_temp.code_of('select pg_temp.series(item, ''HC'', 1) from e'), 'edition_fixed', 'no new series');
select is(pg_temp.code_of(format('update public.catalog_options set stock = %s where title = ''AP''', n)), code, means)
from (values (3, 'edition_fixed', 'nor a longer one'), (0, '23514', 'nor one that is shorter than what is held'),
    (1, null, 'but a shorter one')) as c (n, code, means);
select is((select stock from public.catalog_items where id = item), 3, 'which leaves the stock') from e;

-- numbers
select pg_temp.pay(2), pg_temp.pay(3);
select is_empty('select * from private.hold_periods', 'whoever paid let no hold run out');
select is(array[pg_temp.numbers(item), pg_temp.numbers(item, ap)], '{2:1 2:2,3:1}', 'each series has its own numbers') from e;
select results_eq(
    'select a.status::text, c.is_sold_out, c.taken from public.artworks as a '
    'inner join public.catalog_items as c on c.id = a.id where a.id = (select item from e)',
    $$values ('sold', true, 3)$$, 'with the last copy it is sold'
);
select is(pg_temp.take(4, item), 'item_sold', 'nobody else gets one') from e;
select is((select count(distinct order_item_id) from public.purchases where item_id = item and number is not null), 2::bigint,
    'two copies of one line are two rights') from e;
select pg_temp.give_back(item, 1) from e;
select results_eq(
    'select a.status::text, c.is_listed, c.taken from public.artworks as a '
    'inner join public.catalog_items as c on c.id = a.id where a.id = (select item from e)',
    $$values ('published', true, 1)$$, 'a line given back is for sale again'
);
select is(pg_temp.take(4, item), null, 'somebody else buys one') from e;
select pg_temp.pay(4);
select is(pg_temp.numbers(item), '4:1', 'and gets the number that came back') from e;
select is(pg_temp.take(4, item), null, 'one buyer may have two') from e;
select pg_temp.pay(4);
select is(pg_temp.numbers(item), '4:1 4:2', 'each with its number') from e;
-- the first buyer's refund fails: both numbers are another's now
select private.restore_line(p.order_item_id) from public.purchases as p, e where p.item_id = e.item and p.revoked_at is not null
group by p.order_item_id;
select results_eq(
    'select count(*) from public.audit_log where action = ''refund_failed_after_resale''', 'values (2::bigint)',
    'what nobody has to give is not given back, people look'
);
select pg_temp.give_back(item, 1) from e;
select private.restore_line(p.order_item_id) from public.purchases as p, e
where p.item_id = e.item and p.owner_id = pg_temp.id(2) group by p.order_item_id;
select is(pg_temp.numbers(item), '2:1 4:2', 'where one is free it is, with a number of its own') from e;
select is_empty('select * from ledger.audit() where subject like ''item%'' or subject like ''option%''', 'stock and numbers agree');

-- what is sent
create temporary table f as select pg_temp.artwork(1, 5000) as item;
grant select on f to public;
update public.artworks set edition_size = 3, is_physical = true where id = (select item from f);
select is((select requires_shipping from public.catalog_items where id = item), true, 'a physical work is sent') from f;
select is(pg_temp.take(2, item), 'address_required', 'somewhere') from f;
select is(pg_temp.take(2, item, null, 1, '{"name": "B", "country": "Wales"}'), 'address_required', 'that has a code') from f;
select is(pg_temp.take(2, item, null, 1, '{"name": "B", "country": "CH"}'), 'shipping_not_available', 'its seller sends to')
from f;
insert into public.shipping_rates (seller_id, name, countries, price_cents) values (pg_temp.id(1), 'Near', '{CH}', 700);
select is(pg_temp.take(2, item, null, 1, '{"name": "B", "country": "ch"}'), null, 'then it is ordered') from f;
select results_eq(
    'select is_shipped, shipping_cents, charged_cents from public.order_items where item_id = (select item from f)',
    'values (true, 700::bigint, 5700::bigint)', 'with its shipping'
);
select pg_temp.pay(2);
select results_eq(
    'select completed_at, release_at, ship_by is not null from public.transactions where related_id = (select item from f)',
    'values (null::timestamptz, null::timestamptz, true)', 'and earned when it arrives'
);
select is(pg_temp.take(3, item, null, 1, '{"name": "B", "country": "CH"}'), null, 'the second copy') from f;
select pg_temp.pay(3);
select pg_temp.be(pg_temp.id(1));
select public.ship_line(i.id) from public.order_items as i, f where i.item_id = f.item;
reset role;
select pg_temp.give_back(item, 1) from f;
select is(pg_temp.take(4, item, null, 2, '{"name": "B", "country": "CH"}'), 'item_sold', 'what is refunded and not back') from f;
select is(pg_temp.take(4, item, null, 1, '{"name": "B", "country": "CH"}'), null, 'is not for sale, the last one is') from f;
select pg_temp.pay(4);
select is(pg_temp.numbers(item), '3:2 4:3', 'and has a number of its own') from f;
select results_eq(
    'select a.status::text, c.is_sold_out, c.taken, c.purchases_count, c.paid_purchases_count from public.artworks as a '
    'inner join public.catalog_items as c on c.id = a.id where a.id = (select item from f)',
    $$values ('sold', true, 3, 3, 2)$$, 'nothing of it is left'
);
select pg_temp.be(pg_temp.id(1));
select public.confirm_return(p.order_item_id) from f inner join public.order_items as i on i.item_id = f.item
cross join lateral (select i.id as order_item_id) as p where i.buyer_id = pg_temp.id(2);
reset role;
select results_eq(
    'select a.status::text, c.is_sold_out, c.taken from public.artworks as a '
    'inner join public.catalog_items as c on c.id = a.id where a.id = (select item from f)',
    $$values ('archived', false, 2)$$, 'back it is its seller''s to put into the shop again'
);
update public.artworks set status = 'published' where id = (select item from f);
select is(pg_temp.take(4, item, null, 1, '{"name": "B", "country": "CH"}'), null, 'sold again') from f;
select pg_temp.pay(4);
select is(pg_temp.numbers(item), '4:1 3:2 4:3', 'its number is free again') from f;
select pg_temp.give_back(item, 1, 'lost') from f;
select results_eq(
    'select taken, is_sold_out from public.catalog_items where id = (select item from f)', 'values (3, true)',
    'what was lost is never sold again'
);
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$select public.confirm_return(i.id) from public.order_items as i, f
    where i.item_id = f.item and i.buyer_id = pg_temp.id(4)$$), 'sale_not_found', 'nothing was sent to them');
reset role;
select is_empty('select * from ledger.audit() where subject like ''item%'' or subject like ''option%''', 'the stock agrees');

select * from finish();
rollback;
