-- Who looked at what, as numbers: views of an item, and of each day what came of them. A view is told by the client and
-- judged here: not the seller's own, not an admin's, not a program's, and not again within half an hour. Nobody waits
-- for a counter: views and what else is counted are noted as rows, which a job adds up within seconds.
--
-- Who looked is kept as a hash under a secret of the day. The secret goes with the day, and with it what the hash could
-- have told.

alter table private.settings
add column client_address_header text not null default 'x-forwarded-for',
add column trending_days integer not null default 14,
add column viewers_per_address integer not null default 20,
add constraint settings_client_address_header_check check (client_address_header ~ '^[a-z-]{1,60}$'),
add constraint settings_trending_days_check check (trending_days between 1 and 90);
comment on column private.settings.client_address_header is
'Header in which what stands before the Data API says who asks, and which it never takes from outside: '
'cf-connecting-ip behind Cloudflare.';
comment on column private.settings.viewers_per_address is
'How many browsers of one address count for an item in half an hour: what a browser calls itself costs nothing.';
comment on column private.settings.trending_days is 'How many days of views and sales the trending lists look at.';

create table private.view_salts (
    day date not null,
    salt bytea not null,
    constraint view_salts_pkey primary key (day)
);
comment on table private.view_salts is 'The secret of today''s hashes; forgotten when the day is over.';
comment on column private.view_salts.day is 'UTC.';
comment on column private.view_salts.salt is 'Random.';
alter table private.view_salts enable row level security;

create table private.item_views (
    item_id uuid not null,
    viewer bytea not null,
    slot integer not null,
    day date not null,
    viewed_at timestamptz not null,
    is_folded boolean not null default false,
    constraint item_views_pkey primary key (item_id, viewer, slot),
    constraint item_views_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade
)
-- Folding marks each row once.
with (fillfactor = 80);
create index item_views_unfolded_idx on private.item_views (item_id) where not is_folded;
create index item_views_day_idx on private.item_views (day);

comment on table private.item_views is
'Today''s views: one for each viewer, item and half hour. Rows of days that are over are deleted once they '
'are counted.';
comment on column private.item_views.viewer is
'Hash under the day''s secret: of who it is, or half of it of the address and half of the browser.';
comment on column private.item_views.slot is
'The half hour since 1970, so that two at one instant are one; -1: this browser is its seller''s, and does not count.';
comment on column private.item_views.day is 'UTC.';
comment on column private.item_views.viewed_at is 'By the server''s clock.';
comment on column private.item_views.is_folded is 'Whether it is in views_count.';
alter table private.item_views enable row level security;

create table private.bot_agents (
    fragment text not null,
    constraint bot_agents_pkey primary key (fragment),
    constraint bot_agents_fragment_check check (fragment = lower(fragment) and char_length(fragment) between 3 and 100)
);
comment on table private.bot_agents is
'What the user agents of programs have in them: crawlers, previews, monitors, libraries. Operators add rows. Programs '
'that say so are left out; those that lie are no matter of a list.';
comment on column private.bot_agents.fragment is 'In lower case.';
alter table private.bot_agents enable row level security;

insert into private.bot_agents (fragment) values
('bot'), ('crawl'), ('spider'), ('slurp'), ('scrape'), ('fetch'), ('archiver'), ('facebookexternalhit'), ('whatsapp'),
('telegram'), ('preview'), ('embedly'), ('pinterest'), ('lighthouse'), ('pagespeed'), ('pingdom'), ('uptime'),
('monitor'), ('headless'), ('phantomjs'), ('puppeteer'), ('playwright'), ('selenium'), ('curl/'), ('wget/'),
('python'), ('httpx'),
('aiohttp'), ('go-http-client'), ('java/'), ('okhttp'), ('axios'), ('node-fetch'), ('undici'), ('libwww'), ('ruby'),
('php/'), ('guzzle'), ('postman'), ('insomnia'), ('feed'), ('rss'), ('validator'), ('gptbot'), ('claude'),
('perplexity');

