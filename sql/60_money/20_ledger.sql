-- Double-entry books. A positive balance of a user's account is what the platform owes the user; the outside world
-- is negative. ledger.post() is the only way to write.

create type ledger.journal_kind as enum (
    'sale', 'unapplied', 'fee_adjustment', 'release', 'refund', 'refund_reversal',
    'payout_requested', 'payout_completed', 'payout_failed', 'payout_returned', 'adjustment', 'correction',
    'credits_granted', 'credits_held', 'credits_captured', 'credits_returned', 'credits_expired', 'credits_taken_back',
    'credits_repaid'
);
comment on type ledger.journal_kind is 'What happened; docs/money.md, Legs, lists the legs of each.';

create table ledger.accounts (
    id bigint generated always as identity,
    owner_id uuid not null,
    code text not null,
    currency character(3) not null default 'USD',
    created_at timestamptz not null default now(),
    constraint accounts_pkey primary key (id),
    constraint accounts_owner_id_code_currency_key unique (owner_id, code, currency),
    constraint accounts_code_check check (
        case
            when owner_id = '00000000-0000-0000-0000-000000000000' then code in (
                'clearing:stripe', 'clearing:paypal', 'fees:stripe', 'fees:paypal', 'revenue', 'tax_payable',
                'payouts_in_transit', 'refunds_payable', 'promotions', 'bank'
            )
            else code in ('pending', 'available', 'debt', 'credits', 'credits_held', 'credits_debt')
        end
    )
);

comment on table ledger.accounts is
'Chart of accounts. Accounts store no balance: the platform''s are part of every sale and would be a queue; a user''s '
'balances are the rows of wallets and credit_balances.';
comment on column ledger.accounts.owner_id is
'The user, or the all-zero uuid for the platform. No foreign key: books outlive accounts.';
comment on column ledger.accounts.code is
'User: pending, available, debt (negative: owed to us); credits (can be spent on photo jobs), credits_held (for jobs '
'under way), credits_debt (negative: taken back after they were spent). Platform: clearing:<provider> (money at the '
'provider, '
'negative), fees:<provider>, revenue, tax_payable, payouts_in_transit, refunds_payable (taken but not deliverable), '
'promotions, bank (what the platform paid or received outside the providers; positive: paid).';

create table ledger.journal (
    id bigint generated always as identity,
    kind ledger.journal_kind not null,
    idempotency_key text not null,
    source_id uuid,
    currency character(3) not null default 'USD',
    memo text,
    occurred_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    constraint journal_pkey primary key (id),
    constraint journal_idempotency_key_key unique (idempotency_key),
    constraint journal_source_check check (source_id is not null or kind in ('release', 'adjustment'))
);

create index journal_source_id_idx on ledger.journal (source_id);

comment on table ledger.journal is 'One row per event that moved money. Append-only.';
comment on column ledger.journal.kind is 'What happened.';
comment on column ledger.journal.idempotency_key is 'Names the event: the same key never posts twice.';
comment on column ledger.journal.source_id is
'Row that caused it: transaction (sale, fee_adjustment), payment (unapplied, its fee), refund, payout, correction. '
'A release is referenced by its transactions; an adjustment carries its reason in memo, its author is in audit_log.';
comment on column ledger.journal.currency is 'ISO 4217; all legs share it.';
comment on column ledger.journal.memo is 'Words for the people whose accounts it moved; never who decided.';
comment on column ledger.journal.occurred_at is 'When it happened, by the source''s clock.';

create table ledger.entries (
    journal_id bigint not null,
    leg_no smallint not null,
    account_id bigint not null,
    amount_cents bigint not null,
    constraint entries_pkey primary key (journal_id, leg_no),
    constraint entries_journal_id_fkey foreign key (journal_id) references ledger.journal (id),
    constraint entries_amount_check check (amount_cents <> 0)
);

create index entries_account_id_idx on ledger.entries (account_id, journal_id);

comment on table ledger.entries is
'Legs of a journal; they sum to zero. Append-only. account_id has no foreign key on purpose: its check would lock the '
'platform''s account rows in every sale. post() joins accounts instead, and audit() looks for orphans.';
comment on column ledger.entries.journal_id is 'The event.';
comment on column ledger.entries.leg_no is 'Position, from 1.';
comment on column ledger.entries.account_id is 'Account moved.';
comment on column ledger.entries.amount_cents is 'Signed cents; positive raises what the platform owes the owner.';

create type ledger.leg as (owner_id uuid, account text, amount_cents bigint);
comment on type ledger.leg is 'One leg to post: owner (null is the platform), account code, signed cents.';

