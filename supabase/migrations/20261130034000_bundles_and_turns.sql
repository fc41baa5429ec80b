-- Bundles: several items at one price, shared as their sellers agreed. Turns: what many want of one (a coupon's uses, a
-- stock, seats, hours, ratings) is taken one after the other, and a slow request keeps nobody from it. Then what attackers
-- and newcomers found in the market: clocks after a pause, gifts that are opened, sessions that are held before they are
-- paid, limits on what is mailed, one form of state_changed.
--
-- Periods of settings that were days are hours: a day is not always 24 of them. No table is rewritten; new columns are null
-- or have constant defaults; one index is built on service_orders, a table of the migration before. Before the workers of
-- this version start.
-- squawk-ignore-file adding-field-with-default, adding-foreign-key-constraint, adding-required-field, ban-drop-column, ban-drop-function, ban-drop-trigger, constraint-missing-not-valid, disallowed-unique-constraint, prefer-bigint-over-int, prefer-timestamp-tz, require-concurrent-index-creation, require-concurrent-index-deletion

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

set local check_function_bodies = off;

drop index public.product_versions_untold_idx;

drop function private.coupon_problem(public.coupons, uuid, private.order_line[], bigint[]);

drop function private.gift_mailed(uuid, text, integer);

drop function private.resume_service_clock(public.service_orders, public.service_order_status);

drop function private.sale_terms(text, uuid);

drop function private.service_restore(uuid[]);

alter table public.product_versions
    drop column told_at;

alter table public.product_versions
    drop column told_up_to;

create table private.version_notices (
    version_id uuid not null,
    told_up_to uuid,
    created_at timestamp with time zone not null default now(),
    constraint version_notices_pkey primary key (version_id)
);

alter table private.version_notices
    enable row level security;

alter table private.kinds
    add column is_bundled boolean not null default false;

alter table private.settings
    add column viewers_per_address integer not null default 20;

alter table private.settings
    add column wish_notices_per_day integer not null default 3;

alter table public.availability
    add column cancel_before_hours smallint not null default 24;

alter table public.gifts
    add column opened_at timestamp with time zone;

alter table public.service_orders
    add column free_until timestamp with time zone;

alter table public.service_orders
    add column silence_left interval;

alter table public.webinar_registrations
    add column moved_at timestamp with time zone;

alter table private.settings
    alter column delivery_assumed_after set default '336:00:00'::interval;

alter table private.settings
    alter column earnings_hold set default '168:00:00'::interval;

alter table private.settings
    alter column gift_refusal_period set default '336:00:00'::interval;

alter table private.settings
    alter column refund_answer_period set default '168:00:00'::interval;

alter table private.settings
    alter column ship_within set default '336:00:00'::interval;

create type private.item_rate as (
    id uuid,
    commission_bps integer
);

alter type private.wanted_line add attribute owner_id uuid cascade;

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
    -- Else it is refused when it was rated, and has cost nobody but the platform anything. Gifts come on a later page.
    elsif side = 'buyer' and not private.is_gift_open(line.gift_id) then
        perform private.fail('gift_not_opened', line.gift_id::text);
    elsif exists (
        select from public.reviews as r
        where
            r.order_item_id = line.id and r.item_id = add_review.item_id and r.reviewer_id = reviewer
    ) then
        perform private.fail('already_reviewed', add_review.item_id::text);
    end if;
    review.status := 'published';
    if
        (select k.earned = 'at_completion' from private.kinds as k where k.kind = item.kind)
        and private.is_unfinished(line.id)
    then
        perform private.fail('review_too_early', line.id::text);
    end if;
    if reviewing = 'blind' then
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
        side, line.id, add_review.item_id, item.kind, reviewer, buyer,
        -- A part is its own seller's.
        case when item.id = line.item_id then line.seller_id else item.seller_id end, rating, review_text,
        private.is_paid_for(line, buyer), review.status, review.publish_at,
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

