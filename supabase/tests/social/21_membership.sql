-- Membership of groups: joining, leaving, roles, bans, invitations, transfer and succession.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 12) as n;
select pg_temp.ban();

-- Groups of 1: open, asking, private, secret.
insert into public.groups (id, owner_id, name, visibility, join_approval_required) values
(pg_temp.id(101), pg_temp.id(1), 'Open', 'public', false), (pg_temp.id(102), pg_temp.id(1), 'Asking', 'public', true),
(pg_temp.id(103), pg_temp.id(1), 'Private', 'private', false), (pg_temp.id(104), pg_temp.id(1), 'Secret', 'secret', false);
-- What a function called by somebody ends with: its error's code, else its answer.
create function pg_temp.call(n integer, call text, speaker text default 'authenticated') returns text
language plpgsql as $$
declare
    answer text;
    hint text;
begin
    perform pg_temp.be(pg_temp.id(n), speaker);
    begin
        execute 'select (public.' || regexp_replace(call, '\m(\d+)\M', 'pg_temp.id(\1)', 'g') || ')::text' into answer;
    exception when others then
        get stacked diagnostics hint = pg_exception_hint;
        answer := case when sqlstate like 'PT%' then hint else sqlstate end;
    end;
    perform set_config('role', 'none', true);
    return nullif(answer, '');
end
$$;
create function pg_temp.member(group_number integer, n integer) returns text language sql as $$
    select m.status || ' ' || m.role from public.group_members as m
    where m.group_id = pg_temp.id(group_number) and m.user_id = pg_temp.id(n)
$$;

-- joining and leaving
select is(pg_temp.call(2, 'join_group(101)'), 'active', 'an open group lets anybody in');
select is(pg_temp.call(2, 'join_group(101)'), 'active', 'a second click changes nothing');
select is(pg_temp.call(2, 'join_group(102)'), 'pending', 'where approval is asked one waits');
select is(pg_temp.call(2, 'join_group(103)'), 'pending', 'private groups always ask');
select is(pg_temp.call(2, 'join_group(103)'), 'pending', 'asking again changes nothing');
select is(pg_temp.call(2, 'join_group(104)'), 'group_not_found', 'secret groups do not exist');
select is(pg_temp.call(2, 'join_group(199)'), 'group_not_found', 'like those that do not');
select is(pg_temp.call(5, 'join_group(101)'), 'banned', 'banned people join nothing');
select is(pg_temp.call(0, 'join_group(101)', 'anon'), '42501', 'nor do visitors');
select is((select g.members_count from public.groups as g where g.id = pg_temp.id(101)), 2, 'members are counted');
select is((select g.members_count from public.groups as g where g.id = pg_temp.id(103)), 1, 'requests are not');
select is(pg_temp.call(2, 'leave_group(103)'), null, 'a request can be withdrawn');
select is(pg_temp.member(103, 2), null, 'and is gone');
select is(pg_temp.call(2, 'leave_group(101)'), null, 'members leave');
select is(pg_temp.call(2, 'leave_group(101)'), null, 'twice is no error');
select is((select g.members_count from public.groups as g where g.id = pg_temp.id(101)), 1, 'and are not counted');
select is(pg_temp.call(2, 'leave_group(104)'), 'group_not_found', 'a secret group cannot be left');
select is(pg_temp.call(1, 'leave_group(101)'), 'owner_must_transfer', 'the owner stays');

-- requests
select is(pg_temp.call(3, 'join_group(102)'), 'pending', 'another request');
select is(pg_temp.call(3, 'approve_member(102, 2)'), 'group_role_too_low', 'who asks approves nobody');
select is(pg_temp.call(1, 'approve_member(102, 2)'), null, 'the owner does');
select is(pg_temp.call(1, 'approve_member(102, 2)'), null, 'twice is no error');
select is(pg_temp.member(102, 2), 'active member', 'who was approved is in');
select is(pg_temp.call(2, 'approve_member(102, 3)'), 'group_role_too_low', 'members approve nobody');
select is(pg_temp.call(1, 'approve_member(102, 8)'), 'member_not_found', 'without a request there is no approval');
select is(pg_temp.call(1, 'approve_member(102, 99)'), 'member_not_found', 'nor without a person');
select is(pg_temp.call(1, 'reject_member(102, 3)'), null, 'requests are turned down');
select is(pg_temp.call(1, 'reject_member(102, 3)'), null, 'twice is no error');
select is(pg_temp.member(102, 3), null, 'and are gone');
select is(pg_temp.call(1, 'reject_member(102, 2)'), null, 'rejecting a member');
select is(pg_temp.member(102, 2), 'active member', 'removes nobody');
select is(pg_temp.call(3, 'approve_member(104, 2)'), 'group_not_found', 'nobody manages what does not exist for them');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(12);
select is(pg_temp.call(12, 'join_group(102)'), 'pending', 'somebody private asks');
select is(pg_temp.call(1, 'approve_member(102, 12)'), 'member_not_found', 'and is out of sight');

