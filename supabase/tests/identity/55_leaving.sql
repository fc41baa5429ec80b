-- Leaving with money, taking much along, coming back after a ban, anonymous sessions.
begin;
\ir ../helpers.psql
select no_plan();

insert into auth.users (id, email, phone)
select pg_temp.id(n), 'person' || n || '@example.com', null from generate_series(1, 6) as n;
update public.profiles set role = 'admin' where id = pg_temp.id(6);

-- money
select ledger.post('adjustment', 'test', array[
    row(null, 'promotions', -800)::ledger.leg, row(pg_temp.id(1), 'available', 500)::ledger.leg,
    row(pg_temp.id(1), 'pending', 300)::ledger.leg
]);
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of('select public.delete_my_account()'), 'balance_remains', 'who has money is told so');
select is(pg_temp.code_of('select public.delete_my_account(500)'), 'balance_remains', 'a part of it is no answer');
select is(pg_temp.code_of('select public.delete_my_account(-1)'), 'balance_remains', 'nor is anything else');
do $$
begin
    perform public.delete_my_account();
    raise exception 'went through';
exception when sqlstate 'PT409' then
    declare
        told text;
    begin
        get stacked diagnostics told = pg_exception_detail;
        perform set_config('test.told', told, true);
    end;
end
$$;
select is(
    current_setting('test.told')::jsonb,
    '{"forfeit_cents": 800, "available_cents": 500, "pending_cents": 300, "payouts_cents": 0, "currency": "USD"}'::jsonb,
    'with the amounts'
);
select lives_ok('select public.delete_my_account(800)', 'who names the sum leaves');
reset role;
select is_empty('select from auth.users where id = pg_temp.id(1)', 'and is gone');
select is(
    (select balance_available_cents + balance_pending_cents from public.wallets where user_id = pg_temp.id(1)), 800::bigint,
    'the books keep it'
);
-- a payout on its way
insert into public.payouts (user_id, amount_cents, destination) values (pg_temp.id(2), 700, 'acct_1');
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.code_of('select public.delete_my_account()'), 'balance_remains', 'a payout that waits counts');
select lives_ok('select public.delete_my_account(700)', 'and is named');
reset role;
-- an operator need not ask
select ledger.post('adjustment', 'test', array[
    row(null, 'promotions', -100)::ledger.leg, row(pg_temp.id(3), 'available', 100)::ledger.leg
]);
select lives_ok('delete from auth.users where id = pg_temp.id(3)', 'deletion through Auth always works');

-- a copy of much
-- as an operator: members have limits
do $$ begin perform set_config('request.jwt.claims', '', true); end $$;
insert into public.posts (user_id, content) select pg_temp.id(4), 'Post ' || n from generate_series(1, 2600) as n;
select pg_temp.be(pg_temp.id(4));
create temporary table copy (part integer, data jsonb);
insert into copy select 1, public.export_my_data();
select is(jsonb_array_length(data -> 'posts'), 500, 'the first rows of a long section') from copy;
select ok(data -> 'more' ? 'posts', 'it says that there are more') from copy;
select is((select count(*) from jsonb_object_keys(data -> 'more')), 1::bigint, 'of nothing else') from copy;
insert into copy select 2, public.export_my_data('posts', data -> 'more' -> 'posts') from copy where part = 1;
select is(jsonb_array_length(data -> 'posts'), 2000, 'the next ones') from copy where part = 2;
insert into copy select 3, public.export_my_data('posts', data -> 'more' -> 'posts') from copy where part = 2;
select is(data -> 'more', '{}'::jsonb, 'at last there is no more') from copy where part = 3;
select is(
    (select count(distinct p.post ->> 'id') from copy as c, jsonb_array_elements(c.data -> 'posts') as p (post)),
    2600::bigint, 'each exactly once'
);
select is(pg_temp.code_of($$select public.export_my_data('secrets')$$), 'section_not_found', 'no other section');
select is(pg_temp.code_of($$select public.export_my_data('posts', '{"id": 1}')$$), 'section_not_found',
    'what is no key of a row is not ignored');
select is(pg_temp.code_of($$select public.export_my_data(null, '["1"]')$$), 'section_not_found',
    'nor is one without a section');
