-- Messages: sending, who reads what, unread counts, deletion, blocks, the end of an account.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 8) as n;

create temporary table chats (name text primary key, id uuid);
create function pg_temp.chat(name text) returns uuid language sql stable as $$
    select c.id from pg_temp.chats as c where c.name = chat.name
$$;
create function pg_temp.start(name text, who integer, others integer []) returns void language plpgsql as $$
declare
    found uuid;
begin
    perform pg_temp.be(pg_temp.id(who));
    found := (public.start_conversation(array(select pg_temp.id(o) from unnest(others) as o))).id;
    perform set_config('role', 'none', true);
    insert into pg_temp.chats values (name, found);
end
$$;
create function pg_temp.send(who integer, name text, content text, attachments text [] default '{}') returns text
language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'insert into public.messages (conversation_id, content, attachments) values (%L, %L, %L) returning *',
        pg_temp.chat(name), content, attachments
    ))
$$;
create function pg_temp.read(who integer, name text) returns text [] language plpgsql as $$
declare
    found text [];
begin
    perform pg_temp.be(pg_temp.id(who));
    found := array(
        select coalesce(m.content, '-') from public.messages as m
        where m.conversation_id = pg_temp.chat(name) order by m.number
    );
    perform set_config('role', 'none', true);
    return found;
end
$$;
create function pg_temp.entry(who integer, name text) returns text language sql as $$
    select format('%s %s', e.unread_count, coalesce(e.last_message_preview, '-'))
        || case when e.last_message_at is null then ' unlisted' else '' end
    from public.inbox_entries as e where e.user_id = pg_temp.id(who) and e.conversation_id = pg_temp.chat(name)
$$;
create function pg_temp.message(name text, number integer) returns uuid language sql as $$
    select m.id from public.messages as m where m.conversation_id = pg_temp.chat(name) and m.number = message.number
$$;
create function pg_temp.call(who integer, statement text, variadic parts text []) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(statement, variadic parts))
$$;
grant all on pg_temp.chats to public;
grant execute on all functions in schema pg_temp to public;

-- sending
select pg_temp.start('two', 1, '{2}'), pg_temp.start('band', 1, '{2,3}');
select is(pg_temp.entry(2, 'two'), '0 - unlisted', 'a conversation nobody wrote in is not listed');
select is(pg_temp.send(1, 'two', 'Hello'), null, 'a message is a plain insert, and returned');
select is(pg_temp.send(2, 'two', 'Hi'), null, 'the other one answers');
select results_eq(
    $$select number, sender_id, content, is_read, is_deleted from public.messages
    where conversation_id = pg_temp.chat('two') order by number$$,
    $$values (1, pg_temp.id(1), 'Hello', false, false), (2, pg_temp.id(2), 'Hi', false, false)$$, 'numbered, by whom'
);
select is((select array_agg(distinct created_at) from public.messages), (
    select array_agg(created_at order by number) from public.messages
), 'times follow the numbers and differ');
select results_eq(
    $$select c.last_number, c.last_message_at = m.created_at from public.conversations as c
    inner join public.messages as m on m.conversation_id = c.id and m.number = 2$$,
    $$values (2, true)$$, 'the conversation knows the last one'
);
select is(pg_temp.entry(1, 'two'), '1 Hi', 'unread for the other one');
select is(pg_temp.entry(2, 'two'), '1 Hi', 'one''s own is not counted');
select is(pg_temp.send(who, 'two', 'x'), 'conversation_not_found', 'strangers and admins do not write: ' || who)
from unnest(array[3, 4]) as who;
insert into chats values ('none', gen_random_uuid());
select is(pg_temp.send(3, 'none', 'x'), 'conversation_not_found', 'as if it did not exist');
select is(pg_temp.code_as(null, 'insert into public.messages (content) values (null)', 'anon'), '42501', 'nor visitors');
select is(pg_temp.send(1, 'two', content), '23514', 'refused: ' || left(coalesce(content, 'nothing'), 10))
from unnest(array[null, '', E' \n\t ', repeat('x', 10001)]) as content;
select is(pg_temp.call(1, statement, pg_temp.chat('two')::text), '42501', statement) from unnest(array[
    $$insert into public.messages (conversation_id, content, sender_id) values (%L, 'x', pg_temp.id(2))$$,
    $$insert into public.messages (conversation_id, content, number) values (%L, 'x', 77)$$,
    $$insert into public.messages (conversation_id, content, created_at) values (%L, 'x', 'infinity')$$,
    $$insert into public.messages (conversation_id, content, is_read) values (%L, 'x', true)$$,
    $$update public.messages set content = 'other' where conversation_id = %L$$,
    'delete from public.messages where conversation_id = %L',
    $$insert into public.message_deletions (message_id, user_id) values (%L, pg_temp.id(2))$$
]) as statement;
select is(
    pg_temp.call(1, 'insert into public.messages (id, conversation_id, content) values (%L, %L, %L)',
        pg_temp.message('two', 1)::text, pg_temp.chat('two')::text, 'Hello'), '23505', 'sent again: a conflict'
);
select is(
    pg_temp.call(1, 'insert into public.messages (id, conversation_id, content) values (%L, %L, %L) on conflict (id) '
        || 'do nothing', pg_temp.message('two', 1)::text, pg_temp.chat('two')::text, 'Hello'), null, 'or nothing'
);
select is(
    (select last_number from public.conversations where id = pg_temp.chat('two')), 2, 'and no number is spent'
);

