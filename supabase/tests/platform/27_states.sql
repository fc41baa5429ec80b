-- Every status column moves as private.state_moves says, and no other way.
begin;
\ir ../helpers.psql

select no_plan();

-- All pairs of all machines, on tables that have nothing but the column and its guard.
create table pg_temp.tries (name text, before text, after text, code text);
create function pg_temp.try_all() returns void language plpgsql as $$
declare
    machine record;
    guard text;
    before text;
    after text;
begin
    for machine in
        select
            m.relation || '.' || m.state_column as name, m.state_column as col, a.atttypid::regtype as kind, s.states,
            (
                select array_agg(regexp_replace(pg_get_triggerdef(t.oid), ' ON \S+ ', ' ON pg_temp.probe '))
                from pg_trigger as t where t.tgrelid = a.attrelid and t.tgfoid = 'private.refuse_move'::regproc
            ) as guards
        from (select distinct m.relation, m.state_column from private.state_moves as m) as m
        inner join pg_attribute as a on a.attrelid = m.relation::regclass and a.attname = m.state_column
        cross join lateral (
            select array_agg(e.enumlabel::text order by e.enumsortorder) as states
            from pg_enum as e where e.enumtypid = a.atttypid
        ) as s
    loop
        execute format('create temp table probe (%I %s)', machine.col, machine.kind);
        foreach guard in array machine.guards loop
            execute guard;
        end loop;
        foreach after in array machine.states loop
            insert into pg_temp.tries
            values (machine.name, null, after, pg_temp.code_of(format('insert into pg_temp.probe values (%L)', after)));
        end loop;
        foreach before in array machine.states loop
            foreach after in array machine.states loop
                alter table pg_temp.probe disable trigger user;
                delete from pg_temp.probe;
                execute format('insert into pg_temp.probe values (%L)', before);
                alter table pg_temp.probe enable trigger user;
                insert into pg_temp.tries values (machine.name, before, after, pg_temp.code_of(format(
                    'update pg_temp.probe set %I = %L', machine.col, after
                )));
            end loop;
        end loop;
        drop table pg_temp.probe;
    end loop;
end
$$;
select pg_temp.try_all();
select cmp_ok((select count(*) from pg_temp.tries), '>', 400::bigint, 'every pair of states of every machine was tried');
select is(t.code, 'move_not_allowed', format('%s does not go from %s to %s', t.name, coalesce(t.before, 'nothing'), t.after))
from pg_temp.tries as t
where
    t.before is distinct from t.after
    and not exists (
        select from private.state_moves as m
        where
            m.relation || '.' || m.state_column = t.name and m.to_state = t.after
            and m.from_state is not distinct from t.before
    )
order by t.name, t.before, t.after;
select is(t.code, null, format('%s: %s', t.name, m.move))
from private.state_moves as m
left join pg_temp.tries as t
    on t.name = m.relation || '.' || m.state_column and t.after = m.to_state
    and t.before is not distinct from m.from_state
order by t.name, m.move;
select is_empty(
    $$select * from pg_temp.tries where before = after and code is not null$$, 'who writes the same state moves nothing'
);

select is_empty(
    $$select m.relation, f.name[1] from private.state_moves as m
    cross join regexp_matches(m.meaning, '([a-z_]+)\(\)', 'g') as f (name)
    where f.name[1] not in (select p.proname from pg_proc as p)$$,
    'what a move says of a function is said of one there is'
);

-- Money, on rows as they are made: with whatever else looks at them.
select pg_temp.people();
select private.set_payout_destination(pg_temp.id(1), 'acct_1');
select private.record_account_status('acct_1', 'enabled');
select ledger.post('adjustment', 'fund', array[
    ledger.leg(pg_temp.id(1), 'available', 500000), ledger.leg(null, 'promotions', -500000)
], null, 'USD', 'test');
create table pg_temp.made as select pg_temp.buy(2, pg_temp.product(1, 4000)) as order_id;
select pg_temp.be(pg_temp.id(1));
select public.refund_order_item(i.id, 1000) from public.order_items as i;
select public.request_payout(5000);
reset role;
create function pg_temp.try_on(relation text, key text, before text, after text) returns text language plpgsql as $$
declare
    code text;
