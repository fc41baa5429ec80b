-- Coupons: what a seller, or the platform, takes off for whoever knows the code. Prices are cut by price_coupons(); how
-- often a coupon was used are rows, see 25_coupon_uses.

create function private.coupon_key(code text) returns text
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return normalize(lower(private.tidy_name(code)), nfkc);
end
$$;
comment on function private.coupon_key(text) is
'The one form of a code, however it was typed: NFKC, trimmed, in lower case.';
grant execute on function private.coupon_key(text) to authenticated;

create table public.coupons (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    code text not null,
    code_key text not null generated always as (private.coupon_key(code)) stored,
    percent_bps integer,
    amount_cents bigint,
    kinds text[] not null default '{}',
    item_ids uuid[] not null default '{}',
    option_ids uuid[] not null default '{}',
    minimum_cents bigint not null default 0,
    usage_limit integer,
    usage_limit_per_customer integer,
    budget_cents bigint,
    starts_at timestamptz not null default now(),
    ends_at timestamptz,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint coupons_pkey primary key (id),
    constraint coupons_seller_id_fkey foreign key (seller_id) references public.profiles (id),
    constraint coupons_code_check check (char_length(code) between 1 and 50),
    constraint coupons_discount_check check (
        num_nonnulls(percent_bps, amount_cents) = 1
        and (percent_bps between 1 and case when private.is_platform(seller_id) then 9999 else 10000 end) is not false
        and (amount_cents between 1 and private.highest_amount_cents()) is not false
    ),
    constraint coupons_minimum_check check (minimum_cents between 0 and private.highest_amount_cents()),
    constraint coupons_usage_limit_check check (usage_limit between 1 and 1000000),
    constraint coupons_usage_limit_per_customer_check check (usage_limit_per_customer between 1 and 1000000),
    constraint coupons_budget_check check (
        budget_cents is null or private.is_platform(seller_id) and budget_cents between 1 and 1000000000000
    ),
    constraint coupons_dates_check check (ends_at > starts_at)
);

create index coupons_seller_id_idx on public.coupons (seller_id);
-- Who ends a code can give it again.
create unique index coupons_code_key on public.coupons (seller_id, code_key) where is_active;

-- What a client that breaks these is told, see error_catalog().
comment on constraint coupons_code_check on public.coupons is 'invalid_coupon: A code has 1 to 50 characters.';
comment on constraint coupons_discount_check on public.coupons is
'invalid_coupon: Either percent_bps from 1 to 10000 or amount_cents from 1 to 99999999; the platform''s leave '
'something to pay.';
comment on constraint coupons_seller_id_fkey on public.coupons is 'user_not_found: There is no such member.';
comment on constraint coupons_minimum_check on public.coupons is
'invalid_coupon: A minimum is from 0 to 99999999 cents.';
comment on constraint coupons_usage_limit_check on public.coupons is
'invalid_coupon: A limit is from 1 to 1000000 uses.';
comment on constraint coupons_usage_limit_per_customer_check on public.coupons is
'invalid_coupon: A limit is from 1 to 1000000 uses.';
comment on constraint coupons_budget_check on public.coupons is
'invalid_coupon: Only the platform''s coupons have a budget, from 1 cent.';
comment on constraint coupons_dates_check on public.coupons is 'invalid_coupon: A coupon ends after it begins.';
comment on index public.coupons_code_key is
'already_done: You have a coupon with this code; change it, or end it first (is_active).';

comment on table public.coupons is
'What sellers take off for whoever knows a code. Read and written by the seller, and by admins, who write the '
'platform''s. A coupon that was used stays; end it by is_active.';
comment on column public.coupons.seller_id is 'Whose: the caller, or the platform''s own profile.';
comment on column public.coupons.code is 'What buyers type; letter case, width and spaces around it do not matter.';
comment on column public.coupons.code_key is
'The code as it is compared. Generated; unique among a seller''s active ones.';
comment on column public.coupons.percent_bps is 'Taken off, basis points; null: an amount.';
comment on column public.coupons.amount_cents is
'Taken off an order, cents, shared by its lines; null: a percentage.';
comment on column public.coupons.kinds is
'Kinds it is for. With item_ids and option_ids: any of them; all three empty: everything of the seller''s.';
comment on column public.coupons.item_ids is 'Items it is for, at most 100.';
comment on column public.coupons.option_ids is 'Options it is for, at most 100.';
comment on column public.coupons.minimum_cents is
'What the seller''s lines of an order cost at least before it, cents; shipping does not count.';
comment on column public.coupons.usage_limit is
'How many orders may use it; null: any number. Earlier uses count when it is set later.';
comment on column public.coupons.usage_limit_per_customer is 'How many of them of one buyer; null: any number.';
comment on column public.coupons.budget_cents is
'What the platform gives by it at most, in all, cents; null: no end. The platform''s only.';
comment on column public.coupons.starts_at is 'From when it counts; before that it does not exist for buyers.';
comment on column public.coupons.ends_at is
'Until when it counts; null: no end. Orders made before it ended keep what they were promised.';
comment on column public.coupons.is_active is 'False: ended by its owner.';

create trigger _tidy_texts before insert or update of code on public.coupons
for each row execute function private.tidy_texts('code line required');
create trigger touch_updated_at before update on public.coupons
for each row execute function private.touch_updated_at();

create function private.check_coupon() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    is_platforms boolean := private.is_platform(new.seller_id);
    wrong text;
