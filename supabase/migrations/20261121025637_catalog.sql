-- Catalog.
-- The registry of everything sellable and its first two kinds, products and artworks, with their storage buckets and
-- policies on storage.objects.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/40_catalog/10_catalog_items.sql ---------------------------------------------------------------------------------
-- The registry of everything that can be sold, favoured, reviewed or put in a cart: one row per item of any kind, with
-- the item's own id. Each kind is a table of its own whose trigger keeps its row here; the rest of the platform knows
-- only this table. A new kind of thing to sell is one new table, one catalog_entry() function and one trigger.

create type public.catalog_kind as enum ('product', 'artwork');
comment on type public.catalog_kind is 'Which table an item comes from.';

create table public.catalog_items (
    id uuid not null,
    kind public.catalog_kind not null,
    seller_id uuid not null,
    title text not null,
    slug extensions.citext not null,
    thumbnail_url public.http_url,
    price_cents bigint not null,
    minimum_price_cents bigint,
    currency character(3) not null,
    category text,
    tags text[] not null default '{}',
    is_unique boolean not null,
    is_featured boolean not null,
    is_published boolean not null,
    is_for_sale boolean not null,
    seller_is_active boolean not null,
    is_visible boolean not null generated always as (is_published and seller_is_active) stored,
    is_listed boolean not null generated always as (is_published and is_for_sale and seller_is_active) stored,
    views_count bigint not null default 0,
    favorites_count integer not null default 0,
    comments_count integer not null default 0,
    purchases_count integer not null default 0,
    popularity smallint not null generated always as (
        floor(4 * ln((1 + purchases_count)::double precision) / ln(2::double precision))::smallint
    ) stored,
    rating_average numeric(3, 2) not null default 0,
    reviews_count integer not null default 0,
    search tsvector not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint catalog_items_pkey primary key (id),
    constraint catalog_items_kind_slug_key unique (kind, slug),
    constraint catalog_items_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint catalog_items_price_cents_check check (price_cents = 0 or price_cents between 50 and 99999999),
    constraint catalog_items_minimum_price_cents_check check (
        minimum_price_cents <= price_cents and (minimum_price_cents = 0 or minimum_price_cents >= 50)
    ),
    constraint catalog_items_counts_check check (
        views_count >= 0 and favorites_count >= 0 and comments_count >= 0 and purchases_count >= 0
        and reviews_count >= 0 and rating_average between 0 and 5
    )
)
-- Every sale, view and favourite rewrites a row here. Room on the page lets the counters without an index stay HOT;
-- vacuum early, so that index-only work and page pruning keep up with a busy item.
with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- What pages sort by, as keysets: the next page starts at the last row's (value, id). Only what is on sale is listed.
create index catalog_items_created_at_id_idx on public.catalog_items (created_at desc, id desc) where is_listed;
create index catalog_items_kind_created_at_id_idx on public.catalog_items (kind, created_at desc, id desc)
where is_listed;
create index catalog_items_category_created_at_id_idx on public.catalog_items (category, created_at desc, id desc)
where is_listed;
create index catalog_items_price_cents_id_idx on public.catalog_items (price_cents, id) where is_listed;
create index catalog_items_popularity_id_idx on public.catalog_items (popularity desc, id desc) where is_listed;
create index catalog_items_seller_id_created_at_idx on public.catalog_items (seller_id, created_at desc);
create index catalog_items_featured_idx on public.catalog_items (seller_id, id) where is_featured;
create index catalog_items_tags_idx on public.catalog_items using gin (tags) where is_listed;
create index catalog_items_search_idx on public.catalog_items using gin (search) where is_listed;

