-- Bans.
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

select plan(32);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief'), pg_temp.sign_up(pg_temp.id(4), 'boss'), pg_temp.sign_up(pg_temp.id(5),
    'chief2');
update public.profiles set role = 'admin' where id in (pg_temp.id(3), pg_temp.id(5));
update public.profiles set role = 'super_admin' where id = pg_temp.id(4);

-- goods of two sellers
select pg_temp.be(pg_temp.id(1));
insert into public.artworks (title, image_url, price_cents, category, status) values
('Listed', 'https://e.com/1.png', 5000, 'digital', 'published'), ('Draft', 'https://e.com/2.png', 5000, 'digital',
    'draft');
select pg_temp.be(pg_temp.id(2));
insert into public.artworks (title, image_url, price_cents, category, status)
values ('Other', 'https://e.com/3.png', 5000, 'digital', 'published');

select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(1), 'rude')$$), 'admin_only', 'members ban nobody');
select is(pg_temp.code_of($$insert into public.bans (user_id, reason) values (pg_temp.id(1), 'x')$$), '42501',
    'nor by insert');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(1), 'rude')$$), '42501', 'visitors cannot call it');
select is(pg_temp.code_of($$select * from public.bans$$), '42501', 'visitors read no bans');

select pg_temp.be(pg_temp.id(3));
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(3), 'x')$$), 'cannot_ban_yourself',
    'nobody bans themselves');
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(5), 'x')$$), 'super_admin_only',
    'an admin does not ban an admin');
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(4), 'x')$$), 'super_admin_only', 'nor a super admin');
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(99), 'x')$$), 'user_not_found', 'unknown user');
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(1), ' ')$$), 'text_not_visible', 'a ban needs a reason');
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(1), null)$$), 'text_not_visible', 'a real one');
select lives_ok($$select public.ban_user(pg_temp.id(1), 'rude')$$, 'an admin bans a member');
select lives_ok($$select public.ban_user(pg_temp.id(1), 'very rude')$$, 'again: another reason');

reset role;
select is((select is_banned from public.profiles where id = pg_temp.id(1)), true, 'the profile mirrors it');
select is((select reason from public.bans where user_id = pg_temp.id(1)), 'very rude', 'the reason is kept');
select is((select count(*) from public.audit_log where action = 'ban_user'), 2::bigint, 'it is audited');
select is((select count(*) from public.catalog_items where seller_id = pg_temp.id(1) and is_listed), 0::bigint,
    'items are off sale at once');
select is((select count(*) from public.catalog_items where seller_id = pg_temp.id(2) and is_listed), 1::bigint,
    'others are untouched');

select pg_temp.be(null, 'anon');
select is((select count(*) from public.artworks), 1::bigint, 'visitors do not see a banned seller''s works');
select pg_temp.be(pg_temp.id(1));
select is((select reason from public.bans), 'very rude', 'the banned user reads the own ban');
select is((select count(*) from public.artworks where title in ('Listed', 'Draft')), 0::bigint,
    'and not even the own works');
select is(
    pg_temp.code_of($$insert into public.artworks (title, image_url, price_cents, category) values ('x',
    'https://e.com/1.png', 50, 'digital')$$),
    '42501', 'and creates none'
);
select is(pg_temp.code_of($$select public.unban_user(pg_temp.id(1))$$), 'banned', 'and does not end the ban');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.bans$$, 'others do not see it');
select pg_temp.be(pg_temp.id(5));
select is((select count(*) from public.bans), 1::bigint, 'admins do');

select lives_ok($$select public.unban_user(pg_temp.id(1))$$, 'an admin ends it');
select lives_ok($$select public.unban_user(pg_temp.id(1))$$, 'twice is harmless');
reset role;
select is((select is_banned from public.profiles where id = pg_temp.id(1)), false, 'the profile mirrors it');
select set_eq(
    $$select title, is_listed from public.catalog_items where seller_id = pg_temp.id(1)$$,
    $$values ('Listed', true), ('Draft', false)$$, 'what was on sale is on sale again, a draft is not'
);
select is((select count(*) from public.audit_log where action = 'unban_user'), 1::bigint, 'the end is audited once');

select pg_temp.be(pg_temp.id(4));
select lives_ok($$select public.ban_user(pg_temp.id(3), 'bad admin')$$, 'a super admin bans an admin');
select pg_temp.be(pg_temp.id(3));
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(2), 'revenge')$$), 'banned', 'who is no admin any more');
select pg_temp.be(pg_temp.id(5));
select is(pg_temp.code_of($$select public.unban_user(pg_temp.id(3))$$), 'super_admin_only',
    'another admin does not undo it');

select * from finish();
rollback;
