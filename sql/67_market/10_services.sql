-- Services: work that members do for each other, mentoring included. What is bought is one of a service's packages, an
-- option with its price; a service is bought again and again, and earned when it is done. Extras are on the next page,
-- the hours of services that are booked on the one after.

insert into private.media_purposes (purpose, bucket, is_public, is_uploaded, sizes, meaning) values
('service', 'pictures', true, true, '{large,medium,small,thumbnail}', 'a service, or a piece of its portfolio');

create type public.service_type as enum (
    'production', 'mixing', 'mastering', 'recording', 'vocals', 'design', 'video', 'consultation', 'other'
);
comment on type public.service_type is 'What is done.';

create type public.service_status as enum ('draft', 'active', 'paused', 'deleted');
comment on type public.service_status is
'active is in the shop, paused is not for now, deleted never again. What was ordered is carried out in every state.';

create table public.services (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    description text,
    service_type public.service_type not null,
    is_mentoring boolean not null default false,
    session_minutes integer,
    thumbnail_url public.http_url,
    currency character(3) not null default 'USD',
    buyer_requirements text,
    category_id uuid,
    tags text[] not null default '{}',
    genre_tags text[] not null default '{}',
    response_time_hours integer,
    completion_rate numeric(5, 2),
    status public.service_status not null default 'draft',
    is_featured boolean not null default false,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    image_media_id uuid,
    constraint services_pkey primary key (id),
    constraint services_slug_key unique (slug),
    constraint services_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint services_category_id_fkey foreign key (category_id) references public.categories (id),
    -- The registry row is written by trigger after this one, hence deferred. It makes item:catalog_items(*) embeddable.
    constraint services_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint services_title_check check (char_length(title) between 1 and 255),
    constraint services_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint services_description_check check (char_length(description) <= 20000),
    constraint services_session_minutes_check check (session_minutes between 5 and 480),
    constraint services_buyer_requirements_check check (char_length(buyer_requirements) <= 5000),
    constraint services_response_time_hours_check check (response_time_hours >= 0),
    constraint services_completion_rate_check check (completion_rate between 0 and 100)
);

create index services_seller_id_created_at_idx on public.services (seller_id, created_at desc);
create index services_category_id_idx on public.services (category_id);
create index services_created_at_idx on public.services (created_at desc, id desc);
create index services_service_type_created_at_idx on public.services (service_type, created_at desc, id desc)
where status = 'active';
create index services_mentoring_idx on public.services (created_at desc, id desc)
where is_mentoring and status = 'active';
create index services_genre_tags_idx on public.services using gin (genre_tags);

-- What a client that breaks these is told, see error_catalog().
comment on constraint services_description_check on public.services is
'invalid_description: A description has at most 20,000 characters.';
comment on constraint services_slug_check on public.services is
'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';
comment on constraint services_title_check on public.services is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint services_category_id_fkey on public.services is
'choice_not_available: There is no such category.';
comment on constraint services_slug_key on public.services is
'slug_taken: Another service just took this address; try again.';
comment on constraint services_session_minutes_check on public.services is
'invalid_service: A session takes 5 to 480 minutes.';
comment on constraint services_buyer_requirements_check on public.services is
'invalid_service: What buyers need to provide has at most 5,000 characters.';

