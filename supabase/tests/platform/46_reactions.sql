-- What is built for likes and their like: the table, who reads and writes it, whether the caller did, on tables made up
-- here.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
select pg_temp.ban();

create table public.things (
    id uuid primary key, user_id uuid not null default auth.uid(), is_open boolean not null default true,
    is_hidden boolean not null default false
);
create table public.marks (user_id uuid not null default auth.uid(), thing_id uuid, primary key (user_id, thing_id));
alter table public.things enable row level security;
grant select on public.things to anon, authenticated;
create policy things_select on public.things for select to anon, authenticated using (not is_hidden);
insert into public.things (id, user_id, is_open, is_hidden) values
(pg_temp.id(11), pg_temp.id(1), true, false), (pg_temp.id(12), pg_temp.id(1), false, false),
(pg_temp.id(13), pg_temp.id(1), true, true);

-- Refused --------------------------------------------------------------------------------------------------------------
select throws_ok(
    'select private.make_reactions(''public.thing_likes'', ''thing_id'', ''public.things'', ''liked'')', 'P0001',
    'public.thing_likes needs a column <thing>_id, and make_hold() of the thing', 'a like of what cannot be held'
);
select throws_ok(
    'select private.make_reactions(''public.thing_likes'', ''thing'', ''public.things'', ''liked'')', 'P0001', null,
    'a column of another name'
);
select throws_ok(
    'select private.make_hold(''public.unknown'', ''thing'')', '42P01', null, 'what does not exist is not held'
);
select throws_ok(
    'select private.make_by_me(''liked'', ''public.marks'', ''thing_id'')', 'P0001', null,
    'a key that refers to nothing has no computed field'
);
select throws_ok(
    'select private.make_own_rows(''public.marks'', ''other_id'')', '42703', null, 'a key that is not there is nobody''s'
);

-- Built ----------------------------------------------------------------------------------------------------------------
select private.make_hold('public.things', 'thing');
select private.make_reactions('public.thing_likes', 'thing_id', 'public.things', 'liked', '{row}.is_open');
select private.make_by_me('liked', 'public.thing_likes', 'thing_id');
select private.make_own_rows('public.marks', 'thing_id');
create table public.rooms (id uuid primary key);
grant select on public.rooms to authenticated;
select private.make_hold('public.rooms', 'room');
select private.make_reactions('public.room_visits', 'room_id', 'public.rooms', 'visited', is_paged => false);
select is(
    array(
        select r from unnest(array['anon', 'authenticated']) as r
        where has_table_privilege(r, 'public.room_visits', 'select')
    ),
    array['authenticated'], 'visitors read no reactions to what they do not read'
);
select hasnt_index('public', 'room_visits', 'room_visits_room_id_created_at_idx', 'no index for lists nobody asks for');
select col_is_pk('public', 'thing_likes', array['thing_id', 'user_id'], 'one like of one thing each');
select has_index('public', 'thing_likes', 'thing_likes_thing_id_created_at_idx', 'lists are paged through');
select fk_ok('public', 'thing_likes', 'thing_id', 'public', 'things', 'id');
select is(
    obj_description(c.oid, 'pg_constraint'), 'thing_not_found: There is no such thing.', 'a client is told what it broke'
)
from pg_constraint as c where c.conname = 'thing_likes_thing_id_fkey';
select results_eq(
    $$ select relation, condition from private.personal_data where section = 'thing_likes' $$,
    $$ values ('public.thing_likes', 't.user_id = $1') $$, 'exported'
);
select results_eq(
    $$ select phase::text, erases from private.erasure_steps where step = 'thing_likes' $$,
    $$ values ('reactions', '{public.thing_likes}'::text[]) $$, 'and erased'
);

-- Who does what --------------------------------------------------------------------------------------------------------
create function pg_temp.like(thing integer) returns text language sql as $$
    select format('insert into public.thing_likes (thing_id) values (%L)', pg_temp.id(thing))
$$;
select is(pg_temp.code_as(pg_temp.id(2), pg_temp.like(11)), null, 'a member likes what they read');
select is(
    pg_temp.code_as(pg_temp.id(2), pg_temp.like(11) || ' on conflict (thing_id, user_id) do update set thing_id = excluded.thing_id'),
    null, 'an upsert again'
);
select is(pg_temp.code_as(pg_temp.id(2), pg_temp.like(11)), '23505', 'but once');
select is(pg_temp.code_as(pg_temp.id(2), pg_temp.like(12)), '42501', 'not what takes none');
select is(pg_temp.code_as(pg_temp.id(2), pg_temp.like(13)), '42501', 'nor what they cannot read');
select is(pg_temp.code_as(pg_temp.id(5), pg_temp.like(11)), '42501', 'nor do the banned');
select is(pg_temp.code_as(null, pg_temp.like(11), 'anon'), '42501', 'nor visitors');
select is(
    pg_temp.code_as(
        pg_temp.id(3),
        format('insert into public.thing_likes (thing_id, user_id) values (%L, %L)', pg_temp.id(11), pg_temp.id(2))
    ),
    '42501', 'nobody for somebody else'
);
insert into public.thing_likes (thing_id, user_id) values (pg_temp.id(11), pg_temp.id(3)), (pg_temp.id(13), pg_temp.id(3));
insert into public.marks values (pg_temp.id(2), pg_temp.id(11)), (pg_temp.id(3), pg_temp.id(11));

create function pg_temp.seen(relation text) returns text language plpgsql as $$
declare
    n text;
begin
    execute format('select string_agg(right(user_id::text, 1), '' '' order by user_id) from public.%I', relation) into n;
    return n;
end
$$;
grant execute on function pg_temp.seen(text) to public;
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.seen('thing_likes'), '2 3', 'likes are read with the thing');
select is(pg_temp.seen('marks'), '2', 'rows without readers by their owner alone');
select is((select t.liked_by_me from public.things as t where t.id = pg_temp.id(11)), true, 'who liked it is told so');
select is((select t.liked_by_me from public.things as t where t.id = pg_temp.id(12)), false, 'of this thing alone');
select pg_temp.be(pg_temp.id(4));
select is((select t.liked_by_me from public.things as t where t.id = pg_temp.id(11)), false, 'nobody else is');
select pg_temp.be(null, 'anon');
select is(pg_temp.seen('thing_likes'), '2 3', 'visitors read them too');
select is((select t.liked_by_me from public.things as t where t.id = pg_temp.id(11)), false, 'and like nothing');
select throws_ok('select * from public.marks', '42501', null, 'what is the owner''s is not a visitor''s');
reset role;
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(3);
select pg_temp.be(pg_temp.id(2));
select is(pg_temp.seen('thing_likes'), '2', 'as far as the reader sees who liked');
select pg_temp.be(null, 'anon');
select is(pg_temp.seen('thing_likes'), '2', 'visitors too');
select pg_temp.be(pg_temp.id(3));
select is(pg_temp.seen('thing_likes'), '2 3', 'one''s own always');
select results_eq(
    'delete from public.thing_likes where true returning user_id', array[pg_temp.id(3)], 'each takes back their own'
);
reset role;
select is(
    array(
        select f from unnest(array[
            'private.hold_thing', 'private.has_liked_thing', 'public.liked_by_me(public.things)'
        ]) as f
        where obj_description(case when f ~ '\(' then f::regprocedure else f::regproc::regprocedure end, 'pg_proc')
            !~ 'Built by make_[a-z_]+\(\)\.$'
    ),
    '{}', 'what is built says who built it'
);

select * from finish();
rollback;
