"""The package `bus` against a real NATS server."""
