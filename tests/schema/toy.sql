-- A kind made up for test_kinds.py: everything a new kind of thing in the shop needs is on this one page.

create table public.toys (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    price_cents bigint not null,
    is_published boolean not null default false,
    is_hidden boolean not null default false,
    hidden_reason text,
    created_at timestamptz not null default now(),
    constraint toys_pkey primary key (id),
    constraint toys_slug_key unique (slug),
    constraint toys_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint toys_id_fkey foreign key (id) references public.catalog_items (id) deferrable initially deferred,
    constraint toys_title_check check (char_length(title) between 1 and 255),
    constraint toys_slug_check check (private.is_slug(slug) and char_length(slug) <= 100),
    constraint toys_price_cents_check check (private.is_price(price_cents) and price_cents > 0)
);
create index toys_seller_id_idx on public.toys (seller_id);
alter table public.toys alter column title set statistics 0;
alter table public.toys alter column slug set statistics 0;
alter table public.toys alter column hidden_reason set statistics 0;

comment on constraint toys_title_check on public.toys is 'invalid_title: A title has 1 to 255 characters.';
comment on constraint toys_price_cents_check on public.toys is 'invalid_price: A price is from 50 to 99999999 cents.';
comment on constraint toys_slug_key on public.toys is 'slug_taken: Another toy just took this address; try again.';
comment on table public.toys is 'Toys.';
comment on column public.toys.seller_id is 'The seller; the caller.';
comment on column public.toys.title is 'Title.';
comment on column public.toys.slug is 'Address part, made from the title.';
comment on column public.toys.price_cents is 'Price, cents.';
comment on column public.toys.is_published is 'Whether it is in the shop.';
comment on column public.toys.is_hidden is 'Taken down by an admin.';
comment on column public.toys.hidden_reason is 'Why, told to the seller.';

create function private.catalog_entry(toy public.toys) returns private.catalog_entry
language sql
stable
set search_path = ''
as $$
    select row(
        'toy', toy.seller_id, toy.title, toy.slug, null, toy.price_cents, null, 'USD', 'toys', '{}'::text [], false,
        false, toy.is_published and not toy.is_hidden, true, null
    )::private.catalog_entry
$$;
comment on function private.catalog_entry(public.toys) is 'A toy''s registry row.';

create function private.check_toy() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    new.slug := private.free_slug(new.slug, new.title, 'public.toys', new.id);
    return new;
end
$$;
comment on function private.check_toy() is 'Trigger: gives a toy its address.';

create trigger _tidy_texts before insert or update of title on public.toys
for each row execute function private.tidy_texts('title line required');
create trigger check_toy before insert on public.toys
for each row execute function private.check_toy();
create trigger refuse_ordered_item before delete on public.toys
for each row execute function private.refuse_ordered_item();
create trigger sync_catalog_item after insert or update or delete on public.toys
for each row execute function private.sync_catalog_item();

alter table public.toys enable row level security;
grant select on public.toys to anon, authenticated, service_role;
grant insert (title, price_cents, is_published), update (title, price_cents, is_published) on public.toys
to authenticated;
create policy toys_select_anon on public.toys for select to anon
using ((select c.id from public.catalog_items as c where c.id = toys.id) is not null);
create policy toys_select on public.toys for select to authenticated
using (
    seller_id = (select private.member_id())
    or (select c.id from public.catalog_items as c where c.id = toys.id) is not null
);
create policy toys_insert on public.toys for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy toys_update on public.toys for update to authenticated
using (seller_id = (select private.member_id()))
with check (seller_id = (select private.member_id()));

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('toy', 'public.toys', 'seller_id', '/toys/{id}', '{can_read,evidence,place,lock,hide}');

insert into private.personal_data (section, relation, condition) values
('toys', 'public.toys', 't.seller_id = $1');

insert into private.erasure_steps (step, phase, erases, statement) values
('toys', 'items', '{public.toys}', 'delete from public.toys where seller_id = $1');

select private.build_dispatch();
