-- How often coupons are used: one row for each order and coupon, held with the order, redeemed when it is delivered,
-- released when it ends or all of it went back. Limits are counts of these rows in the coupon's turn, which only
-- a checkout takes that wants one more use. Whatever else becomes of a use changes its row and no count, so that
-- a release waits for nobody: at worst a checkout of the same instant still finds the coupon used up.

create type public.coupon_use_status as enum ('held', 'redeemed', 'released');
comment on type public.coupon_use_status is
'held: with an order that is not paid. released: its order ended, or all of it went back.';

create table private.coupon_uses (
    order_id uuid not null,
    coupon_id uuid not null,
    user_id uuid not null,
    promoted_cents bigint not null default 0,
    status public.coupon_use_status not null default 'held',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint coupon_uses_pkey primary key (order_id, coupon_id),
    constraint coupon_uses_order_id_fkey foreign key (order_id) references public.orders (id),
    constraint coupon_uses_coupon_id_fkey foreign key (coupon_id) references public.coupons (id),
    constraint coupon_uses_user_id_fkey foreign key (user_id) references public.profiles (id)
)
with (fillfactor = 80);

create index coupon_uses_counted_idx on private.coupon_uses (coupon_id, user_id) where status <> 'released';
create index coupon_uses_coupon_id_idx on private.coupon_uses (coupon_id);
create index coupon_uses_user_id_idx on private.coupon_uses (user_id);

comment on constraint coupon_uses_coupon_id_fkey on private.coupon_uses is
'coupon_used: This coupon was used and cannot be removed; end it (is_active).';
comment on table private.coupon_uses is
'Uses of coupons: one for each order, whatever its lines. Its owner learns how many there are by uses_count().';
comment on column private.coupon_uses.user_id is 'The order''s buyer, repeated to count by.';
comment on column private.coupon_uses.promoted_cents is
'What the platform gives by it, cents; 0 for sellers'' coupons.';
comment on column private.coupon_uses.status is 'State; held and redeemed ones count.';

create trigger touch_updated_at before update on private.coupon_uses
for each row execute function private.touch_updated_at();
alter table private.coupon_uses enable row level security;

create function private.is_coupon_used(coupon_id uuid) returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (select from private.coupon_uses as u where u.coupon_id = is_coupon_used.coupon_id)
$$;
comment on function private.is_coupon_used(uuid) is 'Whether any order ever had it.';

create function private.coupon_limit_reached(
    coupon public.coupons, buyer uuid, wanted_cents bigint, but_held_by uuid default null
) returns text
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    uses bigint;
    cents bigint;
begin
    if coupon.usage_limit_per_customer is not null then
        select count(*) into uses from private.coupon_uses as u
        where
            u.coupon_id = coupon.id and u.user_id = buyer and u.status <> 'released'
            and not (u.status = 'held' and u.user_id is not distinct from but_held_by);
        if uses >= coupon.usage_limit_per_customer then
            return 'coupon_already_used';
        end if;
    end if;
    if num_nonnulls(coupon.usage_limit, coupon.budget_cents) > 0 then
        select count(*), coalesce(sum(u.promoted_cents), 0) into uses, cents from private.coupon_uses as u
        where
            u.coupon_id = coupon.id and u.status <> 'released'
            and not (u.status = 'held' and u.user_id is not distinct from but_held_by);
        if uses >= coupon.usage_limit or cents + wanted_cents > coupon.budget_cents then
            return 'coupon_exhausted';
        end if;
    end if;
    return null;
end
$$;
comment on function private.coupon_limit_reached(public.coupons, uuid, bigint, uuid) is
'Why a buyer cannot use a coupon once more and be given so many cents by the platform (coupon_exhausted, '
'coupon_already_used), or null. What this one holds does not count: a new order takes its place. Decides under the '
'coupon''s lock only.';

