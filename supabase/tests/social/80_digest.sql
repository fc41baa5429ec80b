begin;
\ir ../helpers.psql
set local search_path = public, extensions;
select no_plan();

select pg_temp.people();
update auth.users set email_confirmed_at = now();
update public.profiles set username = 'user' || right(id::text, 1);
update public.profiles set display_name = 'Ana' where id = pg_temp.id(2);
delete from public.notifications;
delete from private.mails;

create function pg_temp.age(span interval default '2 hours') returns void language sql as $$
    update public.notifications set created_at = created_at - span
$$;
create function pg_temp.digests() returns bigint language sql as $$
    select private.prepare_digests(null, 1000);
    select count(*) from private.mails where kind = 'digest' and state = 'due'
$$;

-- Digests.
select is(pg_temp.digests(), 0::bigint, 'nothing to tell');
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(2), 'post', pg_temp.id(900));
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(3), 'post', pg_temp.id(901));
select private.notify(pg_temp.id(1), 'comment', pg_temp.id(3), 'post', pg_temp.id(902));
select private.notify(pg_temp.id(1), 'like', pg_temp.id(2), 'post', pg_temp.id(900));
select is(pg_temp.digests(), 0::bigint, 'what is new may still be read');
select pg_temp.age();
select is(pg_temp.digests(), 1::bigint, 'after an hour it is mailed');
select is(pg_temp.digests(), 1::bigint, 'once');
create temp table claimed as select private.claim_mail(60) as mail;
select is((select mail ->> 'to' from claimed), '1@example.com', 'to the confirmed address');
select is(
    (select jsonb_path_query_array(mail, '$.sections[*].type') from claimed), '["comment", "like"]'::jsonb, 'by type'
);
select is(
    (select mail #> '{sections,0}' from claimed),
    '{"type": "comment", "title": "New comment", "message": "Somebody commented on what you shared.", "count": 3,
    "names": ["Ana", "user3"], "link_url": "/notifications"}', 'with counts and names'
);
select is(
    (select mail #>> '{sections,1,link_url}' from claimed), '/posts/' || pg_temp.id(900),
    'a single one leads to its place'
);
select is(private.claim_mail(60), null, 'nobody else gets it');
update private.mails set due_at = now();
select is(private.claim_mail(60), (select mail from claimed), 'a lease that ran out gives the same mail again');
select private.notify(pg_temp.id(1), 'share', pg_temp.id(2), 'post', pg_temp.id(903));
update private.mails set due_at = now();
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(1), pg_temp.id(2));
select is(
    (select jsonb_path_query_array(private.claim_mail(60), '$.sections[*].names')), '[["user3"]]'::jsonb,
    'who became invisible is not in it, what came since neither'
);
delete from public.user_blocks;
select private.mail_sent((mail ->> 'mail_id')::uuid) from claimed;
select results_eq($$select state::text, attempts from private.mails$$, $$values ('sent', 3)$$, 'sent');
update private.mails set due_at = now();
select is(private.claim_mail(60), null, 'and over');

select private.notify(pg_temp.id(1), 'reply', pg_temp.id(3), 'comment', pg_temp.id(904));
select pg_temp.age();
select is(pg_temp.digests(), 0::bigint, 'at most one a day');
update private.mails set ended_at = now() - interval '25 hours';
select is(pg_temp.digests(), 1::bigint, 'the next day the next');
select is(
    (select jsonb_path_query_array(private.claim_mail(60), '$.sections[*].type')), '["reply"]'::jsonb, 'of what is new'
);
update private.mails set state = 'dropped', ended_at = now() where state = 'due';
delete from private.mailed_notifications where mail_id in (select id from private.mails where state = 'dropped');
select is(pg_temp.digests(), 1::bigint, 'a dropped one was none');
update public.notifications set is_read = true, read_at = now();
select is(private.claim_mail(60), null, 'who has read it meanwhile gets no mail');
select is((select count(*) from private.mails where state = 'dropped'), 2::bigint, 'dropped');

-- Who gets none.
select private.notify(pg_temp.id(1), 'reply', pg_temp.id(3), 'comment', pg_temp.id(905));
select pg_temp.age();
update auth.users set email_confirmed_at = null where id = pg_temp.id(1);
select is(pg_temp.digests(), 0::bigint, 'no address confirmed, no mail');
update auth.users set email_confirmed_at = now() where id = pg_temp.id(1);
update public.profile_settings set notification_preferences = '{"reply": {"email": false}}' where user_id = pg_temp.id(1);
select is(pg_temp.digests(), 0::bigint, 'not of a type that is switched off');
update public.profile_settings set notification_preferences = '{"digest": {"email": false}}' where user_id = pg_temp.id(1);
select is(pg_temp.digests(), 0::bigint, 'none at all');
update public.profile_settings set notification_preferences = '{}';
select pg_temp.age('8 days');
select is(pg_temp.digests(), 0::bigint, 'nor of what is old');
delete from private.mails;
delete from public.notifications;

