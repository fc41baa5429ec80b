-- First large sales of new sellers wait for an admin.
begin;
\ir ../helpers.psql

select plan(21);
select pg_temp.people();
update private.settings set review_sale_above_cents = 5000;
create function pg_temp.sale(o uuid) returns uuid language sql security definer as $$
    select t.id from public.transactions as t inner join public.order_items as i on i.id = t.order_item_id
    where i.order_id = o
$$;
create function pg_temp.reviewed(o uuid) returns boolean language sql security definer as $$
    select exists (select from public.sale_reviews as r where r.transaction_id = pg_temp.sale(o))
$$;
create function pg_temp.wallet(n integer) returns bigint[] language sql as $$
    select array[w.balance_available_cents, w.balance_pending_cents] from public.wallets as w
    where w.user_id = pg_temp.id(n)
$$;
create temporary table o as select pg_temp.buy(2, pg_temp.product(1, 20000)) as large,
    pg_temp.buy(2, pg_temp.product(1, 5000)) as small;
grant select on o to public;
grant execute on all functions in schema pg_temp to public;
select ok(pg_temp.reviewed(large) and not pg_temp.reviewed(small), 'a large one is held, not one up to the limit') from o;

update public.transactions set release_at = now();
select is(private.release_matured_earnings(9), 1, 'the small one is released');
select is(pg_temp.wallet(1), array[5000 - 175 - 2000, 20000 - 610 - 8000]::bigint[], 'the held one is not');

select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.sale_reviews where released_at is null), 1::bigint, 'its seller sees that');
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.sale_reviews), 0::bigint, 'its buyer does not');
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.sale_reviews), 1::bigint, 'admins do');
reset role;
select is(pg_temp.code_as(pg_temp.id(w), format('select public.release_sale_review(%s)', a)), c, format('%s for %s', c, w))
from (values
    (1, 'pg_temp.sale((select large from o)), ''x''', 'admin_only'), (5, 'gen_random_uuid(), ''x''', 'admin_only'),
    (4, 'gen_random_uuid(), ''x''', 'sale_not_found'), (4, 'gen_random_uuid(), '' ''', 'reason_required'),
    (4, 'gen_random_uuid(), null', 'reason_required'), (4, 'gen_random_uuid(), U&''\200B\2800''', 'reason_required')
) as t (w, a, c);
select is(pg_temp.code_as(pg_temp.id(w), 'update public.sale_reviews set released_at = now()'), '42501',
    w || ' does not write') from unnest(array[1, 4]) as w;
select pg_temp.be(pg_temp.id(4));
select isnt((select released_at from public.release_sale_review(pg_temp.sale((select large from o)), ' called them ')), null,
    'an admin lets it go');
select lives_ok($$select public.release_sale_review(pg_temp.sale((select large from o)), 'again')$$, 'twice is once');
reset role;
select is((select count(*) from public.audit_log where action = 'release_sale_review'), 1::bigint, 'audited');
select is(private.release_matured_earnings(9), 1, 'and it is released like any other');
select is(pg_temp.wallet(1), array[5000 - 175 - 2000 + 20000 - 610 - 8000, 0]::bigint[], 'all of it');

update public.transactions set created_at = now() - interval '31 days' where id = (select pg_temp.sale(small) from o);
select ok(not pg_temp.reviewed(pg_temp.buy(2, pg_temp.product(1, 20000))), 'who sold long ago is not new');
update public.profiles set role = 'admin' where id = pg_temp.id(3);
create temporary table own as select pg_temp.buy(2, pg_temp.product(3, 20000)) as id;
grant select on own to public;
select is(pg_temp.code_as(pg_temp.id(3), $$select public.release_sale_review(pg_temp.sale((select id from own)), 'x')$$),
    'own_wallet', 'not one''s own');

select * from finish();
rollback;
