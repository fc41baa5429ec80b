-- Reviews: who may write and read what, which moves there are, what clients cannot write.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create temporary table t as select pg_temp.product(1, 2000) as item, pg_temp.product(1, 500) as other;
create function pg_temp.item() returns uuid language sql security definer as $$ select t.item from t $$;
create temporary table bought as select pg_temp.buy(2, pg_temp.item()) as first;
create function pg_temp.line() returns uuid language sql security definer as $$
    select i.id from public.order_items as i inner join bought as b on i.order_id = b.first
$$;
create function pg_temp.review() returns uuid language sql security definer as $$
    select r.id from public.reviews as r where r.reviewer_id = pg_temp.id(2)
$$;
-- What somebody (null: a visitor) reads of it.
create function pg_temp.reads(who integer) returns integer language plpgsql as $$
declare
    n integer;
begin
    perform pg_temp.be(
        case when who is not null then pg_temp.id(who) end, case when who is null then 'anon' else 'authenticated' end
    );
    select count(*) into n from public.reviews;
    perform set_config('role', 'none', true);
    return n;
end
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.ban();

-- refused
select is(pg_temp.code_as(pg_temp.id(who), format('select public.review_item(%s)', arguments)), code, says)
from (values
    (3, 'pg_temp.item(), 5', 'review_not_allowed', 'who did not buy it reviews nothing'),
    (1, 'pg_temp.item(), 5', 'review_not_allowed', 'nor its seller'),
    (4, 'pg_temp.item(), 5', 'review_not_allowed', 'nor an admin'),
    (2, 'pg_temp.id(99), 5', 'review_not_allowed', 'nor what does not exist'),
    (2, 'null, 5', 'review_not_allowed', 'nor nothing'),
    (2, 'pg_temp.item(), 5, null, pg_temp.id(99)', 'review_not_allowed', 'nor by another line'),
    (5, 'pg_temp.item(), 5', 'banned', 'who is banned reviews nothing'),
    (2, 'pg_temp.item(), 0', '23514', 'a rating is at least 1'),
    (2, 'pg_temp.item(), 6', '23514', 'a rating is at most 5'),
    (2, 'pg_temp.item(), null', '23502', 'a rating is needed'),
    (2, 'pg_temp.item(), 5, repeat(''x'', 5001)', '23514', 'a text has at most 5,000 characters')
) as x (who, arguments, code, says);
select is(pg_temp.code_as(null, 'select public.review_item(pg_temp.item(), 5)', 'anon'), '42501', 'visitors review nothing');
select is(
    pg_temp.code_as(pg_temp.id(1), 'select public.review_buyer(pg_temp.line(), 5)'), 'review_not_allowed',
    'nobody reviews the buyer of a product'
);
select is(
    pg_temp.code_as(pg_temp.id(2), 'select public.review_buyer(pg_temp.line(), 5)'), 'review_not_allowed',
    'buyers do not review themselves'
);
select is_empty('select from public.reviews', 'what is refused leaves nothing');

-- written
select is(
    pg_temp.code_as(pg_temp.id(2), 'select public.review_item(pg_temp.item(), 4, ''  Good. '')'), null,
    'who bought it reviews it'
);
select results_eq(
    'select rating, review_text, is_verified_purchase, status::text, is_counted, kind from public.reviews',
    $$values (4, 'Good.', true, 'published', true, 'product')$$, 'as said, tidied, verified, counted'
);
select results_eq(
    'select reviews_count, rating_average from public.catalog_items where id = pg_temp.item()', 'values (1, 4.00)',
    'the item shows it'
);
select results_eq(
    'select rating_average from public.catalog_items where id = (select other from t)', 'values (null::numeric)',
    'an item without reviews has no average'
);
select is(
    pg_temp.code_as(pg_temp.id(2), 'select public.review_item(pg_temp.item(), 5)'), 'already_reviewed', 'once'
);
select is(pg_temp.reads(who), 1, says)
from (values
    (null, 'visitors read it'), (1, 'its seller'), (2, 'its author'), (3, 'strangers'), (4, 'admins')
) as x (who, says);

-- clients write none of it
select is(pg_temp.code_as(pg_temp.id(2), statement), '42501', says)
from (values
    ('insert into public.reviews (item_id, rating) values (pg_temp.item(), 5)', 'no insert'),
    ('update public.reviews set rating = 5', 'no update'),
    ('update public.reviews set is_counted = false', 'nor of what is derived'),
    ('delete from public.reviews', 'no delete'),
    ('update public.item_ratings set stars_5 = 100', 'no counters'),
    ('insert into public.review_votes (review_id, user_id, is_helpful) values (pg_temp.review(), pg_temp.id(2), true)',
    'no votes')
) as x (statement, says);
select is(
    pg_temp.code_as(pg_temp.id(2), 'select private.move_ratings(array[pg_temp.item()], ''{5}'', ''{1}'')'), '42501',
    'what counts is not called by clients'
);
select is(
    pg_temp.code_as(pg_temp.id(2), 'select private.set_review_vote(pg_temp.review(), pg_temp.id(3), true)'), '42501',
    'nobody votes for somebody else'
);

