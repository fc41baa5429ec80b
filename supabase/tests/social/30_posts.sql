-- Posts: what may be written, who reads it, what is counted, who decides in groups.
begin;
\ir ../helpers.psql
select no_plan();

select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 9) as n;
-- 1 writes, 2 follows the talk, 3 is a stranger, 4 an admin, 5 gets banned, 6 is private, 7 for members only, 8 blocked 1
-- and 9 moderates the group of 1.
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(6);
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(7);

-- A post by anybody, past the policies.
create function pg_temp.post(author integer, content text, in_group uuid default null) returns uuid
language sql as $$
    insert into public.posts (user_id, content, group_id) values (pg_temp.id(author), content, in_group) returning id
$$;
create function pg_temp.seen(who integer, post uuid, speaker text default 'authenticated') returns boolean
language plpgsql as $$
declare
    answer boolean;
begin
    perform pg_temp.be(pg_temp.id(who), speaker);
    answer := exists (select from public.posts as p where p.id = post);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
-- How many rows a statement touched, as somebody.
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
grant execute on all functions in schema pg_temp to public;

-- What a post is.
select has_index('public', 'posts', 'posts_user_id_created_at_id_idx', array['user_id', 'created_at', 'id'], 'by author');
select has_index('public', 'posts', 'posts_profile_idx', array['user_id', 'created_at', 'id'], 'profile page');
select has_index('public', 'posts', 'posts_feed_idx', array['user_id', 'created_at', 'id'], 'feed');
select has_index(
    'public', 'posts', 'posts_group_id_created_at_id_idx', array['group_id', 'created_at', 'id', 'audience', 'user_id'],
    'group, with what decides who may read'
);
select has_index('public', 'posts', 'posts_created_at_id_idx', array['created_at', 'id'], 'newest');
select has_index('public', 'posts', 'posts_search_idx', array['search'], 'search');

select is(pg_temp.code_as(pg_temp.id(1), s.statement), s.code, s.means)
from (values
    ($$insert into public.posts (content) values ('Hello')$$, null, 'text'),
    ($$insert into public.posts (content) values ('  ')$$, '23514', 'text without words'),
    ($$insert into public.posts (post_type) values ('text')$$, '23514', 'text without content'),
    ($$insert into public.posts (content) values (repeat('x', 10001))$$, '23514', 'text too long'),
    ($$insert into public.posts (content, media_urls) values ('x', '{https://e.com/1.png}')$$, '23514', 'text with media'),
    ($$insert into public.posts (post_type, media_urls) values ('image', '{https://e.com/1.png}')$$, null, 'image'),
    ($$insert into public.posts (post_type, content) values ('image', 'x')$$, '23514', 'image without media'),
    ($$insert into public.posts (post_type, media_urls) values ('image', '{javascript:alert(1)}')$$, '23514', 'image: script'),
    ($$insert into public.posts (post_type, media_urls)
        select 'image', array_agg('https://e.com/' || n) from generate_series(1, 11) as n$$, '23514', '11 images'),
    ($$insert into public.posts (post_type, media_urls) values ('video', '{https://e.com/1.mp4}')$$, null, 'video'),
    ($$insert into public.posts (post_type) values ('video')$$, '23514', 'video without media'),
    ($$insert into public.posts (post_type, link_url, link_preview)
        values ('link', 'https://e.com', '{"title": "E", "image": "https://e.com/1.png"}')$$, null, 'link'),
    ($$insert into public.posts (post_type, content) values ('link', 'x')$$, '23514', 'link without address'),
    ($$insert into public.posts (post_type, link_url, link_preview) values ('link', 'https://e.com', '{"html": "x"}')$$,
        '23514', 'preview with other keys'),
    ($$insert into public.posts (post_type, link_url, link_preview)
        values ('link', 'https://e.com', '{"image": "javascript:x"}')$$, '23514', 'preview with a script'),
    ($$insert into public.posts (content, link_preview) values ('x', '{"title": "E"}')$$, '23514', 'preview of nothing'),
    ($$insert into public.posts (post_type, content) values ('poll', 'x')$$, '42501', 'polls are made by create_poll()'),
    ($$insert into public.posts (content, user_id) values ('x', pg_temp.id(2))$$, '42501', 'in another name'),
    ($$insert into public.posts (content, likes_count) values ('x', 9)$$, '42501', 'with likes'),
    ($$insert into public.posts (content, is_approved) values ('x', true)$$, '42501', 'approved by oneself'),
    ($$insert into public.posts (content, is_pinned) values ('x', true)$$, '42501', 'pinned by oneself'),
    ($$insert into public.posts (content, created_at) values ('x', '2030-01-01')$$, '42501', 'with a date'),
    ($$insert into public.posts (content, tags)
        select 'x', array_agg('t' || n) from generate_series(1, 21) as n$$, 'invalid_tags', '21 tags')
) as s (statement, code, means);
select is(
    pg_temp.code_as(null, $$insert into public.posts (content) values ('x')$$, 'anon'), '42501', 'a visitor writes nothing'
);