-- previews
select is(private.message_preview(E'  one\n\ttwo  ', '{}'), 'one two', 'on one line');
select is(private.message_preview(repeat('🎺', 150), '{}'), repeat('🎺', 100), 'a hundred whole characters');
select is(private.message_preview(null, array['a']), 'Attachment', 'an attachment');
select is(private.message_preview(null, array['a', 'b']), '2 attachments', 'attachments');
select is(private.message_preview(null, '{}'), null, 'nothing');

-- who reads
select is(pg_temp.read(1, 'two'), '{Hello,Hi}', 'participants read');
select is(pg_temp.read(who, 'two'), '{}', 'nobody else: ' || who) from unnest(array[3, 4, 5]) as who;
select pg_temp.send(1, 'band', 'old 1'), pg_temp.send(2, 'band', 'old 2');
select pg_temp.call(1, 'select public.add_participants(%L, array[pg_temp.id(6)])', pg_temp.chat('band')::text);
select is(pg_temp.read(6, 'band'), '{}', 'who enters reads nothing from before');
select is(pg_temp.entry(6, 'band'), '0 -', 'counts nothing from before and has no preview of it');
select is(
    pg_temp.call(6, 'select public.delete_message(%L)', pg_temp.message('band', 2)::text), 'message_not_found',
    'it does not exist for them'
);
select is(pg_temp.call(6, 'select public.mark_conversation_read(%L)', pg_temp.chat('band')::text), null, 'reading it all');
select is(
    (select bool_or(is_read) from public.messages where conversation_id = pg_temp.chat('band')), false,
    'is no receipt for what they cannot read'
);
select pg_temp.send(3, 'band', 'new');
select is(pg_temp.read(6, 'band'), '{new}', 'but what comes then');
select is(pg_temp.entry(6, 'band'), '1 new', 'and counts it');
select is(pg_temp.entry(1, 'band'), '2 new', 'others count what they have not read');

-- reading
create function pg_temp.mark(who integer, name text, up_to integer default null) returns integer language plpgsql as $$
declare
    remaining integer;
begin
    perform pg_temp.be(pg_temp.id(who));
    remaining := public.mark_conversation_read(pg_temp.chat(name), up_to);
    perform set_config('role', 'none', true);
    return remaining;
