-- Works of art: one of a kind. Selling one moves it to sold, a full refund back to published; nobody does that by hand.

create type public.artwork_status as enum ('draft', 'published', 'sold', 'archived');
comment on type public.artwork_status is
'draft and archived are seen by the seller only, published and sold by everybody. sold is set by a sale alone.';

create type public.artwork_category as enum (
    'digital', 'painting', 'photography', 'sculpture', 'illustration', 'animation', '3d', 'traditional', 'mixed_media',
    'other'
);
comment on type public.artwork_category is 'Technique.';

create table public.artworks (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    description text,
    image_url public.http_url not null,
    thumbnail_url public.http_url,
    price_cents bigint not null,
    original_price_cents bigint,
    currency character(3) not null default 'USD',
    category public.artwork_category not null,
    tags text[] not null default '{}',
    dimensions text,
    file_size_bytes bigint,
    status public.artwork_status not null default 'draft',
    is_featured boolean not null default false,
    is_for_sale boolean not null default true,
    sold_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    is_hidden boolean not null default false,
    hidden_reason text,
    constraint artworks_pkey primary key (id),
    constraint artworks_slug_key unique (slug),
    constraint artworks_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    -- The registry row is written by trigger after this one, hence deferred. It makes item:catalog_items(*) embeddable.
    constraint artworks_id_fkey foreign key (id) references public.catalog_items (id)
    deferrable initially deferred,
    constraint artworks_title_check check (char_length(title) between 1 and 255),
    constraint artworks_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint artworks_description_check check (char_length(description) <= 20000),
    constraint artworks_price_cents_check check (private.is_price(price_cents)),
    constraint artworks_original_price_cents_check check (
        original_price_cents > price_cents and original_price_cents <= private.highest_amount_cents()
    ),
    constraint artworks_dimensions_check check (char_length(dimensions) between 1 and 100),
    constraint artworks_file_size_bytes_check check (file_size_bytes >= 0),
    constraint artworks_sold_at_check check ((status = 'sold') = (sold_at is not null))
);

create index artworks_seller_id_created_at_idx on public.artworks (seller_id, created_at desc);
create index artworks_created_at_idx on public.artworks (created_at desc);
create index artworks_category_created_at_idx on public.artworks (category, created_at desc);

-- What a client that breaks these is told, see error_catalog().
comment on constraint artworks_description_check on public.artworks is
'invalid_description: A description has at most 20,000 characters.';
comment on constraint artworks_dimensions_check on public.artworks is
'invalid_dimensions: Dimensions have 1 to 100 characters.';
comment on constraint artworks_file_size_bytes_check on public.artworks is
'invalid_file_size: A file size is 0 or more.';
comment on constraint artworks_original_price_cents_check on public.artworks is
'invalid_price: An original price is above the price, at most 99999999 cents.';
comment on constraint artworks_price_cents_check on public.artworks is
'invalid_price: A price is 0 or from 50 to 99999999 cents.';
comment on constraint artworks_slug_check on public.artworks is
'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';
comment on constraint artworks_sold_at_check on public.artworks is
'invalid_artwork: Only a sold work has a date of sale.';
comment on constraint artworks_title_check on public.artworks is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint artworks_slug_key on public.artworks is
'slug_taken: Another artwork just took this address; try again.';

comment on table public.artworks is
'One-of-a-kind works. Visible while published or sold and of a seller in good standing; always to the seller, the '
'buyer and admins. Counters, search and sorting are on its catalog_items row.';
comment on column public.artworks.seller_id is 'The artist who sells it; always the caller.';
comment on column public.artworks.title is 'Title, one line of at most 255 characters.';
comment on column public.artworks.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.artworks.description is 'At most 20,000 characters.';
comment on column public.artworks.image_url is 'The picture, http(s) only.';
comment on column public.artworks.thumbnail_url is 'Smaller picture for lists, http(s) only.';
comment on column public.artworks.price_cents is 'Price, cents: 0 is free, else 50 to 99999999. Orders keep theirs.';
comment on column public.artworks.original_price_cents is
'Price before a discount, cents, to show it crossed out; above price_cents.';
comment on column public.artworks.category is 'Technique.';
comment on column public.artworks.tags is 'Up to 20 tags; lower case.';
comment on column public.artworks.dimensions is 'For people, for example 30x40cm or 1920x1080.';
comment on column public.artworks.file_size_bytes is 'Size of the original file in bytes, as the seller says.';
comment on column public.artworks.status is
'draft, published or archived by the seller; sold by a sale. A sold work does not change any more.';
comment on column public.artworks.is_featured is 'Shown first by its seller; limited by the seller''s plan.';
comment on column public.artworks.is_for_sale is 'False shows it without selling it.';
comment on column public.artworks.sold_at is 'When it was sold; kept by trigger.';
comment on column public.artworks.is_hidden is 'Taken out of the shop by an admin; written by hide_content() only.';
comment on column public.artworks.hidden_reason is 'Why, told to the seller.';

