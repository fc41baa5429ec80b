-- What concerns one person: a row for them alone, written by triggers on what happened (75_notification_events).
-- Title and message are fixed texts of the type; who did it and about what are references. So nothing here outlives a
-- block, a ban or a hidden post, and an application shows names as it embeds them: actor:profiles!actor_id(username,
-- …).

create type private.notification_email as enum ('none', 'digest', 'immediate');
comment on type private.notification_email is
'Whether a type is mailed: never, at most daily together with others, or each time at once.';

create table private.notification_types (
    type text not null,
    title text not null,
    message text not null,
    link_template text,
    collapse interval,
    collapse_unread boolean not null default false,
    email private.notification_email not null default 'none',
    can_switch_off boolean not null default true,
    is_anonymous boolean not null default false,
    outlives_content boolean not null default false,
    reaches_banned boolean not null default false,
    constraint notification_types_pkey primary key (type),
    constraint notification_types_type_check check (type ~ '^[a-z]+(_[a-z]+)*$'),
    -- The unique key that decides races has windows of an hour: a shorter interval would fall into them.
    constraint notification_types_collapse_check check (collapse >= interval '1 hour')
);

comment on table private.notification_types is
'What each type of notification says and how it travels; a page that tells something new inserts its row.';
comment on column private.notification_types.type is
'What happened, and what it is called in profile_settings.notification_preferences. order speaks to the buyer, '
'purchase to the seller.';
comment on column private.notification_types.title is 'Headline. No names, no content.';
comment on column private.notification_types.message is 'One sentence. No names, no content.';
comment on column private.notification_types.link_template is
'Path in the application, {id} and {actor_id} replaced; null: the page of the kind it is about.';
comment on column private.notification_types.collapse is
'Repeats about the same thing are left out for this long after the first; null tells each.';
comment on column private.notification_types.collapse_unread is
'Repeats about the same thing are left out while the latest is unread.';
comment on column private.notification_types.email is 'Whether and when it is mailed to a confirmed address.';
comment on column private.notification_types.can_switch_off is
'Whether notification_preferences are asked. Not for security, money and moderation.';
comment on column private.notification_types.is_anonymous is
'The recipient does not learn who it was; who is invisible to them is still not told of.';
comment on column private.notification_types.outlives_content is
'Stays when what it is about is hidden or deleted.';
comment on column private.notification_types.reaches_banned is
'Also for banned recipients, who read it in the e-mail.';
alter table private.notification_types enable row level security;

create table public.notifications (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    type text not null,
    title text not null,
    message text not null,
    link_url text,
    actor_id uuid,
    related_type text,
    related_id uuid,
    is_read boolean not null default false,
    read_at timestamptz,
    created_at timestamptz not null default now(),
    constraint notifications_pkey primary key (id),
    constraint notifications_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint notifications_actor_id_fkey foreign key (actor_id) references public.profiles (id) on delete cascade,
    constraint notifications_read_at_check check (is_read = (read_at is not null)),
    constraint notifications_related_check check ((related_type is null) = (related_id is null)),
    constraint notifications_link_url_check check (char_length(link_url) <= 2048)
);

create index notifications_user_id_created_at_id_idx on public.notifications (user_id, created_at desc, id desc);
create index notifications_user_id_unread_idx on public.notifications (user_id, created_at desc, id desc)
where not is_read;
create index notifications_actor_id_idx on public.notifications (actor_id) where actor_id is not null;
-- The latest about a thing, and everything about it when it goes.
create index notifications_related_id_idx on public.notifications (related_id, type, user_id, created_at desc)
where related_id is not null;
-- Two that collapse, inserted at the same instant: the second finds the key taken.
create unique index notifications_collapse_idx on public.notifications (
    related_id, type, user_id, date_trunc('hour', created_at at time zone 'UTC')
)
where type in ('like', 'follow', 'connected', 'favorite', 'share', 'group_request', 'group_post_request', 'earnings');
create unique index notifications_unread_message_idx on public.notifications (related_id, user_id)
where type = 'message' and not is_read;

