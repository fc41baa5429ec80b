-- Paying sellers out. The intent is committed before the provider is called and carries the payout id as
-- idempotency key, so a crash at any point ends in exactly one transfer.

create type public.payout_status as enum (
    'requested', 'approved', 'processing', 'completed', 'failed', 'cancelled', 'returned'
);
comment on type public.payout_status is
'requested waits for an admin; approved for a worker; processing is at the provider; completed may still be returned.';

create table public.payouts (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    amount_cents bigint not null,
    currency character(3) not null default 'USD',
    payout_method public.payment_provider not null default 'stripe',
    destination text not null,
    provider_ref text,
    status public.payout_status not null default 'requested',
    is_open boolean not null generated always as (status in ('requested', 'approved', 'processing')) stored,
    requested_at timestamptz not null default now(),
    approved_at timestamptz,
    processing_at timestamptz,
    completed_at timestamptz,
    failed_at timestamptz,
    failure_reason text,
    returned_cents bigint not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payouts_pkey primary key (id),
    constraint payouts_provider_ref_key unique (provider_ref, payout_method),
    constraint payouts_user_id_fkey foreign key (user_id) references public.wallets (user_id),
    constraint payouts_amount_check check (amount_cents between 1 and private.highest_amount_cents()),
    constraint payouts_returned_check check (returned_cents between 0 and amount_cents),
    constraint payouts_method_check check (payout_method <> 'wallet')
);

-- At most one open payout per wallet: thirty requests at once make one row.
create unique index payouts_one_open_idx on public.payouts (user_id)
where is_open;
create index payouts_user_id_requested_at_idx on public.payouts (user_id, requested_at desc);
create index payouts_open_idx on public.payouts (status, updated_at)
where is_open;

comment on table public.payouts is 'Withdrawals of sellers. Owner and admins read; RPCs and workers write.';
comment on column public.payouts.amount_cents is 'Cents; frozen in payouts_in_transit while open.';
comment on column public.payouts.payout_method is 'Provider that pays.';
comment on column public.payouts.destination is
'Stripe account as it was at the request: a later change cannot redirect it.';
comment on column public.payouts.provider_ref is 'Stripe transfer.';
comment on column public.payouts.is_open is 'Whether the money is still on its way.';
comment on column public.payouts.status is
'State. Swept by payouts_to_resume() while open, by the provider''s events afterwards.';
comment on column public.payouts.approved_at is
'When it was approved, at once below the limit; audit_log names who did it above.';
comment on column public.payouts.processing_at is 'When a worker first committed the intent to pay.';
comment on column public.payouts.completed_at is 'When the provider confirmed.';
comment on column public.payouts.failed_at is 'When it failed, was cancelled or came back.';
comment on column public.payouts.failure_reason is
'Why, as a stable word or the provider''s. failed is for the seller''s reasons only: what is ours and passes is '
'retried.';
comment on column public.payouts.returned_cents is
'What the provider took back of a completed one, cents: all of it when returned.';

create trigger touch_updated_at before update on public.payouts
for each row execute function private.touch_updated_at();

create function private.count_withdrawals() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    change bigint := (new.amount_cents - new.returned_cents) * (new.status = 'completed')::integer
    - (old.amount_cents - old.returned_cents) * (old.status = 'completed')::integer;
begin
    update public.wallets as w set
        total_withdrawn_stripe_cents = w.total_withdrawn_stripe_cents
        + case when new.payout_method = 'stripe' then change else 0 end,
        total_withdrawn_paypal_cents = w.total_withdrawn_paypal_cents
        + case when new.payout_method = 'paypal' then change else 0 end
    where w.user_id = new.user_id and change <> 0;
    return null;
end
$$;

comment on function private.count_withdrawals() is 'Trigger: wallets.total_withdrawn_*.';

