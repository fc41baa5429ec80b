-- Works of art: one of a kind, or an edition of numbered copies. Selling the last one moves it to sold, a full refund
-- back to what it was before; nobody does that by hand.

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
    image_url public.http_url,
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
    edition_size integer,
    is_physical boolean not null default false,
    sold_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    is_hidden boolean not null default false,
    hidden_reason text,
    image_media_id uuid,
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
    constraint artworks_edition_size_check check (edition_size between 2 and 10000),
    constraint artworks_dimensions_check check (char_length(dimensions) between 1 and 100),
    constraint artworks_file_size_bytes_check check (file_size_bytes >= 0),
    constraint artworks_sold_at_check check ((status = 'sold') = (sold_at is not null)),
    constraint artworks_image_check check (status <> 'published' or num_nonnulls(image_url, image_media_id) > 0)
);

create index artworks_seller_id_created_at_idx on public.artworks (seller_id, created_at desc);
create index artworks_created_at_idx on public.artworks (created_at desc);
create index artworks_category_created_at_idx on public.artworks (category, created_at desc);

-- What a client that breaks these is told, see error_catalog().
comment on constraint artworks_description_check on public.artworks is
'invalid_description: A description has at most 20,000 characters.';
comment on constraint artworks_dimensions_check on public.artworks is
'invalid_dimensions: Dimensions have 1 to 100 characters.';
comment on constraint artworks_edition_size_check on public.artworks is
'invalid_edition: An edition has 2 to 10,000 copies.';
comment on constraint artworks_file_size_bytes_check on public.artworks is
'invalid_file_size: A file size is 0 or more.';
comment on constraint artworks_image_check on public.artworks is
'picture_missing: A published artwork has a picture.';
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
'Works, one of a kind or in editions. Visible while published or sold and of a seller in good standing; always to the '
'seller, the buyer and admins. Counters, search and sorting are on its catalog_items row.';
comment on column public.artworks.seller_id is 'The artist who sells it; always the caller.';
comment on column public.artworks.title is 'Title, one line of at most 255 characters.';
comment on column public.artworks.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.artworks.description is 'At most 20,000 characters.';
comment on column public.artworks.image_url is
'Address of the picture, http(s) only: from outside, or of the large copy of image_media_id.';
comment on column public.artworks.thumbnail_url is 'Address of a smaller picture for lists, likewise.';
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
comment on column public.artworks.edition_size is
'How many numbered copies there are; null: one of a kind. Artist''s proofs come on top, as options with a series. Once '
'ordered it may shrink, down to what is sold, and never grow.';
comment on column public.artworks.is_physical is 'Whether it is sent to its buyer; see shipping_rates.';
comment on column public.artworks.sold_at is 'When it was sold; kept by trigger.';
comment on column public.artworks.is_hidden is 'Taken out of the shop by an admin; written by hide_content() only.';
comment on column public.artworks.hidden_reason is 'Why, told to the seller.';

create function private.copies_of(artwork_id uuid, edition_size integer) returns integer
language sql
stable
set search_path = ''
as $$
    select coalesce(edition_size, 1) + coalesce((
        select sum(o.stock) from public.catalog_options as o where o.item_id = artwork_id and o.is_set_aside
    ), 0)::integer
$$;
comment on function private.copies_of(uuid, integer) is 'Copies of a work: of the edition and of the series beside it.';

create function private.catalog_entry(artwork public.artworks) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'artwork', artwork.seller_id, artwork.title, artwork.slug, coalesce(artwork.thumbnail_url, artwork.image_url),
        artwork.price_cents, null, artwork.currency, artwork.category::text, artwork.tags,
        private.copies_of(artwork.id, artwork.edition_size), artwork.is_featured,
        artwork.status in ('published', 'sold') and not artwork.is_hidden,
        artwork.is_for_sale and artwork.status <> 'sold', artwork.description, null, artwork.is_physical
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.artworks) is 'An artwork''s registry row.';

