-- Variants of an item: who writes and sees them, what their kinds want of them, what is free of each.
begin;
\ir ../helpers.psql

create function pg_temp.take(buyer integer, item uuid, option uuid default null, pieces integer default 1)
returns text language plpgsql as $$
begin
    return pg_temp.code_as(pg_temp.id(buyer), format(
        'select public.checkout(%L)',
        jsonb_build_array(jsonb_build_object('item_id', item, 'option_id', option, 'quantity', pieces))
    ));
end
$$;
create function pg_temp.option(item uuid, title text, stock integer default null, more text default '')
returns uuid language plpgsql as $$
declare
    made uuid;
begin
    insert into public.catalog_options (item_id, title, price_cents, stock, is_exclusive, is_set_aside, details)
    values (
        item, title, 1000, stock, more = 'exclusive', more like 'aside%',
        case when more = 'exclusive' then '{"license_type": "exclusive"}'
            when more = 'commercial' then '{"license_type": "commercial"}'
            when more like 'aside %' then jsonb_build_object('series', split_part(more, ' ', 2)) else '{}' end
    )
    returning id into made;
    return made;
end
$$;
grant execute on all functions in schema pg_temp to public;

select plan(82);
select pg_temp.people();
create temporary table t as select
    pg_temp.product(1, 2000) as product, pg_temp.artwork(1, 5000) as artwork, pg_temp.artwork(1, 5000) as edition,
    pg_temp.product(3, 700) as other;
update public.artworks set edition_size = 3 where id = (select edition from t);
grant select on t to public;

-- structure
select col_is_pk('public', 'catalog_options', 'id', 'options');
select fk_ok('public', 'catalog_options', 'item_id', 'public', 'catalog_items', 'id');
select has_index('public', 'catalog_options', 'catalog_options_item_id_idx', array['item_id', '"position"', 'id'],
    'read with their item, in order');
select results_eq(
    $$select c.relname::text collate "default", k.conname::text collate "default" from pg_constraint as k inner join pg_class as c on c.oid = k.conrelid
    where k.confrelid = 'public.catalog_options'::regclass order by 1$$,
    $$values ('bundle_parts', 'bundle_parts_option_id_fkey'), ('cart_items', 'cart_items_option_id_fkey'), ('holds', 'holds_option_id_fkey'),
    ('line_parts', 'line_parts_option_id_fkey'), ('order_items', 'order_items_option_id_fkey'), ('purchases', 'purchases_option_id_fkey')$$,
    'whatever names an option names its item with it'
);

-- who writes what
select pg_temp.be(pg_temp.id(1));
select lives_ok($$insert into public.catalog_options (item_id, title, price_cents, position, details)
    select product, '  Commercial ', 9000, 2, '{"license_type": "commercial", "license_text": "Up to 1,000 copies"}'
    from t$$, 'a seller adds one');
