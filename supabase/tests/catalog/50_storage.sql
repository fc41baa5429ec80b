-- Buckets, their policies and downloads.
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
    pg_temp.sign_up(pg_temp.id(3), 'chief'),
    pg_temp.sign_up(pg_temp.id(5), 'bad');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
insert into public.bans (user_id, reason) values (pg_temp.id(5), 'x');
select set_eq(
    $$select id, public from storage.buckets where id in ('avatars', 'banners', 'media', 'product-files')$$,
    $$values ('avatars', true), ('banners', true), ('media', true), ('product-files', false)$$, 'buckets'
);
select is_empty($$select 1 from storage.buckets where id in ('avatars', 'banners', 'media')
    and allowed_mime_types && array['image/svg+xml', 'text/html', 'text/javascript']$$, 'nothing that runs is public');
select is_empty($$select 1 from storage.buckets where id in ('avatars', 'banners', 'media', 'product-files')
    and (file_size_limit is null or allowed_mime_types is null)$$, 'size and type are limited');

-- Storage deletes with this setting; nobody else does.
select throws_ok('delete from storage.objects', '42501', null, 'objects are not deleted by SQL');
select throws_ok('delete from storage.buckets', '42501', null, 'nor are buckets');
select set_config('storage.allow_delete_query', 'true', true);
create function pg_temp.upload(bucket text, path text, mimetype text default 'image/png', size bigint default 5)
returns text language sql as $$
    select pg_temp.code_of(format('insert into storage.objects (bucket_id, name, metadata) values (%L, %L, %L)',
    bucket, path, jsonb_build_object('size', size, 'mimetype', mimetype)))
$$;
create function pg_temp.operation(name text) returns text language sql as $$
    select set_config('storage.operation', name, true)
$$;
create function pg_temp.seen(operation text) returns bigint language plpgsql as $$
begin
    perform pg_temp.operation(operation);
    return (select count(*) from storage.objects);
end
$$;
grant execute on all functions in schema pg_temp to public;

-- writing
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.upload(b, pg_temp.id(1) || '/x/a.bin'), null, 'a member writes in the own folder: ' || b)
from unnest(array['avatars', 'banners', 'media', 'product-files']) as t (b);
select is(pg_temp.upload('media', path), '42501', 'not to: ' || path)
from unnest(array[
    pg_temp.id(2) || '/a.png', 'a.png', pg_temp.id(1)::text, '/' || pg_temp.id(1) || '/a.png',
    pg_temp.id(1) || '/../' || pg_temp.id(2) || '/a.png',
    pg_temp.id(1) || '//a.png', pg_temp.id(1) || '/./a.png', pg_temp.id(1) || '/a/..', pg_temp.id(1) || '/',
    pg_temp.id(1) || '/a\b.png', pg_temp.id(1) || 'x/a.png'
]) as t (path);
select is(pg_temp.upload('elsewhere', pg_temp.id(1) || '/a.png') is not null, true, 'nor to other buckets');
select pg_temp.be(pg_temp.id(5));
select is(pg_temp.upload('media', pg_temp.id(5) || '/a.png'), '42501', 'a banned user writes nowhere');
-- what a bucket takes, copied and moved as well as uploaded
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.upload(bucket, pg_temp.id(1) || '/no', mimetype, size), '42501',
    format('%s does not take %s bytes of %s', bucket, size, mimetype))
from (values
    ('avatars', 5242881, 'image/png'), ('media', 52428801, 'video/mp4'), ('product-files', 1073741825, 'audio/wav'),
    ('avatars', 5, 'audio/wav'), ('media', 5, 'application/zip'), ('media', 5, 'image/svg+xml'),
    ('media', 5, 'text/html'), ('media', 5, 'TEXT/HTML; charset=utf-8'), ('media', 5, 'application/xml'),
    ('media', 5, 'text/javascript'), ('media', 5, 'application/pdf'), ('media', 5, null),
    ('product-files', 5, 'text/html')
) as t (bucket, size, mimetype);
reset role;
update storage.buckets set allowed_mime_types = null, file_size_limit = null where id = 'media';
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.upload('media', pg_temp.id(1) || '/no', mimetype), '42501',
    'nor does a public bucket whose own list was emptied: ' || mimetype)
