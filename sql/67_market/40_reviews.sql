-- Reviews of what was bought. One function says whether a grant may carry a rating, and is asked again whenever the
-- grant is revoked or restored. Everything else is derived: of each buyer the newest review of an item counts, and the
-- five counters of item_ratings are moved with it, whatever made the difference: a refund, a ban, a moderator, an edit,
-- time.
-- Of what is earned when it is done buyer and seller review each other, unseen until both have or a period is over.
-- Lock order: the items' registry rows before their reviews, as a sale and a refund take them, then item_ratings.

create type public.review_side as enum ('buyer', 'seller');
comment on type public.review_side is 'buyer: of the item, by who bought it. seller: of the buyer, by who sold it.';

create type public.review_status as enum ('blind', 'pending', 'rejected', 'published');
comment on type public.review_status is
'blind: unseen until publish_at or the other side''s review. pending: one of suspiciously many, waits for an admin; '
'rejected: who did not take it.';

alter table private.settings
add column review_blind_period interval not null default interval '336 hours',
add column review_burst integer not null default 10;
comment on column private.settings.review_blind_period is
'How long a blind review waits for the other side''s, elapsed hours.';
comment on column private.settings.review_burst is
'How many ratings of an item in 24 hours are never suspicious; above that, five times the daily mean of the week '
'before.';

insert into private.activity_limits (kind, fresh, established, period, description) values
('review', 40, 200, '1 day', 'Reviews');

create table public.reviews (
    id uuid not null default gen_random_uuid(),
    side public.review_side not null default 'buyer',
    order_item_id uuid not null,
    item_id uuid not null,
    kind text not null,
    reviewer_id uuid not null,
    buyer_id uuid not null,
    seller_id uuid not null,
    rating integer not null,
    review_text text,
    version integer not null default 1,
    edited_at timestamptz,
    seller_response text,
    seller_responded_at timestamptz,
    response_version integer,
    is_response_outdated boolean not null generated always as (coalesce(response_version < version, false)) stored,
    is_verified_purchase boolean not null,
    helpful_count integer not null default 0,
    status public.review_status not null default 'published',
    publish_at timestamptz,
    published_at timestamptz,
    is_valid boolean not null default true,
    is_hidden boolean not null default false,
    hidden_reason text,
    author_audience public.audience not null,
    audience public.audience not null generated always as (
        case when is_hidden then 'owner'::public.audience else author_audience end
    ) stored,
    is_eligible boolean not null generated always as (
        side = 'buyer' and is_valid and not is_hidden and author_audience <> 'owner' and status = 'published'
    ) stored,
    is_counted boolean not null default false,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default now(),
    constraint reviews_pkey primary key (id),
    constraint reviews_line_key unique (order_item_id, item_id, reviewer_id),
    constraint reviews_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint reviews_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint reviews_kind_fkey foreign key (kind) references private.kinds (kind),
    constraint reviews_reviewer_id_fkey foreign key (reviewer_id) references public.profiles (id),
    constraint reviews_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint reviews_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint reviews_reviewer_check check (
        reviewer_id = case side when 'buyer' then buyer_id else seller_id end and buyer_id <> seller_id
    ),
    constraint reviews_rating_check check (rating between 1 and 5),
    constraint reviews_review_text_check check (char_length(review_text) between 1 and 5000),
    constraint reviews_seller_response_check check (char_length(seller_response) between 1 and 5000),
    constraint reviews_response_check check (
        (seller_response is null) = (seller_responded_at is null)
        and (seller_response is null) = (response_version is null)
    ),
    constraint reviews_published_at_check check ((status = 'published') = (published_at is not null)),
    constraint reviews_publish_at_check check (status <> 'blind' or publish_at is not null),
    constraint reviews_counts_check check (helpful_count >= 0 and version >= 1)
);

