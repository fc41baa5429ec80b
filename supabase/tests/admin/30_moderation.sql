-- Taking down and putting back: who may, at which level, and what follows from it.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 9) as n;

-- 1 writes in the group of 6, where 7 is a moderator and 8 a member; 3 is not in it, 4 an admin of the platform.
create temporary table made (what text primary key, id uuid);
grant all on made to public;
create function pg_temp.made(what text) returns uuid language sql stable as $$
    select m.id from made as m where m.what = made.what
$$;
grant execute on function pg_temp.made(text) to public;
select pg_temp.be(pg_temp.id(6));
with g as (insert into public.groups (name, visibility) values ('Makers', 'public') returning id)
insert into made select 'group', id from g;
select pg_temp.be(pg_temp.id(n)) is null, public.join_group(pg_temp.made('group'))::text is null
from generate_series(1, 1) as n;
reset role;
insert into public.group_members (group_id, user_id, role)
select pg_temp.made('group'), pg_temp.id(n), case n when 7 then 'moderator' else 'member' end::public.group_role
from unnest(array[1, 7, 8]) as n on conflict do nothing;
update public.profiles set role = 'author' where id = pg_temp.id(1);
select pg_temp.be(pg_temp.id(1));
with
p as (insert into public.posts (content) values ('On the page') returning id),
q as (insert into public.posts (content, group_id) values ('In the group', pg_temp.made('group')) returning id),
a as (insert into public.articles (title, is_published) values ('News', true) returning id)
insert into made select 'post', id from p union all select 'group post', id from q union all select 'article', id from a;
with
c as (insert into public.comments (content, post_id) values ('Hm', pg_temp.made('group post')) returning id),
d as (insert into public.comments (content, post_id) values ('Hm', pg_temp.made('post')) returning id)
insert into made select 'group comment', id from c union all select 'comment', id from d;
reset role;
insert into made values ('product', pg_temp.product(1, 500)), ('artwork', pg_temp.artwork(1, 500));

create function pg_temp.hide(who integer, kind text, what text, reason text default 'rude') returns text
language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.hide_content(%L, %L, %L)', kind, coalesce(pg_temp.made(what), pg_temp.id(99)), reason
    ))
$$;
create function pg_temp.restore(who integer, kind text, what text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.restore_content(%L, %L)', kind, coalesce(pg_temp.made(what), pg_temp.id(99))
    ))
$$;
create function pg_temp.sees(who integer, relation text, what text) returns boolean language plpgsql as $$
declare
    seen boolean;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute format('select exists (select from public.%I where id = %L)', relation, pg_temp.made(what)) into seen;
    perform set_config('role', 'none', true);
    return seen;
end
$$;

-- who may
select is(pg_temp.hide(who, kind, what), code, who || ' hiding the ' || what) from (values
    (1, 'post', 'post', 'moderators_only'), (3, 'post', 'post', 'moderators_only'),
    (3, 'comment', 'comment', 'moderators_only'), (3, 'article', 'article', 'moderators_only'),
    (3, 'product', 'product', 'moderators_only'), (3, 'artwork', 'artwork', 'moderators_only'),
    (6, 'post', 'post', 'moderators_only'), (7, 'comment', 'comment', 'moderators_only'),
    (8, 'post', 'group post', 'moderators_only'), (8, 'comment', 'group comment', 'moderators_only'),
    (3, 'post', 'group post', 'content_not_found'), (3, 'comment', 'group comment', 'content_not_found'),
    (3, 'post', 'nothing', 'content_not_found'), (4, 'post', 'nothing', 'content_not_found'),
    (4, 'article', 'nothing', 'content_not_found'), (4, 'product', 'nothing', 'content_not_found'),
    (4, 'group', 'group', 'cannot_be_hidden'), (4, 'profile', 'nothing', 'cannot_be_hidden'),
    (4, 'message', 'nothing', 'cannot_be_hidden')
) as v (who, kind, what, code);
select is(
    pg_temp.code_as(null, format('select public.hide_content(''post'', %L, ''x'')', pg_temp.made('post')), 'anon'),
    '42501', 'visitors hide nothing'
);
select is(pg_temp.hide(4, 'post', 'post', r), 'text_not_visible', 'a reason is needed') from unnest(array[' ', null]) as r;
select is(pg_temp.hide(4, 'post', 'post', repeat('x', 501)), '23514', 'of at most 500 characters');
select is((select count(*) from public.audit_log where action like '%content'), 0::bigint, 'nothing was done');