comment on table public.catalog_items is
'Registry of all items. Same id as the row it mirrors; written by triggers and the server, read-only to clients. Pages '
'filter on is_listed and sort by created_at, price_cents or popularity, each with id.';
comment on column public.catalog_items.id is 'Id of the row in the kind''s own table.';
comment on column public.catalog_items.kind is 'Which table that is.';
comment on column public.catalog_items.seller_id is 'Who sells it.';
comment on column public.catalog_items.title is 'Title to show.';
comment on column public.catalog_items.slug is 'Address part, unique per kind.';
comment on column public.catalog_items.thumbnail_url is 'Picture to show in lists.';
comment on column public.catalog_items.price_cents is 'Price, cents; 0 is free. Suggested price when name-your-price.';
comment on column public.catalog_items.minimum_price_cents is
'Lowest accepted price when buyers name it, cents; 0 lets it go free. Null: the price is fixed.';
comment on column public.catalog_items.currency is 'ISO 4217.';
comment on column public.catalog_items.category is 'Slug of the category for products, the category of artworks.';
comment on column public.catalog_items.tags is 'Lower-case tags, genres included.';
comment on column public.catalog_items.is_unique is 'One of a kind: sold once, quantity 1, reserved at checkout.';
comment on column public.catalog_items.is_featured is 'Shown first by its seller.';
comment on column public.catalog_items.is_published is 'Shown by its seller and not taken down.';
comment on column public.catalog_items.is_for_sale is 'Can be bought when visible; false for sold and display pieces.';
comment on column public.catalog_items.seller_is_active is 'False while the seller is banned, and once deleted.';
comment on column public.catalog_items.is_visible is 'Everybody may read it: published, by a seller in good standing.';
comment on column public.catalog_items.is_listed is
'Visible and for sale: what shop pages show. Filter with eq.true; is.true cannot use the indexes.';
comment on column public.catalog_items.views_count is 'Views; folded from events.';
comment on column public.catalog_items.favorites_count is 'How many favour it.';
comment on column public.catalog_items.comments_count is 'Visible comments.';
comment on column public.catalog_items.purchases_count is 'Valid entitlements to it.';
comment on column public.catalog_items.popularity is
'purchases_count in steps of about a fifth (4 × log2), to sort by: with the exact count in an index every sale would '
'rewrite all of the row''s index entries.';
comment on column public.catalog_items.rating_average is 'Mean of its reviews, 1 to 5; 0 without any.';
comment on column public.catalog_items.reviews_count is 'Reviews.';
comment on column public.catalog_items.search is 'Full-text vector: title (A), tags (B), description (C).';

create type private.catalog_entry as (
    kind public.catalog_kind,
    seller_id uuid,
    title text,
    slug extensions.citext,
    thumbnail_url text,
    price_cents bigint,
    minimum_price_cents bigint,
    currency character (3),
    category text,
    tags text [],
    is_unique boolean,
    is_featured boolean,
    is_published boolean,
    is_for_sale boolean,
    body text
);
comment on type private.catalog_entry is
'What a kind contributes to its registry row; body is only searched. Each kind defines private.catalog_entry(<its '
'row>).';

create function private.search_vector(title text, tags text[], body text) returns tsvector
language sql
stable
set search_path = ''
as $$
    select
        setweight(to_tsvector('pg_catalog.english', plain.title), 'A')
        || setweight(to_tsvector('pg_catalog.english', plain.tags), 'B')
        || setweight(to_tsvector('pg_catalog.english', plain.body), 'C')
    from (
        select
            extensions.unaccent('extensions.unaccent'::regdictionary, coalesce(search_vector.title, '')) as title,
            extensions.unaccent(
                'extensions.unaccent'::regdictionary, coalesce(array_to_string(search_vector.tags, ' '), '')
            ) as tags,
            extensions.unaccent('extensions.unaccent'::regdictionary, coalesce(search_vector.body, '')) as body
    ) as plain
$$;
comment on function private.search_vector(text, text[], text) is
'Weighted search vector without accents. Queries use websearch_to_tsquery(''english'', unaccent(…)).';

create function private.sync_catalog_item() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    entry private.catalog_entry;
    before private.catalog_entry;
    seller_is_active boolean;
begin
    if tg_op = 'DELETE' then
        before := private.catalog_entry(old);
        if before.is_published then
            perform private.count_published_item(before.kind, before.seller_id, -1);
        end if;
        delete from public.catalog_items as c where c.id = old.id;
        return null;
    end if;

    entry := private.catalog_entry(new);
    if tg_op = 'UPDATE' then
        before := private.catalog_entry(old);
        if entry is not distinct from before then
            return null;
        end if;
    end if;

    if tg_op = 'INSERT' or entry.is_published <> before.is_published then
        -- A ban or deletion that is just happening, and the counters below: both start with the profile's row, so the
        -- standing read here stays true until this transaction ends, and nobody waits in a circle.
        select p.deleted_at is null and not p.is_banned into seller_is_active from public.profiles as p
        where p.id = entry.seller_id
        for no key update;
    end if;

    if tg_op = 'INSERT' then
        insert into public.catalog_items (
            id, kind, seller_id, title, slug, thumbnail_url, price_cents, minimum_price_cents, currency, category, tags,
            is_unique, is_featured, is_published, is_for_sale, seller_is_active, search, created_at
        ) values (
            new.id, entry.kind, entry.seller_id, entry.title, entry.slug, entry.thumbnail_url, entry.price_cents,
            entry.minimum_price_cents, entry.currency, entry.category, entry.tags, entry.is_unique, entry.is_featured,
            entry.is_published, entry.is_for_sale, seller_is_active,
            private.search_vector(entry.title, entry.tags, entry.body), new.created_at
        );
    else
        update public.catalog_items as c set
            title = entry.title, slug = entry.slug, thumbnail_url = entry.thumbnail_url,
            price_cents = entry.price_cents, minimum_price_cents = entry.minimum_price_cents,
            currency = entry.currency, category = entry.category, tags = entry.tags, is_unique = entry.is_unique,
            is_featured = entry.is_featured, is_published = entry.is_published, is_for_sale = entry.is_for_sale,
            search = case
                when (entry.title, entry.tags, entry.body) is not distinct from (before.title, before.tags, before.body)
                    then c.search
                else private.search_vector(entry.title, entry.tags, entry.body)
            end,
            updated_at = now()
        where c.id = new.id;
    end if;

    if tg_op = 'INSERT' and entry.is_published or entry.is_published <> before.is_published then
        perform private.count_published_item(
            entry.kind, entry.seller_id, case when entry.is_published then 1 else -1 end
        );
    end if;
    return null;
