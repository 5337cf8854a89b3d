"""One package at a time, against real servers."""