create function private.catalog_entry(artwork public.artworks) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'artwork', artwork.seller_id, artwork.title, artwork.slug, coalesce(artwork.thumbnail_url, artwork.image_url),
        artwork.price_cents, null, artwork.currency, artwork.category::text, artwork.tags, true, artwork.is_featured,
        artwork.status in ('published', 'sold') and not artwork.is_hidden,
        artwork.is_for_sale and artwork.status <> 'sold', artwork.description
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.artworks) is 'An artwork''s registry row.';

create function private.check_artwork() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.artworks', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.sold_at := case when new.status = 'sold' then coalesce(new.sold_at, now()) end;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
    end if;
    return new;
end
$$;
comment on function private.check_artwork() is 'Trigger: completes an artwork and enforces the plan''s featured limit.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, description, dimensions on public.artworks
for each row execute function private.tidy_texts('title line required', 'description body', 'dimensions line');

create trigger check_artwork
before insert or update on public.artworks
for each row execute function private.check_artwork();

-- SECURITY INVOKER on purpose: current_user is then an API role exactly when a client wrote the statement itself, and
-- the owner of the schema when mark_item_sold() did, even inside a client's checkout.
create function private.guard_sold_artwork() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if current_user in ('anon', 'authenticated', 'service_role') then
        if tg_op = 'UPDATE' and old.status = 'sold' then
            perform private.fail('artwork_sold', old.id::text);
        end if;
        if new.status = 'sold' then
            perform private.fail('status_not_allowed', 'sold');
        end if;
    end if;
    return new;
end
$$;
comment on function private.guard_sold_artwork() is
'Trigger: clients neither mark an artwork sold nor change a sold one.';

create trigger guard_sold_artwork
before insert or update on public.artworks
for each row execute function private.guard_sold_artwork();

create trigger refuse_ordered_item before delete on public.artworks
for each row execute function private.refuse_ordered_item();

create trigger sync_catalog_item
after insert or update or delete on public.artworks
for each row execute function private.sync_catalog_item();

create trigger touch_updated_at before update on public.artworks
for each row execute function private.touch_updated_at();

-- Nobody's to read: whether a work was on show before it was sold is its seller's business.
create table private.artworks_before_sale (
    artwork_id uuid not null,
    status public.artwork_status not null,
    constraint artworks_before_sale_pkey primary key (artwork_id),
    constraint artworks_before_sale_artwork_id_fkey foreign key (artwork_id)
    references public.artworks (id) on delete cascade
);

comment on table private.artworks_before_sale is
'What a full refund gives back: the state of sold works before the sale.';
comment on column private.artworks_before_sale.status is 'Its status when it was sold.';

alter table private.artworks_before_sale enable row level security;

