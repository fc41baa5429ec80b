-- Tips: who may tip whom, what the jar is to the shop, what a settled tip leaves and what closes it.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 9) as n;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(6);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(7), pg_temp.id(2));
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
create temporary table t as
select pg_temp.product(1, 2000) as theirs, pg_temp.product(3, 1000) as anothers, pg_temp.product(1, 500) as hidden;
update public.products set status = 'draft' where id = (select hidden from t);
create function pg_temp.item(n text) returns uuid language sql security definer as $$
    select case n when 'theirs' then t.theirs when 'anothers' then t.anothers when 'hidden' then t.hidden end from t
$$;
create function pg_temp.jar(n integer) returns uuid language sql security definer as $$
    select id from public.tip_jars where seller_id = pg_temp.id(n)
$$;
create temporary table p (n text, payment uuid);
create function pg_temp.p(n text) returns uuid language sql security definer as $$
    select p.payment from p where p.n = $1
$$;
create function pg_temp.platform() returns uuid language sql security definer as $$
    select id from public.profiles where private.is_platform(id)
$$;
-- A tip that is asked for; its payment.
create function pg_temp.tip(sender integer, arguments text) returns uuid language plpgsql as $$
declare
    answer jsonb;
begin
    perform pg_temp.be(pg_temp.id(sender));
    execute format('select public.send_tip(%s)', arguments) into answer;
    perform set_config('role', 'none', true);
    return answer ->> 'payment_id';
end
$$;
create function pg_temp.pay(payment uuid) returns uuid language plpgsql as $$
begin
    perform pg_temp.start(payment);
    perform pg_temp.event('payment_intent.succeeded', pg_temp.intent(payment));
    return payment;
end
$$;
create function pg_temp.line_of(payment uuid) returns uuid language sql security definer as $$
    select i.id from public.payments as p
    inner join public.order_items as i on i.order_id = p.order_id
    where p.id = payment
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.ban();

-- refused before there is a jar
select is(pg_temp.code_as(pg_temp.id(who), format('select public.send_tip(%s)', arguments)), code, says)
from (values
    (2, 'pg_temp.id(2), 100', 'own_item', 'nobody tips themselves'),
    (2, 'pg_temp.id(99), 100', 'user_not_found', 'nor somebody who does not exist'),
    (2, 'null, 100', 'user_not_found', 'nor nobody'),
    (2, 'pg_temp.platform(), 100', 'user_not_found', 'nor the platform'),
    (2, 'pg_temp.id(5), 100', 'user_not_found', 'nor who was banned'),
    (2, 'pg_temp.id(6), 100', 'user_not_found', 'nor who is private'),
    (2, 'pg_temp.id(7), 100', 'user_not_found', 'nor who blocked them'),
    (7, 'pg_temp.id(2), 100', 'user_not_found', 'nor whom they blocked'),
    (5, 'pg_temp.id(1), 100', 'banned', 'who is banned tips nobody'),
    (2, 'pg_temp.id(1), null', 'invalid_checkout', 'an amount is named'),
    (2, 'pg_temp.id(1), 100, null, null, ''paypal''', 'provider_not_available', 'not by paypal'),
    (2, 'pg_temp.id(1), 100, null, null, null', 'provider_not_available', 'not by nothing'),
    (2, 'pg_temp.id(1), 100, null, null, ''wallet''', 'insufficient_funds', 'not from an empty wallet')
) as x (who, arguments, code, says);
select is(pg_temp.code_as(null, 'select public.send_tip(pg_temp.id(1), 100)', 'anon'), '42501', 'visitors do not tip');
select is_empty('select from public.tip_jars', 'what is refused makes no jar');

