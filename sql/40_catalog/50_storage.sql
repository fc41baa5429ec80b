-- Stored files. Public buckets are served to everybody by address; writing is for members, in the folder that carries
-- their id. product-files and attachments are private: their objects are never overwritten, and leave only when no
-- product and no message needs them.

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
    -- No SVG, HTML or script anywhere public: those run in the reader's browser.
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
)
on conflict (id) do update set
public = excluded.public, file_size_limit = excluded.file_size_limit,
allowed_mime_types = excluded.allowed_mime_types;

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

create function private.is_product_file(path text) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (select from public.product_files as f where f.path = is_product_file.path)
$$;
comment on function private.is_product_file(text) is 'Whether a row of product_files refers to the stored object.';
grant execute on function private.is_product_file(text) to authenticated;

create function private.has_bought_file(path text) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.product_files as f
        where f.path = has_bought_file.path and private.owns_item(private.member_id(), f.product_id)
    );
end
$$;
comment on function private.has_bought_file(text) is
'Whether the calling member holds an entitlement to the product the stored object belongs to.';
grant execute on function private.has_bought_file(text) to authenticated;

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
grant execute on function private.is_sent_attachment(text) to authenticated;

-- Listing and signed addresses: one's own folder everywhere, of product-files what one bought, of attachments what one
-- was sent. Reading public buckets by address needs no policy, and without one nobody can list strangers' files.
create policy avenue_objects_select on storage.objects for select to authenticated
using (
    bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments')
    and (
        private.is_own_path(name)
        or (bucket_id = 'product-files' and private.has_bought_file(name))
        or (bucket_id = 'attachments' and private.may_read_attachment(name))
    )
);
create policy avenue_objects_insert on storage.objects for insert to authenticated
with check (
    bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments')
    and private.is_own_path(name)
    and (bucket_id <> 'attachments' or private.may_attach(name))
);
create policy avenue_objects_update on storage.objects for update to authenticated
using (bucket_id in ('avatars', 'banners', 'media') and private.is_own_path(name))
with check (bucket_id in ('avatars', 'banners', 'media') and private.is_own_path(name));
create policy avenue_objects_delete on storage.objects for delete to authenticated
using (
    bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments')
    and private.is_own_path(name)
    and not (bucket_id = 'product-files' and private.is_product_file(name))
    and not (bucket_id = 'attachments' and private.is_sent_attachment(name))
);

create function private.authorize_download(item_id uuid, user_id uuid)
returns table (bucket text, path text, name text, size_bytes bigint, content_type text)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    item public.catalog_items;
begin
    perform private.require_active(authorize_download.user_id);
    select * into item from public.catalog_items as c where c.id = authorize_download.item_id;
    if item.id is null then
        perform private.fail('item_not_found', authorize_download.item_id::text);
    end if;
    if item.seller_id <> authorize_download.user_id
        and not private.owns_item(authorize_download.user_id, item.id)
        and not exists (
            select from public.profiles as p
            where p.id = authorize_download.user_id and p.role in ('admin', 'super_admin')
        )
    then
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
    select 'product-files', f.path, f.name, f.size_bytes, f.content_type
    from public.product_files as f
    where f.product_id = item.id
    order by f.position, f.name, f.id;
end
$$;
comment on function private.authorize_download(uuid, uuid) is
'The stored files of an item for its seller, a buyer holding an entitlement, or an admin; none for items without '
'files. Others fail with not_entitled (403), or item_not_found (404) when they may not even see the item.';
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
    return query
    select o.bucket_id, o.name
    from storage.objects as o
    where
        o.name like user_files_to_erase.user_id::text || '/%'
        -- Buyers keep what they bought.
        and not (
            o.bucket_id = 'product-files' and exists (
                select from public.product_files as f where f.path = o.name and private.item_has_orders(f.product_id)
            )
        )
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
'erasure. Files of products that were ordered stay for their buyers.';
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
('files', 'storage.objects', 't.name like $1::text || ''/%''')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.error_codes (code, sqlstate, message, description) values
('not_entitled', 'PT403', 'You have not bought this item.', 'Downloads are for buyers whose purchase was not refunded.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