comment on table public.services is
'Services, mentoring included. Visible while active, not taken down and of a seller in good standing; always to the '
'seller, to buyers and to admins. The lowest price, counters, rating and tags search are on the catalog_items row, the '
'packages are its options (catalog_options).';
comment on column public.services.seller_id is 'Who does it; always the caller.';
comment on column public.services.title is 'Title, one line of at most 255 characters.';
comment on column public.services.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.services.description is 'Rich text, at most 20,000 characters.';
comment on column public.services.service_type is 'What is done.';
comment on column public.services.is_mentoring is 'Shown under Find a Mentor.';
comment on column public.services.session_minutes is
'How long a session takes: who buys the service chooses a time, see available_slots(). Null: nothing is booked.';
comment on column public.services.thumbnail_url is
'Address of the picture for lists, http(s) only: from outside, or of the small copy of image_media_id.';
comment on column public.services.buyer_requirements is
'What buyers are asked to provide, at most 5,000 characters; an order keeps it as it was.';
comment on column public.services.tags is 'Up to 20 tags; lower case.';
comment on column public.services.genre_tags is 'Up to 20 genres; lower case.';
comment on column public.services.response_time_hours is
'How many hours its seller usually takes for a first answer, of the last 90 days; null: nobody has written. Computed.';
comment on column public.services.completion_rate is
'Percentage of its orders that were completed; null without any. Computed.';
comment on column public.services.status is
'State in the shop, set by the seller. active needs a package; deleted is final.';
comment on column public.services.is_featured is 'Shown first by its seller; limited by the seller''s plan.';
comment on column public.services.is_hidden is 'Taken down by an admin; written by hide_content() only.';
comment on column public.services.hidden_reason is 'Why, told to its seller.';

create function private.lowest_package_cents(service_id uuid) returns bigint
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return coalesce((
        select min(o.price_cents) from public.catalog_options as o
        where o.item_id = lowest_package_cents.service_id and o.is_active
    ), 0);
end
$$;
comment on function private.lowest_package_cents(uuid) is
'What the cheapest active package costs, cents; 0 without any.';

create function private.catalog_entry(service public.services) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'service', service.seller_id, service.title, service.slug, service.thumbnail_url,
        private.lowest_package_cents(service.id), null, service.currency,
        (select c.slug from public.categories as c where c.id = service.category_id),
        service.tags || service.genre_tags || service.service_type::text, null, service.is_featured,
        service.status = 'active' and not service.is_hidden, true, service.description, null, false
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.services) is
'A service''s registry row; its price is the lowest of its active packages.';

create function private.check_service() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.status = 'deleted' then
        -- What the server keeps up may still change; what the seller says may not.
        if (new.title, new.slug, new.status, new.session_minutes) is distinct from
            (old.title, old.slug, old.status, old.session_minutes)
        then
            perform private.fail('service_deleted', old.id::text);
        end if;
    end if;

    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.services', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.genre_tags := private.clean_tags(new.genre_tags);

    -- Its packages change under the registry row's lock, and its price is theirs: none changes between what is read
    -- here or for the registry and what is written.
    perform from public.catalog_items as c where c.id = new.id for no key update;
    if new.status = 'active' and (tg_op = 'INSERT' or old.status <> 'active') and not exists (
        select from public.catalog_options as o where o.item_id = new.id and o.is_active
    ) then
        perform private.fail('service_has_no_packages', new.id::text);
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
comment on function private.check_service() is
'Trigger: completes a service (slug, tags) and refuses what a constraint cannot say.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, description, buyer_requirements on public.services
for each row execute function private.tidy_texts(
    'title line required', 'description body', 'buyer_requirements body'
);

-- Not for what is computed.
create trigger check_service
before insert or update of
    title, slug, description, service_type, is_mentoring, session_minutes, thumbnail_url, buyer_requirements,
    category_id, tags, genre_tags, status, is_featured, is_hidden, image_media_id
on public.services
for each row execute function private.check_service();

create trigger refuse_ordered_item before delete on public.services
for each row execute function private.refuse_ordered_item();

create trigger sync_catalog_item
after insert or update or delete on public.services
for each row execute function private.sync_catalog_item();

create trigger touch_updated_at
before update of
    title, slug, description, service_type, is_mentoring, session_minutes, thumbnail_url, buyer_requirements,
    category_id, tags, genre_tags, status, is_featured, is_hidden, image_media_id
on public.services
for each row execute function private.touch_updated_at();

select private.make_media_column(
    'public.services', 'image_media_id', 'service', 'seller_id', '{"thumbnail_url": "small"}'
);
create trigger sync_catalog_picture after insert or update on public.services
for each row execute function private.sync_catalog_picture();

