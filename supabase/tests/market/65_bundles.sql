-- Bundles: what one is, who writes and sees what, every move of its states and of its sellers' answers, what is refused.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
-- 6 sells a part, 7 another one, 8 blocked 1.
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 8) as n;
create temporary table t as select
    pg_temp.product(1, 3000) as own, pg_temp.product(1, 1000) as second, pg_temp.product(6, 1000) as other,
    pg_temp.product(7, 1000) as third, pg_temp.product(8, 1000) as blocked, pg_temp.product(5, 1000) as banned,
    pg_temp.artwork(1, 5000) as artwork, gen_random_uuid() as bundle, gen_random_uuid() as mine;
grant select on t to public;
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(8), pg_temp.id(1));
insert into public.bundles (id, seller_id, title)
select b.id, pg_temp.id(1), 'All of it' from t cross join unnest(array[t.bundle, t.mine]) as b (id);
select pg_temp.ban();
create function pg_temp.terms(who integer, price bigint, items text[], which text default 'bundle', more text default '')
returns text language plpgsql as $$
declare
    parts jsonb;
    wanted uuid;
begin
    select jsonb_agg(jsonb_build_object('item_id', to_jsonb(t) ->> i.name) order by i.no) into parts
    from t cross join unnest(items) with ordinality as i (name, no);
    select (to_jsonb(t) ->> which)::uuid into wanted from t;
    return pg_temp.code_as(pg_temp.id(who), format(
        'select public.set_bundle_terms(%L, %L, %L%s)', wanted, price, parts, more
    ));
end
$$;
create function pg_temp.answer(who integer, act text, version integer default null) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.%s(%L%s)', act, (select bundle from t), ', ' || version
    ))
$$;
create function pg_temp.state(who integer) returns text language sql as $$
    select s.status || coalesce(' ' || s.terms_version, '') from public.bundle_sellers as s
    where s.bundle_id = (select bundle from t) and s.seller_id = pg_temp.id(who)
$$;
create function pg_temp.seen(who integer, relation text) returns bigint language plpgsql as $$
declare
    found bigint;
begin
    perform pg_temp.be(case when who > 0 then pg_temp.id(who) end, case when who > 0 then 'authenticated' else 'anon' end);
    execute format('select count(*) from public.%I', relation) into found;
    perform set_config('role', 'none', true);
    return found;
end
$$;
create function pg_temp.complete() returns boolean language sql as $$
    select b.is_complete from public.bundles as b where b.id = (select bundle from t)
$$;
grant execute on all functions in schema pg_temp to public;

-- structure
select col_is_pk('public', 'bundles', 'id', 'bundles');
select col_is_pk('public', 'bundle_parts', array['bundle_id', 'position'], 'parts in order');
select col_is_unique('public', 'bundle_parts', array['bundle_id', 'item_id'], 'each item once');
select col_is_pk('public', 'bundle_sellers', array['bundle_id', 'seller_id'], 'each seller once');
select col_is_pk('private', 'line_parts', array['order_item_id', 'item_id'], 'what a line brings');
select col_is_pk('private', 'line_shares', array['order_item_id', 'payee_id'], 'who earns a line');
select fk_ok('public', 'bundles', 'id', 'public', 'catalog_items', 'id');
select fk_ok('public', 'bundle_parts', 'item_id', 'public', 'catalog_items', 'id');
select fk_ok('private', 'line_parts', 'item_id', 'public', 'catalog_items', 'id');
select enum_has_labels('public', 'bundle_status', array['draft', 'active', 'paused', 'deleted']);
select enum_has_labels('public', 'bundle_answer', array['asked', 'agreed', 'declined']);
select ok(c.relrowsecurity, c.oid::regclass || ' is closed by default') from pg_catalog.pg_class as c
where c.oid in (
    'public.bundles'::regclass, 'public.bundle_parts'::regclass, 'public.bundle_sellers'::regclass,
    'private.bundle_changes'::regclass, 'private.line_parts'::regclass, 'private.line_shares'::regclass
);
select results_eq(
    $$select is_browsable, is_repeatable, is_bundled, earned, reviewing from private.kinds where kind = 'bundle'$$,
    $$values (true, false, false, 'at_payment', 'none')$$, 'what is sold'
);
select results_eq($$select kind from private.kinds where is_bundled$$, $$values ('product')$$, 'what can be a part');
select results_eq(
    $$select kind, price_cents, is_buyable, is_listed from public.catalog_items where id = (select bundle from t)$$,
    $$values ('bundle', 0::bigint, false, false)$$, 'the registry row'
);

