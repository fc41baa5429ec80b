-- Licence keys: who sees, uses and disables one.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t as select pg_temp.product(1, 2000) as item;
update public.products set license_seats = 2 where id = (select item from t);
create function pg_temp.item() returns uuid language sql security definer as $$ select t.item from t $$;
create temporary table bought as select pg_temp.buy(2, pg_temp.item()) as first;
create function pg_temp.license() returns uuid language sql security definer as $$ select k.id from public.license_keys as k $$;
create function pg_temp.key() returns text language sql security definer as $$
    select private.license_key(k.id) from public.license_keys as k
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.ban();

select results_eq(
    'select seats, activations_count, is_valid, owner_id from public.license_keys', $$values (2, 0, true, pg_temp.id(2))$$,
    'a sale makes a key'
);
select is(octet_length((select secret from private.license_secret)), 32, 'and the first one the secret');
select is(pg_temp.code_as(pg_temp.id(who), statement), code, says)
from (values
    (2, 'select public.show_license_key(pg_temp.license())', null, 'its owner sees it'),
    (1, 'select public.show_license_key(pg_temp.license())', 'license_not_found', 'its seller does not'),
    (3, 'select public.show_license_key(pg_temp.license())', 'license_not_found', 'nor strangers'),
    (4, 'select public.show_license_key(pg_temp.license())', 'license_not_found', 'nor admins'),
    (5, 'select public.show_license_key(pg_temp.license())', 'banned', 'nor who is banned'),
    (2, 'select private.license_key(pg_temp.license())', '42501', 'the secret is nobody''s'),
    (2, 'select from private.license_secret', '42501', 'not to read'),
    (2, 'select from private.license_hashes', '42501', 'nor the hashes'),
    (2, 'update public.license_keys set seats = 99', '42501', 'nobody gives themselves seats'),
    (2, 'delete from public.license_activations', '42501', 'or frees them by hand'),
    (3, 'select public.activate_license(pg_temp.item(), pg_temp.key(), ''d'')', 'license_not_found', 'a key is its owner''s'),
    (2, 'select public.activate_license(pg_temp.item(), ''x'', ''d'')', 'license_not_found', 'and one of the product''s'),
    (2, 'select public.activate_license(pg_temp.id(9), pg_temp.key(), ''d'')', 'license_not_found', 'not another''s'),
    (2, 'select public.activate_license(pg_temp.item(), pg_temp.key(), null)', 'invalid_device', 'for a device'),
    (2, 'select public.activate_license(pg_temp.item(), pg_temp.key(), repeat(''d'', 201))', '23514', 'with a short name'),
    (2, 'select public.activate_license(pg_temp.item(), pg_temp.key(), ''d'', repeat(''d'', 101))', '23514', 'for people too'),
    (2, 'select public.activate_license(pg_temp.item(), pg_temp.key(), ''d'')', null, 'is a seat'),
    (5, 'select public.deactivate_license(pg_temp.item(), pg_temp.key(), ''d'')', 'banned', 'not of the banned'),
    (3, 'select public.deactivate_license(pg_temp.item(), pg_temp.key(), ''d'')', 'license_not_found', 'nor of strangers'),
    (2, 'select public.set_license_disabled(pg_temp.license(), true)', 'license_not_found', 'its owner does not disable it'),
    (4, 'select public.set_license_disabled(pg_temp.license(), true)', 'license_not_found', 'nor an admin'),
    (1, 'select public.set_license_disabled(pg_temp.license(), true)', null, 'its seller does'),
    (2, 'select public.activate_license(pg_temp.item(), pg_temp.key(), ''d'')', 'license_disabled', 'then it is no use'),
    (1, 'update public.products set license_seats = 0', '23514', 'a licence has a seat'),
    (1, 'update public.products set license_seats = 1001', '23514', 'and at most 1,000')
) as x (who, statement, code, says);

create function pg_temp.reads(who integer, relation text) returns bigint language plpgsql as $$
declare
    n bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute format('select count(*) from public.%I', relation) into n;
    perform set_config('role', 'none', true);
    return n;
end
$$;
select is(pg_temp.reads(who, relation), n::bigint, format('%s reads %s of %s', who, n, relation))
from (values
    (1, 'license_keys', 1), (2, 'license_keys', 1), (3, 'license_keys', 0), (4, 'license_keys', 1),
    (1, 'license_activations', 0), (2, 'license_activations', 1), (3, 'license_activations', 0),
    (4, 'license_activations', 0)
) as x (who, relation, n);
select is(
    pg_temp.code_as(null, 'select from public.license_keys', 'anon'), '42501', 'visitors read no licences'
);
select is(
    pg_temp.code_as(null, 'select public.check_license(pg_temp.item(), ''x'')', 'anon'), null, 'but ask about a key'
);

select * from finish();
rollback;
