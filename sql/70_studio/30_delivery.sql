-- Delivery: all pictures of a finished job in one ZIP file, built and stored by the workers, so that it has a length
-- and an error shows before anything is sent. Links to it live for minutes.

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
('archives', 'archives', false, 10737418240, array['application/zip']);

create function private.archive_to_build(job_id uuid)
returns table (no integer, name text, bucket text, path text, size_bytes bigint, crc32 bigint)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    job public.photo_jobs;
begin
    update public.photo_jobs as j set archive_asked_at = now()
    where
        j.id = archive_to_build.job_id and j.finished_at is not null and j.archive_path is null
        and j.succeeded_count > 0 and j.expires_at > now()
    returning * into job;
    if job.id is null then
        return;
    end if;
    return query
    select
        i.position, s.path, m.bucket, m.derivatives -> 'full' ->> 'path',
        (m.derivatives -> 'full' ->> 'bytes')::bigint, (m.derivatives -> 'full' ->> 'crc32')::bigint
    from public.photo_job_items as i
    inner join public.media as m on m.id = i.result_media_id
    left join private.media_sources as s on s.media_id = i.input_media_id
    where i.job_id = job.id and i.status = 'succeeded'
    order by i.position;
end
$$;
comment on function private.archive_to_build(uuid) is
'The pictures that go into a job''s ZIP file, in their order, and what was uploaded for each; none when it has one, or '
'needs none.';
grant execute on function private.archive_to_build(uuid) to avenue_worker;

create function private.archive_built(job_id uuid, path text, size_bytes bigint) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.photo_jobs as j set archive_path = archive_built.path, archive_bytes = archive_built.size_bytes
    where
        j.id = archive_built.job_id and j.archive_path is null and j.finished_at is not null and j.expires_at > now()
        and exists (select from public.profiles as p where p.id = j.user_id and p.deleted_at is null);
    return found;
end
$$;
comment on function private.archive_built(uuid, text, bigint) is
'A job''s ZIP file is stored. False when it has another one, or is not wanted any more: then this one is nobody''s.';
grant execute on function private.archive_built(uuid, text, bigint) to avenue_worker;

create function private.archives_to_build(max_rows integer) returns table (job_id uuid)
language sql
stable
security definer
set search_path = ''
as $$
    select j.id from public.photo_jobs as j
    where
        j.finished_at is not null and j.archive_path is null and j.succeeded_count > 0
        and j.expires_at > now()
        and coalesce(j.archive_asked_at < now() - interval '30 minutes', true)
    order by j.archive_asked_at nulls first, j.finished_at
    limit max_rows
$$;
comment on function private.archives_to_build(integer) is
'Finished jobs that have no ZIP file yet, those finished longest ago first; one that was begun only after a while.';
grant execute on function private.archives_to_build(integer) to avenue_worker;

create function private.authorize_archive(job_id uuid, user_id uuid)
returns table (path text, name text, size_bytes bigint)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    job public.photo_jobs;
begin
    perform private.require_active(authorize_archive.user_id);
    select * into job from public.photo_jobs as j
    where j.id = authorize_archive.job_id and (j.user_id = authorize_archive.user_id or j.is_demo);
    if job.id is null then
        perform private.fail('photo_job_not_found');
    elsif job.archive_path is null or coalesce(job.expires_at <= now(), true) then
        perform private.fail('archive_not_ready', job.status::text);
    end if;
    return query
    select
        job.archive_path, 'photos-' || to_char(job.created_at at time zone 'UTC', 'YYYY-MM-DD') || '.zip',
        job.archive_bytes;
end
$$;
comment on function private.authorize_archive(uuid, uuid) is
'Where the ZIP file of one of the user''s jobs, or of a demo job, is stored, and what it is called. Errors: '
'photo_job_not_found (404, also for what is somebody else''s), archive_not_ready, not_signed_in, banned.';
grant execute on function private.authorize_archive(uuid, uuid) to avenue_worker;

