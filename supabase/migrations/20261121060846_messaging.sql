-- Messaging.
-- Conversations and messages.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/65_social/60_conversations.sql ----------------------------------------------------------------------------------
-- Who talks with whom. What all participants may know of a conversation is in conversations and
-- conversation_participants; what only one of them may know (since when they may read, what they have not read, the
-- beginning of the last message they may see) is in their own row of inbox_entries. Nobody writes these tables but the
-- functions here: nobody can add themselves, and what others read follows from one's own inbox entry, a policy that
-- looks at nothing but its row.
--
-- Everything that changes in a conversation happens under the lock of its row, so numbers are handed out in the order
-- of commits and unread counts are exact. Locks are taken in this order: a sender's turn (65_messages), conversations
-- by id, profiles (by foreign keys and by the end of an account), the rest. Who holds a profile asks for no
-- conversation; but for a block, which keeps accounts from ending before.

create table public.conversations (
    id uuid not null default gen_random_uuid(),
    is_group boolean not null default false,
    group_name text,
    group_avatar_url public.http_url,
    created_by uuid,
    low_id uuid,
    high_id uuid,
    last_number integer not null default 0,
    last_message_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint conversations_pkey primary key (id),
    constraint conversations_low_id_high_id_key unique (low_id, high_id),
    constraint conversations_created_by_fkey foreign key (created_by) references public.profiles (id)
    on delete set null,
    constraint conversations_pair_check check (
        is_group and low_id is null and high_id is null
        or not is_group and low_id is not null and high_id is not null and low_id < high_id
    ),
    constraint conversations_group_check check (is_group or (group_name is null and group_avatar_url is null)),
    constraint conversations_group_name_check check (
        char_length(group_name) between 1 and 80 and group_name !~ '[[:cntrl:]\u202A-\u202E\u2066-\u2069]'
        and group_name = btrim(group_name)
    )
)
-- Every message counts up last_number; no index holds it.
with (fillfactor = 80);

create index conversations_created_by_idx on public.conversations (created_by);

comment on table public.conversations is
'Conversations, read by their participants only, not by admins. Made by start_conversation().';
comment on column public.conversations.is_group is 'Group chat; else a conversation of exactly two. Never changes.';
comment on column public.conversations.group_name is
'Name of a group chat, at most 80 characters; changed by its manager.';
comment on column public.conversations.group_avatar_url is 'Picture of a group chat; changed by its manager.';
comment on column public.conversations.created_by is 'Who started it; null when that account is gone.';
comment on column public.conversations.low_id is
'Direct: the participant with the smaller id. With high_id the key that makes a pair''s conversation the only one. No '
'foreign key: the pair is the pair also when one account is gone.';
comment on column public.conversations.high_id is 'Direct: the participant with the greater id.';
comment on column public.conversations.last_number is 'Number of the latest message; kept by trigger.';
comment on column public.conversations.last_message_at is 'When the latest message was sent; kept by trigger.';

create table public.conversation_participants (
    conversation_id uuid not null,
    user_id uuid not null,
    is_manager boolean not null default false,
    last_read_number integer not null default 0,
    joined_at timestamptz not null default now(),
    constraint conversation_participants_pkey primary key (conversation_id, user_id),
    constraint conversation_participants_conversation_id_fkey foreign key (conversation_id)
    references public.conversations (id) on delete cascade,
    constraint conversation_participants_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade,
    constraint conversation_participants_last_read_number_check check (last_read_number >= 0)
)
with (fillfactor = 85);

create index conversation_participants_user_id_idx on public.conversation_participants (user_id);

comment on table public.conversation_participants is
'Who takes part now, read by those who do. Written by start_conversation(), add_participants(), remove_participant(), '
'leave_conversation() and mark_conversation_read().';
comment on column public.conversation_participants.conversation_id is 'What they take part in.';
comment on column public.conversation_participants.user_id is 'Who takes part.';
comment on column public.conversation_participants.is_manager is
'Group chats: adds and removes people and changes name and picture. The one who started it; the longest participant '
'takes over.';
comment on column public.conversation_participants.last_read_number is
'Number of the last message this participant has read: the read receipt.';
comment on column public.conversation_participants.joined_at is 'Since when they take part.';

