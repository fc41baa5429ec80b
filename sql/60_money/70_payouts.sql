-- Paying sellers out. The intent is committed before the provider is called and carries the payout id as
-- idempotency key, so a crash at any point ends in exactly one transfer.

create type public.payout_status as enum (
    'requested', 'approved', 'processing', 'completed', 'failed', 'cancelled', 'returned'
);
comment on type public.payout_status is
'requested waits for an admin; approved for a worker; processing is at the provider; the rest is final.';

create table public.payouts (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    amount_cents bigint not null,
    currency character(3) not null default 'USD',
    payout_method public.payment_provider not null default 'stripe',
    destination text not null,
    provider_ref text,
    status public.payout_status not null default 'requested',
    requested_at timestamptz not null default now(),
    approved_at timestamptz,
    approved_by uuid,
    processing_at timestamptz,
    completed_at timestamptz,
    failed_at timestamptz,
    failure_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payouts_pkey primary key (id),
    constraint payouts_provider_ref_key unique (provider_ref, payout_method),
    constraint payouts_user_id_fkey foreign key (user_id) references public.wallets (user_id),
    constraint payouts_amount_check check (amount_cents between 1 and 99999999),
    constraint payouts_method_check check (payout_method <> 'wallet')
);

-- At most one open payout per wallet: thirty requests at once make one row.
create unique index payouts_one_open_idx on public.payouts (user_id)
where status in ('requested', 'approved', 'processing');
create index payouts_user_id_requested_at_idx on public.payouts (user_id, requested_at desc);
create index payouts_open_idx on public.payouts (status, updated_at)
where status in ('requested', 'approved', 'processing');

comment on table public.payouts is 'Withdrawals of sellers (PA). Owner and admins read; RPCs and workers write.';
comment on column public.payouts.user_id is 'Whose wallet.';
comment on column public.payouts.amount_cents is 'Cents; frozen in payouts_in_transit while open.';
comment on column public.payouts.currency is 'ISO 4217.';
comment on column public.payouts.payout_method is 'Provider that pays.';
comment on column public.payouts.destination is
'Stripe account as it was at the request: a later change cannot redirect it.';
comment on column public.payouts.provider_ref is 'Stripe transfer.';
comment on column public.payouts.status is 'State.';
comment on column public.payouts.requested_at is 'When the seller asked.';
comment on column public.payouts.approved_at is 'When it was approved, at once below the limit.';
comment on column public.payouts.approved_by is 'Admin who approved; null when automatic or by an operator.';
comment on column public.payouts.processing_at is 'When a worker first committed the intent to pay.';
comment on column public.payouts.completed_at is 'When the provider confirmed.';
comment on column public.payouts.failed_at is 'When it failed, was cancelled or came back.';
comment on column public.payouts.failure_reason is 'Why, as a stable word or the provider''s.';

create trigger touch_updated_at before update on public.payouts
for each row execute function private.touch_updated_at();

create function private.count_withdrawals() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    change bigint := new.amount_cents
    * ((new.status = 'completed')::integer - (old.status = 'completed')::integer);
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

create trigger count_withdrawals after update of status on public.payouts
for each row execute function private.count_withdrawals();

alter table public.payouts enable row level security;
revoke all on public.payouts from anon, authenticated, service_role;
grant select on public.payouts to authenticated, service_role;
create policy payouts_select on public.payouts for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

create function public.request_payout(amount_cents bigint) returns public.payouts
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
begin
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
        where p.user_id = member and p.status in ('requested', 'approved', 'processing')
    ) then
        perform private.fail('payout_open');
    end if;
    if wallet.balance_available_cents - private.promised_back(member) < request_payout.amount_cents then
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
    if payout.amount_cents <= limits.payout_approval_above_cents then
        payout := private.set_payout_approved(payout.id, null);
    end if;
    return payout;
end
$$;

comment on function public.request_payout(bigint) is
'Asks for a payout of available money, in cents. Approved at once up to the limit in settings. Errors: '
'payout_amount_invalid, payouts_not_enabled, payouts_held, payout_open, insufficient_funds.';
grant execute on function public.request_payout(bigint) to authenticated;

create function private.set_payout_approved(payout_id uuid, approved_by uuid) returns public.payouts
language plpgsql
set search_path = ''
as $$
declare
    payout public.payouts;
begin
    update public.payouts as p set
        status = 'approved', approved_at = now(), approved_by = set_payout_approved.approved_by
    where p.id = payout_id and p.status = 'requested'
    returning * into payout;
    if payout.id is null then
        perform private.fail('payout_not_open');
    end if;
    perform private.enqueue('send_payout', jsonb_build_object('payout_id', payout_id), null, 'payout:' || payout_id);
    return payout;
end
$$;

comment on function private.set_payout_approved(uuid, uuid) is 'requested → approved, and tells a worker.';

create function private.approve_payout(payout_id uuid, approved_by text) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    payout public.payouts := private.set_payout_approved(payout_id, null);
begin
    perform private.audit('approve_payout', 'payouts', payout_id, '{}', approve_payout.approved_by);
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
    payout := private.set_payout_approved(payout_id, admin);
    perform private.audit('approve_payout', 'payouts', payout_id);
    return payout;
end
$$;

