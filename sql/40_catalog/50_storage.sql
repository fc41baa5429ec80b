-- Stored files. Public buckets are served to everybody by address; writing is for members, in the folder that carries
-- their id. product-files, attachments, deliveries and uploads are private: what an item, a message, a service order
-- or a picture that is being made refers to neither changes nor goes. Copies of pictures are the workers' alone
-- (30_media). Policies ask when a request begins; the trigger guard_object asks again when its row is written, which
-- may be much later (a slow upload, a signed upload link) and by Storage's own role.

-- No SVG, HTML, XML, PDF or script: those run in the reader's browser, at an address that is the platform's.
create function private.is_passive_type(mimetype text) returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(lower(mimetype) in (
        'image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif',
        'audio/mpeg', 'audio/mp4', 'audio/aac', 'audio/ogg', 'audio/wav', 'audio/x-wav', 'audio/flac', 'audio/webm',
        'video/mp4', 'video/webm', 'video/quicktime'
    ), false)
$$;
comment on function private.is_passive_type(text) is
'Whether a media type may be in a public bucket, whatever the bucket''s own setting says: pictures, sound and films.';

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
(
    'avatars', 'avatars', true, 5242880,
    array['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif']
),
(
    'banners', 'banners', true, 10485760,
    array['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif']
),
(
    'media', 'media', true, 52428800,
    array[
        'image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif',
        'audio/mpeg', 'audio/mp4', 'audio/aac', 'audio/ogg', 'audio/wav', 'audio/x-wav', 'audio/flac', 'audio/webm',
        'video/mp4', 'video/webm', 'video/quicktime'
    ]
),
(
    'product-files', 'product-files', false, 1073741824,
    array[
        'application/octet-stream', 'application/zip', 'application/x-zip-compressed', 'application/gzip',
        'application/x-tar', 'application/x-7z-compressed', 'application/vnd.rar', 'application/x-rar-compressed',
        'application/pdf', 'application/epub+zip', 'application/json', 'application/xml', 'text/plain', 'text/csv',
        'text/markdown',
        'image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif', 'image/tiff', 'image/vnd.adobe.photoshop',
        'audio/mpeg', 'audio/mp4', 'audio/aac', 'audio/ogg', 'audio/wav', 'audio/x-wav', 'audio/vnd.wave', 'audio/flac',
        'audio/x-flac', 'audio/aiff', 'audio/x-aiff', 'audio/midi', 'audio/x-midi', 'audio/webm',
        'video/mp4', 'video/webm', 'video/quicktime', 'video/x-matroska',
        'font/otf', 'font/ttf', 'font/woff', 'font/woff2'
    ]
),
(
    'attachments', 'attachments', false, 26214400,
    array[
        'application/zip', 'application/pdf', 'text/plain', 'text/csv', 'text/markdown',
        'image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif',
        'audio/mpeg', 'audio/mp4', 'audio/aac', 'audio/ogg', 'audio/wav', 'audio/x-wav', 'audio/flac', 'audio/midi',
        'audio/webm', 'video/mp4', 'video/webm', 'video/quicktime'
    ]
);

create function private.is_own_path(name text) returns boolean
language sql
stable
set search_path = ''
as $$
    -- '..' and empty parts mean nothing to the database but might to whatever stores the bytes.
    select
        (storage.foldername(name))[1] = (select private.member_id())::text
        and name !~ '(^|/)(\.{1,2})?(/|$)' and name !~ '[[:cntrl:]\\]'
$$;
comment on function private.is_own_path(text) is
'Whether an object''s name lies in the calling member''s folder; false for banned users and for tricky paths.';
grant execute on function private.is_own_path(text) to authenticated;

create function private.bucket_takes(bucket_id text, metadata jsonb) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select
        -- The request that signs an upload link has a body of its own; the upload itself comes back here.
        coalesce(storage.operation(), '') = 'storage.object.sign_upload_url'
        -- An older Storage says nothing of the object until it is written.
        or bucket_takes.metadata is null
        or exists (
            select
            from storage.buckets as b
            cross join lower(btrim(split_part(bucket_takes.metadata ->> 'mimetype', ';', 1))) as t (mimetype)
            where
                b.id = bucket_takes.bucket_id
                and coalesce(
                    bucket_takes.metadata ->> 'size', bucket_takes.metadata ->> 'contentLength', '0'
                )::bigint <= coalesce(b.file_size_limit, 9223372036854775807)
                and (b.allowed_mime_types is null or t.mimetype = any(b.allowed_mime_types))
                and (not b.public or private.is_passive_type(t.mimetype))
        )