-- Immediate ones.
select private.notify(pg_temp.id(1), 'payout_failed', null, 'payout', pg_temp.id(906));
update public.notifications set is_read = true, read_at = now();
truncate claimed;
insert into claimed select private.claim_mail(60);
select is((select mail #>> '{sections,0,title}' from claimed), 'Payout failed', 'at once, read or not');
select is((select mail ->> 'unsubscribe_token' from claimed), null, 'not to be switched off');
select private.mail_failed((mail ->> 'mail_id')::uuid, 'later', false, 60) from claimed;
select results_eq(
    $$select state::text, due_at = now() + interval '60 seconds', last_error from private.mails$$,
    $$values ('due', true, 'later')$$, 'tried again later'
);
update private.mails set attempts = 20;
select private.mail_failed((mail ->> 'mail_id')::uuid, 'later', false, 60) from claimed;
select is((select due_at from private.mails), now() + interval '1 hour', 'in an hour at the latest');
select private.mail_failed((mail ->> 'mail_id')::uuid, 'nobody there', true, 60) from claimed;
select is((select state::text from private.mails), 'failed', 'refused for good');
select is(private.mail_address(pg_temp.id(1)), null, 'there is no address any more');
select is_empty(
    $$select private.notify(pg_temp.id(1), 'payout_failed', null, 'payout', pg_temp.id(906)), private.claim_mail(60)
    where private.claim_mail(60) is not null$$, 'nothing is mailed there again'
);
update auth.users set email = 'one@example.com' where id = pg_temp.id(1);
select is(private.mail_address(pg_temp.id(1)), 'one@example.com', 'but to another one');
select private.notify(pg_temp.id(1), 'payout_failed', null, 'payout', pg_temp.id(905));
select private.mail_failed((private.claim_mail(60) ->> 'mail_id')::uuid, 'later', false, 60, true);
select private.mail_failed(m.id, 'later', false, 60, true) from private.mails as m where m.state = 'due';
select results_eq(
    'select is_permanent, bounces, retry_at from public.mail_bounces',
    $$values (false, 2, now() + interval '2 minutes')$$, 'each refusal doubles the time'
);
update private.mails set due_at = now() where state = 'due';
select is(private.claim_mail(60), null, 'until then no mail goes there');
update public.mail_bounces set retry_at = now();
update private.mails set due_at = now() where state = 'due';
select private.mail_sent((private.claim_mail(60) ->> 'mail_id')::uuid);
select is_empty('select from public.mail_bounces', 'what arrives ends it');
update auth.users set email = '1@example.com' where id = pg_temp.id(1);
delete from private.mails;
select private.notify(pg_temp.id(1), 'payout_failed', null, 'payout', pg_temp.id(907));
update private.mails set created_at = now() - interval '4 days';
select is(private.claim_mail(60), null, 'nobody wants it after days');
select is((select state::text || ': ' || last_error from private.mails), 'failed: too old', 'given up');
update private.mails set ended_at = now() - interval '181 days';
select is(private.forget_mails(), 1, 'and forgotten');
insert into public.bans (user_id, reason) values (pg_temp.id(3), 'spam');
select is((select private.claim_mail(60) #>> '{sections,0,type}'), 'account_banned', 'the banned learn it by e-mail');
select private.notify(pg_temp.id(2), 'refund', null, 'order', pg_temp.id(908));
insert into public.bans (user_id, reason) values (pg_temp.id(2), 'spam');
select is((select private.claim_mail(60) #>> '{sections,0,type}'), 'account_banned', 'and nothing else');
delete from public.bans;

-- The link in the mail.
delete from private.mails;
delete from public.notifications;
update public.profile_settings set notification_preferences = '{"like": {"in_app": false}, "digest": {"in_app": true}}';
select private.notify(pg_temp.id(1), 'reply', pg_temp.id(3), 'comment', pg_temp.id(905));
select pg_temp.age();
select pg_temp.digests();
select is(private.unsubscribe(gen_random_uuid()), null, 'an unknown token does nothing');
select is(private.unsubscribe((select unsubscribe_token from private.mails)), 'digest', 'a digest''s ends digests');
select is(private.unsubscribe((select unsubscribe_token from private.mails)), 'digest', 'twice is once');
select is(
    (select notification_preferences from public.profile_settings where user_id = pg_temp.id(1)),
    '{"like": {"in_app": false}, "digest": {"in_app": true, "email": false}}'::jsonb, 'and touches nothing else'
);
update private.notification_types set email = 'immediate' where type = 'reply';
select private.notify(pg_temp.id(1), 'reply', pg_temp.id(3), 'comment', pg_temp.id(906));
select is(
    private.unsubscribe((select unsubscribe_token from private.mails where type = 'reply')), 'reply',
    'a single one''s its type'
);
select private.notify(pg_temp.id(1), 'reply', pg_temp.id(3), 'comment', pg_temp.id(907));
select is((select count(*) from private.mails where type = 'reply'), 1::bigint, 'no more of them');
select private.notify(pg_temp.id(1), 'payout', null, 'payout', pg_temp.id(907));
select is(
    private.unsubscribe((select unsubscribe_token from private.mails where type = 'payout')), null,
    'what cannot be switched off is not'
);

-- Nobody but the workers.
select is(pg_temp.code_as(pg_temp.id(1), 'select private.claim_mail(1)'), '42501', 'not for members');
select is(pg_temp.code_as(pg_temp.id(1), 'select from private.mails'), '42501', 'nor the table');
select ok(has_function_privilege('avenue_worker', 'private.claim_mail(integer)', 'execute'), 'the workers may');
select ok(not has_table_privilege('avenue_worker', 'private.mails', 'select'), 'by functions only');
delete from auth.users where id = pg_temp.id(1);
select is((select count(*) from private.mails where user_id = pg_temp.id(1)), 0::bigint,
'an account''s mails go with it');

select * from finish();
rollback;
