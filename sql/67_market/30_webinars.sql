-- Live online workshops: somebody hosts one at a time, for free or at a price, with as many seats as they say. What a
-- host enters is a local time and a zone; when that is, is derived once and stored. A webinar is an item of the
-- registry like any other; whose the seats are is on the next page.
-- Locks: the webinar's own row, then its registry row, which is the lock of its seats.

alter table private.settings
add column offer_period interval not null default '24 hours',
add column join_before interval not null default '30 minutes';
comment on column private.settings.offer_period is
'How long a seat is offered to whoever waits for one; never beyond the start.';
comment on column private.settings.join_before is 'How long before its start a webinar can be entered.';

insert into private.media_purposes (purpose, bucket, is_public, is_uploaded, sizes, meaning) values
('webinar', 'pictures', true, true, '{large,medium,small,thumbnail}', 'a webinar');

-- A constraint of rows that clients write asks it.
grant execute on function private.is_reason(text) to authenticated;

create type public.webinar_status as enum ('upcoming', 'live', 'ended', 'cancelled');
comment on type public.webinar_status is 'How it stands with a webinar.';

create table public.webinars (
    id uuid not null default gen_random_uuid(),
    host_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    description text,
    thumbnail_url public.http_url,
    cover_image_url public.http_url,
    starts_local timestamp not null,
    time_zone text not null,
    is_second_hour boolean,
    starts_at timestamptz not null default now(),
    duration_minutes integer not null default 60,
    ends_at timestamptz not null default now(),
    price_cents bigint not null default 0,
    currency character(3) not null default 'USD',
    max_attendees integer,
    cancel_before_hours integer not null default 24,
    status public.webinar_status not null default 'upcoming',
    category_id uuid,
    tags text[] not null default '{}',
    attendees_count integer not null default 0,
    is_recorded boolean not null default false,
    recording_available boolean not null default false,
    moved_at timestamptz,
    moves_count integer not null default 0,
    cancelled_reason text,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    image_media_id uuid,
    constraint webinars_pkey primary key (id),
    constraint webinars_slug_key unique (slug),
    constraint webinars_host_id_fkey foreign key (host_id) references public.profiles (id),
    constraint webinars_category_id_fkey foreign key (category_id) references public.categories (id),
    -- The registry row is written by trigger after this one.
    constraint webinars_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint webinars_title_check check (char_length(title) between 1 and 255),
    constraint webinars_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint webinars_description_check check (char_length(description) <= 20000),
    constraint webinars_duration_minutes_check check (duration_minutes between 5 and 1440),
    constraint webinars_ends_at_check check (ends_at > starts_at),
    constraint webinars_price_cents_check check (private.is_price(price_cents)),
    constraint webinars_max_attendees_check check (max_attendees between 2 and 100000),
    constraint webinars_cancel_before_hours_check check (cancel_before_hours between 0 and 720),
    constraint webinars_cancelled_reason_check check (private.is_reason(cancelled_reason)),
    constraint webinars_counts_check check (attendees_count >= 0)
)
-- Counted on often, and no index holds the counters.
with (fillfactor = 80);

create index webinars_host_id_starts_at_idx on public.webinars (host_id, starts_at desc);
create index webinars_category_id_idx on public.webinars (category_id);
create index webinars_starts_at_id_idx on public.webinars (starts_at, id) where status in ('upcoming', 'live');
create index webinars_open_idx on public.webinars (ends_at) where status in ('upcoming', 'live');

-- What a client that breaks these is told, see error_catalog().
comment on constraint webinars_title_check on public.webinars is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint webinars_slug_check on public.webinars is
'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';
comment on constraint webinars_slug_key on public.webinars is
'slug_taken: Another webinar just took this address; try again.';
comment on constraint webinars_description_check on public.webinars is
'invalid_description: A description has at most 20,000 characters.';
comment on constraint webinars_duration_minutes_check on public.webinars is
'invalid_webinar: A webinar takes from 5 minutes to 24 hours.';
comment on constraint webinars_price_cents_check on public.webinars is
'invalid_price: A price is 0 or from 50 to 99999999 cents.';
comment on constraint webinars_max_attendees_check on public.webinars is
'invalid_webinar: A webinar has from 2 to 100,000 seats, or no limit (null).';
comment on constraint webinars_cancel_before_hours_check on public.webinars is
'invalid_webinar: The limit is from 0 to 720 hours before the start.';
comment on constraint webinars_category_id_fkey on public.webinars is
'choice_not_available: There is no such category.';

