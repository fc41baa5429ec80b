-- Standing and counters.
-- What the community stands on, and what it changes in what was there: counters that do not queue, who may know of
-- whom, the turn that changes of an account's standing take, what leaves with an account. Small tables and function
-- bodies; profiles.handle and the slugs' type touch each row of profiles once and rebuild the slugs' indexes.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- The locks are short: citext to text rewrites no table but its indexes, handle is computed once for each profile, and the
-- checks are the ones that were there.
-- squawk-ignore-file changing-column-type, adding-field-with-default, ban-drop-constraint, constraint-missing-not-valid
-- squawk-ignore-file require-concurrent-index-creation

set local check_function_bodies = off;

drop policy artworks_select_anon on public.artworks;

drop policy artworks_select on public.artworks;

drop policy catalog_items_select on public.catalog_items;

drop policy products_select_anon on public.products;

drop policy products_select on public.products;

drop policy profiles_select on public.profiles;

drop policy avenue_objects_delete on storage.objects;

drop policy avenue_objects_insert on storage.objects;

drop policy avenue_objects_select on storage.objects;

drop trigger follow_seller_standing on public.profiles;

alter table public.artworks
    drop constraint artworks_slug_check;

alter table public.products
    drop constraint products_slug_check;

create table private.erasure_steps (
    step text not null,
    position integer not null,
    statement text not null,
    constraint erasure_steps_pkey primary key (step)
);

alter table private.erasure_steps
    enable row level security;

alter table private.settings
    add column trending_half_life interval not null default '2 days'::interval;

alter table public.artworks
    add column is_hidden boolean not null default false;

alter table public.artworks
    add column hidden_reason text;

alter table public.profiles
    add column handle text generated always as (lower((username)::text)) stored not null;

alter table public.artworks
    alter column slug type text using slug::text;

alter table public.catalog_items
    alter column slug type text using slug::text;

alter table public.products
    alter column slug type text using slug::text;

create type public.audience as enum (
    'public',
    'members',
    'group',
    'owner'
);

alter type private.catalog_entry alter attribute slug type text cascade;

create or replace function private.author_audience (
    author public.profiles
)
    returns public.audience
    language sql
    immutable
    set search_path to ''
    AS $function$
    select case
        when author.is_banned or author.deleted_at is not null or author.profile_visibility = 'private' then 'owner'
        when author.profile_visibility = 'members_only' then 'members'
        else 'public'
    end::public.audience
$function$;

create or replace function private.blocked_ids()
    returns SETOF uuid
    language plpgsql
    stable
    security definer
    rows 10
    set search_path to ''
    AS $function$
begin
    return query
    select b.blocked_id from public.user_blocks as b where b.blocker_id = auth.uid()
    union all
    select b.blocker_id from public.user_blocks as b where b.blocked_id = auth.uid();
end
$function$;

create or replace function private.can_see (
    user_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return private.is_visible_to(can_see.user_id, auth.uid());
end
$function$;

create or replace function private.catalog_entry (
    artwork public.artworks
)
    returns private.catalog_entry
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        'artwork', artwork.seller_id, artwork.title, artwork.slug, coalesce(artwork.thumbnail_url, artwork.image_url),
        artwork.price_cents, null, artwork.currency, artwork.category::text, artwork.tags, true, artwork.is_featured,
        artwork.status in ('published', 'sold') and not artwork.is_hidden,
        artwork.is_for_sale and artwork.status <> 'sold', artwork.description
    )::private.catalog_entry
$function$;

create or replace function private.catalog_entry (
    product public.products
)
    returns private.catalog_entry
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        'product', product.seller_id, product.title, product.slug, product.thumbnail_url, product.price_cents,
        product.minimum_price_cents, product.currency,
        (select c.slug from public.categories as c where c.id = product.category_id),
        product.tags || product.genre_tags, false, product.is_featured,
        product.status = 'active' and product.is_approved, true, product.description
    )::private.catalog_entry
$function$;

create or replace function private.change_standing_in_turn()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- One at a time of each caller: who has much and asks often would fill the queue before those who could ban them.
    -- Not with the turn in hand already, which another request of theirs may wait for.
    if current_setting('avenue.rows_held', true) is distinct from 'on' then
        perform pg_advisory_xact_lock(hashtextextended('avenue:standing:' || auth.uid(), 0));
    end if;
    perform private.take_standing_turn();
    return null;
end
$function$;

create or replace function private.check_artwork()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    new.title := btrim(new.title);
    new.slug := nullif(lower(btrim(new.slug)), '');
    if new.slug is null then
        new.slug := private.free_slug(new.title, 'public.artworks', new.id);
    elsif (tg_op = 'INSERT' or new.slug <> old.slug) and exists (
        select from public.artworks as a where a.slug = new.slug and a.id <> new.id
    ) then
        perform private.fail('slug_taken', new.slug);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.dimensions := nullif(btrim(new.dimensions), '');
    new.sold_at := case when new.status = 'sold' then coalesce(new.sold_at, now()) end;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
    end if;
    return new;
end
$function$;

create or replace function private.check_product()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
    new.slug := nullif(lower(btrim(new.slug)), '');
    if new.slug is null then
        new.slug := private.free_slug(new.title, 'public.products', new.id);
    elsif (tg_op = 'INSERT' or new.slug <> old.slug) and exists (
        select from public.products as p where p.slug = new.slug and p.id <> new.id
    ) then
        perform private.fail('slug_taken', new.slug);
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
$function$;

