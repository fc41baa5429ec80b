-- What is built for a counter, for what follows an author, and for tags, on tables made up here.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();

create table public.things (
    id uuid primary key, is_open boolean not null default true, marks_count integer not null default 0,
    notes_count integer not null default 0, name text
);
create table public.boxes (id uuid primary key, notes_count integer not null default 0);
create table public.marks (
    thing_id uuid references public.things (id) on delete cascade, who integer, other_id uuid,
    primary key (thing_id, who)
);
create table public.notes (
    id uuid primary key, user_id uuid not null references public.profiles (id),
    thing_id uuid references public.things (id) on delete cascade,
    box_id uuid references public.boxes (id) on delete cascade, is_hidden boolean not null default false,
    author_audience public.audience not null default 'public', tags text[] not null default '{}'
);
insert into public.things (id) values (pg_temp.id(1)), (pg_temp.id(2));
insert into public.boxes (id) values (pg_temp.id(3));

-- Refused --------------------------------------------------------------------------------------------------------------
select throws_ok(
    'select private.make_counter(''public.unknown'', ''thing_id'', ''marks_count'')', '42P01', null,
    'there is no such relation'
);
select throws_ok(
    'select private.make_counter(''public.marks'', ''other_id'', ''marks_count'')', 'P0001',
    'public.marks.other_id is no <thing>_id that refers to a relation', 'a key that refers to nothing'
);
select throws_ok(
    'select private.make_counter(''public.marks'', ''nothing_id'', ''marks_count'')', 'P0001', null,
    'a column that is not there'
);
select throws_ok(
    format('select private.make_counter(''public.marks'', ''thing_id'', %L)', name), 'P0001',
    format('things.%s is no counter', name), 'a counter that is not there, or is no number: ' || name
)
from unnest(array['shares_count', 'name']) as name;
select throws_ok(
    'select private.make_shown_counter(''public.notes'', ''{thing_id}'', ''notes_count'', ''{line}.is_hidden'', ''id'')',
    'P0001', 'nothing was said for {line}', 'a condition on something else than a row'
);
select throws_ok(
    'select private.make_follow_author(''public.notes'', ''user_id'', 1, ''audience'')', 'P0001',
    'nothing was said for {type}', 'a copy in a column that is not there'
);
select throws_ok(
    'select private.make_tag_notes(''public.notes'', ''user_id'', ''{row}.is_open'', ''tags'')', '42703', null,
    'a condition on a column that is not there'
);
select is_empty(
    $$ select * from private.counters where source in ('public.marks', 'public.notes') $$, 'and nothing is left of it'
);

-- Rows of one thing ----------------------------------------------------------------------------------------------------
select private.make_counter('public.marks', 'thing_id', 'marks_count', '{row}.is_open');
select throws_ok(
    'select private.make_counter(''public.marks'', ''thing_id'', ''marks_count'')', '23505', null, 'once is enough'
);
create function pg_temp.marks() returns text language sql as $$
    select string_agg(t.marks_count::text, ' ' order by t.id) from public.things as t
$$;
insert into public.marks values (pg_temp.id(1), 1);
select is(pg_temp.marks(), '1 0', 'one');
insert into public.marks values (pg_temp.id(1), 2), (pg_temp.id(2), 1), (pg_temp.id(1), 3);
select is(pg_temp.marks(), '3 1', 'many in one statement');
insert into public.marks values (pg_temp.id(1), 2) on conflict do nothing;
insert into public.marks select null, 1 where false;
select is(pg_temp.marks(), '3 1', 'none');
delete from public.marks where who = 2;
select is(pg_temp.marks(), '2 1', 'one taken back');
delete from public.marks where who in (1, 3);
select is(pg_temp.marks(), '0 0', 'many taken back');

insert into private.pending_counts (counter, target, change) values ('things.marks_count', pg_temp.id(1), 4);
insert into public.marks values (pg_temp.id(1), 1);
select is(pg_temp.marks(), '5 0', 'takes along what somebody who collided left');
select is_empty('select * from private.pending_counts', 'and nothing stays');
update public.things set marks_count = 7 where id = pg_temp.id(1);
select results_eq(
    $$ select counter, target, counted, truth from private.recount() $$,
    $$ values ('things.marks_count', pg_temp.id(1), 7::bigint, 1::bigint) $$, 'a recount finds the row that is wrong'
);
select count(*) from private.recount(true);
select is(pg_temp.marks(), '1 0', 'and sets it right');

insert into public.marks values (pg_temp.id(1), 5), (pg_temp.id(2), 5);
update public.things set is_open = false, marks_count = 0 where id = pg_temp.id(2);
delete from public.marks where thing_id = pg_temp.id(2);
select is(pg_temp.marks(), '2 0', 'one that takes none is left alone, taken back by one');
insert into public.marks values (pg_temp.id(2), 6);
update public.things set marks_count = 0 where id = pg_temp.id(2);
delete from public.marks where who in (5, 6);
select is(pg_temp.marks(), '1 0', 'and by many');
delete from public.things where id = pg_temp.id(1);
select is_empty('select * from private.pending_counts', 'deleted with its marks: nothing to count on');
select is(
    (select col_description('public.things'::regclass, a.attnum) from pg_attribute as a
    where a.attrelid = 'public.things'::regclass and a.attname = 'marks_count'),
    'Rows in marks; kept by triggers.', 'the column says what it counts'
);

