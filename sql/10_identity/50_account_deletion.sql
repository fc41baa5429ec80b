-- The end of an account, and the copy of it its owner may take. Deleting a row of auth.users always works, whoever does
-- it: nothing refers to auth.users. What is personal is erased at once, stored files by the workers; what the books
-- refer to stays under a name that says nothing.

create table private.file_erasures (
    user_id uuid not null,
    requested_at timestamptz not null default now(),
    completed_at timestamptz,
    constraint file_erasures_pkey primary key (user_id)
);

create index file_erasures_requested_at_idx on private.file_erasures (requested_at) where completed_at is null;

comment on table private.file_erasures is
'Accounts whose stored files have to go. The job erase_user_files is only the wake-up; this row is the truth.';
comment on column private.file_erasures.user_id is 'The deleted account; its folder in every bucket.';
comment on column private.file_erasures.requested_at is 'When the account was deleted.';
comment on column private.file_erasures.completed_at is 'When nothing was left to erase; null until then.';
alter table private.file_erasures enable row level security;

-- People change what refers to two accounts, or to a group and an account, at the same instant. These gates order
-- them: shared for those who take part, exclusive for who ends an account, blocks, passes on or deletes. Locks of one
-- gate are taken in one order; few in number, because advisory locks are a shared, limited resource and one request
-- can name thousands of people.
create function private.lock_gates(gate text, shared uuid[], exclusive uuid[] default '{}') returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    turn record;
begin
    for turn in
        select uuid_hash(g.id) & 1023 as stripe, bool_or(g.exclusive) as exclusive
        from (
            select s.id, false as exclusive from unnest(lock_gates.shared) as s (id)
            union all
            select e.id, true from unnest(lock_gates.exclusive) as e (id)
        ) as g
        where g.id is not null
        group by 1
        order by 1
    loop
        if turn.exclusive then
            perform pg_advisory_xact_lock(hashtext('avenue:' || gate), turn.stripe);
        else
            perform pg_advisory_xact_lock_shared(hashtext('avenue:' || gate), turn.stripe);
        end if;
    end loop;
end
$$;
comment on function private.lock_gates(text, uuid[], uuid[]) is
'Enters the gates of accounts (gate account) or groups (gate group) until the transaction ends. Accounts before '
'groups, both before any row that is changed; what was read before has to be read again.';

create table private.erasure_steps (
    step text not null,
    position integer not null,
    statement text not null,
    constraint erasure_steps_pkey primary key (step)
);
comment on table private.erasure_steps is
'What erase_account() does besides: each aggregate that holds personal data adds its step on its page.';
comment on column private.erasure_steps.step is 'Name, usually of the relation.';
comment on column private.erasure_steps.position is
'Order, ascending: who refers comes before what is referred to. Negative ones run before the profile''s own row is '
'locked: they change rows that others hold while they wait for it.';
comment on column private.erasure_steps.statement is 'One SQL statement; $1 is the user''s id.';
alter table private.erasure_steps enable row level security;