-- Tags and hashtags.
insert into public.posts (id, user_id, content, tags) values
(pg_temp.id(100), pg_temp.id(1), 'New #Beat out! #beat #Größe2 no#tag &#39; #1 https://e.com/#part (#Mix)', '{#Live, Beat}');
select is(tags, array['live', 'beat', 'größe2', 'mix'], 'named tags, then hashtags, once each')
from public.posts where id = pg_temp.id(100);
select pg_temp.touched(1, format('update public.posts set content = ''Only #mix'' where id = %L', pg_temp.id(100)));
select is(tags, array['live', 'mix'], 'hashtags that left the text leave the tags')
from public.posts where id = pg_temp.id(100);
select pg_temp.touched(1, format('update public.posts set tags = ''{x}'' where id = %L', pg_temp.id(100)));
select is(tags, array['x', 'mix'], 'named tags are replaced') from public.posts where id = pg_temp.id(100);
select ok(search @@ 'mix' and search @@ 'x' and not search @@ 'beat', 'the search vector follows')
from public.posts where id = pg_temp.id(100);
insert into public.posts (id, user_id, content)
select pg_temp.id(101), pg_temp.id(1), string_agg('#t' || n, ' ' order by n) from generate_series(1, 30) as n;
select is(cardinality(tags), 20, 'hashtags beyond the twentieth are just text')
from public.posts where id = pg_temp.id(101);

-- Editing.
select is(pg_temp.code_as(pg_temp.id(1), s.statement), '42501', 'not editable: ' || s.statement)
from (values
    ('update public.posts set group_id = null'), ('update public.posts set post_type = ''link'''),
    ('update public.posts set is_hidden = false'), ('update public.posts set likes_count = 5'),
    ('update public.posts set user_id = pg_temp.id(2)'), ('update public.posts set is_approved = true'),
    ('update public.posts set author_audience = ''public'''), ('update public.posts set is_pinned = true')
) as s (statement);
select is(pg_temp.touched(2, format('update public.posts set content = ''x'' where id = %L', pg_temp.id(100))), 0::bigint,
    'others edit nothing');
select is(pg_temp.touched(4, format('update public.posts set content = ''x'' where id = %L', pg_temp.id(100))), 0::bigint,
    'nor do admins');
select is(pg_temp.touched(2, format('delete from public.posts where id = %L', pg_temp.id(100))), 0::bigint,
    'others delete nothing');
select is(pg_temp.touched(1, format('delete from public.posts where id = %L', pg_temp.id(100))), 1::bigint, 'authors do');

-- Who reads what.
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(8), pg_temp.id(1));
create temp table wall as
select pg_temp.post(1, 'public') as public, pg_temp.post(7, 'members') as members, pg_temp.post(6, 'private') as private,
    pg_temp.post(5, 'banned') as banned, pg_temp.post(8, 'blocker') as blocker, pg_temp.post(1, 'hidden') as hidden;
