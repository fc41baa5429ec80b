-- Helpers everybody uses, and the platform's tunables.
begin;
\ir ../helpers.psql

select plan(30);

-- touch_updated_at, refuse_change
create table public.notes (
    id integer, body text, updated_at timestamptz not null default 'epoch', constraint notes_pkey primary key (id)
);
create trigger touch before update on public.notes for each row execute function private.touch_updated_at();
insert into public.notes values (1, 'a');
update public.notes set body = 'b';
select is((select updated_at from public.notes), now(), 'a change is dated');
update public.notes set updated_at = 'epoch';
select is((select updated_at from public.notes), now(), 'and cannot be back-dated');
create trigger refuse before update or delete or truncate on public.notes
for each statement execute function private.refuse_change();
select throws_ok(s, 'PT403', 'These records are never changed.', s || ' is refused')
from unnest(array['update public.notes set body = ''c''', 'delete from public.notes', 'truncate public.notes']) as s;
select lives_ok($$insert into public.notes values (2, 'c')$$, 'adding is not');

-- slugify
select is(private.slugify(v), s, format('%L', v)) from (values
    ('Hello, World!', 'hello-world'), ('  Zürich – été  ', 'zurich-ete'), ('a__b--c', 'a-b-c'), ('Ünïcödé 2',
        'unicode-2'),
    ('🎧🎧', ''), ('', ''), (null, ''), ('-x-', 'x')
) as t (v, s);

-- enqueue
create function pg_temp.jobs(task text) returns setof jsonb language plpgsql as $$
begin
    return query execute
        'select args || jsonb_build_object(''lock'', lock, ''at'', scheduled_at) from jobs.procrastinate_jobs '
        'where task_name = $1' using task;
end
$$;
select private.enqueue('test_task', '{"n": 1}', '2030-01-01', 'lock-1');
select case
    when to_regclass('jobs.procrastinate_jobs') is null then skip('the queue is not installed', 2)
    else collect_tap(
        results_eq(
            $$select * from pg_temp.jobs('test_task')$$,
            $$values ('{"n": 1, "lock": "lock-1", "at": "2030-01-01T00:00:00+00:00"}'::jsonb)$$, 'a job is in the queue'
        ),
        is(
            (select count(*) from pg_temp.jobs('test_task') as j where j ->> 'at' is null), 0::bigint, 'with its time'
        )
    )
end;

-- settings
select col_is_pk('private', 'settings', 'singleton', 'one row of settings');
select is(pg_temp.code_of($$insert into private.settings default values$$), '23505', 'not a second');
select is(pg_temp.code_of($$insert into private.settings (singleton) values (false)$$), '23514', 'nor another one');
select results_eq(
    $$select minimum_payout_cents, earnings_hold, reservation_period from private.settings$$,
    $$values (5000::bigint, '7 days'::interval, '15 minutes'::interval)$$,
    'the references'' numbers'
);

select is_empty(
    $$select c.oid::regclass from pg_catalog.pg_class as c
    inner join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname in ('private', 'ledger') and c.relkind in ('r', 'p') and not c.relrowsecurity$$,
    'row level security everywhere, also where no role can reach'
);
select is_empty(
    $$select c.oid::regclass from pg_catalog.pg_class as c
    inner join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    cross join unnest(array['anon', 'authenticated', 'service_role', 'avenue_worker']) as r
    where n.nspname in ('private', 'ledger') and c.relkind in ('r', 'p', 'v', 'S')
        and case c.relkind
            when 'S' then has_sequence_privilege(r, c.oid, 'usage, select, update')
            else has_table_privilege(r, c.oid, 'select, insert, update, delete, truncate')
        end$$,
    'nobody outside reads or writes private and ledger'
);

-- keys of jsonb
select is(pg_temp.code_of(format($$select private.require_keys(%L, '{a,b}', 'invalid_checkout')$$, value)), code,
    coalesce(value, 'null'))
from (values ('{}', null), ('{"a": 1, "b": null}', null), (null, null), ('{"A": 1}', 'invalid_checkout'),
    ('{"a": 1, "c": 2}', 'invalid_checkout'), ('[]', 'invalid_checkout'), ('null', 'invalid_checkout'),
    ('1', 'invalid_checkout')) as t (value, code);

select * from finish();
rollback;
