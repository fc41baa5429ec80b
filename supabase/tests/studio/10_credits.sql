-- Credits: what packs, bonuses and trials give, in which order they are used, when they end, what of them goes back, and
-- what is owed. The books agree at every step.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
create function pg_temp.pack(cents bigint) returns uuid language sql security definer as $$
    select id from public.credit_packs where price_cents = cents
$$;
create function pg_temp.line_of(bought uuid) returns uuid language sql security definer as $$
    select i.id from public.order_items as i where i.order_id = bought
$$;
-- remaining/held/captured/expired/taken back/repaid of somebody's lots, the oldest first
create function pg_temp.lots(who integer) returns text language sql security definer as $$
    select string_agg(concat_ws(
        ' ', l.category,
        concat_ws('/', remaining_cents, held_cents, captured_cents, expired_cents, taken_back_cents, repaid_cents),
        nullif(owed_cents, 0)
    ), ', ' order by private.credit_priority(category) desc, created_at, id)
    from public.credit_lots as l where user_id = pg_temp.id(who)
$$;
create function pg_temp.balance(who integer) returns text language sql security definer as $$
    select concat_ws('/', available_cents, held_cents, debt_cents) from private.credit_balances
    where user_id = pg_temp.id(who)
$$;
create function pg_temp.photos(who integer, n integer) returns uuid[] language plpgsql security definer as $$
declare
    made uuid[];
begin
    with m as (
        insert into public.media (
            owner_id, purpose, status, ready_at, bucket, content_type, width, height, color, is_animated, derivatives
        )
        select pg_temp.id(who), 'photo_input', 'ready', now(), 'studio', 'image/jpeg', 8, 8, '#ffffff', false,
            '{"full": {"path": "a", "bytes": 1}}'
        from generate_series(1, n)
        returning id
    )
    select array_agg(m.id) into made from m;
    return made;
end
$$;
create function pg_temp.job(who integer, n integer) returns uuid language plpgsql as $$
declare
    photos uuid[] := pg_temp.photos(who, n);
    job uuid;
begin
    perform pg_temp.be(pg_temp.id(who));
    select id into job from public.create_photo_job('brighter', photos);
    perform set_config('role', 'none', true);
    return job;
end
$$;
-- The verdict about each photo of a job, in their order.
create function pg_temp.verdicts(job uuid, verdicts text[]) returns void language plpgsql as $$
declare
    photo record;
begin
    perform private.claim_photos('toy', 100);
    for photo in
        select a.id, i.position, j.user_id from private.photo_attempts as a
        inner join public.photo_job_items as i on i.id = a.item_id and i.attempts_count = a.no
        inner join public.photo_jobs as j on j.id = i.job_id
        where i.job_id = job and i.status = 'sent'
        order by i.position
    loop
        perform private.settle_photo(
            photo.id, verdicts[photo.position],
            case when verdicts[photo.position] = 'succeeded' then (pg_temp.photos(3, 1))[1] end
        );
    end loop;
end
$$;
create function pg_temp.wrong() returns text language sql security definer as $$
    select string_agg(concat_ws(': ', invariant, subject, detail), E'\n') from ledger.audit()
$$;
grant execute on all functions in schema pg_temp to public;
create temporary table t (n text, id uuid);
grant all on t to public;

-- a pack
insert into t select 'pack', pg_temp.buy(2, pg_temp.pack(2000));
select is(pg_temp.lots(2), 'paid 2000/0/0/0/0/0, bonus 400/0/0/0/0/0', 'a pack of 20.00 gives 2,000 credits and its bonus');
select is(pg_temp.balance(2), '2400/0/0', 'and so say the books');
select results_eq(
    $$ select a.code, sum(e.amount_cents)::bigint
    from ledger.journal as j inner join ledger.entries as e on e.journal_id = j.id
    inner join ledger.accounts as a on a.id = e.account_id
    where j.kind in ('sale', 'credits_granted') group by a.code order by a.code $$,
    $$ values ('clearing:stripe', -2000::bigint), ('credits', 2400), ('fees:stripe', 88), ('promotions', -400),
    ('revenue', -88) $$,
    'the platform bears the fee, and the bonus is its promotion'
);
select is(pg_temp.wrong(), null, 'the books are right');
select results_eq(
    $$ select amount_total_cents, amount_fees_cents, amount_commission_cents, amount_seller_cents, amount_credits_cents
    from public.transactions $$,
    $$ values (2000::bigint, 88::bigint, -88::bigint, 0::bigint, 2000::bigint) $$, 'and what was sold says so'
);
select is_empty('select from public.catalog_items where kind = ''credit_pack'' and is_listed', 'shops do not list packs');

