-- One entry to buying: checkout() makes the order and the payment in one transaction. Free and wallet-paid orders
-- complete inside it; a card payment is started by the worker and settled by the provider's event.

create function private.order_summary(order_id uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select jsonb_build_object(
            'order_id', o.id, 'order_number', o.order_number, 'status', o.status, 'total_cents', o.total_cents,
            'currency', o.currency, 'payment_id', p.id, 'provider', p.provider, 'payment_status', p.status,
            'expires_at', p.expires_at,
            'start_url', case
                when p.status = 'requires_payment'
                    then private.workers_link('/functions/v1/payments/' || p.id || '/start')
            end
        )
        from public.orders as o
        left join public.payments as p on p.order_id = o.id
        where o.id = order_summary.order_id
        order by p.created_at desc
        limit 1
    );
end
$$;

comment on function private.order_summary(uuid) is
'What checkout answers: the order, its payment and where to start it.';

-- An attempt the provider knows may still succeed there: it is only asked to stop, and stays open until the provider
-- says so. One that was never started just ends.
create function private.stop_payment(payment_id uuid, reason text) returns void
language plpgsql
set search_path = ''
as $$
declare
    attempt public.payments;
begin
    select * into strict attempt from public.payments as p where p.id = stop_payment.payment_id for no key update;
    if not attempt.is_open then
        return;
    end if;
    update public.orders as o set status_reason = coalesce(o.status_reason, reason) where o.id = attempt.order_id;
    if attempt.started_at is null then
        update public.payments as p set status = 'cancelled' where p.id = attempt.id;
        perform private.cancel_pending_order(attempt.order_id, reason);
    else
        update public.payments as p set cancel_requested_at = coalesce(p.cancel_requested_at, now())
        where p.id = attempt.id;
    end if;
end
$$;

comment on function private.stop_payment(uuid, text) is
'Ends an open attempt, or asks for its cancellation when the provider already knows it.';

-- Holding without paying. A one-of-a-kind item is held for a buyer once for reservation_period; checking out again
-- keeps that end, and after it the same buyer waits for hold_pause. One row remembers the last hold of each item.
create table private.hold_periods (
    user_id uuid not null,
    item_id uuid not null,
    ends_at timestamptz not null,
    renewals integer not null default 0,
    constraint hold_periods_pkey primary key (user_id, item_id),
    constraint hold_periods_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint hold_periods_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade
);

create index hold_periods_item_id_idx on private.hold_periods (item_id);

comment on table private.hold_periods is
'Who holds or recently held which one-of-a-kind item; forgotten at the buyer''s next checkout after the pause.';
comment on column private.hold_periods.ends_at is 'End of the hold, set when it begins: no renewal moves it.';
comment on column private.hold_periods.renewals is 'How often the buyer checked out again while it was held.';

alter table private.hold_periods enable row level security;

create table private.hold_limits (
    user_id uuid not null,
    max_holds integer not null,
    constraint hold_limits_pkey primary key (user_id),
    constraint hold_limits_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint hold_limits_max_holds_check check (max_holds between 0 and 1000)
);

comment on table private.hold_limits is 'Accounts that may hold more or fewer one-of-a-kind items than settings say.';
comment on column private.hold_limits.max_holds is 'How many items it may hold at once.';

alter table private.hold_limits enable row level security;

