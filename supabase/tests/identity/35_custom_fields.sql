-- Requests for skills, genres and categories.
begin;
\ir ../helpers.psql
select no_plan();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(1, 12) as n;
update public.profiles set role = 'admin' where id = pg_temp.id(4);
update public.profiles set created_at = now() - interval '1 month';
update private.settings set custom_field_account_age = '7 days';
select pg_temp.ban();
create function pg_temp.request(who integer, kind text, value text, category text default null) returns text
language plpgsql security definer as $$
declare
    code text;
    category_id uuid := (select c.id from public.categories as c where c.slug::text = category);
begin
    perform pg_temp.be(pg_temp.id(who));
    code := pg_temp.code_of(format('select public.request_custom_field(%L, %L, %L)', kind, value, category_id));
    perform set_config('role', 'none', true);
    return code;
end
$$;
create function pg_temp.request_id(value text) returns uuid language sql security definer as $$
    select id from public.custom_field_requests where normal_value = private.normal_form(value)
$$;
-- security definer functions may not change the role
alter function pg_temp.request(integer, text, text, text) security invoker;
grant execute on all functions in schema pg_temp to public;

-- Agreeing on a skill.
select is(pg_temp.request(1, 'skill', ' tamburica ', 'musician'), null, 'one asks');
select is(pg_temp.request(1, 'skill', 'Tamburica'), null, 'again');
select is(pg_temp.request(1, 'skill', E'TAM\u200bBURICA', 'vocalist'), null, 'and again');
select results_eq(
    $$select request_count, status::text, normal_value from public.custom_field_requests$$,
    $$values (1, 'pending', 'tamburica')$$, 'which counts once'
);
select is(pg_temp.request(2, 'skill', 'TAMBURICA', 'musician'), null, 'another one joins');
select is_empty($$select 1 from public.skills where name ilike 'tamburica'$$, 'two are not enough');
select is(pg_temp.request(3, 'skill', 'Tamburica', 'educator'), null, 'the third');
select results_eq(
    $$select r.request_count, r.status::text, r.field_value, s.name, s.slug::text, c.slug::text
    from public.custom_field_requests as r join public.skills as s on s.id = r.field_id
    join public.categories as c on c.id = s.category_id$$,
    $$values (3, 'auto_approved', 'Tamburica', 'Tamburica', 'tamburica', 'musician')$$,
    'makes it a skill, in its best spelling, under the category most named'
);
select is((select is_active and is_admin_approved from public.skills where slug = 'tamburica'), true, 'open to all');
select is(pg_temp.request(6, 'skill', 'tamburica'), 'custom_field_exists', 'then it exists');
select is(pg_temp.request(1, 'skill', value), 'custom_field_exists', value || ' exists')
from unnest(array['Mixing', 'MIXING', ' m' || E'\u00ad' || 'ixing']) as t (value);
select is(pg_temp.request(1, 'genre', 'Hip Hop'), 'custom_field_exists', 'of genres too');
select is(pg_temp.request(1, 'category', 'vocalist'), 'custom_field_exists', 'and categories');
update public.skills set is_active = false where slug = 'tamburica';
select is(pg_temp.request(6, 'skill', 'tamburica'), 'custom_field_withdrawn', 'withdrawn ones do not come back');
update public.skills set is_active = true, name = 'Tamburitza' where slug = 'tamburica';
select is(pg_temp.request(6, 'skill', 'tamburica'), 'custom_field_exists', 'nor renamed ones');

-- Other kinds.
select is(pg_temp.request(n, 'genre', 'turbo folk'), null, n || ' asks for a genre') from generate_series(6, 9) as n;
select is_empty($$select 1 from public.genres where slug = 'turbo-folk'$$, 'four are not enough');
select is(pg_temp.request(10, 'genre', 'TURBO FOLK'), null, 'five are');
select results_eq($$select name from public.genres where slug = 'turbo-folk'$$, array['Turbo Folk'],
    'lower case is capitalised');
select is(pg_temp.request(n, 'skill', v), null, v) from (values (1, 'midi 2'), (2, 'MIDI 2'), (3, 'MIDI 2'))
as t (n, v);
select is(pg_temp.request(n, 'skill', v), null, v) from (values (1, 'vst'), (2, 'VST'), (3, 'vst')) as t (n, v);
select isnt_empty($$select 1 from public.skills where name = 'VST'$$, 'acronyms stay');
select is(pg_temp.request(n, 'category', 'Dancer'), null, n || ' asks for a category')
from generate_series(1, 12) as n where n not in (4, 5);
select results_eq($$select status::text, request_count from public.custom_field_requests where field_type = 'category'$$,
    $$values ('pending', 10)$$, 'categories wait for an admin however many ask');
