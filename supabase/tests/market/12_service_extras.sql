-- Extras of services: who writes and sees them, what is refused.
begin;
\ir ../helpers.psql

select plan(34);
select pg_temp.people();
insert into public.services (id, seller_id, title, service_type) values
(pg_temp.id(11), pg_temp.id(1), 'Mixing', 'mixing'), (pg_temp.id(12), pg_temp.id(3), 'Other', 'mixing');
insert into public.catalog_options (id, item_id, title, price_cents, details) values
(pg_temp.id(21), pg_temp.id(11), 'Basic', 2000, '{"delivery_days": 3, "revisions": 1, "features": ["WAV"]}');
update public.services set status = 'active', buyer_requirements = 'Stems.' where id = pg_temp.id(11);

select col_is_pk('public', 'service_extras', 'id', 'extras');
select fk_ok('public', 'service_extras', 'service_id', 'public', 'services', 'id');

select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of(format('insert into public.service_extras (%s', bad)), code, bad || ': ' || coalesce(code, 'an extra'))
from (values
    (null, 'service_id, title, price_cents, delivery_days) values (pg_temp.id(11), ''  Stems '', 500, 1)'),
    (null, 'service_id, title, price_cents, is_active) values (pg_temp.id(11), ''Off'', 0, false)'),
    ('text_not_visible', 'service_id, title, price_cents) values (pg_temp.id(11), '' '', 500)'),
    ('23514', 'service_id, title, price_cents) values (pg_temp.id(11), repeat(''x'', 101), 500)'),
    ('23514', 'service_id, title, price_cents) values (pg_temp.id(11), ''x'', 49)'),
    ('23514', 'service_id, title, price_cents) values (pg_temp.id(11), ''x'', 100000000)'),
    ('23514', 'service_id, title, price_cents, delivery_days) values (pg_temp.id(11), ''x'', 500, 366)'),
    ('23514', 'service_id, title, price_cents, position) values (pg_temp.id(11), ''x'', 500, 101)'),
    ('23514', 'service_id, title, price_cents, description) values (pg_temp.id(11), ''x'', 500, repeat(''x'', 1001))'),
    ('42501', 'service_id, title, price_cents) values (pg_temp.id(12), ''x'', 500)'),
    ('42501', 'service_id, title, price_cents) values (gen_random_uuid(), ''x'', 500)'),
    ('42501', 'id, service_id, title, price_cents) values (gen_random_uuid(), pg_temp.id(11), ''x'', 500)')
) as b (code, bad);
select is(pg_temp.code_of('update public.service_extras set service_id = pg_temp.id(12)'), '42501', 'it stays where it is');
insert into public.service_extras (service_id, title, price_cents)
select pg_temp.id(11), 'Extra ' || n, 500 from generate_series(3, 20) as n;
select is(pg_temp.code_of('insert into public.service_extras (service_id, title, price_cents) values (pg_temp.id(11), ''x'', 500)'),
    'too_many_extras', 'twenty and no more');

reset role;
create function pg_temp.sees(who uuid, speaker text default 'authenticated') returns bigint language plpgsql as $$
declare
    seen bigint;
begin
    perform pg_temp.be(who, speaker);
    select count(*) into seen from public.service_extras;
    perform set_config('role', 'none', true);
    return seen;
end
$$;
select is(pg_temp.sees(pg_temp.id(1)), 20::bigint, 'its seller sees them all');
select is(pg_temp.sees(pg_temp.id(2)), 19::bigint, 'others those that can be had');
select is(pg_temp.sees(null, 'anon'), 19::bigint, 'visitors too');
select is(pg_temp.code_as(pg_temp.id(2), 'update public.service_extras set price_cents = 50'), null, 'a stranger');
select is(pg_temp.code_as(pg_temp.id(2), 'delete from public.service_extras'), null, 'tries');
select is((select count(*) from public.service_extras where price_cents <> 50), 20::bigint, 'and changes nothing');
select is(pg_temp.code_as(null, 'delete from public.service_extras', 'anon'), '42501', 'nor do visitors');

-- what a line keeps
create function pg_temp.buys(details text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(2), format('select public.checkout(%L)', jsonb_build_array(jsonb_build_object(
        'item_id', pg_temp.id(11), 'option_id', pg_temp.id(21), 'details', details::jsonb
    ))))
$$;
create temporary table e as select id from public.service_extras where title = 'Stems';
select is(pg_temp.buys('{"extras": "all"}'), 'line_not_valid', 'not a list');
select is(pg_temp.buys('{"extras": ["x"]}'), 'line_not_valid', 'not objects');
select is(pg_temp.buys('{"extras": [{"id": "x", "price_cents": 500}]}'), 'line_not_valid', 'not an id');
select is(pg_temp.buys('{"extra": []}'), 'line_not_valid', 'a misspelt key');
select is(pg_temp.buys(format('{"extras": [{"id": "%s", "price_cents": 499}]}', id)), 'price_changed', 'dearer than shown') from e;
select is(pg_temp.buys(format('{"extras": [{"id": "%s", "price_cents": 500}]}', gen_random_uuid())), 'extra_not_available', 'no such extra');
select is(pg_temp.buys(format('{"extras": [{"id": "%s", "price_cents": 500}]}', id)), 'extra_not_available', 'one that is off')
from public.service_extras where title = 'Off';
select is(pg_temp.buys('{"extras": null}'), null, 'none at all');
select is(pg_temp.buys(format('{"extras": [{"id": "%s", "price_cents": 500}]}', id)), null, 'as shown') from e;
select results_eq(
    $$select unit_price_cents, total_cents, is_booked, (details #> '{extras,0}') - 'id', details - '{extras,package}'::text[],
        details -> 'package'
    from public.order_items where details #> '{extras,0}' is not null$$,
    $$values (2500::bigint, 2500::bigint, null::boolean, '{"title": "Stems", "price_cents": 500, "delivery_days": 1}'::jsonb,
    '{"requirements_asked": "Stems."}'::jsonb, jsonb_build_object('option_id', pg_temp.id(21), 'name', 'Basic',
    'delivery_days', 3, 'revisions', 1, 'features', '["WAV"]'::jsonb))$$, 'is what the line keeps and costs'
);
select is((select count(*) from private.busy_times), 0::bigint, 'and takes nobody''s time');

select * from finish();
rollback;
