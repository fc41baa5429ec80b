-- An offer made for somebody: in a conversation of two a seller names terms, a price, days and revisions, until when it
-- stands. Changing it makes a new version; versions are rows that never change, and accepting names one, so that nobody
-- pays for what was changed in that moment. What was accepted is a payable, and what is paid becomes a service order
-- (20_service_orders).
-- Locks: the offer, then its payable, which settlement takes without the offer.

create type public.offer_status as enum ('sent', 'accepted', 'declined', 'withdrawn', 'expired');
comment on type public.offer_status is
'sent. accepted: to be paid, or paid. The ends: declined by the buyer, withdrawn by the seller, expired: its time was '
'over before it was accepted, or before it was paid.';

create table public.offers (
    id uuid not null default gen_random_uuid(),
    conversation_id uuid,
    service_id uuid,
    seller_id uuid not null,
    buyer_id uuid not null,
    status public.offer_status not null default 'sent',
    version integer not null default 1,
    valid_until timestamptz not null,
    accepted_version integer,
    payable_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint offers_pkey primary key (id),
    constraint offers_conversation_id_fkey foreign key (conversation_id)
    references public.conversations (id) on delete set null,
    constraint offers_service_id_fkey foreign key (service_id) references public.catalog_items (id) on delete set null,
    constraint offers_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint offers_buyer_id_fkey foreign key (buyer_id) references public.profiles (id),
    constraint offers_payable_id_fkey foreign key (payable_id) references public.payables (id),
    constraint offers_payable_id_key unique (payable_id),
    constraint offers_not_own_check check (buyer_id <> seller_id),
    constraint offers_version_check check (version between 1 and 100),
    constraint offers_accepted_check check ((payable_id is null) = (accepted_version is null))
);

create index offers_conversation_id_idx on public.offers (conversation_id);
create index offers_service_id_idx on public.offers (service_id) where service_id is not null;
create index offers_seller_id_idx on public.offers (seller_id, created_at desc);
create index offers_buyer_id_idx on public.offers (buyer_id, created_at desc);
create index offers_due_idx on public.offers (valid_until) where status in ('sent', 'accepted');

comment on table public.offers is
'Offers made for one buyer; the two read them, and admins. Written by send_offer(), revise_offer(), withdraw_offer(), '
'decline_offer() and accept_offer().';
comment on column public.offers.conversation_id is 'Where it was made; null when that is gone.';
comment on column public.offers.service_id is 'The service it is a variant of; null: none.';
comment on column public.offers.status is
'State as it was last written; effective_status says it as it is at this moment.';
comment on column public.offers.version is 'The version that stands: a row of offer_versions.';
comment on column public.offers.valid_until is 'Until when that version can be accepted and paid.';
comment on column public.offers.accepted_version is 'Which version was accepted.';
comment on column public.offers.payable_id is 'What the buyer pays since then.';

create table public.offer_versions (
    offer_id uuid not null,
    version integer not null,
    title text not null,
    terms text not null,
    price_cents bigint not null,
    delivery_days integer not null,
    revisions integer not null,
    requirements_asked text,
    valid_until timestamptz not null,
    created_at timestamptz not null default now(),
    constraint offer_versions_pkey primary key (offer_id, version),
    constraint offer_versions_offer_id_fkey foreign key (offer_id) references public.offers (id) on delete cascade,
    constraint offer_versions_title_check check (char_length(title) between 1 and 200),
    constraint offer_versions_terms_check check (char_length(terms) between 1 and 5000),
    constraint offer_versions_price_cents_check check (private.is_price(price_cents) and price_cents > 0),
    constraint offer_versions_delivery_days_check check (delivery_days between 1 and 365),
    constraint offer_versions_revisions_check check (revisions between 0 and 20),
    constraint offer_versions_requirements_asked_check check (char_length(requirements_asked) between 1 and 2000),
    constraint offer_versions_valid_until_check check (
        valid_until > created_at and valid_until <= created_at + interval '2160 hours'
    )
);