-- admins, everywhere
select is(pg_temp.hide(4, kind, what), null, 'an admin hides the ' || what) from (values
    ('post', 'post'), ('comment', 'comment'), ('article', 'article'), ('product', 'product'), ('artwork', 'artwork')
) as v (kind, what);
select is(pg_temp.sees(3, relation, what), false, 'others do not see the ' || what) from (values
    ('posts', 'post'), ('comments', 'comment'), ('articles', 'article'), ('products', 'product'),
    ('artworks', 'artwork'), ('catalog_items', 'product'), ('catalog_items', 'artwork')
) as v (relation, what);
select is(pg_temp.sees(1, relation, what), true, 'its author does see the ' || what) from (values
    ('posts', 'post'), ('comments', 'comment'), ('articles', 'article'), ('products', 'product'), ('artworks', 'artwork')
) as v (relation, what);
select results_eq(
    $$select is_hidden, hidden_reason from public.posts where id = pg_temp.made('post')
    union all select is_hidden, hidden_reason from public.comments where id = pg_temp.made('comment')
    union all select is_hidden, hidden_reason from public.articles where id = pg_temp.made('article')
    union all select is_hidden, hidden_reason from public.artworks where id = pg_temp.made('artwork')
    union all select not is_approved, (select approval_notes from public.product_approvals)
    from public.products where id = pg_temp.made('product')$$,
    $$select true, 'rude' from generate_series(1, 5)$$, 'with the reason'
);
select is((select comments_count from public.posts where id = pg_temp.made('post')), 0, 'counters follow');
select is(pg_temp.code_as(pg_temp.id(1), s), '42501', 'authors do not undo it: ' || s) from unnest(array[
    'update public.posts set is_hidden = false', 'update public.comments set is_hidden = false',
    'update public.articles set is_hidden = false', 'update public.artworks set is_hidden = false',
    'delete from public.hidden_content'
]) as s;
select is(pg_temp.restore(1, 'post', 'post'), 'moderators_only', 'nor by calling');
select pg_temp.be(pg_temp.id(1));
update public.posts set content = 'Edited' where id = pg_temp.made('post');
update public.artworks set status = 'published' where id = pg_temp.made('artwork');
reset role;
select is((select audience::text from public.posts where id = pg_temp.made('post')), 'owner', 'nor by editing');
select is(
    (select is_visible from public.catalog_items where id = pg_temp.made('artwork')), false, 'nor by publishing again'
);
select is((select count(*) from public.audit_log where action = 'hide_content'), 5::bigint, 'audited');
select is(pg_temp.hide(4, 'post', 'post'), null, 'hidden again');
select is((select count(*) from public.audit_log where action = 'hide_content'), 5::bigint, 'nothing happens');
select is(pg_temp.hide(4, 'post', 'post', 'very rude'), null, 'with another reason');
select is((select hidden_reason from public.posts where id = pg_temp.made('post')), 'very rude', 'it changes');
select is(pg_temp.restore(4, kind, what), null, 'an admin restores the ' || what) from (values
    ('post', 'post'), ('comment', 'comment'), ('article', 'article'), ('product', 'product'), ('artwork', 'artwork')
) as v (kind, what);
select is(pg_temp.restore(4, 'post', 'post'), null, 'again');
select is((select count(*) from public.audit_log where action = 'restore_content'), 5::bigint, 'audited once each');
select is(pg_temp.sees(3, relation, what), true, 'others see the ' || what) from (values
    ('posts', 'post'), ('comments', 'comment'), ('articles', 'article'), ('products', 'product'),
    ('artworks', 'artwork')
) as v (relation, what);
select is((select hidden_reason from public.posts where id = pg_temp.made('post')), null, 'the reason is gone');
select is((select comments_count from public.posts where id = pg_temp.made('post')), 1, 'counters follow back');
select is_empty('select 1 from public.hidden_content', 'nothing is hidden any more');

