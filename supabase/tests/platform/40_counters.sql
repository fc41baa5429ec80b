begin;
\ir ../helpers.psql
select no_plan();

create table public.things (id uuid primary key, marks_count integer not null default 0);
create table public.marks (thing_id uuid not null);
insert into public.things values (pg_temp.id(1)), (pg_temp.id(2));
insert into private.counters (counter, relation, key, count_column, truth) values
('things.marks_count', 'public.things', 'id', 'marks_count', 'select m.thing_id, count(*) from public.marks as m group by 1');

-- Alone ---------------------------------------------------------------------------------------------------------------
select is(private.claim_count('things.marks_count', pg_temp.id(1), 1), 1, 'whoever is alone adds its own change');
select is(private.claim_count('things.marks_count', pg_temp.id(1), -2), -2, 'a second time in one transaction too');
select is_empty('select * from private.pending_counts', 'and leaves nothing');

-- What somebody left ---------------------------------------------------------------------------------------------------
insert into private.pending_counts (counter, target, change) values
('things.marks_count', pg_temp.id(1), 3), ('things.marks_count', pg_temp.id(1), -1),
('things.marks_count', pg_temp.id(2), 7), ('things.other_count', pg_temp.id(1), 5);
select is(private.claim_count('things.marks_count', pg_temp.id(1), 1), 3, 'pending shares of this row are added');
select results_eq(
    'select counter, target, change from private.pending_counts order by change',
    $$ values ('things.other_count', pg_temp.id(1), 5), ('things.marks_count', pg_temp.id(2), 7) $$,
    'those of other counters and rows stay'
);
delete from private.pending_counts where counter = 'things.other_count';

-- Many rows at once ----------------------------------------------------------------------------------------------------
select private.add_counts(
    'things.marks_count',
    array[pg_temp.id(2), pg_temp.id(1), pg_temp.id(9), pg_temp.id(1), pg_temp.id(2)], array[1, 5, 9, -2, -1]
);
select results_eq(
    'select id, marks_count from public.things order by id',
    $$ values (pg_temp.id(1), 3), (pg_temp.id(2), 7) $$,
    'each gets the sum of its changes and what is pending, what is not there nothing'
);
select lives_ok(
    $$ select private.add_counts('things.marks_count', array_agg(m.thing_id), array_agg(1)) from public.marks as m $$,
    'no changes at all are fine'
);
select throws_ok(
    $$ select private.add_counts('things.other_count', array[pg_temp.id(1)], array[1]) $$,
    'P0002', null, 'a counter nobody registered is an error, not a silent miss'
);
update public.things set marks_count = 0;

-- What is taken away may be pending still
alter table public.things add constraint things_marks_count_check check (marks_count >= 0);
insert into private.pending_counts (counter, target, change) values ('things.marks_count', pg_temp.id(1), 3);
select private.add_counts('things.marks_count', array[pg_temp.id(1)], array[-2]);
select is(
    (select marks_count from public.things where id = pg_temp.id(1)), 1, 'many rows at once take what is pending along'
);
select private.add_counts('things.marks_count', array[pg_temp.id(1)], array[-3]);
select is((select marks_count from public.things where id = pg_temp.id(1)), 0, 'a counter is never below nothing');
select results_eq(
    $$ select change from private.pending_counts where target = pg_temp.id(1) $$, array[-2],
    'the rest waits for what somebody is about to add'
);
insert into private.pending_counts (counter, target, change) values ('things.marks_count', pg_temp.id(1), 2);
select set_config('avenue.rows_held', 'on', true);
select is(private.claim_count('things.marks_count', pg_temp.id(1), 1), null, 'a step of the workers adds at once');
select set_config('avenue.rows_held', '', true);
select is((select marks_count from public.things where id = pg_temp.id(1)), 1, 'all there is');
update public.things set marks_count = 0;

-- The recount knows of pending shares -----------------------------------------------------------------------------------
insert into public.marks select pg_temp.id(2) from generate_series(1, 7);
insert into private.pending_counts (counter, target, change) values ('things.marks_count', pg_temp.id(2), 7);
select is_empty('select * from private.recount()', 'a pending share is no drift');
select is(private.fold_counts(), 1, 'the fold takes one counter of one row');
select is((select marks_count from public.things where id = pg_temp.id(2)), 7, 'and adds its shares');
select is(private.fold_counts(), 0, 'once');
update public.things set marks_count = 2;
select results_eq(
    'select counter, target, counted, truth from private.recount() order by target',
    $$ values ('things.marks_count', pg_temp.id(1), 2::bigint, 0::bigint),
    ('things.marks_count', pg_temp.id(2), 2::bigint, 7::bigint) $$,
    'what differs is named with both numbers'
);
select is((select count(*)::integer from private.recount(true)), 2, 'the repair says what it repaired');
select is_empty('select * from private.recount()', 'then all is right');

-- Nobody's business -----------------------------------------------------------------------------------------------------
select is(has_function_privilege(r, f, 'execute'), false, r || ' may not call ' || f)
from unnest(array['anon', 'authenticated', 'service_role']) as r
cross join unnest(array[
    'private.claim_count(text, uuid, integer)', 'private.add_counts(text, uuid[], integer[])',
    'private.fold_counts(integer)', 'private.recount(boolean)'
]) as f;
select is(has_table_privilege(r, t, 'select, insert, update, delete'), false, r || ' has no access to ' || t)
from unnest(array['anon', 'authenticated', 'service_role', 'avenue_worker']) as r
cross join unnest(array['private.pending_counts', 'private.counters']) as t;

select * from finish();
rollback;
