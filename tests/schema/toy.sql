-- Two kinds made up for test_kinds.py: toys are sold, tales are told about them and are not. Everything a new kind of
-- thing needs is on this one page; what is liked, counted, tagged, told of and kept has one call for each shape.
--
-- Toys are made to order, so that selling one shows all that selling can do: some are few, they come in colors, again
-- and again, with another toy as a bonus, for less with a voucher, for two who share; they are earned when they are
-- made, and until then their buyer may step back.

create table public.toys (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    price_cents bigint not null,
    stock integer,
    bonus_toy_id uuid,
    helper_id uuid,
    is_published boolean not null default false,
    is_hidden boolean not null default false,
    hidden_reason text,
    likes_count integer not null default 0,
    tales_count integer not null default 0,
    created_at timestamptz not null default now(),
    constraint toys_pkey primary key (id),
    constraint toys_slug_key unique (slug),
    constraint toys_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint toys_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint toys_bonus_toy_id_fkey foreign key (bonus_toy_id) references public.toys (id),
    constraint toys_helper_id_fkey foreign key (helper_id) references public.profiles (id),
    constraint toys_title_check check (char_length(title) between 1 and 255),
    constraint toys_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint toys_price_cents_check check (private.is_price(price_cents))
);
create index toys_seller_id_idx on public.toys (seller_id);
create index toys_bonus_toy_id_idx on public.toys (bonus_toy_id) where bonus_toy_id is not null;
create index toys_helper_id_idx on public.toys (helper_id) where helper_id is not null;
alter table public.toys alter column title set statistics 0;
alter table public.toys alter column slug set statistics 0;
alter table public.toys alter column hidden_reason set statistics 0;

comment on constraint toys_title_check on public.toys is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint toys_price_cents_check on public.toys is 'invalid_price: A price is 0 or from 50 to 99999999 cents.';
comment on constraint toys_slug_key on public.toys is 'slug_taken: Another toy just took this address; try again.';
comment on table public.toys is 'Toys.';
comment on column public.toys.title is 'Title.';
comment on column public.toys.slug is 'Address part, made from the title.';
comment on column public.toys.price_cents is 'Price, cents.';
comment on column public.toys.stock is 'How many can be made; null: as many as are wanted.';
comment on column public.toys.bonus_toy_id is 'What comes with it.';
comment on column public.toys.helper_id is 'Who helps to make it, for a third of what it earns.';
comment on column public.toys.is_published is 'Whether it is in the shop.';
comment on column public.toys.is_hidden is 'Taken down by an admin.';
comment on column public.toys.hidden_reason is 'Why, told to the seller.';
comment on column public.toys.tales_count is 'Tales about it that others than their authors read.';

create function private.catalog_entry(toy public.toys) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'toy', toy.seller_id, toy.title, toy.slug, null, toy.price_cents, null, 'USD', 'toys', '{}'::text [], toy.stock,
        false, toy.is_published and not toy.is_hidden, true, null, null, false
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.toys) is 'A toy''s registry row.';

create function private.check_toy() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    new.slug := private.free_slug(new.slug, new.title, 'public.toys', new.id);
    return new;
end
$$;
comment on function private.check_toy() is 'Trigger: gives a toy its address.';

create trigger _tidy_texts before insert or update of title on public.toys
for each row execute function private.tidy_texts('title line required');
create trigger check_toy before insert on public.toys
for each row execute function private.check_toy();
create trigger refuse_ordered_item before delete on public.toys
for each row execute function private.refuse_ordered_item();
create trigger sync_catalog_item after insert or update or delete on public.toys
for each row execute function private.sync_catalog_item();

alter table public.toys enable row level security;
grant select on public.toys to anon, authenticated, service_role;
grant insert (title, price_cents, is_published), update (title, price_cents, is_published) on public.toys
to authenticated;
create policy toys_select_anon on public.toys for select to anon
using ((select c.id from public.catalog_items as c where c.id = toys.id) is not null);
create policy toys_select on public.toys for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = toys.id) is not null
);
create policy toys_insert on public.toys for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy toys_update on public.toys for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));