-- What a client that breaks these is told, see error_catalog().
comment on constraint offer_versions_title_check on public.offer_versions is
'invalid_title: An offer''s title has 1 to 200 characters.';
comment on constraint offer_versions_terms_check on public.offer_versions is
'invalid_offer: The terms of an offer have 1 to 5,000 characters.';
comment on constraint offer_versions_price_cents_check on public.offer_versions is
'invalid_price: An offer costs from 50 to 99999999 cents.';
comment on constraint offer_versions_delivery_days_check on public.offer_versions is
'invalid_offer: An offer is delivered within 1 to 365 days.';
comment on constraint offer_versions_revisions_check on public.offer_versions is
'invalid_offer: An offer includes 0 to 20 revisions.';
comment on constraint offer_versions_requirements_asked_check on public.offer_versions is
'invalid_offer: What the buyer is asked for has 1 to 2,000 characters.';
comment on constraint offer_versions_valid_until_check on public.offer_versions is
'invalid_offer: An offer stands until a moment within the next 90 days.';

comment on table public.offer_versions is
'What an offer said, version by version; rows never change. Read by whoever reads the offer.';
comment on column public.offer_versions.version is 'From 1.';
comment on column public.offer_versions.title is 'What it is, in one line.';
comment on column public.offer_versions.terms is 'What is done for it.';
comment on column public.offer_versions.price_cents is 'Price, cents.';
comment on column public.offer_versions.delivery_days is 'Days of 24 hours from the start of the work to the delivery.';
comment on column public.offer_versions.revisions is 'Revisions included.';
comment on column public.offer_versions.requirements_asked is
'What the seller needs from the buyer before work starts; null: nothing.';
comment on column public.offer_versions.valid_until is 'Until when it stood.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert on public.offer_versions
for each row execute function private.tidy_texts(
    'title line required', 'terms body required', 'requirements_asked body'
);
create trigger refuse_change before update on public.offer_versions
for each row execute function private.refuse_change();
create trigger touch_updated_at before update on public.offers
for each row execute function private.touch_updated_at();

alter table public.offer_versions alter column title set statistics 0;
alter table public.offer_versions alter column terms set statistics 0;
alter table public.offer_versions alter column requirements_asked set statistics 0;

alter table public.offers enable row level security;
grant select on public.offers to authenticated, service_role;
create policy offers_select on public.offers for select to authenticated
using (
    seller_id = (select private.member_id())
    or buyer_id = (select private.member_id())
    or (select private.is_admin())
);
alter table public.offer_versions enable row level security;
grant select on public.offer_versions to authenticated, service_role;
create policy offer_versions_select on public.offer_versions for select to authenticated
using ((select o.id from public.offers as o where o.id = offer_id) is not null);

create function private.can_be_paid(payable_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.payables as p
        where
            p.id = can_be_paid.payable_id
            and (
                p.status in ('paid', 'returned')
                or p.status = 'open' and (
                    (p.pay_by > clock_timestamp()) is not false
                    -- What was begun in time is waited for.
                    or exists (
                        select from public.order_items as i
                        inner join public.payments as m on m.order_id = i.order_id and m.is_open
                        where i.payable_id = p.id
                    )
                )
            )
    );
end
$$;
comment on function private.can_be_paid(uuid) is 'Whether this was paid, or can still be, or is just being paid.';
grant execute on function private.can_be_paid(uuid) to authenticated;

create function public.effective_status(offer public.offers) returns public.offer_status
language plpgsql
stable
set search_path = ''
as $$
begin
    return case
        when offer.status = 'sent' and offer.valid_until <= clock_timestamp() then 'expired'
        when
            offer.status = 'accepted' and offer.valid_until <= clock_timestamp()
            and not private.can_be_paid(offer.payable_id)
            then 'expired'
        else offer.status
    end;
end
$$;
comment on function public.effective_status(public.offers) is
'Computed field: the offer''s state now, also where its time is over and nothing has written that yet.';
grant execute on function public.effective_status(public.offers) to authenticated, service_role;

create function private.add_offer_version(
    offer public.offers, title text, terms text, price_cents bigint, delivery_days integer, revisions integer,
    valid_until timestamptz, requirements_asked text
) returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into public.offer_versions (
        offer_id, version, title, terms, price_cents, delivery_days, revisions, requirements_asked, valid_until,
        created_at
    ) values (
        offer.id, offer.version, add_offer_version.title, add_offer_version.terms, add_offer_version.price_cents,
        add_offer_version.delivery_days, add_offer_version.revisions, add_offer_version.requirements_asked,
        add_offer_version.valid_until, clock_timestamp()
    );
