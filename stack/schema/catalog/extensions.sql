select
    e.extname as object,
    e.extnamespace::regnamespace as schema
from pg_catalog.pg_extension as e
