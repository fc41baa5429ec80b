-- What a provider did not take is cancelled like what it was never asked for, whatever state the job is in (case 78).
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create function pg_temp.job(n integer) returns uuid language plpgsql as $$
declare
    photos uuid[];
    job uuid;
begin
    with m as (
        insert into public.media (
            owner_id, purpose, status, ready_at, bucket, content_type, width, height, color, is_animated, derivatives
        )
        select pg_temp.id(2), 'photo_input', 'ready', now(), 'studio', 'image/jpeg', 8, 8, '#ffffff', false,
            '{"full": {"path": "a", "bytes": 1}}'
        from generate_series(1, n)
        returning id
    )
    select array_agg(m.id) into photos from m;
    perform pg_temp.be(pg_temp.id(2));
    select id into job from public.create_photo_job('brighter', photos);
    perform set_config('role', 'none', true);
    return job;
end
$$;
-- How many of a job's photos were tried, and not taken.
create function pg_temp.not_taken(job uuid) returns bigint language sql as $$
    select count(private.photo_not_sent(a.attempt_id, 'HTTP 429')) from private.claim_photos('toy', 100) as a
$$;
create function pg_temp.state(job uuid) returns text language sql security definer as $$
    select concat_ws(' ', j.status, j.returned_count, j.failed_count, b.available_cents, b.held_cents)
    from public.photo_jobs as j inner join private.credit_balances as b on b.user_id = j.user_id
    where j.id = job
$$;
grant execute on all functions in schema pg_temp to public;
create temporary table t (n text primary key, id uuid);
grant all on t to public;
select private.grant_lot(pg_temp.id(2), 'bonus', 10000, null);

insert into t select 'a', pg_temp.job(2);
select is(pg_temp.not_taken(id), 2::bigint, 'the provider takes none') from t where n = 'a';
select is(pg_temp.state(id), 'processing 0 0 9000 1000', 'so they wait again, and are held') from t where n = 'a';
select pg_temp.be(pg_temp.id(2));
select is((public.cancel_photo_job(id)).status::text, 'cancelled', '78 cancel: all of them') from t where n = 'a';
reset role;
select is(pg_temp.state(id), 'cancelled 2 0 10000 0', '78 cancel: given back at once') from t where n = 'a';

insert into t select 'b', pg_temp.job(2);
select pg_temp.not_taken(id) from t where n = 'b';
select private.fail_photo((select id from public.photo_job_items as i where i.job_id = t.id and position = 1), 'input_gone') from t where n = 'b';
select pg_temp.be(pg_temp.id(2));
select is((public.cancel_photo_job(id)).status::text, 'failed', '78 cancel: with one that could not be made') from t where n = 'b';
reset role;
select is(pg_temp.state(id), 'failed 1 1 10000 0', '78 cancel: all is back') from t where n = 'b';

-- What will be deleted is told once, also when its owner has deleted the notice.
insert into t select 'e', pg_temp.job(1);
select is(private.settle_photo(a.attempt_id, 'succeeded', (select id from public.media limit 1)), 'settled', 'a picture')
from private.claim_photos('toy', 100) as a;
update public.photo_jobs as j set expires_at = now() + interval '3 days' from t where j.id = t.id and n = 'e';
select private.expire_photo_jobs(10);
select is((select count(*) from public.notifications where type = 'photo_job_expiring'), 1::bigint, 'expiring: told');
delete from public.notifications;
select private.expire_photo_jobs(10);
select is((select count(*) from public.notifications), 0::bigint, 'expiring: once');

-- An attempt whose provider never says what became of it is not asked about for ever.
insert into t select 'd', pg_temp.job(1);
select is((select count(*) from private.claim_photos('toy', 100)), 1::bigint, '62 one is sent');
update public.photo_job_items as i set sent_at = now() - interval '25 hours' from t where i.job_id = t.id and n = 'd';
update private.photo_attempts set checked_at = now() - interval '1 hour', deadline_at = now() - interval '1 hour' where ended_at is null;
select is((select count(*) from private.expire_photos(10)), 1::bigint, '62 its deadline passes');
select is((select count(*) from private.photos_to_check(10)), 1::bigint, '68 it is asked about for what it cost');
update private.photo_attempts set checked_at = now() - interval '1 hour', deadline_at = now() - interval '25 hours' where ended_at is null;
select is((select count(*) from private.photos_to_check(10)), 0::bigint, '68 but not for ever');

insert into t select 'c', pg_temp.job(1);
select pg_temp.not_taken(id) from t where n = 'c';
select lives_ok(format('delete from auth.users where id = %L', pg_temp.id(2)), 'an account ends all the same');
select is((select status::text from public.photo_jobs where id = t.id), 'cancelled', 'and its jobs') from t where n = 'c';
select is_empty('select * from ledger.audit()', 'the books are right');

select * from finish();
rollback;