grant select on wall to public;
select pg_temp.ban();
update public.posts set is_hidden = true, hidden_reason = 'Rude' where id = (select hidden from wall);
select results_eq(
    $$select v.who, pg_temp.seen(v.who, w.public, v.speaker), pg_temp.seen(v.who, w.members, v.speaker),
        pg_temp.seen(v.who, w.private, v.speaker), pg_temp.seen(v.who, w.banned, v.speaker),
        pg_temp.seen(v.who, w.blocker, v.speaker), pg_temp.seen(v.who, w.hidden, v.speaker)
    from wall as w
    cross join (values
        (null, 'anon'), (1, 'authenticated'), (2, 'authenticated'), (4, 'authenticated'), (5, 'authenticated'),
        (6, 'authenticated'), (8, 'authenticated')
    ) as v (who, speaker) order by v.who nulls first$$,
    $$values
        (null::integer, true, false, false, false, true, false),
        (1, true, true, false, false, false, true),
        (2, true, true, false, false, true, false),
        (4, true, true, true, true, true, true),
        (5, true, false, false, false, true, false),
        (6, true, true, true, false, true, false),
        (8, false, true, false, false, true, false)$$,
    'visitor, author, stranger, admin, banned, private, blocker: public, members, private, banned, blocker''s, hidden'
);
select pg_temp.be(pg_temp.id(1));
select results_eq('select hidden_reason from public.posts where is_hidden', $$values ('Rude')$$, 'the author learns why');
reset role;
delete from public.bans;
select ok(pg_temp.seen(2, (select banned from wall)), 'the end of a ban shows the posts again');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(6);
select ok(pg_temp.seen(null, (select private from wall), 'anon'), 'a profile made public shows its posts');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(6);
select ok(not pg_temp.seen(2, (select private from wall)), 'a profile made private takes its posts along');

-- Likes and shares.
select is(pg_temp.code_as(pg_temp.id(2), format('insert into public.post_likes (post_id) values (%L)', s.post)), s.code, s.means)
from wall as w
cross join lateral (values
    (w.public, null, 'what is readable can be liked'), (w.public, '23505', 'once'),
    (w.members, null, 'a members'' post'), (w.private, '42501', 'not a private one'), (w.hidden, '42501', 'nor a hidden one'),
    (pg_temp.id(999), '42501', 'nor one that does not exist: the same answer')
) as s (post, code, means);
select is(pg_temp.code_as(pg_temp.id(1), format('insert into public.post_likes (post_id) values (%L)', blocker)), '42501',
    'not one of somebody who blocked the caller') from wall;
select is(
    pg_temp.code_as(pg_temp.id(3), format('insert into public.post_likes (post_id, user_id) values (%L, %L)', public,
    pg_temp.id(2))), '42501', 'not in another name'
) from wall;
select is(
    pg_temp.code_as(pg_temp.id(2), format('insert into public.post_likes (post_id) values (%L) on conflict do nothing', public)),
    null, 'liking twice can be ignored'
) from wall;
insert into public.post_likes (post_id, user_id) select public, pg_temp.id(6) from wall;
insert into public.post_shares (post_id, user_id) select public, pg_temp.id(2) from wall;
select results_eq('select likes_count, shares_count from public.posts where id = (select public from wall)',
    $$values (2, 1)$$, 'likes and shares are counted');
select pg_temp.be(pg_temp.id(3));
select results_eq('select user_id from public.post_likes where post_id = (select public from wall)',
    $$values (pg_temp.id(2))$$, 'a private person''s like is counted and not shown');
select pg_temp.be(null, 'anon');
select results_eq('select user_id from public.post_likes', $$values (pg_temp.id(2))$$, 'visitors see who likes, too');
select is(public.liked_by_me(p), false, 'and like nothing') from public.posts as p where p.id = (select public from wall);
select pg_temp.be(pg_temp.id(2));
select results_eq(
    'select public.liked_by_me(p), public.shared_by_me(p) from public.posts as p where p.id = (select public from wall)',
    'values (true, true)', 'computed columns'
);
select results_eq('select count(*) from public.post_likes where user_id = pg_temp.id(2)', 'values (2::bigint)', 'own likes');
select pg_temp.be(pg_temp.id(8));
select is_empty('select from public.post_likes where post_id = (select public from wall)',
    'who cannot read the post cannot read its likes');
