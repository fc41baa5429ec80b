-- Services, their packages and portfolio: who writes and sees what, what is refused.
begin;
\ir ../helpers.psql

create function pg_temp.service(seller integer, title text default 'Mixing', wanted text default 'active') returns uuid
language plpgsql as $$
declare
    made uuid := gen_random_uuid();
begin
    perform set_config('request.jwt.claims', '', true);
    insert into public.services (id, seller_id, title, service_type, is_mentoring, status)
    values (made, pg_temp.id(seller), title, 'mixing', true, 'draft');
    insert into public.catalog_options (item_id, title, price_cents, details)
    values (made, 'Basic', 2000, '{"delivery_days": 3}');
    update public.services set status = wanted::public.service_status where id = made and wanted <> 'draft';
    return made;
end
$$;
grant execute on all functions in schema pg_temp to public;

select plan(102);
select pg_temp.people();
create temporary table t as select
    pg_temp.service(1) as service, pg_temp.service(1, 'Draft', 'draft') as draft, pg_temp.service(5, 'Spam') as spam,
    pg_temp.service(1, 'Gone', 'deleted') as gone, pg_temp.artwork(1, 5000) as artwork;
grant select on t to public;
select pg_temp.ban();

-- structure
select col_is_pk('public', 'services', 'id', 'services');
select fk_ok('public', 'services', 'id', 'public', 'catalog_items', 'id');
select fk_ok('public', 'services', 'seller_id', 'public', 'profiles', 'id');
select fk_ok('public', 'portfolio_pieces', 'service_id', 'public', 'services', 'id');
select has_index('public', 'services', 'services_mentoring_idx', array['created_at', 'id'], 'Find a Mentor');
select has_index('public', 'services', 'services_service_type_created_at_idx', array['service_type', 'created_at', 'id'],
    'services of a type');
select has_index('public', 'services', 'services_genre_tags_idx', array['genre_tags'], 'genres');
select enum_has_labels('public', 'service_type', array[
    'production', 'mixing', 'mastering', 'recording', 'vocals', 'design', 'video', 'consultation', 'other'
]);
select enum_has_labels('public', 'service_status', array['draft', 'active', 'paused', 'deleted']);
select results_eq(
    $$select is_browsable, is_repeatable, proceeds, commission, earned, free_window from private.kinds
    where kind = 'service'$$,
    $$values (true, true, 'seller', 'plan', 'at_completion', null::interval)$$, 'what is sold'
);
select results_eq(
    $$select kind, is_repeatable, is_browsable, price_cents, stock, is_buyable from public.catalog_items
    where id = (select service from t)$$,
    $$values ('service', true, true, 2000::bigint, null::integer, true)$$, 'the registry row'
);

-- its seller
select pg_temp.be(pg_temp.id(1));
select lives_ok($$insert into public.services (title, service_type, description, buyer_requirements, tags, genre_tags)
    values ('  Vocal   tuning ', 'vocals', 'All of it.', 'Dry stems.', '{Tuning, tuning}', '{POP}')$$, 'a member makes one');
select results_eq(
    $$select title, slug, tags, genre_tags, status, is_mentoring, seller_id, response_time_hours, completion_rate
    from public.services where title ilike 'vocal%'$$,
    $$values ('Vocal tuning', 'vocal-tuning', '{tuning}'::text[], '{pop}'::text[], 'draft'::public.service_status, false,
    pg_temp.id(1), null::integer, null::numeric)$$, 'tidied and complete'
);
select is(pg_temp.code_of($$update public.services set status = 'active' where title = 'Vocal tuning'$$),
    'service_has_no_packages', 'on sale with packages only');
select is(pg_temp.code_of(format('insert into public.services (%s)', bad)), code, bad || ': ' || code)
from (values
    ('text_not_visible', 'title, service_type) values ('''', ''video'''),
    ('23514', 'title, service_type) values (repeat(''x'', 256), ''video'''),
    ('23514', 'title, service_type, slug) values (''x'', ''video'', ''No slug!'''),
    ('23514', 'title, service_type, description) values (''x'', ''video'', repeat(''x'', 20001)'),
    ('23514', 'title, service_type, buyer_requirements) values (''x'', ''video'', repeat(''x'', 5001)'),
    ('23514', 'title, service_type, session_minutes) values (''x'', ''video'', 4'),
    ('23514', 'title, service_type, session_minutes) values (''x'', ''video'', 481'),
    ('23514', 'title, service_type, thumbnail_url) values (''x'', ''video'', ''ftp://x'''),
    ('22P02', 'title, service_type) values (''x'', ''dancing'''),
    ('23502', 'title) values (''x'''),
    ('23503', 'title, service_type, category_id) values (''x'', ''video'', gen_random_uuid()'),
    ('invalid_tags', 'title, service_type, tags) values (''x'', ''video'', array(select n::text from generate_series(1, 21) as n)'),
    ('service_has_no_packages', 'title, service_type, status) values (''x'', ''video'', ''active'''),
    ('featured_limit_reached', 'title, service_type, is_featured) values (''x'', ''video'', true'),
    ('media_not_found', 'title, service_type, image_media_id) values (''x'', ''video'', gen_random_uuid()'),
    ('42501', 'title, service_type, seller_id) values (''x'', ''video'', pg_temp.id(2)'),
    ('42501', 'title, service_type, response_time_hours) values (''x'', ''video'', 1'),
    ('42501', 'title, service_type, completion_rate) values (''x'', ''video'', 100'),
    ('42501', 'title, service_type, is_hidden) values (''x'', ''video'', false')
) as b (code, bad)
cross join lateral (select b.bad || ')' as bad) as s (whole);
select is(pg_temp.code_of(format('update public.services set %s where id = (select service from t)', change)), '42501',
    'nobody says ' || change)
