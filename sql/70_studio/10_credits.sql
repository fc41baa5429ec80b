-- Credits: paid before, used up photo by photo. They are counted in cents: a pack of 20.00 gives 2,000. Whoever has
-- credits has lots of them, each with its own end; the ledger's accounts credits, credits_held and credits_debt say the
-- same as the lots, and the audit compares them. Everything here locks the owner's row of credit_balances first.

alter table private.settings
add column trial_credits_cents bigint not null default 500,
add column trial_period interval not null default '30 days',
add column low_credits_cents bigint not null default 500,
add column returned_credits_period interval not null default '30 days',
add column credits_expiry_notice interval not null default '7 days',
add column credit_refunds_per_month integer not null default 3;
comment on column private.settings.trial_credits_cents is 'Credits of a free trial, cents.';
comment on column private.settings.trial_period is 'How long the credits of a trial can be used.';
comment on column private.settings.low_credits_cents is
'Whose credits fall below it is told, once until they are above it again; cents.';
comment on column private.settings.returned_credits_period is
'How long credits that come back can be used at least, also where their lot would have ended.';
comment on column private.settings.credit_refunds_per_month is
'How many packs an account may give back within 30 days by itself: the provider keeps its fee of each, at the '
'platform''s cost.';
comment on column private.settings.credits_expiry_notice is 'How long before their end people are told of credits.';

create table private.credit_balances (
    user_id uuid not null,
    available_cents bigint not null default 0,
    held_cents bigint not null default 0,
    debt_cents bigint not null default 0,
    low_noted_at timestamptz,
    constraint credit_balances_pkey primary key (user_id),
    constraint credit_balances_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint credit_balances_available_check check (available_cents >= 0),
    constraint credit_balances_held_check check (held_cents >= 0),
    constraint credit_balances_debt_check check (debt_cents >= 0)
)
with (fillfactor = 50);
comment on table private.credit_balances is
'Who has or had credits, as the ledger says; the lock of everything done with them. What can be spent is less where '
'lots have ended that are not booked yet: credit_balance().';
comment on column private.credit_balances.available_cents is 'Not spent, not held, cents.';
comment on column private.credit_balances.held_cents is 'For jobs under way, cents.';
comment on column private.credit_balances.debt_cents is
'Taken back after they were spent, cents: no new jobs until the next purchase has repaid it.';
comment on column private.credit_balances.low_noted_at is
'When their owner was told that they are few; null: not since.';
alter table private.credit_balances enable row level security;

create table public.credit_lots (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    category text not null,
    order_item_id uuid,
    amount_cents bigint not null,
    remaining_cents bigint not null,
    held_cents bigint not null default 0,
    captured_cents bigint not null default 0,
    expired_cents bigint not null default 0,
    taken_back_cents bigint not null default 0,
    repaid_cents bigint not null default 0,
    owed_cents bigint not null default 0,
    expires_at timestamptz,
    is_void boolean not null default false,
    version integer not null default 0,
    noted_at timestamptz,
    created_at timestamptz not null default now(),
    constraint credit_lots_pkey primary key (id),
    constraint credit_lots_user_id_fkey foreign key (user_id) references private.credit_balances (user_id),
    constraint credit_lots_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint credit_lots_order_item_id_category_key unique (order_item_id, category),
    constraint credit_lots_category_check check (category in ('trial', 'bonus', 'paid')),
    constraint credit_lots_parts_check check (
        amount_cents
        = remaining_cents + held_cents + captured_cents + expired_cents + taken_back_cents + repaid_cents
        and least(
            remaining_cents, held_cents, captured_cents, expired_cents, taken_back_cents, repaid_cents, owed_cents
        ) >= 0
        and amount_cents between 1 and private.highest_amount_cents()
    )
)
-- Each job moves cents within a lot: no column of an index changes, so room on the page keeps these updates there.
with (fillfactor = 70);

create index credit_lots_user_id_idx on public.credit_lots (user_id);
create index credit_lots_expires_at_idx on public.credit_lots (expires_at) where expires_at is not null;

comment on table public.credit_lots is
'Credits by where they came from and when they end. Owner and admins read; only the server writes. They are used in '
'one order: what ends first, then trial before bonus before paid, then the oldest.';
comment on column public.credit_lots.category is 'paid; bonus: on top of a pack; trial.';
comment on column public.credit_lots.order_item_id is 'The line that bought them.';
comment on column public.credit_lots.amount_cents is 'How many there were, cents; the sum of the next six.';
comment on column public.credit_lots.remaining_cents is 'Can be spent until expires_at, cents.';
comment on column public.credit_lots.held_cents is 'For photos under way, cents.';
comment on column public.credit_lots.captured_cents is 'Spent on photos that were delivered, cents.';
comment on column public.credit_lots.expired_cents is 'Ended before they were used, or void with a refund, cents.';
comment on column public.credit_lots.taken_back_cents is 'Given back as money, cents.';
comment on column public.credit_lots.repaid_cents is 'Repaid what was owed, cents.';
comment on column public.credit_lots.owed_cents is
'Taken back with a payment after they were spent, cents; not a part of the amount.';
comment on column public.credit_lots.expires_at is
'They cannot be spent from then on, whether or not it is booked yet; null: no end.';
comment on column public.credit_lots.is_void is 'A bonus whose pack was given back: what comes back to it ends.';
comment on column public.credit_lots.version is 'Numbers the journals about the lot itself.';
comment on column public.credit_lots.noted_at is 'When its owner was told that it ends soon.';