create function private.is_bot(agent text) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select
        coalesce(btrim(agent), '') = ''
        or exists (select from private.bot_agents as b where strpos(lower(left(agent, 1000)), b.fragment) > 0)
$$;
comment on function private.is_bot(text) is 'Whether a user agent is a program''s; who sends none is one, too.';

create function private.salt_of_today() returns bytea
language plpgsql
security definer
set search_path = ''
as $$
declare
    today date := (clock_timestamp() at time zone 'UTC')::date;
    secret bytea;
begin
    select s.salt into secret from private.view_salts as s where s.day = today;
    if secret is null then
        insert into private.view_salts (day, salt)
        values (today, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
        on conflict do nothing;
        select s.salt into strict secret from private.view_salts as s where s.day = today;
    end if;
    return secret;
end
$$;
comment on function private.salt_of_today() is 'The secret of today, made by whoever needs it first.';

create function private.hash_of_today(value text) returns bytea
language sql
security definer
set search_path = ''
as $$
    select sha256(private.salt_of_today() || convert_to(hash_of_today.value, 'utf8'))
$$;
comment on function private.hash_of_today(text) is 'A hash that nobody can make any more when the day is over.';

create function public.record_view(item_id uuid) returns bigint
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.member_id();
    headers jsonb := nullif(current_setting('request.headers', true), '')::jsonb;
    agent text := headers ->> 'user-agent';
    address text;
    item public.catalog_items;
    seen_at timestamptz := clock_timestamp();
    half_hour integer := floor(extract(epoch from seen_at) / 1800);
    someone bytea;
    most integer;
begin
    select c.* into item from public.catalog_items as c
    where
        c.id = record_view.item_id
        and (
            c.seller_id = member
            or c.is_visible and c.seller_id <> all (
                case when auth.uid() is null then array(select private.hidden_ids())
                    else array(select private.blocked_ids()) end
            )
        );
    if item.id is null then
        perform private.fail('item_not_found', record_view.item_id::text);
    end if;
    if
        private.is_bot(agent) or exists (select from public.profiles as p where p.id = member and p.role >= 'admin')
        or member <> item.seller_id and private.is_webinar_host(item.id, member)
    then
        return item.views_count;
    end if;
    select coalesce(left(split_part(headers ->> s.client_address_header, ',', 1), 100), ''), s.viewers_per_address
    into address, most
    from private.settings as s;
    someone := case
        when member is not null and member <> item.seller_id then private.hash_of_today(member::text)
        else substr(private.hash_of_today(address), 1, 16)
            || substr(private.hash_of_today(address || '|' || left(agent, 1000)), 1, 16)
    end;
    if member = item.seller_id then
        half_hour := -1;
    elsif exists (
        select from private.item_views as v
        where
            v.item_id = item.id and v.viewer = someone
            and (v.slot = -1 or v.slot = half_hour - 1 and v.viewed_at > seen_at - interval '30 minutes')
    ) then
        -- They looked just now, or sell it and are signed out.
        return item.views_count;
    elsif member is null and most <= (
        select count(*) from private.item_views as v
        where
            v.item_id = item.id and v.slot = half_hour
            and v.viewer between substr(someone, 1, 16)
            and substr(someone, 1, 16) || '\xffffffffffffffffffffffffffffffff'::bytea
    ) then
        return item.views_count;
    end if;
    insert into private.item_views (item_id, viewer, slot, day, viewed_at, is_folded)
    values (item.id, someone, half_hour, (seen_at at time zone 'UTC')::date, seen_at, half_hour = -1)
    on conflict on constraint item_views_pkey do nothing;
    return item.views_count;
exception when foreign_key_violation then
    -- Deleted this moment.
    perform private.fail('item_not_found', record_view.item_id::text);
end
$$;
comment on function public.record_view(uuid) is
'The caller, signed in or not, looks at an item. Counted once in half an hour; not for its seller, co-hosts, '
'admins and programs. Answers views_count as it is: what was not yet added, this view included, is not in it. Error: '
'item_not_found.';
grant execute on function public.record_view(uuid) to anon, authenticated;

-- Of each day.

create table public.item_statistics (
    item_id uuid not null,
    day date not null,
    views integer not null default 0,
    favorites integer not null default 0,
    carts integer not null default 0,
    sales integer not null default 0,
    conversion numeric generated always as (round(sales::numeric / nullif(views, 0), 4)) stored,
    constraint item_statistics_pkey primary key (item_id, day),
    constraint item_statistics_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade
);
create index item_statistics_day_idx on public.item_statistics (day);

comment on table public.item_statistics is
'What became of an item on each day (UTC) on which anything did. Read by its seller; a job writes, some seconds later.';
comment on column public.item_statistics.day is 'UTC, whatever the session''s zone.';
comment on column public.item_statistics.views is 'Views.';
comment on column public.item_statistics.favorites is 'Favourites of that day that still stand.';
comment on column public.item_statistics.carts is 'How often it was put into a cart.';
comment on column public.item_statistics.sales is
'What it was bought for, given away or paid, less what was taken back.';
comment on column public.item_statistics.conversion is 'Sales for each view; null without views.';

create table private.item_events (
    id bigint not null generated always as identity,
    item_id uuid not null,
    day date not null,
    favorites integer not null default 0,
    carts integer not null default 0,
    sales integer not null default 0,
    constraint item_events_pkey primary key (id)
);
comment on table private.item_events is
'What happened to items and is not in their statistics yet: rows come and go within seconds. No foreign key: who buys '
'waits for nobody.';
comment on column private.item_events.item_id is 'Which item; it may be gone.';
comment on column private.item_events.day is 'UTC.';
comment on column private.item_events.favorites is 'Change.';
comment on column private.item_events.carts is 'Change.';
comment on column private.item_events.sales is 'Change.';
alter table private.item_events enable row level security;

create function private.note_favorites() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.item_events (item_id, day, favorites)
    select c.item_id, (c.created_at at time zone 'UTC')::date, case tg_op when 'INSERT' then 1 else -1 end
    from changed as c;
    return null;
end
$$;
comment on function private.note_favorites() is 'Trigger on favorites: notes them for the statistics of their day.';
create trigger note_statistics_inserted after insert on public.favorites referencing new table as changed
for each statement execute function private.note_favorites();
create trigger note_statistics_deleted after delete on public.favorites referencing old table as changed
for each statement execute function private.note_favorites();

create function private.note_carts() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.item_events (item_id, day, carts)
    select c.item_id, (c.added_at at time zone 'UTC')::date, 1 from changed as c;
    return null;
end
$$;
comment on function private.note_carts() is 'Trigger on cart_items: notes them for the statistics of their day.';
create trigger note_statistics_inserted after insert on public.cart_items referencing new table as changed
for each statement execute function private.note_carts();

create function private.note_sales() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' then
        insert into private.item_events (item_id, day, sales)
        select c.item_id, (c.purchased_at at time zone 'UTC')::date, 1
        from changed as c
        where c.item_id is not null and c.revoked_at is null;
    else
        insert into private.item_events (item_id, day, sales)
        select c.item_id, (c.purchased_at at time zone 'UTC')::date, case when c.revoked_at is null then 1 else -1 end
        from changed as c
        inner join before as b on b.id = c.id
        where c.item_id is not null and (c.revoked_at is null) <> (b.revoked_at is null);
    end if;
    return null;
end
$$;
comment on function private.note_sales() is
'Trigger on purchases: notes what is granted, taken back and given again for the statistics of the day it was bought.';
create trigger note_statistics_inserted after insert on public.purchases referencing new table as changed
for each statement execute function private.note_sales();
create trigger note_statistics_changed after update on public.purchases
referencing old table as before new table as changed
for each statement execute function private.note_sales();

create function private.fold_views(max_rows integer default 5000) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    today date := (clock_timestamp() at time zone 'UTC')::date;
    held uuid [];
    folded integer := 0;
    events integer := 0;
begin
    -- One at a time; the next run takes up what this one leaves.
    if not pg_try_advisory_xact_lock(hashtextextended('avenue:views', 0)) then
        return 0;
    end if;
    -- Who is just selling an item is not waited for.
    held := array(
        select c.id from public.catalog_items as c
        where c.id in (select v.item_id from private.item_views as v where not v.is_folded limit max_rows)
        order by c.id
        for no key update skip locked
    );
    if held <> '{}' then
        with seen as (
            update private.item_views as v set is_folded = true
            where v.item_id = any (held) and not v.is_folded
            returning v.item_id, v.day
        ), days as (
            select s.item_id, s.day, count(*)::integer as views from seen as s group by s.item_id, s.day
        ), noted as (
            insert into public.item_statistics as t (item_id, day, views)
            select d.item_id, d.day, d.views from days as d
            on conflict on constraint item_statistics_pkey do update set views = t.views + excluded.views
        ), counted as (
            update public.catalog_items as c set views_count = c.views_count + d.views
            from (select d.item_id, sum(d.views) as views from days as d group by d.item_id) as d
            where c.id = d.item_id
        )
        select coalesce(sum(d.views), 0) into folded from days as d;
    end if;
    with taken as (
        delete from private.item_events as e
        where e.id in (select o.id from private.item_events as o order by o.id limit max_rows)
        returning e.item_id, e.day, e.favorites, e.carts, e.sales
    ), days as (
        select
            t.item_id, t.day, count(*) as events, sum(t.favorites)::integer as favorites,
            sum(t.carts)::integer as carts, sum(t.sales)::integer as sales
        from taken as t
        group by t.item_id, t.day
    ), noted as (
        insert into public.item_statistics as s (item_id, day, favorites, carts, sales)
        select d.item_id, d.day, d.favorites, d.carts, d.sales
        from days as d
        inner join (
            -- An item that is deleted this moment takes its statistics along.
            select c.id from public.catalog_items as c
            where c.id in (select o.item_id from private.item_events as o order by o.id limit max_rows)
            order by c.id
            for key share
        ) as c on c.id = d.item_id
        on conflict on constraint item_statistics_pkey do update set
        favorites = s.favorites + excluded.favorites, carts = s.carts + excluded.carts, sales = s.sales + excluded.sales
    )
    select coalesce(sum(d.events), 0) into events from days as d;
    delete from private.view_salts as s where s.day < today;
    delete from private.item_views as v
    where (v.item_id, v.viewer, v.slot) in (
        select o.item_id, o.viewer, o.slot from private.item_views as o
        where o.day < today and o.is_folded
        limit max_rows
    );
    return folded + events;
end
$$;
comment on function private.fold_views(integer) is
'Adds noted views to their items, and what else was noted to the statistics of its day; forgets the hashes of '
'days that '
'are over. Returns how much it added. A job calls it every few seconds.';
grant execute on function private.fold_views(integer) to avenue_worker;

alter table public.item_statistics enable row level security;
grant select on public.item_statistics to authenticated, service_role;
create policy item_statistics_select on public.item_statistics for select to authenticated
using (
    exists (
        select from public.catalog_items as c
        where c.id = item_statistics.item_id and c.seller_id = (select private.member_id())
    )
    or (select private.is_admin())
);

-- What is taking off: views and sales that weigh half as much after each half-life.

create table public.trending_items (
    item_id uuid not null,
    kind text not null,
    category text,
    score numeric(14, 2) not null,
    updated_at timestamptz not null default now(),
    constraint trending_items_pkey primary key (item_id),
    constraint trending_items_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint trending_items_kind_fkey foreign key (kind) references private.kinds (kind),
    constraint trending_items_score_check check (score >= 0)
);
create index trending_items_score_idx on public.trending_items (score desc, item_id desc);
create index trending_items_kind_score_idx on public.trending_items (kind, score desc, item_id desc);
create index trending_items_category_score_idx on public.trending_items (category, score desc, item_id desc);

comment on table public.trending_items is
'Items that are taking off: the first 1,000 of each kind and the first 100 of each of its categories. Everybody reads '
'those on sale; a job writes.';
comment on column public.trending_items.kind is 'As in catalog_items.';
comment on column public.trending_items.category is 'As in catalog_items.';
comment on column public.trending_items.score is
'Views, five for each favourite and twenty for each sale, of the last settings.trending_days, each weighing half as '
'much after every settings.trending_half_life.';

create function private.update_trending_items() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    ids uuid [];
    scores numeric [];
    changed integer;
    gone integer;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('avenue:trending_items', 0)) then
        return 0;
    end if;
    select coalesce(array_agg(r.id order by r.id), '{}'), array_agg(r.score order by r.id) into ids, scores
    from (
        select
            c.id, s.score,
            row_number() over (partition by c.kind order by s.score desc, c.id desc) as place,
            row_number() over (partition by c.kind, c.category order by s.score desc, c.id desc) as category_place
        from (
            select
                t.item_id,
                round(sum(
                    greatest(t.views + 5 * t.favorites + 20 * t.sales, 0)
                    * power(0.5, extract(epoch from now() - t.day::timestamp at time zone 'UTC') / extract(
                        epoch from w.trending_half_life
                    ))
                )::numeric, 2) as score
            from public.item_statistics as t
            cross join private.settings as w
            where t.day > (now() at time zone 'UTC')::date - w.trending_days
            group by t.item_id
        ) as s
        inner join public.catalog_items as c on c.id = s.item_id and c.is_listed
        where s.score > 0
    ) as r
    where r.place <= 1000 or r.category_place <= 100;
    delete from public.trending_items as i where i.item_id not in (select u.id from unnest(ids) as u (id));
    get diagnostics gone = row_count;
    insert into public.trending_items as i (item_id, kind, category, score)
    select c.id, c.kind, c.category, u.score
    from unnest(ids, scores) as u (id, score)
    inner join (
        -- What is being deleted or sold this moment is left to the next run.
        select o.id, o.kind, o.category from public.catalog_items as o
        where o.id = any (ids)
        order by o.id
        for key share skip locked
    ) as c on c.id = u.id
    on conflict on constraint trending_items_pkey do update
    set kind = excluded.kind, category = excluded.category, score = excluded.score, updated_at = now()
    where (i.kind, i.category, i.score) is distinct from (excluded.kind, excluded.category, excluded.score);
    get diagnostics changed = row_count;
    return changed + gone;
end
$$;
comment on function private.update_trending_items() is
'Writes the trending lists anew from the statistics; says the same however often it is called. Returns how many rows '
'changed.';
grant execute on function private.update_trending_items() to avenue_worker;

alter table public.trending_items enable row level security;
grant select on public.trending_items to anon, authenticated, service_role;
create policy trending_items_select on public.trending_items for select to anon, authenticated
using (exists (select from public.catalog_items as c where c.id = trending_items.item_id and c.is_listed));

insert into private.personal_data (section, relation, condition, stays, reason) values
('item_views', 'private.item_views', null, '{}', 'hashes under a secret that goes with the day: of nobody'),
('item_events', 'private.item_events', null, '{item_id}', 'numbers of items, on their way to the statistics'),
('trending_items', 'public.trending_items', null, '{category}', 'repeats what is on sale'),
('item_statistics', 'public.item_statistics',
    't.item_id in (select c.id from public.catalog_items as c where c.seller_id = $1)', '{}', null);
