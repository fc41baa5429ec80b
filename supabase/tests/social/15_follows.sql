-- Follows.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 12) as n;

select has_pk('public', 'follows', 'one follow per pair');
select is((select c.relrowsecurity from pg_class as c where c.oid = 'public.follows'::regclass), true, 'RLS is on');
select ok(
    not has_column_privilege('authenticated', 'public.follows', 'follower_id', 'insert')
    and not has_column_privilege('authenticated', 'public.follows', 'created_at', 'insert')
    and not has_table_privilege('authenticated', 'public.follows', 'update')
    and not has_table_privilege('anon', 'public.follows', 'insert, delete'),
    'follows are the caller''s own, now, and never changed'
);
select ok(
    not has_column_privilege('authenticated', 'public.profiles', 'followers_count', 'update'),
    'counters are nobody''s to write'
);

select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of('insert into public.follows (following_id) values (pg_temp.id(2))'), null, 'members follow');
select is(pg_temp.code_of('insert into public.follows (following_id) values (pg_temp.id(2))'), '23505', 'once');
select is(
    pg_temp.code_of(
        'insert into public.follows (following_id) values (pg_temp.id(2)) on conflict (follower_id, following_id) do nothing'
    ), null, 'a double click can be ignored'
);
select is(
    pg_temp.code_of('insert into public.follows (following_id) values (pg_temp.id(1))'), 'cannot_follow_yourself',
    'not oneself'
);
select is(
    pg_temp.code_of('insert into public.follows (following_id) values (pg_temp.id(99))'), 'user_not_found',
    'nor nobody'
);
reset role;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(3);
select is(
    pg_temp.code_as(pg_temp.id(1), 'insert into public.follows (following_id) values (pg_temp.id(3))'),
    'user_not_found', 'nor somebody private'
);
select pg_temp.ban();
select is(
    pg_temp.code_as(pg_temp.id(1), 'insert into public.follows (following_id) values (pg_temp.id(5))'),
    'user_not_found', 'nor somebody banned'
);
select is(
    pg_temp.code_as(pg_temp.id(5), 'insert into public.follows (following_id) values (pg_temp.id(2))'), 'banned',
    'banned people follow nobody'
);
select is(
    pg_temp.code_as(null, 'insert into public.follows (following_id) values (pg_temp.id(2))', 'anon'), '42501',
    'nor do visitors'
);

-- counters
select results_eq(
    'select p.followers_count, p.following_count from public.profiles as p where p.id in (pg_temp.id(1), pg_temp.id(2))
    order by p.id', 'values (0, 1), (1, 0)', 'both sides are counted'
);
select pg_temp.be(pg_temp.id(6));
insert into public.follows (following_id)
values (pg_temp.id(1)), (pg_temp.id(2)), (pg_temp.id(7)), (pg_temp.id(8));
reset role;
select is_empty('select * from private.recount()', 'several in one statement are counted');
select is((select p.following_count from public.profiles as p where p.id = pg_temp.id(6)), 4, 'on the follower');
select pg_temp.be(pg_temp.id(6));
delete from public.follows where following_id in (pg_temp.id(7), pg_temp.id(8));
select is_empty(
    'delete from public.follows where follower_id = pg_temp.id(1) returning 1', 'follows of others cannot be ended'
);
reset role;
select is((select p.following_count from public.profiles as p where p.id = pg_temp.id(6)), 2, 'and unfollowing');
select is_empty('select * from private.recount()', 'the counters are exact');

-- who reads what; 2 follows back, 9 is for members only and follows 2
insert into public.follows (follower_id, following_id)
values (pg_temp.id(2), pg_temp.id(1)), (pg_temp.id(9), pg_temp.id(2));
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(9);
select pg_temp.be(null, 'anon');
select results_eq(
    'select f.follower_id from public.follows as f where f.following_id = pg_temp.id(2) order by 1',
    array[pg_temp.id(1), pg_temp.id(6)], 'visitors read follows of public people'
);
select is_empty(
    'select from public.profiles as p where p.is_followed or p.follows_me or p.connected',
    'nobody follows a visitor, who may ask'
);
select pg_temp.be(pg_temp.id(8));
select is(
    (select count(*) from public.follows as f where f.following_id = pg_temp.id(2)), 3::bigint,
    'members those of members-only people too'
);
reset role;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(9);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(6), pg_temp.id(8));
select pg_temp.be(pg_temp.id(8));
select results_eq(
    'select f.follower_id from public.follows as f where f.following_id = pg_temp.id(2)', array[pg_temp.id(1)],
    'neither those of private nor of blocked people'
);
select pg_temp.be(pg_temp.id(4));
select is(
    (select count(*) from public.follows as f where f.following_id = pg_temp.id(2)), 3::bigint, 'admins read all'
);

