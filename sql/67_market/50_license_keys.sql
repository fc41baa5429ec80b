-- Licence keys of products that ask for them: one for each line that granted the product, with as many licence seats
-- as were bought. A key is never stored: it is derived from a secret of the platform and the row, so that its owner
-- can see it again, and compared by a slow hash. Software asks check_license() with the key alone and learns nothing
-- else. A refund and the seller disable it in two columns of their own, so that neither undoes what the other did.

create extension if not exists pgcrypto with schema extensions;

alter table public.products
add column license_seats integer,
add constraint products_license_seats_check check (license_seats between 1 and 1000);
comment on constraint products_license_seats_check on public.products is
'invalid_seats: A licence has from 1 to 1,000 seats.';
comment on column public.products.license_seats is
'Each sale from now on gets a licence key, for this many devices for each piece bought; null: no keys.';
grant insert (license_seats), update (license_seats) on public.products to authenticated;

-- Made when the first key is: no two platforms have the same.
create table private.license_secret (
    is_only boolean not null default true,
    secret bytea not null default extensions.gen_random_bytes(32),
    constraint license_secret_pkey primary key (is_only),
    constraint license_secret_is_only_check check (is_only),
    constraint license_secret_secret_check check (octet_length(secret) = 32)
);
comment on table private.license_secret is
'What licence keys are derived from: one row. Whoever has it and the table of keys can make every key; losing it, '
'nobody sees their key again, but those in use go on working.';
comment on column private.license_secret.is_only is 'True: there is one.';
comment on column private.license_secret.secret is '32 random bytes; nobody is granted it.';
alter table private.license_secret enable row level security;

create table public.license_keys (
    id uuid not null default gen_random_uuid(),
    order_item_id uuid not null,
    product_id uuid not null,
    owner_id uuid not null,
    seats integer not null,
    activations_count integer not null default 0,
    disabled_by_refund_at timestamptz,
    disabled_by_seller_at timestamptz,
    is_valid boolean not null generated always as (
        disabled_by_refund_at is null and disabled_by_seller_at is null
    ) stored,
    created_at timestamptz not null default now(),
    constraint license_keys_pkey primary key (id),
    constraint license_keys_line_key unique (order_item_id, product_id),
    constraint license_keys_order_item_id_fkey foreign key (order_item_id) references public.order_items (id),
    constraint license_keys_product_id_fkey foreign key (product_id) references public.products (id),
    constraint license_keys_owner_id_fkey foreign key (owner_id) references public.profiles (id),
    constraint license_keys_seats_check check (seats between 1 and 99000),
    constraint license_keys_activations_count_check check (activations_count >= 0)
);
create index license_keys_product_id_created_at_idx on public.license_keys (product_id, created_at desc);
create index license_keys_owner_id_created_at_idx on public.license_keys (owner_id, created_at desc);

comment on table public.license_keys is
'Licence keys, without the keys: their owner sees one by show_license_key(). Owner, seller and admins read; '
'settlement, refunds and set_license_disabled() write.';
comment on column public.license_keys.order_item_id is 'The line that granted it.';
comment on column public.license_keys.product_id is 'The product.';
comment on column public.license_keys.owner_id is 'Who owns the product by it.';
comment on column public.license_keys.seats is 'On how many devices it can be active at once.';
comment on column public.license_keys.disabled_by_refund_at is
'When the money went back; null again when that fails.';
comment on column public.license_keys.disabled_by_seller_at is 'When its seller disabled it; only they undo it.';
comment on column public.license_keys.is_valid is 'Neither.';

create table private.license_hashes (
    license_key_id uuid not null,
    product_id uuid not null,
    key_hash bytea not null,
    constraint license_hashes_pkey primary key (license_key_id),
    constraint license_hashes_key unique (product_id, key_hash),
    constraint license_hashes_license_key_id_fkey foreign key (license_key_id)
    references public.license_keys (id) on delete cascade,
    constraint license_hashes_product_id_fkey foreign key (product_id) references public.products (id)
);
comment on table private.license_hashes is 'What a key is compared with, apart from what clients read.';
comment on column private.license_hashes.key_hash is 'See license_hash().';
alter table private.license_hashes enable row level security;