create or replace function private.erase_account (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    step private.erasure_steps;
begin
    -- One account ends at a time: two that liked and followed each other would wait in a circle.
    perform private.take_standing_turn();
    perform private.lock_gates('account', '{}', array[erase_account.user_id]);
    insert into private.file_erasures as f (user_id) values (erase_account.user_id)
    on conflict on constraint file_erasures_pkey do update set requested_at = now(), completed_at = null;
    for step in select * from private.erasure_steps as e where e.position < 0 order by e.position, e.step loop
        execute step.statement using erase_account.user_id;
    end loop;

    -- Items before the profile: the order in which a seller's own changes take their locks.
    perform private.erase_products(erase_account.user_id);
    perform private.erase_artworks(erase_account.user_id);

    -- Unlists what is left and ends membership.
    update public.profiles as p set
        username = 'deleted-' || left(encode(sha256(uuid_send(p.id)), 'hex'), 22),
        display_name = null, full_name = null, bio = null, avatar_url = null, banner_url = null, smart_link = null,
        website_url = null, experience_level = null, role = 'member', profile_visibility = 'members_only',
        is_partner_account = false, followers_count = 0, following_count = 0, deleted_at = now()
    where p.id = erase_account.user_id and p.deleted_at is null;

    for step in select * from private.erasure_steps as e where e.position >= 0 order by e.position, e.step loop
        execute step.statement using erase_account.user_id;
    end loop;

    delete from public.profile_settings as s where s.user_id = erase_account.user_id;
    delete from public.artist_profiles as a where a.user_id = erase_account.user_id;
    delete from public.user_categories as c where c.user_id = erase_account.user_id;
    delete from public.user_skills as s where s.user_id = erase_account.user_id;
    delete from public.user_genres as g where g.user_id = erase_account.user_id;
    delete from public.custom_field_requesters as r where r.user_id = erase_account.user_id;
    delete from public.profile_locations as l where l.user_id = erase_account.user_id;
    delete from public.bans as b where b.user_id = erase_account.user_id;
    delete from public.cart_items as c where c.user_id = erase_account.user_id;
    update public.orders as o set shipping_address = null, notes = null
    where o.user_id = erase_account.user_id and (o.shipping_address is not null or o.notes is not null);
    -- What a provider collects has to be ended there first; until then its row keeps the profile.
    delete from public.subscriptions as s where s.user_id = erase_account.user_id and s.provider is null;

    begin
        perform private.enqueue('erase_user_files', jsonb_build_object('user_id', erase_account.user_id));
    exception when others then
        -- The workers' sweep finds the row above.
        raise warning 'erase_user_files not queued: %', sqlerrm;
    end;

    -- Without any financial history nothing of the account is left. The foreign keys know best what history is.
    begin
        -- A sale that is just settling holds the wallet: wait, then look.
        perform from public.wallets as w where w.user_id = erase_account.user_id for update;
        if not exists (
            select from ledger.entries as e
            inner join ledger.accounts as a on a.id = e.account_id
            where a.owner_id = erase_account.user_id
        ) then
            delete from ledger.accounts as a where a.owner_id = erase_account.user_id;
            delete from public.wallets as w where w.user_id = erase_account.user_id;
            delete from public.profiles as p where p.id = erase_account.user_id;
        end if;
    exception when foreign_key_violation or restrict_violation then
        null;
    end;
end
$function$;

create or replace function private.follow_seller_standing()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    active boolean := private.author_audience(new) <> 'owner';
begin
    update public.catalog_items as c set seller_is_active = active
    where c.seller_id = new.id and c.seller_is_active <> active;
    return null;
end
$function$;

create or replace function private.free_slug (
    title text,
    relation regclass,
    id uuid
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    base text := coalesce(nullif(btrim(left(private.slugify(title), 80), '-'), ''), 'item');
    taken boolean;
begin
    -- Two items of one title arriving together take turns; the second sees the first.
    perform pg_advisory_xact_lock(hashtextextended(relation::text || ':' || base, 0));
    execute format(
        'select exists (select from %s as t where t.slug = $1 and t.id <> $2)',
        relation
    ) into taken using base, id;
    return base || case when taken then '-' || left(replace(id::text, '-', ''), 10) else '' end;
end
$function$;

create or replace function private.is_sent_attachment (
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.messages as m
        where cardinality(m.attachments) > 0 and m.attachments @> array[is_sent_attachment.name]
    );
end
$function$;

create or replace function private.is_visible_to (
    subject uuid,
    viewer uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    -- Says the same as the policies of profiles, for a given viewer instead of the caller.
    return exists (
        select from public.profiles as p
        left join public.profiles as v on v.id = viewer and v.deleted_at is null and not v.is_banned
        where
            p.id = subject and p.deleted_at is null
            and (
                p.id = viewer
                or v.role in ('admin', 'super_admin')
                or not p.is_banned
                and (
                    p.profile_visibility = 'public'
                    or p.profile_visibility = 'members_only' and v.id is not null
                )
                and not exists (
                    select from public.user_blocks as b
                    where
                        b.blocker_id = subject and b.blocked_id = viewer
                        or b.blocker_id = viewer and b.blocked_id = subject
                )
            )
    );
end
$function$;

create or replace function private.lock_gates (
    gate text,
    shared uuid[],
    exclusive uuid[] default '{}'::uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    turn record;
begin
    for turn in
        select uuid_hash(g.id) & 1023 as stripe, bool_or(g.exclusive) as exclusive
        from (
            select s.id, false as exclusive from unnest(lock_gates.shared) as s (id)
            union all
            select e.id, true from unnest(lock_gates.exclusive) as e (id)
        ) as g
        where g.id is not null
        group by 1
        order by 1
    loop
        if turn.exclusive then
            perform pg_advisory_xact_lock(hashtext('avenue:' || gate), turn.stripe);
        else
            perform pg_advisory_xact_lock_shared(hashtext('avenue:' || gate), turn.stripe);
        end if;
    end loop;
end
$function$;

create or replace function private.may_attach (
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return cardinality(storage.foldername(name)) = 2 and exists (
        select from public.conversation_participants as p
        where p.user_id = private.member_id() and p.conversation_id::text = (storage.foldername(name))[2]
    );
end
$function$;

create or replace function private.may_read_attachment (
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.normal_form (
    value text
)
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    select btrim(regexp_replace(
        -- Through upper case, which unites variants that lower case keeps apart (final sigma, dotless i).
        lower(upper(replace(
            regexp_replace(private.tidy_name(value), '[\u2018\u2019\u02BC\u0060]', '''', 'g'), '&', ' and '
        ))),
        '[-_[:space:]\u2010-\u2015\u2212]+', ' ', 'g'
    ))
$function$;

create or replace function private.require_member()
    returns uuid
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.member_id();
begin
    if caller is null then
        -- Says why.
        perform private.require_active(auth.uid());
    end if;
    return caller;
end
$function$;

create or replace function private.sync_catalog_item()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.take_standing_turn()
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform pg_advisory_xact_lock(hashtextextended('avenue:standing', 0));
    perform set_config('avenue.rows_held', 'on', true);
end
$function$;

create or replace function private.tidy_name (
    value text
)
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    -- NFKC makes one of composed, decomposed, full-width and ligature forms; what has no width is dropped.
    select btrim(regexp_replace(
        regexp_replace(
            normalize(value, nfkc),
            '[\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180E\u200B-\u200F\u202A-\u202E\u2060-\u206F'
            '\u3164\uFE00-\uFE0F\uFEFF\uFFA0\U000E0000-\U000E0FFF]', '', 'g'
        ),
        '[[:space:][:cntrl:]\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]+', ' ', 'g'
    ))
$function$;

create or replace function private.unsent_attachments (
    max_rows integer default 1000
)
    returns table (
        bucket text,
        path text
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function public.ban_user (
    user_id uuid,
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    target public.profiles;
begin
    if ban_user.user_id = admin then
        perform private.fail('cannot_ban_yourself');
    end if;
    perform private.take_standing_turn();
    -- Shared with grant_role(): two super admins banning each other take turns, and the second is no member any more.
    perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
    perform private.require_admin();
    select * into target from public.profiles as p
    where p.id = ban_user.user_id and p.deleted_at is null
    for no key update;
    if target.id is null then
        perform private.fail('user_not_found', ban_user.user_id::text);
    end if;
    if target.role in ('admin', 'super_admin') then
        perform private.require_super_admin();
    end if;
    insert into public.bans as b (user_id, reason, banned_by)
    values (ban_user.user_id, coalesce(ban_user.reason, ''), admin)
    on conflict on constraint bans_pkey do update set reason = excluded.reason, banned_by = excluded.banned_by;
    perform private.audit('ban_user', 'profiles', ban_user.user_id, jsonb_build_object('reason', ban_user.reason));
end
$function$;

create or replace function private.authorize_download(item_id uuid, user_id uuid)
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

create or replace function public.checkout (
    items jsonb default null::jsonb,
    provider public.payment_provider default 'stripe'::public.payment_provider,
    idempotency_key text default null::text,
    shipping_address jsonb default null::jsonb,
    notes text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    limits private.settings;
    new_order uuid;
    wanted jsonb;
    problem text;
    culprit text;
    total bigint;
    unique_items uuid[];
    superseded uuid[];
    attempt uuid;
    item uuid;
    new_payment uuid;
    expires timestamptz;
begin
    select * into strict limits from private.settings;
    -- One checkout of a buyer at a time: a double click, two tabs, or the same key twice line up here.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    select o.id into new_order from public.orders as o
    where o.user_id = buyer and o.idempotency_key = checkout.idempotency_key;
    if new_order is not null then
        return private.order_summary(new_order);
    end if;
    if checkout.provider = 'paypal' then
        perform private.fail('provider_not_available', 'paypal');
    end if;
    if char_length(checkout.idempotency_key) not between 1 and 200 or char_length(checkout.notes) > 2000
        or jsonb_typeof(checkout.shipping_address) <> 'object' or length(checkout.shipping_address::text) > 4000 then
        perform private.fail('invalid_checkout', 'idempotency_key, notes or shipping_address');
    end if;

    -- What is asked for: the given items, or the cart.
    wanted := coalesce(nullif(checkout.items, 'null'::jsonb), (
        select jsonb_agg(jsonb_build_object(
            'item_id', c.item_id, 'quantity', c.quantity, 'price_cents', c.offered_price_cents
        ) order by c.added_at, c.item_id)
        from public.cart_items as c
        where c.user_id = buyer
    ), '[]');
    if jsonb_typeof(wanted) <> 'array' then
        perform private.fail('invalid_checkout', 'items must be an array');
    end if;
    if jsonb_array_length(wanted) not between 1 and 50 then
        perform private.fail('empty_checkout', 'between 1 and 50 items');
    end if;
    if exists (
        select from jsonb_array_elements(wanted) as w
        where
            jsonb_typeof(w) <> 'object'
            or coalesce(w ->> 'item_id', '') !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            or coalesce(w ->> 'quantity', '1') !~ '^[0-9]{1,2}$'
            or coalesce(w ->> 'price_cents', '0') !~ '^[0-9]{1,8}$'
    ) then
        perform private.fail('invalid_checkout', 'each item is {item_id, quantity?, price_cents?}');
    end if;

    -- The first thing wrong with the first line, if any.
    with lines as (
        select
            (w.line ->> 'item_id')::uuid as item_id,
            coalesce((w.line ->> 'quantity')::integer, 1) as quantity,
            (w.line ->> 'price_cents')::bigint as offered_cents,
            w.no,
            count(*) over (partition by (w.line ->> 'item_id')::uuid) as times
        from jsonb_array_elements(wanted) with ordinality as w (line, no)
    )

    select p.problem, l.item_id::text into problem, culprit
    from lines as l
    -- Who blocked the buyer, or was blocked by them, sells them nothing; what the buyer cannot see does not exist.
    left join public.catalog_items as c
        on
            c.id = l.item_id and c.seller_id <> all (array(select private.blocked_ids()))
            and (c.is_visible or c.seller_id = buyer or private.owns_item(buyer, c.id))
    cross join lateral (
        select case
            when c.id is null then 'item_not_available'
            when l.times > 1 then 'duplicate_item'
            when c.seller_id = buyer then 'own_item'
            when private.owns_item(buyer, l.item_id) then 'already_owned'
            when not c.is_listed and c.is_unique then 'item_sold'
            when not c.is_listed then 'item_not_available'
            when l.quantity < 1 or (c.is_unique and l.quantity > 1) then 'quantity_not_allowed'
            when c.minimum_price_cents is not null and coalesce(l.offered_cents, c.price_cents) < c.minimum_price_cents
                then 'price_too_low'
            when c.minimum_price_cents is not null
                and coalesce(l.offered_cents, c.price_cents) between 1 and limits.minimum_price_cents - 1
                then 'price_too_low'
            when c.minimum_price_cents is null and l.offered_cents <> c.price_cents then 'price_changed'
        end as problem
    ) as p
    where p.problem is not null
    order by l.no
    limit 1;
    if problem is not null then
        perform private.fail(problem, culprit);
    end if;

    select
        sum(case when c.minimum_price_cents is null then c.price_cents else coalesce(w.price_cents, c.price_cents) end
        * coalesce(w.quantity, 1)),
        array_agg(c.id order by c.id) filter (where c.is_unique)
    into total, unique_items
    from jsonb_to_recordset(wanted) as w (item_id uuid, quantity integer, price_cents bigint)
    inner join public.catalog_items as c on c.id = w.item_id;
    if total > limits.maximum_amount_cents then
        perform private.fail('amount_out_of_range', format('at most %s cents', limits.maximum_amount_cents));
    end if;

    insert into public.orders (user_id, subtotal_cents, total_cents, shipping_address, notes, idempotency_key)
    values (buyer, total, total, checkout.shipping_address, checkout.notes, checkout.idempotency_key)
    returning id into new_order;
    insert into public.order_items (
        order_id, line_no, item_id, buyer_id, seller_id, title, unit_price_cents, quantity, seller_tier, commission_bps
    )
    select
        new_order, w.no, c.id, buyer, c.seller_id, c.title,
        case
            when c.minimum_price_cents is null then c.price_cents
            else coalesce((w.line ->> 'price_cents')::bigint, c.price_cents)
        end,
        coalesce((w.line ->> 'quantity')::integer, 1),
        plan.tier, plan.commission_bps
    from jsonb_array_elements(wanted) with ordinality as w (line, no)
    inner join public.catalog_items as c on c.id = (w.line ->> 'item_id')::uuid
    cross join lateral private.seller_plan(c.seller_id) as plan;
    -- What the lines say is what is charged, even if a price changed between the two statements above.
    update public.orders as o set subtotal_cents = s.total, total_cents = s.total
    from (select sum(i.total_cents) as total from public.order_items as i where i.order_id = new_order) as s
    where o.id = new_order and s.total <> o.total_cents;

    -- Hold one-of-a-kind items. The buyer's own earlier attempt gives way; anybody else's does not. Its payment is
    -- locked first, as settlement does, and the items are taken one by one in id order: no two carts wait for each other.
    if unique_items is not null then
        superseded := array(
            select p.id from public.payments as p
            where
                p.user_id = buyer and p.order_id in (
                    select r.order_id from private.reservations as r where r.item_id = any (unique_items)
                )
            order by p.id
            for no key update
        );
        foreach item in array unique_items loop
            update private.reservations as r set order_id = new_order, created_at = now()
            where
                r.item_id = item
                and r.order_id in (select p.order_id from public.payments as p where p.id = any (superseded));
            continue when found;
            insert into private.reservations (item_id, order_id) values (item, new_order) on conflict do nothing;
        end loop;
        foreach attempt in array superseded loop
            perform private.stop_payment(attempt, 'superseded');
        end loop;
        select c.id::text into culprit from public.catalog_items as c
        where c.id = any (unique_items) and not c.is_listed
        limit 1;
        if culprit is not null then
            perform private.fail('item_sold', culprit);
        end if;
        select u.item_id::text into culprit from unnest(unique_items) as u (item_id)
        where not exists (
            select from private.reservations as r where r.item_id = u.item_id and r.order_id = new_order
        )
        limit 1;
        if culprit is not null then
            perform private.fail('item_reserved', culprit);
        end if;
    end if;

    select o.total_cents into total from public.orders as o where o.id = new_order;
    if total = 0 then
        if not private.deliver_order(new_order) then
            perform private.fail('item_not_available');
        end if;
        return private.order_summary(new_order);
    end if;

    expires := now() + case when unique_items is null then limits.payment_period else limits.reservation_period end;
    insert into public.payments (
        user_id, order_id, amount_cents, provider, fee_estimate_cents, provider_fee_cents, expires_at, status
    ) values (
        buyer, new_order, total, checkout.provider,
        private.processing_fee(checkout.provider, total, 'USD'),
        case when checkout.provider = 'wallet' then 0 end,
        expires,
        case when checkout.provider = 'wallet' then 'processing' else 'requires_payment' end::public.payment_status
    ) returning id into new_payment;
    if checkout.provider = 'wallet' then
        perform private.lock_wallets(
            array(select i.seller_id from public.order_items as i where i.order_id = new_order) || buyer
        );
        if not exists (
            select from public.wallets as w
            where w.user_id = buyer and w.balance_available_cents - private.promised_back(buyer) >= total
        ) then
            perform private.fail('insufficient_funds');
        end if;
        if private.settle_payment(new_payment) <> 'settled' then
            perform private.fail('item_not_available');
        end if;
    end if;
    return private.order_summary(new_order);
end
$function$;

alter table public.artworks
    add constraint artworks_hidden_reason_check check ((char_length(hidden_reason) <= 500));

alter table public.artworks
    add constraint artworks_slug_check
        check (((slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text) AND (char_length(slug) <= 100)));

alter table public.products
    add constraint products_slug_check
        check (((slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text) AND (char_length(slug) <= 100)));

create index profiles_handle_idx on public.profiles using btree (handle);

create trigger change_standing_in_turn
    before insert or delete on public.bans
    for each STATEMENT
    execute function private.change_standing_in_turn();

create trigger change_standing_in_turn
    before update of is_banned, deleted_at, profile_visibility on public.profiles
    for each STATEMENT
    execute function private.change_standing_in_turn();

create trigger follow_seller_standing
after update of is_banned, deleted_at, profile_visibility on public.profiles
for each row
when (
    (old.is_banned, old.deleted_at, old.profile_visibility)
    is distinct from (new.is_banned, new.deleted_at, new.profile_visibility)
)
execute function private.follow_seller_standing();

create policy artworks_select_anon on public.artworks
    for select
    to anon
    using ((( select c.id
   from public.catalog_items c
  where (c.id = artworks.id)) is not null));

create policy artworks_select on public.artworks
    for select
    to authenticated
    using (((seller_id = ( select private.member_id() as member_id)) or (( select c.id
   from public.catalog_items c
  where (c.id = artworks.id)) is not null)));

create policy catalog_items_select on public.catalog_items
    for select
    to authenticated
    using
        (((is_visible AND (seller_id <> all (ARRAY( select private.blocked_ids() as blocked_ids)))) or (seller_id = (
        select private.member_id() as member_id)) or ( select private.is_admin() as is_admin) or
        private.has_bought(( select private.member_id() as member_id), id)));

create policy products_select_anon on public.products
    for select
    to anon
    using ((( select c.id
   from public.catalog_items c
  where (c.id = products.id)) is not null));

create policy products_select on public.products
    for select
    to authenticated
    using (((seller_id = ( select private.member_id() as member_id)) or (( select c.id
   from public.catalog_items c
  where (c.id = products.id)) is not null)));

create policy profiles_select on public.profiles
    for select
    to authenticated
    using
        ((((not is_banned) AND ((profile_visibility = 'public'::public.profile_visibility) or ((profile_visibility =
        'members_only'::public.profile_visibility) AND (( select private.member_id() as member_id) is
        not null))) AND (id <> all (ARRAY( select private.blocked_ids() as blocked_ids)))) or
        (id = ( select auth.uid() as uid)) or ( select private.is_admin() as is_admin)));

create policy avenue_objects_delete on storage.objects
    for delete
    to authenticated
    using
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text])) AND private.is_own_path(name) AND
        (not ((bucket_id = 'product-files'::text) AND private.is_product_file(name))) AND
        (not ((bucket_id = 'attachments'::text) AND private.is_sent_attachment(name)))));

create policy avenue_objects_insert on storage.objects
    for insert
    to authenticated
    with
        check
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text])) AND private.is_own_path(name) AND
        ((bucket_id <> 'attachments'::text) OR private.may_attach(name))));

create policy avenue_objects_select on storage.objects
    for select
    to authenticated
    using
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text])) AND
        (private.is_own_path(name) or ((bucket_id = 'product-files'::text) AND private.has_bought_file(name)) or
        ((bucket_id = 'attachments'::text) AND private.may_read_attachment(name)))));

comment on column private.erasure_steps.position is 'Order, ascending: who refers comes before what is referred to. Negative ones run before the profile''s own row is locked: they change rows that others hold while they wait for it.';

comment on column private.erasure_steps.statement is 'One SQL statement; $1 is the user''s id.';

comment on column private.erasure_steps.step is 'Name, usually of the relation.';

comment on column private.settings.trending_half_life is 'Time after which the use of a tag weighs half as much.';

comment on column public.artworks.hidden_reason is 'Why, told to the seller.';

comment on column public.artworks.is_hidden is 'Taken out of the shop by an admin; written by hide_content() only.';

comment on column public.catalog_items.seller_is_active is 'False while the seller is banned or private, and once deleted.';

comment on column public.profiles.handle is 'The username in lower case. Look people up by it, handle=eq.ana: a filter on username reads every profile.';

comment on function private.author_audience(public.profiles) is 'The widest audience of what this person writes. Contributions carry a copy, kept by trigger, so that reading a page of them asks nothing about their authors.';

comment on function private.blocked_ids() is 'Everybody the caller blocked or was blocked by: neither sees the other anywhere.';

comment on function private.can_see(uuid) is 'Whether the caller may know of this user, see is_visible_to(). For policies on rows that name a person.';

comment on function private.change_standing_in_turn() is
'Trigger: see take_standing_turn(). Of one caller only one request waits for it.';

comment on function private.follow_seller_standing() is 'Trigger on profiles: a banned, deleted or private seller''s items are neither visible nor for sale.';

comment on function private.is_sent_attachment(text) is 'Whether a message refers to the stored object.';

comment on function private.is_visible_to(uuid, uuid) is 'Whether the viewer (null: a visitor) may know of the subject: an account that is neither deleted nor hidden from them by its visibility, a ban or a block. Admins know everybody.';

comment on function private.lock_gates(text, uuid[], uuid[]) is 'Enters the gates of accounts (gate account) or groups (gate group) until the transaction ends. Accounts before groups, both before any row that is changed; what was read before has to be read again.';

comment on function private.may_attach(text) is 'Whether an object''s name, <own id>/<conversation>/<name>, is in the folder of a conversation the caller is in.';

comment on function private.may_read_attachment(text) is 'Whether the stored object was sent in a message the caller may read now.';

comment on function private.normal_form(text) is 'What the spellings of one name share: case, spaces, hyphens, kinds of apostrophe, & or and, Unicode variants and invisible characters make no difference; accents do.';

comment on function private.require_member() is 'The caller''s id, or fails with not_signed_in (401) or banned (403). First line of every RPC for members.';

comment on function private.take_standing_turn() is 'Waits until no other account''s standing is being changed; held until the transaction ends. Before any row is locked.';

comment on function private.tidy_name(text) is 'A typed name without invisible characters, line breaks and superfluous spaces, in Unicode form NFKC.';

comment on function private.unsent_attachments(integer) is 'Stored attachments, a day old, that no message refers to: never sent, or their message was deleted for everyone.';

comment on table private.erasure_steps is 'What erase_account() does besides: each aggregate that holds personal data adds its step on its page.';

comment on table public.categories is 'The main categories. Everybody reads active ones; changed by migrations and by approved requests.';

comment on type public.audience is 'Who may read a contribution: everybody, signed-in members, active members of its group, only its author (and admins). Blocks narrow each further.';

revoke all on function private.author_audience(public.profiles) from public;

revoke all on function private.blocked_ids() from public;

grant execute on function private.blocked_ids() to authenticated;

revoke all on function private.can_see(uuid) from public;

grant execute on function private.can_see(uuid) to anon, authenticated;

revoke all on function private.change_standing_in_turn() from public;

revoke all on function private.is_sent_attachment(text) from public;

grant execute on function private.is_sent_attachment(text) to authenticated;

revoke all on function private.is_visible_to(uuid, uuid) from public;

revoke all on function private.lock_gates(text, uuid[], uuid[]) from public;

revoke all on function private.may_attach(text) from public;

grant execute on function private.may_attach(text) to authenticated;

revoke all on function private.may_read_attachment(text) from public;

grant execute on function private.may_read_attachment(text) to authenticated;

revoke all on function private.normal_form(text) from public;

grant execute on function private.normal_form(text) to authenticated;

revoke all on function private.require_member() from public;

grant execute on function private.require_member() to authenticated;

revoke all on function private.take_standing_turn() from public;

revoke all on function private.tidy_name(text) from public;

grant execute on function private.tidy_name(text) to authenticated;

revoke all on function private.unsent_attachments(integer) from public;

grant execute on function private.unsent_attachments(integer) to avenue_worker;

create unique index categories_normal_name_idx on public.categories using btree (private.normal_form(name));

-- sql/00_platform/40_counters.sql -------------------------------------------------------------------------------------
-- Counting what many people do to one row. A counter is a column of the counted row, so that pages sort and filter by
-- it and `select *` shows it. A plain `update … set n = n + 1` makes everybody who likes the same post wait for the
-- disk of everybody before them: the row stays locked until the commit is flushed. Here only one of them updates the
-- row; those who come meanwhile leave their share with the one who waits to be next, who adds them all at once.
--
-- The protocol, per counter and row, with advisory locks; fold and share are held until commit:
--   fold     who has it updates the row.
--   next     who has it waits for fold, then for everybody who left a share to commit, and adds them all.
--   share    held by everybody who left a share, so that next can wait for their commits.
-- next and share exist twice: while the shares of one turn are waited for, added and flushed, people leave theirs for
-- the other turn, so that hardly anybody waits.
-- A commit gives locks back one after the other. Who still saw next but found share free again would leave its share
-- with somebody who is through; so next is given back before the commit, as soon as share is held exclusively.
-- Whoever leaves a share has seen that somebody holds next and has not begun to add yet. So as long as nobody's
-- transaction is under way, nothing is pending and the column is exact; while people collide it is behind by at most
-- the time of two commits. Should the one who was to add them fail, the share stays pending for the next who counts,
-- or for fold_counts().
-- A transaction that left a share and counts on the row again stays with its turn: as next of the other one it would
-- wait for somebody who waits for it.

create table private.pending_counts (
    target uuid not null,
    counter text not null,
    id bigint generated always as identity,
    change integer not null,
    constraint pending_counts_pkey primary key (target, counter, id)
);

comment on table private.pending_counts is
'Shares of a counter left by transactions that found its row busy; empty but for moments. See claim_count().';
comment on column private.pending_counts.counter is 'Which counter: a row of private.counters.';
comment on column private.pending_counts.target is 'Id of the counted row.';
comment on column private.pending_counts.change is 'What is to be added.';
alter table private.pending_counts enable row level security;

create table private.counters (
    counter text not null,
    relation text not null,
    key text not null,
    count_column text not null,
    truth text not null,
    constraint counters_pkey primary key (counter)
);
comment on table private.counters is
'Every exact counter and what it counts: each aggregate adds its rows on its page. The nightly recount and the fold of '
'what crashed transactions left read it.';
comment on column private.counters.counter is 'relation.column without its schema, for example posts.likes_count.';
comment on column private.counters.relation is 'Schema-qualified counted relation.';
comment on column private.counters.key is 'Its key column, a uuid.';
comment on column private.counters.count_column is 'The counter''s column.';
comment on column private.counters.truth is
'Query giving (target uuid, n bigint): the recount of every row that has anything to count.';
alter table private.counters enable row level security;

create function private.claim_count(counter text, target uuid, change integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    -- Its low bits are the other locks'.
    fold_lock bigint := hashtextextended(counter || target::text, 1) & -8;
    share_lock bigint;
    next_lock bigint;
    -- The locks of the shares this transaction left.
    mine text;
    pending integer;
begin
    -- Who holds counted rows already must not wait here for those who wait for the rows: it adds its own change only.
    if current_setting('avenue.rows_held', true) = 'on' then
        return change;
    end if;
    <<until_claimed>>
    while not pg_try_advisory_xact_lock(fold_lock) loop
        mine := coalesce(current_setting('avenue.shares_left', true), '');
        for turn in 1..2 loop
            share_lock := fold_lock + 2 * turn;
            next_lock := share_lock + 1;
            continue when
                strpos(mine, (fold_lock + 2 * (3 - turn))::text) > 0
                or not pg_try_advisory_xact_lock_shared(share_lock);
            if not pg_try_advisory_lock(next_lock) then
                insert into private.pending_counts (counter, target, change) values (counter, target, change);
                if strpos(mine, share_lock::text) = 0 then
                    perform set_config('avenue.shares_left', mine || ' ' || share_lock, true);
                end if;
                return null;
            end if;
            begin
                perform pg_advisory_xact_lock(fold_lock);
                perform pg_advisory_xact_lock(share_lock);
                perform pg_advisory_unlock(next_lock);
            exception when query_canceled or others then
                perform pg_advisory_unlock(next_lock);
                raise;
            end;
            exit until_claimed;
        end loop;
        -- Both turns are being added up just now: wait until the first one is done.
        perform pg_advisory_xact_lock_shared(fold_lock + 2);
    end loop;
    if exists (
        select from private.pending_counts as p where p.target = claim_count.target and p.counter = claim_count.counter
    ) then
        with taken as (
            delete from private.pending_counts as p
            where p.target = claim_count.target and p.counter = claim_count.counter
            returning p.change
        )
        select sum(t.change) into pending from taken as t;
    end if;
    return change + coalesce(pending, 0);
end
$$;
comment on function private.claim_count(text, uuid, integer) is
'What the caller has to add to the counter of this row now, its own change and what others left included; null when '
'another transaction under way adds the caller''s change. For statements that touch one counted row; those that touch '
'many call add_counts(), because advisory locks are a shared, limited resource.';

create function private.add_counts(counter text, targets uuid[], changes integer[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    counted private.counters;
begin
    if targets is null then
        return;
    end if;
    select * into strict counted from private.counters as c where c.counter = add_counts.counter;
    execute format(
        'select from %s where %I = any ($1) order by %2$I for no key update', counted.relation, counted.key
    ) using targets;
    execute format(
        'update %s as r set %2$I = r.%2$I + c.change '
        'from (select u.id, sum(u.change)::integer as change from unnest($1, $2) as u (id, change) group by 1) as c '
        'where r.%3$I = c.id and c.change <> 0',
        counted.relation, counted.count_column, counted.key
    ) using targets, changes;
end
$$;
comment on function private.add_counts(text, uuid[], integer[]) is
'Adds changes to the counter of many rows, locked in the order of their ids; a row may be named more than once, one '
'that is not there is left out. For one row: claim_count().';

create function private.fold_counts(max_rows integer default 1000) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    share record;
    folded integer := 0;
begin
    for share in
        select distinct p.target, c.*
        from private.pending_counts as p
        inner join private.counters as c on c.counter = p.counter
        order by p.target, c.counter
        limit max_rows
    loop
        -- Somebody counts on this row right now and adds what is pending.
        continue when not pg_try_advisory_xact_lock(hashtextextended(share.counter || share.target::text, 1) & -8);
        execute format(
            'with taken as (delete from private.pending_counts where target = $1 and counter = $2 returning change) '
            'update %s set %2$I = %2$I + (select coalesce(sum(change), 0) from taken) where %3$I = $1',
            share.relation, share.count_column, share.key
        ) using share.target, share.counter;
        folded := folded + 1;
    end loop;
    return folded;
end
$$;
comment on function private.fold_counts(integer) is
'Adds what transactions left pending that then failed or crashed; returns how many counters it looked at. A job calls '
'it each minute.';
grant execute on function private.fold_counts(integer) to avenue_worker;

create type private.counter_drift as (counter text, target uuid, counted bigint, truth bigint);
comment on type private.counter_drift is 'A counter that says `counted` where there are `truth`.';

create function private.recount(repair boolean default false) returns setof private.counter_drift
language plpgsql
security definer
set search_path = ''
as $$
declare
    known private.counters;
begin
    for known in select * from private.counters as c order by c.counter loop
        return query execute format(
            'select %L::text, r.%I, r.%3$I::bigint, coalesce(t.n, 0)::bigint '
            'from %4$s as r left join (%5$s) as t (target, n) on t.target = r.%2$I '
            'where r.%3$I <> coalesce(t.n, 0) + coalesce('
            '(select -sum(p.change) from private.pending_counts as p where p.target = r.%2$I and p.counter = %1$L), 0)',
            known.counter, known.key, known.count_column, known.relation, known.truth
        );
        if repair then
            execute format(
                'update %s as r set %I = x.truth from (select r.%3$I as id, coalesce(t.n, 0) as truth '
                'from %1$s as r left join (%4$s) as t (target, n) on t.target = r.%3$I '
                'where r.%2$I <> coalesce(t.n, 0)) as x where r.%3$I = x.id',
                known.relation, known.count_column, known.key, known.truth
            );
            delete from private.pending_counts as p where p.counter = known.counter;
        end if;
    end loop;
end
$$;
comment on function private.recount(boolean) is
'Counters that differ from a recount: expected none, the nightly audit reports each. With repair, which an operator '
'calls while nobody writes, they are set right.';
grant execute on function private.recount(boolean) to avenue_worker;

-- sql/65_social/10_user_blocks.sql ------------------------------------------------------------------------------------
-- Who wants nothing to do with whom. A block works both ways: neither finds, reads, hears of or writes to the other,
-- wherever profiles' policies or private.blocked_ids() decide. Only who blocked knows that there is a block.

create table public.user_blocks (
    blocker_id uuid not null default auth.uid(),
    blocked_id uuid not null,
    created_at timestamptz not null default now(),
    constraint user_blocks_pkey primary key (blocker_id, blocked_id),
    constraint user_blocks_blocker_id_fkey foreign key (blocker_id) references public.profiles (id) on delete cascade,
    constraint user_blocks_blocked_id_fkey foreign key (blocked_id) references public.profiles (id) on delete cascade,
    constraint user_blocks_self_check check (blocker_id <> blocked_id)
);

create index user_blocks_blocked_id_idx on public.user_blocks (blocked_id);

comment on table public.user_blocks is 'Blocks; each is read and written by who blocked only.';
comment on column public.user_blocks.blocker_id is 'Who blocked; the caller.';
comment on column public.user_blocks.blocked_id is 'Who is blocked.';

create function public.blocked_profiles()
returns table (id uuid, username text, display_name text, avatar_url text, blocked_at timestamptz)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    return query
    select p.id, p.username::text, p.display_name, p.avatar_url::text, b.created_at
    from public.user_blocks as b
    inner join public.profiles as p on p.id = b.blocked_id
    where b.blocker_id = caller
    order by b.created_at desc, p.id;
end
$$;
comment on function public.blocked_profiles() is
'Whom the caller blocked, latest first: their profiles cannot be read any more, and one must know whom to unblock.';
grant execute on function public.blocked_profiles() to authenticated;

-- Who ends an account takes its conversations, then its blocks; who takes a block back, the block, then conversations.
create function private.hold_accounts(one uuid, other uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_gates('account', array[one, other]);
    return true;
end
$$;
comment on function private.hold_accounts(uuid, uuid) is
'Keeps both accounts from ending until the transaction does; true. For the policy on taking a block back.';
grant execute on function private.hold_accounts(uuid, uuid) to authenticated;

alter table public.user_blocks enable row level security;
revoke all on public.user_blocks from anon, authenticated, service_role;
grant select, delete on public.user_blocks to authenticated;
grant insert (blocked_id) on public.user_blocks to authenticated;
grant select on public.user_blocks to service_role;

create policy user_blocks_select on public.user_blocks for select to authenticated
using (blocker_id = (select private.member_id()));
-- Who cannot be seen cannot be blocked: an answer would tell that they exist.
create policy user_blocks_insert on public.user_blocks for insert to authenticated
with check (blocker_id = (select private.member_id()) and private.can_see(blocked_id));
create policy user_blocks_delete on public.user_blocks for delete to authenticated
using (blocker_id = (select private.member_id()) and private.hold_accounts(blocker_id, blocked_id));

insert into private.personal_data (section, relation, condition) values
('blocks', 'public.user_blocks', 't.blocker_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('user_blocks', 10, 'delete from public.user_blocks where $1 in (blocker_id, blocked_id)')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- Items of sellers whose profile is private leave the shop, as from now on.
update public.catalog_items as c set seller_is_active = false
from public.profiles as p
where p.id = c.seller_id and p.profile_visibility = 'private' and c.seller_is_active;
