-- Sign-up: whoever appears in auth.users gets a profile, settings, the basic creator plan and a wallet in the same
-- transaction. Metadata is user input: it suggests names and a picture, and never sets a role, tier or badge. Whatever
-- it holds, the sign-up succeeds.

create function private.metadata_text(metadata jsonb, keys text[]) returns setof text
language sql
immutable
set search_path = ''
as $$
    -- Cut before anything else looks at it: the value may be megabytes.
    select left(metadata ->> k.key, 300)
    from unnest(keys) with ordinality as k (key, position)
    where
        jsonb_typeof(metadata) = 'object'
        and jsonb_typeof(metadata -> k.key) = 'string'
        and private.is_visible_text(left(metadata ->> k.key, 300))
        -- Providers that know no name often send the e-mail address as one. It is nobody else's to read.
        and position('@' in left(metadata ->> k.key, 300)) = 0
    order by k.position
$$;
comment on function private.metadata_text(jsonb, text[]) is
'The texts of sign-up metadata under these keys, in their order, at most 300 characters each. Other types are skipped, '
'and so is what looks like an e-mail address.';

create function private.suggest_username(value text) returns text
language sql
stable
set search_path = ''
as $$
    select case
        -- What is valid stays as it was typed, letter case included.
        when btrim(value) ~ '^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$' then btrim(left(btrim(value), 30), '.-')
        else btrim(left(btrim(regexp_replace(
            private.to_latin(left(value, 300)), '[^a-z0-9_]+', '-', 'g'
        ), '-'), 30), '-')
    end
$$;
comment on function private.suggest_username(text) is
'A text turned into username characters, at most 30; may be shorter than 3 or empty (emoji, Chinese).';

create function private.create_profile(user_id uuid, metadata jsonb, is_confirmed boolean) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    base text;
    candidate text;
    name text;
    picture text;
begin
    base := coalesce(
        (
            select s from private.metadata_text(
                metadata,
                array[
                    'username', 'user_name', 'preferred_username', 'preferred_name', 'nickname', 'display_name',
                    'full_name', 'name'
                ]
            ) as t
            cross join lateral private.suggest_username(t) as s
            where s <> ''
            limit 1
        ),
        -- Never from the e-mail address, which is private and often a full name.
        'user'
    );

    select btrim(left(private.tidy_name(left(t, 300)), 80)) into name
    from private.metadata_text(metadata, array['display_name', 'full_name', 'name']) as t
    limit 1;

    select t into picture
    from unnest(array['avatar_url', 'picture']) as k (key)
    cross join lateral (values (left(metadata ->> k.key, 2049))) as v (t)
    where
        jsonb_typeof(metadata) = 'object' and jsonb_typeof(metadata -> k.key) = 'string'
        and private.is_http_url(t)
    limit 1;

    -- A wish that is reserved, too short or taken gets a suffix, at last a name from the id itself. The insert decides
    -- what is taken: of two sign-ups with one name at the same instant the second waits here and goes on to a suffix.
    for attempt in 0..12 loop
        candidate := case
            when attempt = 0 then base
            when attempt < 4 then btrim(left(base, 25), '.-') || '-' || left(gen_random_uuid()::text, 4)
            when attempt < 8 then btrim(left(base, 20), '.-') || '-' || left(gen_random_uuid()::text, 8)
            else 'user-' || left(replace(gen_random_uuid()::text, '-', ''), 20)
        end;
        continue when private.username_problem(candidate) is not null;
        begin
            insert into public.profiles as p (id, username, display_name, avatar_url, is_confirmed)
            values (user_id, candidate, nullif(name, ''), picture, create_profile.is_confirmed)
            on conflict do nothing;
            exit when found or exists (select from public.profiles as p where p.id = user_id);
        exception when sqlstate 'PT409' then
            -- Given up while this waited for it, and held since.
            null;
        end;
    end loop;
end
$$;
comment on function private.create_profile(uuid, jsonb, boolean) is
'Creates the profile of a new account under a valid, unique username near the wished one.';

create function private.handle_new_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    is_confirmed boolean := num_nonnulls(new.email_confirmed_at, new.phone_confirmed_at) > 0;
begin
    begin
        perform private.create_profile(new.id, new.raw_user_meta_data, is_confirmed);
    exception when others then
        -- Nothing known leads here. If something does, a person still gets an account, with a neutral name.
        raise warning 'sign-up metadata of % ignored: %', new.id, sqlerrm;
        perform private.create_profile(new.id, null, is_confirmed);
    end;
    insert into public.profile_settings (user_id) values (new.id) on conflict do nothing;
    insert into public.subscriptions (user_id, family, plan_key, current_period_start)
    values (new.id, 'creator', 'creator_basic', now()) on conflict do nothing;
    perform private.create_wallet(new.id);
    return null;
end
$$;
comment on function private.handle_new_user() is
'Trigger on auth.users: provisions profile, settings, basic plan and wallet of a new account.';

create trigger avenue_sign_up after insert on auth.users
for each row execute function private.handle_new_user();

create function private.mirror_confirmation() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    confirmed boolean := num_nonnulls(new.email_confirmed_at, new.phone_confirmed_at) > 0;
begin
    update public.profiles as p set is_confirmed = confirmed
    where p.id = new.id and p.is_confirmed <> confirmed;
    return null;
end
$$;
comment on function private.mirror_confirmation() is
'Trigger on auth.users: profiles.is_confirmed says whether an address or number of the account was confirmed.';

create trigger avenue_confirmation after update of email_confirmed_at, phone_confirmed_at on auth.users
for each row execute function private.mirror_confirmation();
