"""Tests of the package `db` against a real PostgreSQL."""
