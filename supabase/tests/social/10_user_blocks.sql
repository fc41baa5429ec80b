-- Blocks.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
select pg_temp.ban();
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(3);

select has_pk('public', 'user_blocks', 'one block per pair and direction');
select is((select c.relrowsecurity from pg_class as c where c.oid = 'public.user_blocks'::regclass), true, 'RLS is on');
select ok(
    not has_table_privilege('anon', 'public.user_blocks', 'select')
    and not has_table_privilege('authenticated', 'public.user_blocks', 'update')
    and not has_column_privilege('authenticated', 'public.user_blocks', 'blocker_id', 'insert'),
    'visitors read none, nobody writes in another''s name'
);

-- 1 and 2 know each other; 2 follows 1 and 1 follows 2.
insert into public.follows (follower_id, following_id)
values (pg_temp.id(1), pg_temp.id(2)), (pg_temp.id(2), pg_temp.id(1)), (pg_temp.id(1), pg_temp.id(4));

select is(
    pg_temp.code_as(pg_temp.id(1), 'insert into public.user_blocks (blocked_id) values (pg_temp.id(2))'), null,
    'members block'
);
select is(
    (select array_agg(f.following_id) from public.follows as f), array[pg_temp.id(4)],
    'a block ends follows both ways and no others'
);
select results_eq(
    'select p.followers_count, p.following_count from public.profiles as p where p.id in (pg_temp.id(1), pg_temp.id(2))
    order by p.id', 'values (0, 1), (0, 0)', 'and counts them'
);
select is_empty('select * from private.recount()', 'the counters are exact');

select is(
    pg_temp.code_as(pg_temp.id(1), 'insert into public.user_blocks (blocked_id) values (pg_temp.id(1))'), '23514',
    'nobody blocks themselves'
);
select is(
    pg_temp.code_as(pg_temp.id(1), 'insert into public.user_blocks (blocked_id) values (pg_temp.id(2))'), '23505',
    'who is blocked already is known to who blocked'
);
select is(
    pg_temp.code_as(pg_temp.id(1), $$insert into public.user_blocks (blocked_id) values (pg_temp.id(2))
    on conflict (blocker_id, blocked_id) do update set blocked_id = excluded.blocked_id$$), null,
    'and an upsert finds it done'
);
select is(
    pg_temp.code_as(pg_temp.id(2), 'insert into public.user_blocks (blocked_id) values (pg_temp.id(1))'), '42501',
    'but does not block who blocked'
);
select is(
    pg_temp.code_as(pg_temp.id(1), 'insert into public.user_blocks (blocked_id) values (pg_temp.id(3))'), '42501',
    'somebody private cannot be blocked'
);
select is(
    pg_temp.code_as(pg_temp.id(1), 'insert into public.user_blocks (blocked_id) values (pg_temp.id(99))'), '42501',
    'nor somebody who does not exist, with the same answer'
);
select is(
    pg_temp.code_as(pg_temp.id(5), 'insert into public.user_blocks (blocked_id) values (pg_temp.id(2))'), '42501',
    'banned people block nobody'
);

select pg_temp.be(pg_temp.id(2));
select is_empty('select * from public.user_blocks', 'who is blocked does not read so');
select is_empty('select * from public.profiles where id = pg_temp.id(1)', 'and does not see who blocked');
select is_empty('delete from public.user_blocks returning 1', 'and cannot end it');
select is(
    pg_temp.code_of('insert into public.follows (following_id) values (pg_temp.id(1))'), 'user_not_found',
    'nor follow again'
);
select is_empty('select * from public.blocked_profiles()', 'their own list is empty');
select pg_temp.be(pg_temp.id(1));
select is_empty('select * from public.profiles where id = pg_temp.id(2)', 'who blocked sees them no more');
select results_eq(
    'select b.id from public.blocked_profiles() as b', array[pg_temp.id(2)], 'but in the list of whom they blocked'
);
select is(
    pg_temp.code_of('insert into public.follows (following_id) values (pg_temp.id(2))'), 'user_not_found',
    'and cannot follow them'
);
select isnt_empty('delete from public.user_blocks where blocked_id = pg_temp.id(2) returning 1', 'who blocked ends it');
select isnt_empty('select * from public.profiles where id = pg_temp.id(2)', 'and sees them again');
insert into public.user_blocks (blocked_id) values (pg_temp.id(2));
select is(jsonb_array_length(public.export_my_data() -> 'blocks'), 1, 'blocks are in the export of who blocked');
select pg_temp.be(pg_temp.id(2));
select is(jsonb_array_length(public.export_my_data() -> 'blocks'), 0, 'not in that of who is blocked');
reset role;
delete from auth.users where id = pg_temp.id(2);
select is_empty('select * from public.user_blocks', 'the end of an account ends its blocks');

select * from finish();
rollback;
