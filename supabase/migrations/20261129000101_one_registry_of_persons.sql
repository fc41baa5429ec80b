-- One registry of what is erased and handed out of a person; open payments and ranks said once.
-- Every page brings its own steps and sections, phases have names instead of numbers, and what stays has its reason.
-- Whether a payment, payout or refund is open stands in a column instead of in lists of states; ranks are compared.
-- The new columns rewrite payments, payouts and refunds, and their small partial indexes are built anew: a quiet hour.
-- squawk-ignore-file adding-field-with-default, adding-required-field, ban-drop-column, ban-drop-not-null, constraint-missing-not-valid, disallowed-unique-constraint, require-concurrent-index-creation, require-concurrent-index-deletion

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

set local check_function_bodies = off;

drop index public.payments_open_idx;

drop index public.payouts_one_open_idx;

drop index public.payouts_open_idx;

drop index public.refunds_unsent_idx;

-- Both hold reference data only, written anew below.
delete from private.erasure_steps;
delete from private.personal_data;

alter table private.erasure_steps
    drop column position;

alter table private.personal_data
    add column stays text[] not null default '{}'::text[];

alter table private.personal_data
    add column reason text;

alter table public.payments
    add column is_open boolean generated always as
        ((status = ANY (ARRAY['requires_payment'::public.payment_status, 'processing'::public.payment_status,
        'failed'::public.payment_status]))) stored not null;

alter table public.payouts
    add column is_open boolean generated always as
        ((status = ANY (ARRAY['requested'::public.payout_status, 'approved'::public.payout_status,
        'processing'::public.payout_status]))) stored not null;

alter table public.refunds
    add column is_open boolean generated always as
        ((status = ANY (ARRAY['requested'::public.refund_status, 'pending'::public.refund_status]))) stored not null;

alter table private.personal_data
    alter column condition drop not null;

create type private.erasure_phase as enum (
    'lock_gates',
    'lock_conversations',
    'people',
    'lock_works',
    'lock_replies',
    'payments',
    'records',
    'items',
    'notices',
    'standing',
    'reactions',
    'replies',
    'works',
    'traces',
    'details',
    'business',
    'books',
    'profile'
);

alter table private.erasure_steps
    add column phase private.erasure_phase not null;

alter table private.erasure_steps
    add column erases text[] not null default '{}'::text[];

