-- checkout(), cancel_order() and the attempts the workers run.
begin;
\ir ../helpers.psql

select plan(138);
select pg_temp.people();
create temporary table t as select
    pg_temp.product(1, 2000) as product, pg_temp.product(1, 1000, 500) as named, pg_temp.product(1, 1000, 0) as gift,
    pg_temp.artwork(1, 5000) as artwork, pg_temp.artwork(3, 6000) as other, pg_temp.product(2, 100) as own,
    pg_temp.product(1, 99999999) as dear, pg_temp.product(5, 100) as banned, pg_temp.product(1, 0) as free;
grant select on t to public;
select pg_temp.ban();
create function pg_temp.try(items jsonb, provider public.payment_provider default 'stripe', key text default null)
returns jsonb language sql as $$
    select public.checkout(items, provider, key)
$$;
create function pg_temp.line(item uuid, more jsonb default '{}') returns jsonb language sql as $$
    select jsonb_build_array(jsonb_build_object('item_id', item) || more)
$$;
grant execute on all functions in schema pg_temp to public;
create function pg_temp.held(item uuid) returns bigint language sql as $$
    select count(*) from private.holds as r where r.item_id = held.item
$$;

-- every refusal
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.code_of(format('select pg_temp.try(%s)', items)), code, code || ': ' || items) from (values
    ('invalid_checkout', '''"x"'''), ('invalid_checkout', '''{}'''), ('invalid_checkout', '''[1]'''),
    ('invalid_checkout', '''[null]'''), ('invalid_checkout', '''[{}]'''), ('invalid_checkout',
        '''[{"item_id": "x"}]'''),
    ('invalid_checkout', '(select pg_temp.line(product, ''{"quantity": "many"}'') from t)'),
    ('invalid_checkout', '(select pg_temp.line(product, ''{"quantity": 1.5}'') from t)'),
    ('invalid_checkout', '(select pg_temp.line(product, ''{"quantity": -1}'') from t)'),
    ('invalid_checkout', '(select pg_temp.line(named, ''{"offered_price_cents": 9007199254740992}'') from t)'),
    ('invalid_checkout', '(select pg_temp.line(named, ''{"offered_price_cents": -600}'') from t)'),
    ('invalid_checkout', '(select pg_temp.line(named, ''{"offered_price_cents": "NaN"}'') from t)'),
    ('empty_checkout', '''[]'''), ('empty_checkout', 'null'), ('empty_checkout', '''null'''),
    ('invalid_checkout', '(select pg_temp.line(product, ''{"price_cents": 2000}'') from t)'),
    ('invalid_checkout', '(select pg_temp.line(product, ''{"offered_price": 1}'') from t)'),
    ('too_many_items', '(select jsonb_agg(l) from t, generate_series(1, 51), '
        'jsonb_array_elements(pg_temp.line(product)) as l)'),
    ('duplicate_item', '(select pg_temp.line(product) || pg_temp.line(product) from t)'),
    ('own_item', '(select pg_temp.line(own) from t)'),
    ('item_not_available', 'pg_temp.line(gen_random_uuid())'),
    ('item_not_available', '(select pg_temp.line(banned) from t)'),
    ('quantity_not_allowed', '(select pg_temp.line(artwork, ''{"quantity": 2}'') from t)'),
    ('quantity_not_allowed', '(select pg_temp.line(product, ''{"quantity": 0}'') from t)'),
    ('price_too_low', '(select pg_temp.line(named, ''{"offered_price_cents": 499}'') from t)'),
    ('price_too_low', '(select pg_temp.line(gift, ''{"offered_price_cents": 49}'') from t)'),
    ('price_changed', '(select pg_temp.line(product, ''{"offered_price_cents": 1999}'') from t)'),
    ('amount_out_of_range', '(select pg_temp.line(dear, ''{"quantity": 2}'') from t)')
) as c (code, items);
select is(pg_temp.code_of($$select pg_temp.try(pg_temp.line(product), 'paypal') from t$$), 'provider_not_available',
    'paypal');
select is(pg_temp.code_of($$select pg_temp.try(pg_temp.line(product), 'wallet') from t$$), 'insufficient_funds',
    'wallet');
