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

select no_plan();
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
insert into storage.objects (bucket_id, name, metadata) values
('product-files', pg_temp.id(1) || '/a/Beat.WAV', '{"size": 1000, "mimetype": "audio/wav"}'),
('product-files', pg_temp.id(1) || '/stems.zip', '{"contentLength": 500, "mimetype": "application/zip"}'),
('product-files', pg_temp.id(2) || '/his.wav', '{"size": 7}'),
('media', pg_temp.id(1) || '/public.wav', '{"size": 7}');

select pg_temp.be(pg_temp.id(2));
insert into public.products (title) values ('His draft');
reset role;
create table pg_temp.his as select id from public.products;
grant select on pg_temp.his to authenticated;
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

-- one answer whether an item exists: somebody else's draft and nothing at all
select is(
    pg_temp.code_of(format('insert into public.product_files (%s, path) values (%L, %L)', col, item, path)),
    '42501', 'no word on items of others: ' || col || ', ' || path
)
from unnest(array['product_id', 'artwork_id']) as c (col)
cross join unnest(array[gen_random_uuid(), (select id from pg_temp.his)]) as i (item)
cross join unnest(array[pg_temp.id(1) || '/a/Beat.WAV', 'nothing']) as p (path);

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
    insert into public.order_items (order_id, line_no, kind, item_id, buyer_id, seller_id, title,
    unit_price_cents, seller_tier, commission_bps)
    select o.id, 1, 'product', k.id, pg_temp.id(2), pg_temp.id(1), 'Beat', 2000, 'basic', 4000 from o, pg_temp.known as k
    returning id, item_id, kind
)
insert into public.purchases (
    owner_id, payer_id, kind, item_id, order_item_id, is_owned_once, is_single, price_cents
)
    select pg_temp.id(2), pg_temp.id(2), kind, item_id, id, true, false, 2000 from i;
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$delete from public.product_files$$), 'product_has_no_files', 'once ordered it cannot');
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.product_files), 1::bigint, 'the buyer sees the file');
update public.product_files set name = 'mine';
delete from public.product_files;
select is((select name from public.product_files), 'Beat.WAV', 'and does not change it');

-- replacing what was sold
reset role;
insert into storage.objects (bucket_id, name, version) values
('product-files', pg_temp.id(1) || '/two.wav', 'v2'), ('product-files', pg_temp.id(1) || '/three.wav', 'v3');
select pg_temp.be(pg_temp.id(1));
insert into public.product_files (product_id, path, position) select id, pg_temp.id(1) || '/two.wav', 1
    from pg_temp.known;
select lives_ok($$delete from public.product_files where name = 'Beat.WAV'$$, 'its seller replaces it');
select set_eq($$select name, removed_at is null, object_version from public.product_files$$,
    $$values ('Beat.WAV', false, null), ('two.wav', true, 'v2')$$, 'and sees both');
select is(pg_temp.code_of($$delete from public.product_files where name = 'two.wav'$$), 'product_has_no_files',
    'replacing is not removing');
select is((select file_types from public.products where title = 'Beat'), array['wav'], 'one counts');
select lives_ok($$delete from public.product_files where name = 'Beat.WAV'$$, 'removing twice');
select is((select count(*) from public.product_files), 2::bigint, 'changes nothing');
reset role;
-- Ordered later than the replacement.
update public.product_files set removed_at = now() - interval '1 hour' where name = 'Beat.WAV';
update public.order_items set created_at = now() - interval '1 day';
select pg_temp.sign_up(pg_temp.id(4), 'later');
with o as (
    insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(4), 2000, 2000) returning id
), i as (
    insert into public.order_items (order_id, line_no, kind, item_id, buyer_id, seller_id, title,
    unit_price_cents, seller_tier, commission_bps)
    select o.id, 1, 'product', k.id, pg_temp.id(4), pg_temp.id(1), 'Beat', 2000, 'basic', 4000 from o, pg_temp.known as k
    returning id, item_id, kind
)
insert into public.purchases (
    owner_id, payer_id, kind, item_id, order_item_id, is_owned_once, is_single, price_cents
)
    select pg_temp.id(4), pg_temp.id(4), kind, item_id, id, true, false, 2000 from i;
select results_eq(
    format('select name from private.authorize_download((select id from pg_temp.known), %L)', pg_temp.id(who)), names,
    'downloads of ' || who
)
from (values (2, array['Beat.WAV', 'two.wav']), (4, array['two.wav']), (1, array['Beat.WAV', 'two.wav']))
as t (who, names);
create function pg_temp.sees(who uuid) returns text[] language plpgsql as $$
begin
    perform pg_temp.be(who);
    return array(select f.name from public.product_files as f order by f.position);
end
$$;
grant execute on function pg_temp.sees to public;
select is(pg_temp.sees(pg_temp.id(who)), names, 'rows of ' || who) from (values
    (2, array['Beat.WAV', 'two.wav']), (4, array['two.wav'])
) as t (who, names);
reset role;