reset role;
select is(pg_temp.touched(3, 'delete from public.post_likes'), 0::bigint, 'nobody takes back others'' likes');
select is(pg_temp.touched(2, 'delete from public.post_likes where post_id = (select public from wall)'), 1::bigint, 'unlike');
select is(pg_temp.touched(2, 'delete from public.post_shares where post_id = (select public from wall)'), 1::bigint, 'unshare');
select results_eq('select likes_count, shares_count from public.posts where id = (select public from wall)',
    $$values (1, 0)$$, 'and counted');
insert into public.post_likes (post_id, user_id)
select p.id, u.id from public.posts as p cross join public.profiles as u on conflict do nothing;
select is_empty('select * from private.recount()', 'many likes at once are counted');
delete from public.post_likes where user_id in (pg_temp.id(2), pg_temp.id(3));
select is_empty('select * from private.recount()', 'many taken back, too');

-- Pins.
create temp table pins as select pg_temp.post(2, 'pin ' || n) as id, n from generate_series(1, 4) as n;
grant select on pins to public;
select is(pg_temp.code_as(pg_temp.id(2), format('select public.pin_post(%L)', id)), null, 'pin ' || n) from pins where n < 4;
select is(pg_temp.code_as(pg_temp.id(2), format('select public.pin_post(%L)', id)), null, 'again') from pins where n = 3;
select is(pg_temp.code_as(pg_temp.id(2), format('select public.pin_post(%L)', id)), 'too_many_pins', 'a fourth')
from pins where n = 4;
select is(pg_temp.code_as(pg_temp.id(3), format('select public.unpin_post(%L)', id)), 'post_not_found', 'others do not unpin')
from pins where n = 1;
select is(pg_temp.code_as(pg_temp.id(3), format('select public.pin_post(%L)', pg_temp.id(999))), 'post_not_found',
    'what does not exist answers the same');
select is(pg_temp.code_as(pg_temp.id(2), format('select public.unpin_post(%L)', id)), null, 'unpin') from pins where n = 1;
select is(pg_temp.code_as(pg_temp.id(2), format('select public.pin_post(%L)', id)), null, 'then the fourth')
from pins where n = 4;

-- Groups: 1 owns, 9 moderates, 2 and 7 are members, 6 a private one.
insert into public.groups (id, owner_id, name, post_approval_required) values
(pg_temp.id(200), pg_temp.id(1), 'Beats', false), (pg_temp.id(201), pg_temp.id(3), 'Other', false);
insert into public.group_members (group_id, user_id, role) values
(pg_temp.id(200), pg_temp.id(9), 'moderator'), (pg_temp.id(200), pg_temp.id(2), 'member'),
(pg_temp.id(200), pg_temp.id(7), 'member'), (pg_temp.id(200), pg_temp.id(6), 'member');
create function pg_temp.write(who integer, in_group integer) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'insert into public.posts (group_id, content) values (%L, ''by %s'') returning id', pg_temp.id(in_group), who
    ))
$$;
select is(pg_temp.write(2, 200), null, 'members post');
select is(pg_temp.write(3, 200), 'group_members_only', 'others do not');
select is(pg_temp.write(3, 299), 'group_members_only', 'a group that does not exist answers the same');
select is(pg_temp.write(4, 200), 'group_members_only', 'nor do admins of the platform');
select is(pg_temp.write(6, 200), null, 'a private member posts');
select results_eq('select audience::text from public.posts where group_id = pg_temp.id(200) order by content',
    $$values ('group'), ('owner')$$, 'for the group, or for nobody');
