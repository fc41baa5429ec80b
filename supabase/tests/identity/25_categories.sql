-- Categories.
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

select plan(7);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
select results_eq(
    $$select name from public.categories order by sort_order$$,
    array['Musician', 'Producer/Engineer', 'Vocalist', 'Visual Artist', 'Educator', 'Content Creator',
        'Industry Professional', 'Music Tools Creator'], 'the eight categories'
);
update public.categories set is_active = false where slug = 'educator';
select pg_temp.be(null, 'anon');
select is((select count(*) from public.categories), 7::bigint, 'visitors read active ones');
select is(pg_temp.code_of($$insert into public.categories (name, slug) values ('x', 'x')$$), '42501', 'and write none');
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.categories), 7::bigint, 'members too');
select is(pg_temp.code_of($$update public.categories set name = 'x'$$), '42501', 'and write none');
select is(pg_temp.code_of($$delete from public.categories$$), '42501', 'and delete none');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.categories), 8::bigint, 'admins read all');

select * from finish();
rollback;
