"""The store: everything that PostgreSQL knows, and the only package that speaks to it.

SQL text lives in `db/sql`, one file per subject; schema changes in `db/migrations`. Rows come back as frozen Structs.
"""