create function public.set_hold_limit(user_id uuid, max_holds integer default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    if not exists (select from public.profiles as p where p.id = set_hold_limit.user_id) then
        perform private.fail('user_not_found', set_hold_limit.user_id::text);
    end if;
    if set_hold_limit.max_holds is null then
        delete from private.hold_limits as l where l.user_id = set_hold_limit.user_id;
    else
        begin
            insert into private.hold_limits as l (user_id, max_holds)
            values (set_hold_limit.user_id, set_hold_limit.max_holds)
            on conflict on constraint hold_limits_pkey do update set max_holds = excluded.max_holds;
        exception when check_violation then
            perform private.fail('invalid_hold_limit');
        end;
    end if;
    perform private.audit(
        'set_hold_limit', 'profile', set_hold_limit.user_id,
        jsonb_build_object('max_holds', set_hold_limit.max_holds)
    );
end
$$;

comment on function public.set_hold_limit(uuid, integer) is
'Admins: how many one-of-a-kind items an account may hold at once, 0 to 1000; null is the platform''s limit again. '
'Audited. Errors: user_not_found, invalid_hold_limit.';
grant execute on function public.set_hold_limit(uuid, integer) to authenticated;

-- A checkout may go on for seconds, by a slow filter on its answer, and then be undone: a hold that no limit counts.
create function private.claim_item(item_id uuid) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    key bigint := hashtextextended('hold:' || claim_item.item_id, 0);
begin
    if pg_try_advisory_xact_lock(key) then
        return true;
    end if;
    perform private.end_requests(array(
        select h.pid from private.key_holders(key) as h
        inner join pg_catalog.pg_stat_activity as a on a.pid = h.pid
        where a.wait_event_type is distinct from 'Lock'
    ));
    return false;
end
$$;

comment on function private.claim_item(uuid) is
'Whether nobody else is just reserving this one-of-a-kind item; nobody waits. A request that does so and does not come '
'to an end is ended, so that the next one can.';

create type private.order_line as (
    line_no smallint,
    kind text,
    item_id uuid,
    option_id uuid,
    payable_id uuid,
    seller_id uuid,
    title text,
    description text,
    license_type public.license_type,
    license_text text,
    license_version integer,
    details jsonb,
    unit_price_cents bigint,
    quantity integer,
    discount_cents bigint,
    shipping_cents bigint,
    seller_tier text,
    commission_bps integer,
    is_repeatable boolean,
    is_counted boolean,
    is_held boolean,
    is_owned_once boolean,
    is_shipped boolean,
    problem text,
    detail text,
    coupon_id uuid,
    promoted_cents bigint,
    gift_id uuid,
    gift_to_id uuid,
    gift_email text,
    is_booked boolean
);
comment on type private.order_line is
'A line to be ordered as its item was at one instant, and what is wrong with it (an error code and its detail), if '
'anything.';

-- One line after the other, by what keeps its plan: an order has few, and one statement over all of them took longer to
-- prepare than these take to run.
create function private.read_lines(buyer uuid, wanted jsonb, country text default null)
returns private.order_line[]
language plpgsql
set search_path = ''
as $$
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
            terms := private.sale_terms(item.kind, item.seller_id, item.id);
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
                    buyer, case when line.gift_id is null then buyer else line.gift_to_id end
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
$$;

comment on function private.read_lines(uuid, jsonb, text) is
'The lines of an order from [{item_id, option_id, quantity, offered_price_cents, shown_price_cents, details}], in '
'that order, each item read once, locked; sent to a country (ISO 3166), if anything is. The one place that prices a '
'line. Of a line with a problem nothing else is said.';

-- Comes before the holds themselves, so that an item is locked last and others wait for no more than the commit.
create function private.begin_holds(
    buyer uuid, items uuid[], lines private.order_line[], others uuid[], replaced uuid[],
    out until timestamptz, out problem text, out detail text
)
language plpgsql
set search_path = ''
as $$
declare
    limits record;
    period private.hold_periods;
    paused private.hold_periods;
    is_stale boolean := false;
    held bigint;
    first_end timestamptz;
    stamp constant text := 'YYYY-MM-DD"T"HH24:MI:SS"Z"';
begin
    select s.reservation_period, s.hold_pause, coalesce(l.max_holds, s.holds_per_account) as allowed into strict limits
    from private.settings as s
    left join private.hold_limits as l on l.user_id = buyer;
    for period in select h.* from private.hold_periods as h where h.user_id = buyer loop
        if period.ends_at + limits.hold_pause <= now() then
            is_stale := true;
        elsif period.ends_at <= now() and period.item_id = any (items)
            and (paused.ends_at is null or paused.ends_at < period.ends_at)
        then
            paused := period;
        end if;
    end loop;
    if is_stale then
        delete from private.hold_periods as h where h.user_id = buyer and h.ends_at + limits.hold_pause <= now();
    end if;
    if paused.item_id is not null then
        until := now();
        problem := 'hold_paused';
        detail := format(
            '%s: until %s', paused.item_id, to_char((paused.ends_at + limits.hold_pause) at time zone 'utc', stamp)
        );
        return;
    end if;
    with begun as (
        insert into private.hold_periods as h (user_id, item_id, ends_at)
        select buyer, u.item_id, now() + limits.reservation_period from unnest(items) as u (item_id)
        on conflict on constraint hold_periods_pkey do update set renewals = h.renewals + 1
        returning h.ends_at
    )

    select min(b.ends_at) into until from begun as b;

    if others <> '{}' or cardinality(lines) > limits.allowed then
        select count(*), min(greatest(h.ends_at, now())) into held, first_end
        from (
            -- What the replaced orders hold of the same goes over to this one.
            select r.item_id, r.option_id from private.holds as r
            where
                r.order_id = any (others)
                and not (r.order_id = any (replaced) and exists (
                    select from unnest(lines) as l
                    where l.is_held and l.item_id = r.item_id and l.option_id is not distinct from r.option_id
                ))
            union all
            (select distinct l.item_id, l.option_id from unnest(lines) as l where l.is_held)
        ) as r
        left join private.hold_periods as h on h.user_id = buyer and h.item_id = r.item_id
        where
            -- Not what there is no end of: such a hold only keeps the exclusive option from others.
            exists (select from public.catalog_items as c where c.id = r.item_id and c.stock is not null)
            or exists (select from public.catalog_options as p where p.id = r.option_id and p.stock is not null);
        if held > limits.allowed then
            problem := 'too_many_holds';
            detail := format('at most %s; until %s', limits.allowed, to_char(first_end at time zone 'utc', stamp));
        end if;
    end if;
end
$$;

comment on function private.begin_holds(uuid, uuid[], private.order_line[], uuid[], uuid[]) is
'Begins or renews the time for which a buyer may hold these items, of which the lines want some, and says until when '
'they hold the first of them; or why they may not (an error code and its detail): hold_paused, too_many_holds. Others '
'are the buyer''s orders that go on holding; what the replaced ones among them hold of the same goes over.';

create function private.place_order(
    new_order uuid, buyer uuid, lines private.order_line[], provider public.payment_provider,
    shipping_address jsonb, notes text, pay_by timestamptz default null
) returns jsonb
language plpgsql
set search_path = ''
as $$
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
        -- A session is somebody's hour.
        expires := least(
            now() + case when is_booked then limits.reservation_period else limits.payment_period end, pay_by
        );
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
    if total > 0 and place_order.provider = 'wallet' then
        perform private.lock_wallets(
            array(select p.payee_id from private.payees_to_be(array[new_order]) as p) || buyer
        );
        if private.spendable_cents(buyer) < total then
            perform private.fail('insufficient_funds');
        end if;
    end if;
    -- After wallets, as when money came late. What the earlier ones booked goes over, or is freed under the same lock:
    -- freed before it, it would be waited for by whoever has the lock.
    if is_booked then
        perform private.book_lines(array[new_order], replaced);
    end if;
    for i in 1..cardinality(superseded) loop
        perform private.stop_payment(superseded[i], 'superseded');
    end loop;
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
$$;

comment on function private.place_order(
    uuid, uuid, private.order_line[], public.payment_provider, jsonb, text, timestamptz
) is
'Makes the order of these lines, under the id it is given, and its payment, and answers what checkout() does; free and '
'wallet ones complete at once. Takes the place of the buyer''s own open attempts at the same. Errors: '
'amount_out_of_range, item_reserved, item_sold, item_not_available, hold_paused, too_many_holds, insufficient_funds, '
'coupon_exhausted, coupon_already_used, and those of the hook hold.';

create function private.checked_address(address jsonb) returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
    given jsonb := nullif(address, 'null'::jsonb);
begin
    if given is null then
        return null;
    end if;
    perform private.require_keys(
        given, '{name,line1,line2,city,state,postal_code,country,phone}', 'invalid_checkout'
    );
    if length(given::text) > 4000
        or exists (select from jsonb_each(given) as a where jsonb_typeof(a.value) not in ('string', 'null'))
    then
        perform private.fail('invalid_checkout', 'shipping_address: texts, at most 4,000 characters');
    end if;
    return given;
end
$$;
comment on function private.checked_address(jsonb) is
'A shipping address as a client sent it, or null. Error: invalid_checkout.';

create function private.asked_lines(items jsonb) returns jsonb
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;
comment on function private.asked_lines(jsonb) is
'The lines a client asks for, as read_lines() wants them. Error: invalid_checkout.';

create function private.cart_lines(buyer uuid) returns jsonb
language plpgsql
stable
set search_path = ''
as $$
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
$$;
comment on function private.cart_lines(uuid) is 'The lines of a cart with what it showed, as read_lines() wants them.';

create function public.checkout(
    items jsonb default null,
    provider public.payment_provider default 'stripe',
    idempotency_key text default null,
    shipping_address jsonb default null,
    notes text default null,
    coupon_codes text[] default null
) returns jsonb
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;

comment on function public.checkout(jsonb, public.payment_provider, text, jsonb, text, text[]) is
'Buys items ([{item_id, option_id?, quantity?, offered_price_cents?, details?, gift_to? or '
'gift_email?}], default: the cart) with stripe or '
'wallet and answers the order, its payment and where to start it. offered_price_cents is the offer for name-your-price '
'items; for others the price that was shown: more is not taken (price_changed), less is. The cart remembers what it '
'showed. details are what the item''s kind wants to know. gift_to, a member, or gift_email, to whom a code is mailed, '
'will own it. coupon_codes take something off: one a line, whichever saves '
'most; one that cannot be used is an error, never a higher price. The same idempotency_key with the same request '
'answers the first order, also when that was cancelled since. An earlier open order of one of the items is superseded, '
'unless it can be bought repeatedly and nothing is booked for it. Errors: invalid_checkout, empty_checkout, '
'too_many_items, item_not_available, '
'option_not_available, package_required, extra_not_available, session_required, slot_not_available, slot_taken, '
'time_zone_not_known, time_does_not_exist, time_is_ambiguous, line_not_valid, item_sold, item_reserved, '
'already_owned, duplicate_item, own_item, '
'quantity_not_allowed, price_too_low, price_changed, address_required, shipping_not_available, amount_out_of_range, '
'insufficient_funds, provider_not_available, hold_paused, too_many_holds, payments_not_set_up, '
'idempotency_key_invalid, idempotency_key_reused, coupon_not_found, coupon_expired, coupon_exhausted, '
'coupon_already_used, coupon_not_applicable, coupon_minimum_not_reached, coupon_price_too_low, gift_not_possible, '
'registration_is_free, webinar_not_open, webinar_full, already_registered, seat_offered, too_many_actions (gifts).';
grant execute on function public.checkout(jsonb, public.payment_provider, text, jsonb, text, text[]) to authenticated;

-- A door of its own beside the cart: what was agreed is paid as agreed.
create function public.checkout_payable(
    payable_id uuid,
    provider public.payment_provider default 'stripe',
    idempotency_key text default null,
    shipping_address jsonb default null,
    notes text default null
) returns jsonb
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;

comment on function public.checkout_payable(uuid, public.payment_provider, text, jsonb, text) is
'Pays what the caller agreed on (a row of payables) with stripe or wallet, alone in its order, and answers as '
'checkout() does. Price and rate are those agreed; listings, blocks, carts and new prices do not matter. Can be tried '
'again until pay_by; an earlier open attempt is superseded. Errors: payable_not_open, invalid_checkout, '
'address_required, insufficient_funds, provider_not_available, payments_not_set_up, idempotency_key_invalid, '
'idempotency_key_reused.';
grant execute on function public.checkout_payable(uuid, public.payment_provider, text, jsonb, text) to authenticated;

create function public.cancel_order(order_id uuid) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    attempt uuid;
begin
    select p.id into attempt from public.payments as p
    inner join public.orders as o on o.id = p.order_id
    where o.id = cancel_order.order_id and o.user_id = member and o.status = 'pending';
    if attempt is null then
        perform private.fail('order_not_open', order_id::text);
    end if;
    perform private.stop_payment(attempt, 'cancelled_by_buyer');
    return private.order_summary(order_id);
end
$$;

comment on function public.cancel_order(uuid) is
'Buyer: gives up a pending order. One whose payment was started ends when the provider confirms. Error: '
'order_not_open.';
grant execute on function public.cancel_order(uuid) to authenticated;

-- What the workers need to run an attempt at the provider.

create function private.attempt_request(attempt public.payments) returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select jsonb_build_object(
            'payment_id', attempt.id, 'provider', attempt.provider, 'provider_ref', attempt.provider_ref,
            'ref', coalesce(attempt.stripe_session_id, attempt.provider_ref), 'is_session', attempt.is_session,
            'amount_cents', attempt.amount_cents, 'currency', attempt.currency, 'expires_at', attempt.expires_at,
            'order_number', o.order_number, 'description', 'Order ' || o.order_number,
            'metadata', jsonb_build_object('payment_id', attempt.id, 'order_id', attempt.order_id),
            'session', case when attempt.is_session then (
                select jsonb_build_object(
                    'success_url', r.success_url, 'cancel_url', r.cancel_url,
                    'expires_at', floor(extract(epoch from r.expires_at))::bigint
                )
                from private.session_requests as r
                where r.payment_id = attempt.id
            ) end
        )
        from public.orders as o
        where o.id = attempt.order_id
    );