create table public.inbox_entries (
    user_id uuid not null,
    conversation_id uuid not null,
    is_group boolean not null,
    first_number integer not null,
    unread_count integer not null default 0,
    last_message_at timestamptz,
    last_message_preview text,
    constraint inbox_entries_pkey primary key (user_id, conversation_id),
    constraint inbox_entries_participant_fkey foreign key (user_id, conversation_id)
    references public.conversation_participants (user_id, conversation_id) on delete cascade,
    constraint inbox_entries_conversation_id_fkey foreign key (conversation_id)
    references public.conversations (id) on delete cascade,
    constraint inbox_entries_unread_count_check check (unread_count >= 0),
    constraint inbox_entries_last_message_preview_check check (char_length(last_message_preview) <= 100)
)
with (fillfactor = 70);

create index inbox_entries_conversation_id_idx on public.inbox_entries (conversation_id);
create index inbox_entries_user_id_last_message_at_conversation_id_idx
on public.inbox_entries (user_id, last_message_at desc, conversation_id desc) where last_message_at is not null;
create index inbox_entries_user_id_unread_count_idx
on public.inbox_entries (user_id) include (unread_count) where unread_count > 0;

comment on table public.inbox_entries is
'A participant''s own view of a conversation, read by that participant only; one for each row of '
'conversation_participants, kept by triggers.';
comment on column public.inbox_entries.user_id is 'The participant who owns this view.';
comment on column public.inbox_entries.conversation_id is 'What it is a view of.';
comment on column public.inbox_entries.is_group is 'Copy of conversations.is_group, for policies.';
comment on column public.inbox_entries.first_number is
'The first message number its owner may read: nothing from before their entry.';
comment on column public.inbox_entries.unread_count is
'How many messages of others, readable and not deleted, come after the last read number.';
comment on column public.inbox_entries.last_message_at is
'When the last message its owner may see was sent; without one, group chats: when they were added, conversations of '
'two: null, which keeps them out of the list.';
comment on column public.inbox_entries.last_message_preview is
'First 100 characters of the last message its owner may see; null when there is none or it was deleted.';

create function private.open_inbox_entry() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.inbox_entries (user_id, conversation_id, is_group, first_number, last_message_at)
    select new.user_id, c.id, c.is_group, c.last_number + 1, case when c.is_group then new.joined_at end
    from public.conversations as c
    where c.id = new.conversation_id;
    return null;
end
$$;
comment on function private.open_inbox_entry() is
'Trigger: whoever enters a conversation reads from the next message on. The caller holds the conversation''s lock.';

create trigger open_inbox_entry after insert on public.conversation_participants
for each row execute function private.open_inbox_entry();

create function private.drop_empty_conversations() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from public.conversations as c
    where
        c.id in (select g.conversation_id from gone as g)
        and not exists (select from public.conversation_participants as p where p.conversation_id = c.id);
    -- Group chats always have somebody who manages them.
    update public.conversation_participants as p set is_manager = true
    where (p.conversation_id, p.user_id) in (
        select distinct on (o.conversation_id) o.conversation_id, o.user_id
        from public.conversation_participants as o
        where o.conversation_id in (select g.conversation_id from gone as g where g.is_manager)
        order by o.conversation_id, o.joined_at, o.user_id
    );
    return null;
end
$$;
comment on function private.drop_empty_conversations() is
'Trigger: a conversation nobody is left in goes, and a group chat whose manager went gets another one.';

create trigger drop_empty_conversations after delete on public.conversation_participants
referencing old table as gone
for each statement execute function private.drop_empty_conversations();

create trigger touch_updated_at before update of group_name, group_avatar_url on public.conversations
for each row execute function private.touch_updated_at();

