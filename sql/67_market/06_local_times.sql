-- Times as people mean them: a clock on a wall and the zone it hangs in. When clocks go forward some times do not
-- exist, when they go back some come twice; PostgreSQL decides about both without a word. Here a time that does not
-- exist is refused, and of one that comes twice somebody has to say which.

create function private.is_time_zone(name text) returns boolean
language plpgsql
stable
strict
set search_path = ''
as $$
begin
    -- Names of the tz database only. PostgreSQL takes abbreviations and rules as well, which mean the opposite sign or
    -- know no summer time.
    if name !~ '^([A-Z][A-Za-z_]+(/[A-Z][A-Za-z_-]+)+|UTC|Etc/GMT([+]([0-9]|1[0-2])|-([0-9]|1[0-4])))$' then
        return false;
    end if;
    perform now() at time zone name;
    return true;
exception when invalid_parameter_value then
    return false;
end
$$;
comment on function private.is_time_zone(text) is 'Whether this is the name of a time zone, such as Europe/Berlin.';
grant execute on function private.is_time_zone(text) to authenticated;

create function private.instants_of(
    local timestamp, time_zone text, out earlier timestamptz, out later timestamptz, out is_real boolean
)
language plpgsql
stable
set search_path = ''
as $$
declare
    -- The offsets of the days around it: a change is between them or not near.
    before timestamptz := (local - (((local at time zone 'UTC' - interval '24 hours') at time zone time_zone)
        - ((local at time zone 'UTC' - interval '24 hours') at time zone 'UTC'))) at time zone 'UTC';
    after timestamptz := (local - (((local at time zone 'UTC' + interval '24 hours') at time zone time_zone)
        - ((local at time zone 'UTC' + interval '24 hours') at time zone 'UTC'))) at time zone 'UTC';
begin
    earlier := case when before at time zone time_zone = local then before end;
    later := case when after at time zone time_zone = local then after end;
    is_real := num_nonnulls(earlier, later) > 0;
    if is_real then
        before := coalesce(earlier, later);
        after := coalesce(later, earlier);
        earlier := least(before, after);
        later := greatest(before, after);
    else
        -- The instant at which the clocks jump over it.
        select min(u.at) into earlier
        from generate_series(least(before, after), greatest(before, after), interval '1 minute') as u (at)
        where u.at at time zone time_zone >= local;
        later := earlier;
    end if;
end
$$;
comment on function private.instants_of(timestamp, text) is
'When the clocks of this zone show this time: the first and the last instant, two different ones when they go back '
'over it; is_real false when they jump over it, then both are the jump.';

create function private.instant_of(local timestamp, time_zone text, which text default null) returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
declare
    found record;
begin
    if private.is_time_zone(instant_of.time_zone) is not true then
        perform private.fail('time_zone_not_known', left(instant_of.time_zone, 100));
    end if;
    found := private.instants_of(instant_of.local, instant_of.time_zone);
    if not found.is_real then
        perform private.fail('time_does_not_exist', instant_of.local::text);
    elsif found.earlier <> found.later and (instant_of.which in ('earlier', 'later')) is not true then
        perform private.fail('time_is_ambiguous', format('%s or %s', found.earlier, found.later));
    end if;
    return case when instant_of.which = 'later' then found.later else found.earlier end;
end
$$;
comment on function private.instant_of(timestamp, text, text) is
'The instant of a local time in a zone; which (earlier, later) says which of two. Errors: time_zone_not_known, '
'time_does_not_exist, time_is_ambiguous.';

insert into private.error_codes (code, sqlstate, message, description) values
('time_zone_not_known', 'PT400', 'There is no such time zone.', 'Send a name of the tz database: America/New_York.'),
('time_does_not_exist', 'PT400', 'This time does not exist on that day.',
'The clocks of that zone go forward over it. Choose another time.'),
('time_is_ambiguous', 'PT400', 'This time comes twice on that day.',
'The clocks of that zone go back over it; the detail has both instants. Ask which is meant, the earlier or the later.');