create function ledger.leg(owner_id uuid, account text, amount_cents bigint) returns ledger.leg
language plpgsql
immutable
set search_path = ''
as $$
begin
    return row(owner_id, account, amount_cents);
end
$$;

comment on function ledger.leg(uuid, text, bigint) is 'Makes a leg.';

create function ledger.post(
    kind ledger.journal_kind,
    idempotency_key text,
    legs ledger.leg[],
    source_id uuid default null,
    currency text default 'USD',
    memo text default null,
    occurred_at timestamptz default now()
) returns bigint
language plpgsql
set search_path = ''
-- The legs differ in number, not in kind: planning them anew each time costs more than running the plan.
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    platform constant uuid := uuid '00000000-0000-0000-0000-000000000000';
    journal_id bigint;
    balanced boolean;
    owners uuid[];
    credit_owners uuid[];
    posted integer;
begin
    -- A refused post leaves nothing behind: every check comes before or aborts the transaction.
    select
        sum(l.amount_cents) = 0 and bool_and(abs(l.amount_cents) between 1 and 999999999999) and count(*) >= 2
        and count(*) = count(l.amount_cents),
        array_agg(distinct l.owner_id) filter (where l.owner_id is not null and l.account not like 'credits%'),
        array_agg(distinct l.owner_id) filter (where l.account like 'credits%')
    into balanced, owners, credit_owners
    from unnest(legs) as l;
    if idempotency_key is null or balanced is not true then
        perform private.fail('unbalanced_journal', idempotency_key);
    end if;

    -- The journal comes before any lock: a second poster of the same key waits here, holding nothing.
    insert into ledger.journal (kind, idempotency_key, source_id, currency, memo, occurred_at)
    values (post.kind, post.idempotency_key, post.source_id, post.currency, post.memo, post.occurred_at)
    on conflict (idempotency_key) do nothing
    returning id into journal_id;
    if journal_id is null then
        return (select j.id from ledger.journal as j where j.idempotency_key = post.idempotency_key);
    end if;

    insert into ledger.entries (journal_id, leg_no, account_id, amount_cents)
    select journal_id, l.leg_no, a.id, l.amount_cents
    from unnest(legs) with ordinality as l (owner_id, account, amount_cents, leg_no)
    inner join ledger.accounts as a
        on a.owner_id = coalesce(l.owner_id, platform) and a.code = l.account and a.currency = post.currency;
    get diagnostics posted = row_count;
    if posted <> cardinality(legs) then
        perform private.fail('unknown_account', idempotency_key);
    end if;

    if cardinality(owners) > 1 then
        -- Fixed order, so that two posts over the same users cannot deadlock.
        perform from public.wallets as w where w.user_id = any (owners) order by w.user_id for no key update;
    end if;
    if cardinality(owners) > 0 then
        -- Driven by the owners' keys, not joined to the legs: a join would read the whole table when it is small.
        update public.wallets as w set
            (balance_available_cents, balance_pending_cents, debt_cents) = (
                select
                    w.balance_available_cents
                    + coalesce(sum(l.amount_cents) filter (where l.account = 'available'), 0)::bigint,
                    w.balance_pending_cents
                    + coalesce(sum(l.amount_cents) filter (where l.account = 'pending'), 0)::bigint,
                    w.debt_cents - coalesce(sum(l.amount_cents) filter (where l.account = 'debt'), 0)::bigint
                from unnest(legs) as l
                where l.owner_id = w.user_id
            )
        where w.user_id = any (owners);
    end if;
    if credit_owners is not null then
        perform private.move_credits(legs, credit_owners);
    end if;
    return journal_id;
end
$$;

comment on function ledger.post(ledger.journal_kind, text, ledger.leg[], uuid, text, text, timestamptz) is
'Posts one journal and moves the users'' wallets and credits with it; returns the journal''s id. The same idempotency '
'key returns the first journal unchanged. Errors: unbalanced_journal, unknown_account; 23514 when a balance would fall '
'below zero.';

create type ledger.posting as (
    idempotency_key text,
    source_id uuid,
    owner_id uuid,
    account text,
    amount_cents bigint,
    leg_no smallint
);
comment on type ledger.posting is
'One leg of one of several journals: the journal''s key and source, then the leg as in ledger.leg and its number in '
'the journal, which begin at 1 and may have gaps.';

create function ledger.post_many(kind ledger.journal_kind, postings ledger.posting[], currency text default 'USD')
returns integer
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    platform constant uuid := uuid '00000000-0000-0000-0000-000000000000';
    wrong text;
    wanted integer;
    expected bigint;
    owners uuid[];
    keys text[];
    posted bigint;
