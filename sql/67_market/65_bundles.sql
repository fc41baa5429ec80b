-- Bundles: several items at one price, of one seller or of several. Bought it is one line that grants the bundle and
-- each of its parts; a part's own kind hears of it as if it had been bought alone. Other sellers agree to the terms
-- first: the price, the parts, their share, whether coupons lower it. Whatever changes of these asks them again, and
-- nothing is sold on terms that somebody did not agree to. What was sold stays sold, whoever declines later.
--
-- A bundle is in the shop while it is complete: all its parts can be bought, all sellers agreed, it costs less than its
-- parts. Checkout looks itself; the column, and with it the shop, follows a few seconds later where somebody else made
-- the difference (follow_bundles()), so that nobody who changes an item waits for the bundles it is in.

insert into private.media_purposes (purpose, bucket, is_public, is_uploaded, sizes, meaning) values
('bundle', 'pictures', true, true, '{large,medium,small,thumbnail}', 'a bundle');

alter table private.settings add column parts_per_bundle integer not null default 20;
comment on column private.settings.parts_per_bundle is 'How many parts a bundle has at most.';

create type public.bundle_status as enum ('draft', 'active', 'paused', 'deleted');
comment on type public.bundle_status is
'active is in the shop while it is complete, paused is not for now, deleted never again. What was bought stays in '
'every state.';

create type public.bundle_answer as enum ('asked', 'agreed', 'declined');
comment on type public.bundle_answer is
'What a seller of parts says of the terms. asked: nothing yet, or the terms changed since.';

create table public.bundles (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    description text,
    thumbnail_url public.http_url,
    price_cents bigint not null default 0,
    parts_cents bigint not null default 0,
    saved_cents bigint not null generated always as (greatest(parts_cents - price_cents, 0)) stored,
    currency character(3) not null default 'USD',
    takes_coupons boolean not null default false,
    terms_version integer not null default 1,
    parts_count smallint not null default 0,
    part_titles text,
    category_id uuid,
    tags text[] not null default '{}',
    status public.bundle_status not null default 'draft',
    is_complete boolean not null default false,
    is_featured boolean not null default false,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    image_media_id uuid,
    constraint bundles_pkey primary key (id),
    constraint bundles_slug_key unique (slug),
    constraint bundles_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint bundles_category_id_fkey foreign key (category_id) references public.categories (id),
    -- The registry row is written by trigger after this one, hence deferred. It makes item:catalog_items(*) embeddable.
    constraint bundles_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint bundles_title_check check (char_length(title) between 1 and 255),
    constraint bundles_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint bundles_description_check check (char_length(description) <= 20000),
    constraint bundles_price_cents_check check (private.is_price(price_cents)),
    constraint bundles_parts_cents_check check (parts_cents >= 0)
);

create index bundles_seller_id_created_at_idx on public.bundles (seller_id, created_at desc);
create index bundles_category_id_idx on public.bundles (category_id);
create index bundles_created_at_idx on public.bundles (created_at desc, id desc);

-- What a client that breaks these is told, see error_catalog().
comment on constraint bundles_description_check on public.bundles is
'invalid_description: A description has at most 20,000 characters.';
comment on constraint bundles_slug_check on public.bundles is
'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';
comment on constraint bundles_title_check on public.bundles is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint bundles_category_id_fkey on public.bundles is 'choice_not_available: There is no such category.';
comment on constraint bundles_slug_key on public.bundles is
'slug_taken: Another bundle just took this address; try again.';

comment on table public.bundles is
'Bundles. Visible while active, complete, not taken down and of a seller in good standing; always to the seller, to '
'those whose parts are in it and who did not decline, to buyers and to admins. Price, parts and shares are written by '
'set_bundle_terms(), the parts are bundle_parts, counters and tags search are on the catalog_items row.';
comment on column public.bundles.seller_id is 'Who sells it; always the caller.';
comment on column public.bundles.title is 'Title, one line of at most 255 characters.';
comment on column public.bundles.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.bundles.description is 'Rich text, at most 20,000 characters.';
comment on column public.bundles.thumbnail_url is
'Address of the picture for lists, http(s) only: from outside, or of the small copy of image_media_id.';
comment on column public.bundles.price_cents is
'Price of all parts together, cents; 0 before there are terms. Orders keep the price they were made at.';
comment on column public.bundles.parts_cents is
'What the parts cost alone, cents; of one whose price the buyer names the least, of one that cannot be had now '
'nothing. Kept by the server.';
comment on column public.bundles.saved_cents is 'How much less the bundle costs, cents. Generated.';
comment on column public.bundles.takes_coupons is
'Whether its seller''s coupons lower it where others earn too: a term they agree to. Where nobody else does, they do; '
'the platform''s always do, as it pays the difference.';
comment on column public.bundles.terms_version is
'Counts the changes of price, parts, shares and takes_coupons; agree_to_bundle() names it.';
comment on column public.bundles.parts_count is 'How many parts the terms have.';
comment on column public.bundles.part_titles is
'Titles of its parts that can be had, for the search. Kept by the server.';
comment on column public.bundles.tags is 'Up to 20 tags; lower case.';
comment on column public.bundles.status is
'State in the shop, set by the seller. active needs parts; deleted is final.';
comment on column public.bundles.is_complete is
'All parts can be bought, all sellers agreed, and it costs less than its parts. Kept by the server; see '
'bundle_problem().';
comment on column public.bundles.is_featured is 'Shown first by its seller; limited by the seller''s plan.';
comment on column public.bundles.is_hidden is 'Taken down by an admin; written by hide_content() only.';
comment on column public.bundles.hidden_reason is 'Why, told to its seller.';

