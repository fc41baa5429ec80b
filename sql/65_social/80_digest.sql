-- Notifications by e-mail. A row in mails is the intent, the sender (workers) asks for the next due one, sends it and
-- says so. It claims with a lease: killed between sending and saying so, the same mail goes out once more, with the
-- same Message-ID. So every mail is sent at least once; what it says is decided at the moment of sending.

create type private.mail_kind as enum ('digest', 'immediate');
comment on type private.mail_kind is
'digest: what was not read, at most once a day. immediate: one notification, at once.';

create type private.mail_state as enum ('due', 'sent', 'dropped', 'failed');
comment on type private.mail_state is
'dropped: nothing left to tell, or nobody to tell it to. failed: refused for good, or not deliverable for too long.';

create table private.mails (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    kind private.mail_kind not null,
    type text,
    state private.mail_state not null default 'due',
    due_at timestamptz not null default now(),
    attempts integer not null default 0,
    last_error text,
    unsubscribe_token uuid not null default gen_random_uuid(),
    ended_at timestamptz,
    created_at timestamptz not null default now(),
    constraint mails_pkey primary key (id),
    constraint mails_unsubscribe_token_key unique (unsubscribe_token),
    constraint mails_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint mails_type_check check ((kind = 'immediate') = (type is not null)),
    constraint mails_ended_at_check check ((state = 'due') = (ended_at is null))
);

create index mails_due_at_idx on private.mails (due_at) where state = 'due';
create index mails_user_id_kind_idx on private.mails (user_id, kind, created_at desc);
create unique index mails_one_digest_idx on private.mails (user_id) where kind = 'digest' and state = 'due';

comment on table private.mails is 'E-mails to send and sent; their text is made when they are claimed.';
comment on column private.mails.user_id is 'To whom; the address is looked up when it is sent.';
comment on column private.mails.kind is 'Digest or one notification.';
comment on column private.mails.type is 'Type of the one notification.';
comment on column private.mails.state is 'What became of it.';
comment on column private.mails.due_at is 'When it is to be sent or tried again; a claim moves it by its lease.';
comment on column private.mails.attempts is 'How often it was claimed.';
comment on column private.mails.last_error is 'Why the last attempt failed.';
comment on column private.mails.unsubscribe_token is
'What the link in the mail carries: whoever has it can end mails of this sort to this member, nothing else.';
comment on column private.mails.ended_at is 'When it was sent, dropped or given up.';
alter table private.mails enable row level security;

create table private.mailed_notifications (
    notification_id uuid not null,
    mail_id uuid not null,
    constraint mailed_notifications_pkey primary key (notification_id),
    constraint mailed_notifications_notification_id_fkey foreign key (notification_id)
    references public.notifications (id) on delete cascade,
    constraint mailed_notifications_mail_id_fkey foreign key (mail_id) references private.mails (id) on delete cascade
);

create index mailed_notifications_mail_id_idx on private.mailed_notifications (mail_id);

comment on table private.mailed_notifications is 'Which mail tells of a notification: each is mailed at most in one.';
alter table private.mailed_notifications enable row level security;

-- What the mail server said of an address, remembered so that nobody is asked about it daily. The member and admins
-- read it; without the row mail is tried again.
create table public.mail_bounces (
    user_id uuid not null,
    address_hash bytea not null,
    is_permanent boolean not null,
    bounces integer not null default 1,
    reason text not null,
    retry_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint mail_bounces_pkey primary key (user_id),
    constraint mail_bounces_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint mail_bounces_retry_at_check check (is_permanent = (retry_at is null))
);

comment on table public.mail_bounces is
'Members whose address refused mail. The member and admins read; the member deletes: then mail is tried again. Ends by '
'itself when mail arrives or the address is changed.';
comment on column public.mail_bounces.address_hash is
'SHA-256 of the address: admins need not read it, and another address is not this one.';
comment on column public.mail_bounces.is_permanent is
'There is nobody at this address: nothing is mailed to it any more. Else it is tried again after retry_at.';
comment on column public.mail_bounces.bounces is 'Refusals in a row; each doubles the time to the next try.';
comment on column public.mail_bounces.reason is 'What the mail server answered.';
comment on column public.mail_bounces.retry_at is 'Until then nothing is mailed; at most a week ahead.';

create trigger touch_updated_at before update on public.mail_bounces
for each row execute function private.touch_updated_at();

create function private.forget_bounce() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from public.mail_bounces as b where b.user_id = new.id;
    return null;
