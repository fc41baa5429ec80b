-- Small functions every domain uses.

create function private.touch_updated_at() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := now();
    return new;
end
$$;

comment on function private.touch_updated_at() is 'Trigger: keeps updated_at; the one way a row''s change is dated.';

create function private.refuse_change() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform private.fail('append_only', tg_table_schema || '.' || tg_table_name);
    return null;
end
$$;

comment on function private.refuse_change() is
'Trigger: append-only tables refuse UPDATE, DELETE and TRUNCATE, for any role.';

-- Likes, follows and the like are nothing but their key. What clients call an upsert sets the key it just met again, so
-- it needs the right to update those columns; this keeps the right from being one.
create function private.keep_row() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    return old;
end
$$;
comment on function private.keep_row() is
'Trigger: an update changes nothing, so that an upsert of a row that is there already succeeds.';

create function private.free_slug(wanted text, title text, relation regclass, id uuid) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    base text := coalesce(
        nullif(lower(btrim(wanted)), ''), nullif(btrim(left(private.slugify(title), 80), '-'), ''), 'item'
    );
    stem text := btrim(left(base, 89), '-');
    candidate text := base;
    is_taken boolean;
begin
    -- Two rows that arrive together with one title do not see each other. Whoever finds the turn of their title taken
    -- gets an ending at once: nobody waits for a stranger's transaction, and there are 64 turns, because the lock table
    -- is shared and small. The unique index has the last word.
    if not pg_try_advisory_xact_lock(hashtext('avenue:slugs'), hashtext(relation::text || ':' || base) & 63) then
        candidate := stem || '-' || left(replace(id::text, '-', ''), 10);
    end if;
    for attempt in 1..3 loop
        -- A hidden row's address is as taken as a visible one's, and neither is refused: a refusal would tell of it.
        execute format('select exists (select from %s as t where t.slug = $1 and t.id <> $2)', relation)
        into is_taken using candidate, id;
        exit when not is_taken;
        candidate := stem || '-'
        || left(replace(case when attempt = 1 then id else gen_random_uuid() end::text, '-', ''), 10);
    end loop;
    return candidate;
end
$$;

comment on function private.free_slug(text, text, regclass, uuid) is
'The address of a new or renamed row: the wanted one, else made from its title; with an ending when another row of the '
'relation has it.';

-- One function for what clients send as jsonb: a misspelt key that is ignored buys at another price.
create function private.require_keys(value jsonb, allowed text[], code text) returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    foreign_keys text;
begin
    if jsonb_typeof(value) <> 'object' then
        perform private.fail(code, 'not an object');
    end if;
    if value - allowed <> '{}' then
        select string_agg(k.key, ', ' order by k.key) into foreign_keys
        from jsonb_object_keys(value) as k (key)
        where k.key <> all (allowed);
        perform private.fail(
            code, format('unknown: %s; known: %s', left(foreign_keys, 200), array_to_string(allowed, ', '))
        );
    end if;
end
$$;

comment on function private.require_keys(jsonb, text[], text) is
'Fails with the given code unless the value is an object with these keys only; the detail names the others. SQL null '
'passes.';
grant execute on function private.require_keys(jsonb, text[], text) to authenticated;

-- SQL starts work by deferring a job in its own transaction: the job exists exactly when the change does.
-- A job is a hint, the row is the truth: every task can also be found by a sweeper, so a queue that is not
-- installed yet delays work but loses none, and must not fail a sign-up or a deletion.
create function private.enqueue(
    task text, args jsonb, run_at timestamptz default null, lock_key text default null, queue text default 'default'
) returns void
language plpgsql
security definer
set search_path = jobs
as $$
begin
    if to_regtype('jobs.procrastinate_job_to_defer_v1') is null then
        raise warning 'job % not queued: run `avenue jobs install`', task;
        return;
    end if;
    perform jobs.procrastinate_defer_jobs_v1(array[
        row(queue, task, 0, lock_key, null, args, run_at)::jobs.procrastinate_job_to_defer_v1
    ]);
end
$$;

comment on function private.enqueue(text, jsonb, timestamptz, text, text) is
'Defers a job for the Python workers inside the current transaction. lock_key serialises jobs on one object; what '
'waits for pictures or their provider goes to the queue slow, so that money never waits for it.';

