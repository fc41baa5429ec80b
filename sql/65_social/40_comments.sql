-- What people say about a post, an item of the shop or an article, in threads. A comment is readable by whom its author
-- allows, as long as what it is about is readable too.

create table public.comments (
    id uuid not null default gen_random_uuid(),
    user_id uuid default auth.uid(),
    post_id uuid,
    item_id uuid,
    article_id uuid,
    parent_comment_id uuid,
    depth smallint not null default 0,
    content text,
    likes_count integer not null default 0,
    is_hidden boolean not null default false,
    hidden_reason text,
    author_audience public.audience not null default 'owner',
    audience public.audience not null generated always as (
        case when is_hidden then 'owner'::public.audience else author_audience end
    ) stored,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint comments_pkey primary key (id),
    constraint comments_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint comments_post_id_fkey foreign key (post_id) references public.posts (id) on delete cascade,
    constraint comments_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint comments_article_id_fkey foreign key (article_id) references public.articles (id) on delete cascade,
    -- Deferred: a deleted comment with replies comes back as a placeholder in the same statement.
    constraint comments_parent_comment_id_fkey foreign key (parent_comment_id) references public.comments (id)
    deferrable initially deferred,
    constraint comments_target_check check (num_nonnulls(post_id, item_id, article_id) = 1),
    constraint comments_depth_check check (depth between 0 and 8 and (depth = 0) = (parent_comment_id is null)),
    constraint comments_placeholder_check check (
        (user_id is null) = (content is null) and (user_id is not null or is_hidden and likes_count = 0)
    ),
    constraint comments_content_check check (char_length(content) between 1 and 5000),
    constraint comments_author_audience_check check (author_audience <> 'group'),
    constraint comments_counts_check check (likes_count >= 0)
)
-- Likes rewrite rows and no index holds their count: room on the page keeps those updates HOT.
with (fillfactor = 90);