begin
    select
        min(coalesce(g.key, 'a leg without a key')) filter (where not coalesce(g.is_balanced, false)), count(*),
        sum(g.legs),
        (
            select array_agg(distinct p.owner_id) from unnest(postings) as p
            where p.owner_id is not null and p.account not like 'credits%'
        )
    into wrong, wanted, expected, owners
    from (
        select
            p.idempotency_key as key, count(*) as legs,
            p.idempotency_key is not null and sum(p.amount_cents) = 0 and count(*) >= 2
            and count(*) = count(p.amount_cents) and min(p.leg_no) = 1
            and bool_and(abs(p.amount_cents) between 1 and 999999999999) as is_balanced
        from unnest(postings) as p
        group by p.idempotency_key
    ) as g;
    if wrong is not null then
        perform private.fail('unbalanced_journal', wrong);
    end if;

    with journals as (
        insert into ledger.journal (kind, idempotency_key, source_id, currency)
        select post_many.kind, p.idempotency_key, p.source_id, post_many.currency
        from unnest(postings) as p
        where p.leg_no = 1
        on conflict (idempotency_key) do nothing
        returning id, idempotency_key
    ),

    legs as (
        insert into ledger.entries (journal_id, leg_no, account_id, amount_cents)
        select j.id, p.leg_no, a.id, p.amount_cents
        from unnest(postings) as p
        inner join journals as j on j.idempotency_key = p.idempotency_key
        inner join ledger.accounts as a
            on a.owner_id = coalesce(p.owner_id, platform) and a.code = p.account and a.currency = post_many.currency
        returning journal_id
    )

    select (select array_agg(j.idempotency_key) from journals as j), (select count(*) from legs)
    into keys, posted;
    -- Some were posted before.
    if cardinality(keys) is distinct from wanted then
        expected := (select count(*) from unnest(postings) as p where p.idempotency_key = any (keys));
    end if;
    if posted <> expected then
        perform private.fail('unknown_account', keys[1]);
    end if;

    if cardinality(owners) > 1 then
        -- Fixed order, as in post().
        perform from public.wallets as w where w.user_id = any (owners) order by w.user_id for no key update;
    end if;
    if cardinality(owners) > 0 then
        update public.wallets as w set
            balance_available_cents = w.balance_available_cents + s.available,
            balance_pending_cents = w.balance_pending_cents + s.pending,
            debt_cents = w.debt_cents - s.debt
        from (
            select
                p.owner_id,
                coalesce(sum(p.amount_cents) filter (where p.account = 'available'), 0)::bigint as available,
                coalesce(sum(p.amount_cents) filter (where p.account = 'pending'), 0)::bigint as pending,
                coalesce(sum(p.amount_cents) filter (where p.account = 'debt'), 0)::bigint as debt
            from unnest(postings) as p
            where p.idempotency_key = any (keys) and p.owner_id is not null
            group by p.owner_id
        ) as s
        -- Said twice so that the wallets are read by key, however few there are.
        where w.user_id = any (owners) and w.user_id = s.owner_id;
    end if;
    if exists (select from unnest(postings) as p where p.account like 'credits%') then
        perform private.move_credits(
            array(
                select row(p.owner_id, p.account, p.amount_cents)::ledger.leg from unnest(postings) as p
                where p.idempotency_key = any (keys)
            ),
            array(
                select distinct p.owner_id from unnest(postings) as p
                where p.idempotency_key = any (keys) and p.account like 'credits%'
            )
        );
    end if;
    return coalesce(cardinality(keys), 0);
end
$$;

comment on function ledger.post_many(ledger.journal_kind, ledger.posting[], text) is
'Posts many journals of one kind as ledger.post() does each, in a few statements; returns how many were new. Those '
'whose key exists are left as they are. Errors: unbalanced_journal, unknown_account; 23514 when a wallet would fall '
'below zero.';

-- The two ways in which available money changes other than by its owner's own spending. A sale's release is the
-- set-based form of the first; the check of wallets refuses every other way.
create function private.credit_legs(user_id uuid, amount_cents bigint) returns ledger.leg[]
language plpgsql
set search_path = ''
as $$
declare
    debt bigint;
begin
    select least(credit_legs.amount_cents, w.debt_cents) into strict debt from public.wallets as w
    where w.user_id = credit_legs.user_id
    for no key update;
    return array(
        select ledger.leg(credit_legs.user_id, l.account, l.amount)
        from (values ('debt', debt), ('available', credit_legs.amount_cents - debt)) as l (account, amount)
        where l.amount <> 0
    );
