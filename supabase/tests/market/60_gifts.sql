-- Gifts: what one is, who reads it, what is refused, every move of its state, and what is mailed.
begin;
\ir ../helpers.psql

select no_plan();
select pg_temp.people();
-- 6 is given to, 7 blocked 2.
insert into auth.users (id, email) select pg_temp.id(n), n || '@example.com' from generate_series(6, 8) as n;
insert into public.user_blocks (blocker_id, blocked_id) values (pg_temp.id(7), pg_temp.id(2));
create temporary table t as select pg_temp.product(1, 0) as free, pg_temp.product(1, 2000) as dear;
grant select on t to public;
create function pg_temp.give(who integer, line jsonb) returns text language sql as $$
    select pg_temp.code_as(pg_temp.id(who), format('select public.checkout(%L)', jsonb_build_array(
        jsonb_build_object('item_id', (select free from t)) || line
    )))
$$;
grant execute on all functions in schema pg_temp to public;
select pg_temp.ban();

-- structure
select col_is_pk('public', 'gifts', 'id', 'a row each');
select col_is_pk('private', 'gift_codes', 'gift_id', 'a code each');
select fk_ok('public', 'order_items', 'gift_id', 'public', 'gifts', 'id');
select fk_ok('public', 'order_items', 'gift_to_id', 'public', 'profiles', 'id');
select enum_has_labels('public', 'gift_status', array['ordered', 'waiting', 'given', 'refused'], 'states');
select ok(c.relrowsecurity, c.oid::regclass || ' is closed by default') from pg_catalog.pg_class as c
where c.oid in ('public.gifts'::regclass, 'private.gift_codes'::regclass);

-- refused
select is(pg_temp.give(who, line), code, says) from (values
    (2, jsonb_build_object('gift_to', pg_temp.id(7)), 'gift_not_possible', 'to somebody who blocked them'),
    (7, jsonb_build_object('gift_to', pg_temp.id(2)), 'gift_not_possible', 'to somebody they blocked'),
    (2, jsonb_build_object('gift_to', pg_temp.id(5)), 'gift_not_possible', 'to somebody who was banned'),
    (2, jsonb_build_object('gift_to', pg_temp.id(99)), 'gift_not_possible', 'to nobody'),
    (2, jsonb_build_object('gift_to', pg_temp.id(1)), 'gift_not_possible', 'to whose it is'),
    (1, jsonb_build_object('gift_to', pg_temp.id(6)), 'own_item', 'by whose it is'),
    (5, jsonb_build_object('gift_to', pg_temp.id(6)), 'banned', 'by somebody who was banned'),
    (2, '{"gift_to": "x"}', 'invalid_checkout', 'to what is no id'),
    (2, '{"gift_email": "x"}', 'invalid_checkout', 'to what is no address'),
    (2, '{"gift_email": "a@b.c, d@e.f"}', 'invalid_checkout', 'to two addresses'),
    (2, '{"gift_email": "a@b", "gift_to": "00000000-0000-4000-8000-000000000006"}', 'invalid_checkout', 'to both'),
    (2, '{"give_to": "00000000-0000-4000-8000-000000000006"}', 'invalid_checkout', 'by another word')
) as x (who, line, code, says);
select is_empty('select from public.gifts', 'what is refused leaves none');

-- given
select is(pg_temp.give(2, jsonb_build_object('gift_to', pg_temp.id(6))), null, 'to a member');
select is(pg_temp.give(2, '{"gift_email": "a@example.com"}'), null, 'to an address');
select is(pg_temp.give(2, jsonb_build_object('gift_to', pg_temp.id(6))), 'gift_not_possible', 'not what they have');
select results_eq(
    $$select payer_id, receiver_id, status::text, given_at is not null, claimed_at from public.gifts
    order by receiver_id nulls last$$,
    $$values (pg_temp.id(2), pg_temp.id(6), 'given', true, null::timestamptz), (pg_temp.id(2), null, 'waiting', false, null)$$,
    'free ones at once'
);
select is(private.owns_item(pg_temp.id(n), (select free from t)), owns, says) from (values
    (2, false, 'who pays owns nothing'), (6, true, 'who is given to does')
) as x (n, owns, says);
select results_eq(
    $$select type, actor_id from public.notifications where user_id = pg_temp.id(6)$$,
    $$values ('gift', pg_temp.id(2))$$, 'and is told by whom'
);

-- who reads
create function pg_temp.seen(who integer) returns bigint language plpgsql as $$
declare
    found bigint;
begin
    perform pg_temp.be(pg_temp.id(who));
    select count(*) into found from public.gifts;
    perform set_config('role', 'none', true);
    return found;
