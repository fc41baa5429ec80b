-- What roles may besides, on servers made before it was needed as well. Runs as supabase_admin whenever a server starts. Safe
-- to run again.

-- postgres changes what PostgREST reads from its role's settings. Hosted allows the parameters through a server extension.
grant authenticator to postgres with admin option;
grant set on parameter pgrst.db_pre_request to postgres;
