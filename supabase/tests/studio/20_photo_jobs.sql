-- Photo jobs: what they cost and hold, and what becomes of each photo whatever the provider says, in whatever order.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
insert into auth.users (id, email) values (pg_temp.id(6), '6@example.com');
create function pg_temp.photos(who uuid, n integer, purpose text default 'photo_input') returns uuid[]
language plpgsql security definer as $$
declare
    made uuid[];
begin
    with m as (
        insert into public.media (
            owner_id, purpose, status, ready_at, bucket, content_type, width, height, color, is_animated, derivatives
        )
        select who, photos.purpose, 'ready', now(), 'studio', 'image/jpeg', 8, 8, '#ffffff', false,
            '{"full": {"path": "a", "bytes": 1}}'
        from generate_series(1, n)
        returning id
    )
    select array_agg(m.id) into made from m;
    return made;
end
$$;
create function pg_temp.job(who integer, n integer, key text default null) returns uuid language plpgsql as $$
declare
    photos uuid[] := pg_temp.photos(pg_temp.id(who), n);
    job uuid;
begin
    perform pg_temp.be(pg_temp.id(who));
    select id into job from public.create_photo_job('brighter', photos, null, key);
    perform set_config('role', 'none', true);
    return job;
end
$$;
create function pg_temp.attempt(job uuid, place integer) returns uuid language sql security definer as $$
    select a.id from private.photo_attempts as a
    inner join public.photo_job_items as i on i.id = a.item_id
    where i.job_id = job and i.position = place
    order by a.no desc limit 1
$$;
create function pg_temp.succeed(attempt uuid) returns text language sql as $$
    select private.settle_photo(attempt, 'succeeded', (pg_temp.photos(pg_temp.id(2), 1, 'photo_result'))[1], null, null, 4200)
$$;
create function pg_temp.balance(who integer) returns text language sql security definer as $$
    select concat_ws('/', available_cents, held_cents, debt_cents) from private.credit_balances
    where user_id = pg_temp.id(who)
$$;
create function pg_temp.state(job uuid) returns text language sql security definer as $$
    select concat_ws(' ', j.status, concat_ws('/', j.succeeded_count, j.failed_count, j.returned_count), j.captured_cents, (
        select string_agg(i.status::text, ',' order by i.position) from public.photo_job_items as i where i.job_id = j.id
    ))
    from public.photo_jobs as j where j.id = job
$$;
create function pg_temp.wrong() returns text language sql security definer as $$
    select string_agg(concat_ws(': ', invariant, subject, detail), E'\n') from ledger.audit()
$$;
grant execute on all functions in schema pg_temp to public;
create temporary table t (n text primary key, id uuid);
grant all on t to public;
select private.grant_lot(pg_temp.id(2), 'bonus', 10000, null);
update private.settings set photo_cost_cents = 500;
insert into private.photo_discounts values (5, 4);