-- Tunables of the platform, one typed row: data a DBA can read and change, not constants in code.
create table private.settings (
    singleton boolean not null default true,
    minimum_payout_cents bigint not null default 5000,
    payout_approval_above_cents bigint not null default 100000,
    earnings_hold interval not null default '168 hours',
    reservation_period interval not null default '15 minutes',
    payment_period interval not null default '24 hours',
    reconcile_after interval not null default '1 hour',
    destination_hold interval not null default '72 hours',
    fresh_login_period interval not null default '15 minutes',
    event_attempts integer not null default 8,
    trending_half_life interval not null default '2 days',
    hold_pause interval not null default '1 hour',
    holds_per_account integer not null default 5,
    payout_daily_cents bigint not null default 100000,
    password_proof_after interval not null default '24 hours',
    event_personal_period interval not null default '30 days',
    seller_debt_cents bigint not null default 20000,
    review_sale_above_cents bigint not null default 100000,
    new_seller_period interval not null default '30 days',
    refund_answer_period interval not null default '168 hours',
    stuck_money_after interval not null default '3 days',
    username_hold interval not null default '90 days',
    custom_field_account_age interval not null default '7 days',
    fresh_account_period interval not null default '7 days',
    request_messages integer not null default 3,
    constraint settings_pkey primary key (singleton),
    constraint settings_singleton_check check (singleton)
);

comment on table private.settings is 'The platform''s tunables; exactly one row.';
comment on column private.settings.singleton is 'Always true: keeps the table at one row.';
comment on column private.settings.minimum_payout_cents is 'Smallest payout a seller may request, cents.';
comment on column private.settings.payout_approval_above_cents is
'Payouts above this wait for an admin; up to it they are approved on request.';
comment on column private.settings.earnings_hold is 'How long earnings stay pending after completion.';
comment on column private.settings.reservation_period is
'How long a one-of-a-kind item is held for a buyer at checkout.';
comment on column private.settings.payment_period is 'How long an order without reserved items waits for payment.';
comment on column private.settings.reconcile_after is
'Age at which an open payment attempt is asked about at the provider.';
comment on column private.settings.destination_hold is
'How long payouts wait after the payout destination was changed.';
comment on column private.settings.fresh_login_period is
'How recent the sign-in must be to open or change a payout destination.';
comment on column private.settings.event_attempts is 'Tries of one webhook event before it is dead-lettered.';
comment on column private.settings.trending_half_life is 'Time after which the use of a tag weighs half as much.';
comment on column private.settings.payout_daily_cents is
'Payouts of one wallet within 24 hours that are approved on request, together, cents; what exceeds it waits for an '
'admin.';
comment on column private.settings.password_proof_after is
'Age a password must have before signing in with it proves who somebody is: a session can set a new one.';
comment on column private.settings.event_personal_period is
'How long the payload of a provider''s event keeps what it says about persons.';

comment on column private.settings.hold_pause is
'How long a buyer who let the hold of a one-of-a-kind item run out waits before holding it again.';
comment on column private.settings.holds_per_account is
'How many one-of-a-kind items an account may hold at once; set_hold_limit() changes it for one account.';
comment on column private.settings.seller_debt_cents is
'How far into debt a seller''s own refunds may go, cents, existing debt and refunds under way included. More needs an '
'admin.';
comment on column private.settings.review_sale_above_cents is
'Sales of new sellers above this are held until an admin has looked, cents.';
comment on column private.settings.new_seller_period is
'How long after the first sale that was not refunded a seller counts as new.';
comment on column private.settings.refund_answer_period is 'How long a seller has to answer a refund request.';
comment on column private.settings.stuck_money_after is
'Age at which money on its way (a refund, a payout, a held sale) is reported as stuck.';
comment on column private.settings.username_hold is
'How long a username that was given up is kept for its former owner.';
comment on column private.settings.custom_field_account_age is
'Age from which a confirmed account counts when members make a skill or a genre by asking for it.';
comment on column private.settings.fresh_account_period is
'How long after sign-up the lower limits of private.activity_limits hold.';
comment on column private.settings.request_messages is
'How many messages somebody may send to a stranger who has not accepted the request yet.';

