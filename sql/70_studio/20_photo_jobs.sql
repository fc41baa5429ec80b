-- Photo jobs: a prompt, some pictures, a price that is fixed when the job is made. Each photo is a row of its own with
-- a state and a price of its own: what is delivered is spent, what is not goes back, each once. The provider is asked
-- by the workers, in attempts that are written down before it hears of them.
-- Locks: the owner's credits, then photos by id, then jobs.

alter table private.settings
add column photo_cost_cents bigint not null default 500,
add column photos_per_job integer not null default 50,
add column open_photos_per_account integer not null default 200,
add column photo_deadline interval not null default '24 hours',
add column photo_input_kept interval not null default '30 days',
add column photo_result_kept interval not null default '90 days';
comment on column private.settings.photo_cost_cents is
'What one photo costs, credits in cents, before photo_discounts.';
comment on column private.settings.photos_per_job is 'Photos of one job at most.';
comment on column private.settings.open_photos_per_account is 'Photos an account may have under way at most.';
comment on column private.settings.photo_deadline is
'How long a photo that was sent may be without a verdict: then it is the customer''s, and an operator is told.';
comment on column private.settings.photo_input_kept is 'How long a picture is kept that was uploaded for a job.';
comment on column private.settings.photo_result_kept is 'How long the results of a job are kept.';

create table private.photo_discounts (
    from_count integer not null,
    discount_bps integer not null,
    constraint photo_discounts_pkey primary key (from_count),
    constraint photo_discounts_from_count_check check (from_count >= 2),
    constraint photo_discounts_discount_bps_check check (discount_bps between 0 and 10000)
);
comment on table private.photo_discounts is 'What jobs of many photos cost less.';
comment on column private.photo_discounts.from_count is 'Jobs of at least so many photos.';
comment on column private.photo_discounts.discount_bps is 'Less, basis points; the row with the most photos counts.';
alter table private.photo_discounts enable row level security;

create type public.photo_job_status as enum ('pending', 'processing', 'completed', 'failed', 'cancelled');
comment on type public.photo_job_status is
'pending: nothing was sent yet. processing. completed: over, with at least one photo delivered. failed: over with '
'none. cancelled: all photos were given back unsent.';

create type public.photo_status as enum ('queued', 'sent', 'unknown', 'succeeded', 'failed', 'returned');
comment on type public.photo_status is
'queued. sent: the provider has it. unknown: the provider was asked and nobody knows what it did: nothing is given '
'back before it is known, or the deadline has passed. The ends: succeeded (spent), failed (given back), returned '
'(never sent, given back).';

create table public.photo_jobs (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null,
    prompt text,
    photo_count integer not null,
    cost_cents bigint not null,
    status public.photo_job_status not null default 'pending',
    group_name text,
    client_key text,
    retry_of uuid,
    succeeded_count integer not null default 0,
    failed_count integer not null default 0,
    returned_count integer not null default 0,
    captured_cents bigint not null default 0,
    is_demo boolean not null generated always as (private.is_platform(user_id)) stored,
    archive_path text,
    archive_bytes bigint,
    archive_asked_at timestamptz,
    finished_at timestamptz,
    expires_at timestamptz,
    noted_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint photo_jobs_pkey primary key (id),
    constraint photo_jobs_user_id_client_key_key unique (user_id, client_key),
    constraint photo_jobs_user_id_fkey foreign key (user_id) references public.profiles (id),
    constraint photo_jobs_retry_of_fkey foreign key (retry_of) references public.photo_jobs (id),
    constraint photo_jobs_prompt_check check (char_length(prompt) between 1 and 2000),
    constraint photo_jobs_group_name_check check (char_length(group_name) between 1 and 140),
    constraint photo_jobs_client_key_check check (char_length(client_key) between 1 and 200),
    constraint photo_jobs_cost_check check (cost_cents between 0 and private.highest_amount_cents()),
    constraint photo_jobs_counts_check check (
        least(succeeded_count, failed_count, returned_count) >= 0
        and photo_count >= 1 and succeeded_count + failed_count + returned_count <= photo_count
        and captured_cents between 0 and cost_cents
    )
)
with (fillfactor = 70);

create index photo_jobs_user_id_created_at_idx on public.photo_jobs (user_id, created_at desc, id desc);
create index photo_jobs_created_at_idx on public.photo_jobs (created_at desc, id desc);
create index photo_jobs_retry_of_idx on public.photo_jobs (retry_of) where retry_of is not null;
create index photo_jobs_expires_at_idx on public.photo_jobs (expires_at) where expires_at is not null;
-- Finished with something to hand out, and no archive of it yet.
create index photo_jobs_archive_idx on public.photo_jobs (finished_at)
where finished_at is not null and archive_path is null and succeeded_count > 0;

comment on constraint photo_jobs_group_name_check on public.photo_jobs is
'invalid_photo_job: A group name has 1 to 140 characters.';

comment on table public.photo_jobs is
'Jobs of the photo studio. Owner and admins read, everybody signed in the platform''s demo jobs; made by '
'create_photo_job(), the owner writes group_name.';
comment on column public.photo_jobs.user_id is 'Whose; the platform''s are demo jobs.';
comment on column public.photo_jobs.prompt is 'What is wanted, at most 2,000 characters; null once the account ended.';
comment on column public.photo_jobs.photo_count is 'Photos: the rows of photo_job_items.';
comment on column public.photo_jobs.cost_cents is 'What all of them cost, credits in cents; fixed when it was made.';
comment on column public.photo_jobs.status is 'What its photos make of it.';
comment on column public.photo_jobs.group_name is 'The owner''s label, at most 140 characters.';
comment on column public.photo_jobs.client_key is 'The client''s key for this intent: the same key answers this job.';
comment on column public.photo_jobs.retry_of is 'The job whose failed photos this one tries again.';
comment on column public.photo_jobs.succeeded_count is 'Photos delivered.';
comment on column public.photo_jobs.failed_count is 'Photos that could not be made; their credits came back.';
comment on column public.photo_jobs.returned_count is
'Photos cancelled before they were sent; their credits came back.';
comment on column public.photo_jobs.captured_cents is
'Credits spent, cents; when it is over, the rest of cost_cents came back.';
comment on column public.photo_jobs.is_demo is 'One of the platform''s, for everybody to see.';
comment on column public.photo_jobs.archive_path is
'The ZIP file in the bucket archives, readable by signed link only; null: not built, or no longer kept.';
comment on column public.photo_jobs.archive_bytes is 'Its size.';
comment on column public.photo_jobs.archive_asked_at is 'Last time a worker began to build it.';
comment on column public.photo_jobs.finished_at is 'When the last photo got its verdict.';
comment on column public.photo_jobs.expires_at is 'Until when its results are kept.';
comment on column public.photo_jobs.noted_at is 'When its owner was told that this is soon.';