-- taken down
create table pg_temp.file as select id from public.product_files where name = 'two.wav';
grant select on pg_temp.file to authenticated;
update public.products set status = 'active' where title = 'Beat';
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of('select public.take_down_file((select id from pg_temp.file), ''mine'')'), 'admin_only',
    'a seller takes nothing down');
select pg_temp.be(pg_temp.id(3));
select is(pg_temp.code_of('select public.take_down_file((select id from pg_temp.file), '' '')'), 'reason_required',
    'an admin says why');
select is(pg_temp.code_of('select public.take_down_file(gen_random_uuid(), ''x'')'), 'file_not_found', 'no such file');
select lives_ok('select public.take_down_file((select id from pg_temp.file), ''stolen'')', 'an admin takes it down');
select is(pg_temp.code_of('select public.take_down_file((select id from pg_temp.file), ''x'')'), 'file_not_found',
    'once');
reset role;
select is((select status::text from public.products where title = 'Beat'), 'paused', 'without files it is not on sale');
select is((select details ->> 'reason' from public.audit_log where action = 'take_down_file'), 'stolen', 'audited');
select is(pg_temp.sees(pg_temp.id(4)), '{}', 'its buyer sees it no more');
select is(pg_temp.sees(pg_temp.id(2)), array['Beat.WAV'], 'earlier ones keep the other');
reset role;
select is_empty(format('select 1 from private.authorize_download((select id from pg_temp.known), %L)', pg_temp.id(4)),
    'nor downloads it');

-- files of a digital artwork
select pg_temp.be(pg_temp.id(1));
insert into public.artworks (title, image_url, price_cents, category) values
('Pixels', 'https://e.com/1.png', 500, 'digital'), ('Oil', 'https://e.com/1.png', 500, 'painting');
select is(pg_temp.code_of(format('insert into public.product_files (artwork_id, path) select id, %L from
    public.artworks where title = %L', pg_temp.id(1) || '/three.wav', title)), code, title)
from (values ('Oil', 'artwork_not_digital'), ('Pixels', null)) as t (title, code);
select is((select item_id from public.product_files where artwork_id is not null),
    (select id from public.artworks where title = 'Pixels'), 'item_id is either');
select is(pg_temp.code_of($$insert into public.product_files (artwork_id, product_id, path) select a.id, p.id, 'x'
    from public.artworks as a, public.products as p$$) is not null, true, 'a file belongs to one item');
reset role;
with o as (
    insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(4), 500, 500) returning id
), i as (
    insert into public.order_items (order_id, line_no, kind, item_id, buyer_id, seller_id, title,
    unit_price_cents, seller_tier, commission_bps)
    select o.id, 1, 'artwork', a.id, pg_temp.id(4), pg_temp.id(1), 'Pixels', 500, 'basic', 4000
    from o, public.artworks as a where a.title = 'Pixels'
    returning id, item_id, kind
)
insert into public.purchases (
    owner_id, payer_id, kind, item_id, order_item_id, is_owned_once, is_single, price_cents
)
    select pg_temp.id(4), pg_temp.id(4), kind, item_id, id, true, true, 500 from i;
select pg_temp.be(pg_temp.id(1));
delete from public.product_files where artwork_id is not null;
select is(pg_temp.sees(pg_temp.id(4)), array['three.wav'], 'its owner keeps what its seller removes');
reset role;
select results_eq(format('select path from private.authorize_download((select id from public.artworks where title = %L),
    %L)', 'Pixels', pg_temp.id(4)), array[pg_temp.id(1) || '/three.wav'], 'and downloads it');

reset role;
insert into public.bans (user_id, reason) values (pg_temp.id(2), 'x');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.product_files$$, 'a banned buyer does not see it');

-- the seller leaves: buyers keep theirs, the rest goes
reset role;
select set_config('request.jwt.claims', '', true);
insert into public.products (seller_id, title) values (pg_temp.id(1), 'Unsold');
insert into public.product_files (product_id, path) select id, pg_temp.id(1) || '/stems.zip' from public.products
    where title = 'Unsold';
delete from auth.users where id = pg_temp.id(1);
select set_eq(format('select path from private.user_files_to_erase(%L)', pg_temp.id(1)),
    array(select pg_temp.id(1) || '/' || n from unnest(array['stems.zip', 'two.wav', 'public.wav']) as n),
    'what nobody bought and what was taken down is erased');
select results_eq(format('select path from private.authorize_download((select id from public.artworks where title = %L),
    %L)', 'Pixels', pg_temp.id(4)), array[pg_temp.id(1) || '/three.wav'], 'a replaced file stays for its buyer');
select is_empty('select 1 from public.products where title = ''Unsold''', 'unsold products go with their files');

select * from finish();
rollback;
