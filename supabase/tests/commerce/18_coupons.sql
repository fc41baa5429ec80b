-- Coupons: what one is, who reads and writes it, what is refused, and how its uses move.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t as
select pg_temp.product(1, 2000) as theirs, pg_temp.product(3, 1000) as anothers;
grant select on t to public;
create function pg_temp.platform() returns uuid language sql security definer as $$
    select id from public.profiles where private.is_platform(id)
$$;
create function pg_temp.give(who integer, columns text, given text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('insert into public.coupons (%s) values (%s)', columns, given))
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.ban();

-- structure
select col_is_pk('public', 'coupons', 'id', 'a row each');
select col_is_pk('private', 'coupon_uses', array['order_id', 'coupon_id'], 'an order uses a coupon once');
select fk_ok('public', 'order_items', 'coupon_id', 'public', 'coupons', 'id');
select enum_has_labels('public', 'coupon_use_status', array['held', 'redeemed', 'released'], 'states of a use');
select ok(c.relrowsecurity, c.oid::regclass || ' is closed by default') from pg_catalog.pg_class as c
where c.oid in ('public.coupons'::regclass, 'private.coupon_uses'::regclass);

-- what can be given
select is(pg_temp.give(who, columns, given), code, says) from (values
    (1, 'code, amount_cents', '''SUMMER'', 500', null, 'an amount'),
    (1, 'code, percent_bps', '''ALL'', 10000', null, 'or all of it'),
    (1, 'code, percent_bps, amount_cents', '''X'', 100, 100', '23514', 'not both'),
    (1, 'code', '''X''', '23514', 'nor nothing'),
    (1, 'code, percent_bps', '''X'', 10001', '23514', 'nor more than all'),
    (1, 'code, percent_bps', '''X'', 0', '23514', 'nor none of it'),
    (1, 'code, amount_cents', '''X'', 0', '23514', 'an amount is something'),
    (1, 'code, amount_cents', '''X'', 100000000', '23514', 'and can be charged'),
    (1, 'code, amount_cents', ''' '', 100', 'text_not_visible', 'a code shows something'),
    (1, 'code, amount_cents', 'repeat(''x'', 51), 100', '23514', 'a code has at most 50 characters'),
    (1, 'code, amount_cents, minimum_cents', '''X'', 100, -1', '23514', 'a minimum is not negative'),
    (1, 'code, amount_cents, usage_limit', '''X'', 100, 0', '23514', 'a limit allows one'),
    (1, 'code, amount_cents, usage_limit_per_customer', '''X'', 100, 0', '23514', 'of each buyer, too'),
    (1, 'code, amount_cents, ends_at', '''X'', 100, now() - interval ''1 day''', '23514', 'it ends after it begins'),
    (1, 'code, amount_cents, budget_cents', '''X'', 100, 100', '23514', 'sellers have no budget'),
    (1, 'code, amount_cents', ''' summer'', 500', '23505', 'one with a code, however it is written'),
    (3, 'code, amount_cents', '''summer'', 500', null, 'another seller has theirs'),
    (1, 'code, amount_cents, item_ids', '''X'', 500, array(select theirs from t)', null, 'for an item of one''s own'),
    (1, 'code, amount_cents, item_ids', '''Y'', 500, array(select anothers from t)', 'invalid_coupon', 'not for another''s'),
    (1, 'code, amount_cents, item_ids', '''Y'', 500, array[null::uuid]', 'invalid_coupon', 'nor for none'),
    (1, 'code, amount_cents, option_ids', '''Y'', 500, array[gen_random_uuid()]', 'invalid_coupon', 'nor an option of nothing'),
    (1, 'code, amount_cents, kinds', '''Y'', 500, array[''product'']', null, 'for a kind'),
    (1, 'code, amount_cents, kinds', '''Z'', 500, array[''tip_jar'']', 'invalid_coupon', 'not for tips'),
    (1, 'code, amount_cents, kinds', '''Z'', 500, array[''credit_pack'']', 'invalid_coupon', 'nor for credits'),
    (1, 'code, amount_cents, kinds', '''Z'', 500, array[''nothing'']', 'invalid_coupon', 'nor for nothing'),
    (1, 'code, amount_cents, kinds', '''Z'', 500, array_fill(''product''::text, array[101])', 'invalid_coupon', 'not for too much'),
    (1, 'seller_id, code, amount_cents', 'pg_temp.id(3), ''Z'', 500', '42501', 'nobody gives for another'),
    (1, 'seller_id, code, amount_cents', 'pg_temp.platform(), ''Z'', 500', '42501', 'nor for the platform'),
    (4, 'seller_id, code, amount_cents', 'pg_temp.id(3), ''Z'', 500', '42501', 'not even admins'),
    (4, 'seller_id, code, amount_cents, budget_cents', 'pg_temp.platform(), ''OURS'', 500, 10000', null, 'who give the platform''s'),
    (4, 'seller_id, code, percent_bps', 'pg_temp.platform(), ''FREE'', 10000', '23514', 'which leave something to pay'),
    (5, 'code, amount_cents', '''Z'', 500', '42501', 'who is banned gives none')
) as x (who, columns, given, code, says);
select is(pg_temp.code_as(null, 'insert into public.coupons (code, amount_cents) values (''X'', 1)', 'anon'), '42501', 'nor visitors');
select results_eq(
    $$select action, target_type, details ->> 'code' from public.audit_log where action = 'write_coupon'$$,
    $$values ('write_coupon', 'coupon', 'OURS')$$, 'the platform''s are audited'
);

-- who reads and changes it
create function pg_temp.seen(who integer) returns bigint language plpgsql as $$
declare
    found bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    select count(*) into found from public.coupons;
    perform set_config('role', 'none', true);
    return found;
end
$$;
select is(pg_temp.seen(who), coupons, says) from (values
    (1, 4::bigint, 'a seller reads their own'), (2, 0, 'buyers read none'), (3, 1, 'nor others''s'), (4, 6, 'admins all')
) as x (who, coupons, says);
select is(pg_temp.code_as(null, 'select from public.coupons', 'anon'), '42501', 'visitors none');
create function pg_temp.changed(who integer, change text) returns bigint language plpgsql as $$
declare
    found bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute format('with c as (%s returning 1) select count(*) from c', change) into found;
    perform set_config('role', 'none', true);
    return found;
end
$$;
select is(pg_temp.changed(who, $$update public.coupons set minimum_cents = 1 where code = 'summer' or code = 'OURS'$$), n, says)
from (values
    (3, 1::bigint, 'a seller changes their own'), (2, 0, 'nobody else does'), (4, 1, 'admins the platform''s only')
) as x (who, n, says);
select is(pg_temp.code_as(pg_temp.id(1), change), '42501', change) from unnest(array[
    'update public.coupons set seller_id = pg_temp.id(3)', 'select from private.coupon_uses'
]) as change;
select is(
    pg_temp.code_as(pg_temp.id(1), $$update public.coupons set item_ids = array(select anothers from t) where code = 'X'$$),
    'invalid_coupon', 'what is changed is checked again'
);

-- priced, held, and paid
create function pg_temp.shop(who integer, call text, codes text) returns jsonb language plpgsql as $$
declare
    answer jsonb;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute format(
        'select public.%s(%L::jsonb, coupon_codes => %L)', call,
        jsonb_build_array(jsonb_build_object('item_id', (select theirs from t))), codes
    ) into answer;
    perform set_config('role', 'none', true);
    return answer;
end
$$;
create function pg_temp.refusal(who integer, codes text) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.checkout(%L::jsonb, coupon_codes => %L)',
        jsonb_build_array(jsonb_build_object('item_id', (select theirs from t))), codes
    ))
$$;
select is(pg_temp.refusal(2, codes), code, says) from (values
    ('{nothing}', 'coupon_not_found', 'a code nobody has'), ('{SUMMER,nothing}', 'coupon_not_found', 'beside one that is known'),
    ('{NULL}', 'invalid_checkout', 'a code is a text'), ('{{a},{b}}', 'invalid_checkout', 'codes are a list'),
    ('{1,2,3,4,5,6,7,8,9,10,11}', 'invalid_checkout', 'of ten')
) as x (codes, code, says);
select is(
    pg_temp.code_as(null, $$select public.preview_checkout()$$, 'anon'), '42501', 'visitors have no cart to price'
);
select is(pg_temp.code_as(pg_temp.id(2), 'select public.preview_checkout()'), 'empty_checkout', 'an empty cart has no price');
select is(
    pg_temp.shop(2, 'preview_checkout', '{summer}') #- '{lines,0,item_id}',
    jsonb_build_object(
        'lines', jsonb_build_array(jsonb_build_object(
            'option_id', null, 'title', 'Product', 'quantity', 1, 'unit_price_cents', 2000, 'discount_cents', 500,
            'total_cents', 1500, 'shipping_cents', 0, 'problem', null, 'detail', null, 'owned', '[]'::jsonb
        )),
        'coupons', jsonb_build_array(jsonb_build_object(
            'code', 'summer', 'discount_cents', 500, 'problem', null, 'detail', null
        )),
        'subtotal_cents', 2000, 'discount_cents', 500, 'shipping_cents', 0, 'total_cents', 1500, 'currency', 'USD'
    ), 'the price before it is asked for'
);
select is_empty('select from private.coupon_uses', 'holds nothing');
create temporary table o as select pg_temp.shop(2, 'checkout', '{Summer}') as answer;
select is((select (answer ->> 'total_cents')::integer from o), 1500, 'is what is charged');
select results_eq(
    'select user_id, promoted_cents, status::text from private.coupon_uses',
    $$values (pg_temp.id(2), 0::bigint, 'held')$$, 'and holds one use'
);
select is(pg_temp.code_as(pg_temp.id(1), 'delete from public.coupons where code = ''SUMMER'''), 'coupon_used', 'a used one stays');
select is(pg_temp.changed(1, 'delete from public.coupons where code = ''X'''), 1::bigint, 'another goes');
create function pg_temp.uses(who integer, code text) returns bigint language plpgsql as $$
declare
    found bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    select c.uses_count into found from public.coupons as c where c.code = uses.code;
    perform set_config('role', 'none', true);
    return found;
end
$$;
select is(pg_temp.uses(who, 'SUMMER'), n, says) from (values
    (1, 1::bigint, 'its seller sees how often it is used'), (4, 1, 'and admins'), (2, null, 'nobody else')
) as x (who, n, says);
select is(private.count_coupon_uses((select id from public.coupons where code = 'SUMMER')), 0::bigint, 'nor by another way');

-- every move of a use
create function pg_temp.use_to(before text, after text) returns text language plpgsql as $$
declare
    code text;
begin
    begin
        create temporary table u on commit drop as select * from private.coupon_uses;
        delete from private.coupon_uses;
        insert into private.coupon_uses (order_id, coupon_id, user_id, status)
        select u.order_id, u.coupon_id, u.user_id, before::public.coupon_use_status from u;
        code := pg_temp.code_of(format('update private.coupon_uses set status = %L', after));
        raise exception using errcode = 'XX001', message = coalesce(code, 'allowed');
    exception when sqlstate 'XX001' then
        return sqlerrm;
    end;
end
$$;
select is(
    pg_temp.use_to(b.s, a.s),
    case when exists (
        select from private.state_moves as m
        where m.relation = 'private.coupon_uses' and m.from_state = b.s and m.to_state = a.s
    ) then 'allowed' else 'move_not_allowed' end, format('%s to %s', b.s, a.s)
)
from unnest(array['held', 'redeemed', 'released']) as b (s)
cross join unnest(array['held', 'redeemed', 'released']) as a (s)
where a.s <> b.s;

-- paid and given back
select pg_temp.start((select (answer ->> 'payment_id')::uuid from o));
select pg_temp.event('payment_intent.succeeded', pg_temp.intent((select (answer ->> 'payment_id')::uuid from o)));
select is((select status::text from private.coupon_uses), 'redeemed', 'paid: redeemed');
select pg_temp.be(pg_temp.id(1));
select lives_ok($$select public.refund_order_item((select id from public.order_items), null, 'sorry')$$, 'given back');
reset role;
select private.record_refund(r.id, 're_1', 'succeeded') from public.refunds as r;
select is((select status::text from private.coupon_uses), 'released', 'all of it: released');
select private.record_refund(r.id, 're_1', 'failed') from public.refunds as r;
select is((select status::text from private.coupon_uses), 'redeemed', 'the refund failed: redeemed');

-- handed out and erased with its seller
select pg_temp.be(pg_temp.id(3));
select is(jsonb_array_length(public.export_my_data() -> 'coupons'), 1, 'a seller takes their coupons along');
reset role;
select is_empty('select * from ledger.audit()', 'the books are right');

select * from finish();
rollback;
