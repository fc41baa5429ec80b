"""The books under test: a real PostgreSQL, the functions clients and workers call, no HTTP."""
