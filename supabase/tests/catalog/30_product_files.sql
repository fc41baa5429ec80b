-- Files of products.
begin;
-- Who speaks: pg_temp.be(<user>) is a signed-in member, pg_temp.be(null, 'anon') a visitor, reset role the server.
create function pg_temp.be(who uuid, speaker text default 'authenticated') returns void language plpgsql as $$
begin
    perform set_config('request.jwt.claims', json_build_object('sub', who, 'role', speaker)::text, true);
    perform set_config('role', speaker, true);
end
$$;
create function pg_temp.sign_up(who uuid, name text) returns void language sql as $$
    insert into auth.users (id, email, raw_user_meta_data)
    values (who, name || '@example.com', jsonb_build_object('username', name))
$$;
create function pg_temp.id(n integer) returns uuid language sql immutable as $$
    select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
$$;
-- The stable code of the error a statement ends with (the hint, else the SQLSTATE); null when it works.
create function pg_temp.code_of(statement text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute statement;
    return null;
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return case when sqlstate like 'PT%' then hint else sqlstate end;
end
$$;
grant execute on all functions in schema pg_temp to public;

select plan(32);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
insert into storage.objects (bucket_id, name, metadata) values
('product-files', pg_temp.id(1) || '/a/Beat.WAV', '{"size": 1000, "mimetype": "audio/wav"}'),
('product-files', pg_temp.id(1) || '/stems.zip', '{"contentLength": 500, "mimetype": "application/zip"}'),
('product-files', pg_temp.id(2) || '/his.wav', '{"size": 7}'),
('media', pg_temp.id(1) || '/public.wav', '{"size": 7}');

select pg_temp.be(pg_temp.id(1));
insert into public.products (title) values ('Beat'), ('Second');
select lives_ok($$insert into public.product_files (product_id, path) select id, pg_temp.id(1) || '/a/Beat.WAV'
    from public.products where title = 'Beat'$$, 'an uploaded file is attached');
select lives_ok($$insert into public.product_files (product_id, path, name, position) select id,
    pg_temp.id(1) || '/stems.zip', 'Stems.zip', 1 from public.products where title = 'Beat'$$, 'under another name');
select results_eq(
    $$select name, size_bytes, content_type from public.product_files order by position$$,
    $$values ('Beat.WAV', 1000::bigint, 'audio/wav'), ('Stems.zip', 500, 'application/zip')$$,
    'name, size and type come from the object'
);
select results_eq($$select file_size_bytes, file_types from public.products where title = 'Beat'$$,
    $$values (1500::bigint, array['wav', 'zip'])$$, 'the product sums up');
select is(
    pg_temp.code_of(format(
        'insert into public.product_files (product_id, path) select id, %L from public.products where title = %L',
        path, 'Second'
    )),
    'file_not_uploaded',
    'refused: ' || path
)
from unnest(array[pg_temp.id(1) || '/missing.wav', pg_temp.id(2) || '/his.wav', pg_temp.id(1) || '/public.wav', '',
    '/x', 'x']) as t (path);
select is(pg_temp.code_of($$insert into public.product_files (product_id, path) select id,
    pg_temp.id(1) || '/stems.zip' from public.products where title = 'Second'$$), '23505',
    'an object belongs to one product');
select is(pg_temp.code_of(format('update public.product_files set %s = default', col)), '42501',
    'not writable: ' || col)
from unnest(array['product_id', 'path', 'size_bytes', 'content_type']) as t (col);
select is(pg_temp.code_of($$insert into public.product_files (product_id, path, size_bytes) select id, 'x', 1
    from public.products$$), '42501', 'sizes are read, not told');
select is(pg_temp.code_of($$update public.product_files set name = 'a/b'$$), '23514', 'a name is no path');
select lives_ok($$update public.product_files set name = 'Beat (24 bit).aif' where position = 0$$, 'renaming');
select is((select file_types from public.products where title = 'Beat'), array['aif', 'zip'], 'changes the types');

-- who sees and touches them
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.product_files$$, 'strangers see no files');
reset role;
create table pg_temp.known as select id from public.products where title = 'Beat';
grant select on pg_temp.known to authenticated;
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.code_of($$insert into public.product_files (product_id, path) select id,
    pg_temp.id(1) || '/a/Beat.WAV' from pg_temp.known$$), '42501', 'a stranger attaches no file that exists');
select is(pg_temp.code_of($$insert into public.product_files (product_id, path) select id,
    pg_temp.id(1) || '/nothing.wav' from pg_temp.known$$), '42501', 'nor learns whether one does');
update public.product_files set name = 'stolen';
delete from public.product_files;
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of('select 1 from public.product_files'), '42501', 'visitors read nothing');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.product_files where name <> 'stolen'), 2::bigint, 'admins see them, untouched');

-- the last file
select pg_temp.be(pg_temp.id(1));
update public.products set status = 'active' where title = 'Beat';
select lives_ok($$delete from public.product_files where position = 1$$, 'one of two can go');
select is(pg_temp.code_of($$delete from public.product_files$$), 'product_has_no_files', 'the last one on sale cannot');
update public.products set status = 'paused' where title = 'Beat';
select lives_ok($$delete from public.product_files$$, 'while paused it can');
select is((select file_size_bytes from public.products where title = 'Beat'), 0::bigint, 'the sum follows');
insert into public.product_files (product_id, path) select id, pg_temp.id(1) || '/a/Beat.WAV' from public.products
    where title = 'Beat';
reset role;
with o as (
    insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(2), 2000, 2000) returning id
), i as (
    insert into public.order_items (order_id, line_no, item_id, buyer_id, seller_id, title, unit_price_cents,
    seller_tier, commission_bps)
    select o.id, 1, k.id, pg_temp.id(2), pg_temp.id(1), 'Beat', 2000, 'basic', 4000 from o, pg_temp.known as k
    returning id, item_id
)
insert into public.purchases (buyer_id, item_id, order_item_id, price_cents) select pg_temp.id(2), item_id, id, 2000
    from i;
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$delete from public.product_files$$), 'product_has_no_files', 'once ordered it cannot');
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.product_files), 1::bigint, 'the buyer sees the file');
update public.product_files set name = 'mine';
delete from public.product_files;
select is((select name from public.product_files), 'Beat.WAV', 'and does not change it');
reset role;
insert into public.bans (user_id, reason) values (pg_temp.id(2), 'x');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.product_files$$, 'a banned buyer does not see it');

select * from finish();
rollback;