end
$$;

comment on function private.attempt_request(public.payments) is
'What to create at the provider for an attempt, always the same, and ref, under which it is asked for there: the '
'session where it is one, else provider_ref; null while unknown.';

-- An attempt is a bare PaymentIntent or a Checkout Session, whichever was asked for first: never are both payable.
create function private.start_payment(
    payment_id uuid, user_id uuid, as_session boolean default false,
    success_url text default null, cancel_url text default null
) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
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
    -- Or what it brings is gone, or all owned.
    perform private.fail('item_not_available', i.item_id::text)
    from public.order_items as i
    inner join private.kinds as k on k.kind = i.kind and 'lacks' = any (k.hooks)
    where i.order_id = attempt.order_id and i.id in (select l.id from private.dispatch_lacks(k.kind, array[i.id]) as l (id));
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
$$;

comment on function private.start_payment(uuid, uuid, boolean, text, text) is
'Opens an attempt for its payer, as a PaymentIntent or as a Checkout Session with the pages it returns to, and says '
'what to create at the provider (idempotency key: the payment id and which of the two). Asked again it says the same. '
'Errors: banned, payment_not_found, payment_not_open, payment_started_otherwise, already_owned, item_not_available, '
'payable_not_open.';
grant execute on function private.start_payment(uuid, uuid, boolean, text, text) to avenue_worker;