create function private.erase_services(seller uuid, max_rows integer default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select s.id from public.services as s
        where s.seller_id = seller and (s.status <> 'deleted' or not private.item_has_orders(s.id))
        order by s.id
        limit max_rows
        for update
    );
begin
    -- In the shop no more, its packages may go.
    update public.services as s set status = 'deleted' where s.id = any(chosen) and s.status <> 'deleted';
    begin
        delete from public.services as s where s.id = any(chosen) and not private.item_has_orders(s.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    return cardinality(chosen);
end
$$;
comment on function private.erase_services(uuid, integer) is
'Account deletion: removes a seller''s services that nobody ordered and takes the others off sale for good, at most '
'max_rows; how many.';

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('services', 'items', '{}',
    'select private.erase_services($1)', 'select 10 * private.erase_services($1, 1 + $2 / 10)');

alter table public.services enable row level security;
grant select on public.services to anon, authenticated, service_role;
grant
insert (
    title, slug, description, service_type, is_mentoring, session_minutes, thumbnail_url, buyer_requirements,
    category_id, tags, genre_tags, status, is_featured, image_media_id
),
update (
    title, slug, description, service_type, is_mentoring, session_minutes, thumbnail_url, buyer_requirements,
    category_id, tags, genre_tags, status, is_featured, image_media_id
),
delete
on public.services to authenticated;

-- Whoever may see the registry row may see the service. The owner comes first because an insert's RETURNING looks
-- before that row exists.
create policy services_select_anon on public.services for select to anon
using ((select c.id from public.catalog_items as c where c.id = services.id) is not null);
create policy services_select on public.services for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = services.id) is not null
);
create policy services_insert on public.services for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy services_update on public.services for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));
create policy services_delete on public.services for delete to authenticated
using (seller_id = (select private.member_id()));

-- What the seller has done before.
create table public.portfolio_pieces (
    id uuid not null default gen_random_uuid(),
    service_id uuid not null,
    seller_id uuid not null default auth.uid(),
    title text,
    url public.http_url,
    position smallint not null default 1,
    created_at timestamptz not null default now(),
    image_media_id uuid,
    constraint portfolio_pieces_pkey primary key (id),
    constraint portfolio_pieces_service_id_fkey foreign key (service_id)
    references public.services (id) on delete cascade,
    constraint portfolio_pieces_seller_id_fkey foreign key (seller_id)
    references public.profiles (id) on delete cascade,
    constraint portfolio_pieces_title_check check (char_length(title) between 1 and 200),
    constraint portfolio_pieces_url_check check (num_nonnulls(url, image_media_id) > 0),
    constraint portfolio_pieces_position_check check (position between 1 and 100)
);

