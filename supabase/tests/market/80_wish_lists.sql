-- Wish lists: constraints, who reads and writes, what is closed.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
select pg_temp.ban();
create temporary table t as select pg_temp.artwork(1, 500) as item, gen_random_uuid() as list;
grant select on t to public;
insert into public.wish_lists (id, user_id, name) select list, pg_temp.id(2), 'Mine' from t;
create function pg_temp.list() returns uuid language sql security definer as 'select list from t';
create function pg_temp.item() returns uuid language sql security definer as 'select item from t';
grant execute on all functions in schema pg_temp to public;

select is(pg_temp.code_as(pg_temp.id(2), statement), code, says)
from (values
    ('insert into public.wish_lists (name) values ('' '')', '23502', 'a list has a name'),
    ('insert into public.wish_lists (name) values (repeat(''x'', 101))', '23514', 'of at most 100 characters'),
    ('insert into public.wish_lists (name, user_id) values (''x'', pg_temp.id(1))', '42501', 'nobody names its owner'),
    ('update public.wish_lists set shared_at = now()', '42501', 'nor says that it is shared'),
    ('select from private.wish_list_tokens', '42501', 'nor reads the hash'),
    ('update public.wish_lists set name = ''Yours''', null, 'its name changes'),
    ('insert into public.wish_list_items (list_id, item_id) values (pg_temp.list(), pg_temp.item())', null, 'an item is put on it'),
    ('insert into public.wish_list_items (list_id, item_id) values (pg_temp.list(), pg_temp.item())', '23505', 'once'),
    ('insert into public.wish_list_items (list_id, item_id) values (pg_temp.list(), pg_temp.id(99))', 'item_not_found', 'not what is not there'),
    ('insert into public.wish_list_items (list_id, item_id, lowest_cents) values (pg_temp.list(), pg_temp.item(), 1)', '42501', 'the price is the server''s'),
    ('update public.wish_list_items set lowest_cents = 1', '42501', 'it stays so'),
    ('select from private.item_changes', '42501', 'notes are closed'), ('select private.tell_wishers()', '42501', 'so is the job')
) as x (statement, code, says);
select results_eq(
    'select lowest_cents, is_awaited from public.wish_list_items', $$values (500::bigint, false)$$, 'noted as it was'
);
select is(pg_temp.code_as(null, statement, 'anon'), '42501', 'visitors: ' || statement)
from (values
    ('select from public.wish_lists'), ('select from public.wish_list_items'),
    ('select public.share_wish_list(pg_temp.list())'), ('select public.unshare_wish_list(pg_temp.list())')
) as x (statement);
select is(pg_temp.code_as(pg_temp.id(n), statement), code, n || ': ' || statement)
from (values (3, 'wish_list_not_found'), (4, 'wish_list_not_found'), (5, 'banned')) as p (n, code), (values
    ('select public.share_wish_list(pg_temp.list())'), ('select public.unshare_wish_list(pg_temp.list())')
) as x (statement);
select is(pg_temp.code_as(pg_temp.id(n), 'select public.shared_wish_list(''x'')'), 'wish_list_not_found', n || ' guesses')
from generate_series(1, 4) as n;
select is(pg_temp.code_as(null, 'select public.shared_wish_list(null)', 'anon'), 'wish_list_not_found', 'nor without one');
create function pg_temp.changed(who uuid, statement text) returns integer language plpgsql as $$
declare
    n integer;
begin
    perform pg_temp.be(who);
    execute statement;
    get diagnostics n = row_count;
    perform set_config('role', 'none', true);
    return n;
end
$$;
select is(pg_temp.changed(pg_temp.id(n), statement), 0, n || ' changes nothing: ' || statement)
from (values (3), (4)) as p (n), (values
    ('delete from public.wish_lists where true'), ('update public.wish_lists set name = ''x'' where true'),
    ('delete from public.wish_list_items where true')
) as x (statement);

-- a token
select pg_temp.be(pg_temp.id(2));
create temporary table s as select public.share_wish_list(pg_temp.list()) as token;
reset role;
grant select on s to public;
select is(
    (select token_hash from private.wish_list_tokens where list_id = pg_temp.list()), sha256(convert_to(token, 'utf8')),
    'kept as a hash'
) from s;
select pg_temp.be(null, 'anon');
select is((public.shared_wish_list(token)).name, 'Yours', 'whoever has it reads the list') from s;
reset role;
select is(pg_temp.changed(pg_temp.id(2), 'delete from public.wish_lists where true'), 1, 'its owner deletes it');
select is_empty('select from public.wish_list_items', 'with what is on it');

select * from finish();
rollback;
