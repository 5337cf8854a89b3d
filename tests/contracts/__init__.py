"""Tests of the contracts package, a folder or module per part."""