end
$$;
grant execute on all functions in schema pg_temp to public;
select is(pg_temp.mark(1, 'band', 2), 1, 'read up to a number');
select is(pg_temp.mark(1, 'band', 1), 1, 'never back');
select is(pg_temp.mark(1, 'band', -5), 1, 'nor below');
select results_eq(
    $$select number, is_read, read_at is not null from public.messages
    where conversation_id = pg_temp.chat('band') order by number$$,
    $$values (1, false, false), (2, true, true), (3, false, false)$$, 'their senders see it, one''s own are not read'
);
select is(pg_temp.mark(1, 'band', 1000), 0, 'a number beyond the last is the last');
select is(
    (select last_read_number from public.conversation_participants
        where user_id = pg_temp.id(1) and conversation_id = pg_temp.chat('band')), 3, 'and the receipt says so'
);
select is(pg_temp.call(who, 'select public.mark_conversation_read(%L)', pg_temp.chat('two')::text), code, 'by ' || who)
from (values (3, 'conversation_not_found'), (4, 'conversation_not_found')) as t (who, code);
select pg_temp.be(pg_temp.id(2));
select is(public.unread_messages_count(), 3, 'unread in all conversations');
reset role;

-- deleting for oneself
select pg_temp.send(1, 'two', 'third'), pg_temp.mark(2, 'two', 1);
select is(pg_temp.call(2, 'select public.delete_message(%L)', pg_temp.message('two', 3)::text), null, 'for oneself');
select is(pg_temp.call(2, 'select public.delete_message(%L)', pg_temp.message('two', 3)::text), null, 'twice');
select is(pg_temp.read(2, 'two'), '{Hello,Hi}', 'gone for oneself');
select is(pg_temp.entry(2, 'two'), '0 Hi', 'not counted, and the preview is the one before');
select is(pg_temp.read(1, 'two'), '{Hello,Hi,third}', 'there for the other one');
select is(pg_temp.entry(1, 'two'), '1 third', 'whose inbox does not change');
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.message_deletions), 0::bigint, 'who does not learn of it');
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.message_deletions), 1::bigint, 'the deleter does');
reset role;

-- deleting for everyone
select is(
    pg_temp.call(2, 'select public.delete_message(%L, true)', pg_temp.message('two', 1)::text), 'not_message_sender',
    'others'' messages stay'
);
select is(pg_temp.call(who, 'select public.delete_message(%L, true)', pg_temp.message('two', 1)::text),
    'message_not_found', 'and do not exist for strangers: ' || who) from unnest(array[3, 4]) as who;
select is(pg_temp.call(3, 'select public.delete_message(%L, true)', pg_temp.message('band', 3)::text), null, 'own');
select is(pg_temp.call(3, 'select public.delete_message(%L, true)', pg_temp.message('band', 3)::text), null, 'twice');
select results_eq(
    $$select number, sender_id, content, attachments, is_deleted from public.messages
    where conversation_id = pg_temp.chat('band') and number = 3$$,
    $$values (3, pg_temp.id(3), null::text, '{}'::text [], true)$$, 'leaves its number'
);
select is(pg_temp.entry(6, 'band'), '0 -', 'unread no more, no preview');
select is(pg_temp.entry(2, 'band'), '1 -', 'one less for the others');
select is(pg_temp.entry(1, 'band'), '0 -', 'not below zero for who had read it');
select is(pg_temp.call(1, 'select public.delete_message(%L)', pg_temp.message('two', 3)::text), null, 'first for me');
select is(pg_temp.call(1, 'select public.delete_message(%L, true)', pg_temp.message('two', 3)::text), null, 'then for all');

-- blocks: two
select pg_temp.send(2, 'two', 'before the block');
select is(pg_temp.entry(1, 'two'), '2 before the block', 'unread');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
select is(pg_temp.send(who, 'two', 'x'), 'cannot_message', 'refused alike: ' || who) from unnest(array[1, 2]) as who;
select is(pg_temp.entry(1, 'two'), '0 - unlisted', 'who blocked is not reminded');
select is(pg_temp.entry(2, 'two'), '0 before the block', 'who is blocked sees no difference');
select is(pg_temp.read(2, 'two'), '{Hello,Hi,"before the block"}', 'and what was said stays readable');
delete from public.user_blocks;
select is(pg_temp.entry(1, 'two'), '2 before the block', 'all back with its end');
-- the same answer for whoever cannot be reached
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(2);
select is(pg_temp.send(1, 'two', 'x'), 'cannot_message', 'private');
select is(pg_temp.send(2, 'two', 'x'), 'profile_hidden', 'who hides does not write');
select is(pg_temp.send(2, 'band', 'x'), 'profile_hidden', 'to nobody');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(2);
insert into public.bans (user_id, reason) values (pg_temp.id(2), 'x');
select is(pg_temp.send(1, 'two', 'x'), 'cannot_message', 'banned');
select is(pg_temp.send(2, 'two', 'x'), 'banned', 'who is banned');
select is(pg_temp.read(2, 'two'), '{}', 'reads nothing');
select is(pg_temp.call(2, statement, pg_temp.message('two', 2)::text, pg_temp.chat('two')::text), 'banned', statement)
from unnest(array[
    'select public.delete_message(%L)', 'select public.mark_conversation_read(%2$L)',
    'select public.leave_conversation(%2$L)'
]) as statement;
delete from public.bans;