-- Pages of an item's reviews, as keysets; the first also finds how many were written lately.
create index reviews_item_id_created_at_id_idx on public.reviews (item_id, created_at desc, id desc);
create index reviews_item_id_helpful_count_id_idx on public.reviews (item_id, helpful_count desc, id desc);
create index reviews_reviewer_id_item_id_created_at_idx on public.reviews (reviewer_id, item_id, created_at desc);
create index reviews_buyer_id_idx on public.reviews (buyer_id);
create index reviews_seller_id_created_at_idx on public.reviews (seller_id, created_at desc);
create index reviews_kind_idx on public.reviews (kind);
create index reviews_publish_at_idx on public.reviews (publish_at) where status = 'blind';
create index reviews_pending_idx on public.reviews (created_at) where status = 'pending';

comment on constraint reviews_rating_check on public.reviews is 'invalid_rating: A rating is from 1 to 5.';
comment on constraint reviews_review_text_check on public.reviews is
'invalid_review: A review has at most 5,000 characters.';
comment on constraint reviews_seller_response_check on public.reviews is
'invalid_review: A response has at most 5,000 characters.';

comment on table public.reviews is
'What buyers say of items, and of what is reviewed blind what sellers say of buyers. Everybody reads what is shown of '
'items they can see; the reviewer and admins read all of theirs; of a buyer only the two and admins read. Written by '
'review_item(), review_buyer(), edit_review(), delete_review(), respond_to_review().';
comment on column public.reviews.side is 'Who reviews whom.';
comment on column public.reviews.order_item_id is 'The order line that allows it; one review of each item of a line.';
comment on column public.reviews.item_id is 'What was bought.';
comment on column public.reviews.kind is 'Its kind.';
comment on column public.reviews.reviewer_id is 'Who wrote it: the buyer or the seller.';
comment on column public.reviews.buyer_id is 'Who owns what was bought.';
comment on column public.reviews.rating is '1 to 5.';
comment on column public.reviews.review_text is
'Plain text of at most 5,000 characters; null: a rating only. Erased with the account, the rating stays.';
comment on column public.reviews.version is 'Counts what was changed after it was shown; votes begin anew with each.';
comment on column public.reviews.seller_response is 'The seller''s answer, at most 5,000 characters.';
comment on column public.reviews.response_version is 'Which version the response is to.';
comment on column public.reviews.is_response_outdated is 'The response is to an earlier version.';
comment on column public.reviews.is_verified_purchase is
'It was paid for, or is free for everybody; false for what a discount made free, and for the recording of a webinar '
'whose seat cost nothing.';
comment on column public.reviews.helpful_count is 'Votes that call it helpful.';
comment on column public.reviews.status is
'What became of it. A blind one whose publish_at has passed is shown like a published one.';
comment on column public.reviews.publish_at is
'Of what is reviewed blind: when it is shown whatever the other side does. Null: shown at once.';
comment on column public.reviews.is_valid is
'Its grant may carry a rating; false after a full refund, true again when that fails. Kept by trigger.';
comment on column public.reviews.is_hidden is 'Taken down by moderation: only its author and admins read it.';
comment on column public.reviews.hidden_reason is 'Why, told to its author.';
comment on column public.reviews.author_audience is 'Copy of the reviewer''s widest audience; kept by triggers.';
comment on column public.reviews.audience is 'Who may read it once it is shown; owner while hidden.';
comment on column public.reviews.is_eligible is 'Published, valid and shown: may count.';
comment on column public.reviews.is_counted is
'In the average: the newest of this buyer and item that may count. Kept by trigger.';

create table public.item_ratings (
    item_id uuid not null,
    stars_1 integer not null default 0,
    stars_2 integer not null default 0,
    stars_3 integer not null default 0,
    stars_4 integer not null default 0,
    stars_5 integer not null default 0,
    reviews_count integer not null generated always as (stars_1 + stars_2 + stars_3 + stars_4 + stars_5) stored,
    rating_total integer not null generated always as (
        stars_1 + 2 * stars_2 + 3 * stars_3 + 4 * stars_4 + 5 * stars_5
    ) stored,
    -- Null without any, so that the refund of the last one divides by nothing.
    rating_average numeric(3, 2) generated always as (
        round(
            (stars_1 + 2 * stars_2 + 3 * stars_3 + 4 * stars_4 + 5 * stars_5)::numeric
            / nullif(stars_1 + stars_2 + stars_3 + stars_4 + stars_5, 0), 2
        )
    ) stored,
    constraint item_ratings_pkey primary key (item_id),
    constraint item_ratings_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade,
    constraint item_ratings_stars_check check (least(stars_1, stars_2, stars_3, stars_4, stars_5) >= 0)
)
-- No index but the key: a rating keeps its row where it is.
with (fillfactor = 80);

