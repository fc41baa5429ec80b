-- What is told to whom: one trigger for each thing that happens, on the table where it happens. Set-based, and fast
-- when there is nothing to tell: likes, comments and payments wait for these.
-- What it is about is named by its kind (private.kinds), as in audit_log.

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

select private.make_tell_reactions('like', 'public.post_likes', 'post_id');
select private.make_tell_reactions('like', 'public.article_likes', 'article_id');
select private.make_tell_reactions(
    'like', 'public.comment_likes', 'comment_id', link_url => 'private.comment_link(t)'
);
select private.make_tell_reactions('share', 'public.post_shares', 'post_id');
-- Tells the seller, not who it was.
select private.make_tell_reactions('favorite', 'public.favorites', 'item_id', 'seller_id');

-- Who is there: those who did, in the time a notification stands for, what it tells of, still do, and may be named.
create function private.notice_actors(told public.notifications) returns table (user_id uuid, acted_at timestamptz)
language sql
stable
security definer
set search_path = ''
rows 10
as $$
    select a.user_id, a.acted_at
    from (
        select s.user_id, min(s.acted_at) as acted_at
        from (
            select r.user_id, r.created_at as acted_at from private.reactions as r
            where
                r.type = told.type and r.related_id = told.related_id
                and coalesce(r.kind, told.related_type) = told.related_type
            union all
            select m.user_id, m.updated_at from public.group_members as m
            where told.type = 'group_request' and m.group_id = told.related_id and m.status = 'pending'
        ) as s
        where
            -- Of several at the same instant not always the first tells: requests begin seconds before they end.
            s.acted_at > told.created_at - interval '10 seconds' and s.acted_at < told.created_at + interval '1 hour'
        group by s.user_id
        union all
        select f.follower_id, f.created_at from public.follows as f
        where
            told.type in ('follow', 'connected')
            and f.follower_id = told.related_id and f.following_id = told.user_id
            and (
                told.type = 'follow' or exists (
                    select from public.follows as b
                    where b.follower_id = told.user_id and b.following_id = told.related_id
                )
            )
        union all
        select m.sender_id, min(m.created_at)
        from private.unread_messages as u
        inner join public.messages as m on m.id = u.id
        where told.type = 'message' and u.viewer_id = told.user_id and u.conversation_id = told.related_id
        group by m.sender_id
        order by 2, 1
        -- Sorted first: of a thousand who liked it only a page is asked whether they may be named.
        offset 0
    ) as a
    where
        a.user_id <> told.user_id and private.is_visible_to(a.user_id, told.user_id)
        and not exists (
            select from public.user_blocks as b
            where
                b.blocker_id = told.user_id and b.blocked_id = a.user_id
                or b.blocker_id = a.user_id and b.blocked_id = told.user_id
        )
    limit 100
$$;
comment on function private.notice_actors(public.notifications) is
'Whom a notification that collapses speaks of now, the first first, at most 100: those who liked, shared or asked '
'within its hour, follow, or wrote what is unread, and are visible to its recipient. Nobody for the other types.';

create function private.forget_follows() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- An account that ends forgets what was told of it later, when it holds no more than it needs.
    perform private.renew_notifications(array(
        select n.id
        from (
            select g.follower_id as actor_id, g.following_id as user_id, true as followed from gone as g
            union all
            select g.following_id, g.follower_id, false from gone as g
        ) as t
        inner join public.notifications as n
            on n.related_id = t.actor_id and n.user_id = t.user_id
            and (n.type = 'connected' or n.type = 'follow' and t.followed)
        where not exists (select from private.file_erasures as e where e.user_id in (t.actor_id, t.user_id))
    ));
    return null;
end
$$;
comment on function private.forget_follows() is 'Trigger on follows: whoever follows no more is no longer told of.';
create trigger untell after delete on public.follows referencing old table as gone
for each statement execute function private.forget_follows();

