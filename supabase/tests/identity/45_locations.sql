-- Locations: what is stored, what is shown, who is near, and what cannot be found out.
begin;
\ir ../helpers.psql
select no_plan();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(1, 12) as n;
update public.profiles set role = 'admin' where id = pg_temp.id(4);
select pg_temp.ban();
create function pg_temp.pay(who integer) returns void language sql as $$
    insert into public.subscriptions (user_id, family, plan_key) values (pg_temp.id(who), 'creator', 'creator_standard')
    on conflict (user_id, family) do update set plan_key = excluded.plan_key, status = 'active'
$$;
create function pg_temp.put(who integer, source text, visibility text, lat float8, lon float8) returns text
language plpgsql as $$
begin
    return pg_temp.code_as(pg_temp.id(who), format(
        'select public.set_my_location(%L, %L, %L, %L, %L, %L)', source, visibility, lat, lon, 'City ' || who, 'Croatia'
    ));
end
$$;
-- Everything somebody near gets to know: people and distances, in order, on all pages.
create function pg_temp.near(who integer, lat float8, lon float8, radius float8 default 50) returns text
language plpgsql as $$
declare
    answer text;
begin
    perform pg_temp.be(pg_temp.id(who));
    select string_agg(right(n.id::text, 2)::integer || ':' || n.distance_km, ' ' order by n.ordinality) into answer
    from rows from (public.nearby_profiles(lat, lon, radius)) with ordinality as n
        (id, username, display_name, avatar_url, city, country, distance_km, ordinality);
    perform set_config('role', 'none', true);
    return coalesce(answer, '');
end
$$;
create function pg_temp.shown(viewer integer, subject integer, speaker text default 'authenticated') returns jsonb
language plpgsql as $$
declare
    answer jsonb;
begin
    perform pg_temp.be(pg_temp.id(viewer), speaker);
    select public.location(p) into answer from public.profiles as p where p.id = pg_temp.id(subject);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
grant execute on all functions in schema pg_temp to public;

-- Cells.
select is_empty(
    $$select c, lat, lon from (
        select private.cell_centre(lat, lon) as c, lat, lon
        from generate_series(-90, 90, 3.37) as lat, generate_series(-180, 179.9, 7.31) as lon
    ) as t where private.cell_centre(c[1], c[2]) <> c$$, 'a centre is its own cell''s centre'
);
select is_empty(
    $$select lat, lon from generate_series(-90, 90, 3.37) as lat, generate_series(-180, 179.9, 7.31) as lon
    cross join private.cell_centre(lat, lon) as c
    where private.distance_km(private.sphere_point(lat, lon), private.cell_point(lat, lon)) > 12$$,
    'nobody is further than 12 km from their centre'
);
select lives_ok(format('select private.cell_centre(%s, %s)', lat, lon), lat || ', ' || lon)
from (values (90, 0), (-90, 0), (90, 179.999999), (-90, -180), (0, -180), (0, 179.9999999)) as t (lat, lon);

-- Setting.
select is(pg_temp.put(1, 'ip', 'city', 45.8150, 15.9819), null, 'a city by IP address');
select results_eq(
    $$select array[latitude, longitude] from public.profile_locations where user_id = pg_temp.id(1)$$,
    $$select private.cell_centre(45.8150, 15.9819)$$, 'is stored as the centre of its cell'
);
select is(pg_temp.put(1, 'gps', 'city', 45.8150, 15.9819), 'gps_not_in_plan', 'GPS is for paid plans');
select is(pg_temp.put(1, 'gps', 'exact', 45.8150, 15.9819), 'gps_not_in_plan', 'exact too');
select is(pg_temp.put(1, 'manual', 'exact', 45.8150, 15.9819), 'exact_needs_gps', 'exact is not by hand');
select is(pg_temp.put(1, 'ip', 'city', lat, lon), 'location_invalid', coalesce(lat::text, '-') || ' ' || coalesce(lon::text, '-'))
from (values (91::float8, 0::float8), (0, 181), (-90.1, 0), ('NaN', 0), (0, 'NaN'), ('Infinity', 0), (1, null), (null, 1))
as t (lat, lon);
select pg_temp.pay(2);
select is(pg_temp.put(2, 'gps', 'exact', null, null), 'location_invalid', 'GPS has coordinates');
select is(pg_temp.put(2, 'gps', 'exact', 45.812345, 15.987654), null, 'a paid plan may be exact');
select results_eq(
    $$select latitude, longitude from public.profile_locations where user_id = pg_temp.id(2)$$,
    $$values (45.812345::float8, 15.987654::float8)$$, 'kept precisely'
);
select is(pg_temp.put(5, 'ip', 'city', 1, 1), 'banned', 'banned users are nowhere');
select is(pg_temp.code_as(null, 'select public.set_my_location(''ip'')', 'anon'), '42501', 'nor are visitors');
select is(pg_temp.put(3, 'manual', 'city', null, null), null, 'a name is enough');
select is(pg_temp.near(1, 45.8, 16, 1000), '2:2', 'but is nowhere near');

