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
    service_order_id uuid,
    last_number integer not null default 0,
    last_message_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint conversations_pkey primary key (id),
    constraint conversations_low_id_high_id_key unique (low_id, high_id),
    constraint conversations_service_order_id_key unique (service_order_id),
    constraint conversations_created_by_fkey foreign key (created_by) references public.profiles (id)
    on delete set null,
    constraint conversations_pair_check check (
        (is_group or service_order_id is not null) and low_id is null and high_id is null
        or not is_group and low_id is not null and high_id is not null and low_id < high_id and service_order_id is null
    ),
    constraint conversations_group_check check (is_group or (group_name is null and group_avatar_url is null)),
    constraint conversations_group_name_check check (char_length(group_name) between 1 and 80)
)
-- Every message counts up last_number; no index holds it.
with (fillfactor = 80);

create index conversations_created_by_idx on public.conversations (created_by);

-- What a client that breaks these is told, see error_catalog().
comment on constraint conversations_group_check on public.conversations is
'invalid_conversation: Only group conversations have a name and a picture.';
comment on constraint conversations_group_name_check on public.conversations is
'invalid_group_name: The name of a group conversation has 1 to 80 characters.';

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
comment on column public.conversations.service_order_id is
'Of what two people talk about their service order: that order, which no block closes. They are no pair then: their '
'own conversation is another one.';
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
comment on column public.conversation_participants.is_manager is
'Group chats: adds and removes people and changes name and picture. The one who started it; the longest participant '
'takes over.';
comment on column public.conversation_participants.last_read_number is
'Number of the last message this participant has read: the read receipt.';
comment on column public.conversation_participants.joined_at is 'Since when they take part.';

create type public.inbox_state as enum ('accepted', 'requested', 'declined');
comment on type public.inbox_state is
'requested: a stranger wrote; nothing rings, and nothing is said to be read, until it is accepted. declined: it was '
'turned down, which the other one does not learn.';