create table public.bundle_parts (
    bundle_id uuid not null,
    item_id uuid not null,
    option_id uuid,
    position smallint not null,
    -- Not by the item, or bundles and catalog_items would be two ways related for item:catalog_items(*).
    constraint bundle_parts_pkey primary key (bundle_id, position),
    constraint bundle_parts_bundle_id_item_id_key unique (bundle_id, item_id),
    constraint bundle_parts_bundle_id_fkey foreign key (bundle_id) references public.bundles (id) on delete cascade,
    constraint bundle_parts_item_id_fkey foreign key (item_id)
    references public.catalog_items (id) on delete cascade,
    constraint bundle_parts_option_id_fkey foreign key (option_id, item_id)
    references public.catalog_options (id, item_id) on delete cascade
);
create index bundle_parts_item_id_idx on public.bundle_parts (item_id);
create index bundle_parts_option_id_idx on public.bundle_parts (option_id, item_id) where option_id is not null;

comment on table public.bundle_parts is
'What is in a bundle. Readable with the bundle; the embedded item is null for whom it is hidden from. Written by '
'set_bundle_terms().';
comment on column public.bundle_parts.bundle_id is 'The bundle.';
comment on column public.bundle_parts.item_id is 'The part; each item once.';
comment on column public.bundle_parts.option_id is 'In which option, such as a licence tier; null: the item itself.';
comment on column public.bundle_parts.position is 'Order of the parts, from 1.';

create table public.bundle_sellers (
    bundle_id uuid not null,
    seller_id uuid not null,
    share_bps integer not null,
    status public.bundle_answer not null default 'asked',
    terms_version integer,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint bundle_sellers_pkey primary key (bundle_id, seller_id),
    constraint bundle_sellers_bundle_id_fkey foreign key (bundle_id) references public.bundles (id) on delete cascade,
    constraint bundle_sellers_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint bundle_sellers_share_bps_check check (share_bps between 0 and 10000),
    constraint bundle_sellers_terms_version_check check ((status = 'agreed') = (terms_version is not null))
);
create index bundle_sellers_seller_id_created_at_idx on public.bundle_sellers (seller_id, created_at desc);

comment on table public.bundle_sellers is
'The other sellers of a bundle''s parts: their share and what they say to it. Each reads their own row, the bundle''s '
'seller all of its. Written by set_bundle_terms(), agree_to_bundle(), decline_bundle().';
comment on column public.bundle_sellers.bundle_id is 'The bundle.';
comment on column public.bundle_sellers.seller_id is 'Whose parts are in it; never the bundle''s own seller.';
comment on column public.bundle_sellers.share_bps is
'Share of what the sellers earn of it, basis points; the bundle''s seller has the rest.';
comment on column public.bundle_sellers.status is 'Their answer.';
comment on column public.bundle_sellers.terms_version is 'Which terms they agreed to.';

create table private.bundle_changes (
    id bigint not null generated always as identity,
    bundle_id uuid not null,
    constraint bundle_changes_pkey primary key (id)
);
create index bundle_changes_bundle_id_idx on private.bundle_changes (bundle_id);
comment on table private.bundle_changes is
'Bundles of which a part, or an agreement, changed: for follow_bundles(), which removes the note.';
comment on column private.bundle_changes.bundle_id is 'Which; it may be gone.';
alter table private.bundle_changes enable row level security;

-- Complete or not.

create function private.may_be_part(item public.catalog_items) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return not (item.is_repeatable or item.requires_shipping or item.has_seats or private.is_limited(item))
        and (select k.is_bundled from private.kinds as k where k.kind = item.kind);
end
$$;
comment on function private.may_be_part(public.catalog_items) is
'Whether an item can be a part of something: of a kind that can (kinds.is_bundled), there is as much of it as is '
'wanted, no option of it is limited or exclusive, it is owned once and not sent.';

create type private.bundle_look as (problem text, parts_cents bigint, part_titles text);
comment on type private.bundle_look is
'A bundle as it is now. problem: parts (none yet), part_not_available, not_agreed, saves_nothing; null: '
'it is complete.';

create function private.look_at_bundle(bundle_id uuid) returns private.bundle_look
language sql
stable
set search_path = ''
as $$
    select row(
        case
            when b.parts_count = 0 then 'parts'
            when count(p.item_id) < b.parts_count or not bool_and(a.is_there and private.may_be_part(c))
                then 'part_not_available'
            when not bool_and(c.seller_id = b.seller_id or coalesce(s.terms_version = b.terms_version, false))
                then 'not_agreed'
            when b.price_cents >= sum(a.cents) then 'saves_nothing'
        end,
        -- What is not in the shop is its seller's own affair: others read this.
        coalesce(sum(a.cents) filter (where a.is_there), 0),
        string_agg(c.title, E'\n' order by p.position) filter (where a.is_there)
    )::private.bundle_look
    from public.bundles as b
    left join public.bundle_parts as p on p.bundle_id = b.id
    left join public.catalog_items as c on c.id = p.item_id
    left join public.catalog_options as o on o.id = p.option_id
    left join public.bundle_sellers as s on s.bundle_id = b.id and s.seller_id = c.seller_id
    cross join lateral (
        select
            coalesce(o.price_cents, c.minimum_price_cents, c.price_cents) as cents,
            c.is_buyable and (p.option_id is null or coalesce(o.is_active, false)) as is_there
    ) as a
    where b.id = look_at_bundle.bundle_id
    group by b.id
$$;
comment on function private.look_at_bundle(uuid) is 'Whether a bundle is complete, what its parts cost and are called.';

