-- The platform's own profile: what it sells is seen, itself nobody meets.
begin;
\ir ../helpers.psql
-- What it sells is another page's.
delete from public.credit_packs;

select plan(22);
select pg_temp.people();
create function pg_temp.platform() returns uuid language sql as $$
    select p.id from public.profiles as p where private.is_platform(p.id)
$$;
grant execute on all functions in schema pg_temp to public;
create temporary table t as select pg_temp.platform() as id;
grant select on t to public;

select is((select count(*) from t), 1::bigint, 'there is one');
select is(private.is_platform(pg_temp.id(1)), false, 'nobody else is it');
select is((select count(*) from auth.users as u inner join t on t.id = u.id), 0::bigint, 'nobody signs in with it');
select is((select count(*) from public.wallets as w inner join t on t.id = w.user_id), 0::bigint, 'it has no wallet');
select is((select count(*) from ledger.accounts as a inner join t on t.id = a.owner_id), 0::bigint, 'nor accounts');
select is((select username::text from public.profiles as p inner join t on t.id = p.id), 'avenue', 'its name');
select is(private.username_problem('Avenue', pg_temp.id(1)), 'username_reserved', 'is nobody else''s');

-- found, read
select is_empty(format('select * from public.search_profiles(%L)', q), 'visitors do not find it as ' || q)
from unnest(array['avenue', 'Aven']) as q;
select pg_temp.be(pg_temp.id(1));
select is_empty($$select * from public.search_profiles('avenue')$$, 'nor do members');
select is_empty('select * from public.profiles as p inner join t on t.id = p.id', 'nor read it');
select is((select private.can_see(id) from t), false, 'it is nobody to them');

-- written to, blocked, banned
select is(pg_temp.code_of('select public.start_conversation(array[id]) from t'), 'user_not_found', 'members do not write to it');
select isnt(pg_temp.code_of('insert into public.user_blocks (blocked_id) select id from t'), null, 'nor block it');
select isnt(pg_temp.code_of('insert into public.follows (following_id) select id from t'), null, 'nor follow it');
select pg_temp.be(pg_temp.id(4));
select is(pg_temp.code_of('select public.start_conversation(array[id]) from t'), 'user_not_found', 'nor do admins');
select is(pg_temp.code_of('insert into public.user_blocks (blocked_id) select id from t'), '23514', 'who see it, but block it not');
select is(pg_temp.code_of('select public.ban_user(id, ''x'') from t'), '23514', 'nor ban it');
reset role;
select is(pg_temp.code_of('insert into public.bans (user_id, reason) select id, ''x'' from t'), '23514', 'whoever tries');

-- what it sells
insert into public.artworks (seller_id, title, image_url, price_cents, category, status)
select id, 'A print of the house', 'https://e.com/1.png', 3000, 'painting', 'published' from t;
select is((select is_listed from public.catalog_items as c inner join t on t.id = c.seller_id), true, 'is in the shop');
select is((select commission_bps from t cross join lateral private.sale_terms('artwork', t.id)), 10000,
    'and all of it is the platform''s');
select is((select private.author_audience(p)::text from public.profiles as p inner join t on t.id = p.id), 'public',
    'and so is what it writes');

select * from finish();
rollback;