end
$$;
select is(pg_temp.seen(who), gifts, says) from (values
    (2, 2::bigint, 'the payer reads what they gave'), (6, 1, 'the receiver what they got'), (1, 0, 'the seller none'),
    (3, 0, 'strangers none'), (4, 2, 'admins all')
) as x (who, gifts, says);
select is(pg_temp.code_as(null, 'select from public.gifts', 'anon'), '42501', 'visitors none');
select is(pg_temp.code_as(pg_temp.id(2), statement), '42501', statement) from unnest(array[
    'select from private.gift_codes', 'update public.gifts set status = ''given''', 'delete from public.gifts',
    'insert into public.gifts (id) values (gen_random_uuid())', 'select private.claim_gift_mail(1)'
]) as statement;

-- mailed and claimed
create temporary table m as select private.claim_gift_mail(300) as mail;
select is((select mail ->> 'to' from m), 'a@example.com', 'the code is mailed');
select is(private.claim_gift_mail(300), null, 'once while it is being mailed');
select matches((select mail ->> 'code' from m), '^[0-9a-f]{32}$', 'a long one');
create function pg_temp.claim(who integer) returns text language sql security definer as $$
    select pg_temp.code_as(pg_temp.id(who), format('select public.claim_gift(%L)', (select mail ->> 'code' from m)))
$$;
create function pg_temp.code() returns text language sql security definer as $$ select mail ->> 'code' from m $$;
grant execute on all functions in schema pg_temp to public;
select is(pg_temp.code_as(pg_temp.id(who), format('select public.claim_gift(%L)', pg_temp.code())), code, says) from (values
    (1, 'own_item', 'its seller claims nothing'), (6, 'already_owned', 'nor who has it'),
    (7, 'gift_not_found', 'nor who blocked its payer'), (5, 'banned', 'nor who was banned')
) as x (who, code, says);
select is(pg_temp.code_as(null, 'select public.claim_gift(''x'')', 'anon'), '42501', 'nor visitors');
select is(pg_temp.code_as(pg_temp.id(8), format('select public.claim_gift(%L)', pg_temp.code())), null, 'anybody else does');
select is(pg_temp.code_as(pg_temp.id(3), format('select public.claim_gift(%L)', pg_temp.code())), 'gift_not_found', 'once');
select is_empty('select from private.gift_codes where email is not null or code_hash is not null', 'the address is forgotten');

-- every move
create function pg_temp.move(before text, after text) returns text language plpgsql as $$
declare
    code text;
begin
    begin
        set constraints all immediate;
        insert into public.gifts (id, payer_id, item_id) values (pg_temp.id(70), pg_temp.id(2), (select free from t));
        if before in ('waiting', 'given', 'refused') then
            update public.gifts set status = case when before = 'waiting' then 'waiting' else 'given' end::public.gift_status,
                given_at = case when before <> 'waiting' then now() end where id = pg_temp.id(70);
        end if;
        if before = 'refused' then
            update public.gifts set status = 'refused' where id = pg_temp.id(70);
        end if;
        code := pg_temp.code_of(format(
            'update public.gifts set status = %L, given_at = case when %L then now() end where id = pg_temp.id(70)',
            after, after in ('given', 'refused')
        ));
        raise exception using errcode = 'XX001', message = coalesce(code, 'allowed');
    exception when sqlstate 'XX001' then
        return sqlerrm;
    end;
end
$$;
select is(
    pg_temp.move(b.s, a.s),
    case when exists (
        select from private.state_moves as m
        where m.relation = 'public.gifts' and m.from_state = b.s and m.to_state = a.s
    ) then 'allowed' else 'move_not_allowed' end, format('%s to %s', b.s, a.s)
)
from unnest(array['ordered', 'waiting', 'given', 'refused']) as b (s)
cross join unnest(array['ordered', 'waiting', 'given', 'refused']) as a (s)
where a.s <> b.s;

-- refused by its receiver
create function pg_temp.gift(receiver integer) returns uuid language sql security definer as $$
    select g.id from public.gifts as g where g.receiver_id = pg_temp.id(receiver)
$$;
select is(pg_temp.code_as(pg_temp.id(who), format('select public.refuse_gift(%L)', pg_temp.gift(receiver))), code, says)
from (values
    (2, 6, 'gift_not_found', 'not by its payer'), (1, 6, 'gift_not_found', 'nor its seller'),
    (4, 6, 'gift_not_found', 'nor an admin'), (8, 8, 'state_changed', 'nor who claimed it'),
    (6, 6, null, 'by whom it was given to'), (6, 6, 'state_changed', 'once')
) as x (who, receiver, code, says);
select is(private.owns_item(pg_temp.id(6), (select free from t)), false, 'it is gone');
select is((select revoked_reason from public.purchases where owner_id = pg_temp.id(6)), 'refused', 'with a reason');
select is_empty('select * from ledger.audit()', 'the books are right');

-- erased
select is(pg_temp.give(2, '{"gift_email": "b@example.com"}'), null, 'another to an address');
select pg_temp.be(pg_temp.id(2));
select is(jsonb_array_length(public.export_my_data() -> 'gifts'), 3, 'a payer takes their gifts along');
select public.delete_my_account();
reset role;
select private.advance_account(pg_temp.id(2));
select is_empty('select from private.gift_codes where email is not null', 'addresses go with the account');

select * from finish();
rollback;
