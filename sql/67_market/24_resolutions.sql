-- Where the two sides of a service order do not just go on: more time, an end by agreement with a split, extras bought
-- while work is on, and disputes that an admin decides in cents. And where they talk about it: a conversation of the
-- two that no block closes, which an admin reads in a dispute only. Locks: as on 20_service_orders, then the request
-- or the extra.

create function public.effective_status(request public.resolution_requests) returns public.resolution_status
language plpgsql
stable
set search_path = ''
as $$
begin
    return case
        when request.status = 'open' and (
            request.answer_by <= clock_timestamp()
            -- With the order ends what is open about it.
            or exists (
                select from public.service_orders as o
                where o.id = request.service_order_id and public.effective_status(o) = 'completed'
            )
        ) then 'expired'
        else request.status
    end;
end
$$;
comment on function public.effective_status(public.resolution_requests) is
'Computed field: the request''s state now, also where its time is over and nothing has written that yet.';
grant execute on function public.effective_status(public.resolution_requests) to authenticated, service_role;

create function private.propose_resolution(proposed public.resolution_requests) returns public.resolution_requests
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    made public.resolution_requests;
begin
    update public.resolution_requests as r set status = 'expired', answered_at = r.answer_by
    where
        r.service_order_id = proposed.service_order_id and r.kind = proposed.kind and r.status = 'open'
        and r.answer_by <= clock_timestamp();
    insert into public.resolution_requests (service_order_id, kind, asking_side, days, refund_cents, reason, answer_by)
    select
        proposed.service_order_id, proposed.kind, proposed.asking_side, proposed.days, proposed.refund_cents,
        coalesce(proposed.reason, ''), clock_timestamp() + s.service_answer_period
    from private.settings as s
    on conflict (service_order_id, kind) where status = 'open' do nothing
    returning * into made;
    if made.id is null then
        perform private.fail('resolution_open', proposed.kind::text);
    end if;
    return made;
end
$$;
comment on function private.propose_resolution(public.resolution_requests) is
'Writes what one side proposes about a locked order. Error: resolution_open.';

create function public.propose_extension(service_order_id uuid, days integer, reason text)
returns public.resolution_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    made public.resolution_requests;
    words text := private.require_reason(propose_extension.reason);
begin
    select * into act from private.begin_service_act(service_order_id, 'propose_extension');
    if (act.acted).due_at + least(propose_extension.days, 1000) * interval '24 hours' > (act.acted).revise_until then
        perform private.fail('extension_too_long', (act.acted).revise_until::text);
    end if;
    made.service_order_id := (act.acted).id;
    made.kind := 'extend';
    made.asking_side := act.actor;
    made.days := propose_extension.days;
    made.reason := words;
    made := private.propose_resolution(made);
    perform private.write_service_order(act.acted, 'propose_extension', act.actor, auth.uid(), null, words);
    perform private.tell_service_order(act.acted, 'service_proposal', true, false);
    return made;
end
$$;
comment on function public.propose_extension(uuid, integer, text) is
'Seller: asks for more days of 24 hours, to be answered within settings.service_answer_period. Errors: '
'reason_required, service_order_not_found, not_your_part, state_changed, order_frozen, '
'too_many_actions, resolution_open, '
'extension_too_long (the detail is the last moment possible), invalid_resolution (23514).';
grant execute on function public.propose_extension(uuid, integer, text) to authenticated;

create function public.propose_cancellation(service_order_id uuid, refund_cents bigint, reason text)
returns public.resolution_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    made public.resolution_requests;
    words text := private.require_reason(propose_cancellation.reason);
    whole bigint;
begin
    select * into act from private.begin_service_act(service_order_id, 'propose_cancellation');
    select coalesce(sum(s.remaining), 0) into whole
    from private.refundable(private.service_order_lines((act.acted).id)) as s;
    if propose_cancellation.refund_cents is null or propose_cancellation.refund_cents not between 0 and whole then
        perform private.fail('refund_amount_invalid', format('at most %s cents', whole));
    end if;
    made.service_order_id := (act.acted).id;
    made.kind := 'cancel';
    made.asking_side := act.actor;
    made.refund_cents := propose_cancellation.refund_cents;
    made.reason := words;
    made := private.propose_resolution(made);
    perform private.write_service_order(
        act.acted, 'propose_cancellation', act.actor, auth.uid(), made.refund_cents, words
    );
    perform private.tell_service_order(act.acted, 'service_proposal', act.actor = 'seller', act.actor = 'buyer');
    return made;
