-- The registry of everything that can be sold, favoured, reviewed or put in a cart: one row per item of any kind, with
-- the item's own id. Each kind is a table of its own whose trigger keeps its row here; the rest of the platform knows
-- only this table. A new kind of thing to sell is one page: its table, one catalog_entry() function, the generic
-- trigger and its row in private.kinds.

create table public.catalog_items (
    id uuid not null,
    kind text not null,
    seller_id uuid not null,
    title text not null,
    -- text, not citext: behind a policy only leakproof comparisons use an index.
    slug text not null,
    thumbnail_url public.http_url,
    price_cents bigint not null,
    minimum_price_cents bigint,
    currency character(3) not null,
    category text,
    tags text[] not null default '{}',
    stock integer,
    taken integer not null default 0,
    is_unique boolean not null generated always as (coalesce(stock = 1, false)) stored,
    is_repeatable boolean not null,
    is_browsable boolean not null,
    has_seats boolean not null default false,
    requires_shipping boolean not null,
    is_featured boolean not null,
    is_published boolean not null,
    is_for_sale boolean not null,
    is_exclusively_sold boolean not null default false,
    seller_is_active boolean not null,
    is_visible boolean not null generated always as (is_published and seller_is_active) stored,
    is_sold_out boolean not null generated always as (
        coalesce(purchases_count >= stock, false) and not has_seats or is_exclusively_sold
    ) stored,
    is_buyable boolean not null generated always as (
        is_published and is_for_sale and seller_is_active
        and not (coalesce(purchases_count >= stock, false) and not has_seats or is_exclusively_sold)
    ) stored,
    is_listed boolean not null generated always as (
        is_published and is_for_sale and seller_is_active and is_browsable
        and not (coalesce(purchases_count >= stock, false) and not has_seats or is_exclusively_sold)
    ) stored,
    views_count bigint not null default 0,
    favorites_count integer not null default 0,
    comments_count integer not null default 0,
    purchases_count integer not null default 0,
    paid_purchases_count integer not null default 0,
    popularity smallint not null generated always as (
        floor(4 * ln((1 + paid_purchases_count)::double precision) / ln(2::double precision))::smallint
    ) stored,
    rating_average numeric(3, 2),
    reviews_count integer not null default 0,
    search tsvector not null,
    published_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    image_media_id uuid,
    constraint catalog_items_pkey primary key (id),
    constraint catalog_items_kind_slug_key unique (kind, slug),
    constraint catalog_items_kind_fkey foreign key (kind) references private.kinds (kind),
    constraint catalog_items_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint catalog_items_image_media_id_fkey foreign key (image_media_id)
    references public.media (id) on delete set null,
    constraint catalog_items_price_cents_check check (private.is_price(price_cents)),
    constraint catalog_items_minimum_price_cents_check check (
        minimum_price_cents is null or private.is_price(minimum_price_cents) and minimum_price_cents <= price_cents
    ),
    constraint catalog_items_stock_check check (stock between 0 and 1000000 and taken between 0 and 1000000),
    constraint catalog_items_taken_check check (taken <= stock or stock <= 1 or has_seats),
    constraint catalog_items_counts_check check (
        views_count >= 0 and favorites_count >= 0 and comments_count >= 0 and purchases_count >= 0
        and paid_purchases_count >= 0 and reviews_count >= 0 and rating_average between 1 and 5
    ),
    constraint catalog_items_published_at_check check (not is_published or published_at is not null)
)
-- Every sale, view and favourite rewrites a row here. Room on the page lets the counters without an index stay HOT;
-- vacuum early, so that index-only work and page pruning keep up with a busy item.
with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- What pages sort by, as keysets: the next page starts at the last row's (value, id). Only what is on sale is listed.
create index catalog_items_published_at_id_idx on public.catalog_items (published_at desc, id desc) where is_listed;
create index catalog_items_kind_published_at_id_idx on public.catalog_items (kind, published_at desc, id desc)
where is_listed;
create index catalog_items_category_published_at_id_idx on public.catalog_items (category, published_at desc, id desc)
where is_listed;
create index catalog_items_price_cents_id_idx on public.catalog_items (price_cents, id) where is_listed;
create index catalog_items_popularity_id_idx on public.catalog_items (popularity desc, id desc) where is_listed;
-- Without a condition: a seller sees drafts too, last in this order.
create index catalog_items_seller_id_published_at_idx on public.catalog_items (seller_id, published_at desc, id desc);
create index catalog_items_image_media_id_idx on public.catalog_items (image_media_id) where image_media_id is not null;
create index catalog_items_featured_idx on public.catalog_items (seller_id, id) where is_featured;
create index catalog_items_tags_idx on public.catalog_items using gin (tags) where is_listed;