-- moderators, in their group
select is((select posts_count from public.groups), 1, 'one post in the group');
select is(pg_temp.hide(7, 'post', 'group post'), null, 'a moderator hides a post');
select is(pg_temp.hide(6, 'comment', 'group comment'), null, 'the owner a comment');
select is((select posts_count from public.groups), 0, 'no post in the group');
select results_eq(
    $$select target_type::text, level::text, rank::text from public.hidden_content order by 1$$,
    $$values ('comment', 'group', 'owner'), ('post', 'group', 'moderator')$$, 'at the level of the group'
);
select is(pg_temp.sees(8, 'posts', 'group post'), false, 'members do not see it');
select pg_temp.be(pg_temp.id(7));
select is((select count(*) from public.hidden_content), 2::bigint, 'moderators read what is hidden in their group');
select pg_temp.be(pg_temp.id(8));
select is_empty('select 1 from public.hidden_content', 'members do not');
select pg_temp.be(pg_temp.id(1));
select is_empty('select 1 from public.hidden_content', 'nor the author, who has the reason');
reset role;
select is(pg_temp.restore(7, 'comment', 'group comment'), null, 'one moderator restores what another hid');
select is(pg_temp.hide(4, 'post', 'group post', 'the platform says so'), null, 'an admin takes it over');
select is(pg_temp.restore(w, 'post', 'group post'), 'hidden_by_platform', w || ' does not undo that')
from unnest(array[6, 7]) as w;
select is(pg_temp.hide(7, 'post', 'group post', 'mine'), null, 'nor takes it back');
select results_eq(
    $$select level::text, reason from public.hidden_content$$, $$values ('platform', 'the platform says so')$$,
    'at the level of the platform'
);
select is(pg_temp.restore(4, 'post', 'group post'), null, 'an admin restores');
select is((select posts_count from public.groups), 1, 'one post in the group again');
select is(
    (select count(*) from public.audit_log where actor_id = pg_temp.id(7)), 2::bigint, 'moderators are audited too'
);

-- ranks: 8 is a second moderator
select set_config('request.jwt.claims', '', true);
update public.group_members set role = 'moderator' where user_id = pg_temp.id(8);
insert into public.posts (user_id, group_id, content)
select pg_temp.id(n), pg_temp.made('group'), 'By ' || n from unnest(array[6, 7, 8]) as n;
insert into made select p.content, p.id from public.posts as p where p.content like 'By _';
insert into public.comments (user_id, post_id, content)
values (pg_temp.id(6), pg_temp.made('By 6'), 'Comment by 6'), (pg_temp.id(7), pg_temp.made('By 6'), 'Comment by 7');
insert into made select c.content, c.id from public.comments as c where c.content like 'Comment by _';
select is(pg_temp.hide(who, kind, what), code, who || ' hides ' || what || ': ' || coalesce(code, 'done')) from (values
    (7, 'post', 'By 6', 'group_role_too_low'), (7, 'comment', 'Comment by 6', 'group_role_too_low'),
    (7, 'post', 'By 8', 'group_role_too_low'), (7, 'post', 'By 7', null), (6, 'post', 'By 8', null),
    (6, 'comment', 'Comment by 7', null), (6, 'post', 'By 6', null)
) as v (who, kind, what, code);
select is(pg_temp.hide(8, 'post', 'By 8', 'mine'), null, 'the author, a moderator, hides it again');
select is(pg_temp.restore(8, 'post', 'By 8'), 'group_role_too_low', 'which undoes nothing the owner did');
select is(pg_temp.restore(7, 'comment', 'Comment by 7'), 'group_role_too_low', 'nor of comments');
select is(pg_temp.restore(7, 'post', 'By 7'), null, 'their own decision they take back');
select is(pg_temp.restore(6, 'post', 'By 8'), null, 'and the owner theirs');
select is(pg_temp.code_as(pg_temp.id(6), format('select public.pin_post(%L)', pg_temp.made('By 8'))), null, 'pinned');
select is(pg_temp.code_as(pg_temp.id(7), format('select public.unpin_post(%L)', pg_temp.made('By 8'))),
    'group_role_too_low', 'moderators do not unpin each other');
