-- Messages: numbered within their conversation in the order they were committed. Sending is a plain insert. A message
-- is readable for who took part when it was sent and still does; in group chats not across a block.

create table public.messages (
    id uuid not null default gen_random_uuid(),
    conversation_id uuid not null,
    number integer not null default 0,
    sender_id uuid default auth.uid(),
    content text,
    attachments text[] not null default '{}',
    is_read boolean not null default false,
    read_at timestamptz,
    is_deleted boolean not null default false,
    created_at timestamptz not null default now(),
    constraint messages_pkey primary key (id),
    constraint messages_conversation_id_number_key unique (conversation_id, number),
    constraint messages_conversation_id_fkey foreign key (conversation_id)
    references public.conversations (id) on delete cascade,
    constraint messages_sender_id_fkey foreign key (sender_id) references public.profiles (id) on delete set null,
    constraint messages_content_check check (char_length(content) between 1 and 10000),
    constraint messages_attachments_check check (
        cardinality(attachments) <= 10 and array_position(attachments, null) is null
        and char_length(array_to_string(attachments, '')) <= 10000
    ),
    constraint messages_substance_check check (
        is_deleted and content is null and cardinality(attachments) = 0
        or not is_deleted and (content is not null or cardinality(attachments) > 0)
    ),
    constraint messages_read_check check (is_read = (read_at is not null)),
    constraint messages_number_check check (number > 0)
);

create index messages_sender_id_conversation_id_idx on public.messages (sender_id, conversation_id);
create index messages_attachments_idx on public.messages using gin (attachments) where cardinality(attachments) > 0;

-- What a client that breaks these is told, see error_catalog().
comment on constraint messages_attachments_check on public.messages is
'invalid_attachments: A message has at most 10 attachments.';
comment on constraint messages_content_check on public.messages is
'invalid_content: A message has 1 to 10,000 characters.';
comment on constraint messages_substance_check on public.messages is
'invalid_message: A message has a text or an attachment.';
comment on constraint messages_conversation_id_fkey on public.messages is
'conversation_not_found: There is no such conversation.';
comment on constraint messages_pkey on public.messages is 'already_done: A message with this id was sent already.';
comment on constraint messages_conversation_id_number_key on public.messages is
'try_again: Another message came at the same instant; try again.';

comment on table public.messages is
'Messages, read by the participants who were there when they were sent, not by admins. Members insert '
'conversation_id, content and attachments; delete_message() deletes.';
comment on column public.messages.number is
'Position in the conversation, from 1, without gaps, in the order of commits: what lists are sorted and paged by.';
comment on column public.messages.sender_id is 'Who wrote it: the caller. Null when that account was deleted.';
comment on column public.messages.content is
'Text of at most 10,000 characters; null when there are only attachments or the message was deleted.';
comment on column public.messages.attachments is
'Up to 10 paths in the private bucket attachments: <sender>/<conversation>/<name>, uploaded before.';
comment on column public.messages.is_read is
'Somebody else has read it: in a conversation of two the other one, in a group chat anybody. Who exactly: '
'conversation_participants.last_read_number.';
comment on column public.messages.read_at is 'When it was first read by somebody else.';
comment on column public.messages.is_deleted is 'Deleted for everyone: only the number and the sender are left.';

create table public.message_deletions (
    message_id uuid not null,
    user_id uuid not null,
    created_at timestamptz not null default now(),
    constraint message_deletions_pkey primary key (user_id, message_id),
    constraint message_deletions_message_id_fkey foreign key (message_id)
    references public.messages (id) on delete cascade,
    constraint message_deletions_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade
);

create index message_deletions_message_id_idx on public.message_deletions (message_id);

comment on table public.message_deletions is
'Messages somebody deleted for themselves; nobody else learns of it. Written by delete_message().';
comment on column public.message_deletions.message_id is 'The message its owner does not want to see any more.';
comment on column public.message_deletions.user_id is 'Who deleted it for themselves.';

alter table public.messages enable row level security;
grant select on public.messages to authenticated, service_role;
grant insert (id, conversation_id, content, attachments) on public.messages to authenticated;

