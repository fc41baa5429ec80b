begin;
\ir ../helpers.psql
set local search_path = public, extensions;
select no_plan();

select pg_temp.people();
select pg_temp.ban();
delete from public.notifications;
delete from private.mails;

create function pg_temp.unread(n integer) returns bigint language sql as $$
    select count(*) from public.notifications where user_id = pg_temp.id(n) and not is_read
$$;
create function pg_temp.prefer(n integer, preferences jsonb) returns void language sql as $$
    update public.profile_settings set notification_preferences = preferences where user_id = pg_temp.id(n)
$$;
grant execute on all functions in schema pg_temp to public;

-- Data of the page.
select is_empty(
    $$select type from private.notification_types
    where email = 'immediate' and can_switch_off$$, 'what is mailed at once cannot be switched off'
);
select is_empty(
    $$select t.type from private.notification_types as t
    where t.collapse is not null
    -- Told under the lock of the webinar, or the review, that they are of: no two at once.
    and t.type not in ('webinar_co_host', 'review_response') and position(quote_literal(t.type) in (
        select indexdef from pg_indexes where indexname = 'notifications_collapse_idx')) = 0$$,
    'every type that collapses is in the key that decides races'
);

-- Who is told.
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(2), 'post', pg_temp.id(900));
select row_eq(
    $$select title, message, link_url, actor_id, related_type, related_id, is_read
    from public.notifications where user_id = pg_temp.id(1)$$,
    row(
        'New comment'::text, 'Somebody commented on what you shared.'::text, '/posts/' || pg_temp.id(900),
        pg_temp.id(2), 'post'::text, pg_temp.id(900), false
    ), 'texts of the type, references to the rest'
);
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(1), 'post', pg_temp.id(901));
select private.notify(pg_temp.id(5), 'comment', pg_temp.id(2), 'post', pg_temp.id(901));
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(5), 'post', pg_temp.id(901));
select private.notify(null, 'comment', pg_temp.id(2), 'post', pg_temp.id(901));
select private.notify(gen_random_uuid(), 'comment', pg_temp.id(2), 'post', pg_temp.id(901));
select is_empty(
    $$select from public.notifications where related_id = pg_temp.id(901)$$,
    'not of one''s own doing, not to the banned, not of the banned, not to nobody'
);
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(3);
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(3), 'post', pg_temp.id(901));
select private.notify(pg_temp.id(4), 'comment', pg_temp.id(3), 'post', pg_temp.id(902));
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(3);
select results_eq(
    $$select user_id from public.notifications where related_id in (pg_temp.id(901), pg_temp.id(902))$$,
    $$select pg_temp.id(4)$$, 'of a private person only admins hear'
);
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(3)), (pg_temp.id(4),
pg_temp.id(3));
select is_empty(
    $$select from public.notifications where related_id = pg_temp.id(902)$$, 'a block removes what was told'
);
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(3), 'post', pg_temp.id(903));
select private.notify(pg_temp.id(3), 'comment', pg_temp.id(1), 'post', pg_temp.id(903));
select private.notify(pg_temp.id(4), 'comment', pg_temp.id(3), 'post', pg_temp.id(903));
select is_empty(
    $$select from public.notifications where related_id = pg_temp.id(903)$$, 'across a block nobody hears,
    admins neither'
);
delete from public.user_blocks;

-- Preferences.
select pg_temp.prefer(1, '{"comment": {"in_app": false}, "payout": {"in_app": false}, "reply": {"email": false}}');
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(2), 'post', pg_temp.id(904));
select private.notify(pg_temp.id(1), 'reply', pg_temp.id(2), 'post', pg_temp.id(904));
select private.notify(pg_temp.id(1), 'payout', null, 'payout', pg_temp.id(904));
select results_eq(
    $$select type from public.notifications where related_id = pg_temp.id(904) order by type$$,
    $$values ('payout'), ('reply')$$,
    'switched off is not told; money is told whatever the preferences'
);
select is(
    (select count(*) from private.mails where user_id = pg_temp.id(1) and kind = 'immediate' and type = 'payout'),
    1::bigint,
    'an immediate type is mailed'
);
select pg_temp.prefer(1, '{}');

-- Repeats.
select private.notify(pg_temp.id(1), 'like', pg_temp.id(2), 'post', pg_temp.id(905));
select private.notify(pg_temp.id(1), 'like', pg_temp.id(3), 'post', pg_temp.id(905));
select private.notify(pg_temp.id(1), 'like', pg_temp.id(3), 'post', pg_temp.id(906));
select is(
    (select count(*) from public.notifications where type = 'like' and user_id = pg_temp.id(1)), 2::bigint,
    'likes of one thing within an hour are one'
);
update public.notifications set created_at = created_at - interval '61 minutes' where related_id = pg_temp.id(905);
select private.notify(pg_temp.id(1), 'like', pg_temp.id(3), 'post', pg_temp.id(905));
select is(
    (select count(*) from public.notifications where related_id = pg_temp.id(905)), 2::bigint,
    'an hour later it is told again'
);
select throws_ok(
    $$insert into public.notifications (user_id, type, title, message, related_type, related_id)
    values (pg_temp.id(1), 'like', 't', 'm', 'post', pg_temp.id(905))$$, '23505', null, 'a key decides who was first'
);
select private.notify(pg_temp.id(1), 'message', pg_temp.id(2), 'conversation', pg_temp.id(907));
select private.notify(pg_temp.id(1), 'message', pg_temp.id(3), 'conversation', pg_temp.id(907));
select is(
    (select count(*) from public.notifications where related_id = pg_temp.id(907)), 1::bigint,
    'one unread one a conversation'
);
update public.notifications set is_read = true, read_at = now() where related_id = pg_temp.id(907);
select private.notify(pg_temp.id(1), 'message', pg_temp.id(3), 'conversation', pg_temp.id(907));
select is(
    (select count(*) from public.notifications where related_id = pg_temp.id(907)), 2::bigint, 'read,
    the next one is told'
);
select private.notify(pg_temp.id(1), 'favorite', pg_temp.id(2), 'artwork', pg_temp.id(908));
select is(
    (select actor_id from public.notifications where related_id = pg_temp.id(908)), null::uuid, 'favorites name nobody'
);

