-- What clients must know to reach this installation. A hosted project serves the database, Auth and Storage at its own
-- address and routes nothing to our workers, so the workers publish where they are, and every link names that address.

create table public.app_settings (
    singleton boolean not null default true,
    workers_url text,
    updated_at timestamptz not null default now(),
    constraint app_settings_pkey primary key (singleton),
    constraint app_settings_singleton_check check (singleton),
    constraint app_settings_workers_url_check check (
        workers_url ~ '^https?://[^[:space:]?#"<>\\]*[^[:space:]?#"<>\\/]$' and char_length(workers_url) <= 500
    )
);

comment on table public.app_settings is 'Addresses clients need; exactly one row, readable by everybody.';
comment on column public.app_settings.singleton is 'Always true: keeps the table at one row.';
comment on column public.app_settings.workers_url is
'Base URL of the workers, no slash at the end: /functions/v1/… and /webhooks/… follow it. `avenue serve` writes '
'AVENUE_WORKERS_URL; null until one has started.';

create trigger touch_updated_at before update on public.app_settings
for each row execute function private.touch_updated_at();

create function private.publish_workers(url text) returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.app_settings as s set workers_url = publish_workers.url
    where s.singleton and s.workers_url is distinct from publish_workers.url;
    return publish_workers.url;
end
$$;

comment on function private.publish_workers(text) is
'Workers: makes their base URL known to clients. Of several the last one started counts.';
grant execute on function private.publish_workers(text) to avenue_worker;

create function private.workers_link(path text) returns text
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
    base text := (select s.workers_url from public.app_settings as s);
begin
    if base is null then
        perform private.fail('payments_not_set_up');
    end if;
    return base || path;
end
$$;

comment on function private.workers_link(text) is
'Absolute address of a path of the workers. While none are published it refuses, and so does whatever needs them: '
'checkout takes no order that nobody could pay. Error: payments_not_set_up.';

alter table public.app_settings enable row level security;
grant select on public.app_settings to anon, authenticated, service_role;
create policy app_settings_select on public.app_settings for select to anon, authenticated using (true);

insert into public.app_settings (singleton) values (true);

insert into private.error_codes (code, sqlstate, message, description) values
('payments_not_set_up', 'PT409', 'Payments are not set up yet.',
'No worker has published its address, so a payment could not be started; nothing was ordered. Operators: deploy.md. '
'Free items and the wallet work.');