select is(pg_temp.code_as(pg_temp.id(8), format('select public.unpin_post(%L)', pg_temp.made('By 8'))), null, 'but themselves');
update public.profiles set role = 'super_admin' where id = pg_temp.id(9);
select pg_temp.be(pg_temp.id(9));
insert into public.posts (content) values ('By 9');
reset role;
insert into made select p.content, p.id from public.posts as p where p.content = 'By 9';
select is(pg_temp.hide(4, 'post', 'By 9'), 'super_admin_only', 'admins of the platform do not hide what super admins write');
select set_config('request.jwt.claims', '', true);
delete from public.posts where content like 'By _';
update public.group_members set role = 'member' where user_id = pg_temp.id(8);

insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(7));
select is(pg_temp.hide(7, 'post', 'group post'), 'content_not_found', 'who is blocked does not see, hence not hide');
select is(pg_temp.hide(6, 'post', 'group post'), null, 'others do');
insert into public.bans (user_id, reason) values (pg_temp.id(6), 'x');
select is(pg_temp.restore(6, 'post', 'group post'), 'banned', 'banned moderators moderate nothing');
delete from public.bans;
delete from public.groups;
select is_empty('select 1 from public.hidden_content', 'gone with the group');

-- the queue
create function pg_temp.report(who integer, kind text, what text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.report_content(%L, %L, ''spam'')', kind, pg_temp.made(what)
    ))
$$;
select is(pg_temp.report(who, kind, what), null, who || ' reports the ' || what) from (values
    (3, 'post', 'post'), (8, 'comment', 'comment'), (9, 'post', 'post'), (9, 'article', 'article')
) as v (who, kind, what);
update public.reports set created_at = now() + interval '1 second' where target_type = 'comment';
update public.reports set created_at = now() + interval '2 seconds' where reporter_id = pg_temp.id(9);
update public.reports set created_at = now() + interval '3 seconds' where target_type = 'article';
select is(pg_temp.hide(4, 'comment', 'comment'), null, 'one of them is hidden');
select pg_temp.be(pg_temp.id(4));
create temporary table queue as select * from public.moderation_queue();
select results_eq(
    'select target_type::text, target_id, author_id, reports_count, reasons::text, is_hidden from queue',
    $$values ('post', pg_temp.made('post'), pg_temp.id(1), 2::bigint, '{spam}', false),
        ('comment', pg_temp.made('comment'), pg_temp.id(1), 1, '{spam}', true),
        ('article', pg_temp.made('article'), pg_temp.id(1), 1, '{spam}', false)$$,
    'one row for each target, longest waiting first'
);
select is(
    (select content ->> 'content' from queue where target_type = 'post'), 'Edited', 'with what was reported'
);
select results_eq(
    $$select q.target_type::text from queue as f
    cross join lateral public.moderation_queue(f.first_reported_at, f.report_id, 1) as q
    where f.target_type = 'post'$$, $$values ('comment')$$, 'in pages'
);
select public.resolve_report((select report_id from queue where target_type = 'post'), 'dismissed');
select is((select count(*) from public.moderation_queue()), 2::bigint, 'what is decided leaves it');
reset role;
select is(pg_temp.code_as(pg_temp.id(1), 'select * from public.moderation_queue()'), 'admin_only', 'for admins');

select * from finish();
rollback;