$$;
comment on function private.bucket_takes(text, jsonb) is
'Whether an object of this size and media type may be in the bucket. Storage itself compares uploads only, not what is '
'copied or moved there.';
grant execute on function private.bucket_takes(text, jsonb) to authenticated;

create function private.may_download_object(path text, version text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.product_files as f
        where
            f.path = may_download_object.path
            and f.object_version is not distinct from may_download_object.version
            and f.taken_down_at is null
            and coalesce(f.removed_at, 'infinity') >= private.ordered_at(private.member_id(), f.item_id)
    );
end
$$;
comment on function private.may_download_object(text, text) is
'Whether the stored object is, in this version, a file of something the calling member bought.';
grant execute on function private.may_download_object(text, text) to authenticated;

-- Messages come on a later page; plpgsql binds late.
create function private.may_attach(name text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return cardinality(storage.foldername(name)) = 2 and exists (
        select from public.conversation_participants as p
        where p.user_id = private.member_id() and p.conversation_id::text = (storage.foldername(name))[2]
    );
end
$$;
comment on function private.may_attach(text) is
'Whether an object''s name, <own id>/<conversation>/<name>, is in the folder of a conversation the caller is in.';
grant execute on function private.may_attach(text) to authenticated;

create function private.may_read_attachment(name text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        with sent as materialized (
            select m.id from public.messages as m
            where cardinality(m.attachments) > 0 and m.attachments @> array[may_read_attachment.name]
        )
        select from sent as s
        inner join private.readable_messages as r on r.id = s.id
        where r.viewer_id = private.member_id()
    );
end
$$;
comment on function private.may_read_attachment(text) is
'Whether the stored object was sent in a message the caller may read now.';
grant execute on function private.may_read_attachment(text) to authenticated;

create function private.is_sent_attachment(name text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.messages as m
        where cardinality(m.attachments) > 0 and m.attachments @> array[is_sent_attachment.name]
    );
end
$$;
comment on function private.is_sent_attachment(text) is 'Whether a message refers to the stored object.';

-- What goes between the two sides of a service order, which come on a later page; plpgsql binds late.
create function private.delivery_order(name text) returns uuid
language plpgsql
immutable
set search_path = ''
as $$
declare
    part text := (storage.foldername(name))[2];
begin
    return case when cardinality(storage.foldername(name)) = 2 and private.is_uuid(part) then part::uuid end;
end
$$;
comment on function private.delivery_order(text) is
'The service order that an object''s name, <own id>/<service order>/<name>, is about; null for other names.';

create function private.may_deliver(name text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.service_orders as o
        where o.id = private.delivery_order(name) and private.member_id() in (o.buyer_id, o.seller_id) and o.is_open
    );
end
$$;
comment on function private.may_deliver(text) is
'Whether an object''s name is in the folder of an open service order of the caller''s.';
grant execute on function private.may_deliver(text) to authenticated;

create function private.is_delivered(name text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.service_orders as o
        where
            o.id = private.delivery_order(name)
            and (
                name = any (o.requirement_files)
                or exists (
                    select from public.service_deliveries as d
                    where d.service_order_id = o.id and is_delivered.name = any (d.files)
                )
            )
    );
end
$$;
comment on function private.is_delivered(text) is 'Whether a service order refers to the stored object.';

create function private.may_read_delivery(name text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.service_orders as o
        where
            o.id = private.delivery_order(name)
            and (
                o.seller_id = private.member_id()
                or o.buyer_id = private.member_id()
                -- A payment that was taken back takes the delivery with it.
                and exists (
                    select from public.purchases as p
                    where p.order_item_id = o.order_item_id and p.revoked_at is null
                )
                or o.status = 'disputed' and private.is_admin()
            )
    )
    and private.is_delivered(name);
end
$$;
comment on function private.may_read_delivery(text) is
'Whether the stored object is a file of the caller''s service order: both sides, the buyer while the purchase stands, '
'an admin during a dispute.';
grant execute on function private.may_read_delivery(text) to authenticated;

-- Messages come on a later page; plpgsql binds late.
create function private.is_pinned(bucket_id text, name text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return case is_pinned.bucket_id
        when 'product-files' then exists (
            select from public.product_files as f where f.path = is_pinned.name and f.taken_down_at is null
        )
        when 'attachments' then private.is_sent_attachment(is_pinned.name)
        when 'deliveries' then private.is_delivered(is_pinned.name)
        when 'uploads' then private.is_taken_upload(is_pinned.name)
        else false
    end;
end
$$;
comment on function private.is_pinned(text, text) is
'Whether an item, a message, a service order or a pending picture refers to the stored object, which therefore stays '
'as it is.';
grant execute on function private.is_pinned(text, text) to authenticated;

create function private.reads_or_lists() returns boolean
language sql
stable
set search_path = ''
as $$
    select coalesce(storage.operation(), '') in (
        'storage.object.get_authenticated', 'storage.object.info_authenticated', 'object.get_authenticated_info',
        'object.head_authenticated_info', 'storage.render.image_authenticated', 'storage.s3.object.get',
        'storage.s3.object.info', 'storage.object.list', 'storage.object.list_v2', 'storage.s3.object.list'
    )
$$;
comment on function private.reads_or_lists() is
'Whether Storage asks for a request that reads or lists with the caller''s own token: each such request is asked anew. '
'A signed link or a copy would outlive the right to read.';
grant execute on function private.reads_or_lists() to authenticated;

-- Of private buckets nobody signs links, not even to one's own files: downloads/{item_id} does, for minutes. Reading
-- public buckets by address needs no policy, and without one nobody can list strangers' files.
create policy avenue_objects_select on storage.objects for select to authenticated
using (
    bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments', 'deliveries', 'uploads')
    and (
        private.is_own_path(name)
        and (
            bucket_id in ('avatars', 'banners', 'media')
            or coalesce(storage.operation(), '') not in ('storage.object.sign', 'storage.object.sign_many')
        )
        or private.reads_or_lists()
        and (
            bucket_id = 'product-files' and private.may_download_object(name, version)
            or bucket_id = 'attachments' and private.may_read_attachment(name)
            or bucket_id = 'deliveries' and private.may_read_delivery(name)
        )
    )
);
create policy avenue_objects_insert on storage.objects for insert to authenticated
with check (
    bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments', 'deliveries', 'uploads')
    and private.is_own_path(name)
    and private.bucket_takes(bucket_id, metadata)
    and (bucket_id <> 'attachments' or private.may_attach(name))
    and (bucket_id <> 'deliveries' or private.may_deliver(name))
);
create policy avenue_objects_update on storage.objects for update to authenticated
using (bucket_id in ('avatars', 'banners', 'media') and private.is_own_path(name))
with check (
    bucket_id in ('avatars', 'banners', 'media') and private.is_own_path(name)
    and private.bucket_takes(bucket_id, metadata)
);
create policy avenue_objects_delete on storage.objects for delete to authenticated
using (
    bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments', 'deliveries', 'uploads')
    and private.is_own_path(name)
    and not private.is_pinned(bucket_id, name)
);

create function private.guard_object() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'DELETE' then
        if private.is_pinned(old.bucket_id, old.name) then
            -- Skipped, so that the rest of a batch goes.
            return null;
        end if;
        return old;
    end if;
    if tg_op = 'UPDATE' and private.is_pinned(old.bucket_id, old.name)
        and (
            new.bucket_id, new.name, new.version, new.metadata -> 'eTag', new.metadata -> 'size',
            new.metadata -> 'mimetype'
        ) is distinct from (
            old.bucket_id, old.name, old.version, old.metadata -> 'eTag', old.metadata -> 'size',
            old.metadata -> 'mimetype'
        )
    then
        -- An error, not a skipped row: Storage then drops the new bytes and keeps the old ones.
        raise insufficient_privilege using message = 'This file was sold, sent or taken and does not change.';
    end if;
    -- A member's, whoever writes the row.
    if new.owner_id is not null
        and new.bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments', 'deliveries', 'uploads')
    then
        -- Held until the row is there: an account that ends just now finds the file and erases it.
        perform from public.profiles as p
        where
            p.id = case when private.is_uuid(new.owner_id) then new.owner_id::uuid end
            and p.deleted_at is null and not p.is_banned
        for share;
        if not found then
            raise insufficient_privilege using message = 'This account does not store files.';
        elsif not private.bucket_takes(new.bucket_id, new.metadata) then
            raise insufficient_privilege using message = 'This bucket does not take files of this size or type.';
        end if;
    end if;
    return new;
end
$$;
comment on function private.guard_object() is
'Trigger on storage.objects: what was sold or sent keeps its version, and the rules for members hold also when Storage '
'itself writes the row at the end of an upload, a copy or a move.';

create trigger avenue_guard_object
before insert or delete or update of bucket_id, name, version, owner_id, metadata on storage.objects
for each row execute function private.guard_object();

create function private.authorize_download(item_id uuid, user_id uuid)
returns table (bucket text, path text, name text, size_bytes bigint, content_type text)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    item public.catalog_items;
    since timestamptz;
begin
    perform private.require_active(authorize_download.user_id);
    select * into item from public.catalog_items as c where c.id = authorize_download.item_id;
    if item.id is null then
        perform private.fail('item_not_found', authorize_download.item_id::text);
    end if;
    -- Who sells it and admins get what earlier buyers keep, too.
    since := case
        when
            item.seller_id = authorize_download.user_id
            or exists (
                select from public.profiles as p
                where p.id = authorize_download.user_id and p.role >= 'admin'
            ) then '-infinity'
        else private.ordered_at(authorize_download.user_id, item.id)
    end;
    if since is null then
        -- What a stranger may not see does not exist for them.
        perform private.fail(
            case
                when item.is_visible and private.is_visible_to(item.seller_id, authorize_download.user_id)
                    then 'not_entitled'
                else 'item_not_found'
            end,
            authorize_download.item_id::text
        );
    end if;
    return query
    select
        'product-files', case when o.version is not distinct from f.object_version then f.path end, f.name,
        f.size_bytes, f.content_type
    from public.product_files as f
    left join storage.objects as o on o.bucket_id = 'product-files' and o.name = f.path
    where
        (f.product_id = item.id or f.artwork_id = item.id)
        and f.taken_down_at is null and coalesce(f.removed_at, 'infinity') >= since
    order by f.position, f.created_at, f.name, f.id;
end
$$;
comment on function private.authorize_download(uuid, uuid) is
'The stored files of an item for its seller, a buyer holding an entitlement, or an admin; none for items without '
'files, no path for an object that is gone or another one than was added. Others '
'fail with not_entitled (403), or item_not_found (404) when they may not even see the item.';
grant execute on function private.authorize_download(uuid, uuid) to avenue_worker;

-- Account deletion, the workers' part: files live in an object store that only its own API may delete from.
create function private.user_files_to_erase(user_id uuid, max_rows integer default 1000)
returns table (bucket text, path text)
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (
        select from private.file_erasures as e where e.user_id = user_files_to_erase.user_id
    ) then
        -- Only what a deletion asked for is ever erased, whatever a job says.
        return;
    end if;
    -- Buyers keep what they bought; nothing else is needed any more.
    delete from public.product_files as f
    using public.catalog_items as c
    where
        c.seller_id = user_files_to_erase.user_id and c.id = f.item_id and not private.item_has_orders(c.id);
    return query
    select o.bucket_id, o.name
    from storage.objects as o
    where
        o.name like user_files_to_erase.user_id::text || '/%'
        and not private.is_pinned(o.bucket_id, o.name)
    order by o.bucket_id, o.name
    limit max_rows;
    if not found then
        update private.file_erasures as e set completed_at = now()
        where e.user_id = user_files_to_erase.user_id and e.completed_at is null;
    end if;
end
$$;
comment on function private.user_files_to_erase(uuid, integer) is
'Next stored objects of a deleted account to erase; none for other accounts. Call until empty, which closes the '
'erasure. Files of items that were ordered stay for their buyers.';
grant execute on function private.user_files_to_erase(uuid, integer) to avenue_worker;

create function private.file_erasures_due(max_rows integer) returns table (user_id uuid)
language sql
stable
security definer
set search_path = ''
as $$
    select e.user_id from private.file_erasures as e
    where e.completed_at is null
    order by e.requested_at
    limit max_rows
$$;
comment on function private.file_erasures_due(integer) is
'Deleted accounts whose files are not erased yet: what the workers'' sweep picks up.';
grant execute on function private.file_erasures_due(integer) to avenue_worker;

create function private.unsent_attachments(max_rows integer default 1000) returns table (bucket text, path text)
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return query
    select o.bucket_id, o.name
    from storage.objects as o
    where
        o.bucket_id = 'attachments' and o.created_at < now() - interval '1 day'
        and not private.is_sent_attachment(o.name)
    order by o.name
    limit max_rows;
end
$$;
comment on function private.unsent_attachments(integer) is
'Stored attachments, a day old, that no message refers to: never sent, or their message was deleted for everyone.';
grant execute on function private.unsent_attachments(integer) to avenue_worker;

insert into private.personal_data (section, relation, condition) values
('files', 'storage.objects', 't.name like $1::text || ''/%''');

insert into private.error_codes (code, sqlstate, message, description) values
('not_entitled', 'PT403', 'You have not bought this item.',
'Downloads are for buyers whose purchase was not refunded.');
