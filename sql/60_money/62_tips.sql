-- Money without goods. Whoever can be bought from can be tipped: each has one tip jar, made on first use. It is an item
-- of the registry like any other, bought again and again for what the buyer names and without commission; shop pages do
-- not show it. What a settled tip leaves is its row in tips.

create table public.tip_jars (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    suggested_cents bigint not null default 500,
    minimum_cents bigint not null default private.lowest_price_cents(),
    is_open boolean not null default true,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint tip_jars_pkey primary key (id),
    constraint tip_jars_seller_id_key unique (seller_id),
    constraint tip_jars_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    -- The registry row is written by trigger after this one.
    constraint tip_jars_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint tip_jars_suggested_cents_check check (
        suggested_cents between private.lowest_price_cents() and private.highest_amount_cents()
    ),
    constraint tip_jars_minimum_cents_check check (
        minimum_cents between private.lowest_price_cents() and suggested_cents
    )
);

-- What a client that breaks these is told, see error_catalog().
comment on constraint tip_jars_seller_id_key on public.tip_jars is
'already_done: The jar is there already; upsert to change it.';
comment on constraint tip_jars_suggested_cents_check on public.tip_jars is
'invalid_price: A suggested tip is from 50 to 99999999 cents.';
comment on constraint tip_jars_minimum_cents_check on public.tip_jars is
'invalid_price: The least tip is from 50 cents to the suggested one.';

comment on table public.tip_jars is
'What somebody says about tips to them; no row yet: the defaults. Readable with the profile; the owner writes, '
'send_tip() makes it when it is first needed.';
comment on column public.tip_jars.seller_id is 'Whose; always the caller.';
comment on column public.tip_jars.suggested_cents is 'Suggested tip, cents.';
comment on column public.tip_jars.minimum_cents is 'The least tip, cents.';
comment on column public.tip_jars.is_open is 'False takes no tips.';
comment on column public.tip_jars.is_hidden is 'Closed by an admin; written by hide_content() only.';
comment on column public.tip_jars.hidden_reason is 'Why, told to its owner.';

create function private.catalog_entry(jar public.tip_jars) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'tip_jar', jar.seller_id, 'Tip', jar.id::text, null, jar.suggested_cents, jar.minimum_cents, 'USD', null,
        '{}'::text [], null, false, not jar.is_hidden, jar.is_open, null, null, false
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.tip_jars) is
'A tip jar''s registry row; its title is that of the line.';

create trigger refuse_ordered_item before delete on public.tip_jars
for each row execute function private.refuse_ordered_item();
create trigger sync_catalog_item after insert or update or delete on public.tip_jars
for each row execute function private.sync_catalog_item();
create trigger touch_updated_at before update on public.tip_jars
for each row execute function private.touch_updated_at();

create function private.tip_jar_of(recipient uuid) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    jar uuid;
begin
    select j.id into jar from public.tip_jars as j where j.seller_id = recipient;
    if jar is null then
        insert into public.tip_jars (seller_id) values (recipient)
        on conflict on constraint tip_jars_seller_id_key do nothing;
        select j.id into strict jar from public.tip_jars as j where j.seller_id = recipient;
    end if;
    return jar;
end
$$;
comment on function private.tip_jar_of(uuid) is 'Somebody''s tip jar, made if need be.';

create function private.erase_tip_jar(seller uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    begin
        delete from public.tip_jars as j where j.seller_id = seller and not private.item_has_orders(j.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment.
        null;
    end;
    update public.tip_jars as j set is_open = false where j.seller_id = seller and j.is_open;
end
$$;
comment on function private.erase_tip_jar(uuid) is
'Account deletion: a jar that nobody put anything in goes, any other is closed.';

alter table public.tip_jars enable row level security;
grant select on public.tip_jars to anon, authenticated, service_role;
grant
insert (suggested_cents, minimum_cents, is_open),
update (suggested_cents, minimum_cents, is_open)
on public.tip_jars to authenticated;
create policy tip_jars_select_anon on public.tip_jars for select to anon
using ((select c.id from public.catalog_items as c where c.id = tip_jars.id) is not null);
create policy tip_jars_select on public.tip_jars for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = tip_jars.id) is not null
);
create policy tip_jars_insert on public.tip_jars for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy tip_jars_update on public.tip_jars for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));