-- blocks: group chats
select pg_temp.send(2, 'band', 'by two');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(2), pg_temp.id(6));
select pg_temp.send(2, 'band', 'by two again'), pg_temp.send(6, 'band', 'by six');
select is(pg_temp.read(6, 'band'), '{-,"by six"}', 'messages across a block are hidden');
select is(pg_temp.read(2, 'band'), '{"old 1","old 2",-,"by two","by two again"}', 'both ways');
select is(pg_temp.read(3, 'band'), '{"old 1","old 2",-,"by two","by two again","by six"}', 'not for others');
select is(pg_temp.entry(6, 'band'), '0 by six', 'not counted');
select is(pg_temp.entry(2, 'band'), '1 by two again', 'both ways, no preview of it either');
create function pg_temp.evidence(message uuid, reader uuid) returns jsonb language sql as $$
    select e.content from private.message_evidence(array[message], reader) as e
$$;
select is(pg_temp.evidence(pg_temp.message('band', 5), pg_temp.id(6)), null, 'no evidence of what is hidden');
delete from public.user_blocks;
select is(pg_temp.entry(6, 'band'), '2 by six', 'back with its end');

-- evidence
select is(
    pg_temp.evidence(pg_temp.message('two', 1), pg_temp.id(2)) - 'created_at' - 'conversation_id',
    jsonb_build_object('number', 1, 'sender_id', pg_temp.id(1), 'content', 'Hello', 'attachments', '[]'::jsonb),
    'a copy for a report'
);
select is(pg_temp.evidence(pg_temp.message('two', 1), pg_temp.id(who)), null, 'not by strangers: ' || who)
from unnest(array[3, 4]) as who;
select is(pg_temp.evidence(pg_temp.message('two', 3), pg_temp.id(2)), null, 'nor of what was deleted');

-- attachments; Storage deletes with this setting
select set_config('storage.allow_delete_query', 'true', true);
create function pg_temp.file(owner integer, chat text, name text) returns text language sql as $$
    select pg_temp.id(owner) || '/' || pg_temp.chat(chat) || '/' || name
$$;
create function pg_temp.upload(who integer, path text) returns text language sql as $$
    select pg_temp.call(who, 'insert into storage.objects (bucket_id, name) values (''attachments'', %L)', path)
$$;
create function pg_temp.files(who integer) returns bigint language plpgsql as $$
declare
    found bigint;
begin
    perform pg_temp.be(pg_temp.id(who)), set_config('storage.operation', 'storage.object.get_authenticated', true);
    select count(*) into found from storage.objects where bucket_id = 'attachments';
    perform set_config('storage.operation', '', true);
    perform set_config('role', 'none', true);
    return found;