-- Who becomes invisible, and what goes.
select private.notify(pg_temp.id(1), 'content_hidden', null, 'post', pg_temp.id(909));
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(2), 'post', pg_temp.id(909));
select private.notify(pg_temp.id(3), 'mention', pg_temp.id(2), 'post', pg_temp.id(909));
select private.forget_notifications(array[pg_temp.id(909)], pg_temp.id(1));
select is(
    (select count(*) from public.notifications where related_id = pg_temp.id(909)), 2::bigint,
    'hidden: forgotten by all but the author'
);
select private.forget_notifications(array[pg_temp.id(909)]);
select results_eq(
    $$select type from public.notifications where related_id = pg_temp.id(909)$$,
    $$values ('content_hidden')$$, 'deleted: only what moderation said stays'
);
select private.notify(pg_temp.id(1), 'mention', pg_temp.id(3), 'post', pg_temp.id(910));
update public.profiles set profile_visibility = 'members_only' where id = pg_temp.id(3);
select is((select count(*) from public.notifications where actor_id = pg_temp.id(3) and user_id = pg_temp.id(1)),
4::bigint,
    'members are told of members');
update public.profiles set profile_visibility = 'private' where id = pg_temp.id(3);
select is_empty($$select from public.notifications where actor_id = pg_temp.id(3)$$, 'gone private: forgotten');
update public.profiles set profile_visibility = 'public' where id = pg_temp.id(3);
select private.notify(pg_temp.id(1), 'mention', pg_temp.id(3), 'post', pg_temp.id(910));
insert into public.bans (user_id, reason) values (pg_temp.id(3), 'spam');
select is_empty($$select from public.notifications where actor_id = pg_temp.id(3)$$, 'banned: forgotten');
delete from public.bans where user_id = pg_temp.id(3);

-- Reading them.
delete from public.notifications;
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(2), 'post', pg_temp.id(n)) from generate_series(920,
922) as n;
select private.notify(pg_temp.id(2), 'comment', pg_temp.id(1), 'post', pg_temp.id(920));
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.notifications), 3::bigint, 'one''s own, not others''');
select is((public.unread_counts()).notifications, 3, 'the badge');
select is((public.unread_counts()).messages, 0, 'the other badge');
select is(
    public.mark_notification_read(array(select id from public.notifications limit 1) || gen_random_uuid()), 1,
    'marks one'
);
select is((public.unread_counts()).notifications, 2, 'the badge follows');
select is(public.mark_all_notifications_read(now() - interval '1 minute'), 0, 'not what came after');
select is(public.mark_all_notifications_read(), 2, 'marks all');
select is(public.mark_all_notifications_read(), 0, 'twice is once');
select is((select count(*) from public.notifications where is_read and read_at is not null), 3::bigint,
'with the time');
select throws_ok($$update public.notifications set title = 'x'$$, '42501', null, 'nobody rewrites them');
select throws_ok(
    $$insert into public.notifications (user_id, type, title, message) values (pg_temp.id(2), 'system', 'x', 'y')$$,
    '42501', null, 'nobody writes them'
);
reset role;
select is(
    pg_temp.code_as(pg_temp.id(2), format(
        'select public.mark_notification_read(array(select id from public.notifications where user_id = %L))',
        pg_temp.id(1))), null, 'others'' are not there'
);
select pg_temp.be(pg_temp.id(4));
select is((select count(*) from public.notifications), 0::bigint, 'an admin reads nobody''s');
reset role;
select pg_temp.be(null, 'anon');
select throws_ok($$select from public.notifications$$, '42501', null, 'visitors have none');
reset role;
select is(pg_temp.code_as(pg_temp.id(5), 'select public.unread_counts()'), 'banned', 'the banned have none');
select is(pg_temp.code_as(null, 'select public.unread_counts()', 'anon'), '42501', 'nor visitors');
-- A block written at the same instant as the notification.
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
insert into public.notifications (user_id, type, title, message, actor_id)
values (pg_temp.id(1), 'comment', 't', 'm', pg_temp.id(2));
select pg_temp.be(pg_temp.id(1));
select is((select count(*) from public.notifications), 0::bigint, 'what slipped through a block is not shown');
reset role;
delete from public.user_blocks;
select private.notify(pg_temp.id(2), 'comment', pg_temp.id(1), 'post', pg_temp.id(931));
select pg_temp.be(pg_temp.id(1));
delete from public.notifications;
reset role;
select results_eq(
    $$select distinct user_id from public.notifications$$, $$select pg_temp.id(2)$$, 'one may throw one''s own away'
);

-- Leaving.
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(2), 'post', pg_temp.id(930));
select pg_temp.be(pg_temp.id(2));
select is(jsonb_array_length(public.export_my_data() -> 'notifications'), 1, 'a part of the export');
reset role;
delete from auth.users where id = pg_temp.id(2);
select is_empty($$select from public.notifications$$, 'an account that ends takes what it was told and what was told of it');

select * from finish();
rollback;
