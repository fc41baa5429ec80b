-- Tags: which there are, how often they are used, which of them trend. Counting happens at the end of a transaction, here
-- whenever the constraint is asked for.
begin;
\ir ../helpers.psql
select no_plan();

select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 9) as n;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(6);
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(7);
update public.profiles set role = 'author' where id = pg_temp.id(1);
insert into public.groups (id, owner_id, name) values (pg_temp.id(50), pg_temp.id(1), 'Club');
set constraints private.count_tags immediate;

-- Uses by name, as a sorted list.
create function pg_temp.used() returns text language sql as $$
    select string_agg(t.name || ' ' || t.usage_count, ', ' order by t.name) from public.tags as t
$$;
create function pg_temp.post(n integer, author integer, tags text[], in_group uuid default null) returns void
language sql as $$
    insert into public.posts (id, user_id, content, tags, group_id)
    values (pg_temp.id(n), pg_temp.id(author), 'x', tags, in_group)
$$;

-- Structure.
select has_index('public', 'tags', 'tags_usage_count_id_idx', array['usage_count', 'id'], 'the most used');
select has_index('public', 'tags', 'tags_trending_score_id_idx', array['trending_score', 'id'], 'the trending');
select is(has_table_privilege(r, 'public.tags', 'insert, update, delete'), false, r || ' writes no tags')
from unnest(array['anon', 'authenticated', 'service_role']) as r;
select is(has_function_privilege(r, f, 'execute'), false, format('%s may not call %s', r, f))
from unnest(array['anon', 'authenticated', 'service_role']) as r,
unnest(array['private.update_trending_tags()', 'private.note_tags(uuid, text[], text[])', 'private.hold_tags(text[])']) as f;

-- What counts.
select pg_temp.post(100, 1, array['Dub', 'roots']);
select is(pg_temp.used(), 'dub 1, roots 1', 'a public post');
select pg_temp.post(101, 6, array['secret']), pg_temp.post(102, 7, array['secret']),
    pg_temp.post(103, 1, array['secret'], pg_temp.id(50));
insert into public.articles (id, author_id, title, tags) values (pg_temp.id(110), pg_temp.id(1), 'News', array['secret']);
insert into public.groups (id, owner_id, name, tags, visibility)
values (pg_temp.id(51), pg_temp.id(1), 'Cave', array['secret'], 'secret');
insert into public.artworks (id, seller_id, title, image_url, price_cents, category, status, tags)
values (pg_temp.id(120), pg_temp.id(1), 'A', 'https://e.com/1.png', 5000, 'painting', 'draft', array['secret']);
select is(pg_temp.used(), 'dub 1, roots 1', 'nothing that not everybody may read, not even the word');
update public.articles set is_published = true, tags = array['dub', 'news'];
update public.artworks set status = 'published', tags = array['dub', 'art'];
update public.groups set visibility = 'public', tags = array['dub', 'group'] where id = pg_temp.id(51);
select is(pg_temp.used(), 'art 1, dub 4, group 1, news 1, roots 1', 'articles, items and groups once they are public');
select is_empty('select * from private.recount()', 'as a recount says');

-- Coming and going.
update public.posts set tags = array['dub', 'ska'] where id = pg_temp.id(100);
select is(pg_temp.used(), 'art 1, dub 4, group 1, news 1, ska 1', 'an edit moves the difference; unused tags are gone');
update public.posts set content = 'x #riddim' where id = pg_temp.id(100);
select is(pg_temp.used(), 'art 1, dub 4, group 1, news 1, riddim 1, ska 1', 'a hashtag in the text');
update public.posts set is_hidden = true where id = pg_temp.id(100);
update public.articles set is_hidden = true;
update public.groups set visibility = 'secret' where id = pg_temp.id(51);
select is(pg_temp.used(), 'art 1, dub 1', 'what is hidden does not count');
update public.posts set is_hidden = false where id = pg_temp.id(100);
update public.articles set is_hidden = false;
update public.groups set visibility = 'private' where id = pg_temp.id(51);
select is(pg_temp.used(), 'art 1, dub 4, group 1, news 1, riddim 1, ska 1', 'restored');
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(1);
select is(pg_temp.used(), 'art 1, dub 2, group 1', 'visibility: posts and articles follow their author');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(1);
insert into public.bans (user_id, reason) values (pg_temp.id(1), 'spam');
select is(pg_temp.used(), 'dub 1, group 1', 'a ban: the items too');
delete from public.bans;
update public.posts set shares_count = 0, is_pinned = true where id = pg_temp.id(100);
update public.catalog_items set views_count = 5;
select is(pg_temp.used(), 'art 1, dub 4, group 1, news 1, riddim 1, ska 1', 'counters change nothing');
select is_empty('select * from private.recount()', 'as a recount says');
select is_empty('select * from private.tag_changes', 'no note is left');

