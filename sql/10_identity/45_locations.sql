-- Where people are, as far as they say, and who is near. A position that is not to be seen exactly is not kept exactly:
-- it is snapped to the centre of a cell of about 11 km before it is stored, so that nothing anybody can compute from
-- answers (distance, order, presence) depends on more than the cell.

create extension if not exists cube with schema extensions;

create type public.location_source as enum ('ip', 'gps', 'manual');
comment on type public.location_source is 'Where a position comes from. gps is for paid plans.';

create type public.location_visibility as enum ('exact', 'city', 'country', 'hidden');
comment on type public.location_visibility is
'What others see: the position to about 100 m; city and country, and roughly how far away; the country; nothing.';

-- Unit vectors instead of degrees: no seams at the antimeridian and the poles, and a GiST index understands them.
-- earthdistance does the same, but its functions find each other only through the caller's search_path.
create function private.sphere_point(latitude double precision, longitude double precision) returns extensions.cube
language sql
immutable
strict
set search_path = ''
as $$
    select extensions.cube(array[
        cos(radians(latitude)) * cos(radians(longitude)),
        cos(radians(latitude)) * sin(radians(longitude)),
        sin(radians(latitude))
    ])
$$;
comment on function private.sphere_point(double precision, double precision) is
'The place as a point of the unit sphere, from degrees.';

create function private.cell_centre(latitude double precision, longitude double precision) returns double precision[]
language plpgsql
immutable
strict
set search_path = ''
as $$
declare
    -- Rows of a tenth of a degree; as many cells in each as keep them about as wide as high.
    cell_row integer := least(floor((latitude + 90) * 10), 1799);
    centre double precision := (cell_row + 0.5) / 10 - 90;
    cells integer := greatest(floor(3600 * cos(radians(centre))), 1);
    cell integer := least(floor((longitude + 180) / 360 * cells), cells - 1);
begin
    return array[centre, (cell + 0.5) * 360 / cells - 180];
end
$$;
comment on function private.cell_centre(double precision, double precision) is
'Latitude and longitude of the centre of the cell of about 11 km that holds the place. The centre''s centre is itself.';

create function private.public_spot(latitude double precision, longitude double precision) returns double precision[]
language sql
immutable
strict
set search_path = ''
as $$
    select array[round(latitude * 1000) / 1000, round(longitude * 1000) / 1000]
$$;
comment on function private.public_spot(double precision, double precision) is
'What is published of an exact position: three decimals, about 100 m, so not which house.';

create function private.cell_point(latitude double precision, longitude double precision) returns extensions.cube
language plpgsql
immutable
strict
set search_path = ''
as $$
declare
    centre double precision [] := private.cell_centre(latitude, longitude);
begin
    return private.sphere_point(centre[1], centre[2]);
end
$$;
comment on function private.cell_point(double precision, double precision) is 'cell_centre() on the unit sphere.';

create function private.spot_point(latitude double precision, longitude double precision) returns extensions.cube
language plpgsql
immutable
strict
set search_path = ''
as $$
declare
    spot double precision [] := private.public_spot(latitude, longitude);
begin
    return private.sphere_point(spot[1], spot[2]);
end
$$;
comment on function private.spot_point(double precision, double precision) is 'public_spot() on the unit sphere.';

create function private.distance_km(a extensions.cube, b extensions.cube) returns double precision
language sql
immutable
strict
set search_path = ''
as $$
    select 2 * 6371 * asin(least(extensions.cube_distance(a, b) / 2, 1))
$$;
comment on function private.distance_km(extensions.cube, extensions.cube) is
'Great-circle distance in km of two points of the unit sphere.';

