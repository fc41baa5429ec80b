-- Wish lists: what members want to buy one day or would like to be given. A list is its owner's alone until they share
-- it: then whoever has its token reads it, until it is taken back. The token is random and kept as a hash, so that
-- neither guessing nor a copy of this database opens a list.
--
-- Of what is on a list its owner is told once for each new lowest price, and when it can be had again. A seller's
-- change only leaves a note that there was one; a job looks who waits for the item.

alter table private.settings
add column wish_lists_per_member integer not null default 20,
add column items_per_wish_list integer not null default 100,
add column wish_notices_per_day integer not null default 3;
comment on column private.settings.wish_lists_per_member is 'How many wish lists a member may have.';
comment on column private.settings.items_per_wish_list is 'How many items may be on one wish list.';
comment on column private.settings.wish_notices_per_day is
'How often in 24 hours somebody is told the same of one item: a cent less each minute is no news.';

create table public.wish_lists (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    name text not null,
    shared_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint wish_lists_pkey primary key (id),
    constraint wish_lists_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint wish_lists_name_check check (char_length(name) between 1 and 100)
);
create index wish_lists_user_id_created_at_idx on public.wish_lists (user_id, created_at desc, id desc);

-- What a client that breaks these is told, see error_catalog().
comment on constraint wish_lists_name_check on public.wish_lists is
'invalid_wish_list: A wish list has a name of 1 to 100 characters.';

comment on table public.wish_lists is
'Wish lists. Owner only; whoever has the token reads it with shared_wish_list().';
comment on column public.wish_lists.user_id is 'Whose; always the caller.';
comment on column public.wish_lists.name is 'In one line.';
comment on column public.wish_lists.shared_at is 'Since when; null while it is the owner''s alone.';

-- The share token, kept as a hash.
create table private.wish_list_tokens (
    list_id uuid not null,
    token_hash bytea not null,
    constraint wish_list_tokens_pkey primary key (list_id),
    constraint wish_list_tokens_token_hash_key unique (token_hash),
    constraint wish_list_tokens_list_id_fkey foreign key (list_id) references public.wish_lists (id) on delete cascade
);
comment on table private.wish_list_tokens is 'What opens the lists that are shared.';
comment on column private.wish_list_tokens.list_id is 'Which list.';
comment on column private.wish_list_tokens.token_hash is 'SHA-256 of the token.';
alter table private.wish_list_tokens enable row level security;

create trigger _tidy_texts before insert or update of name on public.wish_lists
for each row execute function private.tidy_texts('name line');
create trigger touch_updated_at before update on public.wish_lists
for each row execute function private.touch_updated_at();

create function private.check_wish_list() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Two at once must not both be the last.
    perform from public.profiles as p where p.id = new.user_id for no key update;
    if (select count(*) from public.wish_lists as w where w.user_id = new.user_id)
        >= (select s.wish_lists_per_member from private.settings as s) then
        perform private.fail('too_many_wish_lists');
    end if;
    return new;
end
$$;
comment on function private.check_wish_list() is 'Trigger: a member has only so many wish lists.';
create trigger check_wish_list before insert on public.wish_lists
for each row execute function private.check_wish_list();

