-- Pictures. A member uploads to the private bucket uploads and names the upload to create_media(); the workers decode
-- it, and what is shown are the small copies they made, under paths nobody else chooses. The upload itself is deleted.
--
-- What shows a picture has a column <what>_media_id beside its *_url columns, see make_media_column(): the row says
-- which picture, and once that is ready the addresses are those of its copies. An address from outside goes on being
-- possible, and takes the picture's place.

create type public.media_status as enum ('pending', 'ready', 'failed');
comment on type public.media_status is
'pending: uploaded, not looked at yet. ready: its copies are there. failed: it gave no picture, see media_failure.';

create type public.media_failure as enum ('unreadable', 'too_large', 'unsupported_format', 'missing');
comment on type public.media_failure is
'Why there is no picture. unreadable: cut or damaged. too_large: in bytes or pixels. unsupported_format: none that is '
'read. missing: the upload was gone.';

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
(
    'uploads', 'uploads', false, 52428800,
    -- What the file says of itself is not believed anyway; for HEIC many browsers say nothing.
    array[
        'image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif', 'image/tiff', 'image/heic', 'image/heif',
        'application/octet-stream'
    ]
),
('pictures', 'pictures', true, 52428800, array['image/webp']),
('studio', 'studio', false, 52428800, array['image/webp']);

create table private.media_purposes (
    purpose text not null,
    bucket text not null,
    is_public boolean not null,
    is_uploaded boolean not null default true,
    sizes text[] not null,
    meaning text not null,
    constraint media_purposes_pkey primary key (purpose),
    constraint media_purposes_purpose_check check (purpose ~ '^[a-z]+(_[a-z]+)*$'),
    constraint media_purposes_sizes_check check (
        sizes <@ '{full,large,medium,small,thumbnail}' and sizes <> '{}'
    )
);
comment on table private.media_purposes is 'What pictures are for: rows inserted on the page that shows them.';
comment on column private.media_purposes.purpose is 'The word.';
comment on column private.media_purposes.bucket is 'Where the copies are: pictures, or studio, which is private.';
comment on column private.media_purposes.is_public is
'Whether whoever may see what shows it may see it. False: its owner alone, through links of minutes.';
comment on column private.media_purposes.is_uploaded is 'Whether members bring them; others the server makes.';
comment on column private.media_purposes.sizes is
'The copies: full, large, medium, small, thumbnail; how long their edges are say the workers (docs/pictures.md).';
comment on column private.media_purposes.meaning is 'What it is for.';
alter table private.media_purposes enable row level security;

insert into private.media_purposes (purpose, bucket, is_public, is_uploaded, sizes, meaning) values
('avatar', 'pictures', true, true, '{medium,small,thumbnail}', 'the picture of a profile'),
('banner', 'pictures', true, true, '{large,medium,small,thumbnail}', 'the banner of a profile'),
('artwork', 'pictures', true, true, '{large,medium,small,thumbnail}', 'a work of art'),
('product', 'pictures', true, true, '{large,medium,small,thumbnail}', 'a product'),
('article', 'pictures', true, true, '{large,medium,small,thumbnail}', 'an article'),
('photo_input', 'studio', false, true, '{full,large,medium,small,thumbnail}', 'a photo to be worked on'),
('photo_result', 'studio', false, false, '{full,large,medium,small,thumbnail}', 'what became of a photo');

alter table private.settings
add column pictures_pending_per_member integer not null default 30,
add column unused_pictures_period interval not null default '30 days';
comment on column private.settings.pictures_pending_per_member is
'How many pictures of one member may wait for the workers.';
comment on column private.settings.unused_pictures_period is
'How long an upload or a picture is kept that nothing shows.';

create table public.media (
    id uuid not null default gen_random_uuid(),
    owner_id uuid not null,
    purpose text not null,
    status public.media_status not null default 'pending',
    failure public.media_failure,
    bucket text not null,
    content_type text,
    width integer,
    height integer,
    color text,
    is_animated boolean,
    derivatives jsonb not null default '{}',
    created_at timestamptz not null default now(),
    ready_at timestamptz,
    expires_at timestamptz,
    constraint media_pkey primary key (id),
    constraint media_owner_id_fkey foreign key (owner_id) references public.profiles (id),
    constraint media_purpose_fkey foreign key (purpose) references private.media_purposes (purpose),
    constraint media_failure_check check ((status = 'failed') = (failure is not null)),
    constraint media_ready_at_check check (
        (status = 'ready') = (ready_at is not null)
        and (status = 'ready') = (num_nulls(content_type, width, height, color, is_animated) = 0)
        and (status = 'ready') = (derivatives <> '{}')
    ),
    constraint media_size_check check (width > 0 and height > 0),
    constraint media_color_check check (color ~ '^#[0-9a-f]{6}$'),
    constraint media_derivatives_check check (jsonb_typeof(derivatives) = 'object')
);