create table public.photo_job_items (
    id uuid not null default gen_random_uuid(),
    job_id uuid not null,
    position integer not null,
    input_media_id uuid,
    result_media_id uuid,
    cost_cents bigint not null,
    status public.photo_status not null default 'queued',
    failure text,
    attempts_count integer not null default 0,
    lot_ids uuid[] not null default '{}',
    lot_cents bigint[] not null default '{}',
    queued_at timestamptz not null default now(),
    available_at timestamptz not null default now(),
    sent_at timestamptz,
    finished_at timestamptz,
    constraint photo_job_items_pkey primary key (id),
    constraint photo_job_items_job_id_position_key unique (job_id, position),
    constraint photo_job_items_job_id_fkey foreign key (job_id) references public.photo_jobs (id),
    constraint photo_job_items_input_media_id_fkey foreign key (input_media_id) references public.media (id)
    on delete set null,
    constraint photo_job_items_result_media_id_fkey foreign key (result_media_id) references public.media (id)
    on delete set null,
    constraint photo_job_items_cost_check check (cost_cents between 0 and private.highest_amount_cents()),
    constraint photo_job_items_position_check check (position >= 1),
    constraint photo_job_items_lots_check check (cardinality(lot_ids) = cardinality(lot_cents)),
    constraint photo_job_items_failure_check check ((failure is not null) = (status = 'failed'))
)
with (fillfactor = 70);

create index photo_job_items_queue_idx on public.photo_job_items (queued_at, job_id, position) where status = 'queued';
create index photo_job_items_open_idx on public.photo_job_items (sent_at) where status in ('sent', 'unknown');
create index photo_job_items_input_media_id_idx on public.photo_job_items (input_media_id);
create index photo_job_items_result_media_id_idx on public.photo_job_items (result_media_id);

comment on table public.photo_job_items is
'The photos of a job, one row each. Whoever reads the job reads them; only the server writes.';
comment on column public.photo_job_items.position is 'Place in the job, from 1.';
comment on column public.photo_job_items.input_media_id is 'The picture that was sent in; null: no longer kept.';
comment on column public.photo_job_items.result_media_id is 'The picture that was made; null: none, or no longer kept.';
comment on column public.photo_job_items.cost_cents is
'Its part of the job''s cost, credits in cents: all parts add up to the whole.';
comment on column public.photo_job_items.status is 'How it stands with it, and with its credits.';
comment on column public.photo_job_items.failure is
'Why there is no picture: refused, unreadable_input, provider_failed, output_gone, output_unreadable, canceled, '
'timed_out, input_gone.';
comment on column public.photo_job_items.attempts_count is 'How often the provider was asked.';
comment on column public.photo_job_items.lot_ids is 'The credit_lots that pay for it …';
comment on column public.photo_job_items.lot_cents is '… and how much each, cents.';
comment on column public.photo_job_items.queued_at is 'Since when it waits; the order of the queue.';
comment on column public.photo_job_items.available_at is 'Not sent before this time.';
comment on column public.photo_job_items.sent_at is 'When it was first sent; the deadline counts from here.';
comment on column public.photo_job_items.finished_at is 'When it got its verdict.';

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.photo_job_items', 'status', null, 'queued', 'its credits are held'),
('public.photo_job_items', 'status', 'queued', 'sent', 'an attempt is written down'),
('public.photo_job_items', 'status', 'queued', 'returned', 'cancelled, its credits are back'),
('public.photo_job_items', 'status', 'queued', 'failed', 'its input is gone'),
('public.photo_job_items', 'status', 'sent', 'queued', 'the provider surely has not taken it'),
('public.photo_job_items', 'status', 'sent', 'unknown', 'the provider did not answer'),
('public.photo_job_items', 'status', 'sent', 'succeeded', 'the picture is stored'),
('public.photo_job_items', 'status', 'sent', 'failed', 'a definitive verdict, or the deadline'),
('public.photo_job_items', 'status', 'unknown', 'queued', 'the provider surely never had it'),
('public.photo_job_items', 'status', 'unknown', 'sent', 'the provider has it'),
('public.photo_job_items', 'status', 'unknown', 'succeeded', 'the picture is stored'),
('public.photo_job_items', 'status', 'unknown', 'failed', 'a definitive verdict, or the deadline'),
('public.photo_jobs', 'status', null, 'pending', 'made, its credits are held'),
('public.photo_jobs', 'status', 'pending', 'processing', 'the first photo is sent'),
('public.photo_jobs', 'status', 'pending', 'cancelled', 'all photos were given back'),
('public.photo_jobs', 'status', 'pending', 'failed', 'no photo could be sent'),
('public.photo_jobs', 'status', 'processing', 'completed', 'all have a verdict, some a picture'),
('public.photo_jobs', 'status', 'processing', 'failed', 'all have a verdict, none a picture'),
('public.photo_jobs', 'status', 'processing', 'cancelled', 'the provider took none, and all were given back');

create table private.photo_attempts (
    id uuid not null default gen_random_uuid(),
    item_id uuid not null,
    no integer not null,
    provider text,
    provider_ref text,
    verdict text,
    code text,
    detail text,
    cost_micros bigint,
    is_late boolean not null default false,
    created_at timestamptz not null default now(),
    deadline_at timestamptz not null,
    ended_at timestamptz,
    checked_at timestamptz not null default now(),
    constraint photo_attempts_pkey primary key (id),
    constraint photo_attempts_item_id_no_key unique (item_id, no),
    constraint photo_attempts_item_id_fkey foreign key (item_id) references public.photo_job_items (id),
    constraint photo_attempts_verdict_check check (verdict in ('succeeded', 'failed', 'not_sent', 'timed_out')),
    constraint photo_attempts_cost_check check (cost_micros >= 0)
);

create index photo_attempts_open_idx on private.photo_attempts (checked_at) where ended_at is null;

