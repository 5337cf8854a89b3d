"""Node types: what each takes, does and answers.

A handler gets everything through its Context and knows neither NATS nor the database. Every type is a
spec (data, derived from the handler's declaration) and an async function; `nodes.catalogue` lists them.
"""
