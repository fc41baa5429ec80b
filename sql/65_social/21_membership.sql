-- Joining, leaving, roles, bans, invitations, and who owns a group when its owner goes.
--
-- Order of locks, everywhere: gates of accounts, gate of the group, rows of members, the group's own row. Who passes a
-- group on, deletes it or expels somebody holds its gate exclusively, everybody else shares it; two who change the same
-- member's row take turns on that row.

create function private.enter_group(group_id uuid, user_id uuid default null, exclusive boolean default false)
returns public.groups
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    entered public.groups;
begin
    perform private.lock_gates('account', array[caller, enter_group.user_id]);
    -- A block of the two ends invitations.
    perform private.lock_gates('pair', array[private.pair(caller, nullif(enter_group.user_id, caller))]);
    if exclusive then
        perform private.lock_gates('group', '{}', array[enter_group.group_id]);
    else
        perform private.lock_gates('group', array[enter_group.group_id]);
    end if;
    -- Waiting may have changed that.
    perform private.require_member();
    select * into entered from public.groups as g
    where
        g.id = enter_group.group_id
        and (
            g.visibility <> 'secret'
            or private.group_role(g.id) is not null
            or g.id in (select private.my_invitations())
            or private.is_admin()
        );
    if entered.id is null then
        perform private.fail('group_not_found', enter_group.group_id::text);
    end if;
    return entered;
end
$$;
comment on function private.enter_group(uuid, uuid, boolean) is
'The group, its gate and those of the caller and the other person entered; fails with group_not_found when there is '
'none the caller may know of.';

create function private.manage_group(
    group_id uuid, minimum public.group_role, action text, user_id uuid default null, exclusive boolean default false
) returns public.group_role
language plpgsql
security definer
set search_path = ''
as $$
declare
    acting public.group_role;
begin
    perform private.enter_group(manage_group.group_id, manage_group.user_id, exclusive);
    acting := private.group_role(manage_group.group_id);
    if acting is null or acting < minimum then
        if not private.is_admin() then
            perform private.fail('group_role_too_low', 'needs ' || minimum);
        end if;
        perform private.audit(
            action, 'group', manage_group.group_id, jsonb_build_object('user_id', manage_group.user_id)
        );
        acting := 'owner'::public.group_role;
    end if;
    return acting;
end
$$;
comment on function private.manage_group(uuid, public.group_role, text, uuid, boolean) is
'Enters a group to manage it: the role the caller acts with. Admins of the platform act like owners, audited. Fails '
'with group_not_found or group_role_too_low.';

create function private.require_group_rank_over(group_id uuid, user_id uuid) returns void
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    acting public.group_role := private.group_role(require_group_rank_over.group_id);
begin
    -- Whoever is no active member ranks like a plain one.
    if acting <= coalesce(
        (
            select m.role from public.group_members as m
            where
                m.group_id = require_group_rank_over.group_id and m.user_id = require_group_rank_over.user_id
                and m.status = 'active'
        ), 'member'
    ) then
        perform private.fail('group_role_too_low', 'acts as ' || acting);
    end if;
end
$$;
comment on function private.require_group_rank_over(uuid, uuid) is
'Members of a group act on people of lower role only; else fails with group_role_too_low. Not asked of platform '
'admins, who are in no group.';

create function private.lock_member(group_id uuid, user_id uuid) returns public.group_members
language plpgsql
security definer
set search_path = ''
as $$
declare
    member public.group_members;
begin
    select * into member from public.group_members as m
    where m.group_id = lock_member.group_id and m.user_id = lock_member.user_id
    for update;
    return member;
end
$$;
comment on function private.lock_member(uuid, uuid) is 'Somebody''s row in the group, locked; null when there is none.';

create function public.join_group(group_id uuid) returns public.group_member_status
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    joined public.groups := private.enter_group(join_group.group_id);
    is_open boolean;
    result public.group_member_status;
