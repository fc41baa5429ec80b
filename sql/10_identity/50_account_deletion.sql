-- The end of an account, and the copy of it its owner may take. Deleting a row of auth.users always works, whoever does
-- it: nothing refers to auth.users. The profile says nothing of anybody from that moment and nothing of theirs is shown
-- any more; the rest is erased in steps, see advance_account(): with little to erase at once, else by the workers, as
-- are stored files. What the books refer to stays under a name that says nothing.

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
comment on column private.file_erasures.requested_at is 'When everything else of the account was erased.';
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
    key bigint;
begin
    for turn in
        select uuid_hash(g.id) & 63 as stripe, bool_or(g.exclusive) as exclusive
        from (
            select s.id, false as exclusive from unnest(lock_gates.shared) as s (id)
            union all
            select e.id, true from unnest(lock_gates.exclusive) as e (id)
        ) as g
        where g.id is not null
        group by 1
        order by 1
    loop
        key := (hashtext('avenue:' || gate)::bigint << 32) + turn.stripe;
        if turn.exclusive and gate = 'connection' then
            -- Entered when a request is done, and for a notice only: nobody is ended for it.
            perform pg_advisory_xact_lock(key);
        elsif turn.exclusive then
            perform private.hold_key(key);
        else
            perform pg_advisory_xact_lock_shared(key);
        end if;
    end loop;
end
$$;
comment on function private.lock_gates(text, uuid[], uuid[]) is
'Enters the gates of accounts (gate account), of two people (gate pair) or of groups (gate group) until the '
'transaction '
'ends. In this order, and before any row that is changed; what was read before has to be read again.';

create function private.erase_rows(relation regclass, condition text, user_id uuid, max_rows integer) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    erased integer;
begin
    execute format(
        'delete from %s as d where d.ctid = any(array(select t.ctid from %1$s as t where %s limit $2 for update))',
        relation, condition
    ) using user_id, max_rows;
    get diagnostics erased = row_count;
    return erased;
end
$$;
comment on function private.erase_rows(regclass, text, uuid, integer) is
'Deletes at most max_rows rows t that meet a condition, in which $1 is the user''s id; how many. For '
'erasure_steps.batch.';

create function private.advance_erasure(user_id uuid, max_rows integer) returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
    left_over integer := max_rows;
    step private.erasure_steps;
    erased integer;
begin
    perform private.lock_gates('account', '{}', array[advance_erasure.user_id]);
    for step in select * from private.erasure_steps as e where e.batch is not null order by e.phase, e.step loop
        loop
            execute step.batch into erased using advance_erasure.user_id, left_over;
            left_over := left_over - erased;
            if left_over <= 0 then
                return false;
            end if;
            exit when erased = 0;
        end loop;
    end loop;
    perform private.erase_rest(advance_erasure.user_id);
    return true;
end
$$;
comment on function private.advance_erasure(uuid, integer) is
'The next step of erasing a deleted account: at most max_rows rows. True when nothing is left to erase.';

