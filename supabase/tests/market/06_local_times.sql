-- Local times: which zones there are, and when a clock shows a time.
begin;
\ir ../helpers.psql

select plan(32);

select is(private.is_time_zone(name), wanted, coalesce(name, 'null') || ' is ' || case when wanted then '' else 'no ' end || 'zone')
from (values
    ('Europe/Berlin', true), ('America/Argentina/Buenos_Aires', true), ('America/Port-au-Prince', true), ('UTC', true),
    ('Etc/GMT+5', true), ('EST', false), ('CET', false), ('+02:00', false), ('UTC+2', false), ('CET-1CEST', false),
    ('Foo/Bar', false), ('Foo/Bar+5', false), ('America/Port-5', false), ('', false), ('Europe/Berlin ', false)
) as t (name, wanted);
select is(private.is_time_zone(null), null, 'no name, no answer');

select results_eq(
    $$select local, zone, earlier at time zone 'UTC', later at time zone 'UTC', is_real
    from (values
        ('2026-07-01 12:00'::timestamp, 'Europe/Berlin'), ('2026-03-29 02:30', 'Europe/Berlin'),
        ('2026-03-29 02:00', 'Europe/Berlin'), ('2026-03-29 03:00', 'Europe/Berlin'),
        ('2026-10-25 02:30', 'Europe/Berlin'), ('2026-10-25 03:00', 'Europe/Berlin'),
        ('2026-10-04 02:10', 'Australia/Lord_Howe'), ('2011-12-30 12:00', 'Pacific/Apia')
    ) as t (local, zone)
    cross join lateral private.instants_of(t.local, t.zone)$$,
    $$values
        ('2026-07-01 12:00'::timestamp, 'Europe/Berlin', '2026-07-01 10:00'::timestamp, '2026-07-01 10:00'::timestamp, true),
        ('2026-03-29 02:30', 'Europe/Berlin', '2026-03-29 01:00', '2026-03-29 01:00', false),
        ('2026-03-29 02:00', 'Europe/Berlin', '2026-03-29 01:00', '2026-03-29 01:00', false),
        ('2026-03-29 03:00', 'Europe/Berlin', '2026-03-29 01:00', '2026-03-29 01:00', true),
        ('2026-10-25 02:30', 'Europe/Berlin', '2026-10-25 00:30', '2026-10-25 01:30', true),
        ('2026-10-25 03:00', 'Europe/Berlin', '2026-10-25 02:00', '2026-10-25 02:00', true),
        ('2026-10-04 02:10', 'Australia/Lord_Howe', '2026-10-03 15:30', '2026-10-03 15:30', false),
        ('2011-12-30 12:00', 'Pacific/Apia', '2011-12-30 10:00', '2011-12-30 10:00', false)$$,
    'once, twice, or never: then it is the jump, be it of half an hour or of a day'
);

select is(pg_temp.code_of(format('select private.instant_of(%s)', asked)), code, asked || ': ' || coalesce(code, 'an instant'))
from (values
    ('''2026-10-25 02:30'', ''Europe/Berlin''', 'time_is_ambiguous'),
    ('''2026-10-25 02:30'', ''Europe/Berlin'', ''first''', 'time_is_ambiguous'),
    ('''2026-10-25 02:30'', ''Europe/Berlin'', ''earlier''', null),
    ('''2026-03-29 02:30'', ''Europe/Berlin''', 'time_does_not_exist'),
    ('''2026-03-29 02:30'', ''Europe/Berlin'', ''later''', 'time_does_not_exist'),
    ('''2026-03-29 02:30'', ''Mars/Olympus''', 'time_zone_not_known'),
    ('''2026-03-29 02:30'', null', 'time_zone_not_known')
) as t (asked, code);
select is(
    private.instant_of('2026-10-25 02:30', 'Europe/Berlin', which) at time zone 'UTC', wanted::timestamp, which || ' one'
) from (values ('earlier', '2026-10-25 00:30'), ('later', '2026-10-25 01:30')) as t (which, wanted);

-- Whatever zone the session is set to.
set local timezone = 'Pacific/Kiritimati';
select is(
    private.instant_of('2026-10-25 02:30', 'Europe/Berlin', 'later'), '2026-10-25T01:30:00Z'::timestamptz, 'the same'
);

-- nobody calls these but functions
select is(has_function_privilege(who, f::regprocedure, 'execute'), false, who || ' does not call ' || f)
from (values
    ('private.instants_of(timestamp, text)'), ('private.instant_of(timestamp, text, text)')
) as t (f)
cross join unnest(array['anon', 'authenticated']) as who;
select is(
    has_function_privilege('anon', 'private.is_time_zone(text)', 'execute'), false, 'visitors write no zones'
);

select * from finish();
rollback;