comment on table private.photo_attempts is
'Each time a provider was, or may have been, asked for a photo: committed before it is asked, so that its answer finds '
'something whatever happens.';
comment on column private.photo_attempts.no is 'Which attempt of the photo, from 1; the last one decides.';
comment on column private.photo_attempts.provider is 'Who was asked; null until it is known.';
comment on column private.photo_attempts.provider_ref is 'The provider''s name for it; null until it is known.';
comment on column private.photo_attempts.verdict is
'What became of it; null while nobody knows. timed_out: the deadline came first; a later answer is only noted.';
comment on column private.photo_attempts.code is 'Stable word why it failed.';
comment on column private.photo_attempts.detail is 'The provider''s words, for operators.';
comment on column private.photo_attempts.cost_micros is
'What the provider takes for it, millionths of a dollar; also of attempts that came to nothing.';
comment on column private.photo_attempts.is_late is 'Its answer came after the photo had ended: it changed nothing.';
comment on column private.photo_attempts.deadline_at is 'When the photo ends without a verdict.';
comment on column private.photo_attempts.ended_at is 'When the verdict came.';
comment on column private.photo_attempts.checked_at is 'Last time the provider was asked about it.';
alter table private.photo_attempts enable row level security;

-- A job is what its photos are: kept by this trigger, so that no way to end a photo forgets it.
create function private.follow_photos() returns trigger
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    with ended as (
        select
            n.job_id,
            count(*) filter (where n.status = 'succeeded')::integer as succeeded,
            count(*) filter (where n.status = 'failed')::integer as failed,
            count(*) filter (where n.status = 'returned')::integer as returned,
            coalesce(sum(n.cost_cents) filter (where n.status = 'succeeded'), 0)::bigint as captured
        from changed_to as n
        inner join changed_from as o on o.id = n.id and o.status <> n.status
        group by n.job_id
    )

    update public.photo_jobs as j set
        succeeded_count = j.succeeded_count + e.succeeded, failed_count = j.failed_count + e.failed,
        returned_count = j.returned_count + e.returned, captured_cents = j.captured_cents + e.captured,
        status = case
            when
                j.succeeded_count + e.succeeded + j.failed_count + e.failed + j.returned_count + e.returned
                < j.photo_count
                then case
                    when e.returned + e.failed = 0 then 'processing'
                    else j.status::text
                end
            when j.succeeded_count + e.succeeded > 0 then 'completed'
            when j.returned_count + e.returned = j.photo_count then 'cancelled'
            else 'failed'
        end::public.photo_job_status,
        finished_at = case
            when
                j.succeeded_count + e.succeeded + j.failed_count + e.failed + j.returned_count + e.returned
                = j.photo_count
                then now()
        end,
        expires_at = case
            when
                j.succeeded_count + e.succeeded + j.failed_count + e.failed + j.returned_count + e.returned
                = j.photo_count
                then now() + (select s.photo_result_kept from private.settings as s)
        end
    from (select * from ended as d order by d.job_id) as e
    where j.id = e.job_id;
    return null;
end
$$;
comment on function private.follow_photos() is
'Trigger: a job''s counts, cost and state follow its photos.';

create trigger follow_photos after update on public.photo_job_items
referencing old table as changed_from new table as changed_to
for each statement execute function private.follow_photos();

create function private.finish_photo_job() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(
        new.user_id, case when new.status = 'completed' then 'photo_job_completed' else 'photo_job_failed' end, null,
        'photo_job', new.id
    );
    return null;
end
$$;
comment on function private.finish_photo_job() is
'Trigger: whoever''s job is over is told.';

create trigger finish_photo_job after update on public.photo_jobs
for each row when (old.finished_at is null and new.finished_at is not null and new.status <> 'cancelled')
execute function private.finish_photo_job();
create trigger touch_updated_at before update on public.photo_jobs
for each row execute function private.touch_updated_at();
-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts before insert or update of prompt, group_name on public.photo_jobs
for each row execute function private.tidy_texts('prompt body', 'group_name line');

select private.build_moves('public.photo_job_items', 'status');
select private.build_moves('public.photo_jobs', 'status');

alter table public.photo_jobs enable row level security;
grant select on public.photo_jobs to authenticated, service_role;
grant update (group_name) on public.photo_jobs to authenticated;
create policy photo_jobs_select on public.photo_jobs for select to authenticated
using (user_id = (select private.member_id()) or is_demo or (select private.is_admin()));
create policy photo_jobs_update on public.photo_jobs for update to authenticated
using (user_id = (select private.member_id()))
with check (user_id = (select private.member_id()));

alter table public.photo_job_items enable row level security;
grant select on public.photo_job_items to authenticated, service_role;
create policy photo_job_items_select on public.photo_job_items for select to authenticated
using ((select j.id from public.photo_jobs as j where j.id = photo_job_items.job_id) is not null);
comment on policy photo_job_items_select on public.photo_job_items is 'Whoever sees the job sees its photos.';

create function private.photo_cost(photo_count integer) returns bigint
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select
            (s.photo_cost_cents * photo_cost.photo_count * (10000 - coalesce((
                select d.discount_bps from private.photo_discounts as d
                where d.from_count <= photo_cost.photo_count
                order by d.from_count desc
                limit 1
            ), 0)) + 5000) / 10000
        from private.settings as s
    );
end
$$;
comment on function private.photo_cost(integer) is 'What a job of so many photos costs now, credits in cents.';

create type public.photo_quote as (cost_cents bigint, parts bigint []);
comment on type public.photo_quote is 'What a job costs, credits in cents, and the part of each of its photos.';

create function public.photo_price(photo_count integer) returns public.photo_quote
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    cost bigint;
begin
    if photo_count is null or photo_count not between 1 and (select s.photos_per_job from private.settings as s) then
        perform private.fail(
            'too_many_photos', format('1 to %s in one job', (select s.photos_per_job from private.settings as s))
        );
    end if;
    cost := private.photo_cost(photo_count);
    return row(cost, private.split_cents(cost, array_fill(1::bigint, array[photo_count])))::public.photo_quote;
end
$$;
comment on function public.photo_price(integer) is
'What a job of so many photos costs now, credits in cents, and the part of each photo. Error: too_many_photos.';
grant execute on function public.photo_price(integer) to anon, authenticated;

create function private.place_photo_job(job public.photo_jobs, media uuid[]) returns public.photo_jobs
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    prices bigint[] := private.split_cents(job.cost_cents, array_fill(1::bigint, array[job.photo_count]));
    placed bigint;
    made public.photo_jobs;