create table public.wish_list_items (
    list_id uuid not null,
    item_id uuid not null,
    lowest_cents bigint not null default 0,
    is_awaited boolean not null default false,
    added_at timestamptz not null default now(),
    constraint wish_list_items_pkey primary key (list_id, item_id),
    constraint wish_list_items_list_id_fkey foreign key (list_id) references public.wish_lists (id) on delete cascade,
    constraint wish_list_items_item_id_fkey foreign key (item_id)
    references public.catalog_items (id) on delete cascade,
    constraint wish_list_items_lowest_cents_check check (lowest_cents between 0 and private.highest_amount_cents())
);
create index wish_list_items_list_id_added_at_idx on public.wish_list_items (list_id, added_at desc, item_id desc);
create index wish_list_items_item_id_idx on public.wish_list_items (item_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint wish_list_items_pkey on public.wish_list_items is 'already_done: It is on the list already.';
comment on constraint wish_list_items_list_id_fkey on public.wish_list_items is
'wish_list_not_found: There is no such wish list.';
comment on constraint wish_list_items_item_id_fkey on public.wish_list_items is
'item_not_found: There is no such item.';

comment on table public.wish_list_items is
'What is on a wish list. Owner only. It stays when the item leaves the shop; the embedded item is null while the owner '
'may not see it.';
comment on column public.wish_list_items.lowest_cents is
'The lowest price its owner knows of, cents: when it was put on the list, or was told of. Kept by trigger and job.';
comment on column public.wish_list_items.is_awaited is
'It was sold out; its owner is told when it can be had again. Kept by trigger and job.';

create function private.check_wish() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    item record;
begin
    -- Two at once must not both be the last.
    perform from public.wish_lists as w
    where w.id = new.list_id and w.user_id = private.member_id() for no key update;
    if not found then
        perform private.fail('wish_list_not_found', new.list_id::text);
    end if;
    select c.price_cents, c.is_sold_out into item
    from public.catalog_items as c
    where c.id = new.item_id and c.is_visible and c.seller_id <> all (array(select private.blocked_ids()));
    if not found then
        perform private.fail('item_not_found', new.item_id::text);
    end if;
    if
        not exists (
            select from public.wish_list_items as i where i.list_id = new.list_id and i.item_id = new.item_id
        )
        and (select count(*) from public.wish_list_items as i where i.list_id = new.list_id)
        >= (select s.items_per_wish_list from private.settings as s)
    then
        perform private.fail('wish_list_full', new.list_id::text);
    end if;
    new.lowest_cents := item.price_cents;
    new.is_awaited := item.is_sold_out;
    return new;
end
$$;
comment on function private.check_wish() is
'Trigger: only what the caller finds in the shop is put on a list of theirs, and only so much.';
create trigger check_wish before insert on public.wish_list_items
for each row execute function private.check_wish();

-- What clients upsert sets the key again.
create function private.keep_wish() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.list_id := old.list_id;
    new.item_id := old.item_id;
    return new;
end
$$;
comment on function private.keep_wish() is 'Trigger: an item that is put on a list again stays as it is.';
create trigger keep_wish before update of list_id, item_id on public.wish_list_items
for each row execute function private.keep_wish();

create function private.is_my_wish_list(list_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.wish_lists as w where w.id = is_my_wish_list.list_id and w.user_id = private.member_id()
    );
end
$$;
comment on function private.is_my_wish_list(uuid) is 'Whether a list is the caller''s. For policies.';
grant execute on function private.is_my_wish_list(uuid) to authenticated;

alter table public.wish_lists enable row level security;
grant
select, delete, insert (name), update (name)
on public.wish_lists to authenticated;
grant select on public.wish_lists to service_role;
create policy wish_lists_select on public.wish_lists for select to authenticated
using (user_id = (select private.member_id()));
create policy wish_lists_insert on public.wish_lists for insert to authenticated
with check (user_id = (select private.member_id()));
create policy wish_lists_update on public.wish_lists for update to authenticated
using (user_id = (select private.member_id()))
with check (user_id = (select private.member_id()));
create policy wish_lists_delete on public.wish_lists for delete to authenticated
using (user_id = (select private.member_id()));

alter table public.wish_list_items enable row level security;
grant
select, delete, insert (list_id, item_id), update (list_id, item_id)
on public.wish_list_items to authenticated;
grant select on public.wish_list_items to service_role;
create policy wish_list_items_select on public.wish_list_items for select to authenticated
using (private.is_my_wish_list(list_id));
create policy wish_list_items_insert on public.wish_list_items for insert to authenticated
with check (private.is_my_wish_list(list_id));
create policy wish_list_items_update on public.wish_list_items for update to authenticated
using (private.is_my_wish_list(list_id))
with check (private.is_my_wish_list(list_id));
create policy wish_list_items_delete on public.wish_list_items for delete to authenticated
using (private.is_my_wish_list(list_id));

-- Sharing.

create function public.share_wish_list(list_id uuid) returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    token text := encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'hex');
begin
    update public.wish_lists as w set shared_at = clock_timestamp()
    where w.id = share_wish_list.list_id and w.user_id = member;
    if not found then
        perform private.fail('wish_list_not_found', share_wish_list.list_id::text);
    end if;
    insert into private.wish_list_tokens as t (list_id, token_hash)
    values (share_wish_list.list_id, sha256(convert_to(token, 'utf8')))
    on conflict on constraint wish_list_tokens_pkey do update set token_hash = excluded.token_hash;
    return token;