create function private.refresh_bundle(bundle_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.bundles as b where b.id = refresh_bundle.bundle_id for no key update;
    update public.bundles as b set
        is_complete = l.problem is null, parts_cents = l.parts_cents, part_titles = l.part_titles
    from private.look_at_bundle(refresh_bundle.bundle_id) as l
    where
        b.id = refresh_bundle.bundle_id and (b.is_complete, b.parts_cents, b.part_titles)
        is distinct from (l.problem is null, l.parts_cents, l.part_titles);
end
$$;
comment on function private.refresh_bundle(uuid) is 'Locks a bundle and lets what it says of its parts follow.';

-- One at a time: each is in the shop or not by a change of its seller's profile and of its registry row.
create function private.follow_bundles() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    changed uuid;
    noted integer;
begin
    select c.bundle_id into changed from private.bundle_changes as c
    order by c.id
    limit 1
    for update skip locked;
    delete from private.bundle_changes as c
    where c.id in (
        select n.id from private.bundle_changes as n where n.bundle_id = changed order by n.id for update skip locked
    );
    get diagnostics noted = row_count;
    if noted > 0 then
        perform private.refresh_bundle(changed);
    end if;
    return noted;
end
$$;
comment on function private.follow_bundles() is
'Looks at the next bundle of which something changed: in the shop while it is complete. Returns how many notes it had; '
'0: there is none. A job calls it until then, every few seconds.';
grant execute on function private.follow_bundles() to avenue_worker;

create function private.note_part_change() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.bundle_changes (bundle_id)
    select p.bundle_id from public.bundle_parts as p
    where p.item_id = (to_jsonb(coalesce(new, old)) ->> tg_argv[0])::uuid;
    return null;
end
$$;
comment on function private.note_part_change() is
'Trigger on items (id) and their options (item_id): notes the bundles they are in.';
create trigger note_part_change after update on public.catalog_items
for each row when (
    (new.is_buyable, new.price_cents, new.minimum_price_cents, new.title)
    is distinct from (old.is_buyable, old.price_cents, old.minimum_price_cents, old.title)
)
execute function private.note_part_change('id');
create trigger note_part_change after insert or delete or update of price_cents, stock, is_active
on public.catalog_options
for each row execute function private.note_part_change('item_id');

create function private.note_parts_gone() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.bundle_changes (bundle_id) select distinct c.bundle_id from changed as c;
    return null;
end
$$;
comment on function private.note_parts_gone() is 'Trigger on parts: their items were deleted.';
create trigger note_parts_gone after delete on public.bundle_parts referencing old table as changed
for each statement execute function private.note_parts_gone();
-- Or whoever agreed is gone.
create trigger note_parts_gone after delete on public.bundle_sellers referencing old table as changed
for each statement execute function private.note_parts_gone();

create function private.decline_blocked() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    with declined as (
        update public.bundle_sellers as s set status = 'declined', terms_version = null
        from changed as c
        inner join public.bundles as b on b.seller_id in (c.blocker_id, c.blocked_id)
        where
            s.bundle_id = b.id and s.status <> 'declined'
            and s.seller_id = case b.seller_id when c.blocker_id then c.blocked_id else c.blocker_id end
        returning s.bundle_id
    )

    insert into private.bundle_changes (bundle_id) select distinct d.bundle_id from declined as d;
    return null;
end
$$;
comment on function private.decline_blocked() is 'Trigger: a block ends what the two agreed on for new buyers.';
create trigger end_bundles after insert on public.user_blocks referencing new table as changed
for each statement execute function private.decline_blocked();

-- The bundle itself.

create function private.catalog_entry(bundle public.bundles) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'bundle', bundle.seller_id, bundle.title, bundle.slug, bundle.thumbnail_url, bundle.price_cents, null,
        bundle.currency, (select c.slug from public.categories as c where c.id = bundle.category_id), bundle.tags,
        null, bundle.is_featured, bundle.status = 'active' and bundle.is_complete and not bundle.is_hidden, true,
        concat_ws(E'\n', bundle.description, bundle.part_titles), null, false
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.bundles) is
'A bundle''s registry row; found by the titles of its parts too.';

create function private.check_bundle() returns trigger
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
            perform private.fail('bundle_deleted', old.id::text);
        end if;
    end if;
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.bundles', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    if new.status = 'active' and (tg_op = 'INSERT' or old.status <> 'active') and not exists (
        select from public.bundle_parts as p where p.bundle_id = new.id
    ) then
        perform private.fail('bundle_has_no_parts', new.id::text);
    end if;
    if new.status = 'deleted' then
        new.is_featured := false;
    end if;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
    end if;
    return new;
end
$$;
comment on function private.check_bundle() is
'Trigger: completes a bundle (slug, tags) and refuses what a constraint cannot say.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, description on public.bundles
for each row execute function private.tidy_texts('title line required', 'description body');
create trigger check_bundle
before insert or update on public.bundles
for each row execute function private.check_bundle();
create trigger refuse_ordered_item before delete on public.bundles
for each row execute function private.refuse_ordered_item();
create trigger sync_catalog_item
after insert or update or delete on public.bundles
for each row execute function private.sync_catalog_item();
create trigger touch_updated_at before update on public.bundles
for each row execute function private.touch_updated_at();
create trigger touch_updated_at before update on public.bundle_sellers
for each row execute function private.touch_updated_at();

select private.make_media_column(
    'public.bundles', 'image_media_id', 'bundle', 'seller_id', '{"thumbnail_url": "small"}'
);
create trigger sync_catalog_picture after insert or update on public.bundles
for each row execute function private.sync_catalog_picture();

create function private.erase_bundles(seller uuid, max_rows integer default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select b.id from public.bundles as b
        where b.seller_id = seller and (b.status <> 'deleted' or not private.item_has_orders(b.id))
        order by b.id
        limit max_rows
        for update
    );
