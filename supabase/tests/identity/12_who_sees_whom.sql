-- is_visible_to() says of every pair of people what the policies of profiles say to the one who reads.
begin;
\ir ../helpers.psql
select no_plan();

-- 1 public, 2 members only, 3 private, 4 admin, 5 banned, 6 deleted, 7 blocked by 1, 8 blocks 1, 9 private admin.
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(1, 9) as n;
update public.profiles set role = 'admin' where id in (pg_temp.id(4), pg_temp.id(9));
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(2);
update public.profiles set profile_visibility = 'private' where id in (pg_temp.id(3), pg_temp.id(9));
select pg_temp.ban();
-- Kept by what the books refer to.
insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(6), 0, 0);
update public.profiles set deleted_at = now() where id = pg_temp.id(6);
insert into public.user_blocks values (pg_temp.id(1), pg_temp.id(7)), (pg_temp.id(8), pg_temp.id(1));

create temporary table seen (viewer integer, subject integer);
grant insert on seen to anon, authenticated;
do $$
begin
    for viewer in 0..9 loop
        perform pg_temp.be(
            case when viewer > 0 then pg_temp.id(viewer) end, case when viewer > 0 then 'authenticated' else 'anon' end
        );
        insert into seen select viewer, right(p.id::text, 2)::integer from public.profiles as p
        where not private.is_platform(p.id);
        perform set_config('role', 'none', true);
    end loop;
end
$$;

select results_eq(
    'select viewer, subject from seen where subject <> 6 order by 1, 2',
    $$
        select v, s from generate_series(0, 9) as v cross join generate_series(1, 9) as s
        where private.is_visible_to(pg_temp.id(s), case when v > 0 then pg_temp.id(v) end) order by 1, 2
    $$,
    'the function and the policies agree on every pair'
);
select is_empty(
    'select v from generate_series(0, 9) as v where private.is_visible_to(pg_temp.id(6), pg_temp.id(v))',
    'a deleted account is nobody to anybody, though orders go on naming its emptied row'
);
select results_eq(
    'select viewer, array_agg(subject order by subject) from seen where subject <> 6 group by 1 order by 1',
    $$ values
        (0, array[1, 4, 7, 8]), (1, array[1, 2, 4]), (2, array[1, 2, 4, 7, 8]), (3, array[1, 2, 3, 4, 7, 8]),
        (4, array[1, 2, 3, 4, 5, 7, 8, 9]), (5, array[1, 4, 5, 7, 8]), (6, array[1, 4, 7, 8]),
        (7, array[2, 4, 7, 8]), (8, array[2, 4, 7, 8]), (9, array[1, 2, 3, 4, 5, 7, 8, 9]) $$,
    'and both say what is meant'
);
select is(private.is_visible_to(pg_temp.id(99), pg_temp.id(4)), false, 'nobody sees who does not exist');

-- The caller's own view
select pg_temp.be(pg_temp.id(7));
select is(private.can_see(pg_temp.id(1)), false, 'who is blocked does not see who blocked');
select is(private.can_see(pg_temp.id(2)), true, 'but others');
select results_eq('select private.blocked_ids()', array[pg_temp.id(1)], 'a block counts from its other end');
select pg_temp.be(pg_temp.id(1));
select results_eq(
    'select b from private.blocked_ids() as b order by 1', array[pg_temp.id(7), pg_temp.id(8)], 'and from both'
);
select pg_temp.be(null, 'anon');
select is(private.can_see(pg_temp.id(2)), false, 'visitors do not see members-only profiles');
select is(private.can_see(pg_temp.id(1)), true, 'they see public ones');
select is(pg_temp.code_of('select * from private.blocked_ids()'), '42501', 'and have no blocks to ask for');
reset role;

-- What people write is for no more than may see them
select results_eq(
    'select private.author_audience(p)::text from public.profiles as p where not private.is_platform(p.id) order by p.id',
    array['public', 'members', 'owner', 'public', 'owner', 'owner', 'public', 'public', 'owner'],
    'the audience of a contribution follows its author'
);

select * from finish();
rollback;