end
$$;
comment on function public.share_wish_list(uuid) is
'A token with which anybody reads the list, see shared_wish_list(); shown this once. An earlier one opens it no more. '
'Error: wish_list_not_found.';
grant execute on function public.share_wish_list(uuid) to authenticated;

create function public.unshare_wish_list(list_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    update public.wish_lists as w set shared_at = null
    where w.id = unshare_wish_list.list_id and w.user_id = member;
    if not found then
        perform private.fail('wish_list_not_found', unshare_wish_list.list_id::text);
    end if;
    delete from private.wish_list_tokens as t where t.list_id = unshare_wish_list.list_id;
end
$$;
comment on function public.unshare_wish_list(uuid) is
'The list is its owner''s alone again: its token opens nothing any more. Error: wish_list_not_found.';
grant execute on function public.unshare_wish_list(uuid) to authenticated;

create type public.shared_wish as (
    item_id uuid,
    kind text,
    title text,
    slug text,
    thumbnail_url text,
    price_cents bigint,
    currency character (3),
    is_buyable boolean,
    added_at timestamptz
);
comment on type public.shared_wish is
'What is on a shared list. Of what the reader does not find in the shop nothing is said but that it was there: '
'item_id, title, price and the rest are null, is_buyable is false.';

create type public.shared_wish_list as (name text, owner_name text, items public.shared_wish []);
comment on type public.shared_wish_list is 'A shared list: its name, its owner''s display name, the last added first.';

create function public.shared_wish_list(token text) returns public.shared_wish_list
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    list record;
    hidden uuid [] := case
        when auth.uid() is null then array(select private.hidden_ids()) else array(select private.blocked_ids())
    end;
begin
    select w.id, w.name, p.display_name into list
    from private.wish_list_tokens as t
    inner join public.wish_lists as w on w.id = t.list_id
    inner join public.profiles as p on p.id = w.user_id and p.deleted_at is null and not p.is_banned
    where
        t.token_hash = sha256(convert_to(left(shared_wish_list.token, 100), 'utf8'))
        and w.user_id <> all (hidden);
    if list.id is null then
        perform private.fail('wish_list_not_found');
    end if;
    return row(list.name, list.display_name, array(
        select row(
            c.id, c.kind, c.title, c.slug, c.thumbnail_url::text, c.price_cents, c.currency,
            coalesce(c.is_buyable, false), i.added_at
        )::public.shared_wish
        from public.wish_list_items as i
        left join public.catalog_items as c
            on c.id = i.item_id and c.is_visible and c.seller_id <> all (hidden)
        where i.list_id = list.id
        order by i.added_at desc, i.item_id desc
    ))::public.shared_wish_list;
end
$$;
comment on function public.shared_wish_list(text) is
'The list of a token, for whoever has it, signed in or not. Error: wish_list_not_found: there never was such a token, '
'it was taken back, or its owner is gone.';
grant execute on function public.shared_wish_list(text) to anon, authenticated;

-- What its owners are told.

create table private.item_changes (
    id bigint not null generated always as identity,
    item_id uuid not null,
    constraint item_changes_pkey primary key (id)
);
comment on table private.item_changes is
'Items on wish lists that became cheaper, sold out or available: for tell_wishers(), which removes the note.';
comment on column private.item_changes.item_id is 'Which; it may be gone.';
alter table private.item_changes enable row level security;

create function private.note_item_change() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into private.item_changes (item_id)
    select new.id where exists (select from public.wish_list_items as i where i.item_id = new.id);
    return null;
end
$$;
comment on function private.note_item_change() is 'Trigger on catalog_items: notes what somebody may wait for.';
create trigger note_item_change after update on public.catalog_items
for each row when (
    new.price_cents < old.price_cents or new.is_sold_out <> old.is_sold_out
    or new.is_buyable and not old.is_buyable
)
execute function private.note_item_change();

create function private.tell_wishers(max_items integer default 100) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    note bigint;
    item public.catalog_items;
    notices private.notice [];
    looked integer := 0;
begin
    for note, item.id in
        select c.id, c.item_id from private.item_changes as c
        order by c.id
        limit max_items
        for update skip locked
    loop
        looked := looked + 1;
        delete from private.item_changes as c where c.id = note;
        -- As it is now: a price that is up again is no news, and of two changes the second finds nothing to tell.
        select c.* into item from public.catalog_items as c where c.id = item.id;
        continue when not found;
        if item.is_sold_out then
            update public.wish_list_items as i set is_awaited = true where i.item_id = item.id and not i.is_awaited;
        end if;
        continue when not item.is_buyable;
        with changed as materialized (
            select i.list_id, i.item_id, w.user_id, i.is_awaited, i.lowest_cents
            from public.wish_list_items as i
            inner join public.wish_lists as w on w.id = i.list_id
            where i.item_id = item.id and (i.is_awaited or i.lowest_cents > item.price_cents)
            order by i.list_id
            for no key update of i
        ), people as (
            select
                o.user_id, bool_or(c.is_awaited) as is_back,
                -- On another list they know of a lower price already.
                min(o.lowest_cents) > item.price_cents as is_cheaper
            from (
                select w.user_id, i.lowest_cents
                from public.wish_list_items as i
                inner join public.wish_lists as w on w.id = i.list_id
                where i.item_id = item.id and w.user_id in (select c.user_id from changed as c)
            ) as o
            inner join changed as c on c.user_id = o.user_id
            group by o.user_id
        ), known as (
            update public.wish_list_items as i
            set lowest_cents = least(i.lowest_cents, item.price_cents), is_awaited = false
            from changed as c
            where i.list_id = c.list_id and i.item_id = c.item_id
        )
        select array_agg(
            row(n.type, p.user_id, null, item.kind, item.id, null)::private.notice order by p.user_id, n.type
        ) into notices
        from people as p
        cross join lateral (
            select 'price_drop' as type where p.is_cheaper
            union all
            select 'back_in_stock' where p.is_back
        ) as n
        where private.is_visible_to(item.seller_id, p.user_id) and p.user_id <> item.seller_id and (
            select count(*) from public.notifications as t
            where
                t.related_id = item.id and t.type = n.type and t.user_id = p.user_id
                and t.created_at > now() - interval '24 hours'
        ) < (select s.wish_notices_per_day from private.settings as s) and not exists (
            select from public.user_blocks as b
            where
                b.blocker_id = p.user_id and b.blocked_id = item.seller_id
                or b.blocker_id = item.seller_id and b.blocked_id = p.user_id
        );
        if notices is not null then
            perform private.notify_many(notices);
        end if;
    end loop;
    return looked;
end
$$;
comment on function private.tell_wishers(integer) is
'Looks at items that changed and tells those who wish for them: price_drop once for each new lowest price, '
'back_in_stock once after it was sold out, each at most settings.wish_notices_per_day times. '
'Returns at how many it looked. A job calls it every few seconds.';
grant execute on function private.tell_wishers(integer) to avenue_worker;

insert into private.notification_types (
    type, title, message, link_template, collapse, collapse_unread, email, can_switch_off, is_anonymous,
    outlives_content, reaches_banned
) values
('price_drop', 'Now cheaper', 'Something on your wish list costs less now.', null, null, false, 'digest', true, false,
false, false),
('back_in_stock', 'Available again', 'Something on your wish list can be bought again.', null, null, false, 'digest',
true, false, false, false);

insert into private.personal_data (section, relation, condition, stays, reason) values
('wish_lists', 'public.wish_lists', 't.user_id = $1', '{}', null),
('wish_list_items', 'public.wish_list_items',
    't.list_id in (select w.id from public.wish_lists as w where w.user_id = $1)', '{}', null),
('wish_list_tokens', 'private.wish_list_tokens', null, '{}', 'a hash of what opens a list; goes with it'),
('item_changes', 'private.item_changes', null, '{item_id}', 'items that changed, for some seconds');
insert into private.erasure_steps (step, phase, erases, statement) values
('wish_lists', 'reactions', '{public.wish_lists}', 'delete from public.wish_lists where user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('wish_list_not_found', 'PT404', 'There is no such wish list.',
'It does not exist, is somebody else''s, or its link was taken back.'),
('too_many_wish_lists', 'PT409', 'You have too many wish lists.', 'A member has at most 20. Delete one first.'),
('wish_list_full', 'PT409', 'This wish list is full.', 'A list has at most 100 items. Remove one, or begin another.');
