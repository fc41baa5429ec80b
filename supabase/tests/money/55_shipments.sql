-- Parcels: who ships, who says that it arrived or came back, which reports count, and what becomes of the money.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 7) as n;
update public.profiles set role = 'admin' where id = pg_temp.id(6);

-- the number
select is(private.is_suspicious_number(carrier, number), wrong, format('%s %s', carrier, number)) from (values
    ('UPS', '1Z5R89390357567127', false), ('UPS', '1Z5R89390357567128', true), ('UPS', '1Z879E930346834440', false),
    ('UPS', 'T1234567890', false), ('USPS', '9400111201080805483016', false), ('USPS', '9400111201080805483017', true),
    ('USPS', '03071790000523483741', false), ('USPS', '03071790000523483742', true), ('FEDEX', '986578788855', false),
    ('FEDEX', '986578788856', true), ('FEDEX', '477179081230', false), ('DHL', '986578788856', false),
    (null, 'RB123456785GB', false), ('ROYAL MAIL', 'RB123456786GB', true), (null, 'EA000000005US', false),
    ('AMAZON', 'TBA123456789000', false)
) as x (carrier, number, wrong);

-- goods
insert into public.shipping_rates (seller_id, name, price_cents) values (pg_temp.id(1), 'Everywhere', 700);
create function pg_temp.piece(seller integer, price bigint, edition integer default null) returns uuid
language sql as $$
    insert into public.artworks (
        seller_id, title, image_url, price_cents, category, status, is_physical, edition_size
    ) values (
        pg_temp.id(seller), 'Vase', 'https://e.com/1.png', price, 'sculpture', 'published', true, edition
    ) returning id
$$;
create function pg_temp.order_piece(buyer integer, item uuid) returns jsonb language plpgsql as $$
declare
    answer jsonb;
begin
    perform pg_temp.be(pg_temp.id(buyer));
    answer := public.checkout(
        jsonb_build_array(jsonb_build_object('item_id', item)), shipping_address => '{"country": "US"}'
    );
    perform set_config('role', 'none', true);
    return answer;
end
$$;
create temporary table l (name text, line uuid, item uuid);
create function pg_temp.line(name text) returns uuid language sql security definer as $$
    select l.line from l where l.name = $1
$$;
create function pg_temp.sell(name text, item uuid, is_paid boolean default true) returns void language plpgsql as $$
declare
    answer jsonb := pg_temp.order_piece(2, item);
begin
    insert into l select name, i.id, item from public.order_items as i where i.order_id = (answer ->> 'order_id')::uuid;
    if is_paid and answer ->> 'payment_id' is not null then
        perform pg_temp.start((answer ->> 'payment_id')::uuid);
        perform pg_temp.event('payment_intent.succeeded', pg_temp.intent((answer ->> 'payment_id')::uuid));
    end if;
end
$$;
create function pg_temp.ship(who integer, arguments text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('select public.ship_line(%s)', arguments))
$$;
create function pg_temp.statuses(name text) returns text[] language sql as $$
    select array_agg(s.status::text order by s.tracking_number) from public.shipments as s
    where s.order_item_id = pg_temp.line(name)
$$;
create function pg_temp.sale(name text) returns public.transactions language sql security definer as $$
    select t from public.transactions as t where t.order_item_id = pg_temp.line(name)
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.sell('vase', pg_temp.piece(1, 2000));
select pg_temp.sell('unpaid', pg_temp.piece(1, 2000), false);
select pg_temp.sell('late', pg_temp.piece(1, 2000));
select pg_temp.sell('silent', pg_temp.piece(1, 2000));
select pg_temp.sell('kept', pg_temp.piece(1, 2000));
create temporary table o as select pg_temp.buy(2, pg_temp.product(1, 1000)) as file;
insert into l select 'file', i.id, i.item_id from o inner join public.order_items as i on i.order_id = o.file;
update public.shipping_rates set price_cents = 0;
select pg_temp.sell('free', pg_temp.piece(1, 0));
update public.shipping_rates set price_cents = 700;