end
$$;
comment on function private.forget_bounce() is 'Trigger on auth.users: another address has not bounced yet.';

create trigger avenue_forget_bounce after update of email on auth.users
for each row
when (old.email is distinct from new.email)
execute function private.forget_bounce();

alter table public.mail_bounces enable row level security;
grant select, delete on public.mail_bounces to authenticated;
grant select on public.mail_bounces to service_role;
create policy mail_bounces_select on public.mail_bounces for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));
create policy mail_bounces_delete on public.mail_bounces for delete to authenticated
using (user_id = (select private.member_id()));

create function private.wants_mail(preferences jsonb, type text) returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(preferences #>> array[type, 'email'], 'true') <> 'false'
$$;
comment on function private.wants_mail(jsonb, text) is
'Whether notification_preferences allow mails of this type; the type digest stands for all daily ones together.';

create function private.mail_notification(
    notification uuid, recipient uuid, type text
) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    mail uuid;
begin
    if exists (
        select from private.notification_types as t
        inner join public.profile_settings as s on s.user_id = recipient
        where
            t.type = mail_notification.type and t.can_switch_off
            and not private.wants_mail(s.notification_preferences, t.type::text)
    ) then
        return;
    end if;
    insert into private.mails (user_id, kind, type) values (recipient, 'immediate', type) returning id into mail;
    insert into private.mailed_notifications (notification_id, mail_id) values (notification, mail);
end
$$;
comment on function private.mail_notification(uuid, uuid, text) is
'Mails this notification at once. No job: the sender looks every few seconds, and queueing would slow down commits.';

create function private.mail_address(user_id uuid) returns text
language sql
stable
security definer
set search_path = ''
as $$
    select u.email::text from auth.users as u
    where
        u.id = mail_address.user_id and u.email_confirmed_at is not null and u.deleted_at is null
        and u.email <> ''
        and not exists (
            select from public.mail_bounces as b
            where
                b.user_id = u.id and b.is_permanent
                and b.address_hash = sha256(convert_to(u.email::text, 'UTF8'))
        )
$$;
comment on function private.mail_address(uuid) is
'The member''s confirmed address, null without one or when nobody is there.';

create function private.notifications_to_digest(member uuid)
returns table (notification_id uuid, created_at timestamptz)
language sql
stable
security definer
set search_path = ''
as $$
    select n.id, n.created_at
    from public.notifications as n
    inner join private.notification_types as t on t.type = n.type and t.email = 'digest'
    left join public.profile_settings as s on s.user_id = member
    where
        n.user_id = member and not n.is_read and n.created_at > now() - interval '7 days'
        and (not t.can_switch_off or private.wants_mail(s.notification_preferences, t.type::text))
        and not exists (select from private.mailed_notifications as m where m.notification_id = n.id)
    order by n.created_at desc
    limit 1000
$$;
comment on function private.notifications_to_digest(uuid) is
'What a digest to this member would tell of: unread, of the last week, not mailed yet, not switched off.';

create function private.prepare_digests(after uuid, max_rows integer) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    last_id uuid;
begin
    select max(page.id::text)::uuid into last_id from (
        select p.id from public.profiles as p
        where prepare_digests.after is null or p.id > prepare_digests.after
        order by p.id
        limit max_rows
    ) as page;
    insert into private.mails (user_id, kind)
    select p.id, 'digest'
    from public.profiles as p
    left join public.profile_settings as s on s.user_id = p.id
    where
        (prepare_digests.after is null or p.id > prepare_digests.after) and p.id <= last_id
        and p.deleted_at is null and not p.is_banned
        -- What is an hour old was not just missed: its reader is not here. The unread index answers for most.
        and exists (
            select from public.notifications as n
            where
                n.user_id = p.id and not n.is_read
                and n.created_at between now() - interval '7 days' and now() - interval '1 hour'
        )
        and exists (
            select from private.notifications_to_digest(p.id) as n where n.created_at <= now() - interval '1 hour'
        )
        and private.wants_mail(s.notification_preferences, 'digest')
        and not exists (
            select from private.mails as m
            where
                m.user_id = p.id and m.kind = 'digest'
                and (m.state = 'due' or m.state <> 'dropped' and m.ended_at > now() - interval '1 day')
        )
        and private.mail_address(p.id) is not null
        and not exists (select from public.mail_bounces as b where b.user_id = p.id and b.retry_at > now())
    on conflict do nothing;
    return last_id;
end
$$;
comment on function private.prepare_digests(uuid, integer) is
'Makes the digests due among the next max_rows members after this one: at most one a day and member. Returns the last '
'member looked at, null at the end.';
grant execute on function private.prepare_digests(uuid, integer) to avenue_worker;

create function private.mail_sections(mail private.mails) returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
    select jsonb_agg(
        jsonb_build_object(
            'type', s.type, 'title', t.title, 'message', t.message, 'count', s.count, 'names', s.names,
            'link_url', s.link_url
        )
        order by s.latest desc, s.type
    )
    from (
        select
            n.type, count(*) as count, max(n.created_at) as latest,
            (array_agg(distinct coalesce(a.display_name, a.username::text)) filter (where a.id is not null))[1:3]
            as names,
            case when count(*) = 1 then min(n.link_url) else '/notifications' end as link_url
        from private.mailed_notifications as m
        inner join public.notifications as n on n.id = m.notification_id
        left join public.profiles as a on a.id = n.actor_id
        where
            m.mail_id = mail.id and (mail.kind = 'immediate' or not n.is_read)
            and (n.actor_id is null or private.is_visible_to(n.actor_id, mail.user_id))
        group by n.type
    ) as s
    inner join private.notification_types as t on t.type = s.type
$$;
comment on function private.mail_sections(private.mails) is
'What a mail says now, one section a type: how many, and up to three names among those its reader may know of.';

create function private.claim_mail(lease_seconds integer) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    mail private.mails;
    member public.profiles;
    address text;
    wait_until timestamptz;
    sections jsonb;
begin
    loop
        select * into mail from private.mails as m
        where m.state = 'due' and m.due_at <= now()
        order by m.due_at
        limit 1
        for update skip locked;
        exit when mail.id is null;
        select b.retry_at into wait_until from public.mail_bounces as b
        where b.user_id = mail.user_id and b.retry_at > now();
        if found and mail.created_at >= now() - interval '3 days' then
            -- Looked at again within the hour: the address may be another one by then.
            update private.mails as m set due_at = least(wait_until, now() + interval '1 hour') where m.id = mail.id;
            continue;
        end if;
        -- What it tells of is fixed at the first attempt: a repetition under the same Message-ID is the same mail.
        if mail.kind = 'digest' and mail.attempts = 0 then
            insert into private.mailed_notifications (notification_id, mail_id)
            select n.notification_id, mail.id from private.notifications_to_digest(mail.user_id) as n
            on conflict do nothing;
        end if;
        select * into member from public.profiles as p
        where
            p.id = mail.user_id and p.deleted_at is null
            and (
                not p.is_banned
                or mail.type in (select t.type from private.notification_types as t where t.reaches_banned)
            );
        address := private.mail_address(member.id);
        sections := private.mail_sections(mail);
        if mail.created_at < now() - interval '3 days' then
            update private.mails as m set
                state = 'failed', ended_at = now(), last_error = coalesce(m.last_error, 'too old')
            where m.id = mail.id;
        elsif address is null or sections is null then
            update private.mails as m set state = 'dropped', ended_at = now() where m.id = mail.id;
            delete from private.mailed_notifications as n where n.mail_id = mail.id;
        else
            update private.mails as m set
                due_at = now() + make_interval(secs => lease_seconds), attempts = m.attempts + 1
            where m.id = mail.id;
            return jsonb_build_object(
                'mail_id', mail.id, 'kind', mail.kind, 'created_at', mail.created_at, 'to', address,
                'name', coalesce(member.display_name, member.username::text), 'sections', sections,
                'unsubscribe_token', case
                    when mail.kind = 'digest' or exists (
                        select from private.notification_types as t where t.type = mail.type and t.can_switch_off
                    ) then mail.unsubscribe_token
                end
            );
        end if;
    end loop;
    return null;
end
$$;
comment on function private.claim_mail(integer) is
'The next mail to send, with its text''s facts; nobody else gets it for lease_seconds. Null: none is due. Answer with '
'mail_sent() or mail_failed(); without an answer it is due again after the lease.';
grant execute on function private.claim_mail(integer) to avenue_worker;

create function private.mail_sent(mail_id uuid) returns void
language sql
security definer
set search_path = ''
as $$
    with sent as (
        update private.mails as m set state = 'sent', ended_at = now(), last_error = null
        where m.id = mail_id and m.state = 'due'
        returning m.user_id
    )
    delete from public.mail_bounces as b using sent as s where b.user_id = s.user_id
$$;
comment on function private.mail_sent(uuid) is 'The mail server took it: the address bounces no more.';
grant execute on function private.mail_sent(uuid) to avenue_worker;

create function private.mail_failed(
    mail_id uuid, reason text, for_good boolean, retry_seconds integer, bounced boolean default false
) returns void
language sql
security definer
set search_path = ''
as $$
    insert into public.mail_bounces as b (user_id, address_hash, is_permanent, reason, retry_at)
    select
        u.id, sha256(convert_to(u.email::text, 'UTF8')), for_good, left(reason, 500),
        case when not for_good then now() + make_interval(secs => retry_seconds) end
    from private.mails as m
    inner join auth.users as u on u.id = m.user_id
    where m.id = mail_id and m.state = 'due' and (for_good or bounced)
    on conflict on constraint mail_bounces_pkey do update set
        is_permanent = excluded.is_permanent, bounces = b.bounces + 1, reason = excluded.reason,
        retry_at = case
            when not excluded.is_permanent
                then now() + make_interval(secs => least(retry_seconds * 2 ^ least(b.bounces, 20), 604800))
        end;
    update private.mails as m set
        state = case when for_good then 'failed' else m.state end,
        ended_at = case when for_good then now() end,
        last_error = left(reason, 500),
        due_at = now() + make_interval(secs => least(retry_seconds * 2 ^ least(greatest(m.attempts - 1, 0), 12), 3600))
    where m.id = mail_id and m.state = 'due'
$$;
comment on function private.mail_failed(uuid, text, boolean, integer, boolean) is
'The mail was not taken: never will be, because nobody is at its address (for_good), or is tried again after '
'retry_seconds, doubled each time up to an hour, for three days. bounced: the refusal is about the address, which is '
'remembered (mail_bounces) and then waits for longer from refusal to refusal, up to a week, whatever the mail.';
grant execute on function private.mail_failed(uuid, text, boolean, integer, boolean) to avenue_worker;

create function private.forget_mails() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    forgotten integer;
begin
    delete from private.mails as m
    where m.ended_at < now() - interval '180 days' or m.created_at < now() - interval '180 days';
    get diagnostics forgotten = row_count;
    return forgotten;
end
$$;
comment on function private.forget_mails() is
'Deletes mails older than half a year, and with them what their unsubscribe links could do; returns how many.';
grant execute on function private.forget_mails() to avenue_worker;

create function private.unsubscribe(token uuid) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    mail private.mails;
    switch text;
begin
    select * into mail from private.mails as m where m.unsubscribe_token = unsubscribe.token;
    switch := coalesce(mail.type::text, 'digest');
    if mail.id is null or exists (
        select from private.notification_types as t where t.type = mail.type and not t.can_switch_off
    ) then
        return null;
    end if;
    update public.profile_settings as s set notification_preferences = jsonb_set(
        s.notification_preferences, array[switch],
        coalesce(s.notification_preferences -> switch, '{}') || '{"email": false}'
    )
    where s.user_id = mail.user_id;
    return switch;
end
$$;
comment on function private.unsubscribe(uuid) is
'Switches off what the mail with this token was: all digests, or mails of its type. Returns which switch of '
'notification_preferences, null for an unknown token. Twice is once.';
grant execute on function private.unsubscribe(uuid) to avenue_worker;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('private.mails', 'state', null, 'due', 'something is to be told'),
('private.mails', 'state', 'due', 'sent', 'the mail server took it'),
('private.mails', 'state', 'due', 'dropped', 'nothing to tell, or nobody to tell it to'),
('private.mails', 'state', 'due', 'failed', 'refused for good, or too old'),
('private.mails', 'state', 'sent', 'due', 'again, by an operator'),
('private.mails', 'state', 'dropped', 'due', 'again, by an operator'),
('private.mails', 'state', 'failed', 'due', 'again, by an operator');
select private.build_moves('private.mails', 'state');

insert into private.personal_data (section, relation, condition) values
('mails', 'private.mails', 't.user_id = $1'),
('mail_bounces', 'public.mail_bounces', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('mails', 'notices', '{private.mails}',
    'delete from private.mails where user_id = $1',
    'select private.erase_rows(''private.mails'', ''user_id = $1'', $1, $2)'),
('mail_bounces', 'standing', '{public.mail_bounces}', 'delete from public.mail_bounces where user_id = $1', null);