begin
    begin
        delete from public.bundles as b where b.id = any (chosen) and not private.item_has_orders(b.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    update public.bundles as b set status = 'deleted' where b.id = any (chosen) and b.status <> 'deleted';
    return cardinality(chosen);
end
$$;
comment on function private.erase_bundles(uuid, integer) is
'Account deletion: removes a seller''s bundles that nobody ordered and takes the others off sale for good, at most '
'max_rows; how many.';

create function private.is_bundle_seller(bundle_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.bundle_sellers as s
        where
            s.bundle_id = is_bundle_seller.bundle_id and s.seller_id = private.member_id()
            and s.status <> 'declined'
    )
$$;
comment on function private.is_bundle_seller(uuid) is
'Whether the caller is asked about a bundle, or agreed to it. For policies.';
grant execute on function private.is_bundle_seller(uuid) to authenticated;

create function private.owns_bundle(bundle_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.bundles as b where b.id = owns_bundle.bundle_id and b.seller_id = private.member_id()
    )
$$;
comment on function private.owns_bundle(uuid) is 'Whether a bundle is the caller''s. For policies.';
grant execute on function private.owns_bundle(uuid) to authenticated;

alter table public.bundles enable row level security;
grant select on public.bundles to anon, authenticated, service_role;
grant
insert (title, slug, description, thumbnail_url, category_id, tags, status, is_featured, image_media_id),
update (title, slug, description, thumbnail_url, category_id, tags, status, is_featured, image_media_id),
delete
on public.bundles to authenticated;
-- Whoever may see the registry row may see the bundle. The owner comes first because an insert's RETURNING looks before
-- that row exists.
create policy bundles_select_anon on public.bundles for select to anon
using ((select c.id from public.catalog_items as c where c.id = bundles.id) is not null);
create policy bundles_select on public.bundles for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = bundles.id) is not null
    or private.is_bundle_seller(id)
);
create policy bundles_insert on public.bundles for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy bundles_update on public.bundles for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));
create policy bundles_delete on public.bundles for delete to authenticated
using (seller_id = (select private.member_id()));

alter table public.bundle_parts enable row level security;
grant select on public.bundle_parts to anon, authenticated, service_role;
create policy bundle_parts_select on public.bundle_parts for select to anon, authenticated
using ((select b.id from public.bundles as b where b.id = bundle_parts.bundle_id) is not null);

alter table public.bundle_sellers enable row level security;
grant select on public.bundle_sellers to authenticated, service_role;
create policy bundle_sellers_select on public.bundle_sellers for select to authenticated
using (
    seller_id = (select private.member_id()) or private.owns_bundle(bundle_id) or (select private.is_admin())
);

-- Terms.

create function public.bundle_problem(bundle_id uuid) returns text
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    if not private.owns_bundle(bundle_problem.bundle_id) then
        perform private.fail('bundle_not_found', bundle_problem.bundle_id::text);
    end if;
    return (private.look_at_bundle(bundle_problem.bundle_id)).problem;
end
$$;
comment on function public.bundle_problem(uuid) is
'For its seller: why a bundle cannot be bought: parts (no terms yet), part_not_available, not_agreed (a seller was '
'asked and did not agree, or declined), saves_nothing (its parts cost no more); null: it can. Error: bundle_not_found.';
grant execute on function public.bundle_problem(uuid) to authenticated;

create function private.wanted_parts(parts jsonb) returns public.bundle_parts[]
language plpgsql
stable
set search_path = ''
as $$
declare
    most integer := (select s.parts_per_bundle from private.settings as s);
    wanted public.bundle_parts[];
begin
    if jsonb_typeof(parts) is distinct from 'array' or jsonb_array_length(parts) not between 2 and most then
        perform private.fail('invalid_bundle', format('parts: from 2 to %s of {item_id, option_id?}', most));
    end if;
    if exists (
        select from jsonb_array_elements(parts) as p (part)
        where (private.is_uuid(p.part ->> 'item_id') and private.is_uuid(p.part ->> 'option_id') is not false) is not true
    ) then
        perform private.fail('invalid_bundle', 'parts: {item_id, option_id?}');
    end if;
    select array_agg(
        row(null, (p.part ->> 'item_id')::uuid, (p.part ->> 'option_id')::uuid, p.no)::public.bundle_parts order by p.no
    ) into wanted
    from jsonb_array_elements(parts) with ordinality as p (part, no);
    if (select count(distinct w.item_id) from unnest(wanted) as w) < cardinality(wanted) then
        perform private.fail('invalid_bundle', 'parts: each item once');
    end if;
    return wanted;
end
$$;
comment on function private.wanted_parts(jsonb) is 'The parts a client sent. Error: invalid_bundle.';

create type private.bundle_share as (seller_id uuid, share_bps integer);
comment on type private.bundle_share is 'A seller of parts and their share, basis points.';

create function private.wanted_shares(bundle public.bundles, sellers uuid[], prices bigint[], shares jsonb)
returns private.bundle_share[]
language plpgsql
stable
set search_path = ''
as $$
declare
    others uuid[] := array_remove(sellers, bundle.seller_id);
begin
    if shares is null or shares = 'null' then
        -- By what the parts cost alone; largest remainder, ties by a hash, as money is split.
        return (
            with seller as (
                select
                    u.seller_id, sum(u.cents)::bigint as cents,
                    row_number() over (order by md5(bundle.id::text || u.seller_id)) as no
                from unnest(sellers, prices) as u (seller_id, cents)
                group by u.seller_id
            )

            select array_agg(row(s.seller_id, p.parts[s.no])::private.bundle_share order by s.seller_id)
            from seller as s
            cross join (
                select private.split_cents(10000, array_agg(x.cents order by x.no)) as parts from seller as x
            ) as p
            where s.seller_id <> bundle.seller_id
        );
    end if;
    if jsonb_typeof(shares) <> 'object' or exists (
        select from jsonb_each(shares) as s (seller, share)
        where (private.is_uuid(s.seller) and jsonb_typeof(s.share) = 'number' and s.share::text ~ '^[0-9]{1,5}$')
            is not true
    ) or (select count(*) from jsonb_object_keys(shares)) <> (select count(distinct o.id) from unnest(others) as o (id))
        or exists (select from unnest(others) as o (id) where not shares ? o.id::text)
        or (select sum(s.share::text::bigint) from jsonb_each(shares) as s (seller, share)) > 10000
    then
        perform private.fail(
            'invalid_bundle', 'shares: {seller id: basis points} of each other seller, at most 10000 together'
        );
    end if;
    return array(
        select row(s.seller::uuid, s.share::text::integer)::private.bundle_share
        from jsonb_each(shares) as s (seller, share)
        order by s.seller::uuid
    );
end
$$;
comment on function private.wanted_shares(public.bundles, uuid[], bigint[], jsonb) is
'The shares of a bundle''s other sellers: as sent, or by what the parts (of these sellers, at these prices) cost '
'alone. Error: invalid_bundle.';