create index media_owner_id_created_at_idx on public.media (owner_id, created_at desc);
create index media_purpose_idx on public.media (purpose);
create index media_pending_idx on public.media (created_at) where status = 'pending';
create index media_expires_at_idx on public.media (expires_at) where expires_at is not null;

comment on table public.media is
'Pictures. Whoever may see what shows one may read its row, unless it failed; its owner and admins always. Made by '
'create_media(), everything else by the workers; deleted by delete_media().';
comment on column public.media.owner_id is 'Whose it is.';
comment on column public.media.purpose is 'avatar, banner, artwork, product, article, photo_input or photo_result.';
comment on column public.media.status is 'Whether there are copies to show; until then show a placeholder.';
comment on column public.media.failure is 'Why it failed; else null.';
comment on column public.media.bucket is
'Where the copies are. pictures is public: derivatives have a url. studio is private: '
'GET /functions/v1/media/{id}/{name} answers with a link.';
comment on column public.media.content_type is 'What the upload really was, whatever it said of itself.';
comment on column public.media.width is 'Of the upright original, pixels.';
comment on column public.media.height is 'Of the upright original, pixels.';
comment on column public.media.color is 'Its average color, #rrggbb: the placeholder while a copy loads.';
comment on column public.media.is_animated is 'Whether there was more than the one frame that was taken.';
comment on column public.media.derivatives is
'The copies by name (full, large, medium, small, thumbnail): an object of path, width, height, bytes, crc32, and url '
'where the bucket is public. Empty until it is ready.';
comment on column public.media.ready_at is 'When its copies were there.';
comment on column public.media.expires_at is
'When it will be deleted; null: it is kept. Something that shows it keeps it; what nothing shows any more goes after '
'unused_pictures_period.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.media', 'status', null, 'pending', 'uploaded'),
('public.media', 'status', null, 'ready', 'made by the server'),
('public.media', 'status', 'pending', 'ready', 'its copies are there'),
('public.media', 'status', 'pending', 'failed', 'it gave no picture');
select private.build_moves('public.media', 'status');

create table private.media_sources (
    object_id uuid not null,
    media_id uuid,
    owner_id uuid not null,
    path text not null,
    created_at timestamptz not null default now(),
    constraint media_sources_pkey primary key (object_id),
    constraint media_sources_media_id_fkey foreign key (media_id) references public.media (id) on delete set null
);

create unique index media_sources_media_id_idx on private.media_sources (media_id) where media_id is not null;
create index media_sources_path_idx on private.media_sources (path);
create index media_sources_owner_id_idx on private.media_sources (owner_id);

comment on table private.media_sources is
'The uploads pictures were made of. Not on the picture''s own row: that is for everybody who sees it.';
comment on column private.media_sources.object_id is
'The stored object; uploaded again under the same path it is another one.';
comment on column private.media_sources.media_id is 'The picture; null once that was deleted.';
comment on column private.media_sources.owner_id is 'Who uploaded it. No foreign key: the row goes with the account.';
comment on column private.media_sources.path is 'In the bucket uploads.';
alter table private.media_sources enable row level security;

create table private.media_fingerprints (
    media_id uuid not null,
    ground text not null,
    fingerprint bit(64) not null,
    band_1 smallint not null generated always as (
        ((substring(fingerprint from 1 for 16))::bit(16)::integer - 32768)::smallint
    ) stored,
    band_2 smallint not null generated always as (
        ((substring(fingerprint from 17 for 16))::bit(16)::integer - 32768)::smallint
    ) stored,
    band_3 smallint not null generated always as (
        ((substring(fingerprint from 33 for 16))::bit(16)::integer - 32768)::smallint
    ) stored,
    band_4 smallint not null generated always as (
        ((substring(fingerprint from 49 for 16))::bit(16)::integer - 32768)::smallint
    ) stored,
    constraint media_fingerprints_pkey primary key (media_id, ground),
    constraint media_fingerprints_media_id_fkey foreign key (media_id) references public.media (id) on delete cascade,
    constraint media_fingerprints_ground_check check (ground in ('white', 'black', 'mirrored'))
);

-- Of 64 bits at most 3 differ: then one band of the four is the same.
create index media_fingerprints_band_1_idx on private.media_fingerprints (band_1);
create index media_fingerprints_band_2_idx on private.media_fingerprints (band_2);
create index media_fingerprints_band_3_idx on private.media_fingerprints (band_3);
create index media_fingerprints_band_4_idx on private.media_fingerprints (band_4);

