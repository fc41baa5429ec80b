-- Conversations: who starts them, who takes part, who sees that.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 8) as n;

-- What a member gets from a query, as JSON; the error's code when it fails.
create function pg_temp.seen(who integer, query text) returns jsonb language plpgsql as $$
declare
    answer jsonb;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute format('select coalesce(jsonb_agg(to_jsonb(q)), ''[]'') from (%s) as q', query) into answer;
    perform set_config('role', 'none', true);
    return answer;
end
$$;
create function pg_temp.start(who integer, others integer [], name text default null) returns uuid
language plpgsql as $$
declare
    found uuid;
begin
    perform pg_temp.be(pg_temp.id(who));
    found := (public.start_conversation(array(select pg_temp.id(o) from unnest(others) as o), name)).id;
    perform set_config('role', 'none', true);
    return found;
end
$$;
create function pg_temp.start_code(who integer, others integer []) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.start_conversation(%L)', array(select pg_temp.id(o) from unnest(others) as o)
    ))
$$;
grant execute on all functions in schema pg_temp to public;

-- direct
create temporary table talk as select pg_temp.start(1, '{2}') as id;
grant select on talk to public;
select is(pg_temp.start(2, '{1}'), (select id from talk), 'one conversation for a pair, whoever starts it');
select is(pg_temp.start(1, '{2,2,1}'), (select id from talk), 'naming oneself or somebody twice changes nothing');
select is((select count(*) from public.conversations), 1::bigint, 'and there is one');
select set_eq(
    $$select user_id, is_manager from public.conversation_participants$$,
    $$values (pg_temp.id(1), false), (pg_temp.id(2), false)$$, 'of the two, nobody manages it'
);
select throws_ok(
    $$insert into public.conversations (low_id, high_id) select low_id, high_id from public.conversations$$,
    '23505', null, 'the key forbids a second one'
);
select throws_ok(
    $$insert into public.conversations (low_id, high_id) values (pg_temp.id(2), pg_temp.id(1))$$,
    '23514', null, 'in either order'
);
select throws_ok(
    $$insert into public.conversations (low_id, high_id) values (pg_temp.id(1), pg_temp.id(1))$$,
    '23514', null, 'none with oneself'
);
select is(pg_temp.start_code(1, '{1}'), 'no_participants', 'none with oneself by the function');
select is(pg_temp.start_code(1, '{}'), 'no_participants', 'nor with nobody');
select is(
    pg_temp.code_as(pg_temp.id(1), format('select public.start_conversation(%L, %L)', array[pg_temp.id(2)], 'We')),
    'not_a_group_chat', 'two have no name'
);

-- who cannot be seen
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(6), pg_temp.id(1));
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(7);
select pg_temp.ban();
select is(pg_temp.start_code(1, array[n]), 'user_not_found', 'unknown to the caller: ' || n)
from unnest(array[5, 6, 7, 99]) as n;
select is(pg_temp.start_code(1, array[2, n]), 'user_not_found', 'in a group chat too: ' || n)
from unnest(array[5, 6, 7, 99]) as n;
select is(pg_temp.start_code(6, '{1}'), 'user_not_found', 'nor the other way across a block');
select is(pg_temp.start_code(7, '{1}'), 'profile_hidden', 'who hides does not write');
select is(pg_temp.start_code(5, '{1}'), 'banned', 'nor who is banned');
select is(
    pg_temp.code_as(null, format('select public.start_conversation(%L)', array[pg_temp.id(2)]), 'anon'), '42501',
    'nor visitors'
);
select is((select count(*) from public.conversations), 1::bigint, 'no traces');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(2);
select is(pg_temp.start(1, '{2}'), (select id from talk), 'an existing conversation stays, whatever became of the other');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(2);
select is(
    pg_temp.code_as(pg_temp.id(1), format(
        'select public.start_conversation(%L)', array(select gen_random_uuid() from generate_series(1, 100))
    )), 'too_many_participants', 'at most 100 in all'
);