from unnest(array['image/svg+xml', 'text/html', 'application/xhtml+xml']) as t (mimetype);
select pg_temp.be(null, 'anon');
select is(pg_temp.upload('media', pg_temp.id(1) || '/b.png'), '42501', 'nor do visitors');
select is_empty($$select 1 from storage.objects$$, 'and visitors list nothing');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from storage.objects$$, 'strangers list nothing');

-- changing and removing
select pg_temp.be(pg_temp.id(1));
update storage.objects set metadata = '{"size": 6, "mimetype": "image/png"}'
    where bucket_id in ('media', 'product-files');
select is(pg_temp.code_of($$update storage.objects set metadata = '{"size": 5242881, "mimetype": "image/png"}',
    bucket_id = 'avatars' where bucket_id = 'media'$$), '42501', 'no move into a bucket it is too large for');
select set_eq($$select bucket_id, metadata ->> 'size' from storage.objects where bucket_id in ('media',
    'product-files')$$, $$values ('media', '6'), ('product-files', '5')$$,
    'media can be replaced, product files cannot');
select is(pg_temp.code_of(format('update storage.objects set name = %L where bucket_id = %L',
    pg_temp.id(2) || '/a.bin', 'media')), '42501', 'no move into another''s folder');
select is(pg_temp.code_of($$update storage.objects set bucket_id = 'product-files' where bucket_id = 'media'$$),
    '42501', 'nor into a bucket that is not overwritten');
reset role;

-- downloads
with p as (insert into public.products (seller_id, title, price_cents) values (pg_temp.id(1), 'Beat', 2000)
    returning id)
insert into public.product_files (product_id, path) select p.id, pg_temp.id(1) || '/x/a.bin' from p;
create table pg_temp.known as select id from public.products;
grant select on pg_temp.known to public;
create function pg_temp.download(who uuid) returns text language sql as $$
    select pg_temp.code_of(format('select * from private.authorize_download(%L, %L)', (select id from pg_temp.known),
    who))
$$;
select is(pg_temp.download(pg_temp.id(1)), null, 'its seller downloads');
select is(pg_temp.download(pg_temp.id(3)), null, 'an admin too');
select is(pg_temp.download(pg_temp.id(2)), 'item_not_found', 'for a stranger a draft does not exist');
select is(pg_temp.download(pg_temp.id(5)), 'banned', 'a banned user downloads nothing');
select is(pg_temp.download(pg_temp.id(99)), 'not_signed_in', 'nor does nobody');
select is(pg_temp.code_of($$select * from private.authorize_download(gen_random_uuid(), pg_temp.id(1))$$),
    'item_not_found', 'no item');
update public.products set status = 'active';
select is(pg_temp.download(pg_temp.id(2)), 'not_entitled', 'a stranger has to buy');
with o as (
    insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(2), 2000, 2000) returning id
)
insert into public.order_items (order_id, line_no, kind, item_id, buyer_id, seller_id, title,
    unit_price_cents, seller_tier, commission_bps)
select o.id, 1, 'product', k.id, pg_temp.id(2), pg_temp.id(1), 'Beat', 2000, 'basic', 4000 from o, pg_temp.known as k;
select is(pg_temp.download(pg_temp.id(2)), 'not_entitled', 'ordering is not buying');
select pg_temp.be(pg_temp.id(2)), pg_temp.operation('storage.object.get_authenticated');
select is_empty($$select 1 from storage.objects$$, 'nor by policy');
reset role;
insert into public.purchases (
    owner_id, payer_id, kind, item_id, order_item_id, is_owned_once, is_single, price_cents
)
    select buyer_id, buyer_id, kind, item_id, id, true, false, 2000 from public.order_items;