comment on table private.media_fingerprints is
'What pictures look like (dHash of the upright picture in sRGB). None for flat ones: they are all alike.';
comment on column private.media_fingerprints.ground is
'What it lies on: white, black where it is see-through; mirrored: its mirror image on white.';
comment on column private.media_fingerprints.fingerprint is '64 bits; at most 3 different: the same picture.';
comment on column private.media_fingerprints.band_1 is 'Its first quarter, to look it up by.';
comment on column private.media_fingerprints.band_2 is 'Its second quarter.';
comment on column private.media_fingerprints.band_3 is 'Its third quarter.';
comment on column private.media_fingerprints.band_4 is 'Its last quarter.';
alter table private.media_fingerprints enable row level security;

-- Who shows a picture.

create table private.media_columns (
    relation text not null,
    media_column text not null,
    purpose text not null,
    owner_column text not null,
    urls jsonb not null,
    constraint media_columns_pkey primary key (relation, media_column),
    constraint media_columns_purpose_fkey foreign key (purpose) references private.media_purposes (purpose),
    constraint media_columns_urls_check check (jsonb_typeof(urls) = 'object')
);
create index media_columns_purpose_idx on private.media_columns (purpose);
comment on table private.media_columns is 'The columns that show a picture; each a call of make_media_column().';
comment on column private.media_columns.relation is 'Schema-qualified relation.';
comment on column private.media_columns.media_column is 'Its column that refers to media.';
comment on column private.media_columns.purpose is 'What the picture is for.';
comment on column private.media_columns.owner_column is 'Its column with whose picture it must be.';
comment on column private.media_columns.urls is
'Its columns that hold addresses, each with the copy whose address that is: {"image_url": "large"}.';
alter table private.media_columns enable row level security;

create function private.media_addresses(picture public.media, urls jsonb) returns jsonb
language sql
immutable
set search_path = ''
as $$
    select coalesce(jsonb_object_agg(u.key, picture.derivatives -> u.value ->> 'url'), '{}')
    from jsonb_each_text(urls) as u
$$;
comment on function private.media_addresses(public.media, jsonb) is
'What the address columns hold while they show a picture; null until it is ready. See media_columns.urls.';

create function private.attach_media() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    media_column text := tg_argv[0];
    urls jsonb := tg_argv[3];
    after jsonb := to_jsonb(new);
    before jsonb := case when tg_op = 'UPDATE' then to_jsonb(old) else '{}' end;
    wanted uuid := after ->> media_column;
    earlier uuid := before ->> media_column;
    picture public.media;
    addresses jsonb;
begin
    if wanted is null and earlier is null then
        return new;
    end if;
    if wanted is distinct from earlier and wanted is not null then
        -- What shows it keeps it; and who shows it first has the row that says where.
        update public.media as m set expires_at = null
        where m.id = wanted and m.owner_id = (after ->> tg_argv[2])::uuid and m.purpose = tg_argv[1]
        returning * into picture;
        if picture.id is null then
            perform private.fail('media_not_found', wanted::text);
        elsif picture.status = 'failed' then
            perform private.fail('media_failed', picture.failure::text);
        end if;
    else
        select * into picture from public.media as m where m.id = wanted;
    end if;
    addresses := private.media_addresses(picture, urls);
    if wanted is null or wanted = earlier and exists (
        select from jsonb_object_keys(urls) as u (name)
        where
            after ->> u.name is distinct from before ->> u.name
            and after ->> u.name is distinct from addresses ->> u.name and after ->> u.name is not null
    ) then
        -- Another address took its place, or nothing.
        addresses := (
            select jsonb_object_agg(
                u.name,
                case when after ->> u.name is distinct from before ->> u.name then after ->> u.name end
            )
            from jsonb_object_keys(urls) as u (name)
        ) || jsonb_build_object(media_column, null);
    end if;
    return jsonb_populate_record(new, addresses);
end
$$;
comment on function private.attach_media() is
'Trigger of make_media_column(); arguments: the column, the purpose, the owner''s column, the columns with addresses. '
'The picture must be its owner''s and made for this; addresses are the picture''s until another one is given.';

create function private.used_media(ids uuid[]) returns setof uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    place record;
begin
    for place in
        select k.conrelid::regclass as relation, a.attname as name
        from pg_catalog.pg_constraint as k
        inner join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and k.conkey = array[a.attnum]
        where
            k.contype = 'f' and k.confrelid = 'public.media'::regclass
            and k.connamespace = 'public'::regnamespace
    loop
        return query execute format('select t.%I from %s as t where t.%1$I = any ($1)', place.name, place.relation)
        using ids;
    end loop;
