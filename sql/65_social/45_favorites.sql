-- What members want to find again in the shop. Whose favourite an item is nobody sees, not even its seller; only how
-- many have it.

create table public.favorites (
    user_id uuid not null default auth.uid(),
    item_id uuid not null,
    created_at timestamptz not null default now(),
    constraint favorites_pkey primary key (user_id, item_id),
    constraint favorites_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint favorites_item_id_fkey foreign key (item_id) references public.catalog_items (id) on delete cascade
);

create index favorites_user_id_created_at_idx on public.favorites (user_id, created_at desc, item_id desc);
create index favorites_item_id_idx on public.favorites (item_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint favorites_item_id_fkey on public.favorites is 'item_not_found: There is no such item.';
comment on constraint favorites_pkey on public.favorites is 'already_done: The item is a favorite already.';

comment on table public.favorites is
'Favourites: one row per member and item. Owner only. A favourite stays when its item leaves the shop; the embedded '
'item is null while the owner may not see it.';
comment on column public.favorites.user_id is 'Whose favourite; always the caller.';
comment on column public.favorites.item_id is 'Favoured item of any kind.';

create function private.check_favorite() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- Read as the caller: an item the caller may not see does not exist for favourites either.
    if not exists (select from public.catalog_items as c where c.id = new.item_id and c.is_visible) then
        perform private.fail('item_not_found', new.item_id::text);
    end if;
    return new;
end
$$;
comment on function private.check_favorite() is 'Trigger: only what the caller finds in the shop becomes a favourite.';

create trigger check_favorite before insert on public.favorites
for each row execute function private.check_favorite();

create function private.count_favorites() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    sign integer := case tg_op when 'INSERT' then 1 else -1 end;
    item uuid;
    change integer;
begin
    select c.item_id into item from changed as c;
    perform from changed as c offset 1;
    if found then
        perform private.add_counts('catalog_items.favorites_count', array_agg(c.item_id), array_agg(sign)) from changed as c;
        return null;
    end if;
    if tg_op = 'DELETE' then
        -- Deleted with the item: nothing is left to count on.
        select i.id into item from public.catalog_items as i where i.id = item;
    end if;
    if item is not null then
        change := private.claim_count('catalog_items.favorites_count', item, sign);
        if change is not null then
            update public.catalog_items as i set favorites_count = i.favorites_count + change where i.id = item;
        end if;
    end if;
    return null;
end
$$;
comment on function private.count_favorites() is 'Trigger: catalog_items.favorites_count, as count_post_likes().';

create trigger count_inserted after insert on public.favorites referencing new table as changed
for each statement execute function private.count_favorites();
create trigger count_deleted after delete on public.favorites referencing old table as changed
for each statement execute function private.count_favorites();

-- Who deletes an item takes it, then its favourites; so who gives one up holds the item first.
create function private.hold_item(item_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.catalog_items as i where i.id = hold_item.item_id for key share;
    return true;
end
$$;
comment on function private.hold_item(uuid) is
'Keeps an item from being deleted until the transaction ends; true. For policies on deleting what hangs on it.';
grant execute on function private.hold_item(uuid) to authenticated;

create trigger keep_row before update on public.favorites
for each row execute function private.keep_row();

alter table public.favorites enable row level security;
revoke all on public.favorites from anon, authenticated, service_role;
grant select, delete on public.favorites to authenticated;
grant insert (item_id) on public.favorites to authenticated;
-- For upserts, see keep_row().
grant update (item_id) on public.favorites to authenticated;
grant select on public.favorites to service_role;

create policy favorites_select on public.favorites for select to authenticated
using (user_id = (select private.member_id()));
create policy favorites_insert on public.favorites for insert to authenticated
with check (user_id = (select private.member_id()));
create policy favorites_update on public.favorites for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy favorites_delete on public.favorites for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_item(item_id));

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'catalog_items.favorites_count', 'public.catalog_items', 'id', 'favorites_count',
    'select f.item_id, count(*) from public.favorites as f group by f.item_id'
);

insert into private.personal_data (section, relation, condition) values
('favorites', 'public.favorites', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('favorites', 'reactions', '{public.favorites}',
    'delete from public.favorites where user_id = $1',
    'select private.erase_rows(''public.favorites'', ''user_id = $1'', $1, $2)');
