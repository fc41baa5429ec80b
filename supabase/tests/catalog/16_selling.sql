-- What selling asks of a kind: the hooks, what they do where a kind says nothing of its own, and on which terms it sells.
begin;
\ir ../helpers.psql

select plan(44);
select pg_temp.people();

-- the contract
select set_eq(
    $$select hook, parameters, returns, refusal from private.hooks where not as_caller and hook not in
    ('evidence', 'place', 'lock', 'hide')$$,
    $$values
    ('check_option', 'options public.catalog_options[]', 'void', 'option_not_available'),
    ('check_line', 'lines private.wanted_line[]', 'setof private.line_facts', 'item_not_available'),
    ('hold', 'earlier uuid[]', 'void', 'item_not_available'), ('release', '', 'void', 'item_not_available'),
    ('units', '', 'setof private.granted_unit', 'item_not_available'),
    ('payees', '', 'setof private.line_payee', 'item_not_available'),
    ('lock_own', '', 'void', 'item_not_available'),
    ('grant', '', 'void', 'item_not_available'), ('revoke', 'reason text', 'void', 'item_not_available'),
    ('take', 'taker uuid', 'void', 'item_not_available'), ('freed', '', 'void', 'item_not_available'),
    ('give', '', 'void', 'gift_not_possible'),
    ('rate', '', 'setof private.item_rate', 'item_not_available'), ('lacks', '', 'setof uuid', 'item_not_available'),
    ('restore', '', 'void', 'item_not_available'), ('complete', '', 'void', 'item_not_available')$$,
    'what is asked of what is sold'
);
select is_empty(
    $$select k.kind, h.hook from private.kinds as k cross join private.hooks as h
    where k.kind in ('product', 'artwork', 'tip_jar') and h.hook <> all (k.hooks)
    and h.hook not in ('lock_own', 'hold', 'release', 'take', 'freed', 'give', 'rate', 'lacks')$$,
    'each kind that is sold names all of them but those for its own rows, for what is no stock, seats, gifts and parts'
);
select is(
    array(
        with recursive needed (hook) as (
            select 'check_line' union select u.need from needed as n inner join private.hooks as h on h.hook = n.hook
            cross join unnest(h.needs) as u (need)
        ) select n.hook from needed as n order by n.hook
    ), array['check_line', 'complete', 'grant', 'payees', 'restore', 'revoke', 'units'],
    'whoever can be ordered can be granted, paid, taken back and completed'
);

-- a kind that says nothing of its own
create table public.things (id uuid not null default gen_random_uuid(), seller_id uuid not null, is_hidden boolean,
    hidden_reason text);
create function pg_temp.add_kind(kind text, more text default '') returns void language plpgsql as $$
begin
    execute format('create view public.%s_kind as select * from public.things', kind);
    execute format(
        'insert into private.kinds (kind, relation, owner_column, hooks%s) values (%L, %L, ''seller_id'', %L%s)',
        case when more <> '' then ', proceeds, commission, earned' else '' end, kind, format('public.%s_kind', kind),
        array(select h.hook from private.hooks as h where h.hook not in ('take', 'freed')), more
    );
