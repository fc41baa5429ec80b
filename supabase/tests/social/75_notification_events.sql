begin;
\ir ../helpers.psql
set local search_path = public, extensions;
select no_plan();

select pg_temp.people();
update public.profiles set username = 'user' || right(id::text, 1);
update public.profiles set role = 'author' where id = pg_temp.id(1);

-- What is told since the last look, as 'user:type:actor:relation', sorted; looking forgets it.
create function pg_temp.told() returns text language plpgsql as $$
declare
    answer text;
begin
    perform set_config('role', 'none', true);
    select string_agg(line, ' ' order by line) into answer from (
        select right(user_id::text, 1) || ':' || type || coalesce(':' || right(actor_id::text, 1), '')
            || coalesce(':' || related_type, '') as line
        from public.notifications
    ) as t;
    delete from public.notifications;
    return answer;
end
$$;
create function pg_temp.post(author integer, content text, in_group uuid default null) returns uuid language plpgsql as $$
declare
    post uuid;
begin
    perform set_config('role', 'none', true);
    insert into public.posts (user_id, content, group_id) values (pg_temp.id(author), content, in_group)
    returning id into post;
    return post;
end
$$;
-- Comments are checked as their writer.
create function pg_temp.comment(writer integer, post uuid, content text, parent uuid default null)
returns uuid language plpgsql as $$
declare
    comment uuid;
begin
    perform pg_temp.be(pg_temp.id(writer));
    insert into public.comments (post_id, content, parent_comment_id) values (post, content, parent)
    returning id into comment;
    perform set_config('role', 'none', true);
    return comment;
end
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.told();

-- Posts, likes, shares.
create temp table p as select pg_temp.post(1, 'Hello') as id;
grant select on p to public;
insert into public.post_likes (post_id, user_id) select id, pg_temp.id(n) from p, generate_series(1, 4) as n;
select is(pg_temp.told(), '1:like:2:post', 'three likes and one''s own: one notification');
delete from public.post_likes;
insert into public.post_likes (post_id, user_id) select id, pg_temp.id(3) from p;
insert into public.post_likes (post_id, user_id) select id, pg_temp.id(4) from p;
select pg_temp.be(pg_temp.id(1));
select is((select n.actors_count from public.notifications as n), 2, 'how many they were');
select pg_temp.be(pg_temp.id(4));
insert into public.user_blocks (blocked_id) values (pg_temp.id(1));
select pg_temp.be(pg_temp.id(1));
select is((select n.actors_count from public.notifications as n), 1, 'of those one may know of');
select is(public.actors_count((select row(n.*)::public.notifications from (
    select gen_random_uuid() as id, pg_temp.id(2) as user_id, 'like' as type, '' as title,
    '' as message, null as link_url, null::uuid as actor_id, 'post' as related_type, (select id from p) as related_id,
    false as is_read, null::timestamptz as read_at, now() as created_at) as n)), 0, 'a made-up row counts nothing');
select is(pg_temp.told(), '1:like:3:post', 'one until then');
delete from public.user_blocks;
insert into public.post_shares (post_id, user_id) select id, pg_temp.id(2) from p;
select is(pg_temp.told(), '1:share:2:post', 'shares');

