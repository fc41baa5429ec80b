-- Sign-up: whatever the metadata, an account with a valid unique name and no rights.
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

select plan(41);
create function pg_temp.sign_up_with(n integer, email text, metadata jsonb) returns text language sql as $$
    insert into auth.users (id, email, raw_user_meta_data) values (pg_temp.id(n), email, metadata);
    select username::text from public.profiles where id = pg_temp.id(n)
$$;

select is(pg_temp.sign_up_with(1, 'x1@e.com', '{"username": "DJ_Anna.7"}'), 'DJ_Anna.7', 'a valid name stays as typed');
select is(pg_temp.sign_up_with(2, 'x2@e.com', '{"preferred_username": "Zoë & Co."}'), 'zoe-co',
    'others are turned into one');
select is(pg_temp.sign_up_with(3, 'x3@e.com', '{"display_name": "Рассвет Ελλάδα"}'), 'rassvet-ellada',
    'without one: the display name in Latin letters');
select matches(pg_temp.sign_up_with(4, 'some.one@e.com', null), '^user-[0-9a-f]{4}$',
    'without metadata: a neutral name, nothing of the e-mail address');
select matches(pg_temp.sign_up_with(5, null, null), '^user-[0-9a-f]{4}$', 'without e-mail too (phone, anonymous)');
select matches(pg_temp.sign_up_with(6, 'x6@e.com', '{"username": "🎹🎹🎹"}'), '^user-[0-9a-f]{4}$',
    'emoji only: a neutral name');
select is(pg_temp.sign_up_with(7, 'seven@e.com', jsonb_build_object('username', repeat('a', 300))), repeat('a', 30),
    '300 characters are cut');
select is(pg_temp.sign_up_with(8, 'eight@e.com', jsonb_build_object('username', repeat('b', 5000000))), repeat('b',
    30), '5 MB are cut');
select matches(pg_temp.sign_up_with(9, 'x9@e.com', '{"username": "dj_anna.7"}'), '^dj_anna.7-[0-9a-f]{4}$',
    'taken in another case: a suffix');
select matches(pg_temp.sign_up_with(10, 'x10@e.com', '{"username": "Admin"}'), '^user-[0-9a-f]{20}$',
    'reserved: a neutral name, for Admin-1234 speaks for the platform as well');
select matches(pg_temp.sign_up_with(11, 'x11@e.com', '{"username": "deleted-boss"}'), '^user-[0-9a-f]{20}$',
    'deleted-: a neutral name');
select matches(pg_temp.sign_up_with(12, 'x12@e.com', '{"username": "a"}'), '^a-[0-9a-f]{4}$', 'too short: a suffix');
select matches(pg_temp.sign_up_with(13, 'x13@e.com', jsonb_build_object('username', repeat('A', 300))),
    '^A{25}-[0-9a-f]{4}$', 'long and taken');
select matches(pg_temp.sign_up_with(14, 'fourteen@e.com', bad::jsonb), '^user-[0-9a-f]{4}$', 'metadata of a wrong type: ' || bad)
from (values ('{"username": {"a": 1}}')) as t (bad);
select matches(pg_temp.sign_up_with(15, 'fifteen@e.com', '[1, "username"]'), '^user-[0-9a-f]{4}$', 'an array');
select matches(pg_temp.sign_up_with(16, 'sixteen@e.com', '"username"'), '^user-[0-9a-f]{4}$', 'a string');
select matches(pg_temp.sign_up_with(17, 'seventeen@e.com', '{"username": 42, "display_name": ["x"], "avatar_url": {}}'),
    '^user-[0-9a-f]{4}$', 'numbers, arrays, objects');
select matches(pg_temp.sign_up_with(18, 'eighteen@e.com', 'null'), '^user-[0-9a-f]{4}$', 'null');
select matches(pg_temp.sign_up_with(19, 'nineteen@e.com', '{"username": "   "}'), '^user-[0-9a-f]{4}$', 'blank');
select matches(pg_temp.sign_up_with(20, 'x20@e.com', jsonb_build_object('username', E'<script>alert(1)</script>')),
    '^script-alert-1-script$', 'markup');
select matches(pg_temp.sign_up_with(21, '日本@e.com', '{"username": "日本"}'), '^user-[0-9a-f]{4}$',
    'nothing left of either: user');
select is(pg_temp.sign_up_with(22, 'x22@e.com', '{"username": "../../etc"}'), 'etc', 'paths');
select matches(
    pg_temp.sign_up_with(23, 'x23@e.com', '{"preferred_username": "jane.roe@e.com", "name": "jane.roe@e.com"}'),
    '^user-[0-9a-f]{4}$', 'an e-mail address instead of a name'
);
select is(
    (select display_name from public.profiles where id = pg_temp.id(23)), null, 'which is not shown to others either'
);

