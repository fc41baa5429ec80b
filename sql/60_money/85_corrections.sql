-- What the provider moved and no event of ours explains (a chargeback, a fee, a transfer made by hand) is corrected
-- here: clearing against a stated account, proposed by one admin and approved by another.

create type public.correction_status as enum ('proposed', 'approved', 'rejected');
comment on type public.correction_status is 'Only an approved one is in the books.';

create table public.book_corrections (
    id uuid not null default gen_random_uuid(),
    provider public.payment_provider not null,
    change_cents bigint not null,
    currency character(3) not null default 'USD',
    account text not null,
    user_id uuid,
    reason text not null,
    status public.correction_status not null default 'proposed',
    proposed_by uuid not null,
    decided_by uuid,
    decided_at timestamptz,
    created_at timestamptz not null default now(),
    constraint book_corrections_pkey primary key (id),
    constraint book_corrections_user_id_fkey foreign key (user_id) references public.wallets (user_id),
    constraint book_corrections_provider_check check (provider <> 'wallet'),
    constraint book_corrections_change_check check (
        change_cents <> 0 and abs(change_cents) <= private.highest_amount_cents()
    ),
    constraint book_corrections_account_check check (
        account in ('member', 'revenue', 'tax_payable', 'promotions', 'bank')
        and (account = 'member') = (user_id is not null)
    ),
    constraint book_corrections_reason_check check (private.is_reason(reason)),
    constraint book_corrections_decided_check check (
        (status = 'proposed') = (decided_at is null) and (decided_at is null) = (decided_by is null)
        and (status <> 'approved' or decided_by <> proposed_by)
    )
);

create index book_corrections_user_id_idx on public.book_corrections (user_id);
create index book_corrections_created_at_idx on public.book_corrections (created_at desc);

comment on table public.book_corrections is
'Corrections of the books against a provider''s balance, by two admins. Only admins read.';
comment on column public.book_corrections.provider is 'Whose balance differs from the books.';
comment on column public.book_corrections.change_cents is
'Cents the provider holds more (positive) or less (negative) than the books say.';
comment on column public.book_corrections.account is
'Who bears or receives it: member (user_id: available money, then debt), revenue, tax_payable, promotions, or bank '
'(money the platform moved between its own bank account and the provider).';
comment on column public.book_corrections.user_id is 'The member, if it is one''s.';
comment on column public.book_corrections.reason is 'Why; a member it concerns reads it in the statement.';
comment on column public.book_corrections.status is 'State.';
comment on column public.book_corrections.proposed_by is 'Admin. No foreign key: the books outlive accounts.';
comment on column public.book_corrections.decided_by is 'Another admin who approved, or any who rejected.';

alter table public.book_corrections enable row level security;
grant select on public.book_corrections to authenticated, service_role;
create policy book_corrections_select on public.book_corrections for select to authenticated
using ((select private.is_admin()));

create function public.propose_correction(
    provider public.payment_provider, change_cents bigint, account text, reason text, user_id uuid default null
) returns public.book_corrections
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    admin uuid := private.require_admin();
    correction public.book_corrections;
    words text := private.require_reason(propose_correction.reason);
begin
    if propose_correction.provider is null or propose_correction.provider = 'wallet'
        or coalesce(propose_correction.change_cents, 0) = 0
        or propose_correction.change_cents
        not between -private.highest_amount_cents() and private.highest_amount_cents()
        or coalesce(propose_correction.account, '') not in ('member', 'revenue', 'tax_payable', 'promotions', 'bank')
        or (propose_correction.account = 'member') <> (propose_correction.user_id is not null) then
        perform private.fail('correction_invalid');
    end if;
    if propose_correction.user_id = admin then
        perform private.fail('own_wallet');
    end if;
    if propose_correction.user_id is not null
        and not exists (select from public.wallets as w where w.user_id = propose_correction.user_id) then
        perform private.fail('wallet_not_found');
    end if;
    insert into public.book_corrections (provider, change_cents, account, user_id, reason, proposed_by)
    values (
        propose_correction.provider, propose_correction.change_cents, propose_correction.account,
        propose_correction.user_id, words, admin
    ) returning * into correction;
    perform private.audit('propose_correction', 'book_correction', correction.id, jsonb_build_object(
        'provider', correction.provider, 'change_cents', correction.change_cents, 'account', correction.account,
        'user_id', correction.user_id, 'reason', correction.reason
    ));
    return correction;
end
$$;

comment on function public.propose_correction(public.payment_provider, bigint, text, text, uuid) is
'Admin: proposes to book that a provider holds signed cents more than the books say, against an account (member with '
'user_id, revenue, tax_payable, promotions, bank). Moves nothing until another admin approves. Errors: admin_only, '
'own_wallet, reason_required, correction_invalid, wallet_not_found.';
grant execute on function public.propose_correction(public.payment_provider, bigint, text, text, uuid) to authenticated;

create function public.decide_correction(correction_id uuid, approve boolean) returns public.book_corrections
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    correction public.book_corrections;
begin
    select * into correction from public.book_corrections as c where c.id = correction_id for no key update;
    if correction.id is null or correction.status <> 'proposed' then
        perform private.fail('correction_not_open');
    end if;
    if approve and correction.proposed_by = admin then
        perform private.fail('own_correction');
    end if;
    if correction.user_id = admin then
        perform private.fail('own_wallet');
    end if;
    update public.book_corrections as c set
        status = case when approve then 'approved' else 'rejected' end::public.correction_status,
        decided_by = admin, decided_at = now()
    where c.id = correction.id
    returning * into correction;
    if approve then
        perform ledger.post(
            'correction', 'correction:' || correction.id,
            ledger.leg(null, 'clearing:' || correction.provider, -correction.change_cents) || case
                when correction.user_id is null
                    then array[ledger.leg(null, correction.account, correction.change_cents)]
                when correction.change_cents > 0
                    then private.credit_legs(correction.user_id, correction.change_cents)
                else private.debit_legs(correction.user_id, -correction.change_cents)
            end,
            correction.id, correction.currency, correction.reason
        );
    end if;
    perform private.audit(
        case when approve then 'approve_correction' else 'reject_correction' end, 'book_correction', correction.id
    );
    return correction;
end
$$;

comment on function public.decide_correction(uuid, boolean) is
'Admin: approves a correction somebody else proposed, which books it, or rejects one. Errors: admin_only, '
'correction_not_open, own_correction, own_wallet.';
grant execute on function public.decide_correction(uuid, boolean) to authenticated;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.book_corrections', 'status', null, 'proposed', 'propose_correction()'),
('public.book_corrections', 'status', 'proposed', 'approved', 'by another admin, and booked'),
('public.book_corrections', 'status', 'proposed', 'rejected', 'decide_correction()');
select private.build_moves('public.book_corrections', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('book_correction', 'public.book_corrections', null, null, '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('book_corrections', 'public.book_corrections',
    null, '{user_id, account, reason, proposed_by, decided_by}', 'the books, and who answers for their correction');

insert into private.error_codes (code, sqlstate, message, description) values
('correction_invalid', 'PT400', 'The correction is not valid.',
'A provider, a non-zero amount of at most 999,999.99 and an account are required; user_id with member, and only then.'),
('correction_not_open', 'PT409', 'This correction was decided already.',
'It does not exist, or is not proposed any more.'),
('own_correction', 'PT403', 'Admins do not approve their own corrections.', 'Ask another admin.');