alter table public.message_deletions enable row level security;
grant select on public.message_deletions to authenticated, service_role;

create policy message_deletions_select on public.message_deletions for select to authenticated
using (user_id = (select private.member_id()));

-- The list of one's conversations finds the rows by index whatever the query asks for; the entry decides on each.
create policy messages_select on public.messages for select to authenticated
using (
    conversation_id = any(array(
        select e.conversation_id from public.inbox_entries as e where e.user_id = (select private.member_id())
    ))
    and exists (
        select from public.inbox_entries as e
        where
            e.user_id = (select private.member_id())
            and e.conversation_id = messages.conversation_id
            and e.first_number <= messages.number
            and (
                not e.is_group
                or messages.sender_id is null
                or messages.sender_id <> all(array(select private.blocked_ids()))
            )
    )
    and not exists (
        select from public.message_deletions as d
        where d.user_id = (select private.member_id()) and d.message_id = messages.id
    )
);

create policy messages_insert on public.messages for insert to authenticated
with check (sender_id = (select private.member_id()));

create view private.readable_messages with (security_invoker = true) as
select e.user_id as viewer_id, m.id, m.conversation_id, m.number, m.sender_id, m.content, m.attachments, m.created_at,
    m.is_read, m.is_deleted
from public.inbox_entries as e
inner join public.messages as m on m.conversation_id = e.conversation_id and m.number >= e.first_number
where
    not exists (select from public.message_deletions as d where d.user_id = e.user_id and d.message_id = m.id)
    and not (
        e.is_group and exists (
            select from public.user_blocks as b
            where
                b.blocker_id = e.user_id and b.blocked_id = m.sender_id
                or b.blocker_id = m.sender_id and b.blocked_id = e.user_id
        )
    );
comment on view private.readable_messages is
'Who may read which message: what the policy of messages says of the caller, for everybody.';

-- Who blocked the other one of a conversation of two is not reminded of it; to the other one nothing looks different.
-- What is written about their order comes all the same.
create view private.unread_messages with (security_invoker = true) as
select r.viewer_id, r.conversation_id, r.id
from private.readable_messages as r
inner join public.conversation_participants as p
    on p.conversation_id = r.conversation_id and p.user_id = r.viewer_id and p.last_read_number < r.number
where
    r.sender_id is distinct from r.viewer_id
    and not r.is_deleted
    and not exists (
        select from public.user_blocks as b
        inner join public.conversations as c on c.id = r.conversation_id and c.service_order_id is null
        where b.blocker_id = r.viewer_id and b.blocked_id = r.sender_id
    );
comment on view private.unread_messages is 'What inbox_entries.unread_count counts.';

create view private.unread_counts with (security_invoker = true) as
select md5(e.conversation_id::text || e.user_id::text)::uuid as id, e.unread_count
from public.inbox_entries as e;
comment on view private.unread_counts is 'inbox_entries under one key, for the recount of counters.';

create function private.message_preview(content text, attachments text[]) returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when content is not null then left(btrim(regexp_replace(content, '[[:space:]]+', ' ', 'g')), 100)
        when cardinality(attachments) = 1 then 'Attachment'
        when cardinality(attachments) > 1 then cardinality(attachments) || ' attachments'
    end
$$;
comment on function private.message_preview(text, text[]) is
'The beginning of a message on one line, at most 100 characters, never half of one; null for a deleted message.';