-- terms
select is(pg_temp.terms(who, price, items), code, says) from (values
    (6, 2500::bigint, array['own', 'other'], 'bundle_not_found', 'not of somebody else''s bundle'),
    (5, 2500, array['own', 'other'], 'banned', 'not by who was banned'),
    (1, 2500, array['own'], 'invalid_bundle', 'not of one part'),
    (1, 2500, array['own', 'own'], 'invalid_bundle', 'not of one twice'),
    (1, 2500, array['other', 'third'], 'invalid_bundle', 'not without one of their own'),
    (1, 2500, array['own', 'blocked'], 'item_not_available', 'not of who blocked them'),
    (1, 2500, array['own', 'banned'], 'item_not_available', 'nor of who was banned'),
    (1, 2500, array['own', 'artwork'], 'part_not_allowed', 'not of what there is one of'),
    (1, 2500, array['own', 'bundle'], 'item_not_available', 'not of itself'),
    (1, 49, array['own', 'other'], 'invalid_bundle', 'not for less than the least'),
    (1, 4000, array['own', 'other'], 'bundle_saves_nothing', 'not for what they cost alone')
) as x (who, price, items, code, says);
select is(
    pg_temp.code_as(pg_temp.id(1), format('select public.set_bundle_terms(%L, 2500, %L)', (select bundle from t), parts)),
    'invalid_bundle', parts
) from unnest(array['{}', 'null', '[]', '[1,2]', '[{"item_id":"x"},{"item_id":"y"}]', '[{"id":"x"},{"id":"y"}]']) as p (parts);
select is(
    pg_temp.terms(1, 2500, array['own', 'other'], more => format(', %L', shares)), 'invalid_bundle', 'shares ' || shares
) from unnest(array['[]', '{}', '{"x": 1}', '1', format('{"%s": 10001}', pg_temp.id(6)), format('{"%s": 1}', pg_temp.id(1))]) as s (shares);
select is_empty('select from public.bundle_parts', 'what is refused leaves none');
select is(
    pg_temp.code_as(pg_temp.id(1), 'update public.bundles set status = ''active'''), 'bundle_has_no_parts', 'nothing to sell'
);
select is(pg_temp.terms(1, 2500, array['own', 'other']), null, 'with somebody else''s');
select is(pg_temp.terms(1, 2500, array['own', 'second'], 'mine'), null, 'of one''s own');
select results_eq(
    $$select price_cents, parts_cents, saved_cents, terms_version, parts_count, is_complete, part_titles
    from public.bundles where id = (select bundle from t)$$,
    $$values (2500::bigint, 4000::bigint, 1500::bigint, 2, 2::smallint, false, E'Product\nProduct')$$, 'what it costs and saves'
);
select is(is_complete, true, 'nobody else is asked') from public.bundles where id = (select mine from t);
select is(pg_temp.state(6), 'asked', 'its seller is asked');
select results_eq(
    $$select user_id, actor_id from public.notifications where type = 'bundle_asked'$$,
    $$values (pg_temp.id(6), pg_temp.id(1))$$, 'and told'
);
select is(
    pg_temp.code_as(pg_temp.id(1), 'update public.bundles set status = ''active'''), null, 'on sale once it is complete'
);

-- who sees
select is(pg_temp.seen(who, relation), n, says) from (values
    (1, 'bundles', 2::bigint, 'their own'), (6, 'bundles', 2, 'what one is asked about, and the shop'),
    (2, 'bundles', 1, 'others the shop'), (0, 'bundles', 1, 'visitors too'), (4, 'bundles', 2, 'admins all'),
    (2, 'bundle_parts', 2, 'parts of what is in the shop'), (0, 'bundle_parts', 2, 'for visitors too'),
    (6, 'bundle_parts', 4, 'and of what one is asked about'), (1, 'bundle_sellers', 1, 'their answers'),
    (6, 'bundle_sellers', 1, 'one''s own answer'), (7, 'bundle_sellers', 0, 'nobody else''s'),
    (4, 'bundle_sellers', 1, 'but admins')
) as x (who, relation, n, says);
select is(pg_temp.code_as(null, 'select from public.bundle_sellers', 'anon'), '42501', 'visitors no answers');
select is(pg_temp.code_as(pg_temp.id(1), statement), '42501', statement) from unnest(array[
    'update public.bundles set price_cents = 100', 'update public.bundles set is_complete = true',
    'update public.bundles set terms_version = 9', 'update public.bundles set takes_coupons = true',
    'update public.bundles set is_hidden = false', 'insert into public.bundles (title, price_cents) values (''x'', 100)',
    'delete from public.bundle_parts', 'update public.bundle_parts set position = 1',
    'update public.bundle_sellers set status = ''agreed''', 'delete from public.bundle_sellers',
    'insert into public.bundle_sellers (bundle_id) values (null)', 'select private.follow_bundles()'
]) as s (statement);

