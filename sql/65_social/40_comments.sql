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
comment on column public.comments.likes_count is 'Rows in comment_likes; kept by triggers.';
comment on column public.comments.is_hidden is
'Taken down by moderation: only its author and admins read it. Its replies stay, like those to somebody the reader '
'cannot see. Also true of a placeholder, which everybody reads who reads the target, and which counts nowhere.';
comment on column public.comments.hidden_reason is 'Why it was taken down, told to its author.';
comment on column public.comments.author_audience is 'Copy of the author''s widest audience; kept by triggers.';
comment on column public.comments.audience is
'Who may read it among those who can read its target; owner while hidden.';

create table public.comment_likes (
    comment_id uuid not null,
    user_id uuid not null default auth.uid(),
    created_at timestamptz not null default now(),
    constraint comment_likes_pkey primary key (comment_id, user_id),
    constraint comment_likes_comment_id_fkey foreign key (comment_id) references public.comments (id) on delete cascade,
    constraint comment_likes_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);

create index comment_likes_user_id_created_at_idx on public.comment_likes (user_id, created_at desc);

-- What a client that breaks these is told, see error_catalog().
comment on constraint comment_likes_comment_id_fkey on public.comment_likes is
'comment_not_found: There is no such comment.';
comment on constraint comment_likes_pkey on public.comment_likes is 'already_done: The comment is liked already.';

comment on table public.comment_likes is
'Who likes which comment. Readable with the comment, as far as the liker is to the reader; written by the liker.';
comment on column public.comment_likes.comment_id is 'The liked comment; one the caller can read.';
comment on column public.comment_likes.user_id is 'Who likes it; the caller.';

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

