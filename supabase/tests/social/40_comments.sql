-- Comments: on what, by whom, read by whom, how deep, and what is counted.
begin;
\ir ../helpers.psql
select no_plan();

select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 9) as n;
-- 1 posts and sells, 2 and 3 talk, 4 is an admin, 5 gets banned, 6 is private, 7 for members only, 8 blocked 1, 9 is in
-- the group of 1.
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(6);
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(7);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(8), pg_temp.id(1));
update public.profiles set role = 'author' where id = pg_temp.id(1);

insert into public.groups (id, owner_id, name) values (pg_temp.id(50), pg_temp.id(1), 'Club');
insert into public.group_members (group_id, user_id) values (pg_temp.id(50), pg_temp.id(9)), (pg_temp.id(50), pg_temp.id(5));
insert into public.posts (id, user_id, content) values
(pg_temp.id(100), pg_temp.id(1), 'Hello'), (pg_temp.id(101), pg_temp.id(6), 'Private'), (pg_temp.id(102), pg_temp.id(1), 'Bye');
insert into public.posts (id, user_id, content, group_id) values (pg_temp.id(103), pg_temp.id(1), 'Club', pg_temp.id(50));
insert into public.articles (id, author_id, title, is_published) values
(pg_temp.id(110), pg_temp.id(1), 'News', true), (pg_temp.id(111), pg_temp.id(1), 'Draft', false);
create temporary table item as select pg_temp.artwork(1, 5000) as id;
create temporary table drawer as select pg_temp.artwork(1, 5000) as id;
update public.artworks set status = 'draft' where id = (select id from drawer);
grant select on item, drawer to public;

create function pg_temp.seen(who integer, comment integer, speaker text default 'authenticated') returns boolean
language plpgsql as $$
declare
    answer boolean;
begin
    perform pg_temp.be(pg_temp.id(who), speaker);
    answer := exists (select from public.comments as c where c.id = pg_temp.id(comment));
    perform set_config('role', 'none', true);
    return answer;
end
$$;
create function pg_temp.touched(who integer, statement text) returns bigint language plpgsql as $$
declare
    n bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute statement;
    get diagnostics n = row_count;
    perform set_config('role', 'none', true);
    return n;
end
$$;
create function pg_temp.comment(n integer, author integer, post integer default 100, parent integer default null)
returns void language sql as $$
    insert into public.comments (id, user_id, post_id, parent_comment_id, content)
    values (pg_temp.id(n), pg_temp.id(author), pg_temp.id(post), pg_temp.id(parent), 'Words')
$$;
create function pg_temp.counts() returns integer[] language sql as $$
    select array[
        (select p.comments_count from public.posts as p where p.id = pg_temp.id(100)),
        (select c.comments_count from public.catalog_items as c where c.id = (select i.id from item as i)),
        (select a.comments_count from public.articles as a where a.id = pg_temp.id(110))
    ]
$$;
grant execute on all functions in schema pg_temp to public;

-- Structure.
select has_index('public', 'comments', i || '_created_at_id_idx', array[substr(i, 10), 'created_at', 'id'], 'keyset ' || i)
from unnest(array['comments_post_id', 'comments_item_id', 'comments_article_id', 'comments_parent_comment_id', 'comments_user_id']) as i;
select is(has_column_privilege('authenticated', 'public.comments', c, p), false, format('nobody may %s %s', p, c))
from unnest(array[
    'user_id', 'depth', 'likes_count', 'is_hidden', 'hidden_reason', 'author_audience', 'created_at'
]) as c, unnest(array['insert', 'update']) as p;
select is(has_column_privilege('authenticated', 'public.comments', c, 'update'), false, 'nobody moves a comment: ' || c)
from unnest(array['post_id', 'item_id', 'article_id', 'parent_comment_id']) as c;

