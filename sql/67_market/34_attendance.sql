-- Being there: the room, the way into it, and who came. The room is known to the workers only: whoever may enter is
-- given an address of their own, which is asked again each time it is used. So it ends with the seat.

create table private.webinar_rooms (
    webinar_id uuid not null,
    provider text not null default 'link',
    room_id text,
    link text,
    updated_at timestamptz not null default now(),
    constraint webinar_rooms_pkey primary key (webinar_id),
    constraint webinar_rooms_webinar_id_fkey foreign key (webinar_id) references public.webinars (id) on delete cascade,
    constraint webinar_rooms_link_check check (char_length(link) <= 2048 and link ~* '^https://[^\s]+$'),
    constraint webinar_rooms_room_check check (num_nonnulls(room_id, link) >= 1)
);
comment on constraint webinar_rooms_link_check on private.webinar_rooms is
'invalid_link: A link begins with https:// and has at most 2,048 characters.';
comment on table private.webinar_rooms is
'Where webinars take place; no client reads it. provider names who runs the room (workers/rooms).';
comment on column private.webinar_rooms.provider is 'Who runs it; link: the host''s own.';
comment on column private.webinar_rooms.room_id is 'The provider''s name for the room.';
comment on column private.webinar_rooms.link is 'The host''s link to their room.';
alter table private.webinar_rooms enable row level security;

create table private.webinar_passes (
    token uuid not null default gen_random_uuid(),
    webinar_id uuid not null,
    user_id uuid not null,
    created_at timestamptz not null default now(),
    constraint webinar_passes_pkey primary key (token),
    constraint webinar_passes_webinar_id_user_id_key unique (webinar_id, user_id),
    constraint webinar_passes_webinar_id_fkey foreign key (webinar_id)
    references public.webinars (id) on delete cascade,
    constraint webinar_passes_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);
create index webinar_passes_user_id_idx on private.webinar_passes (user_id);
comment on table private.webinar_passes is
'Addresses given to people to enter a webinar: one each, worth nothing without the seat.';
comment on column private.webinar_passes.token is 'What the address carries.';
alter table private.webinar_passes enable row level security;

create type public.webinar_pass as (url text, opens_at timestamptz, ends_at timestamptz, is_host boolean);
comment on type public.webinar_pass is 'How somebody enters a webinar.';