-- sold, and not sent
select results_eq(
    $$select (s).amount_total_cents, (s).completed_at, (s).release_at, (s).ship_by = (s).settled_at + interval '14 days'
    from pg_temp.sale('vase') as s$$,
    $$values (2700::bigint, null::timestamptz, null::timestamptz, true)$$, 'what is sent is not done when it is paid'
);
select results_eq(
    $$select (s).release_at is not null, (s).ship_by from pg_temp.sale('file') as s$$,
    $$values (true, null::timestamptz)$$, 'what is not sent is'
);
select private.release_matured_earnings(9);
update public.transactions set settled_at = settled_at - interval '1 year', created_at = created_at - interval '1 year';
select is(private.release_matured_earnings(9), 0, 'nothing of it is paid out, however long nobody sends it');

-- who ships
select is(pg_temp.ship(who, arguments), code, says) from (values
    (2, 'pg_temp.line(''vase'')', 'sale_not_found', 'not its buyer'),
    (3, 'pg_temp.line(''vase'')', 'sale_not_found', 'not a stranger'),
    (4, 'pg_temp.line(''vase'')', 'sale_not_found', 'not an admin'),
    (1, 'pg_temp.line(''unpaid'')', 'sale_not_found', 'not before it is paid'),
    (1, 'pg_temp.line(''file'')', 'sale_not_found', 'not what is not sent'),
    (1, 'gen_random_uuid()', 'sale_not_found', 'not what is not there'),
    (1, 'pg_temp.line(''vase''), repeat(''x'', 51)', '23514', 'by a carrier of at most 50 characters'),
    (1, 'pg_temp.line(''vase''), null, ''123''', '23514', 'with a number of at least four'),
    (1, 'pg_temp.line(''vase''), null, repeat(''1'', 51)', '23514', 'and at most fifty')
) as x (who, arguments, code, says);
select is(
    pg_temp.code_as(null, 'select public.ship_line(pg_temp.line(''vase''))', 'anon'), '42501', 'not a visitor'
);
select is_empty('select from public.shipments', 'nothing was sent');

-- sent
select is(pg_temp.ship(1, 'pg_temp.line(''vase''), '' ups '', ''1z 5r8-9390357567127'''), null, 'its seller ships');
select is(pg_temp.ship(1, 'pg_temp.line(''vase''), ''UPS'', ''1Z5R89390357567127'''), null, 'the same parcel again');
select results_eq(
    'select carrier, tracking_number, status::text, is_suspicious from public.shipments',
    $$values ('UPS', '1Z5R89390357567127', 'shipped', false)$$, 'is the same parcel'
);
select is(
    pg_temp.ship(1, format('pg_temp.line(''vase''), ''USPS'', %L', number)), null, 'in several parcels'
) from unnest(array['42094043 9400111201080805483017', '420940430001 9400111201080805483016']) as number;
select results_eq(
    $$select tracking_number, is_suspicious from public.shipments where carrier = 'USPS' order by 1$$,
    $$values ('9400111201080805483016', false), ('9400111201080805483017', true)$$,
    'without the postal code; a wrong check digit is marked'
);
select is(pg_temp.ship(1, 'pg_temp.line(''free'')'), null, 'what costs nothing is sent as well');
select results_eq(
    $$select n.user_id, n.link_url = '/order_items/' || pg_temp.line('vase'), count(*) from public.notifications as n
    where n.type = 'shipped' and n.related_id = pg_temp.line('vase') group by 1, 2$$,
    $$values (pg_temp.id(2), true, 3::bigint)$$, 'the buyer hears of each parcel'
);

-- who reads
create function pg_temp.seen(who integer) returns bigint language plpgsql as $$
declare
    found bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    select count(*) into found from public.shipments where order_item_id = pg_temp.line('vase');
    perform set_config('role', 'none', true);
    return found;
end
$$;
select is(pg_temp.seen(who), parcels, says) from (values
    (1, 3::bigint, 'the seller reads them'), (2, 3, 'the buyer'), (4, 3, 'admins'), (3, 0, 'no strangers')
) as x (who, parcels, says);
select is(pg_temp.code_as(null, 'select from public.shipments', 'anon'), '42501', 'no visitors');
select is(pg_temp.code_as(pg_temp.id(1), statement), '42501', statement) from unnest(array[
    'insert into public.shipments (order_item_id) values (pg_temp.line(''vase''))',
    'update public.shipments set status = ''delivered''', 'delete from public.shipments',
    'select private.record_shipment(gen_random_uuid(), ''delivered'', now())'
]) as statement;

