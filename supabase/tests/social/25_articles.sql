-- Articles: who writes them, who reads them, what is completed and counted.
begin;
\ir ../helpers.psql
select no_plan();

select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 7) as n;
-- 1 is an author, 6 another one for members only, 7 blocked 1.
update public.profiles set role = 'author' where id in (pg_temp.id(1), pg_temp.id(6));
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(6);

create function pg_temp.article(n integer, author integer, title text, published boolean default true, words text default 'Words')
returns uuid language sql as $$
    insert into public.articles (id, author_id, title, content, is_published)
    values (pg_temp.id(n), pg_temp.id(author), title, words, published) returning id
$$;
create function pg_temp.seen(who integer, article uuid, speaker text default 'authenticated') returns boolean
language plpgsql as $$
declare
    answer boolean;
begin
    perform pg_temp.be(pg_temp.id(who), speaker);
    answer := exists (select from public.articles as a where a.id = article);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
create function pg_temp.found(who integer, query text, speaker text default 'authenticated') returns text[]
language plpgsql as $$
declare
    answer text [];
begin
    perform pg_temp.be(pg_temp.id(who), speaker);
    answer := array(select s.title from public.search_articles(query) as s);
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
grant execute on all functions in schema pg_temp to public;

-- Structure.
select has_index(
    'public', 'articles', 'articles_published_at_id_idx', array['published_at', 'id'], 'newest published first'
);
select has_index('public', 'articles', 'articles_author_id_created_at_id_idx', array['author_id', 'created_at', 'id'], 'by author');
select has_index('public', 'articles', 'articles_search_idx', array['search'], 'search');
select is(has_column_privilege('authenticated', 'public.articles', c, p), false, format('nobody may %s %s', p, c))
from unnest(array[
    'author_id', 'views_count', 'likes_count', 'comments_count', 'published_at', 'is_hidden', 'hidden_reason',
    'author_audience', 'search'
]) as c, unnest(array['insert', 'update']) as p;

-- Who writes.
select is(pg_temp.code_as(pg_temp.id(2), $$insert into public.articles (title) values ('Mine')$$), '42501', 'members do not write');
select is(pg_temp.code_as(pg_temp.id(1), $$insert into public.articles (title) values ('Mine')$$), null, 'authors write');
select is(pg_temp.code_as(pg_temp.id(4), $$insert into public.articles (title) values ('News')$$), null, 'so do admins');
select is(pg_temp.code_as(null, $$insert into public.articles (title) values ('Mine')$$, 'anon'), '42501', 'visitors do not');
select is(pg_temp.code_as(pg_temp.id(1), s.statement), s.code, s.means)
from (values
    ($$insert into public.articles (title) values ('')$$, 'text_not_visible', 'no title'),
    ($$insert into public.articles (title) values (repeat('x', 201))$$, '23514', 'long title'),
    ($$insert into public.articles (title, content) values ('x', repeat('x', 200001))$$, '23514', 'long text'),
    ($$insert into public.articles (title, slug) values ('x', 'No Slug')$$, '23514', 'bad slug'),
    ($$insert into public.articles (title, slug) values ('x', 'mine')$$, null, 'taken slug: it gets an ending'),
    ($$insert into public.articles (title, thumbnail_url) values ('x', 'javascript:1')$$, '23514', 'script'),
    ($$insert into public.articles (title, tags) values ('x', array(select n::text from generate_series(1, 21) as n))$$,
        'invalid_tags', 'too many tags')
) as s (statement, code, means);

