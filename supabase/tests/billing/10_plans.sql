-- Plans.
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

select plan(12);
select pg_temp.sign_up(pg_temp.id(1), 'anna');
select set_eq(
    $$select tier, commission_bps, featured_limit from public.plans where family = 'creator'$$,
    $$values ('basic', 4000, 0), ('standard', 3000, 1), ('premium', 2000, 3), ('ultimate', 1000, 10),
    ('ultimate_for_friends', 1000, 10)$$,
    'creator plans'
);
select set_eq(
    $$select tier, monthly_price_cents from public.plans where family = 'listener'$$,
    $$values ('free', 0::bigint), ('premium', 999), ('supporter', 1999)$$, 'listener plans'
);
select set_eq($$select tier from public.plans where family = 'collector'$$, array['free', 'premium', 'pro'],
    'collector plans');
select set_eq($$select tier from public.plans where family = 'reseller'$$, array['free', 'premium', 'premium_plus'],
    'reseller plans');
select is_empty($$select 1 from public.plans where annual_price_cents > 12 * monthly_price_cents$$,
    'a year is no dearer than twelve months');
select is(
    (select count(distinct family) from public.plans where monthly_price_cents = 0 and sort_order = 1), 4::bigint,
    'each family starts with a free plan'
);
select is(pg_temp.code_of($$insert into public.plans (key, family, tier, name) values ('creator_x', 'creator', 'x',
    'X')$$), '23514', 'a creator plan has a commission');
select is(pg_temp.code_of($$insert into public.plans (key, family, tier, name) values ('x', 'listener', 'y', 'X')$$),
    '23514', 'the key is family and tier');
select pg_temp.be(null, 'anon');
select is((select count(*) from public.plans), 14::bigint, 'everybody reads plans');
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.plans), 14::bigint, 'members too');
select is(pg_temp.code_of($$update public.plans set commission_bps = 0$$), '42501', 'nobody changes them');
select is(pg_temp.code_of($$delete from public.plans$$), '42501', 'nobody deletes them');

select * from finish();
rollback;