create table public.tips (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    sender_id uuid not null,
    recipient_id uuid not null,
    amount_cents bigint not null,
    currency character(3) not null default 'USD',
    message text,
    item_id uuid,
    closed_at timestamptz,
    created_at timestamptz not null default now(),
    constraint tips_pkey primary key (id),
    constraint tips_order_item_id_key unique (order_item_id),
    constraint tips_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint tips_sender_id_fkey foreign key (sender_id) references public.profiles (id),
    constraint tips_recipient_id_fkey foreign key (recipient_id) references public.profiles (id),
    constraint tips_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete set null,
    constraint tips_not_own_check check (sender_id <> recipient_id),
    constraint tips_amount_cents_check check (amount_cents between 1 and private.highest_amount_cents()),
    constraint tips_message_check check (char_length(message) between 1 and 500)
);

create index tips_recipient_id_created_at_idx on public.tips (recipient_id, created_at desc);
create index tips_sender_id_created_at_idx on public.tips (sender_id, created_at desc);
create index tips_item_id_idx on public.tips (item_id) where item_id is not null;

comment on table public.tips is
'Tips that were paid. Sender, recipient and admins read; settlement and refunds write. What a tip opened to its sender '
'is open while closed_at is null.';
comment on column public.tips.order_item_id is 'The line that paid it; its transaction says what the recipient earned.';
comment on column public.tips.sender_id is 'Who tipped.';
comment on column public.tips.recipient_id is 'Whom.';
comment on column public.tips.amount_cents is 'What was given, before the provider''s fee, cents.';
comment on column public.tips.message is
'For the recipient, at most 500 characters; erased with the sender''s account.';
comment on column public.tips.item_id is 'What of the recipient''s it is for; null: nothing of it, or it is gone.';
comment on column public.tips.closed_at is 'When all of it was given back or taken back; null while it stands.';

alter table public.tips enable row level security;
grant select on public.tips to authenticated, service_role;
create policy tips_select on public.tips for select to authenticated
using (
    sender_id = (select private.member_id())
    or recipient_id = (select private.member_id())
    or (select private.is_admin())
);

-- Who gives nothing writes to nobody: a tip's words reach whom it is for once it is paid.
create policy order_items_unpaid_tips on public.order_items as restrictive for select to authenticated
using (
    kind <> 'tip_jar'
    or buyer_id = (select private.member_id())
    or (select private.is_admin())
    or exists (select from public.tips as t where t.order_item_id = order_items.id)
);

create function private.tip_jar_check_line(ids uuid[], lines private.wanted_line[]) returns setof private.line_facts
language plpgsql
stable
set search_path = ''
as $$
begin
    perform private.require_keys(l.details, '{message,item_id}', 'line_not_valid') from unnest(lines) as l;
    return query
    select
        l.no, null::text, null::public.license_type, null::text, null::integer,
        jsonb_strip_nulls(jsonb_build_object('message', said.message, 'item_id', about.id)), 0::bigint,
        case when wrong.part is not null then 'line_not_valid' end, wrong.part, 0::bigint, false
    from unnest(lines) as l
    inner join public.tip_jars as j on j.id = l.item_id
    cross join lateral (
        select nullif(private.tidy_body(l.details ->> 'message'), '') as message
    ) as said
    left join public.catalog_items as about
        on
            about.id = case when private.is_uuid(l.details ->> 'item_id') then (l.details ->> 'item_id')::uuid end
            and about.seller_id = j.seller_id and about.is_visible
    cross join lateral (
        select case
            when jsonb_typeof(l.details -> 'message') not in ('string', 'null') or char_length(said.message) > 500
                then 'message: at most 500 characters'
            when l.details ->> 'item_id' is not null and about.id is null then 'item_id: not one of theirs'
        end as part
    ) as wrong;
end
$$;
comment on function private.tip_jar_check_line(uuid[], private.wanted_line[]) is
'Hook check_line: {message, item_id}, both optional; the item is one of whom the tip is for.';