create or replace function private.advance_service_orders (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    due record;
    done integer := 0;
    locked public.service_orders;
begin
    for due in
        (
            select o.id, o.status, o.auto_approve_at as at from public.service_orders as o
            where o.auto_approve_at <= clock_timestamp()
            order by o.auto_approve_at
            limit max_rows
        )
        union all
        (
            select o.id, o.status, o.session_starts_at from public.service_orders as o
            where
                o.status = 'awaiting_requirements' and o.session_starts_at <= clock_timestamp()
                and o.frozen_at is null
            order by o.session_starts_at
            limit max_rows
        )
    loop
        locked := private.lock_service_order(due.id, false);
        if locked.id is null and due.at < clock_timestamp() - interval '10 minutes' then
            -- A request that is slow by a filter on its answer, again and again, would keep the money from its seller.
            begin
                perform private.hold_rows(
                    'public.payments', 't.id in (select s.payment_id from public.transactions as s '
                    'where s.order_item_id = any (private.service_order_lines($1)))', due.id
                );
                perform private.hold_rows('public.service_orders', 't.id = $1', due.id);
                locked := private.lock_service_order(due.id, false);
            exception when lock_not_available then
                null;
            end;
        end if;
        done := done + (locked.id is not null and locked.status <> due.status)::integer;
    end loop;
    return done;
end
$function$;

create or replace function private.begin_service_act (
    service_order_id uuid,
    act text,
    OUT acted public.service_orders,
    OUT actor text
)
    returns record
    language plpgsql
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    until text;
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
        perform private.refuse_state('service_order', acted.status);
    elsif acted.frozen_at is not null then
        perform private.fail('order_frozen', acted.id::text);
    -- Each of these is mailed to the other side at once, and can be taken back and done again.
    elsif act in ('propose_extension', 'propose_cancellation', 'offer_extra', 'open_dispute') then
        select private.utc(min(e.created_at) + interval '24 hours') into until
        from public.service_order_events as e
        where
            e.service_order_id = acted.id and e.actor = begin_service_act.actor
            and e.created_at > clock_timestamp() - interval '24 hours'
            and e.act in ('propose_extension', 'propose_cancellation', 'offer_extra', 'open_dispute')
        having count(*) >= 20;
        if found then
            perform private.fail('too_many_actions', until);
        end if;
    end if;
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
    perform private.end_webinar(
        cancel_for_host.webinar_id,
        case when exists (
            select from public.webinars as w
            inner join public.profiles as p on p.id = w.host_id and not p.is_banned and p.deleted_at is null
            where w.id = cancel_for_host.webinar_id and w.is_hidden
        ) then 'It was taken down.' else 'The host is not here any more.' end
    );
    return true;
end
$function$;

create or replace function private.candidates (
    words tsquery,
    title text,
    wanted private.catalog_filter,
    is_ranked boolean
)
    returns private.found
    language plpgsql
    stable
    set search_path to ''
    AS $function$
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
    -- A thousand have four in it; that they have nine happens once in fifty times, that two hundred have, never.
    found.is_capped := found.sampled > 8;
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
$function$;

create or replace function private.catalog_entry (
    service public.services
)
    returns private.catalog_entry
    language sql
    stable
    set search_path to ''
    AS $function$
    select row(
        'service', service.seller_id, service.title, service.slug, service.thumbnail_url,
        private.lowest_package_cents(service.id), null, service.currency,
        (select c.slug from public.categories as c where c.id = service.category_id),
        service.tags || service.genre_tags || service.service_type::text, null, service.is_featured,
        service.status = 'active' and not service.is_hidden, true, service.description, null, false
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
        -- Also infinity, and years nobody's calendar knows.
        if new.starts_local > clock_timestamp() at time zone 'UTC' + interval '10 years' then
            perform private.fail('time_too_far', new.starts_local::text);
        elsif new.starts_local < '2000-01-01' then
            perform private.fail('time_has_passed', new.starts_local::text);
        end if;
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
            perform private.refuse_state('webinar', private.webinar_state(old));
        end if;
        select c.taken into taken from public.catalog_items as c where c.id = new.id for no key update;
        if new.max_attendees < taken and new.max_attendees is distinct from old.max_attendees then
            perform private.fail('capacity_below_registrations', taken::text);
        end if;
    end if;
    return new;
end
$function$;

create or replace function private.chosen_session (
    service public.services,
    wanted jsonb,
    OUT session jsonb,
    OUT problem text,
    OUT detail text
)
    returns record
    language plpgsql
    stable
    set search_path to ''
    AS $function$
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
        'free_until', to_char(
            (
                starts - (
                    select a.cancel_before_hours from public.availability as a where a.user_id = service.seller_id
                ) * interval '1 hour'
            ) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        ),
        'time_zone', zone
    );
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
    loop
        select c.* into due from private.gift_codes as c
        inner join public.gifts as g on g.id = c.gift_id and g.status = 'waiting'
        where c.mail_due_at <= now() and c.email is not null
        order by c.mail_due_at
        limit 1
        for no key update of c skip locked;
        if due.gift_id is null then
            return null;
        end if;
        exit when private.gift_line(due.gift_id) is not null;
        -- Taken back meanwhile.
        update private.gift_codes as c set mail_due_at = null where c.gift_id = due.gift_id;
    end loop;
    update private.gift_codes as c set
        code_hash = sha256(convert_to(code, 'UTF8')), attempts = c.attempts + 1,
        -- Nobody waits a week for it.
        mail_due_at = case when c.attempts < 20 then now() + make_interval(secs => lease_seconds) end
    where c.gift_id = due.gift_id;
    select * into strict gift from public.gifts as g where g.id = due.gift_id;
    return jsonb_build_object(
        'gift_id', gift.id, 'to', due.email, 'created_at', now(), 'code', code,
        'from', (
            select coalesce(p.display_name, p.username::text) from public.profiles as p
            where p.id = gift.payer_id and p.deleted_at is null
        )
    );
end
$function$;

create or replace function private.claim_item (
    item_id uuid
)
    returns boolean
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.complete_late_extras (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    bought record;
    returned integer := 0;
begin
    -- What was refunded unfinished was not done: its extras go back too, or a seller would give a cheap order back and
    -- keep a dear extra of it.
    for bought in
        select e.id, e.order_item_id, t.id as transaction_id from public.service_order_extras as e
        inner join public.service_orders as o on o.id = e.service_order_id and o.status = 'refunded'
        inner join public.transactions as t on t.order_item_id = e.order_item_id and t.completed_at is null
        where e.status = 'paid'
        order by t.payment_id
        limit max_rows
    loop
        perform from public.payments as p
        where p.id = (select t.payment_id from public.transactions as t where t.id = bought.transaction_id)
        for no key update;
        -- Once: another of these may have had it.
        continue when not exists (
            select from public.service_order_extras as e
            inner join public.service_orders as o on o.id = e.service_order_id and o.status = 'refunded'
            where e.id = bought.id and e.status = 'paid'
        );
        perform private.refund_line(r.transaction_id, r.remaining, 'order_refunded', 'automatic')
        from private.refundable(array[bought.order_item_id]) as r
        where r.remaining > 0;
        perform private.revoke_line(bought.order_item_id, 'cancelled');
        returned := returned + 1;
    end loop;
    return returned + private.complete_lines(array(
        select t.order_item_id from public.service_order_extras as e
        inner join public.service_orders as o
            on o.id = e.service_order_id and not o.is_open and o.status <> 'refunded'
        inner join public.transactions as t
            on t.order_item_id = e.order_item_id and t.completed_at is null and t.refunded_cents < t.amount_total_cents
        where e.status = 'paid'
        limit max_rows
    ));
end
$function$;

create or replace function private.coupon_cuts (
    coupon public.coupons,
    lines private.order_line[],
    besides uuid[] default '{}'::uuid[]
)
    returns bigint[]
    language plpgsql
    stable
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.coupon_problem (
    coupon public.coupons,
    buyer uuid,
    lines private.order_line[],
    cuts bigint[],
    is_usable boolean,
    OUT problem text,
    OUT detail text
)
    returns record
    language plpgsql
    set search_path to ''
    AS $function$
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
                                    and p.revoked_at is null
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
                            -- Whom it was for has left, or refused it before the first charge was declined.
                            or i.gift_id is not null and exists (
                                select from public.gifts as g
                                left join public.profiles as r on r.id = g.receiver_id
                                where g.id = i.gift_id and (r.deleted_at is not null or g.status = 'refused')
                            )
                            or i.id in (
                                select l.id from private.kinds as k
                                cross join lateral private.dispatch_lacks(k.kind, array[i.id]) as l (id)
                                where k.kind = i.kind and 'lacks' = any (k.hooks)
                            )
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
            perform private.product_give(ids);
        else
            perform private.fail('gift_not_possible', kind);
    end case;
end
$function$;

create or replace function private.dispatch_purchases (
    hook text,
    ids uuid[],
    reason text default null::text
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    chosen record;
begin
    for chosen in
        -- What is granted first gets the first number.
        select p.kind, array_agg(p.id order by case when hook = 'grant' then u.no end, p.id) as ids
        from unnest(dispatch_purchases.ids) with ordinality as u (id, no)
        inner join public.purchases as p on p.id = u.id
        group by p.kind
        order by p.kind
    loop
        case hook
            when 'grant' then perform private.dispatch_grant(chosen.kind, chosen.ids);
            when 'revoke' then perform private.dispatch_revoke(chosen.kind, chosen.ids, reason);
            when 'give' then perform private.dispatch_give(chosen.kind, chosen.ids);
            else perform private.dispatch_restore(chosen.kind, chosen.ids);
        end case;
    end loop;
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
        -- Or as a part of what they sell with others.
        select from private.line_shares as s
        inner join private.line_parts as p on p.order_item_id = s.order_item_id
        where s.payee_id = earns_item.user_id and p.item_id = earns_item.item_id
    ) or exists (
        select from public.order_items as i
        cross join lateral private.dispatch_payees(i.kind, array[i.id]) as p
        where i.id = earns_item.line and p.payee_id = earns_item.user_id
    );
end
$function$;

create or replace function private.end_holds (
    item_id uuid
)
    returns integer
    language plpgsql
    set search_path to ''
    AS $function$
declare
    ended integer;
begin
    perform private.lock_items(array[end_holds.item_id]);
    delete from private.holds as h where h.item_id = end_holds.item_id and h.order_id is not null;
    get diagnostics ended = row_count;
    update public.catalog_items as c set taken = private.count_taken(c.id, c.stock) where c.id = end_holds.item_id;
    update public.catalog_options as o set taken = private.count_option_taken(o.id, o.stock)
    where o.item_id = end_holds.item_id;
    return ended;
end
$function$;

create or replace function private.end_offer (
    offer public.offers,
    status public.offer_status
)
    returns public.offers
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid text;
begin
    if offer.status not in ('sent', 'accepted') then
        perform private.refuse_state('offer', offer.status);
    elsif offer.status = 'accepted' and not private.end_payable(
        offer.payable_id, case end_offer.status when 'expired' then 'lapsed' else 'withdrawn' end::public.payable_status
    ) then
        select p.status into paid from public.payables as p where p.id = offer.payable_id;
        if paid = 'open' then
            perform private.fail('offer_being_paid', offer.id::text);
        end if;
        perform private.refuse_state('offer', offer.status);
    end if;
    update public.offers as o set status = end_offer.status where o.id = offer.id returning * into offer;
    return offer;
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
        perform private.refuse_state('service_order_extra', extra.status);
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
    before uuid;
    due bigint;
begin
    select * into own from public.webinar_registrations as r
    where r.webinar_id = end_seat.webinar_id and r.user_id = end_seat.user_id;
    if own.id is null then
        perform private.fail('registration_not_found', end_seat.user_id::text);
    end if;
    before := own.purchase_id;
    -- What was paid for is locked as everything with money is: payment, order, seats. What a discount made free is no
    -- sale.
    select t.* into sale
    from public.purchases as p
    inner join public.transactions as t on t.order_item_id = p.order_item_id
    where p.id = own.purchase_id;
    if before is not null then
        perform from public.payments as p where p.id = sale.payment_id for no key update;
        perform private.lock_orders(array(
            select i.order_id from public.order_items as i
            inner join public.purchases as p on p.order_item_id = i.id
            where p.id = before
        ));
    end if;
    perform private.settle_seats(end_seat.webinar_id);
    select * into strict webinar from public.webinars as w where w.id = end_seat.webinar_id;
    select * into strict own from public.webinar_registrations as r where r.id = own.id;
    if
        own.status not in ('waiting', 'offered', 'confirmed')
        or own.purchase_id is distinct from before
        or private.webinar_state(webinar) in ('ended', 'cancelled')
    then
        perform private.refuse_state('webinar_registration', own.status);
    end if;
    if own.status = 'offered' then
        perform from public.payables as p where p.id = own.payable_id for no key update skip locked;
        if not found or not private.end_payable(own.payable_id, 'withdrawn') then
            perform private.refuse_state('webinar_registration', 'being_paid'::text);
        end if;
    end if;
    if own.status = 'confirmed' and not is_removal and (
        webinar.starts_at <= clock_timestamp()
        or sale.id is not null and own.moved_at is null
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
                case when is_removal or own.moved_at is not null then 'seller' else 'platform' end
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

create or replace function private.end_service_orders (
    ids uuid[],
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
            -- What is left when it is open again, should the refund fail. A dispute goes on as one.
            if ended.status <> 'disputed' then
                ended.resumes_as := ended.status;
            end if;
            ended := private.stop_service_clock(ended);
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
        select r.* into next from public.webinar_registrations as r where r.id = private.next_in_line(webinar.id);
        exit when next.id is null;
        update public.catalog_items as c set taken = c.taken + 1 where c.id = webinar.id;
        insert into private.holds (item_id, quantity, is_single, webinar_registration_id)
        values (webinar.id, 1, false, next.id);
        if webinar.price_cents = 0 then
            update public.webinar_registrations as r set
                status = 'confirmed', purchase_id = null, queue_no = null, confirmed_at = clock_timestamp(),
                moved_at = null
            where r.id = next.id;
            perform private.notify(next.user_id, 'webinar_seat', null, 'webinar', webinar.id);
        else
            until := least(
                clock_timestamp() + (select s.offer_period from private.settings as s), webinar.starts_at
            );
            update public.webinar_registrations as r set
                status = 'offered', queue_no = null, offers_count = r.offers_count + 1,
                offer_expires_at = until, moved_at = null,
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

create or replace function private.follow_freeze()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
            held := private.stop_service_clock(held);
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
    update public.webinar_registrations as r set moved_at = webinar.moved_at
    where
        r.webinar_id = webinar.id and (
            r.status in ('held', 'confirmed')
            or r.status = 'offered' and private.payment_is_open(r.payable_id)
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

create or replace function private.gift_mailed (
    gift_id uuid,
    code text,
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
    -- Not of one that was asked for meanwhile, perhaps to another address.
    where
        c.gift_id = gift_mailed.gift_id and c.mail_due_at is not null
        and c.code_hash = sha256(convert_to(gift_mailed.code, 'UTF8'))
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
                or exists (
                    select from public.user_blocks as b
                    where
                        b.blocker_id = item.seller_id and b.blocked_id = receiver
                        or b.blocker_id = receiver and b.blocked_id = item.seller_id
                )
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
    update public.purchases as p set
        owner_id = g.receiver_id,
        is_owned_once = p.is_owned_once
            and (p.item_id = i.item_id or not private.owns_option(g.receiver_id, p.item_id, p.option_id))
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

create or replace function private.give_service_back (
    ended public.service_orders,
    amount_cents bigint,
    act text,
    actor text,
    actor_id uuid,
    reason text,
    fee_bearer text default 'seller'::text,
    origin public.refund_origin default 'automatic'::public.refund_origin
)
    returns public.service_orders
    language plpgsql
    set search_path to ''
    AS $function$
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
    -- What cost nothing goes with all the rest, also where an extra of it was paid.
    if is_free or wanted = whole then
        perform private.revoke_line(u.line, 'cancelled') from unnest(lines) as u (line)
        where not exists (select from public.transactions as t where t.order_item_id = u.line);
    else
        perform private.free_service_time(array[ended.order_item_id]);
    end if;
    perform private.tell_service_order(
        ended, 'service_cancelled', actor_id is distinct from ended.buyer_id, actor_id is distinct from ended.seller_id
    );
    return ended;
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
            -- A part is what it is, and its own kind hears of it.
            i.id, u.item_id, u.option_id, u.unit, case when u.is_extra then c.kind else i.kind end, i.owner_id, i.buyer_id,
            -- What comes on top does not matter to whoever has it, or buys it here as well. Of several orders that
            -- settle together the later ones would find it owned: that is a 23505, and they settle apart.
            i.is_owned_once and not (
                u.is_extra and (
                    private.owns_option(i.owner_id, u.item_id, u.option_id)
                    or i.owner_id is not null and row_number() over (
                        partition by i.order_id, i.owner_id, u.item_id, u.option_id
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
    -- It came with the seat and goes with it. Who bought it keeps it.
    perform
        case when r.status = 'confirmed' then private.restore_line(i.id) else private.revoke_line(i.id, 'refunded') end
    from public.webinar_registrations as r
    inner join public.purchases as b on b.item_id = product.id and b.owner_id = r.user_id
    inner join public.order_items as i
        on i.id = b.order_item_id and i.details ->> 'webinar_id' = product.source_webinar_id::text
    where r.webinar_id = product.source_webinar_id and (r.status = 'confirmed') <> (b.revoked_at is null);
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

create or replace function private.hash_of_today (
    value text
)
    returns bytea
    language sql
    security definer
    set search_path to ''
    AS $function$
    select sha256(private.salt_of_today() || convert_to(hash_of_today.value, 'utf8'))
$function$;

create or replace function private.hold_coupons (
    new_order uuid,
    buyer uuid,
    coupons uuid[],
    replaced uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
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
$function$;

create or replace function private.hold_key (
    key bigint
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    set lock_timeout to '300ms'
    AS $function$
begin
    for attempt in 1..10 loop
        begin
            perform pg_advisory_xact_lock(key);
            return;
        exception when lock_not_available then
            -- Steps of the workers are patient.
            if current_setting('avenue.rows_held', true) = 'on' then
                raise;
            end if;
            perform private.end_requests(array(select h.pid from private.key_holders(key) as h));
        end;
    end loop;
    perform pg_advisory_xact_lock(key);
end
$function$;

create or replace function private.is_full (
    webinar_id uuid,
    member uuid
)
    returns boolean
    language sql
    stable
    set search_path to ''
    AS $function$
    -- An offer that has ended is nobody's, noted or not; whoever's own order holds a seat has one.
    select
        not exists (
            select from public.webinar_registrations as r
            where r.webinar_id = c.id and r.user_id = is_full.member and r.status = 'held'
        )
        and (
            c.taken - (
                select count(*) from public.webinar_registrations as r
                where r.webinar_id = c.id and r.status = 'offered' and private.registration_state(r) = 'expired'
            ) >= c.stock
            or private.next_in_line(c.id) is not null
        )
    from public.catalog_items as c
    where c.id = is_full.webinar_id
$function$;

create or replace function private.is_gift_open (
    gift_id uuid
)
    returns boolean
    language plpgsql
    stable
    strict
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.gifts as g
        cross join private.settings as s
        where
            g.id = is_gift_open.gift_id
            and (
                num_nonnulls(g.opened_at, g.claimed_at) > 0
                or g.given_at + s.gift_refusal_period <= clock_timestamp()
            )
    );
end
$function$;

create or replace function private.is_gift_taken_back (
    gift_id uuid
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select g.status in ('waiting', 'given') and private.gift_line(g.id) is null
    from public.gifts as g
    where g.id = is_gift_taken_back.gift_id
$function$;

create or replace function private.is_paid_for (
    line public.order_items,
    owner uuid
)
    returns boolean
    language sql
    stable
    set search_path to ''
    AS $function$
    -- A recording came with the seat.
    select line.total_cents > 0 or case when line.details ? 'webinar_id' then exists (
        select from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id and i.total_cents > 0
        where p.item_id = (line.details ->> 'webinar_id')::uuid and p.owner_id = owner and p.revoked_at is null
    ) else line.unit_price_cents = 0 end
$function$;

create or replace function private.is_time_zone (
    name text
)
    returns boolean
    language plpgsql
    stable
    strict
    set search_path to ''
    AS $function$
begin
    -- Names of the tz database only. PostgreSQL takes abbreviations and rules as well, which mean the opposite sign or
    -- know no summer time.
    if name !~ '^([A-Z][A-Za-z_]+(/[A-Z][A-Za-z_-]+)+|UTC|Etc/GMT([+]([0-9]|1[0-2])|-([0-9]|1[0-4])))$' then
        return false;
    end if;
    perform now() at time zone name;
    return true;
exception when invalid_parameter_value then
    return false;
end
$function$;

create or replace function private.is_unfinished (
    order_item_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    -- By the clock, whatever was noted yet; what was free has no transaction.
    return coalesce(
        (
            select public.effective_status(o) not in ('completed', 'cancelled', 'refunded')
            from public.service_orders as o
            where o.order_item_id = is_unfinished.order_item_id
        ),
        (
            select private.webinar_state(w) <> 'ended'
            from public.order_items as i
            inner join public.webinars as w on w.id = i.item_id
            where i.id = is_unfinished.order_item_id
        ),
        exists (
            select from public.transactions as t
            where t.order_item_id = is_unfinished.order_item_id and t.completed_at is null
        )
    );
end
$function$;

create or replace function private.item_has_orders (
    item_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (select from public.order_items as i where i.item_id = item_has_orders.item_id)
        or exists (select from private.line_parts as p where p.item_id = item_has_orders.item_id);
end
$function$;

create or replace function private.key_holders (
    key bigint
)
    returns table (
        pid integer,
        virtualtransaction text
    )
    language sql
    stable
    set search_path to ''
    AS $function$
    select l.pid, l.virtualtransaction from pg_catalog.pg_locks as l
    where
        l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.classid = ((key >> 32) & 4294967295)::oid and l.objid = (key & 4294967295)::oid
$function$;

create or replace function private.lock_items (
    items uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    -- The turn before the row, whoever takes both.
    perform private.take_turn(hashtextextended('item:' || i.id, 0))
    from (select distinct u.id from unnest(items) as u (id) order by u.id) as i;
    perform from public.catalog_items as c where c.id = any (items) order by c.id for no key update;
end
$function$;

create or replace function private.lock_orders (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    agreed uuid[];
    has_own boolean;
    is_limited boolean;
    goods record;
begin
    perform from public.orders as o where o.id = any (lock_orders.orders) order by o.id for no key update;
    select
        array_agg(i.payable_id) filter (where i.payable_id is not null),
        bool_or(i.item_id is not null and 'lock_own' = any (k.hooks)),
        bool_or(i.is_held or c.stock is not null or o.stock is not null or 'lacks' = any (k.hooks))
    into agreed, has_own, is_limited
    from public.order_items as i
    inner join private.kinds as k on k.kind = i.kind
    left join public.catalog_items as c on c.id = i.item_id
    left join public.catalog_options as o on o.id = i.option_id
    where i.order_id = any (lock_orders.orders);
    if agreed is not null then
        perform from public.payables as p where p.id = any (agreed) order by p.id for no key update;
    end if;
    if has_own then
        for goods in
            select i.kind, array_agg(i.item_id) as items
            from public.order_items as i
            inner join private.kinds as k on k.kind = i.kind and 'lock_own' = any (k.hooks)
            where i.order_id = any (lock_orders.orders) and i.item_id is not null
            group by i.kind
            order by i.kind
        loop
            perform private.dispatch_lock_own(goods.kind, goods.items);
        end loop;
    end if;
    if is_limited then
        perform private.lock_stock(lock_orders.orders);
    end if;
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
    perform private.lock_items(items);
end
$function$;

create or replace function private.lock_service_order (
    service_order_id uuid,
    is_patient boolean default true
)
    returns public.service_orders
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
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
    elsif public.effective_status(locked) = 'in_progress' and locked.status = 'awaiting_requirements' then
        -- Nobody sits through a session and then has the money back for not having written beforehand.
        locked.revise_until := locked.revise_until + private.hours_until(locked.session_starts_at, locked.created_at);
        locked := private.start_service_work(locked, locked.session_starts_at);
        locked.status := 'in_progress';
        locked := private.write_service_order(locked, 'session', 'time');
    end if;
    return locked;
end
$function$;

create or replace function private.lock_stock (
    orders uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
begin
    perform private.lock_heirlooms(lock_stock.orders);
    perform private.lock_items(array(
        select l.item_id from private.limited_lines as l where l.order_id = any (orders) and not l.is_unique
        union all
        -- A part that is sold exclusively this very moment: see lines_lacking().
        select p.item_id from public.order_items as i
        inner join private.line_parts as p on p.order_item_id = i.id
        inner join public.catalog_items as c on c.id = p.item_id
        where i.order_id = any (orders) and private.is_limited(c)
    ));
end
$function$;

create or replace function private.lock_time (
    people uuid[]
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    select private.take_turn(hashtextextended('busy:' || p.id, 0))
    from (select distinct u.id from unnest(people) as u (id) where u.id is not null order by u.id) as p
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
    perform private.lock_items(array[lock_webinar.webinar_id]);
    if webinar.id is null then
        perform private.fail('webinar_not_found', lock_webinar.webinar_id::text);
    end if;
    return webinar;
end
$function$;

create or replace function private.next_in_line (
    webinar_id uuid
)
    returns uuid
    language sql
    stable
    set search_path to ''
    AS $function$
    select r.id
    from public.webinar_registrations as r
    inner join public.profiles as p on p.id = r.user_id and p.deleted_at is null and not p.is_banned
    where r.webinar_id = next_in_line.webinar_id and r.status = 'waiting' and r.offers_count < 100
    order by r.queue_no
    limit 1
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
    -- What costs nothing could be sent to any number of strangers.
    perform private.count_activity('free_gift', (
        select count(*)::integer from unnest(lines) as l
        where l.gift_id is not null and l.unit_price_cents * l.quantity <= l.discount_cents
    ));
    insert into public.gifts (id, payer_id, receiver_id, item_id)
    select l.gift_id, payer, l.gift_to_id, l.item_id from unnest(lines) as l where l.gift_id is not null;
    insert into private.gift_codes (gift_id, email)
    select l.gift_id, l.gift_email from unnest(lines) as l where l.gift_email is not null;
end
$function$;

create or replace function private.note_recording()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    insert into private.recording_grants (product_id)
    select p.id from public.products as p where p.source_webinar_id = new.webinar_id
    on conflict on constraint recording_grants_pkey do nothing;
    return null;
end
$function$;

create or replace function private.open_service_orders (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
            delivery_days, revisions_included, extras, session_starts_at, session_ends_at, free_until, requirements_asked, status,
            due_at, cancel_after, revise_until, created_at
        ) values (
            line.id, line.item_id, (line.details #>> '{offer,id}')::uuid, line.buyer_id, line.seller_id, line.title,
            line.details #>> '{package,name}', line.unit_price_cents - line.extra_cents, made.delivery_days,
            (line.details #>> '{package,revisions}')::integer, coalesce(line.details -> 'extras', '[]'),
            (line.details #>> '{session,starts_at}')::timestamptz, made.session_ends_at,
            (line.details #>> '{session,free_until}')::timestamptz,
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
$function$;

create or replace function private.ordered_at (
    user_id uuid,
    item_id uuid
)
    returns timestamp with time zone
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return (
        select min(i.created_at)
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        where
            p.owner_id = ordered_at.user_id and p.item_id = ordered_at.item_id and p.revoked_at is null
            -- What may still be refused is closed until it is opened; gifts come on a later page.
            and (i.gift_id is null or private.is_gift_open(i.gift_id))
    );
end
$function$;

create or replace function private.owns_option (
    user_id uuid,
    item_id uuid,
    option_id uuid
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select exists (
        select from public.purchases as p
        where
            p.owner_id = owns_option.user_id and p.item_id = owns_option.item_id
            and p.option_id is not distinct from owns_option.option_id and p.revoked_at is null
    )
$function$;

create or replace function private.pause_service_order (
    paused public.service_orders
)
    returns public.service_orders
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    paused.resumes_as := paused.status;
    paused := private.stop_service_clock(paused);
    paused.status := 'disputed';
    return paused;
end
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
$function$;

create or replace function private.price_coupons (
    buyer uuid,
    INOUT lines private.order_line[],
    codes text[],
    OUT coupons jsonb
)
    returns record
    language plpgsql
    set search_path to ''
    AS $function$
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
                    select l.license_type, count(*) as n
                    from public.purchases as b
                    inner join public.order_items as i on i.id = b.order_item_id
                    left join private.line_parts as x on x.order_item_id = i.id and x.item_id = b.item_id
                    cross join lateral (select coalesce(x.license_type, i.license_type) as license_type) as l
                    where b.item_id = p.id and b.revoked_at is null and l.license_type is not null
                    group by l.license_type
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

create or replace function private.product_give (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.issue_licenses(ids);
end
$function$;

create or replace function private.read_cursor (
    cursor text,
    filters text,
    sort public.search_sort
)
    returns private.cursor_parts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
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
    -- Made up: each day up to then would be looked at. Between this server's clock and another's lie moments.
    if
        parts.value is null or parts.id is null
        or (parts.until between 'epoch' and clock_timestamp() + interval '1 minute') is not true
    then
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
$function$;

create or replace function private.refuse_state (
    kind text,
    state anyelement
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform private.fail('state_changed', jsonb_build_object('kind', kind, 'state', state)::text);
end
$function$;

create or replace function private.reopen_service_orders (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    back public.service_orders;
    state public.service_order_status;
begin
    for back in
        select o.* from public.purchases as p
        inner join public.service_orders as o on o.order_item_id = p.order_item_id
        where p.id = any (ids) and o.status = 'refunded'
        order by o.id
        for no key update of o
    loop
        state := case when back.disputing_side is null then back.resumes_as else 'disputed' end;
        -- Frozen, or not any more, while it was refunded.
        back.frozen_at := (
            select min(f.begun_at) from public.transactions as t
            inner join private.freezes as f on f.transaction_id = t.id and f.ended_at is null
            where t.order_item_id = any (private.service_order_lines(back.id)) and state <> 'completed'
        );
        if back.frozen_at is null then
            back := private.resume_service_clock(back, state);
        else
            back.status := state;
        end if;
        perform private.write_service_order(back, 'refund_failed', 'money');
    end loop;
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
        perform private.refuse_state('webinar', private.webinar_state(webinar));
    end if;
    return webinar;
end
$function$;

create or replace function private.resume_service_clock (
    resumed public.service_orders,
    status public.service_order_status,
    at_least interval default null::interval
)
    returns public.service_orders
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    limits private.settings;
    moment timestamptz := clock_timestamp();
    until timestamptz;
begin
    select * into strict limits from private.settings;
    until := moment + greatest(
        case status when 'delivered' then resumed.silence_left else resumed.remaining end,
        coalesce(at_least, limits.service_least_period)
    );
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
$function$;

create or replace function private.sale_terms (
    kind text,
    seller_id uuid,
    item_id uuid default null::uuid,
    OUT tier text,
    OUT commission_bps integer
)
    returns record
    language plpgsql
    stable
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.service_hold (
    ids uuid[],
    earlier uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    booked record;
    problem text;
begin
    -- Before anything is freed: somebody who has locked it may be waiting for what this is about to free.
    perform private.lock_time(array(
        select p.id
        from public.order_items as i
        cross join unnest(array[i.buyer_id, i.seller_id]) as p (id)
        where i.id = any (ids || earlier)
    ));
    perform private.free_service_time(earlier);
    -- Who holds all hours of somebody and pays for none takes their living for nothing. Late money holds nothing.
    select format('at most %s; until %s', h.allowed, private.utc(min(h.expires_at))) into problem
    from (
        select p.expires_at, coalesce(l.max_holds, s.holds_per_account) as allowed
        from (
            select b.subject_id as line from private.busy_times as b
            where b.kind = 'service' and b.person_id = auth.uid()
            union all
            select u.line from unnest(ids) as u (line)
        ) as held
        inner join public.order_items as i on i.id = held.line and i.buyer_id = auth.uid()
        inner join public.payments as p on p.order_id = i.order_id and p.is_open and p.provider <> 'wallet'
        cross join private.settings as s
        left join private.hold_limits as l on l.user_id = i.buyer_id
    ) as h
    group by h.allowed
    having count(*) > h.allowed;
    if found then
        perform private.fail('too_many_holds', problem);
    end if;
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
$function$;

create or replace function private.service_restore (
    ids uuid[]
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform private.reopen_service_orders(ids);
    perform private.restore_service_time(array(
        select o.order_item_id from public.purchases as p
        inner join public.service_orders as o on o.order_item_id = p.order_item_id and o.is_open
        where p.id = any (ids)
    ));
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
            or min(f.event_id) filter (where o.is_exclusive) over (partition by g.item_id) < f.event_id as is_later
        from first as f
        inner join public.order_items as i on i.order_id = f.order_id
        left join public.catalog_options as o on o.id = i.option_id
        -- What it brings is bought by it too.
        cross join lateral (
            select i.item_id
            union all
            select p.item_id from private.line_parts as p where p.order_item_id = i.id
        ) as g
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

        part as (
            select l.event_id, p.item_id
            from line as l
            inner join private.line_parts as p on p.order_item_id = l.id
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
            where c.id in (select l.item_id from line as l union all select p.item_id from part as p)
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
            select p.event_id from part as p where p.item_id not in (select f.id from free_item as f)
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

create or replace function private.settle_further_charge (
    first public.payments,
    charge text
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    new_order uuid;
    new_payment uuid;
    promised text;
begin
    if charge = any (first.declined_charges)
        or exists (select from public.payments as p where p.provider_ref = charge and p.provider = first.provider) then
        return 'already_settled';
    end if;
    if not first.charge_id = any (first.declined_charges) then
        perform private.fail('event_too_early', format(
            'payment %s was paid by %s, which must have been declined before %s', first.id, first.charge_id, charge
        ));
    end if;
    insert into public.orders (
        user_id, subtotal_cents, tax_cents, shipping_cents, discount_cents, total_cents, currency, shipping_address, notes
    )
    select
        o.user_id, o.subtotal_cents, o.tax_cents, o.shipping_cents, o.discount_cents, o.total_cents, o.currency,
        o.shipping_address, o.notes
    from public.orders as o
    where o.id = first.order_id
    returning id into new_order;
    update public.orders as o set status = 'cancelled' where o.id = new_order;
    -- Whatever a line promises is promised again: every column but its identity, its parts and its shares.
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into promised
    from pg_catalog.pg_attribute as a
    where
        a.attrelid = 'public.order_items'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        and a.attname not in ('id', 'order_id');
    execute format(
        'insert into public.order_items (order_id, %1$s) select $1, %1$s from public.order_items where order_id = $2', promised
    ) using new_order, first.order_id;
    -- Late money: it holds nothing, no hour of anybody's either, and looks for its goods.
    update public.order_items as i set is_booked = false where i.order_id = new_order and i.is_booked;
    insert into private.line_parts (order_item_id, item_id, option_id, license_type)
    select i.id, p.item_id, p.option_id, p.license_type
    from public.order_items as i
    inner join public.order_items as f on f.order_id = first.order_id and f.line_no = i.line_no
    inner join private.line_parts as p on p.order_item_id = f.id
    where i.order_id = new_order;
    insert into private.line_shares (order_item_id, payee_id, share_bps)
    select i.id, s.payee_id, s.share_bps
    from public.order_items as i
    inner join public.order_items as f on f.order_id = first.order_id and f.line_no = i.line_no
    inner join private.line_shares as s on s.order_item_id = f.id
    where i.order_id = new_order;
    insert into public.payments (
        user_id, purpose, order_id, amount_cents, currency, provider, provider_ref, fee_estimate_cents, status,
        expires_at, started_at
    ) values (
        first.user_id, first.purpose, new_order, first.amount_cents, first.currency, first.provider, charge,
        first.fee_estimate_cents, 'processing', first.expires_at, first.started_at
    ) returning id into new_payment;
    return private.settle_payment(new_payment, charge);
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
    perform private.lock_items(array[settle_seats.webinar_id]);
    if private.expire_seats(settle_seats.webinar_id) > 0 then
        perform private.fill_seats(settle_seats.webinar_id);
    end if;
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
$function$;

create or replace function private.stop_service_clock (
    stopped public.service_orders
)
    returns public.service_orders
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    stopped.silence_left := coalesce(private.hours_until(stopped.auto_approve_at), stopped.silence_left);
    stopped.remaining := coalesce(make_interval(
        secs => extract(epoch from stopped.due_at - clock_timestamp())::double precision
    ), stopped.remaining);
    stopped.due_at := null;
    stopped.auto_approve_at := null;
    return stopped;
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
        perform private.lock_items(array[webinar.id]);
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
    perform private.take_turn(hashtextextended('item:' || taken_item, 0));
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

create or replace function private.take_turn (
    key bigint
)
    returns void
    language plpgsql
    set search_path to ''
    set lock_timeout to '600ms'
    AS $function$
declare
    held text[];
begin
    if pg_try_advisory_xact_lock(key) then
        return;
    end if;
    for attempt in 1..6 loop
        begin
            perform pg_advisory_xact_lock(key);
            return;
        exception when lock_not_available then
            -- Held all the while, and not because of somebody else. Nobody looks who has it before it is slow: that
            -- costs more than most turns.
            perform private.end_requests(array(
                select h.pid from private.key_holders(key) as h
                inner join pg_catalog.pg_stat_activity as a on a.pid = h.pid
                where h.virtualtransaction = any (held) and a.wait_event_type is distinct from 'Lock'
            ));
            held := array(select h.virtualtransaction from private.key_holders(key) as h);
        end;
    end loop;
    perform pg_advisory_xact_lock(key);
end
$function$;

create or replace function private.tell_versions (
    max_rows integer default 500
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    notice private.version_notices;
    version public.product_versions;
    owners uuid[];
begin
    select * into notice from private.version_notices as n
    order by n.created_at, n.version_id
    limit 1
    for update skip locked;
    if notice.version_id is null then
        return 0;
    end if;
    select * into strict version from public.product_versions as v where v.id = notice.version_id;
    owners := array(
        select distinct p.owner_id from public.purchases as p
        where
            p.item_id = version.product_id and p.revoked_at is null and p.purchased_at <= version.created_at
            and (notice.told_up_to is null or p.owner_id > notice.told_up_to)
        order by p.owner_id
        limit max_rows
    );
    perform private.notify_many(array(
        select row('updated', o.id, null, 'product', version.product_id, null)::private.notice
        from unnest(owners) as o (id)
    ));
    if cardinality(owners) < max_rows then
        delete from private.version_notices as n where n.version_id = version.id;
    else
        update private.version_notices as n set told_up_to = owners[cardinality(owners)]
        where n.version_id = version.id;
    end if;
    return greatest(cardinality(owners), 1);
end
$function$;

create or replace function private.tell_wishers (
    max_items integer default 100
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
        where private.is_visible_to(item.seller_id, p.user_id) and p.user_id <> item.seller_id and (
            select count(*) from public.notifications as t
            where
                t.related_id = item.id and t.type = n.type and t.user_id = p.user_id
                and t.created_at > now() - interval '24 hours'
        ) < (select s.wish_notices_per_day from private.settings as s) and not exists (
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
$function$;

create or replace function private.unordered (
    words tsquery
)
    returns tsquery
    language plpgsql
    immutable
    parallel safe
    set search_path to ''
    AS $function$
declare
    said text := words::text;
begin
    if said !~ '<(-|\d+)>' then
        return words;
    end if;
    -- Where words next to each other are unwanted, each of them may stand somewhere: that is seen in the row.
    said := regexp_replace(said, ' & !\( [^()|]*<(-|\d+)>[^()|]* \)', '', 'g');
    said := regexp_replace(said, '^(!\( [^()|]*<(-|\d+)>[^()|]* \) & )+', '');
    return regexp_replace(said, '<(-|\d+)>', '&', 'g')::tsquery;
end
$function$;

create or replace function private.wanted_items (
    kinds text[],
    category text,
    tags text[],
    min_price_cents bigint,
    max_price_cents bigint,
    min_rating numeric,
    until timestamp with time zone
)
    returns private.catalog_filter
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    wanted private.catalog_filter;
begin
    if cardinality(kinds) > 20 then
        perform private.fail('invalid_search', 'kinds: at most 20');
    elsif char_length(category) > 200 then
        perform private.fail('invalid_search', 'category: at most 200 characters');
    end if;
    wanted.kinds := nullif(array(select k.kind from unnest(kinds) as k (kind) where k.kind is not null), '{}');
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
            when f.problem is null and private.is_full(w.id, l.buyer_id) then 'webinar_full'
            else f.problem
        end,
        case when l.details <> '{}' then 'details' else f.detail end, 0::bigint, false
    from unnest(lines) as l
    inner join public.webinars as w on w.id = l.item_id
    cross join lateral private.registration_refusal(w, l.buyer_id) as f;
end
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
        update public.payables as a set status = 'withdrawn'
        from public.webinar_registrations as r
        where r.id = back.id and r.status = 'offered' and a.id = r.payable_id and a.status = 'open';
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
        elsif private.next_in_line(wanted) is not null or exists (
            select from public.catalog_items as c where c.id = wanted and c.taken >= c.stock
        ) then
            perform private.fail('webinar_full', wanted::text);
        end if;
        insert into public.webinar_registrations as r (webinar_id, user_id, status)
        values (wanted, buyer, 'held')
        on conflict on constraint webinar_registrations_webinar_id_user_id_key do update set
            status = 'held', purchase_id = null, moved_at = null
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
    inner join public.profiles as p on p.id = w.host_id
    where
        w.status = 'upcoming' and w.starts_at > now() and (
            p.is_banned or p.deleted_at is not null
            -- Taken down: nobody enters, so nothing is earned. Until the doors would open it may be shown again.
            or w.is_hidden and w.starts_at <= now() + (select s.join_before from private.settings as s)
        )
    order by w.starts_at
    limit max_rows
$function$;

create or replace function private.write_service_order (
    changed public.service_orders,
    act text,
    actor text,
    actor_id uuid default null::uuid,
    amount_cents bigint default null::bigint,
    note text default null::text
)
    returns public.service_orders
    language plpgsql
    set search_path to ''
    AS $function$
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
            perform private.refuse_state('service_order', before);
        end if;
    end if;
    if changed.status in ('completed', 'cancelled', 'refunded', 'awaiting_requirements') then
        changed.due_at := null;
        changed.auto_approve_at := null;
    end if;
    if changed.status not in ('disputed', 'refunded') then
        changed.disputing_side := null;
    end if;
    update public.service_orders as o set
        status = changed.status, delivery_days = changed.delivery_days, requirements = changed.requirements,
        requirement_files = changed.requirement_files, requirements_at = changed.requirements_at,
        delivery_files = changed.delivery_files, delivery_notes = changed.delivery_notes,
        delivered_at = changed.delivered_at, revisions_used = changed.revisions_used,
        buyer_approved = changed.buyer_approved, due_at = changed.due_at, auto_approve_at = changed.auto_approve_at,
        cancel_after = changed.cancel_after, revise_until = changed.revise_until, remaining = changed.remaining,
        silence_left = changed.silence_left, resumes_as = changed.resumes_as,
        disputing_side = changed.disputing_side, frozen_at = changed.frozen_at,
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
$function$;

create or replace function public.accept_offer (
    offer_id uuid,
    version integer
)
    returns public.offers
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    offer public.offers := private.lock_offer(accept_offer.offer_id, 'buyer');
    said public.offer_versions;
begin
    -- Twice is once.
    if offer.status = 'accepted' and offer.accepted_version = accept_offer.version then
        return offer;
    elsif offer.status <> 'sent' then
        perform private.refuse_state('offer', offer.status);
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
            perform private.refuse_state('webinar', private.webinar_state(webinar));
        elsif private.has_seat(webinar.id, member) then
            perform private.fail('already_registered');
        end if;
        -- Who hosts it does not wait for a seat in it.
        perform private.give_up_seat(r.id, 'cancelled')
        from public.webinar_registrations as r
        where r.webinar_id = webinar.id and r.user_id = member and r.status = 'waiting';
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
        perform private.refuse_state('resolution_request', public.effective_status(request));
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

create or replace function public.available_slots (
    service_id uuid,
    from_at timestamp with time zone default now(),
    until_at timestamp with time zone default null::timestamp with time zone,
    time_zone text default null::text
)
    returns table (
        starts_at timestamp with time zone,
        ends_at timestamp with time zone,
        starts_local timestamp without time zone,
        time_zone_shown text
    )
    language plpgsql
    stable
    security definer
    rows 100
    set search_path to ''
    AS $function$
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
    order by o.at
    limit 5000;
end
$function$;

create or replace function public.cancel_service_order (
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
    ended public.service_orders;
    words text := private.require_reason(cancel_service_order.reason);
    late_at timestamptz;
    is_due boolean;
begin
    select * into act from private.begin_service_act(service_order_id, 'cancel');
    ended := act.acted;
    late_at := case
        -- Its hour is kept for its buyer, whatever they have sent.
        when act.actor = 'buyer' and ended.status = 'awaiting_requirements' and ended.session_starts_at is not null
            then (private.start_service_work(ended, ended.session_starts_at)).cancel_after
        else ended.cancel_after
    end;
    is_due := coalesce(late_at <= clock_timestamp(), false);
    -- Nobody has begun: the platform bears what the provider keeps.
    if
        ended.status = 'awaiting_requirements'
        and (act.actor = 'buyer' and ended.session_starts_at is null or act.actor = 'seller' and is_due)
        or act.actor = 'buyer' and ended.free_until > clock_timestamp()
    then
        ended.is_rated := false;
        return private.give_service_back(ended, null, 'cancel', act.actor, auth.uid(), words, 'platform');
    elsif act.actor = 'buyer' and not is_due then
        perform private.fail('not_late_yet', private.utc(late_at));
    end if;
    return private.give_service_back(
        ended, null, 'cancel', act.actor, auth.uid(), words, 'seller',
        case act.actor when 'seller' then 'seller' else 'automatic' end::public.refund_origin
    );
end
$function$;

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
        perform private.refuse_state('webinar', private.webinar_state(webinar));
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
    sellers uuid[];
begin
    select g.* into gift from private.gift_codes as c
    inner join public.gifts as g on g.id = c.gift_id
    where c.code_hash = sha256(convert_to(lower(btrim(claim_gift.code)), 'UTF8'));
    if gift.id is not null then
        gift := private.lock_gift(gift.id);
        select * into bought from public.order_items as i where i.id = private.gift_line(gift.id);
        -- Of what it brings, too.
        sellers := bought.seller_id || array(
            select c.seller_id from public.purchases as p
            inner join public.catalog_items as c on c.id = p.item_id
            where p.order_item_id = bought.id and p.revoked_at is null
        );
    end if;
    -- Taken back, refused, claimed before, mailed anew since, from somebody blocked: there is no such gift.
    if gift.id is null or gift.status <> 'waiting' or bought.id is null or not exists (
        select from private.gift_codes as c
        where c.gift_id = gift.id and c.code_hash = sha256(convert_to(lower(btrim(claim_gift.code)), 'UTF8'))
    ) or exists (select from private.blocked_ids() as b (id) where b.id = any (sellers || gift.payer_id)) then
        perform private.fail('gift_not_found');
    elsif member = any (sellers) or private.earns_item(member, bought.item_id, bought.id) then
        perform private.fail('own_item', bought.item_id::text);
    -- Or all that it brings.
    elsif bought.is_owned_once and (private.owns_option(member, bought.item_id, bought.option_id) or (
        select bool_and(private.owns_option(member, p.item_id, p.option_id)) from public.purchases as p
        where p.order_item_id = bought.id and p.item_id <> bought.item_id and p.revoked_at is null
    )) then
        perform private.fail('already_owned', bought.item_id::text);
    end if;
    begin
        update public.purchases as p set
            owner_id = member,
            -- What comes on top does not matter to whoever has it.
            is_owned_once = p.is_owned_once
                and (p.item_id = bought.item_id or not private.owns_option(member, p.item_id, p.option_id))
        where p.order_item_id = bought.id and p.owner_id is null;
    exception when unique_violation then
        -- Bought in the same instant.
        perform private.fail('already_owned', bought.item_id::text);
    end;
    update public.gifts as g set status = 'given', receiver_id = member, given_at = now(), claimed_at = now()
    where g.id = gift.id
    returning * into gift;
    update private.gift_codes as c set email = null, code_hash = null, mail_due_at = null where c.gift_id = gift.id;
    perform private.dispatch_purchases('give', array(
        select p.id from public.purchases as p where p.order_item_id = bought.id and p.revoked_at is null
    ));
    perform private.notify(gift.payer_id, 'gift_claimed', null, 'gift', gift.id);
    return gift;
end
$function$;

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
        perform private.refuse_state('service_order', decided.status);
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
        perform private.refuse_state('review', review.status);
    end if;
    update public.reviews as r set
        status = decision, published_at = case when decision = 'published' then clock_timestamp() end
    where r.id = review.id;
    perform private.audit('decide_review', 'review', review.id, jsonb_build_object('status', decision));
    select * into review from public.reviews as r where r.id = decide_review.review_id;
    return review;
end
$function$;

create or replace function public.deliver_service_order (
    service_order_id uuid,
    notes text default null::text,
    files text[] default null::text[]
)
    returns public.service_orders
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    act record;
    sent public.service_orders;
    words text := nullif(private.tidy_body(deliver_service_order.notes), '');
    moment timestamptz;
begin
    select * into act from private.begin_service_act(service_order_id, 'deliver');
    sent := act.acted;
    -- Else silence would approve, and pay, an hour that has not been held.
    if sent.session_ends_at > clock_timestamp() then
        perform private.fail('session_not_over', private.utc(sent.session_ends_at));
    end if;
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
$function$;

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
        perform private.refuse_state('service_order', its.status);
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
    read_at timestamptz;
    said text := nullif(private.tidy_body(edit_review.review_text), '');
begin
    if review.is_hidden then
        perform private.fail('review_hidden', review.id::text);
    elsif (review.rating, review.review_text) is not distinct from (edit_review.rating, said) then
        return review;
    end if;
    -- What was written blind is no answer to what the other side wrote.
    select r.published_at into read_at from public.reviews as r
    where
        r.order_item_id = review.order_item_id and r.item_id = review.item_id and r.side <> review.side
        and r.status = 'published';
    if read_at is not null then
        perform private.fail('review_closed', private.utc(read_at));
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

create or replace function public.effective_status (
    service_order public.service_orders
)
    returns public.service_order_status
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return case
        when service_order.status = 'delivered' and service_order.auto_approve_at <= clock_timestamp() then 'completed'
        when
            service_order.status = 'awaiting_requirements' and service_order.session_starts_at <= clock_timestamp()
            and service_order.frozen_at is null
            then 'in_progress'
        else service_order.status
    end;
end
$function$;

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
        perform private.refuse_state('webinar', private.webinar_state(webinar));
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
    perform private.count_activity('co_host', 1);
    perform private.notify(invited.user_id, 'webinar_co_host', host, 'webinar', webinar.id);
    return invited;
end
$function$;

create or replace function public.is_taken_back (
    gift public.gifts
)
    returns boolean
    language sql
    stable
    set search_path to ''
    AS $function$
    -- The row that is there, as far as the caller reads it: anybody can call this with a row they made up.
    select private.is_gift_taken_back(g.id) from public.gifts as g where g.id = gift.id
$function$;

revoke all on function public.is_taken_back(public.gifts) from public, anon;

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
    if private.next_in_line(webinar.id) is null and exists (
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
    where
        c.gift_id = mail_gift.gift_id and g.id = c.gift_id and g.payer_id = member and g.status = 'waiting'
        and private.gift_line(g.id) is not null;
    if not found then
        perform private.fail('gift_not_found');
    end if;
end
$function$;

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
        perform private.refuse_state('webinar', private.webinar_state(webinar));
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

create or replace function public.open_gift (
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
begin
    update public.gifts as g set opened_at = coalesce(g.opened_at, now())
    where g.id = open_gift.gift_id and g.receiver_id = member and g.status = 'given'
    returning * into gift;
    if gift.id is null then
        perform private.fail('gift_not_found');
    end if;
    return gift;
end
$function$;

revoke all on function public.open_gift(uuid) from public, anon, service_role;

create or replace function public.preview_checkout (
    items jsonb default null::jsonb,
    coupon_codes text[] default null::text[],
    shipping_address jsonb default null::jsonb
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
$function$;

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
    if (act.acted).due_at + least(propose_extension.days, 1000) * interval '24 hours' > (act.acted).revise_until then
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

create or replace function public.record_view (
    item_id uuid
)
    returns bigint
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.member_id();
    headers jsonb := nullif(current_setting('request.headers', true), '')::jsonb;
    agent text := headers ->> 'user-agent';
    address text;
    item public.catalog_items;
    seen_at timestamptz := clock_timestamp();
    half_hour integer := floor(extract(epoch from seen_at) / 1800);
    someone bytea;
    most integer;
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
    if
        private.is_bot(agent) or exists (select from public.profiles as p where p.id = member and p.role >= 'admin')
        or member <> item.seller_id and private.is_webinar_host(item.id, member)
    then
        return item.views_count;
    end if;
    select coalesce(left(split_part(headers ->> s.client_address_header, ',', 1), 100), ''), s.viewers_per_address
    into address, most
    from private.settings as s;
    someone := case
        when member is not null and member <> item.seller_id then private.hash_of_today(member::text)
        else substr(private.hash_of_today(address), 1, 16)
            || substr(private.hash_of_today(address || '|' || left(agent, 1000)), 1, 16)
    end;
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
    elsif member is null and most <= (
        select count(*) from private.item_views as v
        where
            v.item_id = item.id and v.slot = half_hour
            and v.viewer between substr(someone, 1, 16)
            and substr(someone, 1, 16) || '\xffffffffffffffffffffffffffffffff'::bytea
    ) then
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
$function$;

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
        gift.status <> 'given' or num_nonnulls(gift.claimed_at, gift.opened_at) > 0 or line is null
        or gift.given_at + (select s.gift_refusal_period from private.settings as s) <= clock_timestamp()
    then
        perform private.refuse_state('gift', gift.status);
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
    perform private.lock_items(array[webinar.id]);
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
        status = 'confirmed', purchase_id = null, confirmed_at = excluded.confirmed_at, moved_at = null
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
    if private.next_in_line(webinar.id) is not null then
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

create or replace function public.release_version (
    product_id uuid,
    notes text,
    files jsonb,
    replaces uuid[] default null::uuid[],
    name text default null::text
)
    returns public.product_versions
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    product public.products;
    version public.product_versions;
    replaced uuid[];
begin
    perform private.count_activity('version', 1);
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
    insert into private.version_notices (version_id) values (version.id);
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
$function$;

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
        perform private.refuse_state('webinar', private.webinar_state(webinar));
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
        -- Until the new start people may leave with their money: some time has to be left for it.
        if moved.starts_at < least(webinar.starts_at, clock_timestamp() + interval '1 hour') then
            perform private.fail('time_too_soon', moved.starts_at::text);
        end if;
        -- Each is told and mailed.
        perform private.count_activity('webinar_move', 1);
        perform private.follow_move(webinar.id);
        select * into strict moved from public.webinars as w where w.id = webinar.id;
    end if;
    return moved;
end
$function$;

create or replace function public.retry_photo_job (
    job_id uuid,
    client_key text default null::text
)
    returns public.photo_jobs
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    balance private.credit_balances;
    job public.photo_jobs;
    wanted public.photo_jobs;
    made public.photo_jobs;
    failed uuid[];
begin
    balance := private.lock_credits(member);
    select * into job from public.photo_jobs as j where j.id = retry_photo_job.job_id and j.user_id = member;
    if job.id is null then
        perform private.fail('photo_job_not_found');
    elsif char_length(retry_photo_job.client_key) not between 1 and 200 then
        perform private.fail('invalid_photo_job', 'client_key: 1 to 200 characters');
    end if;
    -- Once for each job, and without a key, too: its failed photos are tried again there.
    select * into made from public.photo_jobs as j where j.retry_of = job.id;
    if made.id is not null then
        return made;
    elsif job.finished_at is null then
        perform private.refuse_state('photo_job', job.status);
    elsif balance.debt_cents > 0 then
        perform private.fail('credits_owed', balance.debt_cents::text);
    end if;
    failed := array(
        select i.input_media_id
        from public.photo_job_items as i
        inner join public.media as m on m.id = i.input_media_id and m.status = 'ready'
        where i.job_id = job.id and i.status in ('failed', 'returned')
        order by i.position
    );
    if failed = '{}' then
        perform private.fail('nothing_to_retry', job.id::text);
    end if;
    update public.media as m set expires_at = now() + s.photo_input_kept
    from private.settings as s
    where m.id = any (failed);
    wanted.user_id := member;
    wanted.prompt := job.prompt;
    wanted.group_name := job.group_name;
    wanted.client_key := retry_photo_job.client_key;
    wanted.retry_of := job.id;
    wanted.photo_count := cardinality(failed);
    wanted.cost_cents := private.photo_cost(wanted.photo_count);
    if wanted.photo_count + (
        select coalesce(sum(j.photo_count - j.succeeded_count - j.failed_count - j.returned_count), 0)
        from public.photo_jobs as j
        where j.user_id = member and j.status in ('pending', 'processing')
    ) > (select s.open_photos_per_account from private.settings as s) then
        perform private.fail('too_many_photos', 'too many under way');
    end if;
    begin
        return private.place_photo_job(wanted, failed);
    exception when unique_violation then
        perform private.fail('idempotency_key_reused', 'client_key');
    end;
end
$function$;

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
    -- Bought again and again: the newest that has none yet and is done, though another is being worked on.
    select i.* into line
    from public.purchases as p
    inner join public.order_items as i on i.id = p.order_item_id
    where
        p.owner_id = member and p.item_id = review_item.item_id and p.revoked_at is null
        and (review_item.order_item_id is null or i.id = review_item.order_item_id)
    order by
        not coalesce(private.is_gift_open(i.gift_id), true),
        exists (
            select from public.reviews as r
            where r.order_item_id = i.id and r.item_id = p.item_id and r.reviewer_id = member
        ),
        private.is_unfinished(i.id),
        p.purchased_at desc, p.id desc
    limit 1;
    if line.id is null then
        perform private.fail('review_not_allowed', 'purchase');
    end if;
    return private.add_review(line, review_item.item_id, member, 'buyer', rating, review_text);
end
$function$;

create or replace function public.revise_offer (
    offer_id uuid,
    title text,
    terms text,
    price_cents bigint,
    delivery_days integer,
    revisions integer,
    valid_until timestamp with time zone,
    requirements_asked text default null::text
)
    returns public.offers
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    offer public.offers := private.lock_offer(revise_offer.offer_id, 'seller');
begin
    -- One whose time is over may be made anew; what was accepted stands as it was accepted.
    if offer.status <> 'sent' then
        perform private.refuse_state('offer', offer.status);
    elsif offer.version = 100 then
        perform private.fail('too_many_offers');
    end if;
    perform private.count_activity('offer', 1);
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
$function$;

create or replace function public.send_offer (
    conversation_id uuid,
    title text,
    terms text,
    price_cents bigint,
    delivery_days integer,
    revisions integer,
    valid_until timestamp with time zone,
    service_id uuid default null::uuid,
    requirements_asked text default null::text,
    idempotency_key text default null::text
)
    returns public.offers
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
    elsif not private.knows(buyer, seller) and exists (
        select from public.inbox_entries as e
        where e.conversation_id = send_offer.conversation_id and e.user_id = buyer and e.state <> 'accepted'
    ) then
        perform private.fail('request_pending');
    elsif send_offer.service_id is not null and not exists (
        select from public.catalog_items as c
        where c.id = send_offer.service_id and c.seller_id = seller and c.kind = 'service'
    ) then
        perform private.fail('item_not_found', send_offer.service_id::text);
    end if;
    -- Both stay until it is written, and two of these at once are counted one after the other.
    perform from public.profiles as p where p.id in (seller, buyer) order by p.id for key share;
    perform private.count_activity('offer', 1);
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
$function$;

create or replace function public.show_license_key (
    license_id uuid
)
    returns text
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    member uuid := private.require_member();
    is_open boolean;
begin
    -- Gifts come on a later page.
    select i.gift_id is null or private.is_gift_open(i.gift_id) into is_open
    from public.license_keys as k
    inner join public.order_items as i on i.id = k.order_item_id
    where k.id = show_license_key.license_id and k.owner_id = member;
    if not found then
        perform private.fail('license_not_found');
    elsif not is_open then
        perform private.fail('gift_not_opened');
    end if;
    return private.license_key(show_license_key.license_id);
end
$function$;

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
        private.resume_service_clock(
            resumed, resumed.resumes_as::public.service_order_status,
            -- Whoever withdraws gains no time: a late seller stays late, a buyer puts no silence off.
            case
                when (act.actor = 'buyer') = (resumed.resumes_as = 'delivered')
                    then case resumed.resumes_as when 'delivered' then resumed.silence_left else resumed.remaining end
            end
        ),
        'withdraw_dispute', act.actor, auth.uid()
    );
    perform private.tell_service_order(
        resumed, 'service_dispute_withdrawn', act.actor = 'seller', act.actor = 'buyer'
    );
    return resumed;
end
$function$;

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
        perform private.refuse_state('resolution_request', public.effective_status(request));
    end if;
    update public.resolution_requests as r set status = 'withdrawn', answered_at = clock_timestamp()
    where r.id = request.id
    returning * into request;
    return request;
end
$function$;

alter table private.version_notices
    add constraint version_notices_version_id_fkey foreign key (version_id) references public.product_versions(id)
        on delete cascade;

alter table public.availability
    add constraint availability_cancel_before_hours_check
        check (((cancel_before_hours >= 0) AND (cancel_before_hours <= 720)));

create index version_notices_created_at_idx on private.version_notices using btree (created_at);

create index service_orders_session_starts_at_idx on public.service_orders using btree (session_starts_at)
    where ((status = 'awaiting_requirements'::public.service_order_status) AND (session_starts_at is not null));

create trigger note_recording
    after update of status on public.webinar_registrations
    for each row
    when
        (((old.status = 'confirmed'::public.registration_status) <> (new.status =
        'confirmed'::public.registration_status)))
    execute function private.note_recording();

comment on column private.item_views.viewer is 'Hash under the day''s secret: of who it is, or half of it of the address and half of the browser.';

comment on column private.kinds.is_bundled is 'Of what is sold: whether one can be a part of what brings several at one price. For what is there as soon as it is paid: no stock, seat, date or parcel. The item says the rest, see may_be_part().';

comment on column private.settings.viewers_per_address is 'How many browsers of one address count for an item in half an hour: what a browser calls itself costs nothing.';

comment on column private.settings.wish_notices_per_day is 'How often in 24 hours somebody is told the same of one item: a cent less each minute is no news.';

comment on column private.version_notices.told_up_to is 'The last owner who was told, by id.';

comment on column public.availability.cancel_before_hours is 'Until so many hours before it a buyer cancels a session and has all the money back. Of what is booked from now on.';

comment on column public.gifts.opened_at is 'When its receiver opened it, and could have what is in it: from then on it is not refused.';

comment on column public.purchases.kind is 'Kind of what was bought, as on the line; of a part its own.';

comment on column public.reviews.is_verified_purchase is 'It was paid for, or is free for everybody; false for what a discount made free, and for the recording of a webinar whose seat cost nothing.';

comment on column public.service_orders.disputing_side is 'Which side opened the dispute, and may withdraw it; kept when it is refunded meanwhile.';

comment on column public.service_orders.free_until is 'Until when its buyer cancels the session and has all the money back, as availability said when it was booked.';

comment on column public.service_orders.remaining is 'What was left of the time to deliver while that clock stands still; negative: so late it is.';

comment on column public.service_orders.silence_left is 'What was left of the silence that approves while that clock stands still: in a dispute, a freeze.';

comment on column public.webinar_registrations.moved_at is 'When the webinar was moved while they had this seat or were paying for it: they may leave with all their money until the new start.';

comment on constraint availability_cancel_before_hours_check on public.availability is 'invalid_availability: A session can be cancelled until 0 to 720 hours before it.';

comment on function private.advance_service_orders(integer) is 'Makes official what silence has approved, and that sessions have begun; how many. What somebody is at is left out for ten minutes, then a request that is slow is ended. Call until 0.';

comment on function private.begin_service_act(uuid, text) is 'The order, locked, and which side of it the caller is, for an act that is this side''s and possible now. Errors: service_order_not_found, not_your_part, state_changed, order_frozen, too_many_actions (20 proposals, extras and disputes of one side in 24 hours).';

comment on function private.cancel_for_host(uuid) is 'Cancels a webinar to come whose host is gone, or that was taken down. False when there is nothing to cancel any more.';

comment on function private.complete_late_extras(integer) is 'Extras whose order has ended without them: those of one that was refunded unfinished go back, others (silence while they were paid) are done; how many. Call until 0.';

comment on function private.coupon_problem(public.coupons, uuid, private.order_line[], bigint[], boolean) is
    'Why a buyer cannot use a coupon that takes so much off these lines (an error code and its detail), as far as it can be said before its turn. Usable: it was within its limits for at least as much, and is not counted again.';

comment on function private.dispatch_purchases(text, uuid[], text) is 'Calls the hook grant, revoke, restore or give of the kinds of these purchases; grant in the order given.';

comment on function private.gift_mailed(uuid, text, text, integer) is 'The mail server took the mail of this code, or said why not; then it is tried again after so many seconds. Of a code that is not the newest nothing is noted.';

comment on function private.grant_recording(uuid, integer) is 'Gives a recording to those who were registered and do not have it, each once, at no price; how many. Takes it back from those who got it and whose seat was taken back.';

comment on function private.hash_of_today(text) is 'A hash that nobody can make any more when the day is over.';

comment on function private.hold_coupons(uuid, uuid, uuid[], uuid[]) is 'Takes one use of each of these coupons for an order; what its buyer''s replaced orders held is free again. Takes their turns. Errors: coupon_exhausted, coupon_already_used.';

comment on function private.is_full(uuid, uuid) is 'Whether a webinar has no seat for somebody, as it looks without a lock: for showing it. Who takes one counts again.';

comment on function private.is_gift_open(uuid) is 'Whether its receiver can have what is in a gift: it was opened or claimed, or can be refused no more.';

comment on function private.is_gift_taken_back(uuid) is 'Whether a gift was refunded, or taken away otherwise.';

comment on function private.is_paid_for(public.order_items, uuid) is 'Whether somebody paid for a line, or it is free for everybody.';

comment on function private.is_unfinished(uuid) is 'Whether what was bought with a line is still to come: the work on it, or the webinar.';

comment on function private.item_has_orders(uuid) is 'Whether an item was ever ordered, alone or as a part, paid for or not.';

comment on function private.key_holders(bigint) is 'Who has an advisory lock.';

comment on function private.lock_items(uuid[]) is 'Locks the rows of items in the registry, for what many want of one at once: a stock, a seat, a rating. See take_turn().';

comment on function private.next_in_line(uuid) is 'The registration that gets the next free seat; null when nobody waits who can be given one, then it is anybody''s.';

comment on function private.note_gifts(uuid, private.order_line[]) is 'Checkout: the gifts among these lines. Error: too_many_actions (gifts that cost nothing).';

comment on function private.note_recording() is 'Trigger on webinar_registrations: who has the recording is looked at again.';

comment on function private.owns_option(uuid, uuid, uuid) is 'True while the user owns the item in this option; null: in none.';

comment on function private.product_give(uuid[]) is 'Hook give: a gift that was claimed by its code gets its licence key, for whoever owns it now.';

comment on function private.refuse_state(text, anyelement) is 'Fails with state_changed for a move that its state does not allow: detail {kind, state}.';

comment on function private.resume_service_clock(public.service_orders, public.service_order_status, interval) is
    'The order in this state, its clock going on with what was left, at least settings.service_least_period, or at_least where that is given.';

comment on function private.sale_terms(text, uuid, uuid) is 'The seller''s plan and the commission (basis points) of a sale of this kind, and this item, now: all of it for what the platform sells.';

comment on function private.service_hold(uuid[], uuid[]) is 'Hook hold: the sessions of these lines take seller''s and buyer''s time. Errors: slot_taken, slot_not_available (it has begun), too_many_holds.';

comment on function private.service_restore(uuid[]) is 'Hook restore: their orders go on, and take their hours again.';

comment on function private.start_payment(uuid, uuid, boolean, text, text) is 'Opens an attempt for its payer, as a PaymentIntent or as a Checkout Session with the pages it returns to, and says what to create at the provider (idempotency key: the payment id and which of the two). Asked again it says the same. Errors: banned, payment_not_found, payment_not_open, payment_started_otherwise, already_owned, item_not_available, payable_not_open.';

comment on function private.stop_service_clock(public.service_orders) is 'The order with its clocks standing still, and what is left of them.';

comment on function private.take_turn(bigint) is 'Takes an advisory lock until the transaction ends, one after the other: a request of the API that has it and does not come to an end, by a slow filter on its answer, is cancelled. Fails (55P03) when it stays held.';

comment on function private.tell_wishers(integer) is 'Looks at items that changed and tells those who wish for them: price_drop once for each new lowest price, back_in_stock once after it was sold out, each at most settings.wish_notices_per_day times. Returns at how many it looked. A job calls it every few seconds.';

comment on function private.unordered(tsquery) is 'What has to be in a row with these words, wherever they stand.';

comment on function private.webinars_without_host(integer) is 'Webinars to come whose host was banned or has left, or that are still taken down when people would enter: to be cancelled.';

comment on function public.available_slots(uuid, timestamp with time zone, timestamp
    with time zone, text) is 'When a session of this service can begin, from and before these instants (a week from now unless told, 62 days at most), earliest first, at most 5,000; starts_local is what a clock in the asked zone shows (the seller''s unless told), named in time_zone_shown. Why another time is not free is not told. None of a service that is not booked. Errors: item_not_available, time_zone_not_known.';

comment on function public.cancel_service_order(uuid, text) is 'Ends an order with all of the money back. Buyer: freely while the requirements are not sent, but of a session until free_until, later when the delivery is late (from cancel_after). Seller: as long as it is not completed; one whose buyer sent no requirements by cancel_after does not count for the completion rate. Errors: reason_required, service_order_not_found, state_changed, not_late_yet, order_frozen, insufficient_funds, refund_amount_invalid.';

comment on function public.checkout(jsonb, public.payment_provider, text, jsonb, text, text[]) is
    'Buys items ([{item_id, option_id?, quantity?, offered_price_cents?, details?, gift_to? or gift_email?}], default: the cart) with stripe or wallet and answers the order, its payment and where to start it. offered_price_cents is the offer for name-your-price items; for others the price that was shown: more is not taken (price_changed), less is. The cart remembers what it showed. details are what the item''s kind wants to know. gift_to, a member, or gift_email, to whom a code is mailed, will own it. coupon_codes take something off: one a line, whichever saves most; one that cannot be used is an error, never a higher price. The same idempotency_key with the same request answers the first order, also when that was cancelled since. An earlier open order of one of the items is superseded, unless it can be bought repeatedly and nothing is booked for it. Errors: invalid_checkout, empty_checkout, too_many_items, item_not_available, option_not_available, package_required, extra_not_available, session_required, slot_not_available, slot_taken, time_zone_not_known, time_does_not_exist, time_is_ambiguous, line_not_valid, item_sold, item_reserved, already_owned, duplicate_item, own_item, quantity_not_allowed, price_too_low, price_changed, address_required, shipping_not_available, amount_out_of_range, insufficient_funds, provider_not_available, hold_paused, too_many_holds, payments_not_set_up, idempotency_key_invalid, idempotency_key_reused, coupon_not_found, coupon_expired, coupon_exhausted, coupon_already_used, coupon_not_applicable, coupon_minimum_not_reached, coupon_price_too_low, gift_not_possible, registration_is_free, webinar_not_open, webinar_full, already_registered, seat_offered, too_many_actions (gifts).';

comment on function public.deliver_service_order(uuid, text, text[]) is 'Seller: delivers, a text or files or both; without an answer of the buyer the order is approved at auto_approve_at. Errors: service_order_not_found, not_your_part, state_changed, order_frozen, session_not_over, nothing_sent, too_many_delivery_files, delivery_file_not_found, invalid_delivery (23514).';

comment on function public.edit_review(uuid, integer, text) is 'Changes rating and text of a review of the caller''s. Once it was shown it is a new version: votes begin anew, and a response is marked as one to an earlier version. Errors: review_not_found, review_hidden, review_closed (of two who reviewed each other blind), invalid_rating, invalid_review.';

comment on function public.effective_status(public.service_orders) is 'Computed field: the order''s state now, also where silence has approved it, or its session has begun, and nothing has written that yet.';

comment on function public.invite_co_host(uuid, uuid) is 'Host, with a plan that has webinar-co-hosts (premium and higher): asks somebody to host with them. Errors: webinar_not_found, state_changed, plan_required, user_not_found, too_many_co_hosts (ten), already_invited, too_many_actions.';

comment on function public.is_taken_back(public.gifts) is 'Computed field of gifts: it was paid, and refunded or taken away since; nobody has it by this gift.';

comment on function public.offer_order_extra(uuid, text, bigint, integer) is 'Seller: offers something on top of an order that is not delivered, for this price (cents) and so many days of 24 hours more. The buyer pays payable_id with checkout_payable(), or declines; the days count once it is paid. Errors: service_order_not_found, not_your_part, state_changed, order_frozen, too_many_actions, too_many_order_extras (20 an order), text_not_visible, and the constraints of service_order_extras.';

comment on function public.open_dispute(uuid, text) is 'Either side: an admin decides. Every clock stands still; the two may still agree on an end, and who opened it withdraws it. Errors: reason_required, service_order_not_found, state_changed, order_frozen, too_many_actions.';

comment on function public.open_gift(uuid) is 'Whom something was given to: wants it, and can have its files and keys from now on; it cannot be refused any more. Again it answers the same. Error: gift_not_found.';

comment on function public.preview_checkout(jsonb, text[], jsonb) is 'What checkout() would charge for these items (default: the cart) with these codes: {lines, coupons, subtotal_cents, discount_cents, shipping_cents, total_cents}. owned are the parts of a line that the buyer has already. A line or a code that cannot be had has its problem and detail, as checkout() would fail; of such a line nothing else is counted. Holds and promises nothing. Errors: invalid_checkout, empty_checkout, too_many_items.';

comment on function public.propose_cancellation(uuid, bigint, text) is 'Either side: proposes to end the order, with this much of all that was paid for it back to the buyer (cents); the rest is the seller''s. The other side answers within settings.service_answer_period. Errors: reason_required, service_order_not_found, state_changed, order_frozen, too_many_actions, resolution_open, refund_amount_invalid.';

comment on function public.propose_extension(uuid, integer, text) is 'Seller: asks for more days of 24 hours, to be answered within settings.service_answer_period. Errors: reason_required, service_order_not_found, not_your_part, state_changed, order_frozen, too_many_actions, resolution_open, extension_too_long (the detail is the last moment possible), invalid_resolution (23514).';

comment on function public.record_view(uuid) is 'The caller, signed in or not, looks at an item. Counted once in half an hour; not for its seller, co-hosts, admins and programs. Answers views_count as it is: what was not yet added, this view included, is not in it. Error: item_not_found.';

comment on function public.refuse_gift(uuid) is 'Whom something was given to: gives it back, and its payer what it cost, at the platform''s cost. Within settings.gift_refusal_period, and not what was claimed by a code or opened. Errors: gift_not_found, state_changed (detail {kind, state}: refused, claimed, opened, taken back, too late), refund_amount_invalid (a refund is under way).';

comment on function public.release_version(uuid, text, jsonb, uuid[], text) is 'The seller releases files ([{path, name?, position?}], uploaded before) with notes, in place of these files of the product or of all it has. Whoever bought before keeps those too; owners are told unless they switched it off (notification updated). Errors: item_not_found, product_deleted, invalid_version, text_not_visible, file_not_found, file_not_uploaded, too_many_files, already_done (a path is listed already), too_many_actions.';

comment on function public.reschedule_webinar(uuid, timestamp without time zone, text, integer, boolean) is
    'Host: another time. Seats and payments stay, everybody is told and gets the calendar entry anew; who was registered before may leave with all their money until the new start. Errors: webinar_not_found, state_changed (it has begun, ended or was cancelled), time_zone_not_known, time_does_not_exist, time_is_ambiguous, time_has_passed, time_too_soon (brought forward to less than an hour from now), time_too_far, slot_taken, too_many_actions.';

comment on function public.review_item(uuid, integer, text, uuid) is 'Rates what the caller bought and still has, from 1 to 5; of what was bought several times the newest that has no review yet (done before unfinished), or the one named. Shown at once, or blind until the other side has reviewed or settings.review_blind_period is over. Errors: review_not_allowed, gift_not_opened, already_reviewed, review_too_early, review_closed, invalid_rating, invalid_review, too_many_actions.';

comment on function public.revise_offer(uuid, text, text, bigint, integer, integer, timestamp
    with time zone, text) is 'Seller: a new version of an offer nobody accepted yet; the old ones stay readable. Errors: offer_not_found, not_your_part, state_changed, too_many_offers (100 versions), too_many_actions, text_not_visible, the constraints of offer_versions.';

comment on function public.send_offer(uuid, text, text, bigint, integer, integer, timestamp
    with time zone, uuid, text, text) is 'Seller: offers the other one of a conversation of two something for this price (cents) and tells them. service_id: which of the caller''s services it is a variant of. The same idempotency_key and request answer the first offer. Errors: conversation_not_found, cannot_message, request_pending (a stranger who has not accepted the conversation), item_not_found, too_many_offers (10 open ones for one buyer), too_many_actions, idempotency_key_invalid, idempotency_key_reused, text_not_visible, and the constraints of offer_versions.';

comment on function public.show_license_key(uuid) is 'The key of a licence of the caller''s, for their eyes: as often as they like. Errors: license_not_found, gift_not_opened.';

comment on function public.withdraw_dispute(uuid) is 'Who opened the dispute: the order goes on where it was, its clock with what was left; where it is the other side''s clock, with at least settings.service_least_period. Errors: service_order_not_found, not_your_part, state_changed, order_frozen.';

comment on table private.recording_grants is 'Recordings that are still to be given to those who were registered, or taken back from those whose seat was; see grant_recordings().';

comment on table private.version_notices is 'Versions that not all owners were told of yet; the row goes when they were.';

comment on type private.item_rate is 'The commission, basis points, of a sale of an item now.';

comment on type private.wanted_line is 'A line somebody wants to order, as its kind is asked about it: at the price a piece costs this buyer, cents; details are what the buyer sent for it, an object. owner_id: who will own it; of a gift not the buyer, null: whoever claims it.';

revoke all
    on function private.coupon_problem(public.coupons, uuid, private.order_line[], bigint[], boolean)
    from public;

revoke all on function private.gift_mailed(uuid, text, text, integer) from public;

grant execute on function private.gift_mailed(uuid, text, text, integer) to avenue_worker;

revoke all on function private.hash_of_today(text) from public;

revoke all on function private.is_full(uuid, uuid) from public;

revoke all on function private.is_gift_open(uuid) from public;

revoke all on function private.is_gift_taken_back(uuid) from public;

grant execute on function private.is_gift_taken_back(uuid) to authenticated;

grant execute on function private.is_gift_taken_back(uuid) to service_role;

revoke all on function private.is_paid_for(public.order_items, uuid) from public;

revoke all on function private.is_unfinished(uuid) from public;

revoke all on function private.key_holders(bigint) from public;

revoke all on function private.lock_items(uuid[]) from public;

revoke all on function private.next_in_line(uuid) from public;

revoke all on function private.note_recording() from public;

revoke all on function private.owns_option(uuid, uuid, uuid) from public;

revoke all on function private.product_give(uuid[]) from public;

revoke all on function private.refuse_state(text, anyelement) from public;

revoke all
    on function private.resume_service_clock(public.service_orders, public.service_order_status, interval)
    from public;

revoke all on function private.sale_terms(text, uuid, uuid) from public;

revoke all on function private.service_restore(uuid[]) from public;

revoke all on function private.stop_service_clock(public.service_orders) from public;

revoke all on function private.take_turn(bigint) from public;

grant execute on function public.is_taken_back(public.gifts) to authenticated;

grant execute on function public.is_taken_back(public.gifts) to service_role;

grant execute on function public.open_gift(uuid) to authenticated;

revoke all (cancel_before_hours) on table public.availability from authenticated;

grant insert (cancel_before_hours), update (cancel_before_hours) on table public.availability to authenticated;

-- What the tables of rows say.
insert into private.activity_limits (kind, fresh, period, description, established) values
('offer', 30, '1 day', 'Offers sent and changed', 200),
('co_host', 20, '1 day', 'People asked to host a webinar together', 100),
('webinar_move', 5, '1 day', 'Webinars moved', 20),
('version', 10, '1 day', 'Versions of files released', 20),
('free_gift', 10, '1 day', 'Gifts that cost nothing', 30);
insert into private.error_codes (code, message, sqlstate, description) values
('session_not_over', 'The session is not over.', 'PT409', 'It is delivered when it was held: from the detail on.'),
('time_too_far', 'This time is too far away.', 'PT400', 'A webinar begins within ten years.'),
('time_too_soon', 'This time is too soon.', 'PT400', 'A webinar is brought forward to no less than an hour from now, so that people can still leave.'),
('gift_not_opened', 'This gift is not opened.', 'PT409', 'Its receiver opens it first (open_gift()), or refuses it.');
update private.error_codes set message = 'This is not possible in its state.', description = 'It has moved on, or has not got there yet. The detail, {kind, state}, says of what kind it is and its state now.' where code = 'state_changed';
update private.error_codes set description = 'It can be reviewed when what was ordered is complete, a webinar when it has ended.' where code = 'review_too_early';
update private.error_codes set description = 'The other side''s review was shown at the time in the detail; nobody answers it by a review of their own, or by a change of the one they wrote blind.' where code = 'review_closed';
insert into private.hooks (hook, needs, meaning, refusal, returns, as_caller, otherwise, parameters) values
('rate', '{payees}', 'Checkout: the commission of each of these items, whose payees have plans of their own. Of one of which nothing is said it is that of the seller''s plan.', 'item_not_available', 'setof private.item_rate', false, 'select null::uuid, null::integer where false', ''),
('lacks', '{units}', 'Settlement: which of these order lines cannot be granted any more as they were ordered; for what shared code does not see by their own item. Their money goes back.', 'item_not_available', 'setof uuid', false, 'select null::uuid where false', '');
update private.kinds set is_bundled = true where kind = 'product';
update private.notification_types set collapse = '24:00:00' where type = 'webinar_co_host';
update private.notification_types set collapse = '24:00:00' where type = 'review_response';
update private.notification_types set message = 'Somebody gave you something. Open it, or refuse it.' where type = 'gift';
insert into private.personal_data (stays, reason, section, relation) values
('{told_up_to}', 'how far a job is; gone when it is done', 'version_notices', 'private.version_notices');
update private.personal_data set condition = 't.reviewer_id = $1 or (t.seller_id = $1 or t.buyer_id = $1) and t.status = ''published'' and not t.is_hidden' where section = 'reviews';
update private.personal_data set stays = '{name,notes}' where section = 'product_versions';
insert into private.service_order_moves (act, actor, to_state, from_state) values
('session', 'time', 'in_progress', 'awaiting_requirements');
update private.state_moves set meaning = 'send_requirements, session' where relation = 'public.service_orders' and state_column = 'status' and move = 'awaiting_requirements>in_progress';

select private.build_dispatch();

-- sql/50_commerce/22_line_parts.sql -----------------------------------------------------------------------------------
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

-- sql/67_market/65_bundles.sql ----------------------------------------------------------------------------------------
-- Bundles: several items at one price, of one seller or of several. Bought it is one line that grants the bundle and
-- each of its parts; a part's own kind hears of it as if it had been bought alone. Other sellers agree to the terms
-- first: the price, the parts, their share, whether coupons lower it. Whatever changes of these asks them again, and
-- nothing is sold on terms that somebody did not agree to. What was sold stays sold, whoever declines later.
--
-- A bundle is in the shop while it is complete: all its parts can be bought, all sellers agreed, it costs less than its
-- parts. Checkout looks itself; the column, and with it the shop, follows a few seconds later where somebody else made
-- the difference (follow_bundles()), so that nobody who changes an item waits for the bundles it is in.

insert into private.media_purposes (purpose, bucket, is_public, is_uploaded, sizes, meaning) values
('bundle', 'pictures', true, true, '{large,medium,small,thumbnail}', 'a bundle');

alter table private.settings add column parts_per_bundle integer not null default 20;
comment on column private.settings.parts_per_bundle is 'How many parts a bundle has at most.';

create type public.bundle_status as enum ('draft', 'active', 'paused', 'deleted');
comment on type public.bundle_status is
'active is in the shop while it is complete, paused is not for now, deleted never again. What was bought stays in '
'every state.';

create type public.bundle_answer as enum ('asked', 'agreed', 'declined');
comment on type public.bundle_answer is
'What a seller of parts says of the terms. asked: nothing yet, or the terms changed since.';

create table public.bundles (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    description text,
    thumbnail_url public.http_url,
    price_cents bigint not null default 0,
    parts_cents bigint not null default 0,
    saved_cents bigint not null generated always as (greatest(parts_cents - price_cents, 0)) stored,
    currency character(3) not null default 'USD',
    takes_coupons boolean not null default false,
    terms_version integer not null default 1,
    parts_count smallint not null default 0,
    part_titles text,
    category_id uuid,
    tags text[] not null default '{}',
    status public.bundle_status not null default 'draft',
    is_complete boolean not null default false,
    is_featured boolean not null default false,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    image_media_id uuid,
    constraint bundles_pkey primary key (id),
    constraint bundles_slug_key unique (slug),
    constraint bundles_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint bundles_category_id_fkey foreign key (category_id) references public.categories (id),
    -- The registry row is written by trigger after this one, hence deferred. It makes item:catalog_items(*) embeddable.
    constraint bundles_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint bundles_title_check check (char_length(title) between 1 and 255),
    constraint bundles_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint bundles_description_check check (char_length(description) <= 20000),
    constraint bundles_price_cents_check check (private.is_price(price_cents)),
    constraint bundles_parts_cents_check check (parts_cents >= 0)
);

create index bundles_seller_id_created_at_idx on public.bundles (seller_id, created_at desc);
create index bundles_category_id_idx on public.bundles (category_id);
create index bundles_created_at_idx on public.bundles (created_at desc, id desc);

-- What a client that breaks these is told, see error_catalog().
comment on constraint bundles_description_check on public.bundles is
'invalid_description: A description has at most 20,000 characters.';
comment on constraint bundles_slug_check on public.bundles is
'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';
comment on constraint bundles_title_check on public.bundles is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint bundles_category_id_fkey on public.bundles is 'choice_not_available: There is no such category.';
comment on constraint bundles_slug_key on public.bundles is
'slug_taken: Another bundle just took this address; try again.';

comment on table public.bundles is
'Bundles. Visible while active, complete, not taken down and of a seller in good standing; always to the seller, to '
'those whose parts are in it and who did not decline, to buyers and to admins. Price, parts and shares are written by '
'set_bundle_terms(), the parts are bundle_parts, counters and tags search are on the catalog_items row.';
comment on column public.bundles.seller_id is 'Who sells it; always the caller.';
comment on column public.bundles.title is 'Title, one line of at most 255 characters.';
comment on column public.bundles.slug is
'Address part, unique; made from the title when missing. A taken one gets an ending.';
comment on column public.bundles.description is 'Rich text, at most 20,000 characters.';
comment on column public.bundles.thumbnail_url is
'Address of the picture for lists, http(s) only: from outside, or of the small copy of image_media_id.';
comment on column public.bundles.price_cents is
'Price of all parts together, cents; 0 before there are terms. Orders keep the price they were made at.';
comment on column public.bundles.parts_cents is
'What the parts cost alone, cents; of one whose price the buyer names the least, of one that cannot be had now '
'nothing. Kept by the server.';
comment on column public.bundles.saved_cents is 'How much less the bundle costs, cents. Generated.';
comment on column public.bundles.takes_coupons is
'Whether its seller''s coupons lower it where others earn too: a term they agree to. Where nobody else does, they do; '
'the platform''s always do, as it pays the difference.';
comment on column public.bundles.terms_version is
'Counts the changes of price, parts, shares and takes_coupons; agree_to_bundle() names it.';
comment on column public.bundles.parts_count is 'How many parts the terms have.';
comment on column public.bundles.part_titles is
'Titles of its parts that can be had, for the search. Kept by the server.';
comment on column public.bundles.tags is 'Up to 20 tags; lower case.';
comment on column public.bundles.status is
'State in the shop, set by the seller. active needs parts; deleted is final.';
comment on column public.bundles.is_complete is
'All parts can be bought, all sellers agreed, and it costs less than its parts. Kept by the server; see '
'bundle_problem().';
comment on column public.bundles.is_featured is 'Shown first by its seller; limited by the seller''s plan.';
comment on column public.bundles.is_hidden is 'Taken down by an admin; written by hide_content() only.';
comment on column public.bundles.hidden_reason is 'Why, told to its seller.';

create table public.bundle_parts (
    bundle_id uuid not null,
    item_id uuid not null,
    option_id uuid,
    position smallint not null,
    -- Not by the item, or bundles and catalog_items would be two ways related for item:catalog_items(*).
    constraint bundle_parts_pkey primary key (bundle_id, position),
    constraint bundle_parts_bundle_id_item_id_key unique (bundle_id, item_id),
    constraint bundle_parts_bundle_id_fkey foreign key (bundle_id) references public.bundles (id) on delete cascade,
    constraint bundle_parts_item_id_fkey foreign key (item_id)
    references public.catalog_items (id) on delete cascade,
    constraint bundle_parts_option_id_fkey foreign key (option_id, item_id)
    references public.catalog_options (id, item_id) on delete cascade
);
create index bundle_parts_item_id_idx on public.bundle_parts (item_id);
create index bundle_parts_option_id_idx on public.bundle_parts (option_id, item_id) where option_id is not null;

comment on table public.bundle_parts is
'What is in a bundle. Readable with the bundle; the embedded item is null for whom it is hidden from. Written by '
'set_bundle_terms().';
comment on column public.bundle_parts.bundle_id is 'The bundle.';
comment on column public.bundle_parts.item_id is 'The part; each item once.';
comment on column public.bundle_parts.option_id is 'In which option, such as a licence tier; null: the item itself.';
comment on column public.bundle_parts.position is 'Order of the parts, from 1.';

create table public.bundle_sellers (
    bundle_id uuid not null,
    seller_id uuid not null,
    share_bps integer not null,
    status public.bundle_answer not null default 'asked',
    terms_version integer,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint bundle_sellers_pkey primary key (bundle_id, seller_id),
    constraint bundle_sellers_bundle_id_fkey foreign key (bundle_id) references public.bundles (id) on delete cascade,
    constraint bundle_sellers_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint bundle_sellers_share_bps_check check (share_bps between 0 and 10000),
    constraint bundle_sellers_terms_version_check check ((status = 'agreed') = (terms_version is not null))
);
create index bundle_sellers_seller_id_created_at_idx on public.bundle_sellers (seller_id, created_at desc);

comment on table public.bundle_sellers is
'The other sellers of a bundle''s parts: their share and what they say to it. Each reads their own row, the bundle''s '
'seller all of its. Written by set_bundle_terms(), agree_to_bundle(), decline_bundle().';
comment on column public.bundle_sellers.bundle_id is 'The bundle.';
comment on column public.bundle_sellers.seller_id is 'Whose parts are in it; never the bundle''s own seller.';
comment on column public.bundle_sellers.share_bps is
'Share of what the sellers earn of it, basis points; the bundle''s seller has the rest.';
comment on column public.bundle_sellers.status is 'Their answer.';
comment on column public.bundle_sellers.terms_version is 'Which terms they agreed to.';

create table private.bundle_changes (
    id bigint not null generated always as identity,
    bundle_id uuid not null,
    constraint bundle_changes_pkey primary key (id)
);
create index bundle_changes_bundle_id_idx on private.bundle_changes (bundle_id);
comment on table private.bundle_changes is
'Bundles of which a part, or an agreement, changed: for follow_bundles(), which removes the note.';
comment on column private.bundle_changes.bundle_id is 'Which; it may be gone.';
alter table private.bundle_changes enable row level security;

-- Complete or not.

create function private.may_be_part(item public.catalog_items) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return not (item.is_repeatable or item.requires_shipping or item.has_seats or private.is_limited(item))
        and (select k.is_bundled from private.kinds as k where k.kind = item.kind);
end
$$;
comment on function private.may_be_part(public.catalog_items) is
'Whether an item can be a part of something: of a kind that can (kinds.is_bundled), there is as much of it as is '
'wanted, no option of it is limited or exclusive, it is owned once and not sent.';

create type private.bundle_look as (problem text, parts_cents bigint, part_titles text);
comment on type private.bundle_look is
'A bundle as it is now. problem: parts (none yet), part_not_available, not_agreed, saves_nothing; null: '
'it is complete.';

create function private.look_at_bundle(bundle_id uuid) returns private.bundle_look
language sql
stable
set search_path = ''
as $$
    select row(
        case
            when b.parts_count = 0 then 'parts'
            when count(p.item_id) < b.parts_count or not bool_and(a.is_there and private.may_be_part(c))
                then 'part_not_available'
            when not bool_and(c.seller_id = b.seller_id or coalesce(s.terms_version = b.terms_version, false))
                then 'not_agreed'
            when b.price_cents >= sum(a.cents) then 'saves_nothing'
        end,
        -- What is not in the shop is its seller's own affair: others read this.
        coalesce(sum(a.cents) filter (where a.is_there), 0),
        string_agg(c.title, E'\n' order by p.position) filter (where a.is_there)
    )::private.bundle_look
    from public.bundles as b
    left join public.bundle_parts as p on p.bundle_id = b.id
    left join public.catalog_items as c on c.id = p.item_id
    left join public.catalog_options as o on o.id = p.option_id
    left join public.bundle_sellers as s on s.bundle_id = b.id and s.seller_id = c.seller_id
    cross join lateral (
        select
            coalesce(o.price_cents, c.minimum_price_cents, c.price_cents) as cents,
            c.is_buyable and (p.option_id is null or coalesce(o.is_active, false)) as is_there
    ) as a
    where b.id = look_at_bundle.bundle_id
    group by b.id
$$;
comment on function private.look_at_bundle(uuid) is 'Whether a bundle is complete, what its parts cost and are called.';

create function private.refresh_bundle(bundle_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.bundles as b where b.id = refresh_bundle.bundle_id for no key update;
    update public.bundles as b set
        is_complete = l.problem is null, parts_cents = l.parts_cents, part_titles = l.part_titles
    from private.look_at_bundle(refresh_bundle.bundle_id) as l
    where
        b.id = refresh_bundle.bundle_id and (b.is_complete, b.parts_cents, b.part_titles)
        is distinct from (l.problem is null, l.parts_cents, l.part_titles);
end
$$;
comment on function private.refresh_bundle(uuid) is 'Locks a bundle and lets what it says of its parts follow.';

-- One at a time: each is in the shop or not by a change of its seller's profile and of its registry row.
create function private.follow_bundles() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    changed uuid;
    noted integer;
begin
    select c.bundle_id into changed from private.bundle_changes as c
    order by c.id
    limit 1
    for update skip locked;
    delete from private.bundle_changes as c
    where c.id in (
        select n.id from private.bundle_changes as n where n.bundle_id = changed order by n.id for update skip locked
    );
    get diagnostics noted = row_count;
    if noted > 0 then
        perform private.refresh_bundle(changed);
    end if;
    return noted;
end
$$;
comment on function private.follow_bundles() is
'Looks at the next bundle of which something changed: in the shop while it is complete. Returns how many notes it had; '
'0: there is none. A job calls it until then, every few seconds.';
grant execute on function private.follow_bundles() to avenue_worker;

create function private.note_part_change() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.bundle_changes (bundle_id)
    select p.bundle_id from public.bundle_parts as p
    where p.item_id = (to_jsonb(coalesce(new, old)) ->> tg_argv[0])::uuid;
    return null;
end
$$;
comment on function private.note_part_change() is
'Trigger on items (id) and their options (item_id): notes the bundles they are in.';
create trigger note_part_change after update on public.catalog_items
for each row when (
    (new.is_buyable, new.price_cents, new.minimum_price_cents, new.title)
    is distinct from (old.is_buyable, old.price_cents, old.minimum_price_cents, old.title)
)
execute function private.note_part_change('id');
create trigger note_part_change after insert or delete or update of price_cents, stock, is_active
on public.catalog_options
for each row execute function private.note_part_change('item_id');

create function private.note_parts_gone() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.bundle_changes (bundle_id) select distinct c.bundle_id from changed as c;
    return null;
end
$$;
comment on function private.note_parts_gone() is 'Trigger on parts: their items were deleted.';
create trigger note_parts_gone after delete on public.bundle_parts referencing old table as changed
for each statement execute function private.note_parts_gone();
-- Or whoever agreed is gone.
create trigger note_parts_gone after delete on public.bundle_sellers referencing old table as changed
for each statement execute function private.note_parts_gone();

create function private.decline_blocked() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    with declined as (
        update public.bundle_sellers as s set status = 'declined', terms_version = null
        from changed as c
        inner join public.bundles as b on b.seller_id in (c.blocker_id, c.blocked_id)
        where
            s.bundle_id = b.id and s.status <> 'declined'
            and s.seller_id = case b.seller_id when c.blocker_id then c.blocked_id else c.blocker_id end
        returning s.bundle_id
    )

    insert into private.bundle_changes (bundle_id) select distinct d.bundle_id from declined as d;
    return null;
end
$$;
comment on function private.decline_blocked() is 'Trigger: a block ends what the two agreed on for new buyers.';
create trigger end_bundles after insert on public.user_blocks referencing new table as changed
for each statement execute function private.decline_blocked();

-- The bundle itself.

create function private.catalog_entry(bundle public.bundles) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'bundle', bundle.seller_id, bundle.title, bundle.slug, bundle.thumbnail_url, bundle.price_cents, null,
        bundle.currency, (select c.slug from public.categories as c where c.id = bundle.category_id), bundle.tags,
        null, bundle.is_featured, bundle.status = 'active' and bundle.is_complete and not bundle.is_hidden, true,
        concat_ws(E'\n', bundle.description, bundle.part_titles), null, false
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.bundles) is
'A bundle''s registry row; found by the titles of its parts too.';

create function private.check_bundle() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.status = 'deleted' then
        -- What the server keeps up may still change; what the seller says may not.
        if (new.title, new.slug, new.status, new.price_cents) is distinct from
            (old.title, old.slug, old.status, old.price_cents)
        then
            perform private.fail('bundle_deleted', old.id::text);
        end if;
    end if;
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.bundles', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    if new.status = 'active' and (tg_op = 'INSERT' or old.status <> 'active') and not exists (
        select from public.bundle_parts as p where p.bundle_id = new.id
    ) then
        perform private.fail('bundle_has_no_parts', new.id::text);
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
comment on function private.check_bundle() is
'Trigger: completes a bundle (slug, tags) and refuses what a constraint cannot say.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of title, description on public.bundles
for each row execute function private.tidy_texts('title line required', 'description body');
create trigger check_bundle
before insert or update on public.bundles
for each row execute function private.check_bundle();
create trigger refuse_ordered_item before delete on public.bundles
for each row execute function private.refuse_ordered_item();
create trigger sync_catalog_item
after insert or update or delete on public.bundles
for each row execute function private.sync_catalog_item();
create trigger touch_updated_at before update on public.bundles
for each row execute function private.touch_updated_at();
create trigger touch_updated_at before update on public.bundle_sellers
for each row execute function private.touch_updated_at();

select private.make_media_column(
    'public.bundles', 'image_media_id', 'bundle', 'seller_id', '{"thumbnail_url": "small"}'
);
create trigger sync_catalog_picture after insert or update on public.bundles
for each row execute function private.sync_catalog_picture();

create function private.erase_bundles(seller uuid, max_rows integer default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen uuid [] := array(
        select b.id from public.bundles as b
        where b.seller_id = seller and (b.status <> 'deleted' or not private.item_has_orders(b.id))
        order by b.id
        limit max_rows
        for update
    );
begin
    begin
        delete from public.bundles as b where b.id = any (chosen) and not private.item_has_orders(b.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    update public.bundles as b set status = 'deleted' where b.id = any (chosen) and b.status <> 'deleted';
    return cardinality(chosen);
end
$$;
comment on function private.erase_bundles(uuid, integer) is
'Account deletion: removes a seller''s bundles that nobody ordered and takes the others off sale for good, at most '
'max_rows; how many.';

create function private.is_bundle_seller(bundle_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.bundle_sellers as s
        where
            s.bundle_id = is_bundle_seller.bundle_id and s.seller_id = private.member_id()
            and s.status <> 'declined'
    )
$$;
comment on function private.is_bundle_seller(uuid) is
'Whether the caller is asked about a bundle, or agreed to it. For policies.';
grant execute on function private.is_bundle_seller(uuid) to authenticated;

create function private.owns_bundle(bundle_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.bundles as b where b.id = owns_bundle.bundle_id and b.seller_id = private.member_id()
    )
$$;
comment on function private.owns_bundle(uuid) is 'Whether a bundle is the caller''s. For policies.';
grant execute on function private.owns_bundle(uuid) to authenticated;

alter table public.bundles enable row level security;
grant select on public.bundles to anon, authenticated, service_role;
grant
insert (title, slug, description, thumbnail_url, category_id, tags, status, is_featured, image_media_id),
update (title, slug, description, thumbnail_url, category_id, tags, status, is_featured, image_media_id),
delete
on public.bundles to authenticated;
-- Whoever may see the registry row may see the bundle. The owner comes first because an insert's RETURNING looks before
-- that row exists.
create policy bundles_select_anon on public.bundles for select to anon
using ((select c.id from public.catalog_items as c where c.id = bundles.id) is not null);
create policy bundles_select on public.bundles for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = bundles.id) is not null
    or private.is_bundle_seller(id)
);
create policy bundles_insert on public.bundles for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy bundles_update on public.bundles for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));
create policy bundles_delete on public.bundles for delete to authenticated
using (seller_id = (select private.member_id()));

alter table public.bundle_parts enable row level security;
grant select on public.bundle_parts to anon, authenticated, service_role;
create policy bundle_parts_select on public.bundle_parts for select to anon, authenticated
using ((select b.id from public.bundles as b where b.id = bundle_parts.bundle_id) is not null);

alter table public.bundle_sellers enable row level security;
grant select on public.bundle_sellers to authenticated, service_role;
create policy bundle_sellers_select on public.bundle_sellers for select to authenticated
using (
    seller_id = (select private.member_id()) or private.owns_bundle(bundle_id) or (select private.is_admin())
);

-- Terms.

create function public.bundle_problem(bundle_id uuid) returns text
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    if not private.owns_bundle(bundle_problem.bundle_id) then
        perform private.fail('bundle_not_found', bundle_problem.bundle_id::text);
    end if;
    return (private.look_at_bundle(bundle_problem.bundle_id)).problem;
end
$$;
comment on function public.bundle_problem(uuid) is
'For its seller: why a bundle cannot be bought: parts (no terms yet), part_not_available, not_agreed (a seller was '
'asked and did not agree, or declined), saves_nothing (its parts cost no more); null: it can. Error: bundle_not_found.';
grant execute on function public.bundle_problem(uuid) to authenticated;

create function private.wanted_parts(parts jsonb) returns public.bundle_parts[]
language plpgsql
stable
set search_path = ''
as $$
declare
    most integer := (select s.parts_per_bundle from private.settings as s);
    wanted public.bundle_parts[];
begin
    if jsonb_typeof(parts) is distinct from 'array' or jsonb_array_length(parts) not between 2 and most then
        perform private.fail('invalid_bundle', format('parts: from 2 to %s of {item_id, option_id?}', most));
    end if;
    if exists (
        select from jsonb_array_elements(parts) as p (part)
        where (private.is_uuid(p.part ->> 'item_id') and private.is_uuid(p.part ->> 'option_id') is not false) is not true
    ) then
        perform private.fail('invalid_bundle', 'parts: {item_id, option_id?}');
    end if;
    select array_agg(
        row(null, (p.part ->> 'item_id')::uuid, (p.part ->> 'option_id')::uuid, p.no)::public.bundle_parts order by p.no
    ) into wanted
    from jsonb_array_elements(parts) with ordinality as p (part, no);
    if (select count(distinct w.item_id) from unnest(wanted) as w) < cardinality(wanted) then
        perform private.fail('invalid_bundle', 'parts: each item once');
    end if;
    return wanted;
end
$$;
comment on function private.wanted_parts(jsonb) is 'The parts a client sent. Error: invalid_bundle.';

create type private.bundle_share as (seller_id uuid, share_bps integer);
comment on type private.bundle_share is 'A seller of parts and their share, basis points.';

create function private.wanted_shares(bundle public.bundles, sellers uuid[], prices bigint[], shares jsonb)
returns private.bundle_share[]
language plpgsql
stable
set search_path = ''
as $$
declare
    others uuid[] := array_remove(sellers, bundle.seller_id);
begin
    if shares is null or shares = 'null' then
        -- By what the parts cost alone; largest remainder, ties by a hash, as money is split.
        return (
            with seller as (
                select
                    u.seller_id, sum(u.cents)::bigint as cents,
                    row_number() over (order by md5(bundle.id::text || u.seller_id)) as no
                from unnest(sellers, prices) as u (seller_id, cents)
                group by u.seller_id
            )

            select array_agg(row(s.seller_id, p.parts[s.no])::private.bundle_share order by s.seller_id)
            from seller as s
            cross join (
                select private.split_cents(10000, array_agg(x.cents order by x.no)) as parts from seller as x
            ) as p
            where s.seller_id <> bundle.seller_id
        );
    end if;
    if jsonb_typeof(shares) <> 'object' or exists (
        select from jsonb_each(shares) as s (seller, share)
        where (private.is_uuid(s.seller) and jsonb_typeof(s.share) = 'number' and s.share::text ~ '^[0-9]{1,5}$')
            is not true
    ) or (select count(*) from jsonb_object_keys(shares)) <> (select count(distinct o.id) from unnest(others) as o (id))
        or exists (select from unnest(others) as o (id) where not shares ? o.id::text)
        or (select sum(s.share::text::bigint) from jsonb_each(shares) as s (seller, share)) > 10000
    then
        perform private.fail(
            'invalid_bundle', 'shares: {seller id: basis points} of each other seller, at most 10000 together'
        );
    end if;
    return array(
        select row(s.seller::uuid, s.share::text::integer)::private.bundle_share
        from jsonb_each(shares) as s (seller, share)
        order by s.seller::uuid
    );
end
$$;
comment on function private.wanted_shares(public.bundles, uuid[], bigint[], jsonb) is
'The shares of a bundle''s other sellers: as sent, or by what the parts (of these sellers, at these prices) cost '
'alone. Error: invalid_bundle.';

create function public.set_bundle_terms(
    bundle_id uuid, price_cents bigint, parts jsonb, shares jsonb default null, takes_coupons boolean default false
) returns public.bundles
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    bundle public.bundles;
    wanted public.bundle_parts[];
    part public.bundle_parts;
    item public.catalog_items;
    option public.catalog_options;
    blocked uuid[] := array(select private.blocked_ids());
    sellers uuid[] := '{}';
    prices bigint[] := '{}';
    agreed private.bundle_share[];
    asked uuid[];
    takes boolean := coalesce(set_bundle_terms.takes_coupons, false);
begin
    select * into bundle from public.bundles as b
    where b.id = set_bundle_terms.bundle_id and b.seller_id = member
    for no key update;
    if bundle.id is null then
        perform private.fail('bundle_not_found', set_bundle_terms.bundle_id::text);
    elsif bundle.status = 'deleted' then
        perform private.fail('bundle_deleted', bundle.id::text);
    end if;
    wanted := private.wanted_parts(set_bundle_terms.parts);
    perform private.require_keys(p.part, '{item_id,option_id}', 'invalid_bundle')
    from jsonb_array_elements(set_bundle_terms.parts) as p (part);
    foreach part in array wanted loop
        -- What the caller cannot buy is as good as not there.
        select * into item from public.catalog_items as c
        where c.id = part.item_id and c.is_buyable and c.seller_id <> all (blocked)
        for key share;
        option := null;
        if item.id is null then
            perform private.fail('item_not_available', part.item_id::text);
        elsif not private.may_be_part(item) then
            perform private.fail('part_not_allowed', part.item_id::text);
        elsif part.option_id is not null then
            select * into option from public.catalog_options as o
            where o.id = part.option_id and o.item_id = item.id and o.is_active;
            if option.id is null then
                perform private.fail('option_not_available', part.option_id::text);
            end if;
        end if;
        sellers := sellers || item.seller_id;
        prices := prices || coalesce(option.price_cents, item.minimum_price_cents, item.price_cents);
    end loop;
    if member <> all (sellers) then
        perform private.fail('invalid_bundle', 'parts: one of your own at least');
    elsif not coalesce(
        private.is_price(set_bundle_terms.price_cents)
        and set_bundle_terms.price_cents >= private.lowest_price_cents(), false
    ) then
        perform private.fail('invalid_bundle', format('price_cents: at least %s', private.lowest_price_cents()));
    elsif set_bundle_terms.price_cents >= private.sum_cents(prices) then
        perform private.fail('bundle_saves_nothing', private.sum_cents(prices)::text);
    end if;
    agreed := coalesce(private.wanted_shares(bundle, sellers, prices, set_bundle_terms.shares), '{}');

    if
        (bundle.price_cents, bundle.takes_coupons) = (set_bundle_terms.price_cents, takes)
        and array(
            select row(p.item_id, p.option_id)::text from public.bundle_parts as p
            where p.bundle_id = bundle.id
            order by p.position
        ) = array(select row(w.item_id, w.option_id)::text from unnest(wanted) as w order by w.position)
        and array(
            select row(s.seller_id, s.share_bps)::text from public.bundle_sellers as s
            where s.bundle_id = bundle.id and s.seller_id = any (sellers)
            order by s.seller_id
        ) = array(select row(a.seller_id, a.share_bps)::text from unnest(agreed) as a order by a.seller_id)
    then
        perform private.refresh_bundle(bundle.id);
        select * into bundle from public.bundles as b where b.id = bundle.id;
        return bundle;
    end if;

    delete from public.bundle_parts as p where p.bundle_id = bundle.id;
    insert into public.bundle_parts (bundle_id, item_id, option_id, position)
    select bundle.id, w.item_id, w.option_id, w.position from unnest(wanted) as w;
    -- Who declined is not asked again, however often they are put in and taken out; they may still agree.
    delete from public.bundle_sellers as s
    where s.bundle_id = bundle.id and s.seller_id <> all (sellers) and s.status <> 'declined';
    with seller as (
        insert into public.bundle_sellers as s (bundle_id, seller_id, share_bps)
        select bundle.id, a.seller_id, a.share_bps from unnest(agreed) as a
        on conflict on constraint bundle_sellers_pkey do update set
            share_bps = excluded.share_bps, terms_version = null,
            status = case s.status when 'declined' then s.status else 'asked' end
        returning s.seller_id, s.status
    )

    select array_agg(s.seller_id order by s.seller_id) filter (where s.status = 'asked') into asked from seller as s;
    if asked is not null then
        perform private.count_activity('bundle_asked', cardinality(asked));
    end if;
    update public.bundles as b set
        price_cents = set_bundle_terms.price_cents, takes_coupons = takes, terms_version = b.terms_version + 1,
        parts_count = cardinality(wanted)
    where b.id = bundle.id;
    perform private.refresh_bundle(bundle.id);
    perform private.notify(a.id, 'bundle_asked', member, 'bundle', bundle.id) from unnest(asked) as a (id);
    select * into bundle from public.bundles as b where b.id = bundle.id;
    return bundle;
end
$$;
comment on function public.set_bundle_terms(uuid, bigint, jsonb, jsonb, boolean) is
'Seller: what is in a bundle ([{item_id, option_id?}], 2 to settings.parts_per_bundle, one of the caller''s at least), '
'for how much, and how it is shared ({seller id: basis points} of the others; default by what the parts cost alone). '
'Other sellers are asked, again after each change, and it is not sold before all agreed. Errors: bundle_not_found, '
'bundle_deleted, invalid_bundle, item_not_available, option_not_available, part_not_allowed, '
'bundle_saves_nothing (detail: what the parts cost), too_many_actions.';
grant execute on function public.set_bundle_terms(uuid, bigint, jsonb, jsonb, boolean) to authenticated;

create function private.lock_bundle_answer(bundle_id uuid) returns public.bundle_sellers
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    bundle public.bundles;
    answer public.bundle_sellers;
begin
    select * into bundle from public.bundles as b
    where
        b.id = lock_bundle_answer.bundle_id
        and exists (
            select from public.bundle_sellers as s where s.bundle_id = b.id and s.seller_id = member
        )
    for no key update;
    -- Who declined and was taken out of it has nothing to say.
    select * into answer from public.bundle_sellers as s
    where
        s.bundle_id = bundle.id and s.seller_id = member and exists (
            select from public.bundle_parts as p
            inner join public.catalog_items as c on c.id = p.item_id
            where p.bundle_id = s.bundle_id and c.seller_id = s.seller_id
        )
    for no key update;
    -- Whoever blocked the other one, or is not there any more. Asked with the answer locked, as a block changes it.
    if answer.bundle_id is null or private.can_see(bundle.seller_id) is not true then
        perform private.fail('bundle_not_found', lock_bundle_answer.bundle_id::text);
    elsif bundle.status = 'deleted' then
        perform private.fail('bundle_deleted', bundle.id::text);
    end if;
    return answer;
end
$$;
comment on function private.lock_bundle_answer(uuid) is
'What the caller says of a bundle with parts of theirs; it is locked. Errors: bundle_not_found, bundle_deleted.';

create function public.agree_to_bundle(bundle_id uuid, terms_version integer) returns public.bundle_sellers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    answer public.bundle_sellers := private.lock_bundle_answer(agree_to_bundle.bundle_id);
    bundle public.bundles;
begin
    select * into strict bundle from public.bundles as b where b.id = answer.bundle_id;
    if bundle.terms_version is distinct from agree_to_bundle.terms_version then
        perform private.fail('bundle_terms_changed', bundle.terms_version::text);
    elsif answer.status <> 'agreed' then
        update public.bundle_sellers as s set status = 'agreed', terms_version = bundle.terms_version
        where s.bundle_id = bundle.id and s.seller_id = answer.seller_id
        returning * into answer;
        perform private.refresh_bundle(bundle.id);
        perform private.notify(bundle.seller_id, 'bundle_agreed', answer.seller_id, 'bundle', bundle.id);
    end if;
    return answer;
end
$$;
comment on function public.agree_to_bundle(uuid, integer) is
'Whose parts are in a bundle: agrees to the terms of this version (bundles.terms_version): price, parts, the caller''s '
'share, coupons. Errors: bundle_not_found, bundle_deleted, bundle_terms_changed (detail: the version now).';
grant execute on function public.agree_to_bundle(uuid, integer) to authenticated;

create function public.decline_bundle(bundle_id uuid) returns public.bundle_sellers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    answer public.bundle_sellers := private.lock_bundle_answer(decline_bundle.bundle_id);
    seller uuid;
begin
    if answer.status = 'declined' then
        perform private.fail(
            'state_changed', jsonb_build_object('kind', 'bundle_seller', 'state', answer.status)::text
        );
    end if;
    update public.bundle_sellers as s set status = 'declined', terms_version = null
    where s.bundle_id = answer.bundle_id and s.seller_id = answer.seller_id
    returning * into answer;
    perform private.refresh_bundle(answer.bundle_id);
    select b.seller_id into strict seller from public.bundles as b where b.id = answer.bundle_id;
    perform private.notify(seller, 'bundle_declined', answer.seller_id, 'bundle', answer.bundle_id);
    return answer;
end
$$;
comment on function public.decline_bundle(uuid) is
'Whose parts are in a bundle: says no, or takes back that they agreed. Nobody buys it any more; who bought it keeps '
'it, and orders that are being paid are delivered. Errors: bundle_not_found, bundle_deleted, state_changed (detail '
'{kind, state}: declined before).';
grant execute on function public.decline_bundle(uuid) to authenticated;

-- Selling.

create function private.bundle_check_option(ids uuid[], options public.catalog_options[]) returns void
language plpgsql
set search_path = ''
as $$
begin
    if cardinality(options) > 0 then
        perform private.fail('option_not_available', ids[1]::text);
    end if;
end
$$;
comment on function private.bundle_check_option(uuid[], public.catalog_options[]) is
'Hook check_option: a bundle has none.';

create function private.facts_of_parts(parts private.wanted_line[]) returns setof private.line_facts
language plpgsql
set search_path = ''
as $$
declare
    chosen record;
begin
    for chosen in
        select c.kind, array_agg(c.id order by w.no) as items, array_agg(w order by w.no) as lines
        from unnest(parts) as w
        inner join public.catalog_items as c on c.id = w.item_id
        group by c.kind
        order by c.kind
    loop
        return query select f.* from private.dispatch_check_line(chosen.kind, chosen.items, chosen.lines) as f;
    end loop;
end
$$;
comment on function private.facts_of_parts(private.wanted_line[]) is
'What the kinds of parts say about them, each as if it were bought alone.';

create function private.bundle_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
set search_path = ''
as $$
declare
    line private.wanted_line;
    bundle record;
    problem text;
    parts jsonb;
    blocked uuid[] := array(select private.blocked_ids());
begin
    foreach line in array lines loop
        -- In one look, so that price, parts and agreements are of one instant.
        select b.*, l.problem, p.* into bundle
        from public.bundles as b
        cross join lateral private.look_at_bundle(b.id) as l
        cross join lateral (
            select
                array_agg(
                    row(
                        p.position, p.item_id, p.option_id, 1, coalesce(o.price_cents, c.price_cents), '{}',
                        line.buyer_id, line.owner_id
                    )::private.wanted_line order by p.position
                ) as wanted,
                array_agg(c.kind order by p.position) as kinds, array_agg(c.seller_id) as sellers,
                jsonb_agg(jsonb_build_object(
                    'item_id', c.id, 'option_id', o.id, 'kind', c.kind,
                    'title', c.title || case when o.id is null then '' else ' (' || o.title || ')' end
                ) order by p.position) as parts,
                coalesce(
                    jsonb_agg(p.item_id order by p.position)
                    filter (where private.owns_option(line.owner_id, p.item_id, p.option_id)), '[]'
                ) as owned
            from public.bundle_parts as p
            inner join public.catalog_items as c on c.id = p.item_id
            left join public.catalog_options as o on o.id = p.option_id
            where p.bundle_id = b.id
        ) as p
        where b.id = line.item_id;
        problem := case
            when line.details <> '{}' then 'line_not_valid'
            when line.quantity > 1 then 'quantity_not_allowed'
            when line.buyer_id = any (bundle.sellers) then 'own_item'
            -- Who blocked the buyer, or was blocked by them, sells them nothing.
            when bundle.problem is not null or bundle.sellers && blocked then 'item_not_available'
            when line.unit_price_cents <> bundle.price_cents then 'price_changed'
            when line.owner_id = any (bundle.sellers) or line.owner_id <> line.buyer_id and exists (
                select from public.user_blocks as u
                where
                    u.blocker_id = any (bundle.sellers) and u.blocked_id = line.owner_id
                    or u.blocker_id = line.owner_id and u.blocked_id = any (bundle.sellers)
            ) then 'gift_not_possible'
            when jsonb_array_length(bundle.owned) = jsonb_array_length(bundle.parts) then case
                when line.owner_id = line.buyer_id then 'already_owned' else 'gift_not_possible'
            end
        end;
        parts := bundle.parts;
        if problem is null then
            -- With the licence each has alone.
            select
                min(case when f.problem is not null then 'item_not_available' end),
                jsonb_agg(p.part || jsonb_strip_nulls(jsonb_build_object(
                    'license_type', f.license_type, 'license_text', f.license_text,
                    'license_version', f.license_version
                )) order by p.no)
            into problem, parts
            from jsonb_array_elements(bundle.parts) with ordinality as p (part, no)
            inner join private.facts_of_parts(bundle.wanted) as f on f.no = p.no;
        end if;
        return next row(
            line.no, bundle.description, null, null, null,
            jsonb_build_object(
                'terms_version', bundle.terms_version, 'parts', parts,
                'owned', case when line.owner_id = line.buyer_id then bundle.owned else '[]'::jsonb end
            ) || case
                when bundle.takes_coupons or bundle.sellers <@ array[bundle.seller_id] then '{}'::jsonb
                else '{"takes_coupons": false}'
            end,
            0, problem, case when problem = 'line_not_valid' then 'details' else line.item_id::text end, 0, false
        )::private.line_facts;
    end loop;
end
$$;
comment on function private.bundle_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: nothing is sent for it; keeps which terms it is sold on and its parts with their licences, and says '
'which of them the buyer has already. Each part is asked as if it were bought alone.';

create function private.bundle_rate(ids uuid[]) returns setof private.item_rate
language sql
stable
set search_path = ''
as $$
    select b.id, ((
        sum(s.share_bps * (private.seller_plan(s.seller_id)).commission_bps)
        + (10000 - sum(s.share_bps)) * (private.seller_plan(b.seller_id)).commission_bps + 5000
    ) / 10000)::integer
    from public.bundles as b
    cross join lateral (
        select s.seller_id, s.share_bps from public.bundle_sellers as s
        inner join public.catalog_items as c on c.seller_id = s.seller_id
        inner join public.bundle_parts as p on p.bundle_id = b.id and p.item_id = c.id
        where s.bundle_id = b.id
        group by s.seller_id, s.share_bps
        union all
        select b.seller_id, 0
    ) as s
    where b.id = any (ids)
    group by b.id, b.seller_id
$$;
comment on function private.bundle_rate(uuid[]) is
'Hook rate: the mean of the sellers'' commissions by their shares, half up. What is left they share as agreed.';

-- What was asked of the kind and the line are of two instants; the terms may be others now.
create function private.note_bundle_line() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    noted integer;
    is_agreed boolean;
begin
    -- A line that is paid by a further charge keeps what the first one had.
    if (select o.status from public.orders as o where o.id = new.order_id) <> 'pending' then
        return null;
    end if;
    with bundle as (
        select b.id, b.seller_id, b.terms_version from public.bundles as b
        where b.id = new.item_id and b.terms_version = (new.details ->> 'terms_version')::integer
    ),

    shared as (
        select s.seller_id, s.share_bps from bundle as b
        inner join public.bundle_sellers as s on s.bundle_id = b.id and s.terms_version = b.terms_version
    ),

    share as (
        insert into private.line_shares (order_item_id, payee_id, share_bps)
        select new.id, s.seller_id, s.share_bps from shared as s where s.share_bps > 0
        union all
        select new.id, b.seller_id, r.share_bps from bundle as b
        cross join (select 10000 - coalesce(sum(s.share_bps), 0) as share_bps from shared as s) as r
        where r.share_bps > 0
    ),

    part as (
        insert into private.line_parts (order_item_id, item_id, option_id, license_type)
        select new.id, p.item_id, p.option_id, (d.part ->> 'license_type')::public.license_type
        from bundle as b
        inner join public.bundle_parts as p on p.bundle_id = b.id
        inner join jsonb_array_elements(new.details -> 'parts') as d (part) on (d.part ->> 'item_id')::uuid = p.item_id
        returning item_id
    )

    select
        (select count(*) from part),
        not exists (
            select from bundle as b
            inner join public.bundle_parts as p on p.bundle_id = b.id
            inner join public.catalog_items as c on c.id = p.item_id and c.seller_id <> b.seller_id
            where c.seller_id not in (select s.seller_id from shared as s)
        )
    into noted, is_agreed;
    if noted <> jsonb_array_length(new.details -> 'parts') then
        perform private.fail('price_changed', new.item_id::text);
    elsif not is_agreed then
        perform private.fail('item_not_available', new.item_id::text);
    end if;
    return null;
end
$$;
comment on function private.note_bundle_line() is
'Trigger on order lines of bundles: keeps which parts they bring and how they are shared. Errors: price_changed, '
'item_not_available, when the terms changed or somebody declined in the same instant.';
create trigger note_bundle_line after insert on public.order_items
for each row when (new.kind = 'bundle')
execute function private.note_bundle_line();

create function private.forget_owned() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.details := new.details - 'owned';
    return new;
end
$$;
comment on function private.forget_owned() is
'Trigger on order lines of bundles: what the buyer has already was for the preview; the seller reads the line.';
create trigger forget_owned before insert on public.order_items
for each row when (new.kind = 'bundle')
execute function private.forget_owned();

create function private.bundle_units(ids uuid[]) returns setof private.granted_unit
language sql
stable
set search_path = ''
as $$
    select * from private.units_with_parts(ids)
$$;
comment on function private.bundle_units(uuid[]) is 'Hook units: the bundle, and each of its parts.';

create function private.bundle_payees(ids uuid[]) returns setof private.line_payee
language sql
stable
set search_path = ''
as $$
    select * from private.payees_by_shares(ids)
$$;
comment on function private.bundle_payees(uuid[]) is 'Hook payees: its sellers, as they agreed.';

create function private.bundle_lacks(ids uuid[]) returns setof uuid
language sql
stable
set search_path = ''
as $$
    select * from private.lines_lacking(ids)
$$;
comment on function private.bundle_lacks(uuid[]) is 'Hook lacks: a part was sold exclusively, or all are owned by now.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.bundles', 'status', null, 'draft', 'its seller begins'),
('public.bundles', 'status', null, 'paused', 'made for later'),
('public.bundles', 'status', null, 'deleted', 'made for nobody'),
('public.bundles', 'status', 'draft', 'active', 'has parts, goes on sale once it is complete'),
('public.bundles', 'status', 'draft', 'paused', 'by its seller'),
('public.bundles', 'status', 'draft', 'deleted', 'by its seller, or the seller left'),
('public.bundles', 'status', 'active', 'draft', 'by its seller'),
('public.bundles', 'status', 'active', 'paused', 'by its seller'),
('public.bundles', 'status', 'active', 'deleted', 'by its seller, or the seller left'),
('public.bundles', 'status', 'paused', 'draft', 'by its seller'),
('public.bundles', 'status', 'paused', 'active', 'goes on sale again'),
('public.bundles', 'status', 'paused', 'deleted', 'by its seller, or the seller left'),
('public.bundle_sellers', 'status', null, 'asked', 'set_bundle_terms()'),
('public.bundle_sellers', 'status', 'asked', 'agreed', 'agree_to_bundle()'),
('public.bundle_sellers', 'status', 'asked', 'declined', 'decline_bundle(), or a block'),
('public.bundle_sellers', 'status', 'agreed', 'asked', 'the terms changed'),
('public.bundle_sellers', 'status', 'agreed', 'declined', 'decline_bundle(), or a block'),
('public.bundle_sellers', 'status', 'declined', 'agreed', 'agree_to_bundle()');
select private.build_moves('public.bundles', 'status');
select private.build_moves('public.bundle_sellers', 'status');

insert into private.kinds (kind, relation, owner_column, page, reviewing, hooks) values
('bundle', 'public.bundles', 'seller_id', '/bundles/{id}', 'none',
    '{can_read,evidence,place,lock,hide,check_option,check_line,rate,units,payees,lacks,grant,revoke,restore,complete,'
    'give}');

insert into private.activity_limits (kind, fresh, established, period, description) values
('bundle_asked', 10, 100, '1 day', 'Sellers asked to agree to a bundle');

-- Told once until it was read: terms and answers can change as often as somebody likes.
insert into private.notification_types (type, title, message, collapse_unread, email, can_switch_off) values
('bundle_asked', 'Your work in a bundle',
    'Somebody asks whether they may sell it together with theirs.', true, 'digest', true),
('bundle_agreed', 'A seller agreed to your bundle', 'They agreed to its terms.', true, 'digest', true),
('bundle_declined', 'A seller declined your bundle', 'It is not sold with their work any more.', true, 'digest', true);

insert into private.personal_data (section, relation, condition, stays, reason) values
('bundles', 'public.bundles',
    't.seller_id = $1',
    '{seller_id, title, slug, description, thumbnail_url, part_titles, tags, hidden_reason}',
    'sold: its buyers keep it as they bought it');
insert into private.personal_data (section, relation, condition) values
('bundle_parts', 'public.bundle_parts',
    't.bundle_id in (select b.id from public.bundles as b where b.seller_id = $1)'),
('bundle_sellers', 'public.bundle_sellers', 't.seller_id = $1');
insert into private.personal_data (section, relation, condition, stays, reason) values
('bundle_changes', 'private.bundle_changes', null, '{bundle_id}', 'bundles that changed, for some seconds');
insert into private.erasure_steps (step, phase, erases, statement, batch) values
('bundles', 'items', '{}', 'select private.erase_bundles($1)', 'select 10 * private.erase_bundles($1, 1 + $2 / 10)');
insert into private.erasure_steps (step, phase, erases, statement) values
('bundle_sellers', 'records', '{public.bundle_sellers}', 'delete from public.bundle_sellers where seller_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('bundle_not_found', 'PT404', 'There is no such bundle.', 'It does not exist, or has nothing to do with the caller.'),
('bundle_deleted', 'PT409', 'This bundle was deleted.', 'Deleting is final. Create a new bundle.'),
('bundle_has_no_parts', 'PT409', 'This bundle has no parts.', 'Call set_bundle_terms() first, then set status active.'),
('invalid_bundle', 'PT400', 'These terms are not valid.', 'The detail names what is wrong.'),
('part_not_allowed', 'PT409', 'This cannot be a part of a bundle.',
'The detail names the item. A part is there as soon as it is paid, for everybody: not what is limited or sold '
'exclusively, has seats or a date, is done for somebody, is sent, or is a bundle itself.'),
('bundle_saves_nothing', 'PT409', 'The parts cost no more than the bundle.',
'The detail says what they cost together, cents. A bundle costs less.'),
('bundle_terms_changed', 'PT409', 'The terms have changed.',
'The detail is their version now. Read them again and agree to that.');

update private.settings set
    delivery_assumed_after = extract(epoch from delivery_assumed_after) * interval '1 second',
    earnings_hold = extract(epoch from earnings_hold) * interval '1 second',
    gift_refusal_period = extract(epoch from gift_refusal_period) * interval '1 second',
    refund_answer_period = extract(epoch from refund_answer_period) * interval '1 second',
    ship_within = extract(epoch from ship_within) * interval '1 second';
select private.build_dispatch();
select private.build_moves('public.service_orders', 'status');
alter table public.bundles
alter column title set statistics 0,
alter column slug set statistics 0,
alter column description set statistics 0,
alter column part_titles set statistics 0,
alter column thumbnail_url set statistics 0,
alter column hidden_reason set statistics 0;