comment on table public.notifications is
'What a member should know of; only they read it. Written by triggers, marked read with mark_notification_read() and '
'mark_all_notifications_read(), removed by the owner or when what it tells of becomes invisible to them.';
comment on column public.notifications.type is
'What happened, a row of private.notification_types. notify() holds it and the kind to their words: two foreign keys '
'would need two more indexes, written again whenever one is read.';
comment on column public.notifications.title is 'Headline; fixed per type.';
comment on column public.notifications.message is 'One sentence; fixed per type.';
comment on column public.notifications.link_url is 'Where it leads: a path in the application.';
comment on column public.notifications.actor_id is
'Who did it; when several collapsed into one the first of them who is still there, see actors_count(). Null when '
'nobody is named.';
comment on column public.notifications.related_type is 'Kind of what it is about: post, product, order.';
comment on column public.notifications.related_id is 'What it is about.';
comment on column public.notifications.is_read is 'Whether the member has seen it.';

-- Runs inside likes and payments: one probe and out when there is nothing to tell, no queue, no NOTIFY, nothing that
-- can fail but the server.
create type private.notice as (
    type text,
    recipient uuid,
    actor uuid,
    related_type text,
    related_id uuid,
    link_url text
);
comment on type private.notice is
'Something to tell somebody: of a type and about a thing of a kind, as in notifications; link_url only where it is not '
'the page that the type or the kind says.';

create function private.notify_many(notices private.notice[]) returns integer
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    told integer;
    mailed uuid[];
begin
    -- The rows the foreign keys need cannot go any more once they are locked. Who is just leaving is not waited for:
    -- their erasure may wait for what this transaction holds. (Renaming locks the same way: that instant loses a
    -- notice.)
    with told_now as (
        insert into public.notifications (user_id, type, title, message, link_url, actor_id, related_type, related_id)
        select
            p.id, t.type, t.title, t.message,
            coalesce(n.link_url, replace(
                replace(coalesce(t.link_template, k.page), '{id}', coalesce(n.related_id::text, '')),
                '{actor_id}', coalesce(n.actor::text, '')
            )),
            case when not t.is_anonymous then n.actor end,
            -- Null for a word that is none, which the table's constraint refuses.
            k.kind, n.related_id
        from unnest(notices) as n
        inner join private.notification_types as t on t.type = n.type
        left join private.kinds as k on k.kind = n.related_type
        inner join public.profiles as p
            on p.id = n.recipient and p.deleted_at is null and (t.reaches_banned or not p.is_banned)
        where
            n.recipient is distinct from n.actor
            and not (t.can_switch_off and exists (
                select from public.profile_settings as s
                where s.user_id = n.recipient and s.notification_preferences #>> array[t.type, 'in_app'] = 'false'
            ))
        for key share of p skip locked
        on conflict do nothing
        returning id, user_id, type
    )

    select
        count(*),
        array_agg(n.id) filter (where n.type in (
            select t.type from private.notification_types as t where t.email = 'immediate'
        ))
    into told, mailed
    from told_now as n;
    if mailed is not null then
        perform private.mail_notification(n.id, n.user_id, n.type)
        from public.notifications as n
        where n.id = any (mailed);
    end if;
    return told;
end
$$;
comment on function private.notify_many(private.notice[]) is
'Tells each recipient, unless they are gone, banned or do not want it; how many were told. As it is: what collapses, '
'or names an actor whom the recipient may not want to hear of, goes through notify().';

create function private.notify(
    recipient uuid,
    type text,
    actor uuid default null,
    related_type text default null,
    related_id uuid default null,
    link_url text default null
) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    known private.notification_types;
    latest record;
    told integer;