-- On what.
select is(pg_temp.code_as(pg_temp.id(s.who), s.statement), s.code, s.means)
from (values
    (2, $$insert into public.comments (post_id, content) values (pg_temp.id(100), 'Hi')$$, null, 'on a post'),
    (2, $$insert into public.comments (item_id, content) select id, 'Hi' from item$$, null, 'on an item'),
    (2, $$insert into public.comments (article_id, content) values (pg_temp.id(110), 'Hi')$$, null, 'on an article'),
    (9, $$insert into public.comments (post_id, content) values (pg_temp.id(103), 'Hi')$$, null, 'on a post of one''s group'),
    (2, $$insert into public.comments (content) values ('Hi')$$, '23514', 'on nothing'),
    (2, $$insert into public.comments (post_id, article_id, content) values (pg_temp.id(100), pg_temp.id(110), 'Hi')$$,
        '23514', 'on two things'),
    (2, $$insert into public.comments (post_id, content) values (pg_temp.id(100), ' ')$$, 'text_not_visible', 'without words'),
    (2, $$insert into public.comments (post_id, content) values (pg_temp.id(100), repeat('x', 5001))$$, '23514', 'too long'),
    (2, $$insert into public.comments (post_id, user_id, content) values (pg_temp.id(100), pg_temp.id(3), 'Hi')$$, '42501',
        'in somebody''s name'),
    (2, $$insert into public.comments (post_id, content) values (pg_temp.id(999), 'Hi')$$, 'comment_target_not_found',
        'on what does not exist'),
    (2, $$insert into public.comments (post_id, content) values (pg_temp.id(101), 'Hi')$$, 'comment_target_not_found',
        'on a private person''s post'),
    (2, $$insert into public.comments (post_id, content) values (pg_temp.id(103), 'Hi')$$, 'comment_target_not_found',
        'on a post of a group one is not in'),
    (8, $$insert into public.comments (post_id, content) values (pg_temp.id(100), 'Hi')$$, 'comment_target_not_found',
        'on a post of somebody one blocked'),
    (8, $$insert into public.comments (item_id, content) select id, 'Hi' from item$$, 'comment_target_not_found',
        'on an item of somebody one blocked'),
    (8, $$insert into public.comments (article_id, content) values (pg_temp.id(110), 'Hi')$$, 'comment_target_not_found',
        'on an article of somebody one blocked'),
    (2, $$insert into public.comments (item_id, content) select id, 'Hi' from drawer$$, 'comment_target_not_found',
        'on an unpublished item'),
    (2, $$insert into public.comments (article_id, content) values (pg_temp.id(111), 'Hi')$$, 'comment_target_not_found',
        'on a draft')
) as s (who, statement, code, means);
select is(
    pg_temp.code_as(null, $$insert into public.comments (post_id, content) values (pg_temp.id(100), 'Hi')$$, 'anon'),
    '42501', 'visitors do not comment'
);
select is(pg_temp.counts(), '{1,1,1}', 'each is counted where it belongs');
select pg_temp.ban();
select is(pg_temp.code_as(pg_temp.id(5), $$insert into public.comments (post_id, content) values (pg_temp.id(100), 'Hi')$$),
    '42501', 'who is banned does not comment');
delete from public.bans;
delete from public.comments;
select is(pg_temp.counts(), '{0,0,0}', 'and counted down');