-- Owner only.
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.profile_locations), 1::bigint, 'one''s own row');
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.profile_locations), 0::bigint, 'nobody else''s, not even for admins');
select is(pg_temp.code_of(s), '42501', s) from unnest(array[
    $$insert into public.profile_locations (source) values ('ip')$$,
    $$update public.profile_locations set latitude = 1$$, $$delete from public.profile_locations$$
]) as t (s);
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select 1 from public.profile_locations$$), '42501', 'visitors read none');
reset role;

-- Shown.
select is(pg_temp.shown(3, 1), '{"visibility": "city", "city": "City 1", "country": "Croatia", "latitude": null,
    "longitude": null}'::jsonb, 'a city without coordinates');
select is(pg_temp.shown(null, 1, 'anon') ->> 'city', 'City 1', 'to visitors too');
select is(pg_temp.shown(3, 2), '{"visibility": "exact", "city": "City 2", "country": "Croatia", "latitude": 45.812,
    "longitude": 15.988}'::jsonb, 'an exact position to 100 m');
select is(pg_temp.near(1, 45.812, 15.988, 5), '2:1', 'found within a kilometre');
update public.subscriptions set status = 'expired';
select is(pg_temp.shown(3, 2) - 'city' - 'country', '{"visibility": "city", "latitude": null, "longitude": null}'::jsonb,
    'a plan that ended shows the city only');
select is(pg_temp.near(1, 45.812, 15.988, 5), '2:10', 'and is found as one');
select is(pg_temp.near(1, c[1], c[2], 1), '2:10', 'around its cell') from private.cell_centre(45.812345, 15.987654) as c;
update public.subscriptions set status = 'active';
select is(pg_temp.code_as(pg_temp.id(1), $$select public.set_my_location_visibility('country')$$), null, 'country');
select is(pg_temp.shown(3, 1) - 'latitude' - 'longitude',
    '{"visibility": "country", "city": null, "country": "Croatia"}'::jsonb, 'shows no city');
select is(pg_temp.near(3, 45.815, 15.98), '2:1', 'and is not near');
select is(pg_temp.code_as(pg_temp.id(1), $$select public.set_my_location_visibility('hidden')$$), null, 'hidden');
select is(pg_temp.shown(3, 1), null, 'shows nothing');
select is(pg_temp.near(3, 45.815, 15.98), '2:1', 'and is not near');
select is(pg_temp.code_as(pg_temp.id(1), $$select public.set_my_location_visibility('exact')$$), 'exact_needs_gps',
    'what is coarse does not get exact');
select is(pg_temp.code_as(pg_temp.id(6), $$select public.set_my_location_visibility('city')$$), 'location_not_set',
    'nothing to show');
select is(pg_temp.code_as(pg_temp.id(2), $$select public.set_my_location_visibility('city')$$), null, 'from exact to city');
select results_eq(
    $$select array[latitude, longitude] from public.profile_locations where user_id = pg_temp.id(2)$$,
    $$select private.cell_centre(45.812345, 15.987654)$$, 'forgets the precise position'
);
select is(pg_temp.code_as(pg_temp.id(1), $$select public.set_my_location_visibility('city')$$), null, 'back to city');

-- Who sees whom.
select is(pg_temp.near(3, 45.8, 16), '1:10 2:10', 'both are near');
select is(pg_temp.near(1, 45.8, 16), '2:10', 'oneself is not');
select is(pg_temp.code_as(null, 'select public.nearby_profiles(1, 1)', 'anon'), '42501', 'visitors do not look around');
select is(pg_temp.code_as(pg_temp.id(5), 'select public.nearby_profiles(1, 1)'), 'banned', 'nor banned users');
select is(pg_temp.code_as(pg_temp.id(3), format('select public.nearby_profiles(%s)', a)), 'location_invalid', a)
from unnest(array['91, 0', '0, 181', '0, 0, 0', '0, 0, -1', 'null, 0', '0, 0, null']) as t (a);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(2), pg_temp.id(3));
select is(pg_temp.near(3, 45.8, 16), '1:10', 'who blocked is not near');
select is(pg_temp.near(1, 45.8, 16), '2:10', 'but for others');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(1);
select is(pg_temp.near(3, 45.8, 16), '', 'private profiles are not near');
select pg_temp.be(pg_temp.id(3));
select is((select public.location(jsonb_populate_record(null::public.profiles, jsonb_build_object(
    'id', pg_temp.id(1), 'profile_visibility', 'public', 'is_banned', false)))), null,
    'nor shown to who makes up the row');