comment on table public.item_ratings is
'How often each rating was given to an item, of the reviews that count; no row: never. Readable with the item; its '
'average and count are copied to catalog_items. rating_histogram() answers it in percent.';
comment on column public.item_ratings.stars_1 is 'Counted reviews with a rating of 1.';
comment on column public.item_ratings.stars_2 is 'Of 2.';
comment on column public.item_ratings.stars_3 is 'Of 3.';
comment on column public.item_ratings.stars_4 is 'Of 4.';
comment on column public.item_ratings.stars_5 is 'Of 5.';
comment on column public.item_ratings.reviews_count is 'All of them.';
comment on column public.item_ratings.rating_total is 'Sum of the ratings.';
comment on column public.item_ratings.rating_average is 'Mean, two decimals; null without any.';

-- Who may.

create function private.reviewing(kind text) returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(k.reviewing, case
        when not k.is_browsable or 'grant' <> all (k.hooks) then 'none'
        when k.earned = 'at_completion' and k.is_repeatable then 'blind'
        else 'open'
    end)
    from private.kinds as k
    where k.kind = reviewing.kind
$$;
comment on function private.reviewing(text) is 'How things of a kind are reviewed: none, open, blind.';

create function private.earns_item(user_id uuid, item_id uuid, line uuid default null) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
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
$$;
comment on function private.earns_item(uuid, uuid, uuid) is
'Whether somebody sells an item, alone or with others, or would earn this line of it.';

create function private.may_carry_rating(line uuid, item_id uuid, buyer_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.purchases as p
        where
            p.order_item_id = line and p.item_id = may_carry_rating.item_id
            and p.owner_id = may_carry_rating.buyer_id and p.revoked_at is null
    ) and not private.earns_item(may_carry_rating.buyer_id, may_carry_rating.item_id, line);
end
$$;
comment on function private.may_carry_rating(uuid, uuid, uuid) is
'The right to review: whether what a line granted to its owner is valid, and they do not earn by it.';