end
$$;

comment on function private.credit_legs(uuid, bigint) is
'Legs that give a member this many cents (not negative): debts are repaid first, the rest becomes available.';

create function private.debit_legs(user_id uuid, amount_cents bigint) returns ledger.leg[]
language plpgsql
set search_path = ''
as $$
declare
    available bigint;
begin
    select least(debit_legs.amount_cents, w.balance_available_cents) into strict available from public.wallets as w
    where w.user_id = debit_legs.user_id
    for no key update;
    return array(
        select ledger.leg(debit_legs.user_id, l.account, -l.amount)
        from (values ('available', available), ('debt', debit_legs.amount_cents - available)) as l (account, amount)
        where l.amount <> 0
    );
end
$$;

comment on function private.debit_legs(uuid, bigint) is
'Legs that take this many cents (not negative) from a member: available money first, the rest becomes debt.';

create function private.create_wallet(user_id uuid) returns void
language sql
security definer
set search_path = ''
as $$
    insert into public.wallets (user_id) values (create_wallet.user_id) on conflict do nothing;
    insert into ledger.accounts (owner_id, code)
    select create_wallet.user_id, c.code from unnest(array['pending', 'available', 'debt']) as c (code)
    on conflict do nothing;
$$;

comment on function private.create_wallet(uuid) is 'Opens a member''s wallet and ledger accounts; part of sign-up.';

create trigger refuse_change before update or delete or truncate on ledger.journal
for each statement execute function private.refuse_change();
create trigger refuse_change before update or delete or truncate on ledger.entries
for each statement execute function private.refuse_change();

-- No API role has any right in this schema; RLS without policies says so a second time.
alter table ledger.accounts enable row level security;
alter table ledger.journal enable row level security;
alter table ledger.entries enable row level security;

-- A member's own statement, since the books themselves are closed.
create function public.wallet_statement(before_journal bigint default null, max_rows integer default 50)
returns table (
    journal_id bigint, kind text, occurred_at timestamptz, memo text, source_id uuid,
    available_cents bigint, pending_cents bigint, debt_cents bigint
)
language plpgsql
stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    return query
    select
        j.id, j.kind::text, j.occurred_at, j.memo, j.source_id,
        coalesce(sum(e.amount_cents) filter (where a.code = 'available'), 0)::bigint,
        coalesce(sum(e.amount_cents) filter (where a.code = 'pending'), 0)::bigint,
        coalesce(sum(-e.amount_cents) filter (where a.code = 'debt'), 0)::bigint
    from ledger.accounts as a
    inner join ledger.entries as e on e.account_id = a.id
    inner join ledger.journal as j on j.id = e.journal_id
    where
        a.owner_id = member and a.code in ('available', 'pending', 'debt')
        and (before_journal is null or j.id < before_journal)
    group by j.id
    order by j.id desc
    limit private.page_size(max_rows, 50, 200);
end
$$;

comment on function public.wallet_statement(bigint, integer) is
'What moved the caller''s wallet, newest first; page with the last journal_id. Changes in cents; debt rises when '
'positive. Credits: credit_statement().';
grant execute on function public.wallet_statement(bigint, integer) to authenticated;

insert into ledger.accounts (owner_id, code)
select '00000000-0000-0000-0000-000000000000', c.code
from unnest(array[
    'clearing:stripe', 'clearing:paypal', 'fees:stripe', 'fees:paypal', 'revenue', 'tax_payable',
    'payouts_in_transit', 'refunds_payable', 'promotions', 'bank'
]) as c (code);

create function private.erase_wallet(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function private.erase_wallet(uuid) is
'Step of erase_rest(): a wallet and its accounts that nothing was ever booked on; else it fails, and the profile '
'stays.';

insert into private.erasure_steps (step, phase, erases, statement) values
('wallet', 'books', '{public.wallets, ledger.accounts}', 'select private.erase_wallet($1)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('ledger_accounts', 'ledger.accounts', null, '{owner_id}', 'the books: who paid whom for what; the wallet repeats it'),
('journal', 'ledger.journal',
    null, '{source_id, idempotency_key, memo}',
    'the books: who paid whom for what; sales, payouts and refunds repeat it');

insert into private.error_codes (code, sqlstate, message, description) values
('unbalanced_journal', 'PT400', 'The legs do not balance.',
'A journal needs at least two non-zero legs that sum to zero. A bug of ours, never of a client.'),
('unknown_account', 'PT400', 'A ledger account does not exist.',
'A leg names an account that was never opened. A bug of ours, never of a client.');
