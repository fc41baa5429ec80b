-- Reports: who may report what, what admins decide, and what bad faith costs.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
select pg_temp.ban();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 20) as n;
update public.profiles set role = 'admin' where id = pg_temp.id(6);
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(7);

create function pg_temp.report(who integer, target integer, kind text default 'profile') returns text
language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format(
        'select public.report_content(%L, %L, ''spam'', ''look'')', kind, pg_temp.id(target)
    ))
$$;
create function pg_temp.latest() returns uuid language sql as $$
    select id from public.reports where state = 'open' order by created_at desc, id limit 1
$$;

-- what can be reported
select is(pg_temp.report(2, 1), null, 'a profile is reported');
select results_eq(
    $$select reporter_id, target_type::text, target_id, reason::text, details, state::text from public.reports$$,
    $$values (pg_temp.id(2), 'profile', pg_temp.id(1), 'spam', 'look', 'open')$$, 'as it was said'
);
select results_eq(
    $$select author_id, content ->> 'username' from public.report_evidence$$,
    $$select id, username::text from public.profiles where id = pg_temp.id(1)$$, 'with a copy of what it looked like'
);
select is(pg_temp.report(2, 1), null, 'again');
select is((select count(*) from public.reports), 1::bigint, 'is the same report');
select is(pg_temp.report(1, 1), 'cannot_report_yourself', 'not oneself');
select is(pg_temp.report(2, 99), 'content_not_found', 'not what does not exist');
select is(pg_temp.report(2, 7), 'content_not_found', 'nor what is private');
select is(pg_temp.report(2, 5), 'content_not_found', 'nor who was banned');
select is(pg_temp.report(5, 1), 'banned', 'who was banned reports nothing');
select is(
    pg_temp.code_as(null, format('select public.report_content(''profile'', %L, ''spam'')', pg_temp.id(1)), 'anon'),
    '42501', 'visitors neither'
);
select is(
    pg_temp.code_as(pg_temp.id(3), format('select public.report_content(''profile'', %L, null)', pg_temp.id(1))),
    'reason_required', 'a reason is needed'
);
select is(
    pg_temp.code_as(
        pg_temp.id(3),
        format('select public.report_content(''profile'', %L, ''spam'', repeat(''x'', 2001))', pg_temp.id(1))
    ), '23514', 'in at most 2,000 characters'
);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(8), pg_temp.id(2));
select is(pg_temp.report(2, 8), 'content_not_found', 'nor who blocked the reporter');
select is(pg_temp.report(8, 2), null, 'whom one blocked is still reported');
delete from public.reports where reporter_id = pg_temp.id(8);
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.report_content(%L, %L, ''spam'')', kind, pg_temp.id(1))),
    'cannot_be_reported', 'nothing that can be reported: ' || coalesce(kind, 'null')
) from unnest(array['item', 'order', 'posts', null]) as kind;
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.report_content(''artwork'', %L, ''copyright'')', i)), null,
    'an item is reported'
) from pg_temp.artwork(1, 500) as i;
select is(
    (select e.content ->> 'title' from public.report_evidence as e
    inner join public.reports as r on r.id = e.report_id where r.target_type = 'artwork'), 'Artwork', 'with its copy'
);
select pg_temp.be(pg_temp.id(1));
insert into public.artworks (title, image_url, price_cents, category)
values ('Draft', 'https://e.com/2.png', 5000, 'digital');
reset role;
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.report_content(''artwork'', %L, ''copyright'')', a.id)),
    'content_not_found', 'a draft is not'
) from public.artworks as a where a.title = 'Draft';

