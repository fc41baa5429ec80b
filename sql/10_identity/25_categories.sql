-- The main categories of creators and of what they sell. Reference data; the slug is what code refers to.

-- What people type is compared in its normal form. Immutable: unique indexes are built on it.
create function private.normal_form(value text) returns text
language sql
immutable
set search_path = ''
as $$
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
$$;
comment on function private.normal_form(text) is
'What the spellings of one name share: case, spaces, hyphens, kinds of apostrophe, & or and, Unicode variants and '
'invisible characters make no difference; accents do.';
grant execute on function private.normal_form(text) to authenticated;

create table public.categories (
    id uuid not null default gen_random_uuid(),
    name text not null,
    slug extensions.citext not null,
    description text,
    icon text,
    sort_order integer not null default 0,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint categories_pkey primary key (id),
    constraint categories_slug_key unique (slug),
    constraint categories_name_check check (char_length(btrim(name)) between 1 and 80),
    constraint categories_slug_check check (private.is_slug(slug::text))
);

create unique index categories_normal_name_idx on public.categories (private.normal_form(name));

comment on table public.categories is
'The main categories. Everybody reads active ones; changed by migrations and by approved requests.';
comment on column public.categories.name is 'Name to show.';
comment on column public.categories.slug is 'Stable key in addresses.';
comment on column public.categories.description is 'One sentence on who belongs here.';
comment on column public.categories.icon is 'Icon name or address.';
comment on column public.categories.sort_order is 'Position in menus, ascending.';
comment on column public.categories.is_active is 'False hides it from everybody but admins.';

create trigger touch_updated_at before update on public.categories
for each row execute function private.touch_updated_at();

alter table public.categories enable row level security;
grant select on public.categories to anon, authenticated, service_role;

create policy categories_select_anon on public.categories for select to anon
using (is_active);
create policy categories_select on public.categories for select to authenticated
using (is_active or (select private.is_admin()));

insert into public.categories (slug, name, description, icon, sort_order) values
('musician', 'Musician', 'Instrumentalists and performing artists.', 'music', 1),
('producer-engineer', 'Producer/Engineer', 'Producers, mixing and mastering engineers.', 'sliders', 2),
('vocalist', 'Vocalist', 'Singers, rappers and voice artists.', 'mic', 3),
('visual-artist', 'Visual Artist', 'Illustrators, designers, photographers and film makers.', 'palette', 4),
('educator', 'Educator', 'Teachers, coaches and mentors.', 'graduation-cap', 5),
('content-creator', 'Content Creator', 'Streamers, video makers, podcasters and writers.', 'video', 6),
('industry-professional', 'Industry Professional', 'Managers, labels, promoters, lawyers.', 'briefcase', 7),
('music-tools-creator', 'Music Tools Creator', 'Makers of plug-ins, samples, presets and instruments.', 'wrench', 8);

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('category', 'public.categories', null, null, '{}');
