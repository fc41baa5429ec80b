-- Taking content down and putting it back, and the list of what waits for a decision.

create type public.moderation_level as enum ('group', 'platform');
comment on type public.moderation_level is
'Who took it down: the moderators of its group or the platform''s admins. What the platform took down only the '
'platform puts back.';

create table public.hidden_content (
    target_type text not null,
    target_id uuid not null,
    level public.moderation_level not null,
    group_id uuid,
    rank public.group_role,
    reason text not null,
    created_at timestamptz not null default now(),
    constraint hidden_content_pkey primary key (target_type, target_id),
    constraint hidden_content_target_type_fkey foreign key (target_type) references private.kinds (kind),
    constraint hidden_content_group_id_fkey foreign key (group_id) references public.groups (id) on delete cascade,
    constraint hidden_content_reason_check check (private.is_reason(reason))
);

create index hidden_content_created_at_idx on public.hidden_content (created_at desc, target_id desc);
create index hidden_content_group_id_created_at_idx
on public.hidden_content (group_id, created_at desc, target_id desc);

-- What a client that breaks it by hide_content() is told, see error_catalog().
comment on constraint hidden_content_reason_check on public.hidden_content is
'reason_required: A reason has 1 to 500 characters.';

comment on table public.hidden_content is
'What is taken down and at which level; written by hide_content() and restore_content(). Admins read all, moderators '
'of a group what was taken down in it, perhaps their own: who decided is in audit_log only.';
comment on column public.hidden_content.target_type is 'Kind of what is hidden.';
comment on column public.hidden_content.target_id is 'Its id.';
comment on column public.hidden_content.level is 'Who may put it back.';
comment on column public.hidden_content.group_id is 'The group it was written in, if any.';
comment on column public.hidden_content.rank is
'Role in the group of who took it down: an author of lower role does not put it back. Null at the level platform.';
comment on column public.hidden_content.reason is 'Told to the author, at most 500 characters.';

create function private.moderate(
    target_type text, target_id uuid, hide boolean, reason text, readable boolean
) returns void
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
    caller uuid := private.require_member();
    place private.content_place;
    level public.moderation_level;
    acting public.group_role;
    hidden boolean;
    held public.hidden_content;
begin
    select * into place from private.dispatch_place(moderate.target_type, array[moderate.target_id]);
    if place.author_id is not null then
        if private.is_admin() then
            perform private.require_rank_over(place.author_id);
            level := 'platform';
        elsif place.group_id is not null and (place.author_id = caller or private.can_see(place.author_id)) then
            acting := private.group_role(place.group_id);
            if acting >= 'moderator' then
                level := 'group';
            end if;
        end if;
    end if;
    if level is not null then
        -- Who decides about it at the same time waits here.
        select s.is_hidden into hidden
        from private.dispatch_lock(moderate.target_type, array[moderate.target_id]) as s;
    end if;
    if level is null or hidden is null then
        perform private.fail(
            case when level is null and readable then 'moderators_only' else 'content_not_found' end,
            moderate.target_id::text
        );
    end if;
    if level = 'group' and place.author_id <> caller then
        perform private.require_group_rank_over(place.group_id, place.author_id);
    end if;
    select * into held from public.hidden_content as h
    where h.target_type = moderate.target_type and h.target_id = moderate.target_id;

    if hide then
        -- Hiding again changes the reason; nobody takes the decision of a higher rank over.
        if level = 'group' and (held.level = 'platform' or held.rank > acting or hidden and held.level is null) then
            return;
        end if;
        if held.level = level and held.reason = private.tidy_body(moderate.reason) and hidden then
            return;
        end if;
        insert into public.hidden_content as h (target_type, target_id, level, group_id, rank, reason)
        values (
            moderate.target_type, moderate.target_id, level, place.group_id, acting,
            coalesce(private.tidy_body(moderate.reason), '')
        )
        on conflict on constraint hidden_content_pkey do update set
            level = excluded.level, rank = excluded.rank, reason = excluded.reason, created_at = now();
        perform private.dispatch_hide(moderate.target_type, array[moderate.target_id], private.tidy_body(moderate.reason));
    else
        -- What is hidden without being held was rejected by the group, which may think again.
        if level = 'group' and held.level = 'platform' then
            perform private.fail('hidden_by_platform', moderate.target_id::text);
        elsif place.author_id = caller and held.rank > acting then
            perform private.fail('group_role_too_low', 'needs ' || held.rank);
        end if;
        delete from public.hidden_content as h
        where h.target_type = moderate.target_type and h.target_id = moderate.target_id;
        if not hidden then
            return;
        end if;
        perform private.dispatch_hide(moderate.target_type, array[moderate.target_id], null);
    end if;
    perform private.audit(
        case when hide then 'hide_content' else 'restore_content' end, moderate.target_type, moderate.target_id,
        jsonb_build_object(
            'reason', case when hide then private.tidy_body(moderate.reason) else held.reason end, 'level', level,
            'group_id', place.group_id, 'author_id', place.author_id
        )
    );