end
$$;
comment on function public.propose_cancellation(uuid, bigint, text) is
'Either side: proposes to end the order, with this much of all that was paid for it back to the buyer '
'(cents); the rest '
'is the seller''s. The other side answers within settings.service_answer_period. Errors: reason_required, '
'service_order_not_found, state_changed, order_frozen, too_many_actions, resolution_open, refund_amount_invalid.';
grant execute on function public.propose_cancellation(uuid, bigint, text) to authenticated;

create function public.answer_resolution(request_id uuid, accept boolean) returns public.resolution_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    act record;
    request public.resolution_requests;
    answered public.service_orders;
begin
    select r.* into request from public.resolution_requests as r
    inner join public.service_orders as o on o.id = r.service_order_id and member in (o.buyer_id, o.seller_id)
    where r.id = answer_resolution.request_id;
    if request.id is null then
        perform private.fail('resolution_not_found', answer_resolution.request_id::text);
    end if;
    select * into act from private.begin_service_act(
        request.service_order_id, case request.kind when 'extend' then 'extend' else 'settle' end
    );
    answered := act.acted;
    select * into strict request from public.resolution_requests as r where r.id = request.id for no key update;
    if request.asking_side = act.actor then
        perform private.fail('not_your_part', case act.actor when 'buyer' then 'seller' else 'buyer' end);
    elsif public.effective_status(request) <> 'open' then
        perform private.refuse_state('resolution_request', public.effective_status(request));
    end if;
    -- Before the order ends, which ends what is open about it.
    update public.resolution_requests as r set
        status = case when accept then 'accepted' else 'declined' end::public.resolution_status,
        answered_at = clock_timestamp()
    where r.id = request.id
    returning * into request;
    if accept is not true then
        perform private.write_service_order(answered, 'decline_' || request.kind, act.actor, member);
    elsif request.kind = 'extend' then
        answered.delivery_days := answered.delivery_days + request.days;
        answered.due_at := answered.due_at + request.days * interval '24 hours';
        answered.cancel_after := answered.due_at + (select s.service_late_period from private.settings as s);
        perform private.write_service_order(answered, 'extend', act.actor, member);
    else
        answered.is_rated := answered.is_rated and answered.status <> 'awaiting_requirements';
        perform private.give_service_back(
            answered, request.refund_cents, 'settle', act.actor, member, request.reason
        );
    end if;
    perform private.tell_service_order(answered, 'service_answer', act.actor = 'seller', act.actor = 'buyer');
    return request;
end
$$;
comment on function public.answer_resolution(uuid, boolean) is
'The other side: accepts a proposal, which does it at once, or declines it. Errors: resolution_not_found, '
'not_your_part, state_changed (answered, withdrawn or its time is over; or the order has moved on), order_frozen, '
'refund_amount_invalid (less is left by now).';
grant execute on function public.answer_resolution(uuid, boolean) to authenticated;

create function public.withdraw_resolution(request_id uuid) returns public.resolution_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    request public.resolution_requests;
    side text;
begin
    select case member when o.buyer_id then 'buyer' when o.seller_id then 'seller' end into side
    from public.resolution_requests as r
    inner join public.service_orders as o on o.id = r.service_order_id
    where r.id = withdraw_resolution.request_id;
    if side is null then
        perform private.fail('resolution_not_found', withdraw_resolution.request_id::text);
    end if;
    select * into strict request from public.resolution_requests as r
    where r.id = withdraw_resolution.request_id
    for no key update;
    if request.asking_side <> side then
        perform private.fail('not_your_part', request.asking_side);
    elsif public.effective_status(request) <> 'open' then
        perform private.refuse_state('resolution_request', public.effective_status(request));
    end if;
    update public.resolution_requests as r set status = 'withdrawn', answered_at = clock_timestamp()
    where r.id = request.id
    returning * into request;
    return request;
end
$$;
comment on function public.withdraw_resolution(uuid) is
'Who proposed it: takes it back while nobody has answered. Errors: resolution_not_found, not_your_part, state_changed.';
grant execute on function public.withdraw_resolution(uuid) to authenticated;