begin
    insert into public.photo_jobs (user_id, prompt, photo_count, cost_cents, group_name, client_key, retry_of)
    values (
        job.user_id, job.prompt, job.photo_count, job.cost_cents, job.group_name, job.client_key, job.retry_of
    )
    returning * into made;
    -- Photo by photo from lot after lot, in the order in which lots are used.
    with lots as (
        select
            l.id, l.remaining_cents, sum(l.remaining_cents) over burn - l.remaining_cents as before
        from public.credit_lots as l
        where
            made.cost_cents > 0 and l.user_id = made.user_id and l.remaining_cents > 0
            and coalesce(l.expires_at > clock_timestamp(), true)
        window burn as (order by l.expires_at nulls last, private.credit_priority(l.category), l.created_at, l.id)
    ),

    used as materialized (
        select l.id, l.before, least(l.remaining_cents, made.cost_cents - l.before)::bigint as cents
        from lots as l
        where l.before < made.cost_cents
    ),

    held as (
        update public.credit_lots as l set
            remaining_cents = l.remaining_cents - u.cents, held_cents = l.held_cents + u.cents
        from used as u
        where l.id = u.id
        returning u.cents
    ),

    photos as (
        select p.no, p.price, sum(p.price) over (order by p.no) - p.price as before
        from unnest(prices) with ordinality as p (price, no)
    ),

    items as (
        insert into public.photo_job_items (job_id, position, input_media_id, cost_cents, lot_ids, lot_cents)
        select made.id, p.no, media[p.no], p.price, coalesce(f.ids, '{}'), coalesce(f.cents, '{}')
        from photos as p
        left join lateral (
            select
                array_agg(u.id order by u.before) as ids,
                array_agg(
                    (least(p.before + p.price, u.before + u.cents) - greatest(p.before, u.before))::bigint
                    order by u.before
                ) as cents
            from used as u
            where u.before < p.before + p.price and p.before < u.before + u.cents
        ) as f on true
    )

    select coalesce(sum(h.cents), 0) into strict placed from held as h;
    if placed < made.cost_cents then
        perform private.fail('insufficient_credits', format('%s needed, %s there', made.cost_cents, placed));
    end if;
    if made.cost_cents > 0 then
        perform ledger.post(
            'credits_held', 'photo_job:' || made.id,
            array[
                ledger.leg(made.user_id, 'credits', -made.cost_cents),
                ledger.leg(made.user_id, 'credits_held', made.cost_cents)
            ],
            made.id
        );
    end if;
    -- Who finds others waiting is behind them in the queue: the workers are at it. A commit that notifies waits for all
    -- others that do.
    if not exists (
        select from public.photo_job_items as q
        where q.status = 'queued' and q.job_id <> made.id and q.available_at <= now()
    ) then
        perform private.enqueue('send_photos', '{}', queue => 'slow');
    end if;
    return made;
end
$$;
comment on function private.place_photo_job(public.photo_jobs, uuid[]) is
'Makes a job of these pictures and holds its cost. The credits are locked. Error: insufficient_credits.';

create function private.photo_job_of(wanted public.photo_jobs, media_ids uuid[]) returns public.photo_jobs
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    made public.photo_jobs;
begin
    if wanted.client_key is null then
        return null;
    end if;
    select * into made from public.photo_jobs as j
    where j.user_id = wanted.user_id and j.client_key = wanted.client_key;
    -- Pictures that are no longer kept are not compared.
    if made.id is not null and (
        made.prompt <> wanted.prompt or photo_job_of.media_ids <> array(
            select coalesce(i.input_media_id, photo_job_of.media_ids[i.position]) from public.photo_job_items as i
            where i.job_id = made.id
            order by i.position
        )
    ) then
        perform private.fail('idempotency_key_reused', 'client_key');
    end if;
    return made;
end
$$;
comment on function private.photo_job_of(public.photo_jobs, uuid[]) is
'The job that was made under the wanted one''s client key; null: none yet. Error: idempotency_key_reused, for another '
'prompt or other pictures.';

create function public.create_photo_job(
    prompt text, media_ids uuid[], group_name text default null, client_key text default null
) returns public.photo_jobs
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
    member uuid := private.require_member();
    limits private.settings;
    balance private.credit_balances;
    wanted public.photo_jobs;
    made public.photo_jobs;
    wrong uuid;
    is_wrong boolean;
    is_double boolean;
    is_old boolean;
begin
    wanted.user_id := member;
    wanted.prompt := private.tidy_body(prompt);
    wanted.group_name := nullif(private.tidy_body(group_name), '');
    wanted.client_key := client_key;
    wanted.photo_count := cardinality(media_ids);
    select * into strict limits from private.settings;
    if coalesce(char_length(wanted.prompt), 0) not between 1 and 2000 then
        perform private.fail('invalid_photo_job', 'prompt: 1 to 2,000 characters');
    elsif char_length(wanted.group_name) > 140 then
        perform private.fail('invalid_photo_job', 'group_name: at most 140 characters');
    elsif char_length(client_key) not between 1 and 200 then
        perform private.fail('invalid_photo_job', 'client_key: 1 to 200 characters');
    -- A text such as [5:5]={…} makes an array that begins elsewhere.
    elsif coalesce(wanted.photo_count, 0) = 0 or array_ndims(media_ids) > 1 or array_lower(media_ids, 1) <> 1 then
        perform private.fail('invalid_photo_job', 'media_ids: none');
    elsif wanted.photo_count > limits.photos_per_job then
        perform private.fail('too_many_photos', format('at most %s in one job', limits.photos_per_job));
    end if;

    made := private.photo_job_of(wanted, media_ids);
    if made.id is not null then
        return made;
    end if;
    -- What is counted, and paid for, are pictures that were looked at; each once. Before the lock: others wait for that.
    select
        (array_agg(u.id) filter (where m.id is null))[1], bool_or(m.id is null), count(distinct u.id) < count(*),
        coalesce(bool_or(m.expires_at < now() + limits.photo_input_kept - interval '1 day'), false)
    into wrong, is_wrong, is_double, is_old
    from unnest(media_ids) as u (id)
    left join public.media as m
        on m.id = u.id and m.owner_id = member and m.purpose = 'photo_input' and m.status = 'ready';
    if is_wrong then
        perform private.fail('media_not_ready', wrong::text);
    elsif is_double then
        perform private.fail('invalid_photo_job', 'media_ids: the same picture twice');
    end if;
    if is_old then
        -- What is used is kept for its time from now; most was uploaded just before.
        update public.media as m set expires_at = now() + limits.photo_input_kept where m.id = any (media_ids);
    end if;
    wanted.cost_cents := private.photo_cost(wanted.photo_count);

    -- Two tabs, a double click: one after the other, and the second sees what the first left.
    balance := private.lock_credits(member);
    made := private.photo_job_of(wanted, media_ids);
    if made.id is not null then
        return made;
    elsif balance.debt_cents > 0 then
        perform private.fail('credits_owed', balance.debt_cents::text);
    elsif wanted.photo_count > limits.open_photos_per_account or balance.held_cents > 0 and wanted.photo_count + (
        select coalesce(sum(j.photo_count - j.succeeded_count - j.failed_count - j.returned_count), 0)
        from public.photo_jobs as j
        where j.user_id = member and j.status in ('pending', 'processing')
    ) > limits.open_photos_per_account then
        perform private.fail('too_many_photos', format('at most %s under way', limits.open_photos_per_account));
    end if;
    made := private.place_photo_job(wanted, media_ids);
    perform private.tell_low_credits(member, balance.available_cents - made.cost_cents, limits.low_credits_cents);
    return made;