-- Comments, replies, mentions.
create temp table c as select pg_temp.comment(2, p.id, 'First') as id from p;
grant select on c to public;
select is(pg_temp.told(), '1:comment:2:comment', 'a comment is told to the author of the post');
select pg_temp.comment(3, p.id, 'Reply to @user2, hi @user1 and @user4.', c.id) from p, c;
select is(
    pg_temp.told(), '1:comment:3:comment 2:reply:3:comment 4:mention:3:comment',
    'one notice each: reply, comment, mention'
);
select pg_temp.comment(1, p.id, 'Own', c.id) from p, c;
select is(pg_temp.told(), '2:reply:1:comment', 'one''s own post tells oneself nothing');
insert into public.comment_likes (comment_id, user_id) select id, pg_temp.id(3) from c;
select is(
    (select link_url from public.notifications), (select '/posts/' || p.id || '#comment-' || c.id from p, c),
    'links lead to where it is shown'
);
select is(pg_temp.told(), '2:like:3:comment', 'likes of comments');
select pg_temp.post(2, 'Hi @user1, @USER3 @nobody user4@user4.example http://x.example/@user4 @user3');
select is(pg_temp.told(), '1:mention:2:post 3:mention:2:post', 'names, whatever the case, once, not addresses');
update public.profiles set username = 'a_' || right(id::text, 1) where id = pg_temp.id(3);
select pg_temp.post(2, (select string_agg('@u' || n || 'x', ' ') from generate_series(100, 119) as n) || ' @a_3');
select is(pg_temp.told(), null, 'at most the first twenty names');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(2);
select pg_temp.post(2, 'Psst @user1');
insert into public.post_likes (post_id, user_id) select id, pg_temp.id(2) from p;
select is(pg_temp.told(), null, 'of what a private person does nobody is told');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(2);

-- Hidden and deleted.
select pg_temp.comment(3, p.id, 'Here @user4', c.id) from p, c;
update public.posts set is_hidden = true where id = (select id from p);
select is(pg_temp.told(), '1:comment:3:comment', 'a hidden post is no longer told of, but to its author');
update public.posts set is_hidden = false;
select pg_temp.comment(3, p.id, 'Here @user4', c.id) from p, c;
update public.comments set is_hidden = true where content = 'Here @user4';
select is(pg_temp.told(), null, 'nor is a hidden comment');
select pg_temp.comment(3, p.id, 'There @user4', c.id) from p, c;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(1);
select is(pg_temp.told(), '1:comment:3:comment', 'nor what was said on a post whose author went private');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(1);
select pg_temp.comment(3, p.id, 'There @user4', c.id) from p, c;
delete from public.posts where id = (select id from p);
select is(pg_temp.told(), null, 'a deleted post takes everything with it');

-- Items and articles.
create temp table item as select pg_temp.artwork(1, 5000) as id;
grant select on item to public;
insert into public.favorites (user_id, item_id) select pg_temp.id(n), id from item, generate_series(1, 3) as n;
select is(pg_temp.told(), '1:favorite:artwork', 'favorites are told without a name');
select pg_temp.be(pg_temp.id(2));
insert into public.comments (item_id, content) select id, 'Nice, @a_3' from item;
select is(pg_temp.told(), '1:comment:2:comment 3:mention:2:comment', 'comments on items go to the seller');
insert into public.articles (author_id, title, content, is_published) values (pg_temp.id(1), 'News', 'x', true);
insert into public.article_likes (article_id, user_id) select id, pg_temp.id(2) from public.articles;
select pg_temp.be(pg_temp.id(2));
insert into public.comments (article_id, content) select id, 'Good' from public.articles;
select is(pg_temp.told(), '1:comment:2:comment 1:like:2:article', 'articles');

-- Follows.
insert into public.follows (follower_id, following_id) values (pg_temp.id(1), pg_temp.id(2));
delete from public.follows;
insert into public.follows (follower_id, following_id) values (pg_temp.id(1), pg_temp.id(2));
select is(pg_temp.told(), '2:follow:1:profile', 'followed, back and forth: once');
insert into public.follows (follower_id, following_id) values (pg_temp.id(2), pg_temp.id(1));
select is(pg_temp.told(), '1:connected:2:profile', 'followed back: connected');