create function private.hold_coupons(new_order uuid, buyer uuid, coupons uuid[], replaced uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    coupon public.coupons;
    promoted bigint;
    problem text;
begin
    -- The buyer's earlier attempts at the same give way, and their uses with them.
    if replaced <> '{}' then
        update private.coupon_uses as u set status = 'released'
        where u.order_id = any (replaced) and u.status = 'held';
    end if;
    for coupon in
        select * from public.coupons as c where c.id = any (hold_coupons.coupons) order by c.id
    loop
        -- Only one with a limit has anything to count.
        if num_nonnulls(coupon.usage_limit, coupon.usage_limit_per_customer, coupon.budget_cents) > 0 then
            perform private.take_turn(hashtextextended('coupon:' || coupon.id, 0));
            select * into strict coupon from public.coupons as c where c.id = coupon.id;
        end if;
        select sum(i.promoted_cents) into strict promoted from public.order_items as i
        where i.order_id = new_order and i.coupon_id = coupon.id;
        problem := private.coupon_limit_reached(coupon, buyer, promoted);
        if problem is not null then
            perform private.fail(problem, coupon.code);
        end if;
        insert into private.coupon_uses (order_id, coupon_id, user_id, promoted_cents)
        values (new_order, coupon.id, buyer, promoted);
    end loop;
end
$$;
comment on function private.hold_coupons(uuid, uuid, uuid[], uuid[]) is
'Takes one use of each of these coupons for an order; what its buyer''s replaced orders held is free again. Takes '
'their turns. Errors: coupon_exhausted, coupon_already_used.';

create function private.follow_coupons(orders uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    insert into private.coupon_uses as u (order_id, coupon_id, user_id, promoted_cents, status)
    select
        o.id, i.coupon_id, o.user_id, sum(i.promoted_cents),
        (case
            when o.status = 'cancelled' then 'released'
            -- A paid line that stands keeps the use, and so does an order of which nothing was paid.
            when coalesce(bool_and(t.refunded_cents = t.amount_total_cents) filter (where t.id is not null), false)
                then 'released'
            else 'redeemed'
        end)::public.coupon_use_status
    from public.orders as o
    inner join public.order_items as i on i.order_id = o.id and i.coupon_id is not null
    left join public.transactions as t on t.order_item_id = i.id
    where o.id = any (follow_coupons.orders)
    group by o.id, i.coupon_id
    on conflict on constraint coupon_uses_pkey do update set status = excluded.status where u.status <> excluded.status;
end
$$;
comment on function private.follow_coupons(uuid[]) is
'Lets the uses of these orders'' coupons follow what became of the orders, which are not pending: redeemed when '
'delivered, released when the order ended or every paid line of the coupon was given back. Asks no limit: what was '
'promised is kept.';

create function private.count_coupon_uses(coupon_id uuid) returns bigint
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return (
        select count(*) from private.coupon_uses as u
        where u.coupon_id = count_coupon_uses.coupon_id and u.status <> 'released' and exists (
            select from public.coupons as c
            where c.id = u.coupon_id and (c.seller_id = private.member_id() or private.is_admin())
        )
    );
end
$$;
comment on function private.count_coupon_uses(uuid) is 'How often a coupon is used, for its owner and admins.';
grant execute on function private.count_coupon_uses(uuid) to authenticated;

create function public.uses_count(coupon public.coupons) returns bigint
language sql
stable
set search_path = ''
as $$
    select private.count_coupon_uses((coupon).id)
$$;
comment on function public.uses_count(public.coupons) is
'Computed field of coupons: orders that use it now, paid or not paid yet.';
grant execute on function public.uses_count(public.coupons) to authenticated;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('private.coupon_uses', 'status', null, 'held', 'checkout()'),
('private.coupon_uses', 'status', null, 'redeemed', 'a charge after a declined one'),
('private.coupon_uses', 'status', null, 'released', 'a charge after a declined one, whose goods are gone'),
('private.coupon_uses', 'status', 'held', 'redeemed', 'paid, or free'),
('private.coupon_uses', 'status', 'held', 'released', 'the order ended or was replaced'),
('private.coupon_uses', 'status', 'released', 'redeemed', 'paid late, or the refund failed'),
('private.coupon_uses', 'status', 'redeemed', 'released', 'all of it went back');
select private.build_moves('private.coupon_uses', 'status');

insert into private.personal_data (section, relation, condition, stays, reason) values
('coupon_uses', 'private.coupon_uses', 't.user_id = $1', '{user_id}', 'how often a coupon may still be used');

insert into private.error_codes (code, sqlstate, message, description) values
('coupon_used', 'PT409', 'This coupon was used and cannot be removed.', 'End it instead (is_active).');
