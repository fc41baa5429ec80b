-- Polls: made whole, one vote each until the end, counted exactly, anonymous.
begin;
\ir ../helpers.psql
select no_plan();

select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 20) as n;

create function pg_temp.poll(content text, options text[], ends_at timestamptz default null, in_group uuid default null)
returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(1), format('select public.create_poll(%L, %L, %L, %L)', content, options, ends_at, in_group))
$$;
grant execute on all functions in schema pg_temp to public;

select is(pg_temp.poll('Which?', '{A,B}'), null, 'two options');
select is(pg_temp.poll('Which ten?', '{A,B,C,D,E,F,G,H,I,J}', now() + interval '1 day'), null, 'ten options and an end');
select is(pg_temp.poll(content, options::text [], ends_at), 'invalid_poll', means) from (values
    ('One', '{A}', null::timestamptz, 'one option'), ('Eleven', '{A,B,C,D,E,F,G,H,I,J,K}', null, 'eleven options'),
    ('None', '{}', null, 'no options'), (null, '{A,B}', null, 'no question'), ('  ', '{A,B}', null, 'a blank question'),
    ('Same', '{A," a "}', null, 'the same option twice'), ('Blank', '{A,""}', null, 'a blank option'),
    ('Null', '{A,null}', null, 'a missing option'), ('Long', array['A', repeat('x', 201)]::text, null, 'a long option'),
    ('Past', '{A,B}', now(), 'an end that has passed'), ('Far', '{A,B}', now() + interval '2 years', 'an end too far'),
    ('Nested', '{{A,B},{C,D}}', null, 'nested options')
) as v (content, options, ends_at, means);
select is(pg_temp.poll('Group', '{A,B}', null, pg_temp.id(200)), 'group_members_only', 'not in others'' groups');
select is(pg_temp.code_as(null, $$select public.create_poll('x', '{A,B}')$$, 'anon'), '42501', 'visitors make none');
select is_empty($$select from public.posts as p where p.post_type = 'poll' and not exists
    (select from public.poll_options as o where o.post_id = p.id)$$, 'none without options');
select results_eq($$select o.position::integer, o.option from public.poll_options as o
    inner join public.posts as p on p.id = o.post_id where p.content = 'Which?' order by 1$$,
    $$values (1, 'A'), (2, 'B')$$, 'options in their order');

create temp table poll as
select p.id, a.id as a, b.id as b, x.id as other
from public.posts as p
inner join public.poll_options as a on a.post_id = p.id and a.position = 1
inner join public.poll_options as b on b.post_id = p.id and b.position = 2
inner join public.posts as q on q.content = 'Which ten?'
inner join public.poll_options as x on x.post_id = q.id and x.position = 1
where p.content = 'Which?';
grant select on poll to public;
create function pg_temp.vote(who integer, post uuid, option uuid) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('insert into public.poll_votes (post_id, option_id) values (%L, %L)', post, option))
$$;
create function pg_temp.votes() returns integer[] language sql as $$
    select array_agg(o.votes_count order by o.position) from public.poll_options as o where o.post_id = (select id from poll)
$$;
grant execute on all functions in schema pg_temp to public;