create function private.check_edition(artwork_id uuid, before integer, after integer) returns void
language plpgsql
set search_path = ''
as $$
begin
    -- The registry's row first, as a checkout has it: what is sold or held does not change meanwhile.
    perform from public.catalog_items as c where c.id = check_edition.artwork_id for no key update;
    if after is null and exists (select from public.catalog_options as o where o.item_id = check_edition.artwork_id) then
        perform private.fail('edition_fixed', artwork_id::text);
    end if;
    if private.item_has_orders(artwork_id) and (
        before is null or after is null or after > before or after < greatest(
            (
                select max(p.number) from public.purchases as p
                where
                    p.item_id = check_edition.artwork_id and p.option_id is null
                    and (p.revoked_at is null or p.is_away)
            ),
            (
                select count(*) from public.purchases as p
                where
                    p.item_id = check_edition.artwork_id and p.option_id is null
                    and (p.revoked_at is null or p.is_away)
            ) + (
                select coalesce(sum(h.quantity), 0) from private.holds as h
                where h.item_id = check_edition.artwork_id and h.option_id is null
            )
        )
    ) then
        perform private.fail('edition_fixed', artwork_id::text);
    end if;
end
$$;
comment on function private.check_edition(uuid, integer, integer) is
'Fails with edition_fixed when an edition that was ordered grows, or shrinks below what is sold or held, and when one '
'with series beside it is to be one of a kind.';

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
    if tg_op = 'UPDATE' and new.edition_size is distinct from old.edition_size then
        perform private.check_edition(new.id, old.edition_size, new.edition_size);
    end if;
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
-- the owner of the schema when sell_artworks() did, even inside a client's checkout.
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

select private.make_media_column(
    'public.artworks', 'image_media_id', 'artwork', 'seller_id', '{"image_url": "large", "thumbnail_url": "small"}'
);
create trigger sync_catalog_picture after insert or update on public.artworks
for each row execute function private.sync_catalog_picture();

create function private.withdraw_artworks() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.artworks as a set status = 'draft'
    where a.image_media_id = new.id and a.status = 'published' and a.image_url is null;
    return null;
end
$$;
comment on function private.withdraw_artworks() is
'Trigger on media: a work that was published before its picture was ready is a draft again when there is none.';
create trigger withdraw_artworks after update on public.media
for each row when (old.status = 'pending' and new.status = 'failed')
execute function private.withdraw_artworks();

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

