-- Gifts: lines that are bought for somebody else, a member or whoever has the code that is mailed to an address. Owner
-- and payer are two from then on: the owner downloads, the payer reads that it was given and nothing of what is in it.
-- A refund takes it back from its owner; whoever was given something unasked may refuse it.
--
-- A refusal is nobody's fault. The seller did what they promised, so the platform bears the provider's fee of it
-- (refund_line()), within settings.gift_refusal_period; whoever claimed a gift by its code took it and refuses nothing.
-- Nor does whoever has had what is in it, or giving to a second account of one's own would make everything free: what
-- may be refused is closed until its receiver opens it (is_gift_open(), asked by ordered_at() and for licence keys).

create type public.gift_status as enum ('ordered', 'waiting', 'given', 'refused');
comment on type public.gift_status is
'ordered: not paid yet. waiting: for whoever has the code. given: it has an owner. refused: by whom it was given to.';

alter table private.settings add column gift_refusal_period interval not null default '336 hours';
comment on column private.settings.gift_refusal_period is 'How long whoever was given something may refuse it.';

create table public.gifts (
    id uuid not null,
    payer_id uuid not null,
    receiver_id uuid,
    item_id uuid not null,
    status public.gift_status not null default 'ordered',
    given_at timestamptz,
    opened_at timestamptz,
    claimed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint gifts_pkey primary key (id),
    constraint gifts_payer_id_fkey foreign key (payer_id) references public.profiles (id),
    constraint gifts_receiver_id_fkey foreign key (receiver_id) references public.profiles (id),
    constraint gifts_item_id_fkey foreign key (item_id) references public.catalog_items (id),
    constraint gifts_given_check check ((given_at is not null) = (status in ('given', 'refused')))
);

create index gifts_payer_id_idx on public.gifts (payer_id, created_at desc);
create index gifts_receiver_id_idx on public.gifts (receiver_id, created_at desc);
create index gifts_item_id_idx on public.gifts (item_id);

alter table public.order_items add constraint order_items_gift_id_fkey
foreign key (gift_id) references public.gifts (id);

comment on table public.gifts is
'Gifts: payer, receiver and admins read; checkout, settlement and the RPCs of gifts write. Whether it still is the '
'receiver''s its purchases say.';
comment on column public.gifts.payer_id is 'Who gives.';
comment on column public.gifts.receiver_id is 'Who gets it; null while nobody has claimed it.';
comment on column public.gifts.item_id is 'What.';
comment on column public.gifts.status is 'State.';
comment on column public.gifts.given_at is 'When it got its owner; its refusal is counted from here.';
comment on column public.gifts.opened_at is
'When its receiver opened it, and could have what is in it: from then on it is not refused.';
comment on column public.gifts.claimed_at is 'When it was claimed by its code; null: given to a member at once.';

create table private.gift_codes (
    gift_id uuid not null,
    email text,
    code_hash bytea,
    mail_due_at timestamptz,
    attempts integer not null default 0,
    last_error text,
    mailed_at timestamptz,
    created_at timestamptz not null default now(),
    constraint gift_codes_pkey primary key (gift_id),
    constraint gift_codes_code_hash_key unique (code_hash),
    constraint gift_codes_gift_id_fkey foreign key (gift_id) references public.gifts (id)
);
create index gift_codes_mail_due_at_idx on private.gift_codes (mail_due_at) where mail_due_at is not null;

comment on table private.gift_codes is
'Where the code of a gift is mailed, and what it is checked by. A code is made when it is mailed and nowhere kept; the '
'one mailed last counts, and it has no end. It has 122 random bits: no number of tries finds one.';
comment on column private.gift_codes.email is 'To whom; forgotten when it is claimed, and with the payer''s account.';
comment on column private.gift_codes.code_hash is 'SHA-256 of the code mailed last.';
comment on column private.gift_codes.mail_due_at is
'When it is to be mailed; null: not now. A claim moves it by its lease.';
comment on column private.gift_codes.attempts is 'How often it was tried since it was last asked for.';
comment on column private.gift_codes.last_error is 'Why the last attempt failed.';
comment on column private.gift_codes.mailed_at is 'When the mail server last took it.';

create trigger touch_updated_at before update on public.gifts
for each row execute function private.touch_updated_at();