-- roles: 6 admin, 7 and 8 moderators, 2 and 9 members of 101
insert into public.group_members (group_id, user_id)
select pg_temp.id(101), pg_temp.id(n) from unnest('{2,6,7,8,9,10}'::integer []) as n;
select is(pg_temp.call(1, $$set_member_role(101, 6, 'admin')$$), null, 'the owner appoints admins');
select is(pg_temp.call(6, $$set_member_role(101, 7, 'moderator')$$), null, 'admins appoint moderators');
select is(pg_temp.call(6, $$set_member_role(101, 8, 'moderator')$$), null, 'as many as they like');
select is(pg_temp.call(6, $$set_member_role(101, 2, 'admin')$$), 'group_role_too_low', 'not admins');
select is(pg_temp.call(6, $$set_member_role(101, 1, 'member')$$), 'group_role_too_low', 'nor touch the owner');
select is(pg_temp.call(6, $$set_member_role(101, 6, 'member')$$), 'group_role_too_low', 'nor themselves');
select is(pg_temp.call(7, $$set_member_role(101, 2, 'moderator')$$), 'group_role_too_low', 'moderators appoint nobody');
select is(pg_temp.call(1, $$set_member_role(101, 6, 'owner')$$), 'group_role_too_low', 'there is one owner');
select is(pg_temp.call(1, $$set_member_role(101, 6, null)$$), 'group_role_too_low', 'and no role is none');
select is(pg_temp.call(1, $$set_member_role(101, 11, 'admin')$$), 'member_not_found', 'only members have one');
select is(pg_temp.call(2, $$set_member_role(101, 2, 'admin')$$), 'group_role_too_low', 'nobody raises themselves');
select is(pg_temp.call(6, $$set_member_role(101, 8, 'member')$$), null, 'admins dismiss moderators');
select is(pg_temp.call(6, $$set_member_role(101, 8, 'moderator')$$), null, 'and appoint them again');
select is(pg_temp.member(101, 8), 'active moderator', 'so it is');

-- removing and banning
select is(pg_temp.call(2, 'remove_member(101, 9)'), 'group_role_too_low', 'members remove nobody');
select is(pg_temp.call(7, 'remove_member(101, 9)'), null, 'moderators do');
select is(pg_temp.member(101, 9), null, 'who was removed is gone');
select is(pg_temp.call(9, 'join_group(101)'), 'active', 'and may come back');
select is(pg_temp.call(7, 'remove_member(101, 8)'), 'group_role_too_low', 'not equals');
select is(pg_temp.call(7, 'ban_member(101, 6)'), 'group_role_too_low', 'nor superiors');
select is(pg_temp.call(7, 'ban_member(101, 7)'), 'group_role_too_low', 'nor oneself');
select is(pg_temp.call(4, 'ban_member(101, 1)'), 'group_role_too_low', 'admins of the platform transfer from an owner first');
select is(pg_temp.call(7, 'ban_member(101, 9)'), null, 'moderators ban');
select is(pg_temp.call(7, 'ban_member(101, 9)'), null, 'twice is no error');
select is(pg_temp.member(101, 9), 'banned member', 'who was banned');
select is(pg_temp.call(9, 'join_group(101)'), 'banned_from_group', 'stays out');
select is(pg_temp.call(9, 'leave_group(101)'), null, 'leaving');
select is(pg_temp.member(101, 9), 'banned member', 'does not end it');
select is(pg_temp.call(7, 'remove_member(101, 9)'), null, 'removing');
select is(pg_temp.member(101, 9), 'banned member', 'neither');
select is(pg_temp.call(7, 'approve_member(101, 9)'), 'member_not_found', 'nor approving');
select is(pg_temp.call(7, 'invite_to_group(101, 9)'), 'member_is_banned', 'nor inviting');
select is(pg_temp.call(2, 'unban_member(101, 9)'), 'group_role_too_low', 'members end no ban');
select is(pg_temp.call(7, 'unban_member(101, 9)'), null, 'moderators do');
select is(pg_temp.call(9, 'join_group(101)'), 'active', 'and the person may come back');
select is(pg_temp.call(7, 'ban_member(101, 11)'), null, 'also who never joined is kept out');
select is(pg_temp.call(11, 'join_group(101)'), 'banned_from_group', 'from the start');
select is(pg_temp.call(7, 'ban_member(101, 99)'), null, 'nobody is told who exists');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(10), pg_temp.id(7));
select is(pg_temp.call(7, 'ban_member(101, 10)'), null, 'who blocks a moderator');
select is(pg_temp.member(101, 10), 'banned member', 'does not escape');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(6), pg_temp.id(7));
select is(pg_temp.call(7, 'ban_member(101, 6)'), null, 'a superior out of sight answers like nobody');
select is(pg_temp.member(101, 6), 'active admin', 'and stays');
select is_empty('select * from private.recount()', 'the counters are exact');