end
$$;
comment on function private.add_offer_version(
    public.offers, text, text, bigint, integer, integer, timestamptz, text
) is 'Writes what the standing version of an offer says.';

create function public.send_offer(
    conversation_id uuid,
    title text,
    terms text,
    price_cents bigint,
    delivery_days integer,
    revisions integer,
    valid_until timestamptz,
    service_id uuid default null,
    requirements_asked text default null,
    idempotency_key text default null
) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    seller uuid := private.require_member();
    answered jsonb := private.claim_request(
        seller, 'send_offer', send_offer.idempotency_key,
        jsonb_build_object(
            'conversation_id', send_offer.conversation_id, 'title', send_offer.title, 'terms', send_offer.terms,
            'price_cents', send_offer.price_cents, 'delivery_days', send_offer.delivery_days,
            'revisions', send_offer.revisions, 'valid_until', send_offer.valid_until,
            'service_id', send_offer.service_id, 'requirements_asked', send_offer.requirements_asked
        )
    );
    offer public.offers;
    buyer uuid;
begin
    if answered is not null then
        select * into strict offer from public.offers as o where o.id = (answered #>> '{}')::uuid;
        return offer;
    end if;
    select o.user_id into buyer
    from public.conversation_participants as m
    inner join public.conversations as c on c.id = m.conversation_id and not c.is_group
    inner join public.conversation_participants as o on o.conversation_id = c.id and o.user_id <> seller
    where m.conversation_id = send_offer.conversation_id and m.user_id = seller;
    if buyer is null then
        perform private.fail('conversation_not_found', send_offer.conversation_id::text);
    -- As for a message: a block, a ban, a private profile and a deleted account all give the same answer.
    elsif not private.is_visible_to(buyer, seller) or not private.is_visible_to(seller, buyer) then
        perform private.fail('cannot_message');
    elsif not private.knows(buyer, seller) and exists (
        select from public.inbox_entries as e
        where e.conversation_id = send_offer.conversation_id and e.user_id = buyer and e.state <> 'accepted'
    ) then
        perform private.fail('request_pending');
    elsif send_offer.service_id is not null and not exists (
        select from public.catalog_items as c
        where c.id = send_offer.service_id and c.seller_id = seller and c.kind = 'service'
    ) then
        perform private.fail('item_not_found', send_offer.service_id::text);
    end if;
    -- Both stay until it is written, and two of these at once are counted one after the other.
    perform from public.profiles as p where p.id in (seller, buyer) order by p.id for key share;
    perform private.count_activity('offer', 1);
    perform pg_advisory_xact_lock(hashtextextended('offers:' || seller, 0));
    if (
        select count(*) from public.offers as o
        where o.seller_id = seller and o.buyer_id = buyer and o.status = 'sent' and o.valid_until > clock_timestamp()
    ) >= 10 then
        perform private.fail('too_many_offers');
    end if;
    insert into public.offers (conversation_id, service_id, seller_id, buyer_id, valid_until)
    values (send_offer.conversation_id, send_offer.service_id, seller, buyer, send_offer.valid_until)
    returning * into offer;
    perform private.add_offer_version(
        offer, send_offer.title, send_offer.terms, send_offer.price_cents, send_offer.delivery_days,
        send_offer.revisions, send_offer.valid_until, send_offer.requirements_asked
    );
    perform private.notify(buyer, 'offer', seller, 'offer', offer.id);
    perform private.answer_request(seller, 'send_offer', send_offer.idempotency_key, to_jsonb(offer.id));
    return offer;
end
$$;
comment on function public.send_offer(
    uuid, text, text, bigint, integer, integer, timestamptz, uuid, text, text
) is
'Seller: offers the other one of a conversation of two something for this price (cents) and tells them. service_id: '
'which of the caller''s services it is a variant of. The same idempotency_key and request answer the first offer. '
'Errors: conversation_not_found, cannot_message, request_pending (a stranger who has not accepted the '
'conversation), item_not_found, too_many_offers (10 open ones for one buyer), '
'too_many_actions, '
'idempotency_key_invalid, idempotency_key_reused, text_not_visible, and the constraints of offer_versions.';
grant execute on function public.send_offer(
    uuid, text, text, bigint, integer, integer, timestamptz, uuid, text, text
) to authenticated;

create function private.lock_offer(offer_id uuid, side text) returns public.offers
language plpgsql
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    offer public.offers;
begin
    select * into offer from public.offers as o
    where o.id = lock_offer.offer_id and member in (o.seller_id, o.buyer_id)
    for no key update;
    if offer.id is null then
        perform private.fail('offer_not_found', lock_offer.offer_id::text);
    elsif member <> (case side when 'seller' then offer.seller_id else offer.buyer_id end) then
        perform private.fail('not_your_part', side);
    end if;
    offer.status := public.effective_status(offer);
    return offer;
end
$$;
comment on function private.lock_offer(uuid, text) is
'The offer as it is now, locked, for the caller whose part it is (seller, buyer). Errors: offer_not_found, '
'not_your_part.';

create function private.end_offer(offer public.offers, status public.offer_status) returns public.offers
language plpgsql
set search_path = ''
as $$
declare
    paid text;
begin
    if offer.status not in ('sent', 'accepted') then
        perform private.refuse_state('offer', offer.status);
    elsif offer.status = 'accepted' and not private.end_payable(
        offer.payable_id, case end_offer.status when 'expired' then 'lapsed' else 'withdrawn' end::public.payable_status
    ) then
        select p.status into paid from public.payables as p where p.id = offer.payable_id;
        if paid = 'open' then
            perform private.fail('offer_being_paid', offer.id::text);
        end if;
        perform private.refuse_state('offer', offer.status);
    end if;
    update public.offers as o set status = end_offer.status where o.id = offer.id returning * into offer;
    return offer;
end
$$;
comment on function private.end_offer(public.offers, public.offer_status) is
'Ends a locked offer that is not paid. Errors: state_changed, offer_being_paid while money may still arrive for it.';

create function public.revise_offer(
    offer_id uuid,
    title text,
    terms text,
    price_cents bigint,
    delivery_days integer,
    revisions integer,
    valid_until timestamptz,
    requirements_asked text default null
) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    offer public.offers := private.lock_offer(revise_offer.offer_id, 'seller');
begin
    -- One whose time is over may be made anew; what was accepted stands as it was accepted.
    if offer.status <> 'sent' then
        perform private.refuse_state('offer', offer.status);
    elsif offer.version = 100 then
        perform private.fail('too_many_offers');
    end if;
    perform private.count_activity('offer', 1);
    update public.offers as o set version = o.version + 1, valid_until = revise_offer.valid_until
    where o.id = offer.id
    returning * into offer;
    perform private.add_offer_version(
        offer, revise_offer.title, revise_offer.terms, revise_offer.price_cents, revise_offer.delivery_days,
        revise_offer.revisions, revise_offer.valid_until, revise_offer.requirements_asked
    );
    perform private.notify(offer.buyer_id, 'offer', offer.seller_id, 'offer', offer.id);
    return offer;
end
$$;
comment on function public.revise_offer(uuid, text, text, bigint, integer, integer, timestamptz, text) is
'Seller: a new version of an offer nobody accepted yet; the old ones stay readable. Errors: offer_not_found, '
'not_your_part, state_changed, too_many_offers (100 versions), too_many_actions, text_not_visible, '
'the constraints of offer_versions.';
grant execute on function public.revise_offer(uuid, text, text, bigint, integer, integer, timestamptz, text)
to authenticated;

create function public.withdraw_offer(offer_id uuid) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
begin
    return private.end_offer(private.lock_offer(withdraw_offer.offer_id, 'seller'), 'withdrawn');
end
$$;
comment on function public.withdraw_offer(uuid) is
'Seller: takes an offer back, also an accepted one that is not paid. Errors: offer_not_found, not_your_part, '
'state_changed, offer_being_paid (a payment is under way: it decides).';
grant execute on function public.withdraw_offer(uuid) to authenticated;

create function public.decline_offer(offer_id uuid) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
declare
    offer public.offers := private.end_offer(private.lock_offer(decline_offer.offer_id, 'buyer'), 'declined');
begin
    perform private.notify(offer.seller_id, 'offer_declined', offer.buyer_id, 'offer', offer.id);
    return offer;
end
$$;
comment on function public.decline_offer(uuid) is
'Buyer: does not want it, also after accepting it and before paying. Errors: offer_not_found, not_your_part, '
'state_changed, offer_being_paid.';
grant execute on function public.decline_offer(uuid) to authenticated;

create function public.accept_offer(offer_id uuid, version integer) returns public.offers
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    offer public.offers := private.lock_offer(accept_offer.offer_id, 'buyer');
    said public.offer_versions;
begin
    -- Twice is once.
    if offer.status = 'accepted' and offer.accepted_version = accept_offer.version then
        return offer;
    elsif offer.status <> 'sent' then
        perform private.refuse_state('offer', offer.status);
    elsif offer.version is distinct from accept_offer.version then
        perform private.fail('offer_changed', offer.version::text);
    elsif not private.is_visible_to(offer.seller_id, offer.buyer_id)
        or not private.is_visible_to(offer.buyer_id, offer.seller_id)
    then
        perform private.fail('cannot_message');
    end if;
    select * into strict said from public.offer_versions as v
    where v.offer_id = offer.id and v.version = offer.version;
    update public.offers as o set
        status = 'accepted', accepted_version = offer.version,
        payable_id = private.add_payable(row(
            null, 'offer', offer.id, 1, offer.buyer_id, offer.seller_id, said.title, offer.service_id,
            said.price_cents, 0, null, null, null, null, said.valid_until,
            jsonb_strip_nulls(jsonb_build_object(
                'package', jsonb_build_object(
                    'name', said.title, 'delivery_days', said.delivery_days, 'revisions', said.revisions
                ),
                'requirements_asked', said.requirements_asked,
                'offer', jsonb_build_object('id', offer.id, 'version', said.version)
            )), null, null, null
        )::public.payables)
    where o.id = offer.id
    returning * into offer;
    perform private.notify(offer.seller_id, 'offer_accepted', offer.buyer_id, 'offer', offer.id);
    return offer;
end
$$;
comment on function public.accept_offer(uuid, integer) is
'Buyer: accepts this version of an offer. payable_id is what checkout_payable() pays until valid_until; a payment that '
'was begun by then is waited for. Accepting the same again answers the same. Errors: offer_not_found, not_your_part, '
'offer_changed (the detail is the version that stands), state_changed, cannot_message.';
grant execute on function public.accept_offer(uuid, integer) to authenticated;

create function private.expire_offers(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    due public.offers;
    expired integer := 0;
begin
    for due in
        select * from public.offers as o
        where
            o.status in ('sent', 'accepted') and o.valid_until <= clock_timestamp()
            and public.effective_status(o) = 'expired'
        order by o.valid_until
        limit max_rows
        for no key update skip locked
    loop
        continue when due.status = 'accepted' and not private.end_payable(due.payable_id, 'lapsed');
        update public.offers as o set status = 'expired' where o.id = due.id;
        expired := expired + 1;
    end loop;
    return expired;
end
$$;
comment on function private.expire_offers(integer) is
'Ends offers whose time is over, but for those that are just being paid; how many. Call until 0.';
grant execute on function private.expire_offers(integer) to avenue_worker;

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.offers', 'status', null, 'sent', 'send_offer()'),
('public.offers', 'status', 'sent', 'accepted', 'accept_offer() by the buyer'),
('public.offers', 'status', 'sent', 'declined', 'decline_offer() by the buyer'),
('public.offers', 'status', 'sent', 'withdrawn', 'withdraw_offer() by the seller'),
('public.offers', 'status', 'sent', 'expired', 'nobody accepted it in time'),
('public.offers', 'status', 'accepted', 'declined', 'decline_offer() before it was paid'),
('public.offers', 'status', 'accepted', 'withdrawn', 'withdraw_offer() before it was paid'),
('public.offers', 'status', 'accepted', 'expired', 'not paid in time');
select private.build_moves('public.offers', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks, is_browsable, is_repeatable, earned) values
('offer', 'public.offers', 'seller_id', '/offers/{id}',
    '{can_read,evidence,check_line,units,payees,grant,revoke,restore,complete}', false, true, 'at_completion');

create function private.offer_evidence(ids uuid[], reader uuid) returns setof private.reported_content
language sql
stable
security definer
set search_path = ''
as $$
    select o.id, o.seller_id, to_jsonb(o) || jsonb_build_object('versions', (
        select jsonb_agg(to_jsonb(v) order by v.version) from public.offer_versions as v where v.offer_id = o.id
    ))
    from public.offers as o
    where o.id = any (ids)
$$;
comment on function private.offer_evidence(uuid[], uuid) is 'Hook evidence: with all its versions.';

-- Open ones have nobody to stand for them any more.
create function private.withdraw_offers_of(user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    standing public.offers;
    ended integer := 0;
begin
    if not exists (
        select from public.profiles as p
        where p.id = withdraw_offers_of.user_id and (p.is_banned or p.deleted_at is not null)
    ) then
        return 0;
    end if;
    for standing in
        select * from public.offers as o
        where
            withdraw_offers_of.user_id in (o.seller_id, o.buyer_id)
            and (
                o.status = 'sent'
                or o.status = 'accepted' and exists (
                    select from public.payables as p where p.id = o.payable_id and p.status = 'open'
                )
            )
        order by o.id
        limit max_rows
        for no key update
    loop
        -- What is just being paid settles, and the order is given back as others of theirs.
        continue when standing.status = 'accepted' and not private.end_payable(standing.payable_id, 'withdrawn');
        update public.offers as o set
            status = case when standing.seller_id = withdraw_offers_of.user_id then 'withdrawn' else 'declined' end
                ::public.offer_status
        where o.id = standing.id;
        ended := ended + 1;
    end loop;
    return ended;
end
$$;
comment on function private.withdraw_offers_of(uuid, integer) is
'A step after a change of standing: whoever was banned or left offers and is offered nothing any more; how many.';
insert into private.standing_steps (step, position, statement) values
('offers', 6, 'select private.withdraw_offers_of($1, $2)');

-- What came to nothing keeps nobody's name.
insert into private.erasure_steps (step, phase, erases, statement) values
('offers', 'records', '{}',
    'delete from public.offers where (seller_id = $1 or buyer_id = $1) and payable_id is null');

insert into private.personal_data (section, relation, condition, stays, reason) values
('offers', 'public.offers',
    't.seller_id = $1 or t.buyer_id = $1', '{seller_id, buyer_id, conversation_id, service_id, payable_id}',
    'who agreed on what with whom; the other side keeps it'),
('offer_versions', 'public.offer_versions',
    't.offer_id in (select o.id from public.offers as o where o.seller_id = $1 or o.buyer_id = $1)',
    '{title, terms, requirements_asked}', 'what was offered: the buyer keeps it as it was accepted');

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('offer', 'New offer', 'Somebody made you an offer.', null, null, 'digest', true),
('offer_accepted', 'Offer accepted', 'An offer of yours was accepted; work starts when it is paid.', null, null,
    'immediate', false),
('offer_declined', 'Offer declined', 'An offer of yours was declined.', null, null, 'digest', true);

insert into private.activity_limits (kind, fresh, established, period, description) values
('offer', 30, 200, '1 day', 'Offers sent and changed');

insert into private.error_codes (code, sqlstate, message, description) values
('offer_not_found', 'PT404', 'This offer does not exist.', 'There is none with that id, or it is not the caller''s.'),
('offer_changed', 'PT409', 'The offer was changed.',
'Another version stands now, the detail says which. Show it and let the buyer decide.'),
('offer_being_paid', 'PT409', 'This offer is just being paid.',
'The payment decides: it becomes an order, or can be ended once the attempt has ended.'),
('too_many_offers', 'PT409', 'There are too many offers.', 'At most 10 open ones for one buyer, 100 versions of each.'),
('not_your_part', 'PT403', 'This is for the other side to do.',
'The detail says whose part it is: the seller''s, the buyer''s.');