create table public.profile_locations (
    user_id uuid not null,
    source public.location_source not null,
    visibility public.location_visibility not null default 'city',
    latitude double precision,
    longitude double precision,
    city text,
    country text,
    -- What can be found out about whoever can be found, computed once.
    cell extensions.cube generated always as (
        case when visibility in ('exact', 'city') then private.cell_point(latitude, longitude) end
    ) stored,
    spot extensions.cube generated always as (
        case when visibility = 'exact' then private.spot_point(latitude, longitude) end
    ) stored,
    moved_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint profile_locations_pkey primary key (user_id),
    constraint profile_locations_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint profile_locations_latitude_check check (latitude between -90 and 90),
    constraint profile_locations_longitude_check check (longitude >= -180 and longitude < 180),
    constraint profile_locations_coordinates_check check ((latitude is null) = (longitude is null)),
    constraint profile_locations_visibility_check check (
        visibility <> 'exact' or (source = 'gps' and latitude is not null)
    ),
    constraint profile_locations_city_check check (
        char_length(city) between 1 and 100 and city !~ '[<>]'
    ),
    constraint profile_locations_country_check check (
        char_length(country) between 1 and 100 and country !~ '[<>]'
    )
);

create index profile_locations_cell_idx on public.profile_locations using gist (cell) where cell is not null;
create index profile_locations_spot_idx on public.profile_locations using gist (spot) where spot is not null;

comment on table public.profile_locations is
'Where a member is. Owner only, not even admins; written by set_my_location(), set_my_location_visibility() and '
'clear_my_location(). Others read location(profiles) and nearby_profiles().';
comment on column public.profile_locations.source is 'Where the position comes from.';
comment on column public.profile_locations.visibility is
'What others may see. exact counts as city while the plan does not include it.';
comment on column public.profile_locations.latitude is
'Degrees north. Precise while visibility is exact, else the centre of a cell of about 11 km; null is unknown.';
comment on column public.profile_locations.longitude is 'Degrees east, in the same precision.';
comment on column public.profile_locations.city is 'Name of the city as given, at most 100 characters.';
comment on column public.profile_locations.country is 'Name or code of the country as given, at most 100 characters.';
comment on column public.profile_locations.cell is
'Centre of the cell on the unit sphere, while visibility is city or exact: all nearby_profiles() knows of a city.';
comment on column public.profile_locations.spot is
'The published position on the unit sphere, while visibility is exact.';
comment on column public.profile_locations.moved_at is 'When the position last changed.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of city, country on public.profile_locations
for each row execute function private.tidy_texts('city line', 'country line');

create trigger touch_updated_at before update on public.profile_locations
for each row execute function private.touch_updated_at();

alter table public.profile_locations enable row level security;
grant select on public.profile_locations to authenticated;
grant select on public.profile_locations to service_role;

create policy profile_locations_select on public.profile_locations for select to authenticated
using (user_id = (select private.member_id()));