create function public.set_bundle_terms(
    bundle_id uuid, price_cents bigint, parts jsonb, shares jsonb default null, takes_coupons boolean default false
) returns public.bundles
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    bundle public.bundles;
    wanted public.bundle_parts[];
    part public.bundle_parts;
    item public.catalog_items;
    option public.catalog_options;
    blocked uuid[] := array(select private.blocked_ids());
    sellers uuid[] := '{}';
    prices bigint[] := '{}';
    agreed private.bundle_share[];
    asked uuid[];
    takes boolean := coalesce(set_bundle_terms.takes_coupons, false);
begin
    select * into bundle from public.bundles as b
    where b.id = set_bundle_terms.bundle_id and b.seller_id = member
    for no key update;
    if bundle.id is null then
        perform private.fail('bundle_not_found', set_bundle_terms.bundle_id::text);
    elsif bundle.status = 'deleted' then
        perform private.fail('bundle_deleted', bundle.id::text);
    end if;
    wanted := private.wanted_parts(set_bundle_terms.parts);
    perform private.require_keys(p.part, '{item_id,option_id}', 'invalid_bundle')
    from jsonb_array_elements(set_bundle_terms.parts) as p (part);
    foreach part in array wanted loop
        -- What the caller cannot buy is as good as not there.
        select * into item from public.catalog_items as c
        where c.id = part.item_id and c.is_buyable and c.seller_id <> all (blocked)
        for key share;
        option := null;
        if item.id is null then
            perform private.fail('item_not_available', part.item_id::text);
        elsif not private.may_be_part(item) then
            perform private.fail('part_not_allowed', part.item_id::text);
        elsif part.option_id is not null then
            select * into option from public.catalog_options as o
            where o.id = part.option_id and o.item_id = item.id and o.is_active;
            if option.id is null then
                perform private.fail('option_not_available', part.option_id::text);
            end if;
        end if;
        sellers := sellers || item.seller_id;
        prices := prices || coalesce(option.price_cents, item.minimum_price_cents, item.price_cents);
    end loop;
    if member <> all (sellers) then
        perform private.fail('invalid_bundle', 'parts: one of your own at least');
    elsif not coalesce(
        private.is_price(set_bundle_terms.price_cents)
        and set_bundle_terms.price_cents >= private.lowest_price_cents(), false
    ) then
        perform private.fail('invalid_bundle', format('price_cents: at least %s', private.lowest_price_cents()));
    elsif set_bundle_terms.price_cents >= private.sum_cents(prices) then
        perform private.fail('bundle_saves_nothing', private.sum_cents(prices)::text);
    end if;
    agreed := coalesce(private.wanted_shares(bundle, sellers, prices, set_bundle_terms.shares), '{}');

    if
        (bundle.price_cents, bundle.takes_coupons) = (set_bundle_terms.price_cents, takes)
        and array(
            select row(p.item_id, p.option_id)::text from public.bundle_parts as p
            where p.bundle_id = bundle.id
            order by p.position
        ) = array(select row(w.item_id, w.option_id)::text from unnest(wanted) as w order by w.position)
        and array(
            select row(s.seller_id, s.share_bps)::text from public.bundle_sellers as s
            where s.bundle_id = bundle.id and s.seller_id = any (sellers)
            order by s.seller_id
        ) = array(select row(a.seller_id, a.share_bps)::text from unnest(agreed) as a order by a.seller_id)
    then
        perform private.refresh_bundle(bundle.id);
        select * into bundle from public.bundles as b where b.id = bundle.id;
        return bundle;
    end if;

    delete from public.bundle_parts as p where p.bundle_id = bundle.id;
    insert into public.bundle_parts (bundle_id, item_id, option_id, position)
    select bundle.id, w.item_id, w.option_id, w.position from unnest(wanted) as w;
    -- Who declined is not asked again, however often they are put in and taken out; they may still agree.
    delete from public.bundle_sellers as s
    where s.bundle_id = bundle.id and s.seller_id <> all (sellers) and s.status <> 'declined';
    with seller as (
        insert into public.bundle_sellers as s (bundle_id, seller_id, share_bps)
        select bundle.id, a.seller_id, a.share_bps from unnest(agreed) as a
        on conflict on constraint bundle_sellers_pkey do update set
            share_bps = excluded.share_bps, terms_version = null,
            status = case s.status when 'declined' then s.status else 'asked' end
        returning s.seller_id, s.status
    )

    select array_agg(s.seller_id order by s.seller_id) filter (where s.status = 'asked') into asked from seller as s;
    if asked is not null then
        perform private.count_activity('bundle_asked', cardinality(asked));
    end if;
    update public.bundles as b set
        price_cents = set_bundle_terms.price_cents, takes_coupons = takes, terms_version = b.terms_version + 1,
        parts_count = cardinality(wanted)
    where b.id = bundle.id;
    perform private.refresh_bundle(bundle.id);
    perform private.notify(a.id, 'bundle_asked', member, 'bundle', bundle.id) from unnest(asked) as a (id);
    select * into bundle from public.bundles as b where b.id = bundle.id;
    return bundle;
end
$$;
comment on function public.set_bundle_terms(uuid, bigint, jsonb, jsonb, boolean) is
'Seller: what is in a bundle ([{item_id, option_id?}], 2 to settings.parts_per_bundle, one of the caller''s at least), '
'for how much, and how it is shared ({seller id: basis points} of the others; default by what the parts cost alone). '
'Other sellers are asked, again after each change, and it is not sold before all agreed. Errors: bundle_not_found, '
'bundle_deleted, invalid_bundle, item_not_available, option_not_available, part_not_allowed, '
'bundle_saves_nothing (detail: what the parts cost), too_many_actions.';
grant execute on function public.set_bundle_terms(uuid, bigint, jsonb, jsonb, boolean) to authenticated;

create function private.lock_bundle_answer(bundle_id uuid) returns public.bundle_sellers
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    bundle public.bundles;
    answer public.bundle_sellers;