end
$$;
comment on function private.moderate(text, uuid, boolean, text, boolean) is
'Second half of hide_content() and restore_content(), which asked whether the caller can read the target at all.';
grant execute on function private.moderate(text, uuid, boolean, text, boolean) to authenticated;

create function public.hide_content(target_type text, target_id uuid, reason text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.require_member();
    perform private.require_hook(hide_content.target_type, 'hide');
    perform private.moderate(
        hide_content.target_type, hide_content.target_id, true, hide_content.reason,
        exists (select from private.dispatch_can_read(hide_content.target_type, array[hide_content.target_id]))
    );
end
$$;
comment on function public.hide_content(text, uuid, text) is
'Takes down a post, comment, article, product or artwork with a reason (1 to 500 characters, told to its author): '
'platform admins anywhere (content of other admins: super admins), moderators, admins and owners of a group posts and '
'comments in it by people of lower role and their own. Hiding again changes the reason. Fails with content_not_found, '
'moderators_only, group_role_too_low, super_admin_only or cannot_be_hidden (people are banned instead). Audited.';
grant execute on function public.hide_content(text, uuid, text) to authenticated;

create function public.restore_content(target_type text, target_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform private.require_member();
    perform private.require_hook(restore_content.target_type, 'hide');
    perform private.moderate(
        restore_content.target_type, restore_content.target_id, false, null,
        exists (select from private.dispatch_can_read(restore_content.target_type, array[restore_content.target_id]))
    );
end
$$;
comment on function public.restore_content(text, uuid) is
'Puts back what hide_content() took down. Moderators of a group cannot put back what platform admins took down '
'(hidden_by_platform), nor their own what somebody of higher role took down (group_role_too_low). What is not hidden '
'stays as it is. Audited.';
grant execute on function public.restore_content(text, uuid) to authenticated;

create function public.moderation_queue(
    after_created_at timestamptz default null, after_id uuid default null, max_rows integer default 20
)
returns table (
    report_id uuid, target_type text, target_id uuid, author_id uuid, first_reported_at timestamptz,
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
    limit private.page_size(max_rows);
end
$$;
comment on function public.moderation_queue(timestamptz, uuid, integer) is
'Admins: what waits for a decision, one row per target, longest waiting first, 1 to 100 rows (default 20). The next '
'page starts after the last row''s first_reported_at and report_id. report_id is the target''s first open report, with '
'the copy of the content taken for it.';
grant execute on function public.moderation_queue(timestamptz, uuid, integer) to authenticated;

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of reason on public.hidden_content
for each row execute function private.tidy_texts('reason body required');

alter table public.hidden_content enable row level security;
grant select on public.hidden_content to authenticated, service_role;
create policy hidden_content_select on public.hidden_content for select to authenticated
using (group_id = any(array(select private.my_group_ids('moderator'))) or (select private.is_admin()));

insert into private.personal_data (section, relation, condition, stays, reason) values
('hidden_content', 'public.hidden_content',
    null, '{target_id, reason}', 'what moderators decided and why; the id of erased content leads nowhere');

insert into private.error_codes (code, sqlstate, message, description) values
('cannot_be_hidden', 'PT400', 'This cannot be hidden.',
'Posts, comments, articles and what is in the shop can, by the word of their kind; the detail is the word given. '
'People are banned instead: ban_user().'),
('moderators_only', 'PT403', 'Only moderators can do this.',
'The caller is neither a platform admin nor a moderator, admin or owner of the group it was written in.'),
('hidden_by_platform', 'PT403', 'The platform took this down.',
'Moderators of a group put back only what the group took down. A platform admin decides.');