-- refused by the jar
select is(pg_temp.code_as(pg_temp.id(2), format('select public.send_tip(pg_temp.id(1), %s)', arguments)), code, says)
from (values
    ('49', 'price_too_low', 'below 50 cents'), ('0', 'price_too_low', 'nothing is no tip'),
    ('-100', 'price_too_low', 'nor less'), ('100000000', 'amount_out_of_range', 'above what can be charged'),
    ('9007199254740993', 'amount_out_of_range', 'far above'),
    ('100, repeat(''x'', 501)', 'line_not_valid', 'a message has at most 500 characters'),
    ('100, null, pg_temp.item(''anothers'')', 'line_not_valid', 'for an item of somebody else'),
    ('100, null, pg_temp.item(''hidden'')', 'line_not_valid', 'for an item nobody sees'),
    ('100, null, pg_temp.id(99)', 'line_not_valid', 'for an item that does not exist')
) as x (arguments, code, says);

-- the jar
insert into p select 'first', pg_temp.tip(2, 'pg_temp.id(1), 100, '' Thank you! '', pg_temp.item(''theirs'')');
insert into p select 'second', pg_temp.tip(3, 'pg_temp.id(1), 50');
select is((select count(*) from public.tip_jars), 1::bigint, 'one jar each, made on first use');
select results_eq(
    $$select kind, is_buyable, is_listed, is_repeatable, price_cents, minimum_price_cents from public.catalog_items
    where id = pg_temp.jar(1)$$,
    $$values ('tip_jar', true, false, true, 500::bigint, 50::bigint)$$, 'bought, and not listed'
);
select is_empty(
    $$select from public.profile_counts where user_id = pg_temp.id(1) and kind = 'tip_jar'$$, 'nor counted'
);
select is_empty($$select from public.search_catalog('tip')$$, 'nor found');
create function pg_temp.put_in(who integer, details text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.checkout(%L)', jsonb_build_array(jsonb_build_object(
            'item_id', pg_temp.jar(1), 'offered_price_cents', 70, 'details', details::jsonb
        ))
    ))
$$;
select is(pg_temp.put_in(who, details), code, says) from (values
    (2, '{"note": "x"}', 'line_not_valid', 'an unknown detail'),
    (2, '{"message": 5}', 'line_not_valid', 'a message that is none'),
    (2, '{"item_id": "x"}', 'line_not_valid', 'an item that is none'),
    (2, null, null, 'a jar is bought as any item is'), (1, null, 'own_item', 'but by its owner')
) as x (who, details, code, says);

-- paid
select is_empty('select from public.tips', 'nothing is a tip before it is paid');
select pg_temp.pay(pg_temp.p('first'));
select pg_temp.pay(pg_temp.p('second'));
select results_eq(
    'select sender_id, recipient_id, amount_cents, message, item_id, closed_at from public.tips order by amount_cents',
    $$values (pg_temp.id(3), pg_temp.id(1), 50::bigint, null, null::uuid, null::timestamptz),
    (pg_temp.id(2), pg_temp.id(1), 100::bigint, 'Thank you!', pg_temp.item('theirs'), null)$$, 'as it was sent, tidied'
);
select results_eq(
    $$select amount_total_cents, amount_fees_cents, amount_commission_cents, amount_seller_cents
    from public.transactions order by amount_total_cents$$,
    $$values (50::bigint, 31::bigint, 0::bigint, 19::bigint), (100, 33, 0, 67)$$, 'without commission, whatever the plan'
);
select results_eq(
    $$select type, count(*) from public.notifications where user_id = pg_temp.id(1) group by type$$,
    $$values ('tip', 2::bigint)$$, 'the recipient is told of tips, not of sales'
);
select results_eq(
    $$select link_url = '/tips/' || related_id, actor_id from public.notifications where type = 'tip' limit 1$$,
    $$values (true, null::uuid)$$, 'of the tip, by nobody'
);