end
$$;
comment on function public.create_photo_job(text, uuid[], text, text) is
'Makes a photo job of the caller''s uploaded pictures (media of purpose photo_input that are ready) and holds what it '
'costs, all or nothing; photo_price() says how much. The same client_key answers the first job. Errors: '
'invalid_photo_job, too_many_photos, media_not_ready (the detail: which), insufficient_credits, credits_owed, '
'idempotency_key_reused.';
grant execute on function public.create_photo_job(text, uuid[], text, text) to authenticated;

create function private.tell_low_credits(user_id uuid, left_cents bigint, low_cents bigint) returns void
language plpgsql
set search_path = ''
as $$
begin
    if left_cents < low_cents then
        update private.credit_balances as b set low_noted_at = now()
        where b.user_id = tell_low_credits.user_id and b.low_noted_at is null;
        if found then
            perform private.notify(tell_low_credits.user_id, 'credits_low');
        end if;
    end if;
end
$$;
comment on function private.tell_low_credits(uuid, bigint, bigint) is
'Tells somebody once that their credits (cents) have become few.';

create function private.is_worked_on(media_id uuid) returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
    return exists (
        select from public.photo_job_items as i
        where
            is_worked_on.media_id in (i.input_media_id, i.result_media_id)
            and i.status in ('queued', 'sent', 'unknown')
    );
end
$$;
comment on function private.is_worked_on(uuid) is 'Whether an open photo needs this picture.';

-- What is deleted of a job's results is no longer in its file: the workers build another one.
create function private.forget_archive() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.photo_jobs as j set archive_path = null, archive_bytes = null, archive_asked_at = null
    where
        j.archive_path is not null
        and j.id in (select i.job_id from public.photo_job_items as i where i.result_media_id = old.id);
    return old;
end
$$;
comment on function private.forget_archive() is
'Trigger: a job whose result is deleted has no ZIP file until it is built anew.';

create trigger forget_archive before delete on public.media
for each row when (old.purpose = 'photo_result')
execute function private.forget_archive();

create function public.cancel_photo_job(job_id uuid) returns public.photo_jobs
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    job public.photo_jobs;
begin
    select * into job from public.photo_jobs as j where j.id = cancel_photo_job.job_id and j.user_id = member;
    if job.id is null then
        perform private.fail('photo_job_not_found');
    end if;
    perform private.return_photos(job.id);
    select * into strict job from public.photo_jobs as j where j.id = cancel_photo_job.job_id;
    return job;
end
$$;
comment on function public.cancel_photo_job(uuid) is
'Owner: photos that were not sent yet are given back at once; those the provider has go on, and cost what they cost if '
'they succeed. Safe to repeat. Error: photo_job_not_found.';
grant execute on function public.cancel_photo_job(uuid) to authenticated;

create function private.return_photos(job_id uuid) returns integer
language plpgsql
set search_path = ''
as $$
declare
    owner uuid := (select j.user_id from public.photo_jobs as j where j.id = return_photos.job_id);
    photo record;
    count integer := 0;
begin
    if not private.is_platform(owner) then
        perform private.lock_credits(owner);
    end if;
    for photo in
        with returned as (
            update public.photo_job_items as i set status = 'returned', finished_at = now()
            where i.id in (
                select q.id from public.photo_job_items as q
                where q.job_id = return_photos.job_id and q.status = 'queued'
                order by q.id
                for no key update
            )
            returning i.id, i.lot_ids, i.lot_cents
        )

        select * from returned as r order by r.id
    loop
        perform private.end_hold(
            owner, photo.lot_ids, photo.lot_cents, 'returned', 'photo:' || photo.id || ':settled', photo.id
        );
        count := count + 1;
    end loop;
    return count;
end
$$;
comment on function private.return_photos(uuid) is 'Gives back the photos of a job that were not sent yet; how many.';

create function public.retry_photo_job(job_id uuid, client_key text default null) returns public.photo_jobs
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
    balance private.credit_balances;
    job public.photo_jobs;
    wanted public.photo_jobs;
    made public.photo_jobs;
    failed uuid[];
begin
    balance := private.lock_credits(member);
    select * into job from public.photo_jobs as j where j.id = retry_photo_job.job_id and j.user_id = member;
    if job.id is null then
        perform private.fail('photo_job_not_found');
    elsif char_length(retry_photo_job.client_key) not between 1 and 200 then
        perform private.fail('invalid_photo_job', 'client_key: 1 to 200 characters');
    end if;
    -- Once for each job, and without a key, too: its failed photos are tried again there.
    select * into made from public.photo_jobs as j where j.retry_of = job.id;
    if made.id is not null then
        return made;
    elsif job.finished_at is null then
        perform private.refuse_state('photo_job', job.status);
    elsif balance.debt_cents > 0 then
        perform private.fail('credits_owed', balance.debt_cents::text);
    end if;
    failed := array(
        select i.input_media_id
        from public.photo_job_items as i
        inner join public.media as m on m.id = i.input_media_id and m.status = 'ready'
        where i.job_id = job.id and i.status in ('failed', 'returned')
        order by i.position
    );
    if failed = '{}' then
        perform private.fail('nothing_to_retry', job.id::text);
    end if;
    update public.media as m set expires_at = now() + s.photo_input_kept
    from private.settings as s
    where m.id = any (failed);
    wanted.user_id := member;
    wanted.prompt := job.prompt;
    wanted.group_name := job.group_name;
    wanted.client_key := retry_photo_job.client_key;
    wanted.retry_of := job.id;
    wanted.photo_count := cardinality(failed);
    wanted.cost_cents := private.photo_cost(wanted.photo_count);
    if wanted.photo_count + (
        select coalesce(sum(j.photo_count - j.succeeded_count - j.failed_count - j.returned_count), 0)
        from public.photo_jobs as j
        where j.user_id = member and j.status in ('pending', 'processing')
    ) > (select s.open_photos_per_account from private.settings as s) then
        perform private.fail('too_many_photos', 'too many under way');
    end if;
    begin
        return private.place_photo_job(wanted, failed);
    exception when unique_violation then
        perform private.fail('idempotency_key_reused', 'client_key');
    end;