alter table public.credit_lots enable row level security;
grant select on public.credit_lots to authenticated, service_role;
create policy credit_lots_select on public.credit_lots for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

create function private.open_credits(user_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into private.credit_balances (user_id) values (open_credits.user_id)
    on conflict on constraint credit_balances_pkey do nothing;
    insert into ledger.accounts (owner_id, code)
    select open_credits.user_id, c.code from unnest(array['credits', 'credits_held', 'credits_debt']) as c (code)
    on conflict do nothing;
end
$$;
comment on function private.open_credits(uuid) is 'Opens somebody''s credits, when they first have any.';

create function private.lock_credits(user_id uuid) returns private.credit_balances
language plpgsql
set search_path = ''
as $$
declare
    balance private.credit_balances;
begin
    select * into balance from private.credit_balances as b where b.user_id = lock_credits.user_id for no key update;
    if balance.user_id is null then
        perform private.open_credits(lock_credits.user_id);
        select * into strict balance from private.credit_balances as b
        where b.user_id = lock_credits.user_id
        for no key update;
    end if;
    return balance;
end
$$;
comment on function private.lock_credits(uuid) is 'Locks somebody''s credits: after wallets, before lots.';

create function private.move_credits(legs ledger.leg[], owners uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    if cardinality(owners) > 1 then
        perform from private.credit_balances as b where b.user_id = any (owners) order by b.user_id for no key update;
    end if;
    update private.credit_balances as b set
        (available_cents, held_cents, debt_cents) = (
            select
                b.available_cents + coalesce(sum(l.amount_cents) filter (where l.account = 'credits'), 0)::bigint,
                b.held_cents + coalesce(sum(l.amount_cents) filter (where l.account = 'credits_held'), 0)::bigint,
                b.debt_cents - coalesce(sum(l.amount_cents) filter (where l.account = 'credits_debt'), 0)::bigint
            from unnest(legs) as l
            where l.owner_id = b.user_id
        )
    where b.user_id = any (owners);
end
$$;
comment on function private.move_credits(ledger.leg[], uuid[]) is
'Part of ledger.post(): the balances of these owners follow the legs on their accounts of credits.';

create function private.credit_priority(category text) returns integer
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return case category when 'trial' then 1 when 'bonus' then 2 else 3 end;
end
$$;
comment on function private.credit_priority(text) is 'Which of lots that end together is used first; ascending.';

create function private.grant_lot(
    user_id uuid, category text, amount_cents bigint, expires_at timestamptz, order_item_id uuid default null
) returns public.credit_lots
language plpgsql
set search_path = ''
as $$
declare
    lot public.credit_lots;
begin
    perform private.lock_credits(grant_lot.user_id);
    insert into public.credit_lots (user_id, category, order_item_id, amount_cents, remaining_cents, expires_at)
    values (
        grant_lot.user_id, grant_lot.category, grant_lot.order_item_id, grant_lot.amount_cents, grant_lot.amount_cents,
        grant_lot.expires_at
    )
    returning * into lot;
    -- What was paid is a leg of its sale.
    if lot.category <> 'paid' then
        perform ledger.post(
            'credits_granted', 'lot:' || lot.id || ':granted',
            array[
                ledger.leg(null, 'promotions', -lot.amount_cents), ledger.leg(lot.user_id, 'credits', lot.amount_cents)
            ],
            lot.id
        );
    end if;
    update private.credit_balances as b set low_noted_at = null
    where b.user_id = lot.user_id and b.low_noted_at is not null;
    return lot;
end
$$;
comment on function private.grant_lot(uuid, text, bigint, timestamptz, uuid) is
'Gives somebody credits, cents, until a time or without end. What is not paid for is the platform''s promotion.';

create function private.repay_credits(user_id uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
    balance private.credit_balances := private.lock_credits(repay_credits.user_id);
    first_lot uuid;
    repaid bigint;
begin
    if balance.debt_cents = 0 or balance.available_cents = 0 then
        return;
    end if;
    with lots as (
        select
            l.id, l.remaining_cents, row_number() over burn as no,
            sum(l.remaining_cents) over burn - l.remaining_cents as before
        from public.credit_lots as l
        where
            l.user_id = repay_credits.user_id and l.category = 'paid' and l.remaining_cents > 0
            and coalesce(l.expires_at > clock_timestamp(), true)
        window burn as (order by l.expires_at nulls last, l.created_at, l.id)
    ),

    used as (
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents - u.cents, repaid_cents = l.repaid_cents + u.cents
        from (
            select o.id, o.no, least(o.remaining_cents, balance.debt_cents - o.before)::bigint as cents
            from lots as o
            where o.before < balance.debt_cents
        ) as u
        where l.id = u.id
        returning l.id, u.no, u.cents
    )

    select (array_agg(u.id order by u.no))[1], sum(u.cents)::bigint into first_lot, repaid from used as u;
    if repaid > 0 then
        perform ledger.post(
            'credits_repaid', 'credits_repaid:' || gen_random_uuid(),
            array[
                ledger.leg(repay_credits.user_id, 'credits', -repaid),
                ledger.leg(repay_credits.user_id, 'credits_debt', repaid)
            ],
            first_lot
        );
    end if;
end
$$;
comment on function private.repay_credits(uuid) is
'Whoever owes credits repays them with what they have paid for: after a purchase, and when credits come back.';

create function private.end_lots(user_id uuid) returns integer
language plpgsql
set search_path = ''
as $$
declare
    postings ledger.posting[];
begin
    -- As it is under the lock: what was spent in the last moment did not end.
    with changed as (
        update public.credit_lots as l set
            expired_cents = l.expired_cents + b.remaining_cents, remaining_cents = 0, version = l.version + 1
        from public.credit_lots as b
        where
            b.id = l.id and l.user_id = end_lots.user_id and l.expires_at <= clock_timestamp()
            and l.remaining_cents > 0
        returning l.id, l.user_id, l.category, l.version, b.remaining_cents as cents
    )

    select array_agg(
        row('lot:' || c.id || ':' || c.version, c.id, m.owner_id, m.account, m.cents, m.leg_no)::ledger.posting
    ) into postings
    from changed as c
    cross join lateral (
        values
        (c.user_id, 'credits', -c.cents, 1),
        (null, case c.category when 'paid' then 'revenue' else 'promotions' end, c.cents, 2)
    ) as m (owner_id, account, cents, leg_no);
    if postings is null then
        return 0;
    end if;
    perform ledger.post_many('credits_expired', postings);
    return cardinality(postings) / 2;
end
$$;
comment on function private.end_lots(uuid) is
'Books somebody''s lots whose time is over: of paid ones as revenue, of others back to promotions; how many. The '
'credits are locked.';

-- Lots of one unit of work, such as a photo: what is held for it ends, one way or the other.
create function private.end_hold(
    user_id uuid, lot_ids uuid[], lot_cents bigint[], outcome text, idempotency_key text, source_id uuid
) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    total bigint;
    paid bigint;
    void bigint;
    is_spent boolean := outcome = 'succeeded';
    limits private.settings;
begin
    if cardinality(lot_ids) = 0 then
        return;
    end if;
    -- What else a lot had when it ended has ended: only what comes back lives longer.
    if outcome = 'failed' then
        select * into strict limits from private.settings;
        perform private.end_lots(end_hold.user_id);
    end if;
    with ended as (
        update public.credit_lots as l set
            held_cents = l.held_cents - u.cents,
            captured_cents = l.captured_cents + case when is_spent then u.cents else 0 end,
            remaining_cents = l.remaining_cents + case when is_spent or l.is_void then 0 else u.cents end,
            expired_cents = l.expired_cents + case when not is_spent and l.is_void then u.cents else 0 end,
            -- Given back into what has ended, it would be given to nobody.
            expires_at = case
                when outcome = 'failed' and l.expires_at is not null
                    then greatest(l.expires_at, clock_timestamp() + limits.returned_credits_period)
                else l.expires_at
            end
        from unnest(end_hold.lot_ids, end_hold.lot_cents) as u (id, cents)
        where l.id = any (end_hold.lot_ids) and l.id = u.id
        returning u.cents, l.category, l.is_void
    )

    select
        sum(e.cents), coalesce(sum(e.cents) filter (where e.category = 'paid'), 0),
        coalesce(sum(e.cents) filter (where e.is_void), 0)
    into strict total, paid, void
    from ended as e;
    if is_spent then
        perform ledger.post(
            'credits_captured', idempotency_key,
            private.moving_legs(array[
                ledger.leg(end_hold.user_id, 'credits_held', -total), ledger.leg(null, 'revenue', paid),
                ledger.leg(null, 'promotions', total - paid)
            ]),
            source_id
        );
    else
        perform ledger.post(
            'credits_returned', idempotency_key,
            private.moving_legs(array[
                ledger.leg(end_hold.user_id, 'credits_held', -total),
                ledger.leg(end_hold.user_id, 'credits', total - void), ledger.leg(null, 'promotions', void)
            ]),
            source_id
        );
        perform private.repay_credits(end_hold.user_id);
    end if;
end
$$;
comment on function private.end_hold(uuid, uuid[], bigint[], text, text, uuid) is
'What these lots hold, cents of each, is spent (succeeded: revenue, or the promotion it was) or comes back to them: '
'failed, then they end later, or returned by their owner, then they end as they would have. Once for each key. The '
'credits are locked.';

-- What becomes of a pack's lots follows from its refunds: as much as was, or is about to be, given back is taken from
-- them, or owed where it is spent. One function for all that happens to a refund, in whatever order it is told.
create function private.follow_credit_purchase(line uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
    sale public.transactions;
    paid public.credit_lots;
    bonus public.credit_lots;
    is_revoked boolean;
    is_unused boolean;
    target bigint;
    change bigint;
    part bigint;
    debt bigint;
begin
    select * into sale from public.transactions as t where t.order_item_id = line;
    select * into paid from public.credit_lots as l where l.order_item_id = line and l.category = 'paid';
    if paid.id is null or sale.id is null then
        return;
    end if;
    debt := (private.lock_credits(paid.user_id)).debt_cents;
    select * into strict paid from public.credit_lots as l where l.id = paid.id for no key update;
    select * into bonus from public.credit_lots as l
    where l.order_item_id = line and l.category = 'bonus'
    for no key update;
    is_revoked := not exists (
        select from public.purchases as p where p.order_item_id = line and p.revoked_at is null
    );
    -- Under way: to come off what is left of the payment's lines, this one first where it is named.
    target := sale.refunded_credits_cents + coalesce((
        select sum(case
            when r.order_item_id = line then r.amount_cents
            else ceil(
                r.amount_cents * (sale.amount_total_cents - sale.refunded_cents)
                / nullif((
                    select sum(t.amount_total_cents - t.refunded_cents) from public.transactions as t
                    where t.payment_id = sale.payment_id
                ), 0)
            )
        end)
        from public.refunds as r
        where
            r.payment_id = sale.payment_id and coalesce(r.order_item_id, line) = line
            and (r.is_open or r.status = 'succeeded' and r.booked_at is null)
    ), 0);
    is_unused := exists (
        select from public.refunds as r
        where r.order_item_id = line and r.reason = 'unused_credits' and (r.is_open or r.status = 'succeeded')
    );
    if is_revoked or target > paid.amount_cents then
        target := paid.amount_cents;
    end if;

    change := target - paid.taken_back_cents - paid.owed_cents;
    if change > 0 then
        part := least(change, paid.remaining_cents);
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents - part, taken_back_cents = l.taken_back_cents + part,
            owed_cents = l.owed_cents + change - part, version = l.version + 1
        where l.id = paid.id
        returning * into paid;
        perform ledger.post(
            'credits_taken_back', 'lot:' || paid.id || ':' || paid.version,
            private.moving_legs(array[
                ledger.leg(paid.user_id, 'credits', -part), ledger.leg(paid.user_id, 'credits_debt', part - change),
                ledger.leg(null, 'refunds_payable', change)
            ]),
            paid.id
        );
    elsif change < 0 then
        -- It was not given back after all: the debt ends first, what of it was repaid meanwhile is a new lot.
        part := least(-change, paid.taken_back_cents);
        debt := least(debt, -change - part);
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents + part, taken_back_cents = l.taken_back_cents - part,
            owed_cents = l.owed_cents + change + part, version = l.version + 1,
            expires_at = greatest(l.expires_at, case
                when l.expires_at is not null
                    then now() + (select s.returned_credits_period from private.settings as s)
            end)
        where l.id = paid.id
        returning * into paid;
        if -change > part + debt then
            insert into public.credit_lots (user_id, category, amount_cents, remaining_cents, expires_at)
            values (paid.user_id, 'paid', -change - part - debt, -change - part - debt, paid.expires_at);
        end if;
        perform ledger.post(
            'credits_taken_back', 'lot:' || paid.id || ':' || paid.version,
            private.moving_legs(array[
                ledger.leg(paid.user_id, 'credits', -change - debt), ledger.leg(paid.user_id, 'credits_debt', debt),
                ledger.leg(null, 'refunds_payable', change)
            ]),
            paid.id
        );
    end if;

    if bonus.id is not null and bonus.is_void <> (is_revoked or is_unused) then
        part := case when bonus.is_void then bonus.expired_cents else bonus.remaining_cents end;
        update public.credit_lots as l set
            is_void = not l.is_void, version = l.version + 1,
            remaining_cents = case when l.is_void then l.remaining_cents + part else 0 end,
            expired_cents = l.expired_cents + case when l.is_void then -part else part end,
            expires_at = case
                when l.is_void and l.expires_at is not null then greatest(
                    l.expires_at, now() + (select s.returned_credits_period from private.settings as s)
                )
                else l.expires_at
            end
        where l.id = bonus.id
        returning * into bonus;
        if part > 0 then
            perform ledger.post(
                case when bonus.is_void then 'credits_expired' else 'credits_granted' end::ledger.journal_kind,
                'lot:' || bonus.id || ':' || bonus.version,
                array[
                    ledger.leg(bonus.user_id, 'credits', case when bonus.is_void then -part else part end),
                    ledger.leg(null, 'promotions', case when bonus.is_void then part else -part end)
                ],
                bonus.id
            );
        end if;
    end if;
    perform private.repay_credits(paid.user_id);
end
$$;
comment on function private.follow_credit_purchase(uuid) is
'Lets the lots of a pack''s line follow its refunds, booked and under way, and whether it still stands: takes credits '
'back (what is spent becomes debt) or returns them, and voids or renews the bonus. Repeated calls change nothing.';

create function private.follow_credit_refund() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.follow_credit_purchase(t.order_item_id)
    from public.transactions as t
    where
        t.payment_id = new.payment_id and t.amount_credits_cents > 0
        and coalesce(new.order_item_id, t.order_item_id) = t.order_item_id;
    return null;
end
$$;
comment on function private.follow_credit_refund() is
'Trigger: credits that are to be given back cannot be spent meanwhile, see follow_credit_purchase().';

create trigger follow_credit_refund after insert or update of status, booked_at, reversed_at on public.refunds
for each row execute function private.follow_credit_refund();

-- Packs: what the platform sells.

create table public.credit_packs (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default 'a7e0e000-0000-4000-8000-000000000000',
    title text not null,
    price_cents bigint not null,
    bonus_cents bigint not null default 0,
    valid_days integer,
    is_active boolean not null default true,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint credit_packs_pkey primary key (id),
    constraint credit_packs_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    -- The registry row is written by trigger after this one.
    constraint credit_packs_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint credit_packs_seller_check check (private.is_platform(seller_id)),
    constraint credit_packs_title_check check (char_length(title) between 1 and 100),
    constraint credit_packs_price_check check (private.is_price(price_cents) and price_cents > 0),
    constraint credit_packs_bonus_check check (bonus_cents between 0 and private.highest_amount_cents()),
    constraint credit_packs_valid_days_check check (valid_days between 1 and 3650)
);

create index credit_packs_seller_id_idx on public.credit_packs (seller_id);

comment on constraint credit_packs_title_check on public.credit_packs is
'invalid_title: A pack has a title of 1 to 100 characters.';
comment on constraint credit_packs_price_check on public.credit_packs is
'invalid_price: A pack costs from 50 to 99999999 cents.';
comment on constraint credit_packs_bonus_check on public.credit_packs is
'invalid_price: A bonus is from 0 to 99999999 cents.';
comment on constraint credit_packs_valid_days_check on public.credit_packs is
'invalid_price: Credits are valid for 1 to 3,650 days, or without end.';

comment on table public.credit_packs is
'Packs of credits, bought with checkout() like any item. Everybody reads those on sale; admins write. What was bought '
'stays as it was.';
comment on column public.credit_packs.seller_id is 'The platform.';
comment on column public.credit_packs.title is 'What it is called.';
comment on column public.credit_packs.price_cents is 'Price, cents, and as many credits.';
comment on column public.credit_packs.bonus_cents is 'Credits on top, cents: not given back as money.';
comment on column public.credit_packs.valid_days is 'How many days its credits can be used; null: without end.';
comment on column public.credit_packs.is_active is 'Whether it is on sale.';
comment on column public.credit_packs.is_hidden is 'Taken off sale by hide_content() only.';
comment on column public.credit_packs.hidden_reason is 'Why.';

create function private.catalog_entry(pack public.credit_packs) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'credit_pack', pack.seller_id, pack.title, pack.id::text, null, pack.price_cents, null, 'USD', null,
        '{}'::text [], null, false, not pack.is_hidden, pack.is_active, null, null, false
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.credit_packs) is 'A pack''s registry row.';

create trigger _tidy_texts
before insert or update of title on public.credit_packs
for each row execute function private.tidy_texts('title line required');
create trigger refuse_ordered_item before delete on public.credit_packs
for each row execute function private.refuse_ordered_item();
create trigger sync_catalog_item after insert or update or delete on public.credit_packs
for each row execute function private.sync_catalog_item();
create trigger touch_updated_at before update on public.credit_packs
for each row execute function private.touch_updated_at();

alter table public.credit_packs enable row level security;
grant select on public.credit_packs to anon, authenticated, service_role;
grant
insert (title, price_cents, bonus_cents, valid_days, is_active),
update (title, price_cents, bonus_cents, valid_days, is_active)
on public.credit_packs to authenticated;
create policy credit_packs_select_anon on public.credit_packs for select to anon using (is_active);
create policy credit_packs_select on public.credit_packs for select to authenticated
using (is_active or (select private.is_admin()));
create policy credit_packs_insert on public.credit_packs for insert to authenticated
with check ((select private.is_admin()));
create policy credit_packs_update on public.credit_packs for update to authenticated
using ((select private.is_admin()))
with check ((select private.is_admin()));

create function private.credit_pack_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
stable
set search_path = ''
as $$
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
$$;
comment on function private.credit_pack_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: keeps the bonus and how long the credits are valid, as they are now.';

create function private.credit_pack_grant(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    bought record;
begin
    for bought in
        select
            i.id, p.owner_id, i.charged_cents - i.tax_cents as paid_cents,
            -- What a coupon paid for is a promotion, too.
            coalesce((i.details ->> 'bonus_cents')::bigint, 0) + i.discount_cents as bonus_cents,
            now() + make_interval(days => (i.details ->> 'valid_days')::integer) as expires_at
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        where p.id = any (ids)
        order by p.owner_id, p.id
    loop
        if bought.paid_cents > 0 then
            perform private.grant_lot(bought.owner_id, 'paid', bought.paid_cents, bought.expires_at, bought.id);
        end if;
        if bought.bonus_cents > 0 then
            perform private.grant_lot(bought.owner_id, 'bonus', bought.bonus_cents, bought.expires_at, bought.id);
        end if;
    end loop;
end
$$;
comment on function private.credit_pack_grant(uuid[]) is
'Hook grant: the lots of these lines; the sale''s journal moves what was paid.';

create function private.credit_pack_revoke(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.follow_credit_purchase(p.order_item_id)
    from (select o.order_item_id from public.purchases as o where o.id = any (ids) order by o.owner_id, o.id) as p;
end
$$;
comment on function private.credit_pack_revoke(uuid[], text) is
'Hook revoke: all of the pack''s credits are taken back; what is spent is owed.';

create function private.credit_pack_restore(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.follow_credit_purchase(p.order_item_id)
    from (select o.order_item_id from public.purchases as o where o.id = any (ids) order by o.owner_id, o.id) as p;
end
$$;
comment on function private.credit_pack_restore(uuid[]) is 'Hook restore: the refund failed, the credits are back.';

-- What members ask.

create type public.credit_totals as (
    available_cents bigint,
    held_cents bigint,
    debt_cents bigint,
    next_expiry timestamptz,
    expiring_cents bigint
);
comment on type public.credit_totals is
'Somebody''s credits, cents: what can be spent, what is held for jobs, what is owed; when the next ones end and how '
'many.';

create function public.credit_balance() returns public.credit_totals
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    found public.credit_totals;
begin
    select coalesce(sum(l.remaining_cents), 0), min(l.expires_at) into found.available_cents, found.next_expiry
    from public.credit_lots as l
    where l.user_id = member and l.remaining_cents > 0 and coalesce(l.expires_at > now(), true);
    found.expiring_cents := coalesce((
        select sum(l.remaining_cents) from public.credit_lots as l
        where l.user_id = member and l.expires_at = found.next_expiry
    ), 0);
    select coalesce(max(b.held_cents), 0), coalesce(max(b.debt_cents), 0) into found.held_cents, found.debt_cents
    from private.credit_balances as b
    where b.user_id = member;
    return found;
end
$$;
comment on function public.credit_balance() is
'The caller''s credits.';
grant execute on function public.credit_balance() to authenticated;

create function public.credit_statement(before_journal bigint default null, max_rows integer default 50)
returns table (
    journal_id bigint, kind text, occurred_at timestamptz, source_id uuid,
    available_cents bigint, held_cents bigint, debt_cents bigint
)
language plpgsql
stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    return query
    select
        j.id, j.kind::text, j.occurred_at, j.source_id,
        coalesce(sum(e.amount_cents) filter (where a.code = 'credits'), 0)::bigint,
        coalesce(sum(e.amount_cents) filter (where a.code = 'credits_held'), 0)::bigint,
        coalesce(sum(-e.amount_cents) filter (where a.code = 'credits_debt'), 0)::bigint
    from ledger.accounts as a
    inner join ledger.entries as e on e.account_id = a.id
    inner join ledger.journal as j on j.id = e.journal_id
    where
        a.owner_id = member and a.code in ('credits', 'credits_held', 'credits_debt')
        and (before_journal is null or j.id < before_journal)
    group by j.id
    order by j.id desc
    limit private.page_size(max_rows, 50, 200);
end
$$;
comment on function public.credit_statement(bigint, integer) is
'What moved the caller''s credits, newest first; page with the last journal_id. Changes in cents; debt rises when '
'positive. source_id: the sale, the lot, the job (credits_held) or the photo.';
grant execute on function public.credit_statement(bigint, integer) to authenticated;

create function public.refund_credits(order_item_id uuid, idempotency_key text default null) returns public.refunds
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    answered jsonb := private.claim_request(
        member, 'refund_credits', refund_credits.idempotency_key,
        jsonb_build_object('order_item_id', refund_credits.order_item_id)
    );
    sale public.transactions;
    paid public.credit_lots;
    bonus public.credit_lots;
    unused bigint;
    spent bigint;
    made uuid;
    refund public.refunds;
begin
    if answered is not null then
        select * into strict refund from public.refunds as r where r.id = (answered #>> '{}')::uuid;
        return refund;
    end if;
    select * into sale from public.transactions as t
    where
        t.order_item_id = refund_credits.order_item_id and t.buyer_id = member and t.amount_credits_cents > 0;
    if sale.id is null then
        perform private.fail('sale_not_found');
    end if;
    -- In the order of refund_line(), which locks the same.
    perform from public.payments as p where p.id = sale.payment_id for no key update;
    perform private.lock_orders(array(select p.order_id from public.payments as p where p.id = sale.payment_id));
    perform from public.transactions as t where t.payment_id = sale.payment_id order by t.id for no key update;
    if sale.payment_processor = 'wallet' then
        perform private.lock_wallets(array[member]);
    end if;
    perform private.lock_credits(member);
    select * into strict paid from public.credit_lots as l
    where l.order_item_id = refund_credits.order_item_id and l.category = 'paid'
    for no key update;
    select * into bonus from public.credit_lots as l
    where l.order_item_id = refund_credits.order_item_id and l.category = 'bonus'
    for no key update;
    if paid.held_cents > 0 or bonus.held_cents > 0 then
        perform private.fail('credits_in_use', sale.order_item_id::text);
    elsif (
        select count(*) from public.refunds as r
        inner join public.payments as p on p.id = r.payment_id and p.user_id = member
        where r.reason = 'unused_credits' and r.created_at > now() - interval '30 days'
    ) >= (select s.credit_refunds_per_month from private.settings as s) then
        perform private.fail('too_many_credit_refunds');
    end if;
    -- Whatever was spent was paid for, also what was taken from the bonus.
    unused := case
        when paid.expires_at <= clock_timestamp() then 0
        else least(
            paid.remaining_cents,
            paid.amount_cents - paid.captured_cents - paid.expired_cents - paid.taken_back_cents - paid.repaid_cents
            - paid.owed_cents - coalesce(bonus.captured_cents, 0)
        )
    end;
    if unused <= 0 then
        perform private.fail('no_unused_credits', sale.order_item_id::text);
    end if;
    spent := paid.remaining_cents - unused;
    made := private.refund_line(sale.id, unused, 'unused_credits', 'automatic');
    if spent > 0 then
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents - spent, captured_cents = l.captured_cents + spent,
            version = l.version + 1
        where l.id = paid.id
        returning * into paid;
        perform ledger.post(
            'credits_captured', 'lot:' || paid.id || ':' || paid.version,
            array[ledger.leg(member, 'credits', -spent), ledger.leg(null, 'revenue', spent)],
            paid.id
        );
    end if;
    select * into strict refund from public.refunds as r where r.id = made;
    perform private.answer_request(member, 'refund_credits', refund_credits.idempotency_key, to_jsonb(refund.id));
    return refund;
end
$$;
comment on function public.refund_credits(uuid, text) is
'Buyer: gives back what is unused of a pack''s paid credits; its bonus ends, and what was spent of the bonus counts as '
'paid. The same idempotency_key answers the first refund. Errors: sale_not_found, credits_in_use (a job is open), '
'no_unused_credits, too_many_credit_refunds, idempotency_key_invalid, idempotency_key_reused.';
grant execute on function public.refund_credits(uuid, text) to authenticated;

-- A trial is once for a person. What remembers it survives the account and says nothing about anybody.
create table private.trials (
    person_hash bytea not null,
    granted_at timestamptz not null default now(),
    constraint trials_pkey primary key (person_hash)
);
comment on table private.trials is
'Purpose: that nobody has two trials by deleting the account and signing up again. Keyed hashes of e-mail addresses '
'and sign-in identities, see address_hash(); no account is named.';
comment on column private.trials.person_hash is 'Of an address, or of a provider''s identity.';
comment on column private.trials.granted_at is 'When.';
alter table private.trials enable row level security;

create function public.claim_trial() returns public.credit_lots
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    limits private.settings;
    hashes bytea[];
    noted integer;
begin
    select * into strict limits from private.settings;
    select array_agg(distinct h.hash) into hashes
    from auth.users as u
    cross join lateral (
        select private.address_hash(u.email) as hash
        union all
        select private.address_hash(i.provider || '.' || i.provider_id || '@identity.invalid')
        from auth.identities as i
        where i.user_id = u.id and i.provider <> 'email'
    ) as h
    where u.id = member and u.email_confirmed_at is not null and h.hash is not null;
    if hashes is null then
        perform private.fail('trial_address_unconfirmed');
    end if;
    perform private.lock_credits(member);
    -- An account may have had another address then.
    if exists (select from public.credit_lots as l where l.user_id = member and l.category = 'trial') then
        perform private.fail('trial_used');
    end if;
    -- Whoever comes at the same instant waits here for the first; sorted, so that nobody waits in a circle.
    insert into private.trials (person_hash)
    select h.hash from unnest(hashes) as h (hash) order by h.hash
    on conflict on constraint trials_pkey do nothing;
    get diagnostics noted = row_count;
    if noted < cardinality(hashes) then
        perform private.fail('trial_used');
    end if;
    return private.grant_lot(member, 'trial', limits.trial_credits_cents, now() + limits.trial_period);
end
$$;
comment on function public.claim_trial() is
'Gives the caller the credits of the free trial, once for a person: the address is confirmed, and neither it nor a '
'linked sign-in identity had one before. Errors: trial_address_unconfirmed, trial_used.';
grant execute on function public.claim_trial() to authenticated;

-- What the workers do by the clock. It makes official what is true already.

create function private.expire_credits(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    owner uuid;
    count integer := 0;
begin
    for owner in
        select distinct d.user_id
        from (
            select l.user_id from public.credit_lots as l
            where l.expires_at <= now() and l.remaining_cents > 0
            order by l.expires_at
            limit max_rows
        ) as d
        order by d.user_id
    loop
        perform private.lock_credits(owner);
        count := count + private.end_lots(owner);
    end loop;
    return count;
end
$$;
comment on function private.expire_credits(integer) is
'Books the lots whose time is over: of paid ones as revenue, of others back to promotions. How many; call until 0.';
grant execute on function private.expire_credits(integer) to avenue_worker;

create function private.tell_expiring_credits(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    owners uuid[];
begin
    with noted as (
        update public.credit_lots as l set noted_at = now()
        where l.id in (
            select d.id from public.credit_lots as d
            where
                d.expires_at > now()
                and d.expires_at <= now() + (select s.credits_expiry_notice from private.settings as s)
                and d.remaining_cents > 0 and d.noted_at is null
            order by d.expires_at
            limit max_rows
            for no key update skip locked
        )
        returning l.user_id
    )

    select array_agg(distinct n.user_id) into owners from noted as n;
    if owners is null then
        return 0;
    end if;
    perform private.notify_many(array(
        select row('credits_expiring', o.id, null, null, null, null)::private.notice from unnest(owners) as o (id)
    ));
    return cardinality(owners);
end
$$;
comment on function private.tell_expiring_credits(integer) is
'Tells the owners of credits that end within settings.credits_expiry_notice, once for each lot; how many were told.';
grant execute on function private.tell_expiring_credits(integer) to avenue_worker;

create function private.forfeit_credits(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.credit_lots as l set expires_at = least(l.expires_at, now())
    where l.user_id = forfeit_credits.user_id and l.remaining_cents + l.held_cents > 0;
end
$$;
comment on function private.forfeit_credits(uuid) is
'Account deletion: what nobody can use any more has ended; expire_credits() books it.';

insert into private.kinds (
    kind, relation, owner_column, page, hooks, is_browsable, is_repeatable, proceeds, commission
) values
('credit_pack', 'public.credit_packs', 'seller_id', '/studio/credits',
    '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete}',
    false, true, 'credits', 'none');

insert into public.credit_packs (id, title, price_cents, bonus_cents, created_at) values
('a7e0e000-0000-4000-8000-000000001000', '1,000 credits', 1000, 0, '2026-11-29 00:00+00'),
('a7e0e000-0000-4000-8000-000000002000', '2,000 credits and 400 on top', 2000, 400, '2026-11-29 00:00+00'),
('a7e0e000-0000-4000-8000-000000005000', '5,000 credits and 1,500 on top', 5000, 1500, '2026-11-29 00:00+00');

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('credits_low', 'Few credits left', 'Your credits will not last for many more photos.', '/studio/credits', null,
    'digest', true),
('credits_expiring', 'Credits end soon', 'Some of your credits end within a week.', '/studio/credits', null,
    'immediate', false);

insert into private.erasure_steps (step, phase, erases, statement) values
('credits', 'records', '{}', 'select private.forfeit_credits($1)'),
('credit_balances', 'books', '{private.credit_balances}', 'delete from private.credit_balances where user_id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('credit_balances', 'private.credit_balances', 't.user_id = $1', '{}', null),
('credit_lots', 'public.credit_lots', 't.user_id = $1', '{user_id}', 'the books: who paid whom for what'),
('credit_packs', 'public.credit_packs', null, '{seller_id, title, hidden_reason}',
    'what the platform offers: nobody''s'),
('trials', 'private.trials', null, '{person_hash}', 'keyed hashes that name no account: one trial for a person');

insert into private.error_codes (code, sqlstate, message, description) values
('insufficient_credits', 'PT402', 'There are not enough credits.',
'The detail says how many are needed and how many there are, cents. Buy a pack.'),
('credits_owed', 'PT402', 'Credits are owed.',
'A payment was taken back after its credits were spent; the detail says how many, cents. The next pack repays them.'),
('credits_in_use', 'PT409', 'Credits of this pack are held by an open job.', 'Wait for the job, or cancel it.'),
('no_unused_credits', 'PT409', 'Nothing of this pack is unused.', 'It is spent, has ended, or was given back.'),
('too_many_credit_refunds', 'PT429', 'Too many packs were given back.',
'At most three within 30 days; an admin can refund more.'),
('trial_used', 'PT409', 'There was a trial already.', 'One free trial for each person; buy a pack.'),
('trial_address_unconfirmed', 'PT403', 'The e-mail address is not confirmed.', 'Confirm it, then ask again.');
