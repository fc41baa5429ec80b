-- What trying the product from outside found.
-- Each part's reason stands on its page in sql/: this brings a database in use to what the pages say, in one transaction.
-- Existing rows are moved before the constraints they have to meet. Start the new workers right afterwards: checkout by
-- card answers payments_not_set_up until they have published their address.
-- Old rules stay until the new ones hold, so all of it is one transaction, and what squawk advises against is meant: nothing
-- can be built concurrently in it, and what is dropped has a successor here. Tables are locked while it runs: a quiet hour.
-- squawk-ignore-file adding-field-with-default, adding-not-nullable-field, adding-foreign-key-constraint, ban-alter-domain-with-add-constraint, ban-drop-column, ban-drop-constraint, ban-drop-function, ban-drop-not-null, constraint-missing-not-valid, require-concurrent-index-creation, require-concurrent-index-deletion

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/00_platform/60_app_settings.sql ---------------------------------------------------------------------------------
-- What clients must know to reach this installation. A hosted project serves the database, Auth and Storage at its own
-- address and routes nothing to our workers, so the workers publish where they are, and every link names that address.

create table public.app_settings (
    singleton boolean not null default true,
    workers_url text,
    updated_at timestamptz not null default now(),
    constraint app_settings_pkey primary key (singleton),
    constraint app_settings_singleton_check check (singleton),
    constraint app_settings_workers_url_check check (
        workers_url ~ '^https?://[^[:space:]?#"<>\\]*[^[:space:]?#"<>\\/]$' and char_length(workers_url) <= 500
    )
);

comment on table public.app_settings is 'Addresses clients need; exactly one row, readable by everybody.';
comment on column public.app_settings.singleton is 'Always true: keeps the table at one row.';
comment on column public.app_settings.workers_url is
'Base URL of the workers, no slash at the end: /functions/v1/… and /webhooks/… follow it. `avenue serve` writes '
'AVENUE_WORKERS_URL; null until one has started.';

create trigger touch_updated_at before update on public.app_settings
for each row execute function private.touch_updated_at();

create function private.publish_workers(url text) returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.app_settings as s set workers_url = publish_workers.url
    where s.singleton and s.workers_url is distinct from publish_workers.url;
    return publish_workers.url;
end
$$;

comment on function private.publish_workers(text) is
'Workers: makes their base URL known to clients. Of several the last one started counts.';
grant execute on function private.publish_workers(text) to avenue_worker;

create function private.workers_link(path text) returns text
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    base text := (select s.workers_url from public.app_settings as s);
begin
    if base is null then
        perform private.fail('payments_not_set_up');
    end if;
    return base || path;
end
$$;

comment on function private.workers_link(text) is
'Absolute address of a path of the workers. While none are published it refuses, and so does whatever needs them: '
'checkout takes no order that nobody could pay. Error: payments_not_set_up.';

alter table public.app_settings enable row level security;
grant select on public.app_settings to anon, authenticated, service_role;
create policy app_settings_select on public.app_settings for select to anon, authenticated using (true);

insert into public.app_settings (singleton) values (true) on conflict do nothing;

insert into private.error_codes (code, sqlstate, message, description) values
('payments_not_set_up', 'PT409', 'Payments are not set up yet.',
'No worker has published its address, so a payment could not be started; nothing was ordered. Operators: deploy.md. '
'Free items and the wallet work.');

-- sql/00_platform/60_requests.sql -------------------------------------------------------------------------------------
-- What is looked at before every request of the Data API, the same hosted and local: PostgREST calls check_request()
-- in the request's transaction, as the caller. It runs for each page, so it reads no table and looks closer only where
-- the headers give a reason to.

create function private.is_open_to_visitors(path text) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    -- A function that does not exist is PostgREST's to answer.
    return path like '/rpc/%' and not exists (
        select from pg_catalog.pg_proc as p
        where
            p.pronamespace = 'public'::regnamespace and p.proname = substr(path, 6)
            and not has_function_privilege('anon', p.oid, 'execute')
    );
end
$$;
comment on function private.is_open_to_visitors(text) is
'Whether somebody without a token may write at a path of the Data API: to functions granted to anon only.';
grant execute on function private.is_open_to_visitors(text) to anon;

create function private.check_request() returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    headers text := current_setting('request.headers', true);
    method text;
    path text;
begin
    if current_user not in ('anon', 'authenticated') then
        return;
    end if;
    -- Each page pays for this line: no pattern, and PostgREST knows these words in lower case only.
    if strpos(headers, 'planned') > 0 or strpos(headers, 'estimated') > 0 then
        path := current_setting('request.path', true);
        if headers::json ->> 'prefer' ~* 'count[[:space:]]*=[[:space:]]*"?(planned|estimated)' then
            -- The planner counts all rows, whatever a policy hides, and what is embedded decides with them.
            if
                has_table_privilege('avenue_estimates', to_regclass('public.' || quote_ident(ltrim(path, '/'))), 'select')
                is not true
            then
                perform private.fail('count_not_available', path);
            end if;
            perform set_config('role', 'avenue_estimates', true);
            return;
        end if;
    end if;
    method := current_setting('request.method', true);
    if method <> 'GET' and method <> 'HEAD' then
        if (headers::json ->> 'content-length')::numeric > 1048576 then
            perform private.fail('body_too_large', headers::json ->> 'content-length');
        end if;
        if current_user = 'anon' then
            path := current_setting('request.path', true);
            if not private.is_open_to_visitors(path) then
                perform private.fail('not_signed_in', path);
            end if;
        end if;
    end if;
end
$$;
comment on function private.check_request() is
'PostgREST''s pre-request: refuses estimated counts of what belongs to persons (count_not_available), bodies of more '
'than 1 MiB (body_too_large) and writing without a token (not_signed_in). Operators'' keys pass.';
grant execute on function private.check_request() to anon, authenticated, service_role;

-- PostgREST reads its settings from the role it connects as, on a hosted project too. A server that lets only a
-- superuser do this says so instead of refusing the schema.
do $$
begin
    alter role authenticator set pgrst.db_pre_request = 'private.check_request';
    notify pgrst, 'reload config';
exception when insufficient_privilege then
    raise warning 'the Data API does not call private.check_request(): as a superuser, '
        'alter role authenticator set pgrst.db_pre_request = ''private.check_request''';
end
$$;

insert into private.error_codes (code, sqlstate, message, description) values
('count_not_available', 'PT400', 'Estimated counts are not available here.',
'count=planned and count=estimated are made from all rows, also from those the caller may not see. Ask for count=exact '
'or page by key. The access matrix says where estimates are answered; the detail is the path.'),
('body_too_large', 'PT413', 'The request is too large.',
'Requests to the Data API have at most 1 MiB; the detail is what was sent, bytes. Files go to Storage.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/60_money/65_refund_requests.sql ---------------------------------------------------------------------------------
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
    constraint refund_requests_reason_check check (char_length(reason) between 1 and 500),
    constraint refund_requests_note_check check (char_length(note) between 1 and 500),
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
comment on column public.refund_requests.buyer_id is 'Who asks.';
comment on column public.refund_requests.seller_id is 'Who is asked.';
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
revoke all on public.refund_requests from anon, authenticated, service_role;
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

create or replace function public.request_refund(order_item_id uuid, reason text) returns public.refund_requests
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    sale public.transactions;
    request public.refund_requests;
    words text := private.tidy_body(request_refund.reason);
begin
    if char_length(coalesce(words, '')) not between 1 and 500 then
        perform private.fail('reason_required');
    end if;
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

create or replace function public.answer_refund_request(request_id uuid, accept boolean, note text default null)
returns public.refund_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    request public.refund_requests;
    made uuid;
    words text := private.tidy_body(answer_refund_request.note);
begin
    if char_length(words) not between 1 and 500 then
        perform private.fail('reason_required');
    end if;
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
            'answer_refund_request', 'refund_requests', request.id,
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

insert into private.erasure_steps (step, position, statement) values
('refund_request_reasons', 0, 'update public.refund_requests set reason = ''erased'' where buyer_id = $1'),
('refund_request_notes', 0, 'update public.refund_requests set note = null where seller_id = $1');

insert into private.personal_data (section, relation, condition) values
('refund_requests', 'public.refund_requests', 't.buyer_id = $1 or t.seller_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('refund_request_open', 'PT409', 'A refund was already asked for.', 'Wait for the answer; answer_by says until when.'),
('refund_request_closed', 'PT409', 'This refund request can no longer be answered.',
'It does not exist for the caller, was answered, or its time is over.');

-- sql/60_money/85_corrections.sql -------------------------------------------------------------------------------------
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
    constraint book_corrections_change_check check (change_cents <> 0 and abs(change_cents) <= 99999999),
    constraint book_corrections_account_check check (
        account in ('member', 'revenue', 'tax_payable', 'promotions', 'bank')
        and (account = 'member') = (user_id is not null)
    ),
    constraint book_corrections_reason_check check (char_length(reason) between 1 and 500),
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
comment on column public.book_corrections.currency is 'ISO 4217.';
comment on column public.book_corrections.account is
'Who bears or receives it: member (user_id: available money, then debt), revenue, tax_payable, promotions, or bank '
'(money the platform moved between its own bank account and the provider).';
comment on column public.book_corrections.user_id is 'The member, if it is one''s.';
comment on column public.book_corrections.reason is 'Why; a member it concerns reads it in the statement.';
comment on column public.book_corrections.status is 'State.';
comment on column public.book_corrections.proposed_by is 'Admin. No foreign key: the books outlive accounts.';
comment on column public.book_corrections.decided_by is 'Another admin who approved, or any who rejected.';
comment on column public.book_corrections.decided_at is 'When.';

alter table public.book_corrections enable row level security;
revoke all on public.book_corrections from anon, authenticated, service_role;
grant select on public.book_corrections to authenticated, service_role;
create policy book_corrections_select on public.book_corrections for select to authenticated
using ((select private.is_admin()));

create or replace function public.propose_correction(
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
    words text := private.tidy_body(propose_correction.reason);
begin
    if char_length(coalesce(words, '')) not between 1 and 500 then
        perform private.fail('reason_required');
    end if;
    if propose_correction.provider is null or propose_correction.provider = 'wallet'
        or coalesce(propose_correction.change_cents, 0) = 0
        or propose_correction.change_cents not between -99999999 and 99999999
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
    perform private.audit('propose_correction', 'book_corrections', correction.id, jsonb_build_object(
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
        case when approve then 'approve_correction' else 'reject_correction' end, 'book_corrections', correction.id
    );
    return correction;
end
$$;

comment on function public.decide_correction(uuid, boolean) is
'Admin: approves a correction somebody else proposed, which books it, or rejects one. Errors: admin_only, '
'correction_not_open, own_correction, own_wallet.';
grant execute on function public.decide_correction(uuid, boolean) to authenticated;

insert into private.error_codes (code, sqlstate, message, description) values
('correction_invalid', 'PT400', 'The correction is not valid.',
'A provider, a non-zero amount of at most 999,999.99 and an account are required; user_id with member, and only then.'),
('correction_not_open', 'PT409', 'This correction was decided already.',
'It does not exist, or is not proposed any more.'),
('own_correction', 'PT403', 'Admins do not approve their own corrections.', 'Ask another admin.');

-- What goes -----------------------------------------------------------------------------------------------------------

-- What the columns that go say is kept aside until the new ones are there.
create temporary table old_refunds on commit drop as
select r.id, r.requested_by, r.idempotency_key from public.refunds as r;
create temporary table old_orders on commit drop as
select o.id, o.user_id, o.idempotency_key, o.created_at from public.orders as o where o.idempotency_key is not null;

set local check_function_bodies = off;

revoke all on function private.is_sent_attachment(text) from authenticated;

revoke all (profile_visibility) on table public.profiles from authenticated;

drop policy articles_select_anon on public.articles;

drop policy catalog_items_select_anon on public.catalog_items;

drop policy comment_likes_insert on public.comment_likes;

drop policy comments_select_anon on public.comments;

drop policy comments_select on public.comments;

drop policy posts_select_anon on public.posts;

drop policy product_files_delete on public.product_files;

drop policy product_files_insert on public.product_files;

drop policy product_files_select on public.product_files;

drop policy product_files_update on public.product_files;

drop policy profiles_select_anon on public.profiles;

drop policy profiles_select on public.profiles;

drop policy avenue_objects_delete on storage.objects;

drop policy avenue_objects_insert on storage.objects;

drop policy avenue_objects_select on storage.objects;

drop policy avenue_objects_update on storage.objects;

drop trigger change_standing_in_turn on public.bans;

drop trigger check_cart_item on public.cart_items;

drop trigger check_comment on public.comments;

drop trigger tidy_comment on public.comments;

drop trigger count_withdrawals on public.payouts;

drop trigger change_posts_in_turn on public.posts;

drop trigger check_block on public.user_blocks;

drop trigger sum_product_files on public.product_files;

drop trigger change_standing_in_turn on public.profiles;

drop trigger check_profile on public.profiles;

drop trigger follow_article_author on public.profiles;

drop trigger follow_author_of_comments on public.profiles;

drop trigger follow_author_of_posts on public.profiles;

drop trigger follow_seller_standing on public.profiles;

drop trigger forget_notifications on public.profiles;

drop trigger count_purchases on public.purchases;

drop index public.bans_banned_by_idx;

drop index public.catalog_items_category_created_at_id_idx;

drop index public.catalog_items_created_at_id_idx;

drop index public.catalog_items_kind_created_at_id_idx;

drop index public.catalog_items_popularity_id_idx;

drop index public.catalog_items_seller_id_created_at_idx;

drop index public.custom_field_requests_reviewed_by_idx;

drop index public.hidden_content_hidden_by_idx;

drop index public.inbox_entries_user_id_last_message_at_conversation_id_idx;

drop index public.inbox_entries_user_id_unread_count_idx;

drop index public.product_approvals_reviewed_by_idx;

alter table ledger.accounts
    drop constraint accounts_code_check;

alter table public.articles
    drop constraint articles_category_check;

alter table public.articles
    drop constraint articles_title_check;

alter table public.artist_profiles
    drop constraint artist_profiles_artist_name_check;

alter table public.artist_profiles
    drop constraint artist_profiles_social_links_check;

alter table public.artworks
    drop constraint artworks_title_check;

alter table public.bans
    drop constraint bans_banned_by_fkey;

alter table public.bans
    drop constraint bans_reason_check;

alter table public.catalog_items
    drop constraint catalog_items_counts_check;

alter table public.comments
    drop constraint comments_parent_comment_id_fkey;

alter table public.conversations
    drop constraint conversations_group_name_check;

alter table public.custom_field_requests
    drop constraint custom_field_requests_reviewed_by_fkey;

alter table public.genres
    drop constraint genres_name_check;

alter table public.groups
    drop constraint groups_name_check;

alter table public.hidden_content
    drop constraint hidden_content_hidden_by_fkey;

alter table public.hidden_content
    drop constraint hidden_content_reason_check;

alter domain public.http_url
    drop constraint http_url_check;

alter domain public.http_urls
    drop constraint http_urls_check;

alter table public.messages
    drop constraint messages_content_check;

alter table public.orders
    drop constraint orders_idempotency_key_check;

alter table public.orders
    drop constraint orders_idempotency_key_key;

alter table public.poll_options
    drop constraint poll_options_option_check;

alter table public.posts
    drop constraint posts_link_preview_check;

alter table public.product_approvals
    drop constraint product_approvals_reviewed_by_fkey;

alter table public.product_files
    drop constraint product_files_name_check;

alter table public.products
    drop constraint products_title_check;

alter table public.profile_locations
    drop constraint profile_locations_city_check;

alter table public.profile_locations
    drop constraint profile_locations_country_check;

alter table public.profiles
    drop constraint profiles_display_name_check;

alter table public.profiles
    drop constraint profiles_smart_link_check;

alter table public.refunds
    drop constraint refunds_idempotency_key_key;

alter table public.skills
    drop constraint skills_name_check;

drop function private.apply_refund_line(public.refund_lines, integer);

drop function private.change_posts_in_turn();

drop function private.change_standing_in_turn();

drop function private.create_profile(uuid, text, jsonb);

drop function private.create_refund(uuid, uuid, bigint, text, uuid, text);

drop function private.end_payout(uuid, public.payout_status, text);

drop function private.erase_artworks(uuid);

drop function private.erase_products(uuid);

drop function private.follow_article_author();

drop function private.follow_author_of_comments();

drop function private.follow_author_of_posts();

drop function private.follow_seller_standing();

drop function private.forget_actor_notifications();

drop function private.free_slug(text, regclass, uuid);

drop function private.has_bought_file(text);

drop function private.hold_comment_targets_of(uuid);

drop function private.is_product_file(text);

drop function private.mail_failed(uuid, text, boolean, integer);

drop function private.payments_to_cancel(integer);

drop function private.prepare_onboarding(uuid, boolean, timestamp with time zone);

drop function private.refunds_to_resume(integer);

drop function private.set_payout_approved(uuid, uuid);

drop function private.set_payout_destination(uuid, text);

drop function private.take_standing_turn();

drop function private.tidy_comment();

drop function private.tidy_name(text);

drop function private.username_problem(text);

drop function public.delete_my_account();

drop function public.export_my_data();

drop function public.inbox(timestamp with time zone, uuid, integer);

drop function public.request_payout(bigint);

drop function public.unread_counts();

alter table public.bans
    drop column banned_by;

alter table public.catalog_items
    drop column popularity;

alter table public.custom_field_requests
    drop column reviewed_by;

alter table public.hidden_content
    drop column hidden_by;

alter table public.orders
    drop column idempotency_key;

alter table public.payouts
    drop column approved_by;

alter table public.product_approvals
    drop column reviewed_by;

alter table public.refunds
    drop column idempotency_key;

alter table public.refunds
    drop column requested_by;

-- New tables, columns and types ---------------------------------------------------------------------------------------

create table private.account_changes (
    user_id uuid not null,
    audience public.audience not null,
    requested_at timestamp with time zone not null default now(),
    constraint account_changes_pkey primary key (user_id)
);

alter table private.account_changes
    enable row level security;

create table private.activity_limits (
    kind text not null,
    fresh integer not null,
    established integer not null,
    period interval not null,
    description text not null,
    constraint activity_limits_check
        check (((fresh >= 0) AND (established >= fresh) AND (period > '00:00:00'::interval))),
    constraint activity_limits_pkey primary key (kind)
);

alter table private.activity_limits
    enable row level security;

create table private.activity (
    user_id uuid not null,
    kind text not null,
    started_at timestamp with time zone not null,
    count integer not null,
    constraint activity_pkey primary key (user_id, kind)
);

alter table private.activity
    enable row level security;

create table private.artworks_before_sale (
    artwork_id uuid not null,
    status public.artwork_status not null,
    constraint artworks_before_sale_pkey primary key (artwork_id)
);

alter table private.artworks_before_sale
    enable row level security;

create table private.ban_key (
    singleton boolean not null default true,
    key bytea not null default sha256((uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))),
    constraint ban_key_pkey primary key (singleton),
    constraint ban_key_singleton_check check (singleton)
);

alter table private.ban_key
    enable row level security;

create table private.banned_addresses (
    address_hash bytea not null,
    user_id uuid,
    banned_at timestamp with time zone not null default now(),
    review_at timestamp with time zone not null default (now() + '1 year'::interval),
    constraint banned_addresses_pkey primary key (address_hash)
);

alter table private.banned_addresses
    enable row level security;

create table private.chat_departures (
    conversation_id uuid not null,
    user_id uuid not null,
    may_return boolean not null default true,
    created_at timestamp with time zone not null default now(),
    constraint chat_departures_pkey primary key (conversation_id, user_id)
);

alter table private.chat_departures
    enable row level security;

create table private.cursors (
    name text not null,
    position bigint not null default (floor(EXTRACT(epoch from now())))::bigint,
    constraint cursors_pkey primary key (name)
);

alter table private.cursors
    enable row level security;

create table private.freed_usernames (
    name_hash bytea not null,
    former_owner uuid,
    freed_at timestamp with time zone not null default now(),
    constraint freed_usernames_pkey primary key (name_hash)
);

alter table private.freed_usernames
    enable row level security;

create table private.hold_limits (
    user_id uuid not null,
    max_holds integer not null,
    constraint hold_limits_max_holds_check check (((max_holds >= 0) AND (max_holds <= 1000))),
    constraint hold_limits_pkey primary key (user_id)
);

alter table private.hold_limits
    enable row level security;

create table private.hold_periods (
    user_id uuid not null,
    item_id uuid not null,
    ends_at timestamp with time zone not null,
    renewals integer not null default 0,
    constraint hold_periods_pkey primary key (user_id, item_id)
);

alter table private.hold_periods
    enable row level security;

create table private.kept_votes (
    option_id uuid not null,
    votes integer not null,
    constraint kept_votes_pkey primary key (option_id)
);

alter table private.kept_votes
    enable row level security;

create table private.lifted_limits (
    user_id uuid not null,
    until timestamp with time zone not null default 'infinity'::timestamp with time zone,
    constraint lifted_limits_pkey primary key (user_id)
);

alter table private.lifted_limits
    enable row level security;

create table private.password_changes (
    user_id uuid not null,
    changed_at timestamp with time zone not null,
    constraint password_changes_pkey primary key (user_id, changed_at)
);

alter table private.password_changes
    enable row level security;

create table private.payment_closings (
    payment_id uuid not null,
    requested_at timestamp with time zone not null default now(),
    tried_at timestamp with time zone,
    constraint payment_closings_pkey primary key (payment_id)
);

alter table private.payment_closings
    enable row level security;

create table private.provider_delays (
    object_id uuid not null,
    kind text not null,
    attempts integer not null default 1,
    reason text not null,
    retry_at timestamp with time zone not null,
    since timestamp with time zone not null default now(),
    constraint provider_delays_kind_check check ((kind = ANY (ARRAY['payout'::text, 'refund'::text]))),
    constraint provider_delays_pkey primary key (object_id)
);

alter table private.provider_delays
    enable row level security;

create table private.standing_steps (
    step text not null,
    position integer not null,
    statement text not null,
    constraint standing_steps_pkey primary key (step)
);

alter table private.standing_steps
    enable row level security;

create table private.told_mentions (
    related_id uuid not null,
    user_id uuid not null,
    constraint told_mentions_pkey primary key (related_id, user_id)
);

alter table private.told_mentions
    enable row level security;

create table private.transliterations (
    letter text not null,
    latin text not null,
    constraint transliterations_latin_check check ((latin ~ '^(\^?[a-z]*|[0-9]|\+)$'::text)),
    constraint transliterations_letter_check check ((char_length(letter) = 1)),
    constraint transliterations_pkey primary key (letter)
);

alter table private.transliterations
    enable row level security;

create table public.mail_bounces (
    user_id uuid not null,
    address_hash bytea not null,
    is_permanent boolean not null,
    bounces integer not null default 1,
    reason text not null,
    retry_at timestamp with time zone,
    created_at timestamp with time zone not null default now(),
    updated_at timestamp with time zone not null default now(),
    constraint mail_bounces_pkey primary key (user_id),
    constraint mail_bounces_retry_at_check check ((is_permanent = (retry_at IS NULL)))
);

alter table public.mail_bounces
    enable row level security;

revoke all on table public.mail_bounces from anon;

create table public.sale_reviews (
    transaction_id uuid not null,
    seller_id uuid not null,
    released_at timestamp with time zone,
    created_at timestamp with time zone not null default now(),
    constraint sale_reviews_pkey primary key (transaction_id)
);

alter table public.sale_reviews
    enable row level security;

revoke all on table public.sale_reviews from anon;

alter table private.erasure_steps
    add column batch text;

alter table private.reserved_usernames
    add column is_official boolean not null default false;

alter table private.settings
    add column hold_pause interval not null default '01:00:00'::interval;

alter table private.settings
    add column holds_per_account integer not null default 5;

alter table private.settings
    add column payout_daily_cents bigint not null default 100000;

alter table private.settings
    add column password_proof_after interval not null default '24:00:00'::interval;

alter table private.settings
    add column event_personal_period interval not null default '30 days'::interval;

alter table private.settings
    add column seller_debt_cents bigint not null default 20000;

alter table private.settings
    add column review_sale_above_cents bigint not null default 100000;

alter table private.settings
    add column new_seller_period interval not null default '30 days'::interval;

alter table private.settings
    add column refund_answer_period interval not null default '7 days'::interval;

alter table private.settings
    add column stuck_money_after interval not null default '3 days'::interval;

alter table private.settings
    add column username_hold interval not null default '90 days'::interval;

alter table private.settings
    add column custom_field_account_age interval not null default '7 days'::interval;

alter table private.settings
    add column fresh_account_period interval not null default '7 days'::interval;

alter table private.settings
    add column request_messages integer not null default 3;

alter table private.webhook_events
    add column foreign_mode boolean not null default false;

alter table private.webhook_events
    add column user_id uuid;

alter table public.cart_items
    add column shown_price_cents bigint not null default 0;

alter table public.catalog_items
    add column paid_purchases_count integer not null default 0;

alter table public.catalog_items
    add column popularity smallint generated always as
        ((floor((((4)::double precision * ln(((1 + paid_purchases_count))::double precision)) / ln((2)::double
        precision))))::smallint) stored not null;

alter table public.catalog_items
    add column published_at timestamp with time zone;

alter table public.hidden_content
    add column rank public.group_role;

alter table public.order_items
    add column description text;

alter table public.order_items
    add column license_type public.license_type;

alter table public.order_items
    add column license_text text;

alter table public.order_items
    add column license_version integer;

alter table public.order_items
    add column details jsonb not null default '{}'::jsonb;

alter table public.payments
    add column fee_checked_at timestamp with time zone;

alter table public.payments
    add column charge_reversed_at timestamp with time zone;

alter table public.payouts
    add column returned_cents bigint not null default 0;

alter table public.product_files
    add column artwork_id uuid;

alter table public.products
    add column license_version integer not null default 1;

alter table public.profiles
    add column is_confirmed boolean not null default false;

alter table public.wallets
    add column stripe_account_checked_at timestamp with time zone;

alter table public.comments
    alter column content drop not null;

alter table public.comments
    alter column user_id drop not null;

alter table public.product_files
    alter column product_id drop not null;

alter table public.product_files
    add column item_id uuid not null generated always as (COALESCE(product_id, artwork_id)) stored;

alter table public.product_files
    add column object_version text;

alter table public.product_files
    add column removed_at timestamp with time zone;

alter table public.product_files
    add column taken_down_at timestamp with time zone;

alter table public.articles
    alter column author_audience set default 'owner'::public.audience;

alter table public.articles
    alter column search set default ''::tsvector;

alter table public.articles
    alter column slug set default ''::text;

alter table public.artworks
    alter column slug set default ''::text;

alter table public.comments
    alter column author_audience set default 'owner'::public.audience;

alter table public.groups
    alter column slug set default ''::text;

alter table public.messages
    alter column number set default 0;

alter table public.posts
    alter column author_audience set default 'owner'::public.audience;

alter table public.posts
    alter column search set default ''::tsvector;

alter table public.product_files
    alter column content_type set default ''::text;

alter table public.product_files
    alter column name set default ''::text;

alter table public.product_files
    alter column size_bytes set default 0;

alter table public.products
    alter column slug set default ''::text;

create type private.order_line as (
    line_no smallint,
    item_id uuid,
    seller_id uuid,
    is_unique boolean,
    title text,
    description text,
    license_type public.license_type,
    license_text text,
    license_version integer,
    details jsonb,
    unit_price_cents bigint,
    quantity integer,
    seller_tier text,
    commission_bps integer,
    problem text,
    detail text
);

create type public.activity_limit as (
    kind text,
    most integer,
    used integer,
    resets_at timestamp with time zone
);

create type public.error_entry as (
    name text,
    code text,
    sqlstate text,
    message text,
    advice text
);

create type public.inbox_state as enum (
    'accepted',
    'requested',
    'declined'
);

alter table public.inbox_entries
    add column state public.inbox_state not null default 'accepted'::public.inbox_state;

create type public.refund_origin as enum (
    'seller',
    'admin',
    'automatic',
    'provider'
);

alter table public.refunds
    add column origin public.refund_origin not null default 'provider'::public.refund_origin;

alter table public.refunds
    add column paid_outside boolean not null default false;

alter table public.refunds
    add column sent_at timestamp with time zone;

alter table public.refunds
    add column checked_at timestamp with time zone;

create type public.unread_counts as (
    notifications integer,
    messages integer
);

-- sql/00_platform/20_errors.sql ---------------------------------------------------------------------------------------

create or replace function public.error_catalog() returns setof public.error_entry
language sql
stable
security definer
set search_path = ''
as $$
    select c.code, c.code, c.sqlstate, c.message, c.description
    from private.error_codes as c
    where c.sqlstate like 'PT%'
    union all
    select
        k.conname, split_part(d.description, ': ', 1),
        case k.contype when 'c' then '23514' when 'f' then '23503' else '23505' end,
        substr(d.description, strpos(d.description, ': ') + 2),
        'Constraint of ' || case when k.conrelid = 0 then k.contypid::regtype::text else k.conrelid::regclass::text end || '.'
    from pg_catalog.pg_constraint as k
    inner join pg_catalog.pg_description as d on d.classoid = 'pg_catalog.pg_constraint'::regclass and d.objoid = k.oid
    where k.connamespace = 'public'::regnamespace and d.description ~ '^[a-z_]+: '
    union all
    select
        k.relname, split_part(d.description, ': ', 1), '23505',
        substr(d.description, strpos(d.description, ': ') + 2), 'Unique index of ' || i.indrelid::regclass::text || '.'
    from pg_catalog.pg_index as i
    inner join pg_catalog.pg_class as k on k.oid = i.indexrelid
    inner join pg_catalog.pg_description as d on d.classoid = 'pg_catalog.pg_class'::regclass and d.objoid = k.oid
    where k.relnamespace = 'public'::regnamespace and i.indisunique and d.description ~ '^[a-z_]+: '
    union all
    values
    ('42501', 'not_allowed', '42501', 'This is not allowed.',
    'Not for this role: the verb, a column that was sent, or this row. The access matrix says who may do what.'),
    ('23502', 'value_missing', '23502', 'A value is missing.', 'The message names the column.'),
    ('22P02', 'invalid_value', '22P02', 'A value is of the wrong kind.', 'The message names it.'),
    ('22001', 'value_too_long', '22001', 'A value is too long.', 'The message says how long it may be.'),
    ('22003', 'value_out_of_range', '22003', 'A number is too large or too small.', 'The message names it.'),
    ('22007', 'invalid_value', '22007', 'A value is of the wrong kind.', 'A date or time; the message names it.'),
    ('22008', 'value_out_of_range', '22008', 'A date or time does not exist.', 'The message names it.'),
    ('22P05', 'invalid_value', '22P05', 'A text holds what cannot be stored.', 'A NUL or half a surrogate pair.'),
    ('21000', 'filter_missing', '21000', 'Please say which rows.', 'PATCH and DELETE need a filter.')
    order by 1
$$;
revoke all on function public.error_catalog() from public, service_role;

-- sql/00_platform/30_helpers.sql --------------------------------------------------------------------------------------

create or replace function private.free_slug (
    wanted text,
    title text,
    relation regclass,
    id uuid
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    base text := coalesce(
        nullif(lower(btrim(wanted)), ''), nullif(btrim(left(private.slugify(title), 80), '-'), ''), 'item'
    );
    stem text := btrim(left(base, 89), '-');
    candidate text := base;
    is_taken boolean;
begin
    -- Two rows that arrive together with one title do not see each other. Whoever finds the turn of their title taken
    -- gets an ending at once: nobody waits for a stranger's transaction, and there are 64 turns, because the lock table
    -- is shared and small. The unique index has the last word.
    if not pg_try_advisory_xact_lock(hashtext('avenue:slugs'), hashtext(relation::text || ':' || base) & 63) then
        candidate := stem || '-' || left(replace(id::text, '-', ''), 10);
    end if;
    for attempt in 1..3 loop
        -- A hidden row's address is as taken as a visible one's, and neither is refused: a refusal would tell of it.
        execute format('select exists (select from %s as t where t.slug = $1 and t.id <> $2)', relation)
        into is_taken using candidate, id;
        exit when not is_taken;
        candidate := stem || '-'
        || left(replace(case when attempt = 1 then id else gen_random_uuid() end::text, '-', ''), 10);
    end loop;
    return candidate;
end
$function$;

create or replace function private.keep_row()
    returns trigger
    language plpgsql
    set search_path to ''
    AS $function$
begin
    return old;
end
$function$;

create or replace function private.require_keys (
    value jsonb,
    allowed text[],
    code text
)
    returns void
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    foreign_keys text;
begin
    if jsonb_typeof(value) <> 'object' then
        perform private.fail(code, 'not an object');
    end if;
    select string_agg(k.key, ', ' order by k.key) into foreign_keys
    from jsonb_object_keys(value) as k (key)
    where k.key <> all (allowed);
    if foreign_keys is not null then
        perform private.fail(
            code, format('unknown: %s; known: %s', left(foreign_keys, 200), array_to_string(allowed, ', '))
        );
    end if;
end
$function$;

create or replace function private.end_requests(pids integer[]) returns void
language sql
volatile
security definer
set search_path = ''
as $$
    select pg_cancel_backend(a.pid) from pg_catalog.pg_stat_activity as a
    where
        a.pid = any(pids) and a.pid <> pg_backend_pid()
        and a.usename = 'authenticator' and a.datname = current_database()
        -- Null where statistics of other roles are hidden.
        and coalesce(a.xact_start < clock_timestamp() - interval '1 second', true)
$$;
comment on function private.end_requests(integer[]) is
'Cancels what the API''s connections among these processes have been doing for more than a second.';

create or replace function private.hold_key(key bigint) returns void
language plpgsql
security definer
set search_path = ''
set lock_timeout = '300ms'
as $$
begin
    for attempt in 1..10 loop
        begin
            perform pg_advisory_xact_lock(key);
            return;
        exception when lock_not_available then
            -- Steps of the workers are patient.
            if current_setting('avenue.rows_held', true) = 'on' then
                raise;
            end if;
            perform private.end_requests(array(
                select l.pid from pg_catalog.pg_locks as l
                where
                    l.locktype = 'advisory' and l.granted and l.objsubid = 1
                    and l.classid = ((key >> 32) & 4294967295)::oid and l.objid = (key & 4294967295)::oid
            ));
        end;
    end loop;
    perform pg_advisory_xact_lock(key);
end
$$;
comment on function private.hold_key(bigint) is
'Takes an advisory lock exclusively, until the transaction ends: a request that holds it and does not come to an end '
'is cancelled. Fails (55P03) when it stays held.';

create or replace function private.hold_rows(
    relation regclass, condition text, one uuid, other uuid default null, strength text default 'no key update'
) returns void
language plpgsql
security definer
set search_path = ''
set lock_timeout = '300ms'
as $$
declare
    lock_them text := format('select from %s as t where %s order by t.ctid for %s', relation, condition, strength);
begin
    for attempt in 1..10 loop
        begin
            execute lock_them using one, other;
            return;
        exception when lock_not_available then
            execute format(
                'select private.end_requests(array(select l.pid from %s as t '
                'inner join pg_catalog.pg_locks as l on l.transactionid = any (private.transactions_of(t.xmax)) '
                'where (%s) and l.locktype = ''transactionid'' and l.granted))',
                relation, condition
            ) using one, other;
        end;
    end loop;
    execute lock_them using one, other;
end
$$;
comment on function private.hold_rows(regclass, text, uuid, uuid, text) is
'Locks the rows t that meet a condition, in which $1 and $2 are the ids given, with the strength given. A request that '
'holds them and does not come to an end is cancelled, unless it changed them in a block with an exception handler, '
'which hides whose they are. Fails (55P03) when they stay held.';

create or replace function private.transactions_of(holder xid) returns xid[]
language plpgsql
stable
set search_path = ''
as $$
begin
    -- A row that several hold names them together. Nothing says which of the two a number is; ended ones hold nothing.
    return holder || array(select m.xid from pg_catalog.pg_get_multixact_members(holder) as m);
exception when others then
    return array[holder];
end
$$;
comment on function private.transactions_of(xid) is 'The transactions that a row''s xmax stands for.';

-- sql/00_platform/35_search.sql ---------------------------------------------------------------------------------------

create or replace function private.letter_pairs (
    value text,
    is_query boolean
)
    returns text
    language plpgsql
    immutable
    parallel safe
    set search_path to ''
    AS $function$
declare
    letter constant text := '[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]';
begin
    if value !~ letter then
        return value;
    end if;
    return string_agg(
        case
            when not l.is_letter then l.here
            when l.before_next then ' ' || l.here || l.next || ' '
            -- The last letter of a text is a word too, so that a phrase may end with it; a query asks for pairs.
            when is_query and l.after_letter then ' '
            else ' ' || l.here || ' '
        end, '' order by l.place
    )
    from (
        select
            s.here, s.place, s.here ~ letter as is_letter,
            lead(s.here) over places as next,
            coalesce(lead(s.here) over places ~ letter, false) as before_next,
            coalesce(lag(s.here) over places ~ letter, false) as after_letter
        from string_to_table(value, null) with ordinality as s (here, place)
        window places as (order by s.place)
    ) as l;
end
$function$;

create or replace function private.search_query(query text) returns tsquery
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
    -- Not of not of not is more than the parser takes; people who draw a line mean one.
    plain text := regexp_replace(
        private.letter_pairs(private.search_text(left(coalesce(query, ''), 200)), true), '-[^[:alnum:]"]*-', '-', 'g'
    );
    words tsquery := websearch_to_tsquery('pg_catalog.english', plain);
begin
    if numnode(words) = 0 then
        -- Nothing but stop words: they stand next to each other, as in a name.
        words := phraseto_tsquery('pg_catalog.simple', plain);
    elsif btrim(plain) ~ '^[^[:ascii:]]$' then
        -- One letter begins the pairs it stands in.
        words := (quote_literal(btrim(plain)) || ':*')::tsquery;
    end if;
    -- "Everything but …" would read the whole table.
    if querytree(words) in ('', 'T') then
        return ''::tsquery;
    end if;
    return words;
end
$$;

create or replace function private.search_text(value text) returns text
language sql
-- The rules of the dictionary never change, so indexes may rest on it.
immutable
parallel safe
set search_path = ''
as $$
    -- One character may become eighteen; longer than any text we keep it does not get.
    select lower(
        extensions.unaccent('extensions.unaccent'::regdictionary, left(normalize(left(value, 200000), nfkc), 200000))
    )
$$;

create or replace function private.search_vector (
    title text,
    tags text[],
    body text
)
    returns tsvector
    language sql
    immutable
    parallel safe
    set search_path to ''
    AS $function$
    select
        setweight(to_tsvector('pg_catalog.english', plain.title), 'A')
        || setweight(to_tsvector('pg_catalog.english', plain.tags), 'B')
        || setweight(to_tsvector('pg_catalog.english', plain.body), 'C')
        -- Names are found by their stop words as well; texts are not: "the" is in all of them.
        || setweight(to_tsvector('pg_catalog.simple', plain.title), 'A')
        || setweight(to_tsvector('pg_catalog.simple', plain.tags), 'B')
    from (
        select
            private.letter_pairs(private.search_text(coalesce(search_vector.title, '')), false) as title,
            private.letter_pairs(
                private.search_text(coalesce(array_to_string(search_vector.tags, ' ', ''), '')), false
            ) as tags,
            private.letter_pairs(private.search_text(coalesce(search_vector.body, '')), false) as body
    ) as plain
$function$;

-- sql/00_platform/35_texts.sql ----------------------------------------------------------------------------------------

create or replace function private.blanks()
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    select '[:space:][:cntrl:]\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u2800\u3000'
$function$;

create or replace function private.hides_nothing (
    value text
)
    returns boolean
    language sql
    immutable
    set search_path to ''
    AS $function$
    select value ~ '^[ -~]*$' or value !~ concat('[', private.invisibles(), '\u2800]')
$function$;

create or replace function private.invisibles()
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    select
        '\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\u3164'
        '\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFFC\U0001BCA0-\U0001BCA3\U0001D159\U0001D173-\U0001D17A'
        '\U000E0000-\U000E0FFF'
$function$;

create or replace function private.is_visible_text (
    value text
)
    returns boolean
    language sql
    immutable
    set search_path to ''
    AS $function$
    -- Most texts begin with a plain letter. Marks and private characters alone are nothing to read either.
    select value ~ '^[!-~]' or value ~ concat(
        '[^', private.blanks(), private.invisibles(), private.marks(),
        '\uE000-\uF8FF\uFDD0-\uFDEF\uFFFE\uFFFF\U000F0000-\U0010FFFF]'
    )
$function$;

create or replace function private.marks() returns text
language sql
immutable
set search_path = ''
as $$
    select
    '\u0300-\u034E\u0350-\u036F\u0483-\u0489\u0591-\u05BD\u05BF\u05C1-\u05C2\u05C4-\u05C5\u05C7\u0610-\u061A'
    '\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7-\u06E8\u06EA-\u06ED\u070F\u0711\u0730-\u074A\u07A6-\u07B0'
    '\u07EB-\u07F3\u07FD\u0816-\u0819\u081B-\u0823\u0825-\u0827\u0829-\u082D\u0859-\u085B\u0898-\u089F\u08CA-\u08E1'
    '\u08E3-\u0903\u093A-\u093C\u093E-\u094F\u0951-\u0957\u0962-\u0963\u0981-\u0983\u09BC\u09BE-\u09CD\u09D7'
    '\u09E2-\u09E3\u09FE-\u0A03\u0A3C-\u0A51\u0A70-\u0A71\u0A75\u0A81-\u0A83\u0ABC\u0ABE-\u0ACD\u0AE2-\u0AE3'
    '\u0AFA-\u0B03\u0B3C\u0B3E-\u0B57\u0B62-\u0B63\u0B82\u0BBE-\u0BCD\u0BD7\u0C00-\u0C04\u0C3C\u0C3E-\u0C56'
    '\u0C62-\u0C63\u0C81-\u0C83\u0CBC\u0CBE-\u0CD6\u0CE2-\u0CE3\u0D00-\u0D03\u0D3B-\u0D3C\u0D3E-\u0D4D\u0D57'
    '\u0D62-\u0D63\u0D81-\u0D83\u0DCA-\u0DDF\u0DF2-\u0DF3\u0E31\u0E34-\u0E3A\u0E47-\u0E4E\u0EB1\u0EB4-\u0EBC'
    '\u0EC8-\u0ECD\u0F18-\u0F19\u0F35\u0F37\u0F39\u0F3E-\u0F3F\u0F71-\u0F84\u0F86-\u0F87\u0F8D-\u0FBC\u0FC6'
    '\u102B-\u103E\u1056-\u1059\u105E-\u1060\u1062-\u1064\u1067-\u106D\u1071-\u1074\u1082-\u108D\u108F\u109A-\u109D'
    '\u135D-\u135F\u1712-\u1715\u1732-\u1734\u1752-\u1753\u1772-\u1773\u17B6-\u17D3\u17DD\u1885-\u1886\u18A9'
    '\u1920-\u193B\u1A17-\u1A1B\u1A55-\u1A7F\u1AB0-\u1B04\u1B34-\u1B44\u1B6B-\u1B73\u1B80-\u1B82\u1BA1-\u1BAD'
    '\u1BE6-\u1BF3\u1C24-\u1C37\u1CD0-\u1CD2\u1CD4-\u1CE8\u1CED\u1CF4\u1CF7-\u1CF9\u1DC0-\u1DFF\u20D0-\u20F0'
    '\u2CEF-\u2CF1\u2D7F\u2DE0-\u2DFF\u302A-\u302F\u3099-\u309A\uA66F-\uA672\uA674-\uA67D\uA69E-\uA69F\uA6F0-\uA6F1'
    '\uA802\uA806\uA80B\uA823-\uA827\uA82C\uA880-\uA881\uA8B4-\uA8C5\uA8E0-\uA8F1\uA8FF\uA926-\uA92D\uA947-\uA953'
    '\uA980-\uA983\uA9B3-\uA9C0\uA9E5\uAA29-\uAA36\uAA43\uAA4C-\uAA4D\uAA7B-\uAA7D\uAAB0\uAAB2-\uAAB4\uAAB7-\uAAB8'
    '\uAABE-\uAABF\uAAC1\uAAEB-\uAAEF\uAAF5-\uAAF6\uABE3-\uABEA\uABEC-\uABED\uFB1E\uFE20-\uFE2F\U000101FD\U000102E0'
    '\U00010376-\U0001037A\U00010A01-\U00010A0F\U00010A38-\U00010A3F\U00010AE5-\U00010AE6\U00010D24-\U00010D27'
    '\U00010EAB-\U00010EAC\U00010F46-\U00010F50\U00010F82-\U00010F85\U00011000-\U00011002\U00011038-\U00011046'
    '\U00011070\U00011073-\U00011074\U0001107F-\U00011082\U000110B0-\U000110BA\U000110C2\U00011100-\U00011102'
    '\U00011127-\U00011134\U00011145-\U00011146\U00011173\U00011180-\U00011182\U000111B3-\U000111C0'
    '\U000111C9-\U000111CC\U000111CE-\U000111CF\U0001122C-\U00011237\U0001123E\U000112DF-\U000112EA'
    '\U00011300-\U00011303\U0001133B-\U0001133C\U0001133E-\U0001134D\U00011357\U00011362-\U00011374'
    '\U00011435-\U00011446\U0001145E\U000114B0-\U000114C3\U000115AF-\U000115C0\U000115DC-\U000115DD'
    '\U00011630-\U00011640\U000116AB-\U000116B7\U0001171D-\U0001172B\U0001182C-\U0001183A\U00011930-\U0001193E'
    '\U00011940\U00011942-\U00011943\U000119D1-\U000119E0\U000119E4\U00011A01-\U00011A0A\U00011A33-\U00011A39'
    '\U00011A3B-\U00011A3E\U00011A47\U00011A51-\U00011A5B\U00011A8A-\U00011A99\U00011C2F-\U00011C3F'
    '\U00011C92-\U00011CB6\U00011D31-\U00011D45\U00011D47\U00011D8A-\U00011D97\U00011EF3-\U00011EF6'
    '\U00013430-\U00013440\U00013447-\U00013455'
    '\U00016AF0-\U00016AF4\U00016B30-\U00016B36\U00016F4F\U00016F51-\U00016F92\U00016FE4-\U00016FF1'
    '\U0001BC9D-\U0001BC9E\U0001CF00-\U0001CF46\U0001D165-\U0001D169\U0001D16D-\U0001D172\U0001D17B-\U0001D182'
    '\U0001D185-\U0001D18B\U0001D1AA-\U0001D1AD\U0001D242-\U0001D244\U0001DA00-\U0001DA36\U0001DA3B-\U0001DA6C'
    '\U0001DA75\U0001DA84\U0001DA9B-\U0001DAAF\U0001E000-\U0001E02A\U0001E130-\U0001E136\U0001E2AE'
    '\U0001E2EC-\U0001E2EF\U0001E8D0-\U0001E8D6\U0001E944-\U0001E94A'
$$;

create or replace function private.slugify (
    value text
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select trim(both '-' from regexp_replace(private.to_latin(value), '[^a-z0-9]+', '-', 'g'))
$function$;

create or replace function private.tag_form (
    value text
)
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    -- What servers disagree on in lower case: the last sigma of a word, the dot of a Turkish capital.
    select normalize(
        replace(translate(lower(ltrim(private.tidy_name(value), '# ')), U&'\03C2', U&'\03C3'), U&'i\0307', 'i'), nfkc
    )
$function$;

create or replace function private.tidy_body(value text) returns text
language plpgsql
immutable
strict
set search_path = ''
as $$
declare
    tidy text := value;
begin
    if value ~ '[^ -~\n]' then
        -- Line breaks, tabs and the marks that right-to-left texts need stay. Overrides show a text in another order
        -- than it has; tag characters outside of flags and rows of variation selectors are texts that only machines see.
        tidy := regexp_replace(
            regexp_replace(
                regexp_replace(normalize(tidy, nfc), '\r\n?|[\u000B\u000C\u0085\u2028\u2029]', e'\n', 'g'),
                '[\u0001-\u0008\u000E-\u001F\u007F-\u009F\u202D\u202E]', '', 'g'
            ),
            '(\U0001F3F4[\U000E0020-\U000E007E]{1,7}\U000E007F)|[\U000E0000-\U000E007F]'
            '|(?<=[\uFE00-\uFE0F\U000E0100-\U000E01EF])[\uFE00-\uFE0F\U000E0100-\U000E01EF]+', '\1', 'g'
        );
    end if;
    -- The first line keeps no indent either, as always.
    tidy := btrim(tidy, e' \t\n');
    return case when private.is_visible_text(tidy) then tidy else '' end;
end
$$;

create or replace function private.tidy_name(value text) returns text
language plpgsql
immutable
strict
set search_path = ''
as $$
declare
    tidy text := value;
begin
    -- No line is so long: its column refuses it as it is, and nobody waits for one character becoming eighteen.
    if value ~ '^[!-~]+( [!-~]+)*$' or char_length(value) > 16384 then
        return value;
    end if;
    -- NFKC makes one of composed, decomposed, full-width and ligature forms. What has no shape goes, but for what
    -- belongs to the character before it: the tags of a flag, the selector of an emoji, and the joiners inside words of
    -- scripts that are written with them and inside emoji. A joiner between letters that do not join is a disguise.
    tidy := regexp_replace(
        normalize(tidy, nfkc),
        concat(
            '(\U0001F3F4[\U000E0020-\U000E007E]{1,7}\U000E007F)'
            '|([\u00A9\u00AE\u2190-\u2BFF\U0001F000-\U0001FBFF][\uFE0E\uFE0F]|[0-9#*]\uFE0F\u20E3)'
            '|[', replace(private.invisibles(), '\u200B-\u200F', '\u200B\u200E\u200F'), ']'
        ),
        '\1\2', 'g'
    );
    if tidy ~ '[\u200C\u200D]' then
        tidy := regexp_replace(
            tidy,
            '(?<![\u0620-\u1C7F\u2190-\u2BFF\uA840-\uABFF\uFE0F\U00010A00-\U0001FBFF])[\u200C\u200D]+'
            '|[\u200C\u200D]+(?![\u0620-\u1C7F\u2190-\u2BFF\uA840-\uABFF\U00010A00-\U0001FBFF])', '', 'g'
        );
    end if;
    tidy := btrim(regexp_replace(tidy, concat('[', private.blanks(), ']+'), ' ', 'g'));
    return case when private.is_visible_text(tidy) then tidy else '' end;
end
$$;

create or replace function private.tidy_object (
    value jsonb
)
    returns jsonb
    language sql
    immutable
    set search_path to ''
    AS $function$
    select case jsonb_typeof(value)
        when 'string' then to_jsonb(private.tidy_body(value #>> '{}'))
        when 'array' then (
            select coalesce(jsonb_agg(private.tidy_object(e.value) order by e.place), '[]')
            from jsonb_array_elements(value) with ordinality as e (value, place)
        )
        when 'object' then (
            select coalesce(jsonb_object_agg(private.tidy_name(e.key), private.tidy_object(e.value)), '{}')
            from jsonb_each(value) as e
        )
        else value
    end
$function$;

create or replace function private.tidy_texts()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    given jsonb := to_jsonb(new);
    tidied jsonb := '{}';
    rule text;
    field text;
    before jsonb;
    after jsonb;
begin
    foreach rule in array tg_argv loop
        field := split_part(rule, ' ', 1);
        before := given -> field;
        continue when before = 'null';
        after := case split_part(rule, ' ', 2)
            when 'line' then to_jsonb(nullif(private.tidy_name(before #>> '{}'), ''))
            when 'body' then to_jsonb(nullif(private.tidy_body(before #>> '{}'), ''))
            when 'object' then private.tidy_object(before)
        end;
        if after is null and split_part(rule, ' ', 3) = 'required' then
            perform private.fail('text_not_visible', field);
        end if;
        if after is distinct from before then
            tidied := tidied || jsonb_build_object(field, after);
        end if;
    end loop;
    if tidied <> '{}' then
        new := jsonb_populate_record(new, tidied);
    end if;
    return new;
end
$function$;

create or replace function private.to_latin(value text) returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    -- Addresses have a hundred characters at most.
    latin text := lower(private.tidy_name(left(value, 1000)));
begin
    if latin ~ '[^\u0001-\u024F]' then
        if latin ~ '[\uAC00-\uD7A3]' then
            -- Syllables of Hangul fall apart into their letters.
            latin := normalize(latin, nfd);
        end if;
        -- Consonants of Devanagari carry an a, unless a sign says otherwise or the word ends.
        latin := regexp_replace(latin, '([\u0915-\u0939]\u093C?)(?=[\u0901-\u0939])', '\1a', 'g');
        -- Vowels written with two letters, of Greek and Armenian.
        latin := regexp_replace(regexp_replace(latin, '\u03BF[\u03C5\u03CD]', 'ou', 'g'), '\u0578\u0582', 'u', 'g');
        select string_agg(coalesce(t.latin, base.latin, l.letter), '' order by l.place) into latin
        from regexp_split_to_table(latin, '') with ordinality as l (letter, place)
        left join private.transliterations as t on t.letter = l.letter
        left join private.transliterations as base on base.letter = left(normalize(l.letter, nfd), 1);
        latin := regexp_replace(latin, '(ch|sh|j)i\^y', '\1', 'g');
        latin := regexp_replace(latin, '[a-z]?\^', '', 'g');
        latin := regexp_replace(latin, '\+([a-z])', '\1\1', 'g');
        latin := regexp_replace(latin, concat('[', private.marks(), private.invisibles(), ']'), '', 'g');
    end if;
    return lower(extensions.unaccent('extensions.unaccent'::regdictionary, coalesce(latin, '')));
end
$$;

-- sql/00_platform/40_counters.sql -------------------------------------------------------------------------------------

create or replace function private.add_counts(counter text, targets uuid[], changes integer[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    counted private.counters;
begin
    if targets is null then
        return;
    end if;
    select * into strict counted from private.counters as c where c.counter = add_counts.counter;
    execute format(
        'select from %s where %I = any ($1) order by %2$I for no key update', counted.relation, counted.key
    ) using targets;
    -- What is taken away may still be pending: it is added, too, unless somebody is at it, who waits for these rows.
    -- Then what would be less than nothing stays pending for the next who counts, or for fold_counts().
    execute format(
        'with pending as ('
        'delete from private.pending_counts as d where d.ctid = any (array('
        'select p.ctid from private.pending_counts as p where p.target = any ($1) and p.counter = $3 '
        'for update skip locked)) returning d.target, d.change'
        '), sums as ('
        'select u.id, sum(u.change)::integer as change '
        'from (select a.id, a.change from unnest($1, $2) as a (id, change) '
        'union all select p.target, p.change from pending as p) as u group by 1'
        '), counted as ('
        'select r.%1$I as id, r.%2$I + s.change as n from sums as s inner join %3$s as r on r.%1$I = s.id '
        'where s.change <> 0'
        '), owed as ('
        'insert into private.pending_counts (counter, target, change) '
        'select $3, c.id, c.n from counted as c where c.n < 0'
        ') update %3$s as r set %2$I = greatest(c.n, 0) from counted as c where r.%1$I = c.id',
        counted.key, counted.count_column, counted.relation
    ) using targets, changes, counter;
end
$$;
comment on function private.add_counts(text, uuid[], integer[]) is
'Adds changes to the counter of many rows, and what is pending there; locked in the order of their ids. A row may be '
'named more than once, one that is not there is left out. For one row: claim_count().';

create or replace function private.claim_count(counter text, target uuid, change integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    -- Its low bits are the other locks'.
    fold_lock bigint := hashtextextended(counter || target::text, 1) & -8;
    share_lock bigint;
    next_lock bigint;
    -- The locks of the shares this transaction left.
    mine text;
    pending integer;
begin
    -- Who holds counted rows already must not wait here for those who wait for the rows.
    if current_setting('avenue.rows_held', true) = 'on' then
        perform private.add_counts(counter, array[target], array[change]);
        return null;
    end if;
    <<until_claimed>>
    while not pg_try_advisory_xact_lock(fold_lock) loop
        mine := coalesce(current_setting('avenue.shares_left', true), '');
        for turn in 1..2 loop
            share_lock := fold_lock + 2 * turn;
            next_lock := share_lock + 1;
            continue when
                strpos(mine, (fold_lock + 2 * (3 - turn))::text) > 0
                or not pg_try_advisory_xact_lock_shared(share_lock);
            if not pg_try_advisory_lock(next_lock) then
                insert into private.pending_counts (counter, target, change) values (counter, target, change);
                if strpos(mine, share_lock::text) = 0 then
                    perform set_config('avenue.shares_left', mine || ' ' || share_lock, true);
                end if;
                return null;
            end if;
            begin
                perform pg_advisory_xact_lock(fold_lock);
                perform pg_advisory_xact_lock(share_lock);
                perform pg_advisory_unlock(next_lock);
            exception when query_canceled or others then
                perform pg_advisory_unlock(next_lock);
                raise;
            end;
            exit until_claimed;
        end loop;
        -- Both turns are being added up just now: wait until the first one is done.
        perform pg_advisory_xact_lock_shared(fold_lock + 2);
    end loop;
    if exists (
        select from private.pending_counts as p where p.target = claim_count.target and p.counter = claim_count.counter
    ) then
        with taken as (
            delete from private.pending_counts as p
            where p.target = claim_count.target and p.counter = claim_count.counter
            returning p.change
        )
        select sum(t.change) into pending from taken as t;
    end if;
    return change + coalesce(pending, 0);
end
$$;
comment on function private.claim_count(text, uuid, integer) is
'What the caller has to add to the counter of this row now, its own change and what others left included; null when '
'it is added elsewhere: by another transaction under way, or at once. For statements that touch one counted row; those that touch '
'many call add_counts(), because advisory locks are a shared, limited resource.';

-- sql/10_identity/10_profiles.sql -------------------------------------------------------------------------------------

create or replace function private.account_changes_due (
    max_rows integer
)
    returns table (
        user_id uuid
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select c.user_id from private.account_changes as c order by c.requested_at limit max_rows
$function$;

create or replace function private.advance_account (
    user_id uuid,
    max_rows integer default 500
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    set lock_timeout to '100ms'
    AS $function$
declare
    left_over integer := max_rows;
    step private.standing_steps;
    changed integer;
begin
    -- A change at this instant is waited for and then followed, or waits for this step and is followed by the next.
    perform from private.account_changes as c where c.user_id = advance_account.user_id for update;
    if not found then
        return true;
    end if;
    -- Counters are changed in this transaction, without waiting for those who wait for a row it holds.
    perform set_config('avenue.rows_held', 'on', true);
    for step in select * from private.standing_steps as s order by s.position, s.step loop
        execute step.statement into changed using advance_account.user_id, left_over;
        left_over := left_over - changed;
        if left_over <= 0 then
            return false;
        end if;
    end loop;
    if
        exists (select from public.profiles as p where p.id = advance_account.user_id and p.deleted_at is not null)
        and not private.advance_erasure(advance_account.user_id, left_over)
    then
        return false;
    end if;
    delete from private.account_changes as c where c.user_id = advance_account.user_id;
    return true;
end
$function$;

create or replace function private.blocked_ids()
    returns SETOF uuid
    language plpgsql
    stable
    security definer
    rows 10
    set search_path to ''
    AS $function$
begin
    return query
    select b.blocked_id from public.user_blocks as b where b.blocker_id = auth.uid()
    union all
    select b.blocker_id from public.user_blocks as b where b.blocked_id = auth.uid()
    union all
    -- Nobody's any more, though not everything of theirs says so yet, see account_changes.
    select c.user_id from private.account_changes as c where c.audience = 'owner' and c.user_id <> auth.uid();
end
$function$;

create or replace function private.can_see (
    user_id uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    -- An anonymous session sees what a visitor sees.
    return private.is_visible_to(
        can_see.user_id, case when (auth.jwt() ->> 'is_anonymous') is distinct from 'true' then auth.uid() end
    );
end
$function$;

create or replace function private.check_profile()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    problem text;
begin
    if tg_op = 'INSERT' or new.username::text is distinct from old.username::text then
        -- Anonymised accounts are the one case of a deleted- name.
        problem := case when new.deleted_at is null then private.username_problem(new.username::text, new.id) end;
        -- Inserts are sign-up's, which tries the next name on a conflict instead of failing.
        if problem is null and tg_op = 'UPDATE' and exists (
            select from public.profiles as p
            where p.username operator(extensions.=) new.username and p.id <> new.id
        ) then
            problem := 'username_taken';
        end if;
        if problem is not null then
            perform private.fail(problem, new.username::text);
        end if;
    end if;

    new.smart_link := nullif(btrim(new.smart_link), '');
    if new.smart_link !~* '^https?://' then
        new.smart_link := 'https://' || new.smart_link;
    end if;
    if
        new.smart_link !~* '^https?://(www\.)?rolink\.me/[^[:space:][:cntrl:]"<>\\]*$'
        or not private.hides_nothing(new.smart_link)
    then
        perform private.fail('invalid_smart_link', left(new.smart_link, 200));
    end if;
    return new;
end
$function$;

create or replace function private.follow_account()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    finished boolean := false;
begin
    insert into private.account_changes as c (user_id, audience) values (new.id, private.author_audience(new))
    on conflict on constraint account_changes_pkey
    do update set audience = excluded.audience, requested_at = now();
    begin
        finished := private.advance_account(new.id);
    exception when lock_not_available or deadlock_detected then
        -- Somebody is at it just now: nothing of this step happened, the workers take it from here.
        null;
    end;
    if not finished then
        perform private.enqueue(
            'advance_account', jsonb_build_object('user_id', new.id), null, 'account:' || new.id::text
        );
    end if;
    return null;
end
$function$;

create or replace function private.grant_role(user_id uuid, role public.user_role) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    before public.user_role;
begin
    -- Who is dismissed does not hold that up with a request of their own.
    perform private.hold_profile(grant_role.user_id);
    select p.role into before from public.profiles as p
    where p.id = grant_role.user_id and p.deleted_at is null;
    -- Two super admins dismissing each other at the same instant take turns here. After the row, which may be held by a
    -- slow request of its owner: nobody else's role waits for that.
    perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
    if before is null then
        perform private.fail('user_not_found', grant_role.user_id::text);
    end if;
    update public.profiles as p set role = grant_role.role where p.id = grant_role.user_id;
    if before = 'super_admin' and not exists (
        select from public.profiles as p where p.role = 'super_admin' and p.deleted_at is null and not p.is_banned
    ) then
        perform private.fail('last_super_admin');
    end if;
    perform private.audit(
        'set_role', 'profiles', grant_role.user_id, jsonb_build_object('from', before, 'to', grant_role.role)
    );
end
$$;

create or replace function private.hidden_ids()
    returns SETOF uuid
    language plpgsql
    stable
    security definer
    rows 1
    set search_path to ''
    AS $function$
begin
    return query select c.user_id from private.account_changes as c where c.audience <> 'public';
end
$function$;

create or replace function private.hold_freed_username() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.deleted_at is null then
        -- Whoever waited for a name to become free at this instant finds it held only now.
        if private.is_held_username(new.username::text, new.id) then
            perform private.fail('username_taken', new.username::text);
        end if;
        delete from private.freed_usernames as f
        where f.name_hash = sha256(convert_to(lower(new.username::text), 'UTF8'));
    end if;
    if tg_op = 'UPDATE' and lower(old.username::text) <> lower(new.username::text) then
        -- Each change keeps one more name from everybody else.
        if new.deleted_at is null then
            perform private.count_activity('username', 1);
        end if;
        delete from private.freed_usernames as f
        using private.settings as s
        where f.freed_at < now() - s.username_hold;
        insert into private.freed_usernames as f (name_hash, former_owner)
        values (
            sha256(convert_to(lower(old.username::text), 'UTF8')), case when new.deleted_at is null then new.id end
        )
        on conflict on constraint freed_usernames_pkey do update
        set former_owner = excluded.former_owner, freed_at = excluded.freed_at;
    end if;
    return null;
end
$$;

create or replace function private.is_admin()
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.profiles as p
        where
            p.id = auth.uid() and p.deleted_at is null and not p.is_banned
            and p.role in ('admin', 'super_admin')
            and (auth.jwt() ->> 'is_anonymous') is distinct from 'true'
    );
end
$function$;

create or replace function private.is_held_username (
    username text,
    user_id uuid default null::uuid
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select exists (
        select from private.freed_usernames as f
        cross join private.settings as s
        where
            f.name_hash = sha256(convert_to(lower(is_held_username.username), 'UTF8'))
            and f.former_owner is distinct from is_held_username.user_id
            and f.freed_at > now() - s.username_hold
    )
$function$;

create or replace function private.is_reserved(username text) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    -- As written, and without the digits around it: admin2 is no other admin.
    with names as (
        select private.plain_name(is_reserved.username) as name, false as is_part
        union
        select private.plain_name(btrim(is_reserved.username, '0123456789_.-')), false
        union
        -- What it begins with: support.ana, avenue_help_desk, ad-min-x. (The end may be somebody's joke, the-admin.)
        select private.plain_name(btrim(array_to_string(w.words[1:n.words], ''), '0123456789')), true
        from regexp_split_to_array(btrim(is_reserved.username, '_.-'), '[_.-]+') as w (words)
        cross join generate_series(1, cardinality(w.words)) as n (words)
    )
    select
        exists (
            select from names as n
            inner join private.reserved_usernames as r on r.plain = n.name
            where
                r.is_official
                or not n.is_part
                and (
                    r.username::text = 'avenue'
                    -- Addresses of the application are no disguise: user5 is not users.
                    or replace(translate(lower(is_reserved.username), '.-', '__'), '_', '')
                    = replace(translate(lower(r.username::text), '.-', '__'), '_', '')
                )
        )
        -- Reserved words only, one of them the platform's own: avenue.sales, supportteam.
        or exists (
            select from names as n
            inner join private.reserved_usernames as a on starts_with(n.name, a.plain)
            inner join private.reserved_usernames as b on n.name = a.plain || b.plain
            where a.is_official or b.is_official or 'avenue' in (a.username::text, b.username::text)
        )
$$;

create or replace function private.is_visible_to (
    subject uuid,
    viewer uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    -- Says the same as the policies of profiles, for a given viewer instead of the caller.
    return exists (
        select from public.profiles as p
        left join public.profiles as v on v.id = viewer and v.deleted_at is null and not v.is_banned
        where
            p.id = subject and p.deleted_at is null
            and (
                p.id = viewer
                or v.role in ('admin', 'super_admin')
                or not p.is_banned and p.is_confirmed
                and (
                    p.profile_visibility = 'public'
                    or p.profile_visibility = 'members_only' and v.id is not null
                )
                and not exists (
                    select from public.user_blocks as b
                    where
                        b.blocker_id = subject and b.blocked_id = viewer
                        or b.blocker_id = viewer and b.blocked_id = subject
                )
            )
    );
end
$function$;

create or replace function private.member_id()
    returns uuid
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return (
        select p.id from public.profiles as p
        where
            p.id = auth.uid() and p.deleted_at is null and not p.is_banned
            and (auth.jwt() ->> 'is_anonymous') is distinct from 'true'
    );
end
$function$;

create or replace function private.plain_name (
    username text
)
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    -- 1, l and i look alike, so do rn and m.
    select replace(replace(
        translate(regexp_replace(lower(username), '[_.-]+', '', 'g'), '0134578l', 'oieastbi'), 'rn', 'm'
    ), 'vv', 'w')
$function$;

create or replace function private.require_member()
    returns uuid
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.member_id();
begin
    if caller is null then
        if auth.jwt() ->> 'is_anonymous' = 'true' then
            perform private.fail('account_required');
        end if;
        -- Says why.
        perform private.require_active(auth.uid());
    end if;
    return caller;
end
$function$;

create or replace function private.require_rank_over (
    user_id uuid
)
    returns void
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    if require_rank_over.user_id is distinct from auth.uid() and exists (
        select from public.profiles as p where p.id = require_rank_over.user_id and p.role in ('admin', 'super_admin')
    ) then
        perform private.require_super_admin();
    end if;
end
$function$;

create or replace function private.username_problem (
    username text,
    user_id uuid default null::uuid
)
    returns text
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select case
        when
            username is null
            or username !~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$'
            or char_length(username) not between 3 and 30
            then 'username_invalid'
        when lower(username) like 'deleted-%' or private.is_reserved(username) then 'username_reserved'
        when private.is_held_username(username, user_id) then 'username_taken'
    end
$function$;

create or replace function public.set_profile_visibility (
    visibility public.profile_visibility
)
    returns public.profiles
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    profile public.profiles;
begin
    if visibility is null then
        perform private.fail('visibility_required');
    end if;
    update public.profiles as p set profile_visibility = set_profile_visibility.visibility
    where p.id = caller
    returning * into profile;
    return profile;
end
$function$;
revoke all on function public.set_profile_visibility(public.profile_visibility) from public, anon, service_role;

create or replace function private.author_audience(author public.profiles) returns public.audience
language sql
immutable
set search_path = ''
as $$
    select case
        when author.is_banned or not author.is_confirmed or author.deleted_at is not null
            or author.profile_visibility = 'private' then 'owner'
        when author.profile_visibility = 'members_only' then 'members'
        else 'public'
    end::public.audience
$$;
comment on function private.author_audience(public.profiles) is
'The widest audience of what this person writes. Contributions carry a copy, kept by trigger, so that reading a page '
'of them asks nothing about their authors.';

-- sql/10_identity/15_bans.sql -----------------------------------------------------------------------------------------

create or replace function private.address_hash (
    address text
)
    returns bytea
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    plain text := lower(regexp_replace(normalize(address, nfkc), '[[:space:][:cntrl:]]', '', 'g'));
    mailbox text := split_part(plain, '@', 1);
    domain text := substr(plain, strpos(plain, '@') + 1);
    key bytea := (select k.key from private.ban_key as k);
begin
    if plain = '' or plain is null then
        return null;
    elsif strpos(plain, '@') > 0 then
        -- One mailbox has many spellings: ana+1@…, and at some providers a.n.a@….
        mailbox := split_part(mailbox, '+', 1);
        if domain in ('gmail.com', 'googlemail.com') then
            mailbox := replace(mailbox, '.', '');
            domain := 'gmail.com';
        end if;
        plain := 'mailto:' || mailbox || '@' || domain;
    else
        plain := 'tel:' || regexp_replace(plain, '[^0-9]', '', 'g');
    end if;
    return sha256(key || sha256(key || convert_to(plain, 'UTF8')));
end
$function$;

create or replace function private.ban_again()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if private.is_banned_address(new.email, new.phone) then
        insert into public.bans (user_id, reason)
        select p.id, 'An earlier account with this address was banned.' from public.profiles as p
        where p.id = new.id and p.deleted_at is null
        on conflict do nothing;
        if found then
            perform private.audit('ban_returned', 'profiles', new.id, '{}', 'sign-up');
        end if;
    end if;
    return null;
exception when others then
    -- Never in the way of Auth.
    raise warning 'whether % was banned before is not known: %', new.id, sqlerrm;
    return null;
end
$function$;

create or replace function private.hold_profile(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.hold_rows('public.profiles', 't.id = $1', hold_profile.user_id);
end
$$;

create or replace function private.is_banned_address (
    email text,
    phone text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from private.banned_addresses as a
        where a.address_hash in (private.address_hash(email), private.address_hash(phone))
    );
end
$function$;

create or replace function private.keep_ban (
    user_id uuid,
    email text,
    phone text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Whatever goes wrong here, the account goes.
    if exists (select from public.bans as b where b.user_id = keep_ban.user_id) then
        insert into private.banned_addresses (address_hash)
        select h.hash from (values (private.address_hash(email)), (private.address_hash(phone))) as h (hash)
        where h.hash is not null
        on conflict do nothing;
    end if;
    update private.banned_addresses as a set user_id = null where a.user_id = keep_ban.user_id;
exception when others then
    raise warning 'the ban of % is not kept: %', keep_ban.user_id, sqlerrm;
end
$function$;

create or replace function private.mirror_ban()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'INSERT' then
        insert into private.banned_addresses as a (address_hash, user_id)
        select h.hash, u.id
        from auth.users as u
        cross join lateral (
            values (private.address_hash(u.email)), (private.address_hash(u.phone))
        ) as h (hash)
        where u.id = new.user_id and h.hash is not null
        on conflict on constraint banned_addresses_pkey do update set user_id = excluded.user_id;
    else
        delete from private.banned_addresses as a where a.user_id = old.user_id;
    end if;
    update public.profiles set is_banned = (tg_op = 'INSERT') where id = coalesce(new.user_id, old.user_id);
    return null;
end
$function$;

create or replace function private.review_address_bans (
    keep boolean default null::boolean
)
    returns table (
        banned_at timestamp with time zone,
        review_at timestamp with time zone,
        account_exists boolean
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    return query
    select a.banned_at, a.review_at, a.user_id is not null from private.banned_addresses as a
    where a.review_at <= now()
    order by a.review_at;
    if keep then
        update private.banned_addresses as a set review_at = now() + interval '1 year' where a.review_at <= now();
    elsif not keep then
        delete from private.banned_addresses as a where a.review_at <= now() and a.user_id is null;
    end if;
end
$function$;

create or replace function public.ban_user (
    user_id uuid,
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    target public.profiles;
begin
    if ban_user.user_id = admin then
        perform private.fail('cannot_ban_yourself');
    end if;
    perform private.hold_profile(ban_user.user_id);
    select * into target from public.profiles as p where p.id = ban_user.user_id and p.deleted_at is null;
    if target.id is null then
        perform private.fail('user_not_found', ban_user.user_id::text);
    end if;
    if target.role in ('admin', 'super_admin') then
        -- Shared with grant_role(): two super admins banning each other take turns, and the second is no member any
        -- more.
        perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
        perform private.require_rank_over(target.id);
    end if;
    insert into public.bans as b (user_id, reason) values (ban_user.user_id, coalesce(ban_user.reason, ''))
    on conflict on constraint bans_pkey do update set reason = excluded.reason;
    perform private.audit('ban_user', 'profiles', ban_user.user_id, jsonb_build_object('reason', ban_user.reason));
end
$function$;

create or replace function public.lift_address_ban (
    address text
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    lifted boolean;
begin
    perform private.require_admin();
    delete from private.banned_addresses as a
    where a.address_hash = private.address_hash(lift_address_ban.address) and a.user_id is null;
    lifted := found;
    if lifted then
        perform private.audit('lift_address_ban', 'banned_addresses', null);
    end if;
    return lifted;
end
$function$;
revoke all on function public.lift_address_ban(text) from public, anon, service_role;

create or replace function public.unban_user (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    ended public.bans;
begin
    perform private.require_admin();
    perform private.require_rank_over(unban_user.user_id);
    delete from public.bans as b where b.user_id = unban_user.user_id returning * into ended;
    if ended.user_id is not null then
        perform private.audit('unban_user', 'profiles', unban_user.user_id, jsonb_build_object('reason', ended.reason));
    end if;
end
$function$;

-- sql/10_identity/20_profile_settings.sql -----------------------------------------------------------------------------

create or replace function private.check_notification_preferences()
    returns trigger
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform private.require_keys(
        new.notification_preferences,
        array(select t::text from unnest(enum_range(null::public.notification_type)) as t) || 'digest'::text,
        'invalid_preferences'
    );
    perform private.require_keys(p.value, '{in_app,email}', 'invalid_preferences')
    from jsonb_each(new.notification_preferences) as p;
    if jsonb_path_exists(new.notification_preferences, 'strict $.*.* ? (@.type() != "boolean")', '{}', true) then
        perform private.fail('invalid_preferences', 'a switch is true or false');
    end if;
    return new;
end
$function$;

-- sql/10_identity/25_categories.sql -----------------------------------------------------------------------------------

create or replace function private.normal_form (
    value text
)
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    select btrim(regexp_replace(
        -- Through upper case, which unites variants that lower case keeps apart (final sigma, dotless i).
        lower(upper(replace(
            regexp_replace(
                regexp_replace(private.tidy_name(value), concat('[', private.invisibles(), ']'), '', 'g'),
                '[\u2018\u2019\u02BC\u0060]', '''', 'g'
            ),
            '&', ' and '
        ))),
        '[-_[:space:]\u2010-\u2015\u2212]+', ' ', 'g'
    ))
$function$;

-- sql/10_identity/30_artist_profiles.sql ------------------------------------------------------------------------------

create or replace function private.drop_verification_of_profile()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.artist_profiles as a set is_verified = false where a.user_id = new.id and a.is_verified;
    return null;
end
$function$;

-- sql/10_identity/35_custom_fields.sql --------------------------------------------------------------------------------

create or replace function private.undecided_field (
    request_id uuid
)
    returns public.custom_field_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    request public.custom_field_requests;
begin
    perform private.require_admin();
    select * into request from public.custom_field_requests as q where q.id = undecided_field.request_id
    for no key update;
    if request.id is null then
        perform private.fail('custom_field_not_found', undecided_field.request_id::text);
    elsif request.status <> 'pending' then
        perform private.fail('custom_field_decided', request.status::text);
    end if;
    return request;
end
$function$;

create or replace function public.approve_custom_field (
    request_id uuid,
    corrected_name text default null::text,
    category_id uuid default null::uuid
)
    returns public.custom_field_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    request public.custom_field_requests := private.undecided_field(approve_custom_field.request_id);
    name text := private.check_field_name(coalesce(corrected_name, request.field_value));
    category uuid := case
        when request.field_type = 'skill' then coalesce(approve_custom_field.category_id, request.category_id)
    end;
    field uuid;
begin
    if exists (
        select from private.find_field(request.field_type, private.normal_form(name)) as f where not f.is_available
    ) then
        perform private.fail('custom_field_withdrawn', name);
    end if;
    if category is not null and not exists (select from public.categories as c where c.id = category) then
        perform private.fail('choice_not_available', category::text);
    end if;
    field := private.create_field(request.field_type, name, category);
    update public.custom_field_requests as q set
        status = 'approved', field_value = name, category_id = category, field_id = field, reviewed_at = now()
    where q.id = request.id;
    perform private.audit(
        'approve_custom_field', 'custom_field_requests', request.id,
        jsonb_build_object('field_type', request.field_type, 'asked', request.field_value, 'name', name, 'field', field)
    );
    select * into request from public.custom_field_requests as q where q.id = request.id;
    return request;
end
$function$;

create or replace function public.reject_custom_field (
    request_id uuid,
    reason text
)
    returns public.custom_field_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    request public.custom_field_requests := private.undecided_field(reject_custom_field.request_id);
    said text := private.tidy_body(reason);
begin
    if coalesce(char_length(said), 0) not between 1 and 1000 then
        perform private.fail('rejection_reason_required');
    end if;
    update public.custom_field_requests as q set
        status = 'rejected', rejection_reason = said, reviewed_at = now()
    where q.id = request.id;
    perform private.audit(
        'reject_custom_field', 'custom_field_requests', request.id,
        jsonb_build_object('field_type', request.field_type, 'asked', request.field_value, 'reason', said)
    );
    select * into request from public.custom_field_requests as q where q.id = request.id;
    return request;
end
$function$;

create or replace function public.reopen_custom_field (
    request_id uuid
)
    returns public.custom_field_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    request public.custom_field_requests;
begin
    perform private.require_admin();
    update public.custom_field_requests as q set
        status = 'pending', rejection_reason = null, reviewed_at = null
    where q.id = reopen_custom_field.request_id and q.status = 'rejected'
    returning * into request;
    if request.id is null then
        -- Says whether it does not exist or was decided otherwise; one that is pending is open already.
        return private.undecided_field(reopen_custom_field.request_id);
    end if;
    perform private.audit('reopen_custom_field', 'custom_field_requests', request.id, '{}');
    return request;
end
$function$;

create or replace function public.request_custom_field (
    field_type public.custom_field_type,
    field_value text,
    category_id uuid default null::uuid
)
    returns public.custom_field_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    spelling text := private.check_field_name(field_value);
    normal text := private.normal_form(spelling);
    category uuid := case when request_custom_field.field_type = 'skill' then request_custom_field.category_id end;
    known record;
    request public.custom_field_requests;
begin
    if request_custom_field.field_type is null then
        perform private.fail('custom_field_invalid');
    end if;
    if category is not null and not exists (
        select from public.categories as c where c.id = category and c.is_active
    ) then
        perform private.fail('choice_not_available', category::text);
    end if;
    -- Before any other lock: an account that is being deleted and one that asks must not wait for each other.
    perform from public.profiles as p where p.id = caller for key share;
    perform pg_advisory_xact_lock(hashtextextended('avenue:custom_fields' || caller, 0));

    insert into public.custom_field_requests as q (field_type, field_value, normal_value)
    values (request_custom_field.field_type, spelling, normal)
    on conflict on constraint custom_field_requests_field_type_normal_value_key do nothing;
    -- Everybody who asks for the same value takes turns from here.
    select * into request from public.custom_field_requests as q
    where q.field_type = request_custom_field.field_type and q.normal_value = normal
    for no key update;

    select f.* into known from private.find_field(request.field_type, normal) as f;
    if known.id is not null and not known.is_available then
        perform private.fail('custom_field_withdrawn', known.name);
    elsif known.id is not null or request.status in ('auto_approved', 'approved') then
        -- An admin may have corrected the name since.
        perform private.fail('custom_field_exists', coalesce(known.name, request.field_value));
    elsif request.status = 'rejected' then
        perform private.fail('custom_field_rejected', request.rejection_reason);
    end if;

    if (
        select count(*)
        from public.custom_field_requesters as r
        inner join public.custom_field_requests as q on q.id = r.request_id
        where r.user_id = caller and q.status = 'pending' and q.id <> request.id
    ) >= 20 then
        perform private.fail('too_many_custom_fields', '20');
    end if;
    insert into public.custom_field_requesters as r (request_id, user_id, spelling, category_id)
    values (request.id, caller, spelling, category)
    on conflict on constraint custom_field_requesters_pkey do nothing;
    update public.custom_field_requests as q set
        field_value = private.best_spelling(q.id),
        category_id = (
            select mode() within group (order by r.category_id)
            from public.custom_field_requesters as r
            where r.request_id = q.id
        )
    where q.id = request.id
    returning * into request;

    -- Accounts made for the purpose do not count, however many: then an admin decides.
    if (
        select count(*)
        from public.custom_field_requesters as r
        inner join public.profiles as p on p.id = r.user_id
        cross join private.settings as s
        where
            r.request_id = request.id and p.is_confirmed and not p.is_banned and p.deleted_at is null
            and p.created_at <= now() - s.custom_field_account_age
    ) >= private.custom_field_threshold(request.field_type) then
        update public.custom_field_requests as q set
            status = 'auto_approved',
            field_id = private.create_field(request.field_type, request.field_value, request.category_id)
        where q.id = request.id
        returning * into request;
    end if;
    return request;
end
$function$;

-- sql/10_identity/40_sign_up.sql --------------------------------------------------------------------------------------

create or replace function private.create_profile(user_id uuid, metadata jsonb, is_confirmed boolean) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    base text;
    candidate text;
    name text;
    picture text;
begin
    base := coalesce(
        (
            select s from private.metadata_text(
                metadata,
                array[
                    'username', 'user_name', 'preferred_username', 'preferred_name', 'nickname', 'display_name',
                    'full_name', 'name'
                ]
            ) as t
            cross join lateral private.suggest_username(t) as s
            where s <> ''
            limit 1
        ),
        -- Never from the e-mail address, which is private and often a full name.
        'user'
    );

    select btrim(left(private.tidy_name(left(t, 300)), 80)) into name
    from private.metadata_text(metadata, array['display_name', 'full_name', 'name']) as t
    limit 1;

    select t into picture
    from unnest(array['avatar_url', 'picture']) as k (key)
    cross join lateral (values (left(metadata ->> k.key, 2049))) as v (t)
    where
        jsonb_typeof(metadata) = 'object' and jsonb_typeof(metadata -> k.key) = 'string'
        and t ~ '^https?://[^[:space:][:cntrl:]"<>\\^`{|}]+$' and char_length(t) <= 2048
        and private.hides_nothing(t)
    limit 1;

    -- A wish that is reserved, too short or taken gets a suffix, at last a name from the id itself. The insert decides
    -- what is taken: of two sign-ups with one name at the same instant the second waits here and goes on to a suffix.
    for attempt in 0..12 loop
        candidate := case
            when attempt = 0 then base
            when attempt < 4 then btrim(left(base, 25), '.-') || '-' || left(gen_random_uuid()::text, 4)
            when attempt < 8 then btrim(left(base, 20), '.-') || '-' || left(gen_random_uuid()::text, 8)
            else 'user-' || left(replace(gen_random_uuid()::text, '-', ''), 20)
        end;
        continue when private.username_problem(candidate) is not null;
        begin
            insert into public.profiles as p (id, username, display_name, avatar_url, is_confirmed)
            values (user_id, candidate, nullif(name, ''), picture, create_profile.is_confirmed)
            on conflict do nothing;
            exit when found or exists (select from public.profiles as p where p.id = user_id);
        exception when sqlstate 'PT409' then
            -- Given up while this waited for it, and held since.
            null;
        end;
    end loop;
end
$$;

create or replace function private.handle_new_user()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    is_confirmed boolean := num_nonnulls(new.email_confirmed_at, new.phone_confirmed_at) > 0;
begin
    begin
        perform private.create_profile(new.id, new.raw_user_meta_data, is_confirmed);
    exception when others then
        -- Nothing known leads here. If something does, a person still gets an account, with a neutral name.
        raise warning 'sign-up metadata of % ignored: %', new.id, sqlerrm;
        perform private.create_profile(new.id, null, is_confirmed);
    end;
    insert into public.profile_settings (user_id) values (new.id) on conflict do nothing;
    insert into public.subscriptions (user_id, family, plan_key, current_period_start)
    values (new.id, 'creator', 'creator_basic', now()) on conflict do nothing;
    perform private.create_wallet(new.id);
    return null;
end
$function$;

create or replace function private.metadata_text (
    metadata jsonb,
    keys text[]
)
    returns SETOF text
    language sql
    immutable
    set search_path to ''
    AS $function$
    -- Cut before anything else looks at it: the value may be megabytes.
    select left(metadata ->> k.key, 300)
    from unnest(keys) with ordinality as k (key, position)
    where
        jsonb_typeof(metadata) = 'object'
        and jsonb_typeof(metadata -> k.key) = 'string'
        and private.is_visible_text(left(metadata ->> k.key, 300))
        -- Providers that know no name often send the e-mail address as one. It is nobody else's to read.
        and position('@' in left(metadata ->> k.key, 300)) = 0
    order by k.position
$function$;

create or replace function private.mirror_confirmation()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    confirmed boolean := num_nonnulls(new.email_confirmed_at, new.phone_confirmed_at) > 0;
begin
    update public.profiles as p set is_confirmed = confirmed
    where p.id = new.id and p.is_confirmed <> confirmed;
    return null;
end
$function$;

create or replace function private.suggest_username (
    value text
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select case
        -- What is valid stays as it was typed, letter case included.
        when btrim(value) ~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$' then btrim(left(btrim(value), 30), '.-')
        else btrim(left(btrim(regexp_replace(
            private.to_latin(left(value, 300)), '[^a-z0-9_]+', '-', 'g'
        ), '-'), 30), '-')
    end
$function$;

-- sql/10_identity/45_locations.sql ------------------------------------------------------------------------------------

create or replace function public.nearby_profiles (
    lat double precision,
    lon double precision,
    radius_km double precision default 50,
    after_distance_km integer default null::integer,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        id uuid,
        username text,
        display_name text,
        avatar_url text,
        city text,
        country text,
        distance_km integer
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    blocked uuid [] := array(select private.blocked_ids());
    here extensions.cube;
    radius double precision;
    box extensions.cube;
begin
    if coalesce(not (lat between -90 and 90 and lon between -180 and 180 and radius_km > 0), true) then
        perform private.fail('location_invalid');
    end if;
    here := private.sphere_point(lat, lon);
    radius := least(radius_km, 1000);
    -- Who shows a city is found within 10 km at least. Half an angle of the radius spans half the box; a little more,
    -- because the index rounds on its own.
    box := extensions.cube_enlarge(here, 2 * sin(greatest(radius, 10) / 6371 / 2) * 1.000001, 3);
    return query
    select f.id, p.username::text, p.display_name, p.avatar_url::text, f.city, f.country, f.distance
    from (
        select
            l.user_id as id, l.city, l.country,
            -- Rounded up: "within 10 km". All that is said of who shows a city comes from their cell.
            case
                when e.exactly then greatest(ceil(d.km), 1)
                else greatest(ceil(d.km / 10) * 10, 10)
            end::integer as distance
        from public.profile_locations as l
        cross join lateral (
            -- Plans are looked up for those who chose exact only.
            select case l.visibility when 'exact' then private.may_share_exactly(l.user_id) else false end as exactly
        ) as e
        cross join lateral (
            -- As distance_km(), which costs more to call than to write out.
            select 2 * 6371 * asin(least(
                extensions.cube_distance(here, case when e.exactly then l.spot else l.cell end) / 2, 1
            )) as km
        ) as d
        where
            (l.cell operator(extensions.<@) box or l.spot operator(extensions.<@) box)
            and d.km <= case when e.exactly then radius else greatest(radius, 10) end
            and l.user_id <> caller
            and l.user_id <> all (blocked)
    ) as f
    inner join public.profiles as p on p.id = f.id
    where
        p.deleted_at is null and not p.is_banned and p.is_confirmed
        and p.profile_visibility in ('public', 'members_only')
        and (
            after_distance_km is null
            or (f.distance, f.id)
            > (after_distance_km, coalesce(after_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        )
    order by f.distance, f.id
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$function$;

create or replace function public.set_my_location (
    source public.location_source,
    visibility public.location_visibility default 'city'::public.location_visibility,
    lat double precision default null::double precision,
    lon double precision default null::double precision,
    city text default null::text,
    country text default null::text
)
    returns public.profile_locations
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    -- 180 east and 180 west are one meridian.
    east double precision := case when lon = 180 then -180 else lon end;
    place double precision [] := case when lat is not null then array[lat, east] end;
    before public.profile_locations;
    result public.profile_locations;
begin
    if
        source is null or visibility is null
        or (lat is null) <> (lon is null)
        or not coalesce(lat between -90 and 90 and lon between -180 and 180, true)
        or (source = 'gps' and lat is null)
    then
        perform private.fail('location_invalid');
    end if;
    if visibility = 'exact' and source <> 'gps' then
        perform private.fail('exact_needs_gps');
    end if;
    if source = 'gps' and not private.may_share_exactly(caller) then
        perform private.fail('gps_not_in_plan');
    end if;

    if visibility <> 'exact' then
        place := private.cell_centre(place[1], place[2]);
    end if;
    select * into before from public.profile_locations as l where l.user_id = caller for update;
    -- Whoever crosses the border of a cell would tell all who watch that they are at that line now. A short way shows
    -- once a day at most; a journey shows at once.
    if
        before.visibility = 'city' and visibility = 'city'
        and before.moved_at > now() - interval '1 day'
        and private.distance_km(
            private.sphere_point(before.latitude, before.longitude), private.sphere_point(place[1], place[2])
        ) < 25
    then
        place := array[before.latitude, before.longitude];
    end if;

    insert into public.profile_locations as l (user_id, source, visibility, latitude, longitude, city, country)
    values (
        caller, set_my_location.source, set_my_location.visibility, place[1], place[2],
        set_my_location.city, set_my_location.country
    )
    on conflict on constraint profile_locations_pkey do update set
        source = excluded.source, visibility = excluded.visibility, latitude = excluded.latitude,
        longitude = excluded.longitude, city = excluded.city, country = excluded.country,
        moved_at = case
            when (l.latitude, l.longitude) is distinct from (excluded.latitude, excluded.longitude) then now()
            else l.moved_at
        end
    returning * into result;
    return result;
end
$function$;

-- sql/10_identity/50_account_deletion.sql -----------------------------------------------------------------------------

create or replace function private.advance_erasure (
    user_id uuid,
    max_rows integer
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    left_over integer := max_rows;
    step private.erasure_steps;
    erased integer;
begin
    perform private.lock_gates('account', '{}', array[advance_erasure.user_id]);
    for step in select * from private.erasure_steps as e where e.batch is not null order by e.position, e.step loop
        loop
            execute step.batch into erased using advance_erasure.user_id, left_over;
            left_over := left_over - erased;
            if left_over <= 0 then
                return false;
            end if;
            exit when erased = 0;
        end loop;
    end loop;
    perform private.erase_rest(advance_erasure.user_id);
    return true;
end
$function$;

create or replace function private.erase_account(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- A slow request keeps nobody from leaving.
    perform private.hold_rows('public.profiles', 't.id = $1', erase_account.user_id);
    -- Ends membership and hides everything; what else there is follows, see follow_account().
    update public.profiles as p set
        username = 'deleted-' || left(encode(sha256(uuid_send(p.id)), 'hex'), 22),
        display_name = null, full_name = null, bio = null, avatar_url = null, banner_url = null, smart_link = null,
        website_url = null, experience_level = null, role = 'member', profile_visibility = 'members_only',
        is_partner_account = false, deleted_at = now()
    where p.id = erase_account.user_id and p.deleted_at is null;
end
$$;

create or replace function private.erase_rest (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    step private.erasure_steps;
begin
    for step in select * from private.erasure_steps as e order by e.position, e.step loop
        execute step.statement using erase_rest.user_id;
    end loop;

    delete from public.profile_settings as s where s.user_id = erase_rest.user_id;
    delete from public.artist_profiles as a where a.user_id = erase_rest.user_id;
    delete from public.user_categories as c where c.user_id = erase_rest.user_id;
    delete from public.user_skills as s where s.user_id = erase_rest.user_id;
    delete from public.user_genres as g where g.user_id = erase_rest.user_id;
    delete from public.custom_field_requesters as r where r.user_id = erase_rest.user_id;
    delete from public.profile_locations as l where l.user_id = erase_rest.user_id;
    delete from public.bans as b where b.user_id = erase_rest.user_id;
    delete from public.cart_items as c where c.user_id = erase_rest.user_id;
    update public.orders as o set shipping_address = null, notes = null
    where o.user_id = erase_rest.user_id and (o.shipping_address is not null or o.notes is not null);
    -- What a provider collects has to be ended there first; until then its row keeps the profile.
    delete from public.subscriptions as s where s.user_id = erase_rest.user_id and s.provider is null;

    -- Not before the items are gone that keep files for their buyers.
    insert into private.file_erasures as f (user_id) values (erase_rest.user_id)
    on conflict on constraint file_erasures_pkey do update set requested_at = now(), completed_at = null;
    begin
        perform private.enqueue('erase_user_files', jsonb_build_object('user_id', erase_rest.user_id));
    exception when others then
        -- The workers' sweep finds the row above.
        raise warning 'erase_user_files not queued: %', sqlerrm;
    end;

    -- Without any financial history nothing of the account is left. The foreign keys know best what history is.
    begin
        -- A sale that is just settling holds the wallet: wait, then look.
        perform from public.wallets as w where w.user_id = erase_rest.user_id for update;
        if not exists (
            select from ledger.entries as e
            inner join ledger.accounts as a on a.id = e.account_id
            where a.owner_id = erase_rest.user_id
        ) then
            delete from ledger.accounts as a where a.owner_id = erase_rest.user_id;
            delete from public.wallets as w where w.user_id = erase_rest.user_id;
            delete from public.profiles as p where p.id = erase_rest.user_id;
        end if;
    exception when foreign_key_violation or restrict_violation then
        null;
    end;
end
$function$;

create or replace function private.erase_rows (
    relation regclass,
    condition text,
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    erased integer;
begin
    execute format(
        'delete from %s as d where d.ctid = any(array(select t.ctid from %1$s as t where %s limit $2 for update))',
        relation, condition
    ) using user_id, max_rows;
    get diagnostics erased = row_count;
    return erased;
end
$function$;

create or replace function private.export_rows (
    part private.personal_data,
    caller uuid,
    after jsonb,
    max_rows integer,
    OUT records jsonb,
    OUT next jsonb
)
    returns record
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    relation regclass := to_regclass(part.relation);
    names text [];
    types text [];
begin
    select array_agg(a.attname order by k.position), array_agg(format_type(a.atttypid, a.atttypmod) order by k.position)
    into names, types
    from pg_catalog.pg_index as i
    cross join unnest(i.indkey::smallint []) with ordinality as k (number, position)
    inner join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = relation and i.indisprimary;
    execute format(
        'select coalesce(jsonb_agg(r.record), ''[]'') from (select to_jsonb(t) as record from %s as t '
        'where (%s) and ($2 is null or (%s) > (%s)) order by %3$s limit $3) as r',
        relation, part.condition,
        (select string_agg(format('t.%I', n.name), ', ') from unnest(names) as n (name)),
        (
            select string_agg(format('($2 ->> %s)::%s', n.position - 1, n.type), ', ')
            from unnest(types) with ordinality as n (type, position)
        )
    ) into records using caller, after, max_rows;
    if jsonb_array_length(records) = max_rows then
        select jsonb_agg(records -> -1 ->> n.name order by n.position) into next
        from unnest(names) with ordinality as n (name, position);
    end if;
end
$function$;

create or replace function private.handle_deleted_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- A ban that is just being put is waited for, and kept.
    perform private.hold_rows('public.profiles', 't.id = $1', old.id);
    perform private.keep_ban(old.id, old.email, old.phone);
    perform private.erase_account(old.id);
    return null;
end
$$;

create or replace function private.lock_gates(gate text, shared uuid[], exclusive uuid[] default '{}') returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    turn record;
    key bigint;
begin
    for turn in
        select uuid_hash(g.id) & 63 as stripe, bool_or(g.exclusive) as exclusive
        from (
            select s.id, false as exclusive from unnest(lock_gates.shared) as s (id)
            union all
            select e.id, true from unnest(lock_gates.exclusive) as e (id)
        ) as g
        where g.id is not null
        group by 1
        order by 1
    loop
        key := (hashtext('avenue:' || gate)::bigint << 32) + turn.stripe;
        if turn.exclusive and gate = 'connection' then
            -- Entered when a request is done, and for a notice only: nobody is ended for it.
            perform pg_advisory_xact_lock(key);
        elsif turn.exclusive then
            perform private.hold_key(key);
        else
            perform pg_advisory_xact_lock_shared(key);
        end if;
    end loop;
end
$$;

create or replace function public.delete_my_account(forfeit_cents bigint default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    wallet record;
    total bigint;
begin
    -- Also for banned users: leaving is a right, not a membership. The profile first, and not the wallet: a checkout that
    -- pays from the wallet refers to its buyer's profile while it waits for the wallet. A sale that is just settling does
    -- so, too, and is waited for.
    perform private.hold_rows('public.profiles', 't.id = $1', auth.uid(), null, 'update');
    select
        w.*,
        (
            select coalesce(sum(p.amount_cents), 0)::bigint from public.payouts as p
            where p.user_id = w.user_id and p.status in ('requested', 'approved', 'processing')
        ) as payouts_cents
    into wallet
    from public.wallets as w
    where w.user_id = auth.uid();
    total := coalesce(wallet.balance_available_cents + wallet.balance_pending_cents + wallet.payouts_cents, 0);
    if total > 0 and forfeit_cents is distinct from total then
        perform private.fail('balance_remains', jsonb_build_object(
            'forfeit_cents', total, 'available_cents', wallet.balance_available_cents,
            'pending_cents', wallet.balance_pending_cents, 'payouts_cents', wallet.payouts_cents,
            'currency', wallet.currency
        )::text);
    end if;
    delete from auth.users as u where u.id = auth.uid();
    if not found then
        perform private.fail('not_signed_in');
    end if;
end
$$;
revoke all on function public.delete_my_account(bigint) from public, anon, service_role;

create or replace function public.export_my_data (
    section text default null::text,
    after jsonb default null::jsonb
)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := auth.uid();
    -- A page of every section is read well within the time a request may take.
    page_rows integer := case when export_my_data.section is null then 500 else 2000 end;
    part private.personal_data;
    page record;
    more jsonb := '{}';
    result jsonb;
begin
    -- Also for banned users: everybody may have a copy of what is stored about them.
    select jsonb_build_object(
        'exported_at', now(),
        'account', jsonb_build_object(
            'id', u.id, 'email', u.email, 'phone', u.phone, 'metadata', u.raw_user_meta_data,
            'created_at', u.created_at, 'last_sign_in_at', u.last_sign_in_at
        )
    ) into result
    from auth.users as u where u.id = caller;
    if result is null then
        perform private.fail('not_signed_in');
    end if;
    if jsonb_typeof(after) <> 'array' or after is not null and section is null then
        perform private.fail('section_not_found', left(format('after: %s', after), 100));
    end if;
    for part in
        select * from private.personal_data as d
        where
            (export_my_data.section is null or d.section = export_my_data.section)
            and to_regclass(d.relation) is not null
        order by d.section
    loop
        page := private.export_rows(
            part, caller, case when export_my_data.section is not null then after end, page_rows
        );
        result := result || jsonb_build_object(part.section, page.records);
        if page.next is not null then
            more := more || jsonb_build_object(part.section, page.next);
        end if;
    end loop;
    if export_my_data.section is not null and not result ? export_my_data.section then
        perform private.fail('section_not_found', left(export_my_data.section, 100));
    end if;
    return result || jsonb_build_object('more', more);
end
$function$;
revoke all on function public.export_my_data(text, jsonb) from public, anon, service_role;

-- sql/40_catalog/10_catalog_items.sql ---------------------------------------------------------------------------------

create or replace function private.clean_tags(tags text[]) returns text[]
language plpgsql
stable
set search_path = ''
as $$
declare
    cleaned text [];
begin
    -- What is far too much is refused before each of them is looked at.
    if cardinality(tags) > 200 or char_length(array_to_string(tags, '')) > 16384 then
        perform private.fail('invalid_tags', cardinality(tags)::text);
    end if;
    cleaned := array(
        select t.tag
        from (
            select
                private.tag_form(u.tag) as tag,
                min(u.position) as position
            from unnest(tags) with ordinality as u (tag, position)
            group by 1
        ) as t
        where t.tag <> ''
        order by t.position
    );
    if cardinality(cleaned) > 20 or exists (select from unnest(cleaned) as t (tag) where char_length(t.tag) > 50) then
        perform private.fail('invalid_tags', cardinality(cleaned)::text);
    end if;
    return cleaned;
end
$$;

create or replace function private.follow_seller_standing (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    active boolean := (
        select private.author_audience(p) <> 'owner' from public.profiles as p
        where p.id = follow_seller_standing.user_id
    );
    changed integer;
begin
    update public.catalog_items as c set seller_is_active = active
    where c.id = any(array(
        select i.id from public.catalog_items as i
        where i.seller_id = follow_seller_standing.user_id and i.seller_is_active <> active
        order by i.id
        limit max_rows
        for no key update
    ));
    get diagnostics changed = row_count;
    return changed;
end
$function$;

create or replace function private.sync_catalog_item()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    entry private.catalog_entry;
    before private.catalog_entry;
    seller_is_active boolean;
begin
    if tg_op = 'DELETE' then
        before := private.catalog_entry(old);
        if before.is_published then
            perform private.count_published_item(before.kind, before.seller_id, -1);
        end if;
        delete from public.catalog_items as c where c.id = old.id;
        return null;
    end if;

    entry := private.catalog_entry(new);
    if tg_op = 'UPDATE' then
        before := private.catalog_entry(old);
        if entry is not distinct from before then
            return null;
        end if;
    end if;

    if tg_op = 'INSERT' or entry.is_published <> before.is_published then
        -- A ban or deletion that is just happening, and the counters below: both start with the profile's row, so the
        -- standing read here stays true until this transaction ends, and nobody waits in a circle.
        select private.author_audience(p) <> 'owner' into seller_is_active
        from public.profiles as p
        where p.id = entry.seller_id
        for no key update;
    end if;

    if tg_op = 'INSERT' then
        insert into public.catalog_items (
            id, kind, seller_id, title, slug, thumbnail_url, price_cents, minimum_price_cents, currency, category, tags,
            is_unique, is_featured, is_published, is_for_sale, seller_is_active, search, published_at, created_at
        ) values (
            new.id, entry.kind, entry.seller_id, entry.title, entry.slug, entry.thumbnail_url, entry.price_cents,
            entry.minimum_price_cents, entry.currency, entry.category, entry.tags, entry.is_unique, entry.is_featured,
            entry.is_published, entry.is_for_sale, seller_is_active,
            private.search_vector(entry.title, entry.tags, entry.body),
            case when entry.is_published then new.created_at end, new.created_at
        );
    else
        update public.catalog_items as c set
            title = entry.title, slug = entry.slug, thumbnail_url = entry.thumbnail_url,
            price_cents = entry.price_cents, minimum_price_cents = entry.minimum_price_cents,
            currency = entry.currency, category = entry.category, tags = entry.tags, is_unique = entry.is_unique,
            is_featured = entry.is_featured, is_published = entry.is_published, is_for_sale = entry.is_for_sale,
            published_at = coalesce(c.published_at, case when entry.is_published then now() end),
            search = case
                when (entry.title, entry.tags, entry.body) is not distinct from (before.title, before.tags, before.body)
                    then c.search
                else private.search_vector(entry.title, entry.tags, entry.body)
            end,
            updated_at = now()
        where c.id = new.id;
    end if;

    if tg_op = 'INSERT' and entry.is_published or entry.is_published <> before.is_published then
        perform private.count_published_item(
            entry.kind, entry.seller_id, case when entry.is_published then 1 else -1 end
        );
    end if;
    return null;
end
$function$;

create or replace function public.search_catalog (
    query text,
    kind public.catalog_kind default null::public.catalog_kind,
    category text default null::text,
    tags text[] default null::text[],
    min_price_cents bigint default null::bigint,
    max_price_cents bigint default null::bigint,
    before_published_at timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.catalog_items
    language plpgsql
    stable
    security definer
    rows 20
    set plan_cache_mode to 'force_custom_plan'
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    words tsquery := private.search_query(search_catalog.query);
    term text := btrim(private.search_text(left(coalesce(search_catalog.query, ''), 100)));
    pattern text := '%' || regexp_replace(term, '([\\%_])', '\\\1', 'g') || '%';
    blocked uuid [] := case
        when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
    end;
    last_at timestamptz := coalesce(search_catalog.before_published_at, 'infinity');
    last_id uuid := coalesce(search_catalog.before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    page integer := least(greatest(coalesce(search_catalog.max_rows, 20), 1), 100);
    by_words boolean := numnode(words) > 0 and exists (
        select from public.catalog_items as c where c.is_listed and c.seller_id <> all (blocked) and c.search @@ words
    );
begin
    -- Trigrams need three letters, and know nothing of words that are to be left out.
    if not by_words and (char_length(term) < 3 or words::text like '%!%') then
        return;
    end if;
    return query
    select c.* from public.catalog_items as c
    where
        c.is_listed
        and c.seller_id <> all (blocked)
        and (
            by_words and c.search @@ words
            or not by_words and (
                private.search_text(c.title) like pattern
                or term operator(extensions.<%) private.search_text(c.title)
            )
        )
        and (search_catalog.kind is null or c.kind = search_catalog.kind)
        and (search_catalog.category is null or c.category = search_catalog.category)
        and (search_catalog.tags is null or c.tags @> private.clean_tags(search_catalog.tags))
        and (search_catalog.min_price_cents is null or c.price_cents >= search_catalog.min_price_cents)
        and (search_catalog.max_price_cents is null or c.price_cents <= search_catalog.max_price_cents)
        and (c.published_at, c.id) < (last_at, last_id)
    order by c.published_at desc, c.id desc
    limit page;
end
$function$;
revoke all
    on function public.search_catalog(text, public.catalog_kind, text, text[], bigint, bigint, timestamp
        with time zone, uuid, integer)
    from public, service_role;

-- sql/40_catalog/20_products.sql --------------------------------------------------------------------------------------

create or replace function private.check_product()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'UPDATE' and old.status = 'deleted' then
        -- What the server keeps up may still change; what the seller says may not.
        if (new.title, new.slug, new.status, new.price_cents) is distinct from
            (old.title, old.slug, old.status, old.price_cents)
        then
            perform private.fail('product_deleted', old.id::text);
        end if;
    end if;

    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.products', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.genre_tags := private.clean_tags(new.genre_tags);

    new.minimum_price_cents := case
        when new.allow_name_your_price then coalesce(new.minimum_price_cents, new.price_cents)
    end;
    if new.license_type = 'custom' and new.license_text is null then
        perform private.fail('license_text_required');
    end if;
    new.license_version := case
        when tg_op = 'INSERT' then 1
        else old.license_version
            + ((new.license_type, new.license_text) is distinct from (old.license_type, old.license_text))::integer
    end;

    if new.status = 'active' and (tg_op = 'INSERT' or old.status <> 'active') and not exists (
        select from public.product_files as f where f.product_id = new.id and f.removed_at is null
    ) then
        perform private.fail('product_has_no_files', new.id::text);
    end if;

    if new.status = 'deleted' then
        new.is_featured := false;
    end if;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
        new.featured_at := now();
    elsif not new.is_featured then
        new.featured_at := null;
    end if;
    return new;
end
$function$;

create or replace function private.erase_products (
    seller uuid,
    max_rows integer default null::integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    chosen uuid [] := array(
        select p.id from public.products as p
        where p.seller_id = seller and (p.status <> 'deleted' or not private.item_has_orders(p.id))
        order by p.id
        limit max_rows
        for update
    );
begin
    begin
        delete from public.products as p where p.id = any(chosen) and not private.item_has_orders(p.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    update public.products as p set status = 'deleted' where p.id = any(chosen) and p.status <> 'deleted';
    return cardinality(chosen);
end
$function$;

create or replace function public.review_product (
    product_id uuid,
    approved boolean,
    notes text default null::text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_admin();
    update public.products as p set is_approved = coalesce(approved, false)
    where p.id = review_product.product_id;
    if not found then
        perform private.fail('item_not_found', review_product.product_id::text);
    end if;
    insert into public.product_approvals as a (product_id, is_approved, approval_notes)
    values (review_product.product_id, coalesce(approved, false), notes)
    on conflict on constraint product_approvals_pkey do update set
        is_approved = excluded.is_approved, approval_notes = excluded.approval_notes, reviewed_at = now();
    perform private.audit(
        'review_product', 'products', review_product.product_id,
        jsonb_build_object('approved', coalesce(approved, false), 'notes', notes)
    );
end
$function$;

-- sql/40_catalog/40_artworks.sql --------------------------------------------------------------------------------------

create or replace function private.check_artwork()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.artworks', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.sold_at := case when new.status = 'sold' then coalesce(new.sold_at, now()) end;
    if new.is_featured and (tg_op = 'INSERT' or not old.is_featured) then
        perform private.check_featured_limit(new.id, new.seller_id);
    end if;
    return new;
end
$function$;

create or replace function private.erase_artworks (
    seller uuid,
    max_rows integer default null::integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    chosen uuid [] := array(
        select a.id from public.artworks as a
        where
            a.seller_id = seller
            and (a.status in ('draft', 'published') or not private.item_has_orders(a.id))
        order by a.id
        limit max_rows
        for update
    );
begin
    begin
        delete from public.artworks as a where a.id = any(chosen) and not private.item_has_orders(a.id);
    exception when foreign_key_violation or sqlstate 'PT409' then
        -- Ordered this very moment: then it stays, like the others, for its buyer.
        null;
    end;
    update public.artworks as a set status = 'archived'
    where a.id = any(chosen) and a.status in ('draft', 'published');
    return cardinality(chosen);
end
$function$;

create or replace function private.mark_item_sold (
    item_id uuid
)
    returns boolean
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    before public.artwork_status;
begin
    -- Whatever the seller did with it since checkout: who reserved it and paid gets it.
    select a.status into before from public.artworks as a where a.id = mark_item_sold.item_id for no key update;
    if before is null then
        return not exists (
            select from public.catalog_items as c where c.id = mark_item_sold.item_id and c.is_unique
        );
    end if;
    if before = 'sold' then
        return false;
    end if;
    insert into private.artworks_before_sale as b (artwork_id, status) values (mark_item_sold.item_id, before)
    on conflict on constraint artworks_before_sale_pkey do update set status = excluded.status;
    update public.artworks as a set status = 'sold' where a.id = mark_item_sold.item_id;
    return true;
end
$function$;

create or replace function private.relist_item (
    item_id uuid
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    update public.artworks as a set status = case
        -- Its seller left: back to the drawer instead of the shop.
        when exists (
            select from public.profiles as p where p.id = a.seller_id and p.deleted_at is not null
        ) then 'archived'
        -- What its seller had withdrawn while a buyer held it comes back withdrawn.
        else coalesce(
            (select b.status from private.artworks_before_sale as b where b.artwork_id = a.id)::text, 'published'
        )
    end::public.artwork_status
    where a.id = relist_item.item_id and a.status = 'sold'
$function$;

-- sql/40_catalog/45_product_files.sql ---------------------------------------------------------------------------------

create or replace function private.check_product_file()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    item record;
    stored record;
begin
    select p.seller_id, 'digital' as category into item from public.products as p where p.id = new.product_id
    union all
    select a.seller_id, a.category::text from public.artworks as a where a.id = new.artwork_id;
    -- Not the caller's item: the policy refuses the row, and the answer is the same whether the item exists.
    if item.seller_id is null or item.seller_id <> auth.uid() then
        return new;
    end if;
    -- One at a time per item: the sums below and the last-file rule count rows.
    perform private.lock_item(new.product_id, new.artwork_id);
    new.name := coalesce(new.name, private.tidy_name(regexp_replace(new.path, '^.*/', '')));
    if tg_op = 'INSERT' then
        if item.category <> 'digital' then
            perform private.fail('artwork_not_digital', new.artwork_id::text);
        end if;
        if split_part(new.path, '/', 1) is distinct from item.seller_id::text then
            perform private.fail('file_not_uploaded', new.path);
        end if;
        if (
            select count(*) from public.product_files as f
            where (f.product_id = new.product_id or f.artwork_id = new.artwork_id) and f.removed_at is null
        ) >= 100 then
            perform private.fail('too_many_files');
        end if;
        -- An upload to the same path that is just finishing waits, and then finds this row.
        select o.version, o.metadata into stored from storage.objects as o
        where o.bucket_id = 'product-files' and o.name = new.path
        for share;
        if not found then
            perform private.fail('file_not_uploaded', new.path);
        end if;
        new.object_version := stored.version;
        new.size_bytes := coalesce(stored.metadata ->> 'size', stored.metadata ->> 'contentLength', '0')::bigint;
        new.content_type := coalesce(stored.metadata ->> 'mimetype', 'application/octet-stream');
    end if;
    return new;
end
$function$;

create or replace function private.keep_ordered_file()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.lock_item(old.product_id, old.artwork_id);
    if not private.item_has_orders(old.item_id) then
        return old;
    end if;
    update public.product_files as f set removed_at = now() where f.id = old.id and f.removed_at is null;
    return null;
end
$function$;

create or replace function private.lock_item(product_id uuid, artwork_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- The item's own row first, as every change of an item does. The registry row then waits for checkouts, which hold
    -- its key while they read it.
    perform from public.products as p where p.id = lock_item.product_id for no key update;
    perform from public.artworks as a where a.id = lock_item.artwork_id for no key update;
    perform private.hold_rows(
        'public.catalog_items', 't.id in ($1, $2)', lock_item.product_id, lock_item.artwork_id, 'update'
    );
end
$$;

create or replace function private.ordered_at (
    user_id uuid,
    item_id uuid
)
    returns timestamp with time zone
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return (
        select i.created_at
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        where p.buyer_id = ordered_at.user_id and p.item_id = ordered_at.item_id and p.revoked_at is null
    );
end
$function$;

create or replace function private.sum_product_files()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    product public.products;
begin
    select * into product from public.products as p
    where p.id = coalesce(new.product_id, old.product_id)
    for no key update;
    if product.id is null then
        return null;
    end if;
    -- Taken down is taken down, whatever is left; take_down_file() takes the product off sale.
    if (tg_op = 'DELETE' or tg_op = 'UPDATE' and new.removed_at is not null and new.taken_down_at is null)
        and not exists (
            select from public.product_files as f where f.product_id = product.id and f.removed_at is null
        )
        and (product.status = 'active' or private.item_has_orders(product.id))
    then
        perform private.fail('product_has_no_files', product.id::text);
    end if;
    update public.products as p set
        file_size_bytes = (
            select coalesce(sum(f.size_bytes), 0) from public.product_files as f
            where f.product_id = p.id and f.removed_at is null
        ),
        file_types = array(
            select distinct lower(substring(f.name from '\.([A-Za-z0-9]{1,10})$')) as ending
            from public.product_files as f
            where f.product_id = p.id and f.removed_at is null and f.name ~ '\.[A-Za-z0-9]{1,10}$'
            order by ending
        )
    where p.id = product.id;
    return null;
end
$function$;

create or replace function public.take_down_file (
    file_id uuid,
    reason text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    file public.product_files;
begin
    perform private.require_admin();
    if reason !~ '[^[:space:]]' or reason is null then
        perform private.fail('reason_required');
    end if;
    select * into file from public.product_files as f
    where f.id = take_down_file.file_id and f.taken_down_at is null;
    if file.id is null then
        perform private.fail('file_not_found', take_down_file.file_id::text);
    end if;
    -- Off sale first: that takes the product, its seller and the registry row in the order everybody does.
    update public.products as p set status = 'paused'
    where
        p.id = file.product_id and p.status = 'active'
        and not exists (
            select from public.product_files as f
            where f.product_id = p.id and f.id <> file.id and f.removed_at is null
        );
    update public.product_files as f set removed_at = coalesce(f.removed_at, now()), taken_down_at = now()
    where f.id = file.id;
    perform private.audit(
        'take_down_file', 'product_files', file.id,
        jsonb_build_object('reason', reason, 'item_id', file.item_id, 'path', file.path)
    );
end
$function$;
revoke all on function public.take_down_file(uuid, text) from public, anon, service_role;

-- sql/40_catalog/50_storage.sql ---------------------------------------------------------------------------------------

create or replace function private.authorize_download (
    item_id uuid,
    user_id uuid
)
    returns table (
        bucket text,
        path text,
        name text,
        size_bytes bigint,
        content_type text
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    item public.catalog_items;
    since timestamptz;
begin
    perform private.require_active(authorize_download.user_id);
    select * into item from public.catalog_items as c where c.id = authorize_download.item_id;
    if item.id is null then
        perform private.fail('item_not_found', authorize_download.item_id::text);
    end if;
    -- Who sells it and admins get what earlier buyers keep, too.
    since := case
        when
            item.seller_id = authorize_download.user_id
            or exists (
                select from public.profiles as p
                where p.id = authorize_download.user_id and p.role in ('admin', 'super_admin')
            ) then '-infinity'
        else private.ordered_at(authorize_download.user_id, item.id)
    end;
    if since is null then
        -- What a stranger may not see does not exist for them.
        perform private.fail(
            case
                when item.is_visible and private.is_visible_to(item.seller_id, authorize_download.user_id)
                    then 'not_entitled'
                else 'item_not_found'
            end,
            authorize_download.item_id::text
        );
    end if;
    return query
    select
        'product-files', case when o.version is not distinct from f.object_version then f.path end, f.name,
        f.size_bytes, f.content_type
    from public.product_files as f
    left join storage.objects as o on o.bucket_id = 'product-files' and o.name = f.path
    where
        (f.product_id = item.id or f.artwork_id = item.id)
        and f.taken_down_at is null and coalesce(f.removed_at, 'infinity') >= since
    order by f.position, f.created_at, f.name, f.id;
end
$function$;

create or replace function private.bucket_takes (
    bucket_id text,
    metadata jsonb
)
    returns boolean
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select
        -- The request that signs an upload link has a body of its own; the upload itself comes back here.
        coalesce(storage.operation(), '') = 'storage.object.sign_upload_url'
        -- An older Storage says nothing of the object until it is written.
        or bucket_takes.metadata is null
        or exists (
            select
            from storage.buckets as b
            cross join lower(btrim(split_part(bucket_takes.metadata ->> 'mimetype', ';', 1))) as t (mimetype)
            where
                b.id = bucket_takes.bucket_id
                and coalesce(
                    bucket_takes.metadata ->> 'size', bucket_takes.metadata ->> 'contentLength', '0'
                )::bigint <= coalesce(b.file_size_limit, 9223372036854775807)
                and (b.allowed_mime_types is null or t.mimetype = any(b.allowed_mime_types))
                and (not b.public or private.is_passive_type(t.mimetype))
        )
$function$;

create or replace function private.guard_object() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'DELETE' then
        if private.is_pinned(old.bucket_id, old.name) then
            -- Skipped, so that the rest of a batch goes.
            return null;
        end if;
        return old;
    end if;
    if tg_op = 'UPDATE' and private.is_pinned(old.bucket_id, old.name)
        and (
            new.bucket_id, new.name, new.version, new.metadata -> 'eTag', new.metadata -> 'size',
            new.metadata -> 'mimetype'
        ) is distinct from (
            old.bucket_id, old.name, old.version, old.metadata -> 'eTag', old.metadata -> 'size',
            old.metadata -> 'mimetype'
        )
    then
        -- An error, not a skipped row: Storage then drops the new bytes and keeps the old ones.
        raise insufficient_privilege using message = 'This file was sold or sent and does not change.';
    end if;
    -- A member's, whoever writes the row.
    if new.owner_id is not null
        and new.bucket_id in ('avatars', 'banners', 'media', 'product-files', 'attachments')
    then
        -- Held until the row is there: an account that ends just now finds the file and erases it.
        perform from public.profiles as p
        where
            p.id = case when new.owner_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then new.owner_id::uuid end
            and p.deleted_at is null and not p.is_banned
        for share;
        if not found then
            raise insufficient_privilege using message = 'This account does not store files.';
        elsif not private.bucket_takes(new.bucket_id, new.metadata) then
            raise insufficient_privilege using message = 'This bucket does not take files of this size or type.';
        end if;
    end if;
    return new;
end
$$;

create or replace function private.is_passive_type (
    mimetype text
)
    returns boolean
    language sql
    immutable
    set search_path to ''
    AS $function$
    select coalesce(lower(mimetype) in (
        'image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif',
        'audio/mpeg', 'audio/mp4', 'audio/aac', 'audio/ogg', 'audio/wav', 'audio/x-wav', 'audio/flac', 'audio/webm',
        'video/mp4', 'video/webm', 'video/quicktime'
    ), false)
$function$;

create or replace function private.is_pinned (
    bucket_id text,
    name text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return case is_pinned.bucket_id
        when 'product-files' then exists (
            select from public.product_files as f where f.path = is_pinned.name and f.taken_down_at is null
        )
        when 'attachments' then private.is_sent_attachment(is_pinned.name)
        else false
    end;
end
$function$;

create or replace function private.may_download_object (
    path text,
    version text
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.product_files as f
        where
            f.path = may_download_object.path
            and f.object_version is not distinct from may_download_object.version
            and f.taken_down_at is null
            and coalesce(f.removed_at, 'infinity') >= private.ordered_at(private.member_id(), f.item_id)
    );
end
$function$;

create or replace function private.reads_or_lists()
    returns boolean
    language sql
    stable
    set search_path to ''
    AS $function$
    select coalesce(storage.operation(), '') in (
        'storage.object.get_authenticated', 'storage.object.info_authenticated', 'object.get_authenticated_info',
        'object.head_authenticated_info', 'storage.render.image_authenticated', 'storage.s3.object.get',
        'storage.s3.object.info', 'storage.object.list', 'storage.object.list_v2', 'storage.s3.object.list'
    )
$function$;

create or replace function private.user_files_to_erase (
    user_id uuid,
    max_rows integer default 1000
)
    returns table (
        bucket text,
        path text
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if not exists (
        select from private.file_erasures as e where e.user_id = user_files_to_erase.user_id
    ) then
        -- Only what a deletion asked for is ever erased, whatever a job says.
        return;
    end if;
    -- Buyers keep what they bought; nothing else is needed any more.
    delete from public.product_files as f
    using public.catalog_items as c
    where
        c.seller_id = user_files_to_erase.user_id and c.id = f.item_id and not private.item_has_orders(c.id);
    return query
    select o.bucket_id, o.name
    from storage.objects as o
    where
        o.name like user_files_to_erase.user_id::text || '/%'
        and not private.is_pinned(o.bucket_id, o.name)
    order by o.bucket_id, o.name
    limit max_rows;
    if not found then
        update private.file_erasures as e set completed_at = now()
        where e.user_id = user_files_to_erase.user_id and e.completed_at is null;
    end if;
end
$function$;

-- sql/50_commerce/10_cart_items.sql -----------------------------------------------------------------------------------

create or replace function private.check_cart_item()
    returns trigger
    language plpgsql
    set search_path to ''
    AS $function$
declare
    item public.catalog_items;
begin
    -- Read as the caller: an item the caller may not see does not exist for the cart either.
    select * into item from public.catalog_items as c where c.id = new.item_id;
    if item.id is null or (not item.is_listed and item.seller_id <> new.user_id) then
        perform private.fail('item_not_available', new.item_id::text);
    end if;
    if item.seller_id = new.user_id then
        perform private.fail('own_item', new.item_id::text);
    end if;
    if item.is_unique and new.quantity > 1 then
        perform private.fail('quantity_not_allowed', new.item_id::text);
    end if;
    if new.offered_price_cents is not null and item.minimum_price_cents is null then
        perform private.fail('price_not_negotiable', new.item_id::text);
    end if;
    if new.offered_price_cents < item.minimum_price_cents then
        perform private.fail('price_too_low', format('%s: minimum is %s cents', item.id, item.minimum_price_cents));
    end if;
    if tg_argv[0] = 'shows' then
        new.shown_price_cents := coalesce(new.offered_price_cents, item.price_cents);
    end if;
    return new;
end
$function$;

-- sql/50_commerce/30_purchases.sql ------------------------------------------------------------------------------------

create or replace function private.count_purchases()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    change integer := (case when tg_op <> 'DELETE' and new.revoked_at is null then 1 else 0 end)
    - (case when tg_op <> 'INSERT' and old.revoked_at is null then 1 else 0 end);
    paid_change integer
    := (case when tg_op <> 'DELETE' and new.revoked_at is null and new.price_cents > 0 then 1 else 0 end)
    - (case when tg_op <> 'INSERT' and old.revoked_at is null and old.price_cents > 0 then 1 else 0 end);
begin
    if change <> 0 or paid_change <> 0 then
        update public.catalog_items as c set
            purchases_count = c.purchases_count + change, paid_purchases_count = c.paid_purchases_count + paid_change
        where c.id = coalesce(new.item_id, old.item_id);
    end if;
    return null;
end
$function$;

create or replace function private.line_order (
    line uuid
)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return jsonb_build_object('order_number', o.order_number) || case
        when i.buyer_id = m.id or m.is_admin or (
            o.status in ('completed', 'partially_refunded')
            and not exists (
                select from public.transactions as t
                where t.order_item_id = i.id and t.refunded_cents = t.amount_total_cents
            )
        ) then jsonb_build_object('delivery', jsonb_build_object(
            'shipping_address', o.shipping_address, 'notes', o.notes
        ))
        else '{}'
    end
    from public.order_items as i
    inner join public.orders as o on o.id = i.order_id
    cross join (select private.member_id() as id, private.is_admin() as is_admin) as m
    where i.id = line_order.line and (i.buyer_id = m.id or i.seller_id = m.id or m.is_admin);
end
$function$;

create or replace function public.delivery (
    line public.order_items
)
    returns jsonb
    language sql
    stable
    set search_path to ''
    AS $function$
    select private.line_order((line).id) -> 'delivery'
$function$;
revoke all on function public.delivery(public.order_items) from public, anon, service_role;

create or replace function public.order_number (
    line public.order_items
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select private.line_order((line).id) ->> 'order_number'
$function$;
revoke all on function public.order_number(public.order_items) from public, anon, service_role;

-- sql/60_money/20_ledger.sql ------------------------------------------------------------------------------------------

create or replace function private.credit_legs (
    user_id uuid,
    amount_cents bigint
)
    returns ledger.leg[]
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.debit_legs (
    user_id uuid,
    amount_cents bigint
)
    returns ledger.leg[]
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

-- sql/60_money/40_payments.sql ----------------------------------------------------------------------------------------

create or replace function private.delay_provider_call (
    object_id uuid,
    kind text,
    reason text
)
    returns timestamp with time zone
    language sql
    security definer
    set search_path to ''
    AS $function$
    insert into private.provider_delays as d (object_id, kind, reason, retry_at)
    values (delay_provider_call.object_id, delay_provider_call.kind, delay_provider_call.reason, now() + interval '1 minute')
    on conflict on constraint provider_delays_pkey do update set
        attempts = d.attempts + 1, reason = excluded.reason,
        retry_at = now() + least(interval '1 minute' * 2 ^ least(d.attempts, 12), interval '6 hours')
    returning d.retry_at
$function$;

create or replace function private.forget_delay()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    delete from private.provider_delays as d where d.object_id = new.id;
    return null;
end
$function$;

create or replace function private.provider_key (
    object_id uuid
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select d.object_id || ':' || d.attempts from private.provider_delays as d where d.object_id = provider_key.object_id
$function$;

-- sql/60_money/45_checkout.sql ----------------------------------------------------------------------------------------

create or replace function private.begin_holds (
    buyer uuid,
    items uuid[]
)
    returns timestamp with time zone
    language plpgsql
    set search_path to ''
    AS $function$
declare
    limits private.settings;
    allowed integer;
    paused private.hold_periods;
    held bigint;
    until timestamptz;
    stamp constant text := 'YYYY-MM-DD"T"HH24:MI:SS"Z"';
begin
    select * into strict limits from private.settings;
    delete from private.hold_periods as h where h.user_id = buyer and h.ends_at + limits.hold_pause <= now();
    select * into paused from private.hold_periods as h
    where h.user_id = buyer and h.item_id = any (items) and h.ends_at <= now()
    order by h.ends_at desc
    limit 1;
    if paused.item_id is not null then
        perform private.fail(
            'hold_paused',
            format('%s: until %s', paused.item_id, to_char((paused.ends_at + limits.hold_pause) at time zone 'utc', stamp))
        );
    end if;
    insert into private.hold_periods as h (user_id, item_id, ends_at)
    select buyer, u.item_id, now() + limits.reservation_period from unnest(items) as u (item_id)
    on conflict on constraint hold_periods_pkey do update set renewals = h.renewals + 1;

    allowed := coalesce(
        (select l.max_holds from private.hold_limits as l where l.user_id = buyer), limits.holds_per_account
    );
    select count(*), min(greatest(h.ends_at, now())) into held, until
    from private.reservations as r
    inner join public.orders as o on o.id = r.order_id
    left join private.hold_periods as h on h.user_id = o.user_id and h.item_id = r.item_id
    where o.user_id = buyer;
    if held > allowed then
        perform private.fail(
            'too_many_holds', format('at most %s; until %s', allowed, to_char(until at time zone 'utc', stamp))
        );
    end if;
    return (select min(h.ends_at) from private.hold_periods as h where h.user_id = buyer and h.item_id = any (items));
end
$function$;

create or replace function private.order_summary (
    order_id uuid
)
    returns jsonb
    language sql
    stable
    set search_path to ''
    AS $function$
    select jsonb_build_object(
        'order_id', o.id, 'order_number', o.order_number, 'status', o.status, 'total_cents', o.total_cents,
        'currency', o.currency, 'payment_id', p.id, 'provider', p.provider, 'payment_status', p.status,
        'expires_at', p.expires_at,
        'start_url', case
            when p.status = 'requires_payment' then private.workers_link('/functions/v1/payments/' || p.id || '/start')
        end
    )
    from public.orders as o
    left join public.payments as p on p.order_id = o.id
    where o.id = order_summary.order_id
    order by p.created_at desc
    limit 1
$function$;

create or replace function private.payment_cancelled (
    payment_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    attempt public.payments;
begin
    select * into strict attempt from public.payments as p where p.id = payment_cancelled.payment_id for no key update;
    if attempt.status in ('requires_payment', 'processing', 'failed') then
        update public.payments as p set status = 'cancelled' where p.id = attempt.id;
        perform private.cancel_pending_order(
            attempt.order_id, case when attempt.expires_at <= now() then 'expired' else 'cancelled_at_provider' end
        );
    end if;
    delete from private.payment_closings as c where c.payment_id = attempt.id;
end
$function$;

create or replace function private.payment_unknown (
    payment_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.orders as o set status_reason = coalesce(o.status_reason, 'unknown_to_provider')
    from public.payments as p
    where p.id = payment_unknown.payment_id and o.id = p.order_id and o.status = 'pending';
    perform private.payment_cancelled(payment_unknown.payment_id);
end
$function$;

create or replace function private.payments_to_cancel (
    max_rows integer
)
    returns table (
        payment_id uuid,
        provider text,
        provider_ref text
    )
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
begin
    -- Marked as tried in the same statement, here and in every sweep: what cannot be cancelled now, such as a bank debit
    -- under way, goes to the end instead of keeping the others back.
    return query
    update public.payments as p set checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where
            o.status in ('requires_payment', 'processing', 'failed') and o.started_at is not null
            and o.provider <> 'wallet' and (o.expires_at <= now() or o.cancel_requested_at is not null)
        order by o.checked_at nulls first, o.expires_at
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, p.provider_ref;
    return query
    update private.payment_closings as c set tried_at = now()
    from public.payments as p
    where
        p.id = c.payment_id and c.payment_id in (
            select o.payment_id from private.payment_closings as o
            order by o.tried_at nulls first
            limit max_rows
            for no key update skip locked
        )
    returning p.id, p.provider::text, p.provider_ref;
end
$function$;

create or replace function private.read_lines (
    buyer uuid,
    wanted jsonb
)
    returns SETOF private.order_line
    language plpgsql
    set search_path to ''
    AS $function$
declare
    limits private.settings;
begin
    select * into strict limits from private.settings;
    return query
    -- The only look at the items: what is checked here is what is written and charged. Locked, so that it is the last
    -- committed state and the item stays; a seller may go on editing, as if the order had been a moment earlier.
    with item as materialized (
        select c.* from public.catalog_items as c
        where c.id in (select (w.line ->> 'item_id')::uuid from jsonb_array_elements(wanted) as w (line))
        order by c.id
        for key share
    ),

    line as (
        select
            w.no,
            (w.line ->> 'item_id')::uuid as item_id,
            (w.line ->> 'quantity')::integer as quantity,
            (w.line ->> 'offered_price_cents')::bigint as offered_cents,
            -- The most a piece may cost: what the cart showed, or what the client says it showed.
            coalesce(w.line ->> 'shown_price_cents', w.line ->> 'offered_price_cents')::bigint as agreed_cents,
            count(*) over (partition by w.line ->> 'item_id') as times
        from jsonb_array_elements(wanted) with ordinality as w (line, no)
    )

    select
        l.no::smallint, l.item_id, c.seller_id, c.is_unique, c.title, coalesce(p.description, a.description),
        p.license_type, p.license_text, p.license_version,
        case c.kind
            when 'product' then jsonb_build_object('technical_details', p.technical_details)
            when 'artwork' then jsonb_build_object(
                'image_url', a.image_url, 'category', a.category, 'dimensions', a.dimensions
            )
        end,
        u.cents, l.quantity, plan.tier, plan.commission_bps, e.problem,
        case
            when e.problem = 'price_too_low'
                then format('%s: minimum is %s cents', l.item_id, greatest(
                    c.minimum_price_cents, case when u.cents > 0 then limits.minimum_price_cents end
                ))
            else l.item_id::text
        end
    from line as l
    -- Who blocked the buyer, or was blocked by them, sells them nothing; what the buyer cannot see does not exist.
    left join item as c
        on
            c.id = l.item_id and c.seller_id <> all (array(select private.blocked_ids()))
            and (c.is_visible or c.seller_id = buyer or private.owns_item(buyer, c.id))
    left join public.products as p on p.id = c.id
    left join public.artworks as a on a.id = c.id
    left join lateral private.seller_plan(c.seller_id) as plan on true
    cross join lateral (
        select case
            when c.minimum_price_cents is null then c.price_cents else coalesce(l.offered_cents, c.price_cents)
        end as cents
    ) as u
    cross join lateral (
        select case
            when c.id is null then 'item_not_available'
            when l.times > 1 then 'duplicate_item'
            when c.seller_id = buyer then 'own_item'
            when private.owns_item(buyer, l.item_id) then 'already_owned'
            when not c.is_listed and c.is_unique then 'item_sold'
            when not c.is_listed then 'item_not_available'
            when l.quantity < 1 or (c.is_unique and l.quantity > 1) then 'quantity_not_allowed'
            when u.cents < c.minimum_price_cents then 'price_too_low'
            when c.minimum_price_cents is not null and u.cents between 1 and limits.minimum_price_cents - 1
                then 'price_too_low'
            when u.cents > l.agreed_cents then 'price_changed'
        end as problem
    ) as e
    order by l.no;
end
$function$;

create or replace function public.checkout(
    items jsonb default null,
    provider public.payment_provider default 'stripe',
    idempotency_key text default null,
    shipping_address jsonb default null,
    notes text default null
) returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    buyer uuid := private.require_member();
    limits private.settings;
    wanted jsonb := nullif(checkout.items, 'null'::jsonb);
    wanted_address jsonb := nullif(checkout.shipping_address, 'null'::jsonb);
    earlier jsonb;
    lines private.order_line[];
    wrong private.order_line;
    total bigint;
    unique_items uuid[];
    new_order uuid;
    superseded uuid[];
    attempt uuid;
    item uuid;
    culprit text;
    expires timestamptz;
    new_payment uuid;
begin
    select * into strict limits from private.settings;
    -- One checkout of a buyer at a time: a double click, two tabs, or the same key twice line up here.
    perform pg_advisory_xact_lock(hashtextextended('checkout:' || buyer, 0));
    if char_length(private.tidy_body(checkout.notes)) > 2000 then
        perform private.fail('invalid_checkout', 'notes: at most 2,000 characters');
    end if;
    perform private.require_keys(
        wanted_address,
        '{name,line1,line2,city,state,postal_code,country,phone}', 'invalid_checkout'
    );
    if length(wanted_address::text) > 4000
        or exists (select from jsonb_each(wanted_address) as a where jsonb_typeof(a.value) not in ('string', 'null'))
    then
        perform private.fail('invalid_checkout', 'shipping_address: texts, at most 4,000 characters');
    end if;

    -- What is asked for: the given items, or the cart with what it showed.
    if wanted is null then
        wanted := coalesce((
            select jsonb_agg(jsonb_build_object(
                'item_id', c.item_id, 'quantity', c.quantity, 'offered_price_cents', c.offered_price_cents,
                'shown_price_cents', c.shown_price_cents
            ) order by c.added_at, c.item_id)
            from public.cart_items as c
            where c.user_id = buyer
        ), '[]');
        -- A cart that was paid for is empty: the same request again would look like another one.
        select k.answer into earlier from private.request_keys as k
        inner join public.orders as o on o.id = (k.answer ->> 'order_id')::uuid and o.completed_at is not null
        where k.caller = buyer and k.purpose = 'checkout' and k.key = checkout.idempotency_key;
        if earlier -> 'items' @> wanted then
            wanted := earlier -> 'items';
        end if;
    else
        if jsonb_typeof(wanted) <> 'array' then
            perform private.fail('invalid_checkout', 'items: not an array');
        end if;
        perform private.require_keys(w.line, '{item_id,quantity,offered_price_cents}', 'invalid_checkout')
        from jsonb_array_elements(wanted) as w (line);
        if exists (
            select from jsonb_array_elements(wanted) as w
            where
                coalesce(w ->> 'item_id', '') !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                or coalesce(w ->> 'quantity', '1') !~ '^[0-9]{1,2}$'
                or coalesce(w ->> 'offered_price_cents', '0') !~ '^[0-9]{1,8}$'
        ) then
            perform private.fail('invalid_checkout', 'each item is {item_id, quantity?, offered_price_cents?}');
        end if;
        wanted := coalesce((
            select jsonb_agg(jsonb_build_object(
                'item_id', (w.line ->> 'item_id')::uuid, 'quantity', coalesce((w.line ->> 'quantity')::integer, 1),
                'offered_price_cents', (w.line ->> 'offered_price_cents')::bigint
            ) order by w.no)
            from jsonb_array_elements(wanted) with ordinality as w (line, no)
        ), '[]');
    end if;

    -- Where a retry ends: the order that was made, whatever has become of it.
    earlier := private.claim_request(
        buyer, 'checkout', checkout.idempotency_key,
        jsonb_build_object(
            'items', (
                select jsonb_agg(w.line - 'shown_price_cents' order by w.line ->> 'item_id')
                from jsonb_array_elements(wanted) as w (line)
            ),
            'provider', checkout.provider, 'shipping_address', wanted_address, 'notes', checkout.notes
        )
    );
    if earlier is not null then
        return private.order_summary((earlier ->> 'order_id')::uuid);
    end if;
    if checkout.provider is null or checkout.provider = 'paypal' then
        perform private.fail('provider_not_available', checkout.provider::text);
    end if;
    if jsonb_array_length(wanted) = 0 then
        perform private.fail('empty_checkout');
    elsif jsonb_array_length(wanted) > 50 then
        perform private.fail('too_many_items', jsonb_array_length(wanted)::text);
    end if;

    lines := array(select l from private.read_lines(buyer, wanted) as l);
    select l.* into wrong from unnest(lines) as l where l.problem is not null order by l.line_no limit 1;
    if wrong.problem is not null then
        perform private.fail(wrong.problem, wrong.detail);
    end if;
    select sum(l.unit_price_cents * l.quantity), array_agg(l.item_id order by l.item_id) filter (where l.is_unique)
    into total, unique_items
    from unnest(lines) as l;
    if total > limits.maximum_amount_cents then
        perform private.fail('amount_out_of_range', format('at most %s cents', limits.maximum_amount_cents));
    end if;

    insert into public.orders (user_id, subtotal_cents, total_cents, shipping_address, notes)
    values (buyer, total, total, wanted_address, checkout.notes)
    returning id into new_order;
    insert into public.order_items (
        order_id, line_no, item_id, buyer_id, seller_id, title, description, license_type, license_text,
        license_version, details, unit_price_cents, quantity, seller_tier, commission_bps
    )
    select
        new_order, l.line_no, l.item_id, buyer, l.seller_id, l.title, l.description, l.license_type, l.license_text,
        l.license_version, l.details, l.unit_price_cents, l.quantity, l.seller_tier, l.commission_bps
    from unnest(lines) as l;
    perform private.answer_request(
        buyer, 'checkout', checkout.idempotency_key, jsonb_build_object('order_id', new_order, 'items', wanted)
    );

    -- The buyer's own earlier attempts at these items give way: nobody pays twice for one thing. Their payments are
    -- locked first, as settlement does, and one-of-a-kind items are held one by one in id order: no two carts wait for
    -- each other. Anybody else's hold stays.
    superseded := array(
        select p.id from public.payments as p
        where
            p.user_id = buyer and p.status in ('requires_payment', 'processing', 'failed')
            and p.order_id in (
                select i.order_id from public.order_items as i
                where i.buyer_id = buyer and i.item_id in (select l.item_id from unnest(lines) as l)
            )
        order by p.id
        for no key update
    );
    foreach item in array coalesce(unique_items, '{}') loop
        update private.reservations as r set order_id = new_order, created_at = now()
        where
            r.item_id = item
            and r.order_id in (select p.order_id from public.payments as p where p.id = any (superseded));
        continue when found;
        insert into private.reservations (item_id, order_id) values (item, new_order) on conflict do nothing;
    end loop;
    foreach attempt in array superseded loop
        perform private.stop_payment(attempt, 'superseded');
    end loop;
    if unique_items is not null then
        -- Sold or withdrawn while this waited for another buyer's hold to end.
        select c.id::text into culprit from public.catalog_items as c
        where c.id = any (unique_items) and not c.is_listed
        limit 1;
        if culprit is not null then
            perform private.fail('item_sold', culprit);
        end if;
        select u.item_id::text into culprit from unnest(unique_items) as u (item_id)
        where not exists (
            select from private.reservations as r where r.item_id = u.item_id and r.order_id = new_order
        )
        limit 1;
        if culprit is not null then
            perform private.fail('item_reserved', culprit);
        end if;
    end if;

    if total = 0 then
        if not private.deliver_order(new_order) then
            perform private.fail('item_not_available');
        end if;
        return private.order_summary(new_order);
    end if;

    expires := case
        when unique_items is null then now() + limits.payment_period
        when checkout.provider = 'wallet' then now() + limits.reservation_period
        else private.begin_holds(buyer, unique_items)
    end;
    insert into public.payments (
        user_id, order_id, amount_cents, provider, fee_estimate_cents, provider_fee_cents, expires_at, status
    ) values (
        buyer, new_order, total, checkout.provider,
        private.processing_fee(checkout.provider, total, 'USD'),
        case when checkout.provider = 'wallet' then 0 end,
        expires,
        case when checkout.provider = 'wallet' then 'processing' else 'requires_payment' end::public.payment_status
    ) returning id into new_payment;
    if checkout.provider = 'wallet' then
        perform private.lock_wallets(
            array(select i.seller_id from public.order_items as i where i.order_id = new_order) || buyer
        );
        if private.spendable_cents(buyer) < total then
            perform private.fail('insufficient_funds');
        end if;
        perform private.settle_payment(new_payment);
    end if;
    return private.order_summary(new_order);
end
$$;

create or replace function public.set_hold_limit (
    user_id uuid,
    max_holds integer default null::integer
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_admin();
    if not exists (select from public.profiles as p where p.id = set_hold_limit.user_id) then
        perform private.fail('user_not_found', set_hold_limit.user_id::text);
    end if;
    if set_hold_limit.max_holds is null then
        delete from private.hold_limits as l where l.user_id = set_hold_limit.user_id;
    elsif set_hold_limit.max_holds not between 0 and 1000 then
        perform private.fail('invalid_hold_limit');
    else
        insert into private.hold_limits as l (user_id, max_holds)
        values (set_hold_limit.user_id, set_hold_limit.max_holds)
        on conflict on constraint hold_limits_pkey do update set max_holds = excluded.max_holds;
    end if;
    perform private.audit(
        'set_hold_limit', 'profiles', set_hold_limit.user_id,
        jsonb_build_object('max_holds', set_hold_limit.max_holds)
    );
end
$function$;
revoke all on function public.set_hold_limit(uuid, integer) from public, anon, service_role;

create or replace function private.claim_item(item_id uuid) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    key bigint := hashtextextended('hold:' || claim_item.item_id, 0);
begin
    if pg_try_advisory_xact_lock(key) then
        return true;
    end if;
    perform private.end_requests(array(
        select l.pid from pg_catalog.pg_locks as l
        inner join pg_catalog.pg_stat_activity as a on a.pid = l.pid
        where
            l.locktype = 'advisory' and l.granted and l.objsubid = 1
            and l.classid = ((key >> 32) & 4294967295)::oid and l.objid = (key & 4294967295)::oid
            and a.wait_event_type is distinct from 'Lock'
    ));
    return false;
end
$$;
comment on function private.claim_item(uuid) is
'Whether nobody else is just reserving this one-of-a-kind item; nobody waits. A request that does so and does not come '
'to an end is ended, so that the next one can.';

-- sql/60_money/48_sale_reviews.sql ------------------------------------------------------------------------------------

create or replace function private.hold_for_review (
    transaction_id uuid
)
    returns void
    language sql
    set search_path to ''
    AS $function$
    insert into public.sale_reviews (transaction_id, seller_id)
    select t.id, t.seller_id
    from public.transactions as t
    where
        t.id = hold_for_review.transaction_id
        and not exists (
            select from public.transactions as e
            where
                e.seller_id = t.seller_id and e.refunded_cents < e.amount_total_cents
                and e.created_at < now() - (select s.new_seller_period from private.settings as s)
        )
$function$;

create or replace function public.release_sale_review(transaction_id uuid, note text) returns public.sale_reviews
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    review public.sale_reviews;
    words text := private.tidy_body(note);
begin
    if char_length(coalesce(words, '')) not between 1 and 500 then
        perform private.fail('reason_required');
    end if;
    select * into review from public.sale_reviews as r
    where r.transaction_id = release_sale_review.transaction_id
    for no key update;
    if review.transaction_id is null then
        perform private.fail('sale_not_found');
    end if;
    if review.seller_id = admin then
        perform private.fail('own_wallet');
    end if;
    if review.released_at is null then
        update public.sale_reviews as r set released_at = now() where r.transaction_id = review.transaction_id
        returning * into review;
        perform private.audit(
            'release_sale_review', 'transactions', review.transaction_id, jsonb_build_object('note', words)
        );
    end if;
    return review;
end
$$;
revoke all on function public.release_sale_review(uuid, text) from public, anon, service_role;

-- sql/60_money/50_settlement.sql --------------------------------------------------------------------------------------

create or replace function private.deliver_order (
    order_id uuid,
    wallets uuid[] default '{}'::uuid[]
)
    returns boolean
    language plpgsql
    set search_path to ''
    set plan_cache_mode to 'force_generic_plan'
    AS $function$
declare
    sale_order public.orders;
    unique_items uuid[];
    retaken uuid[];
    item uuid;
begin
    select * into strict sale_order from public.orders as o where o.id = deliver_order.order_id for no key update;
    if sale_order.status not in ('pending', 'cancelled')
        or exists (select from public.profiles as p where p.id = sale_order.user_id and p.deleted_at is not null) then
        return false;
    end if;

    unique_items := array(
        select i.item_id from public.order_items as i
        inner join public.catalog_items as c on c.id = i.item_id
        where i.order_id = deliver_order.order_id and c.is_unique
        order by i.item_id
    );
    if cardinality(unique_items) > 0 then
        -- A pending order still holds its items, whatever the seller did to them since: the buyer was promised. A
        -- cancelled one gave them back and must find each of them unheld and on sale.
        with taken as (
            insert into private.reservations (item_id, order_id)
            select u.item_id, deliver_order.order_id from unnest(unique_items) as u (item_id)
            order by u.item_id
            on conflict do nothing
            returning item_id
        )

        select array_agg(t.item_id) into retaken from taken as t;
    end if;

    -- Reservations before wallets, as in a checkout that pays from one. What follows looks at what others may have
    -- bought, and they sell through the same wallets.
    perform private.lock_wallets(wallets);
    -- The buyer may have bought it again while this attempt was on its way (docs/money.md, sharp case 17).
    if exists (
        select from public.order_items as i
        inner join public.purchases as p on p.buyer_id = i.buyer_id and p.item_id = i.item_id
        where i.order_id = deliver_order.order_id and p.revoked_at is null
    ) then
        return false;
    end if;

    if cardinality(unique_items) > 0 then
        if exists (
            select from unnest(unique_items) as u (item_id)
            where not exists (
                select from private.reservations as r
                where r.item_id = u.item_id and r.order_id = deliver_order.order_id
            )
        ) or exists (
            select from public.catalog_items as c where c.id = any (retaken) and not c.is_listed
        ) or exists (
            -- A refund failed while this order held the item: it is its first buyer's again.
            select from public.purchases as p where p.item_id = any (unique_items) and p.revoked_at is null
        ) then
            return false;
        end if;
        foreach item in array unique_items loop
            if not private.mark_item_sold(item) then
                perform private.fail('event_rejected', format('item %s is held and sold at once', item));
            end if;
        end loop;
        delete from private.reservations as r where r.order_id = deliver_order.order_id;
    end if;

    insert into public.purchases as p (buyer_id, item_id, order_item_id, price_cents, currency)
    select i.buyer_id, i.item_id, i.id, i.total_cents, i.currency
    from public.order_items as i
    where i.order_id = deliver_order.order_id
    order by i.item_id
    on conflict (buyer_id, item_id) do update
    set order_item_id = excluded.order_item_id, price_cents = excluded.price_cents,
        purchased_at = excluded.purchased_at, revoked_at = null;

    delete from public.cart_items as c
    using public.order_items as i
    where i.order_id = deliver_order.order_id and c.user_id = i.buyer_id and c.item_id = i.item_id;

    update public.orders as o set status = 'completed', status_reason = null, completed_at = now()
    where o.id = deliver_order.order_id;
    return true;
end
$function$;

create or replace function private.keep_estimated_fee (
    payment_id uuid
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    select private.record_provider_fee(p.id, null, p.fee_estimate_cents) from public.payments as p
    where p.id = keep_estimated_fee.payment_id
$function$;

create or replace function private.payments_missing_fee (
    max_rows integer
)
    returns table (
        payment_id uuid,
        provider text,
        provider_ref text
    )
    language sql
    security definer
    set search_path to ''
    AS $function$
    update public.payments as p set fee_checked_at = now()
    where p.id in (
        select o.id from public.payments as o
        where o.provider_fee_cents is null and o.succeeded_at is not null and o.provider <> 'wallet'
        order by o.fee_checked_at nulls first, o.succeeded_at
        limit max_rows
        for no key update skip locked
    )
    returning p.id, p.provider::text, p.provider_ref
$function$;

create or replace function private.release_matured_earnings (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    ready uuid[];
    released_journal bigint;
    legs ledger.leg[];
begin
    -- A banned seller's money is held, not lost (docs/money.md, sharp case 24): the rows wait for the ban's end. So do
    -- sales under review.
    ready := array(
        select t.id from public.transactions as t
        where
            t.release_journal_id is null and t.release_at <= now()
            and not exists (select from public.bans as b where b.user_id = t.seller_id)
            and not exists (
                select from public.sale_reviews as r where r.transaction_id = t.id and r.released_at is null
            )
        order by t.release_at
        limit max_rows
        for no key update skip locked
    );
    if cardinality(ready) = 0 then
        return 0;
    end if;
    perform private.lock_wallets(array(select t.seller_id from public.transactions as t where t.id = any (ready)));

    select array_agg(ledger.leg(s.seller_id, l.account, l.amount)) into legs
    from (
        select t.seller_id, sum(t.pending_cents)::bigint as pending, least(sum(t.pending_cents), w.debt_cents)::bigint as debt
        from public.transactions as t
        inner join public.wallets as w on w.user_id = t.seller_id
        where t.id = any (ready)
        group by t.seller_id, w.debt_cents
    ) as s
    cross join lateral (
        values ('pending', -s.pending), ('debt', s.debt), ('available', s.pending - s.debt)
    ) as l (account, amount)
    where l.amount <> 0;

    if legs is not null then
        released_journal := ledger.post('release', 'release:' || gen_random_uuid(), legs);
    end if;
    update public.transactions as t set pending_cents = 0, release_journal_id = coalesce(released_journal, 0)
    where t.id = any (ready);
    return cardinality(ready);
end
$function$;

create or replace function private.seller_legs (
    transaction_id uuid,
    change bigint
)
    returns ledger.leg[]
    language plpgsql
    set search_path to ''
    AS $function$
declare
    sale public.transactions;
    pending bigint := 0;
    legs ledger.leg[];
begin
    select * into strict sale from public.transactions as t where t.id = transaction_id for no key update;
    if change < 0 then
        pending := -least(-change, sale.pending_cents);
        legs := private.debit_legs(sale.seller_id, pending - change);
    else
        if sale.release_journal_id is null and sale.refunded_cents < sale.amount_total_cents and not exists (
            select from public.payments as p where p.id = sale.payment_id and p.charge_reversed_at is not null
        ) then
            pending := least(change, greatest(sale.amount_seller_cents - sale.pending_cents, 0));
        end if;
        legs := private.credit_legs(sale.seller_id, change - pending);
    end if;
    if pending <> 0 then
        update public.transactions as t set pending_cents = t.pending_cents + pending where t.id = transaction_id;
        legs := ledger.leg(sale.seller_id, 'pending', pending) || legs;
    end if;
    return legs;
end
$function$;

create or replace function private.set_provider_fee (
    payment_id uuid,
    fee_cents bigint,
    journal_key text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    line record;
    sale public.transactions;
    fees bigint[];
    fee_change bigint;
    commission_change bigint;
    restated bigint;
begin
    select * into strict paid from public.payments as p where p.id = set_provider_fee.payment_id for no key update;
    update public.payments as p set provider_fee_cents = fee_cents where p.id = paid.id;

    perform from public.transactions as t where t.payment_id = paid.id for no key update;
    if not found then
        -- Nothing was sold (see settle_payment): the platform bears the fee the provider keeps.
        fee_change := fee_cents - coalesce(paid.provider_fee_cents, 0);
        if fee_change <> 0 then
            perform ledger.post(
                'fee_adjustment', journal_key || ':' || paid.id,
                array[
                    ledger.leg(null, 'fees:' || paid.provider, fee_change),
                    ledger.leg(null, 'revenue', -fee_change)
                ],
                paid.id, paid.currency
            );
        end if;
        return;
    end if;

    perform private.lock_wallets(array(select t.seller_id from public.transactions as t where t.payment_id = paid.id));
    select private.split_cents(fee_cents, array_agg(t.amount_total_cents order by i.line_no)) into fees
    from public.transactions as t
    inner join public.order_items as i on i.id = t.order_item_id
    where t.payment_id = paid.id;

    for line in
        select t as sale, fees[row_number() over (order by i.line_no)] - t.amount_fees_cents as fee_change
        from public.transactions as t
        inner join public.order_items as i on i.id = t.order_item_id
        where t.payment_id = paid.id
        order by i.line_no
    loop
        sale := line.sale;
        fee_change := line.fee_change;
        continue when fee_change = 0;
        commission_change := case
            when sale.refunded_cents = 0 or paid.charge_reversed_at is not null then (private.split_line(
                sale.amount_total_cents, sale.amount_tax_cents, sale.amount_fees_cents + fee_change,
                sale.commission_bps
            )).commission - sale.amount_commission_cents
            -- Once refunds were computed from the agreed split it stays (docs/money.md, sharp case 11) and the seller
            -- bears the change: at most what the sale still leaves them. More is the platform's loss, and comes back
            -- to it first.
            when fee_change > 0
                then least(greatest(sale.amount_seller_cents - sale.refunded_seller_cents, 0) - fee_change, 0)
            else greatest(least(-sale.amount_commission_cents, -fee_change), 0)
        end;
        update public.transactions as t set
            amount_fees_cents = t.amount_fees_cents + fee_change,
            amount_commission_cents = t.amount_commission_cents + commission_change,
            amount_seller_cents = t.amount_seller_cents - fee_change - commission_change
        where t.id = sale.id
        returning * into sale;
        -- With the charge taken back nobody keeps anything: what was refunded before follows the split without a fee,
        -- so that the rest ends at zero for the seller and the platform alike.
        restated := case
            when paid.charge_reversed_at is not null then (private.split_refund(sale, 0)).commission
            else 0
        end;
        update public.transactions as t set
            refunded_commission_cents = t.refunded_commission_cents + restated,
            refunded_seller_cents = t.refunded_seller_cents - restated
        where t.id = sale.id and restated <> 0;
        perform ledger.post(
            'fee_adjustment', journal_key || ':' || sale.id,
            private.moving_legs(array[
                ledger.leg(null, 'fees:' || paid.provider, fee_change),
                ledger.leg(null, 'revenue', commission_change - restated)
            ]) || private.seller_legs(sale.id, restated - fee_change - commission_change),
            sale.id, paid.currency
        );
    end loop;
end
$function$;

create or replace function private.settle_payment(payment_id uuid, charge_id text default null) returns text
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
    paid public.payments;
    line public.transactions;
    limits private.settings;
begin
    select * into strict paid from public.payments as p where p.id = settle_payment.payment_id for no key update;
    if paid.succeeded_at is not null then
        return 'already_settled';
    end if;

    if not private.deliver_order(
        paid.order_id,
        array(select i.seller_id from public.order_items as i where i.order_id = paid.order_id)
        || case when paid.provider = 'wallet' then paid.user_id end
    ) then
        if paid.provider = 'wallet' then
            -- Nothing was taken yet.
            perform private.fail('item_not_available');
        end if;
        -- Money for something that is gone: it belongs to the buyer and goes back (docs/money.md, sharp case 17).
        perform ledger.post(
            'unapplied', 'unapplied:' || paid.id,
            array[
                ledger.leg(null, 'clearing:' || paid.provider, -paid.amount_cents),
                ledger.leg(null, 'refunds_payable', paid.amount_cents)
            ],
            paid.id, paid.currency
        );
        update public.payments as p set
            status = 'succeeded', succeeded_at = now(), charge_id = settle_payment.charge_id,
            failure_reason = 'item_not_available'
        where p.id = paid.id;
        update public.orders as o set status = 'cancelled', status_reason = 'item_not_available'
        where o.id = paid.order_id and o.status in ('pending', 'cancelled');
        delete from private.reservations as r where r.order_id = paid.order_id;
        if settle_payment.charge_id = any (paid.declined_charges) then
            perform private.reverse_charge(paid.id, settle_payment.charge_id);
        else
            perform private.create_refund(paid.id, null, paid.amount_cents, 'item_not_available');
        end if;
        return 'refunding';
    end if;

    select * into strict limits from private.settings;
    for line in
        insert into public.transactions (
            buyer_id, seller_id, transaction_type, related_id, order_item_id, payment_id,
            amount_total_cents, amount_fees_cents, amount_tax_cents, amount_commission_cents, amount_seller_cents,
            currency, commission_bps, seller_tier, payment_processor, payment_method,
            stripe_payment_intent_id, stripe_charge_id, paypal_order_id, paypal_transaction_id,
            pending_cents, release_at
        )
        select
            i.buyer_id, i.seller_id, (c.kind || '_purchase')::public.transaction_type, i.item_id, i.id, paid.id,
            i.total_cents + i.tax_cents, i.fee, i.tax_cents, s.commission, s.seller,
            i.currency, i.commission_bps, i.seller_tier, paid.provider,
            case paid.provider when 'stripe' then 'card' when 'paypal' then 'paypal' else 'wallet_balance' end,
            case when paid.provider = 'stripe' then paid.provider_ref end,
            case when paid.provider = 'stripe' then settle_payment.charge_id end,
            case when paid.provider = 'paypal' then paid.provider_ref end,
            case when paid.provider = 'paypal' then settle_payment.charge_id end,
            s.seller, now() + limits.earnings_hold
        from (
            select
                l.*,
                (private.split_cents(
                    paid.fee_estimate_cents, array_agg(l.total_cents + l.tax_cents) over lines
                ))[row_number() over lines] as fee
            from public.order_items as l
            where l.order_id = paid.order_id and l.total_cents + l.tax_cents > 0
            window lines as (order by l.line_no rows between unbounded preceding and unbounded following)
        ) as i
        inner join public.catalog_items as c on c.id = i.item_id
        cross join lateral private.split_line(i.total_cents + i.tax_cents, i.tax_cents, i.fee, i.commission_bps) as s
        returning *
    loop
        perform ledger.post(
            'sale', 'sale:' || line.id,
            private.moving_legs(array[
                case
                    when paid.provider = 'wallet' then ledger.leg(line.buyer_id, 'available', -line.amount_total_cents)
                    else ledger.leg(null, 'clearing:' || paid.provider, -line.amount_total_cents)
                end,
                ledger.leg(null, 'fees:' || paid.provider, line.amount_fees_cents),
                ledger.leg(null, 'tax_payable', line.amount_tax_cents),
                ledger.leg(null, 'revenue', line.amount_commission_cents),
                ledger.leg(line.seller_id, 'pending', line.amount_seller_cents)
            ]),
            line.id, paid.currency
        );
        if line.amount_total_cents > limits.review_sale_above_cents then
            perform private.hold_for_review(line.id);
        end if;
    end loop;

    update public.payments as p set
        status = 'succeeded', succeeded_at = now(), charge_id = settle_payment.charge_id, failure_reason = null
    where p.id = paid.id;

    if settle_payment.charge_id = any (paid.declined_charges) then
        perform private.reverse_charge(paid.id, settle_payment.charge_id);
    end if;
    return 'settled';
end
$$;
comment on function private.settle_payment(uuid, text) is
'Settles a payment once: entitlements, one transaction and one sale journal per line. Returns settled, '
'already_settled, or refunding when the goods are gone; a payment from a wallet fails then (item_not_available).';

create or replace function private.free_wallets(user_ids uuid[]) returns void
language plpgsql
set search_path = ''
set lock_timeout = '1100ms'
as $$
declare
    held xid[];
begin
    for attempt in 1..5 loop
        held := array(select w.xmax from public.wallets as w where w.user_id = any (user_ids));
        begin
            perform from public.wallets as w where w.user_id = any (user_ids) order by w.user_id for no key update;
            return;
        exception when lock_not_available then
            -- Held all the while, and not because of somebody else.
            perform private.end_requests(array(
                select l.pid from unnest(held) as h (holder)
                inner join pg_catalog.pg_locks as l on l.transactionid = any (private.transactions_of(h.holder))
                inner join pg_catalog.pg_stat_activity as a on a.pid = l.pid
                where
                    l.locktype = 'transactionid' and l.granted and a.wait_event_type is distinct from 'Lock'
            ));
        end;
    end loop;
end
$$;
comment on function private.free_wallets(uuid[]) is
'For the workers: locks these wallets, ending requests of the API that keep one and do not come to an end.';

create or replace function private.lock_wallets(user_ids uuid[]) returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    -- Not for the API's own: what is locked in a block with an exception handler does not show whose it is. Nor without
    -- need, as the block costs a transaction of its own: nobody has locked a row that says nothing of it.
    if
        session_user <> 'authenticator'
        and exists (select from public.wallets as w where w.user_id = any (user_ids) and w.xmax <> '0'::xid)
    then
        perform private.free_wallets(user_ids);
    end if;
    perform from public.wallets as w where w.user_id = any (user_ids) order by w.user_id for no key update;
end
$$;
comment on function private.lock_wallets(uuid[]) is 'Locks wallets in the one order every flow uses.';

-- sql/60_money/60_refunds.sql -----------------------------------------------------------------------------------------

create or replace function private.apply_refund_line (
    line public.refund_lines
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    sale public.transactions;
    other public.transactions;
    one_of_a_kind boolean;
begin
    update public.transactions as t set
        refunded_cents = t.refunded_cents + line.amount_cents,
        refunded_tax_cents = t.refunded_tax_cents + line.tax_cents,
        refunded_commission_cents = t.refunded_commission_cents + line.commission_cents,
        refunded_seller_cents = t.refunded_seller_cents + line.seller_cents,
        refunded_at = case when line.amount_cents > 0 then now() else t.refunded_at end,
        status = case
            when t.refunded_cents + line.amount_cents = 0 then 'completed'
            when t.refunded_cents + line.amount_cents = t.amount_total_cents then 'refunded'
            else 'partially_refunded'
        end::public.transaction_status
    where t.id = line.transaction_id
    returning * into sale;

    -- The entitlement ends with the last cent and comes back with the first one restored; a one-of-a-kind item goes
    -- back on sale, and a restored one is taken from sale again.
    if sale.status = 'refunded' then
        -- Paid twice, because an earlier refund failed after the item was bought again: the other sale grants it now.
        select * into other from public.transactions as t
        where
            t.buyer_id = sale.buyer_id and t.related_id = sale.related_id and t.id <> sale.id
            and t.refunded_cents < t.amount_total_cents
        limit 1;
        update public.purchases as p set
            order_item_id = coalesce(other.order_item_id, p.order_item_id),
            price_cents = coalesce(other.amount_total_cents - other.amount_tax_cents, p.price_cents),
            revoked_at = case when other.id is null then now() end
        where p.order_item_id = sale.order_item_id and p.revoked_at is null;
        select c.is_unique into strict one_of_a_kind from public.catalog_items as c where c.id = sale.related_id;
        -- Not when it was sold to somebody else meanwhile.
        if one_of_a_kind and not exists (
            select from public.purchases as p where p.item_id = sale.related_id and p.revoked_at is null
        ) then
            -- Whoever paid for it and got nothing, because the refund failed after the item was sold again, comes
            -- before the shop.
            select t.* into other from public.order_items as i
            inner join public.transactions as t on t.order_item_id = i.id
            inner join public.profiles as f on f.id = t.buyer_id and f.deleted_at is null
            where i.item_id = sale.related_id and t.id <> sale.id and t.refunded_cents < t.amount_total_cents
            order by t.completed_at, t.id
            limit 1;
            if other.id is null then
                perform private.relist_item(sale.related_id);
            else
                update public.purchases as p set
                    order_item_id = other.order_item_id,
                    price_cents = other.amount_total_cents - other.amount_tax_cents, revoked_at = null
                where p.buyer_id = other.buyer_id and p.item_id = sale.related_id;
            end if;
        end if;
    elsif line.amount_cents < 0 and sale.refunded_cents - line.amount_cents = sale.amount_total_cents then
        select c.is_unique into strict one_of_a_kind from public.catalog_items as c where c.id = sale.related_id;
        if one_of_a_kind and not private.mark_item_sold(sale.related_id) then
            -- Sold to somebody else in between: money is booked as the provider reports it, people must settle it.
            perform private.audit('refund_failed_after_resale', 'transactions', sale.id, to_jsonb(line));
        else
            update public.purchases as p set
                order_item_id = sale.order_item_id, price_cents = sale.amount_total_cents - sale.amount_tax_cents,
                revoked_at = null
            where p.buyer_id = sale.buyer_id and p.item_id = sale.related_id and p.revoked_at is not null;
        end if;
    end if;
end
$function$;

create or replace function private.book_decline (
    payment_id uuid,
    declined text,
    amount_cents bigint
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    refund_id uuid;
begin
    insert into public.refunds (payment_id, amount_cents, currency, reason, provider, provider_ref, status)
    select
        p.id, book_decline.amount_cents, p.currency, 'charge_declined', p.provider, 'declined:' || declined, 'succeeded'
    from public.payments as p
    where p.id = book_decline.payment_id
    on conflict do nothing
    returning id into refund_id;
    if refund_id is not null then
        perform private.book_refund(refund_id);
    end if;
end
$function$;

create or replace function private.book_refund (
    refund_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    paid public.payments;
    target record;
    sale public.transactions;
    own bigint;
    part bigint;
    line public.refund_lines;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = book_refund.refund_id for no key update;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    if refund.booked_at is not null then
        return;
    end if;
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents and paid.charge_reversed_at is not null then
        -- Unknown when the charge was taken back: booked as part of that, the provider moved the same money.
        return;
    end if;
    -- An earlier refund may have failed since, and its report be on its way.
    if refund.amount_cents > paid.amount_cents - paid.refunded_cents then
        perform private.fail('event_too_early', 'refund exceeds what is left of the payment');
    end if;
    money_account := case when refund.paid_outside then 'bank' else 'clearing:' || paid.provider end;

    perform from public.transactions as t where t.payment_id = paid.id for no key update;
    if not found then
        perform ledger.post(
            'refund', 'refund:' || refund.id,
            array[
                ledger.leg(null, 'refunds_payable', -refund.amount_cents),
                ledger.leg(null, money_account, refund.amount_cents)
            ],
            refund.id, paid.currency
        );
    else
        perform private.lock_wallets(
            array(select t.seller_id from public.transactions as t where t.payment_id = paid.id)
            || case when paid.provider = 'wallet' then paid.user_id end
        );
        -- A refund of one line is that line's as far as it goes. One made in the dashboard meanwhile may have taken
        -- from it too: the money is gone all the same, and the other lines bear the rest.
        own := coalesce((
            select least(refund.amount_cents, t.amount_total_cents - t.refunded_cents) from public.transactions as t
            where t.order_item_id = refund.order_item_id
        ), 0);
        for target in
            select
                s.sale,
                case
                    when s.is_own then own
                    else (private.split_cents(
                        refund.amount_cents - own,
                        array_agg(case when s.is_own then 0 else s.remaining end) over lines
                    ))[row_number() over lines]
                end as part
            from (
                select
                    t as sale, t.amount_total_cents - t.refunded_cents as remaining, i.line_no,
                    i.id is not distinct from refund.order_item_id as is_own
                from public.transactions as t
                inner join public.order_items as i on i.id = t.order_item_id
                where t.payment_id = paid.id and t.amount_total_cents > t.refunded_cents
            ) as s
            window lines as (order by s.line_no rows between unbounded preceding and unbounded following)
        loop
            sale := target.sale;
            part := target.part;
            continue when part = 0;
            select refund.id, sale.id, part, s.tax, s.commission, s.seller into line
            from private.split_refund(sale, part) as s;
            insert into public.refund_lines select line.*;
            perform ledger.post(
                'refund', 'refund:' || refund.id || ':' || sale.id,
                private.moving_legs(array[
                    ledger.leg(null, 'tax_payable', -line.tax_cents),
                    ledger.leg(null, 'revenue', -line.commission_cents)
                ]) || private.seller_legs(sale.id, -line.seller_cents) || case
                    when paid.provider = 'wallet' and not refund.paid_outside
                        then private.credit_legs(paid.user_id, part)
                    else array[ledger.leg(null, money_account, part)]
                end,
                refund.id, paid.currency
            );
            perform private.apply_refund_line(line);
        end loop;
    end if;
    update public.refunds as r set booked_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, refund.amount_cents);
end
$function$;

create or replace function private.claim_refund (
    refund_id uuid
)
    returns jsonb
    language sql
    security definer
    set search_path to ''
    AS $function$
    update public.refunds as r set sent_at = coalesce(r.sent_at, now())
    from public.payments as p
    left join private.provider_delays as d on d.object_id = claim_refund.refund_id
    where
        r.id = claim_refund.refund_id and r.status = 'requested' and p.id = r.payment_id
        and coalesce(d.retry_at <= now(), true)
    returning jsonb_build_object(
        'refund_id', r.id, 'provider', r.provider, 'provider_ref', p.provider_ref, 'amount_cents', r.amount_cents,
        'currency', r.currency,
        'metadata', jsonb_build_object('refund_id', r.id, 'payment_id', p.id, 'order_item_id', r.order_item_id)
    ) || case
        when d.object_id is null then '{}' else jsonb_build_object('idempotency_key', private.provider_key(r.id))
    end
$function$;

create or replace function private.create_refund (
    payment_id uuid,
    order_item_id uuid,
    amount_cents bigint,
    reason text,
    origin public.refund_origin default 'automatic'::public.refund_origin,
    paid_outside text default null::text
)
    returns uuid
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    refund_id uuid;
begin
    select * into strict paid from public.payments as p where p.id = create_refund.payment_id for no key update;
    -- Open refunds count: two half refunds of three quarters each must not both pass.
    if amount_cents is null or amount_cents <= 0 or amount_cents > paid.amount_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r
        where r.payment_id = paid.id and r.status in ('requested', 'pending', 'succeeded')
    ), 0) or amount_cents > (
        select i.total_cents + i.tax_cents - t.refunded_cents - coalesce((
            select sum(r.amount_cents) from public.refunds as r
            where r.order_item_id = i.id and r.status in ('requested', 'pending')
        ), 0)
        from public.order_items as i
        inner join public.transactions as t on t.order_item_id = i.id
        where i.id = create_refund.order_item_id
    ) then
        perform private.fail('refund_amount_invalid');
    end if;
    insert into public.refunds (
        payment_id, order_item_id, amount_cents, currency, reason, origin, paid_outside, provider
    ) values (
        paid.id, create_refund.order_item_id, create_refund.amount_cents, paid.currency, create_refund.reason,
        create_refund.origin, create_refund.paid_outside is not null, paid.provider
    ) returning id into refund_id;
    if create_refund.paid_outside is not null then
        perform private.record_refund(refund_id, 'outside:' || create_refund.paid_outside, 'succeeded');
    elsif paid.provider = 'wallet' then
        perform private.record_refund(refund_id, null, 'succeeded');
    else
        perform private.enqueue('send_refund', jsonb_build_object('refund_id', refund_id), null, 'refund:' || refund_id);
    end if;
    return refund_id;
end
$function$;

create or replace function private.list_refunds (
    status text default null::text,
    max_rows integer default 50
)
    returns table (
        id uuid,
        payment_id uuid,
        order_item_id uuid,
        amount_cents bigint,
        status text,
        origin text,
        created_at timestamp with time zone,
        provider_ref text,
        failure_reason text
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select
        r.id, r.payment_id, r.order_item_id, r.amount_cents, r.status::text, r.origin::text, r.created_at,
        r.provider_ref, r.failure_reason
    from public.refunds as r
    where list_refunds.status is null or r.status::text = list_refunds.status
    order by r.created_at desc
    limit max_rows
$function$;

create or replace function private.pay_refund_outside(refund_id uuid, reference text, paid_by text) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    named text := private.tidy_name(reference);
begin
    if char_length(coalesce(named, '')) not between 1 and 200 then
        perform private.fail('reference_required');
    end if;
    if exists (select from public.refunds as r where r.provider_ref = 'outside:' || named) then
        perform private.fail('reference_used', named);
    end if;
    return private.redo_refund(refund_id, named, auth.uid(), paid_by);
end
$$;

create or replace function private.promised_back (
    seller uuid,
    line uuid default null::uuid,
    more_cents bigint default 0
)
    returns bigint
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with promises as (
        select r.order_item_id, r.amount_cents
        from public.refunds as r
        where r.status in ('requested', 'pending') and r.order_item_id is not null
        union all
        -- One of a whole payment will be spread over its lines by what is left of them.
        select t.order_item_id, ceil(
            r.amount_cents * (t.amount_total_cents - t.refunded_cents)
            / nullif(sum(t.amount_total_cents - t.refunded_cents) over (partition by r.id), 0)
        )::bigint
        from public.refunds as r
        inner join public.transactions as t on t.payment_id = r.payment_id
        where r.status in ('requested', 'pending') and r.order_item_id is null
        union all
        select promised_back.line, promised_back.more_cents
    ),

    lines as (
        select p.order_item_id, sum(p.amount_cents)::bigint as cents from promises as p group by p.order_item_id
    )

    select coalesce(sum(greatest(
        (private.split_refund(t, least(l.cents, t.amount_total_cents - t.refunded_cents))).seller - t.pending_cents, 0
    )), 0)::bigint
    from lines as l
    inner join public.transactions as t on t.order_item_id = l.order_item_id
    where t.seller_id = promised_back.seller
$function$;

create or replace function private.record_refund (
    refund_id uuid,
    provider_refund_id text,
    status text,
    failure_reason text default null::text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    -- Stripe's words; anything that is not final is pending.
    reported constant public.refund_status := (case record_refund.status
        when 'succeeded' then 'succeeded' when 'failed' then 'failed' when 'canceled' then 'cancelled'
        when 'cancelled' then 'cancelled' else 'pending'
    end)::public.refund_status;
begin
    -- Payment before refund: the order every flow locks in.
    perform from public.payments as p
    where p.id = (select r.payment_id from public.refunds as r where r.id = record_refund.refund_id)
    for no key update;
    select * into strict refund from public.refunds as r where r.id = record_refund.refund_id for no key update;
    if refund.provider_ref <> provider_refund_id then
        perform private.fail('event_rejected', format(
            'refund %s is %s at the provider, not %s', refund.id, refund.provider_ref, provider_refund_id
        ));
    end if;
    -- Reports arrive late and repeated: a state is left only for a later one, and failed or cancelled is the last.
    if reported > refund.status and refund.status < 'failed' then
        update public.refunds as r set
            status = reported, provider_ref = coalesce(r.provider_ref, provider_refund_id),
            failure_reason = coalesce(record_refund.failure_reason, r.failure_reason)
        where r.id = refund.id;
        if reported = 'succeeded' then
            perform private.book_refund(refund.id);
        elsif reported in ('failed', 'cancelled') then
            perform private.reverse_refund(refund.id);
            -- The provider never knew of it, so a charge that was taken back meanwhile was taken back with this part.
            if refund.provider_ref is null and provider_refund_id is null and exists (
                select from public.payments as p where p.id = refund.payment_id and p.charge_reversed_at is not null
            ) then
                perform private.book_decline(refund.payment_id, refund.id::text, refund.amount_cents);
            end if;
        end if;
    end if;
end
$function$;

create or replace function private.redo_refund (
    refund_id uuid,
    outside_reference text,
    actor uuid default null::uuid,
    actor_label text default null::text
)
    returns uuid
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    paid public.payments;
    new_refund uuid;
begin
    select p.* into paid from public.payments as p
    where p.id = (select r.payment_id from public.refunds as r where r.id = redo_refund.refund_id)
    for no key update;
    select * into refund from public.refunds as r where r.id = redo_refund.refund_id for no key update;
    if refund.id is null or refund.status not in ('failed', 'cancelled') then
        perform private.fail('refund_not_failed');
    end if;
    if paid.user_id = actor then
        perform private.fail('own_wallet');
    end if;
    new_refund := private.create_refund(
        paid.id, refund.order_item_id, refund.amount_cents, refund.reason,
        case when refund.origin = 'automatic' then 'automatic' else 'admin' end::public.refund_origin,
        outside_reference
    );
    perform private.audit(
        case when outside_reference is null then 'retry_refund' else 'pay_refund_outside' end, 'refunds', new_refund,
        jsonb_strip_nulls(jsonb_build_object(
            'failed_refund_id', refund.id, 'amount_cents', refund.amount_cents, 'reference', outside_reference
        )),
        redo_refund.actor_label
    );
    return new_refund;
end
$function$;

create or replace function private.refund_line(
    transaction_id uuid, amount_cents bigint, reason text, origin public.refund_origin
) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    sale public.transactions;
    debt_limit bigint := (select s.seller_debt_cents from private.settings as s);
    wanted bigint;
begin
    if char_length(private.tidy_body(coalesce(reason, ''))) not between 1 and 500 then
        perform private.fail('reason_required');
    end if;
    select * into strict sale from public.transactions as t where t.id = transaction_id;
    -- In the order of book_refund(), which a wallet payment reaches from here.
    perform from public.payments as p where p.id = sale.payment_id for no key update;
    perform from public.transactions as t where t.payment_id = sale.payment_id for no key update;
    -- A refund through the provider is booked later: until then it is this seller's alone.
    perform private.lock_wallets(case
        when sale.payment_processor = 'wallet'
            then array(select t.seller_id from public.transactions as t where t.payment_id = sale.payment_id) || sale.buyer_id
        else array[sale.seller_id]
    end);
    select * into strict sale from public.transactions as t where t.id = transaction_id;
    wanted := coalesce(refund_line.amount_cents, sale.amount_total_cents - sale.refunded_cents);
    -- The provider keeps its fee, so giving back a first sale makes a debt: a small one, or each sale to a friend that
    -- is given back burns another fee at the platform's cost.
    if origin = 'seller' and wanted between 1 and sale.amount_total_cents - sale.refunded_cents
        and private.spendable_cents(sale.seller_id, sale.order_item_id, wanted) < -debt_limit then
        perform private.fail('insufficient_funds', format(
            'a seller may owe at most %s cents after a refund; ask an admin', debt_limit
        ));
    end if;
    return private.create_refund(sale.payment_id, sale.order_item_id, wanted, reason, origin);
end
$$;

create or replace function private.refunds_to_resume (
    max_rows integer
)
    returns table (
        refund_id uuid,
        payment_id uuid,
        sent boolean,
        provider_ref text
    )
    language sql
    security definer
    set search_path to ''
    AS $function$
    update public.refunds as r set checked_at = now()
    where r.id in (
        select o.id from public.refunds as o
        where
            (
                o.status = 'requested' and o.created_at < now() - interval '1 minute'
                and not exists (
                    select from private.provider_delays as d where d.object_id = o.id and d.retry_at > now()
                )
            )
            or (
                o.status = 'pending'
                and coalesce(o.checked_at, o.updated_at) < now() - (select s.reconcile_after from private.settings as s)
            )
        order by o.checked_at nulls first, o.created_at
        limit max_rows
        for no key update skip locked
    )
    returning r.id, r.payment_id, r.status = 'pending', r.provider_ref
$function$;

create or replace function private.retry_refund (
    refund_id uuid,
    retried_by text
)
    returns uuid
    language sql
    security definer
    set search_path to ''
    AS $function$
    select private.redo_refund(retry_refund.refund_id, null, null, retried_by)
$function$;

create or replace function private.reverse_charge (
    payment_id uuid,
    charge_id text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments;
    rest bigint;
begin
    select * into strict paid from public.payments as p where p.id = reverse_charge.payment_id for no key update;
    if paid.charge_reversed_at is not null then
        return;
    end if;
    update public.payments as p set charge_reversed_at = now() where p.id = paid.id;
    update public.refunds as r set status = 'cancelled', failure_reason = 'charge_declined'
    where r.payment_id = paid.id and r.status = 'requested' and r.sent_at is null;
    -- Unlike a refund, a declined charge costs nothing: the provider gives its fee back with it.
    perform private.set_provider_fee(paid.id, 0, 'fee_returned');
    rest := paid.amount_cents - paid.refunded_cents - coalesce((
        select sum(r.amount_cents) from public.refunds as r
        where r.payment_id = paid.id and r.status in ('requested', 'pending')
    ), 0);
    if rest > 0 then
        perform private.book_decline(paid.id, reverse_charge.charge_id, rest);
    end if;
end
$function$;

create or replace function private.reverse_refund (
    refund_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    refund public.refunds;
    paid public.payments;
    line public.refund_lines;
    sale public.transactions;
    money_account text;
begin
    select * into strict refund from public.refunds as r where r.id = reverse_refund.refund_id for no key update;
    if refund.booked_at is null or refund.reversed_at is not null then
        return;
    end if;
    select * into strict paid from public.payments as p where p.id = refund.payment_id for no key update;
    money_account := 'clearing:' || paid.provider;
    perform private.lock_wallets(array(
        select t.seller_id from public.transactions as t where t.payment_id = paid.id
    ));
    if not exists (select from public.refund_lines as l where l.refund_id = refund.id) then
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id,
            array[
                ledger.leg(null, money_account, -refund.amount_cents),
                ledger.leg(null, 'refunds_payable', refund.amount_cents)
            ],
            refund.id, paid.currency
        );
    end if;
    for line in select * from public.refund_lines as l where l.refund_id = refund.id order by l.transaction_id loop
        select * into strict sale from public.transactions as t where t.id = line.transaction_id for no key update;
        select refund.id, sale.id, -line.amount_cents, s.tax, s.commission, s.seller into line
        from private.split_refund(sale, -line.amount_cents) as s;
        perform private.apply_refund_line(line);
        perform ledger.post(
            'refund_reversal', 'refund_reversal:' || refund.id || ':' || line.transaction_id,
            private.moving_legs(array[
                ledger.leg(null, money_account, line.amount_cents),
                ledger.leg(null, 'tax_payable', -line.tax_cents),
                ledger.leg(null, 'revenue', -line.commission_cents)
            ]) || private.seller_legs(line.transaction_id, -line.seller_cents),
            refund.id, paid.currency
        );
    end loop;
    update public.refunds as r set reversed_at = now() where r.id = refund.id;
    perform private.refresh_refund_status(paid.id, -refund.amount_cents);
end
$function$;

create or replace function private.spendable_cents (
    user_id uuid,
    line uuid default null::uuid,
    more_cents bigint default 0
)
    returns bigint
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select w.balance_available_cents - w.debt_cents - private.promised_back(w.user_id, line, more_cents)
    from public.wallets as w
    where w.user_id = spendable_cents.user_id
$function$;

create or replace function public.pay_refund_outside (
    refund_id uuid,
    reference text
)
    returns public.refunds
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    made uuid := private.pay_refund_outside(refund_id, reference, null);
    refund public.refunds;
begin
    select * into strict refund from public.refunds as r where r.id = made;
    return refund;
end
$function$;
revoke all on function public.pay_refund_outside(uuid, text) from public, anon, service_role;

create or replace function public.refund_order_item(
    order_item_id uuid, amount_cents bigint default null, reason text default 'requested_by_seller',
    idempotency_key text default null
) returns public.refunds
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    answered jsonb := private.claim_request(
        member, 'refund_order_item', refund_order_item.idempotency_key,
        jsonb_build_object(
            'order_item_id', refund_order_item.order_item_id, 'amount_cents', refund_order_item.amount_cents,
            'reason', refund_order_item.reason
        )
    );
    sale public.transactions;
    refund public.refunds;
    new_refund uuid;
begin
    if answered is not null then
        select * into strict refund from public.refunds as r where r.id = (answered #>> '{}')::uuid;
        return refund;
    end if;
    select * into sale from public.transactions as t
    where t.order_item_id = refund_order_item.order_item_id and (t.seller_id = member or private.is_admin());
    if sale.id is null then
        perform private.fail('sale_not_found');
    elsif sale.buyer_id = member then
        perform private.fail('own_wallet');
    end if;
    new_refund := private.refund_line(
        sale.id, refund_order_item.amount_cents, refund_order_item.reason,
        case when sale.seller_id = member then 'seller' else 'admin' end::public.refund_origin
    );
    select * into strict refund from public.refunds as r where r.id = new_refund;
    if refund.origin = 'admin' then
        perform private.audit(
            'refund', 'refunds', refund.id,
            jsonb_build_object('amount_cents', refund.amount_cents, 'reason', refund.reason)
        );
    end if;
    perform private.answer_request(
        member, 'refund_order_item', refund_order_item.idempotency_key, to_jsonb(refund.id)
    );
    return refund;
end
$$;

create or replace function public.retry_refund (
    refund_id uuid
)
    returns public.refunds
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    made uuid := private.redo_refund(refund_id, null, admin);
    refund public.refunds;
begin
    select * into strict refund from public.refunds as r where r.id = made;
    return refund;
end
$function$;
revoke all on function public.retry_refund(uuid) from public, anon, service_role;

-- sql/60_money/70_payouts.sql -----------------------------------------------------------------------------------------

create or replace function private.accounts_to_check (
    max_rows integer
)
    returns table (
        account_id text
    )
    language sql
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.approve_payout (
    payout_id uuid,
    approved_by text
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    payout public.payouts := private.set_payout_approved(payout_id);
begin
    perform private.audit('approve_payout', 'payouts', payout_id, '{}', approve_payout.approved_by);
    return payout.status;
end
$function$;

create or replace function private.claim_payout (
    payout_id uuid
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
        -- Suspended sellers and changed destinations wait (docs/money.md, sharp cases 23 and 24); a balance that shrank into debt since
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
    ) || jsonb_strip_nulls(jsonb_build_object('idempotency_key', private.provider_key(payout.id)));
end
$function$;

create or replace function private.count_withdrawals()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.end_payout (
    payout_id uuid,
    status public.payout_status,
    reason text,
    total_cents bigint default null::bigint
)
    returns public.payouts
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.has_factor_from_before (
    user_id uuid,
    moment timestamp with time zone
)
    returns boolean
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    found_one boolean;
begin
    if to_regclass('auth.mfa_factors') is null then
        return false;
    end if;
    execute 'select exists (
        select from auth.mfa_factors as f where f.user_id = $1 and f.status::text = ''verified'' and f.created_at < $2
    )' into found_one using has_factor_from_before.user_id, moment;
    return found_one;
end
$function$;

create or replace function private.is_fresh_proof (
    user_id uuid,
    signed_in_at timestamp with time zone,
    method text
)
    returns boolean
    language sql
    stable
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.list_payouts (
    status text default null::text,
    max_rows integer default 50
)
    returns table (
        id uuid,
        username text,
        amount_cents bigint,
        currency text,
        method text,
        status text,
        requested_at timestamp with time zone,
        provider_ref text,
        failure_reason text
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select
        p.id, f.username::text, p.amount_cents, p.currency::text, p.payout_method::text, p.status::text,
        p.requested_at, p.provider_ref, coalesce(p.failure_reason, 'delayed: ' || d.reason)
    from public.payouts as p
    inner join public.profiles as f on f.id = p.user_id
    left join private.provider_delays as d on d.object_id = p.id
    where list_payouts.status is null or p.status::text = list_payouts.status
    order by p.requested_at desc
    limit max_rows
$function$;

create or replace function private.note_password_change()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    delete from private.password_changes as c
    where c.user_id = new.id and c.changed_at < now() - 2 * (select s.password_proof_after from private.settings as s);
    insert into private.password_changes (user_id, changed_at) values (new.id, clock_timestamp()) on conflict do nothing;
    return null;
end
$function$;

create or replace function private.payouts_to_resume (
    stuck_seconds integer,
    max_rows integer
)
    returns table (
        payout_id uuid
    )
    language sql
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.prepare_onboarding (
    user_id uuid,
    change boolean,
    signed_in_at timestamp with time zone,
    method text default 'password'::text
)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.return_payout (
    payout_id uuid,
    total_cents bigint
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.set_payout_approved (
    payout_id uuid
)
    returns public.payouts
    language plpgsql
    set search_path to ''
    AS $function$
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
$function$;

create or replace function private.set_payout_destination (
    user_id uuid,
    account_id text,
    fresh boolean default true
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    update public.wallets as w set
        stripe_account_id = account_id,
        stripe_account_status = 'pending',
        payouts_held_until = case
            when w.stripe_account_id is not null or not fresh
                then now() + (select s.destination_hold from private.settings as s)
        end
    where w.user_id = set_payout_destination.user_id and w.stripe_account_id is distinct from account_id
$function$;

create or replace function public.approve_payout (
    payout_id uuid
)
    returns public.payouts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    payout public.payouts;
begin
    if exists (select from public.payouts as p where p.id = payout_id and p.user_id = admin) then
        perform private.fail('own_payout');
    end if;
    payout := private.set_payout_approved(payout_id);
    perform private.audit('approve_payout', 'payouts', payout_id);
    return payout;
end
$function$;

create or replace function public.request_payout (
    amount_cents bigint,
    idempotency_key text default null::text
)
    returns public.payouts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
            and p.status not in ('failed', 'cancelled', 'returned')
    ) <= limits.payout_daily_cents then
        payout := private.set_payout_approved(payout.id);
    end if;
    perform private.answer_request(member, 'request_payout', request_payout.idempotency_key, to_jsonb(payout.id));
    return payout;
end
$function$;
revoke all on function public.request_payout(bigint, text) from public, anon, service_role;

-- sql/60_money/80_webhook_events.sql ----------------------------------------------------------------------------------

create or replace function private.apply_charge_refunded (
    object jsonb
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    paid public.payments := private.payment_of(object);
begin
    if upper(object ->> 'currency') <> paid.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is in %s, charge %s in %s', paid.id, paid.currency, object ->> 'id', object ->> 'currency'
        ));
    end if;
    -- The charge tells a total only. When it is more than we know of, the refunds themselves are read.
    if (object ->> 'amount_refunded')::bigint > coalesce((
        select sum(r.amount_cents) from public.refunds as r where r.payment_id = paid.id and r.status = 'succeeded'
    ), 0) then
        perform private.enqueue('sync_refunds', jsonb_build_object('payment_id', paid.id));
    end if;
    return 'processed';
end
$function$;

create or replace function private.apply_payment_intent(event_type text, object jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments := private.payment_of(object);
    further uuid;
    charge text := case
        when jsonb_typeof(object -> 'latest_charge') = 'object' then object #>> '{latest_charge,id}'
        else object ->> 'latest_charge'
    end;
begin
    if upper(object ->> 'currency') <> paid.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is in %s, the event in %s', paid.id, paid.currency, object ->> 'currency'
        ));
    end if;
    if paid.provider_ref is null then
        update public.payments as p set provider_ref = object ->> 'id' where p.id = paid.id;
    end if;
    case event_type
        when 'payment_intent.succeeded' then
            if (object ->> 'amount_received')::bigint is distinct from paid.amount_cents
                or upper(object ->> 'currency') is distinct from paid.currency::text then
                perform private.fail('event_rejected', format(
                    'payment %s is %s %s, received %s %s', paid.id, paid.amount_cents, paid.currency,
                    object ->> 'amount_received', object ->> 'currency'
                ));
            end if;
            if paid.succeeded_at is not null and charge <> paid.charge_id then
                perform private.settle_further_charge(paid, charge);
                -- What was paid again needs no cancelling; the next decline asks for it anew. A success that was told
                -- late, after its decline, pays nothing.
                delete from private.payment_closings as c
                where c.payment_id = paid.id and charge <> all (paid.declined_charges);
            else
                perform private.settle_payment(paid.id, charge);
            end if;
            if charge = any (paid.declined_charges) and paid.succeeded_at is null then
                perform private.close_payment(paid.id);
            end if;
        when 'payment_intent.payment_failed' then
            -- Another charge may be under way: a bank debit after a declined card.
            update public.payments as p set
                declined_charges = case
                    when charge is null or charge = any (p.declined_charges) then p.declined_charges
                    else p.declined_charges || charge
                end,
                status = case
                    when p.succeeded_at is null and p.status <> 'cancelled'
                        and not (p.status = 'processing' and coalesce(charge <> p.charge_id, false)) then 'failed'
                    else p.status
                end,
                failure_reason = case
                    when p.succeeded_at is null then coalesce(
                        object #>> '{last_payment_error,decline_code}', object #>> '{last_payment_error,code}', 'declined'
                    )
                    else p.failure_reason
                end
            where p.id = paid.id;
            -- The charge that had succeeded was taken back (sharp case 6).
            if paid.succeeded_at is not null and charge = paid.charge_id then
                perform private.reverse_charge(paid.id, charge);
                perform private.close_payment(paid.id);
                -- A second charge may have waited for this.
                update private.webhook_events as e set status = 'pending', attempts = 0, next_attempt_at = now()
                where
                    e.status = 'dead' and e.type = 'payment_intent.succeeded'
                    and e.payload #>> '{data,object,id}' = object ->> 'id' and not e.foreign_mode;
            else
                select p.id into further from public.payments as p
                where p.provider_ref = charge and p.provider = 'stripe' and p.succeeded_at is not null
                for no key update;
                if further is not null then
                    perform private.reverse_charge(further, charge);
                    perform private.close_payment(paid.id);
                end if;
            end if;
        when 'payment_intent.processing' then
            update public.payments as p set status = 'processing', charge_id = coalesce(charge, p.charge_id)
            where
                p.id = paid.id and p.status in ('requires_payment', 'failed')
                and coalesce(charge <> all (p.declined_charges), true);
        when 'payment_intent.canceled' then
            perform private.payment_cancelled(paid.id);
    end case;
    return 'processed';
end
$$;

create or replace function private.apply_refund(object jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    paid public.payments;
    known uuid;
    ours text := object #>> '{metadata,refund_id}';
begin
    paid := private.payment_of(object);
    if upper(object ->> 'currency') is distinct from paid.currency::text then
        perform private.fail('event_rejected', format(
            'payment %s is in %s, refund %s in %s', paid.id, paid.currency, object ->> 'id', object ->> 'currency'
        ));
    end if;
    if ours ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        select r.id into known from public.refunds as r where r.id = ours::uuid and r.payment_id = paid.id;
        if known is null then
            perform private.fail('event_rejected', 'refund ' || ours || ' is not one of payment ' || paid.id);
        end if;
    else
        -- Made in the provider's dashboard (sharp case 8): the event is all we know of it.
        if paid.succeeded_at is null then
            perform private.fail('event_too_early', 'refund of a payment that has not settled: ' || paid.id);
        end if;
        insert into public.refunds (payment_id, amount_cents, currency, reason, provider, provider_ref, status)
        values (
            paid.id, (object ->> 'amount')::bigint, paid.currency,
            -- The money moved, whatever somebody wrote.
            coalesce(nullif(left(private.tidy_body(object ->> 'reason'), 500), ''), 'made_at_provider'), paid.provider,
            object ->> 'id', 'pending'
        )
        on conflict (provider_ref, provider) do nothing;
        select r.id into known from public.refunds as r
        where r.provider_ref = object ->> 'id' and r.provider = paid.provider and r.payment_id = paid.id;
        if known is null then
            perform private.fail('event_rejected', 'refund ' || (object ->> 'id') || ' is one of another payment');
        end if;
    end if;
    if (object ->> 'amount')::bigint is distinct from (select r.amount_cents from public.refunds as r where r.id = known) then
        perform private.fail('event_rejected', format('refund %s was reported with %s cents', known, object ->> 'amount'));
    end if;
    perform private.record_refund(known, object ->> 'id', object ->> 'status', object ->> 'failure_reason');
    return 'processed';
end
$$;

create or replace function private.apply_stripe_event (
    event private.webhook_events
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    object jsonb := event.payload #> '{data,object}';
begin
    if private.why_foreign(event) is not null then
        return 'ignored';
    elsif jsonb_typeof(object) is distinct from 'object' then
        perform private.fail('event_rejected', 'the event has no object');
    end if;
    if event.type in (
        'payment_intent.succeeded', 'payment_intent.payment_failed', 'payment_intent.processing', 'payment_intent.canceled'
    ) then
        return private.apply_payment_intent(event.type, object);
    elsif event.type in ('refund.created', 'refund.updated', 'refund.failed', 'charge.refund.updated') then
        return private.apply_refund(object);
    elsif event.type = 'charge.refunded' then
        return private.apply_charge_refunded(object);
    elsif event.type in ('transfer.created', 'transfer.updated', 'transfer.reversed') then
        return private.apply_transfer(event.type, object);
    elsif event.type = 'account.updated' then
        -- Events of one second have no order: the account itself is read instead of believing any of them.
        if exists (select from public.wallets as w where w.stripe_account_id = object ->> 'id') then
            perform private.enqueue('sync_account', jsonb_build_object('account_id', object ->> 'id'));
            return 'processed';
        end if;
        return 'ignored';
    elsif event.type like 'charge.dispute.%' then
        perform private.fail('event_rejected', 'disputes are not booked automatically yet: see the runbook');
    end if;
    return 'ignored';
end
$function$;

create or replace function private.apply_transfer (
    event_type text,
    object jsonb
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    ours text := object #>> '{metadata,payout_id}';
    destination text := coalesce(object #>> '{destination,id}', object ->> 'destination');
    payout public.payouts;
begin
    if ours is null or ours !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        return 'ignored';
    end if;
    select * into payout from public.payouts as p where p.id = ours::uuid for no key update;
    if payout.id is not null and (
        upper(object ->> 'currency') is distinct from payout.currency::text
        or destination is distinct from payout.destination
    ) then
        perform private.fail('event_rejected', format(
            'payout %s is in %s to %s, the transfer in %s to %s', payout.id, payout.currency, payout.destination,
            object ->> 'currency', destination
        ));
    end if;
    -- In any order and however often: the transfer exists, so it was made; a reversal is a return of it, or of a part.
    perform private.complete_payout(ours::uuid, object ->> 'id', (object ->> 'amount')::bigint);
    if event_type = 'transfer.reversed' then
        perform private.return_payout(ours::uuid, (object ->> 'amount_reversed')::bigint);
    end if;
    return 'processed';
end
$function$;

create or replace function private.close_payment (
    payment_id uuid
)
    returns void
    language sql
    set search_path to ''
    AS $function$
    insert into private.payment_closings (payment_id) values (close_payment.payment_id) on conflict do nothing
$function$;

create or replace function private.enqueue_due_webhook_events()
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    due bigint[];
begin
    -- The minute of grace leaves fresh events to the job that was queued with them.
    with queued as (
        update private.webhook_events as e set next_attempt_at = now() + interval '1 minute'
        where e.id in (
            select w.id from private.webhook_events as w
            where w.status = 'pending' and w.next_attempt_at < now() - interval '1 minute'
            order by w.next_attempt_at
            limit 500
            for no key update skip locked
        )
        returning e.id
    )

    select coalesce(array_agg(q.id order by q.id), '{}') into due from queued as q;
    if cardinality(due) > 0 then
        perform private.enqueue('process_events', jsonb_build_object('ids', to_jsonb(due)));
    end if;
    return cardinality(due);
end
$function$;

create or replace function private.events_read_until (
    provider text,
    until timestamp with time zone default null::timestamp with time zone
)
    returns timestamp with time zone
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    cursor_name text := 'events:' || events_read_until.provider;
begin
    insert into private.cursors as c (name, position)
    values (cursor_name, floor(extract(epoch from coalesce(until, now())))::bigint)
    on conflict on constraint cursors_pkey do update
    set position = greatest(c.position, coalesce(floor(extract(epoch from until))::bigint, c.position));
    return to_timestamp((select c.position from private.cursors as c where c.name = cursor_name));
end
$function$;

create or replace function private.forget_event_persons (
    user_id uuid
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    update private.webhook_events as e set payload = private.without_persons(e.payload)
    where e.user_id = forget_event_persons.user_id
$function$;

create or replace function private.forget_old_event_persons (
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    start bigint;
    forgotten bigint[];
begin
    select c.position into strict start from private.cursors as c where c.name = 'event_persons' for no key update;
    with old as (
        select e.id from private.webhook_events as e
        where
            e.id > start and e.received_at < now() - (select s.event_personal_period from private.settings as s)
        order by e.id
        limit max_rows
    ),

    changed as (
        update private.webhook_events as e set payload = private.without_persons(e.payload)
        from old
        where e.id = old.id
        returning e.id
    )

    select array_agg(c.id) into forgotten from changed as c;
    update private.cursors as c set position = (select max(f.id) from unnest(forgotten) as f (id))
    where c.name = 'event_persons' and forgotten is not null;
    return coalesce(cardinality(forgotten), 0);
end
$function$;

create or replace function private.payment_of(object jsonb) returns public.payments
language plpgsql
set search_path = ''
as $$
declare
    is_intent boolean := coalesce(object ->> 'object' = 'payment_intent', false);
    named text := object #>> '{metadata,payment_id}';
    intent text := case
        when is_intent then object ->> 'id' else coalesce(object #>> '{payment_intent,id}', object ->> 'payment_intent')
    end;
    charge text := case
        when is_intent then null
        when object ->> 'object' = 'charge' then object ->> 'id'
        else coalesce(object #>> '{charge,id}', object ->> 'charge')
    end;
    found public.payments;
    claimed public.payments;
begin
    if charge is not null then
        select * into found from public.payments as p
        where p.provider_ref = charge and p.provider = 'stripe'
        for no key update;
    end if;
    if found.id is null then
        select * into found from public.payments as p
        where p.provider_ref = intent and p.provider = 'stripe'
        for no key update;
        if found.id::text <> lower(named) then
            perform private.fail('event_rejected', format('payment %s is %s, the event names %s', found.id, intent, named));
        end if;
        -- Paid a second time: what is about the second charge waits until that is booked.
        if charge <> found.charge_id and found.succeeded_at is not null then
            perform private.fail('event_too_early', format('payment %s was paid by %s', found.id, found.charge_id));
        end if;
    end if;
    if found.id is null and named ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        select * into claimed from public.payments as p where p.id = named::uuid for no key update;
        if claimed.provider_ref is not null then
            perform private.fail('event_rejected', format(
                'payment %s is %s, the event is about %s', claimed.id, claimed.provider_ref, coalesce(intent, 'nothing')
            ));
        elsif claimed.id is not null and (claimed.provider <> 'stripe' or claimed.started_at is null) then
            perform private.fail('event_rejected', format(
                'payment %s was never started, the event is about %s', claimed.id, coalesce(intent, 'nothing')
            ));
        elsif is_intent and intent is not null
            and (object ->> 'amount_received')::bigint = claimed.amount_cents
            and upper(object ->> 'currency') = claimed.currency::text then
            found := claimed;
        end if;
    end if;
    if found.id is null then
        perform private.fail('event_too_early', 'no such payment: ' || coalesce(named, intent, 'unnamed'));
    end if;
    return found;
end
$$;

create or replace function private.person_of (
    payload jsonb
)
    returns uuid
    language plpgsql
    stable
    set search_path to ''
    AS $function$
declare
    object jsonb := payload #> '{data,object}';
    person uuid;
begin
    select p.user_id into person from public.payments as p
    where
        p.provider = 'stripe'
        and p.provider_ref = case
            when object ->> 'object' = 'payment_intent' then object ->> 'id'
            else coalesce(object #>> '{payment_intent,id}', object ->> 'payment_intent')
        end;
    if person is null then
        select w.user_id into person from public.wallets as w
        where w.stripe_account_id = coalesce(
            case when object ->> 'object' = 'account' then object ->> 'id' end, object ->> 'destination',
            payload ->> 'account'
        );
    end if;
    return person;
end
$function$;

create or replace function private.process_webhook_event (
    event_id bigint
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    event private.webhook_events;
    outcome private.webhook_status;
    problem text;
    detail text;
    code text;
    tries integer;
    person uuid;
begin
    select * into event from private.webhook_events as e where e.id = process_webhook_event.event_id for no key update;
    if event.id is null then
        return 'unknown';
    end if;
    if event.status <> 'pending' then
        return event.status;
    end if;
    begin
        if event.provider <> 'stripe' then
            perform private.fail('event_rejected', 'unknown provider');
        end if;
        outcome := private.apply_stripe_event(event)::private.webhook_status;
        person := private.person_of(event.payload);
        update private.webhook_events as e set
            status = outcome, processed_at = now(), last_error = private.why_foreign(event), user_id = person,
            payload = case
                when exists (select from public.profiles as p where p.id = person and p.deleted_at is null)
                    or person is null then e.payload
                else private.without_persons(e.payload)
            end
        where e.id = event.id;
        return outcome;
    exception when others then
        -- The work of this event is undone; what remains is that it was tried.
        get stacked diagnostics problem = message_text, detail = pg_exception_detail, code = returned_sqlstate;
    end;
    tries := event.attempts + 1;
    update private.webhook_events as e set
        attempts = tries,
        last_error = concat_ws(': ', problem, nullif(detail, '')),
        status = case
            when code = 'AV001' or tries >= (select s.event_attempts from private.settings as s) then 'dead'
            else 'pending'
        end::private.webhook_status,
        next_attempt_at = now() + make_interval(secs => 2 ^ least(tries, 12))
    where e.id = event.id
    returning * into event;
    if event.status = 'dead' then
        return 'dead';
    end if;
    perform private.enqueue('process_events', jsonb_build_object('ids', jsonb_build_array(event.id)), event.next_attempt_at);
    return 'retry';
end
$function$;

create or replace function private.settle_further_charge (
    first public.payments,
    charge text
)
    returns text
    language plpgsql
    set search_path to ''
    AS $function$
declare
    new_order uuid;
    new_payment uuid;
    promised text;
begin
    if charge = any (first.declined_charges)
        or exists (select from public.payments as p where p.provider_ref = charge and p.provider = first.provider) then
        return 'already_settled';
    end if;
    if not first.charge_id = any (first.declined_charges) then
        perform private.fail('event_too_early', format(
            'payment %s was paid by %s, which must have been declined before %s', first.id, first.charge_id, charge
        ));
    end if;
    insert into public.orders (
        user_id, subtotal_cents, tax_cents, shipping_cents, discount_cents, total_cents, currency, shipping_address, notes
    )
    select
        o.user_id, o.subtotal_cents, o.tax_cents, o.shipping_cents, o.discount_cents, o.total_cents, o.currency,
        o.shipping_address, o.notes
    from public.orders as o
    where o.id = first.order_id
    returning id into new_order;
    -- Whatever a line promises is promised again: every column but its identity.
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into promised
    from pg_catalog.pg_attribute as a
    where
        a.attrelid = 'public.order_items'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        and a.attname not in ('id', 'order_id');
    execute format(
        'insert into public.order_items (order_id, %1$s) select $1, %1$s from public.order_items where order_id = $2', promised
    ) using new_order, first.order_id;
    insert into public.payments (
        user_id, purpose, order_id, amount_cents, currency, provider, provider_ref, fee_estimate_cents, status,
        expires_at, started_at
    ) values (
        first.user_id, first.purpose, new_order, first.amount_cents, first.currency, first.provider, charge,
        first.fee_estimate_cents, 'processing', first.expires_at, first.started_at
    ) returning id into new_payment;
    return private.settle_payment(new_payment, charge);
end
$function$;

create or replace function private.store_webhook_events(provider text, events jsonb) returns integer
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    new_ids bigint[];
begin
    with stored as (
        insert into private.webhook_events (provider, event_id, type, payload, occurred_at, foreign_mode)
        select
            store_webhook_events.provider, e.event ->> 'id', e.event ->> 'type', e.event -> 'payload',
            to_timestamp((e.event ->> 'created')::double precision),
            -- Whatever else than our mode is said, in whatever form, is not ours.
            coalesce(nullif(e.event #> '{payload,livemode}', 'null') <> e.event -> 'live', false)
            or coalesce(nullif(e.event #> '{payload,data,object,livemode}', 'null') <> e.event -> 'live', false)
        from jsonb_array_elements(events) as e (event)
        order by e.event ->> 'id'
        on conflict (event_id, provider) do nothing
        returning id
    )

    select array_agg(s.id order by s.id) into new_ids from stored as s;
    if new_ids is null then
        return 0;
    end if;
    -- One job for the batch: queueing notifies, and a notifying commit does not share its flush with others.
    perform private.enqueue('process_events', jsonb_build_object('ids', to_jsonb(new_ids)));
    return cardinality(new_ids);
end
$$;

create or replace function private.why_foreign (
    event private.webhook_events
)
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    select case
        when event.foreign_mode then 'of the other mode, live or test, than our key'
        when coalesce(event.payload -> 'account', 'null') <> 'null' and event.type !~ '^(account|payout)\.'
            then 'of connected account ' || (event.payload ->> 'account')
    end
$function$;

create or replace function private.without_persons (
    payload jsonb
)
    returns jsonb
    language sql
    immutable
    set search_path to ''
    AS $function$
    select jsonb_strip_nulls(jsonb_build_object(
        'id', payload -> 'id', 'object', payload -> 'object', 'type', payload -> 'type', 'created', payload -> 'created',
        'api_version', payload -> 'api_version', 'livemode', payload -> 'livemode', 'account', payload -> 'account',
        'data', case when jsonb_typeof(payload #> '{data,object}') = 'object' then jsonb_build_object('object', (
            select jsonb_object_agg(k.key, k.value)
            from jsonb_each(payload #> '{data,object}') as k
            where
                k.key in (
                    'id', 'object', 'created', 'livemode', 'status', 'amount', 'amount_received', 'amount_captured',
                    'amount_refunded', 'amount_reversed', 'currency', 'reason', 'failure_reason', 'failure_code',
                    'cancellation_reason', 'canceled_at', 'refunded', 'reversed', 'captured', 'paid', 'disputed',
                    'payment_intent', 'charge', 'latest_charge', 'balance_transaction', 'destination',
                    'destination_payment', 'transfer', 'transfer_group', 'type', 'capabilities', 'payouts_enabled',
                    'charges_enabled', 'details_submitted'
                )
                and jsonb_typeof(k.value) <> 'object' and jsonb_typeof(k.value) <> 'array'
        ) || jsonb_build_object(
            'metadata', (
                select jsonb_object_agg(m.key, m.value)
                from jsonb_each(case
                    when jsonb_typeof(payload #> '{data,object,metadata}') = 'object'
                        then payload #> '{data,object,metadata}'
                    else '{}'
                end) as m
                where m.key in ('payment_id', 'order_id', 'order_item_id', 'refund_id', 'payout_id', 'user_id')
            ),
            'payment_intent', coalesce(
                payload #> '{data,object,payment_intent,id}', payload #> '{data,object,payment_intent}'
            ),
            'charge', coalesce(payload #> '{data,object,charge,id}', payload #> '{data,object,charge}'),
            'latest_charge', coalesce(
                payload #> '{data,object,latest_charge,id}', payload #> '{data,object,latest_charge}'
            ),
            'last_payment_error', jsonb_build_object(
                'code', payload #> '{data,object,last_payment_error,code}',
                'decline_code', payload #> '{data,object,last_payment_error,decline_code}'
            )
        )) end
    ))
$function$;

-- sql/60_money/90_audit.sql -------------------------------------------------------------------------------------------

create or replace function ledger.audit()
    returns table (
        invariant text,
        subject text,
        detail text
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with sums as (
        select e.account_id, sum(e.amount_cents) as balance from ledger.entries as e group by e.account_id
    ),

    balances as (
        select
            a.owner_id,
            coalesce(sum(s.balance) filter (where a.code = 'available'), 0) as available,
            coalesce(sum(s.balance) filter (where a.code = 'pending'), 0) as pending,
            coalesce(-sum(s.balance) filter (where a.code = 'debt'), 0) as debt
        from ledger.accounts as a
        left join sums as s on s.account_id = a.id
        where a.owner_id <> '00000000-0000-0000-0000-000000000000'
        group by a.owner_id
    )

    select '1 journals sum to zero', 'journal ' || e.journal_id, sum(e.amount_cents)::text
    from ledger.entries as e
    group by e.journal_id
    having sum(e.amount_cents) <> 0
    union all
    select '1 journals have legs', 'journal ' || j.id, j.kind::text
    from ledger.journal as j
    where (select count(*) from ledger.entries as e where e.journal_id = j.id) < 2
    union all
    select '1 entries have accounts', 'account ' || s.account_id, s.balance::text
    from sums as s
    where not exists (select from ledger.accounts as a where a.id = s.account_id)
    union all
    select
        '2 wallets equal their entries', 'wallet ' || w.user_id,
        format(
            'wallet %s/%s/%s, entries %s/%s/%s', w.balance_available_cents, w.balance_pending_cents, w.debt_cents,
            b.available, b.pending, b.debt
        )
    from public.wallets as w
    left join balances as b on b.owner_id = w.user_id
    where
        (w.balance_available_cents, w.balance_pending_cents, w.debt_cents)
        is distinct from (b.available, b.pending, b.debt)
    union all
    select '2 entries have a wallet', 'owner ' || b.owner_id, format('%s/%s/%s', b.available, b.pending, b.debt)
    from balances as b
    where not exists (select from public.wallets as w where w.user_id = b.owner_id)
    union all
    select
        '2 nobody has money beside a debt', 'owner ' || b.owner_id,
        format('available %s, debt %s', b.available, b.debt)
    from balances as b
    where b.available > 0 and b.debt > 0
    union all
    select '2 pending equals the held sales', 'wallet ' || w.user_id, format('%s, sales hold %s', w.balance_pending_cents, t.held)
    from public.wallets as w
    cross join lateral (
        select coalesce(sum(t.pending_cents), 0) as held from public.transactions as t where t.seller_id = w.user_id
    ) as t
    where w.balance_pending_cents <> t.held
    union all
    select
        '3 a settled payment has one sale per line', 'payment ' || p.id,
        format('%s lines, %s sales of %s cents, paid %s', l.lines, t.sales, t.gross, p.amount_cents)
    from public.payments as p
    cross join lateral (
        select count(*) as lines from public.order_items as i
        where i.order_id = p.order_id and i.total_cents + i.tax_cents > 0
    ) as l
    cross join lateral (
        select count(j.id) as sales, coalesce(sum(t.amount_total_cents), 0) as gross
        from public.transactions as t
        left join ledger.journal as j on j.kind = 'sale' and j.source_id = t.id
        where t.payment_id = p.id
    ) as t
    where
        p.succeeded_at is not null
        and not (t.sales = l.lines and t.gross = p.amount_cents)
        and not (
            t.sales = 0 and t.gross = 0
            and exists (select from ledger.journal as j where j.kind = 'unapplied' and j.source_id = p.id)
        )
    union all
    select '3 nothing is sold without payment', 'transaction ' || t.id, p.status::text
    from public.transactions as t
    inner join public.payments as p on p.id = t.payment_id
    where p.succeeded_at is null
    union all
    select '3 the split is what was posted', 'transaction ' || t.id, format('columns %s, entries %s', t.parts, e.parts)
    from (
        select
            t.id,
            array[
                t.amount_fees_cents, t.amount_commission_cents - t.refunded_commission_cents,
                t.amount_tax_cents - t.refunded_tax_cents,
                t.amount_seller_cents - t.refunded_seller_cents
            ] as parts
        from public.transactions as t
    ) as t
    cross join lateral (
        select array[
            coalesce(sum(e.amount_cents) filter (where a.code like 'fees:%'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'revenue'), 0),
            coalesce(sum(e.amount_cents) filter (where a.code = 'tax_payable'), 0),
            coalesce(sum(e.amount_cents) filter (where a.owner_id = s.seller_id), 0)
        ] as parts
        from public.transactions as s
        inner join ledger.journal as j
            on (j.kind in ('sale', 'fee_adjustment') and j.source_id = s.id)
            or j.idempotency_key in (
                select k.kind || ':' || r.refund_id || ':' || s.id
                from public.refund_lines as r
                cross join (values ('refund'), ('refund_reversal')) as k (kind)
                where r.transaction_id = s.id
            )
        inner join ledger.entries as e on e.journal_id = j.id
        inner join ledger.accounts as a on a.id = e.account_id
        where s.id = t.id
    ) as e
    where t.parts <> e.parts::bigint[]
    union all
    select '3 payment refunds equal the booked ones', 'payment ' || p.id, format('%s, booked %s', p.refunded_cents, r.booked)
    from public.payments as p
    cross join lateral (
        select coalesce(sum(r.amount_cents), 0) as booked from public.refunds as r
        where r.payment_id = p.id and r.booked_at is not null and r.reversed_at is null
    ) as r
    where p.refunded_cents <> r.booked
    union all
    select '4 in transit equals open payouts', 'payouts_in_transit', format('%s, open %s', s.balance, o.open)
    from (
        select coalesce(sum(s.balance), 0) as balance from sums as s
        inner join ledger.accounts as a on a.id = s.account_id
        where a.code = 'payouts_in_transit'
    ) as s
    cross join (
        select coalesce(sum(p.amount_cents), 0) as open from public.payouts as p
        where p.status in ('requested', 'approved', 'processing')
    ) as o
    where s.balance <> o.open
    union all
    select '4 nothing owed for refunds but open ones', 'refunds_payable', format('%s, open %s', s.balance, o.open)
    from (
        select coalesce(sum(s.balance), 0) as balance from sums as s
        inner join ledger.accounts as a on a.id = s.account_id
        where a.code = 'refunds_payable'
    ) as s
    cross join (
        select coalesce(sum(p.amount_cents - p.refunded_cents), 0) as open from public.payments as p
        where exists (select from ledger.journal as j where j.kind = 'unapplied' and j.source_id = p.id)
    ) as o
    where s.balance <> o.open
    union all
    select '5 journals have a source', 'journal ' || j.id, j.kind || ' ' || j.idempotency_key
    from ledger.journal as j
    where not case j.kind::text
        when 'sale' then exists (select from public.transactions as t where t.id = j.source_id)
        when 'fee_adjustment' then
            exists (select from public.transactions as t where t.id = j.source_id)
            or exists (select from public.payments as p where p.id = j.source_id)
        when 'unapplied' then exists (select from public.payments as p where p.id = j.source_id)
        when 'refund' then exists (select from public.refunds as r where r.id = j.source_id and r.booked_at is not null)
        when 'refund_reversal'
            then exists (select from public.refunds as r where r.id = j.source_id and r.reversed_at is not null)
        when 'release' then exists (select from public.transactions as t where t.release_journal_id = j.id)
        when 'adjustment' then j.memo is not null
        when 'correction' then exists (
            select from public.book_corrections as c
            where c.id = j.source_id and c.status = 'approved' and c.decided_by <> c.proposed_by
        )
        else exists (select from public.payouts as p where p.id = j.source_id)
    end
    union all
    select '5 payouts are booked as they stand', 'payout ' || p.id, p.status::text
    from public.payouts as p
    where array(
        -- A transfer may be taken back in parts.
        select j.kind::text from ledger.journal as j where j.source_id = p.id group by j.kind order by min(j.id)
    ) <> case p.status
        when 'completed' then
            array['payout_requested', 'payout_completed']
            || case when p.returned_cents > 0 then array['payout_returned'] else '{}' end
        when 'returned' then array['payout_requested', 'payout_completed', 'payout_returned']
        when 'failed' then array['payout_requested', 'payout_failed']
        when 'cancelled' then array['payout_requested', 'payout_failed']
        else array['payout_requested']
    end
    union all
    select '5 payouts came back as booked', 'payout ' || p.id, format('%s, booked %s', p.returned_cents, b.cents)
    from public.payouts as p
    cross join lateral (
        select coalesce(-sum(e.amount_cents), 0) as cents from ledger.journal as j
        inner join ledger.entries as e on e.journal_id = j.id
        inner join ledger.accounts as a on a.id = e.account_id and a.code = 'clearing:' || p.payout_method
        where j.source_id = p.id and j.kind = 'payout_returned'
    ) as b
    where p.returned_cents <> b.cents
    union all
    select '5 a one-of-a-kind item has one owner', 'item ' || p.item_id, count(*)::text
    from public.purchases as p
    inner join public.catalog_items as c on c.id = p.item_id
    where c.is_unique and p.revoked_at is null
    group by p.item_id
    having count(*) > 1
$function$;

create or replace function private.metrics()
    returns table (
        name text,
        labels jsonb,
        value double precision
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select 'avenue_webhook_events', jsonb_build_object('status', s.status), count(e.id)
    from unnest(array['pending', 'dead']::private.webhook_status[]) as s (status)
    left join private.webhook_events as e on e.status = s.status
    group by s.status
    union all
    select 'avenue_webhook_oldest_pending_seconds', '{}', coalesce(max(extract(epoch from now() - e.received_at)), 0)
    from private.webhook_events as e
    where e.status = 'pending'
    union all
    select 'avenue_payouts_open', jsonb_build_object('status', s.status), count(p.id)
    from unnest(array['requested', 'approved', 'processing']::public.payout_status[]) as s (status)
    left join public.payouts as p on p.status = s.status
    group by s.status
    union all
    select 'avenue_refunds_open', '{}', count(*) from public.refunds as r where r.status in ('requested', 'pending')
    union all
    select 'avenue_provider_delays', jsonb_build_object('kind', k.kind), count(d.object_id)
    from unnest(array['payout', 'refund']) as k (kind)
    left join private.provider_delays as d on d.kind = k.kind
    group by k.kind
    union all
    select 'avenue_payments_open', '{}', count(*) from public.payments as p
    where p.status in ('requires_payment', 'processing', 'failed')
    union all
    select 'avenue_money_waiting_' || m.name, jsonb_build_object('account', a.account), m.value
    from unnest(array['refunds_payable', 'payouts_in_transit', 'refunds', 'sale_reviews']) as a (account)
    left join (
        select
            w.account, sum(w.amount_cents) as cents, count(*) filter (where w.needs_person) as stuck,
            extract(epoch from now() - min(w.since)) as age
        from private.money_waiting() as w
        group by w.account
    ) as s on s.account = a.account
    cross join lateral (
        values
        ('cents', coalesce(s.cents, 0)), ('oldest_seconds', coalesce(s.age, 0)), ('stuck', coalesce(s.stuck, 0))
    ) as m (name, value)
$function$;

create or replace function private.money_waiting()
    returns table (
        account text,
        subject text,
        amount_cents bigint,
        since timestamp with time zone,
        problem text,
        needs_person boolean
    )
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    with waiting as (
        select
            'refunds_payable' as account, 'payment ' || p.id as subject,
            p.amount_cents - p.refunded_cents as amount_cents,
            p.succeeded_at as since,
            case when o.is_open then 'refund under way' else 'taken, not delivered, not given back' end as problem,
            not o.is_open as failed
        from public.payments as p
        cross join lateral (
            select exists (
                select from public.refunds as r where r.payment_id = p.id and r.status in ('requested', 'pending')
            ) as is_open
        ) as o
        where
            p.failure_reason = 'item_not_available' and p.succeeded_at is not null
            and p.refunded_cents < p.amount_cents
        union all
        select
            'payouts_in_transit', 'payout ' || p.id, p.amount_cents, p.requested_at,
            case p.status when 'requested' then 'waits for an admin' else 'waits for the provider: ' || p.status end,
            false
        from public.payouts as p
        where p.status in ('requested', 'approved', 'processing')
        union all
        select 'refunds', 'refund ' || r.id, r.amount_cents, r.created_at, 'waits for the provider: ' || r.status, false
        from public.refunds as r
        where r.status in ('requested', 'pending')
        union all
        -- Promised to a buyer, failed, and not made good since; undeliverable goods are above.
        select 'refunds', 'refund ' || r.id, r.amount_cents, r.updated_at, 'failed, not made again', true
        from public.refunds as r
        inner join public.payments as p on p.id = r.payment_id
        where
            r.status in ('failed', 'cancelled') and p.refunded_cents < p.amount_cents and p.charge_reversed_at is null
            and p.failure_reason is distinct from 'item_not_available'
            and not exists (
                select from public.refunds as n
                where
                    n.payment_id = r.payment_id and n.order_item_id is not distinct from r.order_item_id
                    and n.created_at > r.created_at and n.status in ('requested', 'pending', 'succeeded')
            )
        union all
        select
            'sale_reviews', 'transaction ' || v.transaction_id, t.pending_cents, v.created_at, 'held for review', false
        from public.sale_reviews as v
        inner join public.transactions as t on t.id = v.transaction_id
        where v.released_at is null and t.pending_cents > 0
    )

    select
        w.account, w.subject, w.amount_cents, w.since, w.problem,
        w.failed or w.since < now() - (select s.stuck_money_after from private.settings as s)
    from waiting as w
    order by w.since
$function$;

create or replace function public.adjust_wallet(user_id uuid, amount_cents bigint, reason text, idempotency_key text)
returns bigint
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    wallet public.wallets;
    answered jsonb;
    journal bigint;
    memo text := private.tidy_body(adjust_wallet.reason);
begin
    if admin = adjust_wallet.user_id then
        perform private.fail('own_wallet');
    end if;
    if char_length(coalesce(memo, '')) not between 1 and 500 then
        perform private.fail('reason_required');
    end if;
    if coalesce(amount_cents, 0) = 0 or amount_cents not between -99999999 and 99999999
        or coalesce(idempotency_key, '') = '' then
        perform private.fail('adjustment_invalid');
    end if;
    answered := private.claim_request(admin, 'adjust_wallet', adjust_wallet.idempotency_key, jsonb_build_object(
        'user_id', adjust_wallet.user_id, 'amount_cents', adjust_wallet.amount_cents, 'reason', memo
    ));
    if answered is not null then
        return (answered #>> '{}')::bigint;
    end if;
    -- Its owner does not keep a chargeback from being booked.
    perform private.hold_rows('public.wallets', 't.user_id = $1', adjust_wallet.user_id);
    select * into wallet from public.wallets as w where w.user_id = adjust_wallet.user_id;
    if wallet.user_id is null then
        perform private.fail('wallet_not_found');
    end if;
    journal := ledger.post(
        'adjustment', 'adjustment:' || gen_random_uuid(),
        ledger.leg(null, 'promotions', -amount_cents) || case
            when amount_cents > 0 then private.credit_legs(adjust_wallet.user_id, amount_cents)
            else private.debit_legs(adjust_wallet.user_id, -amount_cents)
        end,
        null, wallet.currency, memo
    );
    perform private.audit(
        'adjust_wallet', 'wallets', adjust_wallet.user_id,
        jsonb_build_object('amount_cents', amount_cents, 'reason', memo, 'journal_id', journal)
    );
    perform private.answer_request(admin, 'adjust_wallet', adjust_wallet.idempotency_key, to_jsonb(journal));
    return journal;
end
$$;

-- sql/65_social/05_limits.sql -----------------------------------------------------------------------------------------

create or replace function private.activity_limit (
    user_id uuid,
    kind text
)
    returns integer
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select case when p.created_at > now() - s.fresh_account_period then l.fresh else l.established end
    from public.profiles as p
    cross join private.settings as s
    inner join private.activity_limits as l on l.kind = activity_limit.kind
    where
        p.id = activity_limit.user_id and p.role not in ('admin', 'super_admin')
        and not exists (
            select from private.lifted_limits as f where f.user_id = p.id and f.until > now()
        )
$function$;

create or replace function private.bound_activity (
    kind text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    rows integer := coalesce(nullif(current_setting('avenue.rows_' || kind, true), ''), '0')::integer + 1;
begin
    perform set_config('avenue.rows_' || kind, rows::text, true);
    if auth.uid() is not null and rows > private.activity_limit(auth.uid(), kind) then
        perform private.fail('too_many_actions', private.utc(
            clock_timestamp() + (select l.period from private.activity_limits as l where l.kind = bound_activity.kind)
        ));
    end if;
end
$function$;

create or replace function private.count_activity (
    kind text,
    amount integer
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := auth.uid();
    most integer;
    span interval;
    counted private.activity;
begin
    -- Operators and workers act for nobody.
    if caller is null or amount < 1 then
        return;
    end if;
    most := private.activity_limit(caller, count_activity.kind);
    if most is null then
        return;
    end if;
    select l.period into span from private.activity_limits as l where l.kind = count_activity.kind;
    insert into private.activity as a (user_id, kind, started_at, count)
    values (caller, count_activity.kind, clock_timestamp(), amount)
    on conflict on constraint activity_pkey do update set
        started_at = case
            when a.started_at > excluded.started_at - span then a.started_at else excluded.started_at
        end,
        count = excluded.count + case when a.started_at > excluded.started_at - span then a.count else 0 end
    returning * into counted;
    if counted.count > most then
        perform private.fail('too_many_actions', private.utc(counted.started_at + span));
    end if;
end
$function$;

create or replace function private.limit_inserts()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- What a trigger writes is not what the caller asked for.
    if pg_trigger_depth() = 1 then
        perform private.count_activity(tg_argv[0], (select count(*)::integer from changed));
    end if;
    return null;
end
$function$;

create or replace function private.utc (
    moment timestamp with time zone
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select to_char((moment + interval '1 second') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$function$;

create or replace function public.lift_limits (
    user_id uuid,
    until timestamp with time zone default 'infinity'::timestamp with time zone
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_admin();
    perform from public.profiles as p where p.id = lift_limits.user_id and p.deleted_at is null for key share;
    if not found then
        perform private.fail('user_not_found', lift_limits.user_id::text);
    end if;
    delete from private.lifted_limits as f where f.user_id = lift_limits.user_id;
    insert into private.lifted_limits (user_id, until)
    select lift_limits.user_id, lift_limits.until where lift_limits.until > now()
    on conflict on constraint lifted_limits_pkey do update set until = excluded.until;
    perform private.audit('lift_limits', 'profiles', lift_limits.user_id, jsonb_build_object('until', until));
end
$function$;
revoke all on function public.lift_limits(uuid, timestamp with time zone) from public, anon, service_role;

create or replace function public.my_limits()
    returns SETOF public.activity_limit
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
begin
    return query
    select l.kind, private.activity_limit(caller, l.kind), coalesce(a.count, 0), a.started_at + l.period
    from private.activity_limits as l
    left join private.activity as a on a.user_id = caller and a.kind = l.kind and a.started_at > now() - l.period
    where private.activity_limit(caller, l.kind) is not null
    order by l.kind;
end
$function$;
revoke all on function public.my_limits() from public, anon, service_role;

-- sql/65_social/10_user_blocks.sql ------------------------------------------------------------------------------------

create or replace function private.pair (
    one uuid,
    other uuid
)
    returns uuid
    language sql
    immutable
    strict
    set search_path to ''
    AS $function$
    select md5(least(one, other)::text || greatest(one, other)::text)::uuid
$function$;

create function private.has_blocked(user_id uuid) returns boolean
language sql
stable
security definer
set search_path = ''
as $$
    select exists (
        select from public.user_blocks as b where b.blocker_id = auth.uid() and b.blocked_id = has_blocked.user_id
    )
$$;
comment on function private.has_blocked(uuid) is 'Whether the caller blocked this account.';
revoke all on function private.has_blocked(uuid) from public;
grant execute on function private.has_blocked(uuid) to authenticated;

alter policy user_blocks_insert on public.user_blocks
with check (
    blocker_id = (select private.member_id())
    and (private.can_see(blocked_id) or private.has_blocked(blocked_id))
);

-- sql/65_social/15_follows.sql ----------------------------------------------------------------------------------------

create or replace function private.check_block() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Each person is a lock of their own for those who write to them.
    if auth.uid() is not null and pg_trigger_depth() = 1 and (select count(*) from changed) > 500 then
        perform private.fail('too_many_actions', private.utc(clock_timestamp()));
    end if;
    if tg_op = 'INSERT' then
        perform private.lock_gates('account', array(
            select c.blocker_id from changed as c union select c.blocked_id from changed as c
        ));
        perform private.lock_gates('pair', '{}', array(
            select private.pair(c.blocker_id, c.blocked_id) from changed as c
        ));
        -- Somebody who stops following just now, slowly.
        perform private.hold_rows('public.follows', 't.follower_id = $1 and t.following_id = $2', w.one, w.other)
        from (
            select c.blocker_id as one, c.blocked_id as other from changed as c
            union all
            select c.blocked_id, c.blocker_id from changed as c
        ) as w
        inner join public.follows as f on f.follower_id = w.one and f.following_id = w.other;
    end if;
    return null;
end
$$;
comment on function private.check_block() is
'Trigger: a block and a follow of the same two people take turns; one request begins or ends at most 500 blocks.';

create or replace function private.check_follow()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if new.follower_id = new.following_id then
        perform private.fail('cannot_follow_yourself');
    end if;
    perform private.bound_activity('follow');
    -- A block or the end of either account at this instant is waited for, or waits for this.
    perform private.lock_gates('account', array[new.follower_id, new.following_id]);
    perform private.lock_gates('pair', array[private.pair(new.follower_id, new.following_id)]);
    perform private.require_active(new.follower_id);
    if not private.is_visible_to(new.following_id, new.follower_id) then
        perform private.fail('user_not_found', new.following_id::text);
    end if;
    return new;
end
$function$;

create or replace function private.count_follows() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    targets uuid [];
    target record;
    change integer;
begin
    select array_agg(t.id order by t.id) into targets
    from (
        select c.follower_id as id from changed as c
        union
        select c.following_id from changed as c
    ) as t;

    if (select count(*) from (select from changed limit 2) as c) = 1 then
        for target in
            select t.id, c.follower_id = t.id as follows from unnest(targets) as t (id) cross join changed as c
            order by t.id
        loop
            -- Ascending ids: nobody waits in a circle.
            change := private.claim_count(
                case when target.follows then 'profiles.following_count' else 'profiles.followers_count' end,
                target.id, sign
            );
            continue when change is null;
            if target.follows then
                update public.profiles as p set following_count = p.following_count + change where p.id = target.id;
            else
                update public.profiles as p set followers_count = p.followers_count + change where p.id = target.id;
            end if;
        end loop;
    elsif cardinality(targets) > 0 then
        perform from public.profiles as p where p.id = any(targets) order by p.id for no key update;
        perform private.add_counts('profiles.followers_count', array_agg(c.following_id), array_agg(sign))
        from changed as c;
        perform private.add_counts('profiles.following_count', array_agg(c.follower_id), array_agg(sign))
        from changed as c;
    end if;
    return null;
end
$$;

-- sql/65_social/20_groups.sql -----------------------------------------------------------------------------------------

create or replace function private.check_group()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    base text;
begin
    new.tags := private.clean_tags(new.tags);
    if tg_op = 'INSERT' then
        -- The end of the owner's account at this instant is waited for, or waits for this.
        perform private.lock_gates('account', array[new.owner_id]);
        perform private.require_active(new.owner_id);
        -- The owner, so that insert … returning shows them; count_group_members() does not count owners again.
        new.members_count := 1;
    end if;
    -- The badge vouches for a name and a face.
    if tg_op = 'UPDATE' and (new.name, new.avatar_url) is distinct from (old.name, old.avatar_url) then
        new.is_verified := false;
    end if;
    if tg_op = 'UPDATE' and private.is_admin() and coalesce(private.group_role(new.id), 'member') < 'admin' then
        perform private.audit('edit_group', 'groups', new.id);
    end if;
    base := nullif(btrim(left(private.slugify(new.name), 80), '-'), '');
    if new.visibility = 'secret' and (tg_op = 'INSERT' or old.visibility <> 'secret') then
        new.slug := concat_ws('-', base, left(replace(new.id::text, '-', ''), 10));
    elsif tg_op = 'INSERT' then
        new.slug := private.free_slug(coalesce(base, 'group'), null, 'public.groups', new.id);
    end if;
    return new;
end
$function$;

-- sql/65_social/21_membership.sql -------------------------------------------------------------------------------------

create or replace function private.enter_group (
    group_id uuid,
    user_id uuid default null::uuid,
    exclusive boolean default false
)
    returns public.groups
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    entered public.groups;
begin
    perform private.lock_gates('account', array[caller, enter_group.user_id]);
    -- A block of the two ends invitations.
    perform private.lock_gates('pair', array[private.pair(caller, nullif(enter_group.user_id, caller))]);
    if exclusive then
        perform private.lock_gates('group', '{}', array[enter_group.group_id]);
    else
        perform private.lock_gates('group', array[enter_group.group_id]);
    end if;
    -- Waiting may have changed that.
    perform private.require_member();
    select * into entered from public.groups as g
    where
        g.id = enter_group.group_id
        and (
            g.visibility <> 'secret'
            or private.group_role(g.id) is not null
            or g.id in (select private.my_invitations())
            or private.is_admin()
        );
    if entered.id is null then
        perform private.fail('group_not_found', enter_group.group_id::text);
    end if;
    return entered;
end
$function$;

create or replace function private.require_group_rank_over (
    group_id uuid,
    user_id uuid
)
    returns void
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    acting public.group_role := private.group_role(require_group_rank_over.group_id);
begin
    -- Whoever is no active member ranks like a plain one.
    if acting <= coalesce(
        (
            select m.role from public.group_members as m
            where
                m.group_id = require_group_rank_over.group_id and m.user_id = require_group_rank_over.user_id
                and m.status = 'active'
        ), 'member'
    ) then
        perform private.fail('group_role_too_low', 'acts as ' || acting);
    end if;
end
$function$;

create or replace function public.cancel_invitation (
    group_id uuid,
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
begin
    perform private.enter_group(cancel_invitation.group_id);
    perform private.require_group_rank_over(i.group_id, i.invited_by)
    from public.group_invitations as i
    where
        i.group_id = cancel_invitation.group_id and i.user_id = cancel_invitation.user_id
        and i.invited_by <> caller and private.group_role(i.group_id) >= 'moderator';
    delete from public.group_invitations as i
    where
        i.group_id = cancel_invitation.group_id and i.user_id = cancel_invitation.user_id
        and (i.invited_by = caller or private.group_role(i.group_id) >= 'moderator');
end
$function$;

create or replace function public.delete_group (
    group_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.manage_group(delete_group.group_id, 'owner', 'delete_group', exclusive => true);
    perform private.hold_posts_of_group(delete_group.group_id);
    delete from public.groups as g where g.id = delete_group.group_id;
end
$function$;

-- sql/65_social/22_people_search.sql ----------------------------------------------------------------------------------

create or replace function private.search_term (
    query text
)
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    select lower(ltrim(left(private.tidy_name(left(query, 200)), 100), '@# '))
$function$;

create or replace function public.search_groups (
    query text,
    after_score double precision default null::double precision,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        id uuid,
        name text,
        slug text,
        description text,
        avatar_url text,
        visibility public.group_visibility,
        members_count integer,
        is_verified boolean,
        score double precision
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    term text := private.search_term(query);
    words tsquery := private.search_query(term);
    term_end text := term || U&'\+10FFFF';
    tag text := private.tag_form(term);
    is_admin boolean := private.is_admin();
    -- Secret groups the caller may know of.
    known uuid [] := array(select private.my_group_ids() union all select private.my_invitations());
    fuzzy boolean := char_length(term) >= 3;
begin
    if coalesce(term, '') = '' then
        return;
    end if;
    return query
    with seen as not materialized (
        select g.* from public.groups as g where g.visibility <> 'secret' or g.id = any(known) or is_admin
    ),
    candidates as (
        (
            select g.id from seen as g
            where
                lower(g.name) operator(pg_catalog.~>=~) term
                and lower(g.name) operator(pg_catalog.~<~) term_end
            order by lower(g.name) using operator(pg_catalog.~<~), g.id
            limit 200
        )
        union all
        (
            select g.id from seen as g where g.tags @> array[tag]
            limit 200
        )
        union all
        (
            select g.id from seen as g
            where private.search_vector(g.name, null, null) operator(pg_catalog.@@) words
            limit 200
        )
        union all
        (
            select g.id from seen as g
            where
                fuzzy
                and term operator(extensions.<%) lower(g.name)
            limit 200
        )
    ),
    ranked as (
        select
            g.*,
            case
                when lower(g.name) = term then 3
                when starts_with(lower(g.name), term) then 2
                when g.tags @> array[tag] then 1
                when position(term in lower(g.name)) > 0 then 1
                else 0
            end
            + (
                extensions.word_similarity(term, lower(g.name)) + extensions.similarity(term, lower(g.name))
            )::double precision / 2
            -- Among equals the larger.
            + least(ln(1 + g.members_count) / 20, 0.9) as score
        from public.groups as g
        where g.id in (select c.id from candidates as c)
    )
    select
        r.id, r.name, r.slug, r.description, r.avatar_url::text, r.visibility, r.members_count, r.is_verified,
        r.score
    from ranked as r
    where
        after_score is null
        or (r.score, r.id) < (after_score, coalesce(after_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
    order by r.score desc, r.id desc
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$function$;

create or replace function public.search_profiles (
    query text,
    after_score double precision default null::double precision,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        id uuid,
        username text,
        display_name text,
        avatar_url text,
        followers_count integer,
        score double precision
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    term text := private.search_term(query);
    words tsquery := private.search_query(term);
    -- Bytewise the last text that begins with it.
    term_end text := term || U&'\+10FFFF';
    caller uuid := private.member_id();
    is_admin boolean := private.is_admin();
    blocked uuid [] := array(select private.blocked_ids());
    -- A trigram needs three letters.
    fuzzy boolean := char_length(term) >= 3;
begin
    if coalesce(term, '') = '' then
        return;
    end if;
    return query
    with seen as not materialized (
        select p.* from public.profiles as p
        where
            p.deleted_at is null
            and (
                is_admin
                or p.id = caller
                or not p.is_banned and p.is_confirmed
                and (p.profile_visibility = 'public' or p.profile_visibility = 'members_only' and caller is not null)
                and p.id <> all(blocked)
            )
    ),
    candidates as (
        (select s.id from seen as s where s.username operator(extensions.=) term::extensions.citext)
        union all
        (
            select s.id from seen as s
            where
                lower(s.username::text) operator(pg_catalog.~>=~) term
                and lower(s.username::text) operator(pg_catalog.~<~) term_end
            order by lower(s.username::text) using operator(pg_catalog.~<~)
            limit 200
        )
        union all
        (
            select s.id from seen as s
            where
                lower(s.display_name) operator(pg_catalog.~>=~) term
                and lower(s.display_name) operator(pg_catalog.~<~) term_end
            order by lower(s.display_name) using operator(pg_catalog.~<~), s.id
            limit 200
        )
        union all
        (
            select s.id from seen as s
            where private.search_vector(s.display_name, null, null) operator(pg_catalog.@@) words
            limit 200
        )
        union all
        (
            select s.id from seen as s
            where
                fuzzy
                and (
                    term operator(extensions.<%) lower(s.username::text)
                    or term operator(extensions.<%) lower(s.display_name)
                )
            limit 200
        )
    ),
    ranked as (
        select
            p.id, p.username::text as username, p.display_name, p.avatar_url::text as avatar_url, p.followers_count,
            case
                when lower(p.username::text) = term then 4
                when starts_with(lower(p.username::text), term) then 3
                when starts_with(lower(p.display_name), term) then 2
                when position(term in lower(p.display_name)) > 0 then 1
                else 0
            end
            -- How well a word in the name fits, and how little else the name has.
            + (
                greatest(
                    extensions.word_similarity(term, lower(p.username::text)),
                    extensions.word_similarity(term, lower(p.display_name))
                )
                + greatest(
                    extensions.similarity(term, lower(p.username::text)),
                    extensions.similarity(term, lower(p.display_name))
                )
            )::double precision / 2
            -- Among equals the better known.
            + least(ln(1 + p.followers_count) / 20, 0.9) as score
        from public.profiles as p
        where p.id in (select c.id from candidates as c)
    )
    select r.id, r.username, r.display_name, r.avatar_url, r.followers_count, r.score
    from ranked as r
    where
        after_score is null
        or (r.score, r.id) < (after_score, coalesce(after_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
    order by r.score desc, r.id desc
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$function$;

-- sql/65_social/25_articles.sql ---------------------------------------------------------------------------------------

create or replace function private.check_article()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    new.content := coalesce(new.content, '');
    if tg_op = 'INSERT' or new.slug is distinct from old.slug then
        new.slug := private.free_slug(new.slug, new.title, 'public.articles', new.id);
    end if;
    new.tags := private.clean_tags(new.tags);
    new.published_at := coalesce(new.published_at, case when new.is_published then now() end);
    new.search := private.search_vector(new.title, new.tags, concat_ws(' ', new.excerpt, new.content));
    if tg_op = 'INSERT' then
        new.author_audience := private.lock_audience(new.author_id);
    end if;
    return new;
end
$function$;

create or replace function private.follow_article_author (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    allowed public.audience := (
        select private.author_audience(p) from public.profiles as p
        -- Of an account that ends they are deleted.
        where p.id = follow_article_author.user_id and p.deleted_at is null
    );
    changed integer;
begin
    update public.articles as a set author_audience = allowed
    where a.id = any(array(
        select o.id from public.articles as o
        where o.author_id = follow_article_author.user_id and o.author_audience <> allowed
        order by o.id
        limit max_rows
        for no key update
    ));
    get diagnostics changed = row_count;
    return changed;
end
$function$;

create or replace function private.is_author()
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.profiles as p
        where
            p.id = (select private.member_id()) and p.role in ('author', 'admin', 'super_admin')
    );
end
$function$;

create or replace function public.search_articles (
    query text,
    before_published_at timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.articles
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    wanted tsquery := private.search_query(search_articles.query);
    member uuid := case when auth.uid() is not null then private.member_id() end;
begin
    if numnode(wanted) = 0 then
        return;
    end if;
    return query
    select a.* from public.articles as a
    where
        a.search @@ wanted and a.is_published
        and (a.audience = 'public' or (a.audience = 'members' and member is not null))
        and a.author_id <> all (
            case
                when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
            end
        )
        and (
            before_published_at is null
            or (a.published_at, a.id)
            < (before_published_at, coalesce(before_id, '00000000-0000-0000-0000-000000000000'))
        )
    order by a.published_at desc, a.id desc
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$function$;

-- sql/65_social/30_posts.sql ------------------------------------------------------------------------------------------

create or replace function private.describe_post (
    post public.posts,
    named text[]
)
    returns public.posts
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    -- Hashtags never make a post fail: those beyond the twentieth tag are just text.
    named := private.clean_tags(named);
    post.tags := (
        named || array(
            select t.tag from unnest(private.hashtags(post.content)) with ordinality as t (tag, place)
            where t.tag <> all (named)
            order by t.place
        )
    )[1:20];
    -- The beginning of a post is what comes nearest to a title: names in it are found by their stop words as well.
    post.search := private.search_vector(left(post.content, 200), post.tags, post.content);
    return post;
end
$function$;

create or replace function private.follow_author_of_posts (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    allowed public.audience := (
        select private.author_audience(p) from public.profiles as p
        -- Of an account that ends they are deleted.
        where p.id = follow_author_of_posts.user_id and p.deleted_at is null
    );
    groups uuid [];
    changes integer [];
    changed integer;
begin
    with before as materialized (
        select p.id, p.group_id, p.audience from public.posts as p
        where p.user_id = follow_author_of_posts.user_id and p.author_audience <> allowed
        order by p.id
        limit max_rows
        for no key update
    ),
    after as (
        update public.posts as p set author_audience = allowed
        from before as b
        where p.id = b.id
        returning p.id, p.audience
    ),
    moved as (
        select b.group_id, sum((a.audience <> 'owner')::integer - (b.audience <> 'owner')::integer)::integer as change
        from before as b
        inner join after as a on a.id = b.id
        where b.group_id is not null
        group by b.group_id
    )
    select
        array_agg(m.group_id) filter (where m.change <> 0), array_agg(m.change) filter (where m.change <> 0),
        (select count(*) from after)
    into groups, changes, changed
    from moved as m;
    perform private.add_counts('groups.posts_count', groups, changes);
    return changed;
end
$function$;

create or replace function private.hashtags (
    content text
)
    returns text[]
    language sql
    immutable
    set search_path to ''
    AS $function$
    select coalesce(array_agg(t.tag order by t.place), '{}')
    from (
        select private.tag_form(m.match[1]) as tag, min(m.place) as place
        from regexp_matches(
            hashtags.content,
            concat(
                '(?:^|[^[:alnum:]_&/#\uFF03\u200C\u200D', private.marks(), '])[#\uFF03]',
                '([[:alnum:]_\u200C\u200D', private.marks(), ']+)'
            ),
            'g'
        ) with ordinality as m (match, place)
        where m.match[1] ~ concat('[^[:digit:]_\u200C\u200D', private.marks(), ']')
        group by 1
    ) as t
    where char_length(t.tag) <= 50
$function$;

create or replace function private.set_pinned (
    post_id uuid,
    pinned boolean
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    post public.posts;
begin
    select * into post from public.posts as p where p.id = set_pinned.post_id;
    if not coalesce(
        case
                when post.group_id is null then post.user_id = caller
                else private.moderates(post.group_id) and private.can_see(post.user_id)
            end, false
    ) then
        perform private.fail('post_not_found', set_pinned.post_id::text);
    end if;
    if post.is_pinned = pinned then
        return;
    end if;
    if not pinned and post.user_id <> caller then
        perform private.require_group_rank_over(post.group_id, post.user_id);
    end if;
    -- Two posts pinned at the same instant take turns.
    perform pg_advisory_xact_lock(hashtextextended('avenue:pins:' || coalesce(post.group_id, post.user_id)::text, 0));
    if pinned then
        -- What others of the group cannot read is not put above what they can.
        if post.group_id is not null and post.audience = 'owner' then
            perform private.fail('post_not_found', set_pinned.post_id::text);
        end if;
        if 3 <= (
            select count(*) from public.posts as p
            where
                p.is_pinned and p.id <> post.id and p.group_id is not distinct from post.group_id
                and (p.group_id is not null or p.user_id = post.user_id)
        ) then
            perform private.fail('too_many_pins', '3');
        end if;
    end if;
    update public.posts as p set is_pinned = pinned where p.id = post.id;
end
$function$;

create or replace function public.reject_post (
    post_id uuid,
    reason text default null::text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    post public.posts;
begin
    perform private.require_member();
    post := private.post_to_moderate(reject_post.post_id);
    if post.is_approved then
        perform private.fail('post_not_pending', post.id::text);
    end if;
    if post.is_hidden then
        return;
    end if;
    if post.user_id <> auth.uid() and not private.is_admin() then
        perform private.require_group_rank_over(post.group_id, post.user_id);
    end if;
    update public.posts as p set
        is_hidden = true, hidden_reason = nullif(private.tidy_body(left(reject_post.reason, 1000)), '')
    where p.id = post.id;
    perform private.audit(
        'reject_post', 'posts', post.id, jsonb_build_object('group_id', post.group_id, 'reason', reject_post.reason)
    );
end
$function$;

-- sql/65_social/35_polls.sql ------------------------------------------------------------------------------------------

create or replace function private.count_poll_votes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    chosen uuid;
    change integer;
begin
    -- After the row's policy was asked, so that the answer tells nothing about polls one cannot read. The clock, not
    -- the transaction's time: a vote that waited is late.
    if tg_op = 'INSERT' and exists (
        select from public.posts as p
        where p.id in (select c.post_id from changed as c) and p.poll_ends_at <= clock_timestamp()
    ) then
        perform private.fail('poll_closed');
    end if;
    if tg_op = 'DELETE' then
        -- From an ended poll nobody takes a vote back: an account ends. The time is hold_open_poll()'s, or a vote taken
        -- back at the last moment would be kept. Options are gone when the poll is.
        insert into private.kept_votes as k (option_id, votes)
        select o.id, count(*)
        from changed as c
        inner join public.posts as p on p.id = c.post_id and p.poll_ends_at <= statement_timestamp()
        inner join public.poll_options as o on o.id = c.option_id
        group by o.id
        order by o.id
        on conflict on constraint kept_votes_pkey do update set votes = k.votes + excluded.votes;
        if found then
            perform private.add_counts('poll_options.votes_count', array_agg(c.option_id), array_agg(sign))
            from changed as c
            inner join public.posts as p
                on p.id = c.post_id and (p.poll_ends_at is null or p.poll_ends_at > statement_timestamp());
            return null;
        end if;
    end if;
    select c.option_id into chosen from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('poll_options.votes_count', array_agg(c.option_id), array_agg(sign))
        from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the poll: nothing is left to count on.
        select o.id into chosen from public.poll_options as o where o.id = chosen;
    end if;
    if chosen is not null then
        change := private.claim_count('poll_options.votes_count', chosen, sign);
        if change is not null then
            update public.poll_options as o set votes_count = o.votes_count + change where o.id = chosen;
        end if;
    end if;
    return null;
end
$$;

create or replace function public.create_poll (
    content text,
    options text[],
    ends_at timestamp with time zone default null::timestamp with time zone,
    group_id uuid default null::uuid,
    tags text[] default '{}'::text[]
)
    returns public.posts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    answers text [] := array(
        select private.tidy_name(o.option)
        from unnest(options) with ordinality as o (option, position)
        order by o.position
    );
    post public.posts;
begin
    if coalesce(private.tidy_body(content), '') = '' then
        perform private.fail('invalid_poll', 'the question is missing');
    elsif coalesce(cardinality(options), 0) not between 2 and 10 or array_ndims(options) <> 1 then
        perform private.fail('invalid_poll', 'a poll has 2 to 10 options');
    elsif exists (
        select from unnest(answers) as a (answer) where a.answer is null or char_length(a.answer) not between 1 and 200
    ) then
        perform private.fail('invalid_poll', 'an option has 1 to 200 characters');
    elsif (select count(distinct lower(a.answer)) from unnest(answers) as a (answer)) < cardinality(answers) then
        perform private.fail('invalid_poll', 'two options are the same');
    elsif ends_at <= clock_timestamp() or ends_at > clock_timestamp() + interval '1 year' then
        perform private.fail('invalid_poll', 'a poll ends in the future, within a year');
    end if;
    insert into public.posts as p (user_id, group_id, post_type, content, poll_ends_at, tags)
    values (
        caller, create_poll.group_id, 'poll', create_poll.content, create_poll.ends_at,
        coalesce(create_poll.tags, '{}')
    )
    returning p.* into post;
    insert into public.poll_options (post_id, position, option)
    select post.id, a.position, a.answer from unnest(answers) with ordinality as a (answer, position);
    return post;
end
$function$;

create or replace function private.hold_open_poll(post_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Held for the reason of hold_post(). One time for the policy and the trigger that counts: the statement's.
    perform from public.posts as p
    where p.id = hold_open_poll.post_id and (p.poll_ends_at is null or p.poll_ends_at > statement_timestamp())
    for key share;
    return found;
end
$$;
comment on function private.hold_open_poll(uuid) is
'Whether votes in this poll may still be taken back; keeps the post from being deleted meanwhile.';

-- sql/65_social/40_comments.sql ---------------------------------------------------------------------------------------

create or replace function private.check_comment()
    returns trigger
    language plpgsql
    set search_path to ''
    AS $function$
declare
    parent public.comments;
begin
    -- Everything here is read as the caller: what the caller cannot read answers like what does not exist.
    if
        new.post_id is not null and not exists (
            select from public.posts as p
            where
                p.id = new.post_id
                -- Who is not in the group any more still reads their own posts there, but writes nothing below them.
                and (
                    p.group_id is null
                    or exists (
                        select from public.group_members as m
                        where m.group_id = p.group_id and m.user_id = new.user_id and m.status = 'active'
                    )
                    or private.is_admin()
                )
        )
        or new.item_id is not null and not exists (select from public.catalog_items as c where c.id = new.item_id)
        or new.article_id is not null and not exists (select from public.articles as a where a.id = new.article_id)
    then
        perform private.fail(
            'comment_target_not_found', coalesce(new.post_id, new.item_id, new.article_id)::text
        );
    end if;
    new.depth := 0;
    if new.parent_comment_id is not null then
        select * into parent from public.comments as c
        where
            c.id = new.parent_comment_id and c.user_id is not null
            and (c.post_id, c.item_id, c.article_id)
            is not distinct from (new.post_id, new.item_id, new.article_id);
        if parent.id is null then
            perform private.fail('comment_not_found', new.parent_comment_id::text);
        end if;
        -- In the order of whoever deletes. Deleted meanwhile, nothing is left to reply to.
        perform private.hold_comment_target(new.post_id, new.item_id, new.article_id);
        perform private.hold_comment(parent.id);
        if not exists (select from public.comments as c where c.id = parent.id and c.user_id is not null) then
            perform private.fail('comment_not_found', new.parent_comment_id::text);
        end if;
        new.depth := parent.depth + 1;
        if new.depth > 8 then
            perform private.fail('comment_too_deep', '8');
        end if;
    end if;
    new.author_audience := private.lock_audience(new.user_id);
    return new;
end
$function$;

create or replace function private.count_comment_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    comment uuid;
    change integer;
begin
    select c.comment_id into comment from changed as c;
    perform from changed as c offset 1;
    if found then
        -- A placeholder has no likes.
        perform private.add_counts('comments.likes_count', array_agg(c.comment_id), array_agg(sign))
        from changed as c
        where exists (select from public.comments as t where t.id = c.comment_id and t.user_id is not null);
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the comment: nothing is left to count on.
        select c.id into comment from public.comments as c where c.id = comment and c.user_id is not null;
    end if;
    if comment is not null then
        change := private.claim_count('comments.likes_count', comment, sign);
        if change is not null then
            update public.comments as c set likes_count = c.likes_count + change where c.id = comment;
        end if;
    end if;
    return null;
end
$function$;

create or replace function private.date_comment()
    returns trigger
    language plpgsql
    set search_path to ''
    AS $function$
begin
    new.updated_at := case when new.content <> old.content then now() else old.updated_at end;
    return new;
end
$function$;

create or replace function private.follow_author_of_comments (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    allowed public.audience := (
        select private.author_audience(p) from public.profiles as p
        -- Of an account that ends they are deleted.
        where p.id = follow_author_of_comments.user_id and p.deleted_at is null
    );
    chosen uuid [] := array(
        select c.id from public.comments as c
        where c.user_id = follow_author_of_comments.user_id and c.author_audience <> allowed
        order by c.id
        limit max_rows
    );
    counted record;
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform private.hold_comment_targets_of(chosen);
    for counted in
        with before as materialized (
            select c.id, c.audience from public.comments as c
            where c.id = any(chosen)
            order by c.id
            for no key update
        ),
        after as (
            update public.comments as c set author_audience = allowed
            from before as b
            where c.id = b.id
            returning
                case
                    when c.post_id is not null then 'post' when c.item_id is not null then 'item' else 'article'
                end::private.comment_target as target,
                coalesce(c.post_id, c.item_id, c.article_id) as target_id,
                (c.audience <> 'owner')::integer - (b.audience <> 'owner')::integer as change
        ),
        moved as (
            select a.target, a.target_id as id, sum(a.change)::integer as change
            from after as a
            group by 1, 2
            having sum(a.change) <> 0
        )
        select m.target, array_agg(m.id order by m.id) as ids, array_agg(m.change order by m.id) as changes
        from moved as m
        group by m.target
        order by m.target
    loop
        perform private.add_comments(counted.target, counted.ids, counted.changes);
    end loop;
    return cardinality(chosen);
end
$function$;

create or replace function private.hold_comment_targets_of (
    comments uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform from public.posts as p
    where p.id in (select c.post_id from public.comments as c where c.id = any(comments))
    order by p.id
    for key share;
    perform from public.catalog_items as i
    where i.id in (select c.item_id from public.comments as c where c.id = any(comments))
    order by i.id
    for key share;
    perform from public.articles as a
    where a.id in (select c.article_id from public.comments as c where c.id = any(comments))
    order by a.id
    for key share;
end
$function$;

create or replace function private.keep_places()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    with recursive places as (
        select g.* from gone as g
        where exists (select from public.comments as r where r.parent_comment_id = g.id)
        union
        select g.* from gone as g inner join places as p on p.parent_comment_id = g.id
    )
    insert into public.comments (
        id, user_id, post_id, item_id, article_id, parent_comment_id, depth, is_hidden, author_audience, created_at
    )
    select p.id, null, p.post_id, p.item_id, p.article_id, p.parent_comment_id, p.depth, true, 'owner', p.created_at
    from places as p
    -- Not when what it is about goes with all its comments.
    where
        exists (select from public.posts as t where t.id = p.post_id)
        or exists (select from public.catalog_items as t where t.id = p.item_id)
        or exists (select from public.articles as t where t.id = p.article_id);

    -- Of two last replies deleted together the second waits here and sees that the first is gone.
    perform from public.comments as c
    where c.user_id is null and c.id in (select g.parent_comment_id from gone as g)
    order by c.id
    for update;
    if found then
        delete from public.comments as c
        where
            c.user_id is null and c.id in (select g.parent_comment_id from gone as g)
            and not exists (select from public.comments as r where r.parent_comment_id = c.id);
    end if;
    return null;
end
$function$;

-- sql/65_social/50_feed.sql -------------------------------------------------------------------------------------------

create or replace function private.viewer()
    returns private.viewer
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    viewer private.viewer;
begin
    select
        p.id, p.role in ('admin', 'super_admin'),
        array(
            select b.blocked_id from public.user_blocks as b where b.blocker_id = p.id
            union all
            select b.blocker_id from public.user_blocks as b where b.blocked_id = p.id
            union all
            select c.user_id from private.account_changes as c where c.audience = 'owner' and c.user_id <> p.id
        ),
        array(select m.group_id from public.group_members as m where m.user_id = p.id and m.status = 'active')
    into viewer
    from public.profiles as p
    where p.id = private.member_id();
    if viewer.id is null then
        -- Says why.
        perform private.require_member();
    end if;
    return viewer;
end
$function$;

create or replace function public.search_posts (
    query text,
    before_created_at timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20
)
    returns SETOF public.posts
    language plpgsql
    stable
    security definer
    rows 20
    set plan_cache_mode to 'force_custom_plan'
    set search_path to ''
    AS $function$
declare
    me private.viewer := private.viewer();
    page integer := least(greatest(coalesce(max_rows, 20), 1), 100);
    last_at timestamptz := coalesce(before_created_at, 'infinity');
    last_id uuid := coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    words tsquery := private.search_query(query);
begin
    if numnode(words) = 0 then
        return;
    end if;
    return query
    select p.* from public.posts as p
    where
        p.search @@ words
        and (p.created_at, p.id) < (last_at, last_id)
        and (
            (
                (
                    p.audience in ('public', 'members')
                    or p.audience = 'group' and p.group_id = any (me.groups)
                )
                and p.user_id <> all (me.blocked)
            )
            or p.user_id = me.id
            or me.is_admin
        )
    order by p.created_at desc, p.id desc
    limit page;
end
$function$;

-- sql/65_social/60_conversations.sql ----------------------------------------------------------------------------------

create or replace function private.count_strangers (
    user_ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.count_activity(
        'contact',
        (select count(*)::integer from unnest(user_ids) as u (id) where not private.knows(u.id, auth.uid()))
    );
end
$function$;

create or replace function private.drop_empty_conversations()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    delete from public.conversations as c
    where
        c.id in (select g.conversation_id from gone as g)
        and not exists (select from public.conversation_participants as p where p.conversation_id = c.id);
    -- Group chats always have somebody who manages them.
    update public.conversation_participants as p set is_manager = true
    where (p.conversation_id, p.user_id) in (
        select distinct on (o.conversation_id) o.conversation_id, o.user_id
        from public.conversation_participants as o
        inner join public.profiles as f on f.id = o.user_id and f.deleted_at is null
        inner join public.inbox_entries as e on e.conversation_id = o.conversation_id and e.user_id = o.user_id
        where o.conversation_id in (select g.conversation_id from gone as g where g.is_manager)
        -- Somebody banned, or who has not said yes yet, only when nobody else is left.
        order by o.conversation_id, f.is_banned, e.state <> 'accepted', o.joined_at, o.user_id
    );
    return null;
end
$function$;

create or replace function private.knows (
    member uuid,
    other uuid
)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return exists (
        select from public.follows as f where f.follower_id = member and f.following_id = other
    ) or exists (
        select from public.inbox_entries as m
        inner join public.inbox_entries as o on o.conversation_id = m.conversation_id and o.user_id = other
        where m.user_id = member and m.state = 'accepted' and o.state = 'accepted'
    );
end
$function$;

create or replace function private.open_inbox_entry()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    insert into public.inbox_entries (user_id, conversation_id, is_group, state, first_number, last_message_at)
    select
        new.user_id, c.id, c.is_group,
        -- Somebody a stranger brings in is asked.
        case
            when new.user_id = auth.uid() or auth.uid() is null or private.knows(new.user_id, auth.uid()) then 'accepted'
            else 'requested'
        end::public.inbox_state,
        c.last_number + 1, case when c.is_group then new.joined_at end
    from public.conversations as c
    where c.id = new.conversation_id;
    return null;
end
$function$;

create or replace function public.add_participants (
    conversation_id uuid,
    user_ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    conversation public.conversations := private.lock_group_chat(add_participants.conversation_id);
    departed text;
begin
    if cardinality(user_ids) > 99 then
        perform private.fail('too_many_participants');
    end if;
    perform private.require_contact(user_ids);
    select string_agg(d.user_id::text, ', ' order by d.user_id) into departed
    from private.chat_departures as d
    where d.conversation_id = conversation.id and d.user_id = any(user_ids);
    if departed is not null then
        perform private.fail('left_chat', departed);
    end if;
    perform private.count_strangers(array(
        select u.id from unnest(user_ids) as u (id)
        except
        select p.user_id from public.conversation_participants as p where p.conversation_id = conversation.id
    ));
    insert into public.conversation_participants as p (conversation_id, user_id, last_read_number)
    select conversation.id, u.id, conversation.last_number
    from unnest(user_ids) as u (id)
    on conflict on constraint conversation_participants_pkey do nothing;
    if (select count(*) from public.conversation_participants as p where p.conversation_id = conversation.id) > 100 then
        perform private.fail('too_many_participants');
    end if;
end
$function$;

create or replace function public.inbox (
    before timestamp with time zone default null::timestamp with time zone,
    before_id uuid default null::uuid,
    max_rows integer default 20,
    requests boolean default false
)
    returns table (
        conversation_id uuid,
        is_group boolean,
        group_name text,
        group_avatar_url text,
        last_message_at timestamp with time zone,
        last_message_preview text,
        unread_count integer,
        participants jsonb
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    blocked uuid[] := array(select private.blocked_ids());
begin
    return query
    select
        e.conversation_id, e.is_group, c.group_name, c.group_avatar_url::text, e.last_message_at,
        e.last_message_preview, e.unread_count, o.participants
    from (
        select * from public.inbox_entries as i
        where
            i.user_id = caller and i.last_message_at is not null
            and i.state = (case when requests then 'requested' else 'accepted' end)::public.inbox_state
            and (i.last_message_at, i.conversation_id)
            < (coalesce(before, 'infinity'), coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        order by i.last_message_at desc, i.conversation_id desc
        limit least(greatest(coalesce(max_rows, 20), 1), 100)
    ) as e
    inner join public.conversations as c on c.id = e.conversation_id
    cross join lateral (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', s.id, 'username', s.username, 'display_name', s.display_name, 'avatar_url', s.avatar_url
                )
                order by s.joined_at, s.id
            ), '[]'
        ) as participants
        from (
            select f.id, f.username, f.display_name, f.avatar_url, p.joined_at
            from public.conversation_participants as p
            inner join public.profiles as f on f.id = p.user_id
            where
                p.conversation_id = e.conversation_id and p.user_id <> caller
                and f.deleted_at is null and not f.is_banned and f.profile_visibility <> 'private'
                and f.id <> all(blocked)
            order by p.joined_at, p.user_id
            limit 4
        ) as s
    ) as o
    order by e.last_message_at desc, e.conversation_id desc;
end
$function$;
revoke all
    on function public.inbox(timestamp with time zone, uuid, integer, boolean)
    from public, anon, service_role;

create or replace function public.leave_conversation (
    conversation_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    conversation public.conversations := private.lock_conversation(leave_conversation.conversation_id);
begin
    if not conversation.is_group then
        perform private.fail('not_a_group_chat');
    end if;
    insert into private.chat_departures (conversation_id, user_id) values (conversation.id, auth.uid())
    on conflict on constraint chat_departures_pkey do nothing;
    delete from public.conversation_participants as p
    where p.conversation_id = conversation.id and p.user_id = auth.uid();
end
$function$;

create or replace function public.rejoin_conversation (
    conversation_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    conversation public.conversations;
begin
    -- Strangers are turned away before any lock.
    if exists (
        select from private.chat_departures as d
        where d.conversation_id = rejoin_conversation.conversation_id and d.user_id = caller and d.may_return
    ) then
        select * into conversation from public.conversations as c
        where c.id = rejoin_conversation.conversation_id
        for no key update;
        delete from private.chat_departures as d
        where d.conversation_id = conversation.id and d.user_id = caller and d.may_return;
    end if;
    if conversation.id is null or not found then
        perform private.fail('conversation_not_found', rejoin_conversation.conversation_id::text);
    end if;
    insert into public.conversation_participants (conversation_id, user_id, last_read_number)
    values (conversation.id, caller, conversation.last_number);
    if (select count(*) from public.conversation_participants as p where p.conversation_id = conversation.id) > 100 then
        perform private.fail('too_many_participants');
    end if;
end
$function$;
revoke all on function public.rejoin_conversation(uuid) from public, anon, service_role;

create or replace function public.remove_participant (
    conversation_id uuid,
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    conversation public.conversations := private.lock_group_chat(remove_participant.conversation_id);
begin
    delete from public.conversation_participants as p
    where p.conversation_id = conversation.id and p.user_id = remove_participant.user_id;
    update private.chat_departures as d set may_return = false
    where d.conversation_id = conversation.id and d.user_id = remove_participant.user_id;
end
$function$;

create or replace function public.start_conversation (
    user_ids uuid[],
    group_name text default null::text,
    group_avatar_url text default null::text
)
    returns public.conversations
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    others uuid[] := array(
        select distinct u.id from unnest(start_conversation.user_ids) as u (id) where u.id is distinct from caller
    );
    conversation public.conversations;
begin
    if cardinality(others) = 0 then
        perform private.fail('no_participants');
    elsif cardinality(others) > 99 then
        perform private.fail('too_many_participants');
    elsif cardinality(others) = 1 then
        if start_conversation.group_name is not null or start_conversation.group_avatar_url is not null then
            perform private.fail('not_a_group_chat');
        end if;
        -- What there is stays readable, whatever became of the other one.
        select * into conversation from public.conversations as c
        where c.low_id = least(caller, others[1]) and c.high_id = greatest(caller, others[1]);
        if conversation.id is not null then
            return conversation;
        end if;
        perform private.require_contact(others);
        perform private.count_strangers(others);
        insert into public.conversations (created_by, low_id, high_id)
        values (caller, least(caller, others[1]), greatest(caller, others[1]))
        on conflict on constraint conversations_low_id_high_id_key do nothing
        returning * into conversation;
        if conversation.id is null then
            -- The other one started it at the same moment.
            select * into conversation from public.conversations as c
            where c.low_id = least(caller, others[1]) and c.high_id = greatest(caller, others[1]);
            return conversation;
        end if;
    else
        perform private.require_contact(others);
        perform private.count_strangers(others);
        insert into public.conversations (is_group, group_name, group_avatar_url, created_by)
        values (
            true, start_conversation.group_name, start_conversation.group_avatar_url::public.http_url, caller
        )
        returning * into conversation;
    end if;
    insert into public.conversation_participants (conversation_id, user_id, is_manager)
    select conversation.id, u.id, conversation.is_group and u.id = caller
    from unnest(caller || others) as u (id);
    return conversation;
end
$function$;

create or replace function public.unread_messages_count()
    returns integer
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
begin
    return (
        select coalesce(sum(e.unread_count), 0)
        from public.inbox_entries as e
        where e.user_id = caller and e.unread_count > 0 and e.state = 'accepted'
    );
end
$function$;

-- sql/65_social/65_messages.sql ---------------------------------------------------------------------------------------

create or replace function private.deliver_message()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Whoever answers a request accepts it, and whoever follows the sender by now knows them.
    update public.inbox_entries as e set state = 'accepted'
    where
        e.conversation_id = new.conversation_id and e.state <> 'accepted'
        and (
            e.user_id = new.sender_id
            or e.state = 'requested' and not e.is_group and private.knows(e.user_id, new.sender_id)
        );
    update public.inbox_entries as e set
        last_message_at = case when e.state = 'declined' then e.last_message_at else new.created_at end,
        last_message_preview = case
            when e.state <> 'declined' then private.message_preview(new.content, new.attachments)
        end,
        unread_count = e.unread_count + (e.user_id <> new.sender_id)::integer
    where
        e.conversation_id = new.conversation_id
        and not (
            e.is_group and exists (
                select from public.user_blocks as b
                where
                    b.blocker_id = e.user_id and b.blocked_id = new.sender_id
                    or b.blocker_id = new.sender_id and b.blocked_id = e.user_id
            )
        );
    return null;
end
$function$;

create or replace function private.erase_messages (
    user_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Locked already, but for one that somebody started with them in the last moment.
    perform private.lock_written_conversations(erase_messages.user_id);
    perform private.erase_some_messages(erase_messages.user_id, null);
    delete from public.message_deletions as d where d.user_id = erase_messages.user_id;
    delete from public.conversation_participants as p where p.user_id = erase_messages.user_id;
    delete from private.chat_departures as d where d.user_id = erase_messages.user_id;
    update public.conversations as c set created_by = null where c.created_by = erase_messages.user_id;
end
$function$;

create or replace function private.erase_some_messages (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    -- Of one conversation after the other: few are locked at a time.
    chosen uuid [] := array(
        select m.id from public.messages as m
        where m.sender_id = erase_some_messages.user_id
        order by m.conversation_id
        limit max_rows
    );
begin
    if chosen = '{}' then
        return 0;
    end if;
    perform from public.conversations as c
    where c.id in (select m.conversation_id from public.messages as m where m.id = any(chosen))
    order by c.id
    for no key update;
    -- As delete_message() does, for all of these: working out anew what a hundred others have not read of long chats
    -- would take longer than a step may.
    update public.inbox_entries as e set unread_count = e.unread_count - u.messages
    from (
        select r.viewer_id, r.conversation_id, count(*) as messages
        from public.messages as m
        inner join private.unread_messages as r on r.conversation_id = m.conversation_id and r.id = m.id
        where m.id = any(chosen)
        group by r.viewer_id, r.conversation_id
    ) as u
    where e.user_id = u.viewer_id and e.conversation_id = u.conversation_id;
    update public.inbox_entries as e set last_message_preview = null
    from public.messages as m
    where
        m.id = any(chosen)
        and e.conversation_id = m.conversation_id and e.last_message_at = m.created_at;
    update public.messages as m set sender_id = null, content = null, attachments = '{}', is_deleted = true
    where m.id = any(chosen);
    return cardinality(chosen);
end
$function$;

create or replace function private.refresh_inbox (
    conversation_id uuid,
    viewers uuid[] default null::uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.inbox_entries as e set
        unread_count = (
            select count(*) from private.unread_messages as u
            where u.viewer_id = e.user_id and u.conversation_id = e.conversation_id
        ),
        last_message_at = s.last_message_at,
        last_message_preview = s.last_message_preview
    from public.inbox_entries as i
    inner join public.conversations as c on c.id = i.conversation_id
    inner join public.conversation_participants as p
        on p.conversation_id = i.conversation_id and p.user_id = i.user_id
    cross join lateral (
        select
            max(l.created_at) as last_message_at,
            max(private.message_preview(l.content, l.attachments)) as last_message_preview
        from (
            select r.created_at, r.content, r.attachments
            from private.readable_messages as r
            where r.viewer_id = i.user_id and r.conversation_id = i.conversation_id
            order by r.number desc
            limit 1
        ) as l
    ) as m
    cross join lateral (
        select
            case when b.is_hidden or i.state = 'declined' then null when i.is_group then coalesce(m.last_message_at, p.joined_at)
            else m.last_message_at end as last_message_at,
            case when not b.is_hidden and i.state <> 'declined' then m.last_message_preview end as last_message_preview
        from (
            select not i.is_group and exists (
                select from public.user_blocks as b
                where b.blocker_id = i.user_id and b.blocked_id in (c.low_id, c.high_id)
            ) as is_hidden
        ) as b
    ) as s
    where
        i.conversation_id = refresh_inbox.conversation_id
        and (viewers is null or i.user_id = any(viewers))
        and e.user_id = i.user_id and e.conversation_id = i.conversation_id;
end
$function$;

create or replace function private.send_message()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    sender public.profiles;
    conversation public.conversations;
    other uuid;
    unusable text;
begin
    perform private.require_active(new.sender_id);
    -- Strangers are turned away before any lock.
    if exists (
        select from public.conversation_participants as p
        where p.conversation_id = new.conversation_id and p.user_id = new.sender_id
    ) then
        -- A block of the sender that begins or ends just now is waited for.
        perform pg_advisory_xact_lock_shared(hashtextextended('sends:' || new.sender_id, 0));
        select * into conversation from public.conversations as c where c.id = new.conversation_id for no key update;
    end if;
    if not exists (
        select from public.conversation_participants as p
        where p.conversation_id = conversation.id and p.user_id = new.sender_id
    ) then
        perform private.fail('conversation_not_found', new.conversation_id::text);
    end if;
    select * into sender from public.profiles as p where p.id = new.sender_id;
    -- Sent again after a lost answer, with the id the client chose: the primary key decides, no number is spent.
    select m.number into new.number
    from public.messages as m
    where m.id = new.id and m.conversation_id = new.conversation_id;
    if found then
        return new;
    end if;

    if not conversation.is_group then
        other := case conversation.low_id when new.sender_id then conversation.high_id else conversation.low_id end;
        -- A block, a ban, a private profile and a deleted account all give the same answer.
        if not private.is_visible_to(other, new.sender_id) or not private.is_visible_to(new.sender_id, other) then
            perform private.fail(
                case when sender.profile_visibility = 'private' then 'profile_hidden' else 'cannot_message' end
            );
        end if;
        -- The same whether it waits or was declined.
        if exists (
            select from public.inbox_entries as e
            where e.conversation_id = conversation.id and e.user_id = other and e.state <> 'accepted'
        )
        and not private.knows(other, new.sender_id)
        and (
            select count(*) from public.messages as m
            where m.sender_id = new.sender_id and m.conversation_id = conversation.id
        ) >= (select s.request_messages from private.settings as s) then
            perform private.fail('request_pending');
        end if;
    elsif sender.profile_visibility = 'private' then
        perform private.fail('profile_hidden');
    end if;

    if cardinality(new.attachments) > 0 then
        -- An upload to the same path that is just finishing waits, and then finds this message.
        perform from storage.objects as o
        where o.bucket_id = 'attachments' and o.name = any(new.attachments[1:11])
        order by o.name
        for share;
        select string_agg(a.path, ', ') into unusable
        from (
            select u.path, row_number() over (partition by u.path) as occurrence
            from unnest(new.attachments[1:11]) as u (path)
        ) as a
        where
            a.occurrence > 1
            or not starts_with(a.path, new.sender_id || '/' || new.conversation_id || '/')
            or not exists (
                select from storage.objects as o where o.bucket_id = 'attachments' and o.name = a.path
            );
        if unusable is not null then
            perform private.fail('attachment_not_found', left(unusable, 2000));
        end if;
    end if;

    -- Times follow the numbers, also when senders waited for each other, and no two messages share one.
    new.created_at := greatest(clock_timestamp(), conversation.last_message_at + interval '1 microsecond');
    new.number := conversation.last_number + 1;
    update public.conversations as c set last_number = new.number, last_message_at = new.created_at
    where c.id = conversation.id;
    return new;
end
$function$;

create or replace function public.accept_message_request (
    conversation_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    conversation public.conversations := private.lock_conversation(accept_message_request.conversation_id);
begin
    update public.inbox_entries as e set state = 'accepted'
    where e.conversation_id = conversation.id and e.user_id = auth.uid() and e.state <> 'accepted';
    if found then
        perform private.refresh_inbox(conversation.id, array[auth.uid()]);
    end if;
end
$function$;
revoke all on function public.accept_message_request(uuid) from public, anon, service_role;

create or replace function public.decline_message_request (
    conversation_id uuid
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    conversation public.conversations := private.lock_conversation(decline_message_request.conversation_id);
begin
    if not exists (
        select from public.inbox_entries as e
        where e.conversation_id = conversation.id and e.user_id = auth.uid() and e.state = 'requested'
    ) then
        return;
    elsif conversation.is_group then
        perform public.leave_conversation(conversation.id);
        return;
    end if;
    update public.inbox_entries as e set state = 'declined', first_number = conversation.last_number + 1
    where e.conversation_id = conversation.id and e.user_id = auth.uid();
    perform private.refresh_inbox(conversation.id, array[auth.uid()]);
end
$function$;
revoke all on function public.decline_message_request(uuid) from public, anon, service_role;

create or replace function public.mark_conversation_read (
    conversation_id uuid,
    up_to integer default null::integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    conversation public.conversations := private.lock_conversation(mark_conversation_read.conversation_id);
    target integer := least(coalesce(up_to, conversation.last_number), conversation.last_number);
    previous integer;
    remaining integer;
begin
    select p.last_read_number into previous from public.conversation_participants as p
    where p.conversation_id = conversation.id and p.user_id = caller;
    -- Looking at a request says nothing to a stranger.
    if target > previous and exists (
        select from public.inbox_entries as e
        where e.user_id = caller and e.conversation_id = conversation.id and e.state = 'accepted'
    ) then
        update public.conversation_participants as p set last_read_number = target
        where p.conversation_id = conversation.id and p.user_id = caller;
        update public.messages as m set is_read = true, read_at = clock_timestamp()
        where m.id in (
            select r.id from private.readable_messages as r
            where
                r.viewer_id = caller and r.conversation_id = conversation.id
                and r.number > previous and r.number <= target
                and r.sender_id <> caller and not r.is_read and not r.is_deleted
        );
        update public.inbox_entries as e set unread_count = (
            select count(*) from private.unread_messages as u
            where u.viewer_id = caller and u.conversation_id = conversation.id
        )
        where e.user_id = caller and e.conversation_id = conversation.id;
    end if;
    select e.unread_count into remaining from public.inbox_entries as e
    where e.user_id = caller and e.conversation_id = conversation.id;
    return remaining;
end
$function$;

-- sql/65_social/70_notifications.sql ----------------------------------------------------------------------------------

create or replace function private.forget_actor_notifications (
    user_id uuid,
    max_rows integer
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    told uuid [];
begin
    if not exists (
        select from public.profiles as p
        where
            p.id = forget_actor_notifications.user_id
            and (p.is_banned or p.deleted_at is not null or p.profile_visibility = 'private')
    ) then
        return 0;
    end if;
    told := array(
        select n.id from public.notifications as n
        where n.actor_id = forget_actor_notifications.user_id
        limit max_rows
    );
    if told <> '{}' then
        -- Of several people the next one is named; what is left after that tells of nobody else.
        perform private.renew_notifications(told);
        perform private.delete_notifications(array(
            select n.id from public.notifications as n
            where n.id = any (told) and n.actor_id = forget_actor_notifications.user_id
        ));
        return cardinality(told);
    end if;
    -- These name nobody: they go when nobody else favors the item.
    told := array(
        select n.id from public.favorites as f
        inner join public.notifications as n on n.related_id = f.item_id and n.type = 'favorite'
        where
            f.user_id = forget_actor_notifications.user_id
            and not exists (select from private.notice_actors(n))
        limit max_rows
    );
    if told = '{}' and exists (
        select from public.profiles as p where p.id = forget_actor_notifications.user_id and p.deleted_at is null
    ) then
        -- Nor of what is theirs and what others said there; what is deleted forgets itself.
        told := array(
            with theirs as materialized (
                select p.id from public.posts as p where p.user_id = forget_actor_notifications.user_id
                union all
                select a.id from public.articles as a where a.author_id = forget_actor_notifications.user_id
                union all
                select i.id from public.catalog_items as i where i.seller_id = forget_actor_notifications.user_id
            ),
            about as (
                select t.id from theirs as t
                union all
                select c.id from public.comments as c where c.user_id = forget_actor_notifications.user_id
                union all
                select c.id from theirs as t inner join public.comments as c on c.post_id = t.id
                union all
                select c.id from theirs as t inner join public.comments as c on c.article_id = t.id
                union all
                select c.id from theirs as t inner join public.comments as c on c.item_id = t.id
            )
            select n.id from about as a
            inner join public.notifications as n on n.related_id = a.id
            where
                n.user_id <> forget_actor_notifications.user_id
                and n.type not in (select t.type from private.notification_types as t where t.outlives_content)
            limit max_rows
        );
    end if;
    perform private.delete_notifications(told);
    return cardinality(told);
end
$function$;

create or replace function private.forget_blocked_notifications()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.renew_notifications(array(
        select n.id
        from (
            select c.blocked_id as actor_id, c.blocker_id as user_id from changed as c
            union all
            select c.blocker_id, c.blocked_id from changed as c
        ) as t
        inner join public.notifications as n
            on n.user_id = t.user_id and (
                n.actor_id = t.actor_id
                or n.type = 'favorite' and n.related_id in (
                    select f.item_id from public.favorites as f where f.user_id = t.actor_id
                )
            )
    ));
    return null;
end
$function$;

create or replace function private.notify (
    recipient uuid,
    type public.notification_type,
    actor uuid default null::uuid,
    related_type text default null::text,
    related_id uuid default null::uuid,
    link_url text default null::text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    known private.notification_types;
    latest record;
    preferences jsonb;
    notification uuid;
begin
    if recipient is null or recipient = actor then
        return;
    end if;
    select * into known from private.notification_types as t where t.type = notify.type;

    if known.collapse is not null or known.collapse_unread then
        select n.created_at, n.is_read into latest from public.notifications as n
        where n.related_id = notify.related_id and n.type = notify.type and n.user_id = recipient
        order by n.created_at desc
        limit 1;
        if latest.created_at > now() - known.collapse or known.collapse_unread and not latest.is_read then
            return;
        end if;
    end if;

    if actor is not null and not (
        private.is_visible_to(actor, recipient)
        -- Admins see whom they blocked, but do not want to hear from them.
        and not exists (
            select from public.user_blocks as b
            where b.blocker_id = recipient and b.blocked_id = actor or b.blocker_id = actor and b.blocked_id = recipient
        )
    ) then
        return;
    end if;
    if known.can_switch_off then
        select s.notification_preferences into preferences
        from public.profile_settings as s
        where s.user_id = recipient;
        if preferences #>> array[type::text, 'in_app'] = 'false' then
            return;
        end if;
    end if;
    -- Wherever people are named: each who is told counts.
    if type = 'mention' and actor = auth.uid() then
        perform private.count_activity('mention', 1);
    end if;
    -- The rows the foreign keys need cannot go any more once they are locked. Who is just leaving is not waited for:
    -- their erasure may wait for what this transaction holds. (Renaming locks the same way: that instant loses a
    -- notice.)
    if actor is not null and not known.is_anonymous then
        perform from public.profiles as p where p.id = actor for key share skip locked;
        if not found then
            return;
        end if;
    end if;
    insert into public.notifications (user_id, type, title, message, link_url, actor_id, related_type, related_id)
    select
        p.id, known.type, known.title, known.message,
        coalesce(notify.link_url, replace(replace(replace(
            known.link_template,
            '{related_type}', coalesce(notify.related_type, '')),
            '{related_id}', coalesce(notify.related_id::text, '')),
            '{actor_id}', coalesce(actor::text, '')
        )),
        case when not known.is_anonymous then actor end, notify.related_type, notify.related_id
    from public.profiles as p
    where p.id = recipient and p.deleted_at is null and (known.reaches_banned or not p.is_banned)
    for key share skip locked
    on conflict do nothing
    returning id into notification;
    if known.email = 'immediate' and notification is not null then
        perform private.mail_notification(notification, recipient, type);
    end if;
end
$function$;

create or replace function private.renew_notifications (
    ids uuid[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    told public.notifications;
    named uuid;
begin
    for told in select n.* from public.notifications as n where n.id = any (ids) order by n.id for update loop
        -- Whoever is just leaving is not waited for, as in notify().
        select p.id into named
        from private.notice_actors(told) as a
        inner join public.profiles as p on p.id = a.user_id
        order by a.user_id is not distinct from told.actor_id desc, a.acted_at, a.user_id
        limit 1
        for key share of p skip locked;
        if named is null then
            delete from public.notifications as n where n.id = told.id;
        elsif told.actor_id is distinct from named and not (
            select t.is_anonymous from private.notification_types as t where t.type = told.type
        ) then
            update public.notifications as n set actor_id = named where n.id = told.id;
        end if;
    end loop;
end
$function$;

create or replace function public.unread_counts()
    returns public.unread_counts
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    caller uuid := private.require_member();
    counts public.unread_counts;
begin
    select count(*) into counts.notifications from (
        select from public.notifications as n where n.user_id = caller and not n.is_read limit 1000
    ) as unread;
    select coalesce(sum(e.unread_count), 0) into counts.messages
    from public.inbox_entries as e
    where e.user_id = caller and e.unread_count > 0 and e.state = 'accepted';
    return counts;
end
$function$;
revoke all on function public.unread_counts() from public, anon, service_role;

-- sql/65_social/75_notification_events.sql ----------------------------------------------------------------------------

create or replace function private.forget_deleted()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.forget_notifications(array(select g.id from gone as g));
    delete from private.told_mentions as t where t.related_id in (select g.id from gone as g);
    return null;
end
$function$;

create or replace function private.forget_follows()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- An account that ends forgets what was told of it later, when it holds no more than it needs.
    perform private.renew_notifications(array(
        select n.id
        from (
            select g.follower_id as actor_id, g.following_id as user_id, true as followed from gone as g
            union all
            select g.following_id, g.follower_id, false from gone as g
        ) as t
        inner join public.notifications as n
            on n.related_id = t.actor_id and n.user_id = t.user_id
            and (n.type = 'connected' or n.type = 'follow' and t.followed)
        where not exists (select from private.file_erasures as e where e.user_id in (t.actor_id, t.user_id))
    ));
    return null;
end
$function$;

create or replace function private.forget_message()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.renew_notifications(array(
        select n.id from public.notifications as n
        where
            n.related_id = new.conversation_id and n.type = 'message' and not n.is_read
            and n.actor_id = new.sender_id
    ));
    return null;
end
$function$;

create or replace function private.forget_request()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.renew_notifications(array(
        select n.id from public.notifications as n where n.related_id = old.group_id and n.type = 'group_request'
    ));
    return null;
end
$function$;

create or replace function private.mentioned (
    content text
)
    returns SETOF uuid
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select p.id
    from (
        select lower(m.match[1]) as username, min(m.place) as place
        from regexp_matches(
            coalesce(mentioned.content, ''),
            concat(
                -- Not inside a word, an address or an e-mail …
                '(?:^|[^[:alnum:]_@./#&=?%+\\\u200C\u200D', private.marks(), '-])',
                '@([A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)',
                -- … and nothing of the name is left over: no letter of another script, no host, no path.
                '(?![.-]*[[:alnum:]_@\u200C\u200D', private.marks(), ']|[:/\\][[:alnum:]_@/\\])'
            ),
            'g'
        ) with ordinality as m (match, place)
        where char_length(m.match[1]) between 3 and 30
        group by 1
        order by 2
        limit 20
    ) as named
    inner join public.profiles as p on p.username operator(extensions.=) named.username::extensions.citext
$function$;

create or replace function private.notice_actors (
    told public.notifications
)
    returns table (
        user_id uuid,
        acted_at timestamp with time zone
    )
    language sql
    stable
    security definer
    rows 10
    set search_path to ''
    AS $function$
    select a.user_id, a.acted_at
    from (
        select s.user_id, min(s.acted_at) as acted_at
        from (
            select l.user_id, l.created_at as acted_at from public.post_likes as l
            where told.type = 'like' and told.related_type = 'posts' and l.post_id = told.related_id
            union all
            select l.user_id, l.created_at from public.article_likes as l
            where told.type = 'like' and told.related_type = 'articles' and l.article_id = told.related_id
            union all
            select l.user_id, l.created_at from public.comment_likes as l
            where told.type = 'like' and told.related_type = 'comments' and l.comment_id = told.related_id
            union all
            select p.user_id, p.created_at from public.post_shares as p
            where told.type = 'share' and p.post_id = told.related_id
            union all
            select f.user_id, f.created_at from public.favorites as f
            where told.type = 'favorite' and f.item_id = told.related_id
            union all
            select m.user_id, m.updated_at from public.group_members as m
            where told.type = 'group_request' and m.group_id = told.related_id and m.status = 'pending'
        ) as s
        where
            -- Of several at the same instant not always the first tells: requests begin seconds before they end.
            s.acted_at > told.created_at - interval '10 seconds' and s.acted_at < told.created_at + interval '1 hour'
        group by s.user_id
        union all
        select f.follower_id, f.created_at from public.follows as f
        where
            told.type in ('follow', 'connected')
            and f.follower_id = told.related_id and f.following_id = told.user_id
            and (
                told.type = 'follow' or exists (
                    select from public.follows as b
                    where b.follower_id = told.user_id and b.following_id = told.related_id
                )
            )
        union all
        select m.sender_id, min(m.created_at)
        from private.unread_messages as u
        inner join public.messages as m on m.id = u.id
        where told.type = 'message' and u.viewer_id = told.user_id and u.conversation_id = told.related_id
        group by m.sender_id
        order by 2, 1
        -- Sorted first: of a thousand who liked it only a page is asked whether they may be named.
        offset 0
    ) as a
    where
        a.user_id <> told.user_id and private.is_visible_to(a.user_id, told.user_id)
        and not exists (
            select from public.user_blocks as b
            where
                b.blocker_id = told.user_id and b.blocked_id = a.user_id
                or b.blocker_id = a.user_id and b.blocked_id = told.user_id
        )
    limit 100
$function$;

create or replace function private.renew_notices()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    ids uuid [];
begin
    -- Also those that name somebody else: of two who leave together each would name the other.
    execute format(
        'select array_agg(n.id) from public.notifications as n '
        'where n.type = %L and n.related_id in (select g.%2$I from gone as g) and exists ('
        'select from gone as g where g.%2$I = n.related_id '
        'and g.created_at > n.created_at - interval ''10 seconds'' and g.created_at < n.created_at + interval ''1 hour'')',
        tg_argv[0], tg_argv[1]
    ) into ids;
    perform private.renew_notifications(ids);
    return null;
end
$function$;

create or replace function private.tell_comment()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    post public.posts;
    owner_id uuid;
    parent_id uuid;
    link_url text := private.comment_link(new);
begin
    if new.post_id is not null then
        select * into post from public.posts as p where p.id = new.post_id;
        owner_id := post.user_id;
    elsif new.article_id is not null then
        select a.author_id into owner_id from public.articles as a where a.id = new.article_id;
    else
        select i.seller_id into owner_id from public.catalog_items as i where i.id = new.item_id;
    end if;
    select c.user_id into parent_id from public.comments as c where c.id = new.parent_comment_id;

    -- One notice each, the most personal one: a reply, else a comment, else a mention.
    if tg_op = 'INSERT' and (post.id is null or private.may_read_post(post, parent_id)) then
        perform private.notify(parent_id, 'reply', new.user_id, 'comments', new.id, link_url);
    end if;
    if
        tg_op = 'INSERT' and owner_id is distinct from parent_id
        and (post.group_id is null or private.may_read_post(post, owner_id))
    then
        perform private.notify(owner_id, 'comment', new.user_id, 'comments', new.id, link_url);
    end if;
    if position('@' in new.content) > 0 then
        perform private.tell_mentioned(
            array(
                select m.id from private.mentioned(new.content) as m (id)
                where
                    m.id is distinct from parent_id and m.id is distinct from owner_id
                    and (post.id is null or private.may_read_post(post, m.id))
                    -- What is hidden from everybody, and whose owner is invisible to them, is not for them either.
                    and private.is_visible_to(owner_id, m.id)
                    and not exists (
                        select from public.articles as a where a.id = new.article_id and a.audience = 'owner'
                    )
                    and not exists (
                        select from public.catalog_items as i where i.id = new.item_id and not i.is_visible
                    )
            ),
            new.user_id, 'comments', new.id, link_url
        );
    end if;
    return null;
end
$function$;

create or replace function private.tell_follows()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Two who follow each other at the same instant take turns: the second sees the first.
    perform private.lock_gates('connection', '{}', array(
        select private.pair(c.follower_id, c.following_id) from changed as c
    ));
    perform private.notify(
        t.following_id,
        case when t.is_mutual then 'connected' else 'follow' end::public.notification_type,
        t.follower_id, 'profiles', t.follower_id
    )
    from (
        select
            c.following_id, c.follower_id,
            exists (
                select from public.follows as f
                where f.follower_id = c.following_id and f.following_id = c.follower_id
            ) as is_mutual
        from changed as c
        order by c.follower_id, c.following_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_mentioned (
    people uuid[],
    actor uuid,
    related_type text,
    related_id uuid,
    link_url text default null::text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    person uuid;
begin
    -- In one order, as two edits may tell the same people. Who is just leaving is left out, as in notify().
    for person in
        insert into private.told_mentions as t (related_id, user_id)
        select tell_mentioned.related_id, held.id
        from (
            select p.id from public.profiles as p
            where p.id = any (people) and p.id <> actor and p.deleted_at is null
            order by p.id
            for key share skip locked
        ) as held
        on conflict do nothing
        returning t.user_id
    loop
        perform private.notify(
            person, 'mention', actor, tell_mentioned.related_type, tell_mentioned.related_id, tell_mentioned.link_url
        );
    end loop;
end
$function$;

create or replace function private.tell_message()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(
        e.user_id, 'message',
        case when private.is_visible_to(new.sender_id, e.user_id) then new.sender_id end,
        'conversations', new.conversation_id
    )
    from public.inbox_entries as e
    where
        e.conversation_id = new.conversation_id and e.user_id <> new.sender_id and e.first_number <= new.number
        and e.state = 'accepted'
        and not exists (
            select from public.notifications as n
            where n.related_id = e.conversation_id and n.user_id = e.user_id and n.type = 'message' and not n.is_read
        )
        and not exists (
            select from public.user_blocks as b
            where
                b.blocker_id = e.user_id and b.blocked_id = new.sender_id
                or b.blocker_id = new.sender_id and b.blocked_id = e.user_id
        );
    return null;
end
$function$;

create or replace function private.tell_post() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.audience <> 'owner' and position('@' in new.content) > 0 then
        perform private.tell_mentioned(
            array(select m.id from private.mentioned(new.content) as m (id) where private.may_read_post(new, m.id)),
            new.user_id, 'posts', new.id
        );
    end if;
    -- Counted when its author writes it: whoever approves it is somebody else, and may be in league with them.
    if not new.is_approved and new.user_id = auth.uid() and (tg_op = 'INSERT' or new.content is distinct from old.content) then
        perform private.count_activity('mention', (
            select count(*)::integer from private.mentioned(new.content) as m (id)
            where
                m.id <> new.user_id
                and not exists (
                    select from private.told_mentions as t where t.related_id = new.id and t.user_id = m.id
                )
        ));
    end if;
    -- Also of an edit that takes the approval back.
    if
        new.group_id is not null and not new.is_approved and not new.is_hidden
        and (tg_op = 'INSERT' or old.is_approved or old.is_hidden)
    then
        perform private.notify(m.user_id, 'group_post_request', new.user_id, 'posts', new.id)
        from public.group_members as m
        where m.group_id = new.group_id and m.status = 'active' and m.role >= 'moderator';
    end if;
    -- Whoever decides about their own post knows.
    if tg_op = 'UPDATE' and new.user_id is distinct from auth.uid() and not old.is_approved then
        if new.is_approved then
            perform private.notify(new.user_id, 'group_post_approved', null, 'posts', new.id);
        elsif new.is_hidden and not old.is_hidden then
            perform private.notify(new.user_id, 'group_post_rejected', null, 'posts', new.id);
        end if;
    end if;
    return null;
end
$$;

create or replace function private.tell_refund()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(p.user_id, 'refund', null, 'orders', p.order_id)
    from public.payments as p
    where p.id = new.payment_id;
    perform private.notify(s.seller_id, 'refund', null, 'order_items', s.order_item_id)
    from (
        select distinct on (t.seller_id) t.seller_id, t.order_item_id
        from public.refund_lines as l
        inner join public.transactions as t on t.id = l.transaction_id
        where
            l.refund_id = new.id
            and not (new.origin = 'seller' and t.order_item_id is not distinct from new.order_item_id)
        order by t.seller_id, t.order_item_id
    ) as s;
    return null;
end
$function$;

create or replace function private.tell_refund_request()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'INSERT' then
        perform private.notify(new.seller_id, 'refund_request', new.buyer_id, 'refund_requests', new.id);
    else
        -- Who answered, seller or admin, is not named.
        perform private.notify(new.buyer_id, 'refund_request_answered', null, 'refund_requests', new.id);
    end if;
    return null;
end
$function$;

create or replace function public.actors_count (
    notification public.notifications
)
    returns integer
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
declare
    told public.notifications;
begin
    -- Whatever row a caller makes up: it is their own one that counts.
    select * into told from public.notifications as n
    where n.id = notification.id and n.user_id = private.member_id();
    if told.related_id is null or told.type not in ('like', 'share', 'favorite', 'group_request') then
        return case when told.actor_id is not null then 1 else 0 end;
    end if;
    return (select count(*) from private.notice_actors(told));
end
$function$;

-- sql/65_social/80_digest.sql -----------------------------------------------------------------------------------------

create or replace function private.claim_mail (
    lease_seconds integer
)
    returns jsonb
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    mail private.mails;
    member public.profiles;
    address text;
    wait_until timestamptz;
    sections jsonb;
begin
    loop
        select * into mail from private.mails as m
        where m.state = 'due' and m.due_at <= now()
        order by m.due_at
        limit 1
        for update skip locked;
        exit when mail.id is null;
        select b.retry_at into wait_until from public.mail_bounces as b
        where b.user_id = mail.user_id and b.retry_at > now();
        if found and mail.created_at >= now() - interval '3 days' then
            -- Looked at again within the hour: the address may be another one by then.
            update private.mails as m set due_at = least(wait_until, now() + interval '1 hour') where m.id = mail.id;
            continue;
        end if;
        -- What it tells of is fixed at the first attempt: a repetition under the same Message-ID is the same mail.
        if mail.kind = 'digest' and mail.attempts = 0 then
            insert into private.mailed_notifications (notification_id, mail_id)
            select n.notification_id, mail.id from private.notifications_to_digest(mail.user_id) as n
            on conflict do nothing;
        end if;
        select * into member from public.profiles as p
        where
            p.id = mail.user_id and p.deleted_at is null
            and (
                not p.is_banned
                or mail.type in (select t.type from private.notification_types as t where t.reaches_banned)
            );
        address := private.mail_address(member.id);
        sections := private.mail_sections(mail);
        if mail.created_at < now() - interval '3 days' then
            update private.mails as m set
                state = 'failed', ended_at = now(), last_error = coalesce(m.last_error, 'too old')
            where m.id = mail.id;
        elsif address is null or sections is null then
            update private.mails as m set state = 'dropped', ended_at = now() where m.id = mail.id;
            delete from private.mailed_notifications as n where n.mail_id = mail.id;
        else
            update private.mails as m set
                due_at = now() + make_interval(secs => lease_seconds), attempts = m.attempts + 1
            where m.id = mail.id;
            return jsonb_build_object(
                'mail_id', mail.id, 'kind', mail.kind, 'created_at', mail.created_at, 'to', address,
                'name', coalesce(member.display_name, member.username::text), 'sections', sections,
                'unsubscribe_token', case
                    when mail.kind = 'digest' or exists (
                        select from private.notification_types as t where t.type = mail.type and t.can_switch_off
                    ) then mail.unsubscribe_token
                end
            );
        end if;
    end loop;
    return null;
end
$function$;

create or replace function private.forget_bounce()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    delete from public.mail_bounces as b where b.user_id = new.id;
    return null;
end
$function$;

create or replace function private.mail_address (
    user_id uuid
)
    returns text
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select u.email::text from auth.users as u
    where
        u.id = mail_address.user_id and u.email_confirmed_at is not null and u.deleted_at is null
        and u.email <> ''
        and not exists (
            select from public.mail_bounces as b
            where
                b.user_id = u.id and b.is_permanent
                and b.address_hash = sha256(convert_to(u.email::text, 'UTF8'))
        )
$function$;

create or replace function private.mail_failed (
    mail_id uuid,
    reason text,
    for_good boolean,
    retry_seconds integer,
    bounced boolean default false
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    insert into public.mail_bounces as b (user_id, address_hash, is_permanent, reason, retry_at)
    select
        u.id, sha256(convert_to(u.email::text, 'UTF8')), for_good, left(reason, 500),
        case when not for_good then now() + make_interval(secs => retry_seconds) end
    from private.mails as m
    inner join auth.users as u on u.id = m.user_id
    where m.id = mail_id and m.state = 'due' and (for_good or bounced)
    on conflict on constraint mail_bounces_pkey do update set
        is_permanent = excluded.is_permanent, bounces = b.bounces + 1, reason = excluded.reason,
        retry_at = case
            when not excluded.is_permanent
                then now() + make_interval(secs => least(retry_seconds * 2 ^ least(b.bounces, 20), 604800))
        end;
    update private.mails as m set
        state = case when for_good then 'failed' else m.state end,
        ended_at = case when for_good then now() end,
        last_error = left(reason, 500),
        due_at = now() + make_interval(secs => least(retry_seconds * 2 ^ least(greatest(m.attempts - 1, 0), 12), 3600))
    where m.id = mail_id and m.state = 'due'
$function$;

create or replace function private.mail_sent (
    mail_id uuid
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    with sent as (
        update private.mails as m set state = 'sent', ended_at = now(), last_error = null
        where m.id = mail_id and m.state = 'due'
        returning m.user_id
    )
    delete from public.mail_bounces as b using sent as s where b.user_id = s.user_id
$function$;

create or replace function private.prepare_digests (
    after uuid,
    max_rows integer
)
    returns uuid
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    last_id uuid;
begin
    select max(page.id::text)::uuid into last_id from (
        select p.id from public.profiles as p
        where prepare_digests.after is null or p.id > prepare_digests.after
        order by p.id
        limit max_rows
    ) as page;
    insert into private.mails (user_id, kind)
    select p.id, 'digest'
    from public.profiles as p
    left join public.profile_settings as s on s.user_id = p.id
    where
        (prepare_digests.after is null or p.id > prepare_digests.after) and p.id <= last_id
        and p.deleted_at is null and not p.is_banned
        -- What is an hour old was not just missed: its reader is not here. The unread index answers for most.
        and exists (
            select from public.notifications as n
            where
                n.user_id = p.id and not n.is_read
                and n.created_at between now() - interval '7 days' and now() - interval '1 hour'
        )
        and exists (
            select from private.notifications_to_digest(p.id) as n where n.created_at <= now() - interval '1 hour'
        )
        and private.wants_mail(s.notification_preferences, 'digest')
        and not exists (
            select from private.mails as m
            where
                m.user_id = p.id and m.kind = 'digest'
                and (m.state = 'due' or m.state <> 'dropped' and m.ended_at > now() - interval '1 day')
        )
        and private.mail_address(p.id) is not null
        and not exists (select from public.mail_bounces as b where b.user_id = p.id and b.retry_at > now())
    on conflict do nothing;
    return last_id;
end
$function$;

-- sql/65_social/85_tags.sql -------------------------------------------------------------------------------------------

create or replace function private.hold_tags (
    names text[]
)
    returns uuid[]
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    held uuid [];
begin
    -- A tag can go away between being found or made here and being held; then it is made again.
    for attempt in 1..20 loop
        held := array(select t.id from public.tags as t where t.name = any (names) order by t.name for key share);
        exit when cardinality(held) = cardinality(names);
        -- Two names can make one slug, and some make none: then it ends with something of the name's own.
        insert into public.tags (name, slug)
        select n.name, nullif(private.slugify(n.name), '')
        from unnest(names) as n (name)
        where
            private.slugify(n.name) <> ''
            and not exists (select from public.tags as t where t.name = n.name or t.slug = private.slugify(n.name))
        order by n.name
        on conflict do nothing;
        insert into public.tags (name, slug)
        select n.name, concat_ws('-', nullif(private.slugify(n.name), ''), left(md5(n.name), 10))
        from unnest(names) as n (name)
        where not exists (select from public.tags as t where t.name = n.name)
        order by n.name
        on conflict do nothing;
    end loop;
    if cardinality(held) <> cardinality(names) then
        -- A transaction that must not see what others did meanwhile. Not as a serialization failure: PostgREST would
        -- repeat the request for ever.
        perform private.fail('tags_changed');
    end if;
    return held;
end
$function$;

-- sql/90_admin/20_reports.sql -----------------------------------------------------------------------------------------

create or replace function private.store_report (
    target_type public.content_type,
    target_id uuid,
    reason public.report_reason,
    details text
)
    returns public.reports
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    caller uuid;
    author uuid := (private.content_of(store_report.target_type, store_report.target_id, auth.uid())).author_id;
    target private.reported_content;
    report public.reports;
begin
    -- Accounts that are just being deleted: wait, then look. Their erasure has then not missed what is written here.
    perform from public.profiles as p where p.id in (auth.uid(), author) order by p.id for key share;
    caller := private.require_reporter();
    target := private.content_of(store_report.target_type, store_report.target_id, caller);
    if target.author_id is null or target.content is null then
        perform private.fail('content_not_found', store_report.target_id::text);
    elsif target.author_id = caller then
        perform private.fail('cannot_report_yourself');
    end if;
    -- The second of two at once waits for the first and finds its row, unless an admin decided on it in between.
    loop
        insert into public.reports as r (reporter_id, target_type, target_id, reason, details)
        values (
            caller, store_report.target_type, store_report.target_id, store_report.reason,
            store_report.details
        )
        on conflict (reporter_id, target_type, target_id) where state = 'open' do nothing
        returning * into report;
        if report.id is not null then
            perform private.count_activity('report', 1);
            insert into public.report_evidence (report_id, author_id, content)
            values (report.id, target.author_id, target.content);
            exit;
        end if;
        select * into report from public.reports as r
        where
            r.reporter_id = caller and r.target_type = store_report.target_type
            and r.target_id = store_report.target_id and r.state = 'open';
        exit when report.id is not null;
    end loop;
    return report;
end
$function$;

create or replace function public.override_report_ban (
    user_id uuid,
    ban_until timestamp with time zone default null::timestamp with time zone,
    permanent boolean default false,
    false_reports integer default null::integer,
    note text default null::text
)
    returns public.report_abuse_tracking
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    before public.report_abuse_tracking;
    tracking public.report_abuse_tracking;
begin
    perform private.require_admin();
    perform from public.profiles as p where p.id = override_report_ban.user_id and p.deleted_at is null for key share;
    if not found then
        perform private.fail('user_not_found', override_report_ban.user_id::text);
    end if;
    perform private.require_rank_over(override_report_ban.user_id);
    insert into public.report_abuse_tracking as t (user_id) values (override_report_ban.user_id)
    on conflict on constraint report_abuse_tracking_pkey do nothing;
    select * into before from public.report_abuse_tracking as t
    where t.user_id = override_report_ban.user_id for no key update;
    update public.report_abuse_tracking as t set
        report_ban_until = ban_until, permanent_ban = coalesce(permanent, false),
        false_report_count = coalesce(false_reports, t.false_report_count)
    where t.user_id = override_report_ban.user_id
    returning * into tracking;
    perform private.audit(
        'override_report_ban', 'profiles', override_report_ban.user_id,
        jsonb_build_object(
            'note', note, 'before', to_jsonb(before) - 'user_id', 'after', to_jsonb(tracking) - 'user_id'
        )
    );
    return tracking;
end
$function$;

create or replace function public.resolve_report (
    report_id uuid,
    verdict public.report_state,
    note text default null::text,
    only_this boolean default false
)
    returns integer
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    admin uuid := private.require_admin();
    report public.reports;
    together boolean;
    resolved uuid [];
begin
    if verdict is null or verdict = 'open' then
        perform private.fail('invalid_verdict');
    end if;
    select * into report from public.reports as r where r.id = resolve_report.report_id;
    if report.id is null then
        perform private.fail('report_not_found', resolve_report.report_id::text);
    end if;
    if exists (
        select from public.report_evidence as e where e.report_id = report.id and e.author_id = admin
    ) then
        perform private.fail('own_case');
    end if;
    -- What is judged is the content, hence for all who reported it; bad faith is each reporter's own.
    together := verdict <> 'false_report' and not coalesce(only_this, false);

    -- Accounts first, then reports in the order of their ids, as an erasure does: nobody waits in a circle.
    perform from public.profiles as p where p.id in (admin, report.reporter_id) order by p.id for key share;
    perform from public.reports as r
    where
        r.id = report.id
        or together and r.state = 'open' and r.target_type = report.target_type and r.target_id = report.target_id
    order by r.id for update;
    update public.reports as r set
        state = verdict, resolution_note = note, handled_at = now()
    where r.id = report.id and r.state = 'open';
    if not found then
        perform private.fail('already_resolved', report.id::text);
    end if;
    with others as (
        update public.reports as r set
            state = verdict, resolution_note = note, handled_at = now()
        where
            together and r.state = 'open' and r.target_type = report.target_type
            and r.target_id = report.target_id
        returning r.id
    )
    select array_agg(o.id order by o.id) || report.id into resolved from others as o;
    update public.report_evidence as e set handled_by = admin where e.report_id = any(resolved);

    if verdict = 'false_report' and report.reporter_id is not null then
        perform private.count_false_report(report.reporter_id);
    end if;
    perform private.audit(
        'resolve_report', 'reports', report.id,
        jsonb_build_object(
            'verdict', verdict, 'note', note, 'target_type', report.target_type, 'target_id', report.target_id,
            'reporter_id', report.reporter_id, 'reports', cardinality(resolved)
        )
    );
    return cardinality(resolved);
end
$function$;

-- sql/90_admin/30_moderation.sql --------------------------------------------------------------------------------------

create or replace function private.moderate (
    target_type public.content_type,
    target_id uuid,
    hide boolean,
    reason text,
    readable boolean
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
declare
    caller uuid := private.require_member();
    place private.content_place := private.place_of(moderate.target_type, moderate.target_id);
    level public.moderation_level;
    acting public.group_role;
    hidden boolean;
    held public.hidden_content;
begin
    if place.author_id is not null then
        if private.is_admin() then
            perform private.require_rank_over(place.author_id);
            level := 'platform';
        elsif place.group_id is not null and (place.author_id = caller or private.can_see(place.author_id)) then
            acting := private.group_role(place.group_id);
            if acting >= 'moderator' then
                level := 'group';
            end if;
        end if;
    end if;
    if level is not null then
        -- Who decides about it at the same time waits here.
        hidden := private.lock_content(moderate.target_type, moderate.target_id);
    end if;
    if level is null or hidden is null then
        perform private.fail(
            case when level is null and readable then 'moderators_only' else 'content_not_found' end,
            moderate.target_id::text
        );
    end if;
    if level = 'group' and place.author_id <> caller then
        perform private.require_group_rank_over(place.group_id, place.author_id);
    end if;
    select * into held from public.hidden_content as h
    where h.target_type = moderate.target_type and h.target_id = moderate.target_id;

    if hide then
        -- Hiding again changes the reason; nobody takes the decision of a higher rank over.
        if level = 'group' and (held.level = 'platform' or held.rank > acting or hidden and held.level is null) then
            return;
        end if;
        if held.level = level and held.reason = private.tidy_body(moderate.reason) and hidden then
            return;
        end if;
        insert into public.hidden_content as h (target_type, target_id, level, group_id, rank, reason)
        values (
            moderate.target_type, moderate.target_id, level, place.group_id, acting,
            coalesce(private.tidy_body(moderate.reason), '')
        )
        on conflict on constraint hidden_content_pkey do update set
            level = excluded.level, rank = excluded.rank, reason = excluded.reason, created_at = now();
        perform private.set_hidden(moderate.target_type, moderate.target_id, private.tidy_body(moderate.reason));
    else
        -- What is hidden without being held was rejected by the group, which may think again.
        if level = 'group' and held.level = 'platform' then
            perform private.fail('hidden_by_platform', moderate.target_id::text);
        elsif place.author_id = caller and held.rank > acting then
            perform private.fail('group_role_too_low', 'needs ' || held.rank);
        end if;
        delete from public.hidden_content as h
        where h.target_type = moderate.target_type and h.target_id = moderate.target_id;
        if not hidden then
            return;
        end if;
        perform private.set_hidden(moderate.target_type, moderate.target_id, null);
    end if;
    perform private.audit(
        case when hide then 'hide_content' else 'restore_content' end, moderate.target_type::text, moderate.target_id,
        jsonb_build_object(
            'reason', case when hide then private.tidy_body(moderate.reason) else held.reason end, 'level', level,
            'group_id', place.group_id, 'author_id', place.author_id
        )
    );
end
$function$;

create or replace function private.lock_content(target_type public.content_type, target_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    about public.comments;
    hidden boolean;
begin
    -- Its author may be changing it slowly.
    case target_type
        when 'post' then
            perform private.hold_rows('public.posts', 't.id = $1', target_id);
            select p.is_hidden into hidden from public.posts as p where p.id = target_id;
        when 'comment' then
            -- What it is about before the comment: who deletes a post takes them in this order.
            select * into about from public.comments as c where c.id = target_id;
            perform private.hold_comment_target(about.post_id, about.item_id, about.article_id);
            perform private.hold_rows('public.comments', 't.id = $1', target_id);
            select c.is_hidden into hidden from public.comments as c where c.id = target_id;
        when 'article' then
            perform private.hold_rows('public.articles', 't.id = $1', target_id);
            select a.is_hidden into hidden from public.articles as a where a.id = target_id;
        when 'item' then
            perform private.hold_rows('public.products', 't.id = $1', target_id);
            select not p.is_approved into hidden from public.products as p where p.id = target_id;
            if hidden is null then
                perform private.hold_rows('public.artworks', 't.id = $1', target_id);
                select a.is_hidden into hidden from public.artworks as a where a.id = target_id;
            end if;
    end case;
    return hidden;
end
$$;
comment on function private.lock_content(public.content_type, uuid) is
'Locks what is to be hidden or shown and says whether it is hidden; null when it is gone.';

-- Rows that are there already ---------------------------------------------------------------------------------------

-- Who asked for a refund becomes a role; the person of an admin's is in audit_log already.
update public.refunds as r set origin = case
    when o.requested_by is null and r.reason = 'item_not_available' then 'automatic'
    when o.requested_by is null then 'provider'
    when exists (
        select from public.order_items as i where i.id = r.order_item_id and i.seller_id = o.requested_by
    ) then 'seller'
    else 'admin'
end::public.refund_origin
from old_refunds as o
where o.id = r.id;

-- A worker may have sent any refund that still waits: as if it had been.
update public.refunds set sent_at = created_at where status <> 'requested' or created_at < now() - interval '10 seconds';

-- Client keys move to the one table. The request is known except whether "all that is left" was asked as null: such a
-- retry is answered idempotency_key_reused, never refunded twice.
insert into private.request_keys (caller, purpose, key, fingerprint, answer, created_at)
select
    o.requested_by, 'refund_order_item', left(o.idempotency_key, 200),
    sha256(convert_to(jsonb_build_object(
        'order_item_id', r.order_item_id, 'amount_cents', r.amount_cents, 'reason', r.reason
    )::text, 'UTF8')),
    to_jsonb(r.id), r.created_at
from public.refunds as r
inner join old_refunds as o on o.id = r.id
where o.requested_by is not null and char_length(o.idempotency_key) between 1 and 200
on conflict do nothing;

-- adjust_wallet's keys were global; its author is in audit_log and, as text, in the memo.
insert into private.request_keys (caller, purpose, key, fingerprint, answer, created_at)
select
    a.actor_id, 'adjust_wallet', substr(j.idempotency_key, 12),
    sha256(convert_to(jsonb_build_object(
        'user_id', a.target_id, 'amount_cents', (a.details ->> 'amount_cents')::bigint,
        'reason', btrim(a.details ->> 'reason')
    )::text, 'UTF8')),
    to_jsonb(j.id), j.created_at
from public.audit_log as a
inner join ledger.journal as j on j.id = (a.details ->> 'journal_id')::bigint
where
    a.action = 'adjust_wallet' and a.actor_id is not null and j.idempotency_key like 'adjustment:%'
    and char_length(substr(j.idempotency_key, 12)) between 1 and 200
on conflict do nothing;

-- The memo named the admin to the owner of the wallet. The books are append-only for everybody, so this one correction of
-- words (no amount, no account) switches the guard off and on again; audit_log keeps who it was.
alter table ledger.journal disable trigger refuse_change;
update ledger.journal set memo = regexp_replace(memo, ' \(by [0-9a-f-]{36}\)$', '')
where kind = 'adjustment' and memo ~ ' \(by [0-9a-f-]{36}\)$';
alter table ledger.journal enable trigger refuse_change;

-- Charges that were taken back before there was a column for it.
update public.payments as p set charge_reversed_at = r.created_at
from public.refunds as r
where r.payment_id = p.id and r.provider_ref like 'declined:%';

-- Nobody keeps money beside a debt: what is available repays it. (fees of charges declined after a full refund are not
-- rebooked: run `avenue audit`; a difference to the provider is corrected with propose_correction().)
select ledger.post(
    'adjustment', 'debt_repaid:' || w.user_id,
    array[
        ledger.leg(w.user_id, 'available', -least(w.balance_available_cents, w.debt_cents)),
        ledger.leg(w.user_id, 'debt', least(w.balance_available_cents, w.debt_cents))
    ],
    null, w.currency::text, 'available money repaid the debt'
)
from public.wallets as w
where w.balance_available_cents > 0 and w.debt_cents > 0;


-- Keys of old orders must not order again. What was asked is no longer known,
-- so any reuse is answered with idempotency_key_reused (an empty fingerprint fits nothing).
insert into private.request_keys (caller, purpose, key, fingerprint, answer, created_at)
select o.user_id, 'checkout', o.idempotency_key, ''::bytea, jsonb_build_object('order_id', o.id), o.created_at
from old_orders as o
on conflict do nothing;

-- Carts of before the change are taken to have shown today's price (the offer, where one was made).
update public.cart_items as k set shown_price_cents = coalesce(k.offered_price_cents, c.price_cents)
from public.catalog_items as c
where c.id = k.item_id;

-- order_items: the licence of lines made before is the present one, the best that is known; lines of items of other
-- kinds stay null. details has a default.
update public.order_items as i set
    description = p.description, license_type = p.license_type, license_text = p.license_text,
    license_version = p.license_version, details = jsonb_build_object('technical_details', p.technical_details)
from public.products as p
where p.id = i.item_id;
update public.order_items as i set
    description = a.description,
    details = jsonb_build_object('image_url', a.image_url, 'category', a.category, 'dimensions', a.dimensions)
from public.artworks as a
where a.id = i.item_id;

-- catalog_items.published_at: nullable; fill before its check constraint and before the indexes are swapped
-- (catalog_items_*created_at* are replaced by *published_at*). When it was first published is not recorded; the day the
-- row was made keeps the order that lists had. paid_purchases_count: default 0, then the count; popularity is generated
-- from it (drop and add the column and its index).
update public.catalog_items as c set published_at = c.created_at where c.is_published;
update public.catalog_items as c set paid_purchases_count = n.paid
from (
    select p.item_id, count(*) as paid from public.purchases as p
    where p.revoked_at is null and p.price_cents > 0
    group by p.item_id
) as n
where n.item_id = c.id;

-- search_vector() knows stop words of names and pairs of CJK letters now (and is immutable). Articles: branch texts or
-- the same statement with articles' columns.
update public.catalog_items as c set search = private.search_vector(c.title, c.tags, coalesce(p.description, a.description))
from public.catalog_items as i
left join public.products as p on p.id = i.id
left join public.artworks as a on a.id = i.id
where i.id = c.id;

-- Holds that are under way keep their end. One row per buyer and item.
insert into private.hold_periods (user_id, item_id, ends_at)
select o.user_id, r.item_id, coalesce(max(p.expires_at), r.created_at + (select s.reservation_period from private.settings as s))
from private.reservations as r
inner join public.orders as o on o.id = r.order_id
left join public.payments as p on p.order_id = o.id
group by o.user_id, r.item_id, r.created_at
on conflict do nothing;

-- Unknown types and channels in notification_preferences never switched anything; an update would now be refused.
update public.profile_settings as s set notification_preferences = (
    select coalesce(jsonb_object_agg(p.key, (
        select coalesce(jsonb_object_agg(c.key, c.value), '{}') from jsonb_each(p.value) as c (key, value)
        where c.key in ('in_app', 'email')
    )), '{}')
    from jsonb_each(s.notification_preferences) as p (key, value)
    where p.key = 'digest' or p.key in (select unnest(enum_range(null::public.notification_type))::text)
)
where s.notification_preferences <> '{}';


-- Payouts that came back whole, before the column that says how much of a payout came back.
update public.payouts set returned_cents = amount_cents where status = 'returned';

-- Events of the last weeks learn whom they are about, so that an erasure finds them; older ones lose what is personal with the
-- first run of forget_event_persons.
update private.webhook_events as e set user_id = private.person_of(e.payload)
where e.received_at > now() - interval '30 days' and e.provider = 'stripe';


-- Sold files remember the version of the object they were added with: what is stored now, as nothing could replace it.
update public.product_files as f set object_version = o.version
from storage.objects as o
where o.bucket_id = 'product-files' and o.name = f.path and f.object_version is distinct from o.version;


-- The secret of banned_addresses, made at installation, and the hashes of those who are banned already.
insert into private.ban_key (singleton) values (true) on conflict do nothing;
insert into private.banned_addresses (address_hash, user_id, banned_at, review_at)
select h.hash, b.user_id, b.created_at, greatest(b.created_at + interval '1 year', now() + interval '1 month')
from public.bans as b
inner join auth.users as u on u.id = b.user_id
cross join lateral (values (private.address_hash(u.email)), (private.address_hash(u.phone))) as h (hash)
where h.hash is not null
on conflict do nothing;


-- Who has confirmed an address is public, as before; everybody else waits for it.
update public.profiles as p set is_confirmed = true
from auth.users as u
where u.id = p.id and num_nonnulls(u.email_confirmed_at, u.phone_confirmed_at) > 0 and not p.is_confirmed;
-- Anonymised accounts keep what the books say of them; they are hidden by deleted_at, not by this.
update public.profiles as p set is_confirmed = true where p.deleted_at is not null and not p.is_confirmed;
-- What those wrote who have not confirmed theirs is hidden at once, and says so after the workers' next sweep.
insert into private.account_changes (user_id, audience)
select p.id, private.author_audience(p) from public.profiles as p where not p.is_confirmed
on conflict on constraint account_changes_pkey do nothing;


-- Who was told of a mention is not told again by the next edit.
insert into private.told_mentions (related_id, user_id)
select distinct n.related_id, n.user_id from public.notifications as n
where n.type = 'mention' and n.related_id is not null
on conflict do nothing;

-- Old texts take their form by being written again: _tidy_texts fires on the columns it names. Only rows that are not
-- plain ASCII on one line can differ; those that show nothing are kept as they are, but for a word in their place where
-- there must be one. Triggers that date or un-approve an edit stay out of it: nobody edited anything.
do $$
declare
    place record;
    fields text;
    dating text;
begin
    for place in
        select t.relation, t.lines, t.bodies
        from (values
            ('public.profiles', array['display_name', 'full_name'], array['bio']),
            ('public.artist_profiles', array['artist_name', 'genre'], '{}'),
            ('public.products', array['title'], array['description', 'license_text']),
            ('public.product_files', array['name'], '{}'),
            ('public.product_approvals', '{}', array['approval_notes']),
            ('public.artworks', array['title', 'dimensions'], array['description']),
            ('public.groups', array['name'], array['description', 'rules']),
            ('public.articles', array['title', 'category'], array['content', 'excerpt']),
            ('public.posts', '{}', array['content']),
            ('public.comments', '{}', array['content']),
            ('public.messages', '{}', array['content']),
            ('public.poll_options', array['option'], '{}'),
            ('public.conversations', array['group_name'], '{}'),
            ('public.skills', array['name'], '{}'),
            ('public.genres', array['name'], '{}'),
            ('public.profile_locations', array['city', 'country'], '{}'),
            ('public.orders', '{}', array['notes']),
            ('public.refunds', '{}', array['reason']),
            ('public.reports', '{}', array['details', 'resolution_note']),
            ('public.bans', '{}', array['reason']),
            ('public.hidden_content', '{}', array['reason'])
        ) as t (relation, lines, bodies)
    loop
        execute format('alter table %s disable trigger user', place.relation);
        select string_agg(
            format(
                '%1$I = case when %1$I ~ %2$L or %1$I = '''' then %1$I else coalesce(nullif(private.%3$I(%1$I), ''''), '
                'case when %4$L then ''…'' end) end',
                f.name, f.plain, f.tidy, a.attnotnull or f.name = 'content'
            ), ', '
        ) into fields
        from (
            select l.name, '^[!-~]+( [!-~]+)*$' as plain, 'tidy_name' as tidy from unnest(place.lines) as l (name)
            union all
            select b.name, e'^[!-~](([ -~\n])*[!-~])?$', 'tidy_body' from unnest(place.bodies) as b (name)
        ) as f
        inner join pg_catalog.pg_attribute as a on a.attrelid = place.relation::regclass and a.attname = f.name;
        select string_agg(format('%I !~ %L', f.name, f.plain), ' or ') into dating
        from (
            select l.name, '^[!-~]+( [!-~]+)*$' as plain from unnest(place.lines) as l (name)
            union all
            select b.name, e'^[!-~](([ -~\n])*[!-~])?$' from unnest(place.bodies) as b (name)
        ) as f;
        execute format('update %s set %s where %s', place.relation, fields, dating);
        -- Checks that wait for the commit would keep the table from being altered.
        set constraints all immediate;
        execute format('alter table %s enable trigger user', place.relation);
    end loop;
end
$$;
set constraints all deferred;
-- The registry copies titles by trigger, which was off.
update public.catalog_items as c set title = p.title from public.products as p where p.id = c.id and c.title <> p.title;
update public.catalog_items as c set title = a.title from public.artworks as a where a.id = c.id and c.title <> a.title;

-- Tags in their one form, and the hashtags that were cut at their marks; then what is searched, which knows stop words of
-- names and pairs of CJK letters now. note_tags_updated stays on: it counts tags anew. (Set tags, then search: each as
-- the page's functions make it.)
alter table public.posts disable trigger edit_post, disable trigger touch_updated_at;
update public.posts as p
set tags = n.tags
from (
    select o.id, array(
        select t.tag
        from (
            select u.tag, min(u.place) as place
            from (
                select private.tag_form(k.tag) as tag, k.place
                from unnest(o.tags) with ordinality as k (tag, place)
                -- What the old rule found in the text is found anew.
                where not exists (
                    select from regexp_matches(
                        o.content, '(?:^|[^[:alnum:]_&/#])#([[:alnum:]_]{1,50})(?![[:alnum:]_])', 'g'
                    ) as h where lower(h[1]) = k.tag
                )
                union all
                select h.tag, 1000 + h.place from unnest(private.hashtags(o.content)) with ordinality as h (tag, place)
            ) as u
            where u.tag <> '' and char_length(u.tag) <= 50
            group by u.tag
        ) as t
        order by t.place
        limit 20
    ) as tags
    from public.posts as o
    where o.content ~ '#[^ -~]|#[!-~]*[^ -~]' or exists (select from unnest(o.tags) as t (tag) where t.tag <> private.tag_form(t.tag))
) as n
where n.id = p.id and n.tags <> p.tags;
update public.posts as p set search = private.search_vector(left(p.content, 200), p.tags, p.content)
where p.search is distinct from private.search_vector(left(p.content, 200), p.tags, p.content);
alter table public.posts enable trigger edit_post, enable trigger touch_updated_at;

alter table public.articles disable trigger touch_updated_at;
update public.articles as a set tags = private.clean_tags(a.tags)
where exists (select from unnest(a.tags) as t (tag) where t.tag <> private.tag_form(t.tag));
update public.articles as a set search = private.search_vector(a.title, a.tags, concat_ws(' ', a.excerpt, a.content))
where a.search is distinct from private.search_vector(a.title, a.tags, concat_ws(' ', a.excerpt, a.content));
alter table public.articles enable trigger touch_updated_at;

-- Products, artworks and groups clean their tags on writing; the registry follows.
update public.products as p set tags = private.clean_tags(p.tags), genre_tags = private.clean_tags(p.genre_tags)
where exists (select from unnest(p.tags || p.genre_tags) as t (tag) where t.tag <> private.tag_form(t.tag));
update public.artworks as a set tags = private.clean_tags(a.tags)
where exists (select from unnest(a.tags) as t (tag) where t.tag <> private.tag_form(t.tag));
update public.groups as g set tags = private.clean_tags(g.tags)
where exists (select from unnest(g.tags) as t (tag) where t.tag <> private.tag_form(t.tag));

-- Addresses with invisible characters or direction overrides: the domains' checks are added "not valid"; stored values
-- of the columns with table checks lose such characters, else later updates of these rows would fail.
update public.profiles set smart_link = regexp_replace(smart_link, concat('[', private.invisibles(), '\u2800]'), '', 'g')
where not private.hides_nothing(smart_link);
update public.artist_profiles set social_links = '{}'
where not private.hides_nothing(jsonb_path_query_array(social_links, '$.*')::text);
update public.posts set link_preview = link_preview - 'image'
where not private.hides_nothing(link_preview ->> 'image');

do $$
declare
    place record;
begin
    for place in
        select a.attrelid::regclass as relation, a.attname, t.typtype, a.atttypid = 'public.http_urls'::regtype as many
        from pg_catalog.pg_attribute as a
        inner join pg_catalog.pg_class as c on c.oid = a.attrelid
        inner join pg_catalog.pg_type as t on t.oid = a.atttypid
        where a.atttypid in ('public.http_url'::regtype, 'public.http_urls'::regtype) and c.relkind in ('r', 'p')
            and not a.attisdropped
    loop
        execute format(
            case
                when place.many then
                    'update %1$s set %2$I = array(select regexp_replace(u.url, %3$L, '''', ''g'') '
                    'from unnest(%2$I) with ordinality as u (url, place) order by u.place) '
                    'where not private.hides_nothing(array_to_string(%2$I, '' ''))'
                else
                    'update %1$s set %2$I = regexp_replace(%2$I, %3$L, '''', ''g'') where not private.hides_nothing(%2$I)'
            end,
            place.relation, place.attname, concat('[', private.invisibles(), '\u2800]')
        );
    end loop;
end
$$;

set constraints all immediate;

-- Constraints, indexes, triggers and policies -------------------------------------------------------------------------

alter table ledger.accounts
    add constraint accounts_code_check check (
CASE
    WHEN (owner_id = '00000000-0000-0000-0000-000000000000'::uuid) THEN
        (code = ANY (ARRAY['clearing:stripe'::text, 'clearing:paypal'::text, 'fees:stripe'::text, 'fees:paypal'::text,
        'revenue'::text,
        'tax_payable'::text, 'payouts_in_transit'::text, 'refunds_payable'::text, 'promotions'::text, 'bank'::text]))
    ELSE (code = ANY (ARRAY['pending'::text, 'available'::text, 'debt'::text]))
END);

alter table private.artworks_before_sale
    add constraint artworks_before_sale_artwork_id_fkey foreign key (artwork_id) references public.artworks(id)
        on delete cascade;

alter table private.chat_departures
    add constraint chat_departures_conversation_id_fkey foreign key (conversation_id)
        references public.conversations(id) on delete cascade;

alter table private.chat_departures
    add constraint chat_departures_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

alter table private.freed_usernames
    add constraint freed_usernames_former_owner_fkey foreign key (former_owner) references public.profiles(id)
        on delete set null;

alter table private.hold_limits
    add constraint hold_limits_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

alter table private.hold_periods
    add constraint hold_periods_item_id_fkey foreign key (item_id) references public.catalog_items(id)
        on delete cascade;

alter table private.hold_periods
    add constraint hold_periods_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

alter table private.kept_votes
    add constraint kept_votes_option_id_fkey foreign key (option_id) references public.poll_options(id)
        on delete cascade;

alter table private.lifted_limits
    add constraint lifted_limits_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

alter table private.payment_closings
    add constraint payment_closings_payment_id_fkey foreign key (payment_id) references public.payments(id);

alter table private.told_mentions
    add constraint told_mentions_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

alter table private.webhook_events
    add constraint webhook_events_event_id_check
        check (((char_length(event_id) >= 1) AND (char_length(event_id) <= 255))) not valid;

alter table private.webhook_events
    add constraint webhook_events_type_check check (((char_length(type) >= 1) AND (char_length(type) <= 255))) not valid;

alter table public.articles
    add constraint articles_category_check check (((char_length(category) >= 1) AND (char_length(category) <= 80)));

alter table public.articles
    add constraint articles_title_check check (((char_length(title) >= 1) AND (char_length(title) <= 200)));

alter table public.artist_profiles
    add constraint artist_profiles_artist_name_check
        check (((char_length(artist_name) >= 1) AND (char_length(artist_name) <= 255)));

alter table public.artworks
    add constraint artworks_title_check check (((char_length(title) >= 1) AND (char_length(title) <= 255)));

alter table public.bans
    add constraint bans_reason_check check (((char_length(reason) >= 1) AND (char_length(reason) <= 1000)));

alter table public.cart_items
    add constraint cart_items_shown_price_cents_check
        check (((shown_price_cents >= 0) AND (shown_price_cents <= 99999999)));

alter table public.catalog_items
    add constraint catalog_items_counts_check
        check
        (((views_count >= 0) AND (favorites_count >= 0) AND (comments_count >= 0) AND (purchases_count >= 0) AND
        (paid_purchases_count >= 0) AND (reviews_count >= 0) AND
        ((rating_average >= (0)::numeric) AND (rating_average <= (5)::numeric))));

alter table public.catalog_items
    add constraint catalog_items_published_at_check check (((NOT is_published) OR (published_at IS NOT NULL)));

alter table public.comments
    add constraint comments_parent_comment_id_fkey foreign key (parent_comment_id) references public.comments(id)
        deferrable initially deferred;

alter table public.comments
    add constraint comments_placeholder_check check ((((user_id IS NULL) = (content IS NULL)) AND ((user_id IS
        NOT NULL) OR (is_hidden AND (likes_count = 0)))));

alter table public.conversations
    add constraint conversations_group_name_check
        check (((char_length(group_name) >= 1) AND (char_length(group_name) <= 80)));

alter table public.genres
    add constraint genres_name_check check ( char_length(name) between 2 and 60 and name !~ '[<>]' );

alter table public.groups
    add constraint groups_name_check check (((char_length(name) >= 1) AND (char_length(name) <= 100)));

alter table public.hidden_content
    add constraint hidden_content_reason_check check (((char_length(reason) >= 1) AND (char_length(reason) <= 500)));

alter table public.mail_bounces
    add constraint mail_bounces_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

alter table public.messages
    add constraint messages_content_check check (((char_length(content) >= 1) AND (char_length(content) <= 10000)));

alter table public.payouts
    add constraint payouts_returned_check check (((returned_cents >= 0) AND (returned_cents <= amount_cents)));

alter table public.poll_options
    add constraint poll_options_option_check check (((char_length(option) >= 1) AND (char_length(option) <= 200)));

alter table public.product_files
    add constraint product_files_artwork_id_fkey foreign key (artwork_id) references public.artworks(id)
        on delete cascade;

alter table public.product_files
    add constraint product_files_item_check check ((num_nonnulls(product_id, artwork_id) = 1));

alter table public.product_files
    add constraint product_files_name_check check (char_length(name) between 1 and 255 and name !~ '[/\\]');

alter table public.product_files
    add constraint product_files_taken_down_at_check check (((taken_down_at IS NULL) OR (removed_at IS NOT NULL)));

alter table public.products
    add constraint products_title_check check (((char_length(title) >= 1) AND (char_length(title) <= 255)));

alter table public.profile_locations
    add constraint profile_locations_city_check check ( char_length(city) between 1 and 100 and city !~ '[<>]' );

alter table public.profile_locations
    add constraint profile_locations_country_check check ( char_length(country) between 1 and 100 and country !~ '[<>]' );

alter table public.profiles
    add constraint profiles_display_name_check
        check (((char_length(display_name) >= 1) AND (char_length(display_name) <= 80)));

alter table public.sale_reviews
    add constraint sale_reviews_seller_id_fkey foreign key (seller_id) references public.profiles(id);

alter table public.sale_reviews
    add constraint sale_reviews_transaction_id_fkey foreign key (transaction_id) references public.transactions(id);

alter table public.skills
    add constraint skills_name_check check ( char_length(name) between 2 and 60 and name !~ '[<>]' );

alter table public.wallets
    add constraint wallets_money_or_debt_check check (((balance_available_cents = 0) OR (debt_cents = 0)));

create index account_changes_requested_at_idx on private.account_changes using btree (requested_at);

create index banned_addresses_review_at_idx on private.banned_addresses using btree (review_at);

create index banned_addresses_user_id_idx on private.banned_addresses using btree (user_id);

create index chat_departures_user_id_idx on private.chat_departures using btree (user_id);

create index freed_usernames_former_owner_idx on private.freed_usernames using btree (former_owner);

create index freed_usernames_freed_at_idx on private.freed_usernames using btree (freed_at);

create index hold_periods_item_id_idx on private.hold_periods using btree (item_id);

create index told_mentions_user_id_idx on private.told_mentions using btree (user_id);

create index webhook_events_user_id_idx on private.webhook_events using btree (user_id)
    where (user_id is not null);

create index catalog_items_category_published_at_id_idx on public.catalog_items
    using btree (category, published_at desc, id desc)
    where is_listed;

create index catalog_items_kind_published_at_id_idx on public.catalog_items
    using btree (kind, published_at desc, id desc)
    where is_listed;

create index catalog_items_popularity_id_idx on public.catalog_items using btree (popularity desc, id desc)
    where is_listed;

create index catalog_items_published_at_id_idx on public.catalog_items using btree (published_at desc, id desc)
    where is_listed;

create index catalog_items_seller_id_published_at_idx on public.catalog_items
    using btree (seller_id, published_at desc, id desc);

create index inbox_entries_user_id_state_last_message_at_idx on public.inbox_entries
    using btree (user_id, state, last_message_at desc, conversation_id desc)
    where (last_message_at is not null);

create index inbox_entries_user_id_unread_count_idx on public.inbox_entries using btree (user_id) include (unread_count)
    where ((unread_count > 0) AND (state = 'accepted'::public.inbox_state));

-- An index with a condition is no key that others refer to, see its page.
alter table public.profiles drop constraint profiles_username_key;
create unique index profiles_username_key on public.profiles (username) where username is not null;

create index payments_undeliverable_idx on public.payments using btree (succeeded_at)
    where ((failure_reason = 'item_not_available'::text) AND (succeeded_at is
        not null) AND (refunded_cents < amount_cents));

create index product_files_artwork_id_position_idx on public.product_files using btree (artwork_id, position);

create index refunds_failed_idx on public.refunds using btree (updated_at)
    where (status = ANY (ARRAY['failed'::public.refund_status, 'cancelled'::public.refund_status]));

create index sale_reviews_open_idx on public.sale_reviews using btree (created_at)
    where (released_at is null);

create index sale_reviews_seller_id_idx on public.sale_reviews using btree (seller_id, created_at desc);

create index wallets_account_check_idx on public.wallets using btree (stripe_account_checked_at)
    where (stripe_account_id is not null);

create trigger avenue_confirmation
    after update of email_confirmed_at, phone_confirmed_at on auth.users
    for each row
    execute function private.mirror_confirmation();

create trigger avenue_forget_bounce
    after update of email on auth.users
    for each row
    when (((old.email)::text IS DISTINCT FROM (new.email)::text))
    execute function private.forget_bounce();

create trigger avenue_password_change
    after update of encrypted_password on auth.users
    for each row
    when (((old.encrypted_password)::text IS DISTINCT FROM (new.encrypted_password)::text))
    execute function private.note_password_change();

create trigger avenue_sign_up_ban_changed
    after update of email, phone on auth.users
    for each row
    when
        (((((old.email)::text IS DISTINCT FROM (new.email)::text) OR (old.phone IS DISTINCT FROM new.phone)) AND
        (new.deleted_at IS NULL)))
    execute function private.ban_again();

create trigger avenue_sign_up_ban
    after insert on auth.users
    for each row
    execute function private.ban_again();

create trigger forget_taken_back after delete on public.article_likes
    referencing OLD table as gone for each STATEMENT execute function private.renew_notices (
    'like',
    'article_id'
);

create trigger keep_row
    before update on public.article_likes
    for each row
    execute function private.keep_row();

create trigger _tidy_texts
    before insert or update of title, content, excerpt, category on public.articles
    for each row
    execute function private.tidy_texts('title line required', 'content body', 'excerpt body', 'category line');

create trigger _tidy_texts
    before insert or update of artist_name, genre, social_links on public.artist_profiles
    for each row
    execute function private.tidy_texts('artist_name line required', 'genre line', 'social_links object');

create trigger _tidy_texts
    before insert or update of title, description, dimensions on public.artworks
    for each row
    execute function private.tidy_texts('title line required', 'description body', 'dimensions line');

create trigger _tidy_texts
    before insert or update of reason on public.bans
    for each row
    execute function private.tidy_texts('reason body required');

create trigger check_cart_item
    before update of quantity on public.cart_items
    for each row
    execute function private.check_cart_item();

create trigger check_shown_item
    before insert or update of item_id, offered_price_cents on public.cart_items
    for each row
    execute function private.check_cart_item('shows');

create trigger forget_taken_back after delete on public.comment_likes
    referencing OLD table as gone for each STATEMENT execute function private.renew_notices (
    'like',
    'comment_id'
);

create trigger keep_row
    before update on public.comment_likes
    for each row
    execute function private.keep_row();

create trigger _tidy_texts
    before insert or update of content on public.comments
    for each row
    execute function private.tidy_texts('content body required');

create trigger check_comment
    before insert on public.comments
    for each row
    when ((new.user_id IS NOT NULL))
    execute function private.check_comment();

create trigger date_comment
    before update of content on public.comments
    for each row
    execute function private.date_comment();

create trigger keep_places
    after delete on public.comments referencing OLD table as gone
    for each STATEMENT
    execute function private.keep_places();

create trigger tell_edited
    after update of content on public.comments
    for each row
    when
        (((new.audience <> 'owner'::public.audience) AND (new.content <> old.content) AND (new.content ~~ '%@%'::text)))
    execute function private.tell_comment();

create trigger within_limit after insert on public.comments
    referencing NEW table as changed for each STATEMENT execute function private.limit_inserts (
    'comment'
);

create trigger _tidy_texts
    before insert or update of group_name on public.conversations
    for each row
    execute function private.tidy_texts('group_name line');

create trigger forget_taken_back after delete on public.favorites
    referencing OLD table as gone for each STATEMENT execute function private.renew_notices (
    'favorite',
    'item_id'
);

create trigger keep_row
    before update on public.favorites
    for each row
    execute function private.keep_row();

create trigger keep_row
    before update on public.follows
    for each row
    execute function private.keep_row();

create trigger untell
    after delete on public.follows referencing OLD table as gone
    for each STATEMENT
    execute function private.forget_follows();

create trigger within_limit after insert on public.follows
    referencing NEW table as changed for each STATEMENT execute function private.limit_inserts (
    'follow'
);

create trigger _tidy_texts
    before insert or update of name on public.genres
    for each row
    execute function private.tidy_texts('name line required');

create trigger within_limit after insert on public.group_invitations
    referencing NEW table as changed for each STATEMENT execute function private.limit_inserts (
    'invitation'
);

create trigger forget_decided
    after update of status on public.group_members
    for each row
    when
        (((old.status = 'pending'::public.group_member_status) AND (new.status <>
        'pending'::public.group_member_status)))
    execute function private.forget_request();

create trigger forget_withdrawn
    after delete on public.group_members
    for each row
    when ((old.status = 'pending'::public.group_member_status))
    execute function private.forget_request();

create trigger _tidy_texts
    before insert or update of name, description, rules on public.groups
    for each row
    execute function private.tidy_texts('name line required', 'description body', 'rules body');

create trigger within_limit after insert on public.groups
    referencing NEW table as changed for each STATEMENT execute function private.limit_inserts (
    'group'
);

create trigger _tidy_texts
    before insert or update of reason on public.hidden_content
    for each row
    execute function private.tidy_texts('reason body required');

create trigger touch_updated_at
    before update on public.mail_bounces
    for each row
    execute function private.touch_updated_at();

create trigger _tidy_texts
    before insert or update of content on public.messages
    for each row
    execute function private.tidy_texts('content body');

create trigger forget_deleted
    after update of is_deleted on public.messages
    for each row
    when ((new.is_deleted AND (NOT old.is_deleted) AND (new.sender_id IS NOT NULL)))
    execute function private.forget_message();

create trigger _tidy_texts
    before insert or update of notes, shipping_address on public.orders
    for each row
    execute function private.tidy_texts('notes body', 'shipping_address object');

create trigger count_withdrawals
    after update of status, returned_cents on public.payouts
    for each row
    execute function private.count_withdrawals();

create trigger forget_delay
    after update of status on public.payouts
    for each row
    when ((old.status IS DISTINCT FROM new.status))
    execute function private.forget_delay();

create trigger _tidy_texts
    before insert or update of option on public.poll_options
    for each row
    execute function private.tidy_texts('option line required');

create trigger forget_taken_back after delete on public.post_likes
    referencing OLD table as gone for each STATEMENT execute function private.renew_notices (
    'like',
    'post_id'
);

create trigger keep_row
    before update on public.post_likes
    for each row
    execute function private.keep_row();

create trigger forget_taken_back after delete on public.post_shares
    referencing OLD table as gone for each STATEMENT execute function private.renew_notices (
    'share',
    'post_id'
);

create trigger keep_row
    before update on public.post_shares
    for each row
    execute function private.keep_row();

create trigger _tidy_texts
    before insert or update of content, link_preview on public.posts
    for each row
    execute function private.tidy_texts('content body', 'link_preview object');

create trigger tell_edited
    after update of content, media_urls, link_url, link_preview, tags on public.posts
    for each row
    when
        ((((new.content IS DISTINCT FROM old.content) AND (new.content ~~ '%@%'::text)) OR (new.is_approved IS DISTINCT
        FROM old.is_approved)))
    execute function private.tell_post();

create trigger within_limit after insert on public.posts
    referencing NEW table as changed for each STATEMENT execute function private.limit_inserts (
    'post'
);

create trigger _tidy_texts
    before insert or update of approval_notes on public.product_approvals
    for each row
    execute function private.tidy_texts('approval_notes body');

create trigger _tidy_texts
    before insert or update of name on public.product_files
    for each row
    execute function private.tidy_texts('name line');

create trigger keep_ordered_file
    before delete on public.product_files
    for each row
    execute function private.keep_ordered_file();

create trigger sum_product_files
    after insert or delete or update of name, removed_at on public.product_files
    for each row
    execute function private.sum_product_files();

create trigger _tidy_texts
    before insert or update of title, description, license_text, technical_details on public.products
    for each row
    execute function
        private.tidy_texts('title line required', 'description body', 'license_text body', 'technical_details object');

create trigger _tidy_texts
    before insert or update of city, country on public.profile_locations
    for each row
    execute function private.tidy_texts('city line', 'country line');

create trigger check_notification_preferences
    before update of notification_preferences on public.profile_settings
    for each row
    when ((old.notification_preferences IS DISTINCT FROM new.notification_preferences))
    execute function private.check_notification_preferences();

create trigger _tidy_texts
    before insert or update of display_name, full_name, bio on public.profiles
    for each row
    execute function private.tidy_texts('display_name line', 'full_name line', 'bio body');

create trigger check_profile
    before insert or update of username, smart_link on public.profiles
    for each row
    execute function private.check_profile();

create trigger drop_artist_verification after update of username, display_name, full_name, avatar_url on public.profiles
for each row
when (
    (old.username::text, old.display_name, old.full_name, old.avatar_url)
    is distinct from (new.username::text, new.display_name, new.full_name, new.avatar_url)
)
execute function private.drop_verification_of_profile();

create trigger follow_account after update of is_banned, is_confirmed, deleted_at, profile_visibility on public.profiles
for each row
when (
    (old.is_banned, old.is_confirmed, old.deleted_at, old.profile_visibility)
    is distinct from (new.is_banned, new.is_confirmed, new.deleted_at, new.profile_visibility)
)
execute function private.follow_account();

create trigger hold_freed_username
    after insert or update of username on public.profiles
    for each row
    execute function private.hold_freed_username();

create trigger count_purchases
    after insert or delete or update of revoked_at, price_cents on public.purchases
    for each row
    execute function private.count_purchases();

create trigger tell_answered
    after update of status on public.refund_requests
    for each row
    when
        (((old.status = 'open'::public.refund_request_status) AND (new.status <> 'open'::public.refund_request_status)))
    execute function private.tell_refund_request();

create trigger tell_asked
    after insert on public.refund_requests
    for each row
    execute function private.tell_refund_request();

create trigger _tidy_texts
    before insert or update of reason on public.refunds
    for each row
    execute function private.tidy_texts('reason body required');

create trigger forget_delay
    after update of status on public.refunds
    for each row
    when ((old.status IS DISTINCT FROM new.status))
    execute function private.forget_delay();

create trigger _tidy_texts
    before insert or update of details, resolution_note on public.reports
    for each row
    execute function private.tidy_texts('details body', 'resolution_note body');

create trigger _tidy_texts
    before insert or update of name on public.skills
    for each row
    execute function private.tidy_texts('name line required');

create trigger keep_row
    before update on public.user_blocks
    for each row
    execute function private.keep_row();

create trigger begin_block after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.check_block();

create trigger begin_unblock after delete on public.user_blocks
referencing old table as changed
for each statement execute function private.check_block();

create trigger within_limit after insert on public.user_blocks
    referencing NEW table as changed for each STATEMENT execute function private.limit_inserts (
    'block'
);

create trigger keep_row
    before update on public.user_categories
    for each row
    execute function private.keep_row();

create trigger keep_row
    before update on public.user_genres
    for each row
    execute function private.keep_row();

create trigger keep_row
    before update on public.user_skills
    for each row
    execute function private.keep_row();

create trigger avenue_guard_object
    before insert or delete or update of bucket_id, name, version, owner_id, metadata on storage.objects
    for each row
    execute function private.guard_object();

create policy article_likes_update on public.article_likes
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy articles_select_anon on public.articles
    for select
    to anon
    using
        (((audience = 'public'::public.audience) AND (author_id <> all (ARRAY( select private.hidden_ids() as
        hidden_ids)))));

create policy catalog_items_select_anon on public.catalog_items
    for select
    to anon
    using ((is_visible AND (seller_id <> all (ARRAY( select private.hidden_ids() as hidden_ids)))));

create policy catalog_items_select_estimates on public.catalog_items
    for select
    to avenue_estimates
    using ((is_visible AND (seller_id <> all (ARRAY( select private.blocked_ids() as blocked_ids)))));

create policy categories_select_estimates on public.categories
    for select
    to avenue_estimates
    using (is_active);

create policy comment_likes_insert on public.comment_likes
    for insert
    to authenticated
    with check (((user_id = ( SELECT private.member_id() AS member_id)) AND (EXISTS ( SELECT
   FROM public.comments c
  WHERE ((c.id = comment_likes.comment_id) AND (c.user_id IS NOT NULL))))));

create policy comment_likes_update on public.comment_likes
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy comments_select_anon on public.comments
    for select
    to anon
    using
        ((((user_id is null) or ((audience = 'public'::public.audience) AND (user_id <> all (ARRAY( select
        private.hidden_ids() as hidden_ids))))) AND
CASE
    when (post_id is not null) THEN (( select p.id
       from public.posts p
      where (p.id = comments.post_id)) is not null)
    when (item_id is not null) THEN (( select i.id
       from public.catalog_items i
      where (i.id = comments.item_id)) is not null)
    ELSE (( select a.id
       from public.articles a
      where (a.id = comments.article_id)) is not null)
end));

create policy comments_select on public.comments
    for select
    to authenticated
    using
        (((((audience = 'public'::public.audience) or ((audience = 'members'::public.audience) AND (( select
        private.member_id() as member_id) is
        not null)) or (user_id is null)) AND
        ((user_id is null) or (user_id <> all (ARRAY( select private.blocked_ids() as blocked_ids)))) AND
CASE
    when (post_id is not null) THEN (( select p.id
       from public.posts p
      where
          ((p.id = comments.post_id) AND ((p.group_id is null) or (p.group_id = ANY (ARRAY( select
          private.my_group_ids() as my_group_ids)))))) is not null)
    when (item_id is not null) THEN (( select i.id
       from public.catalog_items i
      where (i.id = comments.item_id)) is not null)
    ELSE (( select a.id
       from public.articles a
      where (a.id = comments.article_id)) is not null)
end) or (user_id = ( select private.member_id() as member_id)) or ( select private.is_admin() as is_admin)));

create policy favorites_update on public.favorites
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy fee_schedules_select_estimates on public.fee_schedules
    for select
    to avenue_estimates
    using (true);

create policy follows_update on public.follows
    for update
    to authenticated
    using ((follower_id = ( select private.member_id() as member_id)))
    with check ((follower_id = ( SELECT private.member_id() AS member_id)));

create policy genres_select_estimates on public.genres
    for select
    to avenue_estimates
    using ((is_active AND is_admin_approved));

create policy mail_bounces_delete on public.mail_bounces
    for delete
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)));

create policy mail_bounces_select on public.mail_bounces
    for select
    to authenticated
    using (((user_id = ( select private.member_id() as member_id)) or ( select private.is_admin() as is_admin)));

create policy plans_select_estimates on public.plans
    for select
    to avenue_estimates
    using (true);

create policy post_likes_update on public.post_likes
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy post_shares_update on public.post_shares
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy posts_select_anon on public.posts
    for select
    to anon
    using
        (((audience = 'public'::public.audience) AND (user_id <> all (ARRAY( select private.hidden_ids() as
        hidden_ids)))));

create policy product_files_delete on public.product_files
    for delete
    to authenticated
    using ((exists ( select
   from public.catalog_items c
  where ((c.id = product_files.item_id) AND (c.seller_id = ( select private.member_id() as member_id))))));

create policy product_files_insert on public.product_files
    for insert
    to authenticated
    with check ((EXISTS ( SELECT
   FROM public.catalog_items c
  WHERE ((c.id = product_files.item_id) AND (c.seller_id = ( SELECT private.member_id() AS member_id))))));

create policy product_files_select on public.product_files
    for select
    to authenticated
    using ((((taken_down_at is null) AND (COALESCE(removed_at, 'infinity'::timestamp
        with time zone) >= private.ordered_at(( select private.member_id() as member_id), item_id))) or
        ( select private.is_admin() as is_admin) or (exists ( select
   from public.catalog_items c
  where ((c.id = product_files.item_id) AND (c.seller_id = ( select private.member_id() as member_id)))))));

create policy product_files_update on public.product_files
    for update
    to authenticated
    using ((exists ( select
   from public.catalog_items c
  where ((c.id = product_files.item_id) AND (c.seller_id = ( select private.member_id() as member_id))))))
    with check ((EXISTS ( SELECT
   FROM public.catalog_items c
  WHERE ((c.id = product_files.item_id) AND (c.seller_id = ( SELECT private.member_id() AS member_id))))));

create policy profiles_select_anon on public.profiles
    for select
    to anon
    using (((profile_visibility = 'public'::public.profile_visibility) AND (not is_banned) AND is_confirmed));

create policy profiles_select_estimates on public.profiles
    for select
    to avenue_estimates
    using
        (((profile_visibility = 'public'::public.profile_visibility) AND (not is_banned) AND is_confirmed AND (id <> all
        (ARRAY( select private.blocked_ids() as blocked_ids)))));

create policy profiles_select on public.profiles
    for select
    to authenticated
    using
        ((((not is_banned) AND is_confirmed AND ((profile_visibility = 'public'::public.profile_visibility) or
        ((profile_visibility = 'members_only'::public.profile_visibility) AND (( select private.member_id() as
        member_id) is
        not null))) AND (id <> all (ARRAY( select private.blocked_ids() as blocked_ids)))) or
        (id = ( select auth.uid() as uid)) or ( select private.is_admin() as is_admin)));

create policy sale_reviews_select on public.sale_reviews
    for select
    to authenticated
    using (((seller_id = ( select private.member_id() as member_id)) or ( select private.is_admin() as is_admin)));

create policy skills_select_estimates on public.skills
    for select
    to avenue_estimates
    using ((is_active AND is_admin_approved));

create policy user_blocks_update on public.user_blocks
    for update
    to authenticated
    using ((blocker_id = ( select private.member_id() as member_id)))
    with check ((blocker_id = ( SELECT private.member_id() AS member_id)));

create policy user_categories_update on public.user_categories
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy user_genres_update on public.user_genres
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy user_skills_update on public.user_skills
    for update
    to authenticated
    using ((user_id = ( select private.member_id() as member_id)))
    with check ((user_id = ( SELECT private.member_id() AS member_id)));

create policy avenue_objects_delete on storage.objects
    for delete
    to authenticated
    using
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text])) AND private.is_own_path(name) AND (not private.is_pinned(bucket_id, name))));

create policy avenue_objects_insert on storage.objects
    for insert
    to authenticated
    with
        check
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text])) AND private.is_own_path(name) AND private.bucket_takes(bucket_id, metadata) AND
        ((bucket_id <> 'attachments'::text) OR private.may_attach(name))));

create policy avenue_objects_select on storage.objects
    for select
    to authenticated
    using
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text, 'product-files'::text,
        'attachments'::text])) AND
        ((private.is_own_path(name) AND ((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text])) or
        (COALESCE(storage.operation(), ''::text) <> all (ARRAY['storage.object.sign'::text,
        'storage.object.sign_many'::text])))) or
        (private.reads_or_lists() AND (((bucket_id = 'product-files'::text) AND private.may_download_object(name,
        version)) or ((bucket_id = 'attachments'::text) AND private.may_read_attachment(name)))))));

create policy avenue_objects_update on storage.objects
    for update
    to authenticated
    using (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text])) AND private.is_own_path(name)))
    with
        check
        (((bucket_id = ANY (ARRAY['avatars'::text, 'banners'::text, 'media'::text])) AND private.is_own_path(name) AND
        private.bucket_takes(bucket_id, metadata)));

-- Comments and grants -------------------------------------------------------------------------------------------------

comment on column ledger.accounts.code is 'User: pending, available, debt (negative: owed to us). Platform: clearing:<provider> (money at the provider, negative), fees:<provider>, revenue, tax_payable, payouts_in_transit, refunds_payable (taken but not deliverable), promotions, bank (what the platform paid or received outside the providers; positive: paid).';

comment on column ledger.journal.memo is 'Words for the people whose accounts it moved; never who decided.';

comment on column ledger.journal.source_id is 'Row that caused it: transaction (sale, fee_adjustment), payment (unapplied, its fee), refund, payout, correction. A release is referenced by its transactions; an adjustment carries its reason in memo, its author is in audit_log.';

comment on column private.account_changes.audience is 'Who may see what they wrote, see author_audience().';

comment on column private.account_changes.requested_at is 'When it changed last.';

comment on column private.account_changes.user_id is 'The account. No foreign key: it may be about to go.';

comment on column private.activity.count is 'How many since then.';

comment on column private.activity.kind is 'A row of activity_limits.';

comment on column private.activity.started_at is 'When the period began.';

comment on column private.activity.user_id is 'Whose. No foreign key: counting need not hold the profile; erased with the account.';

comment on column private.activity_limits.description is 'For people.';

comment on column private.activity_limits.established is 'How many later.';

comment on column private.activity_limits.fresh is 'How many in a period while the account is fresh.';

comment on column private.activity_limits.kind is 'What is counted.';

comment on column private.activity_limits.period is 'Begins with the first one after the last period ended.';

comment on column private.artworks_before_sale.artwork_id is 'The sold work.';

comment on column private.artworks_before_sale.status is 'Its status when it was sold.';

comment on column private.ban_key.key is '32 random bytes. Without it the hashes cannot be compared with any address.';

comment on column private.ban_key.singleton is 'Always true: keeps the table at one row.';

comment on column private.banned_addresses.address_hash is 'See address_hash().';

comment on column private.banned_addresses.banned_at is 'When the ban began.';

comment on column private.banned_addresses.review_at is 'When to ask whether the ban is still needed.';

comment on column private.banned_addresses.user_id is 'The banned account while it exists. No foreign key.';

comment on column private.chat_departures.conversation_id is 'The chat.';

comment on column private.chat_departures.may_return is 'Until the manager removes them once more.';

comment on column private.chat_departures.user_id is 'Who left.';

comment on column private.cursors.name is 'What is read: events:<provider>, or event_persons.';

comment on column private.cursors.position is 'Until where: seconds since 1970 of the provider''s clock, or the id of the last event without personal parts.';

comment on column private.erasure_steps.batch is 'For what somebody may have a great deal of: query of one integer, how many rows it erased; $1 is the user''s id, $2 how many it may erase. Called in transactions of their own, until it erases none, before any statement.';

comment on column private.erasure_steps.statement is 'One SQL statement; $1 is the user''s id. What it erases besides batch, if that is given, is little.';

comment on column private.file_erasures.requested_at is 'When everything else of the account was erased.';

comment on column private.freed_usernames.former_owner is 'Who may take it back; null once that account was deleted.';

comment on column private.freed_usernames.freed_at is 'When it was given up.';

comment on column private.freed_usernames.name_hash is 'SHA-256 of the name in lower case: enough to refuse it, and an erased account leaves no name behind.';

comment on column private.hold_limits.max_holds is 'How many items it may hold at once.';

comment on column private.hold_limits.user_id is 'The account.';

comment on column private.hold_periods.ends_at is 'End of the hold, set when it begins: no renewal moves it.';

comment on column private.hold_periods.item_id is 'The item.';

comment on column private.hold_periods.renewals is 'How often the buyer checked out again while it was held.';

comment on column private.hold_periods.user_id is 'The buyer.';

comment on column private.kept_votes.option_id is 'The option they were for.';

comment on column private.kept_votes.votes is 'How many.';

comment on column private.lifted_limits.until is 'Until when.';

comment on column private.lifted_limits.user_id is 'Who.';

comment on column private.password_changes.changed_at is 'When.';

comment on column private.password_changes.user_id is 'Whose.';

comment on column private.payment_closings.payment_id is 'The attempt to cancel at the provider.';

comment on column private.payment_closings.requested_at is 'When the decline was booked.';

comment on column private.payment_closings.tried_at is 'Last attempt to cancel it.';

comment on column private.provider_delays.attempts is 'Refusals so far. Part of the idempotency key: under the old key the provider repeats its old refusal.';

comment on column private.provider_delays.kind is 'payout or refund.';

comment on column private.provider_delays.object_id is 'The payout or refund.';

comment on column private.provider_delays.reason is 'The provider''s word for it.';

comment on column private.provider_delays.retry_at is 'Not tried before this time.';

comment on column private.provider_delays.since is 'First refusal.';

comment on column private.reserved_usernames.is_official is 'Whether the word speaks for the platform: refused at the beginning of a name, too.';

comment on column private.settings.custom_field_account_age is 'Age from which a confirmed account counts when members make a skill or a genre by asking for it.';

comment on column private.settings.event_personal_period is 'How long the payload of a provider''s event keeps what it says about persons.';

comment on column private.settings.fresh_account_period is 'How long after sign-up the lower limits of private.activity_limits hold.';

comment on column private.settings.fresh_login_period is 'How recent the sign-in must be to open or change a payout destination.';

comment on column private.settings.hold_pause is 'How long a buyer who let the hold of a one-of-a-kind item run out waits before holding it again.';

comment on column private.settings.holds_per_account is 'How many one-of-a-kind items an account may hold at once; set_hold_limit() changes it for one account.';

comment on column private.settings.minimum_price_cents is 'Lowest paid price (docs/money.md). Free is 0.';

comment on column private.settings.new_seller_period is 'How long after the first sale that was not refunded a seller counts as new.';

comment on column private.settings.password_proof_after is 'Age a password must have before signing in with it proves who somebody is: a session can set a new one.';

comment on column private.settings.payout_daily_cents is 'Payouts of one wallet within 24 hours that are approved on request, together, cents; what exceeds it waits for an admin.';

comment on column private.settings.refund_answer_period is 'How long a seller has to answer a refund request.';

comment on column private.settings.request_messages is 'How many messages somebody may send to a stranger who has not accepted the request yet.';

comment on column private.settings.review_sale_above_cents is 'Sales of new sellers above this are held until an admin has looked, cents.';

comment on column private.settings.seller_debt_cents is 'How far into debt a seller''s own refunds may go, cents, existing debt and refunds under way included. More needs an admin.';

comment on column private.settings.stuck_money_after is 'Age at which money on its way (a refund, a payout, a held sale) is reported as stuck.';

comment on column private.settings.username_hold is 'How long a username that was given up is kept for its former owner.';

comment on column private.standing_steps.position is 'Order, ascending: what others see most comes first.';

comment on column private.standing_steps.statement is 'Query of one integer, how many rows it changed; $1 is the user''s id, $2 how many it may change. Called until nothing is left to change.';

comment on column private.standing_steps.step is 'Name, usually of the relation.';

comment on column private.told_mentions.related_id is 'The post or comment; its rows go with it.';

comment on column private.told_mentions.user_id is 'Who was told.';

comment on column private.transliterations.latin is 'a to z or a digit; empty for letters that have no sound. + doubles the next consonant, ^ takes the place of the vowel before it (small kana).';

comment on column private.transliterations.letter is 'One character in lower case, Unicode form NFKC.';

comment on column private.webhook_events.foreign_mode is 'A test event while our key is a live one, or the other way round: never applied.';

comment on column private.webhook_events.payload is 'The whole event as received, but for what PostgreSQL cannot hold (a NUL, half a surrogate pair, numbers beyond numeric, more than 64 levels). After event_personal_period, or when the person leaves, only what is not personal.';

comment on column private.webhook_events.user_id is 'Payer or seller it is about, once processed; no foreign key, the row outlives the profile.';

comment on column public.articles.slug is 'Address part, unique; made from the title when missing. A taken one gets an ending.';

comment on column public.artist_profiles.is_verified is 'Verified badge. Given by verify_artist() only; another artist_name, username, name or picture takes it away.';

comment on column public.artworks.slug is 'Address part, unique; made from the title when missing. A taken one gets an ending.';

comment on column public.cart_items.shown_price_cents is 'What a piece cost when the item was put in, or put in again (an upsert): the offer, else the price; in cents. Checkout takes no more without asking (price_changed). Kept by trigger.';

comment on column public.catalog_items.paid_purchases_count is 'Those of them that were paid for.';

comment on column public.catalog_items.popularity is 'paid_purchases_count in steps of about a fifth (4 × log2), to sort by: with the exact count in an index every sale would rewrite all of the row''s index entries. What was given away does not count: a hundred accounts cost nothing.';

comment on column public.catalog_items.published_at is 'When it was first published; kept when it is withdrawn and published again. Null: never yet.';

comment on column public.catalog_items.search is 'Full-text vector: title (A), tags (B), description (C). For search_catalog().';

comment on column public.comments.content is 'Plain text, at most 5,000 characters; null in a placeholder.';

comment on column public.comments.is_hidden is 'Taken down by moderation: only its author and admins read it. Its replies stay, like those to somebody the reader cannot see. Also true of a placeholder, which everybody reads who reads the target, and which counts nowhere.';

comment on column public.comments.user_id is 'The author; the caller. Null: a placeholder for a deleted comment.';

comment on column public.custom_field_requests.reviewed_at is 'When an admin decided; which one is in audit_log.';

comment on column public.groups.is_verified is 'Official. Written by verify_group() only; another name or picture takes it away.';

comment on column public.hidden_content.rank is 'Role in the group of who took it down: an author of lower role does not put it back. Null at the level platform.';

comment on column public.inbox_entries.last_message_at is 'When the last message its owner may see was sent; without one, group chats: when they were added, conversations of two: null, which keeps them out of the list, as declining does.';

comment on column public.inbox_entries.state is 'Whether its owner wants it: see accept_message_request() and decline_message_request().';

comment on column public.mail_bounces.address_hash is 'SHA-256 of the address: admins need not read it, and another address is not this one.';

comment on column public.mail_bounces.bounces is 'Refusals in a row; each doubles the time to the next try.';

comment on column public.mail_bounces.is_permanent is 'There is nobody at this address: nothing is mailed to it any more. Else it is tried again after retry_at.';

comment on column public.mail_bounces.reason is 'What the mail server answered.';

comment on column public.mail_bounces.retry_at is 'Until then nothing is mailed; at most a week ahead.';

comment on column public.mail_bounces.user_id is 'Whose address.';

comment on column public.notifications.actor_id is 'Who did it; when several collapsed into one the first of them who is still there, see actors_count(). Null when nobody is named.';

comment on column public.order_items.description is 'Description at checkout: what was promised.';

comment on column public.order_items.details is 'What else a later edit must not change for the buyer: technical_details of a product; image_url, category and dimensions of an artwork.';

comment on column public.order_items.license_text is 'Its words at checkout, if it had any.';

comment on column public.order_items.license_type is 'The buyer''s licence: that of the product at checkout. Null for what has none.';

comment on column public.order_items.license_version is 'Which version of the product''s licence that was.';

comment on column public.payments.charge_id is 'The charge that succeeded, before that the one under way.';

comment on column public.payments.charge_reversed_at is 'When the provider took the succeeded charge back (declined at settlement).';

comment on column public.payments.fee_checked_at is 'Last time the provider was asked for its fee.';

comment on column public.payments.provider_ref is 'Stripe PaymentIntent or PayPal order; the charge itself when an intent was paid a second time after a late decline.';

comment on column public.payments.status is 'State of the attempt. Swept by payments_to_reconcile().';

comment on column public.payouts.approved_at is 'When it was approved, at once below the limit; audit_log names who did it above.';

comment on column public.payouts.failure_reason is 'Why, as a stable word or the provider''s. failed is for the seller''s reasons only: what is ours and passes is retried.';

comment on column public.payouts.returned_cents is 'What the provider took back of a completed one, cents: all of it when returned.';

comment on column public.payouts.status is 'State. Swept by payouts_to_resume() while open, by the provider''s events afterwards.';

comment on column public.poll_options.votes_count is 'Votes for it; kept by triggers. Final once the poll has ended.';

comment on column public.posts.search is 'Full-text vector: beginning (A), tags (B), content (C). For search_posts().';

comment on column public.product_files.artwork_id is 'The artwork, of category digital; null for a product.';

comment on column public.product_files.item_id is 'The product or the artwork: the id that catalog_items has.';

comment on column public.product_files.object_version is 'Version of the stored object when it was added. Nothing else at that path is ever served.';

comment on column public.product_files.position is 'Order among the item''s files, ascending.';

comment on column public.product_files.product_id is 'The product; null for an artwork.';

comment on column public.product_files.removed_at is 'When its seller replaced it. Buyers who ordered before that keep it, later ones do not get it.';

comment on column public.product_files.taken_down_at is 'When an admin took it away from everybody, buyers too; written by take_down_file() only.';

comment on column public.products.license_version is 'Counts the changes of the licence; kept by trigger. A buyer has the licence of their order line.';

comment on column public.products.slug is 'Address part, unique; made from the title when missing. A taken one gets an ending.';

comment on column public.profiles.is_confirmed is 'Whether the e-mail address or phone number of the account was confirmed; mirrored from auth.users. Until then nobody else sees the profile or what it wrote.';

comment on column public.profiles.profile_visibility is 'Who may read this row; the owner decides, with set_profile_visibility().';

comment on column public.profiles.username is 'Handle in addresses: 3 to 30 of A-Z a-z 0-9 _ . -, starting and ending with a letter, digit or _. Unique whatever the case; deleted-, reserved words however they are dressed up, and what another account gave up lately are refused.';

comment on column public.refunds.checked_at is 'Last time a sweep took it up.';

comment on column public.refunds.origin is 'Who asked for it; persons are not named.';

comment on column public.refunds.paid_outside is 'Paid to the buyer in another way than through the provider, after it had failed there; provider_ref names how.';

comment on column public.refunds.provider_ref is 'Provider''s refund; outside:<reference> when paid outside; declined:<charge> when the charge was taken back.';

comment on column public.refunds.sent_at is 'When a worker first took it to send: from then on the provider may know it.';

comment on column public.refunds.status is 'State; only ever moves to the right of requested, pending, succeeded, failed. Swept by refunds_to_resume().';

comment on column public.sale_reviews.released_at is 'When an admin let it go: its money becomes available at transactions.release_at. Null while it waits.';

comment on column public.sale_reviews.seller_id is 'Whose sale, repeated so that the policy needs no join.';

comment on column public.sale_reviews.transaction_id is 'The sale.';

comment on column public.wallets.debt_cents is 'Owed to the platform, cents: refunds and corrections beyond the balance. Whatever becomes available repays it first, so nobody has both (credit_legs()).';

comment on column public.wallets.payouts_held_until is 'No payout before this time: the destination was changed recently (docs/money.md, sharp case 23).';

comment on column public.wallets.stripe_account_checked_at is 'Last time a sweep read the payout account.';

comment on column public.wallets.stripe_account_status is 'State of that account as last read from Stripe. Swept by accounts_to_check().';

comment on constraint article_likes_article_id_fkey on public.article_likes is 'article_not_found: There is no such article.';

comment on constraint article_likes_pkey on public.article_likes is 'already_done: The article is liked already.';

comment on constraint articles_category_check on public.articles is 'invalid_category: A category has 1 to 80 characters.';

comment on constraint articles_content_check on public.articles is 'invalid_content: An article has at most 200,000 characters.';

comment on constraint articles_excerpt_check on public.articles is 'invalid_excerpt: An excerpt has at most 1,000 characters.';

comment on constraint articles_published_at_check on public.articles is 'invalid_article: A published article has a date.';

comment on constraint articles_slug_check on public.articles is 'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';

comment on constraint articles_slug_key on public.articles is 'slug_taken: Another article just took this address; try again.';

comment on constraint articles_title_check on public.articles is 'invalid_title: A title has 1 to 200 characters.';

comment on constraint artist_profiles_artist_name_check on public.artist_profiles is 'invalid_artist_name: An artist name has 1 to 255 characters.';

comment on constraint artist_profiles_genre_check on public.artist_profiles is 'invalid_genre: A genre has 1 to 64 characters.';

comment on constraint artist_profiles_hourly_rate_cents_check
    on public.artist_profiles is 'invalid_price: An hourly rate is 0 or from 50 to 99999999 cents.';

comment on constraint artworks_description_check on public.artworks is 'invalid_description: A description has at most 20,000 characters.';

comment on constraint artworks_dimensions_check on public.artworks is 'invalid_dimensions: Dimensions have 1 to 100 characters.';

comment on constraint artworks_file_size_bytes_check on public.artworks is 'invalid_file_size: A file size is 0 or more.';

comment on constraint artworks_original_price_cents_check on public.artworks is 'invalid_price: An original price is above the price, at most 99999999 cents.';

comment on constraint artworks_price_cents_check on public.artworks is 'invalid_price: A price is 0 or from 50 to 99999999 cents.';

comment on constraint artworks_slug_check on public.artworks is 'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';

comment on constraint artworks_slug_key on public.artworks is 'slug_taken: Another artwork just took this address; try again.';

comment on constraint artworks_sold_at_check on public.artworks is 'invalid_artwork: Only a sold work has a date of sale.';

comment on constraint artworks_title_check on public.artworks is 'invalid_title: A title has 1 to 255 characters.';

comment on constraint cart_items_item_id_fkey on public.cart_items is 'item_not_available: There is no such item.';

comment on constraint cart_items_offered_price_check on public.cart_items is 'invalid_price: An offer is from 0 to 99999999 cents.';

comment on constraint cart_items_pkey on public.cart_items is 'already_done: The item is in the cart already; upsert to change it.';

comment on constraint cart_items_quantity_check on public.cart_items is 'quantity_not_allowed: A quantity is from 1 to 99.';

comment on constraint comment_likes_comment_id_fkey on public.comment_likes is 'comment_not_found: There is no such comment.';

comment on constraint comment_likes_pkey on public.comment_likes is 'already_done: The comment is liked already.';

comment on constraint comments_article_id_fkey on public.comments is 'comment_target_not_found: There is no such article.';

comment on constraint comments_content_check on public.comments is 'invalid_content: A comment has 1 to 5,000 characters.';

comment on constraint comments_depth_check on public.comments is 'invalid_comment: Replies are nested at most 8 deep.';

comment on constraint comments_item_id_fkey on public.comments is 'comment_target_not_found: There is no such item.';

comment on constraint comments_parent_comment_id_fkey on public.comments is 'comment_not_found: There is no such comment.';

comment on constraint comments_placeholder_check on public.comments is 'invalid_content: A comment has a text.';

comment on constraint comments_post_id_fkey on public.comments is 'comment_target_not_found: There is no such post.';

comment on constraint comments_target_check on public.comments is 'invalid_comment: A comment is on one post, item or article.';

comment on constraint conversations_group_check on public.conversations is 'invalid_conversation: Only group conversations have a name and a picture.';

comment on constraint conversations_group_name_check on public.conversations is 'invalid_group_name: The name of a group conversation has 1 to 80 characters.';

comment on constraint favorites_item_id_fkey on public.favorites is 'item_not_found: There is no such item.';

comment on constraint favorites_pkey on public.favorites is 'already_done: The item is a favorite already.';

comment on constraint follows_following_id_fkey on public.follows is 'user_not_found: There is no such account.';

comment on constraint follows_pkey on public.follows is 'already_done: The account is followed already.';

comment on constraint follows_self_check on public.follows is 'cannot_follow_yourself: Follows are between two people.';

comment on constraint genres_name_check on public.genres is 'invalid_name: A genre has 2 to 60 characters and no markup.';

comment on constraint genres_parent_genre_id_check on public.genres is 'invalid_genre: A genre is not its own parent.';

comment on constraint genres_parent_genre_id_fkey on public.genres is 'choice_not_available: There is no such genre.';

comment on constraint groups_description_check on public.groups is 'invalid_description: A description has at most 5,000 characters.';

comment on constraint groups_name_check on public.groups is 'invalid_name: The name of a group has 1 to 100 characters.';

comment on constraint groups_rules_check on public.groups is 'invalid_rules: The rules of a group have at most 5,000 characters.';

comment on constraint messages_attachments_check on public.messages is 'invalid_attachments: A message has at most 10 attachments.';

comment on constraint messages_content_check on public.messages is 'invalid_content: A message has 1 to 10,000 characters.';

comment on constraint messages_conversation_id_fkey on public.messages is 'conversation_not_found: There is no such conversation.';

comment on constraint messages_conversation_id_number_key on public.messages is 'try_again: Another message came at the same instant; try again.';

comment on constraint messages_pkey on public.messages is 'already_done: A message with this id was sent already.';

comment on constraint messages_substance_check on public.messages is 'invalid_message: A message has a text or an attachment.';

comment on constraint poll_votes_option_id_fkey on public.poll_votes is 'poll_not_found: There is no such option in this poll.';

comment on constraint poll_votes_pkey on public.poll_votes is 'already_done: A vote was given already; upsert to change it.';

comment on constraint post_likes_pkey on public.post_likes is 'already_done: The post is liked already.';

comment on constraint post_likes_post_id_fkey on public.post_likes is 'post_not_found: There is no such post.';

comment on constraint post_shares_pkey on public.post_shares is 'already_done: The post is shared already.';

comment on constraint post_shares_post_id_fkey on public.post_shares is 'post_not_found: There is no such post.';

comment on constraint posts_content_check on public.posts is 'invalid_content: A post has 1 to 10,000 characters; text posts and polls need them.';

comment on constraint posts_group_id_fkey on public.posts is 'group_not_found: There is no such group.';

comment on constraint posts_link_url_check on public.posts is 'invalid_link_url: Link posts have an address, polls have none.';

comment on constraint posts_media_urls_check on public.posts is 'invalid_media_urls: Image and video posts have 1 to 10 addresses, others none.';

comment on constraint posts_poll_ends_at_check on public.posts is 'invalid_poll: Only polls have an end.';

comment on constraint product_files_artwork_id_fkey on public.product_files is 'item_not_found: There is no such artwork.';

comment on constraint product_files_item_check on public.product_files is 'item_not_found: A file belongs to one product or artwork.';

comment on constraint product_files_name_check on public.product_files is 'invalid_name: A file name has 1 to 255 characters and no slashes.';

comment on constraint product_files_path_check on public.product_files is 'invalid_path: A path has at most 1,024 characters.';

comment on constraint product_files_path_key on public.product_files is 'already_done: The file is listed already.';

comment on constraint product_files_position_check on public.product_files is 'invalid_position: A position is from 0 to 1000.';

comment on constraint product_files_product_id_fkey on public.product_files is 'item_not_found: There is no such product.';

comment on constraint products_category_id_fkey on public.products is 'choice_not_available: There is no such category.';

comment on constraint products_description_check on public.products is 'invalid_description: A description has at most 20,000 characters.';

comment on constraint products_featured_at_check on public.products is 'invalid_product: A featured product has a date.';

comment on constraint products_license_text_check on public.products is 'invalid_license: A license text has at most 20,000 characters; a custom license needs one.';

comment on constraint products_minimum_price_cents_check on public.products is 'invalid_price: A minimum belongs to name-your-price: 0 or at least 50 cents, not above the price.';

comment on constraint products_price_cents_check on public.products is 'invalid_price: A price is 0 or from 50 to 99999999 cents.';

comment on constraint products_slug_check on public.products is 'invalid_slug: A slug is made of a-z, 0-9 and single hyphens, at most 100 characters.';

comment on constraint products_slug_key on public.products is 'slug_taken: Another product just took this address; try again.';

comment on constraint products_technical_details_check on public.products is 'invalid_technical_details: Technical details are an object of at most 16 kB.';

comment on constraint products_title_check on public.products is 'invalid_title: A title has 1 to 255 characters.';

comment on constraint profile_settings_language_check on public.profile_settings is 'invalid_language: A language is a BCP 47 tag such as en or pt-BR.';

comment on constraint profile_settings_notification_preferences_check
    on public.profile_settings is 'invalid_preferences: Preferences are an object of objects of booleans.';

comment on constraint profile_settings_phone_check on public.profile_settings is 'invalid_phone: A phone number has 6 to 30 digits and separators, perhaps after a +.';

comment on constraint profiles_bio_check on public.profiles is 'invalid_bio: A bio has at most 5,000 characters.';

comment on constraint profiles_display_name_check on public.profiles is 'invalid_name: A display name has 1 to 80 characters.';

comment on constraint profiles_full_name_check on public.profiles is 'invalid_name: A full name has 1 to 100 characters.';

comment on constraint profiles_username_check on public.profiles is 'username_invalid: Usernames have 3 to 30 characters of A-Z a-z 0-9 _ . - and begin and end with none of . and -.';

comment on index public.profiles_username_key is 'username_taken: Somebody just took this username; choose another.';
comment on index public.skills_normal_name_idx is 'skill_exists: There is a skill of this name.';
comment on index public.genres_normal_name_idx is 'genre_exists: There is a genre of this name.';

comment on constraint skills_category_id_fkey on public.skills is 'choice_not_available: There is no such category.';

comment on constraint skills_name_check on public.skills is 'invalid_name: A skill has 2 to 60 characters and no markup.';

comment on constraint user_blocks_blocked_id_fkey on public.user_blocks is 'user_not_found: There is no such account.';

comment on constraint user_blocks_pkey on public.user_blocks is 'already_done: The account is blocked already.';

comment on constraint user_blocks_self_check on public.user_blocks is 'cannot_block_yourself: Blocks are between two people.';

comment on constraint user_categories_category_id_fkey on public.user_categories is 'choice_not_available: There is no such category.';

comment on constraint user_categories_pkey on public.user_categories is 'already_done: The category is chosen already.';

comment on constraint user_genres_genre_id_fkey on public.user_genres is 'choice_not_available: There is no such genre.';

comment on constraint user_genres_pkey on public.user_genres is 'already_done: The genre is chosen already.';

comment on constraint user_skills_pkey on public.user_skills is 'already_done: The skill is chosen already.';

comment on constraint user_skills_skill_id_fkey on public.user_skills is 'choice_not_available: There is no such skill.';

comment on function ledger.audit() is 'Every violated invariant of the books (docs/money.md, Invariants 1 to 5); no rows means they are right. Invariant 6, the provider''s balance, is compared by the worker with private.provider_position().';

comment on function private.account_changes_due(integer) is 'Accounts whose change is not through yet, longest first: what the workers'' sweep picks up.';

comment on function private.accounts_to_check(integer) is 'Payout accounts to read again, because their event may have been lost: those that cannot be paid every reconcile_after, the others daily.';

comment on function private.activity_limit(uuid, text) is 'How many this member may do in a period; null: no limit.';

comment on function private.address_hash(text) is 'Keyed hash of an e-mail address (without case, +tag and, at Gmail, dots) or phone number (digits only); null of none.';

comment on function private.advance_account(uuid, integer) is 'The next step of what follows a change of an account: changes or erases at most max_rows rows. True when nothing is left to do. Fails (55P03) rather than wait for somebody for more than a moment.';

comment on function private.advance_erasure(uuid, integer) is 'The next step of erasing a deleted account: at most max_rows rows. True when nothing is left to erase.';

comment on function private.apply_payment_intent(text, jsonb) is
'payment_intent.*: settle, decline, cancel. A success is final until its charge is declined; the amount must be exact.';

comment on function private.apply_refund_line(public.refund_lines) is 'Adds a refund line, or with negative amounts takes one back, on its sale: amounts, status, entitlement, listing.';

comment on function private.apply_transfer(text, jsonb) is 'transfer.*: confirms a payout; a reversal returns it, or a part of it, to the wallet.';

comment on function private.authorize_download(uuid, uuid) is 'The stored files of an item for its seller, a buyer holding an entitlement, or an admin; none for items without files, no path for an object that is gone or another one than was added. Others fail with not_entitled (403), or item_not_found (404) when they may not even see the item.';

comment on function private.ban_again() is 'Trigger on auth.users: an account whose address belongs to a ban is banned too.';

comment on function private.begin_holds(uuid, uuid[]) is 'Begins or renews a buyer''s holds of items reserved before; when the first of them ends. Errors: hold_paused, too_many_holds; their details say until when.';

comment on function private.blanks() is 'What shows as empty space, as the inside of a bracket expression: spaces of every width, line breaks, control characters, the empty braille pattern.';

comment on function private.blocked_ids() is 'Everybody the caller blocked or was blocked by: neither sees the other anywhere. Likewise who was banned, left or withdrew from sight this moment.';

comment on function private.book_decline(uuid, text, bigint) is 'Books cents that the provider took back with a declined charge as a refund, once for each name.';

comment on function private.bound_activity(text) is 'For rows that take locks before they are counted: one request takes no more of them than a period allows.';

comment on function private.bucket_takes(text, jsonb) is 'Whether an object of this size and media type may be in the bucket. Storage itself compares uploads only, not what is copied or moved there.';

comment on function private.check_cart_item() is 'Trigger: refuses own, unlisted and over-counted items and offers below the minimum when they enter the cart; with the argument shows it notes the price.';

comment on function private.check_group() is 'Trigger: gives the group its address, takes the badge of a renamed one, and audits what admins of the platform edit.';

comment on function private.check_notification_preferences() is 'Trigger: a switch of a type or channel that does not exist would switch nothing.';

comment on function private.check_product_file() is 'Trigger: a file must be in the seller''s own folder of the bucket; version, size and type are read from there.';

comment on function private.check_profile() is 'Trigger: refuses bad, reserved and taken usernames and foreign smart links with clear errors.';

comment on function private.claim_payout(uuid) is 'Commits the intent to pay and says what to send; again for one already processing. The idempotency key is the payout id unless it says another. Null: nothing to send now.';

comment on function private.claim_refund(uuid) is 'What the worker sends to the provider (idempotency key: the refund id, unless it says another), the same every time, and notes that it may be there from now on; null when there is nothing to send now.';

comment on function private.clean_tags(text[]) is
'Tags in their form, see tag_form(), without empty ones and repeats; fails with invalid_tags above 20 or 50 '
'characters.';

comment on function private.close_payment(uuid) is 'Has a settled attempt cancelled at the provider, where it is payable again.';

comment on function private.count_activity(text, integer) is 'Counts what the caller does, or fails with too_many_actions, the detail saying until when. What fails counts nothing.';

comment on function private.count_poll_votes() is
'Trigger: poll_options.votes_count; fails with poll_closed after the poll''s end, whose result stays.';

comment on function private.count_purchases() is 'Trigger: catalog_items.purchases_count counts valid entitlements, paid_purchases_count those that were paid for.';

comment on function private.count_strangers(uuid[]) is 'Counts whom the caller approaches without being known to them.';

comment on function private.create_profile(uuid, jsonb, boolean) is
'Creates the profile of a new account under a valid, unique username near the wished one.';

comment on function private.create_refund(uuid, uuid, bigint, text, public.refund_origin, text) is
    'Asks for a refund: at once for wallet payments and for one paid outside (under that reference), through the provider otherwise. Error: refund_amount_invalid.';

comment on function private.credit_legs(uuid, bigint) is 'Legs that give a member this many cents (not negative): debts are repaid first, the rest becomes available.';

comment on function private.date_comment() is 'Trigger: dates an edit; likes and moderation are none.';

comment on function private.debit_legs(uuid, bigint) is 'Legs that take this many cents (not negative) from a member: available money first, the rest becomes debt.';

comment on function private.delay_provider_call(uuid, text, text) is 'Puts a payout or refund off after a refusal that passes: longer each time, up to six hours. Returns until when.';

comment on function private.deliver_message() is 'Trigger: a message comes to the top of the inbox of everybody who may read it, unread by all but its sender. Not of those who declined.';

comment on function private.drop_verification_of_profile() is 'Trigger on profiles: an artist under another name, handle or picture has to be verified again.';

comment on function private.end_payout(uuid, public.payout_status, text, bigint) is 'Gives a payout''s money back to the wallet, debts first: failed and cancelled from transit, returned from the provider. A transfer taken back in part stays completed; total_cents is all that came back so far.';

comment on function private.erase_account(uuid) is
'Ends an account: its profile says nothing any more, and the erasure of everything else begins.';

comment on function private.erase_artworks(uuid, integer) is 'Account deletion: removes a seller''s artworks that nobody ordered and archives the unsold others, at most max_rows; how many.';

comment on function private.erase_messages(uuid) is 'Step of erase_rest(): takes an account out of its conversations.';

comment on function private.erase_products(uuid, integer) is 'Account deletion: removes a seller''s products that nobody ordered and takes the others off sale for good, at most max_rows; how many.';

comment on function private.erase_rest(uuid) is 'Last step of the end of an account: what nobody has much of. The profile goes too when neither orders, payments, entitlements nor ledger entries refer to it; else it stays as deleted-….';

comment on function private.erase_rows(regclass, text, uuid, integer) is 'Deletes at most max_rows rows t that meet a condition, in which $1 is the user''s id; how many. For erasure_steps.batch.';

comment on function private.erase_some_messages(uuid, integer) is 'Erases what an account wrote, at most max_rows messages; how many. Empty messages without a sender keep the numbers.';

comment on function private.events_read_until(text, timestamp with time zone) is 'Until when the provider''s own list of events was read; with until, notes that it was read so far.';

comment on function private.export_rows(private.personal_data, uuid, jsonb, integer) is 'At most max_rows rows of a section in the order of its primary key, after the key given; next is the key to go on with, null when there is no more.';

comment on function private.follow_account() is 'Trigger: what somebody wrote and sells follows their standing and visibility, see advance_account().';

comment on function private.follow_article_author(uuid, integer) is 'Step of advance_account(): what a banned or private author wrote is nobody else''s to read.';

comment on function private.follow_author_of_comments(uuid, integer) is 'Step of advance_account(): comments follow their author''s standing and visibility, and the counters the comments.';

comment on function private.follow_author_of_posts(uuid, integer) is 'Step of advance_account(): posts follow their author''s standing and visibility, the groups'' counters the posts.';

comment on function private.follow_seller_standing(uuid, integer) is 'Step of advance_account(): a banned, deleted or private seller''s items are neither visible nor for sale.';

comment on function private.forget_actor_notifications(uuid, integer) is 'Step of advance_account(): who is banned, deleted or private is no longer told of, nor is what they own.';

comment on function private.forget_blocked_notifications() is 'Trigger on user_blocks: the two are no longer told of each other.';

comment on function private.forget_bounce() is 'Trigger on auth.users: another address has not bounced yet.';

comment on function private.forget_delay() is 'Trigger: a payout or refund that moved on is not delayed any more.';

comment on function private.forget_event_persons(uuid) is 'Erasure: takes a person out of the events about them.';

comment on function private.forget_follows() is 'Trigger on follows: whoever follows no more is no longer told of.';

comment on function private.forget_message() is 'Trigger on messages: one that was deleted for everyone before it was read is no longer told of.';

comment on function private.forget_old_event_persons(integer) is 'Takes persons out of up to max_rows events older than event_personal_period; returns how many. Call until 0.';

comment on function private.forget_request() is 'Trigger on group_members: a request to join that was decided on or withdrawn is no longer told of.';

comment on function private.free_slug(text, text, regclass, uuid) is 'The address of a new or renamed row: the wanted one, else made from its title; with an ending when another row of the relation has it.';

comment on function private.guard_object() is
'Trigger on storage.objects: what was sold or sent keeps its version, and the rules for members hold also when Storage '
'itself writes the row at the end of an upload, a copy or a move.';

comment on function private.handle_deleted_user() is 'Trigger on auth.users: ends the account.';

comment on function private.has_factor_from_before(uuid, timestamp with time zone) is 'Whether somebody had a verified second factor at that time.';

comment on function private.hashtags(text) is 'The #hashtags of a text in their form, see tag_form(), in order, without repeats. Marks and joiners belong to the word; numbers alone (#1) and words of more than 50 characters are none.';

comment on function private.hidden_ids() is 'Accounts whose contributions visitors must not see though some still say public: their standing or visibility has just changed. For policies.';

comment on function private.hides_nothing(text) is 'Whether an address has nothing in it that is not seen or shows it in another order: such characters go into links percent-encoded.';

comment on function private.hold_comment_targets_of(uuid[]) is 'hold_comment_target() for what these comments are about.';

comment on function private.hold_for_review(uuid) is 'Holds a sale for review unless its seller has an older sale, not refunded, from before new_seller_period.';

comment on function private.hold_freed_username() is
'Trigger: holds the name an account gives up, by renaming or leaving, and refuses names that are held. How many names '
'one account gives up in a time is limited.';

comment on function private.hold_profile(uuid) is
'Locks a profile''s row for whoever moderates, see hold_rows().';

comment on function private.invisibles() is 'What has no shape of its own, as the inside of a bracket expression: joiners, direction marks and overrides, variation selectors, fillers, tag characters.';

comment on function private.is_banned_address(text, text) is 'Whether a ban holds this e-mail address or phone number.';

comment on function private.is_fresh_proof(uuid, timestamp with time zone, text) is 'Whether a sign-in shows who somebody is now: recent, and not by a password or a second factor that was set up shortly before it. A link or code sent by mail, or another identity provider, always shows it.';

comment on function private.is_held_username(text, uuid) is 'Whether another account than this one gave up the name a short time ago.';

comment on function private.is_passive_type(text) is 'Whether a media type may be in a public bucket, whatever the bucket''s own setting says: pictures, sound and films.';

comment on function private.is_pinned(text, text) is 'Whether an item or a message refers to the stored object, which therefore stays as it is.';

comment on function private.is_reserved(text) is
'Whether a username is a reserved word in other case or with separators, or one that speaks for the platform however '
'it is dressed up: digits for letters or around it, as the beginning of the name, joined with another reserved word.';

comment on function private.is_visible_text(text) is 'Whether a text shows anything at all.';

comment on function private.is_visible_to(uuid, uuid) is 'Whether the viewer (null: a visitor) may know of the subject: a confirmed account that is neither deleted nor hidden from them by its visibility, a ban or a block. Admins know everybody.';

comment on function private.keep_ban(uuid, text, text) is 'An account ends: of its ban only the hashes of its addresses stay, and nothing that says whose they are.';

comment on function private.keep_estimated_fee(uuid) is 'The provider does not know this payment any more: the estimate is the fee.';

comment on function private.keep_ordered_file() is 'Trigger: the file of an item that was ever ordered is not deleted but marked removed, and stays for earlier buyers.';

comment on function private.keep_places() is 'Trigger: a placeholder takes the place of a deleted comment as long as there are replies to it.';

comment on function private.keep_row() is 'Trigger: an update changes nothing, so that an upsert of a row that is there already succeeds.';

comment on function private.knows(uuid, uuid) is 'Whether the other one is no stranger to the member: followed, or in a conversation both want.';

comment on function private.letter_pairs(text, boolean) is 'The text with each run of Chinese, Japanese or Korean letters cut into overlapping pairs: 東京都 becomes 東京 京都.';

comment on function private.limit_inserts() is 'Trigger (kind): count_activity() for the rows of a statement. Named to fire last: nothing is waited for after it.';

comment on function private.line_order(uuid) is 'What a reader of an order line may know of its order: order_number, and delivery (shipping_address, notes); null for others.';

comment on function private.list_refunds(text, integer) is 'Refunds for operators, newest first.';

comment on function private.lock_gates(text, uuid[], uuid[]) is
'Enters the gates of accounts (gate account), of two people (gate pair) or of groups (gate group) until the '
'transaction '
'ends. In this order, and before any row that is changed; what was read before has to be read again.';

comment on function private.lock_item(uuid, uuid) is
'Locks a product or an artwork and its registry row against other changes and checkouts.';

comment on function private.mail_address(uuid) is 'The member''s confirmed address, null without one or when nobody is there.';

comment on function private.mail_failed(uuid, text, boolean, integer, boolean) is 'The mail was not taken: never will be, because nobody is at its address (for_good), or is tried again after retry_seconds, doubled each time up to an hour, for three days. bounced: the refusal is about the address, which is remembered (mail_bounces) and then waits for longer from refusal to refusal, up to a week, whatever the mail.';

comment on function private.mail_sent(uuid) is 'The mail server took it: the address bounces no more.';

comment on function private.marks() is
'Combining marks as the inside of a bracket expression: vowel signs, tone marks, accents, what arranges hieroglyphs. '
'They belong to the word.';

comment on function private.may_download_object(text, text) is 'Whether the stored object is, in this version, a file of something the calling member bought.';

comment on function private.member_id() is 'The caller''s id while signed in with an account of their own (Auth''s anonymous sessions are none), not deleted and not banned; else null. Policies write (select private.member_id()).';

comment on function private.mentioned(text) is 'Whom a text mentions as @username: the first twenty names in it, those that exist. Not in addresses, e-mails and longer words.';

comment on function private.metadata_text(jsonb, text[]) is 'The texts of sign-up metadata under these keys, in their order, at most 300 characters each. Other types are skipped, and so is what looks like an e-mail address.';

comment on function private.mirror_ban() is 'Trigger: profiles.is_banned says whether a row in bans exists, and so does banned_addresses of the account''s addresses.';

comment on function private.mirror_confirmation() is 'Trigger on auth.users: profiles.is_confirmed says whether an address or number of the account was confirmed.';

comment on function private.money_waiting() is 'Money that should not stay where it is: what refunds_payable and payouts_in_transit hold, refunds under way or failed, held sales; oldest first. needs_person: it failed, or is older than settings.stuck_money_after.';

comment on function private.note_password_change() is 'Trigger on auth.users: dates a new password.';

comment on function private.notice_actors(public.notifications) is 'Whom a notification that collapses speaks of now, the first first, at most 100: those who liked, shared or asked within its hour, follow, or wrote what is unread, and are visible to its recipient. Nobody for the other types.';

comment on function private.ordered_at(uuid, uuid) is 'When the user ordered what they own: files replaced after that are still theirs. Null without a valid entitlement.';

comment on function private.pair(uuid, uuid) is 'Two people as one id, whoever comes first: names their gate.';

comment on function private.pay_refund_outside(uuid, text, text) is
'Operator: books a failed refund as paid to the buyer outside the provider, under the payment''s reference. Errors: '
'reference_required, reference_used and redo_refund()''s.';

comment on function private.payment_of(jsonb) is
'The payment of a Stripe object, locked. Errors: event_too_early when unknown, event_rejected when it names a payment '
'that was never started or is another.';

comment on function private.payment_unknown(uuid) is 'The provider does not know this attempt: it ends like a cancelled one. Should its success arrive all the same, that settles or goes back like any late one.';

comment on function private.payments_missing_fee(integer) is 'Settled payments whose real fee was not read yet, those asked about longest ago first.';

comment on function private.payments_to_cancel(integer) is 'Started attempts that ran out or are no longer wanted, and settled ones whose charge was declined later: cancel at the provider, then payment_cancelled(). Those tried longest ago first.';

comment on function private.payouts_to_resume(integer, integer) is 'Payouts approved or processing and not taken up for stuck_seconds: their job was lost, or they were on hold or delayed.';

comment on function private.person_of(jsonb) is 'Payer or seller that a Stripe event is about; null when it is nobody of ours.';

comment on function private.plain_name(text) is 'A username without separators, digits and pairs of letters replaced by the letter they look like. For comparisons.';

comment on function private.prepare_onboarding(uuid, boolean, timestamp
    with time zone, text) is 'What the worker needs to create or reopen the seller''s payout account. Reopening or changing one needs a fresh sign-in (sharp case 23). Errors: banned, fresh_login_required.';

comment on function private.promised_back(uuid, uuid, bigint) is 'Cents that refunds under way will take from a seller beyond what each sale still holds, with more_cents of one more line.';

comment on function private.provider_key(uuid) is 'The idempotency key after a definite refusal; null while the object''s own id is the key.';

comment on function private.read_lines(uuid, jsonb) is 'The lines of an order from [{item_id, quantity, offered_price_cents, shown_price_cents}], each item read once, locked.';

comment on function private.reads_or_lists() is 'Whether Storage asks for a request that reads or lists with the caller''s own token: each such request is asked anew. A signed link or a copy would outlive the right to read.';

comment on function private.redo_refund(uuid, text, uuid, text) is 'Makes a failed refund again as a new one: through the provider, or, with a reference, as paid outside. actor: the admin, who is not the payer; actor_label: the operator. Errors: refund_not_failed, refund_amount_invalid, own_wallet.';

comment on function private.refund_line(uuid, bigint, text, public.refund_origin) is
'Asks for a refund of a sale within the limits of who asks; null is all that is left. Errors: reason_required, '
'refund_amount_invalid, insufficient_funds.';

comment on function private.refunds_to_resume(integer) is 'Refunds whose job was lost (send again) or whose outcome is overdue (sync the payment''s refunds), those taken up longest ago first.';

comment on function private.relist_item(uuid) is 'Full refund: a sold one-of-a-kind item is again what it was before the sale. No effect on anything else.';

comment on function private.renew_notices() is 'Trigger (type, column of what it is about): whoever took a like and the like back is no longer told of.';

comment on function private.renew_notifications(uuid[]) is 'After somebody these tell of is gone: the first of those who are still there is named instead; with nobody left the notification goes.';

comment on function private.require_group_rank_over(uuid, uuid) is 'Members of a group act on people of lower role only; else fails with group_role_too_low. Not asked of platform admins, who are in no group.';

comment on function private.require_keys(jsonb, text[], text) is 'Fails with the given code unless the value is an object with these keys only; the detail names the others. SQL null passes.';

comment on function private.require_member() is 'The caller''s id, or fails with not_signed_in (401), account_required (403: an anonymous session) or banned (403). First line of every RPC for members.';

comment on function private.require_rank_over(uuid) is 'For admins who act on somebody or their content: on other admins only super admins act (super_admin_only).';

comment on function private.retry_refund(uuid, text) is 'Operator: makes a failed refund again; the new one''s id.';

comment on function private.return_payout(uuid, bigint) is 'The provider took a completed transfer back, up to total_cents of it so far; in any order and any number of times.';

comment on function private.reverse_charge(uuid, text) is 'Books a charge that the provider took back after success, once: its fee comes back, what was neither refunded nor is on its way to the buyer is refunded.';

comment on function private.review_address_bans(boolean) is 'Operators, yearly: the address bans that are due for review. With keep true they stay for another year; with false those of accounts that do not exist any more are forgotten.';

comment on function private.search_query(text) is
'What people type ("exact words", or, -not; the first 200 characters) as a query for search_vector(). Empty (numnode '
'0) when there is nothing to look for, or only what is to be left out.';

comment on function private.search_term(text) is 'What is searched for names: tidied, lower case, at most 100 characters, without a leading @ or #.';

comment on function private.search_text(text) is
'A text in lower case without accents and compatibility forms, to be compared and indexed by trigrams.';

comment on function private.search_vector(text, text[], text) is 'Weighted search vector: title (A), tags (B), body (C). What search_query() makes of a query fits it.';

comment on function private.set_payout_approved(uuid) is 'requested → approved, and tells a worker.';

comment on function private.set_payout_destination(uuid, text, boolean) is 'Sets the Stripe account; replacing another one, or a first one by a session without a fresh sign-in, holds payouts for a while (sharp case 23).';

comment on function private.settle_further_charge(public.payments, text) is 'Settles a second charge of an intent whose first one was declined after success, as an order and a payment of its own. Error: event_too_early while that decline is not booked.';

comment on function private.slugify(text) is 'Lower-case ASCII words joined by hyphens; may be empty when nothing survives (emoji, scripts nobody can spell out).';

comment on function private.spendable_cents(uuid, uuid, bigint) is 'What a member can spend or have paid out now, cents: available less debt and less what refunds under way (and more_cents of one more line) will take. Negative: what would become debt. Lock the wallet before it is relied on.';

comment on function private.split_line(bigint, bigint, bigint, integer) is 'Divides a paid line (cents, tax included in total) into commission and the seller''s part: docs/money.md, Fees.';

comment on function private.split_refund(public.transactions, bigint) is 'Divides the next refund of a sale (cents, at most what is left of it; negative to take back as much) into tax, commission and the seller''s part.';

comment on function private.store_webhook_events(text, jsonb) is
'Stores verified events [{id, type, created (epoch), payload, live (whether our key is a live one)}] and one job for '
'the new ones, in one transaction; returns how many were new.';

comment on function private.suggest_username(text) is 'A text turned into username characters, at most 30; may be shorter than 3 or empty (emoji, Chinese).';

comment on function private.tag_form(text) is 'The one form of a tag, however it was typed: tidied as a name, without #, letter case folded.';

comment on function private.tell_comment() is 'Trigger on comments: tells whose comment is replied to, whose post, article or item it is about, and who is mentioned, in an edit too, and can read it.';

comment on function private.tell_mentioned(uuid[], uuid, text, uuid, text) is 'Tells these people of being mentioned, each once per post or comment.';

comment on function private.tell_message() is 'Trigger on messages: tells the others in the conversation, but for those to whom it is a request.';

comment on function private.tell_post() is
'Trigger on posts, when it is made, edited or decided upon: tells who is mentioned once they can read it, moderators '
'of what waits for them, the author of their decision.';

comment on function private.tell_refund_request() is 'Trigger on refund_requests: asking is told to the seller, the answer or its absence to the buyer.';

comment on function private.tidy_body(text) is
'A text of many lines in the form it is stored in: Unicode form NFC, line breaks as \n, no control characters or '
'direction overrides, no space around it. Empty when it would show nothing.';

comment on function private.tidy_name(text) is
'A text of one line in the form it is stored in: Unicode form NFKC, single spaces, no line breaks, no direction marks '
'or overrides, nothing invisible but what emoji and scripts with joiners need. Empty when it would show nothing.';

comment on function private.tidy_object(jsonb) is 'JSON whose keys are tidied as names and whose texts as bodies.';

comment on function private.tidy_texts() is 'Trigger _tidy_texts of every table with texts that people write. Its arguments are "column line", "column body" or "column object", see tidy_name(), tidy_body() and tidy_object(). A text that shows nothing becomes null, or fails with text_not_visible where the argument says "required".';

comment on function private.to_latin(text) is
'A text in lower case and in Latin letters without accents, as far as transliterations knows its letters.';

comment on function private.user_files_to_erase(uuid, integer) is 'Next stored objects of a deleted account to erase; none for other accounts. Call until empty, which closes the erasure. Files of items that were ordered stay for their buyers.';

comment on function private.username_problem(text, uuid) is 'Error code that speaks against this username for this account, null when none does. Whether somebody has it is not looked at.';

comment on function private.utc(timestamp with time zone) is 'The next whole second in ISO 8601, UTC: for details of errors that say until when.';

comment on function private.why_foreign(private.webhook_events) is 'Why an authentic event is not about our objects; null when it is. Only account.* and payout.* may be of a connected account.';

comment on function private.without_persons(jsonb) is 'A Stripe event reduced to ids, amounts and states: it can still be applied.';

comment on function public.accept_message_request(uuid) is 'Accepts a conversation that a stranger began, or that was declined before: from now on it is one like others. Sending a message in it does the same. No effect on what is accepted.';

comment on function public.add_participants(uuid, uuid[]) is 'The manager adds people to a group chat; who is in it already stays as they are. They read what is written from now on; to strangers it is a request. Fails with user_not_found (404) for whoever the caller cannot see, left_chat for whoever left it, manager_only, not_a_group_chat, too_many_participants (100 in all), too_many_actions (strangers).';

comment on function public.adjust_wallet(uuid, bigint, text, text) is
'Admin: goodwill or correction of another''s balance at the platform''s cost, signed cents, with a reason the owner '
'can read. What is given repays debt first; what is taken and not available becomes debt, repaid by later earnings. '
'The same key and request post once. Errors: admin_only, own_wallet, reason_required, adjustment_invalid, '
'wallet_not_found, idempotency_key_invalid, idempotency_key_reused.';

comment on function public.cancel_invitation(uuid, uuid) is 'Takes an invitation back: who invited, or moderators of the group above them (group_role_too_low). None, no effect.';

comment on function public.checkout(jsonb, public.payment_provider, text, jsonb, text) is
'Buys items ([{item_id, quantity?, offered_price_cents?}], default: the cart) with stripe or wallet and answers the '
'order, its payment and where to start it. offered_price_cents is the offer for name-your-price items; for others the '
'price that was shown: more is not taken (price_changed), less is. The cart remembers what it showed. The same '
'idempotency_key with the same request answers the first order, also when that was cancelled since. An earlier open '
'order of one of the items is superseded. Errors: invalid_checkout, empty_checkout, too_many_items, '
'item_not_available, item_sold, item_reserved, already_owned, duplicate_item, own_item, quantity_not_allowed, '
'price_too_low, price_changed, amount_out_of_range, insufficient_funds, provider_not_available, hold_paused, '
'too_many_holds, payments_not_set_up, idempotency_key_invalid, idempotency_key_reused.';

comment on function public.decline_message_request(uuid) is 'Declines a conversation that a stranger began: what was written is gone for the caller, and whatever else the stranger writes appears nowhere. The stranger learns nothing of it. A group chat is left. No effect on anything but a request.';

comment on function public.delete_my_account(bigint) is
'Deletes the caller''s account, banned or not: out and hidden at once, erased within minutes; what the books need '
'stays '
'anonymised. Cannot be undone. With money left or on its way it fails with balance_remains, whose detail names the '
'amounts; who leaves all the same repeats the sum as forfeit_cents.';

comment on function public.delivery(public.order_items) is 'Computed field of order_items: {shipping_address, notes} as given at checkout, for the line''s seller while the line is paid and not refunded whole. Gone when the buyer deletes the account.';

comment on function public.error_catalog() is
'Every way the Data API refuses, to be loaded once: a client looks up the hint of an error whose code begins with PT, '
'else the constraint that its message names, else its code (docs/errors.md).';

comment on function public.export_my_data(text, jsonb) is 'Everything stored about the caller as one JSON object: the account and one array per kind of record. Of long sections the first rows; more names them with what to call again with, section and after, until more is empty.';

comment on function public.hide_content(public.content_type, uuid, text) is 'Takes down a post, comment, article or item with a reason (1 to 500 characters, told to its author): platform admins anywhere (content of other admins: super admins), moderators, admins and owners of a group posts and comments in it by people of lower role and their own. Hiding again changes the reason. Fails with content_not_found, moderators_only, group_role_too_low, super_admin_only or cannot_be_hidden (people are banned instead). Audited.';

comment on function public.inbox(timestamp with time zone, uuid, integer, boolean) is 'The caller''s conversations, latest first, with up to four of the other participants, as far as the caller sees their profiles. max_rows from 1 to 100. The next page: before and before_id are last_message_at and conversation_id of the last row. With requests: instead those that strangers began and the caller has not accepted.';

comment on function public.leave_conversation(uuid) is 'Leaves a group chat: nothing of it is readable any more, and nobody adds one again; see rejoin_conversation(). When the manager leaves, the longest participant manages; when the last one leaves, the chat is gone.';

comment on function public.lift_address_ban(text) is 'Admins: forgets the ban of an account that was deleted, by the e-mail address or phone number its owner gives; whether there was one. Of an account that exists unban_user() ends it.';

comment on function public.lift_limits(uuid, timestamp with time zone) is 'Admins: takes the limits off a member until then, for good by default; null puts them back. Audited.';

comment on function public.list_webhook_events(text, integer) is 'Admin: provider events by status (pending, processed, ignored, dead), newest first, without payloads. last_error says why one was not applied, ignored ones that are not about us too.';

comment on function public.mark_conversation_read(uuid, integer) is 'Marks a conversation read up to a message number, null for all there is; returns how many are left unread. Never goes back. The senders see it: messages.is_read and the caller''s last_read_number. No effect on a request.';

comment on function public.my_limits() is 'The caller''s limits and what they have used of them; none for whom they were lifted.';

comment on function public.order_number(public.order_items) is 'Computed field of order_items: the order''s number, for the line''s buyer and seller.';

comment on function public.pay_refund_outside(uuid, text) is 'Admin: books a failed refund as paid to the buyer in another way; reference names that payment and counts once. Errors: admin_only, refund_not_failed, refund_amount_invalid when it was made good already, reference_required, reference_used, own_wallet.';

comment on function public.refund_order_item(uuid, bigint, text, text) is
'Refunds one sold line, by its seller or an admin; amount in cents, null for all that is left. A seller may go into '
'debt by it up to settings.seller_debt_cents. The same idempotency_key and request return the first refund. Errors: '
'sale_not_found, own_wallet (an admin who bought it), refund_amount_invalid, insufficient_funds, reason_required, idempotency_key_invalid, '
'idempotency_key_reused.';

comment on function public.reject_post(uuid, text) is 'Moderators of the post''s group: takes a waiting post out of the queue. Its author still reads it, with the reason (at most 1,000 characters); restoring it puts it back in the queue. Fails with post_not_found, post_not_pending, group_role_too_low.';

comment on function public.rejoin_conversation(uuid) is 'Back into a group chat the caller left, to read from now on. Fails with conversation_not_found after the manager said no by remove_participant(), too_many_participants.';

comment on function public.release_sale_review(uuid, text) is
'Admin: lets a held sale go, with a note for the audit log, not one''s own. Repeated calls change nothing. One that '
'should not be paid out is refunded instead. Errors: admin_only, own_wallet, sale_not_found, reason_required.';

comment on function public.remove_participant(uuid, uuid) is 'The manager removes somebody from a group chat, who reads nothing of it any more. Whoever left it by themselves then cannot return.';

comment on function public.request_custom_field(public.custom_field_type, text, uuid) is 'Asks for a skill, genre or category that does not exist, or joins who asks for it already; once per member. With the third member it becomes a skill, with the fifth a genre, counting confirmed accounts of some age (settings.custom_field_account_age); categories are an admin''s decision. category_id: for skills, under which category; what most named counts. Fails with custom_field_invalid, custom_field_exists, custom_field_withdrawn, custom_field_rejected or too_many_custom_fields.';

comment on function public.request_payout(bigint, text) is 'Asks for a payout of available money, in cents. Approved at once up to the limits in settings, for one and for 24 hours; above them an admin approves. The same idempotency_key and request return the first payout. Errors: payout_amount_invalid, payouts_not_enabled, payouts_held, payout_open, insufficient_funds, idempotency_key_invalid, idempotency_key_reused.';

comment on function public.restore_content(public.content_type, uuid) is 'Puts back what hide_content() took down. Moderators of a group cannot put back what platform admins took down (hidden_by_platform), nor their own what somebody of higher role took down (group_role_too_low). What is not hidden stays as it is. Audited.';

comment on function public.retry_refund(uuid) is 'Admin: makes a failed refund again, as a new one. Errors: admin_only, refund_not_failed, refund_amount_invalid when it was made good already, own_wallet.';

comment on function public.search_catalog(text, public.catalog_kind, text, text[], bigint, bigint, timestamp
    with time zone, uuid, integer) is 'Items on sale that match, newest first: by words (stemmed, without accents; "exact words", or, -not), and when no item has them by titles that contain or resemble the query. Filters: kind, category, all of the tags, price range. 1 to 100 rows, 20 unless told; the next page starts before the last row''s published_at and id.';

comment on function public.search_profiles(text, double precision, uuid, integer) is 'People whose username or display name is, begins with, contains or resembles the query, best first; only those the caller may see. At most some 800 matches are ranked. For the next page pass the last row''s score and id.';

comment on function public.set_hold_limit(uuid, integer) is 'Admins: how many one-of-a-kind items an account may hold at once, 0 to 1000; null is the platform''s limit again. Audited. Errors: user_not_found, invalid_hold_limit.';

comment on function public.set_profile_visibility(public.profile_visibility) is 'Who may see the caller''s profile and what they wrote and sell; the profile as it is now.';

comment on function public.start_conversation(uuid[], text, text) is 'The conversation with these people; to strangers it comes as a request. One other person: the conversation of the two, the same whoever starts it and however often. More, up to 99: a new group chat, which the caller manages. Fails with user_not_found (404) for whoever the caller cannot see, profile_hidden (409) when the caller''s profile is private, no_participants, too_many_participants, not_a_group_chat (a name for a conversation of two), too_many_actions (strangers).';

comment on function public.take_down_file(uuid, text) is 'Admins: takes a file away from everybody, those who bought it too, and pauses a product left without files; audited. Only its seller and admins still see the row. The stored object can then be deleted.';

comment on function public.unpin_post(uuid) is 'Ends a pin. In a group moderators unpin their own posts and those of people of lower role (group_role_too_low). Fails with post_not_found.';

comment on function public.unread_counts() is 'How many unread notifications (at most 1,000 are counted) and unread messages the caller has, requests left out: the two badges.';

comment on function public.unread_messages_count() is 'How many messages the caller has not read, in all conversations but requests.';

comment on table private.account_changes is 'Accounts whose standing, visibility or end has not reached everything of theirs. The job advance_account is only the wake-up; this row is the truth.';

comment on table private.activity is 'What members did in the current period, by kind.';

comment on table private.activity_limits is 'The limits, data that an operator changes. Whether an account is fresh: settings.fresh_account_period.';

comment on table private.artworks_before_sale is 'What a full refund gives back: the state of sold works before the sale.';

comment on table private.ban_key is 'The secret of banned_addresses, made at installation; exactly one row.';

comment on table private.banned_addresses is 'Purpose: that a banned person does not come back by deleting the account and signing up again. Keyed hashes of banned e-mail addresses and phone numbers, kept for as long as the ban, reviewed yearly. The erasure of the account leaves the hash and the dates.';

comment on table private.chat_departures is 'Who left a group chat: nobody brings them back, they come by themselves, see rejoin_conversation().';

comment on table private.cursors is 'How far jobs have come that read something from its beginning to its end.';

comment on table private.erasure_steps is 'What the end of an account erases besides: each aggregate that holds personal data adds its step on its page.';

comment on table private.freed_usernames is 'Usernames that were given up less than settings.username_hold ago: links and mentions still mean their former owner, so nobody else takes them yet. Older rows go when the next name is given up.';

comment on table private.hold_limits is 'Accounts that may hold more or fewer one-of-a-kind items than settings say.';

comment on table private.hold_periods is 'Who holds or recently held which one-of-a-kind item; forgotten at the buyer''s next checkout after the pause.';

comment on table private.kept_votes is 'Votes in ended polls whose voters deleted their accounts: the result stays, who it was does not.';

comment on table private.lifted_limits is 'Members without limits, see lift_limits().';

comment on table private.password_changes is 'Recent changes of passwords. No foreign key: Auth deletes its users, the erasure these rows.';

comment on table private.payment_closings is 'Settled attempts whose charge was declined later: the provider would let the buyer pay them again. A row ends when the provider says that nothing more can be paid.';

comment on table private.provider_delays is 'Payouts and refunds the provider refused for a reason that is ours and passes, such as a balance that is too low. They stay open, are tried again, and raise an alarm until then.';

comment on table private.standing_steps is 'What follows a change of somebody''s standing or visibility: each aggregate that carries a copy adds its step on its page.';

comment on table private.told_mentions is 'Who was told of being mentioned where: once, whatever is edited, hidden, approved or read meanwhile.';

comment on table private.transliterations is 'How letters of other scripts are written in addresses: common usage, not a standard of scholars. Latin letters with accents are unaccent()''s.';

comment on table public.bans is 'Current bans. Admins and the banned user read, so who decided is in audit_log only, with past bans. Written by ban_user() and unban_user().';

comment on table public.catalog_items is 'Registry of all items. Same id as the row it mirrors; written by triggers and the server, read-only to clients. Pages filter on is_listed and sort by published_at (newest first), price_cents or popularity, each with id. Texts: search_catalog().';

comment on table public.comments is 'Comments on posts, catalog items and articles. Readable with their target, as far as their author is; written on what the caller can read. Replies outlive what they reply to: a deleted comment that has some stays as a placeholder without author and content, until the last of them is deleted.';

comment on table public.hidden_content is 'What is taken down and at which level; written by hide_content() and restore_content(). Admins read all, moderators of a group what was taken down in it, perhaps their own: who decided is in audit_log only.';

comment on table public.mail_bounces is 'Members whose address refused mail. The member and admins read; the member deletes: then mail is tried again. Ends by itself when mail arrives or the address is changed.';

comment on table public.product_approvals is 'Last review of a product; the history, and who decided, are in audit_log. Its seller and admins read, review_product() writes.';

comment on table public.product_files is 'Files of a product or a digital artwork, for its seller, its buyers and admins. Downloads go through /functions/v1/downloads/{item_id}.';

comment on table public.refund_lines is 'What a booked refund took from each sale when it was booked. That line''s buyer and seller read it.';

comment on table public.sale_reviews is 'Sales whose earnings stay pending until an admin has looked. Its seller and admins read; settlement and release_sale_review() write.';

comment on type ledger.journal_kind is 'What happened; docs/money.md, Legs, lists the legs of each.';

comment on type private.order_line is 'A line to be ordered as its item was at one instant, and what is wrong with it (an error code and its detail), if anything.';

comment on type public.activity_limit is 'A limit of the caller: how many in its period, how many of them are used, and when that starts anew (null: nothing is used).';

comment on type public.error_entry is 'One way to be refused. name: what the answer holds (hint, constraint or SQLSTATE); code: the stable word; message: for people; advice: for developers.';

comment on type public.inbox_state is 'requested: a stranger wrote; nothing rings, and nothing is said to be read, until it is accepted. declined: it was turned down, which the other one does not learn.';

comment on type public.refund_origin is 'Who asked for a refund: the line''s seller, an admin (audit_log names which), the platform by itself, or somebody at the provider.';

comment on type public.unread_counts is 'The two badges. Named, so that generated types know its columns.';

revoke all on function private.account_changes_due(integer) from public;

grant execute on function private.account_changes_due(integer) to avenue_worker;

revoke all on function private.accounts_to_check(integer) from public;

grant execute on function private.accounts_to_check(integer) to avenue_worker;

revoke all on function private.activity_limit(uuid, text) from public;

revoke all on function private.address_hash(text) from public;

revoke all on function private.advance_account(uuid, integer) from public;

grant execute on function private.advance_account(uuid, integer) to avenue_worker;

revoke all on function private.advance_erasure(uuid, integer) from public;

revoke all on function private.apply_refund_line(public.refund_lines) from public;

revoke all on function private.ban_again() from public;

revoke all on function private.begin_holds(uuid, uuid[]) from public;

revoke all on function private.blanks() from public;

grant execute on function private.blanks() to authenticated;

revoke all on function private.blocked_ids() from avenue_estimates;

grant execute on function private.blocked_ids() to avenue_estimates;

revoke all on function private.book_decline(uuid, text, bigint) from public;

revoke all on function private.bound_activity(text) from public;

revoke all on function private.bucket_takes(text, jsonb) from public;

grant execute on function private.bucket_takes(text, jsonb) to authenticated;

revoke all on function private.check_notification_preferences() from public;

revoke all on function private.close_payment(uuid) from public;

revoke all on function private.count_activity(text, integer) from public;

revoke all on function private.count_strangers(uuid[]) from public;

revoke all on function private.create_profile(uuid, jsonb, boolean) from public;

revoke all on function private.create_refund(uuid, uuid, bigint, text, public.refund_origin, text) from public;

revoke all on function private.credit_legs(uuid, bigint) from public;

revoke all on function private.date_comment() from public;

revoke all on function private.debit_legs(uuid, bigint) from public;

revoke all on function private.delay_provider_call(uuid, text, text) from public;

grant execute on function private.delay_provider_call(uuid, text, text) to avenue_worker;

revoke all on function private.drop_verification_of_profile() from public;

revoke all on function private.end_payout(uuid, public.payout_status, text, bigint) from public;

revoke all on function private.erase_artworks(uuid, integer) from public;

revoke all on function private.erase_products(uuid, integer) from public;

revoke all on function private.erase_rest(uuid) from public;

revoke all on function private.erase_rows(regclass, text, uuid, integer) from public;

revoke all on function private.erase_some_messages(uuid, integer) from public;

revoke all on function private.events_read_until(text, timestamp with time zone) from public;

grant execute on function private.events_read_until(text, timestamp with time zone) to avenue_worker;

revoke all on function private.export_rows(private.personal_data, uuid, jsonb, integer) from public;

revoke all on function private.follow_account() from public;

revoke all on function private.follow_article_author(uuid, integer) from public;

revoke all on function private.follow_author_of_comments(uuid, integer) from public;

revoke all on function private.follow_author_of_posts(uuid, integer) from public;

revoke all on function private.follow_seller_standing(uuid, integer) from public;

revoke all on function private.forget_actor_notifications(uuid, integer) from public;

revoke all on function private.forget_bounce() from public;

revoke all on function private.forget_delay() from public;

revoke all on function private.forget_event_persons(uuid) from public;

revoke all on function private.forget_follows() from public;

revoke all on function private.forget_message() from public;

revoke all on function private.forget_old_event_persons(integer) from public;

grant execute on function private.forget_old_event_persons(integer) to avenue_worker;

revoke all on function private.forget_request() from public;

revoke all on function private.free_slug(text, text, regclass, uuid) from public;

revoke all on function private.guard_object() from public;

revoke all on function private.has_factor_from_before(uuid, timestamp with time zone) from public;

revoke all on function private.hidden_ids() from public;

grant execute on function private.hidden_ids() to anon;

revoke all on function private.hides_nothing(text) from public;

grant execute on function private.hides_nothing(text) to anon, authenticated;

grant execute on function private.hides_nothing(text) to service_role;

revoke all on function private.hold_comment_targets_of(uuid[]) from public;

revoke all on function private.hold_for_review(uuid) from public;

revoke all on function private.hold_freed_username() from public;

revoke all on function private.hold_profile(uuid) from public;

revoke all on function private.invisibles() from public;

grant execute on function private.invisibles() to authenticated;

revoke all on function private.is_banned_address(text, text) from public;

revoke all on function private.is_fresh_proof(uuid, timestamp with time zone, text) from public;

revoke all on function private.is_held_username(text, uuid) from public;

revoke all on function private.is_passive_type(text) from public;

revoke all on function private.is_pinned(text, text) from public;

grant execute on function private.is_pinned(text, text) to authenticated;

revoke all on function private.is_reserved(text) from public;

revoke all on function private.is_visible_text(text) from public;

grant execute on function private.is_visible_text(text) to authenticated;

revoke all on function private.keep_ban(uuid, text, text) from public;

revoke all on function private.keep_estimated_fee(uuid) from public;

grant execute on function private.keep_estimated_fee(uuid) to avenue_worker;

revoke all on function private.keep_ordered_file() from public;

revoke all on function private.keep_places() from public;

revoke all on function private.keep_row() from public;

revoke all on function private.knows(uuid, uuid) from public;

revoke all on function private.letter_pairs(text, boolean) from public;

grant execute on function private.letter_pairs(text, boolean) to anon, authenticated;

grant execute on function private.letter_pairs(text, boolean) to service_role;

revoke all on function private.limit_inserts() from public;

revoke all on function private.line_order(uuid) from public;

grant execute on function private.line_order(uuid) to authenticated;

revoke all on function private.list_refunds(text, integer) from public;

grant execute on function private.list_refunds(text, integer) to avenue_worker;

revoke all on function private.lock_item(uuid, uuid) from public;

revoke all on function private.mail_failed(uuid, text, boolean, integer, boolean) from public;

grant execute on function private.mail_failed(uuid, text, boolean, integer, boolean) to avenue_worker;

revoke all on function private.marks() from public;

grant execute on function private.marks() to authenticated;

revoke all on function private.may_download_object(text, text) from public;

grant execute on function private.may_download_object(text, text) to authenticated;

revoke all on function private.mirror_confirmation() from public;

revoke all on function private.money_waiting() from public;

grant execute on function private.money_waiting() to avenue_worker;

revoke all on function private.note_password_change() from public;

revoke all on function private.notice_actors(public.notifications) from public;

revoke all on function private.ordered_at(uuid, uuid) from public;

grant execute on function private.ordered_at(uuid, uuid) to authenticated;

revoke all on function private.pair(uuid, uuid) from public;

revoke all on function private.pay_refund_outside(uuid, text, text) from public;

grant execute on function private.pay_refund_outside(uuid, text, text) to avenue_worker;

revoke all on function private.payment_unknown(uuid) from public;

grant execute on function private.payment_unknown(uuid) to avenue_worker;

revoke all on function private.payments_to_cancel(integer) from public;

grant execute on function private.payments_to_cancel(integer) to avenue_worker;

revoke all on function private.person_of(jsonb) from public;

revoke all on function private.plain_name(text) from public;

revoke all on function private.prepare_onboarding(uuid, boolean, timestamp with time zone, text) from public;

grant execute
    on function private.prepare_onboarding(uuid, boolean, timestamp with time zone, text)
    to avenue_worker;

revoke all on function private.provider_key(uuid) from public;

revoke all on function private.read_lines(uuid, jsonb) from public;

revoke all on function private.reads_or_lists() from public;

grant execute on function private.reads_or_lists() to authenticated;

revoke all on function private.redo_refund(uuid, text, uuid, text) from public;

revoke all on function private.refund_line(uuid, bigint, text, public.refund_origin) from public;

revoke all on function private.refunds_to_resume(integer) from public;

grant execute on function private.refunds_to_resume(integer) to avenue_worker;

revoke all on function private.renew_notices() from public;

revoke all on function private.renew_notifications(uuid[]) from public;

revoke all on function private.require_group_rank_over(uuid, uuid) from public;

revoke all on function private.require_keys(jsonb, text[], text) from public;

grant execute on function private.require_keys(jsonb, text[], text) to authenticated;

revoke all on function private.require_rank_over(uuid) from public;

revoke all on function private.retry_refund(uuid, text) from public;

grant execute on function private.retry_refund(uuid, text) to avenue_worker;

revoke all on function private.return_payout(uuid, bigint) from public;

revoke all on function private.review_address_bans(boolean) from public;

revoke all on function private.search_query(text) from public;

grant execute on function private.search_query(text) to anon, authenticated;

grant execute on function private.search_query(text) to service_role;

revoke all on function private.search_text(text) from public;

grant execute on function private.search_text(text) to anon, authenticated;

grant execute on function private.search_text(text) to service_role;

revoke all on function private.search_vector(text, text[], text) from anon;

grant execute on function private.search_vector(text, text[], text) to anon;

revoke all on function private.search_vector(text, text[], text) from authenticated;

grant execute on function private.search_vector(text, text[], text) to authenticated;

revoke all on function private.search_vector(text, text[], text) from service_role;

grant execute on function private.search_vector(text, text[], text) to service_role;

revoke all on function private.set_payout_approved(uuid) from public;

revoke all on function private.set_payout_destination(uuid, text, boolean) from public;

grant execute on function private.set_payout_destination(uuid, text, boolean) to avenue_worker;

revoke all on function private.settle_further_charge(public.payments, text) from public;

revoke all on function private.spendable_cents(uuid, uuid, bigint) from public;

revoke all on function private.tag_form(text) from public;

grant execute on function private.tag_form(text) to authenticated;

revoke all on function private.tell_mentioned(uuid[], uuid, text, uuid, text) from public;

revoke all on function private.tell_refund_request() from public;

revoke all on function private.tidy_body(text) from public;

grant execute on function private.tidy_body(text) to authenticated;

revoke all on function private.tidy_name(text) from public;

grant execute on function private.tidy_name(text) to authenticated;

revoke all on function private.tidy_object(jsonb) from public;

revoke all on function private.tidy_texts() from public;

revoke all on function private.to_latin(text) from public;

revoke all on function private.username_problem(text, uuid) from public;

revoke all on function private.utc(timestamp with time zone) from public;

revoke all on function private.why_foreign(private.webhook_events) from public;

revoke all on function private.without_persons(jsonb) from public;

grant execute on function public.accept_message_request(uuid) to authenticated;

grant execute on function public.decline_message_request(uuid) to authenticated;

grant execute on function public.delete_my_account(bigint) to authenticated;

grant execute on function public.delivery(public.order_items) to authenticated;

grant execute on function public.error_catalog() to anon, authenticated;

grant execute on function public.export_my_data(text, jsonb) to authenticated;

grant execute on function public.inbox(timestamp with time zone, uuid, integer, boolean) to authenticated;

grant execute on function public.lift_address_ban(text) to authenticated;

grant execute on function public.lift_limits(uuid, timestamp with time zone) to authenticated;

grant execute on function public.my_limits() to authenticated;

grant execute on function public.order_number(public.order_items) to authenticated;

grant execute on function public.pay_refund_outside(uuid, text) to authenticated;

grant execute on function public.rejoin_conversation(uuid) to authenticated;

grant execute on function public.release_sale_review(uuid, text) to authenticated;

grant execute on function public.request_payout(bigint, text) to authenticated;

grant execute on function public.retry_refund(uuid) to authenticated;

grant execute
    on function public.search_catalog(text, public.catalog_kind, text, text[], bigint, bigint, timestamp
        with time zone, uuid, integer)
    to anon, authenticated;

revoke all
    on function public.search_catalog(text, public.catalog_kind, text, text[], bigint, bigint, timestamp
        with time zone, uuid, integer)
    from postgres;

grant execute on function public.set_hold_limit(uuid, integer) to authenticated;

grant execute on function public.set_profile_visibility(public.profile_visibility) to authenticated;

grant execute on function public.take_down_file(uuid, text) to authenticated;

grant execute on function public.unread_counts() to authenticated;

revoke all on schema private from avenue_estimates;

grant usage on schema private to avenue_estimates;

revoke all on schema public from avenue_estimates;

grant usage on schema public to avenue_estimates;

revoke all (article_id) on table public.article_likes from authenticated;

grant insert (article_id), update (article_id) on table public.article_likes to authenticated;

revoke all on table public.catalog_items from avenue_estimates;

grant select on table public.catalog_items to avenue_estimates;

revoke all on table public.categories from avenue_estimates;

grant select on table public.categories to avenue_estimates;

revoke all (comment_id) on table public.comment_likes from authenticated;

grant insert (comment_id), update (comment_id) on table public.comment_likes to authenticated;

revoke all (item_id) on table public.favorites from authenticated;

grant insert (item_id), update (item_id) on table public.favorites to authenticated;

revoke all on table public.fee_schedules from avenue_estimates;

grant select on table public.fee_schedules to avenue_estimates;

revoke all (following_id) on table public.follows from authenticated;

grant insert (following_id), update (following_id) on table public.follows to authenticated;

revoke all on table public.genres from avenue_estimates;

grant select on table public.genres to avenue_estimates;

revoke all on table public.mail_bounces from authenticated;

grant delete, select on table public.mail_bounces to authenticated;

revoke all on table public.mail_bounces from service_role;

grant select on table public.mail_bounces to service_role;

revoke all on table public.plans from avenue_estimates;

grant select on table public.plans to avenue_estimates;

revoke all (post_id) on table public.post_likes from authenticated;

grant insert (post_id), update (post_id) on table public.post_likes to authenticated;

revoke all (post_id) on table public.post_shares from authenticated;

grant insert (post_id), update (post_id) on table public.post_shares to authenticated;

revoke all (artwork_id) on table public.product_files from authenticated;

grant insert (artwork_id) on table public.product_files to authenticated;

revoke all (avatar_url) on table public.profiles from avenue_estimates;

grant select (avatar_url) on table public.profiles to avenue_estimates;

revoke all (display_name) on table public.profiles from avenue_estimates;

grant select (display_name) on table public.profiles to avenue_estimates;

revoke all (handle) on table public.profiles from avenue_estimates;

grant select (handle) on table public.profiles to avenue_estimates;

revoke all (id) on table public.profiles from avenue_estimates;

grant select (id) on table public.profiles to avenue_estimates;

revoke all (username) on table public.profiles from avenue_estimates;

grant select (username) on table public.profiles to avenue_estimates;

revoke all on table public.sale_reviews from authenticated;

grant select on table public.sale_reviews to authenticated;

revoke all on table public.sale_reviews from service_role;

grant select on table public.sale_reviews to service_role;

revoke all on table public.skills from avenue_estimates;

grant select on table public.skills to avenue_estimates;

revoke all (blocked_id) on table public.user_blocks from authenticated;

grant insert (blocked_id), update (blocked_id) on table public.user_blocks to authenticated;

revoke all (category_id) on table public.user_categories from authenticated;

grant insert (category_id), update (category_id) on table public.user_categories to authenticated;

revoke all (genre_id) on table public.user_genres from authenticated;

grant insert (genre_id), update (genre_id) on table public.user_genres to authenticated;

revoke all (skill_id) on table public.user_skills from authenticated;

grant insert (skill_id), update (skill_id) on table public.user_skills to authenticated;

alter table private.reserved_usernames
    add column plain text generated always as (private.plain_name((username)::text)) stored not null;

comment on column private.reserved_usernames.plain is 'The name as plain_name() makes it.';

alter table public.artist_profiles
    add constraint artist_profiles_social_links_check
        check
        (((jsonb_typeof(social_links) = 'object'::text) AND (octet_length((social_links)::text) <= 8192) AND
        private.hides_nothing((jsonb_path_query_array(social_links, '$.*'::jsonpath))::text) AND
        (NOT jsonb_path_exists(social_links,
        'strict $.*?(@.type() != "string" || !(@ like_regex "^https?://[^[:space:]\"<>]+$"))'::jsonpath))));

comment on constraint artist_profiles_social_links_check on public.artist_profiles is 'invalid_social_links: Social links are an object of http(s) addresses, at most 8 kB.';

alter domain public.http_url
    add constraint http_url_check
        check
        (((VALUE ~ '^https?://[^[:space:][:cntrl:]"<>\\^`{|}]+$'::text) AND (char_length(VALUE) <= 2048) AND
        private.hides_nothing(VALUE)));

comment on constraint http_url_check on domain public.http_url is 'invalid_url: An address begins with http:// or https:// and has at most 2,048 characters, no spaces, all visible.';

alter domain public.http_urls
    add constraint http_urls_check
        check
        (((array_to_string(VALUE, ' '::text, ''::text) ~ '^(https?://[^[:space:][:cntrl:]"<>\\^`{|}]+( |$))*$'::text)
        AND (array_position(VALUE, NULL::text) IS NULL) AND (cardinality(VALUE) <= 30) AND
        (char_length(array_to_string(VALUE, ' '::text)) <= 30720) AND
        private.hides_nothing(array_to_string(VALUE, ' '::text, ''::text))));

comment on constraint http_urls_check on domain public.http_urls is 'invalid_url: At most 30 addresses, each beginning with http:// or https://.';

alter table public.posts
    add constraint posts_link_preview_check check (((link_preview IS NULL) OR ((link_url IS
        NOT NULL) AND (jsonb_typeof(link_preview) = 'object'::text) AND (octet_length((link_preview)::text) <= 5000) AND
        ((link_preview - '{title,description,image}'::text[]) = '{}'::jsonb) AND
        (COALESCE((link_preview ->> 'image'::text), 'https://-'::text) ~
        '^https?://[^[:space:][:cntrl:]"<>\\^`{|}]+$'::text) AND
        private.hides_nothing((link_preview ->> 'image'::text)))));

comment on constraint posts_link_preview_check on public.posts is 'invalid_link_preview: A preview belongs to a link and has title, description and image only, at most 5 kB.';

alter table public.profiles
    add constraint profiles_smart_link_check
        check
        (((smart_link ~* '^https?://(www\.)?rolink\.me/[^[:space:][:cntrl:]"<>\\]*$'::text) AND (char_length(smart_link)
        <= 500) AND private.hides_nothing(smart_link)));

comment on constraint profiles_smart_link_check on public.profiles is 'invalid_smart_link: A smart link is a rolink.me address of at most 500 characters.';

create index catalog_items_title_trgm_idx on public.catalog_items
    using gin (private.search_text(title) extensions.gin_trgm_ops)
    where is_listed;

create index groups_name_words_idx on public.groups using gin (private.search_vector(name, null::text[], null::text));

create index profiles_display_name_words_idx on public.profiles
    using gin (private.search_vector(display_name, null::text[], null::text));

-- What the pages say besides ------------------------------------------------------------------------------------------

-- Generated and never null: said, so that typed clients know.
alter table public.products alter column is_free set not null;
alter table public.order_items alter column total_cents set not null;
alter table public.wallets alter column total_earned_cents set not null;
alter table public.wallets alter column total_withdrawn_cents set not null;
alter table public.wallets alter column payouts_enabled set not null;

-- Texts are not sampled, see sql/97_statistics.
alter table public.app_settings alter column workers_url set statistics 0;
alter table public.book_corrections alter column account set statistics 0;
alter table public.book_corrections alter column reason set statistics 0;
alter table public.catalog_items alter column seller_id set statistics 0;
alter table public.mail_bounces alter column reason set statistics 0;
alter table public.order_items alter column description set statistics 0;
alter table public.order_items alter column license_text set statistics 0;
alter table public.product_files alter column object_version set statistics 0;
alter table public.refund_requests alter column note set statistics 0;
alter table public.refund_requests alter column reason set statistics 0;

-- "letter latin" pairs; - is no sound.
insert into private.transliterations (letter, latin)
select pair[1], replace(pair[2], '-', '')
from regexp_matches(
    -- Cyrillic
    'а a б b в v г g д d е e ё yo ж zh з z и i й y к k л l м m н n о o п p р r с s т t у u ф f х kh ц ts ч ch ш sh '
    'щ shch ъ - ы y ь - э e ю yu я ya і i ї yi є ye ґ g ў u ђ dj ј j љ lj њ nj ћ c џ dz ѓ gj ѕ dz ќ kj ә a ғ gh қ q '
    'ң ng ө o ұ u ү u һ h ҳ h ҷ j ӣ i ӯ u '
    -- Greek
    'α a β v γ g δ d ε e ζ z η i θ th ι i κ k λ l μ m ν n ξ x ο o π p ρ r σ s ς s τ t υ y φ f χ ch ψ ps ω o '
    -- Armenian
    'ա a բ b գ g դ d ե e զ z է e ը y թ t ժ zh ի i լ l խ kh ծ ts կ k հ h ձ dz ղ gh ճ ch մ m յ y ն n շ sh ո o չ ch պ p '
    'ջ j ռ r ս s վ v տ t ր r ց ts ւ v փ p ք k օ o ֆ f '
    -- Georgian
    'ა a ბ b გ g დ d ე e ვ v ზ z თ t ი i კ k ლ l მ m ნ n ო o პ p ჟ zh რ r ს s ტ t უ u ფ p ქ k ღ gh ყ q შ sh ჩ ch ც ts '
    'ძ dz წ ts ჭ ch ხ kh ჯ j ჰ h '
    -- Hebrew and Arabic, which seldom write vowels
    'א a ב b ג g ד d ה h ו v ז z ח ch ט t י y כ k ך k ל l מ m ם m נ n ן n ס s ע - פ p ף f צ ts ץ ts ק k ר r ש sh ת t '
    'ا a ب b ت t ث th ج j ح h خ kh د d ذ dh ر r ز z س s ش sh ص s ض d ط t ظ z ع - غ gh ف f ق q ك k ل l م m ن n ه h '
    'و w ي y ى a ة a ء - أ a إ i آ a ؤ w ئ y پ p چ ch ژ zh گ g ک k ی y '
    '٠ 0 ١ 1 ٢ 2 ٣ 3 ٤ 4 ٥ 5 ٦ 6 ٧ 7 ٨ 8 ٩ 9 ۰ 0 ۱ 1 ۲ 2 ۳ 3 ۴ 4 ۵ 5 ۶ 6 ۷ 7 ۸ 8 ۹ 9 '
    -- Devanagari
    'अ a आ a इ i ई i उ u ऊ u ऋ ri ए e ऐ ai ओ o औ au ा a ि i ी i ु u ू u ृ ri े e ै ai ो o ौ au ं n ँ n ः h ् - '
    'क k ख kh ग g घ gh ङ n च ch '
    'छ chh ज j झ jh ञ n ट t ठ th ड d ढ dh ण n त t थ th द d ध dh न n प p फ ph ब b भ bh म m य y र r '
    'ल l ळ l व v श sh ष sh स s ह h ० 0 १ 1 २ 2 ३ 3 ४ 4 ५ 5 ६ 6 ७ 7 ८ 8 ९ 9 ',
    '(\S) (\S+)', 'g'
) as pair;

-- Kana: Katakana lie 96 places behind Hiragana.
insert into private.transliterations (letter, latin)
select chr(ascii(pair[1]) + shift.places), pair[2]
from regexp_matches(
    'あ a い i う u え e お o か ka き ki く ku け ke こ ko が ga ぎ gi ぐ gu げ ge ご go さ sa し shi す su せ se そ so '
    'ざ za じ ji ず zu ぜ ze ぞ zo た ta ち chi つ tsu て te と to だ da ぢ ji づ zu で de ど do な na に ni ぬ nu ね ne '
    'の no は ha ひ hi ふ fu へ he ほ ho ば ba び bi ぶ bu べ be ぼ bo ぱ pa ぴ pi ぷ pu ぺ pe ぽ po ま ma み mi む mu '
    'め me も mo や ya ゆ yu よ yo ら ra り ri る ru れ re ろ ro わ wa を o ん n ゔ vu っ + ゃ ^ya ゅ ^yu ょ ^yo ぁ ^a '
    'ぃ ^i ぅ ^u ぇ ^e ぉ ^o ',
    '(\S) (\S+)', 'g'
) as pair
cross join (values (0), (96)) as shift (places);

insert into private.transliterations (letter, latin) values ('ー', '');

-- Hangul's letters as syllables fall apart into them: first consonants, vowels, last consonants.
insert into private.transliterations (letter, latin)
select chr(part.first + l.place::integer - 1), replace(l.latin, '-', '')
from (
    values
    (4352, 'g kk n d tt r m b pp s ss - j jj ch k t p h'),
    (4449, 'a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i'),
    (4520, 'k k ks n nj nh t l lk lm lb ls lt lp lh m p ps t t ng t t k t p h')
) as part (first, letters)
cross join regexp_split_to_table(part.letters, ' ') with ordinality as l (latin, place);

insert into private.error_codes (code, sqlstate, message, description) values
('text_not_visible', 'PT400', 'Please write something that can be seen.',
'The text in the detail (a column) is missing or made of spaces and invisible characters only.');

-- Stripe's own ids are shorter; only what somebody forged could be longer.
alter table private.webhook_events validate constraint webhook_events_event_id_check;
alter table private.webhook_events validate constraint webhook_events_type_check;

grant execute on function public.search_catalog(
    text, public.catalog_kind, text, text[], bigint, bigint, timestamptz, uuid, integer
) to postgres;

create or replace function private.refresh_blocked_inboxes() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    blockers uuid [];
    blocked uuid [];
begin
    -- The end of an account holds its conversations already and leaves nothing to count. Until then its messages are
    -- there, and whoever takes back a block on somebody who is leaving reads them again.
    select array_agg(c.blocker_id), array_agg(c.blocked_id) into blockers, blocked
    from changed as c
    where not exists (
        select from public.profiles as p
        where
            p.deleted_at is not null
            and (p.id = c.blocker_id or p.id = c.blocked_id and c.blocker_id is distinct from auth.uid())
    );
    perform private.hold_key(hashtextextended('sends:' || u.id, 0))
    from (select distinct p.id from unnest(blockers || blocked) as p (id) order by p.id) as u;
    perform from public.conversations as c
    where c.id in (select private.shared_conversations(p.one, p.other) from unnest(blockers, blocked) as p (one, other))
    order by c.id
    for no key update;
    -- Whoever else holds one of them now has just brought one of the two in, who missed nothing.
    perform private.refresh_inbox(l.id, array[b.blocker_id, b.blocked_id])
    from changed as b
    cross join lateral (
        select c.id from public.conversations as c
        where c.id in (select private.shared_conversations(b.blocker_id, b.blocked_id))
        for no key update skip locked
    ) as l;
    return null;
end
$$;

-- Reference data -----------------------------------------------------------------------------------------------------

delete from private.error_codes where code = 'slug_taken';
insert into private.error_codes (code, sqlstate, message, description) values
('account_required', 'PT403', 'Please create an account.', 'An anonymous session looks around like a visitor; everything else needs an account.'),
('visibility_required', 'PT400', 'Please choose who may see the profile.', 'public, members_only or private.'),
('invalid_preferences', 'PT400', 'These notification preferences are not valid.', 'An object of notification types (or digest), each an object of the switches in_app and email. The detail names what is unknown.'),
('balance_remains', 'PT409', 'There is still money in this account.', 'The detail names the amounts in cents as JSON: available_cents, pending_cents, payouts_cents (on their way) and their sum forfeit_cents. Ask for a payout first, or call delete_my_account with that forfeit_cents: it will not be paid out.'),
('section_not_found', 'PT404', 'There is no such section.', 'Call with a section and an after as more named them.'),
('file_not_found', 'PT404', 'This file does not exist.', 'None with that id, or it was taken down already.'),
('artwork_not_digital', 'PT409', 'Only a digital artwork has files.', 'Set the artwork''s category to digital first.'),
('too_many_items', 'PT400', 'These are too many items for one order.', 'At most 50; split the order.'),
('hold_paused', 'PT429', 'You held this item a moment ago.', 'A one-of-a-kind item is held for one buyer at a time, once: whoever did not pay in time waits before the next try. The detail names the item and says until when (UTC). A wallet pays at once and needs no hold.'),
('too_many_holds', 'PT429', 'You are holding too many one-of-a-kind items.', 'The detail says how many may be held and until when the first hold lasts (UTC). Pay or cancel one. Admins can allow more.'),
('invalid_hold_limit', 'PT400', 'This limit is not allowed.', 'Between 0 and 1000; null for the platform''s limit.'),
('refund_not_failed', 'PT409', 'This refund has not failed.', 'Only a failed or cancelled refund is made again.'),
('reference_required', 'PT400', 'A reference of 1 to 200 characters is required.', 'Name the payment by which the buyer got the money.'),
('reference_used', 'PT409', 'This reference was used before.', 'One payment makes one refund good.'),
('too_many_actions', 'PT429', 'Too many of these in a short time. Please wait.', 'The caller has used up a limit, which is lower while the account is fresh; see my_limits(). The detail says until when (ISO 8601, UTC). One request for more than a whole period allows never passes: send less at once.'),
('left_chat', 'PT409', 'Who left a chat is not added again.', 'The detail lists the ids of those who left. They come back by themselves, with rejoin_conversation().'),
('request_pending', 'PT409', 'Please wait for an answer.', 'The other one does not know the caller and has not accepted the conversation; until then only a few messages go there.'),
('tags_changed', 'PT409', 'The tags changed meanwhile.', 'Somebody changed the same tags at the same instant. Try again.'),
('username_reserved', 'PT409', 'This username is reserved.', 'The name is used by the platform, or looks as if it spoke for it. Choose another.'),
('username_taken', 'PT409', 'This username is taken.', 'Somebody else has it, perhaps in other letter case, or gave it up less than 90 days ago. Choose another. When two people choose the same name at the same instant the loser gets SQLSTATE 23505 instead.'),
('product_has_no_files', 'PT409', 'This product has no files.', 'A product on sale needs at least one row in product_files: upload to the bucket product-files, add the row, then set status active. The last file of a product on sale or once ordered is only replaced: add the new one first.'),
('too_many_files', 'PT409', 'An item has at most 100 files.', 'Pack them into an archive.'),
('price_too_low', 'PT400', 'The offered price is below the minimum.', 'Name-your-price items have a minimum; the detail names the item and states it. A paid price is at least 50 cents.'),
('invalid_checkout', 'PT400', 'The checkout request is malformed.', 'The detail names the offending part, and the keys that are known where another was sent.'),
('empty_checkout', 'PT400', 'There is nothing to buy.', 'The cart is empty, or no items were sent.'),
('price_changed', 'PT409', 'The price has risen.', 'The detail names the item. Show the new price and let the buyer decide: put the item in the cart again (an upsert), or send the new price as offered_price_cents. A lower price is charged without asking.'),
('insufficient_funds', 'PT402', 'The balance is not sufficient.', 'The wallet does not hold enough money for this payment, payout or refund: debts and refunds under way count. A seller''s refund may make a small debt, the detail says how much; beyond it ask an admin.'),
('reason_required', 'PT400', 'A reason is required.', 'Give people 1 to 500 characters they can read; for a report, one of the values of report_reason.'),
('fresh_login_required', 'PT403', 'Please sign in again.', 'Opening or changing the payout destination needs a recent sign-in; the detail says how recent, and by what.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;
insert into private.activity_limits (kind, fresh, established, period, description) values
('post', 20, 60, '00:01:00', 'Posts'),
('comment', 60, 240, '00:01:00', 'Comments'),
('mention', 30, 200, '01:00:00', 'People mentioned'),
('contact', 20, 100, '1 day', 'Strangers written to or brought into a chat'),
('follow', 100, 500, '01:00:00', 'People followed'),
('block', 100, 500, '01:00:00', 'People blocked'),
('report', 20, 60, '01:00:00', 'Reports'),
('group', 50, 200, '1 day', 'Groups founded'),
('invitation', 100, 500, '1 day', 'Invitations to groups'),
('username', 10, 10, '1 day', 'Usernames changed')
;
insert into private.counters (counter, relation, key, count_column, truth) values
('poll_options.votes_count', 'public.poll_options', 'id', 'votes_count', 'select option_id, sum(votes) from (select option_id, 1 as votes from public.poll_votes union all select option_id, votes from private.kept_votes) as v group by 1')
on conflict (counter) do update
set relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;
insert into private.cursors (name) values ('events:stripe') on conflict do nothing;
insert into private.cursors (name, position) values ('event_persons', 0) on conflict do nothing;
insert into private.erasure_steps (step, position, statement, batch) values
('freed_usernames', 0, 'update private.freed_usernames set former_owner = null where former_owner = $1', null),
('products', 1, 'select private.erase_products($1)', 'select 10 * private.erase_products($1, 1 + $2 / 10)'),
('artworks', 1, 'select private.erase_artworks($1)', 'select 10 * private.erase_artworks($1, 1 + $2 / 10)'),
('hold_periods', 0, 'delete from private.hold_periods where user_id = $1', null),
('hold_limits', 0, 'delete from private.hold_limits where user_id = $1', null),
('payments',  -10, '
    select private.stop_payment(p.id, ''account_deleted'') from public.payments as p
    where p.user_id = $1 and p.status in (''requires_payment'', ''processing'', ''failed'')
    order by p.id
', null),
('password_changes', 0, 'delete from private.password_changes where user_id = $1', null),
('webhook_events', 0, 'select private.forget_event_persons($1)', null),
('activity', 10, 'delete from private.activity where user_id = $1', null),
('lifted_limits', 10, 'delete from private.lifted_limits where user_id = $1', null),
('told_mentions', 60, 'delete from private.told_mentions where user_id = $1', null),
('mail_bounces', 6, 'delete from public.mail_bounces where user_id = $1', null),
('follows',  -20, 'select private.erase_follows($1)', 'select private.erase_rows(''public.follows'', ''t.follower_id = $1 or t.following_id = $1'', $1, $2)'),
('article_likes', 20, 'delete from public.article_likes where user_id = $1', 'select private.erase_rows(''public.article_likes'', ''user_id = $1'', $1, $2)'),
('articles', 40, 'delete from public.articles where author_id = $1', 'select 10 * private.erase_rows(''public.articles'', ''author_id = $1'', $1, 1 + $2 / 10)'),
('post_likes', 20, 'delete from public.post_likes where user_id = $1', 'select private.erase_rows(''public.post_likes'', ''user_id = $1'', $1, $2)'),
('post_shares', 21, 'delete from public.post_shares where user_id = $1', 'select private.erase_rows(''public.post_shares'', ''user_id = $1'', $1, $2)'),
('posts', 30, 'delete from public.posts where user_id = $1', 'select 10 * private.erase_rows(''public.posts'', ''user_id = $1'', $1, 1 + $2 / 10)'),
('poll_votes', 22, 'delete from public.poll_votes where user_id = $1', 'select private.erase_rows(''public.poll_votes'', ''user_id = $1'', $1, $2)'),
('comment_likes', 22, 'delete from public.comment_likes where user_id = $1', 'select private.erase_rows(''public.comment_likes'', ''user_id = $1'', $1, $2)'),
('comments', 24, 'delete from public.comments where user_id = $1', 'select 5 * private.erase_rows(''public.comments'', ''user_id = $1'', $1, 1 + $2 / 5)'),
('favorites', 20, 'delete from public.favorites where user_id = $1', 'select private.erase_rows(''public.favorites'', ''user_id = $1'', $1, $2)'),
('conversation_locks',  -25, 'select private.lock_written_conversations($1)', null),
('messages', 20, 'select private.erase_messages($1)', 'select private.erase_some_messages($1, $2)'),
('notifications', 5, 'select private.delete_notifications(array(select n.id from public.notifications as n where n.user_id = $1 or n.actor_id = $1))', 'select private.erase_rows(''public.notifications'', ''t.user_id = $1 or t.actor_id = $1'', $1, $2)'),
('mails', 5, 'delete from private.mails where user_id = $1', 'select private.erase_rows(''private.mails'', ''user_id = $1'', $1, $2)'),
('tag_uses', 60, 'delete from private.tag_uses where user_id = $1', 'select private.erase_rows(''private.tag_uses'', ''user_id = $1'', $1, $2)')
on conflict (step) do update
set position = excluded.position, statement = excluded.statement, batch = excluded.batch;
insert into private.notification_types (type, title, message, collapse, link_template, collapse_unread, email, can_switch_off, is_anonymous, outlives_content, reaches_banned) values
('refund_request', 'Refund asked for', 'A buyer asks for a refund; please answer in time.', null, '/refund_requests/{related_id}', false, 'immediate', false, false, true, false),
('refund_request_answered', 'Answer to your refund request', 'Your request for a refund was answered or has expired.', null, '/refund_requests/{related_id}', false, 'immediate', false, false, true, false)
;
insert into private.personal_data (section, relation, condition) values
('freed_usernames', 'private.freed_usernames', 't.former_owner = $1'),
('hold_periods', 'private.hold_periods', 't.user_id = $1'),
('hold_limits', 'private.hold_limits', 't.user_id = $1'),
('activity', 'private.activity', 't.user_id = $1'),
('lifted_limits', 'private.lifted_limits', 't.user_id = $1'),
('left_chats', 'private.chat_departures', 't.user_id = $1'),
('told_mentions', 'private.told_mentions', 't.user_id = $1'),
('mail_bounces', 'public.mail_bounces', 't.user_id = $1'),
('product_files', 'public.product_files', 't.item_id in (select c.id from public.catalog_items as c where c.seller_id = $1)')
on conflict (section) do update
set relation = excluded.relation, condition = excluded.condition;
insert into private.reserved_usernames (username, is_official) values
('admin', true),
('administrator', true),
('admins', true),
('moderator', true),
('moderators', true),
('official', true),
('staff', true),
('super_admin', true),
('superadmin', true),
('support', true),
('customercare', true),
('customerservice', true),
('mod', true),
('moderation', true),
('mods', true),
('sysadmin', true),
('abuse', false),
('care', false),
('hostmaster', false),
('pay', false),
('payment', false),
('payments', false),
('payout', false),
('refund', false),
('refunds', false),
('safety', false),
('service', false),
('trust', false),
('verification', false),
('verified', false)
on conflict (username) do update
set is_official = excluded.is_official;
insert into private.standing_steps (step, position, statement) values
('catalog_items', 10, 'select private.follow_seller_standing($1, $2)'),
('articles', 15, 'select private.follow_article_author($1, $2)'),
('posts', 20, 'select private.follow_author_of_posts($1, $2)'),
('comments', 30, 'select private.follow_author_of_comments($1, $2)'),
('notifications', 90, 'select private.forget_actor_notifications($1, $2)')
;
insert into ledger.accounts (owner_id, code) values ('00000000-0000-0000-0000-000000000000', 'bank')
on conflict do nothing;