select is(pg_temp.code_of($$select pg_temp.try(pg_temp.line(product), 'cash') from t$$), '22P02', 'no such provider');
select is(pg_temp.code_of(format('select public.checkout(pg_temp.line(product), %s) from t', a)), 'invalid_checkout', a)
from unnest(array['notes => repeat(''x'', 2001)', 'shipping_address => ''[]''',
    'shipping_address => jsonb_build_object(''line1'', repeat(''x'', 4000))',
    'shipping_address => ''{"city": "Berlin", "planet": "Earth"}''', 'shipping_address => ''{"city": {"x": 1}}'''
]) as a;
select is(pg_temp.code_of(format('select public.checkout(pg_temp.line(product), idempotency_key => %L) from t', key)),
    'idempotency_key_invalid', 'a key is 1 to 200 characters')
from unnest(array['', repeat('x', 201)]) as key;
select pg_temp.be(pg_temp.id(5));
select is(pg_temp.code_of($$select pg_temp.try(pg_temp.line(product)) from t$$), 'banned', 'the banned buy nothing');
select pg_temp.be(gen_random_uuid());
select is(pg_temp.code_of($$select pg_temp.try(pg_temp.line(product)) from t$$), 'not_signed_in', 'nor does nobody');
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select public.checkout()$$), '42501', 'visitors are stopped at the door');
reset role;
select is((select count(*) from public.orders), 0::bigint, 'a refused checkout leaves nothing behind');
select is((select count(*) from private.holds), 0::bigint, 'nor holds anything');

-- what works
create temporary table a (name text, answer jsonb);
grant all on a to public;
select pg_temp.be(pg_temp.id(2));
insert into a select 'card', pg_temp.try(pg_temp.line(product, '{"offered_price_cents": 2000}'), 'stripe', 'key') from t;
insert into a select 'again', pg_temp.try(pg_temp.line(product, '{"offered_price_cents": 2000, "quantity": 1}'),
    'stripe', 'key') from t;
select is(pg_temp.code_of(format('select pg_temp.try(%s, ''stripe'', ''key'') from t', items)), 'idempotency_key_reused',
    'the same key is not for ' || items)
from unnest(array['''[]''', 'null', 'pg_temp.line(free)', 'pg_temp.line(product, ''{"quantity": 2}'')']) as items;
insert into a select 'piece', pg_temp.try(pg_temp.line(artwork) || pg_temp.line(named, '{"offered_price_cents": 700}')) from t;
insert into a select 'free', pg_temp.try(pg_temp.line(free)) from t;
insert into a select 'gift', pg_temp.try(pg_temp.line(gift, '{"offered_price_cents": 0}')) from t;
reset role;
select is((select answer from a where name = 'again'), (select answer from a where name = 'card'),
    'the same key and request is the same order');
select results_eq(
    $$select answer ->> 'status', answer ->> 'payment_status', (answer ->> 'total_cents')::integer,
    answer ->> 'start_url' = 'https://workers.example/functions/v1/payments/' || (answer ->> 'payment_id') || '/start'
        from a where name = 'card'$$,
    $$values ('pending', 'requires_payment', 2000, true)$$, 'a card payment is to be started'
);
select is((select (answer ->> 'total_cents')::integer from a where name = 'piece'), 5700, 'a named price counts');
select is(pg_temp.held((select artwork from t)), 1::bigint, 'the piece is held');
select results_eq(
    $$select answer ->> 'status', answer ->> 'payment_id' from a where name in ('free', 'gift')$$,
    $$values ('completed', null), ('completed', null)$$, 'what costs nothing completes at once, without payment'
);
select is((select count(*) from public.transactions), 0::bigint, 'and is no sale');
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.code_of($$select pg_temp.try(pg_temp.line(free)) from t$$), 'already_owned', 'it is owned now');
select pg_temp.be(pg_temp.id(3));
select is(pg_temp.code_of($$select pg_temp.try(pg_temp.line(artwork)) from t$$), 'item_reserved',
    'others find it held');