create table public.inbox_entries (
    user_id uuid not null,
    conversation_id uuid not null,
    is_group boolean not null,
    state public.inbox_state not null default 'accepted',
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
create index inbox_entries_user_id_state_last_message_at_idx
on public.inbox_entries (user_id, state, last_message_at desc, conversation_id desc) where last_message_at is not null;
create index inbox_entries_user_id_unread_count_idx
on public.inbox_entries (user_id) include (unread_count) where unread_count > 0 and state = 'accepted';

comment on table public.inbox_entries is
'A participant''s own view of a conversation, read by that participant only; one for each row of '
'conversation_participants, kept by triggers.';
comment on column public.inbox_entries.user_id is 'The participant who owns this view.';
comment on column public.inbox_entries.is_group is 'Copy of conversations.is_group, for policies.';
comment on column public.inbox_entries.state is
'Whether its owner wants it: see accept_message_request() and decline_message_request().';
comment on column public.inbox_entries.first_number is
'The first message number its owner may read: nothing from before their entry.';
comment on column public.inbox_entries.unread_count is
'How many messages of others, readable and not deleted, come after the last read number.';
comment on column public.inbox_entries.last_message_at is
'When the last message its owner may see was sent; without one, group chats: when they were added, conversations of '
'two: null, which keeps them out of the list, as declining does.';
comment on column public.inbox_entries.last_message_preview is
'First 100 characters of the last message its owner may see; null when there is none or it was deleted.';

create function private.knows(member uuid, other uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.follows as f where f.follower_id = member and f.following_id = other
    ) or exists (
        select from public.inbox_entries as m
        inner join public.inbox_entries as o on o.conversation_id = m.conversation_id and o.user_id = other
        where m.user_id = member and m.state = 'accepted' and o.state = 'accepted'
    );
end
$$;
comment on function private.knows(uuid, uuid) is
'Whether the other one is no stranger to the member: followed, or in a conversation both want.';

create function private.count_strangers(user_ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.count_activity(
        'contact',
        (select count(*)::integer from unnest(user_ids) as u (id) where not private.knows(u.id, auth.uid()))
    );
end
$$;
comment on function private.count_strangers(uuid[]) is 'Counts whom the caller approaches without being known to them.';

create function private.open_inbox_entry() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.inbox_entries (user_id, conversation_id, is_group, state, first_number, last_message_at)
    select
        new.user_id, c.id, c.is_group,
        -- Somebody a stranger brings in is asked.
        case
            when
                new.user_id = auth.uid() or auth.uid() is null or c.service_order_id is not null
                or private.knows(new.user_id, auth.uid())
                then 'accepted'
            else 'requested'
        end::public.inbox_state,
        c.last_number + 1, case when c.is_group then new.joined_at end
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
        inner join public.profiles as f on f.id = o.user_id and f.deleted_at is null
        inner join public.inbox_entries as e on e.conversation_id = o.conversation_id and e.user_id = o.user_id
        where o.conversation_id in (select g.conversation_id from gone as g where g.is_manager)
        -- Somebody banned, or who has not said yes yet, only when nobody else is left.
        order by o.conversation_id, f.is_banned, e.state <> 'accepted', o.joined_at, o.user_id
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

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of group_name on public.conversations
for each row execute function private.tidy_texts('group_name line');

alter table public.conversations enable row level security;
grant select on public.conversations to authenticated, service_role;
grant update (group_name, group_avatar_url) on public.conversations to authenticated;

alter table public.conversation_participants enable row level security;
grant select on public.conversation_participants to authenticated, service_role;

alter table public.inbox_entries enable row level security;
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
        where not private.is_visible_to(u.id, caller) or private.is_platform(u.id);
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
        perform private.count_strangers(others);
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
        perform private.count_strangers(others);
        insert into public.conversations (is_group, group_name, group_avatar_url, created_by)
        values (
            true, start_conversation.group_name, start_conversation.group_avatar_url::public.http_url, caller
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
'The conversation with these people; to strangers it comes as a request. One other person: the conversation of the '
'two, the same whoever starts it and however often. More, up to 99: a new group chat, which the caller manages. Fails '
'with user_not_found (404) for whoever the caller cannot see, profile_hidden (409) when the caller''s profile is '
'private, no_participants, too_many_participants, not_a_group_chat (a name for a conversation of two), '
'too_many_actions (strangers).';
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

create table private.chat_departures (
    conversation_id uuid not null,
    user_id uuid not null,
    may_return boolean not null default true,
    created_at timestamptz not null default now(),
    constraint chat_departures_pkey primary key (conversation_id, user_id),
    constraint chat_departures_conversation_id_fkey foreign key (conversation_id)
    references public.conversations (id) on delete cascade,
    constraint chat_departures_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);
create index chat_departures_user_id_idx on private.chat_departures (user_id);
comment on table private.chat_departures is
'Who left a group chat: nobody brings them back, they come by themselves, see rejoin_conversation().';
comment on column private.chat_departures.may_return is 'Until the manager removes them once more.';
alter table private.chat_departures enable row level security;

create function public.add_participants(conversation_id uuid, user_ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    conversation public.conversations := private.lock_group_chat(add_participants.conversation_id);
    departed text;
begin
    if cardinality(user_ids) > 99 then
        perform private.fail('too_many_participants');
    end if;
    perform private.require_contact(user_ids);
    select string_agg(d.user_id::text, ', ' order by d.user_id) into departed
    from private.chat_departures as d
    where d.conversation_id = conversation.id and d.user_id = any(user_ids);
    if departed is not null then
        perform private.fail('left_chat', departed);
    end if;
    perform private.count_strangers(array(
        select u.id from unnest(user_ids) as u (id)
        except
        select p.user_id from public.conversation_participants as p where p.conversation_id = conversation.id
    ));
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
'on; to strangers it is a request. Fails with user_not_found (404) for whoever the caller cannot see, left_chat for '
'whoever left it, manager_only, not_a_group_chat, too_many_participants (100 in all), too_many_actions (strangers).';
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
    update private.chat_departures as d set may_return = false
    where d.conversation_id = conversation.id and d.user_id = remove_participant.user_id;
end
$$;
comment on function public.remove_participant(uuid, uuid) is
'The manager removes somebody from a group chat, who reads nothing of it any more. Whoever left it by themselves then '
'cannot return.';
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
    insert into private.chat_departures (conversation_id, user_id) values (conversation.id, auth.uid())
    on conflict on constraint chat_departures_pkey do nothing;
    delete from public.conversation_participants as p
    where p.conversation_id = conversation.id and p.user_id = auth.uid();
end
$$;
comment on function public.leave_conversation(uuid) is
'Leaves a group chat: nothing of it is readable any more, and nobody adds one again; see rejoin_conversation(). When '
'the manager leaves, the longest participant manages; when the last one leaves, the chat is gone.';
grant execute on function public.leave_conversation(uuid) to authenticated;

create function public.rejoin_conversation(conversation_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    conversation public.conversations;
begin
    -- Strangers are turned away before any lock.
    if exists (
        select from private.chat_departures as d
        where d.conversation_id = rejoin_conversation.conversation_id and d.user_id = caller and d.may_return
    ) then
        select * into conversation from public.conversations as c
        where c.id = rejoin_conversation.conversation_id
        for no key update;
        delete from private.chat_departures as d
        where d.conversation_id = conversation.id and d.user_id = caller and d.may_return;
    end if;
    if conversation.id is null or not found then
        perform private.fail('conversation_not_found', rejoin_conversation.conversation_id::text);
    end if;
    insert into public.conversation_participants (conversation_id, user_id, last_read_number)
    values (conversation.id, caller, conversation.last_number);
    if (select count(*) from public.conversation_participants as p where p.conversation_id = conversation.id) > 100 then
        perform private.fail('too_many_participants');
    end if;
end
$$;
comment on function public.rejoin_conversation(uuid) is
'Back into a group chat the caller left, to read from now on. Fails with conversation_not_found after the manager said '
'no by remove_participant(), too_many_participants.';
grant execute on function public.rejoin_conversation(uuid) to authenticated;

-- Definer, and the rules of profiles' policies spelled out: the policies here would look up all of one's conversations
-- once for each table, however short the page.
create function public.inbox(
    before timestamptz default null, before_id uuid default null, max_rows integer default 20,
    requests boolean default false
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
            and i.state = (case when requests then 'requested' else 'accepted' end)::public.inbox_state
            and (i.last_message_at, i.conversation_id)
            < (coalesce(before, 'infinity'), coalesce(before_id, private.last_uuid()))
        order by i.last_message_at desc, i.conversation_id desc
        limit private.page_size(max_rows)
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
comment on function public.inbox(timestamptz, uuid, integer, boolean) is
'The caller''s conversations, latest first, with up to four of the other participants, as far as the caller sees their '
'profiles. max_rows from 1 to 100. The next page: before and before_id are last_message_at and conversation_id of the '
'last row. With requests: instead those that strangers began and the caller has not accepted.';
grant execute on function public.inbox(timestamptz, uuid, integer, boolean) to authenticated;

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
        where e.user_id = caller and e.unread_count > 0 and e.state = 'accepted'
    );
end
$$;
comment on function public.unread_messages_count() is
'How many messages the caller has not read, in all conversations but requests.';
grant execute on function public.unread_messages_count() to authenticated;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.inbox_entries', 'state', null, 'accepted', 'began it, or knows who did'),
('public.inbox_entries', 'state', null, 'requested', 'a stranger began it'),
('public.inbox_entries', 'state', 'requested', 'accepted', 'accepts, answers, or follows the sender'),
('public.inbox_entries', 'state', 'requested', 'declined', 'decline_message_request()'),
('public.inbox_entries', 'state', 'declined', 'accepted', 'accepts or writes after all');
select private.build_moves('public.inbox_entries', 'state');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('conversation', 'public.conversations', null, '/conversations/{id}', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('conversation_heads', 'public.conversations',
    null, '{low_id, high_id, service_order_id, group_name, group_avatar_url}',
    'the conversation''s, which the others keep; conversations and inbox hand out one''s own part');

insert into private.error_codes (code, sqlstate, message, description) values
('conversation_not_found', 'PT404', 'This conversation does not exist.',
'There is none with that id, or the caller takes no part in it.'),
('no_participants', 'PT400', 'Choose somebody to talk to.',
'A conversation needs at least one other person; there is none with oneself.'),
('too_many_participants', 'PT400', 'A group chat has at most 100 participants.', 'The caller counts too.'),
('not_a_group_chat', 'PT409', 'This is a conversation of two.',
'Conversations of two have no name and no picture, and nobody enters or leaves them.'),
('left_chat', 'PT409', 'Who left a chat is not added again.',
'The detail lists the ids of those who left. They come back by themselves, with rejoin_conversation().'),
('manager_only', 'PT403', 'Only the manager of this chat can do this.',
'Adding and removing people is for the participant whose is_manager is true.'),
('profile_hidden', 'PT409', 'Your profile is private.',
'Nobody gets messages from somebody they cannot see. Make the profile public or members_only to write.');
