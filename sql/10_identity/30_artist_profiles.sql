-- The artist side of a profile: whoever performs, paints or consults adds one.

create table public.artist_profiles (
    user_id uuid not null default auth.uid(),
    artist_name text not null,
    genre text,
    banner_image_url public.http_url,
    website public.http_url,
    social_links jsonb not null default '{}',
    is_verified boolean not null default false,
    hourly_rate_cents bigint,
    currency character(3) not null default 'USD',
    total_plays bigint not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint artist_profiles_pkey primary key (user_id),
    constraint artist_profiles_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint artist_profiles_artist_name_check check (char_length(artist_name) between 1 and 255),
    constraint artist_profiles_genre_check check (char_length(genre) between 1 and 64),
    -- Every value is an http(s) address: these end up in links.
    constraint artist_profiles_social_links_check check (
        jsonb_typeof(social_links) = 'object'
        and octet_length(social_links::text) <= 8192
        and private.hides_nothing(jsonb_path_query_array(social_links, '$.*')::text)
        and not jsonb_path_exists(
            social_links, 'strict $.* ? (@.type() != "string" || !(@ like_regex "^https?://[^[:space:]\"<>]+$"))'
        )
    ),
    constraint artist_profiles_hourly_rate_cents_check check (private.is_price(hourly_rate_cents)),
    constraint artist_profiles_total_plays_check check (total_plays >= 0)
);

create index artist_profiles_genre_idx on public.artist_profiles (genre);

-- What a client that breaks these is told, see error_catalog().
comment on constraint artist_profiles_artist_name_check on public.artist_profiles is
'invalid_artist_name: An artist name has 1 to 255 characters.';
comment on constraint artist_profiles_genre_check on public.artist_profiles is
'invalid_genre: A genre has 1 to 64 characters.';
comment on constraint artist_profiles_hourly_rate_cents_check on public.artist_profiles is
'invalid_price: An hourly rate is 0 or from 50 to 99999999 cents.';
comment on constraint artist_profiles_social_links_check on public.artist_profiles is
'invalid_social_links: Social links are an object of http(s) addresses, at most 8 kB.';

comment on table public.artist_profiles is
'Artist extension of a profile, readable by whoever may read the profile. Name, picture and text about the person are '
'on profiles.';
comment on column public.artist_profiles.user_id is 'Whose; always the caller.';
comment on column public.artist_profiles.artist_name is 'Stage name, at most 255 characters.';
comment on column public.artist_profiles.genre is 'Main genre in the artist''s words.';
comment on column public.artist_profiles.banner_image_url is 'Banner of the artist page, http(s) only.';
comment on column public.artist_profiles.website is 'The artist''s site, http(s) only.';
comment on column public.artist_profiles.social_links is
'Network name to http(s) address, for example {"instagram": "https://instagram.com/x"}.';
comment on column public.artist_profiles.is_verified is
'Verified badge. Given by verify_artist() only; another artist_name, username, name or picture takes it away.';
comment on column public.artist_profiles.hourly_rate_cents is
'Price of an hour''s consultation, cents; null offers none, 0 is free.';
comment on column public.artist_profiles.currency is 'ISO 4217, of hourly_rate_cents.';
comment on column public.artist_profiles.total_plays is 'Counted plays of all tracks; kept by the server.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of artist_name, genre, social_links on public.artist_profiles
for each row execute function private.tidy_texts('artist_name line required', 'genre line', 'social_links object');

create trigger touch_updated_at
before update of artist_name, genre, banner_image_url, website, social_links, hourly_rate_cents, is_verified
on public.artist_profiles
for each row execute function private.touch_updated_at();

-- The badge vouches for a name; another name has to be vouched for again.
create function private.drop_verification() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.is_verified := false;
    return new;
end
$$;
comment on function private.drop_verification() is 'Trigger: a renamed artist loses the verified badge.';

create trigger drop_verification
before update of artist_name on public.artist_profiles
for each row
when (old.artist_name is distinct from new.artist_name)
execute function private.drop_verification();

create function private.drop_verification_of_profile() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.artist_profiles as a set is_verified = false where a.user_id = new.id and a.is_verified;
    return null;
end
$$;
comment on function private.drop_verification_of_profile() is
'Trigger on profiles: an artist under another name, handle or picture has to be verified again.';

create trigger drop_artist_verification
after update of username, display_name, full_name, avatar_url, avatar_media_id on public.profiles
for each row
when (
    (old.username::text, old.display_name, old.full_name, old.avatar_url, old.avatar_media_id)
    is distinct from (new.username::text, new.display_name, new.full_name, new.avatar_url, new.avatar_media_id)
)
execute function private.drop_verification_of_profile();

create function public.verify_artist(user_id uuid, verified boolean) returns void
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function public.verify_artist(uuid, boolean) is 'Admins: gives or takes the verified badge; audited.';
grant execute on function public.verify_artist(uuid, boolean) to authenticated;

alter table public.artist_profiles enable row level security;
grant select on public.artist_profiles to anon, authenticated, service_role;
grant insert (artist_name, genre, banner_image_url, website, social_links, hourly_rate_cents)
on public.artist_profiles to authenticated;
grant update (artist_name, genre, banner_image_url, website, social_links, hourly_rate_cents)
on public.artist_profiles to authenticated;
grant delete on public.artist_profiles to authenticated;

-- Read through the profile's own policy: hidden profile, hidden artist page.
create policy artist_profiles_select_anon on public.artist_profiles for select to anon
using (exists (select from public.profiles as p where p.id = user_id));
create policy artist_profiles_select on public.artist_profiles for select to authenticated
using (exists (select from public.profiles as p where p.id = user_id));
create policy artist_profiles_insert on public.artist_profiles for insert to authenticated
with check (user_id = (select private.member_id()));
create policy artist_profiles_update on public.artist_profiles for update to authenticated
using (user_id = (select private.member_id()))
with check (user_id = (select private.member_id()));
create policy artist_profiles_delete on public.artist_profiles for delete to authenticated
using (user_id = (select private.member_id()));

insert into private.erasure_steps (step, phase, erases, statement) values
('artist_profile', 'details', '{public.artist_profiles}', 'delete from public.artist_profiles where user_id = $1');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('artist_profile', 'public.artist_profiles', null, null, '{}');

insert into private.personal_data (section, relation, condition) values
('artist_profile', 'public.artist_profiles', 't.user_id = $1');