-- the cart
select pg_temp.be(pg_temp.id(3));
insert into public.cart_items (item_id, quantity) select product, 2 from t;
insert into public.cart_items (item_id, offered_price_cents) select named, 800 from t;
insert into a select 'cart', public.checkout();
reset role;
select is((select (answer ->> 'total_cents')::integer from a where name = 'cart'), 4800,
    'without items the cart is bought');
select is((select count(*) from public.cart_items), 2::bigint, 'which stays until it is paid');
select pg_temp.start((select (answer ->> 'payment_id')::uuid from a where name = 'cart'));
select is(pg_temp.event('payment_intent.succeeded', pg_temp.intent((answer ->> 'payment_id')::uuid)), 'processed',
    'paid')
from a where name = 'cart';
select is((select count(*) from public.cart_items), 0::bigint, 'then it is empty');

-- what the cart showed
select pg_temp.be(pg_temp.id(4));
insert into public.cart_items (item_id) select product from t;
reset role;
update public.products set price_cents = 90000 where id = (select product from t);
select is(pg_temp.code_as(pg_temp.id(4), 'select public.checkout()'), 'price_changed', 'a risen price is asked about');
select pg_temp.be(pg_temp.id(4));
update public.cart_items set quantity = 2;
select is(pg_temp.code_of('select public.checkout()'), 'price_changed', 'another quantity says nothing about it');
insert into public.cart_items as c (item_id, quantity) select product, 1 from t
on conflict (user_id, item_id, option_key) do update set item_id = excluded.item_id, quantity = excluded.quantity;
select is((select shown_price_cents from public.cart_items), 90000::bigint, 'put in again it shows the new price');
reset role;
update public.products set price_cents = 1500 where id = (select product from t);
select pg_temp.be(pg_temp.id(4));
select is((public.checkout() ->> 'total_cents')::integer, 1500, 'a lower price is just charged');
reset role;
update public.products set allow_name_your_price = true, minimum_price_cents = 0, price_cents = 90001
where id = (select product from t);
select is(pg_temp.code_as(pg_temp.id(4), 'select public.checkout()'), 'price_changed',
    'nor is a suggestion more than was shown');
update public.products set allow_name_your_price = false, price_cents = 2000 where id = (select product from t);
select is(
    (select pg_temp.checkout(4, product) ->> 'total_cents' from t), '2000', 'items without a price are at today''s'
);
select is(pg_temp.code_as(pg_temp.id(4), $$select pg_temp.try(pg_temp.line(product,
    '{"offered_price_cents": 1999}')) from t$$), 'price_changed', 'not with one');
select results_eq(
    $$select status::text, status_reason from public.orders where user_id = pg_temp.id(4) order by 1 desc$$,
    $$values ('pending', null), ('cancelled', 'superseded')$$, 'the newer order of an item replaces the older one'
);

-- holding
create temporary table h as select pg_temp.artwork(1, 5000) as item from generate_series(1, 6);
grant select on h to public;
create function pg_temp.hold(buyer uuid, n integer) returns jsonb language plpgsql as $$
declare
    answer jsonb;
begin
    perform pg_temp.be(buyer);
    select pg_temp.try(pg_temp.line(item)) into answer from (select item from h order by item offset n - 1 limit 1) as i;
    perform set_config('role', 'none', true);
    return answer;
end
$$;
grant execute on function pg_temp.hold(uuid, integer) to public;
insert into a select 'hold', pg_temp.hold(pg_temp.id(4), 1);
update private.hold_periods set ends_at = ends_at - interval '5 minutes';
insert into a select 'renewed', pg_temp.hold(pg_temp.id(4), 1);
select is(
    (select min((answer ->> 'expires_at')::timestamptz) from a where name = 'renewed'),
    now() + interval '10 minutes', 'checking out again does not move the end of a hold'
);
select is((select renewals from private.hold_periods where user_id = pg_temp.id(4)), 1, 'and is counted');
update private.hold_periods set ends_at = now() - interval '1 minute';
select is(pg_temp.code_of('select pg_temp.hold(pg_temp.id(4), 1)'), 'hold_paused', 'whoever held it waits');
update private.hold_periods set ends_at = now() - (select hold_pause from private.settings);
select lives_ok('select pg_temp.hold(pg_temp.id(4), 1)', 'and may try again');
select lives_ok(format('select pg_temp.hold(pg_temp.id(4), %s)', n), 'hold ' || n) from generate_series(2, 5) as n;
select is(pg_temp.code_of('select pg_temp.hold(pg_temp.id(4), 6)'), 'too_many_holds', 'five are enough');
select is(pg_temp.code_as(pg_temp.id(2), 'select public.set_hold_limit(pg_temp.id(4), 6)'), 'admin_only',
    'only admins lift that');
