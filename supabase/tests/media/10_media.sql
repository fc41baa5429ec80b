-- Pictures: what is made of an upload, what may show it, what keeps it and what ends it.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();

-- An upload of a member, and what the workers say of a picture.
create function pg_temp.upload(n integer, name text) returns text language sql as $$
    insert into storage.objects (bucket_id, name, metadata)
    values ('uploads', pg_temp.id(n) || '/' || name, '{"size": 1000, "mimetype": "image/jpeg"}')
    returning objects.name
$$;
create function pg_temp.made(id uuid, prints jsonb default '{}') returns jsonb language sql as $$
    select jsonb_build_object(
        'content_type', 'image/jpeg', 'width', 900, 'height', 600, 'color', '#102030', 'is_animated', false,
        'fingerprints', prints,
        'derivatives', jsonb_object_agg(s, jsonb_build_object(
            'path', id || '/v/' || s || '.webp', 'width', 90, 'height', 60, 'bytes', 10,
            'url', 'https://files.example/' || id || '/' || s || '.webp'
        ))
    )
    from unnest(array['large', 'medium', 'small', 'thumbnail']) as s
$$;
create function pg_temp.picture(n integer, purpose text, is_ready boolean default true) returns uuid
language plpgsql as $$
declare
    media uuid := gen_random_uuid();
begin
    insert into public.media (id, owner_id, purpose, bucket, expires_at)
    select media, pg_temp.id(n), p.purpose, p.bucket, now() + interval '30 days'
    from private.media_purposes as p where p.purpose = picture.purpose;
    if is_ready then
        perform private.media_ready(media, pg_temp.made(media));
    end if;
    return media;
end
$$;
create function pg_temp.work(media uuid, status text default 'draft') returns uuid language sql as $$
    insert into public.artworks (title, price_cents, category, image_media_id, status)
    values ('Dawn', 500, 'digital', media, status::public.artwork_status) returning id
$$;
grant execute on all functions in schema pg_temp to public;

-- create_media()
select pg_temp.upload(1, 'a.jpg');
select pg_temp.upload(2, 'b.jpg');
select pg_temp.be(pg_temp.id(1));
create temporary table m as select * from public.create_media(pg_temp.id(1) || '/a.jpg', 'artwork');
grant select on m to public;
select results_eq(
    'select owner_id, purpose, status::text, bucket, derivatives from m',
    $$values (pg_temp.id(1), 'artwork', 'pending', 'pictures', jsonb '{}')$$, 'an upload becomes a pending picture'
);
select is((select id from public.create_media(pg_temp.id(1) || '/a.jpg', 'artwork')), (select id from m),
    'the same upload answers the same picture');
select is(pg_temp.code_of(format('select public.create_media(%L, %L)', path, purpose)), code, 'refused: ' || why)
from (values
    (pg_temp.id(1) || '/a.jpg', 'avatar', 'upload_taken', 'the same upload for something else'),
    (pg_temp.id(1) || '/c.jpg', 'artwork', 'upload_not_found', 'what was never uploaded'),
    (pg_temp.id(2) || '/b.jpg', 'artwork', 'upload_not_found', 'what somebody else uploaded'),
    (pg_temp.id(1) || '/a.jpg', 'photo_result', 'unknown_purpose', 'a purpose of the server'),
    (pg_temp.id(1) || '/a.jpg', 'poster', 'unknown_purpose', 'a purpose that is none')
) as t (path, purpose, code, why);
reset role;
select is(pg_temp.code_as(null, $$select public.create_media('x', 'avatar')$$, 'anon'), '42501', 'not for visitors');
select pg_temp.ban();
select is(pg_temp.code_as(pg_temp.id(5), $$select public.create_media('x', 'avatar')$$), 'banned', 'nor for the banned');
update private.settings set pictures_pending_per_member = 1;
select pg_temp.upload(1, 'd.jpg');
select is(
    pg_temp.code_as(pg_temp.id(1), format('select public.create_media(%L, %L)', pg_temp.id(1) || '/d.jpg', 'artwork')),
    'too_many_pictures', 'only so many wait at once'
);

-- the upload
select ok(private.is_pinned('uploads', pg_temp.id(1) || '/a.jpg'), 'what is about to be looked at stays');
select ok(not private.is_pinned('uploads', pg_temp.id(1) || '/d.jpg'), 'any other may go');
select is_empty('select * from private.uploads_to_erase(10)', 'nothing is erased that waits or is young');
select private.media_failed((select id from m), 'unreadable');
select results_eq('select path from private.uploads_to_erase(10)', $$values (pg_temp.id(1) || '/a.jpg')$$,
    'an upload that was looked at is erased');
