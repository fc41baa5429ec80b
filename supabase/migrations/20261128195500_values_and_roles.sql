-- Values and roles that the next migration needs: a new enum value cannot be used in the migration that adds it, and roles
-- belong to the server, not to a database.

set lock_timeout = '10s';

alter type ledger.journal_kind add value 'correction' after 'adjustment';
alter type public.notification_type add value 'refund_request' after 'system';
alter type public.notification_type add value 'refund_request_answered' after 'refund_request';

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'avenue_estimates') then
        create role avenue_estimates nologin noinherit;
    end if;
end
$$;
grant avenue_estimates to authenticator;

-- Nobody makes others wait for long. Statement timeouts stay the platform's.
alter role anon set lock_timeout = '2s';
alter role authenticated set lock_timeout = '2s';
alter role anon set idle_in_transaction_session_timeout = '10s';
alter role authenticated set idle_in_transaction_session_timeout = '10s';