-- answers
select is(pg_temp.answer(who, act, version), code, says) from (values
    (7, 'agree_to_bundle', 2, 'bundle_not_found', 'not who has no part in it'),
    (1, 'agree_to_bundle', 2, 'bundle_not_found', 'nor whose it is'),
    (5, 'agree_to_bundle', 2, 'banned', 'nor who was banned'),
    (7, 'decline_bundle', null, 'bundle_not_found', 'nor do they decline'),
    (6, 'agree_to_bundle', 1, 'bundle_terms_changed', 'not to other terms'),
    (6, 'agree_to_bundle', null, '42883', 'nor to none')
) as x (who, act, version, code, says);
select is(pg_temp.code_as(pg_temp.id(2), format('select public.bundle_problem(%L)', (select bundle from t))),
    'bundle_not_found', 'what is wrong is its seller''s to know');
select is(pg_temp.answer(6, 'agree_to_bundle', 2), null, 'asked, agreed');
select is(pg_temp.state(6), 'agreed 2', 'to these terms');
select ok(pg_temp.complete(), 'and it is on sale');
select is(pg_temp.answer(6, 'agree_to_bundle', 2), null, 'agreed again');
select is(pg_temp.terms(1, 2400, array['own', 'other']), null, 'another price');
select is(pg_temp.state(6), 'asked', 'agreed, asked again');
select ok(not pg_temp.complete(), 'and off sale');
select is(pg_temp.answer(6, 'decline_bundle'), null, 'asked, declined');
select is(pg_temp.answer(6, 'decline_bundle'), 'state_changed', 'not twice');
select is(pg_temp.terms(1, 2300, array['own', 'other']), null, 'other terms');
select is(pg_temp.state(6), 'declined', 'declined, not asked again');
select is(pg_temp.answer(6, 'agree_to_bundle', 4), null, 'declined, agreed');
select ok(pg_temp.complete(), 'and on sale again');
select is(pg_temp.answer(6, 'decline_bundle'), null, 'agreed, declined');
select results_eq(
    $$select type, count(*) from public.notifications where user_id = pg_temp.id(1) and type like 'bundle%' group by 1 order by 1$$,
    $$values ('bundle_agreed', 1::bigint), ('bundle_declined', 1)$$, 'told of each answer once until it is read'
);
select throws_ok(
    format('update public.bundle_sellers set status = %L, terms_version = null', state), 'AV003', null,
    'declined moves not to ' || state
) from unnest(array['asked']) as s (state);
select throws_ok(
    format('insert into public.bundle_sellers (bundle_id, seller_id, share_bps, status, terms_version)
    select mine, pg_temp.id(7), 1, %L, %s from t', state, version), 'AV003', null, 'it does not begin ' || state
) from (values ('agreed', '2'), ('declined', 'null')) as x (state, version);

-- a block
select is(pg_temp.answer(6, 'agree_to_bundle', 4), null, 'agreed');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(6), pg_temp.id(1));
select is(pg_temp.state(6), 'declined', 'a block declines');
create function pg_temp.follow() returns integer language plpgsql as $$
declare
    looked integer := 0;
begin
    while private.follow_bundles() > 0 loop
        looked := looked + 1;
    end loop;
    return looked;
end
$$;
select ok(pg_temp.follow() > 0 and not pg_temp.complete(), 'and takes it off sale');
select is(private.follow_bundles(), 0, 'looked at once');
select is(pg_temp.answer(6, 'agree_to_bundle', 4), 'bundle_not_found', 'nothing is agreed over a block');

-- an item that changes
update public.products set price_cents = 1400 where id = (select own from t);
select is(pg_temp.follow(), 2, 'noted of both');
select is(is_complete, false, 'no cheaper than its parts') from public.bundles where id = (select mine from t);
update public.products set price_cents = 3000 where id = (select own from t);
select is(pg_temp.follow(), 2, 'noted of both');
select is(is_complete, true, 'cheaper again') from public.bundles where id = (select mine from t);
select is(pg_temp.code_as(pg_temp.id(1), format(
    'insert into public.catalog_options (item_id, title, price_cents) values (%L, ''x'', 100)', (select mine from t)
)), 'option_not_available', 'a bundle has no options');

-- its states
select is(
    pg_temp.code_as(pg_temp.id(1), format('update public.bundles set status = %L where id = %L', state, (select mine from t))),
    code, state || ' ' || coalesce(code, '')
) from (values
    ('paused', null), ('active', null), ('draft', null), ('paused', null), ('draft', null), ('active', null),
    ('deleted', null), ('draft', 'bundle_deleted'), ('paused', 'bundle_deleted'), ('active', 'bundle_deleted')
) as x (state, code);
select is(pg_temp.terms(1, 2000, array['own', 'second'], 'mine'), 'bundle_deleted', 'deleted has no terms');
select throws_ok(
    $$insert into public.bundles (seller_id, title, status) values (pg_temp.id(1), 'x', 'active')$$, 'PT409', null,
    'it does not begin active'
);
select is(
    pg_temp.code_as(pg_temp.id(1), format('delete from public.bundles where id = %L', (select bundle from t))), null,
    'what nobody ordered goes'
);
select is_empty('select from public.bundle_sellers', 'with its answers');
select ok(private.follow_bundles() >= 0, 'what is gone is not looked at');

select * from finish();
rollback;