select results_eq('select status::text, failure::text from public.media', $$values ('failed', 'unreadable')$$,
    'it failed and says why');
select ok(not private.media_ready((select id from m), pg_temp.made((select id from m))), 'who is late changes nothing');
select throws_ok($$update public.media set status = 'ready', failure = null, ready_at = now(), content_type = 'x',
    width = 1, height = 1, color = '#000000', is_animated = false, derivatives = '{"x": {}}'$$, 'AV003', null,
    'what failed stays failed');

-- what shows it
create temporary table p as
select pg_temp.picture(1, 'artwork') as work, pg_temp.picture(1, 'artwork', false) as later,
    pg_temp.picture(1, 'avatar') as face, pg_temp.picture(2, 'artwork') as theirs, pg_temp.picture(1, 'photo_input') as input;
grant select on p to public;
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of(format('select pg_temp.work(%L)', id)), code, 'not shown: ' || why)
from p, lateral (values
    (theirs, 'media_not_found', 'somebody else''s'),
    (face, 'media_not_found', 'one made for something else'),
    (input, 'media_not_found', 'a private one'),
    ((select id from m), 'media_failed', 'one that failed'),
    (gen_random_uuid(), 'media_not_found', 'one that is none')
) as t (id, code, why);
create temporary table w as select pg_temp.work(work, 'published') as shown, pg_temp.work(later) as waiting from p;
grant select on w to public;
select is(a.image_url::text, 'https://files.example/' || p.work || '/large.webp', 'a work has the address of its large copy')
from public.artworks as a, w, p where a.id = w.shown;
select is(a.thumbnail_url::text, 'https://files.example/' || p.work || '/small.webp', 'and of a small one for lists')
from public.artworks as a, w, p where a.id = w.shown;
select results_eq('select thumbnail_url::text, image_media_id from public.catalog_items, w where id = shown',
    $$select 'https://files.example/' || work || '/small.webp', work from p$$, 'the registry shows the same');
select is((select a.image_url::text from public.artworks as a, w where a.id = w.waiting), null,
    'one that is not ready has no address yet');
select is(pg_temp.code_of($$insert into public.artworks (title, price_cents, category, status)
    values ('Bare', 0, 'digital', 'published')$$), '23514', 'a published work has a picture');
select is(pg_temp.code_of($$insert into public.artworks (title, price_cents, category)
    values ('Bare', 0, 'digital')$$), null, 'a draft need not');
reset role;
select ok((select expires_at is null from public.media, p where id = p.work), 'what is shown is kept');
select private.media_ready(later, pg_temp.made(later)) from p;
select is((select a.image_url::text from public.artworks as a, w where a.id = w.waiting),
    (select 'https://files.example/' || later || '/large.webp' from p), 'when it is ready the work has its address');

select pg_temp.be(pg_temp.id(1));
update public.artworks set image_url = 'https://e.com/mine.png' where id = (select waiting from w);
select results_eq($$select image_url::text, thumbnail_url::text, image_media_id from public.artworks, w where id = waiting$$,
    $$values ('https://e.com/mine.png', null::text, null::uuid)$$, 'an address from outside takes its place');
update public.artworks set title = 'Dusk', image_url = image_url where id = (select shown from w);
select is((select image_media_id from public.artworks, w where id = shown), (select work from p),
    'who writes the same address changes nothing');
reset role;
select ok((select expires_at > now() + interval '29 days' from public.media, p where id = p.later),
    'what nothing shows any more goes after a while');
select is((select image_media_id from public.catalog_items, w where id = waiting), null, 'nor does the registry show it');

-- a product's gallery
create temporary table g as select pg_temp.product(1, 500) as shown, pg_temp.product(2, 500) as theirs,
    pg_temp.picture(1, 'product') as first, pg_temp.picture(1, 'product') as second, pg_temp.picture(2, 'product') as other;
grant select on g to public;
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of(format('insert into public.product_pictures (product_id, media_id) values (%L, %L)', product, id)),
    code, why)