select is(posts_count, 1, 'counted is what members can read') from public.groups where id = pg_temp.id(200);
create temp table talk as select id from public.posts where group_id = pg_temp.id(200) and user_id = pg_temp.id(2);
grant select on talk to public;
select results_eq(
    $$select v.who from (values (1), (2), (3), (4), (7), (9)) as v (who) cross join talk as t
    where pg_temp.seen(v.who, t.id) order by 1$$, 'values (1), (2), (4), (7), (9)', 'members and admins read it'
);
select ok(not pg_temp.seen(null, id, 'anon'), 'visitors do not') from talk;
delete from public.group_members where group_id = pg_temp.id(200) and user_id in (pg_temp.id(7), pg_temp.id(2));
select ok(not pg_temp.seen(7, id), 'who left does not read it any more') from talk;
select ok(pg_temp.seen(2, id), 'one''s own post stays readable') from talk;
select is(pg_temp.touched(2, format('update public.posts set content = ''changed'' where id = %L', id)), 0::bigint,
    'but not editable') from talk;
insert into public.group_members (group_id, user_id) values (pg_temp.id(200), pg_temp.id(2)), (pg_temp.id(200), pg_temp.id(7));

-- Approval.
update public.groups set post_approval_required = true where id = pg_temp.id(200);
select is(pg_temp.write(9, 200), null, 'a moderator posts');
select is(pg_temp.write(7, 200), null, 'a member posts where approval is asked');
create temp table pending as select id from public.posts where group_id = pg_temp.id(200) and user_id = pg_temp.id(7);
grant select on pending to public;
select is(posts_count, 2, 'what waits is not counted') from public.groups where id = pg_temp.id(200);
select results_eq($$select v.who from (values (1), (2), (3), (4), (7), (9)) as v (who) cross join pending as t
    where pg_temp.seen(v.who, t.id) order by 1$$, 'values (4), (7)', 'its author and admins read what waits');
create function pg_temp.waiting(who integer) returns bigint language plpgsql as $$
declare
    n bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    n := (select count(*) from public.pending_posts(pg_temp.id(200)));
    perform set_config('role', 'none', true);
    return n;
end
$$;
select is(array[pg_temp.waiting(1), pg_temp.waiting(9), pg_temp.waiting(4), pg_temp.waiting(2), pg_temp.waiting(3),
    pg_temp.waiting(7)], array[1, 1, 1, 0, 0, 0]::bigint[], 'moderators and admins list what waits');
select is(pg_temp.code_as(pg_temp.id(s.who), format('select public.%s_post(%L)', s.verb, id)), 'post_not_found', s.verb || s.who)
from pending cross join (values (2, 'approve'), (3, 'approve'), (7, 'approve'), (7, 'reject'), (3, 'reject')) as s (who, verb);
select is(pg_temp.code_as(pg_temp.id(9), format('select public.approve_post(%L)', pg_temp.id(999))), 'post_not_found',
    'nothing to approve');
select is(pg_temp.code_as(pg_temp.id(9), format('select public.pin_post(%L)', id)), 'post_not_found',
    'what waits is not pinned') from pending;
select is(pg_temp.code_as(pg_temp.id(9), format('select public.reject_post(%L, ''Off topic'')', id)), null, 'rejected')
from pending;
select is(pg_temp.waiting(9), 0::bigint, 'a rejected post waits no more');
select pg_temp.be(pg_temp.id(7));
select results_eq('select is_hidden, hidden_reason from public.posts where id = (select id from pending)',
    $$values (true, 'Off topic')$$, 'its author learns why');
