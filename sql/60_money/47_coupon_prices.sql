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
                -- What others earn too only the platform pays for, unless they agreed.
                and (private.is_platform(coupon.seller_id) or line.details -> 'takes_coupons' is distinct from 'false')
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
    coupon public.coupons, buyer uuid, lines private.order_line[], cuts bigint[], is_usable boolean,
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
    elsif not is_usable then
        problem := private.coupon_limit_reached(
            coupon, buyer, case when is_platforms then cut else 0 end, buyer
        );
    end if;
end
$$;
comment on function private.coupon_problem(public.coupons, uuid, private.order_line[], bigint[], boolean) is
'Why a buyer cannot use a coupon that takes so much off these lines (an error code and its detail), as far as it can '
'be said before its turn. Usable: it was within its limits for at least as much, and is not counted again.';

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
            from private.coupon_problem(coupon, buyer, lines, private.coupon_cuts(coupon, lines), false) as p;
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
            -- Counted once: used up since, it would be left out unsaid, and the price a higher one.
            select p.problem into wrong from private.coupon_problem(coupon, buyer, lines, cuts, true) as p;
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
                'detail', case when l.problem is not null then l.detail end,
                'owned', coalesce(l.details -> 'owned', '[]')
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
'discount_cents, shipping_cents, total_cents}. owned are the parts of a line that the buyer has already. A line or a '
'code that cannot be had has its problem and detail, as checkout() would fail; of such a line nothing else is counted. '
'Holds and promises nothing. Errors: invalid_checkout, '
'empty_checkout, too_many_items.';
grant execute on function public.preview_checkout(jsonb, text[], jsonb) to authenticated;