-- arrived
create function pg_temp.confirm(who integer, name text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('select public.confirm_delivery(%L)', pg_temp.line(name)))
$$;
select is(pg_temp.confirm(who, line), code, says) from (values
    (1, 'vase', 'sale_not_found', 'the seller does not say that it arrived'),
    (3, 'vase', 'sale_not_found', 'nor a stranger'), (2, 'late', 'not_shipped', 'nor anybody before it is sent'),
    (2, 'file', 'sale_not_found', 'nor of what is not sent')
) as x (who, line, code, says);
select is(pg_temp.confirm(2, 'vase'), null, 'its buyer does');
select is(pg_temp.statuses('vase'), array['delivered', 'delivered', 'delivered'], 'of all of it');
select results_eq(
    $$select (s).completed_at, (s).release_at from pg_temp.sale('vase') as s$$,
    $$select now(), now() + interval '7 days'$$, 'from then on the hold counts'
);
select is(private.release_matured_earnings(9), 0, 'it is not over yet');
update public.transactions set release_at = release_at - interval '7 days' where order_item_id = pg_temp.line('vase');
select is(pg_temp.confirm(2, 'vase'), null, 'said again');
select is((pg_temp.sale('vase')).release_at, now(), 'changes nothing');
select is(private.release_matured_earnings(9), 1, 'then it is paid out');
select is(pg_temp.ship(1, 'pg_temp.line(''kept'')'), null, 'without a number');
select is(pg_temp.confirm(4, 'kept'), null, 'an admin says it for a buyer who does not');
select is(
    (select array_agg(action) from public.audit_log where target_id = pg_temp.line('kept')), array['confirm_delivery'],
    'which is audited'
);
insert into public.shipping_rates (seller_id, name, price_cents) values (pg_temp.id(6), 'Everywhere', 700);
select pg_temp.sell('of an admin', pg_temp.piece(6, 2000));
select is(pg_temp.ship(6, 'pg_temp.line(''of an admin'')'), null, 'an admin who sells ships');
select is(pg_temp.confirm(6, 'of an admin'), 'sale_not_found', 'and does not say that it arrived');

-- reports, in any order
select pg_temp.ship(1, format('pg_temp.line(''late''), ''DHL'', %L', number)) from unnest(array['AAAA', 'BBBB']) as number;
create function pg_temp.report(number text, told text, at timestamptz) returns text[] language plpgsql as $$
begin
    perform private.record_shipment(s.id, told::public.shipment_status, at) from public.shipments as s
    where s.order_item_id = pg_temp.line('late') and s.tracking_number = number;
    return pg_temp.statuses('late');
end
$$;
select is(pg_temp.report(number, told, now() + hours * interval '1 hour'), after, says) from (values
    (1, 'AAAA', 'in_transit', 5, array['in_transit', 'shipped'], 'each parcel has a state of its own'),
    (2, 'AAAA', 'out_for_delivery', 9, array['out_for_delivery', 'shipped'], 'that moves on'),
    (3, 'AAAA', 'in_transit', 10, array['out_for_delivery', 'shipped'], 'and never back'),
    (4, 'BBBB', 'lost', 20, array['out_for_delivery', 'lost'], 'a parcel is lost'),
    (5, 'BBBB', 'in_transit', 19, array['out_for_delivery', 'lost'], 'what was known before does not find it'),
    (6, 'BBBB', 'in_transit', 21, array['out_for_delivery', 'in_transit'], 'what is heard later does'),
    (7, 'AAAA', 'delivered', 30, array['delivered', 'in_transit'], 'one is there'),
    (8, 'AAAA', 'available_for_pickup', 31, array['delivered', 'in_transit'], 'and stays there'),
    (9, 'AAAA', 'in_transit', 32, array['delivered', 'in_transit'], 'whatever comes late'),
    (10, 'AAAA', 'lost', 29, array['delivered', 'in_transit'], 'whatever was thought before')
) as x (no, number, told, hours, after, says) order by no;
select is((pg_temp.sale('late')).completed_at, null, 'a line is done with its last parcel');
select is(
    pg_temp.report('BBBB', 'delivered', now() - interval '1 hour'), array['delivered', 'delivered'], 'here it is'
);
select is((pg_temp.sale('late')).completed_at, now() - interval '1 hour', 'when it arrived');
select is(
    pg_temp.report('AAAA', 'returned', now()), array['returned', 'delivered'], 'what was delivered may come back'
);
select is(pg_temp.report('AAAA', 'delivered', now() + interval '1 day'), array['returned', 'delivered'], 'for good');
select throws_ok(
    $$update public.shipments set status = 'shipped' where status = 'returned'$$, 'AV003', null,
    'no function does otherwise'
);

