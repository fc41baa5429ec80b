-- Moderation.
-- Reports, what is taken down and put back, and who is told.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/90_admin/20_reports.sql -----------------------------------------------------------------------------------------
-- Reports of what breaks the rules, what admins decided on them, and who reports in bad faith.

create type public.content_type as enum ('post', 'comment', 'profile', 'group', 'item', 'article', 'message');
comment on type public.content_type is 'What can be reported; all but profiles and messages can be hidden too.';

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
    target_type public.content_type not null,
    target_id uuid not null,
    reason public.report_reason not null,
    details text,
    state public.report_state not null default 'open',
    resolution_note text,
    handled_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint reports_pkey primary key (id),
    constraint reports_reporter_id_fkey foreign key (reporter_id) references public.profiles (id) on delete set null,
    constraint reports_details_check check (char_length(details) between 1 and 2000),
    constraint reports_resolution_note_check check (char_length(resolution_note) between 1 and 2000),
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
comment on column public.reports.handled_at is 'When it was decided.';

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
comment on column public.report_evidence.report_id is 'The report.';
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
comment on column public.report_abuse_tracking.user_id is 'The reporter.';
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

-- SECURITY INVOKER on purpose: the policies of each relation say what the caller may read, and this asks them.
create function private.can_read(target_type public.content_type, target_id uuid) returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    case target_type
        when 'post' then return exists (select from public.posts as p where p.id = target_id);
        when 'comment' then return exists (select from public.comments as c where c.id = target_id);
        when 'profile' then
            -- Many block first and report then: whom they blocked is on their own list.
            return exists (select from public.profiles as p where p.id = target_id and p.deleted_at is null)
            or exists (select from public.user_blocks as b where b.blocked_id = target_id);
        when 'group' then return exists (select from public.groups as g where g.id = target_id);
        when 'item' then return exists (select from public.catalog_items as i where i.id = target_id);
        when 'article' then return exists (select from public.articles as a where a.id = target_id);
        when 'message' then return exists (select from public.messages as m where m.id = target_id);
        else return false;
    end case;
end
$$;
comment on function private.can_read(public.content_type, uuid) is
'Whether the caller could select this row, as the policies of its relation say, or blocked this person.';
grant execute on function private.can_read(public.content_type, uuid) to authenticated;

create type private.reported_content as (author_id uuid, content jsonb);
comment on type private.reported_content is 'What is reported as it is now, and whose it is.';

create function private.content_of(target_type public.content_type, target_id uuid, reader uuid)
returns private.reported_content
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    found_content private.reported_content;
begin
    case target_type
        when 'post' then
            select
                p.user_id,
                to_jsonb(p) - 'search' || jsonb_build_object('poll_options', coalesce((
                    select jsonb_agg(o.option order by o.position) from public.poll_options as o
                    where o.post_id = p.id
                ), '[]'))
            into found_content from public.posts as p where p.id = target_id;
        when 'comment' then
            select c.user_id, to_jsonb(c) into found_content from public.comments as c where c.id = target_id;
        when 'profile' then
            select p.id, to_jsonb(p) into found_content
            from public.profiles as p where p.id = target_id and p.deleted_at is null;
        when 'group' then
            select g.owner_id, to_jsonb(g) - 'search' into found_content
            from public.groups as g where g.id = target_id;
        when 'item' then
            select
                i.seller_id,
                to_jsonb(i) - 'search'
                || coalesce(to_jsonb(p), '{}') || coalesce(to_jsonb(a), '{}')
            into found_content
            from public.catalog_items as i
            left join public.products as p on p.id = i.id
            left join public.artworks as a on a.id = i.id
            where i.id = target_id;
        when 'article' then
            select a.author_id, to_jsonb(a) - 'search' into found_content
            from public.articles as a where a.id = target_id;
        when 'message' then
            select m.sender_id, private.message_evidence(m.id, reader) into found_content
            from public.messages as m where m.id = target_id;
    end case;
    return found_content;
end
$$;
comment on function private.content_of(public.content_type, uuid, uuid) is
'The author and a copy of a row as it is now, whatever the caller may read; nulls when there is none.';

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
    target_type public.content_type, target_id uuid, reason public.report_reason, details text
) returns public.reports
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    caller uuid;
    author uuid := (private.content_of(store_report.target_type, store_report.target_id, auth.uid())).author_id;
    target private.reported_content;
    report public.reports;