select is(pg_temp.request(n, 'skill', 'C++'), null, 'C++ ' || n) from generate_series(1, 3) as n;
select is(pg_temp.request(n, 'skill', 'C#'), null, 'C# ' || n) from generate_series(1, 3) as n;
select is(pg_temp.request(n, 'skill', E'\u0433\u0443\u0441\u043b\u0438'), null, 'cyrillic ' || n)
from generate_series(1, 3) as n;
select is((select count(distinct slug) from public.skills where name in ('C++', 'C#', E'\u0413\u0443\u0441\u043b\u0438')),
    3::bigint, 'each has a slug of its own');

select is(pg_temp.request(1, 'skill', bad), 'custom_field_invalid', 'refused: ' || bad)
from unnest(array['', ' ', 'x', '!!', repeat('x', 61), repeat('x', 100000), '<b>x</b>', 'http://spam.example',
    E'\u200b\u200b', '{"a"}', '12345']) as t (bad);
select is(pg_temp.request(5, 'skill', 'Anything'), 'banned', 'banned users ask for nothing');
select is(pg_temp.code_as(null, $$select public.request_custom_field('skill', 'Anything')$$, 'anon'), '42501',
    'nor visitors');
select is(pg_temp.code_as(pg_temp.id(1), $$select public.request_custom_field('skill', 'Anything', gen_random_uuid())$$),
    'choice_not_available', 'nor under a category that is none');
select is(pg_temp.code_as(pg_temp.id(1), $$select public.request_custom_field(null, 'Anything')$$),
    'custom_field_invalid', 'nor of no kind');
select is(pg_temp.request(11, 'skill', 'Open Request ' || n), case when n > 19 then 'too_many_custom_fields' end,
    'open request ' || n) from generate_series(1, 21) as n;

-- Who reads what.
select is(pg_temp.request(7, 'skill', 'Gusle'), null, 'seven asks');
select is(pg_temp.request(8, 'skill', 'gusle'), null, 'eight asks');
select pg_temp.be(pg_temp.id(7));
select is((select request_count from public.custom_field_requests where normal_value = 'gusle'), 2,
    'the requester sees the request');
select is((select count(*) from public.custom_field_requesters where request_id = pg_temp.request_id('gusle')),
    1::bigint, 'not who else asks');
select is_empty($$select 1 from public.custom_field_requests where normal_value = 'tamburica'$$,
    'nor what others ask for');
select is(pg_temp.code_of(s), '42501', s) from unnest(array[
    $$insert into public.custom_field_requests (field_type, field_value, normal_value) values ('skill', 'Xx', 'xx')$$,
    $$update public.custom_field_requests set status = 'approved'$$, $$delete from public.custom_field_requests$$,
    $$insert into public.custom_field_requesters (request_id) values (pg_temp.request_id('gusle'))$$,
    $$delete from public.custom_field_requesters$$
]) as t (s);
select is(pg_temp.code_of(s), 'admin_only', s) from unnest(array[
    $$select public.approve_custom_field(pg_temp.request_id('gusle'))$$,
    $$select public.reject_custom_field(pg_temp.request_id('gusle'), 'no')$$,
    $$select public.reopen_custom_field(pg_temp.request_id('gusle'))$$
]) as t (s);
select pg_temp.be(null, 'anon');
select is(pg_temp.code_of($$select 1 from public.custom_field_requests$$), '42501', 'visitors read none');
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.custom_field_requesters where request_id = pg_temp.request_id('gusle')),
    2::bigint, 'admins see who asks');

-- Deciding. What the trigger of others would see at the change of status: everybody who asked.
reset role;
create temporary table told (request uuid, people bigint, before text, after text);
create function pg_temp.tell() returns trigger language plpgsql security definer as $$
begin
    insert into told select new.id, count(*), old.status, new.status
    from public.custom_field_requesters as r where r.request_id = new.id;
    return null;
end
$$;
create trigger zz_tell after update of status on public.custom_field_requests for each row
when (old.status is distinct from new.status) execute function pg_temp.tell();

select is(pg_temp.code_as(pg_temp.id(4), $$select public.reject_custom_field(pg_temp.request_id('gusle'), ' ')$$),
    'rejection_reason_required', 'a rejection says why');
select is(pg_temp.code_as(pg_temp.id(4), $$select public.reject_custom_field(pg_temp.request_id('gusle'), 'Too rare')$$),
    null, 'rejected');