-- 59, 60: cost
select results_eq(
    'select cost_cents, parts from public.photo_price(5)',
    $$ values (2499::bigint, '{500,500,500,500,499}'::bigint[]) $$, '60 per-photo prices by largest remainder'
);
select is(pg_temp.code_as(null, 'select public.photo_price(5)', 'anon'), null, 'visitors ask what it costs');
select is(pg_temp.code_as(null, 'select public.create_photo_job(''x'', null)', 'anon'), '42501', 'and make no jobs');
insert into t select 'a', pg_temp.job(2, 5, 'key');
select is(pg_temp.balance(2), '7501/2499/0', '59 the full cost is held');
select results_eq(
    format('select position, cost_cents, lot_cents from public.photo_job_items where job_id = %L order by position', id),
    $$ values (1, 500::bigint, '{500}'::bigint[]), (2, 500, '{500}'), (3, 500, '{500}'), (4, 500, '{500}'), (5, 499, '{499}') $$,
    '60 each photo has its part'
) from t where n = 'a';
select is((select sum(photo_count) from public.photo_jobs), 5::bigint, '59 what is counted are pictures');
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.create_photo_job(%s)', arguments)), code, says
) from (values
    ('null, ' || quote_literal(pg_temp.photos(pg_temp.id(2), 1)), 'invalid_photo_job', 'a prompt is needed'),
    (''' '', ' || quote_literal(pg_temp.photos(pg_temp.id(2), 1)), 'invalid_photo_job', 'that shows something'),
    ('repeat(''x'', 2001), ' || quote_literal(pg_temp.photos(pg_temp.id(2), 1)), 'invalid_photo_job', 'of at most 2,000 characters'),
    ('''x'', ' || quote_literal(pg_temp.photos(pg_temp.id(2), 1)) || ', repeat(''x'', 141)', 'invalid_photo_job', 'a group name has at most 140'),
    ('''x'', ' || quote_literal(pg_temp.photos(pg_temp.id(2), 1)) || ', null, ''''', 'invalid_photo_job', 'a key is not empty'),
    ('''x'', null', 'invalid_photo_job', 'pictures are needed'), ('''x'', ''{}''', 'invalid_photo_job', 'one at least'),
    ('''x'', ' || quote_literal(pg_temp.photos(pg_temp.id(2), 51)), 'too_many_photos', 'at most 50'),
    ('''x'', array[null]::uuid[]', 'media_not_ready', 'that exist'),
    ('''x'', ' || quote_literal(pg_temp.photos(pg_temp.id(1), 1)), 'media_not_ready', 'and are the caller''s'),
    ('''x'', ' || quote_literal(pg_temp.photos(pg_temp.id(2), 1, 'avatar')), 'media_not_ready', 'and made for it'),
    ('''x'', (select array[m[1], m[1]] from pg_temp.photos(pg_temp.id(2), 1) as m)', 'invalid_photo_job', 'each once'),
    ('''x'', ' || quote_literal(pg_temp.photos(pg_temp.id(2), 40)), 'insufficient_credits', '59 all or nothing')
) as x (arguments, code, says);
select is((select count(*) from public.photo_jobs), 1::bigint, '59 what is refused leaves no job');
select is(pg_temp.balance(2), '7501/2499/0', '59 and holds nothing');

-- who sees it
select pg_temp.be(pg_temp.id(3));
select is_empty('select from public.photo_jobs', 'a stranger sees no job');
select is_empty('select from public.photo_job_items', 'nor its photos');
reset role;
select is(pg_temp.code_as(pg_temp.id(3), format('select public.%s(%L)', f, id)), 'photo_job_not_found', f || '() knows strangers'' jobs not')
from t, unnest(array['cancel_photo_job', 'retry_photo_job', 'photo_queue_position', 'photo_job_statement']) as f where n = 'a';
select is(pg_temp.code_as(pg_temp.id(2), format('update public.photo_jobs set %s', what)), '42501', 'the owner does not write ' || what)
from unnest(array['status = ''completed''', 'cost_cents = 0', 'user_id = null', 'prompt = ''x''']) as what;
select is(pg_temp.code_as(pg_temp.id(2), 'update public.photo_job_items set status = ''succeeded'''), '42501', 'nor photos');
select is(pg_temp.code_as(pg_temp.id(2), 'update public.photo_jobs set group_name = ''Flat 3'''), null, 'but the group name');
select is(pg_temp.code_as(pg_temp.id(2), 'update public.photo_jobs set group_name = repeat(''x'', 141)'), '23514', 'of at most 140 characters');
select pg_temp.be(pg_temp.id(4));
select isnt_empty('select from public.photo_jobs', 'an admin sees all');
reset role;

-- the same key again: one job
select pg_temp.be(pg_temp.id(2));
select is((public.create_photo_job('brighter', array(select input_media_id from public.photo_job_items where job_id = t.id order by position), null, 'key')).id, t.id, '59 the same client key is the same job') from t where n = 'a';
reset role;
select is(pg_temp.code_as(pg_temp.id(2), format('select public.create_photo_job(''other'', %L, null, ''key'')', pg_temp.photos(pg_temp.id(2), 1))), 'idempotency_key_reused', '59 with another request it is refused');
select is(pg_temp.balance(2), '7501/2499/0', '59 one charge');

-- 60: three of five
select pg_temp.be(pg_temp.id(2));
select is(public.photo_queue_position(id), 1::bigint, 'it is first in the queue') from t where n = 'a';
reset role;
select is((select count(*) from private.claim_photos('toy', 100)), 5::bigint, 'the workers take them');
select is((select count(*) from private.claim_photos('toy', 100)), 0::bigint, 'once');
select is(pg_temp.state(id), 'processing 0/0/0 0 sent,sent,sent,sent,sent', 'they are sent') from t where n = 'a';
select is(pg_temp.succeed(pg_temp.attempt(id, p)), 'settled', '60 delivered') from t, unnest(array[1, 3, 5]) as p where n = 'a';
select is(pg_temp.balance(2), '7501/1000/0', '60 what is delivered is spent');
select is(private.settle_photo(pg_temp.attempt(id, 2), 'failed', null, 'refused', 'flagged', 0), 'settled', '60 a refused photo') from t where n = 'a';
select is(pg_temp.balance(2), '8001/500/0', '60 costs nothing');
select is(private.settle_photo(pg_temp.attempt(id, 4), 'failed', null, 'provider_failed'), 'settled', '61 a failed one leaves the others alone') from t where n = 'a';
select is(pg_temp.state(id), 'completed 3/2/0 1499 succeeded,failed,succeeded,failed,succeeded', '60 three captured, two returned: exact cents') from t where n = 'a';
select is(pg_temp.balance(2), '8501/0/0', '60 the sum is 2,499');
select is((select count(*) from public.notifications where type = 'photo_job_completed' and related_id = t.id), 1::bigint, 'its owner is told') from t where n = 'a';
select is(pg_temp.wrong(), null, '60 the books are right');

-- 63, 64, 65: once
select is(private.settle_photo(pg_temp.attempt(id, 2), 'failed', null, 'refused'), 'failed', '63 who comes second finds it settled') from t where n = 'a';
select is(pg_temp.succeed(pg_temp.attempt(id, 2)), 'failed', '65 a late success after it was given back') from t where n = 'a';
select is(private.settle_photo(pg_temp.attempt(id, 1), 'failed'), 'succeeded', '65 a late failure after success') from t where n = 'a';
select is(pg_temp.balance(2), '8501/0/0', '65 change nothing');
select results_eq(
    format('select verdict, is_late, cost_micros from private.photo_attempts where id = pg_temp.attempt(%L, 2)', id),
    $$ values ('failed', true, 0::bigint) $$, '65 but what is known of them'
) from t where n = 'a';
select is(pg_temp.code_of(format('select private.settle_photo(pg_temp.attempt(%L, 1), %s)', id, x)), 'event_rejected', '64 a verdict is whole: ' || x)
from t, unnest(array['''succeeded''', '''maybe''', '''failed'', gen_random_uuid()']) as x where n = 'a';
select is(pg_temp.code_of('select private.settle_photo(gen_random_uuid(), ''failed'')'), 'event_rejected', '64 about an attempt of ours');
select is(pg_temp.code_of(format('update public.photo_job_items set cost_cents = -1 where job_id = %L', id)), '23514', '64 costs are never negative') from t where n = 'a';
select is(
    (select count(*) from ledger.journal where idempotency_key like 'photo:%:settled'), 5::bigint, '63 one journal for the end of each photo'
);

-- retry of the failed ones
insert into t select 'b', (public.retry_photo_job(t.id)).id from t, pg_temp.be(pg_temp.id(2)) where n = 'a';
select pg_temp.be(pg_temp.id(2));
insert into t select 'again', (public.retry_photo_job(t.id, 'other')).id from t where n = 'a';
reset role;
select is(pg_temp.state(id), 'pending 0/0/0 0 queued,queued', 'retry: the failed ones, as a job of their own') from t where n = 'b';
select is((select id from t where n = 'again'), (select id from t where n = 'b'), 'retry: once');
select is(pg_temp.balance(2), '7501/1000/0', 'retry: at the price of now');
select is(pg_temp.code_as(pg_temp.id(2), format('select public.retry_photo_job(%L)', id)), 'state_changed', 'retry: not while it runs') from t where n = 'b';

-- 62: a timeout is no failure
select is((select count(*) from private.claim_photos('toy', 1)), 1::bigint, '62 one is sent');
select private.photo_unknown(pg_temp.attempt(id, 1), 'timeout') from t where n = 'b';
select is(pg_temp.state(id), 'processing 0/0/0 0 unknown,queued', '62 nobody knows') from t where n = 'b';
select is(pg_temp.balance(2), '7501/1000/0', '62 the hold stays');
select is_empty('select from private.expire_photos(10)', '62 until the deadline');
select is_empty('select from private.photos_to_check(10)', '62 its first moments are its sender''s');
update private.photo_attempts set checked_at = now() - interval '3 minutes' where ended_at is null;
select is((select count(*) from private.photos_to_check(10)), 1::bigint, '62 then it is asked about');
select is((select count(*) from private.photos_to_check(10)), 0::bigint, '62 once a minute');
select private.photo_sent(pg_temp.attempt(id, 1), 'ref') from t where n = 'b';
select is(pg_temp.state(id), 'processing 0/0/0 0 sent,queued', '67 the provider has it after all') from t where n = 'b';
select private.photo_not_sent(pg_temp.attempt(id, 1), 'x') from t where n = 'b';
select is(pg_temp.state(id), 'processing 0/0/0 0 sent,queued', '68 so it is not sent again') from t where n = 'b';
update public.photo_job_items set sent_at = now() - interval '25 hours' where status = 'sent';
select is((select count(*) from private.expire_photos(10)), 1::bigint, '62 at the deadline the customer wins');
select is((select count(*) from private.expire_photos(10)), 0::bigint, '62 once');
select is(pg_temp.balance(2), '8001/500/0', '62 and has the credits back');
select is((select count(*) from public.audit_log where action = 'photo_timed_out'), 1::bigint, '62 an operator is told');
select is(pg_temp.succeed(pg_temp.attempt(id, 1)), 'failed', '65 a success after the deadline is not charged') from t where n = 'b';
select results_eq(
    format('select verdict, is_late, cost_micros from private.photo_attempts where id = pg_temp.attempt(%L, 1)', id),
    $$ values ('timed_out', true, 4200::bigint) $$, '68 what it cost the platform is known'
) from t where n = 'b';

-- 68: surely not created: the same photo, another attempt; a verdict for the old one changes nothing
select is((select count(*) from private.claim_photos('toy', 1)), 1::bigint, '68 the other is sent');
insert into t select 'first', pg_temp.attempt(id, 2) from t where n = 'b';
select private.photo_not_sent(id, 'refused connection') from t where n = 'first';
select is(pg_temp.state(id), 'processing 0/1/0 0 failed,queued', '68 it waits again') from t where n = 'b';
select is((select count(*) from private.claim_photos('toy', 1)), 0::bigint, '68 for a while');
update public.photo_job_items set available_at = now() where status = 'queued';
select is((select count(*) from private.claim_photos('toy', 1)), 1::bigint, '68 then it is a second attempt');
select is(private.settle_photo(id, 'failed', null, 'refused', null, 7), 'sent', '68 a verdict for the first one') from t where n = 'first';
select is(pg_temp.state(id), 'processing 0/1/0 0 failed,sent', '68 decides nothing') from t where n = 'b';
select is(private.settle_photo(pg_temp.attempt(id, 2), 'failed', null, 'canceled'), 'settled', '68 that of the second does') from t where n = 'b';
select is(pg_temp.state(id), 'failed 0/2/0 0 failed,failed', '60 failed only when none was made') from t where n = 'b';
select is(pg_temp.balance(2), '8501/0/0', '68 all is back');

-- 78: cancel
insert into t select 'c', pg_temp.job(2, 3);
select is((select count(*) from private.claim_photos('toy', 1)), 1::bigint, '78 one of three is sent');
select pg_temp.be(pg_temp.id(2));
select is((public.cancel_photo_job(id)).status::text, 'processing', '78 cancel') from t where n = 'c';
reset role;
select is(pg_temp.balance(2), '8001/500/0', '78 unsent photos are back at once');
select is(pg_temp.succeed(pg_temp.attempt(t.id, i.position)), 'settled', '78 the sent one goes on')
from t inner join public.photo_job_items as i on i.job_id = t.id and i.status = 'sent' where n = 'c';
select is((select status::text || succeeded_count || returned_count from public.photo_jobs where id = t.id), 'completed12', '78 and is delivered') from t where n = 'c';
insert into t select 'd', pg_temp.job(2, 2);
select pg_temp.be(pg_temp.id(2));
select is((public.cancel_photo_job(id)).status::text, 'cancelled', '78 all of them unsent: cancelled') from t where n = 'd';
select is((public.cancel_photo_job(id)).status::text, 'cancelled', '78 again') from t where n = 'd';
select results_eq(
    format('select category, funded_cents, consumed_cents, returned_cents, held_cents from public.photo_job_statement(%L)', id),
    $$ values ('bonus', 1500::bigint, 500::bigint, 1000::bigint, 0::bigint) $$, 'the job''s statement'
) from t where n = 'c';
reset role;

-- 78: demo jobs
select is(pg_temp.code_as(pg_temp.id(2), format('select public.create_demo_job(''x'', %L)', pg_temp.photos(pg_temp.id(2), 1))), 'admin_only', '78 members make no demo jobs');
select is(pg_temp.code_as(pg_temp.id(4), format('select public.create_demo_job(''x'', %L)', pg_temp.photos(pg_temp.id(4), 1))), null, '78 admins do');
select pg_temp.be(pg_temp.id(3));
select is((select count(*) from public.photo_jobs where is_demo), 1::bigint, '78 everybody sees them');
select is((select count(*) from public.photo_jobs), 1::bigint, '78 and no other');
reset role;
select is((select count(*) from private.claim_photos('toy', 10)), 1::bigint, '78 they are worked on');
select is(pg_temp.succeed(pg_temp.attempt(id, 1)), 'settled', '78 and delivered') from public.photo_jobs where is_demo;
select is(pg_temp.wrong(), null, 'the books are right');

-- several lots, several photos
select private.grant_lot(pg_temp.id(6), 'trial', 700, now() + interval '1 day'), private.grant_lot(pg_temp.id(6), 'bonus', 500, now() + interval '2 days'), private.grant_lot(pg_temp.id(6), 'bonus', 1000, null);
insert into t select 'e', pg_temp.job(6, 4);
select results_eq(
    format('select position, lot_cents from public.photo_job_items where job_id = %L order by position', id),
    $$ values (1, '{500}'::bigint[]), (2, '{200,300}'), (3, '{200,300}'), (4, '{500}') $$, 'lots are used in the order of their end'
) from t where n = 'e';
select is((select count(*) from public.notifications where type = 'credits_low' and user_id = pg_temp.id(6)), 1::bigint, 'low: told');

-- an account that ends
delete from auth.users where id = pg_temp.id(6);
select is(pg_temp.state(id), 'cancelled 0/0/4 0 returned,returned,returned,returned', 'a deleted account: nothing more is sent') from t where n = 'e';
select is((select prompt from public.photo_jobs where id = t.id), null, 'and nothing of it stays') from t where n = 'e';
select isnt(private.expire_credits(10), 0, 'its credits end');
select is(pg_temp.balance(6), '0/0/0', 'all of them');
select is(pg_temp.wrong(), null, 'and the books are right');

-- sent once, and the provider surely has none of it: all can be given back
insert into auth.users (id, email) values (pg_temp.id(17), '17@example.com');
select private.grant_lot(pg_temp.id(17), 'bonus', 1000, null);
insert into t values ('unsent', pg_temp.job(17, 1));
select count(*) from private.claim_photos('toy', 100);
select private.photo_not_sent(pg_temp.attempt(id, 1), 'refused connection') from t where n = 'unsent';
select is(pg_temp.code_as(pg_temp.id(17), format('select public.cancel_photo_job(%L)', id)), null, 'a job that waits again is cancelled') from t where n = 'unsent';
select is((select j.status::text from public.photo_jobs as j inner join t on t.id = j.id where t.n = 'unsent'), 'cancelled', 'and is over');

-- an array that begins elsewhere, as JSON texts can name it
select is(
    pg_temp.code_as(pg_temp.id(17), format(
        'select public.create_photo_job(%L, %L)', 'x', '[5:5]=' || pg_temp.photos(pg_temp.id(17), 1)::text
    )),
    'invalid_photo_job', 'media_ids begin at 1'
);

select * from finish();
rollback;