comment on table public.webinars is
'Live online workshops. Visible while upcoming or live and of a host in good standing; always to hosts, those who '
'registered, and admins. status_now is how it stands at this moment. The host inserts and changes what is said about '
'it; time and state are changed by functions.';
comment on column public.webinars.host_id is 'Who hosts it and earns; always the caller.';
comment on column public.webinars.title is 'Title, one line of at most 255 characters.';
comment on column public.webinars.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.webinars.description is 'Rich text, at most 20,000 characters.';
comment on column public.webinars.thumbnail_url is
'Address of the picture for lists, http(s) only: from outside, or of the small copy of image_media_id.';
comment on column public.webinars.cover_image_url is
'Address of the picture of its page, http(s) only: from outside, or of the large copy of image_media_id.';
comment on column public.webinars.starts_local is 'When it starts, as clocks show it in time_zone.';
comment on column public.webinars.time_zone is 'Name of the zone in the IANA database: Europe/Berlin.';
comment on column public.webinars.is_second_hour is
'Of a time that comes twice, when clocks go back: whether the second one is meant.';
comment on column public.webinars.starts_at is
'When it starts: the instant, kept by trigger. What everybody else reads.';
comment on column public.webinars.duration_minutes is 'How long it takes, minutes.';
comment on column public.webinars.ends_at is 'When it ends: so many minutes after it starts; kept by trigger.';
comment on column public.webinars.price_cents is 'Price of a seat, cents; 0 is free.';
comment on column public.webinars.max_attendees is 'How many seats there are; null: as many as are wanted.';
comment on column public.webinars.cancel_before_hours is
'Until how many hours before the start somebody may leave and get everything back. Fixed when created.';
comment on column public.webinars.status is
'State as far as it was noted; the clock is ahead of it for moments: see status_now.';
comment on column public.webinars.tags is 'Up to 20 tags; lower case.';
comment on column public.webinars.attendees_count is 'How many were there; kept by mark_attendance().';
comment on column public.webinars.is_recorded is 'Whether it is to be recorded.';
comment on column public.webinars.recording_available is 'Whether there is a recording.';
comment on column public.webinars.moved_at is 'When it was last moved to another time; null: never.';
comment on column public.webinars.moves_count is 'How often it was moved.';
comment on column public.webinars.cancelled_reason is 'Why it was cancelled, told to everybody.';
comment on column public.webinars.is_hidden is 'Taken down by an admin; written by hide_content() only.';
comment on column public.webinars.hidden_reason is 'Why, told to its host.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.webinars', 'status', null, 'upcoming', 'its host announces it'),
('public.webinars', 'status', 'upcoming', 'live', 'its start has come'),
('public.webinars', 'status', 'live', 'ended', 'its end has come, it is earned'),
('public.webinars', 'status', 'upcoming', 'cancelled', 'by its host, or the host is gone');
select private.build_moves('public.webinars', 'status');

create function private.webinar_state(webinar public.webinars) returns public.webinar_status
language plpgsql
stable
set search_path = ''
as $$
begin
    return case
        when webinar.status in ('ended', 'cancelled') then webinar.status
        when webinar.ends_at <= clock_timestamp() then 'ended'
        when webinar.starts_at <= clock_timestamp() then 'live'
        else webinar.status
    end;
end
$$;
comment on function private.webinar_state(public.webinars) is 'How it stands with a webinar at this moment.';

create function public.status_now(webinar public.webinars) returns public.webinar_status
language sql
stable
set search_path = ''
as $$
    select case
        when webinar.status in ('ended', 'cancelled') then webinar.status
        when webinar.ends_at <= now() then 'ended'
        when webinar.starts_at <= now() then 'live'
        else webinar.status
    end
$$;
comment on function public.status_now(public.webinars) is
'Computed field of webinars: upcoming, live, ended or cancelled at this moment, whatever was noted yet.';
grant execute on function public.status_now(public.webinars) to anon, authenticated;

create function private.catalog_entry(webinar public.webinars) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'webinar', webinar.host_id, webinar.title, webinar.slug, webinar.thumbnail_url, webinar.price_cents, null,
        webinar.currency, (select c.slug from public.categories as c where c.id = webinar.category_id), webinar.tags,
        -- Without a limit too its seats are counted: one way to have one.
        coalesce(webinar.max_attendees, 1000000), false,
        webinar.status in ('upcoming', 'live') and not webinar.is_hidden, webinar.status = 'upcoming',
        webinar.description, null, false
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.webinars) is
'A webinar''s registry row; its stock are the seats, a million where there is no limit.';