create function private.hold_comment(comment_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.comments as c where c.id = hold_comment.comment_id for key share;
    return true;
end
$$;
comment on function private.hold_comment(uuid) is
'Keeps a comment from being deleted until the transaction ends; true. For the policy on taking a like back.';
grant execute on function private.hold_comment(uuid) to authenticated;

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

create function private.comments_counter(comment public.comments) returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when comment.post_id is not null then 'posts' when comment.item_id is not null then 'catalog_items'
        else 'articles'
    end || '.comments_count'
$$;
comment on function private.comments_counter(public.comments) is
'Which counter a comment counts on. Several are moved in descending order: posts, items, articles.';

create function private.add_comments(counter text, ids uuid[], changes integer[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    change integer := changes[1];
begin
    if cardinality(ids) > 1 then
        perform private.add_counts(counter, ids, changes);
    elsif counter = 'posts.comments_count' then
        if exists (select from public.posts as p where p.id = ids[1]) then
            change := private.claim_count(counter, ids[1], change);
            if change is not null then
                update public.posts as p set comments_count = p.comments_count + change where p.id = ids[1];
            end if;
        end if;
    elsif counter = 'catalog_items.comments_count' then
        if exists (select from public.catalog_items as i where i.id = ids[1]) then
            change := private.claim_count(counter, ids[1], change);
            if change is not null then
                update public.catalog_items as i set comments_count = i.comments_count + change where i.id = ids[1];
            end if;
        end if;
    elsif exists (select from public.articles as a where a.id = ids[1]) then
        change := private.claim_count(counter, ids[1], change);
        if change is not null then
            update public.articles as a set comments_count = a.comments_count + change where a.id = ids[1];
        end if;
    end if;
end
$$;
comment on function private.add_comments(text, uuid[], integer[]) is
'Adds to the comments_count of one relation, ids ascending. One: see claim_count(); many: add_counts(). What is just '
'deleted with its comments is left alone.';

create function private.count_comments() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    counted record;
begin
    for counted in
        select n.counter, array_agg(n.id order by n.id) as ids, array_agg(n.change order by n.id) as changes
        from (
            select
                private.comments_counter(c) as counter,
                coalesce(c.post_id, c.item_id, c.article_id) as id,
                (case tg_op when 'INSERT' then 1 else -1 end) * count(*)::integer as change
            from changed as c
            where c.audience <> 'owner'
            group by 1, 2
        ) as n
        group by n.counter
        order by n.counter desc
    loop
        perform private.add_comments(counted.counter, counted.ids, counted.changes);
    end loop;
    return null;
end
$$;
comment on function private.count_comments() is
'Trigger: comments_count of what is commented on counts the comments that others than their authors read.';

create trigger count_inserted after insert on public.comments referencing new table as changed
for each statement execute function private.count_comments();
create trigger count_deleted after delete on public.comments referencing old table as changed
for each statement execute function private.count_comments();

create trigger within_limit after insert on public.comments referencing new table as changed
for each statement execute function private.limit_inserts('comment');

create function private.count_comment_shown() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.add_comments(
        private.comments_counter(new),
        array[coalesce(new.post_id, new.item_id, new.article_id)],
        array[(new.audience <> 'owner')::integer - (old.audience <> 'owner')::integer]
    );
    return null;
end
$$;
comment on function private.count_comment_shown() is 'Trigger: a comment was hidden or restored.';

-- A row trigger with a condition: a statement's transition tables would cost every like of every comment. What follows
-- an author's standing is counted set-based by follow_author_of_comments().
create trigger count_comment_shown after update of is_hidden on public.comments
for each row
when ((old.audience = 'owner') is distinct from (new.audience = 'owner'))
execute function private.count_comment_shown();

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

create function private.follow_author_of_comments(user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    allowed public.audience := (
        select private.author_audience(p) from public.profiles as p
        -- Of an account that ends they are deleted.
        where p.id = follow_author_of_comments.user_id and p.deleted_at is null
    );
    chosen uuid [] := array(
        select c.id from public.comments as c
        where c.user_id = follow_author_of_comments.user_id and c.author_audience <> allowed
        order by c.id
        limit max_rows
    );
    counted record;
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform private.hold_comment_targets_of(chosen);
    for counted in
        with before as materialized (
            select c.id, c.audience from public.comments as c
            where c.id = any(chosen)
            order by c.id
            for no key update
        ),
        after as (
            update public.comments as c set author_audience = allowed
            from before as b
            where c.id = b.id
            returning
                private.comments_counter(c) as counter,
                coalesce(c.post_id, c.item_id, c.article_id) as target_id,
                (c.audience <> 'owner')::integer - (b.audience <> 'owner')::integer as change
        ),
        moved as (
            select a.counter, a.target_id as id, sum(a.change)::integer as change
            from after as a
            group by 1, 2
            having sum(a.change) <> 0
        )
        select m.counter, array_agg(m.id order by m.id) as ids, array_agg(m.change order by m.id) as changes
        from moved as m
        group by m.counter
        order by m.counter desc
    loop
        perform private.add_comments(counted.counter, counted.ids, counted.changes);
    end loop;
    return cardinality(chosen);
end
$$;
comment on function private.follow_author_of_comments(uuid, integer) is
'Step of advance_account(): comments follow their author''s standing and visibility, and the counters the comments.';

insert into private.standing_steps (step, position, statement) values
('comments', 30, 'select private.follow_author_of_comments($1, $2)');

create function private.count_comment_likes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    comment uuid;
    change integer;
begin
    select c.comment_id into comment from changed as c;
    perform from changed as c offset 1;
    if found then
        -- A placeholder has no likes.
        perform private.add_counts('comments.likes_count', array_agg(c.comment_id), array_agg(sign))
        from changed as c
        where exists (select from public.comments as t where t.id = c.comment_id and t.user_id is not null);
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the comment: nothing is left to count on.
        select c.id into comment from public.comments as c where c.id = comment and c.user_id is not null;
    end if;
    if comment is not null then
        change := private.claim_count('comments.likes_count', comment, sign);
        if change is not null then
            update public.comments as c set likes_count = c.likes_count + change where c.id = comment;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_comment_likes() is
'Trigger: comments.likes_count, as count_post_likes().';

create trigger count_inserted after insert on public.comment_likes referencing new table as changed
for each statement execute function private.count_comment_likes();
create trigger count_deleted after delete on public.comment_likes referencing old table as changed
for each statement execute function private.count_comment_likes();

create function private.has_liked_comment(comment_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.comment_likes as l
        where l.comment_id = has_liked_comment.comment_id and l.user_id = auth.uid()
    );
end
$$;
comment on function private.has_liked_comment(uuid) is 'Whether the caller likes the comment.';
grant execute on function private.has_liked_comment(uuid) to authenticated;

-- Computed columns: a frontend adds them to its select. Visitors call them too, hence no definer's rights.
create function public.liked_by_me(comment public.comments) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return false;
    end if;
    return private.has_liked_comment(comment.id);
end
$$;
comment on function public.liked_by_me(public.comments) is 'Computed column of comments: whether the caller likes it.';
grant execute on function public.liked_by_me(public.comments) to anon, authenticated;

alter table public.comments enable row level security;
revoke all on public.comments from anon, authenticated, service_role;
grant select on public.comments to anon, authenticated, service_role;
grant insert (post_id, item_id, article_id, parent_comment_id, content) on public.comments to authenticated;
grant update (content) on public.comments to authenticated;
grant delete on public.comments to authenticated;

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

create trigger keep_row before update on public.comment_likes
for each row execute function private.keep_row();

alter table public.comment_likes enable row level security;
revoke all on public.comment_likes from anon, authenticated, service_role;
grant select on public.comment_likes to anon, authenticated, service_role;
grant insert (comment_id) on public.comment_likes to authenticated;
-- For upserts, see keep_row().
grant update (comment_id) on public.comment_likes to authenticated;
grant delete on public.comment_likes to authenticated;

create policy comment_likes_select_anon on public.comment_likes for select to anon
using (
    (select c.id from public.comments as c where c.id = comment_likes.comment_id) is not null
    and private.can_see(user_id)
);
create policy comment_likes_select on public.comment_likes for select to authenticated
using (
    (select c.id from public.comments as c where c.id = comment_likes.comment_id) is not null
    and (user_id = (select private.member_id()) or private.can_see(user_id))
);
create policy comment_likes_insert on public.comment_likes for insert to authenticated
with check (
    user_id = (select private.member_id())
    and exists (
        select from public.comments as c where c.id = comment_likes.comment_id and c.user_id is not null
    )
);
create policy comment_likes_update on public.comment_likes for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy comment_likes_delete on public.comment_likes for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_comment(comment_id));

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
    return query
    select c.id, c.is_hidden
    from private.hold_each('public.comments', ids) as h (id)
    inner join public.comments as c on c.id = h.id;
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

insert into private.counters (counter, relation, key, count_column, truth) values
('posts.comments_count', 'public.posts', 'id', 'comments_count',
'select post_id, count(*) from public.comments where post_id is not null and audience <> ''owner'' group by 1'),
('catalog_items.comments_count', 'public.catalog_items', 'id', 'comments_count',
'select item_id, count(*) from public.comments where item_id is not null and audience <> ''owner'' group by 1'),
('articles.comments_count', 'public.articles', 'id', 'comments_count',
'select article_id, count(*) from public.comments where article_id is not null and audience <> ''owner'' group by 1'),
('comments.likes_count', 'public.comments', 'id', 'likes_count',
'select comment_id, count(*) from public.comment_likes group by 1');

insert into private.personal_data (section, relation, condition) values
('comments', 'public.comments', 't.user_id = $1'),
('comment_likes', 'public.comment_likes', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('comments_held', 'lock_replies', '{}', 'select private.hold_comments_of_account($1)', null),
('comment_likes', 'reactions', '{public.comment_likes}',
    'delete from public.comment_likes where user_id = $1',
    'select private.erase_rows(''public.comment_likes'', ''user_id = $1'', $1, $2)'),
('comments', 'replies', '{public.comments}',
    'delete from public.comments where user_id = $1',
    'select 5 * private.erase_rows(''public.comments'', ''user_id = $1'', $1, 1 + $2 / 5)');