-- Groups.
select pg_temp.be(pg_temp.id(1));
insert into public.groups (name, visibility, post_approval_required) values ('Club', 'private', true);
select set_config('role', 'none', true);
create temp table g as select id from public.groups;
grant select on g to public;
select pg_temp.told();
select pg_temp.be(pg_temp.id(2));
select public.join_group(id) from g;
select is(pg_temp.told(), '1:group_request:2:group', 'requests go to who decides');
select pg_temp.be(pg_temp.id(1));
select public.approve_member(id, pg_temp.id(2)) from g;
select is(pg_temp.told(), '2:group_approved:group', 'approved');
select pg_temp.be(pg_temp.id(1));
select public.invite_to_group(id, pg_temp.id(3)) from g;
select is(pg_temp.told(), '3:group_invitation:1:group', 'invited');
select pg_temp.be(pg_temp.id(1));
select public.cancel_invitation(id, pg_temp.id(3)) from g;
select public.invite_to_group(id, pg_temp.id(3)) from g;
select public.cancel_invitation(id, pg_temp.id(3)) from g;
select is(pg_temp.told(), null, 'an invitation withdrawn was never told of');
create temp table gp as select pg_temp.post(2, 'Hello @user1 and @user4', id) as id from g;
grant select on gp to public;
select is(pg_temp.told(), '1:group_post_request:2:post', 'a post that waits is told to moderators,
mentions nobody yet');
select pg_temp.be(pg_temp.id(1));
select public.approve_post(id) from gp;
select is(pg_temp.told(), '1:mention:2:post 2:group_post_approved:post', 'approved: mentions reach members only');
create temp table gs as select pg_temp.post(2, 'Spam', id) as id from g;
grant select on gs to public;
select pg_temp.told();
select pg_temp.be(pg_temp.id(1));
select public.reject_post(id, 'no') from gs;
select is(pg_temp.told(), '2:group_post_rejected:post', 'rejected');
select pg_temp.be(pg_temp.id(1));
select public.set_member_role(id, pg_temp.id(2), 'moderator') from g;
select is(pg_temp.told(), '2:group_role:group', 'another role');
select pg_temp.be(pg_temp.id(1));
select public.transfer_group(id, pg_temp.id(2)) from g;
select is(pg_temp.told(), '2:group_ownership:group', 'the new owner is told');
select pg_temp.be(pg_temp.id(2));
select public.ban_member(id, pg_temp.id(1)) from g;
select public.ban_member(id, pg_temp.id(3)) from g;
select is(pg_temp.told(), '1:group_banned:group', 'banned; who never was a member learns nothing');

-- Messages.
insert into public.follows (follower_id, following_id)
select pg_temp.id(n), pg_temp.id(1) from generate_series(2, 3) as n
on conflict do nothing;
select pg_temp.told();
select pg_temp.be(pg_temp.id(1));
select set_config('test.conversation', (public.start_conversation(array[pg_temp.id(2), pg_temp.id(3)])).id::text, true);
insert into public.messages (conversation_id, content) values (current_setting('test.conversation')::uuid, 'Hi');
insert into public.messages (conversation_id, content) values (current_setting('test.conversation')::uuid, 'Hi again');
select pg_temp.be(pg_temp.id(2));
insert into public.messages (conversation_id, content) values (current_setting('test.conversation')::uuid, 'Hello');
select set_config('role', 'none', true);
select is(
    (select string_agg(right(user_id::text, 1) || right(actor_id::text, 1),
    ' ' order by user_id) from public.notifications),
    '12 21 31', 'one unread notification a conversation and participant'
);
update public.inbox_entries set unread_count = 0 where user_id = pg_temp.id(2);
select is(
    (select string_agg(right(user_id::text, 1), ' ') from public.notifications where is_read), '2',
    'who reads the conversation has read the notification'
);
select pg_temp.be(pg_temp.id(2));
select is((public.unread_counts()).messages, 0, 'no unread message');
select pg_temp.be(pg_temp.id(3));
select is((public.unread_counts()).messages, 3, 'three unread messages');
select set_config('role', 'none', true);
delete from public.notifications;
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(3), pg_temp.id(1));
select pg_temp.be(pg_temp.id(1));
insert into public.messages (conversation_id, content) values (current_setting('test.conversation')::uuid, 'And?');
select is(pg_temp.told(), '2:message:1:conversation', 'in a group chat not across a block');
delete from public.user_blocks;