-- again and again
insert into p select 'one', pg_temp.tip(2, 'pg_temp.id(1), 100');
insert into p select 'other', pg_temp.tip(2, 'pg_temp.id(1), 100');
select is(
    (select array_agg(status::text) from public.payments where id in (pg_temp.p('one'), pg_temp.p('other'))),
    array['requires_payment', 'requires_payment'], 'a second tip does not take the place of the first'
);
select pg_temp.pay(pg_temp.p('other'));
select pg_temp.pay(pg_temp.p('one'));
select is((select count(*) from public.tips where sender_id = pg_temp.id(2)), 3::bigint, 'each is a tip of its own');
select is(
    pg_temp.tip(2, 'pg_temp.id(1), 100, null, null, ''stripe'', ''k'''),
    pg_temp.tip(2, 'pg_temp.id(1), 100, null, null, ''stripe'', ''k'''), 'a key answers the first'
);
select is(
    pg_temp.code_as(pg_temp.id(2), $$select public.send_tip(pg_temp.id(1), 200, null, null, 'stripe', 'k')$$),
    'idempotency_key_reused', 'and no other request'
);

-- from a wallet, at once
select ledger.post('adjustment', 'gift', array[
    row(null, 'promotions', -500)::ledger.leg, row(pg_temp.id(8), 'available', 500)::ledger.leg
], null, 'USD', 'test');
insert into p select 'wallet', pg_temp.tip(8, 'pg_temp.id(2), 500, null, null, ''wallet''');
select results_eq(
    $$select t.amount_cents, w.balance_pending_cents from public.tips as t
    inner join public.wallets as w on w.user_id = t.recipient_id where t.recipient_id = pg_temp.id(2)$$,
    $$values (500::bigint, 500::bigint)$$, 'all of a wallet''s tip arrives'
);

-- who reads
create function pg_temp.seen(who integer) returns bigint language plpgsql as $$
declare
    found bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    select count(*) into found from public.tips;
    perform set_config('role', 'none', true);
    return found;
end
$$;
select is(pg_temp.seen(who), tips, says) from (values
    (1, 4::bigint, 'the recipient reads tips'), (2, 4, 'so does the sender, of both sides'),
    (8, 1, 'but for those of others'), (9, 0, 'strangers read none'), (4, 5, 'admins all')
) as x (who, tips, says);
select is(pg_temp.code_as(null, 'select from public.tips', 'anon'), '42501', 'visitors none');
select is(pg_temp.code_as(pg_temp.id(2), statement), '42501', statement) from unnest(array[
    'insert into public.tips (message) values (null)', 'update public.tips set message = null', 'delete from public.tips'
]) as statement;

-- what closes it
create function pg_temp.refund(payment uuid, amount bigint, told text) returns void language plpgsql as $$
declare
    made uuid;
begin
    perform pg_temp.be(pg_temp.id(1));
    select r.id into made from public.refund_order_item(pg_temp.line_of(payment), amount, 'sorry') as r;
    perform set_config('role', 'none', true);
    perform private.record_refund(made, 're_' || made, told);
end
$$;
create function pg_temp.is_open(payment uuid) returns boolean language sql as $$
    select closed_at is null from public.tips where order_item_id = pg_temp.line_of(payment)
$$;
select pg_temp.refund(pg_temp.p('first'), 40, 'succeeded');
select ok(pg_temp.is_open(pg_temp.p('first')), 'a part given back closes nothing');
select pg_temp.refund(pg_temp.p('first'), 60, 'succeeded');
select ok(not pg_temp.is_open(pg_temp.p('first')), 'the rest does');
select private.record_refund(r.id, r.provider_ref, 'failed') from public.refunds as r
where r.order_item_id = pg_temp.line_of(pg_temp.p('first')) and r.amount_cents = 60;
select ok(pg_temp.is_open(pg_temp.p('first')), 'a refund that fails opens it again');
select pg_temp.event('payment_intent.payment_failed', pg_temp.intent(pg_temp.p('second')));
select ok(not pg_temp.is_open(pg_temp.p('second')), 'a charge that is taken back closes it');
select ok(pg_temp.is_open(pg_temp.p('one')) and pg_temp.is_open(pg_temp.p('other')), 'others stay as they are');

