-- Blocks reach into the shop: neither finds what the other sells, and asking for it is asking for nothing.
begin;
\ir ../helpers.psql
-- What the platform itself sells is another page's.
delete from public.credit_packs;
select no_plan();

select pg_temp.people();
create temporary table t as select
    pg_temp.product(1, 0) as bought, pg_temp.product(1, 1000) as product, pg_temp.artwork(1, 5000) as artwork,
    pg_temp.artwork(3, 5000) as other;
grant select on t to public;
select pg_temp.checkout(2, (select bought from t));

create function pg_temp.seen(who integer, speaker text default 'authenticated') returns text language plpgsql as $$
declare
    answer text;
begin
    perform pg_temp.be(pg_temp.id(who), speaker);
    answer := concat_ws(' ',
        (select count(*) from public.catalog_items), (select count(*) from public.products),
        (select count(*) from public.artworks)
    );
    perform set_config('role', 'none', true);
    return answer;
end
$$;
create function pg_temp.try(who integer, item uuid) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.checkout(jsonb_build_array(jsonb_build_object(''item_id'', %L::uuid)))', item
    ))
$$;
create function pg_temp.put(who integer, item uuid) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('insert into public.cart_items (item_id) values (%L)', item))
$$;
grant execute on all functions in schema pg_temp to public;

select is(pg_temp.seen(2), '4 2 2', 'everything at first');
select is(pg_temp.put(2, (select artwork from t)), null, 'something in the cart');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
select is(pg_temp.seen(2), '2 1 1', 'who is blocked sees what they bought and what others sell');
select is(pg_temp.seen(null, 'anon'), '4 2 2', 'visitors are nobody in particular');
select is(pg_temp.seen(1), '4 2 2', 'the seller sees everything');
select is(pg_temp.seen(4), '4 2 2', 'so does an admin');
select is(pg_temp.put(2, (select product from t)), 'item_not_available', 'nothing enters the cart');
select is(pg_temp.put(2, gen_random_uuid()), 'item_not_available', 'as if it did not exist');
select is(pg_temp.try(2, (select product from t)), 'item_not_available', 'nothing is bought');
select is(pg_temp.try(2, (select bought from t)), 'item_not_available', 'not even again');
select is(pg_temp.code_as(pg_temp.id(2), 'select public.checkout()'), 'item_not_available', 'nor from the cart');
select is_empty($$select * from private.holds$$, 'nothing is held for them');
delete from public.user_blocks;
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(2), pg_temp.id(1));
select is(pg_temp.seen(2), '2 1 1', 'who blocks sees no more');
select is(pg_temp.try(2, (select product from t)), 'item_not_available', 'and buys no more');
select is(pg_temp.try(1, (select other from t)), null, 'others are not concerned');
delete from public.user_blocks;
select is(pg_temp.try(2, (select artwork from t)), null, 'afterwards all is as before');

-- One question a query.
create function pg_temp.plan() returns text language plpgsql as $$
declare
    line text;
    answer text := '';
begin
    for line in explain select * from public.catalog_items where is_listed order by created_at desc, id desc limit 10 loop
        answer := answer || line || E'\n';
    end loop;
    return answer;
end
$$;
grant execute on function pg_temp.plan() to public;
select pg_temp.be(pg_temp.id(2));
select is(regexp_count(pg_temp.plan(), 'blocked_ids|ProjectSet'), 1, 'the blocks are read once a query');
select alike(pg_temp.plan(), '%InitPlan%', 'before its rows');
reset role;

select * from finish();
rollback;