-- everything is provisioned, nothing else is believed
select pg_temp.sign_up_with(30, 'thirty@e.com',
    '{"username": "thirty", "display_name": " Thirty  ", "avatar_url": "https://e.com/a.png",
    "role": "super_admin", "tier": "ultimate", "plan": "creator_ultimate", "is_verified": true,
    "is_partner_account": true, "id": "x", "followers_count": 9}');
select results_eq(
    $$select display_name, avatar_url::text, role::text, is_partner_account, followers_count,
    profile_visibility::text from public.profiles where id = pg_temp.id(30)$$,
    $$values ('Thirty', 'https://e.com/a.png', 'member', false, 0, 'public')$$, 'profile: names and picture, no rights'
);
select is((select count(*) from public.profile_settings where user_id = pg_temp.id(30)), 1::bigint, 'settings');
select results_eq(
    $$select family::text, plan_key, status::text, provider::text from public.subscriptions
    where user_id = pg_temp.id(30)$$,
    $$values ('creator', 'creator_basic', 'active', null::text)$$, 'basic plan'
);
select is((select balance_available_cents from public.wallets where user_id = pg_temp.id(30)), 0::bigint, 'wallet');
select is_empty($$select 1 from public.artist_profiles where user_id = pg_temp.id(30)$$, 'no badge');
select pg_temp.sign_up_with(31, 'x31@e.com',
    '{"display_name": "a\u202Eb", "avatar_url": "javascript:alert(1)", "picture": "https://e.com/p.png"}');
select results_eq(
    $$select display_name, avatar_url::text from public.profiles where id = pg_temp.id(31)$$,
    $$values ('ab', 'https://e.com/p.png')$$, 'bad characters and addresses are left out'
);
select pg_temp.sign_up_with(32, 'x32@e.com', jsonb_build_object('display_name', repeat('ü', 3000), 'avatar_url',
    'https://e.com/' || repeat('x', 3000)));
select results_eq(
    $$select char_length(display_name), avatar_url::text from public.profiles where id = pg_temp.id(32)$$,
    $$values (80, null::text)$$, 'long names are cut, long addresses left out'
);
select is(
    (select count(*) from auth.users as u where not exists (select from public.profiles as p where p.id = u.id)
        or not exists (select from public.wallets as w where w.user_id = u.id)),
    0::bigint, 'nobody is left without profile or wallet'
);
select is(
    (select count(*) from public.profiles where private.username_problem(username::text, id) is not null), 0::bigint,
    'every name is valid'
);
-- Nobody else sees an account that is not confirmed.
insert into auth.users (id, email, raw_user_meta_data, email_confirmed_at) values
(pg_temp.id(40), 'forty@e.com', '{"username": "unconfirmed", "display_name": "Unconfirmed"}', null);
select pg_temp.be(pg_temp.id(40));
insert into public.posts (content) values ('From nobody knows whom');
insert into public.artworks (title, image_url, category, price_cents, status)
values ('Signed by nobody', 'https://e.com/1.png', 'digital', 100, 'published');
reset role;
create function pg_temp.sees(who uuid, speaker text) returns boolean[] language plpgsql as $$
declare
    seen boolean [];
begin
    perform pg_temp.be(who, speaker);
    seen := array[
        exists (select from public.profiles as p where p.handle = 'unconfirmed'),
        exists (select from public.search_profiles('unconfirmed')),
        exists (select from public.posts as p where p.user_id = pg_temp.id(40)),
        exists (select from public.catalog_items as c where c.seller_id = pg_temp.id(40))
    ];
    perform set_config('role', 'none', true);
    return seen;
end
$$;
select is(pg_temp.sees(null, 'anon'), '{f,f,f,f}', 'visitors do not see who is not confirmed, nor what they wrote and sell');
select is(pg_temp.sees(pg_temp.id(1), 'authenticated'), '{f,f,f,f}', 'nor do members');
select is(pg_temp.sees(pg_temp.id(40), 'authenticated'), '{t,t,t,t}', 'they themselves do');
select is(private.is_visible_to(pg_temp.id(40), pg_temp.id(1)), false, 'whatever asks who sees whom');
update auth.users set email_confirmed_at = now() where id = pg_temp.id(40);
select is(pg_temp.sees(null, 'anon'), '{t,t,t,t}', 'confirmed they are public');
update auth.users set email_confirmed_at = null, phone_confirmed_at = now() where id = pg_temp.id(40);
select is(pg_temp.sees(null, 'anon'), '{t,t,t,t}', 'by phone as well');
update auth.users set phone_confirmed_at = null where id = pg_temp.id(40);
select is(pg_temp.sees(null, 'anon'), '{f,f,f,f}', 'and no longer when it is taken back');

-- a hundred wishes for one name
insert into auth.users (id, email, raw_user_meta_data)
select pg_temp.id(1000 + n), 'many' || n || '@e.com', '{"username": "popular"}' from generate_series(1, 100) as n;
select is((select count(*) from public.profiles where username::text ~ '^popular'), 100::bigint,
    'a hundred sign-ups wishing for one name');

select * from finish();
rollback;
