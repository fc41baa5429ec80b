-- How long sellers of services take to answer: the median of their first answers to people who wrote to them first, in
-- conversations of two of the last 90 days. Kept up by a sweep, each seller once a day.

create table private.response_checks (
    seller_id uuid not null,
    checked_at timestamptz not null default now(),
    constraint response_checks_pkey primary key (seller_id),
    constraint response_checks_seller_id_fkey foreign key (seller_id)
    references public.profiles (id) on delete cascade
);

create index response_checks_checked_at_idx on private.response_checks (checked_at);

comment on table private.response_checks is 'When response times were last computed.';
comment on column private.response_checks.seller_id is 'Whose.';

alter table private.response_checks enable row level security;

create function private.response_hours(seller uuid) returns integer
language sql
stable
set search_path = ''
as $$
    select ceil(percentile_cont(0.5) within group (order by extract(epoch from a.created_at - m.created_at)) / 3600)
        ::integer
    from public.conversation_participants as p
    inner join public.conversations as c on c.id = p.conversation_id and not c.is_group
    inner join public.messages as m
        on m.conversation_id = c.id and m.number = 1 and m.sender_id <> seller
        and m.created_at > now() - interval '90 days'
    cross join lateral (
        select n.created_at from public.messages as n
        where n.conversation_id = c.id and n.sender_id = seller
        order by n.number
        limit 1
    ) as a
    where p.user_id = seller
$$;
comment on function private.response_hours(uuid) is
'How many hours, rounded up, somebody usually takes to answer a first message; null when there was none to answer.';

create function private.update_response_times(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select s.seller_id
        from (select distinct t.seller_id from public.services as t where t.status = 'active') as s
        left join private.response_checks as c on c.seller_id = s.seller_id
        where c.checked_at is null or c.checked_at < now() - interval '24 hours'
        order by c.checked_at nulls first, s.seller_id
        limit max_rows
    );
begin
    insert into private.response_checks (seller_id)
    select u.id from unnest(chosen) as u (id) order by u.id
    on conflict on constraint response_checks_pkey do update set checked_at = now();
    update public.services as s set response_time_hours = h.hours
    from unnest(chosen) as u (id)
    cross join lateral (select private.response_hours(u.id) as hours) as h
    where s.seller_id = u.id and s.response_time_hours is distinct from h.hours;
    return cardinality(chosen);
end
$$;
comment on function private.update_response_times(integer) is
'Computes services.response_time_hours of up to max_rows sellers with a service on sale, not looked at for a day; how '
'many.';
grant execute on function private.update_response_times(integer) to avenue_worker;

insert into private.personal_data (section, relation, condition) values
('response_checks', 'private.response_checks', 't.seller_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('response_checks', 'business', '{private.response_checks}',
    'delete from private.response_checks where seller_id = $1');