select results_eq(
    $$select bucket, path, name, size_bytes, content_type from private.authorize_download((select id
    from pg_temp.known), pg_temp.id(2))$$,
    $$values ('product-files', pg_temp.id(1) || '/x/a.bin', 'a.bin', 5::bigint, 'image/png')$$, 'a buyer downloads'
);
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.seen(operation), 0::bigint, 'a buyer does not ' || coalesce(operation, 'act without an operation'))
from unnest(array['storage.object.sign', 'storage.object.sign_many', 'storage.object.copy', 'storage.object.move',
    'storage.s3.object.copy', 'storage.render.image_sign', 'storage.anything', null]) as t (operation);
select pg_temp.operation('storage.object.get_authenticated');
select set_eq($$select bucket_id from storage.objects$$, array['product-files'], 'and reads exactly that object');
delete from storage.objects;
update storage.objects set metadata = '{}';
select is((select metadata ->> 'size' from storage.objects), '5', 'without changing it');
select is(pg_temp.code_of($$select * from private.authorize_download((select id from pg_temp.known),
    pg_temp.id(2))$$), '42501', 'the function is the workers''');
reset role;
update public.products set status = 'deleted';
select is(pg_temp.download(pg_temp.id(2)), null, 'still after the product left the shop');
update public.purchases set revoked_at = now(), revoked_reason = 'refunded';
select is(pg_temp.download(pg_temp.id(2)), 'item_not_found', 'not after a refund');

-- what was sold is pinned: an upload that Storage finishes only now, a second one at the same path, a move
select is(pg_temp.code_of(format('update storage.objects set %s where bucket_id = %L', change, 'product-files')),
    '42501', 'Storage itself does not write ' || change)
from unnest(array['version = ''2''', 'name = name || ''x''', 'metadata = metadata || ''{"eTag": "x"}''',
    'metadata = metadata || ''{"size": 6}''', 'metadata = metadata || ''{"mimetype": "text/html"}''',
    'bucket_id = ''media''']) as t (change);
select is(pg_temp.code_of($$update storage.objects set last_accessed_at = now(), metadata = metadata
    || '{"lastModified": "now"}' where bucket_id = 'product-files'$$), null, 'what does not concern the bytes may change');
with gone as (delete from storage.objects where bucket_id = 'product-files' returning 1)
select is(count(*), 0::bigint, 'nor removes it') from gone;
update public.product_files set object_version = 'another one';
select is((select path from private.authorize_download((select id from pg_temp.known), pg_temp.id(1))), null,
    'another version than the one added is not served');
update public.product_files set object_version = null;

-- members' rules hold when Storage writes the row: the member may have been banned or have left since
select is(pg_temp.code_of(format('insert into storage.objects (bucket_id, name, owner_id, metadata) values (%L, %L, %L,
    %L)', 'media', pg_temp.id(who) || '/late', pg_temp.id(who), metadata)), code, label)
from (values
    (2, '{"size": 5, "mimetype": "image/png"}', null, 'a member''s upload ends'),
    (5, '{"size": 5, "mimetype": "image/png"}', '42501', 'not one of somebody banned meanwhile'),
    (99, '{"size": 5, "mimetype": "image/png"}', '42501', 'nor of a deleted account'),
    (1, '{"size": 5, "mimetype": "text/html"}', '42501', 'nor of another type than was announced')
) as t (who, metadata, code, label);

-- what a product needs stays; nobody signs links to private files
select pg_temp.be(pg_temp.id(1));
select pg_temp.operation('storage.object.sign');
select set_eq($$select distinct bucket_id from storage.objects$$, array['avatars', 'banners', 'media'],
    'not even its seller signs links to a private file');
select pg_temp.operation('');
delete from storage.objects where bucket_id in ('media', 'product-files');
select set_eq($$select bucket_id from storage.objects$$, array['avatars', 'banners', 'product-files'],
    'a file that a product refers to is not removed, others are');

-- an artwork without files
insert into public.artworks (title, image_url, price_cents, category, status) values ('Sunset',
    'https://e.com/1.png', 50, 'digital', 'published');
reset role;
select is_empty($$select * from private.authorize_download((select id from public.artworks), pg_temp.id(1))$$,
    'nothing to download');

select * from finish();
rollback;