alter table public.conversations enable row level security;
revoke all on public.conversations from anon, authenticated, service_role;
grant select on public.conversations to authenticated, service_role;
grant update (group_name, group_avatar_url) on public.conversations to authenticated;

alter table public.conversation_participants enable row level security;
revoke all on public.conversation_participants from anon, authenticated, service_role;
grant select on public.conversation_participants to authenticated, service_role;

alter table public.inbox_entries enable row level security;
revoke all on public.inbox_entries from anon, authenticated, service_role;
grant select on public.inbox_entries to authenticated, service_role;

create policy inbox_entries_select on public.inbox_entries for select to authenticated
using (user_id = (select private.member_id()));

create policy conversations_select on public.conversations for select to authenticated
using (
    id = any(array(
        select e.conversation_id from public.inbox_entries as e where e.user_id = (select private.member_id())
    ))
);

-- In group chats people with a block between them do not see each other; in a conversation of two the other one is
-- known anyway, and hiding the row would tell of the block.
create policy conversation_participants_select on public.conversation_participants for select to authenticated
using (
    conversation_id = any(array(
        select e.conversation_id from public.inbox_entries as e where e.user_id = (select private.member_id())
    ))
    and (
        user_id <> all(array(select private.blocked_ids()))
        or conversation_id = any(array(
            select e.conversation_id from public.inbox_entries as e
            where e.user_id = (select private.member_id()) and not e.is_group
        ))
    )
);

create function private.lock_conversation(conversation_id uuid) returns public.conversations
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    conversation public.conversations;
begin
    -- Strangers are turned away before any lock: what is not theirs answers like what does not exist.
    if exists (
        select from public.conversation_participants as p
        where p.conversation_id = lock_conversation.conversation_id and p.user_id = caller
    ) then
        select * into conversation from public.conversations as c
        where c.id = lock_conversation.conversation_id
        for no key update;
    end if;
    -- One may have been removed meanwhile.
    if not exists (
        select from public.conversation_participants as p
        where p.conversation_id = conversation.id and p.user_id = caller
    ) then
        perform private.fail('conversation_not_found', lock_conversation.conversation_id::text);
    end if;
    return conversation;
end
$$;
comment on function private.lock_conversation(uuid) is
'The conversation, locked until the end of the transaction, if the caller takes part in it; else fails with '
'conversation_not_found (404).';

create function private.is_conversation_manager(conversation_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.conversation_participants as p
        where
            p.conversation_id = is_conversation_manager.conversation_id
            and p.user_id = private.member_id() and p.is_manager
    );
end
$$;
comment on function private.is_conversation_manager(uuid) is 'Whether the caller manages this group chat.';
grant execute on function private.is_conversation_manager(uuid) to authenticated;

create policy conversations_update on public.conversations for update to authenticated
using (is_group and private.is_conversation_manager(id))
with check (is_group and private.is_conversation_manager(id));

