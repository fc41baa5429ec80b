-- Export and deletion of accounts.
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

select plan(44);
select pg_temp.sign_up(pg_temp.id(1), 'anna'), pg_temp.sign_up(pg_temp.id(2), 'bernd'),
    pg_temp.sign_up(pg_temp.id(3), 'clean'),
    pg_temp.sign_up(pg_temp.id(4), 'soft'), pg_temp.sign_up(pg_temp.id(5), 'bad'), pg_temp.sign_up(pg_temp.id(6),
    'payer'), pg_temp.sign_up(pg_temp.id(7), 'wet');
insert into public.bans (user_id, reason) values (pg_temp.id(5), 'spam');

-- anna sells a product with a file and two artworks; bernd owns the product
insert into storage.objects (bucket_id, name, metadata) values
('product-files', pg_temp.id(1) || '/beat.wav', '{"size": 1000, "mimetype": "audio/wav"}'),
('product-files', pg_temp.id(1) || '/unsold.wav', '{"size": 1000, "mimetype": "audio/wav"}'),
('avatars', pg_temp.id(1) || '/me.png', '{}'), ('avatars', pg_temp.id(2) || '/me.png', '{}');
select pg_temp.be(pg_temp.id(1));
update public.profiles set display_name = 'Anna', bio = 'secret', smart_link = 'rolink.me/anna'
    where id = pg_temp.id(1);
insert into public.artist_profiles (artist_name) values ('Anna A');
insert into public.products (title, price_cents) values ('Beat', 2000), ('Unsold', 2000);
insert into public.product_files (product_id, path) select id, seller_id || '/' || slug || '.wav' from public.products;
update public.products set status = 'active';
insert into public.artworks (title, image_url, price_cents, category, status) values
('Drawn', 'https://e.com/1.png', 5000, 'digital', 'draft'), ('Shown', 'https://e.com/2.png', 5000, 'digital',
    'published');
select pg_temp.be(pg_temp.id(2));
insert into public.cart_items (item_id) select id from public.catalog_items where title in ('Beat', 'Shown');
reset role;
with o as (
    insert into public.orders (user_id, subtotal_cents, total_cents, shipping_address, notes)
    values (pg_temp.id(2), 2000, 2000, '{"street": "1"}', 'hi') returning id
), i as (
    insert into public.order_items (order_id, line_no, kind, item_id, buyer_id, seller_id, title,
    unit_price_cents, seller_tier, commission_bps)
    select o.id, 1, c.kind, c.id, pg_temp.id(2), pg_temp.id(1), c.title, 2000, 'basic', 4000 from o,
    public.catalog_items as c where c.title = 'Beat'
    returning id, item_id, kind
)
insert into public.purchases (
    owner_id, payer_id, kind, item_id, order_item_id, is_owned_once, is_single, price_cents
)
    select pg_temp.id(2), pg_temp.id(2), kind, item_id, id, true, false, 2000 from i;
update public.orders set status = 'completed';

-- export
select pg_temp.be(pg_temp.id(1));
select is((public.export_my_data() -> 'account' ->> 'email'), 'anna@example.com', 'export: the account');
select is(jsonb_array_length(public.export_my_data() -> 'products'), 2, 'export: products');
select is(jsonb_array_length(public.export_my_data() -> 'files'), 3, 'export: files');
select is((public.export_my_data() -> 'profile' -> 0 ->> 'bio'), 'secret', 'export: profile');
select is(jsonb_array_length(public.export_my_data() -> 'orders'), 0, 'export: nothing of others');
select pg_temp.be(pg_temp.id(5));
select is((public.export_my_data() -> 'ban' -> 0 ->> 'reason'), 'spam', 'banned users may export');
select pg_temp.be(pg_temp.id(99));
select is(pg_temp.code_of('select public.export_my_data()'), 'not_signed_in',
    'a token without an account exports nothing');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of('select public.export_my_data()'), '42501', 'visitors cannot export');
select is(pg_temp.code_of('select public.delete_my_account()'), '42501', 'nor delete');
reset role;
select is_empty(
    $$select d.section from private.personal_data as d where to_regclass(d.relation) is null
    and d.section <> 'payouts'$$,
    'the export names relations that exist'
);

-- without history nothing is left
select pg_temp.be(pg_temp.id(3));
select lives_ok('select public.delete_my_account()', 'a member deletes the own account');
select is(pg_temp.code_of('select public.delete_my_account()'), 'not_signed_in', 'once');
reset role;
select is_empty($$select 1 from auth.users where id = pg_temp.id(3)$$, 'the account is gone');
select is_empty($$select 1 from public.profiles where id = pg_temp.id(3)$$, 'the profile too');
select is_empty($$select 1 from public.wallets where user_id = pg_temp.id(3)$$, 'and the wallet');
select is_empty($$select 1 from ledger.accounts where owner_id = pg_temp.id(3)$$, 'and the ledger accounts');
select is_empty($$select 1 from public.subscriptions where user_id = pg_temp.id(3)$$, 'and the plan');
select pg_temp.be(pg_temp.id(5));
select lives_ok('select public.delete_my_account()', 'a banned user may leave');
reset role;
select is_empty($$select 1 from public.profiles where id = pg_temp.id(5)$$, 'and is gone');