create index portfolio_pieces_service_id_idx on public.portfolio_pieces (service_id, position, id);
create index portfolio_pieces_seller_id_idx on public.portfolio_pieces (seller_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint portfolio_pieces_service_id_fkey on public.portfolio_pieces is
'item_not_found: There is no such service.';
comment on constraint portfolio_pieces_title_check on public.portfolio_pieces is
'invalid_title: The title of a portfolio piece has 1 to 200 characters.';
comment on constraint portfolio_pieces_url_check on public.portfolio_pieces is
'invalid_portfolio_piece: A portfolio piece is a picture of one''s own or an address.';
comment on constraint portfolio_pieces_position_check on public.portfolio_pieces is
'invalid_position: A position is from 1 to 100.';

comment on table public.portfolio_pieces is
'Work samples of a service, at most 20; read with the service, written by its seller.';
comment on column public.portfolio_pieces.service_id is 'The service.';
comment on column public.portfolio_pieces.seller_id is 'Whose work; always the caller.';
comment on column public.portfolio_pieces.title is 'Title, one line of at most 200 characters.';
comment on column public.portfolio_pieces.url is
'Where it is, http(s) only: from outside, or of the large copy of image_media_id.';
comment on column public.portfolio_pieces.position is 'Order among them, from 1.';

create function private.check_portfolio_piece() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- One at a time per service: they are counted. The policy refuses what is not the caller's.
    perform from public.services as s where s.id = new.service_id and s.seller_id = new.seller_id for no key update;
    if found and (select count(*) from public.portfolio_pieces as p where p.service_id = new.service_id) >= 20 then
        perform private.fail('too_many_portfolio_pieces', new.service_id::text);
    end if;
    return new;
end
$$;
comment on function private.check_portfolio_piece() is 'Trigger: at most 20 a service.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title on public.portfolio_pieces
for each row execute function private.tidy_texts('title line');
create trigger check_portfolio_piece
before insert on public.portfolio_pieces
for each row execute function private.check_portfolio_piece();

select private.make_media_column(
    'public.portfolio_pieces', 'image_media_id', 'service', 'seller_id', '{"url": "large"}'
);

alter table public.portfolio_pieces enable row level security;
grant select on public.portfolio_pieces to anon, authenticated, service_role;
grant
insert (service_id, title, url, position, image_media_id), update (title, url, position, image_media_id), delete
on public.portfolio_pieces to authenticated;

-- Whoever may see the registry row may see the portfolio.
create policy portfolio_pieces_select_anon on public.portfolio_pieces for select to anon
using ((select c.id from public.catalog_items as c where c.id = portfolio_pieces.service_id) is not null);
create policy portfolio_pieces_select on public.portfolio_pieces for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = portfolio_pieces.service_id) is not null
);
create policy portfolio_pieces_insert on public.portfolio_pieces for insert to authenticated
with check (seller_id = (select private.member_id()) and private.sells_item(service_id));
create policy portfolio_pieces_update on public.portfolio_pieces for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));
create policy portfolio_pieces_delete on public.portfolio_pieces for delete to authenticated
using (seller_id = (select private.member_id()));

