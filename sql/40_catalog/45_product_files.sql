-- What buyers get, with a product or a digital artwork. A row points at an object of the private bucket product-files
-- under the seller's folder and remembers its version: that object neither changes nor goes while the row is there. The
-- seller replaces a file by another one; the old one stays for those who ordered before.

create table public.product_files (
    id uuid not null default gen_random_uuid(),
    product_id uuid,
    artwork_id uuid,
    item_id uuid not null generated always as (coalesce(product_id, artwork_id)) stored,
    path text not null,
    name text not null default '',
    size_bytes bigint not null default 0,
    content_type text not null default '',
    object_version text,
    position integer not null default 0,
    removed_at timestamptz,
    taken_down_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint product_files_pkey primary key (id),
    constraint product_files_path_key unique (path),
    constraint product_files_product_id_fkey foreign key (product_id) references public.products (id) on delete cascade,
    constraint product_files_artwork_id_fkey foreign key (artwork_id) references public.artworks (id) on delete cascade,
    constraint product_files_item_check check (num_nonnulls(product_id, artwork_id) = 1),
    constraint product_files_path_check check (char_length(path) <= 1024),
    constraint product_files_name_check check (char_length(name) between 1 and 255 and name !~ '[/\\]'),
    constraint product_files_size_bytes_check check (size_bytes >= 0),
    constraint product_files_position_check check (position between 0 and 1000),
    constraint product_files_taken_down_at_check check (taken_down_at is null or removed_at is not null)
);

create index product_files_product_id_position_idx on public.product_files (product_id, position);
create index product_files_artwork_id_position_idx on public.product_files (artwork_id, position);

-- What a client that breaks these is told, see error_catalog().
comment on constraint product_files_item_check on public.product_files is
'item_not_found: A file belongs to one product or artwork.';
comment on constraint product_files_name_check on public.product_files is
'invalid_name: A file name has 1 to 255 characters and no slashes.';
comment on constraint product_files_path_check on public.product_files is
'invalid_path: A path has at most 1,024 characters.';
comment on constraint product_files_position_check on public.product_files is
'invalid_position: A position is from 0 to 1000.';
comment on constraint product_files_artwork_id_fkey on public.product_files is
'item_not_found: There is no such artwork.';
comment on constraint product_files_product_id_fkey on public.product_files is
'item_not_found: There is no such product.';
comment on constraint product_files_path_key on public.product_files is 'already_done: The file is listed already.';

comment on table public.product_files is
'Files of a product or a digital artwork, for its seller, its buyers and admins. Downloads go through '
'/functions/v1/downloads/{item_id}.';
comment on column public.product_files.product_id is 'The product; null for an artwork.';
comment on column public.product_files.artwork_id is 'The artwork, of category digital; null for a product.';
comment on column public.product_files.item_id is 'The product or the artwork: the id that catalog_items has.';
comment on column public.product_files.path is 'Object in the bucket product-files, <seller id>/…; uploaded before.';
comment on column public.product_files.name is 'File name for the buyer; the last part of the path when missing.';
comment on column public.product_files.size_bytes is 'Bytes, read from the stored object.';
comment on column public.product_files.content_type is 'Media type, read from the stored object.';
comment on column public.product_files.object_version is
'Version of the stored object when it was added. Nothing else at that path is ever served.';
comment on column public.product_files.position is 'Order among the item''s files, ascending.';
comment on column public.product_files.removed_at is
'When its seller replaced it. Buyers who ordered before that keep it, later ones do not get it.';
comment on column public.product_files.taken_down_at is
'When an admin took it away from everybody, buyers too; written by take_down_file() only.';