select results_eq(
    'select title, price_cents, stock, taken, is_exclusive, is_set_aside, is_active, position from public.catalog_options',
    $$values ('Commercial', 9000::bigint, null::integer, 0, false, false, true, 2::smallint)$$, 'tidied and complete'
);
select lives_ok('update public.catalog_options set price_cents = 9900', 'and changes it');
select is(pg_temp.code_of(format('insert into public.catalog_options (%s)', bad)), code, bad || ': ' || code)
from (values
    ('text_not_visible', 'item_id, title, price_cents) select product, '''', 50 from t --'),
    ('23514', 'item_id, title, price_cents) select product, repeat(''x'', 101), 50 from t --'),
    ('23514', 'item_id, title, price_cents) select product, ''x'', 49 from t --'),
    ('23514', 'item_id, title, price_cents) select product, ''x'', 100000000 from t --'),
    ('23514', 'item_id, title, price_cents, stock) select product, ''x'', 50, -1 from t --'),
    ('23514', 'item_id, title, price_cents, stock) select product, ''x'', 50, 1000001 from t --'),
    ('23514', 'item_id, title, price_cents, position) select product, ''x'', 50, 0 from t --'),
    ('23514', 'item_id, title, price_cents, position) select product, ''x'', 50, 101 from t --'),
    ('23514', 'item_id, title, price_cents, details) select product, ''x'', 50, ''[]'' from t --'),
    ('23514', 'item_id, title, price_cents, is_exclusive) select product, ''x'', 50, true from t --'),
    ('23514', 'item_id, title, price_cents, is_exclusive, stock) select product, ''x'', 50, true, 2 from t --'),
    ('23514', 'item_id, title, price_cents, is_set_aside) select product, ''x'', 50, true from t --'),
    ('23502', 'item_id, price_cents) select product, 50 from t --'),
    -- what a product wants
    ('invalid_option', 'item_id, title, price_cents, details) select product, ''x'', 50, ''{"licence": "x"}'' from t --'),
    ('invalid_option', 'item_id, title, price_cents, details) select product, ''x'', 50, ''{"license_type": "all"}'' from t --'),
    ('invalid_option', 'item_id, title, price_cents, details) '
        'select product, ''x'', 50, ''{"license_type": "custom"}'' from t --'),
    ('invalid_option', 'item_id, title, price_cents, details) '
        'select product, ''x'', 50, ''{"license_type": "exclusive"}'' from t --'),
    ('invalid_option', 'item_id, title, price_cents, stock, is_exclusive, details) '
        'select product, ''x'', 50, 1, true, ''{"license_type": "personal"}'' from t --'),
    ('invalid_option', 'item_id, title, price_cents, stock, is_exclusive) select product, ''x'', 50, 1, true from t --'),
    -- what an edition wants
    ('invalid_option', 'item_id, title, price_cents, stock, is_set_aside) select edition, ''x'', 50, 1, true from t --'),
    ('invalid_option', 'item_id, title, price_cents, stock, is_set_aside, details) '
        'select edition, ''x'', 50, 1, true, ''{"series": "ap"}'' from t --'),
    ('invalid_option', 'item_id, title, price_cents, details) select edition, ''x'', 50, ''{"series": "AP"}'' from t --'),
    ('invalid_option', 'item_id, title, price_cents, stock, is_set_aside, details) '
        'select artwork, ''x'', 50, 1, true, ''{"series": "AP"}'' from t --'),
    ('42501', 'item_id, title, price_cents) select other, ''x'', 50 from t --'),
    ('42501', 'item_id, title, price_cents) values (gen_random_uuid(), ''x'', 50) --'),
    ('42501', 'item_id, title, price_cents, taken) select product, ''x'', 50, 1 from t --'),
    ('42501', 'id, item_id, title, price_cents) select gen_random_uuid(), product, ''x'', 50 from t --')
) as c (code, bad);
select is(pg_temp.code_of(format('update public.catalog_options set %s', bad)), '42501', 'not writable: ' || bad)
from unnest(array['item_id = (select edition from t)', 'taken = 0', 'id = default', 'created_at = now()']) as b (bad);
reset role;
select is(pg_temp.code_as(who, s, speaker), code, format('%s: %s', coalesce(who::text, speaker), s))
from (values
    (pg_temp.id(2), 'authenticated', '42501', 'insert into public.catalog_options (item_id, title, price_cents) '
        'select product, ''x'', 50 from t'),
    (pg_temp.id(4), 'authenticated', '42501', 'insert into public.catalog_options (item_id, title, price_cents) '
        'select product, ''x'', 50 from t'),
    (null, 'anon', '42501', 'insert into public.catalog_options (item_id, title, price_cents) select product, ''x'', 50 from t'),
    (null, 'anon', '42501', 'delete from public.catalog_options')
) as c (who, speaker, code, s);
select pg_temp.be(pg_temp.id(2));
update public.catalog_options set price_cents = 50;
delete from public.catalog_options;
reset role;
select is((select price_cents from public.catalog_options), 9900::bigint, 'nor does anybody else change or remove one');

-- who sees what
create temporary table o as select
    (select id from public.catalog_options) as commercial, pg_temp.option((select product from t), 'Off') as off;
update public.catalog_options set is_active = false where id = (select off from o);
grant select on o to public;
select pg_temp.be(null, 'anon');
select set_eq('select title from public.catalog_options', array['Commercial'], 'visitors see what is active');
select pg_temp.be(pg_temp.id(2));
select set_eq('select title from public.catalog_options', array['Commercial'], 'members too');
select pg_temp.be(pg_temp.id(1));
select set_eq('select title from public.catalog_options', array['Commercial', 'Off'], 'its seller all');
reset role;
update public.products set status = 'paused' where id = (select product from t);
select pg_temp.be(null, 'anon');
select is_empty('select * from public.catalog_options', 'of what is not in the shop nobody sees any');
reset role;
update public.products set status = 'active' where id = (select product from t);
select lives_ok($$select pg_temp.option(product, 'Option ' || n) from t, generate_series(3, 20) as n$$, 'twenty');
select is(pg_temp.code_of($$select pg_temp.option(product, 'One more') from t$$), 'too_many_options', 'and no more');
select lives_ok($$update public.catalog_options set details = '{"license_type": "personal"}' where title = 'Option 20'$$,
    'twenty can still change');
delete from public.catalog_options where title like 'Option %';

-- what is bought
select is(pg_temp.take(2, product, commercial), null, 'an option is bought') from t, o;
select results_eq(
    $$select title, unit_price_cents, license_type::text, license_text from public.order_items$$,
    $$values ('Product (Commercial)', 9900::bigint, 'commercial', 'Up to 1,000 copies')$$, 'at its price, with its licence'
);
select is(pg_temp.take(2, product, off), 'option_not_available', 'what is not active is not') from t, o;
select is(pg_temp.take(2, other, commercial), 'option_not_available', 'nor another item''s') from t, o;
select is(
    pg_temp.code_as(pg_temp.id(1), 'delete from public.catalog_options where title = ''Commercial'''), '23503',
    'what was ordered is not removed'
);
select is(pg_temp.code_as(pg_temp.id(1), 'delete from public.catalog_options where title = ''Off'''), null, 'the rest is');
reset role;
select results_eq(
    $$select code from public.error_catalog() where name = 'order_items_option_id_fkey'$$, $$values ('item_has_orders')$$,
    'and its seller is told why'
);

