"""The only importer of nats: the connection, publishing, pulling, and what has to exist on the server.

`client.Bus` is the connection of a process. On it work `publisher.Publisher` (JetStream publishes, every
acknowledgement read), `pull.Pull` (a consumer's messages as they come), `provision` (streams and consumers
as data), `tasks` (single messages and queues) and `services` (NATS micro services). All errors are of
`errors.BusError`; nothing of nats-py shows outside.
"""