select is(pg_temp.code_as(pg_temp.id(1), format('update public.posts set %s where id = %L', change, id)), null, 'before the first vote: ' || change)
from poll, unnest(array['content = ''What?''', 'content = ''Which?''']) as change;
select is(pg_temp.vote(2, id, a), null, 'a vote') from poll;
select is(pg_temp.code_as(pg_temp.id(1), format('update public.posts set %s where id = %L', change, id)), code, 'after it: ' || change)
from poll, (values
    ('content = ''What?''', 'poll_has_votes'), ('content = '' Which? ''', null), ('tags = ''{music}''', null)
) as v (change, code);
select is(pg_temp.vote(2, id, b), '23505', 'one vote a person') from poll;
select is(pg_temp.vote(3, id, b), null, 'another') from poll;
select is(pg_temp.vote(4, id, other), '23503', 'an option of another poll') from poll;
select is(pg_temp.vote(4, pg_temp.id(999), a), '42501', 'no such poll') from poll;
select is(pg_temp.votes(), array[1, 1], 'counted');
select is(
    pg_temp.code_as(pg_temp.id(2), format('insert into public.poll_votes (post_id, option_id) values (%L, %L)
        on conflict (post_id, user_id) do update set post_id = excluded.post_id, option_id = excluded.option_id', id, b)),
    null, 'an upsert changes the vote'
) from poll;
select is(pg_temp.votes(), array[0, 2], 'and the counts');
select pg_temp.be(pg_temp.id(2));
select results_eq('select user_id, option_id from public.poll_votes', 'select pg_temp.id(2), b from poll', 'only one''s own vote');
select is(public.my_vote(p), b, 'computed column') from public.posts as p inner join poll on poll.id = p.id;
select is(pg_temp.code_of(format('update public.poll_votes set post_id = (select post_id from public.poll_options where id = %L),
    option_id = %L', other, other)), '23503', 'a vote does not move to another poll') from poll;
select is(pg_temp.code_of(format('update public.poll_votes set user_id = %L', pg_temp.id(6))), '42501', 'nor to another person');
reset role;
select is(pg_temp.code_as(null, 'select from public.poll_votes', 'anon'), '42501', 'visitors see no votes');
select pg_temp.be(null, 'anon');
select results_eq('select count(*), sum(votes_count) from public.poll_options where post_id = (select id from poll)',
    'values (2::bigint, 2::bigint)', 'but the counts');
reset role;
select is(pg_temp.code_as(pg_temp.id(1), s.statement), '42501', 'not for clients: ' || s.statement) from (values
    ('update public.poll_options set votes_count = 9'), ('update public.poll_options set option = ''x'''),
    ('delete from public.poll_options'), ('update public.posts set poll_ends_at = now()')
) as s (statement);

-- Many at once, taken back, deleted.
insert into public.poll_votes (post_id, user_id, option_id)
select id, pg_temp.id(n), case when n % 2 = 0 then a else b end from poll cross join generate_series(6, 20) as n;
select is(pg_temp.votes(), array[8, 9], 'many votes in one statement');
update public.poll_votes set option_id = (select a from poll) where user_id > pg_temp.id(10);
select is(pg_temp.votes(), array[13, 4], 'many changed');
select pg_temp.be(pg_temp.id(20));
delete from public.poll_votes;
select is(pg_temp.votes(), array[12, 4], 'one taken back');
select is(pg_temp.code_of('select public.delete_my_account()'), null, 'a voter''s account ends');
reset role;
delete from auth.users where id in (pg_temp.id(18), pg_temp.id(19));
select is(pg_temp.votes(), array[10, 4], 'votes go with their accounts');
select is_empty('select * from private.recount()', 'all counters are exact');

-- What cannot be read cannot be voted on, nor are its options shown.
update public.posts set is_hidden = true where id = (select id from poll);
select is(pg_temp.vote(4, id, a), null, 'admins read and may vote') from poll;
delete from public.poll_votes where user_id = pg_temp.id(4);
insert into auth.users (id, email) values (pg_temp.id(30), '30@example.com');
select is(pg_temp.vote(30, id, a), '42501', 'hidden: as if it did not exist') from poll;
select pg_temp.be(pg_temp.id(2));
select is_empty('select from public.poll_options where post_id = (select id from poll)', 'hidden: no options');
select is_empty('select from public.poll_votes', 'hidden: nor one''s own vote');
reset role;
update public.posts set is_hidden = false where id = (select id from poll);

-- Taken back at the last moment: the policy still lets the vote go, the clock is past the end when it is counted.
update public.posts set poll_ends_at = clock_timestamp() + interval '1 second' where id = (select id from poll);
select pg_temp.be(pg_temp.id(2));
delete from public.poll_votes where pg_sleep(1.5 + 0 * length(option_id::text)) is not null; -- After the policy, being leaky.
select is_empty('select from public.poll_votes', 'in time: taken back');
reset role;
select is(pg_temp.votes(), array[10, 3], 'what was taken back is not kept');
update public.posts set poll_ends_at = null where id = (select id from poll);
select is(pg_temp.vote(2, id, b), null, 'given again') from poll;
select is(pg_temp.votes(), array[10, 4], 'and counted');

-- The end.
update public.posts set poll_ends_at = now() where id = (select id from poll);
select is(pg_temp.vote(30, id, a), 'poll_closed', 'no vote after the end') from poll;
select is(pg_temp.code_as(pg_temp.id(2), format('update public.poll_votes set option_id = %L', a)), 'poll_closed', 'no change')
from poll;
select pg_temp.be(pg_temp.id(2));
delete from public.poll_votes;
select isnt_empty('select from public.poll_votes', 'none taken back');
reset role;
select is(pg_temp.votes(), array[10, 4], 'the counts are final');
delete from auth.users where id = pg_temp.id(2);
delete from auth.users where id = pg_temp.id(6);
select is_empty('select from public.poll_votes where user_id in (pg_temp.id(2), pg_temp.id(6))', 'who voted deletes the account');
select is(pg_temp.votes(), array[10, 4], 'the counts of an ended poll stay');
select is_empty('select * from private.recount()', 'and are what a recount finds');
update public.posts set is_hidden = true where id = (select id from poll);
select is(pg_temp.vote(30, id, a), '42501', 'an ended poll one cannot read answers as if it did not exist') from poll;
delete from public.posts where id = (select id from poll);
select is_empty('select from public.poll_options where id in (select a from poll)', 'a poll takes its options along');
select is_empty('select from public.poll_votes', 'and its votes');
select is_empty('select * from private.recount()', 'all counters are exact at the end');

select pg_temp.ban();
select is(pg_temp.code_as(pg_temp.id(5), $$select public.create_poll('x', '{A,B}')$$), 'banned', 'banned: no polls');
select is(
    pg_temp.code_as(pg_temp.id(5), format('insert into public.poll_votes (post_id, option_id)
    select post_id, id from public.poll_options where id = %L', other)), '42501', 'banned: no votes'
) from poll;

select * from finish();
rollback;