create function private.erase_account(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    step private.erasure_steps;
begin
    -- One account ends at a time: two that liked and followed each other would wait in a circle.
    perform private.take_standing_turn();
    perform private.lock_gates('account', '{}', array[erase_account.user_id]);
    insert into private.file_erasures as f (user_id) values (erase_account.user_id)
    on conflict on constraint file_erasures_pkey do update set requested_at = now(), completed_at = null;
    for step in select * from private.erasure_steps as e where e.position < 0 order by e.position, e.step loop
        execute step.statement using erase_account.user_id;
    end loop;

    -- Items before the profile: the order in which a seller's own changes take their locks.
    perform private.erase_products(erase_account.user_id);
    perform private.erase_artworks(erase_account.user_id);

    -- Unlists what is left and ends membership.
    update public.profiles as p set
        username = 'deleted-' || left(encode(sha256(uuid_send(p.id)), 'hex'), 22),
        display_name = null, full_name = null, bio = null, avatar_url = null, banner_url = null, smart_link = null,
        website_url = null, experience_level = null, role = 'member', profile_visibility = 'members_only',
        is_partner_account = false, followers_count = 0, following_count = 0, deleted_at = now()
    where p.id = erase_account.user_id and p.deleted_at is null;

    for step in select * from private.erasure_steps as e where e.position >= 0 order by e.position, e.step loop
        execute step.statement using erase_account.user_id;
    end loop;

    delete from public.profile_settings as s where s.user_id = erase_account.user_id;
    delete from public.artist_profiles as a where a.user_id = erase_account.user_id;
    delete from public.user_categories as c where c.user_id = erase_account.user_id;
    delete from public.user_skills as s where s.user_id = erase_account.user_id;
    delete from public.user_genres as g where g.user_id = erase_account.user_id;
    delete from public.custom_field_requesters as r where r.user_id = erase_account.user_id;
    delete from public.profile_locations as l where l.user_id = erase_account.user_id;
    delete from public.bans as b where b.user_id = erase_account.user_id;
    delete from public.cart_items as c where c.user_id = erase_account.user_id;
    update public.orders as o set shipping_address = null, notes = null
    where o.user_id = erase_account.user_id and (o.shipping_address is not null or o.notes is not null);
    -- What a provider collects has to be ended there first; until then its row keeps the profile.
    delete from public.subscriptions as s where s.user_id = erase_account.user_id and s.provider is null;

    begin
        perform private.enqueue('erase_user_files', jsonb_build_object('user_id', erase_account.user_id));
    exception when others then
        -- The workers' sweep finds the row above.
        raise warning 'erase_user_files not queued: %', sqlerrm;
    end;

    -- Without any financial history nothing of the account is left. The foreign keys know best what history is.
    begin
        -- A sale that is just settling holds the wallet: wait, then look.
        perform from public.wallets as w where w.user_id = erase_account.user_id for update;
        if not exists (
            select from ledger.entries as e
            inner join ledger.accounts as a on a.id = e.account_id
            where a.owner_id = erase_account.user_id
        ) then
            delete from ledger.accounts as a where a.owner_id = erase_account.user_id;
            delete from public.wallets as w where w.user_id = erase_account.user_id;
            delete from public.profiles as p where p.id = erase_account.user_id;
        end if;
    exception when foreign_key_violation or restrict_violation then
        null;
    end;
end
$$;
comment on function private.erase_account(uuid) is
'Erases the personal data of an account and takes its items off sale. The profile goes too when neither orders, '
'payments, entitlements nor ledger entries refer to it; else it stays as deleted-….';

create function private.handle_deleted_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.erase_account(old.id);
    return null;
end
$$;
comment on function private.handle_deleted_user() is 'Trigger on auth.users: erases the account''s personal data.';

create trigger avenue_account_deletion after delete on auth.users
for each row execute function private.handle_deleted_user();

-- The admin API can also delete "softly": it keeps an emptied row and sets deleted_at.
create trigger avenue_account_soft_deletion after update of deleted_at on auth.users
for each row
when (old.deleted_at is null and new.deleted_at is not null)
execute function private.handle_deleted_user();

create function public.delete_my_account() returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Also for banned users: leaving is a right, not a membership. Money that is owed stays in the books.
    delete from auth.users as u where u.id = auth.uid();
    if not found then
        perform private.fail('not_signed_in');
    end if;
end
$$;
comment on function public.delete_my_account() is
'Deletes the caller''s account: personal data and files are erased, what the books need stays anonymised. Cannot be '
'undone. Works for banned users too.';
grant execute on function public.delete_my_account() to authenticated;

create table private.personal_data (
    section text not null,
    relation text not null,
    condition text not null,
    constraint personal_data_pkey primary key (section)
);
comment on table private.personal_data is
'What export_my_data() hands out: each aggregate that holds personal data adds its row on its page.';
comment on column private.personal_data.section is 'Key in the export.';
comment on column private.personal_data.relation is 'Schema-qualified relation; one that does not exist is skipped.';
comment on column private.personal_data.condition is 'SQL condition on its rows; $1 is the user''s id.';
alter table private.personal_data enable row level security;

create function public.export_my_data() returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := auth.uid();
    part private.personal_data;
    found_rows jsonb;
    result jsonb;
begin
    -- Also for banned users: everybody may have a copy of what is stored about them.
    select jsonb_build_object(
        'exported_at', now(),
        'account', jsonb_build_object(
            'id', u.id, 'email', u.email, 'phone', u.phone, 'metadata', u.raw_user_meta_data,
            'created_at', u.created_at, 'last_sign_in_at', u.last_sign_in_at
        )
    ) into result
    from auth.users as u where u.id = caller;
    if result is null then
        perform private.fail('not_signed_in');
    end if;
    for part in select * from private.personal_data as d order by d.section loop
        continue when to_regclass(part.relation) is null;
        execute format(
            'select coalesce(jsonb_agg(to_jsonb(t)), ''[]'') from %s as t where %s',
            to_regclass(part.relation), part.condition
        ) into found_rows using caller;
        result := result || jsonb_build_object(part.section, found_rows);
    end loop;
    return result;
end
$$;
comment on function public.export_my_data() is
'Everything stored about the caller as one JSON object: the account and one array per kind of record.';
grant execute on function public.export_my_data() to authenticated;

insert into private.personal_data (section, relation, condition) values
('profile', 'public.profiles', 't.id = $1'),
('settings', 'public.profile_settings', 't.user_id = $1'),
('artist_profile', 'public.artist_profiles', 't.user_id = $1'),
('categories', 'public.user_categories', 't.user_id = $1'),
('skills', 'public.user_skills', 't.user_id = $1'),
('genres', 'public.user_genres', 't.user_id = $1'),
('custom_fields', 'public.custom_field_requesters', 't.user_id = $1'),
('location', 'public.profile_locations', 't.user_id = $1'),
('ban', 'public.bans', 't.user_id = $1'),
('subscriptions', 'public.subscriptions', 't.user_id = $1'),
('cart_items', 'public.cart_items', 't.user_id = $1'),
('orders', 'public.orders', 't.user_id = $1'),
('order_items', 'public.order_items', 't.buyer_id = $1'),
('purchases', 'public.purchases', 't.buyer_id = $1'),
('payments', 'public.payments', 't.user_id = $1'),
('transactions', 'public.transactions', 't.buyer_id = $1 or t.seller_id = $1'),
('refunds', 'public.refunds', 't.payment_id in (select p.id from public.payments as p where p.user_id = $1)'),
('wallet', 'public.wallets', 't.user_id = $1'),
('payouts', 'public.payouts', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;