create function private.tell_follows() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Two who follow each other at the same instant take turns: the second sees the first.
    perform private.lock_gates('connection', '{}', array(
        select private.pair(c.follower_id, c.following_id) from changed as c
    ));
    perform private.notify(
        t.following_id,
        case when t.is_mutual then 'connected' else 'follow' end,
        t.follower_id, 'profile', t.follower_id
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
            concat(
                -- Not inside a word, an address or an e-mail …
                '(?:^|[^[:alnum:]_@./#&=?%+\\\u200C\u200D', private.marks(), '-])',
                '@([A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)',
                -- … and nothing of the name is left over: no letter of another script, no host, no path.
                '(?![.-]*[[:alnum:]_@\u200C\u200D', private.marks(), ']|[:/\\][[:alnum:]_@/\\])'
            ),
            'g'
        ) with ordinality as m (match, place)
        where char_length(m.match[1]) between 3 and 30
        group by 1
        order by 2
        limit 20
    ) as named
    inner join public.profiles as p on p.username operator(extensions.=) named.username::extensions.citext
$$;
comment on function private.mentioned(text) is
'Whom a text mentions as @username: the first twenty names in it, those that exist. Not in addresses, e-mails and '
'longer words.';

create table private.told_mentions (
    related_id uuid not null,
    user_id uuid not null,
    constraint told_mentions_pkey primary key (related_id, user_id),
    constraint told_mentions_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);

create index told_mentions_user_id_idx on private.told_mentions (user_id);

comment on table private.told_mentions is
'Who was told of being mentioned where: once, whatever is edited, hidden, approved or read meanwhile.';
comment on column private.told_mentions.related_id is 'The post or comment; its rows go with it.';
alter table private.told_mentions enable row level security;

create function private.tell_mentioned(
    people uuid[], actor uuid, related_type text, related_id uuid, link_url text default null
) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    person uuid;
begin
    -- In one order, as two edits may tell the same people. Who is just leaving is left out, as in notify().
    for person in
        insert into private.told_mentions as t (related_id, user_id)
        select tell_mentioned.related_id, held.id
        from (
            select p.id from public.profiles as p
            where p.id = any (people) and p.id <> actor and p.deleted_at is null
            order by p.id
            for key share skip locked
        ) as held
        on conflict do nothing
        returning t.user_id
    loop
        perform private.notify(
            person, 'mention', actor, tell_mentioned.related_type, tell_mentioned.related_id, tell_mentioned.link_url
        );
    end loop;
end
$$;
comment on function private.tell_mentioned(uuid[], uuid, text, uuid, text) is
'Tells these people of being mentioned, each once per post or comment.';

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
        perform private.tell_mentioned(
            array(select m.id from private.mentioned(new.content) as m (id) where private.may_read_post(new, m.id)),
            new.user_id, 'post', new.id
        );
    end if;
    -- Counted when its author writes it: whoever approves it is somebody else, and may be in league with them.
    if not new.is_approved and new.user_id = auth.uid() and (tg_op = 'INSERT' or new.content is distinct from old.content) then
        perform private.count_activity('mention', (
            select count(*)::integer from private.mentioned(new.content) as m (id)
            where
                m.id <> new.user_id
                and not exists (
                    select from private.told_mentions as t where t.related_id = new.id and t.user_id = m.id
                )
        ));
    end if;
    -- Also of an edit that takes the approval back.
    if
        new.group_id is not null and not new.is_approved and not new.is_hidden
        and (tg_op = 'INSERT' or old.is_approved or old.is_hidden)
    then
        perform private.notify(m.user_id, 'group_post_request', new.user_id, 'post', new.id)
        from public.group_members as m
        where m.group_id = new.group_id and m.status = 'active' and m.role >= 'moderator';
    end if;
    -- Whoever decides about their own post knows.
    if tg_op = 'UPDATE' and new.user_id is distinct from auth.uid() and not old.is_approved then
        if new.is_approved then
            perform private.notify(new.user_id, 'group_post_approved', null, 'post', new.id);
        elsif new.is_hidden and not old.is_hidden then
            perform private.notify(new.user_id, 'group_post_rejected', null, 'post', new.id);
        end if;
    end if;
    return null;