begin
    -- Accounts that are just being deleted: wait, then look. Their erasure has then not missed what is written here.
    perform from public.profiles as p where p.id in (auth.uid(), author) order by p.id for key share;
    caller := private.require_reporter();
    target := private.content_of(store_report.target_type, store_report.target_id, caller);
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
            nullif(btrim(store_report.details), '')
        )
        on conflict (reporter_id, target_type, target_id) where state = 'open' do nothing
        returning * into report;
        if report.id is not null then
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
comment on function private.store_report(public.content_type, uuid, public.report_reason, text) is
'Second half of report_content(), which asked whether the caller may read the target: stores the report and a copy.';
grant execute on function private.store_report(public.content_type, uuid, public.report_reason, text) to authenticated;

create function public.report_content(
    target_type public.content_type, target_id uuid, reason public.report_reason, details text default null
) returns public.reports
language plpgsql
set search_path = ''
as $$
begin
    perform private.require_reporter();
    if report_content.reason is null then
        perform private.fail('reason_required');
    end if;
    if private.can_read(report_content.target_type, report_content.target_id) is not true then
        perform private.fail('content_not_found', report_content.target_id::text);
    end if;
    return private.store_report(
        report_content.target_type, report_content.target_id, report_content.reason, report_content.details
    );
end
$$;
comment on function public.report_content(public.content_type, uuid, public.report_reason, text) is
'Reports what the caller can read and is somebody else''s; the report. While it is open, reporting the same again '
'returns it unchanged. Fails with content_not_found, cannot_report_yourself or report_banned (detail: until when).';
grant execute on function public.report_content(public.content_type, uuid, public.report_reason, text)
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
        state = verdict, resolution_note = nullif(btrim(note), ''), handled_at = now()
    where r.id = report.id and r.state = 'open';
    if not found then
        perform private.fail('already_resolved', report.id::text);
    end if;
    with others as (
        update public.reports as r set
            state = verdict, resolution_note = nullif(btrim(note), ''), handled_at = now()
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
        'resolve_report', 'reports', report.id,
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
        'override_report_ban', 'profiles', override_report_ban.user_id,
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
revoke all on public.reports from anon, authenticated, service_role;
grant select on public.reports to authenticated, service_role;
create policy reports_select on public.reports for select to authenticated
using (reporter_id = (select private.member_id()) or (select private.is_admin()));

alter table public.report_evidence enable row level security;
revoke all on public.report_evidence from anon, authenticated, service_role;
grant select on public.report_evidence to authenticated, service_role;
create policy report_evidence_select on public.report_evidence for select to authenticated
using ((select private.is_admin()));

alter table public.report_abuse_tracking enable row level security;
revoke all on public.report_abuse_tracking from anon, authenticated, service_role;
grant select on public.report_abuse_tracking to authenticated, service_role;
create policy report_abuse_tracking_select on public.report_abuse_tracking for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));

