-- Limits: counted by kind and period, lower while an account is fresh, lifted by admins.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 40) as n;
update private.activity_limits set fresh = 2, established = 4;

create function pg_temp.times(who integer, statement text) returns integer language plpgsql as $$
declare
    passed integer := 0;
begin
    while passed < 9 and pg_temp.code_as(pg_temp.id(who), format(statement, 10 + passed)) is null loop
        passed := passed + 1;
    end loop;
    return passed;
end
$$;
create function pg_temp.refusal(who integer, statement text) returns text language plpgsql as $$
declare
    until text;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute statement;
    perform set_config('role', 'none', true);
    return 'passed';
exception when sqlstate 'PT429' then
    get stacked diagnostics until = pg_exception_detail;
    perform set_config('role', 'none', true);
    return until;
end
$$;
grant execute on all functions in schema pg_temp to public;
insert into public.posts (id, user_id, content) values (pg_temp.id(100), pg_temp.id(1), 'Hello');
insert into public.groups (id, owner_id, name) values (pg_temp.id(101), pg_temp.id(2), 'Open');

select is(pg_temp.times(2, statement), 2, 'a fresh account, twice: ' || statement) from unnest(array[
    $$insert into public.posts (content) values ('post %s')$$,
    $$insert into public.comments (post_id, content) values (pg_temp.id(100), 'comment %s')$$,
    $$insert into public.follows (following_id) values (pg_temp.id(%s))$$,
    $$insert into public.user_blocks (blocked_id) values (pg_temp.id(%s + 10))$$,
    $$select public.report_content('profile', pg_temp.id(%s), 'spam')$$,
    $$insert into public.groups (name) values ('group %s')$$,
    $$select public.invite_to_group(pg_temp.id(101), pg_temp.id(%s))$$,
    $$select public.start_conversation(array[pg_temp.id(%s)])$$
]) as statement;
select is(pg_temp.code_as(pg_temp.id(2), $$insert into public.posts (content) values ('x')$$), 'too_many_actions', 'with a code');
select ok(
    pg_temp.refusal(2, $$insert into public.posts (content) values ('x')$$)::timestamptz
    between now() and now() + interval '63 seconds', 'and until when'
);
select set_config('avenue.rows_follow', '', true);
select is(
    pg_temp.code_as(pg_temp.id(2), $$insert into public.follows (following_id) values (pg_temp.id(10))$$), '23505',
    'what is there already is no further one'
);
select is(
    pg_temp.code_as(pg_temp.id(2), $$insert into public.follows (following_id) values (pg_temp.id(10))
    on conflict (follower_id, following_id) do update set following_id = excluded.following_id$$), null, 'nor is an upsert'
);
update private.activity set started_at = started_at - interval '2 minutes' where kind = 'post';
select is(pg_temp.times(2, $$insert into public.posts (content) values ('later %s')$$), 2, 'a new period');
select is(
    pg_temp.code_as(pg_temp.id(3), $$insert into public.posts (content) select 'x' from generate_series(1, 5)$$),
    'too_many_actions', 'many in one request are many'
);
select is(pg_temp.times(3, $$insert into public.posts (content) values ('post %s')$$), 2, 'what failed does not count');
select is(
    pg_temp.code_as(pg_temp.id(6), $$insert into public.posts (content) select '@' || username || ' hi'
    from public.profiles where id in (pg_temp.id(7), pg_temp.id(8))$$), null, 'two are mentioned'
);
update private.activity set count = 0 where kind = 'post' and user_id = pg_temp.id(6);
select is(
    pg_temp.code_as(pg_temp.id(6), $$insert into public.posts (content) select '@' || username || ' hi'
    from public.profiles where id = pg_temp.id(9)$$), 'too_many_actions', 'a third is too many'
);
insert into public.groups (id, owner_id, name, post_approval_required) values (pg_temp.id(102), pg_temp.id(2), 'Slow', true);
insert into public.group_members (group_id, user_id, status, joined_at)
values (pg_temp.id(102), pg_temp.id(20), 'active', now());
select is(
    pg_temp.code_as(pg_temp.id(20), $$insert into public.posts (group_id, content) select pg_temp.id(102), string_agg('@' || username, ' ')
    from public.profiles where id in (pg_temp.id(7), pg_temp.id(8), pg_temp.id(20))$$), null,
    'two in what waits for approval'
);
select is(
    pg_temp.code_as(pg_temp.id(20), $$insert into public.posts (group_id, content) select pg_temp.id(102), '@' || username
    from public.profiles where id = pg_temp.id(9)$$), 'too_many_actions', 'a third is too many, whoever approves it'
);
select is(
    pg_temp.code_as(pg_temp.id(20), $$update public.posts set content = (
        select '@' || username from public.profiles where id = pg_temp.id(9)
    ) where user_id = auth.uid()$$), 'too_many_actions', 'in an edit, too'
);
select is(
    pg_temp.code_as(pg_temp.id(2), 'select public.approve_post(p.id) from public.pending_posts(pg_temp.id(102)) as p'),
    null, 'who approves has no part in it'
);
update public.profiles set created_at = now() - interval '8 days' where id = pg_temp.id(7);
select is(pg_temp.times(7, $$insert into public.posts (content) values ('post %s')$$), 4, 'an established account may more');
select is(pg_temp.times(4, $$insert into public.posts (content) values ('post %s')$$), 9, 'admins as much as they like');
select is(pg_temp.code_as(pg_temp.id(2), 'select public.lift_limits(pg_temp.id(2))'), 'admin_only', 'members lift nothing');
select pg_temp.be(pg_temp.id(2));
select results_eq(
    $$select most, used, resets_at > now() from public.my_limits() where kind = 'post'$$, 'values (2, 2, true)', 'one knows'
);
select is(pg_temp.code_as(pg_temp.id(4), 'select public.lift_limits(pg_temp.id(2))'), null, 'admins do');
select is(pg_temp.times(2, $$insert into public.posts (content) values ('lifted %s')$$), 9, 'for this member');
select pg_temp.be(pg_temp.id(2));
select is_empty('select * from public.my_limits()', 'who has none');
reset role;
select is(pg_temp.code_as(pg_temp.id(4), 'select public.lift_limits(pg_temp.id(2), null)'), null, 'and puts them back');
select is(
    pg_temp.code_as(pg_temp.id(2), $$insert into public.posts (content) select 'x' from generate_series(1, 3)$$),
    'too_many_actions', 'they hold again'
);
select is(pg_temp.code_as(pg_temp.id(4), 'select public.lift_limits(pg_temp.id(99))'), 'user_not_found', 'nobody there');
select is((select count(*) from public.audit_log where action = 'lift_limits'), 2::bigint, 'audited');
delete from auth.users where id = pg_temp.id(2);
select is_empty('select from private.activity where user_id = pg_temp.id(2)', 'erased with the account');

select * from finish();
rollback;
