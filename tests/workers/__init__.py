"""The steps of a worker, one by one, without a server."""
