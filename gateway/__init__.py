"""The gateway: the REST API over the engine's tables and history, and the only door for people.

It reads and writes PostgreSQL through `db`, tells the scheduler what was committed through `bus`, and
decides nothing about executions itself. One table of operations (`gateway.routes`) is the source of
routing, authorisation, validation and OpenAPI alike.
"""