begin
    if recipient is null or recipient = actor then
        return;
    end if;
    select * into strict known from private.notification_types as t where t.type = notify.type;

    if known.collapse is not null or known.collapse_unread then
        select n.created_at, n.is_read into latest from public.notifications as n
        where n.related_id = notify.related_id and n.type = notify.type and n.user_id = recipient
        order by n.created_at desc
        limit 1;
        if latest.created_at > now() - known.collapse or known.collapse_unread and not latest.is_read then
            return;
        end if;
    end if;

    if actor is not null and not (
        private.is_visible_to(actor, recipient)
        -- Admins see whom they blocked, but do not want to hear from them.
        and not exists (
            select from public.user_blocks as b
            where b.blocker_id = recipient and b.blocked_id = actor or b.blocker_id = actor and b.blocked_id = recipient
        )
    ) then
        return;
    end if;
    -- As their recipient's row, see notify_many().
    if actor is not null and not known.is_anonymous then
        perform from public.profiles as p where p.id = actor for key share skip locked;
        if not found then
            return;
        end if;
    end if;
    told := private.notify_many(array[row(type, recipient, actor, related_type, related_id, link_url)::private.notice]);
    -- Wherever people are named: each who is told counts.
    if told > 0 and type = 'mention' and actor = auth.uid() then
        perform private.count_activity('mention', 1);
    end if;
end
$$;
comment on function private.notify(uuid, text, uuid, text, uuid, text) is
'Tells the recipient, unless it is their own doing, they cannot see who did it, switched it off, or were told of the '
'same already. The one way notifications come into being.';