-- Money.
create temp table o as select pg_temp.buy(2, pg_temp.artwork(1, 5000)) as id;
grant select on o to public;
select is(pg_temp.told(), '1:purchase:order_item 2:order:order', 'an order: the buyer and the seller');
update public.transactions set release_at = now();
select is(private.release_matured_earnings(10), 1, 'released');
select is(private.release_matured_earnings(10), 0, 'once');
select is(pg_temp.told(), '1:earnings:wallet', 'earnings');
select private.create_refund(p.id, null, p.amount_cents, 'broken', 'seller', null) from public.payments as p, o
where p.order_id = o.id;
select private.record_refund(id, 're_1', 'succeeded') from public.refunds;
select is(pg_temp.told(), '1:refund:order_item 2:refund:order', 'refunds: both');
select is((select count(*) from private.mails where type = 'refund'), 2::bigint, 'and by e-mail');
insert into public.payouts (user_id, amount_cents, destination) values (pg_temp.id(1), 5000, 'acct_1');
select is(pg_temp.told(), '1:payout_requested:payout', 'a payout is asked for');
update public.payouts set status = 'approved';
update public.payouts set status = 'processing';
update public.payouts set status = 'completed';
select is(pg_temp.told(), '1:payout:payout', 'sent');
update public.payouts set status = 'returned';
select is(pg_temp.told(), '1:payout_failed:payout', 'and came back');
insert into public.payouts (user_id, amount_cents, destination) values (pg_temp.id(1), 5000, 'acct_1');
select pg_temp.told();
update public.payouts set status = 'cancelled', failure_reason = 'by_seller' where status = 'requested';
select is(pg_temp.told(), null, 'one''s own cancellation is known');
update public.wallets set stripe_account_id = 'acct_1', stripe_account_status = 'pending' where user_id = pg_temp.id(1);
update public.wallets set balance_available_cents = balance_available_cents where user_id = pg_temp.id(1);
select is(pg_temp.told(), '1:payout_account:wallet', 'another payout account');

-- Requests for skills.
insert into public.custom_field_requests (id, field_type, field_value, normal_value)
values (pg_temp.id(950), 'skill', 'Tamburica', private.normal_form('Tamburica'));
insert into public.custom_field_requesters (request_id, user_id, spelling)
select pg_temp.id(950), pg_temp.id(n), 'Tamburica' from generate_series(1, 3) as n;
update public.custom_field_requests set request_count = 3;
select is(pg_temp.told(), null, 'not yet');
update public.custom_field_requests set status = 'auto_approved', field_id = gen_random_uuid();
update public.custom_field_requests set status = 'auto_approved', reviewed_at = now();
select is(
    pg_temp.told(),
    '1:field_approved:custom_field_request 2:field_approved:custom_field_request '
    || '3:field_approved:custom_field_request', 'three asked, three are told, once'
);

-- Standing and moderation.
delete from private.mails;
update public.profiles set role = 'author' where id = pg_temp.id(2);
insert into public.bans (user_id, reason) values (pg_temp.id(3), 'spam');
delete from public.bans;
select is(
    (select string_agg(right(user_id::text, 1) || ':' || type, ' ' order by user_id, type) from private.mails),
    '2:role_changed 3:account_banned 3:account_restored', 'each is mailed at once'
);
select is(pg_temp.told(), '2:role_changed:profile 3:account_banned:profile 3:account_restored:profile', 'and told');
create temp table h as select pg_temp.post(2, 'Bad') as id;
grant select on h to public;
select pg_temp.be(pg_temp.id(3));
select public.report_content('post', id, 'spam') from h;
select pg_temp.be(pg_temp.id(4));
select public.hide_content('post', id, 'spam') from h;
select public.resolve_report(r.id, 'upheld') from public.reports as r;
select is(pg_temp.told(), '2:content_hidden:post 3:report_resolved:report',
'hidden: the author; decided: the reporter');
select pg_temp.be(pg_temp.id(4));
select public.restore_content('post', id) from h;
select is(pg_temp.told(), '2:content_restored:post', 'put back');
select private.count_false_report(pg_temp.id(3));
select private.count_false_report(pg_temp.id(3));
select is(pg_temp.told(), '3:report_warning:profile 3:report_warning:profile', 'each false report');
select private.count_false_report(pg_temp.id(3));
select is(pg_temp.told(), '3:report_ban:profile', 'the third ends reporting');
select pg_temp.be(pg_temp.id(4));
select public.override_report_ban(pg_temp.id(3));
select is(pg_temp.told(), '3:report_ban_lifted:profile', 'until an admin lifts it');

