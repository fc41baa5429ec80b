-- A kind of goods for the tests of money, {kind} and its table replaced: whatever selling can do, as its rows say.

create table public.{kind}s (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null,
    title text not null,
    price_cents bigint not null,
    stock integer,
    is_repeatable boolean,
    is_shipped boolean not null default false,
    is_for_sale boolean not null default true,
    -- Who earns it, [[id, basis points], …]; null: its seller.
    payees jsonb,
    -- What comes with it.
    extras uuid[] not null default '{}',
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    constraint {kind}s_pkey primary key (id)
);

create function private.catalog_entry(good public.{kind}s) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        '{kind}', good.seller_id, good.title, good.id::text, null, good.price_cents, null, 'USD', null, '{}'::text[],
        good.stock, false, not good.is_hidden, good.is_for_sale, null, good.is_repeatable, good.is_shipped
    )::private.catalog_entry
$$;

create trigger sync_catalog_item after insert or update or delete on public.{kind}s
for each row execute function private.sync_catalog_item();

-- What the buyer sends: {discount_cents}.
create function private.{kind}_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language sql
stable
set search_path = ''
as $$
    select
        l.no, null::text, null::public.license_type, null::text, null::integer, l.details,
        coalesce((l.details ->> 'discount_cents')::bigint, 0), null::text, null::text, 0::bigint, false
    from unnest(lines) as l
$$;

create function private.{kind}_units(ids uuid[]) returns setof private.granted_unit
language sql
stable
set search_path = ''
as $$
    select i.id, i.item_id, i.option_id, u.unit, false
    from public.order_items as i
    cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit)
    where i.id = any (ids)
    union all
    select i.id, e.id, null, 10000, true
    from public.order_items as i
    inner join public.{kind}s as g on g.id = i.item_id
    cross join unnest(g.extras) as e (id)
    where i.id = any (ids)
$$;

create function private.{kind}_payees(ids uuid[]) returns setof private.line_payee
language sql
stable
set search_path = ''
as $$
    select i.id, coalesce((p.payee ->> 0)::uuid, i.seller_id), coalesce((p.payee ->> 1)::integer, 10000)
    from public.order_items as i
    left join public.{kind}s as g on g.id = i.item_id
    left join lateral jsonb_array_elements(g.payees) as p (payee) on true
    where i.id = any (ids)
$$;

insert into private.kinds (kind, relation, owner_column, page, proceeds, earned, free_window, hooks) values
('{kind}', 'public.{kind}s', 'seller_id', '/{kind}s/{id}', '{proceeds}', '{earned}', {free_window},
    '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete,give}');

select private.build_dispatch();