create function private.lock_item(product_id uuid, artwork_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- The item's own row first, as every change of an item does. The registry row then waits for checkouts, which hold
    -- its key while they read it.
    perform from public.products as p where p.id = lock_item.product_id for no key update;
    perform from public.artworks as a where a.id = lock_item.artwork_id for no key update;
    perform private.hold_rows(
        'public.catalog_items', 't.id in ($1, $2)', lock_item.product_id, lock_item.artwork_id, 'update'
    );
end
$$;
comment on function private.lock_item(uuid, uuid) is
'Locks a product or an artwork and its registry row against other changes and checkouts.';

create function private.check_product_file() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    item record;
    stored record;
begin
    select p.seller_id, 'digital' as category into item from public.products as p where p.id = new.product_id
    union all
    select a.seller_id, a.category::text from public.artworks as a where a.id = new.artwork_id;
    -- Not the caller's item: the policy refuses the row, and the answer is the same whether the item exists.
    if item.seller_id is null or item.seller_id <> auth.uid() then
        return new;
    end if;
    -- One at a time per item: the sums below and the last-file rule count rows.
    perform private.lock_item(new.product_id, new.artwork_id);
    new.name := coalesce(new.name, private.tidy_name(regexp_replace(new.path, '^.*/', '')));
    if tg_op = 'INSERT' then
        if item.category <> 'digital' then
            perform private.fail('artwork_not_digital', new.artwork_id::text);
        end if;
        if split_part(new.path, '/', 1) is distinct from item.seller_id::text then
            perform private.fail('file_not_uploaded', new.path);
        end if;
        if (
            select count(*) from public.product_files as f
            where (f.product_id = new.product_id or f.artwork_id = new.artwork_id) and f.removed_at is null
        ) >= 100 then
            perform private.fail('too_many_files');
        end if;
        -- An upload to the same path that is just finishing waits, and then finds this row.
        select o.version, o.metadata into stored from storage.objects as o
        where o.bucket_id = 'product-files' and o.name = new.path
        for share;
        if not found then
            perform private.fail('file_not_uploaded', new.path);
        end if;
        new.object_version := stored.version;
        new.size_bytes := coalesce(stored.metadata ->> 'size', stored.metadata ->> 'contentLength', '0')::bigint;
        new.content_type := coalesce(stored.metadata ->> 'mimetype', 'application/octet-stream');
    end if;
    return new;
end
$$;
comment on function private.check_product_file() is
'Trigger: a file must be in the seller''s own folder of the bucket; version, size and type are read from there.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of name on public.product_files
for each row execute function private.tidy_texts('name line');

create trigger check_product_file
before insert or update on public.product_files
for each row execute function private.check_product_file();

create function private.keep_ordered_file() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_item(old.product_id, old.artwork_id);
    if not private.item_has_orders(old.item_id) then
        return old;
    end if;
    update public.product_files as f set removed_at = now() where f.id = old.id and f.removed_at is null;
    return null;
end
$$;
comment on function private.keep_ordered_file() is
'Trigger: the file of an item that was ever ordered is not deleted but marked removed, and stays for earlier buyers.';

create trigger keep_ordered_file
before delete on public.product_files
for each row execute function private.keep_ordered_file();

create function private.sum_product_files() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    product public.products;
begin
    select * into product from public.products as p
    where p.id = coalesce(new.product_id, old.product_id)
    for no key update;
    if product.id is null then
        return null;
    end if;
    -- Taken down is taken down, whatever is left; take_down_file() takes the product off sale.
    if (tg_op = 'DELETE' or tg_op = 'UPDATE' and new.removed_at is not null and new.taken_down_at is null)
        and not exists (
            select from public.product_files as f where f.product_id = product.id and f.removed_at is null
        )
        and (product.status = 'active' or private.item_has_orders(product.id))
    then
        perform private.fail('product_has_no_files', product.id::text);
    end if;
    update public.products as p set
        file_size_bytes = (
            select coalesce(sum(f.size_bytes), 0) from public.product_files as f
            where f.product_id = p.id and f.removed_at is null
        ),
        file_types = array(
            select distinct lower(substring(f.name from '\.([A-Za-z0-9]{1,10})$')) as ending
            from public.product_files as f
            where f.product_id = p.id and f.removed_at is null and f.name ~ '\.[A-Za-z0-9]{1,10}$'
            order by ending
        )
    where p.id = product.id;
    return null;
end
$$;
comment on function private.sum_product_files() is
'Trigger: keeps the product''s size and file types, and its last file while it is on sale or was ordered.';

create trigger sum_product_files
after insert or delete or update of name, removed_at on public.product_files
for each row execute function private.sum_product_files();

create trigger touch_updated_at before update on public.product_files
for each row execute function private.touch_updated_at();

alter table public.product_files enable row level security;
grant select on public.product_files to authenticated, service_role;
grant insert (product_id, artwork_id, path, name, position), update (name, position), delete on public.product_files
to authenticated;

-- Orders come on a later page; plpgsql binds late.
create function private.ordered_at(user_id uuid, item_id uuid) returns timestamptz
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return (
        select min(i.created_at)
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        where
            p.owner_id = ordered_at.user_id and p.item_id = ordered_at.item_id and p.revoked_at is null
            -- What may still be refused is closed until it is opened; gifts come on a later page.
            and (i.gift_id is null or private.is_gift_open(i.gift_id))
    );
end
$$;
comment on function private.ordered_at(uuid, uuid) is
'When the user ordered what they own: files replaced after that are still theirs. Null without a valid entitlement.';
grant execute on function private.ordered_at(uuid, uuid) to authenticated;

create policy product_files_select on public.product_files for select to authenticated
using (
    taken_down_at is null
    and coalesce(removed_at, 'infinity') >= private.ordered_at((select private.member_id()), item_id)
    or (select private.is_admin())
    or exists (
        select from public.catalog_items as c
        where c.id = product_files.item_id and c.seller_id = (select private.member_id())
    )
);
create policy product_files_insert on public.product_files for insert to authenticated
with check (
    exists (
        select from public.catalog_items as c
        where c.id = product_files.item_id and c.seller_id = (select private.member_id())
    )
);
create policy product_files_update on public.product_files for update to authenticated
using (
    exists (
        select from public.catalog_items as c
        where c.id = product_files.item_id and c.seller_id = (select private.member_id())
    )
)
with check (
    exists (
        select from public.catalog_items as c
        where c.id = product_files.item_id and c.seller_id = (select private.member_id())
    )
);
create policy product_files_delete on public.product_files for delete to authenticated
using (
    exists (
        select from public.catalog_items as c
        where c.id = product_files.item_id and c.seller_id = (select private.member_id())
    )
);

create function public.take_down_file(file_id uuid, reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    file public.product_files;
begin
    perform private.require_admin();
    if reason !~ '[^[:space:]]' or reason is null then
        perform private.fail('reason_required');
    end if;
    select * into file from public.product_files as f
    where f.id = take_down_file.file_id and f.taken_down_at is null;
    if file.id is null then
        perform private.fail('file_not_found', take_down_file.file_id::text);
    end if;
    -- Off sale first: that takes the product, its seller and the registry row in the order everybody does.
    update public.products as p set status = 'paused'
    where
        p.id = file.product_id and p.status = 'active'
        and not exists (
            select from public.product_files as f
            where f.product_id = p.id and f.id <> file.id and f.removed_at is null
        );
    update public.product_files as f set removed_at = coalesce(f.removed_at, now()), taken_down_at = now()
    where f.id = file.id;
    perform private.audit(
        'take_down_file', 'product_file', file.id,
        jsonb_build_object('reason', reason, 'item_id', file.item_id, 'path', file.path)
    );
end
$$;
comment on function public.take_down_file(uuid, text) is
'Admins: takes a file away from everybody, those who bought it too, and pauses a product left without files; audited. '
'Only its seller and admins still see the row. The stored object can then be deleted.';
grant execute on function public.take_down_file(uuid, text) to authenticated;

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('product_file', 'public.product_files', null, null, '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('product_files', 'public.product_files',
    't.item_id in (select c.id from public.catalog_items as c where c.seller_id = $1)',
    '{path, name, content_type, object_version}', 'sold: its buyers keep it as they bought it');

insert into private.error_codes (code, sqlstate, message, description) values
('file_not_uploaded', 'PT409', 'This file was not uploaded.',
'Upload to the bucket product-files under your own id first; the detail is the path that was looked for.'),
('file_not_found', 'PT404', 'This file does not exist.', 'None with that id, or it was taken down already.'),
('artwork_not_digital', 'PT409', 'Only a digital artwork has files.', 'Set the artwork''s category to digital first.'),
('too_many_files', 'PT409', 'An item has at most 100 files.', 'Pack them into an archive.');