reset role;

-- a ban outlives the account
select pg_temp.be(pg_temp.id(6));
select lives_ok($$select public.ban_user(pg_temp.id(5), 'rude')$$, 'somebody is banned');
reset role;
select is((select count(*) from private.banned_addresses), 1::bigint, 'the address is kept as a hash');
select pg_temp.be(pg_temp.id(5));
select lives_ok('select public.delete_my_account()', 'they leave');
reset role;
select is_empty('select from public.profiles where id = pg_temp.id(5)', 'nothing of them is left');
select results_eq(
    'select user_id, length(address_hash) from private.banned_addresses', 'values (null::uuid, 32)', 'but the hash'
);
select lives_ok(
    $$insert into auth.users (id, email) values (pg_temp.id(15), 'PERSON5+again@example.com')$$, 'signing up works'
);
select results_eq(
    'select is_banned from public.profiles where id = pg_temp.id(15)', array[true], 'who comes back is banned'
);
select isnt_empty('select from public.bans where user_id = pg_temp.id(15)', 'and told why');
select isnt_empty(
    $$select from public.audit_log where action = 'ban_returned' and target_id = pg_temp.id(15)$$, 'it is audited'
);
insert into auth.users (id, email) values (pg_temp.id(16), 'other@example.com');
select is((select is_banned from public.profiles where id = pg_temp.id(16)), false, 'nobody else is');
update auth.users set email = 'person5@example.com' where id = pg_temp.id(16);
select is((select is_banned from public.profiles where id = pg_temp.id(16)), true, 'until they take that address');
select is(private.address_hash('a.n.a+x@GoogleMail.com'), private.address_hash('ana@gmail.com'), 'one mailbox');
select isnt(private.address_hash('a.na@example.com'), private.address_hash('ana@example.com'), 'not everywhere');
select is(private.address_hash('+49 (151) 1'), private.address_hash('491511'), 'phone numbers by their digits');
select is(private.address_hash(''), null, 'nothing is no address');
-- the end of it
delete from auth.users where id in (pg_temp.id(15), pg_temp.id(16));
select pg_temp.be(pg_temp.id(4));
select is(pg_temp.code_of($$select public.lift_address_ban('x')$$), 'admin_only', 'admins lift it');
select pg_temp.be(pg_temp.id(6));
select is(public.lift_address_ban('nobody@example.com'), false, 'none, no effect');
select is(public.lift_address_ban('person5@example.com'), true, 'by the address');
reset role;
insert into auth.users (id, email) values (pg_temp.id(17), 'person5@example.com');
select is((select is_banned from public.profiles where id = pg_temp.id(17)), false, 'then it is over');
select pg_temp.be(pg_temp.id(6));
select public.ban_user(pg_temp.id(17), 'again');
select public.unban_user(pg_temp.id(17));
reset role;
select is_empty($$select from private.banned_addresses where address_hash = private.address_hash('person5@example.com')$$,
    'the end of a ban ends it too');
-- reviewed yearly
insert into private.banned_addresses (address_hash, review_at) values (private.address_hash('old@example.com'), now());
select is((select count(*) from private.review_address_bans()), 1::bigint, 'one is due');
select is((select count(*) from private.review_address_bans(true)), 1::bigint, 'it is kept');
select is((select count(*) from private.review_address_bans()), 0::bigint, 'for another year');
update private.banned_addresses set review_at = now() where address_hash = private.address_hash('old@example.com');
select private.review_address_bans(false);
select is(private.is_banned_address('old@example.com', null), false, 'or forgotten');

-- an anonymous session
select set_config('request.jwt.claims', json_build_object(
    'sub', pg_temp.id(6), 'role', 'authenticated', 'is_anonymous', true
)::text, true), set_config('role', 'authenticated', true);
select is(private.member_id(), null, 'is no member');
select is(private.is_admin(), false, 'nor an admin');
select is(pg_temp.code_of('select public.feed()'), 'account_required', 'and told to make an account');
select is(pg_temp.code_of($$select public.ban_user(pg_temp.id(4), 'x')$$), 'account_required', 'whatever they are');
select is_empty('select from public.bans', 'sees nothing of members');
reset role;

select * from finish();
rollback;