create trigger count_withdrawals after update of status, returned_cents on public.payouts
for each row execute function private.count_withdrawals();
create trigger forget_delay after update of status on public.payouts
for each row when (old.status is distinct from new.status) execute function private.forget_delay();

alter table public.payouts enable row level security;
grant select on public.payouts to authenticated, service_role;
create policy payouts_select on public.payouts for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

create function public.request_payout(amount_cents bigint, idempotency_key text default null) returns public.payouts
language plpgsql
security definer
set search_path = ''
as $$
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
        or request_payout.amount_cents > private.highest_amount_cents() then
        perform private.fail('payout_amount_invalid', format(
            'between %s and %s cents', limits.minimum_payout_cents, private.highest_amount_cents()
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
            and (p.is_open or p.status = 'completed')
    ) <= limits.payout_daily_cents then
        payout := private.set_payout_approved(payout.id);
    end if;
    perform private.answer_request(member, 'request_payout', request_payout.idempotency_key, to_jsonb(payout.id));
    return payout;
end
$$;

comment on function public.request_payout(bigint, text) is
'Asks for a payout of available money, in cents. Approved at once up to the limits in settings, for one and for 24 '
'hours; above them an admin approves. The same idempotency_key and request return the first payout. Errors: '
'payout_amount_invalid, payouts_not_enabled, payouts_held, payout_open, insufficient_funds, idempotency_key_invalid, '
'idempotency_key_reused.';
grant execute on function public.request_payout(bigint, text) to authenticated;

create function private.set_payout_approved(payout_id uuid) returns public.payouts
language plpgsql
set search_path = ''
as $$
declare
    payout public.payouts;
begin
    update public.payouts as p set
        status = 'approved', approved_at = now()
    where p.id = payout_id and p.status = 'requested'
    returning * into payout;
    if payout.id is null then
        perform private.fail('payout_not_open');
    end if;
    perform private.enqueue('send_payout', jsonb_build_object('payout_id', payout_id), null, 'payout:' || payout_id);
    return payout;
end
$$;

comment on function private.set_payout_approved(uuid) is 'requested → approved, and tells a worker.';

create function private.approve_payout(payout_id uuid, approved_by text) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts := private.set_payout_approved(payout_id);
begin
    perform private.audit('approve_payout', 'payout', payout_id, '{}', approve_payout.approved_by);
    return payout.status;
end
$$;

comment on function private.approve_payout(uuid, text) is
'Operator''s approval, under the operator''s name. Error: payout_not_open.';
grant execute on function private.approve_payout(uuid, text) to avenue_worker;

create function public.approve_payout(payout_id uuid) returns public.payouts
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    payout public.payouts;
begin
    if exists (select from public.payouts as p where p.id = payout_id and p.user_id = admin) then
        perform private.fail('own_payout');
    end if;
    payout := private.set_payout_approved(payout_id);
    perform private.audit('approve_payout', 'payout', payout_id);
    return payout;
end
$$;

comment on function public.approve_payout(uuid) is
'Admin: approves a payout above the limit, not one''s own. Errors: admin_only, own_payout, payout_not_open.';
grant execute on function public.approve_payout(uuid) to authenticated;

-- Gives a payout's money back, debts first.
create function private.end_payout(
    payout_id uuid, status public.payout_status, reason text, total_cents bigint default null
) returns public.payouts
language plpgsql
set search_path = ''
as $$
declare
    payout public.payouts;
    change bigint;
begin
    select * into strict payout from public.payouts as p where p.id = payout_id for no key update;
    change := coalesce(total_cents, payout.amount_cents) - payout.returned_cents;
    perform ledger.post(
        case end_payout.status when 'returned' then 'payout_returned' else 'payout_failed' end::ledger.journal_kind,
        'payout_' || end_payout.status || ':' || payout.id || coalesce(':' || nullif(total_cents, payout.amount_cents), ''),
        case
            when end_payout.status = 'returned' then ledger.leg(null, 'clearing:' || payout.payout_method, -change)
            else ledger.leg(null, 'payouts_in_transit', -change)
        end || private.credit_legs(payout.user_id, change),
        payout.id, payout.currency
    );
    update public.payouts as p set
        status = case
            when total_cents < payout.amount_cents then p.status else end_payout.status
        end,
        failed_at = now(), failure_reason = reason,
        returned_cents = case when end_payout.status = 'returned' then p.returned_cents + change else p.returned_cents end
    where p.id = payout_id
    returning * into payout;
    return payout;
end
$$;

comment on function private.end_payout(uuid, public.payout_status, text, bigint) is
'Gives a payout''s money back to the wallet, debts first: failed and cancelled from transit, returned from the '
'provider. A transfer taken back in part stays completed; total_cents is all that came back so far.';

create function public.cancel_payout(payout_id uuid) returns public.payouts
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    payout public.payouts;
begin
    select * into payout from public.payouts as p
    where p.id = payout_id and (p.user_id = member or private.is_admin())
    for no key update;
    if payout.id is null or payout.status not in ('requested', 'approved') then
        perform private.fail('payout_not_open');
    end if;
    if payout.user_id <> member then
        perform private.audit('cancel_payout', 'payout', payout_id);
    end if;
    return private.end_payout(payout_id, 'cancelled', case when payout.user_id = member then 'by_seller' else 'by_admin' end);
end
$$;

comment on function public.cancel_payout(uuid) is
'Seller or admin: cancels a payout no worker has started. Error: payout_not_open.';
grant execute on function public.cancel_payout(uuid) to authenticated;

create function private.claim_payout(payout_id uuid) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
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
$$;

comment on function private.claim_payout(uuid) is
'Commits the intent to pay and says what to send; again for one already processing. The idempotency key is the payout '
'id unless it says another. Null: nothing to send now.';
grant execute on function private.claim_payout(uuid) to avenue_worker;

create function private.complete_payout(payout_id uuid, provider_ref text, amount_cents bigint) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts;
begin
    select * into payout from public.payouts as p where p.id = complete_payout.payout_id for no key update;
    if payout.id is null then
        perform private.fail('event_rejected', 'transfer for an unknown payout');
    end if;
    if payout.amount_cents is distinct from complete_payout.amount_cents then
        perform private.fail('event_rejected', format(
            'payout %s is %s cents, the transfer %s', payout.id, payout.amount_cents, complete_payout.amount_cents
        ));
    end if;
    if payout.provider_ref <> complete_payout.provider_ref then
        perform private.fail('event_rejected', format(
            'payout %s was paid by %s, now reported by %s', payout.id, payout.provider_ref, complete_payout.provider_ref
        ));
    end if;
    if payout.status in ('completed', 'returned') then
        return;
    end if;
    -- Paid after failed or cancelled revives nothing (sharp case 15): money left that should not have. People look.
    if payout.status <> 'processing' then
        perform private.fail('event_rejected', format('payout %s is %s but was paid', payout.id, payout.status));
    end if;
    perform ledger.post(
        'payout_completed', 'payout_completed:' || payout.id,
        array[
            ledger.leg(null, 'payouts_in_transit', -payout.amount_cents),
            ledger.leg(null, 'clearing:' || payout.payout_method, payout.amount_cents)
        ],
        payout.id, payout.currency
    );
    update public.payouts as p set
        status = 'completed', completed_at = now(), provider_ref = complete_payout.provider_ref
    where p.id = payout.id;
end
$$;

comment on function private.complete_payout(uuid, text, bigint) is
'The provider confirmed the transfer; repeated reports change nothing. Error: event_rejected on any contradiction.';
grant execute on function private.complete_payout(uuid, text, bigint) to avenue_worker;

create function private.fail_payout(payout_id uuid, reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts;
begin
    select * into strict payout from public.payouts as p where p.id = fail_payout.payout_id for no key update;
    if payout.status = 'processing' then
        perform private.end_payout(payout.id, 'failed', reason);
    elsif payout.status = 'completed' then
        -- Failed after completed is a return (sharp case 15).
        perform private.end_payout(payout.id, 'returned', reason);
    end if;
end
$$;

comment on function private.fail_payout(uuid, text) is
'The provider refused for good (money back to available), or took a completed transfer back (returned).';
grant execute on function private.fail_payout(uuid, text) to avenue_worker;

create function private.return_payout(payout_id uuid, total_cents bigint) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts;
begin
    select * into strict payout from public.payouts as p where p.id = return_payout.payout_id for no key update;
    if total_cents is null or total_cents not between 1 and payout.amount_cents then
        perform private.fail('event_rejected', format(
            'payout %s is %s cents, taken back are %s', payout.id, payout.amount_cents, total_cents
        ));
    end if;
    if payout.status = 'completed' and total_cents > payout.returned_cents then
        perform private.end_payout(payout.id, 'returned', 'transfer_reversed', total_cents);
    end if;
end
$$;

comment on function private.return_payout(uuid, bigint) is
'The provider took a completed transfer back, up to total_cents of it so far; in any order and any number of times.';

create function private.payouts_to_resume(stuck_seconds integer, max_rows integer) returns table (payout_id uuid)
language sql
security definer
set search_path = ''
as $$
    -- The change of updated_at is the mark.
    update public.payouts as p set updated_at = now()
    where p.id in (
        select o.id from public.payouts as o
        where
            o.status in ('approved', 'processing')
            and o.updated_at <= now() - make_interval(secs => stuck_seconds)
            and not exists (
                select from private.provider_delays as d where d.object_id = o.id and d.retry_at > now()
            )
        order by o.updated_at
        limit max_rows
        for no key update skip locked
    )
    returning p.id
$$;

comment on function private.payouts_to_resume(integer, integer) is
'Payouts approved or processing and not taken up for stuck_seconds: their job was lost, or they were on hold or '
'delayed.';
grant execute on function private.payouts_to_resume(integer, integer) to avenue_worker;

create function private.list_payouts(status text default null, max_rows integer default 50)
returns table (
    id uuid, username text, amount_cents bigint, currency text, method text, status text,
    requested_at timestamptz, provider_ref text, failure_reason text
)
language sql
stable
security definer
set search_path = ''
as $$
    select
        p.id, f.username::text, p.amount_cents, p.currency::text, p.payout_method::text, p.status::text,
        p.requested_at, p.provider_ref, coalesce(p.failure_reason, 'delayed: ' || d.reason)
    from public.payouts as p
    inner join public.profiles as f on f.id = p.user_id
    left join private.provider_delays as d on d.object_id = p.id
    where list_payouts.status is null or p.status::text = list_payouts.status
    order by p.requested_at desc
    limit max_rows
$$;

comment on function private.list_payouts(text, integer) is 'Payouts for operators, newest first.';
grant execute on function private.list_payouts(text, integer) to avenue_worker;

-- Where payouts go.

-- When passwords were changed: whoever finds an open session can set a new one, sign in with it, and looks fresh.
create table private.password_changes (
    user_id uuid not null,
    changed_at timestamptz not null,
    constraint password_changes_pkey primary key (user_id, changed_at)
);

comment on table private.password_changes is
'Recent changes of passwords. No foreign key: Auth deletes its users, the erasure these rows.';
alter table private.password_changes enable row level security;

create function private.note_password_change() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from private.password_changes as c
    where c.user_id = new.id and c.changed_at < now() - 2 * (select s.password_proof_after from private.settings as s);
    insert into private.password_changes (user_id, changed_at) values (new.id, clock_timestamp()) on conflict do nothing;
    return null;
end
$$;

comment on function private.note_password_change() is 'Trigger on auth.users: dates a new password.';

create trigger avenue_password_change after update of encrypted_password on auth.users
for each row
when (old.encrypted_password is distinct from new.encrypted_password)
execute function private.note_password_change();

insert into private.erasure_steps (step, phase, erases, statement) values
('password_changes', 'records', '{private.password_changes}',
    'delete from private.password_changes where user_id = $1');

-- A second factor can be set up from an open session as well. Where Auth has none, none is older.
create function private.has_factor_from_before(user_id uuid, moment timestamptz) returns boolean
language plpgsql
stable
set search_path = ''
as $$
declare
    found_one boolean;
begin
    if to_regclass('auth.mfa_factors') is null then
        return false;
    end if;
    -- Not every Auth has it, so nothing that reads this function may look for it.
    execute format(
        'select exists (select from %I.mfa_factors as f '
        'where f.user_id = $1 and f.status::text = ''verified'' and f.created_at < $2)', 'auth'
    ) into found_one using has_factor_from_before.user_id, moment;
    return found_one;
end
$$;

comment on function private.has_factor_from_before(uuid, timestamptz) is
'Whether somebody had a verified second factor at that time.';

create function private.is_fresh_proof(user_id uuid, signed_in_at timestamptz, method text) returns boolean
language sql
stable
set search_path = ''
as $$
    select
        coalesce(signed_in_at >= now() - s.fresh_login_period, false)
        and case
            when method = 'password' then not exists (
                select from private.password_changes as c
                -- Tokens count whole seconds, and two clocks are compared.
                where
                    c.user_id = is_fresh_proof.user_id and c.changed_at
                    between signed_in_at - s.password_proof_after and signed_in_at + interval '5 seconds'
            )
            when method = 'totp' or method like 'mfa/%'
                then private.has_factor_from_before(is_fresh_proof.user_id, signed_in_at - s.password_proof_after)
            else method is not null
        end
    from private.settings as s
$$;

comment on function private.is_fresh_proof(uuid, timestamptz, text) is
'Whether a sign-in shows who somebody is now: recent, and not by a password or a second factor that was set up shortly '
'before it. A link or code sent by mail, or another identity provider, always shows it.';

create function private.prepare_onboarding(
    user_id uuid, change boolean, signed_in_at timestamptz, method text default 'password'
) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    wallet public.wallets;
    is_fresh boolean := private.is_fresh_proof(
        prepare_onboarding.user_id, prepare_onboarding.signed_in_at, prepare_onboarding.method
    );
begin
    perform private.require_active(prepare_onboarding.user_id);
    select * into strict wallet from public.wallets as w where w.user_id = prepare_onboarding.user_id;
    -- The link opens what the provider knows of the seller, and lets its bearer change where money goes.
    if wallet.stripe_account_id is not null and not is_fresh then
        perform private.fail('fresh_login_required', format(
            'sign in again within %s; a password changed in the last %s does not count, a link or code by mail does',
            (select s.fresh_login_period from private.settings as s),
            (select s.password_proof_after from private.settings as s)
        ));
    end if;
    return jsonb_build_object(
        'account_id', case when not change then wallet.stripe_account_id end,
        'fresh', is_fresh,
        -- One account per destination: a retry finds the same one, a change asks for another.
        'idempotency_key', 'account:' || wallet.user_id || ':' || coalesce(wallet.stripe_account_id, 'first'),
        'email', (select u.email from auth.users as u where u.id = wallet.user_id)
    );
end
$$;

comment on function private.prepare_onboarding(uuid, boolean, timestamptz, text) is
'What the worker needs to create or reopen the seller''s payout account. Reopening or changing one needs a fresh '
'sign-in (sharp case 23). Errors: banned, fresh_login_required.';
grant execute on function private.prepare_onboarding(uuid, boolean, timestamptz, text) to avenue_worker;

create function private.set_payout_destination(user_id uuid, account_id text, fresh boolean default true) returns void
language sql
security definer
set search_path = ''
as $$
    update public.wallets as w set
        stripe_account_id = account_id,
        stripe_account_status = 'pending',
        payouts_held_until = case
            when w.stripe_account_id is not null or not fresh
                then now() + (select s.destination_hold from private.settings as s)
        end
    where w.user_id = set_payout_destination.user_id and w.stripe_account_id is distinct from account_id
$$;

comment on function private.set_payout_destination(uuid, text, boolean) is
'Sets the Stripe account; replacing another one, or a first one by a session without a fresh sign-in, holds payouts '
'for a while (sharp case 23).';
grant execute on function private.set_payout_destination(uuid, text, boolean) to avenue_worker;

create function private.accounts_to_check(max_rows integer) returns table (account_id text)
language sql
security definer
set search_path = ''
as $$
    update public.wallets as w set stripe_account_checked_at = now()
    where w.user_id in (
        select o.user_id from public.wallets as o
        where
            o.stripe_account_id is not null
            and coalesce(o.stripe_account_checked_at, '-infinity') < now() - case
                when o.stripe_account_status = 'enabled' then interval '1 day'
                else (select s.reconcile_after from private.settings as s)
            end
        order by o.stripe_account_checked_at nulls first
        limit max_rows
        for no key update skip locked
    )
    returning w.stripe_account_id
$$;

comment on function private.accounts_to_check(integer) is
'Payout accounts to read again, because their event may have been lost: those that cannot be paid every '
'reconcile_after, the others daily.';
grant execute on function private.accounts_to_check(integer) to avenue_worker;

create function private.record_account_status(account_id text, status text) returns void
language sql
security definer
set search_path = ''
as $$
    update public.wallets as w set stripe_account_status = status::public.payout_account_status
    where w.stripe_account_id = account_id
$$;

comment on function private.record_account_status(text, text) is 'State of a payout account as just read from Stripe.';
grant execute on function private.record_account_status(text, text) to avenue_worker;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.payouts', 'status', null, 'requested', 'request_payout()'),
('public.payouts', 'status', 'requested', 'approved', 'at once up to the limit, by an admin above'),
('public.payouts', 'status', 'requested', 'cancelled', 'by its seller or an admin'),
('public.payouts', 'status', 'approved', 'cancelled', 'called off, or the wallet changed since'),
('public.payouts', 'status', 'approved', 'processing', 'a worker sends it'),
('public.payouts', 'status', 'processing', 'completed', 'the provider confirmed the transfer'),
('public.payouts', 'status', 'processing', 'failed', 'the provider refused for good'),
('public.payouts', 'status', 'completed', 'returned', 'the provider took all of it back');
select private.build_moves('public.payouts', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('payout', 'public.payouts', null, '/payouts/{id}', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('payouts', 'public.payouts',
    't.user_id = $1', '{user_id, destination, provider_ref, failure_reason}', 'the books: who paid whom for what'),
('password_changes', 'private.password_changes', null, '{}', 'a moment the owner knows, kept to protect payouts');

insert into private.error_codes (code, sqlstate, message, description) values
('payout_amount_invalid', 'PT400', 'This amount cannot be paid out.', 'The detail states the limits, in cents.'),
('payouts_not_enabled', 'PT409', 'There is no verified payout destination.',
'Finish onboarding: POST /functions/v1/payouts/onboard, then try again.'),
('payouts_held', 'PT409', 'Payouts are on hold because the destination was changed.', 'The detail says until when.'),
('payout_open', 'PT409', 'A payout is already under way.', 'One at a time: wait for it or cancel it.'),
('payout_not_open', 'PT409', 'This payout can no longer be changed.',
'It does not exist for the caller, or a worker has started or finished it.'),
('own_payout', 'PT403', 'Admins do not approve their own payouts.', 'Ask another admin.'),
('fresh_login_required', 'PT403', 'Please sign in again.',
'Opening or changing the payout destination needs a recent sign-in; the detail says how recent, and by what.');
