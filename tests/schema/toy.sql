-- Two kinds made up for test_kinds.py: toys are sold, tales are told about them and are not. Everything a new kind of
-- thing needs is on this one page; what is liked, counted, tagged, told of and kept has one call for each shape.

create table public.toys (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    title text not null,
    slug text not null default '',
    price_cents bigint not null,
    is_published boolean not null default false,
    is_hidden boolean not null default false,
    hidden_reason text,
    likes_count integer not null default 0,
    tales_count integer not null default 0,
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
comment on column public.toys.title is 'Title.';
comment on column public.toys.slug is 'Address part, made from the title.';
comment on column public.toys.price_cents is 'Price, cents.';
comment on column public.toys.is_published is 'Whether it is in the shop.';
comment on column public.toys.is_hidden is 'Taken down by an admin.';
comment on column public.toys.hidden_reason is 'Why, told to the seller.';
comment on column public.toys.tales_count is 'Tales about it that others than their authors read.';

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

select private.make_hold('public.toys', 'toy');
select private.make_reactions('public.toy_likes', 'toy_id', 'public.toys', 'liked');
select private.make_counter('public.toy_likes', 'toy_id', 'likes_count');
select private.make_by_me('liked', 'public.toy_likes', 'toy_id');
select private.make_tell_reactions('like', 'public.toy_likes', 'toy_id');
create trigger forget_hidden after update of is_hidden on public.toys
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('seller_id');

create table public.tales (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    toy_id uuid not null,
    content text not null,
    tags text[] not null default '{}',
    likes_count integer not null default 0,
    is_hidden boolean not null default false,
    hidden_reason text,
    author_audience public.audience not null default 'owner',
    audience public.audience not null generated always as (
        case when is_hidden then 'owner'::public.audience else author_audience end
    ) stored,
    created_at timestamptz not null default now(),
    constraint tales_pkey primary key (id),
    constraint tales_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint tales_toy_id_fkey foreign key (toy_id) references public.toys (id) on delete cascade
);
create index tales_user_id_idx on public.tales (user_id);
create index tales_toy_id_idx on public.tales (toy_id);
alter table public.tales alter column content set statistics 0;
alter table public.tales alter column tags set statistics 0;
alter table public.tales alter column hidden_reason set statistics 0;

comment on constraint tales_toy_id_fkey on public.tales is 'toy_not_found: There is no such toy.';
comment on table public.tales is 'Tales.';
comment on column public.tales.content is 'What happened.';
comment on column public.tales.tags is 'The #hashtags of the content.';
comment on column public.tales.is_hidden is 'Taken down by an admin.';
comment on column public.tales.hidden_reason is 'Why, told to the author.';
comment on column public.tales.author_audience is 'Copy of the author''s widest audience.';
comment on column public.tales.audience is 'Who may read it.';

create function private.check_tale() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    new.tags := private.hashtags(new.content);
    new.author_audience := private.lock_audience(new.user_id);
    return new;
end
$$;
comment on function private.check_tale() is 'Trigger: completes a tale.';

create trigger _tidy_texts before insert or update of content on public.tales
for each row execute function private.tidy_texts('content body required');
create trigger check_tale before insert or update of content on public.tales
for each row execute function private.check_tale();

alter table public.tales enable row level security;
grant select on public.tales to anon, authenticated, service_role;
grant insert (toy_id, content), update (content), delete on public.tales to authenticated;
create policy tales_select_anon on public.tales for select to anon using (audience = 'public');
create policy tales_select on public.tales for select to authenticated
using (audience <> 'owner' or user_id = (select private.member_id()) or (select private.is_admin()));
create policy tales_insert on public.tales for insert to authenticated
with check (user_id = (select private.member_id()));
create policy tales_update on public.tales for update to authenticated
using (user_id = (select private.member_id())) with check (user_id = (select private.member_id()));
create policy tales_delete on public.tales for delete to authenticated
using (user_id = (select private.member_id()) and private.hold_toy(toy_id));

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('tale', 'public.tales', 'user_id', '/tales/{id}', '{can_read,evidence,place,lock,hide}');
insert into private.personal_data (section, relation, condition) values
('tales', 'public.tales', 't.user_id = $1');
insert into private.erasure_steps (step, phase, erases, statement) values
('tales', 'works', '{public.tales}', 'delete from public.tales where user_id = $1');

select private.make_shown_counter(
    'public.tales', '{toy_id}', 'tales_count', '{row}.audience <> ''owner''', 'author_audience'
);
select private.make_follow_author('public.tales', 'user_id', 40);
select private.make_tag_notes(
    'public.tales', 'user_id', '{row}.audience = ''public''', 'content, is_hidden, author_audience', 'author_audience'
);
select private.make_hold('public.tales', 'tale');
select private.make_reactions('public.tale_likes', 'tale_id', 'public.tales', 'liked');
select private.make_counter('public.tale_likes', 'tale_id', 'likes_count');
select private.make_by_me('liked', 'public.tale_likes', 'tale_id');
select private.make_tell_reactions('like', 'public.tale_likes', 'tale_id');
create trigger forget_hidden after update of is_hidden on public.tales
for each row when (new.is_hidden and not old.is_hidden) execute function private.forget_hidden('user_id');
create trigger forget_deleted after delete on public.tales referencing old table as gone
for each statement execute function private.forget_deleted();

select private.build_dispatch();
