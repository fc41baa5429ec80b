-- Skills, genres, and what people choose of categories, skills and genres.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
create function pg_temp.skill(wanted text) returns uuid language sql security definer as $$
    select id from public.skills where slug::text = wanted
$$;
create function pg_temp.genre(wanted text) returns uuid language sql security definer as $$
    select id from public.genres where slug::text = wanted
$$;
grant execute on all functions in schema pg_temp to public;

-- The lists.
select cmp_ok((select count(*) from public.skills where category_id is not null), '>=', 100::bigint, '100 skills');
select is((select count(distinct category_id) from public.skills), 8::bigint, 'in all eight categories');
select is_empty(
    $$select c.slug from public.categories as c left join public.skills as s on s.category_id = c.id
    group by c.slug having count(s.id) < 10$$, 'ten in each at least'
);
select cmp_ok((select count(*) from public.genres), '>=', 50::bigint, '50 genres');
select cmp_ok((select count(*) from public.genres where parent_genre_id is not null), '>=', 40::bigint, 'with parents');
select is((select p.name from public.genres as g join public.genres as p on p.id = g.parent_genre_id
    where g.slug = 'deep-house'), 'House', 'of the right parent');
select is_empty(
    $$with recursive up as (
        select id, parent_genre_id, 1 as depth from public.genres
        union all
        select up.id, g.parent_genre_id, depth + 1 from up join public.genres as g on g.id = up.parent_genre_id
        where depth < 10
    )
    select 1 from up where depth = 10$$, 'no circles'
);
select is(pg_temp.skill('mixing'), md5('avenue skill mixing')::uuid, 'ids follow from the slug');
select is(pg_temp.genre('house'), md5('avenue genre house')::uuid, 'of genres too');
select is(s.slug::text, private.slugify(replace(s.name, '&', ' and ')), 'slug of ' || s.name)
from public.skills as s where s.slug::text <> private.slugify(replace(s.name, '&', ' and '));

-- Names.
select is(private.normal_form(given), wanted, 'normal form of ' || given)
from (values
    ('Tamburica', 'tamburica'), (' tamburica ', 'tamburica'), ('TAMBURICA', 'tamburica'),
    (E'Tam\u200bbu\u00adrica', 'tamburica'), (E'\ufeffTamburica\t', 'tamburica'), (E'\uff34amburica', 'tamburica'),
    (E'Lead\u00a0\n  Guitar', 'lead guitar'), ('Lead-Guitar', 'lead guitar'), (E'Lead\u2011Guitar', 'lead guitar'),
    ('R&B', 'r and b'), ('r and B', 'r and b'), (E'Be\u0301la', E'b\u00e9la'), (E'\u017DIVO', E'\u017eivo'),
    (E'Rock \u2019n\u2019 Roll', 'rock ''n'' roll'), (E'\u039F\u0394\u039F\u03A3', private.normal_form(E'\u03bf\u03b4\u03bf\u03c2')),
    ('C++', 'c++'), ('', ''), (E'Tamburi\u0107a', E'tamburi\u0107a')
) as t (given, wanted);
select is(pg_temp.code_of($$insert into public.skills (name, slug) values ('MIXING', 'mixing-2')$$), '23505',
    'one skill of a name');
select is(pg_temp.code_of($$insert into public.genres (name, slug) values ('hip hop', 'hip-hop-2')$$), '23505',
    'one genre of a name');