begin
    execute format('alter table %s disable trigger user', relation);
    execute format('update %s set status = %L where id = %L', relation, before, key);
    execute format('alter table %s enable trigger user', relation);
    execute format('update %s set status = %L where id = %L', relation, after, key);
    raise exception using errcode = 'PT499', hint = 'moved';
exception when others then
    get stacked diagnostics code = pg_exception_hint;
    return coalesce(nullif(code, ''), sqlstate);
end
$$;
create table pg_temp.money as
select 'public.orders' as relation, o.id::text as key from public.orders as o
union all
select 'public.payments', p.id::text from public.payments as p
union all
select 'public.transactions', t.id::text from public.transactions as t
union all
select 'public.refunds', r.id::text from public.refunds as r
union all
select 'public.payouts', p.id::text from public.payouts as p
union all
select 'private.webhook_events', e.id::text from private.webhook_events as e;
select is((select array_agg(relation order by relation) from pg_temp.money), '{private.webhook_events,public.orders,'
    'public.payments,public.payouts,public.refunds,public.transactions}', 'one of each');
select is(
    pg_temp.try_on(m.relation, m.key, t.before, t.after), coalesce(t.code, 'moved'),
    format('a row of %s, from %s to %s', m.relation, t.before, t.after)
)
from pg_temp.money as m
inner join pg_temp.tries as t on t.name = m.relation || '.status' and t.before <> t.after
order by m.relation, t.before, t.after;

-- What a programmer is told.
select throws_ok($$update public.orders set status = 'cancelled'$$, 'AV003',
    'This thing cannot go from its state to that one.', 'a refusal of our own, not the caller''s');
create function pg_temp.detail_of(statement text) returns text language plpgsql as $$
declare
    detail text;
begin
    execute statement;
    return 'no error';
exception when others then
    get stacked diagnostics detail = pg_exception_detail;
    return detail;
end
$$;
select is(pg_temp.detail_of($$update public.orders set status = 'cancelled'$$),
    'public.orders.status: from completed to cancelled', 'the detail names the column and both states');
select is(pg_temp.detail_of($$insert into public.orders (user_id, status, subtotal_cents, total_cents)
    values (pg_temp.id(2), 'refunded', 0, 0)$$), 'public.orders.status: from nothing to refunded', 'or none before');

-- A trigger that comes before cannot hide a move: the row is looked at as it is written.
create function pg_temp.meddle() returns trigger language plpgsql as $$
begin
    new.status := 'cancelled';
    return new;
end
$$;
create trigger zz_meddle before update on public.orders for each row execute function pg_temp.meddle();
select is(pg_temp.code_of($$update public.orders set notes = 'x'$$), 'move_not_allowed',
    'nor does a column that was not named in the statement');
drop trigger zz_meddle on public.orders;

-- A move more, a move less.
insert into private.state_moves (relation, state_column, from_state, to_state, meaning)
values ('public.orders', 'status', 'completed', 'processing', 'for this test');
select is(pg_temp.code_of($$update public.orders set status = 'processing'$$), 'move_not_allowed',
    'a move is known to the guard');
select private.build_moves('public.orders', 'status');
select is(pg_temp.code_of($$update public.orders set status = 'processing'$$), null, 'when that was built anew');
delete from private.state_moves where relation = 'public.orders' and meaning = 'for this test';
select private.build_moves('public.orders', 'status');
select is(pg_temp.code_of($$update public.orders set status = 'completed'$$), 'move_not_allowed', 'and forgotten likewise');

select is(pg_temp.code_of($$insert into private.state_moves (relation, state_column, from_state, to_state, meaning)
    values ('public.orders', 'status', 'pending', 'completed', 'again')$$), '23505', 'a move is stated once');
select is(pg_temp.code_of(format($$insert into private.state_moves (relation, state_column, from_state, to_state, meaning)
    values ('public.orders', 'status', 'completed', %L, %L)$$, state, meaning)), '23514', format('not %s, %s', state, meaning))
from (values ('completed', 'nowhere'), ('Paid', 'a capital'), ('processing', ''), ('processing', 'a: colon')) as t (state, meaning);

select * from finish();
rollback;