-- Threads.
select pg_temp.comment(200, 2), pg_temp.comment(201, 3, parent => 200), pg_temp.comment(202, 2, parent => 201);
select results_eq(
    'select depth::integer from public.comments order by depth', array[0, 1, 2], 'a reply is one deeper than its parent'
);
select pg_temp.comment(202 + n, 2, parent => 201 + n) from generate_series(1, 6) as n;
select is(pg_temp.code_as(pg_temp.id(2), s.statement), s.code, s.means)
from (values
    ($$insert into public.comments (post_id, parent_comment_id, content) values (pg_temp.id(100), pg_temp.id(208), 'x')$$,
        'comment_too_deep', 'eight deep and no deeper'),
    ($$insert into public.comments (post_id, parent_comment_id, content) values (pg_temp.id(102), pg_temp.id(200), 'x')$$,
        'comment_not_found', 'a reply is about the same post'),
    ($$insert into public.comments (article_id, parent_comment_id, content) values (pg_temp.id(110), pg_temp.id(200), 'x')$$,
        'comment_not_found', 'and the same kind of thing'),
    ($$insert into public.comments (post_id, parent_comment_id, content) values (pg_temp.id(100), pg_temp.id(999), 'x')$$,
        'comment_not_found', 'as if it did not exist')
) as s (statement, code, means);
select pg_temp.comment(220, 6);
select is(
    pg_temp.code_as(pg_temp.id(2),
    $$insert into public.comments (post_id, parent_comment_id, content) values (pg_temp.id(100), pg_temp.id(220), 'x')$$),
    'comment_not_found', 'nor is there a reply to somebody private'
);
insert into public.comment_likes (comment_id, user_id) values (pg_temp.id(202), pg_temp.id(3));
create temp table counted as select pg_temp.counts() as before;
select pg_temp.be(pg_temp.id(2));
delete from public.comments where id = pg_temp.id(202);
select results_eq(
    'select user_id, content, likes_count, depth::integer from public.comments where id = pg_temp.id(202)',
    'values (null::uuid, null::text, 0, 2)', 'a deleted comment with replies stays as a place, and everybody sees it'
);
reset role;
select is((select count(*)::integer from public.comments where depth > 2), 6, 'its replies stay');
select is((pg_temp.counts()::integer [])[1], (select (b.before::integer [])[1] - 1 from counted as b), 'it does not count');
select is(pg_temp.code_as(pg_temp.id(3), s), code, means) from (values
    ($$insert into public.comments (post_id, parent_comment_id, content) values (pg_temp.id(100), pg_temp.id(202), 'x')$$,
        'comment_not_found', 'nobody replies to it'),
    ($$insert into public.comment_likes (comment_id) values (pg_temp.id(202))$$, '42501', 'nor likes it'),
    ($$select public.report_content('comment', pg_temp.id(202), 'spam')$$, 'content_not_found', 'nor reports it')
) as v (s, code, means);
delete from public.comments where id = pg_temp.id(202);
select is((select count(*)::integer from public.comments where id = pg_temp.id(202)), 1, 'it stays as long as there are replies');
delete from public.comments where depth > 2;
select is_empty('select from public.comments where depth > 1', 'and goes with the last of them');
select is_empty('select * from private.recount()', 'all is counted');
select is(pg_temp.counts(), '{2,0,0}', 'the private one does not count, nor do those that are gone');

-- Who reads.
select pg_temp.comment(210, 7), pg_temp.comment(211, 9, post => 103), pg_temp.comment(212, 5, post => 103);
insert into public.comments (id, user_id, item_id, content) select pg_temp.id(213), pg_temp.id(2), id, 'Nice' from item;
select is(array[pg_temp.seen(3, 200), pg_temp.seen(null, 200, 'anon'), pg_temp.seen(8, 200)], '{t,t,f}',
    'everybody who reads the post, so not who is blocked');
select is(array[pg_temp.seen(3, 213), pg_temp.seen(null, 213, 'anon'), pg_temp.seen(8, 213)], '{t,t,f}', 'likewise items');
select is(array[pg_temp.seen(3, 210), pg_temp.seen(null, 210, 'anon')], '{t,f}', 'an author for members only');
select is(array[pg_temp.seen(3, 220), pg_temp.seen(1, 220), pg_temp.seen(6, 220), pg_temp.seen(4, 220)], '{f,f,t,t}',
    'a private author: only they, and admins');
select is(array[pg_temp.seen(9, 212), pg_temp.seen(1, 212), pg_temp.seen(3, 212), pg_temp.seen(null, 212, 'anon')], '{t,t,f,f}',
    'in a group: its members');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(3), pg_temp.id(2));
select is(array[pg_temp.seen(3, 200), pg_temp.seen(2, 201), pg_temp.seen(1, 200)], '{f,f,t}', 'blocks work both ways');
delete from public.user_blocks where blocker_id = pg_temp.id(3);
update public.comments set is_hidden = true, hidden_reason = 'rude' where id = pg_temp.id(200);
select is(array[pg_temp.seen(3, 200), pg_temp.seen(2, 200), pg_temp.seen(1, 200), pg_temp.seen(4, 200)], '{f,t,f,t}',
    'hidden: its author and admins');
select is(pg_temp.seen(2, 201), true, 'a reply to it stays');
select is(pg_temp.counts(), '{2,1,0}', 'what is hidden does not count');
select is_empty('select * from private.recount()', 'no counter differs');
update public.posts set is_hidden = true where id = pg_temp.id(100);
select is(array[pg_temp.seen(3, 201), pg_temp.seen(2, 201), pg_temp.seen(1, 201)], '{t,f,t}',
    'a hidden post hides its comments from all but their authors and its own');
