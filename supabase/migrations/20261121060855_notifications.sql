-- Notifications.
-- What concerns one person, in the application and by e-mail.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/65_social/70_notifications.sql ----------------------------------------------------------------------------------
-- What concerns one person: a row for them alone, written by triggers on what happened (75_notification_events).
-- Title and message are fixed texts of the type; who did it and about what are references. So nothing here outlives a
-- block, a ban or a hidden post, and an application shows names as it embeds them: actor:profiles!actor_id(username,
-- …).

create type public.notification_type as enum (
    'like', 'comment', 'reply', 'mention', 'share', 'follow', 'connected', 'favorite', 'message',
    'group_request', 'group_approved', 'group_invitation', 'group_role', 'group_ownership', 'group_banned',
    'group_post_request', 'group_post_approved', 'group_post_rejected',
    'order', 'purchase', 'refund', 'earnings', 'payout_requested', 'payout', 'payout_failed', 'payout_account',
    'review', 'commission', 'consultation', 'livestream', 'bid', 'tip',
    'field_approved', 'field_rejected',
    'content_hidden', 'content_restored', 'report_resolved', 'report_warning', 'report_ban', 'report_ban_lifted',
    'role_changed', 'account_banned', 'account_restored',
    'system'
);
comment on type public.notification_type is
'What happened, and what it is called in profile_settings.notification_preferences. order speaks to the buyer, '
'purchase to the seller.';

create type private.notification_email as enum ('none', 'digest', 'immediate');
comment on type private.notification_email is
'Whether a type is mailed: never, at most daily together with others, or each time at once.';

create table private.notification_types (
    type public.notification_type not null,
    title text not null,
    message text not null,
    link_template text not null default '/{related_type}/{related_id}',
    collapse interval,
    collapse_unread boolean not null default false,
    email private.notification_email not null default 'none',
    can_switch_off boolean not null default true,
    is_anonymous boolean not null default false,
    outlives_content boolean not null default false,
    reaches_banned boolean not null default false,
    constraint notification_types_pkey primary key (type),
    -- The unique key that decides races has windows of an hour: a shorter interval would fall into them.
    constraint notification_types_collapse_check check (collapse >= interval '1 hour')
);

comment on table private.notification_types is 'What each type of notification says and how it travels; page data.';
comment on column private.notification_types.type is 'The type.';
comment on column private.notification_types.title is 'Headline. No names, no content.';
comment on column private.notification_types.message is 'One sentence. No names, no content.';
comment on column private.notification_types.link_template is
'Path in the application; {related_type}, {related_id} and {actor_id} are replaced.';
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
    type public.notification_type not null,
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
comment on column public.notifications.user_id is 'Whom it is for.';
comment on column public.notifications.type is 'What happened.';
comment on column public.notifications.title is 'Headline; fixed per type.';
comment on column public.notifications.message is 'One sentence; fixed per type.';
comment on column public.notifications.link_url is 'Where it leads: a path in the application.';
comment on column public.notifications.actor_id is
'Who did it; the first of them when several collapsed into one, see actors_count(). Null when nobody is named.';
comment on column public.notifications.related_type is 'Relation in public that related_id is a row of.';
comment on column public.notifications.related_id is 'What it is about.';
comment on column public.notifications.is_read is 'Whether the member has seen it.';
comment on column public.notifications.read_at is 'When it was marked read.';