select is((select public.location(jsonb_populate_record(null::public.profiles, jsonb_build_object(
    'id', pg_temp.id(2), 'profile_visibility', 'public', 'is_banned', false)))), null, 'nor those who blocked');
reset role;
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(1);
select is(pg_temp.near(3, 45.8, 16), '1:10', 'members only for members');
insert into public.bans (user_id, reason) values (pg_temp.id(1), 'spam');
select is(pg_temp.near(3, 45.8, 16), '', 'banned users are not near');
delete from public.bans where user_id = pg_temp.id(1);
delete from public.user_blocks;

-- The edges of the map.
select is(pg_temp.put(6, 'ip', 'city', -17.7, 179.99), null, 'west of the antimeridian');
select is(pg_temp.put(7, 'ip', 'city', -17.7, -179.99), null, 'east of it');
select is(pg_temp.put(8, 'manual', 'city', -17.7, 180), null, 'on it');
select is((select longitude < 180 from public.profile_locations where user_id = pg_temp.id(8)), true, 'is one place');
select is(pg_temp.near(3, -17.7, 180, 30), '6:10 7:10 8:10', 'all are near');
select is(pg_temp.near(3, -17.7, -180, 30), '6:10 7:10 8:10', 'from either side');
select is(pg_temp.put(9, 'ip', 'city', 90, 12), null, 'at the pole');
select is(pg_temp.near(3, 89.99, -100, 30), '9:10', 'from the other side of it');
select is(pg_temp.near(3, -90, 0, 1000), '', 'not at the other');

-- Pages.
select pg_temp.put(n, 'ip', 'city', 10 + n / 20.0, 20) from generate_series(6, 12) as n;
create function pg_temp.pages(size integer) returns text language plpgsql as $$
declare
    page record;
    last_distance integer;
    last_id uuid;
    answer text := '';
begin
    perform pg_temp.be(pg_temp.id(3));
    for attempt in 1..20 loop
        select array_agg(right(n.id::text, 2)::integer || ':' || n.distance_km) as rows,
            (array_agg(n.distance_km))[count(*)] as distance, (array_agg(n.id))[count(*)] as id
        into page
        from public.nearby_profiles(10, 20, 500, last_distance, last_id, size) as n;
        exit when page.rows is null;
        answer := answer || ' ' || array_to_string(page.rows, ' ');
        last_distance := page.distance;
        last_id := page.id;
    end loop;
    perform set_config('role', 'none', true);
    return answer;
end
$$;
grant execute on all functions in schema pg_temp to public;
select is(array_length(string_to_array(trim(pg_temp.pages(100)), ' '), 1), 7, 'seven near');
select is(pg_temp.pages(n), pg_temp.pages(100), 'pages of ' || n) from unnest(array[1, 2, 3]) as n;

-- Moving: the border of a cell is no tripwire.
select is(pg_temp.put(6, 'ip', 'city', 50.049, 8), null, 'in one cell');
select pg_temp.put(6, 'ip', 'city', 50.149, 8);
select results_eq(
    $$select latitude from public.profile_locations where user_id = pg_temp.id(6)$$,
    $$values (50.05::float8)$$, 'the next cell does not show at once'
);
select pg_temp.put(6, 'ip', 'city', 51.05, 8);
select results_eq(
    $$select latitude from public.profile_locations where user_id = pg_temp.id(6)$$,
    $$values (51.05::float8)$$, 'a journey does'
);
update public.profile_locations set moved_at = now() - interval '25 hours' where user_id = pg_temp.id(6);
select pg_temp.put(6, 'ip', 'city', 51.15, 8);
select results_eq(
    $$select latitude from public.profile_locations where user_id = pg_temp.id(6)$$,
    $$values (51.15::float8)$$, 'the next day the next cell does'
);

-- Two in one cell, a thousand questions: whoever asks cannot tell them apart, nor learn more than the cell.
delete from public.profile_locations;
select pg_temp.pay(n) from generate_series(10, 11) as n;
create temporary table questions as
select
    48.2 + sin(n * 2.399) * sqrt(n) * 0.03 as lat, 16.4 + cos(n * 2.399) * sqrt(n) * 0.04 as lon,
    1 + (n * 37 % 120) + n % 7 / 7.0 as radius, n
from generate_series(1, 1500) as n;
create function pg_temp.transcript() returns text language plpgsql as $$
declare
    answer text;