create function private.check_webinar() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    taken integer;
begin
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.webinars', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    if tg_op = 'INSERT' or (new.starts_local, new.time_zone, new.is_second_hour, new.duration_minutes)
        is distinct from (old.starts_local, old.time_zone, old.is_second_hour, old.duration_minutes)
    then
        -- Also infinity, and years nobody's calendar knows.
        if new.starts_local > clock_timestamp() at time zone 'UTC' + interval '10 years' then
            perform private.fail('time_too_far', new.starts_local::text);
        elsif new.starts_local < '2000-01-01' then
            perform private.fail('time_has_passed', new.starts_local::text);
        end if;
        new.starts_at := private.instant_of(
            new.starts_local, new.time_zone,
            case when new.is_second_hour then 'later' when not new.is_second_hour then 'earlier' end
        );
        new.ends_at := new.starts_at + new.duration_minutes * interval '1 minute';
        if new.starts_at <= clock_timestamp() then
            perform private.fail('time_has_passed', new.starts_at::text);
        end if;
    end if;
    if tg_op = 'UPDATE' and (new.price_cents, new.max_attendees) is distinct from (old.price_cents, old.max_attendees)
    then
        if private.webinar_state(old) <> 'upcoming' then
            perform private.refuse_state('webinar', private.webinar_state(old));
        end if;
        select c.taken into taken from public.catalog_items as c where c.id = new.id for no key update;
        if new.max_attendees < taken and new.max_attendees is distinct from old.max_attendees then
            perform private.fail('capacity_below_registrations', taken::text);
        end if;
    end if;
    return new;
end
$$;
comment on function private.check_webinar() is
'Trigger: completes a webinar (slug, tags, starts_at, ends_at) and refuses what a constraint cannot say.';

create trigger _tidy_texts
before insert or update of title, description, cancelled_reason on public.webinars
for each row execute function private.tidy_texts('title line required', 'description body', 'cancelled_reason body');
create trigger check_webinar before insert or update on public.webinars
for each row execute function private.check_webinar();
create trigger refuse_ordered_item before delete on public.webinars
for each row execute function private.refuse_ordered_item();
create trigger sync_catalog_item after insert or update or delete on public.webinars
for each row execute function private.sync_catalog_item();
create trigger touch_updated_at before update on public.webinars
for each row execute function private.touch_updated_at();
select private.make_media_column(
    'public.webinars', 'image_media_id', 'webinar', 'host_id',
    '{"thumbnail_url": "small", "cover_image_url": "large"}'
);
create trigger sync_catalog_picture after insert or update on public.webinars
for each row execute function private.sync_catalog_picture();

-- Closed from the start; who may read and write it is said on the next page, where there are seats.
alter table public.webinars enable row level security;

-- Who hosts it with the host: asked by the host, theirs once they said yes. Their time is taken like the host's.
create table public.webinar_co_hosts (
    webinar_id uuid not null,
    user_id uuid not null,
    accepted_at timestamptz,
    created_at timestamptz not null default now(),
    constraint webinar_co_hosts_pkey primary key (webinar_id, user_id),
    constraint webinar_co_hosts_webinar_id_fkey foreign key (webinar_id)
    references public.webinars (id) on delete cascade,
    constraint webinar_co_hosts_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);

alter table public.webinar_co_hosts enable row level security;
create index webinar_co_hosts_user_id_idx on public.webinar_co_hosts (user_id);

comment on table public.webinar_co_hosts is
'Co-hosts of webinars: see who is registered, enter before others, mark attendance; they cancel, refund and convert '
'nothing. Whoever sees the webinar sees those who said yes. Written by functions.';
comment on column public.webinar_co_hosts.accepted_at is 'When they said yes; null: asked.';

create function private.is_webinar_host(webinar_id uuid, user_id uuid, with_co_hosts boolean default true)
returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.webinars as w
        where w.id = is_webinar_host.webinar_id and w.host_id = is_webinar_host.user_id
    ) or with_co_hosts and exists (
        select from public.webinar_co_hosts as h
        where
            h.webinar_id = is_webinar_host.webinar_id and h.user_id = is_webinar_host.user_id
            and h.accepted_at is not null
    )