begin
    select * into bundle from public.bundles as b
    where
        b.id = lock_bundle_answer.bundle_id
        and exists (
            select from public.bundle_sellers as s where s.bundle_id = b.id and s.seller_id = member
        )
    for no key update;
    -- Who declined and was taken out of it has nothing to say.
    select * into answer from public.bundle_sellers as s
    where
        s.bundle_id = bundle.id and s.seller_id = member and exists (
            select from public.bundle_parts as p
            inner join public.catalog_items as c on c.id = p.item_id
            where p.bundle_id = s.bundle_id and c.seller_id = s.seller_id
        )
    for no key update;
    -- Whoever blocked the other one, or is not there any more. Asked with the answer locked, as a block changes it.
    if answer.bundle_id is null or private.can_see(bundle.seller_id) is not true then
        perform private.fail('bundle_not_found', lock_bundle_answer.bundle_id::text);
    elsif bundle.status = 'deleted' then
        perform private.fail('bundle_deleted', bundle.id::text);
    end if;
    return answer;
end
$$;
comment on function private.lock_bundle_answer(uuid) is
'What the caller says of a bundle with parts of theirs; it is locked. Errors: bundle_not_found, bundle_deleted.';

create function public.agree_to_bundle(bundle_id uuid, terms_version integer) returns public.bundle_sellers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    answer public.bundle_sellers := private.lock_bundle_answer(agree_to_bundle.bundle_id);
    bundle public.bundles;
begin
    select * into strict bundle from public.bundles as b where b.id = answer.bundle_id;
    if bundle.terms_version is distinct from agree_to_bundle.terms_version then
        perform private.fail('bundle_terms_changed', bundle.terms_version::text);
    elsif answer.status <> 'agreed' then
        update public.bundle_sellers as s set status = 'agreed', terms_version = bundle.terms_version
        where s.bundle_id = bundle.id and s.seller_id = answer.seller_id
        returning * into answer;
        perform private.refresh_bundle(bundle.id);
        perform private.notify(bundle.seller_id, 'bundle_agreed', answer.seller_id, 'bundle', bundle.id);
    end if;
    return answer;
end
$$;
comment on function public.agree_to_bundle(uuid, integer) is
'Whose parts are in a bundle: agrees to the terms of this version (bundles.terms_version): price, parts, the caller''s '
'share, coupons. Errors: bundle_not_found, bundle_deleted, bundle_terms_changed (detail: the version now).';
grant execute on function public.agree_to_bundle(uuid, integer) to authenticated;

create function public.decline_bundle(bundle_id uuid) returns public.bundle_sellers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    answer public.bundle_sellers := private.lock_bundle_answer(decline_bundle.bundle_id);
    seller uuid;
begin
    if answer.status = 'declined' then
        perform private.fail(
            'state_changed', jsonb_build_object('kind', 'bundle_seller', 'state', answer.status)::text
        );
    end if;
    update public.bundle_sellers as s set status = 'declined', terms_version = null
    where s.bundle_id = answer.bundle_id and s.seller_id = answer.seller_id
    returning * into answer;
    perform private.refresh_bundle(answer.bundle_id);
    select b.seller_id into strict seller from public.bundles as b where b.id = answer.bundle_id;
    perform private.notify(seller, 'bundle_declined', answer.seller_id, 'bundle', answer.bundle_id);
    return answer;
end
$$;
comment on function public.decline_bundle(uuid) is
'Whose parts are in a bundle: says no, or takes back that they agreed. Nobody buys it any more; who bought it keeps '
'it, and orders that are being paid are delivered. Errors: bundle_not_found, bundle_deleted, state_changed (detail '
'{kind, state}: declined before).';
grant execute on function public.decline_bundle(uuid) to authenticated;

-- Selling.

create function private.bundle_check_option(ids uuid[], options public.catalog_options[]) returns void
language plpgsql
set search_path = ''
as $$
begin
    if cardinality(options) > 0 then
        perform private.fail('option_not_available', ids[1]::text);
    end if;
end
$$;
comment on function private.bundle_check_option(uuid[], public.catalog_options[]) is
'Hook check_option: a bundle has none.';

create function private.facts_of_parts(parts private.wanted_line[]) returns setof private.line_facts
language plpgsql
set search_path = ''
as $$
declare
    chosen record;
begin
    for chosen in
        select c.kind, array_agg(c.id order by w.no) as items, array_agg(w order by w.no) as lines
        from unnest(parts) as w
        inner join public.catalog_items as c on c.id = w.item_id
        group by c.kind
        order by c.kind
    loop
        return query select f.* from private.dispatch_check_line(chosen.kind, chosen.items, chosen.lines) as f;
    end loop;
end
$$;
comment on function private.facts_of_parts(private.wanted_line[]) is
'What the kinds of parts say about them, each as if it were bought alone.';

create function private.bundle_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
set search_path = ''
as $$
declare
    line private.wanted_line;
    bundle record;
    problem text;
    parts jsonb;
    blocked uuid[] := array(select private.blocked_ids());