begin
    -- Only what is answered about the tenth.
    perform pg_temp.be(pg_temp.id(3));
    perform set_config('role', 'none', true);
    select string_agg(coalesce(n.distance_km::text, '-'), ' ' order by q.n) into answer
    from questions as q
    left join lateral (
        select f.distance_km from public.nearby_profiles(q.lat, q.lon, q.radius) as f where f.id = pg_temp.id(10)
    ) as n on true;
    return answer;
end
$$;
select is(pg_temp.put(10, 'gps', 'city', 48.2061, 16.3512), null, 'a home');
create temporary table heard as select pg_temp.transcript() as first;
delete from public.profile_locations;
select is(pg_temp.put(10, 'gps', 'city', 48.2899, 16.4301), null, 'another home in the same cell');
select is((select array_agg(distinct private.cell_centre(lat, lon))::text from (values (48.2061, 16.3512),
    (48.2899, 16.4301)) as t (lat, lon)), array_agg(private.cell_centre(48.25, 16.4))::text, 'it is the same cell');
select ok(first ~ '[0-9]' and first ~ '-', 'questions find and miss') from heard;
select is(pg_temp.transcript(), first, 'every answer is the same') from heard;
delete from public.profile_locations;
select is(pg_temp.put(11, 'gps', 'exact', 48.2061, 16.3512), null, 'a third is exact');
delete from public.profile_locations;
select is(pg_temp.put(10, 'gps', 'exact', 48.2061, 16.3512), null, 'the tenth too');
select isnt(pg_temp.transcript(), first, 'which is heard: the questions would tell') from heard;
update public.subscriptions set status = 'expired' where user_id = pg_temp.id(10);
select is(pg_temp.transcript(), first, 'until the plan ends: then it is the cell again') from heard;

-- Trilateration: bisects the radius at which somebody appears, from many places, and fits the position best explaining
-- it. The best that comes out is the centre.
create function pg_temp.measure(from_lat float8, from_lon float8) returns float8 language plpgsql as $$
declare
    low float8 := 10;
    high float8 := 200;
    middle float8;
begin
    perform pg_temp.be(pg_temp.id(3));
    perform set_config('role', 'none', true);
    for step in 1..30 loop
        middle := (low + high) / 2;
        if exists (
            select from public.nearby_profiles(from_lat, from_lon, middle) as f where f.id = pg_temp.id(10)
        ) then
            high := middle;
        else
            low := middle;
        end if;
    end loop;
    return high;
end
$$;
delete from public.profile_locations;
update public.subscriptions set status = 'active';
select pg_temp.put(10, 'gps', 'city', 48.2061, 16.3512);
create temporary table measured as
select
    48.2 + sin(b) * 0.5 as lat, 16.4 + cos(b) * 0.7 as lon,
    pg_temp.measure(48.2 + sin(b) * 0.5, 16.4 + cos(b) * 0.7) as km
from generate_series(0, 6, 0.5) as b;
select is_empty(
    $$select * from measured as m where abs(m.km - private.distance_km(
        private.sphere_point(m.lat, m.lon), private.cell_point(48.2061, 16.3512))) > 0.001$$,
    'every measurement is the distance of the centre'
);
select cmp_ok(
    (select max(abs(m.km - private.distance_km(
        private.sphere_point(m.lat, m.lon), private.sphere_point(48.2061, 16.3512)))) from measured as m),
    '>', 4::float8, 'and kilometres from the truth'
);

-- The index is used.
create function pg_temp.plan_of(query text) returns text language plpgsql as $$
declare
    line text;
    answer text := '';
begin
    for line in execute 'explain ' || query loop
        answer := answer || line || E'\n';
    end loop;
    return answer;
end
$$;
set local enable_seqscan = off;
select matches(pg_temp.plan_of($$select 1 from public.profile_locations as l where l.cell operator(extensions.<@)
    extensions.cube_enlarge(private.sphere_point(1, 1), 0.1, 3)$$), 'profile_locations_cell_idx', 'cells are indexed');

-- Gone.
select is(pg_temp.code_as(pg_temp.id(10), 'select public.clear_my_location()'), null, 'cleared');
select is_empty($$select 1 from public.profile_locations$$, 'nothing is left');
select pg_temp.put(10, 'ip', 'city', 1, 1);
select pg_temp.be(pg_temp.id(10));
select is(jsonb_array_length(public.export_my_data() -> 'location'), 1, 'one''s data contain it');
reset role;
delete from auth.users where id = pg_temp.id(10);
select is_empty($$select 1 from public.profile_locations$$, 'and it goes with the account');

select * from finish();
rollback;