end
$$;
comment on function private.tell_post() is
'Trigger on posts, when it is made, edited or decided upon: tells who is mentioned once they can read it, moderators '
'of what waits for them, the author of their decision.';
create trigger tell after insert on public.posts
for each row when (new.content like '%@%' or new.group_id is not null)
execute function private.tell_post();
create trigger tell_decided after update of is_approved, is_hidden on public.posts
for each row when (
    new.is_approved is distinct from old.is_approved
    or not new.is_approved and new.is_hidden and not old.is_hidden
)
execute function private.tell_post();
create trigger tell_edited after update of content, media_urls, link_url, link_preview, tags on public.posts
for each row when (
    new.content is distinct from old.content and new.content like '%@%'
    or new.is_approved is distinct from old.is_approved
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
    if tg_op = 'INSERT' and (post.id is null or private.may_read_post(post, parent_id)) then
        perform private.notify(parent_id, 'reply', new.user_id, 'comment', new.id, link_url);
    end if;
    if
        tg_op = 'INSERT' and owner_id is distinct from parent_id
        and (post.group_id is null or private.may_read_post(post, owner_id))
    then
        perform private.notify(owner_id, 'comment', new.user_id, 'comment', new.id, link_url);
    end if;
    if position('@' in new.content) > 0 then
        perform private.tell_mentioned(
            array(
                select m.id from private.mentioned(new.content) as m (id)
                where
                    m.id is distinct from parent_id and m.id is distinct from owner_id
                    and (post.id is null or private.may_read_post(post, m.id))
                    -- What is hidden from everybody, and whose owner is invisible to them, is not for them either.
                    and private.is_visible_to(owner_id, m.id)
                    and not exists (
                        select from public.articles as a where a.id = new.article_id and a.audience = 'owner'
                    )
                    and not exists (
                        select from public.catalog_items as i where i.id = new.item_id and not i.is_visible
                    )
            ),
            new.user_id, 'comment', new.id, link_url
        );
    end if;
    return null;
end
$$;
comment on function private.tell_comment() is
'Trigger on comments: tells whose comment is replied to, whose post, article or item it is about, and who is '
'mentioned, in an edit too, and can read it.';
create trigger tell after insert on public.comments
for each row when (new.audience <> 'owner')
execute function private.tell_comment();
create trigger tell_edited after update of content on public.comments
for each row when (new.audience <> 'owner' and new.content <> old.content and new.content like '%@%')
execute function private.tell_comment();

create function private.forget_hidden() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Its owner still sees what is hidden, and who liked it before.
    perform private.forget_notifications(
        array(select c.id from public.comments as c where new.id in (c.post_id, c.item_id, c.article_id)) || new.id,
        (to_jsonb(new) ->> tg_argv[0])::uuid
    );
    return null;
end
$$;
comment on function private.forget_hidden() is
'Trigger (column of the owner): what becomes hidden is no longer told of to others, nor what was said there.';
create trigger forget_hidden after update of is_hidden on public.posts
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('user_id');
create trigger forget_hidden after update of is_hidden on public.comments
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('user_id');
create trigger forget_hidden after update of is_hidden on public.articles
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('author_id');
create trigger forget_hidden after update of is_approved on public.products
for each row when (old.is_approved and not new.is_approved) execute function private.forget_hidden('seller_id');
create trigger forget_hidden after update of is_hidden on public.artworks
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('seller_id');

create function private.forget_deleted() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.forget_notifications(array(select g.id from gone as g));
    delete from private.told_mentions as t where t.related_id in (select g.id from gone as g);
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
        perform private.notify(m.user_id, 'group_request', new.user_id, 'group', new.group_id)
        from public.group_members as m
        where m.group_id = new.group_id and m.status = 'active' and m.role >= 'moderator';
    elsif tg_op = 'UPDATE' and new.user_id is distinct from auth.uid() then
        if new.status = 'banned' then
            perform private.notify(new.user_id, 'group_banned', null, 'group', new.group_id);
        elsif old.status = 'pending' then
            perform private.notify(new.user_id, 'group_approved', null, 'group', new.group_id);
        elsif new.role = 'owner' then
            perform private.notify(new.user_id, 'group_ownership', null, 'group', new.group_id);
        elsif old.status = 'active' then
            perform private.notify(new.user_id, 'group_role', null, 'group', new.group_id);
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

create function private.forget_request() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.renew_notifications(array(
        select n.id from public.notifications as n where n.related_id = old.group_id and n.type = 'group_request'
    ));
    return null;
end
$$;
comment on function private.forget_request() is
'Trigger on group_members: a request to join that was decided on or withdrawn is no longer told of.';
create trigger forget_withdrawn after delete on public.group_members
for each row when (old.status = 'pending')
execute function private.forget_request();
create trigger forget_decided after update of status on public.group_members
for each row when (old.status = 'pending' and new.status <> 'pending')
execute function private.forget_request();

select private.make_tell(
    'group_invitation', 'public.group_invitations', 'insert', 'new.user_id', 'group', 'new.group_id', 'new.invited_by'
);

create function private.forget_told() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.delete_notifications(array(
        select n.id from public.notifications as n
        where
            n.type = tg_argv[0] and n.user_id = old.user_id
            and n.related_id = (to_jsonb(old) ->> tg_argv[1])::uuid
    ));
    return null;
end
$$;
comment on function private.forget_told() is
'Trigger (type, column of what it is about): what is over for somebody they are no longer told of.';
create trigger forget after delete on public.group_invitations
for each row execute function private.forget_told('group_invitation', 'group_id');
create trigger forget after delete on public.inbox_entries
for each row execute function private.forget_told('message', 'conversation_id');

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
        'conversation', new.conversation_id
    )
    from public.inbox_entries as e
    where
        e.conversation_id = new.conversation_id and e.user_id <> new.sender_id and e.first_number <= new.number
        and e.state = 'accepted'
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
comment on function private.tell_message() is
'Trigger on messages: tells the others in the conversation, but for those to whom it is a request.';
create trigger tell after insert on public.messages
for each row execute function private.tell_message();