comment on function public.approve_payout(uuid) is
'Admin: approves a payout above the limit, not one''s own. Errors: admin_only, own_payout, payout_not_open.';
grant execute on function public.approve_payout(uuid) to authenticated;

-- Ends an open payout without a transfer: the money is the seller's again, after debts.
create function private.end_payout(payout_id uuid, status public.payout_status, reason text) returns public.payouts
language plpgsql
set search_path = ''
as $$
declare
    payout public.payouts;
    wallet public.wallets;
    debt bigint;
begin
    select * into strict payout from public.payouts as p where p.id = payout_id for no key update;
    select * into strict wallet from public.wallets as w where w.user_id = payout.user_id for no key update;
    debt := least(payout.amount_cents, wallet.debt_cents);
    perform ledger.post(
        case end_payout.status when 'returned' then 'payout_returned' else 'payout_failed' end::ledger.journal_kind,
        'payout_' || end_payout.status || ':' || payout.id,
        private.moving_legs(array[
            case
                when end_payout.status = 'returned'
                    then ledger.leg(null, 'clearing:' || payout.payout_method, -payout.amount_cents)
                else ledger.leg(null, 'payouts_in_transit', -payout.amount_cents)
            end,
            ledger.leg(payout.user_id, 'debt', debt),
            ledger.leg(payout.user_id, 'available', payout.amount_cents - debt)
        ]),
        payout.id, payout.currency
    );
    update public.payouts as p set status = end_payout.status, failed_at = now(), failure_reason = reason
    where p.id = payout_id
    returning * into payout;
    return payout;
end
$$;

comment on function private.end_payout(uuid, public.payout_status, text) is
'Gives a payout''s money back to the wallet, debts first: failed and cancelled from transit, returned from the '
'provider.';

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
        perform private.audit('cancel_payout', 'payouts', payout_id);
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
    if payout.id is null or payout.status not in ('approved', 'processing') then
        return null;
    end if;
    if payout.status = 'approved' then
        select * into strict wallet from public.wallets as w where w.user_id = payout.user_id for no key update;
        -- Suspended sellers and changed destinations wait (sharp cases 23, 24); a balance that shrank into debt since
        -- the request stops the payout (14).
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
    );
end
$$;

comment on function private.claim_payout(uuid) is
'Commits the intent to pay and says what to send; again for one already processing. Null: nothing to send now.';
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

create function private.payouts_to_resume(stuck_seconds integer, max_rows integer) returns table (payout_id uuid)
language sql
stable
security definer
set search_path = ''
as $$
    select p.id from public.payouts as p
    where
        p.status in ('approved', 'processing')
        and p.updated_at <= now() - make_interval(secs => stuck_seconds)
    order by p.updated_at
    limit max_rows
$$;

comment on function private.payouts_to_resume(integer, integer) is
'Payouts approved or processing for longer than stuck_seconds: their job was lost, or they were on hold.';
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
        p.requested_at, p.provider_ref, p.failure_reason
    from public.payouts as p
    inner join public.profiles as f on f.id = p.user_id
    where list_payouts.status is null or p.status::text = list_payouts.status
    order by p.requested_at desc
    limit max_rows
$$;

comment on function private.list_payouts(text, integer) is 'Payouts for operators, newest first.';
grant execute on function private.list_payouts(text, integer) to avenue_worker;

-- Where payouts go.

create function private.prepare_onboarding(user_id uuid, change boolean, signed_in_at timestamptz) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    wallet public.wallets;
    fresh interval := (select s.fresh_login_period from private.settings as s);
begin
    perform private.require_active(prepare_onboarding.user_id);
    select * into strict wallet from public.wallets as w where w.user_id = prepare_onboarding.user_id;
    if change and wallet.stripe_account_id is not null
        and (signed_in_at is null or signed_in_at < now() - fresh) then
        perform private.fail('fresh_login_required', 'sign in again within ' || fresh);
    end if;
    return jsonb_build_object(
        'account_id', case when not change then wallet.stripe_account_id end,
        -- One account per destination: a retry finds the same one, a change asks for another.
        'idempotency_key', 'account:' || wallet.user_id || ':' || coalesce(wallet.stripe_account_id, 'first'),
        'email', (select u.email from auth.users as u where u.id = wallet.user_id)
    );
end
$$;

comment on function private.prepare_onboarding(uuid, boolean, timestamptz) is
'What the worker needs to create or reopen the seller''s payout account. Changing one needs a fresh login (sharp case '
'23). Errors: banned, fresh_login_required.';
grant execute on function private.prepare_onboarding(uuid, boolean, timestamptz) to avenue_worker;

create function private.set_payout_destination(user_id uuid, account_id text) returns void
language sql
security definer
set search_path = ''
as $$
    update public.wallets as w set
        stripe_account_id = account_id,
        stripe_account_status = 'pending',
        payouts_held_until = case
            when w.stripe_account_id is not null then now() + (select s.destination_hold from private.settings as s)
        end
    where w.user_id = set_payout_destination.user_id and w.stripe_account_id is distinct from account_id
$$;

comment on function private.set_payout_destination(uuid, text) is
'Sets the Stripe account; replacing another one holds payouts for a while (sharp case 23).';
grant execute on function private.set_payout_destination(uuid, text) to avenue_worker;

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
'Changing the payout destination needs a recent sign-in; the detail says how recent.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