reset role;
update public.posts set is_hidden = false, hidden_reason = null where id = (select id from pending);
select is(pg_temp.waiting(9), 1::bigint, 'restored it waits again');
select is(pg_temp.code_as(pg_temp.id(9), format('select public.approve_post(%L)', id)), null, 'approved') from pending;
select is(pg_temp.code_as(pg_temp.id(9), format('select public.approve_post(%L)', id)), null, 'twice is once') from pending;
select is(pg_temp.code_as(pg_temp.id(9), format('select public.reject_post(%L)', id)), 'post_not_pending', 'too late')
from pending;
select is(posts_count, 3, 'counted') from public.groups where id = pg_temp.id(200);
select ok(pg_temp.seen(2, id), 'members read it') from pending;
select is(pg_temp.code_as(pg_temp.id(9), format('select public.pin_post(%L)', id)), null, 'a moderator pins it') from pending;
select is(pg_temp.code_as(pg_temp.id(7), format('select public.unpin_post(%L)', id)), 'post_not_found', 'its author does not')
from pending;
select is(pg_temp.touched(7, format('update public.posts set content = ''by 7'' where id = %L', id)), 1::bigint, 'no change')
from pending;
select ok(is_approved, 'stays approved') from public.posts where id = (select id from pending);
select is(pg_temp.touched(7, format('update public.posts set content = ''else'' where id = %L', id)), 1::bigint, 'an edit')
from pending;
select ok(not is_approved, 'waits for approval again') from public.posts where id = (select id from pending);
select is(posts_count, 2, 'and is not counted') from public.groups where id = pg_temp.id(200);

-- Standing, groups and counters.
insert into public.posts (user_id, group_id, content) values (pg_temp.id(3), pg_temp.id(201), 'other');
insert into public.group_members (group_id, user_id, role) values (pg_temp.id(201), pg_temp.id(9), 'member');
insert into public.posts (user_id, group_id, content) select pg_temp.id(9), pg_temp.id(201), 'n' from generate_series(1, 3);
select is(posts_count, 4, 'four posts') from public.groups where id = pg_temp.id(201);
insert into public.bans (user_id, reason) values (pg_temp.id(9), 'spam');
select results_eq($$select posts_count from public.groups where id in (pg_temp.id(200), pg_temp.id(201)) order by id$$,
    'values (1), (1)', 'a ban takes all posts of all groups off the counts');
delete from public.bans;
select results_eq($$select posts_count from public.groups where id in (pg_temp.id(200), pg_temp.id(201)) order by id$$,
    'values (2), (4)', 'its end brings them back');
update public.posts set is_hidden = true where group_id = pg_temp.id(201);
select is(posts_count, 0, 'hidden ones are not counted') from public.groups where id = pg_temp.id(201);
update public.posts set is_hidden = false where group_id = pg_temp.id(201);
select is_empty('select * from private.recount()', 'all counters are exact');
select pg_temp.be(pg_temp.id(9));
select is(pg_temp.code_of('select public.delete_my_account()'), null, 'an account with posts, likes and shares ends');
reset role;
select is_empty('select * from private.recount()', 'all counters are exact after it');
select is_empty('select from public.posts where user_id = pg_temp.id(9)', 'with its posts');
select is_empty('select from public.post_likes where user_id = pg_temp.id(9)', 'and its likes');
delete from public.groups where id = pg_temp.id(200);
select is_empty('select from public.posts where group_id = pg_temp.id(200)', 'a group takes its posts along');
select is_empty('select * from private.recount()', 'all counters are exact at the end');

-- A banned user with a valid session.
insert into public.bans (user_id, reason) values (pg_temp.id(5), 'spam');
select is(pg_temp.code_as(pg_temp.id(5), s.statement), s.code, 'banned: ' || s.statement)
from wall as w cross join lateral (values
    ('insert into public.posts (content) values (''x'')', '42501'),
    (format('insert into public.post_likes (post_id) values (%L)', w.public), '42501'),
    (format('insert into public.post_shares (post_id) values (%L)', w.public), '42501'),
    (format('select public.pin_post(%L)', w.banned), 'banned'),
    (format('select public.approve_post(%L)', w.public), 'banned'),
    ('select * from public.pending_posts(pg_temp.id(200))', 'banned')
) as s (statement, code);
select is(pg_temp.touched(5, 'update public.posts set content = ''x'''), 0::bigint, 'banned: edits nothing');
select is(pg_temp.touched(5, 'delete from public.posts'), 0::bigint, 'banned: deletes nothing');

select * from finish();
rollback;