end
$$;
comment on function private.used_media(uuid[]) is
'Those of these pictures that something refers to: by any foreign key in public.';

create function private.release_media() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    earlier uuid := to_jsonb(old) ->> tg_argv[0];
begin
    if earlier is not null and (tg_op = 'DELETE' or to_jsonb(new) ->> tg_argv[0] is distinct from earlier::text)
        and not exists (select from private.used_media(array[earlier])) then
        update public.media as m
        set expires_at = now() + (select s.unused_pictures_period from private.settings as s)
        where m.id = earlier and m.expires_at is null;
    end if;
    return null;
end
$$;
comment on function private.release_media() is
'Trigger of make_media_column(): a picture that nothing shows any more goes after a while.';

create function private.make_media_column(
    relation regclass, media_column text, purpose text, owner_column text, urls jsonb
) returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into private.media_columns (relation, media_column, purpose, owner_column, urls)
    values (relation::text, media_column, purpose, owner_column, urls);
    execute private.fill($text$
alter table {relation} add constraint {constraint}
foreign key ({column}) references public.media (id) on delete set null;
comment on constraint {constraint} on {relation} is 'media_not_found: There is no such picture.';
create index {name}_{column}_idx on {relation} ({column}) where {column} is not null;
comment on column {relation}.{column} is
'The picture: one of purpose {purpose} that its owner made. Its copies'' addresses are in {columns} then.';
create trigger attach_{column} before insert or update of {column}, {columns} on {relation}
for each row execute function private.attach_media({arguments});
create trigger unuse_{column} after delete or update of {column}, {columns} on {relation}
for each row execute function private.release_media('{column}');
$text$, jsonb_build_object(
        'relation', relation, 'name', private.name_of(relation), 'column', media_column, 'purpose', purpose,
        'constraint', private.name_of(relation) || '_' || media_column || '_fkey',
        'columns', (select string_agg(u.name, ', ' order by u.name) from jsonb_object_keys(urls) as u (name)),
        'arguments', format('%L, %L, %L, %L', media_column, purpose, owner_column, urls)
    ));
end
$$;
comment on function private.make_media_column(regclass, text, text, text, jsonb) is
'A column that shows a picture: refers to one of the owner''s own of that purpose, and fills the columns with '
'addresses.';

create function private.hold_media_users(picture public.media) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    place private.media_columns;
begin
    for place in
        select * from private.media_columns as c where c.purpose = picture.purpose order by c.relation, c.media_column
    loop
        execute format(
            'select from %s as t where t.%I = $1 order by t.ctid for no key update', place.relation, place.media_column
        ) using picture.id;
    end loop;
end
$$;
comment on function private.hold_media_users(public.media) is
'Locks what shows a picture. Before the picture''s own row, as who attaches it does.';

create function private.show_media(picture public.media) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    place private.media_columns;
begin
    for place in
        select * from private.media_columns as c where c.purpose = picture.purpose order by c.relation, c.media_column
    loop
        execute format('update %s as t set %s where t.%I = $1', place.relation, (
            select string_agg(format('%I = %L', a.key, a.value), ', ')
            from jsonb_each_text(private.media_addresses(picture, place.urls)) as a
        ), place.media_column) using picture.id;
    end loop;
end
$$;
comment on function private.show_media(public.media) is
'What shows a picture that has become ready gets its addresses.';

create function private.shows_media(id uuid, purpose text) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    -- As the caller, whose rights on the thing are those on its picture. Items and articles come on later pages;
    -- plpgsql binds late.
    return case shows_media.purpose
        when 'avatar' then exists (select from public.profiles as p where p.avatar_media_id = shows_media.id)
        when 'banner' then exists (select from public.profiles as p where p.banner_media_id = shows_media.id)
        when 'article' then exists (select from public.articles as a where a.thumbnail_media_id = shows_media.id)
        when 'artwork' then exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
        when 'webinar' then exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
        when 'product' then
            exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
            or exists (select from public.product_pictures as p where p.media_id = shows_media.id)
        when 'service' then
            exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
            or exists (select from public.portfolio_pieces as p where p.image_media_id = shows_media.id)
        else false
    end;
end
$$;
comment on function private.shows_media(uuid, text) is
'Whether something that the caller may see shows this picture.';
grant execute on function private.shows_media(uuid, text) to anon, authenticated;

alter table public.media enable row level security;
grant select on public.media to anon, authenticated, service_role;
create policy media_select_anon on public.media for select to anon
-- What nobody but its owner sees is not asked about.
using (bucket = 'pictures' and status <> 'failed' and private.shows_media(id, purpose));
create policy media_select on public.media for select to authenticated
using (
    owner_id = (select private.member_id())
    or (select private.is_admin())
    or bucket = 'pictures' and status <> 'failed' and private.shows_media(id, purpose)
);