select pg_temp.be(pg_temp.id(4));
select public.set_hold_limit(pg_temp.id(4), 6);
select is(pg_temp.code_of('select public.set_hold_limit(pg_temp.id(4), -1)'), 'invalid_hold_limit', 'within reason');
reset role;
select lives_ok('select pg_temp.hold(pg_temp.id(4), 6)', 'six are allowed now');
update public.orders set status = 'cancelled' where user_id = pg_temp.id(4) and status = 'pending';
delete from private.holds where item_id in (select item from h);

-- wallet
select pg_temp.be(pg_temp.id(4));
select public.adjust_wallet(pg_temp.id(2), 6000, 'goodwill', 'k');
insert into a select 'wallet', pg_temp.checkout(2, (select other from t), 'wallet');
reset role;
select results_eq(
    $$select answer ->> 'status', answer ->> 'payment_status', answer ->> 'start_url' from a where name = 'wallet'$$,
    $$values ('completed', 'succeeded', null)$$, 'the wallet pays inside checkout'
);
select is((select balance_available_cents from public.wallets where user_id = pg_temp.id(2)), 0::bigint,
    'to the last cent');
select is((select total_spent_on_platform_cents from public.wallets where user_id = pg_temp.id(2)), 6000::bigint,
    'counted');
select is((select status::text from public.artworks where id = (select other from t)), 'sold', 'the piece is sold');
select pg_temp.be(pg_temp.id(4));
select is(pg_temp.code_of($$select pg_temp.try(pg_temp.line(other)) from t$$), 'item_sold', 'and says so');
reset role;

-- cancel_order, and attempts
create function pg_temp.order_of(n text) returns uuid language sql as $$ select (answer ->> 'order_id')::uuid
    from a where name = n $$;
create function pg_temp.payment_of(n text) returns uuid language sql as $$ select (answer ->> 'payment_id')::uuid
    from a where name = n $$;
grant execute on all functions in schema pg_temp to public;
select is(pg_temp.code_as(pg_temp.id(w), $$select public.cancel_order(pg_temp.order_of('piece'))$$), c, w || ': ' || c)
from (values (1, 'order_not_open'), (3, 'order_not_open'), (4, 'order_not_open'), (5, 'banned')) as t (w, c);
select pg_temp.be(pg_temp.id(2));
select is(public.cancel_order(pg_temp.order_of('piece')) ->> 'status', 'cancelled', 'its buyer gives up');
reset role;
select is(pg_temp.held((select artwork from t)), 0::bigint, 'the piece is free again');
select is(pg_temp.code_of(format('select private.start_payment(%L, %L)', p, u)), c, c) from (values
    (pg_temp.payment_of('piece'), pg_temp.id(2), 'payment_not_open'), (pg_temp.payment_of('wallet'), pg_temp.id(2),
        'payment_not_open'),
    (pg_temp.payment_of('card'), pg_temp.id(3), 'payment_not_found'), (gen_random_uuid(), pg_temp.id(2),
        'payment_not_found'),
    (pg_temp.payment_of('card'), pg_temp.id(5), 'banned'), (pg_temp.payment_of('card'), gen_random_uuid(),
        'not_signed_in')
) as t (p, u, c);
select is(
    private.start_payment(pg_temp.payment_of('card'), pg_temp.id(2)) - 'order_number' - 'description' - 'expires_at',
    jsonb_build_object('payment_id', pg_temp.payment_of('card'), 'provider', 'stripe', 'provider_ref', null,
        'ref', null, 'is_session', false, 'session', null, 'amount_cents', 2000,
        'currency', 'USD', 'metadata', jsonb_build_object(
            'payment_id', pg_temp.payment_of('card'), 'order_id', pg_temp.order_of('card'))),
                'what to create at the provider'
);
select is(private.attach_payment_ref(pg_temp.payment_of('card'), 'pi_1'), 'requires_payment',
    'its object is remembered');