create function private.require_contact(user_ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    unknown text;
begin
    -- Asked before anything is locked, so that nobody learns who exists by how long it takes, and again when the
    -- accounts cannot be deleted any more.
    for attempt in 1..2 loop
        select string_agg(coalesce(u.id::text, 'null'), ', ' order by u.id) into unknown
        from unnest(user_ids) as u (id)
        where not private.is_visible_to(u.id, caller);
        if unknown is not null then
            perform private.fail('user_not_found', unknown);
        elsif not coalesce((select bool_and(private.is_visible_to(caller, u.id)) from unnest(user_ids) as u (id)), true)
        then
            perform private.fail('profile_hidden');
        end if;
        perform from public.profiles as p where p.id = any(caller || user_ids) order by p.id for key share;
    end loop;
end
$$;
comment on function private.require_contact(uuid[]) is
'Fails unless the caller sees all these people, user_not_found (404), and they see the caller, profile_hidden (409); '
'then keeps their accounts from being deleted until the end of the transaction.';

create function public.start_conversation(
    user_ids uuid[], group_name text default null, group_avatar_url text default null
) returns public.conversations
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    others uuid[] := array(
        select distinct u.id from unnest(start_conversation.user_ids) as u (id) where u.id is distinct from caller
    );
    conversation public.conversations;
begin
    if cardinality(others) = 0 then
        perform private.fail('no_participants');
    elsif cardinality(others) > 99 then
        perform private.fail('too_many_participants');
    elsif cardinality(others) = 1 then
        if start_conversation.group_name is not null or start_conversation.group_avatar_url is not null then
            perform private.fail('not_a_group_chat');
        end if;
        -- What there is stays readable, whatever became of the other one.
        select * into conversation from public.conversations as c
        where c.low_id = least(caller, others[1]) and c.high_id = greatest(caller, others[1]);
        if conversation.id is not null then
            return conversation;
        end if;
        perform private.require_contact(others);
        insert into public.conversations (created_by, low_id, high_id)
        values (caller, least(caller, others[1]), greatest(caller, others[1]))
        on conflict on constraint conversations_low_id_high_id_key do nothing
        returning * into conversation;
        if conversation.id is null then
            -- The other one started it at the same moment.
            select * into conversation from public.conversations as c
            where c.low_id = least(caller, others[1]) and c.high_id = greatest(caller, others[1]);
            return conversation;
        end if;
    else
        perform private.require_contact(others);
        insert into public.conversations (is_group, group_name, group_avatar_url, created_by)
        values (
            true, nullif(btrim(start_conversation.group_name), ''),
            start_conversation.group_avatar_url::public.http_url, caller
        )
        returning * into conversation;
    end if;
    insert into public.conversation_participants (conversation_id, user_id, is_manager)
    select conversation.id, u.id, conversation.is_group and u.id = caller
    from unnest(caller || others) as u (id);
    return conversation;
end
$$;
comment on function public.start_conversation(uuid[], text, text) is
'The conversation with these people. One other person: the conversation of the two, the same whoever starts it and '
'however often. More, up to 99: a new group chat, which the caller manages. Fails with user_not_found (404) for '
'whoever the caller cannot see, profile_hidden (409) when the caller''s profile is private, no_participants, '
'too_many_participants, not_a_group_chat (a name for a conversation of two).';
grant execute on function public.start_conversation(uuid[], text, text) to authenticated;

create function private.lock_group_chat(conversation_id uuid) returns public.conversations
language plpgsql
security definer
set search_path = ''
as $$
declare
    conversation public.conversations := private.lock_conversation(lock_group_chat.conversation_id);
begin
    if not conversation.is_group then
        perform private.fail('not_a_group_chat');
    elsif not private.is_conversation_manager(conversation.id) then
        perform private.fail('manager_only');
    end if;
    return conversation;
end
$$;
comment on function private.lock_group_chat(uuid) is
'The group chat, locked, if the caller manages it; else fails with conversation_not_found, not_a_group_chat or '
'manager_only.';

create function public.add_participants(conversation_id uuid, user_ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    conversation public.conversations := private.lock_group_chat(add_participants.conversation_id);
begin
    if cardinality(user_ids) > 99 then
        perform private.fail('too_many_participants');
    end if;
    perform private.require_contact(user_ids);
    insert into public.conversation_participants as p (conversation_id, user_id, last_read_number)
    select conversation.id, u.id, conversation.last_number
    from unnest(user_ids) as u (id)
    on conflict on constraint conversation_participants_pkey do nothing;
    if (select count(*) from public.conversation_participants as p where p.conversation_id = conversation.id) > 100 then
        perform private.fail('too_many_participants');
    end if;
end
$$;
comment on function public.add_participants(uuid, uuid[]) is
'The manager adds people to a group chat; who is in it already stays as they are. They read what is written from now '
'on. Fails with user_not_found (404) for whoever the caller cannot see, manager_only, not_a_group_chat, '
'too_many_participants (100 in all).';
grant execute on function public.add_participants(uuid, uuid[]) to authenticated;

create function public.remove_participant(conversation_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    conversation public.conversations := private.lock_group_chat(remove_participant.conversation_id);
begin
    delete from public.conversation_participants as p
    where p.conversation_id = conversation.id and p.user_id = remove_participant.user_id;
end
$$;
comment on function public.remove_participant(uuid, uuid) is
'The manager removes somebody from a group chat, who reads nothing of it any more. No effect for who is not in it.';
grant execute on function public.remove_participant(uuid, uuid) to authenticated;

create function public.leave_conversation(conversation_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    conversation public.conversations := private.lock_conversation(leave_conversation.conversation_id);
begin
    if not conversation.is_group then
        perform private.fail('not_a_group_chat');
    end if;
    delete from public.conversation_participants as p
    where p.conversation_id = conversation.id and p.user_id = auth.uid();
end
$$;
comment on function public.leave_conversation(uuid) is
'Leaves a group chat: nothing of it is readable any more, added again one reads from then on. When the manager leaves, '
'the longest participant manages; when the last one leaves, the chat is gone.';
grant execute on function public.leave_conversation(uuid) to authenticated;

-- Definer, and the rules of profiles' policies spelled out: the policies here would look up all of one's conversations
-- once for each table, however short the page.
create function public.inbox(
    before timestamptz default null, before_id uuid default null, max_rows integer default 20
) returns table (
    conversation_id uuid,
    is_group boolean,
    group_name text,
    group_avatar_url text,
    last_message_at timestamptz,
    last_message_preview text,
    unread_count integer,
    participants jsonb
)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    blocked uuid[] := array(select private.blocked_ids());
begin
    return query
    select
        e.conversation_id, e.is_group, c.group_name, c.group_avatar_url::text, e.last_message_at,
        e.last_message_preview, e.unread_count, o.participants
    from (
        select * from public.inbox_entries as i
        where
            i.user_id = caller and i.last_message_at is not null
            and (i.last_message_at, i.conversation_id)
            < (coalesce(before, 'infinity'), coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        order by i.last_message_at desc, i.conversation_id desc
        limit least(greatest(coalesce(max_rows, 20), 1), 100)
    ) as e
    inner join public.conversations as c on c.id = e.conversation_id
    cross join lateral (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', s.id, 'username', s.username, 'display_name', s.display_name, 'avatar_url', s.avatar_url
                )
                order by s.joined_at, s.id
            ), '[]'
        ) as participants
        from (
            select f.id, f.username, f.display_name, f.avatar_url, p.joined_at
            from public.conversation_participants as p
            inner join public.profiles as f on f.id = p.user_id
            where
                p.conversation_id = e.conversation_id and p.user_id <> caller
                and f.deleted_at is null and not f.is_banned and f.profile_visibility <> 'private'
                and f.id <> all(blocked)
            order by p.joined_at, p.user_id
            limit 4
        ) as s
    ) as o
    order by e.last_message_at desc, e.conversation_id desc;
end
$$;
comment on function public.inbox(timestamptz, uuid, integer) is
'The caller''s conversations, latest first, with up to four of the other participants, as far as the caller sees their '
'profiles. max_rows from 1 to 100. The next page: before and before_id are last_message_at and conversation_id of the '
'last row.';
grant execute on function public.inbox(timestamptz, uuid, integer) to authenticated;

create function public.unread_messages_count() returns integer
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    return (
        select coalesce(sum(e.unread_count), 0)
        from public.inbox_entries as e
        where e.user_id = caller and e.unread_count > 0
    );
end
$$;
comment on function public.unread_messages_count() is
'How many messages the caller has not read, in all conversations.';
grant execute on function public.unread_messages_count() to authenticated;

insert into private.error_codes (code, sqlstate, message, description) values
('conversation_not_found', 'PT404', 'This conversation does not exist.',
'There is none with that id, or the caller takes no part in it.'),
('no_participants', 'PT400', 'Choose somebody to talk to.',
'A conversation needs at least one other person; there is none with oneself.'),
('too_many_participants', 'PT400', 'A group chat has at most 100 participants.', 'The caller counts too.'),
('not_a_group_chat', 'PT409', 'This is a conversation of two.',
'Conversations of two have no name and no picture, and nobody enters or leaves them.'),
('manager_only', 'PT403', 'Only the manager of this chat can do this.',
'Adding and removing people is for the participant whose is_manager is true.'),
('profile_hidden', 'PT409', 'Your profile is private.',
'Nobody gets messages from somebody they cannot see. Make the profile public or members_only to write.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/65_social/65_messages.sql ---------------------------------------------------------------------------------------
-- Messages: numbered within their conversation in the order they were committed. Sending is a plain insert. A message
-- is readable for who took part when it was sent and still does; in group chats not across a block.

create table public.messages (
    id uuid not null default gen_random_uuid(),
    conversation_id uuid not null,
    number integer not null,
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
    constraint messages_content_check check (char_length(content) between 1 and 10000 and content ~ '[^[:space:]]'),
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

comment on table public.messages is
'Messages, read by the participants who were there when they were sent, not by admins. Members insert '
'conversation_id, content and attachments; delete_message() deletes.';
comment on column public.messages.conversation_id is 'Where it was sent.';
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
revoke all on public.messages from anon, authenticated, service_role;
grant select on public.messages to authenticated, service_role;
grant insert (id, conversation_id, content, attachments) on public.messages to authenticated;

alter table public.message_deletions enable row level security;
revoke all on public.message_deletions from anon, authenticated, service_role;
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
create view private.unread_messages with (security_invoker = true) as
select r.viewer_id, r.conversation_id, r.id
from private.readable_messages as r
inner join public.conversation_participants as p
    on p.conversation_id = r.conversation_id and p.user_id = r.viewer_id and p.last_read_number < r.number
where
    r.sender_id is distinct from r.viewer_id
    and not r.is_deleted
    and not exists (
        select from public.user_blocks as b where b.blocker_id = r.viewer_id and b.blocked_id = r.sender_id
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
            case when b.is_hidden then null when i.is_group then coalesce(m.last_message_at, p.joined_at)
            else m.last_message_at end as last_message_at,
            case when not b.is_hidden then m.last_message_preview end as last_message_preview
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

    if not conversation.is_group then
        other := case conversation.low_id when new.sender_id then conversation.high_id else conversation.low_id end;
        -- A block, a ban, a private profile and a deleted account all give the same answer.
        if not private.is_visible_to(other, new.sender_id) or not private.is_visible_to(new.sender_id, other) then
            perform private.fail(
                case when sender.profile_visibility = 'private' then 'profile_hidden' else 'cannot_message' end
            );
        end if;
    elsif sender.profile_visibility = 'private' then
        perform private.fail('profile_hidden');
    end if;

    if cardinality(new.attachments) > 0 then
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

create trigger send_message before insert on public.messages
for each row execute function private.send_message();

create function private.deliver_message() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.inbox_entries as e set
        last_message_at = new.created_at,
        last_message_preview = private.message_preview(new.content, new.attachments),
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
'Trigger: a message comes to the top of the inbox of everybody who may read it, unread by all but its sender.';

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
    if target > previous then
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
'goes back. The senders see it: messages.is_read and the caller''s last_read_number.';
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
    -- The end of an account holds its conversations already and leaves nothing to count.
    select array_agg(c.blocker_id), array_agg(c.blocked_id) into blockers, blocked
    from changed as c
    where not exists (
        select from public.profiles as p where p.id in (c.blocker_id, c.blocked_id) and p.deleted_at is not null
    );
    perform pg_advisory_xact_lock(hashtextextended('sends:' || u.id, 0))
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

create function private.message_evidence(message_id uuid, reporter uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return (
        select jsonb_build_object(
            'conversation_id', r.conversation_id, 'number', r.number, 'sender_id', r.sender_id,
            'content', r.content, 'attachments', to_jsonb(r.attachments), 'created_at', r.created_at
        )
        from private.readable_messages as r
        where r.id = message_evidence.message_id and r.viewer_id = message_evidence.reporter and not r.is_deleted
    );
end
$$;
comment on function private.message_evidence(uuid, uuid) is
'A copy of a message for a report, as the reporter may read it; null when there is nothing they may read. Admins read '
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

create function private.erase_messages(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Locked already, but for one that somebody started with them in the last moment.
    perform private.lock_written_conversations(erase_messages.user_id);
    -- As delete_message() does, for all of theirs: working out anew what a hundred others have not read of long chats
    -- would take longer than a request may.
    update public.inbox_entries as e set unread_count = e.unread_count - u.messages
    from (
        select r.viewer_id, r.conversation_id, count(*) as messages
        from public.messages as m
        inner join private.unread_messages as r on r.conversation_id = m.conversation_id and r.id = m.id
        where m.sender_id = erase_messages.user_id
        group by r.viewer_id, r.conversation_id
    ) as u
    where e.user_id = u.viewer_id and e.conversation_id = u.conversation_id;
    update public.inbox_entries as e set last_message_preview = null
    from public.messages as m
    where
        m.sender_id = erase_messages.user_id
        and e.conversation_id = m.conversation_id and e.last_message_at = m.created_at;
    update public.messages as m set sender_id = null, content = null, attachments = '{}', is_deleted = true
    where m.sender_id = erase_messages.user_id;
    delete from public.message_deletions as d where d.user_id = erase_messages.user_id;
    delete from public.conversation_participants as p where p.user_id = erase_messages.user_id;
    update public.conversations as c set created_by = null where c.created_by = erase_messages.user_id;
end
$$;
comment on function private.erase_messages(uuid) is
'Takes an account out of its conversations. What it wrote is erased; empty messages without a sender keep the numbers.';

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'inbox_entries.unread_count', 'private.unread_counts', 'id', 'unread_count',
    'select md5(u.conversation_id::text || u.viewer_id::text)::uuid, count(*) from private.unread_messages as u '
    'group by u.conversation_id, u.viewer_id'
)
on conflict (counter) do update set
relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

insert into private.erasure_steps (step, position, statement) values
('conversation_locks', -10, 'select private.lock_written_conversations($1)'),
('messages', 20, 'select private.erase_messages($1)')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

insert into private.personal_data (section, relation, condition) values
('conversations', 'public.conversation_participants', 't.user_id = $1'),
-- The beginning of what others write: no longer for who is banned.
('inbox', 'public.inbox_entries', 't.user_id = $1 and private.member_id() is not null'),
('messages', 'public.messages', 't.sender_id = $1'),
('message_deletions', 'public.message_deletions', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.error_codes (code, sqlstate, message, description) values
('message_not_found', 'PT404', 'This message does not exist.',
'There is none with that id, or the caller cannot read it.'),
('cannot_message', 'PT403', 'You cannot write to this person.',
'The other one of the conversation cannot be reached: there may be a block, a ban, a private profile, or no account '
'any more. What was written before stays readable.'),
('not_message_sender', 'PT403', 'Only the sender can delete a message for everyone.',
'Others delete it for themselves.'),
('attachment_not_found', 'PT400', 'An attachment was not uploaded.',
'Upload to the bucket attachments as <own id>/<conversation id>/<name> first and name each file once. The detail lists '
'the paths.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
(
    'attachments', 'attachments', false, 26214400,
    array[
        'application/zip', 'application/pdf', 'text/plain', 'text/csv', 'text/markdown',
        'image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif',
        'audio/mpeg', 'audio/mp4', 'audio/aac', 'audio/ogg', 'audio/wav', 'audio/x-wav', 'audio/flac', 'audio/midi',
        'audio/webm', 'video/mp4', 'video/webm', 'video/quicktime'
    ]
)
on conflict (id) do update set
public = excluded.public, file_size_limit = excluded.file_size_limit,
allowed_mime_types = excluded.allowed_mime_types;
