-- Reports of what breaks the rules, what admins decided on them, and who reports in bad faith.

create type public.report_reason as enum (
    'spam', 'harassment', 'hate', 'violence', 'sexual_content', 'self_harm', 'fraud', 'copyright', 'impersonation',
    'privacy', 'other'
);
comment on type public.report_reason is 'Why something is reported, as the reporter sees it.';

create type public.report_state as enum ('open', 'upheld', 'dismissed', 'false_report');
comment on type public.report_state is
'upheld: it broke the rules. dismissed: it did not, reported in good faith. false_report: reported to harm, which '
'counts against the reporter.';

create table public.reports (
    id uuid not null default gen_random_uuid(),
    reporter_id uuid default auth.uid(),
    target_type text not null,
    target_id uuid not null,
    reason public.report_reason not null,
    details text,
    state public.report_state not null default 'open',
    resolution_note text,
    handled_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint reports_pkey primary key (id),
    constraint reports_target_type_fkey foreign key (target_type) references private.kinds (kind),
    constraint reports_reporter_id_fkey foreign key (reporter_id) references public.profiles (id) on delete set null,
    constraint reports_details_check check (private.is_note(details)),
    constraint reports_resolution_note_check check (private.is_note(resolution_note)),
    constraint reports_handled_at_check check ((state = 'open') = (handled_at is null))
);

create unique index reports_reporter_id_target_type_target_id_idx
on public.reports (reporter_id, target_type, target_id) where state = 'open';
create index reports_reporter_id_created_at_id_idx on public.reports (reporter_id, created_at desc, id desc);
-- The queue: oldest first, and everything open on one target.
create index reports_created_at_id_idx on public.reports (created_at, id) where state = 'open';
create index reports_target_type_target_id_created_at_id_idx
on public.reports (target_type, target_id, created_at, id) where state = 'open';
create index reports_target_id_idx on public.reports (target_id);

-- What a client that breaks these by report_content() and resolve_report() is told, see error_catalog().
comment on constraint reports_details_check on public.reports is
'invalid_details: The details of a report have at most 2,000 characters.';
comment on constraint reports_resolution_note_check on public.reports is
'invalid_note: The note on a report has at most 2,000 characters.';

comment on table public.reports is
'Reports. Their reporter and admins read; written by report_content() and resolve_report(). No foreign key to the '
'target: a report outlives what it is about.';
comment on column public.reports.reporter_id is 'Who reported; null once that account was deleted.';
comment on column public.reports.target_type is 'Kind of what is reported.';
comment on column public.reports.target_id is 'Its id.';
comment on column public.reports.reason is 'Why, as the reporter sees it.';
comment on column public.reports.details is 'In the reporter''s words, at most 2,000 characters.';
comment on column public.reports.state is 'What admins decided.';
comment on column public.reports.resolution_note is 'What admins tell the reporter, at most 2,000 characters.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of details, resolution_note on public.reports
for each row execute function private.tidy_texts('details body', 'resolution_note body');

create trigger touch_updated_at before update on public.reports
for each row execute function private.touch_updated_at();

-- For admins only, hence not on the reporter's row: what it looked like, whose it is, and which admin decided.
create table public.report_evidence (
    report_id uuid not null,
    author_id uuid not null,
    content jsonb not null,
    handled_by uuid,
    created_at timestamptz not null default now(),
    constraint report_evidence_pkey primary key (report_id),
    constraint report_evidence_report_id_fkey foreign key (report_id) references public.reports (id) on delete cascade,
    constraint report_evidence_handled_by_fkey foreign key (handled_by)
    references public.profiles (id) on delete set null
);

create index report_evidence_author_id_idx on public.report_evidence (author_id);
create index report_evidence_handled_by_idx on public.report_evidence (handled_by);

comment on table public.report_evidence is
'What was reported as it was at that moment, so that it can be judged after an edit or a deletion. Admins only; erased '
'with its author''s account.';
comment on column public.report_evidence.author_id is
'Whose content or account it is. No foreign key: see the erasure.';
comment on column public.report_evidence.content is 'The reported row; for a message those before it too.';
comment on column public.report_evidence.handled_by is 'The admin who decided.';

create table public.report_abuse_tracking (
    user_id uuid not null,
    false_report_count integer not null default 0,
    report_ban_until timestamptz,
    permanent_ban boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint report_abuse_tracking_pkey primary key (user_id),
    constraint report_abuse_tracking_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade,
    constraint report_abuse_tracking_false_report_count_check check (false_report_count >= 0)
);