alter table public.gifts enable row level security;
alter table private.gift_codes enable row level security;
grant select on public.gifts to authenticated, service_role;
create policy gifts_select on public.gifts for select to authenticated
using (
    payer_id = (select private.member_id())
    or receiver_id = (select private.member_id()) and status <> 'ordered'
    or (select private.is_admin())
);

create function private.gift_problem(
    item public.catalog_items, option_id uuid, payer uuid, receiver uuid, is_owned_once boolean
) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    -- One answer for all that is the receiver's own affair: who blocked whom, and what they have already.
    return case
        when
            item.requires_shipping
            or not exists (select from private.kinds as k where k.kind = item.kind and 'give' = any (k.hooks))
            or receiver is not null and (
                receiver = item.seller_id or private.can_see(receiver) is not true
                or exists (
                    select from public.user_blocks as b
                    where
                        b.blocker_id = item.seller_id and b.blocked_id = receiver
                        or b.blocker_id = receiver and b.blocked_id = item.seller_id
                )
                or is_owned_once and exists (
                    select from public.purchases as p
                    where
                        p.owner_id = receiver and p.item_id = item.id and p.revoked_at is null
                        and p.option_id is not distinct from gift_problem.option_id
                )
            )
            then 'gift_not_possible'
    end;
end
$$;
comment on function private.gift_problem(public.catalog_items, uuid, uuid, uuid, boolean) is
'gift_not_possible when this cannot be given to this member (null: to whoever claims it) by the caller, else null.';

create function private.is_gift_open(gift_id uuid) returns boolean
language plpgsql
stable
strict
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.gifts as g
        cross join private.settings as s
        where
            g.id = is_gift_open.gift_id
            and (
                num_nonnulls(g.opened_at, g.claimed_at) > 0
                or g.given_at + s.gift_refusal_period <= clock_timestamp()
            )
    );
end
$$;
comment on function private.is_gift_open(uuid) is
'Whether its receiver can have what is in a gift: it was opened or claimed, or can be refused no more.';

create function public.open_gift(gift_id uuid) returns public.gifts
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    gift public.gifts;
begin
    update public.gifts as g set opened_at = coalesce(g.opened_at, now())
    where g.id = open_gift.gift_id and g.receiver_id = member and g.status = 'given'
    returning * into gift;
    if gift.id is null then
        perform private.fail('gift_not_found');
    end if;
    return gift;
end
$$;
comment on function public.open_gift(uuid) is
'Whom something was given to: wants it, and can have its files and keys from now on; it cannot be refused any more. '
'Again it answers the same. Error: gift_not_found.';
grant execute on function public.open_gift(uuid) to authenticated;

create function private.note_gifts(payer uuid, lines private.order_line[]) returns void
language plpgsql
set search_path = ''
as $$
begin
    -- What costs nothing could be sent to any number of strangers.
    perform private.count_activity('free_gift', (
        select count(*)::integer from unnest(lines) as l
        where l.gift_id is not null and l.unit_price_cents * l.quantity <= l.discount_cents
    ));
    insert into public.gifts (id, payer_id, receiver_id, item_id)
    select l.gift_id, payer, l.gift_to_id, l.item_id from unnest(lines) as l where l.gift_id is not null;
    insert into private.gift_codes (gift_id, email)
    select l.gift_id, l.gift_email from unnest(lines) as l where l.gift_email is not null;
end
$$;
comment on function private.note_gifts(uuid, private.order_line[]) is
'Checkout: the gifts among these lines. Error: too_many_actions (gifts that cost nothing).';

