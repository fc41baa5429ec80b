-- Views and statistics: who may call, who reads what.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t as select pg_temp.artwork(1, 500) as item, pg_temp.artwork(3, 500) as other;
grant select on t to public;
select set_config('request.headers', '{"user-agent": "Mozilla/5.0 Firefox/140.0", "x-forwarded-for": "203.0.113.7"}', true);

select is(pg_temp.code_as(null, format('select public.record_view(%L)', item), 'anon'), null, 'visitors view') from t;
select is(pg_temp.code_as(pg_temp.id(2), format('select public.record_view(%L)', item)), null, 'members view') from t;
select is(
    pg_temp.code_as(who, format('select public.record_view(%L)', pg_temp.id(99)), speaker), 'item_not_found',
    speaker || ' does not view what is not there'
)
from (values (null::uuid, 'anon'), (pg_temp.id(2), 'authenticated')) as x (who, speaker);
select is(pg_temp.code_as(pg_temp.id(2), 'select public.record_view(null)'), 'item_not_found', 'nor nothing');
select is(private.fold_views(), 2, 'two views are added');
select is(private.fold_views(), 0, 'once');
select is((select c.views_count from public.catalog_items as c where c.id = t.item), 2::bigint, 'to the item') from t;

-- closed tables and functions
select is(pg_temp.code_as(pg_temp.id(n), statement), '42501', statement)
from (values (1), (4)) as p (n), (values
    ('select from private.item_views'), ('select from private.view_salts'), ('select from private.item_events'),
    ('select private.fold_views()'), ('select private.salt_of_today()'), ('select private.update_trending_items()'),
    ('insert into public.item_statistics (item_id, day) select id, now() from public.catalog_items'),
    ('update public.item_statistics set views = 5'), ('delete from public.item_statistics'),
    ('update public.trending_items set score = 5'), ('delete from public.trending_items'),
    ('update public.catalog_items set views_count = 5')
) as x (statement);

-- its seller and admins read the days
create function pg_temp.rows_for(who uuid, speaker text, statement text) returns bigint language plpgsql as $$
declare
    n bigint;
begin
    perform pg_temp.be(who, speaker);
    execute 'select count(*) from (' || statement || ') as r' into n;
    perform set_config('role', 'none', true);
    return n;
end
$$;
select is(pg_temp.code_as(null, 'select from public.item_statistics', 'anon'), '42501', 'visitors read no statistics');
select is(pg_temp.rows_for(pg_temp.id(n), 'authenticated', 'select from public.item_statistics'), rows, says)
from (values (1, 1::bigint, 'its seller reads'), (2, 0, 'a viewer does not'), (3, 0, 'nor another seller'), (4, 1, 'admins do'))
as x (n, rows, says);
select is(private.update_trending_items(), 1, 'it trends');
select is(pg_temp.rows_for(null, 'anon', 'select from public.trending_items'), 1::bigint, 'visitors read what trends');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
select is(
    pg_temp.rows_for(pg_temp.id(2), 'authenticated', 'select from public.trending_items'), 0::bigint,
    'not of whom they are blocked by'
);
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.record_view(%L)', item)), 'item_not_found', 'nor do they view it'
) from t;

-- programs
select is(private.is_bot(agent), wanted, coalesce(agent, 'none'))
from (values
    (null, true), ('', true), ('  ', true), ('Googlebot/2.1', true), ('GOOGLEBOT', true), ('curl/8.5.0', true),
    ('Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1', false),
    ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36', false)
) as x (agent, wanted);

-- no index is written when views are added
select is_empty($$
    select from pg_index as i
    inner join pg_attribute as a on a.attrelid = i.indrelid and a.attname = 'views_count'
    where i.indrelid = 'public.catalog_items'::regclass and pg_get_indexdef(i.indexrelid) like '%views_count%'
$$, 'counting views keeps rows where they are');

select * from finish();
rollback;
