-- Offers: who reads them, what a version may say, that versions never change, and each refusal.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t (name text, id uuid);
grant select on t to public;
create function pg_temp.t(name text) returns uuid language sql security definer as $$
    select t.id from t where t.name = $1
$$;
create function pg_temp.seen(who integer, speaker text) returns text language plpgsql as $$
declare
    said text;
begin
    perform pg_temp.be(pg_temp.id(who), speaker);
    select (select count(*) from public.offers) || ' ' || (select count(*) from public.offer_versions) into said;
    perform set_config('role', 'none', true);
    return said;
end
$$;
grant execute on all functions in schema pg_temp to public;

-- Who is offered something has written first, or accepted.
select pg_temp.be(pg_temp.id(2));
select lives_ok($$select public.start_conversation(array[pg_temp.id(1)])$$, '2 begins to talk to 1');
select pg_temp.be(pg_temp.id(1));
create temporary table made as
select c.id as conversation, o.id as offer
from public.start_conversation(array[pg_temp.id(2)]) as c
cross join lateral public.send_offer(c.id, 'A mix', 'Two songs', 5000, 3, 1, clock_timestamp() + interval '1 day') as o;
reset role;
insert into t select 'offer', offer from made union all select 'talk', conversation from made;

-- who reads
select is(
    (select count(*) from public.offers), 1::bigint, 'there is an offer'
);
select is(pg_temp.seen(who, speaker), seen, says)
from (values
    (1, 'authenticated', '1 1', 'its seller reads it'),
    (2, 'authenticated', '1 1', 'its buyer reads it'),
    (3, 'authenticated', '0 0', 'a stranger does not'),
    (4, 'authenticated', '1 1', 'an admin does')
) as c (who, speaker, seen, says);
select is(pg_temp.code_as(null, 'select * from public.offers', 'anon'), '42501', 'a visitor may not even ask');
select is(
    pg_temp.code_as(pg_temp.id(who), statement), '42501', says
)
from (values
    (1, 'update public.offers set status = ''accepted''', 'no client writes a status'),
    (1, 'insert into public.offer_versions (offer_id, version) select id, 2 from public.offers', 'nor a version'),
    (1, 'delete from public.offers', 'nor deletes')
) as c (who, statement, says);
select throws_ok(
    'update public.offer_versions set price_cents = 1', null, null, 'a version never changes, whoever tries'
);

-- what it may say
select is(
    pg_temp.code_as(pg_temp.id(1), format(
        'select public.send_offer(pg_temp.t(''talk''), %s, clock_timestamp() + interval ''%s'')', arguments, time
    )), code, says
)
from (values
    ('''A'', ''B'', 49, 3, 1', '1 day', '23514', 'a price that is too small'),
    ('''A'', ''B'', 0, 3, 1', '1 day', '23514', 'nothing is offered for nothing'),
    ('''A'', ''B'', 5000, 0, 1', '1 day', '23514', 'no day'),
    ('''A'', ''B'', 5000, 366, 1', '1 day', '23514', 'more than a year'),
    ('''A'', ''B'', 5000, 3, 21', '1 day', '23514', 'too many revisions'),
    ('''A'', '' '', 5000, 3, 1', '1 day', 'text_not_visible', 'no terms'),
    ('''A'', ''B'', 5000, 3, 1', '-1 hour', '23514', 'a time that is over'),
    ('''A'', ''B'', 5000, 3, 1', '91 days', '23514', 'a time that is too far'),
    ('''A'', ''B'', 5000, 3, 1', '90 days', null, 'ninety days')
) as c (arguments, time, code, says);

-- each refusal
select is(pg_temp.code_as(pg_temp.id(who), statement), code, says)
from (values
    (3, 'select public.send_offer(pg_temp.t(''talk''), ''A'', ''B'', 500, 1, 1, now() + interval ''1 day'')',
        'conversation_not_found', 'offering where one takes no part'),
    (3, 'select public.accept_offer(pg_temp.t(''offer''), 1)', 'offer_not_found', 'a stranger finds nothing to accept'),
    (4, 'select public.accept_offer(pg_temp.t(''offer''), 1)', 'offer_not_found', 'nor does an admin'),
    (3, 'select public.decline_offer(pg_temp.t(''offer''))', 'offer_not_found', 'to decline'),
    (3, 'select public.withdraw_offer(pg_temp.t(''offer''))', 'offer_not_found', 'to withdraw'),
    (1, 'select public.accept_offer(pg_temp.t(''offer''), 1)', 'not_your_part', 'its seller does not accept it'),
    (1, 'select public.decline_offer(pg_temp.t(''offer''))', 'not_your_part', 'nor declines it'),
    (2, 'select public.withdraw_offer(pg_temp.t(''offer''))', 'not_your_part', 'its buyer does not withdraw it'),
    (2, 'select public.accept_offer(pg_temp.t(''offer''), 2)', 'offer_changed', 'another version than the one that stands'),
    (2, 'select public.accept_offer(pg_temp.t(''offer''), null)', 'offer_changed', 'no version'),
    (2, 'select public.accept_offer(pg_temp.t(''offer''), 1)', null, 'the one that stands'),
    (2, 'select public.accept_offer(pg_temp.t(''offer''), 1)', null, 'again is the same'),
    (2, 'select public.accept_offer(pg_temp.t(''offer''), 2)', 'state_changed', 'another one is not'),
    (1, 'select public.revise_offer(pg_temp.t(''offer''), ''A'', ''B'', 500, 1, 1, now() + interval ''1 day'')',
        'state_changed', 'what was accepted stands'),
    (1, 'select public.withdraw_offer(pg_temp.t(''offer''))', null, 'until it is paid it can be withdrawn'),
    (2, 'select public.decline_offer(pg_temp.t(''offer''))', 'state_changed', 'once')
) as c (who, statement, code, says);
select is(
    (select p.status::text from public.payables as p inner join public.offers as o on o.payable_id = p.id), 'withdrawn',
    'with it what was to be paid'
);
select throws_ok(
    'update public.offers set status = ''sent'' where id = pg_temp.t(''offer'')', 'AV003', null,
    'nothing leads back'
);

select * from finish();
rollback;
