-- What buyers get. A row points at an object of the private bucket product-files under the seller's folder; the object
-- is never overwritten, so that what was bought stays what it was. A new version is a new file.

create table public.product_files (
    id uuid not null default gen_random_uuid(),
    product_id uuid not null,
    path text not null,
    name text not null,
    size_bytes bigint not null,
    content_type text not null,
    position integer not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint product_files_pkey primary key (id),
    constraint product_files_path_key unique (path),
    constraint product_files_product_id_fkey foreign key (product_id) references public.products (id) on delete cascade,
    constraint product_files_path_check check (char_length(path) <= 1024),
    constraint product_files_name_check check (
        char_length(name) between 1 and 255 and name !~ '[[:cntrl:]/\\\u202A-\u202E\u2066-\u2069]'
    ),
    constraint product_files_size_bytes_check check (size_bytes >= 0),
    constraint product_files_position_check check (position between 0 and 1000)
);

create index product_files_product_id_position_idx on public.product_files (product_id, position);

comment on table public.product_files is
'Files of a product, for its seller, its buyers and admins. Downloads go through /functions/v1/downloads/{item_id}.';
comment on column public.product_files.product_id is 'The product.';
comment on column public.product_files.path is 'Object in the bucket product-files, <seller id>/…; uploaded before.';
comment on column public.product_files.name is 'File name for the buyer; the last part of the path when missing.';
comment on column public.product_files.size_bytes is 'Bytes, read from the stored object.';
comment on column public.product_files.content_type is 'Media type, read from the stored object.';
comment on column public.product_files.position is 'Order among the product''s files, ascending.';

create function private.check_product_file() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    seller uuid;
    stored record;
begin
    -- One at a time per product: the sums below and the last-file rule count rows.
    select p.seller_id into seller from public.products as p where p.id = new.product_id for no key update;
    -- Not the caller's product: say nothing of what is stored, the policy refuses the row.
    if auth.uid() <> seller then
        return new;
    end if;
    new.name := coalesce(nullif(btrim(new.name), ''), regexp_replace(new.path, '^.*/', ''));
    if tg_op = 'INSERT' then
        if split_part(new.path, '/', 1) is distinct from seller::text then
            perform private.fail('file_not_uploaded', new.path);
        end if;
        if (select count(*) from public.product_files as f where f.product_id = new.product_id) >= 100 then
            perform private.fail('too_many_files');
        end if;
        select o.metadata into stored from storage.objects as o
        where o.bucket_id = 'product-files' and o.name = new.path;
        if not found then
            perform private.fail('file_not_uploaded', new.path);
        end if;
        new.size_bytes := coalesce(stored.metadata ->> 'size', stored.metadata ->> 'contentLength', '0')::bigint;
        new.content_type := coalesce(stored.metadata ->> 'mimetype', 'application/octet-stream');
    end if;
    return new;
end
$$;
comment on function private.check_product_file() is
'Trigger: a file must be in the seller''s own folder of the bucket; size and type are read from there.';

create trigger check_product_file
before insert or update on public.product_files
for each row execute function private.check_product_file();

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
    if tg_op = 'DELETE'
        and not exists (select from public.product_files as f where f.product_id = product.id)
        and (product.status = 'active' or private.item_has_orders(product.id))
    then
        perform private.fail('product_has_no_files', product.id::text);
    end if;
    update public.products as p set
        file_size_bytes = (
            select coalesce(sum(f.size_bytes), 0) from public.product_files as f where f.product_id = p.id
        ),
        file_types = array(
            select distinct lower(substring(f.name from '\.([A-Za-z0-9]{1,10})$')) as ending
            from public.product_files as f
            where f.product_id = p.id and f.name ~ '\.[A-Za-z0-9]{1,10}$'
            order by ending
        )
    where p.id = product.id;
    return null;
end
$$;
comment on function private.sum_product_files() is
'Trigger: keeps the product''s size and file types, and its last file while it is on sale or was ordered.';

create trigger sum_product_files
after insert or delete or update of name on public.product_files
for each row execute function private.sum_product_files();

create trigger touch_updated_at before update on public.product_files
for each row execute function private.touch_updated_at();

alter table public.product_files enable row level security;
revoke all on public.product_files from anon, authenticated, service_role;
grant select on public.product_files to authenticated, service_role;
grant insert (product_id, path, name, position) on public.product_files to authenticated;
grant update (name, position) on public.product_files to authenticated;
grant delete on public.product_files to authenticated;

create policy product_files_select on public.product_files for select to authenticated
using (
    private.has_bought((select private.member_id()), product_id)
    or (select private.is_admin())
    or exists (
        select from public.products as p
        where p.id = product_files.product_id and p.seller_id = (select private.member_id())
    )
);
create policy product_files_insert on public.product_files for insert to authenticated
with check (
    exists (
        select from public.products as p
        where p.id = product_files.product_id and p.seller_id = (select private.member_id())
    )
);
create policy product_files_update on public.product_files for update to authenticated
using (
    exists (
        select from public.products as p
        where p.id = product_files.product_id and p.seller_id = (select private.member_id())
    )
)
with check (
    exists (
        select from public.products as p
        where p.id = product_files.product_id and p.seller_id = (select private.member_id())
    )
);
create policy product_files_delete on public.product_files for delete to authenticated
using (
    exists (
        select from public.products as p
        where p.id = product_files.product_id and p.seller_id = (select private.member_id())
    )
);

insert into private.personal_data (section, relation, condition) values
(
    'product_files', 'public.product_files',
    't.product_id in (select p.id from public.products as p where p.seller_id = $1)'
)
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.error_codes (code, sqlstate, message, description) values
('file_not_uploaded', 'PT409', 'This file was not uploaded.',
'Upload to the bucket product-files under your own id first; the detail is the path that was looked for.'),
('too_many_files', 'PT409', 'A product has at most 100 files.', 'Pack them into an archive.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