-- group chats
create temporary table chat as select pg_temp.start(1, '{2,3}', '  Band  ') as id;
grant select on chat to public;
select isnt(pg_temp.start(1, '{2,3}'), (select id from chat), 'group chats are new each time');
select results_eq(
    $$select is_group, group_name, created_by, low_id from public.conversations where id = (select id from chat)$$,
    $$values (true, 'Band', pg_temp.id(1), null::uuid)$$, 'a group chat'
);
select set_eq(
    $$select user_id, is_manager from public.conversation_participants where conversation_id = (select id from chat)$$,
    $$values (pg_temp.id(1), true), (pg_temp.id(2), false), (pg_temp.id(3), false)$$, 'managed by who started it'
);

-- rows
select is(jsonb_array_length(pg_temp.seen(n, 'select * from public.' || t)), 0, format('%s sees no %s', n, t))
from unnest(array[4, 5, 8]) as n,
    unnest(array['conversations', 'conversation_participants', 'inbox_entries']) as t;
select is(jsonb_array_length(pg_temp.seen(1, 'select * from public.conversations')), 3, 'participants see theirs');
select is(jsonb_array_length(pg_temp.seen(1, 'select * from public.conversation_participants')), 8, 'and who is in');
select is(jsonb_array_length(pg_temp.seen(1, 'select * from public.inbox_entries')), 3, 'own entries only');
select is(pg_temp.code_as(null, 'select * from public.' || t, 'anon'), '42501', 'visitors not even that: ' || t)
from unnest(array['conversations', 'conversation_participants', 'inbox_entries']) as t;

-- nobody writes them
select is(pg_temp.code_as(pg_temp.id(8), statement), '42501', statement)
from unnest(array[
    $$insert into public.conversation_participants (conversation_id, user_id) select id, pg_temp.id(8) from talk$$,
    $$insert into public.inbox_entries (user_id, conversation_id, is_group, first_number)
    select pg_temp.id(8), id, true, 0 from talk$$,
    'insert into public.conversations (is_group) values (true)',
    $$update public.conversation_participants set user_id = pg_temp.id(8)$$,
    $$update public.inbox_entries set first_number = 0$$,
    $$update public.conversations set low_id = pg_temp.id(8)$$,
    'delete from public.conversation_participants', 'delete from public.inbox_entries',
    'delete from public.conversations'
]) as statement;

-- the manager's rights
select is(pg_temp.code_as(pg_temp.id(who), format(statement, id)), code, format('%s: %s', who, code))
from chat, (values
    (8, 'select public.add_participants(%L, array[pg_temp.id(8)])', 'conversation_not_found'),
    (8, 'select public.remove_participant(%L, pg_temp.id(1))', 'conversation_not_found'),
    (8, 'select public.leave_conversation(%L)', 'conversation_not_found'),
    (4, 'select public.add_participants(%L, array[pg_temp.id(4)])', 'conversation_not_found'),
    (5, 'select public.add_participants(%L, array[pg_temp.id(5)])', 'banned'),
    (2, 'select public.add_participants(%L, array[pg_temp.id(8)])', 'manager_only'),
    (2, 'select public.remove_participant(%L, pg_temp.id(3))', 'manager_only'),
    (1, 'select public.add_participants(%L, array[pg_temp.id(6)])', 'user_not_found'),
    (1, 'select public.add_participants(%L, array[pg_temp.id(7)])', 'user_not_found'),
    (1, 'select public.add_participants(%L, array[null]::uuid [])', 'user_not_found')
) as t (who, statement, code);
select is(pg_temp.code_as(pg_temp.id(1), format(statement, id)), 'not_a_group_chat', 'of two: ' || statement)
from talk, unnest(array[
    'select public.add_participants(%L, array[pg_temp.id(8)])', 'select public.remove_participant(%L, pg_temp.id(2))',
    'select public.leave_conversation(%L)'
]) as statement;
select is(
    pg_temp.code_as(pg_temp.id(1), format('select public.add_participants(%L, array[pg_temp.id(8), pg_temp.id(2)])', id)),
    null, 'the manager adds people'
) from chat;
select results_eq(
    $$select first_number, unread_count from public.inbox_entries
    where user_id = pg_temp.id(8) and conversation_id = (select id from chat)$$,
    $$values (1, 0)$$, 'who reads from then on'
);
select pg_temp.be(pg_temp.id(1));
update public.conversations set group_name = 'Choir' where id in (select id from chat union select id from talk);
select pg_temp.be(pg_temp.id(2));
update public.conversations set group_name = 'Orchestra';
reset role;
select results_eq(
    $$select group_name from public.conversations where group_name is not null$$, $$values ('Choir')$$,
    'the manager names it, nobody else, and no conversation of two'
);