-- Rows that are hidden, shown and follow their author ------------------------------------------------------------------
select private.make_shown_counter(
    'public.notes', '{box_id,thing_id}', 'notes_count', 'not {row}.is_hidden and {row}.author_audience <> ''owner''',
    'author_audience'
);
select private.make_follow_author('public.notes', 'user_id', 99);
create function pg_temp.notes() returns text language sql as $$
    select string_agg(t.notes_count::text, ' ' order by t.id)
    from (select id, notes_count from public.things union all select id, notes_count from public.boxes) as t
$$;
insert into public.things (id) values (pg_temp.id(1));
insert into public.notes (id, user_id, thing_id, box_id, is_hidden) values
(pg_temp.id(11), pg_temp.id(1), pg_temp.id(1), null, false), (pg_temp.id(12), pg_temp.id(1), null, pg_temp.id(3), false),
(pg_temp.id(13), pg_temp.id(1), pg_temp.id(2), pg_temp.id(3), false),
(pg_temp.id(14), pg_temp.id(2), pg_temp.id(1), null, true), (pg_temp.id(15), pg_temp.id(2), null, null, false);
select is(pg_temp.notes(), '1 1 2', 'many at once, on what each is about, without what is hidden');
insert into public.notes (id, user_id, thing_id) values (pg_temp.id(16), pg_temp.id(2), pg_temp.id(1));
select is(pg_temp.notes(), '2 1 2', 'one');
update public.notes set is_hidden = not is_hidden where id in (pg_temp.id(13), pg_temp.id(14), pg_temp.id(15));
select is(pg_temp.notes(), '3 0 1', 'hidden and shown again');
update public.notes set is_hidden = false, tags = '{a}' where id = pg_temp.id(13);
delete from public.notes where id = pg_temp.id(14);
select is(pg_temp.notes(), '2 1 2', 'and deleted');
select is(private.follow_author_of_notes(pg_temp.id(1), 2), 0, 'who stands as before has nothing to follow');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(1);
select is(pg_temp.notes(), '1 0 0', 'a private author''s count no more');
select is(private.follow_author_of_notes(pg_temp.id(1), 2), 0, 'which the change of standing has seen to');
update public.notes set author_audience = 'public' where user_id = pg_temp.id(1);
select is(pg_temp.notes(), '1 0 0', 'a change of the copy alone is left to the follower');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(1);
update public.notes set author_audience = 'owner' where user_id = pg_temp.id(1);
select is(private.follow_author_of_notes(pg_temp.id(1), 2), 2, 'a step follows as many rows as it may');
select is(private.follow_author_of_notes(pg_temp.id(1), 2), 1, 'the next one the rest');
select is(private.follow_author_of_notes(pg_temp.id(1), 2), 0, 'until none is left');
select is(pg_temp.notes(), '2 1 2', 'and all count again');
select is_empty('select * from private.recount()', 'as a recount says');
update public.boxes set notes_count = 5;
select results_eq(
    $$ select counter, target from private.recount() $$, $$ values ('boxes.notes_count', pg_temp.id(3)) $$,
    'which finds what is wrong'
);
update public.boxes set notes_count = 2;
delete from public.boxes;
select is(pg_temp.notes(), '2 0', 'notes go with what they are about, on all of it');

-- Tags -----------------------------------------------------------------------------------------------------------------
set constraints private.count_tags immediate;
select private.make_tag_notes('public.notes', 'user_id', 'not {row}.is_hidden', 'tags, is_hidden', 'author_audience');
create function pg_temp.used() returns text language sql as $$
    select string_agg(t.name || ' ' || t.usage_count, ', ' order by t.name) from public.tags as t
$$;
insert into public.notes (id, user_id, is_hidden, tags) values
(pg_temp.id(21), pg_temp.id(1), false, '{red,blue}'), (pg_temp.id(22), pg_temp.id(2), false, '{blue,blue}'),
(pg_temp.id(23), pg_temp.id(2), true, '{secret}');
select is(pg_temp.used(), 'blue 2, red 1', 'of what everybody may read, once a row');
select is_empty('select * from private.recount()', 'a recount reads them as well');
update public.notes set is_hidden = not is_hidden where id in (pg_temp.id(22), pg_temp.id(23));
update public.notes set tags = '{green}' where id = pg_temp.id(21);
select is(pg_temp.used(), 'green 1, secret 1', 'changed, hidden and shown');
update public.notes set author_audience = 'members', tags = '{grey}' where id = pg_temp.id(21);
select results_eq(
    $$ select t.name, u.user_id from private.tag_uses as u inner join public.tags as t on t.id = u.tag_id order by 1 $$,
    $$ values ('secret', pg_temp.id(2)) $$, 'used by the owner, not by whoever changes their standing'
);
delete from public.notes;
select is(pg_temp.used(), null, 'deleted');

-- Nobody's business ----------------------------------------------------------------------------------------------------
select is(
    array(
        select p.oid::regprocedure::text from pg_proc as p
        where
            p.pronamespace = 'private'::regnamespace and has_function_privilege(r, p.oid, 'execute')
            and (p.proname ~ '^make_' or p.proname in (
                'fill', 'condition_on', 'referred', 'name_of', 'widen_view', 'register_counter'
            ))
    ),
    '{}', r || ' builds nothing'
)
from unnest(array['anon', 'authenticated', 'service_role', 'avenue_worker', 'avenue_estimates']) as r;
select is(
    array(
        select f from unnest(array[
            'count_marks', 'count_notes', 'count_shown_notes', 'follow_author_of_notes', 'note_tags_of_notes'
        ]) as f
        where obj_description(to_regproc('private.' || f), 'pg_proc') !~ 'Built by make_[a-z_]+\(\)\.$'
    ),
    '{}', 'what is built says who built it'
);

select * from finish();
rollback;