select is(pg_temp.code_as(pg_temp.id(4), s), 'custom_field_decided', s) from unnest(array[
    $$select public.reject_custom_field(pg_temp.request_id('gusle'), 'Too rare')$$,
    $$select public.approve_custom_field(pg_temp.request_id('gusle'))$$,
    $$select public.approve_custom_field(pg_temp.request_id('tamburica'))$$,
    $$select public.reject_custom_field(pg_temp.request_id('tamburica'), 'x')$$,
    $$select public.reopen_custom_field(pg_temp.request_id('tamburica'))$$
]) as t (s);
select is(pg_temp.code_as(pg_temp.id(4), $$select public.approve_custom_field(gen_random_uuid())$$),
    'custom_field_not_found', 'one has to exist');
select is(pg_temp.request(7, 'skill', 'Gusle'), 'custom_field_rejected', 'it stays rejected');
select is(pg_temp.request(9, 'skill', ' GUSLE'), 'custom_field_rejected', 'for everybody');
select pg_temp.be(pg_temp.id(7));
select is((select rejection_reason from public.custom_field_requests where normal_value = 'gusle'), 'Too rare',
    'who asked reads why');
select pg_temp.be(pg_temp.id(4));
select lives_ok($$select public.reopen_custom_field(pg_temp.request_id('gusle'))$$, 'admins change their minds');
select lives_ok($$select public.reopen_custom_field(pg_temp.request_id('gusle'))$$, 'twice is once');
select lives_ok(format($$select public.approve_custom_field(pg_temp.request_id('gusle'), ' Gusle  Playing ', %L)$$,
    (select id from public.categories where slug = 'musician')), 'and approve it under a better name');
reset role;
select results_eq(
    $$select r.field_value, r.status::text, s.name, c.slug::text from public.custom_field_requests as r
    join public.skills as s on s.id = r.field_id join public.categories as c on c.id = s.category_id
    where r.normal_value = 'gusle'$$,
    $$values ('Gusle Playing', 'approved', 'Gusle Playing', 'musician')$$, 'which it has now'
);
select results_eq($$select people, before, after from told$$,
    $$values (2::bigint, 'pending', 'rejected'), (2, 'rejected', 'pending'), (2, 'pending', 'approved')$$,
    'status changes see everybody who asked');
select is(pg_temp.request(9, 'skill', 'gusle'), 'custom_field_exists', 'the old name leads to it');
select is(pg_temp.code_as(pg_temp.id(4), $$select public.approve_custom_field(pg_temp.request_id('dancer'))$$), null,
    'categories are approved by admins');
select isnt_empty($$select 1 from public.categories where slug = 'dancer' and is_active$$, 'and exist then');
select is(pg_temp.request(9, 'skill', 'Mixxing'), null, 'a typo');
select is(pg_temp.code_as(pg_temp.id(4), $$select public.approve_custom_field(pg_temp.request_id('mixxing'), 'mixing')$$),
    null, 'is what it meant');
select is((select field_id from public.custom_field_requests where normal_value = 'mixxing'),
    (select id from public.skills where slug = 'mixing'), 'and no second skill');
select is((select array_agg(action order by id) from public.audit_log where target_type = 'custom_field_request'),
    array['reject_custom_field', 'reopen_custom_field', 'approve_custom_field', 'approve_custom_field',
        'approve_custom_field'], 'audited');

-- Accounts that go.
select is(pg_temp.request(12, 'skill', 'HAng Drum'), null, 'twelve asks');
select is(pg_temp.request(9, 'skill', 'hang drum'), null, 'nine asks for the same');
select is(pg_temp.request(12, 'skill', 'Name of Twelve'), null, 'twelve alone asks for something else');
delete from auth.users where id = pg_temp.id(12);
select results_eq(
    $$select request_count, field_value from public.custom_field_requests where normal_value = 'hang drum'$$,
    $$values (1, 'Hang Drum')$$, 'an account that is gone neither counts nor spells'
);
select is_empty($$select from public.custom_field_requests where normal_value = 'name of twelve'$$,
    'what nobody else asked for is gone');
select is_empty($$select * from private.recount() where counter = 'custom_field_requests.request_count'$$,
    'counts are exact');

-- Accounts made for the purpose.
update public.profiles set created_at = now() where id in (pg_temp.id(6), pg_temp.id(7));
update public.profiles set is_confirmed = false where id = pg_temp.id(8);
select is(pg_temp.request(n, 'skill', 'Nose Flute'), null, n || ' asks') from generate_series(6, 10) as n;
select is_empty($$select 1 from public.skills where name = 'Nose Flute'$$,
    'five who asked are two, without the new and the unconfirmed accounts');
update private.settings set custom_field_account_age = '0';
select is(pg_temp.request(10, 'skill', 'Nose Flute'), null, 'one asks again when they are old enough');
select is((select count(*) from public.skills where name = 'Nose Flute'), 1::bigint, 'which makes it a skill');

select * from finish();
rollback;