end
$$;
grant execute on all functions in schema pg_temp to public;
select is(pg_temp.upload(1, pg_temp.file(1, 'two', 'a.png')), null, 'into one''s folder of a conversation');
select is(pg_temp.upload(who, path), '42501', format('%s not to %s', who, path)) from (values
    (1, pg_temp.file(2, 'two', 'a.png')), (3, pg_temp.file(3, 'two', 'a.png')), (5, pg_temp.file(5, 'two', 'a.png')),
    (1, pg_temp.file(1, 'none', 'a.png')), (1, pg_temp.id(1) || '/a.png'), (1, pg_temp.file(1, 'two', 'x/a.png')),
    (1, pg_temp.id(1) || '/x/a.png'), (1, pg_temp.file(1, 'two', ''))
) as t (who, path);
select is(pg_temp.files(2), 0::bigint, 'not readable before it is sent');
select is(pg_temp.send(who, chat, null, paths), 'attachment_not_found', paths::text) from (values
    (1, 'two', array[pg_temp.file(1, 'two', 'b.png')]), (2, 'two', array[pg_temp.file(1, 'two', 'a.png')]),
    (1, 'band', array[pg_temp.file(1, 'two', 'a.png')]),
    (1, 'two', array[pg_temp.file(1, 'two', 'a.png'), pg_temp.file(1, 'two', 'a.png')])
) as t (who, chat, paths);
select is(pg_temp.send(1, 'two', null, array[pg_temp.file(1, 'two', 'a.png')]), null, 'sent without a word');
select is(pg_temp.entry(2, 'two'), '1 Attachment', 'the preview says so');
select is(pg_temp.files(who), n, format('%s sees %s files', who, n)) from (values
    (1, 1::bigint), (2, 1), (3, 0), (4, 0), (5, 0)
) as t (who, n);
select pg_temp.call(1, 'update storage.objects set name = name || ''x'' where name = %L', pg_temp.file(1, 'two', 'a.png'));
select pg_temp.call(1, 'delete from storage.objects where name = %L', pg_temp.file(1, 'two', 'a.png'));
select is(pg_temp.files(1), 1::bigint, 'what was sent is neither replaced nor removed');
select is(pg_temp.code_of('update storage.objects set version = ''2'' where bucket_id = ''attachments'''), '42501',
    'not by Storage either, whose upload ends only now');
with gone as (delete from storage.objects where bucket_id = 'attachments' returning 1)
select is(count(*), 0::bigint, 'nor does Storage remove it while a message refers to it') from gone;
select pg_temp.be(pg_temp.id(2)), set_config('storage.operation', operation, true) from unnest(array[
    'storage.object.sign']) as t (operation);
select is_empty('select 1 from storage.objects', 'nobody signs a link to what they were sent');
select set_config('storage.operation', 'storage.object.copy', true);
select is_empty('select 1 from storage.objects', 'nor copies it');
select set_config('storage.operation', '', true), set_config('role', 'none', true);
select pg_temp.call(1, 'select public.delete_message(%L, true)', pg_temp.message('two', 5)::text);
select is(pg_temp.files(2), 0::bigint, 'deleted for everyone nobody reads it');
select pg_temp.call(1, 'delete from storage.objects where name = %L', pg_temp.file(1, 'two', 'a.png'));
select is(pg_temp.files(1), 0::bigint, 'and it can be removed');
select pg_temp.upload(1, pg_temp.file(1, 'band', 'b.png')), pg_temp.send(1, 'band', 'x', array[pg_temp.file(1, 'band', 'b.png')]);
select pg_temp.call(1, 'select public.add_participants(%L, array[pg_temp.id(7)])', pg_temp.chat('band')::text);
select pg_temp.call(3, 'select public.leave_conversation(%L)', pg_temp.chat('band')::text);
select is(pg_temp.files(who), 0::bigint, 'who enters later and who left read no files: ' || who)
from unnest(array[3, 7]) as who;
select is(pg_temp.files(6), 1::bigint, 'who was there does');

-- clearing a conversation for oneself
select pg_temp.start('six', 6, '{7}');
select pg_temp.send(6, 'six', 'one'), pg_temp.send(7, 'six', 'two'), pg_temp.send(6, 'six', 'three');
select is(pg_temp.call(3, 'select public.clear_conversation(%L)', pg_temp.chat('six')::text), 'conversation_not_found',
    'who takes no part clears nothing');