end
$$;
comment on function public.retry_photo_job(uuid, text) is
'Owner: tries the photos of a finished job again that failed or were given back, as a job of their own at the price of '
'now; once for each job, repeated calls answer that one. Errors: photo_job_not_found, state_changed (it is not over), '
'nothing_to_retry (nothing failed, or the pictures are no longer kept), insufficient_credits, credits_owed, '
'invalid_photo_job, idempotency_key_reused.';
grant execute on function public.retry_photo_job(uuid, text) to authenticated;

create function public.photo_queue_position(job_id uuid) returns bigint
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    first_photo public.photo_job_items;
begin
    if not exists (
        select from public.photo_jobs as j
        where j.id = photo_queue_position.job_id and (j.user_id = member or private.is_admin())
    ) then
        perform private.fail('photo_job_not_found');
    end if;
    select * into first_photo from public.photo_job_items as i
    where i.job_id = photo_queue_position.job_id and i.status = 'queued'
    order by i.position
    limit 1;
    if first_photo.id is null then
        return 0;
    end if;
    return 1 + (
        select count(*) from public.photo_job_items as i
        where
            i.status = 'queued'
            and (i.queued_at, i.job_id, i.position)
            < (first_photo.queued_at, first_photo.job_id, first_photo.position)
    );
end
$$;
comment on function public.photo_queue_position(uuid) is
'Place of a job''s next photo among all that wait, from 1; 0: none of it waits. Error: photo_job_not_found.';
grant execute on function public.photo_queue_position(uuid) to authenticated;

create function public.photo_job_statement(job_id uuid)
returns table (
    lot_id uuid, category text, expires_at timestamptz, funded_cents bigint, consumed_cents bigint,
    returned_cents bigint, held_cents bigint, expired_cents bigint
)
language plpgsql
stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    member uuid := private.require_member();
begin
    if not exists (
        select from public.photo_jobs as j
        where j.id = photo_job_statement.job_id and (j.user_id = member or private.is_admin())
    ) then
        perform private.fail('photo_job_not_found');
    end if;
    return query
    select
        l.id, l.category, l.expires_at, s.funded, s.consumed, s.returned, s.funded - s.consumed - s.returned,
        -- Of what came back no more than this can have ended since.
        least(s.returned, l.expired_cents)
    from (
        select
            u.id, sum(u.cents)::bigint as funded,
            coalesce(sum(u.cents) filter (where i.status = 'succeeded'), 0)::bigint as consumed,
            coalesce(sum(u.cents) filter (where i.status in ('failed', 'returned')), 0)::bigint as returned
        from public.photo_job_items as i
        cross join unnest(i.lot_ids, i.lot_cents) as u (id, cents)
        where i.job_id = photo_job_statement.job_id
        group by u.id
    ) as s
    inner join public.credit_lots as l on l.id = s.id
    order by l.expires_at nulls last, private.credit_priority(l.category), l.created_at, l.id;
end
$$;
comment on function public.photo_job_statement(uuid) is
'What a job did with the credits of each lot, cents: funded it, consumed by delivered photos, returned, still held; '
'expired is what of the returned has ended since, at most. Owner and admins. Error: photo_job_not_found.';
grant execute on function public.photo_job_statement(uuid) to authenticated;

create function public.create_demo_job(prompt text, media_ids uuid[], group_name text default null)
returns public.photo_jobs
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    wanted public.photo_jobs;
    made public.photo_jobs;
begin
    wanted.user_id := (select p.id from public.profiles as p where private.is_platform(p.id));
    wanted.prompt := private.tidy_body(create_demo_job.prompt);
    wanted.group_name := nullif(private.tidy_body(create_demo_job.group_name), '');
    wanted.photo_count := cardinality(create_demo_job.media_ids);
    wanted.cost_cents := 0;
    if coalesce(char_length(wanted.prompt), 0) not between 1 and 2000 or coalesce(wanted.photo_count, 0) = 0
        or wanted.photo_count > (select s.photos_per_job from private.settings as s)
        or char_length(wanted.group_name) > 140
    then
        perform private.fail('invalid_photo_job');
    elsif (
        select count(*) from public.media as m
        where
            m.id = any (create_demo_job.media_ids) and m.owner_id = admin and m.purpose = 'photo_input'
            and m.status = 'ready'
    ) <> wanted.photo_count then
        perform private.fail('media_not_ready');
    end if;
    made := private.place_photo_job(wanted, create_demo_job.media_ids);
    perform private.audit('create_demo_job', 'photo_job', made.id, '{}');
    return made;
end
$$;
comment on function public.create_demo_job(text, uuid[], text) is
'Admins: a job of the platform''s own from pictures the admin uploaded, at no cost and for everybody signed in to see. '
'Audited. Errors: invalid_photo_job, media_not_ready.';
grant execute on function public.create_demo_job(text, uuid[], text) to authenticated;

-- What the workers ask.

create function private.claim_photos(provider text, max_rows integer)
returns table (
    attempt_id uuid, owner_id uuid, prompt text, bucket text, path text, deadline_at timestamptz
)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
begin
    -- The input may have been deleted while it waited.
    perform private.fail_photo(g.id, 'input_gone')
    from (
        select i.id from public.photo_job_items as i
        inner join public.photo_jobs as j on j.id = i.job_id
        where i.status = 'queued' and i.input_media_id is null
        order by j.user_id, i.id
    ) as g;
    return query
    with claimed as (
        update public.photo_job_items as i set
            status = 'sent', sent_at = coalesce(i.sent_at, now()), attempts_count = i.attempts_count + 1
        where i.id in (
            select q.id from public.photo_job_items as q
            where q.status = 'queued' and q.available_at <= now() and q.input_media_id is not null
            order by q.queued_at, q.job_id, q.position
            limit max_rows
            for no key update skip locked
        )
        returning i.*
    ),

    attempts as (
        insert into private.photo_attempts (item_id, no, provider, deadline_at)
        select c.id, c.attempts_count, claim_photos.provider, c.sent_at + s.photo_deadline
        from claimed as c
        cross join private.settings as s
        returning id, item_id, deadline_at
    )

    select a.id, j.user_id, j.prompt, m.bucket, m.derivatives -> 'full' ->> 'path', a.deadline_at
    from attempts as a
    inner join claimed as c on c.id = a.item_id
    inner join public.photo_jobs as j on j.id = c.job_id
    inner join public.media as m on m.id = c.input_media_id
    order by c.queued_at, c.job_id, c.position;