$$;
comment on function private.is_webinar_host(uuid, uuid, boolean) is
'Whether somebody hosts this webinar, alone or, unless told otherwise, as a co-host.';
grant execute on function private.is_webinar_host(uuid, uuid, boolean) to authenticated;

create function private.webinar_hosts(webinar_id uuid) returns uuid[]
language sql
stable
set search_path = ''
as $$
    select array(
        select w.host_id from public.webinars as w where w.id = webinar_hosts.webinar_id
        union
        select h.user_id from public.webinar_co_hosts as h
        where h.webinar_id = webinar_hosts.webinar_id and h.accepted_at is not null
    )
$$;
comment on function private.webinar_hosts(uuid) is 'Whose time it takes: the host and the co-hosts.';

create function private.take_webinar_time() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status = 'cancelled' then
        perform private.free_time('webinar', array[new.id]);
    else
        perform private.take_time('webinar', new.id, private.webinar_hosts(new.id), new.starts_at, new.ends_at);
    end if;
    return null;
end
$$;
comment on function private.take_webinar_time() is 'Trigger: a webinar takes its hosts'' time until it is cancelled.';
create trigger take_webinar_time_new after insert on public.webinars
for each row execute function private.take_webinar_time();
create trigger take_webinar_time after update on public.webinars
for each row when (
    (old.starts_at, old.ends_at) is distinct from (new.starts_at, new.ends_at)
    or old.status <> 'cancelled' and new.status = 'cancelled'
)
execute function private.take_webinar_time();

create function private.lock_webinar(webinar_id uuid) returns public.webinars
language plpgsql
set search_path = ''
as $$
declare
    webinar public.webinars;
begin
    select * into webinar from public.webinars as w where w.id = lock_webinar.webinar_id for no key update;
    perform private.lock_items(array[lock_webinar.webinar_id]);
    if webinar.id is null then
        perform private.fail('webinar_not_found', lock_webinar.webinar_id::text);
    end if;
    return webinar;
end
$$;
comment on function private.lock_webinar(uuid) is
'Locks a webinar and its seats, and answers it. Error: webinar_not_found.';

create function private.require_host(webinar_id uuid, with_co_hosts boolean) returns uuid
language plpgsql
stable
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    if not private.is_webinar_host(require_host.webinar_id, member, with_co_hosts) then
        perform private.fail('webinar_not_found', require_host.webinar_id::text);
    end if;
    return member;
end
$$;
comment on function private.require_host(uuid, boolean) is
'The caller, who hosts this webinar, alone or also as a co-host. Error: webinar_not_found.';

create function public.invite_co_host(webinar_id uuid, user_id uuid) returns public.webinar_co_hosts
language plpgsql
security definer
set search_path = ''
as $$
declare
    host uuid := private.require_host(invite_co_host.webinar_id, false);
    webinar public.webinars := private.lock_webinar(invite_co_host.webinar_id);
    invited public.webinar_co_hosts;
begin
    if private.webinar_state(webinar) <> 'upcoming' then
        perform private.refuse_state('webinar', private.webinar_state(webinar));
    elsif not (private.seller_plan(host)).features ? 'webinar-co-hosts' then
        perform private.fail('plan_required', 'webinar-co-hosts');
    elsif
        invite_co_host.user_id = host or private.is_platform(invite_co_host.user_id)
        or private.can_see(invite_co_host.user_id) is not true
    then
        perform private.fail('user_not_found', invite_co_host.user_id::text);
    elsif 10 <= (select count(*) from public.webinar_co_hosts as h where h.webinar_id = webinar.id) then
        perform private.fail('too_many_co_hosts');
    end if;
    insert into public.webinar_co_hosts as h (webinar_id, user_id)
    values (webinar.id, invite_co_host.user_id)
    on conflict on constraint webinar_co_hosts_pkey do nothing
    returning * into invited;
    if invited.user_id is null then
        perform private.fail('already_invited');
    end if;
    perform private.count_activity('co_host', 1);
    perform private.notify(invited.user_id, 'webinar_co_host', host, 'webinar', webinar.id);
    return invited;
end
$$;
comment on function public.invite_co_host(uuid, uuid) is
'Host, with a plan that has webinar-co-hosts (premium and higher): asks somebody to host with them. Errors: '
'webinar_not_found, state_changed, plan_required, user_not_found, too_many_co_hosts (ten), already_invited, '
'too_many_actions.';
grant execute on function public.invite_co_host(uuid, uuid) to authenticated;