-- Members.

create function public.create_media(path text, purpose text) returns public.media
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    wanted private.media_purposes;
    upload uuid;
    source private.media_sources;
    picture public.media;
    limits private.settings;
begin
    select * into wanted from private.media_purposes as p
    where p.purpose = create_media.purpose and p.is_uploaded;
    if wanted.purpose is null then
        perform private.fail('unknown_purpose', left(create_media.purpose, 100));
    end if;
    -- Two at once make one picture, and neither is the last that is allowed twice.
    perform from public.profiles as p where p.id = member for no key update;
    if split_part(create_media.path, '/', 1) = member::text then
        -- Waits for an upload that is just finishing.
        select o.id into upload from storage.objects as o
        where o.bucket_id = 'uploads' and o.name = create_media.path
        for share;
        -- Without the object, which is deleted when it was used: the last one that was there.
        select * into source from private.media_sources as s
        where s.path = create_media.path and s.object_id = coalesce(upload, s.object_id)
        order by s.created_at desc
        limit 1;
    end if;
    if source.object_id is not null then
        select * into picture from public.media as m where m.id = source.media_id;
    end if;
    if picture.id is not null then
        if picture.purpose <> wanted.purpose then
            perform private.fail('upload_taken', picture.purpose);
        end if;
        return picture;
    end if;
    if upload is null or source.object_id is not null then
        perform private.fail('upload_not_found', left(create_media.path, 1024));
    end if;
    select * into limits from private.settings as s;
    if (select count(*) from public.media as m where m.owner_id = member and m.status = 'pending')
        >= limits.pictures_pending_per_member then
        perform private.fail('too_many_pictures', limits.pictures_pending_per_member::text);
    end if;
    insert into public.media (owner_id, purpose, bucket, expires_at)
    values (member, wanted.purpose, wanted.bucket, now() + limits.unused_pictures_period)
    returning * into picture;
    insert into private.media_sources (object_id, media_id, owner_id, path)
    values (upload, picture.id, member, create_media.path);
    perform private.enqueue('process_media', jsonb_build_object('media_id', picture.id), queue => 'slow');
    return picture;
end
$$;
comment on function public.create_media(text, text) is
'Makes a picture of the caller''s own upload, <own id>/… in the bucket uploads, for a purpose: avatar, banner, '
'artwork, product, article or photo_input. The row is pending until the workers have looked. The same upload '
'again answers the same row. Errors: upload_not_found, unknown_purpose, upload_taken, too_many_pictures.';
grant execute on function public.create_media(text, text) to authenticated;