-- connected
select pg_temp.be(pg_temp.id(1));
select results_eq(
    'select p.id, public.connected(p), public.is_followed(p), public.follows_me(p) from public.profiles as p
    where p.id in (pg_temp.id(2), pg_temp.id(6), pg_temp.id(7)) order by p.id',
    'values (pg_temp.id(2), true, true, true), (pg_temp.id(6), false, false, true), (pg_temp.id(7), false, false, false)',
    'connected is mutual'
);
select results_eq('select c.id from public.connections() as c', array[pg_temp.id(2)], 'one''s own connections');
select results_eq(
    'select c.id from public.connections(pg_temp.id(2)) as c', array[pg_temp.id(1)], 'those of somebody else'
);
select is(pg_temp.code_of('select public.connections(pg_temp.id(9))'), 'user_not_found', 'not of hidden people');
select is(pg_temp.code_of('select public.connections(pg_temp.id(99))'), 'user_not_found', 'like of nobody');
reset role;
insert into public.follows (follower_id, following_id, created_at)
select pg_temp.id(12), pg_temp.id(n), '2026-01-01'::timestamptz + least(n, 9) * interval '1 day'
from generate_series(6, 11) as n where n <> 9;
insert into public.follows (follower_id, following_id)
select pg_temp.id(n), pg_temp.id(12) from generate_series(6, 11) as n where n <> 9;
select pg_temp.be(pg_temp.id(12));
create temporary table pages as
with recursive pages (page, id, created_at) as (
    (select 1, c.id, c.created_at from public.connections(max_rows => 1) as c)
    union all
    select p.page + 1, c.id, c.created_at from pages as p
    cross join lateral public.connections(after_created_at => p.created_at, after_id => p.id, max_rows => 1) as c
)
select * from pages;
select results_eq(
    'select p.id from pages as p order by p.page',
    array[pg_temp.id(11), pg_temp.id(10), pg_temp.id(8), pg_temp.id(7), pg_temp.id(6)],
    'pages of one follow each other, latest first, also within an instant'
);
select is(jsonb_array_length(public.export_my_data() -> 'follows'), 5, 'the export has whom one follows');
reset role;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(12);
select pg_temp.be(pg_temp.id(7));
select ok(not public.follows_me(row(p.*)::public.profiles), 'a made-up row tells nothing of hidden people')
from (select * from jsonb_populate_record(null::public.profiles, jsonb_build_object('id', pg_temp.id(12)))) as p;
reset role;

-- the end of an account
delete from auth.users where id = pg_temp.id(2);
select is_empty('select * from public.follows where pg_temp.id(2) in (follower_id, following_id)', 'ends its follows');
select is_empty('select * from private.recount()', 'and leaves the counters exact');
-- one that books keep
select pg_temp.buy(1, pg_temp.product(6, 1000));
delete from auth.users where id = pg_temp.id(6);
select results_eq(
    'select p.followers_count, p.following_count from public.profiles as p where p.id = pg_temp.id(6)',
    'values (0, 0)', 'who stays in the books follows nobody'
);
select is_empty('select * from private.recount()', 'the counters are exact again');
delete from public.subscriptions where user_id = pg_temp.id(12);
delete from ledger.accounts where owner_id = pg_temp.id(12);
delete from public.wallets where user_id = pg_temp.id(12);
delete from public.profiles where id = pg_temp.id(12);
select is_empty('select * from private.recount()', 'also when a profile goes without its account');

select * from finish();
rollback;
