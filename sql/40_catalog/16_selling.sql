-- What selling asks of a kind. Checkout, settlement and refunds know orders, lines, holds and grants; what was sold and
-- what becomes of it they ask by these hooks, always about many of one kind at once, so that one event and a batch are
-- the same code. A kind that is sold names all of them.

create type public.license_type as enum ('personal', 'commercial', 'exclusive', 'custom');
comment on type public.license_type is 'What buyers may do with it; custom is said in license_text.';

create type private.wanted_line as (
    no smallint,
    item_id uuid,
    option_id uuid,
    quantity integer,
    unit_price_cents bigint,
    details jsonb,
    buyer_id uuid,
    owner_id uuid
);
comment on type private.wanted_line is
'A line somebody wants to order, as its kind is asked about it: at the price a piece costs this buyer, cents; details '
'are what the buyer sent for it, an object. owner_id: who will own it; of a gift not the buyer, null: whoever claims '
'it.';

create type private.line_facts as (
    no smallint,
    description text,
    license_type public.license_type,
    license_text text,
    license_version integer,
    details jsonb,
    discount_cents bigint,
    problem text,
    detail text,
    surcharge_cents bigint,
    is_booked boolean
);
comment on type private.line_facts is
'What a kind says about a wanted line: what to keep of the item as it is now, what the line costs less (cents), or why '
'it cannot be ordered (an error code and its detail). surcharge_cents: what each piece costs on top of its price, by '
'what the buyer sent for it. is_booked: it needs the hook hold.';

create type private.granted_unit as (
    order_item_id uuid,
    item_id uuid,
    option_id uuid,
    unit integer,
    is_extra boolean
);
comment on type private.granted_unit is
'One right that a line grants. is_extra: on top of what was bought, such as a track of an album: it has no stock, and '
'it does not matter that the buyer has it already.';

create type private.item_rate as (
    id uuid,
    commission_bps integer
);
comment on type private.item_rate is 'The commission, basis points, of a sale of an item now.';

create type private.line_payee as (
    order_item_id uuid,
    payee_id uuid,
    share_bps integer
);
comment on type private.line_payee is
'Somebody who earns a line, each named once, with their share in basis points; the shares of a line add up to 10000.';

insert into private.hooks (hook, parameters, returns, otherwise, needs, refusal, meaning) values
('check_option', 'options public.catalog_options[]', 'void',
    'if (select bool_or(o.details <> ''{}'') from unnest(options) as o) then '
    'perform private.fail(''invalid_option'', ''details''); end if',
    '{}', 'option_not_available',
    'These options of these items are new or changed, or (none of them) some are gone: fails when they are not as the '
    'kind wants them.'),
('check_line', 'lines private.wanted_line[]', 'setof private.line_facts',
    'select l.no, null::text, null::public.license_type, null::text, null::integer, ''{}''::jsonb, 0::bigint, '
    'case when l.details <> ''{}'' then ''line_not_valid'' end, case when l.details <> ''{}'' then ''details'' end, '
    '0::bigint, false '
    'from unnest(lines) as l',
    '{units,payees}', 'item_not_available',
    'Checkout: what a line of each of these items is and costs less, or why not.'),
('hold', 'earlier uuid[]', 'void', 'null', '{release}', 'item_not_available',
    'Checkout, and money that came late: takes what each of these order lines needs beside a stock, such as an hour of '
    'people''s time, or fails with a PT409. What the earlier lines of the same buyer have goes over to these. For '
    'lines of which check_line says is_booked; what they have they keep when they are paid.'),
('release', '', 'void', 'null', '{check_line}', 'item_not_available',
    'These order lines were given up unpaid: what hold took for them is free again. What was paid for is the hook '
    'revoke''s.'),
('units', '', 'setof private.granted_unit',
    'select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i '
    'cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) '
    'where i.id = any (ids)',
    '{grant}', 'item_not_available', 'Settlement: the rights that each of these order lines grants.'),
('payees', '', 'setof private.line_payee',
    'select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids)',
    '{grant}', 'item_not_available', 'Settlement: who earns each of these order lines.'),
('lock_own', '', 'void',
    'perform from {relation} as t where t.id = any (ids) order by t.id for no key update',
    '{grant}', 'item_not_available',
    'Before these items are sold or come back: locks their own rows, which come before their registry rows. For kinds '
    'whose own rows change by it only.'),
('take', 'taker uuid', 'void', null, '{freed}', 'item_not_available',
    'Before an order takes one of these items'' seats, whose registry rows are locked: fails when its buyer may not '
    'have one.'),
('freed', '', 'void', null, '{grant}', 'item_not_available',
    'Orders gave up seats of these items: who waits for one may have it.'),
('rate', '', 'setof private.item_rate', 'select null::uuid, null::integer where false', '{payees}',
    'item_not_available',
    'Checkout: the commission of each of these items, whose payees have plans of their own. Of one of which nothing is '
    'said it is that of the seller''s plan.'),
('lacks', '', 'setof uuid', 'select null::uuid where false', '{units}', 'item_not_available',
    'Settlement: which of these order lines cannot be granted any more as they were ordered; for what shared code does '
    'not see by their own item. Their money goes back.'),
('grant', '', 'void', 'null', '{revoke}', 'item_not_available',
    'Settlement: these purchases were just granted.'),
('revoke', 'reason text', 'void', 'null', '{restore}', 'item_not_available',
    'These purchases were just revoked; with the reason returned: what was sent for them is back.'),
('restore', '', 'void', 'null', '{complete}', 'item_not_available',
    'These revoked purchases were just granted again, because a refund failed.'),
('give', '', 'void', 'null', '{check_line}', 'gift_not_possible',
    'A kind that has it can be given: these purchases, which were nobody''s, were just claimed by their owner.'),
('complete', '', 'void', 'null', '{check_line}', 'item_not_available',
    'These order lines were just completed: what was promised is done.');

insert into private.error_codes (code, sqlstate, message, description) values
('line_not_valid', 'PT400', 'This cannot be ordered like that.',
'The detail names what was sent for the item and is not known or not allowed.');

create function private.sale_terms(
    kind text, seller_id uuid, item_id uuid default null, out tier text, out commission_bps integer
)
language plpgsql
stable
set search_path = ''
as $$
declare
    sold private.kinds;
    plan public.plans;
begin
    select * into sold from private.kinds as k where k.kind = sale_terms.kind;
    if sold.kind is not null then
        plan := private.seller_plan(sale_terms.seller_id);
        tier := plan.tier;
        commission_bps := case
            when sold.proceeds = 'platform' or private.is_platform(sale_terms.seller_id) then 10000
            when sold.commission = 'none' then 0
            when 'rate' = any (sold.hooks) then coalesce((
                select r.commission_bps from private.dispatch_rate(sold.kind, array[sale_terms.item_id]) as r
            ), plan.commission_bps)
            else plan.commission_bps
        end;
    end if;
end
$$;
comment on function private.sale_terms(text, uuid, uuid) is
'The seller''s plan and the commission (basis points) of a sale of this kind, and this item, now: all of it for what '
'the platform sells.';
