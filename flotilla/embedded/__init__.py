"""The servers of `flotilla up`: NATS, PostgreSQL and Redis from wheels, on loopback, with their data in one folder."""
