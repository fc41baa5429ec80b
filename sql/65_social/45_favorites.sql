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

select private.make_counter('public.favorites', 'item_id', 'favorites_count');
select private.make_hold('public.catalog_items', 'item');
select private.make_own_rows('public.favorites', 'item_id', deletable => 'private.hold_item(item_id)');

insert into private.personal_data (section, relation, condition) values
('favorites', 'public.favorites', 't.user_id = $1');

insert into private.erasure_steps (step, phase, erases, statement, batch) values
('favorites', 'reactions', '{public.favorites}',
    'delete from public.favorites where user_id = $1',
    'select private.erase_rows(''public.favorites'', ''user_id = $1'', $1, $2)');