create function private.refresh_inbox(conversation_id uuid, viewers uuid[] default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.inbox_entries as e set
        unread_count = (
            select count(*) from private.unread_messages as u
            where u.viewer_id = e.user_id and u.conversation_id = e.conversation_id
        ),
        last_message_at = s.last_message_at,
        last_message_preview = s.last_message_preview
    from public.inbox_entries as i
    inner join public.conversations as c on c.id = i.conversation_id
    inner join public.conversation_participants as p
        on p.conversation_id = i.conversation_id and p.user_id = i.user_id
    cross join lateral (
        select
            max(l.created_at) as last_message_at,
            max(private.message_preview(l.content, l.attachments)) as last_message_preview
        from (
            select r.created_at, r.content, r.attachments
            from private.readable_messages as r
            where r.viewer_id = i.user_id and r.conversation_id = i.conversation_id
            order by r.number desc
            limit 1
        ) as l
    ) as m
    cross join lateral (
        select
            case when b.is_hidden or i.state = 'declined' then null when i.is_group then coalesce(m.last_message_at, p.joined_at)
            else m.last_message_at end as last_message_at,
            case when not b.is_hidden and i.state <> 'declined' then m.last_message_preview end as last_message_preview
        from (
            select not i.is_group and exists (
                select from public.user_blocks as b
                where b.blocker_id = i.user_id and b.blocked_id in (c.low_id, c.high_id)
            ) as is_hidden
        ) as b
    ) as s
    where
        i.conversation_id = refresh_inbox.conversation_id
        and (viewers is null or i.user_id = any(viewers))
        and e.user_id = i.user_id and e.conversation_id = i.conversation_id;
end
$$;
comment on function private.refresh_inbox(uuid, uuid[]) is
'Works out the inbox entries of a conversation anew, of all participants or of these. The caller holds its lock.';

create function private.send_message() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sender public.profiles;
    conversation public.conversations;
    other uuid;
    unusable text;
begin
    perform private.require_active(new.sender_id);
    -- Strangers are turned away before any lock.
    if exists (
        select from public.conversation_participants as p
        where p.conversation_id = new.conversation_id and p.user_id = new.sender_id
    ) then
        -- A block of the sender that begins or ends just now is waited for.
        perform pg_advisory_xact_lock_shared(hashtextextended('sends:' || new.sender_id, 0));
        select * into conversation from public.conversations as c where c.id = new.conversation_id for no key update;
    end if;
    if not exists (
        select from public.conversation_participants as p
        where p.conversation_id = conversation.id and p.user_id = new.sender_id
    ) then
        perform private.fail('conversation_not_found', new.conversation_id::text);
    end if;
    select * into sender from public.profiles as p where p.id = new.sender_id;
    -- Sent again after a lost answer, with the id the client chose: the primary key decides, no number is spent.
    select m.number into new.number
    from public.messages as m
    where m.id = new.id and m.conversation_id = new.conversation_id;
    if found then
        return new;
    end if;

    if conversation.service_order_id is not null then
        -- Whoever blocks the other one of their order does not reach its end by that.
        null;
    elsif not conversation.is_group then
        other := case conversation.low_id when new.sender_id then conversation.high_id else conversation.low_id end;
        -- A block, a ban, a private profile and a deleted account all give the same answer.
        if not private.is_visible_to(other, new.sender_id) or not private.is_visible_to(new.sender_id, other) then
            perform private.fail(
                case when sender.profile_visibility = 'private' then 'profile_hidden' else 'cannot_message' end
            );
        end if;
        -- The same whether it waits or was declined.
        if exists (
            select from public.inbox_entries as e
            where e.conversation_id = conversation.id and e.user_id = other and e.state <> 'accepted'
        )
        and not private.knows(other, new.sender_id)
        and (
            select count(*) from public.messages as m
            where m.sender_id = new.sender_id and m.conversation_id = conversation.id
        ) >= (select s.request_messages from private.settings as s) then
            perform private.fail('request_pending');
        end if;
    elsif sender.profile_visibility = 'private' then
        perform private.fail('profile_hidden');
    end if;

    if cardinality(new.attachments) > 0 then
        -- An upload to the same path that is just finishing waits, and then finds this message.
        perform from storage.objects as o
        where o.bucket_id = 'attachments' and o.name = any(new.attachments[1:11])
        order by o.name
        for share;
        select string_agg(a.path, ', ') into unusable
        from (
            select u.path, row_number() over (partition by u.path) as occurrence
            from unnest(new.attachments[1:11]) as u (path)
        ) as a
        where
            a.occurrence > 1
            or not starts_with(a.path, new.sender_id || '/' || new.conversation_id || '/')
            or not exists (
                select from storage.objects as o where o.bucket_id = 'attachments' and o.name = a.path
            );
        if unusable is not null then
            perform private.fail('attachment_not_found', left(unusable, 2000));
        end if;
    end if;

    -- Times follow the numbers, also when senders waited for each other, and no two messages share one.
    new.created_at := greatest(clock_timestamp(), conversation.last_message_at + interval '1 microsecond');
    new.number := conversation.last_number + 1;
    update public.conversations as c set last_number = new.number, last_message_at = new.created_at
    where c.id = conversation.id;
    return new;
end
$$;
comment on function private.send_message() is
'Trigger: who may send, what may be attached, and the message''s number.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of content on public.messages
for each row execute function private.tidy_texts('content body');

create trigger send_message before insert on public.messages
for each row execute function private.send_message();

create function private.deliver_message() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Whoever answers a request accepts it, and whoever follows the sender by now knows them.
    update public.inbox_entries as e set state = 'accepted'
    where
        e.conversation_id = new.conversation_id and e.state <> 'accepted'
        and (
            e.user_id = new.sender_id
            or e.state = 'requested' and not e.is_group and private.knows(e.user_id, new.sender_id)
        );
    update public.inbox_entries as e set
        last_message_at = case when e.state = 'declined' then e.last_message_at else new.created_at end,
        last_message_preview = case
            when e.state <> 'declined' then private.message_preview(new.content, new.attachments)
        end,
        unread_count = e.unread_count + (e.user_id <> new.sender_id)::integer
    where
        e.conversation_id = new.conversation_id
        and not (
            e.is_group and exists (
                select from public.user_blocks as b
                where
                    b.blocker_id = e.user_id and b.blocked_id = new.sender_id
                    or b.blocker_id = new.sender_id and b.blocked_id = e.user_id
            )
        );
    return null;
end
$$;
comment on function private.deliver_message() is
'Trigger: a message comes to the top of the inbox of everybody who may read it, unread by all but its sender. Not of '
'those who declined.';

create trigger deliver_message after insert on public.messages
for each row execute function private.deliver_message();

create function public.mark_conversation_read(conversation_id uuid, up_to integer default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    conversation public.conversations := private.lock_conversation(mark_conversation_read.conversation_id);
    target integer := least(coalesce(up_to, conversation.last_number), conversation.last_number);
    previous integer;
    remaining integer;
begin
    select p.last_read_number into previous from public.conversation_participants as p
    where p.conversation_id = conversation.id and p.user_id = caller;
    -- Looking at a request says nothing to a stranger.
    if target > previous and exists (
        select from public.inbox_entries as e
        where e.user_id = caller and e.conversation_id = conversation.id and e.state = 'accepted'
    ) then
        update public.conversation_participants as p set last_read_number = target
        where p.conversation_id = conversation.id and p.user_id = caller;
        update public.messages as m set is_read = true, read_at = clock_timestamp()
        where m.id in (
            select r.id from private.readable_messages as r
            where
                r.viewer_id = caller and r.conversation_id = conversation.id
                and r.number > previous and r.number <= target
                and r.sender_id <> caller and not r.is_read and not r.is_deleted
        );
        update public.inbox_entries as e set unread_count = (
            select count(*) from private.unread_messages as u
            where u.viewer_id = caller and u.conversation_id = conversation.id
        )
        where e.user_id = caller and e.conversation_id = conversation.id;
    end if;
    select e.unread_count into remaining from public.inbox_entries as e
    where e.user_id = caller and e.conversation_id = conversation.id;
    return remaining;
end
$$;
comment on function public.mark_conversation_read(uuid, integer) is
'Marks a conversation read up to a message number, null for all there is; returns how many are left unread. Never '
'goes back. The senders see it: messages.is_read and the caller''s last_read_number. No effect on a request.';
grant execute on function public.mark_conversation_read(uuid, integer) to authenticated;

create function public.delete_message(message_id uuid, for_everyone boolean default false) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    message public.messages;
begin
    select m.* into message
    from public.messages as m
    inner join public.inbox_entries as e on e.conversation_id = m.conversation_id and e.user_id = caller
    where
        m.id = delete_message.message_id
        and (
            exists (select from private.readable_messages as r where r.viewer_id = caller and r.id = m.id)
            or exists (
                select from public.message_deletions as d where d.user_id = caller and d.message_id = m.id
            )
        );
    if message.id is null then
        perform private.fail('message_not_found', delete_message.message_id::text);
    elsif for_everyone and message.sender_id is distinct from caller then
        perform private.fail('not_message_sender');
    end if;
    perform private.lock_conversation(message.conversation_id);
    if not for_everyone then
        insert into public.message_deletions as d (message_id, user_id) values (message.id, caller)
        on conflict on constraint message_deletions_pkey do nothing;
        perform private.refresh_inbox(message.conversation_id, array[caller]);
        return;
    end if;
    update public.inbox_entries as e set unread_count = e.unread_count - 1
    from private.unread_messages as u
    where
        u.id = message.id
        and e.user_id = u.viewer_id and e.conversation_id = u.conversation_id;
    update public.messages as m set content = null, attachments = '{}', is_deleted = true where m.id = message.id;
    -- No two messages of a conversation have the same time.
    update public.inbox_entries as e set last_message_preview = null
    where e.conversation_id = message.conversation_id and e.last_message_at = message.created_at;
end
$$;
comment on function public.delete_message(uuid, boolean) is
'Deletes a message for the caller alone, or, its sender only (not_message_sender), for everyone: text and attachments '
'are erased, an empty message with is_deleted stays. Doing it twice changes nothing. message_not_found (404) for what '
'the caller cannot read.';
grant execute on function public.delete_message(uuid, boolean) to authenticated;

create function public.clear_conversation(conversation_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    conversation public.conversations := private.lock_conversation(clear_conversation.conversation_id);
begin
    -- As if one had entered only now. One's own messages stay for the others, and no receipt says what was not read.
    update public.inbox_entries as e set first_number = conversation.last_number + 1
    where e.conversation_id = conversation.id and e.user_id = auth.uid();
    perform private.refresh_inbox(conversation.id, array[auth.uid()]);
end
$$;
comment on function public.clear_conversation(uuid) is
'Deletes everything written in a conversation so far, for the caller alone. A conversation of two leaves their list '
'until something new is written; of a group chat the caller stays a participant. Cannot be undone.';
grant execute on function public.clear_conversation(uuid) to authenticated;

create function public.accept_message_request(conversation_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    conversation public.conversations := private.lock_conversation(accept_message_request.conversation_id);
begin
    update public.inbox_entries as e set state = 'accepted'
    where e.conversation_id = conversation.id and e.user_id = auth.uid() and e.state <> 'accepted';
    if found then
        perform private.refresh_inbox(conversation.id, array[auth.uid()]);
    end if;
end
$$;
comment on function public.accept_message_request(uuid) is
'Accepts a conversation that a stranger began, or that was declined before: from now on it is one like others. Sending '
'a message in it does the same. No effect on what is accepted.';
grant execute on function public.accept_message_request(uuid) to authenticated;

create function public.decline_message_request(conversation_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    conversation public.conversations := private.lock_conversation(decline_message_request.conversation_id);
begin
    if not exists (
        select from public.inbox_entries as e
        where e.conversation_id = conversation.id and e.user_id = auth.uid() and e.state = 'requested'
    ) then
        return;
    elsif conversation.is_group then
        perform public.leave_conversation(conversation.id);
        return;
    end if;
    update public.inbox_entries as e set state = 'declined', first_number = conversation.last_number + 1
    where e.conversation_id = conversation.id and e.user_id = auth.uid();
    perform private.refresh_inbox(conversation.id, array[auth.uid()]);
end
$$;
comment on function public.decline_message_request(uuid) is
'Declines a conversation that a stranger began: what was written is gone for the caller, and whatever else the '
'stranger writes appears nowhere. The stranger learns nothing of it. A group chat is left. No effect on anything but a '
'request.';
grant execute on function public.decline_message_request(uuid) to authenticated;

create function private.shared_conversations(one uuid, other uuid) returns setof uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    -- Who left a group chat may still have unread messages there.
    return query
    select p.conversation_id
    from public.conversation_participants as p
    cross join lateral (select case p.user_id when one then other else one end as id) as o
    where
        p.user_id in (one, other)
        and (
            exists (
                select from public.conversation_participants as q
                where q.conversation_id = p.conversation_id and q.user_id = o.id
            )
            or exists (
                select from public.messages as m
                where m.sender_id = o.id and m.conversation_id = p.conversation_id
            )
        );
end
$$;
comment on function private.shared_conversations(uuid, uuid) is
'Conversations in which one of the two is and the other is or was.';

-- The conversations of the two are not all that can be concerned: one of them may just be entering one. So neither
-- sends anything while their block begins or ends. One request can end many blocks: what all of them concern is locked
-- together, in order, and only then changed.
create function private.refresh_blocked_inboxes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    blockers uuid [];
    blocked uuid [];
begin
    -- The end of an account holds its conversations already and leaves nothing to count. Until then its messages are
    -- there, and whoever takes back a block on somebody who is leaving reads them again.
    select array_agg(c.blocker_id), array_agg(c.blocked_id) into blockers, blocked
    from changed as c
    where not exists (
        select from public.profiles as p
        where
            p.deleted_at is not null
            and (p.id = c.blocker_id or p.id = c.blocked_id and c.blocker_id is distinct from auth.uid())
    );
    perform private.hold_key(hashtextextended('sends:' || u.id, 0))
    from (select distinct p.id from unnest(blockers || blocked) as p (id) order by p.id) as u;
    perform from public.conversations as c
    where c.id in (select private.shared_conversations(p.one, p.other) from unnest(blockers, blocked) as p (one, other))
    order by c.id
    for no key update;
    -- Whoever else holds one of them now has just brought one of the two in, who missed nothing.
    perform private.refresh_inbox(l.id, array[b.blocker_id, b.blocked_id])
    from changed as b
    cross join lateral (
        select c.id from public.conversations as c
        where c.id in (select private.shared_conversations(b.blocker_id, b.blocked_id))
        for no key update skip locked
    ) as l;
    return null;
end
$$;
comment on function private.refresh_blocked_inboxes() is
'Trigger: a block takes what the two may not read of each other any more out of their inboxes; its end brings it back. '
'It waits for messages of the two that are being sent, and later ones wait for it.';

-- Named to fire before what else a block changes: who holds a conversation may wait for that.
create trigger change_inboxes_insert after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.refresh_blocked_inboxes();
create trigger change_inboxes_delete after delete on public.user_blocks
referencing old table as changed
for each statement execute function private.refresh_blocked_inboxes();

create function private.message_evidence(ids uuid[], reader uuid) returns setof private.reported_content
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return query
    select
        m.id, m.sender_id,
        (
            select jsonb_build_object(
                'conversation_id', r.conversation_id, 'number', r.number, 'sender_id', r.sender_id,
                'content', r.content, 'attachments', to_jsonb(r.attachments), 'created_at', r.created_at
            )
            from private.readable_messages as r
            where r.id = m.id and r.viewer_id = reader and not r.is_deleted
        )
    from public.messages as m
    where m.id = any (ids);
end
$$;
comment on function private.message_evidence(uuid[], uuid) is
'Hook evidence: a copy of a message as the reporter may read it; null when there is nothing they may read. Admins read '
'reports, never conversations.';

create function private.lock_written_conversations(user_id uuid) returns setof uuid
language plpgsql
security definer
set search_path = ''
as $$
begin
    return query
    select c.id from public.conversations as c
    where
        c.created_by = lock_written_conversations.user_id
        or c.id in (
            select p.conversation_id from public.conversation_participants as p
            where p.user_id = lock_written_conversations.user_id
            union all
            select m.conversation_id from public.messages as m
            where m.sender_id = lock_written_conversations.user_id
        )
    order by c.id
    for no key update;
end
$$;
comment on function private.lock_written_conversations(uuid) is
'Locks all conversations somebody takes part in, ever wrote in or started, and names them.';

create function private.erase_some_messages(user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    -- Of one conversation after the other: few are locked at a time.
    chosen uuid [] := array(
        select m.id from public.messages as m
        where m.sender_id = erase_some_messages.user_id
        order by m.conversation_id
        limit max_rows
    );
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform from public.conversations as c
    where c.id in (select m.conversation_id from public.messages as m where m.id = any(chosen))
    order by c.id
    for no key update;
    -- As delete_message() does, for all of these: working out anew what a hundred others have not read of long chats
    -- would take longer than a step may.
    update public.inbox_entries as e set unread_count = e.unread_count - u.messages
    from (
        select r.viewer_id, r.conversation_id, count(*) as messages
        from public.messages as m
        inner join private.unread_messages as r on r.conversation_id = m.conversation_id and r.id = m.id
        where m.id = any(chosen)
        group by r.viewer_id, r.conversation_id
    ) as u
    where e.user_id = u.viewer_id and e.conversation_id = u.conversation_id;
    update public.inbox_entries as e set last_message_preview = null
    from public.messages as m
    where
        m.id = any(chosen)
        and e.conversation_id = m.conversation_id and e.last_message_at = m.created_at;
    update public.messages as m set sender_id = null, content = null, attachments = '{}', is_deleted = true
    where m.id = any(chosen);
    return cardinality(chosen);
end
$$;
comment on function private.erase_some_messages(uuid, integer) is
'Erases what an account wrote, at most max_rows messages; how many. Empty messages without a sender keep the numbers.';

create function private.erase_messages(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Locked already, but for one that somebody started with them in the last moment.
    perform private.lock_written_conversations(erase_messages.user_id);
    perform private.erase_some_messages(erase_messages.user_id, null);
    delete from public.message_deletions as d where d.user_id = erase_messages.user_id;
    delete from public.conversation_participants as p where p.user_id = erase_messages.user_id;
    delete from private.chat_departures as d where d.user_id = erase_messages.user_id;
    update public.conversations as c set created_by = null where c.created_by = erase_messages.user_id;
end
$$;
comment on function private.erase_messages(uuid) is
'Step of erase_rest(): takes an account out of its conversations.';

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'inbox_entries.unread_count', 'private.unread_counts', 'id', 'unread_count',
    'select md5(u.conversation_id::text || u.viewer_id::text)::uuid, count(*) from private.unread_messages as u '
    'group by u.conversation_id, u.viewer_id'
);

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('conversation_locks', 'lock_conversations', '{}', 'select private.lock_written_conversations($1)', null),
('messages', 'reactions',
    '{public.messages.sender_id, public.messages.content, public.messages.attachments, public.message_deletions, '
    'public.conversation_participants, private.chat_departures, public.conversations.created_by}',
    'select private.erase_messages($1)', 'select private.erase_some_messages($1, $2)');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('message', 'public.messages', 'sender_id', null, '{can_read,evidence}');

insert into private.personal_data (section, relation, condition) values
('conversations', 'public.conversation_participants', 't.user_id = $1'),
-- The beginning of what others write: no longer for who is banned.
('inbox', 'public.inbox_entries', 't.user_id = $1 and private.member_id() is not null'),
('messages', 'public.messages', 't.sender_id = $1'),
('left_chats', 'private.chat_departures', 't.user_id = $1'),
('message_deletions', 'public.message_deletions', 't.user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('message_not_found', 'PT404', 'This message does not exist.',
'There is none with that id, or the caller cannot read it.'),
('cannot_message', 'PT403', 'You cannot write to this person.',
'The other one of the conversation cannot be reached: there may be a block, a ban, a private profile, or no account '
'any more. What was written before stays readable.'),
('request_pending', 'PT409', 'Please wait for an answer.',
'The other one does not know the caller and has not accepted the conversation; until then only a few messages go '
'there.'),
('not_message_sender', 'PT403', 'Only the sender can delete a message for everyone.',
'Others delete it for themselves.'),
('attachment_not_found', 'PT400', 'An attachment was not uploaded.',
'Upload to the bucket attachments as <own id>/<conversation id>/<name> first and name each file once. The detail lists '
'the paths.');
