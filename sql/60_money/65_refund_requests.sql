-- A buyer asks for money back; the line's seller (or an admin) answers in time or the request expires. Accepting
-- makes the refund, within the limits of whoever accepts.

create type public.refund_request_status as enum ('open', 'accepted', 'declined', 'expired');
comment on type public.refund_request_status is 'open until answered or until answer_by.';

create table public.refund_requests (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    buyer_id uuid not null,
    seller_id uuid not null,
    reason text not null,
    status public.refund_request_status not null default 'open',
    answer_by timestamptz not null,
    answered_at timestamptz,
    note text,
    refund_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint refund_requests_pkey primary key (id),
    constraint refund_requests_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint refund_requests_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint refund_requests_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint refund_requests_refund_id_fkey foreign key (refund_id) references public.refunds (id),
    constraint refund_requests_reason_check check (private.is_reason(reason)),
    constraint refund_requests_note_check check (private.is_reason(note)),
    constraint refund_requests_refund_check check ((status = 'accepted') = (refund_id is not null))
);

create unique index refund_requests_one_open_idx on public.refund_requests (order_item_id) where status = 'open';
create index refund_requests_order_item_id_idx on public.refund_requests (order_item_id);
create index refund_requests_buyer_id_idx on public.refund_requests (buyer_id, created_at desc);
create index refund_requests_seller_id_idx on public.refund_requests (seller_id, created_at desc);
create index refund_requests_refund_id_idx on public.refund_requests (refund_id);
create index refund_requests_due_idx on public.refund_requests (answer_by) where status = 'open';

comment on table public.refund_requests is
'What buyers ask to get back. That line''s buyer and seller and admins read; request_refund() and '
'answer_refund_request() write.';
comment on column public.refund_requests.order_item_id is 'The line; at most one open request each.';
comment on column public.refund_requests.reason is 'Why, in the buyer''s words; erased with the account.';
comment on column public.refund_requests.status is 'State.';
comment on column public.refund_requests.answer_by is 'Until when it can be answered (settings.refund_answer_period).';
comment on column public.refund_requests.answered_at is 'When it was answered or expired.';
comment on column public.refund_requests.note is
'The answer in words, for the buyer; erased with the seller''s account.';
comment on column public.refund_requests.refund_id is 'The refund an accepted one became.';

create trigger touch_updated_at before update on public.refund_requests
for each row execute function private.touch_updated_at();

alter table public.refund_requests enable row level security;
grant select on public.refund_requests to authenticated, service_role;
create policy refund_requests_select on public.refund_requests for select to authenticated
using (
    buyer_id = (select private.member_id())
    or seller_id = (select private.member_id())
    or (select private.is_admin())
);

create function private.expire_refund_requests(line uuid default null) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    expired integer;
begin
    update public.refund_requests as r set status = 'expired', answered_at = now()
    where
        r.id in (
            select d.id from public.refund_requests as d
            where
                d.status = 'open' and d.answer_by <= now()
                and (expire_refund_requests.line is null or d.order_item_id = expire_refund_requests.line)
            order by d.answer_by
            limit 1000
            for no key update skip locked
        );
    get diagnostics expired = row_count;
    return expired;
end
$$;

comment on function private.expire_refund_requests(uuid) is
'Ends requests nobody answered in time, all or those of one line; returns how many. Call until 0.';
grant execute on function private.expire_refund_requests(uuid) to avenue_worker;

create function public.request_refund(order_item_id uuid, reason text) returns public.refund_requests
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    sale public.transactions;
    request public.refund_requests;
    words text := private.require_reason(request_refund.reason);
begin
    select * into sale from public.transactions as t
    where t.order_item_id = request_refund.order_item_id and t.buyer_id = member;
    if sale.id is null or sale.refunded_cents = sale.amount_total_cents then
        perform private.fail('sale_not_found');
    end if;
    perform private.expire_refund_requests(sale.order_item_id);
    insert into public.refund_requests as r (order_item_id, buyer_id, seller_id, reason, answer_by)
    select sale.order_item_id, member, sale.seller_id, words, now() + s.refund_answer_period
    from private.settings as s
    on conflict (order_item_id) where status = 'open' do nothing
    returning * into request;
    if request.id is null then
        perform private.fail('refund_request_open');
    end if;
    return request;
end
$$;

comment on function public.request_refund(uuid, text) is
'Buyer: asks for the money of a bought line back; its seller is told. Errors: reason_required, sale_not_found (also '
'when all of it was refunded), refund_request_open.';
grant execute on function public.request_refund(uuid, text) to authenticated;

create function public.answer_refund_request(request_id uuid, accept boolean, note text default null)
returns public.refund_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    request public.refund_requests;
    made uuid;
    words text := case
        when answer_refund_request.note is not null then private.require_reason(answer_refund_request.note)
    end;
begin
    select * into request from public.refund_requests as r
    where r.id = request_id and (r.seller_id = member or (private.is_admin() and r.buyer_id <> member))
    for no key update;
    if request.id is null or request.status <> 'open' or request.answer_by <= now() then
        perform private.fail('refund_request_closed');
    end if;
    if accept then
        select private.refund_line(
            t.id, null, 'refund_request',
            case when t.seller_id = member then 'seller' else 'admin' end::public.refund_origin
        ) into strict made
        from public.transactions as t
        where t.order_item_id = request.order_item_id;
    end if;
    update public.refund_requests as r set
        status = case when accept then 'accepted' else 'declined' end::public.refund_request_status,
        answered_at = now(), note = words, refund_id = made
    where r.id = request.id
    returning * into request;
    if request.seller_id <> member then
        perform private.audit(
            'answer_refund_request', 'refund_request', request.id,
            jsonb_build_object('accepted', coalesce(accept, false))
        );
    end if;
    return request;
end
$$;

comment on function public.answer_refund_request(uuid, boolean, text) is
'Seller of the line or admin: accepts a refund request, which refunds all that is left of the line, or declines it, '
'with a note for the buyer. Errors: refund_request_closed, reason_required (an empty or too long note), '
'refund_amount_invalid, insufficient_funds.';
grant execute on function public.answer_refund_request(uuid, boolean, text) to authenticated;

insert into private.erasure_steps (step, phase, erases, statement) values
('refund_request_reasons', 'records', '{public.refund_requests.reason}',
    'update public.refund_requests set reason = ''erased'' where buyer_id = $1'),
('refund_request_notes', 'records', '{public.refund_requests.note}',
    'update public.refund_requests set note = null where seller_id = $1');

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.refund_requests', 'status', null, 'open', 'request_refund()'),
('public.refund_requests', 'status', 'open', 'accepted', 'answer_refund_request()'),
('public.refund_requests', 'status', 'open', 'declined', 'answer_refund_request()'),
('public.refund_requests', 'status', 'open', 'expired', 'nobody answered in time');
select private.build_moves('public.refund_requests', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('refund_request', 'public.refund_requests', null, '/refund_requests/{id}', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('refund_requests', 'public.refund_requests',
    't.buyer_id = $1 or t.seller_id = $1', '{buyer_id, seller_id}', 'the books: who paid whom for what');

insert into private.error_codes (code, sqlstate, message, description) values
('refund_request_open', 'PT409', 'A refund was already asked for.', 'Wait for the answer; answer_by says until when.'),
('refund_request_closed', 'PT409', 'This refund request can no longer be answered.',
'It does not exist for the caller, was answered, or its time is over.');