from unnest(array[
    'response_time_hours = 1', 'completion_rate = 100', 'is_hidden = false', 'hidden_reason = null',
    'seller_id = pg_temp.id(2)', 'currency = ''EUR''', 'created_at = now()'
]) as change;

-- packages
select is(pg_temp.code_of(format(
    'insert into public.catalog_options (item_id, title, price_cents, details%s) select service, ''x'', 1000, %L%s from t',
    case when more = '' then '' else ', ' || split_part(more, '=', 1) end, details,
    case when more = '' then '' else ', ' || split_part(more, '=', 2) end
)), code, details || ' ' || more || ': ' || coalesce(code, 'a package'))
from (values
    (null, '{"delivery_days": 365, "revisions": 99, "features": ["WAV", "Stems"]}', ''),
    (null, '{"delivery_days": 1}', ''),
    ('invalid_option', '{}', ''),
    ('invalid_option', '{"delivery_days": 0}', ''),
    ('invalid_option', '{"delivery_days": 366}', ''),
    ('invalid_option', '{"delivery_days": 1.5}', ''),
    ('invalid_option', '{"delivery_days": "soon"}', ''),
    ('invalid_option', '{"delivery_days": 1, "revisions": -1}', ''),
    ('invalid_option', '{"delivery_days": 1, "revisions": 100}', ''),
    ('invalid_option', '{"delivery_days": 1, "features": "WAV"}', ''),
    ('invalid_option', '{"delivery_days": 1, "features": [1]}', ''),
    ('invalid_option', '{"delivery_days": 1, "features": [""]}', ''),
    ('invalid_option', '{"delivery_days": 1, "days": 1}', ''),
    ('invalid_option', '{"delivery_days": 1}', 'stock=3'),
    ('invalid_option', '{"delivery_days": 1}', 'stock, is_set_aside=3, true'),
    ('invalid_option', '{"delivery_days": 1}', 'stock, is_exclusive=1, true')
) as o (code, details, more);
select is(pg_temp.code_of(format(
    'insert into public.catalog_options (item_id, title, price_cents, details) select service, ''x'', 1000, '
    'jsonb_build_object(''delivery_days'', 1, ''features'', %s) from t', features
)), 'invalid_option', features)
from unnest(array[
    '(select jsonb_agg(n::text) from generate_series(1, 21) as n)', 'jsonb_build_array(repeat(''x'', 201))'
]) as features;
reset role;
select is((select price_cents from public.catalog_items where id = (select service from t)), 1000::bigint,
    'the registry shows the cheapest');
select pg_temp.be(pg_temp.id(1));
update public.catalog_options set is_active = false where item_id = (select service from t) and title = 'x';
reset role;
select is((select price_cents from public.catalog_items where id = (select service from t)), 2000::bigint,
    'of those that can be bought');
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$update public.catalog_options set is_active = false
    where item_id = (select service from t) and is_active$$), 'service_has_no_packages', 'the last one stays');
select is(pg_temp.code_of($$delete from public.catalog_options where item_id = (select service from t)$$),
    'service_has_no_packages', 'whichever way');

