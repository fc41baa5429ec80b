-- Further pictures of a product, in its seller's order; the one for lists is the product's own.

create table public.product_pictures (
    id uuid not null default gen_random_uuid(),
    product_id uuid not null,
    media_id uuid not null,
    position integer not null default 0,
    created_at timestamptz not null default now(),
    constraint product_pictures_pkey primary key (id),
    constraint product_pictures_product_id_media_id_key unique (product_id, media_id),
    constraint product_pictures_product_id_fkey foreign key (product_id)
    references public.products (id) on delete cascade,
    constraint product_pictures_media_id_fkey foreign key (media_id) references public.media (id) on delete cascade,
    constraint product_pictures_position_check check (position between 0 and 1000)
);

create index product_pictures_product_id_position_idx on public.product_pictures (product_id, position);
create index product_pictures_media_id_idx on public.product_pictures (media_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint product_pictures_product_id_media_id_key on public.product_pictures is
'already_done: The product has this picture already.';
comment on constraint product_pictures_product_id_fkey on public.product_pictures is
'item_not_found: There is no such product.';
comment on constraint product_pictures_media_id_fkey on public.product_pictures is
'media_not_found: There is no such picture.';
comment on constraint product_pictures_position_check on public.product_pictures is
'invalid_position: A position is from 0 to 1000.';

comment on table public.product_pictures is
'Pictures of a product''s page, at most 30; read with the product, written by its seller. '
'products?select=*,pictures:product_pictures(position,media(*)). Addresses from outside are in preview_images.';
comment on column public.product_pictures.product_id is 'The product.';
comment on column public.product_pictures.media_id is 'A picture of purpose product that its seller made.';
comment on column public.product_pictures.position is 'Order among them, ascending.';

create function private.check_product_picture() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    seller uuid;
    picture public.media;
begin
    -- One at a time per product: they are counted.
    select p.seller_id into seller from public.products as p where p.id = new.product_id for no key update;
    if seller is null or seller <> auth.uid() then
        -- The policy refuses the row, and the answer is the same whether there is such a product.
        return new;
    end if;
    if (select count(*) from public.product_pictures as p where p.product_id = new.product_id) >= 30 then
        perform private.fail('too_many_product_pictures', new.product_id::text);
    end if;
    update public.media as m set expires_at = null
    where m.id = new.media_id and m.owner_id = seller and m.purpose = 'product'
    returning * into picture;
    if picture.id is null then
        perform private.fail('media_not_found', new.media_id::text);
    elsif picture.status = 'failed' then
        perform private.fail('media_failed', picture.failure::text);
    end if;
    return new;
end
$$;
comment on function private.check_product_picture() is
'Trigger: a product''s picture is its seller''s own and made for products; it is kept from then on.';

create trigger check_product_picture
before insert on public.product_pictures
for each row execute function private.check_product_picture();
create trigger unuse_media_id
after delete on public.product_pictures
for each row execute function private.release_media('media_id');

alter table public.product_pictures enable row level security;
grant select on public.product_pictures to anon, authenticated, service_role;
grant insert (product_id, media_id, position), update (position), delete on public.product_pictures to authenticated;

-- Whoever may see the registry row may see the pictures.
create policy product_pictures_select_anon on public.product_pictures for select to anon
using ((select c.id from public.catalog_items as c where c.id = product_pictures.product_id) is not null);
create policy product_pictures_select on public.product_pictures for select to authenticated
using ((select c.id from public.catalog_items as c where c.id = product_pictures.product_id) is not null);
create policy product_pictures_insert on public.product_pictures for insert to authenticated
with check (
    exists (
        select from public.products as p
        where p.id = product_pictures.product_id and p.seller_id = (select private.member_id())
    )
);
create policy product_pictures_update on public.product_pictures for update to authenticated
using (
    exists (
        select from public.products as p
        where p.id = product_pictures.product_id and p.seller_id = (select private.member_id())
    )
)
with check (
    exists (
        select from public.products as p
        where p.id = product_pictures.product_id and p.seller_id = (select private.member_id())
    )
);
create policy product_pictures_delete on public.product_pictures for delete to authenticated
using (
    exists (
        select from public.products as p
        where p.id = product_pictures.product_id and p.seller_id = (select private.member_id())
    )
);

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_product_pictures', 'PT409', 'A product has at most 30 pictures.', 'Delete one first.');