create function private.forget_message() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.renew_notifications(array(
        select n.id from public.notifications as n
        where
            n.related_id = new.conversation_id and n.type = 'message' and not n.is_read
            and n.actor_id = new.sender_id
    ));
    return null;
end
$$;
comment on function private.forget_message() is
'Trigger on messages: one that was deleted for everyone before it was read is no longer told of.';
create trigger forget_deleted after update of is_deleted on public.messages
for each row when (new.is_deleted and not old.is_deleted and new.sender_id is not null)
execute function private.forget_message();

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

-- Requests for skills, genres and categories.

select private.make_tell(
    'field_rejected', 'public.custom_field_requests', 'update of status', 'r.user_id', 'custom_field_request', 'new.id',
    condition => 'old.status = ''pending'' and new.status = ''rejected''',
    among => 'from public.custom_field_requesters as r where r.request_id = new.id'
);
select private.make_tell(
    'field_approved', 'public.custom_field_requests', 'update of status', 'r.user_id', 'custom_field_request', 'new.id',
    condition => 'old.status = ''pending'' and new.status not in (''pending'', ''rejected'')',
    among => 'from public.custom_field_requesters as r where r.request_id = new.id'
);

-- Money. Nobody is named: whoever sold or bought sees it in their own books. Of orders once for all that
-- settle together; else row triggers with a condition, because most changes of these rows tell nothing.

-- Sellers read their lines, not the order. What is not sold in the shop is told of in its own words, as tips are.
create function private.tell_orders() returns trigger
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    notices private.notice[] := array(
        with completed as (
            select c.id, c.user_id from changed_to as c
            inner join changed_from as b on b.id = c.id
            where c.status = 'completed' and b.status in ('pending', 'processing', 'cancelled')
        )

        select row('order', c.user_id, null, 'order', c.id, null)::private.notice from completed as c
        union all
        select row('purchase', s.seller_id, null, 'order_item', s.id, null)::private.notice
        from (
            select distinct on (i.order_id, i.seller_id) i.seller_id, i.id
            from completed as c
            inner join public.order_items as i on i.order_id = c.id
            inner join private.kinds as k on k.kind = i.kind and k.is_browsable
            order by i.order_id, i.seller_id, i.line_no
        ) as s
    );
begin
    if notices <> '{}' then
        perform private.notify_many(notices);
    end if;
    return null;