comment on table public.catalog_items is
'Registry of all items. Same id as the row it mirrors; written by triggers and the server, read-only to clients. Pages '
'filter on is_listed and sort by published_at (newest first), price_cents or popularity, each with id. Texts: '
'search_catalog().';
comment on column public.catalog_items.id is 'Id of the row in the kind''s own table.';
comment on column public.catalog_items.kind is 'Which kind it is of: product, artwork.';
comment on column public.catalog_items.title is 'Title to show.';
comment on column public.catalog_items.slug is 'Address part, unique per kind.';
comment on column public.catalog_items.thumbnail_url is 'Picture to show in lists.';
comment on column public.catalog_items.image_media_id is 'The picture its copies are of; null for one from outside.';
comment on column public.catalog_items.price_cents is 'Price, cents; 0 is free. Suggested price when name-your-price.';
comment on column public.catalog_items.minimum_price_cents is
'Lowest accepted price when buyers name it, cents; 0 lets it go free. Null: the price is fixed.';
comment on column public.catalog_items.category is 'Slug of the category for products, the category of artworks.';
comment on column public.catalog_items.tags is 'Lower-case tags, genres included.';
comment on column public.catalog_items.stock is
'How many there are: 1 is one of a kind, more are copies or seats; null: as many as are wanted.';
comment on column public.catalog_items.taken is
'Of a stock of several, how many are sold or held; read and changed under the row''s lock only. 0 for others.';
comment on column public.catalog_items.is_unique is 'One of a kind: sold once, quantity 1, held at checkout.';
comment on column public.catalog_items.is_repeatable is
'Whether somebody who has bought it can buy it again: services, tips. Others are owned once, per option.';
comment on column public.catalog_items.is_browsable is 'Whether shop pages and searches show it; of its kind.';
comment on column public.catalog_items.has_seats is
'Its stock are seats, one for a person: it stays listed when all are taken, as somebody may give one back.';
comment on column public.catalog_items.requires_shipping is
'Whether it is sent to its buyer: checkout needs an address and adds shipping.';
comment on column public.catalog_items.is_featured is 'Shown first by its seller.';
comment on column public.catalog_items.is_published is 'Shown by its seller and not taken down.';
comment on column public.catalog_items.is_for_sale is 'Can be bought when visible; false for sold and display pieces.';
comment on column public.catalog_items.is_exclusively_sold is
'Its exclusive option is sold: whoever bought another one before keeps it, nobody else can buy. Kept by trigger.';
comment on column public.catalog_items.is_sold_out is
'All of the stock is sold, or it was sold exclusively. Never of seats.';
comment on column public.catalog_items.is_buyable is 'What checkout asks: visible, for sale, not sold out.';
comment on column public.catalog_items.seller_is_active is
'False while the seller is banned or private, and once deleted.';
comment on column public.catalog_items.is_visible is 'Everybody may read it: published, by a seller in good standing.';
comment on column public.catalog_items.is_listed is
'Buyable and browsable: what shop pages show. Filter with eq.true; is.true cannot use the indexes.';
comment on column public.catalog_items.views_count is 'Views; folded from events.';
comment on column public.catalog_items.comments_count is 'Visible comments.';
comment on column public.catalog_items.purchases_count is
'Valid entitlements to it, and pieces that were refunded and are not back.';
comment on column public.catalog_items.paid_purchases_count is 'Valid entitlements that were paid for.';
comment on column public.catalog_items.popularity is
'paid_purchases_count in steps of about a fifth (4 × log2), to sort by: with the exact count in an index every sale '
'would rewrite all of the row''s index entries. What was given away does not count: a hundred accounts cost nothing.';
comment on column public.catalog_items.rating_average is
'Mean of its counted reviews, 1 to 5; null without any. See item_ratings.';
comment on column public.catalog_items.reviews_count is 'Its counted reviews: one for each buyer.';
comment on column public.catalog_items.search is
'Full-text vector: title (A), tags (B), description (C). For search_catalog().';
comment on column public.catalog_items.published_at is
'When it was first published; kept when it is withdrawn and published again. Null: never yet.';