-- Who is told of comes and goes: what collapsed names whoever of them is there.
select pg_temp.told();
create function pg_temp.left_of(gone text) returns text language plpgsql as $$
declare
    answer text;
begin
    perform set_config('request.jwt.claims', '', true);
    execute gone;
    select string_agg(
        n.type || ':' || coalesce(right(n.actor_id::text, 1), '-') || ':'
        || (select count(*) from private.notice_actors(n)), ' ' order by n.type, n.user_id
    ) into answer
    from public.notifications as n where n.type in ('like', 'favorite', 'follow', 'group_request', 'share', 'message');
    return coalesce(answer, 'nothing');
end
$$;
create temp table many as select pg_temp.post(1, 'Loved') as id, pg_temp.product(1, 500) as item;
grant select on many to public;
select pg_temp.told();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(61, 64) as n;
insert into public.post_likes (post_id, user_id) select id, pg_temp.id(n) from many, generate_series(61, 64) as n;
select is(pg_temp.left_of('select'), 'like:1:4', 'four like it');
select is(pg_temp.left_of('delete from public.post_likes where user_id = pg_temp.id(61)'), 'like:2:3', 'the first takes it back');
select is(
    pg_temp.left_of('insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(62))'),
    'like:3:2', 'the next is blocked'
);
select is(pg_temp.left_of($$insert into public.bans (user_id, reason) values (pg_temp.id(63), 'x')$$), 'like:4:1', 'banned');
select is(pg_temp.left_of('delete from auth.users where id = pg_temp.id(64)'), 'nothing', 'with nobody left it goes');
select is(pg_temp.left_of('delete from public.bans'), 'nothing', 'for good');
insert into auth.users (id, email) values (pg_temp.id(65), '65@example.com');
insert into public.favorites (item_id, user_id) select item, pg_temp.id(n) from many, unnest(array[63, 65]) as n;
select is(pg_temp.left_of('select'), 'favorite:-:2', 'two favorites, nobody is named');
select is(
    pg_temp.left_of($$update public.profiles set profile_visibility = 'private' where id = pg_temp.id(63)$$),
    'favorite:-:1', 'one hides'
);
select is(pg_temp.left_of('delete from public.favorites where user_id = pg_temp.id(65)'), 'nothing', 'the other gives it up');
select is(
    pg_temp.left_of('insert into public.follows (follower_id, following_id) values (pg_temp.id(65), pg_temp.id(1))'),
    'follow:5:1', 'a follower'
);
select is(pg_temp.left_of('delete from public.follows where follower_id = pg_temp.id(65)'), 'nothing', 'who follows no more');
insert into public.groups (id, owner_id, name, visibility) values (pg_temp.id(970), pg_temp.id(1), 'Asked', 'private');
insert into public.group_members (group_id, user_id, status, joined_at)
select pg_temp.id(970), pg_temp.id(n), 'pending', null from unnest(array[61, 65]) as n;
select is(pg_temp.left_of('select'), 'group_request:1:2', 'two ask to join');
select is(
    pg_temp.left_of('delete from public.group_members where user_id = pg_temp.id(61)'), 'group_request:5:1', 'one withdraws'
);
select is(
    pg_temp.left_of($$update public.group_members set status = 'active', joined_at = now() where user_id = pg_temp.id(65)$$),
    'nothing', 'the other is admitted'
);

