"""The decision core: no server, no clock, no chance."""