end
$$;
comment on function private.sync_catalog_item() is
'Generic trigger of every kind: keeps the item''s registry row and its seller''s counters.';

create function private.count_published_item(kind public.catalog_kind, seller_id uuid, change integer) returns void
language sql
security definer
set search_path = ''
as $$
    update public.profiles as p set
        products_count = p.products_count + case when kind = 'product' then change else 0 end,
        artworks_count = p.artworks_count + case when kind = 'artwork' then change else 0 end
    where p.id = count_published_item.seller_id
$$;
comment on function private.count_published_item(public.catalog_kind, uuid, integer) is
'Moves the seller''s count of published items of a kind.';

-- A seller's standing decides over all their items at once: a ban takes them off sale, its end puts them back.
create function private.follow_seller_standing() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.catalog_items as c set seller_is_active = (new.deleted_at is null and not new.is_banned)
    where c.seller_id = new.id and c.seller_is_active <> (new.deleted_at is null and not new.is_banned);
    return null;
end
$$;
comment on function private.follow_seller_standing() is
'Trigger on profiles: a banned or deleted seller''s items are neither visible nor for sale.';

create trigger follow_seller_standing
after update of is_banned, deleted_at on public.profiles
for each row
when (old.is_banned is distinct from new.is_banned or old.deleted_at is distinct from new.deleted_at)
execute function private.follow_seller_standing();