-- What is completed.
insert into public.articles (id, author_id, title, tags, excerpt)
values (pg_temp.id(100), pg_temp.id(1), '  Mastering für alle ', array[' #Mastering ', 'mastering', 'EQ'], ' ');
select results_eq(
    'select title, slug::text, tags, excerpt, published_at, audience from public.articles where id = pg_temp.id(100)',
    $$values ('Mastering für alle', 'mastering-fur-alle', array['mastering', 'eq'], null::text, null::timestamptz,
        'owner'::public.audience)$$, 'title, slug and tags are tidied; a draft is its author''s'
);
select pg_temp.article(101, 1, 'Mastering für alle');
select matches(
    (select slug::text from public.articles where id = pg_temp.id(101)), '^mastering-fur-alle-.+',
    'a second one of one title gets its own address'
);
update public.articles set is_published = true where id = pg_temp.id(100);
select isnt((select published_at from public.articles where id = pg_temp.id(100)), null, 'publishing is dated');
update public.articles set published_at = '2026-01-01' where id = pg_temp.id(100);
update public.articles set is_published = false where id = pg_temp.id(100);
update public.articles set is_published = true where id = pg_temp.id(100);
select is((select published_at from public.articles where id = pg_temp.id(100)), '2026-01-01', 'once');
update public.articles set updated_at = '2026-01-01' where id = pg_temp.id(100);
update public.articles set views_count = 1, likes_count = 0 where id = pg_temp.id(100);
select is((select updated_at from public.articles where id = pg_temp.id(100)), '2026-01-01', 'a view is no edit');

-- Who reads.
select pg_temp.article(201, 1, 'Published'), pg_temp.article(202, 1, 'Draft', false), pg_temp.article(203, 6, 'Members');
select is(pg_temp.seen(2, pg_temp.id(201)), true, 'a member reads what is published');
select is(pg_temp.seen(null, pg_temp.id(201), 'anon'), true, 'so does a visitor');
select is(array[pg_temp.seen(2, pg_temp.id(202)), pg_temp.seen(null, pg_temp.id(202), 'anon')], '{f,f}', 'drafts are nobody''s');
select is(array[pg_temp.seen(1, pg_temp.id(202)), pg_temp.seen(4, pg_temp.id(202))], '{t,t}', 'but the author''s, and admins''');
select is(array[pg_temp.seen(2, pg_temp.id(203)), pg_temp.seen(null, pg_temp.id(203), 'anon')], '{t,f}', 'an author for members only');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(7), pg_temp.id(1));
select is(pg_temp.seen(7, pg_temp.id(201)), false, 'who blocked the author does not read them');
update public.articles set is_hidden = true where id = pg_temp.id(201);
select is(array[pg_temp.seen(2, pg_temp.id(201)), pg_temp.seen(null, pg_temp.id(201), 'anon'), pg_temp.seen(1, pg_temp.id(201))],
    '{f,f,t}', 'hidden by moderation');
update public.articles set is_hidden = false where id = pg_temp.id(201);
insert into public.bans (user_id, reason) values (pg_temp.id(1), 'spam');
select is(array[pg_temp.seen(2, pg_temp.id(201)), pg_temp.seen(null, pg_temp.id(201), 'anon'), pg_temp.seen(1, pg_temp.id(201))],
    '{f,f,f}', 'a banned author is not read, nor reads');
select is(pg_temp.seen(4, pg_temp.id(201)), true, 'admins do');
delete from public.bans;
select is(pg_temp.seen(2, pg_temp.id(201)), true, 'after the ban it is back');
select is(pg_temp.code_as(pg_temp.id(1), $$select public.set_profile_visibility('private')$$),
    null, 'the author goes into hiding');
select is(pg_temp.seen(2, pg_temp.id(201)), false, 'with everything written');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(1);

-- Each their own.
select is(pg_temp.touched(6, format('update public.articles set title = ''Hacked'' where id = %L', pg_temp.id(201))), 0::bigint,
    'another author changes nothing');
select is(pg_temp.touched(6, format('delete from public.articles where id = %L', pg_temp.id(201))), 0::bigint, 'nor deletes');
select is(pg_temp.touched(1, format('update public.articles set title = ''Better'' where id = %L', pg_temp.id(201))), 1::bigint,
    'the author edits');
update public.profiles set role = 'member' where id = pg_temp.id(1);
select is(pg_temp.touched(1, format('update public.articles set title = ''Late'' where id = %L', pg_temp.id(201))), 0::bigint,
    'without the role nothing is edited');