-- the owner's word
create function pg_temp.jar_as(who integer, set_to text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'insert into public.tip_jars (suggested_cents, minimum_cents, is_open) values (%s) '
        'on conflict (seller_id) do update set suggested_cents = excluded.suggested_cents, '
        'minimum_cents = excluded.minimum_cents, is_open = excluded.is_open', set_to
    ))
$$;
select is(pg_temp.jar_as(who, set_to), code, says) from (values
    (9, '1000, 200, true', null, 'somebody makes a jar before anybody tips'),
    (1, '800, 300, true', null, 'or changes theirs'),
    (1, '100, 300, true', '23514', 'the least is not above the suggested'),
    (1, '300, 0, true', '23514', 'nor nothing'), (1, '300, 49, true', '23514', 'nor below a charge'),
    (5, '300, 50, true', '42501', 'who is banned has none')
) as x (who, set_to, code, says);
select is(
    pg_temp.code_as(pg_temp.id(2), 'select public.send_tip(pg_temp.id(1), 299)'), 'price_too_low', 'the minimum counts'
);
update public.tip_jars set is_open = false where seller_id = pg_temp.id(1);
select is(
    pg_temp.code_as(pg_temp.id(2), 'select public.send_tip(pg_temp.id(1), 500)'), 'item_not_available',
    'a closed jar takes nothing'
);
select pg_temp.be(pg_temp.id(2));
update public.tip_jars set is_open = true;
select is((select is_open from public.tip_jars where seller_id = pg_temp.id(1)), false, 'nobody opens another''s');
select is(pg_temp.code_of('update public.tip_jars set is_hidden = true'), '42501', 'nor hides one');
reset role;
update public.tip_jars set is_open = true where seller_id = pg_temp.id(1);
select pg_temp.be(pg_temp.id(4));
select public.hide_content('tip_jar', pg_temp.jar(1), 'fraud');
reset role;
select is(
    pg_temp.code_as(pg_temp.id(2), 'select public.send_tip(pg_temp.id(1), 500)'), 'item_not_available',
    'nor does a hidden one'
);

-- handed out, reported, and erased with its sender
create function pg_temp.export(who integer) returns jsonb language plpgsql as $$
declare
    answer jsonb;
begin
    perform pg_temp.be(pg_temp.id(who));
    answer := public.export_my_data();
    perform set_config('role', 'none', true);
    return answer;
end
$$;
select is(jsonb_array_length(pg_temp.export(who) -> section), entries, says) from (values
    (2, 'tips', 4, 'what one gave and got is handed out'), (1, 'tips', 4, 'to both'), (1, 'tip_jars', 1, 'with the jar'),
    (9, 'tips', 0, 'nothing to others')
) as x (who, section, entries, says);
select is(
    pg_temp.code_as(pg_temp.id(who), format('select public.report_content(''tip'', %L, ''spam'')', t.id)), code, says
)
from public.tips as t
cross join (values
    (1, null, 'a recipient reports what was said'), (9, 'content_not_found', 'nobody else')
) as x (who, code, says)
where t.message is not null;
select results_eq(
    $$select author_id, content ->> 'message' from public.report_evidence$$,
    $$values (pg_temp.id(2), 'Thank you!')$$, 'its sender is the author'
);
select private.erase_tip_jar(pg_temp.id(9));
select is(pg_temp.jar(9), null, 'a jar with nothing in it goes with the account');
update public.wallets set balance_available_cents = 0, balance_pending_cents = 0, debt_cents = 0;
select pg_temp.be(pg_temp.id(2));
select public.delete_my_account();
reset role;
select private.advance_account(pg_temp.id(2));
select is_empty('select from public.tips where message is not null', 'an account that ends takes its words along');
select is_empty($$select from public.order_items where details ? 'message'$$, 'from the lines as well');
select is((select count(*) from public.tips where sender_id = pg_temp.id(2)), 3::bigint, 'the books keep the tip');

select * from finish();
rollback;