-- What became of each toy that was bought.
create type public.toy_order_state as enum ('made_to_order', 'made', 'given_up');
comment on type public.toy_order_state is 'given_up: nobody wants it any more.';

create table public.toy_orders (
    purchase_id uuid not null,
    state public.toy_order_state not null default 'made_to_order',
    constraint toy_orders_pkey primary key (purchase_id),
    constraint toy_orders_purchase_id_fkey foreign key (purchase_id) references public.purchases (id)
);
comment on table public.toy_orders is 'What became of each toy that was bought: for whoever sees the purchase.';
comment on column public.toy_orders.state is 'State.';
alter table public.toy_orders enable row level security;
grant select on public.toy_orders to authenticated;
create policy toy_orders_select on public.toy_orders for select to authenticated
using ((select p.id from public.purchases as p where p.id = purchase_id) is not null);

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.toy_orders', 'state', null, 'made_to_order', 'paid'),
('public.toy_orders', 'state', 'made_to_order', 'made', 'complete_lines()'),
('public.toy_orders', 'state', 'made_to_order', 'given_up', 'refunded'),
('public.toy_orders', 'state', 'made', 'given_up', 'refunded'),
('public.toy_orders', 'state', 'given_up', 'made_to_order', 'the refund failed');
select private.build_moves('public.toy_orders', 'state');