-- Who reads them.
update public.skills set is_active = false where slug = 'vjing';
update public.skills set is_admin_approved = false where slug = 'beatboxing';
update public.genres set is_active = false where slug = 'drone';
update public.genres set is_admin_approved = false where slug = 'noise';
select pg_temp.be(null, 'anon');
select is_empty($$select 1 from public.skills where slug in ('vjing', 'beatboxing')$$, 'visitors read open skills');
select isnt_empty($$select 1 from public.skills where slug = 'mixing'$$, 'all of them');
select is_empty($$select 1 from public.genres where slug in ('drone', 'noise')$$, 'and open genres');
select is(pg_temp.code_of($$update public.skills set name = 'x'$$), '42501', 'and write none');
select pg_temp.be(pg_temp.id(2));
select is_empty($$select 1 from public.skills where slug in ('vjing', 'beatboxing')$$, 'members read the same');
select is_empty($$select 1 from public.genres where slug in ('drone', 'noise')$$, 'of genres too');
select is(pg_temp.code_of(s), '42501', s) from unnest(array[
    $$insert into public.skills (name, slug) values ('Xx', 'xx')$$, $$delete from public.skills$$,
    $$insert into public.genres (name, slug) values ('Xx', 'xx')$$, $$delete from public.genres$$,
    $$update public.skills set slug = 'xx'$$
]) as t (s);
select is_empty($$update public.skills set name = 'Hacked' returning 1$$, 'members change no skill');
select is_empty($$update public.genres set is_active = false returning 1$$, 'and no genre');
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.skills where slug in ('vjing', 'beatboxing')), 2::bigint, 'admins read all');
update public.skills set is_active = false where slug = 'tattoo-design';
reset role;
select is((select is_active from public.skills where slug = 'tattoo-design'), false, 'and withdraw one');
select is((select details #>> '{after,is_active}' from public.audit_log where action = 'update_skills'), 'false',
    'audited');

-- Choosing.
select pg_temp.be(pg_temp.id(1));
insert into public.user_categories (category_id) select id from public.categories where slug in ('musician', 'vocalist');
insert into public.user_skills (skill_id) values (pg_temp.skill('mixing')), (pg_temp.skill('piano'));
insert into public.user_genres (genre_id) values (pg_temp.genre('house'));
select is((select count(*) from public.user_skills where user_id = pg_temp.id(1)), 2::bigint, 'a member chooses skills');
select is(pg_temp.code_of($$insert into public.user_skills (skill_id) values (pg_temp.skill('mixing'))$$), '23505', 'once');
select lives_ok($$insert into public.user_skills (skill_id) values (pg_temp.skill('mixing'))
    on conflict (user_id, skill_id) do nothing$$, 'or ignores it');
select is(pg_temp.code_of($$insert into public.user_skills (user_id, skill_id)
    values (pg_temp.id(2), pg_temp.skill('mixing'))$$), '42501', 'not for others');
select is(pg_temp.code_of(format('insert into public.user_skills (skill_id) values (%L)', pg_temp.skill(slug))),
    'choice_not_available', 'not ' || slug) from unnest(array['vjing', 'beatboxing']) as t (slug);
select is(pg_temp.code_of(format('insert into public.user_genres (genre_id) values (%L)', pg_temp.genre(slug))),
    'choice_not_available', 'not ' || slug) from unnest(array['drone', 'noise']) as t (slug);
select is(pg_temp.code_of($$insert into public.user_skills (skill_id) values (gen_random_uuid())$$), '23503',
    'nor what does not exist');
select is(pg_temp.code_of($$insert into public.user_skills (skill_id) select id from public.skills
    where is_active and is_admin_approved limit 51 on conflict do nothing$$), 'too_many_choices', 'at most 50 skills');
select is(pg_temp.code_of($$insert into public.user_genres (genre_id) select id from public.genres
    limit 31 on conflict do nothing$$), 'too_many_choices', 'at most 30 genres');
select is((select count(*) from public.user_skills), 2::bigint, 'and none of too many');
select pg_temp.be(pg_temp.id(4));
select is(pg_temp.code_of($$insert into public.user_skills (skill_id) values (pg_temp.skill('vjing'))$$),
    'choice_not_available', 'not even admins choose what they alone see');
reset role;
update public.categories set is_active = false where slug = 'educator';
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.code_of(format('insert into public.user_categories (category_id) values (%L)',
    (select id from public.categories where slug = 'educator'))), '23502', 'an invisible category is not even found');

-- Reading and removing.
select pg_temp.be(who, speaker) from (values (null::uuid, 'anon')) as t (who, speaker);
select is((select count(*) from public.user_skills), 2::bigint, 'visitors read choices');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.user_categories), 2::bigint, 'members too');
delete from public.user_skills;
delete from public.user_categories;
select is((select count(*) from public.user_skills), 2::bigint, 'strangers remove nothing');
select pg_temp.be(pg_temp.id(1));
delete from public.user_skills where skill_id = pg_temp.skill('piano');
select is((select count(*) from public.user_skills), 1::bigint, 'owners do');

create function pg_temp.readable() returns bigint language sql as $$
    select (select count(*) from public.user_skills) + (select count(*) from public.user_categories)
        + (select count(*) from public.user_genres)
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.be(pg_temp.id(3));
select is(pg_temp.readable(), 4::bigint, 'a stranger reads all three');
insert into public.user_blocks (blocked_id) values (pg_temp.id(1));
select is(pg_temp.readable(), 0::bigint, 'nothing of whom they blocked');
reset role;
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(1);
select pg_temp.be(null, 'anon');
select is(pg_temp.readable(), 0::bigint, 'visitors: nothing of members only');
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.readable(), 4::bigint, 'members: all of it');
reset role;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(1);
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.readable(), 0::bigint, 'nothing of private ones');
select pg_temp.be(pg_temp.id(1));
select is(pg_temp.readable(), 4::bigint, 'the owner reads them');
select pg_temp.be(pg_temp.id(4));
select is(pg_temp.readable(), 4::bigint, 'and admins');
reset role;
select pg_temp.ban();
select pg_temp.be(pg_temp.id(5));
select is(pg_temp.code_of($$insert into public.user_skills (skill_id) values (pg_temp.skill('mixing'))$$), '42501',
    'a banned user chooses nothing');

reset role;
delete from auth.users where id = pg_temp.id(1);
select is(pg_temp.readable(), 0::bigint, 'a deleted account leaves nothing');

select * from finish();
rollback;
