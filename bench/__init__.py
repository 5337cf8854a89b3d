"""The benchmark: what the engine does on this machine, beside what the machine could do.

`flotilla bench` starts servers and processes and calls `bench.run`; what it measures is in `docs/measurements.md`.
Nothing of the engine imports this package, and it sees the engine from outside: as processes, over their doors.
"""