-- One transaction, many changes.
set constraints private.count_tags deferred;
select pg_temp.post(200 + n, 2, array['crowd']) from generate_series(1, 300) as n;
create temp table looked as select pg_stat_get_xact_tuples_returned('private.tag_changes_pkey'::regclass) as up;
set constraints private.count_tags immediate;
select cmp_ok(
    pg_stat_get_xact_tuples_returned('private.tag_changes_pkey'::regclass) - l.up, '<', 3000::bigint,
    'a note that is counted already does not search among all the others'
) from looked as l;
set constraints private.count_tags deferred;
delete from public.posts where 'crowd' = any(tags);
set constraints private.count_tags immediate;
set constraints private.count_tags deferred;
select pg_temp.post(130, 2, array['dub', 'many']);
update public.posts set tags = array['dub'] where id = pg_temp.id(130);
delete from public.artworks where id = pg_temp.id(120);
select pg_temp.post(200 + n, 2, array_agg('bulk ' || (n * 10 + m))) from generate_series(1, 3) as n, generate_series(1, 10) as m
group by n;
set constraints private.count_tags immediate;
select is((select string_agg(name || ' ' || usage_count, ', ' order by name) from public.tags where name !~ 'bulk'),
    'dub 4, group 1, news 1, riddim 1, ska 1', 'only what remains is counted');
select is((select count(*)::integer from public.tags where name ~ 'bulk' and usage_count = 1), 30, 'many at once');
delete from public.posts where user_id = pg_temp.id(2);
select is((select count(*)::integer from public.tags where name ~ 'bulk'), 0, 'and gone at once');
select is_empty('select * from private.recount()', 'as a recount says');

-- Addresses.
select pg_temp.post(140, 2, array['hip hop', 'hip-hop', '🎸', 'Ñandú']);
select results_eq(
    $$select name, slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$', slug = 'nandu' from public.tags
        where name in ('hip hop', 'hip-hop', '🎸', 'ñandú') order by name collate "C"$$,
    $$values ('hip hop', true, false), ('hip-hop', true, false), ('ñandú', true, true), ('🎸', true, false)$$,
    'every tag has an address of its own'
);
select is((select count(*)::integer from public.tags where slug = 'hip-hop'), 1, 'one of two has the short one');

-- Everybody reads; a prefix uses its index.
create function pg_temp.plan(query text) returns text language plpgsql as $$
declare
    line text;
    answer text := '';
begin
    for line in execute 'explain ' || query loop
        answer := answer || line || E'\n';
    end loop;
    return answer;
end
$$;
grant execute on function pg_temp.plan(text) to public;
set local enable_seqscan = off;
select pg_temp.be(null, 'anon');
select isnt((select count(*)::integer from public.tags), 0, 'visitors read tags');
select alike(pg_temp.plan($$select * from public.tags where name like 'hip%' order by usage_count desc limit 5$$),
    '%Index%tags_name_prefix_idx%Index Cond%', 'a prefix is looked up in the index, under the policy');
select alike(pg_temp.plan('select * from public.tags order by trending_score desc, id limit 10'),
    '%tags_trending_score_id_idx%', 'and the trending ones come in order');
reset role;
reset enable_seqscan;

-- Trending: people, not repetitions; recent, not ever.
delete from private.tag_uses;
select pg_temp.post(300 + n, 2, array['spam']) from generate_series(1, 10) as n;
select pg_temp.post(320 + n, n, array['wave']) from unnest(array[1, 2, 3]) as n;
select is(private.update_trending_tags(), 2, 'two scores change');
select results_eq(
    'select name, trending_score from public.tags where trending_score > 0 order by trending_score desc',
    $$values ('wave', 3.00), ('spam', 1.00)$$, 'ten uses of one are one, three people are three'
);
select is(private.update_trending_tags(), 0, 'again says the same');
update private.tag_uses set used_at = now() - interval '2 days';
select private.update_trending_tags();
select results_eq(
    'select name, trending_score from public.tags where trending_score > 0 order by trending_score desc',
    $$values ('wave', 1.50), ('spam', 0.50)$$, 'after a half-life half as much, whatever was computed in between'
);
update private.settings set trending_half_life = interval '1 day';
insert into public.bans (user_id, reason) values (pg_temp.id(3), 'spam');
select private.update_trending_tags();
select is((select trending_score from public.tags where name = 'wave'), 0.50, 'the banned do not weigh');
delete from public.bans;
select is_empty(
    $$select * from private.tag_uses where user_id = pg_temp.id(3) and used_at > now() - interval '1 day'$$,
    'the end of a ban is no use of tags'
);
update private.tag_uses set used_at = now() - interval '11 days';
select private.update_trending_tags();
select is((select max(trending_score) from public.tags), 0.00, 'what is long ago is forgotten');
select is_empty('select * from private.tag_uses', 'and not kept');

-- The end of an account.
select pg_temp.post(340, 3, array['last words']);
delete from auth.users where id = pg_temp.id(3);
select is_empty($$select from public.tags where name = 'last words'$$, 'nothing of it stays');
select is_empty('select * from private.tag_uses where user_id = pg_temp.id(3)', 'nor who used what');
select is_empty('select * from private.recount()', 'no counter differs');

select * from finish();
rollback;