-- a stock of its own
create temporary table s as select pg_temp.product(1, 2000) as item, null::uuid as two, null::uuid as exclusive;
update s set two = pg_temp.option(item, 'Two', 2);
grant select on s to public;
create function pg_temp.taken(option uuid) returns integer language sql as $$
    select o.taken from public.catalog_options as o where o.id = option
$$;
select is(array[pg_temp.take(buyer, item, two), pg_temp.taken(two)::text], array[code, taken], means)
from s, (values
    (2, null, '1', 'one of two is held'), (3, null, '2', 'both are'), (4, 'item_reserved', '2', 'a third buyer waits')
) as c (buyer, code, taken, means);
select is((select taken from public.catalog_items where id = item), 0, 'of the item itself there is no end') from s;
select is(pg_temp.take(4, item), null, 'so it is bought') from s;
select is(pg_temp.take(4, item, two, 2), 'item_reserved', 'nor two at once') from s;
select private.stop_payment(p.id, 'expired') from public.payments as p where p.user_id = pg_temp.id(3) and p.is_open;
select is((select taken from public.catalog_options where id = two), 1, 'what is given up is free') from s;
select is(pg_temp.code_of('update public.catalog_options set stock = 0 where title = ''Two'''), '23514',
    'a stock is not below what is held');