select is(private.attach_payment_ref(pg_temp.payment_of('card'), 'pi_1'), 'requires_payment', 'again');
select is(pg_temp.code_of($$select private.attach_payment_ref(pg_temp.payment_of('card'), 'pi_2')$$),
    'event_rejected', 'never another');
select is(private.attach_payment_ref(pg_temp.payment_of('piece'), 'pi_3'), 'cancelled', 'cancel it there');
select is(private.payment_attempt(pg_temp.payment_of('card')) ->> 'provider_ref', 'pi_1',
    'described again for the jobs');

select is((select count(*) from private.payments_to_cancel(9)), 0::bigint, 'nothing to cancel');
update public.payments set expires_at = now() where id = pg_temp.payment_of('card');
select is(private.expire_unstarted_payments(9), 0, 'a started one does not just end');
select results_eq($$select payment_id, provider, provider_ref from private.payments_to_cancel(9)$$,
    $$values (pg_temp.payment_of('card'), 'stripe', 'pi_1')$$, 'it is cancelled there');
select private.payment_cancelled(pg_temp.payment_of('card'));
select results_eq($$select status::text, status_reason from public.orders where id = pg_temp.order_of('card')$$,
    $$values ('cancelled', 'expired')$$, 'and then ends here');
select lives_ok($$select private.payment_cancelled(pg_temp.payment_of('cart'))$$, 'a paid one does not');
select is((select status::text from public.orders where id = pg_temp.order_of('cart')), 'completed',
    'nothing happened');

-- a page of Stripe's
create temporary table s as select
    (pg_temp.checkout(3, pg_temp.product(1, 2000)) ->> 'payment_id')::uuid as p,
    (pg_temp.checkout(3, pg_temp.product(1, 2000)) ->> 'payment_id')::uuid as bare;
grant select on s to public;
create function pg_temp.ask(payment uuid, page text default 'paid') returns jsonb language sql as $$
    select private.start_payment(payment, pg_temp.id(3), true, 'https://e.com/' || page, 'https://e.com/cart')
$$;
create temporary table asked as select pg_temp.ask(p) as request from s;
select results_eq(
    $$select request ->> 'is_session', request ->> 'ref', request -> 'session' ->> 'success_url',
    request -> 'session' ->> 'cancel_url', (request ->> 'expires_at')::timestamptz = now() + interval '24 hours',
    (request -> 'session' ->> 'expires_at')::bigint
        = floor(extract(epoch from now() + interval '23 hours 55 minutes'))::bigint from asked$$,
    $$values ('true', null, 'https://e.com/paid', 'https://e.com/cart', true, true)$$,
    'what session to create, which Stripe lets live for a day at most'
);
select is(pg_temp.ask(p, 'thanks'), request, 'asked again with other pages it is the same request') from s, asked;
select is(private.payment_attempt(p), request, 'which the jobs repeat when the answer was lost') from s, asked;
select is(pg_temp.code_of(format('select private.start_payment(%L, %L)', p, pg_temp.id(3))), 'payment_started_otherwise',
    'a session is not an intent as well') from s;
select private.start_payment(bare, pg_temp.id(3)) from s;
select is(pg_temp.code_of(format('select pg_temp.ask(%L)', bare)), 'payment_started_otherwise',
    'nor an intent a session') from s;
select is((select count(*) from private.session_requests as r, s where r.payment_id = bare), 0::bigint,
    'which leaves nothing behind');
select is(pg_temp.code_of(format('select private.start_payment(%L, %L, true, repeat(''x'', 2049), ''x'')',
    pg_temp.checkout(3, pg_temp.product(1, 2000)) ->> 'payment_id', pg_temp.id(3))), '23514', 'addresses have an end');
