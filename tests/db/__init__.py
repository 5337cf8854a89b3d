"""Tests of `db` that need no server."""