create function public.answer_co_hosting(webinar_id uuid, accept boolean) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    webinar public.webinars;
begin
    if not exists (
        select from public.webinar_co_hosts as h
        where h.webinar_id = answer_co_hosting.webinar_id and h.user_id = member
    ) then
        perform private.fail('webinar_not_found', answer_co_hosting.webinar_id::text);
    end if;
    webinar := private.lock_webinar(answer_co_hosting.webinar_id);
    if accept then
        if private.webinar_state(webinar) <> 'upcoming' then
            perform private.refuse_state('webinar', private.webinar_state(webinar));
        elsif private.has_seat(webinar.id, member) then
            perform private.fail('already_registered');
        end if;
        -- Who hosts it does not wait for a seat in it.
        perform private.give_up_seat(r.id, 'cancelled')
        from public.webinar_registrations as r
        where r.webinar_id = webinar.id and r.user_id = member and r.status = 'waiting';
        update public.webinar_co_hosts as h set accepted_at = clock_timestamp()
        where h.webinar_id = webinar.id and h.user_id = member and h.accepted_at is null;
    else
        delete from public.webinar_co_hosts as h where h.webinar_id = webinar.id and h.user_id = member;
    end if;
    if private.webinar_state(webinar) <> 'cancelled' then
        perform private.take_time(
            'webinar', webinar.id, private.webinar_hosts(webinar.id), webinar.starts_at, webinar.ends_at
        );
    end if;
    return accept;
end
$$;
comment on function public.answer_co_hosting(uuid, boolean) is
'Whoever was asked to host with somebody: says yes, which takes their time, or no, also later. Errors: '
'webinar_not_found (nobody asked), state_changed, already_registered, slot_taken.';
grant execute on function public.answer_co_hosting(uuid, boolean) to authenticated;

create function public.remove_co_host(webinar_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    webinar public.webinars;
begin
    perform private.require_host(remove_co_host.webinar_id, false);
    webinar := private.lock_webinar(remove_co_host.webinar_id);
    delete from public.webinar_co_hosts as h
    where h.webinar_id = webinar.id and h.user_id = remove_co_host.user_id;
    if not found then
        perform private.fail('user_not_found', remove_co_host.user_id::text);
    end if;
    delete from private.busy_times as b
    where b.kind = 'webinar' and b.subject_id = webinar.id and b.person_id = remove_co_host.user_id;
end
$$;
comment on function public.remove_co_host(uuid, uuid) is
'Host: somebody does not host with them any more. Errors: webinar_not_found, user_not_found.';
grant execute on function public.remove_co_host(uuid, uuid) to authenticated;

insert into private.kinds (kind, relation, owner_column, page, earned, has_seats, hooks) values
('webinar', 'public.webinars', 'host_id', '/webinars/{id}', 'at_completion', true,
    '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,take,freed,grant,revoke,restore,'
    'complete}');

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('webinar_co_host', 'Asked to co-host', 'Somebody asks you to host a webinar with them.', null, '24 hours', 'digest',
    true);

insert into private.personal_data (section, relation, condition, stays, reason) values
('webinars', 'public.webinars', 't.host_id = $1',
    '{host_id, title, slug, description, thumbnail_url, cover_image_url, time_zone, tags, cancelled_reason, '
    'hidden_reason}', 'registered for: its guests keep what they came for'),
('webinar_co_hosts', 'public.webinar_co_hosts', 't.user_id = $1', '{}', null);
insert into private.erasure_steps (step, phase, erases, statement) values
('webinar_co_hosts', 'business', '{public.webinar_co_hosts}',
    'delete from public.webinar_co_hosts where user_id = $1');

insert into private.activity_limits (kind, fresh, established, period, description) values
('co_host', 20, 100, '1 day', 'People asked to host a webinar together');

insert into private.error_codes (code, sqlstate, message, description) values
('webinar_not_found', 'PT404', 'There is no such webinar.', 'Or it is not the caller''s to do this with.'),
('time_has_passed', 'PT400', 'This time has passed.', 'Choose a later time.'),
('time_too_far', 'PT400', 'This time is too far away.', 'A webinar begins within ten years.'),
('capacity_below_registrations', 'PT409', 'More seats are taken than that.',
'The detail says how many are taken, held or offered.'),
('plan_required', 'PT403', 'Your plan does not include this.', 'The detail names the feature; see plans.features.'),
('already_invited', 'PT409', 'They were asked already.', 'They answer with answer_co_hosting().'),
('too_many_co_hosts', 'PT409', 'There are too many co-hosts.', 'At most ten.');
