-- What is left of a webinar: its recording, and the product made of it. Whoever was registered gets the product at no
-- price, by the grants that every purchase is.

create table public.webinar_recordings (
    webinar_id uuid not null,
    recording_url public.http_url not null,
    created_at timestamptz not null default now(),
    constraint webinar_recordings_pkey primary key (webinar_id),
    constraint webinar_recordings_webinar_id_fkey foreign key (webinar_id)
    references public.webinars (id) on delete cascade
);
comment on table public.webinar_recordings is
'Where recordings are. Hosts and those who are registered read; set_webinar_recording() writes.';
comment on column public.webinar_recordings.recording_url is 'Its address, http(s) only.';
alter table public.webinar_recordings enable row level security;
grant select on public.webinar_recordings to authenticated, service_role;
create policy webinar_recordings_select on public.webinar_recordings for select to authenticated
using (
    private.is_webinar_host(webinar_id, (select private.member_id()))
    or exists (
        select from public.webinar_registrations as r
        where
            r.webinar_id = webinar_recordings.webinar_id and r.user_id = (select private.member_id())
            and r.status = 'confirmed'
    )
    or (select private.is_admin())
);

create unique index products_source_webinar_id_key on public.products (source_webinar_id)
where source_webinar_id is not null;
alter table public.products add constraint products_source_webinar_id_fkey
foreign key (source_webinar_id) references public.webinars (id);
comment on constraint products_source_webinar_id_fkey on public.products is
'webinar_not_found: There is no such webinar.';

-- Products that some registrants do not have yet, or have without a seat.
create table private.recording_grants (
    product_id uuid not null,
    constraint recording_grants_pkey primary key (product_id),
    constraint recording_grants_product_id_fkey foreign key (product_id)
    references public.products (id) on delete cascade
);
comment on table private.recording_grants is
'Recordings that are still to be given to those who were registered, or taken back from those whose seat was; see '
'grant_recordings().';
alter table private.recording_grants enable row level security;

create function private.require_ended(webinar_id uuid) returns public.webinars
language plpgsql
set search_path = ''
as $$
declare
    webinar public.webinars;
begin
    perform private.require_host(require_ended.webinar_id, false);
    select * into strict webinar from public.webinars as w where w.id = require_ended.webinar_id for no key update;
    if private.webinar_state(webinar) <> 'ended' then
        perform private.refuse_state('webinar', private.webinar_state(webinar));
    end if;
    return webinar;
end
$$;
comment on function private.require_ended(uuid) is
'A webinar of the caller''s that took place, locked. Errors: webinar_not_found, state_changed.';

