-- When people have no time: one row for each thing that takes some of theirs, whatever it is, with one exclusion
-- constraint over all of them. Looking for a free hour and then writing it down sells it twice (a lock on rows that are
-- not there holds nobody); here the second one fails, whichever kind came first. Holds of a slot somebody is just
-- paying for are rows as well.

create extension if not exists btree_gist with schema extensions;

create table private.busy_times (
    id bigint generated always as identity,
    person_id uuid not null,
    during tstzrange not null,
    kind text not null,
    subject_id uuid not null,
    created_at timestamptz not null default now(),
    constraint busy_times_pkey primary key (id),
    constraint busy_times_subject_key unique (kind, subject_id, person_id),
    constraint busy_times_person_id_fkey foreign key (person_id) references public.profiles (id) on delete cascade,
    constraint busy_times_kind_fkey foreign key (kind) references private.kinds (kind),
    -- From and until an instant, the end not included, so that one hour may follow the other.
    constraint busy_times_during_check check (
        not isempty(during) and not lower_inf(during) and not upper_inf(during)
        and lower_inc(during) and not upper_inc(during)
        and isfinite(lower(during)) and isfinite(upper(during))
    ),
    constraint busy_times_during_excl exclude using gist (person_id with =, during with &&)
);

create index busy_times_kind_idx on private.busy_times (kind);

comment on table private.busy_times is
'Time of people that is taken: written by the kinds that take it, with take_time() and free_time(). No client reads '
'it; what is free is answered by functions.';
comment on column private.busy_times.person_id is 'Whose time.';
comment on column private.busy_times.during is 'From when until when, the end not included; buffers are a part of it.';
comment on column private.busy_times.kind is 'Kind of what takes it, a row of private.kinds.';
comment on column private.busy_times.subject_id is 'The row of that kind: the webinar, the booking, what holds a slot.';

alter table private.busy_times enable row level security;

create function private.lock_time(people uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    select private.take_turn(hashtextextended('busy:' || p.id, 0))
    from (select distinct u.id from unnest(people) as u (id) where u.id is not null order by u.id) as p
$$;
comment on function private.lock_time(uuid[]) is
'Locks the time of these people, in one order: before anything of it is freed and taken again, and once for all that a '
'transaction takes.';

create function private.take_time(
    kind text, subject_id uuid, people uuid[], starts_at timestamptz, ends_at timestamptz,
    is_all boolean default true
) returns void
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    wanted tstzrange := tstzrange(take_time.starts_at, take_time.ends_at);
begin
    -- Without it two who want the same hour at one instant both write it down before they look, and wait for each other
    -- until PostgreSQL ends one of them as a deadlock. In one order.
    perform private.lock_time(take_time.people);
    delete from private.busy_times as b
    where
        take_time.is_all and b.kind = take_time.kind and b.subject_id = take_time.subject_id
        and b.person_id <> all (take_time.people);
    insert into private.busy_times (person_id, during, kind, subject_id)
    select distinct p.id, wanted, take_time.kind, take_time.subject_id
    from unnest(take_time.people) as p (id)
    order by p.id
    on conflict on constraint busy_times_subject_key do update set during = excluded.during
    where busy_times.during <> excluded.during;
exception when exclusion_violation then
    perform private.fail('slot_taken');
end
$$;
comment on function private.take_time(text, uuid, uuid[], timestamptz, timestamptz, boolean) is
'This thing takes the time of these people from and until, and no other time or people any more: also moves it. Not '
'all: it goes on taking what it takes of others, for whom it is shorter or longer. Error: slot_taken when one of them '
'is busy then, which is not told whom or with what.';

create function private.free_time(kind text, subjects uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    delete from private.busy_times as b where b.kind = free_time.kind and b.subject_id = any (free_time.subjects)
$$;
comment on function private.free_time(text, uuid[]) is 'These things take nobody''s time any more.';

insert into private.personal_data (section, relation, condition) values
('busy_times', 'private.busy_times', 't.person_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('busy_times', 'business', '{private.busy_times}', 'delete from private.busy_times where person_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('slot_taken', 'PT409', 'This time is taken.',
'Somebody whose time it needs is busy then. Choose another time.');