create type private.catalog_entry as (
    kind text,
    seller_id uuid,
    title text,
    slug text,
    thumbnail_url text,
    price_cents bigint,
    minimum_price_cents bigint,
    currency character (3),
    category text,
    tags text [],
    stock integer,
    is_featured boolean,
    is_published boolean,
    is_for_sale boolean,
    body text,
    is_repeatable boolean,
    requires_shipping boolean
);
comment on type private.catalog_entry is
'What a kind contributes to its registry row; body is only searched, is_repeatable is its kind''s when null. Each kind '
'defines private.catalog_entry(<its row>).';

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
        select private.author_audience(p) <> 'owner' into seller_is_active
        from public.profiles as p
        where p.id = entry.seller_id
        for no key update;
    end if;

    if tg_op = 'INSERT' then
        insert into public.catalog_items (
            id, kind, seller_id, title, slug, thumbnail_url, price_cents, minimum_price_cents, currency, category, tags,
            stock, is_repeatable, is_browsable, has_seats, requires_shipping, is_featured, is_published,
            is_for_sale, seller_is_active, search, published_at, created_at
        )
        select
            new.id, entry.kind, entry.seller_id, entry.title, entry.slug, entry.thumbnail_url, entry.price_cents,
            entry.minimum_price_cents, entry.currency, entry.category, entry.tags,
            entry.stock, coalesce(entry.is_repeatable, k.is_repeatable), k.is_browsable,
            k.has_seats, coalesce(entry.requires_shipping, false), entry.is_featured, entry.is_published, entry.is_for_sale,
            seller_is_active, private.search_vector(entry.title, entry.tags, entry.body),
            case when entry.is_published then new.created_at end, new.created_at
        from private.kinds as k
        where k.kind = entry.kind;
    else
        update public.catalog_items as c set
            title = entry.title, slug = entry.slug, thumbnail_url = entry.thumbnail_url,
            price_cents = entry.price_cents, minimum_price_cents = entry.minimum_price_cents,
            currency = entry.currency, category = entry.category, tags = entry.tags, stock = entry.stock,
            taken = case
                when entry.stock is distinct from before.stock then private.count_taken(c.id, entry.stock) else c.taken
            end,
            is_repeatable = coalesce(entry.is_repeatable, c.is_repeatable),
            requires_shipping = coalesce(entry.requires_shipping, false), is_featured = entry.is_featured,
            is_published = entry.is_published, is_for_sale = entry.is_for_sale,
            published_at = coalesce(c.published_at, case when entry.is_published then now() end),
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

create function private.sync_catalog_picture() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.catalog_items as c set image_media_id = new.image_media_id
    where c.id = new.id and c.image_media_id is distinct from new.image_media_id;
    return null;
end
$$;
comment on function private.sync_catalog_picture() is
'Trigger of kinds with an image_media_id, after sync_catalog_item: the registry row shows the same picture.';

-- How much of each kind a profile shows.
create table public.profile_counts (
    user_id uuid not null,
    kind text not null,
    published_count integer not null default 0,
    constraint profile_counts_pkey primary key (user_id, kind),
    constraint profile_counts_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint profile_counts_kind_fkey foreign key (kind) references private.kinds (kind),
    constraint profile_counts_published_count_check check (published_count >= 0)
);

create index profile_counts_kind_idx on public.profile_counts (kind);

comment on table public.profile_counts is
'How many published items of each browsable kind a profile has; no row: none. Readable with the profile, written by '
'triggers.';
comment on column public.profile_counts.published_count is 'Its published items, sold ones included.';

create view private.published_counts with (security_invoker = true) as
select md5(c.user_id::text || c.kind)::uuid as id, c.published_count
from public.profile_counts as c;
comment on view private.published_counts is 'profile_counts under one key, for the recount of counters.';

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'profile_counts.published_count', 'private.published_counts', 'id', 'published_count',
    'select md5(seller_id::text || kind)::uuid, count(*) from public.catalog_items where is_published and is_browsable '
    'group by 1'
);