comment on table public.report_abuse_tracking is
'Who reported in bad faith and may not report for now. The user and admins read; every change is a plain update, which '
'notifications react to.';
comment on column public.report_abuse_tracking.false_report_count is
'Reports judged false: the third and the fourth end reporting for 30 days each, the fifth for good.';
comment on column public.report_abuse_tracking.report_ban_until is
'Until when reporting is refused; null or past: it is not, unless permanent_ban.';
comment on column public.report_abuse_tracking.permanent_ban is 'Reporting is refused for good.';

create trigger touch_updated_at before update on public.report_abuse_tracking
for each row execute function private.touch_updated_at();

create function public.is_report_banned(tracking public.report_abuse_tracking) returns boolean
language sql
stable
set search_path = ''
as $$
    select tracking.permanent_ban or coalesce(tracking.report_ban_until > now(), false)
$$;
comment on function public.is_report_banned(public.report_abuse_tracking) is
'Computed field: whether reporting is refused now. Stored it would go stale when a ban runs out.';
grant execute on function public.is_report_banned(public.report_abuse_tracking) to authenticated, service_role;

create function private.require_reporter() returns uuid
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    tracking public.report_abuse_tracking;
begin
    select * into tracking from public.report_abuse_tracking as t where t.user_id = caller;
    if public.is_report_banned(tracking) then
        perform private.fail(
            'report_banned',
            case
                when tracking.permanent_ban then 'permanently'
                else to_char(tracking.report_ban_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            end
        );
    end if;
    return caller;
end
$$;
comment on function private.require_reporter() is
'The caller''s id, or fails with report_banned, the detail saying until when.';
grant execute on function private.require_reporter() to authenticated;

create function private.store_report(
    target_type text, target_id uuid, reason public.report_reason, details text
) returns public.reports
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    caller uuid;
    author uuid := (
        select e.author_id
        from private.dispatch_evidence(store_report.target_type, array[store_report.target_id], auth.uid()) as e
    );
    target private.reported_content;
    report public.reports;
begin
    -- Accounts that are just being deleted: wait, then look. Their erasure has then not missed what is written here.
    perform from public.profiles as p where p.id in (auth.uid(), author) order by p.id for key share;
    caller := private.require_reporter();
    select * into target
    from private.dispatch_evidence(store_report.target_type, array[store_report.target_id], caller);
    if target.author_id is null or target.content is null then
        perform private.fail('content_not_found', store_report.target_id::text);
    elsif target.author_id = caller then
        perform private.fail('cannot_report_yourself');
    end if;
    -- The second of two at once waits for the first and finds its row, unless an admin decided on it in between.
    loop
        insert into public.reports as r (reporter_id, target_type, target_id, reason, details)
        values (
            caller, store_report.target_type, store_report.target_id, store_report.reason,
            store_report.details
        )
        on conflict (reporter_id, target_type, target_id) where state = 'open' do nothing
        returning * into report;
        if report.id is not null then
            perform private.count_activity('report', 1);
            insert into public.report_evidence (report_id, author_id, content)
            values (report.id, target.author_id, target.content);
            exit;
        end if;
        select * into report from public.reports as r
        where
            r.reporter_id = caller and r.target_type = store_report.target_type
            and r.target_id = store_report.target_id and r.state = 'open';
        exit when report.id is not null;
    end loop;
    return report;
end
$$;
comment on function private.store_report(text, uuid, public.report_reason, text) is
'Second half of report_content(), which asked whether the caller may read the target: stores the report and a copy.';
grant execute on function private.store_report(text, uuid, public.report_reason, text) to authenticated;

create function public.report_content(
    target_type text, target_id uuid, reason public.report_reason, details text default null
) returns public.reports
language plpgsql
set search_path = ''
as $$
begin
    perform private.require_reporter();
    if report_content.reason is null then
        perform private.fail('reason_required');
    end if;
    perform private.require_hook(report_content.target_type, 'evidence');
    if not exists (
        select from private.dispatch_can_read(report_content.target_type, array[report_content.target_id])
    ) then
        perform private.fail('content_not_found', report_content.target_id::text);
    end if;
    return private.store_report(
        report_content.target_type, report_content.target_id, report_content.reason, report_content.details
    );
end
$$;
comment on function public.report_content(text, uuid, public.report_reason, text) is
'Reports what the caller can read and is somebody else''s; the report. While it is open, reporting the same again '
'returns it unchanged. Fails with content_not_found, cannot_report_yourself or report_banned (detail: until when).';
grant execute on function public.report_content(text, uuid, public.report_reason, text)
to authenticated;

create function private.count_false_report(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.report_abuse_tracking as t (user_id) values (count_false_report.user_id)
    on conflict on constraint report_abuse_tracking_pkey do nothing;
    -- The row's lock makes false reports judged at once count one by one.
    update public.report_abuse_tracking as t set
        false_report_count = t.false_report_count + 1,
        report_ban_until = case
            when t.false_report_count + 1 in (3, 4)
                then greatest(t.report_ban_until, now() + make_interval(days => 30))
            else t.report_ban_until
        end,
        permanent_ban = t.permanent_ban or t.false_report_count + 1 >= 5
    where t.user_id = count_false_report.user_id;
end
$$;
comment on function private.count_false_report(uuid) is
'Counts a false report: the third and fourth end reporting for 30 days each, the fifth for good.';

create function public.resolve_report(
    report_id uuid, verdict public.report_state, note text default null, only_this boolean default false
) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    report public.reports;
    together boolean;
    resolved uuid [];
begin
    if verdict is null or verdict = 'open' then
        perform private.fail('invalid_verdict');
    end if;
    select * into report from public.reports as r where r.id = resolve_report.report_id;
    if report.id is null then
        perform private.fail('report_not_found', resolve_report.report_id::text);
    end if;
    if exists (
        select from public.report_evidence as e where e.report_id = report.id and e.author_id = admin
    ) then
        perform private.fail('own_case');
    end if;
    -- What is judged is the content, hence for all who reported it; bad faith is each reporter's own.
    together := verdict <> 'false_report' and not coalesce(only_this, false);

    -- Accounts first, then reports in the order of their ids, as an erasure does: nobody waits in a circle.
    perform from public.profiles as p where p.id in (admin, report.reporter_id) order by p.id for key share;
    perform from public.reports as r
    where
        r.id = report.id
        or together and r.state = 'open' and r.target_type = report.target_type and r.target_id = report.target_id
    order by r.id for update;
    update public.reports as r set
        state = verdict, resolution_note = note, handled_at = now()
    where r.id = report.id and r.state = 'open';
    if not found then
        perform private.fail('already_resolved', report.id::text);
    end if;
    with others as (
        update public.reports as r set
            state = verdict, resolution_note = note, handled_at = now()
        where
            together and r.state = 'open' and r.target_type = report.target_type
            and r.target_id = report.target_id
        returning r.id
    )
    select array_agg(o.id order by o.id) || report.id into resolved from others as o;
    update public.report_evidence as e set handled_by = admin where e.report_id = any(resolved);

    if verdict = 'false_report' and report.reporter_id is not null then
        perform private.count_false_report(report.reporter_id);
    end if;
    perform private.audit(
        'resolve_report', 'report', report.id,
        jsonb_build_object(
            'verdict', verdict, 'note', note, 'target_type', report.target_type, 'target_id', report.target_id,
            'reporter_id', report.reporter_id, 'reports', cardinality(resolved)
        )
    );
    return cardinality(resolved);
end
$$;
comment on function public.resolve_report(uuid, public.report_state, text, boolean) is
'Admins: decides a report: upheld, dismissed or false_report; how many reports were decided. upheld and dismissed hold '
'for every open report of the same target unless only_this; false_report counts against this one''s reporter. The '
'second of two admins gets already_resolved. Nobody judges reports about themselves (own_case). Audited.';
grant execute on function public.resolve_report(uuid, public.report_state, text, boolean) to authenticated;

create function public.override_report_ban(
    user_id uuid,
    ban_until timestamptz default null,
    permanent boolean default false,
    false_reports integer default null,
    note text default null
) returns public.report_abuse_tracking
language plpgsql
security definer
set search_path = ''
as $$
declare
    before public.report_abuse_tracking;
    tracking public.report_abuse_tracking;
begin
    perform private.require_admin();
    perform from public.profiles as p where p.id = override_report_ban.user_id and p.deleted_at is null for key share;
    if not found then
        perform private.fail('user_not_found', override_report_ban.user_id::text);
    end if;
    perform private.require_rank_over(override_report_ban.user_id);
    insert into public.report_abuse_tracking as t (user_id) values (override_report_ban.user_id)
    on conflict on constraint report_abuse_tracking_pkey do nothing;
    select * into before from public.report_abuse_tracking as t
    where t.user_id = override_report_ban.user_id for no key update;
    update public.report_abuse_tracking as t set
        report_ban_until = ban_until, permanent_ban = coalesce(permanent, false),
        false_report_count = coalesce(false_reports, t.false_report_count)
    where t.user_id = override_report_ban.user_id
    returning * into tracking;
    perform private.audit(
        'override_report_ban', 'profile', override_report_ban.user_id,
        jsonb_build_object(
            'note', note, 'before', to_jsonb(before) - 'user_id', 'after', to_jsonb(tracking) - 'user_id'
        )
    );
    return tracking;
end
$$;
comment on function public.override_report_ban(uuid, timestamptz, boolean, integer, text) is
'Admins: sets a user''s report ban as given (until ban_until, permanent, or with neither: none) and, when given, how '
'many false reports count; the row as it is now. Audited.';
grant execute on function public.override_report_ban(uuid, timestamptz, boolean, integer, text) to authenticated;

create function private.erase_reports(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform from public.reports as r
    where
        r.reporter_id = erase_reports.user_id
        or r.state = 'open' and r.id in (
            select e.report_id from public.report_evidence as e where e.author_id = erase_reports.user_id
        )
    order by r.id for update;
    -- What somebody reported may still be true; who said so is gone.
    update public.reports as r set reporter_id = null, details = null where r.reporter_id = erase_reports.user_id;
    -- Reports about them have nobody left to hold to account.
    update public.reports as r set
        state = 'dismissed', handled_at = now(), resolution_note = 'The account does not exist any more.'
    where r.state = 'open' and r.id in (
        select e.report_id from public.report_evidence as e where e.author_id = erase_reports.user_id
    );
    delete from public.report_evidence as e where e.author_id = erase_reports.user_id;
    delete from public.report_abuse_tracking as t where t.user_id = erase_reports.user_id;
end
$$;
comment on function private.erase_reports(uuid) is
'Account deletion: reports by this account lose their reporter and words, open ones about it are closed, copies of its '
'content go.';

alter table public.reports enable row level security;
grant select on public.reports to authenticated, service_role;
create policy reports_select on public.reports for select to authenticated
using (reporter_id = (select private.member_id()) or (select private.is_admin()));

alter table public.report_evidence enable row level security;
grant select on public.report_evidence to authenticated, service_role;
create policy report_evidence_select on public.report_evidence for select to authenticated
using ((select private.is_admin()));

alter table public.report_abuse_tracking enable row level security;
grant select on public.report_abuse_tracking to authenticated, service_role;
create policy report_abuse_tracking_select on public.report_abuse_tracking for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

insert into private.state_moves (relation, state_column, from_state, to_state, meaning) values
('public.reports', 'state', null, 'open', 'report_content()'),
('public.reports', 'state', 'open', 'upheld', 'resolve_report()'),
('public.reports', 'state', 'open', 'dismissed', 'resolve_report(), or the account it is about left'),
('public.reports', 'state', 'open', 'false_report', 'resolve_report()');
select private.build_moves('public.reports', 'state');

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('report', 'public.reports', null, '/reports/{id}', '{}');

insert into private.personal_data (section, relation, condition, stays, reason) values
('reports', 'public.reports',
    't.reporter_id = $1', '{target_id, resolution_note}',
    'what was reported and decided, without whoever reported it'),
('report_evidence', 'public.report_evidence',
    null, '{}', 'copies for a report; the content itself is handed out, the reporter is not'),
('report_abuse', 'public.report_abuse_tracking', 't.user_id = $1', '{}', null);

insert into private.erasure_steps (step, phase, erases, statement) values
('reports', 'standing',
    '{public.reports.reporter_id, public.reports.details, public.report_evidence, public.report_abuse_tracking}',
    'select private.erase_reports($1)');

insert into private.error_codes (code, sqlstate, message, description) values
('cannot_be_reported', 'PT400', 'This cannot be reported.', 'No kind of content by the word in the detail.'),
('content_not_found', 'PT404', 'This does not exist.',
'Nothing of that kind with that id, or nothing the caller may see.'),
('cannot_report_yourself', 'PT409', 'You cannot report yourself.', 'The profile or content is the caller''s own.'),
('report_banned', 'PT403', 'You may not report anything for now.',
'Too many reports of this account were false. The detail says until when (ISO 8601, UTC), or permanently.'),
('report_not_found', 'PT404', 'This report does not exist.', 'No report with that id.'),
('already_resolved', 'PT409', 'This report was already decided.', 'Another admin was first; read the report again.'),
('invalid_verdict', 'PT400', 'This is no verdict.', 'Send upheld, dismissed or false_report.'),
('own_case', 'PT403', 'Nobody decides about themselves.', 'The report is about the calling admin. Ask another one.');