-- blocks within a chat
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(3), pg_temp.id(2));
select is(
    pg_temp.seen(n, format(
        'select user_id from public.conversation_participants where conversation_id = %L and user_id in (%L, %L)',
        (select id from chat), pg_temp.id(2), pg_temp.id(3)
    )), jsonb_build_array(jsonb_build_object('user_id', pg_temp.id(n))), 'neither sees the other take part: ' || n
) from unnest(array[2, 3]) as n;
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
select is(
    jsonb_array_length(pg_temp.seen(n, format(
        'select user_id from public.conversation_participants where conversation_id = %L', (select id from talk)
    ))), 2, 'of two, a block is not to be seen: ' || n
) from unnest(array[1, 2]) as n;
delete from public.user_blocks where blocker_id = pg_temp.id(1);

-- the heir
create temporary table heirs as select pg_temp.start(1, '{2,3}', 'Heirs') as id;
grant select on heirs to public;
insert into public.bans (user_id, reason) values (pg_temp.id(2), 'x');
delete from public.conversation_participants where user_id = pg_temp.id(1) and conversation_id = (select id from heirs);
select set_eq(
    $$select user_id from public.conversation_participants where is_manager and conversation_id = (select id from heirs)$$,
    'values (pg_temp.id(3))', 'somebody banned does not inherit a chat'
);
delete from public.conversations where id = (select id from heirs);
delete from public.bans where user_id = pg_temp.id(2);

-- leaving
select pg_temp.code_as(pg_temp.id(1), format('select public.leave_conversation(%L)', id)) from chat;
select set_eq(
    $$select user_id, is_manager from public.conversation_participants where conversation_id = (select id from chat)$$,
    $$values (pg_temp.id(2), true), (pg_temp.id(3), false), (pg_temp.id(8), false)$$,
    'when the manager leaves, the longest participant manages'
);
select is(jsonb_array_length(pg_temp.seen(1, format('select 1 from public.conversations where id = %L', id))), 0, 'left')
from chat;
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.remove_participant(%L, pg_temp.id(3))', id)), null, 'removed'
) from chat;
select is(jsonb_array_length(pg_temp.seen(3, format('select 1 from public.conversations where id = %L', id))), 0, 'gone')
from chat;
select pg_temp.code_as(pg_temp.id(n), format('select public.leave_conversation(%L)', id))
from chat, unnest(array[2, 8]) as n;
select is_empty(
    $$select 1 from public.conversations where id = (select id from chat)$$, 'with the last one the chat goes'
);

-- inbox
select is(pg_temp.seen(n, 'select * from public.inbox()'), '[]', 'nothing to list for ' || n) from unnest(array[4, 8]) as n;
select is(pg_temp.code_as(pg_temp.id(5), statement), 'banned', statement)
from unnest(array['select * from public.inbox()', 'select public.unread_messages_count()']) as statement;
select is(
    (select array_agg(e ->> 'is_group') from jsonb_array_elements(pg_temp.seen(1, 'select * from public.inbox()')) as e),
    '{true}', 'group chats are listed at once, conversations of two with their first message'
);

-- the end of an account
delete from auth.users where id in (pg_temp.id(1), pg_temp.id(2));
select is_empty(
    $$select 1 from public.conversations where low_id = pg_temp.id(1)$$, 'a conversation without anybody left is gone'
);
select * from finish();
rollback;
