-- What a line brings beside its own item, and who earns it: for kinds of which one line grants several. Written with
-- the line by the kind's page, a snapshot like the line, so that settlement grants what was ordered and shares what was
-- agreed, whatever changed since. The references keep what was ordered from being deleted.

create table private.line_parts (
    order_item_id uuid not null,
    item_id uuid not null,
    option_id uuid,
    license_type public.license_type,
    constraint line_parts_pkey primary key (order_item_id, item_id),
    constraint line_parts_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint line_parts_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint line_parts_option_id_fkey foreign key (option_id, item_id)
    references public.catalog_options (id, item_id)
);
create index line_parts_item_id_idx on private.line_parts (item_id);
create index line_parts_option_id_idx on private.line_parts (option_id, item_id) where option_id is not null;

-- What a seller that removes one is told, see error_catalog().
comment on constraint line_parts_item_id_fkey on private.line_parts is
'item_has_orders: This item was ordered as a part of another one and cannot be removed; take it off sale.';
comment on constraint line_parts_option_id_fkey on private.line_parts is
'item_has_orders: This option was ordered as a part of an item and cannot be removed; make it inactive.';

comment on table private.line_parts is
'Parts of order lines: each is granted with its line, for as long as the line''s right stands.';
comment on column private.line_parts.order_item_id is 'The line.';
comment on column private.line_parts.item_id is 'What comes with it; each item once.';
comment on column private.line_parts.option_id is 'In which option.';
comment on column private.line_parts.license_type is 'With which licence; its words are in the line''s details.';
alter table private.line_parts enable row level security;

create table private.line_shares (
    order_item_id uuid not null,
    payee_id uuid not null,
    share_bps integer not null,
    constraint line_shares_pkey primary key (order_item_id, payee_id),
    constraint line_shares_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint line_shares_payee_id_fkey foreign key (payee_id) references public.profiles (id),
    constraint line_shares_share_bps_check check (share_bps between 1 and 10000)
);
create index line_shares_payee_id_idx on private.line_shares (payee_id);
comment on table private.line_shares is 'Who will earn an order line, as agreed when it was ordered: 10000 together.';
comment on column private.line_shares.order_item_id is 'The line.';
comment on column private.line_shares.payee_id is 'Who.';
comment on column private.line_shares.share_bps is 'Share of the sellers'' part, basis points.';
alter table private.line_shares enable row level security;

create function private.units_with_parts(ids uuid[]) returns setof private.granted_unit
language sql
stable
set search_path = ''
as $$
    select i.id, i.item_id, i.option_id, 1, false from public.order_items as i where i.id = any (ids)
    union all
    select p.order_item_id, p.item_id, p.option_id, 1, true from private.line_parts as p
    where p.order_item_id = any (ids)
$$;
comment on function private.units_with_parts(uuid[]) is 'For hooks units: the item of each line once, and its parts.';

create function private.payees_by_shares(ids uuid[]) returns setof private.line_payee
language sql
stable
set search_path = ''
as $$
    select s.order_item_id, s.payee_id, s.share_bps from private.line_shares as s where s.order_item_id = any (ids)
$$;
comment on function private.payees_by_shares(uuid[]) is 'For hooks payees: as agreed when it was ordered.';

-- In plpgsql because entitlements come on a later page.
create function private.lines_lacking(ids uuid[]) returns setof uuid
language plpgsql
stable
set search_path = ''
as $$
begin
    return query
    select i.id
    from public.order_items as i
    cross join lateral (
        select
            bool_or(c.is_exclusively_sold) as is_gone,
            bool_and(private.owns_option(i.owner_id, p.item_id, p.option_id)) as is_owned
        from private.line_parts as p
        inner join public.catalog_items as c on c.id = p.item_id
        where p.order_item_id = i.id
    ) as p
    where i.id = any (ids) and (p.is_gone or p.is_owned);
end
$$;
comment on function private.lines_lacking(uuid[]) is
'For hooks lacks: lines of which a part was sold exclusively since, or whose owner has all parts by now. What their '
'sellers did to them otherwise does not matter: the buyer was promised them.';

insert into private.personal_data (section, relation, condition, stays, reason) values
('line_parts', 'private.line_parts', null, '{}', 'ids of items; the line says what they are'),
('line_shares', 'private.line_shares', 't.payee_id = $1', '{payee_id}', 'the books: who earns what');
