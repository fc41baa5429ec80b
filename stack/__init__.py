"""A real Supabase on this machine without Docker: processes, bootstrap, gateway, provider simulator."""