create function public.set_webinar_recording(webinar_id uuid, recording_url text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    webinar public.webinars := private.require_ended(set_webinar_recording.webinar_id);
begin
    if set_webinar_recording.recording_url is null then
        perform private.fail('invalid_link');
    end if;
    begin
        insert into public.webinar_recordings as r (webinar_id, recording_url)
        values (webinar.id, set_webinar_recording.recording_url)
        on conflict on constraint webinar_recordings_pkey do update set recording_url = excluded.recording_url;
    exception when check_violation then
        perform private.fail('invalid_link');
    end;
    update public.webinars as w set is_recorded = true, recording_available = true where w.id = webinar.id;
end
$$;
comment on function public.set_webinar_recording(uuid, text) is
'Host: where the recording of a webinar that took place is, for those who were registered. Errors: webinar_not_found, '
'state_changed, invalid_link.';
grant execute on function public.set_webinar_recording(uuid, text) to authenticated;

create function private.grant_recording(product_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    product public.products;
    chosen uuid[];
    orders uuid[];
begin
    -- Two who give it out take turns.
    perform from private.recording_grants as g where g.product_id = grant_recording.product_id for update;
    if not found then
        return 0;
    end if;
    select * into strict product from public.products as p where p.id = grant_recording.product_id;
    -- It came with the seat and goes with it. Who bought it keeps it.
    perform
        case when r.status = 'confirmed' then private.restore_line(i.id) else private.revoke_line(i.id, 'refunded') end
    from public.webinar_registrations as r
    inner join public.purchases as b on b.item_id = product.id and b.owner_id = r.user_id
    inner join public.order_items as i
        on i.id = b.order_item_id and i.details ->> 'webinar_id' = product.source_webinar_id::text
    where r.webinar_id = product.source_webinar_id and (r.status = 'confirmed') <> (b.revoked_at is null);
    chosen := array(
        select r.user_id
        from public.webinar_registrations as r
        inner join public.profiles as p on p.id = r.user_id and p.deleted_at is null
        where
            r.webinar_id = product.source_webinar_id and r.status = 'confirmed'
            and not exists (
                select from public.purchases as b where b.owner_id = r.user_id and b.item_id = product.id
            )
        order by r.user_id
        limit max_rows
    );
    if cardinality(chosen) < max_rows then
        delete from private.recording_grants as g where g.product_id = product.id;
    end if;
    if cardinality(chosen) = 0 then
        return 0;
    end if;
    with made as (
        insert into public.orders (user_id, subtotal_cents, discount_cents, shipping_cents, total_cents)
        select u.id, 0, 0, 0, 0 from unnest(chosen) as u (id)
        returning id, user_id
    ),

    lines as (
        insert into public.order_items (
            order_id, line_no, kind, item_id, buyer_id, seller_id, title, description, license_type, license_text,
            license_version, details, unit_price_cents, quantity, discount_cents, shipping_cents, seller_tier,
            commission_bps, is_counted, is_held, is_owned_once, is_shipped
        )
        select
            m.id, 1, 'product', product.id, m.user_id, product.seller_id, product.title, product.description,
            product.license_type, product.license_text, product.license_version,
            jsonb_build_object('webinar_id', product.source_webinar_id), 0, 1, 0, 0, t.tier, t.commission_bps, false,
            false, true, false
        from made as m
        cross join private.sale_terms('product', product.seller_id) as t
        returning order_id
    )

    select array_agg(l.order_id) into orders from lines as l;
    perform private.lock_orders(orders);
    perform private.deliver_orders(orders);
    perform private.notify_many(array(
        select row('webinar_recording', u.id, null, 'product', product.id, null)::private.notice
        from unnest(chosen) as u (id)
    ));
    return cardinality(chosen);
end
$$;
comment on function private.grant_recording(uuid, integer) is
'Gives a recording to those who were registered and do not have it, each once, at no price; how many. Takes it back '
'from those who got it and whose seat was taken back.';

-- A refund holds the seats; what else follows from it is for the job.
create function private.note_recording() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.recording_grants (product_id)
    select p.id from public.products as p where p.source_webinar_id = new.webinar_id
    on conflict on constraint recording_grants_pkey do nothing;
    return null;
end
$$;
comment on function private.note_recording() is
'Trigger on webinar_registrations: who has the recording is looked at again.';
create trigger note_recording after update of status on public.webinar_registrations
for each row when (
    (old.status = 'confirmed') <> (new.status = 'confirmed')
)
execute function private.note_recording();

create function private.grant_recordings(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    due uuid;
begin
    select g.product_id into due from private.recording_grants as g
    order by g.product_id
    limit 1
    for update skip locked;
    return case when due is null then 0 else 1 + private.grant_recording(due, max_rows) end;
end
$$;
comment on function private.grant_recordings(integer) is
'Gives the next recording to as many more of those who were registered; 0 when there is nothing left to give.';
grant execute on function private.grant_recordings(integer) to avenue_worker;

create function public.convert_recording(webinar_id uuid, price_cents bigint default 0, title text default null)
returns public.products
language plpgsql
security definer
set search_path = ''
as $$
declare
    webinar public.webinars := private.require_ended(convert_recording.webinar_id);
    product public.products;
begin
    select * into product from public.products as p where p.source_webinar_id = webinar.id;
    if product.id is not null then
        return product;
    end if;
    insert into public.products (
        seller_id, title, description, product_type, source_webinar_id, price_cents, category_id, tags, thumbnail_url
    ) values (
        webinar.host_id, coalesce(convert_recording.title, webinar.title), webinar.description, 'recorded_webinar',
        webinar.id, coalesce(convert_recording.price_cents, 0), webinar.category_id, webinar.tags,
        -- A copy of the webinar's own picture goes with it.
        case when webinar.image_media_id is null then webinar.thumbnail_url end
    ) returning * into product;
    insert into private.recording_grants (product_id) values (product.id);
    perform private.grant_recording(product.id, 200);
    return product;
end
$$;
comment on function public.convert_recording(uuid, bigint, text) is
'Host: makes a product of a webinar that took place, once: asked again it answers the first. It begins as a draft to '
'which the host adds files; whoever was registered has it already, at no price. Errors: webinar_not_found, '
'state_changed, '
'invalid_price, invalid_title.';
grant execute on function public.convert_recording(uuid, bigint, text) to authenticated;

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('webinar_recording', 'A recording is yours', 'The recording of a webinar you were registered for is in your library.',
    null, null, 'digest', true);

insert into private.personal_data (section, relation, condition, stays, reason) values
('webinar_recordings', 'public.webinar_recordings',
    't.webinar_id in (select w.id from public.webinars as w where w.host_id = $1)', '{recording_url}',
    'those who were registered go on having it');