-- Runs inside likes and payments: one probe and out when there is nothing to tell, no queue, no NOTIFY, nothing that
-- can fail but the server.
create function private.notify(
    recipient uuid,
    type public.notification_type,
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
    preferences jsonb;
    notification uuid;
begin
    if recipient is null or recipient = actor then
        return;
    end if;
    select * into known from private.notification_types as t where t.type = notify.type;

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
    if known.can_switch_off then
        select s.notification_preferences into preferences
        from public.profile_settings as s
        where s.user_id = recipient;
        if preferences #>> array[type::text, 'in_app'] = 'false' then
            return;
        end if;
    end if;
    -- The rows the foreign keys need cannot go any more once they are locked. Who is just leaving is not waited for:
    -- their erasure may wait for what this transaction holds. (Renaming locks the same way: that instant loses a
    -- notice.)
    if actor is not null and not known.is_anonymous then
        perform from public.profiles as p where p.id = actor for key share skip locked;
        if not found then
            return;
        end if;
    end if;
    insert into public.notifications (user_id, type, title, message, link_url, actor_id, related_type, related_id)
    select
        p.id, known.type, known.title, known.message,
        coalesce(notify.link_url, replace(replace(replace(
            known.link_template,
            '{related_type}', coalesce(notify.related_type, '')),
            '{related_id}', coalesce(notify.related_id::text, '')),
            '{actor_id}', coalesce(actor::text, '')
        )),
        case when not known.is_anonymous then actor end, notify.related_type, notify.related_id
    from public.profiles as p
    where p.id = recipient and p.deleted_at is null and (known.reaches_banned or not p.is_banned)
    for key share skip locked
    on conflict do nothing
    returning id into notification;
    if known.email = 'immediate' and notification is not null then
        perform private.mail_notification(notification, recipient, type);
    end if;
end
$$;
comment on function private.notify(uuid, public.notification_type, uuid, text, uuid, text) is
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
    perform private.delete_notifications(array(
        select n.id from public.notifications as n
        inner join changed as c on n.actor_id = c.blocked_id and n.user_id = c.blocker_id
        union all
        select n.id from public.notifications as n
        inner join changed as c on n.actor_id = c.blocker_id and n.user_id = c.blocked_id
    ));
    return null;
end
$$;
comment on function private.forget_blocked_notifications() is
'Trigger on user_blocks: what the two were told of each other goes.';
create trigger forget_notifications after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.forget_blocked_notifications();

create function private.forget_actor_notifications() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.delete_notifications(array(
        select n.id from public.notifications as n where n.actor_id = new.id
    ));
    if new.deleted_at is null then
        -- Nor of what is theirs and what others said there; what is deleted forgets itself.
        perform private.forget_notifications(array(
            with theirs as materialized (
                select p.id from public.posts as p where p.user_id = new.id
                union all
                select a.id from public.articles as a where a.author_id = new.id
                union all
                select i.id from public.catalog_items as i where i.seller_id = new.id
            )
            select t.id from theirs as t
            union all
            select c.id from public.comments as c where c.user_id = new.id
            union all
            select c.id from theirs as t inner join public.comments as c on c.post_id = t.id
            union all
            select c.id from theirs as t inner join public.comments as c on c.article_id = t.id
            union all
            select c.id from theirs as t inner join public.comments as c on c.item_id = t.id
        ), new.id);
    end if;
    return null;
end
$$;
comment on function private.forget_actor_notifications() is
'Trigger on profiles: who is banned, deleted or private is no longer told of, nor is what they own.';
create trigger forget_notifications after update of is_banned, deleted_at, profile_visibility on public.profiles
for each row
when (
    (new.is_banned, new.deleted_at is null, new.profile_visibility)
    is distinct from (old.is_banned, old.deleted_at is null, old.profile_visibility)
    and (new.is_banned or new.deleted_at is not null or new.profile_visibility = 'private')
)
execute function private.forget_actor_notifications();

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

create function public.unread_counts(out notifications integer, out messages integer)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    select count(*) into notifications from (
        select from public.notifications as n where n.user_id = caller and not n.is_read limit 1000
    ) as unread;
    select coalesce(sum(e.unread_count), 0) into messages
    from public.inbox_entries as e
    where e.user_id = caller and e.unread_count > 0;
end
$$;
comment on function public.unread_counts() is
'How many unread notifications (at most 1,000 are counted) and unread messages the caller has: the two badges.';
grant execute on function public.unread_counts() to authenticated;

alter table public.notifications enable row level security;
revoke all on public.notifications from anon, authenticated, service_role;
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
('like', 'New like', 'Somebody likes what you shared.', '/{related_type}/{related_id}', '1 hour', false, 'digest', true,
false, false, false),
('comment', 'New comment', 'Somebody commented on what you shared.', '/{related_type}/{related_id}', null, false,
'digest', true, false, false, false),
('reply', 'New reply', 'Somebody replied to your comment.', '/{related_type}/{related_id}', null, false, 'digest', true,
false, false, false),
('mention', 'You were mentioned', 'Somebody mentioned you.', '/{related_type}/{related_id}', null, false, 'digest',
true, false, false, false),
('share', 'Shared', 'Somebody shared your post.', '/{related_type}/{related_id}', '1 hour', false, 'digest', true,
false, false, false),
('follow', 'New follower', 'Somebody follows you now.', '/profiles/{actor_id}', '1 day', false, 'digest', true, false,
false, false),
('connected', 'You are connected', 'You and somebody you follow follow each other now.', '/profiles/{actor_id}',
'1 day', false, 'digest', true, false, false, false),
-- Favorites are private to who keeps them.
('favorite', 'New favorite', 'Somebody added something of yours to their favorites.', '/{related_type}/{related_id}',
'1 hour', false, 'digest', true, true, false, false),
('message', 'New message', 'You have a new message.', '/{related_type}/{related_id}', null, true, 'digest', true, false,
false, false),
('group_request', 'Request to join', 'Somebody asks to join your group.', '/groups/{related_id}/requests', '1 hour',
false, 'digest', true, false, false, false),
('group_approved', 'Welcome to the group', 'Your request to join a group was approved.', '/groups/{related_id}', null,
false, 'digest', true, false, false, false),
('group_invitation', 'Invitation to a group', 'You are invited to join a group.', '/groups/{related_id}', null, false,
'digest', true, false, false, false),
('group_role', 'New role in a group', 'Your role in a group was changed.', '/groups/{related_id}', null, false,
'digest', true, false, false, false),
('group_ownership', 'You own a group', 'A group was handed over to you.', '/groups/{related_id}', null, false, 'digest',
true, false, false, false),
('group_banned', 'Banned from a group', 'You can no longer take part in a group.', '/groups/{related_id}', null, false,
'none', false, false, true, false),
('group_post_request', 'Post to approve', 'A post in your group waits for approval.', '/{related_type}/{related_id}',
'1 hour', false, 'digest', true, false, false, false),
('group_post_approved', 'Post approved', 'Your post in a group was approved.', '/{related_type}/{related_id}', null,
false, 'digest', true, false, false, false),
('group_post_rejected', 'Post not approved', 'Your post in a group was not approved.', '/{related_type}/{related_id}',
null, false, 'digest', false, false, true, false),
('order', 'Order confirmed', 'Your order is complete. Thank you!', '/orders/{related_id}', null, false, 'digest', false,
false, true, false),
('purchase', 'You made a sale', 'Somebody bought from you.', '/{related_type}/{related_id}', null, false, 'digest',
false, false, true, false),
('refund', 'Refund', 'Something was refunded.', '/{related_type}/{related_id}', null, false, 'immediate', false,
false, true, false),
('earnings', 'Earnings available', 'Earnings were released to your balance.', '/wallet', '1 day', false, 'digest',
false, false, true, false),
('payout_requested', 'Payout requested', 'Your payout was requested.', '/payouts/{related_id}', null, false,
'immediate', false, false, true, false),
('payout', 'Payout sent', 'Your payout is on its way to you.', '/payouts/{related_id}', null, false, 'immediate', false,
false, true, false),
('payout_failed', 'Payout failed', 'A payout could not be sent; the amount is back in your balance.',
'/payouts/{related_id}', null, false, 'immediate', false, false, true, false),
('payout_account', 'Payout account changed', 'The state of your payout account changed.', '/wallet', null, false,
'immediate', false, false, true, false),
('review', 'New review', 'Somebody reviewed something of yours.', '/{related_type}/{related_id}', null, false, 'digest',
true, false, false, false),
('commission', 'Commission', 'There is news about a commission.', '/{related_type}/{related_id}', null, false, 'digest',
true, false, false, false),
('consultation', 'Consultation', 'There is news about a consultation.', '/{related_type}/{related_id}', null, false,
'digest', true, false, false, false),
('livestream', 'Livestream', 'Somebody you follow is live.', '/{related_type}/{related_id}', null, false, 'none', true,
false, false, false),
('bid', 'Bid', 'There is news about an auction you take part in.', '/{related_type}/{related_id}', null, false,
'digest', true, false, false, false),
('tip', 'Tip', 'Somebody tipped you.', '/{related_type}/{related_id}', null, false, 'digest', false, false, true,
false), ('field_approved', 'Added to the list', 'An entry you asked for was added.', '/settings/profile', null, false,
'digest', true, false, true, false),
('field_rejected', 'Not added to the list', 'An entry you asked for was not added.', '/settings/profile', null, false,
'digest', true, false, true, false),
('content_hidden', 'Your content was hidden', 'A moderator hid something you published.',
'/{related_type}/{related_id}', null, false, 'immediate', false, false, true, false),
('content_restored', 'Your content is visible again', 'Something of yours that was hidden is visible again.',
'/{related_type}/{related_id}', null, false, 'immediate', false, false, true, false),
('report_resolved', 'Your report was decided', 'A moderator decided on your report.', '/reports/{related_id}', null,
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
('system', 'Announcement', 'There is news from the platform.', '/', null, false, 'none', true, false, true, false)
on conflict (type) do update set
title = excluded.title, message = excluded.message, link_template = excluded.link_template,
collapse = excluded.collapse, collapse_unread = excluded.collapse_unread, email = excluded.email,
can_switch_off = excluded.can_switch_off, is_anonymous = excluded.is_anonymous,
outlives_content = excluded.outlives_content, reaches_banned = excluded.reaches_banned;

insert into private.personal_data (section, relation, condition) values
('notifications', 'public.notifications', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('notifications', 5, 'select private.delete_notifications(array('
'select n.id from public.notifications as n where n.user_id = $1 or n.actor_id = $1))')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

-- sql/65_social/75_notification_events.sql ----------------------------------------------------------------------------
-- What is told to whom: one trigger for each thing that happens, on the table where it happens. Set-based, and fast
-- when there is nothing to tell: likes, comments and payments wait for these.
-- Related rows are named by their relation in public, as in audit_log.

-- Likes. A like of what was already liked within the hour ends with the first query.
create function private.tell_post_likes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(t.user_id, 'like', t.actor_id, 'posts', t.id)
    from (
        select p.user_id, c.user_id as actor_id, p.id
        from changed as c
        inner join public.posts as p on p.id = c.post_id and p.user_id <> c.user_id
        where not exists (
            select from public.notifications as n
            where
                n.related_id = p.id and n.type = 'like' and n.user_id = p.user_id
                and n.created_at > now() - interval '1 hour'
        )
        order by p.id, c.user_id
    ) as t;
    return null;
end
$$;
comment on function private.tell_post_likes() is 'Trigger on post_likes: tells the author.';
create trigger tell after insert on public.post_likes referencing new table as changed
for each statement execute function private.tell_post_likes();

create function private.tell_article_likes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(t.author_id, 'like', t.actor_id, 'articles', t.id)
    from (
        select a.author_id, c.user_id as actor_id, a.id
        from changed as c
        inner join public.articles as a on a.id = c.article_id
        order by a.id, c.user_id
    ) as t;
    return null;
end
$$;
comment on function private.tell_article_likes() is 'Trigger on article_likes: tells the author.';
create trigger tell after insert on public.article_likes referencing new table as changed
for each statement execute function private.tell_article_likes();

create function private.comment_link(comment public.comments) returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when comment.post_id is not null then '/posts/' || comment.post_id
        when comment.article_id is not null then '/articles/' || comment.article_id
        else '/catalog_items/' || comment.item_id
    end || '#comment-' || comment.id
$$;
comment on function private.comment_link(public.comments) is 'Where a comment is shown: below what it is about.';

create function private.tell_comment_likes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(t.user_id, 'like', t.actor_id, 'comments', t.id, t.link_url)
    from (
        select c.user_id, l.user_id as actor_id, c.id, private.comment_link(c) as link_url
        from changed as l
        inner join public.comments as c on c.id = l.comment_id and c.user_id <> l.user_id
        order by c.id, l.user_id
    ) as t;
    return null;
end
$$;
comment on function private.tell_comment_likes() is 'Trigger on comment_likes: tells the author.';
create trigger tell after insert on public.comment_likes referencing new table as changed
for each statement execute function private.tell_comment_likes();

create function private.tell_post_shares() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(t.user_id, 'share', t.actor_id, 'posts', t.id)
    from (
        select p.user_id, c.user_id as actor_id, p.id
        from changed as c
        inner join public.posts as p on p.id = c.post_id
        order by p.id, c.user_id
    ) as t;
    return null;
end
$$;
comment on function private.tell_post_shares() is 'Trigger on post_shares: tells the author.';
create trigger tell after insert on public.post_shares referencing new table as changed
for each statement execute function private.tell_post_shares();

create function private.tell_favorites() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(t.seller_id, 'favorite', t.actor_id, 'catalog_items', t.id)
    from (
        select i.seller_id, c.user_id as actor_id, i.id
        from changed as c
        inner join public.catalog_items as i on i.id = c.item_id
        order by i.id, c.user_id
    ) as t;
    return null;
end
$$;
comment on function private.tell_favorites() is 'Trigger on favorites: tells the seller, not who it was.';
create trigger tell after insert on public.favorites referencing new table as changed
for each statement execute function private.tell_favorites();

create function private.tell_follows() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Two who follow each other at the same instant take turns: the second sees the first.
    perform private.lock_gates('connection', '{}', array(
        select md5(least(c.follower_id, c.following_id)::text || greatest(c.follower_id, c.following_id)::text)::uuid
        from changed as c
    ));
    perform private.notify(
        t.following_id,
        case when t.is_mutual then 'connected' else 'follow' end::public.notification_type,
        t.follower_id, 'profiles', t.follower_id
    )
    from (
        select
            c.following_id, c.follower_id,
            exists (
                select from public.follows as f
                where f.follower_id = c.following_id and f.following_id = c.follower_id
            ) as is_mutual
        from changed as c
        order by c.follower_id, c.following_id
    ) as t;
    return null;
end
$$;
comment on function private.tell_follows() is
'Trigger on follows: tells who is followed; connected when they follow back.';
create trigger tell after insert on public.follows referencing new table as changed
for each statement execute function private.tell_follows();

-- Texts that name people.

create function private.mentioned(content text) returns setof uuid
language sql
stable
security definer
set search_path = ''
as $$
    select p.id
    from (
        select lower(m.match[1]) as username, min(m.place) as place
        from regexp_matches(
            coalesce(mentioned.content, ''),
            '(?:^|[^[:alnum:]_@./-])@([A-Za-z0-9_][A-Za-z0-9_.-]{1,28}[A-Za-z0-9_])',
            'g'
        ) with ordinality as m (match, place)
        group by 1
        order by 2
        limit 20
    ) as named
    inner join public.profiles as p on p.username operator(extensions.=) named.username::extensions.citext
$$;
comment on function private.mentioned(text) is
'Whom a text mentions as @username: the first twenty names in it, those that exist. Not in addresses and e-mails.';

create function private.may_read_post(post public.posts, reader uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return case post.audience
        when 'owner' then post.user_id = reader
        when 'group' then exists (
            select from public.group_members as m
            where m.group_id = post.group_id and m.user_id = reader and m.status = 'active'
        )
        else true
    end;
end
$$;
comment on function private.may_read_post(public.posts, uuid) is
'Whether a post''s audience includes this member. Blocks are looked at by notify().';

create function private.tell_post() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.audience <> 'owner' and position('@' in new.content) > 0 then
        perform private.notify(m.id, 'mention', new.user_id, 'posts', new.id)
        from private.mentioned(new.content) as m (id)
        where private.may_read_post(new, m.id);
    end if;
    if new.group_id is not null and not new.is_approved and not new.is_hidden then
        perform private.notify(m.user_id, 'group_post_request', new.user_id, 'posts', new.id)
        from public.group_members as m
        where m.group_id = new.group_id and m.status = 'active' and m.role >= 'moderator';
    end if;
    -- Whoever decides about their own post knows.
    if tg_op = 'UPDATE' and new.user_id is distinct from auth.uid() and not old.is_approved then
        if new.is_approved then
            perform private.notify(new.user_id, 'group_post_approved', null, 'posts', new.id);
        elsif new.is_hidden and not old.is_hidden then
            perform private.notify(new.user_id, 'group_post_rejected', null, 'posts', new.id);
        end if;
    end if;
    return null;
end
$$;
comment on function private.tell_post() is
'Trigger on posts, when it is made or decided upon: tells who is mentioned once they can read it, moderators of what '
'waits for them, the author of their decision.';
create trigger tell after insert on public.posts
for each row when (new.content like '%@%' or new.group_id is not null)
execute function private.tell_post();
create trigger tell_decided after update of is_approved, is_hidden on public.posts
for each row when (
    new.is_approved is distinct from old.is_approved
    or not new.is_approved and new.is_hidden and not old.is_hidden
)
execute function private.tell_post();

create function private.tell_comment() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    post public.posts;
    owner_id uuid;
    parent_id uuid;
    link_url text := private.comment_link(new);
begin
    if new.post_id is not null then
        select * into post from public.posts as p where p.id = new.post_id;
        owner_id := post.user_id;
    elsif new.article_id is not null then
        select a.author_id into owner_id from public.articles as a where a.id = new.article_id;
    else
        select i.seller_id into owner_id from public.catalog_items as i where i.id = new.item_id;
    end if;
    select c.user_id into parent_id from public.comments as c where c.id = new.parent_comment_id;

    -- One notice each, the most personal one: a reply, else a comment, else a mention.
    if post.id is null or private.may_read_post(post, parent_id) then
        perform private.notify(parent_id, 'reply', new.user_id, 'comments', new.id, link_url);
    end if;
    if owner_id is distinct from parent_id and (post.group_id is null or private.may_read_post(post, owner_id)) then
        perform private.notify(owner_id, 'comment', new.user_id, 'comments', new.id, link_url);
    end if;
    if position('@' in new.content) > 0 then
        perform private.notify(m.id, 'mention', new.user_id, 'comments', new.id, link_url)
        from private.mentioned(new.content) as m (id)
        where
            m.id is distinct from parent_id and m.id is distinct from owner_id
            and (post.id is null or private.may_read_post(post, m.id))
            -- What is hidden from everybody, and whose owner is invisible to them, is not for them either.
            and private.is_visible_to(owner_id, m.id)
            and not exists (select from public.articles as a where a.id = new.article_id and a.audience = 'owner')
            and not exists (select from public.catalog_items as i where i.id = new.item_id and not i.is_visible);
    end if;
    return null;
end
$$;
comment on function private.tell_comment() is
'Trigger on comments: tells whose comment is replied to, whose post, article or item it is about, and who is mentioned '
'and can read it.';
create trigger tell after insert on public.comments
for each row when (new.audience <> 'owner')
execute function private.tell_comment();

create function private.forget_comment() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.forget_notifications(array[new.id], new.user_id);
    return null;
end
$$;
comment on function private.forget_comment() is 'Trigger on comments: what becomes hidden is no longer told of.';
create trigger forget_hidden after update of is_hidden on public.comments
for each row when (new.is_hidden and not old.is_hidden)
execute function private.forget_comment();

create function private.forget_post() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- The author still sees what is hidden, and who liked it before.
    perform private.forget_notifications(
        array(select c.id from public.comments as c where c.post_id = new.id) || new.id, new.user_id
    );
    return null;
end
$$;
comment on function private.forget_post() is 'Trigger on posts: what becomes hidden is no longer told of.';
create trigger forget_hidden after update of is_hidden on public.posts
for each row when (new.is_hidden and not old.is_hidden)
execute function private.forget_post();

create function private.forget_deleted() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.forget_notifications(array(select g.id from gone as g));
    return null;
end
$$;
comment on function private.forget_deleted() is 'Trigger: what is deleted is no longer told of.';
create trigger forget_deleted after delete on public.posts referencing old table as gone
for each statement execute function private.forget_deleted();
create trigger forget_deleted after delete on public.comments referencing old table as gone
for each statement execute function private.forget_deleted();
create trigger forget_deleted after delete on public.articles referencing old table as gone
for each statement execute function private.forget_deleted();
create trigger forget_deleted after delete on public.catalog_items referencing old table as gone
for each statement execute function private.forget_deleted();
create trigger forget_deleted after delete on public.groups referencing old table as gone
for each statement execute function private.forget_deleted();
create trigger forget_deleted after delete on public.conversations referencing old table as gone
for each statement execute function private.forget_deleted();

-- Groups.

create function private.tell_membership() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.status = 'pending' then
        perform private.notify(m.user_id, 'group_request', new.user_id, 'groups', new.group_id)
        from public.group_members as m
        where m.group_id = new.group_id and m.status = 'active' and m.role >= 'moderator';
    elsif tg_op = 'UPDATE' and new.user_id is distinct from auth.uid() then
        if new.status = 'banned' then
            perform private.notify(new.user_id, 'group_banned', null, 'groups', new.group_id);
        elsif old.status = 'pending' then
            perform private.notify(new.user_id, 'group_approved', null, 'groups', new.group_id);
        elsif new.role = 'owner' then
            perform private.notify(new.user_id, 'group_ownership', null, 'groups', new.group_id);
        elsif old.status = 'active' then
            perform private.notify(new.user_id, 'group_role', null, 'groups', new.group_id);
        end if;
    end if;
    return null;
end
$$;
comment on function private.tell_membership() is
'Trigger on group_members: requests go to the moderators, decisions to the member. Who decided is not named.';
create trigger tell after insert on public.group_members
for each row when (new.status = 'pending')
execute function private.tell_membership();
create trigger tell_changed after update of status, role on public.group_members
for each row when ((new.status, new.role) is distinct from (old.status, old.role))
execute function private.tell_membership();

create function private.tell_invitation() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(new.user_id, 'group_invitation', new.invited_by, 'groups', new.group_id);
    return null;
end
$$;
comment on function private.tell_invitation() is 'Trigger on group_invitations: tells who is invited.';
create trigger tell after insert on public.group_invitations
for each row execute function private.tell_invitation();

create function private.forget_invitation() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.delete_notifications(array(
        select n.id from public.notifications as n
        where n.related_id = old.group_id and n.type = 'group_invitation' and n.user_id = old.user_id
    ));
    return null;
end
$$;
comment on function private.forget_invitation() is 'Trigger on group_invitations: accepted or withdrawn ones are over.';
create trigger forget after delete on public.group_invitations
for each row execute function private.forget_invitation();

-- Messages: one unread notification for each conversation, whoever writes. Across a block nothing is told; somebody
-- whom the recipient cannot see otherwise stays unnamed.

create function private.tell_message() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(
        e.user_id, 'message',
        case when private.is_visible_to(new.sender_id, e.user_id) then new.sender_id end,
        'conversations', new.conversation_id
    )
    from public.inbox_entries as e
    where
        e.conversation_id = new.conversation_id and e.user_id <> new.sender_id and e.first_number <= new.number
        and not exists (
            select from public.notifications as n
            where n.related_id = e.conversation_id and n.user_id = e.user_id and n.type = 'message' and not n.is_read
        )
        and not exists (
            select from public.user_blocks as b
            where
                b.blocker_id = e.user_id and b.blocked_id = new.sender_id
                or b.blocker_id = new.sender_id and b.blocked_id = e.user_id
        );
    return null;
end
$$;
comment on function private.tell_message() is 'Trigger on messages: tells the others in the conversation.';
create trigger tell after insert on public.messages
for each row execute function private.tell_message();

create function private.message_read() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.notifications as n set is_read = true, read_at = now()
    where n.related_id = new.conversation_id and n.user_id = new.user_id and n.type = 'message' and not n.is_read;
    return null;
end
$$;
comment on function private.message_read() is
'Trigger on inbox_entries: who has read the conversation needs no notification of it.';
create trigger message_read after update of unread_count on public.inbox_entries
for each row when (new.unread_count = 0 and old.unread_count > 0)
execute function private.message_read();

create function private.forget_conversation() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.delete_notifications(array(
        select n.id from public.notifications as n
        where n.related_id = old.conversation_id and n.user_id = old.user_id and n.type = 'message'
    ));
    return null;
end
$$;
comment on function private.forget_conversation() is 'Trigger on inbox_entries: who left is told nothing of it.';
create trigger forget after delete on public.inbox_entries
for each row execute function private.forget_conversation();

-- Requests for skills, genres and categories.

create function private.tell_field_decision() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(
        r.user_id,
        case when new.status = 'rejected' then 'field_rejected' else 'field_approved' end::public.notification_type,
        null, 'custom_field_requests', new.id
    )
    from public.custom_field_requesters as r
    where r.request_id = new.id;
    return null;
end
$$;
comment on function private.tell_field_decision() is 'Trigger on custom_field_requests: tells everybody who asked.';
create trigger tell after update of status on public.custom_field_requests
for each row when (old.status = 'pending' and new.status <> 'pending')
execute function private.tell_field_decision();

-- Money. Nobody is named: whoever sold or bought sees it in their own books. Row triggers with a condition, because
-- most changes of these rows tell nothing, and settling is what buyers wait for.

create function private.tell_order() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(new.user_id, 'order', null, 'orders', new.id);
    -- Sellers read their lines, not the order.
    perform private.notify(s.seller_id, 'purchase', null, 'order_items', s.id)
    from (
        select distinct on (i.seller_id) i.seller_id, i.id
        from public.order_items as i
        where i.order_id = new.id
        order by i.seller_id, i.line_no
    ) as s;
    return null;
end
$$;
comment on function private.tell_order() is 'Trigger on orders: a completed one is told to the buyer and each seller.';
create trigger tell after update of status on public.orders
for each row when (new.status = 'completed' and old.status in ('pending', 'processing', 'cancelled'))
execute function private.tell_order();

create function private.tell_refund() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(p.user_id, 'refund', null, 'orders', p.order_id)
    from public.payments as p
    where p.id = new.payment_id;
    perform private.notify(s.seller_id, 'refund', null, 'order_items', s.order_item_id)
    from (
        select distinct on (t.seller_id) t.seller_id, t.order_item_id
        from public.refund_lines as l
        inner join public.transactions as t on t.id = l.transaction_id
        where l.refund_id = new.id and t.seller_id is distinct from new.requested_by
        order by t.seller_id, t.order_item_id
    ) as s;
    return null;
end
$$;
comment on function private.tell_refund() is
'Trigger on refunds: a booked one is told to the buyer and to each seller whose money it took, unless they asked for '
'it.';
create trigger tell after update of booked_at on public.refunds
for each row when (old.booked_at is null and new.booked_at is not null)
execute function private.tell_refund();

create function private.tell_earnings() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(new.seller_id, 'earnings', null, 'wallets', new.seller_id);
    return null;
end
$$;
comment on function private.tell_earnings() is 'Trigger on transactions: released earnings, once a day and seller.';
create trigger tell after update of release_journal_id on public.transactions
for each row when (old.release_journal_id is null and new.release_journal_id is not null and old.pending_cents > 0)
execute function private.tell_earnings();

create function private.tell_payout() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(
        new.user_id,
        case new.status
            when 'requested' then 'payout_requested' when 'completed' then 'payout' else 'payout_failed'
        end::public.notification_type,
        null, 'payouts', new.id
    );
    return null;
end
$$;
comment on function private.tell_payout() is 'Trigger on payouts: requested, sent, or not sent and the money is back.';
create trigger tell after insert on public.payouts
for each row execute function private.tell_payout();
create trigger tell_ended after update of status on public.payouts
for each row when (
    new.status <> old.status and new.status in ('completed', 'failed', 'cancelled', 'returned')
    and new.failure_reason is distinct from 'by_seller'
)
execute function private.tell_payout();

create function private.tell_payout_account() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(new.user_id, 'payout_account', null, 'wallets', new.user_id);
    return null;
end
$$;
comment on function private.tell_payout_account() is
'Trigger on wallets: another payout account, or its state: whoever did not do this must hear of it.';
create trigger tell after update of stripe_account_id, stripe_account_status on public.wallets
for each row when (
    old.stripe_account_id is distinct from new.stripe_account_id
    or old.stripe_account_status is distinct from new.stripe_account_status
)
execute function private.tell_payout_account();

-- Standing on the platform. Who decided is not named; what moderation tells is on 90_admin/40_notices.

create function private.tell_ban() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' then
        perform private.notify(new.user_id, 'account_banned', null, 'profiles', new.user_id);
    else
        perform private.notify(old.user_id, 'account_restored', null, 'profiles', old.user_id);
    end if;
    return null;
end
$$;
comment on function private.tell_ban() is 'Trigger on bans: the beginning reaches the banned by e-mail, the end too.';
create trigger tell after insert or delete on public.bans
for each row execute function private.tell_ban();

create function private.tell_role() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(new.id, 'role_changed', null, 'profiles', new.id);
    return null;
end
$$;
comment on function private.tell_role() is 'Trigger on profiles: another role on the platform.';
create trigger tell_role after update of role on public.profiles
for each row when (new.role <> old.role and new.deleted_at is null)
execute function private.tell_role();

create function public.actors_count(notification public.notifications) returns integer
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    told public.notifications;
    people integer;
begin
    -- Whatever row a caller makes up: it is their own one that counts.
    select * into told from public.notifications as n
    where n.id = notification.id and n.user_id = private.member_id();
    if told.related_id is null or told.type not in ('like', 'share', 'favorite', 'group_request') then
        return case when told.actor_id is not null then 1 else 0 end;
    end if;
    select count(*) into people
    from (
        select a.user_id
        from (
            select l.user_id, l.created_at from public.post_likes as l
            where told.type = 'like' and told.related_type = 'posts' and l.post_id = told.related_id
            union all
            select l.user_id, l.created_at from public.article_likes as l
            where told.type = 'like' and told.related_type = 'articles' and l.article_id = told.related_id
            union all
            select l.user_id, l.created_at from public.comment_likes as l
            where told.type = 'like' and told.related_type = 'comments' and l.comment_id = told.related_id
            union all
            select s.user_id, s.created_at from public.post_shares as s
            where told.type = 'share' and s.post_id = told.related_id
            union all
            select f.user_id, f.created_at from public.favorites as f
            where told.type = 'favorite' and f.item_id = told.related_id
            union all
            select m.user_id, m.updated_at from public.group_members as m
            where told.type = 'group_request' and m.group_id = told.related_id and m.status = 'pending'
        ) as a
        where
            -- Of several at the same instant not always the first tells: requests begin seconds before they end.
            a.created_at > told.created_at - interval '10 seconds'
            and a.created_at < told.created_at + interval '1 hour'
            and a.user_id <> told.user_id and private.is_visible_to(a.user_id, told.user_id)
        limit 100
    ) as counted;
    return people;
end
$$;
comment on function public.actors_count(public.notifications) is
'How many people a notification speaks of, at most 100: those who liked, shared or asked within its hour, still do, '
'and are visible to the recipient. Ask for it by name: select=*,actors_count.';
grant execute on function public.actors_count(public.notifications) to authenticated;

-- sql/65_social/80_digest.sql -----------------------------------------------------------------------------------------
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
    type public.notification_type,
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
comment on column private.mailed_notifications.notification_id is 'The notification.';
comment on column private.mailed_notifications.mail_id is 'The mail.';
alter table private.mailed_notifications enable row level security;

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
    notification uuid, recipient uuid, type public.notification_type
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
comment on function private.mail_notification(uuid, uuid, public.notification_type) is
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
$$;
comment on function private.mail_address(uuid) is 'The member''s confirmed address, null without one.';

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
    sections jsonb;
begin
    loop
        select * into mail from private.mails as m
        where m.state = 'due' and m.due_at <= now()
        order by m.due_at
        limit 1
        for update skip locked;
        exit when mail.id is null;
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
    update private.mails as m set state = 'sent', ended_at = now(), last_error = null
    where m.id = mail_id and m.state = 'due'
$$;
comment on function private.mail_sent(uuid) is 'The mail server took it.';
grant execute on function private.mail_sent(uuid) to avenue_worker;

create function private.mail_failed(mail_id uuid, reason text, for_good boolean, retry_seconds integer) returns void
language sql
security definer
set search_path = ''
as $$
    update private.mails as m set
        state = case when for_good then 'failed' else m.state end,
        ended_at = case when for_good then now() end,
        last_error = left(reason, 500),
        due_at = now() + make_interval(secs => least(retry_seconds * 2 ^ least(greatest(m.attempts - 1, 0), 12), 3600))
    where m.id = mail_id and m.state = 'due'
$$;
comment on function private.mail_failed(uuid, text, boolean, integer) is
'The mail was not taken: never will be, or is tried again after retry_seconds, doubled each time up to an hour, for '
'three days.';
grant execute on function private.mail_failed(uuid, text, boolean, integer) to avenue_worker;

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

insert into private.personal_data (section, relation, condition) values
('mails', 'private.mails', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('mails', 5, 'delete from private.mails where user_id = $1')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;
