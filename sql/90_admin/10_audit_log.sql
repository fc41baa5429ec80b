-- What admins and operators did: append-only.

create table public.audit_log (
    id bigint generated always as identity,
    actor_id uuid,
    actor_label text not null,
    action text not null,
    target_type text not null,
    target_id uuid,
    details jsonb not null default '{}',
    created_at timestamptz not null default now(),
    constraint audit_log_pkey primary key (id),
    constraint audit_log_target_type_fkey foreign key (target_type) references private.kinds (kind)
);

create index audit_log_target_id_idx on public.audit_log (target_id);
create index audit_log_target_type_created_at_idx on public.audit_log (target_type, created_at desc);
create index audit_log_actor_id_idx on public.audit_log (actor_id);
create index audit_log_created_at_idx on public.audit_log (created_at desc);

comment on table public.audit_log is
'Every admin action, written in the transaction that acts. Admins read; nobody changes it.';
comment on column public.audit_log.actor_id is
'The admin''s user id; null when an operator acted with database rights. No foreign key: outlives the account.';
comment on column public.audit_log.actor_label is 'Name given by the operator, or the database role that acted.';
comment on column public.audit_log.action is 'Verb, for example ban_user.';
comment on column public.audit_log.target_type is 'Kind of the target.';
comment on column public.audit_log.target_id is 'Its id.';
comment on column public.audit_log.details is 'Reason and values of the action.';

create function private.audit(
    action text, target_type text, target_id uuid, details jsonb default '{}', actor_label text default null
) returns void
language sql
security definer
set search_path = ''
as $$
    insert into public.audit_log (actor_id, actor_label, action, target_type, target_id, details)
    values (
        auth.uid(), coalesce(actor_label, auth.role(), session_user), action, target_type, target_id,
        coalesce(details, '{}')
    )
$$;

comment on function private.audit(text, text, uuid, jsonb, text) is
'Writes one line of the audit log in the caller''s transaction.';

create trigger refuse_change before update or delete or truncate on public.audit_log
for each statement execute function private.refuse_change();

alter table public.audit_log enable row level security;
grant select on public.audit_log to authenticated, service_role;
create policy audit_log_select on public.audit_log for select to authenticated
using ((select private.is_admin()));

insert into private.personal_data (section, relation, condition, stays, reason) values
('audit_log', 'public.audit_log',
    null, '{actor_id, actor_label, action, target_type, target_id, details}',
    'what admins did and why, which nobody may change');