-- invitations
select is(pg_temp.call(2, 'invite_to_group(101, 3)'), null, 'members invite to an open group');
select is(pg_temp.call(2, 'invite_to_group(101, 3)'), null, 'twice is no error');
update public.groups set visibility = 'secret' where id = pg_temp.id(101);
select is(pg_temp.call(3, 'join_group(101)'), 'group_not_found', 'but a group that became secret is not theirs to show');
update public.groups set visibility = 'private' where id = pg_temp.id(101);
select is(pg_temp.call(3, 'join_group(101)'), 'pending', 'nor does what they gave skip approval that is asked by now');
select is(pg_temp.call(3, 'leave_group(101)'), null, 'the request is withdrawn');
update public.groups set visibility = 'public' where id = pg_temp.id(101);
select is(pg_temp.call(2, 'invite_to_group(102, 3)'), 'group_role_too_low', 'not where approval is asked');
select is(pg_temp.call(3, 'invite_to_group(101, 8)'), 'group_role_too_low', 'nor do strangers');
select is(pg_temp.call(2, 'invite_to_group(101, 99)'), 'user_not_found', 'nobody cannot be invited');
select is(pg_temp.call(7, 'invite_to_group(101, 10)'), 'user_not_found', 'nor somebody out of sight');
select is(pg_temp.call(1, 'invite_to_group(104, 3)'), null, 'the owner invites to the secret group');
select is(pg_temp.call(3, 'join_group(104)'), 'active', 'an invitation skips approval');
select is((select count(*) from public.group_invitations as i where i.group_id = pg_temp.id(104)), 0::bigint, 'and is used up');
select is(pg_temp.call(3, 'invite_to_group(104, 2)'), 'group_role_too_low', 'members invite to no secret group');
select is(pg_temp.call(1, 'invite_to_group(104, 8)'), null, 'another invitation');
select is(pg_temp.call(8, 'decline_invitation(104)'), null, 'is declined');
select is(pg_temp.call(8, 'decline_invitation(104)'), null, 'twice is no error');
select is(pg_temp.call(8, 'join_group(104)'), 'group_not_found', 'and the group exists no more');
select is(pg_temp.call(1, 'invite_to_group(104, 8)'), null, 'another one');
select is(pg_temp.call(3, 'cancel_invitation(104, 8)'), null, 'members cancel none of others');
select is((select count(*) from public.group_invitations as i where i.group_id = pg_temp.id(104)), 1::bigint, 'it stands');
select is(pg_temp.call(1, 'cancel_invitation(104, 8)'), null, 'who invited does');
select is(pg_temp.call(8, 'join_group(104)'), 'group_not_found', 'and it is gone');
select is(pg_temp.call(9, 'join_group(102)'), 'pending', 'who asked to join');
select is(pg_temp.call(1, 'invite_to_group(102, 9)'), null, 'and is invited');
select is(pg_temp.member(102, 9), 'active member', 'is in');
select is(pg_temp.call(1, 'invite_to_group(104, 8)'), null, 'one more');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(8), pg_temp.id(1));
select is((select count(*) from public.group_invitations as i where i.group_id = pg_temp.id(104)), 0::bigint, 'a block ends it');
select is(pg_temp.call(1, 'ban_member(104, 3)'), null, 'who is banned from a secret group');
select is(pg_temp.call(3, 'join_group(104)'), 'group_not_found', 'knows of it no more');
select is(pg_temp.call(3, 'leave_group(104)'), 'group_not_found', 'by no function');
select pg_temp.be(pg_temp.id(3));
select is_empty(
    $$select * from jsonb_path_query(public.export_my_data(), '$.group_members[*] ? (@.group_id == "00000000-0000-4000-8000-000000000104")')$$,
    'nor by the export'
);
select is(public.my_role(g), null, 'the role is a field of the group') from public.groups as g where g.id = pg_temp.id(102);
select pg_temp.be(pg_temp.id(6));
select is(public.my_role(g), 'admin', 'of the caller') from public.groups as g where g.id = pg_temp.id(101);
select pg_temp.be(null, 'anon');
select is(public.my_role(g), null, 'visitors may ask') from public.groups as g where g.id = pg_temp.id(101);
reset role;

