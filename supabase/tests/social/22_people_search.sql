-- Finding people and groups by name.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
insert into auth.users (id, email, raw_user_meta_data)
select pg_temp.id(n), n || '@example.com', jsonb_build_object('username', name, 'display_name', display)
from (values
    (11, 'tambura', 'Ana'), (12, 'tamburica', 'Ivo'), (13, 'dj_tambura', null), (14, 'someone', 'Tamburaš Orkestar'),
    (15, 'other', 'The Tamburica Band'), (16, 'unrelated', 'Nobody'), (17, 'hidden_tambura', 'Private'),
    (18, 'members_tambura', 'Members'), (19, 'banned_tambura', 'Banned'), (20, 'blocking_tambura', 'Blocking'),
    (21, 'percent_100', 'a%b_c\d')
) as v (n, name, display);
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(17);
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(18);
insert into public.bans (user_id, reason) values (pg_temp.id(19), 'spam');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(20), pg_temp.id(1));

select is(private.search_term(E'  @Ana\t  MARIA '), 'ana maria', 'queries are tidied');

create function pg_temp.found(n integer, query text, speaker text default 'authenticated') returns text[]
language plpgsql as $$
declare
    answer text [];
begin
    perform pg_temp.be(pg_temp.id(n), speaker);
    answer := array(select s.username from public.search_profiles(found.query, max_rows => 100) as s);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
grant execute on all functions in schema pg_temp to public;
select is((pg_temp.found(1, 'tambura'))[1], 'tambura', 'the exact name comes first');
select is((pg_temp.found(1, 'TAMBURI'))[1], 'tamburica', 'what begins so next, whatever the case');
select is((pg_temp.found(1, 'tamburaš'))[1], 'someone', 'display names count');
select ok('other' = any(pg_temp.found(1, 'tamburica')), 'words inside a name too');
select ok('tamburica' = any(pg_temp.found(1, 'tamburcia')), 'and with a typing error');
select ok(not 'unrelated' = any(pg_temp.found(1, 'tambura')), 'nothing else');
select is(pg_temp.found(1, 'ta'), '{tambura,tamburica,someone}'::text[], 'two letters find what begins so, user names first');
select is(pg_temp.found(1, '@tamburica') , pg_temp.found(1, 'tamburica'), 'an @ is no letter');
select is(pg_temp.found(1, ''), '{}'::text[], 'nothing finds nothing');
select is(pg_temp.found(1, '   '), '{}'::text[], 'spaces neither');
select is(pg_temp.found(1, null), '{}'::text[], 'nor null');
select is(pg_temp.found(1, '%'), '{}'::text[], 'a percent sign is a letter');
select is(pg_temp.found(1, 'a%b_'), '{percent_100}'::text[], 'like an underscore');
select is(pg_temp.found(1, repeat('x', 5000)), '{}'::text[], 'long queries are cut');

select ok(not pg_temp.found(1, 'tambura') && '{hidden_tambura,banned_tambura,blocking_tambura}'::text[],
    'neither private, banned nor blocked people are found');
select ok(not pg_temp.found(1, 'hidden_tambura') && '{hidden_tambura}'::text[], 'by their full name neither');
select ok(not pg_temp.found(1, 'blocking') && '{blocking_tambura}'::text[], 'nor its beginning');
select ok('members_tambura' = any(pg_temp.found(1, 'tambura')), 'members find members-only people');
select ok(not 'members_tambura' = any(pg_temp.found(0, 'tambura', 'anon')), 'visitors do not');
select ok('tambura' = any(pg_temp.found(0, 'tambura', 'anon')), 'but public ones');
select ok(not 'members_tambura' = any(pg_temp.found(19, 'tambura')), 'banned people search like visitors');
select ok('{hidden_tambura,banned_tambura,blocking_tambura}'::text[] <@ pg_temp.found(4, 'tambura'), 'admins find all');
select is((pg_temp.found(17, 'hidden'))[1], 'hidden_tambura', 'everybody finds themselves');

