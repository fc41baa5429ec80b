-- What admins did: written in their transaction, changed by nobody.
begin;
\ir ../helpers.psql

select plan(16);
select pg_temp.people();

select private.audit('test_action', 'profile', pg_temp.id(1), '{"why": "x"}', 'ops@example.com');
select results_eq(
    $$select actor_id, actor_label, action, target_type, target_id, details from public.audit_log$$,
    $$values (null::uuid, 'ops@example.com', 'test_action', 'profile', pg_temp.id(1), '{"why": "x"}'::jsonb)$$,
    'an operator acts under a name'
);
select private.audit('second_action', 'profile', null, null);
select is((select actor_label from public.audit_log where action = 'second_action'), session_user::text,
    'without one under the database role');
select pg_temp.be(pg_temp.id(4));
select public.adjust_wallet(pg_temp.id(1), 500, 'goodwill', 'k1');
reset role;
select results_eq(
    $$select actor_id, actor_label, action, target_id from public.audit_log where action = 'adjust_wallet'$$,
    $$values (pg_temp.id(4), 'authenticated', 'adjust_wallet', pg_temp.id(1))$$, 'an admin under the own id'
);
select pg_temp.be(pg_temp.id(4));
select is(pg_temp.code_of($$select public.adjust_wallet(pg_temp.id(1), 0, 'x', 'k2')$$), 'adjustment_invalid',
    'refused');
reset role;
select is((select count(*) from public.audit_log where action = 'adjust_wallet'), 1::bigint,
    'what was refused was not done');

select throws_ok(s, 'PT403', 'These records are never changed.', s || ' is refused, to the owner too')
from unnest(array[
    'update public.audit_log set action = ''x''', 'delete from public.audit_log', 'truncate public.audit_log'
]) as s;

select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.audit_log), 3::bigint, 'admins read all');
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.audit_log), 0::bigint, 'members nothing, not even about themselves');
select is(pg_temp.code_of(s), '42501', s || ' as a member') from unnest(array[
    'insert into public.audit_log (actor_label, action, target_type) values (''x'', ''x'', ''x'')',
    'delete from public.audit_log', 'update public.audit_log set action = ''x''',
    'select private.audit(''x'', ''x'', null)'
]) as s;
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.audit_log$$), '42501', 'visitors are stopped at the door');
reset role;
update public.profiles set role = 'member' where id = pg_temp.id(4);
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.audit_log), 0::bigint, 'a former admin neither');
reset role;

select * from finish();
rollback;