-- Who is named, and who only seems to be.
update public.profiles set username = 'user3' where id = pg_temp.id(3);
select is(
    array(select right(m.id::text, 1) from private.mentioned(content) as m (id) order by 1), wanted, 'mentioned: ' || content
)
from (values
    ('@user2', '{2}'::text[]), ('Hi (@user2), @USER3! @user4''s.', '{2,3,4}'), ('@user2: @user3, @user4.', '{2,3,4}'),
    ('@user2@elsewhere.org', '{}'), ('@user2@elsewhere', '{}'), ('@user2.@elsewhere', '{}'), ('@user2:elsewhere.org', '{}'),
    ('x@user2 x.@user2 x-@user2 _@user2 +@user2', '{}'), ('https://e.com/@user2', '{}'), ('?by=@user2&x', '{}'),
    (U&'@user2\00E9', '{}'), (U&'@user2e\0301', '{}'), (U&'@user2\0301', '{}'), (U&'\00E9@user2', '{}'),
    (U&'@user2\65E5', '{}'), ('@user2_', '{}'), ('@user2-', '{2}'), ('@user2.com', '{}'), ('@user2/about', '{}'),
    ('@user2' || repeat('x', 40), '{}'), ('@@user2', '{}'), ('', '{}')
) as t (content, wanted);
update public.profiles set username = repeat('u', 30) where id = pg_temp.id(3);
select is((select count(*) from private.mentioned('@' || repeat('u', 31))), 0::bigint, 'nobody by the first 30 letters');
select is((select count(*) from private.mentioned('@' || repeat('u', 30))), 1::bigint, 'somebody by all 30');
update public.profiles set username = 'user3' where id = pg_temp.id(3);

-- Once per person and post, edits too.
select pg_temp.told();
create temp table edited as select pg_temp.post(1, 'Hello @user2') as id;
grant select on edited to public;
select is(pg_temp.told(), '2:mention:1:post', 'mentioned');
create function pg_temp.edit(content text) returns text language plpgsql as $$
begin
    perform pg_temp.be(pg_temp.id(1));
    update public.posts set content = edit.content where id = (select id from edited);
    return pg_temp.told();
end
$$;
grant execute on function pg_temp.edit(text) to public;
select is(pg_temp.edit('Hello @user2 and @user3'), '3:mention:1:post', 'an edit tells who is new');
select is(pg_temp.edit('Hello'), null, 'nobody is left');
select is(pg_temp.edit('Hello @user2 and @user3!'), null, 'nobody is told again');
create temp table remark as select pg_temp.comment(2, (select id from edited), 'Nice') as id;
grant select on remark to public;
select pg_temp.told();
select pg_temp.be(pg_temp.id(2));
update public.comments set content = 'Nice, @user3 and @user1' where id = (select id from remark);
select is(pg_temp.told(), '3:mention:2:comment', 'the edit of a comment tells who is named, not its reader again');
select pg_temp.be(pg_temp.id(2));
update public.comments set content = 'Nice, @user3 and @user1!' where id = (select id from remark);
select is(pg_temp.told(), null, 'once');

-- Approved, edited and approved again.
insert into public.groups (id, owner_id, name, post_approval_required) values (pg_temp.id(950), pg_temp.id(1), 'Asks', true);
insert into public.group_members (group_id, user_id) values (pg_temp.id(950), pg_temp.id(2)), (pg_temp.id(950), pg_temp.id(3));
create temp table asked as select pg_temp.post(2, 'Hello @user3', pg_temp.id(950)) as id;
grant select on asked to public;
select is(pg_temp.told(), '1:group_post_request:2:post', 'waits for approval');
create function pg_temp.approve() returns text language plpgsql as $$
begin
    perform pg_temp.be(pg_temp.id(1));
    perform public.approve_post((select id from asked));
    return pg_temp.told();
end
$$;
grant execute on function pg_temp.approve() to public;
select is(pg_temp.approve(), '2:group_post_approved:post 3:mention:2:post', 'approved: told');
select pg_temp.be(pg_temp.id(2));
update public.posts set content = 'Hello again @user3' where id = (select id from asked);
select is(pg_temp.told(), '1:group_post_request:2:post', 'edited: waits again');
select is(pg_temp.approve(), '2:group_post_approved:post', 'approved again: not told again');
delete from public.posts where id = (select id from asked);
select is((select count(*) from private.told_mentions where related_id = (select id from asked)), 0::bigint,
    'what is deleted is forgotten');

select * from finish();
rollback;