-- pages
select pg_temp.be(pg_temp.id(1));
create temporary table pages as
with recursive pages (page, id, score) as (
    (select 1, s.id, s.score from public.search_profiles('tambura', max_rows => 1) as s)
    union all
    select p.page + 1, s.id, s.score from pages as p
    cross join lateral public.search_profiles('tambura', p.score, p.id, 1) as s
)
select * from pages;
select results_eq(
    'select p.id from pages as p order by p.page',
    $$select s.id from public.search_profiles('tambura', max_rows => 100) as s$$, 'pages of one follow each other'
);
reset role;

-- groups
insert into public.groups (id, owner_id, name, visibility, tags) values
(pg_temp.id(101), pg_temp.id(2), 'Tambura Players', 'public', '{}'),
(pg_temp.id(102), pg_temp.id(2), 'Tambura Builders', 'private', '{}'),
(pg_temp.id(103), pg_temp.id(2), 'Tambura Secrets', 'secret', '{tambura}'),
(pg_temp.id(104), pg_temp.id(2), 'Folk', 'public', '{tambura}'), (pg_temp.id(105), pg_temp.id(2), 'Techno', 'public', '{}');
insert into public.group_members (group_id, user_id) values (pg_temp.id(103), pg_temp.id(3));
insert into public.group_invitations (group_id, user_id, invited_by) values (pg_temp.id(103), pg_temp.id(16), pg_temp.id(2));
create function pg_temp.groups(n integer, query text, speaker text default 'authenticated') returns text[]
language plpgsql as $$
declare
    answer text [];
begin
    perform pg_temp.be(pg_temp.id(n), speaker);
    answer := array(select s.name from public.search_groups(groups.query, max_rows => 100) as s order by s.name);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
grant execute on all functions in schema pg_temp to public;
select is(pg_temp.groups(1, 'tambura'), '{Folk,Tambura Builders,Tambura Players}'::text[], 'by name and tag, none secret');
select is(pg_temp.groups(1, 'Tambura Secrets'), pg_temp.groups(0, 'Tambura Secrets', 'anon'), 'for strangers and visitors');
select ok(not 'Tambura Secrets' = any(pg_temp.groups(1, 'tambura secrets')), 'nor by its name');
select ok('Tambura Secrets' = any(pg_temp.groups(3, 'tambura')), 'its members find it');
select ok('Tambura Secrets' = any(pg_temp.groups(16, 'tambura')), 'and who is invited');
select ok('Tambura Secrets' = any(pg_temp.groups(4, 'tambura')), 'and admins of the platform');
select is(pg_temp.groups(1, 'te'), '{Techno}'::text[], 'two letters find what begins so');
select is(pg_temp.groups(1, 'playes'), '{Tambura Players}'::text[], 'a typing error is forgiven');
select is(pg_temp.groups(1, ''), '{}'::text[], 'nothing finds nothing');

-- Names of stop words, of CJK letters, with accents.
update public.profiles set display_name = 'The Who' where id = pg_temp.id(16);
update public.profiles set display_name = U&'\65B0\6771\4EAC\697D\56E3' where id = pg_temp.id(13);
update public.profiles set display_name = U&'Orchestra Caf\00E9' where id = pg_temp.id(15);
select is(pg_temp.found(1, 'The Who'), '{unrelated}'::text[], 'stop words are words in names');
select is(pg_temp.found(1, U&'\6771\4EAC'), '{dj_tambura}'::text[], 'two CJK letters inside a name');
select is(pg_temp.found(1, U&'\697D\56E3'), '{dj_tambura}'::text[], 'or at its end');
select is(pg_temp.found(1, 'cafe orchestra'), '{other}'::text[], 'words in any order without their accents');
select is(pg_temp.found(1, U&'Cafe\0301'), '{other}'::text[], 'or decomposed');
insert into public.groups (owner_id, name) values (pg_temp.id(1), 'And You'), (pg_temp.id(1), U&'\65B0\6771\4EAC\697D\56E3');
select is(pg_temp.groups(16, 'and you'), '{And You}'::text[], 'stop words in the name of a group');
select is(pg_temp.groups(16, U&'\6771\4EAC'), array[U&'\65B0\6771\4EAC\697D\56E3'], 'CJK letters, too');

select * from finish();
rollback;