end
$$;
comment on function private.tell_orders() is
'Trigger on orders: tells the buyer and each seller of what is completed, once for all orders of a statement.';
create trigger tell_completed after update on public.orders
referencing old table as changed_from new table as changed_to
for each statement execute function private.tell_orders();
-- Who it was is in the tip, for as long as they may be named.
select private.make_tell('tip', 'public.tips', 'insert', 'new.recipient_id', 'tip', 'new.id');
select private.make_tell(
    'shipped', 'public.shipments', 'insert', 'i.buyer_id', 'order_item', 'i.id',
    among => 'from public.order_items as i where i.id = new.order_item_id'
);

create function private.tell_refund() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(p.user_id, 'refund', null, 'order', p.order_id)
    from public.payments as p
    where p.id = new.payment_id;
    perform private.notify(s.seller_id, 'refund', null, 'order_item', s.order_item_id)
    from (
        select distinct on (t.seller_id) t.seller_id, t.order_item_id
        from public.refund_lines as l
        inner join public.transactions as t on t.id = l.transaction_id
        where
            l.refund_id = new.id
            and not (new.origin = 'seller' and t.order_item_id is not distinct from new.order_item_id)
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

select private.make_tell(
    'refund_request', 'public.refund_requests', 'insert', 'new.seller_id', 'refund_request', 'new.id', 'new.buyer_id'
);
-- Or not answered in time. Who answered, seller or admin, is not named.
select private.make_tell(
    'refund_request_answered', 'public.refund_requests', 'update of status', 'new.buyer_id', 'refund_request', 'new.id',
    condition => 'old.status = ''open'' and new.status <> ''open'''
);

-- Once a day and person.
select private.make_tell(
    'earnings', 'public.transaction_payees', 'update of release_journal_id', 'new.payee_id', 'wallet', 'new.payee_id',
    condition => 'old.release_journal_id is null and new.release_journal_id is not null and old.pending_cents > 0'
);

select private.make_tell(
    'payout_requested', 'public.payouts', 'insert', 'new.user_id', 'payout', 'new.id'
);
select private.make_tell(
    'payout', 'public.payouts', 'update of status', 'new.user_id', 'payout', 'new.id',
    condition => 'new.status <> old.status and new.status = ''completed'''
);
-- The money is back.
select private.make_tell(
    'payout_failed', 'public.payouts', 'update of status', 'new.user_id', 'payout', 'new.id',
    condition => 'new.status <> old.status and new.status in (''failed'', ''cancelled'', ''returned'')
    and new.failure_reason is distinct from ''by_seller'''
);

-- Another payout account, or its state: whoever did not do this must hear of it.
select private.make_tell(
    'payout_account', 'public.wallets', 'update of stripe_account_id, stripe_account_status', 'new.user_id', 'wallet',
    'new.user_id',
    condition => '(old.stripe_account_id, old.stripe_account_status)
    is distinct from (new.stripe_account_id, new.stripe_account_status)'
);

-- Standing on the platform. Who decided is not named; what moderation tells is on 90_admin/40_notices.

-- The beginning reaches the banned by e-mail.
select private.make_tell('account_banned', 'public.bans', 'insert', 'new.user_id', 'profile', 'new.user_id');
select private.make_tell('account_restored', 'public.bans', 'delete', 'old.user_id', 'profile', 'old.user_id');

select private.make_tell(
    'role_changed', 'public.profiles', 'update of role', 'new.id', 'profile', 'new.id',
    condition => 'new.role <> old.role and new.deleted_at is null'
);

create function public.actors_count(notification public.notifications) returns integer
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    told public.notifications;
begin
    -- Whatever row a caller makes up: it is their own one that counts.
    select * into told from public.notifications as n
    where n.id = notification.id and n.user_id = private.member_id();
    if told.related_id is null or told.type not in ('like', 'share', 'favorite', 'group_request') then
        return case when told.actor_id is not null then 1 else 0 end;
    end if;
    return (select count(*) from private.notice_actors(told));
end
$$;
comment on function public.actors_count(public.notifications) is
'How many people a notification speaks of, at most 100: those who liked, shared or asked within its hour, still do, '
'and are visible to the recipient. Ask for it by name: select=*,actors_count.';
grant execute on function public.actors_count(public.notifications) to authenticated;

insert into private.personal_data (section, relation, condition) values
('told_mentions', 'private.told_mentions', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('told_mentions', 'traces', '{private.told_mentions}', 'delete from private.told_mentions where user_id = $1');
