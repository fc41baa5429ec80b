-- Digital products: files sold any number of times, at a price, for free or for what the buyer names.

create type public.product_type as enum ('regular', 'recorded_webinar');
comment on type public.product_type is 'recorded_webinar: made from a webinar that took place.';

create type public.product_status as enum ('draft', 'active', 'paused', 'deleted');
comment on type public.product_status is
'active is in the shop, paused is not for now, deleted never again. Buyers keep what they bought in every state.';

create table public.products (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
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
    is_free boolean not null generated always as (price_cents = 0) stored,
    allow_name_your_price boolean not null default false,
    minimum_price_cents bigint,
    technical_details jsonb not null default '{}',
    license_type public.license_type not null default 'personal',
    license_text text,
    license_version integer not null default 1,
    category_id uuid,
    tags text[] not null default '{}',
    genre_tags text[] not null default '{}',
    status public.product_status not null default 'draft',
    is_featured boolean not null default false,
    featured_at timestamptz,
    is_approved boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    image_media_id uuid,
    constraint products_pkey primary key (id),
    constraint products_slug_key unique (slug),
    constraint products_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint products_category_id_fkey foreign key (category_id) references public.categories (id),
    -- The registry row is written by trigger after this one, hence deferred. It makes item:catalog_items(*) embeddable.
    constraint products_id_fkey foreign key (id) references public.catalog_items (id)
    deferrable initially deferred,
    constraint products_title_check check (char_length(title) between 1 and 255),
    constraint products_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint products_description_check check (char_length(description) <= 20000),
    constraint products_price_cents_check check (private.is_price(price_cents)),
    constraint products_minimum_price_cents_check check (
        (minimum_price_cents is not null) = allow_name_your_price
        and private.is_price(minimum_price_cents) and minimum_price_cents <= price_cents
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

-- What a client that breaks these is told, see error_catalog().
comment on constraint products_description_check on public.products is
'invalid_description: A description has at most 20,000 characters.';
comment on constraint products_featured_at_check on public.products is
'invalid_product: A featured product has a date.';
comment on constraint products_license_text_check on public.products is
'invalid_license: A license text has at most 20,000 characters; a custom license needs one.';
comment on constraint products_minimum_price_cents_check on public.products is
'invalid_price: A minimum belongs to name-your-price: 0 or at least 50 cents, not above the price.';
comment on constraint products_price_cents_check on public.products is
'invalid_price: A price is 0 or from 50 to 99999999 cents.';
comment on constraint products_slug_check on public.products is
'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';
comment on constraint products_technical_details_check on public.products is
'invalid_technical_details: Technical details are an object of at most 16 kB.';
comment on constraint products_title_check on public.products is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint products_category_id_fkey on public.products is
'choice_not_available: There is no such category.';
comment on constraint products_slug_key on public.products is
'slug_taken: Another product just took this address; try again.';

comment on table public.products is
'Digital products. Visible while active, approved and of a seller in good standing; always to the seller, to buyers '
'and to admins. Counters, ratings, tags search and sorting are on its catalog_items row, its files in product_files.';
comment on column public.products.seller_id is 'Who sells it; always the caller.';
comment on column public.products.title is 'Title, one line of at most 255 characters.';
comment on column public.products.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.products.description is 'Rich text, at most 20,000 characters.';
comment on column public.products.product_type is 'Fixed when created.';
comment on column public.products.source_webinar_id is 'The webinar it records; written by the conversion only.';
comment on column public.products.thumbnail_url is
'Address of the picture for lists, http(s) only: from outside, or of the small copy of image_media_id.';
comment on column public.products.preview_images is 'Pictures of the product page, http(s) only.';
comment on column public.products.preview_audio_url is 'Audio preview, http(s) only.';
comment on column public.products.preview_video_url is 'Video preview, http(s) only.';
comment on column public.products.file_size_bytes is 'Bytes of all its files together; kept by trigger.';
comment on column public.products.file_types is 'Distinct file endings, for example {wav,zip}; kept by trigger.';
comment on column public.products.price_cents is
'Price, cents: 0 is free, else 50 to 99999999. The suggested price when buyers name theirs. Orders keep the price they '
'were made at.';
comment on column public.products.is_free is 'True when the price is 0.';
comment on column public.products.allow_name_your_price is 'Whether buyers name their price.';
comment on column public.products.minimum_price_cents is
'Lowest price a buyer may name, cents: 0 or 50 and more, not above price_cents. Null unless name-your-price, where a '
'missing one becomes price_cents.';
comment on column public.products.technical_details is
'Facts for people, an object: bpm, key, sample_rate, bit_depth and the like.';
comment on column public.products.license_type is
'What buyers may do with it; exclusive is an option''s only, see catalog_options.';
comment on column public.products.license_text is 'Licence in words; required for custom.';
comment on column public.products.license_version is
'Counts the changes of the licence; kept by trigger. A buyer has the licence of their order line.';
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
        (select c.slug from public.categories as c where c.id = product.category_id),
        product.tags || product.genre_tags, null, product.is_featured,
        product.status = 'active' and product.is_approved, true, product.description, null, false
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

    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.products', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.genre_tags := private.clean_tags(new.genre_tags);

    new.minimum_price_cents := case
        when new.allow_name_your_price then coalesce(new.minimum_price_cents, new.price_cents)
    end;
    if new.license_type = 'custom' and new.license_text is null then
        perform private.fail('license_text_required');
    end if;
    -- A product is sold any number of times; what is exclusive is an option with a stock of 1.
    if new.license_type = 'exclusive' and (tg_op = 'INSERT' or old.license_type <> 'exclusive') then
        perform private.fail('license_not_allowed', 'exclusive');
    end if;
    new.license_version := case
        when tg_op = 'INSERT' then 1
        else old.license_version
            + ((new.license_type, new.license_text) is distinct from (old.license_type, old.license_text))::integer
    end;

    if new.status = 'active' and (tg_op = 'INSERT' or old.status <> 'active') and not exists (
        select from public.product_files as f where f.product_id = new.id and f.removed_at is null
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

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, description, license_text, technical_details on public.products
for each row execute function private.tidy_texts(
    'title line required', 'description body', 'license_text body', 'technical_details object'
);

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

select private.make_media_column(
    'public.products', 'image_media_id', 'product', 'seller_id', '{"thumbnail_url": "small"}'
);
create trigger sync_catalog_picture after insert or update on public.products
for each row execute function private.sync_catalog_picture();

-- What admins said about a product: for the seller and the admins, hence not on the product's public row.
create table public.product_approvals (
    product_id uuid not null,
    is_approved boolean not null,
    approval_notes text,
    reviewed_at timestamptz not null default now(),
    constraint product_approvals_pkey primary key (product_id),
    constraint product_approvals_product_id_fkey foreign key (product_id)
    references public.products (id) on delete cascade,
    constraint product_approvals_approval_notes_check check (private.is_note(approval_notes))
);

-- What a client that breaks it by review_product() is told, see error_catalog().
comment on constraint product_approvals_approval_notes_check on public.product_approvals is
'invalid_note: The notes of a review have at most 2,000 characters.';

comment on table public.product_approvals is
'Last review of a product; the history, and who decided, are in audit_log. Its seller and admins read, '
'review_product() writes.';
comment on column public.product_approvals.is_approved is 'The decision.';
comment on column public.product_approvals.approval_notes is 'Why, told to the seller; at most 2,000 characters.';

create function public.review_product(product_id uuid, approved boolean, notes text default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    update public.products as p set is_approved = coalesce(approved, false)
    where p.id = review_product.product_id;
    if not found then
        perform private.fail('item_not_found', review_product.product_id::text);
    end if;
    insert into public.product_approvals as a (product_id, is_approved, approval_notes)
    values (review_product.product_id, coalesce(approved, false), notes)
    on conflict on constraint product_approvals_pkey do update set
        is_approved = excluded.is_approved, approval_notes = excluded.approval_notes, reviewed_at = now();
    perform private.audit(
        'review_product', 'product', review_product.product_id,
        jsonb_build_object('approved', coalesce(approved, false), 'notes', notes)
    );
end
$$;
comment on function public.review_product(uuid, boolean, text) is
'Admins: approves a product or takes it out of the shop, with notes for its seller; audited.';
grant execute on function public.review_product(uuid, boolean, text) to authenticated;

create function private.erase_products(seller uuid, max_rows integer default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select p.id from public.products as p
        where p.seller_id = seller and (p.status <> 'deleted' or not private.item_has_orders(p.id))
        order by p.id
        limit max_rows
        for update
    );
begin
    begin
        delete from public.products as p where p.id = any(chosen) and not private.item_has_orders(p.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    update public.products as p set status = 'deleted' where p.id = any(chosen) and p.status <> 'deleted';
    return cardinality(chosen);
end
$$;
comment on function private.erase_products(uuid, integer) is
'Account deletion: removes a seller''s products that nobody ordered and takes the others off sale for good, at most '
'max_rows; how many.';

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('products', 'items', '{}',
    'select private.erase_products($1)', 'select 10 * private.erase_products($1, 1 + $2 / 10)');

alter table public.products enable row level security;
grant select on public.products to anon, authenticated, service_role;
grant
insert (
    title, slug, description, product_type, thumbnail_url, preview_images, preview_audio_url, preview_video_url,
    price_cents, allow_name_your_price, minimum_price_cents, technical_details, license_type, license_text,
    category_id, tags, genre_tags, status, is_featured, image_media_id
),
update (
    title, slug, description, thumbnail_url, preview_images, preview_audio_url, preview_video_url, price_cents,
    allow_name_your_price, minimum_price_cents, technical_details, license_type, license_text, category_id, tags,
    genre_tags, status, is_featured, image_media_id
),
delete
on public.products to authenticated;

-- Whoever may see the registry row may see the product. The owner comes first because an insert's RETURNING looks
-- before that row exists. A scalar subquery stays a look-up for each row, exists (…) could become a hash of all items.
create policy products_select_anon on public.products for select to anon
using ((select c.id from public.catalog_items as c where c.id = products.id) is not null);
create policy products_select on public.products for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = products.id) is not null
);
create policy products_insert on public.products for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy products_update on public.products for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));
create policy products_delete on public.products for delete to authenticated
using (seller_id = (select private.member_id()));

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of approval_notes on public.product_approvals
for each row execute function private.tidy_texts('approval_notes body');

alter table public.product_approvals enable row level security;
grant select on public.product_approvals to authenticated, service_role;
create policy product_approvals_select on public.product_approvals for select to authenticated
using (
    (select private.is_admin())
    or exists (
        select from public.products as p
        where p.id = product_approvals.product_id and p.seller_id = (select private.member_id())
    )
);

-- Products have had their review all along; hiding one is the same decision.
create function private.product_lock(ids uuid[]) returns setof private.content_state
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.hold_each('public.products', ids);
    return query select p.id, not p.is_approved from public.products as p where p.id = any (ids);
end
$$;
comment on function private.product_lock(uuid[]) is 'Hook lock: hidden is what is not approved.';

create function private.product_hide(ids uuid[], reason text) returns void
language sql
security definer
set search_path = ''
as $$
    select public.review_product(i.id, reason is null, reason) from unnest(ids) as i (id)
$$;
comment on function private.product_hide(uuid[], text) is 'Hook hide: see review_product().';

-- Licences beside the product's own: each an option with its price; the exclusive one ends the others.
create function private.product_check_option(ids uuid[], options public.catalog_options[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    option public.catalog_options;
    license text;
begin
    foreach option in array options loop
        perform private.require_keys(option.details, '{license_type,license_text}', 'invalid_option');
        license := option.details ->> 'license_type';
        if license not in ('personal', 'commercial', 'exclusive', 'custom') then
            perform private.fail('invalid_option', 'license_type');
        elsif char_length(option.details ->> 'license_text') > 20000
            or license = 'custom' and option.details ->> 'license_text' is null then
            perform private.fail('invalid_option', 'license_text');
        elsif coalesce(license = 'exclusive', false) <> option.is_exclusive then
            perform private.fail('invalid_option', 'is_exclusive');
        end if;
    end loop;
end
$$;
comment on function private.product_check_option(uuid[], public.catalog_options[]) is
'Hook check_option: {license_type, license_text}; exclusive is what is sold exclusively.';

create function private.product_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
stable
set search_path = ''
as $$
begin
    return query
    select
        l.no, p.description, coalesce((o.details ->> 'license_type')::public.license_type, p.license_type),
        case when o.details ? 'license_type' then o.details ->> 'license_text' else p.license_text end,
        p.license_version,
        jsonb_build_object('technical_details', p.technical_details) || case
            -- What was sold before stays valid beside an exclusive licence.
            when o.is_exclusive then jsonb_build_object('earlier_licenses', (
                select coalesce(jsonb_object_agg(e.license_type, e.n), '{}')
                from (
                    select l.license_type, count(*) as n
                    from public.purchases as b
                    inner join public.order_items as i on i.id = b.order_item_id
                    left join private.line_parts as x on x.order_item_id = i.id and x.item_id = b.item_id
                    cross join lateral (select coalesce(x.license_type, i.license_type) as license_type) as l
                    where b.item_id = p.id and b.revoked_at is null and l.license_type is not null
                    group by l.license_type
                ) as e
            ))
            else '{}'
        end,
        0::bigint,
        case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end,
        0::bigint, false
    from unnest(lines) as l
    inner join public.products as p on p.id = l.item_id
    left join public.catalog_options as o on o.id = l.option_id;
end
$$;
comment on function private.product_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: the licence is that of the option, else of the product.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.products', 'status', null, 'draft', 'its seller begins'),
('public.products', 'status', null, 'paused', 'made for later'),
('public.products', 'status', null, 'deleted', 'made for nobody'),
('public.products', 'status', 'draft', 'active', 'has files, goes on sale'),
('public.products', 'status', 'draft', 'paused', 'by its seller'),
('public.products', 'status', 'draft', 'deleted', 'by its seller, or the seller left'),
('public.products', 'status', 'active', 'draft', 'by its seller'),
('public.products', 'status', 'active', 'paused', 'by its seller'),
('public.products', 'status', 'active', 'deleted', 'by its seller, or the seller left'),
('public.products', 'status', 'paused', 'draft', 'by its seller'),
('public.products', 'status', 'paused', 'active', 'goes on sale again'),
('public.products', 'status', 'paused', 'deleted', 'by its seller, or the seller left');
select private.build_moves('public.products', 'status');

insert into private.kinds (kind, relation, owner_column, page, is_bundled, hooks) values
('product', 'public.products', 'seller_id', '/catalog_items/{id}', true,
    '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete,give}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('products', 'public.products',
    't.seller_id = $1',
    '{seller_id, title, slug, description, source_webinar_id, thumbnail_url, preview_images, preview_audio_url, '
    'preview_video_url, file_types, technical_details, license_text, tags, genre_tags}',
    'sold: its buyers keep it as they bought it'),
('product_approvals', 'public.product_approvals',
    't.product_id in (select p.id from public.products as p where p.seller_id = $1)', '{approval_notes}',
    'what an admin said of something that was sold');

insert into private.error_codes (code, sqlstate, message, description) values
('license_text_required', 'PT400', 'A custom licence needs its text.', 'Send license_text with license_type custom.'),
('license_not_allowed', 'PT400', 'A product itself is not sold exclusively.',
'It is sold any number of times. Add an option with is_exclusive, a stock of 1 and license_type exclusive.'),
('product_has_no_files', 'PT409', 'This product has no files.',
'A product on sale needs at least one row in product_files: upload to the bucket product-files, add the row, then set '
'status active. The last file of a product on sale or once ordered is only replaced: add the new one first.'),
('product_deleted', 'PT409', 'This product was deleted.', 'Deleting is final. Create a new product.'),
('item_not_found', 'PT404', 'This item does not exist.', 'No item with that id, or none the caller may see.');
