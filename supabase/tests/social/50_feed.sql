-- The feed and search: whose posts, in which order, and never more than the policies of posts show.
begin;
\ir ../helpers.psql
select no_plan();

-- 1 to 5 as always; 6 private, 7 for members only, 8 and 1 blocked each other, 9 to 12 ordinary.
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 12) as n;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(6);
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(7);
insert into public.groups (id, owner_id, name, visibility, post_approval_required) values
(pg_temp.id(200), pg_temp.id(1), 'Open', 'public', false), (pg_temp.id(201), pg_temp.id(8), 'Secret', 'secret', false),
(pg_temp.id(202), pg_temp.id(9), 'Strict', 'private', true);
insert into public.group_members (group_id, user_id, role)
select pg_temp.id(g), pg_temp.id(n), case when n = 10 then 'moderator' else 'member' end::public.group_role
from (values (200, 2), (200, 6), (200, 8), (200, 10), (200, 5), (201, 2), (201, 10), (202, 2), (202, 11), (202, 10)) as m (g, n);
insert into public.follows (follower_id, following_id)
select pg_temp.id(a), pg_temp.id(b) from (values (1, 2), (1, 7), (2, 1), (2, 5), (2, 9), (3, 1), (7, 8), (10, 7)) as f (a, b);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(8), pg_temp.id(1)), (pg_temp.id(1), pg_temp.id(8));

-- Three posts by everybody on the profile and wherever they are members, each a minute older than the one before.
insert into public.posts (user_id, group_id, content, created_at)
select w.user_id, w.group_id, 'Café ' || case when w.n % 2 = 0 then 'beats' else 'drums' end || ' #tag' || w.n,
    now() - interval '1 minute' * (row_number() over (order by w.n, hashtext(w.user_id::text || coalesce(w.group_id::text, ''))) / 2)
from (
    select p.id as user_id, null::uuid as group_id, n from public.profiles as p cross join generate_series(1, 3) as n
    union all
    select m.user_id, m.group_id, n from public.group_members as m cross join generate_series(1, 2) as n
) as w;
select pg_temp.ban();
update public.posts set is_hidden = true where hashtext(id::text) % 7 = 0;

create function pg_temp.read_by(who integer, query text) returns uuid[] language plpgsql as $$
declare
    found uuid [];
begin
    perform pg_temp.be(pg_temp.id(who));
    execute format('select array_agg(t.id) from (%s) as t', query) into found;
    perform set_config('role', 'none', true);
    return coalesce(found, '{}');
end
$$;
-- A list in pages of n rows, as a client reads it.
create function pg_temp.paged(who integer, call text, n integer) returns uuid[] language plpgsql as $$
declare
    found uuid [] := '{}';
    page uuid [];
    last public.posts;
begin
    loop
        page := pg_temp.read_by(who, format(
            'select * from ' || call, coalesce(quote_literal(last.created_at), 'null'), coalesce(quote_literal(last.id), 'null'), n
        ));
        exit when cardinality(page) = 0;
        found := found || page;
        select * into last from public.posts as p where p.id = page[cardinality(page)];
    end loop;
    return found;
end
$$;
grant execute on all functions in schema pg_temp to public;

-- Searching finds exactly what a select under the policies finds, for everybody, in the order of the pages.
select is(
    pg_temp.paged(v.who, format('public.search_posts(%L, %%s, %%s, %%s)', q.words), 7),
    pg_temp.read_by(v.who, format(
        'select id from public.posts where search @@ websearch_to_tsquery(''english'', %L) order by created_at desc, id desc',
        q.words
    )),
    format('%s finds what they may read of %s', v.who, q.words)
)
from generate_series(1, 12) as v (who)
cross join (values ('cafe'), ('drum -tag3'), ('"cafe beats" or tag1')) as q (words)
where v.who <> 5;
select cmp_ok(cardinality(pg_temp.read_by(4, 'select id from public.posts')), '>', 50, 'there is much to find');
select isnt(
    cardinality(pg_temp.read_by(3, 'select id from public.posts')),
    cardinality(pg_temp.read_by(2, 'select id from public.posts')), 'and not the same for everybody'
);
select is(pg_temp.read_by(2, $$select id from public.search_posts('CAFÉ', null, null, 100)$$),
    pg_temp.read_by(2, $$select id from public.search_posts('cafe', null, null, 100)$$), 'accents and case do not matter');
select is(cardinality(pg_temp.read_by(2, format('select id from public.search_posts(%L)', q.words))), 0, 'nothing for ' || q.means)
from (values ('', 'nothing'), ('the of', 'stop words'), ('!!! & | (', 'signs'), ('unknownword', 'an unknown word'),
    (repeat('a b ', 100000), 'a book')) as q (words, means);
select is(pg_temp.code_as(pg_temp.id(5), $$select public.search_posts('cafe')$$), 'banned', 'banned: no search');
select is(pg_temp.code_as(null, $$select public.search_posts('cafe')$$, 'anon'), '42501', 'visitors do not search');

-- The feed is what the select under the policies says it is.
select is(
    pg_temp.paged(v.who, 'public.feed(%s, %s, %s)', n),
    pg_temp.read_by(v.who, format($$
        select p.id from public.posts as p
        where
            p.group_id is null and p.user_id = %1$L
            or p.group_id is null and p.audience <> 'owner'
            and p.user_id in (select f.following_id from public.follows as f where f.follower_id = %1$L)
            or p.group_id in (select m.group_id from public.group_members as m where m.user_id = %1$L and m.status = 'active')
        order by p.created_at desc, p.id desc
    $$, pg_temp.id(v.who))),
    format('the feed of %s in pages of %s', v.who, n)
)
from generate_series(1, 12) as v (who) cross join (values (1), (4), (100)) as s (n)
where v.who <> 5;
select cmp_ok(cardinality(pg_temp.paged(2, 'public.feed(%s, %s, %s)', 50)), '>', 15, 'there is something in it');
select is(cardinality(pg_temp.read_by(2, 'select id from public.feed(max_rows => 0)')), 1, 'at least one row');
select is(cardinality(pg_temp.read_by(2, 'select id from public.feed(max_rows => null)')), 20, 'twenty by default');
select is(pg_temp.code_as(pg_temp.id(5), 'select public.feed()'), 'banned', 'banned: no feed');
select is(pg_temp.code_as(null, 'select public.feed()', 'anon'), '42501', 'visitors have none');

-- Names of stop words, CJK letters.
insert into public.posts (id, user_id, content) values
(pg_temp.id(901), pg_temp.id(1), 'Saw The Who last night'), (pg_temp.id(902), pg_temp.id(1), U&'\65B0\6771\4EAC\697D\56E3 #Cafe\0301');
select is(pg_temp.read_by(2, $$select id from public.search_posts('The Who')$$), array[pg_temp.id(901)], 'a name of stop words');
select is(pg_temp.read_by(2, $$select id from public.search_posts('who the')$$), '{}'::uuid[], 'as it stands');
select is(pg_temp.read_by(2, format('select id from public.search_posts(%L)', U&'\6771\4EAC')), array[pg_temp.id(902)],
    'two CJK letters inside a name');
select is(cardinality(pg_temp.read_by(2, $$select id from public.search_posts('-beat')$$)), 0, 'not everything but a word');

select * from finish();
rollback;