-- Several of these at once touch the same rows: in the order of their ids nobody waits in a circle.
create function private.delete_notifications(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if cardinality(ids) > 0 then
        perform from public.notifications as n where n.id = any (ids) order by n.id for update;
        delete from public.notifications as n where n.id = any (ids);
    end if;
end
$$;
comment on function private.delete_notifications(uuid[]) is 'Deletes these notifications.';

-- A collapsed notification speaks of several people who come and go. notice_actors() comes with the events.
create function private.renew_notifications(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    told public.notifications;
    named uuid;
begin
    for told in select n.* from public.notifications as n where n.id = any (ids) order by n.id for update loop
        -- Whoever is just leaving is not waited for, as in notify().
        select p.id into named
        from private.notice_actors(told) as a
        inner join public.profiles as p on p.id = a.user_id
        order by a.user_id is not distinct from told.actor_id desc, a.acted_at, a.user_id
        limit 1
        for key share of p skip locked;
        if named is null then
            delete from public.notifications as n where n.id = told.id;
        elsif told.actor_id is distinct from named and not (
            select t.is_anonymous from private.notification_types as t where t.type = told.type
        ) then
            update public.notifications as n set actor_id = named where n.id = told.id;
        end if;
    end loop;
end
$$;
comment on function private.renew_notifications(uuid[]) is
'After somebody these tell of is gone: the first of those who are still there is named instead; with nobody left the '
'notification goes.';

create function private.forget_notifications(about uuid[], except_user uuid default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.delete_notifications(array(
        select n.id from public.notifications as n
        where
            n.related_id = any (about) and n.user_id is distinct from except_user
            and n.type not in (select t.type from private.notification_types as t where t.outlives_content)
    ));
end
$$;
comment on function private.forget_notifications(uuid[], uuid) is
'Removes what was told of things that are gone or hidden, except to except_user, and except what outlives its content.';

create function private.forget_blocked_notifications() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.renew_notifications(array(
        select n.id
        from (
            select c.blocked_id as actor_id, c.blocker_id as user_id from changed as c
            union all
            select c.blocker_id, c.blocked_id from changed as c
        ) as t
        inner join public.notifications as n
            on n.user_id = t.user_id and (
                n.actor_id = t.actor_id
                or n.type = 'favorite' and n.related_id in (
                    select f.item_id from public.favorites as f where f.user_id = t.actor_id
                )
            )
    ));
    return null;
end
$$;
comment on function private.forget_blocked_notifications() is
'Trigger on user_blocks: the two are no longer told of each other.';
create trigger forget_notifications after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.forget_blocked_notifications();

create function private.forget_actor_notifications(user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    told uuid [];
begin
    if not exists (
        select from public.profiles as p
        where
            p.id = forget_actor_notifications.user_id
            and (p.is_banned or p.deleted_at is not null or p.profile_visibility = 'private')
    ) then
        return 0;
    end if;
    told := array(
        select n.id from public.notifications as n
        where n.actor_id = forget_actor_notifications.user_id
        limit max_rows
    );
    if told <> '{}' then
        -- Of several people the next one is named; what is left after that tells of nobody else.
        perform private.renew_notifications(told);
        perform private.delete_notifications(array(
            select n.id from public.notifications as n
            where n.id = any (told) and n.actor_id = forget_actor_notifications.user_id
        ));
        return cardinality(told);
    end if;
    -- These name nobody: they go when nobody else favors the item.
    told := array(
        select n.id from public.favorites as f
        inner join public.notifications as n on n.related_id = f.item_id and n.type = 'favorite'
        where
            f.user_id = forget_actor_notifications.user_id
            and not exists (select from private.notice_actors(n))
        limit max_rows
    );
    if told = '{}' and exists (
        select from public.profiles as p where p.id = forget_actor_notifications.user_id and p.deleted_at is null
    ) then
        -- Nor of what is theirs and what others said there; what is deleted forgets itself.
        told := array(
            with theirs as materialized (
                select p.id from public.posts as p where p.user_id = forget_actor_notifications.user_id
                union all
                select a.id from public.articles as a where a.author_id = forget_actor_notifications.user_id
                union all
                select i.id from public.catalog_items as i where i.seller_id = forget_actor_notifications.user_id
            ),
            about as (
                select t.id from theirs as t
                union all
                select c.id from public.comments as c where c.user_id = forget_actor_notifications.user_id
                union all
                select c.id from theirs as t inner join public.comments as c on c.post_id = t.id
                union all
                select c.id from theirs as t inner join public.comments as c on c.article_id = t.id
                union all
                select c.id from theirs as t inner join public.comments as c on c.item_id = t.id
            )
            select n.id from about as a
            inner join public.notifications as n on n.related_id = a.id
            where
                n.user_id <> forget_actor_notifications.user_id
                and n.type not in (select t.type from private.notification_types as t where t.outlives_content)
            limit max_rows
        );
    end if;
    perform private.delete_notifications(told);
    return cardinality(told);
end
$$;
comment on function private.forget_actor_notifications(uuid, integer) is
'Step of advance_account(): who is banned, deleted or private is no longer told of, nor is what they own.';

insert into private.standing_steps (step, position, statement) values
('notifications', 90, 'select private.forget_actor_notifications($1, $2)');

create function public.mark_notification_read(ids uuid[]) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    marked integer;
begin
    perform from public.notifications as n
    where n.id = any (ids) and n.user_id = caller and not n.is_read
    order by n.id for no key update;
    update public.notifications as n set is_read = true, read_at = now()
    where n.id = any (ids) and n.user_id = caller and not n.is_read;
    get diagnostics marked = row_count;
    return marked;
end
$$;
comment on function public.mark_notification_read(uuid[]) is
'Marks these of the caller''s notifications read; returns how many were unread. Others are left alone.';
grant execute on function public.mark_notification_read(uuid[]) to authenticated;

create function public.mark_all_notifications_read(up_to timestamptz default now()) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    marked integer;
begin
    update public.notifications as n set is_read = true, read_at = now()
    where n.id = any (array(
        select o.id from public.notifications as o
        where o.user_id = caller and not o.is_read and o.created_at <= coalesce(up_to, now())
        order by o.id for no key update
    ));
    get diagnostics marked = row_count;
    return marked;
end
$$;
comment on function public.mark_all_notifications_read(timestamptz) is
'Marks all of the caller''s notifications read that were made up to then; returns how many were unread. Pass '
'created_at of the newest one shown, so that none is marked unseen.';
grant execute on function public.mark_all_notifications_read(timestamptz) to authenticated;

create type public.unread_counts as (notifications integer, messages integer);
comment on type public.unread_counts is 'The two badges. Named, so that generated types know its columns.';

create function public.unread_counts() returns public.unread_counts
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    counts public.unread_counts;
begin
    select count(*) into counts.notifications from (
        select from public.notifications as n where n.user_id = caller and not n.is_read limit 1000
    ) as unread;
    select coalesce(sum(e.unread_count), 0) into counts.messages
    from public.inbox_entries as e
    where e.user_id = caller and e.unread_count > 0 and e.state = 'accepted';
    return counts;
end
$$;
comment on function public.unread_counts() is
'How many unread notifications (at most 1,000 are counted) and unread messages the caller has, requests left out: the '
'two badges.';
grant execute on function public.unread_counts() to authenticated;

alter table public.notifications enable row level security;
grant select, delete on public.notifications to authenticated;
grant select on public.notifications to service_role;

create policy notifications_select on public.notifications for select to authenticated
using (
    user_id = (select private.member_id())
    -- A block removes them; this is for those written at the same instant.
    and (actor_id is null or actor_id <> all(array(select private.blocked_ids())))
);
create policy notifications_delete on public.notifications for delete to authenticated
using (user_id = (select private.member_id()));

insert into private.notification_types (
    type, title, message, link_template, collapse, collapse_unread, email, can_switch_off, is_anonymous,
    outlives_content, reaches_banned
) values
('like', 'New like', 'Somebody likes what you shared.', null, '1 hour', false, 'digest', true,
false, false, false),
('comment', 'New comment', 'Somebody commented on what you shared.', null, null, false,
'digest', true, false, false, false),
('reply', 'New reply', 'Somebody replied to your comment.', null, null, false, 'digest', true,
false, false, false),
('mention', 'You were mentioned', 'Somebody mentioned you.', null, null, false, 'digest',
true, false, false, false),
('share', 'Shared', 'Somebody shared your post.', null, '1 hour', false, 'digest', true,
false, false, false),
('follow', 'New follower', 'Somebody follows you now.', '/profiles/{actor_id}', '1 day', false, 'digest', true, false,
false, false),
('connected', 'You are connected', 'You and somebody you follow follow each other now.', '/profiles/{actor_id}',
'1 day', false, 'digest', true, false, false, false),
-- Favorites are private to who keeps them.
('favorite', 'New favorite', 'Somebody added something of yours to their favorites.', null,
'1 hour', false, 'digest', true, true, false, false),
('message', 'New message', 'You have a new message.', null, null, true, 'digest', true, false,
false, false),
('group_request', 'Request to join', 'Somebody asks to join your group.', '/groups/{id}/requests', '1 hour',
false, 'digest', true, false, false, false),
('group_approved', 'Welcome to the group', 'Your request to join a group was approved.', null, null,
false, 'digest', true, false, false, false),
('group_invitation', 'Invitation to a group', 'You are invited to join a group.', null, null, false,
'digest', true, false, false, false),
('group_role', 'New role in a group', 'Your role in a group was changed.', null, null, false,
'digest', true, false, false, false),
('group_ownership', 'You own a group', 'A group was handed over to you.', null, null, false, 'digest',
true, false, false, false),
('group_banned', 'Banned from a group', 'You can no longer take part in a group.', null, null, false,
'none', false, false, true, false),
('group_post_request', 'Post to approve', 'A post in your group waits for approval.', null,
'1 hour', false, 'digest', true, false, false, false),
('group_post_approved', 'Post approved', 'Your post in a group was approved.', null, null,
false, 'digest', true, false, false, false),
('group_post_rejected', 'Post not approved', 'Your post in a group was not approved.', null,
null, false, 'digest', false, false, true, false),
('order', 'Order confirmed', 'Your order is complete. Thank you!', null, null, false, 'digest', false,
false, true, false),
('purchase', 'You made a sale', 'Somebody bought from you.', null, null, false, 'digest',
false, false, true, false),
('refund', 'Refund', 'Something was refunded.', null, null, false, 'immediate', false,
false, true, false),
('refund_request', 'Refund asked for', 'A buyer asks for a refund; please answer in time.',
null,
null, false, 'immediate', false, false, true, false),
('refund_request_answered', 'Answer to your refund request', 'Your request for a refund was answered or has expired.',
null, null, false, 'immediate', false, false, true, false),
('earnings', 'Earnings available', 'Earnings were released to your balance.', '/wallet', '1 day', false, 'digest',
false, false, true, false),
('payout_requested', 'Payout requested', 'Your payout was requested.', null, null, false,
'immediate', false, false, true, false),
('payout', 'Payout sent', 'Your payout is on its way to you.', null, null, false, 'immediate', false,
false, true, false),
('payout_failed', 'Payout failed', 'A payout could not be sent; the amount is back in your balance.',
null, null, false, 'immediate', false, false, true, false),
('payout_account', 'Payout account changed', 'The state of your payout account changed.', '/wallet', null, false,
'immediate', false, false, true, false),
('review', 'New review', 'Somebody reviewed something of yours.', null, null, false, 'digest',
true, false, false, false),
('commission', 'Commission', 'There is news about a commission.', null, null, false, 'digest',
true, false, false, false),
('consultation', 'Consultation', 'There is news about a consultation.', null, null, false,
'digest', true, false, false, false),
('livestream', 'Livestream', 'Somebody you follow is live.', null, null, false, 'none', true,
false, false, false),
('bid', 'Bid', 'There is news about an auction you take part in.', null, null, false,
'digest', true, false, false, false),
('tip', 'Tip', 'Somebody tipped you.', null, null, false, 'digest', false, false, true, false),
('shipped', 'On its way', 'Something you bought was sent to you.', null, null, false, 'immediate', false, false, true,
false), ('field_approved', 'Added to the list', 'An entry you asked for was added.', '/settings/profile', null, false,
'digest', true, false, true, false),
('field_rejected', 'Not added to the list', 'An entry you asked for was not added.', '/settings/profile', null, false,
'digest', true, false, true, false),
('content_hidden', 'Your content was hidden', 'A moderator hid something you published.',
null, null, false, 'immediate', false, false, true, false),
('content_restored', 'Your content is visible again', 'Something of yours that was hidden is visible again.',
null, null, false, 'immediate', false, false, true, false),
('report_resolved', 'Your report was decided', 'A moderator decided on your report.', null, null,
false, 'digest', false, false, true, false),
('report_warning', 'A report of yours was unfounded', 'Repeated unfounded reports suspend the right to report.',
'/settings/reports', null, false, 'immediate', false, false, true, false),
('report_ban', 'You cannot report for now', 'After repeated unfounded reports you cannot report content.',
'/settings/reports', null, false, 'immediate', false, false, true, false),
('report_ban_lifted', 'You can report again', 'You can report content again.', '/settings/reports', null, false,
'immediate', false, false, true, false),
('role_changed', 'Your role changed', 'Your rights on the platform were changed.', '/settings', null, false,
'immediate', false, false, true, false),
('account_banned', 'Your account is banned', 'Your account was banned. You can appeal to the support.',
'/account/banned', null, false, 'immediate', false, false, true, true),
('account_restored', 'Welcome back', 'Your account is no longer banned.', '/', null, false, 'immediate', false, false,
true, false),
('system', 'Announcement', 'There is news from the platform.', '/', null, false, 'none', true, false, true, false);

insert into private.personal_data (section, relation, condition) values
('notifications', 'public.notifications', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('notifications', 'notices', '{public.notifications}', $step$
    select private.delete_notifications(array(
        select n.id from public.notifications as n where n.user_id = $1 or n.actor_id = $1
    ))
$step$, 'select private.erase_rows(''public.notifications'', ''t.user_id = $1 or t.actor_id = $1'', $1, $2)');