begin
    foreach line in array lines loop
        -- In one look, so that price, parts and agreements are of one instant.
        select b.*, l.problem, p.* into bundle
        from public.bundles as b
        cross join lateral private.look_at_bundle(b.id) as l
        cross join lateral (
            select
                array_agg(
                    row(
                        p.position, p.item_id, p.option_id, 1, coalesce(o.price_cents, c.price_cents), '{}',
                        line.buyer_id, line.owner_id
                    )::private.wanted_line order by p.position
                ) as wanted,
                array_agg(c.kind order by p.position) as kinds, array_agg(c.seller_id) as sellers,
                jsonb_agg(jsonb_build_object(
                    'item_id', c.id, 'option_id', o.id, 'kind', c.kind,
                    'title', c.title || case when o.id is null then '' else ' (' || o.title || ')' end
                ) order by p.position) as parts,
                coalesce(
                    jsonb_agg(p.item_id order by p.position)
                    filter (where private.owns_option(line.owner_id, p.item_id, p.option_id)), '[]'
                ) as owned
            from public.bundle_parts as p
            inner join public.catalog_items as c on c.id = p.item_id
            left join public.catalog_options as o on o.id = p.option_id
            where p.bundle_id = b.id
        ) as p
        where b.id = line.item_id;
        problem := case
            when line.details <> '{}' then 'line_not_valid'
            when line.quantity > 1 then 'quantity_not_allowed'
            when line.buyer_id = any (bundle.sellers) then 'own_item'
            -- Who blocked the buyer, or was blocked by them, sells them nothing.
            when bundle.problem is not null or bundle.sellers && blocked then 'item_not_available'
            when line.unit_price_cents <> bundle.price_cents then 'price_changed'
            when line.owner_id = any (bundle.sellers) or line.owner_id <> line.buyer_id and exists (
                select from public.user_blocks as u
                where
                    u.blocker_id = any (bundle.sellers) and u.blocked_id = line.owner_id
                    or u.blocker_id = line.owner_id and u.blocked_id = any (bundle.sellers)
            ) then 'gift_not_possible'
            when jsonb_array_length(bundle.owned) = jsonb_array_length(bundle.parts) then case
                when line.owner_id = line.buyer_id then 'already_owned' else 'gift_not_possible'
            end
        end;
        parts := bundle.parts;
        if problem is null then
            -- With the licence each has alone.
            select
                min(case when f.problem is not null then 'item_not_available' end),
                jsonb_agg(p.part || jsonb_strip_nulls(jsonb_build_object(
                    'license_type', f.license_type, 'license_text', f.license_text,
                    'license_version', f.license_version
                )) order by p.no)
            into problem, parts
            from jsonb_array_elements(bundle.parts) with ordinality as p (part, no)
            inner join private.facts_of_parts(bundle.wanted) as f on f.no = p.no;
        end if;
        return next row(
            line.no, bundle.description, null, null, null,
            jsonb_build_object(
                'terms_version', bundle.terms_version, 'parts', parts,
                'owned', case when line.owner_id = line.buyer_id then bundle.owned else '[]'::jsonb end
            ) || case
                when bundle.takes_coupons or bundle.sellers <@ array[bundle.seller_id] then '{}'::jsonb
                else '{"takes_coupons": false}'
            end,
            0, problem, case when problem = 'line_not_valid' then 'details' else line.item_id::text end, 0, false
        )::private.line_facts;
    end loop;
end
$$;
comment on function private.bundle_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: nothing is sent for it; keeps which terms it is sold on and its parts with their licences, and says '
'which of them the buyer has already. Each part is asked as if it were bought alone.';

create function private.bundle_rate(ids uuid[]) returns setof private.item_rate
language sql
stable
set search_path = ''
as $$
    select b.id, ((
        sum(s.share_bps * (private.seller_plan(s.seller_id)).commission_bps)
        + (10000 - sum(s.share_bps)) * (private.seller_plan(b.seller_id)).commission_bps + 5000
    ) / 10000)::integer
    from public.bundles as b
    cross join lateral (
        select s.seller_id, s.share_bps from public.bundle_sellers as s
        inner join public.catalog_items as c on c.seller_id = s.seller_id
        inner join public.bundle_parts as p on p.bundle_id = b.id and p.item_id = c.id
        where s.bundle_id = b.id
        group by s.seller_id, s.share_bps
        union all
        select b.seller_id, 0
    ) as s
    where b.id = any (ids)
    group by b.id, b.seller_id
$$;
comment on function private.bundle_rate(uuid[]) is
'Hook rate: the mean of the sellers'' commissions by their shares, half up. What is left they share as agreed.';

-- What was asked of the kind and the line are of two instants; the terms may be others now.
create function private.note_bundle_line() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    noted integer;
    is_agreed boolean;
begin
    -- A line that is paid by a further charge keeps what the first one had.
    if (select o.status from public.orders as o where o.id = new.order_id) <> 'pending' then
        return null;
    end if;
    with bundle as (
        select b.id, b.seller_id, b.terms_version from public.bundles as b
        where b.id = new.item_id and b.terms_version = (new.details ->> 'terms_version')::integer
    ),

    shared as (
        select s.seller_id, s.share_bps from bundle as b
        inner join public.bundle_sellers as s on s.bundle_id = b.id and s.terms_version = b.terms_version
    ),

    share as (
        insert into private.line_shares (order_item_id, payee_id, share_bps)
        select new.id, s.seller_id, s.share_bps from shared as s where s.share_bps > 0
        union all
        select new.id, b.seller_id, r.share_bps from bundle as b
        cross join (select 10000 - coalesce(sum(s.share_bps), 0) as share_bps from shared as s) as r
        where r.share_bps > 0
    ),

    part as (
        insert into private.line_parts (order_item_id, item_id, option_id, license_type)
        select new.id, p.item_id, p.option_id, (d.part ->> 'license_type')::public.license_type
        from bundle as b
        inner join public.bundle_parts as p on p.bundle_id = b.id
        inner join jsonb_array_elements(new.details -> 'parts') as d (part) on (d.part ->> 'item_id')::uuid = p.item_id
        returning item_id
    )

    select
        (select count(*) from part),
        not exists (
            select from bundle as b
            inner join public.bundle_parts as p on p.bundle_id = b.id
            inner join public.catalog_items as c on c.id = p.item_id and c.seller_id <> b.seller_id
            where c.seller_id not in (select s.seller_id from shared as s)
        )
    into noted, is_agreed;
    if noted <> jsonb_array_length(new.details -> 'parts') then
        perform private.fail('price_changed', new.item_id::text);
    elsif not is_agreed then
        perform private.fail('item_not_available', new.item_id::text);
    end if;
    return null;
end
$$;
comment on function private.note_bundle_line() is
'Trigger on order lines of bundles: keeps which parts they bring and how they are shared. Errors: price_changed, '
'item_not_available, when the terms changed or somebody declined in the same instant.';
create trigger note_bundle_line after insert on public.order_items
for each row when (new.kind = 'bundle')
execute function private.note_bundle_line();