-- transfer
select is(pg_temp.call(6, 'transfer_group(101, 6)'), 'group_role_too_low', 'admins do not take a group');
select is(pg_temp.call(1, 'transfer_group(101, 3)'), 'member_not_found', 'strangers do not get one');
select is(pg_temp.call(1, 'transfer_group(101, 11)'), 'member_not_found', 'nor who is kept out');
select is(pg_temp.call(1, 'transfer_group(101, 2)'), null, 'any member does');
select is(pg_temp.member(101, 2), 'active owner', 'the new owner');
select is(pg_temp.member(101, 1), 'active admin', 'the old one is an admin');
select is((select g.owner_id from public.groups as g where g.id = pg_temp.id(101)), pg_temp.id(2), 'of whose group it is');
select is(pg_temp.call(1, 'transfer_group(101, 1)'), 'group_role_too_low', 'and cannot take it back');
select is(pg_temp.call(2, 'transfer_group(101, 2)'), null, 'to oneself it changes nothing');
select is(pg_temp.member(101, 2), 'active owner', 'at all');
select is(pg_temp.call(1, 'leave_group(101)'), null, 'now leaving works');
select is(pg_temp.call(4, 'transfer_group(101, 6)'), null, 'admins of the platform act like owners');
select is(
    (select count(*) from public.audit_log as l where l.action = 'transfer_group' and l.target_id = pg_temp.id(101)),
    1::bigint, 'audited'
);
select is(pg_temp.call(4, 'transfer_group(101, 2)'), null, 'and back');

-- deletion
select is(pg_temp.call(6, 'delete_group(101)'), 'group_role_too_low', 'admins do not delete a group');
select is(pg_temp.call(3, 'delete_group(104)'), 'group_not_found', 'nor strangers a secret one');
select is(pg_temp.call(1, 'delete_group(103)'), null, 'the owner does');
select is(pg_temp.member(103, 1), null, 'with its members');
select is(pg_temp.call(1, 'delete_group(103)'), 'group_not_found', 'once');

-- A platform ban leaves the group as it is.
update public.profiles set is_banned = true where id = pg_temp.id(2);
select is(pg_temp.call(2, 'delete_group(101)'), 'banned', 'a banned owner does nothing');
select is(pg_temp.call(2, 'leave_group(102)'), 'banned', 'a banned member neither');
select is(pg_temp.member(101, 2), 'active owner', 'and stays the owner');
update public.profiles set is_banned = false where id = pg_temp.id(2);

-- succession: 101 has owner 2, admin 6, moderators 7 and 8, member 9
update public.group_members set joined_at = now() - (interval '1 day') * right(user_id::text, 2)::integer
where group_id = pg_temp.id(101) and status = 'active';
delete from auth.users where id = pg_temp.id(2);
select is(pg_temp.member(101, 6), 'active owner', 'the group goes to the admin');
select is(pg_temp.member(101, 2), null, 'the old owner is gone');
delete from auth.users where id = pg_temp.id(6);
select is(pg_temp.member(101, 8), 'active owner', 'else to the moderator who was there longest');
update public.profiles set is_banned = true where id = pg_temp.id(7);
delete from auth.users where id = pg_temp.id(8);
select is(pg_temp.member(101, 9), 'active owner', 'else to a member, whoever the platform banned comes last');
delete from auth.users where id = pg_temp.id(9);
select is(pg_temp.member(101, 7), 'active owner', 'but comes');
select is_empty('select * from private.recount()', 'the counters are exact');
delete from auth.users where id = pg_temp.id(7);
select is_empty('select * from public.groups as g where g.id = pg_temp.id(101)', 'without members the group is gone');
-- who stays in the books owns no group
select pg_temp.buy(3, pg_temp.product(1, 1000));
insert into public.group_members (group_id, user_id) values (pg_temp.id(104), pg_temp.id(12));
delete from auth.users where id = pg_temp.id(1);
select isnt_empty('select * from public.profiles as p where p.id = pg_temp.id(1)', 'an owner with sales ends');
select is(pg_temp.member(104, 12), 'active owner', 'their group goes on');
select is_empty('select * from public.group_members as m where m.user_id = pg_temp.id(1)', 'without them');
select is_empty('select * from private.recount()', 'and the counters are exact');

select * from finish();
rollback;