select is(pg_temp.entry(7, 'six'), '2 three', 'unread');
select is(pg_temp.call(7, 'select public.clear_conversation(%L)', pg_temp.chat('six')::text), null, 'cleared');
select is(pg_temp.read(7, 'six'), '{}', 'nothing is left to read');
select is(pg_temp.entry(7, 'six'), '0 - unlisted', 'nor to count, and it is not listed');
select is(pg_temp.read(6, 'six'), '{one,two,three}', 'the other one reads all of it');
select is_empty(
    $$select from public.messages where conversation_id = pg_temp.chat('six') and is_read$$, 'and was told nothing'
);
select is_empty(
    $$select from public.notifications
    where user_id = pg_temp.id(7) and related_id = pg_temp.chat('six') and not is_read$$, 'its notification is read'
);
select is(pg_temp.send(6, 'six', 'four'), null, 'something new');
select is(pg_temp.read(7, 'six'), '{four}', 'is all there is');
select is(pg_temp.entry(7, 'six'), '1 four', 'and brings it back');
select is_empty('select * from private.recount()', 'counts are right');
select is(pg_temp.call(6, 'select public.clear_conversation(%L)', pg_temp.chat('band')::text), null, 'of a group chat');
select is(pg_temp.entry(6, 'band'), '0 -', 'one stays a listed participant');

-- who left has still written
select pg_temp.send(7, 'band', 'by seven'), pg_temp.call(7, 'select public.leave_conversation(%L)', pg_temp.chat('band')::text);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(6), pg_temp.id(7));
select is_empty('select * from private.recount()', 'counts are right across a block with somebody who left');
delete from public.user_blocks;
select is_empty('select * from private.recount()', 'and after it');
select is(
    pg_temp.code_as(pg_temp.id(1), format('select public.add_participants(%L, array[pg_temp.id(7)])', pg_temp.chat('band'))),
    'left_chat', 'who left is not added again'
);
select pg_temp.call(7, 'select public.rejoin_conversation(%L)', pg_temp.chat('band')::text);

-- exactness, and the end of an account
select is_empty('select * from private.recount()', 'every count is right');
select pg_temp.send(3, 'band', 'x'), pg_temp.send(2, 'band', 'last');
select is(pg_temp.entry(7, 'band'), '1 last', 'unread');
delete from auth.users where id = pg_temp.id(2);
select is(pg_temp.read(1, 'two'), '{Hello,-,-,-}', 'what a deleted account wrote is erased');
select is_empty($$select 1 from public.messages where sender_id = pg_temp.id(2)$$, 'nobody wrote it');
select is(pg_temp.entry(7, 'band'), '0 -', 'nor is it counted');
select is(pg_temp.send(1, 'two', 'x'), 'cannot_message', 'and nobody answers');
select is_empty('select * from private.recount()', 'every count is right then');
insert into auth.users (id, email) values (pg_temp.id(9), '9@example.com');
select pg_temp.start('quiet', 3, '{7,9}'), pg_temp.send(3, 'quiet', 'x');
create temporary table entries as select e.user_id, e.ctid as place from public.inbox_entries as e
where e.conversation_id = pg_temp.chat('quiet') and e.user_id <> pg_temp.id(9);
delete from auth.users where id = pg_temp.id(9);
select results_eq(
    $$select e.user_id, e.ctid from public.inbox_entries as e where e.conversation_id = pg_temp.chat('quiet') order by 1$$,
    'select t.user_id, t.place from pg_temp.entries as t order by 1',
    'where a deleted account wrote nothing the others'' entries are not even looked at'
);
delete from auth.users where id = pg_temp.id(1);
select is_empty($$select 1 from public.conversations where id = pg_temp.chat('two')$$, 'nobody left, nothing left');
select isnt_empty(
    $$select 1 from public.conversation_participants where conversation_id = pg_temp.chat('band') and is_manager$$,
    'the chat has a manager'
);
select is_empty('select * from private.recount()', 'every count is right in the end');
select set_eq(
    $$select tablename from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'public'
    and tablename in ('messages', 'conversations', 'conversation_participants', 'inbox_entries', 'message_deletions')$$,
    $$values ('messages'::name)$$, 'Realtime hears of messages only'
);
-- requests: 11 knows nobody; 10 writes
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(10, 13) as n;
create function pg_temp.badge(who integer) returns text language plpgsql as $$
declare
    answer text;
