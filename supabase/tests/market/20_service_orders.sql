-- Service orders: the rows that say which act is whose, the guard written from them, who reads an order, and each
-- refusal of the acts.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t (name text, id uuid);
grant select on t to public;
create function pg_temp.t(name text) returns uuid language sql security definer as $$
    select t.id from t where t.name = $1
$$;
create function pg_temp.seen(who integer, relation text) returns bigint language plpgsql as $$
declare
    said bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    execute format('select count(*) from public.%I', relation) into said;
    perform set_config('role', 'none', true);
    return said;
end
$$;
create function pg_temp.event_count() returns bigint language sql security definer as $$
    select count(*) from public.service_order_events
$$;
grant execute on all functions in schema pg_temp to public;

-- An order from an offer that 1 made for 2.
-- Who is offered something has written first, or accepted.
select pg_temp.be(pg_temp.id(2));
select lives_ok($$select public.start_conversation(array[pg_temp.id(1)])$$, '2 begins to talk to 1');
select pg_temp.be(pg_temp.id(1));
create temporary table made as
select o.id as offer
from public.start_conversation(array[pg_temp.id(2)]) as c
cross join lateral public.send_offer(
    c.id, 'A mix', 'Two songs', 5000, 3, 1, clock_timestamp() + interval '1 day', null, 'Your stems'
) as o;
reset role;
grant select on made to public;
select pg_temp.be(pg_temp.id(2));
create temporary table paid as
select public.checkout_payable(a.payable_id) as answer from made as m, public.accept_offer(m.offer, 1) as a;
reset role;
select pg_temp.start((answer ->> 'payment_id')::uuid) from paid;
select pg_temp.event('payment_intent.succeeded', pg_temp.intent((answer ->> 'payment_id')::uuid)) from paid;
insert into t select 'order', id from public.service_orders;

select is(
    (
        select format(
            '%s %s %s %s %s', o.status, o.package_price_cents, o.delivery_days, o.revisions_included,
            o.requirements_asked
        )
        from public.service_orders as o
    ), 'awaiting_requirements 5000 3 1 Your stems', 'what was offered is the order'
);
select is(
    (select t.release_at is null and t.completed_at is null from public.transactions as t), true,
    'nothing of it has a date of release'
);

-- who reads
select is(pg_temp.seen(who, relation), seen, format('%s sees %s of %s', who, seen, relation))
from (values (1, 1::bigint), (2, 1), (3, 0), (4, 1)) as c (who, seen)
cross join unnest(array['service_orders', 'service_order_events']) as r (relation);
select is(pg_temp.code_as(null, 'select * from public.service_orders', 'anon'), '42501', 'a visitor may not even ask');
select is(pg_temp.code_as(pg_temp.id(2), statement), '42501', statement)
from unnest(array[
    'update public.service_orders set status = ''completed''',
    'update public.service_orders set due_at = now()',
    'insert into public.service_order_events (service_order_id, act, actor, to_state) '
    'select id, ''approve'', ''buyer'', ''completed'' from public.service_orders',
    'delete from public.service_orders'
]) as s (statement);

-- each act: whose, and in which state
create temporary table acts (act text, call text);
grant select on acts to public;
insert into acts values
('send_requirements', 'select public.send_requirements(pg_temp.t(''order''), ''Here'')'),
('deliver', 'select public.deliver_service_order(pg_temp.t(''order''), ''Here'')'),
('request_revision', 'select public.request_revision(pg_temp.t(''order''), ''Louder'')'),
('approve', 'select public.approve_service_order(pg_temp.t(''order''))'),
('cancel', 'select public.cancel_service_order(pg_temp.t(''order''), ''No'')'),
('open_dispute', 'select public.open_dispute(pg_temp.t(''order''), ''No'')'),
('withdraw_dispute', 'select public.withdraw_dispute(pg_temp.t(''order''))'),
('propose_extension', 'select public.propose_extension(pg_temp.t(''order''), 1, ''More'')'),
('propose_cancellation', 'select public.propose_cancellation(pg_temp.t(''order''), 1, ''No'')'),
('offer_extra', 'select public.offer_order_extra(pg_temp.t(''order''), ''More'', 500, 1)');
select is(pg_temp.code_as(pg_temp.id(who), a.call), 'service_order_not_found', format('%s: %s', who, a.act))
from acts as a cross join (values (3), (4)) as c (who);
select is(pg_temp.code_as(null, a.call, 'anon'), '42501', 'a visitor: ' || a.act) from acts as a;