-- Packages are options: {delivery_days, revisions, features}.
create function private.service_check_option(ids uuid[], options public.catalog_options[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    option public.catalog_options;
    bare uuid;
begin
    foreach option in array options loop
        perform private.require_keys(option.details, '{delivery_days,revisions,features}', 'invalid_option');
        perform private.fail('invalid_option', w.part)
        from (
            select case
                when coalesce(option.details ->> 'delivery_days', '') !~ '^[0-9]{1,3}$'
                    or (option.details ->> 'delivery_days')::integer not between 1 and 365
                    then 'delivery_days: from 1 to 365'
                when coalesce(option.details ->> 'revisions', '0') !~ '^[0-9]{1,2}$' then 'revisions: from 0 to 99'
                when jsonb_typeof(coalesce(option.details -> 'features', '[]')) <> 'array'
                    or jsonb_array_length(coalesce(option.details -> 'features', '[]')) > 20
                    or jsonb_path_exists(option.details, '$.features[*] ? (@.type() != "string")')
                    or exists (
                        select from jsonb_array_elements_text(option.details -> 'features') as f (feature)
                        where char_length(f.feature) not between 1 and 200
                    )
                    then 'features: at most 20 texts of at most 200 characters'
                when option.is_exclusive or option.is_set_aside or option.stock is not null
                    then 'a package has no stock'
            end as part
        ) as w
        where w.part is not null;
    end loop;
    -- The registry row first, in the order of the ids; then what its packages are by now.
    perform from public.catalog_items as c where c.id = any (ids) order by c.id for no key update;
    update public.catalog_items as c set price_cents = private.lowest_package_cents(c.id)
    where c.id = any (ids) and c.price_cents <> private.lowest_package_cents(c.id);
    select s.id into bare from public.services as s
    where
        s.id = any (ids) and s.status = 'active' and not exists (
            select from public.catalog_options as o where o.item_id = s.id and o.is_active
        )
    limit 1;
    if bare is not null then
        perform private.fail('service_has_no_packages', bare::text);
    end if;
end
$$;
comment on function private.service_check_option(uuid[], public.catalog_options[]) is
'Hook check_option: {delivery_days, revisions, features}; keeps the registry''s price. Errors: invalid_option, '
'service_has_no_packages.';

create function private.service_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
stable
set search_path = ''
as $$
begin
    perform private.require_keys(l.details, '{extras,session}', 'line_not_valid') from unnest(lines) as l;
    return query
    select
        l.no, s.description, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object(
            'package', jsonb_build_object(
                'option_id', o.id, 'name', o.title,
                'delivery_days', (o.details ->> 'delivery_days')::integer,
                'revisions', coalesce((o.details ->> 'revisions')::integer, 0),
                'features', coalesce(o.details -> 'features', '[]')
            ),
            'extras', e.extras, 'session', b.session, 'requirements_asked', s.buyer_requirements
        )),
        0::bigint,
        case
            when o.id is null then 'package_required'
            when l.quantity > 1 then 'quantity_not_allowed'
            else coalesce(e.problem, b.problem)
        end,
        case when o.id is null or l.quantity > 1 then s.id::text else coalesce(e.detail, b.detail) end,
        e.cents, b.session is not null
    from unnest(lines) as l
    inner join public.services as s on s.id = l.item_id
    left join public.catalog_options as o on o.id = l.option_id
    cross join lateral private.chosen_extras(s.id, l.details -> 'extras') as e
    cross join lateral private.chosen_session(s, l.details -> 'session') as b;
end
$$;
comment on function private.service_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: {extras, session}; keeps the package and the extras as they are now, the session, and what the buyer '
'is asked for.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.services', 'status', null, 'draft', 'its seller begins'),
('public.services', 'status', null, 'paused', 'made for later'),
('public.services', 'status', null, 'deleted', 'made for nobody'),
('public.services', 'status', 'draft', 'active', 'has packages, goes on sale'),
('public.services', 'status', 'draft', 'paused', 'by its seller'),
('public.services', 'status', 'draft', 'deleted', 'by its seller, or the seller left'),
('public.services', 'status', 'active', 'draft', 'by its seller'),
('public.services', 'status', 'active', 'paused', 'by its seller'),
('public.services', 'status', 'active', 'deleted', 'by its seller, or the seller left'),
('public.services', 'status', 'paused', 'draft', 'by its seller'),
('public.services', 'status', 'paused', 'active', 'goes on sale again'),
('public.services', 'status', 'paused', 'deleted', 'by its seller, or the seller left');
select private.build_moves('public.services', 'status');

insert into private.kinds (kind, relation, owner_column, page, is_repeatable, earned, hooks) values
('service', 'public.services', 'seller_id', '/catalog_items/{id}', true, 'at_completion',
    '{can_read,evidence,place,lock,hide,check_option,check_line,hold,release,units,payees,grant,revoke,restore,'
    'complete}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('services', 'public.services',
    't.seller_id = $1',
    '{seller_id, title, slug, description, thumbnail_url, buyer_requirements, tags, genre_tags, hidden_reason}',
    'ordered: its buyers keep it as they bought it');
insert into private.personal_data (section, relation, condition) values
('portfolio_pieces', 'public.portfolio_pieces', 't.seller_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('portfolio_pieces', 'works', '{public.portfolio_pieces}', 'delete from public.portfolio_pieces where seller_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('service_deleted', 'PT409', 'This service was deleted.', 'Deleting is final. Create a new service.'),
('service_has_no_packages', 'PT409', 'This service has no packages.',
'A service on sale needs an active package: add an option with details {delivery_days, revisions, features}, then set '
'status active. The last one of a service on sale is only replaced: add the new one first.'),
('package_required', 'PT400', 'Choose a package.',
'A service is bought by one of its packages: send its id as option_id. The detail names the service.'),
('too_many_portfolio_pieces', 'PT409', 'A portfolio has at most 20 pieces.', 'Delete one first.');
