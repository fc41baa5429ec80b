-- Counting what many people do to one row. A counter is a column of the counted row, so that pages sort and filter by
-- it and `select *` shows it. A plain `update … set n = n + 1` makes everybody who likes the same post wait for the
-- disk of everybody before them: the row stays locked until the commit is flushed. Here only one of them updates the
-- row; those who come meanwhile leave their share with the one who waits to be next, who adds them all at once.
--
-- The protocol, per counter and row, with advisory locks; fold and share are held until commit:
--   fold     who has it updates the row.
--   next     who has it waits for fold, then for everybody who left a share to commit, and adds them all.
--   share    held by everybody who left a share, so that next can wait for their commits.
-- next and share exist twice: while the shares of one turn are waited for, added and flushed, people leave theirs for
-- the other turn, so that hardly anybody waits.
-- A commit gives locks back one after the other. Who still saw next but found share free again would leave its share
-- with somebody who is through; so next is given back before the commit, as soon as share is held exclusively.
-- Whoever leaves a share has seen that somebody holds next and has not begun to add yet. So as long as nobody's
-- transaction is under way, nothing is pending and the column is exact; while people collide it is behind by at most
-- the time of two commits. Should the one who was to add them fail, the share stays pending for the next who counts,
-- or for fold_counts().
-- A transaction that left a share and counts on the row again stays with its turn: as next of the other one it would
-- wait for somebody who waits for it.

create table private.pending_counts (
    target uuid not null,
    counter text not null,
    id bigint generated always as identity,
    change integer not null,
    constraint pending_counts_pkey primary key (target, counter, id)
);

comment on table private.pending_counts is
'Shares of a counter left by transactions that found its row busy; empty but for moments. See claim_count().';
comment on column private.pending_counts.counter is 'Which counter: a row of private.counters.';
comment on column private.pending_counts.target is 'Id of the counted row.';
comment on column private.pending_counts.change is 'What is to be added.';
alter table private.pending_counts enable row level security;

create table private.counters (
    counter text not null,
    relation text not null,
    key text not null,
    count_column text not null,
    truth text not null,
    source text,
    source_key text,
    counted text,
    constraint counters_pkey primary key (counter)
);
comment on table private.counters is
'Every exact counter and what it counts: each aggregate adds its rows on its page. The nightly recount and the fold of '
'what crashed transactions left read it.';
comment on column private.counters.counter is 'relation.column without its schema, for example posts.likes_count.';
comment on column private.counters.relation is 'Schema-qualified counted relation.';
comment on column private.counters.key is 'Its key column, a uuid.';
comment on column private.counters.count_column is 'The counter''s column.';
comment on column private.counters.truth is
'Query giving (target uuid, n bigint): the recount of every row that has anything to count.';
comment on column private.counters.source is 'Relation whose rows are counted, where 45_shapes built the counting.';
comment on column private.counters.source_key is 'Its column that says on what they count.';
comment on column private.counters.counted is 'Condition on those that count, {row}; null: all.';
alter table private.counters enable row level security;

