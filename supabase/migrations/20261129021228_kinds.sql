-- One vocabulary of kinds: what is reported, hidden, told of, audited and sold is named by the same word, a row of
-- private.kinds; shared code asks a kind through functions built from these rows. Words that were enums become text.
--
-- For a quiet hour: catalog_items, notifications, reports, hidden_content, mails and notification_types are rewritten
-- under an exclusive lock, their indexes built anew; each notification and each line of the audit log gets its new word.
-- Clients: report_content(), hide_content() and restore_content() take the kind of an item (product, artwork) instead of
-- 'item'; notifications.related_type and audit_log.target_type say post instead of posts; profiles.products_count and
-- artworks_count are rows of profile_counts.
-- squawk-ignore-file adding-foreign-key-constraint, ban-drop-column, ban-drop-constraint, ban-drop-default, ban-drop-function, ban-drop-not-null, ban-drop-type, changing-column-type, constraint-missing-not-valid, require-concurrent-index-creation, require-concurrent-index-deletion

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

set local check_function_bodies = off;

drop index public.notifications_collapse_idx;

drop index public.notifications_unread_message_idx;

alter table public.profiles
    drop constraint profiles_counts_check;

drop function private.add_comments(private.comment_target, uuid[], integer[]);

drop function private.can_read(public.content_type, uuid);

drop function private.content_of(public.content_type, uuid, uuid);

drop function private.count_published_item(public.catalog_kind, uuid, integer);

drop function private.lock_content(public.content_type, uuid);

drop function private.mail_notification(uuid, uuid, public.notification_type);

drop function private.message_evidence(uuid, uuid);

drop function private.moderate(public.content_type, uuid, boolean, text, boolean);

drop function private.notify(uuid, public.notification_type, uuid, text, uuid, text);

drop function private.place_of(public.content_type, uuid);

drop function private.set_hidden(public.content_type, uuid, text);

drop function private.store_report(public.content_type, uuid, public.report_reason, text);

drop function public.hide_content(public.content_type, uuid, text);

drop function public.moderation_queue(timestamp with time zone, uuid, integer);

drop function public.report_content(public.content_type, uuid, public.report_reason, text);

drop function public.restore_content(public.content_type, uuid);

drop function public.search_catalog(text, public.catalog_kind, text, text[], bigint, bigint, timestamp
    with time zone, uuid, integer);

drop type private.comment_target;

alter table private.notification_types
    alter column link_template drop default;

create table private.hooks (
    hook text not null,
    parameters text not null default ''::text,
    returns text not null,
    as_caller boolean not null default false,
    otherwise text,
    needs text[] not null default '{}'::text[],
    refusal text not null,
    meaning text not null,
    constraint hooks_pkey primary key (hook)
);

alter table private.hooks
    enable row level security;

create table private.kinds (
    kind text not null,
    relation text not null,
    owner_column text,
    page text,
    hooks text[] not null default '{}'::text[],
    constraint kinds_kind_check check ((kind ~ '^[a-z]+(_[a-z]+)*$'::text)),
    constraint kinds_pkey primary key (kind),
    constraint kinds_relation_key unique (relation)
);

alter table private.kinds
    enable row level security;

create table public.profile_counts (
    user_id uuid not null,
    kind text not null,
    published_count integer not null default 0,
    constraint profile_counts_pkey primary key (user_id, kind),
    constraint profile_counts_published_count_check check ((published_count >= 0))
);

alter table public.profile_counts
    enable row level security;

alter table private.mails
    alter column type drop default;

alter table private.mails
    alter column type type text using type::text;

alter table private.notification_types
    alter column link_template drop not null;

alter table private.notification_types
    alter column type drop default;

alter table private.notification_types
    alter column type type text using type::text;

alter table public.catalog_items
    alter column kind drop default;

alter table public.catalog_items
    alter column kind type text using kind::text;

alter table public.hidden_content
    alter column target_type drop default;

alter table public.hidden_content
    alter column target_type type text using target_type::text;

alter table public.notifications
    alter column type drop default;

alter table public.notifications
    alter column type type text using type::text;

drop type public.notification_type;

alter table public.reports
    alter column target_type drop default;

alter table public.reports
    alter column target_type type text using target_type::text;

drop type public.content_type;

create type private.content_state as (
    id uuid,
    is_hidden boolean
);

alter type private.catalog_entry alter attribute kind type text cascade;

drop type public.catalog_kind;

drop type private.content_place;

create type private.content_place as (
    id uuid,
    author_id uuid,
    group_id uuid
);

drop type private.reported_content;

create type private.reported_content as (
    id uuid,
    author_id uuid,
    content jsonb
);

