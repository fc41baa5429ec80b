"""What tests stand on: a PostgreSQL server per pytest process, databases cloned from a migrated template, the whole
stack on top of one, people who sign up, and pgTAP files as pytest items.
"""