-- who reads and writes
select is(pg_temp.code_as(pg_temp.id(2), $$ update public.credit_lots set remaining_cents = 9 $$), '42501', 'lots are not written');
select is(pg_temp.code_as(pg_temp.id(2), $$ select from private.credit_balances $$), '42501', 'balances are not read');
select pg_temp.be(pg_temp.id(3));
select is_empty('select from public.credit_lots', 'nobody reads another''s lots');
select is((public.credit_balance()).available_cents, 0::bigint, 'who has none has none');
select pg_temp.be(pg_temp.id(2));
select results_eq(
    'select available_cents, held_cents, debt_cents from public.credit_balance()', 'values (2400::bigint, 0::bigint, 0::bigint)',
    'the owner asks'
);
select is((select count(*) from public.credit_statement()), 2::bigint, 'and sees what moved');
select is((select sum(available_cents) from public.wallet_statement()), null, 'which is not in the wallet''s statement');
reset role;
select is(pg_temp.code_as(pg_temp.id(2), $$ insert into public.credit_packs (title, price_cents) values ('Mine', 50) $$), '42501', 'members make no packs');
select is(pg_temp.code_as(pg_temp.id(4), $$ insert into public.credit_packs (title, price_cents) values ('New', 50) $$), null, 'admins do');
select is(pg_temp.code_as(pg_temp.id(4), $$ update public.credit_packs set seller_id = pg_temp.id(1) $$), '42501', 'for the platform only');
select is(pg_temp.code_as(pg_temp.id(2), $$ select public.checkout('[{"item_id": "a7e0e000-0000-4000-8000-000000001000", "details": {"bonus_cents": 9000}}]') $$), 'line_not_valid', 'nobody names their own bonus');

-- 72: a purchase refunded: pack 2,000 + 400 bonus, 500 spent
select pg_temp.verdicts(pg_temp.job(2, 1), '{succeeded}');
select is(pg_temp.lots(2), 'paid 1900/0/100/0/0/0, bonus 0/0/400/0/0/0', 'the bonus is used before what is paid');
insert into t select 'open', pg_temp.job(2, 1);
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.refund_credits(%L)', pg_temp.line_of(id))), 'credits_in_use',
    '72 refund: not while a job holds some'
) from t where n = 'pack';
select private.return_photos(id) from t where n = 'open';
select is(
    pg_temp.code_as(pg_temp.id(3), format('select public.refund_credits(%L)', pg_temp.line_of(id))), 'sale_not_found',
    '72 refund: nor by a stranger'
) from t where n = 'pack';
select pg_temp.be(pg_temp.id(2));
select is((public.refund_credits(pg_temp.line_of(id), 'k')).amount_cents, 1500::bigint, '72 refund: 2,000 - 500 = 1,500 back') from t where n = 'pack';
select is((public.refund_credits(pg_temp.line_of(id), 'k')).amount_cents, 1500::bigint, '72 refund: once for a key') from t where n = 'pack';
reset role;
select is(pg_temp.lots(2), 'paid 0/0/500/0/1500/0, bonus 0/0/400/0/0/0', '72 refund: nothing is left to spend meanwhile');
select is(pg_temp.code_as(pg_temp.id(2), format('select public.refund_credits(%L)', pg_temp.line_of(id))), 'no_unused_credits', '72 refund: nothing is left to give back') from t where n = 'pack';
select is(pg_temp.wrong(), null, '72 refund: the books are right while it is under way');
select private.record_refund(r.id, 're_1', 'succeeded') from public.refunds as r;
select is(pg_temp.wrong(), null, '72 refund: and when it is done');
select is(pg_temp.balance(2), '0/0/0', '72 refund: nothing is left');
select private.record_refund(r.id, 're_1', 'failed', 'closed account') from public.refunds as r;
select is(pg_temp.lots(2), 'paid 1500/0/500/0/0/0, bonus 0/0/400/0/0/0', '72 settled purchase later reversed: the credits are back once');
select is(pg_temp.wrong(), null, '72 settled purchase later reversed: and the books are right');

-- 73: chargeback after everything is spent
select pg_temp.verdicts(pg_temp.job(2, 3), '{succeeded,succeeded,succeeded}');
select private.revoke_line(pg_temp.line_of(id), 'disputed') from t where n = 'pack';
select is(pg_temp.balance(2), '0/0/2000', '73 chargeback: what is spent is owed');
select private.revoke_line(pg_temp.line_of(id), 'disputed') from t where n = 'pack';
select is(pg_temp.balance(2), '0/0/2000', '73 chargeback: once');
select is(
    pg_temp.code_as(pg_temp.id(2), format('select public.create_photo_job(''x'', %L)', pg_temp.photos(2, 1))),
    'credits_owed', '73 chargeback: no job while something is owed'
);
select pg_temp.buy(2, pg_temp.pack(1000));
select is(pg_temp.balance(2), '0/0/1000', '73 chargeback: the next purchase repays first');
select pg_temp.buy(2, pg_temp.pack(2000));
select is(pg_temp.balance(2), '1400/0/0', '73 chargeback: then there is something again');
select is(pg_temp.code_as(pg_temp.id(2), format('select public.create_photo_job(''x'', %L)', pg_temp.photos(2, 1))), null, '73 chargeback: and jobs');
-- What is owed for a payment that is disputed stands in refunds_payable until the provider has taken it.
select is(
    (select sum(e.amount_cents) from ledger.entries as e inner join ledger.accounts as a on a.id = e.account_id where a.code = 'refunds_payable'),
    2000::numeric, '73 chargeback: the money is the buyer''s bank''s, and not given back yet'
);
select is(pg_temp.wrong(), null, '73 chargeback: the books are right');
select private.create_refund(p.id, null, 2000, 'late', 'provider') from public.payments as p inner join t on t.id = p.order_id and t.n = 'pack';
select private.record_refund(r.id, 're_2', 'succeeded') from public.refunds as r where r.reason = 'late';
select is(pg_temp.balance(2), '900/500/0', '73 dispute then refund of one charge takes back once');
select is(pg_temp.wrong(), null, '73 dispute then refund: the books are right');