create function private.erase_rest(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    step private.erasure_steps;
begin
    for step in select * from private.erasure_steps as e where e.phase < 'books' order by e.phase, e.step loop
        execute step.statement using erase_rest.user_id;
    end loop;

    -- Not before the items are gone that keep files for their buyers.
    insert into private.file_erasures as f (user_id) values (erase_rest.user_id)
    on conflict on constraint file_erasures_pkey do update set requested_at = now(), completed_at = null;
    begin
        perform private.enqueue('erase_user_files', jsonb_build_object('user_id', erase_rest.user_id));
    exception when others then
        -- The workers' sweep finds the row above.
        raise warning 'erase_user_files not queued: %', sqlerrm;
    end;

    -- Without any financial history nothing of the account is left. The foreign keys know best what history is.
    begin
        for step in select * from private.erasure_steps as e where e.phase >= 'books' order by e.phase, e.step loop
            execute step.statement using erase_rest.user_id;
        end loop;
    exception when foreign_key_violation or restrict_violation then
        null;
    end;
end
$$;
comment on function private.erase_rest(uuid) is
'Last step of the end of an account: what nobody has much of. The profile goes too when neither orders, payments, '
'entitlements nor ledger entries refer to it; else it stays as deleted-….';

create function private.erase_account(user_id uuid) returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- A slow request keeps nobody from leaving.
    perform private.hold_rows('public.profiles', 't.id = $1', erase_account.user_id);
    -- Ends membership and hides everything; what else there is follows, see follow_account().
    update public.profiles as p set
        username = 'deleted-' || left(encode(sha256(uuid_send(p.id)), 'hex'), 22),
        display_name = null, full_name = null, bio = null, avatar_url = null, banner_url = null,
        avatar_media_id = null, banner_media_id = null, smart_link = null, website_url = null, experience_level = null, role = 'member', profile_visibility = 'members_only',
        is_partner_account = false, deleted_at = now()
    where p.id = erase_account.user_id and p.deleted_at is null;
end
$$;
comment on function private.erase_account(uuid) is
'Ends an account: its profile says nothing any more, and the erasure of everything else begins.';

create function private.handle_deleted_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- A ban that is just being put is waited for, and kept.
    perform private.hold_rows('public.profiles', 't.id = $1', old.id);
    perform private.keep_ban(old.id, old.email, old.phone);
    perform private.erase_account(old.id);
    return null;
end
$$;
comment on function private.handle_deleted_user() is 'Trigger on auth.users: ends the account.';

create trigger avenue_account_deletion after delete on auth.users
for each row execute function private.handle_deleted_user();

-- The admin API can also delete "softly": it keeps an emptied row and sets deleted_at.
create trigger avenue_account_soft_deletion after update of deleted_at on auth.users
for each row
when (old.deleted_at is null and new.deleted_at is not null)
execute function private.handle_deleted_user();

create function public.delete_my_account(forfeit_cents bigint default null) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    wallet record;
    total bigint;
begin
    -- Asked for twice: the second waits and does not end the first, as hold_rows() would.
    perform pg_advisory_xact_lock(hashtextextended('avenue:leaving:' || auth.uid(), 0));
    -- Also for banned users: leaving is a right, not a membership. The profile first, and not the wallet: a checkout that
    -- pays from the wallet refers to its buyer's profile while it waits for the wallet. A sale that is just settling does
    -- so, too, and is waited for.
    perform private.hold_rows('public.profiles', 't.id = $1', auth.uid(), null, 'update');
    select
        w.*,
        (
            select coalesce(sum(p.amount_cents), 0)::bigint from public.payouts as p
            where p.user_id = w.user_id and p.is_open
        ) as payouts_cents
    into wallet
    from public.wallets as w
    where w.user_id = auth.uid();
    total := coalesce(wallet.balance_available_cents + wallet.balance_pending_cents + wallet.payouts_cents, 0);
    if total > 0 and forfeit_cents is distinct from total then
        perform private.fail('balance_remains', jsonb_build_object(
            'forfeit_cents', total, 'available_cents', wallet.balance_available_cents,
            'pending_cents', wallet.balance_pending_cents, 'payouts_cents', wallet.payouts_cents,
            'currency', wallet.currency
        )::text);
    end if;
    delete from auth.users as u where u.id = auth.uid();
    if not found then
        perform private.fail('not_signed_in');
    end if;
end
$$;
comment on function public.delete_my_account(bigint) is
'Deletes the caller''s account, banned or not: out and hidden at once, erased within minutes; what the books need '
'stays '
'anonymised. Cannot be undone. With money left or on its way it fails with balance_remains, whose detail names the '
'amounts; who leaves all the same repeats the sum as forfeit_cents.';
grant execute on function public.delete_my_account(bigint) to authenticated;

create function private.export_rows(
    part private.personal_data, caller uuid, after jsonb, max_rows integer, out records jsonb, out next jsonb
)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    relation regclass := to_regclass(part.relation);
    names text [];
    types text [];
begin
    select array_agg(a.attname order by k.position), array_agg(format_type(a.atttypid, a.atttypmod) order by k.position)
    into names, types
    from pg_catalog.pg_index as i
    cross join unnest(i.indkey::smallint []) with ordinality as k (number, position)
    inner join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = relation and i.indisprimary;
    execute format(
        'select coalesce(jsonb_agg(r.record), ''[]'') from (select to_jsonb(t) as record from %s as t '
        'where (%s) and ($2 is null or (%s) > (%s)) order by %3$s limit $3) as r',
        relation, part.condition,
        (select string_agg(format('t.%I', n.name), ', ') from unnest(names) as n (name)),
        (
            select string_agg(format('($2 ->> %s)::%s', n.position - 1, n.type), ', ')
            from unnest(types) with ordinality as n (type, position)
        )
    ) into records using caller, after, max_rows;
    if jsonb_array_length(records) = max_rows then
        select jsonb_agg(records -> -1 ->> n.name order by n.position) into next
        from unnest(names) with ordinality as n (name, position);
    end if;
end
$$;
comment on function private.export_rows(private.personal_data, uuid, jsonb, integer) is
'At most max_rows rows of a section in the order of its primary key, after the key given; next is the key to go on '
'with, '
'null when there is no more.';

create function public.export_my_data(section text default null, after jsonb default null) returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    caller uuid := auth.uid();
    -- A page of every section is read well within the time a request may take.
    page_rows integer := case when export_my_data.section is null then 500 else 2000 end;
    part private.personal_data;
    page record;
    more jsonb := jsonb '{}';
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
    if jsonb_typeof(after) <> 'array' or after is not null and section is null then
        perform private.fail('section_not_found', left(format('after: %s', after), 100));
    end if;
    for part in
        select * from private.personal_data as d
        where
            (export_my_data.section is null or d.section = export_my_data.section)
            and d.condition is not null and to_regclass(d.relation) is not null
        order by d.section
    loop
        page := private.export_rows(
            part, caller, case when export_my_data.section is not null then after end, page_rows
        );
        result := result || jsonb_build_object(part.section, page.records);
        if page.next is not null then
            more := more || jsonb_build_object(part.section, page.next);
        end if;
    end loop;
    if export_my_data.section is not null and not result ? export_my_data.section then
        perform private.fail('section_not_found', left(export_my_data.section, 100));
    end if;
    return result || jsonb_build_object('more', more);
end
$$;
comment on function public.export_my_data(text, jsonb) is
'Everything stored about the caller as one JSON object: the account and one array per kind of record. Of long sections '
'the first rows; more names them with what to call again with, section and after, until more is empty.';
grant execute on function public.export_my_data(text, jsonb) to authenticated;

insert into private.personal_data (section, relation, condition, stays, reason) values
('file_erasures', 'private.file_erasures', null, '{user_id}', 'says that files were erased; the id leads nowhere');

insert into private.error_codes (code, sqlstate, message, description) values
('balance_remains', 'PT409', 'There is still money in this account.',
'The detail names the amounts in cents as JSON: available_cents, pending_cents, payouts_cents (on their way) and their '
'sum forfeit_cents. Ask for a payout first, or call delete_my_account with that forfeit_cents: it will not be paid '
'out.'),
('section_not_found', 'PT404', 'There is no such section.', 'Call with a section and an after as more named them.');
