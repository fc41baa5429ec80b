-- Physical goods: what sending them costs.

create function private.is_countries(codes text[]) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return cardinality(codes) <= 250 and coalesce(array_ndims(codes), 1) = 1 and not exists (
        select from unnest(codes) as c (code) group by c.code having c.code !~ '^[A-Z]{2}$' or c.code is null or count(*) > 1
    );
end
$$;
comment on function private.is_countries(text[]) is
'Whether these are codes of countries (ISO 3166, two capital letters), each once. Null for null.';
grant execute on function private.is_countries(text[]) to authenticated;

create table public.shipping_rates (
    id uuid not null default gen_random_uuid(),
    seller_id uuid not null default auth.uid(),
    name text not null,
    countries text[] not null default '{}',
    price_cents bigint not null,
    free_above_cents bigint,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint shipping_rates_pkey primary key (id),
    constraint shipping_rates_seller_id_fkey foreign key (seller_id) references public.profiles (id) on delete cascade,
    constraint shipping_rates_name_check check (char_length(name) between 1 and 100),
    constraint shipping_rates_countries_check check (private.is_countries(countries)),
    constraint shipping_rates_price_cents_check check (private.is_price(price_cents)),
    constraint shipping_rates_free_above_check check (free_above_cents between 0 and private.highest_amount_cents())
);

create index shipping_rates_seller_id_idx on public.shipping_rates (seller_id);
create unique index shipping_rates_elsewhere_key on public.shipping_rates (seller_id) where countries = '{}';

-- What a client that breaks these is told, see error_catalog().
comment on constraint shipping_rates_name_check on public.shipping_rates is
'invalid_shipping_rate: A name has 1 to 100 characters.';
comment on constraint shipping_rates_countries_check on public.shipping_rates is
'invalid_shipping_rate: Countries are codes of two capital letters (ISO 3166), each once.';
comment on constraint shipping_rates_price_cents_check on public.shipping_rates is
'invalid_price: Shipping is 0 or from 50 to 99999999 cents.';
comment on constraint shipping_rates_free_above_check on public.shipping_rates is
'invalid_price: An amount is from 0 to 99999999 cents.';
comment on index public.shipping_rates_elsewhere_key is
'already_done: There is a rate for all other countries already; change that one.';

comment on table public.shipping_rates is
'What a seller takes for sending, per group of countries and line. Everybody reads them, the seller writes them. A '
'country in none of them is not sent to, unless there is a rate for all others.';
comment on column public.shipping_rates.seller_id is 'Whose; the caller.';
comment on column public.shipping_rates.name is 'Name of the group of countries, one line.';
comment on column public.shipping_rates.countries is
'ISO 3166 codes of two capital letters; empty: all other countries. Of several rates the lowest counts.';
comment on column public.shipping_rates.price_cents is 'Shipping of one line, cents: 0, else 50 to 99999999.';
comment on column public.shipping_rates.free_above_cents is
'From this price of the seller''s shipped lines of an order on shipping is free, cents; null: never.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of name on public.shipping_rates
for each row execute function private.tidy_texts('name line required');
create trigger touch_updated_at before update on public.shipping_rates
for each row execute function private.touch_updated_at();

-- Each line of a checkout looks at all of its seller's.
create function private.check_shipping_rate() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if (select count(*) from public.shipping_rates as r where r.seller_id = new.seller_id) > 100 then
        perform private.fail('too_many_shipping_rates');
    end if;
    return null;
end
$$;
comment on function private.check_shipping_rate() is
'Trigger: at most 100 rates a seller. Error: too_many_shipping_rates.';
create trigger check_shipping_rate after insert on public.shipping_rates
for each row execute function private.check_shipping_rate();

alter table public.shipping_rates enable row level security;
grant select on public.shipping_rates to anon, authenticated, service_role;
grant insert (name, countries, price_cents, free_above_cents) on public.shipping_rates to authenticated;
grant update (name, countries, price_cents, free_above_cents) on public.shipping_rates to authenticated;
grant delete on public.shipping_rates to authenticated;
create policy shipping_rates_select_anon on public.shipping_rates for select to anon
using ((select p.id from public.profiles as p where p.id = seller_id) is not null);
create policy shipping_rates_select on public.shipping_rates for select to authenticated
using ((select p.id from public.profiles as p where p.id = seller_id) is not null);
create policy shipping_rates_insert on public.shipping_rates for insert to authenticated
with check (seller_id = (select private.member_id()));
create policy shipping_rates_update on public.shipping_rates for update to authenticated
using (seller_id = (select private.member_id())) with check (seller_id = (select private.member_id()));
create policy shipping_rates_delete on public.shipping_rates for delete to authenticated
using (seller_id = (select private.member_id()));

create function private.country_of(address jsonb) returns text
language plpgsql
immutable
set search_path = ''
as $$
declare
    country text := upper(btrim(address ->> 'country'));
begin
    return case when country ~ '^[A-Z]{2}$' then country end;
end
$$;
comment on function private.country_of(jsonb) is
'Country of a shipping address as a code of two letters (ISO 3166); null when it names none.';

create function private.shipping_price(seller uuid, country text, amount_cents bigint) returns bigint
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select case when r.free_above_cents <= amount_cents then 0 else r.price_cents end
        from public.shipping_rates as r
        where r.seller_id = shipping_price.seller and (r.countries = '{}' or shipping_price.country = any (r.countries))
        order by r.countries = '{}', 1
        limit 1
    );
end
$$;
comment on function private.shipping_price(uuid, text, bigint) is
'Shipping of one line to a country, cents, in an order with so many cents of this seller''s shipped lines; null where '
'the seller does not send to.';

insert into private.erasure_steps (step, phase, erases, statement) values
('shipping_rates', 'business', '{public.shipping_rates}', 'delete from public.shipping_rates where seller_id = $1');

insert into private.personal_data (section, relation, condition) values
('shipping_rates', 'public.shipping_rates', 't.seller_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('too_many_shipping_rates', 'PT409', 'You have too many shipping rates.', 'At most 100. Put countries together.'),
('address_required', 'PT400', 'A shipping address is required.',
'The detail names an item that is sent: give shipping_address with a country as a code of two letters (ISO 3166).'),
('shipping_not_available', 'PT409', 'The seller does not ship there.',
'The detail names the item; shipping_rates of its seller say where they send to.');