end
$$;
select pg_temp.add_kind('thing');
select results_eq(
    $$select is_browsable, is_repeatable, proceeds, commission, earned, free_window from private.kinds where kind = 'thing'$$,
    $$values (true, false, 'seller', 'plan', 'at_payment', null::interval)$$,
    'in the shop, once, for its seller, by their plan, at once, for good'
);
select private.build_dispatch();
create temporary table t as select pg_temp.product(1, 2000) as item;
create temporary table l (no integer, line uuid);
with o as (
    insert into public.orders (user_id, subtotal_cents, total_cents) values (pg_temp.id(2), 10000, 10000) returning id
), i as (
    insert into public.order_items (
        order_id, line_no, kind, item_id, buyer_id, seller_id, title, unit_price_cents, quantity, seller_tier,
        commission_bps, is_counted
    )
    select o.id, n.no, 'thing', t.item, pg_temp.id(2), pg_temp.id(1), 'Thing', 2000, n.pieces, 'basic', 4000, n.counted
    from o, t, (values (1, 1, false), (2, 2, false), (3, 2, true)) as n (no, pieces, counted)
    returning line_no, id
)
insert into l select i.line_no, i.id from i;
select results_eq(
    $$select l.no, u.item_id = t.item, u.option_id, u.unit, u.is_extra
    from private.dispatch_units('thing', array(select line from l)) as u
    inner join l on l.line = u.order_item_id cross join t order by 1, u.unit$$,
    $$values (1, true, null::uuid, 1, false), (2, true, null, 1, false), (3, true, null, 1, false),
    (3, true, null, 2, false)$$,
    'a line grants one right, or as many as it has pieces where they are counted'
);
select results_eq(
    $$select l.no, p.payee_id, p.share_bps from private.dispatch_payees('thing', array(select line from l)) as p
    inner join l on l.line = p.order_item_id order by 1$$,
    $$select n, pg_temp.id(1), 10000 from generate_series(1, 3) as n$$, 'all of it is the seller''s'
);
select results_eq(
    $$select f.no, f.details, f.discount_cents, f.problem, f.detail
    from private.dispatch_check_line('thing', array(select item from t) || array(select item from t), array[
        row(1, (select item from t), null, 1, 2000, '{}', pg_temp.id(2), pg_temp.id(2)),
        row(2, (select item from t), null, 1, 2000, '{"color": "red"}', pg_temp.id(2), null)
    ]::private.wanted_line[]) as f order by 1$$,
    $$values (1::smallint, '{}'::jsonb, 0::bigint, null::text, null::text), (2::smallint, '{}', 0, 'line_not_valid', 'details')$$,
    'it takes no details, nothing off'
);
select is(
    pg_temp.code_of(format(
        'select private.dispatch_check_option(%L, array[gen_random_uuid()], array[jsonb_populate_record(null::'
        'public.catalog_options, %L)])', 'thing', jsonb_build_object('details', d.details)
    )), d.code, format('an option with %s: %s', d.details, coalesce(d.code, 'allowed'))
) from (values ('{}'::jsonb, null), ('{"color": "red"}', 'invalid_option')) as d (details, code);
select is(
    pg_temp.code_of($$select private.dispatch_check_option('thing', array[gen_random_uuid()], '{}')$$), null,
    'nor does it mind that some are gone'
);
select is(pg_temp.code_of(format('select private.dispatch_%s(''thing'', array[gen_random_uuid()]%s)', h, more)), null,
    h || ' does nothing')
from (values ('grant', ''), ('revoke', ', ''refunded'''), ('restore', ''), ('complete', '')) as c (h, more);
select is(pg_temp.code_of(format('select private.dispatch_%s(%L, array[gen_random_uuid()]%s)', h, kind, more)), code,
    format('%s of %s: %s', h, coalesce(kind, 'nothing'), code))
from (values ('check_option', ', ''{}''', 'option_not_available'), ('check_line', ', ''{}''', 'item_not_available'),
    ('units', '', 'item_not_available'), ('payees', '', 'item_not_available'), ('grant', '', 'item_not_available'),
    ('revoke', ', ''x''', 'item_not_available'), ('restore', '', 'item_not_available'),
    ('complete', '', 'item_not_available')) as c (h, more, code),
    unnest(array['post', null]) as k (kind);
select is(
    pg_temp.code_as(pg_temp.id(w), format('select private.dispatch_%s(''product'', ''{}''%s)', h, more)), '42501',
    format('%s does not call %s', w, h)
)
from unnest(array[1, 4]) as w,
    (values ('units', ''), ('grant', ''), ('revoke', ', ''x''')) as c (h, more);

-- terms
select is(pg_temp.code_of($$update private.kinds set proceeds = 'friend' where kind = 'thing'$$), '23514', 'who earns');
select is(pg_temp.code_of($$update private.kinds set commission = 'half' where kind = 'thing'$$), '23514', 'by which rate');
select is(pg_temp.code_of($$update private.kinds set earned = 'never' where kind = 'thing'$$), '23514', 'and when');
select pg_temp.add_kind('present', ', ''seller'', ''none'', ''at_payment''');
select pg_temp.add_kind('pack', ', ''platform'', ''plan'', ''at_payment''');
update public.subscriptions set plan_key = 'creator_standard' where user_id = pg_temp.id(1);
select results_eq(
    format('select tier, commission_bps from private.sale_terms(%L, pg_temp.id(%s))', kind, seller),
    format('values (%L, %s)', tier, bps), format('%s of %s: %s basis points', kind, seller, bps)
)
from (values ('thing', 1, 'standard', 3000), ('thing', 2, 'basic', 4000), ('present', 1, 'standard', 0),
    ('pack', 1, 'standard', 10000)) as c (kind, seller, tier, bps);
select is(
    (select commission_bps from private.sale_terms('nothing', pg_temp.id(1))), null, 'what is no kind has no terms'
);

select * from finish();
rollback;
