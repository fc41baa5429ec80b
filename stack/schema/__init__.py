"""How a schema change travels: sql/ pages, supabase/migrations, and the checks, matrix and docs made from the catalog."""