insert into private.personal_data (section, relation, condition) values
('reports', 'public.reports', 't.reporter_id = $1'),
('report_abuse', 'public.report_abuse_tracking', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;

insert into private.erasure_steps (step, position, statement) values
('reports', 10, 'select private.erase_reports($1)')
on conflict (step) do update set position = excluded.position, statement = excluded.statement;

insert into private.error_codes (code, sqlstate, message, description) values
('content_not_found', 'PT404', 'This does not exist.',
'Nothing of that kind with that id, or nothing the caller may see.'),
('cannot_report_yourself', 'PT409', 'You cannot report yourself.', 'The profile or content is the caller''s own.'),
('reason_required', 'PT400', 'Please give a reason.', 'Send one of the values of report_reason.'),
('report_banned', 'PT403', 'You may not report anything for now.',
'Too many reports of this account were false. The detail says until when (ISO 8601, UTC), or permanently.'),
('report_not_found', 'PT404', 'This report does not exist.', 'No report with that id.'),
('already_resolved', 'PT409', 'This report was already decided.', 'Another admin was first; read the report again.'),
('invalid_verdict', 'PT400', 'This is no verdict.', 'Send upheld, dismissed or false_report.'),
('own_case', 'PT403', 'Nobody decides about themselves.', 'The report is about the calling admin. Ask another one.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/90_admin/30_moderation.sql --------------------------------------------------------------------------------------
-- Taking content down and putting it back, and the list of what waits for a decision.

create type public.moderation_level as enum ('group', 'platform');
comment on type public.moderation_level is
'Who took it down: the moderators of its group or the platform''s admins. What the platform took down only the '
'platform puts back.';

create table public.hidden_content (
    target_type public.content_type not null,
    target_id uuid not null,
    level public.moderation_level not null,
    group_id uuid,
    hidden_by uuid,
    reason text not null,
    created_at timestamptz not null default now(),
    constraint hidden_content_pkey primary key (target_type, target_id),
    constraint hidden_content_group_id_fkey foreign key (group_id) references public.groups (id) on delete cascade,
    constraint hidden_content_hidden_by_fkey foreign key (hidden_by) references public.profiles (id) on delete set null,
    constraint hidden_content_reason_check check (char_length(btrim(reason)) between 1 and 500)
);

create index hidden_content_hidden_by_idx on public.hidden_content (hidden_by);
create index hidden_content_created_at_idx on public.hidden_content (created_at desc, target_id desc);
create index hidden_content_group_id_created_at_idx
on public.hidden_content (group_id, created_at desc, target_id desc);

comment on table public.hidden_content is
'What is taken down, by whom and at which level; written by hide_content() and restore_content(). Admins read all, '
'moderators of a group what was taken down in it.';
comment on column public.hidden_content.target_type is 'Kind of what is hidden.';
comment on column public.hidden_content.target_id is 'Its id.';
comment on column public.hidden_content.level is 'Who may put it back.';
comment on column public.hidden_content.group_id is 'The group it was written in, if any.';
comment on column public.hidden_content.hidden_by is 'The admin or moderator; null once that account was deleted.';
comment on column public.hidden_content.reason is 'Told to the author, at most 500 characters.';

create type private.content_place as (author_id uuid, group_id uuid);
comment on type private.content_place is 'Whose something is, and in which group it was written.';

create function private.place_of(target_type public.content_type, target_id uuid) returns private.content_place
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    place private.content_place;
begin
    case target_type
        when 'post' then
            select p.user_id, p.group_id into place from public.posts as p where p.id = target_id;
        when 'comment' then
            select c.user_id, p.group_id into place
            from public.comments as c
            left join public.posts as p on p.id = c.post_id
            where c.id = target_id;
        when 'article' then
            select a.author_id, null::uuid into place from public.articles as a where a.id = target_id;
        when 'item' then
            select i.seller_id, null::uuid into place from public.catalog_items as i where i.id = target_id;
        else
            perform private.fail('cannot_be_hidden', target_type::text);
    end case;
    return place;
end
$$;
comment on function private.place_of(public.content_type, uuid) is
'Whose content this is and in which group, whatever the caller may read; nulls when there is none.';

create function private.lock_content(target_type public.content_type, target_id uuid) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    hidden boolean;
begin
    case target_type
        when 'post' then
            select p.is_hidden into hidden from public.posts as p where p.id = target_id for no key update;
        when 'comment' then
            -- What it is about before the comment: who deletes a post takes them in this order.
            perform private.hold_comment_target(c.post_id, c.item_id, c.article_id)
            from public.comments as c where c.id = target_id;
            select c.is_hidden into hidden from public.comments as c where c.id = target_id for no key update;
        when 'article' then
            select a.is_hidden into hidden from public.articles as a where a.id = target_id for no key update;
        when 'item' then
            select not p.is_approved into hidden from public.products as p where p.id = target_id for no key update;
            if hidden is null then
                select a.is_hidden into hidden from public.artworks as a where a.id = target_id for no key update;
            end if;
    end case;
    return hidden;
end
$$;
comment on function private.lock_content(public.content_type, uuid) is
'Locks what is to be hidden or shown and says whether it is hidden; null when it is gone.';

create function private.set_hidden(target_type public.content_type, target_id uuid, reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Plain updates: counters and audiences follow by the triggers of each page.
    case target_type
        when 'post' then
            update public.posts as p set is_hidden = reason is not null, hidden_reason = reason
            where p.id = target_id;
        when 'comment' then
            update public.comments as c set is_hidden = reason is not null, hidden_reason = reason
            where c.id = target_id;
        when 'article' then
            update public.articles as a set is_hidden = reason is not null, hidden_reason = reason
            where a.id = target_id;
        when 'item' then
            update public.artworks as a set is_hidden = reason is not null, hidden_reason = reason
            where a.id = target_id;
            -- Products have had their review all along; this is the same decision.
            if not found then
                perform public.review_product(target_id, reason is null, reason);
            end if;
    end case;
end
$$;
comment on function private.set_hidden(public.content_type, uuid, text) is
'Hides with a reason, or with null shows again.';

create function private.moderate(
    target_type public.content_type, target_id uuid, hide boolean, reason text, readable boolean
) returns void
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    caller uuid := private.require_member();
    place private.content_place := private.place_of(moderate.target_type, moderate.target_id);
    level public.moderation_level;
    hidden boolean;
    held public.hidden_content;
begin
    if place.author_id is not null then
        if private.is_admin() then
            level := 'platform';
        elsif
            place.group_id is not null
            and private.group_role(place.group_id) in ('owner', 'admin', 'moderator')
            and (place.author_id = caller or private.can_see(place.author_id))
        then
            level := 'group';
        end if;
    end if;
    if level is not null then
        -- Who decides about it at the same time waits here.
        hidden := private.lock_content(moderate.target_type, moderate.target_id);
    end if;
    if level is null or hidden is null then
        perform private.fail(
            case when level is null and readable then 'moderators_only' else 'content_not_found' end,
            moderate.target_id::text
        );
    end if;
    select * into held from public.hidden_content as h
    where h.target_type = moderate.target_type and h.target_id = moderate.target_id;

    if hide then
        -- Hiding again changes the reason; a moderator does not take an admin's decision over.
        if level = 'group' and (held.level = 'platform' or hidden and held.level is null) then
            return;
        end if;
        if held.level = level and held.reason = btrim(moderate.reason) and hidden then
            return;
        end if;
        insert into public.hidden_content as h (target_type, target_id, level, group_id, hidden_by, reason)
        values (
            moderate.target_type, moderate.target_id, level, place.group_id, caller,
            coalesce(btrim(moderate.reason), '')
        )
        on conflict on constraint hidden_content_pkey do update set
            level = excluded.level, hidden_by = excluded.hidden_by, reason = excluded.reason, created_at = now();
        perform private.set_hidden(moderate.target_type, moderate.target_id, btrim(moderate.reason));
    else
        -- What is hidden without being held was rejected by the group, which may think again.
        if level = 'group' and held.level = 'platform' then
            perform private.fail('hidden_by_platform', moderate.target_id::text);
        end if;
        delete from public.hidden_content as h
        where h.target_type = moderate.target_type and h.target_id = moderate.target_id;
        if not hidden then
            return;
        end if;
        perform private.set_hidden(moderate.target_type, moderate.target_id, null);
    end if;
    perform private.audit(
        case when hide then 'hide_content' else 'restore_content' end, moderate.target_type::text, moderate.target_id,
        jsonb_build_object(
            'reason', case when hide then btrim(moderate.reason) else held.reason end, 'level', level,
            'group_id', place.group_id, 'author_id', place.author_id
        )
    );
end
$$;
comment on function private.moderate(public.content_type, uuid, boolean, text, boolean) is
'Second half of hide_content() and restore_content(), which asked whether the caller can read the target at all.';
grant execute on function private.moderate(public.content_type, uuid, boolean, text, boolean) to authenticated;

create function public.hide_content(target_type public.content_type, target_id uuid, reason text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.require_member();
    perform private.moderate(
        hide_content.target_type, hide_content.target_id, true, hide_content.reason,
        private.can_read(hide_content.target_type, hide_content.target_id)
    );
end
$$;
comment on function public.hide_content(public.content_type, uuid, text) is
'Takes down a post, comment, article or item with a reason (1 to 500 characters, told to its author): platform admins '
'anywhere, moderators, admins and owners of a group posts and comments in it. Hiding again changes the reason. Fails '
'with content_not_found, moderators_only or cannot_be_hidden (people are banned instead). Audited.';
grant execute on function public.hide_content(public.content_type, uuid, text) to authenticated;

create function public.restore_content(target_type public.content_type, target_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.require_member();
    perform private.moderate(
        restore_content.target_type, restore_content.target_id, false, null,
        private.can_read(restore_content.target_type, restore_content.target_id)
    );
end
$$;
comment on function public.restore_content(public.content_type, uuid) is
'Puts back what hide_content() took down. Moderators of a group cannot put back what platform admins took down '
'(hidden_by_platform). What is not hidden stays as it is. Audited.';
grant execute on function public.restore_content(public.content_type, uuid) to authenticated;

create function public.moderation_queue(
    after_created_at timestamptz default null, after_id uuid default null, max_rows integer default 20
)
returns table (
    report_id uuid, target_type public.content_type, target_id uuid, author_id uuid, first_reported_at timestamptz,
    reports_count bigint, reasons public.report_reason[], is_hidden boolean, content jsonb
)
language plpgsql
stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
begin
    perform private.require_admin();
    return query
    select
        r.id, r.target_type, r.target_id, e.author_id, r.created_at, open.reports_count, open.reasons,
        exists (
            select from public.hidden_content as h
            where h.target_type = r.target_type and h.target_id = r.target_id
        ),
        e.content
    from public.reports as r
    left join public.report_evidence as e on e.report_id = r.id
    cross join lateral (
        select count(*) as reports_count, array_agg(distinct o.reason order by o.reason) as reasons
        from public.reports as o
        where o.state = 'open' and o.target_type = r.target_type and o.target_id = r.target_id
    ) as open
    where
        r.state = 'open'
        and (after_created_at is null or (r.created_at, r.id) > (after_created_at, after_id))
        -- The first open report of each target stands for all of them.
        and not exists (
            select from public.reports as o
            where
                o.state = 'open' and o.target_type = r.target_type and o.target_id = r.target_id
                and (o.created_at, o.id) < (r.created_at, r.id)
        )
    order by r.created_at, r.id
    limit least(greatest(coalesce(max_rows, 20), 1), 100);
end
$$;
comment on function public.moderation_queue(timestamptz, uuid, integer) is
'Admins: what waits for a decision, one row per target, longest waiting first, 1 to 100 rows (default 20). The next '
'page starts after the last row''s first_reported_at and report_id. report_id is the target''s first open report, with '
'the copy of the content taken for it.';
grant execute on function public.moderation_queue(timestamptz, uuid, integer) to authenticated;

alter table public.hidden_content enable row level security;
revoke all on public.hidden_content from anon, authenticated, service_role;
grant select on public.hidden_content to authenticated, service_role;
create policy hidden_content_select on public.hidden_content for select to authenticated
using (group_id = any(array(select private.my_group_ids('moderator'))) or (select private.is_admin()));

insert into private.error_codes (code, sqlstate, message, description) values
('moderators_only', 'PT403', 'Only moderators can do this.',
'The caller is neither a platform admin nor a moderator, admin or owner of the group it was written in.'),
('cannot_be_hidden', 'PT400', 'This cannot be hidden.',
'Posts, comments, articles and items can. People are banned instead: ban_user().'),
('hidden_by_platform', 'PT403', 'The platform took this down.',
'Moderators of a group put back only what the group took down. A platform admin decides.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/90_admin/40_notices.sql -----------------------------------------------------------------------------------------
-- What moderation tells people, by notification and e-mail (65_social/70_notifications). Who decided is not named.

create function private.tell_hidden_content() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    content public.hidden_content := coalesce(new, old);
    author uuid := (private.place_of(content.target_type, content.target_id)).author_id;
begin
    if author is distinct from auth.uid() then
        perform private.notify(
            author,
            case tg_op when 'INSERT' then 'content_hidden' else 'content_restored' end::public.notification_type,
            null,
            case content.target_type
                when 'post' then 'posts' when 'comment' then 'comments' when 'article' then 'articles'
                else 'catalog_items'
            end,
            content.target_id
        );
    end if;
    return null;
end
$$;
comment on function private.tell_hidden_content() is
'Trigger on hidden_content: the author hears that something was taken down or put back. Nobody hears of what is gone.';
create trigger tell after insert or delete on public.hidden_content
for each row execute function private.tell_hidden_content();

create function private.tell_report() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.notify(new.reporter_id, 'report_resolved', null, 'reports', new.id);
    return null;
end
$$;
comment on function private.tell_report() is
'Trigger on reports: the reporter hears that it was decided; of false ones tell_report_abuse() tells.';
create trigger tell after update of state on public.reports
for each row when (old.state = 'open' and new.state in ('upheld', 'dismissed'))
execute function private.tell_report();

create function private.tell_report_abuse() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    was_banned boolean := old.permanent_ban or coalesce(old.report_ban_until > now(), false);
    is_banned boolean := new.permanent_ban or coalesce(new.report_ban_until > now(), false);
    changed boolean := (new.permanent_ban, new.report_ban_until)
        is distinct from (old.permanent_ban, old.report_ban_until);
    type public.notification_type := case
        when is_banned and changed then 'report_ban'
        when new.false_report_count > old.false_report_count then 'report_warning'
        when was_banned and not is_banned then 'report_ban_lifted'
    end::public.notification_type;
begin
    if type is not null then
        perform private.notify(new.user_id, type, null, 'profiles', new.user_id);
    end if;
    return null;
end
$$;
comment on function private.tell_report_abuse() is
'Trigger on report_abuse_tracking: each false report and each change of the ban is told, and mailed at once.';
create trigger tell after update on public.report_abuse_tracking
for each row execute function private.tell_report_abuse();