create function private.expire_resolutions(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    expired integer;
begin
    update public.resolution_requests as r set status = 'expired', answered_at = r.answer_by
    where r.id in (
        select d.id from public.resolution_requests as d
        where d.status = 'open' and d.answer_by <= clock_timestamp()
        order by d.answer_by
        limit max_rows
        for no key update skip locked
    );
    get diagnostics expired = row_count;
    return expired;
end
$$;
comment on function private.expire_resolutions(integer) is
'Ends proposals nobody answered in time; how many. Call until 0.';
grant execute on function private.expire_resolutions(integer) to avenue_worker;

-- Extras bought while work is on.
create function public.offer_order_extra(service_order_id uuid, title text, price_cents bigint, delivery_days integer)
returns public.service_order_extras
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    act record;
    made public.service_order_extras;
begin
    select * into act from private.begin_service_act(offer_order_extra.service_order_id, 'offer_extra');
    if (
        select count(*) from public.service_order_extras as e where e.service_order_id = (act.acted).id
    ) >= 20 then
        perform private.fail('too_many_order_extras');
    end if;
    insert into public.service_order_extras (service_order_id, seller_id, title, price_cents, delivery_days)
    values (
        (act.acted).id, (act.acted).seller_id, offer_order_extra.title, offer_order_extra.price_cents,
        coalesce(offer_order_extra.delivery_days, 0)
    ) returning * into made;
    update public.service_order_extras as e set
        payable_id = private.add_payable(row(
            null, 'service_extra', made.id, 1, (act.acted).buyer_id, (act.acted).seller_id, made.title, null,
            made.price_cents, 0, null, null, null, null, null, null, null, null, null
        )::public.payables)
    where e.id = made.id
    returning * into made;
    perform private.write_service_order(act.acted, 'offer_extra', act.actor, auth.uid(), null, made.title);
    perform private.tell_service_order(act.acted, 'service_proposal', true, false);
    return made;
end
$$;
comment on function public.offer_order_extra(uuid, text, bigint, integer) is
'Seller: offers something on top of an order that is not delivered, for this price (cents) and so many days '
'of 24 hours '
'more. The buyer pays payable_id with checkout_payable(), or declines; the days count once it is paid. Errors: '
'service_order_not_found, not_your_part, state_changed, order_frozen, '
'too_many_actions, too_many_order_extras (20 an order), '
'text_not_visible, '
'and the '
'constraints of service_order_extras.';
grant execute on function public.offer_order_extra(uuid, text, bigint, integer) to authenticated;

create function private.end_order_extra(extra_id uuid, side text, status public.service_extra_status)
returns public.service_order_extras
language plpgsql
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    extra public.service_order_extras;
    its public.service_orders;
begin
    select o.* into its from public.service_order_extras as e
    inner join public.service_orders as o on o.id = e.service_order_id and member in (o.buyer_id, o.seller_id)
    where e.id = end_order_extra.extra_id;
    if its.id is null then
        perform private.fail('extra_not_found', end_order_extra.extra_id::text);
    elsif member <> (case side when 'buyer' then its.buyer_id else its.seller_id end) then
        perform private.fail('not_your_part', side);
    end if;
    its := private.lock_service_order(its.id);
    select * into strict extra from public.service_order_extras as e
    where e.id = end_order_extra.extra_id
    for no key update;
    if extra.status <> 'offered' then
        perform private.refuse_state('service_order_extra', extra.status);
    elsif not private.end_payable(extra.payable_id, 'withdrawn') then
        perform private.fail('offer_being_paid', 'service_order_extra ' || extra.status);
    end if;
    update public.service_order_extras as e set status = end_order_extra.status where e.id = extra.id
    returning * into extra;
    perform private.write_service_order(
        its, case status when 'declined' then 'decline_extra' else 'withdraw_extra' end, side, member, null, extra.title
    );
    return extra;
end
$$;
comment on function private.end_order_extra(uuid, text, public.service_extra_status) is
'Ends an extra that is not paid. Errors: extra_not_found, not_your_part, state_changed, offer_being_paid.';

create function public.decline_order_extra(extra_id uuid) returns public.service_order_extras
language sql
security definer
set search_path = ''
as $$
    select private.end_order_extra(decline_order_extra.extra_id, 'buyer', 'declined')
$$;
comment on function public.decline_order_extra(uuid) is
'Buyer: does not want an extra; price and time stay as they are. Errors: extra_not_found, not_your_part, '
'state_changed, '
'offer_being_paid.';
grant execute on function public.decline_order_extra(uuid) to authenticated;

create function public.withdraw_order_extra(extra_id uuid) returns public.service_order_extras
language sql
security definer
set search_path = ''
as $$
    select private.end_order_extra(withdraw_order_extra.extra_id, 'seller', 'withdrawn')
$$;
comment on function public.withdraw_order_extra(uuid) is
'Seller: takes an extra back that is not paid. Errors: extra_not_found, not_your_part, state_changed, '
'offer_being_paid.';
grant execute on function public.withdraw_order_extra(uuid) to authenticated;

create function private.service_extra_grant(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    bought record;
    its public.service_orders;
    more interval;
begin
    for bought in
        select e.*, p.order_item_id as line, p.owner_id from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        inner join public.service_order_extras as e on e.payable_id = i.payable_id
        where p.id = any (ids)
        order by e.service_order_id, e.id
    loop
        select * into strict its from public.service_orders as o where o.id = bought.service_order_id for no key update;
        update public.service_order_extras as e set status = 'paid', order_item_id = bought.line where e.id = bought.id;
        more := bought.delivery_days * interval '24 hours';
        its.delivery_days := its.delivery_days + bought.delivery_days;
        its.due_at := its.due_at + more;
        its.revise_until := its.revise_until + more;
        its.remaining := its.remaining + more;
        if its.due_at is not null then
            its.cancel_after := its.due_at + (select s.service_late_period from private.settings as s);
        end if;
        perform private.write_service_order(its, 'extra_paid', 'buyer', its.buyer_id, null, bought.title);
        perform private.tell_service_order(its, 'service_answer', false, true);
    end loop;
end
$$;
comment on function private.service_extra_grant(uuid[]) is
'Hook grant: the extra is a part of its order, with its days.';

create function private.service_extra_revoke(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.service_order_extras as e set status = 'returned'
    from public.purchases as p
    where p.id = any (ids) and e.order_item_id = p.order_item_id and e.status = 'paid';
end
$$;
comment on function private.service_extra_revoke(uuid[], text) is 'Hook revoke: the extra was given back.';

create function private.service_extra_restore(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.service_order_extras as e set status = 'paid'
    from public.purchases as p
    where p.id = any (ids) and e.order_item_id = p.order_item_id and e.status = 'returned';
end
$$;
comment on function private.service_extra_restore(uuid[]) is 'Hook restore: that refund failed.';

create function private.complete_late_extras(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    bought record;
    returned integer := 0;
begin
    -- What was refunded unfinished was not done: its extras go back too, or a seller would give a cheap order back and
    -- keep a dear extra of it.
    for bought in
        select e.id, e.order_item_id, t.id as transaction_id from public.service_order_extras as e
        inner join public.service_orders as o on o.id = e.service_order_id and o.status = 'refunded'
        inner join public.transactions as t on t.order_item_id = e.order_item_id and t.completed_at is null
        where e.status = 'paid'
        order by t.payment_id
        limit max_rows
    loop
        perform from public.payments as p
        where p.id = (select t.payment_id from public.transactions as t where t.id = bought.transaction_id)
        for no key update;
        -- Once: another of these may have had it.
        continue when not exists (
            select from public.service_order_extras as e
            inner join public.service_orders as o on o.id = e.service_order_id and o.status = 'refunded'
            where e.id = bought.id and e.status = 'paid'
        );
        perform private.refund_line(r.transaction_id, r.remaining, 'order_refunded', 'automatic')
        from private.refundable(array[bought.order_item_id]) as r
        where r.remaining > 0;
        perform private.revoke_line(bought.order_item_id, 'cancelled');
        returned := returned + 1;
    end loop;
    return returned + private.complete_lines(array(
        select t.order_item_id from public.service_order_extras as e
        inner join public.service_orders as o
            on o.id = e.service_order_id and not o.is_open and o.status <> 'refunded'
        inner join public.transactions as t
            on t.order_item_id = e.order_item_id and t.completed_at is null and t.refunded_cents < t.amount_total_cents
        where e.status = 'paid'
        limit max_rows
    ));
end
$$;
comment on function private.complete_late_extras(integer) is
'Extras whose order has ended without them: those of one that was refunded unfinished go back, others (silence while '
'they were paid) are done; how many. Call until 0.';
grant execute on function private.complete_late_extras(integer) to avenue_worker;

-- Disputes.
create function public.open_dispute(service_order_id uuid, reason text) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    disputed public.service_orders;
    words text := private.require_reason(open_dispute.reason);
begin
    select * into act from private.begin_service_act(service_order_id, 'open_dispute');
    disputed := private.pause_service_order(act.acted);
    disputed.disputing_side := act.actor;
    disputed := private.write_service_order(disputed, 'open_dispute', act.actor, auth.uid(), null, words);
    perform private.tell_service_order(disputed, 'service_disputed', act.actor = 'seller', act.actor = 'buyer');
    return disputed;
end
$$;
comment on function public.open_dispute(uuid, text) is
'Either side: an admin decides. Every clock stands still; the two may still agree on an end, and who opened it '
'withdraws it. Errors: reason_required, service_order_not_found, state_changed, order_frozen, too_many_actions.';
grant execute on function public.open_dispute(uuid, text) to authenticated;

create function public.withdraw_dispute(service_order_id uuid) returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    act record;
    resumed public.service_orders;
begin
    select * into act from private.begin_service_act(service_order_id, 'withdraw_dispute');
    resumed := act.acted;
    if resumed.disputing_side <> act.actor then
        perform private.fail('not_your_part', resumed.disputing_side);
    end if;
    resumed := private.write_service_order(
        private.resume_service_clock(
            resumed, resumed.resumes_as::public.service_order_status,
            -- Whoever withdraws gains no time: a late seller stays late, a buyer puts no silence off.
            case
                when (act.actor = 'buyer') = (resumed.resumes_as = 'delivered')
                    then case resumed.resumes_as when 'delivered' then resumed.silence_left else resumed.remaining end
            end
        ),
        'withdraw_dispute', act.actor, auth.uid()
    );
    perform private.tell_service_order(
        resumed, 'service_dispute_withdrawn', act.actor = 'seller', act.actor = 'buyer'
    );
    return resumed;
end
$$;
comment on function public.withdraw_dispute(uuid) is
'Who opened the dispute: the order goes on where it was, its clock with what was left; where it is the other side''s '
'clock, with at least settings.service_least_period. Errors: service_order_not_found, not_your_part, '
'state_changed, order_frozen.';
grant execute on function public.withdraw_dispute(uuid) to authenticated;

create function public.decide_dispute(service_order_id uuid, refund_cents bigint, note text)
returns public.service_orders
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    decided public.service_orders;
    words text := private.require_reason(decide_dispute.note);
begin
    decided := private.lock_service_order(decide_dispute.service_order_id);
    if decided.id is null then
        perform private.fail('service_order_not_found', decide_dispute.service_order_id::text);
    elsif admin in (decided.buyer_id, decided.seller_id) then
        perform private.fail('own_dispute');
    elsif decided.status <> 'disputed' then
        perform private.refuse_state('service_order', decided.status);
    elsif decided.frozen_at is not null then
        perform private.fail('order_frozen', decided.id::text);
    elsif decide_dispute.refund_cents is null then
        perform private.fail('refund_amount_invalid');
    end if;
    -- The order's own history says that an admin decided, audit_log which one.
    if decide_dispute.refund_cents = 0 then
        decided := private.complete_service_order(decided, 'decide', 'admin', null, clock_timestamp(), words);
    else
        decided := private.give_service_back(decided, decide_dispute.refund_cents, 'decide', 'admin', null, words);
    end if;
    perform private.audit('decide_dispute', 'service_order', decided.id, jsonb_build_object(
        'refund_cents', decide_dispute.refund_cents, 'note', words
    ));
    return decided;
end
$$;
comment on function public.decide_dispute(uuid, bigint, text) is
'Admin, not one of the two: ends a dispute. So many cents of all that was paid go back to the buyer, the rest is the '
'seller''s; 0 completes the order. The note is for both. Errors: admin_only, reason_required, service_order_not_found, '
'own_dispute, state_changed, order_frozen, refund_amount_invalid.';
grant execute on function public.decide_dispute(uuid, bigint, text) to authenticated;

-- The order's own thread.
alter table public.conversations
add constraint conversations_service_order_id_fkey foreign key (service_order_id) references public.service_orders (id);

create function public.service_order_conversation(service_order_id uuid) returns public.conversations
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    its public.service_orders;
    thread public.conversations;
begin
    select * into its from public.service_orders as o
    where o.id = service_order_conversation.service_order_id and member in (o.buyer_id, o.seller_id);
    if its.id is null then
        perform private.fail('service_order_not_found', service_order_conversation.service_order_id::text);
    end if;
    insert into public.conversations (created_by, service_order_id) values (member, its.id)
    on conflict on constraint conversations_service_order_id_key do nothing
    returning * into thread;
    if thread.id is null then
        select * into strict thread from public.conversations as c where c.service_order_id = its.id;
    else
        -- Whoever has left takes part in nothing any more.
        insert into public.conversation_participants (conversation_id, user_id)
        select thread.id, p.id from public.profiles as p
        where p.id in (its.buyer_id, its.seller_id) and p.deleted_at is null
        order by p.id;
    end if;
    return thread;
end
$$;
comment on function public.service_order_conversation(uuid) is
'The conversation of the two about their order, the same whoever asks and however often. A block, a private profile or '
'the end of the order does not close it. Error: service_order_not_found.';
grant execute on function public.service_order_conversation(uuid) to authenticated;

create type public.dispute_message as (
    id uuid, number integer, sender_id uuid, content text, attachments text [], created_at timestamptz
);
comment on type public.dispute_message is 'A message of an order''s conversation, as its two sides see it.';

create function public.dispute_messages(service_order_id uuid, after integer default 0, max_rows integer default 100)
returns setof public.dispute_message
language plpgsql
security definer
set search_path = ''
as $$
declare
    its public.service_orders;
begin
    perform private.require_admin();
    select * into its from public.service_orders as o where o.id = dispute_messages.service_order_id;
    if its.id is null then
        perform private.fail('service_order_not_found', dispute_messages.service_order_id::text);
    elsif its.status <> 'disputed' then
        perform private.refuse_state('service_order', its.status);
    end if;
    perform private.audit('read_dispute', 'service_order', its.id);
    return query
    select m.id, m.number, m.sender_id, m.content, m.attachments, m.created_at
    from public.messages as m
    inner join public.conversations as c on c.id = m.conversation_id and c.service_order_id = its.id
    where m.number > coalesce(after, 0) and not m.is_deleted
    order by m.number
    limit private.page_size(max_rows);
end
$$;
comment on function public.dispute_messages(uuid, integer, integer) is
'Admin: what the two wrote in their order''s conversation, while it is disputed; audited. The next page: after is the '
'last number. Errors: admin_only, service_order_not_found, state_changed.';
grant execute on function public.dispute_messages(uuid, integer, integer) to authenticated;

insert into private.kinds (kind, relation, owner_column, page, hooks, is_browsable, is_repeatable, earned) values
('service_extra', 'public.service_order_extras', 'seller_id', null,
    '{check_line,units,payees,grant,revoke,restore,complete}', false, true, 'at_completion'),
('resolution_request', 'public.resolution_requests', null, null, '{}', true, false, 'at_payment');

insert into private.error_codes (code, sqlstate, message, description) values
('resolution_not_found', 'PT404', 'This proposal does not exist.',
'There is none with that id, or the caller has no part in its order.'),
('resolution_open', 'PT409', 'There is a proposal already.',
'One of each kind is open at a time; the detail names it. Wait for the answer, or withdraw it.'),
('extension_too_long', 'PT409', 'This would take too long.',
'A delivery cannot be due later than the order''s revise_until, the detail. Agree on an end, or make a new offer.'),
('extra_not_found', 'PT404', 'This extra does not exist.',
'There is none with that id, or the caller has no part in its order.'),
('too_many_order_extras', 'PT409', 'This order has too many extras.', 'At most 20; make a new offer.'),
('own_dispute', 'PT403', 'Somebody else has to decide this.', 'The admin is one of the two.');