create function private.claim_count(counter text, target uuid, change integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    -- Its low bits are the other locks'.
    fold_lock bigint := hashtextextended(counter || target::text, 1) & -8;
    share_lock bigint;
    next_lock bigint;
    -- The locks of the shares this transaction left.
    mine text;
    pending integer;
begin
    -- Who holds counted rows already must not wait here for those who wait for the rows.
    if current_setting('avenue.rows_held', true) = 'on' then
        perform private.add_counts(counter, array[target], array[change]);
        return null;
    end if;
    <<until_claimed>>
    while not pg_try_advisory_xact_lock(fold_lock) loop
        mine := coalesce(current_setting('avenue.shares_left', true), '');
        for turn in 1..2 loop
            share_lock := fold_lock + 2 * turn;
            next_lock := share_lock + 1;
            continue when
                strpos(mine, (fold_lock + 2 * (3 - turn))::text) > 0
                or not pg_try_advisory_xact_lock_shared(share_lock);
            if not pg_try_advisory_lock(next_lock) then
                insert into private.pending_counts (counter, target, change) values (counter, target, change);
                if strpos(mine, share_lock::text) = 0 then
                    perform set_config('avenue.shares_left', mine || ' ' || share_lock, true);
                end if;
                return null;
            end if;
            begin
                perform pg_advisory_xact_lock(fold_lock);
                perform pg_advisory_xact_lock(share_lock);
                perform pg_advisory_unlock(next_lock);
            exception when query_canceled or others then
                perform pg_advisory_unlock(next_lock);
                raise;
            end;
            exit until_claimed;
        end loop;
        -- Both turns are being added up just now: wait until the first one is done.
        perform pg_advisory_xact_lock_shared(fold_lock + 2);
    end loop;
    if exists (
        select from private.pending_counts as p where p.target = claim_count.target and p.counter = claim_count.counter
    ) then
        with taken as (
            delete from private.pending_counts as p
            where p.target = claim_count.target and p.counter = claim_count.counter
            returning p.change
        )
        select sum(t.change) into pending from taken as t;
    end if;
    return change + coalesce(pending, 0);
end
$$;
comment on function private.claim_count(text, uuid, integer) is
'What the caller has to add to the counter of this row now, its own change and what others left included; null when '
'it is added elsewhere: by another transaction under way, or at once. For statements that touch one counted row; those '
'that touch many call add_counts(), because advisory locks are a shared, limited resource.';

create function private.add_counts(counter text, targets uuid[], changes integer[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    counted private.counters;
begin
    if targets is null then
        return;
    end if;
    select * into strict counted from private.counters as c where c.counter = add_counts.counter;
    execute format(
        'select from %s where %I = any ($1) order by %2$I for no key update', counted.relation, counted.key
    ) using targets;
    -- What is taken away may still be pending: it is added, too, unless somebody is at it, who waits for these rows.
    -- Then what would be less than nothing stays pending for the next who counts, or for fold_counts().
    execute format(
        'with pending as ('
        'delete from private.pending_counts as d where d.ctid = any (array('
        'select p.ctid from private.pending_counts as p where p.target = any ($1) and p.counter = $3 '
        'for update skip locked)) returning d.target, d.change'
        '), sums as ('
        'select u.id, sum(u.change)::integer as change '
        'from (select a.id, a.change from unnest($1, $2) as a (id, change) '
        'union all select p.target, p.change from pending as p) as u group by 1'
        '), counted as ('
        'select r.%1$I as id, r.%2$I + s.change as n from sums as s inner join %3$s as r on r.%1$I = s.id '
        'where s.change <> 0'
        '), owed as ('
        'insert into private.pending_counts (counter, target, change) '
        'select $3, c.id, c.n from counted as c where c.n < 0'
        ') update %3$s as r set %2$I = greatest(c.n, 0) from counted as c where r.%1$I = c.id',
        counted.key, counted.count_column, counted.relation
    ) using targets, changes, counter;
end
$$;
comment on function private.add_counts(text, uuid[], integer[]) is
'Adds changes to the counter of many rows, and what is pending there; locked in the order of their ids. A row may be '
'named more than once, one that is not there is left out. For one row: claim_count().';

create function private.fold_counts(max_rows integer default 1000) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    share record;
    folded integer := 0;
begin
    for share in
        select distinct p.target, c.*
        from private.pending_counts as p
        inner join private.counters as c on c.counter = p.counter
        order by p.target, c.counter
        limit max_rows
    loop
        -- Somebody counts on this row right now and adds what is pending.
        continue when not pg_try_advisory_xact_lock(hashtextextended(share.counter || share.target::text, 1) & -8);
        execute format(
            'with taken as (delete from private.pending_counts where target = $1 and counter = $2 returning change) '
            'update %s set %2$I = %2$I + (select coalesce(sum(change), 0) from taken) where %3$I = $1',
            share.relation, share.count_column, share.key
        ) using share.target, share.counter;
        folded := folded + 1;
    end loop;
    return folded;
end
$$;
comment on function private.fold_counts(integer) is
'Adds what transactions left pending that then failed or crashed; returns how many counters it looked at. A job calls '
'it each minute.';
grant execute on function private.fold_counts(integer) to avenue_worker;

create type private.counter_drift as (counter text, target uuid, counted bigint, truth bigint);
comment on type private.counter_drift is 'A counter that says `counted` where there are `truth`.';

create function private.recount(repair boolean default false) returns setof private.counter_drift
language plpgsql
security definer
set search_path = ''
as $$
declare
    known private.counters;
begin
    for known in select * from private.counters as c order by c.counter loop
        return query execute format(
            'select %L::text, r.%I, r.%3$I::bigint, coalesce(t.n, 0)::bigint '
            'from %4$s as r left join (%5$s) as t (target, n) on t.target = r.%2$I '
            'where r.%3$I <> coalesce(t.n, 0) + coalesce('
            '(select -sum(p.change) from private.pending_counts as p where p.target = r.%2$I and p.counter = %1$L), 0)',
            known.counter, known.key, known.count_column, known.relation, known.truth
        );
        if repair then
            execute format(
                'update %s as r set %I = x.truth from (select r.%3$I as id, coalesce(t.n, 0) as truth '
                'from %1$s as r left join (%4$s) as t (target, n) on t.target = r.%3$I '
                'where r.%2$I <> coalesce(t.n, 0)) as x where r.%3$I = x.id',
                known.relation, known.count_column, known.key, known.truth
            );
            delete from private.pending_counts as p where p.counter = known.counter;
        end if;
    end loop;
end
$$;
comment on function private.recount(boolean) is
'Counters that differ from a recount: expected none, the nightly audit reports each. With repair, which an operator '
'calls while nobody writes, they are set right.';
grant execute on function private.recount(boolean) to avenue_worker;

insert into private.personal_data (section, relation, condition, stays, reason) values
('pending_counts', 'private.pending_counts',
    null, '{target, counter}', 'changes of numbers that wait a moment to be added');
