-- Subscriptions and the plan in force.
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

select plan(35);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'chief');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
select col_is_unique('public', 'subscriptions', array['user_id', 'family'], 'one per user and family');

-- the plan in force
create function pg_temp.plan_now() returns text language sql as $$ select (private.seller_plan(pg_temp.id(1))).key $$;
create function pg_temp.set(change text) returns void language plpgsql as $$
begin
    execute format('update public.subscriptions set %s where user_id = pg_temp.id(1)', change);
end
$$;
select is(pg_temp.plan_now(), 'creator_basic', 'everybody starts with basic');
select is((private.seller_plan(pg_temp.id(99))).key, 'creator_basic', 'even unknown sellers');
select pg_temp.set($$plan_key = 'creator_premium'$$);
select is(pg_temp.plan_now(), 'creator_premium', 'an active subscription counts');
select pg_temp.set($$current_period_start = now() - interval '9 days',
    current_period_end = now() - interval '1 second'$$);
select is(pg_temp.plan_now(), 'creator_basic', 'what an admin gave ends on time');
select pg_temp.set($$provider = 'stripe', stripe_subscription_id = 'sub_1'$$);
select is(pg_temp.plan_now(), 'creator_premium', 'a renewal''s event may be late');
select pg_temp.set($$current_period_end = now() - interval '4 days'$$);
select is(pg_temp.plan_now(), 'creator_basic', 'not for ever');
select pg_temp.set($$current_period_end = now() + interval '1 day', status = 'past_due'$$);
select is(pg_temp.plan_now(), 'creator_premium', 'past due still counts');
select pg_temp.set($$status = 'cancelled'$$);
select is(pg_temp.plan_now(), 'creator_basic', 'does not count: cancelled');
select pg_temp.set($$status = 'unpaid'$$);
select is(pg_temp.plan_now(), 'creator_basic', 'does not count: unpaid');
select pg_temp.set($$status = 'incomplete'$$);
select is(pg_temp.plan_now(), 'creator_basic', 'does not count: incomplete');
select pg_temp.set($$status = 'expired'$$);
select is(pg_temp.plan_now(), 'creator_basic', 'does not count: expired');
update public.profiles set is_partner_account = true where id = pg_temp.id(1);
select is(pg_temp.plan_now(), 'creator_ultimate_for_friends', 'partners are friends');
update public.profiles set is_partner_account = false where id = pg_temp.id(1);
select is((private.active_plan(pg_temp.id(1), 'listener')).key, 'listener_free', 'no row is the free plan');
select is(pg_temp.code_of($$insert into public.subscriptions (user_id, family, plan_key) values (pg_temp.id(2),
    'listener', 'creator_basic')$$), '23503', 'the plan belongs to the family');
select is(pg_temp.code_of($$insert into public.subscriptions (user_id, family, plan_key, provider)
    values (pg_temp.id(2), 'listener', 'listener_premium', 'paypal')$$), '23514', 'a provider has an id');

-- clients only read their own
select pg_temp.be(pg_temp.id(2));
select set_eq($$select user_id from public.subscriptions$$, array[pg_temp.id(2)], 'one sees one''s own');
select is(pg_temp.code_of($$update public.subscriptions set plan_key = 'creator_ultimate'$$), '42501',
    'nobody upgrades themselves');
select is(pg_temp.code_of($$insert into public.subscriptions (user_id, family, plan_key) values (pg_temp.id(2),
    'listener', 'listener_premium')$$), '42501', 'nor subscribes');
select is(pg_temp.code_of($$delete from public.subscriptions$$), '42501', 'nor deletes');
select is(pg_temp.code_of($$select public.set_subscription(pg_temp.id(2), 'creator_ultimate')$$), 'admin_only',
    'nor gives');
select is(pg_temp.code_of($$select public.set_partner_account(pg_temp.id(2), true)$$), 'admin_only',
    'nor becomes a partner');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select * from public.subscriptions$$), '42501', 'visitors read none');

-- admins
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.subscriptions), 3::bigint, 'admins read all');
select is((public.set_subscription(pg_temp.id(2), 'creator_standard', now() + interval '30 days')).plan_key,
    'creator_standard', 'an admin gives a plan');
reset role;
select is((private.seller_plan(pg_temp.id(2))).commission_bps, 3000, 'it counts');
select pg_temp.be(pg_temp.id(3));
select is((public.set_subscription(pg_temp.id(2), 'collector_pro')).family::text, 'collector', 'in another family too');
select is(pg_temp.code_of($$select public.set_subscription(pg_temp.id(2), 'creator_gold')$$), 'plan_not_found',
    'unknown plan');
select is(pg_temp.code_of($$select public.set_subscription(pg_temp.id(99), 'creator_premium')$$), 'user_not_found',
    'unknown user');
select is(pg_temp.code_of($$select public.set_subscription(pg_temp.id(2), 'creator_premium',
    now() - interval '1 day')$$), 'period_over', 'not for the past');
select lives_ok($$select public.set_subscription(pg_temp.id(1), 'creator_standard')$$,
    'a subscription that ended at the provider is replaced');
select lives_ok($$select public.set_partner_account(pg_temp.id(2), true)$$, 'an admin makes a partner');
reset role;
update public.subscriptions set provider = 'stripe', stripe_subscription_id = 'sub_2' where user_id = pg_temp.id(1);
select pg_temp.be(pg_temp.id(3));
select is(pg_temp.code_of($$select public.set_subscription(pg_temp.id(1), 'creator_basic')$$),
    'subscription_managed_by_provider', 'one that is collected is not');
reset role;
select is((select count(*) from public.audit_log where action in ('set_subscription', 'set_partner_account')),
    4::bigint, 'all is audited');
insert into public.bans (user_id, reason) values (pg_temp.id(2), 'x');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.subscriptions$$, 'a banned user reads none');

select * from finish();
rollback;