create table public.license_activations (
    id uuid not null default gen_random_uuid(),
    license_key_id uuid not null,
    device_id text not null,
    device_name text,
    activated_at timestamptz not null default now(),
    constraint license_activations_pkey primary key (id),
    constraint license_activations_device_key unique (license_key_id, device_id),
    constraint license_activations_license_key_id_fkey foreign key (license_key_id)
    references public.license_keys (id) on delete cascade,
    constraint license_activations_device_id_check check (char_length(device_id) between 1 and 200),
    constraint license_activations_device_name_check check (char_length(device_name) between 1 and 100)
);
comment on constraint license_activations_device_id_check on public.license_activations is
'invalid_device: A device is named by 1 to 200 characters.';
comment on constraint license_activations_device_name_check on public.license_activations is
'invalid_device: A device''s name has at most 100 characters.';
comment on table public.license_activations is
'Devices a licence is active on. Only its owner reads them; written by activate_license() and deactivate_license().';
comment on column public.license_activations.device_id is
'What the software calls the device; the same one is one seat.';
comment on column public.license_activations.device_name is 'For people.';

select private.make_counter('public.license_activations', 'license_key_id', 'activations_count');

create function private.license_key(id uuid) returns text
language sql
stable
security definer
set search_path = ''
as $$
    -- 125 of the 256 bits, five to a letter, without I, L, O, U.
    select string_agg(
        case when n > 0 and n % 5 = 0 then '-' else '' end || substr(
            '0123456789ABCDEFGHJKMNPQRSTVWXYZ',
            1 + substring(h.bits from 1 + 5 * n for 5)::bit(5)::integer, 1
        ), '' order by n
    )
    from private.license_secret as s
    cross join lateral (
        select (
            'x' || encode(extensions.hmac(uuid_send(license_key.id), s.secret, 'sha256'), 'hex')
        )::bit(256) as bits
    ) as h
    cross join generate_series(0, 24) as n
$$;
comment on function private.license_key(uuid) is
'A key, five groups of five letters and digits: 125 bits nobody guesses. Null while there is no secret.';

create function private.license_hash(product_id uuid, key text) returns bytea
language plpgsql
immutable
set search_path = ''
as $$
declare
    -- As people type it.
    hash bytea := convert_to(product_id::text || translate(
        upper(regexp_replace(left(coalesce(key, ''), 100), '[^A-Za-z0-9]', '', 'g')), 'OIL', '011'
    ), 'UTF8');
begin
    for n in 1..2000 loop
        hash := sha256(hash);
    end loop;
    return hash;
end
$$;
comment on function private.license_hash(uuid, text) is
'What a key of a product is compared by, upper and lower case, hyphens and lookalikes aside. 2,000 rounds: every look, '
'right or wrong, takes the same milliseconds.';