-- who reads
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.reports), 2::bigint, 'reporters read their reports');
select is_empty('select 1 from public.report_evidence', 'not the copies');
select pg_temp.be(pg_temp.id(1));
select is_empty('select 1 from public.reports', 'the reported nothing');
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.reports), 2::bigint, 'admins all');
select is((select count(*) from public.report_evidence), 2::bigint, 'with the copies');
reset role;
select is(pg_temp.code_as(pg_temp.id(who), s), '42501', who || ': ' || s)
from unnest(array[2, 4]) as who, unnest(array[
    'insert into public.reports (target_type, target_id, reason) values (''profile'', pg_temp.id(1), ''spam'')',
    'update public.reports set state = ''upheld''', 'delete from public.reports',
    'update public.report_abuse_tracking set permanent_ban = false', 'delete from public.report_evidence',
    'insert into public.report_abuse_tracking (user_id) values (pg_temp.id(2))'
]) as s;

-- decisions
select is(pg_temp.report(n, 1), null, 'also reported by ' || n) from generate_series(9, 11) as n;
select is(
    pg_temp.code_as(pg_temp.id(who), format('select public.resolve_report(%L, ''upheld'')', pg_temp.latest())), code,
    code || ' to resolve'
) from (values (2, 'admin_only'), (5, 'banned')) as v (who, code);
select is(pg_temp.code_as(pg_temp.id(4), s), code, 'not resolved: ' || code) from (values
    (format('select public.resolve_report(%L, ''open'')', pg_temp.latest()), 'invalid_verdict'),
    (format('select public.resolve_report(%L, null)', pg_temp.latest()), 'invalid_verdict'),
    (format('select public.resolve_report(%L, ''upheld'')', pg_temp.id(99)), 'report_not_found')
) as v (s, code);
select pg_temp.be(pg_temp.id(4));
select is(
    public.resolve_report((select id from public.reports where reporter_id = pg_temp.id(9)), 'false_report', 'no'), 1,
    'a false report is one reporter''s'
);
select is(
    public.resolve_report((select id from public.reports where reporter_id = pg_temp.id(10)), 'dismissed', 'no', true),
    1, 'only this one when asked'
);
select is(
    public.resolve_report((select id from public.reports where reporter_id = pg_temp.id(11)), 'upheld', 'thanks'), 2,
    'a decision on the content holds for all who reported it'
);
select is(
    pg_temp.code_of(format('select public.resolve_report(%L, ''dismissed'')', id)), 'already_resolved',
    'decided is decided: ' || state
) from public.reports where target_type = 'profile';
reset role;
select results_eq(
    $$select r.reporter_id, r.state::text, r.resolution_note, r.handled_at is not null, e.handled_by
    from public.reports as r inner join public.report_evidence as e on e.report_id = r.id
    where r.target_type = 'profile' order by r.reporter_id$$,
    $$values (pg_temp.id(2), 'upheld', 'thanks', true, pg_temp.id(4)),
        (pg_temp.id(9), 'false_report', 'no', true, pg_temp.id(4)),
        (pg_temp.id(10), 'dismissed', 'no', true, pg_temp.id(4)),
        (pg_temp.id(11), 'upheld', 'thanks', true, pg_temp.id(4))$$, 'each has its decision'
);
select is((select count(*) from public.reports where state = 'open'), 1::bigint, 'other targets wait on');
select is(
    (select count(*) from public.audit_log where action = 'resolve_report' and actor_id = pg_temp.id(4)), 3::bigint,
    'every decision is audited'
);
select is(pg_temp.report(2, 1), null, 'what happens again is reported again');
select is(pg_temp.report(3, 4), null, 'admins are reported too');
select is(
    pg_temp.code_as(pg_temp.id(4), format('select public.resolve_report(%L, ''dismissed'')', id)), 'own_case',
    'and do not decide it themselves'
) from public.reports where target_id = pg_temp.id(4);

-- bad faith
create function pg_temp.false_report(target integer) returns text language plpgsql as $$
begin
    if pg_temp.report(12, target) is not null then
        return pg_temp.report(12, target);
    end if;
    return pg_temp.code_as(pg_temp.id(4), format(
        'select public.resolve_report(%L, ''false_report'')',
        (select id from public.reports where reporter_id = pg_temp.id(12) and state = 'open')
    ));