select is(pg_temp.code_as(pg_temp.id(1), $$insert into public.articles (title) values ('Late')$$), '42501', 'nor written');
select is(pg_temp.seen(2, pg_temp.id(201)), true, 'what is published stays');
select is(pg_temp.touched(1, format('delete from public.articles where id = %L', pg_temp.id(202))), 1::bigint, 'one''s own is deleted');
update public.profiles set role = 'author' where id = pg_temp.id(1);

-- Likes.
select is(pg_temp.code_as(pg_temp.id(2), format('insert into public.article_likes (article_id) values (%L)', pg_temp.id(201))), null, 'a like');
select is(pg_temp.code_as(pg_temp.id(2), format('insert into public.article_likes (article_id) values (%L)', pg_temp.id(201))), '23505', 'once');
select is(pg_temp.code_as(pg_temp.id(7), format('insert into public.article_likes (article_id) values (%L)', pg_temp.id(201))), '42501', 'not what one cannot read');
select is(pg_temp.code_as(pg_temp.id(7), format('insert into public.article_likes (article_id) values (%L)', gen_random_uuid())), '42501', 'like what does not exist');
select is(pg_temp.code_as(pg_temp.id(3), format('insert into public.article_likes (article_id, user_id) values (%L, pg_temp.id(6))', pg_temp.id(201))), '42501', 'nor for others');
insert into public.article_likes (article_id, user_id) select pg_temp.id(201), pg_temp.id(n) from generate_series(3, 4) as n;
insert into public.article_likes (article_id, user_id) values (pg_temp.id(201), pg_temp.id(6)), (pg_temp.id(203), pg_temp.id(2));
select is((select likes_count from public.articles where id = pg_temp.id(201)), 4, 'likes are counted');
select pg_temp.be(null, 'anon');
select is((select count(*)::integer from public.article_likes), 3, 'visitors see who likes, as far as they may see them');
reset role;
select pg_temp.be(pg_temp.id(2));
select is((select public.liked_by_me(a) from public.articles as a where a.id = pg_temp.id(201)), true, 'liked by me');
reset role;
select is(pg_temp.touched(2, 'delete from public.article_likes'), 2::bigint, 'one takes back one''s own');
select is((select likes_count from public.articles where id = pg_temp.id(201)), 3, 'and they are counted down');
select is_empty('select * from private.recount()', 'no counter differs');

-- Search says what the policy says.
select pg_temp.article(204, 1, 'Sidechain compression', words => 'Pumping basslines'),
    pg_temp.article(205, 1, 'Sidechain secrets', false), pg_temp.article(206, 6, 'Sidechain for members');
update public.articles set published_at = '2026-01-01' where id = pg_temp.id(204);
select is(pg_temp.found(2, 'sidechain'), array['Sidechain for members', 'Sidechain compression'], 'newest first');
select is(pg_temp.found(2, 'pumping bassline'), array['Sidechain compression'], 'the text counts, in any form');
select is(pg_temp.found(null, 'sidechain', 'anon'), array['Sidechain compression'], 'visitors');
select is(pg_temp.found(7, 'sidechain'), array['Sidechain for members'], 'blocks');
select is(pg_temp.found(2, null), '{}', 'nothing asked, nothing found');
insert into public.bans (user_id, reason) values (pg_temp.id(6), 'spam');
select is(pg_temp.found(2, 'sidechain'), array['Sidechain compression'], 'bans');

-- The end of the account.
delete from auth.users where id = pg_temp.id(1);
select is_empty('select * from public.articles where author_id = pg_temp.id(1)', 'articles go with their author');
select is_empty('select * from private.recount()', 'and no counter differs');

-- Names of stop words, CJK letters.
reset role;
insert into auth.users (id, email) values (pg_temp.id(20), '20@example.com');
insert into public.articles (author_id, title, is_published)
select pg_temp.id(20), t.title, true from (values ('The Who'), (U&'\65B0\6771\4EAC\697D\56E3')) as t (title);
select is((select array_agg(title) from public.search_articles(q.words)), array[q.title], 'found by ' || q.words)
from (values ('the who', 'The Who'), (U&'\6771\4EAC', U&'\65B0\6771\4EAC\697D\56E3')) as q (words, title);

select * from finish();
rollback;