create function private.issue_licenses(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (
        select from public.purchases as p
        inner join public.products as g on g.id = p.item_id
        where p.id = any (ids) and g.license_seats is not null and p.owner_id is not null
    ) then
        return;
    end if;
    insert into private.license_secret default values on conflict on constraint license_secret_pkey do nothing;
    with issued as (
        insert into public.license_keys (order_item_id, product_id, owner_id, seats)
        select i.id, g.id, p.owner_id, g.license_seats * i.quantity
        from public.purchases as p
        inner join public.order_items as i on i.id = p.order_item_id
        inner join public.products as g on g.id = p.item_id
        where p.id = any (ids) and g.license_seats is not null and p.owner_id is not null
        order by p.id
        -- Several units of one line are one key.
        on conflict on constraint license_keys_line_key do nothing
        returning id, product_id
    )
    insert into private.license_hashes (license_key_id, product_id, key_hash)
    select n.id, n.product_id, private.license_hash(n.product_id, private.license_key(n.id)) from issued as n;
end
$$;
comment on function private.issue_licenses(uuid[]) is
'Makes the keys of these purchases of products that ask for them.';

create function private.product_grant(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.issue_licenses(ids);
end
$$;
comment on function private.product_grant(uuid[]) is 'Hook grant: what was bought gets its licence key.';

create function private.product_give(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.issue_licenses(ids);
end
$$;
comment on function private.product_give(uuid[]) is
'Hook give: a gift that was claimed gets the key its owner could not have before.';

create function private.product_revoke(ids uuid[], reason text) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.license_keys as k set disabled_by_refund_at = now()
    from public.purchases as p
    where
        p.id = any (ids) and k.order_item_id = p.order_item_id and k.product_id = p.item_id
        and k.disabled_by_refund_at is null;
end
$$;
comment on function private.product_revoke(uuid[], text) is 'Hook revoke: a licence key ends with the right to it.';

create function private.product_restore(ids uuid[]) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.license_keys as k set disabled_by_refund_at = null
    from public.purchases as p
    where p.id = any (ids) and k.order_item_id = p.order_item_id and k.product_id = p.item_id;
end
$$;
comment on function private.product_restore(uuid[]) is
'Hook restore: the refund failed. What the seller disabled stays so.';

create function public.show_license_key(license_id uuid) returns text
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
begin
    if not exists (
        select from public.license_keys as k where k.id = show_license_key.license_id and k.owner_id = member
    ) then
        perform private.fail('license_not_found');
    end if;
    return private.license_key(show_license_key.license_id);
end
$$;
comment on function public.show_license_key(uuid) is
'The key of a licence of the caller''s, for their eyes: as often as they like. Error: license_not_found.';
grant execute on function public.show_license_key(uuid) to authenticated;

create function private.license_by_key(product_id uuid, key text) returns uuid
language sql
stable
security definer
set search_path = ''
as $$
    select h.license_key_id from private.license_hashes as h
    where
        h.product_id = license_by_key.product_id
        and h.key_hash = private.license_hash(license_by_key.product_id, license_by_key.key)
$$;
comment on function private.license_by_key(uuid, text) is 'Whose key this is of the product''s; null: nobody''s.';

create type public.license_state as enum ('valid', 'unknown', 'refunded', 'disabled');
comment on type public.license_state is
'What a key is worth. unknown: no key of this product. refunded: its money went back. disabled: by its seller.';

create type public.license_check as (is_valid boolean, state public.license_state);
comment on type public.license_check is 'Whether a key is valid, or why not. Always both, and nothing more.';

create function public.check_license(product_id uuid, key text) returns public.license_check
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    -- Before anything is looked up, whatever was sent.
    hash bytea := private.license_hash(coalesce(check_license.product_id, private.last_uuid()), check_license.key);
    state public.license_state;
begin
    select case
        when k.disabled_by_refund_at is not null then 'refunded'
        when k.disabled_by_seller_at is not null then 'disabled'
        else 'valid'
    end into state
    from private.license_hashes as h
    inner join public.license_keys as k on k.id = h.license_key_id
    where h.product_id = check_license.product_id and h.key_hash = hash;
    state := coalesce(state, 'unknown');
    return row(state = 'valid', state)::public.license_check;
end
$$;
comment on function public.check_license(uuid, text) is
'Software asks, without signing in, whether its key of a product is valid, or why not. Changes nothing and names '
'nobody. Send it by POST, so that no log has the key. No errors.';
grant execute on function public.check_license(uuid, text) to anon, authenticated;

create function private.lock_license(product_id uuid, key text, owner uuid) returns public.license_keys
language plpgsql
security definer
set search_path = ''
as $$
declare
    license public.license_keys;
begin
    -- Of several devices at once each sees the seats the others took.
    select * into license from public.license_keys as k
    where k.id = private.license_by_key(lock_license.product_id, lock_license.key) and k.owner_id = owner
    for no key update;
    if license.id is null then
        perform private.fail('license_not_found');
    end if;
    return license;
end
$$;
comment on function private.lock_license(uuid, text, uuid) is
'The licence of this owner with this key, locked; license_not_found for any other key.';

create function public.activate_license(product_id uuid, key text, device_id text, device_name text default null)
returns public.license_activations
language plpgsql
security definer
set search_path = ''
as $$
declare
    license public.license_keys := private.lock_license(
        activate_license.product_id, activate_license.key, private.require_member()
    );
    activation public.license_activations;
    device text := nullif(private.tidy_name(activate_license.device_id), '');
begin
    if device is null then
        perform private.fail('invalid_device', 'device_id');
    elsif not license.is_valid then
        perform private.fail('license_disabled', case
            when license.disabled_by_refund_at is not null then 'refunded' else 'disabled'
        end);
    end if;
    select * into activation from public.license_activations as a
    where a.license_key_id = license.id and a.device_id = device;
    if activation.id is not null then
        return activation;
    end if;
    if (select count(*) from public.license_activations as a where a.license_key_id = license.id) >= license.seats then
        perform private.fail('no_seats_left', license.seats::text);
    end if;
    insert into public.license_activations (license_key_id, device_id, device_name)
    values (license.id, device, activate_license.device_name)
    returning * into activation;
    return activation;
end
$$;
comment on function public.activate_license(uuid, text, text, text) is
'The owner of a licence takes one of its seats for a device; the same device again answers the same row. Errors: '
'license_not_found, license_disabled, no_seats_left, invalid_device.';
grant execute on function public.activate_license(uuid, text, text, text) to authenticated;

create function public.deactivate_license(product_id uuid, key text, device_id text) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    license public.license_keys := private.lock_license(
        deactivate_license.product_id, deactivate_license.key, private.require_member()
    );
begin
    delete from public.license_activations as a
    where a.license_key_id = license.id and a.device_id = private.tidy_name(deactivate_license.device_id);
end
$$;
comment on function public.deactivate_license(uuid, text, text) is
'The owner frees the seat of a device; one that has none is no error. Error: license_not_found.';
grant execute on function public.deactivate_license(uuid, text, text) to authenticated;

create function public.set_license_disabled(license_id uuid, disabled boolean) returns public.license_keys
language plpgsql
security definer
set search_path = ''
as $$
declare
    member uuid := private.require_member();
    license public.license_keys;
begin
    update public.license_keys as k
    set disabled_by_seller_at = case when coalesce(disabled, true) then coalesce(k.disabled_by_seller_at, now()) end
    where
        k.id = set_license_disabled.license_id
        and exists (select from public.products as p where p.id = k.product_id and p.seller_id = member)
    returning * into license;
    if license.id is null then
        perform private.fail('license_not_found');
    end if;
    return license;
end
$$;
comment on function public.set_license_disabled(uuid, boolean) is
'The seller disables a licence of their product or lets it work again; what a refund did is not theirs to undo. Error: '
'license_not_found.';
grant execute on function public.set_license_disabled(uuid, boolean) to authenticated;

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of device_id, device_name on public.license_activations
for each row execute function private.tidy_texts('device_id line', 'device_name line');

alter table public.license_keys enable row level security;
grant select on public.license_keys to authenticated, service_role;
create policy license_keys_select on public.license_keys for select to authenticated
using (
    owner_id = (select private.member_id())
    or (select private.is_admin())
    or exists (
        select from public.products as p
        where p.id = license_keys.product_id and p.seller_id = (select private.member_id())
    )
);

alter table public.license_activations enable row level security;
grant select on public.license_activations to authenticated, service_role;
create policy license_activations_select on public.license_activations for select to authenticated
using (
    exists (
        select from public.license_keys as k
        where k.id = license_activations.license_key_id and k.owner_id = (select private.member_id())
    )
);

insert into private.personal_data (section, relation, condition, stays, reason) values
('license_keys', 'public.license_keys', 't.owner_id = $1', '{owner_id}', 'the books: who bought what');
insert into private.personal_data (section, relation, condition) values
('license_activations', 'public.license_activations',
    't.license_key_id in (select k.id from public.license_keys as k where k.owner_id = $1)');
insert into private.erasure_steps (step, phase, erases, statement) values
('license_activations', 'records', '{public.license_activations}', $step$
    delete from public.license_activations as a using public.license_keys as k
    where k.id = a.license_key_id and k.owner_id = $1
$step$);

insert into private.error_codes (code, sqlstate, message, description) values
('license_not_found', 'PT404', 'There is no such licence.',
'Not one of the caller''s: a wrong key, another product''s or somebody else''s are all answered like this.'),
('license_disabled', 'PT409', 'This licence does not work any more.', 'The detail says why: refunded or disabled.'),
('invalid_device', 'PT400', 'A device has a name.', 'Send device_id, 1 to 200 characters that can be seen.'),
('no_seats_left', 'PT409', 'All seats of this licence are taken.',
'The detail says how many it has. Deactivate a device first.');
