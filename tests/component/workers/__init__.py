"""The worker process against a real NATS server."""