-- Keysets in both directions: a target's thread, the replies to a comment, what somebody said.
create index comments_post_id_created_at_id_idx on public.comments (post_id, created_at, id) where post_id is not null;
create index comments_item_id_created_at_id_idx on public.comments (item_id, created_at, id) where item_id is not null;
create index comments_article_id_created_at_id_idx on public.comments (article_id, created_at, id)
where article_id is not null;
create index comments_parent_comment_id_created_at_id_idx on public.comments (parent_comment_id, created_at, id)
where parent_comment_id is not null;
create index comments_user_id_created_at_id_idx on public.comments (user_id, created_at, id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint comments_content_check on public.comments is
'invalid_content: A comment has 1 to 5,000 characters.';
comment on constraint comments_depth_check on public.comments is 'invalid_comment: Replies are nested at most 8 deep.';
comment on constraint comments_placeholder_check on public.comments is 'invalid_content: A comment has a text.';
comment on constraint comments_target_check on public.comments is
'invalid_comment: A comment is on one post, item or article.';
comment on constraint comments_article_id_fkey on public.comments is
'comment_target_not_found: There is no such article.';
comment on constraint comments_item_id_fkey on public.comments is 'comment_target_not_found: There is no such item.';
comment on constraint comments_parent_comment_id_fkey on public.comments is
'comment_not_found: There is no such comment.';
comment on constraint comments_post_id_fkey on public.comments is 'comment_target_not_found: There is no such post.';

comment on table public.comments is
'Comments on posts, catalog items and articles. Readable with their target, as far as their author is; written on what '
'the caller can read. Replies outlive what they reply to: a deleted comment that has some stays as a placeholder '
'without author and content, until the last of them is deleted.';
comment on column public.comments.user_id is 'The author; the caller. Null: a placeholder for a deleted comment.';
comment on column public.comments.post_id is
'The post it is about. Exactly one of post_id, item_id and article_id is set.';
comment on column public.comments.item_id is 'The catalog item it is about.';
comment on column public.comments.article_id is 'The article it is about.';
comment on column public.comments.parent_comment_id is
'The comment it replies to, about the same target; null: a first one.';
comment on column public.comments.depth is '0 for a first comment, one more than its parent''s for a reply; at most 8.';
comment on column public.comments.content is 'Plain text, at most 5,000 characters; null in a placeholder.';
comment on column public.comments.is_hidden is
'Taken down by moderation: only its author and admins read it. Its replies stay, like those to somebody the reader '
'cannot see. Also true of a placeholder, which everybody reads who reads the target, and which counts nowhere.';
comment on column public.comments.hidden_reason is 'Why it was taken down, told to its author.';
comment on column public.comments.author_audience is 'Copy of the author''s widest audience; kept by triggers.';
comment on column public.comments.audience is
'Who may read it among those who can read its target; owner while hidden.';

create function private.check_comment() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    parent public.comments;
begin
    -- Everything here is read as the caller: what the caller cannot read answers like what does not exist.
    if
        new.post_id is not null and not exists (
            select from public.posts as p
            where
                p.id = new.post_id
                -- Who is not in the group any more still reads their own posts there, but writes nothing below them.
                and (
                    p.group_id is null
                    or exists (
                        select from public.group_members as m
                        where m.group_id = p.group_id and m.user_id = new.user_id and m.status = 'active'
                    )
                    or private.is_admin()
                )
        )
        or new.item_id is not null and not exists (select from public.catalog_items as c where c.id = new.item_id)
        or new.article_id is not null and not exists (select from public.articles as a where a.id = new.article_id)
    then
        perform private.fail(
            'comment_target_not_found', coalesce(new.post_id, new.item_id, new.article_id)::text
        );
    end if;
    new.depth := 0;
    if new.parent_comment_id is not null then
        select * into parent from public.comments as c
        where
            c.id = new.parent_comment_id and c.user_id is not null
            and (c.post_id, c.item_id, c.article_id)
            is not distinct from (new.post_id, new.item_id, new.article_id);
        if parent.id is null then
            perform private.fail('comment_not_found', new.parent_comment_id::text);
        end if;
        -- In the order of whoever deletes. Deleted meanwhile, nothing is left to reply to.
        perform private.hold_comment_target(new.post_id, new.item_id, new.article_id);
        perform private.hold_comment(parent.id);
        if not exists (select from public.comments as c where c.id = parent.id and c.user_id is not null) then
            perform private.fail('comment_not_found', new.parent_comment_id::text);
        end if;
        new.depth := parent.depth + 1;
        if new.depth > 8 then
            perform private.fail('comment_too_deep', '8');
        end if;
    end if;
    new.author_audience := private.lock_audience(new.user_id);
    return new;
end
$$;
comment on function private.check_comment() is
'Trigger: one comments on what one can read, replies to a readable comment about the same; sets depth and audience.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of content on public.comments
for each row execute function private.tidy_texts('content body required');

create trigger check_comment before insert on public.comments
for each row when (new.user_id is not null)
execute function private.check_comment();

create function private.date_comment() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := case when new.content <> old.content then now() else old.updated_at end;
    return new;
end
$$;
comment on function private.date_comment() is 'Trigger: dates an edit; likes and moderation are none.';

create trigger date_comment before update of content on public.comments
for each row execute function private.date_comment();

-- A change to a comment takes, in this order: what it is about (kept from being deleted), the comment, the count. Who
-- deletes a post takes the post, then its comments: nobody waits in a circle.
create function private.hold_comment_target(post_id uuid, item_id uuid, article_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    if hold_comment_target.post_id is not null then
        return private.hold_post(hold_comment_target.post_id);
    elsif hold_comment_target.item_id is not null then
        return private.hold_item(hold_comment_target.item_id);
    end if;
    return private.hold_article(hold_comment_target.article_id);
end
$$;
comment on function private.hold_comment_target(uuid, uuid, uuid) is
'Keeps what a comment is about from being deleted until the transaction ends; true.';
grant execute on function private.hold_comment_target(uuid, uuid, uuid) to authenticated;

create function private.hold_comment_targets_of(comments uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.posts as p
    where p.id in (select c.post_id from public.comments as c where c.id = any(comments))
    order by p.id
    for key share;
    perform from public.catalog_items as i
    where i.id in (select c.item_id from public.comments as c where c.id = any(comments))
    order by i.id
    for key share;
    perform from public.articles as a
    where a.id in (select c.article_id from public.comments as c where c.id = any(comments))
    order by a.id
    for key share;
end
$$;
comment on function private.hold_comment_targets_of(uuid[]) is
'hold_comment_target() for what these comments are about.';

-- hold_posts_of_account() has held the posts; erase_products() and erase_artworks() take the account's own items.
create function private.hold_comments_of_account(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    held record;
begin
    perform from public.catalog_items as i
    where
        i.seller_id <> hold_comments_of_account.user_id
        and i.id in (
            select f.item_id from public.favorites as f where f.user_id = hold_comments_of_account.user_id
            union
            select c.item_id from public.comments as c where c.user_id = hold_comments_of_account.user_id
            union
            select c.item_id from public.comment_likes as l
            inner join public.comments as c on c.id = l.comment_id
            where l.user_id = hold_comments_of_account.user_id
        )
    order by i.id
    for key share;
    for held in
        select a.id, a.author_id = hold_comments_of_account.user_id as is_own from public.articles as a
        where a.id in (
            select o.id from public.articles as o where o.author_id = hold_comments_of_account.user_id
            union
            select l.article_id from public.article_likes as l where l.user_id = hold_comments_of_account.user_id
            union
            select c.article_id from public.comments as c where c.user_id = hold_comments_of_account.user_id
            union
            select c.article_id from public.comment_likes as l
            inner join public.comments as c on c.id = l.comment_id
            where l.user_id = hold_comments_of_account.user_id
        )
        order by a.id
    loop
        if held.is_own then
            perform from public.articles as a where a.id = held.id for update;
        else
            perform from public.articles as a where a.id = held.id for key share;
        end if;
    end loop;
    for held in
        select c.id, c.user_id = hold_comments_of_account.user_id as is_own from public.comments as c
        where c.id in (
            select o.id from public.comments as o where o.user_id = hold_comments_of_account.user_id
            union
            select l.comment_id from public.comment_likes as l where l.user_id = hold_comments_of_account.user_id
        )
        order by c.id
    loop
        if held.is_own then
            perform from public.comments as c where c.id = held.id for update;
        else
            perform from public.comments as c where c.id = held.id for key share;
        end if;
    end loop;
end
$$;
comment on function private.hold_comments_of_account(uuid) is
'Step of erase_account(): takes the articles and comments it will delete and keeps from being deleted what it will '
'count on, targets before comments, each in the order of their ids.';

select private.make_shown_counter(
    'public.comments', '{post_id,item_id,article_id}', 'comments_count', '{row}.audience <> ''owner''',
    'author_audience'
);

create trigger within_limit after insert on public.comments referencing new table as changed
for each statement execute function private.limit_inserts('comment');

create function private.keep_places() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    with recursive places as (
        select g.* from gone as g
        where exists (select from public.comments as r where r.parent_comment_id = g.id)
        union
        select g.* from gone as g inner join places as p on p.parent_comment_id = g.id
    )
    insert into public.comments (
        id, user_id, post_id, item_id, article_id, parent_comment_id, depth, is_hidden, author_audience, created_at
    )
    select p.id, null, p.post_id, p.item_id, p.article_id, p.parent_comment_id, p.depth, true, 'owner', p.created_at
    from places as p
    -- Not when what it is about goes with all its comments.
    where
        exists (select from public.posts as t where t.id = p.post_id)
        or exists (select from public.catalog_items as t where t.id = p.item_id)
        or exists (select from public.articles as t where t.id = p.article_id);

    -- Of two last replies deleted together the second waits here and sees that the first is gone.
    perform from public.comments as c
    where c.user_id is null and c.id in (select g.parent_comment_id from gone as g)
    order by c.id
    for update;
    if found then
        delete from public.comments as c
        where
            c.user_id is null and c.id in (select g.parent_comment_id from gone as g)
            and not exists (select from public.comments as r where r.parent_comment_id = c.id);
    end if;
    return null;
end
$$;
comment on function private.keep_places() is
'Trigger: a placeholder takes the place of a deleted comment as long as there are replies to it.';

create trigger keep_places after delete on public.comments referencing old table as gone
for each statement execute function private.keep_places();

select private.make_follow_author('public.comments', 'user_id', 30, first => 'private.hold_comment_targets_of');

select private.make_hold('public.comments', 'comment');

alter table public.comments enable row level security;
grant select on public.comments to anon, authenticated, service_role;
grant insert (post_id, item_id, article_id, parent_comment_id, content), update (content), delete on public.comments
to authenticated;

-- The subqueries are under the policies of what is commented on. Scalar ones stay a look-up for each row, where
-- exists (…) could become a hash of all posts.
create policy comments_select_anon on public.comments for select to anon
using (
    (user_id is null or (audience = 'public' and user_id <> all(array(select private.hidden_ids()))))
    and case
        when post_id is not null then (select p.id from public.posts as p where p.id = comments.post_id) is not null
        when item_id is not null
            then (select i.id from public.catalog_items as i where i.id = comments.item_id) is not null
        else (select a.id from public.articles as a where a.id = comments.article_id) is not null
    end
);
create policy comments_select on public.comments for select to authenticated
using (
    (
        (audience = 'public' or (audience = 'members' and (select private.member_id()) is not null) or user_id is null)
        and (user_id is null or user_id <> all(array(select private.blocked_ids())))
        and case
            when post_id is not null then (
                select p.id from public.posts as p
                where
                    p.id = comments.post_id
                    -- What is said in a group is for its members, also below a post of somebody who was one.
                    and (p.group_id is null or p.group_id = any(array(select private.my_group_ids())))
            ) is not null
            when item_id is not null
                then (select i.id from public.catalog_items as i where i.id = comments.item_id) is not null
            else (select a.id from public.articles as a where a.id = comments.article_id) is not null
        end
    )
    or user_id = (select private.member_id())
    or (select private.is_admin())
);
create policy comments_insert on public.comments for insert to authenticated
with check (user_id = (select private.member_id()));
-- Who was shut out, by a block or from a group, does not rewrite what others read there, but may take it back.
create policy comments_update on public.comments for update to authenticated
using (
    user_id = (select private.member_id())
    and case
        when post_id is not null then (
            select p.id from public.posts as p
            where
                p.id = comments.post_id
                and (
                    p.group_id is null
                    or p.group_id = any(array(select private.my_group_ids()))
                    or (select private.is_admin())
                )
        ) is not null
        when item_id is not null
            then (select i.id from public.catalog_items as i where i.id = comments.item_id) is not null
        else (select a.id from public.articles as a where a.id = comments.article_id) is not null
    end
)
with check (user_id = (select private.member_id()));
-- One's own, and what others wrote under one's own post, item or article.
create policy comments_delete on public.comments for delete to authenticated
using (
    (
        user_id = (select private.member_id())
        or exists (
            select from public.posts as p where p.id = comments.post_id and p.user_id = (select private.member_id())
        )
        or exists (
            select from public.catalog_items as i
            where i.id = comments.item_id and i.seller_id = (select private.member_id())
        )
        or exists (
            select from public.articles as a
            where a.id = comments.article_id and a.author_id = (select private.member_id())
        )
    )
    and private.hold_comment_target(post_id, item_id, article_id)
);

-- A placeholder has no likes.
select private.make_reactions(
    'public.comment_likes', 'comment_id', 'public.comments', 'liked', '{row}.user_id is not null', is_paged => false
);
select private.make_counter('public.comment_likes', 'comment_id', 'likes_count', '{row}.user_id is not null');
select private.make_by_me('liked', 'public.comment_likes', 'comment_id');

create function private.comment_place(ids uuid[]) returns setof private.content_place
language sql
stable
security definer
set search_path = ''
as $$
    select c.id, c.user_id, p.group_id
    from public.comments as c
    left join public.posts as p on p.id = c.post_id
    where c.id = any (ids)
$$;
comment on function private.comment_place(uuid[]) is 'Hook place: a comment is in the group of the post it is about.';

create function private.comment_lock(ids uuid[]) returns setof private.content_state
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- What it is about before the comment: who deletes a post takes them in this order.
    perform private.hold_comment_targets_of(ids);
    perform private.hold_each('public.comments', ids);
    return query select c.id, c.is_hidden from public.comments as c where c.id = any (ids);
end
$$;
comment on function private.comment_lock(uuid[]) is 'Hook lock: what the comments are about is kept first.';

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('comment', 'public.comments', 'user_id', '/comments/{id}', '{can_read,evidence,place,lock,hide}');

insert into private.error_codes (code, sqlstate, message, description) values
('comment_target_not_found', 'PT404', 'What you want to comment on does not exist.',
'No post, item or article with the id in the detail, or none the caller can read.'),
('comment_not_found', 'PT404', 'This comment does not exist.',
'No comment with the id in the detail, none the caller can read, or one about something else than the reply.'),
('comment_too_deep', 'PT409', 'Replies are not nested any deeper.',
'The detail states how deep. Reply to the parent of the comment instead.');

insert into private.personal_data (section, relation, condition) values
('comments', 'public.comments', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('comments_held', 'lock_replies', '{}', 'select private.hold_comments_of_account($1)', null),
('comments', 'replies', '{public.comments}',
    'delete from public.comments where user_id = $1',
    'select 5 * private.erase_rows(''public.comments'', ''user_id = $1'', $1, 1 + $2 / 5)');