select pg_temp.start(p.id), pg_temp.event('payment_intent.succeeded', pg_temp.intent(p.id))
from public.payments as p inner join public.order_items as i on i.order_id = p.order_id
where i.option_id = (select two from s) and p.is_open;
select results_eq(
    'select o.taken, c.purchases_count, c.is_sold_out from public.catalog_options as o '
    'inner join public.catalog_items as c on c.id = o.item_id where o.title = ''Two''',
    'values (1, 1, false)', 'sold is taken'
);
select is(pg_temp.take(2, item, two), null, 'a copy of a stock is bought again') from s;
-- Removed, not refunded: its money stays, and nobody owes the right for it.
select private.revoke_line(p.order_item_id, 'removed') from public.purchases as p, s where p.option_id = s.two;
select is((select taken from public.catalog_options where id = two), 1, 'revoked it is free, the other is held') from s;

-- the exclusive one ends the others
update s set exclusive = pg_temp.option(item, 'Exclusive', 1, 'exclusive');
select is(pg_temp.take(3, item, exclusive), 'item_reserved', 'not while somebody pays for another') from s;
select private.stop_payment(p.id, 'expired') from public.payments as p where p.is_open order by p.id;
select results_eq(
    'select p.revoked_reason, o.taken from public.purchases as p '
    'inner join public.catalog_options as o on o.id = p.option_id where o.title = ''Two''',
    'values (''removed'', 0)', 'what is given up then is the shop''s: a removal gives nothing back to anybody'
);
select pg_temp.buy(2, item) from s;
select is(pg_temp.take(3, item, exclusive), null, 'licences sold before do not matter') from s;
select results_eq(
    'select details -> ''earlier_licenses'' from public.order_items where option_id = (select exclusive from s)',
    $$values ('{"personal": 1}'::jsonb)$$, 'and are named on its line'
);
select is(pg_temp.take(4, item), 'item_reserved', 'while somebody pays for it nobody buys another') from s;
select is(pg_temp.take(4, item, two), 'item_reserved', 'in any option') from s;
select pg_temp.start(p.id), pg_temp.event('payment_intent.succeeded', pg_temp.intent(p.id))
from public.payments as p where p.user_id = pg_temp.id(3) and p.is_open;
select results_eq(
    'select is_exclusively_sold, is_sold_out, is_buyable, is_listed, is_visible from public.catalog_items '
    'where id = (select item from s)', 'values (true, true, false, false, true)', 'sold, it ends them'
);
select is(pg_temp.take(4, item), 'item_sold', 'for everybody') from s;
select ok(private.owns_item(pg_temp.id(2), item), 'who had one keeps it') from s;
select is_empty('select * from ledger.audit()', 'the books agree');
select private.revoke_line(p.order_item_id, 'removed') from public.purchases as p, s where p.option_id = s.exclusive;
select results_eq(
    'select is_exclusively_sold, is_listed from public.catalog_items where id = (select item from s)',
    'values (false, true)', 'taken back, it is in the shop again'
);


-- Only what is limited counts among what one may hold.
create temporary table m as select pg_temp.product(1, 2000) as item from generate_series(1, 6);
select pg_temp.option(item, 'Exclusive', 1, 'exclusive') from m;
select is(
    pg_temp.code_as(pg_temp.id(4), format('select public.checkout(%L)', (
        select jsonb_agg(jsonb_build_object('item_id', item)) from m
    ))), null, 'six products that could be sold exclusively are bought together'
);
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.checkout(%L)', (
        select jsonb_agg(jsonb_build_object('item_id', o.item_id, 'option_id', o.id))
        from m inner join public.catalog_options as o on o.item_id = m.item
    ))), 'item_reserved', 'and held so long'
);
select private.stop_payment(p.id, 'expired') from public.payments as p where p.user_id = pg_temp.id(4) and p.is_open;
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.checkout(%L)', (
        select jsonb_agg(jsonb_build_object('item_id', o.item_id, 'option_id', o.id))
        from m inner join public.catalog_options as o on o.item_id = m.item
    ))), 'too_many_holds', 'six exclusive licences are too many'
);

select * from finish();
rollback;
