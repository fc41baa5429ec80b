"""Background work, on a queue in PostgreSQL (procrastinate).

A job is only a hint that something may be due; the rows say what really is. Any job may run twice, at the same time as
another one, or be killed anywhere: it asks the database what to do, asks the provider what was done, and goes on.
"""
