-- What moderation tells people, by notification and e-mail (65_social/70_notifications). Who decided is not named.

create function private.tell_hidden_content() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    content public.hidden_content := coalesce(new, old);
    author uuid := (
        select p.author_id from private.dispatch_place(content.target_type, array[content.target_id]) as p
    );
begin
    if author is distinct from auth.uid() then
        perform private.notify(
            author,
            case tg_op when 'INSERT' then 'content_hidden' else 'content_restored' end,
            null, content.target_type, content.target_id
        );
    end if;
    return null;
end
$$;
comment on function private.tell_hidden_content() is
'Trigger on hidden_content: the author hears that something was taken down or put back. Nobody hears of what is gone.';
create trigger tell after insert or delete on public.hidden_content
for each row execute function private.tell_hidden_content();

-- Of false ones tell_report_abuse() tells.
select private.make_tell(
    'report_resolved', 'public.reports', 'update of state', 'new.reporter_id', 'report', 'new.id',
    condition => 'old.state = ''open'' and new.state in (''upheld'', ''dismissed'')'
);

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
    type text := case
        when is_banned and changed then 'report_ban'
        when new.false_report_count > old.false_report_count then 'report_warning'
        when was_banned and not is_banned then 'report_ban_lifted'
    end;
begin
    if type is not null then
        perform private.notify(new.user_id, type, null, 'profile', new.user_id);
    end if;
    return null;
end
$$;
comment on function private.tell_report_abuse() is
'Trigger on report_abuse_tracking: each false report and each change of the ban is told, and mailed at once.';
create trigger tell after update on public.report_abuse_tracking
for each row execute function private.tell_report_abuse();
