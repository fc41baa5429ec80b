-- Profiles, membership and roles.
begin;
-- Who speaks: pg_temp.be(<user>) is a signed-in member, pg_temp.be(null, 'anon') a visitor, reset role the server.
create function pg_temp.be(who uuid, speaker text default 'authenticated') returns void language plpgsql as $$
begin
    perform set_config('request.jwt.claims', json_build_object('sub', who, 'role', speaker)::text, true);
    perform set_config('role', speaker, true);
end
$$;
create function pg_temp.sign_up(who uuid, name text) returns void language sql as $$
    insert into auth.users (id, email, raw_user_meta_data)
    values (who, name || '@example.com', jsonb_build_object('username', name))
$$;
create function pg_temp.id(n integer) returns uuid language sql immutable as $$
    select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
$$;
-- The stable code of the error a statement ends with (the hint, else the SQLSTATE); null when it works.
create function pg_temp.code_of(statement text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute statement;
    return null;
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return case when sqlstate like 'PT%' then hint else sqlstate end;
end
$$;
grant execute on all functions in schema pg_temp to public;

select no_plan();
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief'), pg_temp.sign_up(pg_temp.id(4), 'boss'), pg_temp.sign_up(pg_temp.id(5),
    'gone');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
update public.profiles set role = 'super_admin' where id = pg_temp.id(4);
insert into public.bans (user_id, reason) values (pg_temp.id(5), 'spam');

-- structure
select has_table('public', 'profiles', 'profiles exists');
select col_is_pk('public', 'profiles', 'id', 'id is the key');
select is_empty(
    $$select 1 from pg_constraint
    where conrelid = 'public.profiles'::regclass and contype = 'f' and confrelid <> 'public.media'::regclass$$,
    'profiles refers to nothing but its own pictures: no account deletion is held up'
);
select enum_has_labels('public', 'user_role', array['member', 'author', 'admin', 'super_admin'], 'roles');
select is((select relrowsecurity from pg_class where oid = 'public.profiles'::regclass), true, 'RLS is on');

-- membership
select pg_temp.be(pg_temp.id(1));
select is(private.member_id(), pg_temp.id(1), 'a signed-in user is a member');
select is(private.is_admin(), false, 'a member is no admin');
select is(private.require_member(), pg_temp.id(1), 'require_member gives the id');
select is(pg_temp.code_of('select private.require_admin()'), 'admin_only', 'require_admin refuses a member');
select pg_temp.be(pg_temp.id(3));
select is(private.is_admin(), true, 'an admin is one');
select pg_temp.be(pg_temp.id(5));
select is(private.member_id(), null, 'a banned user is no member');
select is(pg_temp.code_of('select private.require_member()'), 'banned', 'require_member tells a banned user so');
select pg_temp.be(pg_temp.id(99));
select is(private.member_id(), null, 'a token without a profile is no member');
select is(pg_temp.code_of('select private.require_member()'), 'not_signed_in', 'require_member refuses it');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of('select private.member_id()'), '42501', 'visitors cannot call the helpers');
reset role;

-- username
select is(private.username_problem('ab'), 'username_invalid', 'two characters are too short');
select is(private.username_problem(repeat('a', 31)), 'username_invalid', '31 characters are too long');
select is(private.username_problem('.ab'), 'username_invalid', 'no dot at the start');
select is(private.username_problem('ab-'), 'username_invalid', 'no hyphen at the end');
select is(private.username_problem('a b'), 'username_invalid', 'no space');
select is(private.username_problem('аdmin'), 'username_invalid', 'no Cyrillic look-alike');
select is(private.username_problem(E'abc\n'), 'username_invalid', 'no trailing line break');
select is(private.username_problem('AdMin'), 'username_reserved', 'reserved in any case');
select is(private.username_problem('Deleted-x1'), 'username_reserved', 'deleted- is for deleted accounts');
select is(private.username_problem('_DJ.Anna-7_'), null, 'letters, digits, _ . - are fine');
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$update public.profiles set username = 'BERND' where id = pg_temp.id(1)$$), 'username_taken',
    'taken in another case');
select is(pg_temp.code_of($$update public.profiles set username = 'root' where id = pg_temp.id(1)$$),
    'username_reserved',
    'reserved');
select is(pg_temp.code_of($$update public.profiles set username = 'a!' where id = pg_temp.id(1)$$), 'username_invalid',
    'invalid');
select lives_ok($$update public.profiles set username = 'ANNA' where id = pg_temp.id(1)$$,
    'one''s own name in another case');

