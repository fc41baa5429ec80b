-- Why the money of a sale must not leave yet although it is done: a charge that the buyer's bank took up. A freeze is a
-- row that release asks for; no date is moved by it, so that its end needs no memory.

create table private.freezes (
    transaction_id uuid not null,
    cause text not null,
    begun_at timestamptz not null default now(),
    ended_at timestamptz,
    constraint freezes_pkey primary key (transaction_id, cause),
    constraint freezes_transaction_id_fkey foreign key (transaction_id) references public.transactions (id),
    constraint freezes_cause_check check (cause ~ '^[a-z]+(_[a-z]+)*$'),
    constraint freezes_ended_at_check check (ended_at >= begun_at)
);
comment on table private.freezes is
'Sales whose earnings stay where they are while ended_at is null. Kinds that stop something else meanwhile have a '
'trigger of their own here.';
comment on column private.freezes.cause is 'Stable word for why: chargeback. Causes do not know of each other.';
alter table private.freezes enable row level security;

create function private.freeze_sale(transaction_id uuid, cause text) returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    moment timestamptz := clock_timestamp();
begin
    -- In the order of all that moves money; release passes over a sale that is locked.
    perform from public.payments as p
    where p.id = (select t.payment_id from public.transactions as t where t.id = freeze_sale.transaction_id)
    for no key update;
    perform from public.transactions as t where t.id = freeze_sale.transaction_id for no key update;
    insert into private.freezes as f (transaction_id, cause, begun_at)
    values (freeze_sale.transaction_id, freeze_sale.cause, moment)
    on conflict on constraint freezes_pkey do update set begun_at = excluded.begun_at, ended_at = null
    where f.ended_at is not null;
end
$$;
comment on function private.freeze_sale(uuid, text) is
'Holds the earnings of a sale for this cause until thaw_sale(). Repeated calls change nothing.';

create function private.thaw_sale(transaction_id uuid, cause text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.payments as p
    where p.id = (select t.payment_id from public.transactions as t where t.id = thaw_sale.transaction_id)
    for no key update;
    perform from public.transactions as t where t.id = thaw_sale.transaction_id for no key update;
    update private.freezes as f set ended_at = clock_timestamp()
    where f.transaction_id = thaw_sale.transaction_id and f.cause = thaw_sale.cause and f.ended_at is null;
end
$$;
comment on function private.thaw_sale(uuid, text) is 'Ends a freeze of freeze_sale(). Repeated calls change nothing.';

create function private.is_frozen(transaction_id uuid) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return exists (
        select from private.freezes as f where f.transaction_id = is_frozen.transaction_id and f.ended_at is null
    );
end
$$;
comment on function private.is_frozen(uuid) is 'Whether anything freezes this sale.';

insert into private.personal_data (section, relation, condition, stays, reason) values
('freezes', 'private.freezes', null, '{cause}', 'part of the books; names nobody');
