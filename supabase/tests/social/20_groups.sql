-- Groups: the tables, who reads them, and what their triggers keep.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 9) as n;

select results_eq(
    $$select c.relname::text collate "default" from pg_class as c
    where c.oid in ('public.groups'::regclass, 'public.group_members'::regclass, 'public.group_invitations'::regclass)
    and c.relrowsecurity order by 1$$,
    array['group_invitations', 'group_members', 'groups'], 'RLS is on'
);
select is_empty(
    $$select a.attname from pg_attribute as a where a.attrelid = 'public.groups'::regclass and a.attnum > 0
    and a.attname in ('id', 'owner_id', 'slug', 'members_count', 'posts_count', 'popularity', 'is_verified',
        'created_at', 'updated_at')
    and (has_column_privilege('authenticated', a.attrelid, a.attname, 'insert')
        or has_column_privilege('authenticated', a.attrelid, a.attname, 'update'))$$,
    'clients write neither owners, addresses, counters nor marks'
);
select ok(
    not has_table_privilege('authenticated', 'public.group_members', 'insert, update, delete')
    and not has_table_privilege('authenticated', 'public.group_invitations', 'insert, update, delete')
    and not has_table_privilege('authenticated', 'public.groups', 'delete')
    and not has_table_privilege('anon', 'public.group_members', 'select')
    and not has_table_privilege('anon', 'public.group_invitations', 'select'),
    'memberships are written by functions only, visitors read none'
);
select ok('owner' > 'admin'::public.group_role and 'admin' > 'moderator'::public.group_role
    and 'moderator' > 'member'::public.group_role, 'roles ascend');

-- creation
create temporary table made (key text primary key, id uuid, slug text, members_count integer, owner_id uuid);
grant all on made to public;
create function pg_temp.found(n integer, key text, name text, visibility public.group_visibility default 'public')
returns uuid language plpgsql as $$
declare
    answer uuid;
begin
    perform pg_temp.be(pg_temp.id(n));
    with g as (
        insert into public.groups (name, visibility) values (found.name, found.visibility) returning *
    )
    insert into made select found.key, g.id, g.slug::text, g.members_count, g.owner_id from g returning id into answer;
    perform set_config('role', 'none', true);
    return answer;
end
$$;
create function pg_temp.made(key text) returns uuid language sql as $$
    select m.id from made as m where m.key = made.key
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.found(1, 'public', 'Beat Makers'), pg_temp.found(1, 'private', 'Beat Makers', 'private'),
    pg_temp.found(1, 'secret', 'Secret Society', 'secret'), pg_temp.found(2, 'same', 'Secret Society'),
    pg_temp.found(2, 'emoji', '🎧'), pg_temp.found(2, 'secret emoji', '🎧', 'secret');