begin
    if greatest(cardinality(new.kinds), cardinality(new.item_ids), cardinality(new.option_ids)) > 100 then
        perform private.fail('invalid_coupon', 'at most 100 of each: kinds, item_ids, option_ids');
    end if;
    select u.kind into wrong from unnest(new.kinds) as u (kind)
    where not exists (
        select from private.kinds as k
        where k.kind = u.kind and 'check_line' = any (k.hooks) and k.proceeds = 'seller' and k.commission = 'plan'
    )
    and (u.kind = any (old.kinds)) is not true
    limit 1;
    if found then
        perform private.fail('invalid_coupon', 'kinds: ' || coalesce(wrong, 'null'));
    end if;
    select u.id into wrong from unnest(new.item_ids) as u (id)
    where not exists (
        select from public.catalog_items as c where c.id = u.id and (c.seller_id = new.seller_id or is_platforms)
    )
    -- What was there may be gone since: that keeps nobody from ending the coupon.
    and (u.id = any (old.item_ids)) is not true
    limit 1;
    if found then
        perform private.fail('invalid_coupon', 'item_ids: ' || coalesce(wrong, 'null'));
    end if;
    select u.id into wrong from unnest(new.option_ids) as u (id)
    where not exists (
        select from public.catalog_options as o
        inner join public.catalog_items as c on c.id = o.item_id and (c.seller_id = new.seller_id or is_platforms)
        where o.id = u.id
    )
    and (u.id = any (old.option_ids)) is not true
    limit 1;
    if found then
        perform private.fail('invalid_coupon', 'option_ids: ' || coalesce(wrong, 'null'));
    end if;
    -- Of one seller's a checkout looks at those with the code only; this bounds what can be piled up.
    if tg_op = 'INSERT'
        and (select count(*) from public.coupons as c where c.seller_id = new.seller_id and c.is_active) >= 1000
    then
        perform private.fail('too_many_coupons');
    end if;
    if is_platforms then
        perform private.audit('write_coupon', 'coupon', new.id, to_jsonb(new) - '{created_at,updated_at}'::text[]);
    end if;
    return new;
end
$$;
comment on function private.check_coupon() is
'Trigger: a coupon is for kinds that are sold by sellers and for items and options of its own seller; the platform''s '
'are audited. Errors: invalid_coupon, too_many_coupons.';
create trigger check_coupon before insert or update on public.coupons
for each row execute function private.check_coupon();

create function private.keep_used_coupon() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if private.is_coupon_used(old.id) then
        perform private.fail('coupon_used', old.code);
    end if;
    return old;
end
$$;
comment on function private.keep_used_coupon() is
'Trigger: a coupon that was used is not deleted. Error: coupon_used.';
create trigger keep_used_coupon before delete on public.coupons
for each row execute function private.keep_used_coupon();

alter table public.coupons enable row level security;
grant
select, delete,
insert (
    seller_id, code, percent_bps, amount_cents, kinds, item_ids, option_ids, minimum_cents, usage_limit,
    usage_limit_per_customer, budget_cents, starts_at, ends_at, is_active
),
update (
    code, percent_bps, amount_cents, kinds, item_ids, option_ids, minimum_cents, usage_limit,
    usage_limit_per_customer, budget_cents, starts_at, ends_at, is_active
)
on public.coupons to authenticated;
grant select on public.coupons to service_role;
create policy coupons_select on public.coupons for select to authenticated
using (seller_id = (select private.member_id()) or (select private.is_admin()));
create policy coupons_insert on public.coupons for insert to authenticated
with check (
    seller_id = (select private.member_id()) or (private.is_platform(seller_id) and (select private.is_admin()))
);
create policy coupons_update on public.coupons for update to authenticated
using (seller_id = (select private.member_id()) or (private.is_platform(seller_id) and (select private.is_admin())))
with check (
    seller_id = (select private.member_id()) or (private.is_platform(seller_id) and (select private.is_admin()))
);
create policy coupons_delete on public.coupons for delete to authenticated
using (seller_id = (select private.member_id()) or (private.is_platform(seller_id) and (select private.is_admin())));

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('coupon', 'public.coupons', 'seller_id', null, '{}');

insert into private.erasure_steps (step, phase, erases, statement) values
('coupons', 'business', '{}', $step$
    with gone as (
        delete from public.coupons as c where c.seller_id = $1 and not private.is_coupon_used(c.id)
    )

    update public.coupons as c set is_active = false where c.seller_id = $1 and c.is_active
$step$);

insert into private.personal_data (section, relation, condition, stays, reason) values
('coupons', 'public.coupons', 't.seller_id = $1', '{seller_id, code, kinds}',
    'its orders stay in the books; removed where there are none');

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_coupon', 'PT400', 'This coupon is not allowed.', 'The detail names what is wrong with it.'),
('too_many_coupons', 'PT409', 'You have too many coupons.', 'At most 1,000 active ones. End some (is_active).'),
('coupon_not_found', 'PT404', 'There is no such coupon.',
'The detail is the code: nobody whose item is bought, nor the platform, has one with it that has begun and was not '
'ended.'),
('coupon_expired', 'PT409', 'This coupon has expired.', 'The detail is the code. Take it out and check out again.'),
('coupon_exhausted', 'PT409', 'This coupon is used up.',
'The detail is the code. Somebody who has it on an order that is not paid may give it back: try later, or take it '
'out.'),
('coupon_already_used', 'PT409', 'You have used this coupon as often as you may.', 'The detail is the code.'),
('coupon_not_applicable', 'PT409', 'This coupon is for other things.',
'The detail is the code: it takes nothing off any line of the order.'),
('coupon_minimum_not_reached', 'PT409', 'This coupon needs a larger order.',
'The detail is the code and the least, cents, that its seller''s lines of the order cost.'),
('coupon_price_too_low', 'PT409', 'This coupon leaves too little to pay.',
'What is left to pay of its lines is nothing or at least 50 cents; of each line of a platform''s coupon at least 50 '
'cents. The detail is the code.');