-- portfolio
select is(pg_temp.code_of(format('insert into public.portfolio_pieces (%s)', bad)), code, bad || ': ' || coalesce(code, 'a piece'))
from (values
    (null, 'service_id, url, title) select service, ''https://e.com/demo'', ''  Demo '' from t --'),
    ('23514', 'service_id, title) select service, ''Nothing'' from t --'),
    ('23514', 'service_id, url) select service, ''javascript:x'' from t --'),
    ('23514', 'service_id, url, position) select service, ''https://e.com/x'', 0 from t --'),
    ('23514', 'service_id, url, title) select service, ''https://e.com/x'', repeat(''x'', 201) from t --'),
    ('media_not_found', 'service_id, image_media_id) select service, gen_random_uuid() from t --'),
    ('42501', 'service_id, url) select spam, ''https://e.com/x'' from t --'),
    ('42501', 'service_id, url) select artwork, ''https://e.com/x'' from t where false union select gen_random_uuid(), ''https://e.com/x'' --'),
    ('42501', 'service_id, url, seller_id) select service, ''https://e.com/x'', pg_temp.id(2) from t --')
) as b (code, bad);
select lives_ok($$insert into public.portfolio_pieces (service_id, url, position)
    select service, 'https://e.com/' || n, n from t cross join generate_series(2, 20) as n$$, 'twenty');
select is(pg_temp.code_of($$insert into public.portfolio_pieces (service_id, url) select service, 'https://e.com/21' from t$$),
    'too_many_portfolio_pieces', 'and no more');

-- who sees and changes what
reset role;
create function pg_temp.sees(who uuid, speaker text default 'authenticated') returns text language plpgsql as $$
declare
    seen text;
begin
    perform pg_temp.be(who, speaker);
    select string_agg(x.n, ' ' order by x.n) into seen from (
        select 'service ' || s.title as n from public.services as s
        union all
        select distinct 'portfolio' from public.portfolio_pieces
        union all
        select 'package' from public.catalog_options as o where o.item_id = (select service from t) group by o.title
    ) as x;
    perform set_config('role', 'none', true);
    return seen;
end
$$;
select is(pg_temp.sees(pg_temp.id(who)), wanted, 'as ' || name)
from (values
    (1, 'seller', 'package package portfolio service Draft service Gone service Mixing service Vocal tuning'),
    (2, 'stranger', 'package portfolio service Mixing'),
    (4, 'admin', 'package portfolio service Draft service Gone service Mixing service Spam service Vocal tuning'),
    -- As anybody, and not their own.
    (5, 'banned', 'package portfolio service Mixing')
) as p (who, name, wanted);
select is(pg_temp.sees(null, 'anon'), 'package portfolio service Mixing', 'as anybody');

select pg_temp.be(pg_temp.id(2));
select is(pg_temp.code_of(act), null, 'nothing of somebody else''s: ' || act)
from unnest(array[
    'update public.services set title = ''Hijacked''', 'delete from public.services',
    'update public.portfolio_pieces set title = ''Hijacked''', 'delete from public.portfolio_pieces',
    'update public.catalog_options set price_cents = 50'
]) as act;
reset role;
select is((select count(*) from public.services where title = 'Hijacked'), 0::bigint, 'no service changed');
select is((select count(*) from public.portfolio_pieces), 20::bigint, 'no piece is gone');
select is((select count(*) from public.catalog_options where price_cents = 50), 0::bigint, 'no price changed');
select is(pg_temp.code_as(null, act, 'anon'), '42501', 'visitors write nothing: ' || act)
from unnest(array[
    'insert into public.services (title, service_type) values (''x'', ''video'')', 'delete from public.services',
    'insert into public.portfolio_pieces (service_id, url) select service, ''https://e.com'' from t'
]) as act;

-- states
select is(
    pg_temp.code_of(format('update public.services set status = %L where id = (select gone from t)', state)),
    'service_deleted', 'deleted is final, not ' || state
) from unnest(array['draft', 'active', 'paused']) as state;
select is(pg_temp.code_as(pg_temp.id(1), 'update public.services set title = ''Back'' where id = (select gone from t)'),
    'service_deleted', 'and says nothing new');

-- taken down
select is(pg_temp.code_as(pg_temp.id(2), 'select public.hide_content(''service'', (select service from t), ''spam'')'),
    'moderators_only', 'a member hides nothing');
select is(pg_temp.code_as(pg_temp.id(4), 'select public.hide_content(''service'', (select service from t), ''spam'')'),
    null, 'an admin does');
select is(pg_temp.sees(pg_temp.id(2)), null, 'then it is seen by nobody else');
select is((select is_hidden from public.services where id = (select service from t)), true, 'and says so');
select is(pg_temp.code_as(pg_temp.id(4), 'select public.restore_content(''service'', (select service from t))'),
    null, 'until it is shown again');
select is((select price_cents from public.catalog_items where id = (select service from t)), 2000::bigint, 'at its price');

-- deleting
select is(pg_temp.code_as(pg_temp.id(1), 'delete from public.services where id = (select service from t)'), null,
    'what nobody ordered can go');
select is((select count(*) from public.catalog_items where id = (select service from t)), 0::bigint,
    'with its registry row');
select is((select count(*) from public.catalog_options where item_id = (select service from t)), 0::bigint,
    'and its packages');

select * from finish();
rollback;