select is(pg_temp.code_of(format('select private.attach_payment_intent(%L, ''pi_x'')', bare)), 'event_rejected',
    'only sessions have an intent of their own') from s;
select is(pg_temp.code_of(format('update public.payments set stripe_session_id = ''cs_x'' where id = %L', bare)), '23514',
    'and only they have a session') from s;
select is(private.attach_payment_ref(p, 'cs_1'), 'requires_payment', 'its session is remembered') from s;
select is(private.attach_payment_ref(p, 'cs_1'), 'requires_payment', 'again') from s;
select is(pg_temp.code_of(format('select private.attach_payment_ref(%L, ''cs_2'')', p)), 'event_rejected',
    'never another') from s;
select is(pg_temp.code_of(format('update public.payments set is_session = true, stripe_session_id = ''cs_1'' where id = %L', bare)),
    '23505', 'and never that of another') from s;
select results_eq($$select pg_temp.ask(p) ->> 'ref', pg_temp.ask(p) ->> 'session' from s$$,
    $$values ('cs_1', null)$$, 'it is asked for by its id from then on');
select is((select count(*) from private.session_requests as r, s where r.payment_id = p), 0::bigint,
    'and what was said to make it is forgotten');
select lives_ok(format('select private.attach_payment_intent(%L, ''pi_s'')', p), 'it says what it is paid by') from s;
select lives_ok(format('select private.attach_payment_intent(%L, ''pi_s'')', p), 'again with one intent') from s;
select is(pg_temp.code_of(format('select private.attach_payment_intent(%L, ''pi_t'')', p)), 'event_rejected',
    'and never by another') from s;
select results_eq($$select stripe_session_id, provider_ref from public.payments, s where id = p$$,
    $$values ('cs_1', 'pi_s')$$, 'both are kept');
select is((private.payment_state(p, pg_temp.id(3)) #>> '{order,payment_status}'), 'requires_payment', 'its state') from s;
select is(pg_temp.code_of(format('select private.payment_state(%L, %L)', p, pg_temp.id(2))), 'payment_not_found',
    'is nobody else''s business') from s;
select pg_temp.be(pg_temp.id(3));
select is((select stripe_session_id from public.payments, s where id = p), 'cs_1', 'the payer reads the session');
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.payments, s where id = p), 0::bigint, 'others do not');
reset role;
update public.payments set expires_at = now(), started_at = now() - interval '2 hours' from s where id in (p, bare);
select is((select r.provider_ref from s, private.payments_to_reconcile(9) as r where payment_id = p), 'cs_1',
    'it is asked for at the provider');
select is((select r.provider_ref from s, private.payments_to_cancel(9) as r where payment_id = p), 'cs_1',
    'and ended there, not its intent');
select is(pg_temp.code_of(format('select pg_temp.ask(%L)', p)), 'payment_not_open', 'it ran out') from s;
select private.payment_cancelled(p) from s;
select is((private.payment_state(p, pg_temp.id(3)) #>> '{order,status}'), 'cancelled', 'and ends') from s;
select is((private.payment_state(p, pg_temp.id(3)) -> 'is_settled'), 'false', 'without money') from s;

-- who may call what
select is_empty(
    $$select r, f from unnest(array['anon', 'authenticated', 'service_role']) as r
    cross join unnest(array['private.start_payment(uuid,uuid,boolean,text,text)', 'private.attach_payment_ref(uuid,text)',
    'private.attach_payment_intent(uuid,text)', 'private.payment_state(uuid,uuid)', 'private.payment_attempt(uuid)',
    'private.apply_read_event(text,text)',
    'private.payment_cancelled(uuid)', 'private.payments_to_cancel(integer)',
        'private.expire_unstarted_payments(integer)',
    'private.payments_to_reconcile(integer)', 'private.stop_payment(uuid,text)',
        'private.deliver_orders(uuid[])',
        'private.place_order(uuid,uuid,private.order_line[],public.payment_provider,jsonb,text,timestamptz)']) as f
    where has_function_privilege(r, f, 'execute')$$, 'clients call none of the workers'' functions'
);
select is_empty($$select * from ledger.audit()$$, 'the books are right');

select * from finish();
rollback;
