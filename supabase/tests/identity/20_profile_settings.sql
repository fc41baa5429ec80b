-- Private settings.
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

select plan(19);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);

select pg_temp.be(pg_temp.id(1));
select results_eq(
    $$select theme::text, language, notification_preferences::text, phone, marketing_consent
    from public.profile_settings$$,
    $$values ('light', 'en', '{}', null::text, false)$$, 'sign-up made settings; one sees one''s own only'
);
select lives_ok(
    $$update public.profile_settings set theme = 'dark', language = 'pt-BR', phone = '+49 (30) 123-456',
        notification_preferences = '{"message": {"in_app": true, "email": false}}'$$, 'the owner changes them'
);
select is(pg_temp.code_of($$update public.profile_settings set language = 'English!'$$), '23514',
    'a language is a tag');
select is(pg_temp.code_of($$update public.profile_settings set phone = 'call me'$$), '23514', 'a phone number is one');
select is(pg_temp.code_of(format('update public.profile_settings set notification_preferences = %L', bad)),
    'invalid_preferences', 'preferences refused: ' || bad)
from unnest(array['[]', '"x"', '{"message": true}', '{"message": {"email": "yes"}}', '{"message": []}',
    '{"mesage": {"email": false}}', '{"message": {"e_mail": false}}']) as t (bad);
select is(pg_temp.code_of($$update public.profile_settings set marketing_consent_at = now()$$), '42501',
    'the consent''s date is not writable');
update public.profile_settings set marketing_consent = true;
select is((select marketing_consent_at from public.profile_settings), now(), 'consent is dated');
update public.profile_settings set marketing_consent = false;
select is((select marketing_consent_at from public.profile_settings), null, 'and undated when withdrawn');
select is(pg_temp.code_of($$insert into public.profile_settings (user_id) values (pg_temp.id(1))$$), '42501',
    'no insert');
select is(pg_temp.code_of($$delete from public.profile_settings$$), '42501', 'no delete');

select pg_temp.be(pg_temp.id(3));
select is_empty($$select 1 from public.profile_settings where user_id <> pg_temp.id(3)$$, 'not even admins read them');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.profile_settings$$), '42501', 'visitors neither');
reset role;
insert into public.bans (user_id, reason) values (pg_temp.id(1), 'x');
select pg_temp.be(pg_temp.id(1));
select is_empty($$select 1 from public.profile_settings$$, 'a banned user reads none');

select * from finish();
rollback;