create function private.attach_payment_ref(payment_id uuid, provider_ref text) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt public.payments;
begin
    update public.payments as p set
        provider_ref = case
            when p.is_session then p.provider_ref else coalesce(p.provider_ref, attach_payment_ref.provider_ref)
        end,
        stripe_session_id = case
            when p.is_session then coalesce(p.stripe_session_id, attach_payment_ref.provider_ref)
        end
    where p.id = attach_payment_ref.payment_id
    returning * into strict attempt;
    if coalesce(attempt.stripe_session_id, attempt.provider_ref) <> attach_payment_ref.provider_ref then
        perform private.fail('event_rejected', format(
            'payment %s already is %s', attempt.id, coalesce(attempt.stripe_session_id, attempt.provider_ref)
        ));
    end if;
    if attempt.is_session then
        delete from private.session_requests as r where r.payment_id = attempt.id;
    end if;
    return attempt.status;
end
$$;

comment on function private.attach_payment_ref(uuid, text) is
'Remembers the provider''s object: the PaymentIntent, or the Checkout Session of an attempt that is one. Answers the '
'payment''s status: cancelled means cancel it at the provider now.';
grant execute on function private.attach_payment_ref(uuid, text) to avenue_worker;

create function private.attach_payment_intent(payment_id uuid, intent text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt public.payments;
begin
    update public.payments as p set provider_ref = intent
    where p.id = attach_payment_intent.payment_id and p.is_session and p.provider_ref is null;
    select * into strict attempt from public.payments as p where p.id = attach_payment_intent.payment_id;
    if attempt.provider_ref is distinct from intent then
        perform private.fail('event_rejected', format(
            'payment %s is %s, its session is paid by %s', attempt.id, attempt.provider_ref, intent
        ));
    end if;
end
$$;

comment on function private.attach_payment_intent(uuid, text) is
'Remembers which PaymentIntent a Checkout Session is paid by, as the session says.';
grant execute on function private.attach_payment_intent(uuid, text) to avenue_worker;

create function private.payment_attempt(payment_id uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return (select private.attempt_request(p) from public.payments as p where p.id = payment_attempt.payment_id);
end
$$;

comment on function private.payment_attempt(uuid) is
'An attempt as start_payment describes it, for the jobs: with it a lost creation can be repeated under the same key.';
grant execute on function private.payment_attempt(uuid) to avenue_worker;

create function private.payment_state(payment_id uuid, user_id uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    attempt public.payments;
begin
    select * into attempt from public.payments as p
    where p.id = payment_state.payment_id and p.user_id = payment_state.user_id;
    if attempt.id is null then
        perform private.fail('payment_not_found');
    end if;
    return private.attempt_request(attempt) || jsonb_build_object(
        'is_settled', attempt.succeeded_at is not null, 'order', private.order_summary(attempt.order_id)
    );
end
$$;

comment on function private.payment_state(uuid, uuid) is
'For its payer: an attempt as payment_attempt() describes it, whether its money was taken, and what checkout() answers '
'by now. Error: payment_not_found.';
grant execute on function private.payment_state(uuid, uuid) to avenue_worker;

create function private.expire_unstarted_payments(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    ended uuid[];
    attempt uuid;
begin
    ended := array(
        select p.id from public.payments as p
        where p.is_open and p.started_at is null and p.expires_at <= now()
        order by p.expires_at
        limit max_rows
        for no key update skip locked
    );
    perform private.lock_stock(array(select p.order_id from public.payments as p where p.id = any (ended)));
    foreach attempt in array ended loop
        perform private.stop_payment(attempt, 'expired');
    end loop;
    return cardinality(ended);
end
$$;

comment on function private.expire_unstarted_payments(integer) is
'Ends attempts that ran out before the provider ever heard of them; returns how many.';
grant execute on function private.expire_unstarted_payments(integer) to avenue_worker;

create function private.payments_to_cancel(max_rows integer)
returns table (payment_id uuid, provider text, provider_ref text)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
begin
    -- Marked as tried in the same statement, here and in every sweep: what cannot be cancelled now, such as a bank debit
    -- under way, goes to the end instead of keeping the others back.
    return query
    update public.payments as p set checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where
            o.is_open and o.started_at is not null
            and o.provider <> 'wallet' and (o.expires_at <= now() or o.cancel_requested_at is not null)
        order by o.checked_at nulls first, o.expires_at
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, coalesce(p.stripe_session_id, p.provider_ref);
    return query
    update private.payment_closings as c set tried_at = now()
    from public.payments as p
    where
        p.id = c.payment_id and c.payment_id in (
            select o.payment_id from private.payment_closings as o
            order by o.tried_at nulls first
            limit max_rows
            for no key update skip locked
        )
    returning p.id, p.provider::text, coalesce(p.stripe_session_id, p.provider_ref);
end
$$;

comment on function private.payments_to_cancel(integer) is
'Started attempts that ran out or are no longer wanted, and settled ones whose charge was declined later: cancel at '
'the provider, then payment_cancelled(). A session is named by its id: its PaymentIntent cannot be cancelled apart. '
'Those tried longest ago first.';
grant execute on function private.payments_to_cancel(integer) to avenue_worker;

create function private.payment_cancelled(payment_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt public.payments;
begin
    select * into strict attempt from public.payments as p where p.id = payment_cancelled.payment_id for no key update;
    if attempt.is_open then
        update public.payments as p set status = 'cancelled' where p.id = attempt.id;
        perform private.cancel_pending_order(
            attempt.order_id, case when attempt.expires_at <= now() then 'expired' else 'cancelled_at_provider' end
        );
    end if;
    delete from private.payment_closings as c where c.payment_id = attempt.id;
    delete from private.session_requests as r where r.payment_id = attempt.id;
end
$$;

comment on function private.payment_cancelled(uuid) is
'The provider confirmed that this attempt can no longer succeed: its order ends and its items are free again.';
grant execute on function private.payment_cancelled(uuid) to avenue_worker;

create function private.payment_unknown(payment_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.orders as o set status_reason = coalesce(o.status_reason, 'unknown_to_provider')
    from public.payments as p
    where p.id = payment_unknown.payment_id and o.id = p.order_id and o.status = 'pending';
    perform private.payment_cancelled(payment_unknown.payment_id);
end
$$;

comment on function private.payment_unknown(uuid) is
'The provider does not know this attempt: it ends like a cancelled one. Should its success arrive all the same, that '
'settles or goes back like any late one.';
grant execute on function private.payment_unknown(uuid) to avenue_worker;

create function private.payments_to_reconcile(max_rows integer)
returns table (payment_id uuid, provider text, provider_ref text)
language sql
security definer
set search_path = ''
as $$
    -- Marked as asked in the same statement: an attempt the provider cannot answer for must not block the others.
    update public.payments as p set checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where
            o.is_open and coalesce(o.stripe_session_id, o.provider_ref) is not null
            and o.started_at < now() - (select s.reconcile_after from private.settings as s)
            and coalesce(o.checked_at, '-infinity') < now() - (select s.reconcile_after from private.settings as s)
        order by o.checked_at nulls first
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, coalesce(p.stripe_session_id, p.provider_ref)
$$;

comment on function private.payments_to_reconcile(integer) is
'Open attempts the provider should be asked about; each at most once per reconcile_after.';
grant execute on function private.payments_to_reconcile(integer) to avenue_worker;

insert into private.erasure_steps (step, phase, erases, statement) values
('hold_periods', 'records', '{private.hold_periods}', 'delete from private.hold_periods where user_id = $1'),
('hold_limits', 'records', '{private.hold_limits}', 'delete from private.hold_limits where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('hold_periods', 'private.hold_periods', 't.user_id = $1'),
('hold_limits', 'private.hold_limits', 't.user_id = $1');

-- Who leaves pays nothing any more: what the provider knows is cancelled there, and give_back() sends a faster
-- success back. Before the profile is locked, because settlement locks the payment first.
insert into private.erasure_steps (step, phase, erases, statement) values
('payments', 'payments', '{}', $step$
    select private.stop_payment(p.id, 'account_deleted') from public.payments as p
    where p.user_id = $1 and p.is_open
    order by p.id
$step$);

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_checkout', 'PT400', 'The checkout request is malformed.',
'The detail names the offending part, and the keys that are known where another was sent.'),
('empty_checkout', 'PT400', 'There is nothing to buy.', 'The cart is empty, or no items were sent.'),
('too_many_items', 'PT400', 'These are too many items for one order.', 'At most 50; split the order.'),
('hold_paused', 'PT429', 'You held this item a moment ago.',
'A one-of-a-kind item is held for one buyer at a time, once: whoever did not pay in time waits before the next try. '
'The detail names the item and says until when (UTC). A wallet pays at once and needs no hold.'),
('too_many_holds', 'PT429', 'You are holding too many one-of-a-kind items.',
'The detail says how many may be held and until when the first hold lasts (UTC). Pay or cancel one. Admins can allow '
'more.'),
('invalid_hold_limit', 'PT400', 'This limit is not allowed.', 'Between 0 and 1000; null for the platform''s limit.'),
('item_sold', 'PT409', 'This item is already sold.',
'A one-of-a-kind item found its buyer or was taken down. Remove it from the cart.'),
('item_reserved', 'PT409', 'Somebody else is buying this item right now.',
'A one-of-a-kind item is held during another buyer''s checkout. It is sold unless they give up: try later.'),
('already_owned', 'PT409', 'You already own this item.', 'Download it instead of buying it again.'),
('duplicate_item', 'PT400', 'The same item was sent twice.', 'Use quantity.'),
('price_changed', 'PT409', 'The price has risen.',
'The detail names the item. Show the new price and let the buyer decide: put the item in the cart again (an upsert), '
'or send the new price as offered_price_cents. A lower price is charged without asking.'),
('amount_out_of_range', 'PT400', 'The amount is too large or too small.',
'One order is at most 999,999.99: split it. What a discount leaves is at least 0.50 or nothing, unless it is paid from '
'the wallet.'),
('provider_not_available', 'PT400', 'This way to pay is not available.', 'Choose another provider.'),
('order_not_open', 'PT409', 'This order can no longer be cancelled.', 'It is not pending, or not the caller''s.'),
('payment_not_found', 'PT404', 'There is no such payment.', 'It does not exist or belongs to somebody else.'),
('payment_started_otherwise', 'PT409', 'This payment was started in another way.',
'A payment is made on a page of Stripe''s (session) or in the application (payment_intent): the detail says which was '
'asked for first. Go on that way, or cancel the order and check out again.'),
('payment_not_open', 'PT409', 'This payment can no longer be started.',
'It was paid, cancelled, or ran out. Check out again.');
