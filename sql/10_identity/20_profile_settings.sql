-- What a member sets for themselves and nobody else sees.

create type public.theme as enum ('light', 'dark');
comment on type public.theme is 'Colour scheme.';

create table public.profile_settings (
    user_id uuid not null,
    theme public.theme not null default 'light',
    language text not null default 'en',
    notification_preferences jsonb not null default '{}',
    phone text,
    marketing_consent boolean not null default false,
    marketing_consent_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint profile_settings_pkey primary key (user_id),
    constraint profile_settings_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint profile_settings_language_check check (
        language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' and char_length(language) <= 35
    ),
    constraint profile_settings_notification_preferences_check check (
        jsonb_typeof(notification_preferences) = 'object'
        and octet_length(notification_preferences::text) <= 8192
        and not jsonb_path_exists(notification_preferences, 'strict $.* ? (@.type() != "object")', '{}', true)
        and not jsonb_path_exists(notification_preferences, 'strict $.*.* ? (@.type() != "boolean")', '{}', true)
    ),
    constraint profile_settings_phone_check check (phone ~ '^\+?[0-9][0-9 ()./-]{4,28}[0-9]$')
);

-- What a client that breaks these is told, see error_catalog().
comment on constraint profile_settings_language_check on public.profile_settings is
'invalid_language: A language is a BCP 47 tag such as en or pt-BR.';
comment on constraint profile_settings_notification_preferences_check on public.profile_settings is
'invalid_preferences: Preferences are an object of objects of booleans.';
comment on constraint profile_settings_phone_check on public.profile_settings is
'invalid_phone: A phone number has 6 to 30 digits and separators, perhaps after a +.';

comment on table public.profile_settings is
'Private settings of a member; created by sign-up. Owner only, not even admins.';
comment on column public.profile_settings.theme is 'Colour scheme.';
comment on column public.profile_settings.language is 'BCP 47 tag, for example en or pt-BR.';
comment on column public.profile_settings.notification_preferences is
'Per notification type an object of switches, for example {"message": {"in_app": true, "email": false}}. A missing '
'type or switch means on.';
comment on column public.profile_settings.phone is 'Phone number, digits with the usual separators.';
comment on column public.profile_settings.marketing_consent is
'Whether marketing e-mails are welcome; off until asked for.';
comment on column public.profile_settings.marketing_consent_at is
'When that consent was given: the evidence. Null while not given; written by trigger.';

create function private.date_marketing_consent() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.marketing_consent_at := case when new.marketing_consent then now() end;
    return new;
end
$$;
comment on function private.date_marketing_consent() is 'Trigger: dates the consent when it is given or withdrawn.';

create trigger date_marketing_consent
before update of marketing_consent on public.profile_settings
for each row
when (old.marketing_consent is distinct from new.marketing_consent)
execute function private.date_marketing_consent();

-- The types come on a later page; plpgsql binds late.
create function private.check_notification_preferences() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_keys(
        new.notification_preferences,
        array(select t.type from private.notification_types as t) || 'digest'::text,
        'invalid_preferences'
    );
    perform private.require_keys(p.value, '{in_app,email}', 'invalid_preferences')
    from jsonb_each(new.notification_preferences) as p;
    if jsonb_path_exists(new.notification_preferences, 'strict $.*.* ? (@.type() != "boolean")', '{}', true) then
        perform private.fail('invalid_preferences', 'a switch is true or false');
    end if;
    return new;
end
$$;
comment on function private.check_notification_preferences() is
'Trigger: a switch of a type or channel that does not exist would switch nothing.';

create trigger check_notification_preferences
before update of notification_preferences on public.profile_settings
for each row
when (old.notification_preferences is distinct from new.notification_preferences)
execute function private.check_notification_preferences();

create trigger touch_updated_at before update on public.profile_settings
for each row execute function private.touch_updated_at();

alter table public.profile_settings enable row level security;
grant select on public.profile_settings to authenticated, service_role;
grant update (theme, language, notification_preferences, phone, marketing_consent)
on public.profile_settings to authenticated;

create policy profile_settings_select on public.profile_settings for select to authenticated
using (user_id = (select private.member_id()));
create policy profile_settings_update on public.profile_settings for update to authenticated
using (user_id = (select private.member_id()))
with check (user_id = (select private.member_id()));

insert into private.erasure_steps (step, phase, erases, statement) values
('settings', 'details', '{public.profile_settings}', 'delete from public.profile_settings where user_id = $1');

insert into private.personal_data (section, relation, condition) values
('settings', 'public.profile_settings', 't.user_id = $1');

insert into private.error_codes (code, sqlstate, message, description) values
('invalid_preferences', 'PT400', 'These notification preferences are not valid.',
'An object of notification types (or digest), each an object of the switches in_app and email. The detail names what '
'is unknown.');