create or replace function ledger.audit()
    returns table (
        invariant text,
        subject text,
        detail text
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with sums as (
        select e.account_id, sum(e.amount_cents) as balance from ledger.entries as e group by e.account_id
    ),

    balances as (
        select
            a.owner_id,
            coalesce(sum(s.balance) filter (where a.code = 'available'), 0) as available,
            coalesce(sum(s.balance) filter (where a.code = 'pending'), 0) as pending,
            coalesce(-sum(s.balance) filter (where a.code = 'debt'), 0) as debt
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
        select coalesce(sum(t.pending_cents), 0) as held from public.transactions as t where t.seller_id = w.user_id
    ) as t
    where w.balance_pending_cents <> t.held
    union all
    select
        '3 a settled payment has one sale per line', 'payment ' || p.id,
        format('%s lines, %s sales of %s cents, paid %s', l.lines, t.sales, t.gross, p.amount_cents)
    from public.payments as p
    cross join lateral (
        select count(*) as lines from public.order_items as i
        where i.order_id = p.order_id and i.total_cents + i.tax_cents > 0
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
                t.amount_fees_cents, t.amount_commission_cents - t.refunded_commission_cents,
                t.amount_tax_cents - t.refunded_tax_cents,
                t.amount_seller_cents - t.refunded_seller_cents
            ] as parts
        from public.transactions as t
    ) as t
    cross join lateral (
        select array[
            coalesce(sum(e.amount_cents) filter (where a.code like 'fees:%'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'revenue'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'tax_payable'), 0),
            coalesce(sum(e.amount_cents) filter (where a.owner_id = s.seller_id), 0)
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
        select coalesce(sum(p.amount_cents - p.refunded_cents), 0) as open from public.payments as p
        where exists (select from ledger.journal as j where j.kind = 'unapplied' and j.source_id = p.id)
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
        when 'release' then exists (select from public.transactions as t where t.release_journal_id = j.id)
        when 'adjustment' then j.memo is not null
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
    select '5 a one-of-a-kind item has one owner', 'item ' || p.item_id, count(*)::text
    from public.purchases as p
    inner join public.catalog_items as c on c.id = p.item_id
    where c.is_unique and p.revoked_at is null
    group by p.item_id
    having count(*) > 1
$function$;

create or replace function private.activity_limit (
    user_id uuid,
    kind text
)
    returns integer
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select case when p.created_at > now() - s.fresh_account_period then l.fresh else l.established end
    from public.profiles as p
    cross join private.settings as s
    inner join private.activity_limits as l on l.kind = activity_limit.kind
    where
        p.id = activity_limit.user_id and p.role < 'admin'
        and not exists (
            select from private.lifted_limits as f where f.user_id = p.id and f.until > now()
        )
$function$;

create or replace function private.advance_erasure (
    user_id uuid,
    max_rows integer
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    left_over integer := max_rows;
    step private.erasure_steps;
    erased integer;
begin
    perform private.lock_gates('account', '{}', array[advance_erasure.user_id]);
    for step in select * from private.erasure_steps as e where e.batch is not null order by e.phase, e.step loop
        loop
            execute step.batch into erased using advance_erasure.user_id, left_over;
            left_over := left_over - erased;
            if left_over <= 0 then
                return false;
            end if;
            exit when erased = 0;
        end loop;
    end loop;
    perform private.erase_rest(advance_erasure.user_id);
    return true;
end
$function$;

create or replace function private.authorize_download (
    item_id uuid,
    user_id uuid
)
    returns table (
        bucket text,
        path text,
        name text,
        size_bytes bigint,
        content_type text
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    item public.catalog_items;
    since timestamptz;
begin
    perform private.require_active(authorize_download.user_id);
    select * into item from public.catalog_items as c where c.id = authorize_download.item_id;
    if item.id is null then
        perform private.fail('item_not_found', authorize_download.item_id::text);
    end if;
    -- Who sells it and admins get what earlier buyers keep, too.
    since := case
        when
            item.seller_id = authorize_download.user_id
            or exists (
                select from public.profiles as p
                where p.id = authorize_download.user_id and p.role >= 'admin'
            ) then '-infinity'
        else private.ordered_at(authorize_download.user_id, item.id)
    end;
    if since is null then
        -- What a stranger may not see does not exist for them.
        perform private.fail(
            case
                when item.is_visible and private.is_visible_to(item.seller_id, authorize_download.user_id)
                    then 'not_entitled'
                else 'item_not_found'
            end,
            authorize_download.item_id::text
        );
    end if;
    return query
    select
        'product-files', case when o.version is not distinct from f.object_version then f.path end, f.name,
        f.size_bytes, f.content_type
    from public.product_files as f
    left join storage.objects as o on o.bucket_id = 'product-files' and o.name = f.path
    where
        (f.product_id = item.id or f.artwork_id = item.id)
        and f.taken_down_at is null and coalesce(f.removed_at, 'infinity') >= since
    order by f.position, f.created_at, f.name, f.id;
end
$function$;

create or replace function private.claim_payout (
    payout_id uuid
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    payout public.payouts;
    wallet public.wallets;
begin
    select * into payout from public.payouts as p where p.id = claim_payout.payout_id for no key update;
    if payout.id is null or payout.status not in ('approved', 'processing')
        or exists (
            select from private.provider_delays as d where d.object_id = payout.id and d.retry_at > now()
        ) then
        return null;
    end if;
    if payout.status = 'approved' then
        select * into strict wallet from public.wallets as w where w.user_id = payout.user_id for no key update;
        -- Banned sellers and changed destinations wait (docs/money.md, sharp cases 23 and 24); a balance that shrank into
        -- debt since the request stops the payout (sharp case 14).
        if wallet.payouts_held_until > now()
            or exists (select from public.bans as b where b.user_id = payout.user_id) then
            return null;
        end if;
        if wallet.debt_cents > 0 then
            perform private.end_payout(payout.id, 'cancelled', 'balance_shrank');
            return null;
        end if;
        if wallet.stripe_account_id is distinct from payout.destination
            or wallet.stripe_account_status is distinct from 'enabled' then
            perform private.end_payout(payout.id, 'cancelled', 'destination_changed');
            return null;
        end if;
        update public.payouts as p set status = 'processing', processing_at = now() where p.id = payout.id;
    end if;
    return jsonb_build_object(
        'payout_id', payout.id, 'provider', payout.payout_method, 'amount_cents', payout.amount_cents,
        'currency', payout.currency, 'destination', payout.destination,
        'metadata', jsonb_build_object('payout_id', payout.id)
    ) || jsonb_strip_nulls(jsonb_build_object('idempotency_key', private.provider_key(payout.id)));
end
$function$;

create or replace function private.create_refund (
    payment_id uuid,
    order_item_id uuid,
    amount_cents bigint,
    reason text,
    origin public.refund_origin default 'automatic'::public.refund_origin,
    paid_outside text default null::text
)
    returns uuid
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    refund_id uuid;
begin
    select * into strict paid from public.payments as p where p.id = create_refund.payment_id for no key update;
    -- Open refunds count: two half refunds of three quarters each must not both pass.
    if amount_cents is null or amount_cents <= 0 or amount_cents > paid.amount_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r
        where r.payment_id = paid.id and (r.is_open or r.status = 'succeeded')
    ), 0) or amount_cents > (
        select i.total_cents + i.tax_cents - t.refunded_cents - coalesce((
            select sum(r.amount_cents) from public.refunds as r
            where r.order_item_id = i.id and r.is_open
        ), 0)
        from public.order_items as i
        inner join public.transactions as t on t.order_item_id = i.id
        where i.id = create_refund.order_item_id
    ) then
        perform private.fail('refund_amount_invalid');
    end if;
    insert into public.refunds (
        payment_id, order_item_id, amount_cents, currency, reason, origin, paid_outside, provider
    ) values (
        paid.id, create_refund.order_item_id, create_refund.amount_cents, paid.currency, create_refund.reason,
        create_refund.origin, create_refund.paid_outside is not null, paid.provider
    ) returning id into refund_id;
    if create_refund.paid_outside is not null then
        perform private.record_refund(refund_id, 'outside:' || create_refund.paid_outside, 'succeeded');
    elsif paid.provider = 'wallet' then
        perform private.record_refund(refund_id, null, 'succeeded');
    else
        perform private.enqueue('send_refund', jsonb_build_object('refund_id', refund_id), null, 'refund:' || refund_id);
    end if;
    return refund_id;
end
$function$;

create or replace function private.edit_post()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if new.is_approved and new.group_id is not null and exists (
        select from public.groups as g
        left join public.group_members as m on m.group_id = g.id and m.user_id = new.user_id and m.status = 'active'
        where
            g.id = new.group_id and g.post_approval_required
            and (m.role is null or m.role < 'moderator')
    ) then
        -- What was approved is what was read.
        new.is_approved := false;
    end if;
    if new.tags is distinct from old.tags then
        return private.describe_post(new, new.tags);
    end if;
    -- Hashtags that left the text leave the tags.
    return private.describe_post(
        new, array(select t.tag from unnest(old.tags) as t (tag) where t.tag <> all (private.hashtags(old.content)))
    );
end
$function$;

create or replace function private.erase_custom_fields (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    asked uuid [];
begin
    select array_agg(h.id) into asked
    from (
        select q.id from public.custom_field_requests as q
        where q.status = 'pending' and q.id in (
            select r.request_id from public.custom_field_requesters as r
            where r.user_id = erase_custom_fields.user_id
        )
        order by q.id
        for update
    ) as h;
    delete from public.custom_field_requesters as r where r.user_id = erase_custom_fields.user_id;
    delete from public.custom_field_requests as q
    where q.id = any(asked)
        and not exists (select from public.custom_field_requesters as r where r.request_id = q.id);
    update public.custom_field_requests as q set field_value = private.best_spelling(q.id) where q.id = any(asked);
end
$function$;

create or replace function private.erase_rest (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    step private.erasure_steps;
begin
    for step in select * from private.erasure_steps as e where e.phase < 'books' order by e.phase, e.step loop
        execute step.statement using erase_rest.user_id;
    end loop;

    -- Not before the items are gone that keep files for their buyers.
    insert into private.file_erasures as f (user_id) values (erase_rest.user_id)
    on conflict on constraint file_erasures_pkey do update set requested_at = now(), completed_at = null;
    begin
        perform private.enqueue('erase_user_files', jsonb_build_object('user_id', erase_rest.user_id));
    exception when others then
        -- The workers' sweep finds the row above.
        raise warning 'erase_user_files not queued: %', sqlerrm;
    end;

    -- Without any financial history nothing of the account is left. The foreign keys know best what history is.
    begin
        for step in select * from private.erasure_steps as e where e.phase >= 'books' order by e.phase, e.step loop
            execute step.statement using erase_rest.user_id;
        end loop;
    exception when foreign_key_violation or restrict_violation then
        null;
    end;
end
$function$;

create or replace function private.erase_wallet (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- A sale that is just settling holds the wallet: wait, then look.
    perform from public.wallets as w where w.user_id = erase_wallet.user_id for update;
    if exists (
        select from ledger.entries as e
        inner join ledger.accounts as a on a.id = e.account_id
        where a.owner_id = erase_wallet.user_id
    ) then
        raise restrict_violation using message = 'the books refer to this account';
    end if;
    delete from ledger.accounts as a where a.owner_id = erase_wallet.user_id;
    delete from public.wallets as w where w.user_id = erase_wallet.user_id;
end
$function$;

create or replace function private.expire_unstarted_payments (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    ended integer := 0;
    attempt uuid;
begin
    for attempt in
        select p.id from public.payments as p
        where p.is_open and p.started_at is null and p.expires_at <= now()
        order by p.expires_at
        limit max_rows
        for no key update skip locked
    loop
        perform private.stop_payment(attempt, 'expired');
        ended := ended + 1;
    end loop;
    return ended;
end
$function$;

create or replace function private.is_admin()
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.profiles as p
        where
            p.id = auth.uid() and p.deleted_at is null and not p.is_banned
            and p.role >= 'admin'
            and (auth.jwt() ->> 'is_anonymous') is distinct from 'true'
    );
end
$function$;

create or replace function private.is_visible_to (
    subject uuid,
    viewer uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    -- Says the same as the policies of profiles, for a given viewer instead of the caller.
    return exists (
        select from public.profiles as p
        left join public.profiles as v on v.id = viewer and v.deleted_at is null and not v.is_banned
        where
            p.id = subject and p.deleted_at is null
            and (
                p.id = viewer
                or v.role >= 'admin'
                or not p.is_banned and p.is_confirmed
                and (
                    p.profile_visibility = 'public'
                    or p.profile_visibility = 'members_only' and v.id is not null
                )
                and not exists (
                    select from public.user_blocks as b
                    where
                        b.blocker_id = subject and b.blocked_id = viewer
                        or b.blocker_id = viewer and b.blocked_id = subject
                )
            )
    );
end
$function$;

create or replace function private.metrics()
    returns table (
        name text,
        labels jsonb,
        value double precision
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select 'avenue_webhook_events', jsonb_build_object('status', s.status), count(e.id)
    from unnest(array['pending', 'dead']::private.webhook_status[]) as s (status)
    left join private.webhook_events as e on e.status = s.status
    group by s.status
    union all
    select 'avenue_webhook_oldest_pending_seconds', '{}', coalesce(max(extract(epoch from now() - e.received_at)), 0)
    from private.webhook_events as e
    where e.status = 'pending'
    union all
    select 'avenue_payouts_open', jsonb_build_object('status', s.status), count(p.id)
    from unnest(array['requested', 'approved', 'processing']::public.payout_status[]) as s (status)
    left join public.payouts as p on p.status = s.status
    group by s.status
    union all
    select 'avenue_refunds_open', '{}', count(*) from public.refunds as r where r.is_open
    union all
    select 'avenue_provider_delays', jsonb_build_object('kind', k.kind), count(d.object_id)
    from unnest(array['payout', 'refund']) as k (kind)
    left join private.provider_delays as d on d.kind = k.kind
    group by k.kind
    union all
    select 'avenue_payments_open', '{}', count(*) from public.payments as p
    where p.is_open
    union all
    select 'avenue_money_waiting_' || m.name, jsonb_build_object('account', a.account), m.value
    from unnest(array['refunds_payable', 'payouts_in_transit', 'refunds', 'sale_reviews']) as a (account)
    left join (
        select
            w.account, sum(w.amount_cents) as cents, count(*) filter (where w.needs_person) as stuck,
            extract(epoch from now() - min(w.since)) as age
        from private.money_waiting() as w
        group by w.account
    ) as s on s.account = a.account
    cross join lateral (
        values
        ('cents', coalesce(s.cents, 0)), ('oldest_seconds', coalesce(s.age, 0)), ('stuck', coalesce(s.stuck, 0))
    ) as m (name, value)
$function$;

create or replace function private.moderates (
    group_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return private.group_role(group_id) >= 'moderator';
end
$function$;

create or replace function private.money_waiting()
    returns table (
        account text,
        subject text,
        amount_cents bigint,
        since timestamp with time zone,
        problem text,
        needs_person boolean
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with waiting as (
        select
            'refunds_payable' as account, 'payment ' || p.id as subject,
            p.amount_cents - p.refunded_cents as amount_cents,
            p.succeeded_at as since,
            case when o.is_open then 'refund under way' else 'taken, not delivered, not given back' end as problem,
            not o.is_open as failed
        from public.payments as p
        cross join lateral (
            select exists (
                select from public.refunds as r where r.payment_id = p.id and r.is_open
            ) as is_open
        ) as o
        where
            p.failure_reason = 'item_not_available' and p.succeeded_at is not null
            and p.refunded_cents < p.amount_cents
        union all
        select
            'payouts_in_transit', 'payout ' || p.id, p.amount_cents, p.requested_at,
            case p.status when 'requested' then 'waits for an admin' else 'waits for the provider: ' || p.status end,
            false
        from public.payouts as p
        where p.is_open
        union all
        select 'refunds', 'refund ' || r.id, r.amount_cents, r.created_at, 'waits for the provider: ' || r.status, false
        from public.refunds as r
        where r.is_open
        union all
        -- Promised to a buyer, failed, and not made good since; undeliverable goods are above.
        select 'refunds', 'refund ' || r.id, r.amount_cents, r.updated_at, 'failed, not made again', true
        from public.refunds as r
        inner join public.payments as p on p.id = r.payment_id
        where
            r.status in ('failed', 'cancelled') and p.refunded_cents < p.amount_cents and p.charge_reversed_at is null
            and p.failure_reason is distinct from 'item_not_available'
            and not exists (
                select from public.refunds as n
                where
                    n.payment_id = r.payment_id and n.order_item_id is not distinct from r.order_item_id
                    and n.created_at > r.created_at and (n.is_open or n.status = 'succeeded')
            )
        union all
        select
            'sale_reviews', 'transaction ' || v.transaction_id, t.pending_cents, v.created_at, 'held for review', false
        from public.sale_reviews as v
        inner join public.transactions as t on t.id = v.transaction_id
        where v.released_at is null and t.pending_cents > 0
    )

    select
        w.account, w.subject, w.amount_cents, w.since, w.problem,
        w.failed or w.since < now() - (select s.stuck_money_after from private.settings as s)
    from waiting as w
    order by w.since
$function$;

create or replace function private.payment_cancelled (
    payment_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
end
$function$;

create or replace function private.payments_to_cancel (
    max_rows integer
)
    returns table (
        payment_id uuid,
        provider text,
        provider_ref text
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
    returning p.id, p.provider::text, p.provider_ref;
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
    returning p.id, p.provider::text, p.provider_ref;
end
$function$;

create or replace function private.payments_to_reconcile (
    max_rows integer
)
    returns table (
        payment_id uuid,
        provider text,
        provider_ref text
    )
    language sql
    security definer
    set search_path to ''
    AS $function$
    -- Marked as asked in the same statement: an attempt the provider cannot answer for must not block the others.
    update public.payments as p set checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where
            o.is_open and o.provider_ref is not null
            and o.started_at < now() - (select s.reconcile_after from private.settings as s)
            and coalesce(o.checked_at, '-infinity') < now() - (select s.reconcile_after from private.settings as s)
        order by o.checked_at nulls first
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, p.provider_ref
$function$;

create or replace function private.prepare_post()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    author public.profiles;
    membership public.group_members;
begin
    -- The end of the account or the group at this instant is waited for, or waits for this.
    perform private.lock_gates('account', array[new.user_id]);
    perform private.lock_gates('group', array[new.group_id]);
    -- A ban or a change of visibility under way is waited for: the copy is never older than the original.
    select * into author from public.profiles as p where p.id = new.user_id for share;
    new.author_audience := coalesce(private.author_audience(author), 'owner');
    if new.group_id is not null then
        -- Likewise a removal from the group. Who is no member gets one answer, also if there is no such group.
        select * into membership from public.group_members as m
        where m.group_id = new.group_id and m.user_id = new.user_id and m.status = 'active'
        for share;
        if membership.user_id is null then
            perform private.fail('group_members_only', new.group_id::text);
        end if;
        new.is_approved := membership.role >= 'moderator' or not (
            select g.post_approval_required from public.groups as g where g.id = new.group_id
        );
    end if;
    return private.describe_post(new, new.tags);
end
$function$;

create or replace function private.promised_back (
    seller uuid,
    line uuid default null::uuid,
    more_cents bigint default 0
)
    returns bigint
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with promises as (
        select r.order_item_id, r.amount_cents
        from public.refunds as r
        where r.is_open and r.order_item_id is not null
        union all
        -- One of a whole payment will be spread over its lines by what is left of them.
        select t.order_item_id, ceil(
            r.amount_cents * (t.amount_total_cents - t.refunded_cents)
            / nullif(sum(t.amount_total_cents - t.refunded_cents) over (partition by r.id), 0)
        )::bigint
        from public.refunds as r
        inner join public.transactions as t on t.payment_id = r.payment_id
        where r.is_open and r.order_item_id is null
        union all
        select promised_back.line, promised_back.more_cents
    ),

    lines as (
        select p.order_item_id, sum(p.amount_cents)::bigint as cents from promises as p group by p.order_item_id
    )

    select coalesce(sum(greatest(
        (private.split_refund(t, least(l.cents, t.amount_total_cents - t.refunded_cents))).seller - t.pending_cents, 0
    )), 0)::bigint
    from lines as l
    inner join public.transactions as t on t.order_item_id = l.order_item_id
    where t.seller_id = promised_back.seller
$function$;

create or replace function private.require_rank_over (
    user_id uuid
)
    returns void
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    if require_rank_over.user_id is distinct from auth.uid() and exists (
        select from public.profiles as p where p.id = require_rank_over.user_id and p.role >= 'admin'
    ) then
        perform private.require_super_admin();
    end if;
end
$function$;

create or replace function private.reverse_charge (
    payment_id uuid,
    charge_id text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    rest bigint;
begin
    select * into strict paid from public.payments as p where p.id = reverse_charge.payment_id for no key update;
    if paid.charge_reversed_at is not null then
        return;
    end if;
    update public.payments as p set charge_reversed_at = now() where p.id = paid.id;
    update public.refunds as r set status = 'cancelled', failure_reason = 'charge_declined'
    where r.payment_id = paid.id and r.status = 'requested' and r.sent_at is null;
    -- Unlike a refund, a declined charge costs nothing: the provider gives its fee back with it.
    perform private.set_provider_fee(paid.id, 0, 'fee_returned');
    rest := paid.amount_cents - paid.refunded_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r
        where r.payment_id = paid.id and r.is_open
    ), 0);
    if rest > 0 then
        perform private.book_decline(paid.id, reverse_charge.charge_id, rest);
    end if;
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
    -- Sales before wallets, as earnings are released.
    perform from public.transactions as t where t.payment_id = paid.id order by t.id for no key update;
    perform private.lock_wallets(array(
        select t.seller_id from public.transactions as t where t.payment_id = paid.id
    ));
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
        select refund.id, sale.id, -line.amount_cents, s.tax, s.commission, s.seller into line
        from private.split_refund(sale, -line.amount_cents) as s;
        perform private.apply_refund_line(line);
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id || ':' || line.transaction_id,
            private.moving_legs(array[
                ledger.leg(null, money_account, line.amount_cents),
                ledger.leg(null, 'tax_payable', -line.tax_cents),
                ledger.leg(null, 'revenue', -line.commission_cents)
            ]) || private.seller_legs(line.transaction_id, -line.seller_cents),
            refund.id, paid.currency
        );
    end loop;
    update public.refunds as r set reversed_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, -refund.amount_cents);
end
$function$;

create or replace function private.start_payment(payment_id uuid, user_id uuid) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt public.payments;
    owned text;
    number text;
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
    -- Bought meanwhile by an order that this one replaced too late: its money would only go back.
    select i.item_id::text into owned from public.order_items as i
    where i.order_id = attempt.order_id and private.owns_item(attempt.user_id, i.item_id)
    order by i.line_no
    limit 1;
    if owned is not null then
        perform private.fail('already_owned', owned);
    end if;
    update public.payments as p set started_at = coalesce(p.started_at, now()) where p.id = attempt.id;
    select o.order_number into number from public.orders as o where o.id = attempt.order_id;
    return jsonb_build_object(
        'payment_id', attempt.id, 'provider', attempt.provider, 'provider_ref', attempt.provider_ref,
        'amount_cents', attempt.amount_cents, 'currency', attempt.currency, 'order_number', number,
        'description', 'Order ' || number,
        'metadata', jsonb_build_object('payment_id', attempt.id, 'order_id', attempt.order_id)
    );
end
$$;

comment on function private.start_payment(uuid, uuid) is
'Opens an attempt for its payer and says what to create at the provider (idempotency key: the payment id). Errors: '
'banned, payment_not_found, payment_not_open, already_owned.';

create or replace function private.stop_payment (
    payment_id uuid,
    reason text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.viewer()
    returns private.viewer
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    viewer private.viewer;
begin
    select
        p.id, p.role >= 'admin',
        array(
            select b.blocked_id from public.user_blocks as b where b.blocker_id = p.id
            union all
            select b.blocker_id from public.user_blocks as b where b.blocked_id = p.id
            union all
            select c.user_id from private.account_changes as c where c.audience = 'owner' and c.user_id <> p.id
        ),
        array(select m.group_id from public.group_members as m where m.user_id = p.id and m.status = 'active')
    into viewer
    from public.profiles as p
    where p.id = private.member_id();
    if viewer.id is null then
        -- Says why.
        perform private.require_member();
    end if;
    return viewer;
end
$function$;

create or replace function public.ban_user (
    user_id uuid,
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    target public.profiles;
begin
    if ban_user.user_id = admin then
        perform private.fail('cannot_ban_yourself');
    end if;
    perform private.hold_profile(ban_user.user_id);
    select * into target from public.profiles as p where p.id = ban_user.user_id and p.deleted_at is null;
    if target.id is null then
        perform private.fail('user_not_found', ban_user.user_id::text);
    end if;
    if target.role >= 'admin' then
        -- Shared with grant_role(): two super admins banning each other take turns, and the second is no member any
        -- more.
        perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
        perform private.require_rank_over(target.id);
    end if;
    insert into public.bans as b (user_id, reason) values (ban_user.user_id, coalesce(ban_user.reason, ''))
    on conflict on constraint bans_pkey do update set reason = excluded.reason;
    perform private.audit('ban_user', 'profiles', ban_user.user_id, jsonb_build_object('reason', ban_user.reason));
end
$function$;

create or replace function public.checkout (
    items jsonb default null::jsonb,
    provider public.payment_provider default 'stripe'::public.payment_provider,
    idempotency_key text default null::text,
    shipping_address jsonb default null::jsonb,
    notes text default null::text
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    limits private.settings;
    wanted jsonb := nullif(checkout.items, 'null'::jsonb);
    wanted_address jsonb := nullif(checkout.shipping_address, 'null'::jsonb);
    earlier jsonb;
    lines private.order_line[];
    wrong private.order_line;
    total bigint;
    unique_items uuid[];
    new_order uuid;
    superseded uuid[];
    attempt uuid;
    item uuid;
    culprit text;
    expires timestamptz;
    new_payment uuid;
begin
    select * into strict limits from private.settings;
    -- One checkout of a buyer at a time: a double click, two tabs, or the same key twice line up here.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    if char_length(private.tidy_body(checkout.notes)) > 2000 then
        perform private.fail('invalid_checkout', 'notes: at most 2,000 characters');
    end if;
    perform private.require_keys(
        wanted_address,
        '{name,line1,line2,city,state,postal_code,country,phone}', 'invalid_checkout'
    );
    if length(wanted_address::text) > 4000
        or exists (select from jsonb_each(wanted_address) as a where jsonb_typeof(a.value) not in ('string', 'null'))
    then
        perform private.fail('invalid_checkout', 'shipping_address: texts, at most 4,000 characters');
    end if;

    -- What is asked for: the given items, or the cart with what it showed.
    if wanted is null then
        wanted := coalesce((
            select jsonb_agg(jsonb_build_object(
                'item_id', c.item_id, 'quantity', c.quantity, 'offered_price_cents', c.offered_price_cents,
                'shown_price_cents', c.shown_price_cents
            ) order by c.added_at, c.item_id)
            from public.cart_items as c
            where c.user_id = buyer
        ), '[]');
        -- A cart that was paid for is empty: the same request again would look like another one.
        select k.answer into earlier from private.request_keys as k
        inner join public.orders as o on o.id = (k.answer ->> 'order_id')::uuid and o.completed_at is not null
        where k.caller = buyer and k.purpose = 'checkout' and k.key = checkout.idempotency_key;
        if earlier -> 'items' @> wanted then
            wanted := earlier -> 'items';
        end if;
    else
        if jsonb_typeof(wanted) <> 'array' then
            perform private.fail('invalid_checkout', 'items: not an array');
        end if;
        perform private.require_keys(w.line, '{item_id,quantity,offered_price_cents}', 'invalid_checkout')
        from jsonb_array_elements(wanted) as w (line);
        if exists (
            select from jsonb_array_elements(wanted) as w
            where
                coalesce(w ->> 'item_id', '') !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                or coalesce(w ->> 'quantity', '1') !~ '^[0-9]{1,2}$'
                or coalesce(w ->> 'offered_price_cents', '0') !~ '^[0-9]{1,8}$'
        ) then
            perform private.fail('invalid_checkout', 'each item is {item_id, quantity?, offered_price_cents?}');
        end if;
        wanted := coalesce((
            select jsonb_agg(jsonb_build_object(
                'item_id', (w.line ->> 'item_id')::uuid, 'quantity', coalesce((w.line ->> 'quantity')::integer, 1),
                'offered_price_cents', (w.line ->> 'offered_price_cents')::bigint
            ) order by w.no)
            from jsonb_array_elements(wanted) with ordinality as w (line, no)
        ), '[]');
    end if;

    -- Where a retry ends: the order that was made, whatever has become of it.
    earlier := private.claim_request(
        buyer, 'checkout', checkout.idempotency_key,
        jsonb_build_object(
            'items', (
                select jsonb_agg(w.line - 'shown_price_cents' order by w.line ->> 'item_id')
                from jsonb_array_elements(wanted) as w (line)
            ),
            'provider', checkout.provider, 'shipping_address', wanted_address, 'notes', checkout.notes
        )
    );
    if earlier is not null then
        return private.order_summary((earlier ->> 'order_id')::uuid);
    end if;
    if checkout.provider is null or checkout.provider = 'paypal' then
        perform private.fail('provider_not_available', checkout.provider::text);
    end if;
    if jsonb_array_length(wanted) = 0 then
        perform private.fail('empty_checkout');
    elsif jsonb_array_length(wanted) > 50 then
        perform private.fail('too_many_items', jsonb_array_length(wanted)::text);
    end if;

    lines := array(select l from private.read_lines(buyer, wanted) as l);
    select l.* into wrong from unnest(lines) as l where l.problem is not null order by l.line_no limit 1;
    if wrong.problem is not null then
        perform private.fail(wrong.problem, wrong.detail);
    end if;
    select sum(l.unit_price_cents * l.quantity), array_agg(l.item_id order by l.item_id) filter (where l.is_unique)
    into total, unique_items
    from unnest(lines) as l;
    if total > limits.maximum_amount_cents then
        perform private.fail('amount_out_of_range', format('at most %s cents', limits.maximum_amount_cents));
    end if;

    insert into public.orders (user_id, subtotal_cents, total_cents, shipping_address, notes)
    values (buyer, total, total, wanted_address, checkout.notes)
    returning id into new_order;
    insert into public.order_items (
        order_id, line_no, item_id, buyer_id, seller_id, title, description, license_type, license_text,
        license_version, details, unit_price_cents, quantity, seller_tier, commission_bps
    )
    select
        new_order, l.line_no, l.item_id, buyer, l.seller_id, l.title, l.description, l.license_type, l.license_text,
        l.license_version, l.details, l.unit_price_cents, l.quantity, l.seller_tier, l.commission_bps
    from unnest(lines) as l;
    perform private.answer_request(
        buyer, 'checkout', checkout.idempotency_key, jsonb_build_object('order_id', new_order, 'items', wanted)
    );

    -- The buyer's own earlier attempts at these items give way: nobody pays twice for one thing. Their payments are
    -- locked first, as settlement does, and one-of-a-kind items are held one by one in id order: no two carts wait for
    -- each other. Anybody else's hold stays.
    superseded := array(
        select p.id from public.payments as p
        where
            p.user_id = buyer and p.is_open
            and p.order_id in (
                select i.order_id from public.order_items as i
                where i.buyer_id = buyer and i.item_id in (select l.item_id from unnest(lines) as l)
            )
        order by p.id
        for no key update
    );
    foreach item in array coalesce(unique_items, '{}') loop
        update private.reservations as r set order_id = new_order, created_at = now()
        where
            r.item_id = item
            and r.order_id in (select p.order_id from public.payments as p where p.id = any (superseded));
        continue when found;
        if not private.claim_item(item) then
            perform private.fail('item_reserved', item::text);
        end if;
        insert into private.reservations (item_id, order_id) values (item, new_order) on conflict do nothing;
    end loop;
    foreach attempt in array superseded loop
        perform private.stop_payment(attempt, 'superseded');
    end loop;
    if unique_items is not null then
        -- Sold or withdrawn while this waited for another buyer's hold to end.
        select c.id::text into culprit from public.catalog_items as c
        where c.id = any (unique_items) and not c.is_listed
        limit 1;
        if culprit is not null then
            perform private.fail('item_sold', culprit);
        end if;
        select u.item_id::text into culprit from unnest(unique_items) as u (item_id)
        where not exists (
            select from private.reservations as r where r.item_id = u.item_id and r.order_id = new_order
        )
        limit 1;
        if culprit is not null then
            perform private.fail('item_reserved', culprit);
        end if;
    end if;

    if total = 0 then
        if not private.deliver_order(new_order) then
            perform private.fail('item_not_available');
        end if;
        return private.order_summary(new_order);
    end if;

    expires := case
        when unique_items is null then now() + limits.payment_period
        when checkout.provider = 'wallet' then now() + limits.reservation_period
        else private.begin_holds(buyer, unique_items)
    end;
    insert into public.payments (
        user_id, order_id, amount_cents, provider, fee_estimate_cents, provider_fee_cents, expires_at, status
    ) values (
        buyer, new_order, total, checkout.provider,
        private.processing_fee(checkout.provider, total, 'USD'),
        case when checkout.provider = 'wallet' then 0 end,
        expires,
        case when checkout.provider = 'wallet' then 'processing' else 'requires_payment' end::public.payment_status
    ) returning id into new_payment;
    if checkout.provider = 'wallet' then
        perform private.lock_wallets(
            array(select i.seller_id from public.order_items as i where i.order_id = new_order) || buyer
        );
        if private.spendable_cents(buyer) < total then
            perform private.fail('insufficient_funds');
        end if;
        perform private.settle_payment(new_payment);
    end if;
    return private.order_summary(new_order);
end
$function$;

create or replace function public.delete_my_account(forfeit_cents bigint default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    wallet record;
    total bigint;
begin
    -- Asked for twice: the second waits and does not end the first, as hold_rows() would.
    perform pg_advisory_xact_lock(hashtextextended('avenue:leaving:' || auth.uid(), 0));
    -- Also for banned users: leaving is a right, not a membership. The profile first, and not the wallet: a checkout that
    -- pays from the wallet refers to its buyer's profile while it waits for the wallet. A sale that is just settling does
    -- so, too, and is waited for.
    perform private.hold_rows('public.profiles', 't.id = $1', auth.uid(), null, 'update');
    select
        w.*,
        (
            select coalesce(sum(p.amount_cents), 0)::bigint from public.payouts as p
            where p.user_id = w.user_id and p.is_open
        ) as payouts_cents
    into wallet
    from public.wallets as w
    where w.user_id = auth.uid();
    total := coalesce(wallet.balance_available_cents + wallet.balance_pending_cents + wallet.payouts_cents, 0);
    if total > 0 and forfeit_cents is distinct from total then
        perform private.fail('balance_remains', jsonb_build_object(
            'forfeit_cents', total, 'available_cents', wallet.balance_available_cents,
            'pending_cents', wallet.balance_pending_cents, 'payouts_cents', wallet.payouts_cents,
            'currency', wallet.currency
        )::text);
    end if;
    delete from auth.users as u where u.id = auth.uid();
    if not found then
        perform private.fail('not_signed_in');
    end if;
end
$$;

create or replace function public.export_my_data (
    section text default null::text,
    after jsonb default null::jsonb
)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := auth.uid();
    -- A page of every section is read well within the time a request may take.
    page_rows integer := case when export_my_data.section is null then 500 else 2000 end;
    part private.personal_data;
    page record;
    more jsonb := '{}';
    result jsonb;
begin
    -- Also for banned users: everybody may have a copy of what is stored about them.
    select jsonb_build_object(
        'exported_at', now(),
        'account', jsonb_build_object(
            'id', u.id, 'email', u.email, 'phone', u.phone, 'metadata', u.raw_user_meta_data,
            'created_at', u.created_at, 'last_sign_in_at', u.last_sign_in_at
        )
    ) into result
    from auth.users as u where u.id = caller;
    if result is null then
        perform private.fail('not_signed_in');
    end if;
    if jsonb_typeof(after) <> 'array' or after is not null and section is null then
        perform private.fail('section_not_found', left(format('after: %s', after), 100));
    end if;
    for part in
        select * from private.personal_data as d
        where
            (export_my_data.section is null or d.section = export_my_data.section)
            and d.condition is not null and to_regclass(d.relation) is not null
        order by d.section
    loop
        page := private.export_rows(
            part, caller, case when export_my_data.section is not null then after end, page_rows
        );
        result := result || jsonb_build_object(part.section, page.records);
        if page.next is not null then
            more := more || jsonb_build_object(part.section, page.next);
        end if;
    end loop;
    if export_my_data.section is not null and not result ? export_my_data.section then
        perform private.fail('section_not_found', left(export_my_data.section, 100));
    end if;
    return result || jsonb_build_object('more', more);
end
$function$;

create or replace function public.request_custom_field (
    field_type public.custom_field_type,
    field_value text,
    category_id uuid default null::uuid
)
    returns public.custom_field_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    spelling text := private.check_field_name(field_value);
    normal text := private.normal_form(spelling);
    category uuid := case when request_custom_field.field_type = 'skill' then request_custom_field.category_id end;
    known record;
    request public.custom_field_requests;
begin
    if request_custom_field.field_type is null then
        perform private.fail('custom_field_invalid');
    end if;
    if category is not null and not exists (
        select from public.categories as c where c.id = category and c.is_active
    ) then
        perform private.fail('choice_not_available', category::text);
    end if;
    -- Before any other lock: an account that is being deleted and one that asks must not wait for each other.
    perform from public.profiles as p where p.id = caller for key share;
    perform pg_advisory_xact_lock(hashtextextended('avenue:custom_fields' || caller, 0));

    loop
        insert into public.custom_field_requests as q (field_type, field_value, normal_value)
        values (request_custom_field.field_type, spelling, normal)
        on conflict on constraint custom_field_requests_field_type_normal_value_key do nothing;
        -- Everybody who asks for the same value takes turns from here.
        select * into request from public.custom_field_requests as q
        where q.field_type = request_custom_field.field_type and q.normal_value = normal
        for no key update;
        -- Else it went at this moment, with the only one who had asked.
        exit when found;
    end loop;

    select f.* into known from private.find_field(request.field_type, normal) as f;
    if known.id is not null and not known.is_available then
        perform private.fail('custom_field_withdrawn', known.name);
    elsif known.id is not null or request.status in ('auto_approved', 'approved') then
        -- An admin may have corrected the name since.
        perform private.fail('custom_field_exists', coalesce(known.name, request.field_value));
    elsif request.status = 'rejected' then
        perform private.fail('custom_field_rejected', request.rejection_reason);
    end if;

    if (
        select count(*)
        from public.custom_field_requesters as r
        inner join public.custom_field_requests as q on q.id = r.request_id
        where r.user_id = caller and q.status = 'pending' and q.id <> request.id
    ) >= 20 then
        perform private.fail('too_many_custom_fields', '20');
    end if;
    insert into public.custom_field_requesters as r (request_id, user_id, spelling, category_id)
    values (request.id, caller, spelling, category)
    on conflict on constraint custom_field_requesters_pkey do nothing;
    update public.custom_field_requests as q set
        field_value = private.best_spelling(q.id),
        category_id = (
            select mode() within group (order by r.category_id)
            from public.custom_field_requesters as r
            where r.request_id = q.id
        )
    where q.id = request.id
    returning * into request;

    -- Accounts made for the purpose do not count, however many: then an admin decides.
    if (
        select count(*)
        from public.custom_field_requesters as r
        inner join public.profiles as p on p.id = r.user_id
        cross join private.settings as s
        where
            r.request_id = request.id and p.is_confirmed and not p.is_banned and p.deleted_at is null
            and p.created_at <= now() - s.custom_field_account_age
    ) >= private.custom_field_threshold(request.field_type) then
        update public.custom_field_requests as q set
            status = 'auto_approved',
            field_id = private.create_field(request.field_type, request.field_value, request.category_id)
        where q.id = request.id
        returning * into request;
    end if;
    return request;
end
$function$;

create or replace function public.request_payout (
    amount_cents bigint,
    idempotency_key text default null::text
)
    returns public.payouts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    limits private.settings;
    wallet public.wallets;
    payout public.payouts;
    answered jsonb := private.claim_request(
        member, 'request_payout', request_payout.idempotency_key,
        jsonb_build_object('amount_cents', request_payout.amount_cents)
    );
begin
    if answered is not null then
        select * into strict payout from public.payouts as p where p.id = (answered #>> '{}')::uuid;
        return payout;
    end if;
    select * into strict limits from private.settings;
    -- Everything below is decided under this lock: simultaneous requests come one after the other.
    select * into wallet from public.wallets as w where w.user_id = member for no key update;
    if request_payout.amount_cents is null or request_payout.amount_cents < limits.minimum_payout_cents
        or request_payout.amount_cents > limits.maximum_amount_cents then
        perform private.fail('payout_amount_invalid', format(
            'between %s and %s cents', limits.minimum_payout_cents, limits.maximum_amount_cents
        ));
    end if;
    if wallet.stripe_account_id is null or wallet.stripe_account_status is distinct from 'enabled' then
        perform private.fail('payouts_not_enabled');
    end if;
    if wallet.payouts_held_until > now() then
        perform private.fail('payouts_held', 'until ' || to_char(
            wallet.payouts_held_until at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
        ));
    end if;
    if exists (
        select from public.payouts as p
        where p.user_id = member and p.is_open
    ) then
        perform private.fail('payout_open');
    end if;
    if private.spendable_cents(member) < request_payout.amount_cents then
        perform private.fail('insufficient_funds');
    end if;

    insert into public.payouts (user_id, amount_cents, currency, destination)
    values (member, request_payout.amount_cents, wallet.currency, wallet.stripe_account_id)
    returning * into payout;
    perform ledger.post(
        'payout_requested', 'payout_requested:' || payout.id,
        array[
            ledger.leg(member, 'available', -payout.amount_cents),
            ledger.leg(null, 'payouts_in_transit', payout.amount_cents)
        ],
        payout.id, payout.currency
    );
    -- The limit is one for a day, too: five payouts just below it are one above it.
    if payout.amount_cents <= limits.payout_approval_above_cents and (
        select sum(p.amount_cents) from public.payouts as p
        where
            p.user_id = member and p.requested_at > now() - interval '24 hours'
            and p.status not in ('failed', 'cancelled', 'returned')
    ) <= limits.payout_daily_cents then
        payout := private.set_payout_approved(payout.id);
    end if;
    perform private.answer_request(member, 'request_payout', request_payout.idempotency_key, to_jsonb(payout.id));
    return payout;
end
$function$;

alter table private.personal_data
    add constraint personal_data_reason_check check ((((stays = '{}'::text[]) AND (condition IS
        NOT NULL)) = (reason IS NULL)));

alter table private.personal_data
    add constraint personal_data_relation_key unique (relation);

create index payments_open_idx on public.payments using btree (expires_at)
    where is_open;

create unique index payouts_one_open_idx on public.payouts using btree (user_id)
    where is_open;

create index payouts_open_idx on public.payouts using btree (status, updated_at)
    where is_open;

create index refunds_unsent_idx on public.refunds using btree (created_at)
    where is_open;

-- Reference data -----------------------------------------------------------------------------------------------------

insert into private.personal_data (section, relation, condition, stays, reason) values
('pending_counts', 'private.pending_counts',
    null, '{target, counter}', 'changes of numbers that wait a moment to be added');

insert into private.erasure_steps (step, phase, erases, statement) values
('request_keys', 'records', '{private.request_keys}', 'delete from private.request_keys where caller = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('request_keys', 'private.request_keys', null, '{}', 'keys the callers own application made, for repeated requests');

insert into private.erasure_steps (step, phase, erases, statement) values
('freed_usernames', 'records', '{private.freed_usernames.former_owner}',
    'update private.freed_usernames set former_owner = null where former_owner = $1'),
('profile', 'profile', '{public.profiles}', 'delete from public.profiles where id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('profile', 'public.profiles', 't.id = $1', '{}', null),
('freed_usernames', 'private.freed_usernames', 't.former_owner = $1', '{}', null),
('account_changes', 'private.account_changes',
    null, '{user_id}', 'the erasure itself, which removes it with its last step');

insert into private.erasure_steps (step, phase, erases, statement) values
('bans', 'business', '{public.bans}', 'delete from public.bans where user_id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('ban', 'public.bans', 't.user_id = $1', '{}', null),
('banned_addresses', 'private.banned_addresses',
    null, '{user_id}', 'hashes that repeat the ban; keep_ban() takes the account off when it ends');

insert into private.erasure_steps (step, phase, erases, statement) values
('settings', 'details', '{public.profile_settings}', 'delete from public.profile_settings where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('settings', 'public.profile_settings', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('user_categories', 'details', '{public.user_categories}', 'delete from public.user_categories where user_id = $1'),
('user_genres', 'details', '{public.user_genres}', 'delete from public.user_genres where user_id = $1'),
('user_skills', 'details', '{public.user_skills}', 'delete from public.user_skills where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('categories', 'public.user_categories', 't.user_id = $1'),
('genres', 'public.user_genres', 't.user_id = $1'),
('skills', 'public.user_skills', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('artist_profile', 'details', '{public.artist_profiles}', 'delete from public.artist_profiles where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('artist_profile', 'public.artist_profiles', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('custom_fields', 'details', '{public.custom_field_requesters}', 'select private.erase_custom_fields($1)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('custom_fields', 'public.custom_field_requesters', 't.user_id = $1', '{}', null),
('custom_field_requests', 'public.custom_field_requests',
    null, '{field_value, normal_value, field_id, rejection_reason}',
    'words that others ask for, too, or that an admin decided on; it is not noted who asked');

insert into private.erasure_steps (step, phase, erases, statement) values
('location', 'details', '{public.profile_locations}', 'delete from public.profile_locations where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('location', 'public.profile_locations', 't.user_id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('file_erasures', 'private.file_erasures', null, '{user_id}', 'says that files were erased; the id leads nowhere');

insert into private.erasure_steps (step, phase, erases, statement) values
-- What a provider collects has to be ended there first; until then its row keeps the profile.
('subscriptions', 'business', '{public.subscriptions}',
    'delete from public.subscriptions where user_id = $1 and provider is null');

insert into private.personal_data (section, relation, condition) values
('subscriptions', 'public.subscriptions', 't.user_id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('catalog_items', 'public.catalog_items',
    null, '{seller_id, title, slug, thumbnail_url, category, tags, search}',
    'sold: its buyers keep it as they bought it; repeats products and artworks');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('products', 'items', '{}',
    'select private.erase_products($1)', 'select 10 * private.erase_products($1, 1 + $2 / 10)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('products', 'public.products',
    't.seller_id = $1',
    '{seller_id, title, slug, description, source_webinar_id, thumbnail_url, preview_images, preview_audio_url, '
    'preview_video_url, file_types, technical_details, license_text, tags, genre_tags}',
    'sold: its buyers keep it as they bought it'),
('product_approvals', 'public.product_approvals',
    't.product_id in (select p.id from public.products as p where p.seller_id = $1)', '{approval_notes}',
    'what an admin said of something that was sold');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('artworks', 'items', '{}',
    'select private.erase_artworks($1)', 'select 10 * private.erase_artworks($1, 1 + $2 / 10)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('artworks', 'public.artworks',
    't.seller_id = $1',
    '{seller_id, title, slug, description, image_url, thumbnail_url, tags, dimensions, hidden_reason}',
    'sold: its buyers keep it as they bought it');

insert into private.personal_data (section, relation, condition, stays, reason) values
('product_files', 'public.product_files',
    't.item_id in (select c.id from public.catalog_items as c where c.seller_id = $1)',
    '{path, name, content_type, object_version}', 'sold: its buyers keep it as they bought it');

insert into private.personal_data (section, relation, condition) values
('files', 'storage.objects', 't.name like $1::text || ''/%''');

insert into private.erasure_steps (step, phase, erases, statement) values
('cart_items', 'business', '{public.cart_items}', 'delete from public.cart_items where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('cart_items', 'public.cart_items', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('orders', 'business', '{public.orders.shipping_address, public.orders.notes}', $step$
    update public.orders set shipping_address = null, notes = null
    where user_id = $1 and (shipping_address is not null or notes is not null)
$step$);

insert into private.personal_data (section, relation, condition, stays, reason) values
('orders', 'public.orders',
    't.user_id = $1', '{user_id, order_number, status_reason}', 'the books: who paid whom for what'),
('order_items', 'public.order_items',
    't.buyer_id = $1', '{buyer_id, seller_id, title, description, license_text, details, seller_tier}',
    'the books: who paid whom for what');

insert into private.personal_data (section, relation, condition, stays, reason) values
('purchases', 'public.purchases', 't.buyer_id = $1', '{buyer_id}', 'the books: who paid whom for what');

insert into private.erasure_steps (step, phase, erases, statement) values
('paypal_email', 'records', '{public.wallets.paypal_email}', $step$
    update public.wallets set paypal_email = null, paypal_verified = false
    where user_id = $1 and paypal_email is not null
$step$);

insert into private.personal_data (section, relation, condition, stays, reason) values
('wallet', 'public.wallets', 't.user_id = $1', '{user_id, stripe_account_id}', 'the books: who paid whom for what');

insert into private.erasure_steps (step, phase, erases, statement) values
('wallet', 'books', '{public.wallets, ledger.accounts}', 'select private.erase_wallet($1)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('ledger_accounts', 'ledger.accounts', null, '{owner_id}', 'the books: who paid whom for what; the wallet repeats it'),
('journal', 'ledger.journal',
    null, '{source_id, idempotency_key, memo}',
    'the books: who paid whom for what; sales, payouts and refunds repeat it');

insert into private.personal_data (section, relation, condition, stays, reason) values
('payments', 'public.payments',
    't.user_id = $1', '{user_id, provider_ref, charge_id, failure_reason, declined_charges}',
    'the books: who paid whom for what'),
('transactions', 'public.transactions',
    't.buyer_id = $1 or t.seller_id = $1',
    '{buyer_id, seller_id, related_id, seller_tier, payment_method, stripe_payment_intent_id, stripe_charge_id, '
    'paypal_order_id, paypal_transaction_id, metadata}',
    'the books: who paid whom for what'),
('provider_delays', 'private.provider_delays',
    null, '{object_id, reason}', 'why a provider has not answered yet; removed when it has');

insert into private.erasure_steps (step, phase, erases, statement) values
('hold_periods', 'records', '{private.hold_periods}', 'delete from private.hold_periods where user_id = $1'),
('hold_limits', 'records', '{private.hold_limits}', 'delete from private.hold_limits where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('hold_periods', 'private.hold_periods', 't.user_id = $1'),
('hold_limits', 'private.hold_limits', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('payments', 'payments', '{}', $step$
    select private.stop_payment(p.id, 'account_deleted') from public.payments as p
    where p.user_id = $1 and p.is_open
    order by p.id
$step$);

insert into private.personal_data (section, relation, condition, stays, reason) values
('sale_reviews', 'public.sale_reviews',
    null, '{seller_id}', 'part of the books; the transaction says to its seller that it is held');

insert into private.personal_data (section, relation, condition, stays, reason) values
('refunds', 'public.refunds',
    't.payment_id in (select p.id from public.payments as p where p.user_id = $1)',
    '{reason, provider_ref, failure_reason}', 'the books: who paid whom for what');

insert into private.erasure_steps (step, phase, erases, statement) values
('refund_request_reasons', 'records', '{public.refund_requests.reason}',
    'update public.refund_requests set reason = ''erased'' where buyer_id = $1'),
('refund_request_notes', 'records', '{public.refund_requests.note}',
    'update public.refund_requests set note = null where seller_id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('refund_requests', 'public.refund_requests',
    't.buyer_id = $1 or t.seller_id = $1', '{buyer_id, seller_id}', 'the books: who paid whom for what');

insert into private.erasure_steps (step, phase, erases, statement) values
('password_changes', 'records', '{private.password_changes}',
    'delete from private.password_changes where user_id = $1');

insert into private.personal_data (section, relation, condition, stays, reason) values
('payouts', 'public.payouts',
    't.user_id = $1', '{user_id, destination, provider_ref, failure_reason}', 'the books: who paid whom for what'),
('password_changes', 'private.password_changes', null, '{}', 'a moment the owner knows, kept to protect payouts');

insert into private.erasure_steps (step, phase, erases, statement) values
('webhook_events', 'records', '{private.webhook_events.payload}', 'select private.forget_event_persons($1)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('webhook_events', 'private.webhook_events',
    null, '{user_id, provider, event_id, type, last_error}',
    'the provider''s messages about the books, reduced to ids, amounts and states');

insert into private.personal_data (section, relation, condition, stays, reason) values
('book_corrections', 'public.book_corrections',
    null, '{user_id, account, reason, proposed_by, decided_by}', 'the books, and who answers for their correction');

insert into private.personal_data (section, relation, condition) values
('activity', 'private.activity', 't.user_id = $1'),
('lifted_limits', 'private.lifted_limits', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('activity', 'standing', '{private.activity}', 'delete from private.activity where user_id = $1'),
('lifted_limits', 'standing', '{private.lifted_limits}', 'delete from private.lifted_limits where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('blocks', 'public.user_blocks', 't.blocker_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('user_blocks', 'standing', '{public.user_blocks}',
    'delete from public.user_blocks where $1 in (blocker_id, blocked_id)');

insert into private.personal_data (section, relation, condition) values
('follows', 'public.follows', 't.follower_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('follows', 'people', '{public.follows}',
    'select private.erase_follows($1)',
    'select private.erase_rows(''public.follows'', ''t.follower_id = $1 or t.following_id = $1'', $1, $2)');

insert into private.erasure_steps (step, phase, erases, statement) values
('group_gates', 'lock_gates', '{}', 'select private.lock_groups_of($1)'),
('group_members', 'traces', '{public.groups.owner_id, public.group_members, public.group_invitations}',
    'select private.leave_groups($1)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('groups', 'public.groups',
    't.owner_id = $1', '{name, slug, description, avatar_url, banner_url, rules, tags}',
    'the group''s, which goes on with another owner'),
('group_members', 'public.group_members',
    't.user_id = $1 and (t.status = ''active'' or exists (select from public.groups as g where g.id = t.group_id and '
    'g.visibility <> ''secret''))',
    '{}', null),
('group_invitations', 'public.group_invitations', 't.user_id = $1 or t.invited_by = $1', '{}', null);

insert into private.personal_data (section, relation, condition) values
('articles', 'public.articles', 't.author_id = $1'),
('article_likes', 'public.article_likes', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('article_likes', 'reactions', '{public.article_likes}',
    'delete from public.article_likes where user_id = $1',
    'select private.erase_rows(''public.article_likes'', ''user_id = $1'', $1, $2)'),
('articles', 'works', '{public.articles}',
    'delete from public.articles where author_id = $1',
    'select 10 * private.erase_rows(''public.articles'', ''author_id = $1'', $1, 1 + $2 / 10)');

insert into private.personal_data (section, relation, condition) values
('posts', 'public.posts', 't.user_id = $1'),
('post_likes', 'public.post_likes', 't.user_id = $1'),
('post_shares', 'public.post_shares', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('posts_held', 'lock_works', '{}', 'select private.hold_posts_of_account($1)', null),
('post_likes', 'reactions', '{public.post_likes}',
    'delete from public.post_likes where user_id = $1',
    'select private.erase_rows(''public.post_likes'', ''user_id = $1'', $1, $2)'),
('post_shares', 'reactions', '{public.post_shares}',
    'delete from public.post_shares where user_id = $1',
    'select private.erase_rows(''public.post_shares'', ''user_id = $1'', $1, $2)'),
('posts', 'works', '{public.posts}',
    'delete from public.posts where user_id = $1',
    'select 10 * private.erase_rows(''public.posts'', ''user_id = $1'', $1, 1 + $2 / 10)');

insert into private.personal_data (section, relation, condition) values
('poll_options', 'public.poll_options', 't.post_id in (select p.id from public.posts as p where p.user_id = $1)'),
('poll_votes', 'public.poll_votes', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('poll_votes', 'reactions', '{public.poll_votes}',
    'delete from public.poll_votes where user_id = $1',
    'select private.erase_rows(''public.poll_votes'', ''user_id = $1'', $1, $2)');

insert into private.personal_data (section, relation, condition) values
('comments', 'public.comments', 't.user_id = $1'),
('comment_likes', 'public.comment_likes', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('comments_held', 'lock_replies', '{}', 'select private.hold_comments_of_account($1)', null),
('comment_likes', 'reactions', '{public.comment_likes}',
    'delete from public.comment_likes where user_id = $1',
    'select private.erase_rows(''public.comment_likes'', ''user_id = $1'', $1, $2)'),
('comments', 'replies', '{public.comments}',
    'delete from public.comments where user_id = $1',
    'select 5 * private.erase_rows(''public.comments'', ''user_id = $1'', $1, 1 + $2 / 5)');

insert into private.personal_data (section, relation, condition) values
('favorites', 'public.favorites', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('favorites', 'reactions', '{public.favorites}',
    'delete from public.favorites where user_id = $1',
    'select private.erase_rows(''public.favorites'', ''user_id = $1'', $1, $2)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('conversation_heads', 'public.conversations',
    null, '{low_id, high_id, group_name, group_avatar_url}',
    'the conversation''s, which the others keep; conversations and inbox hand out one''s own part');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('conversation_locks', 'lock_conversations', '{}', 'select private.lock_written_conversations($1)', null),
('messages', 'reactions',
    '{public.messages.sender_id, public.messages.content, public.messages.attachments, public.message_deletions, '
    'public.conversation_participants, private.chat_departures, public.conversations.created_by}',
    'select private.erase_messages($1)', 'select private.erase_some_messages($1, $2)');

insert into private.personal_data (section, relation, condition) values
('conversations', 'public.conversation_participants', 't.user_id = $1'),
-- The beginning of what others write: no longer for who is banned.
('inbox', 'public.inbox_entries', 't.user_id = $1 and private.member_id() is not null'),
('messages', 'public.messages', 't.sender_id = $1'),
('left_chats', 'private.chat_departures', 't.user_id = $1'),
('message_deletions', 'public.message_deletions', 't.user_id = $1');

insert into private.personal_data (section, relation, condition) values
('notifications', 'public.notifications', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('notifications', 'notices', '{public.notifications}', $step$
    select private.delete_notifications(array(
        select n.id from public.notifications as n where n.user_id = $1 or n.actor_id = $1
    ))
$step$, 'select private.erase_rows(''public.notifications'', ''t.user_id = $1 or t.actor_id = $1'', $1, $2)');

insert into private.personal_data (section, relation, condition) values
('told_mentions', 'private.told_mentions', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('told_mentions', 'traces', '{private.told_mentions}', 'delete from private.told_mentions where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('mails', 'private.mails', 't.user_id = $1'),
('mail_bounces', 'public.mail_bounces', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('mails', 'notices', '{private.mails}',
    'delete from private.mails where user_id = $1',
    'select private.erase_rows(''private.mails'', ''user_id = $1'', $1, $2)'),
('mail_bounces', 'standing', '{public.mail_bounces}', 'delete from public.mail_bounces where user_id = $1', null);

insert into private.personal_data (section, relation, condition, stays, reason) values
('tag_uses', 'private.tag_uses', 't.user_id = $1', '{}', null),
('tag_changes', 'private.tag_changes', null, '{user_id, added, removed}', 'noted and removed within a transaction');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('tag_uses', 'traces', '{private.tag_uses}',
    'delete from private.tag_uses where user_id = $1',
    'select private.erase_rows(''private.tag_uses'', ''user_id = $1'', $1, $2)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('audit_log', 'public.audit_log',
    null, '{actor_id, actor_label, action, target_type, target_id, details}',
    'what admins did and why, which nobody may change');

insert into private.personal_data (section, relation, condition, stays, reason) values
('reports', 'public.reports',
    't.reporter_id = $1', '{target_id, resolution_note}',
    'what was reported and decided, without whoever reported it'),
('report_evidence', 'public.report_evidence',
    null, '{}', 'copies for a report; the content itself is handed out, the reporter is not'),
('report_abuse', 'public.report_abuse_tracking', 't.user_id = $1', '{}', null);

insert into private.erasure_steps (step, phase, erases, statement) values
('reports', 'standing',
    '{public.reports.reporter_id, public.reports.details, public.report_evidence, public.report_abuse_tracking}',
    'select private.erase_reports($1)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('hidden_content', 'public.hidden_content',
    null, '{target_id, reason}', 'what moderators decided and why; the id of erased content leads nowhere');

-- What earlier erasures left: requests nobody asks for any more, and payout addresses of accounts that are gone.
delete from public.custom_field_requests as q
where q.status = 'pending'
    and not exists (select from public.custom_field_requesters as r where r.request_id = q.id);
update public.wallets as w set paypal_email = null, paypal_verified = false
where w.paypal_email is not null
    and exists (select from public.profiles as p where p.id = w.user_id and p.deleted_at is not null);

-- Comments -----------------------------------------------------------------------------------------------------------

comment on column private.erasure_steps.erases is 'What nothing of the person is left in: relations whose rows go (schema.relation), columns that are emptied or lose the person (schema.relation.column). Empty for steps that only lock, or that keep some rows as they are.';

comment on column private.erasure_steps.phase is 'When it runs.';

comment on column private.personal_data.condition is 'SQL condition on its rows t; $1 is the user''s id. Null for what is not handed out.';

comment on column private.personal_data.reason is 'Why they stay; or why it is not handed out, where nothing stays.';

comment on column private.personal_data.stays is 'Columns that still say something about a person after the erasure. A new column is not among them until somebody thought about it.';

comment on column private.settings.earnings_hold is 'How long earnings stay pending after completion.';

comment on column private.settings.minimum_payout_cents is 'Smallest payout a seller may request, cents.';

comment on column public.payments.is_open is 'Whether money may still arrive.';

comment on column public.payouts.is_open is 'Whether the money is still on its way.';

comment on column public.refunds.is_open is 'Whether it may still succeed or fail.';

comment on column public.transactions.payment_method is 'card, paypal or wallet_balance.';

comment on function private.erase_custom_fields(uuid) is 'Step of erase_rest(): nobody asks any more for what only this account asked for, and what others ask for is spelled their way.';

comment on function private.erase_wallet(uuid) is 'Step of erase_rest(): a wallet and its accounts that nothing was ever booked on; else it fails, and the profile stays.';

comment on function private.processing_fee(public.payment_provider, bigint, text) is 'Estimated provider fee of a charge in cents; every fee is the seller''s.';

comment on table private.erasure_steps is 'What the end of an account erases: each page that holds personal data adds its steps.';

comment on table private.personal_data is 'Relations that hold something of a person: what export_my_data() hands out, and what stays when the account ends. Each page adds its rows.';

comment on table public.payouts is 'Withdrawals of sellers. Owner and admins read; RPCs and workers write.';

comment on table public.transactions is 'One row per seller and item of a settled payment: who got what of it. Buyer, seller and admins read.';

comment on type private.erasure_phase is 'When a step of an erasure runs, ascending; the page says what each may assume.';

comment on type public.user_role is 'Ascending: author writes articles, admin moderates, super_admin also appoints.';

revoke all on function private.erase_custom_fields(uuid) from public;

revoke all on function private.erase_wallet(uuid) from public;