create function private.tip_jar_grant(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.tips (order_item_id, sender_id, recipient_id, amount_cents, currency, message, item_id)
    select i.id, i.buyer_id, i.seller_id, i.total_cents, i.currency, i.details ->> 'message', about.id
    from public.purchases as p
    inner join public.order_items as i on i.id = p.order_item_id
    left join lateral (
        -- It may have been deleted since.
        select c.id from public.catalog_items as c where c.id = (i.details ->> 'item_id')::uuid for key share
    ) as about on true
    where p.id = any (ids)
    order by i.id;
end
$$;
comment on function private.tip_jar_grant(uuid[]) is 'Hook grant: the tips of these lines; their recipients are told.';

create function private.tip_jar_revoke(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.tips as t set closed_at = now()
    from public.purchases as p
    where p.id = any (ids) and t.order_item_id = p.order_item_id and t.closed_at is null;
end
$$;
comment on function private.tip_jar_revoke(uuid[], text) is 'Hook revoke: what was given back opens nothing any more.';

create function private.tip_jar_restore(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.tips as t set closed_at = null
    from public.purchases as p
    where p.id = any (ids) and t.order_item_id = p.order_item_id;
end
$$;
comment on function private.tip_jar_restore(uuid[]) is 'Hook restore: the refund failed, the tip stands again.';

create function public.send_tip(
    recipient_id uuid,
    amount_cents bigint,
    message text default null,
    item_id uuid default null,
    provider public.payment_provider default 'stripe',
    idempotency_key text default null
) returns jsonb
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    sender uuid := private.require_member();
    earlier jsonb;
    lines private.order_line[];
    new_order uuid := gen_random_uuid();
begin
    -- One checkout of a buyer at a time.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || sender, 0));
    earlier := private.claim_request(
        sender, 'send_tip', send_tip.idempotency_key,
        jsonb_build_object(
            'recipient_id', send_tip.recipient_id, 'amount_cents', send_tip.amount_cents, 'message', send_tip.message,
            'item_id', send_tip.item_id, 'provider', send_tip.provider
        )
    );
    if earlier is not null then
        return private.order_summary((earlier #>> '{}')::uuid);
    end if;
    if send_tip.provider is null or send_tip.provider = 'paypal' then
        perform private.fail('provider_not_available', send_tip.provider::text);
    elsif send_tip.amount_cents is null then
        perform private.fail('invalid_checkout', 'amount_cents');
    elsif send_tip.recipient_id = sender then
        perform private.fail('own_item', sender::text);
    elsif private.can_see(send_tip.recipient_id) is not true then
        perform private.fail('user_not_found', send_tip.recipient_id::text);
    end if;
    lines := private.read_lines(sender, jsonb_build_array(jsonb_build_object(
        'item_id', private.tip_jar_of(send_tip.recipient_id), 'quantity', 1,
        'offered_price_cents', send_tip.amount_cents,
        'details', jsonb_strip_nulls(jsonb_build_object('message', send_tip.message, 'item_id', send_tip.item_id))
    )));
    if lines[1].problem is not null then
        perform private.fail(lines[1].problem, lines[1].detail);
    end if;
    perform private.answer_request(sender, 'send_tip', send_tip.idempotency_key, to_jsonb(new_order));
    return private.place_order(new_order, sender, lines, send_tip.provider, null, null);
end
$$;

comment on function public.send_tip(uuid, bigint, text, uuid, public.payment_provider, text) is
'Tips somebody with stripe or wallet and answers as checkout() does; the tip is there once it is paid. item_id: what '
'of theirs it is for. The same idempotency_key with the same request answers the first order. Errors: user_not_found, '
'own_item, item_not_available (they take no tips), price_too_low, amount_out_of_range, line_not_valid (the detail: '
'message or item_id), invalid_checkout (no amount), insufficient_funds, provider_not_available, payments_not_set_up, '
'idempotency_key_invalid, idempotency_key_reused.';
grant execute on function public.send_tip(uuid, bigint, text, uuid, public.payment_provider, text) to authenticated;

insert into private.kinds (kind, relation, owner_column, page, hooks, is_browsable, is_repeatable, commission) values
('tip_jar', 'public.tip_jars', 'seller_id', '/settings/tips',
    '{can_read,evidence,place,lock,hide,check_option,check_line,units,payees,grant,revoke,restore,complete}',
    false, true, 'none');
insert into private.kinds (kind, relation, owner_column, page, hooks) values
('tip', 'public.tips', 'sender_id', '/tips/{id}', '{can_read,evidence}');

insert into private.erasure_steps (step, phase, erases, statement) values
('tip_jars', 'items', '{}', 'select private.erase_tip_jar($1)'),
('tips', 'records', '{public.tips.message}',
    'update public.tips set message = null where sender_id = $1 and message is not null'),
('tip_lines', 'records', '{}', $step$
    update public.order_items set details = details - 'message'
    where buyer_id = $1 and kind = 'tip_jar' and details ? 'message'
$step$);

insert into private.personal_data (section, relation, condition, stays, reason) values
('tip_jars', 'public.tip_jars',
    't.seller_id = $1', '{seller_id, hidden_reason}', 'its orders stay in the books; removed where there are none'),
('tips', 'public.tips',
    't.sender_id = $1 or t.recipient_id = $1', '{sender_id, recipient_id}', 'the books: who paid whom for what');