create function pg_temp.refuses(state text) returns setof text language plpgsql as $$
declare
    tried record;
    code text;
begin
    for tried in
        select a.act, a.call, s.side, s.n
        from acts as a cross join (values ('seller', 1), ('buyer', 2)) as s (side, n)
        where not exists (
            select from private.service_order_moves as m
            where m.act = a.act and m.actor = s.side and m.from_state = state
        )
        order by a.act, s.side
    loop
        code := pg_temp.code_as(pg_temp.id(tried.n), tried.call);
        return next ok(
            code in ('state_changed', 'not_your_part'), format('%s by %s in %s: %s', tried.act, tried.side, state, code)
        );
    end loop;
end
$$;
select pg_temp.refuses('awaiting_requirements');
select is(pg_temp.code_as(pg_temp.id(2), 'select public.send_requirements(pg_temp.t(''order''))'), 'nothing_sent', 'nothing');
select is(pg_temp.code_as(pg_temp.id(2), call), null, act) from acts where act = 'send_requirements';
select pg_temp.refuses('in_progress');
select is(pg_temp.code_as(pg_temp.id(2), call), 'not_late_yet', 'not late') from acts where act = 'cancel';
select is(pg_temp.code_as(pg_temp.id(1), call), null, act) from acts where act = 'deliver';
select pg_temp.refuses('delivered');
select is(pg_temp.code_as(pg_temp.id(2), 'select public.request_revision(pg_temp.t(''order''), '''')'), 'reason_required', 'why');
select is(pg_temp.code_as(pg_temp.id(2), call), null, act) from acts where act = 'request_revision';
select pg_temp.refuses('revision_requested');
select is(pg_temp.code_as(pg_temp.id(1), call), null, 'again') from acts where act = 'deliver';
select is(pg_temp.code_as(pg_temp.id(2), call), 'no_revisions_left', 'none is left') from acts where act = 'request_revision';
select is(pg_temp.code_as(pg_temp.id(2), call), null, act) from acts where act = 'open_dispute';
select pg_temp.refuses('disputed');
select is(pg_temp.code_as(pg_temp.id(1), call), 'not_your_part', 'who opened it withdraws it') from acts where act = 'withdraw_dispute';
select is(pg_temp.code_as(pg_temp.id(2), call), null, act) from acts where act = 'withdraw_dispute';
select is(pg_temp.code_as(pg_temp.id(2), call), null, act) from acts where act = 'approve';
select pg_temp.refuses('completed');
select is((select completed_at is not null from public.transactions), true, 'it is earned');
select is(
    (select string_agg(e.act, ' ' order by e.id) from public.service_order_events as e),
    'order send_requirements deliver request_revision deliver open_dispute withdraw_dispute approve',
    'everything is written down'
);

-- the guard
select throws_ok(
    format('update public.service_orders set status = %L, completed_at = null', s.state), null, null,
    'not from completed to ' || s.state
)
from unnest(array['in_progress', 'delivered', 'revision_requested', 'awaiting_requirements']) as s (state);
select is_empty(
    'select from_state, to_state from private.service_order_moves where from_state <> to_state '
    'except select from_state, to_state from private.state_moves '
    'where relation = ''public.service_orders'' and from_state is not null',
    'the guard knows the moves of the acts'
);
select throws_ok('update public.service_order_events set act = ''x''', null, null, 'what happened does not change');
select throws_ok(
    'update public.service_orders set revisions_used = 2', '23514', null, 'no more revisions than included'
);

select * from finish();
rollback;
