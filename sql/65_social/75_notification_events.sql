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
