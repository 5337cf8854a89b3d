"""Tests of the package `flotilla`."""
