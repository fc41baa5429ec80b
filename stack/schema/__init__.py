"""How a schema change travels: sql/ pages, supabase/migrations, and what is checked and written from the catalog."""