begin
    is_open := joined.visibility = 'public' and not joined.join_approval_required
    or joined.id in (select private.my_invitations());
    insert into public.group_members as m (group_id, user_id, status, joined_at)
    values (joined.id, caller, case when is_open then 'active' else 'pending' end::public.group_member_status,
        case when is_open then now() end)
    on conflict on constraint group_members_pkey do update set status = 'active', joined_at = now()
    where m.status = 'pending' and is_open
    returning m.status into result;
    if result is null then
        result := (private.lock_member(joined.id, caller)).status;
    end if;
    if result = 'banned' then
        perform private.fail('banned_from_group', joined.id::text);
    elsif result = 'active' then
        delete from public.group_invitations as i where i.group_id = joined.id and i.user_id = caller;
    end if;
    return result;
end
$$;
comment on function public.join_group(uuid) is
'Joins a group or asks to: active when it is open or one was invited, else pending until a moderator approves. Calling '
'again changes nothing. Fails with group_not_found or banned_from_group.';
grant execute on function public.join_group(uuid) to authenticated;

create function public.leave_group(group_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    perform private.enter_group(leave_group.group_id);
    if private.group_role(leave_group.group_id) = 'owner' then
        perform private.fail('owner_must_transfer', leave_group.group_id::text);
    end if;
    delete from public.group_members as m
    where m.group_id = leave_group.group_id and m.user_id = caller and m.status <> 'banned';
    delete from public.group_invitations as i
    where i.group_id = leave_group.group_id and i.invited_by = caller;
end
$$;
comment on function public.leave_group(uuid) is
'Leaves a group, or withdraws the request to join. Not being in it is no error; the owner transfers or deletes it '
'first (owner_must_transfer).';
grant execute on function public.leave_group(uuid) to authenticated;

create function public.approve_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    member public.group_members;
begin
    perform private.manage_group(
        approve_member.group_id, 'moderator', 'approve_group_member', approve_member.user_id
    );
    member := private.lock_member(approve_member.group_id, approve_member.user_id);
    if member.status is null or member.status = 'banned' or not private.can_see(member.user_id) then
        perform private.fail('member_not_found', approve_member.user_id::text);
    elsif member.status = 'pending' then
        update public.group_members as m set status = 'active', joined_at = now()
        where m.group_id = member.group_id and m.user_id = member.user_id;
        delete from public.group_invitations as i
        where i.group_id = member.group_id and i.user_id = member.user_id;
    end if;
end
$$;
comment on function public.approve_member(uuid, uuid) is
'Moderators of the group: admits somebody who asked to join. Approving a member again changes nothing; without a '
'request it fails with member_not_found.';
grant execute on function public.approve_member(uuid, uuid) to authenticated;

create function public.reject_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.manage_group(reject_member.group_id, 'moderator', 'reject_group_member', reject_member.user_id);
    delete from public.group_members as m
    where m.group_id = reject_member.group_id and m.user_id = reject_member.user_id and m.status = 'pending';
end
$$;
comment on function public.reject_member(uuid, uuid) is
'Moderators of the group: turns down a request to join, who asked may ask again. Without a request nothing happens.';
grant execute on function public.reject_member(uuid, uuid) to authenticated;

create function public.set_member_role(group_id uuid, user_id uuid, role public.group_role) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    acting public.group_role := private.manage_group(
        set_member_role.group_id, 'admin', 'set_group_member_role', set_member_role.user_id
    );
    member public.group_members := private.lock_member(set_member_role.group_id, set_member_role.user_id);
begin
    if member.status is distinct from 'active' or not private.can_see(member.user_id) then
        perform private.fail('member_not_found', set_member_role.user_id::text);
    elsif set_member_role.role is null or set_member_role.role >= acting or member.role >= acting then
        perform private.fail('group_role_too_low', 'acts as ' || acting);
    end if;
    update public.group_members as m set role = set_member_role.role
    where m.group_id = member.group_id and m.user_id = member.user_id and m.role <> set_member_role.role;
end
$$;
comment on function public.set_member_role(uuid, uuid, public.group_role) is
'Admins of the group appoint moderators, the owner also admins: nobody gives a role that is not below their own, nor '
'touches who is not below them (group_role_too_low). Owners change by transfer_group().';
grant execute on function public.set_member_role(uuid, uuid, public.group_role) to authenticated;

-- Both answer alike whether or not the person exists, is visible to the caller or is in the group: a troll who blocks
-- the moderators must not escape them, and they must learn nothing of it.
create function private.expel_member(group_id uuid, user_id uuid, action text) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    -- Exclusive: an invitation of or by them that is being written is waited for, or finds them out.
    acting public.group_role := private.manage_group(
        expel_member.group_id, 'moderator', action, expel_member.user_id, exclusive => true
    );
    member public.group_members := private.lock_member(expel_member.group_id, expel_member.user_id);
begin
    if member.role >= acting or expel_member.user_id = auth.uid() then
        if private.can_see(expel_member.user_id) then
            perform private.fail('group_role_too_low', 'acts as ' || acting);
        end if;
        return false;
    end if;
    delete from public.group_invitations as i
    where i.group_id = expel_member.group_id and expel_member.user_id in (i.user_id, i.invited_by);
    return true;
end
$$;
comment on function private.expel_member(uuid, uuid, text) is
'What removing and banning begin with: whether the caller may, the member''s row locked and their invitations gone.';

create function public.remove_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.expel_member(remove_member.group_id, remove_member.user_id, 'remove_group_member') then
        delete from public.group_members as m
        where m.group_id = remove_member.group_id and m.user_id = remove_member.user_id and m.status <> 'banned';
    end if;
end
$$;
comment on function public.remove_member(uuid, uuid) is
'Moderators of the group: removes a member, request or invitation; the person may join again. Only people of lower '
'role (group_role_too_low); whoever is not in the group is no error.';
grant execute on function public.remove_member(uuid, uuid) to authenticated;

create function public.ban_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.expel_member(ban_member.group_id, ban_member.user_id, 'ban_group_member') then
        insert into public.group_members as m (group_id, user_id, status, joined_at)
        select ban_member.group_id, p.id, 'banned', null from public.profiles as p
        where p.id = ban_member.user_id and p.deleted_at is null
        on conflict on constraint group_members_pkey do update set status = 'banned', role = 'member', joined_at = null
        where m.status <> 'banned';
    end if;
end
$$;
comment on function public.ban_member(uuid, uuid) is
'Moderators of the group: removes somebody and keeps them out, also before they ever joined. Only people of lower role '
'(group_role_too_low). Banning again changes nothing.';
grant execute on function public.ban_member(uuid, uuid) to authenticated;

create function public.unban_member(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.manage_group(unban_member.group_id, 'moderator', 'unban_group_member', unban_member.user_id);
    delete from public.group_members as m
    where m.group_id = unban_member.group_id and m.user_id = unban_member.user_id and m.status = 'banned';
end
$$;
comment on function public.unban_member(uuid, uuid) is
'Moderators of the group: ends a ban; the person may join again. No ban, no effect.';
grant execute on function public.unban_member(uuid, uuid) to authenticated;

create function public.invite_to_group(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    entered public.groups := private.enter_group(invite_to_group.group_id, invite_to_group.user_id);
    acting public.group_role := private.group_role(invite_to_group.group_id);
    member public.group_members;
begin
    -- An invitation skips approval, so whoever may not approve may not invite where approval is asked.
    if acting is null
        or acting < 'moderator' and (entered.visibility <> 'public' or entered.join_approval_required)
    then
        perform private.fail('group_role_too_low', 'needs moderator');
    elsif not private.can_see(invite_to_group.user_id) then
        perform private.fail('user_not_found', invite_to_group.user_id::text);
    end if;
    member := private.lock_member(entered.id, invite_to_group.user_id);
    if member.status = 'banned' then
        perform private.fail('member_is_banned', invite_to_group.user_id::text);
    elsif member.status = 'pending' then
        update public.group_members as m set status = 'active', joined_at = now()
        where m.group_id = member.group_id and m.user_id = member.user_id;
    elsif member.status is null then
        insert into public.group_invitations (group_id, user_id, invited_by)
        values (entered.id, invite_to_group.user_id, caller)
        on conflict on constraint group_invitations_pkey do nothing;
    end if;
end
$$;
comment on function public.invite_to_group(uuid, uuid) is
'Invites somebody, who then joins without approval; who asked to join already is admitted. Moderators of the group, '
'in groups that are open to everybody all members. Inviting again or a member changes nothing. Fails with '
'user_not_found, member_is_banned or group_role_too_low.';
grant execute on function public.invite_to_group(uuid, uuid) to authenticated;

create function public.decline_invitation(group_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    delete from public.group_invitations as i
    where i.group_id = decline_invitation.group_id and i.user_id = caller;
end
$$;
comment on function public.decline_invitation(uuid) is 'Declines an invitation to a group. None, no effect.';
grant execute on function public.decline_invitation(uuid) to authenticated;

create function public.cancel_invitation(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
begin
    perform private.enter_group(cancel_invitation.group_id);
    perform private.require_group_rank_over(i.group_id, i.invited_by)
    from public.group_invitations as i
    where
        i.group_id = cancel_invitation.group_id and i.user_id = cancel_invitation.user_id
        and i.invited_by <> caller and private.group_role(i.group_id) >= 'moderator';
    delete from public.group_invitations as i
    where
        i.group_id = cancel_invitation.group_id and i.user_id = cancel_invitation.user_id
        and (i.invited_by = caller or private.group_role(i.group_id) >= 'moderator');
end
$$;
comment on function public.cancel_invitation(uuid, uuid) is
'Takes an invitation back: who invited, or moderators of the group above them (group_role_too_low). None, no effect.';
grant execute on function public.cancel_invitation(uuid, uuid) to authenticated;

create function private.give_group(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Two statements: there is never a second owner.
    update public.group_members as m set role = 'admin' where m.group_id = give_group.group_id and m.role = 'owner';
    update public.group_members as m set role = 'owner'
    where m.group_id = give_group.group_id and m.user_id = give_group.user_id;
    update public.groups as g set owner_id = give_group.user_id where g.id = give_group.group_id;
end
$$;
comment on function private.give_group(uuid, uuid) is
'Makes an active member the owner; the owner before becomes an admin. The group''s gate is held exclusively.';

create function public.transfer_group(group_id uuid, user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.manage_group(
        transfer_group.group_id, 'owner', 'transfer_group', transfer_group.user_id, exclusive => true
    );
    if not exists (
        select from public.group_members as m
        inner join public.profiles as p on p.id = m.user_id
        where
            m.group_id = transfer_group.group_id and m.user_id = transfer_group.user_id and m.status = 'active'
            and not p.is_banned and private.can_see(m.user_id)
    ) then
        perform private.fail('member_not_found', transfer_group.user_id::text);
    end if;
    perform private.give_group(transfer_group.group_id, transfer_group.user_id);
end
$$;
comment on function public.transfer_group(uuid, uuid) is
'The owner gives the group to an active member and becomes an admin of it. Fails with member_not_found or '
'group_role_too_low.';
grant execute on function public.transfer_group(uuid, uuid) to authenticated;

create function public.delete_group(group_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.manage_group(delete_group.group_id, 'owner', 'delete_group', exclusive => true);
    perform private.hold_posts_of_group(delete_group.group_id);
    delete from public.groups as g where g.id = delete_group.group_id;
end
$$;
comment on function public.delete_group(uuid) is
'The owner deletes the group and everything in it. Cannot be undone.';
grant execute on function public.delete_group(uuid) to authenticated;

create function public.verify_group(group_id uuid, is_verified boolean default true) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_admin();
    update public.groups as g set is_verified = coalesce(verify_group.is_verified, true)
    where g.id = verify_group.group_id;
    if not found then
        perform private.fail('group_not_found', verify_group.group_id::text);
    end if;
    perform private.audit(
        'verify_group', 'group', verify_group.group_id, jsonb_build_object('is_verified', verify_group.is_verified)
    );
end
$$;
comment on function public.verify_group(uuid, boolean) is 'Admins of the platform: marks a group as official, or not.';
grant execute on function public.verify_group(uuid, boolean) to authenticated;

create function private.lock_groups_of(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.lock_gates(
        'group',
        array(select m.group_id from public.group_members as m where m.user_id = lock_groups_of.user_id),
        array(select g.id from public.groups as g where g.owner_id = lock_groups_of.user_id)
    );
    -- Somebody else's end may have made this one an owner while the gates were waited for.
    perform private.lock_gates(
        'group', '{}', array(select g.id from public.groups as g where g.owner_id = lock_groups_of.user_id)
    );
end
$$;
comment on function private.lock_groups_of(uuid) is
'First step of erase_account(), before it holds any row: the gates of the account''s groups.';

create function private.leave_groups(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    owned uuid;
    successor uuid;
begin
    delete from public.group_invitations as i
    where i.user_id = leave_groups.user_id or i.invited_by = leave_groups.user_id;
    delete from public.group_members as m where m.user_id = leave_groups.user_id and m.role <> 'owner';
    for owned in select g.id from public.groups as g where g.owner_id = leave_groups.user_id order by g.id loop
        -- Somebody banned from the platform gets it only when nobody else is left.
        select m.user_id into successor
        from public.group_members as m
        inner join public.profiles as p on p.id = m.user_id
        where m.group_id = owned and m.status = 'active' and m.user_id <> leave_groups.user_id and p.deleted_at is null
        order by p.is_banned, m.role desc, m.joined_at, m.user_id
        limit 1;
        if successor is null then
            delete from public.groups as g where g.id = owned;
        else
            perform private.give_group(owned, successor);
            delete from public.group_members as m where m.group_id = owned and m.user_id = leave_groups.user_id;
        end if;
    end loop;
end
$$;
comment on function private.leave_groups(uuid) is
'Step of erase_account(): ends memberships; groups go to the admin, else the moderator, else the member who was there '
'longest, and are deleted when nobody is left.';

-- A block ends invitations between the two.
create function private.end_invitations() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from public.group_invitations as i
    using changed as c
    where
        i.user_id = c.blocker_id and i.invited_by = c.blocked_id
        or i.user_id = c.blocked_id and i.invited_by = c.blocker_id;
    return null;
end
$$;
comment on function private.end_invitations() is 'Trigger: a block ends invitations between the two.';

create trigger end_invitations after insert on public.user_blocks
referencing new table as changed
for each statement execute function private.end_invitations();

create function public.my_role(of_group public.groups) returns public.group_role
language plpgsql
stable
set search_path = ''
as $$
begin
    if auth.uid() is null then
        return null;
    end if;
    return private.group_role(of_group.id);
end
$$;
comment on function public.my_role(public.groups) is
'Computed field: the caller''s role in the group, null when not an active member. select=*,my_role.';
grant execute on function public.my_role(public.groups) to anon, authenticated;

insert into private.erasure_steps (step, phase, erases, statement) values
('group_gates', 'lock_gates', '{}', 'select private.lock_groups_of($1)'),
('group_members', 'traces', '{public.groups.owner_id, public.group_members, public.group_invitations}',
    'select private.leave_groups($1)');

-- Who was kept out of a secret group is not told that it goes on.
insert into private.personal_data (section, relation, condition, stays, reason) values
('groups', 'public.groups',
    't.owner_id = $1', '{name, slug, description, avatar_url, banner_url, rules, tags}',
    'the group''s, which goes on with another owner'),
('group_members', 'public.group_members',
    't.user_id = $1 and (t.status = ''active'' or exists (select from public.groups as g where g.id = t.group_id and '
    'g.visibility <> ''secret''))',
    '{}', null),
('group_invitations', 'public.group_invitations', 't.user_id = $1 or t.invited_by = $1', '{}', null);

insert into private.error_codes (code, sqlstate, message, description) values
('group_not_found', 'PT404', 'This group does not exist.',
'No group with that id, or a secret one that the caller is neither in nor invited to.'),
('group_role_too_low', 'PT403', 'Your role in this group does not allow this.',
'The detail states the role that is needed or the one the caller acts with. People of the same or a higher role cannot '
'be changed, and only roles below one''s own be given.'),
('member_not_found', 'PT404', 'This person is not in the group.',
'No such member, or no such request to approve.'),
('banned_from_group', 'PT403', 'You are banned from this group.', 'A moderator of the group can end the ban.'),
('member_is_banned', 'PT409', 'This person is banned from the group.', 'End the ban before inviting.'),
('owner_must_transfer', 'PT409', 'The owner cannot leave the group.',
'Give it to a member with transfer_group(), or delete it.');
