-- What people say they do: their categories, skills and genres. Readable as far as their profile is.

create table public.user_categories (
    user_id uuid not null default auth.uid(),
    category_id uuid not null,
    created_at timestamptz not null default now(),
    constraint user_categories_pkey primary key (user_id, category_id),
    constraint user_categories_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint user_categories_category_id_fkey foreign key (category_id)
    references public.categories (id) on delete cascade
);
create index user_categories_category_id_user_id_idx on public.user_categories (category_id, user_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint user_categories_category_id_fkey on public.user_categories is
'choice_not_available: There is no such category.';
comment on constraint user_categories_pkey on public.user_categories is 'already_done: The category is chosen already.';

comment on table public.user_categories is
'Categories people put themselves in, at most 8 each; read through the profile, written by its owner.';
comment on column public.user_categories.user_id is 'Whose; always the caller.';
comment on column public.user_categories.category_id is 'An active category.';

create table public.user_skills (
    user_id uuid not null default auth.uid(),
    skill_id uuid not null,
    created_at timestamptz not null default now(),
    constraint user_skills_pkey primary key (user_id, skill_id),
    constraint user_skills_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint user_skills_skill_id_fkey foreign key (skill_id) references public.skills (id) on delete cascade
);
create index user_skills_skill_id_user_id_idx on public.user_skills (skill_id, user_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint user_skills_skill_id_fkey on public.user_skills is
'choice_not_available: There is no such skill.';
comment on constraint user_skills_pkey on public.user_skills is 'already_done: The skill is chosen already.';

comment on table public.user_skills is
'Skills people have, at most 50 each; read through the profile, written by its owner.';
comment on column public.user_skills.user_id is 'Whose; always the caller.';
comment on column public.user_skills.skill_id is 'An active, approved skill, whatever its category.';

create table public.user_genres (
    user_id uuid not null default auth.uid(),
    genre_id uuid not null,
    created_at timestamptz not null default now(),
    constraint user_genres_pkey primary key (user_id, genre_id),
    constraint user_genres_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint user_genres_genre_id_fkey foreign key (genre_id) references public.genres (id) on delete cascade
);
create index user_genres_genre_id_user_id_idx on public.user_genres (genre_id, user_id);

-- What a client that breaks these is told, see error_catalog().
comment on constraint user_genres_genre_id_fkey on public.user_genres is
'choice_not_available: There is no such genre.';
comment on constraint user_genres_pkey on public.user_genres is 'already_done: The genre is chosen already.';

comment on table public.user_genres is
'Genres people work in, at most 30 each; read through the profile, written by its owner.';
comment on column public.user_genres.user_id is 'Whose; always the caller.';
comment on column public.user_genres.genre_id is 'An active, approved genre.';

create function private.check_choices() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen_from text := tg_argv[0];
    key text := tg_argv[1];
    most integer := tg_argv[2]::integer;
    available text := tg_argv[3];
    problem text;
begin
    execute format(
        'select a.%1$I::text from added as a left join %2$s as c on c.id = a.%1$I and %3$s where c.id is null limit 1',
        key, chosen_from, available
    ) into problem;
    if problem is not null then
        perform private.fail('choice_not_available', problem);
    end if;

    -- Two requests of one person take turns, so that together they cannot exceed the limit.
    perform pg_advisory_xact_lock(hashtextextended('avenue:' || tg_table_name || o.user_id, 0))
    from (select distinct a.user_id from added as a order by a.user_id) as o;
    execute format(
        'select t.user_id::text from %s as t where t.user_id in (select a.user_id from added as a) '
        'group by t.user_id having count(*) > $1 limit 1', tg_relid::regclass
    ) into problem using most;
    if problem is not null then
        perform private.fail('too_many_choices', most::text);
    end if;
    return null;
end
$$;
comment on function private.check_choices() is
'Trigger (relation chosen from, key column, most per person, condition): only what is on offer can be chosen.';

create trigger check_choices after insert on public.user_categories referencing new table as added
for each statement execute function private.check_choices('public.categories', 'category_id', '8', 'c.is_active');
create trigger check_choices after insert on public.user_skills referencing new table as added
for each statement execute function private.check_choices(
    'public.skills', 'skill_id', '50', 'c.is_active and c.is_admin_approved'
);
create trigger check_choices after insert on public.user_genres referencing new table as added
for each statement execute function private.check_choices(
    'public.genres', 'genre_id', '30', 'c.is_active and c.is_admin_approved'
);

-- Read through the profile's own policy: hidden profile, hidden choices.
select private.make_own_rows(
    'public.user_categories', 'category_id', 'exists (select from public.profiles as p where p.id = user_id)'
);
select private.make_own_rows(
    'public.user_skills', 'skill_id', 'exists (select from public.profiles as p where p.id = user_id)'
);
select private.make_own_rows(
    'public.user_genres', 'genre_id', 'exists (select from public.profiles as p where p.id = user_id)'
);

insert into private.erasure_steps (step, phase, erases, statement) values
('user_categories', 'details', '{public.user_categories}', 'delete from public.user_categories where user_id = $1'),
('user_genres', 'details', '{public.user_genres}', 'delete from public.user_genres where user_id = $1'),
('user_skills', 'details', '{public.user_skills}', 'delete from public.user_skills where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('categories', 'public.user_categories', 't.user_id = $1'),
('genres', 'public.user_genres', 't.user_id = $1'),
('skills', 'public.user_skills', 't.user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('choice_not_available', 'PT409', 'This cannot be chosen.',
'The category, skill or genre in the detail was withdrawn or is not approved. Reload the list.'),
('too_many_choices', 'PT409', 'That is too many.',
'One person has at most 8 categories, 50 skills and 30 genres; the detail is the limit. Remove some first.');