update public.posts set is_hidden = false where id = pg_temp.id(100);
update public.comments set is_hidden = false where id = pg_temp.id(200);
select is(pg_temp.counts(), '{3,1,0}', 'what is restored counts again');

-- Standing and visibility move what is counted.
select is(
    pg_temp.code_as(pg_temp.id(2), $$select public.set_profile_visibility('private')$$),
    null, 'somebody goes into hiding'
);
select is(pg_temp.counts(), '{2,0,0}', 'their comments no longer count');
select is(array[pg_temp.seen(3, 200), pg_temp.seen(1, 213), pg_temp.seen(2, 200)], '{f,f,t}', 'nor are read');
insert into public.bans (user_id, reason) values (pg_temp.id(3), 'spam');
select is(pg_temp.counts(), '{1,0,0}', 'a ban does the same');
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(2);
delete from public.bans;
select is(pg_temp.counts(), '{3,1,0}', 'and all comes back');
select is(array[pg_temp.seen(3, 200), pg_temp.seen(null, 200, 'anon')], '{t,f}', 'for members');
select is_empty('select * from private.recount()', 'no counter differs');

-- Editing and deleting.
update public.comments set updated_at = '2026-01-01';
select is(pg_temp.touched(2, $$update public.comments set content = ' Better ' where id = pg_temp.id(200)$$), 1::bigint, 'own');
select is(pg_temp.touched(1, $$update public.comments set content = 'Hacked' where id = pg_temp.id(200)$$), 0::bigint,
    'not those under one''s post');
insert into public.comment_likes (comment_id, user_id) values (pg_temp.id(200), pg_temp.id(3));
select results_eq(
    'select content, likes_count, updated_at = now() from public.comments where id = pg_temp.id(200)',
    $$values ('Better', 1, true)$$, 'an edit is tidied and dated'
);
update public.comments set updated_at = '2026-01-01';
delete from public.comment_likes;
select is((select updated_at from public.comments where id = pg_temp.id(200)), '2026-01-01', 'a like is no edit');
select is(pg_temp.touched(3, $$delete from public.comments where id = pg_temp.id(200)$$), 0::bigint, 'others do not delete');
select pg_temp.comment(230, 3), pg_temp.comment(231, 3);
select is(pg_temp.touched(3, $$delete from public.comments where id = pg_temp.id(230)$$), 1::bigint, 'the author deletes');
select is(pg_temp.touched(1, $$delete from public.comments where id = pg_temp.id(231)$$), 1::bigint, 'and the post''s author');
select is(pg_temp.touched(1, $$delete from public.comments where id = pg_temp.id(213)$$), 1::bigint, 'and the seller');
insert into public.comments (id, user_id, article_id, content) values (pg_temp.id(232), pg_temp.id(3), pg_temp.id(110), 'x');
select is(pg_temp.touched(1, $$delete from public.comments where id = pg_temp.id(232)$$), 1::bigint, 'and the article''s');
select is(pg_temp.counts(), '{3,0,0}', 'counted down');

-- Shut out: by a block, from a group.
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
select is(pg_temp.touched(2, $$update public.comments set content = 'Spam' where id = pg_temp.id(200)$$), 0::bigint,
    'who is blocked rewrites nothing under the post');
delete from public.user_blocks where blocker_id = pg_temp.id(1);
insert into public.posts (id, user_id, content, group_id) values (pg_temp.id(104), pg_temp.id(9), 'Mine', pg_temp.id(50));
select pg_temp.comment(240, 9, post => 103), pg_temp.comment(241, 9, post => 104), pg_temp.comment(242, 1, post => 104);
select is(pg_temp.seen(9, 242), true, 'a member reads what is said under their post');
update public.group_members set status = 'banned', joined_at = null
where group_id = pg_temp.id(50) and user_id = pg_temp.id(9);
delete from public.notifications;
select is(array[pg_temp.seen(9, 240), pg_temp.seen(9, 241), pg_temp.seen(9, 242)], '{t,t,f}',
    'who is no member any more reads their own words only');
select is(pg_temp.touched(9, $$update public.comments set content = 'Spam' where user_id = pg_temp.id(9)$$), 0::bigint,
    'rewrites nothing');
