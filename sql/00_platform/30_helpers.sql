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

create function private.slugify(value text) returns text
language sql
stable
set search_path = ''
as $$
    select trim(both '-' from regexp_replace(
        lower(extensions.unaccent('extensions.unaccent'::regdictionary, coalesce(value, ''))),
        '[^a-z0-9]+', '-', 'g'
    ))
$$;

comment on function private.slugify(text) is
'Lower-case ASCII words joined by hyphens; may be empty when nothing survives (emoji only).';
grant execute on function private.slugify(text) to authenticated;

-- SQL starts work by deferring a job in its own transaction: the job exists exactly when the change does.
-- A job is a hint, the row is the truth: every task can also be found by a sweeper, so a queue that is not
-- installed yet delays work but loses none, and must not fail a sign-up or a deletion.
create function private.enqueue(
    task text, args jsonb, run_at timestamptz default null, lock_key text default null
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
        row('default', task, 0, lock_key, null, args, run_at)::jobs.procrastinate_job_to_defer_v1
    ]);
end
$$;

comment on function private.enqueue(text, jsonb, timestamptz, text) is
'Defers a job for the Python workers inside the current transaction. lock_key serialises jobs on one object.';

-- Tunables of the platform, one typed row: data a DBA can read and change, not constants in code.
create table private.settings (
    singleton boolean not null default true,
    minimum_price_cents bigint not null default 50,
    maximum_amount_cents bigint not null default 99999999,
    minimum_payout_cents bigint not null default 5000,
    payout_approval_above_cents bigint not null default 100000,
    earnings_hold interval not null default '7 days',
    reservation_period interval not null default '15 minutes',
    payment_period interval not null default '24 hours',
    reconcile_after interval not null default '1 hour',
    destination_hold interval not null default '72 hours',
    fresh_login_period interval not null default '15 minutes',
    event_attempts integer not null default 8,
    trending_half_life interval not null default '2 days',
    constraint settings_pkey primary key (singleton),
    constraint settings_singleton_check check (singleton)
);

comment on table private.settings is 'The platform''s tunables; exactly one row.';
comment on column private.settings.singleton is 'Always true: keeps the table at one row.';
comment on column private.settings.minimum_price_cents is 'Lowest paid price (docs: money). Free is 0.';
comment on column private.settings.maximum_amount_cents is 'Largest charge: the providers'' eight digits.';
comment on column private.settings.minimum_payout_cents is 'Smallest payout a seller may request (PA: $50).';
comment on column private.settings.payout_approval_above_cents is
'Payouts above this wait for an admin; up to it they are approved on request.';
comment on column private.settings.earnings_hold is 'How long earnings stay pending after completion (PA: 7 days).';
comment on column private.settings.reservation_period is
'How long a one-of-a-kind item is held for a buyer at checkout.';
comment on column private.settings.payment_period is 'How long an order without reserved items waits for payment.';
comment on column private.settings.reconcile_after is
'Age at which an open payment attempt is asked about at the provider.';
comment on column private.settings.destination_hold is
'How long payouts wait after the payout destination was changed.';
comment on column private.settings.fresh_login_period is
'How recent the sign-in must be to change a payout destination.';
comment on column private.settings.event_attempts is 'Tries of one webhook event before it is dead-lettered.';
comment on column private.settings.trending_half_life is 'Time after which the use of a tag weighs half as much.';

alter table private.settings enable row level security;

insert into private.settings (singleton) values (true) on conflict do nothing;

insert into private.error_codes (code, sqlstate, message, description) values
('append_only', 'PT403', 'These records are never changed.',
'Books and logs are append-only. A mistake is corrected by a new entry, see the runbook.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