create function private.count_published_item(kind text, seller_id uuid, change integer) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not (select k.is_browsable from private.kinds as k where k.kind = count_published_item.kind) then
        return;
    end if;
    update public.profile_counts as c set published_count = c.published_count + change
    where c.user_id = count_published_item.seller_id and c.kind = count_published_item.kind;
    if not found then
        insert into public.profile_counts (user_id, kind, published_count)
        values (count_published_item.seller_id, count_published_item.kind, change);
    end if;
end
$$;
comment on function private.count_published_item(text, uuid, integer) is
'Moves the seller''s count of published items of a browsable kind. Whoever makes the first row has locked the profile.';

alter table public.profile_counts enable row level security;
grant select on public.profile_counts to anon, authenticated, service_role;
create policy profile_counts_select on public.profile_counts for select to anon, authenticated
using ((select p.id from public.profiles as p where p.id = profile_counts.user_id) is not null);

-- A seller's standing decides over all their items at once: a ban takes them off sale, its end puts them back. So does
-- a private profile: nobody buys from somebody they cannot see.

select private.make_follow_author(
    'public.catalog_items', 'seller_id', 10, 'seller_is_active', 'private.author_audience(p) <> ''owner'''
);

create function private.item_has_orders(item_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (select from public.order_items as i where i.item_id = item_has_orders.item_id)
        or exists (select from private.line_parts as p where p.item_id = item_has_orders.item_id);
end
$$;
comment on function private.item_has_orders(uuid) is
'Whether an item was ever ordered, alone or as a part, paid for or not.';

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
    -- What is far too much is refused before each of them is looked at.
    if cardinality(tags) > 200 or char_length(array_to_string(tags, '')) > 16384 then
        perform private.fail('invalid_tags', cardinality(tags)::text);
    end if;
    cleaned := array(
        select t.tag
        from (
            select
                private.tag_form(u.tag) as tag,
                min(u.position) as position
            from unnest(tags) with ordinality as u (tag, position)
            group by 1
        ) as t
        where t.tag <> ''
        order by t.position
    );
    if cardinality(cleaned) > 20 or exists (select from unnest(cleaned) as t (tag) where not private.is_tag(t.tag)) then
        perform private.fail('invalid_tags', cardinality(cleaned)::text);
    end if;
    return cleaned;
end
$$;
comment on function private.clean_tags(text[]) is
'Tags in their form, see tag_form(), without empty ones and repeats; fails with invalid_tags above 20 or 50 '
'characters.';

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
grant select on public.catalog_items to anon, authenticated, service_role;

-- Cheapest answer first: for a page of listed items nothing but is_visible and the list of blocks, read once, is ever
-- evaluated. Whoever bought an item goes on seeing it, blocked or not.
create policy catalog_items_select_anon on public.catalog_items for select to anon
using (is_visible and seller_id <> all(array(select private.hidden_ids())));
create policy catalog_items_select on public.catalog_items for select to authenticated
using (
    (is_visible and seller_id <> all(array(select private.blocked_ids())))
    or seller_id = (select private.member_id())
    or (select private.is_admin())
    or private.has_bought((select private.member_id()), id)
);

insert into private.personal_data (section, relation, condition, stays, reason) values
('profile_counts', 'public.profile_counts',
    't.user_id = $1', '{user_id}', 'a number of what is shown, 0 once the account has ended'),
('catalog_items', 'public.catalog_items',
    null, '{seller_id, title, slug, thumbnail_url, category, tags, search}',
    'sold: its buyers keep it as they bought it; repeats products and artworks');

insert into private.error_codes (code, sqlstate, message, description) values
('item_has_orders', 'PT409', 'This item was ordered and cannot be removed.',
'Orders refer to it. Take it off sale instead: status deleted for products, archived for artworks.'),
('invalid_tags', 'PT400', 'Too many or too long tags.', 'At most 20 tags of at most 50 characters.'),
('featured_limit_reached', 'PT409', 'Your plan does not allow more featured items.',
'The detail states how many. Stop featuring another item or upgrade. Items featured before a downgrade stay.');