create function private.item_has_orders(item_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (select from public.order_items as i where i.item_id = item_has_orders.item_id);
end
$$;
comment on function private.item_has_orders(uuid) is 'Whether an item was ever ordered, paid for or not.';

create function private.refuse_ordered_item() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.item_has_orders(old.id) then
        perform private.fail('item_has_orders', old.id::text);
    end if;
    return old;
end
$$;
comment on function private.refuse_ordered_item() is
'Trigger of every kind: what was ordered is never removed. The foreign key of order_items holds it in a race.';

create function private.clean_tags(tags text[]) returns text[]
language plpgsql
stable
set search_path = ''
as $$
declare
    cleaned text [];
begin
    cleaned := array(
        select t.tag
        from (
            select
                lower(btrim(regexp_replace(u.tag, '[[:space:][:cntrl:]]+', ' ', 'g'), ' #')) as tag,
                min(u.position) as position
            from unnest(tags) with ordinality as u (tag, position)
            group by 1
        ) as t
        where t.tag <> ''
        order by t.position
    );
    if cardinality(cleaned) > 20 or exists (select from unnest(cleaned) as t (tag) where char_length(t.tag) > 50) then
        perform private.fail('invalid_tags', cardinality(cleaned)::text);
    end if;
    return cleaned;
end
$$;
comment on function private.clean_tags(text[]) is
'Tags in lower case, without #, spare spaces, empty ones and repeats; fails with invalid_tags above 20 or 50 '
'characters.';

create function private.free_slug(title text, relation regclass, id uuid) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    base text := coalesce(nullif(btrim(left(private.slugify(title), 80), '-'), ''), 'item');
    taken boolean;
begin
    -- Two items of one title arriving together take turns; the second sees the first.
    perform pg_advisory_xact_lock(hashtextextended(relation::text || ':' || base, 0));
    execute format(
        'select exists (select from %s as t where t.slug operator(extensions.=) $1::extensions.citext and t.id <> $2)',
        relation
    ) into taken using base, id;
    return base || case when taken then '-' || left(replace(id::text, '-', ''), 10) else '' end;
end
$$;
comment on function private.free_slug(text, regclass, uuid) is
'Slug of a title; when another row of the relation has it, with part of the item''s id.';

create function private.check_featured_limit(item_id uuid, seller_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    allowed integer;
begin
    -- Two items featured at the same instant take turns on the seller's row.
    perform from public.profiles as p where p.id = check_featured_limit.seller_id for no key update;
    allowed := (private.seller_plan(check_featured_limit.seller_id)).featured_limit;
    if allowed <= (
        select count(*) from public.catalog_items as c
        where c.seller_id = check_featured_limit.seller_id and c.is_featured and c.id <> item_id
    ) then
        perform private.fail('featured_limit_reached', format('the plan allows %s', allowed));
    end if;
end
$$;
comment on function private.check_featured_limit(uuid, uuid) is
'Fails with featured_limit_reached when the seller''s plan allows no further featured item. Called only when an item '
'becomes featured, so that a downgrade leaves what is featured alone.';

-- In plpgsql because entitlements come on a later page.
create function private.has_bought(user_id uuid, item_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return user_id is not null and private.owns_item(user_id, item_id);
end
$$;
comment on function private.has_bought(uuid, uuid) is
'Whether the user holds an entitlement: buyers go on seeing what they bought after it left the shop.';
grant execute on function private.has_bought(uuid, uuid) to authenticated;

alter table public.catalog_items enable row level security;
revoke all on public.catalog_items from anon, authenticated, service_role;
grant select on public.catalog_items to anon, authenticated, service_role;

-- Cheapest answer first: for a page of listed items nothing but is_visible is ever evaluated.
create policy catalog_items_select_anon on public.catalog_items for select to anon
using (is_visible);
create policy catalog_items_select on public.catalog_items for select to authenticated
using (
    is_visible
    or seller_id = (select private.member_id())
    or (select private.is_admin())
    or private.has_bought((select private.member_id()), id)
);

insert into private.error_codes (code, sqlstate, message, description) values
('item_has_orders', 'PT409', 'This item was ordered and cannot be removed.',
'Orders refer to it. Take it off sale instead: status deleted for products, archived for artworks.'),
('invalid_tags', 'PT400', 'Too many or too long tags.', 'At most 20 tags of at most 50 characters.'),
('featured_limit_reached', 'PT409', 'Your plan does not allow more featured items.',
'The detail states how many. Stop featuring another item or upgrade. Items featured before a downgrade stay.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/40_catalog/20_products.sql --------------------------------------------------------------------------------------
-- Digital products: files sold any number of times, at a price, for free or for what the buyer names.

create type public.product_type as enum ('regular', 'recorded_webinar');
comment on type public.product_type is 'recorded_webinar: made from a webinar that took place.';

create type public.product_status as enum ('draft', 'active', 'paused', 'deleted');
comment on type public.product_status is
'active is in the shop, paused is not for now, deleted never again. Buyers keep what they bought in every state.';

create type public.license_type as enum ('personal', 'commercial', 'exclusive', 'custom');
comment on type public.license_type is 'What buyers may do with it; custom is said in license_text.';

create table public.products (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug extensions.citext not null,
    description text,
    product_type public.product_type not null default 'regular',
    source_webinar_id uuid,
    thumbnail_url public.http_url,
    preview_images public.http_urls not null default '{}',
    preview_audio_url public.http_url,
    preview_video_url public.http_url,
    file_size_bytes bigint not null default 0,
    file_types text[] not null default '{}',
    price_cents bigint not null default 0,
    currency character(3) not null default 'USD',
    is_free boolean generated always as (price_cents = 0) stored,
    allow_name_your_price boolean not null default false,
    minimum_price_cents bigint,
    technical_details jsonb not null default '{}',
    license_type public.license_type not null default 'personal',
    license_text text,
    category_id uuid,
    tags text[] not null default '{}',
    genre_tags text[] not null default '{}',
    status public.product_status not null default 'draft',
    is_featured boolean not null default false,
    featured_at timestamptz,
    is_approved boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint products_pkey primary key (id),
    constraint products_slug_key unique (slug),
    constraint products_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint products_category_id_fkey foreign key (category_id) references public.categories (id),
    -- The registry row is written by trigger after this one, hence deferred. It makes item:catalog_items(*) embeddable.
    constraint products_id_fkey foreign key (id) references public.catalog_items (id)
    deferrable initially deferred,
    constraint products_title_check check (char_length(title) between 1 and 255 and title !~ '[[:cntrl:]]'),
    constraint products_slug_check check (
        slug::text ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug::text) <= 100
    ),
    constraint products_description_check check (char_length(description) <= 20000),
    constraint products_price_cents_check check (price_cents = 0 or price_cents between 50 and 99999999),
    constraint products_minimum_price_cents_check check (
        (minimum_price_cents is not null) = allow_name_your_price
        and (minimum_price_cents = 0 or minimum_price_cents >= 50)
        and minimum_price_cents <= price_cents
    ),
    constraint products_technical_details_check check (
        jsonb_typeof(technical_details) = 'object' and octet_length(technical_details::text) <= 16384
    ),
    constraint products_license_text_check check (
        char_length(license_text) <= 20000 and (license_type <> 'custom' or license_text is not null)
    ),
    constraint products_file_size_bytes_check check (file_size_bytes >= 0),
    constraint products_featured_at_check check (is_featured = (featured_at is not null))
);

create index products_seller_id_created_at_idx on public.products (seller_id, created_at desc);
create index products_category_id_idx on public.products (category_id);
create index products_created_at_idx on public.products (created_at desc);
create index products_genre_tags_idx on public.products using gin (genre_tags);

comment on table public.products is
'Digital products. Visible while active, approved and of a seller in good standing; always to the seller, to buyers '
'and to admins. Counters, ratings, tags search and sorting are on its catalog_items row, its files in product_files.';
comment on column public.products.seller_id is 'Who sells it; always the caller.';
comment on column public.products.title is 'Title, one line of at most 255 characters.';
comment on column public.products.slug is 'Address part, unique; made from the title when missing.';
comment on column public.products.description is 'Rich text, at most 20,000 characters.';
comment on column public.products.product_type is 'Fixed when created.';
comment on column public.products.source_webinar_id is 'The webinar it records; written by the conversion only.';
comment on column public.products.thumbnail_url is 'Picture for lists, http(s) only.';
comment on column public.products.preview_images is 'Pictures of the product page, http(s) only.';
comment on column public.products.preview_audio_url is 'Audio preview, http(s) only.';
comment on column public.products.preview_video_url is 'Video preview, http(s) only.';
comment on column public.products.file_size_bytes is 'Bytes of all its files together; kept by trigger.';
comment on column public.products.file_types is 'Distinct file endings, for example {wav,zip}; kept by trigger.';
comment on column public.products.price_cents is
'Price, cents: 0 is free, else 50 to 99999999. The suggested price when buyers name theirs. Orders keep the price they '
'were made at.';
comment on column public.products.currency is 'ISO 4217.';
comment on column public.products.is_free is 'True when the price is 0.';
comment on column public.products.allow_name_your_price is 'Whether buyers name their price.';
comment on column public.products.minimum_price_cents is
'Lowest price a buyer may name, cents: 0 or 50 and more, not above price_cents. Null unless name-your-price, where a '
'missing one becomes price_cents.';
comment on column public.products.technical_details is
'Facts for people, an object: bpm, key, sample_rate, bit_depth and the like.';
comment on column public.products.license_type is 'What buyers may do with it.';
comment on column public.products.license_text is 'Licence in words; required for custom.';
comment on column public.products.category_id is 'Main category.';
comment on column public.products.tags is 'Up to 20 tags; lower case.';
comment on column public.products.genre_tags is 'Up to 20 genres; lower case.';
comment on column public.products.status is
'State in the shop, set by the seller. active needs a file; deleted is final.';
comment on column public.products.is_featured is 'Shown first by its seller; limited by the seller''s plan.';
comment on column public.products.featured_at is 'Since when it is featured; kept by trigger.';
comment on column public.products.is_approved is 'Written by review_product() only; false takes it out of the shop.';

create function private.catalog_entry(product public.products) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'product', product.seller_id, product.title, product.slug, product.thumbnail_url, product.price_cents,
        product.minimum_price_cents, product.currency,
        (select c.slug::text from public.categories as c where c.id = product.category_id),
        product.tags || product.genre_tags, false, product.is_featured,
        product.status = 'active' and product.is_approved, true, product.description
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.products) is 'A product''s registry row.';

create function private.check_product() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.status = 'deleted' then
        -- What the server keeps up may still change; what the seller says may not.
        if (new.title, new.slug, new.status, new.price_cents) is distinct from
            (old.title, old.slug, old.status, old.price_cents)
        then
            perform private.fail('product_deleted', old.id::text);
        end if;
    end if;

    new.title := btrim(new.title);
    if nullif(btrim(new.slug::text), '') is null then
        new.slug := private.free_slug(new.title, 'public.products', new.id);
    elsif (tg_op = 'INSERT' or new.slug::text <> old.slug::text) and exists (
        select from public.products as p where p.slug operator(extensions.=) new.slug and p.id <> new.id
    ) then
        perform private.fail('slug_taken', new.slug::text);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.genre_tags := private.clean_tags(new.genre_tags);

    new.minimum_price_cents := case
        when new.allow_name_your_price then coalesce(new.minimum_price_cents, new.price_cents)
    end;
    new.license_text := nullif(btrim(new.license_text), '');
    if new.license_type = 'custom' and new.license_text is null then
        perform private.fail('license_text_required');
    end if;

    if new.status = 'active' and (tg_op = 'INSERT' or old.status <> 'active') and not exists (
        select from public.product_files as f where f.product_id = new.id
    ) then
        perform private.fail('product_has_no_files', new.id::text);
    end if;

    if new.status = 'deleted' then
        new.is_featured := false;
    end if;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
        new.featured_at := now();
    elsif not new.is_featured then
        new.featured_at := null;
    end if;
    return new;
end
$$;
comment on function private.check_product() is
'Trigger: completes a product (slug, tags, minimum price, featured_at) and refuses what a constraint cannot say.';

create trigger check_product
before insert or update on public.products
for each row execute function private.check_product();

create trigger refuse_ordered_item before delete on public.products
for each row execute function private.refuse_ordered_item();

create trigger sync_catalog_item
after insert or update or delete on public.products
for each row execute function private.sync_catalog_item();

create trigger touch_updated_at before update on public.products
for each row execute function private.touch_updated_at();

-- What admins said about a product: for the seller and the admins, hence not on the product's public row.
create table public.product_approvals (
    product_id uuid not null,
    is_approved boolean not null,
    approval_notes text,
    reviewed_by uuid,
    reviewed_at timestamptz not null default now(),
    constraint product_approvals_pkey primary key (product_id),
    constraint product_approvals_product_id_fkey foreign key (product_id)
    references public.products (id) on delete cascade,
    constraint product_approvals_reviewed_by_fkey foreign key (reviewed_by)
    references public.profiles (id) on delete set null,
    constraint product_approvals_approval_notes_check check (char_length(approval_notes) <= 2000)
);

create index product_approvals_reviewed_by_idx on public.product_approvals (reviewed_by);

comment on table public.product_approvals is
'Last review of a product; the history is in audit_log. Its seller and admins read, review_product() writes.';
comment on column public.product_approvals.product_id is 'The product.';
comment on column public.product_approvals.is_approved is 'The decision.';
comment on column public.product_approvals.approval_notes is 'Why, told to the seller; at most 2,000 characters.';
comment on column public.product_approvals.reviewed_by is 'The admin.';
comment on column public.product_approvals.reviewed_at is 'When.';

create function public.review_product(product_id uuid, approved boolean, notes text default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
begin
    update public.products as p set is_approved = coalesce(approved, false)
    where p.id = review_product.product_id;
    if not found then
        perform private.fail('item_not_found', review_product.product_id::text);
    end if;
    insert into public.product_approvals as a (product_id, is_approved, approval_notes, reviewed_by)
    values (review_product.product_id, coalesce(approved, false), notes, admin)
    on conflict on constraint product_approvals_pkey do update set
        is_approved = excluded.is_approved, approval_notes = excluded.approval_notes,
        reviewed_by = excluded.reviewed_by, reviewed_at = now();
    perform private.audit(
        'review_product', 'products', review_product.product_id,
        jsonb_build_object('approved', coalesce(approved, false), 'notes', notes)
    );
end
$$;
comment on function public.review_product(uuid, boolean, text) is
'Admins: approves a product or takes it out of the shop, with notes for its seller; audited.';
grant execute on function public.review_product(uuid, boolean, text) to authenticated;

create function private.erase_products(seller uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.products as p where p.seller_id = seller order by p.id for update;
    begin
        delete from public.products as p where p.seller_id = seller and not private.item_has_orders(p.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    update public.products as p set status = 'deleted' where p.seller_id = seller and p.status <> 'deleted';
end
$$;
comment on function private.erase_products(uuid) is
'Account deletion: removes a seller''s products that nobody ordered and takes the others off sale for good.';

alter table public.products enable row level security;
revoke all on public.products from anon, authenticated, service_role;
grant select on public.products to anon, authenticated, service_role;
grant insert (
    title, slug, description, product_type, thumbnail_url, preview_images, preview_audio_url, preview_video_url,
    price_cents, allow_name_your_price, minimum_price_cents, technical_details, license_type, license_text, category_id,
    tags, genre_tags, status, is_featured
) on public.products to authenticated;
grant update (
    title, slug, description, thumbnail_url, preview_images, preview_audio_url, preview_video_url,
    price_cents, allow_name_your_price, minimum_price_cents, technical_details, license_type, license_text, category_id,
    tags, genre_tags, status, is_featured
) on public.products to authenticated;
grant delete on public.products to authenticated;

-- Whoever may see the registry row may see the product. The owner comes first because an insert's RETURNING looks
-- before that row exists.
create policy products_select_anon on public.products for select to anon
using (exists (select from public.catalog_items as c where c.id = products.id));
create policy products_select on public.products for select to authenticated
using (
    seller_id = (select private.member_id())
    or exists (select from public.catalog_items as c where c.id = products.id)
);
create policy products_insert on public.products for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy products_update on public.products for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));
create policy products_delete on public.products for delete to authenticated
using (seller_id = (select private.member_id()));

alter table public.product_approvals enable row level security;
revoke all on public.product_approvals from anon, authenticated, service_role;
grant select on public.product_approvals to authenticated, service_role;
create policy product_approvals_select on public.product_approvals for select to authenticated
using (
    (select private.is_admin())
    or exists (
        select from public.products as p
        where p.id = product_approvals.product_id and p.seller_id = (select private.member_id())
    )
);

insert into private.personal_data (section, relation, condition) values
('products', 'public.products', 't.seller_id = $1'),
(
    'product_approvals', 'public.product_approvals',
    't.product_id in (select p.id from public.products as p where p.seller_id = $1)'
)
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.error_codes (code, sqlstate, message, description) values
('slug_taken', 'PT409', 'This address is taken.', 'Another item uses the slug. Choose another or leave it out.'),
('license_text_required', 'PT400', 'A custom licence needs its text.', 'Send license_text with license_type custom.'),
('product_has_no_files', 'PT409', 'This product has no files.',
'A product on sale needs at least one row in product_files: upload to the bucket product-files, add the row, then set '
'status active. The last file of a product on sale or once ordered cannot be removed.'),
('product_deleted', 'PT409', 'This product was deleted.', 'Deleting is final. Create a new product.'),
('item_not_found', 'PT404', 'This item does not exist.', 'No item with that id, or none the caller may see.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/40_catalog/30_product_files.sql ---------------------------------------------------------------------------------
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

-- sql/40_catalog/40_artworks.sql --------------------------------------------------------------------------------------
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
    slug extensions.citext not null,
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
    constraint artworks_pkey primary key (id),
    constraint artworks_slug_key unique (slug),
    constraint artworks_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    -- The registry row is written by trigger after this one, hence deferred. It makes item:catalog_items(*) embeddable.
    constraint artworks_id_fkey foreign key (id) references public.catalog_items (id)
    deferrable initially deferred,
    constraint artworks_title_check check (char_length(title) between 1 and 255 and title !~ '[[:cntrl:]]'),
    constraint artworks_slug_check check (
        slug::text ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug::text) <= 100
    ),
    constraint artworks_description_check check (char_length(description) <= 20000),
    constraint artworks_price_cents_check check (price_cents = 0 or price_cents between 50 and 99999999),
    constraint artworks_original_price_cents_check check (
        original_price_cents > price_cents and original_price_cents <= 99999999
    ),
    constraint artworks_dimensions_check check (char_length(dimensions) between 1 and 100),
    constraint artworks_file_size_bytes_check check (file_size_bytes >= 0),
    constraint artworks_sold_at_check check ((status = 'sold') = (sold_at is not null))
);

create index artworks_seller_id_created_at_idx on public.artworks (seller_id, created_at desc);
create index artworks_created_at_idx on public.artworks (created_at desc);
create index artworks_category_created_at_idx on public.artworks (category, created_at desc);

comment on table public.artworks is
'One-of-a-kind works. Visible while published or sold and of a seller in good standing; always to the seller, the '
'buyer and admins. Counters, search and sorting are on its catalog_items row.';
comment on column public.artworks.seller_id is 'The artist who sells it; always the caller.';
comment on column public.artworks.title is 'Title, one line of at most 255 characters.';
comment on column public.artworks.slug is 'Address part, unique; made from the title when missing.';
comment on column public.artworks.description is 'At most 20,000 characters.';
comment on column public.artworks.image_url is 'The picture, http(s) only.';
comment on column public.artworks.thumbnail_url is 'Smaller picture for lists, http(s) only.';
comment on column public.artworks.price_cents is 'Price, cents: 0 is free, else 50 to 99999999. Orders keep theirs.';
comment on column public.artworks.original_price_cents is
'Price before a discount, cents, to show it crossed out; above price_cents.';
comment on column public.artworks.currency is 'ISO 4217.';
comment on column public.artworks.category is 'Technique.';
comment on column public.artworks.tags is 'Up to 20 tags; lower case.';
comment on column public.artworks.dimensions is 'For people, for example 30x40cm or 1920x1080.';
comment on column public.artworks.file_size_bytes is 'Size of the original file in bytes, as the seller says.';
comment on column public.artworks.status is
'draft, published or archived by the seller; sold by a sale. A sold work does not change any more.';
comment on column public.artworks.is_featured is 'Shown first by its seller; limited by the seller''s plan.';
comment on column public.artworks.is_for_sale is 'False shows it without selling it.';
comment on column public.artworks.sold_at is 'When it was sold; kept by trigger.';

create function private.catalog_entry(artwork public.artworks) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'artwork', artwork.seller_id, artwork.title, artwork.slug, coalesce(artwork.thumbnail_url, artwork.image_url),
        artwork.price_cents, null, artwork.currency, artwork.category::text, artwork.tags, true, artwork.is_featured,
        artwork.status in ('published', 'sold'), artwork.is_for_sale and artwork.status <> 'sold', artwork.description
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.artworks) is 'An artwork''s registry row.';

create function private.check_artwork() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    new.title := btrim(new.title);
    if nullif(btrim(new.slug::text), '') is null then
        new.slug := private.free_slug(new.title, 'public.artworks', new.id);
    elsif (tg_op = 'INSERT' or new.slug::text <> old.slug::text) and exists (
        select from public.artworks as a where a.slug operator(extensions.=) new.slug and a.id <> new.id
    ) then
        perform private.fail('slug_taken', new.slug::text);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.dimensions := nullif(btrim(new.dimensions), '');
    new.sold_at := case when new.status = 'sold' then coalesce(new.sold_at, now()) end;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
    end if;
    return new;
end
$$;
comment on function private.check_artwork() is 'Trigger: completes an artwork and enforces the plan''s featured limit.';

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

create function private.mark_item_sold(item_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Whatever the seller did with it since checkout: who reserved it and paid gets it.
    update public.artworks as a set status = 'sold' where a.id = mark_item_sold.item_id and a.status <> 'sold';
    return found or not exists (
        select from public.catalog_items as c where c.id = mark_item_sold.item_id and c.is_unique
    );
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
        else 'published'
    end::public.artwork_status
    where a.id = relist_item.item_id and a.status = 'sold'
$$;
comment on function private.relist_item(uuid) is
'Full refund: a sold one-of-a-kind item is published again. No effect on anything else.';

create function private.erase_artworks(seller uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.artworks as a where a.seller_id = seller order by a.id for update;
    begin
        delete from public.artworks as a where a.seller_id = seller and not private.item_has_orders(a.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    update public.artworks as a set status = 'archived'
    where a.seller_id = seller and a.status in ('draft', 'published');
end
$$;
comment on function private.erase_artworks(uuid) is
'Account deletion: removes a seller''s artworks that nobody ordered and archives the unsold others.';

alter table public.artworks enable row level security;
revoke all on public.artworks from anon, authenticated, service_role;
grant select on public.artworks to anon, authenticated, service_role;
grant insert (
    title, slug, description, image_url, thumbnail_url, price_cents, original_price_cents, category, tags, dimensions,
    file_size_bytes, status, is_featured, is_for_sale
) on public.artworks to authenticated;
grant update (
    title, slug, description, image_url, thumbnail_url, price_cents, original_price_cents, category, tags, dimensions,
    file_size_bytes, status, is_featured, is_for_sale
) on public.artworks to authenticated;
grant delete on public.artworks to authenticated;

-- Whoever may see the registry row may see the artwork. The owner comes first because an insert's RETURNING looks
-- before that row exists.
create policy artworks_select_anon on public.artworks for select to anon
using (exists (select from public.catalog_items as c where c.id = artworks.id));
create policy artworks_select on public.artworks for select to authenticated
using (
    seller_id = (select private.member_id())
    or exists (select from public.catalog_items as c where c.id = artworks.id)
);
create policy artworks_insert on public.artworks for insert to authenticated
with check (seller_id = (select private.member_id()) and status <> 'sold');
create policy artworks_update on public.artworks for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()) and status <> 'sold');
create policy artworks_delete on public.artworks for delete to authenticated
using (seller_id = (select private.member_id()));

insert into private.personal_data (section, relation, condition) values
('artworks', 'public.artworks', 't.seller_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.error_codes (code, sqlstate, message, description) values
('artwork_sold', 'PT409', 'This artwork was sold.', 'A sold work does not change; a full refund puts it back on sale.'),
('status_not_allowed', 'PT409', 'This status is not set by hand.', 'An artwork becomes sold by a sale only.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/40_catalog/50_storage.sql ---------------------------------------------------------------------------------------
-- Stored files. Public buckets are served to everybody by address; writing is for members, in the folder that carries
-- their id. product-files is private: its objects are never overwritten, and leave only when no product needs them.

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

-- Listing and signed addresses: one's own folder everywhere, and of product-files what one bought. Reading public
-- buckets by address needs no policy, and without one nobody can list strangers' files.
create policy avenue_objects_select on storage.objects for select to authenticated
using (
    bucket_id in ('avatars', 'banners', 'media', 'product-files')
    and (private.is_own_path(name) or (bucket_id = 'product-files' and private.has_bought_file(name)))
);
create policy avenue_objects_insert on storage.objects for insert to authenticated
with check (bucket_id in ('avatars', 'banners', 'media', 'product-files') and private.is_own_path(name));
create policy avenue_objects_update on storage.objects for update to authenticated
using (bucket_id in ('avatars', 'banners', 'media') and private.is_own_path(name))
with check (bucket_id in ('avatars', 'banners', 'media') and private.is_own_path(name));
create policy avenue_objects_delete on storage.objects for delete to authenticated
using (
    bucket_id in ('avatars', 'banners', 'media', 'product-files')
    and private.is_own_path(name)
    and not (bucket_id = 'product-files' and private.is_product_file(name))
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
            case when item.is_visible then 'not_entitled' else 'item_not_found' end, authorize_download.item_id::text
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

insert into private.personal_data (section, relation, condition) values
('files', 'storage.objects', 't.name like $1::text || ''/%''')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.error_codes (code, sqlstate, message, description) values
('not_entitled', 'PT403', 'You have not bought this item.', 'Downloads are for buyers whose purchase was not refunded.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