create function private.forget_owned() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.details := new.details - 'owned';
    return new;
end
$$;
comment on function private.forget_owned() is
'Trigger on order lines of bundles: what the buyer has already was for the preview; the seller reads the line.';
create trigger forget_owned before insert on public.order_items
for each row when (new.kind = 'bundle')
execute function private.forget_owned();

create function private.bundle_units(ids uuid[]) returns setof private.granted_unit
language sql
stable
set search_path = ''
as $$
    select * from private.units_with_parts(ids)
$$;
comment on function private.bundle_units(uuid[]) is 'Hook units: the bundle, and each of its parts.';

create function private.bundle_payees(ids uuid[]) returns setof private.line_payee
language sql
stable
set search_path = ''
as $$
    select * from private.payees_by_shares(ids)
$$;
comment on function private.bundle_payees(uuid[]) is 'Hook payees: its sellers, as they agreed.';

create function private.bundle_lacks(ids uuid[]) returns setof uuid
language sql
stable
set search_path = ''
as $$
    select * from private.lines_lacking(ids)
$$;
comment on function private.bundle_lacks(uuid[]) is 'Hook lacks: a part was sold exclusively, or all are owned by now.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.bundles', 'status', null, 'draft', 'its seller begins'),
('public.bundles', 'status', null, 'paused', 'made for later'),
('public.bundles', 'status', null, 'deleted', 'made for nobody'),
('public.bundles', 'status', 'draft', 'active', 'has parts, goes on sale once it is complete'),
('public.bundles', 'status', 'draft', 'paused', 'by its seller'),
('public.bundles', 'status', 'draft', 'deleted', 'by its seller, or the seller left'),
('public.bundles', 'status', 'active', 'draft', 'by its seller'),
('public.bundles', 'status', 'active', 'paused', 'by its seller'),
('public.bundles', 'status', 'active', 'deleted', 'by its seller, or the seller left'),
('public.bundles', 'status', 'paused', 'draft', 'by its seller'),
('public.bundles', 'status', 'paused', 'active', 'goes on sale again'),
('public.bundles', 'status', 'paused', 'deleted', 'by its seller, or the seller left'),
('public.bundle_sellers', 'status', null, 'asked', 'set_bundle_terms()'),
('public.bundle_sellers', 'status', 'asked', 'agreed', 'agree_to_bundle()'),
('public.bundle_sellers', 'status', 'asked', 'declined', 'decline_bundle(), or a block'),
('public.bundle_sellers', 'status', 'agreed', 'asked', 'the terms changed'),
('public.bundle_sellers', 'status', 'agreed', 'declined', 'decline_bundle(), or a block'),
('public.bundle_sellers', 'status', 'declined', 'agreed', 'agree_to_bundle()');
select private.build_moves('public.bundles', 'status');
select private.build_moves('public.bundle_sellers', 'status');

insert into private.kinds (kind, relation, owner_column, page, reviewing, hooks) values
('bundle', 'public.bundles', 'seller_id', '/bundles/{id}', 'none',
    '{can_read,evidence,place,lock,hide,check_option,check_line,rate,units,payees,lacks,grant,revoke,restore,complete,'
    'give}');

insert into private.activity_limits (kind, fresh, established, period, description) values
('bundle_asked', 10, 100, '1 day', 'Sellers asked to agree to a bundle');

-- Told once until it was read: terms and answers can change as often as somebody likes.
insert into private.notification_types (type, title, message, collapse_unread, email, can_switch_off) values
('bundle_asked', 'Your work in a bundle',
    'Somebody asks whether they may sell it together with theirs.', true, 'digest', true),
('bundle_agreed', 'A seller agreed to your bundle', 'They agreed to its terms.', true, 'digest', true),
('bundle_declined', 'A seller declined your bundle', 'It is not sold with their work any more.', true, 'digest', true);

insert into private.personal_data (section, relation, condition, stays, reason) values
('bundles', 'public.bundles',
    't.seller_id = $1',
    '{seller_id, title, slug, description, thumbnail_url, part_titles, tags, hidden_reason}',
    'sold: its buyers keep it as they bought it');
insert into private.personal_data (section, relation, condition) values
('bundle_parts', 'public.bundle_parts',
    't.bundle_id in (select b.id from public.bundles as b where b.seller_id = $1)'),
('bundle_sellers', 'public.bundle_sellers', 't.seller_id = $1');
insert into private.personal_data (section, relation, condition, stays, reason) values
('bundle_changes', 'private.bundle_changes', null, '{bundle_id}', 'bundles that changed, for some seconds');
insert into private.erasure_steps (step, phase, erases, statement, batch) values
('bundles', 'items', '{}', 'select private.erase_bundles($1)', 'select 10 * private.erase_bundles($1, 1 + $2 / 10)');
insert into private.erasure_steps (step, phase, erases, statement) values
('bundle_sellers', 'records', '{public.bundle_sellers}', 'delete from public.bundle_sellers where seller_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('bundle_not_found', 'PT404', 'There is no such bundle.', 'It does not exist, or has nothing to do with the caller.'),
('bundle_deleted', 'PT409', 'This bundle was deleted.', 'Deleting is final. Create a new bundle.'),
('bundle_has_no_parts', 'PT409', 'This bundle has no parts.', 'Call set_bundle_terms() first, then set status active.'),
('invalid_bundle', 'PT400', 'These terms are not valid.', 'The detail names what is wrong.'),
('part_not_allowed', 'PT409', 'This cannot be a part of a bundle.',
'The detail names the item. A part is there as soon as it is paid, for everybody: not what is limited or sold '
'exclusively, has seats or a date, is done for somebody, is sent, or is a bundle itself.'),
('bundle_saves_nothing', 'PT409', 'The parts cost no more than the bundle.',
'The detail says what they cost together, cents. A bundle costs less.'),
('bundle_terms_changed', 'PT409', 'The terms have changed.',
'The detail is their version now. Read them again and agree to that.');