-- silence
select pg_temp.ship(1, 'pg_temp.line(''silent''), ''UPS'', ''CCCC''');
update public.shipments set status_at = status_at - interval '15 days' where tracking_number is null;
update public.shipments set status_at = status_at - interval '13 days', shipped_at = shipped_at - interval '30 days'
where tracking_number = 'CCCC';
select is(private.assume_deliveries(9), 0, 'what is tracked has time, what is not has no end');
update public.shipments set status_at = status_at - interval '1 day' where tracking_number = 'CCCC';
select is(private.assume_deliveries(9), 1, 'after two weeks without news it counts as delivered');
select is(private.assume_deliveries(9), 0, 'once');
select is((pg_temp.sale('silent')).completed_at, now(), 'and the line is done');
select is(pg_temp.statuses('free'), array['shipped'], 'what brought no money waits for its buyer');

-- back with the seller
create function pg_temp.confirm_back(who integer, name text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('select public.confirm_return(%L)', pg_temp.line(name)))
$$;
select is(pg_temp.confirm_back(2, 'silent'), 'sale_not_found', 'its buyer does not say that it is back');
select is(pg_temp.confirm_back(1, 'unpaid'), 'sale_not_found', 'nobody what was not sent');
select is(pg_temp.confirm_back(1, 'silent'), null, 'its seller does');
select is(pg_temp.statuses('silent'), array['returned'], 'that is all it says');

-- not sent in time
create function pg_temp.cancel(name text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(2), format('select public.cancel_line(%L)', pg_temp.line(name)))
$$;
select pg_temp.sell('waiting', pg_temp.piece(1, 2000));
select pg_temp.sell('sent', pg_temp.piece(1, 2000));
select is(pg_temp.cancel('waiting'), 'cannot_cancel', 'a seller has time to send');
select pg_temp.ship(1, 'pg_temp.line(''sent'')');
update public.transactions set ship_by = now() - interval '1 second' where ship_by is not null;
select is(pg_temp.cancel('sent'), 'cannot_cancel', 'what is on its way is not cancelled');
select is(pg_temp.cancel('vase'), 'cannot_cancel', 'nor what arrived');
select is(pg_temp.cancel('waiting'), null, 'what was not sent in time is');
select results_eq(
    $$select amount_cents, origin::text, fee_bearer, reason from public.refunds
    where order_item_id = pg_temp.line('waiting')$$,
    $$values (2700::bigint, 'automatic', 'seller', 'not_shipped')$$, 'all of it comes back, at the seller''s cost'
);
select is(
    pg_temp.ship(1, 'pg_temp.line(''waiting'')'), 'line_refunded', 'and is not sent any more, though not booked yet'
);
select private.record_refund(r.id, 're_waiting', 'succeeded') from public.refunds as r
where r.order_item_id = pg_temp.line('waiting');
select is(pg_temp.ship(1, 'pg_temp.line(''waiting'')'), 'line_refunded', 'nor after that');

-- given back after it was sent
create function pg_temp.refund_whole(name text) returns text language plpgsql as $$
declare
    made uuid;
begin
    perform pg_temp.be(pg_temp.id(1));
    select r.id into made from public.refund_order_item(pg_temp.line(name), null, 'sorry') as r;
    perform set_config('role', 'none', true);
    perform private.record_refund(made, 're_' || made, 'succeeded');
    return a.status from public.artworks as a inner join l on l.item = a.id and l.name = refund_whole.name;
end
$$;
select is(
    (select a.status::text from public.artworks as a inner join l on l.item = a.id where l.name = 'waiting'), 'published',
    'what was never sent is in the shop again'
);
select is(pg_temp.refund_whole('sent'), 'sold', 'what was sent is not there yet');
select pg_temp.be(pg_temp.id(1));
select public.confirm_return(pg_temp.line('sent'));
reset role;
select is(
    (select a.status::text from public.artworks as a inner join l on l.item = a.id where l.name = 'sent'), 'archived',
    'back, its seller puts it in again'
);
select is(pg_temp.refund_whole('silent'), 'published', 'what is back is sold again');

select * from finish();
rollback;
