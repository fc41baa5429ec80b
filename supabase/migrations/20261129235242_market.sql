-- The market: services with packages, extras and booked hours, offers and service orders; webinars with seats, a waiting
-- list and a room; reviews; coupons; gifts; licence keys and versions of files; wish lists, views, statistics by day and a
-- search over all kinds.
--
-- Nothing is lost. catalog_items is rewritten (three generated columns know seats now) and its indexes are built anew, the
-- search's among them, which takes as long as all others together: nobody reads or writes items meanwhile. Other new
-- columns have constant defaults. Constraints that know new parts are checked against all rows while their tables are
-- locked. Items without reviews had an average of 0 and have none now. Before the workers of this version start.
-- squawk-ignore-file adding-field-with-default, adding-foreign-key-constraint, adding-not-nullable-field, adding-required-field, ban-drop-column, ban-drop-constraint, ban-drop-default, ban-drop-function, ban-drop-not-null, ban-drop-policy, ban-drop-trigger, ban-drop-view, constraint-missing-not-valid, disallowed-unique-constraint, prefer-bigint-over-int, prefer-timestamp-tz, require-concurrent-index-creation, require-concurrent-index-deletion, renaming-column, changing-column-type

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/50_commerce/18_coupons.sql --------------------------------------------------------------------------------------
-- Coupons: what a seller, or the platform, takes off for whoever knows the code. Prices are cut by price_coupons(); how
-- often a coupon was used are rows, see 25_coupon_uses.

create function private.coupon_key(code text) returns text
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return normalize(lower(private.tidy_name(code)), nfkc);
end
$$;
comment on function private.coupon_key(text) is
'The one form of a code, however it was typed: NFKC, trimmed, in lower case.';
grant execute on function private.coupon_key(text) to authenticated;

create table public.coupons (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    code text not null,
    code_key text not null generated always as (private.coupon_key(code)) stored,
    percent_bps integer,
    amount_cents bigint,
    kinds text[] not null default '{}',
    item_ids uuid[] not null default '{}',
    option_ids uuid[] not null default '{}',
    minimum_cents bigint not null default 0,
    usage_limit integer,
    usage_limit_per_customer integer,
    budget_cents bigint,
    starts_at timestamptz not null default now(),
    ends_at timestamptz,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint coupons_pkey primary key (id),
    constraint coupons_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint coupons_code_check check (char_length(code) between 1 and 50),
    constraint coupons_discount_check check (
        num_nonnulls(percent_bps, amount_cents) = 1
        and (percent_bps between 1 and case when private.is_platform(seller_id) then 9999 else 10000 end) is not false
        and (amount_cents between 1 and private.highest_amount_cents()) is not false
    ),
    constraint coupons_minimum_check check (minimum_cents between 0 and private.highest_amount_cents()),
    constraint coupons_usage_limit_check check (usage_limit between 1 and 1000000),
    constraint coupons_usage_limit_per_customer_check check (usage_limit_per_customer between 1 and 1000000),
    constraint coupons_budget_check check (
        budget_cents is null or private.is_platform(seller_id) and budget_cents between 1 and 1000000000000
    ),
    constraint coupons_dates_check check (ends_at > starts_at)
);

create index coupons_seller_id_idx on public.coupons (seller_id);
-- Who ends a code can give it again.
create unique index coupons_code_key on public.coupons (seller_id, code_key) where is_active;

-- What a client that breaks these is told, see error_catalog().
comment on constraint coupons_code_check on public.coupons is 'invalid_coupon: A code has 1 to 50 characters.';
comment on constraint coupons_discount_check on public.coupons is
'invalid_coupon: Either percent_bps from 1 to 10000 or amount_cents from 1 to 99999999; the platform''s leave '
'something to pay.';
comment on constraint coupons_seller_id_fkey on public.coupons is 'user_not_found: There is no such member.';
comment on constraint coupons_minimum_check on public.coupons is
'invalid_coupon: A minimum is from 0 to 99999999 cents.';
comment on constraint coupons_usage_limit_check on public.coupons is
'invalid_coupon: A limit is from 1 to 1000000 uses.';
comment on constraint coupons_usage_limit_per_customer_check on public.coupons is
'invalid_coupon: A limit is from 1 to 1000000 uses.';
comment on constraint coupons_budget_check on public.coupons is
'invalid_coupon: Only the platform''s coupons have a budget, from 1 cent.';
comment on constraint coupons_dates_check on public.coupons is 'invalid_coupon: A coupon ends after it begins.';
comment on index public.coupons_code_key is
'already_done: You have a coupon with this code; change it, or end it first (is_active).';

comment on table public.coupons is
'What sellers take off for whoever knows a code. Read and written by the seller, and by admins, who write the '
'platform''s. A coupon that was used stays; end it by is_active.';
comment on column public.coupons.seller_id is 'Whose: the caller, or the platform''s own profile.';
comment on column public.coupons.code is 'What buyers type; letter case, width and spaces around it do not matter.';
comment on column public.coupons.code_key is
'The code as it is compared. Generated; unique among a seller''s active ones.';
comment on column public.coupons.percent_bps is 'Taken off, basis points; null: an amount.';
comment on column public.coupons.amount_cents is
'Taken off an order, cents, shared by its lines; null: a percentage.';
comment on column public.coupons.kinds is
'Kinds it is for. With item_ids and option_ids: any of them; all three empty: everything of the seller''s.';
comment on column public.coupons.item_ids is 'Items it is for, at most 100.';
comment on column public.coupons.option_ids is 'Options it is for, at most 100.';
comment on column public.coupons.minimum_cents is
'What the seller''s lines of an order cost at least before it, cents; shipping does not count.';
comment on column public.coupons.usage_limit is
'How many orders may use it; null: any number. Earlier uses count when it is set later.';
comment on column public.coupons.usage_limit_per_customer is 'How many of them of one buyer; null: any number.';
comment on column public.coupons.budget_cents is
'What the platform gives by it at most, in all, cents; null: no end. The platform''s only.';
comment on column public.coupons.starts_at is 'From when it counts; before that it does not exist for buyers.';
comment on column public.coupons.ends_at is
'Until when it counts; null: no end. Orders made before it ended keep what they were promised.';
comment on column public.coupons.is_active is 'False: ended by its owner.';

create trigger _tidy_texts before insert or update of code on public.coupons
for each row execute function private.tidy_texts('code line required');
create trigger touch_updated_at before update on public.coupons
for each row execute function private.touch_updated_at();

create function private.check_coupon() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    is_platforms boolean := private.is_platform(new.seller_id);
    wrong text;
begin
    if greatest(cardinality(new.kinds), cardinality(new.item_ids), cardinality(new.option_ids)) > 100 then
        perform private.fail('invalid_coupon', 'at most 100 of each: kinds, item_ids, option_ids');
    end if;
    select u.kind into wrong from unnest(new.kinds) as u (kind)
    where not exists (
        select from private.kinds as k
        where k.kind = u.kind and 'check_line' = any (k.hooks) and k.proceeds = 'seller' and k.commission = 'plan'
    )
    and (u.kind = any (old.kinds)) is not true
    limit 1;
    if found then
        perform private.fail('invalid_coupon', 'kinds: ' || coalesce(wrong, 'null'));
    end if;
    select u.id into wrong from unnest(new.item_ids) as u (id)
    where not exists (
        select from public.catalog_items as c where c.id = u.id and (c.seller_id = new.seller_id or is_platforms)
    )
    -- What was there may be gone since: that keeps nobody from ending the coupon.
    and (u.id = any (old.item_ids)) is not true
    limit 1;
    if found then
        perform private.fail('invalid_coupon', 'item_ids: ' || coalesce(wrong, 'null'));
    end if;
    select u.id into wrong from unnest(new.option_ids) as u (id)
    where not exists (
        select from public.catalog_options as o
        inner join public.catalog_items as c on c.id = o.item_id and (c.seller_id = new.seller_id or is_platforms)
        where o.id = u.id
    )
    and (u.id = any (old.option_ids)) is not true
    limit 1;
    if found then
        perform private.fail('invalid_coupon', 'option_ids: ' || coalesce(wrong, 'null'));
    end if;
    -- Of one seller's a checkout looks at those with the code only; this bounds what can be piled up.
    if tg_op = 'INSERT'
        and (select count(*) from public.coupons as c where c.seller_id = new.seller_id and c.is_active) >= 1000
    then
        perform private.fail('too_many_coupons');
    end if;
    if is_platforms then
        perform private.audit('write_coupon', 'coupon', new.id, to_jsonb(new) - '{created_at,updated_at}'::text[]);
    end if;
    return new;
end
$$;
comment on function private.check_coupon() is
'Trigger: a coupon is for kinds that are sold by sellers and for items and options of its own seller; the platform''s '
'are audited. Errors: invalid_coupon, too_many_coupons.';
create trigger check_coupon before insert or update on public.coupons
for each row execute function private.check_coupon();

create function private.keep_used_coupon() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.is_coupon_used(old.id) then
        perform private.fail('coupon_used', old.code);
    end if;
    return old;
end
$$;
comment on function private.keep_used_coupon() is
'Trigger: a coupon that was used is not deleted. Error: coupon_used.';
create trigger keep_used_coupon before delete on public.coupons
for each row execute function private.keep_used_coupon();

alter table public.coupons enable row level security;
grant
select, delete,
insert (
    seller_id, code, percent_bps, amount_cents, kinds, item_ids, option_ids, minimum_cents, usage_limit,
    usage_limit_per_customer, budget_cents, starts_at, ends_at, is_active
),
update (
    code, percent_bps, amount_cents, kinds, item_ids, option_ids, minimum_cents, usage_limit,
    usage_limit_per_customer, budget_cents, starts_at, ends_at, is_active
)
on public.coupons to authenticated;
grant select on public.coupons to service_role;
create policy coupons_select on public.coupons for select to authenticated
using (seller_id = (select private.member_id()) or (select private.is_admin()));
create policy coupons_insert on public.coupons for insert to authenticated
with check (
    seller_id = (select private.member_id()) or (private.is_platform(seller_id) and (select private.is_admin()))
);
create policy coupons_update on public.coupons for update to authenticated
using (seller_id = (select private.member_id()) or (private.is_platform(seller_id) and (select private.is_admin())))
with check (
    seller_id = (select private.member_id()) or (private.is_platform(seller_id) and (select private.is_admin()))
);
create policy coupons_delete on public.coupons for delete to authenticated
using (seller_id = (select private.member_id()) or (private.is_platform(seller_id) and (select private.is_admin())));

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('coupon', 'public.coupons', 'seller_id', null, '{}');

insert into private.erasure_steps (step, phase, erases, statement) values
('coupons', 'business', '{}', $step$
    with gone as (
        delete from public.coupons as c where c.seller_id = $1 and not private.is_coupon_used(c.id)
    )

    update public.coupons as c set is_active = false where c.seller_id = $1 and c.is_active
$step$);

insert into private.personal_data (section, relation, condition, stays, reason) values
('coupons', 'public.coupons', 't.seller_id = $1', '{seller_id, code, kinds}',
    'its orders stay in the books; removed where there are none');

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_coupon', 'PT400', 'This coupon is not allowed.', 'The detail names what is wrong with it.'),
('too_many_coupons', 'PT409', 'You have too many coupons.', 'At most 1,000 active ones. End some (is_active).'),
('coupon_not_found', 'PT404', 'There is no such coupon.',
'The detail is the code: nobody whose item is bought, nor the platform, has one with it that has begun and was not '
'ended.'),
('coupon_expired', 'PT409', 'This coupon has expired.', 'The detail is the code. Take it out and check out again.'),
('coupon_exhausted', 'PT409', 'This coupon is used up.',
'The detail is the code. Somebody who has it on an order that is not paid may give it back: try later, or take it '
'out.'),
('coupon_already_used', 'PT409', 'You have used this coupon as often as you may.', 'The detail is the code.'),
('coupon_not_applicable', 'PT409', 'This coupon is for other things.',
'The detail is the code: it takes nothing off any line of the order.'),
('coupon_minimum_not_reached', 'PT409', 'This coupon needs a larger order.',
'The detail is the code and the least, cents, that its seller''s lines of the order cost.'),
('coupon_price_too_low', 'PT409', 'This coupon leaves too little to pay.',
'What is left to pay of its lines is nothing or at least 50 cents; of each line of a platform''s coupon at least 50 '
'cents. The detail is the code.');

-- sql/50_commerce/25_coupon_uses.sql ----------------------------------------------------------------------------------
-- How often coupons are used: one row for each order and coupon, held with the order, redeemed when it is delivered,
-- released when it ends or all of it went back. Limits are counts of these rows under the coupon's own lock, which
-- only a checkout takes that wants one more use. Whatever else becomes of a use changes its row and no count, so that
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
        select * from public.coupons as c where c.id = any (hold_coupons.coupons) order by c.id for no key update
    loop
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
'Takes one use of each of these coupons for an order; what its buyer''s replaced orders held is free again. Locks the '
'coupons. Errors: coupon_exhausted, coupon_already_used.';

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

-- sql/60_money/47_coupon_prices.sql -----------------------------------------------------------------------------------
-- What coupons take off an order: one answer for the cart, for checkout and for what is charged.
--
-- A line has one coupon at most. Of the codes sent, one coupon a seller counts, the one that saves most; the platform's
-- counts where no seller's does, or instead of those of the lines it covers, whichever costs the buyer less. What kinds
-- of their own take off comes first; shipping is never cheaper.

create function private.sum_cents(parts bigint[]) returns bigint
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    part bigint;
    total bigint := 0;
begin
    foreach part in array parts loop
        total := total + part;
    end loop;
    return total;
end
$$;
comment on function private.sum_cents(bigint[]) is 'The sum of some cents.';

create function private.coupon_cuts(
    coupon public.coupons, lines private.order_line[], besides uuid[] default '{}'
) returns bigint[]
language plpgsql
stable
set search_path = ''
as $$
declare
    prices bigint[] := '{}';
    line private.order_line;
    total bigint := 0;
begin
    foreach line in array lines loop
        prices := prices || case
            when
                (line.seller_id = coupon.seller_id or private.is_platform(coupon.seller_id))
                and line.seller_id <> all (besides) and line.problem is null and line.payable_id is null
                and (
                    coupon.kinds = '{}' and coupon.item_ids = '{}' and coupon.option_ids = '{}'
                    or line.kind = any (coupon.kinds) or line.item_id = any (coupon.item_ids)
                    or line.option_id = any (coupon.option_ids)
                )
                -- Not off tips, nor off what the platform sells.
                and exists (
                    select from private.kinds as k
                    where k.kind = line.kind and k.proceeds = 'seller' and k.commission = 'plan'
                )
                and not private.is_platform(line.seller_id)
                then line.unit_price_cents * line.quantity - line.discount_cents
            else 0
        end;
        total := total + prices[cardinality(prices)];
    end loop;
    if total = 0 then
        return null;
    end if;
    return private.split_cents(
        least(coalesce(coupon.amount_cents, (total * coupon.percent_bps + 5000) / 10000), total), prices
    );
end
$$;
comment on function private.coupon_cuts(public.coupons, private.order_line[], uuid[]) is
'What a coupon takes off each of these lines, cents, but for those of the sellers besides; null when none is one it is '
'for. An amount, and the cents of a percentage, are shared by the lines'' prices (largest remainder).';

create function private.coupon_problem(
    coupon public.coupons, buyer uuid, lines private.order_line[], cuts bigint[],
    out problem text, out detail text
)
language plpgsql
set search_path = ''
as $$
declare
    is_platforms constant boolean := private.is_platform(coupon.seller_id);
    price bigint;
    spent bigint := 0;
    cut bigint := 0;
    kept bigint := 0;
    least_kept bigint;
begin
    detail := coupon.code;
    if coupon.ends_at <= clock_timestamp() then
        problem := 'coupon_expired';
        return;
    elsif cuts is null then
        problem := 'coupon_not_applicable';
        return;
    end if;
    for i in 1..cardinality(lines) loop
        continue when lines[i].problem is not null;
        price := lines[i].unit_price_cents * lines[i].quantity - lines[i].discount_cents;
        if is_platforms or lines[i].seller_id = coupon.seller_id then
            spent := spent + price;
        end if;
        if cuts[i] > 0 then
            cut := cut + cuts[i];
            kept := kept + price - cuts[i];
            least_kept := least(least_kept, price - cuts[i]);
        end if;
    end loop;
    if spent < coupon.minimum_cents then
        problem := 'coupon_minimum_not_reached';
        detail := format('%s: minimum is %s cents', coupon.code, coupon.minimum_cents);
    -- What the platform pays a seller is a part of a sale, and a sale has something paid.
    elsif cut = 0 then
        problem := 'coupon_not_applicable';
    elsif
        kept between 1 and private.lowest_price_cents() - 1
        or is_platforms and least_kept < private.lowest_price_cents()
    then
        problem := 'coupon_price_too_low';
    else
        problem := private.coupon_limit_reached(
            coupon, buyer, case when is_platforms then cut else 0 end, buyer
        );
    end if;
end
$$;
comment on function private.coupon_problem(public.coupons, uuid, private.order_line[], bigint[]) is
'Why a buyer cannot use a coupon that takes so much off these lines (an error code and its detail), as far as it can '
'be said before it is locked.';

create function private.price_coupons(
    buyer uuid, inout lines private.order_line[], codes text[], out coupons jsonb
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    asked record;
    coupon public.coupons;
    usable public.coupons[] := '{}';
    cuts bigint[];
    wrong record;
    answer jsonb;
    before bigint;
    is_instead boolean;
    beside uuid[];
    covered uuid[];
    none constant bigint[] := array_fill(0::bigint, array[cardinality(lines)]);
    sellers_cuts bigint[] := none;
    sellers_coupons uuid[] := array_fill(null::uuid, array[cardinality(lines)]);
    plan_cuts bigint[];
    plan_coupons uuid[];
    best_cuts bigint[];
    best_coupons uuid[];
begin
    if array_ndims(codes) > 1 or cardinality(codes) > 10
        or exists (select from unnest(codes) as c (code) where (char_length(c.code) <= 100) is not true)
    then
        perform private.fail('invalid_checkout', 'coupon_codes: at most 10 texts');
    end if;
    coupons := '[]';
    for asked in
        select private.coupon_key(u.code) as key, min(u.code) as code
        from unnest(codes) with ordinality as u (code, no)
        group by 1
        order by min(u.no)
    loop
        answer := jsonb_build_object('code', asked.code, 'problem', 'coupon_not_found', 'detail', asked.code);
        for coupon in
            select c.* from public.coupons as c
            where
                c.code_key = asked.key and c.is_active and c.starts_at <= clock_timestamp()
                and (
                    private.is_platform(c.seller_id) or c.seller_id in (select l.seller_id from unnest(lines) as l)
                )
            order by c.id
        loop
            select p.problem, p.detail into wrong
            from private.coupon_problem(coupon, buyer, lines, private.coupon_cuts(coupon, lines)) as p;
            -- Of several sellers' with one code, one that can be used is enough.
            if wrong.problem is null then
                usable := usable || coupon;
                answer := answer || '{"problem": null, "detail": null}';
            elsif answer ->> 'problem' = 'coupon_not_found' then
                answer := answer || jsonb_build_object('problem', wrong.problem, 'detail', wrong.detail);
            end if;
        end loop;
        coupons := coupons || answer;
    end loop;

    foreach coupon in array usable loop
        continue when private.is_platform(coupon.seller_id);
        cuts := private.coupon_cuts(coupon, lines);
        before := 0;
        for i in 1..cardinality(lines) loop
            if lines[i].seller_id = coupon.seller_id then
                before := before + sellers_cuts[i];
            end if;
        end loop;
        if private.sum_cents(cuts) > before then
            for i in 1..cardinality(lines) loop
                if lines[i].seller_id = coupon.seller_id then
                    sellers_cuts[i] := cuts[i];
                    sellers_coupons[i] := case when cuts[i] > 0 then coupon.id end;
                end if;
            end loop;
        end if;
    end loop;
    best_cuts := sellers_cuts;
    best_coupons := sellers_coupons;

    foreach coupon in array usable loop
        continue when not private.is_platform(coupon.seller_id);
        foreach is_instead in array array[false, true] loop
            beside := '{}';
            for i in 1..cardinality(lines) loop
                if not is_instead and sellers_cuts[i] > 0 then
                    beside := beside || lines[i].seller_id;
                end if;
            end loop;
            cuts := private.coupon_cuts(coupon, lines, beside);
            select p.problem into wrong from private.coupon_problem(coupon, buyer, lines, cuts) as p;
            continue when wrong.problem is not null;
            covered := '{}';
            for i in 1..cardinality(lines) loop
                if cuts[i] > 0 then
                    covered := covered || lines[i].seller_id;
                end if;
            end loop;
            plan_cuts := cuts;
            plan_coupons := array_fill(null::uuid, array[cardinality(lines)]);
            for i in 1..cardinality(lines) loop
                if cuts[i] > 0 then
                    plan_coupons[i] := coupon.id;
                elsif lines[i].seller_id <> all (covered) then
                    plan_cuts[i] := sellers_cuts[i];
                    plan_coupons[i] := sellers_coupons[i];
                end if;
            end loop;
            if private.sum_cents(plan_cuts) > private.sum_cents(best_cuts) then
                best_cuts := plan_cuts;
                best_coupons := plan_coupons;
            end if;
        end loop;
    end loop;

    for i in 1..cardinality(lines) loop
        continue when best_coupons[i] is null;
        lines[i].discount_cents := lines[i].discount_cents + best_cuts[i];
        lines[i].coupon_id := best_coupons[i];
        lines[i].promoted_cents := case
            when exists (select from unnest(usable) as u where u.id = best_coupons[i] and private.is_platform(u.seller_id))
                then best_cuts[i]
            else 0
        end;
    end loop;
    select jsonb_agg(c.coupon || jsonb_build_object('discount_cents', (
        select coalesce(sum(best_cuts[b.no]), 0)
        from unnest(best_coupons) with ordinality as b (id, no)
        inner join unnest(usable) as u on u.id = b.id
        where u.code_key = private.coupon_key(c.coupon ->> 'code')
    )) order by c.no) into coupons
    from jsonb_array_elements(coupons) with ordinality as c (coupon, no);
end
$$;
comment on function private.price_coupons(uuid, private.order_line[], text[]) is
'These lines less what the codes take off, and of each code {code, discount_cents, problem, detail}: what it takes off '
'(0 where another one saves more) or why it cannot be used. Error: invalid_checkout.';

create function private.discounted_lines(buyer uuid, lines private.order_line[], codes text[])
returns private.order_line[]
language plpgsql
set search_path = ''
as $$
declare
    priced record;
    coupon jsonb;
begin
    select p.lines, p.coupons into strict priced
    from private.price_coupons(discounted_lines.buyer, discounted_lines.lines, discounted_lines.codes) as p;
    for coupon in select c.coupon from jsonb_array_elements(priced.coupons) as c (coupon) loop
        if coupon ->> 'problem' is not null then
            perform private.fail(coupon ->> 'problem', coupon ->> 'detail');
        end if;
    end loop;
    return priced.lines;
end
$$;
comment on function private.discounted_lines(uuid, private.order_line[], text[]) is
'price_coupons() where each code has to be usable: nobody pays more than they were shown. Errors: coupon_not_found, '
'coupon_expired, coupon_exhausted, coupon_already_used, coupon_not_applicable, coupon_minimum_not_reached, '
'coupon_price_too_low, invalid_checkout.';

create function public.preview_checkout(
    items jsonb default null, coupon_codes text[] default null, shipping_address jsonb default null
) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    buyer uuid := private.require_member();
    wanted jsonb := nullif(preview_checkout.items, 'null'::jsonb);
    lines private.order_line[];
    priced record;
begin
    wanted := case when wanted is null then private.cart_lines(buyer) else private.asked_lines(wanted) end;
    if jsonb_array_length(wanted) = 0 then
        perform private.fail('empty_checkout');
    elsif jsonb_array_length(wanted) > 50 then
        perform private.fail('too_many_items', jsonb_array_length(wanted)::text);
    end if;
    lines := private.read_lines(
        buyer, wanted, private.country_of(private.checked_address(preview_checkout.shipping_address))
    );
    select p.lines, p.coupons into strict priced
    from private.price_coupons(buyer, lines, coalesce(preview_checkout.coupon_codes, '{}')) as p;
    return (
        select jsonb_build_object(
            'lines', jsonb_agg(jsonb_build_object(
                'item_id', l.item_id, 'option_id', l.option_id, 'title', l.title, 'quantity', l.quantity,
                'unit_price_cents', l.unit_price_cents, 'discount_cents', l.discount_cents,
                'total_cents', l.unit_price_cents * l.quantity - l.discount_cents,
                'shipping_cents', l.shipping_cents, 'problem', l.problem,
                'detail', case when l.problem is not null then l.detail end
            ) order by l.line_no, l.item_id),
            'coupons', coalesce(priced.coupons, '[]'),
            'subtotal_cents', coalesce(sum(l.unit_price_cents * l.quantity), 0),
            'discount_cents', coalesce(sum(l.discount_cents), 0),
            'shipping_cents', coalesce(sum(l.shipping_cents), 0),
            'total_cents', coalesce(
                sum(l.unit_price_cents * l.quantity - l.discount_cents + coalesce(l.shipping_cents, 0)), 0
            ),
            'currency', 'USD'
        )
        from unnest(priced.lines) as l
    );
end
$$;
comment on function public.preview_checkout(jsonb, text[], jsonb) is
'What checkout() would charge for these items (default: the cart) with these codes: {lines, coupons, subtotal_cents, '
'discount_cents, shipping_cents, total_cents}. A line or a code that cannot be had has its problem and detail, as '
'checkout() would fail; of such a line nothing else is counted. Holds and promises nothing. Errors: invalid_checkout, '
'empty_checkout, too_many_items.';
grant execute on function public.preview_checkout(jsonb, text[], jsonb) to authenticated;

-- sql/60_money/49_freezes.sql -----------------------------------------------------------------------------------------
-- Why the money of a sale must not leave yet although it is done: a charge that the buyer's bank took up. A freeze is a
-- row that release asks for; no date is moved by it, so that its end needs no memory.

create table private.freezes (
    transaction_id uuid not null,
    cause text not null,
    begun_at timestamptz not null default now(),
    ended_at timestamptz,
    constraint freezes_pkey primary key (transaction_id, cause),
    constraint freezes_transaction_id_fkey foreign key (transaction_id) references public.transactions (id),
    constraint freezes_cause_check check (cause ~ '^[a-z]+(_[a-z]+)*$'),
    constraint freezes_ended_at_check check (ended_at >= begun_at)
);
comment on table private.freezes is
'Sales whose earnings stay where they are while ended_at is null. Kinds that stop something else meanwhile have a '
'trigger of their own here.';
comment on column private.freezes.cause is 'Stable word for why: chargeback. Causes do not know of each other.';
alter table private.freezes enable row level security;

create function private.freeze_sale(transaction_id uuid, cause text) returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    moment timestamptz := clock_timestamp();
begin
    -- In the order of all that moves money; release passes over a sale that is locked.
    perform from public.payments as p
    where p.id = (select t.payment_id from public.transactions as t where t.id = freeze_sale.transaction_id)
    for no key update;
    perform from public.transactions as t where t.id = freeze_sale.transaction_id for no key update;
    insert into private.freezes as f (transaction_id, cause, begun_at)
    values (freeze_sale.transaction_id, freeze_sale.cause, moment)
    on conflict on constraint freezes_pkey do update set begun_at = excluded.begun_at, ended_at = null
    where f.ended_at is not null;
end
$$;
comment on function private.freeze_sale(uuid, text) is
'Holds the earnings of a sale for this cause until thaw_sale(). Repeated calls change nothing.';

create function private.thaw_sale(transaction_id uuid, cause text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.payments as p
    where p.id = (select t.payment_id from public.transactions as t where t.id = thaw_sale.transaction_id)
    for no key update;
    perform from public.transactions as t where t.id = thaw_sale.transaction_id for no key update;
    update private.freezes as f set ended_at = clock_timestamp()
    where f.transaction_id = thaw_sale.transaction_id and f.cause = thaw_sale.cause and f.ended_at is null;
end
$$;
comment on function private.thaw_sale(uuid, text) is 'Ends a freeze of freeze_sale(). Repeated calls change nothing.';

create function private.is_frozen(transaction_id uuid) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return exists (
        select from private.freezes as f where f.transaction_id = is_frozen.transaction_id and f.ended_at is null
    );
end
$$;
comment on function private.is_frozen(uuid) is 'Whether anything freezes this sale.';

insert into private.personal_data (section, relation, condition, stays, reason) values
('freezes', 'private.freezes', null, '{cause}', 'part of the books; names nobody');

-- sql/67_market/05_busy_times.sql -------------------------------------------------------------------------------------
-- When people have no time: one row for each thing that takes some of theirs, whatever it is, with one exclusion
-- constraint over all of them. Looking for a free hour and then writing it down sells it twice (a lock on rows that are
-- not there holds nobody); here the second one fails, whichever kind came first. Holds of a slot somebody is just
-- paying for are rows as well.

create extension if not exists btree_gist with schema extensions;

create table private.busy_times (
    id bigint generated always as identity,
    person_id uuid not null,
    during tstzrange not null,
    kind text not null,
    subject_id uuid not null,
    created_at timestamptz not null default now(),
    constraint busy_times_pkey primary key (id),
    constraint busy_times_subject_key unique (kind, subject_id, person_id),
    constraint busy_times_person_id_fkey foreign key (person_id) references public.profiles (id) on delete cascade,
    constraint busy_times_kind_fkey foreign key (kind) references private.kinds (kind),
    -- From and until an instant, the end not included, so that one hour may follow the other.
    constraint busy_times_during_check check (
        not isempty(during) and not lower_inf(during) and not upper_inf(during)
        and lower_inc(during) and not upper_inc(during)
        and isfinite(lower(during)) and isfinite(upper(during))
    ),
    constraint busy_times_during_excl exclude using gist (person_id with =, during with &&)
);

create index busy_times_kind_idx on private.busy_times (kind);

comment on table private.busy_times is
'Time of people that is taken: written by the kinds that take it, with take_time() and free_time(). No client reads '
'it; what is free is answered by functions.';
comment on column private.busy_times.person_id is 'Whose time.';
comment on column private.busy_times.during is 'From when until when, the end not included; buffers are a part of it.';
comment on column private.busy_times.kind is 'Kind of what takes it, a row of private.kinds.';
comment on column private.busy_times.subject_id is 'The row of that kind: the webinar, the booking, what holds a slot.';

alter table private.busy_times enable row level security;

create function private.lock_time(people uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    select pg_advisory_xact_lock(hashtextextended('busy:' || p.id, 0))
    from (select distinct u.id from unnest(people) as u (id) where u.id is not null order by u.id) as p
$$;
comment on function private.lock_time(uuid[]) is
'Locks the time of these people, in one order: before anything of it is freed and taken again, and once for all that a '
'transaction takes.';

create function private.take_time(
    kind text, subject_id uuid, people uuid[], starts_at timestamptz, ends_at timestamptz,
    is_all boolean default true
) returns void
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    wanted tstzrange := tstzrange(take_time.starts_at, take_time.ends_at);
begin
    -- Without it two who want the same hour at one instant both write it down before they look, and wait for each other
    -- until PostgreSQL ends one of them as a deadlock. In one order.
    perform private.lock_time(take_time.people);
    delete from private.busy_times as b
    where
        take_time.is_all and b.kind = take_time.kind and b.subject_id = take_time.subject_id
        and b.person_id <> all (take_time.people);
    insert into private.busy_times (person_id, during, kind, subject_id)
    select distinct p.id, wanted, take_time.kind, take_time.subject_id
    from unnest(take_time.people) as p (id)
    order by p.id
    on conflict on constraint busy_times_subject_key do update set during = excluded.during
    where busy_times.during <> excluded.during;
exception when exclusion_violation then
    perform private.fail('slot_taken');
end
$$;
comment on function private.take_time(text, uuid, uuid[], timestamptz, timestamptz, boolean) is
'This thing takes the time of these people from and until, and no other time or people any more: also moves it. Not '
'all: it goes on taking what it takes of others, for whom it is shorter or longer. Error: slot_taken when one of them '
'is busy then, which is not told whom or with what.';

create function private.free_time(kind text, subjects uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    delete from private.busy_times as b where b.kind = free_time.kind and b.subject_id = any (free_time.subjects)
$$;
comment on function private.free_time(text, uuid[]) is 'These things take nobody''s time any more.';

insert into private.personal_data (section, relation, condition) values
('busy_times', 'private.busy_times', 't.person_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('busy_times', 'business', '{private.busy_times}', 'delete from private.busy_times where person_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('slot_taken', 'PT409', 'This time is taken.',
'Somebody whose time it needs is busy then. Choose another time.');

-- sql/67_market/06_local_times.sql ------------------------------------------------------------------------------------
-- Times as people mean them: a clock on a wall and the zone it hangs in. When clocks go forward some times do not
-- exist, when they go back some come twice; PostgreSQL decides about both without a word. Here a time that does not
-- exist is refused, and of one that comes twice somebody has to say which.

create function private.is_time_zone(name text) returns boolean
language plpgsql
stable
strict
set search_path = ''
as $$
begin
    -- Names of the tz database only. PostgreSQL takes abbreviations and rules as well, which mean the opposite sign or
    -- know no summer time.
    if name !~ '^([A-Z][A-Za-z_]+(/[A-Z][A-Za-z_-]+)+|UTC|Etc/GMT[+-][0-9]{1,2})$' then
        return false;
    end if;
    perform now() at time zone name;
    return true;
exception when invalid_parameter_value then
    return false;
end
$$;
comment on function private.is_time_zone(text) is 'Whether this is the name of a time zone, such as Europe/Berlin.';
grant execute on function private.is_time_zone(text) to authenticated;

create function private.instants_of(
    local timestamp, time_zone text, out earlier timestamptz, out later timestamptz, out is_real boolean
)
language plpgsql
stable
set search_path = ''
as $$
declare
    -- The offsets of the days around it: a change is between them or not near.
    before timestamptz := (local - (((local at time zone 'UTC' - interval '24 hours') at time zone time_zone)
        - ((local at time zone 'UTC' - interval '24 hours') at time zone 'UTC'))) at time zone 'UTC';
    after timestamptz := (local - (((local at time zone 'UTC' + interval '24 hours') at time zone time_zone)
        - ((local at time zone 'UTC' + interval '24 hours') at time zone 'UTC'))) at time zone 'UTC';
begin
    earlier := case when before at time zone time_zone = local then before end;
    later := case when after at time zone time_zone = local then after end;
    is_real := num_nonnulls(earlier, later) > 0;
    if is_real then
        before := coalesce(earlier, later);
        after := coalesce(later, earlier);
        earlier := least(before, after);
        later := greatest(before, after);
    else
        -- The instant at which the clocks jump over it.
        select min(u.at) into earlier
        from generate_series(least(before, after), greatest(before, after), interval '1 minute') as u (at)
        where u.at at time zone time_zone >= local;
        later := earlier;
    end if;
end
$$;
comment on function private.instants_of(timestamp, text) is
'When the clocks of this zone show this time: the first and the last instant, two different ones when they go back '
'over it; is_real false when they jump over it, then both are the jump.';

create function private.instant_of(local timestamp, time_zone text, which text default null) returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
declare
    found record;
begin
    if private.is_time_zone(instant_of.time_zone) is not true then
        perform private.fail('time_zone_not_known', left(instant_of.time_zone, 100));
    end if;
    found := private.instants_of(instant_of.local, instant_of.time_zone);
    if not found.is_real then
        perform private.fail('time_does_not_exist', instant_of.local::text);
    elsif found.earlier <> found.later and (instant_of.which in ('earlier', 'later')) is not true then
        perform private.fail('time_is_ambiguous', format('%s or %s', found.earlier, found.later));
    end if;
    return case when instant_of.which = 'later' then found.later else found.earlier end;
end
$$;
comment on function private.instant_of(timestamp, text, text) is
'The instant of a local time in a zone; which (earlier, later) says which of two. Errors: time_zone_not_known, '
'time_does_not_exist, time_is_ambiguous.';

insert into private.error_codes (code, sqlstate, message, description) values
('time_zone_not_known', 'PT400', 'There is no such time zone.', 'Send a name of the tz database: America/New_York.'),
('time_does_not_exist', 'PT400', 'This time does not exist on that day.',
'The clocks of that zone go forward over it. Choose another time.'),
('time_is_ambiguous', 'PT400', 'This time comes twice on that day.',
'The clocks of that zone go back over it; the detail has both instants. Ask which is meant, the earlier or the later.');

-- sql/67_market/10_services.sql ---------------------------------------------------------------------------------------
-- Services: work that members do for each other, mentoring included. What is bought is one of a service's packages, an
-- option with its price; a service is bought again and again, and earned when it is done. Extras are on the next page,
-- the hours of services that are booked on the one after.

insert into private.media_purposes (purpose, bucket, is_public, is_uploaded, sizes, meaning) values
('service', 'pictures', true, true, '{large,medium,small,thumbnail}', 'a service, or a piece of its portfolio');

create type public.service_type as enum (
    'production', 'mixing', 'mastering', 'recording', 'vocals', 'design', 'video', 'consultation', 'other'
);
comment on type public.service_type is 'What is done.';

create type public.service_status as enum ('draft', 'active', 'paused', 'deleted');
comment on type public.service_status is
'active is in the shop, paused is not for now, deleted never again. What was ordered is carried out in every state.';

create table public.services (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    description text,
    service_type public.service_type not null,
    is_mentoring boolean not null default false,
    session_minutes integer,
    thumbnail_url public.http_url,
    currency character(3) not null default 'USD',
    buyer_requirements text,
    category_id uuid,
    tags text[] not null default '{}',
    genre_tags text[] not null default '{}',
    response_time_hours integer,
    completion_rate numeric(5, 2),
    status public.service_status not null default 'draft',
    is_featured boolean not null default false,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    image_media_id uuid,
    constraint services_pkey primary key (id),
    constraint services_slug_key unique (slug),
    constraint services_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint services_category_id_fkey foreign key (category_id) references public.categories (id),
    -- The registry row is written by trigger after this one, hence deferred. It makes item:catalog_items(*) embeddable.
    constraint services_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint services_title_check check (char_length(title) between 1 and 255),
    constraint services_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint services_description_check check (char_length(description) <= 20000),
    constraint services_session_minutes_check check (session_minutes between 5 and 480),
    constraint services_buyer_requirements_check check (char_length(buyer_requirements) <= 5000),
    constraint services_response_time_hours_check check (response_time_hours >= 0),
    constraint services_completion_rate_check check (completion_rate between 0 and 100)
);

create index services_seller_id_created_at_idx on public.services (seller_id, created_at desc);
create index services_category_id_idx on public.services (category_id);
create index services_created_at_idx on public.services (created_at desc, id desc);
create index services_service_type_created_at_idx on public.services (service_type, created_at desc, id desc)
where status = 'active';
create index services_mentoring_idx on public.services (created_at desc, id desc)
where is_mentoring and status = 'active';
create index services_genre_tags_idx on public.services using gin (genre_tags);

-- What a client that breaks these is told, see error_catalog().
comment on constraint services_description_check on public.services is
'invalid_description: A description has at most 20,000 characters.';
comment on constraint services_slug_check on public.services is
'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';
comment on constraint services_title_check on public.services is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint services_category_id_fkey on public.services is
'choice_not_available: There is no such category.';
comment on constraint services_slug_key on public.services is
'slug_taken: Another service just took this address; try again.';
comment on constraint services_session_minutes_check on public.services is
'invalid_service: A session takes 5 to 480 minutes.';
comment on constraint services_buyer_requirements_check on public.services is
'invalid_service: What buyers need to provide has at most 5,000 characters.';

comment on table public.services is
'Services, mentoring included. Visible while active, not taken down and of a seller in good standing; always to the '
'seller, to buyers and to admins. The lowest price, counters, rating and tags search are on the catalog_items row, the '
'packages are its options (catalog_options).';
comment on column public.services.seller_id is 'Who does it; always the caller.';
comment on column public.services.title is 'Title, one line of at most 255 characters.';
comment on column public.services.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.services.description is 'Rich text, at most 20,000 characters.';
comment on column public.services.service_type is 'What is done.';
comment on column public.services.is_mentoring is 'Shown under Find a Mentor.';
comment on column public.services.session_minutes is
'How long a session takes: who buys the service chooses a time, see available_slots(). Null: nothing is booked.';
comment on column public.services.thumbnail_url is
'Address of the picture for lists, http(s) only: from outside, or of the small copy of image_media_id.';
comment on column public.services.buyer_requirements is
'What buyers are asked to provide, at most 5,000 characters; an order keeps it as it was.';
comment on column public.services.tags is 'Up to 20 tags; lower case.';
comment on column public.services.genre_tags is 'Up to 20 genres; lower case.';
comment on column public.services.response_time_hours is
'How many hours its seller usually takes for a first answer, of the last 90 days; null: nobody has written. Computed.';
comment on column public.services.completion_rate is
'Percentage of its orders that were completed; null without any. Computed.';
comment on column public.services.status is
'State in the shop, set by the seller. active needs a package; deleted is final.';
comment on column public.services.is_featured is 'Shown first by its seller; limited by the seller''s plan.';
comment on column public.services.is_hidden is 'Taken down by an admin; written by hide_content() only.';
comment on column public.services.hidden_reason is 'Why, told to its seller.';

create function private.lowest_package_cents(service_id uuid) returns bigint
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return coalesce((
        select min(o.price_cents) from public.catalog_options as o
        where o.item_id = lowest_package_cents.service_id and o.is_active
    ), 0);
end
$$;
comment on function private.lowest_package_cents(uuid) is
'What the cheapest active package costs, cents; 0 without any.';

create function private.catalog_entry(service public.services) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'service', service.seller_id, service.title, service.slug, service.thumbnail_url,
        private.lowest_package_cents(service.id), null, service.currency,
        (select c.slug from public.categories as c where c.id = service.category_id),
        service.tags || service.genre_tags, null, service.is_featured,
        service.status = 'active' and not service.is_hidden, true, service.description, null, false
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.services) is
'A service''s registry row; its price is the lowest of its active packages.';

create function private.check_service() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.status = 'deleted' then
        -- What the server keeps up may still change; what the seller says may not.
        if (new.title, new.slug, new.status, new.session_minutes) is distinct from
            (old.title, old.slug, old.status, old.session_minutes)
        then
            perform private.fail('service_deleted', old.id::text);
        end if;
    end if;

    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.services', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.genre_tags := private.clean_tags(new.genre_tags);

    -- Its packages change under the registry row's lock, and its price is theirs: none changes between what is read
    -- here or for the registry and what is written.
    perform from public.catalog_items as c where c.id = new.id for no key update;
    if new.status = 'active' and (tg_op = 'INSERT' or old.status <> 'active') and not exists (
        select from public.catalog_options as o where o.item_id = new.id and o.is_active
    ) then
        perform private.fail('service_has_no_packages', new.id::text);
    end if;

    if new.status = 'deleted' then
        new.is_featured := false;
    end if;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
    end if;
    return new;
end
$$;
comment on function private.check_service() is
'Trigger: completes a service (slug, tags) and refuses what a constraint cannot say.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, description, buyer_requirements on public.services
for each row execute function private.tidy_texts(
    'title line required', 'description body', 'buyer_requirements body'
);

-- Not for what is computed.
create trigger check_service
before insert or update of
    title, slug, description, service_type, is_mentoring, session_minutes, thumbnail_url, buyer_requirements,
    category_id, tags, genre_tags, status, is_featured, is_hidden, image_media_id
on public.services
for each row execute function private.check_service();

create trigger refuse_ordered_item before delete on public.services
for each row execute function private.refuse_ordered_item();

create trigger sync_catalog_item
after insert or update or delete on public.services
for each row execute function private.sync_catalog_item();

create trigger touch_updated_at
before update of
    title, slug, description, service_type, is_mentoring, session_minutes, thumbnail_url, buyer_requirements,
    category_id, tags, genre_tags, status, is_featured, is_hidden, image_media_id
on public.services
for each row execute function private.touch_updated_at();

select private.make_media_column(
    'public.services', 'image_media_id', 'service', 'seller_id', '{"thumbnail_url": "small"}'
);
create trigger sync_catalog_picture after insert or update on public.services
for each row execute function private.sync_catalog_picture();

create function private.erase_services(seller uuid, max_rows integer default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select s.id from public.services as s
        where s.seller_id = seller and (s.status <> 'deleted' or not private.item_has_orders(s.id))
        order by s.id
        limit max_rows
        for update
    );
begin
    -- In the shop no more, its packages may go.
    update public.services as s set status = 'deleted' where s.id = any(chosen) and s.status <> 'deleted';
    begin
        delete from public.services as s where s.id = any(chosen) and not private.item_has_orders(s.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    return cardinality(chosen);
end
$$;
comment on function private.erase_services(uuid, integer) is
'Account deletion: removes a seller''s services that nobody ordered and takes the others off sale for good, at most '
'max_rows; how many.';

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('services', 'items', '{}',
    'select private.erase_services($1)', 'select 10 * private.erase_services($1, 1 + $2 / 10)');

alter table public.services enable row level security;
grant select on public.services to anon, authenticated, service_role;
grant
insert (
    title, slug, description, service_type, is_mentoring, session_minutes, thumbnail_url, buyer_requirements,
    category_id, tags, genre_tags, status, is_featured, image_media_id
),
update (
    title, slug, description, service_type, is_mentoring, session_minutes, thumbnail_url, buyer_requirements,
    category_id, tags, genre_tags, status, is_featured, image_media_id
),
delete
on public.services to authenticated;

-- Whoever may see the registry row may see the service. The owner comes first because an insert's RETURNING looks
-- before that row exists.
create policy services_select_anon on public.services for select to anon
using ((select c.id from public.catalog_items as c where c.id = services.id) is not null);
create policy services_select on public.services for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = services.id) is not null
);
create policy services_insert on public.services for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy services_update on public.services for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));
create policy services_delete on public.services for delete to authenticated
using (seller_id = (select private.member_id()));

-- What the seller has done before.
create table public.portfolio_pieces (
    id uuid not null default gen_random_uuid(),
    service_id uuid not null,
    seller_id uuid not null default auth.uid(),
    title text,
    url public.http_url,
    position smallint not null default 1,
    created_at timestamptz not null default now(),
    image_media_id uuid,
    constraint portfolio_pieces_pkey primary key (id),
    constraint portfolio_pieces_service_id_fkey foreign key (service_id)
    references public.services (id) on delete cascade,
    constraint portfolio_pieces_seller_id_fkey foreign key (seller_id)
    references public.profiles (id) on delete cascade,
    constraint portfolio_pieces_title_check check (char_length(title) between 1 and 200),
    constraint portfolio_pieces_url_check check (num_nonnulls(url, image_media_id) > 0),
    constraint portfolio_pieces_position_check check (position between 1 and 100)
);

create index portfolio_pieces_service_id_idx on public.portfolio_pieces (service_id, position, id);
create index portfolio_pieces_seller_id_idx on public.portfolio_pieces (seller_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint portfolio_pieces_service_id_fkey on public.portfolio_pieces is
'item_not_found: There is no such service.';
comment on constraint portfolio_pieces_title_check on public.portfolio_pieces is
'invalid_title: The title of a portfolio piece has 1 to 200 characters.';
comment on constraint portfolio_pieces_url_check on public.portfolio_pieces is
'invalid_portfolio_piece: A portfolio piece is a picture of one''s own or an address.';
comment on constraint portfolio_pieces_position_check on public.portfolio_pieces is
'invalid_position: A position is from 1 to 100.';

comment on table public.portfolio_pieces is
'Work samples of a service, at most 20; read with the service, written by its seller.';
comment on column public.portfolio_pieces.service_id is 'The service.';
comment on column public.portfolio_pieces.seller_id is 'Whose work; always the caller.';
comment on column public.portfolio_pieces.title is 'Title, one line of at most 200 characters.';
comment on column public.portfolio_pieces.url is
'Where it is, http(s) only: from outside, or of the large copy of image_media_id.';
comment on column public.portfolio_pieces.position is 'Order among them, from 1.';

create function private.check_portfolio_piece() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- One at a time per service: they are counted. The policy refuses what is not the caller's.
    perform from public.services as s where s.id = new.service_id and s.seller_id = new.seller_id for no key update;
    if found and (select count(*) from public.portfolio_pieces as p where p.service_id = new.service_id) >= 20 then
        perform private.fail('too_many_portfolio_pieces', new.service_id::text);
    end if;
    return new;
end
$$;
comment on function private.check_portfolio_piece() is 'Trigger: at most 20 a service.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title on public.portfolio_pieces
for each row execute function private.tidy_texts('title line');
create trigger check_portfolio_piece
before insert on public.portfolio_pieces
for each row execute function private.check_portfolio_piece();

select private.make_media_column(
    'public.portfolio_pieces', 'image_media_id', 'service', 'seller_id', '{"url": "large"}'
);

alter table public.portfolio_pieces enable row level security;
grant select on public.portfolio_pieces to anon, authenticated, service_role;
grant
insert (service_id, title, url, position, image_media_id), update (title, url, position, image_media_id), delete
on public.portfolio_pieces to authenticated;

-- Whoever may see the registry row may see the portfolio.
create policy portfolio_pieces_select_anon on public.portfolio_pieces for select to anon
using ((select c.id from public.catalog_items as c where c.id = portfolio_pieces.service_id) is not null);
create policy portfolio_pieces_select on public.portfolio_pieces for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = portfolio_pieces.service_id) is not null
);
create policy portfolio_pieces_insert on public.portfolio_pieces for insert to authenticated
with check (seller_id = (select private.member_id()) and private.sells_item(service_id));
create policy portfolio_pieces_update on public.portfolio_pieces for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));
create policy portfolio_pieces_delete on public.portfolio_pieces for delete to authenticated
using (seller_id = (select private.member_id()));

-- Packages are options: {delivery_days, revisions, features}.
create function private.service_check_option(ids uuid[], options public.catalog_options[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    option public.catalog_options;
    bare uuid;
begin
    foreach option in array options loop
        perform private.require_keys(option.details, '{delivery_days,revisions,features}', 'invalid_option');
        perform private.fail('invalid_option', w.part)
        from (
            select case
                when coalesce(option.details ->> 'delivery_days', '') !~ '^[0-9]{1,3}$'
                    or (option.details ->> 'delivery_days')::integer not between 1 and 365
                    then 'delivery_days: from 1 to 365'
                when coalesce(option.details ->> 'revisions', '0') !~ '^[0-9]{1,2}$' then 'revisions: from 0 to 99'
                when jsonb_typeof(coalesce(option.details -> 'features', '[]')) <> 'array'
                    or jsonb_array_length(coalesce(option.details -> 'features', '[]')) > 20
                    or jsonb_path_exists(option.details, '$.features[*] ? (@.type() != "string")')
                    or exists (
                        select from jsonb_array_elements_text(option.details -> 'features') as f (feature)
                        where char_length(f.feature) not between 1 and 200
                    )
                    then 'features: at most 20 texts of at most 200 characters'
                when option.is_exclusive or option.is_set_aside or option.stock is not null
                    then 'a package has no stock'
            end as part
        ) as w
        where w.part is not null;
    end loop;
    -- The registry row first, in the order of the ids; then what its packages are by now.
    perform from public.catalog_items as c where c.id = any (ids) order by c.id for no key update;
    update public.catalog_items as c set price_cents = private.lowest_package_cents(c.id)
    where c.id = any (ids) and c.price_cents <> private.lowest_package_cents(c.id);
    select s.id into bare from public.services as s
    where
        s.id = any (ids) and s.status = 'active' and not exists (
            select from public.catalog_options as o where o.item_id = s.id and o.is_active
        )
    limit 1;
    if bare is not null then
        perform private.fail('service_has_no_packages', bare::text);
    end if;
end
$$;
comment on function private.service_check_option(uuid[], public.catalog_options[]) is
'Hook check_option: {delivery_days, revisions, features}; keeps the registry''s price. Errors: invalid_option, '
'service_has_no_packages.';

create function private.service_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
stable
set search_path = ''
as $$
begin
    perform private.require_keys(l.details, '{extras,session}', 'line_not_valid') from unnest(lines) as l;
    return query
    select
        l.no, s.description, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object(
            'package', jsonb_build_object(
                'option_id', o.id, 'name', o.title,
                'delivery_days', (o.details ->> 'delivery_days')::integer,
                'revisions', coalesce((o.details ->> 'revisions')::integer, 0),
                'features', coalesce(o.details -> 'features', '[]')
            ),
            'extras', e.extras, 'session', b.session, 'requirements_asked', s.buyer_requirements
        )),
        0::bigint,
        case
            when o.id is null then 'package_required'
            when l.quantity > 1 then 'quantity_not_allowed'
            else coalesce(e.problem, b.problem)
        end,
        case when o.id is null or l.quantity > 1 then s.id::text else coalesce(e.detail, b.detail) end,
        e.cents, b.session is not null
    from unnest(lines) as l
    inner join public.services as s on s.id = l.item_id
    left join public.catalog_options as o on o.id = l.option_id
    cross join lateral private.chosen_extras(s.id, l.details -> 'extras') as e
    cross join lateral private.chosen_session(s, l.details -> 'session') as b;
end
$$;
comment on function private.service_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: {extras, session}; keeps the package and the extras as they are now, the session, and what the buyer '
'is asked for.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.services', 'status', null, 'draft', 'its seller begins'),
('public.services', 'status', null, 'paused', 'made for later'),
('public.services', 'status', null, 'deleted', 'made for nobody'),
('public.services', 'status', 'draft', 'active', 'has packages, goes on sale'),
('public.services', 'status', 'draft', 'paused', 'by its seller'),
('public.services', 'status', 'draft', 'deleted', 'by its seller, or the seller left'),
('public.services', 'status', 'active', 'draft', 'by its seller'),
('public.services', 'status', 'active', 'paused', 'by its seller'),
('public.services', 'status', 'active', 'deleted', 'by its seller, or the seller left'),
('public.services', 'status', 'paused', 'draft', 'by its seller'),
('public.services', 'status', 'paused', 'active', 'goes on sale again'),
('public.services', 'status', 'paused', 'deleted', 'by its seller, or the seller left');
select private.build_moves('public.services', 'status');

insert into private.kinds (kind, relation, owner_column, page, is_repeatable, earned, hooks) values
('service', 'public.services', 'seller_id', '/catalog_items/{id}', true, 'at_completion',
    '{can_read,evidence,place,lock,hide,check_option,check_line,hold,release,units,payees,grant,revoke,restore,'
    'complete}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('services', 'public.services',
    't.seller_id = $1',
    '{seller_id, title, slug, description, thumbnail_url, buyer_requirements, tags, genre_tags, hidden_reason}',
    'ordered: its buyers keep it as they bought it');
insert into private.personal_data (section, relation, condition) values
('portfolio_pieces', 'public.portfolio_pieces', 't.seller_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('portfolio_pieces', 'works', '{public.portfolio_pieces}', 'delete from public.portfolio_pieces where seller_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('service_deleted', 'PT409', 'This service was deleted.', 'Deleting is final. Create a new service.'),
('service_has_no_packages', 'PT409', 'This service has no packages.',
'A service on sale needs an active package: add an option with details {delivery_days, revisions, features}, then set '
'status active. The last one of a service on sale is only replaced: add the new one first.'),
('package_required', 'PT400', 'Choose a package.',
'A service is bought by one of its packages: send its id as option_id. The detail names the service.'),
('too_many_portfolio_pieces', 'PT409', 'A portfolio has at most 20 pieces.', 'Delete one first.');

-- sql/67_market/12_service_extras.sql ---------------------------------------------------------------------------------
-- What can be had on top of a package: chosen with it, and priced into the one line, so that the fee, the commission
-- and a refund are of what was paid.

create table public.service_extras (
    id uuid not null default gen_random_uuid(),
    service_id uuid not null,
    title text not null,
    description text,
    price_cents bigint not null,
    delivery_days smallint not null default 0,
    is_active boolean not null default true,
    position smallint not null default 1,
    created_at timestamptz not null default now(),
    constraint service_extras_pkey primary key (id),
    constraint service_extras_service_id_fkey foreign key (service_id)
    references public.services (id) on delete cascade,
    constraint service_extras_title_check check (char_length(title) between 1 and 100),
    constraint service_extras_description_check check (char_length(description) <= 1000),
    constraint service_extras_price_cents_check check (private.is_price(price_cents)),
    constraint service_extras_delivery_days_check check (delivery_days between 0 and 365),
    constraint service_extras_position_check check (position between 1 and 100)
);

create index service_extras_service_id_idx on public.service_extras (service_id, position, id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint service_extras_service_id_fkey on public.service_extras is
'item_not_found: There is no such service.';
comment on constraint service_extras_title_check on public.service_extras is
'invalid_title: An extra''s title has 1 to 100 characters.';
comment on constraint service_extras_description_check on public.service_extras is
'invalid_description: An extra''s description has at most 1,000 characters.';
comment on constraint service_extras_price_cents_check on public.service_extras is
'invalid_price: A price is 0 or from 50 to 99999999 cents.';
comment on constraint service_extras_delivery_days_check on public.service_extras is
'invalid_extra: An extra takes 0 to 365 days.';
comment on constraint service_extras_position_check on public.service_extras is
'invalid_position: A position is from 1 to 100.';

comment on table public.service_extras is
'Extras of services, at most 20 each. Whoever sees the service sees those that can be had; its seller writes them. An '
'order keeps what it was made with.';
comment on column public.service_extras.service_id is 'The service.';
comment on column public.service_extras.title is 'Title, one line of at most 100 characters.';
comment on column public.service_extras.description is 'What it is, at most 1,000 characters.';
comment on column public.service_extras.price_cents is 'What it costs on top, cents: 0, else 50 to 99999999.';
comment on column public.service_extras.delivery_days is 'How many days more the delivery takes with it.';
comment on column public.service_extras.is_active is 'Whether it can be had.';
comment on column public.service_extras.position is 'Order of the extras, from 1.';

create function private.check_service_extra() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- One at a time per service: they are counted. The policy refuses what is not the caller's.
    perform from public.services as s where s.id = new.service_id and s.seller_id = auth.uid() for no key update;
    if found and (select count(*) from public.service_extras as e where e.service_id = new.service_id) >= 20 then
        perform private.fail('too_many_extras', new.service_id::text);
    end if;
    return new;
end
$$;
comment on function private.check_service_extra() is 'Trigger: at most 20 a service.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, description on public.service_extras
for each row execute function private.tidy_texts('title line required', 'description body');
create trigger check_service_extra
before insert on public.service_extras
for each row execute function private.check_service_extra();

alter table public.service_extras enable row level security;
grant select on public.service_extras to anon, authenticated, service_role;
grant
insert (service_id, title, description, price_cents, delivery_days, is_active, position),
update (title, description, price_cents, delivery_days, is_active, position),
delete
on public.service_extras to authenticated;
create policy service_extras_select_anon on public.service_extras for select to anon
using (is_active and (select c.id from public.catalog_items as c where c.id = service_id) is not null);
create policy service_extras_select on public.service_extras for select to authenticated
using (
    is_active and (select c.id from public.catalog_items as c where c.id = service_id) is not null
    or private.sells_item(service_id)
);
create policy service_extras_insert on public.service_extras for insert to authenticated
with check (private.sells_item(service_id));
create policy service_extras_update on public.service_extras for update to authenticated
using (private.sells_item(service_id)) with check (private.sells_item(service_id));
create policy service_extras_delete on public.service_extras for delete to authenticated
using (private.sells_item(service_id));

create function private.chosen_extras(
    service_id uuid, wanted jsonb, out extras jsonb, out cents bigint, out problem text, out detail text
)
language plpgsql
stable
set search_path = ''
as $$
begin
    extras := '[]';
    cents := 0;
    if coalesce(wanted, 'null') = 'null' then
        return;
    end if;
    if jsonb_typeof(wanted) <> 'array' or jsonb_array_length(wanted) > 20 then
        perform private.fail('line_not_valid', 'extras: at most 20 of {id, price_cents}');
    end if;
    perform private.require_keys(w.extra, '{id,price_cents}', 'line_not_valid') from jsonb_array_elements(wanted) as w (extra);
    if exists (
        select from jsonb_array_elements(wanted) as w (extra)
        where
            private.is_uuid(w.extra ->> 'id') is not true or coalesce(w.extra ->> 'price_cents', '') !~ '^[0-9]{1,8}$'
    ) or (
        select count(distinct lower(w.extra ->> 'id')) < count(*) from jsonb_array_elements(wanted) as w (extra)
    ) then
        perform private.fail('line_not_valid', 'extras: each once, {id, price_cents} with the price that was shown');
    end if;
    select
        coalesce(jsonb_agg(jsonb_build_object(
            'id', e.id, 'title', e.title, 'price_cents', e.price_cents, 'delivery_days', e.delivery_days
        ) order by w.no), '[]'),
        coalesce(sum(e.price_cents), 0),
        -- One that is gone before one that costs more than was shown.
        min(p.problem),
        min(w.id::text) filter (where p.problem is not null)
    into extras, cents, problem, detail
    from (
        select a.no, (a.extra ->> 'id')::uuid as id, (a.extra ->> 'price_cents')::bigint as shown_cents
        from jsonb_array_elements(wanted) with ordinality as a (extra, no)
    ) as w
    left join public.service_extras as e on e.id = w.id and e.service_id = chosen_extras.service_id and e.is_active
    cross join lateral (
        select case
            when e.id is null then 'extra_not_available' when e.price_cents > w.shown_cents then 'price_changed'
        end as problem
    ) as p;
end
$$;
comment on function private.chosen_extras(uuid, jsonb) is
'What an order keeps of the extras somebody chose, [{id, price_cents}] with the prices they were shown, what they cost '
'together (cents), and why they cannot be had, if so: extra_not_available, price_changed. Error: line_not_valid.';

insert into private.personal_data (section, relation, condition) values
('service_extras', 'public.service_extras',
    't.service_id in (select s.id from public.services as s where s.seller_id = $1)');
insert into private.erasure_steps (step, phase, erases, statement) values
('service_extras', 'works', '{public.service_extras}', $step$
    delete from public.service_extras
    where service_id in (select s.id from public.services as s where s.seller_id = $1)
$step$);

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_extras', 'PT409', 'A service has at most 20 extras.', 'Delete one first.'),
('extra_not_available', 'PT409', 'This extra is not available.',
'It is not one of the service, or not offered any more. The detail names it. Choose again.');

-- sql/67_market/14_service_times.sql ----------------------------------------------------------------------------------
-- When services that are booked can be had. Their seller says once, in their own zone, on which hours of the week they
-- work and on which days it is otherwise; what is left of it, after everything that takes their time (busy_times), is
-- what anybody sees. Who buys such a service chooses a session: its time is taken from seller and buyer while the order
-- is paid, and kept once it is.

create table public.availability (
    user_id uuid not null default auth.uid(),
    time_zone text not null,
    slot_minutes smallint not null default 30,
    buffer_before_minutes smallint not null default 0,
    buffer_after_minutes smallint not null default 0,
    notice_minutes integer not null default 720,
    window_days smallint not null default 60,
    updated_at timestamptz not null default now(),
    constraint availability_pkey primary key (user_id),
    constraint availability_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint availability_time_zone_check check (private.is_time_zone(time_zone)),
    constraint availability_slot_minutes_check check (slot_minutes between 5 and 480),
    constraint availability_buffers_check check (
        buffer_before_minutes between 0 and 240 and buffer_after_minutes between 0 and 240
    ),
    constraint availability_notice_minutes_check check (notice_minutes between 0 and 43200),
    constraint availability_window_days_check check (window_days between 1 and 365)
);

-- What a client that breaks these is told, see error_catalog().
comment on constraint availability_pkey on public.availability is
'already_done: It is there already; upsert to change it.';
comment on constraint availability_time_zone_check on public.availability is
'time_zone_not_known: There is no such time zone.';
comment on constraint availability_slot_minutes_check on public.availability is
'invalid_availability: Sessions begin every 5 to 480 minutes.';
comment on constraint availability_buffers_check on public.availability is
'invalid_availability: A buffer is from 0 to 240 minutes.';
comment on constraint availability_notice_minutes_check on public.availability is
'invalid_availability: Notice is from 0 to 43,200 minutes.';
comment on constraint availability_window_days_check on public.availability is
'invalid_availability: Bookings open 1 to 365 days ahead.';

comment on table public.availability is
'How somebody''s booked services are offered; without a row none can be booked. Owner only; what is free everybody '
'learns from available_slots().';
comment on column public.availability.time_zone is
'Zone their hours and days are meant in, a name of the tz database: Europe/Berlin.';
comment on column public.availability.slot_minutes is
'A session can begin every so many minutes, counted from the beginning of their hours.';
comment on column public.availability.buffer_before_minutes is 'Minutes kept free before a session.';
comment on column public.availability.buffer_after_minutes is 'Minutes kept free after a session.';
comment on column public.availability.notice_minutes is 'A session begins at least so many minutes after it is booked.';
comment on column public.availability.window_days is 'And at most so many days (of 24 hours) after.';

create table public.availability_hours (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    weekday smallint not null,
    from_time time not null,
    until_time time not null,
    constraint availability_hours_pkey primary key (id),
    constraint availability_hours_user_id_weekday_from_time_key unique (user_id, weekday, from_time),
    constraint availability_hours_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade,
    constraint availability_hours_weekday_check check (weekday between 1 and 7),
    constraint availability_hours_times_check check (
        from_time < until_time and extract(second from from_time) = 0 and extract(second from until_time) = 0
    )
);

comment on constraint availability_hours_user_id_weekday_from_time_key on public.availability_hours is
'already_done: Hours that begin then are there already.';
comment on constraint availability_hours_weekday_check on public.availability_hours is
'invalid_availability: A weekday is from 1 (Monday) to 7.';
comment on constraint availability_hours_times_check on public.availability_hours is
'invalid_availability: Hours end after they begin, 24:00 at the latest, on full minutes.';

comment on table public.availability_hours is 'Hours of the week somebody can be booked on, in their zone. Owner only.';
comment on column public.availability_hours.weekday is 'Day of the week, 1 is Monday.';
comment on column public.availability_hours.from_time is 'From when, local time.';
comment on column public.availability_hours.until_time is 'Until when: a session has ended by then. 24:00 is midnight.';

create table public.availability_overrides (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    day date not null,
    from_time time,
    until_time time,
    constraint availability_overrides_pkey primary key (id),
    constraint availability_overrides_user_id_day_from_time_key unique nulls not distinct (user_id, day, from_time),
    constraint availability_overrides_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade,
    constraint availability_overrides_times_check check (
        num_nonnulls(from_time, until_time) <> 1
        and from_time < until_time and extract(second from from_time) = 0 and extract(second from until_time) = 0
    )
);

comment on constraint availability_overrides_user_id_day_from_time_key on public.availability_overrides is
'already_done: Hours of that day that begin then are there already.';
comment on constraint availability_overrides_times_check on public.availability_overrides is
'invalid_availability: Hours end after they begin, 24:00 at the latest, on full minutes; a closed day has none.';

comment on table public.availability_overrides is
'Days on which somebody''s hours are others than the week''s: all of that day''s rows instead of them, in their zone. '
'Owner only.';
comment on column public.availability_overrides.day is 'The day.';
comment on column public.availability_overrides.from_time is 'From when, local time; null: closed.';
comment on column public.availability_overrides.until_time is 'Until when: a session has ended by then.';

create function private.check_availability_limit() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    many boolean;
begin
    -- One at a time per person: they are counted.
    perform from public.profiles as p where p.id = new.user_id for no key update;
    if tg_table_name = 'availability_hours' then
        many := (select count(*) >= 50 from public.availability_hours as h where h.user_id = new.user_id);
    else
        many := (select count(*) >= 400 from public.availability_overrides as o where o.user_id = new.user_id);
    end if;
    if many then
        perform private.fail('too_many_hours');
    end if;
    return new;
end
$$;
comment on function private.check_availability_limit() is
'Trigger: at most 50 hours of the week and 400 of single days.';

create trigger touch_updated_at before update on public.availability
for each row execute function private.touch_updated_at();
create trigger check_availability_limit before insert on public.availability_hours
for each row execute function private.check_availability_limit();
create trigger check_availability_limit before insert on public.availability_overrides
for each row execute function private.check_availability_limit();

alter table public.availability enable row level security;
grant select on public.availability to authenticated, service_role;
grant
insert (time_zone, slot_minutes, buffer_before_minutes, buffer_after_minutes, notice_minutes, window_days),
update (time_zone, slot_minutes, buffer_before_minutes, buffer_after_minutes, notice_minutes, window_days),
delete
on public.availability to authenticated;
create policy availability_select on public.availability for select to authenticated
using (user_id = (select private.member_id()));
create policy availability_insert on public.availability for insert to authenticated
with check (user_id = (select private.member_id()));
create policy availability_update on public.availability for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy availability_delete on public.availability for delete to authenticated
using (user_id = (select private.member_id()));

alter table public.availability_hours enable row level security;
grant select on public.availability_hours to authenticated, service_role;
grant
insert (weekday, from_time, until_time), update (weekday, from_time, until_time), delete
on public.availability_hours to authenticated;
create policy availability_hours_select on public.availability_hours for select to authenticated
using (user_id = (select private.member_id()));
create policy availability_hours_insert on public.availability_hours for insert to authenticated
with check (user_id = (select private.member_id()));
create policy availability_hours_update on public.availability_hours for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy availability_hours_delete on public.availability_hours for delete to authenticated
using (user_id = (select private.member_id()));

alter table public.availability_overrides enable row level security;
grant select on public.availability_overrides to authenticated, service_role;
grant
insert (day, from_time, until_time), update (day, from_time, until_time), delete
on public.availability_overrides to authenticated;
create policy availability_overrides_select on public.availability_overrides for select to authenticated
using (user_id = (select private.member_id()));
create policy availability_overrides_insert on public.availability_overrides for insert to authenticated
with check (user_id = (select private.member_id()));
create policy availability_overrides_update on public.availability_overrides for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy availability_overrides_delete on public.availability_overrides for delete to authenticated
using (user_id = (select private.member_id()));

create function private.slots_between(
    from_local timestamp, until_local timestamp, time_zone text, minutes integer, slot_minutes integer
) returns setof timestamptz
language sql
stable
set search_path = ''
as $$
    select t.at
    from private.instants_of(from_local, slots_between.time_zone) as f
    cross join private.instants_of(until_local, slots_between.time_zone) as u
    cross join lateral generate_series(
        f.earlier, u.later - minutes * interval '1 minute', slot_minutes * interval '1 minute'
    ) as t (at)
    -- Of hours that come twice only what the clock shows within them.
    where
        t.at at time zone slots_between.time_zone >= from_local
        and t.at at time zone slots_between.time_zone < until_local
$$;
comment on function private.slots_between(timestamp, timestamp, text, integer, integer) is
'When sessions of so many minutes can begin between two local times, every slot_minutes of elapsed time from the first '
'instant: where clocks go back there are more, where they go forward fewer.';

create function private.offered_times(seller uuid, minutes integer, first_at timestamptz, end_at timestamptz)
returns setof timestamptz
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    rules public.availability;
    earliest timestamptz;
    latest timestamptz;
begin
    select * into rules from public.availability as a where a.user_id = seller;
    earliest := greatest(first_at, clock_timestamp() + rules.notice_minutes * interval '1 minute');
    latest := least(end_at, clock_timestamp() + rules.window_days * interval '24 hours');
    if rules.user_id is null or earliest >= latest then
        return;
    end if;
    return query
    with days as (
        select g.day::date as day
        from generate_series(
            (earliest at time zone rules.time_zone)::date, (latest at time zone rules.time_zone)::date, interval '1 day'
        ) as g (day)
    ),

    hours as (
        select d.day + h.from_time as from_local, d.day + h.until_time as until_local
        from days as d
        inner join public.availability_hours as h
            on h.user_id = seller and h.weekday = extract(isodow from d.day)
        where not exists (
            select from public.availability_overrides as o where o.user_id = seller and o.day = d.day
        )
        union all
        select o.day + o.from_time, o.day + o.until_time
        from days as d
        inner join public.availability_overrides as o
            on o.user_id = seller and o.day = d.day and o.from_time is not null
    )

    select distinct t.at
    from hours as h
    cross join lateral private.slots_between(
        h.from_local, h.until_local, rules.time_zone, minutes, rules.slot_minutes
    ) as t (at)
    where t.at >= earliest and t.at < latest
    order by t.at;
end
$$;
comment on function private.offered_times(uuid, integer, timestamptz, timestamptz) is
'When sessions of so many minutes can begin, from and before these instants, by what their seller says; whether they '
'are busy then is not asked.';

create function public.available_slots(
    service_id uuid, from_at timestamptz default now(), until_at timestamptz default null, time_zone text default null
) returns table (starts_at timestamptz, ends_at timestamptz, starts_local timestamp, time_zone_shown text)
language plpgsql
stable
security definer
rows 100
set search_path = ''
as $$
#variable_conflict use_column
declare
    service public.services;
    rules public.availability;
    blocked uuid [] := case
        when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
    end;
    first_at timestamptz := coalesce(available_slots.from_at, now());
    end_at timestamptz := least(
        coalesce(available_slots.until_at, first_at + interval '168 hours'), first_at + interval '1488 hours'
    );
    zone text;
begin
    if available_slots.time_zone is not null and private.is_time_zone(available_slots.time_zone) is not true then
        perform private.fail('time_zone_not_known', left(available_slots.time_zone, 100));
    end if;
    select s.* into service
    from public.services as s
    inner join public.catalog_items as c on c.id = s.id
    where s.id = available_slots.service_id and c.is_buyable and c.seller_id <> all (blocked);
    if service.id is null then
        perform private.fail('item_not_available', available_slots.service_id::text);
    end if;
    select * into rules from public.availability as a where a.user_id = service.seller_id;
    zone := coalesce(available_slots.time_zone, rules.time_zone);
    return query
    select o.at, o.at + service.session_minutes * interval '1 minute', o.at at time zone zone, zone
    from private.offered_times(service.seller_id, service.session_minutes, first_at, end_at) as o (at)
    where not exists (
        select from private.busy_times as b
        where
            b.person_id = service.seller_id
            and b.during && tstzrange(
                o.at - rules.buffer_before_minutes * interval '1 minute',
                o.at + (service.session_minutes + rules.buffer_after_minutes) * interval '1 minute'
            )
    )
    order by o.at;
end
$$;
comment on function public.available_slots(uuid, timestamptz, timestamptz, text) is
'When a session of this service can begin, from and before these instants (a week from now unless told, 62 days at '
'most), earliest first; starts_local is what a clock in the asked zone shows (the seller''s unless told), named in '
'time_zone_shown. Why another time is not free is not told. None of a service that is not booked. Errors: '
'item_not_available, time_zone_not_known.';
grant execute on function public.available_slots(uuid, timestamptz, timestamptz, text) to anon, authenticated;

create function private.chosen_session(
    service public.services, wanted jsonb, out session jsonb, out problem text, out detail text
)
language plpgsql
stable
set search_path = ''
as $$
declare
    zone text := wanted ->> 'time_zone';
    local timestamp;
    starts timestamptz;
begin
    if service.session_minutes is null then
        if coalesce(wanted, 'null') <> 'null' then
            perform private.fail('line_not_valid', 'session: this service is not booked');
        end if;
        return;
    elsif coalesce(wanted, 'null') = 'null' then
        problem := 'session_required';
        detail := service.id::text;
        return;
    end if;
    perform private.require_keys(wanted, '{starts_at,starts_local,time_zone,which}', 'line_not_valid');
    zone := coalesce(zone, (select a.time_zone from public.availability as a where a.user_id = service.seller_id));
    if zone is not null and not private.is_time_zone(zone) then
        perform private.fail('time_zone_not_known', left(zone, 100));
    end if;
    begin
        if wanted ->> 'starts_at' ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.0{1,6})?)?(Z|[+-]\d\d:?\d\d)$' then
            starts := (wanted ->> 'starts_at')::timestamptz;
        elsif wanted ->> 'starts_local' ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:00)?$' and wanted ? 'time_zone' then
            local := (wanted ->> 'starts_local')::timestamp;
        end if;
    exception when datetime_field_overflow or invalid_datetime_format then
        null;
    end;
    if num_nonnulls(starts, local) <> 1 or wanted ? 'starts_at' and wanted ? 'starts_local' then
        perform private.fail(
            'line_not_valid', 'session: {starts_at} with its offset, or {starts_local, time_zone, which?}'
        );
    end if;
    starts := coalesce(starts, private.instant_of(local, zone, wanted ->> 'which'));
    if not exists (
        select from private.offered_times(
            service.seller_id, service.session_minutes, starts, starts + interval '1 second'
        ) as o (at)
        where o.at = starts
    ) then
        problem := 'slot_not_available';
        detail := service.id::text;
        return;
    end if;
    session := jsonb_build_object(
        'starts_at', to_char(starts at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        'ends_at', to_char(
            (starts + service.session_minutes * interval '1 minute') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        ),
        'time_zone', zone
    );
end
$$;
comment on function private.chosen_session(public.services, jsonb) is
'What an order keeps of the session somebody chose, {starts_at} or {starts_local, time_zone, which}, or why it cannot '
'be had: session_required, slot_not_available. Whether it is still free is found out by the hook hold. Errors: '
'line_not_valid, time_zone_not_known, time_does_not_exist, time_is_ambiguous.';

create function private.service_hold(ids uuid[], earlier uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    booked record;
begin
    -- Before anything is freed: somebody who has locked it may be waiting for what this is about to free.
    perform private.lock_time(array(
        select p.id
        from public.order_items as i
        cross join unnest(array[i.buyer_id, i.seller_id]) as p (id)
        where i.id = any (ids || earlier)
    ));
    perform private.free_service_time(earlier);
    for booked in
        select
            i.id, i.buyer_id, i.seller_id, (i.details #>> '{session,starts_at}')::timestamptz as starts_at,
            (i.details #>> '{session,ends_at}')::timestamptz as ends_at,
            coalesce(a.buffer_before_minutes, 0) * interval '1 minute' as before,
            coalesce(a.buffer_after_minutes, 0) * interval '1 minute' as after
        from public.order_items as i
        left join public.availability as a on a.user_id = i.seller_id
        where i.id = any (ids)
        order by i.id
    loop
        if booked.starts_at <= clock_timestamp() then
            perform private.fail('slot_not_available', booked.id::text);
        end if;
        perform private.take_time(
            'service', booked.id, array[booked.seller_id], booked.starts_at - booked.before,
            booked.ends_at + booked.after, false
        );
        -- The buffers are the seller's.
        perform private.take_time(
            'service', booked.id, array[booked.buyer_id], booked.starts_at, booked.ends_at, false
        );
    end loop;
end
$$;
comment on function private.service_hold(uuid[], uuid[]) is
'Hook hold: the sessions of these lines take seller''s and buyer''s time. Errors: slot_taken, slot_not_available '
'(it has begun).';

create function private.free_service_time(lines uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    select private.free_time('service', lines)
$$;
comment on function private.free_service_time(uuid[]) is
'The sessions of these order lines take nobody''s time any more.';

create function private.restore_service_time(lines uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    booked uuid;
begin
    for booked in
        select i.id from public.order_items as i where i.id = any (lines) and i.is_booked order by i.id
    loop
        begin
            perform private.service_hold(array[booked], '{}');
        exception when sqlstate 'PT409' then
            -- Somebody else has it, or it has begun: people settle the rest.
            perform private.audit('refund_failed_after_rebooking', 'order_item', booked, '{}');
        end;
    end loop;
end
$$;
comment on function private.restore_service_time(uuid[]) is
'A refund failed: these order lines take their sessions'' time again. What is taken meanwhile is an entry '
'refund_failed_after_rebooking in audit_log.';

create function private.service_release(ids uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    select private.free_service_time(ids)
$$;
comment on function private.service_release(uuid[]) is 'Hook release: the sessions are free again.';

insert into private.personal_data (section, relation, condition) values
('availability', 'public.availability', 't.user_id = $1'),
('availability_hours', 'public.availability_hours', 't.user_id = $1'),
('availability_overrides', 'public.availability_overrides', 't.user_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('availability', 'business', '{public.availability}', 'delete from public.availability where user_id = $1'),
('availability_hours', 'business', '{public.availability_hours}',
    'delete from public.availability_hours where user_id = $1'),
('availability_overrides', 'business', '{public.availability_overrides}',
    'delete from public.availability_overrides where user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_hours', 'PT409', 'These are too many hours.',
'At most 50 rows of the week and 400 of single days. Delete some first.'),
('session_required', 'PT400', 'Choose a time.',
'This service is booked: send details.session with a time of available_slots(). The detail names the service.'),
('slot_not_available', 'PT409', 'This time is not offered.',
'It is outside the seller''s hours, too soon, too far ahead, or has begun. Choose one of available_slots().');

-- sql/67_market/16_offers.sql -----------------------------------------------------------------------------------------
-- An offer made for somebody: in a conversation of two a seller names terms, a price, days and revisions, until when it
-- stands. Changing it makes a new version; versions are rows that never change, and accepting names one, so that nobody
-- pays for what was changed in that moment. What was accepted is a payable, and what is paid becomes a service order
-- (20_service_orders).
-- Locks: the offer, then its payable, which settlement takes without the offer.

create type public.offer_status as enum ('sent', 'accepted', 'declined', 'withdrawn', 'expired');
comment on type public.offer_status is
'sent. accepted: to be paid, or paid. The ends: declined by the buyer, withdrawn by the seller, expired: its time was '
'over before it was accepted, or before it was paid.';

create table public.offers (
    id uuid not null default gen_random_uuid(),
    conversation_id uuid,
    service_id uuid,
    seller_id uuid not null,
    buyer_id uuid not null,
    status public.offer_status not null default 'sent',
    version integer not null default 1,
    valid_until timestamptz not null,
    accepted_version integer,
    payable_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint offers_pkey primary key (id),
    constraint offers_conversation_id_fkey foreign key (conversation_id)
    references public.conversations (id) on delete set null,
    constraint offers_service_id_fkey foreign key (service_id) references public.catalog_items (id) on delete set null,
    constraint offers_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint offers_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint offers_payable_id_fkey foreign key (payable_id) references public.payables (id),
    constraint offers_payable_id_key unique (payable_id),
    constraint offers_not_own_check check (buyer_id <> seller_id),
    constraint offers_version_check check (version between 1 and 100),
    constraint offers_accepted_check check ((payable_id is null) = (accepted_version is null))
);

create index offers_conversation_id_idx on public.offers (conversation_id);
create index offers_service_id_idx on public.offers (service_id) where service_id is not null;
create index offers_seller_id_idx on public.offers (seller_id, created_at desc);
create index offers_buyer_id_idx on public.offers (buyer_id, created_at desc);
create index offers_due_idx on public.offers (valid_until) where status in ('sent', 'accepted');

comment on table public.offers is
'Offers made for one buyer; the two read them, and admins. Written by send_offer(), revise_offer(), withdraw_offer(), '
'decline_offer() and accept_offer().';
comment on column public.offers.conversation_id is 'Where it was made; null when that is gone.';
comment on column public.offers.service_id is 'The service it is a variant of; null: none.';
comment on column public.offers.status is
'State as it was last written; effective_status says it as it is at this moment.';
comment on column public.offers.version is 'The version that stands: a row of offer_versions.';
comment on column public.offers.valid_until is 'Until when that version can be accepted and paid.';
comment on column public.offers.accepted_version is 'Which version was accepted.';
comment on column public.offers.payable_id is 'What the buyer pays since then.';

create table public.offer_versions (
    offer_id uuid not null,
    version integer not null,
    title text not null,
    terms text not null,
    price_cents bigint not null,
    delivery_days integer not null,
    revisions integer not null,
    requirements_asked text,
    valid_until timestamptz not null,
    created_at timestamptz not null default now(),
    constraint offer_versions_pkey primary key (offer_id, version),
    constraint offer_versions_offer_id_fkey foreign key (offer_id) references public.offers (id) on delete cascade,
    constraint offer_versions_title_check check (char_length(title) between 1 and 200),
    constraint offer_versions_terms_check check (char_length(terms) between 1 and 5000),
    constraint offer_versions_price_cents_check check (private.is_price(price_cents) and price_cents > 0),
    constraint offer_versions_delivery_days_check check (delivery_days between 1 and 365),
    constraint offer_versions_revisions_check check (revisions between 0 and 20),
    constraint offer_versions_requirements_asked_check check (char_length(requirements_asked) between 1 and 2000),
    constraint offer_versions_valid_until_check check (
        valid_until > created_at and valid_until <= created_at + interval '2160 hours'
    )
);

-- What a client that breaks these is told, see error_catalog().
comment on constraint offer_versions_title_check on public.offer_versions is
'invalid_title: An offer''s title has 1 to 200 characters.';
comment on constraint offer_versions_terms_check on public.offer_versions is
'invalid_offer: The terms of an offer have 1 to 5,000 characters.';
comment on constraint offer_versions_price_cents_check on public.offer_versions is
'invalid_price: An offer costs from 50 to 99999999 cents.';
comment on constraint offer_versions_delivery_days_check on public.offer_versions is
'invalid_offer: An offer is delivered within 1 to 365 days.';
comment on constraint offer_versions_revisions_check on public.offer_versions is
'invalid_offer: An offer includes 0 to 20 revisions.';
comment on constraint offer_versions_requirements_asked_check on public.offer_versions is
'invalid_offer: What the buyer is asked for has 1 to 2,000 characters.';
comment on constraint offer_versions_valid_until_check on public.offer_versions is
'invalid_offer: An offer stands until a moment within the next 90 days.';

comment on table public.offer_versions is
'What an offer said, version by version; rows never change. Read by whoever reads the offer.';
comment on column public.offer_versions.version is 'From 1.';
comment on column public.offer_versions.title is 'What it is, in one line.';
comment on column public.offer_versions.terms is 'What is done for it.';
comment on column public.offer_versions.price_cents is 'Price, cents.';
comment on column public.offer_versions.delivery_days is 'Days of 24 hours from the start of the work to the delivery.';
comment on column public.offer_versions.revisions is 'Revisions included.';
comment on column public.offer_versions.requirements_asked is
'What the seller needs from the buyer before work starts; null: nothing.';
comment on column public.offer_versions.valid_until is 'Until when it stood.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert on public.offer_versions
for each row execute function private.tidy_texts(
    'title line required', 'terms body required', 'requirements_asked body'
);
create trigger refuse_change before update on public.offer_versions
for each row execute function private.refuse_change();
create trigger touch_updated_at before update on public.offers
for each row execute function private.touch_updated_at();

alter table public.offer_versions alter column title set statistics 0;
alter table public.offer_versions alter column terms set statistics 0;
alter table public.offer_versions alter column requirements_asked set statistics 0;

alter table public.offers enable row level security;
grant select on public.offers to authenticated, service_role;
create policy offers_select on public.offers for select to authenticated
using (
    seller_id = (select private.member_id())
    or buyer_id = (select private.member_id())
    or (select private.is_admin())
);
alter table public.offer_versions enable row level security;
grant select on public.offer_versions to authenticated, service_role;
create policy offer_versions_select on public.offer_versions for select to authenticated
using ((select o.id from public.offers as o where o.id = offer_id) is not null);

create function private.can_be_paid(payable_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.payables as p
        where
            p.id = can_be_paid.payable_id
            and (
                p.status in ('paid', 'returned')
                or p.status = 'open' and (
                    (p.pay_by > clock_timestamp()) is not false
                    -- What was begun in time is waited for.
                    or exists (
                        select from public.order_items as i
                        inner join public.payments as m on m.order_id = i.order_id and m.is_open
                        where i.payable_id = p.id
                    )
                )
            )
    );
end
$$;
comment on function private.can_be_paid(uuid) is 'Whether this was paid, or can still be, or is just being paid.';
grant execute on function private.can_be_paid(uuid) to authenticated;

create function public.effective_status(offer public.offers) returns public.offer_status
language plpgsql
stable
set search_path = ''
as $$
begin
    return case
        when offer.status = 'sent' and offer.valid_until <= clock_timestamp() then 'expired'
        when
            offer.status = 'accepted' and offer.valid_until <= clock_timestamp()
            and not private.can_be_paid(offer.payable_id)
            then 'expired'
        else offer.status
    end;
end
$$;
comment on function public.effective_status(public.offers) is
'Computed field: the offer''s state now, also where its time is over and nothing has written that yet.';
grant execute on function public.effective_status(public.offers) to authenticated, service_role;

create function private.add_offer_version(
    offer public.offers, title text, terms text, price_cents bigint, delivery_days integer, revisions integer,
    valid_until timestamptz, requirements_asked text
) returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into public.offer_versions (
        offer_id, version, title, terms, price_cents, delivery_days, revisions, requirements_asked, valid_until,
        created_at
    ) values (
        offer.id, offer.version, add_offer_version.title, add_offer_version.terms, add_offer_version.price_cents,
        add_offer_version.delivery_days, add_offer_version.revisions, add_offer_version.requirements_asked,
        add_offer_version.valid_until, clock_timestamp()
    );
end
$$;
comment on function private.add_offer_version(
    public.offers, text, text, bigint, integer, integer, timestamptz, text
) is 'Writes what the standing version of an offer says.';

create function public.send_offer(
    conversation_id uuid,
    title text,
    terms text,
    price_cents bigint,
    delivery_days integer,
    revisions integer,
    valid_until timestamptz,
    service_id uuid default null,
    requirements_asked text default null,
    idempotency_key text default null
) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    seller uuid := private.require_member();
    answered jsonb := private.claim_request(
        seller, 'send_offer', send_offer.idempotency_key,
        jsonb_build_object(
            'conversation_id', send_offer.conversation_id, 'title', send_offer.title, 'terms', send_offer.terms,
            'price_cents', send_offer.price_cents, 'delivery_days', send_offer.delivery_days,
            'revisions', send_offer.revisions, 'valid_until', send_offer.valid_until,
            'service_id', send_offer.service_id, 'requirements_asked', send_offer.requirements_asked
        )
    );
    offer public.offers;
    buyer uuid;
begin
    if answered is not null then
        select * into strict offer from public.offers as o where o.id = (answered #>> '{}')::uuid;
        return offer;
    end if;
    select o.user_id into buyer
    from public.conversation_participants as m
    inner join public.conversations as c on c.id = m.conversation_id and not c.is_group
    inner join public.conversation_participants as o on o.conversation_id = c.id and o.user_id <> seller
    where m.conversation_id = send_offer.conversation_id and m.user_id = seller;
    if buyer is null then
        perform private.fail('conversation_not_found', send_offer.conversation_id::text);
    -- As for a message: a block, a ban, a private profile and a deleted account all give the same answer.
    elsif not private.is_visible_to(buyer, seller) or not private.is_visible_to(seller, buyer) then
        perform private.fail('cannot_message');
    elsif send_offer.service_id is not null and not exists (
        select from public.catalog_items as c
        where c.id = send_offer.service_id and c.seller_id = seller and c.kind = 'service'
    ) then
        perform private.fail('item_not_found', send_offer.service_id::text);
    end if;
    -- Both stay until it is written, and two of these at once are counted one after the other.
    perform from public.profiles as p where p.id in (seller, buyer) order by p.id for key share;
    perform pg_advisory_xact_lock(hashtextextended('offers:' || seller, 0));
    if (
        select count(*) from public.offers as o
        where o.seller_id = seller and o.buyer_id = buyer and o.status = 'sent' and o.valid_until > clock_timestamp()
    ) >= 10 then
        perform private.fail('too_many_offers');
    end if;
    insert into public.offers (conversation_id, service_id, seller_id, buyer_id, valid_until)
    values (send_offer.conversation_id, send_offer.service_id, seller, buyer, send_offer.valid_until)
    returning * into offer;
    perform private.add_offer_version(
        offer, send_offer.title, send_offer.terms, send_offer.price_cents, send_offer.delivery_days,
        send_offer.revisions, send_offer.valid_until, send_offer.requirements_asked
    );
    perform private.notify(buyer, 'offer', seller, 'offer', offer.id);
    perform private.answer_request(seller, 'send_offer', send_offer.idempotency_key, to_jsonb(offer.id));
    return offer;
end
$$;
comment on function public.send_offer(
    uuid, text, text, bigint, integer, integer, timestamptz, uuid, text, text
) is
'Seller: offers the other one of a conversation of two something for this price (cents) and tells them. service_id: '
'which of the caller''s services it is a variant of. The same idempotency_key and request answer the first offer. '
'Errors: conversation_not_found, cannot_message, item_not_found, too_many_offers (10 open ones for one buyer), '
'idempotency_key_invalid, idempotency_key_reused, text_not_visible, and the constraints of offer_versions.';
grant execute on function public.send_offer(
    uuid, text, text, bigint, integer, integer, timestamptz, uuid, text, text
) to authenticated;

create function private.lock_offer(offer_id uuid, side text) returns public.offers
language plpgsql
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    offer public.offers;
begin
    select * into offer from public.offers as o
    where o.id = lock_offer.offer_id and member in (o.seller_id, o.buyer_id)
    for no key update;
    if offer.id is null then
        perform private.fail('offer_not_found', lock_offer.offer_id::text);
    elsif member <> (case side when 'seller' then offer.seller_id else offer.buyer_id end) then
        perform private.fail('not_your_part', side);
    end if;
    offer.status := public.effective_status(offer);
    return offer;
end
$$;
comment on function private.lock_offer(uuid, text) is
'The offer as it is now, locked, for the caller whose part it is (seller, buyer). Errors: offer_not_found, '
'not_your_part.';

create function private.end_offer(offer public.offers, status public.offer_status) returns public.offers
language plpgsql
set search_path = ''
as $$
declare
    paid text;
begin
    if offer.status not in ('sent', 'accepted') then
        perform private.fail('state_changed', 'offer ' || offer.status);
    elsif offer.status = 'accepted' and not private.end_payable(
        offer.payable_id, case end_offer.status when 'expired' then 'lapsed' else 'withdrawn' end::public.payable_status
    ) then
        select p.status into paid from public.payables as p where p.id = offer.payable_id;
        perform private.fail(
            case paid when 'open' then 'offer_being_paid' else 'state_changed' end, 'offer ' || offer.status
        );
    end if;
    update public.offers as o set status = end_offer.status where o.id = offer.id returning * into offer;
    return offer;
end
$$;
comment on function private.end_offer(public.offers, public.offer_status) is
'Ends a locked offer that is not paid. Errors: state_changed, offer_being_paid while money may still arrive for it.';

create function public.revise_offer(
    offer_id uuid,
    title text,
    terms text,
    price_cents bigint,
    delivery_days integer,
    revisions integer,
    valid_until timestamptz,
    requirements_asked text default null
) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    offer public.offers := private.lock_offer(revise_offer.offer_id, 'seller');
begin
    -- One whose time is over may be made anew; what was accepted stands as it was accepted.
    if offer.status <> 'sent' then
        perform private.fail('state_changed', 'offer ' || offer.status);
    elsif offer.version = 100 then
        perform private.fail('too_many_offers');
    end if;
    update public.offers as o set version = o.version + 1, valid_until = revise_offer.valid_until
    where o.id = offer.id
    returning * into offer;
    perform private.add_offer_version(
        offer, revise_offer.title, revise_offer.terms, revise_offer.price_cents, revise_offer.delivery_days,
        revise_offer.revisions, revise_offer.valid_until, revise_offer.requirements_asked
    );
    perform private.notify(offer.buyer_id, 'offer', offer.seller_id, 'offer', offer.id);
    return offer;
end
$$;
comment on function public.revise_offer(uuid, text, text, bigint, integer, integer, timestamptz, text) is
'Seller: a new version of an offer nobody accepted yet; the old ones stay readable. Errors: offer_not_found, '
'not_your_part, state_changed, too_many_offers (100 versions), text_not_visible, the constraints of offer_versions.';
grant execute on function public.revise_offer(uuid, text, text, bigint, integer, integer, timestamptz, text)
to authenticated;

create function public.withdraw_offer(offer_id uuid) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
begin
    return private.end_offer(private.lock_offer(withdraw_offer.offer_id, 'seller'), 'withdrawn');
end
$$;
comment on function public.withdraw_offer(uuid) is
'Seller: takes an offer back, also an accepted one that is not paid. Errors: offer_not_found, not_your_part, '
'state_changed, offer_being_paid (a payment is under way: it decides).';
grant execute on function public.withdraw_offer(uuid) to authenticated;

create function public.decline_offer(offer_id uuid) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
declare
    offer public.offers := private.end_offer(private.lock_offer(decline_offer.offer_id, 'buyer'), 'declined');
begin
    perform private.notify(offer.seller_id, 'offer_declined', offer.buyer_id, 'offer', offer.id);
    return offer;
end
$$;
comment on function public.decline_offer(uuid) is
'Buyer: does not want it, also after accepting it and before paying. Errors: offer_not_found, not_your_part, '
'state_changed, offer_being_paid.';
grant execute on function public.decline_offer(uuid) to authenticated;

create function public.accept_offer(offer_id uuid, version integer) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    offer public.offers := private.lock_offer(accept_offer.offer_id, 'buyer');
    said public.offer_versions;
begin
    -- Twice is once.
    if offer.status = 'accepted' and offer.accepted_version = accept_offer.version then
        return offer;
    elsif offer.status <> 'sent' then
        perform private.fail('state_changed', 'offer ' || offer.status);
    elsif offer.version is distinct from accept_offer.version then
        perform private.fail('offer_changed', offer.version::text);
    elsif not private.is_visible_to(offer.seller_id, offer.buyer_id)
        or not private.is_visible_to(offer.buyer_id, offer.seller_id)
    then
        perform private.fail('cannot_message');
    end if;
    select * into strict said from public.offer_versions as v
    where v.offer_id = offer.id and v.version = offer.version;
    update public.offers as o set
        status = 'accepted', accepted_version = offer.version,
        payable_id = private.add_payable(row(
            null, 'offer', offer.id, 1, offer.buyer_id, offer.seller_id, said.title, offer.service_id,
            said.price_cents, 0, null, null, null, null, said.valid_until,
            jsonb_strip_nulls(jsonb_build_object(
                'package', jsonb_build_object(
                    'name', said.title, 'delivery_days', said.delivery_days, 'revisions', said.revisions
                ),
                'requirements_asked', said.requirements_asked,
                'offer', jsonb_build_object('id', offer.id, 'version', said.version)
            )), null, null, null
        )::public.payables)
    where o.id = offer.id
    returning * into offer;
    perform private.notify(offer.seller_id, 'offer_accepted', offer.buyer_id, 'offer', offer.id);
    return offer;
end
$$;
comment on function public.accept_offer(uuid, integer) is
'Buyer: accepts this version of an offer. payable_id is what checkout_payable() pays until valid_until; a payment that '
'was begun by then is waited for. Accepting the same again answers the same. Errors: offer_not_found, not_your_part, '
'offer_changed (the detail is the version that stands), state_changed, cannot_message.';
grant execute on function public.accept_offer(uuid, integer) to authenticated;

create function private.expire_offers(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    due public.offers;
    expired integer := 0;
begin
    for due in
        select * from public.offers as o
        where
            o.status in ('sent', 'accepted') and o.valid_until <= clock_timestamp()
            and public.effective_status(o) = 'expired'
        order by o.valid_until
        limit max_rows
        for no key update skip locked
    loop
        continue when due.status = 'accepted' and not private.end_payable(due.payable_id, 'lapsed');
        update public.offers as o set status = 'expired' where o.id = due.id;
        expired := expired + 1;
    end loop;
    return expired;
end
$$;
comment on function private.expire_offers(integer) is
'Ends offers whose time is over, but for those that are just being paid; how many. Call until 0.';
grant execute on function private.expire_offers(integer) to avenue_worker;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.offers', 'status', null, 'sent', 'send_offer()'),
('public.offers', 'status', 'sent', 'accepted', 'accept_offer() by the buyer'),
('public.offers', 'status', 'sent', 'declined', 'decline_offer() by the buyer'),
('public.offers', 'status', 'sent', 'withdrawn', 'withdraw_offer() by the seller'),
('public.offers', 'status', 'sent', 'expired', 'nobody accepted it in time'),
('public.offers', 'status', 'accepted', 'declined', 'decline_offer() before it was paid'),
('public.offers', 'status', 'accepted', 'withdrawn', 'withdraw_offer() before it was paid'),
('public.offers', 'status', 'accepted', 'expired', 'not paid in time');
select private.build_moves('public.offers', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks, is_browsable, is_repeatable, earned) values
('offer', 'public.offers', 'seller_id', '/offers/{id}',
    '{can_read,evidence,check_line,units,payees,grant,revoke,restore,complete}', false, true, 'at_completion');

create function private.offer_evidence(ids uuid[], reader uuid) returns setof private.reported_content
language sql
stable
security definer
set search_path = ''
as $$
    select o.id, o.seller_id, to_jsonb(o) || jsonb_build_object('versions', (
        select jsonb_agg(to_jsonb(v) order by v.version) from public.offer_versions as v where v.offer_id = o.id
    ))
    from public.offers as o
    where o.id = any (ids)
$$;
comment on function private.offer_evidence(uuid[], uuid) is 'Hook evidence: with all its versions.';

-- Open ones have nobody to stand for them any more.
create function private.withdraw_offers_of(user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    standing public.offers;
    ended integer := 0;
begin
    if not exists (
        select from public.profiles as p
        where p.id = withdraw_offers_of.user_id and (p.is_banned or p.deleted_at is not null)
    ) then
        return 0;
    end if;
    for standing in
        select * from public.offers as o
        where
            withdraw_offers_of.user_id in (o.seller_id, o.buyer_id)
            and (
                o.status = 'sent'
                or o.status = 'accepted' and exists (
                    select from public.payables as p where p.id = o.payable_id and p.status = 'open'
                )
            )
        order by o.id
        limit max_rows
        for no key update
    loop
        -- What is just being paid settles, and the order is given back as others of theirs.
        continue when standing.status = 'accepted' and not private.end_payable(standing.payable_id, 'withdrawn');
        update public.offers as o set
            status = case when standing.seller_id = withdraw_offers_of.user_id then 'withdrawn' else 'declined' end
                ::public.offer_status
        where o.id = standing.id;
        ended := ended + 1;
    end loop;
    return ended;
end
$$;
comment on function private.withdraw_offers_of(uuid, integer) is
'A step after a change of standing: whoever was banned or left offers and is offered nothing any more; how many.';
insert into private.standing_steps (step, position, statement) values
('offers', 6, 'select private.withdraw_offers_of($1, $2)');

-- What came to nothing keeps nobody's name.
insert into private.erasure_steps (step, phase, erases, statement) values
('offers', 'records', '{}',
    'delete from public.offers where (seller_id = $1 or buyer_id = $1) and payable_id is null');

insert into private.personal_data (section, relation, condition, stays, reason) values
('offers', 'public.offers',
    't.seller_id = $1 or t.buyer_id = $1', '{seller_id, buyer_id, conversation_id, service_id, payable_id}',
    'who agreed on what with whom; the other side keeps it'),
('offer_versions', 'public.offer_versions',
    't.offer_id in (select o.id from public.offers as o where o.seller_id = $1 or o.buyer_id = $1)',
    '{title, terms, requirements_asked}', 'what was offered: the buyer keeps it as it was accepted');

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('offer', 'New offer', 'Somebody made you an offer.', null, null, 'digest', true),
('offer_accepted', 'Offer accepted', 'An offer of yours was accepted; work starts when it is paid.', null, null,
    'immediate', false),
('offer_declined', 'Offer declined', 'An offer of yours was declined.', null, null, 'digest', true);

insert into private.error_codes (code, sqlstate, message, description) values
('offer_not_found', 'PT404', 'This offer does not exist.', 'There is none with that id, or it is not the caller''s.'),
('offer_changed', 'PT409', 'The offer was changed.',
'Another version stands now, the detail says which. Show it and let the buyer decide.'),
('offer_being_paid', 'PT409', 'This offer is just being paid.',
'The payment decides: it becomes an order, or can be ended once the attempt has ended.'),
('too_many_offers', 'PT409', 'There are too many offers.', 'At most 10 open ones for one buyer, 100 versions of each.'),
('not_your_part', 'PT403', 'This is for the other side to do.',
'The detail says whose part it is: the seller''s, the buyer''s.');

-- sql/67_market/16_response_times.sql ---------------------------------------------------------------------------------
-- How long sellers of services take to answer: the median of their first answers to people who wrote to them first, in
-- conversations of two of the last 90 days. Kept up by a sweep, each seller once a day.

create table private.response_checks (
    seller_id uuid not null,
    checked_at timestamptz not null default now(),
    constraint response_checks_pkey primary key (seller_id),
    constraint response_checks_seller_id_fkey foreign key (seller_id)
    references public.profiles (id) on delete cascade
);

create index response_checks_checked_at_idx on private.response_checks (checked_at);

comment on table private.response_checks is 'When response times were last computed.';
comment on column private.response_checks.seller_id is 'Whose.';

alter table private.response_checks enable row level security;

create function private.response_hours(seller uuid) returns integer
language sql
stable
set search_path = ''
as $$
    select ceil(percentile_cont(0.5) within group (order by extract(epoch from a.created_at - m.created_at)) / 3600)
        ::integer
    from public.conversation_participants as p
    inner join public.conversations as c on c.id = p.conversation_id and not c.is_group
    inner join public.messages as m
        on m.conversation_id = c.id and m.number = 1 and m.sender_id <> seller
        and m.created_at > now() - interval '90 days'
    cross join lateral (
        select n.created_at from public.messages as n
        where n.conversation_id = c.id and n.sender_id = seller
        order by n.number
        limit 1
    ) as a
    where p.user_id = seller
$$;
comment on function private.response_hours(uuid) is
'How many hours, rounded up, somebody usually takes to answer a first message; null when there was none to answer.';

create function private.update_response_times(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select s.seller_id
        from (select distinct t.seller_id from public.services as t where t.status = 'active') as s
        left join private.response_checks as c on c.seller_id = s.seller_id
        where c.checked_at is null or c.checked_at < now() - interval '24 hours'
        order by c.checked_at nulls first, s.seller_id
        limit max_rows
    );
begin
    insert into private.response_checks (seller_id)
    select u.id from unnest(chosen) as u (id) order by u.id
    on conflict on constraint response_checks_pkey do update set checked_at = now();
    update public.services as s set response_time_hours = h.hours
    from unnest(chosen) as u (id)
    cross join lateral (select private.response_hours(u.id) as hours) as h
    where s.seller_id = u.id and s.response_time_hours is distinct from h.hours;
    return cardinality(chosen);
end
$$;
comment on function private.update_response_times(integer) is
'Computes services.response_time_hours of up to max_rows sellers with a service on sale, not looked at for a day; how '
'many.';
grant execute on function private.update_response_times(integer) to avenue_worker;

insert into private.personal_data (section, relation, condition) values
('response_checks', 'private.response_checks', 't.seller_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('response_checks', 'business', '{private.response_checks}',
    'delete from private.response_checks where seller_id = $1');

-- sql/67_market/20_service_orders.sql ---------------------------------------------------------------------------------
-- What becomes of a service that was paid: one row for each line, from the buyer's requirements to the approval, and
-- what can happen instead. Which act leads from where to where, and whose it is, are rows
-- (private.service_order_moves); each act is one function: it locks, applies a deadline that has passed, asks those
-- rows, does it, and appends a row to service_order_events. A late job changes no outcome: what time has done is true
-- for every act and every reader (effective_status) before anything is written. Locks: the payments of its lines by
-- id, what is agreed beside it (extras), the order; then what money takes: sales, wallets. Settlement has the payment
-- and what was agreed before it comes here.

alter table private.settings
add column service_approval_period interval not null default '72 hours',
add column service_requirements_period interval not null default '336 hours',
add column service_late_period interval not null default '24 hours',
add column service_least_period interval not null default '24 hours',
add column service_revision_limit interval not null default '1440 hours',
add column service_answer_period interval not null default '48 hours';
comment on column private.settings.service_approval_period is
'How long after the last delivery of a service order silence approves it.';
comment on column private.settings.service_requirements_period is
'How long a buyer has to send the requirements; then either side cancels.';
comment on column private.settings.service_late_period is
'How long after the day of delivery has passed the buyer may cancel.';
comment on column private.settings.service_least_period is
'What is left at least when a clock goes on: after a revision was asked for, a dispute, a freeze.';
comment on column private.settings.service_revision_limit is
'How long after the agreed delivery days a revision may still be due; one beyond it opens a dispute.';
comment on column private.settings.service_answer_period is
'How long an extension or a cancellation that one side proposes can be answered.';

create type public.service_order_status as enum (
    'awaiting_requirements', 'in_progress', 'delivered', 'revision_requested', 'disputed',
    'completed', 'cancelled', 'refunded'
);
comment on type public.service_order_status is
'awaiting_requirements: the buyer has to say what is needed, no clock runs for the seller. in_progress. delivered: '
'approved by silence at auto_approve_at. revision_requested. disputed: an admin decides. The ends: completed, '
'cancelled (by an act here, with or without money back), refunded (all of it went back by a refund or a bank).';

create table private.service_order_moves (
    act text not null,
    actor text not null,
    from_state text not null,
    to_state text not null,
    constraint service_order_moves_pkey primary key (act, actor, from_state, to_state),
    constraint service_order_moves_actor_check check (actor in ('buyer', 'seller', 'admin', 'time', 'money'))
);
comment on table private.service_order_moves is
'Which act of whom leads a service order from which state to which. What is not here is refused.';
comment on column private.service_order_moves.act is 'What is done, as in service_order_events.';
comment on column private.service_order_moves.from_state is 'A state of service_orders.status.';
comment on column private.service_order_moves.to_state is 'The one it leads to.';
comment on column private.service_order_moves.actor is
'Whose it is. time: a deadline passed. money: a refund, a bank, or the end of an account.';
alter table private.service_order_moves enable row level security;

insert into private.service_order_moves (act, actor, from_state, to_state)
select m.act, m.actor, f.state as from_state, t.state as to_state
from (
    values
    ('send_requirements', 'buyer', '{awaiting_requirements}', '{in_progress}'),
    ('deliver', 'seller', '{in_progress,revision_requested}', '{delivered}'),
    ('request_revision', 'buyer', '{delivered}', '{revision_requested,disputed}'),
    ('approve', 'buyer', '{delivered}', '{completed}'),
    ('silence', 'time', '{delivered}', '{completed}'),
    -- Before work starts; later only what is late.
    ('cancel', 'buyer', '{awaiting_requirements,in_progress,revision_requested}', '{cancelled}'),
    ('cancel', 'seller', '{awaiting_requirements,in_progress,delivered,revision_requested}', '{cancelled}'),
    ('settle', 'buyer', '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', '{cancelled}'),
    ('settle', 'seller', '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', '{cancelled}'),
    ('open_dispute', 'buyer', '{in_progress,delivered,revision_requested}', '{disputed}'),
    ('open_dispute', 'seller', '{in_progress,delivered,revision_requested}', '{disputed}'),
    ('withdraw_dispute', 'buyer', '{disputed}', '{in_progress,delivered,revision_requested}'),
    ('withdraw_dispute', 'seller', '{disputed}', '{in_progress,delivered,revision_requested}'),
    ('decide', 'admin', '{disputed}', '{completed,cancelled}'),
    -- The seller was banned or left; what is delivered runs on.
    ('seller_gone', 'money', '{awaiting_requirements,in_progress,revision_requested}', '{cancelled}'),
    ('withdrawn', 'money', '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', '{cancelled}'),
    (
        'refund', 'money', '{awaiting_requirements,in_progress,delivered,revision_requested,disputed,completed}',
        '{refunded}'
    ),
    (
        'refund_failed', 'money', '{refunded}',
        '{awaiting_requirements,in_progress,delivered,revision_requested,disputed,completed}'
    ),
    -- Where the order stays in its state.
    ('propose_extension', 'seller', '{in_progress,revision_requested}', null),
    ('extend', 'buyer', '{in_progress,revision_requested}', null),
    (
        'propose_cancellation', 'buyer',
        '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', null
    ),
    (
        'propose_cancellation', 'seller',
        '{awaiting_requirements,in_progress,delivered,revision_requested,disputed}', null
    ),
    ('offer_extra', 'seller', '{awaiting_requirements,in_progress,revision_requested}', null)
) as m (act, actor, from_states, to_states)
cross join unnest(m.from_states::text[]) as f (state)
cross join unnest(coalesce(m.to_states::text[], array[f.state])) as t (state);

create table public.service_orders (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    service_id uuid,
    offer_id uuid,
    buyer_id uuid not null,
    seller_id uuid not null,
    title text not null,
    package_name text not null,
    package_price_cents bigint not null,
    delivery_days integer not null,
    revisions_included integer not null,
    extras jsonb not null default '[]',
    session_starts_at timestamptz,
    session_ends_at timestamptz,
    requirements_asked text,
    requirements text,
    requirement_files text[] not null default '{}',
    requirements_at timestamptz,
    delivery_files text[] not null default '{}',
    delivery_notes text,
    delivered_at timestamptz,
    status public.service_order_status not null,
    is_open boolean not null generated always as (
        status in ('awaiting_requirements', 'in_progress', 'delivered', 'revision_requested', 'disputed')
    ) stored,
    revisions_used integer not null default 0,
    buyer_approved boolean not null default false,
    due_at timestamptz,
    auto_approve_at timestamptz,
    cancel_after timestamptz,
    revise_until timestamptz not null,
    remaining interval,
    resumes_as text,
    disputing_side text,
    frozen_at timestamptz,
    is_rated boolean not null default true,
    completed_at timestamptz,
    cancelled_at timestamptz,
    cancellation_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint service_orders_pkey primary key (id),
    constraint service_orders_order_item_id_key unique (order_item_id),
    constraint service_orders_offer_id_key unique (offer_id),
    constraint service_orders_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint service_orders_service_id_fkey foreign key (service_id) references public.catalog_items (id),
    constraint service_orders_offer_id_fkey foreign key (offer_id) references public.offers (id),
    constraint service_orders_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint service_orders_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint service_orders_disputing_side_check check (disputing_side in ('buyer', 'seller')),
    constraint service_orders_package_price_cents_check check (private.is_price(package_price_cents)),
    constraint service_orders_revisions_check check (
        revisions_included >= 0 and revisions_used between 0 and revisions_included
    ),
    constraint service_orders_requirements_check check (char_length(requirements) between 1 and 10000),
    constraint service_orders_requirement_files_check check (cardinality(requirement_files) <= 20),
    constraint service_orders_delivery_files_check check (cardinality(delivery_files) <= 20),
    constraint service_orders_delivery_notes_check check (char_length(delivery_notes) between 1 and 10000),
    constraint service_orders_cancellation_reason_check check (private.is_reason(cancellation_reason)),
    -- No clock that does not belong to the state.
    constraint service_orders_clocks_check check (
        (auto_approve_at is null or status = 'delivered')
        and (due_at is null or status in ('in_progress', 'revision_requested'))
        and (status <> 'delivered' or auto_approve_at is not null or frozen_at is not null)
    ),
    constraint service_orders_ends_check check (
        (completed_at is not null or status <> 'completed') and (cancelled_at is not null) = (status = 'cancelled')
    )
)
-- Each act rewrites the row; most of its columns are in no index.
with (fillfactor = 80);

create index service_orders_service_id_idx on public.service_orders (service_id, status);
create index service_orders_buyer_id_created_at_idx on public.service_orders (buyer_id, created_at desc);
create index service_orders_seller_id_created_at_idx on public.service_orders (seller_id, created_at desc);
create index service_orders_auto_approve_at_idx on public.service_orders (auto_approve_at)
where auto_approve_at is not null;

comment on table public.service_orders is
'Services that were bought and paid, from offers too. Buyer, seller and admins read; the acts write.';
comment on column public.service_orders.order_item_id is 'The line that paid it.';
comment on column public.service_orders.service_id is 'The service; null for an offer that names none.';
comment on column public.service_orders.offer_id is 'The offer it was; null when bought from the shop.';
comment on column public.service_orders.title is 'What was bought, as on the line.';
comment on column public.service_orders.package_name is 'The package as it was bought.';
comment on column public.service_orders.package_price_cents is 'Its price, cents: without extras, as it was bought.';
comment on column public.service_orders.delivery_days is
'Days of 24 hours from the start of the work to the delivery, those of extras and extensions counted.';
comment on column public.service_orders.revisions_included is 'How many revisions the price includes.';
comment on column public.service_orders.extras is 'Extras bought with it: [{id, title, price_cents, delivery_days}].';
comment on column public.service_orders.session_starts_at is 'The booked session; null where none is.';
comment on column public.service_orders.session_ends_at is 'Its end.';
comment on column public.service_orders.requirements_asked is
'What the seller asked for when it was bought; null: nothing.';
comment on column public.service_orders.requirements is 'What the buyer answered, at most 10,000 characters.';
comment on column public.service_orders.requirement_files is 'Paths in the private bucket deliveries; at most 20.';
comment on column public.service_orders.requirements_at is 'When they were sent; work started then.';
comment on column public.service_orders.delivery_files is
'Files of the last delivery, paths in the bucket deliveries; all deliveries are service_deliveries.';
comment on column public.service_orders.delivery_notes is 'What the seller wrote with the last delivery.';
comment on column public.service_orders.delivered_at is 'When that was.';
comment on column public.service_orders.status is
'State as it was last written; effective_status says it as it is at this moment.';
comment on column public.service_orders.is_open is 'Whether it has not ended.';
comment on column public.service_orders.revisions_used is 'Revisions asked for.';
comment on column public.service_orders.buyer_approved is 'Approved by the buyer, not by silence.';
comment on column public.service_orders.due_at is
'Until when the seller has to deliver; null while nothing is to be done, or the clock stands still.';
comment on column public.service_orders.auto_approve_at is
'When silence approves: counted from the last delivery. Null while the clock stands still.';
comment on column public.service_orders.cancel_after is
'From when on the other side may cancel alone: requirements were not sent, or the delivery is late.';
comment on column public.service_orders.revise_until is 'A revision due later than this opens a dispute.';
comment on column public.service_orders.remaining is
'What was left on the clock that stands still: of the delivery while delivered, of either in a dispute or a freeze.';
comment on column public.service_orders.resumes_as is 'The state before the dispute, or before the refund.';
comment on column public.service_orders.disputing_side is 'Which side opened the dispute, and may withdraw it.';
comment on column public.service_orders.frozen_at is
'Since when a bank looks at the payment: nothing is approved or ended meanwhile. Null: not.';
comment on column public.service_orders.is_rated is
'Whether it counts for the completion rate: not when it ended before work started.';
comment on column public.service_orders.completed_at is 'When it was approved; by silence: when its time was over.';
comment on column public.service_orders.cancellation_reason is 'Why, in the words of who cancelled.';

create trigger touch_updated_at before update on public.service_orders
for each row execute function private.touch_updated_at();

alter table public.service_orders alter column title set statistics 0;
alter table public.service_orders alter column package_name set statistics 0;
alter table public.service_orders alter column requirements_asked set statistics 0;
alter table public.service_orders alter column requirements set statistics 0;
alter table public.service_orders alter column delivery_notes set statistics 0;
alter table public.service_orders alter column cancellation_reason set statistics 0;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning)
select 'public.service_orders', 'status', null, b.state, b.meaning
from (
    values ('awaiting_requirements', 'paid, the seller asks for something'), ('in_progress', 'paid')
) as b (state, meaning)
union all
select
    'public.service_orders', 'status', m.from_state, m.to_state,
    string_agg(distinct m.act, ', ' order by m.act)
from private.service_order_moves as m
where m.from_state <> m.to_state
group by m.from_state, m.to_state;
select private.build_moves('public.service_orders', 'status');

create table public.service_order_events (
    id bigint generated always as identity,
    service_order_id uuid not null,
    act text not null,
    actor text not null,
    actor_id uuid,
    from_state text,
    to_state text not null,
    amount_cents bigint,
    note text,
    created_at timestamptz not null default clock_timestamp(),
    constraint service_order_events_pkey primary key (id),
    constraint service_order_events_service_order_id_fkey foreign key (service_order_id)
    references public.service_orders (id),
    constraint service_order_events_actor_id_fkey foreign key (actor_id) references public.profiles (id)
    on delete set null,
    constraint service_order_events_actor_check check (actor in ('buyer', 'seller', 'admin', 'time', 'money')),
    constraint service_order_events_note_check check (private.is_note(note))
);
create index service_order_events_service_order_id_idx on public.service_order_events (service_order_id, id);
create index service_order_events_ended_idx on public.service_order_events (created_at)
where to_state in ('completed', 'cancelled', 'refunded') or act = 'refund_failed';
create index service_order_events_actor_id_idx on public.service_order_events (actor_id) where actor_id is not null;
comment on table public.service_order_events is
'What happened to a service order, in its order; only ever added to. Read by whoever reads the order.';
comment on column public.service_order_events.act is 'What was done.';
comment on column public.service_order_events.actor is 'Whose act: buyer, seller, admin, time, money.';
comment on column public.service_order_events.actor_id is 'Who did it; null when nobody did.';
comment on column public.service_order_events.from_state is 'State before; null for the first.';
comment on column public.service_order_events.to_state is 'State after; the same where only something was said.';
comment on column public.service_order_events.amount_cents is
'What goes back to the buyer by it, cents; null: no money moves.';
comment on column public.service_order_events.note is 'What was said with it.';
create trigger refuse_change before update of id, service_order_id, act, actor, from_state, to_state, amount_cents
on public.service_order_events
for each row execute function private.refuse_change();
alter table public.service_order_events alter column note set statistics 0;

alter table public.service_orders enable row level security;
grant select on public.service_orders to authenticated, service_role;
create policy service_orders_select on public.service_orders for select to authenticated
using (
    buyer_id = (select private.member_id())
    or seller_id = (select private.member_id())
    or (select private.is_admin())
);
alter table public.service_order_events enable row level security;
grant select on public.service_order_events to authenticated, service_role;
create policy service_order_events_select on public.service_order_events for select to authenticated
using ((select o.id from public.service_orders as o where o.id = service_order_id) is not null);

-- Extras bought while work is on: a second charge on one order. Its acts are on 24_resolutions.
create type public.service_extra_status as enum ('offered', 'paid', 'declined', 'withdrawn', 'returned');
comment on type public.service_extra_status is
'offered: its payable is to be paid. declined by the buyer; withdrawn by the seller, or because the order has ended. '
'returned: paid and given back.';

create table public.service_order_extras (
    id uuid not null default gen_random_uuid(),
    service_order_id uuid not null,
    seller_id uuid not null,
    title text not null,
    price_cents bigint not null,
    delivery_days integer not null,
    status public.service_extra_status not null default 'offered',
    payable_id uuid,
    order_item_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint service_order_extras_pkey primary key (id),
    constraint service_order_extras_service_order_id_fkey foreign key (service_order_id)
    references public.service_orders (id),
    constraint service_order_extras_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint service_order_extras_payable_id_fkey foreign key (payable_id) references public.payables (id),
    constraint service_order_extras_payable_id_key unique (payable_id),
    constraint service_order_extras_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint service_order_extras_order_item_id_key unique (order_item_id),
    constraint service_order_extras_title_check check (char_length(title) between 1 and 200),
    constraint service_order_extras_price_cents_check check (private.is_price(price_cents) and price_cents > 0),
    constraint service_order_extras_delivery_days_check check (delivery_days between 0 and 365)
);
create index service_order_extras_service_order_id_idx on public.service_order_extras (service_order_id);
create index service_order_extras_seller_id_idx on public.service_order_extras (seller_id);
comment on constraint service_order_extras_title_check on public.service_order_extras is
'invalid_title: An extra''s title has 1 to 200 characters.';
comment on constraint service_order_extras_price_cents_check on public.service_order_extras is
'invalid_price: An extra costs from 50 to 99999999 cents.';
comment on constraint service_order_extras_delivery_days_check on public.service_order_extras is
'invalid_extra: An extra takes 0 to 365 days more.';
comment on table public.service_order_extras is
'What sellers offer on top while they work. Read by whoever reads the order.';
comment on column public.service_order_extras.seller_id is 'The order''s seller.';
comment on column public.service_order_extras.title is 'What it is, in one line.';
comment on column public.service_order_extras.price_cents is 'Price, cents.';
comment on column public.service_order_extras.delivery_days is 'Days of 24 hours it adds, once it is paid.';
comment on column public.service_order_extras.status is 'State.';
comment on column public.service_order_extras.payable_id is 'What the buyer pays, with checkout_payable().';
comment on column public.service_order_extras.order_item_id is 'The line that paid it.';
create trigger _tidy_texts before insert or update of title on public.service_order_extras
for each row execute function private.tidy_texts('title line required');
create trigger touch_updated_at before update on public.service_order_extras
for each row execute function private.touch_updated_at();
alter table public.service_order_extras alter column title set statistics 0;
alter table public.service_order_extras enable row level security;
grant select on public.service_order_extras to authenticated, service_role;
create policy service_order_extras_select on public.service_order_extras for select to authenticated
using ((select o.id from public.service_orders as o where o.id = service_order_id) is not null);
insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.service_order_extras', 'status', null, 'offered', 'by the seller'),
('public.service_order_extras', 'status', 'offered', 'paid', 'checkout_payable() by the buyer'),
('public.service_order_extras', 'status', 'offered', 'declined', 'by the buyer'),
('public.service_order_extras', 'status', 'offered', 'withdrawn', 'by the seller, or the order has ended'),
('public.service_order_extras', 'status', 'paid', 'returned', 'its money went back'),
('public.service_order_extras', 'status', 'returned', 'paid', 'that refund failed later');
select private.build_moves('public.service_order_extras', 'status');

-- What one side proposes and the other answers. Its acts are on 24_resolutions.
create type public.resolution_kind as enum ('extend', 'cancel');
comment on type public.resolution_kind is 'extend: more days. cancel: the order ends, with so much money back.';
create type public.resolution_status as enum ('open', 'accepted', 'declined', 'withdrawn', 'expired');
comment on type public.resolution_status is
'open until answer_by. declined by the other side, withdrawn by who asked. expired: not answered in time, or the order '
'has ended.';

create table public.resolution_requests (
    id uuid not null default gen_random_uuid(),
    service_order_id uuid not null,
    kind public.resolution_kind not null,
    asking_side text not null,
    days integer,
    refund_cents bigint,
    reason text not null,
    status public.resolution_status not null default 'open',
    answer_by timestamptz not null,
    answered_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint resolution_requests_pkey primary key (id),
    constraint resolution_requests_service_order_id_fkey foreign key (service_order_id)
    references public.service_orders (id),
    constraint resolution_requests_asking_side_check check (asking_side in ('buyer', 'seller')),
    constraint resolution_requests_kind_check check (
        case kind when 'extend' then days is not null and refund_cents is null
            else refund_cents is not null and days is null end
    ),
    constraint resolution_requests_days_check check (days between 1 and 60),
    constraint resolution_requests_refund_cents_check check (refund_cents between 0 and private.highest_amount_cents()),
    constraint resolution_requests_reason_check check (private.is_reason(reason))
);
create unique index resolution_requests_one_open_idx on public.resolution_requests (service_order_id, kind)
where status = 'open';
create index resolution_requests_service_order_id_idx on public.resolution_requests (service_order_id);
create index resolution_requests_due_idx on public.resolution_requests (answer_by) where status = 'open';
comment on constraint resolution_requests_days_check on public.resolution_requests is
'invalid_resolution: An extension is from 1 to 60 days.';
comment on constraint resolution_requests_refund_cents_check on public.resolution_requests is
'invalid_resolution: What goes back is 0 or more cents.';
comment on constraint resolution_requests_kind_check on public.resolution_requests is
'invalid_resolution: An extension has days, a cancellation an amount.';
comment on table public.resolution_requests is
'More time, or an end by agreement, that one side proposes; the other one answers. Read by whoever reads the order.';
comment on column public.resolution_requests.kind is 'What is proposed.';
comment on column public.resolution_requests.asking_side is
'Who proposes it: the seller, or for an end either of the two.';
comment on column public.resolution_requests.days is 'How many days of 24 hours more.';
comment on column public.resolution_requests.refund_cents is
'How much the buyer gets back, cents, of all that was paid.';
comment on column public.resolution_requests.reason is 'Why, for the other side.';
comment on column public.resolution_requests.status is 'State as it was last written; see effective_status.';
comment on column public.resolution_requests.answer_by is 'Until when it can be answered.';
create trigger _tidy_texts before insert on public.resolution_requests
for each row execute function private.tidy_texts('reason body required');
create trigger touch_updated_at before update on public.resolution_requests
for each row execute function private.touch_updated_at();
alter table public.resolution_requests alter column reason set statistics 0;
alter table public.resolution_requests enable row level security;
grant select on public.resolution_requests to authenticated, service_role;
create policy resolution_requests_select on public.resolution_requests for select to authenticated
using ((select o.id from public.service_orders as o where o.id = service_order_id) is not null);
insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.resolution_requests', 'status', null, 'open', 'proposed'),
('public.resolution_requests', 'status', 'open', 'accepted', 'by the other side'),
('public.resolution_requests', 'status', 'open', 'declined', 'by the other side'),
('public.resolution_requests', 'status', 'open', 'withdrawn', 'by who proposed it'),
('public.resolution_requests', 'status', 'open', 'expired', 'not answered in time, or the order has ended');
select private.build_moves('public.resolution_requests', 'status');

create function public.effective_status(service_order public.service_orders) returns public.service_order_status
language plpgsql
stable
set search_path = ''
as $$
begin
    return case
        when service_order.status = 'delivered' and service_order.auto_approve_at <= clock_timestamp() then 'completed'
        else service_order.status
    end;
end
$$;
comment on function public.effective_status(public.service_orders) is
'Computed field: the order''s state now, also where silence has approved it and nothing has written that yet.';
grant execute on function public.effective_status(public.service_orders) to authenticated, service_role;

create function public.is_late(service_order public.service_orders) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return coalesce(service_order.due_at <= clock_timestamp(), false);
end
$$;
comment on function public.is_late(public.service_orders) is
'Computed field: whether the delivery is late. What the buyer keeps waiting for is not.';
grant execute on function public.is_late(public.service_orders) to authenticated, service_role;

create function private.service_order_lines(service_order_id uuid) returns uuid[]
language plpgsql
stable
set search_path = ''
as $$
begin
    return array(
        select o.order_item_id from public.service_orders as o where o.id = service_order_lines.service_order_id
        union all
        select e.order_item_id from public.service_order_extras as e
        where e.service_order_id = service_order_lines.service_order_id and e.order_item_id is not null
    );
end
$$;
comment on function private.service_order_lines(uuid) is
'The lines that were paid for an order: its own first, its extras.';

create function private.tell_service_order(told public.service_orders, type text, to_buyer boolean, to_seller boolean)
returns void
language plpgsql
set search_path = ''
as $$
begin
    -- Nobody is named: the two know each other, and a block between them does not keep their order quiet.
    if to_buyer then
        perform private.notify(told.buyer_id, type, null, 'service_order', told.id);
    end if;
    if to_seller then
        perform private.notify(told.seller_id, type, null, 'service_order', told.id);
    end if;
end
$$;
comment on function private.tell_service_order(public.service_orders, text, boolean, boolean) is
'Tells one or both sides something about their order.';

-- By the job, not by the acts: they hold wallets, and whoever sells the same just now waits for those with the row of
-- the service in hand.
create function private.rate_services(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    rated integer;
begin
    with counted as (
        select
            o.service_id,
            round(100.0 * count(*) filter (where o.status = 'completed') / nullif(count(*), 0), 2) as rate
        from public.service_orders as o
        where
            o.is_rated and not o.is_open and o.service_id in (
                select c.service_id from public.service_order_events as e
                inner join public.service_orders as c on c.id = e.service_order_id
                where
                    (e.to_state in ('completed', 'cancelled', 'refunded') or e.act = 'refund_failed')
                    and e.created_at > now() - interval '1 hour'
            )
        group by o.service_id
    )

    update public.services as s set completion_rate = c.rate
    from counted as c
    where
        s.id = c.service_id and s.id in (
            select l.id from public.services as l
            inner join counted as d on d.service_id = l.id
            where l.completion_rate is distinct from d.rate
            order by l.id
            limit max_rows
            for no key update of l skip locked
        );
    get diagnostics rated = row_count;
    return rated;
end
$$;
comment on function private.rate_services(integer) is
'Counts completion rates anew of services whose orders have ended within the hour: of those that ended, without those '
'that ended before work started; how many changed. Call until 0.';
grant execute on function private.rate_services(integer) to avenue_worker;

create function private.write_service_order(
    changed public.service_orders, act text, actor text, actor_id uuid default null, amount_cents bigint default null,
    note text default null
) returns public.service_orders
language plpgsql
set search_path = ''
as $$
declare
    before text;
    silent_at timestamptz;
begin
    select o.status, o.auto_approve_at into strict before, silent_at
    from public.service_orders as o
    where o.id = changed.id;
    if changed.status::text <> before then
        perform from private.service_order_moves as m
        where m.act = write_service_order.act and m.actor = write_service_order.actor and m.from_state = before
            and m.to_state = changed.status::text;
        if not found then
            perform private.fail('state_changed', 'service_order ' || before);
        end if;
    end if;
    if changed.status in ('completed', 'cancelled', 'refunded', 'awaiting_requirements') then
        changed.due_at := null;
        changed.auto_approve_at := null;
    end if;
    if changed.status <> 'disputed' then
        changed.disputing_side := null;
    end if;
    update public.service_orders as o set
        status = changed.status, delivery_days = changed.delivery_days, requirements = changed.requirements,
        requirement_files = changed.requirement_files, requirements_at = changed.requirements_at,
        delivery_files = changed.delivery_files, delivery_notes = changed.delivery_notes,
        delivered_at = changed.delivered_at, revisions_used = changed.revisions_used,
        buyer_approved = changed.buyer_approved, due_at = changed.due_at, auto_approve_at = changed.auto_approve_at,
        cancel_after = changed.cancel_after, revise_until = changed.revise_until, remaining = changed.remaining,
        resumes_as = changed.resumes_as, disputing_side = changed.disputing_side, frozen_at = changed.frozen_at,
        is_rated = changed.is_rated, completed_at = changed.completed_at, cancelled_at = changed.cancelled_at,
        cancellation_reason = changed.cancellation_reason
    where o.id = changed.id
    returning * into changed;
    insert into public.service_order_events (
        service_order_id, act, actor, actor_id, from_state, to_state, amount_cents, note
    ) values (
        changed.id, write_service_order.act, write_service_order.actor, write_service_order.actor_id, before,
        changed.status, write_service_order.amount_cents, write_service_order.note
    );
    -- What is offered on top can be paid until silence approves, and not later.
    if changed.auto_approve_at is distinct from silent_at then
        update public.payables as p set pay_by = changed.auto_approve_at
        from public.service_order_extras as e
        where e.service_order_id = changed.id and e.status = 'offered' and p.id = e.payable_id and p.status = 'open';
    end if;
    return changed;
end
$$;
comment on function private.write_service_order(public.service_orders, text, text, uuid, bigint, text) is
'Writes a locked order as an act has changed it, if it may lead there, and what happened. Error: state_changed.';

create function private.close_service_order(ended public.service_orders) returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.resolution_requests as r set status = 'expired', answered_at = clock_timestamp()
    where r.service_order_id = ended.id and r.status = 'open';
    -- Whatever is paid for it from now on goes back by itself. They are locked.
    update public.payables as p set status = 'withdrawn'
    from public.service_order_extras as e
    where e.service_order_id = ended.id and e.status = 'offered' and p.id = e.payable_id and p.status = 'open';
    update public.service_order_extras as e set status = 'withdrawn'
    where e.service_order_id = ended.id and e.status = 'offered';
end
$$;
comment on function private.close_service_order(public.service_orders) is
'An order has ended: nothing about it can be answered or paid any more.';

create function private.complete_service_order(
    ended public.service_orders, act text, actor text, actor_id uuid, at timestamptz, note text default null
) returns public.service_orders
language plpgsql
set search_path = ''
as $$
begin
    ended.status := 'completed';
    ended.completed_at := at;
    ended.buyer_approved := act = 'approve';
    ended := private.write_service_order(
        ended, act, actor, actor_id, case when act = 'decide' then 0 end, complete_service_order.note
    );
    perform private.close_service_order(ended);
    -- All that was paid for it, at once.
    perform private.complete_lines(private.service_order_lines(ended.id), at);
    perform private.tell_service_order(ended, 'service_completed', act <> 'approve', true);
    return ended;
end
$$;
comment on function private.complete_service_order(public.service_orders, text, text, uuid, timestamptz, text) is
'Ends a locked order as done: its earnings become available after the hold.';

create function private.lock_service_order(service_order_id uuid, is_patient boolean default true)
returns public.service_orders
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    payments uuid[] := array(
        select distinct t.payment_id from public.transactions as t
        where t.order_item_id = any (private.service_order_lines(lock_service_order.service_order_id))
    );
    locked public.service_orders;
begin
    if is_patient then
        perform from public.payments as p where p.id = any (payments) order by p.id for no key update;
        perform from public.payables as p
        where p.id in (
            select e.payable_id from public.service_order_extras as e
            where e.service_order_id = lock_service_order.service_order_id
        )
        order by p.id
        for no key update;
        select * into locked from public.service_orders as o
        where o.id = lock_service_order.service_order_id
        for no key update;
    else
        if cardinality(payments) > cardinality(array(
            select p.id from public.payments as p where p.id = any (payments) for no key update skip locked
        )) or exists (
            select from public.service_order_extras as e
            where
                e.service_order_id = lock_service_order.service_order_id and e.status = 'offered'
                and e.payable_id not in (
                    select p.id from public.payables as p where p.id = e.payable_id for no key update skip locked
                )
        ) then
            return null;
        end if;
        select * into locked from public.service_orders as o
        where o.id = lock_service_order.service_order_id
        for no key update skip locked;
        if locked.id is null then
            return null;
        end if;
    end if;
    -- Decided by the clock after the lock, and by no job: what time has done comes before whatever is asked now.
    if public.effective_status(locked) = 'completed' and locked.status = 'delivered' then
        locked := private.complete_service_order(locked, 'silence', 'time', null, locked.auto_approve_at);
    end if;
    return locked;
end
$$;
comment on function private.lock_service_order(uuid, boolean) is
'The order, locked with the payments of its lines and what is agreed beside it, after a deadline that has passed was '
'applied. Not patient: null where somebody is at it.';

-- What every act begins with.
create function private.begin_service_act(
    service_order_id uuid, act text, out acted public.service_orders, out actor text
)
language plpgsql
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    -- Strangers are turned away before any lock.
    select case when o.buyer_id = member then 'buyer' when o.seller_id = member then 'seller' end into actor
    from public.service_orders as o
    where o.id = begin_service_act.service_order_id;
    if actor is null then
        perform private.fail('service_order_not_found', service_order_id::text);
    elsif not exists (
        select from private.service_order_moves as m
        where m.act = begin_service_act.act and m.actor = begin_service_act.actor
    ) then
        perform private.fail('not_your_part', case actor when 'buyer' then 'seller' else 'buyer' end);
    end if;
    acted := private.lock_service_order(service_order_id);
    if not exists (
        select from private.service_order_moves as m
        where m.act = begin_service_act.act and m.actor = begin_service_act.actor and m.from_state = acted.status::text
    ) then
        perform private.fail('state_changed', 'service_order ' || acted.status);
    elsif acted.frozen_at is not null then
        perform private.fail('order_frozen', acted.id::text);
    end if;
end
$$;
comment on function private.begin_service_act(uuid, text) is
'The order, locked, and which side of it the caller is, for an act that is this side''s and possible now. Errors: '
'service_order_not_found, not_your_part, state_changed, order_frozen.';

-- What PostgreSQL says of two instants has days in it, which are 23 or 25 hours long in some zones.
create function private.hours_until(later timestamptz, earlier timestamptz default clock_timestamp()) returns interval
language plpgsql
stable
strict
set search_path = ''
as $$
begin
    return make_interval(secs => extract(epoch from greatest(later - earlier, interval '0'))::double precision);
end
$$;
comment on function private.hours_until(timestamptz, timestamptz) is
'How long it is from an instant (now) to a later one, in elapsed hours whatever the zone; 0 when it has passed. Null '
'for null.';

create function private.start_service_work(started public.service_orders, at timestamptz) returns public.service_orders
language plpgsql
stable
set search_path = ''
as $$
begin
    select
        case
            when started.session_ends_at is null then at + started.delivery_days * interval '24 hours'
            else greatest(started.session_ends_at, at + s.service_least_period)
        end
    into started.due_at
    from private.settings as s;
    started.cancel_after := started.due_at + (select s.service_late_period from private.settings as s);
    return started;
end
$$;
comment on function private.start_service_work(public.service_orders, timestamptz) is
'The order with its clock running from this moment: a booked session is delivered when it is over.';

-- What selling does. Lines of both kinds, service and offer, have the same details.
create function private.open_service_orders(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    line record;
    made public.service_orders;
    limits private.settings;
    moment timestamptz := clock_timestamp();
begin
    select * into strict limits from private.settings;
    for line in
        select i.*, p.id as purchase_id, coalesce((
            select sum((e.extra ->> 'delivery_days')::integer)
            from jsonb_array_elements(coalesce(i.details -> 'extras', '[]')) as e (extra)
        ), 0)::integer as extra_days, coalesce((
            select sum((e.extra ->> 'price_cents')::bigint)
            from jsonb_array_elements(coalesce(i.details -> 'extras', '[]')) as e (extra)
        ), 0)::bigint as extra_cents
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        where p.id = any (ids)
        order by i.id
    loop
        made := null;
        made.delivery_days := (line.details #>> '{package,delivery_days}')::integer + line.extra_days;
        made.session_ends_at := (line.details #>> '{session,ends_at}')::timestamptz;
        if line.details ->> 'requirements_asked' is null then
            made := private.start_service_work(made, moment);
        else
            made.cancel_after := moment + limits.service_requirements_period;
        end if;
        insert into public.service_orders (
            order_item_id, service_id, offer_id, buyer_id, seller_id, title, package_name, package_price_cents,
            delivery_days, revisions_included, extras, session_starts_at, session_ends_at, requirements_asked, status,
            due_at, cancel_after, revise_until, created_at
        ) values (
            line.id, line.item_id, (line.details #>> '{offer,id}')::uuid, line.buyer_id, line.seller_id, line.title,
            line.details #>> '{package,name}', line.unit_price_cents - line.extra_cents, made.delivery_days,
            (line.details #>> '{package,revisions}')::integer, coalesce(line.details -> 'extras', '[]'),
            (line.details #>> '{session,starts_at}')::timestamptz, made.session_ends_at,
            line.details ->> 'requirements_asked',
            case
                when made.due_at is null then 'awaiting_requirements' else 'in_progress'
            end::public.service_order_status,
            made.due_at, made.cancel_after,
            moment + made.delivery_days * interval '24 hours' + limits.service_revision_limit, moment
        ) returning * into made;
        insert into public.service_order_events (service_order_id, act, actor, actor_id, to_state)
        values (made.id, 'order', 'buyer', made.buyer_id, made.status);
        perform private.tell_service_order(made, 'service_order', false, true);
        if made.due_at is null then
            perform private.tell_service_order(made, 'service_requirements_wanted', true, false);
        end if;
        -- Paid while the seller was banned or left: what follows that comes round once more.
        insert into private.account_changes (user_id, audience)
        select p.id, private.author_audience(p) from public.profiles as p
        where p.id = made.seller_id and (p.is_banned or p.deleted_at is not null)
        on conflict on constraint account_changes_pkey do nothing;
    end loop;
end
$$;
comment on function private.open_service_orders(uuid[]) is 'These purchases are service orders from now on.';

create function private.end_service_orders(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    ended public.service_orders;
begin
    for ended in
        select o.* from public.purchases as p
        inner join public.service_orders as o on o.order_item_id = p.order_item_id
        where p.id = any (ids)
        order by o.id
        for no key update of o
    loop
        -- An act that gives the money back has written it already.
        if ended.status not in ('cancelled', 'refunded') then
            ended.resumes_as := ended.status;
            -- What is left when it is open again, should the refund fail.
            ended.remaining := coalesce(
                private.hours_until(coalesce(ended.auto_approve_at, ended.due_at)),
                ended.remaining
            );
            if reason = 'cancelled' then
                ended.status := 'cancelled';
                ended.cancelled_at := clock_timestamp();
                ended.cancellation_reason := reason;
                perform private.write_service_order(ended, 'withdrawn', 'money', null, null, reason);
            else
                ended.status := 'refunded';
                perform private.write_service_order(ended, 'refund', 'money', null, null, reason);
            end if;
            perform private.close_service_order(ended);
            perform private.tell_service_order(ended, 'service_cancelled', true, true);
        end if;
    end loop;
end
$$;
comment on function private.end_service_orders(uuid[], text) is
'What these purchases gave was taken back: their orders end, and their deliveries are no longer the buyer''s.';

create function private.resume_service_clock(resumed public.service_orders, status public.service_order_status)
returns public.service_orders
language plpgsql
stable
set search_path = ''
as $$
declare
    limits private.settings;
    moment timestamptz := clock_timestamp();
    until timestamptz;
begin
    select * into strict limits from private.settings;
    until := moment + greatest(resumed.remaining, limits.service_least_period);
    resumed.status := status;
    case status
        when 'delivered' then
            resumed.auto_approve_at := until;
        when 'in_progress', 'revision_requested' then
            resumed.due_at := until;
            resumed.cancel_after := until + limits.service_late_period;
        when 'awaiting_requirements' then
            resumed.cancel_after := greatest(resumed.cancel_after, until);
        else
            null;
    end case;
    return resumed;
end
$$;
comment on function private.resume_service_clock(public.service_orders, public.service_order_status) is
'The order in this state, its clock going on with what was left, at least settings.service_least_period.';

create function private.reopen_service_orders(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    back public.service_orders;
begin
    for back in
        select o.* from public.purchases as p
        inner join public.service_orders as o on o.order_item_id = p.order_item_id
        where p.id = any (ids) and o.status = 'refunded'
        order by o.id
        for no key update of o
    loop
        perform private.write_service_order(
            private.resume_service_clock(back, back.resumes_as::public.service_order_status), 'refund_failed', 'money'
        );
    end loop;
end
$$;
comment on function private.reopen_service_orders(uuid[]) is
'A refund of these purchases failed: their orders go on where they were.';

create function private.service_grant(ids uuid[]) returns void
language sql
set search_path = ''
as $$
    select private.open_service_orders(service_grant.ids)
$$;
comment on function private.service_grant(uuid[]) is 'Hook grant: service orders.';
create function private.service_revoke(ids uuid[], reason text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.end_service_orders(ids, reason);
    perform private.free_service_time(array(select p.order_item_id from public.purchases as p where p.id = any (ids)));
end
$$;
comment on function private.service_revoke(uuid[], text) is 'Hook revoke: their orders end, their hours are free.';
create function private.service_restore(ids uuid[]) returns void
language sql
set search_path = ''
as $$
    select private.reopen_service_orders(service_restore.ids)
$$;
comment on function private.service_restore(uuid[]) is 'Hook restore: their orders go on.';
create function private.offer_grant(ids uuid[]) returns void
language sql
set search_path = ''
as $$
    select private.open_service_orders(offer_grant.ids)
$$;
comment on function private.offer_grant(uuid[]) is 'Hook grant: service orders.';
create function private.offer_revoke(ids uuid[], reason text) returns void
language sql
set search_path = ''
as $$
    select private.end_service_orders(offer_revoke.ids, offer_revoke.reason)
$$;
comment on function private.offer_revoke(uuid[], text) is 'Hook revoke: their orders end.';
create function private.offer_restore(ids uuid[]) returns void
language sql
set search_path = ''
as $$
    select private.reopen_service_orders(offer_restore.ids)
$$;
comment on function private.offer_restore(uuid[]) is 'Hook restore: their orders go on.';

-- The end of an order that gives money back, some or all of it: each charge its own amount, under its own key.
create function private.give_service_back(
    ended public.service_orders, amount_cents bigint, act text, actor text, actor_id uuid, reason text,
    fee_bearer text default 'seller', origin public.refund_origin default 'automatic'
) returns public.service_orders
language plpgsql
set search_path = ''
as $$
declare
    lines uuid[] := private.service_order_lines(ended.id);
    sale record;
    whole bigint;
    wanted bigint;
    is_free boolean;
begin
    select
        coalesce(sum(s.remaining), 0)::bigint, count(*) = 0 into whole, is_free
    from private.refundable(lines) as s;
    wanted := coalesce(amount_cents, whole);
    if wanted not between 0 and whole then
        perform private.fail('refund_amount_invalid', format('at most %s cents', whole));
    end if;
    ended.status := 'cancelled';
    ended.cancelled_at := clock_timestamp();
    ended.cancellation_reason := reason;
    ended := private.write_service_order(ended, act, actor, actor_id, wanted, reason);
    perform private.close_service_order(ended);
    for sale in
        select
            s.*, (private.split_cents(wanted, array_agg(s.remaining) over lines))[row_number() over lines] as part
        from private.refundable(lines) as s
        window lines as (order by s.line_no rows between unbounded preceding and unbounded following)
    loop
        if sale.part > 0 then
            perform private.refund_line(sale.transaction_id, sale.part, give_service_back.reason, origin, fee_bearer);
        end if;
        if sale.part = sale.remaining then
            -- The right ends at once, whenever the money arrives.
            perform private.revoke_line(sale.order_item_id, 'cancelled');
        else
            perform private.complete_lines(array[sale.order_item_id]);
        end if;
    end loop;
    -- What cost nothing.
    if is_free then
        perform private.revoke_line(u.line, 'cancelled') from unnest(lines) as u (line);
    elsif wanted < whole then
        perform private.free_service_time(array[ended.order_item_id]);
    end if;
    perform private.tell_service_order(
        ended, 'service_cancelled', actor_id is distinct from ended.buyer_id, actor_id is distinct from ended.seller_id
    );
    return ended;
end
$$;
comment on function private.give_service_back(
    public.service_orders, bigint, text, text, uuid, text, text, public.refund_origin
) is
'Ends a locked order as cancelled and gives so much of all that was paid for it back (null: all that is left), spread '
'over its charges by what is left of each; the rest is earned. Errors: state_changed, refund_amount_invalid, '
'insufficient_funds.';

create function private.refundable(
    lines uuid[]
) returns table (line_no bigint, order_item_id uuid, transaction_id uuid, remaining bigint)
language sql
stable
set search_path = ''
as $$
    select u.no, t.order_item_id, t.id, t.amount_total_cents - t.refunded_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r where r.order_item_id = t.order_item_id and r.is_open
    ), 0)::bigint
    from unnest(lines) with ordinality as u (line, no)
    inner join public.transactions as t on t.order_item_id = u.line
$$;
comment on function private.refundable(uuid[]) is
'What is left of each of these lines, refunds under way counted, cents, in their order.';

create function public.approve_service_order(service_order_id uuid) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
begin
    select * into act from private.begin_service_act(service_order_id, 'approve');
    return private.complete_service_order(act.acted, 'approve', act.actor, auth.uid(), clock_timestamp());
end
$$;
comment on function public.approve_service_order(uuid) is
'Buyer: takes the delivery; the order is completed and earned. Errors: service_order_not_found, not_your_part, '
'state_changed, order_frozen.';
grant execute on function public.approve_service_order(uuid) to authenticated;

create function public.request_revision(service_order_id uuid, note text) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    wanted public.service_orders;
    limits private.settings;
    words text := private.require_reason(request_revision.note);
begin
    select * into act from private.begin_service_act(service_order_id, 'request_revision');
    wanted := act.acted;
    if wanted.revisions_used = wanted.revisions_included then
        perform private.fail('no_revisions_left', wanted.id::text);
    end if;
    select * into strict limits from private.settings;
    wanted.revisions_used := wanted.revisions_used + 1;
    if clock_timestamp() + greatest(wanted.remaining, limits.service_least_period) > wanted.revise_until then
        -- Not into a state whose end has already passed: people look.
        wanted := private.pause_service_order(wanted);
        wanted.disputing_side := 'buyer';
    else
        wanted.auto_approve_at := null;
        wanted := private.resume_service_clock(wanted, 'revision_requested');
    end if;
    wanted := private.write_service_order(wanted, 'request_revision', act.actor, auth.uid(), null, words);
    perform private.tell_service_order(
        wanted, case wanted.status when 'disputed' then 'service_disputed' else 'service_revision' end, false, true
    );
    return wanted;
end
$$;
comment on function public.request_revision(uuid, text) is
'Buyer: wants the delivery changed, at most as often as the order includes; the seller''s time goes on with what was '
'left. Where that would end after revise_until the order is disputed instead. Errors: reason_required, '
'service_order_not_found, not_your_part, state_changed, no_revisions_left, order_frozen.';
grant execute on function public.request_revision(uuid, text) to authenticated;

create function private.pause_service_order(paused public.service_orders) returns public.service_orders
language plpgsql
stable
set search_path = ''
as $$
begin
    paused.resumes_as := paused.status;
    paused.remaining := case
        when paused.status = 'delivered' then private.hours_until(paused.auto_approve_at)
        else private.hours_until(paused.due_at)
    end;
    paused.due_at := null;
    paused.auto_approve_at := null;
    paused.status := 'disputed';
    return paused;
end
$$;
comment on function private.pause_service_order(public.service_orders) is
'The order as disputed: its clock stands still with what is left of it.';

create function public.cancel_service_order(service_order_id uuid, reason text) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    ended public.service_orders;
    words text := private.require_reason(cancel_service_order.reason);
    is_due boolean;
begin
    select * into act from private.begin_service_act(service_order_id, 'cancel');
    ended := act.acted;
    is_due := coalesce(ended.cancel_after <= clock_timestamp(), false);
    -- Nobody has begun: the platform bears what the provider keeps.
    if ended.status = 'awaiting_requirements' and (act.actor = 'buyer' or is_due) then
        ended.is_rated := false;
        return private.give_service_back(ended, null, 'cancel', act.actor, auth.uid(), words, 'platform');
    elsif act.actor = 'buyer' and not is_due then
        perform private.fail('not_late_yet', ended.cancel_after::text);
    end if;
    return private.give_service_back(
        ended, null, 'cancel', act.actor, auth.uid(), words, 'seller',
        case act.actor when 'seller' then 'seller' else 'automatic' end::public.refund_origin
    );
end
$$;
comment on function public.cancel_service_order(uuid, text) is
'Ends an order with all of the money back. Buyer: freely while the requirements are not sent, later when the delivery '
'is late (from cancel_after). Seller: as long as it is not completed; one whose buyer sent no requirements by '
'cancel_after does not count for the completion rate. Errors: reason_required, service_order_not_found, state_changed, '
'not_late_yet, order_frozen, insufficient_funds, refund_amount_invalid.';
grant execute on function public.cancel_service_order(uuid, text) to authenticated;

-- A bank looks at the payment: see private.freeze_sale().
create function private.follow_freeze() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    held public.service_orders;
begin
    for held in
        select o.* from public.transactions as t
        inner join public.service_orders as o on o.order_item_id = t.order_item_id
        where t.id = new.transaction_id
        union
        select o.* from public.transactions as t
        inner join public.service_order_extras as e on e.order_item_id = t.order_item_id
        inner join public.service_orders as o on o.id = e.service_order_id
        where t.id = new.transaction_id
    loop
        held := private.lock_service_order(held.id);
        continue when not held.is_open;
        if new.ended_at is null and held.frozen_at is null then
            held.frozen_at := new.begun_at;
            if held.status <> 'disputed' then
                held.remaining := coalesce(
                    private.hours_until(coalesce(held.auto_approve_at, held.due_at)),
                    held.remaining
                );
                held.due_at := null;
                held.auto_approve_at := null;
            end if;
            held := private.write_service_order(held, 'freeze', 'money', null, null, new.cause);
            perform private.tell_service_order(held, 'service_frozen', true, true);
        elsif new.ended_at is not null and held.frozen_at is not null and not exists (
            select from public.transactions as t
            inner join private.freezes as f on f.transaction_id = t.id and f.ended_at is null
            where t.order_item_id = any (private.service_order_lines(held.id))
        ) then
            held.frozen_at := null;
            if held.status <> 'disputed' then
                held := private.resume_service_clock(held, held.status);
            end if;
            held := private.write_service_order(held, 'thaw', 'money', null, null, new.cause);
            perform private.tell_service_order(held, 'service_thawed', true, true);
            perform private.leave_service_orders(held.seller_id, 100);
        end if;
    end loop;
    return null;
end
$$;
comment on function private.follow_freeze() is
'Trigger on freezes: while a bank looks at the payment an order stands still; then its clock goes on with what was '
'left, at least settings.service_least_period.';
create trigger follow_service_order after insert or update on private.freezes
for each row execute function private.follow_freeze();

-- A seller who was banned or left.
create function private.leave_service_orders(user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid;
    ended public.service_orders;
    done integer := 0;
begin
    if not exists (
        select from public.profiles as p
        where p.id = leave_service_orders.user_id and (p.is_banned or p.deleted_at is not null)
    ) then
        return 0;
    end if;
    for chosen in
        select o.id from public.service_orders as o
        where
            o.seller_id = leave_service_orders.user_id and o.frozen_at is null
            and o.status in ('awaiting_requirements', 'in_progress', 'revision_requested')
        order by o.id
        limit max_rows
    loop
        ended := private.lock_service_order(chosen);
        continue when ended.status not in ('awaiting_requirements', 'in_progress', 'revision_requested')
            or ended.frozen_at is not null;
        perform private.give_service_back(ended, null, 'seller_gone', 'money', null, 'seller_gone');
        done := done + 1;
    end loop;
    return done;
end
$$;
comment on function private.leave_service_orders(uuid, integer) is
'A step after a change of standing: unfinished orders of a seller who was banned or left are cancelled, their refunds '
'asked for at once. What is delivered runs on.';
insert into private.standing_steps (step, position, statement) values
('service_orders', 5, 'select private.leave_service_orders($1, $2)');

create function private.advance_service_orders(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid;
    done integer := 0;
    locked public.service_orders;
begin
    for chosen in
        select o.id from public.service_orders as o
        where o.auto_approve_at <= clock_timestamp()
        order by o.auto_approve_at
        limit max_rows
    loop
        locked := private.lock_service_order(chosen, false);
        done := done + (locked.status = 'completed')::integer;
    end loop;
    return coalesce(done, 0);
end
$$;
comment on function private.advance_service_orders(integer) is
'Makes official what silence has approved, leaving out what somebody is at; how many. Call until 0.';
grant execute on function private.advance_service_orders(integer) to avenue_worker;

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('service_order', 'public.service_orders', null, '/service_orders/{id}', '{}');

insert into private.erasure_steps (step, phase, erases, statement) values
('service_order_events', 'records', '{public.service_order_events.actor_id}',
    'update public.service_order_events set actor_id = null where actor_id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('service_orders', 'public.service_orders',
    't.buyer_id = $1 or t.seller_id = $1',
    '{order_item_id, service_id, offer_id, buyer_id, seller_id, resumes_as, disputing_side, title, package_name, '
    'extras, requirements_asked, requirements, requirement_files, delivery_files, delivery_notes, cancellation_reason}',
    'the books, and the other side''s: what was asked for and done for money'),
('service_order_events', 'public.service_order_events',
    't.service_order_id in (select o.id from public.service_orders as o where o.buyer_id = $1 or o.seller_id = $1)',
    '{service_order_id, act, actor, from_state, to_state, note}', 'what was decided about money, for both sides'),
('service_order_extras', 'public.service_order_extras',
    't.service_order_id in (select o.id from public.service_orders as o where o.buyer_id = $1 or o.seller_id = $1)',
    '{service_order_id, seller_id, title, payable_id, order_item_id}', 'the books: who paid whom for what'),
('resolution_requests', 'public.resolution_requests',
    't.service_order_id in (select o.id from public.service_orders as o where o.buyer_id = $1 or o.seller_id = $1)',
    '{service_order_id, asking_side, reason}', 'what was agreed about money, for both sides');

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('service_order', 'New order', 'Somebody ordered a service of yours.', null, null, 'immediate', false),
('service_requirements_wanted', 'Your seller needs something', 'Work on your order starts when you have answered.',
    null, null, 'immediate', false),
('service_requirements', 'Work can start', 'The buyer of an order sent what you asked for.', null, null, 'immediate',
    false),
('service_delivered', 'Delivery', 'Your order was delivered: approve it, or ask for a revision in time.', null, null,
    'immediate', false),
('service_reminder', 'Please look at your delivery', 'Without an answer your order is approved tomorrow.', null, null,
    'immediate', false),
('service_revision', 'Revision', 'A buyer asks for a revision.', null, null, 'immediate', false),
('service_completed', 'Order completed', 'A service order is completed.', null, null, 'digest', false),
('service_cancelled', 'Order cancelled', 'A service order was cancelled.', null, null, 'immediate', false),
('service_disputed', 'Dispute', 'There is a dispute about a service order.', null, null, 'immediate', false),
('service_dispute_withdrawn', 'Dispute withdrawn', 'The dispute about a service order was withdrawn.', null, null,
    'immediate', false),
('service_frozen', 'Order on hold', 'A bank looks at the payment of a service order.', null, null, 'immediate', false),
('service_thawed', 'Order goes on', 'The payment of a service order is in order.', null, null, 'immediate', false),
('service_proposal', 'Proposal', 'The other side of a service order proposes something; please answer in time.', null,
    null, 'immediate', false),
('service_answer', 'Answer', 'Your proposal about a service order was answered.', null, null, 'immediate', false);

insert into private.error_codes (code, sqlstate, message, description) values
('service_order_not_found', 'PT404', 'This order does not exist.',
'There is no service order with that id, or the caller has no part in it.'),
('no_revisions_left', 'PT409', 'All revisions are used.',
'Approve the delivery, agree on something with the seller, or open a dispute; silence still approves.'),
('not_late_yet', 'PT409', 'This order is not late.',
'Its buyer can cancel alone from cancel_after on, the detail. Propose to end it by agreement, or open a dispute.'),
('order_frozen', 'PT409', 'This order is on hold.',
'The buyer''s bank looks at the payment. Nothing is decided until it is done; then the clock goes on.');

-- sql/67_market/22_service_order_files.sql ----------------------------------------------------------------------------
-- What goes between the two sides of a service order: requirements and deliveries, texts and files. Files are in the
-- private bucket deliveries as <own id>/<service order>/<name>, uploaded before; what an order refers to neither
-- changes nor goes (40_catalog/50_storage).

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
select 'deliveries', 'deliveries', false, b.file_size_limit, b.allowed_mime_types
from storage.buckets as b
where b.id = 'product-files';

create table public.service_deliveries (
    id uuid not null default gen_random_uuid(),
    service_order_id uuid not null,
    number integer not null,
    notes text,
    files text[] not null default '{}',
    delivered_at timestamptz not null default clock_timestamp(),
    reminded_at timestamptz,
    constraint service_deliveries_pkey primary key (id),
    constraint service_deliveries_number_key unique (service_order_id, number),
    constraint service_deliveries_service_order_id_fkey foreign key (service_order_id)
    references public.service_orders (id),
    constraint service_deliveries_notes_check check (char_length(notes) between 1 and 10000),
    constraint service_deliveries_files_check check (cardinality(files) <= 20),
    -- An empty delivery would only stop the clock.
    constraint service_deliveries_substance_check check (notes is not null or files <> '{}')
);
create index service_deliveries_unreminded_idx on public.service_deliveries (delivered_at) where reminded_at is null;
comment on constraint service_deliveries_notes_check on public.service_deliveries is
'invalid_delivery: What is written with a delivery has at most 10,000 characters.';
comment on constraint service_deliveries_files_check on public.service_deliveries is
'invalid_delivery: A delivery has at most 20 files.';
comment on constraint service_deliveries_substance_check on public.service_deliveries is
'invalid_delivery: A delivery has a file or a text.';
comment on table public.service_deliveries is
'What sellers delivered, time by time. Read by whoever reads the order; deliver_service_order() writes.';
comment on column public.service_deliveries.number is 'Which delivery of the order, from 1.';
comment on column public.service_deliveries.notes is 'What the seller wrote with it.';
comment on column public.service_deliveries.files is 'Up to 20 paths in the private bucket deliveries.';
comment on column public.service_deliveries.reminded_at is
'When its buyer was reminded that silence approves: once for each delivery.';
alter table public.service_deliveries alter column notes set statistics 0;
alter table public.service_deliveries alter column files set statistics 0;

alter table public.service_deliveries enable row level security;
grant select on public.service_deliveries to authenticated, service_role;
create policy service_deliveries_select on public.service_deliveries for select to authenticated
using ((select o.id from public.service_orders as o where o.id = service_order_id) is not null);

create function private.require_delivery_files(service_order_id uuid, files text[]) returns text[]
language plpgsql
set search_path = ''
as $$
declare
    wanted text[] := coalesce(files, '{}');
    unusable text;
begin
    if cardinality(wanted) > 20 then
        perform private.fail('too_many_delivery_files');
    end if;
    -- An upload to the same path that is just finishing waits, and then finds this order.
    perform from storage.objects as o
    where o.bucket_id = 'deliveries' and o.name = any (wanted)
    order by o.name
    for share;
    select string_agg(a.path, ', ') into unusable
    from (
        select u.path, row_number() over (partition by u.path) as occurrence from unnest(wanted) as u (path)
    ) as a
    where
        a.path is null
        or a.occurrence > 1
        or not starts_with(a.path, auth.uid() || '/' || require_delivery_files.service_order_id || '/')
        or not exists (
            select from storage.objects as o where o.bucket_id = 'deliveries' and o.name = a.path
        );
    if unusable is not null or array_position(wanted, null) is not null then
        perform private.fail('delivery_file_not_found', left(unusable, 2000));
    end if;
    return wanted;
end
$$;
comment on function private.require_delivery_files(uuid, text[]) is
'These paths, if the caller has stored each of them for the order. Errors: too_many_delivery_files, '
'delivery_file_not_found.';

create function public.send_requirements(
    service_order_id uuid, requirements text default null, files text[] default null
) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    sent public.service_orders;
    words text := nullif(private.tidy_body(send_requirements.requirements), '');
    moment timestamptz;
begin
    select * into act from private.begin_service_act(service_order_id, 'send_requirements');
    sent := act.acted;
    sent.requirements := words;
    sent.requirement_files := private.require_delivery_files(sent.id, send_requirements.files);
    if words is null and sent.requirement_files = '{}' then
        perform private.fail('nothing_sent', sent.id::text);
    elsif char_length(words) > 10000 then
        perform private.fail('invalid_requirements');
    end if;
    moment := clock_timestamp();
    sent.requirements_at := moment;
    -- The day until which a revision may be due is counted from the start of the work.
    sent.revise_until := sent.revise_until + private.hours_until(moment, sent.created_at);
    sent := private.start_service_work(sent, moment);
    sent.status := 'in_progress';
    sent := private.write_service_order(sent, 'send_requirements', act.actor, auth.uid());
    perform private.tell_service_order(sent, 'service_requirements', false, true);
    return sent;
end
$$;
comment on function public.send_requirements(uuid, text, text[]) is
'Buyer: what the seller asked for, a text or files or both; work starts, and its clock. Errors: '
'service_order_not_found, not_your_part, state_changed, order_frozen, nothing_sent, invalid_requirements, '
'too_many_delivery_files, delivery_file_not_found.';
grant execute on function public.send_requirements(uuid, text, text[]) to authenticated;

create function public.deliver_service_order(
    service_order_id uuid, notes text default null, files text[] default null
) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    sent public.service_orders;
    words text := nullif(private.tidy_body(deliver_service_order.notes), '');
    moment timestamptz;
begin
    select * into act from private.begin_service_act(service_order_id, 'deliver');
    sent := act.acted;
    sent.delivery_notes := words;
    sent.delivery_files := private.require_delivery_files(sent.id, deliver_service_order.files);
    if words is null and sent.delivery_files = '{}' then
        perform private.fail('nothing_sent', sent.id::text);
    end if;
    moment := clock_timestamp();
    insert into public.service_deliveries (service_order_id, number, notes, files, delivered_at)
    select sent.id, count(*) + 1, words, sent.delivery_files, moment
    from public.service_deliveries as d
    where d.service_order_id = sent.id;
    -- A revision goes on with what is left now.
    sent.remaining := private.hours_until(sent.due_at, moment);
    sent.due_at := null;
    sent.cancel_after := null;
    sent.delivered_at := moment;
    -- From this delivery, the last one: an earlier one's silence is over.
    sent.auto_approve_at := moment + (select s.service_approval_period from private.settings as s);
    sent.status := 'delivered';
    sent := private.write_service_order(sent, 'deliver', act.actor, auth.uid());
    perform private.tell_service_order(sent, 'service_delivered', true, false);
    return sent;
end
$$;
comment on function public.deliver_service_order(uuid, text, text[]) is
'Seller: delivers, a text or files or both; without an answer of the buyer the order is approved at auto_approve_at. '
'Errors: service_order_not_found, not_your_part, state_changed, order_frozen, nothing_sent, too_many_delivery_files, '
'delivery_file_not_found, invalid_delivery (23514).';
grant execute on function public.deliver_service_order(uuid, text, text[]) to authenticated;

create function private.remind_service_buyers(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    delivery record;
    told integer := 0;
begin
    for delivery in
        with last_chance as (
            update public.service_deliveries as d set reminded_at = clock_timestamp()
            where d.id in (
                select l.id from public.service_deliveries as l
                inner join public.service_orders as o
                    on o.id = l.service_order_id and o.delivered_at = l.delivered_at
                    and o.auto_approve_at between clock_timestamp() and clock_timestamp() + interval '24 hours'
                where l.reminded_at is null
                order by l.delivered_at
                limit max_rows
                for no key update of l skip locked
            )
            returning d.service_order_id
        )

        select o.* from last_chance as l inner join public.service_orders as o on o.id = l.service_order_id
    loop
        perform private.notify(delivery.buyer_id, 'service_reminder', null, 'service_order', delivery.id);
        told := told + 1;
    end loop;
    return told;
end
$$;
comment on function private.remind_service_buyers(integer) is
'Reminds buyers a day before silence approves, once for each delivery; how many. Call until 0.';
grant execute on function private.remind_service_buyers(integer) to avenue_worker;

create function private.unused_delivery_files(max_rows integer default 1000) returns table (bucket text, path text)
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return query
    select o.bucket_id, o.name
    from storage.objects as o
    where
        o.bucket_id = 'deliveries' and o.created_at < now() - interval '168 hours' and not private.is_delivered(o.name)
    order by o.name
    limit max_rows;
end
$$;
comment on function private.unused_delivery_files(integer) is
'Stored files, a week old, that no service order refers to: uploaded and never sent.';
grant execute on function private.unused_delivery_files(integer) to avenue_worker;

insert into private.personal_data (section, relation, condition, stays, reason) values
('service_deliveries', 'public.service_deliveries',
    't.service_order_id in (select o.id from public.service_orders as o where o.buyer_id = $1 or o.seller_id = $1)',
    '{service_order_id, notes, files}', 'what was done for money: its buyer keeps it');

insert into private.error_codes (code, sqlstate, message, description) values
('nothing_sent', 'PT400', 'There is nothing in it.', 'Requirements and deliveries have a text or at least one file.'),
('invalid_requirements', 'PT400', 'This text is too long.', 'Requirements have at most 10,000 characters.'),
('too_many_delivery_files', 'PT400', 'These are too many files.', 'At most 20; put them into an archive.'),
('delivery_file_not_found', 'PT400', 'A file was not uploaded.',
'Upload to the bucket deliveries as <own id>/<service order id>/<name> first and name each file once. The detail lists '
'the paths.');

-- sql/67_market/50_license_keys.sql -----------------------------------------------------------------------------------
-- Licence keys of products that ask for them: one for each line that granted the product, with as many seats as were
-- bought. A key is never stored: it is derived from a secret of the platform and the row, so that its owner can see it
-- again, and compared by a slow hash. Software asks check_license() with the key alone and learns nothing else. A
-- refund and the seller disable it in two columns of their own, so that neither undoes what the other did.

create extension if not exists pgcrypto with schema extensions;

alter table public.products
add column license_seats integer,
add constraint products_license_seats_check check (license_seats between 1 and 1000);
comment on constraint products_license_seats_check on public.products is
'invalid_seats: A licence has from 1 to 1,000 seats.';
comment on column public.products.license_seats is
'Each sale from now on gets a licence key, for this many devices for each piece bought; null: no keys.';
grant insert (license_seats), update (license_seats) on public.products to authenticated;

-- Made when the first key is: no two platforms have the same.
create table private.license_secret (
    is_only boolean not null default true,
    secret bytea not null default extensions.gen_random_bytes(32),
    constraint license_secret_pkey primary key (is_only),
    constraint license_secret_is_only_check check (is_only),
    constraint license_secret_secret_check check (octet_length(secret) = 32)
);
comment on table private.license_secret is
'What licence keys are derived from: one row. Whoever has it and the table of keys can make every key; losing it, '
'nobody sees their key again, but those in use go on working.';
comment on column private.license_secret.is_only is 'True: there is one.';
comment on column private.license_secret.secret is '32 random bytes; nobody is granted it.';
alter table private.license_secret enable row level security;

create table public.license_keys (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    product_id uuid not null,
    owner_id uuid not null,
    seats integer not null,
    activations_count integer not null default 0,
    disabled_by_refund_at timestamptz,
    disabled_by_seller_at timestamptz,
    is_valid boolean not null generated always as (
        disabled_by_refund_at is null and disabled_by_seller_at is null
    ) stored,
    created_at timestamptz not null default now(),
    constraint license_keys_pkey primary key (id),
    constraint license_keys_line_key unique (order_item_id, product_id),
    constraint license_keys_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint license_keys_product_id_fkey foreign key (product_id) references public.products (id),
    constraint license_keys_owner_id_fkey foreign key (owner_id) references public.profiles (id),
    constraint license_keys_seats_check check (seats between 1 and 99000),
    constraint license_keys_activations_count_check check (activations_count >= 0)
);
create index license_keys_product_id_created_at_idx on public.license_keys (product_id, created_at desc);
create index license_keys_owner_id_created_at_idx on public.license_keys (owner_id, created_at desc);

comment on table public.license_keys is
'Licence keys, without the keys: their owner sees one by show_license_key(). Owner, seller and admins read; '
'settlement, refunds and set_license_disabled() write.';
comment on column public.license_keys.order_item_id is 'The line that granted it.';
comment on column public.license_keys.product_id is 'The product.';
comment on column public.license_keys.owner_id is 'Who owns the product by it.';
comment on column public.license_keys.seats is 'On how many devices it can be active at once.';
comment on column public.license_keys.disabled_by_refund_at is
'When the money went back; null again when that fails.';
comment on column public.license_keys.disabled_by_seller_at is 'When its seller disabled it; only they undo it.';
comment on column public.license_keys.is_valid is 'Neither.';

create table private.license_hashes (
    license_key_id uuid not null,
    product_id uuid not null,
    key_hash bytea not null,
    constraint license_hashes_pkey primary key (license_key_id),
    constraint license_hashes_key unique (product_id, key_hash),
    constraint license_hashes_license_key_id_fkey foreign key (license_key_id)
    references public.license_keys (id) on delete cascade,
    constraint license_hashes_product_id_fkey foreign key (product_id) references public.products (id)
);
comment on table private.license_hashes is 'What a key is compared with, apart from what clients read.';
comment on column private.license_hashes.key_hash is 'See license_hash().';
alter table private.license_hashes enable row level security;

create table public.license_activations (
    id uuid not null default gen_random_uuid(),
    license_key_id uuid not null,
    device_id text not null,
    device_name text,
    activated_at timestamptz not null default now(),
    constraint license_activations_pkey primary key (id),
    constraint license_activations_device_key unique (license_key_id, device_id),
    constraint license_activations_license_key_id_fkey foreign key (license_key_id)
    references public.license_keys (id) on delete cascade,
    constraint license_activations_device_id_check check (char_length(device_id) between 1 and 200),
    constraint license_activations_device_name_check check (char_length(device_name) between 1 and 100)
);
comment on constraint license_activations_device_id_check on public.license_activations is
'invalid_device: A device is named by 1 to 200 characters.';
comment on constraint license_activations_device_name_check on public.license_activations is
'invalid_device: A device''s name has at most 100 characters.';
comment on table public.license_activations is
'Devices a licence is active on. Only its owner reads them; written by activate_license() and deactivate_license().';
comment on column public.license_activations.device_id is
'What the software calls the device; the same one is one seat.';
comment on column public.license_activations.device_name is 'For people.';

select private.make_counter('public.license_activations', 'license_key_id', 'activations_count');

create function private.license_key(id uuid) returns text
language sql
stable
security definer
set search_path = ''
as $$
    -- 125 of the 256 bits, five to a letter, without I, L, O, U.
    select string_agg(
        case when n > 0 and n % 5 = 0 then '-' else '' end || substr(
            '0123456789ABCDEFGHJKMNPQRSTVWXYZ',
            1 + substring(h.bits from 1 + 5 * n for 5)::bit(5)::integer, 1
        ), '' order by n
    )
    from private.license_secret as s
    cross join lateral (
        select (
            'x' || encode(extensions.hmac(uuid_send(license_key.id), s.secret, 'sha256'), 'hex')
        )::bit(256) as bits
    ) as h
    cross join generate_series(0, 24) as n
$$;
comment on function private.license_key(uuid) is
'A key, five groups of five letters and digits: 125 bits nobody guesses. Null while there is no secret.';

create function private.license_hash(product_id uuid, key text) returns bytea
language plpgsql
immutable
set search_path = ''
as $$
declare
    -- As people type it.
    hash bytea := convert_to(product_id::text || translate(
        upper(regexp_replace(left(coalesce(key, ''), 100), '[^A-Za-z0-9]', '', 'g')), 'OIL', '011'
    ), 'UTF8');
begin
    for n in 1..2000 loop
        hash := sha256(hash);
    end loop;
    return hash;
end
$$;
comment on function private.license_hash(uuid, text) is
'What a key of a product is compared by, upper and lower case, hyphens and lookalikes aside. 2,000 rounds: every look, '
'right or wrong, takes the same milliseconds.';

create function private.issue_licenses(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (
        select from public.purchases as p
        inner join public.products as g on g.id = p.item_id
        where p.id = any (ids) and g.license_seats is not null and p.owner_id is not null
    ) then
        return;
    end if;
    insert into private.license_secret default values on conflict on constraint license_secret_pkey do nothing;
    with issued as (
        insert into public.license_keys (order_item_id, product_id, owner_id, seats)
        select i.id, g.id, p.owner_id, g.license_seats * i.quantity
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        inner join public.products as g on g.id = p.item_id
        where p.id = any (ids) and g.license_seats is not null and p.owner_id is not null
        order by p.id
        -- Several units of one line are one key.
        on conflict on constraint license_keys_line_key do nothing
        returning id, product_id
    )
    insert into private.license_hashes (license_key_id, product_id, key_hash)
    select n.id, n.product_id, private.license_hash(n.product_id, private.license_key(n.id)) from issued as n;
end
$$;
comment on function private.issue_licenses(uuid[]) is
'Makes the keys of these purchases of products that ask for them.';

create function private.product_grant(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.issue_licenses(ids);
end
$$;
comment on function private.product_grant(uuid[]) is 'Hook grant: what was bought gets its licence key.';

create function private.product_revoke(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.license_keys as k set disabled_by_refund_at = now()
    from public.purchases as p
    where
        p.id = any (ids) and k.order_item_id = p.order_item_id and k.product_id = p.item_id
        and k.disabled_by_refund_at is null;
end
$$;
comment on function private.product_revoke(uuid[], text) is 'Hook revoke: a licence key ends with the right to it.';

create function private.product_restore(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.license_keys as k set disabled_by_refund_at = null
    from public.purchases as p
    where p.id = any (ids) and k.order_item_id = p.order_item_id and k.product_id = p.item_id;
end
$$;
comment on function private.product_restore(uuid[]) is
'Hook restore: the refund failed. What the seller disabled stays so.';

create function public.show_license_key(license_id uuid) returns text
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    if not exists (
        select from public.license_keys as k where k.id = show_license_key.license_id and k.owner_id = member
    ) then
        perform private.fail('license_not_found');
    end if;
    return private.license_key(show_license_key.license_id);
end
$$;
comment on function public.show_license_key(uuid) is
'The key of a licence of the caller''s, for their eyes: as often as they like. Error: license_not_found.';
grant execute on function public.show_license_key(uuid) to authenticated;

create function private.license_by_key(product_id uuid, key text) returns uuid
language sql
stable
security definer
set search_path = ''
as $$
    select h.license_key_id from private.license_hashes as h
    where
        h.product_id = license_by_key.product_id
        and h.key_hash = private.license_hash(license_by_key.product_id, license_by_key.key)
$$;
comment on function private.license_by_key(uuid, text) is 'Whose key this is of the product''s; null: nobody''s.';

create type public.license_state as enum ('valid', 'unknown', 'refunded', 'disabled');
comment on type public.license_state is
'What a key is worth. unknown: no key of this product. refunded: its money went back. disabled: by its seller.';

create type public.license_check as (is_valid boolean, state public.license_state);
comment on type public.license_check is 'Whether a key is valid, or why not. Always both, and nothing more.';

create function public.check_license(product_id uuid, key text) returns public.license_check
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    -- Before anything is looked up, whatever was sent.
    hash bytea := private.license_hash(coalesce(check_license.product_id, private.last_uuid()), check_license.key);
    state public.license_state;
begin
    select case
        when k.disabled_by_refund_at is not null then 'refunded'
        when k.disabled_by_seller_at is not null then 'disabled'
        else 'valid'
    end into state
    from private.license_hashes as h
    inner join public.license_keys as k on k.id = h.license_key_id
    where h.product_id = check_license.product_id and h.key_hash = hash;
    state := coalesce(state, 'unknown');
    return row(state = 'valid', state)::public.license_check;
end
$$;
comment on function public.check_license(uuid, text) is
'Software asks, without signing in, whether its key of a product is valid, or why not. Changes nothing and names '
'nobody. Send it by POST, so that no log has the key. No errors.';
grant execute on function public.check_license(uuid, text) to anon, authenticated;

create function private.lock_license(product_id uuid, key text, owner uuid) returns public.license_keys
language plpgsql
security definer
set search_path = ''
as $$
declare
    license public.license_keys;
begin
    -- Of several devices at once each sees the seats the others took.
    select * into license from public.license_keys as k
    where k.id = private.license_by_key(lock_license.product_id, lock_license.key) and k.owner_id = owner
    for no key update;
    if license.id is null then
        perform private.fail('license_not_found');
    end if;
    return license;
end
$$;
comment on function private.lock_license(uuid, text, uuid) is
'The licence of this owner with this key, locked; license_not_found for any other key.';

create function public.activate_license(product_id uuid, key text, device_id text, device_name text default null)
returns public.license_activations
language plpgsql
security definer
set search_path = ''
as $$
declare
    license public.license_keys := private.lock_license(
        activate_license.product_id, activate_license.key, private.require_member()
    );
    activation public.license_activations;
    device text := nullif(private.tidy_name(activate_license.device_id), '');
begin
    if device is null then
        perform private.fail('invalid_device', 'device_id');
    elsif not license.is_valid then
        perform private.fail('license_disabled', case
            when license.disabled_by_refund_at is not null then 'refunded' else 'disabled'
        end);
    end if;
    select * into activation from public.license_activations as a
    where a.license_key_id = license.id and a.device_id = device;
    if activation.id is not null then
        return activation;
    end if;
    if (select count(*) from public.license_activations as a where a.license_key_id = license.id) >= license.seats then
        perform private.fail('no_seats_left', license.seats::text);
    end if;
    insert into public.license_activations (license_key_id, device_id, device_name)
    values (license.id, device, activate_license.device_name)
    returning * into activation;
    return activation;
end
$$;
comment on function public.activate_license(uuid, text, text, text) is
'The owner of a licence takes one of its seats for a device; the same device again answers the same row. Errors: '
'license_not_found, license_disabled, no_seats_left, invalid_device.';
grant execute on function public.activate_license(uuid, text, text, text) to authenticated;

create function public.deactivate_license(product_id uuid, key text, device_id text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    license public.license_keys := private.lock_license(
        deactivate_license.product_id, deactivate_license.key, private.require_member()
    );
begin
    delete from public.license_activations as a
    where a.license_key_id = license.id and a.device_id = private.tidy_name(deactivate_license.device_id);
end
$$;
comment on function public.deactivate_license(uuid, text, text) is
'The owner frees the seat of a device; one that has none is no error. Error: license_not_found.';
grant execute on function public.deactivate_license(uuid, text, text) to authenticated;

create function public.set_license_disabled(license_id uuid, disabled boolean) returns public.license_keys
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    license public.license_keys;
begin
    update public.license_keys as k
    set disabled_by_seller_at = case when coalesce(disabled, true) then coalesce(k.disabled_by_seller_at, now()) end
    where
        k.id = set_license_disabled.license_id
        and exists (select from public.products as p where p.id = k.product_id and p.seller_id = member)
    returning * into license;
    if license.id is null then
        perform private.fail('license_not_found');
    end if;
    return license;
end
$$;
comment on function public.set_license_disabled(uuid, boolean) is
'The seller disables a licence of their product or lets it work again; what a refund did is not theirs to undo. Error: '
'license_not_found.';
grant execute on function public.set_license_disabled(uuid, boolean) to authenticated;

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of device_id, device_name on public.license_activations
for each row execute function private.tidy_texts('device_id line', 'device_name line');

alter table public.license_keys enable row level security;
grant select on public.license_keys to authenticated, service_role;
create policy license_keys_select on public.license_keys for select to authenticated
using (
    owner_id = (select private.member_id())
    or (select private.is_admin())
    or exists (
        select from public.products as p
        where p.id = license_keys.product_id and p.seller_id = (select private.member_id())
    )
);

alter table public.license_activations enable row level security;
grant select on public.license_activations to authenticated, service_role;
create policy license_activations_select on public.license_activations for select to authenticated
using (
    exists (
        select from public.license_keys as k
        where k.id = license_activations.license_key_id and k.owner_id = (select private.member_id())
    )
);

insert into private.personal_data (section, relation, condition, stays, reason) values
('license_keys', 'public.license_keys', 't.owner_id = $1', '{owner_id}', 'the books: who bought what');
insert into private.personal_data (section, relation, condition) values
('license_activations', 'public.license_activations',
    't.license_key_id in (select k.id from public.license_keys as k where k.owner_id = $1)');
insert into private.erasure_steps (step, phase, erases, statement) values
('license_activations', 'records', '{public.license_activations}', $step$
    delete from public.license_activations as a using public.license_keys as k
    where k.id = a.license_key_id and k.owner_id = $1
$step$);

insert into private.error_codes (code, sqlstate, message, description) values
('license_not_found', 'PT404', 'There is no such licence.',
'Not one of the caller''s: a wrong key, another product''s or somebody else''s are all answered like this.'),
('license_disabled', 'PT409', 'This licence does not work any more.', 'The detail says why: refunded or disabled.'),
('invalid_device', 'PT400', 'A device has a name.', 'Send device_id, 1 to 200 characters that can be seen.'),
('no_seats_left', 'PT409', 'All seats of this licence are taken.',
'The detail says how many it has. Deactivate a device first.');

-- sql/67_market/52_file_versions.sql ----------------------------------------------------------------------------------
-- Versions of a product's files. A seller releases new files with notes; those they replace are removed for whoever
-- buys from now on and stay for whoever bought before (45_product_files). Owners are told, some at a time, by the
-- workers:
-- the version's row is the truth of how far that went.

create table public.product_versions (
    id uuid not null default gen_random_uuid(),
    product_id uuid not null,
    number integer not null,
    name text,
    notes text not null,
    told_up_to uuid,
    told_at timestamptz,
    created_at timestamptz not null default now(),
    constraint product_versions_pkey primary key (id),
    constraint product_versions_number_key unique (product_id, number),
    constraint product_versions_product_id_fkey foreign key (product_id)
    references public.products (id) on delete cascade,
    constraint product_versions_number_check check (number >= 2),
    constraint product_versions_name_check check (char_length(name) between 1 and 50),
    constraint product_versions_notes_check check (char_length(notes) between 1 and 5000)
);
create index product_versions_untold_idx on public.product_versions (created_at) where told_at is null;

comment on constraint product_versions_name_check on public.product_versions is
'invalid_version: A version''s name has at most 50 characters.';
comment on constraint product_versions_notes_check on public.product_versions is
'invalid_version: Notes have 1 to 5,000 characters.';
comment on table public.product_versions is
'What was released of a product after it was made: readable with the product, written by release_version().';
comment on column public.product_versions.number is 'Counts from 2: what a product begins with is the first.';
comment on column public.product_versions.name is 'What its seller calls it, such as 1.4.';
comment on column public.product_versions.notes is 'What is new, at most 5,000 characters.';
comment on column public.product_versions.told_up_to is 'The last owner who was told, by id.';
comment on column public.product_versions.told_at is 'When all owners were told; null until then.';

alter table public.product_files
add column version_id uuid,
add constraint product_files_version_id_fkey foreign key (version_id)
references public.product_versions (id) on delete set null;
create index product_files_version_id_idx on public.product_files (version_id) where version_id is not null;
comment on column public.product_files.version_id is
'The version that brought it; null: there from the start, or added by itself.';

create function public.release_version(
    product_id uuid, notes text, files jsonb, replaces uuid[] default null, name text default null
) returns public.product_versions
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    product public.products;
    version public.product_versions;
    replaced uuid[];
begin
    if not exists (
        select from public.products as p where p.id = release_version.product_id and p.seller_id = member
    ) then
        perform private.fail('item_not_found', release_version.product_id::text);
    end if;
    perform private.lock_item(release_version.product_id, null);
    select * into strict product from public.products as p where p.id = release_version.product_id;
    if product.status = 'deleted' then
        perform private.fail('product_deleted', product.id::text);
    elsif jsonb_typeof(files) is distinct from 'array' or files = '[]' then
        perform private.fail('invalid_version', 'files: [{path, name?, position?}]');
    end if;
    perform private.require_keys(f.file, '{path,name,position}', 'invalid_version')
    from jsonb_array_elements(files) as f (file);
    if exists (
        select from jsonb_array_elements(files) as f (file)
        where
            jsonb_typeof(f.file -> 'path') is distinct from 'string'
            or jsonb_typeof(f.file -> 'name') not in ('string', 'null')
            or f.file ? 'position' and coalesce(f.file ->> 'position', '') !~ '^[0-9]{1,4}$'
    ) then
        perform private.fail('invalid_version', 'files: [{path, name?, position?}]');
    end if;
    replaced := array(
        select f.id from public.product_files as f
        where
            f.product_id = product.id and f.removed_at is null
            and (release_version.replaces is null or f.id = any (release_version.replaces))
    );
    if cardinality(release_version.replaces) > cardinality(replaced) then
        perform private.fail('file_not_found');
    end if;
    insert into public.product_versions (product_id, number, name, notes)
    select product.id, 1 + coalesce(max(v.number), 1), release_version.name, coalesce(release_version.notes, '')
    from public.product_versions as v
    where v.product_id = product.id
    returning * into version;
    -- The last file is only replaced: what comes is there before the others go.
    insert into public.product_files (product_id, version_id, path, name, position)
    select
        product.id, version.id, f.file ->> 'path',
        coalesce(f.file ->> 'name', regexp_replace(f.file ->> 'path', '^.*/', '')),
        coalesce((f.file ->> 'position')::integer, f.no::integer - 1)
    from jsonb_array_elements(files) with ordinality as f (file, no)
    order by f.no;
    delete from public.product_files as f where f.id = any (replaced);
    return version;
end
$$;
comment on function public.release_version(uuid, text, jsonb, uuid[], text) is
'The seller releases files ([{path, name?, position?}], uploaded before) with notes, in place of these files of the '
'product or of all it has. Whoever bought before keeps those too; owners are told unless they switched it off '
'(notification updated). Errors: item_not_found, product_deleted, invalid_version, text_not_visible, file_not_found, '
'file_not_uploaded, too_many_files, already_done (a path is listed already).';
grant execute on function public.release_version(uuid, text, jsonb, uuid[], text) to authenticated;

create function private.tell_versions(max_rows integer default 500) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    version public.product_versions;
    owners uuid[];
begin
    select * into version from public.product_versions as v
    where v.told_at is null
    order by v.created_at
    limit 1
    for no key update skip locked;
    if version.id is null then
        return 0;
    end if;
    owners := array(
        select distinct p.owner_id from public.purchases as p
        where
            p.item_id = version.product_id and p.revoked_at is null and p.purchased_at <= version.created_at
            and (version.told_up_to is null or p.owner_id > version.told_up_to)
        order by p.owner_id
        limit max_rows
    );
    perform private.notify_many(array(
        select row('updated', o.id, null, 'product', version.product_id, null)::private.notice
        from unnest(owners) as o (id)
    ));
    update public.product_versions as v set
        told_up_to = coalesce(owners[cardinality(owners)], v.told_up_to),
        told_at = case when cardinality(owners) < max_rows then now() end
    where v.id = version.id;
    return greatest(cardinality(owners), 1);
end
$$;
comment on function private.tell_versions(integer) is
'Tells the next owners of the oldest version that not all of them know of; 0 when there is none. A job calls it until '
'then.';
grant execute on function private.tell_versions(integer) to avenue_worker;

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of name, notes on public.product_versions
for each row execute function private.tidy_texts('name line', 'notes body required');

alter table public.product_versions enable row level security;
grant select on public.product_versions to anon, authenticated, service_role;
create policy product_versions_select on public.product_versions for select to anon, authenticated
using ((select p.id from public.products as p where p.id = product_versions.product_id) is not null);

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('updated', 'New version', 'Something you own has a new version.', null, null, 'digest', true);

insert into private.personal_data (section, relation, condition, stays, reason) values
('product_versions', 'public.product_versions',
    't.product_id in (select p.id from public.products as p where p.seller_id = $1)', '{name, notes, told_up_to}',
    'sold: its buyers keep it as they bought it');

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_version', 'PT400', 'This is no version.',
'Send notes and at least one file as {path, name?, position?}; the detail names what is wrong.');

-- sql/67_market/70_search.sql -----------------------------------------------------------------------------------------
-- Search across kinds. One index knows of each listed item its words and everything a search can ask for or begin with:
-- which words are in the title, the whole title, kind, category, tags, how popular it is and when it was published. So
-- whatever is asked is one look into one index, and what is common is narrowed in the index too: among many matches the
-- most popular, and the newest, are found without reading the others.
--
-- Ranking costs, matching does not: of the matches at most 1,000 candidates are ranked, chosen by how well the title
-- fits, by popularity and by age, never by where their rows happen to lie. A sample of one item in 256 says beforehand
-- how many there will be.
--
-- It reads past row level security, which cannot use such an index, and asks what the policies ask.

create function private.title_form(title text) returns text
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    form text := left(title, 500);
begin
    -- Most titles are ASCII, which has no accents.
    form := case when octet_length(form) = char_length(form) then lower(form) else private.search_text(form) end;
    return btrim(case when form ~ '\s\s|[^\S ]' then regexp_replace(form, '\s+', ' ', 'g') else form end);
end
$$;
comment on function private.title_form(text) is
'A title to be compared as a whole: without accents, case and wide gaps.';

create function private.item_entries(
    search tsvector, title text, kind text, category text, tags text[], popularity smallint, published_at timestamptz,
    id uuid
) returns tsvector
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    day integer := coalesce(floor(extract(epoch from published_at) / 86400), 0);
    -- Days, 32 days and 512 days. Without queries: this is what an index costs.
    entries text [] := array[
        '=' || md5(private.title_form(title)), '@' || kind, '<d' || day, '<m' || day / 32, '<y' || day / 512
    ] || (array['*1', '*4', '*8', '*12', '*16', '*20', '*24', '*28', '*32', '*40', '*48'])[
        1:width_bucket(popularity::integer, array[1, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48])
    ];
    word text;
begin
    foreach word in array tsvector_to_array(ts_filter(search, '{a}')) loop
        entries := entries || ('^' || word);
    end loop;
    foreach word in array tags loop
        entries := entries || ('#' || word);
    end loop;
    if category <> '' then
        entries := entries || ('%' || category);
    end if;
    if uuid_hash(id) & 255 = 0 then
        entries := entries || '~'::text;
    end if;
    return search || array_to_tsvector(entries);
end
$$;
comment on function private.item_entries(tsvector, text, text, text, text[], smallint, timestamptz, uuid) is
'What the index of searches knows of an item: its words, and with a sign before them, which no word begins with, the '
'title''s words (^), the whole title (=), kind (@), category (%), tags (#), steps of popularity it reaches '
'(*), day, 32 '
'and 512 days of its publication (<d, <m, <y), and whether it is in the sample (~).';

-- In place of one on search and one of trigrams of titles. Whatever its columns are, an index has them already: a sale
-- that changes no step of popularity goes on writing none of them.
create index catalog_items_entries_idx on public.catalog_items using gin (
    private.item_entries(search, title, kind, category, tags, popularity, published_at, id)
) where is_listed;
-- Ratings change far more seldom than anything is sold.
create index catalog_items_rating_id_idx on public.catalog_items ((coalesce(rating_average, 0)) desc, id desc)
where is_listed;

-- Typing errors and beginnings are looked up among the words there are, not among a million titles.
create function private.variants(word text) returns text[]
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return array(
        select distinct left(word, n) || substr(word, n + 2)
        from generate_series(0, case when char_length(word) between 3 and 20 then char_length(word) else 0 end) as n
    );
end
$$;
comment on function private.variants(text) is
'The word, and the word without each one of its letters. Of two that differ by one letter too many, too few, '
'changed or '
'swapped with the next, one variant is the same.';

create table private.title_words (
    id bigint not null generated always as identity,
    word text not null,
    variants text[] not null generated always as (private.variants(word)) stored,
    added_at timestamptz not null default now(),
    constraint title_words_pkey primary key (id)
);
-- Not unique: two who publish the same new word at one instant would wait for each other.
create index title_words_word_idx on private.title_words (word text_pattern_ops);
create index title_words_variants_idx on private.title_words using gin (variants);
create index title_words_word_trgm_idx on private.title_words using gin (word extensions.gin_trgm_ops);

comment on table private.title_words is
'The words of titles that are or were shown, each at least once: what a mistyped or unfinished word may have meant. '
'forget_title_words() removes those that no title has any more.';
comment on column private.title_words.word is 'As search_text() makes it.';
comment on column private.title_words.variants is 'See variants(); to find it by when one letter of it is wrong.';
alter table private.title_words enable row level security;

create function private.words_of(value text) returns text[]
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return array(
        select w.word
        from unnest(tsvector_to_array(
            to_tsvector('pg_catalog.simple', private.letter_pairs(private.search_text(value), false))
        )) as w (word)
        where char_length(w.word) between 2 and 40
    );
end
$$;
comment on function private.words_of(text) is 'The different words of a title or a query, not stemmed.';

create function private.note_title_words() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.title_words (word)
    select w.word from unnest(private.words_of(new.title)) as w (word)
    where not exists (select from private.title_words as k where k.word = w.word);
    return null;
end
$$;
comment on function private.note_title_words() is 'Trigger on catalog_items: remembers the words of what is shown.';

create trigger note_title_words_inserted after insert on public.catalog_items
for each row when (new.is_visible) execute function private.note_title_words();
create trigger note_title_words_changed after update on public.catalog_items
for each row when (new.is_visible and (not old.is_visible or old.title <> new.title))
execute function private.note_title_words();

create function private.forget_title_words(max_rows integer default 10000) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    gone bigint [];
begin
    -- The oldest notes first; what is still used is noted anew, so that all come round.
    with looked as materialized (
        select k.id, k.word from private.title_words as k
        where k.added_at < now() - interval '30 days'
        order by k.id
        limit max_rows
    ), used as (
        select l.id, l.word from looked as l
        where exists (
            select from public.catalog_items as c
            where
                c.is_listed
                and private.item_entries(
                    c.search, c.title, c.kind, c.category, c.tags, c.popularity, c.published_at, c.id
                ) @@ private.entry('^', l.word)
        )
    ), renewed as (
        insert into private.title_words (word) select distinct u.word from used as u
    )
    select array_agg(l.id) into gone from looked as l;
    delete from private.title_words as k where k.id = any (gone);
    return coalesce(cardinality(gone), 0);
end
$$;
comment on function private.forget_title_words(integer) is
'Looks at the oldest noted words and forgets those that no listed title has; returns how many it looked at. A job '
'calls it each night.';
grant execute on function private.forget_title_words(integer) to avenue_worker;

create function private.entry(sign text, value text) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return ('''' || replace(replace(sign || value, '\', '\\'), '''', '''''') || '''')::tsquery;
end
$$;
comment on function private.entry(text, text) is 'A query for one entry, whatever is in the value.';

create function private.any_entry(sign text, words text[]) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return (
        select string_agg('''' || replace(replace(sign || v.value, '\', '\\'), '''', '''''') || '''', ' | ')
        from unnest(words) as v (value)
    )::tsquery;
end
$$;
comment on function private.any_entry(text, text[]) is 'A query for any of these entries; null without any.';

create function private.both(one tsquery, other tsquery) returns tsquery
language sql
immutable
parallel safe
set search_path = ''
as $$
    select case when one is null then other when other is null then one else one && other end
$$;
comment on function private.both(tsquery, tsquery) is 'Both of two queries, of which either may be null: anything.';

create function private.unordered(words tsquery) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return case
        when words::text ~ '<(-|\d+)>' then regexp_replace(words::text, '<(-|\d+)>', '&', 'g')::tsquery else words
    end;
end
$$;
comment on function private.unordered(tsquery) is 'The same words, wherever they stand.';

create function private.in_title(words tsquery) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return regexp_replace(words::text, '(''(?:[^'']|'''')+'')(?::(\*)?)?', '\1:\2A', 'g')::tsquery;
end
$$;
comment on function private.in_title(tsquery) is 'The same words, in titles only.';

create function private.published_between(first_day integer, last_day integer) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    span integer := last_day - first_day;
    sign text := case when span <= 16 then '<d' when span <= 1024 then '<m' else '<y' end;
    unit integer := case sign when '<d' then 1 when '<m' then 32 else 512 end;
begin
    return private.any_entry(sign, array(select generate_series(first_day / unit, last_day / unit)::text));
end
$$;
comment on function private.published_between(integer, integer) is
'A query for what was published on these days (since 1970) or shortly before or after.';

create type private.catalog_filter as (
    must tsquery,
    kinds text [],
    category text,
    tags text [],
    min_price_cents bigint,
    max_price_cents bigint,
    min_rating numeric,
    hidden uuid [],
    until timestamptz
);
comment on type private.catalog_filter is
'What items have to be besides their words, some of it as entries, too (must); by none of these sellers, and published '
'by then.';

create type private.candidate as (id uuid, fits_title boolean, popularity smallint, published_at timestamptz);
comment on type private.candidate is 'An item that matches, and what is looked at to choose among many.';

create function private.matching(entries tsquery, words tsquery, title_words tsquery, wanted private.catalog_filter)
returns setof private.candidate
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_indexscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select c.id, coalesce(c.search @@ title_words, false), c.popularity, c.published_at
    from public.catalog_items as c
    where
        c.is_listed
        and private.item_entries(
            c.search, c.title, c.kind, c.category, c.tags, c.popularity, c.published_at, c.id
        ) @@ entries
        and (words is null or c.search @@ words)
        and (wanted.min_price_cents is null or c.price_cents >= wanted.min_price_cents)
        and (wanted.max_price_cents is null or c.price_cents <= wanted.max_price_cents)
        and (wanted.min_rating is null or coalesce(c.rating_average, 0) >= wanted.min_rating)
        and c.published_at <= wanted.until
        and c.seller_id <> all (wanted.hidden);
end
$$;
comment on function private.matching(tsquery, tsquery, tsquery, private.catalog_filter) is
'Listed items with these entries. words: looked at in each row, where entries alone say too little (words next to each '
'other).';

create function private.best_matching(
    entries tsquery, words tsquery, title_words tsquery, wanted private.catalog_filter, sample private.candidate[],
    most integer
) returns setof uuid
language plpgsql
stable
set search_path = ''
as $$
declare
    steps constant integer [] := array[1, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48];
    step integer;
    last_day constant integer := floor(extract(epoch from wanted.until) / 86400);
    days integer;
    ids uuid [];
begin
    -- As popular as the most popular of the sample are some 256; of the others nothing is read.
    step := greatest(1, (
        select count(*) from unnest(steps) as s (least)
        where s.least <= (select max(m.popularity) from unnest(sample) as m)
    ));
    loop
        ids := array(
            select m.id
            from private.matching(
                private.both(entries, private.entry('*', steps[step]::text)), words, title_words, wanted
            ) as m
            order by m.popularity desc, m.published_at desc, m.id desc
            limit most
        );
        exit when cardinality(ids) >= most or step = 1;
        step := step - 1;
    end loop;
    return query select unnest(ids);
    if cardinality(ids) >= most then
        return;
    end if;
    -- The same with age.
    days := greatest(
        0, last_day - (select floor(extract(epoch from max(m.published_at)) / 86400) from unnest(sample) as m)
    );
    loop
        ids := array(
            select m.id
            from private.matching(
                private.both(entries, private.published_between(greatest(last_day - days, 0), last_day)),
                words, title_words, wanted
            ) as m
            order by m.published_at desc, m.id desc
            limit most
        );
        exit when cardinality(ids) >= most or days >= last_day;
        -- As many times the days as there are too few, and half as much again.
        days := least(
            ceil((days + 1) * least(8, 1.5 * most / greatest(cardinality(ids), 1)))::integer, last_day
        );
    end loop;
    return query select unnest(ids);
end
$$;
comment on function private.best_matching(
    tsquery, tsquery, tsquery, private.catalog_filter, private.candidate[], integer
) is
'Of very many matches the most popular, and when fewer were ever sold the newest, most of each; sample: one '
'match in 256.';

create type private.found as (ids uuid [], is_capped boolean, sampled integer);
comment on type private.found is
'Candidates; capped: there are more matches; sampled: how many were in the sample of one in 256.';

create function private.candidates(words tsquery, title text, wanted private.catalog_filter, is_ranked boolean)
returns private.found
language plpgsql
stable
set search_path = ''
as $$
declare
    most constant integer := 150;
    -- Entries know of no order of words; their rows do.
    entries tsquery := private.both(private.unordered(words), wanted.must);
    ordered tsquery := case when words::text ~ '<(-|\d+)>' then words end;
    title_words tsquery := private.in_title(words);
    titled tsquery;
    sample private.candidate [];
    found private.found;
begin
    sample := array(
        select m from private.matching(private.both(entries, '''~'''), ordered, title_words, wanted) as m
    );
    found.sampled := cardinality(sample);
    found.is_capped := found.sampled > 2;
    found.ids := '{}';
    if not found.is_capped then
        found.ids := array(
            select m.id
            from private.matching(
                coalesce(
                    entries, private.published_between(0, floor(extract(epoch from wanted.until) / 86400)::integer)
                ), ordered, title_words, wanted
            ) as m
            limit 1001
        );
        found.is_capped := cardinality(found.ids) > 1000;
        if not found.is_capped then
            return found;
        end if;
        found.ids := '{}';
    end if;
    if not is_ranked then
        return found;
    end if;
    if words is not null then
        -- Named exactly so; then with the words in the title.
        found.ids := array(
            select m.id
            from private.matching(
                private.both(private.entry('=', md5(private.title_form(title))), wanted.must),
                words, title_words, wanted
            ) as m
            order by m.popularity desc, m.published_at desc, m.id desc
            limit most
        );
        titled := private.both(
            regexp_replace(private.unordered(words)::text, '''((?:[^'']|'''')+)''', '''^\1''', 'g')::tsquery,
            wanted.must
        );
        if (select count(*) from unnest(sample) as s where s.fits_title) <= 1 then
            found.ids := found.ids || array(
                select m.id from private.matching(titled, words, title_words, wanted) as m
                order by m.popularity desc, m.published_at desc, m.id desc
                limit 2 * most
            );
        else
            found.ids := found.ids || array(
                select private.best_matching(
                    titled, words, title_words, wanted,
                    array(select s from unnest(sample) as s where s.fits_title), most
                )
            );
        end if;
    end if;
    if cardinality(found.ids) < most then
        found.ids := found.ids || array(
            select private.best_matching(entries, ordered, title_words, wanted, sample, most)
        );
    end if;
    found.ids := array(select distinct i.id from unnest(found.ids) as i (id));
    return found;
end
$$;
comment on function private.candidates(tsquery, text, private.catalog_filter, boolean) is
'At most 1,000 items with these words (null: any) that are worth ranking: all of them where there are no more, else '
'those called exactly so, with the words in the title, and the most popular or newest; none of many when they are not '
'to be ranked.';

-- What else a query may mean when hardly anything has its words. Only plain words are guessed at.

create function private.words_to_find(query text) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    words tsquery;
begin
    if btrim(query) <> '' then
        words := private.search_query(query);
    end if;
    return case when numnode(words) > 0 then words end;
end
$$;
comment on function private.words_to_find(text) is 'search_query(), null when there is nothing to look for.';

create function private.begun_words(query text, until timestamptz) returns tsquery
language plpgsql
stable
set search_path = ''
as $$
declare
    plain text := private.search_text(left(coalesce(query, ''), 200));
    last_word text := substring(plain from '([[:alnum:]]{3,40})$');
    known text [];
begin
    if last_word is null then
        return null;
    end if;
    known := array(
        select k.word from private.title_words as k
        where k.word ~>=~ last_word and k.word ~<~ (last_word || U&'\+10FFFF') and k.added_at <= until
        group by k.word
        order by char_length(k.word), k.word
        limit 30
    );
    if known = '{}' then
        return null;
    end if;
    return private.both(
        private.words_to_find(left(plain, -char_length(last_word))), private.any_entry('', known)
    );
end
$$;
comment on function private.begun_words(text, timestamptz) is
'The query with its last word as the beginning of one that titles have; null when there is none.';

create function private.meant_words(query text, also_known boolean, until timestamptz) returns tsquery
language plpgsql
stable
set search_path = ''
as $$
declare
    typed text;
    known text [];
    meant tsquery;
    guessed boolean := false;
begin
    foreach typed in array (private.words_of(left(coalesce(query, ''), 200)))[:8] loop
        known := '{}';
        if char_length(typed) >= 3 and (
            also_known or not exists (select from private.title_words as k where k.word = typed)
        ) then
            known := array(
                select k.word from private.title_words as k
                where
                    (
                        k.variants && private.variants(typed)
                        or k.word operator(extensions.%) typed
                        or k.word like '%' || typed || '%'
                    )
                    and k.added_at <= until
                group by k.word
                order by
                    k.word like '%' || typed || '%' desc, bool_or(k.variants && private.variants(typed)) desc,
                    extensions.similarity(k.word, typed) desc, k.word
                limit 8
            );
        end if;
        guessed := guessed or known <> '{}';
        meant := private.both(
            meant,
            case
                when known = '{}' then private.words_to_find(typed)
                when private.words_to_find(typed) is null then private.any_entry('', known)
                else private.words_to_find(typed) || private.any_entry('', known)
            end
        );
    end loop;
    return case when guessed then meant end;
end
$$;
comment on function private.meant_words(text, boolean, timestamptz) is
'The query with words of titles that resemble or contain its own, in place of those that no title has, or of all; null '
'when nothing resembles them.';

create type private.search as (words tsquery, ids uuid [], is_capped boolean, sampled integer);
comment on type private.search is 'What was looked for, what it may have meant included, and what was found.';

create function private.search_items(
    query text, wanted private.catalog_filter, is_ranked boolean, guesses boolean default true
) returns private.search
language plpgsql
stable
set search_path = ''
as $$
declare
    words tsquery := private.words_to_find(query);
    also tsquery;
    found private.found;
    ids uuid [];
begin
    if words is null and btrim(query) <> '' then
        -- Nothing one can look for, or only what is to be left out.
        return row(null, '{}', false, 0)::private.search;
    end if;
    found := private.candidates(words, query, wanted, is_ranked);
    if
        not guesses or words is null or found.is_capped or cardinality(found.ids) >= 20
        or words::text ~ '[!|]' or position('"' in query) > 0
    then
        return row(words, found.ids, found.is_capped, found.sampled)::private.search;
    end if;
    ids := found.ids;
    also := private.begun_words(query, wanted.until);
    if also is not null then
        found := private.candidates(also, query, wanted, is_ranked);
        ids := ids || found.ids;
        words := words || also;
    end if;
    if cardinality(ids) < 3 and not found.is_capped then
        also := private.meant_words(query, ids = '{}', wanted.until);
        if also is not null then
            found := private.candidates(also, query, wanted, is_ranked);
            ids := ids || found.ids;
            words := words || also;
        end if;
    end if;
    return row(
        words, array(select distinct i.id from unnest(ids) as i (id)), found.is_capped, found.sampled
    )::private.search;
end
$$;
comment on function private.search_items(text, private.catalog_filter, boolean, boolean) is
'Candidates for a query: with its words; when they are fewer than 20 also with its last word begun, and when they are '
'fewer than 3 with words it may have meant.';

create function private.wanted_items(
    kinds text[], category text, tags text[], min_price_cents bigint, max_price_cents bigint, min_rating numeric,
    until timestamptz
) returns private.catalog_filter
language plpgsql
stable
set search_path = ''
as $$
declare
    wanted private.catalog_filter;
begin
    if cardinality(kinds) > 20 then
        perform private.fail('invalid_search', 'kinds: at most 20');
    elsif char_length(category) > 200 then
        perform private.fail('invalid_search', 'category: at most 200 characters');
    end if;
    wanted.kinds := nullif(array_remove(kinds, null), '{}');
    wanted.category := nullif(category, '');
    wanted.tags := nullif(private.clean_tags(tags), '{}');
    wanted.must := private.both(
        private.any_entry('@', wanted.kinds),
        private.both(
            private.any_entry('%', array_remove(array[wanted.category], null)), private.any_entry('#', wanted.tags)
        )
    );
    wanted.min_price_cents := min_price_cents;
    wanted.max_price_cents := max_price_cents;
    wanted.min_rating := min_rating;
    wanted.until := until;
    wanted.hidden := case
        when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
    end;
    return wanted;
end
$$;
comment on function private.wanted_items(text[], text, text[], bigint, bigint, numeric, timestamptz) is
'What a search is limited to, the caller''s blocks included. Errors: invalid_search, invalid_tags.';

create type public.search_sort as enum ('relevance', 'newest', 'price_up', 'price_down', 'popular', 'rated');
comment on type public.search_sort is
'How what was found is ordered. relevance: the best first. rated: the best rated first, unrated last.';

create type public.found_item as (
    id uuid,
    kind text,
    seller_id uuid,
    title text,
    slug text,
    thumbnail_url text,
    price_cents bigint,
    minimum_price_cents bigint,
    currency character (3),
    category text,
    tags text [],
    is_unique boolean,
    requires_shipping boolean,
    is_featured boolean,
    views_count bigint,
    favorites_count integer,
    comments_count integer,
    popularity smallint,
    rating_average numeric,
    reviews_count integer,
    published_at timestamptz,
    cursor text
);
comment on type public.found_item is
'An item as catalog_items has it, and the cursor after which the next page begins.';

create function private.write_cursor(value text, id uuid, until timestamptz, filters text) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    return translate(encode(convert_to(
        jsonb_build_array(value, id, extract(epoch from until)::text, filters)::text, 'utf8'
    ), 'base64'), E'+/\n', '-_');
end
$$;
comment on function private.write_cursor(text, uuid, timestamptz, text) is
'Where a page ends: the value it is sorted by, the id, until when published items are looked at, and of which filters.';

create type private.cursor_parts as (value text, id uuid, until timestamptz, filters text);
comment on type private.cursor_parts is 'What write_cursor() wrote.';

create function private.read_cursor(cursor text, filters text, sort public.search_sort) returns private.cursor_parts
language plpgsql
stable
set search_path = ''
as $$
declare
    written jsonb;
    parts private.cursor_parts;
begin
    begin
        written := convert_from(decode(translate(left(cursor, 500), '-_', '+/'), 'base64'), 'utf8')::jsonb;
        parts.value := written ->> 0;
        parts.id := (written ->> 1)::uuid;
        parts.until := to_timestamp((written ->> 2)::double precision);
        parts.filters := written ->> 3;
    exception when data_exception then
        perform private.fail('cursor_invalid');
    end;
    if parts.value is null or parts.id is null or parts.until is null then
        perform private.fail('cursor_invalid');
    end if;
    if parts.filters is distinct from read_cursor.filters then
        perform private.fail('cursor_mismatch');
    end if;
    begin
        perform case sort
            when 'newest' then parts.value::timestamptz is null
            when 'relevance' then parts.value::double precision is null
            when 'popular' then parts.value::smallint is null
            when 'rated' then parts.value::numeric is null
            else parts.value::bigint is null
        end;
    exception when data_exception then
        perform private.fail('cursor_invalid');
    end;
    return parts;
end
$$;
comment on function private.read_cursor(text, text, public.search_sort) is 'Errors: cursor_invalid, cursor_mismatch.';

create function private.sorted_items(
    done private.search, wanted private.catalog_filter, sort public.search_sort, after private.cursor_parts,
    most integer
) returns uuid[]
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    expression text := case sort
        when 'newest' then 'c.published_at' when 'popular' then 'c.popularity'
        when 'rated' then 'coalesce(c.rating_average, 0)' else 'c.price_cents'
    end;
    type text := case sort
        when 'newest' then 'timestamptz' when 'popular' then 'smallint' when 'rated' then 'numeric' else 'bigint'
    end;
    direction text := case sort when 'price_up' then 'asc' else 'desc' end;
    rest text := case when after.id is null then 'true' else format(
        '(%s, c.id) %s ($1::%s, $2)', expression, case sort when 'price_up' then '>' else '<' end, type
    ) end;
    ordered text := format('order by %s %s, c.id %2$s', expression, direction);
    page uuid [];
begin
    if not done.is_capped then
        execute format(
            'select array(select c.id from public.catalog_items as c where c.id = any ($3) and %s %s limit $4)',
            rest, ordered
        ) into page using after.value, after.id, done.ids, most;
        return page;
    end if;
    -- Of very many matches a page is soon full: along the index, but not without end.
    if done.sampled > 8 then
        execute format($sql$
            select array(
                select c.id
                from (
                    select c.* from public.catalog_items as c
                    where
                        c.is_listed and %s
                        and c.price_cents between coalesce($5, 0) and coalesce($6, 9223372036854775807)
                    %s
                    limit 20000
                ) as c
                where
                    ($7 is null or c.search @@ $7)
                    and ($8 is null or c.kind = any ($8))
                    and ($9 is null or c.category = $9)
                    and ($10 is null or c.tags && $10)
                    and ($11 is null or coalesce(c.rating_average, 0) >= $11)
                    and c.published_at <= $12
                    and c.seller_id <> all ($13)
                %2$s
                limit $4
            )
        $sql$, rest, ordered) into page
        using
            after.value, after.id, null::integer, most, wanted.min_price_cents, wanted.max_price_cents, done.words,
            wanted.kinds, wanted.category, wanted.tags, wanted.min_rating, wanted.until, wanted.hidden;
        if cardinality(page) >= most then
            return page;
        end if;
    end if;
    execute format(
        'select array(select c.id from private.matching($3, $5, null, $6) as m '
        'inner join public.catalog_items as c on c.id = m.id where %s %s limit $4)', rest, ordered
    ) into page
    using
        after.value, after.id,
        coalesce(
            private.both(private.unordered(done.words), wanted.must),
            private.published_between(0, floor(extract(epoch from wanted.until) / 86400)::integer)
        ),
        most, done.words, wanted;
    return page;
end
$$;
comment on function private.sorted_items(
    private.search, private.catalog_filter, public.search_sort, private.cursor_parts, integer
) is
'A page in the order of a column: of what was found, or, where that is too much, along the index of the column.';

create function public.search_catalog(
    query text default null,
    kinds text[] default null,
    category text default null,
    tags text[] default null,
    min_price_cents bigint default null,
    max_price_cents bigint default null,
    min_rating numeric default null,
    sort public.search_sort default null,
    cursor text default null,
    max_rows integer default 20
) returns setof public.found_item
language plpgsql
stable
security definer
rows 20
set search_path = ''
as $$
#variable_conflict use_column
declare
    is_worded boolean := btrim(coalesce(search_catalog.query, '')) <> '';
    sort_by public.search_sort := case
        when not is_worded and coalesce(search_catalog.sort, 'relevance') = 'relevance' then 'newest'
        else coalesce(search_catalog.sort, 'relevance')
    end;
    filters text := md5(jsonb_build_array(
        btrim(coalesce(search_catalog.query, '')),
        (select array_agg(distinct k.kind) from unnest(search_catalog.kinds) as k (kind)), search_catalog.category,
        (select array_agg(distinct t.tag) from unnest(search_catalog.tags) as t (tag)),
        search_catalog.min_price_cents, search_catalog.max_price_cents, search_catalog.min_rating, sort_by
    )::text);
    after private.cursor_parts;
    -- What is published from now on is on no later page, so that none is shifted.
    until timestamptz := clock_timestamp();
    page integer := private.page_size(search_catalog.max_rows);
    term text := private.title_form(search_catalog.query);
    wanted private.catalog_filter;
    done private.search;
    first_words tsquery;
    title_words tsquery;
begin
    if search_catalog.cursor is not null then
        after := private.read_cursor(search_catalog.cursor, filters, sort_by);
        until := after.until;
    end if;
    wanted := private.wanted_items(
        search_catalog.kinds, search_catalog.category, search_catalog.tags, search_catalog.min_price_cents,
        search_catalog.max_price_cents, search_catalog.min_rating, until
    );
    done := private.search_items(search_catalog.query, wanted, sort_by = 'relevance');

    if sort_by = 'relevance' then
        first_words := private.words_to_find(search_catalog.query);
        title_words := private.in_title(first_words);
        return query
        select
            c.id, c.kind, c.seller_id, c.title, c.slug, c.thumbnail_url::text, c.price_cents, c.minimum_price_cents,
            c.currency, c.category, c.tags, c.is_unique, c.requires_shipping, c.is_featured, c.views_count,
            c.favorites_count, c.comments_count, c.popularity, c.rating_average::numeric, c.reviews_count,
            c.published_at, private.write_cursor(r.score::text, c.id, until, filters)
        from (
            select s.id, s.score
            from (
                select
                    c.id,
                    (
                        -- Of titles about as long as the query; letters become a little more without accents.
                        case
                            when char_length(c.title) not between char_length(term) - 20 and char_length(term) + 2
                                then 0
                            when private.title_form(c.title) = term then 8
                            else 0
                        end
                        + case when c.search @@ title_words then 4 else 0 end
                        + case when c.search @@ first_words then 2 else 0 end
                        + ts_rank(c.search, done.words)::double precision
                        + c.popularity::double precision / 100
                    ) as score
                from public.catalog_items as c
                where c.id = any (done.ids)
            ) as s
            where after.id is null or (s.score, s.id) < (after.value::double precision, after.id)
            order by s.score desc, s.id desc
            limit page
        ) as r
        inner join public.catalog_items as c on c.id = r.id
        order by r.score desc, r.id desc;
        return;
    end if;
    return query
    select
        c.id, c.kind, c.seller_id, c.title, c.slug, c.thumbnail_url::text, c.price_cents, c.minimum_price_cents,
        c.currency, c.category, c.tags, c.is_unique, c.requires_shipping, c.is_featured, c.views_count,
        c.favorites_count, c.comments_count, c.popularity, c.rating_average::numeric, c.reviews_count,
        c.published_at,
        private.write_cursor(
            case sort_by
                when 'newest' then c.published_at::text when 'popular' then c.popularity::text
                when 'rated' then coalesce(c.rating_average, 0)::text else c.price_cents::text
            end, c.id, until, filters
        )
    from unnest(private.sorted_items(done, wanted, sort_by, after, page)) with ordinality as p (id, place)
    inner join public.catalog_items as c on c.id = p.id
    order by p.place;
end
$$;
comment on function public.search_catalog(
    text, text[], text, text[], bigint, bigint, numeric, public.search_sort, text, integer
) is
'Items on sale, of any kind, that match. query: words (stemmed, without accents; "exact words", or, -not; the '
'first 200 '
'characters), the last one may be unfinished and where little is found they may be mistyped; without it whatever the '
'filters leave. Filters: any of the kinds, a category, any of the tags (at most 20), a range of prices, a '
'least rating. '
'sort: relevance with words, newest without, unless told; by relevance at most 1,000 are shown. The next page begins '
'after the last row''s cursor, given with the same query, filters and sort; what is published meanwhile is '
'not on it. 1 '
'to 100 rows, 20 unless told. Errors: cursor_invalid, cursor_mismatch, invalid_search, invalid_tags.';
grant execute on function public.search_catalog(
    text, text[], text, text[], bigint, bigint, numeric, public.search_sort, text, integer
) to anon, authenticated;

create type public.catalog_facet as (facet text, value text, items_count integer, is_capped boolean);
comment on type public.catalog_facet is
'How many items a filter would leave. facet: kind, category, tag, price, rating. value: what to filter by; of '
'price the '
'least of a range in cents, of rating the least rating. is_capped: there are more; counted among 1,000 candidates.';

create function private.facet_of(facet text, query text, wanted private.catalog_filter)
returns setof public.catalog_facet
language plpgsql
stable
set search_path = ''
as $$
declare
    done private.search := private.search_items(query, wanted, true);
begin
    return query
    select n.facet, n.value, n.items::integer, done.is_capped
    from (
        select
            v.facet, v.value, count(*) as items,
            row_number() over (partition by v.facet order by count(*) desc, v.value) as place
        from public.catalog_items as c
        cross join lateral (
            select 'kind' as facet, c.kind as value
            union all
            select 'category', c.category where c.category <> ''
            union all
            select 'tag', t.tag from unnest(c.tags) as t (tag)
            union all
            select 'price', (
                select max(s.least) from unnest(array[0, 1, 1000, 2500, 5000, 10000, 25000, 50000, 100000]) as s (least)
                where s.least <= c.price_cents
            )::text
            union all
            select 'rating', s.least::text from generate_series(1, 4) as s (least)
            where coalesce(c.rating_average, 0) >= s.least
        ) as v
        where c.id = any (done.ids) and (facet_of.facet is null or v.facet = facet_of.facet)
        group by v.facet, v.value
    ) as n
    where n.place <= 20;
end
$$;
comment on function private.facet_of(text, text, private.catalog_filter) is
'What items with these words are, as counts: of one facet, or of all (null). The 20 most frequent of each.';

create function public.catalog_facets(
    query text default null,
    kinds text[] default null,
    category text default null,
    tags text[] default null,
    min_price_cents bigint default null,
    max_price_cents bigint default null,
    min_rating numeric default null
) returns setof public.catalog_facet
language plpgsql
stable
security definer
rows 50
set search_path = ''
as $$
declare
    wanted private.catalog_filter := private.wanted_items(
        kinds, category, tags, min_price_cents, max_price_cents, min_rating, clock_timestamp()
    );
    -- What is chosen of a facet does not count in it: one sees what else there is.
    chosen text [] := array_remove(array[
        case when wanted.kinds is not null then 'kind' end,
        case when wanted.category is not null then 'category' end,
        case when wanted.tags is not null then 'tag' end,
        case when coalesce(min_price_cents, max_price_cents) is not null then 'price' end,
        case when min_rating is not null then 'rating' end
    ], null);
    own text;
begin
    return query
    select f.* from private.facet_of(null, catalog_facets.query, wanted) as f
    where f.facet <> all (chosen)
    order by f.facet, f.items_count desc, f.value;
    foreach own in array chosen loop
        return query
        select f.*
        from private.facet_of(own, catalog_facets.query, private.wanted_items(
            case when own <> 'kind' then kinds end, case when own <> 'category' then category end,
            case when own <> 'tag' then tags end, case when own <> 'price' then min_price_cents end,
            case when own <> 'price' then max_price_cents end, case when own <> 'rating' then min_rating end,
            wanted.until
        )) as f
        order by f.items_count desc, f.value;
    end loop;
end
$$;
comment on function public.catalog_facets(text, text[], text, text[], bigint, bigint, numeric) is
'How many of what search_catalog() finds there are of each kind, category, tag, range of prices and rating: '
'the 20 most '
'frequent of each. Each facet is counted as if nothing of it were chosen. Whom the caller does not see is not counted. '
'Errors: invalid_search, invalid_tags.';
grant execute on function public.catalog_facets(text, text[], text, text[], bigint, bigint, numeric)
to anon, authenticated;

insert into private.personal_data (section, relation, condition, stays, reason) values
('title_words', 'private.title_words', null, '{word}',
    'single words of titles, of nobody; forgotten when no title on sale has them');

insert into private.error_codes (code, sqlstate, message, description) values
('cursor_invalid', 'PT400', 'This page cannot be found.',
'The cursor is not one that a page answered. Begin without one.'),
('cursor_mismatch', 'PT400', 'This page belongs to another search.',
'A cursor goes on with the query, filters and sort it was answered to. Begin without one.'),
('invalid_search', 'PT400', 'This search asks for too much.', 'The detail says what there is too much of.');

-- sql/67_market/75_views.sql ------------------------------------------------------------------------------------------
-- Who looked at what, as numbers: views of an item, and of each day what came of them. A view is told by the client and
-- judged here: not the seller's own, not an admin's, not a program's, and not again within half an hour. Nobody waits
-- for a counter: views and what else is counted are noted as rows, which a job adds up within seconds.
--
-- Who looked is kept as a hash under a secret of the day. The secret goes with the day, and with it what the hash could
-- have told.

alter table private.settings
add column client_address_header text not null default 'x-forwarded-for',
add column trending_days integer not null default 14,
add constraint settings_client_address_header_check check (client_address_header ~ '^[a-z-]{1,60}$'),
add constraint settings_trending_days_check check (trending_days between 1 and 90);
comment on column private.settings.client_address_header is
'Header in which what stands before the Data API says who asks, and which it never takes from outside: '
'cf-connecting-ip behind Cloudflare.';
comment on column private.settings.trending_days is 'How many days of views and sales the trending lists look at.';

create table private.view_salts (
    day date not null,
    salt bytea not null,
    constraint view_salts_pkey primary key (day)
);
comment on table private.view_salts is 'The secret of today''s hashes; forgotten when the day is over.';
comment on column private.view_salts.day is 'UTC.';
comment on column private.view_salts.salt is 'Random.';
alter table private.view_salts enable row level security;

create table private.item_views (
    item_id uuid not null,
    viewer bytea not null,
    slot integer not null,
    day date not null,
    viewed_at timestamptz not null,
    is_folded boolean not null default false,
    constraint item_views_pkey primary key (item_id, viewer, slot),
    constraint item_views_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade
)
-- Folding marks each row once.
with (fillfactor = 80);
create index item_views_unfolded_idx on private.item_views (item_id) where not is_folded;
create index item_views_day_idx on private.item_views (day);

comment on table private.item_views is
'Today''s views: one for each viewer, item and half hour. Rows of days that are over are deleted once they '
'are counted.';
comment on column private.item_views.viewer is 'Hash of who it is, or of address and browser, under the day''s secret.';
comment on column private.item_views.slot is
'The half hour since 1970, so that two at one instant are one; -1: this browser is its seller''s, and does not count.';
comment on column private.item_views.day is 'UTC.';
comment on column private.item_views.viewed_at is 'By the server''s clock.';
comment on column private.item_views.is_folded is 'Whether it is in views_count.';
alter table private.item_views enable row level security;

create table private.bot_agents (
    fragment text not null,
    constraint bot_agents_pkey primary key (fragment),
    constraint bot_agents_fragment_check check (fragment = lower(fragment) and char_length(fragment) between 3 and 100)
);
comment on table private.bot_agents is
'What the user agents of programs have in them: crawlers, previews, monitors, libraries. Operators add rows. Programs '
'that say so are left out; those that lie are no matter of a list.';
comment on column private.bot_agents.fragment is 'In lower case.';
alter table private.bot_agents enable row level security;

insert into private.bot_agents (fragment) values
('bot'), ('crawl'), ('spider'), ('slurp'), ('scrape'), ('fetch'), ('archiver'), ('facebookexternalhit'), ('whatsapp'),
('telegram'), ('preview'), ('embedly'), ('pinterest'), ('lighthouse'), ('pagespeed'), ('pingdom'), ('uptime'),
('monitor'), ('headless'), ('phantomjs'), ('puppeteer'), ('playwright'), ('selenium'), ('curl/'), ('wget/'),
('python'), ('httpx'),
('aiohttp'), ('go-http-client'), ('java/'), ('okhttp'), ('axios'), ('node-fetch'), ('undici'), ('libwww'), ('ruby'),
('php/'), ('guzzle'), ('postman'), ('insomnia'), ('feed'), ('rss'), ('validator'), ('gptbot'), ('claude'),
('perplexity');

create function private.is_bot(agent text) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select
        coalesce(btrim(agent), '') = ''
        or exists (select from private.bot_agents as b where strpos(lower(left(agent, 1000)), b.fragment) > 0)
$$;
comment on function private.is_bot(text) is 'Whether a user agent is a program''s; who sends none is one, too.';

create function private.salt_of_today() returns bytea
language plpgsql
security definer
set search_path = ''
as $$
declare
    today date := (clock_timestamp() at time zone 'UTC')::date;
    secret bytea;
begin
    select s.salt into secret from private.view_salts as s where s.day = today;
    if secret is null then
        insert into private.view_salts (day, salt)
        values (today, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
        on conflict do nothing;
        select s.salt into strict secret from private.view_salts as s where s.day = today;
    end if;
    return secret;
end
$$;
comment on function private.salt_of_today() is 'The secret of today, made by whoever needs it first.';

create function public.record_view(item_id uuid) returns bigint
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.member_id();
    headers jsonb := nullif(current_setting('request.headers', true), '')::jsonb;
    agent text := headers ->> 'user-agent';
    browser text;
    item public.catalog_items;
    seen_at timestamptz := clock_timestamp();
    half_hour integer := floor(extract(epoch from seen_at) / 1800);
    someone bytea;
begin
    select c.* into item from public.catalog_items as c
    where
        c.id = record_view.item_id
        and (
            c.seller_id = member
            or c.is_visible and c.seller_id <> all (
                case when auth.uid() is null then array(select private.hidden_ids())
                    else array(select private.blocked_ids()) end
            )
        );
    if item.id is null then
        perform private.fail('item_not_found', record_view.item_id::text);
    end if;
    if private.is_bot(agent) or exists (
        select from public.profiles as p where p.id = member and p.role >= 'admin'
    ) then
        return item.views_count;
    end if;
    select left(split_part(headers ->> s.client_address_header, ',', 1), 100) || '|' || left(agent, 1000) into browser
    from private.settings as s;
    someone := sha256(private.salt_of_today() || convert_to(
        case when member is not null and member <> item.seller_id then member::text else coalesce(browser, '|') end,
        'utf8'
    ));
    if member = item.seller_id then
        half_hour := -1;
    elsif exists (
        select from private.item_views as v
        where
            v.item_id = item.id and v.viewer = someone
            and (v.slot = -1 or v.slot = half_hour - 1 and v.viewed_at > seen_at - interval '30 minutes')
    ) then
        -- They looked just now, or sell it and are signed out.
        return item.views_count;
    end if;
    insert into private.item_views (item_id, viewer, slot, day, viewed_at, is_folded)
    values (item.id, someone, half_hour, (seen_at at time zone 'UTC')::date, seen_at, half_hour = -1)
    on conflict on constraint item_views_pkey do nothing;
    return item.views_count;
exception when foreign_key_violation then
    -- Deleted this moment.
    perform private.fail('item_not_found', record_view.item_id::text);
end
$$;
comment on function public.record_view(uuid) is
'The caller, signed in or not, looks at an item. Counted once in half an hour; not for its seller, admins and '
'programs. Answers views_count as it is: what was not yet added, this view included, is not in it. Error: '
'item_not_found.';
grant execute on function public.record_view(uuid) to anon, authenticated;

-- Of each day.

create table public.item_statistics (
    item_id uuid not null,
    day date not null,
    views integer not null default 0,
    favorites integer not null default 0,
    carts integer not null default 0,
    sales integer not null default 0,
    conversion numeric generated always as (round(sales::numeric / nullif(views, 0), 4)) stored,
    constraint item_statistics_pkey primary key (item_id, day),
    constraint item_statistics_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade
);
create index item_statistics_day_idx on public.item_statistics (day);

comment on table public.item_statistics is
'What became of an item on each day (UTC) on which anything did. Read by its seller; a job writes, some seconds later.';
comment on column public.item_statistics.day is 'UTC, whatever the session''s zone.';
comment on column public.item_statistics.views is 'Views.';
comment on column public.item_statistics.favorites is 'Favourites of that day that still stand.';
comment on column public.item_statistics.carts is 'How often it was put into a cart.';
comment on column public.item_statistics.sales is
'What it was bought for, given away or paid, less what was taken back.';
comment on column public.item_statistics.conversion is 'Sales for each view; null without views.';

create table private.item_events (
    id bigint not null generated always as identity,
    item_id uuid not null,
    day date not null,
    favorites integer not null default 0,
    carts integer not null default 0,
    sales integer not null default 0,
    constraint item_events_pkey primary key (id)
);
comment on table private.item_events is
'What happened to items and is not in their statistics yet: rows come and go within seconds. No foreign key: who buys '
'waits for nobody.';
comment on column private.item_events.item_id is 'Which item; it may be gone.';
comment on column private.item_events.day is 'UTC.';
comment on column private.item_events.favorites is 'Change.';
comment on column private.item_events.carts is 'Change.';
comment on column private.item_events.sales is 'Change.';
alter table private.item_events enable row level security;

create function private.note_favorites() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.item_events (item_id, day, favorites)
    select c.item_id, (c.created_at at time zone 'UTC')::date, case tg_op when 'INSERT' then 1 else -1 end
    from changed as c;
    return null;
end
$$;
comment on function private.note_favorites() is 'Trigger on favorites: notes them for the statistics of their day.';
create trigger note_statistics_inserted after insert on public.favorites referencing new table as changed
for each statement execute function private.note_favorites();
create trigger note_statistics_deleted after delete on public.favorites referencing old table as changed
for each statement execute function private.note_favorites();

create function private.note_carts() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.item_events (item_id, day, carts)
    select c.item_id, (c.added_at at time zone 'UTC')::date, 1 from changed as c;
    return null;
end
$$;
comment on function private.note_carts() is 'Trigger on cart_items: notes them for the statistics of their day.';
create trigger note_statistics_inserted after insert on public.cart_items referencing new table as changed
for each statement execute function private.note_carts();

create function private.note_sales() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' then
        insert into private.item_events (item_id, day, sales)
        select c.item_id, (c.purchased_at at time zone 'UTC')::date, 1
        from changed as c
        where c.item_id is not null and c.revoked_at is null;
    else
        insert into private.item_events (item_id, day, sales)
        select c.item_id, (c.purchased_at at time zone 'UTC')::date, case when c.revoked_at is null then 1 else -1 end
        from changed as c
        inner join before as b on b.id = c.id
        where c.item_id is not null and (c.revoked_at is null) <> (b.revoked_at is null);
    end if;
    return null;
end
$$;
comment on function private.note_sales() is
'Trigger on purchases: notes what is granted, taken back and given again for the statistics of the day it was bought.';
create trigger note_statistics_inserted after insert on public.purchases referencing new table as changed
for each statement execute function private.note_sales();
create trigger note_statistics_changed after update on public.purchases
referencing old table as before new table as changed
for each statement execute function private.note_sales();

create function private.fold_views(max_rows integer default 5000) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    today date := (clock_timestamp() at time zone 'UTC')::date;
    held uuid [];
    folded integer := 0;
    events integer := 0;
begin
    -- One at a time; the next run takes up what this one leaves.
    if not pg_try_advisory_xact_lock(hashtextextended('avenue:views', 0)) then
        return 0;
    end if;
    -- Who is just selling an item is not waited for.
    held := array(
        select c.id from public.catalog_items as c
        where c.id in (select v.item_id from private.item_views as v where not v.is_folded limit max_rows)
        order by c.id
        for no key update skip locked
    );
    if held <> '{}' then
        with seen as (
            update private.item_views as v set is_folded = true
            where v.item_id = any (held) and not v.is_folded
            returning v.item_id, v.day
        ), days as (
            select s.item_id, s.day, count(*)::integer as views from seen as s group by s.item_id, s.day
        ), noted as (
            insert into public.item_statistics as t (item_id, day, views)
            select d.item_id, d.day, d.views from days as d
            on conflict on constraint item_statistics_pkey do update set views = t.views + excluded.views
        ), counted as (
            update public.catalog_items as c set views_count = c.views_count + d.views
            from (select d.item_id, sum(d.views) as views from days as d group by d.item_id) as d
            where c.id = d.item_id
        )
        select coalesce(sum(d.views), 0) into folded from days as d;
    end if;
    with taken as (
        delete from private.item_events as e
        where e.id in (select o.id from private.item_events as o order by o.id limit max_rows)
        returning e.item_id, e.day, e.favorites, e.carts, e.sales
    ), days as (
        select
            t.item_id, t.day, count(*) as events, sum(t.favorites)::integer as favorites,
            sum(t.carts)::integer as carts, sum(t.sales)::integer as sales
        from taken as t
        group by t.item_id, t.day
    ), noted as (
        insert into public.item_statistics as s (item_id, day, favorites, carts, sales)
        select d.item_id, d.day, d.favorites, d.carts, d.sales
        from days as d
        inner join (
            -- An item that is deleted this moment takes its statistics along.
            select c.id from public.catalog_items as c
            where c.id in (select o.item_id from private.item_events as o order by o.id limit max_rows)
            order by c.id
            for key share
        ) as c on c.id = d.item_id
        on conflict on constraint item_statistics_pkey do update set
        favorites = s.favorites + excluded.favorites, carts = s.carts + excluded.carts, sales = s.sales + excluded.sales
    )
    select coalesce(sum(d.events), 0) into events from days as d;
    delete from private.view_salts as s where s.day < today;
    delete from private.item_views as v
    where (v.item_id, v.viewer, v.slot) in (
        select o.item_id, o.viewer, o.slot from private.item_views as o
        where o.day < today and o.is_folded
        limit max_rows
    );
    return folded + events;
end
$$;
comment on function private.fold_views(integer) is
'Adds noted views to their items, and what else was noted to the statistics of its day; forgets the hashes of '
'days that '
'are over. Returns how much it added. A job calls it every few seconds.';
grant execute on function private.fold_views(integer) to avenue_worker;

alter table public.item_statistics enable row level security;
grant select on public.item_statistics to authenticated, service_role;
create policy item_statistics_select on public.item_statistics for select to authenticated
using (
    exists (
        select from public.catalog_items as c
        where c.id = item_statistics.item_id and c.seller_id = (select private.member_id())
    )
    or (select private.is_admin())
);

-- What is taking off: views and sales that weigh half as much after each half-life.

create table public.trending_items (
    item_id uuid not null,
    kind text not null,
    category text,
    score numeric(14, 2) not null,
    updated_at timestamptz not null default now(),
    constraint trending_items_pkey primary key (item_id),
    constraint trending_items_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint trending_items_kind_fkey foreign key (kind) references private.kinds (kind),
    constraint trending_items_score_check check (score >= 0)
);
create index trending_items_score_idx on public.trending_items (score desc, item_id desc);
create index trending_items_kind_score_idx on public.trending_items (kind, score desc, item_id desc);
create index trending_items_category_score_idx on public.trending_items (category, score desc, item_id desc);

comment on table public.trending_items is
'Items that are taking off: the first 1,000 of each kind and the first 100 of each of its categories. Everybody reads '
'those on sale; a job writes.';
comment on column public.trending_items.kind is 'As in catalog_items.';
comment on column public.trending_items.category is 'As in catalog_items.';
comment on column public.trending_items.score is
'Views, five for each favourite and twenty for each sale, of the last settings.trending_days, each weighing half as '
'much after every settings.trending_half_life.';

create function private.update_trending_items() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    ids uuid [];
    scores numeric [];
    changed integer;
    gone integer;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('avenue:trending_items', 0)) then
        return 0;
    end if;
    select coalesce(array_agg(r.id order by r.id), '{}'), array_agg(r.score order by r.id) into ids, scores
    from (
        select
            c.id, s.score,
            row_number() over (partition by c.kind order by s.score desc, c.id desc) as place,
            row_number() over (partition by c.kind, c.category order by s.score desc, c.id desc) as category_place
        from (
            select
                t.item_id,
                round(sum(
                    greatest(t.views + 5 * t.favorites + 20 * t.sales, 0)
                    * power(0.5, extract(epoch from now() - t.day::timestamp at time zone 'UTC') / extract(
                        epoch from w.trending_half_life
                    ))
                )::numeric, 2) as score
            from public.item_statistics as t
            cross join private.settings as w
            where t.day > (now() at time zone 'UTC')::date - w.trending_days
            group by t.item_id
        ) as s
        inner join public.catalog_items as c on c.id = s.item_id and c.is_listed
        where s.score > 0
    ) as r
    where r.place <= 1000 or r.category_place <= 100;
    delete from public.trending_items as i where i.item_id not in (select u.id from unnest(ids) as u (id));
    get diagnostics gone = row_count;
    insert into public.trending_items as i (item_id, kind, category, score)
    select c.id, c.kind, c.category, u.score
    from unnest(ids, scores) as u (id, score)
    inner join (
        -- What is being deleted or sold this moment is left to the next run.
        select o.id, o.kind, o.category from public.catalog_items as o
        where o.id = any (ids)
        order by o.id
        for key share skip locked
    ) as c on c.id = u.id
    on conflict on constraint trending_items_pkey do update
    set kind = excluded.kind, category = excluded.category, score = excluded.score, updated_at = now()
    where (i.kind, i.category, i.score) is distinct from (excluded.kind, excluded.category, excluded.score);
    get diagnostics changed = row_count;
    return changed + gone;
end
$$;
comment on function private.update_trending_items() is
'Writes the trending lists anew from the statistics; says the same however often it is called. Returns how many rows '
'changed.';
grant execute on function private.update_trending_items() to avenue_worker;

alter table public.trending_items enable row level security;
grant select on public.trending_items to anon, authenticated, service_role;
create policy trending_items_select on public.trending_items for select to anon, authenticated
using (exists (select from public.catalog_items as c where c.id = trending_items.item_id and c.is_listed));

insert into private.personal_data (section, relation, condition, stays, reason) values
('item_views', 'private.item_views', null, '{}', 'hashes under a secret that goes with the day: of nobody'),
('item_events', 'private.item_events', null, '{item_id}', 'numbers of items, on their way to the statistics'),
('trending_items', 'public.trending_items', null, '{category}', 'repeats what is on sale'),
('item_statistics', 'public.item_statistics',
    't.item_id in (select c.id from public.catalog_items as c where c.seller_id = $1)', '{}', null);

-- sql/67_market/80_wish_lists.sql -------------------------------------------------------------------------------------
-- Wish lists: what members want to buy one day or would like to be given. A list is its owner's alone until they share
-- it: then whoever has its token reads it, until it is taken back. The token is random and kept as a hash, so that
-- neither guessing nor a copy of this database opens a list.
--
-- Of what is on a list its owner is told once for each new lowest price, and when it can be had again. A seller's
-- change only leaves a note that there was one; a job looks who waits for the item.

alter table private.settings
add column wish_lists_per_member integer not null default 20,
add column items_per_wish_list integer not null default 100;
comment on column private.settings.wish_lists_per_member is 'How many wish lists a member may have.';
comment on column private.settings.items_per_wish_list is 'How many items may be on one wish list.';

create table public.wish_lists (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    name text not null,
    shared_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint wish_lists_pkey primary key (id),
    constraint wish_lists_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint wish_lists_name_check check (char_length(name) between 1 and 100)
);
create index wish_lists_user_id_created_at_idx on public.wish_lists (user_id, created_at desc, id desc);

-- What a client that breaks these is told, see error_catalog().
comment on constraint wish_lists_name_check on public.wish_lists is
'invalid_wish_list: A wish list has a name of 1 to 100 characters.';

comment on table public.wish_lists is
'Wish lists. Owner only; whoever has the token reads it with shared_wish_list().';
comment on column public.wish_lists.user_id is 'Whose; always the caller.';
comment on column public.wish_lists.name is 'In one line.';
comment on column public.wish_lists.shared_at is 'Since when; null while it is the owner''s alone.';

create table private.wish_list_tokens (
    list_id uuid not null,
    token_hash bytea not null,
    constraint wish_list_tokens_pkey primary key (list_id),
    constraint wish_list_tokens_token_hash_key unique (token_hash),
    constraint wish_list_tokens_list_id_fkey foreign key (list_id) references public.wish_lists (id) on delete cascade
);
comment on table private.wish_list_tokens is 'What opens the lists that are shared.';
comment on column private.wish_list_tokens.list_id is 'Which list.';
comment on column private.wish_list_tokens.token_hash is 'SHA-256 of the token.';
alter table private.wish_list_tokens enable row level security;

create trigger _tidy_texts before insert or update of name on public.wish_lists
for each row execute function private.tidy_texts('name line');
create trigger touch_updated_at before update on public.wish_lists
for each row execute function private.touch_updated_at();

create function private.check_wish_list() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Two at once must not both be the last.
    perform from public.profiles as p where p.id = new.user_id for no key update;
    if (select count(*) from public.wish_lists as w where w.user_id = new.user_id)
        >= (select s.wish_lists_per_member from private.settings as s) then
        perform private.fail('too_many_wish_lists');
    end if;
    return new;
end
$$;
comment on function private.check_wish_list() is 'Trigger: a member has only so many wish lists.';
create trigger check_wish_list before insert on public.wish_lists
for each row execute function private.check_wish_list();

create table public.wish_list_items (
    list_id uuid not null,
    item_id uuid not null,
    lowest_cents bigint not null default 0,
    is_awaited boolean not null default false,
    added_at timestamptz not null default now(),
    constraint wish_list_items_pkey primary key (list_id, item_id),
    constraint wish_list_items_list_id_fkey foreign key (list_id) references public.wish_lists (id) on delete cascade,
    constraint wish_list_items_item_id_fkey foreign key (item_id)
    references public.catalog_items (id) on delete cascade,
    constraint wish_list_items_lowest_cents_check check (lowest_cents between 0 and private.highest_amount_cents())
);
create index wish_list_items_list_id_added_at_idx on public.wish_list_items (list_id, added_at desc, item_id desc);
create index wish_list_items_item_id_idx on public.wish_list_items (item_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint wish_list_items_pkey on public.wish_list_items is 'already_done: It is on the list already.';
comment on constraint wish_list_items_list_id_fkey on public.wish_list_items is
'wish_list_not_found: There is no such wish list.';
comment on constraint wish_list_items_item_id_fkey on public.wish_list_items is
'item_not_found: There is no such item.';

comment on table public.wish_list_items is
'What is on a wish list. Owner only. It stays when the item leaves the shop; the embedded item is null while the owner '
'may not see it.';
comment on column public.wish_list_items.lowest_cents is
'The lowest price its owner knows of, cents: when it was put on the list, or was told of. Kept by trigger and job.';
comment on column public.wish_list_items.is_awaited is
'It was sold out; its owner is told when it can be had again. Kept by trigger and job.';

create function private.check_wish() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    item record;
begin
    -- Two at once must not both be the last.
    perform from public.wish_lists as w
    where w.id = new.list_id and w.user_id = private.member_id() for no key update;
    if not found then
        perform private.fail('wish_list_not_found', new.list_id::text);
    end if;
    select c.price_cents, c.is_sold_out into item
    from public.catalog_items as c
    where c.id = new.item_id and c.is_visible and c.seller_id <> all (array(select private.blocked_ids()));
    if not found then
        perform private.fail('item_not_found', new.item_id::text);
    end if;
    if
        not exists (
            select from public.wish_list_items as i where i.list_id = new.list_id and i.item_id = new.item_id
        )
        and (select count(*) from public.wish_list_items as i where i.list_id = new.list_id)
        >= (select s.items_per_wish_list from private.settings as s)
    then
        perform private.fail('wish_list_full', new.list_id::text);
    end if;
    new.lowest_cents := item.price_cents;
    new.is_awaited := item.is_sold_out;
    return new;
end
$$;
comment on function private.check_wish() is
'Trigger: only what the caller finds in the shop is put on a list of theirs, and only so much.';
create trigger check_wish before insert on public.wish_list_items
for each row execute function private.check_wish();

-- What clients upsert sets the key again.
create function private.keep_wish() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.list_id := old.list_id;
    new.item_id := old.item_id;
    return new;
end
$$;
comment on function private.keep_wish() is 'Trigger: an item that is put on a list again stays as it is.';
create trigger keep_wish before update of list_id, item_id on public.wish_list_items
for each row execute function private.keep_wish();

create function private.is_my_wish_list(list_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.wish_lists as w where w.id = is_my_wish_list.list_id and w.user_id = private.member_id()
    );
end
$$;
comment on function private.is_my_wish_list(uuid) is 'Whether a list is the caller''s. For policies.';
grant execute on function private.is_my_wish_list(uuid) to authenticated;

alter table public.wish_lists enable row level security;
grant
select, delete, insert (name), update (name)
on public.wish_lists to authenticated;
grant select on public.wish_lists to service_role;
create policy wish_lists_select on public.wish_lists for select to authenticated
using (user_id = (select private.member_id()));
create policy wish_lists_insert on public.wish_lists for insert to authenticated
with check (user_id = (select private.member_id()));
create policy wish_lists_update on public.wish_lists for update to authenticated
using (user_id = (select private.member_id()))
with check (user_id = (select private.member_id()));
create policy wish_lists_delete on public.wish_lists for delete to authenticated
using (user_id = (select private.member_id()));

alter table public.wish_list_items enable row level security;
grant
select, delete, insert (list_id, item_id), update (list_id, item_id)
on public.wish_list_items to authenticated;
grant select on public.wish_list_items to service_role;
create policy wish_list_items_select on public.wish_list_items for select to authenticated
using (private.is_my_wish_list(list_id));
create policy wish_list_items_insert on public.wish_list_items for insert to authenticated
with check (private.is_my_wish_list(list_id));
create policy wish_list_items_update on public.wish_list_items for update to authenticated
using (private.is_my_wish_list(list_id))
with check (private.is_my_wish_list(list_id));
create policy wish_list_items_delete on public.wish_list_items for delete to authenticated
using (private.is_my_wish_list(list_id));

-- Sharing.

create function public.share_wish_list(list_id uuid) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    token text := encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'hex');
begin
    update public.wish_lists as w set shared_at = clock_timestamp()
    where w.id = share_wish_list.list_id and w.user_id = member;
    if not found then
        perform private.fail('wish_list_not_found', share_wish_list.list_id::text);
    end if;
    insert into private.wish_list_tokens as t (list_id, token_hash)
    values (share_wish_list.list_id, sha256(convert_to(token, 'utf8')))
    on conflict on constraint wish_list_tokens_pkey do update set token_hash = excluded.token_hash;
    return token;
end
$$;
comment on function public.share_wish_list(uuid) is
'A token with which anybody reads the list, see shared_wish_list(); shown this once. An earlier one opens it no more. '
'Error: wish_list_not_found.';
grant execute on function public.share_wish_list(uuid) to authenticated;

create function public.unshare_wish_list(list_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    update public.wish_lists as w set shared_at = null
    where w.id = unshare_wish_list.list_id and w.user_id = member;
    if not found then
        perform private.fail('wish_list_not_found', unshare_wish_list.list_id::text);
    end if;
    delete from private.wish_list_tokens as t where t.list_id = unshare_wish_list.list_id;
end
$$;
comment on function public.unshare_wish_list(uuid) is
'The list is its owner''s alone again: its token opens nothing any more. Error: wish_list_not_found.';
grant execute on function public.unshare_wish_list(uuid) to authenticated;

create type public.shared_wish as (
    item_id uuid,
    kind text,
    title text,
    slug text,
    thumbnail_url text,
    price_cents bigint,
    currency character (3),
    is_buyable boolean,
    added_at timestamptz
);
comment on type public.shared_wish is
'What is on a shared list. Of what the reader does not find in the shop nothing is said but that it was there: '
'item_id, title, price and the rest are null, is_buyable is false.';

create type public.shared_wish_list as (name text, owner_name text, items public.shared_wish []);
comment on type public.shared_wish_list is 'A shared list: its name, its owner''s display name, the last added first.';

create function public.shared_wish_list(token text) returns public.shared_wish_list
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    list record;
    hidden uuid [] := case
        when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
    end;
begin
    select w.id, w.name, p.display_name into list
    from private.wish_list_tokens as t
    inner join public.wish_lists as w on w.id = t.list_id
    inner join public.profiles as p on p.id = w.user_id and p.deleted_at is null and not p.is_banned
    where
        t.token_hash = sha256(convert_to(left(shared_wish_list.token, 100), 'utf8'))
        and w.user_id <> all (hidden);
    if list.id is null then
        perform private.fail('wish_list_not_found');
    end if;
    return row(list.name, list.display_name, array(
        select row(
            c.id, c.kind, c.title, c.slug, c.thumbnail_url::text, c.price_cents, c.currency,
            coalesce(c.is_buyable, false), i.added_at
        )::public.shared_wish
        from public.wish_list_items as i
        left join public.catalog_items as c
            on c.id = i.item_id and c.is_visible and c.seller_id <> all (hidden)
        where i.list_id = list.id
        order by i.added_at desc, i.item_id desc
    ))::public.shared_wish_list;
end
$$;
comment on function public.shared_wish_list(text) is
'The list of a token, for whoever has it, signed in or not. Error: wish_list_not_found: there never was such a token, '
'it was taken back, or its owner is gone.';
grant execute on function public.shared_wish_list(text) to anon, authenticated;

-- What its owners are told.

create table private.item_changes (
    id bigint not null generated always as identity,
    item_id uuid not null,
    constraint item_changes_pkey primary key (id)
);
comment on table private.item_changes is
'Items on wish lists that became cheaper, sold out or available: for tell_wishers(), which removes the note.';
comment on column private.item_changes.item_id is 'Which; it may be gone.';
alter table private.item_changes enable row level security;

create function private.note_item_change() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.item_changes (item_id)
    select new.id where exists (select from public.wish_list_items as i where i.item_id = new.id);
    return null;
end
$$;
comment on function private.note_item_change() is 'Trigger on catalog_items: notes what somebody may wait for.';
create trigger note_item_change after update on public.catalog_items
for each row when (
    new.price_cents < old.price_cents or new.is_sold_out <> old.is_sold_out
    or new.is_buyable and not old.is_buyable
)
execute function private.note_item_change();

create function private.tell_wishers(max_items integer default 100) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    note bigint;
    item public.catalog_items;
    notices private.notice [];
    looked integer := 0;
begin
    for note, item.id in
        select c.id, c.item_id from private.item_changes as c
        order by c.id
        limit max_items
        for update skip locked
    loop
        looked := looked + 1;
        delete from private.item_changes as c where c.id = note;
        -- As it is now: a price that is up again is no news, and of two changes the second finds nothing to tell.
        select c.* into item from public.catalog_items as c where c.id = item.id;
        continue when not found;
        if item.is_sold_out then
            update public.wish_list_items as i set is_awaited = true where i.item_id = item.id and not i.is_awaited;
        end if;
        continue when not item.is_buyable;
        with changed as materialized (
            select i.list_id, i.item_id, w.user_id, i.is_awaited, i.lowest_cents
            from public.wish_list_items as i
            inner join public.wish_lists as w on w.id = i.list_id
            where i.item_id = item.id and (i.is_awaited or i.lowest_cents > item.price_cents)
            order by i.list_id
            for no key update of i
        ), people as (
            select
                o.user_id, bool_or(c.is_awaited) as is_back,
                -- On another list they know of a lower price already.
                min(o.lowest_cents) > item.price_cents as is_cheaper
            from (
                select w.user_id, i.lowest_cents
                from public.wish_list_items as i
                inner join public.wish_lists as w on w.id = i.list_id
                where i.item_id = item.id and w.user_id in (select c.user_id from changed as c)
            ) as o
            inner join changed as c on c.user_id = o.user_id
            group by o.user_id
        ), known as (
            update public.wish_list_items as i
            set lowest_cents = least(i.lowest_cents, item.price_cents), is_awaited = false
            from changed as c
            where i.list_id = c.list_id and i.item_id = c.item_id
        )
        select array_agg(
            row(n.type, p.user_id, null, item.kind, item.id, null)::private.notice order by p.user_id, n.type
        ) into notices
        from people as p
        cross join lateral (
            select 'price_drop' as type where p.is_cheaper
            union all
            select 'back_in_stock' where p.is_back
        ) as n
        where private.is_visible_to(item.seller_id, p.user_id) and p.user_id <> item.seller_id and not exists (
            select from public.user_blocks as b
            where
                b.blocker_id = p.user_id and b.blocked_id = item.seller_id
                or b.blocker_id = item.seller_id and b.blocked_id = p.user_id
        );
        if notices is not null then
            perform private.notify_many(notices);
        end if;
    end loop;
    return looked;
end
$$;
comment on function private.tell_wishers(integer) is
'Looks at items that changed and tells those who wish for them: price_drop once for each new lowest price, '
'back_in_stock once after it was sold out. Returns at how many it looked. A job calls it every few seconds.';
grant execute on function private.tell_wishers(integer) to avenue_worker;

insert into private.notification_types (
    type, title, message, link_template, collapse, collapse_unread, email, can_switch_off, is_anonymous,
    outlives_content, reaches_banned
) values
('price_drop', 'Now cheaper', 'Something on your wish list costs less now.', null, null, false, 'digest', true, false,
false, false),
('back_in_stock', 'Available again', 'Something on your wish list can be bought again.', null, null, false, 'digest',
true, false, false, false);

insert into private.personal_data (section, relation, condition, stays, reason) values
('wish_lists', 'public.wish_lists', 't.user_id = $1', '{}', null),
('wish_list_items', 'public.wish_list_items',
    't.list_id in (select w.id from public.wish_lists as w where w.user_id = $1)', '{}', null),
('wish_list_tokens', 'private.wish_list_tokens', null, '{}', 'a hash of what opens a list; goes with it'),
('item_changes', 'private.item_changes', null, '{item_id}', 'items that changed, for some seconds');
insert into private.erasure_steps (step, phase, erases, statement) values
('wish_lists', 'reactions', '{public.wish_lists}', 'delete from public.wish_lists where user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('wish_list_not_found', 'PT404', 'There is no such wish list.',
'It does not exist, is somebody else''s, or its link was taken back.'),
('too_many_wish_lists', 'PT409', 'You have too many wish lists.', 'A member has at most 20. Delete one first.'),
('wish_list_full', 'PT409', 'This wish list is full.', 'A list has at most 100 items. Remove one, or begin another.');

set local check_function_bodies = off;

drop policy trending_items_select on public.trending_items;

drop policy avenue_objects_delete on storage.objects;

drop policy avenue_objects_insert on storage.objects;

drop policy avenue_objects_select on storage.objects;

drop trigger note_item_change on public.catalog_items;

drop trigger check_catalog_option on public.catalog_options;

drop index public.catalog_items_category_published_at_id_idx;

drop index public.catalog_items_entries_idx;

drop index public.catalog_items_kind_published_at_id_idx;

drop index public.catalog_items_popularity_id_idx;

drop index public.catalog_items_price_cents_id_idx;

drop index public.catalog_items_published_at_id_idx;

drop index public.catalog_items_rating_id_idx;

drop index public.catalog_items_search_idx;

drop index public.catalog_items_tags_idx;

drop index public.catalog_items_title_trgm_idx;

drop view private.unread_messages;

alter table private.holds
    drop constraint holds_holder_check;

alter table public.catalog_items
    drop constraint catalog_items_counts_check;

alter table public.catalog_items
    drop constraint catalog_items_taken_check;

alter table public.conversations
    drop constraint conversations_pair_check;

alter table public.refund_lines
    drop constraint refund_lines_split_check;

alter table public.transactions
    drop constraint transactions_refunded_check;

alter table public.transactions
    drop constraint transactions_split_check;

drop function private.split_refund(public.transactions, bigint, text);

drop function public.checkout(jsonb, public.payment_provider, text, jsonb, text);

drop function public.search_catalog(text, text, text, text[], bigint, bigint, timestamp
    with time zone, uuid, integer);

alter table public.catalog_items
    alter column rating_average drop default;

alter table public.catalog_items
    drop column is_buyable;

alter table public.catalog_items
    drop column is_listed;

alter table public.catalog_items
    drop column is_sold_out;

create sequence private.queue_numbers as bigint increment by 1 minvalue 1 maxvalue 9223372036854775807 START
    with 1 cache 1 no cycle;

create table private.calendar_entries (
    registration_id uuid not null,
    sequence integer not null default 0,
    is_cancelled boolean not null default false,
    changed_at timestamp with time zone not null default now(),
    due_at timestamp with time zone default now(),
    attempts integer not null default 0,
    sent_sequence integer,
    last_error text,
    constraint calendar_entries_pkey primary key (registration_id)
);

alter table private.calendar_entries
    enable row level security;

alter table private.calendar_entries
    set (fillfactor=80);

create table private.gift_codes (
    gift_id uuid not null,
    email text,
    code_hash bytea,
    mail_due_at timestamp with time zone,
    attempts integer not null default 0,
    last_error text,
    mailed_at timestamp with time zone,
    created_at timestamp with time zone not null default now(),
    constraint gift_codes_code_hash_key unique (code_hash),
    constraint gift_codes_pkey primary key (gift_id)
);

alter table private.gift_codes
    enable row level security;

create table private.recording_grants (
    product_id uuid not null,
    constraint recording_grants_pkey primary key (product_id)
);

alter table private.recording_grants
    enable row level security;

create table private.webinar_passes (
    token uuid not null default gen_random_uuid(),
    webinar_id uuid not null,
    user_id uuid not null,
    created_at timestamp with time zone not null default now(),
    constraint webinar_passes_pkey primary key (token),
    constraint webinar_passes_webinar_id_user_id_key unique (webinar_id, user_id)
);

alter table private.webinar_passes
    enable row level security;

create table private.webinar_reminders (
    webinar_id uuid not null,
    starts_at timestamp with time zone not null,
    minutes_before integer not null,
    constraint webinar_reminders_pkey primary key (webinar_id, starts_at, minutes_before)
);

alter table private.webinar_reminders
    enable row level security;

create table private.webinar_rooms (
    webinar_id uuid not null,
    provider text not null default 'link'::text,
    room_id text,
    link text,
    updated_at timestamp with time zone not null default now(),
    constraint webinar_rooms_link_check check (((char_length(link) <= 2048) AND (link ~* '^https://[^\s]+$'::text))),
    constraint webinar_rooms_pkey primary key (webinar_id),
    constraint webinar_rooms_room_check check ((num_nonnulls(room_id, link) >= 1))
);

alter table private.webinar_rooms
    enable row level security;

create table public.gifts (
    id uuid not null,
    payer_id uuid not null,
    receiver_id uuid,
    item_id uuid not null,
    constraint gifts_pkey primary key (id)
);

alter table public.gifts
    enable row level security;

revoke all on table public.gifts from anon;

create table public.item_ratings (
    item_id uuid not null,
    stars_1 integer not null default 0,
    stars_2 integer not null default 0,
    stars_3 integer not null default 0,
    stars_4 integer not null default 0,
    stars_5 integer not null default 0,
    reviews_count integer generated always as (((((stars_1 + stars_2) + stars_3) + stars_4) + stars_5)) stored
        not null,
    rating_total integer generated always as
        (((((stars_1 + (2 * stars_2)) + (3 * stars_3)) + (4 * stars_4)) + (5 * stars_5))) stored not null,
    rating_average numeric(3,2) generated always as
        (round(((((((stars_1 + (2 * stars_2)) + (3 * stars_3)) + (4 * stars_4)) + (5 * stars_5)))::numeric /
        (NULLIF(((((stars_1 + stars_2) + stars_3) + stars_4) + stars_5), 0))::numeric), 2)) stored,
    constraint item_ratings_pkey primary key (item_id),
    constraint item_ratings_stars_check check ((LEAST(stars_1, stars_2, stars_3, stars_4, stars_5) >= 0))
);

alter table public.item_ratings
    enable row level security;

alter table public.item_ratings
    set (fillfactor=80);

create table public.review_votes (
    review_id uuid not null,
    user_id uuid not null,
    is_helpful boolean not null,
    created_at timestamp with time zone not null default now(),
    constraint review_votes_pkey primary key (review_id, user_id)
);

alter table public.review_votes
    enable row level security;

revoke all on table public.review_votes from anon;

create table public.reviews (
    id uuid not null default gen_random_uuid(),
    constraint reviews_pkey primary key (id)
);

alter table public.reviews
    enable row level security;

create table public.webinar_co_hosts (
    webinar_id uuid not null,
    user_id uuid not null,
    accepted_at timestamp with time zone,
    created_at timestamp with time zone not null default now(),
    constraint webinar_co_hosts_pkey primary key (webinar_id, user_id)
);

alter table public.webinar_co_hosts
    enable row level security;

create table public.webinar_counts (
    webinar_id uuid not null,
    registrations_count integer not null default 0,
    constraint webinar_counts_pkey primary key (webinar_id),
    constraint webinar_counts_registrations_count_check check ((registrations_count >= 0))
);

alter table public.webinar_counts
    enable row level security;

alter table public.webinar_counts
    set (fillfactor=50);

create table public.webinar_recordings (
    webinar_id uuid not null,
    created_at timestamp with time zone not null default now(),
    constraint webinar_recordings_pkey primary key (webinar_id),
    recording_url public.http_url not null
);

alter table public.webinar_recordings
    enable row level security;

revoke all on table public.webinar_recordings from anon;

create table public.webinar_registrations (
    id uuid not null default gen_random_uuid(),
    webinar_id uuid not null,
    user_id uuid not null,
    attended_at timestamp with time zone,
    created_at timestamp with time zone not null default now(),
    updated_at timestamp with time zone not null default now(),
    constraint webinar_registrations_pkey primary key (id),
    constraint webinar_registrations_webinar_id_user_id_key unique (webinar_id, user_id)
);

alter table public.webinar_registrations
    enable row level security;

alter table public.webinar_registrations
    set (fillfactor=80);

revoke all on table public.webinar_registrations from anon;

create table public.webinars (
    id uuid not null default gen_random_uuid(),
    title text not null,
    slug text not null default ''::text,
    description text,
    starts_local timestamp without time zone not null,
    time_zone text not null,
    is_second_hour boolean,
    starts_at timestamp with time zone not null default now(),
    duration_minutes integer not null default 60,
    ends_at timestamp with time zone not null default now(),
    price_cents bigint not null default 0,
    currency character(3) not null default 'USD'::bpchar,
    max_attendees integer,
    cancel_before_hours integer not null default 24,
    constraint webinars_cancel_before_hours_check
        check (((cancel_before_hours >= 0) AND (cancel_before_hours <= 720))),
    constraint webinars_description_check check ((char_length(description) <= 20000)),
    constraint webinars_duration_minutes_check check (((duration_minutes >= 5) AND (duration_minutes <= 1440))),
    constraint webinars_ends_at_check check ((ends_at > starts_at)),
    constraint webinars_max_attendees_check check (((max_attendees >= 2) AND (max_attendees <= 100000))),
    constraint webinars_pkey primary key (id),
    constraint webinars_slug_key unique (slug),
    constraint webinars_title_check check (((char_length(title) >= 1) AND (char_length(title) <= 255))),
    host_id uuid not null default auth.uid(),
    thumbnail_url public.http_url,
    cover_image_url public.http_url,
    constraint webinars_price_cents_check check (private.is_price(price_cents)),
    constraint webinars_slug_check check ((private.is_slug(slug) AND (char_length(slug) <= 100)))
);

alter table public.webinars
    enable row level security;

alter table public.webinars
    set (fillfactor=80);

alter table private.holds
    add column webinar_registration_id uuid;

alter table private.kinds
    add column has_seats boolean not null default false;

alter table private.kinds
    add column reviewing text;

alter table private.settings
    add column offer_period interval not null default '24:00:00'::interval;

alter table private.settings
    add column join_before interval not null default '00:30:00'::interval;

alter table private.settings
    add column review_blind_period interval not null default '336:00:00'::interval;

alter table private.settings
    add column review_burst integer not null default 10;

alter table private.settings
    add column gift_refusal_period interval not null default '14 days'::interval;

alter table public.catalog_items
    add column has_seats boolean not null default false;

alter table public.catalog_items
    add column is_sold_out boolean generated always as
        (((COALESCE((purchases_count >= stock), false) AND (not has_seats)) or is_exclusively_sold)) stored not null;

alter table public.catalog_items
    add column is_buyable boolean generated always as
        ((is_published AND is_for_sale AND seller_is_active AND (not ((COALESCE((purchases_count >= stock), false) AND
        (not has_seats)) or is_exclusively_sold)))) stored not null;

alter table public.catalog_items
    add column is_listed boolean generated always as
        ((is_published AND is_for_sale AND seller_is_active AND is_browsable AND (not ((COALESCE((purchases_count >=
        stock), false) AND (not has_seats)) or is_exclusively_sold)))) stored not null;

alter table public.conversations
    add column service_order_id uuid;

alter table public.order_items
    add column gift_id uuid;

alter table public.order_items
    add column gift_to_id uuid;

alter table public.order_items
    add column owner_id uuid generated always as (
CASE
    when (gift_id is null) THEN buyer_id
    ELSE gift_to_id
end) stored;

alter table public.order_items
    add column coupon_id uuid;

alter table public.order_items
    add column promoted_cents bigint not null default 0;

alter table public.order_items
    add column is_booked boolean;

alter table public.refund_lines
    add column promotions_cents bigint not null default 0;

alter table public.transactions
    add column amount_promotions_cents bigint not null default 0;

alter table public.transactions
    add column refunded_promotions_cents bigint not null default 0;

alter table public.catalog_items
    alter column rating_average drop not null;

create type private.webinar_refund as (
    payment_id uuid,
    order_item_id uuid,
    amount_cents bigint,
    cost_cents bigint
);

create type public.dispute_message as (
    id uuid,
    number integer,
    sender_id uuid,
    content text,
    attachments text[],
    created_at timestamp with time zone
);

create type public.gift_status as enum (
    'ordered',
    'waiting',
    'given',
    'refused'
);

alter table public.gifts
    add column status public.gift_status not null default 'ordered'::public.gift_status;

alter table public.gifts
    add column given_at timestamp with time zone;

alter table public.gifts
    add column claimed_at timestamp with time zone;

alter table public.gifts
    add column created_at timestamp with time zone not null default now();

alter table public.gifts
    add column updated_at timestamp with time zone not null default now();

create type public.rating_histogram as (
    item_id uuid,
    reviews_count integer,
    rating_average numeric(3,2),
    counts integer[],
    percentages integer[]
);

create type public.registration_payment as enum (
    'pending',
    'paid',
    'refunded',
    'free'
);

create type public.registration_status as enum (
    'waiting',
    'offered',
    'held',
    'confirmed',
    'cancelled',
    'refunded',
    'expired'
);

alter table public.webinar_registrations
    add column status public.registration_status not null;

alter table public.webinar_registrations
    add column purchase_id uuid;

alter table public.webinar_registrations
    add column payment_status public.registration_payment generated always as (
CASE
    when (status = ANY (ARRAY['held'::public.registration_status, 'offered'::public.registration_status])) THEN
        'pending'::public.registration_payment
    when ((status = 'confirmed'::public.registration_status) AND (purchase_id is null)) THEN
        'free'::public.registration_payment
    when (status = 'confirmed'::public.registration_status) THEN 'paid'::public.registration_payment
    when
        ((status = ANY (ARRAY['refunded'::public.registration_status, 'cancelled'::public.registration_status])) AND
        (purchase_id is not null)) THEN 'refunded'::public.registration_payment
    ELSE null::public.registration_payment
end) stored;

alter table public.webinar_registrations
    add column payable_id uuid;

alter table public.webinar_registrations
    add column queue_no bigint;

alter table public.webinar_registrations
    add column offers_count smallint not null default 0;

alter table public.webinar_registrations
    add column offer_expires_at timestamp with time zone;

alter table public.webinar_registrations
    add column confirmed_at timestamp with time zone;

alter table public.webinar_registrations
    add column was_removed boolean not null default false;

alter table public.webinar_registrations
    add column attended boolean generated always as ((attended_at is not null)) stored not null;

create type public.review_side as enum (
    'buyer',
    'seller'
);

alter table public.reviews
    add column side public.review_side not null default 'buyer'::public.review_side;

alter table public.reviews
    add column order_item_id uuid not null;

alter table public.reviews
    add column item_id uuid not null;

alter table public.reviews
    add column kind text not null;

alter table public.reviews
    add column reviewer_id uuid not null;

alter table public.reviews
    add column buyer_id uuid not null;

alter table public.reviews
    add column seller_id uuid not null;

alter table public.reviews
    add column rating integer not null;

alter table public.reviews
    add column review_text text;

alter table public.reviews
    add column version integer not null default 1;

alter table public.reviews
    add column edited_at timestamp with time zone;

alter table public.reviews
    add column seller_response text;

alter table public.reviews
    add column seller_responded_at timestamp with time zone;

alter table public.reviews
    add column response_version integer;

alter table public.reviews
    add column is_response_outdated boolean generated always as (COALESCE((response_version < version), false)) stored
        not null;

alter table public.reviews
    add column is_verified_purchase boolean not null;

alter table public.reviews
    add column helpful_count integer not null default 0;

create type public.review_status as enum (
    'blind',
    'pending',
    'rejected',
    'published'
);

alter table public.reviews
    add column status public.review_status not null default 'published'::public.review_status;

alter table public.reviews
    add column publish_at timestamp with time zone;

alter table public.reviews
    add column published_at timestamp with time zone;

alter table public.reviews
    add column is_valid boolean not null default true;

alter table public.reviews
    add column is_hidden boolean not null default false;

alter table public.reviews
    add column hidden_reason text;

alter table public.reviews
    add column author_audience public.audience not null;

alter table public.reviews
    add column audience public.audience generated always as (
CASE
    when is_hidden THEN 'owner'::public.audience
    ELSE author_audience
end) stored not null;

alter table public.reviews
    add column is_eligible boolean generated always as
        (((side = 'buyer'::public.review_side) AND is_valid AND (not is_hidden) AND (author_audience <>
        'owner'::public.audience) AND (status = 'published'::public.review_status))) stored not null;

alter table public.reviews
    add column is_counted boolean not null default false;

alter table public.reviews
    add column created_at timestamp with time zone not null default clock_timestamp();

alter table public.reviews
    add column updated_at timestamp with time zone not null default now();

create type public.webinar_cancellation as (
    registrations_count integer,
    refunds_count integer,
    refund_cents bigint,
    host_cost_cents bigint
);

create type public.webinar_pass as (
    url text,
    opens_at timestamp with time zone,
    ends_at timestamp with time zone,
    is_host boolean
);

create type public.webinar_status as enum (
    'upcoming',
    'live',
    'ended',
    'cancelled'
);

alter table public.webinars
    add column status public.webinar_status not null default 'upcoming'::public.webinar_status;

alter table public.webinars
    add column category_id uuid;

alter table public.webinars
    add column tags text[] not null default '{}'::text[];

alter table public.webinars
    add column attendees_count integer not null default 0;

alter table public.webinars
    add column is_recorded boolean not null default false;

alter table public.webinars
    add column recording_available boolean not null default false;

alter table public.webinars
    add column moved_at timestamp with time zone;

alter table public.webinars
    add column moves_count integer not null default 0;

alter table public.webinars
    add column cancelled_reason text;

alter table public.webinars
    add column is_hidden boolean not null default false;

alter table public.webinars
    add column hidden_reason text;

alter table public.webinars
    add column created_at timestamp with time zone not null default now();

alter table public.webinars
    add column updated_at timestamp with time zone not null default now();

alter table public.webinars
    add column image_media_id uuid;

alter type private.line_facts add attribute surcharge_cents bigint cascade;

alter type private.line_facts add attribute is_booked boolean cascade;

alter type private.order_line add attribute coupon_id uuid cascade;

alter type private.order_line add attribute promoted_cents bigint cascade;

alter type private.order_line add attribute gift_id uuid cascade;

alter type private.order_line add attribute gift_to_id uuid cascade;

alter type private.order_line add attribute gift_email text cascade;

alter type private.order_line add attribute is_booked boolean cascade;

create or replace function ledger.audit()
    returns table (
        invariant text,
        subject text,
        detail text
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
begin
    -- Credits come on a later page; plpgsql binds late.
    return query
    with sums as (
        select e.account_id, sum(e.amount_cents) as balance from ledger.entries as e group by e.account_id
    ),

    balances as (
        select
            a.owner_id,
            coalesce(sum(s.balance) filter (where a.code = 'available'), 0) as available,
            coalesce(sum(s.balance) filter (where a.code = 'pending'), 0) as pending,
            coalesce(-sum(s.balance) filter (where a.code = 'debt'), 0) as debt,
            coalesce(sum(s.balance) filter (where a.code = 'credits'), 0) as credits,
            coalesce(sum(s.balance) filter (where a.code = 'credits_held'), 0) as credits_held,
            coalesce(-sum(s.balance) filter (where a.code = 'credits_debt'), 0) as credits_debt
        from ledger.accounts as a
        left join sums as s on s.account_id = a.id
        where a.owner_id <> '00000000-0000-0000-0000-000000000000'
        group by a.owner_id
    )

    select '1 journals sum to zero', 'journal ' || e.journal_id, sum(e.amount_cents)::text
    from ledger.entries as e
    group by e.journal_id
    having sum(e.amount_cents) <> 0
    union all
    select '1 journals have legs', 'journal ' || j.id, j.kind::text
    from ledger.journal as j
    where (select count(*) from ledger.entries as e where e.journal_id = j.id) < 2
    union all
    select '1 entries have accounts', 'account ' || s.account_id, s.balance::text
    from sums as s
    where not exists (select from ledger.accounts as a where a.id = s.account_id)
    union all
    select
        '2 wallets equal their entries', 'wallet ' || w.user_id,
        format(
            'wallet %s/%s/%s, entries %s/%s/%s', w.balance_available_cents, w.balance_pending_cents, w.debt_cents,
            b.available, b.pending, b.debt
        )
    from public.wallets as w
    left join balances as b on b.owner_id = w.user_id
    where
        (w.balance_available_cents, w.balance_pending_cents, w.debt_cents)
        is distinct from (b.available, b.pending, b.debt)
    union all
    select
        '2 credits equal their entries and lots', 'owner ' || b.owner_id,
        format(
            'entries %s/%s/%s, balance %s/%s/%s, lots %s/%s', b.credits, b.credits_held, b.credits_debt,
            c.available_cents, c.held_cents, c.debt_cents, l.remaining, l.held
        )
    from balances as b
    left join private.credit_balances as c on c.user_id = b.owner_id
    cross join lateral (
        select coalesce(sum(o.remaining_cents), 0) as remaining, coalesce(sum(o.held_cents), 0) as held
        from public.credit_lots as o
        where o.user_id = b.owner_id
    ) as l
    where
        (coalesce(c.available_cents, 0), coalesce(c.held_cents, 0), coalesce(c.debt_cents, 0))
        is distinct from (b.credits, b.credits_held, b.credits_debt)
        or (l.remaining, l.held) is distinct from (b.credits, b.credits_held)
    union all
    select '2 entries have a wallet', 'owner ' || b.owner_id, format('%s/%s/%s', b.available, b.pending, b.debt)
    from balances as b
    where not exists (select from public.wallets as w where w.user_id = b.owner_id)
    union all
    select
        '2 nobody has money beside a debt', 'owner ' || b.owner_id,
        format('available %s, debt %s', b.available, b.debt)
    from balances as b
    where b.available > 0 and b.debt > 0
    union all
    select '2 pending equals the held sales', 'wallet ' || w.user_id, format('%s, sales hold %s', w.balance_pending_cents, t.held)
    from public.wallets as w
    cross join lateral (
        select coalesce(sum(t.pending_cents), 0) as held from public.transaction_payees as t where t.payee_id = w.user_id
    ) as t
    where w.balance_pending_cents <> t.held
    union all
    select
        '3 a settled payment has one sale per line', 'payment ' || p.id,
        format('%s lines, %s sales of %s cents, paid %s', l.lines, t.sales, t.gross, p.amount_cents)
    from public.payments as p
    cross join lateral (
        select count(*) as lines from public.order_items as i
        where i.order_id = p.order_id and i.charged_cents > 0
    ) as l
    cross join lateral (
        select count(j.id) as sales, coalesce(sum(t.amount_total_cents), 0) as gross
        from public.transactions as t
        left join ledger.journal as j on j.kind = 'sale' and j.source_id = t.id
        where t.payment_id = p.id
    ) as t
    where
        p.succeeded_at is not null
        and not (t.sales = l.lines and t.gross = p.amount_cents)
        and not (
            t.sales = 0 and t.gross = 0
            and exists (select from ledger.journal as j where j.kind = 'unapplied' and j.source_id = p.id)
        )
    union all
    select '3 nothing is sold without payment', 'transaction ' || t.id, p.status::text
    from public.transactions as t
    inner join public.payments as p on p.id = t.payment_id
    where p.succeeded_at is null
    union all
    select '3 the split is what was posted', 'transaction ' || t.id, format('columns %s, entries %s', t.parts, e.parts)
    from (
        select
            t.id,
            array[
                t.amount_fees_cents,
                t.amount_commission_cents - t.refunded_commission_cents - t.refunded_fee_cents,
                t.amount_tax_cents - t.refunded_tax_cents,
                -- Who earns a part of what they pay from their wallet has moved both.
                t.amount_seller_cents - t.refunded_seller_cents - case
                    when t.payment_processor = 'wallet' and exists (
                        select from public.transaction_payees as y
                        where y.transaction_id = t.id and y.payee_id = t.buyer_id
                    ) then t.amount_total_cents - t.refunded_cents
                    else 0
                end,
                t.refunded_promotions_cents - t.amount_promotions_cents
            ] as parts
        from public.transactions as t
    ) as t
    cross join lateral (
        select array[
            coalesce(sum(e.amount_cents) filter (where a.code like 'fees:%'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'revenue'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'tax_payable'), 0),
            coalesce(sum(e.amount_cents) filter (where a.owner_id in (
                select y.payee_id from public.transaction_payees as y where y.transaction_id = s.id
            )), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'promotions'), 0)
        ] as parts
        from public.transactions as s
        inner join ledger.journal as j
            on (j.kind in ('sale', 'fee_adjustment') and j.source_id = s.id)
            or j.idempotency_key in (
                select k.kind || ':' || r.refund_id || ':' || s.id
                from public.refund_lines as r
                cross join (values ('refund'), ('refund_reversal')) as k (kind)
                where r.transaction_id = s.id
            )
        inner join ledger.entries as e on e.journal_id = j.id
        inner join ledger.accounts as a on a.id = e.account_id
        where s.id = t.id
    ) as e
    where t.parts <> e.parts::bigint[]
    union all
    select
        '3 payees share what the sale leaves', 'transaction ' || t.id,
        format('%s less %s, payees %s less %s', t.amount_seller_cents, t.refunded_seller_cents, p.cents, p.refunded)
    from public.transactions as t
    cross join lateral (
        select
            count(*) as n, coalesce(sum(p.cents), 0) as cents, coalesce(sum(p.refunded_cents), 0) as refunded,
            coalesce(sum(p.share_bps), 0) as bps
        from public.transaction_payees as p where p.transaction_id = t.id
    ) as p
    where
        (p.cents, p.refunded) <> (t.amount_seller_cents, t.refunded_seller_cents)
        or p.n > 0 and p.bps <> 10000
    union all
    select '3 nothing unfinished has a date', 'transaction ' || t.id, t.release_at::text
    from public.transactions as t
    where
        t.completed_at is null and (t.release_at is not null or coalesce(t.release_journal_id, 0) <> 0)
        or t.completed_at < t.settled_at
    union all
    select
        '3 the fee of a refund is borne as it says', 'refund ' || l.refund_id,
        format('%s cents of the fee, %s', l.fee_cents, r.fee_bearer)
    from public.refund_lines as l
    inner join public.refunds as r on r.id = l.refund_id
    where l.fee_cents <> 0 and r.fee_bearer <> 'platform'
    union all
    select '3 payment refunds equal the booked ones', 'payment ' || p.id, format('%s, booked %s', p.refunded_cents, r.booked)
    from public.payments as p
    cross join lateral (
        select coalesce(sum(r.amount_cents), 0) as booked from public.refunds as r
        where r.payment_id = p.id and r.booked_at is not null and r.reversed_at is null
    ) as r
    where p.refunded_cents <> r.booked
    union all
    select '4 in transit equals open payouts', 'payouts_in_transit', format('%s, open %s', s.balance, o.open)
    from (
        select coalesce(sum(s.balance), 0) as balance from sums as s
        inner join ledger.accounts as a on a.id = s.account_id
        where a.code = 'payouts_in_transit'
    ) as s
    cross join (
        select coalesce(sum(p.amount_cents), 0) as open from public.payouts as p
        where p.is_open
    ) as o
    where s.balance <> o.open
    union all
    select '4 nothing owed for refunds but open ones', 'refunds_payable', format('%s, open %s', s.balance, o.open)
    from (
        select coalesce(sum(s.balance), 0) as balance from sums as s
        inner join ledger.accounts as a on a.id = s.account_id
        where a.code = 'refunds_payable'
    ) as s
    cross join (
        select coalesce(sum(w.cents), 0) as open
        from (
            select p.amount_cents - p.refunded_cents as cents from public.payments as p
            where exists (select from ledger.journal as j where j.kind = 'unapplied' and j.source_id = p.id)
            union all
            -- Credits that were taken back before their money goes.
            select l.taken_back_cents + l.owed_cents - t.refunded_credits_cents
            from public.credit_lots as l
            inner join public.transactions as t on t.order_item_id = l.order_item_id
            where l.category = 'paid'
        ) as w
    ) as o
    where s.balance <> o.open
    union all
    select '5 journals have a source', 'journal ' || j.id, j.kind || ' ' || j.idempotency_key
    from ledger.journal as j
    where not case j.kind::text
        when 'sale' then exists (select from public.transactions as t where t.id = j.source_id)
        when 'fee_adjustment' then
            exists (select from public.transactions as t where t.id = j.source_id)
            or exists (select from public.payments as p where p.id = j.source_id)
        when 'unapplied' then exists (select from public.payments as p where p.id = j.source_id)
        when 'refund' then exists (select from public.refunds as r where r.id = j.source_id and r.booked_at is not null)
        when 'refund_reversal'
            then exists (select from public.refunds as r where r.id = j.source_id and r.reversed_at is not null)
        when 'release' then exists (select from public.transaction_payees as t where t.release_journal_id = j.id)
        when 'adjustment' then j.memo is not null
        when 'credits_held' then exists (select from public.photo_jobs as o where o.id = j.source_id)
        when 'credits_returned' then exists (select from public.photo_job_items as i where i.id = j.source_id)
        when 'credits_captured' then
            exists (select from public.photo_job_items as i where i.id = j.source_id)
            or exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'credits_granted' then exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'credits_expired' then exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'credits_taken_back' then exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'credits_repaid' then exists (select from public.credit_lots as l where l.id = j.source_id)
        when 'correction' then exists (
            select from public.book_corrections as c
            where c.id = j.source_id and c.status = 'approved' and c.decided_by <> c.proposed_by
        )
        else exists (select from public.payouts as p where p.id = j.source_id)
    end
    union all
    select '5 payouts are booked as they stand', 'payout ' || p.id, p.status::text
    from public.payouts as p
    where array(
        -- A transfer may be taken back in parts.
        select j.kind::text from ledger.journal as j where j.source_id = p.id group by j.kind order by min(j.id)
    ) <> case p.status
        when 'completed' then
            array['payout_requested', 'payout_completed']
            || case when p.returned_cents > 0 then array['payout_returned'] else '{}' end
        when 'returned' then array['payout_requested', 'payout_completed', 'payout_returned']
        when 'failed' then array['payout_requested', 'payout_failed']
        when 'cancelled' then array['payout_requested', 'payout_failed']
        else array['payout_requested']
    end
    union all
    select '5 payouts came back as booked', 'payout ' || p.id, format('%s, booked %s', p.returned_cents, b.cents)
    from public.payouts as p
    cross join lateral (
        select coalesce(-sum(e.amount_cents), 0) as cents from ledger.journal as j
        inner join ledger.entries as e on e.journal_id = j.id
        inner join ledger.accounts as a on a.id = e.account_id and a.code = 'clearing:' || p.payout_method
        where j.source_id = p.id and j.kind = 'payout_returned'
    ) as b
    where p.returned_cents <> b.cents
    union all
    select '5 what is sold and held is what is taken', 'item ' || c.id, format('%s, taken %s of %s', n.n, c.taken, c.stock)
    from public.catalog_items as c
    cross join lateral (select private.count_taken(c.id, c.stock) as n) as n
    where c.taken <> n.n or c.stock > 1 and n.n > c.stock and not c.has_seats
    union all
    select '5 what is sold and held is what is taken', 'option ' || o.id, format('%s, taken %s of %s', n.n, o.taken, o.stock)
    from public.catalog_options as o
    cross join lateral (
        select (
            select count(*) from public.purchases as p
            where p.option_id = o.id and (p.revoked_at is null or p.is_away)
        ) + (
            select coalesce(sum(h.quantity), 0) from private.holds as h where h.option_id = o.id
        ) as n
    ) as n
    where o.stock is not null and o.taken <> n.n
    union all
    select '5 uses of coupons are those of their orders', 'order ' || u.order_id, u.status::text
    from (
        select
            o.id as order_id, i.coupon_id, u.status,
            case o.status
                when 'pending' then 'held' when 'cancelled' then 'released'
                else case
                    when bool_and(t.refunded_cents = t.amount_total_cents) filter (where t.id is not null)
                        then 'released'
                    else 'redeemed'
                end
            end as should,
            sum(i.promoted_cents) = u.promoted_cents as is_equal
        from public.orders as o
        inner join public.order_items as i on i.order_id = o.id and i.coupon_id is not null
        left join public.transactions as t on t.order_item_id = i.id
        left join private.coupon_uses as u on u.order_id = o.id and u.coupon_id = i.coupon_id
        group by o.id, i.coupon_id, u.status, u.promoted_cents
    ) as u
    where
        not u.is_equal or u.status is null
        -- A pending order that another one of its buyer replaces has given its use away.
        or u.status::text <> u.should and not (u.should = 'held' and u.status = 'released')
    union all
    select '5 a one-of-a-kind item has one owner', 'item ' || p.item_id, count(*)::text
    from public.purchases as p
    inner join public.catalog_items as c on c.id = p.item_id
    where c.is_unique and p.revoked_at is null
    group by p.item_id
    having count(*) > 1
    union all
    select '5 what is refunded whole is revoked', 'line ' || t.order_item_id, count(*)::text
    from public.transactions as t
    inner join public.purchases as p on p.order_item_id = t.order_item_id and p.revoked_at is null
    where t.refunded_cents = t.amount_total_cents
    group by t.order_item_id;
end
$function$;

create or replace function private.add_review (
    line public.order_items,
    item_id uuid,
    buyer uuid,
    side public.review_side,
    rating integer,
    review_text text
)
    returns public.reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    reviewer uuid := case side when 'buyer' then buyer else line.seller_id end;
    item public.catalog_items;
    reviewing text;
    other public.reviews;
    review public.reviews;
    period interval := (select s.review_blind_period from private.settings as s);
begin
    select * into item from public.catalog_items as c where c.id = add_review.item_id;
    reviewing := private.reviewing(item.kind);
    if reviewing = 'none' or side = 'seller' and reviewing <> 'blind' then
        perform private.fail('review_not_allowed', 'kind');
    elsif not private.may_carry_rating(line.id, add_review.item_id, buyer) then
        perform private.fail('review_not_allowed', case
            when private.earns_item(buyer, add_review.item_id, line.id) then 'own_item' else 'purchase'
        end);
    elsif exists (
        select from public.reviews as r
        where
            r.order_item_id = line.id and r.item_id = add_review.item_id and r.reviewer_id = reviewer
    ) then
        perform private.fail('already_reviewed', add_review.item_id::text);
    end if;
    review.status := 'published';
    if reviewing = 'blind' then
        if exists (
            select from public.transactions as t where t.order_item_id = line.id and t.completed_at is null
        ) then
            perform private.fail('review_too_early', line.id::text);
        end if;
        select * into other from public.reviews as r
        where r.order_item_id = line.id and r.item_id = add_review.item_id and r.side <> add_review.side;
        -- Whoever has read the other's does not write an answer and call it a review.
        if other.publish_at <= clock_timestamp() then
            perform private.fail('review_closed', private.utc(other.publish_at));
        end if;
        review.publish_at := clock_timestamp() + case when other.id is null then period else '0' end;
        review.status := case when other.id is null then 'blind' else 'published' end;
    end if;
    perform private.count_activity('review', 1);
    if side = 'buyer' and private.is_review_burst(add_review.item_id) then
        review.status := 'pending';
    end if;
    insert into public.reviews (
        side, order_item_id, item_id, kind, reviewer_id, buyer_id, seller_id, rating, review_text,
        is_verified_purchase, status, publish_at, published_at, author_audience
    ) values (
        side, line.id, add_review.item_id, item.kind, reviewer, buyer, line.seller_id, rating, review_text,
        line.total_cents > 0 or line.unit_price_cents = 0, review.status, review.publish_at,
        case when review.status = 'published' then clock_timestamp() end, private.lock_audience(reviewer)
    )
    returning * into review;
    if other.id is not null then
        update public.reviews as r set
            status = case r.status when 'blind' then 'published' else r.status end,
            publish_at = review.publish_at,
            published_at = case r.status when 'blind' then review.publish_at end
        where r.id = other.id;
    end if;
    -- What the triggers made of it.
    select * into review from public.reviews as r where r.id = review.id;
    return review;
end
$function$;

create or replace function private.apply_refund_line (
    line public.refund_lines,
    fee_bearer text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    sale public.transactions;
begin
    update public.transactions as t set
        refunded_cents = t.refunded_cents + line.amount_cents,
        refunded_tax_cents = t.refunded_tax_cents + line.tax_cents,
        refunded_commission_cents = t.refunded_commission_cents + line.commission_cents,
        refunded_fee_cents = t.refunded_fee_cents + line.fee_cents,
        refunded_seller_cents = t.refunded_seller_cents + line.seller_cents,
        refunded_credits_cents = t.refunded_credits_cents + line.credits_cents,
        refunded_promotions_cents = t.refunded_promotions_cents + line.promotions_cents,
        free_refunded_cents = t.free_refunded_cents + case
            when apply_refund_line.fee_bearer = 'platform' then line.amount_cents else 0
        end,
        refunded_at = case when line.amount_cents > 0 then now() else t.refunded_at end,
        status = case
            when t.refunded_cents + line.amount_cents = 0 then 'completed'
            when t.refunded_cents + line.amount_cents = t.amount_total_cents then 'refunded'
            else 'partially_refunded'
        end::public.transaction_status
    where t.id = line.transaction_id
    returning * into sale;

    -- What was bought ends with the last cent and comes back with the first one restored.
    if sale.status = 'refunded' then
        update public.payables as a set status = 'returned'
        from public.order_items as i
        where i.id = sale.order_item_id and a.id = i.payable_id;
        perform private.revoke_line(sale.order_item_id, 'refunded');
    elsif line.amount_cents < 0 and sale.refunded_cents - line.amount_cents = sale.amount_total_cents then
        update public.payables as a set status = 'paid'
        from public.order_items as i
        where i.id = sale.order_item_id and a.id = i.payable_id;
        perform private.restore_line(sale.order_item_id);
    end if;
end
$function$;

create or replace function private.artwork_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return query
    select
        l.no, a.description, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object(
            'image_url', a.image_url, 'category', a.category, 'dimensions', a.dimensions,
            'edition_size', case when o.id is null then a.edition_size else o.stock end,
            'series', o.details ->> 'series'
        )),
        0::bigint,
        case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end,
        0::bigint, false
    from unnest(lines) as l
    inner join public.artworks as a on a.id = l.item_id
    left join public.catalog_options as o on o.id = l.option_id;
end
$function$;

create or replace function private.asked_lines (
    items jsonb
)
    returns jsonb
    language plpgsql
    stable
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    asked jsonb;
    is_valid boolean;
begin
    if jsonb_typeof(items) <> 'array' then
        perform private.fail('invalid_checkout', 'items: not an array');
    end if;
    -- What is not well formed has no line.
    select
        coalesce(bool_and(c.line is not null), true),
        coalesce(jsonb_agg(jsonb_build_object(
            'item_id', (c.line ->> 'item_id')::uuid, 'option_id', (c.line ->> 'option_id')::uuid,
            'quantity', coalesce((c.line ->> 'quantity')::integer, 1),
            'offered_price_cents', (c.line ->> 'offered_price_cents')::bigint,
            'details', coalesce(nullif(c.line -> 'details', 'null'), '{}')
        ) || case
            when c.line ->> 'gift_to' is not null then jsonb_build_object('gift_to', (c.line ->> 'gift_to')::uuid)
            when c.line ->> 'gift_email' is not null
                then jsonb_build_object('gift_email', lower(btrim(c.line ->> 'gift_email')))
            else '{}'
        end
        order by w.no
        ), '[]')
    into is_valid, asked
    from jsonb_array_elements(items) with ordinality as w (line, no)
    cross join lateral (
        select case
            when
                jsonb_typeof(w.line) = 'object'
                and w.line - '{item_id,option_id,quantity,offered_price_cents,details,gift_to,gift_email}'::text[] = '{}'
                and private.is_uuid(w.line ->> 'item_id')
                and private.is_uuid(w.line ->> 'option_id') is not false
                and coalesce(w.line ->> 'quantity', '1') ~ '^[0-9]{1,2}$'
                and coalesce(w.line ->> 'offered_price_cents', '0') ~ '^[0-9]{1,8}$'
                and jsonb_typeof(coalesce(nullif(w.line -> 'details', 'null'), '{}')) = 'object'
                and private.is_uuid(w.line ->> 'gift_to') is not false
                and (btrim(w.line ->> 'gift_email') ~ '^[^@\s<>,;"]{1,64}@[^@\s<>,;"]{1,190}$') is not false
                and num_nonnulls(w.line ->> 'gift_to', w.line ->> 'gift_email') < 2
                and coalesce(octet_length((w.line -> 'details')::text), 0) <= 16384
                then w.line
        end as line
        -- Looked at once for each line.
        offset 0
    ) as c;
    if not is_valid then
        perform private.require_keys(
            w.line, '{item_id,option_id,quantity,offered_price_cents,details,gift_to,gift_email}', 'invalid_checkout'
        )
        from jsonb_array_elements(items) as w (line);
        perform private.fail(
            'invalid_checkout',
            'each item is {item_id, option_id?, quantity?, offered_price_cents?, details?, gift_to? or gift_email?}'
        );
    end if;
    return asked;
end
$function$;

create or replace function private.begin_webinar_counts()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    insert into public.webinar_counts (webinar_id) values (new.id);
    return null;
end
$function$;

create or replace function private.book_lines (
    orders uuid[],
    earlier uuid[] default '{}'::uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    booked record;
begin
    for booked in
        select
            i.kind,
            coalesce(array_agg(i.id order by i.id) filter (where i.order_id = any (orders)), '{}') as lines,
            coalesce(array_agg(i.id order by i.id) filter (where i.order_id <> all (orders)), '{}') as earlier
        from public.order_items as i
        where i.order_id = any (orders || book_lines.earlier) and i.is_booked is not null
        group by i.kind
        order by i.kind
    loop
        perform private.dispatch_hold(booked.kind, booked.lines, booked.earlier);
    end loop;
    update public.order_items as i set is_booked = i.order_id = any (orders)
    where i.order_id = any (orders || book_lines.earlier) and i.is_booked <> (i.order_id = any (orders));
end
$function$;

create or replace function private.book_refund (
    refund_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    paid public.payments;
    target record;
    sale public.transactions;
    own bigint;
    part bigint;
    line public.refund_lines;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = book_refund.refund_id for no key update;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    if refund.booked_at is not null then
        return;
    end if;
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents and paid.charge_reversed_at is not null then
        -- Unknown when the charge was taken back: booked as part of that, the provider moved the same money.
        return;
    end if;
    -- An earlier refund may have failed since, and its report be on its way.
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents then
        perform private.fail('event_too_early', 'refund exceeds what is left of the payment');
    end if;
    money_account := case when refund.paid_outside then 'bank' else 'clearing:' || paid.provider end;

    perform private.lock_orders(array[paid.order_id]);
    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    if not found then
        perform ledger.post(
            'refund', 'refund:' || refund.id,
            array[
                ledger.leg(null, 'refunds_payable', -refund.amount_cents),
                ledger.leg(null, money_account, refund.amount_cents)
            ],
            refund.id, paid.currency
        );
    else
        perform private.lock_wallets(
            private.payees_of(paid.id) || case when paid.provider = 'wallet' then paid.user_id end
        );
        -- A refund of one line is that line's as far as it goes. One made in the dashboard meanwhile may have taken
        -- from it too: the money is gone all the same, and the other lines bear the rest.
        own := coalesce((
            select least(refund.amount_cents, t.amount_total_cents - t.refunded_cents) from public.transactions as t
            where t.order_item_id = refund.order_item_id
        ), 0);
        for target in
            select
                s.sale,
                case
                    when s.is_own then own
                    else (private.split_cents(
                        refund.amount_cents - own,
                        array_agg(case when s.is_own then 0 else s.remaining end) over lines
                    ))[row_number() over lines]
                end as part
            from (
                select
                    t as sale, t.amount_total_cents - t.refunded_cents as remaining, i.line_no,
                    i.id is not distinct from refund.order_item_id as is_own
                from public.transactions as t
                inner join public.order_items as i on i.id = t.order_item_id
                where t.payment_id = paid.id and t.amount_total_cents > t.refunded_cents
            ) as s
            window lines as (order by s.line_no rows between unbounded preceding and unbounded following)
        loop
            sale := target.sale;
            part := target.part;
            continue when part = 0;
            select refund.id, sale.id, part, s.tax, s.commission, s.seller, s.fee, s.credits, s.promotions into line
            from private.split_refund(sale, part, refund.fee_bearer) as s;
            insert into public.refund_lines select line.*;
            perform private.apply_refund_line(line, refund.fee_bearer);
            perform ledger.post(
                'refund', 'refund:' || refund.id || ':' || sale.id,
                private.moving_legs(array[
                    ledger.leg(null, 'tax_payable', -line.tax_cents),
                    ledger.leg(null, 'revenue', -line.commission_cents - line.fee_cents),
                    -- Taken from the buyer's credits before: see follow_credit_purchase().
                    ledger.leg(null, 'refunds_payable', -line.credits_cents),
                    ledger.leg(null, 'promotions', line.promotions_cents)
                ]) || private.payee_legs(sale.id) || case
                    when paid.provider = 'wallet' and not refund.paid_outside
                        then private.credit_legs(paid.user_id, part)
                    else array[ledger.leg(null, money_account, part)]
                end,
                refund.id, paid.currency
            );
        end loop;
    end if;
    update public.refunds as r set booked_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, refund.amount_cents);
end
$function$;

create or replace function private.cancel_for_host (
    webinar_id uuid
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.lock_webinar_sales(cancel_for_host.webinar_id);
    if not exists (
        select from public.webinars as w
        where w.id = cancel_for_host.webinar_id and w.status = 'upcoming' and w.starts_at > clock_timestamp()
    ) then
        return false;
    end if;
    perform private.end_webinar(cancel_for_host.webinar_id, 'The host is not here any more.');
    return true;
end
$function$;

create or replace function private.cancel_pending_order (
    order_id uuid,
    reason text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    discount bigint;
begin
    perform private.release_holds(array[cancel_pending_order.order_id]);
    update public.orders as o set status = 'cancelled', status_reason = coalesce(o.status_reason, reason)
    where o.id = cancel_pending_order.order_id and o.status = 'pending'
    returning o.discount_cents into discount;
    if discount > 0 then
        perform private.follow_coupons(array[cancel_pending_order.order_id]);
    end if;
end
$function$;

create or replace function private.cancellation_of (
    webinar_id uuid
)
    returns public.webinar_cancellation
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        (
            select count(*) from public.webinar_registrations as r
            where r.webinar_id = cancellation_of.webinar_id and r.status = 'confirmed'
        ),
        count(r.order_item_id), coalesce(sum(r.amount_cents), 0), coalesce(sum(r.cost_cents), 0)
    )::public.webinar_cancellation
    from private.webinar_refunds(cancellation_of.webinar_id) as r
$function$;

create or replace function private.cart_lines (
    buyer uuid
)
    returns jsonb
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return (
        select coalesce(jsonb_agg(jsonb_build_object(
            'item_id', c.item_id, 'option_id', c.option_id, 'quantity', c.quantity,
            'offered_price_cents', c.offered_price_cents, 'shown_price_cents', c.shown_price_cents
        ) order by c.added_at, c.item_id, c.option_id), '[]')
        from public.cart_items as c
        where c.user_id = buyer
    );
end
$function$;

create or replace function private.catalog_entry (
    webinar public.webinars
)
    returns private.catalog_entry
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        'webinar', webinar.host_id, webinar.title, webinar.slug, webinar.thumbnail_url, webinar.price_cents, null,
        webinar.currency, (select c.slug from public.categories as c where c.id = webinar.category_id), webinar.tags,
        -- Without a limit too its seats are counted: one way to have one.
        coalesce(webinar.max_attendees, 1000000), false,
        webinar.status in ('upcoming', 'live') and not webinar.is_hidden, webinar.status = 'upcoming',
        webinar.description, null, false
    )::private.catalog_entry
$function$;

create or replace function private.check_webinar()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    taken integer;
begin
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.webinars', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    if tg_op = 'INSERT' or (new.starts_local, new.time_zone, new.is_second_hour, new.duration_minutes)
        is distinct from (old.starts_local, old.time_zone, old.is_second_hour, old.duration_minutes)
    then
        new.starts_at := private.instant_of(
            new.starts_local, new.time_zone,
            case when new.is_second_hour then 'later' when not new.is_second_hour then 'earlier' end
        );
        new.ends_at := new.starts_at + new.duration_minutes * interval '1 minute';
        if new.starts_at <= clock_timestamp() then
            perform private.fail('time_has_passed', new.starts_at::text);
        end if;
    end if;
    if tg_op = 'UPDATE' and (new.price_cents, new.max_attendees) is distinct from (old.price_cents, old.max_attendees)
    then
        if private.webinar_state(old) <> 'upcoming' then
            perform private.fail('state_changed', format('webinar %s', private.webinar_state(old)));
        end if;
        select c.taken into taken from public.catalog_items as c where c.id = new.id for no key update;
        if new.max_attendees < taken and new.max_attendees is distinct from old.max_attendees then
            perform private.fail('capacity_below_registrations', taken::text);
        end if;
    end if;
    return new;
end
$function$;

create or replace function private.claim_gift_mail (
    lease_seconds integer
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    due private.gift_codes;
    gift public.gifts;
    code text := replace(gen_random_uuid()::text, '-', '');
begin
    select c.* into due from private.gift_codes as c
    inner join public.gifts as g on g.id = c.gift_id and g.status = 'waiting'
    where c.mail_due_at <= now() and c.email is not null
    order by c.mail_due_at
    limit 1
    for no key update of c skip locked;
    if due.gift_id is null then
        return null;
    end if;
    update private.gift_codes as c set
        code_hash = sha256(convert_to(code, 'UTF8')), attempts = c.attempts + 1,
        -- Nobody waits a week for it.
        mail_due_at = case when c.attempts < 20 then now() + make_interval(secs => lease_seconds) end
    where c.gift_id = due.gift_id;
    select * into strict gift from public.gifts as g where g.id = due.gift_id;
    return jsonb_build_object(
        'gift_id', gift.id, 'to', due.email, 'created_at', due.created_at, 'code', code,
        'from', (
            select coalesce(p.display_name, p.username::text) from public.profiles as p
            where p.id = gift.payer_id and p.deleted_at is null
        )
    );
end
$function$;

create or replace function private.claim_invitation (
    lease_seconds integer
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    entry private.calendar_entries;
    address text;
begin
    loop
        select * into entry from private.calendar_entries as e
        where e.due_at <= now()
        order by e.due_at
        limit 1
        for update skip locked;
        exit when entry.registration_id is null;
        select private.mail_address(p.id) into address
        from public.webinar_registrations as r
        inner join public.profiles as p on p.id = r.user_id and p.deleted_at is null
        where r.id = entry.registration_id;
        if
            address is null or entry.changed_at < now() - interval '3 days'
            -- Never heard of, nothing to take back.
            or entry.is_cancelled and entry.sent_sequence is null
        then
            update private.calendar_entries as e set due_at = null where e.registration_id = entry.registration_id;
            continue;
        end if;
        update private.calendar_entries as e set
            due_at = now() + make_interval(secs => lease_seconds), attempts = e.attempts + 1
        where e.registration_id = entry.registration_id;
        return (
            select jsonb_build_object(
                'uid', entry.registration_id, 'sequence', entry.sequence, 'is_cancelled', entry.is_cancelled,
                'changed_at', entry.changed_at, 'to', address,
                'name', coalesce(p.display_name, p.username::text),
                'host', coalesce(h.display_name, h.username::text), 'title', w.title,
                'starts_at', w.starts_at, 'ends_at', w.ends_at, 'starts_local', w.starts_local,
                'time_zone', w.time_zone, 'link', '/webinars/' || w.id
            )
            from public.webinar_registrations as r
            inner join public.webinars as w on w.id = r.webinar_id
            inner join public.profiles as p on p.id = r.user_id
            inner join public.profiles as h on h.id = w.host_id
            where r.id = entry.registration_id
        );
    end loop;
    return null;
end
$function$;

create or replace function private.complete_late_extras (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    return private.complete_lines(array(
        select t.order_item_id from public.service_order_extras as e
        inner join public.service_orders as o on o.id = e.service_order_id and not o.is_open
        inner join public.transactions as t
            on t.order_item_id = e.order_item_id and t.completed_at is null and t.refunded_cents < t.amount_total_cents
        where e.status = 'paid'
        limit max_rows
    ));
end
$function$;

create or replace function private.count_registrations()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    if tg_op = 'INSERT' then
        update public.webinar_counts as w set registrations_count = w.registrations_count + n.change
        from (
            select c.webinar_id, count(*) as change from changed_to as c where c.status = 'confirmed' group by 1
        ) as n
        where w.webinar_id = n.webinar_id;
    else
        update public.webinar_counts as w set registrations_count = w.registrations_count + n.change
        from (
            select c.webinar_id, sum((c.status = 'confirmed')::integer - (b.status = 'confirmed')::integer) as change
            from changed_to as c
            inner join changed_from as b on b.id = c.id
            group by 1
        ) as n
        where w.webinar_id = n.webinar_id and n.change <> 0;
    end if;
    return null;
end
$function$;

create or replace function private.count_review_votes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    targets uuid [];
    changes integer [];
begin
    select array_agg(n.id order by n.id), array_agg(n.change order by n.id) into targets, changes
    from (
        select c.review_id as id, sign * count(*)::integer as change
        from changed as c
        where c.review_id is not null and (c.is_helpful)
        group by 1
    ) as n
    -- Deleted with it: nothing is left to count on.
    where exists (select from public.reviews as t where t.id = n.id);
    if cardinality(targets) = 1 then
        changes[1] := private.claim_count('reviews.helpful_count', targets[1], changes[1]);
        if changes[1] is not null then
            update public.reviews as t set helpful_count = t.helpful_count + changes[1] where t.id = targets[1];
        end if;
    elsif cardinality(targets) > 1 then
        perform private.add_counts('reviews.helpful_count', targets, changes);
    end if;
    return null;
end
$function$;

create or replace function private.count_reviews()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    items uuid[];
    ratings integer[];
    changes integer[];
    reviewers uuid[];
begin
    if tg_op <> 'INSERT' then
        if tg_op = 'DELETE' then
            select array_agg(b.item_id), array_agg(b.rating), array_agg(-1) into items, ratings, changes
            from changed_from as b
            where b.is_counted;
        else
            select array_agg(m.item_id), array_agg(m.rating), array_agg(m.change) into items, ratings, changes
            from (
                select x.*
                from changed_from as b
                inner join changed_to as c on c.id = b.id
                cross join lateral (
                    values (b.item_id, b.rating, -b.is_counted::integer), (c.item_id, c.rating, c.is_counted::integer)
                ) as x (item_id, rating, change)
                where (b.is_counted, b.rating) is distinct from (c.is_counted, c.rating) and x.change <> 0
            ) as m;
        end if;
        if items is not null then
            perform private.move_ratings(items, ratings, changes);
        end if;
    end if;
    -- One row more or less that may count: of its buyer and item another one may be the newest.
    if tg_op = 'INSERT' then
        select array_agg(c.item_id), array_agg(c.reviewer_id) into items, reviewers
        from changed_to as c
        where c.is_eligible;
    elsif tg_op = 'DELETE' then
        select array_agg(b.item_id), array_agg(b.reviewer_id) into items, reviewers
        from changed_from as b
        where b.is_eligible;
    else
        select array_agg(c.item_id), array_agg(c.reviewer_id) into items, reviewers
        from changed_from as b
        inner join changed_to as c on c.id = b.id
        where b.is_eligible <> c.is_eligible;
    end if;
    if items is not null then
        update public.reviews as r set is_counted = not r.is_counted
        from (
            select
                o.id, o.is_eligible and o.id = first_value(o.id) over (
                    partition by o.reviewer_id, o.item_id order by o.is_eligible desc, o.created_at desc, o.id desc
                ) as counts
            from public.reviews as o
            where (o.reviewer_id, o.item_id) in (
                select u.reviewer_id, u.item_id from unnest(reviewers, items) as u (reviewer_id, item_id)
            )
        ) as n
        where r.id = n.id and r.is_counted <> n.counts;
    end if;
    return null;
end
$function$;

create or replace function private.count_shown_review_votes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    moved integer := (new.is_helpful)::integer - (old.is_helpful)::integer;
    change integer;
begin
    if new.review_id is not null then
        change := private.claim_count('reviews.helpful_count', new.review_id, moved);
        if change is not null then
            update public.reviews as t set helpful_count = t.helpful_count + change where t.id = new.review_id;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.credit_pack_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return query
    select
        l.no, null::text, null::public.license_type, null::text, null::integer,
        jsonb_build_object('bonus_cents', p.bonus_cents * l.quantity, 'valid_days', p.valid_days), 0::bigint,
        case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end,
        0::bigint, false
    from unnest(lines) as l
    inner join public.credit_packs as p on p.id = l.item_id;
end
$function$;

create or replace function private.current_ratings (
    item_id uuid
)
    returns integer[]
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    if not exists (
        select from public.reviews as r
        where r.item_id = current_ratings.item_id and r.status = 'blind' and r.publish_at <= now()
    ) then
        return coalesce(
            (
                select array[r.stars_1, r.stars_2, r.stars_3, r.stars_4, r.stars_5]
                from public.item_ratings as r where r.item_id = current_ratings.item_id
            ),
            '{0,0,0,0,0}'
        );
    end if;
    -- Due, and not yet official: as it will be.
    return array(
        select count(n.rating)::integer
        from generate_series(1, 5) as s (stars)
        left join (
            select distinct on (r.reviewer_id) r.rating from public.reviews as r
            where
                r.item_id = current_ratings.item_id and r.side = 'buyer' and r.is_valid and r.audience <> 'owner'
                and (r.status = 'published' or r.status = 'blind' and r.publish_at <= now())
            order by r.reviewer_id, r.created_at desc, r.id desc
        ) as n on n.rating = s.stars
        group by s.stars
        order by s.stars
    );
end
$function$;

create or replace function private.deliver_orders (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    discounted uuid[];
begin
    if cardinality(orders) = 0 then
        return;
    end if;
    perform private.grant_orders(orders);
    update public.payables as a set status = 'paid'
    from public.order_items as i
    where i.order_id = any (deliver_orders.orders) and a.id = i.payable_id;
    delete from public.cart_items as c
    using public.order_items as i
    where
        i.order_id = any (deliver_orders.orders) and c.user_id = i.buyer_id and i.gift_id is null and c.item_id = i.item_id
        and c.option_id is not distinct from i.option_id;
    with done as (
        update public.orders as o set status = 'completed', status_reason = null, completed_at = now()
        where o.id = any (deliver_orders.orders)
        returning o.id, o.discount_cents
    )

    select array_agg(d.id) filter (where d.discount_cents > 0) into discounted from done as d;
    if discounted is not null then
        perform private.follow_coupons(discounted);
    end if;
end
$function$;

create or replace function private.deliverable_orders (
    orders uuid[]
)
    returns uuid[]
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    deliverable uuid[];
    late uuid;
begin
    for attempt in 1..2 loop
        deliverable := array(
            select o.id
            from unnest(deliverable_orders.orders) with ordinality as u (id, no)
            inner join public.orders as o on o.id = u.id and o.status in ('pending', 'cancelled')
            inner join public.profiles as b on b.id = o.user_id and b.deleted_at is null
            where
                not exists (select from private.limited_lines as l where l.order_id = o.id and l.hold_id is null)
                and not exists (
                    select from public.order_items as i
                    where
                        i.order_id = o.id
                        and (
                            -- The buyer may have bought it again while this attempt was on its way (docs/money.md,
                            -- sharp case 17).
                            i.is_owned_once and exists (
                                select from public.purchases as p
                                where
                                    p.owner_id = i.owner_id and p.item_id = i.item_id
                                    and p.option_id is not distinct from i.option_id
                                    and p.is_owned_once and p.revoked_at is null
                            )
                            -- A refund failed while this order held the item: it is its first buyer's again.
                            or (i.is_held or i.payable_id is not null) and exists (
                                select from public.purchases as p
                                where p.item_id = i.item_id and p.is_single and p.revoked_at is null
                            )
                            or i.payable_id is not null and not exists (
                                select from public.payables as a where a.id = i.payable_id and a.status = 'open'
                            )
                            or not i.is_booked
                        )
                )
            order by u.no
        );
        exit when attempt = 2 or cardinality(deliverable) = cardinality(deliverable_orders.orders);
        -- A pending order still holds its items, whatever the seller did to them since: the buyer was promised. A
        -- cancelled one gave them back and must find each of them unheld and on sale; so must one whose items became
        -- limited since, and one whose booking went over to another.
        for late in
            select o.id
            from unnest(deliverable_orders.orders) with ordinality as u (id, no)
            inner join public.orders as o on o.id = u.id
            left join private.limited_lines as l on l.order_id = o.id and l.hold_id is null
            left join public.order_items as b on b.order_id = o.id and not b.is_booked
            where l.id is not null or b.id is not null
            group by o.id, u.no
            having o.status = 'cancelled' or bool_or(l.is_held) is not true
            order by u.no
        loop
            begin
                perform private.hold_lines(late, is_late => true);
                perform private.book_lines(array[late]);
            exception when sqlstate 'PT409' then
                null;
            end;
        end loop;
        exit when not found;
    end loop;
    return deliverable;
end
$function$;

create or replace function private.delivery_order (
    name text
)
    returns uuid
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
declare
    part text := (storage.foldername(name))[2];
begin
    return case when cardinality(storage.foldername(name)) = 2 and private.is_uuid(part) then part::uuid end;
end
$function$;

create or replace function private.dispatch_can_read (
    kind text,
    ids uuid[]
)
    returns SETOF uuid
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    case kind
        when 'article' then
            return query select t.id from public.articles as t where t.id = any (ids);
        when 'artwork' then
            return query select t.id from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select t.id from public.comments as t where t.id = any (ids);
        when 'credit_pack' then
            return query select t.id from public.credit_packs as t where t.id = any (ids);
        when 'group' then
            return query select t.id from public.groups as t where t.id = any (ids);
        when 'message' then
            return query select t.id from public.messages as t where t.id = any (ids);
        when 'offer' then
            return query select t.id from public.offers as t where t.id = any (ids);
        when 'post' then
            return query select t.id from public.posts as t where t.id = any (ids);
        when 'product' then
            return query select t.id from public.products as t where t.id = any (ids);
        when 'profile' then
            return query select * from private.profile_can_read(ids);
        when 'review' then
            return query select t.id from public.reviews as t where t.id = any (ids);
        when 'service' then
            return query select t.id from public.services as t where t.id = any (ids);
        when 'tip' then
            return query select t.id from public.tips as t where t.id = any (ids);
        when 'tip_jar' then
            return query select t.id from public.tip_jars as t where t.id = any (ids);
        when 'webinar' then
            return query select t.id from public.webinars as t where t.id = any (ids);
        else
            perform private.fail('cannot_be_reported', kind);
    end case;
end
$function$;

create or replace function private.dispatch_check_line (
    kind text,
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            return query select * from private.artwork_check_line(ids, lines);
        when 'credit_pack' then
            return query select * from private.credit_pack_check_line(ids, lines);
        when 'offer' then
            return query select l.no, null::text, null::public.license_type, null::text, null::integer, '{}'::jsonb, 0::bigint, case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end, 0::bigint, false from unnest(lines) as l;
        when 'product' then
            return query select * from private.product_check_line(ids, lines);
        when 'service' then
            return query select * from private.service_check_line(ids, lines);
        when 'service_extra' then
            return query select l.no, null::text, null::public.license_type, null::text, null::integer, '{}'::jsonb, 0::bigint, case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end, 0::bigint, false from unnest(lines) as l;
        when 'tip_jar' then
            return query select * from private.tip_jar_check_line(ids, lines);
        when 'webinar' then
            return query select * from private.webinar_check_line(ids, lines);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_check_option (
    kind text,
    ids uuid[],
    options public.catalog_options[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            perform private.artwork_check_option(ids, options);
        when 'credit_pack' then
            if (select bool_or(o.details <> '{}') from unnest(options) as o) then perform private.fail('invalid_option', 'details'); end if;
        when 'product' then
            perform private.product_check_option(ids, options);
        when 'service' then
            perform private.service_check_option(ids, options);
        when 'tip_jar' then
            if (select bool_or(o.details <> '{}') from unnest(options) as o) then perform private.fail('invalid_option', 'details'); end if;
        when 'webinar' then
            perform private.webinar_check_option(ids, options);
        else
            perform private.fail('option_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_complete (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            null;
        when 'credit_pack' then
            null;
        when 'offer' then
            null;
        when 'product' then
            null;
        when 'service' then
            null;
        when 'service_extra' then
            null;
        when 'tip_jar' then
            null;
        when 'webinar' then
            null;
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_evidence (
    kind text,
    ids uuid[],
    reader uuid
)
    returns SETOF private.reported_content
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'article' then
            return query select t.id, t.author_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.articles as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'artwork' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.artworks as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'comment' then
            return query select t.id, t.user_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.comments as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'credit_pack' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.credit_packs as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'group' then
            return query select t.id, t.owner_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.groups as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'message' then
            return query select * from private.message_evidence(ids, reader);
        when 'offer' then
            return query select * from private.offer_evidence(ids, reader);
        when 'post' then
            return query select * from private.post_evidence(ids, reader);
        when 'product' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.products as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'profile' then
            return query select * from private.profile_evidence(ids, reader);
        when 'review' then
            return query select t.id, t.reviewer_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.reviews as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'service' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.services as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'tip' then
            return query select t.id, t.sender_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.tips as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'tip_jar' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.tip_jars as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'webinar' then
            return query select t.id, t.host_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.webinars as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        else
            perform private.fail('cannot_be_reported', kind);
    end case;
end
$function$;

create or replace function private.dispatch_freed (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'webinar' then
            perform private.webinar_freed(ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_give (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            null;
        when 'product' then
            null;
        else
            perform private.fail('gift_not_possible', kind);
    end case;
end
$function$;

create or replace function private.dispatch_grant (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            perform private.artwork_grant(ids);
        when 'credit_pack' then
            perform private.credit_pack_grant(ids);
        when 'offer' then
            perform private.offer_grant(ids);
        when 'product' then
            perform private.product_grant(ids);
        when 'service' then
            perform private.service_grant(ids);
        when 'service_extra' then
            perform private.service_extra_grant(ids);
        when 'tip_jar' then
            perform private.tip_jar_grant(ids);
        when 'webinar' then
            perform private.webinar_grant(ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_hide (
    kind text,
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'article' then
            update public.articles as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'artwork' then
            update public.artworks as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'comment' then
            update public.comments as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'credit_pack' then
            update public.credit_packs as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'post' then
            update public.posts as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'product' then
            perform private.product_hide(ids, reason);
        when 'review' then
            update public.reviews as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'service' then
            update public.services as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'tip_jar' then
            update public.tip_jars as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'webinar' then
            update public.webinars as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

create or replace function private.dispatch_hold (
    kind text,
    ids uuid[],
    earlier uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'service' then
            perform private.service_hold(ids, earlier);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_lock (
    kind text,
    ids uuid[]
)
    returns SETOF private.content_state
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'article' then
            perform private.hold_each('public.articles', ids); return query select t.id, t.is_hidden from public.articles as t where t.id = any (ids);
        when 'artwork' then
            perform private.hold_each('public.artworks', ids); return query select t.id, t.is_hidden from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select * from private.comment_lock(ids);
        when 'credit_pack' then
            perform private.hold_each('public.credit_packs', ids); return query select t.id, t.is_hidden from public.credit_packs as t where t.id = any (ids);
        when 'post' then
            perform private.hold_each('public.posts', ids); return query select t.id, t.is_hidden from public.posts as t where t.id = any (ids);
        when 'product' then
            return query select * from private.product_lock(ids);
        when 'review' then
            return query select * from private.review_lock(ids);
        when 'service' then
            perform private.hold_each('public.services', ids); return query select t.id, t.is_hidden from public.services as t where t.id = any (ids);
        when 'tip_jar' then
            perform private.hold_each('public.tip_jars', ids); return query select t.id, t.is_hidden from public.tip_jars as t where t.id = any (ids);
        when 'webinar' then
            perform private.hold_each('public.webinars', ids); return query select t.id, t.is_hidden from public.webinars as t where t.id = any (ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

create or replace function private.dispatch_payees (
    kind text,
    ids uuid[]
)
    returns SETOF private.line_payee
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'credit_pack' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'offer' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'product' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'service' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'service_extra' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'tip_jar' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        when 'webinar' then
            return query select i.id, i.seller_id, 10000 from public.order_items as i where i.id = any (ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_place (
    kind text,
    ids uuid[]
)
    returns SETOF private.content_place
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'article' then
            return query select t.id, t.author_id, null::uuid from public.articles as t where t.id = any (ids);
        when 'artwork' then
            return query select t.id, t.seller_id, null::uuid from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select * from private.comment_place(ids);
        when 'credit_pack' then
            return query select t.id, t.seller_id, null::uuid from public.credit_packs as t where t.id = any (ids);
        when 'post' then
            return query select * from private.post_place(ids);
        when 'product' then
            return query select t.id, t.seller_id, null::uuid from public.products as t where t.id = any (ids);
        when 'review' then
            return query select t.id, t.reviewer_id, null::uuid from public.reviews as t where t.id = any (ids);
        when 'service' then
            return query select t.id, t.seller_id, null::uuid from public.services as t where t.id = any (ids);
        when 'tip_jar' then
            return query select t.id, t.seller_id, null::uuid from public.tip_jars as t where t.id = any (ids);
        when 'webinar' then
            return query select t.id, t.host_id, null::uuid from public.webinars as t where t.id = any (ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

create or replace function private.dispatch_release (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'service' then
            perform private.service_release(ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_restore (
    kind text,
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            perform private.artwork_restore(ids);
        when 'credit_pack' then
            perform private.credit_pack_restore(ids);
        when 'offer' then
            perform private.offer_restore(ids);
        when 'product' then
            perform private.product_restore(ids);
        when 'service' then
            perform private.service_restore(ids);
        when 'service_extra' then
            perform private.service_extra_restore(ids);
        when 'tip_jar' then
            perform private.tip_jar_restore(ids);
        when 'webinar' then
            perform private.webinar_restore(ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_revoke (
    kind text,
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            perform private.artwork_revoke(ids, reason);
        when 'credit_pack' then
            perform private.credit_pack_revoke(ids, reason);
        when 'offer' then
            perform private.offer_revoke(ids, reason);
        when 'product' then
            perform private.product_revoke(ids, reason);
        when 'service' then
            perform private.service_revoke(ids, reason);
        when 'service_extra' then
            perform private.service_extra_revoke(ids, reason);
        when 'tip_jar' then
            perform private.tip_jar_revoke(ids, reason);
        when 'webinar' then
            perform private.webinar_revoke(ids, reason);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_take (
    kind text,
    ids uuid[],
    taker uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'webinar' then
            perform private.webinar_take(ids, taker);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.dispatch_units (
    kind text,
    ids uuid[]
)
    returns SETOF private.granted_unit
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    case kind
        when 'artwork' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'credit_pack' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'offer' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'product' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'service' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'service_extra' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'tip_jar' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        when 'webinar' then
            return query select i.id, i.item_id, i.option_id, u.unit, false from public.order_items as i cross join generate_series(1, case when i.is_counted then i.quantity else 1 end) as u (unit) where i.id = any (ids);
        else
            perform private.fail('item_not_available', kind);
    end case;
end
$function$;

create or replace function private.earns_item (
    user_id uuid,
    item_id uuid,
    line uuid default null::uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.catalog_items as c
        where c.id = earns_item.item_id and c.seller_id = earns_item.user_id
    ) or exists (
        select from public.transaction_payees as p
        inner join public.transactions as t on t.id = p.transaction_id
        where p.payee_id = earns_item.user_id and t.related_id = earns_item.item_id
    ) or exists (
        select from public.order_items as i
        cross join lateral private.dispatch_payees(i.kind, array[i.id]) as p
        where i.id = earns_item.line and p.payee_id = earns_item.user_id
    );
end
$function$;

create or replace function private.end_order_extra (
    extra_id uuid,
    side text,
    status public.service_extra_status
)
    returns public.service_order_extras
    language plpgsql
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    extra public.service_order_extras;
    its public.service_orders;
begin
    select o.* into its from public.service_order_extras as e
    inner join public.service_orders as o on o.id = e.service_order_id and member in (o.buyer_id, o.seller_id)
    where e.id = end_order_extra.extra_id;
    if its.id is null then
        perform private.fail('extra_not_found', end_order_extra.extra_id::text);
    elsif member <> (case side when 'buyer' then its.buyer_id else its.seller_id end) then
        perform private.fail('not_your_part', side);
    end if;
    its := private.lock_service_order(its.id);
    select * into strict extra from public.service_order_extras as e
    where e.id = end_order_extra.extra_id
    for no key update;
    if extra.status <> 'offered' then
        perform private.fail('state_changed', 'service_order_extra ' || extra.status);
    elsif not private.end_payable(extra.payable_id, 'withdrawn') then
        perform private.fail('offer_being_paid', 'service_order_extra ' || extra.status);
    end if;
    update public.service_order_extras as e set status = end_order_extra.status where e.id = extra.id
    returning * into extra;
    perform private.write_service_order(
        its, case status when 'declined' then 'decline_extra' else 'withdraw_extra' end, side, member, null, extra.title
    );
    return extra;
end
$function$;

create or replace function private.end_seat (
    webinar_id uuid,
    user_id uuid,
    is_removal boolean,
    origin public.refund_origin,
    reason text
)
    returns public.webinar_registrations
    language plpgsql
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    webinar public.webinars;
    own public.webinar_registrations;
    sale public.transactions;
    due bigint;
    moved boolean;
begin
    select * into own from public.webinar_registrations as r
    where r.webinar_id = end_seat.webinar_id and r.user_id = end_seat.user_id;
    if own.id is null then
        perform private.fail('registration_not_found', end_seat.user_id::text);
    end if;
    -- What was paid for is locked as everything with money is: payment, order, seats.
    select t.* into sale
    from public.purchases as p
    inner join public.transactions as t on t.order_item_id = p.order_item_id
    where p.id = own.purchase_id;
    if sale.id is not null then
        perform from public.payments as p where p.id = sale.payment_id for no key update;
        perform private.lock_orders(array(
            select i.order_id from public.order_items as i where i.id = sale.order_item_id
        ));
    end if;
    perform private.settle_seats(end_seat.webinar_id);
    select * into strict webinar from public.webinars as w where w.id = end_seat.webinar_id;
    select * into strict own from public.webinar_registrations as r where r.id = own.id;
    if
        own.status not in ('waiting', 'offered', 'confirmed')
        or own.purchase_id is distinct from (
            select p.id from public.purchases as p where p.order_item_id = sale.order_item_id
        )
        or private.webinar_state(webinar) in ('ended', 'cancelled')
    then
        perform private.fail('state_changed', format('webinar_registration %s', own.status));
    end if;
    if own.status = 'offered' then
        perform from public.payables as p where p.id = own.payable_id for no key update skip locked;
        if not found or not private.end_payable(own.payable_id, 'withdrawn') then
            perform private.fail('state_changed', 'webinar_registration being paid');
        end if;
    end if;
    moved := own.confirmed_at < webinar.moved_at;
    if own.status = 'confirmed' and not is_removal and (
        webinar.starts_at <= clock_timestamp()
        or own.purchase_id is not null and not coalesce(moved, false)
        and webinar.starts_at - webinar.cancel_before_hours * interval '1 hour' < clock_timestamp()
    ) then
        perform private.fail('cannot_cancel', own.id::text);
    end if;
    if is_removal then
        update public.webinar_registrations as r set was_removed = true where r.id = own.id;
    end if;
    if own.status = 'confirmed' and own.purchase_id is not null then
        select w.amount_cents into due from private.webinar_refunds(webinar.id) as w
        where w.order_item_id = sale.order_item_id;
        if due > 0 then
            perform private.refund_line(
                sale.id, due, end_seat.reason, end_seat.origin,
                -- Who steps back within the host's limit does so at the platform's cost.
                case when is_removal or coalesce(moved, false) then 'seller' else 'platform' end
            );
        end if;
        perform private.revoke_line(i.id, case when is_removal then 'removed' else 'cancelled' end)
        from public.order_items as i
        inner join public.purchases as p on p.order_item_id = i.id
        where p.id = own.purchase_id;
    else
        perform private.give_up_seat(own.id, 'cancelled');
        perform private.fill_seats(webinar.id);
    end if;
    select * into strict own from public.webinar_registrations as r where r.id = own.id;
    return own;
end
$function$;

create or replace function private.end_webinar (
    webinar_id uuid,
    reason text
)
    returns public.webinar_cancellation
    language plpgsql
    set search_path to ''
    AS $function$
declare
    told private.notice[];
    gone uuid[];
    dues private.webinar_refund[];
    due private.webinar_refund;
    attempt uuid;
    answer public.webinar_cancellation;
begin
    answer := private.cancellation_of(end_webinar.webinar_id);
    told := array(
        select row('webinar_cancelled', r.user_id, null, 'webinar', end_webinar.webinar_id, null)::private.notice
        from public.webinar_registrations as r
        where r.webinar_id = end_webinar.webinar_id and r.status in ('waiting', 'offered', 'held', 'confirmed')
        union all
        select row('webinar_cancelled', h.user_id, null, 'webinar', h.webinar_id, null)::private.notice
        from public.webinar_co_hosts as h
        where h.webinar_id = end_webinar.webinar_id and h.accepted_at is not null
    );
    dues := array(select r from private.webinar_refunds(end_webinar.webinar_id) as r);
    update public.webinars as w set status = 'cancelled', cancelled_reason = end_webinar.reason
    where w.id = end_webinar.webinar_id;
    -- Nobody enters any more, nobody pays any more.
    update public.payables as a set status = 'withdrawn'
    where a.item_id = end_webinar.webinar_id and a.status = 'open';
    delete from private.holds as h where h.item_id = end_webinar.webinar_id and h.webinar_registration_id is not null;
    perform private.end_holds(end_webinar.webinar_id);
    update public.webinar_registrations as r set status = 'cancelled', queue_no = null, offer_expires_at = null
    where r.webinar_id = end_webinar.webinar_id and r.status in ('waiting', 'offered', 'held', 'confirmed');
    with ended as (
        update public.purchases as p set revoked_at = now(), revoked_reason = 'cancelled'
        where p.item_id = end_webinar.webinar_id and p.kind = 'webinar' and p.revoked_at is null
        returning p.id
    )

    select array_agg(e.id) into gone from ended as e;
    if gone is not null then
        perform private.free_purchases(gone, 'cancelled');
    end if;
    for attempt in
        select p.id from public.payments as p
        where
            p.is_open and p.order_id in (
                select i.order_id from public.order_items as i where i.item_id = end_webinar.webinar_id
            )
        order by p.id
    loop
        perform private.stop_payment(attempt, 'webinar_cancelled');
    end loop;
    -- Money, each sale once, by the way every refund goes: sent by the workers under its own key.
    perform from public.transactions as t
    where t.order_item_id in (select d.order_item_id from unnest(dues) as d)
    order by t.id
    for no key update;
    perform private.lock_wallets(array(
        select u.id from (
            select e.payee_id as id
            from unnest(dues) as d
            inner join public.transactions as t on t.payment_id = d.payment_id
            inner join public.transaction_payees as e on e.transaction_id = t.id
            where t.payment_processor = 'wallet'
            union
            select t.buyer_id
            from unnest(dues) as d
            inner join public.transactions as t on t.order_item_id = d.order_item_id
            where t.payment_processor = 'wallet'
        ) as u
    ));
    foreach due in array dues loop
        perform private.create_refund(due.payment_id, due.order_item_id, due.amount_cents, 'webinar_cancelled');
    end loop;
    perform private.notify_many(told);
    return answer;
end
$function$;

create or replace function private.entry_refusal (
    webinar_id uuid,
    user_id uuid
)
    returns text
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
begin
    select * into webinar from public.webinars as w where w.id = entry_refusal.webinar_id;
    return case
        when webinar.id is null or not (
            private.is_webinar_host(webinar.id, entry_refusal.user_id)
            or exists (
                select from public.webinar_registrations as r
                where
                    r.webinar_id = webinar.id and r.user_id = entry_refusal.user_id and r.status = 'confirmed'
            )
        ) then 'webinar_not_found'
        when webinar.is_hidden or private.webinar_state(webinar) in ('ended', 'cancelled') then 'webinar_over'
        when webinar.starts_at - (select s.join_before from private.settings as s) > clock_timestamp()
            then 'webinar_not_begun'
        when not exists (select from private.webinar_rooms as r where r.webinar_id = webinar.id)
            then 'room_not_ready'
    end;
end
$function$;

create or replace function private.erase_reviews (
    user_id uuid,
    max_rows integer default null::integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    chosen uuid[] := array(
        select r.id from public.reviews as r
        where
            r.reviewer_id = erase_reviews.user_id and (
                r.review_text is not null or r.seller_response is not null
                or exists (select from public.review_votes as v where v.review_id = r.id)
            )
            or r.seller_id = erase_reviews.user_id and r.seller_response is not null
        order by r.id
        limit max_rows
    );
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform private.lock_reviewed_by(chosen);
    perform from public.reviews as r where r.id = any (chosen) order by r.id for no key update;
    delete from public.review_votes as v
    using public.reviews as r
    where r.id = v.review_id and r.id = any (chosen) and r.reviewer_id = erase_reviews.user_id;
    update public.reviews as r set
        review_text = case when r.reviewer_id <> erase_reviews.user_id then r.review_text end,
        seller_response = null, seller_responded_at = null, response_version = null
    where r.id = any (chosen);
    return cardinality(chosen);
end
$function$;

create or replace function private.erase_webinars (
    host uuid
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    delete from public.webinars as w
    where
        w.host_id = host and not private.item_has_orders(w.id)
        and not exists (select from public.webinar_registrations as r where r.webinar_id = w.id)
        and not exists (select from public.payables as p where p.item_id = w.id)
$function$;

create or replace function private.expire_resolutions (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    expired integer;
begin
    update public.resolution_requests as r set status = 'expired', answered_at = r.answer_by
    where r.id in (
        select d.id from public.resolution_requests as d
        where d.status = 'open' and d.answer_by <= clock_timestamp()
        order by d.answer_by
        limit max_rows
        for no key update skip locked
    );
    get diagnostics expired = row_count;
    return expired;
end
$function$;

create or replace function private.expire_seats (
    webinar_id uuid
)
    returns integer
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    due public.webinar_registrations;
    over boolean;
    ended integer := 0;
begin
    select w.status <> 'upcoming' or w.starts_at <= clock_timestamp() into strict over
    from public.webinars as w where w.id = expire_seats.webinar_id;
    if over then
        for due in
            select * from public.webinar_registrations as r
            where r.webinar_id = expire_seats.webinar_id and r.status = 'waiting'
            order by r.queue_no
        loop
            perform private.give_up_seat(due.id, 'expired');
            ended := ended + 1;
        end loop;
    end if;
    for due in
        select r.* from public.webinar_registrations as r
        where
            r.webinar_id = expire_seats.webinar_id and r.status = 'offered'
            and r.offer_expires_at <= clock_timestamp()
        order by r.id
    loop
        -- Whoever has it now is just paying: that decides.
        perform from public.payables as p where p.id = due.payable_id for no key update skip locked;
        continue when not found or not private.end_payable(due.payable_id, 'lapsed');
        perform private.give_up_seat(due.id, 'expired');
        ended := ended + 1;
    end loop;
    return ended;
end
$function$;

create or replace function private.fill_seats (
    webinar_id uuid
)
    returns integer
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    webinar public.webinars;
    next public.webinar_registrations;
    until timestamptz;
    given integer := 0;
begin
    perform from public.catalog_items as c where c.id = fill_seats.webinar_id for no key update;
    select * into strict webinar from public.webinars as w where w.id = fill_seats.webinar_id;
    if private.webinar_state(webinar) <> 'upcoming' then
        return 0;
    end if;
    loop
        exit when not exists (
            select from public.catalog_items as c where c.id = webinar.id and c.taken < c.stock and c.is_buyable
        );
        select r.* into next
        from public.webinar_registrations as r
        inner join public.profiles as p on p.id = r.user_id and p.deleted_at is null and not p.is_banned
        where r.webinar_id = webinar.id and r.status = 'waiting' and r.offers_count < 100
        order by r.queue_no
        limit 1;
        exit when next.id is null;
        update public.catalog_items as c set taken = c.taken + 1 where c.id = webinar.id;
        insert into private.holds (item_id, quantity, is_single, webinar_registration_id)
        values (webinar.id, 1, false, next.id);
        if webinar.price_cents = 0 then
            update public.webinar_registrations as r set
                status = 'confirmed', purchase_id = null, queue_no = null, confirmed_at = clock_timestamp()
            where r.id = next.id;
            perform private.notify(next.user_id, 'webinar_seat', null, 'webinar', webinar.id);
        else
            until := least(
                clock_timestamp() + (select s.offer_period from private.settings as s), webinar.starts_at
            );
            update public.webinar_registrations as r set
                status = 'offered', queue_no = null, offers_count = r.offers_count + 1,
                offer_expires_at = until,
                payable_id = private.add_payable(jsonb_populate_record(null::public.payables, jsonb_build_object(
                    'kind', 'webinar', 'subject_id', next.id, 'part', next.offers_count + 1, 'buyer_id', next.user_id,
                    'seller_id', webinar.host_id, 'title', webinar.title, 'item_id', webinar.id,
                    'amount_cents', webinar.price_cents, 'pay_by', until
                )))
            where r.id = next.id;
            perform private.notify(next.user_id, 'webinar_offer', null, 'webinar', webinar.id);
        end if;
        given := given + 1;
    end loop;
    return given;
end
$function$;

create or replace function private.follow_author_of_reviews (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    allowed public.audience := (
        select case when p.deleted_at is null then private.author_audience(p) end from public.profiles as p
        where p.id = follow_author_of_reviews.user_id
    );
    chosen uuid [] := array(
        select t.id from public.reviews as t
        where t.reviewer_id = follow_author_of_reviews.user_id and t.author_audience <> allowed
        order by t.id
        limit max_rows
    );
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform private.lock_reviewed_by(chosen);
    perform from public.reviews as t where t.id = any (chosen) order by t.id for no key update;
    update public.reviews as t set author_audience = allowed where t.id = any (chosen);
    return cardinality(chosen);
end
$function$;

create or replace function private.follow_move (
    webinar_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
begin
    update public.webinars as w set moved_at = clock_timestamp(), moves_count = w.moves_count + 1
    where w.id = follow_move.webinar_id
    returning * into strict webinar;
    -- An offer does not outlast the start. Who is just paying has it.
    update public.payables as a set pay_by = webinar.starts_at
    where
        a.id in (
            select o.id from public.payables as o
            where o.item_id = webinar.id and o.status = 'open' and o.pay_by > webinar.starts_at
            order by o.id
            for no key update skip locked
        );
    update public.webinar_registrations as r set offer_expires_at = webinar.starts_at
    where r.webinar_id = webinar.id and r.status = 'offered' and r.offer_expires_at > webinar.starts_at;
    update private.calendar_entries as e set
        sequence = e.sequence + 1, changed_at = clock_timestamp(), due_at = clock_timestamp(), attempts = 0
    from public.webinar_registrations as r
    where r.webinar_id = webinar.id and r.status = 'confirmed' and e.registration_id = r.id;
    perform private.notify_many(array(
        select row('webinar_moved', u.id, null, 'webinar', webinar.id, null)::private.notice
        from (
            select r.user_id as id from public.webinar_registrations as r
            where r.webinar_id = webinar.id and r.status in ('waiting', 'offered', 'held', 'confirmed')
            union
            select h.user_id from public.webinar_co_hosts as h
            where h.webinar_id = webinar.id and h.accepted_at is not null
        ) as u
        order by u.id
    ));
end
$function$;

create or replace function private.follow_time_zones (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
    followed integer := 0;
begin
    for webinar in
        select * from public.webinars as w
        where w.status = 'upcoming' and w.starts_at > now() and w.starts_at at time zone w.time_zone <> w.starts_local
        order by w.id
        limit max_rows
        for no key update skip locked
    loop
        begin
            -- By the trigger, which derives it anew when any of it changes.
            update public.webinars as w set is_second_hour = not coalesce(w.is_second_hour, false)
            where w.id = webinar.id;
            perform private.follow_move(webinar.id);
            followed := followed + 1;
        exception when sqlstate 'PT400' or sqlstate 'PT409' then
            -- The time is gone, or the host is busy then: people must look at it.
            perform private.audit('webinar_time_unclear', 'webinar', webinar.id, jsonb_build_object(
                'starts_local', webinar.starts_local, 'time_zone', webinar.time_zone
            ));
        end;
    end loop;
    return followed;
end
$function$;

create or replace function private.gift_line (
    gift_id uuid
)
    returns uuid
    language sql
    stable
    set search_path to ''
    AS $function$
    select p.order_item_id
    from public.order_items as i
    inner join public.purchases as p on p.order_item_id = i.id and p.revoked_at is null
    where i.gift_id = gift_line.gift_id
    limit 1
$function$;

create or replace function private.gift_mailed (
    gift_id uuid,
    problem text,
    retry_seconds integer
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    update private.gift_codes as c set
        mailed_at = case when problem is null then now() else c.mailed_at end, last_error = problem,
        mail_due_at = case when problem is not null then now() + make_interval(secs => retry_seconds) end
    where c.gift_id = gift_mailed.gift_id and c.mail_due_at is not null
$function$;

create or replace function private.gift_problem (
    item public.catalog_items,
    option_id uuid,
    payer uuid,
    receiver uuid,
    is_owned_once boolean
)
    returns text
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    -- One answer for all that is the receiver's own affair: who blocked whom, and what they have already.
    return case
        when
            item.requires_shipping
            or not exists (select from private.kinds as k where k.kind = item.kind and 'give' = any (k.hooks))
            or receiver is not null and (
                receiver = item.seller_id or private.can_see(receiver) is not true
                or is_owned_once and exists (
                    select from public.purchases as p
                    where
                        p.owner_id = receiver and p.item_id = item.id and p.revoked_at is null
                        and p.option_id is not distinct from gift_problem.option_id
                )
            )
            then 'gift_not_possible'
    end;
end
$function$;

create or replace function private.give_back (
    payment_id uuid,
    charge_id text
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    discount bigint;
begin
    select * into strict paid from public.payments as p where p.id = give_back.payment_id for no key update;
    if paid.provider = 'wallet' then
        -- Nothing was taken yet.
        perform private.fail('item_not_available');
    end if;
    perform ledger.post(
        'unapplied', 'unapplied:' || paid.id,
        array[
            ledger.leg(null, 'clearing:' || paid.provider, -paid.amount_cents),
            ledger.leg(null, 'refunds_payable', paid.amount_cents)
        ],
        paid.id, paid.currency
    );
    update public.payments as p set
        status = 'succeeded', succeeded_at = now(), charge_id = give_back.charge_id,
        failure_reason = 'item_not_available'
    where p.id = paid.id;
    perform private.release_holds(array[paid.order_id]);
    update public.orders as o set status = 'cancelled', status_reason = 'item_not_available'
    where o.id = paid.order_id and o.status in ('pending', 'cancelled')
    returning o.discount_cents into discount;
    if discount > 0 then
        perform private.follow_coupons(array[paid.order_id]);
    end if;
    if give_back.charge_id = any (paid.declined_charges) then
        perform private.reverse_charge(paid.id, give_back.charge_id);
    else
        perform private.create_refund(paid.id, null, paid.amount_cents, 'item_not_available');
    end if;
    return 'refunding';
end
$function$;

create or replace function private.give_gifts (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    given record;
begin
    -- A charge that follows a declined one buys a gift again that may have been claimed.
    update public.purchases as p set owner_id = g.receiver_id
    from public.order_items as i
    inner join public.gifts as g on g.id = i.gift_id and g.receiver_id is not null
    where i.order_id = any (orders) and p.order_item_id = i.id and p.owner_id is null;
    for given in
        update public.gifts as g set
            status = case when g.receiver_id is null then 'waiting' else 'given' end::public.gift_status,
            given_at = case when g.receiver_id is not null then now() end
        where
            g.status = 'ordered'
            and g.id in (select i.gift_id from public.order_items as i where i.order_id = any (orders))
        returning g.id, g.receiver_id, g.payer_id
    loop
        if given.receiver_id is null then
            update private.gift_codes as c set mail_due_at = now() where c.gift_id = given.id;
        else
            perform private.notify(given.receiver_id, 'gift', given.payer_id, 'gift', given.id);
        end if;
    end loop;
end
$function$;

create or replace function private.give_up_seat (
    registration_id uuid,
    status public.registration_status
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    freed uuid;
begin
    delete from private.holds as h where h.webinar_registration_id = give_up_seat.registration_id
    returning h.item_id into freed;
    if freed is not null then
        update public.catalog_items as c set taken = c.taken - 1 where c.id = freed;
    end if;
    update public.webinar_registrations as r set
        status = give_up_seat.status, queue_no = null, offer_expires_at = null
    where r.id = give_up_seat.registration_id and r.status <> give_up_seat.status;
end
$function$;

create or replace function private.grant_orders (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    sold record;
    units private.granted_unit[] := '{}';
    granted uuid[];
    has_gifts boolean;
begin
    for sold in
        select i.kind, array_agg(i.id order by i.id) as lines
        from public.order_items as i
        where i.order_id = any (orders)
        group by i.kind
        order by i.kind
    loop
        units := units || array(select u from private.dispatch_units(sold.kind, sold.lines) as u);
    end loop;
    -- From an array, so that lines and items are read by key, however few there are.
    with granted_now as (
        insert into public.purchases (
            order_item_id, item_id, option_id, unit, kind, owner_id, payer_id, is_owned_once, is_single, price_cents,
            currency
        )
        select
            i.id, u.item_id, u.option_id, u.unit, i.kind, i.owner_id, i.buyer_id,
            -- What comes on top does not matter to whoever has it, or buys it here as well. Of several orders that
            -- settle together the later ones would find it owned: that is a 23505, and they settle apart.
            i.is_owned_once and not (
                u.is_extra and (
                    private.owns_item(i.owner_id, u.item_id)
                    or row_number() over (
                        partition by i.order_id, u.item_id
                        order by u.is_extra, array_position(orders, i.order_id), i.line_no, u.unit
                    ) > 1
                )
            ),
            coalesce(c.is_unique, false) and not u.is_extra,
            case when u.is_extra then 0 else i.total_cents / case when i.is_counted then i.quantity else 1 end end,
            i.currency
        from unnest(units) as u
        inner join public.order_items as i on i.id = u.order_item_id
        left join public.catalog_items as c on c.id = u.item_id
        order by u.item_id, u.option_id, array_position(orders, i.order_id), i.line_no, u.unit
        returning id, owner_id is distinct from payer_id as is_gift
    )

    select array_agg(g.id), bool_or(g.is_gift) into granted, has_gifts from granted_now as g;
    if has_gifts then
        perform private.give_gifts(orders);
    end if;
    perform private.dispatch_purchases('grant', granted);
    -- What was held is sold now: taken stays as it is. Whoever paid let nothing run out.
    if exists (select from private.holds as h where h.order_id = any (orders)) then
        with ended as (
            delete from private.holds as h where h.order_id = any (orders) returning h.order_id, h.item_id
        )

        delete from private.hold_periods as h
        using ended as e
        inner join public.orders as o on o.id = e.order_id
        where h.user_id = o.user_id and h.item_id = e.item_id;
    end if;
end
$function$;

create or replace function private.grant_recording (
    product_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    product public.products;
    chosen uuid[];
    orders uuid[];
begin
    -- Two who give it out take turns.
    perform from private.recording_grants as g where g.product_id = grant_recording.product_id for update;
    if not found then
        return 0;
    end if;
    select * into strict product from public.products as p where p.id = grant_recording.product_id;
    chosen := array(
        select r.user_id
        from public.webinar_registrations as r
        inner join public.profiles as p on p.id = r.user_id and p.deleted_at is null
        where
            r.webinar_id = product.source_webinar_id and r.status = 'confirmed'
            and not exists (
                select from public.purchases as b where b.owner_id = r.user_id and b.item_id = product.id
            )
        order by r.user_id
        limit max_rows
    );
    if cardinality(chosen) < max_rows then
        delete from private.recording_grants as g where g.product_id = product.id;
    end if;
    if cardinality(chosen) = 0 then
        return 0;
    end if;
    with made as (
        insert into public.orders (user_id, subtotal_cents, discount_cents, shipping_cents, total_cents)
        select u.id, 0, 0, 0, 0 from unnest(chosen) as u (id)
        returning id, user_id
    ),

    lines as (
        insert into public.order_items (
            order_id, line_no, kind, item_id, buyer_id, seller_id, title, description, license_type, license_text,
            license_version, details, unit_price_cents, quantity, discount_cents, shipping_cents, seller_tier,
            commission_bps, is_counted, is_held, is_owned_once, is_shipped
        )
        select
            m.id, 1, 'product', product.id, m.user_id, product.seller_id, product.title, product.description,
            product.license_type, product.license_text, product.license_version,
            jsonb_build_object('webinar_id', product.source_webinar_id), 0, 1, 0, 0, t.tier, t.commission_bps, false,
            false, true, false
        from made as m
        cross join private.sale_terms('product', product.seller_id) as t
        returning order_id
    )

    select array_agg(l.order_id) into orders from lines as l;
    perform private.lock_orders(orders);
    perform private.deliver_orders(orders);
    perform private.notify_many(array(
        select row('webinar_recording', u.id, null, 'product', product.id, null)::private.notice
        from unnest(chosen) as u (id)
    ));
    return cardinality(chosen);
end
$function$;

create or replace function private.grant_recordings (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    due uuid;
begin
    select g.product_id into due from private.recording_grants as g
    order by g.product_id
    limit 1
    for update skip locked;
    return case when due is null then 0 else 1 + private.grant_recording(due, max_rows) end;
end
$function$;

create or replace function private.guard_object()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'DELETE' then
        if private.is_pinned(old.bucket_id, old.name) then
            -- Skipped, so that the rest of a batch goes.
            return null;
        end if;
        return old;
    end if;
    if tg_op = 'UPDATE' and private.is_pinned(old.bucket_id, old.name)
        and (
            new.bucket_id, new.name, new.version, new.metadata -> 'eTag', new.metadata -> 'size',
            new.metadata -> 'mimetype'
        ) is distinct from (
            old.bucket_id, old.name, old.version, old.metadata -> 'eTag', old.metadata -> 'size',
            old.metadata -> 'mimetype'
        )
    then
        -- An error, not a skipped row: Storage then drops the new bytes and keeps the old ones.
        raise insufficient_privilege using message = 'This file was sold, sent or taken and does not change.';
    end if;
    -- A member's, whoever writes the row.
    if new.owner_id is not null
        and new.bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments', 'deliveries', 'uploads')
    then
        -- Held until the row is there: an account that ends just now finds the file and erases it.
        perform from public.profiles as p
        where
            p.id = case when private.is_uuid(new.owner_id) then new.owner_id::uuid end
            and p.deleted_at is null and not p.is_banned
        for share;
        if not found then
            raise insufficient_privilege using message = 'This account does not store files.';
        elsif not private.bucket_takes(new.bucket_id, new.metadata) then
            raise insufficient_privilege using message = 'This bucket does not take files of this size or type.';
        end if;
    end if;
    return new;
end
$function$;

create or replace function private.has_seat (
    webinar_id uuid,
    user_id uuid
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select exists (
        select from public.webinar_registrations as r
        where
            r.webinar_id = has_seat.webinar_id and r.user_id = has_seat.user_id
            and r.status in ('offered', 'held', 'confirmed')
    )
$function$;

create or replace function private.invitation_failed (
    registration_id uuid,
    sequence integer,
    reason text,
    for_good boolean,
    retry_seconds integer
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    update private.calendar_entries as e set
        last_error = left(reason, 500),
        due_at = case when not for_good then now() + make_interval(secs => retry_seconds * e.attempts) end
    where e.registration_id = invitation_failed.registration_id and e.sequence = invitation_failed.sequence
$function$;

create or replace function private.invitation_sent (
    registration_id uuid,
    sequence integer
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    update private.calendar_entries as e set
        sent_sequence = invitation_sent.sequence, last_error = null,
        -- Changed meanwhile: that is still to be mailed.
        due_at = case when e.sequence = invitation_sent.sequence then null else e.due_at end
    where e.registration_id = invitation_sent.registration_id
$function$;

create or replace function private.is_delivered (
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.service_orders as o
        where
            o.id = private.delivery_order(name)
            and (
                name = any (o.requirement_files)
                or exists (
                    select from public.service_deliveries as d
                    where d.service_order_id = o.id and is_delivered.name = any (d.files)
                )
            )
    );
end
$function$;

create or replace function private.is_pinned (
    bucket_id text,
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return case is_pinned.bucket_id
        when 'product-files' then exists (
            select from public.product_files as f where f.path = is_pinned.name and f.taken_down_at is null
        )
        when 'attachments' then private.is_sent_attachment(is_pinned.name)
        when 'deliveries' then private.is_delivered(is_pinned.name)
        when 'uploads' then private.is_taken_upload(is_pinned.name)
        else false
    end;
end
$function$;

create or replace function private.is_registered (
    webinar_id uuid,
    user_id uuid
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select exists (
        select from public.webinar_registrations as r
        where r.webinar_id = is_registered.webinar_id and r.user_id = is_registered.user_id
    )
$function$;

create or replace function private.is_review_burst (
    item_id uuid
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    -- The one being written included.
    select 1 + count(*) filter (where r.created_at > now() - interval '24 hours') > greatest(
        (select s.review_burst from private.settings as s),
        5 * count(*) filter (where r.created_at <= now() - interval '24 hours') / 7.0
    )
    from public.reviews as r
    where
        r.item_id = is_review_burst.item_id and r.side = 'buyer' and r.created_at > now() - interval '192 hours'
$function$;

create or replace function private.is_webinar_host (
    webinar_id uuid,
    user_id uuid,
    with_co_hosts boolean default true
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select exists (
        select from public.webinars as w
        where w.id = is_webinar_host.webinar_id and w.host_id = is_webinar_host.user_id
    ) or with_co_hosts and exists (
        select from public.webinar_co_hosts as h
        where
            h.webinar_id = is_webinar_host.webinar_id and h.user_id = is_webinar_host.user_id
            and h.accepted_at is not null
    )
$function$;

create or replace function private.leave_webinars (
    member uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    seat record;
begin
    perform private.cancel_for_host(w.id)
    from public.webinars as w
    where w.host_id = member and w.status = 'upcoming' and w.starts_at > clock_timestamp();
    for seat in
        select r.id, r.webinar_id, r.payable_id, r.status from public.webinar_registrations as r
        where
            r.user_id = member and (
                r.status in ('waiting', 'offered') or r.status = 'confirmed' and r.purchase_id is null
            )
        order by r.webinar_id
    loop
        if seat.status = 'offered' then
            update public.payables as p set status = 'withdrawn' where p.id = seat.payable_id and p.status = 'open';
        end if;
        perform private.settle_seats(seat.webinar_id);
        perform private.give_up_seat(seat.id, 'cancelled')
        from public.webinar_registrations as r
        where r.id = seat.id and r.status = seat.status;
        perform private.fill_seats(seat.webinar_id);
    end loop;
end
$function$;

create or replace function private.lock_gift (
    gift_id uuid
)
    returns public.gifts
    language plpgsql
    set search_path to ''
    AS $function$
declare
    gift public.gifts;
    paying uuid[] := array(
        select i.order_id from public.order_items as i where i.gift_id = lock_gift.gift_id
    );
begin
    perform from public.payments as p where p.order_id = any (paying) order by p.id for no key update;
    perform private.lock_orders(paying);
    select * into gift from public.gifts as g where g.id = lock_gift.gift_id for no key update;
    return gift;
end
$function$;

create or replace function private.lock_review (
    review_id uuid,
    reviewer uuid default null::uuid
)
    returns public.reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    review public.reviews;
begin
    select * into review from public.reviews as r
    where r.id = lock_review.review_id and (reviewer is null or r.reviewer_id = reviewer);
    if review.id is null then
        perform private.fail('review_not_found', lock_review.review_id::text);
    end if;
    perform private.lock_reviewed(array[review.item_id]);
    perform private.publish_reviews_of(review.item_id);
    select * into review from public.reviews as r where r.id = lock_review.review_id for no key update;
    if review.id is null then
        perform private.fail('review_not_found', lock_review.review_id::text);
    end if;
    return review;
end
$function$;

create or replace function private.lock_reviewed (
    items uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform from public.catalog_items as c where c.id = any (items) order by c.id for no key update;
end
$function$;

create or replace function private.lock_reviewed_by (
    reviews uuid[]
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    select private.lock_reviewed(array(select r.item_id from public.reviews as r where r.id = any (reviews)))
$function$;

create or replace function private.lock_webinar (
    webinar_id uuid
)
    returns public.webinars
    language plpgsql
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
begin
    select * into webinar from public.webinars as w where w.id = lock_webinar.webinar_id for no key update;
    perform from public.catalog_items as c where c.id = lock_webinar.webinar_id for no key update;
    if webinar.id is null then
        perform private.fail('webinar_not_found', lock_webinar.webinar_id::text);
    end if;
    return webinar;
end
$function$;

create or replace function private.lock_webinar_sales (
    webinar_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    set lock_timeout to '0'
    AS $function$
begin
    for attempt in 1..100 loop
        begin
            -- Holding nothing yet, it waits for its turn.
            perform set_config('lock_timeout', '0', true);
            perform private.lock_webinar(lock_webinar_sales.webinar_id);
            perform set_config('lock_timeout', '100ms', true);
            perform from public.payments as p
            where p.id in (
                select o.id from public.payments as o
                inner join public.order_items as i on i.order_id = o.order_id
                where
                    i.item_id = lock_webinar_sales.webinar_id and (o.is_open or o.succeeded_at is not null)
            )
            order by p.id
            for no key update;
            perform from public.orders as o
            where o.id in (
                select i.order_id from public.order_items as i where i.item_id = lock_webinar_sales.webinar_id
            )
            order by o.id
            for no key update;
            perform from public.payables as p
            where p.item_id = lock_webinar_sales.webinar_id and p.status = 'open'
            order by p.id
            for no key update;
            return;
        exception when lock_not_available then
            -- Whoever was in the way waits for the seats, perhaps, and is through now.
            perform pg_catalog.pg_sleep(0.02);
        end;
    end loop;
    perform private.fail('webinar_busy', lock_webinar_sales.webinar_id::text);
end
$function$;

create or replace function private.may_carry_rating (
    line uuid,
    item_id uuid,
    buyer_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.purchases as p
        where
            p.order_item_id = line and p.item_id = may_carry_rating.item_id
            and p.owner_id = may_carry_rating.buyer_id and p.revoked_at is null
    ) and not private.earns_item(may_carry_rating.buyer_id, may_carry_rating.item_id, line);
end
$function$;

create or replace function private.may_deliver (
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.service_orders as o
        where o.id = private.delivery_order(name) and private.member_id() in (o.buyer_id, o.seller_id) and o.is_open
    );
end
$function$;

create or replace function private.may_read_delivery (
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.service_orders as o
        where
            o.id = private.delivery_order(name)
            and (
                o.seller_id = private.member_id()
                or o.buyer_id = private.member_id()
                -- A payment that was taken back takes the delivery with it.
                and exists (
                    select from public.purchases as p
                    where p.order_item_id = o.order_item_id and p.revoked_at is null
                )
                or o.status = 'disputed' and private.is_admin()
            )
    )
    and private.is_delivered(name);
end
$function$;

create or replace function private.move_ratings (
    items uuid[],
    ratings integer[],
    changes integer[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    insert into public.item_ratings (item_id)
    select distinct u.item_id from unnest(items) as u (item_id)
    order by u.item_id
    on conflict on constraint item_ratings_pkey do nothing;
    perform from public.item_ratings as r where r.item_id = any (items) order by r.item_id for no key update;
    update public.item_ratings as r set
        stars_1 = r.stars_1 + n.n1, stars_2 = r.stars_2 + n.n2, stars_3 = r.stars_3 + n.n3,
        stars_4 = r.stars_4 + n.n4, stars_5 = r.stars_5 + n.n5
    from (
        select
            u.item_id, coalesce(sum(u.change) filter (where u.rating = 1), 0) as n1,
            coalesce(sum(u.change) filter (where u.rating = 2), 0) as n2,
            coalesce(sum(u.change) filter (where u.rating = 3), 0) as n3,
            coalesce(sum(u.change) filter (where u.rating = 4), 0) as n4,
            coalesce(sum(u.change) filter (where u.rating = 5), 0) as n5
        from unnest(items, ratings, changes) as u (item_id, rating, change)
        group by u.item_id
    ) as n
    where r.item_id = n.item_id;
    update public.catalog_items as c set reviews_count = r.reviews_count, rating_average = r.rating_average
    from public.item_ratings as r
    where
        r.item_id = c.id and c.id = any (items)
        and (c.reviews_count, c.rating_average) is distinct from (r.reviews_count, r.rating_average);
end
$function$;

create or replace function private.note_calendar_entry()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    insert into private.calendar_entries as e (registration_id) values (new.id)
    on conflict on constraint calendar_entries_pkey do update set
        sequence = e.sequence + 1, is_cancelled = new.status <> 'confirmed', changed_at = clock_timestamp(),
        due_at = clock_timestamp(), attempts = 0;
    return null;
end
$function$;

create or replace function private.note_gifts (
    payer uuid,
    lines private.order_line[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    insert into public.gifts (id, payer_id, receiver_id, item_id)
    select l.gift_id, payer, l.gift_to_id, l.item_id from unnest(lines) as l where l.gift_id is not null;
    insert into private.gift_codes (gift_id, email)
    select l.gift_id, l.gift_email from unnest(lines) as l where l.gift_email is not null;
end
$function$;

create or replace function private.open_inbox_entry()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    insert into public.inbox_entries (user_id, conversation_id, is_group, state, first_number, last_message_at)
    select
        new.user_id, c.id, c.is_group,
        -- Somebody a stranger brings in is asked.
        case
            when
                new.user_id = auth.uid() or auth.uid() is null or c.service_order_id is not null
                or private.knows(new.user_id, auth.uid())
                then 'accepted'
            else 'requested'
        end::public.inbox_state,
        c.last_number + 1, case when c.is_group then new.joined_at end
    from public.conversations as c
    where c.id = new.conversation_id;
    return null;
end
$function$;

create or replace function private.payment_is_open (
    payable_id uuid
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select exists (
        select from public.order_items as i
        inner join public.payments as p on p.order_id = i.order_id and p.is_open
        where i.payable_id = payment_is_open.payable_id
    )
$function$;

create or replace function private.percentages (
    counts integer[]
)
    returns integer[]
    language sql
    immutable
    set search_path to ''
    AS $function$
    -- Rounded down; what is missing to 100 goes to the largest remainders, of equal ones to the highest rating.
    select array_agg(p.whole + (p.place <= 100 - p.given)::integer order by p.no)
    from (
        select
            n.no, n.whole, sum(n.whole) over () as given,
            row_number() over (order by n.rest desc, n.no desc) as place
        from (
            select
                u.no, (100 * u.n / t.total)::integer as whole, 100 * u.n % t.total as rest
            from unnest(counts) with ordinality as u (n, no)
            cross join (select sum(x.n) as total from unnest(counts) as x (n)) as s
            cross join lateral (select nullif(s.total, 0)::integer as total) as t
        ) as n
    ) as p
$function$;

create or replace function private.place_order (
    new_order uuid,
    buyer uuid,
    lines private.order_line[],
    provider public.payment_provider,
    shipping_address jsonb,
    notes text,
    pay_by timestamp with time zone default null::timestamp with time zone
)
    returns jsonb
    language plpgsql
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    limits private.settings;
    line private.order_line;
    subtotal bigint := 0;
    discount bigint := 0;
    shipping bigint := 0;
    total bigint;
    held uuid[] := '{}';
    coupons uuid[] := '{}';
    has_gifts boolean := false;
    pays_at_once boolean;
    is_booked boolean := false;
    expires timestamptz;
    problem text;
    detail text;
    new_payment uuid;
    answer jsonb;
    open_orders uuid[];
    superseded uuid[] := '{}';
    replaced uuid[] := '{}';
    given_up uuid[] := '{}';
    gone uuid;
    attempt record;
begin
    select * into strict limits from private.settings;
    foreach line in array lines loop
        subtotal := subtotal + line.unit_price_cents * line.quantity;
        discount := discount + line.discount_cents;
        shipping := shipping + line.shipping_cents;
        if line.is_held and line.item_id <> all (held) then
            held := held || line.item_id;
        end if;
        is_booked := is_booked or line.is_booked is not null;
        has_gifts := has_gifts or line.gift_id is not null;
        if line.coupon_id is not null and line.coupon_id <> all (coupons) then
            coupons := coupons || line.coupon_id;
        end if;
    end loop;
    total := subtotal - discount + shipping;
    if total > private.highest_amount_cents() then
        perform private.fail('amount_out_of_range', format('at most %s cents', private.highest_amount_cents()));
    elsif total between 1 and private.lowest_price_cents() - 1 and place_order.provider <> 'wallet' then
        perform private.fail('amount_out_of_range', format('at least %s cents', private.lowest_price_cents()));
    end if;
    pays_at_once := total = 0 or place_order.provider = 'wallet';

    insert into public.orders (
        id, user_id, subtotal_cents, discount_cents, shipping_cents, total_cents, shipping_address, notes
    ) values (
        new_order, buyer, subtotal, discount, shipping, total, place_order.shipping_address, place_order.notes
    );
    if has_gifts then
        perform private.note_gifts(buyer, lines);
    end if;
    insert into public.order_items (
        order_id, line_no, kind, item_id, option_id, payable_id, buyer_id, gift_id, gift_to_id, seller_id, title, description, license_type,
        license_text, license_version, details, unit_price_cents, quantity, discount_cents, coupon_id, promoted_cents,
        shipping_cents, seller_tier, commission_bps, is_counted, is_held, is_owned_once, is_shipped, is_booked
    )
    select
        new_order, l.line_no, l.kind, l.item_id, l.option_id, l.payable_id, buyer, l.gift_id, l.gift_to_id, l.seller_id, l.title, l.description,
        l.license_type, l.license_text, l.license_version, l.details, l.unit_price_cents, l.quantity, l.discount_cents,
        l.coupon_id, l.promoted_cents, l.shipping_cents, l.seller_tier, l.commission_bps, l.is_counted, l.is_held,
        l.is_owned_once, l.is_shipped, l.is_booked
    from unnest(lines) as l;

    -- The buyer's own earlier attempts at the same give way: nobody pays twice for one thing. Their payments are locked
    -- first, as settlement does. Most buyers have none.
    open_orders := array(select p.order_id from public.payments as p where p.user_id = buyer and p.is_open);
    if open_orders <> '{}' then
        for attempt in
            select p.id, p.order_id, p.started_at from public.payments as p
            where
                p.user_id = buyer and p.is_open and p.order_id = any (open_orders)
                and p.order_id in (
                    select i.order_id from public.order_items as i
                    inner join unnest(lines) as l
                        on
                            l.payable_id = i.payable_id
                            or num_nonnulls(l.payable_id, i.payable_id) = 0
                            and (not l.is_repeatable or l.is_booked and i.is_booked)
                            and l.item_id = i.item_id and case
                                when num_nonnulls(l.gift_id, i.gift_id) = 0 then true
                                else l.gift_to_id = i.gift_to_id
                            end
                    where i.order_id = any (open_orders)
                )
            order by p.id
            for no key update
        loop
            superseded := superseded || attempt.id;
            replaced := replaced || attempt.order_id;
            if attempt.started_at is null then
                given_up := given_up || attempt.order_id;
            end if;
        end loop;
    end if;

    if total > 0 then
        expires := least(now() + limits.payment_period, pay_by);
        if held <> '{}' and not pays_at_once then
            foreach gone in array given_up loop
                open_orders := array_remove(open_orders, gone);
            end loop;
            select b.until, b.problem, b.detail into expires, problem, detail
            from private.begin_holds(buyer, held, lines, open_orders, replaced) as b;
            expires := least(expires, pay_by);
        end if;
        insert into public.payments (
            user_id, order_id, amount_cents, provider, fee_estimate_cents, provider_fee_cents, expires_at, status
        ) values (
            buyer, new_order, total, place_order.provider,
            private.processing_fee(place_order.provider, total, 'USD'),
            case when place_order.provider = 'wallet' then 0 end, expires,
            case
                when place_order.provider = 'wallet' then 'processing' else 'requires_payment'
            end::public.payment_status
        ) returning id into new_payment;
    end if;
    -- Last: others wait for these rows, so that what is answered is read before. What is paid at once is locked as
    -- settlement does.
    if not pays_at_once then
        answer := private.order_summary(new_order);
    end if;
    -- Before what is limited. The payments of what is replaced are locked, so nobody has their orders.
    if coupons <> '{}' then
        perform private.hold_coupons(new_order, buyer, coupons, replaced);
    end if;
    if pays_at_once then
        perform private.lock_orders(new_order || replaced);
    elsif replaced <> '{}' then
        perform private.lock_stock(new_order || replaced);
    end if;
    if held <> '{}' then
        perform private.hold_lines(new_order, replaced);
        -- That somebody else has it is said first.
        if problem is not null then
            perform private.fail(problem, detail);
        end if;
    end if;
    for i in 1..cardinality(superseded) loop
        perform private.stop_payment(superseded[i], 'superseded');
    end loop;

    if total > 0 and place_order.provider = 'wallet' then
        perform private.lock_wallets(
            array(select p.payee_id from private.payees_to_be(array[new_order]) as p) || buyer
        );
        if private.spendable_cents(buyer) < total then
            perform private.fail('insufficient_funds');
        end if;
    end if;
    -- After wallets, as when money came late.
    if is_booked then
        perform private.book_lines(array[new_order], replaced);
    end if;
    if total = 0 then
        if cardinality(private.deliverable_orders(array[new_order])) = 0 then
            perform private.fail('item_not_available');
        end if;
        perform private.deliver_orders(array[new_order]);
    elsif place_order.provider = 'wallet' then
        perform private.settle_payment(new_payment);
    end if;
    return coalesce(answer, private.order_summary(new_order));
end
$function$;

create or replace function private.product_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return query
    select
        l.no, p.description, coalesce((o.details ->> 'license_type')::public.license_type, p.license_type),
        case when o.details ? 'license_type' then o.details ->> 'license_text' else p.license_text end,
        p.license_version,
        jsonb_build_object('technical_details', p.technical_details) || case
            -- What was sold before stays valid beside an exclusive licence.
            when o.is_exclusive then jsonb_build_object('earlier_licenses', (
                select coalesce(jsonb_object_agg(e.license_type, e.n), '{}')
                from (
                    select i.license_type, count(*) as n
                    from public.purchases as b
                    inner join public.order_items as i on i.id = b.order_item_id
                    where b.item_id = p.id and b.revoked_at is null and i.license_type is not null
                    group by i.license_type
                ) as e
            ))
            else '{}'
        end,
        0::bigint,
        case when l.details <> '{}' then 'line_not_valid' end, case when l.details <> '{}' then 'details' end,
        0::bigint, false
    from unnest(lines) as l
    inner join public.products as p on p.id = l.item_id
    left join public.catalog_options as o on o.id = l.option_id;
end
$function$;

create or replace function private.propose_resolution (
    proposed public.resolution_requests
)
    returns public.resolution_requests
    language plpgsql
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    made public.resolution_requests;
begin
    update public.resolution_requests as r set status = 'expired', answered_at = r.answer_by
    where
        r.service_order_id = proposed.service_order_id and r.kind = proposed.kind and r.status = 'open'
        and r.answer_by <= clock_timestamp();
    insert into public.resolution_requests (service_order_id, kind, asking_side, days, refund_cents, reason, answer_by)
    select
        proposed.service_order_id, proposed.kind, proposed.asking_side, proposed.days, proposed.refund_cents,
        coalesce(proposed.reason, ''), clock_timestamp() + s.service_answer_period
    from private.settings as s
    on conflict (service_order_id, kind) where status = 'open' do nothing
    returning * into made;
    if made.id is null then
        perform private.fail('resolution_open', proposed.kind::text);
    end if;
    return made;
end
$function$;

create or replace function private.publish_reviews_due (
    max_rows integer default 500
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    published integer;
begin
    with items as materialized (
        select c.id from public.catalog_items as c
        where c.id in (
            select r.item_id from public.reviews as r
            where r.status = 'blind' and r.publish_at <= clock_timestamp()
            order by r.publish_at
            limit max_rows
        )
        order by c.id
        for no key update skip locked
    )
    update public.reviews as r set status = 'published', published_at = r.publish_at
    from items as i
    where r.item_id = i.id and r.status = 'blind' and r.publish_at <= clock_timestamp();
    get diagnostics published = row_count;
    return published;
end
$function$;

create or replace function private.publish_reviews_of (
    item_id uuid
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    update public.reviews as r set status = 'published', published_at = r.publish_at
    where r.item_id = publish_reviews_of.item_id and r.status = 'blind' and r.publish_at <= clock_timestamp()
$function$;

create or replace function private.queue_reminders()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.enqueue(
        'remind_webinar',
        jsonb_build_object('webinar_id', new.id, 'starts_at', new.starts_at, 'minutes_before', b.minutes),
        new.starts_at - b.minutes * interval '1 minute'
    )
    from unnest(array[1440, 60]) as b (minutes)
    where new.starts_at - b.minutes * interval '1 minute' > clock_timestamp();
    return null;
end
$function$;

create or replace function private.rate_purchases()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    carried uuid[];
begin
    select array_agg(r.id) into carried
    from changed_to as c
    inner join changed_from as b on b.id = c.id
    inner join public.reviews as r on r.order_item_id = c.order_item_id and r.item_id = c.item_id
    where (c.revoked_at is null, c.owner_id) is distinct from (b.revoked_at is null, b.owner_id);
    if carried is null then
        return null;
    end if;
    perform from public.reviews as r where r.id = any (carried) order by r.id for no key update;
    update public.reviews as r set is_valid = not r.is_valid
    where
        r.id = any (carried)
        and r.is_valid <> private.may_carry_rating(r.order_item_id, r.item_id, r.buyer_id);
    return null;
end
$function$;

create or replace function private.read_lines (
    buyer uuid,
    wanted jsonb,
    country text default null::text
)
    returns private.order_line[]
    language plpgsql
    set search_path to ''
    AS $function$
declare
    lines private.order_line[] := array_fill(null::private.order_line, array[jsonb_array_length(wanted)]);
    line private.order_line;
    asked record;
    item public.catalog_items;
    option public.catalog_options;
    price record;
    terms record;
    kinds text[] := '{}';
    asked_kind text;
    asked_lines private.wanted_line[] := '{}';
    fact private.line_facts;
    blocked uuid[] := array(select private.blocked_ids());
begin
    for asked in
        select
            w.no,
            (w.line ->> 'item_id')::uuid as item_id,
            (w.line ->> 'option_id')::uuid as option_id,
            (w.line ->> 'quantity')::integer as quantity,
            (w.line ->> 'offered_price_cents')::bigint as offered_cents,
            -- The most a piece may cost: what the cart showed, or what the client says it showed.
            coalesce(w.line ->> 'shown_price_cents', w.line ->> 'offered_price_cents')::bigint as agreed_cents,
            coalesce(w.line -> 'details', '{}') as details,
            (w.line ->> 'gift_to')::uuid as gift_to,
            w.line ->> 'gift_email' as gift_email,
            case
                when w.line ? 'gift_to' then (w.line ->> 'gift_to')::uuid when not w.line ? 'gift_email' then buyer
            end as owner
        from jsonb_array_elements(wanted) with ordinality as w (line, no)
        order by (w.line ->> 'item_id')::uuid
    loop
        -- The only look at the item: what is checked here is what is written and charged. Locked, so that it is the
        -- last committed state and the item stays; a seller may go on editing, as if the order had been a moment
        -- earlier.
        if item.id is distinct from asked.item_id then
            select * into item from public.catalog_items as c where c.id = asked.item_id for key share;
        end if;
        -- Who blocked the buyer, or was blocked by them, sells them nothing; what the buyer cannot see does not exist.
        if item.seller_id = any (blocked)
            or not (item.is_visible or item.seller_id = buyer or private.owns_item(buyer, item.id))
        then
            item := null;
        end if;
        option := null;
        if asked.option_id is not null and item.id is not null then
            select * into option from public.catalog_options as o
            where o.id = asked.option_id and o.item_id = item.id and o.is_active;
        end if;
        line := null;
        line.line_no := asked.no;
        line.item_id := asked.item_id;
        line.option_id := asked.option_id;
        line.quantity := asked.quantity;
        line.is_counted := coalesce(item.stock > 1, false) or coalesce(option.stock > 1, false);
        line.problem := case
            when item.id is null then 'item_not_available'
            when asked.option_id is not null and option.id is null then 'option_not_available'
            when (not item.is_repeatable or item.is_unique) and array_length(lines, 1) > 1 and (
                select count(*) > 1 from jsonb_array_elements(wanted) as w (line)
                where
                    (w.line ->> 'item_id')::uuid = asked.item_id
                    and (w.line ->> 'option_id')::uuid is not distinct from asked.option_id
                    and (
                        item.is_unique
                        or (w.line ->> 'gift_to')::uuid is not distinct from asked.gift_to
                        and w.line ->> 'gift_email' is not distinct from asked.gift_email
                    )
            ) then 'duplicate_item'
            when item.seller_id = buyer then 'own_item'
            when
                asked.owner = buyer and not item.is_repeatable and (not line.is_counted or item.has_seats)
                and exists (
                select from public.purchases as p
                where
                    p.owner_id = buyer and p.item_id = asked.item_id
                    and p.option_id is not distinct from asked.option_id and p.revoked_at is null
            ) then 'already_owned'
            when not item.is_buyable and (item.is_unique or item.is_sold_out) then 'item_sold'
            when not item.is_buyable then 'item_not_available'
            when asked.quantity < 1 or ((item.is_unique or option.stock = 1) and asked.quantity > 1)
                then 'quantity_not_allowed'
        end;
        line.detail := case
            when line.problem = 'option_not_available' then asked.option_id::text else asked.item_id::text
        end;
        if line.problem is null then
            price := private.price_of(
                coalesce(option.price_cents, item.price_cents),
                case when option.id is null then item.minimum_price_cents end, asked.offered_cents, asked.agreed_cents
            );
            line.problem := price.problem;
            if price.problem = 'price_too_low' then
                line.detail := format('%s: minimum is %s cents', asked.item_id, price.least_cents);
            end if;
        end if;
        if line.problem is null and asked.owner is distinct from buyer then
            line.problem := private.gift_problem(
                item, asked.option_id, buyer, asked.owner, not item.is_repeatable and not line.is_counted
            );
            line.gift_id := gen_random_uuid();
            line.gift_to_id := asked.gift_to;
            line.gift_email := asked.gift_email;
        end if;
        if line.problem is null then
            terms := private.sale_terms(item.kind, item.seller_id);
            line.kind := item.kind;
            line.seller_id := item.seller_id;
            line.title := item.title || case when option.id is null then '' else ' (' || option.title || ')' end;
            line.details := asked.details;
            line.unit_price_cents := price.cents;
            line.discount_cents := 0;
            line.promoted_cents := 0;
            line.shipping_cents := 0;
            line.seller_tier := terms.tier;
            line.commission_bps := terms.commission_bps;
            line.is_repeatable := item.is_repeatable;
            line.is_held := private.is_limited(item);
            line.is_owned_once := not item.is_repeatable and (not line.is_counted or item.has_seats);
            line.is_shipped := item.requires_shipping;
            if item.kind <> all (kinds) then
                kinds := kinds || item.kind;
            end if;
        end if;
        lines[asked.no] := line;
    end loop;

    foreach asked_kind in array kinds loop
        asked_lines := '{}';
        foreach line in array lines loop
            if line.kind = asked_kind and line.problem is null then
                asked_lines := asked_lines || row(
                    line.line_no, line.item_id, line.option_id, line.quantity, line.unit_price_cents, line.details,
                    buyer
                )::private.wanted_line;
            end if;
        end loop;
        for fact in
            select f.* from private.dispatch_check_line(
                asked_kind, array(select l.item_id from unnest(asked_lines) as l), asked_lines
            ) as f
        loop
            line := lines[fact.no];
            line.description := fact.description;
            line.license_type := fact.license_type;
            line.license_text := fact.license_text;
            line.license_version := fact.license_version;
            line.details := fact.details;
            line.unit_price_cents := line.unit_price_cents + fact.surcharge_cents;
            line.discount_cents := fact.discount_cents;
            line.is_booked := nullif(fact.is_booked, false);
            if fact.problem is not null then
                line.problem := fact.problem;
                line.detail := fact.detail;
            end if;
            lines[fact.no] := line;
        end loop;
    end loop;

    foreach line in array lines loop
        continue when line.is_shipped is not true or line.problem is not null;
        if read_lines.country is null then
            line.problem := 'address_required';
        else
            line.shipping_cents := private.shipping_price(line.seller_id, read_lines.country, (
                select sum(o.unit_price_cents * o.quantity - o.discount_cents)::bigint from unnest(lines) as o
                where o.seller_id = line.seller_id and o.is_shipped
            ));
            if line.shipping_cents is null then
                line.problem := 'shipping_not_available';
            end if;
        end if;
        lines[line.line_no] := line;
    end loop;
    return lines;
end
$function$;

create or replace function private.refresh_refund_status (
    payment_id uuid,
    change bigint
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    discount bigint;
begin
    update public.payments as p set
        refunded_cents = p.refunded_cents + change,
        status = case
            when p.refunded_cents + change = 0 then 'succeeded'
            when p.refunded_cents + change = p.amount_cents then 'refunded'
            else 'partially_refunded'
        end::public.payment_status
    where p.id = refresh_refund_status.payment_id
    returning * into paid;
    -- A cancelled order (goods were gone) stays cancelled; the payment tells that the money went back.
    update public.orders as o set status = case paid.status
        when 'succeeded' then 'completed' when 'refunded' then 'refunded' else 'partially_refunded'
    end::public.order_status
    where o.id = paid.order_id and o.status in ('completed', 'partially_refunded', 'refunded')
    returning o.discount_cents into discount;
    if discount > 0 then
        perform private.follow_coupons(array[paid.order_id]);
    end if;
end
$function$;

create or replace function private.registration_refusal (
    webinar public.webinars,
    member uuid,
    OUT problem text,
    OUT detail text
)
    returns record
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    own public.webinar_registrations;
begin
    select * into own from public.webinar_registrations as r
    where r.webinar_id = webinar.id and r.user_id = member;
    detail := webinar.id::text;
    problem := case
        when private.webinar_state(webinar) <> 'upcoming' then 'webinar_not_open'
        when private.is_webinar_host(webinar.id, member) then 'own_item'
        when own.was_removed then 'webinar_not_open'
        when own.status = 'confirmed' then 'already_registered'
        when own.status = 'offered' and private.registration_state(own) = 'offered' then 'seat_offered'
    end;
    if problem = 'seat_offered' then
        detail := own.payable_id::text;
    end if;
end
$function$;

create or replace function private.registration_state (
    registration public.webinar_registrations
)
    returns public.registration_status
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return case
        when
            registration.status = 'offered' and registration.offer_expires_at <= now()
            and not private.payment_is_open(registration.payable_id)
            then 'expired'
        when
            registration.status = 'waiting' and exists (
                select from public.webinars as w
                where w.id = registration.webinar_id and (w.starts_at <= now() or w.status = 'cancelled')
            )
            then 'expired'
        else registration.status
    end;
end
$function$;

create or replace function private.release_holds (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    gone private.freed_piece[];
    given_up uuid[];
    freed record;
begin
    perform private.lock_heirlooms(release_holds.orders);
    with ended as (
        delete from private.holds as h where h.order_id = any (release_holds.orders) returning h.*
    ),

    unbooked as (
        update public.order_items as i set is_booked = false
        where i.order_id = any (release_holds.orders) and i.is_booked
        returning i.id
    )

    select
        array_agg(row(e.item_id, e.option_id, null, e.is_single, null, e.quantity)::private.freed_piece),
        (select array_agg(u.id) from unbooked as u)
    into gone, given_up from ended as e;
    if given_up is not null then
        for freed in
            select i.kind, array_agg(i.id order by i.id) as lines from public.order_items as i
            where i.id = any (given_up)
            group by i.kind
            order by i.kind
        loop
            perform private.dispatch_release(freed.kind, freed.lines);
        end loop;
    end if;
    if gone is null then
        return;
    end if;
    for freed in
        select g.item_id, g.option_id, sum(g.pieces)::integer as pieces
        from unnest(gone) as g
        inner join public.catalog_items as c on c.id = g.item_id
        left join public.catalog_options as o on o.id = g.option_id
        where c.stock > 1 or o.stock is not null
        group by g.item_id, g.option_id
        order by g.item_id, g.option_id
    loop
        perform private.take_stock(freed.item_id, freed.option_id, -freed.pieces);
    end loop;
    perform private.restore_purchases(private.heirs_of(gone));
    for freed in
        select c.kind, array_agg(distinct c.id) as items
        from unnest(gone) as g
        inner join public.catalog_items as c on c.id = g.item_id and c.has_seats
        group by c.kind
        order by c.kind
    loop
        perform private.dispatch_freed(freed.kind, freed.items);
    end loop;
end
$function$;

create or replace function private.release_matured_earnings (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    ready uuid[];
    payees uuid[];
    released_journal bigint;
    legs ledger.leg[];
begin
    -- What is not done has no date. A freeze is a row that is asked for here, never a moved date: a ban (the money is
    -- held, not lost: docs/money.md, sharp case 24), a review of the sale, a bank that took up the charge.
    ready := array(
        select t.id from public.transactions as t
        where
            t.release_journal_id is null and t.release_at <= now()
            and not exists (
                select from public.sale_reviews as r where r.transaction_id = t.id and r.released_at is null
            )
            and not exists (
                select from private.freezes as f where f.transaction_id = t.id and f.ended_at is null
            )
            and exists (
                select from public.transaction_payees as p
                where
                    p.transaction_id = t.id and p.release_journal_id is null
                    and not exists (select from public.bans as b where b.user_id = p.payee_id)
            )
        order by t.release_at
        limit max_rows
        for no key update skip locked
    );
    if cardinality(ready) = 0 then
        return 0;
    end if;
    payees := array(
        select distinct p.payee_id from public.transaction_payees as p
        where
            p.transaction_id = any (ready) and p.release_journal_id is null
            and not exists (select from public.bans as b where b.user_id = p.payee_id)
    );
    perform private.lock_wallets(payees);

    select array_agg(ledger.leg(s.payee_id, l.account, l.amount)) into legs
    from (
        select
            p.payee_id, sum(p.pending_cents)::bigint as pending,
            least(sum(p.pending_cents), w.debt_cents)::bigint as debt
        from public.transaction_payees as p
        inner join public.wallets as w on w.user_id = p.payee_id
        where p.transaction_id = any (ready) and p.payee_id = any (payees) and p.release_journal_id is null
        group by p.payee_id, w.debt_cents
    ) as s
    cross join lateral (
        values ('pending', -s.pending), ('debt', s.debt), ('available', s.pending - s.debt)
    ) as l (account, amount)
    where l.amount <> 0;

    if legs is not null then
        released_journal := ledger.post('release', 'release:' || gen_random_uuid(), legs);
    end if;
    update public.transaction_payees as p set pending_cents = 0, release_journal_id = coalesce(released_journal, 0)
    where p.transaction_id = any (ready) and p.payee_id = any (payees) and p.release_journal_id is null;
    update public.transactions as t set release_journal_id = coalesce(released_journal, 0)
    where
        t.id = any (ready) and not exists (
            select from public.transaction_payees as p
            where p.transaction_id = t.id and p.release_journal_id is null
        );
    return cardinality(ready);
end
$function$;

create or replace function private.remind_webinar (
    webinar_id uuid,
    starts_at timestamp with time zone,
    minutes_before integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if not exists (
        select from public.webinars as w
        where
            w.id = remind_webinar.webinar_id and w.starts_at = remind_webinar.starts_at and w.status = 'upcoming'
            and not w.is_hidden and w.starts_at > clock_timestamp()
        for share
    ) then
        return 0;
    end if;
    insert into private.webinar_reminders (webinar_id, starts_at, minutes_before)
    values (remind_webinar.webinar_id, remind_webinar.starts_at, remind_webinar.minutes_before)
    on conflict do nothing;
    if not found then
        return 0;
    end if;
    return private.notify_many(array(
        select row('webinar_reminder', p.id, null, 'webinar', remind_webinar.webinar_id, null)::private.notice
        from (
            select r.user_id as id from public.webinar_registrations as r
            where r.webinar_id = remind_webinar.webinar_id and r.status = 'confirmed'
            union
            select u.id from unnest(private.webinar_hosts(remind_webinar.webinar_id)) as u (id)
        ) as p
        order by p.id
    ));
end
$function$;

create or replace function private.require_ended (
    webinar_id uuid
)
    returns public.webinars
    language plpgsql
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
begin
    perform private.require_host(require_ended.webinar_id, false);
    select * into strict webinar from public.webinars as w where w.id = require_ended.webinar_id for no key update;
    if private.webinar_state(webinar) <> 'ended' then
        perform private.fail('state_changed', format('webinar %s', private.webinar_state(webinar)));
    end if;
    return webinar;
end
$function$;

create or replace function private.require_host (
    webinar_id uuid,
    with_co_hosts boolean
)
    returns uuid
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
begin
    if not private.is_webinar_host(require_host.webinar_id, member, with_co_hosts) then
        perform private.fail('webinar_not_found', require_host.webinar_id::text);
    end if;
    return member;
end
$function$;

create or replace function private.restore_purchases (
    ids uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    given uuid[];
    away uuid[];
    back record;
begin
    perform from public.catalog_items as c
    where c.id in (select p.item_id from public.purchases as p where p.id = any (restore_purchases.ids))
    order by c.id
    for no key update;
    -- Somebody has it now: money is booked as the provider reports it, people must settle the rest.
    for back in
        with given as (
            -- How many pieces of the item and of the option it takes with those before it.
            select
                p.*, count(*) filter (where not p.is_away) over (partition by p.item_id order by p.id) as pieces,
                count(*) filter (where not p.is_away) over (partition by p.option_id order by p.id) as option_pieces
            from public.purchases as p
            where p.id = any (restore_purchases.ids) and p.revoked_at is not null
        )

        select p.*
        from given as p
        where
            (
                p.is_single and exists (
                    select from public.purchases as o
                    where o.item_id = p.item_id and o.is_single and o.revoked_at is null
                )
                or p.is_owned_once and exists (
                    select from public.purchases as o
                    where
                        o.owner_id = p.owner_id and o.item_id = p.item_id
                        and o.option_id is not distinct from p.option_id and o.is_owned_once and o.revoked_at is null
                )
                -- What is exclusive comes back only if nobody bought, or is buying, beside it.
                or exists (select from public.catalog_options as e where e.id = p.option_id and e.is_exclusive) and (
                    exists (select from private.holds as h where h.item_id = p.item_id)
                    or exists (
                        select from public.purchases as o
                        where o.item_id = p.item_id and o.revoked_at is null and o.purchased_at > p.revoked_at
                    )
                )
                or not p.is_single and not p.is_away and exists (
                    select from public.catalog_items as c
                    left join public.catalog_options as o on o.id = p.option_id
                    where
                        c.id = p.item_id and (
                            c.stock > 1 and not c.has_seats and p.pieces > c.stock - c.taken - case
                                when o.is_set_aside then 0
                                else (
                                    select coalesce(sum(a.stock - a.taken), 0) from public.catalog_options as a
                                    where a.item_id = c.id and a.is_set_aside
                                )
                            end
                            or p.option_pieces > o.stock - o.taken
                        )
                )
            )
        order by p.id
    loop
        perform private.audit('refund_failed_after_resale', 'order_item', back.order_item_id, jsonb_build_object(
            'purchase_id', back.id, 'item_id', back.item_id
        ));
        ids := array_remove(restore_purchases.ids, back.id);
    end loop;
    away := array(select p.id from public.purchases as p where p.id = any (restore_purchases.ids) and p.is_away);
    with given_back as (
        update public.purchases as p set
            revoked_at = null, revoked_reason = null, is_away = false,
            -- Its number may be another copy's now.
            number = case
                when p.is_away or not exists (
                    select from public.purchases as o
                    where
                        o.item_id = p.item_id and o.option_id is not distinct from p.option_id
                        and o.number = p.number and o.id <> p.id and (o.revoked_at is null or o.is_away)
                ) then p.number
            end
        where p.id = any (restore_purchases.ids) and p.revoked_at is not null
        returning p.id
    )

    select array_agg(g.id) into given from given_back as g;
    if given is null then
        return;
    end if;
    for back in
        select p.item_id, p.option_id, count(*)::integer as pieces
        from public.purchases as p
        inner join public.catalog_items as c on c.id = p.item_id
        where
            p.id = any (given) and p.id <> all (away) and not p.is_single
            and (c.stock is not null or p.option_id is not null)
        group by p.item_id, p.option_id
        order by p.item_id, p.option_id
    loop
        update public.catalog_items as c set taken = c.taken + case when c.stock > 1 then back.pieces else 0 end
        where c.id = back.item_id;
        update public.catalog_options as o
        set taken = o.taken + back.pieces
        where o.id = back.option_id and o.stock is not null;
    end loop;
    perform private.dispatch_purchases('restore', given);
end
$function$;

create or replace function private.reverse_refund (
    refund_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    paid public.payments;
    line public.refund_lines;
    sale public.transactions;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = reverse_refund.refund_id for no key update;
    if refund.booked_at is null or refund.reversed_at is not null then
        return;
    end if;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    money_account := 'clearing:' || paid.provider;
    perform private.lock_orders(array[paid.order_id]);
    -- Sales before wallets, as earnings are released.
    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    perform private.lock_wallets(private.payees_of(paid.id));
    if not exists (select from public.refund_lines as l where l.refund_id = refund.id) then
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id,
            array[
                ledger.leg(null, money_account, -refund.amount_cents),
                ledger.leg(null, 'refunds_payable', refund.amount_cents)
            ],
            refund.id, paid.currency
        );
    end if;
    for line in select * from public.refund_lines as l where l.refund_id = refund.id order by l.transaction_id loop
        select * into strict sale from public.transactions as t where t.id = line.transaction_id for no key update;
        select refund.id, sale.id, -line.amount_cents, s.tax, s.commission, s.seller, s.fee, s.credits, s.promotions
        into line
        from private.split_refund(sale, -line.amount_cents, refund.fee_bearer) as s;
        perform private.apply_refund_line(line, refund.fee_bearer);
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id || ':' || line.transaction_id,
            private.moving_legs(array[
                ledger.leg(null, money_account, line.amount_cents),
                ledger.leg(null, 'tax_payable', -line.tax_cents),
                ledger.leg(null, 'revenue', -line.commission_cents - line.fee_cents),
                ledger.leg(null, 'refunds_payable', -line.credits_cents),
                ledger.leg(null, 'promotions', line.promotions_cents)
            ]) || private.payee_legs(line.transaction_id),
            refund.id, paid.currency
        );
    end loop;
    update public.refunds as r set reversed_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, -refund.amount_cents);
end
$function$;

create or replace function private.review_lock (
    ids uuid[]
)
    returns SETOF private.content_state
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.lock_reviewed_by(ids);
    perform private.hold_each('public.reviews', ids);
    return query select r.id, r.is_hidden from public.reviews as r where r.id = any (ids);
end
$function$;

create or replace function private.reviewing (
    kind text
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select coalesce(k.reviewing, case
        when not k.is_browsable or 'grant' <> all (k.hooks) then 'none'
        when k.earned = 'at_completion' and k.is_repeatable then 'blind'
        else 'open'
    end)
    from private.kinds as k
    where k.kind = reviewing.kind
$function$;

create or replace function private.send_message()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sender public.profiles;
    conversation public.conversations;
    other uuid;
    unusable text;
begin
    perform private.require_active(new.sender_id);
    -- Strangers are turned away before any lock.
    if exists (
        select from public.conversation_participants as p
        where p.conversation_id = new.conversation_id and p.user_id = new.sender_id
    ) then
        -- A block of the sender that begins or ends just now is waited for.
        perform pg_advisory_xact_lock_shared(hashtextextended('sends:' || new.sender_id, 0));
        select * into conversation from public.conversations as c where c.id = new.conversation_id for no key update;
    end if;
    if not exists (
        select from public.conversation_participants as p
        where p.conversation_id = conversation.id and p.user_id = new.sender_id
    ) then
        perform private.fail('conversation_not_found', new.conversation_id::text);
    end if;
    select * into sender from public.profiles as p where p.id = new.sender_id;
    -- Sent again after a lost answer, with the id the client chose: the primary key decides, no number is spent.
    select m.number into new.number
    from public.messages as m
    where m.id = new.id and m.conversation_id = new.conversation_id;
    if found then
        return new;
    end if;

    if conversation.service_order_id is not null then
        -- Whoever blocks the other one of their order does not reach its end by that.
        null;
    elsif not conversation.is_group then
        other := case conversation.low_id when new.sender_id then conversation.high_id else conversation.low_id end;
        -- A block, a ban, a private profile and a deleted account all give the same answer.
        if not private.is_visible_to(other, new.sender_id) or not private.is_visible_to(new.sender_id, other) then
            perform private.fail(
                case when sender.profile_visibility = 'private' then 'profile_hidden' else 'cannot_message' end
            );
        end if;
        -- The same whether it waits or was declined.
        if exists (
            select from public.inbox_entries as e
            where e.conversation_id = conversation.id and e.user_id = other and e.state <> 'accepted'
        )
        and not private.knows(other, new.sender_id)
        and (
            select count(*) from public.messages as m
            where m.sender_id = new.sender_id and m.conversation_id = conversation.id
        ) >= (select s.request_messages from private.settings as s) then
            perform private.fail('request_pending');
        end if;
    elsif sender.profile_visibility = 'private' then
        perform private.fail('profile_hidden');
    end if;

    if cardinality(new.attachments) > 0 then
        -- An upload to the same path that is just finishing waits, and then finds this message.
        perform from storage.objects as o
        where o.bucket_id = 'attachments' and o.name = any(new.attachments[1:11])
        order by o.name
        for share;
        select string_agg(a.path, ', ') into unusable
        from (
            select u.path, row_number() over (partition by u.path) as occurrence
            from unnest(new.attachments[1:11]) as u (path)
        ) as a
        where
            a.occurrence > 1
            or not starts_with(a.path, new.sender_id || '/' || new.conversation_id || '/')
            or not exists (
                select from storage.objects as o where o.bucket_id = 'attachments' and o.name = a.path
            );
        if unusable is not null then
            perform private.fail('attachment_not_found', left(unusable, 2000));
        end if;
    end if;

    -- Times follow the numbers, also when senders waited for each other, and no two messages share one.
    new.created_at := greatest(clock_timestamp(), conversation.last_message_at + interval '1 microsecond');
    new.number := conversation.last_number + 1;
    update public.conversations as c set last_number = new.number, last_message_at = new.created_at
    where c.id = conversation.id;
    return new;
end
$function$;

create or replace function private.service_extra_grant (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    bought record;
    its public.service_orders;
    more interval;
begin
    for bought in
        select e.*, p.order_item_id as line, p.owner_id from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        inner join public.service_order_extras as e on e.payable_id = i.payable_id
        where p.id = any (ids)
        order by e.service_order_id, e.id
    loop
        select * into strict its from public.service_orders as o where o.id = bought.service_order_id for no key update;
        update public.service_order_extras as e set status = 'paid', order_item_id = bought.line where e.id = bought.id;
        more := bought.delivery_days * interval '24 hours';
        its.delivery_days := its.delivery_days + bought.delivery_days;
        its.due_at := its.due_at + more;
        its.revise_until := its.revise_until + more;
        its.remaining := its.remaining + more;
        if its.due_at is not null then
            its.cancel_after := its.due_at + (select s.service_late_period from private.settings as s);
        end if;
        perform private.write_service_order(its, 'extra_paid', 'buyer', its.buyer_id, null, bought.title);
        perform private.tell_service_order(its, 'service_answer', false, true);
    end loop;
end
$function$;

create or replace function private.service_extra_restore (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.service_order_extras as e set status = 'paid'
    from public.purchases as p
    where p.id = any (ids) and e.order_item_id = p.order_item_id and e.status = 'returned';
end
$function$;

create or replace function private.service_extra_revoke (
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.service_order_extras as e set status = 'returned'
    from public.purchases as p
    where p.id = any (ids) and e.order_item_id = p.order_item_id and e.status = 'paid';
end
$function$;

create or replace function private.set_provider_fee (
    payment_id uuid,
    fee_cents bigint,
    journal_key text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    line record;
    sale public.transactions;
    fees bigint[];
    fee_change bigint;
    commission_change bigint;
    restated bigint;
    borne bigint;
    left_over bigint;
    is_platforms boolean;
begin
    select * into strict paid from public.payments as p where p.id = set_provider_fee.payment_id for no key update;
    update public.payments as p set provider_fee_cents = fee_cents where p.id = paid.id;

    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    if not found then
        -- Nothing was sold (see settle_payment): the platform bears the fee the provider keeps.
        fee_change := fee_cents - coalesce(paid.provider_fee_cents, 0);
        if fee_change <> 0 then
            perform ledger.post(
                'fee_adjustment', journal_key || ':' || paid.id,
                array[
                    ledger.leg(null, 'fees:' || paid.provider, fee_change),
                    ledger.leg(null, 'revenue', -fee_change)
                ],
                paid.id, paid.currency
            );
        end if;
        return;
    end if;

    perform private.lock_wallets(private.payees_of(paid.id));
    select private.split_cents(fee_cents, array_agg(t.amount_total_cents order by i.line_no)) into fees
    from public.transactions as t
    inner join public.order_items as i on i.id = t.order_item_id
    where t.payment_id = paid.id;

    for line in
        select
            t as sale, i.shipping_cents, fees[row_number() over (order by i.line_no)] - t.amount_fees_cents as fee_change
        from public.transactions as t
        inner join public.order_items as i on i.id = t.order_item_id
        where t.payment_id = paid.id
        order by i.line_no
    loop
        sale := line.sale;
        fee_change := line.fee_change;
        continue when fee_change = 0;
        is_platforms := private.is_platform(sale.seller_id);
        -- Of refunds at the platform's cost it bears the fee, a late one too.
        borne := case
            when is_platforms then 0
            else (
                (sale.amount_fees_cents + fee_change) * sale.free_refunded_cents * 2 + sale.amount_total_cents
            ) / (sale.amount_total_cents * 2) - sale.refunded_fee_cents
        end;
        commission_change := case
            when is_platforms then -fee_change
            when sale.refunded_cents = 0 or paid.charge_reversed_at is not null then (private.split_line(
                sale.amount_total_cents + sale.amount_promotions_cents, sale.amount_tax_cents, line.shipping_cents,
                sale.amount_fees_cents + fee_change, sale.commission_bps
            )).commission - sale.amount_commission_cents
            -- Once refunds were computed from the agreed split it stays (docs/money.md, sharp case 11) and the seller
            -- bears the change: at most what the sale leaves them. More is the platform's loss, and comes back to it
            -- first.
            when fee_change > 0 then least(greatest(sale.amount_seller_cents, 0) - fee_change, 0)
            else greatest(least(-sale.amount_commission_cents, -fee_change), 0)
        end;
        restated := 0;
        if sale.refunded_cents > 0 and paid.charge_reversed_at is null and not is_platforms then
            -- What was refunded at the platform's cost follows the new split: nobody but the platform has lost by it.
            -- Of the rest the seller has given back some already, and nothing becomes their debt.
            restated := private.free_commission(sale, sale.amount_commission_cents + commission_change)
            - private.free_commission(sale, sale.amount_commission_cents);
            left_over := sale.amount_seller_cents - sale.refunded_seller_cents;
            commission_change := commission_change - greatest(
                least(left_over, 0) - (left_over - fee_change - commission_change + borne + restated), 0
            );
        end if;
        update public.transactions as t set
            amount_fees_cents = t.amount_fees_cents + fee_change,
            amount_commission_cents = t.amount_commission_cents + commission_change,
            amount_seller_cents = t.amount_seller_cents - fee_change - commission_change,
            refunded_fee_cents = t.refunded_fee_cents + borne,
            refunded_seller_cents = t.refunded_seller_cents - borne
        where t.id = sale.id
        returning * into sale;
        -- With the charge taken back nobody keeps anything: what was refunded before follows the split without a fee,
        -- so that the rest ends at zero for the seller and the platform alike.
        if paid.charge_reversed_at is not null and not is_platforms then
            restated := (private.split_refund(sale, 0)).commission;
        end if;
        update public.transactions as t set
            refunded_commission_cents = t.refunded_commission_cents + restated,
            refunded_seller_cents = t.refunded_seller_cents - restated
        where t.id = sale.id and restated <> 0;
        perform ledger.post(
            'fee_adjustment', journal_key || ':' || sale.id,
            private.moving_legs(array[
                ledger.leg(null, 'fees:' || paid.provider, fee_change),
                ledger.leg(null, 'revenue', commission_change - restated - borne)
            ]) || private.payee_legs(sale.id),
            sale.id, paid.currency
        );
    end loop;
end
$function$;

create or replace function private.set_review_vote (
    review_id uuid,
    voter uuid,
    is_helpful boolean
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    review public.reviews;
begin
    -- An edit waits, or has begun the count anew.
    select * into review from public.reviews as r where r.id = set_review_vote.review_id for no key update;
    if review.id is null then
        perform private.fail('review_not_found', set_review_vote.review_id::text);
    elsif voter in (review.reviewer_id, review.seller_id) or private.earns_item(voter, review.item_id) then
        perform private.fail('vote_not_allowed', review.id::text);
    end if;
    if is_helpful is null then
        delete from public.review_votes as v where v.review_id = review.id and v.user_id = voter;
    else
        insert into public.review_votes as v (review_id, user_id, is_helpful)
        values (review.id, voter, set_review_vote.is_helpful)
        on conflict on constraint review_votes_pkey do update set is_helpful = excluded.is_helpful
        where v.is_helpful <> excluded.is_helpful;
    end if;
end
$function$;

create or replace function private.settle_batch (
    ids bigint[],
    only_free boolean default false
)
    returns bigint[]
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    set lock_timeout to '300ms'
    AS $function$
declare
    events bigint[];
    payments uuid[];
    charges text[];
    orders uuid[];
    held bigint[] := '{}';
begin
    with event as (
        select e.id, e.payload #> '{data,object}' as object
        -- By key, not by all that are pending.
        from unnest(settle_batch.ids) as u (id)
        inner join private.webhook_events as e on e.id = u.id
        where
            e.status = 'pending' and e.attempts = 0 and e.provider = 'stripe'
            and e.type = 'payment_intent.succeeded' and private.why_foreign(e) is null
            and jsonb_typeof(e.payload #> '{data,object}') = 'object'
        order by e.id
        for no key update of e skip locked
    ),

    named as (
        select
            e.id, e.object ->> 'id' as intent, e.object #>> '{metadata,payment_id}' as payment,
            e.object ->> 'amount_received' as amount, upper(e.object ->> 'currency') as currency,
            case
                when jsonb_typeof(e.object -> 'latest_charge') = 'object' then e.object #>> '{latest_charge,id}'
                else e.object ->> 'latest_charge'
            end as charge
        from event as e
    ),

    paid as (
        select n.id as event_id, p.id, n.charge, p.order_id
        from named as n
        inner join public.payments as p on p.provider_ref = n.intent and p.provider = 'stripe'
        inner join public.orders as o on o.id = p.order_id
        where
            p.is_open and p.succeeded_at is null and p.amount_cents::text = n.amount
            and p.currency::text = n.currency and n.charge is not null and n.charge <> all (p.declined_charges)
            and (p.id::text = lower(n.payment)) is not false
            -- A late one looks for its goods by itself; so does one whose goods became limited since, or whose hold
            -- somebody ended.
            and o.status = 'pending' and not exists (
                select from private.limited_lines as l where l.order_id = o.id and l.hold_id is null
            )
        order by p.id
        for no key update of p, o skip locked
    ),

    -- At most one of a payment, and of several that buy the same for one owner, or pay one payable, the first:
    -- another finds it bought. So does who was paid for after somebody bought the item exclusively.
    first as (
        select distinct on (p.id) p.* from paid as p order by p.id, p.event_id
    ),

    line as (
        select
            f.event_id,
            i.payable_id is not null and min(f.event_id) over (partition by i.buyer_id, i.payable_id) < f.event_id
            or i.is_owned_once and min(f.event_id) over (
                partition by i.owner_id, i.item_id, i.option_id
            ) < f.event_id
            or min(f.event_id) filter (where o.is_exclusive) over (partition by i.item_id) < f.event_id as is_later
        from first as f
        inner join public.order_items as i on i.order_id = f.order_id
        left join public.catalog_options as o on o.id = i.option_id
    )

    select
        array_agg(f.event_id order by f.event_id), array_agg(f.id order by f.event_id),
        array_agg(f.charge order by f.event_id), array_agg(f.order_id order by f.event_id)
    into events, payments, charges, orders
    from first as f
    where f.event_id not in (select l.event_id from line as l where l.is_later);
    if events is null then
        return '{}';
    end if;
    if only_free then
        perform set_config('lock_timeout', '100ms', true);
        with line as (
            select u.event_id, i.*
            from unnest(events, payments) as u (event_id, payment_id)
            inner join public.payments as p on p.id = u.payment_id
            inner join public.order_items as i on i.order_id = p.order_id
        ),

        earner as (
            select l.event_id, y.payee_id as user_id
            from line as l
            inner join private.payees_to_be(orders) as y on y.order_item_id = l.id
            union
            select l.event_id, l.buyer_id from line as l where private.is_platform(l.seller_id)
        ),

        free_payable as (
            select a.id from public.payables as a
            where a.id in (select l.payable_id from line as l)
            order by a.id
            for no key update skip locked
        ),

        free_item as (
            select c.id from public.catalog_items as c
            where c.id in (select l.item_id from line as l)
            order by c.id
            for no key update skip locked
        ),

        free_wallet as (
            select w.user_id from public.wallets as w
            where w.user_id in (select e.user_id from earner as e)
            order by w.user_id
            for no key update skip locked
        ),

        cart as (
            select c.user_id, c.item_id, c.option_key, l.event_id
            from line as l
            inner join public.cart_items as c
                on c.user_id = l.buyer_id and c.item_id = l.item_id and c.option_id is not distinct from l.option_id
        ),

        free_cart as (
            select c.user_id, c.item_id, c.option_key from public.cart_items as c
            where (c.user_id, c.item_id, c.option_key) in (select t.user_id, t.item_id, t.option_key from cart as t)
            order by c.user_id, c.item_id, c.option_key
            for update skip locked
        ),

        waiting as (
            select l.event_id from line as l
            where
                l.payable_id is not null and l.payable_id not in (select f.id from free_payable as f)
                or l.item_id is not null and l.item_id not in (select f.id from free_item as f)
            union
            select e.event_id
            from earner as e
            inner join public.wallets as w on w.user_id = e.user_id
            where w.user_id not in (select f.user_id from free_wallet as f)
            union
            select t.event_id from cart as t
            where
                (t.user_id, t.item_id, t.option_key) not in (
                    select f.user_id, f.item_id, f.option_key from free_cart as f
                )
        )

        select
            coalesce(array_agg(u.event_id order by u.event_id) filter (where w.event_id is not null), '{}'),
            array_agg(u.event_id order by u.event_id) filter (where w.event_id is null),
            array_agg(u.payment_id order by u.event_id) filter (where w.event_id is null),
            array_agg(u.charge order by u.event_id) filter (where w.event_id is null)
        into held, events, payments, charges
        from unnest(events, payments, charges) as u (event_id, payment_id, charge)
        left join waiting as w on w.event_id = u.event_id;
        perform private.enqueue('process_events', jsonb_build_object('ids', jsonb_build_array(h.id)))
        from unnest(held) as h (id);
        if events is null then
            return held;
        end if;
    end if;
    perform from private.settle_payments(payments, charges, is_patient => false);
    update private.webhook_events as e set
        status = 'processed', processed_at = now(), user_id = p.user_id,
        payload = case when b.deleted_at is null then e.payload else private.without_persons(e.payload) end
    from unnest(events, payments) as u (event_id, payment_id)
    inner join public.payments as p on p.id = u.payment_id
    inner join public.profiles as b on b.id = p.user_id
    where e.id = u.event_id;
    return events || held;
end
$function$;

create or replace function private.settle_payments (
    payments uuid[],
    charges text[],
    is_patient boolean default true
)
    returns table (
        payment_id uuid,
        outcome text
    )
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    limits private.settings;
    orders uuid[];
    delivered uuid[];
    lines private.line_payee[];
    sales public.transactions[];
    highest bigint;
    postings ledger.posting[];
    settled uuid[];
    declined uuid[];
    gone record;
begin
    -- In the order of the payments: what is limited or numbered is handed out in it.
    orders := array(
        select p.order_id from unnest(payments) with ordinality as u (id, no)
        inner join public.payments as p on p.id = u.id
        where p.succeeded_at is null
        order by u.no
    );
    perform private.lock_orders(orders);
    lines := array(select p from private.payees_to_be(orders) as p);
    -- Holds were taken before wallets, as in a checkout that pays from one. What follows looks at what others may have
    -- bought, and they sell through the same wallets; what nobody earns waits for its buyer's.
    perform private.lock_wallets(array(
        select l.payee_id from unnest(lines) as l
        union
        select p.user_id from public.payments as p
        where
            p.id = any (payments)
            and (
                p.provider = 'wallet' or exists (
                    select from public.order_items as i
                    where i.order_id = p.order_id and private.is_platform(i.seller_id)
                )
            )
    ), is_patient);
    delivered := private.deliverable_orders(orders);
    perform private.deliver_orders(delivered);

    select * into strict limits from private.settings;
    with sale as (
        insert into public.transactions (
            buyer_id, seller_id, kind, related_id, order_item_id, payment_id,
            amount_total_cents, amount_fees_cents, amount_tax_cents, amount_commission_cents, amount_seller_cents,
            amount_credits_cents, amount_promotions_cents, currency, commission_bps, seller_tier, payment_processor, payment_method,
            stripe_payment_intent_id, stripe_charge_id, paypal_order_id, paypal_transaction_id,
            release_at, completed_at, free_until, ship_by, release_journal_id
        )
        select
            i.buyer_id, i.seller_id, i.kind, i.item_id, i.id, p.id,
            i.charged_cents, f.fee, i.tax_cents, s.commission - c.credits, s.seller, c.credits, i.promoted_cents, i.currency,
            i.commission_bps, i.seller_tier, p.provider,
            case p.provider when 'stripe' then 'card' when 'paypal' then 'paypal' else 'wallet_balance' end,
            case when p.provider = 'stripe' then p.provider_ref end, case when p.provider = 'stripe' then u.charge end,
            case when p.provider = 'paypal' then p.provider_ref end, case when p.provider = 'paypal' then u.charge end,
            case when k.earned = 'at_payment' and not i.is_shipped then now() + limits.earnings_hold end,
            case when k.earned = 'at_payment' and not i.is_shipped then now() end,
            coalesce(a.free_until, now() + k.free_window), case when i.is_shipped then now() + limits.ship_within end,
            -- Nobody waits for what the platform earns.
            case when f.is_platforms then 0 end
        from unnest(payments, charges) as u (id, charge)
        inner join public.payments as p on p.id = u.id and p.order_id = any (delivered)
        inner join public.order_items as i on i.order_id = p.order_id and i.charged_cents > 0
        inner join private.kinds as k on k.kind = i.kind
        left join public.payables as a on a.id = i.payable_id
        cross join lateral (
            select
                private.is_platform(i.seller_id) as is_platforms,
                case
                    when i.charged_cents = p.amount_cents then p.fee_estimate_cents
                    else (
                        select
                            (private.split_cents(
                                p.fee_estimate_cents, array_agg(o.charged_cents order by o.line_no)
                            ))[count(*) filter (where o.line_no <= i.line_no)]
                        from public.order_items as o
                        where o.order_id = i.order_id and o.charged_cents > 0
                    )
                end as fee
        ) as f
        cross join lateral private.split_line(
            i.charged_cents + i.promoted_cents, i.tax_cents, case when f.is_platforms then 0 else i.shipping_cents end, f.fee,
            case when f.is_platforms then 10000 else i.commission_bps end
        ) as s
        cross join lateral (
            select case when k.proceeds = 'credits' then i.charged_cents - i.tax_cents else 0 end as credits
        ) as c
        returning *
    )

    select array_agg(s), max(s.amount_total_cents) into sales, highest from sale as s;

    if highest > limits.review_sale_above_cents then
        insert into public.sale_reviews (transaction_id, seller_id)
        select s.id, s.seller_id
        from unnest(sales) as s
        where
            s.amount_total_cents > limits.review_sale_above_cents and not private.is_platform(s.seller_id)
            and not private.has_sold_before(s.seller_id, limits.new_seller_period);
    end if;

    with share as (
        select
            s.id as sale_id, l.payee_id, l.share_bps, s.amount_seller_cents, row_number() over payees as no,
            array_agg(l.share_bps::bigint) over payees as shares
        from unnest(sales) as s
        inner join unnest(lines) as l on l.order_item_id = s.order_item_id
        -- Ties of the largest remainder are broken by a hash, as in payee_legs().
        window payees as (
            partition by s.id order by md5(s.order_item_id::text || l.payee_id)
            rows between unbounded preceding and unbounded following
        )
    ),

    part as materialized (
        select
            s.sale_id, s.payee_id, s.share_bps, s.no,
            case
                when s.share_bps = 10000 then s.amount_seller_cents
                else (private.split_cents(s.amount_seller_cents, s.shares))[s.no]
            end as cents
        from share as s
    ),

    payee as (
        insert into public.transaction_payees (transaction_id, payee_id, share_bps, cents, pending_cents)
        select p.sale_id, p.payee_id, p.share_bps, p.cents, p.cents from part as p
    )

    select
        array_agg(row('sale:' || l.sale_id, l.sale_id, l.owner_id, l.account, l.cents, l.leg_no)::ledger.posting)
    into postings
    from (
        select s.id as sale_id, m.owner_id, m.account, m.cents, m.leg_no
        from unnest(sales) as s
        cross join lateral (
            values
            (
                case when s.payment_processor = 'wallet' then s.buyer_id end,
                case when s.payment_processor = 'wallet' then 'available' else 'clearing:' || s.payment_processor end,
                -s.amount_total_cents, 1
            ),
            (null, 'fees:' || s.payment_processor, s.amount_fees_cents, 2),
            (null, 'tax_payable', s.amount_tax_cents, 3),
            (null, 'revenue', s.amount_commission_cents, 4),
            (s.buyer_id, 'credits', s.amount_credits_cents, 5),
            (null, 'promotions', -s.amount_promotions_cents, 6)
        ) as m (owner_id, account, cents, leg_no)
        union all
        select p.sale_id, p.payee_id, 'pending', p.cents, 6 + p.no from part as p
    ) as l
    where l.cents <> 0;
    if postings is not null then
        perform ledger.post_many('sale', postings, 'USD');
        perform private.repay_credits(s.buyer_id)
        from (select distinct u.buyer_id from unnest(sales) as u where u.amount_credits_cents > 0) as s;
    end if;
    with applied as (
        update public.payments as p set
            status = 'succeeded', succeeded_at = now(), charge_id = u.charge, failure_reason = null
        from unnest(payments, charges) as u (id, charge)
        where p.id = u.id and p.order_id = any (delivered)
        returning p.id, u.charge = any (p.declined_charges) as is_declined
    )

    select array_agg(a.id), array_agg(a.id) filter (where a.is_declined) into settled, declined
    from applied as a;
    return query select s.id, 'settled' from unnest(settled) as s (id);
    if cardinality(settled) = cardinality(payments) and declined is null then
        return;
    end if;

    for gone in
        select p.id, u.charge, p.id = any (settled) as is_settled, p.succeeded_at
        from unnest(payments, charges) with ordinality as u (id, charge, no)
        inner join public.payments as p on p.id = u.id
        where (p.id = any (settled)) is not true or p.id = any (declined)
        order by u.no
    loop
        if gone.is_settled then
            perform private.reverse_charge(gone.id, gone.charge);
        else
            payment_id := gone.id;
            outcome := case
                when gone.succeeded_at is not null then 'already_settled'
                else private.give_back(gone.id, gone.charge)
            end;
            return next;
        end if;
    end loop;
end
$function$;

create or replace function private.settle_seats (
    webinar_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform from public.catalog_items as c where c.id = settle_seats.webinar_id for no key update;
    if private.expire_seats(settle_seats.webinar_id) > 0 then
        perform private.fill_seats(settle_seats.webinar_id);
    end if;
end
$function$;

create or replace function private.shows_media (
    id uuid,
    purpose text
)
    returns boolean
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    -- As the caller, whose rights on the thing are those on its picture. Items and articles come on later pages;
    -- plpgsql binds late.
    return case shows_media.purpose
        when 'avatar' then exists (select from public.profiles as p where p.avatar_media_id = shows_media.id)
        when 'banner' then exists (select from public.profiles as p where p.banner_media_id = shows_media.id)
        when 'article' then exists (select from public.articles as a where a.thumbnail_media_id = shows_media.id)
        when 'artwork' then exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
        when 'webinar' then exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
        when 'product' then
            exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
            or exists (select from public.product_pictures as p where p.media_id = shows_media.id)
        when 'service' then
            exists (select from public.catalog_items as c where c.image_media_id = shows_media.id)
            or exists (select from public.portfolio_pieces as p where p.image_media_id = shows_media.id)
        else false
    end;
end
$function$;

create or replace function private.split_refund (
    sale public.transactions,
    amount_cents bigint,
    fee_bearer text default 'seller'::text,
    OUT tax bigint,
    OUT commission bigint,
    OUT fee bigint,
    OUT seller bigint,
    OUT credits bigint,
    OUT promotions bigint
)
    returns record
    language plpgsql
    immutable
    set search_path to ''
    AS $function$
declare
    whole constant bigint := sale.amount_total_cents;
    refunded constant bigint := sale.refunded_cents + amount_cents;
    free constant bigint := coalesce(sale.free_refunded_cents, 0)
        + case when fee_bearer = 'platform' then amount_cents else 0 end;
begin
    tax := (sale.amount_tax_cents * refunded * 2 + whole) / (whole * 2) - sale.refunded_tax_cents;
    credits := 0;
    promotions := (sale.amount_promotions_cents * refunded * 2 + whole) / (whole * 2) - sale.refunded_promotions_cents;
    if private.is_platform(sale.seller_id) then
        fee := 0;
        seller := 0;
        commission := amount_cents - tax;
        -- The fee, which the provider keeps, was the platform's loss from the first.
        if sale.amount_credits_cents > 0 then
            credits := commission;
            commission := 0;
        end if;
        return;
    end if;
    commission := (greatest(sale.amount_commission_cents, 0) * refunded * 2 + whole) / (whole * 2)
    - (greatest(-sale.amount_commission_cents, 0) * free * 2 + whole) / (whole * 2) - sale.refunded_commission_cents;
    fee := case
        when fee_bearer = 'platform'
            then (sale.amount_fees_cents * free * 2 + whole) / (whole * 2) - sale.refunded_fee_cents
        else 0
    end;
    seller := amount_cents + promotions - tax - commission - fee;
end
$function$;

create or replace function private.start_payment (
    payment_id uuid,
    user_id uuid,
    as_session boolean default false,
    success_url text default null::text,
    cancel_url text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt public.payments;
    owned text;
begin
    perform private.require_active(start_payment.user_id);
    select * into attempt from public.payments as p
    where p.id = start_payment.payment_id and p.user_id = start_payment.user_id
    for no key update;
    if attempt.id is null then
        perform private.fail('payment_not_found');
    end if;
    if attempt.provider = 'wallet' or not attempt.is_open
        or attempt.expires_at <= now() or attempt.cancel_requested_at is not null then
        perform private.fail('payment_not_open', attempt.status::text);
    end if;
    if attempt.started_at is not null and attempt.is_session <> as_session then
        perform private.fail(
            'payment_started_otherwise', case when attempt.is_session then 'session' else 'payment_intent' end
        );
    end if;
    -- Bought meanwhile by an order that this one replaced too late: its money would only go back.
    select i.item_id::text into owned from public.order_items as i
    where
        i.order_id = attempt.order_id and i.is_owned_once and exists (
            select from public.purchases as p
            where
                p.owner_id = i.owner_id and p.item_id = i.item_id and p.option_id is not distinct from i.option_id
                and p.revoked_at is null
        )
    order by i.line_no
    limit 1;
    if owned is not null then
        perform private.fail('already_owned', owned);
    end if;
    perform private.fail('payable_not_open', a.id::text)
    from public.order_items as i
    inner join public.payables as a on a.id = i.payable_id and a.status <> 'open'
    where i.order_id = attempt.order_id;
    update public.payments as p set started_at = coalesce(p.started_at, now()), is_session = as_session
    where p.id = attempt.id
    returning * into attempt;
    if as_session and attempt.stripe_session_id is null then
        -- Stripe's least is 30 minutes from the creation, which may be as late as our end, and its most a day.
        insert into private.session_requests as r (payment_id, success_url, cancel_url, expires_at)
        values (
            attempt.id, start_payment.success_url, start_payment.cancel_url,
            least(attempt.expires_at + interval '35 minutes', now() + interval '23 hours 55 minutes')
        )
        on conflict on constraint session_requests_pkey do nothing;
    end if;
    return private.attempt_request(attempt);
end
$function$;

create or replace function private.sweep_offers (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    due uuid;
    swept integer := 0;
begin
    for due in
        select distinct r.webinar_id from (
            select o.webinar_id from public.webinar_registrations as o
            where o.status = 'offered' and o.offer_expires_at <= now()
            order by o.offer_expires_at
            limit max_rows
        ) as r
        order by r.webinar_id
    loop
        perform from public.catalog_items as c where c.id = due for no key update skip locked;
        if found then
            swept := swept + private.expire_seats(due);
            perform private.fill_seats(due);
        end if;
    end loop;
    return swept;
end
$function$;

create or replace function private.sweep_webinars (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
    swept integer := 0;
begin
    for webinar in
        select w.* from public.webinars as w
        where
            w.status = 'upcoming' and w.starts_at <= clock_timestamp()
            or w.status = 'live' and w.ends_at <= clock_timestamp()
        order by w.ends_at
        limit max_rows
        for no key update skip locked
    loop
        perform from public.catalog_items as c where c.id = webinar.id for no key update;
        if webinar.status = 'upcoming' then
            update public.webinars as w set status = 'live' where w.id = webinar.id;
            perform private.expire_seats(webinar.id);
        end if;
        if webinar.ends_at <= clock_timestamp() then
            update public.webinars as w set status = 'ended' where w.id = webinar.id;
        end if;
        swept := swept + 1;
    end loop;
    -- Earned with its end; also what was paid or given back late.
    perform private.complete_lines(d.lines, d.ends_at)
    from (
        select array_agg(t.order_item_id) as lines, w.ends_at
        from public.transactions as t
        inner join public.webinars as w on w.id = t.related_id
        where
            t.kind = 'webinar' and t.completed_at is null and t.status <> 'refunded' and w.status = 'ended'
        group by w.id
        order by w.id
    ) as d;
    return swept;
end
$function$;

create or replace function private.sync_catalog_item()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    entry private.catalog_entry;
    before private.catalog_entry;
    seller_is_active boolean;
begin
    if tg_op = 'DELETE' then
        before := private.catalog_entry(old);
        if before.is_published then
            perform private.count_published_item(before.kind, before.seller_id, -1);
        end if;
        delete from public.catalog_items as c where c.id = old.id;
        return null;
    end if;

    entry := private.catalog_entry(new);
    if tg_op = 'UPDATE' then
        before := private.catalog_entry(old);
        if entry is not distinct from before then
            return null;
        end if;
    end if;

    if tg_op = 'INSERT' or entry.is_published <> before.is_published then
        -- A ban or deletion that is just happening, and the counters below: both start with the profile's row, so the
        -- standing read here stays true until this transaction ends, and nobody waits in a circle.
        select private.author_audience(p) <> 'owner' into seller_is_active
        from public.profiles as p
        where p.id = entry.seller_id
        for no key update;
    end if;

    if tg_op = 'INSERT' then
        insert into public.catalog_items (
            id, kind, seller_id, title, slug, thumbnail_url, price_cents, minimum_price_cents, currency, category, tags,
            stock, is_repeatable, is_browsable, has_seats, requires_shipping, is_featured, is_published,
            is_for_sale, seller_is_active, search, published_at, created_at
        )
        select
            new.id, entry.kind, entry.seller_id, entry.title, entry.slug, entry.thumbnail_url, entry.price_cents,
            entry.minimum_price_cents, entry.currency, entry.category, entry.tags,
            entry.stock, coalesce(entry.is_repeatable, k.is_repeatable), k.is_browsable,
            k.has_seats, coalesce(entry.requires_shipping, false), entry.is_featured, entry.is_published, entry.is_for_sale,
            seller_is_active, private.search_vector(entry.title, entry.tags, entry.body),
            case when entry.is_published then new.created_at end, new.created_at
        from private.kinds as k
        where k.kind = entry.kind;
    else
        update public.catalog_items as c set
            title = entry.title, slug = entry.slug, thumbnail_url = entry.thumbnail_url,
            price_cents = entry.price_cents, minimum_price_cents = entry.minimum_price_cents,
            currency = entry.currency, category = entry.category, tags = entry.tags, stock = entry.stock,
            taken = case
                when entry.stock is distinct from before.stock then private.count_taken(c.id, entry.stock) else c.taken
            end,
            is_repeatable = coalesce(entry.is_repeatable, c.is_repeatable),
            requires_shipping = coalesce(entry.requires_shipping, false), is_featured = entry.is_featured,
            is_published = entry.is_published, is_for_sale = entry.is_for_sale,
            published_at = coalesce(c.published_at, case when entry.is_published then now() end),
            search = case
                when (entry.title, entry.tags, entry.body) is not distinct from (before.title, before.tags, before.body)
                    then c.search
                else private.search_vector(entry.title, entry.tags, entry.body)
            end,
            updated_at = now()
        where c.id = new.id;
    end if;

    if tg_op = 'INSERT' and entry.is_published or entry.is_published <> before.is_published then
        perform private.count_published_item(
            entry.kind, entry.seller_id, case when entry.is_published then 1 else -1 end
        );
    end if;
    return null;
end
$function$;

create or replace function private.take_stock (
    taken_item uuid,
    taken_option uuid,
    pieces integer,
    taker uuid default null::uuid
)
    returns text
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    item public.catalog_items;
    option public.catalog_options;
    aside bigint := 0;
    seated text;
begin
    -- Who gets a seat is the kind's to say, under the lock.
    if pieces > 0 then
        select c.kind into seated from public.catalog_items as c
        where c.id = taken_item and c.has_seats
        for no key update;
        if seated is not null then
            perform private.dispatch_take(seated, array[taken_item], taker);
        end if;
    end if;
    -- The lock is the statement that takes, where nothing else has to be known.
    update public.catalog_items as c set taken = c.taken + case when c.stock > 1 then pieces else 0 end
    where c.id = taken_item and (pieces < 0 or c.is_buyable and (c.taken + pieces <= c.stock) is not false)
    returning * into item;
    if item.id is null then
        select * into item from public.catalog_items as c where c.id = taken_item;
        select * into option from public.catalog_options as o where o.id = taken_option;
        return case
            when item.is_buyable and exists (
                select from private.holds as h
                left join public.catalog_options as o on o.id = h.option_id
                where
                    h.item_id = taken_item and h.order_id is distinct from taker
                    and case
                        when option.is_set_aside then h.option_id = taken_option else o.is_set_aside is not true
                    end
            ) then 'item_reserved'
            when item.is_buyable or item.is_unique or item.is_sold_out then 'item_sold'
            else 'item_not_available'
        end;
    end if;
    if taken_option is not null then
        update public.catalog_options as o set taken = o.taken + case when o.stock is null then 0 else pieces end
        where o.id = taken_option and (pieces < 0 or (o.taken + pieces <= o.stock) is not false)
        returning * into option;
        if option.id is null then
            return case
                when exists (
                    select from private.holds as h
                    where h.option_id = taken_option and h.order_id is distinct from taker
                ) then 'item_reserved'
                else 'item_sold'
            end;
        end if;
    end if;
    if pieces > 0 and item.stock > 1 and option.is_set_aside is not true then
        select coalesce(sum(o.stock - o.taken), 0) into aside from public.catalog_options as o
        where o.item_id = taken_item and o.is_set_aside;
        if item.taken + aside > item.stock then
            return case
                when exists (
                    select from private.holds as h
                    left join public.catalog_options as o on o.id = h.option_id
                    where
                        h.item_id = taken_item and h.order_id is distinct from taker
                        and o.is_set_aside is not true
                ) then 'item_reserved'
                else 'item_sold'
            end;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.take_webinar_time()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if new.status = 'cancelled' then
        perform private.free_time('webinar', array[new.id]);
    else
        perform private.take_time('webinar', new.id, private.webinar_hosts(new.id), new.starts_at, new.ends_at);
    end if;
    return null;
end
$function$;

create or replace function private.tell_review()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(
        case new.side when 'buyer' then new.seller_id else new.buyer_id end, 'review', new.reviewer_id, 'review', new.id
    );
    return null;
end
$function$;

create or replace function private.tell_review_response()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.reviewer_id, 'review_response', new.seller_id, 'review', new.id);
    return null;
end
$function$;

create or replace function private.tip_jar_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    perform private.require_keys(l.details, '{message,item_id}', 'line_not_valid') from unnest(lines) as l;
    return query
    select
        l.no, null::text, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object('message', said.message, 'item_id', about.id)), 0::bigint,
        case when wrong.part is not null then 'line_not_valid' end, wrong.part, 0::bigint, false
    from unnest(lines) as l
    inner join public.tip_jars as j on j.id = l.item_id
    cross join lateral (
        select nullif(private.tidy_body(l.details ->> 'message'), '') as message
    ) as said
    left join public.catalog_items as about
        on
            about.id = case when private.is_uuid(l.details ->> 'item_id') then (l.details ->> 'item_id')::uuid end
            and about.seller_id = j.seller_id and about.is_visible
    cross join lateral (
        select case
            when jsonb_typeof(l.details -> 'message') not in ('string', 'null') or char_length(said.message) > 500
                then 'message: at most 500 characters'
            when l.details ->> 'item_id' is not null and about.id is null then 'item_id: not one of theirs'
        end as part
    ) as wrong;
end
$function$;

create or replace function private.use_new_seats()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.fill_seats(new.id);
    return null;
end
$function$;

create or replace function private.use_pass (
    pass uuid
)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    known private.webinar_passes;
    refusal text;
begin
    select p.* into known
    from private.webinar_passes as p
    inner join public.profiles as m on m.id = p.user_id and m.deleted_at is null and not m.is_banned
    where p.token = use_pass.pass;
    refusal := private.entry_refusal(known.webinar_id, known.user_id);
    if refusal is not null then
        perform private.fail(refusal);
    end if;
    return (
        select jsonb_build_object(
            'webinar_id', w.id, 'title', w.title, 'provider', r.provider, 'room_id', r.room_id, 'link', r.link,
            'user_id', m.id, 'name', coalesce(m.display_name, m.username::text),
            'is_host', private.is_webinar_host(w.id, m.id), 'ends_at', w.ends_at
        )
        from public.webinars as w
        inner join private.webinar_rooms as r on r.webinar_id = w.id
        inner join public.profiles as m on m.id = known.user_id
        where w.id = known.webinar_id
    );
end
$function$;

create or replace function private.visible_webinar (
    webinar_id uuid
)
    returns public.webinars
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
begin
    select w.* into webinar
    from public.webinars as w
    inner join public.catalog_items as c on c.id = w.id
    where
        w.id = visible_webinar.webinar_id and c.is_visible
        and w.host_id <> all(array(select private.blocked_ids()));
    if webinar.id is null then
        perform private.fail('webinar_not_found', visible_webinar.webinar_id::text);
    end if;
    return webinar;
end
$function$;

create or replace function private.vote_as_member (
    review_id uuid,
    is_helpful boolean
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.set_review_vote(vote_as_member.review_id, private.require_member(), vote_as_member.is_helpful);
end
$function$;

create or replace function private.webinar_check_line (
    ids uuid[],
    lines private.wanted_line[]
)
    returns SETOF private.line_facts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return query
    select
        l.no, w.description, null::public.license_type, null::text, null::integer,
        jsonb_build_object('starts_at', w.starts_at, 'time_zone', w.time_zone), 0::bigint,
        case
            when l.details <> '{}' then 'line_not_valid'
            when l.quantity <> 1 then 'quantity_not_allowed'
            when l.unit_price_cents = 0 then 'registration_is_free'
            else f.problem
        end,
        case when l.details <> '{}' then 'details' else f.detail end, 0::bigint, false
    from unnest(lines) as l
    inner join public.webinars as w on w.id = l.item_id
    cross join lateral private.registration_refusal(w, l.buyer_id) as f;
end
$function$;

create or replace function private.webinar_check_option (
    ids uuid[],
    options public.catalog_options[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    if cardinality(options) > 0 then
        perform private.fail('invalid_option', 'a webinar has none');
    end if;
end
$function$;

create or replace function private.webinar_freed (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    freed uuid;
begin
    foreach freed in array ids loop
        update public.webinar_registrations as r set status = 'expired'
        where
            r.webinar_id = freed and r.status = 'held' and not exists (
                select from private.holds as h
                inner join public.orders as o on o.id = h.order_id
                where h.item_id = freed and o.user_id = r.user_id
            );
        perform private.settle_seats(freed);
        perform private.fill_seats(freed);
    end loop;
end
$function$;

create or replace function private.webinar_grant (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    -- What was offered is sold now: the offer's hold ends, taken stays as it is.
    delete from private.holds as h
    using public.purchases as p
    inner join public.webinar_registrations as r on r.webinar_id = p.item_id and r.user_id = p.owner_id
    where p.id = any (ids) and h.webinar_registration_id = r.id;
    insert into public.webinar_registrations as r (webinar_id, user_id, status, purchase_id, confirmed_at)
    select p.item_id, p.owner_id, 'confirmed', p.id, clock_timestamp()
    from public.purchases as p
    where p.id = any (ids)
    order by p.item_id, p.owner_id
    on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
        status = 'confirmed', purchase_id = excluded.purchase_id,
        confirmed_at = excluded.confirmed_at, queue_no = null, offer_expires_at = null;
end
$function$;

create or replace function private.webinar_hosts (
    webinar_id uuid
)
    returns uuid[]
    language sql
    stable
    set search_path to ''
    AS $function$
    select array(
        select w.host_id from public.webinars as w where w.id = webinar_hosts.webinar_id
        union
        select h.user_id from public.webinar_co_hosts as h
        where h.webinar_id = webinar_hosts.webinar_id and h.accepted_at is not null
    )
$function$;

create or replace function private.webinar_refunds (
    webinar_id uuid
)
    returns SETOF private.webinar_refund
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select
        t.payment_id, i.id, r.cents,
        s.seller - (t.amount_seller_cents - t.refunded_seller_cents)
    from public.purchases as p
    inner join public.order_items as i on i.id = p.order_item_id
    inner join public.transactions as t on t.order_item_id = i.id
    inner join public.payments as y on y.id = t.payment_id
    cross join lateral (
        -- What is on its way is not given back twice.
        select least(
            t.amount_total_cents - t.refunded_cents - coalesce((
                select sum(r.amount_cents) from public.refunds as r where r.order_item_id = i.id and r.is_open
            ), 0),
            y.amount_cents - coalesce((
                select sum(r.amount_cents) from public.refunds as r
                where r.payment_id = y.id and (r.is_open or r.status = 'succeeded')
            ), 0)
        ) as cents
    ) as r
    cross join lateral private.split_refund(t, t.amount_total_cents - t.refunded_cents, 'seller') as s
    where p.item_id = webinar_refunds.webinar_id and p.kind = 'webinar' and p.revoked_at is null and r.cents > 0
    order by t.payment_id, i.id
$function$;

create or replace function private.webinar_restore (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    back record;
begin
    for back in
        select r.id, r.webinar_id, p.id as purchase_id, c.taken > c.stock as is_over
        from public.purchases as p
        inner join public.webinar_registrations as r on r.webinar_id = p.item_id and r.user_id = p.owner_id
        inner join public.catalog_items as c on c.id = p.item_id
        inner join public.webinars as w on w.id = p.item_id and w.status <> 'cancelled'
        where p.id = any (ids)
        order by r.id
    loop
        -- Registered again meanwhile, waiting or with an offer: that ends, this is theirs.
        perform private.give_up_seat(back.id, 'expired')
        from public.webinar_registrations as r
        where r.id = back.id and r.status in ('waiting', 'offered');
        update public.webinar_registrations as r set
            status = 'confirmed', purchase_id = back.purchase_id,
            confirmed_at = coalesce(r.confirmed_at, clock_timestamp())
        where r.id = back.id;
        if back.is_over then
            perform private.audit(
                'overbooked_by_failed_refund', 'webinar', back.webinar_id,
                jsonb_build_object('registration_id', back.id, 'purchase_id', back.purchase_id)
            );
        end if;
    end loop;
end
$function$;

create or replace function private.webinar_revoke (
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    freed uuid;
begin
    update public.webinar_registrations as r set
        status = case when reason in ('refunded', 'declined') then 'refunded' else 'cancelled' end
            ::public.registration_status
    where r.purchase_id = any (ids) and r.status = 'confirmed';
    for freed in
        select distinct p.item_id from public.purchases as p where p.id = any (ids) order by p.item_id
    loop
        perform private.settle_seats(freed);
        perform private.fill_seats(freed);
    end loop;
end
$function$;

create or replace function private.webinar_state (
    webinar public.webinars
)
    returns public.webinar_status
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return case
        when webinar.status in ('ended', 'cancelled') then webinar.status
        when webinar.ends_at <= clock_timestamp() then 'ended'
        when webinar.starts_at <= clock_timestamp() then 'live'
        else webinar.status
    end;
end
$function$;

create or replace function private.webinar_take (
    ids uuid[],
    taker uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    buyer uuid := (select o.user_id from public.orders as o where o.id = taker);
    wanted uuid;
    taken_by uuid;
begin
    foreach wanted in array ids loop
        perform private.settle_seats(wanted);
        if not exists (
            select from public.webinars as w
            where w.id = wanted and w.status = 'upcoming' and w.starts_at > clock_timestamp()
        ) then
            perform private.fail('webinar_not_open', wanted::text);
        elsif exists (
            select from public.webinar_registrations as r where r.webinar_id = wanted and r.status = 'waiting'
        ) or exists (
            select from public.catalog_items as c where c.id = wanted and c.taken >= c.stock
        ) then
            perform private.fail('webinar_full', wanted::text);
        end if;
        insert into public.webinar_registrations as r (webinar_id, user_id, status)
        values (wanted, buyer, 'held')
        on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
            status = 'held', purchase_id = null
        where r.status in ('cancelled', 'refunded', 'expired') and not r.was_removed
        returning r.id into taken_by;
        if taken_by is null then
            perform private.fail('already_registered', wanted::text);
        end if;
    end loop;
end
$function$;

create or replace function private.webinars_without_host (
    max_rows integer
)
    returns SETOF uuid
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select w.id from public.webinars as w
    inner join public.profiles as p on p.id = w.host_id and (p.is_banned or p.deleted_at is not null)
    where w.status = 'upcoming' and w.starts_at > now()
    order by w.starts_at
    limit max_rows
$function$;

create or replace function public.answer_co_hosting (
    webinar_id uuid,
    accept boolean
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    webinar public.webinars;
begin
    if not exists (
        select from public.webinar_co_hosts as h
        where h.webinar_id = answer_co_hosting.webinar_id and h.user_id = member
    ) then
        perform private.fail('webinar_not_found', answer_co_hosting.webinar_id::text);
    end if;
    webinar := private.lock_webinar(answer_co_hosting.webinar_id);
    if accept then
        if private.webinar_state(webinar) <> 'upcoming' then
            perform private.fail('state_changed', format('webinar %s', private.webinar_state(webinar)));
        elsif private.has_seat(webinar.id, member) then
            perform private.fail('already_registered');
        end if;
        update public.webinar_co_hosts as h set accepted_at = clock_timestamp()
        where h.webinar_id = webinar.id and h.user_id = member and h.accepted_at is null;
    else
        delete from public.webinar_co_hosts as h where h.webinar_id = webinar.id and h.user_id = member;
    end if;
    if private.webinar_state(webinar) <> 'cancelled' then
        perform private.take_time(
            'webinar', webinar.id, private.webinar_hosts(webinar.id), webinar.starts_at, webinar.ends_at
        );
    end if;
    return accept;
end
$function$;

revoke all on function public.answer_co_hosting(uuid, boolean) from public, anon, service_role;

create or replace function public.answer_resolution (
    request_id uuid,
    accept boolean
)
    returns public.resolution_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    act record;
    request public.resolution_requests;
    answered public.service_orders;
begin
    select r.* into request from public.resolution_requests as r
    inner join public.service_orders as o on o.id = r.service_order_id and member in (o.buyer_id, o.seller_id)
    where r.id = answer_resolution.request_id;
    if request.id is null then
        perform private.fail('resolution_not_found', answer_resolution.request_id::text);
    end if;
    select * into act from private.begin_service_act(
        request.service_order_id, case request.kind when 'extend' then 'extend' else 'settle' end
    );
    answered := act.acted;
    select * into strict request from public.resolution_requests as r where r.id = request.id for no key update;
    if request.asking_side = act.actor then
        perform private.fail('not_your_part', case act.actor when 'buyer' then 'seller' else 'buyer' end);
    elsif public.effective_status(request) <> 'open' then
        perform private.fail('state_changed', 'resolution_request ' || public.effective_status(request));
    end if;
    -- Before the order ends, which ends what is open about it.
    update public.resolution_requests as r set
        status = case when accept then 'accepted' else 'declined' end::public.resolution_status,
        answered_at = clock_timestamp()
    where r.id = request.id
    returning * into request;
    if accept is not true then
        perform private.write_service_order(answered, 'decline_' || request.kind, act.actor, member);
    elsif request.kind = 'extend' then
        answered.delivery_days := answered.delivery_days + request.days;
        answered.due_at := answered.due_at + request.days * interval '24 hours';
        answered.cancel_after := answered.due_at + (select s.service_late_period from private.settings as s);
        perform private.write_service_order(answered, 'extend', act.actor, member);
    else
        answered.is_rated := answered.is_rated and answered.status <> 'awaiting_requirements';
        perform private.give_service_back(
            answered, request.refund_cents, 'settle', act.actor, member, request.reason
        );
    end if;
    perform private.tell_service_order(answered, 'service_answer', act.actor = 'seller', act.actor = 'buyer');
    return request;
end
$function$;

revoke all on function public.answer_resolution(uuid, boolean) from public, anon, service_role;

create or replace function public.cancel_registration (
    webinar_id uuid
)
    returns public.webinar_registrations
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
begin
    return private.end_seat(cancel_registration.webinar_id, member, false, 'automatic', 'cancelled_by_buyer');
end
$function$;

revoke all on function public.cancel_registration(uuid) from public, anon, service_role;

create or replace function public.cancel_webinar (
    webinar_id uuid,
    reason text,
    agreed_cost_cents bigint
)
    returns public.webinar_cancellation
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    is_host boolean := private.is_webinar_host(cancel_webinar.webinar_id, member, false);
    webinar public.webinars;
    cost public.webinar_cancellation;
    words text;
begin
    if not is_host and not private.is_admin() then
        perform private.fail('webinar_not_found', cancel_webinar.webinar_id::text);
    end if;
    words := private.require_reason(cancel_webinar.reason);
    perform private.lock_webinar_sales(cancel_webinar.webinar_id);
    select * into strict webinar from public.webinars as w where w.id = cancel_webinar.webinar_id;
    if private.webinar_state(webinar) <> 'upcoming' then
        perform private.fail('state_changed', format('webinar %s', private.webinar_state(webinar)));
    end if;
    cost := private.cancellation_of(webinar.id);
    if cost.host_cost_cents is distinct from agreed_cost_cents then
        perform private.fail('cost_changed', cost.host_cost_cents::text);
    end if;
    perform private.end_webinar(webinar.id, words);
    if not is_host then
        perform private.audit('cancel_webinar', 'webinar', webinar.id, jsonb_build_object(
            'reason', words, 'refunds', cost.refunds_count, 'refund_cents', cost.refund_cents
        ));
    end if;
    return cost;
end
$function$;

revoke all on function public.cancel_webinar(uuid, text, bigint) from public, anon, service_role;

create or replace function public.checkout (
    items jsonb default null::jsonb,
    provider public.payment_provider default 'stripe'::public.payment_provider,
    idempotency_key text default null::text,
    shipping_address jsonb default null::jsonb,
    notes text default null::text,
    coupon_codes text[] default null::text[]
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    wanted jsonb := nullif(checkout.items, 'null'::jsonb);
    wanted_address jsonb := private.checked_address(checkout.shipping_address);
    earlier jsonb;
    lines private.order_line[];
    line private.order_line;
    new_order uuid := gen_random_uuid();
begin
    -- One checkout of a buyer at a time: a double click, two tabs, or the same key twice line up here.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    if not private.is_note(private.tidy_body(checkout.notes)) then
        perform private.fail('invalid_checkout', 'notes: at most 2,000 characters');
    end if;

    -- What is asked for: the given items, or the cart with what it showed.
    if wanted is null then
        wanted := private.cart_lines(buyer);
        -- A cart that was paid for is empty: the same request again would look like another one.
        select k.answer into earlier from private.request_keys as k
        inner join public.orders as o on o.id = (k.answer ->> 'order_id')::uuid and o.completed_at is not null
        where k.caller = buyer and k.purpose = 'checkout' and k.key = checkout.idempotency_key;
        if earlier -> 'items' @> wanted then
            wanted := earlier -> 'items';
        end if;
    else
        wanted := private.asked_lines(wanted);
    end if;

    -- Where a retry ends: the order that was made, whatever has become of it.
    if checkout.idempotency_key is not null then
        earlier := private.claim_request(
            buyer, 'checkout', checkout.idempotency_key,
            jsonb_build_object(
                'items', (
                    select jsonb_agg(
                        w.line - 'shown_price_cents'
                        order by w.line ->> 'item_id', w.line ->> 'option_id', (w.line -> 'details')::text
                    )
                    from jsonb_array_elements(wanted) as w (line)
                ),
                'provider', checkout.provider, 'shipping_address', wanted_address, 'notes', checkout.notes
            ) || case
                when cardinality(checkout.coupon_codes) > 0
                    then jsonb_build_object('coupon_codes', checkout.coupon_codes)
                else '{}'
            end
        );
        if earlier is not null then
            return private.order_summary((earlier ->> 'order_id')::uuid);
        end if;
    end if;
    if checkout.provider is null or checkout.provider = 'paypal' then
        perform private.fail('provider_not_available', checkout.provider::text);
    end if;
    if jsonb_array_length(wanted) = 0 then
        perform private.fail('empty_checkout');
    elsif jsonb_array_length(wanted) > 50 then
        perform private.fail('too_many_items', jsonb_array_length(wanted)::text);
    end if;

    lines := private.read_lines(buyer, wanted, private.country_of(wanted_address));
    foreach line in array lines loop
        if line.problem is not null then
            perform private.fail(line.problem, line.detail);
        end if;
    end loop;
    if cardinality(checkout.coupon_codes) > 0 then
        lines := private.discounted_lines(buyer, lines, checkout.coupon_codes);
    end if;
    if checkout.idempotency_key is not null then
        perform private.answer_request(
            buyer, 'checkout', checkout.idempotency_key, jsonb_build_object('order_id', new_order, 'items', wanted)
        );
    end if;
    return private.place_order(new_order, buyer, lines, checkout.provider, wanted_address, checkout.notes);
end
$function$;

revoke all
    on function public.checkout(jsonb, public.payment_provider, text, jsonb, text, text[])
    from public, anon, service_role;

create or replace function public.checkout_payable (
    payable_id uuid,
    provider public.payment_provider default 'stripe'::public.payment_provider,
    idempotency_key text default null::text,
    shipping_address jsonb default null::jsonb,
    notes text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    wanted_address jsonb := private.checked_address(checkout_payable.shipping_address);
    earlier jsonb;
    agreed public.payables;
    item public.catalog_items;
    new_order uuid := gen_random_uuid();
begin
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    if not private.is_note(private.tidy_body(checkout_payable.notes)) then
        perform private.fail('invalid_checkout', 'notes: at most 2,000 characters');
    end if;
    earlier := private.claim_request(
        buyer, 'checkout_payable', checkout_payable.idempotency_key,
        jsonb_build_object(
            'payable_id', checkout_payable.payable_id, 'provider', checkout_payable.provider,
            'shipping_address', wanted_address, 'notes', checkout_payable.notes
        )
    );
    if earlier is not null then
        return private.order_summary((earlier #>> '{}')::uuid);
    end if;
    if checkout_payable.provider is null or checkout_payable.provider = 'paypal' then
        perform private.fail('provider_not_available', checkout_payable.provider::text);
    end if;
    -- Payments before payables, as settlement locks them.
    perform from public.payments as p
    where
        p.user_id = buyer and p.is_open
        and p.order_id in (
            select i.order_id from public.order_items as i where i.payable_id = checkout_payable.payable_id
        )
    order by p.id
    for no key update;
    select * into agreed from public.payables as p
    where p.id = checkout_payable.payable_id and p.buyer_id = buyer
    for no key update;
    if agreed.id is null or agreed.status <> 'open' or agreed.pay_by <= clock_timestamp() then
        perform private.fail('payable_not_open', checkout_payable.payable_id::text);
    end if;
    select * into item from public.catalog_items as c where c.id = agreed.item_id for key share;
    if item.requires_shipping and private.country_of(wanted_address) is null then
        perform private.fail('address_required', agreed.item_id::text);
    end if;
    perform private.answer_request(
        buyer, 'checkout_payable', checkout_payable.idempotency_key, to_jsonb(new_order)
    );
    return private.place_order(
        new_order, buyer,
        array[row(
            1, agreed.kind, agreed.item_id, null, agreed.id, agreed.seller_id, agreed.title, null, null, null, null,
            agreed.details, agreed.amount_cents, 1, 0, agreed.shipping_cents, agreed.seller_tier, agreed.commission_bps,
            false, false, false, coalesce(item.has_seats, false), coalesce(item.requires_shipping, false), null, null,
            null, 0, null, null, null, null
        )::private.order_line],
        checkout_payable.provider, wanted_address, checkout_payable.notes, agreed.pay_by
    );
end
$function$;

create or replace function public.claim_gift (
    code text
)
    returns public.gifts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    gift public.gifts;
    bought public.order_items;
begin
    select g.* into gift from private.gift_codes as c
    inner join public.gifts as g on g.id = c.gift_id
    where c.code_hash = sha256(convert_to(lower(btrim(claim_gift.code)), 'UTF8'));
    if gift.id is not null then
        gift := private.lock_gift(gift.id);
        select * into bought from public.order_items as i where i.id = private.gift_line(gift.id);
    end if;
    -- Taken back, refused, claimed before, mailed anew since, from somebody blocked: there is no such gift.
    if gift.id is null or gift.status <> 'waiting' or bought.id is null or not exists (
        select from private.gift_codes as c
        where c.gift_id = gift.id and c.code_hash = sha256(convert_to(lower(btrim(claim_gift.code)), 'UTF8'))
    ) or exists (select from private.blocked_ids() as b (id) where b.id in (gift.payer_id, bought.seller_id)) then
        perform private.fail('gift_not_found');
    elsif bought.seller_id = member then
        perform private.fail('own_item', bought.item_id::text);
    elsif bought.is_owned_once and exists (
        select from public.purchases as p
        where
            p.owner_id = member and p.item_id = bought.item_id and p.revoked_at is null
            and p.option_id is not distinct from bought.option_id
    ) then
        perform private.fail('already_owned', bought.item_id::text);
    end if;
    begin
        update public.purchases as p set
            owner_id = member,
            -- What comes on top does not matter to whoever has it.
            is_owned_once = p.is_owned_once
                and (p.item_id = bought.item_id or not private.owns_item(member, p.item_id))
        where p.order_item_id = bought.id and p.owner_id is null;
    exception when unique_violation then
        -- Bought in the same instant.
        perform private.fail('already_owned', bought.item_id::text);
    end;
    update public.gifts as g set status = 'given', receiver_id = member, given_at = now(), claimed_at = now()
    where g.id = gift.id
    returning * into gift;
    update private.gift_codes as c set email = null, code_hash = null, mail_due_at = null where c.gift_id = gift.id;
    perform private.dispatch_give(bought.kind, array(
        select p.id from public.purchases as p where p.order_item_id = bought.id and p.revoked_at is null
    ));
    perform private.notify(gift.payer_id, 'gift_claimed', null, 'gift', gift.id);
    return gift;
end
$function$;

revoke all on function public.claim_gift(text) from public, anon, service_role;

create or replace function public.convert_recording (
    webinar_id uuid,
    price_cents bigint default 0,
    title text default null::text
)
    returns public.products
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    webinar public.webinars := private.require_ended(convert_recording.webinar_id);
    product public.products;
begin
    select * into product from public.products as p where p.source_webinar_id = webinar.id;
    if product.id is not null then
        return product;
    end if;
    insert into public.products (
        seller_id, title, description, product_type, source_webinar_id, price_cents, category_id, tags, thumbnail_url
    ) values (
        webinar.host_id, coalesce(convert_recording.title, webinar.title), webinar.description, 'recorded_webinar',
        webinar.id, coalesce(convert_recording.price_cents, 0), webinar.category_id, webinar.tags,
        -- A copy of the webinar's own picture goes with it.
        case when webinar.image_media_id is null then webinar.thumbnail_url end
    ) returning * into product;
    insert into private.recording_grants (product_id) values (product.id);
    perform private.grant_recording(product.id, 200);
    return product;
end
$function$;

revoke all on function public.convert_recording(uuid, bigint, text) from public, anon, service_role;

create or replace function public.decide_dispute (
    service_order_id uuid,
    refund_cents bigint,
    note text
)
    returns public.service_orders
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    decided public.service_orders;
    words text := private.require_reason(decide_dispute.note);
begin
    decided := private.lock_service_order(decide_dispute.service_order_id);
    if decided.id is null then
        perform private.fail('service_order_not_found', decide_dispute.service_order_id::text);
    elsif admin in (decided.buyer_id, decided.seller_id) then
        perform private.fail('own_dispute');
    elsif decided.status <> 'disputed' then
        perform private.fail('state_changed', 'service_order ' || decided.status);
    elsif decided.frozen_at is not null then
        perform private.fail('order_frozen', decided.id::text);
    elsif decide_dispute.refund_cents is null then
        perform private.fail('refund_amount_invalid');
    end if;
    -- The order's own history says that an admin decided, audit_log which one.
    if decide_dispute.refund_cents = 0 then
        decided := private.complete_service_order(decided, 'decide', 'admin', null, clock_timestamp(), words);
    else
        decided := private.give_service_back(decided, decide_dispute.refund_cents, 'decide', 'admin', null, words);
    end if;
    perform private.audit('decide_dispute', 'service_order', decided.id, jsonb_build_object(
        'refund_cents', decide_dispute.refund_cents, 'note', words
    ));
    return decided;
end
$function$;

revoke all on function public.decide_dispute(uuid, bigint, text) from public, anon, service_role;

create or replace function public.decide_review (
    review_id uuid,
    approve boolean
)
    returns public.reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    review public.reviews := private.lock_review(decide_review.review_id);
    decision public.review_status := case
        when not coalesce(approve, false) then 'rejected'
        when review.publish_at > clock_timestamp() then 'blind'
        else 'published'
    end;
begin
    if review.status not in ('pending', 'rejected') or review.status = decision then
        perform private.fail('state_changed', 'review ' || review.status);
    end if;
    update public.reviews as r set
        status = decision, published_at = case when decision = 'published' then clock_timestamp() end
    where r.id = review.id;
    perform private.audit('decide_review', 'review', review.id, jsonb_build_object('status', decision));
    select * into review from public.reviews as r where r.id = decide_review.review_id;
    return review;
end
$function$;

revoke all on function public.decide_review(uuid, boolean) from public, anon, service_role;

create or replace function public.decline_order_extra (
    extra_id uuid
)
    returns public.service_order_extras
    language sql
    security definer
    set search_path to ''
    AS $function$
    select private.end_order_extra(decline_order_extra.extra_id, 'buyer', 'declined')
$function$;

revoke all on function public.decline_order_extra(uuid) from public, anon, service_role;

create or replace function public.delete_review (
    review_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    review public.reviews := private.lock_review(delete_review.review_id, private.require_member());
begin
    -- Else it would be written again where it was taken down.
    if review.is_hidden or review.status = 'rejected' then
        perform private.fail('review_hidden', review.id::text);
    end if;
    delete from public.reviews as r where r.id = review.id;
end
$function$;

revoke all on function public.delete_review(uuid) from public, anon, service_role;

create or replace function public.dispute_messages (
    service_order_id uuid,
    after integer default 0,
    max_rows integer default 100
)
    returns SETOF public.dispute_message
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    its public.service_orders;
begin
    perform private.require_admin();
    select * into its from public.service_orders as o where o.id = dispute_messages.service_order_id;
    if its.id is null then
        perform private.fail('service_order_not_found', dispute_messages.service_order_id::text);
    elsif its.status <> 'disputed' then
        perform private.fail('state_changed', 'service_order ' || its.status);
    end if;
    perform private.audit('read_dispute', 'service_order', its.id);
    return query
    select m.id, m.number, m.sender_id, m.content, m.attachments, m.created_at
    from public.messages as m
    inner join public.conversations as c on c.id = m.conversation_id and c.service_order_id = its.id
    where m.number > coalesce(after, 0) and not m.is_deleted
    order by m.number
    limit private.page_size(max_rows);
end
$function$;

revoke all on function public.dispute_messages(uuid, integer, integer) from public, anon, service_role;

create or replace function public.edit_review (
    review_id uuid,
    rating integer,
    review_text text default null::text
)
    returns public.reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    review public.reviews := private.lock_review(edit_review.review_id, private.require_member());
    was_shown boolean := review.status = 'published';
    said text := nullif(private.tidy_body(edit_review.review_text), '');
begin
    if review.is_hidden then
        perform private.fail('review_hidden', review.id::text);
    elsif (review.rating, review.review_text) is not distinct from (edit_review.rating, said) then
        return review;
    end if;
    if was_shown then
        -- What was called helpful is not there any more.
        delete from public.review_votes as v where v.review_id = review.id;
    end if;
    update public.reviews as r set
        rating = edit_review.rating, review_text = said, version = r.version + was_shown::integer,
        edited_at = case when was_shown then now() else r.edited_at end,
        status = case r.status when 'rejected' then 'pending' else r.status end
    where r.id = review.id;
    select * into review from public.reviews as r where r.id = edit_review.review_id;
    return review;
end
$function$;

revoke all on function public.edit_review(uuid, integer, text) from public, anon, service_role;

create or replace function public.effective_status (
    request public.resolution_requests
)
    returns public.resolution_status
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return case
        when request.status = 'open' and (
            request.answer_by <= clock_timestamp()
            -- With the order ends what is open about it.
            or exists (
                select from public.service_orders as o
                where o.id = request.service_order_id and public.effective_status(o) = 'completed'
            )
        ) then 'expired'
        else request.status
    end;
end
$function$;

revoke all on function public.effective_status(public.resolution_requests) from public, anon;

create or replace function public.invite_co_host (
    webinar_id uuid,
    user_id uuid
)
    returns public.webinar_co_hosts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    host uuid := private.require_host(invite_co_host.webinar_id, false);
    webinar public.webinars := private.lock_webinar(invite_co_host.webinar_id);
    invited public.webinar_co_hosts;
begin
    if private.webinar_state(webinar) <> 'upcoming' then
        perform private.fail('state_changed', format('webinar %s', private.webinar_state(webinar)));
    elsif not (private.seller_plan(host)).features ? 'webinar-co-hosts' then
        perform private.fail('plan_required', 'webinar-co-hosts');
    elsif
        invite_co_host.user_id = host or private.is_platform(invite_co_host.user_id)
        or private.can_see(invite_co_host.user_id) is not true
    then
        perform private.fail('user_not_found', invite_co_host.user_id::text);
    elsif 10 <= (select count(*) from public.webinar_co_hosts as h where h.webinar_id = webinar.id) then
        perform private.fail('too_many_co_hosts');
    end if;
    insert into public.webinar_co_hosts as h (webinar_id, user_id)
    values (webinar.id, invite_co_host.user_id)
    on conflict on constraint webinar_co_hosts_pkey do nothing
    returning * into invited;
    if invited.user_id is null then
        perform private.fail('already_invited');
    end if;
    perform private.notify(invited.user_id, 'webinar_co_host', host, 'webinar', webinar.id);
    return invited;
end
$function$;

revoke all on function public.invite_co_host(uuid, uuid) from public, anon, service_role;

create or replace function public.item_reviews (
    item_id uuid,
    sort text default 'helpful'::text,
    rating integer default null::integer,
    after_helpful_count integer default null::integer,
    after_created_at timestamp with time zone default null::timestamp with time zone,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.reviews
    language plpgsql
    stable
    rows 20
    set search_path to ''
    AS $function$
begin
    if sort = 'helpful' then
        return query
        select r.* from public.reviews as r
        where
            r.item_id = item_reviews.item_id and r.side = 'buyer'
            and (item_reviews.rating is null or r.rating = item_reviews.rating)
            and (
                after_helpful_count is null
                or (r.helpful_count, r.id) < (after_helpful_count, coalesce(after_id, private.last_uuid()))
            )
        order by r.helpful_count desc, r.id desc
        limit private.page_size(max_rows);
    elsif sort = 'newest' then
        return query
        select r.* from public.reviews as r
        where
            r.item_id = item_reviews.item_id and r.side = 'buyer'
            and (item_reviews.rating is null or r.rating = item_reviews.rating)
            and (
                after_created_at is null
                or (r.created_at, r.id) < (after_created_at, coalesce(after_id, private.last_uuid()))
            )
        order by r.created_at desc, r.id desc
        limit private.page_size(max_rows);
    else
        perform private.fail('invalid_sort', left(sort, 100));
    end if;
end
$function$;

revoke all
    on function public.item_reviews(uuid, text, integer, integer, timestamp with time zone, uuid, integer)
    from public, service_role;

create or replace function public.join_waiting_list (
    webinar_id uuid
)
    returns public.webinar_registrations
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    webinar public.webinars := private.visible_webinar(join_waiting_list.webinar_id);
    refusal record;
    registration public.webinar_registrations;
begin
    perform private.settle_seats(webinar.id);
    select * into strict webinar from public.webinars as w where w.id = webinar.id;
    select * into refusal from private.registration_refusal(webinar, member);
    if refusal.problem is not null then
        perform private.fail(refusal.problem, refusal.detail);
    end if;
    if not exists (
        select from public.webinar_registrations as r where r.webinar_id = webinar.id and r.status = 'waiting'
    ) and exists (
        select from public.catalog_items as c where c.id = webinar.id and c.taken < c.stock
    ) then
        perform private.fail('seats_available', webinar.id::text);
    end if;
    insert into public.webinar_registrations as r (webinar_id, user_id, status, queue_no)
    values (webinar.id, member, 'waiting', nextval('private.queue_numbers'))
    on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
        status = 'waiting', queue_no = excluded.queue_no, purchase_id = null
    where r.status in ('cancelled', 'refunded', 'expired')
    returning * into registration;
    if registration.id is null then
        perform private.fail('already_registered', webinar.id::text);
    end if;
    return registration;
end
$function$;

revoke all on function public.join_waiting_list(uuid) from public, anon, service_role;

create or replace function public.join_webinar (
    webinar_id uuid
)
    returns public.webinar_pass
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    refusal text := private.entry_refusal(join_webinar.webinar_id, member);
    pass uuid;
begin
    if refusal is not null then
        perform private.fail(refusal, join_webinar.webinar_id::text);
    end if;
    insert into private.webinar_passes (webinar_id, user_id) values (join_webinar.webinar_id, member)
    on conflict on constraint webinar_passes_webinar_id_user_id_key do nothing;
    select p.token into strict pass from private.webinar_passes as p
    where p.webinar_id = join_webinar.webinar_id and p.user_id = member;
    return (
        select row(
            private.workers_link('/functions/v1/webinars/enter?pass=' || pass),
            w.starts_at - s.join_before, w.ends_at, private.is_webinar_host(w.id, member)
        )::public.webinar_pass
        from public.webinars as w
        cross join private.settings as s
        where w.id = join_webinar.webinar_id
    );
end
$function$;

revoke all on function public.join_webinar(uuid) from public, anon, service_role;

create or replace function public.mail_gift (
    gift_id uuid,
    email text default null::text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    perform private.count_activity('gift_mail', 1);
    if (lower(btrim(mail_gift.email)) ~ '^[^@\s<>,;"]{1,64}@[^@\s<>,;"]{1,190}$') is false then
        perform private.fail('invalid_checkout', 'email');
    end if;
    update private.gift_codes as c set
        email = coalesce(lower(btrim(mail_gift.email)), c.email), mail_due_at = now(), attempts = 0, code_hash = null
    from public.gifts as g
    where c.gift_id = mail_gift.gift_id and g.id = c.gift_id and g.payer_id = member and g.status = 'waiting';
    if not found then
        perform private.fail('gift_not_found');
    end if;
end
$function$;

revoke all on function public.mail_gift(uuid, text) from public, anon, service_role;

create or replace function public.mark_attendance (
    webinar_id uuid,
    user_ids uuid[]
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
    stranger uuid;
    marked integer;
begin
    perform private.require_host(mark_attendance.webinar_id, true);
    if cardinality(mark_attendance.user_ids) > 1000 then
        perform private.fail('too_many_people');
    end if;
    webinar := private.lock_webinar(mark_attendance.webinar_id);
    if webinar.status = 'cancelled' or webinar.starts_at > clock_timestamp() then
        perform private.fail('state_changed', format('webinar %s', private.webinar_state(webinar)));
    end if;
    -- Who may be there is asked first, then whether somebody said so already.
    select u.id into stranger from unnest(mark_attendance.user_ids) as u (id)
    where not exists (
        select from public.webinar_registrations as r
        where r.webinar_id = webinar.id and r.user_id = u.id and r.status = 'confirmed'
    )
    limit 1;
    if stranger is not null then
        perform private.fail('registration_not_found', stranger::text);
    end if;
    update public.webinar_registrations as r set attended_at = clock_timestamp()
    where r.webinar_id = webinar.id and r.user_id = any (mark_attendance.user_ids) and r.attended_at is null;
    get diagnostics marked = row_count;
    update public.webinars as w set attendees_count = w.attendees_count + marked
    where w.id = webinar.id and marked > 0;
    return marked;
end
$function$;

revoke all on function public.mark_attendance(uuid, uuid[]) from public, anon, service_role;

create or replace function public.offer_order_extra (
    service_order_id uuid,
    title text,
    price_cents bigint,
    delivery_days integer
)
    returns public.service_order_extras
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    act record;
    made public.service_order_extras;
begin
    select * into act from private.begin_service_act(offer_order_extra.service_order_id, 'offer_extra');
    if (
        select count(*) from public.service_order_extras as e where e.service_order_id = (act.acted).id
    ) >= 20 then
        perform private.fail('too_many_order_extras');
    end if;
    insert into public.service_order_extras (service_order_id, seller_id, title, price_cents, delivery_days)
    values (
        (act.acted).id, (act.acted).seller_id, offer_order_extra.title, offer_order_extra.price_cents,
        coalesce(offer_order_extra.delivery_days, 0)
    ) returning * into made;
    update public.service_order_extras as e set
        payable_id = private.add_payable(row(
            null, 'service_extra', made.id, 1, (act.acted).buyer_id, (act.acted).seller_id, made.title, null,
            made.price_cents, 0, null, null, null, null, null, null, null, null, null
        )::public.payables)
    where e.id = made.id
    returning * into made;
    perform private.write_service_order(act.acted, 'offer_extra', act.actor, auth.uid(), null, made.title);
    perform private.tell_service_order(act.acted, 'service_proposal', true, false);
    return made;
end
$function$;

revoke all on function public.offer_order_extra(uuid, text, bigint, integer) from public, anon, service_role;

create or replace function public.open_dispute (
    service_order_id uuid,
    reason text
)
    returns public.service_orders
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    act record;
    disputed public.service_orders;
    words text := private.require_reason(open_dispute.reason);
begin
    select * into act from private.begin_service_act(service_order_id, 'open_dispute');
    disputed := private.pause_service_order(act.acted);
    disputed.disputing_side := act.actor;
    disputed := private.write_service_order(disputed, 'open_dispute', act.actor, auth.uid(), null, words);
    perform private.tell_service_order(disputed, 'service_disputed', act.actor = 'seller', act.actor = 'buyer');
    return disputed;
end
$function$;

revoke all on function public.open_dispute(uuid, text) from public, anon, service_role;

create or replace function public.propose_cancellation (
    service_order_id uuid,
    refund_cents bigint,
    reason text
)
    returns public.resolution_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    act record;
    made public.resolution_requests;
    words text := private.require_reason(propose_cancellation.reason);
    whole bigint;
begin
    select * into act from private.begin_service_act(service_order_id, 'propose_cancellation');
    select coalesce(sum(s.remaining), 0) into whole
    from private.refundable(private.service_order_lines((act.acted).id)) as s;
    if propose_cancellation.refund_cents is null or propose_cancellation.refund_cents not between 0 and whole then
        perform private.fail('refund_amount_invalid', format('at most %s cents', whole));
    end if;
    made.service_order_id := (act.acted).id;
    made.kind := 'cancel';
    made.asking_side := act.actor;
    made.refund_cents := propose_cancellation.refund_cents;
    made.reason := words;
    made := private.propose_resolution(made);
    perform private.write_service_order(
        act.acted, 'propose_cancellation', act.actor, auth.uid(), made.refund_cents, words
    );
    perform private.tell_service_order(act.acted, 'service_proposal', act.actor = 'seller', act.actor = 'buyer');
    return made;
end
$function$;

revoke all on function public.propose_cancellation(uuid, bigint, text) from public, anon, service_role;

create or replace function public.propose_extension (
    service_order_id uuid,
    days integer,
    reason text
)
    returns public.resolution_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    act record;
    made public.resolution_requests;
    words text := private.require_reason(propose_extension.reason);
begin
    select * into act from private.begin_service_act(service_order_id, 'propose_extension');
    if (act.acted).due_at + propose_extension.days * interval '24 hours' > (act.acted).revise_until then
        perform private.fail('extension_too_long', (act.acted).revise_until::text);
    end if;
    made.service_order_id := (act.acted).id;
    made.kind := 'extend';
    made.asking_side := act.actor;
    made.days := propose_extension.days;
    made.reason := words;
    made := private.propose_resolution(made);
    perform private.write_service_order(act.acted, 'propose_extension', act.actor, auth.uid(), null, words);
    perform private.tell_service_order(act.acted, 'service_proposal', true, false);
    return made;
end
$function$;

revoke all on function public.propose_extension(uuid, integer, text) from public, anon, service_role;

create or replace function public.rating_histogram (
    item_id uuid
)
    returns public.rating_histogram
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    counts integer[];
    histogram public.rating_histogram;
begin
    if not exists (select from public.catalog_items as c where c.id = rating_histogram.item_id) then
        perform private.fail('item_not_found', rating_histogram.item_id::text);
    end if;
    counts := private.current_ratings(rating_histogram.item_id);
    select
        rating_histogram.item_id, sum(u.n)::integer, round(sum(u.n * u.no)::numeric / nullif(sum(u.n), 0), 2), counts,
        case when sum(u.n) > 0 then private.percentages(counts) end
    into histogram
    from unnest(counts) with ordinality as u (n, no);
    return histogram;
end
$function$;

revoke all on function public.rating_histogram(uuid) from public, service_role;

create or replace function public.refuse_gift (
    gift_id uuid
)
    returns public.gifts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    gift public.gifts;
    line uuid;
    sale public.transactions;
begin
    if exists (
        select from public.gifts as g
        where g.id = refuse_gift.gift_id and g.receiver_id = member and g.status <> 'ordered'
    ) then
        gift := private.lock_gift(refuse_gift.gift_id);
    end if;
    if gift.id is null then
        perform private.fail('gift_not_found');
    end if;
    line := private.gift_line(gift.id);
    if
        gift.status <> 'given' or gift.claimed_at is not null or line is null
        or gift.given_at + (select s.gift_refusal_period from private.settings as s) <= clock_timestamp()
    then
        perform private.fail('state_changed', jsonb_build_object('kind', 'gift', 'state', gift.status)::text);
    end if;
    select * into sale from public.transactions as t where t.order_item_id = line for no key update;
    if sale.id is not null then
        perform private.refund_line(sale.id, null, 'gift_refused', 'automatic', 'platform');
    end if;
    perform private.revoke_line(line, 'refused');
    update public.gifts as g set status = 'refused' where g.id = gift.id returning * into gift;
    perform private.notify(gift.payer_id, 'gift_refused', null, 'gift', gift.id);
    return gift;
end
$function$;

revoke all on function public.refuse_gift(uuid) from public, anon, service_role;

create or replace function public.register_for_webinar (
    webinar_id uuid
)
    returns public.webinar_registrations
    language plpgsql
    security definer
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    member uuid := private.require_member();
    webinar public.webinars := private.visible_webinar(register_for_webinar.webinar_id);
    refusal record;
    registration public.webinar_registrations;
begin
    select * into refusal from private.registration_refusal(webinar, member);
    if refusal.problem is not null then
        perform private.fail(refusal.problem, refusal.detail);
    end if;
    -- The lock: nothing is counted before it. The webinar's own row is read again after it: whoever moves or cancels it
    -- holds this one.
    perform from public.catalog_items as c where c.id = webinar.id for no key update;
    if exists (
        select from public.webinar_registrations as r
        where r.webinar_id = webinar.id and r.status in ('held', 'offered')
    ) then
        perform private.settle_seats(webinar.id);
    end if;
    select * into strict webinar from public.webinars as w where w.id = webinar.id;
    if private.webinar_state(webinar) <> 'upcoming' then
        perform private.fail('webinar_not_open', webinar.id::text);
    elsif webinar.price_cents > 0 then
        perform private.fail('payment_required', webinar.id::text);
    end if;
    insert into public.webinar_registrations as r (webinar_id, user_id, status, confirmed_at)
    values (webinar.id, member, 'confirmed', clock_timestamp())
    on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
        status = 'confirmed', purchase_id = null, confirmed_at = excluded.confirmed_at
    where r.status in ('cancelled', 'refunded', 'expired') and not r.was_removed
    returning * into registration;
    if registration.id is null then
        select * into registration from public.webinar_registrations as r
        where r.webinar_id = webinar.id and r.user_id = member;
        perform private.fail(
            case when registration.status = 'waiting' then 'webinar_full' else 'already_registered' end,
            webinar.id::text
        );
    end if;
    if exists (
        select from public.webinar_registrations as r where r.webinar_id = webinar.id and r.status = 'waiting'
    ) then
        perform private.fail('webinar_full', webinar.id::text);
    end if;
    update public.catalog_items as c set taken = c.taken + 1
    where c.id = webinar.id and c.is_buyable and c.taken < c.stock;
    if not found then
        perform private.fail('webinar_full', webinar.id::text);
    end if;
    insert into private.holds (item_id, quantity, is_single, webinar_registration_id)
    values (webinar.id, 1, false, registration.id);
    return registration;
end
$function$;

revoke all on function public.register_for_webinar(uuid) from public, anon, service_role;

create or replace function public.registrations_count (
    webinar public.webinars
)
    returns integer
    language sql
    stable
    set search_path to ''
    AS $function$
    select c.registrations_count from public.webinar_counts as c where c.webinar_id = webinar.id
$function$;

revoke all on function public.registrations_count(public.webinars) from public, service_role;

create or replace function public.remove_co_host (
    webinar_id uuid,
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    webinar public.webinars;
begin
    perform private.require_host(remove_co_host.webinar_id, false);
    webinar := private.lock_webinar(remove_co_host.webinar_id);
    delete from public.webinar_co_hosts as h
    where h.webinar_id = webinar.id and h.user_id = remove_co_host.user_id;
    if not found then
        perform private.fail('user_not_found', remove_co_host.user_id::text);
    end if;
    delete from private.busy_times as b
    where b.kind = 'webinar' and b.subject_id = webinar.id and b.person_id = remove_co_host.user_id;
end
$function$;

revoke all on function public.remove_co_host(uuid, uuid) from public, anon, service_role;

create or replace function public.remove_registration (
    webinar_id uuid,
    user_id uuid,
    reason text
)
    returns public.webinar_registrations
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    is_host boolean := private.is_webinar_host(remove_registration.webinar_id, member, false);
    words text;
    removed public.webinar_registrations;
begin
    if not is_host and not private.is_admin() then
        perform private.fail('webinar_not_found', remove_registration.webinar_id::text);
    end if;
    words := private.require_reason(remove_registration.reason);
    removed := private.end_seat(
        remove_registration.webinar_id, remove_registration.user_id, true,
        case when is_host then 'seller' else 'admin' end::public.refund_origin, words
    );
    perform private.notify(removed.user_id, 'webinar_removed', null, 'webinar', removed.webinar_id);
    if not is_host then
        perform private.audit('remove_registration', 'webinar', removed.webinar_id, jsonb_build_object(
            'user_id', removed.user_id, 'reason', words
        ));
    end if;
    return removed;
end
$function$;

revoke all on function public.remove_registration(uuid, uuid, text) from public, anon, service_role;

create or replace function public.reschedule_webinar (
    webinar_id uuid,
    starts_local timestamp without time zone,
    time_zone text default null::text,
    duration_minutes integer default null::integer,
    is_second_hour boolean default null::boolean
)
    returns public.webinars
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    host uuid := private.require_host(reschedule_webinar.webinar_id, false);
    webinar public.webinars := private.lock_webinar(reschedule_webinar.webinar_id);
    moved public.webinars;
begin
    if private.webinar_state(webinar) <> 'upcoming' then
        perform private.fail('state_changed', format('webinar %s', private.webinar_state(webinar)));
    elsif reschedule_webinar.starts_local is null then
        perform private.fail('time_does_not_exist');
    end if;
    update public.webinars as w set
        starts_local = reschedule_webinar.starts_local,
        time_zone = coalesce(reschedule_webinar.time_zone, w.time_zone),
        duration_minutes = coalesce(reschedule_webinar.duration_minutes, w.duration_minutes),
        is_second_hour = reschedule_webinar.is_second_hour
    where w.id = webinar.id
    returning * into moved;
    if (moved.starts_at, moved.ends_at) <> (webinar.starts_at, webinar.ends_at) then
        perform private.follow_move(webinar.id);
        select * into strict moved from public.webinars as w where w.id = webinar.id;
    end if;
    return moved;
end
$function$;

revoke all
    on function public.reschedule_webinar(uuid, timestamp without time zone, text, integer, boolean)
    from public, anon, service_role;

create or replace function public.respond_to_review (
    review_id uuid,
    response text
)
    returns public.reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    review public.reviews;
    said text := nullif(private.tidy_body(respond_to_review.response), '');
begin
    if not exists (
        select from public.reviews as r
        where r.id = respond_to_review.review_id and r.side = 'buyer' and r.seller_id = member
    ) then
        perform private.fail('review_not_found', respond_to_review.review_id::text);
    end if;
    review := private.lock_review(respond_to_review.review_id);
    if not review.is_eligible then
        perform private.fail('review_not_found', respond_to_review.review_id::text);
    end if;
    update public.reviews as r set
        seller_response = said,
        seller_responded_at = case when said is not null then now() end,
        response_version = case when said is not null then r.version end
    where r.id = review.id
    returning * into review;
    return review;
end
$function$;

revoke all on function public.respond_to_review(uuid, text) from public, anon, service_role;

create or replace function public.review_buyer (
    order_item_id uuid,
    rating integer,
    review_text text default null::text
)
    returns public.reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    line public.order_items;
    owner uuid;
begin
    select * into line from public.order_items as i
    where i.id = review_buyer.order_item_id and i.seller_id = member;
    if line.item_id is null then
        perform private.fail('review_not_allowed', 'purchase');
    end if;
    perform private.lock_reviewed(array[line.item_id]);
    perform private.publish_reviews_of(line.item_id);
    select p.owner_id into owner from public.purchases as p
    where p.order_item_id = line.id and p.item_id = line.item_id and p.revoked_at is null
    order by p.unit
    limit 1;
    return private.add_review(line, line.item_id, owner, 'seller', rating, review_text);
end
$function$;

revoke all on function public.review_buyer(uuid, integer, text) from public, anon, service_role;

create or replace function public.review_item (
    item_id uuid,
    rating integer,
    review_text text default null::text,
    order_item_id uuid default null::uuid
)
    returns public.reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    line public.order_items;
begin
    perform private.lock_reviewed(array[review_item.item_id]);
    perform private.publish_reviews_of(review_item.item_id);
    -- Bought again and again: the newest that has none yet.
    select i.* into line
    from public.purchases as p
    inner join public.order_items as i on i.id = p.order_item_id
    where
        p.owner_id = member and p.item_id = review_item.item_id and p.revoked_at is null
        and (review_item.order_item_id is null or i.id = review_item.order_item_id)
    order by
        exists (
            select from public.reviews as r
            where r.order_item_id = i.id and r.item_id = p.item_id and r.reviewer_id = member
        ),
        p.purchased_at desc, p.id desc
    limit 1;
    if line.id is null then
        perform private.fail('review_not_allowed', 'purchase');
    end if;
    return private.add_review(line, review_item.item_id, member, 'buyer', rating, review_text);
end
$function$;

revoke all on function public.review_item(uuid, integer, text, uuid) from public, anon, service_role;

create or replace function public.service_order_conversation (
    service_order_id uuid
)
    returns public.conversations
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    its public.service_orders;
    thread public.conversations;
begin
    select * into its from public.service_orders as o
    where o.id = service_order_conversation.service_order_id and member in (o.buyer_id, o.seller_id);
    if its.id is null then
        perform private.fail('service_order_not_found', service_order_conversation.service_order_id::text);
    end if;
    insert into public.conversations (created_by, service_order_id) values (member, its.id)
    on conflict on constraint conversations_service_order_id_key do nothing
    returning * into thread;
    if thread.id is null then
        select * into strict thread from public.conversations as c where c.service_order_id = its.id;
    else
        -- Whoever has left takes part in nothing any more.
        insert into public.conversation_participants (conversation_id, user_id)
        select thread.id, p.id from public.profiles as p
        where p.id in (its.buyer_id, its.seller_id) and p.deleted_at is null
        order by p.id;
    end if;
    return thread;
end
$function$;

revoke all on function public.service_order_conversation(uuid) from public, anon, service_role;

create or replace function public.set_webinar_recording (
    webinar_id uuid,
    recording_url text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    webinar public.webinars := private.require_ended(set_webinar_recording.webinar_id);
begin
    if set_webinar_recording.recording_url is null then
        perform private.fail('invalid_link');
    end if;
    begin
        insert into public.webinar_recordings as r (webinar_id, recording_url)
        values (webinar.id, set_webinar_recording.recording_url)
        on conflict on constraint webinar_recordings_pkey do update set recording_url = excluded.recording_url;
    exception when check_violation then
        perform private.fail('invalid_link');
    end;
    update public.webinars as w set is_recorded = true, recording_available = true where w.id = webinar.id;
end
$function$;

revoke all on function public.set_webinar_recording(uuid, text) from public, anon, service_role;

create or replace function public.set_webinar_room (
    webinar_id uuid,
    link text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    tidy text := btrim(set_webinar_room.link);
begin
    perform private.require_host(set_webinar_room.webinar_id, false);
    if tidy is null or char_length(tidy) > 2048 or tidy !~* '^https://[^\s]+$' then
        perform private.fail('invalid_link');
    end if;
    insert into private.webinar_rooms as r (webinar_id, link) values (set_webinar_room.webinar_id, tidy)
    on conflict on constraint webinar_rooms_pkey do update set
        provider = 'link', room_id = null, link = excluded.link, updated_at = now();
end
$function$;

revoke all on function public.set_webinar_room(uuid, text) from public, anon, service_role;

create or replace function public.status_now (
    registration public.webinar_registrations
)
    returns public.registration_status
    language sql
    stable
    set search_path to ''
    AS $function$
    -- The row that is there, as far as the caller reads it: anybody can call this with a row they made up.
    select private.registration_state(r) from public.webinar_registrations as r where r.id = registration.id
$function$;

revoke all on function public.status_now(public.webinar_registrations) from public, anon, service_role;

create or replace function public.status_now (
    webinar public.webinars
)
    returns public.webinar_status
    language sql
    stable
    set search_path to ''
    AS $function$
    select case
        when webinar.status in ('ended', 'cancelled') then webinar.status
        when webinar.ends_at <= now() then 'ended'
        when webinar.starts_at <= now() then 'live'
        else webinar.status
    end
$function$;

revoke all on function public.status_now(public.webinars) from public, service_role;

create or replace function public.vote_on_review (
    review_id uuid,
    is_helpful boolean
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform private.require_member();
    if not exists (
        select from public.reviews as r
        where
            r.id = vote_on_review.review_id and r.side = 'buyer'
            and (r.status = 'published' or r.status = 'blind' and r.publish_at <= now())
    ) then
        perform private.fail('review_not_found', vote_on_review.review_id::text);
    end if;
    perform private.vote_as_member(vote_on_review.review_id, vote_on_review.is_helpful);
end
$function$;

revoke all on function public.vote_on_review(uuid, boolean) from public, anon, service_role;

create or replace function public.webinar_cancellation_cost (
    webinar_id uuid
)
    returns public.webinar_cancellation
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_host(webinar_cancellation_cost.webinar_id, false);
    return private.cancellation_of(webinar_cancellation_cost.webinar_id);
end
$function$;

revoke all on function public.webinar_cancellation_cost(uuid) from public, anon, service_role;

create or replace function public.withdraw_dispute (
    service_order_id uuid
)
    returns public.service_orders
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    act record;
    resumed public.service_orders;
begin
    select * into act from private.begin_service_act(service_order_id, 'withdraw_dispute');
    resumed := act.acted;
    if resumed.disputing_side <> act.actor then
        perform private.fail('not_your_part', resumed.disputing_side);
    end if;
    resumed := private.write_service_order(
        private.resume_service_clock(resumed, resumed.resumes_as::public.service_order_status), 'withdraw_dispute',
        act.actor, auth.uid()
    );
    perform private.tell_service_order(
        resumed, 'service_dispute_withdrawn', act.actor = 'seller', act.actor = 'buyer'
    );
    return resumed;
end
$function$;

revoke all on function public.withdraw_dispute(uuid) from public, anon, service_role;

create or replace function public.withdraw_order_extra (
    extra_id uuid
)
    returns public.service_order_extras
    language sql
    security definer
    set search_path to ''
    AS $function$
    select private.end_order_extra(withdraw_order_extra.extra_id, 'seller', 'withdrawn')
$function$;

revoke all on function public.withdraw_order_extra(uuid) from public, anon, service_role;

create or replace function public.withdraw_resolution (
    request_id uuid
)
    returns public.resolution_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    request public.resolution_requests;
    side text;
begin
    select case member when o.buyer_id then 'buyer' when o.seller_id then 'seller' end into side
    from public.resolution_requests as r
    inner join public.service_orders as o on o.id = r.service_order_id
    where r.id = withdraw_resolution.request_id;
    if side is null then
        perform private.fail('resolution_not_found', withdraw_resolution.request_id::text);
    end if;
    select * into strict request from public.resolution_requests as r
    where r.id = withdraw_resolution.request_id
    for no key update;
    if request.asking_side <> side then
        perform private.fail('not_your_part', request.asking_side);
    elsif public.effective_status(request) <> 'open' then
        perform private.fail('state_changed', 'resolution_request ' || public.effective_status(request));
    end if;
    update public.resolution_requests as r set status = 'withdrawn', answered_at = clock_timestamp()
    where r.id = request.id
    returning * into request;
    return request;
end
$function$;

revoke all on function public.withdraw_resolution(uuid) from public, anon, service_role;

alter table private.holds
    add constraint holds_holder_check check ((num_nonnulls(order_id, webinar_registration_id) = 1));

alter table private.kinds
    add constraint kinds_reviewing_check check ((reviewing = ANY (ARRAY['none'::text, 'open'::text, 'blind'::text])));

alter table private.recording_grants
    add constraint recording_grants_product_id_fkey foreign key (product_id) references public.products(id)
        on delete cascade;

alter table private.webinar_passes
    add constraint webinar_passes_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

-- Without reviews there is no average.
update public.catalog_items set rating_average = null where reviews_count = 0;

alter table public.catalog_items
    add constraint catalog_items_counts_check
        check
        (((views_count >= 0) AND (favorites_count >= 0) AND (comments_count >= 0) AND (purchases_count >= 0) AND
        (paid_purchases_count >= 0) AND (reviews_count >= 0) AND
        ((rating_average >= (1)::numeric) AND (rating_average <= (5)::numeric))));

alter table public.catalog_items
    add constraint catalog_items_taken_check check (((taken <= stock) OR (stock <= 1) OR has_seats));

alter table public.conversations
    add constraint conversations_pair_check check ((((is_group OR (service_order_id IS
        NOT NULL)) AND (low_id IS NULL) AND (high_id IS NULL)) OR ((NOT is_group) AND (low_id IS
        NOT NULL) AND (high_id IS NOT NULL) AND (low_id < high_id) AND (service_order_id IS NULL))));

alter table public.conversations
    add constraint conversations_service_order_id_fkey foreign key (service_order_id)
        references public.service_orders(id);

alter table public.conversations
    add constraint conversations_service_order_id_key unique (service_order_id);

alter table public.gifts
    add constraint gifts_given_check check (((given_at IS
        NOT NULL) = (status = ANY (ARRAY['given'::public.gift_status, 'refused'::public.gift_status]))));

alter table public.gifts
    add constraint gifts_item_id_fkey foreign key (item_id) references public.catalog_items(id);

alter table public.gifts
    add constraint gifts_payer_id_fkey foreign key (payer_id) references public.profiles(id);

alter table private.gift_codes
    add constraint gift_codes_gift_id_fkey foreign key (gift_id) references public.gifts(id);

alter table public.gifts
    add constraint gifts_receiver_id_fkey foreign key (receiver_id) references public.profiles(id);

alter table public.item_ratings
    add constraint item_ratings_item_id_fkey foreign key (item_id) references public.catalog_items(id)
        on delete cascade;

alter table public.order_items
    add constraint order_items_coupon_id_fkey foreign key (coupon_id) references public.coupons(id);

alter table public.order_items
    add constraint order_items_gift_check check (((gift_to_id IS NULL) OR (gift_id IS NOT NULL)));

alter table public.order_items
    add constraint order_items_gift_id_fkey foreign key (gift_id) references public.gifts(id);

alter table public.order_items
    add constraint order_items_gift_to_id_fkey foreign key (gift_to_id) references public.profiles(id);

alter table public.order_items
    add constraint order_items_promoted_check check (
        promoted_cents between 0 and discount_cents and (promoted_cents = 0 or coupon_id is not null)
    );

alter table public.refund_lines
    add constraint refund_lines_split_check
        check
        (((amount_cents + promotions_cents) = ((((tax_cents + commission_cents) + fee_cents) + seller_cents) +
        credits_cents)));

alter table public.review_votes
    add constraint review_votes_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

alter table public.reviews
    add constraint reviews_buyer_id_fkey foreign key (buyer_id) references public.profiles(id);

alter table public.reviews
    add constraint reviews_counts_check check (((helpful_count >= 0) AND (version >= 1)));

alter table public.reviews
    add constraint reviews_item_id_fkey foreign key (item_id) references public.catalog_items(id);

alter table public.reviews
    add constraint reviews_kind_fkey foreign key (kind) references private.kinds(kind);

alter table public.reviews
    add constraint reviews_line_key unique (order_item_id, item_id, reviewer_id);

alter table public.reviews
    add constraint reviews_order_item_id_fkey foreign key (order_item_id) references public.order_items(id);

alter table public.review_votes
    add constraint review_votes_review_id_fkey foreign key (review_id) references public.reviews(id) on delete cascade;

alter table public.reviews
    add constraint reviews_publish_at_check check (((status <> 'blind'::public.review_status) OR (publish_at IS
        NOT NULL)));

alter table public.reviews
    add constraint reviews_published_at_check check (((status = 'published'::public.review_status) = (published_at IS
        NOT NULL)));

alter table public.reviews
    add constraint reviews_rating_check check (((rating >= 1) AND (rating <= 5)));

alter table public.reviews
    add constraint reviews_response_check
        check
        ((((seller_response IS NULL) = (seller_responded_at IS NULL)) AND ((seller_response IS NULL) = (response_version
        IS NULL))));

alter table public.reviews
    add constraint reviews_review_text_check
        check (((char_length(review_text) >= 1) AND (char_length(review_text) <= 5000)));

alter table public.reviews
    add constraint reviews_reviewer_check check (((reviewer_id =
CASE side
    WHEN 'buyer'::public.review_side THEN buyer_id
    ELSE seller_id
END) AND (buyer_id <> seller_id)));

alter table public.reviews
    add constraint reviews_reviewer_id_fkey foreign key (reviewer_id) references public.profiles(id);

alter table public.reviews
    add constraint reviews_seller_id_fkey foreign key (seller_id) references public.profiles(id);

alter table public.reviews
    add constraint reviews_seller_response_check
        check (((char_length(seller_response) >= 1) AND (char_length(seller_response) <= 5000)));

alter table public.transactions
    add constraint transactions_refunded_check check (
        refunded_cents between 0 and amount_total_cents
        and refunded_cents + refunded_promotions_cents
        = refunded_tax_cents + refunded_commission_cents + refunded_fee_cents + refunded_seller_cents
        + refunded_credits_cents
        and free_refunded_cents between 0 and refunded_cents
    );

alter table public.transactions
    add constraint transactions_split_check
        check
        (((amount_total_cents + amount_promotions_cents) = ((((amount_fees_cents + amount_tax_cents) +
        amount_commission_cents) + amount_seller_cents) + amount_credits_cents)));

alter table public.webinar_co_hosts
    add constraint webinar_co_hosts_user_id_fkey foreign key (user_id) references public.profiles(id)
        on delete cascade;

alter table public.webinar_registrations
    add constraint webinar_registrations_attended_check check (((attended_at IS NULL) OR (confirmed_at IS NOT NULL)));

alter table public.webinar_registrations
    add constraint webinar_registrations_confirmed_check
        check (((status <> 'confirmed'::public.registration_status) OR (confirmed_at IS NOT NULL)));

alter table public.webinar_registrations
    add constraint webinar_registrations_offer_check
        check ((((status = 'offered'::public.registration_status) = (offer_expires_at IS
        NOT NULL)) AND ((status <> 'offered'::public.registration_status) OR (payable_id IS NOT NULL))));

alter table public.webinar_registrations
    add constraint webinar_registrations_payable_id_fkey foreign key (payable_id) references public.payables(id);

alter table private.calendar_entries
    add constraint calendar_entries_registration_id_fkey foreign key (registration_id)
        references public.webinar_registrations(id) on delete cascade;

alter table private.holds
    add constraint holds_webinar_registration_id_fkey foreign key (webinar_registration_id)
        references public.webinar_registrations(id);

alter table public.webinar_registrations
    add constraint webinar_registrations_purchase_id_fkey foreign key (purchase_id) references public.purchases(id);

alter table public.webinar_registrations
    add constraint webinar_registrations_queue_check
        check (((status = 'waiting'::public.registration_status) = (queue_no IS NOT NULL)));

alter table public.webinar_registrations
    add constraint webinar_registrations_user_id_fkey foreign key (user_id) references public.profiles(id);

alter table public.webinars
    add constraint webinars_category_id_fkey foreign key (category_id) references public.categories(id);

alter table public.webinars
    add constraint webinars_counts_check check ((attendees_count >= 0));

alter table public.webinars
    add constraint webinars_id_fkey foreign key (id) references public.catalog_items(id) deferrable initially deferred;

alter table public.webinars
    add constraint webinars_image_media_id_fkey foreign key (image_media_id) references public.media(id) on delete
        set null;

alter table private.webinar_passes
    add constraint webinar_passes_webinar_id_fkey foreign key (webinar_id) references public.webinars(id)
        on delete cascade;

alter table private.webinar_reminders
    add constraint webinar_reminders_webinar_id_fkey foreign key (webinar_id) references public.webinars(id)
        on delete cascade;

alter table private.webinar_rooms
    add constraint webinar_rooms_webinar_id_fkey foreign key (webinar_id) references public.webinars(id)
        on delete cascade;

alter table public.products
    add constraint products_source_webinar_id_fkey foreign key (source_webinar_id) references public.webinars(id);

alter table public.webinar_co_hosts
    add constraint webinar_co_hosts_webinar_id_fkey foreign key (webinar_id) references public.webinars(id)
        on delete cascade;

alter table public.webinar_counts
    add constraint webinar_counts_webinar_id_fkey foreign key (webinar_id) references public.webinars(id)
        on delete cascade;

alter table public.webinar_recordings
    add constraint webinar_recordings_webinar_id_fkey foreign key (webinar_id) references public.webinars(id)
        on delete cascade;

alter table public.webinar_registrations
    add constraint webinar_registrations_webinar_id_fkey foreign key (webinar_id) references public.webinars(id);

create view private.unread_messages with (security_invoker=true) AS  SELECT r.viewer_id,
    r.conversation_id,
    r.id
   FROM (private.readable_messages r
     JOIN public.conversation_participants p ON (((p.conversation_id = r.conversation_id) AND (p.user_id = r.viewer_id) AND (p.last_read_number < r.number))))
  WHERE ((r.sender_id IS DISTINCT FROM r.viewer_id) AND (NOT r.is_deleted) AND (NOT (EXISTS ( SELECT
           FROM (public.user_blocks b
             JOIN public.conversations c ON (((c.id = r.conversation_id) AND (c.service_order_id IS NULL))))
          WHERE ((b.blocker_id = r.viewer_id) AND (b.blocked_id = r.sender_id))))));

create index calendar_entries_due_at_idx on private.calendar_entries using btree (due_at)
    where (due_at is not null);

create index gift_codes_mail_due_at_idx on private.gift_codes using btree (mail_due_at)
    where (mail_due_at is not null);

create unique index holds_webinar_registration_id_key on private.holds using btree (webinar_registration_id)
    where (webinar_registration_id is not null);

create index webinar_passes_user_id_idx on private.webinar_passes using btree (user_id);

create index catalog_items_category_published_at_id_idx on public.catalog_items
    using btree (category, published_at desc, id desc)
    where is_listed;

create index catalog_items_kind_published_at_id_idx on public.catalog_items
    using btree (kind, published_at desc, id desc)
    where is_listed;

create index catalog_items_popularity_id_idx on public.catalog_items using btree (popularity desc, id desc)
    where is_listed;

create index catalog_items_price_cents_id_idx on public.catalog_items using btree (price_cents, id)
    where is_listed;

create index catalog_items_published_at_id_idx on public.catalog_items using btree (published_at desc, id desc)
    where is_listed;

create index catalog_items_rating_id_idx on public.catalog_items
    using btree (COALESCE(rating_average, (0)::numeric) desc, id desc)
    where is_listed;

create index catalog_items_tags_idx on public.catalog_items using gin (tags)
    where is_listed;

create index gifts_item_id_idx on public.gifts using btree (item_id);

create index gifts_payer_id_idx on public.gifts using btree (payer_id, created_at desc);

create index gifts_receiver_id_idx on public.gifts using btree (receiver_id, created_at desc);

create index order_items_coupon_id_idx on public.order_items using btree (coupon_id)
    where (coupon_id is not null);

create index order_items_gift_id_idx on public.order_items using btree (gift_id)
    where (gift_id is not null);

create index order_items_gift_to_id_idx on public.order_items using btree (gift_to_id)
    where (gift_to_id is not null);

create unique index products_source_webinar_id_key on public.products using btree (source_webinar_id)
    where (source_webinar_id is not null);

create index review_votes_user_id_created_at_idx on public.review_votes using btree (user_id, created_at desc);

create index reviews_buyer_id_idx on public.reviews using btree (buyer_id);

create index reviews_item_id_created_at_id_idx on public.reviews using btree (item_id, created_at desc, id desc);

create index reviews_item_id_helpful_count_id_idx on public.reviews using btree (item_id, helpful_count desc, id desc);

create index reviews_kind_idx on public.reviews using btree (kind);

create index reviews_pending_idx on public.reviews using btree (created_at)
    where (status = 'pending'::public.review_status);

create index reviews_publish_at_idx on public.reviews using btree (publish_at)
    where (status = 'blind'::public.review_status);

create index reviews_reviewer_id_item_id_created_at_idx on public.reviews
    using btree (reviewer_id, item_id, created_at desc);

create index reviews_seller_id_created_at_idx on public.reviews using btree (seller_id, created_at desc);

create index transactions_unfinished_webinars_idx on public.transactions using btree (related_id)
    where ((kind = 'webinar'::text) AND (completed_at is null));

create index webinar_co_hosts_user_id_idx on public.webinar_co_hosts using btree (user_id);

create index webinar_registrations_held_idx on public.webinar_registrations using btree (webinar_id)
    where (status = ANY (ARRAY['held'::public.registration_status, 'offered'::public.registration_status]));

create index webinar_registrations_offers_idx on public.webinar_registrations using btree (offer_expires_at)
    where (status = 'offered'::public.registration_status);

create index webinar_registrations_payable_id_idx on public.webinar_registrations using btree (payable_id)
    where (payable_id is not null);

create index webinar_registrations_purchase_id_idx on public.webinar_registrations using btree (purchase_id)
    where (purchase_id is not null);

create index webinar_registrations_queue_idx on public.webinar_registrations using btree (webinar_id, queue_no)
    where (status = 'waiting'::public.registration_status);

create index webinar_registrations_user_id_idx on public.webinar_registrations using btree (user_id, created_at desc);

create index webinars_category_id_idx on public.webinars using btree (category_id);

create index webinars_image_media_id_idx on public.webinars using btree (image_media_id)
    where (image_media_id is not null);

create index webinars_open_idx on public.webinars using btree (ends_at)
    where (status = ANY (ARRAY['upcoming'::public.webinar_status, 'live'::public.webinar_status]));

create index webinars_starts_at_id_idx on public.webinars using btree (starts_at, id)
    where (status = ANY (ARRAY['upcoming'::public.webinar_status, 'live'::public.webinar_status]));

create trigger note_item_change
    after update on public.catalog_items
    for each row
    when
        (((new.price_cents < old.price_cents) OR (new.is_sold_out <> old.is_sold_out) OR (new.is_buyable AND (NOT
        old.is_buyable))))
    execute function private.note_item_change();

create trigger check_catalog_option
    after insert or delete or update of price_cents,
        details, is_exclusive, is_set_aside, stock, is_active on public.catalog_options
    for each row
    execute function private.check_catalog_option();

create trigger _refuse_birth_status
    after insert on public.gifts
    for each row
    when ((new.status <> ALL ('{ordered}'::public.gift_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.gifts
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{given>refused,ordered>given,ordered>waiting,waiting>given}'::text[]))))
    execute function private.refuse_move('status');

create trigger touch_updated_at
    before update on public.gifts
    for each row
    execute function private.touch_updated_at();

create trigger rate_switched
    after update on public.purchases referencing OLD table as changed_from NEW table as changed_to
    for each STATEMENT
    execute function private.rate_purchases();

create trigger count_deleted
    after delete on public.review_votes referencing OLD table as changed
    for each STATEMENT
    execute function private.count_review_votes();

create trigger count_inserted
    after insert on public.review_votes referencing NEW table as changed
    for each STATEMENT
    execute function private.count_review_votes();

create trigger count_shown
    after update on public.review_votes
    for each row
    when (((old.is_helpful <> new.is_helpful) AND (old.user_id = new.user_id) AND (num_nonnulls(new.review_id) > 0)))
    execute function private.count_shown_review_votes();

create trigger _refuse_birth_status
    after insert on public.reviews
    for each row
    when ((new.status <> ALL ('{blind,pending,published}'::public.review_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.reviews
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{blind>published,pending>blind,pending>published,pending>rejected,rejected>blind,rejected>pending,rejected>published}'::text[]))))
    execute function private.refuse_move('status');

create trigger _tidy_texts
    before insert or update of review_text, seller_response on public.reviews
    for each row
    execute function private.tidy_texts('review_text body', 'seller_response body');

create trigger count_deleted
    after delete on public.reviews referencing OLD table as changed_from
    for each STATEMENT
    execute function private.count_reviews();

create trigger count_inserted
    after insert on public.reviews referencing NEW table as changed_to
    for each STATEMENT
    execute function private.count_reviews();

create trigger count_updated
    after update on public.reviews referencing OLD table as changed_from NEW table as changed_to
    for each STATEMENT
    execute function private.count_reviews();

create trigger forget_deleted
    after delete on public.reviews referencing OLD table as gone
    for each STATEMENT
    execute function private.forget_deleted();

create trigger forget_hidden
    after update of is_hidden on public.reviews
    for each row
    when ((new.is_hidden AND (NOT old.is_hidden)))
    execute function private.forget_hidden('reviewer_id');

create trigger tell_published
    after update of status on public.reviews
    for each row
    when (((old.status <> 'published'::public.review_status) AND (new.status = 'published'::public.review_status)))
    execute function private.tell_review();

create trigger tell_review_response
    after update of seller_response on public.reviews
    for each row
    when (((old.seller_response IS NULL) AND (new.seller_response IS NOT NULL)))
    execute function private.tell_review_response();

create trigger tell
    after insert on public.reviews
    for each row
    when ((new.status = 'published'::public.review_status))
    execute function private.tell_review();

create trigger touch_updated_at
    before update on public.reviews
    for each row
    execute function private.touch_updated_at();

create trigger _refuse_birth_status
    after insert on public.webinar_registrations
    for each row
    when ((new.status <> ALL ('{confirmed,held,waiting}'::public.registration_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.webinar_registrations
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{cancelled>confirmed,cancelled>held,cancelled>waiting,confirmed>cancelled,confirmed>refunded,expired>confirmed,expired>held,expired>waiting,held>cancelled,held>confirmed,held>expired,offered>cancelled,offered>confirmed,offered>expired,refunded>confirmed,refunded>held,refunded>waiting,waiting>cancelled,waiting>confirmed,waiting>expired,waiting>offered}'::text[]))))
    execute function private.refuse_move('status');

create trigger count_changed
    after update on public.webinar_registrations referencing OLD table as changed_from NEW table as changed_to
    for each STATEMENT
    execute function private.count_registrations();

create trigger count_inserted
    after insert on public.webinar_registrations referencing NEW table as changed_to
    for each STATEMENT
    execute function private.count_registrations();

create trigger note_calendar_entry_new
    after insert on public.webinar_registrations
    for each row
    when ((new.status = 'confirmed'::public.registration_status))
    execute function private.note_calendar_entry();

create trigger note_calendar_entry
    after update of status on public.webinar_registrations
    for each row
    when
        (((old.status = 'confirmed'::public.registration_status) <> (new.status =
        'confirmed'::public.registration_status)))
    execute function private.note_calendar_entry();

create trigger touch_updated_at
    before update on public.webinar_registrations
    for each row
    execute function private.touch_updated_at();

create trigger _refuse_birth_status
    after insert on public.webinars
    for each row
    when ((new.status <> ALL ('{upcoming}'::public.webinar_status[])))
    execute function private.refuse_move('status');

create trigger _refuse_move_status
    after update on public.webinars
    for each row
    when
        (((old.status IS DISTINCT FROM new.status) AND ((((old.status)::text || '>'::text) || (new.status)::text) <> ALL
        ('{live>ended,upcoming>cancelled,upcoming>live}'::text[]))))
    execute function private.refuse_move('status');

create trigger _tidy_texts
    before insert or update of title, description, cancelled_reason on public.webinars
    for each row
    execute function private.tidy_texts('title line required', 'description body', 'cancelled_reason body');

create trigger begin_webinar_counts
    after insert on public.webinars
    for each row
    execute function private.begin_webinar_counts();

create trigger check_webinar
    before insert or update on public.webinars
    for each row
    execute function private.check_webinar();

create trigger queue_reminders_new
    after insert on public.webinars
    for each row
    execute function private.queue_reminders();

create trigger queue_reminders
    after update on public.webinars
    for each row
    when ((old.starts_at IS DISTINCT FROM new.starts_at))
    execute function private.queue_reminders();

create trigger refuse_ordered_item
    before delete on public.webinars
    for each row
    execute function private.refuse_ordered_item();

create trigger sync_catalog_item
    after insert or delete or update on public.webinars
    for each row
    execute function private.sync_catalog_item();

create trigger sync_catalog_picture
    after insert or update on public.webinars
    for each row
    execute function private.sync_catalog_picture();

create trigger take_webinar_time_new
    after insert on public.webinars
    for each row
    execute function private.take_webinar_time();

create trigger take_webinar_time after update on public.webinars
for each row when (
    (old.starts_at, old.ends_at) is distinct from (new.starts_at, new.ends_at)
    or old.status <> 'cancelled' and new.status = 'cancelled'
)
execute function private.take_webinar_time();

create trigger touch_updated_at
    before update on public.webinars
    for each row
    execute function private.touch_updated_at();

create trigger use_new_seats
    after update of max_attendees on public.webinars
    for each row
    when ((new.max_attendees IS DISTINCT FROM old.max_attendees))
    execute function private.use_new_seats();

create policy gifts_select on public.gifts
    for select
    to authenticated
    using
        (((payer_id = ( select private.member_id() as member_id)) or ((receiver_id = ( select private.member_id() as
        member_id)) AND (status <> 'ordered'::public.gift_status)) or ( select private.is_admin() as is_admin)));

create policy item_ratings_select on public.item_ratings
    for select
    to anon, authenticated
    using ((( select c.id
   from public.catalog_items c
  where (c.id = item_ratings.item_id)) is not null));

create policy review_votes_select on public.review_votes
    for select
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)));

create policy reviews_select_anon on public.reviews
    for select
    to anon
    using
        (((side = 'buyer'::public.review_side) AND is_valid AND (audience = 'public'::public.audience) AND ((status =
        'published'::public.review_status) or ((status = 'blind'::public.review_status) AND (publish_at <= now()))) AND
        (reviewer_id <> all (ARRAY( select private.hidden_ids() as hidden_ids))) AND (( select c.id
   from public.catalog_items c
  where (c.id = reviews.item_id)) is not null)));

create policy reviews_select on public.reviews
    for select
    to authenticated
    using
        (((is_valid AND ((audience = 'public'::public.audience) or ((audience = 'members'::public.audience) AND ((
        select private.member_id() as member_id) is
        not null))) AND
        ((status = 'published'::public.review_status) or ((status = 'blind'::public.review_status) AND (publish_at <=
        now()))) AND (reviewer_id <> all (ARRAY( select private.blocked_ids() as blocked_ids))) AND
        ((side = 'buyer'::public.review_side) or (buyer_id = ( select private.member_id() as member_id))) AND
        (( select c.id
   from public.catalog_items c
  where (c.id = reviews.item_id)) is
      not null)) or (reviewer_id = ( select private.member_id() as member_id)) or
      ( select private.is_admin() as is_admin)));

create policy trending_items_select on public.trending_items
    for select
    to anon, authenticated
    using ((exists ( select
   from public.catalog_items c
  where ((c.id = trending_items.item_id) AND c.is_listed))));

create policy webinar_co_hosts_select_anon on public.webinar_co_hosts
    for select
    to anon
    using (((accepted_at is not null) AND (( select w.id
   from public.webinars w
  where (w.id = webinar_co_hosts.webinar_id)) is not null)));

create policy webinar_co_hosts_select on public.webinar_co_hosts
    for select
    to authenticated
    using
        (((user_id = ( select private.member_id() as member_id)) or private.is_webinar_host(webinar_id, ( select
        private.member_id() as member_id)) or ((accepted_at is not null) AND (( select w.id
   from public.webinars w
  where (w.id = webinar_co_hosts.webinar_id)) is not null) AND private.can_see(user_id))));

create policy webinar_counts_select on public.webinar_counts
    for select
    to anon, authenticated
    using ((( select w.id
   from public.webinars w
  where (w.id = webinar_counts.webinar_id)) is not null));

create policy webinar_recordings_select on public.webinar_recordings
    for select
    to authenticated
    using ((private.is_webinar_host(webinar_id, ( select private.member_id() as member_id)) or (exists ( select
   from public.webinar_registrations r
  where
      ((r.webinar_id = webinar_recordings.webinar_id) AND (r.user_id = ( select private.member_id() as member_id)) AND
      (r.status = 'confirmed'::public.registration_status)))) or ( select private.is_admin() as is_admin)));

create policy webinar_registrations_select on public.webinar_registrations
    for select
    to authenticated
    using
        (((user_id = ( select private.member_id() as member_id)) or private.is_webinar_host(webinar_id, ( select
        private.member_id() as member_id)) or ( select private.is_admin() as is_admin)));

create policy webinars_select_anon on public.webinars
    for select
    to anon
    using (((ends_at > now()) AND (( select c.id
   from public.catalog_items c
  where (c.id = webinars.id)) is not null)));

create policy avenue_objects_delete on storage.objects
    for delete
    to authenticated
    using
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text,
        'deliveries'::text,
        'uploads'::text])) AND private.is_own_path(name) AND (not private.is_pinned(bucket_id, name))));

create policy avenue_objects_insert on storage.objects
    for insert
    to authenticated
    with
        check
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text,
        'deliveries'::text,
        'uploads'::text])) AND private.is_own_path(name) AND private.bucket_takes(bucket_id, metadata) AND
        ((bucket_id <> 'attachments'::text) OR private.may_attach(name)) AND
        ((bucket_id <> 'deliveries'::text) OR private.may_deliver(name))));

create policy avenue_objects_select on storage.objects
    for select
    to authenticated
    using
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text,
        'deliveries'::text,
        'uploads'::text])) AND
        ((private.is_own_path(name) AND ((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text])) or
        (COALESCE(storage.operation(), ''::text) <> all (ARRAY['storage.object.sign'::text,
        'storage.object.sign_many'::text])))) or
        (private.reads_or_lists() AND (((bucket_id = 'product-files'::text) AND private.may_download_object(name,
        version)) or ((bucket_id = 'attachments'::text) AND private.may_read_attachment(name)) or
        ((bucket_id = 'deliveries'::text) AND private.may_read_delivery(name)))))));

alter publication supabase_realtime add table public.service_orders;

comment on column private.calendar_entries.attempts is 'How often this was claimed.';

comment on column private.calendar_entries.changed_at is 'When it became so: DTSTAMP.';

comment on column private.calendar_entries.due_at is 'When it is to be mailed or tried again; a claim moves it by its lease. Null: nothing to mail.';

comment on column private.calendar_entries.is_cancelled is 'Whether the entry is to go.';

comment on column private.calendar_entries.last_error is 'Why the last attempt failed.';

comment on column private.calendar_entries.sent_sequence is 'What was mailed last; null: never anything.';

comment on column private.calendar_entries.sequence is 'SEQUENCE of the entry as it is now.';

comment on column private.gift_codes.attempts is 'How often it was tried since it was last asked for.';

comment on column private.gift_codes.code_hash is 'SHA-256 of the code mailed last.';

comment on column private.gift_codes.email is 'To whom; forgotten when it is claimed, and with the payer''s account.';

comment on column private.gift_codes.last_error is 'Why the last attempt failed.';

comment on column private.gift_codes.mail_due_at is 'When it is to be mailed; null: not now. A claim moves it by its lease.';

comment on column private.gift_codes.mailed_at is 'When the mail server last took it.';

comment on column private.holds.webinar_registration_id is 'The registration that has it: an offer, or a seat that nobody paid for.';

comment on column private.kinds.has_seats is 'Of what is sold: whether its stock are seats, one for a person. The kind says who gets one (hooks take, freed), and a refund that fails gives a seat back also where it was given to somebody else since.';

comment on column private.kinds.reviewing is 'Of what is sold: none: nobody reviews it; open: shown at once; blind: buyer and seller review each other, unseen until both have. Null: blind for what is bought again and again and earned when it is done, none for what is not browsable, else open.';

comment on column private.settings.gift_refusal_period is 'How long whoever was given something may refuse it.';

comment on column private.settings.join_before is 'How long before its start a webinar can be entered.';

comment on column private.settings.offer_period is 'How long a seat is offered to whoever waits for one; never beyond the start.';

comment on column private.settings.review_blind_period is 'How long a blind review waits for the other side''s, elapsed hours.';

comment on column private.settings.review_burst is 'How many ratings of an item in 24 hours are never suspicious; above that, five times the daily mean of the week before.';

comment on column private.webinar_passes.token is 'What the address carries.';

comment on column private.webinar_reminders.minutes_before is 'How long before it, minutes.';

comment on column private.webinar_reminders.starts_at is 'Of which start.';

comment on column private.webinar_rooms.link is 'The host''s link to their room.';

comment on column private.webinar_rooms.provider is 'Who runs it; link: the host''s own.';

comment on column private.webinar_rooms.room_id is 'The provider''s name for the room.';

comment on column public.catalog_items.has_seats is 'Its stock are seats, one for a person: it stays listed when all are taken, as somebody may give one back.';

comment on column public.catalog_items.is_buyable is 'What checkout asks: visible, for sale, not sold out.';

comment on column public.catalog_items.is_listed is 'Buyable and browsable: what shop pages show. Filter with eq.true; is.true cannot use the indexes.';

comment on column public.catalog_items.is_sold_out is 'All of the stock is sold, or it was sold exclusively. Never of seats.';

comment on column public.catalog_items.rating_average is 'Mean of its counted reviews, 1 to 5; null without any. See item_ratings.';

comment on column public.catalog_items.reviews_count is 'Its counted reviews: one for each buyer.';

comment on column public.catalog_options.details is 'What the kind wants to know: of a product {license_type, license_text}, of an edition {series}, of a service {delivery_days, revisions, features}.';

comment on column public.conversations.service_order_id is 'Of what two people talk about their service order: that order, which no block closes. They are no pair then: their own conversation is another one.';

comment on column public.gifts.claimed_at is 'When it was claimed by its code; null: given to a member at once.';

comment on column public.gifts.given_at is 'When it got its owner; its refusal is counted from here.';

comment on column public.gifts.item_id is 'What.';

comment on column public.gifts.payer_id is 'Who gives.';

comment on column public.gifts.receiver_id is 'Who gets it; null while nobody has claimed it.';

comment on column public.gifts.status is 'State.';

comment on column public.item_ratings.rating_average is 'Mean, two decimals; null without any.';

comment on column public.item_ratings.rating_total is 'Sum of the ratings.';

comment on column public.item_ratings.reviews_count is 'All of them.';

comment on column public.item_ratings.stars_1 is 'Counted reviews with a rating of 1.';

comment on column public.item_ratings.stars_2 is 'Of 2.';

comment on column public.item_ratings.stars_3 is 'Of 3.';

comment on column public.item_ratings.stars_4 is 'Of 4.';

comment on column public.item_ratings.stars_5 is 'Of 5.';

comment on column public.order_items.coupon_id is 'The coupon that took something off it; one a line.';

comment on column public.order_items.gift_id is 'The gift it is bought as; null: for the buyer.';

comment on column public.order_items.gift_to_id is 'Whom it is given to; null: whoever claims it, or no gift.';

comment on column public.order_items.is_booked is 'Whether what its kind holds for it beside a stock, such as an hour of somebody''s time, is held or had; false once the order was given up. Null: it needs nothing of the kind.';

comment on column public.order_items.owner_id is 'Who will own it: the buyer, or whom it is given to; null while nobody has claimed it. Generated.';

comment on column public.order_items.promoted_cents is 'Of the discount what the platform pays the seller by a coupon of its own, cents: their price stays as it was.';

comment on column public.order_items.total_cents is 'unit_price_cents × quantity − discount_cents. Carries commission, as does what the platform pays of it.';

comment on column public.refund_lines.promotions_cents is 'Back to the platform of what it paid of the line by a coupon of its own, cents.';

comment on column public.review_votes.is_helpful is 'The vote.';

comment on column public.reviews.audience is 'Who may read it once it is shown; owner while hidden.';

comment on column public.reviews.author_audience is 'Copy of the reviewer''s widest audience; kept by triggers.';

comment on column public.reviews.buyer_id is 'Who owns what was bought.';

comment on column public.reviews.helpful_count is 'Votes that call it helpful.';

comment on column public.reviews.hidden_reason is 'Why, told to its author.';

comment on column public.reviews.is_counted is 'In the average: the newest of this buyer and item that may count. Kept by trigger.';

comment on column public.reviews.is_eligible is 'Published, valid and shown: may count.';

comment on column public.reviews.is_hidden is 'Taken down by moderation: only its author and admins read it.';

comment on column public.reviews.is_response_outdated is 'The response is to an earlier version.';

comment on column public.reviews.is_valid is 'Its grant may carry a rating; false after a full refund, true again when that fails. Kept by trigger.';

comment on column public.reviews.is_verified_purchase is 'It was paid for, or is free for everybody; false for what a discount made free.';

comment on column public.reviews.item_id is 'What was bought.';

comment on column public.reviews.kind is 'Its kind.';

comment on column public.reviews.order_item_id is 'The order line that allows it; one review of each item of a line.';

comment on column public.reviews.publish_at is 'Of what is reviewed blind: when it is shown whatever the other side does. Null: shown at once.';

comment on column public.reviews.rating is '1 to 5.';

comment on column public.reviews.response_version is 'Which version the response is to.';

comment on column public.reviews.review_text is 'Plain text of at most 5,000 characters; null: a rating only. Erased with the account, the rating stays.';

comment on column public.reviews.reviewer_id is 'Who wrote it: the buyer or the seller.';

comment on column public.reviews.seller_response is 'The seller''s answer, at most 5,000 characters.';

comment on column public.reviews.side is 'Who reviews whom.';

comment on column public.reviews.status is 'What became of it. A blind one whose publish_at has passed is shown like a published one.';

comment on column public.reviews.version is 'Counts what was changed after it was shown; votes begin anew with each.';

comment on column public.transactions.amount_promotions_cents is 'What the platform pays on top by a coupon of its own, cents: what the seller and the commission are parts of is the price before it.';

comment on column public.transactions.refunded_cents is 'Refunded so far, cents. With refunded_promotions_cents it is the sum of the other parts.';

comment on column public.transactions.refunded_promotions_cents is 'Back to the platform of what it paid on top, cents.';

comment on column public.webinar_co_hosts.accepted_at is 'When they said yes; null: asked.';

comment on column public.webinar_counts.registrations_count is 'Confirmed registrations.';

comment on column public.webinar_registrations.attended is 'Whether they were there, as a host said.';

comment on column public.webinar_registrations.attended_at is 'When a host first said so.';

comment on column public.webinar_registrations.confirmed_at is 'When they got the seat, the last time.';

comment on column public.webinar_registrations.offer_expires_at is 'Until when an offered seat is kept. A payment that is under way then is waited for.';

comment on column public.webinar_registrations.offers_count is 'How often a seat was offered.';

comment on column public.webinar_registrations.payable_id is 'Of an offer at a price: what to pay, with checkout_payable().';

comment on column public.webinar_registrations.payment_status is 'How it stands with its money; null while nothing was asked for.';

comment on column public.webinar_registrations.purchase_id is 'The purchase whose seat it is, or was the last time.';

comment on column public.webinar_registrations.queue_no is 'Place in the queue: ascending, with gaps. Null: not in it.';

comment on column public.webinar_registrations.status is 'State as far as it was noted; the clock is ahead of it for moments: see status_now.';

comment on column public.webinar_registrations.was_removed is 'Removed by a host or an admin: they cannot register again.';

comment on column public.webinars.attendees_count is 'How many were there; kept by mark_attendance().';

comment on column public.webinars.cancel_before_hours is 'Until how many hours before the start somebody may leave and get everything back. Fixed when created.';

comment on column public.webinars.cancelled_reason is 'Why it was cancelled, told to everybody.';

comment on column public.webinars.description is 'Rich text, at most 20,000 characters.';

comment on column public.webinars.duration_minutes is 'How long it takes, minutes.';

comment on column public.webinars.ends_at is 'When it ends: so many minutes after it starts; kept by trigger.';

comment on column public.webinars.hidden_reason is 'Why, told to its host.';

comment on column public.webinars.image_media_id is 'The picture: one of purpose webinar that its owner made. Its copies'' addresses are in cover_image_url, thumbnail_url then.';

comment on column public.webinars.is_hidden is 'Taken down by an admin; written by hide_content() only.';

comment on column public.webinars.is_recorded is 'Whether it is to be recorded.';

comment on column public.webinars.is_second_hour is 'Of a time that comes twice, when clocks go back: whether the second one is meant.';

comment on column public.webinars.max_attendees is 'How many seats there are; null: as many as are wanted.';

comment on column public.webinars.moved_at is 'When it was last moved to another time; null: never.';

comment on column public.webinars.moves_count is 'How often it was moved.';

comment on column public.webinars.price_cents is 'Price of a seat, cents; 0 is free.';

comment on column public.webinars.recording_available is 'Whether there is a recording.';

comment on column public.webinars.slug is 'Address part, unique; made from the title when missing. A taken one gets an ending.';

comment on column public.webinars.starts_at is 'When it starts: the instant, kept by trigger. What everybody else reads.';

comment on column public.webinars.starts_local is 'When it starts, as clocks show it in time_zone.';

comment on column public.webinars.status is 'State as far as it was noted; the clock is ahead of it for moments: see status_now.';

comment on column public.webinars.tags is 'Up to 20 tags; lower case.';

comment on column public.webinars.time_zone is 'Name of the zone in the IANA database: Europe/Berlin.';

comment on column public.webinars.title is 'Title, one line of at most 255 characters.';

comment on constraint webinar_rooms_link_check on private.webinar_rooms is 'invalid_link: A link begins with https:// and has at most 2,048 characters.';

comment on constraint order_items_coupon_id_fkey on public.order_items is 'coupon_used: This coupon was used and cannot be removed; end it (is_active).';

comment on constraint products_source_webinar_id_fkey on public.products is 'webinar_not_found: There is no such webinar.';

comment on constraint reviews_rating_check on public.reviews is 'invalid_rating: A rating is from 1 to 5.';

comment on constraint reviews_review_text_check on public.reviews is 'invalid_review: A review has at most 5,000 characters.';

comment on constraint reviews_seller_response_check on public.reviews is 'invalid_review: A response has at most 5,000 characters.';

comment on constraint webinars_cancel_before_hours_check on public.webinars is 'invalid_webinar: The limit is from 0 to 720 hours before the start.';

comment on constraint webinars_category_id_fkey on public.webinars is 'choice_not_available: There is no such category.';

comment on constraint webinars_description_check on public.webinars is 'invalid_description: A description has at most 20,000 characters.';

comment on constraint webinars_duration_minutes_check on public.webinars is 'invalid_webinar: A webinar takes from 5 minutes to 24 hours.';

comment on constraint webinars_image_media_id_fkey on public.webinars is 'media_not_found: There is no such picture.';

comment on constraint webinars_max_attendees_check on public.webinars is 'invalid_webinar: A webinar has from 2 to 100,000 seats, or no limit (null).';

comment on constraint webinars_slug_key on public.webinars is 'slug_taken: Another webinar just took this address; try again.';

comment on constraint webinars_title_check on public.webinars is 'invalid_title: A title has 1 to 255 characters.';

comment on function private.add_review(public.order_items, uuid, uuid, public.review_side, integer, text) is
    'Writes a review if the line allows one. The item is locked, and what was due is published.';

comment on function private.asked_lines(jsonb) is 'The lines a client asks for, as read_lines() wants them. Error: invalid_checkout.';

comment on function private.begin_webinar_counts() is 'Trigger: the row with a new webinar''s counts.';

comment on function private.book_lines(uuid[], uuid[]) is 'Takes what the lines of these orders need beside a stock (hook hold), or fails as the hook does; what their buyer''s earlier orders have of it goes over. The orders are locked or new; comes after wallets.';

comment on function private.cancel_for_host(uuid) is 'Cancels a webinar to come whose host is gone. False when there is nothing to cancel any more.';

comment on function private.cancellation_of(uuid) is 'What cancelling it now would mean.';

comment on function private.cart_lines(uuid) is 'The lines of a cart with what it showed, as read_lines() wants them.';

comment on function private.catalog_entry(public.webinars) is 'A webinar''s registry row; its stock are the seats, a million where there is no limit.';

comment on function private.check_webinar() is 'Trigger: completes a webinar (slug, tags, starts_at, ends_at) and refuses what a constraint cannot say.';

comment on function private.claim_gift_mail(integer) is 'The next code to mail, made anew: {gift_id, to, code, from, created_at}; null: none. Not said to be mailed within the lease it is made and mailed again.';

comment on function private.claim_invitation(integer) is 'The next calendar entry to mail, leased for so long; null when there is none.';

comment on function private.complete_late_extras(integer) is 'Extras whose order has ended without them (a refund of its own line, silence while they were paid) are done; how many. Call until 0.';

comment on function private.count_registrations() is 'Trigger: webinar_counts.registrations_count counts confirmed registrations. The seats are locked.';

comment on function private.count_review_votes() is 'Trigger: helpful_count of what these rows are about counts those that others than their author read. Built by make_shown_counter().';

comment on function private.count_reviews() is 'Trigger: of each buyer and item the newest review that may count does, and item_ratings follow what counts.';

comment on function private.count_shown_review_votes() is 'Trigger: one was hidden or shown again. Built by make_shown_counter().';

comment on function private.current_ratings(uuid) is 'How often an item was rated 1 to 5 as of now, what is due and not yet official included.';

comment on function private.deliver_orders(uuid[]) is 'Completes deliverable orders: grants, closes what was agreed, redeems coupons, empties the cart of them.';

comment on function private.delivery_order(text) is 'The service order that an object''s name, <own id>/<service order>/<name>, is about; null for other names.';

comment on function private.dispatch_freed(text, uuid[]) is 'Orders gave up seats of these items: who waits for one may have it. Built: see build_dispatch().';

comment on function private.dispatch_give(text, uuid[]) is 'A kind that has it can be given: these purchases, which were nobody''s, were just claimed by their owner. Built: see build_dispatch().';

comment on function private.dispatch_hold(text, uuid[], uuid[]) is 'Checkout, and money that came late: takes what each of these order lines needs beside a stock, such as an hour of people''s time, or fails with a PT409. What the earlier lines of the same buyer have goes over to these. For lines of which check_line says is_booked; what they have they keep when they are paid. Built: see build_dispatch().';

comment on function private.dispatch_release(text, uuid[]) is 'These order lines were given up unpaid: what hold took for them is free again. What was paid for is the hook revoke''s. Built: see build_dispatch().';

comment on function private.dispatch_take(text, uuid[], uuid) is 'Before an order takes one of these items'' seats, whose registry rows are locked: fails when its buyer may not have one. Built: see build_dispatch().';

comment on function private.earns_item(uuid, uuid, uuid) is 'Whether somebody sells an item, alone or with others, or would earn this line of it.';

comment on function private.end_order_extra(uuid, text, public.service_extra_status) is 'Ends an extra that is not paid. Errors: extra_not_found, not_your_part, state_changed, offer_being_paid.';

comment on function private.end_seat(uuid, uuid, boolean, public.refund_origin, text) is 'Ends a registration, an offer or a place in the queue, with the money of what was paid for; the seat goes to the next in line. Errors: registration_not_found, state_changed, cannot_cancel, insufficient_funds.';

comment on function private.end_webinar(uuid, text) is 'Cancels a webinar: seats, offers, the queue and access end, and everybody gets back what they paid. All is locked (lock_webinar_sales()).';

comment on function private.entry_refusal(uuid, uuid) is 'Why somebody cannot enter a webinar now, or null.';

comment on function private.erase_reviews(uuid, integer) is 'Account deletion: of reviews the rating stays; text, response and votes go, and what a seller answered. At most max_rows; how many.';

comment on function private.erase_webinars(uuid) is 'Account deletion: webinars nobody ever registered for go.';

comment on function private.expire_resolutions(integer) is 'Ends proposals nobody answered in time; how many. Call until 0.';

comment on function private.expire_seats(uuid) is 'Applies deadlines that have passed: offers, and the queue at the start. How many ended. The registry row is locked.';

comment on function private.fill_seats(uuid) is 'Gives seats that are free to those who wait, in their order; how many. Locks the registry row.';

comment on function private.follow_author_of_reviews(uuid, integer) is 'Step of advance_account(): author_audience of reviews, and what counts them. Built by make_follow_author().';

comment on function private.follow_move(uuid) is 'After a webinar got another time: offers, calendars, and everybody is told. It is locked.';

comment on function private.follow_time_zones(integer) is 'After the server learnt of new rules of a time zone: derives the start of webinars to come anew. How many.';

comment on function private.gift_line(uuid) is 'The line that grants a gift now; null: nobody has a right by it any more.';

comment on function private.gift_mailed(uuid, text, integer) is 'The mail server took the mail of a code, or said why not; then it is tried again after so many seconds.';

comment on function private.gift_problem(public.catalog_items, uuid, uuid, uuid, boolean) is
    'gift_not_possible when this cannot be given to this member (null: to whoever claims it) by the caller, else null.';

comment on function private.give_gifts(uuid[]) is 'Settlement: the gifts of these orders are paid. Who was given one is told, the codes of others are mailed.';

comment on function private.give_up_seat(uuid, public.registration_status) is 'A registration has no seat, or no place in the queue, any more; a hold of its own ends.';

comment on function private.grant_recording(uuid, integer) is 'Gives a recording to those who were registered and do not have it, each once, at no price; how many.';

comment on function private.grant_recordings(integer) is 'Gives the next recording to as many more of those who were registered; 0 when there is nothing left to give.';

comment on function private.has_seat(uuid, uuid) is 'Whether a seat is confirmed, held or offered to somebody.';

comment on function private.invitation_failed(uuid, integer, text, boolean, integer) is 'It was not taken: tried again later, unless that is for good.';

comment on function private.invitation_sent(uuid, integer) is 'The mail server took it.';

comment on function private.is_delivered(text) is 'Whether a service order refers to the stored object.';

comment on function private.is_pinned(text, text) is 'Whether an item, a message, a service order or a pending picture refers to the stored object, which therefore stays as it is.';

comment on function private.is_registered(uuid, uuid) is 'Whether somebody is or was registered or waiting: they go on seeing the webinar.';

comment on function private.is_review_burst(uuid) is 'Whether one rating more of an item is suspicious: more in 24 hours than settings.review_burst and five times the daily mean of the seven days before.';

comment on function private.is_webinar_host(uuid, uuid, boolean) is 'Whether somebody hosts this webinar, alone or, unless told otherwise, as a co-host.';

comment on function private.leave_webinars(uuid) is 'Account deletion: what they would host is cancelled, the seats they did not pay for are free. A seat that was paid for stays theirs.';

comment on function private.lock_gift(uuid) is 'Locks a gift after what it was bought with, as refunds lock it; its row.';

comment on function private.lock_review(uuid, uuid) is 'A review (of this reviewer), locked after its item and with what was due published; else review_not_found.';

comment on function private.lock_reviewed(uuid[]) is 'Takes items before their reviews, as sales and refunds do: whoever writes, shows or hides one.';

comment on function private.lock_reviewed_by(uuid[]) is 'lock_reviewed() for what these reviews are of.';

comment on function private.lock_webinar(uuid) is 'Locks a webinar and its seats, and answers it. Error: webinar_not_found.';

comment on function private.lock_webinar_sales(uuid) is 'Locks a webinar, its seats, and the money for them. Errors: webinar_not_found, webinar_busy.';

comment on function private.may_carry_rating(uuid, uuid, uuid) is 'The right to review: whether what a line granted to its owner is valid, and they do not earn by it.';

comment on function private.may_deliver(text) is 'Whether an object''s name is in the folder of an open service order of the caller''s.';

comment on function private.may_read_delivery(text) is 'Whether the stored object is a file of the caller''s service order: both sides, the buyer while the purchase stands, an admin during a dispute.';

comment on function private.move_ratings(uuid[], integer[], integer[]) is 'Adds changes to the counters of ratings; average and count of the items follow. Their registry rows are locked.';

comment on function private.note_calendar_entry() is 'Trigger: whoever gets a seat gets a calendar entry, whoever loses it loses the entry.';

comment on function private.note_gifts(uuid, private.order_line[]) is 'Checkout: the gifts among these lines.';

comment on function private.payment_is_open(uuid) is 'Whether money may still arrive for what was agreed.';

comment on function private.percentages(integer[]) is 'Counts in percent that add up to exactly 100, by largest remainder; nulls when there is nothing.';

comment on function
    private.place_order(uuid, uuid, private.order_line[], public.payment_provider, jsonb, text, timestamp
    with time zone) is 'Makes the order of these lines, under the id it is given, and its payment, and answers what checkout() does; free and wallet ones complete at once. Takes the place of the buyer''s own open attempts at the same. Errors: amount_out_of_range, item_reserved, item_sold, item_not_available, hold_paused, too_many_holds, insufficient_funds, coupon_exhausted, coupon_already_used, and those of the hook hold.';

comment on function private.propose_resolution(public.resolution_requests) is 'Writes what one side proposes about a locked order. Error: resolution_open.';

comment on function private.publish_reviews_due(integer) is 'Publishes blind reviews whose time has come, of items nobody is at just now; how many. A job calls it each minute.';

comment on function private.publish_reviews_of(uuid) is 'Makes official what of an item''s reviews is due. The item is locked.';

comment on function private.queue_reminders() is 'Trigger: reminders a day and an hour before the start.';

comment on function private.rate_purchases() is 'Trigger: a grant was revoked, restored or changed hands: whether it may carry a rating is asked again.';

comment on function private.refresh_refund_status(uuid, bigint) is 'Adds a signed amount of cents to a payment''s refunds and lets its status, the order''s and its coupons'' follow.';

comment on function private.registration_refusal(public.webinars, uuid) is 'Why somebody cannot register for a webinar, or null.';

comment on function private.registration_state(public.webinar_registrations) is 'How it stands with a registration at this moment.';

comment on function private.remind_webinar(uuid, timestamp with time zone, integer) is 'Reminds everybody of a webinar that starts soon, once for each start and length; nobody when it was moved or cancelled since. How many.';

comment on function private.require_ended(uuid) is 'A webinar of the caller''s that took place, locked. Errors: webinar_not_found, state_changed.';

comment on function private.require_host(uuid, boolean) is 'The caller, who hosts this webinar, alone or also as a co-host. Error: webinar_not_found.';

comment on function private.review_lock(uuid[]) is 'Hook lock: what the reviews are of is taken first.';

comment on function private.reviewing(text) is 'How things of a kind are reviewed: none, open, blind.';

comment on function private.service_extra_grant(uuid[]) is 'Hook grant: the extra is a part of its order, with its days.';

comment on function private.service_extra_restore(uuid[]) is 'Hook restore: that refund failed.';

comment on function private.service_extra_revoke(uuid[], text) is 'Hook revoke: the extra was given back.';

comment on function private.set_review_vote(uuid, uuid, boolean) is 'Writes somebody''s vote; null takes it back.';

comment on function private.settle_seats(uuid) is 'Locks the seats of a webinar and applies what is due: ended offers go to the next in line.';

comment on function private.split_refund(public.transactions, bigint, text) is 'Divides the next refund of a sale (cents, at most what is left of it; negative to take back as much) into tax, commission, the fee where the platform bears it, the sellers'' part, and credits; what the platform paid of it goes back to it by the same share.';

comment on function private.sweep_offers(integer) is 'Makes ended offers official: their seats go to the next in line. How many; call until 0.';

comment on function private.sweep_webinars(integer) is 'Makes official what the clock says: webinars begin and end, and what they promised is done. How many; call until 0.';

comment on function private.take_webinar_time() is 'Trigger: a webinar takes its hosts'' time until it is cancelled.';

comment on function private.tell_review() is 'Trigger: tells the other side of a review when it is published.';

comment on function private.tell_review_response() is 'Trigger on reviews: tells review_response. Built by make_tell().';

comment on function private.use_new_seats() is 'Trigger, after sync_catalog_item: more seats are for those who wait.';

comment on function private.use_pass(uuid) is 'Where an address given by join_webinar() leads and who enters. Asks again whether they may. Errors: webinar_not_found, webinar_not_begun, webinar_over, room_not_ready.';

comment on function private.visible_webinar(uuid) is 'A webinar the caller sees in the shop. Error: webinar_not_found.';

comment on function private.vote_as_member(uuid, boolean) is 'The caller''s own vote, whatever they read.';

comment on function private.webinar_check_line(uuid[], private.wanted_line[]) is 'Hook check_line: one seat for a person, before the start.';

comment on function private.webinar_check_option(uuid[], public.catalog_options[]) is 'Hook check_option: none.';

comment on function private.webinar_freed(uuid[]) is 'Hook freed: whose order held it has no seat any more, and the next in line has.';

comment on function private.webinar_grant(uuid[]) is 'Hook grant: the seats are confirmed.';

comment on function private.webinar_hosts(uuid) is 'Whose time it takes: the host and the co-hosts.';

comment on function private.webinar_refunds(uuid) is 'What would be given back if a webinar were cancelled now, sale by sale, and what each costs its host.';

comment on function private.webinar_restore(uuid[]) is 'Hook restore: a refund failed, the seat is theirs again, also beyond the last one: then the next that becomes free is not filled. Audited as overbooked_by_failed_refund.';

comment on function private.webinar_revoke(uuid[], text) is 'Hook revoke: who had these seats cannot enter any more, and the next in line gets them.';

comment on function private.webinar_state(public.webinars) is 'How it stands with a webinar at this moment.';

comment on function private.webinar_take(uuid[], uuid) is 'Hook take: not after the start, not past the queue, one for a person. Errors: webinar_not_open, webinar_full, already_registered.';

comment on function private.webinars_without_host(integer) is 'Webinars to come whose host was banned or has left: to be cancelled.';

comment on function public.answer_co_hosting(uuid, boolean) is 'Whoever was asked to host with somebody: says yes, which takes their time, or no, also later. Errors: webinar_not_found (nobody asked), state_changed, already_registered, slot_taken.';

comment on function public.answer_resolution(uuid, boolean) is 'The other side: accepts a proposal, which does it at once, or declines it. Errors: resolution_not_found, not_your_part, state_changed (answered, withdrawn or its time is over; or the order has moved on), order_frozen, refund_amount_invalid (less is left by now).';

comment on function public.cancel_registration(uuid) is 'Gives up one''s seat before the start, declines an offer, or leaves the queue. Of a seat that was paid for all money comes back, until cancel_before_hours before the start; of one that was moved since, until the new start. Errors: registration_not_found, state_changed (an order or an offer is just being paid: cancel_order(); or it is over), cannot_cancel (too late).';

comment on function public.cancel_webinar(uuid, text, bigint) is 'Host (or an admin, audited): cancels a webinar that has not begun. Access ends at once, everybody gets back all they paid, what the providers keep is the host''s: agreed_cost_cents is what webinar_cancellation_cost() said. Errors: webinar_not_found, reason_required, state_changed, cost_changed (the detail is what it is now; nothing was cancelled), webinar_busy.';

comment on function public.checkout(jsonb, public.payment_provider, text, jsonb, text, text[]) is
    'Buys items ([{item_id, option_id?, quantity?, offered_price_cents?, details?, gift_to? or gift_email?}], default: the cart) with stripe or wallet and answers the order, its payment and where to start it. offered_price_cents is the offer for name-your-price items; for others the price that was shown: more is not taken (price_changed), less is. The cart remembers what it showed. details are what the item''s kind wants to know. gift_to, a member, or gift_email, to whom a code is mailed, will own it. coupon_codes take something off: one a line, whichever saves most; one that cannot be used is an error, never a higher price. The same idempotency_key with the same request answers the first order, also when that was cancelled since. An earlier open order of one of the items is superseded, unless it can be bought repeatedly and nothing is booked for it. Errors: invalid_checkout, empty_checkout, too_many_items, item_not_available, option_not_available, package_required, extra_not_available, session_required, slot_not_available, slot_taken, time_zone_not_known, time_does_not_exist, time_is_ambiguous, line_not_valid, item_sold, item_reserved, already_owned, duplicate_item, own_item, quantity_not_allowed, price_too_low, price_changed, address_required, shipping_not_available, amount_out_of_range, insufficient_funds, provider_not_available, hold_paused, too_many_holds, payments_not_set_up, idempotency_key_invalid, idempotency_key_reused, coupon_not_found, coupon_expired, coupon_exhausted, coupon_already_used, coupon_not_applicable, coupon_minimum_not_reached, coupon_price_too_low, gift_not_possible.';

comment on function public.claim_gift(text) is 'Makes what was given to whoever has this code the caller''s own. Errors: gift_not_found (unknown, claimed, taken back), already_owned, own_item.';

comment on function public.convert_recording(uuid, bigint, text) is 'Host: makes a product of a webinar that took place, once: asked again it answers the first. It begins as a draft to which the host adds files; whoever was registered has it already, at no price. Errors: webinar_not_found, state_changed, invalid_price, invalid_title.';

comment on function public.decide_dispute(uuid, bigint, text) is 'Admin, not one of the two: ends a dispute. So many cents of all that was paid go back to the buyer, the rest is the seller''s; 0 completes the order. The note is for both. Errors: admin_only, reason_required, service_order_not_found, own_dispute, state_changed, order_frozen, refund_amount_invalid.';

comment on function public.decide_review(uuid, boolean) is 'Admins: publishes one of the reviews that wait because there were suspiciously many (status pending), or does not; audited. What was published is taken down by hide_content(). Errors: admin_only, review_not_found, state_changed.';

comment on function public.decline_order_extra(uuid) is 'Buyer: does not want an extra; price and time stay as they are. Errors: extra_not_found, not_your_part, state_changed, offer_being_paid.';

comment on function public.delete_review(uuid) is 'Takes back a review of the caller''s, with its votes and response. Errors: review_not_found, review_hidden.';

comment on function public.dispute_messages(uuid, integer, integer) is 'Admin: what the two wrote in their order''s conversation, while it is disputed; audited. The next page: after is the last number. Errors: admin_only, service_order_not_found, state_changed.';

comment on function public.edit_review(uuid, integer, text) is 'Changes rating and text of a review of the caller''s. Once it was shown it is a new version: votes begin anew, and a response is marked as one to an earlier version. Errors: review_not_found, review_hidden, invalid_rating, invalid_review.';

comment on function public.effective_status(public.resolution_requests) is 'Computed field: the request''s state now, also where its time is over and nothing has written that yet.';

comment on function public.invite_co_host(uuid, uuid) is 'Host, with a plan that has webinar-co-hosts (premium and higher): asks somebody to host with them. Errors: webinar_not_found, state_changed, plan_required, user_not_found, too_many_co_hosts (ten), already_invited.';

comment on function public.item_reviews(uuid, text, integer, integer, timestamp
    with time zone, uuid, integer) is 'An item''s reviews the caller can read, most helpful or newest first (sort: helpful, newest), perhaps of one rating only; 1 to 100 rows, 20 unless told. The next page starts after the last row''s helpful_count or created_at, and its id. Error: invalid_sort.';

comment on function public.join_waiting_list(uuid) is 'Waits for a seat, at the end of the queue: of a free webinar the first in line gets a seat that becomes free, of one at a price it is offered to them until offer_expires_at (checkout_payable()). Errors: webinar_not_found, webinar_not_open, own_item, already_registered (also who waits already, or has an order to pay), seat_offered, seats_available.';

comment on function public.join_webinar(uuid) is 'The caller''s own way into a webinar, from half an hour before it starts until it ends: for hosts, co-hosts and confirmed registrations. The address is theirs alone and ends with the seat. Errors: webinar_not_found (also without a seat), webinar_not_begun, webinar_over, room_not_ready, payments_not_set_up (no worker has published its address).';

comment on function public.mail_gift(uuid, text) is 'Payer: mails the code of a gift that nobody has claimed again, or to another address; the code mailed before ends. Errors: gift_not_found, invalid_checkout (no address), too_many_actions.';

comment on function public.mark_attendance(uuid, uuid[]) is 'Hosts and co-hosts, from the start on: these people are there; how many that was not known of. Errors: webinar_not_found, too_many_people (1,000), state_changed (before the start, cancelled), registration_not_found (the detail has no confirmed seat; then nobody is marked).';

comment on function public.offer_order_extra(uuid, text, bigint, integer) is 'Seller: offers something on top of an order that is not delivered, for this price (cents) and so many days of 24 hours more. The buyer pays payable_id with checkout_payable(), or declines; the days count once it is paid. Errors: service_order_not_found, not_your_part, state_changed, order_frozen, too_many_order_extras (20 an order), text_not_visible, and the constraints of service_order_extras.';

comment on function public.open_dispute(uuid, text) is 'Either side: an admin decides. Every clock stands still; the two may still agree on an end, and who opened it withdraws it. Errors: reason_required, service_order_not_found, state_changed, order_frozen.';

comment on function public.propose_cancellation(uuid, bigint, text) is 'Either side: proposes to end the order, with this much of all that was paid for it back to the buyer (cents); the rest is the seller''s. The other side answers within settings.service_answer_period. Errors: reason_required, service_order_not_found, state_changed, order_frozen, resolution_open, refund_amount_invalid.';

comment on function public.propose_extension(uuid, integer, text) is 'Seller: asks for more days of 24 hours, to be answered within settings.service_answer_period. Errors: reason_required, service_order_not_found, not_your_part, state_changed, order_frozen, resolution_open, extension_too_long (the detail is the last moment possible), invalid_resolution (23514).';

comment on function public.rating_histogram(uuid) is 'How an item the caller can see was rated. Error: item_not_found.';

comment on function public.refuse_gift(uuid) is 'Whom something was given to: gives it back, and its payer what it cost, at the platform''s cost. Within settings.gift_refusal_period, and not what was claimed by a code. Errors: gift_not_found, state_changed (detail {kind, state}: refused, claimed, taken back, too late), refund_amount_invalid (a refund is under way).';

comment on function public.register_for_webinar(uuid) is 'Takes a seat in a free webinar; one at a price is bought with checkout(). A calendar entry is mailed. Errors: webinar_not_found, webinar_not_open (it has begun, ended or was cancelled, or the caller was removed), own_item, already_registered, seat_offered (the detail is the payable), webinar_full (also while somebody waits: join_waiting_list()), payment_required.';

comment on function public.registrations_count(public.webinars) is 'Computed field of webinars: how many are registered.';

comment on function public.remove_co_host(uuid, uuid) is 'Host: somebody does not host with them any more. Errors: webinar_not_found, user_not_found.';

comment on function public.remove_registration(uuid, uuid, text) is 'Host (or an admin, audited): somebody is not registered any more and cannot register again. They cannot enter from now on, and get back all they paid. Errors: webinar_not_found, reason_required, registration_not_found, state_changed, insufficient_funds (the host would owe too much).';

comment on function public.reschedule_webinar(uuid, timestamp without time zone, text, integer, boolean) is
    'Host: another time. Seats and payments stay, everybody is told and gets the calendar entry anew; who was registered before may leave with all their money until the new start. Errors: webinar_not_found, state_changed (it has begun, ended or was cancelled), time_zone_not_known, time_does_not_exist, time_is_ambiguous, time_has_passed, slot_taken.';

comment on function public.respond_to_review(uuid, text) is 'The seller answers a review that is shown, once; again replaces it, an empty response takes it back. Errors: review_not_found, invalid_review.';

comment on function public.review_buyer(uuid, integer, text) is 'The seller of a line rates its buyer, of what is reviewed blind; the two and admins read it. Errors: review_not_allowed, already_reviewed, review_too_early, review_closed, invalid_rating, invalid_review, too_many_actions.';

comment on function public.review_item(uuid, integer, text, uuid) is 'Rates what the caller bought and still has, from 1 to 5; of what was bought several times the newest that has no review yet, or the one named. Shown at once, or blind until the other side has reviewed or settings.review_blind_period is over. Errors: review_not_allowed, already_reviewed, review_too_early, review_closed, invalid_rating, invalid_review, too_many_actions.';

comment on function public.service_order_conversation(uuid) is 'The conversation of the two about their order, the same whoever asks and however often. A block, a private profile or the end of the order does not close it. Error: service_order_not_found.';

comment on function public.set_webinar_recording(uuid, text) is 'Host: where the recording of a webinar that took place is, for those who were registered. Errors: webinar_not_found, state_changed, invalid_link.';

comment on function public.set_webinar_room(uuid, text) is 'Host: where it takes place, an https address. Nobody can read it: join_webinar() leads there. Errors: webinar_not_found, invalid_link.';

comment on function public.status_now(public.webinar_registrations) is 'Computed field of webinar_registrations: how it stands at this moment, whatever was noted yet.';

comment on function public.status_now(public.webinars) is 'Computed field of webinars: upcoming, live, ended or cancelled at this moment, whatever was noted yet.';

comment on function public.vote_on_review(uuid, boolean) is 'Says whether a review is helpful; again changes the vote, null takes it back. Not of one''s own, not by who sells the item. Errors: review_not_found, vote_not_allowed.';

comment on function public.webinar_cancellation_cost(uuid) is 'Host: what cancel_webinar() would mean now, to be shown before. Error: webinar_not_found.';

comment on function public.withdraw_dispute(uuid) is 'Who opened the dispute: the order goes on where it was, its clock with what was left, at least settings.service_least_period. Errors: service_order_not_found, not_your_part, state_changed, order_frozen.';

comment on function public.withdraw_order_extra(uuid) is 'Seller: takes an extra back that is not paid. Errors: extra_not_found, not_your_part, state_changed, offer_being_paid.';

comment on function public.withdraw_resolution(uuid) is 'Who proposed it: takes it back while nobody has answered. Errors: resolution_not_found, not_your_part, state_changed.';

comment on table private.calendar_entries is 'Calendar entries of registrations and what is still to be mailed of them; sent by the workers.';

comment on table private.gift_codes is 'Where the code of a gift is mailed, and what it is checked by. A code is made when it is mailed and nowhere kept; the one mailed last counts, and it has no end. It has 122 random bits: no number of tries finds one.';

comment on table private.recording_grants is 'Recordings that are still to be given to those who were registered; see grant_recordings().';

comment on table private.webinar_passes is 'Addresses given to people to enter a webinar: one each, worth nothing without the seat.';

comment on table private.webinar_reminders is 'Reminders that were given: each once.';

comment on table private.webinar_rooms is 'Where webinars take place; no client reads it. provider names who runs the room (workers/rooms).';

comment on table public.gifts is 'Gifts: payer, receiver and admins read; checkout, settlement and the RPCs of gifts write. Whether it still is the receiver''s its purchases say.';

comment on table public.item_ratings is 'How often each rating was given to an item, of the reviews that count; no row: never. Readable with the item; its average and count are copied to catalog_items. rating_histogram() answers it in percent.';

comment on table public.review_votes is 'Who found which review helpful, or not: one vote each, of its present version. Only the voter reads it; written by vote_on_review().';

comment on table public.reviews is 'What buyers say of items, and of what is reviewed blind what sellers say of buyers. Everybody reads what is shown of items they can see; the reviewer and admins read all of theirs; of a buyer only the two and admins read. Written by review_item(), review_buyer(), edit_review(), delete_review(), respond_to_review().';

comment on table public.webinar_co_hosts is 'Co-hosts of webinars: see who is registered, enter before others, mark attendance; they cancel, refund and convert nothing. Whoever sees the webinar sees those who said yes. Written by functions.';

comment on table public.webinar_counts is 'How many are registered: whoever sees the webinar reads it, also as webinars.registrations_count. Kept by triggers.';

comment on table public.webinar_recordings is 'Where recordings are. Hosts and those who are registered read; set_webinar_recording() writes.';

comment on table public.webinar_registrations is 'Who is registered for a webinar, waits for a seat, or did. Whoever it is, the hosts and admins read it; only functions write. status_now is how it stands at this moment.';

comment on table public.webinars is 'Live online workshops. Visible while upcoming or live and of a host in good standing; always to hosts, those who registered, and admins. status_now is how it stands at this moment. The host inserts and changes what is said about it; time and state are changed by functions.';

comment on type private.line_facts is 'What a kind says about a wanted line: what to keep of the item as it is now, what the line costs less (cents), or why it cannot be ordered (an error code and its detail). surcharge_cents: what each piece costs on top of its price, by what the buyer sent for it. is_booked: it needs the hook hold.';

comment on type private.webinar_refund is 'What would be given back of a sale, and what that costs the host beyond what it brought, cents.';

comment on type public.dispute_message is 'A message of an order''s conversation, as its two sides see it.';

comment on type public.gift_status is 'ordered: not paid yet. waiting: for whoever has the code. given: it has an owner. refused: by whom it was given to.';

comment on type public.rating_histogram is 'How an item was rated: counts and percentages of 1 to 5 in this order. The percentages add up to exactly 100; without reviews they and the average are null.';

comment on type public.registration_payment is 'How it stands with the money for a seat.';

comment on type public.registration_status is 'waiting: in the queue. offered: a seat is kept for them until offer_expires_at. held: an order that is not paid yet has one. confirmed: theirs. The others have none: cancelled by somebody, refunded whole, expired.';

comment on type public.review_side is 'buyer: of the item, by who bought it. seller: of the buyer, by who sold it.';

comment on type public.review_status is 'blind: unseen until publish_at or the other side''s review. pending: one of suspiciously many, waits for an admin; rejected: who did not take it.';

comment on type public.webinar_cancellation is 'What cancelling a webinar means: how many people, how many refunds of how much together, and what they cost the host beyond what was earned with it (what the providers keep), cents.';

comment on type public.webinar_pass is 'How somebody enters a webinar.';

comment on type public.webinar_status is 'How it stands with a webinar.';

comment on view private.unread_messages is 'What inbox_entries.unread_count counts.';

revoke all
    on function private.add_review(public.order_items, uuid, uuid, public.review_side, integer, text)
    from public;

revoke all on function private.asked_lines(jsonb) from public;

revoke all on function private.begin_webinar_counts() from public;

revoke all on function private.book_lines(uuid[], uuid[]) from public;

revoke all on function private.cancel_for_host(uuid) from public;

grant execute on function private.cancel_for_host(uuid) to avenue_worker;

revoke all on function private.cancellation_of(uuid) from public;

revoke all on function private.cart_lines(uuid) from public;

revoke all on function private.catalog_entry(public.webinars) from public;

revoke all on function private.check_webinar() from public;

revoke all on function private.claim_gift_mail(integer) from public;

grant execute on function private.claim_gift_mail(integer) to avenue_worker;

revoke all on function private.claim_invitation(integer) from public;

grant execute on function private.claim_invitation(integer) to avenue_worker;

revoke all on function private.complete_late_extras(integer) from public;

grant execute on function private.complete_late_extras(integer) to avenue_worker;

revoke all on function private.count_registrations() from public;

revoke all on function private.count_review_votes() from public;

revoke all on function private.count_reviews() from public;

revoke all on function private.count_shown_review_votes() from public;

revoke all on function private.current_ratings(uuid) from public;

grant execute on function private.current_ratings(uuid) to anon, authenticated;

revoke all on function private.delivery_order(text) from public;

revoke all on function private.dispatch_freed(text, uuid[]) from public;

revoke all on function private.dispatch_give(text, uuid[]) from public;

revoke all on function private.dispatch_hold(text, uuid[], uuid[]) from public;

revoke all on function private.dispatch_release(text, uuid[]) from public;

revoke all on function private.dispatch_take(text, uuid[], uuid) from public;

revoke all on function private.earns_item(uuid, uuid, uuid) from public;

revoke all on function private.end_order_extra(uuid, text, public.service_extra_status) from public;

revoke all on function private.end_seat(uuid, uuid, boolean, public.refund_origin, text) from public;

revoke all on function private.end_webinar(uuid, text) from public;

revoke all on function private.entry_refusal(uuid, uuid) from public;

revoke all on function private.erase_reviews(uuid, integer) from public;

revoke all on function private.erase_webinars(uuid) from public;

revoke all on function private.expire_resolutions(integer) from public;

grant execute on function private.expire_resolutions(integer) to avenue_worker;

revoke all on function private.expire_seats(uuid) from public;

revoke all on function private.fill_seats(uuid) from public;

revoke all on function private.follow_author_of_reviews(uuid, integer) from public;

revoke all on function private.follow_move(uuid) from public;

revoke all on function private.follow_time_zones(integer) from public;

grant execute on function private.follow_time_zones(integer) to avenue_worker;

revoke all on function private.gift_line(uuid) from public;

revoke all on function private.gift_mailed(uuid, text, integer) from public;

grant execute on function private.gift_mailed(uuid, text, integer) to avenue_worker;

revoke all on function private.gift_problem(public.catalog_items, uuid, uuid, uuid, boolean) from public;

revoke all on function private.give_gifts(uuid[]) from public;

revoke all on function private.give_up_seat(uuid, public.registration_status) from public;

revoke all on function private.grant_recording(uuid, integer) from public;

revoke all on function private.grant_recordings(integer) from public;

grant execute on function private.grant_recordings(integer) to avenue_worker;

revoke all on function private.has_seat(uuid, uuid) from public;

revoke all on function private.invitation_failed(uuid, integer, text, boolean, integer) from public;

grant execute on function private.invitation_failed(uuid, integer, text, boolean, integer) to avenue_worker;

revoke all on function private.invitation_sent(uuid, integer) from public;

grant execute on function private.invitation_sent(uuid, integer) to avenue_worker;

revoke all on function private.is_delivered(text) from public;

revoke all on function private.is_reason(text) from authenticated;

grant execute on function private.is_reason(text) to authenticated;

revoke all on function private.is_registered(uuid, uuid) from public;

grant execute on function private.is_registered(uuid, uuid) to authenticated;

revoke all on function private.is_review_burst(uuid) from public;

revoke all on function private.is_webinar_host(uuid, uuid, boolean) from public;

grant execute on function private.is_webinar_host(uuid, uuid, boolean) to authenticated;

revoke all on function private.last_uuid() from anon;

grant execute on function private.last_uuid() to anon;

revoke all on function private.last_uuid() from authenticated;

grant execute on function private.last_uuid() to authenticated;

revoke all on function private.leave_webinars(uuid) from public;

revoke all on function private.lock_gift(uuid) from public;

revoke all on function private.lock_review(uuid, uuid) from public;

revoke all on function private.lock_reviewed(uuid[]) from public;

revoke all on function private.lock_reviewed_by(uuid[]) from public;

revoke all on function private.lock_webinar(uuid) from public;

revoke all on function private.lock_webinar_sales(uuid) from public;

revoke all on function private.may_carry_rating(uuid, uuid, uuid) from public;

revoke all on function private.may_deliver(text) from public;

grant execute on function private.may_deliver(text) to authenticated;

revoke all on function private.may_read_delivery(text) from public;

grant execute on function private.may_read_delivery(text) to authenticated;

revoke all on function private.move_ratings(uuid[], integer[], integer[]) from public;

revoke all on function private.note_calendar_entry() from public;

revoke all on function private.note_gifts(uuid, private.order_line[]) from public;

revoke all on function private.page_size(integer, integer, integer) from anon;

grant execute on function private.page_size(integer, integer, integer) to anon;

revoke all on function private.page_size(integer, integer, integer) from authenticated;

grant execute on function private.page_size(integer, integer, integer) to authenticated;

revoke all on function private.payment_is_open(uuid) from public;

revoke all on function private.percentages(integer[]) from public;

grant execute on function private.percentages(integer[]) to anon, authenticated;

revoke all on function private.propose_resolution(public.resolution_requests) from public;

revoke all on function private.publish_reviews_due(integer) from public;

grant execute on function private.publish_reviews_due(integer) to avenue_worker;

revoke all on function private.publish_reviews_of(uuid) from public;

revoke all on function private.queue_reminders() from public;

revoke all on function private.rate_purchases() from public;

revoke all on function private.registration_refusal(public.webinars, uuid) from public;

revoke all on function private.registration_state(public.webinar_registrations) from public;

grant execute on function private.registration_state(public.webinar_registrations) to authenticated;

revoke all on function private.remind_webinar(uuid, timestamp with time zone, integer) from public;

grant execute on function private.remind_webinar(uuid, timestamp with time zone, integer) to avenue_worker;

revoke all on function private.require_ended(uuid) from public;

revoke all on function private.require_host(uuid, boolean) from public;

revoke all on function private.review_lock(uuid[]) from public;

revoke all on function private.reviewing(text) from public;

revoke all on function private.service_extra_grant(uuid[]) from public;

revoke all on function private.service_extra_restore(uuid[]) from public;

revoke all on function private.service_extra_revoke(uuid[], text) from public;

revoke all on function private.set_review_vote(uuid, uuid, boolean) from public;

revoke all on function private.settle_seats(uuid) from public;

revoke all on function private.split_refund(public.transactions, bigint, text) from public;

revoke all on function private.sweep_offers(integer) from public;

grant execute on function private.sweep_offers(integer) to avenue_worker;

revoke all on function private.sweep_webinars(integer) from public;

grant execute on function private.sweep_webinars(integer) to avenue_worker;

revoke all on function private.take_webinar_time() from public;

revoke all on function private.tell_review() from public;

revoke all on function private.tell_review_response() from public;

revoke all on function private.use_new_seats() from public;

revoke all on function private.use_pass(uuid) from public;

grant execute on function private.use_pass(uuid) to avenue_worker;

revoke all on function private.visible_webinar(uuid) from public;

revoke all on function private.vote_as_member(uuid, boolean) from public;

grant execute on function private.vote_as_member(uuid, boolean) to authenticated;

revoke all on function private.webinar_check_line(uuid[], private.wanted_line[]) from public;

revoke all on function private.webinar_check_option(uuid[], public.catalog_options[]) from public;

revoke all on function private.webinar_freed(uuid[]) from public;

revoke all on function private.webinar_grant(uuid[]) from public;

revoke all on function private.webinar_hosts(uuid) from public;

revoke all on function private.webinar_refunds(uuid) from public;

revoke all on function private.webinar_restore(uuid[]) from public;

revoke all on function private.webinar_revoke(uuid[], text) from public;

revoke all on function private.webinar_state(public.webinars) from public;

revoke all on function private.webinar_take(uuid[], uuid) from public;

revoke all on function private.webinars_without_host(integer) from public;

grant execute on function private.webinars_without_host(integer) to avenue_worker;

grant execute on function public.answer_co_hosting(uuid, boolean) to authenticated;

grant execute on function public.answer_resolution(uuid, boolean) to authenticated;

grant execute on function public.cancel_registration(uuid) to authenticated;

grant execute on function public.cancel_webinar(uuid, text, bigint) to authenticated;

grant execute
    on function public.checkout(jsonb, public.payment_provider, text, jsonb, text, text[])
    to authenticated;

grant execute on function public.claim_gift(text) to authenticated;

grant execute on function public.convert_recording(uuid, bigint, text) to authenticated;

grant execute on function public.decide_dispute(uuid, bigint, text) to authenticated;

grant execute on function public.decide_review(uuid, boolean) to authenticated;

grant execute on function public.decline_order_extra(uuid) to authenticated;

grant execute on function public.delete_review(uuid) to authenticated;

grant execute on function public.dispute_messages(uuid, integer, integer) to authenticated;

grant execute on function public.edit_review(uuid, integer, text) to authenticated;

grant execute on function public.effective_status(public.resolution_requests) to authenticated;

grant execute on function public.effective_status(public.resolution_requests) to service_role;

grant execute on function public.invite_co_host(uuid, uuid) to authenticated;

grant execute
    on function public.item_reviews(uuid, text, integer, integer, timestamp with time zone, uuid, integer)
    to anon, authenticated;

grant execute on function public.join_waiting_list(uuid) to authenticated;

grant execute on function public.join_webinar(uuid) to authenticated;

grant execute on function public.mail_gift(uuid, text) to authenticated;

grant execute on function public.mark_attendance(uuid, uuid[]) to authenticated;

grant execute on function public.offer_order_extra(uuid, text, bigint, integer) to authenticated;

grant execute on function public.open_dispute(uuid, text) to authenticated;

grant execute on function public.propose_cancellation(uuid, bigint, text) to authenticated;

grant execute on function public.propose_extension(uuid, integer, text) to authenticated;

grant execute on function public.rating_histogram(uuid) to anon, authenticated;

grant execute on function public.refuse_gift(uuid) to authenticated;

grant execute on function public.register_for_webinar(uuid) to authenticated;

grant execute on function public.registrations_count(public.webinars) to anon, authenticated;

grant execute on function public.remove_co_host(uuid, uuid) to authenticated;

grant execute on function public.remove_registration(uuid, uuid, text) to authenticated;

grant execute
    on function public.reschedule_webinar(uuid, timestamp without time zone, text, integer, boolean)
    to authenticated;

grant execute on function public.respond_to_review(uuid, text) to authenticated;

grant execute on function public.review_buyer(uuid, integer, text) to authenticated;

grant execute on function public.review_item(uuid, integer, text, uuid) to authenticated;

grant execute on function public.service_order_conversation(uuid) to authenticated;

grant execute on function public.set_webinar_recording(uuid, text) to authenticated;

grant execute on function public.set_webinar_room(uuid, text) to authenticated;

grant execute on function public.status_now(public.webinar_registrations) to authenticated;

grant execute on function public.status_now(public.webinars) to anon, authenticated;

grant execute on function public.vote_on_review(uuid, boolean) to authenticated;

grant execute on function public.webinar_cancellation_cost(uuid) to authenticated;

grant execute on function public.withdraw_dispute(uuid) to authenticated;

grant execute on function public.withdraw_order_extra(uuid) to authenticated;

grant execute on function public.withdraw_resolution(uuid) to authenticated;

revoke all on table public.gifts from authenticated;

grant select on table public.gifts to authenticated;

revoke all on table public.gifts from service_role;

grant select on table public.gifts to service_role;

revoke all on table public.item_ratings from anon;

grant select on table public.item_ratings to anon;

revoke all on table public.item_ratings from authenticated;

grant select on table public.item_ratings to authenticated;

revoke all on table public.item_ratings from service_role;

grant select on table public.item_ratings to service_role;

revoke all on table public.review_votes from authenticated;

grant select on table public.review_votes to authenticated;

revoke all on table public.review_votes from service_role;

grant select on table public.review_votes to service_role;

revoke all on table public.reviews from anon;

grant select on table public.reviews to anon;

revoke all on table public.reviews from authenticated;

grant select on table public.reviews to authenticated;

revoke all on table public.reviews from service_role;

grant select on table public.reviews to service_role;

revoke all on table public.webinar_co_hosts from anon;

grant select on table public.webinar_co_hosts to anon;

revoke all on table public.webinar_co_hosts from authenticated;

grant select on table public.webinar_co_hosts to authenticated;

revoke all on table public.webinar_co_hosts from service_role;

grant select on table public.webinar_co_hosts to service_role;

revoke all on table public.webinar_counts from anon;

grant select on table public.webinar_counts to anon;

revoke all on table public.webinar_counts from authenticated;

grant select on table public.webinar_counts to authenticated;

revoke all on table public.webinar_counts from service_role;

grant select on table public.webinar_counts to service_role;

revoke all on table public.webinar_recordings from authenticated;

grant select on table public.webinar_recordings to authenticated;

revoke all on table public.webinar_recordings from service_role;

grant select on table public.webinar_recordings to service_role;

revoke all on table public.webinar_registrations from authenticated;

grant select on table public.webinar_registrations to authenticated;

revoke all on table public.webinar_registrations from service_role;

grant select on table public.webinar_registrations to service_role;

revoke all on table public.webinars from anon;

grant select on table public.webinars to anon;

revoke all on table public.webinars from authenticated;

revoke all (cancel_before_hours) on table public.webinars from authenticated;

grant insert (cancel_before_hours) on table public.webinars to authenticated;

revoke all (category_id) on table public.webinars from authenticated;

grant insert (category_id), update (category_id) on table public.webinars to authenticated;

revoke all (description) on table public.webinars from authenticated;

grant insert (description), update (description) on table public.webinars to authenticated;

revoke all (duration_minutes) on table public.webinars from authenticated;

grant insert (duration_minutes) on table public.webinars to authenticated;

revoke all (image_media_id) on table public.webinars from authenticated;

grant insert (image_media_id), update (image_media_id) on table public.webinars to authenticated;

revoke all (is_recorded) on table public.webinars from authenticated;

grant insert (is_recorded), update (is_recorded) on table public.webinars to authenticated;

revoke all (is_second_hour) on table public.webinars from authenticated;

grant insert (is_second_hour) on table public.webinars to authenticated;

revoke all (max_attendees) on table public.webinars from authenticated;

grant insert (max_attendees), update (max_attendees) on table public.webinars to authenticated;

revoke all (price_cents) on table public.webinars from authenticated;

grant insert (price_cents), update (price_cents) on table public.webinars to authenticated;

revoke all (slug) on table public.webinars from authenticated;

grant insert (slug), update (slug) on table public.webinars to authenticated;

revoke all (starts_local) on table public.webinars from authenticated;

grant insert (starts_local) on table public.webinars to authenticated;

revoke all (tags) on table public.webinars from authenticated;

grant insert (tags), update (tags) on table public.webinars to authenticated;

revoke all (time_zone) on table public.webinars from authenticated;

grant insert (time_zone) on table public.webinars to authenticated;

revoke all (title) on table public.webinars from authenticated;

grant insert (title), update (title) on table public.webinars to authenticated;

grant select on table public.webinars to authenticated;

revoke all on table public.webinars from service_role;

grant select on table public.webinars to service_role;

comment on column public.webinar_recordings.recording_url is 'Its address, http(s) only.';

alter table public.webinars
    add constraint webinars_host_id_fkey foreign key (host_id) references public.profiles(id);

create index webinars_host_id_starts_at_idx on public.webinars using btree (host_id, starts_at desc);

create policy webinars_insert on public.webinars
    for insert
    to authenticated
    with check ((host_id = ( SELECT private.member_id() AS member_id)));

create policy webinars_select on public.webinars
    for select
    to authenticated
    using (((host_id = ( select private.member_id() as member_id)) or ((ends_at > now()) AND (exists ( select
   from public.catalog_items c
  where ((c.id = webinars.id) AND c.is_visible)))) or
      private.is_registered(id, ( select private.member_id() as member_id)) or
      private.is_webinar_host(id, ( select private.member_id() as member_id)) or
      ( select private.is_admin() as is_admin)));

create policy webinars_update on public.webinars
    for update
    to authenticated
    using ((host_id = ( select private.member_id() as member_id)))
    with check ((host_id = ( SELECT private.member_id() AS member_id)));

comment on column public.webinars.host_id is 'Who hosts it and earns; always the caller.';

comment on column public.webinars.thumbnail_url is 'Address of the picture for lists, http(s) only: from outside, or of the small copy of image_media_id.';

revoke all (thumbnail_url) on table public.webinars from authenticated;

grant insert (thumbnail_url), update (thumbnail_url) on table public.webinars to authenticated;

create trigger attach_image_media_id
    before insert or update of image_media_id, cover_image_url, thumbnail_url on public.webinars
    for each row
    execute function
        private.attach_media('image_media_id', 'webinar', 'host_id',
        '{"thumbnail_url": "small", "cover_image_url": "large"}');

create trigger unuse_image_media_id
    after delete or update of image_media_id, cover_image_url, thumbnail_url on public.webinars
    for each row
    execute function private.release_media('image_media_id');

comment on column public.webinars.cover_image_url is 'Address of the picture of its page, http(s) only: from outside, or of the large copy of image_media_id.';

revoke all (cover_image_url) on table public.webinars from authenticated;

grant insert (cover_image_url), update (cover_image_url) on table public.webinars to authenticated;

alter table public.webinars
    add constraint webinars_cancelled_reason_check check (private.is_reason(cancelled_reason));

comment on constraint webinars_price_cents_check on public.webinars is 'invalid_price: A price is 0 or from 50 to 99999999 cents.';

comment on constraint webinars_slug_check on public.webinars is 'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';

create index catalog_items_entries_idx on public.catalog_items
    using gin (private.item_entries(search, title, kind, category, tags, popularity, published_at, id))
    where is_listed;

-- What the pages insert.
alter table public.availability alter column time_zone set statistics 0;

alter table public.coupons alter column code set statistics 0;

alter table public.coupons alter column code_key set statistics 0;

alter table public.license_activations alter column device_id set statistics 0;

alter table public.license_activations alter column device_name set statistics 0;

alter table public.portfolio_pieces alter column title set statistics 0;

alter table public.portfolio_pieces alter column url set statistics 0;

alter table public.product_versions alter column name set statistics 0;

alter table public.product_versions alter column notes set statistics 0;

alter table public.resolution_requests alter column asking_side set statistics 0;

alter table public.reviews alter column hidden_reason set statistics 0;

alter table public.reviews alter column review_text set statistics 0;

alter table public.reviews alter column seller_response set statistics 0;

alter table public.service_extras alter column description set statistics 0;

alter table public.service_extras alter column title set statistics 0;

alter table public.service_order_events alter column act set statistics 0;

alter table public.service_order_events alter column actor set statistics 0;

alter table public.service_order_events alter column from_state set statistics 0;

alter table public.service_order_events alter column to_state set statistics 0;

alter table public.service_orders alter column disputing_side set statistics 0;

alter table public.service_orders alter column resumes_as set statistics 0;

alter table public.services alter column buyer_requirements set statistics 0;

alter table public.services alter column description set statistics 0;

alter table public.services alter column hidden_reason set statistics 0;

alter table public.services alter column slug set statistics 0;

alter table public.services alter column thumbnail_url set statistics 0;

alter table public.services alter column title set statistics 0;

alter table public.webinar_recordings alter column recording_url set statistics 0;

alter table public.webinars alter column cancelled_reason set statistics 0;

alter table public.webinars alter column cover_image_url set statistics 0;

alter table public.webinars alter column description set statistics 0;

alter table public.webinars alter column hidden_reason set statistics 0;

alter table public.webinars alter column slug set statistics 0;

alter table public.webinars alter column thumbnail_url set statistics 0;

alter table public.webinars alter column time_zone set statistics 0;

alter table public.webinars alter column title set statistics 0;

alter table public.wish_lists alter column name set statistics 0;

update private.hooks set otherwise = 'select l.no, null::text, null::public.license_type, null::text, null::integer, ''{}''::jsonb, 0::bigint, case when l.details <> ''{}'' then ''line_not_valid'' end, case when l.details <> ''{}'' then ''details'' end, 0::bigint, false from unnest(lines) as l'
where hook = 'check_line';

insert into private.hooks (hook, parameters, returns, as_caller, otherwise, needs, refusal, meaning) values
('freed', '', 'void', 'false', null, '{grant}', 'item_not_available', 'Orders gave up seats of these items: who waits for one may have it.'),
('give', '', 'void', 'false', 'null', '{check_line}', 'gift_not_possible', 'A kind that has it can be given: these purchases, which were nobody''s, were just claimed by their owner.'),
('hold', 'earlier uuid[]', 'void', 'false', 'null', '{release}', 'item_not_available', 'Checkout, and money that came late: takes what each of these order lines needs beside a stock, such as an hour of people''s time, or fails with a PT409. What the earlier lines of the same buyer have goes over to these. For lines of which check_line says is_booked; what they have they keep when they are paid.'),
('release', '', 'void', 'false', 'null', '{check_line}', 'item_not_available', 'These order lines were given up unpaid: what hold took for them is free again. What was paid for is the hook revoke''s.'),
('take', 'taker uuid', 'void', 'false', null, '{freed}', 'item_not_available', 'Before an order takes one of these items'' seats, whose registry rows are locked: fails when its buyer may not have one.');

update private.kinds set hooks = '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete,give}'
where kind = 'product';

update private.kinds set hooks = '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,lock_own,grant,revoke,restore,complete,give}'
where kind = 'artwork';

insert into private.kinds (kind, relation, owner_column, page, hooks, is_browsable, is_repeatable, has_seats, proceeds, commission, earned) values
('gift', 'public.gifts', 'payer_id', '/gifts/{id}', '{}', 'true', 'false', 'false', 'seller', 'plan', 'at_payment'),
('resolution_request', 'public.resolution_requests', null, null, '{}', 'true', 'false', 'false', 'seller', 'plan', 'at_payment'),
('review', 'public.reviews', 'reviewer_id', '/reviews/{id}', '{can_read,evidence,place,lock,hide}', 'true', 'false', 'false', 'seller', 'plan', 'at_payment'),
('service_extra', 'public.service_order_extras', 'seller_id', null, '{check_line,units,payees,grant,revoke,restore,complete}', 'false', 'true', 'false', 'seller', 'plan', 'at_completion'),
('webinar', 'public.webinars', 'host_id', '/webinars/{id}', '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,take,freed,grant,revoke,restore,complete}', 'true', 'false', 'true', 'seller', 'plan', 'at_completion');

insert into private.media_purposes (purpose, bucket, is_public, is_uploaded, sizes, meaning) values
('webinar', 'pictures', 'true', 'true', '{large,medium,small,thumbnail}', 'a webinar');

insert into private.media_columns (relation, media_column, purpose, owner_column, urls) values
('public.webinars', 'image_media_id', 'webinar', 'host_id', '{"thumbnail_url": "small", "cover_image_url": "large"}');

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.gifts', 'status', null, 'ordered', 'checkout()'),
('public.gifts', 'status', 'given', 'refused', 'refuse_gift()'),
('public.gifts', 'status', 'ordered', 'given', 'paid, to a member'),
('public.gifts', 'status', 'ordered', 'waiting', 'paid, its code is mailed'),
('public.gifts', 'status', 'waiting', 'given', 'claim_gift()'),
('public.reviews', 'status', null, 'blind', 'the first of two who review each other'),
('public.reviews', 'status', null, 'pending', 'one of suspiciously many'),
('public.reviews', 'status', null, 'published', 'shown at once, or the other side''s is in'),
('public.reviews', 'status', 'blind', 'published', 'the other side''s is in, or time is up'),
('public.reviews', 'status', 'pending', 'blind', 'decide_review() before time is up'),
('public.reviews', 'status', 'pending', 'published', 'decide_review()'),
('public.reviews', 'status', 'pending', 'rejected', 'decide_review()'),
('public.reviews', 'status', 'rejected', 'blind', 'decide_review() once more, before time is up'),
('public.reviews', 'status', 'rejected', 'pending', 'its author changed it'),
('public.reviews', 'status', 'rejected', 'published', 'decide_review() once more'),
('public.webinar_registrations', 'status', null, 'confirmed', 'register_for_webinar()'),
('public.webinar_registrations', 'status', null, 'held', 'checkout'),
('public.webinar_registrations', 'status', null, 'waiting', 'join_waiting_list()'),
('public.webinar_registrations', 'status', 'cancelled', 'confirmed', 'comes again'),
('public.webinar_registrations', 'status', 'cancelled', 'held', 'comes again'),
('public.webinar_registrations', 'status', 'cancelled', 'waiting', 'comes again'),
('public.webinar_registrations', 'status', 'confirmed', 'cancelled', 'by them, a host, or with the webinar'),
('public.webinar_registrations', 'status', 'confirmed', 'refunded', 'a full refund'),
('public.webinar_registrations', 'status', 'expired', 'confirmed', 'comes again'),
('public.webinar_registrations', 'status', 'expired', 'held', 'comes again'),
('public.webinar_registrations', 'status', 'expired', 'waiting', 'comes again'),
('public.webinar_registrations', 'status', 'held', 'cancelled', 'the webinar is cancelled'),
('public.webinar_registrations', 'status', 'held', 'confirmed', 'paid'),
('public.webinar_registrations', 'status', 'held', 'expired', 'the order ended unpaid'),
('public.webinar_registrations', 'status', 'offered', 'cancelled', 'declined, or the webinar is cancelled'),
('public.webinar_registrations', 'status', 'offered', 'confirmed', 'paid'),
('public.webinar_registrations', 'status', 'offered', 'expired', 'not paid in time'),
('public.webinar_registrations', 'status', 'refunded', 'confirmed', 'comes again, or the refund failed'),
('public.webinar_registrations', 'status', 'refunded', 'held', 'comes again'),
('public.webinar_registrations', 'status', 'refunded', 'waiting', 'comes again'),
('public.webinar_registrations', 'status', 'waiting', 'cancelled', 'leaves the queue, or it is cancelled'),
('public.webinar_registrations', 'status', 'waiting', 'confirmed', 'a free seat, first in line'),
('public.webinar_registrations', 'status', 'waiting', 'expired', 'the webinar began'),
('public.webinar_registrations', 'status', 'waiting', 'offered', 'a seat is free, first in line'),
('public.webinars', 'status', null, 'upcoming', 'its host announces it'),
('public.webinars', 'status', 'live', 'ended', 'its end has come, it is earned'),
('public.webinars', 'status', 'upcoming', 'cancelled', 'by its host, or the host is gone'),
('public.webinars', 'status', 'upcoming', 'live', 'its start has come');

insert into private.notification_types (type, title, message, collapse_unread, email, can_switch_off, is_anonymous, outlives_content, reaches_banned) values
('gift', 'A gift for you', 'Somebody gave you something. It is yours unless you refuse it.', 'false', 'immediate', 'false', 'false', 'false', 'false'),
('gift_claimed', 'Your gift was claimed', 'What you gave has its owner now.', 'false', 'digest', 'true', 'false', 'false', 'false'),
('gift_refused', 'Your gift was refused', 'You get back what you paid for it.', 'false', 'immediate', 'false', 'false', 'false', 'false'),
('review_response', 'Answer to your review', 'The seller answered your review.', 'false', 'digest', 'true', 'false', 'false', 'false'),
('webinar_cancelled', 'A webinar was cancelled', 'A webinar you were registered for does not take place. What you paid comes back.', 'false', 'immediate', 'false', 'false', 'false', 'false'),
('webinar_co_host', 'Asked to co-host', 'Somebody asks you to host a webinar with them.', 'false', 'digest', 'true', 'false', 'false', 'false'),
('webinar_moved', 'A webinar has another time', 'A webinar you are registered for was moved. You can leave it with all your money until it starts.', 'false', 'immediate', 'false', 'false', 'false', 'false'),
('webinar_offer', 'A seat is offered to you', 'A seat became free in a webinar you waited for. It is kept for you for a while: pay to confirm it.', 'false', 'immediate', 'false', 'false', 'false', 'false'),
('webinar_recording', 'A recording is yours', 'The recording of a webinar you were registered for is in your library.', 'false', 'digest', 'true', 'false', 'false', 'false'),
('webinar_reminder', 'A webinar starts soon', 'A webinar you are registered for starts soon.', 'false', 'immediate', 'false', 'false', 'false', 'false'),
('webinar_removed', 'You were removed', 'You are not registered for a webinar any more. What you paid comes back.', 'false', 'immediate', 'false', 'false', 'false', 'false'),
('webinar_seat', 'You have a seat', 'A seat became free in a webinar you waited for: it is yours.', 'false', 'immediate', 'false', 'false', 'false', 'false');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('calendar_entries', 'records', '{private.calendar_entries}', '
    delete from private.calendar_entries as e using public.webinar_registrations as r
    where r.user_id = $1 and e.registration_id = r.id
', null),
('gift_codes', 'records', '{private.gift_codes.email,private.gift_codes.last_error}', '
    update private.gift_codes as c set email = null, last_error = null, mail_due_at = null
    from public.gifts as g
    where g.id = c.gift_id and g.payer_id = $1 and (c.email is not null or c.last_error is not null)
', null),
('review_votes', 'reactions', '{public.review_votes}', 'delete from public.review_votes where user_id = $1', 'select private.erase_rows(''public.review_votes'', ''user_id = $1'', $1, $2)'),
('reviews', 'replies', '{public.reviews.review_text,public.reviews.seller_response}', 'select private.erase_reviews($1)', 'select private.erase_reviews($1, $2)'),
('webinar_co_hosts', 'business', '{public.webinar_co_hosts}', 'delete from public.webinar_co_hosts where user_id = $1', null),
('webinar_passes', 'records', '{private.webinar_passes}', 'delete from private.webinar_passes where user_id = $1', null),
('webinar_rooms', 'records', '{private.webinar_rooms}', '
    delete from private.webinar_rooms as r using public.webinars as w where w.host_id = $1 and r.webinar_id = w.id
', null),
('webinar_seats', 'payments', '{}', 'select private.leave_webinars($1)', null),
('webinars', 'items', '{}', 'select private.erase_webinars($1)', null);

insert into private.standing_steps (step, position, statement) values
('reviews', '35', 'select private.follow_author_of_reviews($1, $2)');

update private.personal_data set stays = '{kind,buyer_id,gift_to_id,seller_id,title,description,license_text,details,seller_tier}'
where section = 'order_items';

update private.personal_data set stays = '{low_id,high_id,service_order_id,group_name,group_avatar_url}'
where section = 'conversation_heads';

insert into private.personal_data (section, relation, condition, stays, reason) values
('calendar_entries', 'private.calendar_entries', 't.registration_id in (select r.id from public.webinar_registrations as r where r.user_id = $1)', '{}', null),
('gift_codes', 'private.gift_codes', 't.gift_id in (select g.id from public.gifts as g where g.payer_id = $1)', '{}', null),
('gifts', 'public.gifts', 't.payer_id = $1 or t.receiver_id = $1', '{payer_id,receiver_id}', 'the books: who paid whom for what'),
('review_votes', 'public.review_votes', 't.user_id = $1', '{}', null),
('reviews', 'public.reviews', 't.reviewer_id = $1 or (t.seller_id = $1 or t.buyer_id = $1) and t.status = ''published''', '{kind,reviewer_id,buyer_id,seller_id,hidden_reason}', 'the rating stays in the average; of an order in the books'),
('webinar_co_hosts', 'public.webinar_co_hosts', 't.user_id = $1', '{}', null),
('webinar_passes', 'private.webinar_passes', 't.user_id = $1', '{}', null),
('webinar_recordings', 'public.webinar_recordings', 't.webinar_id in (select w.id from public.webinars as w where w.host_id = $1)', '{recording_url}', 'those who were registered go on having it'),
('webinar_registrations', 'public.webinar_registrations', 't.user_id = $1', '{user_id}', 'the books: who paid whom for what'),
('webinar_rooms', 'private.webinar_rooms', 't.webinar_id in (select w.id from public.webinars as w where w.host_id = $1)', '{}', null),
('webinars', 'public.webinars', 't.host_id = $1', '{host_id,title,slug,description,thumbnail_url,cover_image_url,time_zone,tags,cancelled_reason,hidden_reason}', 'registered for: its guests keep what they came for');

insert into private.counters (counter, relation, key, count_column, truth, source, source_key, counted) values
('catalog_items.reviews_count', 'public.catalog_items', 'id', 'reviews_count', 'select r.item_id, count(distinct r.reviewer_id) from public.reviews as r where r.is_eligible group by 1', null, null, null),
('item_ratings.stars_1', 'public.item_ratings', 'item_id', 'stars_1', 'select n.item_id, count(*) from (select distinct on (r.reviewer_id, r.item_id) r.item_id, r.rating from public.reviews as r where r.is_eligible order by r.reviewer_id, r.item_id, r.created_at desc, r.id desc) as n where n.rating = 1 group by 1', null, null, null),
('item_ratings.stars_2', 'public.item_ratings', 'item_id', 'stars_2', 'select n.item_id, count(*) from (select distinct on (r.reviewer_id, r.item_id) r.item_id, r.rating from public.reviews as r where r.is_eligible order by r.reviewer_id, r.item_id, r.created_at desc, r.id desc) as n where n.rating = 2 group by 1', null, null, null),
('item_ratings.stars_3', 'public.item_ratings', 'item_id', 'stars_3', 'select n.item_id, count(*) from (select distinct on (r.reviewer_id, r.item_id) r.item_id, r.rating from public.reviews as r where r.is_eligible order by r.reviewer_id, r.item_id, r.created_at desc, r.id desc) as n where n.rating = 3 group by 1', null, null, null),
('item_ratings.stars_4', 'public.item_ratings', 'item_id', 'stars_4', 'select n.item_id, count(*) from (select distinct on (r.reviewer_id, r.item_id) r.item_id, r.rating from public.reviews as r where r.is_eligible order by r.reviewer_id, r.item_id, r.created_at desc, r.id desc) as n where n.rating = 4 group by 1', null, null, null),
('item_ratings.stars_5', 'public.item_ratings', 'item_id', 'stars_5', 'select n.item_id, count(*) from (select distinct on (r.reviewer_id, r.item_id) r.item_id, r.rating from public.reviews as r where r.is_eligible order by r.reviewer_id, r.item_id, r.created_at desc, r.id desc) as n where n.rating = 5 group by 1', null, null, null),
('reviews.helpful_count', 'public.reviews', 'id', 'helpful_count', 'select t.review_id, count(*) from public.review_votes as t where t.review_id is not null and (t.is_helpful) group by 1', 'public.review_votes', 'review_id', '{row}.is_helpful'),
('webinar_counts.registrations_count', 'public.webinar_counts', 'webinar_id', 'registrations_count', 'select webinar_id, count(*) from public.webinar_registrations where status = ''confirmed'' group by 1', null, null, null),
('webinars.attendees_count', 'public.webinars', 'id', 'attendees_count', 'select webinar_id, count(*) from public.webinar_registrations where attended_at is not null group by 1', null, null, null);

update private.error_codes set description = 'The detail names what is wrong. A product''s option takes {license_type, license_text}, an edition''s {series}, a service''s {delivery_days, revisions, features}.'
where code = 'invalid_option';

insert into private.error_codes (code, sqlstate, message, description) values
('already_invited', 'PT409', 'They were asked already.', 'They answer with answer_co_hosting().'),
('already_registered', 'PT409', 'You are registered already.', 'Or wait for a seat, or have an order for one to pay.'),
('already_reviewed', 'PT409', 'You have reviewed this already.', 'Change it by edit_review().'),
('capacity_below_registrations', 'PT409', 'More seats are taken than that.', 'The detail says how many are taken, held or offered.'),
('cost_changed', 'PT409', 'This costs something else by now.', 'The detail is the cost, cents: show it, and send it if the host agrees. Nothing was done.'),
('extension_too_long', 'PT409', 'This would take too long.', 'A delivery cannot be due later than the order''s revise_until, the detail. Agree on an end, or make a new offer.'),
('extra_not_found', 'PT404', 'This extra does not exist.', 'There is none with that id, or the caller has no part in its order.'),
('gift_not_found', 'PT404', 'There is no such gift.', 'It does not exist, is not yours, was claimed, refused or taken back; a code counts until a newer one is mailed.'),
('gift_not_possible', 'PT409', 'This cannot be given to them.', 'The detail names the item. It is sent, or of a kind that is not given; or the member is not to be found, sells it, or has it already: which of these is not told.'),
('invalid_link', 'PT400', 'This is not a link.', 'It begins with https:// and has at most 2,048 characters.'),
('invalid_sort', 'PT400', 'There is no such order.', 'Send helpful or newest.'),
('own_dispute', 'PT403', 'Somebody else has to decide this.', 'The admin is one of the two.'),
('payment_required', 'PT409', 'This webinar has a price.', 'Buy a seat with checkout().'),
('plan_required', 'PT403', 'Your plan does not include this.', 'The detail names the feature; see plans.features.'),
('registration_is_free', 'PT409', 'This webinar is free.', 'Register with register_for_webinar().'),
('registration_not_found', 'PT404', 'There is no such registration.', 'Nobody of that name has a seat, or waits.'),
('resolution_not_found', 'PT404', 'This proposal does not exist.', 'There is none with that id, or the caller has no part in its order.'),
('resolution_open', 'PT409', 'There is a proposal already.', 'One of each kind is open at a time; the detail names it. Wait for the answer, or withdraw it.'),
('review_closed', 'PT409', 'The time to review this is over.', 'The other side''s review was shown at the time in the detail; nobody answers it by a review of their own.'),
('review_hidden', 'PT409', 'This review was taken down.', 'Its author cannot change it or write it again.'),
('review_not_allowed', 'PT403', 'You cannot review this.', 'The detail says why: purchase (the caller has not bought it, or it was refunded), own_item (the caller earns by it), kind (things of this kind are not reviewed, or their buyers are not).'),
('review_not_found', 'PT404', 'This review does not exist.', 'No review with that id, or none the caller can see, change or answer.'),
('review_too_early', 'PT409', 'This is not done yet.', 'It can be reviewed when what was ordered is complete.'),
('room_not_ready', 'PT409', 'There is no room yet.', 'The host sets it with set_webinar_room().'),
('seat_offered', 'PT409', 'A seat is offered to you.', 'The detail is what to pay: checkout_payable().'),
('seats_available', 'PT409', 'There are seats: register.', 'Nobody waits while seats are free.'),
('time_has_passed', 'PT400', 'This time has passed.', 'Choose a later time.'),
('too_many_co_hosts', 'PT409', 'There are too many co-hosts.', 'At most ten.'),
('too_many_order_extras', 'PT409', 'This order has too many extras.', 'At most 20; make a new offer.'),
('too_many_people', 'PT400', 'These are too many people.', 'At most 1,000 at once.'),
('vote_not_allowed', 'PT403', 'You cannot vote on this review.', 'It is the caller''s own, or of what they sell.'),
('webinar_busy', 'PT409', 'Too much is going on at the moment.', 'Try again in a moment. Nothing was done.'),
('webinar_full', 'PT409', 'All seats are taken.', 'Or somebody waits for the next one. join_waiting_list() is the way to one.'),
('webinar_not_begun', 'PT409', 'It is too early to enter.', 'The doors open half an hour before the start.'),
('webinar_not_found', 'PT404', 'There is no such webinar.', 'Or it is not the caller''s to do this with.'),
('webinar_not_open', 'PT409', 'Nobody can register for this webinar any more.', 'It has begun, ended or was cancelled; or the caller was removed from it.'),
('webinar_over', 'PT409', 'This webinar is over.', 'It has ended or was cancelled.');

insert into private.activity_limits (kind, fresh, established, period, description) values
('gift_mail', '10', '10', '1 day', 'Codes of gifts mailed again'),
('review', '40', '200', '1 day', 'Reviews');

-- The words of what is shown already.
insert into private.title_words (word)
select distinct w.word
from public.catalog_items as c
cross join lateral unnest(private.words_of(c.title)) as w (word)
where c.is_visible and not exists (select from private.title_words as k where k.word = w.word);