-- Whatever the seller did with it since checkout: who held it and paid gets it.
create function private.sell_artworks(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    with sold as (
        select a.id, a.status from public.artworks as a
        inner join public.catalog_items as c on c.id = a.id and c.is_sold_out
        where a.id = any (ids) and a.status <> 'sold'
        order by a.id
        for no key update of a
    ),

    kept as (
        insert into private.artworks_before_sale as b (artwork_id, status)
        select s.id, s.status from sold as s
        on conflict on constraint artworks_before_sale_pkey do update set status = excluded.status
    )

    update public.artworks as a set status = 'sold' from sold as s where a.id = s.id;
end
$$;
comment on function private.sell_artworks(uuid[]) is 'Works of which nothing is left become sold.';

create function private.artwork_grant(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    items uuid[] := array(
        select distinct p.item_id from public.purchases as p where p.id = any (ids) order by p.item_id
    );
    series record;
begin
    -- Numbers are given out under the item's lock, which counting the grants has taken: never one twice. What came back
    -- is given out again first, what is away or lost not.
    for series in
        select p.item_id, p.option_id, array_agg(p.id order by u.no) as ids
        from unnest(ids) with ordinality as u (id, no)
        inner join public.purchases as p on p.id = u.id and p.number is null
        inner join public.artworks as a on a.id = p.item_id and a.edition_size is not null
        group by p.item_id, p.option_id
        order by p.item_id, p.option_id
    loop
        with used as (
            select coalesce(max(p.number), 0) as highest from public.purchases as p
            where p.item_id = series.item_id and p.option_id is not distinct from series.option_id
        ),

        returned as (
            select distinct p.number from public.purchases as p
            where
                p.item_id = series.item_id and p.option_id is not distinct from series.option_id
                and p.number is not null and p.revoked_at is not null
                and not exists (
                    select from public.purchases as o
                    where
                        o.item_id = p.item_id and o.option_id is not distinct from p.option_id
                        and o.number = p.number and (o.revoked_at is null or o.is_away)
                )
        ),

        free as (
            select f.number, row_number() over (order by f.number) as no
            from (
                select r.number from returned as r
                union all
                select u.highest + n from used as u cross join generate_series(1, cardinality(series.ids)) as n
            ) as f
        )

        update public.purchases as p set number = f.number
        from free as f
        where f.no <= cardinality(series.ids) and p.id = series.ids[f.no];
    end loop;
    perform private.sell_artworks(items);
end
$$;
comment on function private.artwork_grant(uuid[]) is
'Hook grant: copies get their numbers; what is sold out becomes sold.';

create function private.artwork_revoke(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- It is again what it was before the sale. What came back by post is off the shop until its seller puts it in again;
    -- and a seller who left sells nothing.
    update public.artworks as a set status = case
        when reason = 'returned' or exists (
            select from public.profiles as p where p.id = a.seller_id and p.deleted_at is not null
        ) then 'archived'
        else coalesce(
            (select b.status from private.artworks_before_sale as b where b.artwork_id = a.id)::text, 'published'
        )
    end::public.artwork_status
    from public.catalog_items as c
    where
        a.id in (select p.item_id from public.purchases as p where p.id = any (ids))
        and c.id = a.id and not c.is_sold_out and a.status = 'sold';
end
$$;
comment on function private.artwork_revoke(uuid[], text) is
'Hook revoke: a sold work is what it was before the sale, unless all of it is still somebody''s or away.';

create function private.artwork_restore(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.artwork_grant(ids);
end
$$;
comment on function private.artwork_restore(uuid[]) is
'Hook restore: as when it was granted; a copy whose number was given to another gets a new one.';

create function private.artwork_check_option(ids uuid[], options public.catalog_options[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    option public.catalog_options;
begin
    foreach option in array options loop
        perform private.require_keys(option.details, '{series}', 'invalid_option');
        if coalesce(option.details ->> 'series', '') !~ '^[A-Z]{1,5}$' then
            perform private.fail('invalid_option', 'series');
        elsif not option.is_set_aside or option.is_exclusive then
            perform private.fail('invalid_option', 'is_set_aside');
        end if;
    end loop;
    if options <> '{}'
        and exists (select from public.artworks as a where a.id = any (ids) and a.edition_size is null) then
        perform private.fail('invalid_option', 'one of a kind');
    end if;
    -- As in check_edition().
    perform from public.catalog_items as c where c.id = any (ids) order by c.id for no key update;
    perform private.fail('edition_fixed', a.id::text)
    from public.artworks as a
    inner join public.catalog_items as c on c.id = a.id
    where
        a.id = any (ids) and private.copies_of(a.id, a.edition_size) > c.stock and private.item_has_orders(a.id);
    update public.catalog_items as c set
        stock = private.copies_of(a.id, a.edition_size),
        taken = private.count_taken(c.id, private.copies_of(a.id, a.edition_size))
    from public.artworks as a
    where c.id = any (ids) and a.id = c.id;
end
$$;
comment on function private.artwork_check_option(uuid[], public.catalog_options[]) is
'Hook check_option: {series}, such as AP for artist''s proofs; set aside, and on top of the edition. Errors: '
'invalid_option, edition_fixed.';

create function private.artwork_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
stable
set search_path = ''
as $$
begin
    return query
    select
        l.no, a.description, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object(
            'image_url', a.image_url, 'category', a.category, 'dimensions', a.dimensions,
            'edition_size', case when o.id is null then a.edition_size else o.stock end,
            'series', o.details ->> 'series'
        )),
        0::bigint,
        case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end,
        0::bigint, false
    from unnest(lines) as l
    inner join public.artworks as a on a.id = l.item_id
    left join public.catalog_options as o on o.id = l.option_id;
end
$$;
comment on function private.artwork_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: what the buyer saw of the work, and of which edition it is.';

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
    dimensions, file_size_bytes, status, is_featured, is_for_sale, edition_size, is_physical, image_media_id
),
update (
    title, slug, description, image_url, thumbnail_url, price_cents, original_price_cents, category, tags,
    dimensions, file_size_bytes, status, is_featured, is_for_sale, edition_size, is_physical, image_media_id
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
('public.artworks', 'status', 'published', 'draft', 'by its seller, or its picture failed'),
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
('artwork', 'public.artworks', 'seller_id', '/catalog_items/{id}',
    '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,lock_own,grant,revoke,restore,complete,'
    'give}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('artworks', 'public.artworks',
    't.seller_id = $1',
    '{seller_id, title, slug, description, image_url, thumbnail_url, tags, dimensions, hidden_reason}',
    'sold: its buyers keep it as they bought it');

insert into private.error_codes (code, sqlstate, message, description) values
('edition_fixed', 'PT409', 'The edition can no longer change like this.',
'Once a copy was ordered an edition, its series included, may shrink, down to what is sold or held, and never grow. '
'With a series beside it a work is not one of a kind: remove that first.'),
('artwork_sold', 'PT409', 'This artwork was sold.', 'A sold work does not change; a full refund puts it back on sale.'),
('status_not_allowed', 'PT409', 'This status is not set by hand.', 'An artwork becomes sold by a sale only.');