create function private.give_gifts(orders uuid[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    given record;
begin
    -- A charge that follows a declined one buys a gift again that may have been claimed.
    update public.purchases as p set
        owner_id = g.receiver_id,
        is_owned_once = p.is_owned_once
            and (p.item_id = i.item_id or not private.owns_option(g.receiver_id, p.item_id, p.option_id))
    from public.order_items as i
    inner join public.gifts as g on g.id = i.gift_id and g.receiver_id is not null
    where i.order_id = any (orders) and p.order_item_id = i.id and p.owner_id is null;
    for given in
        update public.gifts as g set
            status = case when g.receiver_id is null then 'waiting' else 'given' end::public.gift_status,
            given_at = case when g.receiver_id is not null then now() end
        where
            g.status = 'ordered'
            and g.id in (select i.gift_id from public.order_items as i where i.order_id = any (orders))
        returning g.id, g.receiver_id, g.payer_id
    loop
        if given.receiver_id is null then
            update private.gift_codes as c set mail_due_at = now() where c.gift_id = given.id;
        else
            perform private.notify(given.receiver_id, 'gift', given.payer_id, 'gift', given.id);
        end if;
    end loop;
end
$$;
comment on function private.give_gifts(uuid[]) is
'Settlement: the gifts of these orders are paid. Who was given one is told, the codes of others are mailed.';

create function private.lock_gift(gift_id uuid) returns public.gifts
language plpgsql
set search_path = ''
as $$
declare
    gift public.gifts;
    paying uuid[] := array(
        select i.order_id from public.order_items as i where i.gift_id = lock_gift.gift_id
    );
begin
    perform from public.payments as p where p.order_id = any (paying) order by p.id for no key update;
    perform private.lock_orders(paying);
    select * into gift from public.gifts as g where g.id = lock_gift.gift_id for no key update;
    return gift;
end
$$;
comment on function private.lock_gift(uuid) is
'Locks a gift after what it was bought with, as refunds lock it; its row.';

create function private.gift_line(gift_id uuid) returns uuid
language sql
stable
set search_path = ''
as $$
    select p.order_item_id
    from public.order_items as i
    inner join public.purchases as p on p.order_item_id = i.id and p.revoked_at is null
    where i.gift_id = gift_line.gift_id
    limit 1
$$;
comment on function private.gift_line(uuid) is
'The line that grants a gift now; null: nobody has a right by it any more.';

create function private.is_gift_taken_back(gift_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select g.status in ('waiting', 'given') and private.gift_line(g.id) is null
    from public.gifts as g
    where g.id = is_gift_taken_back.gift_id
$$;
comment on function private.is_gift_taken_back(uuid) is 'Whether a gift was refunded, or taken away otherwise.';
grant execute on function private.is_gift_taken_back(uuid) to authenticated, service_role;

create function public.is_taken_back(gift public.gifts) returns boolean
language sql
stable
set search_path = ''
as $$
    -- The row that is there, as far as the caller reads it: anybody can call this with a row they made up.
    select private.is_gift_taken_back(g.id) from public.gifts as g where g.id = gift.id
$$;
comment on function public.is_taken_back(public.gifts) is
'Computed field of gifts: it was paid, and refunded or taken away since; nobody has it by this gift.';
grant execute on function public.is_taken_back(public.gifts) to authenticated, service_role;

create function public.claim_gift(code text) returns public.gifts
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    gift public.gifts;
    bought public.order_items;
    sellers uuid[];
begin
    select g.* into gift from private.gift_codes as c
    inner join public.gifts as g on g.id = c.gift_id
    where c.code_hash = sha256(convert_to(lower(btrim(claim_gift.code)), 'UTF8'));
    if gift.id is not null then
        gift := private.lock_gift(gift.id);
        select * into bought from public.order_items as i where i.id = private.gift_line(gift.id);
        -- Of what it brings, too.
        sellers := bought.seller_id || array(
            select c.seller_id from public.purchases as p
            inner join public.catalog_items as c on c.id = p.item_id
            where p.order_item_id = bought.id and p.revoked_at is null
        );
    end if;
    -- Taken back, refused, claimed before, mailed anew since, from somebody blocked: there is no such gift.
    if gift.id is null or gift.status <> 'waiting' or bought.id is null or not exists (
        select from private.gift_codes as c
        where c.gift_id = gift.id and c.code_hash = sha256(convert_to(lower(btrim(claim_gift.code)), 'UTF8'))
    ) or exists (select from private.blocked_ids() as b (id) where b.id = any (sellers || gift.payer_id)) then
        perform private.fail('gift_not_found');
    elsif member = any (sellers) or private.earns_item(member, bought.item_id, bought.id) then
        perform private.fail('own_item', bought.item_id::text);
    -- Or all that it brings.
    elsif bought.is_owned_once and (private.owns_option(member, bought.item_id, bought.option_id) or (
        select bool_and(private.owns_option(member, p.item_id, p.option_id)) from public.purchases as p
        where p.order_item_id = bought.id and p.item_id <> bought.item_id and p.revoked_at is null
    )) then
        perform private.fail('already_owned', bought.item_id::text);
    end if;
    begin
        update public.purchases as p set
            owner_id = member,
            -- What comes on top does not matter to whoever has it.
            is_owned_once = p.is_owned_once
                and (p.item_id = bought.item_id or not private.owns_option(member, p.item_id, p.option_id))
        where p.order_item_id = bought.id and p.owner_id is null;
    exception when unique_violation then
        -- Bought in the same instant.
        perform private.fail('already_owned', bought.item_id::text);
    end;
    update public.gifts as g set status = 'given', receiver_id = member, given_at = now(), claimed_at = now()
    where g.id = gift.id
    returning * into gift;
    update private.gift_codes as c set email = null, code_hash = null, mail_due_at = null where c.gift_id = gift.id;
    perform private.dispatch_purchases('give', array(
        select p.id from public.purchases as p where p.order_item_id = bought.id and p.revoked_at is null
    ));
    perform private.notify(gift.payer_id, 'gift_claimed', null, 'gift', gift.id);
    return gift;
end
$$;
comment on function public.claim_gift(text) is
'Makes what was given to whoever has this code the caller''s own. Errors: gift_not_found (unknown, claimed, taken '
'back), already_owned, own_item.';
grant execute on function public.claim_gift(text) to authenticated;

create function public.refuse_gift(gift_id uuid) returns public.gifts
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    gift public.gifts;
    line uuid;
    sale public.transactions;
begin
    if exists (
        select from public.gifts as g
        where g.id = refuse_gift.gift_id and g.receiver_id = member and g.status <> 'ordered'
    ) then
        gift := private.lock_gift(refuse_gift.gift_id);
    end if;
    if gift.id is null then
        perform private.fail('gift_not_found');
    end if;
    line := private.gift_line(gift.id);
    if
        gift.status <> 'given' or num_nonnulls(gift.claimed_at, gift.opened_at) > 0 or line is null
        or gift.given_at + (select s.gift_refusal_period from private.settings as s) <= clock_timestamp()
    then
        perform private.refuse_state('gift', gift.status);
    end if;
    select * into sale from public.transactions as t where t.order_item_id = line for no key update;
    if sale.id is not null then
        perform private.refund_line(sale.id, null, 'gift_refused', 'automatic', 'platform');
    end if;
    perform private.revoke_line(line, 'refused');
    update public.gifts as g set status = 'refused' where g.id = gift.id returning * into gift;
    perform private.notify(gift.payer_id, 'gift_refused', null, 'gift', gift.id);
    return gift;
end
$$;
comment on function public.refuse_gift(uuid) is
'Whom something was given to: gives it back, and its payer what it cost, at the platform''s cost. Within '
'settings.gift_refusal_period, and not what was claimed by a code or opened. Errors: gift_not_found, state_changed '
'(detail {kind, state}: refused, claimed, opened, taken back, too late), refund_amount_invalid (a refund is '
'under way).';
grant execute on function public.refuse_gift(uuid) to authenticated;

create function public.mail_gift(gift_id uuid, email text default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    perform private.count_activity('gift_mail', 1);
    if (lower(btrim(mail_gift.email)) ~ '^[^@\s<>,;"]{1,64}@[^@\s<>,;"]{1,190}$') is false then
        perform private.fail('invalid_checkout', 'email');
    end if;
    update private.gift_codes as c set
        email = coalesce(lower(btrim(mail_gift.email)), c.email), mail_due_at = now(), attempts = 0, code_hash = null
    from public.gifts as g
    where
        c.gift_id = mail_gift.gift_id and g.id = c.gift_id and g.payer_id = member and g.status = 'waiting'
        and private.gift_line(g.id) is not null;
    if not found then
        perform private.fail('gift_not_found');
    end if;
end
$$;
comment on function public.mail_gift(uuid, text) is
'Payer: mails the code of a gift that nobody has claimed again, or to another address; the code mailed before ends. '
'Errors: gift_not_found, invalid_checkout (no address), too_many_actions.';
grant execute on function public.mail_gift(uuid, text) to authenticated;

-- The mails of codes. Not rows of mails: those are to members.

create function private.claim_gift_mail(lease_seconds integer) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
    due private.gift_codes;
    gift public.gifts;
    code text := replace(gen_random_uuid()::text, '-', '');
begin
    loop
        select c.* into due from private.gift_codes as c
        inner join public.gifts as g on g.id = c.gift_id and g.status = 'waiting'
        where c.mail_due_at <= now() and c.email is not null
        order by c.mail_due_at
        limit 1
        for no key update of c skip locked;
        if due.gift_id is null then
            return null;
        end if;
        exit when private.gift_line(due.gift_id) is not null;
        -- Taken back meanwhile.
        update private.gift_codes as c set mail_due_at = null where c.gift_id = due.gift_id;
    end loop;
    update private.gift_codes as c set
        code_hash = sha256(convert_to(code, 'UTF8')), attempts = c.attempts + 1,
        -- Nobody waits a week for it.
        mail_due_at = case when c.attempts < 20 then now() + make_interval(secs => lease_seconds) end
    where c.gift_id = due.gift_id;
    select * into strict gift from public.gifts as g where g.id = due.gift_id;
    return jsonb_build_object(
        'gift_id', gift.id, 'to', due.email, 'created_at', now(), 'code', code,
        'from', (
            select coalesce(p.display_name, p.username::text) from public.profiles as p
            where p.id = gift.payer_id and p.deleted_at is null
        )
    );
end
$$;
comment on function private.claim_gift_mail(integer) is
'The next code to mail, made anew: {gift_id, to, code, from, created_at}; null: none. Not said to be mailed within the '
'lease it is made and mailed again.';
grant execute on function private.claim_gift_mail(integer) to avenue_worker;

create function private.gift_mailed(gift_id uuid, code text, problem text, retry_seconds integer) returns void
language sql
security definer
set search_path = ''
as $$
    update private.gift_codes as c set
        mailed_at = case when problem is null then now() else c.mailed_at end, last_error = problem,
        mail_due_at = case when problem is not null then now() + make_interval(secs => retry_seconds) end
    -- Not of one that was asked for meanwhile, perhaps to another address.
    where
        c.gift_id = gift_mailed.gift_id and c.mail_due_at is not null
        and c.code_hash = sha256(convert_to(gift_mailed.code, 'UTF8'))
$$;
comment on function private.gift_mailed(uuid, text, text, integer) is
'The mail server took the mail of this code, or said why not; then it is tried again after so many seconds. Of a code '
'that is not the newest nothing is noted.';
grant execute on function private.gift_mailed(uuid, text, text, integer) to avenue_worker;

insert into private.activity_limits (kind, fresh, established, period, description) values
('free_gift', 10, 30, '1 day', 'Gifts that cost nothing'),
('gift_mail', 10, 10, '1 day', 'Codes of gifts mailed again');

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.gifts', 'status', null, 'ordered', 'checkout()'),
('public.gifts', 'status', 'ordered', 'waiting', 'paid, its code is mailed'),
('public.gifts', 'status', 'ordered', 'given', 'paid, to a member'),
('public.gifts', 'status', 'waiting', 'given', 'claim_gift()'),
('public.gifts', 'status', 'given', 'refused', 'refuse_gift()');
select private.build_moves('public.gifts', 'status');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('gift', 'public.gifts', 'payer_id', '/gifts/{id}', '{}');

insert into private.notification_types (type, title, message, email, can_switch_off) values
('gift', 'A gift for you', 'Somebody gave you something. Open it, or refuse it.', 'immediate', false),
('gift_claimed', 'Your gift was claimed', 'What you gave has its owner now.', 'digest', true),
('gift_refused', 'Your gift was refused', 'You get back what you paid for it.', 'immediate', false);

insert into private.erasure_steps (step, phase, erases, statement) values
('gift_codes', 'records', '{private.gift_codes.email, private.gift_codes.last_error}', $step$
    update private.gift_codes as c set email = null, last_error = null, mail_due_at = null
    from public.gifts as g
    where g.id = c.gift_id and g.payer_id = $1 and (c.email is not null or c.last_error is not null)
$step$);

insert into private.personal_data (section, relation, condition, stays, reason) values
('gifts', 'public.gifts', 't.payer_id = $1 or t.receiver_id = $1', '{payer_id, receiver_id}',
    'the books: who paid whom for what'),
('gift_codes', 'private.gift_codes', 't.gift_id in (select g.id from public.gifts as g where g.payer_id = $1)', '{}',
    null);

insert into private.error_codes (code, sqlstate, message, description) values
('gift_not_possible', 'PT409', 'This cannot be given to them.',
'The detail names the item. It is sent, or of a kind that is not given; or the member is not to be found, sells it, or '
'has it already: which of these is not told.'),
('gift_not_found', 'PT404', 'There is no such gift.',
'It does not exist, is not yours, was claimed, refused or taken back; a code counts until a newer one is mailed.'),
('gift_not_opened', 'PT409', 'This gift is not opened.', 'Its receiver opens it first (open_gift()), or refuses it.');
