-- Artist profiles.
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

select plan(31);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);

select pg_temp.be(pg_temp.id(1));
select lives_ok(
    $$insert into public.artist_profiles (artist_name, genre, social_links, hourly_rate_cents)
    values ('Anna A', 'house', '{"instagram": "https://instagram.com/anna"}', 15000)$$, 'a member becomes an artist'
);
select is((select user_id from public.artist_profiles), pg_temp.id(1), 'as themselves');
select is(pg_temp.code_of($$insert into public.artist_profiles (user_id, artist_name) values (pg_temp.id(2),
    'Bernd')$$), '42501', 'not as another');
select is(pg_temp.code_of(format('update public.artist_profiles set %s', bad)), '42501', 'not writable: ' || bad)
from unnest(array['is_verified = true', 'total_plays = 9', 'user_id = default', 'currency = default']) as t (bad);
select is(pg_temp.code_of(format('update public.artist_profiles set social_links = %L', bad)), '23514',
    'links refused: ' || bad)
from unnest(array['[]', '{"x": 1}', '{"x": "javascript:alert(1)"}', '{"x": {"y": "https://a.b"}}',
    '{"x": "https://a.b\"><x"}']) as t (bad);
select is(pg_temp.code_of($$update public.artist_profiles set hourly_rate_cents = 49$$), '23514',
    'lowest paid price is 50 cents');
select is(pg_temp.code_of($$update public.artist_profiles set hourly_rate_cents = -1$$), '23514', 'no negative rate');
select is(pg_temp.code_of($$select public.verify_artist(pg_temp.id(1), true)$$), 'admin_only',
    'nobody verifies themselves');

select pg_temp.be(pg_temp.id(3));
select lives_ok($$select public.verify_artist(pg_temp.id(1), true)$$, 'an admin verifies');
select is((select is_verified from public.artist_profiles), true, 'the badge is there');
select is(pg_temp.code_of($$select public.verify_artist(pg_temp.id(2), true)$$), 'user_not_found', 'only artists');
select pg_temp.be(pg_temp.id(1));
update public.artist_profiles set genre = 'techno';
select is((select is_verified from public.artist_profiles), true, 'another genre keeps it');
update public.artist_profiles set artist_name = 'Somebody Famous';
select is((select is_verified from public.artist_profiles), false, 'another name loses it');
reset role;
create function pg_temp.keeps_badge(change text) returns boolean language plpgsql as $$
begin
    update public.artist_profiles set is_verified = true;
    perform pg_temp.be(pg_temp.id(1));
    execute format('update public.profiles set %s where id = pg_temp.id(1)', change);
    perform set_config('role', 'none', true);
    return (select is_verified from public.artist_profiles);
end
$$;
grant execute on function pg_temp.keeps_badge(text) to public;
select is(pg_temp.keeps_badge(c.change), c.keeps, 'badge after ' || c.change)
from (values
    ('username = ''famous''', false), ('display_name = ''Famous''', false), ('full_name = ''Famous''', false),
    ('avatar_url = ''https://e.com/famous.png''', false), ('bio = ''Famous''', true)
) as c (change, keeps);

select pg_temp.be(null, 'anon');
select is((select count(*) from public.artist_profiles), 1::bigint, 'visitors read it');
reset role;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(1);
select pg_temp.be(null, 'anon');
select is_empty($$select 1 from public.artist_profiles$$, 'not when the profile is private');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.artist_profiles$$, 'nor do strangers');
delete from public.artist_profiles;
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.artist_profiles), 1::bigint, 'strangers delete nothing');
select lives_ok($$delete from public.artist_profiles$$, 'the owner may stop being an artist');
reset role;
select is((select count(*) from public.audit_log where action = 'verify_artist'), 1::bigint, 'verification is audited');

select * from finish();
rollback;