create function private.may_share_exactly(user_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    -- Asked whenever somebody looks: a plan that ends makes the position coarse without anything having to run.
    return (select p.features from private.seller_plan(may_share_exactly.user_id) as p) ? 'gps-location';
end
$$;
comment on function private.may_share_exactly(uuid) is 'Whether the plan in force includes positions from GPS.';

create function public.set_my_location(
    source public.location_source, visibility public.location_visibility default 'city',
    lat double precision default null, lon double precision default null,
    city text default null, country text default null
) returns public.profile_locations
language plpgsql
security definer
set search_path = ''
as $$
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
$$;
comment on function public.set_my_location(
    public.location_source, public.location_visibility, double precision, double precision, text, text
) is
'Sets where the caller is, replacing what was set before; degrees, city and country may be left out. gps needs a plan '
'with gps-location, exact needs gps. Unless visibility is exact only the centre of the cell of about 11 km is stored. '
'With visibility city, moves of less than 25 km show once a day.';
grant execute on function public.set_my_location(
    public.location_source, public.location_visibility, double precision, double precision, text, text
) to authenticated;

create function public.set_my_location_visibility(visibility public.location_visibility)
returns public.profile_locations
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    place public.profile_locations;
    centre double precision [];
begin
    select * into place from public.profile_locations as l where l.user_id = caller for update;
    if place.user_id is null then
        perform private.fail('location_not_set');
    elsif visibility is null then
        perform private.fail('location_invalid');
    elsif place.visibility = set_my_location_visibility.visibility then
        return place;
    elsif visibility = 'exact' then
        -- What is stored is coarse: the position has to be sent again.
        perform private.fail('exact_needs_gps');
    end if;
    centre := private.cell_centre(place.latitude, place.longitude);
    update public.profile_locations as l set
        visibility = set_my_location_visibility.visibility, latitude = centre[1], longitude = centre[2]
    where l.user_id = caller
    returning * into place;
    return place;
end
$$;
comment on function public.set_my_location_visibility(public.location_visibility) is
'Changes what others see of the caller''s location. Leaving exact forgets the precise position; exact itself is chosen '
'with set_my_location().';
grant execute on function public.set_my_location_visibility(public.location_visibility) to authenticated;

create function public.clear_my_location() returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Also for banned users: taking back where one is needs no membership.
    delete from public.profile_locations as l where l.user_id = auth.uid();
end
$$;
comment on function public.clear_my_location() is 'Forgets where the caller is. Nothing stored, no effect.';
grant execute on function public.clear_my_location() to authenticated;

create function private.public_location(user_id uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    place public.profile_locations;
    spot double precision [];
begin
    select * into place from public.profile_locations as l
    where l.user_id = public_location.user_id and l.visibility <> 'hidden';
    -- Called with a row a caller made up, this must know no more than profiles would show.
    if place.user_id is null or not private.can_see(place.user_id) then
        return null;
    end if;
    if place.visibility = 'exact' and not private.may_share_exactly(place.user_id) then
        place.visibility := 'city';
    end if;
    if place.visibility = 'exact' then
        spot := private.public_spot(place.latitude, place.longitude);
    end if;
    return jsonb_build_object(
        'visibility', place.visibility,
        'city', case when place.visibility in ('exact', 'city') then place.city end,
        'country', place.country,
        'latitude', spot[1],
        'longitude', spot[2]
    );
end
$$;
comment on function private.public_location(uuid) is
'What the caller may know of where somebody is; null when that is nothing.';
grant execute on function private.public_location(uuid) to anon, authenticated;

-- A view could not do this: one with its caller's rights sees only the caller's row, one with its owner's would pass by
-- the profiles' policies.
create function public.location(profile public.profiles) returns jsonb
language sql
stable
set search_path = ''
as $$
    select private.public_location((profile).id)
$$;
comment on function public.location(public.profiles) is
'Computed field of profiles: {"visibility", "city", "country", "latitude", "longitude"} as far as its owner shows it, '
'coordinates of exact positions only, rounded to about 100 m; null when nothing is shown.';
grant execute on function public.location(public.profiles) to anon, authenticated;

create function public.nearby_profiles(
    lat double precision, lon double precision, radius_km double precision default 50,
    after_distance_km integer default null, after_id uuid default null, max_rows integer default 20
)
returns table (
    id uuid, username text, display_name text, avatar_url text, city text, country text, distance_km integer
)
language plpgsql
stable
security definer
set search_path = ''
as $$
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
            > (after_distance_km, coalesce(after_id, private.last_uuid()))
        )
    order by f.distance, f.id
    limit private.page_size(max_rows);
end
$$;
comment on function public.nearby_profiles(
    double precision, double precision, double precision, integer, uuid, integer
) is
'Members near a place (degrees), nearest first: within radius_km, at most 1,000. Who shows an exact position is within '
'distance_km to a kilometre, who shows a city to 10 km and from the centre of their cell; who shows less is not found. '
'Next page: after_distance_km and after_id of the last row. max_rows 1 to 100.';
grant execute on function public.nearby_profiles(
    double precision, double precision, double precision, integer, uuid, integer
) to authenticated;

insert into private.erasure_steps (step, phase, erases, statement) values
('location', 'details', '{public.profile_locations}', 'delete from public.profile_locations where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('location', 'public.profile_locations', 't.user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('location_invalid', 'PT400', 'This is not a place.',
'Latitude is -90 to 90, longitude -180 to 180, both or neither; gps needs both; a radius is positive.'),
('exact_needs_gps', 'PT409', 'An exact position comes from GPS.',
'Call set_my_location with source gps and the coordinates; positions by IP address or by hand are of city level.'),
('gps_not_in_plan', 'PT403', 'The plan does not include GPS positions.',
'Subscribe to a plan with the feature gps-location, or send the city with source ip or manual.'),
('location_not_set', 'PT404', 'No location is set.', 'Call set_my_location first.');