-- smart link
select lives_ok($$update public.profiles set smart_link = ' rolink.me/anna ' where id = pg_temp.id(1)$$,
    'without https://');
select is((select smart_link from public.profiles where id = pg_temp.id(1)), 'https://rolink.me/anna',
    'https:// is prepended');
select lives_ok($$update public.profiles set smart_link = 'http://www.rolink.me/a?b=c#d' where id = pg_temp.id(1)$$,
    'http and www');
select lives_ok($$update public.profiles set smart_link = '' where id = pg_temp.id(1)$$, 'empty');
select is((select smart_link from public.profiles where id = pg_temp.id(1)), null, 'empty is none');
select is(
    pg_temp.code_of(format($f$update public.profiles set smart_link = %L where id = pg_temp.id(1)$f$, link)),
    'invalid_smart_link', 'refused: ' || link
)
from unnest(array[
    'https://evil.com/rolink.me/', 'https://rolink.me.evil.com/x', 'https://rolink.me@evil.com/', 'rolink.me',
    'javascript:alert(1)//rolink.me/', 'ftp://rolink.me/x', 'https://xrolink.me/x', 'https://rolink.me/a b',
    'https://rolink.me/"><script>'
]) as t (link);

-- addresses and texts
select is(
    pg_temp.code_of(format($f$update public.profiles set website_url = %L where id = pg_temp.id(1)$f$, link)),
    '23514', 'no address: ' || left(link, 40)
)
from unnest(array['javascript:alert(1)', 'data:text/html,x', '//evil.com', 'https://a b', 'https://a"onload=x',
    'https://' || repeat('a', 2050)]) as t (link);
select lives_ok($$update public.profiles set avatar_url = 'https://cdn.example.com/a.png?x=1'
    where id = pg_temp.id(1)$$, 'an address');
select is(pg_temp.code_of($$update public.profiles set display_name = repeat('x', 81) where id = pg_temp.id(1)$$),
    '23514', 'long display name');
select is(pg_temp.code_of($$update public.profiles set display_name = E'a\u202Eb' where id = pg_temp.id(1)$$),
    null, 'text direction tricks');
select is(pg_temp.code_of($$update public.profiles set bio = repeat('x', 5001) where id = pg_temp.id(1)$$), '23514',
    'long bio');
select lives_ok($$update public.profiles set display_name = '  Änna 🎹 ', bio = '', experience_level = 'veteran'
    where id = pg_temp.id(1)$$, 'emoji are fine');
select is((select display_name from public.profiles where id = pg_temp.id(1)), 'Änna 🎹', 'display name is trimmed');

-- what a client cannot write
select is(
    pg_temp.code_of(format('update public.profiles set %I = default where id = pg_temp.id(1)', col)), '42501',
    'not writable by its owner: ' || col
)
from unnest(array[
    'id', 'role', 'is_banned', 'is_partner_account', 'followers_count', 'following_count',
    'deleted_at', 'created_at', 'updated_at'
]) as t (col);
select is(pg_temp.code_of($$insert into public.profiles (id, username) values (pg_temp.id(9), 'nine')$$), '42501',
    'no insert');
select is(pg_temp.code_of($$delete from public.profiles$$), '42501', 'no delete');
update public.profiles set bio = 'hacked' where id = pg_temp.id(2);
reset role;
select is((select bio from public.profiles where id = pg_temp.id(2)), null, 'nobody writes another''s profile');

-- who sees what
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(1);
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(2);
select pg_temp.be(null, 'anon');
select set_eq($$select username::text from public.profiles$$, array['chief', 'boss'],
    'visitors see public profiles, no banned one');
select pg_temp.be(pg_temp.id(1));
select set_eq($$select username::text from public.profiles$$, array['ANNA', 'chief', 'boss'],
    'members see members_only too');
select pg_temp.be(pg_temp.id(2));
select set_eq($$select username::text from public.profiles$$, array['ANNA', 'bernd', 'chief', 'boss'],
    'a private profile is its owner''s');
select pg_temp.be(pg_temp.id(5));
select set_eq($$select username::text from public.profiles$$, array['gone', 'chief', 'boss'],
    'a banned user sees public ones and the own row');
update public.profiles set bio = 'still here' where id = pg_temp.id(5);
select is((select bio from public.profiles where id = pg_temp.id(5)), null, 'and writes nothing');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.profiles), 6::bigint, 'admins see all, the platform''s own too');
update public.profiles set bio = 'admin was here' where id = pg_temp.id(1);
select is((select bio from public.profiles where id = pg_temp.id(1)), null, 'but edit only their own');