select is(pg_temp.code_as(pg_temp.id(9), s.statement), s.code, s.means)
from (values
    ($$insert into public.comments (post_id, content) values (pg_temp.id(104), 'Spam')$$, 'comment_target_not_found',
        'says nothing, not even under their own post'),
    ($$insert into public.comment_likes (comment_id) values (pg_temp.id(242))$$, '42501', 'likes nothing')
) as s (statement, code, means);
select pg_temp.comment(243, 1, post => 104);
select is_empty('select * from public.notifications', 'and hears nothing');
select is(pg_temp.touched(9, $$delete from public.comments where id = pg_temp.id(240)$$), 1::bigint, 'but takes back');
delete from public.group_members where group_id = pg_temp.id(50) and user_id = pg_temp.id(9);
insert into public.group_members (group_id, user_id) values (pg_temp.id(50), pg_temp.id(9));
delete from public.posts where id = pg_temp.id(104);

-- Likes.
select is(pg_temp.code_as(pg_temp.id(s.who), s.statement), s.code, s.means)
from (values
    (3, $$insert into public.comment_likes (comment_id) values (pg_temp.id(200))$$, null, 'a like'),
    (3, $$insert into public.comment_likes (comment_id) values (pg_temp.id(200))$$, '23505', 'once'),
    (3, $$insert into public.comment_likes (comment_id) values (pg_temp.id(200)) on conflict do nothing$$, null, 'twice at ease'),
    (3, $$insert into public.comment_likes (comment_id, user_id) values (pg_temp.id(200), pg_temp.id(2))$$, '42501',
        'for somebody else'),
    (3, $$insert into public.comment_likes (comment_id) values (pg_temp.id(212))$$, '42501', 'what one cannot read'),
    (3, $$insert into public.comment_likes (comment_id) values (pg_temp.id(999))$$, '42501', 'like what does not exist')
) as s (who, statement, code, means);
insert into public.comment_likes (comment_id, user_id)
select pg_temp.id(200), pg_temp.id(n) from unnest(array[2, 6, 9]) as n
union all
select pg_temp.id(201), pg_temp.id(2);
select results_eq('select likes_count from public.comments where id in (pg_temp.id(200), pg_temp.id(201)) order by id',
    array[4, 1], 'likes are counted');
select is(pg_temp.touched(1, 'select from public.comment_likes where comment_id = pg_temp.id(200)'), 3::bigint,
    'who likes is seen as far as they are');
select pg_temp.be(pg_temp.id(3));
select is((select public.liked_by_me(c) from public.comments as c where c.id = pg_temp.id(200)), true, 'liked by me');
select is((select public.liked_by_me(c) from public.comments as c where c.id = pg_temp.id(210)), false, 'or not');
reset role;
select is(pg_temp.touched(3, 'delete from public.comment_likes'), 1::bigint, 'one takes back one''s own');
select is((select likes_count from public.comments where id = pg_temp.id(200)), 3, 'and it is counted down');

-- What goes together.
insert into public.comments (user_id, article_id, content) select pg_temp.id(n), pg_temp.id(110), 'x' from generate_series(2, 3) as n;
insert into public.comments (user_id, item_id, content) select pg_temp.id(n), id, 'x' from item, generate_series(2, 3) as n;
select is(pg_temp.counts(), '{3,2,2}', 'much said');
delete from auth.users where id = pg_temp.id(2);
select is_empty('select * from public.comments where user_id = pg_temp.id(2)', 'the end of an account takes its comments');
select is(pg_temp.counts(), '{2,1,1}', 'replies of others stay, and all is counted');
select is_empty($$select from public.comments where user_id is null and (content is not null
    or not exists (select from public.comments as r where r.parent_comment_id = comments.id))$$, 'below empty places');
select is_empty('select * from private.recount()', 'exactly');
delete from public.posts where id = pg_temp.id(100);
delete from public.artworks where id in (select id from item);
delete from public.articles where id = pg_temp.id(110);
select results_eq('select distinct post_id from public.comments', array[pg_temp.id(103)], 'comments go with what they are about');
select is_empty('select * from private.recount()', 'still no counter differs');
select is_empty('select * from private.pending_counts', 'and nothing is left to add');

select * from finish();
rollback;
