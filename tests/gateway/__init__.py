"""Tests of the parts of the gateway that need no server."""