create function private.mark_item_sold(item_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    before public.artwork_status;
begin
    -- Whatever the seller did with it since checkout: who reserved it and paid gets it.
    select a.status into before from public.artworks as a where a.id = mark_item_sold.item_id for no key update;
    if before is null then
        return not exists (
            select from public.catalog_items as c where c.id = mark_item_sold.item_id and c.is_unique
        );
    end if;
    if before = 'sold' then
        return false;
    end if;
    insert into private.artworks_before_sale as b (artwork_id, status) values (mark_item_sold.item_id, before)
    on conflict on constraint artworks_before_sale_pkey do update set status = excluded.status;
    update public.artworks as a set status = 'sold' where a.id = mark_item_sold.item_id;
    return true;
end
$$;
comment on function private.mark_item_sold(uuid) is
'Settlement: a one-of-a-kind item becomes sold. False when it was sold already; true without effect for other items.';

create function private.relist_item(item_id uuid) returns void
language sql
security definer
set search_path = ''
as $$
    update public.artworks as a set status = case
        -- Its seller left: back to the drawer instead of the shop.
        when exists (
            select from public.profiles as p where p.id = a.seller_id and p.deleted_at is not null
        ) then 'archived'
        -- What its seller had withdrawn while a buyer held it comes back withdrawn.
        else coalesce(
            (select b.status from private.artworks_before_sale as b where b.artwork_id = a.id)::text, 'published'
        )
    end::public.artwork_status
    where a.id = relist_item.item_id and a.status = 'sold'
$$;
comment on function private.relist_item(uuid) is
'Full refund: a sold one-of-a-kind item is again what it was before the sale. No effect on anything else.';

create function private.erase_artworks(seller uuid, max_rows integer default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select a.id from public.artworks as a
        where
            a.seller_id = seller
            and (a.status in ('draft', 'published') or not private.item_has_orders(a.id))
        order by a.id
        limit max_rows
        for update
    );
begin
    begin
        delete from public.artworks as a where a.id = any(chosen) and not private.item_has_orders(a.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    update public.artworks as a set status = 'archived'
    where a.id = any(chosen) and a.status in ('draft', 'published');
    return cardinality(chosen);
end
$$;
comment on function private.erase_artworks(uuid, integer) is
'Account deletion: removes a seller''s artworks that nobody ordered and archives the unsold others, at most max_rows; '
'how many.';

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('artworks', 'items', '{}',
    'select private.erase_artworks($1)', 'select 10 * private.erase_artworks($1, 1 + $2 / 10)');

alter table public.artworks enable row level security;
grant select on public.artworks to anon, authenticated, service_role;
grant
insert (
    title, slug, description, image_url, thumbnail_url, price_cents, original_price_cents, category, tags,
    dimensions, file_size_bytes, status, is_featured, is_for_sale
),
update (
    title, slug, description, image_url, thumbnail_url, price_cents, original_price_cents, category, tags,
    dimensions, file_size_bytes, status, is_featured, is_for_sale
),
delete
on public.artworks to authenticated;

-- Whoever may see the registry row may see the artwork. The owner comes first because an insert's RETURNING looks
-- before that row exists. A scalar subquery stays a look-up for each row, exists (…) could become a hash of all items.
create policy artworks_select_anon on public.artworks for select to anon
using ((select c.id from public.catalog_items as c where c.id = artworks.id) is not null);
create policy artworks_select on public.artworks for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = artworks.id) is not null
);
create policy artworks_insert on public.artworks for insert to authenticated
with check (seller_id = (select private.member_id()) and status <> 'sold');
create policy artworks_update on public.artworks for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()) and status <> 'sold');
create policy artworks_delete on public.artworks for delete to authenticated
using (seller_id = (select private.member_id()));

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.artworks', 'status', null, 'draft', 'its seller begins'),
('public.artworks', 'status', null, 'published', 'on show from the start'),
('public.artworks', 'status', null, 'archived', 'kept from the start'),
('public.artworks', 'status', 'draft', 'published', 'by its seller'),
('public.artworks', 'status', 'draft', 'archived', 'by its seller, or the seller left'),
('public.artworks', 'status', 'published', 'draft', 'by its seller'),
('public.artworks', 'status', 'published', 'archived', 'by its seller, or the seller left'),
('public.artworks', 'status', 'archived', 'draft', 'by its seller'),
('public.artworks', 'status', 'archived', 'published', 'by its seller'),
('public.artworks', 'status', 'draft', 'sold', 'reserved while it was published, and paid'),
('public.artworks', 'status', 'published', 'sold', 'paid'),
('public.artworks', 'status', 'archived', 'sold', 'reserved while it was published, and paid'),
('public.artworks', 'status', 'sold', 'draft', 'a full refund gives back what it was'),
('public.artworks', 'status', 'sold', 'published', 'a full refund gives back what it was'),
('public.artworks', 'status', 'sold', 'archived', 'a full refund, also when the seller left');
select private.build_moves('public.artworks', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('artwork', 'public.artworks', 'seller_id', '/catalog_items/{id}', '{can_read,evidence,place,lock,hide}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('artworks', 'public.artworks',
    't.seller_id = $1',
    '{seller_id, title, slug, description, image_url, thumbnail_url, tags, dimensions, hidden_reason}',
    'sold: its buyers keep it as they bought it');

insert into private.error_codes (code, sqlstate, message, description) values
('artwork_sold', 'PT409', 'This artwork was sold.', 'A sold work does not change; a full refund puts it back on sale.'),
('status_not_allowed', 'PT409', 'This status is not set by hand.', 'An artwork becomes sold by a sale only.');