create or replace function private.add_comments (
    counter text,
    ids uuid[],
    changes integer[]
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    change integer := changes[1];
begin
    if cardinality(ids) > 1 then
        perform private.add_counts(counter, ids, changes);
    elsif counter = 'posts.comments_count' then
        if exists (select from public.posts as p where p.id = ids[1]) then
            change := private.claim_count(counter, ids[1], change);
            if change is not null then
                update public.posts as p set comments_count = p.comments_count + change where p.id = ids[1];
            end if;
        end if;
    elsif counter = 'catalog_items.comments_count' then
        if exists (select from public.catalog_items as i where i.id = ids[1]) then
            change := private.claim_count(counter, ids[1], change);
            if change is not null then
                update public.catalog_items as i set comments_count = i.comments_count + change where i.id = ids[1];
            end if;
        end if;
    elsif exists (select from public.articles as a where a.id = ids[1]) then
        change := private.claim_count(counter, ids[1], change);
        if change is not null then
            update public.articles as a set comments_count = a.comments_count + change where a.id = ids[1];
        end if;
    end if;
end
$function$;

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
            perform private.audit('refund_failed_after_resale', 'transaction', sale.id, to_jsonb(line));
        else
            update public.purchases as p set
                order_item_id = sale.order_item_id, price_cents = sale.amount_total_cents - sale.amount_tax_cents,
                revoked_at = null
            where p.buyer_id = sale.buyer_id and p.item_id = sale.related_id and p.revoked_at is not null;
        end if;
    end if;
end
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
    perform private.audit('approve_payout', 'payout', payout_id, '{}', approve_payout.approved_by);
    return payout.status;
end
$function$;

create or replace function private.audit_taxonomy()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- Migrations that correct reference data are nobody's action.
    if auth.uid() is not null then
        perform private.audit(
            'update_' || tg_table_name,
            (select k.kind from private.kinds as k where k.relation = format('%I.%I', tg_table_schema, tg_table_name)),
            new.id,
            jsonb_build_object(
                'before', to_jsonb(old) - '{id,created_at,updated_at}'::text [],
                'after', to_jsonb(new) - '{id,created_at,updated_at}'::text []
            )
        );
    end if;
    return null;
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
            perform private.audit('ban_returned', 'profile', new.id, '{}', 'sign-up');
        end if;
    end if;
    return null;
exception when others then
    -- Never in the way of Auth.
    raise warning 'whether % was banned before is not known: %', new.id, sqlerrm;
    return null;
end
$function$;

create or replace function private.build_dispatch()
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
declare
    hook private.hooks;
    branches text;
    name text;
begin
    for hook in select * from private.hooks as h order by h.hook loop
        select string_agg(
            format(E'        when %L then\n            %s;\n', k.kind, private.hook_branch(k, hook)), '' order by k.kind
        ) into branches
        from private.kinds as k
        where hook.hook = any (k.hooks);
        continue when branches is null;
        name := format('private.%I', 'dispatch_' || hook.hook);
        execute format(
            E'create or replace function %s(kind text, ids uuid[]%s) returns %s\nlanguage plpgsql\n%s'
            'set search_path = ''''\nas %L',
            name, ', ' || nullif(hook.parameters, ''), hook.returns,
            case when hook.as_caller then E'stable\n' else E'security definer\n' end,
            format(
                E'\nbegin\n    case kind\n%s        else\n            perform private.fail(%L, kind);\n    end case;\nend\n',
                branches, hook.refusal
            )
        );
        execute format('comment on function %s is %L', name, hook.meaning || ' Built: see build_dispatch().');
        if hook.as_caller then
            execute format('grant execute on function %s to authenticated', name);
        end if;
    end loop;
end
$function$;

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
        perform private.audit('edit_group', 'group', new.id);
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

create or replace function private.check_notification_preferences()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_keys(
        new.notification_preferences,
        array(select t.type from private.notification_types as t) || 'digest'::text,
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

create or replace function private.comment_lock (
    ids uuid[]
)
    returns SETOF private.content_state
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    -- What it is about before the comment: who deletes a post takes them in this order.
    perform private.hold_comment_targets_of(ids);
    return query
    select c.id, c.is_hidden
    from private.hold_each('public.comments', ids) as h (id)
    inner join public.comments as c on c.id = h.id;
end
$function$;

create or replace function private.comment_place (
    ids uuid[]
)
    returns SETOF private.content_place
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select c.id, c.user_id, p.group_id
    from public.comments as c
    left join public.posts as p on p.id = c.post_id
    where c.id = any (ids)
$function$;

create or replace function private.comments_counter (
    comment public.comments
)
    returns text
    language sql
    immutable
    set search_path to ''
    AS $function$
    select case
        when comment.post_id is not null then 'posts' when comment.item_id is not null then 'catalog_items'
        else 'articles'
    end || '.comments_count'
$function$;

create or replace function private.count_comment_shown()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.add_comments(
        private.comments_counter(new),
        array[coalesce(new.post_id, new.item_id, new.article_id)],
        array[(new.audience <> 'owner')::integer - (old.audience <> 'owner')::integer]
    );
    return null;
end
$function$;

create or replace function private.count_comments()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    counted record;
begin
    for counted in
        select n.counter, array_agg(n.id order by n.id) as ids, array_agg(n.change order by n.id) as changes
        from (
            select
                private.comments_counter(c) as counter,
                coalesce(c.post_id, c.item_id, c.article_id) as id,
                (case tg_op when 'INSERT' then 1 else -1 end) * count(*)::integer as change
            from changed as c
            where c.audience <> 'owner'
            group by 1, 2
        ) as n
        group by n.counter
        order by n.counter desc
    loop
        perform private.add_comments(counted.counter, counted.ids, counted.changes);
    end loop;
    return null;
end
$function$;

create or replace function private.count_published_item (
    kind text,
    seller_id uuid,
    change integer
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    update public.profile_counts as c set published_count = c.published_count + change
    where c.user_id = count_published_item.seller_id and c.kind = count_published_item.kind;
    if not found then
        insert into public.profile_counts (user_id, kind, published_count)
        values (count_published_item.seller_id, count_published_item.kind, change);
    end if;
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
                private.comments_counter(c) as counter,
                coalesce(c.post_id, c.item_id, c.article_id) as target_id,
                (c.audience <> 'owner')::integer - (b.audience <> 'owner')::integer as change
        ),
        moved as (
            select a.counter, a.target_id as id, sum(a.change)::integer as change
            from after as a
            group by 1, 2
            having sum(a.change) <> 0
        )
        select m.counter, array_agg(m.id order by m.id) as ids, array_agg(m.change order by m.id) as changes
        from moved as m
        group by m.counter
        order by m.counter desc
    loop
        perform private.add_comments(counted.counter, counted.ids, counted.changes);
    end loop;
    return cardinality(chosen);
end
$function$;

create or replace function private.grant_role (
    user_id uuid,
    role public.user_role
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
        'set_role', 'profile', grant_role.user_id, jsonb_build_object('from', before, 'to', grant_role.role)
    );
end
$function$;

create or replace function private.hold_each (
    relation regclass,
    ids uuid[]
)
    returns SETOF uuid
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    one uuid;
begin
    for one in select distinct i.id from unnest(ids) as i (id) order by i.id loop
        -- Its author may be changing it slowly.
        perform private.hold_rows(relation, 't.id = $1', one);
        return next one;
    end loop;
end
$function$;

create or replace function private.hook_branch (
    kind private.kinds,
    hook private.hooks
)
    returns text
    language sql
    stable
    set search_path to ''
    AS $function$
    select case when hook.returns = 'void' then '' else 'return query ' end || case
        when to_regproc(format('private.%I', kind.kind || '_' || hook.hook)) is not null then format(
            '%s private.%I(ids%s)', case when hook.returns = 'void' then 'perform' else 'select * from' end,
            kind.kind || '_' || hook.hook, regexp_replace(hook.parameters, '\s*([a-z_]+)\s+[^,]+', ', \1', 'g')
        )
        else replace(replace(hook.otherwise, '{relation}', kind.relation), '{owner}', quote_ident(kind.owner_column))
    end
$function$;

create or replace function private.mail_notification (
    notification uuid,
    recipient uuid,
    type text
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    mail uuid;
begin
    if exists (
        select from private.notification_types as t
        inner join public.profile_settings as s on s.user_id = recipient
        where
            t.type = mail_notification.type and t.can_switch_off
            and not private.wants_mail(s.notification_preferences, t.type::text)
    ) then
        return;
    end if;
    insert into private.mails (user_id, kind, type) values (recipient, 'immediate', type) returning id into mail;
    insert into private.mailed_notifications (notification_id, mail_id) values (notification, mail);
end
$function$;

create or replace function private.manage_group (
    group_id uuid,
    minimum public.group_role,
    action text,
    user_id uuid default null::uuid,
    exclusive boolean default false
)
    returns public.group_role
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    acting public.group_role;
begin
    perform private.enter_group(manage_group.group_id, manage_group.user_id, exclusive);
    acting := private.group_role(manage_group.group_id);
    if acting is null or acting < minimum then
        if not private.is_admin() then
            perform private.fail('group_role_too_low', 'needs ' || minimum);
        end if;
        perform private.audit(
            action, 'group', manage_group.group_id, jsonb_build_object('user_id', manage_group.user_id)
        );
        acting := 'owner'::public.group_role;
    end if;
    return acting;
end
$function$;

create or replace function private.message_evidence (
    ids uuid[],
    reader uuid
)
    returns SETOF private.reported_content
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return query
    select
        m.id, m.sender_id,
        (
            select jsonb_build_object(
                'conversation_id', r.conversation_id, 'number', r.number, 'sender_id', r.sender_id,
                'content', r.content, 'attachments', to_jsonb(r.attachments), 'created_at', r.created_at
            )
            from private.readable_messages as r
            where r.id = m.id and r.viewer_id = reader and not r.is_deleted
        )
    from public.messages as m
    where m.id = any (ids);
end
$function$;

create or replace function private.moderate (
    target_type text,
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
    place private.content_place;
    level public.moderation_level;
    acting public.group_role;
    hidden boolean;
    held public.hidden_content;
begin
    select * into place from private.dispatch_place(moderate.target_type, array[moderate.target_id]);
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
        select s.is_hidden into hidden
        from private.dispatch_lock(moderate.target_type, array[moderate.target_id]) as s;
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
        perform private.dispatch_hide(moderate.target_type, array[moderate.target_id], private.tidy_body(moderate.reason));
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
        perform private.dispatch_hide(moderate.target_type, array[moderate.target_id], null);
    end if;
    perform private.audit(
        case when hide then 'hide_content' else 'restore_content' end, moderate.target_type, moderate.target_id,
        jsonb_build_object(
            'reason', case when hide then private.tidy_body(moderate.reason) else held.reason end, 'level', level,
            'group_id', place.group_id, 'author_id', place.author_id
        )
    );
end
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
            where told.type = 'like' and told.related_type = 'post' and l.post_id = told.related_id
            union all
            select l.user_id, l.created_at from public.article_likes as l
            where told.type = 'like' and told.related_type = 'article' and l.article_id = told.related_id
            union all
            select l.user_id, l.created_at from public.comment_likes as l
            where told.type = 'like' and told.related_type = 'comment' and l.comment_id = told.related_id
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

create or replace function private.notify(
    recipient uuid,
    type text,
    actor uuid default null,
    related_type text default null,
    related_id uuid default null,
    link_url text default null
) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    known private.notification_types;
    latest record;
    preferences jsonb;
    notification uuid;
begin
    if recipient is null or recipient = actor then
        return;
    end if;
    select * into strict known from private.notification_types as t where t.type = notify.type;

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
        coalesce(notify.link_url, replace(replace(
            coalesce(known.link_template, (select k.page from private.kinds as k where k.kind = notify.related_type)),
            '{id}', coalesce(notify.related_id::text, '')),
            '{actor_id}', coalesce(actor::text, '')
        )),
        case when not known.is_anonymous then actor end,
        -- Null for a word that is none, which the table's constraint refuses.
        (select k.kind from private.kinds as k where k.kind = notify.related_type), notify.related_id
    from public.profiles as p
    where p.id = recipient and p.deleted_at is null and (known.reaches_banned or not p.is_banned)
    for key share skip locked
    on conflict do nothing
    returning id into notification;
    if known.email = 'immediate' and notification is not null then
        perform private.mail_notification(notification, recipient, type);
    end if;
end
$$;

create or replace function private.post_evidence (
    ids uuid[],
    reader uuid
)
    returns SETOF private.reported_content
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    return query
    select
        p.id, p.user_id,
        to_jsonb(p) - 'search' || jsonb_build_object('poll_options', coalesce((
            select jsonb_agg(o.option order by o.position) from public.poll_options as o where o.post_id = p.id
        ), '[]'))
    from public.posts as p
    where p.id = any (ids);
end
$function$;

create or replace function private.post_place (
    ids uuid[]
)
    returns SETOF private.content_place
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select p.id, p.user_id, p.group_id from public.posts as p where p.id = any (ids)
$function$;

create or replace function private.product_hide (
    ids uuid[],
    reason text
)
    returns void
    language sql
    security definer
    set search_path to ''
    AS $function$
    select public.review_product(i.id, reason is null, reason) from unnest(ids) as i (id)
$function$;

create or replace function private.product_lock (
    ids uuid[]
)
    returns SETOF private.content_state
    language sql
    security definer
    set search_path to ''
    AS $function$
    select p.id, not p.is_approved
    from private.hold_each('public.products', ids) as h (id)
    inner join public.products as p on p.id = h.id
$function$;

create or replace function private.profile_can_read (
    ids uuid[]
)
    returns SETOF uuid
    language plpgsql
    stable
    set search_path to ''
    AS $function$
begin
    return query
    select p.id from public.profiles as p where p.id = any (ids) and p.deleted_at is null
    union
    -- Many block first and report then: whom they blocked is on their own list.
    select b.blocked_id from public.user_blocks as b where b.blocked_id = any (ids);
end
$function$;

create or replace function private.profile_evidence (
    ids uuid[],
    reader uuid
)
    returns SETOF private.reported_content
    language sql
    stable
    security definer
    set search_path to ''
    AS $function$
    select p.id, p.id, to_jsonb(p) from public.profiles as p where p.id = any (ids) and p.deleted_at is null
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
        case when outside_reference is null then 'retry_refund' else 'pay_refund_outside' end, 'refund', new_refund,
        jsonb_strip_nulls(jsonb_build_object(
            'failed_refund_id', refund.id, 'amount_cents', refund.amount_cents, 'reference', outside_reference
        )),
        redo_refund.actor_label
    );
    return new_refund;
end
$function$;

create or replace function private.require_hook (
    kind text,
    hook text
)
    returns void
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
begin
    if not exists (
        select from private.kinds as k where k.kind = require_hook.kind and require_hook.hook = any (k.hooks)
    ) then
        perform private.fail(h.refusal, left(require_hook.kind, 100)) from private.hooks as h where h.hook = require_hook.hook;
    end if;
end
$function$;

create or replace function private.store_report (
    target_type text,
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
    author uuid := (
        select e.author_id
        from private.dispatch_evidence(store_report.target_type, array[store_report.target_id], auth.uid()) as e
    );
    target private.reported_content;
    report public.reports;
begin
    -- Accounts that are just being deleted: wait, then look. Their erasure has then not missed what is written here.
    perform from public.profiles as p where p.id in (auth.uid(), author) order by p.id for key share;
    caller := private.require_reporter();
    select * into target
    from private.dispatch_evidence(store_report.target_type, array[store_report.target_id], caller);
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

create or replace function private.tell_article_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.author_id, 'like', t.actor_id, 'article', t.id)
    from (
        select a.author_id, c.user_id as actor_id, a.id
        from changed as c
        inner join public.articles as a on a.id = c.article_id
        order by a.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_ban()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if tg_op = 'INSERT' then
        perform private.notify(new.user_id, 'account_banned', null, 'profile', new.user_id);
    else
        perform private.notify(old.user_id, 'account_restored', null, 'profile', old.user_id);
    end if;
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
        perform private.notify(parent_id, 'reply', new.user_id, 'comment', new.id, link_url);
    end if;
    if
        tg_op = 'INSERT' and owner_id is distinct from parent_id
        and (post.group_id is null or private.may_read_post(post, owner_id))
    then
        perform private.notify(owner_id, 'comment', new.user_id, 'comment', new.id, link_url);
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
            new.user_id, 'comment', new.id, link_url
        );
    end if;
    return null;
end
$function$;

create or replace function private.tell_comment_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.user_id, 'like', t.actor_id, 'comment', t.id, t.link_url)
    from (
        select c.user_id, l.user_id as actor_id, c.id, private.comment_link(c) as link_url
        from changed as l
        inner join public.comments as c on c.id = l.comment_id and c.user_id <> l.user_id
        order by c.id, l.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_earnings()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.seller_id, 'earnings', null, 'wallet', new.seller_id);
    return null;
end
$function$;

create or replace function private.tell_favorites()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.seller_id, 'favorite', t.actor_id, t.kind, t.id)
    from (
        select i.seller_id, c.user_id as actor_id, i.kind, i.id
        from changed as c
        inner join public.catalog_items as i on i.id = c.item_id
        order by i.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_field_decision()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(
        r.user_id,
        case when new.status = 'rejected' then 'field_rejected' else 'field_approved' end,
        null, 'custom_field_request', new.id
    )
    from public.custom_field_requesters as r
    where r.request_id = new.id;
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
        case when t.is_mutual then 'connected' else 'follow' end,
        t.follower_id, 'profile', t.follower_id
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

create or replace function private.tell_hidden_content()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    content public.hidden_content := coalesce(new, old);
    author uuid := (
        select p.author_id from private.dispatch_place(content.target_type, array[content.target_id]) as p
    );
begin
    if author is distinct from auth.uid() then
        perform private.notify(
            author,
            case tg_op when 'INSERT' then 'content_hidden' else 'content_restored' end,
            null, content.target_type, content.target_id
        );
    end if;
    return null;
end
$function$;

create or replace function private.tell_invitation()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'group_invitation', new.invited_by, 'group', new.group_id);
    return null;
end
$function$;

create or replace function private.tell_membership()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    if new.status = 'pending' then
        perform private.notify(m.user_id, 'group_request', new.user_id, 'group', new.group_id)
        from public.group_members as m
        where m.group_id = new.group_id and m.status = 'active' and m.role >= 'moderator';
    elsif tg_op = 'UPDATE' and new.user_id is distinct from auth.uid() then
        if new.status = 'banned' then
            perform private.notify(new.user_id, 'group_banned', null, 'group', new.group_id);
        elsif old.status = 'pending' then
            perform private.notify(new.user_id, 'group_approved', null, 'group', new.group_id);
        elsif new.role = 'owner' then
            perform private.notify(new.user_id, 'group_ownership', null, 'group', new.group_id);
        elsif old.status = 'active' then
            perform private.notify(new.user_id, 'group_role', null, 'group', new.group_id);
        end if;
    end if;
    return null;
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
        'conversation', new.conversation_id
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

create or replace function private.tell_order()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'order', null, 'order', new.id);
    -- Sellers read their lines, not the order.
    perform private.notify(s.seller_id, 'purchase', null, 'order_item', s.id)
    from (
        select distinct on (i.seller_id) i.seller_id, i.id
        from public.order_items as i
        where i.order_id = new.id
        order by i.seller_id, i.line_no
    ) as s;
    return null;
end
$function$;

create or replace function private.tell_payout()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(
        new.user_id,
        case new.status
            when 'requested' then 'payout_requested' when 'completed' then 'payout' else 'payout_failed'
        end,
        null, 'payout', new.id
    );
    return null;
end
$function$;

create or replace function private.tell_payout_account()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.user_id, 'payout_account', null, 'wallet', new.user_id);
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
            new.user_id, 'post', new.id
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
        perform private.notify(m.user_id, 'group_post_request', new.user_id, 'post', new.id)
        from public.group_members as m
        where m.group_id = new.group_id and m.status = 'active' and m.role >= 'moderator';
    end if;
    -- Whoever decides about their own post knows.
    if tg_op = 'UPDATE' and new.user_id is distinct from auth.uid() and not old.is_approved then
        if new.is_approved then
            perform private.notify(new.user_id, 'group_post_approved', null, 'post', new.id);
        elsif new.is_hidden and not old.is_hidden then
            perform private.notify(new.user_id, 'group_post_rejected', null, 'post', new.id);
        end if;
    end if;
    return null;
end
$$;

create or replace function private.tell_post_likes()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.user_id, 'like', t.actor_id, 'post', t.id)
    from (
        select p.user_id, c.user_id as actor_id, p.id
        from changed as c
        inner join public.posts as p on p.id = c.post_id and p.user_id <> c.user_id
        where not exists (
            select from public.notifications as n
            where
                n.related_id = p.id and n.type = 'like' and n.user_id = p.user_id
                and n.created_at > now() - interval '1 hour'
        )
        order by p.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_post_shares()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(t.user_id, 'share', t.actor_id, 'post', t.id)
    from (
        select p.user_id, c.user_id as actor_id, p.id
        from changed as c
        inner join public.posts as p on p.id = c.post_id
        order by p.id, c.user_id
    ) as t;
    return null;
end
$function$;

create or replace function private.tell_refund()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(p.user_id, 'refund', null, 'order', p.order_id)
    from public.payments as p
    where p.id = new.payment_id;
    perform private.notify(s.seller_id, 'refund', null, 'order_item', s.order_item_id)
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
        perform private.notify(new.seller_id, 'refund_request', new.buyer_id, 'refund_request', new.id);
    else
        -- Who answered, seller or admin, is not named.
        perform private.notify(new.buyer_id, 'refund_request_answered', null, 'refund_request', new.id);
    end if;
    return null;
end
$function$;

create or replace function private.tell_report()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.reporter_id, 'report_resolved', null, 'report', new.id);
    return null;
end
$function$;

create or replace function private.tell_report_abuse()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    was_banned boolean := old.permanent_ban or coalesce(old.report_ban_until > now(), false);
    is_banned boolean := new.permanent_ban or coalesce(new.report_ban_until > now(), false);
    changed boolean := (new.permanent_ban, new.report_ban_until)
        is distinct from (old.permanent_ban, old.report_ban_until);
    type text := case
        when is_banned and changed then 'report_ban'
        when new.false_report_count > old.false_report_count then 'report_warning'
        when was_banned and not is_banned then 'report_ban_lifted'
    end;
begin
    if type is not null then
        perform private.notify(new.user_id, type, null, 'profile', new.user_id);
    end if;
    return null;
end
$function$;

create or replace function private.tell_role()
    returns trigger
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.notify(new.id, 'role_changed', null, 'profile', new.id);
    return null;
end
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
        'adjust_wallet', 'wallet', adjust_wallet.user_id,
        jsonb_build_object('amount_cents', amount_cents, 'reason', memo, 'journal_id', journal)
    );
    perform private.answer_request(admin, 'adjust_wallet', adjust_wallet.idempotency_key, to_jsonb(journal));
    return journal;
end
$$;

create or replace function public.answer_refund_request (
    request_id uuid,
    accept boolean,
    note text default null::text
)
    returns public.refund_requests
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
            'answer_refund_request', 'refund_request', request.id,
            jsonb_build_object('accepted', coalesce(accept, false))
        );
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
        'approve_custom_field', 'custom_field_request', request.id,
        jsonb_build_object('field_type', request.field_type, 'asked', request.field_value, 'name', name, 'field', field)
    );
    select * into request from public.custom_field_requests as q where q.id = request.id;
    return request;
end
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
    perform private.audit('approve_payout', 'payout', payout_id);
    return payout;
end
$function$;

create or replace function public.approve_post (
    post_id uuid
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
    post := private.post_to_moderate(approve_post.post_id);
    if post.is_approved then
        return;
    end if;
    update public.posts as p set is_approved = true where p.id = post.id;
    perform private.audit('approve_post', 'post', post.id, jsonb_build_object('group_id', post.group_id));
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
    if target.role >= 'admin' then
        -- Shared with grant_role(): two super admins banning each other take turns, and the second is no member any
        -- more.
        perform pg_advisory_xact_lock(hashtextextended('avenue:super_admins', 0));
        perform private.require_rank_over(target.id);
    end if;
    insert into public.bans as b (user_id, reason) values (ban_user.user_id, coalesce(ban_user.reason, ''))
    on conflict on constraint bans_pkey do update set reason = excluded.reason;
    perform private.audit('ban_user', 'profile', ban_user.user_id, jsonb_build_object('reason', ban_user.reason));
end
$function$;

create or replace function public.cancel_payout (
    payout_id uuid
)
    returns public.payouts
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
        perform private.audit('cancel_payout', 'payout', payout_id);
    end if;
    return private.end_payout(payout_id, 'cancelled', case when payout.user_id = member then 'by_seller' else 'by_admin' end);
end
$function$;

create or replace function public.decide_correction (
    correction_id uuid,
    approve boolean
)
    returns public.book_corrections
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
$function$;

create or replace function public.hide_content (
    target_type text,
    target_id uuid,
    reason text
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform private.require_member();
    perform private.require_hook(hide_content.target_type, 'hide');
    perform private.moderate(
        hide_content.target_type, hide_content.target_id, true, hide_content.reason,
        exists (select from private.dispatch_can_read(hide_content.target_type, array[hide_content.target_id]))
    );
end
$function$;

revoke all on function public.hide_content(text, uuid, text) from public, anon, service_role;

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
        perform private.audit('lift_address_ban', 'banned_address', null);
    end if;
    return lifted;
end
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
    perform private.audit('lift_limits', 'profile', lift_limits.user_id, jsonb_build_object('until', until));
end
$function$;

create or replace function public.moderation_queue (
    after_created_at timestamp with time zone default null::timestamp with time zone,
    after_id uuid default null::uuid,
    max_rows integer default 20
)
    returns table (
        report_id uuid,
        target_type text,
        target_id uuid,
        author_id uuid,
        first_reported_at timestamp with time zone,
        reports_count bigint,
        reasons public.report_reason[],
        is_hidden boolean,
        content jsonb
    )
    language plpgsql
    stable
    security definer
    set search_path to ''
    AS $function$
#variable_conflict use_column
begin
    perform private.require_admin();
    return query
    select
        r.id, r.target_type, r.target_id, e.author_id, r.created_at, open.reports_count, open.reasons,
        exists (
            select from public.hidden_content as h
            where h.target_type = r.target_type and h.target_id = r.target_id
        ),
        e.content
    from public.reports as r
    left join public.report_evidence as e on e.report_id = r.id
    cross join lateral (
        select count(*) as reports_count, array_agg(distinct o.reason order by o.reason) as reasons
        from public.reports as o
        where o.state = 'open' and o.target_type = r.target_type and o.target_id = r.target_id
    ) as open
    where
        r.state = 'open'
        and (after_created_at is null or (r.created_at, r.id) > (after_created_at, after_id))
        -- The first open report of each target stands for all of them.
        and not exists (
            select from public.reports as o
            where
                o.state = 'open' and o.target_type = r.target_type and o.target_id = r.target_id
                and (o.created_at, o.id) < (r.created_at, r.id)
        )
    order by r.created_at, r.id
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$function$;

revoke all
    on function public.moderation_queue(timestamp with time zone, uuid, integer)
    from public, anon, service_role;

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
        'override_report_ban', 'profile', override_report_ban.user_id,
        jsonb_build_object(
            'note', note, 'before', to_jsonb(before) - 'user_id', 'after', to_jsonb(tracking) - 'user_id'
        )
    );
    return tracking;
end
$function$;

create or replace function public.propose_correction (
    provider public.payment_provider,
    change_cents bigint,
    account text,
    reason text,
    user_id uuid default null::uuid
)
    returns public.book_corrections
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
    perform private.audit('propose_correction', 'book_correction', correction.id, jsonb_build_object(
        'provider', correction.provider, 'change_cents', correction.change_cents, 'account', correction.account,
        'user_id', correction.user_id, 'reason', correction.reason
    ));
    return correction;
end
$function$;

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
            'refund', 'refund', refund.id,
            jsonb_build_object('amount_cents', refund.amount_cents, 'reason', refund.reason)
        );
    end if;
    perform private.answer_request(
        member, 'refund_order_item', refund_order_item.idempotency_key, to_jsonb(refund.id)
    );
    return refund;
end
$$;

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
        'reject_custom_field', 'custom_field_request', request.id,
        jsonb_build_object('field_type', request.field_type, 'asked', request.field_value, 'reason', said)
    );
    select * into request from public.custom_field_requests as q where q.id = request.id;
    return request;
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
        'reject_post', 'post', post.id, jsonb_build_object('group_id', post.group_id, 'reason', reject_post.reason)
    );
end
$function$;

create or replace function public.release_sale_review (
    transaction_id uuid,
    note text
)
    returns public.sale_reviews
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
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
            'release_sale_review', 'transaction', review.transaction_id, jsonb_build_object('note', words)
        );
    end if;
    return review;
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
    perform private.audit('reopen_custom_field', 'custom_field_request', request.id, '{}');
    return request;
end
$function$;

create or replace function public.replay_webhook_event (
    event_id bigint
)
    returns text
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_admin();
    perform private.audit('replay_webhook_event', 'webhook_event', null, jsonb_build_object('event_id', event_id));
    return private.replay_webhook_event(event_id);
end
$function$;

create or replace function public.report_content (
    target_type text,
    target_id uuid,
    reason public.report_reason,
    details text default null::text
)
    returns public.reports
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform private.require_reporter();
    if report_content.reason is null then
        perform private.fail('reason_required');
    end if;
    perform private.require_hook(report_content.target_type, 'evidence');
    if not exists (
        select from private.dispatch_can_read(report_content.target_type, array[report_content.target_id])
    ) then
        perform private.fail('content_not_found', report_content.target_id::text);
    end if;
    return private.store_report(
        report_content.target_type, report_content.target_id, report_content.reason, report_content.details
    );
end
$function$;

revoke all
    on function public.report_content(text, uuid, public.report_reason, text)
    from public, anon, service_role;

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
        'resolve_report', 'report', report.id,
        jsonb_build_object(
            'verdict', verdict, 'note', note, 'target_type', report.target_type, 'target_id', report.target_id,
            'reporter_id', report.reporter_id, 'reports', cardinality(resolved)
        )
    );
    return cardinality(resolved);
end
$function$;

create or replace function public.restore_content (
    target_type text,
    target_id uuid
)
    returns void
    language plpgsql
    set search_path to ''
    AS $function$
begin
    perform private.require_member();
    perform private.require_hook(restore_content.target_type, 'hide');
    perform private.moderate(
        restore_content.target_type, restore_content.target_id, false, null,
        exists (select from private.dispatch_can_read(restore_content.target_type, array[restore_content.target_id]))
    );
end
$function$;

revoke all on function public.restore_content(text, uuid) from public, anon, service_role;

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
        'review_product', 'product', review_product.product_id,
        jsonb_build_object('approved', coalesce(approved, false), 'notes', notes)
    );
end
$function$;

create or replace function public.search_catalog (
    query text,
    kind text default null::text,
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
    on function public.search_catalog(text, text, text, text[], bigint, bigint, timestamp
        with time zone, uuid, integer)
    from public, service_role;

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
        'set_hold_limit', 'profile', set_hold_limit.user_id,
        jsonb_build_object('max_holds', set_hold_limit.max_holds)
    );
end
$function$;

create or replace function public.set_partner_account (
    user_id uuid,
    is_partner boolean
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_admin();
    update public.profiles as p set is_partner_account = coalesce(is_partner, false)
    where p.id = set_partner_account.user_id and p.deleted_at is null;
    if not found then
        perform private.fail('user_not_found', set_partner_account.user_id::text);
    end if;
    perform private.audit(
        'set_partner_account', 'profile', set_partner_account.user_id, jsonb_build_object('is_partner', is_partner)
    );
end
$function$;

create or replace function public.set_subscription (
    user_id uuid,
    plan_key text,
    until timestamp with time zone default null::timestamp with time zone
)
    returns public.subscriptions
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
declare
    plan public.plans;
    before public.subscriptions;
    result public.subscriptions;
begin
    perform private.require_admin();
    select * into plan from public.plans as p where p.key = set_subscription.plan_key;
    if plan.key is null then
        perform private.fail('plan_not_found', set_subscription.plan_key);
    end if;
    if until <= now() then
        perform private.fail('period_over', until::text);
    end if;
    if not exists (
        select from public.profiles as p where p.id = set_subscription.user_id and p.deleted_at is null for share
    ) then
        perform private.fail('user_not_found', set_subscription.user_id::text);
    end if;

    select * into before from public.subscriptions as s
    where s.user_id = set_subscription.user_id and s.family = plan.family
    for update;
    if before.provider is not null and before.status in ('active', 'trialing', 'past_due', 'incomplete') then
        perform private.fail('subscription_managed_by_provider', before.provider::text);
    end if;

    insert into public.subscriptions as s (user_id, family, plan_key, current_period_start, current_period_end)
    values (set_subscription.user_id, plan.family, plan.key, now(), until)
    on conflict on constraint subscriptions_user_id_family_key do update set
        plan_key = excluded.plan_key, status = 'active', interval = null, provider = null,
        stripe_subscription_id = null, stripe_price_id = null, paypal_subscription_id = null, paypal_plan_id = null,
        current_period_start = excluded.current_period_start, current_period_end = excluded.current_period_end,
        cancel_at_period_end = false, cancel_at = null, cancelled_at = null
    where s.provider is null or s.status not in ('active', 'trialing', 'past_due', 'incomplete')
    returning * into result;

    perform private.audit(
        'set_subscription', 'profile', set_subscription.user_id,
        jsonb_build_object('from', before.plan_key, 'to', plan.key, 'until', until)
    );
    return result;
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
        'take_down_file', 'product_file', file.id,
        jsonb_build_object('reason', reason, 'item_id', file.item_id, 'path', file.path)
    );
end
$function$;

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
        perform private.audit('unban_user', 'profile', unban_user.user_id, jsonb_build_object('reason', ended.reason));
    end if;
end
$function$;

create or replace function public.verify_artist (
    user_id uuid,
    verified boolean
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_admin();
    update public.artist_profiles as a set is_verified = coalesce(verified, false)
    where a.user_id = verify_artist.user_id;
    if not found then
        perform private.fail('user_not_found', verify_artist.user_id::text);
    end if;
    perform private.audit(
        'verify_artist', 'artist_profile', verify_artist.user_id, jsonb_build_object('verified', verified)
    );
end
$function$;

create or replace function public.verify_group (
    group_id uuid,
    is_verified boolean default true
)
    returns void
    language plpgsql
    security definer
    set search_path to ''
    AS $function$
begin
    perform private.require_admin();
    update public.groups as g set is_verified = coalesce(verify_group.is_verified, true)
    where g.id = verify_group.group_id;
    if not found then
        perform private.fail('group_not_found', verify_group.group_id::text);
    end if;
    perform private.audit(
        'verify_group', 'group', verify_group.group_id, jsonb_build_object('is_verified', verify_group.is_verified)
    );
end
$function$;

-- Built by build_dispatch(): one branch for each kind ----------------------------------------------------------------------

create or replace function private.dispatch_can_read(kind text, ids uuid[])
returns SETOF uuid
language plpgsql
stable
set search_path = ''
as $function$
begin
    case kind
        when 'article' then
            return query select t.id from public.articles as t where t.id = any (ids);
        when 'artwork' then
            return query select t.id from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select t.id from public.comments as t where t.id = any (ids);
        when 'group' then
            return query select t.id from public.groups as t where t.id = any (ids);
        when 'message' then
            return query select t.id from public.messages as t where t.id = any (ids);
        when 'post' then
            return query select t.id from public.posts as t where t.id = any (ids);
        when 'product' then
            return query select t.id from public.products as t where t.id = any (ids);
        when 'profile' then
            return query select * from private.profile_can_read(ids);
        else
            perform private.fail('cannot_be_reported', kind);
    end case;
end
$function$;

comment on function private.dispatch_can_read(text,uuid[]) is
'Which of these the caller could select, as the policies of their relation say. Built: see build_dispatch().';

grant execute on function private.dispatch_can_read(text,uuid[]) to authenticated;

create or replace function private.dispatch_evidence(kind text, ids uuid[], reader uuid)
returns SETOF private.reported_content
language plpgsql
security definer
set search_path = ''
as $function$
begin
    case kind
        when 'article' then
            return query select t.id, t.author_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.articles as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'artwork' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.artworks as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'comment' then
            return query select t.id, t.user_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.comments as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'group' then
            return query select t.id, t.owner_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.groups as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'message' then
            return query select * from private.message_evidence(ids, reader);
        when 'post' then
            return query select * from private.post_evidence(ids, reader);
        when 'product' then
            return query select t.id, t.seller_id, coalesce(to_jsonb(i) - 'search', '{}') || (to_jsonb(t) - 'search') from public.products as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids);
        when 'profile' then
            return query select * from private.profile_evidence(ids, reader);
        else
            perform private.fail('cannot_be_reported', kind);
    end case;
end
$function$;

comment on function private.dispatch_evidence(text,uuid[],uuid) is
'The author and a copy of each as it is now, whatever the caller may read. Built: see build_dispatch().';

create or replace function private.dispatch_hide(kind text, ids uuid[], reason text)
returns void
language plpgsql
security definer
set search_path = ''
as $function$
begin
    case kind
        when 'article' then
            update public.articles as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'artwork' then
            update public.artworks as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'comment' then
            update public.comments as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'post' then
            update public.posts as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids);
        when 'product' then
            perform private.product_hide(ids, reason);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

comment on function private.dispatch_hide(text,uuid[],text) is
'Hides these with a reason, or with null shows them again. Counters and audiences follow by the triggers. Built: see build_dispatch().';

create or replace function private.dispatch_lock(kind text, ids uuid[])
returns SETOF private.content_state
language plpgsql
security definer
set search_path = ''
as $function$
begin
    case kind
        when 'article' then
            return query select t.id, t.is_hidden from private.hold_each('public.articles', ids) as h (id) inner join public.articles as t on t.id = h.id;
        when 'artwork' then
            return query select t.id, t.is_hidden from private.hold_each('public.artworks', ids) as h (id) inner join public.artworks as t on t.id = h.id;
        when 'comment' then
            return query select * from private.comment_lock(ids);
        when 'post' then
            return query select t.id, t.is_hidden from private.hold_each('public.posts', ids) as h (id) inner join public.posts as t on t.id = h.id;
        when 'product' then
            return query select * from private.product_lock(ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

comment on function private.dispatch_lock(text,uuid[]) is
'Locks what is to be hidden or shown, in the order of the ids, and says whether it is hidden. Built: see build_dispatch().';

create or replace function private.dispatch_place(kind text, ids uuid[])
returns SETOF private.content_place
language plpgsql
security definer
set search_path = ''
as $function$
begin
    case kind
        when 'article' then
            return query select t.id, t.author_id, null::uuid from public.articles as t where t.id = any (ids);
        when 'artwork' then
            return query select t.id, t.seller_id, null::uuid from public.artworks as t where t.id = any (ids);
        when 'comment' then
            return query select * from private.comment_place(ids);
        when 'post' then
            return query select * from private.post_place(ids);
        when 'product' then
            return query select t.id, t.seller_id, null::uuid from public.products as t where t.id = any (ids);
        else
            perform private.fail('cannot_be_hidden', kind);
    end case;
end
$function$;

comment on function private.dispatch_place(text,uuid[]) is
'Whose each is and in which group, whatever the caller may read. Built: see build_dispatch().';

-- The words ----------------------------------------------------------------------------------------------------------

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('profile', 'public.profiles', 'id', '/profiles/{id}', '{can_read,evidence}'),
('banned_address', 'private.banned_addresses', null, null, '{}'),
('category', 'public.categories', null, null, '{}'),
('skill', 'public.skills', null, null, '{}'),
('genre', 'public.genres', null, null, '{}'),
('artist_profile', 'public.artist_profiles', null, null, '{}'),
('custom_field_request', 'public.custom_field_requests', null, '/settings/profile', '{}'),
('product', 'public.products', 'seller_id', '/catalog_items/{id}', '{can_read,evidence,place,lock,hide}'),
('artwork', 'public.artworks', 'seller_id', '/catalog_items/{id}', '{can_read,evidence,place,lock,hide}'),
('product_file', 'public.product_files', null, null, '{}'),
('order', 'public.orders', null, '/orders/{id}', '{}'),
('order_item', 'public.order_items', null, '/order_items/{id}', '{}'),
('wallet', 'public.wallets', null, '/wallet', '{}'),
('transaction', 'public.transactions', null, null, '{}'),
('refund', 'public.refunds', null, null, '{}'),
('refund_request', 'public.refund_requests', null, '/refund_requests/{id}', '{}'),
('payout', 'public.payouts', null, '/payouts/{id}', '{}'),
('webhook_event', 'private.webhook_events', null, null, '{}'),
('book_correction', 'public.book_corrections', null, null, '{}'),
('group', 'public.groups', 'owner_id', '/groups/{id}', '{can_read,evidence}'),
('article', 'public.articles', 'author_id', '/articles/{id}', '{can_read,evidence,place,lock,hide}'),
('post', 'public.posts', 'user_id', '/posts/{id}', '{can_read,evidence,place,lock,hide}'),
('comment', 'public.comments', 'user_id', '/comments/{id}', '{can_read,evidence,place,lock,hide}'),
('conversation', 'public.conversations', null, '/conversations/{id}', '{}'),
('message', 'public.messages', 'sender_id', null, '{can_read,evidence}'),
('report', 'public.reports', null, '/reports/{id}', '{}');

insert into private.hooks (hook, parameters, returns, as_caller, otherwise, needs, refusal, meaning) values
('can_read', '', 'setof uuid', true,
    'select t.id from {relation} as t where t.id = any (ids)', '{}', 'cannot_be_reported',
    'Which of these the caller could select, as the policies of their relation say.'),
('evidence', 'reader uuid', 'setof private.reported_content', false,
    'select t.id, t.{owner}, coalesce(to_jsonb(i) - ''search'', ''{}'') || (to_jsonb(t) - ''search'') '
    'from {relation} as t left join public.catalog_items as i on i.id = t.id where t.id = any (ids)',
    '{can_read}', 'cannot_be_reported', 'The author and a copy of each as it is now, whatever the caller may read.'),
('place', '', 'setof private.content_place', false,
    'select t.id, t.{owner}, null::uuid from {relation} as t where t.id = any (ids)', '{can_read}', 'cannot_be_hidden',
    'Whose each is and in which group, whatever the caller may read.'),
('lock', '', 'setof private.content_state', false,
    'select t.id, t.is_hidden from private.hold_each(''{relation}'', ids) as h (id) '
    'inner join {relation} as t on t.id = h.id',
    '{place}', 'cannot_be_hidden',
    'Locks what is to be hidden or shown, in the order of the ids, and says whether it is hidden.'),
('hide', 'reason text', 'void', false,
    'update {relation} as t set is_hidden = reason is not null, hidden_reason = reason where t.id = any (ids)',
    '{lock}', 'cannot_be_hidden',
    'Hides these with a reason, or with null shows them again. Counters and audiences follow by the triggers.');

-- What there is in the old words. Of an item the kind is in the registry, or in the copy made for the report.
alter table public.reports disable trigger user;
update public.reports as r set target_type = coalesce(
    (select c.kind from public.catalog_items as c where c.id = r.target_id),
    (select e.content ->> 'kind' from public.report_evidence as e where e.report_id = r.id),
    'product'
)
where r.target_type = 'item';
alter table public.reports enable trigger user;

alter table public.hidden_content disable trigger user;
update public.hidden_content as h
set target_type = coalesce((select c.kind from public.catalog_items as c where c.id = h.target_id), 'product')
where h.target_type = 'item';
alter table public.hidden_content enable trigger user;

alter table public.notifications disable trigger user;
update public.notifications as n set related_type = coalesce(
    (select k.kind from private.kinds as k where k.relation = 'public.' || n.related_type),
    (select c.kind from public.catalog_items as c where c.id = n.related_id),
    'product'
)
where n.related_type is not null;
alter table public.notifications enable trigger user;

-- The log is append-only; these are its words, not what it says.
alter table public.audit_log disable trigger refuse_change;
update public.audit_log as a set target_type = k.kind
from private.kinds as k
where split_part(k.relation, '.', 2) = a.target_type;
update public.audit_log as a
set target_type = coalesce((select c.kind from public.catalog_items as c where c.id = a.target_id), 'product')
where a.target_type = 'item';
alter table public.audit_log enable trigger refuse_change;

insert into public.profile_counts (user_id, kind, published_count)
select c.seller_id, c.kind, count(*) filter (where c.is_published)
from public.catalog_items as c
group by c.seller_id, c.kind;

create view private.published_counts with (security_invoker = true) as
select md5(c.user_id::text || c.kind)::uuid as id, c.published_count
from public.profile_counts as c;
comment on view private.published_counts is 'profile_counts under one key, for the recount of counters.';

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'profile_counts.published_count', 'private.published_counts', 'id', 'published_count',
    'select md5(seller_id::text || kind)::uuid, count(*) from public.catalog_items where is_published group by 1'
);

alter table public.profiles
    drop column artworks_count;

alter table public.profiles
    drop column products_count;

update private.notification_types as t set link_template = case
    when t.link_template in (
        '/{related_type}/{related_id}', '/groups/{related_id}', '/orders/{related_id}', '/refund_requests/{related_id}',
        '/payouts/{related_id}', '/reports/{related_id}'
    ) then null
    else replace(t.link_template, '{related_id}', '{id}')
end;

insert into private.personal_data (section, relation, condition, stays, reason) values
('profile_counts', 'public.profile_counts',
    't.user_id = $1', '{user_id}', 'a number of what is shown, 0 once the account has ended');

insert into private.error_codes (code, sqlstate, message, description) values
('cannot_be_reported', 'PT400', 'This cannot be reported.', 'No kind of content by the word in the detail.');
update private.error_codes set description =
'Posts, comments, articles and what is in the shop can, by the word of their kind; the detail is the word given. People '
'are banned instead: ban_user().'
where code = 'cannot_be_hidden';

alter table private.notification_types
    add constraint notification_types_type_check check ((type ~ '^[a-z]+(_[a-z]+)*$'::text));

alter table public.audit_log
    add constraint audit_log_target_type_fkey foreign key (target_type) references private.kinds(kind);

alter table public.catalog_items
    add constraint catalog_items_kind_fkey foreign key (kind) references private.kinds(kind);

alter table public.hidden_content
    add constraint hidden_content_target_type_fkey foreign key (target_type) references private.kinds(kind);

alter table public.profile_counts
    add constraint profile_counts_kind_fkey foreign key (kind) references private.kinds(kind);

alter table public.profile_counts
    add constraint profile_counts_user_id_fkey foreign key (user_id) references public.profiles(id) on delete cascade;

alter table public.profiles
    add constraint profiles_counts_check check (((followers_count >= 0) AND (following_count >= 0)));

alter table public.reports
    add constraint reports_target_type_fkey foreign key (target_type) references private.kinds(kind);

create unique index notifications_collapse_idx on public.notifications
    using btree (related_id, type, user_id, date_trunc('hour'::text, (created_at AT TIME ZONE 'UTC'::text)))
    where
        (type = ANY (ARRAY['like'::text, 'follow'::text, 'connected'::text, 'favorite'::text, 'share'::text,
        'group_request'::text, 'group_post_request'::text, 'earnings'::text]));

create unique index notifications_unread_message_idx on public.notifications using btree (related_id, user_id)
    where ((type = 'message'::text) AND (not is_read));

create index audit_log_target_type_created_at_idx on public.audit_log using btree (target_type, created_at desc);

create index profile_counts_kind_idx on public.profile_counts using btree (kind);

create policy profile_counts_select on public.profile_counts
    for select
    to anon, authenticated
    using ((( select p.id
   from public.profiles p
  where (p.id = profile_counts.user_id)) is not null));

comment on column private.hooks.as_caller is 'Runs with the caller''s rights, reads only, and may be called by members.';

comment on column private.hooks.hook is 'Its name.';

comment on column private.hooks.meaning is 'What it does; the comment of the function built.';

comment on column private.hooks.needs is 'Other hooks a kind must have that has this one.';

comment on column private.hooks.otherwise is 'Statement for kinds without a function of their own, {relation} and {owner} replaced; null: each needs one.';

comment on column private.hooks.parameters is 'Parameters after the ids, as in create function.';

comment on column private.hooks.refusal is 'Error for kinds that do not have the hook.';

comment on column private.hooks.returns is 'What it returns: void, or setof with the column id.';

comment on column private.kinds.hooks is 'What shared code may ask of this kind: rows of private.hooks.';

comment on column private.kinds.kind is 'The word, in the singular: product.';

comment on column private.kinds.owner_column is 'Column with the profile that a row belongs to; needed with hooks.';

comment on column private.kinds.page is
'Path in the application where a notice of one of them leads, {id} replaced; null: nobody is told of any.';

comment on column private.kinds.relation is 'Schema-qualified relation its rows are in; their key is id where it has hooks.';

comment on column private.notification_types.link_template is 'Path in the application, {id} and {actor_id} replaced; null: the page of the kind it is about.';

comment on column private.notification_types.type is 'What happened, and what it is called in profile_settings.notification_preferences. order speaks to the buyer, purchase to the seller.';

comment on column public.audit_log.target_id is 'Its id.';

comment on column public.audit_log.target_type is 'Kind of the target.';

comment on column public.catalog_items.kind is 'Which kind it is of: product, artwork.';

comment on column public.notifications.type is
'What happened, a row of private.notification_types. notify() holds it and the kind to their words: two foreign keys '
'would need two more indexes, written again whenever one is read.';

comment on column public.notifications.related_type is 'Kind of what it is about: post, product, order.';

comment on column public.profile_counts.kind is 'The kind.';

comment on column public.profile_counts.published_count is 'Its published items, sold ones included.';

comment on column public.profile_counts.user_id is 'The profile.';

comment on function private.add_comments(text, uuid[], integer[]) is 'Adds to the comments_count of one relation, ids ascending. One: see claim_count(); many: add_counts(). What is just deleted with its comments is left alone.';

comment on function private.build_dispatch() is 'Writes the functions dispatch_<hook>(kind, ids, …) from the rows of kinds and hooks: a case over the kinds, so that nothing is put together when they run. The last page calls it, and a migration that adds a kind.';

comment on function private.comment_lock(uuid[]) is 'Hook lock: what the comments are about is kept first.';

comment on function private.comment_place(uuid[]) is 'Hook place: a comment is in the group of the post it is about.';

comment on function private.comments_counter(public.comments) is 'Which counter a comment counts on. Several are moved in descending order: posts, items, articles.';

comment on function private.count_published_item(text, uuid, integer) is 'Moves the seller''s count of published items of a kind. Whoever makes the first row has locked the profile.';

comment on function private.hold_each(regclass, uuid[]) is 'hold_rows() for each of these ids, in their order; the ids.';

comment on function private.hook_branch(private.kinds, private.hooks) is 'What the function built for a hook does for one kind.';

comment on function private.mail_notification(uuid, uuid, text) is 'Mails this notification at once. No job: the sender looks every few seconds, and queueing would slow down commits.';

comment on function private.message_evidence(uuid[], uuid) is 'Hook evidence: a copy of a message as the reporter may read it; null when there is nothing they may read. Admins read reports, never conversations.';

comment on function private.moderate(text, uuid, boolean, text, boolean) is 'Second half of hide_content() and restore_content(), which asked whether the caller can read the target at all.';

comment on function private.notify(uuid, text, uuid, text, uuid, text) is
'Tells the recipient, unless it is their own doing, they cannot see who did it, switched it off, or were told of the '
'same already. The one way notifications come into being.';

comment on function private.post_evidence(uuid[], uuid) is 'Hook evidence: with the options of a poll.';

comment on function private.post_place(uuid[]) is 'Hook place: posts of groups.';

comment on function private.product_hide(uuid[], text) is 'Hook hide: see review_product().';

comment on function private.product_lock(uuid[]) is 'Hook lock: hidden is what is not approved.';

comment on function private.profile_can_read(uuid[]) is 'Hook can_read: also whom the caller blocked.';

comment on function private.profile_evidence(uuid[], uuid) is 'Hook evidence: accounts that ended are nobody''s.';

comment on function private.require_hook(text, text) is 'Fails with the hook''s refusal, the detail being the word, when there is no such kind or it does not have the hook.';

comment on function private.store_report(text, uuid, public.report_reason, text) is 'Second half of report_content(), which asked whether the caller may read the target: stores the report and a copy.';

comment on function public.hide_content(text, uuid, text) is 'Takes down a post, comment, article, product or artwork with a reason (1 to 500 characters, told to its author): platform admins anywhere (content of other admins: super admins), moderators, admins and owners of a group posts and comments in it by people of lower role and their own. Hiding again changes the reason. Fails with content_not_found, moderators_only, group_role_too_low, super_admin_only or cannot_be_hidden (people are banned instead). Audited.';

comment on function public.moderation_queue(timestamp with time zone, uuid, integer) is 'Admins: what waits for a decision, one row per target, longest waiting first, 1 to 100 rows (default 20). The next page starts after the last row''s first_reported_at and report_id. report_id is the target''s first open report, with the copy of the content taken for it.';

comment on function public.report_content(text, uuid, public.report_reason, text) is 'Reports what the caller can read and is somebody else''s; the report. While it is open, reporting the same again returns it unchanged. Fails with content_not_found, cannot_report_yourself or report_banned (detail: until when).';

comment on function public.restore_content(text, uuid) is 'Puts back what hide_content() took down. Moderators of a group cannot put back what platform admins took down (hidden_by_platform), nor their own what somebody of higher role took down (group_role_too_low). What is not hidden stays as it is. Audited.';

comment on function public.search_catalog(text, text, text, text[], bigint, bigint, timestamp
    with time zone, uuid, integer) is 'Items on sale that match, newest first: by words (stemmed, without accents; "exact words", or, -not), and when no item has them by titles that contain or resemble the query. Filters: kind, category, all of the tags, price range. 1 to 100 rows, 20 unless told; the next page starts before the last row''s published_at and id.';

comment on table private.hooks is 'What shared code can ask of a kind. dispatch_<hook>(kind, ids, …), written by build_dispatch(), calls the kind''s own function <kind>_<hook>(ids, …) or does what is otherwise done; always over ids of one kind.';

comment on table private.kinds is 'The kinds of things: one row each, inserted on the page that makes its relation. Every column that names a kind has its words from here.';

comment on table private.notification_types is 'What each type of notification says and how it travels; a page that tells something new inserts its row.';

comment on table public.profile_counts is 'How many published items of each kind a profile has; no row: none. Readable with the profile, written by triggers.';

comment on type private.content_state is 'Whether something is hidden.';

revoke all on function private.add_comments(text, uuid[], integer[]) from public;

revoke all on function private.build_dispatch() from public;

revoke all on function private.comment_lock(uuid[]) from public;

revoke all on function private.comment_place(uuid[]) from public;

revoke all on function private.comments_counter(public.comments) from public;

revoke all on function private.count_published_item(text, uuid, integer) from public;

revoke all on function private.hold_each(regclass, uuid[]) from public;

revoke all on function private.hook_branch(private.kinds, private.hooks) from public;

revoke all on function private.mail_notification(uuid, uuid, text) from public;

revoke all on function private.message_evidence(uuid[], uuid) from public;

revoke all on function private.moderate(text, uuid, boolean, text, boolean) from public;

grant execute on function private.moderate(text, uuid, boolean, text, boolean) to authenticated;

revoke all on function private.notify(uuid, text, uuid, text, uuid, text) from public;

revoke all on function private.post_evidence(uuid[], uuid) from public;

revoke all on function private.post_place(uuid[]) from public;

revoke all on function private.product_hide(uuid[], text) from public;

revoke all on function private.product_lock(uuid[]) from public;

revoke all on function private.profile_can_read(uuid[]) from public;

grant execute on function private.profile_can_read(uuid[]) to authenticated;

revoke all on function private.profile_evidence(uuid[], uuid) from public;

revoke all on function private.require_hook(text, text) from public;

grant execute on function private.require_hook(text, text) to authenticated;

revoke all on function private.store_report(text, uuid, public.report_reason, text) from public;

grant execute on function private.store_report(text, uuid, public.report_reason, text) to authenticated;

grant execute on function public.hide_content(text, uuid, text) to authenticated;

grant execute on function public.moderation_queue(timestamp with time zone, uuid, integer) to authenticated;

grant execute on function public.report_content(text, uuid, public.report_reason, text) to authenticated;

grant execute on function public.restore_content(text, uuid) to authenticated;

grant execute
    on function public.search_catalog(text, text, text, text[], bigint, bigint, timestamp
        with time zone, uuid, integer)
    to anon, authenticated;

revoke all on table public.profile_counts from anon;

grant select on table public.profile_counts to anon;

revoke all on table public.profile_counts from authenticated;

grant select on table public.profile_counts to authenticated;

revoke all on table public.profile_counts from service_role;

grant select on table public.profile_counts to service_role;

comment on type private.content_place is 'Whose something is, and in which group it was written.';
comment on type private.reported_content is 'What is reported as it is now, and whose it is.';

-- See 97_statistics/10_texts.
alter table public.hidden_content alter column target_type set statistics 0;
alter table public.audit_log alter column target_type set statistics -1;

-- What is compared and sorted by has samples again.
analyze public.catalog_items;
analyze public.notifications;