-- 70, 71: ends
insert into auth.users (id, email) values (pg_temp.id(6), '6@example.com');
insert into t select 'six', pg_temp.buy(6, pg_temp.pack(1000));
insert into t select 'last', pg_temp.job(6, 1);
update public.credit_lots set expires_at = now() - interval '1 second' where user_id = pg_temp.id(6);
select is(
    pg_temp.code_as(pg_temp.id(6), format('select public.create_photo_job(''x'', %L)', pg_temp.photos(6, 1))),
    'insufficient_credits', '70 expiry: what has ended is not spent, booked or not'
);
select pg_temp.be(pg_temp.id(6));
select is((public.credit_balance()).available_cents, 0::bigint, '70 expiry: nor shown');
reset role;
select is(private.expire_credits(10), 1, '70 expiry: the sweep books it');
select is(private.expire_credits(10), 0, '70 expiry: once');
select is(pg_temp.lots(6), 'paid 0/500/0/500/0/0', '70 expiry: from its own lot only, and not what is held');
select pg_temp.verdicts(id, '{failed}') from t where n = 'last';
select is(pg_temp.lots(6), 'paid 500/0/0/500/0/0', '71 a failed photo whose lot has ended: paid stays paid');
select ok(expires_at > now() + interval '29 days', '71 a failed photo whose lot has ended: for 30 days more') from public.credit_lots where user_id = pg_temp.id(6);
select is(pg_temp.wrong(), null, '71 the books are right');

-- 74: a pack's row says what is sold next, not what was
update public.credit_packs set price_cents = 3000, bonus_cents = 0, is_active = false where price_cents = 2000;
select is(pg_temp.balance(6), '500/0/0', '74 an edit of the product leaves bought credits alone');
insert into t select 'unpaid', (pg_temp.checkout(6, pg_temp.pack(1000)) ->> 'order_id')::uuid;
select private.revoke_line(pg_temp.line_of(id), 'removed') from t where n = 'unpaid';
select is(pg_temp.balance(6), '500/0/0', '74 revoking what was never granted does nothing');
select is(pg_temp.wrong(), null, '74 the books are right');

-- 75: a trial, once for a person
select is(pg_temp.code_as(pg_temp.id(3), 'select public.claim_trial()'), null, '75 a trial');
select is(pg_temp.lots(3), 'trial 500/0/0/0/0/0', '75 gives its credits');
select is(pg_temp.code_as(pg_temp.id(3), 'select public.claim_trial()'), 'trial_used', '75 once');
update auth.users set email = 'changed@example.com' where id = pg_temp.id(3);
select is(pg_temp.code_as(pg_temp.id(3), 'select public.claim_trial()'), 'trial_used', '75 once for an account, too, whatever its address is now');
update auth.users set email = '3@example.com' where id = pg_temp.id(3);
insert into auth.users (id, email, email_confirmed_at) values (pg_temp.id(7), '3+again@EXAMPLE.com', now()), (pg_temp.id(8), '8@example.com', null);
update auth.users set email_confirmed_at = null where id = pg_temp.id(8);
select is(pg_temp.code_as(pg_temp.id(7), 'select public.claim_trial()'), 'trial_used', '75 for a person, however the address is written');
select is(pg_temp.code_as(pg_temp.id(8), 'select public.claim_trial()'), 'trial_address_unconfirmed', '75 on a confirmed address');
delete from auth.users where id = pg_temp.id(3);
insert into auth.users (id, email, email_confirmed_at) values (pg_temp.id(9), '3@example.com', now());
select is(pg_temp.code_as(pg_temp.id(9), 'select public.claim_trial()'), 'trial_used', '75 also when the account was deleted in between');
select is(pg_temp.wrong(), null, '75 the books are right');

-- notices
select is((select count(*) from public.notifications where type = 'credits_low' and user_id = pg_temp.id(6)), 0::bigint, 'low: the last photo was bought with enough');
update public.credit_lots set expires_at = now() + interval '3 days' where user_id = pg_temp.id(6);
select is(private.tell_expiring_credits(10), 1, 'expiring: told');
select is(private.tell_expiring_credits(10), 0, 'expiring: once');

select * from finish();
rollback;