create function public.set_webinar_room(webinar_id uuid, link text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    tidy text := btrim(set_webinar_room.link);
begin
    perform private.require_host(set_webinar_room.webinar_id, false);
    if tidy is null or char_length(tidy) > 2048 or tidy !~* '^https://[^\s]+$' then
        perform private.fail('invalid_link');
    end if;
    insert into private.webinar_rooms as r (webinar_id, link) values (set_webinar_room.webinar_id, tidy)
    on conflict on constraint webinar_rooms_pkey do update set
        provider = 'link', room_id = null, link = excluded.link, updated_at = now();
end
$$;
comment on function public.set_webinar_room(uuid, text) is
'Host: where it takes place, an https address. Nobody can read it: join_webinar() leads there. Errors: '
'webinar_not_found, invalid_link.';
grant execute on function public.set_webinar_room(uuid, text) to authenticated;

create function private.entry_refusal(webinar_id uuid, user_id uuid) returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    webinar public.webinars;
begin
    select * into webinar from public.webinars as w where w.id = entry_refusal.webinar_id;
    return case
        when webinar.id is null or not (
            private.is_webinar_host(webinar.id, entry_refusal.user_id)
            or exists (
                select from public.webinar_registrations as r
                where
                    r.webinar_id = webinar.id and r.user_id = entry_refusal.user_id and r.status = 'confirmed'
            )
        ) then 'webinar_not_found'
        when webinar.is_hidden or private.webinar_state(webinar) in ('ended', 'cancelled') then 'webinar_over'
        when webinar.starts_at - (select s.join_before from private.settings as s) > clock_timestamp()
            then 'webinar_not_begun'
        when not exists (select from private.webinar_rooms as r where r.webinar_id = webinar.id)
            then 'room_not_ready'
    end;
end
$$;
comment on function private.entry_refusal(uuid, uuid) is 'Why somebody cannot enter a webinar now, or null.';

create function public.join_webinar(webinar_id uuid) returns public.webinar_pass
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    refusal text := private.entry_refusal(join_webinar.webinar_id, member);
    pass uuid;
begin
    if refusal is not null then
        perform private.fail(refusal, join_webinar.webinar_id::text);
    end if;
    insert into private.webinar_passes (webinar_id, user_id) values (join_webinar.webinar_id, member)
    on conflict on constraint webinar_passes_webinar_id_user_id_key do nothing;
    select p.token into strict pass from private.webinar_passes as p
    where p.webinar_id = join_webinar.webinar_id and p.user_id = member;
    return (
        select row(
            private.workers_link('/functions/v1/webinars/enter?pass=' || pass),
            w.starts_at - s.join_before, w.ends_at, private.is_webinar_host(w.id, member)
        )::public.webinar_pass
        from public.webinars as w
        cross join private.settings as s
        where w.id = join_webinar.webinar_id
    );
end
$$;
comment on function public.join_webinar(uuid) is
'The caller''s own way into a webinar, from half an hour before it starts until it ends: for hosts, co-hosts and '
'confirmed '
'registrations. The address is theirs alone and ends with the seat. Errors: webinar_not_found (also without a seat), '
'webinar_not_begun, webinar_over, room_not_ready, payments_not_set_up (no worker has published its address).';
grant execute on function public.join_webinar(uuid) to authenticated;

create function private.use_pass(pass uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    known private.webinar_passes;
    refusal text;
begin
    select p.* into known
    from private.webinar_passes as p
    inner join public.profiles as m on m.id = p.user_id and m.deleted_at is null and not m.is_banned
    where p.token = use_pass.pass;
    refusal := private.entry_refusal(known.webinar_id, known.user_id);
    if refusal is not null then
        perform private.fail(refusal);
    end if;
    return (
        select jsonb_build_object(
            'webinar_id', w.id, 'title', w.title, 'provider', r.provider, 'room_id', r.room_id, 'link', r.link,
            'user_id', m.id, 'name', coalesce(m.display_name, m.username::text),
            'is_host', private.is_webinar_host(w.id, m.id), 'ends_at', w.ends_at
        )
        from public.webinars as w
        inner join private.webinar_rooms as r on r.webinar_id = w.id
        inner join public.profiles as m on m.id = known.user_id
        where w.id = known.webinar_id
    );
end
$$;
comment on function private.use_pass(uuid) is
'Where an address given by join_webinar() leads and who enters. Asks again whether they may. Errors: '
'webinar_not_found, '
'webinar_not_begun, webinar_over, room_not_ready.';
grant execute on function private.use_pass(uuid) to avenue_worker;

create function public.mark_attendance(webinar_id uuid, user_ids uuid[]) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    webinar public.webinars;
    stranger uuid;
    marked integer;
begin
    perform private.require_host(mark_attendance.webinar_id, true);
    if cardinality(mark_attendance.user_ids) > 1000 then
        perform private.fail('too_many_people');
    end if;
    webinar := private.lock_webinar(mark_attendance.webinar_id);
    if webinar.status = 'cancelled' or webinar.starts_at > clock_timestamp() then
        perform private.refuse_state('webinar', private.webinar_state(webinar));
    end if;
    -- Who may be there is asked first, then whether somebody said so already.
    select u.id into stranger from unnest(mark_attendance.user_ids) as u (id)
    where not exists (
        select from public.webinar_registrations as r
        where r.webinar_id = webinar.id and r.user_id = u.id and r.status = 'confirmed'
    )
    limit 1;
    if stranger is not null then
        perform private.fail('registration_not_found', stranger::text);
    end if;
    update public.webinar_registrations as r set attended_at = clock_timestamp()
    where r.webinar_id = webinar.id and r.user_id = any (mark_attendance.user_ids) and r.attended_at is null;
    get diagnostics marked = row_count;
    update public.webinars as w set attendees_count = w.attendees_count + marked
    where w.id = webinar.id and marked > 0;
    return marked;
end
$$;
comment on function public.mark_attendance(uuid, uuid[]) is
'Hosts and co-hosts, from the start on: these people are there; how many that was not known of. Errors: '
'webinar_not_found, too_many_people (1,000), state_changed (before the start, cancelled), registration_not_found (the '
'detail has no confirmed seat; then nobody is marked).';
grant execute on function public.mark_attendance(uuid, uuid[]) to authenticated;

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'webinars.attendees_count', 'public.webinars', 'id', 'attendees_count',
    'select webinar_id, count(*) from public.webinar_registrations where attended_at is not null group by 1'
);

-- Reminders are queued when the time is set, and know which time that was.
create table private.webinar_reminders (
    webinar_id uuid not null,
    starts_at timestamptz not null,
    minutes_before integer not null,
    constraint webinar_reminders_pkey primary key (webinar_id, starts_at, minutes_before),
    constraint webinar_reminders_webinar_id_fkey foreign key (webinar_id)
    references public.webinars (id) on delete cascade
);
comment on table private.webinar_reminders is 'Reminders that were given: each once.';
comment on column private.webinar_reminders.starts_at is 'Of which start.';
comment on column private.webinar_reminders.minutes_before is 'How long before it, minutes.';
alter table private.webinar_reminders enable row level security;

create function private.queue_reminders() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.enqueue(
        'remind_webinar',
        jsonb_build_object('webinar_id', new.id, 'starts_at', new.starts_at, 'minutes_before', b.minutes),
        new.starts_at - b.minutes * interval '1 minute'
    )
    from unnest(array[1440, 60]) as b (minutes)
    where new.starts_at - b.minutes * interval '1 minute' > clock_timestamp();
    return null;
end
$$;
comment on function private.queue_reminders() is 'Trigger: reminders a day and an hour before the start.';
create trigger queue_reminders_new after insert on public.webinars
for each row execute function private.queue_reminders();
create trigger queue_reminders after update on public.webinars
for each row when (old.starts_at is distinct from new.starts_at) execute function private.queue_reminders();

create function private.remind_webinar(webinar_id uuid, starts_at timestamptz, minutes_before integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (
        select from public.webinars as w
        where
            w.id = remind_webinar.webinar_id and w.starts_at = remind_webinar.starts_at and w.status = 'upcoming'
            and not w.is_hidden and w.starts_at > clock_timestamp()
        for share
    ) then
        return 0;
    end if;
    insert into private.webinar_reminders (webinar_id, starts_at, minutes_before)
    values (remind_webinar.webinar_id, remind_webinar.starts_at, remind_webinar.minutes_before)
    on conflict do nothing;
    if not found then
        return 0;
    end if;
    return private.notify_many(array(
        select row('webinar_reminder', p.id, null, 'webinar', remind_webinar.webinar_id, null)::private.notice
        from (
            select r.user_id as id from public.webinar_registrations as r
            where r.webinar_id = remind_webinar.webinar_id and r.status = 'confirmed'
            union
            select u.id from unnest(private.webinar_hosts(remind_webinar.webinar_id)) as u (id)
        ) as p
        order by p.id
    ));
end
$$;
comment on function private.remind_webinar(uuid, timestamptz, integer) is
'Reminds everybody of a webinar that starts soon, once for each start and length; nobody when it was moved or '
'cancelled '
'since. How many.';
grant execute on function private.remind_webinar(uuid, timestamptz, integer) to avenue_worker;

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('webinar_reminder', 'A webinar starts soon', 'A webinar you are registered for starts soon.', null, null, 'immediate',
    false);

insert into private.personal_data (section, relation, condition, stays, reason) values
('webinar_passes', 'private.webinar_passes', 't.user_id = $1', '{}', null),
('webinar_rooms', 'private.webinar_rooms',
    't.webinar_id in (select w.id from public.webinars as w where w.host_id = $1)', '{}', null);
insert into private.erasure_steps (step, phase, erases, statement) values
('webinar_passes', 'records', '{private.webinar_passes}', 'delete from private.webinar_passes where user_id = $1'),
('webinar_rooms', 'records', '{private.webinar_rooms}', $step$
    delete from private.webinar_rooms as r using public.webinars as w where w.host_id = $1 and r.webinar_id = w.id
$step$);

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_link', 'PT400', 'This is not a link.', 'It begins with https:// and has at most 2,048 characters.'),
('webinar_not_begun', 'PT409', 'It is too early to enter.', 'The doors open half an hour before the start.'),
('webinar_over', 'PT409', 'This webinar is over.', 'It has ended or was cancelled.'),
('room_not_ready', 'PT409', 'There is no room yet.', 'The host sets it with set_webinar_room().'),
('registration_not_found', 'PT404', 'There is no such registration.', 'Nobody of that name has a seat, or waits.'),
('too_many_people', 'PT400', 'These are too many people.', 'At most 1,000 at once.');