from g, lateral (values
    (shown, first, null, 'a product has further pictures'),
    (shown, second, null, 'and more of them'),
    (shown, first, '23505', 'each once'),
    (shown, other, 'media_not_found', 'not somebody else''s'),
    (shown, (select work from p), 'media_not_found', 'nor one made for something else'),
    (theirs, first, '42501', 'nor for somebody else''s product')
) as t (product, id, code, why);
select is(pg_temp.code_of(format('select public.delete_media(%L)', first)), 'media_in_use', 'they are shown') from g;
delete from public.product_pictures where media_id = (select second from g);
select pg_temp.be(null, 'anon');
select results_eq('select m.id from public.product_pictures as p join public.media as m on m.id = p.media_id',
    'select first from g', 'who sees the product sees them');
reset role;
select ok((select expires_at is not null from public.media, g where id = second), 'what was taken out goes after a while');
select ok((select expires_at is null from public.media, g where id = first), 'what is shown is kept');
delete from public.media where id in (select first from g union all select second from g union all select other from g);

-- a picture that turns out to be none
create temporary table f as select pg_temp.picture(1, 'artwork', false) as id;
grant select on f to public;
select pg_temp.be(pg_temp.id(1));
create temporary table fw as select pg_temp.work(id, 'published') as id from f;
reset role;
select private.media_failed(id, 'too_large') from f;
select is((select a.status::text from public.artworks as a, fw where a.id = fw.id), 'draft',
    'a work published before its picture was looked at is a draft again when there is none');

-- the end
select is(pg_temp.code_as(pg_temp.id(1), format('select public.delete_media(%L)', work)), 'media_in_use',
    'what is shown is not deleted') from p;
select is(pg_temp.code_as(pg_temp.id(2), format('select public.delete_media(%L)', work)), 'media_not_found',
    'nor is anybody else''s') from p;
select is(pg_temp.code_as(pg_temp.id(1), format('select public.delete_media(%L)', face)), null, 'any other is') from p;
select is_empty('select from public.media, p where id = face', 'and gone');
insert into storage.objects (bucket_id, name)
select 'pictures', id || '/' || v || '/small.webp' from p, unnest(array[work, face]) as id, unnest(array['v', 'old']) as v;
select results_eq(
    'select path from p, private.media_files_to_erase(array[work, face], 10) order by 1',
    $$select id || '/' || v || '/small.webp' from p, lateral (values (face, 'v'), (face, 'old'), (work, 'old')) as t (id, v)
    order by 1$$,
    'files of deleted pictures go, and of others what is not theirs'
);
update public.media set expires_at = now() - interval '1 second';
select private.expire_media(100);
select set_eq('select id, expires_at from public.media',
    'select work, null::timestamptz from p union all select id, null from f', 'whose time has come goes, unless it is shown');

-- fingerprints: at most three bits of 64 differ
create temporary table s as
select pg_temp.picture(1, 'artwork', false) as one, pg_temp.picture(1, 'artwork', false) as three,
    pg_temp.picture(1, 'artwork', false) as four, pg_temp.picture(1, 'artwork', false) as mirror;
grant select on s to public;
select private.media_ready(one, pg_temp.made(one, jsonb_build_object('white', repeat('01', 32)))),
    private.media_ready(three, pg_temp.made(three, jsonb_build_object(
        'white', overlay(overlay(overlay(repeat('01', 32) placing '1' from 1) placing '1' from 17) placing '1' from 33)
    ))),
    private.media_ready(four, pg_temp.made(four, jsonb_build_object('white', '1111' || right(repeat('01', 32), 60),
        'black', repeat('01', 32)))),
    private.media_ready(mirror, pg_temp.made(mirror, jsonb_build_object('white', repeat('0', 64),
        'mirrored', repeat('01', 32))))
from s;
select pg_temp.be(pg_temp.id(1));
select results_eq('select similar_id, distance from s, public.similar_media(one) order by 2, 1',
    $$select v.id, v.d from s, lateral (values (mirror, 0), (four, 2), (three, 3)) as v (id, d) order by 2, 1$$,
    'three bits are the same picture, also mirrored');
reset role;
update private.media_fingerprints set fingerprint = b'11111111' || substring(fingerprint from 9)
where ground = 'white' and media_id = (select four from s);
select pg_temp.be(pg_temp.id(1));
select is_empty('select from s, public.similar_media(one) where similar_id = four', 'four are another one');
select is(pg_temp.code_of(format('select * from public.similar_media(%L)', theirs)), 'media_not_found',
    'only of one''s own is asked') from p;
reset role;

select * from finish();
rollback;