create function private.toy_check_option(ids uuid[], options public.catalog_options[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_keys(o.details, '{color}', 'invalid_option') from unnest(options) as o;
end
$$;
comment on function private.toy_check_option(uuid[], public.catalog_options[]) is 'Hook check_option: {color}.';

create function private.toy_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
stable
set search_path = ''
as $$
begin
    perform private.require_keys(l.details, '{name,voucher}', 'line_not_valid') from unnest(lines) as l;
    return query
    select
        l.no, null::text, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object('name', l.details -> 'name', 'color', o.details -> 'color')),
        case when l.details ->> 'voucher' = 'TENTH' then l.unit_price_cents * l.quantity / 10 else 0 end,
        case when l.details ->> 'voucher' <> 'TENTH' then 'line_not_valid' end, 'voucher', 0::bigint, false
    from unnest(lines) as l
    left join public.catalog_options as o on o.id = l.option_id;
end
$$;
comment on function private.toy_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: {name, voucher}: whose name is on it; the voucher takes a tenth off.';

create function private.toy_units(ids uuid[]) returns setof private.granted_unit
language plpgsql
stable
set search_path = ''
as $$
begin
    return query
    select i.id, i.item_id, i.option_id, u.unit, false
    from public.order_items as i
    cross join generate_series(1, i.quantity) as u (unit)
    where i.id = any (ids)
    union all
    select i.id, t.bonus_toy_id, null, i.quantity + 1, true
    from public.order_items as i
    inner join public.toys as t on t.id = i.item_id and t.bonus_toy_id is not null
    where i.id = any (ids);
end
$$;
comment on function private.toy_units(uuid[]) is 'Hook units: each piece, and the bonus.';

create function private.toy_payees(ids uuid[]) returns setof private.line_payee
language plpgsql
stable
set search_path = ''
as $$
begin
    return query
    select i.id, i.seller_id, case when t.helper_id is null then 10000 else 6667 end
    from public.order_items as i
    left join public.toys as t on t.id = i.item_id
    where i.id = any (ids)
    union all
    select i.id, t.helper_id, 3333
    from public.order_items as i
    inner join public.toys as t on t.id = i.item_id and t.helper_id is not null
    where i.id = any (ids);
end
$$;
comment on function private.toy_payees(uuid[]) is 'Hook payees: the seller, and a third for who helps.';

-- An auction's award: the price was agreed on, and the piece is held for whoever won it until they have paid, however
-- often they try. What holds is a column more of private.holds.
create table private.toy_awards (
    id uuid not null default gen_random_uuid(),
    toy_id uuid not null,
    constraint toy_awards_pkey primary key (id),
    constraint toy_awards_toy_id_fkey foreign key (toy_id) references public.toys (id)
);
create index toy_awards_toy_id_idx on private.toy_awards (toy_id);
comment on table private.toy_awards is 'Toys that somebody won; public.payables says who and for how much.';
comment on column private.toy_awards.toy_id is 'What was won.';
alter table private.toy_awards enable row level security;
alter table private.holds
add column toy_award_id uuid,
add constraint holds_toy_award_id_fkey foreign key (toy_award_id) references private.toy_awards (id),
drop constraint holds_holder_check,
add constraint holds_holder_check check (num_nonnulls(order_id, toy_award_id) = 1);
comment on column private.holds.toy_award_id is 'The award that holds it.';
create unique index holds_toy_award_id_key on private.holds (toy_award_id) where toy_award_id is not null;

create function private.toy_grant(ids uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    insert into public.toy_orders (purchase_id) select i.id from unnest(ids) as i (id);
    delete from private.holds as h
    using public.purchases as p
    inner join public.order_items as i on i.id = p.order_item_id
    inner join public.payables as a on a.id = i.payable_id
    where p.id = any (ids) and h.toy_award_id = a.subject_id
$$;
comment on function private.toy_grant(uuid[]) is 'Hook grant: it can be made; what an award held is had now.';

create function private.toy_revoke(ids uuid[], reason text) returns void
language sql
security definer
set search_path = ''
as $$
    update public.toy_orders set state = 'given_up' where purchase_id = any (ids)
$$;
comment on function private.toy_revoke(uuid[], text) is 'Hook revoke.';

create function private.toy_restore(ids uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    update public.toy_orders set state = 'made_to_order' where purchase_id = any (ids)
$$;
comment on function private.toy_restore(uuid[]) is 'Hook restore.';

create function private.toy_complete(ids uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    update public.toy_orders as o set state = 'made'
    from public.purchases as p
    where p.order_item_id = any (ids) and o.purchase_id = p.id and o.state = 'made_to_order'
$$;
comment on function private.toy_complete(uuid[]) is 'Hook complete.';

-- Sold at the fair, where nobody knows who is just paying for it here.
create function private.sell_toy_elsewhere(toy uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.toys as t set is_published = false where t.id = toy;
    perform private.end_holds(toy);
end
$$;
comment on function private.sell_toy_elsewhere(uuid) is 'It is gone, whoever holds it.';

create function private.award_toy(toy uuid, buyer uuid, cents bigint) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    award uuid;
    problem text;
begin
    insert into private.toy_awards (toy_id) values (toy) returning id into award;
    problem := private.take_stock(toy, null, 1);
    if problem is not null then
        perform private.fail(problem, toy::text);
    end if;
    insert into private.holds (item_id, quantity, is_single, toy_award_id)
    select c.id, 1, c.is_unique, award from public.catalog_items as c where c.id = toy;
    return private.add_payable(jsonb_populate_record(null::public.payables, jsonb_build_object(
        'kind', 'toy', 'subject_id', award, 'buyer_id', buyer, 'seller_id', t.seller_id, 'title', t.title,
        'item_id', t.id, 'amount_cents', cents
    ))) from public.toys as t where t.id = toy;
end
$$;
comment on function private.award_toy(uuid, uuid, bigint) is
'Somebody won a toy: the payable for it, and a hold until it is paid.';

create function private.erase_toys(seller uuid) returns void
language sql
security definer
set search_path = ''
as $$
    update public.toys set is_published = false, helper_id = null where seller_id = seller;
    delete from public.toys as t
    where
        t.seller_id = seller and not private.item_has_orders(t.id)
        and not exists (select from public.toys as o where o.bonus_toy_id = t.id and o.seller_id <> seller)
$$;
comment on function private.erase_toys(uuid) is 'Account deletion: what nobody ordered goes, the rest leaves the shop.';

insert into private.kinds (kind, relation, owner_column, page, is_repeatable, earned, free_window, hooks) values
('toy', 'public.toys', 'seller_id', '/toys/{id}', true, 'at_completion', '2 days',
    '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('toys', 'public.toys', 't.seller_id = $1', '{seller_id, helper_id, title, slug, hidden_reason}',
    'sold: its buyers keep it as they bought it');

insert into private.erasure_steps (step, phase, erases, statement) values
('toys', 'items', '{}', 'select private.erase_toys($1)');

select private.make_hold('public.toys', 'toy');
select private.make_reactions('public.toy_likes', 'toy_id', 'public.toys', 'liked');
select private.make_counter('public.toy_likes', 'toy_id', 'likes_count');
select private.make_by_me('liked', 'public.toy_likes', 'toy_id');
select private.make_tell_reactions('like', 'public.toy_likes', 'toy_id');
create trigger forget_hidden after update of is_hidden on public.toys
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('seller_id');

create table public.tales (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    toy_id uuid not null,
    content text not null,
    tags text[] not null default '{}',
    likes_count integer not null default 0,
    is_hidden boolean not null default false,
    hidden_reason text,
    author_audience public.audience not null default 'owner',
    audience public.audience not null generated always as (
        case when is_hidden then 'owner'::public.audience else author_audience end
    ) stored,
    created_at timestamptz not null default now(),
    constraint tales_pkey primary key (id),
    constraint tales_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint tales_toy_id_fkey foreign key (toy_id) references public.toys (id) on delete cascade
);
create index tales_user_id_idx on public.tales (user_id);
create index tales_toy_id_idx on public.tales (toy_id);
alter table public.tales alter column content set statistics 0;
alter table public.tales alter column tags set statistics 0;
alter table public.tales alter column hidden_reason set statistics 0;

comment on constraint tales_toy_id_fkey on public.tales is 'toy_not_found: There is no such toy.';
comment on table public.tales is 'Tales.';
comment on column public.tales.content is 'What happened.';
comment on column public.tales.tags is 'The #hashtags of the content.';
comment on column public.tales.is_hidden is 'Taken down by an admin.';
comment on column public.tales.hidden_reason is 'Why, told to the author.';
comment on column public.tales.author_audience is 'Copy of the author''s widest audience.';
comment on column public.tales.audience is 'Who may read it.';

create function private.check_tale() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    new.tags := private.hashtags(new.content);
    new.author_audience := private.lock_audience(new.user_id);
    return new;
end
$$;
comment on function private.check_tale() is 'Trigger: completes a tale.';

create trigger _tidy_texts before insert or update of content on public.tales
for each row execute function private.tidy_texts('content body required');
create trigger check_tale before insert or update of content on public.tales
for each row execute function private.check_tale();

alter table public.tales enable row level security;
grant select on public.tales to anon, authenticated, service_role;
grant insert (toy_id, content), update (content), delete on public.tales to authenticated;
create policy tales_select_anon on public.tales for select to anon using (audience = 'public');
create policy tales_select on public.tales for select to authenticated
using (audience <> 'owner' or user_id = (select private.member_id()) or (select private.is_admin()));
create policy tales_insert on public.tales for insert to authenticated
with check (user_id = (select private.member_id()));
create policy tales_update on public.tales for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy tales_delete on public.tales for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_toy(toy_id));

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('tale', 'public.tales', 'user_id', '/tales/{id}', '{can_read,evidence,place,lock,hide}');
insert into private.personal_data (section, relation, condition) values
('tales', 'public.tales', 't.user_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('tales', 'works', '{public.tales}', 'delete from public.tales where user_id = $1');

select private.make_shown_counter(
    'public.tales', '{toy_id}', 'tales_count', '{row}.audience <> ''owner''', 'author_audience'
);
select private.make_follow_author('public.tales', 'user_id', 40);
select private.make_tag_notes(
    'public.tales', 'user_id', '{row}.audience = ''public''', 'content, is_hidden, author_audience', 'author_audience'
);
select private.make_hold('public.tales', 'tale');
select private.make_reactions('public.tale_likes', 'tale_id', 'public.tales', 'liked');
select private.make_counter('public.tale_likes', 'tale_id', 'likes_count');
select private.make_by_me('liked', 'public.tale_likes', 'tale_id');
select private.make_tell_reactions('like', 'public.tale_likes', 'tale_id');
create trigger forget_hidden after update of is_hidden on public.tales
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('user_id');
create trigger forget_deleted after delete on public.tales referencing old table as gone
for each statement execute function private.forget_deleted();

select private.build_dispatch();