end
$$;
create function pg_temp.tracking() returns text language sql as $$
    select format('%s %s %s', false_report_count, case when report_ban_until > now() then
        extract(day from report_ban_until - now()) else 0 end, permanent_ban)
    from public.report_abuse_tracking where user_id = pg_temp.id(12)
$$;
select is(pg_temp.false_report(n), null, 'false report ' || n) from generate_series(1, 2) as n;
select is(pg_temp.tracking(), '2 0 f', 'two cost nothing yet');
select is(pg_temp.false_report(3), null, 'the third');
select is(pg_temp.tracking(), '3 30 f', 'ends reporting for 30 days');
select is(pg_temp.report(12, 13), 'report_banned', 'what is tried is refused');
select is(pg_temp.report(12, 99), 'report_banned', 'whatever it is');
select pg_temp.be(pg_temp.id(12));
select throws_ok(
    $$select public.report_content('profile', pg_temp.id(13), 'spam')$$, 'PT403',
    'You may not report anything for now.', 'with words'
);
select is((select count(*) from public.report_abuse_tracking), 1::bigint, 'the user reads the own standing');
select is((select public.is_report_banned(t) from public.report_abuse_tracking as t), true, 'as a computed field');
select pg_temp.be(pg_temp.id(13));
select is_empty('select 1 from public.report_abuse_tracking', 'others do not');
reset role;
update public.report_abuse_tracking set report_ban_until = now() - interval '1 second' where user_id = pg_temp.id(12);
select is(pg_temp.false_report(14), null, 'after the 30 days reporting works, and the fourth');
select is(pg_temp.tracking(), '4 30 f', 'costs another 30');
update public.report_abuse_tracking set report_ban_until = null where user_id = pg_temp.id(12);
select is(pg_temp.false_report(15), null, 'the fifth');
select is(pg_temp.tracking(), '5 0 t', 'is the last');
select is(pg_temp.report(12, 16), 'report_banned', 'for good');

select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.override_report_ban(%L)', pg_temp.id(12))), 'admin_only',
    'members lift nothing'
);
select is(
    pg_temp.code_as(pg_temp.id(4), format('select public.override_report_ban(%L)', pg_temp.id(99))), 'user_not_found',
    'nobody to lift it from'
);
select is(
    pg_temp.code_as(pg_temp.id(4), format(
        'select public.override_report_ban(%L, false_reports => 1, note => ''talked'')', pg_temp.id(12)
    )), null, 'an admin lifts it'
);
select is(pg_temp.tracking(), '1 0 f', 'as told');
select is(pg_temp.report(12, 16), null, 'then reporting works');
select is(
    (select details ->> 'note' from public.audit_log where action = 'override_report_ban'), 'talked', 'audited'
);
select is(
    pg_temp.code_as(pg_temp.id(4), format(
        'select public.override_report_ban(%L, now() + interval ''7 days'')', pg_temp.id(17)
    )), null, 'or bans by hand'
);
select is(pg_temp.report(17, 16), 'report_banned', 'which works');

-- the end of accounts
select is(pg_temp.report(16, 2), null, 'one more report');
delete from auth.users where id = pg_temp.id(12);
select results_eq(
    $$select details, state::text from public.reports where reporter_id is null and target_id = pg_temp.id(16)$$,
    $$values (null::text, 'open')$$, 'a reporter''s report outlives them without their words'
);
select is((select count(*) from public.report_abuse_tracking where user_id = pg_temp.id(12)), 0::bigint,
    'their standing does not');
delete from auth.users where id = pg_temp.id(16);
select is(
    (select count(*) from public.report_evidence where author_id = pg_temp.id(16)), 0::bigint,
    'copies go with their author'
);
select is(
    (select count(*) from public.reports where target_id = pg_temp.id(16) and state = 'open'), 0::bigint,
    'and nothing is left to decide'
);
select pg_temp.be(pg_temp.id(2));
select is(jsonb_array_length(public.export_my_data() -> 'reports'), 3, 'one''s reports are in one''s export');
reset role;

select * from finish();
rollback;