alter table private.settings enable row level security;

insert into private.settings (singleton) values (true);

-- A request of the API may hold a row or a lock for seconds, by a slow filter or embed, perhaps on purpose. Whoever
-- bans, takes down, blocks or leaves does not wait for that: what such a request has held for longer than an honest one
-- takes is ended. The workers' is waited for.
create function private.end_requests(pids integer[]) returns void
language sql
volatile
security definer
set search_path = ''
as $$
    select pg_cancel_backend(a.pid) from pg_catalog.pg_stat_activity as a
    where
        a.pid = any(pids) and a.pid <> pg_backend_pid()
        and a.usename = 'authenticator' and a.datname = current_database()
        -- Null where statistics of other roles are hidden.
        and coalesce(a.xact_start < clock_timestamp() - interval '1 second', true)
$$;
comment on function private.end_requests(integer[]) is
'Cancels what the API''s connections among these processes have been doing for more than a second.';

create function private.transactions_of(holder xid) returns xid[]
language plpgsql
stable
set search_path = ''
as $$
begin
    -- A row that several hold names them together. Nothing says which of the two a number is; ended ones hold nothing.
    return holder || array(select m.xid from pg_catalog.pg_get_multixact_members(holder) as m);
exception when others then
    return array[holder];
end
$$;
comment on function private.transactions_of(xid) is 'The transactions that a row''s xmax stands for.';

create function private.hold_rows(
    relation regclass, condition text, one uuid, other uuid default null, strength text default 'no key update'
) returns void
language plpgsql
security definer
set search_path = ''
set lock_timeout = '300ms'
as $$
declare
    lock_them text := format('select from %s as t where %s order by t.ctid for %s', relation, condition, strength);
begin
    for attempt in 1..10 loop
        begin
            execute lock_them using one, other;
            return;
        exception when lock_not_available then
            execute format(
                'select private.end_requests(array(select l.pid from %s as t '
                'inner join pg_catalog.pg_locks as l on l.transactionid = any (private.transactions_of(t.xmax)) '
                'where (%s) and l.locktype = ''transactionid'' and l.granted))',
                relation, condition
            ) using one, other;
        end;
    end loop;
    execute lock_them using one, other;
end
$$;
comment on function private.hold_rows(regclass, text, uuid, uuid, text) is
'Locks the rows t that meet a condition, in which $1 and $2 are the ids given, with the strength given. A request that '
'holds them and does not come to an end is cancelled, unless it changed them in a block with an exception handler, '
'which hides whose they are. Fails (55P03) when they stay held.';

create function private.key_holders(key bigint) returns table (pid integer, virtualtransaction text)
language sql
stable
set search_path = ''
as $$
    select l.pid, l.virtualtransaction from pg_catalog.pg_locks as l
    where
        l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.classid = ((key >> 32) & 4294967295)::oid and l.objid = (key & 4294967295)::oid
$$;
comment on function private.key_holders(bigint) is 'Who has an advisory lock.';

create function private.hold_key(key bigint) returns void
language plpgsql
security definer
set search_path = ''
set lock_timeout = '300ms'
as $$
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
$$;
comment on function private.hold_key(bigint) is
'Takes an advisory lock exclusively, until the transaction ends: a request that holds it and does not come to an end '
'is cancelled. Fails (55P03) when it stays held.';

-- What many want at once has its turns: a coupon's uses, an item's stock, somebody's hours. A row says who holds it
-- only where no exception handler was about; an advisory lock always does.
create function private.take_turn(key bigint) returns void
language plpgsql
set search_path = ''
set lock_timeout = '600ms'
as $$
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
$$;
comment on function private.take_turn(bigint) is
'Takes an advisory lock until the transaction ends, one after the other: a request of the API that has it and does not '
'come to an end, by a slow filter on its answer, is cancelled. Fails (55P03) when it stays held.';

insert into private.error_codes (code, sqlstate, message, description) values
('append_only', 'PT403', 'These records are never changed.',
'Books and logs are append-only. A mistake is corrected by a new entry, see the runbook.');