-- roles
select is(pg_temp.code_of($$select public.set_role(pg_temp.id(3), 'super_admin')$$), 'super_admin_only',
    'an admin appoints nobody');
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of($$select public.set_role(pg_temp.id(1), 'admin')$$), 'super_admin_only', 'nor does a member');
select is(pg_temp.code_of($$select private.grant_role(pg_temp.id(1), 'admin')$$), '42501',
    'the inner function is closed');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select public.set_role(pg_temp.id(1), 'admin')$$), '42501', 'visitors cannot call it');
select pg_temp.be(pg_temp.id(4));
select is(pg_temp.code_of($$select public.set_role(pg_temp.id(4), 'member')$$), 'last_super_admin',
    'the last super admin stays');
select is(pg_temp.code_of($$select public.set_role(pg_temp.id(99), 'member')$$), 'user_not_found', 'unknown user');
select lives_ok($$select public.set_role(pg_temp.id(3), 'super_admin')$$, 'a super admin appoints another');
select lives_ok($$select public.set_role(pg_temp.id(4), 'member')$$, 'and can step down then');
select is(pg_temp.code_of($$select public.set_role(pg_temp.id(1), 'admin')$$), 'super_admin_only',
    'and is none any more');
reset role;
select is((select count(*) from public.audit_log where action = 'set_role'), 2::bigint,
    'appointments are in the audit log');

-- Reserved words in disguise.
select is(private.username_problem(name), 'username_reserved', 'reserved: ' || name)
from unnest(array[
    'admin', 'Admin_', '_admin', 'a.d.m.i.n', 'admin1', '4dm1n', 'adrnin', 'admin_ana', 'avenue.support', 'support-avenue',
    'avenuesupport', 'avenue_team', 'AVENUE1', 'aven.ue', 'payments.avenue', 'avenue.pay', 'customer.service', 'mod.team',
    'support.ana', 'official_ana', 'moderator.x', 'sign_in', 'u.s.e.r',
    '_admin.x', '__support-ana', 'avenue-support-1a2b', 'avenue_support_team', 'ad-min-x', 'avenue.official.ana'
]) as name;
select is(private.username_problem(name), null, 'anybody''s: ' || name)
from unnest(array['park-avenue', 'fifth_avenue', 'user5', 'user-4711', 'adminton', 'supporters', 'newshop', 'shop24', 'the_admin',
    'avenue-jazz', 'ana-support', 'ad_minor']) as name;

-- What is given up stays its owner's for a while.
create function pg_temp.rename(who integer, name text) returns text language plpgsql as $$
declare
    code text;
begin
    perform pg_temp.be(pg_temp.id(who));
    code := pg_temp.code_of(format('update public.profiles set username = %L where id = %L', name, pg_temp.id(who)));
    perform set_config('role', 'none', true);
    return code;
end
$$;
grant execute on function pg_temp.rename(integer, text) to public;
select is(pg_temp.rename(1, 'first_name'), null, 'renamed');
select is(pg_temp.rename(1, 'second_name'), null, 'and again');
select is(pg_temp.rename(2, 'First_Name'), 'username_taken', 'nobody else takes the old name, whatever the case');
insert into auth.users (id, email, raw_user_meta_data) values (pg_temp.id(20), '20@e.com', '{"username": "first_name"}');
select matches((select username::text from public.profiles where id = pg_temp.id(20)), '^first_name-[0-9a-f]{4}$',
    'nor who signs up');
select is(pg_temp.rename(1, 'FIRST_name'), null, 'its former owner takes it back');
select is(pg_temp.rename(2, 'second_name'), 'username_taken', 'and has given up the other one');
select is(
    (select count(*) from generate_series(1, 12) as n where pg_temp.rename(20, 'squat_' || n) is null), 10::bigint,
    'one account does not keep any number of names from others'
);
select is(pg_temp.rename(20, 'squat_13'), 'too_many_actions', 'with a code');
select is(pg_temp.rename(20, 'SQUAT_10'), null, 'another spelling is the same name');
update private.freed_usernames set freed_at = now() - interval '91 days';
select is(pg_temp.rename(2, 'second_name'), null, 'for 90 days');
delete from auth.users where id = pg_temp.id(2);
select is(pg_temp.rename(1, 'second_name'), 'username_taken', 'the names of erased accounts are held, too');
select is((select count(*) from private.freed_usernames where former_owner = pg_temp.id(2)), 0::bigint,
    'without a word whose they were');

select * from finish();
rollback;