begin
    perform pg_temp.be(pg_temp.id(who));
    answer := public.unread_messages_count() || ' ' || (public.unread_counts()).messages
        || ' ' || (select count(*) from public.inbox()) || ' ' || (select count(*) from public.inbox(requests => true))
        || ' ' || (select count(*) from public.notifications where type = 'message');
    perform set_config('role', 'none', true);
    return answer;
end
$$;
grant execute on function pg_temp.badge(integer) to public;
select pg_temp.start('asked', 10, '{11}');
select is(pg_temp.send(10, 'asked', 'Hi, you do not know me'), null, 'a stranger writes');
select is(pg_temp.badge(11), '0 0 0 1 0', 'it is a request, and nothing rings');
select is(pg_temp.read(11, 'asked'), array['Hi, you do not know me'], 'it can be read');
select pg_temp.call(11, 'select public.mark_conversation_read(%L)', pg_temp.chat('asked')::text);
select is_empty($$select from public.messages where conversation_id = pg_temp.chat('asked') and is_read$$,
    'without the stranger learning it');
select is(pg_temp.send(10, 'asked', 'two'), null, 'a second');
select is(pg_temp.send(10, 'asked', 'three'), null, 'a third');
select is(pg_temp.send(10, 'asked', 'four'), 'request_pending', 'and no more until there is an answer');
select pg_temp.call(11, 'select public.accept_message_request(%L)', pg_temp.chat('asked')::text);
select is(pg_temp.badge(11), '3 3 1 0 0', 'accepted');
select is(pg_temp.send(10, 'asked', 'four'), null, 'the conversation goes on');
select is(pg_temp.badge(11), '4 4 1 0 1', 'and rings');
select pg_temp.start('unwanted', 12, '{11}');
select pg_temp.send(12, 'unwanted', 'Buy this');
select pg_temp.call(11, 'select public.decline_message_request(%L)', pg_temp.chat('unwanted')::text);
select is(pg_temp.read(11, 'unwanted'), '{}'::text [], 'declined: what was written is gone');
select is(pg_temp.send(12, 'unwanted', 'And this'), null, 'the stranger notices nothing');
select is(pg_temp.send(12, 'unwanted', 'And that'), null, 'nothing');
select is(pg_temp.send(12, 'unwanted', 'Hello?'), 'request_pending', 'nothing at all');
select is(pg_temp.badge(11), '4 4 1 0 1', 'nor does the other one');
select is_empty('select * from private.recount()', 'every count is right');
select pg_temp.be(pg_temp.id(11));
insert into public.follows (following_id) values (pg_temp.id(13));
reset role;
select pg_temp.start('known', 13, '{11}');
select pg_temp.send(13, 'known', 'Thanks for following');
select is(pg_temp.badge(11), '5 5 2 0 2', 'whom one follows is no stranger');
select is(pg_temp.send(11, 'unwanted', 'Well then'), null, 'an answer accepts');
select is(pg_temp.badge(11), '7 7 3 0 2', 'what had been declined, too');
select pg_temp.start('crowd', 12, '{10,13}');
select is(pg_temp.badge(10), '0 0 1 1 0', 'a stranger''s group chat is a request');
select pg_temp.call(10, 'select public.decline_message_request(%L)', pg_temp.chat('crowd')::text);
select is(
    pg_temp.code_as(pg_temp.id(12), format('select public.add_participants(%L, array[pg_temp.id(10)])', pg_temp.chat('crowd'))),
    'left_chat', 'declined for good'
);
select is(
    pg_temp.code_as(pg_temp.id(12), format('select public.remove_participant(%L, pg_temp.id(10))', pg_temp.chat('crowd'))), null,
    'the manager says no'
);
select is(
    pg_temp.code_as(pg_temp.id(10), format('select public.rejoin_conversation(%L)', pg_temp.chat('crowd'))),
    'conversation_not_found', 'and then there is no way back'
);
select is_empty('select * from private.recount()', 'every count is right at the end');

select * from finish();
rollback;
