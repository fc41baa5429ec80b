-- Favourites: what may become one, whose business they are, what is counted.
begin;
\ir ../helpers.psql
select no_plan();

select pg_temp.people();
create temporary table item (n integer, id uuid);
insert into item values (1, pg_temp.artwork(1, 5000)), (2, pg_temp.product(1, 1000)), (3, pg_temp.artwork(1, 5000));
update public.artworks set status = 'draft' where id = (select id from item where n = 3);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(5));
grant select on item to public;

create function pg_temp.favor(who integer, what integer, speaker text default 'authenticated') returns text
language sql as $$
    select pg_temp.code_as(
        pg_temp.id(who),
        format('insert into public.favorites (item_id) select id from item where n = %s', what), speaker
    )
$$;
create function pg_temp.touched(who integer, statement text) returns bigint language plpgsql as $$
declare
    n bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute statement;
    get diagnostics n = row_count;
    perform set_config('role', 'none', true);
    return n;
end
$$;
create function pg_temp.counts() returns integer[] language sql as $$
    select array_agg(c.favorites_count order by i.n) from item as i inner join public.catalog_items as c using (id)
$$;
grant execute on all functions in schema pg_temp to public;

select has_index(
    'public', 'favorites', 'favorites_user_id_created_at_idx', array['user_id', 'created_at', 'item_id'], 'one''s latest'
);
select is(has_table_privilege('anon', 'public.favorites', 'select'), false, 'nothing for visitors');

select is(pg_temp.favor(2, 1), null, 'an artwork');
select is(pg_temp.favor(2, 2), null, 'a product');
select is(pg_temp.favor(3, 1), null, 'others too');
select is(pg_temp.favor(1, 1), null, 'even one''s own');
select is(pg_temp.favor(2, 1), '23505', 'once');
select is(pg_temp.favor(2, 3), 'item_not_found', 'not what is not published');
select is(pg_temp.favor(1, 3), 'item_not_found', 'not even by its seller');
select is(pg_temp.favor(5, 1), 'item_not_found', 'not of a seller with a block');
select is(
    pg_temp.code_as(pg_temp.id(2), $$insert into public.favorites (item_id) values (pg_temp.id(99))$$), 'item_not_found',
    'as if it did not exist'
);
select is(pg_temp.favor(3, 1, 'anon'), '42501', 'not by visitors');
select is(
    pg_temp.code_as(pg_temp.id(3), $$insert into public.favorites (item_id, user_id) select id, pg_temp.id(2) from item$$),
    '42501', 'not for others'
);
select is(pg_temp.counts(), '{3,1,0}', 'each is counted');
delete from public.user_blocks;
select pg_temp.ban();
select is(pg_temp.favor(5, 1), '42501', 'not while banned');
delete from public.bans;

select is(pg_temp.touched(2, 'select from public.favorites'), 2::bigint, 'one reads one''s own');
select is(pg_temp.touched(1, 'select from public.favorites'), 1::bigint, 'sellers do not see whose favourite an item is');
select is(pg_temp.touched(4, 'select from public.favorites'), 0::bigint, 'nor do admins');
select is(pg_temp.touched(2, 'delete from public.favorites where item_id = (select id from item where n = 1)'), 1::bigint,
    'one gives up one''s own');
select is(pg_temp.counts(), '{2,1,0}', 'and it is counted down');

update public.products set status = 'paused' where id = (select id from item where n = 2);
select is(pg_temp.touched(2, 'select from public.favorites'), 1::bigint, 'what left the shop stays a favourite');
select is(pg_temp.touched(2, 'select from public.favorites as f inner join public.catalog_items as c on c.id = f.item_id'),
    0::bigint, 'though the item is not there');
select is(pg_temp.touched(2, 'delete from public.favorites'), 1::bigint, 'it can be given up');
select is(pg_temp.counts(), '{2,0,0}', 'counted');
update public.products set status = 'active' where id = (select id from item where n = 2);

select pg_temp.favor(2, 1), pg_temp.favor(2, 2);
delete from auth.users where id = pg_temp.id(2);
select is(pg_temp.counts(), '{2,0,0}', 'the end of an account takes its favourites');
delete from public.artworks where id = (select id from item where n = 1);
select is_empty('select * from public.favorites', 'and the end of an item everybody''s');
select is_empty('select * from private.recount()', 'no counter differs');
select is_empty('select * from private.pending_counts', 'and nothing is left to add');

select * from finish();
rollback;