create function private.lock_reviewed(items uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_items(items);
end
$$;
comment on function private.lock_reviewed(uuid[]) is
'Takes items before their reviews, as sales and refunds do: whoever writes, shows or hides one.';

create function private.lock_reviewed_by(reviews uuid[]) returns void
language sql
security definer
set search_path = ''
as $$
    select private.lock_reviewed(array(select r.item_id from public.reviews as r where r.id = any (reviews)))
$$;
comment on function private.lock_reviewed_by(uuid[]) is 'lock_reviewed() for what these reviews are of.';

-- What counts.

create function private.move_ratings(items uuid[], ratings integer[], changes integer[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function private.move_ratings(uuid[], integer[], integer[]) is
'Adds changes to the counters of ratings; average and count of the items follow. Their registry rows are locked.';

create function private.count_reviews() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function private.count_reviews() is
'Trigger: of each buyer and item the newest review that may count does, and item_ratings follow what counts.';

create trigger count_inserted after insert on public.reviews referencing new table as changed_to
for each statement execute function private.count_reviews();
create trigger count_updated after update on public.reviews
referencing old table as changed_from new table as changed_to
for each statement execute function private.count_reviews();
create trigger count_deleted after delete on public.reviews referencing old table as changed_from
for each statement execute function private.count_reviews();

insert into private.counters (counter, relation, key, count_column, truth)
select
    'item_ratings.stars_' || n, 'public.item_ratings', 'item_id', 'stars_' || n, format(
        'select n.item_id, count(*) from (select distinct on (r.reviewer_id, r.item_id) r.item_id, r.rating '
        'from public.reviews as r where r.is_eligible order by r.reviewer_id, r.item_id, r.created_at desc, r.id desc) '
        'as n where n.rating = %s group by 1', n
    )
from generate_series(1, 5) as n;
insert into private.counters (counter, relation, key, count_column, truth) values
('catalog_items.reviews_count', 'public.catalog_items', 'id', 'reviews_count',
    'select r.item_id, count(distinct r.reviewer_id) from public.reviews as r where r.is_eligible group by 1');

-- After count_switched, which has taken the items.
create function private.rate_purchases() returns trigger
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
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
$$;
comment on function private.rate_purchases() is
'Trigger: a grant was revoked, restored or changed hands: whether it may carry a rating is asked again.';

create trigger rate_switched after update on public.purchases
referencing old table as changed_from new table as changed_to
for each statement execute function private.rate_purchases();

-- Publishing is due by an instant: what reads reviews looks at it, and whatever changes them makes it official first.
create function private.publish_reviews_of(item_id uuid) returns void
language sql
security definer
set search_path = ''
as $$
    update public.reviews as r set status = 'published', published_at = r.publish_at
    where r.item_id = publish_reviews_of.item_id and r.status = 'blind' and r.publish_at <= clock_timestamp()
$$;
comment on function private.publish_reviews_of(uuid) is
'Makes official what of an item''s reviews is due. The item is locked.';

create function private.publish_reviews_due(max_rows integer default 500) returns integer
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function private.publish_reviews_due(integer) is
'Publishes blind reviews whose time has come, of items nobody is at just now; how many. A job calls it each minute.';
grant execute on function private.publish_reviews_due(integer) to avenue_worker;

create function private.is_review_burst(item_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    -- The one being written included.
    select 1 + count(*) filter (where r.created_at > now() - interval '24 hours') > greatest(
        (select s.review_burst from private.settings as s),
        5 * count(*) filter (where r.created_at <= now() - interval '24 hours') / 7.0
    )
    from public.reviews as r
    where
        r.item_id = is_review_burst.item_id and r.side = 'buyer' and r.created_at > now() - interval '192 hours'
$$;
comment on function private.is_review_burst(uuid) is
'Whether one rating more of an item is suspicious: more in 24 hours than settings.review_burst and five times the '
'daily mean of the seven days before.';

create function private.is_paid_for(line public.order_items, owner uuid) returns boolean
language sql
stable
set search_path = ''
as $$
    -- A recording came with the seat.
    select line.total_cents > 0 or case when line.details ? 'webinar_id' then exists (
        select from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id and i.total_cents > 0
        where p.item_id = (line.details ->> 'webinar_id')::uuid and p.owner_id = owner and p.revoked_at is null
    ) else line.unit_price_cents = 0 end
$$;
comment on function private.is_paid_for(public.order_items, uuid) is
'Whether somebody paid for a line, or it is free for everybody.';

create function private.is_unfinished(order_item_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
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
$$;
comment on function private.is_unfinished(uuid) is
'Whether what was bought with a line is still to come: the work on it, or the webinar.';

create function private.add_review(
    line public.order_items, item_id uuid, buyer uuid, side public.review_side, rating integer, review_text text
) returns public.reviews
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function private.add_review(public.order_items, uuid, uuid, public.review_side, integer, text) is
'Writes a review if the line allows one. The item is locked, and what was due is published.';

create function public.review_item(
    item_id uuid, rating integer, review_text text default null, order_item_id uuid default null
) returns public.reviews
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function public.review_item(uuid, integer, text, uuid) is
'Rates what the caller bought and still has, from 1 to 5; of what was bought several times the newest that has no '
'review yet (done before unfinished), or the one named. Shown at once, or blind until the other side has reviewed or '
'settings.review_blind_period is over. Errors: review_not_allowed, gift_not_opened, already_reviewed, '
'review_too_early, review_closed, invalid_rating, invalid_review, too_many_actions.';
grant execute on function public.review_item(uuid, integer, text, uuid) to authenticated;

create function public.review_buyer(order_item_id uuid, rating integer, review_text text default null)
returns public.reviews
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function public.review_buyer(uuid, integer, text) is
'The seller of a line rates its buyer, of what is reviewed blind; the two and admins read it. Errors: '
'review_not_allowed, already_reviewed, review_too_early, review_closed, invalid_rating, invalid_review, '
'too_many_actions.';
grant execute on function public.review_buyer(uuid, integer, text) to authenticated;

create function private.lock_review(review_id uuid, reviewer uuid default null) returns public.reviews
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function private.lock_review(uuid, uuid) is
'A review (of this reviewer), locked after its item and with what was due published; else review_not_found.';

create function public.edit_review(review_id uuid, rating integer, review_text text default null)
returns public.reviews
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function public.edit_review(uuid, integer, text) is
'Changes rating and text of a review of the caller''s. Once it was shown it is a new version: votes begin anew, and a '
'response is marked as one to an earlier version. Errors: review_not_found, review_hidden, review_closed (of two who '
'reviewed each other blind), invalid_rating, invalid_review.';
grant execute on function public.edit_review(uuid, integer, text) to authenticated;

create function public.delete_review(review_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    review public.reviews := private.lock_review(delete_review.review_id, private.require_member());
begin
    -- Else it would be written again where it was taken down.
    if review.is_hidden or review.status = 'rejected' then
        perform private.fail('review_hidden', review.id::text);
    end if;
    delete from public.reviews as r where r.id = review.id;
end
$$;
comment on function public.delete_review(uuid) is
'Takes back a review of the caller''s, with its votes and response. Errors: review_not_found, review_hidden.';
grant execute on function public.delete_review(uuid) to authenticated;

create function public.respond_to_review(review_id uuid, response text) returns public.reviews
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function public.respond_to_review(uuid, text) is
'The seller answers a review that is shown, once; again replaces it, an empty response takes it back. Errors: '
'review_not_found, invalid_review.';
grant execute on function public.respond_to_review(uuid, text) to authenticated;

create function public.decide_review(review_id uuid, approve boolean) returns public.reviews
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function public.decide_review(uuid, boolean) is
'Admins: publishes one of the reviews that wait because there were suspiciously many (status pending), or does not; '
'audited. What was published is taken down by hide_content(). Errors: admin_only, review_not_found, state_changed.';
grant execute on function public.decide_review(uuid, boolean) to authenticated;

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of review_text, seller_response on public.reviews
for each row execute function private.tidy_texts('review_text body', 'seller_response body');
create trigger touch_updated_at before update on public.reviews
for each row execute function private.touch_updated_at();

alter table public.reviews enable row level security;
grant select on public.reviews to anon, authenticated, service_role;
-- The subqueries are under the items' policies; scalar ones stay a look-up for each row.
create policy reviews_select_anon on public.reviews for select to anon
using (
    side = 'buyer' and is_valid and audience = 'public'
    and (status = 'published' or status = 'blind' and publish_at <= now())
    and reviewer_id <> all(array(select private.hidden_ids()))
    and (select c.id from public.catalog_items as c where c.id = reviews.item_id) is not null
);
create policy reviews_select on public.reviews for select to authenticated
using (
    (
        is_valid and (audience = 'public' or (audience = 'members' and (select private.member_id()) is not null))
        and (status = 'published' or status = 'blind' and publish_at <= now())
        and reviewer_id <> all(array(select private.blocked_ids()))
        and (side = 'buyer' or buyer_id = (select private.member_id()))
        and (select c.id from public.catalog_items as c where c.id = reviews.item_id) is not null
    )
    or reviewer_id = (select private.member_id())
    or (select private.is_admin())
);

alter table public.item_ratings enable row level security;
grant select on public.item_ratings to anon, authenticated, service_role;
create policy item_ratings_select on public.item_ratings for select to anon, authenticated
using ((select c.id from public.catalog_items as c where c.id = item_ratings.item_id) is not null);

-- Votes.

create table public.review_votes (
    review_id uuid not null,
    user_id uuid not null,
    is_helpful boolean not null,
    created_at timestamptz not null default now(),
    constraint review_votes_pkey primary key (review_id, user_id),
    constraint review_votes_review_id_fkey foreign key (review_id) references public.reviews (id) on delete cascade,
    constraint review_votes_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade
);
create index review_votes_user_id_created_at_idx on public.review_votes (user_id, created_at desc);
comment on table public.review_votes is
'Who found which review helpful, or not: one vote each, of its present version. Only the voter reads it; written by '
'vote_on_review().';
comment on column public.review_votes.is_helpful is 'The vote.';

alter table public.review_votes enable row level security;
grant select on public.review_votes to authenticated, service_role;
create policy review_votes_select on public.review_votes for select to authenticated
using (user_id = (select private.member_id()));

-- Nobody's standing changes a vote.
select private.make_shown_counter(
    'public.review_votes', '{review_id}', 'helpful_count', '{row}.is_helpful', 'user_id'
);

create function private.set_review_vote(review_id uuid, voter uuid, is_helpful boolean) returns void
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function private.set_review_vote(uuid, uuid, boolean) is 'Writes somebody''s vote; null takes it back.';

create function private.vote_as_member(review_id uuid, is_helpful boolean) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.set_review_vote(vote_as_member.review_id, private.require_member(), vote_as_member.is_helpful);
end
$$;
comment on function private.vote_as_member(uuid, boolean) is 'The caller''s own vote, whatever they read.';
grant execute on function private.vote_as_member(uuid, boolean) to authenticated;

-- Not a definer: what the caller cannot read has no vote of theirs.
create function public.vote_on_review(review_id uuid, is_helpful boolean) returns void
language plpgsql
set search_path = ''
as $$
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
$$;
comment on function public.vote_on_review(uuid, boolean) is
'Says whether a review is helpful; again changes the vote, null takes it back. Not of one''s own, not by who sells the '
'item. Errors: review_not_found, vote_not_allowed.';
grant execute on function public.vote_on_review(uuid, boolean) to authenticated;

-- Reading.

create function public.item_reviews(
    item_id uuid,
    sort text default 'helpful',
    rating integer default null,
    after_helpful_count integer default null,
    after_created_at timestamptz default null,
    after_id uuid default null,
    max_rows integer default 20
) returns setof public.reviews
language plpgsql
stable
rows 20
set search_path = ''
as $$
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
$$;
comment on function public.item_reviews(uuid, text, integer, integer, timestamptz, uuid, integer) is
'An item''s reviews the caller can read, most helpful or newest first (sort: helpful, newest), perhaps of one rating '
'only; 1 to 100 rows, 20 unless told. The next page starts after the last row''s helpful_count or created_at, and its '
'id. Error: invalid_sort.';
grant execute on function public.item_reviews(uuid, text, integer, integer, timestamptz, uuid, integer)
to anon, authenticated;

create function private.percentages(counts integer[]) returns integer[]
language sql
immutable
set search_path = ''
as $$
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
$$;
comment on function private.percentages(integer[]) is
'Counts in percent that add up to exactly 100, by largest remainder; nulls when there is nothing.';
grant execute on function private.percentages(integer[]) to anon, authenticated;

create function private.current_ratings(item_id uuid) returns integer[]
language plpgsql
stable
security definer
set search_path = ''
as $$
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
$$;
comment on function private.current_ratings(uuid) is
'How often an item was rated 1 to 5 as of now, what is due and not yet official included.';
grant execute on function private.current_ratings(uuid) to anon, authenticated;

create type public.rating_histogram as (
    item_id uuid,
    reviews_count integer,
    rating_average numeric (3, 2),
    counts integer [],
    percentages integer []
);
comment on type public.rating_histogram is
'How an item was rated: counts and percentages of 1 to 5 in this order. The percentages add up to exactly 100; without '
'reviews they and the average are null.';

create function public.rating_histogram(item_id uuid) returns public.rating_histogram
language plpgsql
stable
set search_path = ''
as $$
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
$$;
comment on function public.rating_histogram(uuid) is
'How an item the caller can see was rated. Error: item_not_found.';
grant execute on function public.rating_histogram(uuid) to anon, authenticated;

-- The reviewer's standing, moderation, the end of an account.

select private.make_follow_author('public.reviews', 'reviewer_id', 35, first => 'private.lock_reviewed_by');

create function private.review_lock(ids uuid[]) returns setof private.content_state
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_reviewed_by(ids);
    perform private.hold_each('public.reviews', ids);
    return query select r.id, r.is_hidden from public.reviews as r where r.id = any (ids);
end
$$;
comment on function private.review_lock(uuid[]) is 'Hook lock: what the reviews are of is taken first.';

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('review', 'public.reviews', 'reviewer_id', '/reviews/{id}', '{can_read,evidence,place,lock,hide}');

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('review_response', 'Answer to your review', 'The seller answered your review.', null, '24 hours', 'digest', true);

create function private.tell_review() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(
        case new.side when 'buyer' then new.seller_id else new.buyer_id end, 'review', new.reviewer_id, 'review', new.id
    );
    return null;
end
$$;
comment on function private.tell_review() is 'Trigger: tells the other side of a review when it is published.';
create trigger tell after insert on public.reviews
for each row when (new.status = 'published') execute function private.tell_review();
create trigger tell_published after update of status on public.reviews
for each row when (old.status <> 'published' and new.status = 'published') execute function private.tell_review();
select private.make_tell(
    'review_response', 'public.reviews', 'update of seller_response', 'new.reviewer_id', 'review', 'new.id',
    actor => 'new.seller_id', condition => 'old.seller_response is null and new.seller_response is not null'
);
create trigger forget_hidden after update of is_hidden on public.reviews
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('reviewer_id');
create trigger forget_deleted after delete on public.reviews referencing old table as gone
for each statement execute function private.forget_deleted();

create function private.erase_reviews(user_id uuid, max_rows integer default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function private.erase_reviews(uuid, integer) is
'Account deletion: of reviews the rating stays; text, response and votes go, and what a seller answered. At most '
'max_rows; how many.';

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('review_votes', 'reactions', '{public.review_votes}',
    'delete from public.review_votes where user_id = $1',
    'select private.erase_rows(''public.review_votes'', ''user_id = $1'', $1, $2)'),
('reviews', 'replies', '{public.reviews.review_text,public.reviews.seller_response}',
    'select private.erase_reviews($1)', 'select private.erase_reviews($1, $2)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('reviews', 'public.reviews',
    't.reviewer_id = $1 or (t.seller_id = $1 or t.buyer_id = $1) and t.status = ''published'' and not t.is_hidden',
    '{kind, reviewer_id, buyer_id, seller_id, hidden_reason}',
    'the rating stays in the average; of an order in the books');
insert into private.personal_data (section, relation, condition) values
('review_votes', 'public.review_votes', 't.user_id = $1');

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.reviews', 'status', null, 'published', 'shown at once, or the other side''s is in'),
('public.reviews', 'status', null, 'blind', 'the first of two who review each other'),
('public.reviews', 'status', null, 'pending', 'one of suspiciously many'),
('public.reviews', 'status', 'blind', 'published', 'the other side''s is in, or time is up'),
('public.reviews', 'status', 'pending', 'published', 'decide_review()'),
('public.reviews', 'status', 'pending', 'blind', 'decide_review() before time is up'),
('public.reviews', 'status', 'pending', 'rejected', 'decide_review()'),
('public.reviews', 'status', 'rejected', 'pending', 'its author changed it'),
('public.reviews', 'status', 'rejected', 'blind', 'decide_review() once more, before time is up'),
('public.reviews', 'status', 'rejected', 'published', 'decide_review() once more');
select private.build_moves('public.reviews', 'status');

insert into private.error_codes (code, sqlstate, message, description) values
('review_not_allowed', 'PT403', 'You cannot review this.',
'The detail says why: purchase (the caller has not bought it, or it was refunded), own_item (the caller earns by it), '
'kind (things of this kind are not reviewed, or their buyers are not).'),
('already_reviewed', 'PT409', 'You have reviewed this already.', 'Change it by edit_review().'),
('review_too_early', 'PT409', 'This is not done yet.',
'It can be reviewed when what was ordered is complete, a webinar when it has ended.'),
('review_closed', 'PT409', 'The time to review this is over.',
'The other side''s review was shown at the time in the detail; nobody answers it by a review of their own, or by a '
'change of the one they wrote blind.'),
('review_not_found', 'PT404', 'This review does not exist.',
'No review with that id, or none the caller can see, change or answer.'),
('review_hidden', 'PT409', 'This review was taken down.', 'Its author cannot change it or write it again.'),
('vote_not_allowed', 'PT403', 'You cannot vote on this review.', 'It is the caller''s own, or of what they sell.'),
('invalid_sort', 'PT400', 'There is no such order.', 'Send helpful or newest.');