end
$$;
comment on function private.claim_photos(text, integer) is
'Takes photos that wait, those that wait longest first, and writes down an attempt for each: only then is the provider '
'asked. Whoever dies now leaves an attempt that photos_to_check() finds.';
grant execute on function private.claim_photos(text, integer) to avenue_worker;

create function private.fail_photo(item_id uuid, failure text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    owner uuid;
    photo public.photo_job_items;
begin
    select j.user_id into owner
    from public.photo_job_items as i
    inner join public.photo_jobs as j on j.id = i.job_id
    where i.id = fail_photo.item_id;
    if not private.is_platform(owner) then
        perform private.lock_credits(owner);
    end if;
    update public.photo_job_items as i set
        status = 'failed', failure = fail_photo.failure, finished_at = now()
    where i.id = fail_photo.item_id and i.status in ('queued', 'sent', 'unknown')
    returning * into photo;
    if photo.id is not null then
        perform private.end_hold(
            owner, photo.lot_ids, photo.lot_cents, 'failed', 'photo:' || photo.id || ':settled', photo.id
        );
    end if;
end
$$;
comment on function private.fail_photo(uuid, text) is 'Ends an open photo without a picture: its credits are back.';

create function private.photo_sent(attempt_id uuid, provider_ref text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt private.photo_attempts;
begin
    update private.photo_attempts as a set
        provider_ref = coalesce(a.provider_ref, photo_sent.provider_ref), checked_at = now()
    where a.id = photo_sent.attempt_id
    returning * into attempt;
    update public.photo_job_items as i set status = 'sent'
    where i.id = attempt.item_id and i.attempts_count = attempt.no and i.status = 'unknown';
end
$$;
comment on function private.photo_sent(uuid, text) is 'The provider has this attempt, under this name.';
grant execute on function private.photo_sent(uuid, text) to avenue_worker;

create function private.photo_unknown(attempt_id uuid, detail text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt private.photo_attempts;
begin
    update private.photo_attempts as a set detail = left(photo_unknown.detail, 500), checked_at = now()
    where a.id = photo_unknown.attempt_id and a.ended_at is null
    returning * into attempt;
    update public.photo_job_items as i set status = 'unknown'
    where i.id = attempt.item_id and i.attempts_count = attempt.no and i.status = 'sent';
end
$$;
comment on function private.photo_unknown(uuid, text) is
'The provider did not answer, and may have it or not. Nothing is given back.';
grant execute on function private.photo_unknown(uuid, text) to avenue_worker;

create function private.photo_not_sent(attempt_id uuid, detail text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    attempt private.photo_attempts;
begin
    select * into attempt from private.photo_attempts as a where a.id = photo_not_sent.attempt_id;
    perform from public.photo_job_items as i where i.id = attempt.item_id for no key update;
    update private.photo_attempts as a set
        verdict = 'not_sent', detail = left(photo_not_sent.detail, 500), ended_at = now()
    where a.id = attempt.id and a.ended_at is null and a.provider_ref is null;
    if found then
        -- Longer each time, up to an hour; the deadline still counts from the first.
        update public.photo_job_items as i set
            status = 'queued', available_at = now() + least(
                interval '5 seconds' * 2 ^ least(i.attempts_count, 12), interval '1 hour'
            )
        where i.id = attempt.item_id and i.attempts_count = attempt.no and i.status in ('sent', 'unknown');
    end if;
end
$$;
comment on function private.photo_not_sent(uuid, text) is
'The provider surely does not have this attempt: the photo waits again.';
grant execute on function private.photo_not_sent(uuid, text) to avenue_worker;

create function private.settle_photo(
    attempt_id uuid, verdict text, media_id uuid default null, code text default null, detail text default null,
    cost_micros bigint default null, provider_ref text default null
) returns text
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    attempt private.photo_attempts;
    owner uuid;
    photo public.photo_job_items;
begin
    if settle_photo.verdict not in ('succeeded', 'failed')
        or (settle_photo.verdict = 'succeeded') <> (settle_photo.media_id is not null)
    then
        perform private.fail('event_rejected', 'verdict');
    end if;
    select j.user_id, a.item_id, a.no into owner, attempt.item_id, attempt.no
    from private.photo_attempts as a
    inner join public.photo_job_items as i on i.id = a.item_id
    inner join public.photo_jobs as j on j.id = i.job_id
    where a.id = settle_photo.attempt_id;
    if owner is null then
        perform private.fail('event_rejected', 'attempt ' || settle_photo.attempt_id);
    end if;
    if not private.is_platform(owner) then
        perform private.lock_credits(owner);
    end if;
    update public.photo_job_items as i set
        status = settle_photo.verdict::public.photo_status, result_media_id = settle_photo.media_id,
        failure = case when settle_photo.verdict = 'failed' then coalesce(settle_photo.code, 'provider_failed') end,
        finished_at = now()
    where
        i.id = attempt.item_id and i.attempts_count = attempt.no and i.status in ('sent', 'unknown')
    returning * into photo;
    -- Whoever comes second, or with the answer of an earlier attempt, changes nothing but what is known of it.
    update private.photo_attempts as a set
        verdict = coalesce(a.verdict, settle_photo.verdict), code = coalesce(a.code, settle_photo.code),
        detail = coalesce(a.detail, left(settle_photo.detail, 500)),
        cost_micros = coalesce(a.cost_micros, settle_photo.cost_micros),
        provider_ref = coalesce(a.provider_ref, settle_photo.provider_ref), ended_at = coalesce(a.ended_at, now()),
        is_late = a.is_late or photo.id is null and a.verdict is distinct from settle_photo.verdict
    where a.id = settle_photo.attempt_id;
    if photo.id is null then
        -- Nobody's: it goes with the next sweep.
        update public.media as m set expires_at = now() where m.id = settle_photo.media_id;
        return (select i.status::text from public.photo_job_items as i where i.id = attempt.item_id);
    end if;
    if photo.status = 'succeeded' then
        update public.media as m set expires_at = now() + s.photo_result_kept
        from private.settings as s
        where m.id = photo.result_media_id;
    end if;
    perform private.end_hold(
        owner, photo.lot_ids, photo.lot_cents, photo.status::text, 'photo:' || photo.id || ':settled', photo.id
    );
    return 'settled';
end
$$;
comment on function private.settle_photo(uuid, text, uuid, text, text, bigint, text) is
'A definitive verdict about an attempt: succeeded with the stored picture, or failed with a stable code; what the '
'provider takes for it, millionths of a dollar. settled: it decided the photo, once; else what the photo is: the '
'picture is not wanted, delete it. Error: event_rejected.';
grant execute on function private.settle_photo(uuid, text, uuid, text, text, bigint, text) to avenue_worker;

create function private.photos_to_check(max_rows integer)
returns table (attempt_id uuid, owner_id uuid, provider text, provider_ref text, created_at timestamptz)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
begin
    return query
    with due as (
        update private.photo_attempts as a set checked_at = now()
        where a.id in (
            select o.id from private.photo_attempts as o
            -- The first moments belong to whoever is just sending it, and to the provider to know of it.
            where
                o.ended_at is null
                -- Somebody who has not said what it cost a day after its end will not.
                and o.deadline_at > now() - interval '1 day'
                and o.checked_at < now() - case
                    when o.provider_ref is null then interval '2 minutes' else interval '50 seconds'
                end
            order by o.checked_at
            limit max_rows
            for no key update skip locked
        )
        returning a.*
    )

    select d.id, j.user_id, d.provider, d.provider_ref, d.created_at
    from due as d
    inner join public.photo_job_items as i on i.id = d.item_id
    inner join public.photo_jobs as j on j.id = i.job_id
    order by d.created_at;
end
$$;
comment on function private.photos_to_check(integer) is
'Attempts without a verdict that the provider should be asked about, each at most once a minute, for a day '
'also after their photo''s deadline, for what they cost; those asked about longest ago first.';
grant execute on function private.photos_to_check(integer) to avenue_worker;

create function private.photo_attempt(attempt_id uuid)
returns table (attempt_id uuid, owner_id uuid, provider text, provider_ref text, is_open boolean)
language sql
stable
security definer
set search_path = ''
as $$
    select a.id, j.user_id, a.provider, a.provider_ref, a.ended_at is null
    from private.photo_attempts as a
    inner join public.photo_job_items as i on i.id = a.item_id
    inner join public.photo_jobs as j on j.id = i.job_id
    where a.id = photo_attempt.attempt_id
$$;
comment on function private.photo_attempt(uuid) is 'One attempt, as photos_to_check() says it; none if there is none.';
grant execute on function private.photo_attempt(uuid) to avenue_worker;

create function private.photo_delivered(attempt_id uuid, provider_ref text) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (select from private.photo_attempts as a where a.id = photo_delivered.attempt_id) then
        return false;
    end if;
    perform private.photo_sent(photo_delivered.attempt_id, photo_delivered.provider_ref);
    perform private.enqueue(
        'check_photo', jsonb_build_object('attempt_id', photo_delivered.attempt_id), null,
        'photo:' || photo_delivered.attempt_id, 'slow'
    );
    return true;
end
$$;
comment on function private.photo_delivered(uuid, text) is
'The provider has told of this attempt: a job reads how it stands, whatever was told. False: it is none of ours.';
grant execute on function private.photo_delivered(uuid, text) to avenue_worker;

create function private.expire_photos(max_rows integer)
returns table (item_id uuid, job_id uuid)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    late public.photo_job_items;
begin
    for late in
        -- By whose they are: their credits are locked one after the other.
        select (d.photo).*
        from (
            select i as photo, j.user_id
            from public.photo_job_items as i
            inner join public.photo_jobs as j on j.id = i.job_id
            where
                i.status in ('queued', 'sent', 'unknown')
                and i.sent_at < now() - (select s.photo_deadline from private.settings as s)
            order by i.sent_at
            limit max_rows
        ) as d
        order by d.user_id, (d.photo).id
    loop
        perform private.fail_photo(late.id, 'timed_out');
        if exists (
            select from public.photo_job_items as i where i.id = late.id and i.failure = 'timed_out'
        ) then
            update private.photo_attempts as a set verdict = 'timed_out', code = 'timed_out'
            where a.item_id = late.id and a.verdict is null;
            perform private.audit('photo_timed_out', 'photo_job', late.job_id, jsonb_build_object(
                'item_id', late.id
            ), 'deadline');
            item_id := late.id;
            job_id := late.job_id;
            return next;
        end if;
    end loop;
end
$$;
comment on function private.expire_photos(integer) is
'Photos whose deadline passed without a verdict: the customer has the credits back, audit_log has an entry, and the '
'worker raises an alarm. A later answer is only noted.';
grant execute on function private.expire_photos(integer) to avenue_worker;

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('photo_job', 'public.photo_jobs', 'user_id', '/studio/{id}', '{}');

insert into private.notification_types (type, title, message, link_template, collapse, email, can_switch_off) values
('photo_job_completed', 'Photos ready', 'A photo job is done.', null, null, 'digest', true),
('photo_job_failed', 'Photo job failed', 'None of a job''s photos could be made; your credits are back.', null, null,
    'immediate', false),
('photo_job_expiring', 'Photos will be deleted', 'The results of a photo job are kept for one more week.', null, null,
    'immediate', false);

create function private.erase_photo_jobs(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.return_photos(j.id)
    from public.photo_jobs as j
    where j.user_id = erase_photo_jobs.user_id and j.status in ('pending', 'processing');
    update public.photo_jobs as j set prompt = null, group_name = null, client_key = null
    where j.user_id = erase_photo_jobs.user_id;
end
$$;
comment on function private.erase_photo_jobs(uuid) is
'Account deletion: what was not sent is given back, and nothing of the jobs stays but what they cost.';

insert into private.erasure_steps (step, phase, erases, statement) values
('photo_jobs', 'payments',
    '{public.photo_jobs.prompt, public.photo_jobs.group_name, public.photo_jobs.client_key}',
    'select private.erase_photo_jobs($1)');

insert into private.personal_data (section, relation, condition, stays, reason) values
('photo_jobs', 'public.photo_jobs', 't.user_id = $1', '{user_id}', 'the books: who paid for what'),
('photo_job_items', 'public.photo_job_items',
    't.job_id in (select j.id from public.photo_jobs as j where j.user_id = $1)', '{}', null),
('photo_attempts', 'private.photo_attempts', null, '{provider, provider_ref, verdict, code, detail}',
    'who was paid for a photo and what came of it; names nobody');

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_photo_job', 'PT400', 'A photo job is not like that.', 'The detail names the argument and what it may be.'),
('too_many_photos', 'PT400', 'These are too many photos.', 'The detail says how many a job, or an account, may have.'),
('media_not_ready', 'PT409', 'A picture cannot be used.',
'It is not the caller''s, is still being looked at, was refused, or is no longer kept. The detail says which.'),
('photo_job_not_found', 'PT404', 'There is no such photo job.', 'It does not exist or belongs to somebody else.'),
('nothing_to_retry', 'PT409', 'There is nothing to try again.',
'No photo of the job failed, or its pictures are no longer kept.');