-- a seller with history, deleted in the dashboard
select lives_ok($$delete from auth.users where id = pg_temp.id(1)$$, 'a seller''s account is deleted by an operator');
select results_eq(
    $$select username::text ~ '^deleted-[0-9a-f]{22}$', display_name, bio, smart_link, avatar_url::text, role::text,
    deleted_at is not null
        from public.profiles where id = pg_temp.id(1)$$,
    $$values (true, null::text, null::text, null::text, null::text, 'member', true)$$, 'the profile is anonymised'
);
select is_empty($$select 1 from public.profile_settings where user_id = pg_temp.id(1)$$, 'settings are erased');
select is_empty($$select 1 from public.artist_profiles where user_id = pg_temp.id(1)$$, 'the artist page is erased');
select is((select count(*) from public.wallets where user_id = pg_temp.id(1)), 1::bigint, 'the wallet stays');
select set_eq(
    $$select title, status::text from public.products where seller_id = pg_temp.id(1)$$, $$values ('Beat', 'deleted')$$,
    'the ordered product stays, off sale; the other is removed'
);
select is_empty($$select 1 from public.artworks where seller_id = pg_temp.id(1)$$,
    'works that nobody ordered are removed');
select is_empty($$select 1 from public.catalog_items where seller_id = pg_temp.id(1) and is_visible$$,
    'nothing is visible');
select set_eq($$select c.title from public.cart_items as i
    inner join public.catalog_items as c on c.id = i.item_id$$, array['Beat'], 'carts lose what was removed');
select pg_temp.be(pg_temp.id(1));
select is(private.member_id(), null, 'the old token is no member');
reset role;
select is((select completed_at from private.file_erasures where user_id = pg_temp.id(1)), null,
    'an erasure of files is due');
select set_eq(
    $$select bucket || '/' || path from private.user_files_to_erase(pg_temp.id(1))$$,
    array['avatars/' || pg_temp.id(1) || '/me.png', 'product-files/' || pg_temp.id(1) || '/unsold.wav'],
    'files are erased but for what buyers own'
);
select is_empty($$select 1 from private.user_files_to_erase(pg_temp.id(2))$$, 'never of an account that exists');
select set_has($$select user_id from private.file_erasures_due(10)$$, $$values (pg_temp.id(1))$$, 'the sweep finds it');
set constraints all immediate;
delete from private.file_erasures where user_id <> pg_temp.id(1);
select results_eq(
    $$select (private.authorize_download(c.id, pg_temp.id(2))).name from public.catalog_items as c
    where c.title = 'Beat'$$,
    array['beat.wav'], 'the buyer still downloads'
);

-- a buyer with history
select lives_ok($$delete from auth.users where id = pg_temp.id(2)$$, 'a buyer''s account is deleted');
select results_eq(
    $$select shipping_address::text, notes, total_cents from public.orders where user_id = pg_temp.id(2)$$,
    $$values (null::text, null::text, 2000::bigint)$$, 'orders stay without address and notes'
);
select is((select count(*) from public.purchases where owner_id = pg_temp.id(2)), 1::bigint,
    'the entitlement stays in the books');
select is_empty($$select 1 from public.cart_items where user_id = pg_temp.id(2)$$, 'the cart is emptied');

-- money alone is history too
select private.create_wallet(pg_temp.id(6));
select ledger.post('adjustment', 'test', array[
    row(null, 'promotions', -500)::ledger.leg, row(pg_temp.id(6), 'available', 500)::ledger.leg
]);
select lives_ok($$delete from auth.users where id = pg_temp.id(6)$$, 'an account with money is deleted');
select is((select balance_available_cents from public.wallets where user_id = pg_temp.id(6)), 500::bigint,
    'the money stays');
select is((select count(*) from public.profiles where id = pg_temp.id(6) and deleted_at is not null), 1::bigint,
    'anonymised');

-- soft deletion, a subscription that a provider collects, and a queue that is not there
update auth.users set deleted_at = now() where id = pg_temp.id(4);
select is_empty($$select 1 from public.profiles where id = pg_temp.id(4)$$, 'soft deletion erases as well');
update public.subscriptions set plan_key = 'creator_premium', provider = 'stripe', stripe_subscription_id = 'sub_1'
    where user_id = pg_temp.id(7);
select lives_ok($$delete from auth.users where id = pg_temp.id(7)$$, 'a paying subscriber is deleted');
select is((select stripe_subscription_id from public.subscriptions where user_id = pg_temp.id(7)), 'sub_1',
    'what the provider collects is not forgotten');

select * from finish();
rollback;