create function private.authorize_demo_photo(item_id uuid, user_id uuid) returns table (bucket text, path text)
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    perform private.require_active(authorize_demo_photo.user_id);
    return query
    select m.bucket, m.derivatives -> 'medium' ->> 'path'
    from public.photo_job_items as i
    inner join public.photo_jobs as j on j.id = i.job_id and j.is_demo
    inner join public.media as m on m.id = i.result_media_id
    where i.id = authorize_demo_photo.item_id;
    if not found then
        -- Also for a photo of somebody's own job: it does not exist for them.
        perform private.fail('photo_job_not_found', authorize_demo_photo.item_id::text);
    end if;
end
$$;
comment on function private.authorize_demo_photo(uuid, uuid) is
'Where the result of a demo job''s photo is stored. Errors: photo_job_not_found (404, also for photos of other jobs), '
'not_signed_in, banned.';
grant execute on function private.authorize_demo_photo(uuid, uuid) to avenue_worker;

create function private.expire_photo_jobs(max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    told integer;
    ended integer;
begin
    -- A week before, once: people delete notices.
    with soon as (
        update public.photo_jobs as j set noted_at = now()
        where j.id in (
            select o.id from public.photo_jobs as o
            where
                o.expires_at between now() and now() + interval '7 days' and o.succeeded_count > 0 and not o.is_demo
                and o.noted_at is null
            order by o.expires_at
            limit max_rows
            for no key update skip locked
        )
        returning j.id, j.user_id
    )

    select count(private.notify(s.user_id, 'photo_job_expiring', null, 'photo_job', s.id)) into told from soon as s;
    with over as (
        update public.photo_jobs as j set archive_path = null, archive_bytes = null, expires_at = null
        where j.id in (
            select o.id from public.photo_jobs as o
            where o.expires_at <= now()
            order by o.expires_at
            limit max_rows
            for no key update skip locked
        )
        returning j.id
    )

    select count(*) into ended from over as o;
    return told + ended;
end
$$;
comment on function private.expire_photo_jobs(integer) is
'Tells whose results will be deleted within a week, and lets go of the ZIP files of jobs whose time is over (their '
'pictures go by media.expires_at); how many. Call until 0.';
grant execute on function private.expire_photo_jobs(integer) to avenue_worker;

create function private.archives_to_erase(max_rows integer) returns table (bucket text, path text)
language sql
stable
security definer
set search_path = ''
as $$
    select o.bucket_id, o.name from storage.objects as o
    where
        o.bucket_id = 'archives' and not exists (
            select from public.photo_jobs as j where j.archive_path = o.name
        )
        -- One that is just being built is not noted yet.
        and (
            o.created_at < now() - interval '6 hours'
            or exists (
                select from public.photo_jobs as j
                where j.id::text = split_part(o.name, '/', 1) and (j.archive_path is not null or j.expires_at is null)
            )
        )
    order by o.created_at
    limit max_rows
$$;
comment on function private.archives_to_erase(integer) is
'ZIP files that belong to no job, or to one whose time is over: interrupted, built twice, expired, of ended accounts.';
grant execute on function private.archives_to_erase(integer) to avenue_worker;

create index photo_jobs_archive_path_idx on public.photo_jobs (archive_path) where archive_path is not null;

create function private.erase_archives(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.photo_jobs as j set archive_path = null, archive_bytes = null, expires_at = null
    where j.user_id = erase_archives.user_id and j.expires_at is not null;
    if found then
        perform private.enqueue('expire_photo_jobs', '{}');
    end if;
end
$$;
comment on function private.erase_archives(uuid) is 'Account deletion: lets go of the ZIP files; a job deletes them.';

insert into private.erasure_steps (step, phase, erases, statement) values
('archives', 'records', '{public.photo_jobs.archive_path}', 'select private.erase_archives($1)');

insert into private.error_codes (code, sqlstate, message, description) values
('archive_not_ready', 'PT409', 'The ZIP file is not there.',
'It is built when the job is over; later than settings.photo_result_kept it is gone. The detail is the job''s status.');
