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