-- votes, answers, edits
select is(pg_temp.code_as(pg_temp.id(who), statement), code, says)
from (values
    (2, 'select public.vote_on_review(pg_temp.review(), true)', 'vote_not_allowed', 'not of one''s own'),
    (1, 'select public.vote_on_review(pg_temp.review(), false)', 'vote_not_allowed', 'not by the seller'),
    (3, 'select public.vote_on_review(pg_temp.id(99), true)', 'review_not_found', 'not of nothing'),
    (5, 'select public.vote_on_review(pg_temp.review(), true)', 'banned', 'not by who is banned'),
    (3, 'select public.vote_on_review(pg_temp.review(), true)', null, 'by readers'),
    (3, 'select public.respond_to_review(pg_temp.review(), ''x'')', 'review_not_found', 'strangers do not answer'),
    (2, 'select public.respond_to_review(pg_temp.review(), ''x'')', 'review_not_found', 'nor do authors'),
    (1, 'select public.respond_to_review(pg_temp.review(), repeat(''x'', 5001))', '23514', 'at most 5,000 characters'),
    (1, 'select public.respond_to_review(pg_temp.review(), ''Thanks.'')', null, 'the seller does'),
    (3, 'select public.edit_review(pg_temp.review(), 1)', 'review_not_found', 'strangers do not edit'),
    (1, 'select public.edit_review(pg_temp.review(), 1)', 'review_not_found', 'nor sellers'),
    (2, 'select public.edit_review(pg_temp.review(), 9)', '23514', 'to a rating that is none'),
    (3, 'select public.delete_review(pg_temp.review())', 'review_not_found', 'strangers do not delete'),
    (1, 'select public.delete_review(pg_temp.review())', 'review_not_found', 'nor sellers'),
    (4, 'select public.delete_review(pg_temp.review())', 'review_not_found', 'nor admins, who hide'),
    (3, 'select public.decide_review(pg_temp.review(), true)', 'admin_only', 'admins decide'),
    (4, 'select public.decide_review(pg_temp.review(), true)', 'state_changed', 'on what waits'),
    (3, 'select public.item_reviews(pg_temp.item(), ''best'')', 'invalid_sort', 'there are two orders'),
    (3, 'select public.rating_histogram(pg_temp.id(99))', 'item_not_found', 'of what is there')
) as x (who, statement, code, says);
select results_eq(
    'select helpful_count, seller_response, response_version from public.reviews', $$values (1, 'Thanks.', 1)$$,
    'a vote and an answer'
);
select is(
    pg_temp.code_as(null, format('select public.vote_on_review(%L, true)', pg_temp.review()), 'anon'), '42501',
    'visitors do not vote'
);
-- What everybody calls, and what is told.
select is((select count(*) from public.notifications where user_id = pg_temp.id(1) and type = 'review'), 1::bigint,
    'the seller is told');
select is((select count(*) from public.notifications where user_id = pg_temp.id(2) and type = 'review_response'),
    1::bigint, 'the reviewer of the answer');

-- a hidden one
select is(
    pg_temp.code_as(pg_temp.id(4), $$select public.hide_content('review', pg_temp.review(), 'rude')$$), null, 'is hidden'
);
select is(pg_temp.reads(who), n, says)
from (values
    (null, 0, 'hidden: not by visitors'), (1, 0, 'not by its seller'), (2, 1, 'by its author'),
    (3, 0, 'not by strangers'), (4, 1, 'by admins')
) as x (who, n, says);
select results_eq(
    'select reviews_count, rating_average from public.catalog_items where id = pg_temp.item()',
    'values (0, null::numeric)', 'and counts nowhere'
);
select is(
    pg_temp.code_as(pg_temp.id(2), 'select public.edit_review(pg_temp.review(), 5)'), 'review_hidden', 'it stays as it is'
);
select is(pg_temp.code_as(pg_temp.id(2), 'select public.delete_review(pg_temp.review())'), 'review_hidden', 'and there');
select is(
    pg_temp.code_as(pg_temp.id(4), $$select public.restore_content('review', pg_temp.review())$$), null, 'is restored'
);

-- each move that is none
create function pg_temp.move(review public.reviews, f text, o text) returns void language plpgsql as $$
begin
    delete from public.reviews as r where r.id = review.id;
    insert into public.reviews (
        id, order_item_id, item_id, kind, reviewer_id, buyer_id, seller_id, rating, is_verified_purchase, status,
        publish_at, published_at, author_audience
    ) values (
        review.id, review.order_item_id, review.item_id, review.kind, review.reviewer_id, review.buyer_id,
        review.seller_id, 3, true, case f when 'rejected' then 'pending' else f end::public.review_status, now(),
        case f when 'published' then now() end, 'public'
    );
    if f = 'rejected' then
        update public.reviews as r set status = 'rejected' where r.id = review.id;
    end if;
    update public.reviews as r set
        status = o::public.review_status, published_at = case o when 'published' then now() end
    where r.id = review.id;
end
$$;
create temporary table kept as select r as review from public.reviews as r;
select is(pg_temp.code_of(format(
    'select pg_temp.move(k.review, %L, %L) from kept as k', f.s, o.s
)), case when exists (
    select from private.state_moves as m
    where m.relation = 'public.reviews' and m.from_state = f.s and m.to_state = o.s
) then null else 'move_not_allowed' end, f.s || ' > ' || o.s)
from unnest(enum_range(null::public.review_status)::text[]) as f (s)
cross join unnest(enum_range(null::public.review_status)::text[]) as o (s)
where f.s <> o.s;

select * from finish();
rollback;