create function public.delete_media(media_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    perform from public.media as m where m.id = delete_media.media_id and m.owner_id = member for update;
    if not found then
        perform private.fail('media_not_found', delete_media.media_id::text);
    end if;
    -- What was worked on, or made, is its owner's to delete once its job is over.
    if exists (select from private.used_media(array[delete_media.media_id])) and (
        exists (
            select from public.media as m
            inner join private.media_purposes as p on p.purpose = m.purpose and p.is_public
            where m.id = delete_media.media_id
        )
        or private.is_worked_on(delete_media.media_id)
    ) then
        perform private.fail('media_in_use', delete_media.media_id::text);
    end if;
    delete from public.media as m where m.id = delete_media.media_id;
end
$$;
comment on function public.delete_media(uuid) is
'Deletes one of the caller''s own pictures that nothing shows and no open photo job needs; its files go within '
'minutes. Errors: media_not_found, media_in_use.';
grant execute on function public.delete_media(uuid) to authenticated;

create function private.alike_media(media_id uuid) returns table (alike_id uuid, distance integer)
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    perform private.require_member();
    if not exists (
        select from public.media as m where m.id = alike_media.media_id and m.owner_id = private.member_id()
    ) then
        perform private.fail('media_not_found', alike_media.media_id::text);
    end if;
    return query
    select o.media_id, min(bit_count(o.fingerprint # f.fingerprint))::integer
    from private.media_fingerprints as f
    inner join private.media_fingerprints as o
        on (o.band_1 = f.band_1 or o.band_2 = f.band_2 or o.band_3 = f.band_3 or o.band_4 = f.band_4)
    where
        f.media_id = alike_media.media_id and f.ground <> 'mirrored' and o.media_id <> f.media_id
        and (o.ground = f.ground or f.ground = 'white' and o.ground = 'mirrored')
        and bit_count(o.fingerprint # f.fingerprint) <= 3
    group by o.media_id;
end
$$;
comment on function private.alike_media(uuid) is
'Pictures, anybody''s, that look like one of the caller''s own.';
grant execute on function private.alike_media(uuid) to authenticated;

-- SECURITY INVOKER on purpose: of others only what the caller may see by the policies of what shows it.
create function public.similar_media(media_id uuid) returns table (similar_id uuid, distance integer)
language sql
stable
set search_path = ''
as $$
    select m.id, a.distance
    from private.alike_media(similar_media.media_id) as a
    inner join public.media as m on m.id = a.alike_id and m.owner_id = (select private.member_id())
    union all
    select null, min(a.distance)
    from private.alike_media(similar_media.media_id) as a
    inner join public.media as m
        on m.id = a.alike_id and m.owner_id <> (select private.member_id()) and m.status = 'ready'
            and private.shows_media(m.id, m.purpose)
    having count(*) > 0
    order by 2, 1
$$;
comment on function public.similar_media(uuid) is
'A warning, nothing is refused: what looks like one of the caller''s own pictures, mirrored or not, with how many of '
'64 bits differ (at most 3). The caller''s own by similar_id; one row without it says that somebody else shows such a '
'picture. Error: media_not_found.';
grant execute on function public.similar_media(uuid) to authenticated;

-- Workers.

create function private.media_to_process(media_id uuid)
returns table (path text, size_bytes bigint, bucket text, sizes text[], is_public boolean)
language sql
stable
security definer
set search_path = ''
as $$
    select s.path, (o.metadata ->> 'size')::bigint, p.bucket, p.sizes, p.is_public
    from public.media as m
    inner join private.media_purposes as p on p.purpose = m.purpose
    inner join private.media_sources as s on s.media_id = m.id
    left join storage.objects as o on o.bucket_id = 'uploads' and o.name = s.path and o.id = s.object_id
    where m.id = media_to_process.media_id and m.status = 'pending'
$$;
comment on function private.media_to_process(uuid) is
'The upload of a pending picture, and which copies it gets where; none for others.';
grant execute on function private.media_to_process(uuid) to avenue_worker;

create function private.media_purpose(purpose text) returns table (bucket text, sizes text[], is_public boolean)
language sql
stable
security definer
set search_path = ''
as $$
    select p.bucket, p.sizes, p.is_public from private.media_purposes as p where p.purpose = media_purpose.purpose
$$;
comment on function private.media_purpose(text) is 'Which copies pictures of a purpose get, and where they go.';
grant execute on function private.media_purpose(text) to avenue_worker;

create function private.keep_fingerprints(media_id uuid, picture jsonb) returns void
language sql
security definer
set search_path = ''
as $$
    insert into private.media_fingerprints (media_id, ground, fingerprint)
    select keep_fingerprints.media_id, f.key, f.value::bit(64)
    from jsonb_each_text(picture -> 'fingerprints') as f
$$;
comment on function private.keep_fingerprints(uuid, jsonb) is 'Notes what a picture looks like.';

create function private.media_ready(media_id uuid, picture jsonb) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    made public.media;
begin
    select * into made from public.media as m where m.id = media_ready.media_id;
    perform private.hold_media_users(made);
    update public.media as m set
        status = 'ready', ready_at = now(), content_type = picture ->> 'content_type',
        width = (picture ->> 'width')::integer, height = (picture ->> 'height')::integer, color = picture ->> 'color',
        is_animated = (picture ->> 'is_animated')::boolean, derivatives = picture -> 'derivatives'
    where m.id = media_ready.media_id and m.status = 'pending'
    returning * into made;
    if not found then
        return false;
    end if;
    perform private.keep_fingerprints(made.id, picture);
    perform private.show_media(made);
    return true;
end
$$;
comment on function private.media_ready(uuid, jsonb) is
'The copies of a pending picture are stored: it is ready, and so is what shows it. False when it is not pending, then '
'these copies are nobody''s.';
grant execute on function private.media_ready(uuid, jsonb) to avenue_worker;

create function private.media_failed(media_id uuid, failure text) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    picture public.media;
begin
    select * into picture from public.media as m where m.id = media_failed.media_id;
    perform private.hold_media_users(picture);
    update public.media as m set status = 'failed', failure = media_failed.failure::public.media_failure
    where m.id = media_failed.media_id and m.status = 'pending';
    return found;
end
$$;
comment on function private.media_failed(uuid, text) is
'A pending picture gave none, and never will. False when it is not pending.';
grant execute on function private.media_failed(uuid, text) to avenue_worker;

create function private.publish_media(owner_id uuid, purpose text, media_id uuid, picture jsonb) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- An account that ends just now finds it and erases it.
    perform from public.profiles as p where p.id = publish_media.owner_id and p.deleted_at is null for share;
    if not found then
        perform private.fail('user_not_found', publish_media.owner_id::text);
    end if;
    insert into public.media (
        id, owner_id, purpose, status, ready_at, bucket, content_type, width, height, color, is_animated, derivatives,
        expires_at
    )
    select
        publish_media.media_id, publish_media.owner_id, p.purpose, 'ready', now(), p.bucket,
        picture ->> 'content_type', (picture ->> 'width')::integer, (picture ->> 'height')::integer,
        picture ->> 'color', (picture ->> 'is_animated')::boolean, picture -> 'derivatives',
        -- Whoever asked for it may die before it says so.
        case when not p.is_public then now() + interval '1 day' end
    from private.media_purposes as p
    where p.purpose = publish_media.purpose;
    if not found then
        perform private.fail('unknown_purpose', publish_media.purpose);
    end if;
    perform private.keep_fingerprints(publish_media.media_id, picture);
    return publish_media.media_id;
end
$$;
comment on function private.publish_media(uuid, text, uuid, jsonb) is
'A picture the server itself has, whose copies are stored: its id. A private one is kept for a day, unless whoever '
'asked for it says until when. Errors: user_not_found, unknown_purpose.';
grant execute on function private.publish_media(uuid, text, uuid, jsonb) to avenue_worker;

create function private.pending_media(max_rows integer) returns table (media_id uuid, is_last_try boolean)
language sql
stable
security definer
set search_path = ''
as $$
    select m.id, m.created_at < now() - interval '2 days' from public.media as m
    where m.status = 'pending' and m.created_at < now() - interval '10 minutes'
    order by m.created_at
    limit max_rows
$$;
comment on function private.pending_media(integer) is
'Pictures that have been waiting for long: their job was lost, or is tried again. After two days for the last time.';
grant execute on function private.pending_media(integer) to avenue_worker;

create function private.expire_media(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select m.id from public.media as m
        where m.expires_at <= now()
        order by m.expires_at
        limit max_rows
        for update skip locked
    );
    used uuid [] := array(
        select u.id from private.used_media(chosen) as u (id)
        inner join public.media as m on m.id = u.id
        inner join private.media_purposes as p on p.purpose = m.purpose and p.is_public
    );
begin
    -- Private ones have their time, whatever still refers to them.
    update public.media as m set expires_at = null where m.id = any (used);
    delete from public.media as m where m.id = any (chosen) and m.id <> all (used);
    return cardinality(chosen);
end
$$;
comment on function private.expire_media(integer) is
'Deletes pictures whose time has come, at most max_rows, and keeps the public ones that something shows; how many were '
'looked at.';
grant execute on function private.expire_media(integer) to avenue_worker;

create function private.authorize_media(media_id uuid, name text, user_id uuid) returns table (bucket text, path text)
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    perform private.require_active(authorize_media.user_id);
    return query
    select m.bucket, m.derivatives -> authorize_media.name ->> 'path'
    from public.media as m
    where
        m.id = authorize_media.media_id and m.owner_id = authorize_media.user_id
        and m.derivatives ? authorize_media.name;
    if not found then
        -- Also for what is somebody else's: it does not exist for them.
        perform private.fail('media_not_found', authorize_media.media_id::text);
    end if;
end
$$;
comment on function private.authorize_media(uuid, text, uuid) is
'Where a copy of one of the user''s own pictures is stored. Errors: media_not_found (404), not_signed_in, banned.';
grant execute on function private.authorize_media(uuid, text, uuid) to avenue_worker;

-- Files. Storage's own API alone deletes them; what goes is found by what is there, so nothing that was interrupted is
-- forgotten.

create function private.is_taken_upload(path text) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from private.media_sources as s
        inner join public.media as m on m.id = s.media_id
        where s.path = is_taken_upload.path and m.status = 'pending'
    )
$$;
comment on function private.is_taken_upload(text) is
'Whether the workers are about to make a picture of this upload, which therefore stays as it is.';

create function private.media_files_to_erase(media_ids uuid[], max_rows integer)
returns table (bucket text, path text)
language plpgsql
stable
security definer
set plan_cache_mode = force_custom_plan
set search_path = ''
as $$
declare
    one uuid;
begin
    foreach one in array media_ids loop
        return query
        select o.bucket_id, o.name from storage.objects as o
        where
            o.name like one::text || '/%' and o.bucket_id in (select p.bucket from private.media_purposes as p)
            and not exists (
                select from public.media as m
                where
                    m.id = one
                    and (m.status = 'pending' or jsonb_path_exists(
                        m.derivatives, '$.*.path ? (@ == $name)', jsonb_build_object('name', o.name)
                    ))
            )
        limit max_rows;
    end loop;
end
$$;
comment on function private.media_files_to_erase(uuid[], integer) is
'Stored copies of these pictures that are not, or no longer, theirs; none of a pending one.';
grant execute on function private.media_files_to_erase(uuid[], integer) to avenue_worker;

create function private.stray_media_files(max_rows integer) returns table (bucket text, path text)
language sql
stable
security definer
set search_path = ''
as $$
    select o.bucket_id, o.name from storage.objects as o
    where
        o.bucket_id in (select p.bucket from private.media_purposes as p)
        -- Copies are stored before the row that names them.
        and o.created_at < now() - interval '1 hour'
        and not exists (
            select from public.media as m
            where
                m.id = case
                    when private.is_uuid(split_part(o.name, '/', 1)) then split_part(o.name, '/', 1)::uuid
                end
                and (m.status = 'pending' or jsonb_path_exists(
                    m.derivatives, '$.*.path ? (@ == $name)', jsonb_build_object('name', o.name)
                ))
        )
    limit max_rows
$$;
comment on function private.stray_media_files(integer) is
'Stored copies no picture names: somebody was interrupted.';
grant execute on function private.stray_media_files(integer) to avenue_worker;

create function private.uploads_to_erase(max_rows integer) returns table (bucket text, path text)
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from private.media_sources as s
    where
        s.media_id is null
        and not exists (select from storage.objects as o where o.bucket_id = 'uploads' and o.id = s.object_id);
    return query
    select o.bucket_id, o.name
    from storage.objects as o
    left join private.media_sources as s on s.object_id = o.id
    left join public.media as m on m.id = s.media_id
    where
        o.bucket_id = 'uploads'
        and case
            when s.object_id is null
                then o.created_at < now() - (select t.unused_pictures_period from private.settings as t)
            else m.status is distinct from 'pending'
        end
    limit max_rows;
end
$$;
comment on function private.uploads_to_erase(integer) is
'Uploads that were used, whose picture was deleted, or that nobody made anything of for long.';
grant execute on function private.uploads_to_erase(integer) to avenue_worker;

create function private.erase_files_of_media() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if exists (select from gone) then
        perform private.enqueue(
            'erase_media_files', jsonb_build_object('media_ids', (select jsonb_agg(g.id) from gone as g))
        );
    end if;
    return null;
end
$$;
comment on function private.erase_files_of_media() is 'Trigger on media: the files of deleted pictures go, too.';
create trigger erase_files_of_media after delete on public.media referencing old table as gone
for each statement execute function private.erase_files_of_media();

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('media', 'traces', '{public.media, private.media_fingerprints}', 'delete from public.media where owner_id = $1',
    'select private.erase_rows(''public.media'', ''t.owner_id = $1'', $1, $2)'),
('media_sources', 'details', '{private.media_sources}', 'delete from private.media_sources where owner_id = $1',
    'select private.erase_rows(''private.media_sources'', ''t.owner_id = $1'', $1, $2)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('media', 'public.media', 't.owner_id = $1', '{}', null),
('media_fingerprints', 'private.media_fingerprints',
    't.media_id in (select m.id from public.media as m where m.owner_id = $1)', '{}', null),
('media_sources', 'private.media_sources', 't.owner_id = $1', '{}', null);

insert into private.error_codes (code, sqlstate, message, description) values
('upload_not_found', 'PT404', 'This upload does not exist.',
'Upload to the bucket uploads under your own id first; the detail is the path that was looked for.'),
('upload_taken', 'PT409', 'This upload was used for something else.',
'A picture was made of it for another purpose, which the detail names. Upload it again.'),
('unknown_purpose', 'PT400', 'Pictures are not made for this.',
'The purpose is none, or one whose pictures the server makes.'),
('too_many_pictures', 'PT409', 'Too many of your pictures are waiting.',
'The detail says how many may wait. Try again when some are ready.'),
('media_not_found', 'PT404', 'This picture does not exist.',
'None with that id, or not the caller''s own, or made for another purpose.'),
('media_failed', 'PT409', 'This file gave no picture.',
'The detail says why: unreadable, too_large, unsupported_format or missing. Upload another one.'),
('media_in_use', 'PT409', 'This picture is shown somewhere.', 'Take it away there first.');

-- Profiles.
select private.make_media_column(
    'public.profiles', 'avatar_media_id', 'avatar', 'id', '{"avatar_url": "small"}'
);
select private.make_media_column(
    'public.profiles', 'banner_media_id', 'banner', 'id', '{"banner_url": "large"}'
);