select results_eq(
    'select m.key, m.members_count, m.owner_id from made as m order by m.key',
    $$values ('emoji', 1, pg_temp.id(2)), ('private', 1, pg_temp.id(1)), ('public', 1, pg_temp.id(1)),
    ('same', 1, pg_temp.id(2)), ('secret', 1, pg_temp.id(1)), ('secret emoji', 1, pg_temp.id(2))$$,
    'creators own what they found, returning shows it, the secret one too'
);
select results_eq(
    'select g.owner_id, m.role, m.status from public.groups as g
    inner join public.group_members as m on m.group_id = g.id where m.user_id = g.owner_id and g.name = ''🎧''',
    $$values (pg_temp.id(2), 'owner'::public.group_role, 'active'::public.group_member_status),
    (pg_temp.id(2), 'owner'::public.group_role, 'active'::public.group_member_status)$$, 'and are members of it'
);
select is((select m.slug from made as m where m.key = 'public'), 'beat-makers', 'the address is the name');
select matches((select m.slug from made as m where m.key = 'private'), '^beat-makers-[0-9a-f]{10}$', 'or made unique');
select is((select m.slug from made as m where m.key = 'same'), 'secret-society', 'a secret group takes none away');
select matches(
    (select m.slug from made as m where m.key = 'secret'), '^secret-society-[0-9a-f]{10}$', 'its own is not guessed'
);
select is((select m.slug from made as m where m.key = 'emoji'), 'group', 'names without letters have one too');
select matches((select m.slug from made as m where m.key = 'secret emoji'), '^[0-9a-f]{10}$', 'whatever the visibility');
select is_empty('select * from private.recount()', 'the counters are exact');

select is(
    pg_temp.code_as(pg_temp.id(1), $$insert into public.groups (name, tags) values ('  Tidy  ', '{" #Lo-Fi ", "lo-fi"}')$$),
    null, 'texts are tidied'
);
select results_eq(
    $$select g.tags from public.groups as g where g.name = 'Tidy'$$, $$values ('{lo-fi}'::text[])$$, 'and tags cleaned'
);
select is(pg_temp.code_as(pg_temp.id(1), $$insert into public.groups (name) values ('   ')$$), 'text_not_visible', 'no empty name');
select is(pg_temp.code_as(pg_temp.id(1), $$insert into public.groups (name) values (repeat('x', 101))$$), '23514', 'no long');
select is(pg_temp.code_as(pg_temp.id(1), $$insert into public.groups (name, description) values ('n', repeat('x', 5001))$$),
    '23514', 'nor long texts');
select is(pg_temp.code_as(pg_temp.id(1), $$insert into public.groups (name, avatar_url) values ('n', 'javascript:1')$$),
    '23514', 'pictures are http');
select is(pg_temp.code_as(null, $$insert into public.groups (name) values ('n')$$, 'anon'), '42501', 'visitors found none');
select pg_temp.ban();
select is(pg_temp.code_as(pg_temp.id(5), $$insert into public.groups (name) values ('n')$$), 'banned', 'nor do banned people');

-- who reads which: 2 is in 1's groups, 3 asked to join the private one, 6 is banned from all, 7 is invited to the secret
insert into public.group_members (group_id, user_id) select m.id, pg_temp.id(2) from made as m where m.owner_id = pg_temp.id(1);
insert into public.group_members (group_id, user_id, status, joined_at)
select m.id, pg_temp.id(6), 'banned', null from made as m where m.owner_id = pg_temp.id(1);
insert into public.group_members (group_id, user_id, status, joined_at) values (pg_temp.made('private'), pg_temp.id(3), 'pending', null);
insert into public.group_members (group_id, user_id, role) values (pg_temp.made('private'), pg_temp.id(8), 'moderator');
insert into public.group_invitations (group_id, user_id, invited_by) values (pg_temp.made('secret'), pg_temp.id(7), pg_temp.id(1));
select is_empty('select * from private.recount()', 'only active members are counted');
select results_eq(
    'select g.members_count from public.groups as g where g.owner_id = pg_temp.id(1) and g.name <> ''Tidy'' order by g.slug',
    'values (2), (3), (2)', 'as many as there are'
);
create function pg_temp.seen(n integer, speaker text default 'authenticated') returns text[] language plpgsql as $$
declare
    answer text [];
begin
    perform pg_temp.be(pg_temp.id(n), speaker);
    answer := array(select m.key from made as m inner join public.groups as g on g.id = m.id
        where m.owner_id = pg_temp.id(1) order by 1);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
select is(pg_temp.seen(0, 'anon'), '{private,public}'::text[], 'visitors see public and private groups');
select is(pg_temp.seen(3), '{private,public}'::text[], 'so do strangers');
select is(pg_temp.seen(6), '{private,public}'::text[], 'and who was kept out');
select is(pg_temp.seen(2), '{private,public,secret}'::text[], 'members see their secret group');
select is(pg_temp.seen(1), '{private,public,secret}'::text[], 'so does the owner');
select is(pg_temp.seen(7), '{private,public,secret}'::text[], 'who is invited');
select is(pg_temp.seen(4), '{private,public,secret}'::text[], 'and admins of the platform');

create function pg_temp.members(n integer, key text) returns text[] language plpgsql as $$
declare
    answer text [];
begin
    perform pg_temp.be(pg_temp.id(n));
    answer := array(select right(m.user_id::text, 1) || ' ' || m.status from public.group_members as m
        where m.group_id = pg_temp.made(members.key) order by 1);
    perform set_config('role', 'none', true);
    return answer;
end
$$;
select is(pg_temp.members(2, 'private'), '{1 active,2 active,8 active}'::text[], 'members see members');
select is(pg_temp.members(8, 'private'), '{1 active,2 active,3 pending,6 banned,8 active}'::text[], 'moderators also requests and bans');
select is(pg_temp.members(3, 'private'), '{3 pending}'::text[], 'who asked sees that');
select is(pg_temp.members(6, 'private'), '{6 banned}'::text[], 'who is kept out sees that');
select is(pg_temp.members(6, 'secret'), '{}'::text[], 'but not of a secret group');
select is(pg_temp.members(7, 'secret'), '{}'::text[], 'invited people see no members');
select is(pg_temp.members(9, 'public'), '{}'::text[], 'strangers none');
select is(pg_temp.members(4, 'secret'), '{1 active,2 active,6 banned}'::text[], 'admins of the platform all');
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(8), pg_temp.id(2));
select is(pg_temp.members(2, 'private'), '{1 active,2 active}'::text[], 'whom a block hides is hidden here');
select is(pg_temp.members(8, 'private'), '{1 active,3 pending,6 banned,8 active}'::text[], 'both ways');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(1);
select is(pg_temp.members(2, 'private'), '{2 active}'::text[], 'and private people are');
select is(pg_temp.seen(7), '{private,public}'::text[], 'an invitation by somebody out of sight does not show');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(1);

select pg_temp.be(pg_temp.id(7));
select is((select count(*) from public.group_invitations), 1::bigint, 'invited people read the invitation');
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.group_invitations), 1::bigint, 'so does who invited');
select pg_temp.be(pg_temp.id(2));
select is((select count(*) from public.group_invitations), 0::bigint, 'plain members do not');
reset role;

-- what policies ask
select pg_temp.be(pg_temp.id(8));
select results_eq('select private.my_group_ids()', array[pg_temp.made('private')], 'the groups one is in');
select results_eq($$select private.my_group_ids('moderator')$$, array[pg_temp.made('private')], 'with a role');
select is_empty($$select private.my_group_ids('admin')$$, 'or a higher one');
select is(private.group_role(pg_temp.made('private')), 'moderator', 'one''s role');
select is(private.group_role(pg_temp.made('public')), null, 'none where one is not');
select pg_temp.be(pg_temp.id(6));
select is_empty('select private.my_group_ids()', 'who is kept out is in none');
select pg_temp.be(pg_temp.id(3));
select is_empty('select private.my_group_ids()', 'who asked neither');
reset role;
insert into public.group_members (group_id, user_id, role) values (pg_temp.made('public'), pg_temp.id(5), 'admin');
select pg_temp.be(pg_temp.id(5));
select is_empty('select private.my_group_ids()', 'banned people are in no group');
select is(private.group_role(pg_temp.made('public')), null, 'and have no role');
reset role;

-- changes
insert into public.group_members (group_id, user_id, role) values (pg_temp.made('public'), pg_temp.id(9), 'admin');
create function pg_temp.rename(n integer, key text) returns integer language plpgsql as $$
declare
    answer integer;
begin
    perform pg_temp.be(pg_temp.id(n));
    update public.groups set description = 'by ' || n where id = pg_temp.made(rename.key);
    get diagnostics answer = row_count;
    perform set_config('role', 'none', true);
    return answer;
end
$$;
select is(pg_temp.rename(1, 'public'), 1, 'the owner edits');
select is(pg_temp.rename(9, 'public'), 1, 'so do admins of the group');
select is(pg_temp.rename(4, 'public'), 1, 'and of the platform');
select is(
    (select array_agg(l.actor_id) from public.audit_log as l where l.action = 'edit_group'), array[pg_temp.id(4)],
    'which is audited'
);
select is(pg_temp.rename(2, 'public'), 0, 'not members');
select is(pg_temp.rename(8, 'private'), 0, 'nor moderators');
select is(pg_temp.rename(5, 'public'), 0, 'nor an admin who is banned from the platform');
select is(pg_temp.rename(3, 'secret'), 0, 'nor strangers');
select is(pg_temp.code_as(pg_temp.id(1), $$update public.groups set is_verified = true$$), '42501', 'official they are by admins');
select is(pg_temp.code_as(pg_temp.id(1), format('select public.verify_group(%L)', pg_temp.made('public'))), 'admin_only', 'only');
select is(pg_temp.code_as(pg_temp.id(4), format('select public.verify_group(%L)', pg_temp.made('public'))), null, 'an admin');
create function pg_temp.keeps_badge(change text) returns boolean language plpgsql as $$
declare
    group_id uuid := pg_temp.made('public');
    keeps boolean;
begin
    perform set_config('role', 'none', true);
    update public.groups set is_verified = true where id = group_id;
    perform pg_temp.be((select owner_id from public.groups where id = group_id));
    execute format('update public.groups set %s where id = %L returning is_verified', change, group_id) into keeps;
    perform set_config('role', 'none', true);
    return keeps;
end
$$;
grant execute on function pg_temp.keeps_badge(text) to public;
select is(pg_temp.keeps_badge(c.change), c.keeps, 'badge after ' || c.change)
from (values
    ('name = ''Famous''', false), ('avatar_url = ''https://e.com/famous.png''', false), ('name = '' Famous ''', true),
    ('description = ''Famous''', true)
) as c (change, keeps);
update public.groups set name = 'Beat Makers' where id = pg_temp.made('public');
update public.groups set is_verified = true where id = pg_temp.made('public');
select is((select g.is_verified from public.groups as g where g.id = pg_temp.made('public')), true, 'marks it');
select is(pg_temp.code_as(pg_temp.id(1), format('update public.groups set visibility = ''secret'' where id = %L', pg_temp.made('public'))),
    null, 'a group goes into hiding');
select matches((select g.slug::text from public.groups as g where g.id = pg_temp.made('public')), '^beat-makers-[0-9a-f]{10}$',
    'leaving its address');
select is(pg_temp.seen(3), '{private}'::text[], 'and nobody else sees it');
select pg_temp.found(2, 'next', 'Beat Makers');
select is((select m.slug from made as m where m.key = 'next'), 'beat-makers', 'which is free to the next');

-- one owner
select is(
    pg_temp.code_of($$update public.group_members set role = 'owner' where user_id = pg_temp.id(2)$$), '23505',
    'there is one owner'
);
select is(
    pg_temp.code_of($$update public.group_members set role = 'admin' where status = 'banned'$$), '23514',
    'who is not active has no role'
);

select * from finish();
rollback;
