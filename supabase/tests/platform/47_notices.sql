-- What is built to tell somebody, on tables made up here.
begin;
\ir ../helpers.psql
select no_plan();
select pg_temp.people();

create table public.things (id uuid primary key, user_id uuid not null, state text not null default 'new', helper_id uuid);
insert into private.kinds (kind, relation, owner_column, page) values ('thing', 'public.things', 'user_id', '/things/{id}');
insert into private.notification_types (type, title, message, collapse) values
('thing_made', 'A thing', 'There is a thing.', null), ('thing_ready', 'Ready', 'A thing is ready.', null);
select private.make_hold('public.things', 'thing');
select private.make_reactions('public.thing_likes', 'thing_id', 'public.things', 'liked');
delete from public.notifications;

-- Refused --------------------------------------------------------------------------------------------------------------
select throws_ok(
    format(
        'select private.make_tell(%L, ''public.things'', ''insert'', ''new.user_id'', %L, ''new.id'')', t.type, t.kind
    ),
    'P0001', format('there is no type %s or no kind %s', t.type, t.kind), 'no such word: ' || t.type || ' ' || t.kind
)
from (values ('thing_lost', 'thing'), ('thing_made', 'thingy')) as t (type, kind);
select throws_ok(
    'select private.make_tell(''thing_made'', ''public.things'', ''update of owner'', ''new.user_id'', ''thing'', ''new.id'')',
    '42703', null, 'no such column'
);
select throws_ok(
    'select private.make_tell_reactions(''thing_made'', ''public.thing_likes'', ''thing_id'')', 'P0001',
    'nothing was said for {collapse}', 'what is told each time does not collapse'
);
select throws_ok(
    'select private.make_tell_reactions(''like'', ''public.thing_likes'', ''user'')', 'P0001', null, 'no such key'
);

-- One event, one person or several -------------------------------------------------------------------------------------
select private.make_tell(
    'thing_made', 'public.things', 'insert', 'p.id', 'thing', 'new.id', 'new.user_id',
    among => 'from public.profiles as p where p.id in (new.user_id, new.helper_id)'
);
select private.make_tell(
    'thing_ready', 'public.things', 'update of state', 'new.user_id', 'thing', 'new.id',
    condition => 'old.state <> new.state and new.state = ''ready'''
);
create function pg_temp.told() returns text language sql as $$
    select string_agg(concat_ws(' ', n.type, right(n.user_id::text, 1), right(n.actor_id::text, 1), n.link_url), ', ' order by n.type, n.user_id)
    from public.notifications as n
$$;
insert into public.things (id, user_id, helper_id) values (pg_temp.id(11), pg_temp.id(1), pg_temp.id(2));
select is(pg_temp.told(), 'thing_made 2 1 /things/' || pg_temp.id(11), 'all but whoever did it, with who and where');
delete from public.notifications;
update public.things set state = 'begun';
select is(pg_temp.told(), null, 'nobody when the condition is not met');
update public.things set state = 'ready';
select is(pg_temp.told(), 'thing_ready 1 /things/' || pg_temp.id(11), 'when it is');
delete from public.notifications;
update public.things set state = 'ready', helper_id = null;
select is(pg_temp.told(), null, 'once');

-- Likes ----------------------------------------------------------------------------------------------------------------
select private.make_tell_reactions('like', 'public.thing_likes', 'thing_id');
insert into public.thing_likes (thing_id, user_id) values (pg_temp.id(11), pg_temp.id(1));
select is(pg_temp.told(), null, 'one''s own tells nothing');
insert into public.thing_likes (thing_id, user_id) values (pg_temp.id(11), pg_temp.id(2)), (pg_temp.id(11), pg_temp.id(3));
select is(pg_temp.told(), 'like 1 2 /things/' || pg_temp.id(11), 'the owner hears of the first');
insert into public.thing_likes (thing_id, user_id) values (pg_temp.id(11), pg_temp.id(4));
select is(pg_temp.told(), 'like 1 2 /things/' || pg_temp.id(11), 'once in the hour');
select pg_temp.be(pg_temp.id(1));
select is((select n.actors_count from public.notifications as n), 3, 'which counts all who are there');
reset role;
delete from public.thing_likes where user_id = pg_temp.id(2);
select is(pg_temp.told(), 'like 1 3 /things/' || pg_temp.id(11), 'of who took it back no more: the next one is named');
delete from public.thing_likes where user_id <> pg_temp.id(1);
select is(pg_temp.told(), null, 'with the last of them it is gone');
select is(
    array(
        select f from unnest(array['tell_thing_made', 'tell_thing_ready', 'tell_thing_likes', 'forget_thing_likes']) as f
        where obj_description(to_regproc('private.' || f), 'pg_proc') !~ 'Built by make_[a-z_]+\(\)\.$'
    ),
    '{}', 'what is built says who built it'
);

select * from finish();
rollback;
